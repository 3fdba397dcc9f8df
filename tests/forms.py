"""Forms as clients write them: the bytes that go over the wire."""

from __future__ import annotations

from collections.abc import Iterable

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
COVERED = "application/vnd.imagewarehouse.form"


def part(disposition: str | bytes, content: bytes, content_type: str | None = None) -> bytes:
    """`disposition`: what follows form-data."""
    raw = disposition if isinstance(disposition, bytes) else disposition.encode()
    declared = f"Content-Type: {content_type}\r\n".encode() if content_type else b""
    return b"Content-Disposition: form-data; " + raw + b"\r\n" + declared + b"\r\n" + content + b"\r\n"


def form(parts: Iterable[bytes], boundary: str = BOUNDARY) -> bytes:
    line = f"--{boundary}".encode()
    return b"".join(line + b"\r\n" + one for one in parts) + line + b"--\r\n"


def text(name: str, value: str) -> bytes:
    return part(f'name="{name}"', value.encode())


def file(content: bytes, name: str = "a.png", content_type: str | None = "image/png") -> bytes:
    return part(f'name="file"; filename="{name}"', content, content_type)


EMPTY_INPUT = part('name="more"; filename=""', b"", "application/octet-stream")  # as Chrome and Firefox write it
