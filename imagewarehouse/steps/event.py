"""What travels from step to step: an image with what is known of it so far.

An `ImageEvent` becomes the `ImageRecord` at the end of its way. Values are typed; only the edges of the flow (NiFi's
attributes, the rows, the answer) turn them into text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from imagewarehouse.errors import RowRejected, WarehouseError
from imagewarehouse.images.decoding import Decoded
from imagewarehouse.intake import Request
from imagewarehouse.metadata import CLASSIFIED, FAILED, REJECTED, ImageRecord


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a request, as the listener saw it."""

    context: str | None = None  # under which a client waits for the answer; None: nobody waits
    peer: str | None = None  # address
    certificate: str | None = None  # subject of the client's TLS certificate

    @property
    def waits(self) -> bool:
        return self.context is not None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an image came from: what its sender said, and who that was."""

    sender: Sender = Sender()
    source_ip: str | None = None
    source_user: str | None = None
    file_name: str | None = None
    declared_type: str | None = None
    size_bytes: int | None = None
    fields: str | None = None  # JSON, as in the record


@dataclass(frozen=True, slots=True)
class Facts:
    """What the content is. Width and height in pixels, the position in degrees."""

    image_id: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    color_mode: str | None = None
    frames: int | None = None
    notes: str | None = None  # JSON, as in the record
    gps_latitude: float | None = None
    gps_longitude: float | None = None


@dataclass(frozen=True, slots=True)
class Classification:
    """What a model said. `top_k` is JSON, as in the record; times in milliseconds; `embedding`: a signed byte each."""

    predicted_class: str | None = None
    confidence: float | None = None
    top_k: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    preprocess_ms: float | None = None
    inference_ms: float | None = None
    embedding: bytes | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an image was rejected, or failed."""

    error_code: str | None = None
    error_detail: str | None = None

    @classmethod
    def of(cls, error: WarehouseError) -> Problem:
        return cls(error.code, str(error))


_NO_FACTS, _NO_CLASSIFICATION, _NO_PROBLEM, _NO_ORIGIN = Facts(), Classification(), Problem(), Origin()


@dataclass(frozen=True, slots=True)
class ImageEvent:
    """One request on its way. What no step has said yet is None, or empty."""

    request_id: str | None = None
    event_time: datetime | None = None
    status: str | None = None
    origin: Origin = _NO_ORIGIN
    facts: Facts = _NO_FACTS
    storage_uri: str | None = None
    classification: Classification = _NO_CLASSIFICATION
    problem: Problem = _NO_PROBLEM

    @property
    def ended(self) -> bool:
        """Whether a step rejected it or failed at it: the rest of the way it is only carried along."""
        return self.status in (REJECTED, FAILED)

    @property
    def waits(self) -> bool:
        """Whether a client waits for its answer."""
        return self.origin.sender.waits

    # Written out: `dataclasses.replace` costs several times as much, and these are called for every image.

    def come_from(self, origin: Origin, facts: Facts) -> ImageEvent:
        return ImageEvent(
            self.request_id, self.event_time, self.status, origin, facts, self.storage_uri, self.classification,
            self.problem,
        )  # fmt: skip

    def stored(self, uri: str, facts: Facts) -> ImageEvent:
        return ImageEvent(
            self.request_id, self.event_time, self.status, self.origin, facts, uri, self.classification, self.problem
        )

    def classified(self, classification: Classification) -> ImageEvent:
        return ImageEvent(
            self.request_id, self.event_time, CLASSIFIED, self.origin, self.facts, self.storage_uri, classification,
            self.problem,
        )  # fmt: skip

    def failed(self, error: WarehouseError, **changes: Any) -> ImageEvent:
        return replace(self, status=FAILED, problem=Problem.of(error), **changes)

    def values(self) -> dict[str, Any]:
        """What is known, by the names of the record's columns."""
        columns = {name: value for name in _DIRECT if (value := getattr(self, name)) is not None}
        for group, names, nothing in _GROUPS:
            part = getattr(self, group)
            if part is not nothing:
                columns |= {name: value for name in names if (value := getattr(part, name)) is not None}
        return columns

    @classmethod
    def of(cls, values: Mapping[str, Any], sender: Sender) -> ImageEvent:
        """The reverse of `values`."""
        return cls(
            **{name: values[name] for name in _DIRECT if name in values},
            origin=Origin(sender, **_picked(values, _OF_ORIGIN)),
            facts=Facts(**_picked(values, _OF_FACTS)),
            classification=Classification(**_picked(values, _OF_CLASSIFICATION)),
            problem=Problem(**_picked(values, _OF_PROBLEM)),
        )

    def record(self, *, total_ms: float | None = None, node: str | None = None) -> ImageRecord:
        """The row. Raises RowRejected naming what is missing or wrong.

        A rejected request was never decoded, and an image that passed at the second try keeps the error of the first: neither
        belongs in the row.
        """
        for name in ("event_time", "request_id", "status"):
            if getattr(self, name) is None:
                raise RowRejected(f"attribute {name} is missing")
        event = self
        if self.status == REJECTED:
            event = replace(self, facts=_NO_FACTS, storage_uri=None, classification=_NO_CLASSIFICATION)
        elif self.status != FAILED and self.problem is not _NO_PROBLEM:
            event = replace(self, problem=_NO_PROBLEM)
        try:
            return ImageRecord(**event.values(), total_ms=total_ms, node=node)
        except ValueError as err:
            raise RowRejected(str(err)) from err


def _names(group: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(group) if field.name != "sender")


def _picked(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


_DIRECT = ("event_time", "request_id", "status", "storage_uri")
_OF_ORIGIN, _OF_FACTS, _OF_CLASSIFICATION, _OF_PROBLEM = map(_names, (Origin, Facts, Classification, Problem))
_GROUPS = (
    ("origin", _OF_ORIGIN, _NO_ORIGIN),
    ("facts", _OF_FACTS, _NO_FACTS),
    ("classification", _OF_CLASSIFICATION, _NO_CLASSIFICATION),
    ("problem", _OF_PROBLEM, _NO_PROBLEM),
)


class Submission(ABC):
    """A request as a listener took it; nothing of it has been judged."""

    __slots__ = ()

    @abstractmethod
    def sender(self) -> Sender: ...

    @abstractmethod
    def received(self) -> datetime | None:
        """When its listener took it, where that is known and no sender can claim it."""

    def given_id(self) -> str | None:
        """The id that its listener has told the client, where that is known and no sender can claim it."""
        return None

    @abstractmethod
    def request(self, *, keys_wanted: bool) -> Request:
        """`keys_wanted`: whether its access key is asked for."""

    @abstractmethod
    def content(self) -> bytes:
        """The body. Raises what keeps it from being read."""


class Image(ABC):
    """An image between two steps."""

    __slots__ = ("decoded", "event", "of_this_process", "unreadable")

    def __init__(
        self,
        event: ImageEvent,
        decoded: Decoded | None = None,
        unreadable: RowRejected | None = None,
        *,
        of_this_process: bool = False,
    ) -> None:
        """`decoded`: for a model of this process. `unreadable`: what was said of the image and is no value of its column.

        `of_this_process`: the steps before handed over the event itself, so no sender can have claimed anything in it.
        """
        self.event = event
        self.decoded = decoded
        self.unreadable = unreadable
        self.of_this_process = of_this_process

    @abstractmethod
    def content(self) -> bytes:
        """The file. Raises what keeps it from being read."""

    @abstractmethod
    def header(self, name: str) -> str | None:
        """A header of the request that brought it."""
