"""FlowFiles: attributes, a content, and the ticket that says when nothing of them is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from imagewarehouse.errors import PackageBroken
from imagewarehouse.nifi import batches
from imagewarehouse.nifi.batches import RECORDS
from imagewarehouse.nifi.packages import MEDIA_TYPE, read_package


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
    """One FlowFile. `content` None: the body was over the listener's ceiling and only its size was kept."""

    attributes: Mapping[str, str]
    content: bytes | None
    size: int
    ticket: Ticket
    retries: Mapping[str, int] = field(default_factory=dict)  # by processor, as NiFi counts them

    def updated(self, attributes: Mapping[str, str] | None, content: bytes | None = None) -> FlowFile:
        merged = {**self.attributes, **attributes} if attributes else self.attributes
        if content is None:
            return (
                replace(self, attributes=merged, retries={}) if merged is not self.attributes or self.retries else self
            )
        return replace(self, attributes=merged, content=content, size=len(content), retries={})


def requests_in(flow_file: FlowFile) -> str:
    """The requests in it by their ids, for a line of a log: also those of a package that no step has looked at."""
    attributes = flow_file.attributes
    if RECORDS not in attributes and attributes.get("mime.type") == MEDIA_TYPE:
        with suppress(PackageBroken):
            ids = [_key(item.attributes) for item in read_package(flow_file.content or b"")]
            return f"request {', '.join(ids)}"
    return batches.requests_in(
        lambda name: attributes.get(name) or (_key(attributes) if name == "request_id" else None)
    )


def _key(attributes: Mapping[str, str]) -> str:
    """The Idempotency-Key that our listeners give every request: it becomes the id."""
    return attributes.get("Idempotency-Key") or attributes.get("http.headers.Idempotency-Key") or ""


class InputFlowFile:
    """What `transform` is given: NiFi's InputFlowFile."""

    __slots__ = ("_flow_file",)

    def __init__(self, flow_file: FlowFile) -> None:
        self._flow_file = flow_file

    def getContentsAsBytes(self) -> bytes:
        if self._flow_file.content is None:
            raise ValueError(f"a body of {self._flow_file.size} bytes was not kept: it is over http.max.request.size")
        return self._flow_file.content

    def getSize(self) -> int:
        return self._flow_file.size

    def getAttribute(self, name: str) -> str | None:
        return self._flow_file.attributes.get(name)

    def getAttributes(self) -> dict[str, str]:
        return dict(self._flow_file.attributes)
