"""Writes the pictures of a plan: each once, whole or not at all, and none a second time when it is run again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import orjson

from imagewarehouse.errors import ConfigurationError, ObjectDamaged, ObjectMissing
from imagewarehouse.getting.plan import Plan
from imagewarehouse.getting.reading import Picture, Pictures
from imagewarehouse.getting.rows import Row

SHARD_BYTES = 100_000_000  # large enough for a store to be quick with, small enough to be moved and written anew
UNCLASSIFIED = "unclassified"

_AROUND = 2048  # bytes that a picture takes in a shard beside its own
_ASKED_AT_ONCE = 2000  # pictures whose places are asked for together
_AHEAD = 8  # pictures that are read while others are written; each may have 20 MB
_UNFIT = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_") | {chr(code): "_" for code in (*range(32), 127)})

Loaded = tuple[Row, Picture]
Progress = Callable[[int], None]  # so many more pictures are done


@dataclass(slots=True)
class Outcome:
    """`missing`: (image_id, why) of pictures that rows tell of and that could not be had."""

    written: int = 0
    there_before: int = 0
    missing: list[tuple[str, str]] = field(default_factory=list)


class ShardWriter(Protocol):
    """A format that puts many pictures into one file."""

    @property
    def suffix(self) -> str: ...

    def write(self, path: Path, pictures: Iterator[Loaded]) -> int:
        """Write a file of them; gives how many there were."""

    def finish(self, folder: Path) -> None:
        """What the whole export has once, beside the shards."""


def export_folder(plan: Plan, pictures: Pictures, progress: Progress) -> Outcome:
    """`class/IMAGE_ID.jpg`, as trainings take it. Raises ConfigurationError, ObjectStoreUnavailable."""
    names = folder_names(plan)
    outcome = Outcome()
    remaining = []
    with _errors_of(plan.folder):
        there = {class_name: _sizes(plan.folder / name) for class_name, name in names.items()}
    for row in plan.rows:
        if there[row["predicted_class"]].get(row["image_id"]) == row["size_bytes"]:
            outcome.there_before += 1
            progress(1)
        else:
            remaining.append(row)
    for row, picture in _read_ahead(remaining, pictures, outcome, progress):
        path = plan.folder / names[row["predicted_class"]] / picture.place.file_name
        temporary = plan.hidden / f"{picture.place.file_name}.part"
        with _errors_of(path):
            path.parent.mkdir(exist_ok=True)
            temporary.write_bytes(picture.content)
            temporary.replace(path)
        outcome.written += 1
        progress(1)
    return outcome


def export_shards(plan: Plan, writer: ShardWriter, pictures: Pictures, progress: Progress) -> Outcome:
    """`data-000000.tar` and so on. Which picture is in which is the plan's; one that is there is not written again.

    Raises ConfigurationError, ObjectStoreUnavailable.
    """
    outcome = Outcome()
    for number, rows in enumerate(shards(plan.rows)):
        path = plan.folder / f"data-{number:06d}.{writer.suffix}"
        record = plan.hidden / f"{path.name}.json"  # written last: with it, the shard is done
        with _errors_of(path):
            if record.exists():
                done = orjson.loads(record.read_bytes())
                if path.exists() or not done["written"]:
                    outcome.there_before += done["written"]
                    outcome.missing += [(image_id, why) for image_id, why in done["missing"]]
                    progress(len(rows))
                    continue
            of_shard = Outcome()
            temporary = plan.hidden / f"{path.name}.part"
            written = writer.write(temporary, _counted(_read_ahead(rows, pictures, of_shard, progress), progress))
            if written:
                _sync(temporary)
                temporary.replace(path)
            else:
                temporary.unlink()
            _write_whole(record, orjson.dumps({"written": written, "missing": of_shard.missing}))
        outcome.written += written
        outcome.missing += of_shard.missing
    with _errors_of(plan.folder):
        writer.finish(plan.folder)
    return outcome


def shards(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows of some 100 MB of pictures each, always the same."""
    first = size = 0
    for number, row in enumerate(rows):
        own = (row["size_bytes"] or 0) + _AROUND
        if number > first and size + own > SHARD_BYTES:
            yield rows[first:number]
            first, size = number, 0
        size += own
    if first < len(rows):
        yield rows[first:]


def folder_names(plan: Plan) -> dict[str | None, str]:
    """A folder for each class; UNCLASSIFIED where there is none. Raises ConfigurationError where two would share one."""
    names: dict[str | None, str] = {}
    for class_name in plan.classes():
        name = (class_name or "").translate(_UNFIT).strip()[:100]
        if name.startswith("."):  # hidden, or the folder above
            name = "_" + name[1:]
        names[class_name] = name or UNCLASSIFIED
    owner: dict[str, str | None] = {}
    for class_name, name in names.items():
        if name in owner:
            both = f"{owner[name]!r} and {class_name!r}"
            raise ConfigurationError(
                "--as", f"the classes {both} would share the folder {name}; parquet keeps them apart"
            )
        owner[name] = class_name
    return names


def _sizes(folder: Path) -> dict[str, int]:
    """The files of a folder by the image_id in their names. What has its name is whole, unless a machine lost its power."""
    if not folder.is_dir():
        return {}
    return {entry.name.partition(".")[0]: entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()}


def _read_ahead(rows: Sequence[Row], pictures: Pictures, outcome: Outcome, progress: Progress) -> Iterator[Loaded]:
    """The pictures of rows in their order; what cannot be had is noted in `outcome`."""

    def read(row: Row) -> Picture:
        return pictures.read(row["image_id"], row["storage_uri"], row["format"])

    pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="export")
    waiting: deque[tuple[Row, Future[Picture]]] = deque()
    begun = 0
    try:
        while True:
            while len(waiting) < _AHEAD and begun < len(rows):
                if begun % _ASKED_AT_ONCE == 0:
                    pictures.expect(row["image_id"] for row in rows[begun : begun + _ASKED_AT_ONCE])
                waiting.append((rows[begun], pool.submit(read, rows[begun])))
                begun += 1
            if not waiting:
                return
            row, future = waiting.popleft()
            try:
                picture = future.result()
            except (ObjectMissing, ObjectDamaged) as err:
                outcome.missing.append((row["image_id"], str(err)))
                progress(1)
            else:
                yield row, picture
    finally:
        pool.shutdown(cancel_futures=True)


def _counted(pictures: Iterator[Loaded], progress: Progress) -> Iterator[Loaded]:
    for one in pictures:
        yield one
        progress(1)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_bytes(content)
    temporary.replace(path)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Errors of the disk that is written to, as one of the argument."""
    try:
        yield
    except OSError as err:
        raise ConfigurationError("OUT", f"{err.filename or path}: {err.strerror or err}") from err
