"""NiFi's edge: reads images out of FlowFiles for a step, and writes what it said of them back.

A FlowFile is one image, or, where the property FlowFile Packages says so, a package of many. A package crosses every step
unchanged: what the steps say of its images lies in one attribute of it, RECORDS, a JSON list with an object for each image.
So a step costs NiFi one FlowFile, one attribute and at most one read of the content, however many images there are, and no
image is written back through the bridge. Where a client waits, the last step makes the answers a package of their own.

NiFi writes an attribute down at each step, in its FlowFile repository and twice in its provenance, so that the records of many
images are deflated: a sixth of NiFi's work for an image, measured. Those of a few stay readable.

Inside one process (the standalone runner) nothing is turned into text: a FlowFile there has the images themselves, `Carried`.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from imagewarehouse.answers import Answer
from imagewarehouse.errors import PackageBroken, RowRejected
from imagewarehouse.images.decoding import Decoded, InputSpec
from imagewarehouse.images.formats import FORMATS
from imagewarehouse.intake import Request, Siblings
from imagewarehouse.metadata import COLUMNS, FAILED, REJECTED, ImageRecord, can_have, from_text, to_text
from imagewarehouse.nifi import bridge
from imagewarehouse.nifi.adapter import boolean, failed
from imagewarehouse.nifi.listeners import (
    CONTEXT_ID,
    GIVEN_ID,
    RECEIVED,
    Headers,
    is_awaited,
    read_request,
    read_sender,
    sender_attributes,
    siblings,
)
from imagewarehouse.nifi.packages import Package, Packed, read_package
from imagewarehouse.nifi.precedence import Precedence
from imagewarehouse.steps.event import Image, ImageEvent, Sender, Submission
from imagewarehouse.steps.outcome import FAILURE, RETRY, SUCCESS, Outcome, Step, common_way, run

log = logging.getLogger("imagewarehouse")

RECORDS = "package.records"
ANSWERS = "answers"  # how many clients a package has answers for, where it holds nothing else
IMAGES = "images"  # how many images a package holds that are let out of the flow, with the answers behind them
SETTING = "FlowFile Packages"  # a processor's property
LET_OUT = "Pass Images On"  # and one of the last step's
_READABLE = 4_000  # characters of records that an operator finds as plain JSON
_DEFLATED = "deflate:"

# A package longer than this holds one FlowFile: the packaging step stops at fewer megabytes. If it is far over the limit on
# images, too, it is judged by its size and never read; its attributes are those of the FlowFile in it.
LARGE = 64 << 20
AROUND = 1 << 20  # bytes of a package beside the one body in it, at most
_TYPES = {column.name: column.type for column in COLUMNS}
_NAMES = tuple(_TYPES)
_READ = tuple(column.name for column in COLUMNS if column.stage != "last")  # those a step is told; it sets the others
_SENT = ("size_bytes", "declared_type", "file_name", "fields", "notes", "source_user")  # what a request may lack
Get = Callable[[str], "str | None"]


class Result(Protocol):
    """What `transform` gives back: NiFi's FlowFileTransformResult."""

    relationship: str
    attributes: dict[str, str] | None
    contents: bytes | None


class FirstStep(Protocol):
    """The step in front of all others: it is given requests."""

    name: str

    def process(self, submissions: Sequence[Submission], spec: InputSpec | None, /) -> list[Sequence[Outcome]]:
        """For each request what became of its images: of one that is no form, of one."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A package inside one process: the FlowFiles in it, and what the steps have said of them (None: nothing yet)."""

    package: Package
    images: Sequence[tuple[ImageEvent, Decoded | None]] | None = None

    def records_text(self) -> str | None:
        return None if self.images is None else write_records([event for event, _ in self.images])


class InOneProcess:
    """A FlowFile of a host that runs all steps in one process. (NiFi's FlowFiles answer to any name, so it takes a type.)"""

    __slots__ = ()

    @property
    def carried(self) -> Carried | None:
        """The package as it is, not turned into text."""
        raise NotImplementedError


# --- events as text ---------------------------------------------------------------------------------------------------


def read_event(get: Get, names: Sequence[str], sender: Sender | None = None) -> tuple[ImageEvent, RowRejected | None]:
    """The event that attributes speak of, and what of them cannot be read.

    What a record of this status cannot have is passed over: a sender of FlowFile packages may have written it.
    """
    values: dict[str, str | int | float | datetime | bytes] = {}
    unreadable = None
    status = get("status")
    for name in names:
        text = get(name)
        if text and can_have(status, name):
            try:
                values[name] = from_text(text, _TYPES[name])
            except (ValueError, OverflowError):
                unreadable = unreadable or RowRejected(
                    f"attribute {name}: expected {_TYPES[name]}, received {text[:80]!r}"
                )
    return ImageEvent.of(values, read_sender(get) if sender is None else sender), unreadable


