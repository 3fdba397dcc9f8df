"""Bad HEIC and JPEG 2000 files, for `hostile.py`: formats that cut a picture into pieces and say how in many places."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.hostile_pictures import HEIC, J2K, JP2, picture
from tools.heif_files import ALPHA, Coded, HeifFile, auxiliary, box, coded, full_box, grid_data, heic, heic_grid, size
from tools.image_seeds import saved

Content = bytes | Callable[[], bytes]

# --- HEIC ---------------------------------------------------------------------------------------------------------


def heic_sized(content: bytes, width: int, height: int) -> bytes:
    """Other dimensions for every picture in it; the streams inside keep their own."""

    at = content.find(b"ispe")
    while at >= 0:
        content = content[: at + 8] + struct.pack(">LL", width, height) + content[at + 16 :]
        at = content.find(b"ispe", at + 4)
    return content


def of_kind(kind: bytes, data: bytes = bytes(64 * 64 * 3)) -> bytes:
    """A picture that libheif would read with another of its decoders."""

    file = HeifFile(b"mif1")
    return file.content(file.item(kind, data, size(64, 64)))


def grid(columns: int, rows: int, width: int, height: int, tiles: int | None = None, tile: str = "quarters") -> bytes:
    """A grid with so many tiles as it is told."""

    file = HeifFile()
    numbers = [file.picture(coded(tile), hidden=True) for _ in range(columns * rows if tiles is None else tiles)]
    number = file.item(b"grid", grid_data(columns, rows, width, height), size(width, height))
    file.refer(b"dimg", number, *numbers)
    return file.content(number)


def tiles_in_one_place(columns: int, rows: int) -> bytes:
    """A grid all of whose tiles are the same bytes of the file: it decodes a thousand times what it is long."""

    file = HeifFile()
    tile = coded("tile")
    first = file.picture(tile, hidden=True)
    numbers = [
        first,
        *(file.item(b"hvc1", b"", size(512, 512), box(b"hvcC", tile.settings)) for _ in range(columns * rows - 1)),
    ]
    number = file.item(b"grid", grid_data(columns, rows, 512 * columns, 512 * rows), size(512 * columns, 512 * rows))
    file.refer(b"dimg", number, *numbers)
    content = file.content(number)
    at = content.index(b"iloc") + 12
    place, length = struct.unpack_from(">II", content, at + 8)
    for entry in range(at, at + 16 * (columns * rows), 16):
        content = content[: entry + 8] + struct.pack(">II", place, length) + content[entry + 16 :]
    return content


def pictures_in_one_item(times: int) -> bytes:
    """One item of many pictures; a decoder decodes them all and gives the last."""

    one = coded("colour")
    file = HeifFile()
    return file.content(file.picture(Coded(one.width, one.height, one.settings, one.data * times)))


def alpha_in_a_circle() -> bytes:
    """Two pictures, each the alpha of the other: libheif 1.23.2 waited for itself for ever."""

    file = HeifFile()
    first, second = (file.picture(coded("grey"), auxiliary(ALPHA)) for _ in range(2))
    file.refer(b"auxl", first, second)
    file.refer(b"auxl", second, first)
    return file.content(first)


def alpha_of_kind(kind: bytes) -> bytes:
    file = HeifFile()
    first = file.picture(coded("colour"))
    file.refer(b"auxl", file.item(kind, bytes(4096), size(64, 64), auxiliary(ALPHA)), first)
    return file.content(first)


def grid_in_itself() -> bytes:
    file = HeifFile()
    number = file.item(b"grid", grid_data(1, 1, 64, 64), size(64, 64))
    file.refer(b"dimg", number, number)
    return file.content(number)


def many_items(number: int, kind: bytes = b"Exif") -> bytes:
    file = HeifFile()
    first = file.picture(coded("colour"))
    file.items += [file.items[0].__class__(kind, b"", (), False)] * number
    return file.content(first)


def pictures_side_by_side(number: int) -> bytes:
    file = HeifFile()
    first, *_ = [file.picture(coded("quarters")) for _ in range(number)]
    return file.content(first)


def sequence() -> bytes:
    """Pictures as a film, without a still one."""

    return box(b"ftyp", b"hevc", bytes(4), b"msf1", b"hevc") + box(b"moov", bytes(64)) + box(b"mdat", bytes(256))


def no_lengths_of_4_bytes() -> bytes:
    one = coded("colour")
    settings = one.settings[:21] + bytes((one.settings[21] & 0xFC | 1,)) + one.settings[22:]
    file = HeifFile()
    return file.content(file.picture(Coded(one.width, one.height, settings, one.data)))


HEIC_AT = HEIC.index(b"iloc") + 20  # place of the picture's data, its length behind it

# --- JPEG 2000 ----------------------------------------------------------------------------------------------------


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">HH", 0xFF00 | marker, len(body) + 2) + body


def siz(
    width: int = 64,
    height: int = 48,
    *,
    tile: tuple[int, int] | None = None,
    components: int = 1,
    bits: int = 8,
    step: int = 1,
) -> bytes:
    across, down = tile or (width, height)
    head = struct.pack(">HIIIIIIIIH", 0, width, height, 0, 0, across, down, 0, 0, components)
    return segment(0x51, head + bytes((bits - 1, step, step)) * components)


def cod(
    *, layers: int = 1, levels: int = 5, block: tuple[int, int] = (4, 4), precincts: bytes = b"", progression: int = 0
) -> bytes:
    head = struct.pack(">BBHBBBBBB", 1 if precincts else 0, progression, layers, 0, levels, *block, 0, 1)
    return segment(0x52, head + precincts)


def qcd(levels: int = 5) -> bytes:
    return segment(0x5C, b"\x40" + bytes(8 * (i > 0) + 64 for i in range(3 * levels + 1)))


def tile_part(number: int = 0, data: bytes = bytes(64), length: int | None = None) -> bytes:
    head = segment(0x90, struct.pack(">HIBB", number, 14 + len(data) if length is None else length, 0, 1))
    return head + b"\xff\x93" + data


def codestream(*segments: bytes) -> bytes:
    return b"\xff\x4f" + b"".join(segments) + b"\xff\xd9"


def jp2_of(stream: bytes, width: int = 64, height: int = 48, components: int = 1, *boxes: bytes) -> bytes:
    ihdr = box(b"ihdr", struct.pack(">IIHBBBB", height, width, components, 7, 7, 0, 0))
    header = box(b"jp2h", ihdr, box(b"colr", struct.pack(">BBBI", 1, 0, 0, 16 if components > 2 else 17)))
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 ", bytes(4), b"jp2 ")
    return start + header + b"".join(boxes) + box(b"jp2c", stream)


def jp2_sized(width: int, height: int) -> bytes:
    """Other dimensions, outside and inside."""

    at, inside = JP2.index(b"ihdr") + 4, JP2.index(b"\xff\x51") + 6
    content = JP2[:at] + struct.pack(">II", height, width) + JP2[at + 8 :]
    content = content[:inside] + struct.pack(">II", width, height) + content[inside + 8 :]
    return content[: inside + 16] + struct.pack(">II", width, height) + content[inside + 24 :]


# --- tables -------------------------------------------------------------------------------------------------------

CUT: dict[str, Content] = {
    "heic-without-its-data": HEIC[: HEIC.index(b"mdat") - 4],
    "heic-without-meta": HEIC[: HEIC.index(b"meta") - 4] + box(b"mdat", bytes(64)),
    "heic-cut-in-its-items": HEIC[: HEIC.index(b"infe")],
    "heic-data-outside-the-file": HEIC[:HEIC_AT] + b"\x7f\xff\xff\xf0" + HEIC[HEIC_AT + 4 :],
    "heic-data-longer-than-the-file": HEIC[: HEIC_AT + 4] + b"\x7f\xff\xff\xf0" + HEIC[HEIC_AT + 8 :],
    "jp2-without-its-stream": JP2[: JP2.index(b"jp2c") - 4],
    "jp2-cut-in-its-header": JP2[: JP2.index(b"ihdr") + 6],
    "j2k-cut-in-its-size": J2K[:20],
    "j2k-without-its-tiles": J2K[: J2K.index(b"\xff\x90")],
    "j2k-without-its-end": J2K[:-2],
    "j2k-with-half-of-its-tiles": codestream(siz(64, 64, tile=(32, 32)), cod(), qcd(), tile_part(0), tile_part(1)),
}

BOMBS: dict[str, Content] = {
    "heic-of-60000-squared": heic_sized(HEIC, 60000, 60000),
    "heic-grid-of-60000-squared": grid(1, 1, 60000, 60000),
    # deep colours with all values: 16 bytes a pixel, or 784 MB
    "heic-of-49-megapixels-in-10-bits-422": heic_sized(heic("deep-422"), 7000, 7000),
    "heic-tile-of-60000-squared": heic_sized(heic_grid("quarters", 1, 1, 64, 64), 60000, 60000),
    "jp2-of-60000-squared": jp2_sized(60000, 60000),
    "j2k-of-4-billion-squared": codestream(siz(0x7FFFFFFF, 0x7FFFFFFF), cod(), qcd(), tile_part()),
    # no halving: every value of the 49 megapixels has to be there
    "j2k-of-49-megapixels-without-levels": codestream(
        siz(7000, 7000, components=3), cod(levels=0), qcd(0), tile_part()
    ),
}

FRAMES: dict[str, Content] = {
    "heic-of-501-pictures": lambda: pictures_side_by_side(501),
    "jp2-of-501-streams": JP2 + JP2[JP2.index(b"jp2c") - 4 :] * 500,
}

UNSUPPORTED: dict[str, Content] = {
    **{
        f"heic-of-kind-{kind.decode()}": of_kind(kind)
        for kind in (b"unci", b"mski", b"iovl", b"iden", b"av01", b"jpeg", b"j2k1", b"vvc1", b"avc1", b"tmap", b"lhv1")
    },
    "heic-alpha-of-kind-unci": alpha_of_kind(b"unci"),
    "heic-alpha-of-kind-mski": alpha_of_kind(b"mski"),
    "heic-grid-in-itself": grid_in_itself(),
    "heic-sequence": sequence(),
    "heic-settings-of-zeros": heic("colour").replace(coded("colour").settings, bytes(len(coded("colour").settings))),
    "heic-with-lengths-of-2-bytes": no_lengths_of_4_bytes(),
    "jp2-of-5-components": jp2_of(codestream(siz(components=5), cod(), qcd(), tile_part()), components=5),
    "j2k-of-16384-components": codestream(siz(components=16384), cod(), qcd(), tile_part()),
    "j2k-of-38-bits": codestream(siz(bits=38), cod(), qcd(), tile_part()),
}

CORRUPT: dict[str, Content] = {
    "heic-of-0-by-0": heic_sized(HEIC, 0, 0),
    "heic-of-another-size-inside": heic_sized(HEIC, 200, 100),
    "heic-much-larger-inside": heic_sized(heic("tile"), 8, 8),  # 512 x 512, and the file says 8 x 8
    "heic-without-settings": HEIC.replace(b"hvcC", b"hvcX"),
    "heic-without-a-size": HEIC.replace(b"ispe", b"ispX"),
    "heic-data-of-zeros": HEIC[: HEIC.index(b"mdat") + 4] + bytes(len(coded("colour").data)),
    "heic-of-2-pictures-in-one": pictures_in_one_item(2),
    "heic-of-1000-pictures-in-one": lambda: pictures_in_one_item(1000),
    "heic-grid-with-a-missing-tile": grid(2, 2, 128, 128, tiles=3),
    "heic-grid-with-a-tile-more": grid(2, 2, 128, 128, tiles=5),
    "heic-grid-that-its-tiles-do-not-cover": grid(2, 2, 200, 128),
    "heic-grid-of-tiles-outside": grid(8, 8, 100, 100),
    "heic-grid-of-one-large-tile": lambda: heic_sized(grid(1, 1, 64, 64, tile="tile"), 4000, 4000).replace(
        struct.pack(">LL", 4000, 4000), struct.pack(">LL", 64, 64), 1
    ),
    "heic-tiles-in-one-place": tiles_in_one_place(14, 12),
    "heic-alpha-in-a-circle": alpha_in_a_circle(),
    "heic-primary-that-is-not-there": heic("quarters").replace(
        full_box(b"pitm", 0, 0, b"\0\1"), full_box(b"pitm", 0, 0, b"\0\x09")
    ),
    "heic-of-2000-items": many_items(2000),
    "heic-with-an-unknown-box": HEIC[:28] + box(b"evil", b"<script>") + HEIC[28:],
    "heic-twice-meta": HEIC[: HEIC.index(b"mdat") - 4] * 2 + HEIC[HEIC.index(b"mdat") - 4 :],
    "jp2-with-an-unknown-box": JP2[:32] + box(b"evil", b"<script>") + JP2[32:],
    "jp2-of-two-sizes": jp2_of(codestream(siz(64, 48), cod(), qcd(), tile_part()), 48, 64),
    "jp2-without-a-header": JP2.replace(b"jp2h", b"free"),
    "jp2-stream-of-zeros": jp2_of(bytes(1000)),
    "j2k-of-0-by-0": codestream(siz(0, 0), cod(), qcd(), tile_part()),
    "j2k-tile-of-0": codestream(siz(tile=(0, 0)), cod(), qcd(), tile_part()),
    "j2k-step-of-0": codestream(siz(step=0), cod(), qcd(), tile_part()),
    "j2k-without-coding": codestream(siz(), qcd(), tile_part()),
    "j2k-of-33-levels": codestream(siz(), cod(levels=33), qcd(), tile_part()),
    "j2k-block-of-1024-squared": codestream(siz(), cod(block=(8, 8)), qcd(), tile_part()),
    "j2k-tile-part-of-length-1": codestream(siz(), cod(), qcd(), tile_part(length=1)),
    "j2k-tile-that-is-not-there": codestream(siz(), cod(), qcd(), tile_part(7)),
    # What asks the decoder for room: tiles, precincts, code blocks, layers.
    "j2k-of-a-million-tiles": codestream(siz(1400, 1400, tile=(1, 1)), cod(), qcd(), tile_part()),
    "j2k-of-65535-tiles": codestream(siz(1300, 1300, tile=(5, 5)), cod(), qcd(), tile_part()),
    "j2k-precincts-of-a-pixel": codestream(siz(1400, 1400, components=3), cod(precincts=bytes(6)), qcd(), tile_part()),
    "j2k-blocks-of-16-pixels": codestream(siz(1400, 1400, components=4), cod(block=(0, 0)), qcd(), tile_part()),
    "j2k-of-65535-layers": codestream(
        siz(1400, 1400, components=3), cod(layers=65535, precincts=b"\x77" * 6), qcd(), tile_part()
    ),
}

COSTLY_CORRUPT: dict[str, Content] = {
    "heic-of-2-million-empty-boxes": lambda: HEIC[:28] + box(b"free") * 2_600_000,
    "heic-of-2-million-properties": lambda: heic_with_properties(2_600_000),
    "jp2-of-2-million-empty-boxes": lambda: JP2[:32] + box(b"free") * 2_600_000,
    "jp2-of-2-million-boxes-in-its-header": lambda: jp2_with_boxes(2_600_000),
    "j2k-of-5-million-comments": lambda: b"\xff\x4f" + siz() + segment(0x64, b"") * 5_000_000,
    "j2k-of-a-million-tile-parts": lambda: codestream(siz(), cod(), qcd(), tile_part(data=b"") * 1_400_000),
}


def jp2_with_boxes(number: int) -> bytes:
    """In the header box, where Pillow reads one after the other in Python."""

    at = JP2.index(b"jp2h") - 4
    header = JP2[at + 8 : JP2.index(b"jp2c") - 4] + box(b"free") * number
    return JP2[:at] + box(b"jp2h", header) + JP2[JP2.index(b"jp2c") - 4 :]


def heic_with_properties(number: int) -> bytes:
    properties = box(b"ipco", box(b"free") * number)
    at = HEIC.index(b"iprp") - 4
    meta = HEIC.index(b"meta") - 4
    inside = HEIC[meta + 8 : at] + box(b"iprp", properties, full_box(b"ipma", 0, 0, bytes(4)))
    return HEIC[:meta] + box(b"meta", inside) + box(b"mdat", bytes(16))


def megapixels_of_jpeg2000() -> bytes:
    """2 megapixels of noise without loss: the most that a decoder has to do for a picture of this size."""

    return saved(picture(width=1600, height=1250), "JPEG2000", no_jp2=True)
