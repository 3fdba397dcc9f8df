"""Damaged image files: `mutate` takes a healthy file of `tools.image_seeds` and changes it in one to four places.

Half of the changes go to the numbers of the file's structure (`tools.image_fields`), which readers trust: they get values
at the edges of the usual integer types, or near the file's length. The others move, drop and repeat whole parts, or treat
the file as bytes. Checksums and sizes are set right again afterwards, or a reader would look no further than at them.

Everything follows from the seed and from the state of the `random.Random` that is handed in.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tools.image_fields import Field, Part, fields, parts, profile_fields, read
from tools.image_seeds import Seed, seeds

MAX_BYTES = 300_000  # of a damaged file; repeating parts could grow it without end
MAX_PIXELS = 2_000_000  # of a size that is chosen on purpose; an edge value may announce more

Mutator = Callable[[bytes, str, Random], bytes]


@dataclass(frozen=True, slots=True)
class Mutated:
    """A damaged file and the healthy one that it was."""

    seed: Seed
    content: bytes


def mutated(run: int, number: int, formats: Sequence[str] = ()) -> Mutated:
    """The damaged file with this number of a run; a run of the same formats (none: all) is always the same series of files."""
    rng = Random(f"{run} {number}")  # noqa: S311 - reproducible, not secret
    seed = rng.choice(seeds()[rng.choice(list(formats) or list(seeds()))])
    return Mutated(seed, mutate(seed, rng))


def mutate(seed: Seed, rng: Random) -> bytes:
    """A damaged copy of a healthy file: one to four changes, one after the other, mostly with the sums set right."""
    content = seed.content
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4))):
        (change,) = rng.choices(list(_MUTATORS), list(_MUTATORS.values()))
        content = change(content, seed.format, rng)[:MAX_BYTES]
    # A wrong RIFF size is a case of its own; a wrong checksum in a PNG says nothing about all else that is wrong.
    if rng.random() < (0.5 if seed.format == "WEBP" else 0.95):
        content = repaired(content, seed.format)
    return content


def edge_values(field: Field, length: int) -> tuple[int, ...]:
    """Values of this field on which a reader may fail: the edges of integer types and the neighbours of the file's length.

    Negative numbers stand in two's complement; numbers that are too wide are truncated to the field.
    """
    type_edges = [2**bits + step for bits in (7, 8, 15, 16, 24, 31, 32, 63, 64) for step in (-2, -1, 0, 1)]
    length_edges = [length - field.base + step for step in (-2, -1, 0, 1)]
    own_place = [field.at - field.base, field.at - field.base + field.size]
    return tuple(
        sorted({value % 256**field.size for value in (0, 1, 2, -1, -2, *type_edges, *length_edges, *own_place)})
    )


def with_field(content: bytes, field: Field, value: int) -> bytes:
    """The file with another number in one field; what is too wide for it is cut."""
    number: bytes = (value % 256**field.size).to_bytes(field.size, field.order)
    return content[: field.at] + number + content[field.at + field.size :]


def repaired(content: bytes, image_format: str) -> bytes:
    """The same file with sums and sizes that agree with the rest: checksums of PNG chunks, WebP's RIFF size.

    A PNG chunk's checksum goes to where the chunk's own length says, right or wrong: there it will be looked for.
    """
    data = bytearray(content)
    if image_format == "PNG":
        for part in parts(content, "PNG"):
            data[part.end - 4 : part.end] = zlib.crc32(data[part.start + 4 : part.end - 4]).to_bytes(4, "big")
    elif image_format == "WEBP" and len(data) >= 8:
        data[4:8] = (len(data) - 8).to_bytes(4, "little")
    return bytes(data)


# --- changes of the structure's numbers -----------------------------------------------------------------------------


def _pick(content: bytes, image_format: str, rng: Random) -> Field | None:
    """A field; every kind is as likely as the others, however many of it there are."""
    by_name: dict[str, list[Field]] = {}
    for field in fields(content, image_format):
        by_name.setdefault(field.name, []).append(field)
    return rng.choice(rng.choice(list(by_name.values()))) if by_name else None


def _edge(content: bytes, image_format: str, rng: Random) -> bytes:
    field = _pick(content, image_format, rng)
    if field is None:
        return _overwrite(content, image_format, rng)
    return with_field(content, field, rng.choice(edge_values(field, len(content))))


def _nudge(content: bytes, image_format: str, rng: Random) -> bytes:
    """A number a little larger or smaller, half, double or one bit other than it was."""
    field = _pick(content, image_format, rng)
    if field is None:
        return _overwrite(content, image_format, rng)
    value = read(content, field)
    choices = (
        value + 1,
        value - 1,
        value + 2,
        value - 2,
        value * 2,
        value // 2,
        value ^ 1 << rng.randrange(8 * field.size),
    )
    return with_field(content, field, rng.choice(choices))


def _copy_number(content: bytes, image_format: str, rng: Random) -> bytes:
    """A field with the number of another one: a size that is there, but elsewhere."""
    field, other = _pick(content, image_format, rng), _pick(content, image_format, rng)
    if field is None or other is None:
        return _overwrite(content, image_format, rng)
    return with_field(content, field, read(content, other))


def _point_elsewhere(content: bytes, image_format: str, rng: Random) -> bytes:
    """A field with the place of another one: offsets that overlap or lead in circles."""
    field, other = _pick(content, image_format, rng), _pick(content, image_format, rng)
    if field is None or other is None:
        return _overwrite(content, image_format, rng)
    return with_field(content, field, other.at - field.base)


def _resize(content: bytes, image_format: str, rng: Random) -> bytes:
    """Other widths and heights, small enough for the pixels to be decoded."""
    width = rng.choice((1, 2, 7, 8, 9, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 1400))
    height = min(MAX_PIXELS // width, rng.choice((1, 2, 7, 8, 9, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 1400, 65535)))
    for field in fields(content, image_format):
        across = field.name.endswith("width") or field.name in ("value of 256", "value of 322")
        down = field.name.endswith("height") or field.name in ("value of 257", "value of 323")
        if across or down:
            less = 1 if field.name.startswith("canvas") else 0  # WebP counts from 0
            content = with_field(content, field, (width if across else height) - less)
    return content


# --- changes of whole parts -----------------------------------------------------------------------------------------


def _replaced(content: bytes, start: int, end: int, new: bytes, around: tuple[int, ...], image_format: str) -> bytes:
    """Other bytes from `start` to `end`, and the sizes of what is around them set right."""
    content = content[:start] + new + content[end:]
    for at in around:
        size = Field("size", at, 4, "little" if image_format == "WEBP" else "big")
        content = with_field(content, size, read(content, size) + len(new) - (end - start))
    return content


def _packed(head: bytes, body: bytes, image_format: str) -> bytes:
    """A part with this body and with the length that belongs to it."""
    if image_format == "PNG":
        kind = head[4:8]
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
    if image_format == "WEBP":
        return head[:4] + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)
    if image_format == "JPEG" and len(head) == 4:
        return head[:2] + min(len(body) + 2, 0xFFFF).to_bytes(2, "big") + body
    if image_format in ("AVIF", "HEIF", "JPEG2000") and len(head) == 8 and head[:4] != bytes(4):
        return (len(body) + 8).to_bytes(4, "big") + head[4:] + body
    return head + body


def _body(content: bytes, part: Part, image_format: str) -> bytes:
    return content[part.body : part.end - (4 if image_format == "PNG" else 0)]


def _whole(part: Part, image_format: str) -> int:
    """Where a part ends with its padding."""
    return part.end + ((part.end - part.body) % 2 if image_format == "WEBP" else 0)


def _drop_part(content: bytes, image_format: str, rng: Random) -> bytes:
    chunks = parts(content, image_format)
    if not chunks:
        return _delete(content, image_format, rng)
    part = rng.choice(chunks)
    return _replaced(content, part.start, _whole(part, image_format), b"", part.around, image_format)


def _repeat_part(content: bytes, image_format: str, rng: Random) -> bytes:
    """A part once more, at its own place or at another's; seldom very often."""
    chunks = parts(content, image_format)
    if not chunks:
        return _duplicate(content, image_format, rng)
    part, place = rng.choice(chunks), rng.choice(chunks)
    times = rng.choice((1, 1, 1, 2, 3, 120)) if _whole(part, image_format) - part.start < 2000 else 1
    repeated = content[part.start : _whole(part, image_format)] * times
    return _replaced(content, place.start, place.start, repeated, place.around, image_format)


