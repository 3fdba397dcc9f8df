"""Lists a set of labelled images without reading them: names, classes and parts.

A source is the name of a set that Keras downloads, a Parquet file or a folder of them, a CSV or TSV file, or a folder
with one sub-folder a class. Each becomes a `Listing`, in an order that does not depend on the disk.
"""

from __future__ import annotations

import csv
import hashlib
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath

import numpy as np

from imagewarehouse.errors import ConfigurationError, NotAnImage
from imagewarehouse.text import one_line
from imagewarehouse.training.listing import (
    PARTS,
    TRAIN,
    IntArray,
    Listing,
    Load,
    check_bytes,
    missing,
)
from imagewarehouse.training.system_files import ImageTree, is_system_file

# What people call the column that names the image files, in small letters and without signs: "File Name", file_name.
_FILE_COLUMNS = frozenset(("path", "file", "filename", "filepath", "image", "imagefile", "imagefilename", "imagename",
                           "imagepath", "img", "imgfile", "imgname", "imgpath", "relativepath"))  # fmt: skip
_TRIED_ROWS = 20  # of a CSV file, to find out which of several such columns names files that are there
_NUMBER = re.compile(r"0|-?[1-9][0-9]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

KERAS_SETS = ("cifar10", "cifar100", "mnist", "fashion_mnist")


def list_source(source: str, setting: str) -> Listing:
    """List what `source` holds. Raises ConfigurationError with the name of `setting`, saying what is wrong with it."""
    if source in KERAS_SETS:
        from imagewarehouse.training.dataset_keras import list_keras

        return list_keras(source, setting)
    path, sets = Path(source), ", ".join(KERAS_SETS)
    try:
        if path.is_dir():
            tables = [file for file in sorted(path.glob("*.parquet")) if not is_system_file(file.name)]
            return _list_tables(path, tables, setting) if tables else _list_folder(path, setting)
        if not path.exists():
            raise ConfigurationError(setting, f"{source}: no such file or folder, and none of {sets}")
        if path.is_file() and path.suffix.lower() == ".parquet":
            return _list_tables(path, [path], setting)
        if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
            return _list_csv(path, setting)
    except OSError as err:
        raise ConfigurationError(setting, f"{source}: {err.strerror or err}") from err
    except ValueError as err:  # a path with a NUL in it
        raise ConfigurationError(setting, f"{source}: {err}") from err
    raise ConfigurationError(setting, f"{source}: expected a .parquet, .csv or .tsv file, a folder, or one of {sets}")


def with_class_names(listing: Listing, numbers: Mapping[int, str], classes: Sequence[str]) -> Listing:
    """The listing with names for its numbers from `numbers`, if it has none itself and none of `classes` is one."""
    if listing.has_names or set(listing.classes) & set(classes) or not set(listing.numbers) & set(numbers):
        return listing
    named = tuple(numbers.get(number, name) for number, name in listing.numbers.items())
    note = f"{listing.source} has numbers without names as labels: {listing.classes[0]} is taken for {named[0]!r}, and so on"
    return replace(listing, classes=named, problems=(*listing.problems, note))


# --- labels, shared by all kinds of sources -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Labels:
    """The fields of `Listing` that follow from the labels."""

    classes: tuple[str, ...]
    labels: IntArray
    numbers: Mapping[int, str]
    has_names: bool


def classify(labels: Sequence[int | str], names: Sequence[str] | None, setting: str) -> Labels:
    """Classes in order: by number where the labels are whole numbers, else by name.

    Args: names: one a row, where the source has both numbers and names.
    Raises: ConfigurationError: a name that no line can hold, a number with two names, a name with two numbers.
    """
    keys: Sequence[int | str] = labels
    if all(isinstance(label, int) or _NUMBER.fullmatch(label) for label in labels):
        keys = [int(label) for label in labels]
    names_by_key: dict[int | str, str] = {}
    for key, name in zip(keys, names if names is not None else map(str, keys), strict=True):
        if names_by_key.setdefault(key, name) != name:
            raise ConfigurationError(setting, f"label {key!r} is called both {names_by_key[key]!r} and {name!r}")
    order = sorted(names_by_key, key=lambda key: key if isinstance(key, int) else names_by_key[key])
    classes = tuple(_class_name(names_by_key[key], setting) for key in order)
    for name, previous in zip(sorted(classes)[1:], sorted(classes), strict=False):
        if name == previous:
            twice = [repr(key) for key in order if _class_name(names_by_key[key], setting) == name]
            raise ConfigurationError(setting, f"class {name!r} has more than one label: {', '.join(twice)}")
    index = {key: position for position, key in enumerate(order)}
    numbers = {key: name for key, name in zip(order, classes, strict=True) if isinstance(key, int)}
    return Labels(classes, np.array([index[key] for key in keys], np.int64), numbers, names is not None or not numbers)


def _class_name(name: str, setting: str) -> str:
    if not name.strip() or _CONTROL.search(name):
        raise ConfigurationError(setting, f"a class is called {name!r}: expected a name of one line, not empty")
    return unicodedata.normalize("NFC", name)  # one file system composes accents, another does not


def part_of(value: str | None, setting: str) -> str:
    """TRAIN, VALIDATION or TEST for a value of a column `split`."""
    part = PARTS.get((value or "").strip().lower())
    if part is None:
        raise ConfigurationError(setting, f"column split holds {value!r}; expected train, validation or test")
    return part


def printable(name: str) -> str:
    """A name for messages: one line, nothing that a terminal obeys."""
    return "".join(character if character.isprintable() else "?" for character in name)[-200:]


def stamp_of(root: Path, names: Iterable[str]) -> str:
    """A hash of path, size and time of change of every file."""
    result = hashlib.sha256(str(root.resolve()).encode(errors="surrogateescape"))
    for name in names:
        try:
            facts = (root / name).stat()
            text = f"\0{name}\0{facts.st_size}\0{facts.st_mtime_ns}"
        except OSError:  # it becomes a problem when it is read
            text = f"\0{name}\0"
        result.update(text.encode(errors="surrogateescape"))
    return result.hexdigest()


# --- folders and CSV: one file an image -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Files:
    """Image files below a folder."""

    root: Path
    names: Sequence[str]

    def read(self, rows: IntArray) -> Iterator[tuple[int, Load]]:
        for position, row in enumerate(rows):
            yield position, partial(_read_file, self.root / self.names[row])


def _read_file(path: Path) -> bytes:
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise NotAnImage("not a regular file")  # opening a pipe would wait for ever
    check_bytes(facts.st_size)
    return path.read_bytes()


def _list_folder(root: Path, setting: str) -> Listing:
    tree = ImageTree(root)
    folders = tree.folders(root)
    parts = [PARTS.get(folder.name.lower(), "") for folder in folders]
    unused_files = tree.loose_files(root)
    if folders and all(parts):
        unused_files += [name for folder in folders for name in tree.loose_files(folder)]
        places = [(part, below) for part, folder in zip(parts, folders, strict=True) for below in tree.folders(folder)]
    else:
        for part, folder in zip(parts, folders, strict=True):
            if part == TRAIN and tree.folders(folder) and not tree.loose_files(folder):
                unexpected = ", ".join(
                    printable(other.name) for other, known in zip(folders, parts, strict=True) if not known
                )
                problem = f"beside {folder.name}/ there is {unexpected}; expected nothing but validation/ and test/"
                raise ConfigurationError(setting, problem)
        places = [("", folder) for folder in folders]
    entries = sorted((file, folder.name, part) for part, folder in places for file in tree.files_below(folder))
    if not entries:
        raise ConfigurationError(setting, f"{root}: no image in it; expected one folder a class, or train/ with them")
    names, classes, of_part = zip(*entries, strict=True)
    used = set(classes)
    problems = [printable(line) for line in tree.note()]
    problems += [f"folder {printable(folder.name)} is empty" for _, folder in places if folder.name not in used]
    if unused_files:
        problems.append(
            f"{len(unused_files)} file(s) beside the folders of the classes are not used, such as {printable(unused_files[0])}"
        )
    labels = classify(classes, None, setting)
    return Listing(
        root.resolve().name,
        labels.classes,
        labels.labels,
        tuple(map(printable, names)),
        np.array(of_part),
        Files(root, names),
        stamp_of(root, names),
        labels.numbers,
        True,  # a folder's name is a name, even if it is a number
        tuple(problems),
    )


def _list_csv(path: Path, setting: str) -> Listing:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)
            columns = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
            rows = [row for row in csv.reader(file, delimiter=separator) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as err:
        raise ConfigurationError(setting, f"{path.name}: not a CSV file in UTF-8: {err}") from err

    def values_of(at: int) -> list[str]:
        return [row[at].strip() if at < len(row) else "" for row in rows]

    def column(name: str) -> list[str] | None:
        at = next((at for at, other in enumerate(columns) if other.lower() == name), None)
        return None if at is None else values_of(at)

    of_files = [at for at, name in enumerate(columns) if re.sub(r"[^a-z0-9]", "", name.lower()) in _FILE_COLUMNS]
    labels, classes, split = column("label"), column("class"), column("split")
    if not of_files or (labels is None and classes is None):
        required = "label (or class)" if of_files else "path (or file, filename, image_path and the like)"
        raise ConfigurationError(
            setting, f"{path.name}: no column {required}; there are: {one_line(', '.join(columns), 200)}"
        )
    if not rows:
        raise ConfigurationError(setting, f"{path.name}: no rows in it")
    file_column, files = _column_of_files(path, [(columns[at], values_of(at)) for at in of_files], setting)
    for name, values in ((file_column, files), ("label", labels), ("class", classes)):
        empty = [row for row, value in enumerate(values or ()) if value in ("", "NaN", "nan")]
        if empty:
            raise missing(name, empty, setting)
    files = [name.replace("\\", "/") for name in files]
    result = classify(labels or classes or (), classes if labels else None, setting)
    return Listing(
        path.name,
        result.classes,
        result.labels,
        # An absolute path tells about the machine: its last part has to do.
        tuple(printable(PurePath(name).name if PurePath(name).is_absolute() else name) for name in files),
        np.array([part_of(value, setting) for value in split] if split else [""] * len(rows)),
        Files(path.parent, files),
        stamp_of(path.parent, [path.name, *files]),
        result.numbers,
        result.has_names,
    )


def _column_of_files(path: Path, candidates: Sequence[tuple[str, list[str]]], setting: str) -> tuple[str, list[str]]:
    """The column of a CSV file that names the image files: the only one, or the only one that names files that are there.

    Args: candidates: names and values of columns whose names say that they may be it.
    """
    if all(values == candidates[0][1] for _, values in candidates):
        return candidates[0]
    there = [column for column in candidates if _names_files(path.parent, column[1][:_TRIED_ROWS])]
    if len(there) == 1:
        return there[0]
    which = "more than one of them names files that are there" if there else "none of them names a file that is there"
    names = " or ".join(name for name, _ in candidates)
    raise ConfigurationError(
        setting, f"{path.name}: the image may be in column {names}, and {which}; leave one of them"
    )


def _names_files(folder: Path, values: Sequence[str]) -> bool:
    return any(value and (folder / value.replace("\\", "/")).is_file() for value in values)


# --- Parquet: many images a file ------------------------------------------------------------------------------------


def _list_tables(path: Path, files: Sequence[Path], setting: str) -> Listing:
    from imagewarehouse.training.dataset_parquet import (  # pyarrow takes a fifth of a second to import
        Tables,
        read_columns,
    )

    columns = read_columns(files, setting)
    result = classify(columns.labels, columns.classes, setting)
    if columns.split is not None:
        parts = [part_of(value, setting) for value in columns.split]
    else:
        of_file = [_part_in_name(file) for file in files]
        part_of_file = of_file if all(of_file) and TRAIN in of_file else [""] * len(files)
        parts = [part for part, rows in zip(part_of_file, columns.rows, strict=True) for _ in range(rows)]
    return Listing(
        path.resolve().name,
        result.classes,
        result.labels,
        tuple(map(printable, columns.names)),
        np.array(parts),
        Tables(tuple(files), columns.rows),
        stamp_of(path if path.is_dir() else path.parent, [file.name for file in files]),
        result.numbers,
        result.has_names,
    )


def _part_in_name(file: Path) -> str:
    """As in train-00000-of-00002.parquet, which is how the Hugging Face hub names them; "" if there is none."""
    parts = {PARTS[word] for word in re.split(r"[^a-z]+", file.stem.lower()) if word in PARTS}
    return parts.pop() if len(parts) == 1 else ""
