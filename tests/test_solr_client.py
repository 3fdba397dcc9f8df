"""How Solr is reached: nodes by URL and by ZooKeeper, logins, certificates, and what is said of a Solr that does not answer."""

from __future__ import annotations

import http.server
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from imagewarehouse.errors import ConfigurationError, SolrRefused, WarehouseError
from imagewarehouse.ports import free_ports
from imagewarehouse.solr.answers import error_of, refusal
from imagewarehouse.solr.client import Collection, Solr
from imagewarehouse.solr.settings import Address, SolrSettings, checked_path, parse_address
from tests.solr_service import READER, WRITER, found
from tests.solr_service import Solr as Service
from tests.tls_proxy import Certificates, make_certificates, tls_proxy

DOCUMENT = [{"id": "a", "owner": "somebody"}]


def open_collection(address: str, **settings: Any) -> Collection:
    return Solr(SolrSettings(parse_address(address, "Solr URL"), **settings)).collection()


def failure(collection: Collection, documents: Any = DOCUMENT) -> WarehouseError:
    with pytest.raises(WarehouseError) as caught:
        collection.add(documents)
    return caught.value


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cloud", "address"),
    [
        ("http://solr:8983/solr/images", False, Address(("http://solr:8983/solr",), "", "images")),
        (" http://solr:8983/solr/images/ ", False, Address(("http://solr:8983/solr",), "", "images")),
        ("https://solr/solr", False, Address(("https://solr/solr",))),
        ("https://solr:443", False, Address(("https://solr:443",))),
        ("http://[::1]:8983/search/solr/a.b-c_d", False, Address(("http://[::1]:8983/search/solr",), "", "a.b-c_d")),
        ("http://a:1/solr/x, http://b:2/solr/x,", False, Address(("http://a:1/solr", "http://b:2/solr"), "", "x")),
        ("zookeeper://zk1:2181,zk2:2181/solr/images", False, Address((), "zk1:2181,zk2:2181/solr", "images")),
        ("zookeeper://zk1/images", False, Address((), "zk1", "images")),
        ("zk1:2181,zk2:2181/solr/prod", True, Address((), "zk1:2181,zk2:2181/solr/prod")),
        ("zk1:2181, zk2:2181", True, Address((), "zk1:2181,zk2:2181")),
    ],
)
def test_an_address_says_where_nodes_are_and_which_collection(text: str, cloud: bool, address: Address) -> None:
    assert parse_address(text, "Solr URL", cloud=cloud) == address


@pytest.mark.parametrize(
    ("text", "cloud"),
    [
        ("", False), (",", False), ("solr:8983/solr/images", False), ("ftp://solr/solr/images", False),
        ("http:///solr/images", False), ("http://solr:port/solr/images", False), ("http://solr:99999/solr/x", False),
        ("http://alice:secret@solr/solr/images", False), ("http://solr/solr/images?commit=true", False),
        ("http://solr/solr/images#x", False), ("http://solr/solr/..", False), ("http://solr/solr/%2e%2e", False),
        ("http://solr/solr/a%2fb", False), ("http://solr/solr/admin", False), ("http://a/solr/x,http://b/solr/y", False),
        ("zookeeper:///solr/images", False), ("http://solr", True), ("zk1:2181/so lr", True), ("", True),
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_and_its_login_not_shown(text: str, cloud: bool) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_address(text, "Solr URL", cloud=cloud)
    assert caught.value.setting == "Solr URL"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["", "/", "/update/../admin", "/update/./x", "update?commit=true", "/admin/cores", "/a b", "/u#x", "%2e"]
)
def test_a_path_does_not_leave_its_collection(path: str) -> None:
    with pytest.raises(ConfigurationError):
        checked_path(path, "Solr Update Path")


@pytest.mark.parametrize("name", ["..", "a/b", "admin", "a?b", "a b", "", "%2e%2e", "a#b"])
def test_the_name_of_a_collection_leads_nowhere_else(name: str) -> None:
    solr = Solr(SolrSettings(parse_address("http://127.0.0.1:1/solr", "Solr URL")))
    with pytest.raises(ConfigurationError):
        solr.collection(name)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"password": "x"}, "Basic Username"),
        ({"user": "a", "kerberos": True}, "Kerberos"),
        ({"connections": 0}, "Solr Maximum Connections Per Host"),
        ({"key": "/etc/hosts"}, "Client Key"),
        ({"ca_file": "/no/such/file"}, "Trusted Certificates"),
        ({"certificate": "/no/such/file"}, "Client Certificate"),
        ({"certificate": "/etc/hosts", "key": "/no/such/file"}, "Client Key"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SolrSettings(Address(("http://solr/solr",)), **settings)
    assert caught.value.setting == named


def test_kerberos_without_its_library_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "requests_kerberos", None)
    with pytest.raises(ConfigurationError, match="requests-kerberos"):
        Solr(SolrSettings(Address(("http://solr/solr",)), kerberos=True))


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(SolrSettings(Address(("http://solr/solr",)), user="a", password="secret"))