def event_attributes(event: ImageEvent) -> dict[str, str]:
    return {name: to_text(value) for name, value in event.values().items()}


def read_records(text: str) -> list[dict[str, str]]:
    """The objects in RECORDS. Raises PackageBroken."""
    try:
        if text.startswith(_DEFLATED):
            inflate = zlib.decompressobj()
            inflated = inflate.decompress(base64.b64decode(text.removeprefix(_DEFLATED)), LARGE)
            if not inflate.eof:  # cut short, or a bomb in a flow without the check in front
                raise PackageBroken(f"{RECORDS}: does not end within {LARGE >> 20} MB")
            text = inflated.decode()
        records: list[dict[str, str]] = json.loads(text)
    except (ValueError, binascii.Error, zlib.error) as err:
        raise PackageBroken(f"{RECORDS}: {err}") from err
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise PackageBroken(f"{RECORDS}: expected a list of objects")
    return records


def write_records(events: Sequence[ImageEvent]) -> str:
    """RECORDS of a package."""
    records = [sender_attributes(event.origin.sender) | event_attributes(event) for event in events]
    text = json.dumps(records, separators=(",", ":"))
    if len(text) <= _READABLE:
        return text
    return _DEFLATED + base64.b64encode(zlib.compress(text.encode(), 1)).decode()


def requests_in(get: Get) -> str:
    """The requests in a FlowFile by their ids, for a line of a log."""
    try:
        records = read_records(get(RECORDS) or "[]")
    except PackageBroken:
        records = []
    ids = [record.get("request_id") for record in records] or [get("request_id")]
    request_ids = [request_id for request_id in ids if request_id]
    return f"request {', '.join(request_ids)}" if request_ids else "a request without an id"


# --- one FlowFile, one image ------------------------------------------------------------------------------------------


class _SingleImage(Image):
    """A FlowFile that is an image. Each attribute that is asked for is a round trip to NiFi."""

    __slots__ = ("_flow_file", "before")

    def __init__(self, flow_file: Any, reads: Sequence[str]) -> None:
        self._flow_file = flow_file
        self.before = {name: flow_file.getAttribute(name) for name in reads}
        get = flow_file.getAttribute
        event, unreadable = read_event(self.before.get, reads, read_sender(get))
        super().__init__(event, unreadable=unreadable)

    def content(self) -> bytes:
        return bridge.read(self._flow_file)

    def header(self, name: str) -> str | None:
        return Headers(self._flow_file.getAttribute).value(name)


class _Request(Submission):
    """A FlowFile as a listener made it. `blank`: what takes the place of credentials, once the request has been read."""

    def __init__(
        self,
        get: Get,
        size: Callable[[], int],
        content: Callable[[], bytes],
        everything: Callable[[], Mapping[str, str]],
        *,
        own_listener: bool,
        in_package: bool = False,
        siblings: Siblings | None = None,
    ) -> None:
        self._own_listener = own_listener
        self._in_package = in_package
        self._siblings = siblings
        self.blank: dict[str, str] = {}
        self._get = get
        self._size = size
        self._content = content
        self._everything = everything

    def sender(self) -> Sender:
        return read_sender(self._get)

    def received(self) -> datetime | None:
        text = self._get(RECEIVED) if self._own_listener else None
        return datetime.fromisoformat(text) if text else None

    def given_id(self) -> str | None:
        return (self._get(GIVEN_ID) or None) if self._own_listener else None

    def request(self, *, keys_wanted: bool) -> Request:
        request, self.blank = read_request(
            self._get, self._size(), keys_wanted=keys_wanted, all_attributes=self._everything
        )
        return replace(request, in_package=True, siblings=self._siblings) if self._in_package else request

    def content(self) -> bytes:
        return self._content()


def _changes(before: Mapping[str, str | None], event: ImageEvent) -> dict[str, str]:
    """What is to be written of an event: NiFi's attributes cannot be removed from here, only emptied."""
    after = event_attributes(event)
    gone = {name: "" for name, text in before.items() if text and name not in after}
    return {name: text for name, text in after.items() if before.get(name) != text} | gone


def _single_result(outcome: Outcome, attributes: dict[str, str], result: Callable[..., Result]) -> Result:
    if outcome.way == RETRY:
        return result(relationship=RETRY)
    contents = outcome.content
    if outcome.answer is not None:
        attributes = attributes | _answer_attributes(outcome.answer)
        contents = outcome.answer.body
    return result(relationship=outcome.way, attributes=attributes, contents=contents)


