"""The metadata contract: `ImageRecord`.

NiFi attributes, row columns, search fields, the JSON answer and the table in docs/metadata.md are all derived from the
fields below; a test holds them together.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from typing import Any, Literal

import orjson

ColumnType = Literal["string", "timestamp", "int32", "int64", "float", "double", "vector"]
Stage = Literal["filter", "enrich", "store", "classify", "last", "each"]

ACCEPTED, REJECTED, CLASSIFIED, FAILED = "accepted", "rejected", "classified", "failed"
STATUSES = (ACCEPTED, REJECTED, CLASSIFIED, FAILED)
MOST_DIMENSIONS = (
    128  # of a vector: one byte each; as base64 172 characters, which NiFi's attributes and rows still bear
)


@dataclass(frozen=True, slots=True)
class Column:
    """One field of the contract as every consumer sees it."""

    name: str
    type: ColumnType
    nullable: bool
    stage: Stage  # which step sets it
    meaning: str


def _column(type: ColumnType, stage: Stage, meaning: str, *, nullable: bool = True) -> Any:
    extra: dict[str, Any] = {"default": None} if nullable else {}
    return field(metadata={"type": type, "stage": stage, "meaning": meaning, "nullable": nullable}, **extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One request: where it came from, what it was, where it is, and what the model said.

    Raises ValueError on construction for a status that does not exist, a confidence outside 0-1, a naive time, broken text or
    a vector without dimensions or with more than 128.
    """

    event_time: datetime = _column(
        "timestamp",
        "filter",
        "when the request was accepted for processing, UTC; the time inside request_id",
        nullable=False,
    )
    request_id: str = _column(
        "string", "filter", "UUIDv7, one per request, fixed once; a retry overwrites its row", nullable=False
    )
    status: str = _column("string", "each", "accepted, rejected, classified or failed", nullable=False)
    error_code: str | None = _column("string", "each", "stable code of what went wrong")
    error_detail: str | None = _column("string", "each", "one readable line about it")
    image_id: str | None = _column("string", "filter", "sha256 of the bytes: the same picture has the same id")
    file_name: str | None = _column("string", "filter", "the client's name for it, sanitised; never used as a path")
    declared_type: str | None = _column("string", "filter", "the media type the client declared")
    fields: str | None = _column("string", "filter", 'JSON: {"name": "text"}, of the form fields in intake.keep.fields')
    format: str | None = _column("string", "filter", "what the bytes are: JPEG, PNG, ...")
    size_bytes: int | None = _column("int64", "filter", "length of the image file")
    width: int | None = _column("int32", "filter", "pixels, as stored")
    height: int | None = _column("int32", "filter", "pixels, as stored")
    color_mode: str | None = _column("string", "enrich", "the decoder's pixel mode: RGB, L, P, CMYK, ...")
    frames: int | None = _column("int32", "enrich", "frames or pages; the first is classified")
    notes: str | None = _column(
        "string", "filter", "JSON: [code, ...], what else the file has and what in it was ignored; see intake.md"
    )
    source_ip: str | None = _column("string", "enrich", "peer address, or the forwarded one behind a trusted proxy")
    source_user: str | None = _column(
        "string", "enrich", "name of the access key, or subject of the client certificate"
    )
    gps_latitude: float | None = _column("double", "enrich", "degrees north, only where Keep GPS is switched on")
    gps_longitude: float | None = _column("double", "enrich", "degrees east, only where Keep GPS is switched on")
    storage_uri: str | None = _column("string", "store", "where the bytes are")
    predicted_class: str | None = _column("string", "classify", "the most probable class")
    confidence: float | None = _column("float", "classify", "its probability, 0-1")
    top_k: str | None = _column("string", "classify", 'JSON: [{"class": ..., "probability": ...}, ...], best first')
    model_name: str | None = _column("string", "classify", "which model said so")
    model_version: str | None = _column("string", "classify", "and which version of it")
    preprocess_ms: float | None = _column("double", "classify", "decode and resize, milliseconds")
    inference_ms: float | None = _column("double", "classify", "the model alone, milliseconds")
    embedding: bytes | None = _column(
        "vector",
        "classify",
        "what the model sees in the picture, for finding pictures that look alike: one signed byte for each dimension, 128 at"
        " most; only the direction counts. In attributes base64; not in the JSON answer",
    )
    total_ms: float | None = _column("double", "last", "from event_time to the writing of the row, milliseconds")
    node: str | None = _column("string", "last", "host that wrote the row")

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status: expected one of {', '.join(STATUSES)}, received {self.status!r}")
        if self.event_time.tzinfo is None:
            raise ValueError("event_time: expected a time with a zone, received a naive one")
        if self.confidence is not None and not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence: expected 0.0-1.0, received {self.confidence!r}")
        if self.embedding is not None and not (
            isinstance(self.embedding, bytes) and 0 < len(self.embedding) <= MOST_DIMENSIONS
        ):
            raise ValueError(f"embedding: expected 1 to {MOST_DIMENSIONS} bytes, received {_measured(self.embedding)}")
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None and not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
                raise ValueError(f"{name}: expected text, received a lone surrogate")  # no store can write it

    def items(self) -> Iterator[tuple[str, Any]]:
        """Every field with its value, None included, in the order of the columns."""
        return ((column.name, getattr(self, column.name)) for column in COLUMNS)

    def as_attributes(self) -> dict[str, str]:
        """Text attributes as NiFi wants them; fields without a value are left out."""
        return {name: to_text(value) for name, value in self.items() if value is not None}

    def as_json(self) -> dict[str, Any]:
        """The JSON answer: every field but the embedding, as `json_values` has them."""
        return json_values({name: getattr(self, name) for name in _IN_JSON})


