"""TIFF files of any kind, written from the specification out of the samples that they shall hold."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

KINDS = {"u": 1, "i": 2, "f": 3}  # numpy's letter -> SampleFormat
WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, CMYK, YCBCR, LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
NO_COLOUR, ASSOCIATED, UNASSOCIATED = 0, 1, 2
_CODES = {2: "s", 3: "H", 4: "I", 5: "I", 7: "s", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q"}
Tags = Mapping[int, tuple[int, Sequence[Any] | bytes]]


def tiff(
    samples: np.ndarray[Any, Any],
    photometric: int | None = BLACK_IS_0,
    *,
    bits: int | None = None,
    order: str = "<",
    big: bool = False,
    planar: bool = False,
    deflate: bool = False,
    differences: bool = False,
    webp: bool = False,
    rows: int | None = None,
    tile: tuple[int, int] | None = None,
    tags: Tags | None = None,
) -> bytes:
    """One page. `samples`: (height, width, samples); `bits`: less than their type has; `tile`: width, height."""
    height, width, count = samples.shape
    bits = bits or samples.dtype.itemsize * 8
    across, down = tile or (width, rows or height)
    blocks = []
    for plane in [samples[:, :, [n]] for n in range(count)] if planar else [samples]:
        for top in range(0, height, down):
            for left in range(0, width, across):
                block = plane[top : top + down, left : left + across]
                if tile:
                    block = np.pad(block, ((0, down - block.shape[0]), (0, across - block.shape[1]), (0, 0)))
                if differences:
                    block = np.diff(block, axis=1, prepend=np.zeros_like(block[:, :1]))
                data = _webp(block) if webp else _packed(block, bits, order)
                blocks.append(zlib.compress(data) if deflate else data)
    entries: dict[int, tuple[int, Sequence[Any] | bytes]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * count), 259: (3, [50001 if webp else 8 if deflate else 1]),
        277: (3, [count]), 284: (3, [2 if planar else 1]), 339: (3, [KINDS[samples.dtype.kind]] * count),
        317: (3, [2 if differences else 1]),
    }  # fmt: skip
    if photometric is not None:
        entries[262] = (3, [photometric])
    entries |= {322: (4, [across]), 323: (4, [down])} if tile else {278: (4, [down])}
    return _file(entries | dict(tags or {}), blocks, (324, 325) if tile else (273, 279), order, big)


def _webp(block: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(block).save(out, "WEBP", lossless=True)
    return out.getvalue()


def _packed(block: np.ndarray[Any, Any], bits: int, order: str) -> bytes:
    if bits % 8 == 0:
        return block.astype(block.dtype.newbyteorder(order)).tobytes()
    shifts = np.arange(bits - 1, -1, -1)
    spread = (block[..., None].astype(np.uint32) >> shifts & 1).astype(np.uint8)
    return np.packbits(spread.reshape(len(block), -1), axis=1).tobytes()


def _file(tags: Tags, blocks: Sequence[bytes], block_tags: tuple[int, int], order: str, big: bool) -> bytes:
    pointer, size = ("Q", 8) if big else ("I", 4)
    out = bytearray(struct.pack(order + "2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, 0) if big
                    else struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 0))  # fmt: skip
    offsets = []
    for block in blocks:
        offsets.append(len(out))
        out += block + bytes(len(block) % 2)
    whole = dict(tags) | {block_tags[0]: (4, offsets), block_tags[1]: (4, [len(block) for block in blocks])}
    directory = b""
    for tag, (kind, values) in sorted(whole.items()):
        data = (
            bytes(values) if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
        )
        number = len(values) // 2 if kind == 5 else len(values)
        if len(data) > size:
            place, out = len(out), out + data + bytes(len(data) % 2)
            data = struct.pack(order + pointer, place)
        directory += struct.pack(f"{order}HH{pointer}", tag, kind, number) + data.ljust(size, b"\0")
    struct.pack_into(order + pointer, out, 8 if big else 4, len(out))
    return bytes(out) + struct.pack(order + ("Q" if big else "H"), len(whole)) + directory + bytes(size)
