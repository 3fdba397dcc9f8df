"""What an export consists of, written down before the first picture: a rerun after an interruption goes on with the same.

It lies in a hidden folder inside the export, which every reader of folders of pictures passes over. New pictures that come
meanwhile are the next export's.
"""

from __future__ import annotations

import fcntl
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.getting.rows import Row
from imagewarehouse.metadata import to_text

HIDDEN = ".export"
_PLAN = "plan.jsonl"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of an export in its folder, one picture each. Times and vectors are text in them."""

    folder: Path
    rows: tuple[Row, ...]

    @property
    def hidden(self) -> Path:
        return self.folder / HIDDEN

    @property
    def size(self) -> int:
        """Bytes of all pictures."""
        return sum(row["size_bytes"] or 0 for row in self.rows)

    def classes(self) -> Counter[str | None]:
        return Counter(row["predicted_class"] for row in self.rows)


def plan(folder: Path, rows: Iterable[Row]) -> Plan:
    """What would be exported, without writing it down."""
    return Plan(folder, tuple(map(_plain, rows)))


@contextmanager
def open_plan(folder: Path, arguments: Mapping[str, Any], rows: Iterator[Row]) -> Iterator[Plan]:
    """The plan of an export that was interrupted, or a new one of `rows`, which are asked for only then.

    Meanwhile the folder is this process's alone. Raises ConfigurationError: it holds something else, or an export with other
    arguments, or another process is at it.
    """
    file = folder / HIDDEN / _PLAN
    with ExitStack() as stack:
        try:
            if folder.is_dir() and not file.exists() and any(path.name != HIDDEN for path in folder.iterdir()):
                raise ConfigurationError("OUT", f"{folder} is not empty, and what is in it is no export")
            file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(file.parent / "lock", folder))
            opened = (
                Plan(folder, _read(file, arguments)) if file.exists() else _write(file, arguments, plan(folder, rows))
            )
        except OSError as err:
            raise ConfigurationError("OUT", f"{err.filename or folder}: {err.strerror or err}") from err
        yield opened


def _write(file: Path, arguments: Mapping[str, Any], made: Plan) -> Plan:
    with file.with_suffix(".part").open("wb") as part:
        part.write(orjson.dumps({"imagewarehouse_export": _VERSION, "arguments": arguments}) + b"\n")
        part.writelines(orjson.dumps(row) + b"\n" for row in made.rows)
        part.flush()
        os.fsync(part.fileno())
    file.with_suffix(".part").replace(file)
    return made


def _plain(row: Row) -> Row:
    plain = {**row, "event_time": to_text(row["event_time"])}
    if row.get("embedding") is not None:  # as text a fifth of the memory of a list of numbers
        plain["embedding"] = to_text(array("b", row["embedding"]).tobytes())
    return plain


def _read(file: Path, arguments: Mapping[str, Any]) -> tuple[Row, ...]:
    lines = file.read_bytes().splitlines()
    try:
        header = orjson.loads(lines[0])
        version, before = header["imagewarehouse_export"], header["arguments"]
        rows = tuple(map(orjson.loads, lines[1:]))
    except (ValueError, LookupError, TypeError) as err:
        raise ConfigurationError("OUT", f"{file} is no plan of an export") from err
    if version != _VERSION:
        raise ConfigurationError("OUT", f"{file} is of another release; take another folder")
    different = sorted(name for name in {*before, *arguments} if before.get(name) != arguments.get(name))
    if different:
        name = different[0]
        values = f"{name} was {before.get(name)!r} and is {arguments.get(name)!r}"
        raise ConfigurationError("OUT", f"{file.parent.parent} holds an export with other arguments: {values}")
    return rows


@contextmanager
def _locked(path: Path, folder: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise ConfigurationError("OUT", f"another export is writing into {folder}") from err
        except OSError:
            pass  # a file system without locks
        yield
