"""The flow with HTTPS listeners in a real NiFi, with certificates made by the commands of nifi-conf/tls/README.md."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.resources import REPOSITORY
from tests.nifi.conftest import Command, Warehouse
from tests.test_nifi_conf import CONF, TLS_FLOW, run_commands

FROG = (REPOSITORY / "examples" / "frog.jpg").read_bytes()
SUBJECT = "CN=camera-17, O=Example"


@dataclass(frozen=True, slots=True)
class Secured:
    warehouse: Warehouse
    certificates: Path
    settings: list[str]

    def post(self, url: str, *, client: bool, headers: dict[str, str] | None = None) -> httpx.Response:
        context = ssl.create_default_context(cafile=str(self.certificates / "authority.pem"))
        if client:
            context.load_cert_chain(self.certificates / "client.pem", self.certificates / "client.key")
        sent = {"Content-Type": "image/jpeg", **(headers or {})}
        return httpx.post(url, content=FROG, headers=sent, verify=context, timeout=60, trust_env=False)

    def classify(self, *, client: bool) -> httpx.Response:
        return self.post(f"https://localhost:{self.warehouse.classify_port}/classify", client=client)

    def images(self, *, client: bool) -> httpx.Response:
        return self.post(f"https://localhost:{self.warehouse.images_port}/images", client=client)


@pytest.fixture(scope="module")
def secured(places: Warehouse, nar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Instead of the flow without TLS, whose ports it has."""
    folder = tmp_path_factory.mktemp("certificates")
    run_commands(CONF / "tls" / "README.md", folder)
    files = {
        "tls.certificate": "certificate.pem",
        "tls.private.key": "private-key.pem",
        "tls.client.authorities": "authority.pem",
    }
    settings = [*places.settings, "--flow", str(TLS_FLOW), "--nar", str(nar)]
    settings += [text for name, file in files.items() for text in ("--set", f"{name}={folder / file}")]
    assert call(["undeploy", "--nifi", places.nifi.url, "--yes"]) == 0
    try:
        assert call(["deploy", "--nifi", places.nifi.url, *settings]) == 0, places.nifi.last_words()
        yield Secured(places, folder, settings)
    finally:
        assert call(["undeploy", "--nifi", places.nifi.url, "--yes", "--drop-queued"]) == 0


def test_the_subject_of_a_clients_certificate_is_the_source_user(secured: Secured) -> None:
    answer = secured.classify(client=True)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "classified"
    assert answer.json()["source_user"] == SUBJECT


def test_a_client_without_a_certificate_is_served_where_one_is_only_wanted(secured: Secured) -> None:
    answer = secured.classify(client=False)
    assert answer.status_code == 200, answer.text
    assert not answer.json().get("source_user")
    assert secured.images(client=True).status_code == 202
    assert secured.images(client=False).status_code == 202


def test_plain_http_gets_no_answer_from_a_door_with_tls(secured: Secured) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"http://localhost:{secured.warehouse.classify_port}/classify", content=FROG, trust_env=False)


def test_where_a_certificate_is_needed_a_client_without_one_gets_no_connection(
    secured: Secured, command: Command
) -> None:
    needed = ("tls.images.client=REQUIRED", "tls.classify.client=Need Authentication")
    wanted = ("tls.images.client=WANT", "tls.classify.client=Want Authentication")
    code, _, said = command("deploy", *secured.settings, *(text for one in needed for text in ("--set", one)))
    assert code == 0, said
    for send in (secured.classify, secured.images):
        with pytest.raises(httpx.HTTPError):
            send(client=False)
        assert send(client=True).is_success
    code, _, said = command("deploy", *secured.settings, *(text for one in wanted for text in ("--set", one)))
    assert code == 0, said


def test_a_certificate_that_is_not_there_is_told_by_its_path(secured: Secured, command: Command) -> None:
    code, _, said = command("deploy", *secured.settings, "--set", "tls.certificate=./conf/tls/none.pem")
    assert code == 1
    assert "none.pem" in said
    code, _, said = command("deploy", *secured.settings)
    assert code == 0, said
    assert secured.classify(client=False).status_code == 200
