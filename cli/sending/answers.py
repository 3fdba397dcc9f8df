"""What an answer says about its image."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cli.sending.client import Reply
from cli.sending.text import plain
from imagewarehouse.errors import BadIdempotencyKey

Status = Literal["accepted", "rejected", "failed"]
ACCEPTED: Status = "accepted"
REJECTED: Status = "rejected"
FAILED: Status = "failed"

_ABOUT_THE_IMAGE = {400, 413, 415, 422}  # the service judged the image; every other refusal is about how it was sent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image."""

    source: str
    status: Status
    request_id: str | None = None
    predicted_class: str | None = None
    confidence: float | None = None  # softmax probability, 0.0-1.0
    ms: float | None = None  # of the last attempt
    attempts: int = 0
    error_code: str | None = None
    error_detail: str | None = None
    label: str | None = None  # the true class where it is known

    def as_json(self) -> str:
        """One line. ASCII, so that a name that is no valid UTF-8 survives."""
        values = asdict(self)
        del values["label"]
        values["ms"] = None if self.ms is None else round(self.ms, 3)
        return json.dumps(values)


def judge(reply: Reply, *, answers_later: bool) -> dict[str, Any]:
    """Fields of an Outcome that an answer gives: status, and a record's or a problem's values."""
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError):
        body = None
    said: dict[str, Any] = body if isinstance(body, dict) else {}

    def text(name: str) -> str | None:
        return said[name] if isinstance(said.get(name), str) and said[name] else None

    fields: dict[str, Any] = {"ms": reply.ms}
    if text("request_id"):
        fields["request_id"] = text("request_id")
    if 200 <= reply.http_status < 300:
        if not answers_later and text("request_id") is None:
            # Any web server answers 200 to something; only a record proves that the image has arrived.
            detail = f"{reply.http_status}, but without a record; is this the address of an image warehouse?"
            return fields | {"status": FAILED, "error_code": "answer.not_understood", "error_detail": detail}
        confidence = said.get("confidence")
        is_share = isinstance(confidence, int | float) and 0 <= confidence <= 1
        fields["confidence"] = float(confidence) if is_share else None
        return fields | {"status": ACCEPTED, "predicted_class": text("predicted_class")}
    code = text("error_code")
    rest = f"redirected to {reply.location}" if reply.location else reply.body[:400].decode("utf-8", "replace")
    judged = reply.http_status in _ABOUT_THE_IMAGE and code != BadIdempotencyKey.code
    return fields | {
        "status": REJECTED if judged else FAILED,
        "error_code": code or f"http.{reply.http_status}",
        "error_detail": plain(text("detail") or text("title") or rest),
    }
