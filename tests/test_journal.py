"""The journal: what was acknowledged is there after any crash, in order, until it has reached its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.standalone.journal import Entry, Journal
from tests.conftest import until


@pytest.fixture
def open_journal(tmp_path: Path) -> Iterator[Callable[[], Journal]]:
    """Opens the same journal, as often as wanted, one after the other."""
    opened: list[Journal] = []

    def reopen() -> Journal:
        if opened:
            opened.pop().close()
        opened.append(Journal(tmp_path / "data" / "journal.sqlite"))
        return opened[-1]

    yield reopen
    for journal in opened:
        journal.close()


def append(journal: Journal, *items: tuple[dict[str, str], bytes]) -> list[Entry]:
    return asyncio.run(journal.append(items))


def stored(path: Path) -> int:
    """Entries in the file, seen by another connection."""
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])
    finally:
        connection.close()


def test_what_was_appended_is_replayed_after_a_new_start_in_order(open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()
    items = [({"number": str(n), "name": "ümlaut \U0001f438 \n '"}, bytes([n]) * n) for n in range(20)]
    appended = [entry for item in items for entry in append(journal, item)]
    found = list(open_journal().replay())
    assert found == appended
    assert [(dict(entry.attributes), entry.content) for entry in found] == items


def test_attributes_that_are_no_text_survive(open_journal: Callable[[], Journal]) -> None:
    append(open_journal(), ({"Content-Type": "image/\udcff"}, b"x"))
    (entry,) = open_journal().replay()
    assert entry.attributes == {"Content-Type": "image/\udcff"}


def test_a_new_journal_has_nothing_to_replay(open_journal: Callable[[], Journal]) -> None:
    assert list(open_journal().replay()) == []


def test_what_this_run_appends_is_not_replayed_to_it(open_journal: Callable[[], Journal]) -> None:
    append(open_journal(), ({"run": "1"}, b"a"))
    journal = open_journal()
    append(journal, ({"run": "2"}, b"b"))
    assert [entry.attributes["run"] for entry in journal.replay()] == ["1"]
    assert [entry.attributes["run"] for entry in open_journal().replay()] == ["1", "2"]


def test_a_removed_entry_is_not_replayed(open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()
    entries = append(journal, *(({"number": str(n)}, b"x") for n in range(10)))
    for entry in entries[::2]:
        journal.remove(entry.number)
    assert [entry.number for entry in open_journal().replay()] == [entry.number for entry in entries[1::2]]


def test_numbers_are_never_given_twice_while_an_entry_has_them(open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()
    first = append(journal, ({}, b"a"), ({}, b"b"))
    journal.remove(first[0].number)
    second = append(open_journal(), ({}, b"c"))
    assert second[0].number > first[1].number


def test_entries_may_be_removed_while_they_are_replayed(open_journal: Callable[[], Journal]) -> None:
    append(open_journal(), *(({"number": str(n)}, b"x") for n in range(50)))
    journal = open_journal()
    seen = []
    for entry in journal.replay():
        seen.append(entry.attributes["number"])
        journal.remove(entry.number)
    assert seen == [str(n) for n in range(50)]
    assert list(open_journal().replay()) == []


def test_removals_reach_the_file_without_further_appends(open_journal: Callable[[], Journal], tmp_path: Path) -> None:
    journal = open_journal()
    (entry,) = append(journal, ({}, b"x"))
    assert stored(tmp_path / "data" / "journal.sqlite") == 1
    journal.remove(entry.number)
    assert until(lambda: stored(tmp_path / "data" / "journal.sqlite") == 0)


def test_large_content_comes_back_whole(open_journal: Callable[[], Journal]) -> None:
    content = os.urandom(1 << 20) * 20
    append(open_journal(), ({}, content), ({}, b""))
    assert [entry.content for entry in open_journal().replay()] == [content, b""]


def test_space_of_removed_entries_is_used_again(open_journal: Callable[[], Journal], tmp_path: Path) -> None:
    journal = open_journal()
    for _ in range(30):
        (entry,) = append(journal, ({}, bytes(1 << 20)))
        journal.remove(entry.number)
    open_journal()
    assert sum(path.stat().st_size for path in (tmp_path / "data").iterdir()) < 10 << 20


# --- the group commit ---------------------------------------------------------------------------------------------


def test_appends_at_once_are_all_there_and_share_commits(open_journal: Callable[[], Journal], tmp_path: Path) -> None:
    journal = open_journal()
    append(journal, ({"number": "first"}, b""))

    async def everybody() -> list[list[Entry]]:
        return await asyncio.gather(*(journal.append([({"number": str(n)}, b"x" * n)]) for n in range(200)))

    before = _commits(tmp_path)
    found = asyncio.run(everybody())
    commits = _commits(tmp_path) - before
    assert [entry.attributes["number"] for (entry,) in found] == [str(n) for n in range(200)]
    assert len({entry.number for (entry,) in found}) == 200
    assert 1 <= commits <= 50
    assert [entry.content for entry in open_journal().replay()] == [b"", *(b"x" * n for n in range(200))]


def test_removals_wait_a_moment_for_others_to_share_their_commit(
    open_journal: Callable[[], Journal], tmp_path: Path
) -> None:
    journal = open_journal()
    entries = append(journal, *(({}, b"x") for _ in range(30)))
    before = _commits(tmp_path)
    for entry in entries:
        journal.remove(entry.number)
        time.sleep(0.002)
    assert until(lambda: stored(tmp_path / "data" / "journal.sqlite") == 0)
    assert 1 <= _commits(tmp_path) - before <= 10


def _commits(tmp_path: Path) -> int:
    """Commits so far, counted in the write-ahead log: the last frame of each carries the size of the database."""
    log = (tmp_path / "data" / "journal.sqlite-wal").read_bytes()
    frame = 24 + int.from_bytes(log[8:12], "big")
    return sum(int.from_bytes(log[at + 4 : at + 8], "big") > 0 for at in range(32, len(log), frame))


def test_an_append_of_several_parts_is_all_or_nothing(open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()
    entries = append(journal, ({"part": "1"}, b"a"), ({"part": "2"}, b"b"))
    assert [entry.number for entry in entries] == [1, 2]
    with sqlite3.connect(journal._path) as connection:  # another writer takes the next number but one
        connection.execute("INSERT INTO entries VALUES (4, '{}', '')")
    with pytest.raises(OSError, match="journal"):
        append(journal, ({"part": "1"}, b"a"), ({"part": "2"}, b"b"))
    assert [entry.number for entry in open_journal().replay()] == [1, 2, 4]


def test_an_append_whose_caller_has_gone_harms_nobody_else(open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()

    async def run() -> list[Entry]:
        for _ in range(20):
            gone = asyncio.create_task(journal.append([({}, b"x")]))
            await asyncio.sleep(0)  # it waits for the disk now
            gone.cancel()
        return await asyncio.wait_for(journal.append([({"last": "yes"}, b"y")]), 5)

    (entry,) = asyncio.run(run())
    assert entry.attributes == {"last": "yes"}
    assert "last" in list(open_journal().replay())[-1].attributes


# --- crashes and disks --------------------------------------------------------------------------------------------

_APPENDER = """
import asyncio, sys
from pathlib import Path
from imagewarehouse.standalone.journal import Journal

