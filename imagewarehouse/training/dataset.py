"""Labelled images to train, validate and test on, from any of the sources of `training.sources`.

`read_dataset` leaves the test images alone; `read_test` reads them, once, when nothing can be chosen by them any more.
A file that cannot be used costs one line of `problems`, never the training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.images.decoding import InputSpec, UInt8Array
from imagewarehouse.training.dataset_problems import Problems, images
from imagewarehouse.training.dataset_reading import Contents, Progress, read_contents
from imagewarehouse.training.dataset_split import Split, divide, sample_rows
from imagewarehouse.training.listing import TEST, VALIDATION, IntArray, Listing
from imagewarehouse.training.sources import list_source, with_class_names


@dataclass(frozen=True, slots=True)
class Examples:
    """N decoded images with their classes."""

    images: UInt8Array  # (N, height, width, channels), 0-255, at the model's input size, channels in the spec's order
    labels: IntArray  # (N,), indices into the classes
    names: tuple[str, ...]  # relative path or row of each

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Any) -> Examples:
        """Some of them, in the order of `rows` (an array or a sequence of positions)."""
        rows = np.asarray(rows, dtype=np.int64)
        return Examples(self.images[rows], self.labels[rows], tuple(self.names[row] for row in rows))


@dataclass(frozen=True, slots=True)
class TestSource:
    """Which images are for the test; none of them has been decoded."""

    __test__ = False  # pytest would take it for a test

    listing: Listing = field(repr=False)
    rows: IntArray = field(repr=False)
    trained_on: frozenset[bytes] = field(repr=False)  # hashes of the training and validation files

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a training needs."""

    classes: tuple[str, ...]
    train: Examples  # in an order drawn by the seed
    validation: Examples
    test: TestSource
    problems: tuple[str, ...]  # one line each
    facts: dict[str, Any]  # JSON, for the manifest