def _swap_parts(content: bytes, image_format: str, rng: Random) -> bytes:
    chunks = parts(content, image_format)
    if len(chunks) < 2:
        return _swap(content, image_format, rng)
    first, second = sorted(rng.sample(chunks, 2), key=lambda part: part.start)
    if first.end > second.start:  # one lies in the other
        return _swap(content, image_format, rng)
    first_bytes, second_bytes = (content[part.start : _whole(part, image_format)] for part in (first, second))
    between = content[first.start + len(first_bytes) : second.start]
    return content[: first.start] + second_bytes + between + first_bytes + content[second.start + len(second_bytes) :]


def _borrow_part(content: bytes, image_format: str, rng: Random) -> bytes:
    """A part of another healthy file of the format: a second header, a palette where none belongs, a stranger's EXIF."""
    other = rng.choice(seeds()[image_format]).content
    own, borrowed = parts(content, image_format), parts(other, image_format)
    if not own or not borrowed:
        return _splice(content, image_format, rng)
    place, part = rng.choice(own), rng.choice(borrowed)
    inserted = other[part.start : _whole(part, image_format)]
    return _replaced(content, place.start, place.start, inserted, place.around, image_format)


def _change_part(content: bytes, image_format: str, rng: Random) -> bytes:
    """The body of a part treated as bytes, its length set right."""
    chunks = parts(content, image_format)
    if not chunks:
        return rng.choice(_PLAIN)(content, image_format, rng)
    part = rng.choice(chunks)
    body = rng.choice(_PLAIN)(_body(content, part, image_format), image_format, rng)
    new = _packed(content[part.start : part.body], body, image_format)
    return _replaced(content, part.start, _whole(part, image_format), new, part.around, image_format)


