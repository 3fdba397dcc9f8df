"""Builds and calls the load generator, which is generator.c.

Not wrk: its script sees an answer, but not which request it belongs to, so it cannot tell a wrong class.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.peers.pictures import Picture

SOURCE = Path(__file__).with_name("generator.c")
# A comment segment right behind a JPEG's first marker; the generator writes its number into it.
_DIGITS = 32
_COMMENT = b"\xff\xfe" + struct.pack(">H", _DIGITS + 2) + b"0" * _DIGITS
_BOUNDARY = "peers-7f3a"

Form = Literal["raw", "form:image", "form:images"]  # the body is the picture, or a form with that one file


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the generator found. Latencies in milliseconds, of right answers."""

    images_per_second: float  # right answers within the time, by the time
    right: int
    failed: int  # wrong status, wrong class, connection lost in the middle, no answer
    p50: float
    p90: float
    p99: float
    longest: float
    elapsed: float  # seconds, with the last answers, which are waited for
    client_cpu: float  # seconds
    details: dict[str, Any]
    first_wrong: str


def build(folder: Path) -> Path:
    """Compile the generator, if its source is newer."""
    program = folder / "generator"
    if program.is_file() and program.stat().st_mtime >= SOURCE.stat().st_mtime:
        return program
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise SystemExit("a C compiler is needed for the load generator (gcc or cc)")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True)
    return program


def write_requests(path: Path, found: Sequence[Picture], form: Form, *, unique: bool) -> None:
    """The file that the generator reads; with `unique` every request carries a picture that nobody has sent yet."""
    parts = [struct.pack("<I", len(found))]
    for picture in found:
        content = picture.content[:2] + _COMMENT + picture.content[2:] if unique else picture.content
        request = request_bytes(content, form)
        place = request.index(_COMMENT) + len(_COMMENT) - _DIGITS if unique else 0
        name = picture.predicted_class.encode()
        parts += [struct.pack("<III", len(request), place, len(name)), name, request]
    path.write_bytes(b"".join(parts))


def request_bytes(content: bytes, form: Form) -> bytes:
    media_type = "image/jpeg"
    if form != "raw":
        field = form.partition(":")[2]
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n'
        content = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
        media_type = f"multipart/form-data; boundary={_BOUNDARY}"
    head = f"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def run(program: Path, port: int, requests: Path, connections: int, seconds: float, start: int) -> Load:
    """Load a server; `start` is the number of the first request, so that another run goes on where this one ends."""
    command = [str(program), str(port), str(requests), str(connections), str(seconds), str(start)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"the load generator ended with {ended.returncode}: {ended.stderr.strip()[:1000]}")
    found = json.loads(ended.stdout)
    return Load(
        images_per_second=found["in_window"] / found["seconds"],
        right=found["right"],
        failed=found["wrong_status"] + found["wrong_class"] + found["broken"] + found["unanswered"],
        p50=found["p50_ms"],
        p90=found["p90_ms"],
        p99=found["p99_ms"],
        longest=found["max_ms"],
        elapsed=found["elapsed"],
        client_cpu=found["client_cpu_s"],
        details=found,
        first_wrong=ended.stderr.strip()[:1000],
    )
