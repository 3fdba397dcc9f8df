"""`imagewarehouse deploy` as far as it goes without a NiFi: arguments, parameters, NARs, flows, and what is not reachable.

What needs one is in tests/nifi.
"""

from __future__ import annotations

import copy
import json
import shutil
import ssl
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.deployment import connection
from imagewarehouse.deployment.connection import read_address
from imagewarehouse.deployment.endpoints import endpoints
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.flow import Group, check_origin, differences, read_definition
from imagewarehouse.deployment.nars import InstalledNar, find_nar, is_same, read_nar
from imagewarehouse.deployment.parameters import Given, Present, given_values, merge, read_file
from imagewarehouse.deployment.running import (
    Processor,
    dead_letters,
    essence,
    invalid_lines,
    layout,
    snapshot,
    waiting,
)
from imagewarehouse.deployment.wait import until
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows.definition import Parameter, read_flow
from imagewarehouse.resources import REPOSITORY
from tools.local_nifi import (
    LocalNifi,
    Tls,
    _ProcessLog,
    find_java,
    make_certificates,
    nifi_home,
    read_properties,
    write_properties,
)

FLOW = REPOSITORY / "flows" / "image-warehouse.json"
SECRET = "correct-horse-battery-staple"
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _no_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NIFI", "NIFI_USER", "NIFI_PASSWORD", "NIFI_TOKEN", "NIFI_KEY_PASSWORD", "ACCESS_KEYS"):
        monkeypatch.delenv(f"IMAGEWAREHOUSE_{name}", raising=False)


def a_nar(path: Path, *, version: str = "1.0.0", mark: str = "0" * 64, more: dict[str, str] | None = None) -> Path:
    """A NAR with the flow's processors and nothing in them."""
    manifest = f"Manifest-Version: 1.0\r\nNar-Group: g\r\nNar-Id: n\r\nNar-Version: {version}\r\n"
    manifest += f"Created-By: imagewarehouse {version} sha256:{mark}\r\n\r\n" if mark else "\r\n"
    kinds = {one.type for one in read_flow(FLOW).components.values() if one.bundle[1] == "python-extensions"}
    code = "class {}:\n    class Java:\n        implements = []\n    class ProcessorDetails:\n        version = '{}'\n"
    files = {"META-INF/MANIFEST.MF": manifest} | {f"{kind}.py": code.format(kind, version) for kind in kinds}
    with zipfile.ZipFile(path, "w") as nar:
        for name, text in (files | (more or {})).items():
            nar.writestr(name, text)
    return path


# --- a server that answers as NiFi would --------------------------------------------------------------------------

Answer = tuple[int, str, str]  # status, type, content