# --- nodes ----------------------------------------------------------------------------------------------------------


def test_the_next_node_is_asked_where_one_does_not_answer_and_stays_the_first(solr: str) -> None:
    closed, silent = free_ports(1)[0], socket.create_server(("127.0.0.1", 0))
    bases = f"http://127.0.0.1:{closed}/solr/x", f"http://127.0.0.1:{silent.getsockname()[1]}/solr/x"
    name = solr.rpartition("/")[2]
    address = ",".join(base.replace("/x", f"/{name}") for base in bases) + f",{solr}"
    collection = open_collection(address, answer_s=1)
    started = time.monotonic()
    collection.add(DOCUMENT)
    assert time.monotonic() - started > 0.9  # it waited for the silent one
    started = time.monotonic()
    collection.add(DOCUMENT)
    assert time.monotonic() - started < 0.9
    assert len(found(solr)) == 1
    silent.close()


def test_what_must_not_be_done_twice_is_not_sent_to_a_second_node(solr: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = solr.rpartition("/")[2]
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/solr/{name},{solr}"
        collection = open_collection(address, answer_s=0.5)
        with pytest.raises(WarehouseError) as caught:
            collection.post("update", b"[]", repeatable=False)
        assert caught.value.code == "solr.unavailable"
        closed = free_ports(1)[0]
        collection = open_collection(address.replace(str(silent.getsockname()[1]), str(closed)))
        collection.post("update", b"[]", repeatable=False)  # this one was never sent to the first


def test_zookeeper_names_the_nodes_those_with_the_collection_first(solr_cloud: Service, solr_guarded: str) -> None:
    address = f"zookeeper://{solr_cloud.zookeeper}/guarded"
    solr = Solr(SolrSettings(parse_address(address, "Solr URL")))
    nodes = solr.nodes.of("guarded")
    assert len(nodes) == 2
    assert sorted(nodes) == sorted(solr.nodes.of("no-such-collection"))
    state = solr_cloud.admin("collections", action="CLUSTERSTATUS", collection="guarded")["cluster"]["collections"]
    [replica] = state["guarded"]["shards"]["shard1"]["replicas"].values()
    assert nodes[0] == replica["base_url"]


def test_an_alias_is_as_good_as_its_collection(solr_cloud: Service, solr_sharded: str) -> None:
    solr_cloud.admin("collections", action="CREATEALIAS", name="also", collections="sharded")
    collection = open_collection(f"zookeeper://{solr_cloud.zookeeper}/also")
    collection.add(DOCUMENT, commit=True)
    assert len(found(solr_sharded, "id:a")) == 1
    collection.delete(id="a", commit=True)


def test_a_zookeeper_that_is_away_or_none_is_said_to_be(solr: str) -> None:
    for address in (f"127.0.0.1:{free_ports(1)[0]}", solr.split("/")[2]):
        error = failure(open_collection(f"zookeeper://{address}/x", connect_s=1))
        assert (error.code, error.retryable) == ("solr.unavailable", True)
        assert "ZooKeeper" in str(error)


def test_pysolrs_own_methods_work_and_raise_our_errors(solr: str) -> None:
    collection = open_collection(solr)
    collection.add([{"id": "a", "owner": "x", "title": "a quick fox"}, {"id": "b", "owner": "x"}], commit=True)
    assert [each["id"] for each in collection.search("title:fox")] == ["a"]
    assert collection.search("*:*", rows=0).hits == 2
    assert [each["id"] for each in collection.search("owner:" + "x" * 2000 + " OR id:b")] == ["b"]  # by POST
    assert collection.ask("select", {"query": "*:*", "limit": 0})["response"]["numFound"] == 2
    collection.delete(q="id:a", commit=True)
    assert collection.search("*:*").hits == 1
    for ask in (lambda: collection.search("(("), lambda: collection.ask("select", {"query": "(("})):
        with pytest.raises(SolrRefused):
            ask()


# --- logins and certificates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["url", "zookeeper"])
@pytest.mark.parametrize(
    ("login", "code"),
    [
        pytest.param(None, "solr.not_authorized", id="none"),
        pytest.param((WRITER[0], "wrong"), "solr.not_authorized", id="wrong-password"),
        pytest.param(READER, "solr.not_authorized", id="no-right-to-write"),
        pytest.param(WRITER, None, id="right"),
    ],
)
def test_a_login_that_is_missing_or_wrong_is_told_and_may_be_mended(
    solr_cloud: Service, solr_guarded: str, by: str, login: tuple[str, str] | None, code: str | None
) -> None:
    address = solr_guarded if by == "url" else f"zookeeper://{solr_cloud.zookeeper}/guarded"
    collection = open_collection(address, user=login[0] if login else "", password=login[1] if login else "")
    if code is None:
        collection.add(DOCUMENT, commit=True)
        written = [each["id"] for each in found(solr_guarded, login=WRITER)]
        assert written.count(DOCUMENT[0]["id"]) == 1  # other tests write other documents to it
        return
    error = failure(collection)
    assert (error.code, error.retryable) == (code, True)
    assert WRITER[1] not in str(error)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_tls_with_an_authority_of_ones_own(solr: str, certificates: Certificates) -> None:
    with tls_proxy(int(solr.split(":")[2].split("/")[0]), certificates) as port:
        address = f"https://127.0.0.1:{port}/solr/{solr.rpartition('/')[2]}"
        open_collection(address, ca_file=certificates.path("ca.pem")).add(DOCUMENT)
        for settings in ({}, {"ca_file": certificates.path("stranger.pem")}):
            error = failure(open_collection(address, **settings))
            assert (error.code, error.retryable) == ("solr.unavailable", True)
            assert "certificate" in str(error).lower()
        by_name = failure(
            open_collection(address.replace("127.0.0.1", "localhost"), ca_file=certificates.path("ca.pem"))
        )
        assert "localhost" in str(by_name)
    assert len(found(solr)) == 1


def test_tls_with_a_certificate_of_the_client(solr: str, certificates: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(
        Path(certificates.path("client.pem")).read_text() + Path(certificates.path("client.key")).read_text()
    )
    with tls_proxy(int(solr.split(":")[2].split("/")[0]), certificates, clients=True) as port:
        address = f"https://127.0.0.1:{port}/solr/{solr.rpartition('/')[2]}"
        trusted = {"ca_file": certificates.path("ca.pem")}
        own = {"certificate": certificates.path("client.pem"), "key": certificates.path("client.key")}
        strange = {"certificate": certificates.path("other-client.pem"), "key": certificates.path("other-client.key")}
        open_collection(address, **trusted, **own).add(DOCUMENT)
        open_collection(address, **trusted, certificate=str(both)).add(DOCUMENT)
        for settings in ({}, strange):
            assert failure(open_collection(address, **trusted, **settings)).code == "solr.unavailable"
    assert len(found(solr)) == 1


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_collection_that_is_not_there_may_come(solr_service: Service, solr_cloud: Service) -> None:
    for address in (
        f"{solr_service.url}/nowhere",
        f"{solr_cloud.url}/nowhere",
        f"zookeeper://{solr_cloud.zookeeper}/nowhere",
    ):
        error = failure(open_collection(address))
        assert (error.code, error.retryable) == ("solr.collection_missing", True)


def test_a_solr_that_is_paused_is_waited_for_as_long_as_it_may_take(solr_service: Service, solr: str) -> None:
    collection = open_collection(solr, answer_s=1)
    solr_service.service.pause()
    try:
        started = time.monotonic()
        error = failure(collection)
        assert 0.9 < time.monotonic() - started < 5
        assert (error.code, error.retryable) == ("solr.unavailable", True)
    finally:
        solr_service.service.resume()
    collection.add(DOCUMENT)
    assert len(found(solr)) == 1


def test_a_host_that_is_none_is_unavailable() -> None:
    error = failure(open_collection("http://no-such-host.invalid/solr/x"))
    assert (error.code, error.retryable) == ("solr.unavailable", True)


@contextmanager
def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[str]:
    """A server that says the same to everything, as a proxy, a full disk or a crowd makes Solr say it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/solr/x"
        server.shutdown()


def said(text: str, code: int = 500) -> bytes:
    return b'{"responseHeader":{"status":%d},"error":{"msg":"%s","code":%d}}' % (code, text.encode(), code)


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        pytest.param(500, said("No space left on device"), "solr.unavailable", True, id="full-disk"),
        pytest.param(500, said("this IndexWriter is closed"), "solr.unavailable", True, id="index-closed-by-an-error"),
        pytest.param(
            500, said("Server error writing document id 1 to the index"), "solr.unavailable", True, id="cannot-write"
        ),
        pytest.param(503, b"<html>SolrCore is loading</html>", "solr.unavailable", True, id="loading"),
        pytest.param(429, b"Too many requests", "solr.unavailable", True, id="too-many-requests"),
        pytest.param(408, b"", "solr.unavailable", True, id="request-timeout"),
        pytest.param(502, b"Bad Gateway", "solr.unavailable", True, id="bad-gateway"),
        pytest.param(302, b"", "solr.unavailable", True, id="redirected"),
        pytest.param(204, b"", "solr.unavailable", True, id="no-content"),
        pytest.param(407, b"", "solr.unavailable", True, id="proxy-wants-a-login"),
        pytest.param(
            401, b"<title>Error 401 Bad credentials</title>", "solr.not_authorized", True, id="bad-credentials"
        ),
        pytest.param(404, b"<title>Error 404 Not Found</title>", "solr.collection_missing", True, id="not-found"),
        pytest.param(
            413, b"<html>Request Entity Too Large</html>", "solr.too_large", False, id="too-large-for-a-proxy"
        ),
        pytest.param(409, said("version conflict for 1", 409), "solr.conflict", False, id="conflict"),
        pytest.param(415, said("Unsupported ContentType", 415), "solr.refused", False, id="wrong-type"),
    ],
)
def test_each_answer_has_its_code_and_its_fate(status: int, body: bytes, code: str, retryable: bool) -> None:
    with answering(status, body, {"Location": "http://127.0.0.1:1/"} if status == 302 else None) as address:
        error = failure(open_collection(address))
    assert (error.code, error.retryable) == (code, retryable)


def test_what_a_server_says_stays_one_line_without_colours() -> None:
    error, _ = error_of(503, said("a\\u001b[31mred\\nsecond line <script>" + "x" * 5000), "http://solr/solr/x")
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 500


def test_what_another_node_said_is_found_in_a_message_of_any_length() -> None:
    """Solr repeats what it refuses, a long value or query; a message of a megabyte must cost no more than a look at it."""
    assert isinstance(refusal("x" * 1_000_000), SolrRefused)
    said = refusal("ERROR: [doc=1] unknown field 'a'; Remote error message: missing required field: name")
    assert (said.code, str(said)) == ("solr.missing_value", "missing required field: name")


def test_every_error_of_requests_is_one_of_ours(monkeypatch: pytest.MonkeyPatch, solr: str) -> None:
    kinds: list[type[Exception]] = [requests.RequestException]
    for kind in kinds:
        kinds += kind.__subclasses__()
    collection = open_collection(solr)
    assert len(kinds) > 15
    for kind in kinds:
        monkeypatch.setattr(collection.solr._session, "request", _raising(kind))
        error = failure(collection)
        assert (error.code, error.retryable) == ("solr.unavailable", True), kind


def _raising(kind: type[Exception]) -> Callable[..., Any]:
    def request(*args: Any, **more: Any) -> Any:
        raise kind("x", "y", 0) if issubclass(kind, requests.exceptions.JSONDecodeError) else kind("made up")

    return request


def test_many_threads_share_the_connections(solr: str) -> None:
    collection = open_collection(solr, connections=2, answer_s=60)
    errors: list[Exception] = []

    def write(number: int) -> None:
        try:
            for n in range(20):
                collection.add([{"id": f"{number}-{n}", "owner": "x"}])
        except Exception as err:
            errors.append(err)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(found(solr)) == 160
