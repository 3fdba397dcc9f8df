"""A real NiFi with the real NAR, for the tests in this folder. Skipped where there is no NiFi, or no Java for it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.ports import free_ports
from imagewarehouse.resources import REPOSITORY
from tools.local_nifi import LocalNifi, find_java, nifi_home

_NARS = REPOSITORY / "build" / "test-nars"
_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
_TIMEOUT_S = 900  # NiFi comes up and takes a NAR within the first test
_SHORT = ("test_deploy.py", "test_flow.py")  # six of twenty minutes


@pytest.hookimpl(tryfirst=True)  # before pytest looks which marks are wanted
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))
            if item.path.name not in _SHORT:
                item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def nifi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNifi]:
    """One for all tests: put back what you change in it."""
    if nifi_home() is None:
        pytest.skip("needs a NiFi: unpack NiFi 2 and name its folder in NIFI_HOME")
    try:
        find_java()
    except ConfigurationError as err:
        pytest.skip(f"needs a Java for NiFi: {err}")
    local = LocalNifi(tmp_path_factory.mktemp("nifi"))
    try:
        yield local.start(timeout=300)
    finally:
        local.stop()


@pytest.fixture(scope="session")
def nar() -> Path:
    """The NAR for this Python, packed once for each state of what goes into it."""
    from tools import nar as packer

    digest = hashlib.sha256(_PYTHON.encode())
    names = ("processors", "imagewarehouse", "model", "tools/nar.py", "requirements.lock", "pyproject.toml")
    for path in sorted(path for name in names for path in _files(REPOSITORY / name)):
        digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes())
    folder = _NARS / digest.hexdigest()[:24]
    known = sorted(folder.glob("*.nar"))
    if known:
        return known[0]
    shutil.rmtree(_NARS, ignore_errors=True)  # of earlier states, each of some 100 MB
    return packer.pack(packer.Target(_PYTHON, "linux-x86_64", "core"), folder)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    yield from (one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts)


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A flow that is deployed and running."""

    nifi: LocalNifi
    images_port: int
    classify_port: int
    data: Path

    @property
    def images(self) -> str:
        return f"http://127.0.0.1:{self.images_port}/images"

    @property
    def classify(self) -> str:
        return f"http://127.0.0.1:{self.classify_port}/classify"

    @property
    def settings(self) -> list[str]:
        values = {
            "http.images.port": self.images_port,
            "http.classify.port": self.classify_port,
            "http.classify.host": "127.0.0.1",
            "rows.database": self.data / "rows.duckdb",
            "store.uri": self.data / "objects",
        }
        return [text for name, value in values.items() for text in ("--set", f"{name}={value}")]


@pytest.fixture(scope="session")
def places(nifi: LocalNifi, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Where the flow is to listen and to write; nothing is deployed by this."""
    return Warehouse(nifi, *free_ports(2), tmp_path_factory.mktemp("warehouse"))


@pytest.fixture
def warehouse(places: Warehouse, nar: Path) -> Warehouse:
    """Deployed and running, with the settings of `places`; quick where it is so already."""
    code = call(["deploy", "--nifi", places.nifi.url, "--nar", str(nar), *places.settings])
    assert code == 0, places.nifi.last_words()
    return places


Command = Callable[..., tuple[int, dict[str, object], str]]


@pytest.fixture
def command(nifi: LocalNifi, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `imagewarehouse NAME --json ...` on that NiFi: exit code, what it printed, and its messages."""

    def run(name: str, *arguments: str) -> tuple[int, dict[str, object], str]:
        capsys.readouterr()
        code = call([name, "--nifi", nifi.url, "--json", *arguments])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out.strip() else {}, said.err

    return run
