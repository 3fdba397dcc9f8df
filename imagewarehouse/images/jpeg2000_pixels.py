"""Of JPEG 2000: what Pillow reads wrong, put right or refused by its name.

Pillow takes a picture's components from OpenJPEG tile by tile, without what the boxes around the codestream say of them: it
leaves out their order, and mixes up palettes that have a colour twice. It rounds deep colours to 8 bits so that the brightest
become black, and reads components of fewer places beside their own where a width is no multiple of the step between them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from imagewarehouse.errors import Unsupported
from imagewarehouse.images.bmff_items import boxes
from imagewarehouse.images.walkers.jpeg2000 import Codestream, Frame, codestream_of

_CMYK, _SRGB, _GREY, _YCC = 12, 16, 17, 18  # enumerated colour spaces, T.800 table I.10 and T.801 table M.25
_BILEVEL = (0, 15)
_COLOURS = {_CMYK: 4, _SRGB: 3, _GREY: 1, _YCC: 3}
_OPACITY, _MULTIPLIED, _WHOLE_IMAGE = 1, 2, 0  # of a channel: its type, and what it belongs to
_SIGNED = 0x80
_MOST_BITS = 16
_LEAST_COLOUR = 7  # bytes of a box that Pillow asks for
# A picture whose depth is said to be one bit more than it is has the middle half of all values: 64 to 192.
_SPREAD = [min(255, max(0, round((value - 64) * 255 / 128))) for value in range(256)]


@dataclass(frozen=True, slots=True)
class Readable:
    """A file as Pillow reads it right: its bytes, whether its values are to be spread, palette and order of its colours."""

    content: bytes
    spread: bool = False
    palette: bytes | None = None  # red, green and blue of each colour
    order: tuple[int, ...] = ()  # of red, green and blue among its components, where it is another one


def readable(content: bytes) -> Readable:
    """Raises: Unsupported naming the kind."""
    stream = codestream_of(content)
    if stream is None:
        return Readable(content)
    _refuse_arrangement(stream.frame)
    header = dict(_header_boxes(content))
    if (
        len(header.get(b"colr", bytes(_LEAST_COLOUR))) < _LEAST_COLOUR
    ):  # a profile without bytes, which Pillow stumbles over
        content = content.replace(b"colr", b"free", 1)
    palette, order = _check_header(header, len(stream.frame.components))
    if palette is not None:
        return Readable(content, False, palette)
    if not stream.frame.deep or len(stream.frame.components) == 1:
        return Readable(content, order=order)
    return replace(_without_depth(content, stream), order=order)


def finished(image: Image.Image, form: Readable) -> Image.Image:
    """A loaded picture with the right colours."""
    if form.palette is not None:
        image.putpalette(form.palette)
    if form.order:
        bands = image.split()
        image = Image.merge(image.mode, [*(bands[number] for number in form.order), *bands[3:]])
    return image.point(_SPREAD * len(image.getbands())) if form.spread else image


def _refuse_arrangement(frame: Frame) -> None:
    """Components of fewer places than others: two of three that say the colours, or all alike, on whole multiples of steps."""
    steps = frame.components
    if all(step == (1, 1) for step in steps):
        return
    alike = len(set(steps)) == 1
    colours = len(steps) == 3 and steps[0] == (1, 1) and steps[1] == steps[2]
    edges = [(frame.origin[0], frame.origin[1]), (frame.origin[0] + frame.width, frame.origin[1] + frame.height)]
    if frame.tiles > 1:
        edges += [frame.tile_origin, (frame.across, frame.down)]
    across, down = steps[-1]
    if not (alike or colours) or any(x % across or y % down for x, y in edges):
        raise Unsupported("JPEG 2000: components with fewer pixels than others cannot be read here in this arrangement")


def _header_boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes in the header of a JP2, the first of each kind; none of a bare codestream."""
    seen: set[bytes] = set()
    try:
        for kind, body in boxes(dict(boxes(content)).get(b"jp2h", b"")):
            if kind not in seen:
                seen.add(kind)
                yield kind, body
    except (struct.error, ValueError):  # the walker has judged it
        return