COLUMNS: tuple[Column, ...] = tuple(
    Column(f.name, f.metadata["type"], f.metadata["nullable"], f.metadata["stage"], f.metadata["meaning"])
    for f in fields(ImageRecord)
)
KEY = ("event_time", "request_id")
_IN_JSON = tuple(column.name for column in COLUMNS if column.type != "vector")  # nobody reads 128 numbers
_TEXTS = tuple(column.name for column in COLUMNS if column.type == "string")

_JSON = ("fields", "notes", "top_k")
_ERRORS = ("error_code", "error_detail")
# A rejected request got no further than the filter: what its sender said, who that was, and why it was refused.
_OF_REJECTED = (*KEY, "status", *_ERRORS, "file_name", "declared_type", "fields", "size_bytes", "source_ip",
                "source_user", "total_ms", "node")  # fmt: skip


def can_have(status: str | None, column: str) -> bool:
    """Whether a record of this status can have the field.

    A rejected request was never decoded: without this, a sender of FlowFile packages could put a format or a
    predicted_class beside it. And an image that passed at the second try keeps the attributes of the first error.
    """
    if status == REJECTED:
        return column in _OF_REJECTED
    return column not in _ERRORS or status == FAILED


def json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the names of their columns as JSON shows them: times as ISO 8601, JSON as what it says, no embedding.

    Raises ValueError: what should be JSON is none.
    """
    shown = dict(values)
    shown.pop("embedding", None)
    if shown.get("event_time") is not None:
        shown["event_time"] = to_text(shown["event_time"])
    for name in _JSON:
        if shown.get(name) is not None:
            shown[name] = orjson.loads(shown[name])
    return shown


def notes_text(notes: tuple[str, ...]) -> str | None:
    """Codes about a file as the record has them; None where there are none, as for most files."""
    return orjson.dumps(notes).decode() if notes else None


def to_text(value: object) -> str:
    """A field's value as attribute text. Times are ISO 8601 with microseconds and Z; vectors are base64."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


_INTEGER_BITS = {"int32": 31, "int64": 63}


def from_text(text: str, type: ColumnType) -> str | int | float | datetime | bytes:
    """The reverse of `to_text`. Raises ValueError."""
    if type == "string":
        return text
    if type == "timestamp":
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    if type in _INTEGER_BITS:
        number = int(text)
        if not -(1 << _INTEGER_BITS[type]) <= number < 1 << _INTEGER_BITS[type]:
            raise ValueError(f"{number} does not fit {type}")
        return number
    if type == "vector":
        vector = base64.b64decode(text, validate=True)
        if not 0 < len(vector) <= MOST_DIMENSIONS:
            raise ValueError(f"expected 1 to {MOST_DIMENSIONS} bytes, received {len(vector)}")
        return vector
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value


def _measured(value: object) -> str:
    return str(len(value)) if isinstance(value, bytes) else repr(value)[:80]
