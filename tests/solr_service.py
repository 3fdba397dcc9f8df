"""A real Solr for tests, started once for all of them: one node, or SolrCloud with its ZooKeeper.

`solr_service` is the node. A test has a core of its own in it (`solr`), or makes one from whatever configset (`Solr.core`).
Anybody may use these. In SolrCloud the collections `guarded` and `guarded-2` want the login of WRITER, and READER may only
search there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from imagewarehouse.ports import free_ports
from tests.object_services import Service
from tools.artifacts import SOLR_CLASSES, fetch_service, find_java

RECORDS = Path(__file__).parent / "data" / "solr" / "records"
"""The configset of tests that write whatever they like."""

ADMIN, WRITER, READER = ("admin", "all of it"), ("writer", "wör:d & more"), ("reader", "looks only")
_LOGINS = {ADMIN: ["admin", "writer", "reader"], WRITER: ["writer", "reader"], READER: ["reader"]}


_LOG_IS_READ = 3  # of the states of Solr's update log


@dataclass
class Solr:
    """A running Solr, one node or a cloud: `service` is its process, `url` what it is asked by."""

    service: Service
    url: str
    zookeeper: str = ""

    @property
    def home(self) -> Path:
        return self.service.folder / "home"

    def admin(self, path: str, seconds: float = 60, **params: object) -> Any:
        """Ask `admin/PATH` as the administrator, for the JSON of its answer."""
        answer = requests.get(
            f"{self.url}/admin/{path}", params={**params, "wt": "json"}, auth=utf8(ADMIN), timeout=seconds
        )
        assert answer.ok, answer.text
        return answer.json()

    def core(self, name: str, configset: Path = RECORDS) -> str:
        """A new core from that folder of schema.xml, solrconfig.xml...; its URL."""
        shutil.copytree(configset, self.home / name / "conf")
        self.admin("cores", action="CREATE", name=name, instanceDir=name)
        return f"{self.url}/{name}"

    def drop(self, name: str) -> None:
        self.admin("cores", action="UNLOAD", core=name, deleteInstanceDir="true")

    def collection(self, name: str, configset: str, shards: int = 1) -> str:
        """A new collection of a cloud, from one of the configsets that it was started with; its URL."""
        self.admin("collections", action="CREATE", name=name, numShards=shards, replicationFactor=1,
                   **{"collection.configName": configset})  # fmt: skip
        return f"{self.url}/{name}"

    def start(self) -> None:
        """Until it answers, and what the logs of its cores had has been indexed."""
        self.service.start()
        # It does not speak of those that it has not come to.
        cores = {path.parent.name for path in self.home.glob("*/core.properties")}
        until = time.monotonic() + 120
        while True:
            with suppress(requests.RequestException, AssertionError):
                status = self.admin("cores", action="STATUS")
                assert not status["initFailures"], status["initFailures"]
                assert status["status"].keys() >= cores
                # Meanwhile a commit is answered as if it had been done.
                states = self.admin("metrics", group="core", prefix="TLOG.state", compact="true")["metrics"]
                assert all(states[f"solr.core.{name}"]["TLOG.state"] == _LOG_IS_READ for name in cores)
                return
            assert time.monotonic() < until, (self.service.folder / "server.log").read_text(errors="replace")[-2000:]
            time.sleep(0.1)


def found(url: str, query: str = "*:*", login: tuple[str, str] | None = None, **params: object) -> list[dict[str, Any]]:
    """Commit, and look: the documents of a core, those without `rows` given all of them, by id."""
    auth = login and utf8(login)
    requests.get(f"{url}/update", params={"commit": "true"}, auth=auth, timeout=60).raise_for_status()
    answer = requests.post(
        f"{url}/select", data={"q": query, "rows": 1_000_000, "sort": "id asc", **params}, auth=auth, timeout=60
    )
    assert answer.ok, answer.text
    documents: list[dict[str, Any]] = answer.json()["response"]["docs"]
    return documents


@contextmanager
def solr_running(
    folder: Path,
    configsets: Mapping[str, Path] | None = None,
    memory: str = "512m",
    security: bool = False,
    compiled: bool = False,
) -> Iterator[Solr]:
    """One node of its own, with a core for each name. `kill` its service and `start` it: all that was acknowledged is there.

    `security`: WRITER's login is needed to write and READER's to search, in every core. `compiled`: as Java is in earnest, for
    measurements.
    """
    (home := folder / "home").mkdir(parents=True)
    (home / "solr.xml").write_text("<solr></solr>")
    if security:
        _write_security(home, collections=None)
    for name, configset in (configsets or {}).items():
        shutil.copytree(configset, home / name / "conf")
        (home / name / "core.properties").write_text(f"name={name}\n")
    (port,) = free_ports(1)
    command = _in_java("single", folder, memory, home, port, compiled=compiled)
    solr = Solr(Service(command, port, folder), f"http://127.0.0.1:{port}/solr")
    try:
        solr.start()
        yield solr
    finally:
        solr.service.kill()


@contextmanager
def cloud_running(folder: Path, configsets: Mapping[str, Path], nodes: int = 1, memory: str = "768m") -> Iterator[Solr]:
    """SolrCloud with its ZooKeeper in one process, with those configsets and no collection. It cannot be started again."""
    security, addresses = _write_security(folder, ["guarded", "guarded-2"]), folder / "addresses"
    given = [str(part) for name, configset in configsets.items() for part in (name, configset)]
    service = Service(
        _in_java("cloud", folder, memory, folder / "cloud", nodes, security, addresses, *given), 0, folder
    )
    try:
        service.start(until=addresses.exists)
        zookeeper, *urls = addresses.read_text().split("\n")
        yield Solr(service, urls[0], zookeeper)
    finally:
        service.kill()


@pytest.fixture(scope="session")
def solr_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Solr]:
    """The node of all tests. Whoever kills or pauses it brings it back."""
    with solr_running(tmp_path_factory.mktemp("solr")) as solr:
        yield solr


@pytest.fixture(scope="session")
def solr_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Solr]:
    """SolrCloud of two nodes, with the configset `records`."""
    with cloud_running(tmp_path_factory.mktemp("solr-cloud"), {"records": RECORDS}, nodes=2) as solr:
        yield solr


@pytest.fixture(scope="session")
def solr_guarded(solr_cloud: Solr) -> str:
    """The URL of the collection `guarded`."""
    return solr_cloud.collection("guarded", "records")


@pytest.fixture(scope="session")
def solr_sharded(solr_cloud: Solr) -> str:
    """The URL of a collection whose documents are on both nodes."""
    return solr_cloud.collection("sharded", "records", shards=2)


@pytest.fixture
def solr(solr_service: Solr, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a core of the test's own, from the configset of tests."""
    name = f"test-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}"
    yield solr_service.core(name)
    solr_service.drop(name)