def _answer_attributes(answer: Answer) -> dict[str, str]:
    """What HandleHttpResponse needs beside the body."""
    attributes = {"http.response.status": str(answer.status), "mime.type": answer.media_type}
    if answer.retry_after is not None:
        attributes["Retry-After"] = str(answer.retry_after)
    return attributes


# --- a package ----------------------------------------------------------------------------------------------------------


class Bundle:
    """A FlowFile that holds FlowFiles. Its content is only read when something in it is asked for."""

    def __init__(self, flow_file: Any, *, first: bool = False, most: int = 0) -> None:
        """`first`: no step of ours came before, and what looks so was brought along by a sender of packages. `most`: bytes
        that the first step reads, if that is more than 64 MB. Later steps read what the first one let pass.

        Raises: PackageBroken.
        """
        self._flow_file = flow_file
        self._most = max(LARGE, most) if first else None
        self.carried = flow_file.carried if isinstance(flow_file, InOneProcess) else None
        self._records: list[dict[str, str]] | None = None
        if self.carried is None and not first:
            text = bridge.text_attribute(flow_file, RECORDS)
            if text:
                self._records = read_records(text)

    @cached_property
    def size(self) -> int:
        """Bytes of the whole package."""
        return int(self._flow_file.getSize())

    @property
    def unread(self) -> bool:
        """Whether it holds one body that is too long to be looked at: there are no bytes of it here."""
        return self._most is not None and self.carried is None and self.size > self._most

    @cached_property
    def packed(self) -> Sequence[Packed]:
        """The FlowFiles, with their bytes. Raises PackageBroken."""
        if self.carried is not None:
            return self.carried.package.flow_files
        if self.unread:
            raise PackageBroken(f"{self.size} bytes: not read, at most {self._most} are")
        flow_files = read_package(bridge.read(self._flow_file))
        if self._records is not None and len(flow_files) != len(self._records):
            raise PackageBroken(
                f"{RECORDS} speaks of {len(self._records)} FlowFiles, the package holds {len(flow_files)}"
            )
        return flow_files

    def __len__(self) -> int:
        if self._records is not None:
            return len(self._records)
        return 1 if self.unread else len(self.packed)

    def attributes(self, number: int) -> Mapping[str, str]:
        """What the listener said of a FlowFile. A large one alone is not read for it: the package has its attributes."""
        if self.carried is None:
            alone = "packed" not in self.__dict__ and self._records is not None and len(self._records) == 1
            if self.unread or (alone and self.size > LARGE):
                return _Attributes(self._flow_file)
        return self.packed[number].attributes

    def content(self, number: int) -> bytes:
        """Raises PackageBroken where the bytes are not here: nothing else is ever given in their place."""
        content = self.packed[number].content
        return content if isinstance(content, bytes) else bytes(content)

    def body_size(self, number: int) -> int:
        if not self.unread:
            return len(self.packed[number].content)
        content_length = self.attributes(number).get("http.headers.Content-Length") or ""
        return (
            int(content_length)
            if content_length.isdecimal() and len(content_length) < 19 and int(content_length) <= self.size
            else self.size
        )

    def requests(self) -> list[_Request]:
        forms: Sequence[Siblings | None] = [None] if self.unread else siblings(self.packed)

        def request(number: int) -> _Request:
            attributes = self.attributes(number)
            return _Request(
                attributes.get,
                lambda: self.body_size(number),
                lambda: self.content(number),
                lambda: attributes,
                own_listener=self.carried is not None,
                in_package=True,
                siblings=forms[number],
            )

        return [request(number) for number in range(len(self))]

    def images(self) -> list[Image]:
        """Raises PackageBroken."""
        if self.carried is not None and self.carried.images is not None:
            return [
                _PackedImage(self, n, event, None, decoded, of_this_process=True)
                for n, (event, decoded) in enumerate(self.carried.images)
            ]
        # Once the filter has spoken, what a record lacks is not there, whatever a sender of packages wrote beside it.
        texts: Sequence[Mapping[str, str]] = (
            [self.attributes(number) for number in range(len(self))] if self._records is None else self._records
        )
        return [_PackedImage(self, n, *read_event(attributes.get, _READ)) for n, attributes in enumerate(texts)]