def _check_header(header: dict[bytes, bytes], components: int) -> tuple[bytes | None, tuple[int, ...]]:
    """The palette, if there is one; and the order of red, green and blue, if it is another one. Raises: Unsupported."""
    colour = header.get(b"colr", b"")
    space = int.from_bytes(colour[3:7], "big") if colour[:1] == b"\1" else None
    if space is not None and space not in (*_COLOURS, *_BILEVEL):
        raise Unsupported(f"JPEG 2000: colours of kind {space} cannot be read here")
    palette = _palette(header, components, space) if b"pclr" in header else None
    if b"cdef" not in header:
        return palette, ()
    order = _channels(header[b"cdef"], 3 if palette is not None else components, space)
    if palette is not None and order:
        colours = [palette[number::3] for number in order]
        palette = bytes(value for colour in zip(*colours, strict=True) for value in colour)
    return palette, order


def _palette(header: dict[bytes, bytes], components: int, space: int | None) -> bytes:
    """T.800, I.5.3.4: the number of colours, of their columns, the depth of each column, then the colours."""
    table = header[b"pclr"]
    number, columns, *depths = struct.unpack_from(">HB3B", table.ljust(6, b"\0"))
    mapping = b"".join(bytes((0, 0, 1, column)) for column in range(3))
    plain = components == 1 and columns == 3 and set(depths) == {7} and header.get(b"cmap") == mapping
    colours = table[6 : 6 + 3 * number]
    if not plain or not 0 < number <= 256 or len(colours) < 3 * number or space not in (None, _SRGB):
        raise Unsupported("JPEG 2000: a palette of this kind cannot be read here")
    return colours


def _channels(table: bytes, channels: int, space: int | None) -> tuple[int, ...]:
    """T.800, I.5.3.6: of each channel its number, its type, and which colour it is, from 1 on. Gives where red, green and blue
    are, if they are not the first ones in this order. Raises: Unsupported."""
    (number,) = struct.unpack_from(">H", table.ljust(2, b"\0"))
    found = set(struct.iter_unpack(">HHH", table[2 : 2 + 6 * number].ljust(6 * number, b"\0")))
    colours = _COLOURS.get(space, 0) if space is not None else 0
    colours = colours or (channels - 1 if channels in (2, 4) else channels)
    usual = {(channel, 0, channel + 1) for channel in range(min(colours, channels))}
    if colours == 1:
        usual.add((0, 0, _WHOLE_IMAGE))
    opacity = {(channel, _OPACITY, _WHOLE_IMAGE) for channel in range(colours, channels)}
    # Some say of the same one that the colours are multiplied by it, and that they are not.
    both = {(channel, _MULTIPLIED, whole) for channel, _, whole in opacity & found}
    others = found - opacity - both
    if others <= usual:
        return ()
    order = {colour - 1: channel for channel, kind, colour in others if kind == 0}
    if len(others) == 3 and space in (None, _SRGB) and set(order) == set(order.values()) == {0, 1, 2}:
        return tuple(order[colour] for colour in range(3))
    raise Unsupported("JPEG 2000: channels in this order or of this kind cannot be read here")


def _without_depth(content: bytes, stream: Codestream) -> Readable:
    """Colours of more than 8 bits, said to be of another depth, which is a byte of each component.

    A lossy wavelet's steps are relative to the depth, so with a depth of 8 it gives values of 8 bits. A lossless one gives
    the values themselves: with one bit more than they have, Pillow rounds none of them beyond the brightest.
    """
    depths = [(byte & ~_SIGNED) + 1 for byte in stream.frame.depths]
    if len(set(depths)) > 1 or depths[0] > _MOST_BITS:
        raise Unsupported(f"JPEG 2000: components of {', '.join(map(str, depths))} bits together cannot be read here")
    lossless = {coding.lossless for coding in stream.codings}
    if len(lossless) > 1:
        raise Unsupported(f"JPEG 2000: colours of {depths[0]} bits by two wavelets cannot be read here")
    spread = lossless == {True}
    bits = depths[0] + 1 if spread else 8
    return Readable(_with_depths(content, stream, [byte & _SIGNED | bits - 1 for byte in stream.frame.depths]), spread)


def _with_depths(content: bytes, stream: Codestream, depths: Sequence[int]) -> bytes:
    changed = bytearray(content)
    for number, depth in enumerate(depths):
        changed[stream.depths_at + 3 * number] = depth
    return bytes(changed)
