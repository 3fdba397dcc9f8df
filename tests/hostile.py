"""Bad input as a table: one line a case, its id is the report.

Written from the specification of the intake, not from its code. Everything is built here, so the repository carries
no hostile file. `CASES` is also replayed through the real server: see `Case.over_http`.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import numpy as np

from tests import hostile_pieces
from tests.hostile_pictures import (
    APNG,
    AVIF,
    BITS,
    BMP,
    COMPRESSION,
    GIF,
    GIF_ANIMATED,
    GIF_CONTROL,
    GIF_PIXEL,
    HEALTHY,
    HEIC,
    IDAT,
    IEND,
    IHDR,
    IMAGE_WIDTH,
    JP2,
    JPEG,
    JPEG_THUMBNAIL,
    JXL,
    LONG,
    MP4,
    PNG,
    PNG_SIGNATURE,
    PROGRESSIVE,
    SAMPLES,
    SHORT,
    STRIP_BYTES,
    STRIP_OFFSETS,
    SUB_DIRECTORIES,
    TIFF,
    TIFF_PAGES,
    WEBP,
    WEBP_ANIMATED,
    animated,
    apng,
    avif_sized,
    avif_with_blank_pixels,
    avif_with_foreign_boxes,
    bmp,
    bmp_core,
    bmp_v5,
    box,
    chunk,
    ftyp,
    gif,
    gif_frame,
    grey_rows,
    ihdr,
    jpeg_of,
    jpeg_patched,
    jpeg_segments,
    jpeg_sized,
    jpeg_with,
    jpeg_with_short_codes,
    jpeg_without,
    picture,
    png,
    progressive_scan_bomb,
    riff_chunk,
    segment,
    small_png,
    tiff,
    tiff_equal_tags,
    tiff_overlapping_directories,
    tiff_pages,
    tiff_tiled,
    vp8,
    vp8l,
    vp8x,
    webp,
    webp_animation,
)
from tools import trailer_seeds as behind
from tools.image_seeds import saved

# written down once more on purpose: an edit of errors.py must not move an expectation along with it
STATUS = {
    "access.key_missing": 401,
    "access.key_wrong": 401,
    "image.corrupt": 422,
    "image.no_decoder": 415,
    "image.not_an_image": 415,
    "image.too_many_frames": 422,
    "image.too_many_pixels": 413,
    "image.trailing_data": 422,
    "image.truncated": 422,
    "image.type_mismatch": 415,
    "image.unsupported": 422,
    "request.malformed_base64": 400,
    "request.malformed_json": 400,
    "request.malformed_multipart": 400,
    "request.method_not_allowed": 405,
    "request.no_body": 400,
    "request.not_a_file": 400,
    "request.too_large": 413,
    "request.too_many_parts": 400,
    "request.uri_not_allowed": 403,
    "type.missing": 415,
    "type.not_accepted": 415,
}

MAX_BYTES = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Case:
    """One bad request and the answer it has to get."""

    id: str
    content: bytes | Callable[[], bytes] = field(repr=False)
    declared_type: str | None
    code: str
    status: int
    file_name: str | None = None
    request: Mapping[str, object] = field(default_factory=dict)
    """Further fields of `Request`; `size` here replaces the content's own."""
    limits: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    """Operator's settings as text: `keys`, `media_types`, `uri_prefixes`."""
    over_http: bool = True
    """One plain POST with a Content-Type header, to a server with default settings, says all of it."""

    def body(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content()


def bad(
    case_id: str,
    content: bytes | Callable[[], bytes],
    declared_type: str | None,
    code: str,
    *,
    file_name: str | None = None,
    request: Mapping[str, object] | None = None,
    limits: Mapping[str, int] | None = None,
    rules: Mapping[str, str] | None = None,
) -> Case:
    """A case whose status and `over_http` follow from the rest."""

    # a control character cannot travel in a header, and some clients invent a Content-Type where none is given
    sendable = declared_type is not None and declared_type.isprintable()
    return Case(
        id=case_id,
        content=content,
        declared_type=declared_type,
        code=code,
        status=STATUS[code],
        file_name=file_name,
        request=request or {},
        limits=limits or {},
        rules=rules or {},
        over_http=sendable and not (file_name or request or limits or rules),
    )


# --- things that are no picture -----------------------------------------------------------------------------------


def archive(**files: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, text in files.items():
            target.writestr(zipfile.ZipInfo(name), text)  # ZipInfo: a fixed date
    return out.getvalue()


HTML = b"<html><body><script>alert(document.domain)</script></body></html>"
PHP = b"<?php system($_GET['c']); __HALT_COMPILER(); ?>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
XXE = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg><text>&x;</text></svg>'
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n(%pipe%id) (w) file\nshowpage\n"
MVG = b"push graphic-context\nviewbox 0 0 640 480\nfill 'url(https://127.0.0.1/x.png\"|id\")'\npop graphic-context\n"
ZIP = archive(**{"a.txt": "a"})
JAR = archive(**{"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\nMain-Class: A\n", "A.class": "\u00ca\u00fe"})

TAILS = {"html": HTML, "php": PHP, "zip": ZIP, "nuls-and-more": bytes(64) + b"a", "second-picture": PNG}

NO_PICTURES = {
    "text": (b"Once upon a time, in a land far away, there was no picture.\n" * 20, "image/png"),
    "html": (HTML, "image/jpeg"),
    "svg": (SVG, "image/png"),
    "svg-with-external-entity": (XXE, "image/png"),
    "php": (PHP, "image/gif"),
    "json": (b'{"image": 1}', "image/png"),
    "shell-script": (b"#!/bin/sh\nid\n", "image/png"),
    "imagemagick-mvg": (MVG, "image/jpeg"),
    "postscript": (EPS, "image/jpeg"),
    "eps-with-preview": (b"\xc5\xd0\xd3\xc6" + struct.pack("<LL", 30, len(EPS)) + bytes(18) + EPS, "image/tiff"),
    "pdf": (PDF, "image/png"),
    "pdf-with-a-jpeg-inside": (b"%PDF-1.4\n1 0 obj<</Filter/DCTDecode>>stream\n" + JPEG + b"\nendstream", "image/jpeg"),
    "zip": (ZIP, "image/png"),
    "gzip": (gzip.compress(PNG, mtime=0), "image/png"),
    "elf": (b"\x7fELF\x02\x01\x01" + bytes(64), "image/png"),
    "windows-program": (b"MZ\x90\0" + bytes(128), "image/bmp"),
    "java-class": (b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(64), "image/jpeg"),
    "mp4": (MP4, "image/avif"),
    "mp3": (b"ID3\x04" + bytes(128), "image/jpeg"),
    "wave": (b"RIFF" + struct.pack("<L", 36) + b"WAVEfmt " + bytes(28), "image/webp"),
    "one-byte": (b"\x89", "image/png"),
    "zeros": (bytes(4096), "image/png"),
    "spaces": (b" " * 4096, "image/jpeg"),
    "noise": (b"\x13" + np.random.default_rng(3).bytes(4095), "image/jpeg"),
    "png-with-a-line-before-it": (b"\n" + PNG, "image/png"),
    "png-sent-as-text": (PNG.replace(b"\r\n", b"\n"), "image/png"),
    "png-as-base64": (base64.b64encode(PNG), "image/png"),
    "jpeg-as-data-uri": (b"data:image/jpeg;base64," + base64.b64encode(JPEG), "image/jpeg"),
    "jpeg-behind-http-headers": (b"Content-Type: image/jpeg\r\n\r\n" + JPEG, "image/jpeg"),
    # pictures of formats nobody asked for; Pillow's own decoders for them have a history of their own
    "ico": (saved(picture(width=32, height=32), "ICO"), "image/png"),
    "psd": (b"8BPS" + struct.pack(">H6xHLLHH", 1, 3, 8, 8, 8, 3) + bytes(12) + bytes(2 + 192), "image/png"),
    "pcx": (saved(picture(), "PCX"), "image/png"),
    "tga": (saved(picture(), "TGA"), "image/png"),
    "xbm": (saved(picture("1"), "XBM"), "image/png"),
    "ppm": (saved(picture(), "PPM"), "image/png"),
}

# --- JSON envelope ------------------------------------------------------------------------------------------------


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def envelope(**fields: object) -> bytes:
    return json.dumps(fields).encode()


BUCKET = "s3://warehouse/images/"
"""The one prefix the cases below allow."""

FORBIDDEN_URIS = {
    "parent-folder": "s3://warehouse/images/../secret/a.png",
    "parent-folder-at-the-end": "s3://warehouse/images/..",
    "parent-folder-in-percent": "s3://warehouse/images/%2e%2e/secret/a.png",
    "parent-folder-half-in-percent": "s3://warehouse/images/.%2E/secret/a.png",
    "slash-in-percent": "s3://warehouse/images/..%2fsecret%2fa.png",
    "percent-twice": "s3://warehouse/images/%252e%252e/secret/a.png",
    "backslashes": "s3://warehouse/images/..\\secret\\a.png",
    "look-alike-folder": "s3://warehouse/images-private/a.png",
    "look-alike-bucket": "s3://warehouse.example.org/images/a.png",
    "bucket-as-user": "s3://warehouse@example.org/images/a.png",
    "user-before-bucket": "s3://key:secret@warehouse/images/a.png",
    "other-bucket": "s3://other/images/a.png",
    "prefix-further-back": "s3://other/s3://warehouse/images/a.png",
    "other-scheme": "gs://warehouse/images/a.png",
    "no-scheme": "//warehouse/images/a.png",
    "path": "/etc/passwd",
    "file": "file:///etc/passwd",
    "cloud-metadata": "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "space-before": " s3://warehouse/images/a.png",
    "nul-inside": "s3://warehouse/images/a.png\0.jpg",
    "newline-inside": "s3://warehouse/images/a\n.png",
    # pyarrow.fs takes options from the query: this one sends the node's credentials to another host
    "endpoint-in-query": "s3://warehouse/images/a.png?endpoint_override=example.org:9000",
}

MALFORMED_JSON = {
    "no-json": b"image=abc",
    "nothing-but-spaces": b"   \n ",
    "cut": envelope(image=b64(PNG))[:-20],
    "text-behind-it": envelope(image=b64(PNG)) + b"<script>",
    "two-documents": envelope(image=b64(PNG)) + envelope(image=b64(PNG)),
    "single-quotes": b"{'image': 'aaaa'}",
    "invalid-utf-8": b'{"image": "\xff\xfe\xfd"}',
    "raw-picture": PNG,
    "list": b'["iVBORw0KGgo="]',
    "string": b'"iVBORw0KGgo="',
    "number": b"7",
    "null": b"null",
    "empty-object": b"{}",
    "neither-key": envelope(picture=b64(PNG), type="image/png"),
    "both-keys": envelope(image=b64(PNG), image_uri="s3://warehouse/images/a.png"),
    "image-is-null": envelope(image=None),
    "image-is-a-number": envelope(image=5),
    "image-is-a-list": envelope(image=[b64(PNG)]),
    "image-is-an-object": envelope(image={"data": b64(PNG)}),
    "uri-is-a-list": envelope(image_uri=["s3://warehouse/images/a.png"]),
    "type-is-a-number": envelope(image=b64(PNG), type=1),
    "file-name-is-an-object": envelope(image=b64(PNG), type="image/png", file_name={}),
    # Python refuses to convert it; other parsers spend minutes
    "number-of-a-million-digits": b'{"image": ' + b"9" * 1_000_000 + b"}",
    # recursion: a C stack overflow would end the server, not the request
    "nested-lists": b"[" * 100_000,
    "nested-lists-closed": b'{"image": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested-objects": b'{"image":' * 100_000,
}

COSTLY_JSON: dict[str, Callable[[], bytes]] = {
    # 27 MB, which base64 of 20 MiB would need: 64 bytes of memory for each three
    "of-9-million-objects": lambda: b'{"x":[' + b"{}," * 9_000_000 + b"{}]}",
    "of-2-million-keys": lambda: b"{" + b",".join(b'"%x":0' % number for number in range(2_000_000)) + b"}",
}

MALFORMED_BASE64 = {
    "bad-alphabet": envelope(image="!!!!" + b64(PNG), type="image/png"),
    "bad-character-inside": envelope(image=b64(PNG)[:400] + "*" + b64(PNG)[401:], type="image/png"),
    "padding-missing": envelope(image=b64(gif(gif_frame())).rstrip("="), type="image/gif"),  # 35 bytes need one
    "padding-in-the-middle": envelope(image=b64(PNG[:100]) + b64(PNG[100:]), type="image/png"),
    "padding-alone": envelope(image="====", type="image/png"),
    "one-character": envelope(image="i", type="image/png"),
    "letters-outside-ascii": envelope(image="\u0456VBORw0KGgo=", type="image/png"),  # a Cyrillic i
    "full-width-letters": envelope(image="\uff49VBORw0KGgo=", type="image/png"),
    "data-uri-in-percent": envelope(image="data:image/png,%89PNG%0D%0A%1A%0A"),
    "data-uri-without-comma": envelope(image="data:image/png;base64"),
    "data-uri-with-bad-alphabet": envelope(image="data:image/png;base64,<script>"),
    "data-uri-with-bad-padding": envelope(image="data:image/png;base64,iVBORw0KGgo=="),
}

# --- Idempotency-Key ----------------------------------------------------------------------------------------------

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def uuid7(at: datetime, version: int = 7, variant: int = 0b10) -> str:
    milliseconds = int(at.timestamp() * 1000)
    number = milliseconds << 80 | version << 76 | 0xABC << 64 | variant << 62 | 0x123456789ABCDEF
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


BAD_IDEMPOTENCY_KEYS = {
    "no-uuid": "order-4711",
    "uuid-4": "9b2f3c1e-5b0a-4c3d-8e1f-0a1b2c3d4e5f",
    "uuid-1": "c232ab00-9414-11ec-b3c8-9f6bdeced846",
    "nil": "00000000-0000-0000-0000-000000000000",
    "max": "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "version-6-with-a-fitting-time": uuid7(NOW, version=6),
    "version-8-with-a-fitting-time": uuid7(NOW, version=8),
    "version-7-of-another-variant": uuid7(NOW, variant=0b11),
    "older-than-7-days": uuid7(NOW - timedelta(days=7, minutes=1)),
    "year-1970": uuid7(datetime.fromtimestamp(0, timezone.utc)),
    "more-than-an-hour-ahead": uuid7(NOW + timedelta(hours=1, minutes=1)),
    "year-10889": "ffffffff-ffff-7abc-8123-456789abcdef",  # behind Python's last year
    "one-digit-short": uuid7(NOW)[:-1],
    "newline-behind-it": uuid7(NOW) + "\n",
    "quote-inside": uuid7(NOW)[:-1] + "'",
    "underscore-inside": uuid7(NOW)[:-2] + "_f",  # int() reads it
    "digits-outside-ascii": uuid7(NOW)[:-1] + "\u0663",  # an Arabic three, a digit to int()
    "very-long": uuid7(NOW) * 1000,
}

# --- the table ----------------------------------------------------------------------------------------------------

Content = bytes | Callable[[], bytes]

KEYS = "alice:0123456789abcdefghij, bob:abcdefghij0123456789"

WRONG_KEYS = {
    "wrong": "00000000000000000000",
    "cut": "0123456789abcdefghi",
    "too-long": "0123456789abcdefghijk",
    "in-capitals": "0123456789ABCDEFGHIJ",
    "is-the-name": "alice",
    "with-its-name": "alice:0123456789abcdefghij",
    "outside-ascii": "\u043a\u043b\u044e\u0447" * 5,  # hmac.compare_digest raises TypeError on such text
}

REQUESTS = [
    bad("no-body", b"", "image/png", "request.no_body"),
    bad("no-body-as-json", b"", "application/json", "request.no_body"),
    bad("body-over-20-mib", lambda: PNG + bytes(MAX_BYTES), "image/png", "request.too_large"),
    # nothing to read at all: the answer can only come from the announced size
    bad("announced-20-mib-and-one-byte", b"", "image/png", "request.too_large", request={"size": MAX_BYTES + 1}),
    bad("announced-one-tebibyte", b"", "image/png", "request.too_large", request={"size": 2**40}),
    bad("announced-json-of-64-mib", b"", "application/json", "request.too_large", request={"size": 2**26}),
    bad("one-byte-over-the-limit", PNG, "image/png", "request.too_large", limits={"max_bytes": len(PNG) - 1}),
    *(
        bad(f"method-{method.lower()}", PNG, "image/png", "request.method_not_allowed", request={"method": method})
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POSTED")
    ),
    bad("key-missing", PNG, "image/png", "access.key_missing", rules={"keys": KEYS}),
    *(
        bad(f"key-{name}", PNG, "image/png", "access.key_wrong", rules={"keys": KEYS}, request={"access_key": key})
        for name, key in WRONG_KEYS.items()
    ),
    bad(
        "two-parts-synchronous",
        PNG,
        "image/png",
        "request.too_many_parts",
        request={"part": 1, "parts": 2, "synchronous": True},
    ),
    bad(
        "form-field-no-file",
        b"hello",
        "image/png",
        "request.not_a_file",
        request={"part": 1, "parts": 1, "part_is_file": False},
    ),
    bad("multipart-without-boundary", b"--x\r\n\r\nhi\r\n--x--", "multipart/form-data", "request.malformed_multipart"),
    bad("multipart-without-parts", b"hello", "multipart/form-data; boundary=x", "request.malformed_multipart"),
]

NOT_ACCEPTED = {
    "octet-stream": ("application/octet-stream", PNG),
    "text": ("text/plain", b"hello"),
    "html": ("text/html; charset=utf-8", HTML),
    "pdf": ("application/pdf", PDF),
    "svg": ("image/svg+xml", SVG),
    "form": ("application/x-www-form-urlencoded", b"image=abc"),
    "video": ("video/mp4", MP4),
    "zip": ("application/zip", ZIP),
    "xml": ("application/xml", SVG),
    "icon": ("image/x-icon", PNG),
    "jxl": ("image/jxl", JXL),
    "any-image": ("image/*", PNG),
    "anything": ("*/*", PNG),
    "half": ("image/", PNG),
    "suffix-only": ("png", PNG),
    "two-at-once": ("image/png, image/jpeg", PNG),
    "longer-than-a-known-one": ("image/pngx", PNG),
    "hidden-in-a-parameter": ("text/html; type=image/png", HTML),
    "of-4-kilobytes": ("image/" + "x" * 4000, PNG),
    "with-a-header-injected": ("image/png\r\nX-Role: admin", PNG),
}

MISMATCHES = {
    "heic-as-jpeg": (HEIC, "image/jpeg"),
    "heic-as-avif": (HEIC, "image/avif"),
    "avif-as-heic": (AVIF, "image/heic"),
    "jp2-as-jpeg": (JP2, "image/jpeg"),
    "heic-as-jp2": (HEIC, "image/jp2"),
    "png-as-jpeg": (PNG, "image/jpeg"),
    "png-as-jpg-in-capitals": (PNG, "IMAGE/JPG; q=1"),
    "jpeg-as-png": (JPEG, "image/png"),
    "webp-as-png": (WEBP, "image/png"),
    "gif-as-png": (GIF, "image/png"),
    "bmp-as-gif": (BMP, "image/gif"),
    "tiff-as-jpeg": (TIFF, "image/jpeg"),
    "avif-as-webp": (AVIF, "image/webp"),
}

TYPES = [
    bad("type-missing", PNG, None, "type.missing"),
    bad("type-missing-name-without-suffix", PNG, None, "type.missing", file_name="picture"),
    bad("type-missing-unknown-suffix", PNG, None, "type.missing", file_name="picture.xyz"),
    bad("type-missing-two-suffixes", PNG, None, "type.missing", file_name="picture.png.xyz"),
    bad("type-missing-suffix-of-another-format", PNG, None, "image.type_mismatch", file_name="picture.jpg"),
    bad("type-not-in-the-operators-list", JPEG, "image/jpeg", "type.not_accepted", rules={"media_types": "image/png"}),
    bad("type-octet-stream-with-a-good-name", PNG, "application/octet-stream", "type.not_accepted", file_name="a.png"),
    bad("jxl-accepted-but-no-decoder", JXL, "image/jxl", "image.no_decoder", rules={"media_types": "image/jxl"}),
    *(
        bad(f"type-{name}", content, declared, "type.not_accepted")
        for name, (declared, content) in NOT_ACCEPTED.items()
    ),
    *(bad(name, content, declared, "image.type_mismatch") for name, (content, declared) in MISMATCHES.items()),
    *(
        bad(f"{name}-as-{declared.removeprefix('image/')}", content, declared, "image.not_an_image")
        for name, (content, declared) in NO_PICTURES.items()
    ),
]

CUT: dict[str, Content] = {
    **{
        f"{name}-cut-at-{percent}-percent": content[: len(content) * percent // 100]
        for name, (_, content) in HEALTHY.items()
        for percent in (15, 50, 90)
    },
    **{f"{name}-without-its-last-byte": content[:-1] for name, (_, content) in HEALTHY.items()},
    "jpeg-cut-in-its-first-segment": JPEG[:12],
    "jpeg-cut-before-its-scan": JPEG[: JPEG.index(b"\xff\xda")],
    "jpeg-cut-behind-its-scan-header": JPEG[: JPEG.index(b"\xff\xda") + 14],
    "jpeg-without-eoi": JPEG[:-2],
    "jpeg-progressive-without-eoi": PROGRESSIVE[:-2],
    "jpeg-progressive-cut-behind-its-first-scan": PROGRESSIVE[
        : PROGRESSIVE.index(b"\xff\xc4", PROGRESSIVE.index(b"\xff\xda"))
    ],
    "jpeg-cut-behind-its-thumbnail": JPEG_THUMBNAIL[: JPEG_THUMBNAIL.index(b"\xff\xd9") + 2],
    # allowed dimensions, next to no data: decoding it first would fill 49 megapixels with grey
    "jpeg-of-49-megapixels-cut": jpeg_sized(JPEG, 7000, 7000)[:-2],
    "jpeg-progressive-of-49-megapixels-cut": jpeg_sized(PROGRESSIVE, 7000, 7000)[:-2],
    "png-cut-in-its-header": PNG[:20],
    "png-cut-behind-its-header": PNG[:33],
    "png-without-iend": PNG[:-12],
    "png-cut-in-the-checksum-of-iend": PNG[:-2],
    "png-cut-behind-an-iend-in-its-text": PNG_SIGNATURE + IHDR + chunk(b"tEXt", b"a\0" + IEND)[:-4],
    "png-chunk-of-2-gib": PNG[:33] + b"\x7f\xff\xff\xff" + PNG[37:],
    "webp-cut-behind-its-riff-header": WEBP[:16],
    "webp-riff-longer-than-the-file": WEBP[:4] + struct.pack("<L", len(WEBP) + 992) + WEBP[8:],
    "gif-cut-behind-its-screen": gif(gif_frame())[:13],
    "gif-cut-in-its-image-header": gif(gif_frame())[:24],
    "gif-cut-in-its-pixels": gif(gif_frame())[:-3],
    "bmp-cut-in-its-header": BMP[:30],
    "bmp-without-pixels": BMP[:54],
    "bmp-with-half-of-its-rows": bmp(64, 64, pixels=bytes(64 * 32 * 3)),
    "tiff-header-only": TIFF[:8],
    # what a writer leaves that was interrupted: a reference that goes nowhere, data without their description
    "tiff-directory-at-0": tiff(first_directory=0),
    "tiff-of-4-billion-strips": tiff({STRIP_OFFSETS: (LONG, 0xFFFFFFFF, 8)}),  # 16 GiB of offsets fit in no TIFF
    "avif-without-meta": AVIF[: AVIF.index(b"meta") - 4] + box(b"mdat", bytes(64)),
    "tiff-cut-in-its-directory": tiff()[:60],
    "tiff-directory-outside-the-file": tiff(first_directory=0x7FFFFFF0),
    "tiff-next-directory-outside-the-file": tiff(next_directory=0x7FFFFFF0),
    "tiff-pixels-outside-the-file": tiff({STRIP_OFFSETS: (LONG, 1, 0x7FFFFFF0)}),
    "tiff-strip-longer-than-the-file": tiff({STRIP_BYTES: (LONG, 1, 0x7FFFFFF0)}),
    "tiff-of-65535-tags": tiff(entries=65535),
    "tiff-big-endian-cut": tiff(order=">")[:-10],
    "avif-without-its-pixels": AVIF[: AVIF.index(b"mdat") - 4],
    "avif-cut-in-its-meta-box": AVIF[:150],
    **hostile_pieces.CUT,
}

# What a phone writes behind a picture, with something in it that another program reads, or not as a phone writes it.
FILM, TIME = behind.film(), behind.TIME_OF_DAY
TRAILERS_THAT_HIDE = {
    **{f"film-of-{name}": behind.film(data) for name, data in TAILS.items() if name in ("html", "php", "zip")},
    **{f"film-and-filler-of-{name}": FILM + behind.box(b"free", TAILS[name]) for name in ("php", "zip")},
    **{f"film-and-{name}": FILM + data for name, data in TAILS.items()},
    **{f"phones-block-of-{name}": behind.samsung(TIME, (0x0B41, b"SingeShot_DepthMap_1", data))
       for name, data in TAILS.items() if name in ("html", "php", "zip")},
    **{f"{name}-and-phones-block": data + behind.samsung(TIME) for name, data in TAILS.items()},
    "film-of-rar": behind.film(b"Rar!\x1a\7\1\0" + bytes(64)),
    "film-with-2-megabytes-of-filler": behind.film(b"", b"isom", behind.box(b"free", bytes(2 << 20))),
    "film-of-no-brand": behind.film(brand=b"heic").replace(b"isom", b"mif1"),
    "film-without-track": FILM.replace(b"trak", b"trac"),
    "film-without-data": FILM[: FILM.index(b"mdat") - 4],
    "film-cut": FILM[:-20],
    "film-without-end": FILM.replace(struct.pack(">I", 208) + b"mdat", bytes(4) + b"mdat"),
    "film-with-unknown-box": FILM + behind.box(b"evil", HTML),
    "film-of-a-brand-only": behind.box(b"ftyp", b"isom" + bytes(4)),
    "phones-blocks-with-a-gap": behind.samsung(TIME).replace(b"SEFH", b"\0SEFH"),
    "phones-blocks-of-another-length": behind.samsung(TIME).replace(struct.pack("<I", 35), struct.pack("<I", 34)),
    "phones-directory-cut": behind.samsung(TIME)[:35] + behind.samsung(TIME)[40:],
    "phones-directory-of-4-billion-blocks": behind.samsung(TIME).replace(b"k\0\0\0\1\0\0\0", b"k\0\0\0\xff\xff\xff\xff"),
    "phones-mark-only": b"SEFT",
}  # fmt: skip

COSTLY_TRAILERS: dict[str, Content] = {
    "jpeg-with-20000-pictures-behind-it": lambda: behind.with_index(JPEG, TINY) + TINY * 20_000,
    "jpeg-with-2-million-boxes-behind-it": lambda: JPEG + FILM + behind.box(b"moof") * 2_000_000,
    "jpeg-with-paddings-behind-it": lambda: behind.with_index(JPEG, *[bytes(1 << 19) + TINY] * 30, HTML),
    "jpeg-with-a-film-of-19-megabytes-behind-it": lambda: JPEG + behind.film(b"<" * (19 << 20)) + HTML,
    "jpeg-with-a-megabyte-of-blocks-behind-it": lambda: JPEG + behind.samsung(*[(1, b"a", b"b" * 980)] * 1001),
    "jpeg-with-starts-of-pictures-behind-it": lambda: behind.with_index(JPEG, b"\xff\xd8\xff" * 6_000_000),
}
TINY = saved(picture(width=1, height=1), "JPEG")

TRAILING: dict[str, Content] = {
    **COSTLY_TRAILERS,
    **{
        f"{name}-with-{tail}-behind-it": HEALTHY[name][1] + data
        for name in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heic", "jp2", "j2k")
        for tail, data in TAILS.items()
    },
    # the other ways to end: more scans, more frames, more pages
    **{f"{name}-with-html-behind-it": content + HTML for name, (_, content) in HEALTHY.items() if "-" in name},
    "apng-with-html-behind-it": APNG + HTML,
    # padding is one value again and again, and has a bound
    "jpeg-with-two-values-behind-it": JPEG + bytes(64) + b"\xff" * 64,
    "jpeg-with-two-bytes-behind-it": JPEG + b"\n\0",
    "png-with-two-bytes-behind-it": PNG + b"\n;",
    "gif-with-two-bytes-behind-it": GIF + b"\n;",
    "jpeg-with-2-megabytes-of-nuls-behind-it": lambda: JPEG + bytes(2 << 20),
    "gif-and-jar": GIF + JAR,  # GIFAR
    "jpeg-and-jar": JPEG + JAR,
    "jpeg-twice": JPEG + JPEG,
    "jpeg-with-html-and-eoi-behind-it": JPEG + HTML + b"\xff\xd9",
    "png-with-html-and-iend-behind-it": PNG + HTML + IEND,
    "gif-with-html-and-trailer-behind-it": GIF + HTML + b";",
    # the width spells "/*": as a script the file is one comment and what stands behind the picture
    "gif-that-is-a-script": gif(gif_frame(), width=0x2A2F) + b"*/=1;alert(document.domain);",
    "webp-with-a-chunk-outside-its-riff": WEBP + riff_chunk(b"EXIF", HTML),
    "bmp-v5-that-counts-html-as-its-own": bmp_v5(tail=HTML),
    **{f"jpeg-with-{name}-behind-it": JPEG + data for name, data in TRAILERS_THAT_HIDE.items()},
    **{f"jpeg-with-index-and-{name}-behind-it": behind.with_index(JPEG, JPEG) + data for name, data in TAILS.items()},
    "jpeg-with-index-and-half-a-picture-behind-it": behind.with_index(JPEG, JPEG)[:-100],
    "jpeg-that-is-a-phar": jpeg_with(JPEG, segment(0xFE, PHP)) + bytes(8) + b"GBMB",
}

BOMBS: dict[str, Content] = {
    "png-header-of-60000-squared": PNG_SIGNATURE + ihdr(60000, 60000),
    "png-of-60000-squared": png(ihdr(60000, 60000), IDAT),
    "png-of-65536-squared": png(ihdr(65536, 65536), IDAT),  # width * height is 0 in 32 bits
    "png-of-2-billion-by-1": png(ihdr(2**31 - 1, 1), IDAT),
    "png-interlaced-of-60000-squared": png(ihdr(60000, 60000, interlace=1), IDAT),
    # not a header that lies: 44 KB of zlib really are 361 megapixels of one bit
    "png-bomb-of-44-kilobytes": lambda: png(
        ihdr(19000, 19000, bits=1), chunk(b"IDAT", zlib.compress(bytes((1 + 19000 // 8) * 19000)))
    ),
    "jpeg-of-64250-squared": jpeg_sized(JPEG, 64250, 64250),
    "jpeg-of-65500-by-800": jpeg_sized(JPEG, 65500, 800),
    "jpeg-progressive-of-65500-squared": jpeg_sized(PROGRESSIVE, 65500, 65500),
    "gif-screen-of-65535-squared": gif(gif_frame(), width=65535, height=65535),
    "gif-frame-of-65535-squared-on-a-pixel": gif(gif_frame(65535, 65535)),  # Pillow grows the picture to its frame
    "webp-lossy-of-16383-squared": webp(vp8(16383, 16383)),
    "webp-lossless-of-16384-squared": webp(vp8l(16384, 16384)),
    "webp-canvas-of-16384-squared": webp_animation(1, 16384, 16384),
    "webp-canvas-of-16-million-by-200": webp_animation(1, 2**24, 200),
    "bmp-of-60000-squared": bmp(60000, 60000, pixels=bytes(64)),
    "bmp-top-down-of-60000-squared": bmp(60000, -60000, pixels=bytes(64)),
    "bmp-run-length-of-60000-squared": bmp(
        60000, 60000, bits=8, compression=1, colours=2, palette=bytes(8), pixels=b"\xff\0" * 32 + b"\0\1"
    ),
    "bmp-os2-of-65535-squared": bmp_core(65535, 65535, bytes(64)),
    "tiff-of-60000-squared": tiff({}, 60000, 60000, data=bytes(64)),
    "tiff-big-endian-of-60000-squared": tiff({}, 60000, 60000, data=bytes(64), order=">"),
    "tiff-deflate-bomb": tiff({COMPRESSION: (SHORT, 1, 8)}, 60000, 60000, data=zlib.compress(bytes(1_000_000))),
    "avif-of-60000-squared": avif_sized(AVIF, 60000, 60000),
    **hostile_pieces.BOMBS,
}

FRAMES: dict[str, Content] = {
    "gif-of-501-frames": gif(gif_frame() * 501),
    "gif-of-501-frames-with-times": gif((GIF_CONTROL + gif_frame()) * 501),
    "gif-of-10000-frames": lambda: gif(gif_frame() * 10_000),
    "gif-of-a-million-frames": lambda: gif(gif_frame() * 1_000_000),
    "apng-of-501-frames": apng(501),
    "apng-of-10000-frames": lambda: apng(10_000),
    "apng-that-claims-2-billion-frames": apng(2, declared=0x7FFFFFFF),
    "webp-of-501-frames": webp_animation(501),
    "webp-of-10000-frames": lambda: webp_animation(10_000),
    "tiff-of-501-pages": tiff_pages(501),
    "tiff-of-10000-pages": lambda: tiff_pages(10_000),
    "avif-of-501-frames": lambda: animated("AVIF", 501, speed=10),
    **hostile_pieces.FRAMES,
}

CORRUPT: dict[str, Content] = {
    "jpeg-without-a-scan": jpeg_of(jpeg_segments(JPEG)[0], b"\xff\xd9"),
    "jpeg-of-nothing-but-its-ends": b"\xff\xd8\xff\xd9",
    "jpeg-with-5000-bytes-between-its-segments": jpeg_with(JPEG, segment(0xFE, b"a") + b"b" * 5000),
    "jpeg-segment-of-length-0": jpeg_with(JPEG, segment(0xE0, length=0)),
    "jpeg-segment-of-length-1": jpeg_with(JPEG, segment(0xE5, length=1)),
    "jpeg-without-a-frame-header": jpeg_without(JPEG, 0xC0),
    "jpeg-without-quantisation": jpeg_without(JPEG, 0xDB),
    "jpeg-huffman-of-4080-codes": jpeg_patched(JPEG, (0xC4,), 5, b"\xff" * 16),
    "jpeg-huffman-with-too-many-short-codes": jpeg_with_short_codes(JPEG),
    "jpeg-huffman-of-class-15": jpeg_patched(JPEG, (0xC4,), 4, b"\xff"),
    "jpeg-of-no-width": jpeg_sized(JPEG, 0, 48),
    "jpeg-of-0-by-0": jpeg_sized(JPEG, 0, 0),
    "jpeg-of-0-components": jpeg_patched(JPEG, (0xC0,), 9, b"\0"),
    "jpeg-of-200-components": jpeg_patched(JPEG, (0xC0,), 9, b"\xc8"),
    "jpeg-of-precision-77": jpeg_patched(JPEG, (0xC0,), 4, b"\x4d"),
    "jpeg-sampling-of-15-by-15": jpeg_patched(JPEG, (0xC0,), 11, b"\xff"),
    # the end marker is there, so nothing was cut off: the scan itself is too short
    "jpeg-of-49-megapixels-from-2-kilobytes": jpeg_sized(JPEG, 7000, 7000),
    "jpeg-progressive-of-49-megapixels-from-2-kilobytes": jpeg_sized(PROGRESSIVE, 7000, 7000),
    "jpeg-progressive-scan-bomb": lambda: progressive_scan_bomb(10_000),
    "png-header-checksum-flipped": PNG[:29] + bytes([PNG[29] ^ 1]) + PNG[30:],
    "png-pixel-checksum-flipped": PNG[:-13] + bytes([PNG[-13] ^ 1]) + PNG[-12:],
    "png-transparency-checksum-flipped": small_png(chunk(b"tRNS", b"\0\0", crc=1)),
    "png-palette-checksum-flipped": png(ihdr(8, 8, colour=3), chunk(b"PLTE", bytes(768), crc=1), IDAT),
    "png-end-checksum-flipped": PNG[:-1] + bytes([PNG[-1] ^ 1]),
    "png-pixel-flipped": PNG[:2000] + bytes([PNG[2000] ^ 0xFF]) + PNG[2001:],
    "png-pixels-not-zlib": png(IHDR, chunk(b"IDAT", b"x" * 64)),
    "png-pixels-gzip": png(IHDR, chunk(b"IDAT", gzip.compress(bytes(72), mtime=0))),
    "png-pixels-too-few": png(ihdr(64, 64), chunk(b"IDAT", grey_rows(64, 8))),  # IEND is there, so nothing was cut off
    "png-filter-of-type-9": png(IHDR, chunk(b"IDAT", zlib.compress(b"\x09" * 72))),
    "png-without-pixels": png(IHDR),
    "png-without-header": png(IDAT),
    "png-header-not-first": png(chunk(b"tEXt", b"a\0b"), IHDR, IDAT),
    "png-header-of-5-bytes": png(chunk(b"IHDR", b"\0\0\0\x08\0"), IDAT),
    "png-of-0-by-0": png(ihdr(0, 0), chunk(b"IDAT", zlib.compress(b""))),
    "png-of-no-height": png(ihdr(8, 0), chunk(b"IDAT", zlib.compress(b""))),
    "png-of-colour-type-1": png(ihdr(8, 8, colour=1), IDAT),
    "png-of-3-bits": png(ihdr(8, 8, bits=3), IDAT),
    "png-palette-missing": png(ihdr(8, 8, colour=3), IDAT),
    "png-chunk-without-a-name": small_png(chunk(b"\0\0\0\0", b"a")),
    "webp-lossy-without-start-code": webp(vp8(8, 8, start_code=bytes(3))),
    "webp-lossy-of-0-by-0": webp(vp8(0, 0)),
    "webp-lossy-partition-of-512-kilobytes": webp(riff_chunk(b"VP8 ", b"\xf0\xff\xff" + WEBP[23:])),
    "webp-lossless-of-ones": webp(vp8l(64, 64, rest=b"\xff" * 64)),
    "webp-lossless-without-signature": webp(vp8l(8, 8, signature=0)),
    "webp-without-picture": webp(vp8x(8, 8)),
    "webp-of-an-unknown-chunk": webp(riff_chunk(b"EVIL", HTML)),
    "webp-animation-without-frames": webp_animation(0),
    "gif-without-a-picture": gif(),
    "gif-of-a-comment-only": gif(b"\x21\xfe\x05hello\x00"),
    "gif-of-0-by-0": gif(gif_frame(0, 0), width=0, height=0),
    "gif-lzw-of-ones": gif(gif_frame(8, 8, b"\x02\x08" + b"\xff" * 8 + b"\0"), width=8, height=8),
    "gif-lzw-of-13-bits": gif(gif_frame(data=b"\x0d" + GIF_PIXEL[1:])),
    "gif-lzw-without-data": gif(gif_frame(8, 8, b"\x02\x00"), width=8, height=8),
    "gif-with-an-unknown-block": gif(b"\x55\x03abc\x00", gif_frame()),
    "bmp-of-0-by-0": bmp(0, 0),
    "bmp-of-no-height": bmp(8, 0),
    "bmp-of-negative-width": bmp(-8, 8, pixels=bytes(192)),
    "bmp-of-7-bits": bmp(bits=7),
    "bmp-of-compression-99": bmp(compression=99),
    "bmp-header-of-no-length": bmp(header_size=0),
    "bmp-header-of-an-unknown-length": bmp(header_size=41),
    "bmp-pixels-inside-its-header": bmp(offset=10),
    "bmp-of-a-billion-colours": bmp(bits=8, colours=2**30, palette=bytes(1024)),
    "tiff-directory-that-follows-itself": tiff_pages(1, loop_to=0),
    "tiff-directories-in-a-circle": tiff_pages(3, loop_to=0),
    "tiff-directories-in-a-circle-further-on": tiff_pages(5, loop_to=2),
    "tiff-directory-without-tags": b"II*\0" + struct.pack("<LHL", 8, 0, 0),
    "tiff-without-width": tiff({IMAGE_WIDTH: None}),
    "tiff-without-pixels": tiff({STRIP_OFFSETS: None, STRIP_BYTES: None}, data=b""),
    "tiff-of-0-by-0": tiff({}, 0, 0, data=bytes(64)),
    "tiff-of-255-bits": tiff({BITS: (SHORT, 1, 255)}),
    "tiff-deflate-garbage": tiff({COMPRESSION: (SHORT, 1, 8)}, data=b"x" * 64),
    "tiff-lzw-garbage": tiff({COMPRESSION: (SHORT, 1, 5)}, data=b"\xff" * 64),
    "tiff-jpeg-garbage": tiff({COMPRESSION: (SHORT, 1, 7)}, data=b"x" * 64),
    "tiff-tile-of-20000-squared": tiff_tiled(20000, 20000, zlib.compress(bytes(400)), 8),  # 400 MB for 8 x 8 pixels
    "tiff-tile-of-0-by-0": tiff_tiled(0, 0, bytes(64)),
    "avif-with-unknown-boxes": avif_with_foreign_boxes(AVIF),
    "avif-pixels-of-zeros": avif_with_blank_pixels(AVIF),
    "avif-of-0-by-0": avif_sized(AVIF, 0, 0),
    **hostile_pieces.CORRUPT,
}


# What could be read by somebody; here it is refused by its kind.
UNSUPPORTED: dict[str, Content] = {
    "avif-of-32769-columns": saved(picture("L", width=32_769, height=1), "AVIF", speed=10),
    "jpeg-of-65504-columns": jpeg_sized(saved(picture("L", width=65_500, height=1), "JPEG"), 65_504, 1),
    "bmp-of-a-jpeg": bmp(64, 48, bits=0, compression=4, pixels=JPEG),
    "tiff-of-60000-samples": tiff({SAMPLES: (SHORT, 1, 60000)}),
    "tiff-of-an-unknown-compression": tiff({COMPRESSION: (SHORT, 1, 65000)}),
    **hostile_pieces.UNSUPPORTED,
}


# Written after reading the code, unlike the rest: files of at most 20 MiB in the shape that costs a reader the most
# time or memory for each of their bytes. Every one of them is bad, so the answer is known.
COSTLY_CORRUPT: dict[str, Content] = {
    "jpeg-of-20-megabytes-of-fill-bytes": lambda: b"\xff\xd8" + b"\xff" * (MAX_BYTES - 2),
    "jpeg-with-20-megabytes-of-fill-bytes": lambda: JPEG[:2] + b"\xff" * (MAX_BYTES - 20_000) + JPEG[2:],
    # cut as well, but nobody should follow them to where that would show
    "jpeg-with-10-million-bytes-between-its-segments": lambda: jpeg_with(JPEG, (segment(0xFE) + b"a" * 40) * 220_000),
    "jpeg-of-5-million-empty-comments": lambda: b"\xff\xd8" + segment(0xFE) * (MAX_BYTES // 4 - 1),
    "jpeg-of-10-million-restart-markers": lambda: b"\xff\xd8" + b"\xff\xd0" * (MAX_BYTES // 2 - 1),
    "png-of-a-million-empty-chunks": lambda: PNG_SIGNATURE + IHDR + chunk(b"prVt") * 1_700_000,
    "avif-of-2-million-empty-boxes": lambda: ftyp(b"avif", b"mif1") + box(b"free") * 2_600_000,
    "gif-of-10-million-one-byte-blocks": lambda: gif(b"\x21\xfe" + b"\x01a" * 10_000_000 + b"\0"),
    "webp-of-2-million-empty-chunks": lambda: webp(riff_chunk(b"EVIL", b"") * 2_600_000),
    "tiff-of-50-overlapping-directories": lambda: tiff_overlapping_directories(50),
    "tiff-of-1000-equal-strip-lists": lambda: tiff_equal_tags(STRIP_OFFSETS, 1000, 1_000_000),
    "tiff-of-5-million-sub-directories": lambda: tiff_equal_tags(SUB_DIRECTORIES, 5, 1_000_000),
    "tiff-tile-of-40000-squared": tiff_tiled(40000, 40000, zlib.compress(bytes(400)), 8),  # 1.6 GB from 148 bytes
    **hostile_pieces.COSTLY_CORRUPT,
}


def type_of(case_id: str) -> str:
    """The ids of pictures start with their format."""

    return {"apng": "image/png"}.get(name := case_id.partition("-")[0], f"image/{name}")


PICTURES = [
    *(bad(name, content, type_of(name), "image.truncated") for name, content in CUT.items()),
    *(bad(name, content, type_of(name), "image.trailing_data") for name, content in TRAILING.items()),
    *(bad(name, content, type_of(name), "image.too_many_pixels") for name, content in BOMBS.items()),
    *(bad(name, content, type_of(name), "image.too_many_frames") for name, content in FRAMES.items()),
    *(bad(name, content, type_of(name), "image.corrupt") for name, content in CORRUPT.items()),
    *(bad(name, content, type_of(name), "image.corrupt") for name, content in COSTLY_CORRUPT.items()),
    *(bad(name, content, type_of(name), "image.unsupported") for name, content in UNSUPPORTED.items()),
    bad("png-one-row-over", PNG, "image/png", "image.too_many_pixels", limits={"max_pixels": 64 * 47}),
    bad("jpeg-over-a-small-limit", JPEG, "image/jpeg", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("webp-over-a-small-limit", WEBP, "image/webp", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("gif-over-a-small-limit", GIF, "image/gif", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("bmp-over-a-small-limit", BMP, "image/bmp", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("tiff-over-a-small-limit", TIFF, "image/tiff", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("avif-over-a-small-limit", AVIF, "image/avif", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("heic-over-a-small-limit", HEIC, "image/heic", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("jp2-over-a-small-limit", JP2, "image/jp2", "image.too_many_pixels", limits={"max_pixels": 1000}),
    *(
        bad(f"{name}-over-a-small-memory", content, declared, "image.too_many_pixels", limits={"max_memory": 4})
        for name, (declared, content) in HEALTHY.items()
    ),
    bad("gif-of-3-frames-not-1", GIF_ANIMATED, "image/gif", "image.too_many_frames", limits={"max_frames": 1}),
    bad("apng-of-3-frames-not-2", APNG, "image/png", "image.too_many_frames", limits={"max_frames": 2}),
    bad("webp-of-3-frames-not-2", WEBP_ANIMATED, "image/webp", "image.too_many_frames", limits={"max_frames": 2}),
    bad("tiff-of-3-pages-not-1", TIFF_PAGES, "image/tiff", "image.too_many_frames", limits={"max_frames": 1}),
]

INSIDE_ENVELOPES = {
    "empty-image": ({"image": "", "type": "image/png"}, "request.no_body"),
    "empty-data-uri": ({"image": "data:image/png;base64,"}, "request.no_body"),
    "text": ({"image": b64(b"hello, world"), "type": "image/png"}, "image.not_an_image"),
    "svg-in-a-data-uri-of-a-png": ({"image": "data:image/png;base64," + b64(SVG)}, "image.not_an_image"),
    "html-data-uri": ({"image": "data:text/html;base64," + b64(HTML)}, "type.not_accepted"),
    "svg-data-uri": ({"image": "data:image/svg+xml;base64," + b64(SVG)}, "type.not_accepted"),
    "octet-stream": ({"image": b64(PNG), "type": "application/octet-stream"}, "type.not_accepted"),
    "json-again": ({"image": b64(envelope(image=b64(PNG))), "type": "application/json"}, "type.not_accepted"),
    "jpeg-declared-png": ({"image": b64(JPEG), "type": "image/png"}, "image.type_mismatch"),
    "jpeg-in-a-data-uri-of-a-png": ({"image": "data:image/png;base64," + b64(JPEG)}, "image.type_mismatch"),
    "jpeg-named-png": ({"image": b64(JPEG), "file_name": "a.png"}, "image.type_mismatch"),
    "cut-png": ({"image": b64(PNG[:500]), "type": "image/png"}, "image.truncated"),
    "png-and-script": ({"image": b64(PNG + HTML), "type": "image/png"}, "image.trailing_data"),
    "bomb": ({"image": b64(png(ihdr(60000, 60000), IDAT)), "type": "image/png"}, "image.too_many_pixels"),
    "501-frames": ({"image": b64(gif(gif_frame() * 501)), "type": "image/gif"}, "image.too_many_frames"),
    "corrupt-png": ({"image": b64(png(IHDR)), "type": "image/png"}, "image.corrupt"),
}

URIS_WITHOUT_PREFIXES = {
    "s3": "s3://warehouse/images/a.png",
    "file": "file:///etc/passwd",
    "cloud-metadata": "http://169.254.169.254/latest/meta-data/",
    "path": "../../etc/passwd",
}

ENVELOPES = [
    *(bad(f"json-{name}", body, "application/json", "request.malformed_json") for name, body in MALFORMED_JSON.items()),
    *(bad(f"json-{name}", body, "application/json", "request.malformed_json") for name, body in COSTLY_JSON.items()),
    bad("json-with-charset-malformed", b"{", "application/json; charset=utf-8", "request.malformed_json"),
    *(
        bad(f"base64-{name}", body, "application/json", "request.malformed_base64")
        for name, body in MALFORMED_BASE64.items()
    ),
    *(
        bad(f"json-with-{name}-inside", envelope(**fields), "application/json", code)
        for name, (fields, code) in INSIDE_ENVELOPES.items()
    ),
    bad(
        "json-with-an-image-over-the-limit-inside",
        envelope(image=b64(PNG), type="image/png"),
        "application/json",
        "request.too_large",
        limits={"max_bytes": len(PNG) - 1},
    ),
    *(
        bad(f"uri-without-prefixes-{name}", envelope(image_uri=uri), "application/json", "request.uri_not_allowed")
        for name, uri in URIS_WITHOUT_PREFIXES.items()
    ),
    *(
        bad(
            f"uri-{name}",
            envelope(image_uri=uri),
            "application/json",
            "request.uri_not_allowed",
            rules={"uri_prefixes": BUCKET},
        )
        for name, uri in FORBIDDEN_URIS.items()
    ),
    bad(
        "uri-file-parent-folder",
        envelope(image_uri="file:///data/images/../../etc/passwd"),
        "application/json",
        "request.uri_not_allowed",
        rules={"uri_prefixes": "file:///data/images/"},
    ),
]

CASES: list[Case] = [*REQUESTS, *TYPES, *PICTURES, *ENVELOPES]
