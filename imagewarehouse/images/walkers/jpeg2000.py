"""JPEG 2000: the codestream, alone or inside JP2 and JPX, by ITU T.800 and T.801.

A codestream says how its pixels are cut: into tiles, these into resolutions, these into precincts and code blocks, and all
of that once more for each layer of quality. A decoder makes room for every piece before it reads one, so a file of a hundred
bytes can ask for gigabytes. `_Shape` counts the pieces.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from imagewarehouse.errors import Corrupt, TooManyPixels, Truncated, Unsupported
from imagewarehouse.images.walkers.walking import Ceilings, Extent, Steps, check_frames, check_pixels

SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
CODESTREAM = b"\xff\x4f\xff\x51"

REDUCED_SIDE = 1024
"""Pixels that a picture's shorter side keeps at least where it is decoded at 1/2, 1/4, ... of its size."""

_BOXES = frozenset((b"jP  ", b"ftyp", b"jp2h", b"jp2c", b"jp2i", b"xml ", b"uuid", b"uinf", b"free", b"rreq", b"asoc", b"nlst",
                    b"lbl ", b"jpch", b"jplh", b"res ", b"ftbl", b"dtbl", b"creg", b"drep", b"comp", b"copt", b"inst", b"chck",
                    b"mp7b", b"roid", b"gtso", b"opct", b"cref"))  # fmt: skip
_SOC, _SIZ, _COD, _COC, _SOT, _SOD, _EOC = 0xFF4F, 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93, 0xFFD9
_STEPS = 20_000  # segments and parts of tiles
_MAX_TILES = 10_000  # 50 megapixels in tiles of 71 x 71
_MAX_COMPONENTS = 4  # what Pillow makes a picture of
_MAX_BITS = 16

# What OpenJPEG 2.5 holds, in bytes; measured.
_OF_VALUE = 6  # of a component at one place of a tile: 32 bits, and the 8 or 16 that they become
_OF_TILE, _OF_TILE_COMPONENT = 6_000, 1_200
_OF_BLOCK, _OF_PRECINCT = 700, 400
_OF_LAYER = 2  # of a precinct at each resolution of each component
_OF_PIXEL = 4  # Pillow's picture
_OF_COPIES = 16  # Pillow's picture while transparency is laid over a colour, or 16 bits become 8
# How much more than its pixels the pieces of a picture may take, whatever the limit of memory is.
_OVERHEAD, _OVERHEAD_OF_PIXEL = 64 << 20, 40


@dataclass(frozen=True, slots=True)
class _Coding:
    """What a COD or COC segment says."""

    layers: int
    levels: int
    block: int  # places in a code block at most
    precincts: tuple[tuple[int, int], ...]  # log2 of width and height at each resolution, the smallest first
    lossless: bool  # by the reversible wavelet


@dataclass(frozen=True, slots=True)
class Frame:
    """What SIZ says: pixels and where they begin, tiles, where these begin and how many there are, components with their steps.

    `depths`: of each component its bits less one, and 128 more where it is signed.
    """

    width: int
    height: int
    origin: tuple[int, int]
    across: int
    down: int
    tile_origin: tuple[int, int]
    tiles: int
    components: tuple[tuple[int, int], ...]
    depths: tuple[int, ...]

    @property
    def deep(self) -> bool:
        """Whether a component has more than 8 bits."""
        return any((depth & 0x7F) + 1 > 8 for depth in self.depths)

    @property
    def copied(self) -> bool:
        """Whether it has transparency, or 16-bit grey, which Pillow leaves as it is."""
        return len(self.components) in (2, 4) or self.deep

    @property
    def halvings(self) -> int:
        """How often it can be halved for Pillow: with its corner, and those of its tiles, still on a whole pixel; where it has
        components of fewer pixels, all edges still on one of theirs."""
        if any(self.origin):
            return 0
        edges = self.across | self.down if self.tiles > 1 else 0
        for across, down in self.components:
            if (across, down) != (1, 1):
                edges |= self.width // across | self.height // down | self.across // across | self.down // down
        return (edges & -edges).bit_length() - 1 if edges else 32

    @property
    def values(self) -> float:
        """Of all components at a pixel, on average."""
        return sum(1 / (across * down) for across, down in self.components)


