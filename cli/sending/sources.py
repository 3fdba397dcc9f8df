"""Turns SOURCE arguments into images: files, folders, patterns, Parquet files, standard input."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from cli.sending.items import Image, Item, Unreadable, read_image
from cli.sending.text import reason
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.formats import by_file_name

if TYPE_CHECKING:  # pyarrow takes a fifth of a second, and most images come as files
    from cli.sending.tables import Table


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Every file with a known image suffix below a folder; hidden ones and links to folders are passed over."""

    path: Path

    def items(self) -> Iterator[Item]:
        for item in _walk(self.path, ["**"]):
            if isinstance(item, Unreadable) or by_file_name(item.source) is not None:
                yield item


@dataclass(frozen=True, slots=True)
class PatternSource:
    """Every file that a glob pattern matches, whatever its suffix, as if the shell had expanded it."""

    pattern: str

    def items(self) -> Iterator[Item | Table]:
        parts = Path(self.pattern).parts
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        base = Path(*parts[:fixed])
        for item in _walk(base, parts[fixed:]) if base.is_dir() else ():
            if isinstance(item, Image) and _is_table(item.source):
                try:
                    yield _open_table(Path(item.source))
                except ConfigurationError as err:
                    yield Unreadable(item.source, err.problem)
            else:
                yield item


Source: TypeAlias = "Item | Table | FolderSource | PatternSource"


def open_sources(arguments: Sequence[str], stdin: BinaryIO) -> list[Source]:
    """Turn the SOURCE arguments into sources, each known to hold something.

    Raises ConfigurationError naming the argument: no such file, nothing in it, unreadable Parquet, no `image` column.
    """
    if arguments.count("-") > 1:
        raise ConfigurationError("SOURCE -", "standard input holds one image, it was named twice")
    found: list[Source] = []
    for argument in arguments:
        try:
            found += [_read_stdin(stdin)] if argument == "-" else _open(argument)
        except OSError as err:  # a name too long, a folder that may not be entered
            raise ConfigurationError(f"SOURCE {argument}", reason(err)) from err
    return found


def each_item(sources: Iterable[Source], skip: int = 0, limit: int | None = None) -> Iterator[Item]:
    """Items of all sources in order, without the first `skip`, at most `limit`."""

    def after_skipped() -> Iterator[Item]:
        left = skip
        for source in _expand(sources):
            if left >= _rows(source):
                left -= _rows(source)
                continue
            if isinstance(source, Image | Unreadable):
                yield source
            else:
                yield from source.items(left)
            left = 0

    return islice(after_skipped(), limit)


def count_items(
    sources: Iterable[Source], skip: int, limit: int | None, give_up: Callable[[], bool] = lambda: False
) -> int | None:
    """How many items `each_item` gives, without reading images; None when `give_up` says so meanwhile."""
    total = -skip
    for source in _expand(sources):
        total += _rows(source)
        if give_up():
            return None
        if limit is not None and total >= limit:
            return limit
    return max(0, total)


def _expand(sources: Iterable[Source]) -> Iterator[Item | Table]:
    for source in sources:
        if isinstance(source, FolderSource | PatternSource):
            yield from source.items()
        else:
            yield source


def _rows(source: Item | Table) -> int:
    return 1 if isinstance(source, Image | Unreadable) else source.rows


def _open(argument: str) -> list[Source]:
    path = Path(argument)
    if path.is_file():
        return [_open_table(path) if _is_table(argument) else _image(path.parent, path.parent.resolve(), path.name)]
    source: FolderSource | PatternSource | None = None
    if path.is_dir():
        source, problem = FolderSource(path), "no file with an image suffix in this folder"
    elif path.exists():
        problem = "not a regular file; pipe it in and name it -"
    elif glob.has_magic(argument):
        source, problem = PatternSource(argument), "no file matches this pattern"
    else:
        problem = "no such file or folder"
    if source is None or next(source.items(), None) is None:
        raise ConfigurationError(f"SOURCE {argument}", problem)
    if isinstance(source, FolderSource) or not _is_table(argument):
        return [source]
    tables: list[Source] = []
    for table in source.items():  # few, and checked at once, as if the shell had expanded the pattern
        if isinstance(table, Unreadable):
            raise ConfigurationError(f"SOURCE {table.source}", table.detail)
        tables.append(table)
    return tables


def _read_stdin(stdin: BinaryIO) -> Image:
    if stdin.isatty():
        raise ConfigurationError("SOURCE -", "standard input is the terminal; pipe an image in")
    content = read_image(stdin)
    # Standard input has no name to resume by, so its content is the name.
    return Image("-", f"-#sha256:{hashlib.sha256(content).hexdigest()}", None, content)


def _is_table(name: str) -> bool:
    return name.lower().endswith(".parquet")


def _open_table(path: Path) -> Table:
    from cli.sending.tables import open_table

    return open_table(path)


def _image(folder: Path, key: Path, name: str) -> Image:
    return Image(str(folder / name), str(key / name), name)


def _walk(base: Path, wanted: Sequence[str]) -> Iterator[Item]:
    """Each file below `base` that the parts of a pattern match, once and in order.

    Not glob.iglob: its `**` follows links, which may lead back up for ever, and it repeats what two `**` both match.
    Here a folder is listed once, knowing all positions in the pattern that it can be at.
    """

    def step(positions: Iterable[int], name: str, is_link: bool = False) -> set[int]:
        """Where in the pattern a name below leads."""
        reached = set()
        for at in positions:
            if at == len(wanted) or (name.startswith(".") and not wanted[at].startswith(".")):
                continue
            if wanted[at] == "**":
                reached |= set() if is_link else {at}
            elif fnmatchcase(name, wanted[at]):
                reached.add(at + 1)
        return with_none(reached)

    def with_none(reached: set[int]) -> set[int]:
        for at, part in enumerate(wanted):  # `**` also stands for no folder at all
            if part == "**" and at in reached:
                reached.add(at + 1)
        return reached

    pending = [(base, with_none({0}))]
    while pending:
        folder, positions = pending.pop()
        folders, files = [], []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        if below := step(positions, entry.name, entry.is_symlink()):
                            folders.append((entry.name, below))
                    # A dangling link is named as unreadable, not passed over.
                    elif (entry.is_file() or entry.is_symlink()) and len(wanted) in step(positions, entry.name):
                        files.append(entry.name)
        except OSError as err:
            yield Unreadable(str(folder), reason(err))
            continue
        # Sorted, since --skip and --limit need the same order every time: a million names in one folder cost 70 MB.
        key = folder.resolve()
        for name in sorted(files):
            yield _image(folder, key, name)
        pending.extend((folder / name, below) for name, below in sorted(folders, reverse=True))
