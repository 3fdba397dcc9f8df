"""A NAR that somebody has copied into NiFi's folders, as docs/nifi.md says first, and the four commands."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse import __version__
from imagewarehouse.deployment.nars import COPIED
from tests.nifi.conftest import Command, Warehouse
from tests.nifi.test_deploy import changed, classify, renumbered, types
from tools.local_nifi import LocalNifi

Copy = Callable[[Path], Path]
OLDER = "0.0.9"


@pytest.fixture
def copy(nifi: LocalNifi, command: Command) -> Iterator[Copy]:
    """Copies a NAR into `extensions`; at the end it is removed in the only way there is, and the NAR manager is empty."""
    copied: list[Path] = []

    def perform(nar: Path) -> Path:
        # As `mv` does it: NiFi looks each few seconds, and would read half a file.
        unfinished, target = nifi.autoload / f".{nar.name}", nifi.autoload / nar.name
        shutil.copyfile(nar, unfinished)
        copied.append(unfinished.rename(target))
        return target

    if types(nifi):  # of the tests before
        assert command("undeploy", "--yes", "--drop-queued")[0] == 0
    yield perform
    assert command("undeploy", "--yes", "--drop-queued")[0] == 0
    nifi.stop()
    for path in copied:
        path.unlink(missing_ok=True)
    nifi.start(timeout=300)
    assert types(nifi) == set()


def notes(facts: dict[str, Any]) -> str:
    return " ".join(note for step in facts["steps"] for note in step["notes"])


def wait_offered(nifi: LocalNifi, version: str) -> None:
    end = time.monotonic() + 120
    while version not in types(nifi):
        assert time.monotonic() < end
        time.sleep(0.5)


def test_a_nar_that_was_copied_is_found_and_left_to_who_copied_it(
    copy: Copy, places: Warehouse, nar: Path, command: Command, nifi: LocalNifi
) -> None:
    copy(nar)
    wait_offered(nifi, __version__)
    for again in range(2):
        code, facts, said = command("deploy", "--nar", str(nar), *places.settings)
        assert code == 0, said
        assert COPIED in " ".join(step["said"] for step in facts["steps"])  # type: ignore[attr-defined]
        assert not [text for text in changed(facts) if "uploaded" in text]
        assert bool(changed(facts)) == (again == 0)
    assert classify(places).status_code == 200
    code, facts, _ = command("status")
    assert (code, facts["problems"]) == (0, [])
    assert facts["nars"] == [{"id": "image-warehouse-nar", "version": __version__, "state": COPIED}]
    for _ in range(2):
        code, facts, _ = command("undeploy", "--yes")
        assert code == 0
        assert facts["copied_nars"] == [__version__]
        assert f"image-warehouse*-{__version__}-*.nar" in notes(facts)


def test_another_version_that_was_copied_is_told_with_its_file(
    copy: Copy, places: Warehouse, nar: Path, tmp_path: Path, command: Command, nifi: LocalNifi
) -> None:
    old = copy(renumbered(nar, OLDER, tmp_path))
    wait_offered(nifi, OLDER)
    code, facts, said = command("deploy", "--nar", str(tmp_path / old.name), *places.settings)
    assert code == 0, said
    code, facts, said = command("deploy", "--nar", str(nar))
    assert code == 0, said
    assert f"image-warehouse*-{OLDER}-*.nar" in notes(facts)
    assert types(nifi) == {OLDER, __version__}
    assert classify(places).status_code == 200
    code, facts, _ = command("status")
    assert code == 1
    assert f"image-warehouse*-{OLDER}-*.nar" in " ".join(map(str, facts["problems"]))  # type: ignore[call-overload]
    nifi.stop()  # and done as it says
    old.unlink()
    nifi.start(timeout=300)
    code, facts, said = command("deploy", "--nar", str(nar))
    assert code == 0, said
    assert types(nifi) == {__version__}
    assert classify(places).status_code == 200
    assert command("status")[0] == 0


def test_a_nar_that_is_copied_and_uploaded_at_the_same_time_works(
    copy: Copy, places: Warehouse, nar: Path, command: Command
) -> None:
    """NiFi looks into `extensions` each few seconds. It uses whichever of the two it meets first and tells, if at all, by an
    installation that never ends; neither may keep `deploy` from its work.
    """
    copy(nar)
    for _ in range(2):
        code, _, said = command("deploy", "--nar", str(nar), *places.settings)
        assert code == 0, said
        assert classify(places).status_code == 200
