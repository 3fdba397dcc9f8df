"""What the product does with a file: the check in this process, or a running service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt

from imagewarehouse.errors import WarehouseError
from imagewarehouse.images.decoding import InputSpec, decode_rgb
from imagewarehouse.intake import IntakeRules, Request, check_content, check_request

_RULES = IntakeRules()
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a file. `code` is empty where it is accepted; width and height in pixels as stored."""

    code: str = ""
    detail: str = ""
    width: int = 0
    height: int = 0
    format: str = ""

    @property
    def accepted(self) -> bool:
        return not self.code


def check(path: Path, declared: str) -> Judged:
    """As a file of a form that a browser sends: the same calls as FilterImageRequest makes."""
    content = path.read_bytes()
    request = Request(len(content), declared, "POST", path.name, part=1, parts=1, synchronous=True)
    try:
        check_request(request, _RULES)
        facts = check_content(request, content, _RULES).facts
    except WarehouseError as err:
        return Judged(err.code, str(err))
    return Judged("", "", facts.width, facts.height, facts.format)


def pixels(path: Path, judged: Judged, width: int, height: int) -> npt.NDArray[np.uint8]:
    """What a model that takes exactly the picture's own size would see. Raises: Corrupt."""
    return decode_rgb(path.read_bytes(), InputSpec(height, width), judged.format)


def post(url: str, path: Path, declared: str) -> Judged:
    """The same file as a form to a running service."""
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
        reply = client.post(url, files={"image": (path.name, path.read_bytes(), declared)})
    try:
        fields = reply.json()
    except ValueError:
        return Judged(f"http.{reply.status_code}", reply.text[:200])
    if reply.status_code == 200:
        return Judged("", "", fields.get("width") or 0, fields.get("height") or 0, fields.get("format") or "")
    return Judged(fields.get("error_code") or f"http.{reply.status_code}", str(fields.get("detail") or ""))
