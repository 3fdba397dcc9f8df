"""One image, and its outcome."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import BinaryIO, Literal

MAX_READ = 128 * 1024 * 1024  # bytes of one image; the service's default is 20 MiB, and each connection may hold this

Status = Literal["accepted", "rejected", "failed"]
ACCEPTED: Status = "accepted"
REJECTED: Status = "rejected"
FAILED: Status = "failed"


@dataclass(frozen=True, slots=True)
class Image:
    """One image to send; its bytes are here (Parquet, standard input) or still in the file `source`."""

    source: str  # as the user would name it
    key: str  # in the state file: absolute path, or absolute path of the Parquet file # row
    file_name: str | None
    content: bytes | None = field(default=None, repr=False)
    label: str | None = None  # the true class where it is known


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
    label: str | None = None

    def as_json(self) -> str:
        """One line. ASCII, so that a name that is no valid UTF-8 survives."""
        values = asdict(self) | {"ms": None if self.ms is None else round(self.ms, 3)}
        del values["label"]
        return json.dumps(values)


Item = Image | Outcome  # an image to send, or the failure of what should have been one


def unreadable(source: str, detail: str) -> Outcome:
    return Outcome(source, FAILED, error_code="source.unreadable", error_detail=detail)


def read_image(file: BinaryIO) -> bytes:
    """The rest of a file. Raises OSError, also for more than MAX_READ."""
    content = file.read(MAX_READ + 1)
    if len(content) > MAX_READ:
        raise OSError(f"more than {MAX_READ} bytes, that is no single image")
    return content