class Server:
    """Answers what `answers` says by method and path, and writes down what it was asked."""

    def __init__(self, tls: Tls | None = None, host: str = "127.0.0.1") -> None:
        self.answers: dict[str, Answer] = {
            "GET /flow/about": (200, "application/json", '{"about":{"version":"2.9.0"}}')
        }
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                key = f"{self.command} {self.path.removeprefix('/nifi-api').partition('?')[0]}"
                outer.asked.append(f"{key} {self.headers.get('Authorization', '')}".strip())
                status, kind, text = outer.answers.get(key, (404, "text/plain", "not here"))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text.encode())))
                self.send_header("Set-Cookie", "__Secure-Request-Token=x; Path=/")
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer((host, 0), Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make certificates")
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(tls: Tls) -> Iterator[Server]:
    one = Server(tls)
    yield one
    one.close()


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    """Exit code and everything that was printed."""

    def perform(*arguments: str | Path) -> tuple[int, str]:
        code = call([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return perform


# --- addresses and logins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://nifi:8080", "http://nifi:8080"),
        ("https://nifi:8443/nifi", "https://nifi:8443"),
        ("https://nifi:8443/nifi/#/process-groups/root", "https://nifi:8443"),
        ("https://nifi:8443/nifi-api/", "https://nifi:8443"),
        ("https://proxy/warehouse/nifi", "https://proxy/warehouse"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_an_address_is_taken_as_people_copy_it(text: str, url: str) -> None:
    assert read_address(text).url == url


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        pytest.param([], "--nifi: is needed", id="no-address"),
        pytest.param(["--nifi", "nifi:8080"], "--nifi: expected an address", id="no-scheme"),
        pytest.param(["--nifi", "ftp://nifi"], "--nifi: expected an address", id="another-scheme"),
        pytest.param(["--nifi", "http://me:pw@nifi"], "--nifi: is visible", id="password-in-the-address"),
        pytest.param(
            ["--nifi", NOBODY, "--client-key", "x"], "--client-key: needs --client-cert", id="half-a-certificate"
        ),
        pytest.param(["--nifi", NOBODY, "--password-file", FLOW], "--password-file: needs --user", id="half-a-login"),
        pytest.param(["--nifi", NOBODY, "--ca-cert", "/no/such"], "--ca-cert: there is no file", id="no-authority"),
        pytest.param(["--nifi", NOBODY, "--token-file", "/no/such"], "--token-file: /no/such", id="no-token-file"),
        pytest.param(["--nifi", "https://127.0.0.1:1", "--user", "me"], "--user: needs a password", id="no-password"),
        pytest.param(
            ["--nifi", NOBODY, "--user", "me"], "--user: NiFi takes logins over https", id="login-in-the-clear"
        ),
        pytest.param(["--nifi", NOBODY, "--group", " "], "--group: is empty", id="no-group"),
        pytest.param(["--nifi", NOBODY], "connection refused", id="nobody-there"),
        pytest.param(["--nifi", "http://no-such-host.invalid"], "there is no host", id="no-such-host"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(run: Command, arguments: list[str], setting: str) -> None:
    code, said = run("status", *arguments)
    assert code == 2
    assert setting in said
    assert len(said.strip().splitlines()) == 1


def test_secrets_are_in_no_output(run: Command, secure: Server, tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWAREHOUSE_NIFI_PASSWORD", SECRET)
    secure.answers["POST /access/token"] = (400, "text/plain", "The supplied username and password are not valid.")
    code, said = run("status", "--nifi", secure.url, "--ca-cert", tls.ca, "--user", "me")
    assert code == 2
    assert "refused the login of me" in said
    assert SECRET not in said
    monkeypatch.setenv("IMAGEWAREHOUSE_NIFI_TOKEN", SECRET)
    secure.answers["GET /flow/about"] = (401, "text/plain", "Unauthorized")
    code, said = run("status", "--nifi", secure.url, "--ca-cert", tls.ca)
    assert code == 2
    assert "IMAGEWAREHOUSE_NIFI_TOKEN" in said
    assert SECRET not in said
    assert f"GET /flow/about Bearer {SECRET}" in secure.asked


def test_a_token_is_not_sent_in_the_clear(run: Command, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWAREHOUSE_NIFI_TOKEN", SECRET)
    code, said = run("status", "--nifi", server.url)
    assert code == 2
    assert "https" in said
    assert server.asked == []


def test_a_login_is_a_repr_without_its_secrets() -> None:
    assert SECRET not in repr(connection.Login("me", SECRET, SECRET))
    assert SECRET not in repr(Given(SECRET, "x"))


# --- TLS ----------------------------------------------------------------------------------------------------------


def test_a_certificate_that_is_not_trusted_says_how_to_trust_it(run: Command, secure: Server) -> None:
    code, said = run("status", "--nifi", secure.url)
    assert code == 2
    assert "--ca-cert: the certificate" in said
    assert secure.asked == []


def test_the_wrong_authority_is_told_as_such(run: Command, secure: Server, tmp_path: Path) -> None:
    other = make_certificates(tmp_path)
    code, said = run("status", "--nifi", secure.url, "--ca-cert", other.ca)
    assert code == 2
    assert "is not the authority" in said


def test_a_certificate_for_another_name_is_told_as_such(run: Command, tls: Tls) -> None:
    try:
        server = Server(tls, "127.0.0.2")
    except OSError:
        pytest.skip("needs a second address of this machine, 127.0.0.2")
    try:
        code, said = run("status", "--nifi", server.url, "--ca-cert", tls.ca)
    finally:
        server.close()
    assert code == 2
    assert "for another name" in said


def test_insecure_warns_each_time(run: Command, secure: Server) -> None:
    for _ in range(2):
        _, said = run("status", "--nifi", secure.url, "--insecure")
        assert "warning: --insecure" in said


def test_http_and_https_mixed_up(run: Command, secure: Server, server: Server) -> None:
    assert "is it http://" in run("status", "--nifi", server.url.replace("http:", "https:"))[1]
    assert "https://" in run("status", "--nifi", secure.url.replace("https:", "http:"))[1]


def test_files_that_hold_no_certificate(run: Command, secure: Server, tls: Tls) -> None:
    assert "--ca-cert" in run("status", "--nifi", secure.url, "--ca-cert", FLOW)[1]
    code, said = run("status", "--nifi", secure.url, "--client-cert", tls.client_certificate, "--client-key", tls.key)
    assert code == 2
    assert "do not belong together" in said


# --- what NiFi refuses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "text", "code", "said"),
    [
        pytest.param(401, "Unauthorized", 2, "--user", id="who-are-you"),
        pytest.param(403, "Unable to view", 1, "'view the user interface'", id="not-allowed"),
        pytest.param(404, "", 2, "has no NiFi there", id="another-server"),
        pytest.param(409, "The cluster is still voting", 1, "still voting", id="not-ready"),
    ],
)
def test_a_refusal_says_what_to_do(run: Command, server: Server, status: int, text: str, code: int, said: str) -> None:
    server.answers["GET /flow/about"] = (status, "text/plain", text)
    found = run("status", "--nifi", server.url)
    assert found[0] == code
    assert said in found[1]


@pytest.mark.parametrize("content", ["{}", '{"about": {"version": "1.28.1"}}', "<html><title>Hello</title></html>"])
def test_something_that_is_no_nifi_2(run: Command, server: Server, content: str, tmp_path: Path) -> None:
    server.answers["GET /flow/about"] = (200, "application/json", content)
    code, said = run("deploy", "--nifi", server.url, "--nar", a_nar(tmp_path / "a.nar"))
    assert code == 2
    assert "NiFi" in said


def test_disconnected_nodes_are_named_when_the_nar_is_refused(run: Command, server: Server, tmp_path: Path) -> None:
    board = '{"bulletinBoard": {"bulletins": []}}'
    server.answers["GET /flow/bulletin-board"] = (200, "application/json", board)
    server.answers["GET /controller/nar-manager/nars"] = (200, "application/json", '{"narSummaries": []}')
    server.answers["GET /flow/processor-types"] = (200, "application/json", '{"processorTypes": []}')
    text = "Cannot upload NAR because the following 1 nodes are not currently connected: [node-2]"
    server.answers["POST /controller/nar-manager/nars/content"] = (409, "text/plain", text)
    code, said = run("deploy", "--nifi", server.url, "--nar", a_nar(tmp_path / "a.nar"))
    assert code == 1
    assert "node-2" in said
    assert "to all nodes or to none" in said


# --- parameters ---------------------------------------------------------------------------------------------------

DECLARED = {
    "port": Parameter("port", "8081", False, "where"),
    "keys": Parameter("keys", None, True, "who"),
    "solr.url": Parameter("solr.url", None, False, "index"),
}


def test_set_wins_over_the_file_and_the_file_over_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "p"
    file.write_text("# ours\nport = 2\nkeys=a:b=c\n\n")
    environ = {"IMAGEWAREHOUSE_PORT": "3", "IMAGEWAREHOUSE_SOLR_URL": "http://solr"}
    given = given_values(DECLARED, ["port=1"], file, environ)
    assert {name: (one.value, one.source) for name, one in given.items()} == {
        "port": ("1", "--set"),
        "keys": ("a:b=c", str(file)),
        "solr.url": ("http://solr", "IMAGEWAREHOUSE_SOLR_URL"),
    }


def test_parameters_as_json(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text(json.dumps({"port": 8080, "keep": True, "solr.url": None}))
    assert read_file(file) == {"port": "8080", "keep": "true", "solr.url": ""}


@pytest.mark.parametrize("text", [f"{{'keys': '{SECRET}'}}", f'{{"keys": ["{SECRET}"]}}', SECRET])
def test_a_broken_file_of_parameters_keeps_its_secrets(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_file(file)
    assert SECRET not in str(caught.value)


def test_an_unknown_parameter_is_refused_with_the_one_that_was_meant(run: Command) -> None:
    code, said = run("deploy", "--nifi", NOBODY, "--set", "http.image.port=1")
    assert code == 2
    assert "did you mean http.images.port?" in said


def test_a_secret_among_the_arguments_is_refused_and_not_repeated(run: Command) -> None:
    code, said = run("deploy", "--nifi", NOBODY, "--set", f"access.keys=alice:{SECRET}")
    assert code == 2
    assert "IMAGEWAREHOUSE_ACCESS_KEYS" in said
    assert SECRET not in said
    assert SECRET not in run("deploy", "--nifi", NOBODY, "--set", SECRET)[1]


def test_a_new_context_has_the_flows_values_and_those_given() -> None:
    merged = merge(DECLARED, {"keys": Given(SECRET, "x")}, {})
    assert [(one.name, one.value, one.new) for one in merged.changes] == [
        ("port", "8081", True),
        ("keys", SECRET, True),
        ("solr.url", None, True),
    ]


def test_what_nifi_has_stays_unless_a_value_is_given() -> None:
    present = {"port": Present("9000", False), "keys": Present(None, True), "old": Present("1", False)}
    merged = merge(DECLARED, {}, present)
    assert [one.name for one in merged.changes] == ["solr.url"], "only what NiFi lacks"
    assert merged.kept == ["port = 9000"]
    assert merged.obsolete == ["old"]
    merged = merge(DECLARED, {"port": Given("9001", "x")}, present | {"solr.url": Present(None, False, False)})
    assert [(one.name, one.value) for one in merged.changes] == [("port", "9001")]


def test_a_value_that_nifi_has_already_is_no_change_but_a_secret_may_be() -> None:
    present = {"port": Present("1", False), "keys": Present(None, True), "solr.url": Present(None, False, False)}
    given = {"port": Given("1", "x"), "keys": Given(SECRET, "x")}
    assert [one.name for one in merge(DECLARED, given, present).changes] == ["keys"]


def test_an_empty_value_takes_the_value_away() -> None:
    present = {"port": Present("1", False), "keys": Present(None, True), "solr.url": Present("http://solr", False)}
    [change] = merge(DECLARED, {"solr.url": Given(None, "x")}, present).changes
    assert change.entity()["parameter"] == {
        "name": "solr.url", "description": "index", "sensitive": False, "value": None, "valueRemoved": True,
    }  # fmt: skip


def test_a_parameter_that_is_secret_on_one_side_only_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="secret in NiFi"):
        merge(DECLARED, {}, {"port": Present(None, True)})


# --- the NAR ------------------------------------------------------------------------------------------------------


def test_without_a_nar_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="make nar"):
        find_nar(None, tmp_path)
    with pytest.raises(ConfigurationError, match="there is no file"):
        find_nar(tmp_path / "x.nar")


def test_a_nar_tells_its_coordinates_and_processors(tmp_path: Path) -> None:
    helper = {"imagewarehouse/x.py": "class A:\n    class Java: ...\n    class ProcessorDetails: ...\n"}
    nar = read_nar(a_nar(tmp_path / "a.nar", more=helper))
    assert (nar.group, nar.id, nar.version) == ("g", "n", "1.0.0")
    assert "ClassifyImage" in nar.types
    assert set(nar.types.values()) == {"1.0.0"}


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_something_that_is_no_nar_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.nar"
    if content is None:
        with zipfile.ZipFile(path, "w") as nar:
            nar.writestr("x", "y")
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="--nar"):
        read_nar(path)


def test_the_same_nar_is_known_by_the_hash_in_its_manifest(tmp_path: Path) -> None:
    nar = read_nar(a_nar(tmp_path / "a.nar"))
    there = InstalledNar("i", "g", "n", "1.0.0", nar.created_by, "", "INSTALLED", "", True)
    assert is_same(nar, there)
    assert there.ours
    assert not is_same(read_nar(a_nar(tmp_path / "b.nar", mark="1" * 64)), there)
    assert not is_same(read_nar(a_nar(tmp_path / "c.nar", version="1.1.0")), there)


def test_a_nar_without_a_mark_is_known_by_its_whole_content(tmp_path: Path) -> None:
    import hashlib

    nar = read_nar(a_nar(tmp_path / "a.nar", mark=""))
    digest = hashlib.sha256(nar.path.read_bytes()).hexdigest()
    assert is_same(nar, InstalledNar("i", "g", "n", "1.0.0", "", digest, "INSTALLED", "", True))
    assert not is_same(nar, InstalledNar("i", "g", "n", "1.0.0", "", "0" * 64, "INSTALLED", "", True))


# --- the flow -----------------------------------------------------------------------------------------------------


def as_nifi_has_it(raw: Any) -> Any:
    """As NiFi's download gives it back: the root has an identifier of its own, and lists are in any order."""
    raw = copy.deepcopy(raw)
    raw["flowContents"] |= {"identifier": "another", "name": "Mine", "position": {"x": 5.0, "y": 5.0}}
    for group in raw["flowContents"]["processGroups"]:
        group["groupIdentifier"] = "another"
        for processor in group["processors"]:
            processor["autoTerminatedRelationships"].reverse()
            processor["position"] = {"x": 1.0, "y": 1.0}
            processor["instanceIdentifier"] = "x"
    return raw


def test_a_flow_as_nifi_gives_it_back_is_the_same_flow(tmp_path: Path) -> None:
    definition = read_definition(FLOW, read_nar(a_nar(tmp_path / "a.nar")))
    assert differences(definition, as_nifi_has_it(definition.raw)) == []


def test_what_differs_is_named(tmp_path: Path) -> None:
    definition = read_definition(FLOW, read_nar(a_nar(tmp_path / "a.nar", version="2.0.0")))
    present = as_nifi_has_it(definition.raw)
    group = next(one for one in present["flowContents"]["processGroups"] if one["name"] == "Prediction")
    model = next(one for one in group["processors"] if one["type"] == "ClassifyImage")
    model["bundle"]["version"] = "1.0.0"
    model["concurrentlySchedulableTaskCount"] = 77
    model["properties"]["Model Folder"] = "/elsewhere"
    gone = group["connections"].pop()
    found = "\n".join(differences(definition, present))
    assert f"{model['name']}: Model Folder, concurrentlySchedulableTaskCount, version 1.0.0 -> 2.0.0" in found
    assert f"new: connection {gone['source']['name']} -> {gone['destination']['name']}" in found
    assert len(found.splitlines()) == 2


def test_processors_of_the_flow_get_the_version_of_the_nar(tmp_path: Path) -> None:
    flow = read_definition(FLOW, read_nar(a_nar(tmp_path / "a.nar", version="7.0.0"))).flow
    versions = {one.bundle[2] for one in flow.components.values() if one.bundle[1] == "python-extensions"}
    assert versions == {"7.0.0"}


def test_a_group_of_that_name_with_another_flow_is_not_replaced() -> None:
    definition = read_definition(FLOW)
    other = {"flowContents": {"identifier": "o", "name": "Mine", "processors": [{"identifier": "p", "name": "Theirs"}]}}
    group = Group("i", "Mine", None, {}, None, version_control=False)
    with pytest.raises(ConfigurationError, match="another flow"):
        check_origin(group, definition, other)
    check_origin(group, definition, as_nifi_has_it(definition.raw))
    with pytest.raises(ConfigurationError, match="version control"):
        check_origin(Group("i", "Mine", None, {}, None, version_control=True), definition, definition.raw)


# --- what runs ----------------------------------------------------------------------------------------------------


def test_listeners_tell_their_endpoints_with_the_parameters_filled_in() -> None:
    flow = read_flow(FLOW)
    found = [
        Processor(key, one.name, one.type, "", one.bundle, {}, "RUNNING", "RUNNING", "VALID", (), one.properties)
        for key, one in flow.components.items()
        if one.kind == "PROCESSOR"
    ]
    values = {name: one.value for name, one in flow.parameters.items()} | {"http.images.port": "9001"}
    listed = endpoints(found, values)
    assert sorted(one.url("nifi") for one in listed) == ["http://nifi:8082/classify", "http://nifi:9001/images"]
    assert {one.setting for one in listed} == {"http.images.port", "http.classify.port"}
    assert endpoints(found, {}) == [], "a port that is not known is no endpoint"


class Canned:
    """Answers of NiFi by path."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    def get(self, path: str, **_: Any) -> Any:
        return self._answers[path]


def test_dead_letters_are_told_from_what_will_drain() -> None:
    links = [("in", "listen", "work"), ("loop", "work", "work"), ("dead", "work", "dead_letters")]
    revision = {"version": 0}
    flow = {
        "processors": [{"id": name, "revision": revision} for name in ("listen", "work")],
        "funnels": [{"id": "dead_letters"}],
        "connections": [{"id": name, "sourceId": start, "destinationId": end} for name, start, end in links],
    }
    queues = [
        {"connectionStatusSnapshot": {"id": name, "flowFilesQueued": n, "bytesQueued": n}}
        for n, (name, _, _) in enumerate(links, 1)
    ]
    status = {"aggregateSnapshot": {"id": "g", "name": "G", "connectionStatusSnapshots": queues}}
    answers = {"/flow/process-groups/g": {"processGroupFlow": {"flow": flow}}}
    nifi: Any = Canned(answers | {"/flow/process-groups/g/status": {"processGroupStatus": status}})
    plan, now = layout(nifi, "g"), snapshot(nifi, "g")
    assert plan.sources == {"listen"}
    assert [queue.identifier for queue in dead_letters(now, plan)] == ["dead"]
    assert [queue.identifier for queue in waiting(now, plan)] == ["in", "loop"]


@pytest.mark.parametrize(
    ("state", "closed"),
    [("Disabled", True), ("Invalid", True), ("Stopped", False), ("Running", False)],
)
def test_an_output_port_that_leads_nowhere_keeps_nothing_from_running(state: str, closed: bool) -> None:
    """Nor does it keep a flow from having drained, whatever waits in front of it."""
    revision = {"version": 0}
    port = {"id": "out", "name": "images", "runStatus": state}
    inner = {"id": "inner", "name": "images", "runStatus": "Disabled"}
    queue = {"id": "way", "flowFilesQueued": 1, "bytesQueued": 1}
    group = {"id": "h", "name": "H", "outputPortStatusSnapshots": [{"portStatusSnapshot": inner}]}
    status = {
        "id": "g",
        "name": "G",
        "outputPortStatusSnapshots": [{"portStatusSnapshot": port}],
        "connectionStatusSnapshots": [{"connectionStatusSnapshot": queue}],
        "processGroupStatusSnapshots": [{"processGroupStatusSnapshot": group}],
    }
    flow = {
        "outputPorts": [{"id": "out", "revision": revision}],
        "connections": [{"id": "way", "sourceId": "inner", "destinationId": "out"}],
    }
    nifi: Any = Canned(
        {
            "/flow/process-groups/g": {"processGroupFlow": {"flow": flow}},
            "/flow/process-groups/g/status": {"processGroupStatus": {"aggregateSnapshot": status}},
        }
    )
    plan, now = layout(nifi, "g"), snapshot(nifi, "g")
    assert now.closed == ({"out"} if closed else set()), "of the group itself, not of those in it"
    assert [one.count for one in now.queues] == [1]
    assert waiting(now, plan) == dead_letters(now, plan) == []


def test_a_traceback_becomes_the_line_that_matters() -> None:
    text = (
        "PythonProcessor[type=PutKuduRecord, id=1] Failed to properly initialize Processor. If still scheduled. Failure is"
        " due to py4j.Py4JException: An exception was raised. Return Message: Traceback (most recent call last):\n"
        '  File "x.py", line 1\n    raise ValueError\nimagewarehouse.errors.ConfigurationError: Kudu Masters: is wrong\n\n'
        "py4j.Py4JException: An exception was raised\n  File"
    )
    assert essence(text) == (
        "Failed to properly initialize Processor: imagewarehouse.errors.ConfigurationError: Kudu Masters: is wrong"
    )
    java = "HandleHttpRequest[id=1] Processing failed: a.B: Failed\n- Caused by: java.net.BindException: in use"
    assert essence(java) == "Processing failed: a.B: Failed: java.net.BindException: in use"
    assert essence("") == ""


def test_a_nar_for_another_python_is_hinted_at() -> None:
    errors = (
        "'Processor' is invalid because Failed to parse or load Processor code. See logs for additional details.",
    )
    one = Processor(
        "i", "Classify", "ClassifyImage", "g", ("", "", ""), {}, "STOPPED", "STOPPED", "INVALID", errors, {}
    )
    assert "another Python" in invalid_lines([one])[1]


def test_waiting_ends_with_what_was_missing() -> None:
    with pytest.raises(NifiError, match=r"nothing yet; waited 0\.1 s"):
        until(lambda: None, 0.1, lambda: "nothing yet")


# --- a NiFi of one's own ------------------------------------------------------------------------------------------


def test_properties_are_set_where_they_stand_and_others_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "nifi.properties"
    path.write_text("# a comment = not a key\na=1\n#b=\nc=3\nc=4\ne=5\n")
    write_properties(path, {"a": "x", "b": "y", "c": "z", "d": "new", "e": None})
    assert read_properties(path) == {"a": "x", "b": "y", "c": "z", "d": "new"}
    assert "# a comment" in path.read_text()


def test_without_a_nifi_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NIFI_HOME", str(tmp_path))
    assert nifi_home() is None
    with pytest.raises(ConfigurationError, match="NIFI_HOME"):
        LocalNifi(tmp_path / "x")


def test_java_25_is_preferred_unless_java_home_is_new_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def java(version: str) -> Path:
        home = tmp_path / version
        (home / "bin").mkdir(parents=True)
        (home / "bin" / "java").write_text("")
        (home / "release").write_text(f'JAVA_VERSION="{version}"\n')
        return home

    homes = [java(version) for version in ("1.8.0", "21.0.2", "25.0.1", "26")]
    monkeypatch.setattr("tools.local_nifi._java_homes", lambda environ: iter(homes))
    assert find_java({})[1] == 25
    assert find_java({"JAVA_HOME": str(homes[1])})[1] == 21
    assert find_java({"JAVA_HOME": str(homes[0])})[1] == 25
    del homes[1:]
    with pytest.raises(ConfigurationError, match="found 8 in"):
        find_java({})


def test_the_log_tells_which_processor_a_python_process_serves() -> None:
    start = "2026-01-01 10:00:00,000"
    launch = "o.a.n.py4j.PythonProcess Launching Python Process python3 with working directory"
    lines = f"""
{start} INFO [main] {launch} /n/work/python/controller to communicate with Java on Port 1
{start} INFO [Initialize ClassifyImage] {launch} /n/work/nar/x to communicate with Java on Port 2
{start} INFO [Initialize StoreImage] {launch} /n/work/nar/x to communicate with Java on Port 3
{start} INFO [Initialize Python Processor] o.a.n.X Successfully loaded Python Processor aa-1 (ClassifyImage)
{start} ERROR [process reaper (pid 7)] o.a.n.X Python Process 7 with Processors [aa-2 (StoreImage)] died unexpectedly with exit
{start} INFO [process reaper (pid 7)] {launch} /n/work/nar/x to communicate with Java on Port 4
"""
    served = _ProcessLog(iter(lines.splitlines()))
    assert [served.type(0, port) for port in "12345"] == [
        "Controller",
        "ClassifyImage",
        "StoreImage",
        "StoreImage",
        None,
    ]
    assert [served.processor(0, port) for port in "1234"] == [None, "aa-1", None, "aa-2"]