class _PackedImage(Image):
    """An image of a package; nothing that is asked of it costs a round trip."""

    __slots__ = ("_bundle", "number")

    def __init__(
        self,
        bundle: Bundle,
        number: int,
        event: ImageEvent,
        unreadable: RowRejected | None = None,
        decoded: Decoded | None = None,
        *,
        of_this_process: bool = False,
    ) -> None:
        super().__init__(event, decoded, unreadable, of_this_process=of_this_process)
        self._bundle = bundle
        self.number = number

    def content(self) -> bytes:
        return self._bundle.content(self.number)

    def header(self, name: str) -> str | None:
        return Headers(self._bundle.attributes(self.number).get).value(name)


class _Attributes(Mapping[str, str]):
    """Attributes of the one FlowFile in a package that is not read; asked for by name."""

    def __init__(self, flow_file: Any) -> None:
        self._flow_file = flow_file

    def __getitem__(self, name: str) -> str:
        text: str | None = self._flow_file.getAttribute(name)
        if text is None:
            raise KeyError(name)
        return text

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._flow_file.getAttributes()))

    def __len__(self) -> int:
        return len(self._flow_file.getAttributes())


def _package_result(
    bundle: Bundle,
    way: str,
    events: Sequence[tuple[ImageEvent, Outcome | None]],
    blank: Mapping[str, str],
    result: Callable[..., Result],
    *,
    answers: bool,
    pass_on: bool = False,
    replaced: Package | None = None,
) -> Result:
    """A package as it leaves a step. `answers`: the step makes some. `pass_on`: it lets the images out, too. `replaced`: what
    takes the place of what was in it."""
    package = bundle.carried.package if bundle.carried is not None else None
    attributes = dict(blank)
    if answers:
        client_answers = [
            _for_the_client(event, outcome) for event, outcome in events if outcome is not None and event.waits
        ]
        packed = [answer for answer in client_answers if answer is not None]
        # NiFi drops a new content on failure. What leaves on `refused` has the images whose rows are there.
        images = _passed_on(bundle, events) if pass_on and way != FAILURE else []
        # Both said in any case: a sender may have brought them along.
        attributes |= {ANSWERS: str(len(packed) or "") if not images else "", IMAGES: str(len(images) or "")}
        packed = images + packed
        if packed:
            replaced = Package(packed)
    if package is None:
        attributes[RECORDS] = write_records([event for event, _ in events])
        return result(relationship=way, attributes=attributes, contents=None if replaced is None else bytes(replaced))
    made_result = result(relationship=way, attributes=attributes)
    carried = [(event, outcome.decoded if outcome else None) for event, outcome in events]
    made_result.carried = Carried(replaced or package, carried)  # type: ignore[attr-defined]
    return made_result


def _with_images(bundle: Bundle, outcomes: Sequence[Sequence[Outcome]]) -> Package | None:
    """The package with an image in the place of each body around one, and each file in the place of its form; None where
    it is that already."""
    if all(len(of_one) == 1 and of_one[0].content is None for of_one in outcomes):
        return None
    if outcomes and not any(outcomes):  # nothing is asked of a body that may be too long to be read
        return Package([])
    return Package(
        [
            Packed(packed.attributes, packed.content if outcome.content is None else outcome.content)
            for packed, of_one in zip(bundle.packed, outcomes, strict=True)
            for outcome in of_one
        ]
    )


def _for_the_client(event: ImageEvent, outcome: Outcome) -> Packed | None:
    """An answer by itself: whose it is, what it says, and nothing else, for NiFi writes all of it down several times."""
    if outcome.answer is None:
        return None
    attributes = {
        CONTEXT_ID: event.origin.sender.context or "",
        "request_id": event.request_id or "",
        "status": event.status or "",
        # What is unpacked inherits the package's attributes: the records of all, were they not covered.
        RECORDS: "",
    }
    return Packed(attributes | _answer_attributes(outcome.answer), outcome.answer.body)


def _passed_on(bundle: Bundle, events: Sequence[tuple[ImageEvent, Outcome | None]]) -> list[Packed]:
    """The images whose rows are written, each with its record and nothing of what its listener knew."""
    records = [(n, outcome.record) for n, (_, outcome) in enumerate(events) if outcome is not None and outcome.record]
    # A rejected body as long as this goes without its bytes: no step may have read it.
    alone = bundle.carried is None and len(records) == 1 and records[0][1].status == REJECTED
    unread = alone and bundle.size > LARGE
    return [Packed(_image_attributes(record), b"" if unread else bundle.packed[n].content) for n, record in records]


