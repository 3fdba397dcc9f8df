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

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.images.formats import by_file_name
from imagewarehouse.sending.items import Image, Item, Outcome, read_image, unreadable
from imagewarehouse.sending.text import reason

if TYPE_CHECKING:
    from imagewarehouse.sending.tables import Table

Source: TypeAlias = "Item | Table | PatternSource"


@dataclass(frozen=True, slots=True)
class PatternSource:
    """Every file that a glob pattern matches, as if the shell had expanded it.

    Not glob.iglob: its `**` follows links, which may lead back up for ever, and it repeats what two `**` both match.
    Here a folder is listed once, knowing all the places in the pattern that it can be at.
    """

    pattern: str
    only_images: bool = False  # only files with a known image suffix

    def items(self) -> Iterator[Item | Table]:
        """The files of a folder first, then those of its sub-folders. A folder that cannot be listed is one failure."""
        parts = Path(self.pattern).parts
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        base, pattern = Path(*parts[:fixed]), parts[fixed:]
        if pattern[-1] == "**":
            pattern += ("*",)
        pending = [(base, {0})] if base.is_dir() else []
        while pending:
            folder, places = pending.pop()
            folders, files = [], []
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        below = _step(pattern, places, entry)
                        if _is_folder(entry):
                            folders.append((entry.name, below - {len(pattern)}))
                        # A dangling link is named as unreadable, not passed over.
                        elif len(pattern) in below and (entry.is_symlink() or entry.is_file()):
                            files.append(entry.name)
            except OSError as err:
                yield unreadable(str(folder), reason(err))
                continue
            # Sorted, since --skip and --limit need the same order every time: a million names in a folder cost 70 MB.
            key = folder.resolve()
            for name in sorted(files):
                if not self.only_images or by_file_name(name) is not None:
                    yield _file(folder / name, key / name)
            pending.extend((folder / name, below) for name, below in sorted(folders, reverse=True) if below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; it fails as a file, and the others of its folder go on
        return False


def _step(pattern: Sequence[str], places: Iterable[int], entry: os.DirEntry[str]) -> set[int]:
    """Where in the pattern an entry of a folder at `places` is; len(wanted): the pattern matches it."""
    reached, is_hidden = set(), entry.name.startswith(".")
    for place in places:
        while pattern[place] == "**":
            if not is_hidden and not entry.is_symlink():
                reached.add(place)
            place += 1  # `**` also stands for no folder at all
        if fnmatchcase(entry.name, pattern[place]) and (not is_hidden or pattern[place].startswith(".")):
            reached.add(place + 1)
    return reached


def open_sources(arguments: Sequence[str], stdin: BinaryIO) -> list[Source]:
    """Turn the SOURCE arguments into sources, each known to hold something.

    Raises ConfigurationError naming the argument: no such file, nothing in it, unreadable Parquet, no `image` column.
    """
    if arguments.count("-") > 1:
        raise ConfigurationError("SOURCE -", "standard input holds one image, it was named twice")
    return [source for argument in arguments for source in _open(argument, stdin)]


def each_item(sources: Iterable[Source], skip: int = 0, limit: int | None = None) -> Iterator[Item]:
    """Items of all sources in order, without the first `skip`, at most `limit`."""

    def after_skipped() -> Iterator[Item]:
        remaining = skip
        for item, rows in _counted(sources):
            if remaining >= rows:
                remaining -= rows
                continue
            yield from (item,) if isinstance(item, Image | Outcome) else item.items(remaining)
            remaining = 0

    return islice(after_skipped(), limit)


def count_items(
    sources: Iterable[Source], skip: int, limit: int | None, give_up: Callable[[], bool] = lambda: False
) -> int | None:
    """How many items `each_item` gives, without reading images; None when `give_up` says so meanwhile."""
    total = -skip
    for _, rows in _counted(sources):
        total += rows
        if give_up():
            return None
        if limit is not None and total >= limit:
            return limit
    return max(0, total)


def _counted(sources: Iterable[Source]) -> Iterator[tuple[Item | Table, int]]:
    for source in sources:
        for item in source.items() if isinstance(source, PatternSource) else (source,):
            yield item, 1 if isinstance(item, Image | Outcome) else item.rows


def _open(argument: str, stdin: BinaryIO) -> list[Source]:
    path, problem = Path(argument), "no such file or folder"
    sources: list[Source] = []
    try:
        if argument == "-":
            sources = [_read_stdin(stdin)]
        elif path.is_file():
            sources = [_file(path, path.parent.resolve() / path.name)]
        elif path.is_dir():
            problem = "no file with an image suffix in this folder"
            sources = [PatternSource(f"{glob.escape(argument)}/**", only_images=True)]
        elif path.exists():
            problem = "not a regular file; pipe it in and name it -"
        elif glob.has_magic(argument):
            problem = "no file matches this pattern"
            pattern = PatternSource(argument)
            # Parquet files are few, so each is checked at once, as if the shell had named it.
            sources = list(pattern.items()) if path.suffix.lower() == ".parquet" else [pattern]
    except OSError as err:  # a name too long, a folder that may not be entered
        problem = reason(err)
    for source in sources:
        if isinstance(source, Outcome):
            raise ConfigurationError(f"SOURCE {source.source}", str(source.error_detail))
    if next(_counted(sources), None) is None:
        raise ConfigurationError(f"SOURCE {argument}", problem)
    return sources


def _read_stdin(stdin: BinaryIO) -> Image:
    if stdin.isatty():
        raise ConfigurationError("SOURCE -", "standard input is the terminal; pipe an image in")
    content = read_image(stdin)
    # Standard input has no name to resume by, so its content is the name.
    return Image("-", f"-#sha256:{hashlib.sha256(content).hexdigest()}", None, content)


def _file(path: Path, key: Path) -> Item | Table:
    if path.suffix.lower() != ".parquet":
        return Image(str(path), str(key), path.name)
    from imagewarehouse.sending.tables import (
        open_table,  # pyarrow takes a fifth of a second, and most images come as files
    )

    return open_table(path)
