"""FlowFiles: attributes, a content, and the ticket that says when nothing of them is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from imagewarehouse.errors import PackageBroken
from imagewarehouse.nifi import codec
from imagewarehouse.nifi.codec import RECORDS, Carried, InOneProcess
from imagewarehouse.nifi.packages import MEDIA_TYPE, Packed, read_package


class Ticket:
    """Counts the FlowFiles that came of one that entered; calls back when the last has ended.

    Clones make more of them, so the entry's journal record may go only when all have reached an end.
    """

    __slots__ = ("_count", "_lock", "_on_done")

    def __init__(self, on_done: Callable[[], None] | None = None) -> None:
        self._count = 0
        self._lock = threading.Lock()
        self._on_done = on_done

    def add(self, number: int) -> None:
        """Add FlowFiles (or take away, if negative)."""
        with self._lock:
            self._count += number
            done = self._count == 0
        if done and self._on_done is not None:
            self._on_done()


def joined(flow_files: Sequence[FlowFile]) -> Ticket:
    """A ticket for one FlowFile made of others, which have not ended before it has."""
    tickets = [flow_file.ticket for flow_file in flow_files]

    def ended() -> None:
        for ticket in tickets:
            ticket.add(-1)

    for ticket in tickets:
        ticket.add(1)
    ticket = Ticket(ended)
    ticket.add(1)
    return ticket


@dataclass(frozen=True, slots=True)
class FlowFile:
    """One FlowFile.

    `content` None: the body was over the listener's ceiling and only its size was kept; or the content is the package in
    `carried`, which nobody has asked the bytes of.
    """

    attributes: Mapping[str, str]
    content: bytes | None
    size: int
    ticket: Ticket
    retries: Mapping[str, int] = field(default_factory=dict)  # by processor, as NiFi counts them
    carried: Carried | None = None

    @property
    def body(self) -> bytes | None:
        """The content as bytes."""
        return self.content if self.carried is None else bytes(self.carried.package)

    @property
    def packed(self) -> Sequence[Packed]:
        """The FlowFiles in it. Raises PackageBroken."""
        return read_package(self.content or b"") if self.carried is None else self.carried.package.flow_files

    def attribute(self, name: str) -> str | None:
        if name == RECORDS and self.carried is not None and self.carried.images is not None:
            return self.carried.records_text()
        return self.attributes.get(name)

    def updated(
        self, attributes: Mapping[str, str] | None, content: bytes | None = None, carried: Carried | None = None
    ) -> FlowFile:
        merged = {**self.attributes, **attributes} if attributes else self.attributes
        if carried is not None:
            return replace(
                self, attributes=merged, content=None, size=carried.package.size, retries={}, carried=carried
            )
        if content is None:
            return (
                replace(self, attributes=merged, retries={}) if merged is not self.attributes or self.retries else self
            )
        return replace(self, attributes=merged, content=content, size=len(content), retries={}, carried=None)


class SeenAttributes(Mapping[str, str]):
    """All attributes of a FlowFile by name, also the one that is only made where it is asked for."""

    __slots__ = ("_flow_file",)

    def __init__(self, flow_file: FlowFile) -> None:
        self._flow_file = flow_file

    def __getitem__(self, name: str) -> str:
        value = self._flow_file.attribute(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(self._flow_file.attributes)
        if self._flow_file.attribute(RECORDS) is not None:
            names[RECORDS] = None
        return iter(names)

    def __len__(self) -> int:
        return len(list(iter(self)))


def requests_in(flow_file: FlowFile) -> str:
    """The requests in it by their ids, for a line of a log: also those of a package that no step has looked at."""
    attributes = flow_file.attributes
    if flow_file.attribute(RECORDS) is None and attributes.get("mime.type") == MEDIA_TYPE:
        with suppress(PackageBroken):
            return f"request {', '.join(_key(item.attributes) for item in flow_file.packed)}"
    return codec.requests_in(
        lambda name: flow_file.attribute(name) or (_key(attributes) if name == "request_id" else None)
    )


def _key(attributes: Mapping[str, str]) -> str:
    """The Idempotency-Key that our listeners give every request: it becomes the id."""
    return attributes.get("Idempotency-Key") or attributes.get("http.headers.Idempotency-Key") or ""


class InputFlowFile(InOneProcess):
    """What `transform` is given: NiFi's InputFlowFile."""

    __slots__ = ("_flow_file",)

    def __init__(self, flow_file: FlowFile) -> None:
        self._flow_file = flow_file

    @property
    def carried(self) -> Carried | None:
        return self._flow_file.carried

    def getContentsAsBytes(self) -> bytes:
        content = self._flow_file.body
        if content is None:
            raise ValueError(f"a body of {self._flow_file.size} bytes was not kept: it is over http.max.request.size")
        return content

    def getSize(self) -> int:
        return self._flow_file.size if self._flow_file.carried is None else len(self.getContentsAsBytes())

    def getAttribute(self, name: str) -> str | None:
        return self._flow_file.attribute(name)

    def getAttributes(self) -> dict[str, str]:
        return dict(SeenAttributes(self._flow_file))