def _in_java(launcher: str, folder: Path, memory: str, *arguments: object, compiled: bool = False) -> list[object]:
    class_path = fetch_service("solr", SOLR_CLASSES[launcher])
    logging = folder / "log4j2.properties"
    logging.write_text(
        "rootLogger.level = warn\nrootLogger.appenderRef.out.ref = out\nappender.out.type = Console\nappender.out.name = out\n"
        "appender.out.layout.type = PatternLayout\nappender.out.layout.pattern = %d %p %c{1} %m%n%throwable{6}%n\n"
    )
    (temporary := folder / "tmp").mkdir(exist_ok=True)
    settings = {"solr.log.dir": folder, "java.io.tmpdir": temporary, "log4j2.configurationFile": logging}
    options = [f"-D{name}={value}" for name, value in settings.items()]
    # Half of its start is compiling; what C2 adds pays only where it runs for minutes.
    options += [f"-Xmx{memory}", *([] if compiled else ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])]
    return [
        find_java(),
        *options,
        "-cp",
        os.pathsep.join(map(str, class_path)),
        SOLR_CLASSES[launcher].stem,
        *arguments,
    ]


def _write_security(folder: Path, collections: list[str] | None) -> Path:
    """These collections (None: all of them) want a login; a wrong login is refused by every one."""
    credentials = {}
    for name, password in _LOGINS:
        salt = hashlib.sha256(name.encode()).digest()
        hashed = hashlib.sha256(hashlib.sha256(salt + password.encode()).digest()).digest()
        credentials[name] = f"{base64.b64encode(hashed).decode()} {base64.b64encode(salt).decode()}"
    where = {} if collections is None else {"collection": collections}
    permissions = [
        {"name": "writing", **where, "path": ["/update", "/update/*"], "role": "writer"},
        {"name": "searching", **where, "path": ["/select", "/get"], "role": "reader"},
        {"name": "security-edit", "role": "admin"},
    ]
    roles = {name: given for (name, _), given in _LOGINS.items()}
    path = folder / "security.json"
    security = {
        "authentication": {"class": "solr.BasicAuthPlugin", "blockUnknown": False, "credentials": credentials},
        "authorization": {
            "class": "solr.RuleBasedAuthorizationPlugin",
            "permissions": permissions,
            "user-role": roles,
        },
    }
    path.write_text(json.dumps(security))
    return path


def utf8(login: tuple[str, str]) -> tuple[bytes, bytes]:
    """requests sends texts as latin-1."""
    return login[0].encode(), login[1].encode()