def walk_jpeg2000(data: bytes, ceilings: Ceilings) -> Extent:
    """Raises Unsupported, too: for more components or bits than become a picture here."""
    steps = Steps("JPEG 2000", _STEPS)
    if not data.startswith(SIGNATURE):
        return Extent(_codestream(data, 0, len(data), ceilings, steps)[0])
    pos, end, frames, kinds = 0, 0, 0, set[bytes]()
    header: tuple[int, int] | None = None
    while pos < len(data):
        steps.take()
        if pos + 8 > len(data) or data[pos + 4 : pos + 8] not in _BOXES:
            if frames:
                return Extent(end, frames)
            if pos + 8 > len(data):
                raise Truncated("JPEG 2000: the file ends inside a box header")
            raise Corrupt(f"JPEG 2000: unknown box at byte {pos}")
        kind, body, stop = _box(data, pos)
        if stop > len(data):
            raise Truncated(f"JPEG 2000: a box reaches to byte {stop}, {len(data)} are here")
        if kind == b"jp2h" and header is None:
            header = _header(data, body, stop, steps)
        elif kind == b"jp2c":
            frames += 1
            check_frames("JPEG 2000", frames, ceilings)
            if header is None:
                raise Corrupt("JPEG 2000: its header box is missing")
            if frames == 1:
                end, size = _codestream(data, body, stop, ceilings, steps)
                if size != header:
                    raise Corrupt(f"JPEG 2000: {header[0]} x {header[1]} pixels outside, {size[0]} x {size[1]} inside")
                if end < stop:
                    return Extent(end, frames)
        kinds.add(kind)
        pos = end = stop
    if not frames:
        raise Truncated("JPEG 2000: the file ends before its picture")
    return Extent(end, frames)


def levels_of(data: bytes) -> int:
    """How often the picture can be halved while it is decoded: 0 where that cannot be told."""
    stream = codestream_of(data)
    return min(stream.levels, stream.frame.halvings) if stream is not None else 0


def codestream_of(data: bytes) -> Codestream | None:
    """The first codestream of a file; None where it cannot be followed."""
    start = 0
    if data.startswith(SIGNATURE):
        pos = 0
        while pos + 8 <= len(data):
            kind, body, stop = _box(data, pos)
            if kind == b"jp2c":
                start = body
                break
            pos = stop
    try:
        return Codestream(data, start, len(data), Steps("JPEG 2000", _STEPS))
    except (Corrupt, Truncated, Unsupported, struct.error, IndexError):
        return None


def reduction(width: int, height: int, levels: int, side: int = REDUCED_SIDE) -> int:
    """How often it is halved when it is decoded, so that its shorter side keeps `side` pixels."""
    side = min(side, REDUCED_SIDE)
    times = 0
    while times < levels and min(width, height) >> (times + 1) >= side:
        times += 1
    return times


def _box(data: bytes, pos: int) -> tuple[bytes, int, int]:
    size, kind = struct.unpack_from(">I4s", data, pos)
    body = pos + 8
    if size == 1:
        (size,) = struct.unpack_from(">Q", data, body)
        body += 8
    elif size == 0:
        size = len(data) - pos
    if pos + size < body:
        raise Corrupt(f"JPEG 2000: a box of {size} bytes at byte {pos}")
    return kind, body, pos + size


def _header(data: bytes, body: int, stop: int, steps: Steps) -> tuple[int, int]:
    """Width and height in the header box, where the image header comes first; Pillow reads all that follow it."""
    if body + 22 > stop or data[body + 4 : body + 8] != b"ihdr":
        raise Corrupt("JPEG 2000: its header box has no image header")
    height, width, components = struct.unpack_from(">IIH", data, body + 8)
    if components > _MAX_COMPONENTS:
        raise Unsupported(f"JPEG 2000: {components} components cannot be read here, {_MAX_COMPONENTS} at most")
    pos = body
    while pos < stop:
        steps.take()
        _, _, pos = _box(data, pos)
        if pos > stop:
            raise Corrupt("JPEG 2000: a box is longer than the header box around it")
    return width, height


def _codestream(data: bytes, start: int, stop: int, ceilings: Ceilings, steps: Steps) -> tuple[int, tuple[int, int]]:
    """Where the codestream ends, and its width and height."""
    stream = Codestream(data, start, stop, steps, ceilings)
    frame = stream.frame
    _check_memory(frame, stream, ceilings)
    return stream.end, (frame.width, frame.height)


