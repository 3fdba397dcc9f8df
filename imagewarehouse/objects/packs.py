"""Packs: many pictures in one object, so that millions of small ones do not become millions of files.

A pack is a tar file by the convention of WebDataset, which other programs read without us: of each picture `IMAGE_ID.jpg`
and, behind it, `IMAGE_ID.json`, what was known of it when it was stored. Two kinds lie in a store:

- `batches/2026-11-30/<sha256>.tar`: the pictures that one call stored together. Short-lived: a compaction takes it apart.
- `packs/2026-11-30/<sha256>.tar`: some 100 MB, made by a compaction. Beside it lies `<sha256>.index`, a JSON line for each
  picture, so that nobody has to walk through the tar file to know what is in it.

The name is the sha256 of the bytes: written again, a pack is the same object.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

import orjson

from imagewarehouse.errors import ObjectDamaged

BATCHES, PACKS = "batches", "packs"
PACK_BYTES = 100_000_000
_BLOCK = tarfile.BLOCKSIZE
HEADER = _BLOCK  # bytes right before a picture, which have its name
_KEY = re.compile(rf"(?P<location>.+)/(?P<key>({BATCHES}|{PACKS})/\d{{4}}-\d\d-\d\d/[0-9a-f]{{64}}\.tar)")


@dataclass(frozen=True, slots=True)
class PackPicture:
    """A picture on its way into a pack. `record`: JSON, an object. `time`: seconds since 1970, for the tar header."""

    image_id: str
    suffix: str
    content: bytes = field(repr=False)
    record: bytes = field(default=b"{}", repr=False)
    time: int = 0

    @property
    def packed_size(self) -> int:
        """Bytes that it takes in a pack, headers and padding included."""
        return sum(_BLOCK + -(-len(part) // _BLOCK) * _BLOCK for part in (self.content, self.record))


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture in a pack: where its bytes are, and those of its record."""

    image_id: str
    suffix: str
    start: int
    size: int
    record_start: int
    record_size: int
    time: int = 0


@dataclass(frozen=True, slots=True)
class Pack:
    """The bytes of a pack, and what is in it, in its order."""

    content: bytes = field(repr=False)
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def key(self, folder: str, day: date) -> str:
        return f"{folder}/{day.isoformat()}/{self.name}.tar"


def index_key(pack_key: str) -> str:
    """The key of the index of a pack."""
    return pack_key.removesuffix(".tar") + ".index"


def split(uri: str) -> tuple[str, str] | None:
    """The URI of the location and the key of a pack; None: it is none of a pack."""
    match = _KEY.fullmatch(uri)
    return None if match is None else (match["location"], match["key"])


def suffix_in(header: bytes, image_id: str) -> str | None:
    """That of a picture, out of the `HEADER` bytes before it; None where they are not those of this picture."""
    try:
        name, _, suffix = tarfile.TarInfo.frombuf(header, "ascii", "replace").name.partition(".")
    except tarfile.TarError:
        return None
    return suffix if name == image_id else None


def make_pack(pictures: Iterable[PackPicture]) -> Pack:
    """The same bytes for the same pictures in the same order. Of two with one image_id, the first is taken."""
    out = io.BytesIO()
    entries: dict[str, Entry] = {}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for picture in pictures:
            if picture.image_id in entries:
                continue
            start = _add(tar, f"{picture.image_id}.{picture.suffix}", picture.content, picture.time)
            record_start = _add(tar, f"{picture.image_id}.json", picture.record, picture.time)
            entries[picture.image_id] = Entry(
                picture.image_id, picture.suffix, start, len(picture.content), record_start, len(picture.record),
                picture.time,
            )  # fmt: skip
    return Pack(out.getvalue(), tuple(entries.values()))


def read_pack(content: bytes, where: str) -> Pack:
    """What is in a pack. Raises ObjectDamaged naming `where`: it is no whole tar file of pictures and records."""
    entries: list[Entry] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            members = tar.getmembers()
    except tarfile.TarError as err:
        raise ObjectDamaged(f"{where} is no tar file: {err}") from err
    for picture, record in zip(members[::2], members[1::2], strict=False):
        image_id, _, suffix = picture.name.partition(".")
        ends = max(part.offset_data + part.size for part in (picture, record))
        if record.name != f"{image_id}.json" or ends > len(content):
            raise ObjectDamaged(f"{where}: {picture.name} and {record.name} are no picture and its record")
        entries.append(
            Entry(image_id, suffix, picture.offset_data, picture.size, record.offset_data, record.size,
                  int(picture.mtime))
        )  # fmt: skip
    if len(members) % 2:
        raise ObjectDamaged(f"{where} ends behind a picture without a record")
    return Pack(content, tuple(entries))


def write_index(entries: Sequence[Entry]) -> bytes:
    """A JSON line for each picture."""
    return b"".join(orjson.dumps(entry) + b"\n" for entry in entries)


def read_index(content: bytes, where: str) -> tuple[Entry, ...]:
    """Raises ObjectDamaged naming `where`."""
    try:
        return tuple(Entry(**orjson.loads(line)) for line in content.splitlines())
    except (ValueError, TypeError) as err:
        raise ObjectDamaged(f"{where} is no index of a pack: {err}") from err


def _add(tar: tarfile.TarFile, name: str, content: bytes, time: int) -> int:
    """Gives where the content begins."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), time, 0o644
    start = tar.offset + _BLOCK
    tar.addfile(member, io.BytesIO(content))
    return start