def read_dataset(
    source: str,
    spec: InputSpec,
    *,
    test: str | None = None,
    validation_part: float = 0.1,
    test_part: float = 0.1,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Dataset:
    """Read the training and validation images of `source` and find the test images.

    Args:
        test: where the test images are, if they are not in `source`.
        validation_part, test_part: share of each class that is cut off where the source has no such part itself.
        limit: at most so many images beside those of a separate test, each class by its share.
        progress: called for two passes, images done and in all: the first compares the files, the second decodes them.
        cache: a folder for decoded images.
    Raises: ConfigurationError: the source cannot be used, naming --data, --test or the share.
    """
    _check_numbers(validation_part, test_part, seed, limit)
    listing = list_source(source, "--data")
    elsewhere = None if test is None else list_source(test, "--test")
    problems = Problems(listing.problems)
    own_test = np.flatnonzero(listing.parts == TEST)
    if elsewhere is not None and elsewhere.stamp == listing.stamp and not len(own_test):
        raise ConfigurationError("--test", f"{elsewhere.source} is what is trained on; leave it out to cut a part off")

    cut_test = test_part if elsewhere is None and not len(own_test) else 0.0
    cut_validation = 0.0 if (listing.parts == VALIDATION).any() else validation_part

    rows = sample_rows(np.flatnonzero(listing.parts != TEST), listing.labels, limit, seed)
    contents = read_contents(listing, rows, None, progress, cache)
    problems.unreadable(listing, rows, contents)
    split = _split(listing, rows[contents.kept], contents.digests, cut_validation, cut_test, seed)
    problems.duplicates(listing.labels[rows[contents.kept]], contents.digests)

    order = np.concatenate([split.train, split.validation])
    decoded = read_contents(listing, order, spec, progress, cache)
    problems.unreadable(listing, order, decoded)
    examples = _examples(listing, order, decoded)
    in_train = int(np.searchsorted(decoded.kept, len(split.train)))
    usable = np.unique(examples.labels[:in_train])
    if len(usable) < 2:
        raise ConfigurationError("--data", _too_few_classes(listing, usable, problems))
    for label in np.setdiff1d(listing.labels[listing.parts != TEST], usable):
        problems.add("classes left out", f"class {listing.classes[label]!r} has no usable image to train on: left out")
    problems.small_classes(listing, split, usable, cut_validation > 0, cut_test > 0, limit)
    classes = tuple(listing.classes[label] for label in usable)
    train, validation = _of_classes(examples, usable, 0, in_train), _of_classes(examples, usable, in_train, None)

    tested = TestSource(
        *_test_images(listing, elsewhere, own_test if len(own_test) else split.test, classes, problems),
        frozenset(digest.tobytes() for digest in decoded.digests),
    )
    for purpose, part in (("validate", validation), ("test", tested)):
        if not len(part):
            problems.add("notes", f"there is no image to {purpose} on")
    facts = {
        "source": listing.source,
        "test_source": tested.listing.source,
        "test_is": "separate"
        if test
        else "cut from the source"
        if cut_test
        else "part of the source"
        if tested
        else "none",
        "images": {
            "train": len(train),
            "validation": len(validation),
            "test": len(tested),
            "left_out": len(contents.failed) + len(decoded.failed),
        },
        "train_images_by_class": dict(zip(classes, np.bincount(train.labels).tolist(), strict=True)),
        "split_seed": seed,
        "validation_part": validation_part,
        "test_part": test_part,
        "limit": limit,
        "sha256": _fingerprint(listing.classes, examples.labels, decoded.digests, usable),
        "train_sha256": _fingerprint(listing.classes, examples.labels[:in_train], decoded.digests[:in_train], usable),
    }
    return Dataset(classes, train, validation, tested, problems.lines(), facts)


def read_test(
    test: TestSource, spec: InputSpec, classes: Sequence[str], *, progress: Progress | None = None
) -> tuple[Examples, tuple[str, ...]]:
    """Decode the test images, at the very end of a training.

    Returns: the images, labels as indices into `classes`, and the problems found: files left out, and how many of the
    images were trained on.
    """
    problems = Problems()
    rows = _known(test.listing, test.rows, classes, "--test", problems)
    examples, contents = _decode(test.listing, rows, spec, classes, problems, progress)
    trained_on = sum(digest.tobytes() in test.trained_on for digest in contents.digests)
    if trained_on:
        problems.add(
            "notes", f"{trained_on} of {len(examples)} test images are also among those trained on, byte for byte"
        )
    return examples, problems.lines()


def read_examples(
    source: str,
    spec: InputSpec,
    classes: Sequence[str],
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    setting: str = "--data",
) -> tuple[Examples, tuple[str, ...]]:
    """Decode a labelled set to evaluate a model of `classes` on; of a source with a test part, that part.

    Labels are matched by name; numbers without names are positions in `classes`, which a line of the problems says.

    Args: setting: what errors call the source.
    Raises: ConfigurationError: the source cannot be used, or holds nothing of these classes.
    """
    _check_numbers(0.0, 0.0, seed, limit)
    listing = with_class_names(list_source(source, setting), dict(enumerate(classes)), classes)
    problems = Problems(listing.problems)
    rows = _known(listing, _test_rows(listing, problems), classes, setting, problems)
    rows = sample_rows(rows, listing.labels, limit, seed)
    examples, _ = _decode(listing, rows, spec, classes, problems, progress)
    if not len(examples):
        raise ConfigurationError(setting, f"no usable image in {listing.source}. {' '.join(problems.lines()[:3])}")
    return examples, problems.lines()


# --- steps ----------------------------------------------------------------------------------------------------------


def _check_numbers(validation_part: float, test_part: float, seed: int, limit: int | None) -> None:
    for setting, part in (("--validation", validation_part), ("--test-part", test_part)):
        if not 0 <= part < 1:
            raise ConfigurationError(setting, f"expected a share from 0 to below 1, received {part}")
    if validation_part + test_part >= 1:
        problem = f"with --test-part {test_part} and --validation {validation_part} nothing is left to train on"
        raise ConfigurationError("--validation", problem)
    if seed < 0:
        raise ConfigurationError("--seed", f"expected 0 or more, received {seed}")
    if limit is not None and limit < 1:
        raise ConfigurationError("--limit", f"expected 1 or more, received {limit}")


def _split(listing: Listing, rows: IntArray, digests: UInt8Array, validation: float, test: float, seed: int) -> Split:
    """Keep the validation part of the source, and divide the other rows."""
    own = listing.parts[rows] == VALIDATION
    split = divide(rows[~own], listing.labels[rows[~own]], digests[~own], validation, test, seed)
    return replace(split, validation=rows[own]) if own.any() else split


def _test_images(
    listing: Listing, elsewhere: Listing | None, own: IntArray, classes: Sequence[str], problems: Problems
) -> tuple[Listing, IntArray]:
    """(listing, rows) of the test images: all of `elsewhere` where there is such a source, else the rows `own`."""
    if elsewhere is None:
        return listing, _known(listing, own, classes, "--data", problems)
    unused = int((listing.parts == TEST).sum())
    if unused:
        problems.add("notes", f"the test part of {listing.source} ({images(unused)}) is not used: --test is")
    elsewhere = with_class_names(elsewhere, listing.numbers, classes)
    problems.extend(elsewhere.problems)
    return elsewhere, _known(elsewhere, _test_rows(elsewhere, problems), classes, "--test", problems)


def _examples(listing: Listing, rows: IntArray, contents: Contents) -> Examples:
    rows = rows[contents.kept]
    return Examples(contents.images, listing.labels[rows], tuple(listing.names[row] for row in rows))


def _of_classes(examples: Examples, usable: IntArray, start: int, end: int | None) -> Examples:
    """Those from `start` to `end` that are of the classes `usable`, labels counted in these; no copy if all are."""
    part = Examples(examples.images[start:end], examples.labels[start:end], examples.names[start:end])
    known = np.isin(part.labels, usable)
    part = part if known.all() else part.take(np.flatnonzero(known))
    return replace(part, labels=np.searchsorted(usable, part.labels).astype(np.int64))


def _decode(
    listing: Listing,
    rows: IntArray,
    spec: InputSpec,
    classes: Sequence[str],
    problems: Problems,
    progress: Progress | None,
) -> tuple[Examples, Contents]:
    """All of `rows`, whose classes are among `classes`."""
    contents = read_contents(listing, rows, spec, progress)
    problems.unreadable(listing, rows, contents)
    examples = _examples(listing, rows, contents)
    index = {name: position for position, name in enumerate(classes)}
    labels = [index[listing.classes[label]] for label in examples.labels]
    return replace(examples, labels=np.array(labels, np.int64)), contents


def _test_rows(listing: Listing, problems: Problems) -> IntArray:
    """The test part where the source has one, else everything."""
    if not (listing.parts == TEST).any():
        return np.arange(len(listing.labels))
    rows = np.flatnonzero(listing.parts == TEST)
    if len(rows) < len(listing.labels):
        problems.add(
            "notes", f"of {listing.source} only the test part is used, {len(rows)} of {len(listing.labels)} images"
        )
    return rows


def _known(listing: Listing, rows: IntArray, classes: Sequence[str], setting: str, problems: Problems) -> IntArray:
    """Those of `rows` whose class is one of `classes`. Raises ConfigurationError when there are some, but none of them is."""
    in_classes = np.isin(listing.labels[rows], [at for at, name in enumerate(listing.classes) if name in set(classes)])
    unknown = np.bincount(listing.labels[rows[~in_classes]], minlength=len(listing.classes))
    if len(rows) and not in_classes.any():
        source_classes, model_classes = (", ".join(names[:5]) for names in (listing.classes, tuple(classes)))
        raise ConfigurationError(
            setting, f"none of its classes ({source_classes}) is one of the model's ({model_classes})"
        )
    for label in np.flatnonzero(unknown):
        line = (
            f"class {listing.classes[label]!r} of {listing.source} is not trained on: {images(unknown[label])} left out"
        )
        problems.add("classes left out", line)
    return rows[in_classes]


def _too_few_classes(listing: Listing, usable: IntArray, problems: Problems) -> str:
    names = ", ".join(repr(listing.classes[label]) for label in usable) or "none"
    hints = " ".join(problems.lines()[:3])
    return f"{listing.source} has {len(usable)} usable class(es) to train on ({names}), at least 2 are needed. {hints}"


def _fingerprint(classes: Sequence[str], labels: IntArray, digests: UInt8Array, usable: IntArray) -> str:
    """A sha256 over class and content of every image of the classes `usable`; names and order do not count."""
    used = np.isin(labels, usable)
    lines = (
        f"{classes[label]}\0{digest.tobytes().hex()}\n"
        for label, digest in zip(labels[used], digests[used], strict=True)
    )
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