class Codestream:
    """A codestream that was followed to its end.

    `levels`: the least of all tiles and components. `depths_at`: where the first of `frame.depths` stands, 3 bytes in front of
    the next one.
    """

    def __init__(self, data: bytes, start: int, stop: int, steps: Steps, ceilings: Ceilings | None = None) -> None:
        self.data, self.stop, self.steps = data, stop, steps
        self.codings: list[_Coding] = []
        self.layers = 1
        if data[start : start + 4] != CODESTREAM:
            raise Corrupt("JPEG 2000: no codestream where it should start")
        pos = start + 2
        self.depths_at = pos + 40
        self.frame = self._size(pos + 2, pos + 2 + self._length(pos + 2))
        if ceilings is not None:
            check_pixels("JPEG 2000", self.frame.width, self.frame.height, ceilings, 0.0)
        pos = self._segments(pos, _SOT)
        if not self.codings:
            raise Corrupt("JPEG 2000: it does not say how it is coded")
        self.end = self._tiles(pos)
        self.levels = min(coding.levels for coding in self.codings)

    def _number(self, at: int) -> int:
        if at + 2 > self.stop:
            raise Truncated("JPEG 2000: the file ends inside its codestream")
        return int.from_bytes(self.data[at : at + 2], "big")

    def _length(self, at: int) -> int:
        """Of a segment, which counts its own two bytes; `at` is where that stands."""
        length = self._number(at)
        if length < 2:
            raise Corrupt(f"JPEG 2000: a segment of length {length} at byte {at}")
        if at + length > self.stop:
            raise Truncated("JPEG 2000: the file ends inside a segment")
        return length

    def _segments(self, pos: int, last: int) -> int:
        """Read a header up to the marker `last`, and give where that stands."""
        while (marker := self._number(pos)) != last:
            self.steps.take()
            if 0xFF30 <= marker <= 0xFF3F:  # reserved, and without a length
                pos += 2
                continue
            if marker in (_SOC, _SOT, _SOD, _EOC) or not 0xFF50 <= marker <= 0xFF6F:
                raise Corrupt(f"JPEG 2000: marker 0x{marker:04x} at byte {pos}")
            length = self._length(pos + 2)
            if marker in (_COD, _COC):
                self._coding(marker, pos + 4, pos + 2 + length)
            pos += 2 + length
        return pos

    def _size(self, at: int, end: int) -> Frame:
        if end - at < 38:
            raise Corrupt("JPEG 2000: its size segment is too short")
        x1, y1, x0, y0, across, down, tile_x, tile_y, components = struct.unpack_from(">8IH", self.data, at + 4)
        if not (x0 < x1 < 1 << 31 and y0 < y1 < 1 << 31 and across > 0 and down > 0):
            raise Corrupt("JPEG 2000: its size segment makes no sense")
        if not (tile_x <= x0 < tile_x + across and tile_y <= y0 < tile_y + down):
            raise Corrupt("JPEG 2000: its tiles do not cover the picture")
        if not 1 <= components <= _MAX_COMPONENTS:
            raise Unsupported(f"JPEG 2000: {components} components cannot be read here, 1 to {_MAX_COMPONENTS} can")
        if end - at < 38 + 3 * components:
            raise Corrupt("JPEG 2000: its size segment is too short")
        found, depths = [], []
        for depth, step_x, step_y in struct.iter_unpack("3B", self.data[at + 38 : at + 38 + 3 * components]):
            if not step_x or not step_y:
                raise Corrupt("JPEG 2000: a component without pixels")
            if (depth & 0x7F) + 1 > _MAX_BITS:
                raise Unsupported(f"JPEG 2000: {(depth & 0x7F) + 1} bits cannot be read here, {_MAX_BITS} at most")
            depths.append(depth)
            found.append((step_x, step_y))
        tiles = -(-(x1 - tile_x) // across) * -(-(y1 - tile_y) // down)
        if tiles > _MAX_TILES:
            raise Corrupt(f"JPEG 2000: {tiles} tiles, at most {_MAX_TILES} are read")
        return Frame(
            x1 - x0, y1 - y0, (x0, y0), min(across, x1 - x0), min(down, y1 - y0), (tile_x, tile_y), tiles, tuple(found),
            tuple(depths),
        )  # fmt: skip

    def _coding(self, marker: int, at: int, end: int) -> None:
        """Both kinds of segment end in the same list; a component's own (COC) has no layers."""
        style = self.data[at + 1 if marker == _COC else at]
        if marker == _COD:
            self.layers = max(self.layers, self._number(at + 2))
        at += 2 if marker == _COC else 5
        if at + 5 > end:
            raise Corrupt("JPEG 2000: a coding segment is too short")
        levels, wide, high = self.data[at], self.data[at + 1] + 2, self.data[at + 2] + 2
        if levels > 32 or wide > 10 or high > 10 or wide + high > 12:
            raise Corrupt("JPEG 2000: a coding segment makes no sense")
        sizes = [(15, 15)] * (levels + 1)
        if style & 1:
            if at + 5 + levels + 1 > end:
                raise Corrupt("JPEG 2000: a coding segment is too short")
            sizes = [(byte & 15, byte >> 4) for byte in self.data[at + 5 : at + 5 + levels + 1]]
        coding = _Coding(self.layers, levels, 1 << wide + high, tuple(sizes), self.data[at + 4] == 1)
        if coding not in self.codings:
            self.codings.append(coding)

    def _tiles(self, pos: int) -> int:
        """Follow the parts of the tiles to the end-of-codestream marker, and give where the codestream ends."""
        seen = set()
        while True:
            self.steps.take()
            marker = self._number(pos)
            if marker == _EOC:
                break
            if marker != _SOT or self._length(pos + 2) != 10:
                raise Corrupt(f"JPEG 2000: no part of a tile at byte {pos}")
            tile, length = struct.unpack_from(">HI", self.data, pos + 4)
            if tile >= self.frame.tiles:
                raise Corrupt(f"JPEG 2000: tile {tile} of {self.frame.tiles}")
            seen.add(tile)
            behind = self._segments(pos + 12, _SOD) + 2
            if not length:  # the last one, up to the end
                found = self.data.rfind(b"\xff\xd9", behind, self.stop)
                if found < 0:
                    raise Truncated("JPEG 2000: the file ends before its end-of-codestream marker")
                length = found - pos
            if pos + length < behind:
                raise Corrupt(f"JPEG 2000: a part of a tile of {length} bytes")
            if pos + length > self.stop:
                raise Truncated("JPEG 2000: the file ends inside a tile")
            pos += length
        if len(seen) < self.frame.tiles:
            raise Truncated(f"JPEG 2000: {len(seen)} tiles of {self.frame.tiles}")
        return pos + 2


def _check_memory(frame: Frame, stream: Codestream, ceilings: Ceilings) -> None:
    """Raises: TooManyPixels where its pixels need more than the limit; Corrupt where the pieces alone need too much."""
    pieces = max(_pieces(frame, replace(coding, layers=stream.layers)) for coding in stream.codings)
    pieces += frame.tiles * (_OF_TILE + len(frame.components) * _OF_TILE_COMPONENT)
    pixels = frame.width * frame.height
    if pieces > _OVERHEAD + _OVERHEAD_OF_PIXEL * pixels:
        raise Corrupt(f"JPEG 2000: cut into pieces that take {pieces / 1e6:.0f} MB for {pixels} pixels")
    halvings = reduction(frame.width, frame.height, min(stream.levels, frame.halvings))
    copied = _OF_COPIES if frame.copied else _OF_PIXEL
    of_tile = frame.values * _OF_VALUE * frame.across * frame.down  # one at a time
    needed = max(of_tile + _OF_PIXEL * pixels, copied * pixels) / 4**halvings + pieces
    if needed > ceilings.memory:
        raise TooManyPixels(
            f"JPEG 2000: {frame.width} x {frame.height} pixels take {needed / 1e6:.0f} MB to decode, at most"
            f" {ceilings.memory / 1e6:.0f} MB are allowed (intake.max.memory)"
        )


def _pieces(frame: Frame, coding: _Coding) -> float:
    """Bytes for the code blocks, precincts and layers of one tile, which are there at a time."""
    total = 0.0
    most = 0
    for step_x, step_y in frame.components:
        width, height = -(-frame.across // step_x), -(-frame.down // step_y)
        for resolution, (wide, high) in enumerate(coding.precincts):
            halved = coding.levels - resolution
            columns, rows = -(-width >> halved) or 1, -(-height >> halved) or 1
            # One more on each side: where a tile begins between two of them.
            precincts = ((columns >> wide) + 2) * ((rows >> high) + 2)
            # A code block lies inside its precinct; three bands of half the size, but for the smallest resolution.
            band = 0 if resolution == 0 else 1
            block = min(coding.block, max(1, 1 << max(0, wide - band) + max(0, high - band)))
            blocks = columns * rows / block + precincts * 4
            total += blocks * _OF_BLOCK + precincts * _OF_PRECINCT
            most = max(most, precincts)
    return total + _OF_LAYER * (coding.layers + 1) * most * len(frame.components) * (coding.levels + 1)
