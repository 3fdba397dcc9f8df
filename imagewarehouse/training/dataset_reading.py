"""Reads the images of a listing: many at a time, each checked before it is decoded, kept in a cache if there is one."""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeAlias

import numpy as np

from imagewarehouse.errors import ImageRejected, NotAnImage, Truncated
from imagewarehouse.images.decoding import InputSpec, UInt8Array, can_decode, decode_rgb, no_decoder
from imagewarehouse.images.formats import sniff
from imagewarehouse.training.listing import LIMITS, IntArray, Listing, Load, TextArray

Progress: TypeAlias = Callable[[int, int], None]  # images done, images in all

CHUNK = 16  # images a task of the pool: one alone costs more to hand over than a small one to decode
LAYOUT = 2  # of a cache file; count up when its content changes
DIGEST = 32  # bytes of a sha256
# What zipfile and numpy raise on damaged files.
_NO_CACHE = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, SyntaxError, MemoryError, struct.error,
             zipfile.BadZipFile)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contents:
    """The result of reading rows of a listing; K of them are usable."""

    kept: IntArray  # (K,), positions in the requested rows, ascending
    digests: UInt8Array  # (K, 32), sha256 of the files
    images: UInt8Array  # (K, height, width, channels); (K, 0) if nothing was decoded
    failed: IntArray  # positions of the others
    reasons: TextArray  # why, one line each


def read_contents(
    listing: Listing, rows: IntArray, spec: InputSpec | None, progress: Progress | None, cache: Path | None = None
) -> Contents:
    """Read `rows` of `listing`, checked and hashed, and decoded for `spec` if there is one.

    Args: cache: a folder; what was read for the same files, rows and spec before is taken from there.
    """
    file = None if cache is None else cache / f"{_key(listing, rows, spec)}.npz"
    contents = None if file is None else _load(file, len(rows), spec)
    if contents is None:
        contents = _read(listing, rows, spec, progress)
        if file is not None:
            _save(file, contents)
    elif progress is not None:
        progress(len(rows), len(rows))
    return contents


def check_content(content: bytes) -> str:
    """Pillow's name of the format of a file that the warehouse would take, as far as its structure tells.

    Trailing bytes are accepted: they do a model no harm, and many phones write them.

    Raises: NotAnImage, NoDecoder, Truncated, Corrupt, TooManyPixels, TooManyFrames.
    """
    image_format = sniff(content)
    if image_format is None:
        raise NotAnImage("not an image of a known format" if content else "the file is empty")
    if image_format.walk is None or not can_decode(image_format):
        raise no_decoder(image_format)
    try:
        image_format.walk(content, image_format.ceilings(LIMITS))
    except (struct.error, IndexError) as err:
        raise Truncated(f"{image_format.name}: the file ends inside its header") from err
    return image_format.name


def _read(listing: Listing, rows: IntArray, spec: InputSpec | None, progress: Progress | None) -> Contents:
    images = np.empty((len(rows), *_shape(spec)), np.uint8)
    digests = np.empty((len(rows), DIGEST), np.uint8)
    reasons: dict[int, str] = {}

    def task(position: int, load: Load) -> tuple[int, str | None]:
        """Each writes into its own row, so that no image is copied a second time."""
        try:
            content = load()
            image_format = check_content(content)
            if spec is not None:
                images[position] = decode_rgb(content, spec, image_format)
        except ImageRejected as err:
            return position, str(err)
        except (OSError, MemoryError) as err:
            return position, getattr(err, "strerror", None) or str(err) or type(err).__name__
        digests[position] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
        return position, None

    for done, (position, reason) in enumerate(_in_threads(task, listing.reader.read(rows)), start=1):
        if reason is not None:
            reasons[position] = reason
        if progress is not None:
            progress(done, len(rows))
    failed = np.array(sorted(reasons), np.int64)
    kept = np.delete(np.arange(len(rows)), failed)
    for place, position in enumerate(kept.tolist() if reasons else ()):  # row by row: a second array may not fit
        images[place], digests[place] = images[position], digests[position]
    texts = np.array([reasons[position] for position in failed.tolist()], dtype=np.str_)
    return Contents(kept, digests[: len(kept)], images[: len(kept)], failed, texts)


def _in_threads(
    task: Callable[[int, Load], tuple[int, str | None]], items: Iterable[tuple[int, Load]]
) -> Iterator[tuple[int, str | None]]:
    """Results in the order of `items`, of which no more are taken at a time than keep the threads busy."""
    workers = os.cpu_count() or 1
    pending: deque[Future[list[tuple[int, str | None]]]] = deque()
    pending_items = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        try:
            while chunk := list(islice(pending_items, CHUNK)):
                pending.append(pool.submit(lambda some: [task(*item) for item in some], chunk))
                if len(pending) > workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _shape(spec: InputSpec | None) -> tuple[int, ...]:
    return (0,) if spec is None else (spec.height, spec.width, spec.channels)


# --- cache ----------------------------------------------------------------------------------------------------------


def _key(listing: Listing, rows: IntArray, spec: InputSpec | None) -> str:
    # Not the scaling of the spec: it comes after the decoding.
    preprocessing = None if spec is None else (*_shape(spec), spec.colour_order, spec.fit, spec.background)
    text = f"{LAYOUT} {listing.stamp} {preprocessing} ".encode()
    return hashlib.sha256(text + rows.astype("<i8").tobytes()).hexdigest()[:32]


def _load(file: Path, rows: int, spec: InputSpec | None) -> Contents | None:
    """The cached contents; None where there are none or they are damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            contents = Contents(**{field.name: arrays[field.name] for field in fields(Contents)})
    except _NO_CACHE:
        return None
    count = len(contents.kept)
    fits = (
        contents.images.shape == (count, *_shape(spec))
        and contents.images.dtype == np.uint8
        and contents.digests.shape == (count, DIGEST)
        and count + len(contents.failed) == rows
    )
    return contents if fits else None


def _save(file: Path, contents: Contents) -> None:
    """Writes to a temporary name first, so that no reader finds half a file. A cache that cannot be written is skipped."""
    temporary = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as out:
            temporary = Path(out.name)
            np.savez(out, **{field.name: getattr(contents, field.name) for field in fields(Contents)})
        temporary.replace(file)
    except OSError:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
