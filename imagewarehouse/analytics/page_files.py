"""The files of the dashboard page, as they are served: read once, known by name, with a tag of their content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagewarehouse.analytics.page_modules import joined

PAGE = Path(__file__).parent / "page"

_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon",
    ".json": "application/json", ".webmanifest": "application/manifest+json", ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}  # fmt: skip
_MAIN = "assets/main.js"  # with all that it imports
_HASHED = re.compile(r"[.-][0-9a-f]{8,64}\.\w+$")  # another content would have another name

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    media_type: str
    content: bytes
    tag: str
    for_ever: bool


def page_files(folder: Path = PAGE, *, guarded: bool = False, serves: Sequence[str] = ()) -> Mapping[str, PageFile]:
    """Every file by the path that it is served at: index.html at /, everything else by its name.

    The page is told two things before it asks anything. `guarded`: figures need an access key; only then it asks whether
    its own is good. `serves`: what the service answers beside figures; the page shows nothing else.
    """
    told = f'<html data-serves="{" ".join(serves)}" '
    if guarded:
        told += 'data-access="key" '
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _TYPES:
            name = path.relative_to(folder).as_posix()
            content = _whole(folder) if name == _MAIN else path.read_bytes()
            if name == "index.html":
                content = content.replace(b"<html ", told.encode(), 1)
            tag = hashlib.sha256(content).hexdigest()[:32]
            for_ever = _HASHED.search(name) is not None
            served = PageFile(_TYPES[path.suffix], content, tag, for_ever)
            found["/" if name == "index.html" else f"/{name}"] = served
    return found


def _whole(folder: Path) -> bytes:
    modules = {path.name: path.read_text(encoding="utf-8") for path in (folder / _MAIN).parent.glob("*.js")}
    return joined(modules, Path(_MAIN).name).encode()
