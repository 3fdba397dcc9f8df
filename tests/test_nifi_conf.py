"""What lies in nifi-conf/ and docs/nifi.md: properties, parameters, certificates, compose files, links and pictures."""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from imagewarehouse.deployment.flow import read_definition
from imagewarehouse.deployment.parameters import Given, given_values, read_file
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.standalone.runner import Options, Runner
from tools.local_nifi import LocalNifi, nifi_home, read_properties

CONF = REPOSITORY / "nifi-conf"
DOCUMENTS = sorted([*CONF.rglob("*.md"), REPOSITORY / "docs" / "nifi.md", REPOSITORY / "docs" / "front.md"])
COMPOSE = ("compose.yaml", "compose-cluster.yaml")
PROPERTIES = ("nifi.properties.example", "nifi-cluster.properties.example", "compose-cluster.properties")
PARAMETERS = ("parameters-development.json", "parameters-production.json")
TLS_FLOW = REPOSITORY / "flows" / "image-warehouse-tls.json"
SH = shutil.which("sh") or "/bin/sh"
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


# --- properties ---------------------------------------------------------------------------------------------------


def keys(text: str, commented: bool = False) -> list[str]:
    """Keys of a properties file; with `commented` also those of lines like `# nifi.x=y`."""
    pattern = r"^(?:# )?(nifi\.[\w.-]+)=" if commented else r"^(nifi\.[\w.-]+)="
    return re.findall(pattern, text, re.MULTILINE)


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_property_is_one_of_nifi(name: str) -> None:
    home = nifi_home()
    if home is None:
        pytest.skip("needs a NiFi to compare with: name its folder in NIFI_HOME")
    known = set(keys((home / "conf" / "nifi.properties").read_text().replace("\n#nifi.", "\nnifi.")))
    found = keys((CONF / name).read_text(), commented=True)
    assert found
    assert set(found) <= known


@pytest.mark.parametrize("name", PROPERTIES[:2])
def test_every_property_has_its_reason(name: str) -> None:
    text = (CONF / name).read_text()
    for key in keys(text):
        before = text[: text.index(f"\n{key}=")]
        paragraph = before.rpartition("\n\n")[2]
        assert re.search(r"\[(needed|measured|advice)\]", paragraph), key


@pytest.mark.parametrize("name", PROPERTIES)
def test_no_property_is_set_twice(name: str) -> None:
    found = keys((CONF / name).read_text())
    assert len(found) == len(set(found))


SHIPPED = "# a comment\nnifi.a=1\n#nifi.python.command=python3\n\nnifi.b=x=y\nnifi.b=old\n"


def test_merging_sets_what_is_there_commented_out_or_missing(tmp_path: Path) -> None:
    example, target = tmp_path / "example", tmp_path / "nifi.properties"
    example.write_text("# why\nnifi.python.command=/usr/bin/python3.11\nnifi.b=p=q & r\\s\n# nifi.a=2\nnifi.new=n\n")
    target.write_text(SHIPPED)
    target.chmod(0o600)
    for _ in range(2):  # the second time changes nothing
        subprocess.run([SH, CONF / "merge-properties.sh", example, target], check=True)
        assert target.read_text() == (
            "# a comment\nnifi.a=1\nnifi.python.command=/usr/bin/python3.11\n\nnifi.b=p=q & r\\s\nnifi.new=n\n"
        )
    assert target.stat().st_mode & 0o777 == 0o600