async def one(journal, number):
    await journal.append([({"number": str(number)}, str(number).encode() * 1000)])
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()

async def run():
    journal = Journal(Path(sys.argv[1]))
    for first in range(0, 1_000_000, 8):
        await asyncio.gather(*(one(journal, number) for number in range(first, first + 8)))

asyncio.run(run())
"""


@pytest.mark.parametrize("acknowledged", [1, 40, 333])
def test_everything_acknowledged_before_a_kill_is_replayed(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "journal.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", _APPENDER, str(path)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(acknowledged)]
    process.send_signal(signal.SIGKILL)
    told += [int(line) for line in process.stdout.read().splitlines() if line]
    assert process.wait() == -signal.SIGKILL
    journal = Journal(path)
    found = {int(entry.attributes["number"]): entry.content for entry in journal.replay()}
    journal.close()
    assert set(told) <= set(found)
    assert all(content == str(number).encode() * 1000 for number, content in found.items())
    assert len(found) <= len(told) + 8  # at most what was under way


_FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from imagewarehouse.standalone.journal import Journal

async def run():
    journal = Journal(Path(sys.argv[1]))
    await journal.append([({"number": "1"}, b"x" * 1000)])
    # Files may grow no further: a full disk that stops root as well.
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, resource.RLIM_INFINITY))
    for attempt in range(3):
        try:
            await asyncio.wait_for(journal.append([({"number": "2"}, b"x" * 1_000_000)]), 20)
            print("written")
        except asyncio.TimeoutError:
            print("no answer")
        except OSError as err:
            print("OSError", err)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await asyncio.wait_for(journal.append([({"number": "3"}, b"x" * 1_000_000)]), 20)
    journal.close()
    print([entry.attributes["number"] for entry in Journal(Path(sys.argv[1])).replay()])

asyncio.run(run())
"""


def test_a_full_disk_is_told_to_the_sender_and_is_over_when_there_is_space(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path / "journal.sqlite")],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    *attempts, rest = found.stdout.splitlines() or [found.stderr]
    assert len(attempts) == 3
    for line in attempts:
        assert line.startswith("OSError journal journal.sqlite:")
        assert "full" in line or "disk" in line  # what is wrong, not what went wrong while tidying up after it
    assert rest == "['1', '3']"


@pytest.mark.parametrize("kind", ["folder", "garbage", "another database"])
def test_a_file_that_is_no_journal_is_a_wrong_setting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "journal.sqlite"
    if kind == "folder":
        path.mkdir()
    elif kind == "garbage":
        path.write_bytes(b"no database at all " * 100)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE VIEW entries AS SELECT 1 AS one")
    with pytest.raises(ConfigurationError) as caught:
        Journal(path)
    assert caught.value.setting == "--data"
    assert str(path) in str(caught.value)


def test_a_file_in_the_place_of_the_folder_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(ConfigurationError, match="--data"):
        Journal(tmp_path / "data" / "journal.sqlite")