def _repack(content: bytes, image_format: str, rng: Random) -> bytes:
    """What a PNG holds compressed, changed before it is compressed again: rows of pixels, a text, a profile."""
    if image_format != "PNG":
        return _change_part(content, image_format, rng)
    streams = [part for part in parts(content, "PNG") if content[part.start + 4 : part.body] in _COMPRESSED]
    if not streams:
        return _change_part(content, image_format, rng)
    part = rng.choice(streams)
    kind = content[part.start + 4 : part.body]
    chunks = (
        [chunk for chunk in streams if content[chunk.start + 4 : chunk.body] == kind] if kind == b"IDAT" else [part]
    )
    body = b"".join(_body(content, chunk, "PNG") for chunk in chunks)
    start = _COMPRESSED[kind](body)
    try:
        raw = zlib.decompressobj().decompress(body[start:], 4 * MAX_PIXELS)
    except zlib.error:  # damaged already
        return _change_part(content, image_format, rng)
    fields = list(profile_fields(raw)) if kind == b"iCCP" else []
    if fields and rng.random() < 0.7:
        field = rng.choice(fields)
        raw = with_field(raw, field, rng.choice(edge_values(field, len(raw))))
    else:
        raw = rng.choice(_PLAIN)(raw, image_format, rng)
    new = _packed(content[part.start : part.body], body[:start] + zlib.compress(raw, rng.randrange(10)), "PNG")
    for chunk in reversed(chunks):  # from behind, so that the places in front stay; the first one takes all
        content = content[: chunk.start] + (new if chunk == chunks[0] else b"") + content[chunk.end :]
    return content


def _behind_text(body: bytes) -> int:
    """Where the compressed data of iTXt begin: behind keyword, two flags, language and translated keyword."""
    at = body.find(b"\0") + 3
    for _ in range(2):
        at = body.find(b"\0", at) + 1
    return at


_COMPRESSED: dict[bytes, Callable[[bytes], int]] = {
    b"IDAT": lambda body: 0,
    b"fdAT": lambda body: 4,
    b"zTXt": lambda body: body.find(b"\0") + 2,
    b"iCCP": lambda body: body.find(b"\0") + 2,
    b"iTXt": _behind_text,
}


# --- changes of plain bytes -----------------------------------------------------------------------------------------


def _range(content: bytes, rng: Random, most: int = 64) -> tuple[int, int]:
    """Where something begins and ends: mostly short, half of the time near the beginning, where the headers stand."""
    start = rng.randrange(min(len(content), 200) if rng.random() < 0.5 else len(content)) if content else 0
    return start, min(len(content), start + rng.randint(1, rng.choice((4, most))))


def _flip(content: bytes, image_format: str, rng: Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.randint(1, 6) if data else 0):
        start, _ = _range(content, rng)
        data[start] ^= 1 << rng.randrange(8)
    return bytes(data)


def _overwrite(content: bytes, image_format: str, rng: Random) -> bytes:
    start, end = _range(content, rng)
    new = rng.choice((bytes, lambda size: b"\xff" * size, rng.randbytes))(end - start)
    return content[:start] + new + content[end:]


def _delete(content: bytes, image_format: str, rng: Random) -> bytes:
    start, end = _range(content, rng)
    return content[:start] + content[end:]


def _insert(content: bytes, image_format: str, rng: Random) -> bytes:
    start, _ = _range(content, rng)
    return content[:start] + rng.randbytes(rng.choice((1, 2, 4, 8, 50))) + content[start:]


def _duplicate(content: bytes, image_format: str, rng: Random) -> bytes:
    start, end = _range(content, rng, 300)
    return content[:end] + content[start:end] * rng.choice((1, 1, 2, 50)) + content[end:]


def _swap(content: bytes, image_format: str, rng: Random) -> bytes:
    (a, b), (c, d) = sorted((_range(content, rng), _range(content, rng)))
    c = max(b, c)
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[max(c, d) :]


def _truncate(content: bytes, image_format: str, rng: Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _splice(content: bytes, image_format: str, rng: Random) -> bytes:
    """The beginning of one file and the end of another."""
    other = rng.choice(seeds()[image_format]).content
    at = rng.randrange(len(content) + 1)
    return content[:at] + other[at if rng.random() < 0.5 else rng.randrange(len(other)) :]


_PLAIN: tuple[Mutator, ...] = (_flip, _overwrite, _delete, _insert, _duplicate, _swap, _truncate)

# Each with how often it is taken. Parts of a file that were cut off or shifted hide everything behind them from a reader,
# so these are the seldom ones.
_MUTATORS: dict[Mutator, int] = {
    _edge: 30,
    _nudge: 12,
    _copy_number: 6,
    _point_elsewhere: 6,
    _resize: 4,
    _drop_part: 5,
    _repeat_part: 6,
    _swap_parts: 4,
    _borrow_part: 6,
    _change_part: 10,
    _repack: 6,
    _flip: 6,
    _overwrite: 6,
    _delete: 2,
    _insert: 2,
    _duplicate: 2,
    _swap: 2,
    _truncate: 2,
    _splice: 2,
}