def test_merging_into_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    arguments = [SH, CONF / "merge-properties.sh", CONF / PROPERTIES[0], tmp_path / "none"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage" in done.stderr


@pytest.mark.parametrize("names", [PROPERTIES[:1], PROPERTIES[:2], (PROPERTIES[0], PROPERTIES[2])])
def test_merged_into_nifis_own_file_every_value_arrives(names: tuple[str, ...], tmp_path: Path) -> None:
    home = nifi_home()
    if home is None:
        pytest.skip("needs a NiFi: name its folder in NIFI_HOME")
    target = tmp_path / "nifi.properties"
    shutil.copyfile(home / "conf" / "nifi.properties", target)
    before, wanted = read_properties(target), {}
    for name in names:
        subprocess.run([SH, CONF / "merge-properties.sh", CONF / name, target], check=True)
        wanted |= read_properties(CONF / name)
    assert read_properties(target) == {**before, **wanted}


def test_the_nifi_of_the_tests_runs_with_the_properties_that_are_shipped(tmp_path: Path) -> None:
    if nifi_home() is None:
        pytest.skip("needs a NiFi: name its folder in NIFI_HOME")
    local = LocalNifi(tmp_path / "nifi")
    local._prepare()
    found = read_properties(tmp_path / "nifi" / "conf" / "nifi.properties")
    shipped = read_properties(CONF / PROPERTIES[0])
    assert shipped["nifi.content.repository.archive.enabled"] == "false"
    assert found["nifi.python.command"] == sys.executable
    assert found == {**found, **shipped, "nifi.python.command": sys.executable}


# --- parameters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", ["image-warehouse.json", "image-warehouse-tls.json"])
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_flow_and_none_is_secret(name: str, flow: str) -> None:
    declared = read_definition(REPOSITORY / "flows" / flow).flow.parameters
    given = given_values(declared, (), CONF / name, {})
    assert given
    assert not [parameter for parameter in given if declared[parameter].sensitive]


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_standalone_runner_finds_nothing_wrong_with_the_parameters(name: str) -> None:
    given = read_file(CONF / name)
    runner = Runner(Options(settings=tuple(given.items())), {})  # refuses what any processor or listener does not take
    assert given.items() <= runner.parameters.items()


def test_production_takes_access_keys_from_the_environment() -> None:
    declared = read_definition(REPOSITORY / "flows" / "image-warehouse.json").flow.parameters
    keys = "camera:0123456789abcdef"
    given = given_values(declared, (), CONF / PARAMETERS[1], {"IMAGEWAREHOUSE_ACCESS_KEYS": keys})
    assert given["access.keys"] == Given(keys, "IMAGEWAREHOUSE_ACCESS_KEYS")


def test_parameters_for_development_undo_those_for_production() -> None:
    declared = read_definition(REPOSITORY / "flows" / "image-warehouse.json").flow.parameters
    values, production = (read_file(CONF / name) for name in PARAMETERS)
    for name, value in production.items():
        assert name in values or value == (declared[name].value or ""), f"{name} would stay as it is in production"


# --- certificates -------------------------------------------------------------------------------------------------


def commands(document: Path) -> list[str]:
    """The blocks that are marked as shell, in their order."""
    found = re.findall(r"^ *```sh\n(.*?)^ *```", document.read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in found]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands of tls/README.md make."""
    folder = tmp_path_factory.mktemp("certificates")
    run_commands(CONF / "tls" / "README.md", folder)
    return folder


def run_commands(document: Path, folder: Path) -> str:
    script = "set -eu\n" + "\n".join(commands(document))
    done = subprocess.run([SH, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@needs_openssl
def test_the_commands_make_certificates_that_openssl_finds_in_order(tmp_path: Path) -> None:
    said = run_commands(CONF / "tls" / "README.md", tmp_path)
    assert said == "certificate.pem: OK\nclient.pem: OK\n"
    made = {path.name for path in tmp_path.iterdir()}
    assert {"authority.pem", "certificate.pem", "private-key.pem", "client.pem", "client.key", "request.csr"} <= made
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


@needs_openssl
def test_the_certificates_carry_a_connection_both_ways(certificates: Path) -> None:
    subject, error = handshake(certificates, client=True)
    assert error is None
    assert subject["commonName"] == "camera-17"
    assert subject["organizationName"] == "Example"


@needs_openssl
def test_a_server_that_wants_a_certificate_refuses_a_client_without_one(certificates: Path) -> None:
    assert handshake(certificates, client=False)[0] == {}


@needs_openssl
def test_the_servers_certificate_is_for_its_names_only(certificates: Path) -> None:
    _, error = handshake(certificates, client=True, name="images.example.org")
    assert isinstance(error, ssl.SSLCertVerificationError)


@needs_openssl
def test_another_authority_is_not_trusted(certificates: Path, tmp_path: Path) -> None:
    run_commands(CONF / "tls" / "README.md", tmp_path)
    _, error = handshake(certificates, client=True, authority=tmp_path / "authority.pem")
    assert isinstance(error, ssl.SSLCertVerificationError)


@needs_openssl
def test_the_commands_for_a_cluster_make_a_certificate_for_each_node(tmp_path: Path) -> None:
    run_commands(CONF / "tls" / "README.md", tmp_path)
    run_commands(CONF / "cluster.md", tmp_path)
    for node in ("nifi-1", "nifi-2", "nifi-3"):
        for purpose in ("sslserver", "sslclient"):
            verify = ["openssl", "verify", "-CAfile", "authority.pem", "-purpose", purpose, "-verify_hostname", node]
            done = subprocess.run([*verify, f"{node}/certificate.pem"], cwd=tmp_path, check=False)
            assert done.returncode == 0


def handshake(
    folder: Path, client: bool, name: str = "localhost", authority: Path | None = None
) -> tuple[dict[str, str], Exception | None]:
    """The client's subject as the server saw it (nothing if it refused), and what the client said of the server."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "authority.pem"))
    serving.load_cert_chain(folder / "certificate.pem", folder / "private-key.pem")
    serving.verify_mode = ssl.CERT_REQUIRED
    asking = ssl.create_default_context(cafile=str(authority or folder / "authority.pem"))
    if client:
        asking.load_cert_chain(folder / "client.pem", folder / "client.key")
    seen: dict[str, str] = {}

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        try:
            with serving.wrap_socket(connection, server_side=True) as secured:
                found: Any = secured.getpeercert()
                seen.update(pair for item in found["subject"] for pair in item)
                secured.sendall(b"x")
        except OSError:
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        problem: Exception | None = None
        try:
            with (
                socket.create_connection(listening.getsockname(), 10) as plain,
                asking.wrap_socket(plain, server_hostname=name) as secured,
            ):
                secured.recv(1)
        except OSError as err:
            problem = err
        thread.join(10)
    return seen, problem


def test_the_tls_parameters_are_documented_with_their_defaults() -> None:
    declared = read_definition(TLS_FLOW).flow.parameters
    text = (CONF / "tls" / "README.md").read_text()
    for name, parameter in declared.items():
        if name.startswith("tls."):
            assert f"| `{name}` | `{parameter.value}` |" in text


# --- compose files ------------------------------------------------------------------------------------------------


def compose(name: str) -> dict[str, Any]:
    return dict(YAML(typ="safe", pure=True).load(CONF / name))


def services(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from compose(name)["services"].items()


@pytest.mark.parametrize("name", COMPOSE)
def test_a_compose_file_is_as_the_specification_has_it(name: str) -> None:
    import check_jsonschema
    import jsonschema

    schema = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    validator = jsonschema.Draft7Validator(json.loads(schema.read_text()))
    assert [error.message for error in validator.iter_errors(compose(name))] == []


@pytest.mark.parametrize("name", COMPOSE)
def test_every_image_is_pinned_and_every_service_that_stays_is_watched(name: str) -> None:
    for service, what in services(name):
        image, _, tag = what["image"].rpartition(":")
        assert image, service
        assert re.match(r"\d", tag), f"{service}: {tag} is no version"
        assert "healthcheck" in what or service == "nifi-folders", service


@pytest.mark.parametrize("name", COMPOSE)
def test_ports_are_this_machines_alone_and_each_is_there_once(name: str) -> None:
    taken = []
    for service, what in services(name):
        for published in what.get("ports", ()):
            address, port, _ = published.split(":")
            assert ipaddress.ip_address(address).is_loopback, f"{service}: {published}"
            taken.append(port)
    assert len(taken) == len(set(taken))


@pytest.mark.parametrize("name", COMPOSE)
def test_what_a_service_waits_for_is_there_and_says_when_it_is_ready(name: str) -> None:
    known = dict(services(name))
    for service, what in known.items():
        waits = what.get("depends_on", {})
        for other in waits:
            assert other in known, f"{service} waits for {other}"
            condition = waits[other]["condition"] if isinstance(waits, Mapping) else "service_started"
            assert condition != "service_healthy" or "healthcheck" in known[other]
            # A service of a profile is not started with the others.
            assert set(known[other].get("profiles", ())) <= set(what.get("profiles", ()))


@pytest.mark.parametrize("name", COMPOSE)
def test_what_is_mounted_is_a_volume_or_a_file_of_the_repository(name: str) -> None:
    declared, used = set(compose(name)["volumes"]), set()
    for service, what in services(name):
        for volume in what.get("volumes", ()):
            source = re.sub(r"\$\{\w+(:\?[^}]*)?\}", "$VARIABLE", volume).split(":")[0]
            if source.startswith("."):
                assert (CONF / source).exists(), f"{service}: {source}"
                assert volume.endswith(":ro"), f"{service}: {source}"
            elif not source.startswith("$VARIABLE/"):
                used.add(source)
    assert used == declared


def test_every_variable_is_in_the_example_and_no_other_and_without_a_value() -> None:
    asked = set()
    for name in COMPOSE:
        asked |= set(re.findall(r"(?<!\$)\$\{(\w+)", (CONF / name).read_text()))
    assert read_properties(CONF / ".env.example") == dict.fromkeys(sorted(asked), "")


@pytest.mark.parametrize("name", COMPOSE)
def test_a_variable_without_a_default_stops_the_start(name: str) -> None:
    for service, what in services(name):
        for variable, rest in re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", json.dumps(what)):
            assert rest.startswith((":?", ":-")), f"{service}: {variable} would silently be empty"


def test_the_balancer_knows_every_node_of_the_cluster() -> None:
    nodes = {name for name, _ in services("compose-cluster.yaml") if re.fullmatch(r"nifi-\d", name)}
    for name in ("haproxy.cfg", "haproxy-tls.cfg"):
        text = (CONF / name).read_text()
        for port in ("8081", "8082"):
            assert set(re.findall(rf"^    server (\S+) \1:{port}$", text, re.MULTILINE)) == nodes
        assert text.count("/images/healthcheck") >= 2


@pytest.mark.parametrize("name", ["haproxy.cfg", "haproxy-tls.cfg"])
def test_haproxy_takes_its_configuration(name: str) -> None:
    haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if haproxy is None:
        pytest.skip("needs haproxy")
    done = subprocess.run([haproxy, "-c", "-f", CONF / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- documents ----------------------------------------------------------------------------------------------------


def anchors(document: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_names_every_file_of_the_folder() -> None:
    text = (CONF / "README.md").read_text()
    for path in CONF.iterdir():
        if path.name not in ("README.md", ".env"):
            assert f"({path.name}" in text, path.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_parameters_and_properties_that_documents_speak_of_exist(document: Path) -> None:
    text = document.read_text()
    declared = set(read_definition(TLS_FLOW).flow.parameters)
    families = {name.partition(".")[0] for name in declared} - {"model"}
    for name in re.findall(r"`([a-z]+(?:\.[a-z]+)+)`", text):
        if name.partition(".")[0] in families and not name.endswith((".pem", ".json", ".duckdb", ".py")):
            assert name in declared, name


def test_the_pictures_are_pngs_of_a_size_that_loads() -> None:
    text = (REPOSITORY / "docs" / "nifi.md").read_text()
    shown = re.findall(r"!\[[^\]]+\]\((\S+\.png)\)", text)
    assert len(shown) >= 5
    for name in [*shown, "canvas.png"]:
        content = (REPOSITORY / "docs" / name).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(content) < 300_000, name
        width, height = struct.unpack(">II", content[16:24])
        assert width >= 800, name
        assert height >= 200, name
