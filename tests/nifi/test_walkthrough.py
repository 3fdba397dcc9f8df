"""The walk-through of docs/nifi.md, word for word, on a NiFi as it is unpacked: HTTPS, its own certificate, one user."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagewarehouse.ports import is_free
from imagewarehouse.resources import REPOSITORY
from tools.local_nifi import LocalNifi, find_java

PORTS = (8443, 8081, 8082)
SECTION = "From a NiFi as it is unpacked to the first answer"
NOT_OF_A_FRESH_ONE = shutil.ignore_patterns("*_repository", "logs", "work", "state", "run")


def steps() -> list[str]:
    text = (REPOSITORY / "docs" / "nifi.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {SECTION}\n")[2].partition("\n## ")[0]
    return [textwrap.dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)]


@pytest.fixture
def unpacked(nifi: LocalNifi, tmp_path: Path) -> Iterator[Path]:
    """A NiFi of its own; the one of the other tests pauses, as the machine may not carry two."""
    taken = [port for port in PORTS if not is_free(port)]
    if taken:
        pytest.skip(f"the walk-through uses ports that something else has: {taken}")
    home = tmp_path / "nifi"
    shutil.copytree(nifi.home, home, ignore=NOT_OF_A_FRESH_ONE)
    nifi.stop()
    try:
        yield home
    finally:
        subprocess.run([home / "bin" / "nifi.sh", "stop"], capture_output=True, check=False)
        nifi.start(timeout=300)


def test_the_walk_through_works_word_for_word(unpacked: Path, nar: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("nifi-conf", "examples", "flows"):
        (project / name).symlink_to(REPOSITORY / name)
    command = project / ".venv" / "bin" / "imagewarehouse"
    command.parent.mkdir(parents=True)
    # What `make nar` and the installation leave behind: the newest NAR is found without being named.
    command.write_text(
        f'#!/bin/sh\nname=$1; shift\n[ "$name" = deploy ] && set -- --nar {nar} "$@"\n'
        f'exec {sys.executable} -m imagewarehouse.cli.main "$name" "$@"\n'
    )
    command.chmod(0o755)
    found = steps()
    assert len(found) == 6
    [*install, remove, ask] = found
    # `python3` need not be the Python that the NAR of these tests is packed for.
    properties = '"$NIFI_HOME/conf/nifi.properties"'
    python = f"sed -i 's|^nifi.python.command=.*|nifi.python.command={sys.executable}|' {properties}\n"
    first = install[0].replace('"$NIFI_HOME/bin/nifi.sh" start\n', f'{python}"$NIFI_HOME/bin/nifi.sh" start\n')
    assert first != install[0]
    script = "\n".join(["set -eux", first, *install[1:], ask, remove])
    # The page asks for a Java that NiFi runs on; the first `java` of this machine may be an older one.
    java, _ = find_java()
    environment = {
        **os.environ,
        "NIFI_HOME": str(unpacked),
        "JAVA_HOME": str(java.parent.parent),
        "PYTHONPATH": str(REPOSITORY),
    }
    for name in ("IMAGEWAREHOUSE_NIFI", "IMAGEWAREHOUSE_NIFI_TOKEN"):
        environment.pop(name, None)
    done = subprocess.run(
        ["bash", "-c", script], cwd=project, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert '"status":"classified"' in done.stdout
    assert "all valid and running" in done.stdout
    assert '"version":"2.' in done.stdout, "the token is good for curl as well"