def _image_attributes(record: ImageRecord) -> dict[str, str]:
    image_format = FORMATS.get(record.format or "")
    name = record.file_name
    if name in (None, ".", ".."):  # steps behind the port may build paths from it
        name = f"{record.request_id}.{image_format.extension if image_format else 'bin'}"
    return record.as_attributes() | {
        "filename": name or "",
        "path": "./",
        # What it is: what its sender said is declared_type.
        "mime.type": image_format.media_types[0] if image_format else "application/octet-stream",
    }


# --- a processor's `transform` ------------------------------------------------------------------------------------------


def submit(
    context: Any,
    flow_file: Any,
    step: FirstStep,
    result: Callable[..., Result],
    *,
    most: int = 0,
    spec: InputSpec | None = None,
    precedence: Precedence | None = None,
) -> Result:
    """The first step's result for one FlowFile of a listener, or for a package of them.

    Args: result: makes one. most: see `Bundle`. spec: what a model of this process takes. precedence: who goes first; packages
    of uploads stand back here. (The standalone runner has them wait in front of the packaging step.)
    """
    if not boolean(context, SETTING):
        request = _Request(
            flow_file.getAttribute,
            flow_file.getSize,
            lambda: bridge.read(flow_file),
            flow_file.getAttributes,
            own_listener=isinstance(flow_file, InOneProcess),
        )
        ((outcome,),) = step.process([request], spec)
        # A sender of FlowFile packages chooses attributes, but not who it is; and a failed record may have any of them.
        ours = _NAMES if outcome.event.status == FAILED else _SENT
        attributes = dict.fromkeys(ours, "") | event_attributes(outcome.event) | request.blank
        return bridge.send_attributes_together(_single_result(outcome, attributes, result), flow_file)
    try:
        bundle = Bundle(flow_file, first=True, most=most)
        requests = bundle.requests()
        if precedence is not None and bundle.carried is None and requests:
            # Of a package all are waited for, or none is.
            precedence.let_pass(awaited=is_awaited(bundle.attributes(0).get))
        outcomes = step.process(requests, spec) if requests else []
        blank = {name: text for request in requests for name, text in request.blank.items()}
        events = [(outcome.event, outcome) for of_one in outcomes for outcome in of_one]
        way = common_way([outcome for _, outcome in events])
        replaced = _with_images(bundle, outcomes)
        package_result = _package_result(bundle, way, events, blank, result, answers=False, replaced=replaced)
        package_result = bridge.send_contents_in_memory(package_result, flow_file)
    except PackageBroken as err:
        # What no step has looked at is the sender's.
        return _broken(flow_file, err, result, {RECORDS: ""})
    return bridge.send_attributes_together(package_result, flow_file)


def transform(context: Any, flow_file: Any, step: Step, result: Callable[..., Result]) -> Result:
    """A later step's result for one FlowFile: an image, or a package of them where the processor is set so."""
    if not boolean(context, SETTING):
        image = _SingleImage(flow_file, step.reads)
        if image.event.ended and not step.takes_ended and image.event.request_id:  # else it is somebody else's status
            return result(relationship=SUCCESS)
        (outcome,) = step.process([image])
        attributes: dict[str, str] = {}
        if outcome.event is not image.event:
            # What only this step sets is emptied where it has nothing to say: a sender may have written it.
            attributes = dict.fromkeys(step.owns, "") | _changes(image.before, outcome.event)
        if step.answers:
            attributes[ANSWERS] = "1" if outcome.event.waits else ""
        return bridge.send_attributes_together(_single_result(outcome, attributes, result), flow_file)
    try:
        bundle = Bundle(flow_file)
        images = bundle.images()
        outcomes = run(step, images)
        way = common_way(outcomes, step.fatal)
        if way == RETRY:  # as it came
            return result(relationship=RETRY)
        events = [(o.event if o else image.event, o) for image, o in zip(images, outcomes, strict=True)]
        pass_on = step.answers and boolean(context, LET_OUT)
        replaced = _with_images(bundle, [(outcome or Outcome(SUCCESS, event),) for event, outcome in events])
        package_result = _package_result(
            bundle, way, events, {}, result, answers=step.answers, pass_on=pass_on, replaced=replaced
        )
        if pass_on:
            package_result = bridge.send_contents_in_memory(package_result, flow_file)
    except PackageBroken as err:
        return _broken(flow_file, err, result, {})
    return bridge.send_attributes_together(package_result, flow_file)


def _broken(flow_file: Any, error: PackageBroken, result: Callable[..., Result], forget: dict[str, str]) -> Result:
    log.error("%s: %s is true, but: %s", requests_in(flow_file.getAttribute), SETTING, error)
    return result(relationship=FAILURE, attributes=failed(error) | forget)
