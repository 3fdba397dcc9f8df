"""NiFi's edge: what is read out of FlowFiles for a step, and what is written back of what it said."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from imagewarehouse.answers import Answer
from imagewarehouse.errors import KuduUnavailable, ObjectStoreUnavailable, PackageBroken, WarehouseError
from imagewarehouse.ids import event_time, new_request_id, utc_now
from imagewarehouse.metadata import COLUMNS, ImageRecord, to_text
from imagewarehouse.nifi import codec
from imagewarehouse.nifi.packages import Package, Packed, read_package, write_package
from imagewarehouse.standalone.flowfile import FlowFile, InputFlowFile, Ticket
from imagewarehouse.steps.event import Facts, Image, ImageEvent, Origin, Sender
from imagewarehouse.steps.outcome import FAILURE, REFUSED, REJECTED, RETRY, SUCCESS, Outcome
from tests.test_processors import CLAIMS

Process = Callable[[Sequence[Image]], Sequence[Outcome]]


class Given:
    """A FlowFile that counts how often its content is read."""

    def __init__(self, content: bytes, attributes: Mapping[str, str] | None = None) -> None:
        self.reads = 0
        self._content, self._attributes = content, attributes or {}

    def getSize(self) -> int:
        return len(self._content)

    def getContentsAsBytes(self) -> bytes:
        self.reads += 1
        return self._content

    def getAttribute(self, name: str) -> str | None:
        return self._attributes.get(name)


@dataclass
class Result:
    relationship: str
    attributes: dict[str, str] | None = None
    contents: bytes | None = None
    carried: codec.Carried | None = None


class AStep:
    """A step that does what it is told."""

    name = "AStep"
    takes_ended = True

    def __init__(
        self, process: Process, *, reads: Sequence[str] = (), owns: Sequence[str] = (), answers: bool = False,
        fatal: str | None = None,
    ) -> None:  # fmt: skip
        self.process = process
        self.reads = reads
        self.owns = owns
        self.answers = answers
        self.fatal = fatal


def setting(packages: bool) -> Any:
    value = SimpleNamespace(getValue=lambda: str(packages).lower())
    return SimpleNamespace(getProperty=lambda name: value)


def through(flow_file: Any, process: Process, *, packages: bool = True, **more: Any) -> Result:
    found: Any = codec.transform(setting(packages), flow_file, AStep(process, **more), Result)
    assert isinstance(found, Result)
    return found


def an_event(number: int = 0, status: str = "accepted", **values: Any) -> ImageEvent:
    request_id = new_request_id(utc_now())
    return ImageEvent(request_id, event_time(request_id), status, facts=Facts(width=number), **values)


def some(events: Sequence[ImageEvent]) -> tuple[Given, bytes]:
    """A package as it comes to a later step, and its content."""
    content = write_package([Packed({"n": str(n)}, bytes([n])) for n in range(len(events))])
    return Given(content, {codec.RECORDS: codec.write_records(events)}), content


def carried(events: Sequence[ImageEvent]) -> FlowFile:
    """The same inside one process."""
    package = Package([Packed({"n": str(n)}, bytes([n])) for n in range(len(events))])
    images = [(event, None) for event in events]
    return FlowFile({}, None, package.size, Ticket(), {}, codec.Carried(package, images))


def said(left: Result) -> list[dict[str, str]]:
    return codec.read_records((left.attributes or {})[codec.RECORDS])


# --- reading --------------------------------------------------------------------------------------------------------


def test_the_content_is_read_once_however_much_is_asked() -> None:
    flow_file = Given(write_package([Packed({"a": "b"}, b"first"), Packed({}, b"second")]))
    found = codec.Bundle(flow_file)
    for _ in range(3):
        images = found.images()
        assert [(image.header("a"), image.content()) for image in images] == [("b", b"first"), (None, b"second")]
        assert [found.body_size(number) for number in range(2)] == [5, 6]
    assert flow_file.reads == 1


def test_what_records_say_costs_no_read() -> None:
    flow_file, _ = some([an_event(n) for n in range(3)])
    assert [image.event.facts.width for image in codec.Bundle(flow_file).images()] == [0, 1, 2]
    assert flow_file.reads == 0


@pytest.mark.parametrize("first", [True, False])
def test_what_only_looks_like_a_package_of_this_process_is_read_as_nifi_gives_it(first: bool) -> None:
    """An object of py4j has every attribute that is asked for: as a method."""

    class Java(Given):
        def __getattr__(self, name: str) -> Any:
            if name == "_gateway_client":
                raise AttributeError(name)
            return lambda *_: None

    flow_file = Java(write_package([Packed({"mime.type": "image/png"}, b"x")]))
    found = codec.Bundle(flow_file, first=first)
    assert found.carried is None
    assert [bytes(packed.content) for packed in found.packed] == [b"x"]
    left = through(flow_file, lambda images: [Outcome(SUCCESS, an_event(1)) for _ in images])
    assert [record["width"] for record in said(left)] == ["1"]


def test_what_a_status_cannot_have_is_not_read() -> None:
    claims = {**CLAIMS, "status": "rejected"}
    event, unreadable = codec.read_event(claims.get, [column.name for column in COLUMNS])
    assert unreadable is None
    assert (event.facts, event.storage_uri, event.classification.predicted_class) == (Facts(), None, None)


def test_a_value_that_cannot_be_read_is_named_and_does_not_hide_the_others() -> None:
    texts = {"status": "accepted", "width": "wide", "height": "7"}
    event, unreadable = codec.read_event(texts.get, ["status", "width", "height"])
    assert (event.facts.width, event.facts.height) == (None, 7)
    assert "attribute width: expected int32, received 'wide'" in str(unreadable)


def test_a_record_of_fewer_flowfiles_than_the_package_holds_is_refused_where_it_matters() -> None:
    flow_file, _ = some([an_event()])
    broken = Given(
        write_package([Packed({}, b"a"), Packed({}, b"b")]), {codec.RECORDS: codec.write_records([an_event()])}
    )
    (image,) = codec.Bundle(broken).images()
    with pytest.raises(PackageBroken, match="speaks of 1 FlowFiles, the package holds 2"):
        image.content()
    assert codec.Bundle(flow_file).images()[0].content() == b"\x00"


# --- records as text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 64])
def test_records_of_a_few_are_plain_json_and_those_of_many_come_back_all_the_same(number: int) -> None:
    events = [ImageEvent(f"{n:036d}", status="accepted", origin=Origin(file_name='bär "1".jpg')) for n in range(number)]
    text = codec.write_records(events)
    assert text.startswith("[") is (number == 1)
    assert len(text) < 4_000
    assert codec.read_records(text) == [codec.event_attributes(event) for event in events]


@pytest.mark.parametrize("text", ["{", "{}", "[1]", "deflate:", "deflate:!!", "deflate:AAAA", "deflated"])
def test_records_that_cannot_be_read_are_said_to_be(text: str) -> None:
    with pytest.raises(PackageBroken, match=codec.RECORDS):
        codec.read_records(text)


def test_records_that_inflate_without_end_are_not_inflated() -> None:
    bomb = codec._DEFLATED + base64.b64encode(zlib.compress(bytes(100 << 20), 9)).decode()
    assert len(bomb) < 200_000
    with pytest.raises(PackageBroken, match="does not end within 64 MB"):
        codec.read_records(bomb)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        pytest.param({}, "a request without an id", id="nothing"),
        pytest.param({"request_id": "one"}, "request one", id="one"),
        pytest.param({codec.RECORDS: '[{"request_id":"a"},{"request_id":"b"},{}]'}, "request a, b", id="a-package"),
        pytest.param({codec.RECORDS: "broken", "request_id": "one"}, "request one", id="records-that-are-none"),
    ],
)
def test_a_line_of_the_log_names_the_requests(attributes: dict[str, str], text: str) -> None:
    assert codec.requests_in(attributes.get) == text


# --- a package ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["text", "carried"])
@pytest.mark.parametrize(
    ("ways", "fatal", "expected"),
    [
        pytest.param([SUCCESS] * 3, None, SUCCESS, id="all-alike"),
        pytest.param([REJECTED] * 3, None, REJECTED, id="all-rejected"),
        pytest.param([SUCCESS, REJECTED, FAILURE], None, SUCCESS, id="mixed"),
        pytest.param([SUCCESS, FAILURE, SUCCESS], FAILURE, FAILURE, id="a-fatal-one"),
        pytest.param([SUCCESS, RETRY, SUCCESS], None, RETRY, id="one-to-be-tried-again"),
        pytest.param([], None, SUCCESS, id="nobody"),
    ],
)
def test_a_package_goes_where_its_images_go(mode: str, ways: list[str], fatal: str | None, expected: str) -> None:
    before = [an_event(n) for n in range(len(ways))]
    after = [an_event(100 + n) for n in range(len(ways))]
    given = some(before)[0] if mode == "text" else InputFlowFile(carried(before))
    left = through(given, lambda _: [Outcome(*pair) for pair in zip(ways, after, strict=True)], fatal=fatal)
    assert left.relationship == expected
    if expected == RETRY:
        assert (left.attributes, left.contents, left.carried) == (None, None, None)
    elif mode == "text":
        assert said(left) == [codec.event_attributes(event) for event in after]
        assert left.carried is None
    else:
        assert left.carried is not None
        assert [event for event, _ in left.carried.images or ()] == after
        assert codec.RECORDS not in (left.attributes or {})  # it is made where somebody asks for it


def test_what_a_step_passes_over_stays_as_it_was() -> None:
    events = [an_event(0), an_event(1, "rejected"), an_event(2)]
    seen: list[int | None] = []

    class Later(AStep):
        takes_ended = False

    def process(images: Sequence[Image]) -> list[Outcome]:
        seen.extend(image.event.facts.width for image in images)
        return [Outcome(SUCCESS, an_event(7)) for _ in images]

    left: Any = codec.transform(setting(True), InputFlowFile(carried(events)), Later(process), Result)
    assert seen == [0, 2]
    assert [event.facts.width for event, _ in left.carried.images] == [7, 1, 7]
    assert left.carried.images[1][0] is events[1]


@pytest.mark.parametrize("mode", ["text", "carried"])
def test_other_contents_take_the_place_of_those_they_belong_to(mode: str) -> None:
    events = [an_event(n) for n in range(4)]
    given = some(events)[0] if mode == "text" else InputFlowFile(carried(events))
    left = through(
        given,
        lambda images: [
            Outcome(SUCCESS, image.event, b"new" if image.event.facts.width in (1, 3) else None) for image in images
        ],
    )
    packed: Any = read_package(left.contents or b"") if left.carried is None else left.carried.package.flow_files
    assert [(dict(p.attributes), bytes(p.content)) for p in packed] == [
        ({"n": "0"}, b"\x00"), ({"n": "1"}, b"new"), ({"n": "2"}, b"\x02"), ({"n": "3"}, b"new"),
    ]  # fmt: skip


def test_an_answer_holds_what_the_response_needs_and_nothing_else() -> None:
    waiting = [an_event(n, origin=Origin(Sender(context=f"client {n}"))) for n in range(2)]
    answer = Answer(503, "application/problem+json", b"{}", 5)
    left = through(
        some([*waiting, an_event(2)])[0],
        lambda images: [Outcome(SUCCESS, image.event, answer=answer) for image in images],
        answers=True,
    )
    assert left.attributes is not None
    assert left.attributes[codec.ANSWERS] == "2"
    found = read_package(left.contents or b"")
    assert [dict(packed.attributes) for packed in found] == [
        {"http.context.identifier": f"client {n}", "request_id": event.request_id, "status": "accepted",
         codec.RECORDS: "", "http.response.status": "503", "mime.type": "application/problem+json", "Retry-After": "5"}
        for n, event in enumerate(waiting)
    ]  # fmt: skip


def test_answers_are_counted_where_there_are_none() -> None:
    """A sender of packages may have brought a count along."""
    left = through(some([an_event()])[0], lambda images: [Outcome(SUCCESS, i.event) for i in images], answers=True)
    assert (left.attributes or {})[codec.ANSWERS] == ""
    assert left.contents is None


@pytest.mark.parametrize("mode", ["text", "carried"])
@pytest.mark.parametrize("way", [RETRY, REFUSED])
def test_a_package_that_is_tried_again_can_be_tried_again_as_it_came(mode: str, way: str) -> None:
    events = [an_event(n, origin=Origin(Sender("client") if way == REFUSED else Sender())) for n in range(2)]
    given: Any = some(events)[0] if mode == "text" else InputFlowFile(carried(events))
    before = (given.getAttribute(codec.RECORDS), given.getContentsAsBytes())

    def away(images: Sequence[Image]) -> list[Outcome]:
        error = ObjectStoreUnavailable("away")
        return [Outcome(way, image.event if way == RETRY else image.event.failed(error)) for image in images]

    assert through(given, away).relationship == way
    assert (given.getAttribute(codec.RECORDS), given.getContentsAsBytes()) == before
    again = through(given, lambda images: [Outcome(SUCCESS, image.event) for image in images])
    assert again.relationship == SUCCESS


# --- images that are let out ----------------------------------------------------------------------------------------


def let_out(
    given: Any, process: Process, *, fatal: str | None = None
) -> tuple[Result, list[tuple[dict[str, str], bytes]]]:
    """The result of a last step that lets images out, and what is unpacked of it."""
    value = SimpleNamespace(getValue=lambda: "true")
    context = SimpleNamespace(getProperty=lambda name: value if name in (codec.SETTING, codec.LET_OUT) else None)
    step = AStep(process, answers=True, fatal=fatal)
    left: Any = codec.transform(context, given, step, Result)
    if left.carried is not None:
        packed: Sequence[Packed] = left.carried.package.flow_files
    else:
        packed = read_package(left.contents) if left.contents else ()
    return left, [(dict(one.attributes), bytes(one.content)) for one in packed]


def recorded(event: ImageEvent, **values: Any) -> Outcome:
    record = ImageRecord(**{**event.values(), "node": "host", "total_ms": 1.5, **values})
    answer = Answer(200, "application/json", b"{}") if event.waits else None
    return Outcome(SUCCESS, event, answer=answer, record=record)


@pytest.mark.parametrize("mode", ["text", "carried"])
def test_images_leave_with_their_records_and_the_answers_behind_them(mode: str) -> None:
    events = [
        an_event(0, "classified", origin=Origin(Sender("client 0", "203.0.113.9"), file_name="a b.png")),
        an_event(1, "failed", origin=Origin(Sender("client 1"), file_name="..")),
        replace(an_event(2, "rejected", origin=Origin(Sender("client 2"))), facts=Facts()),
    ]
    given: Any = some(events)[0] if mode == "text" else InputFlowFile(carried(events))
    formats = ({"format": "PNG"}, {"format": "JPEG"}, {})
    left, packed = let_out(
        given, lambda images: [recorded(i.event, **more) for i, more in zip(images, formats, strict=True)]
    )
    assert (left.relationship, (left.attributes or {})[codec.IMAGES]) == (SUCCESS, "3")
    assert (left.attributes or {})[codec.ANSWERS] == "", "it holds other things, too"
    images, answered = packed[:3], packed[3:]
    for number, ((attributes, content), event, name, kind) in enumerate(
        zip(images, events, ("a b.png", f"{events[1].request_id}.jpg", f"{events[2].request_id}.bin"),
            ("image/png", "image/jpeg", "application/octet-stream"), strict=True)
    ):  # fmt: skip
        assert content == bytes([number])
        expected = codec.event_attributes(event) | formats[number] | {"node": "host", "total_ms": "1.5"}
        assert attributes == expected | {"filename": name, "path": "./", "mime.type": kind}
    assert [one[codec.CONTEXT_ID] for one, _ in answered] == [f"client {n}" for n in range(3)]
    assert all(one["http.response.status"] == "200" for one, _ in answered)


@pytest.mark.parametrize("mode", ["text", "carried"])
def test_nothing_is_let_out_unless_that_is_set(mode: str) -> None:
    events = [an_event(0), an_event(1, origin=Origin(Sender("client")))]
    given: Any = some(events)[0] if mode == "text" else InputFlowFile(carried(events))
    value = SimpleNamespace(getValue=lambda: "true")
    context = SimpleNamespace(getProperty=lambda name: value if name == codec.SETTING else None)
    step = AStep(lambda images: [recorded(image.event) for image in images], answers=True)
    left: Any = codec.transform(context, given, step, Result)
    assert (left.attributes[codec.IMAGES], left.attributes[codec.ANSWERS]) == ("", "1")
    packed = read_package(left.contents) if left.carried is None else left.carried.package.flow_files
    assert [one.attributes["http.response.status"] for one in packed] == ["200"]
    if mode == "text":
        assert given.reads == 0


def test_only_images_with_a_row_are_let_out_when_others_are_refused() -> None:
    events = [an_event(n, origin=Origin(Sender(f"client {n}"))) for n in range(2)]
    refused = Outcome(REFUSED, events[1].failed(KuduUnavailable("away")), answer=Answer(503, "text/plain", b"", 5))
    left, packed = let_out(some(events)[0], lambda _: [recorded(events[0]), refused])
    assert (left.relationship, (left.attributes or {})[codec.IMAGES]) == (REFUSED, "1")
    assert [one.get("http.response.status", one["request_id"]) for one, _ in packed] == [
        events[0].request_id, "200", "503",
    ]  # fmt: skip


def test_dead_letters_say_of_no_images_that_they_are_in_them() -> None:
    """NiFi drops a new content there."""
    events = [an_event(0), an_event(1)]
    bad = Outcome(FAILURE, events[1].failed(WarehouseError("no row")))
    left, packed = let_out(some(events)[0], lambda _: [recorded(events[0]), bad], fatal=FAILURE)
    assert (left.relationship, (left.attributes or {})[codec.IMAGES], packed) == (FAILURE, "", [])


def test_a_body_that_no_step_has_read_goes_without_its_bytes() -> None:
    class Huge(Given):
        def getSize(self) -> int:
            return codec.LARGE + 1

        def getContentsAsBytes(self) -> bytes:
            raise AssertionError("read")

    event = replace(an_event(0, "rejected"), facts=Facts())
    given = Huge(b"", {codec.RECORDS: codec.write_records([event])})
    left, packed = let_out(given, lambda _: [recorded(event)])
    assert (left.attributes or {})[codec.IMAGES] == "1"
    assert [content for _, content in packed] == [b""]


# --- one FlowFile, one image ----------------------------------------------------------------------------------------


def alone(event: ImageEvent, way: str = SUCCESS, **more: Any) -> Result:
    before = {"status": "accepted", "request_id": "id", "width": "3", "predicted_class": "made up"}
    return through(
        Given(b"x", before), lambda _: [Outcome(way, event)], packages=False,
        reads=("status", "request_id", "width"), **more,
    )  # fmt: skip


def test_only_what_changed_is_written() -> None:
    assert alone(ImageEvent("id", status="accepted", facts=Facts(width=3, height=4))).attributes == {"height": "4"}


def test_what_is_gone_is_emptied() -> None:
    assert alone(ImageEvent("id", status="accepted")).attributes == {"width": ""}


@pytest.mark.parametrize("way", [SUCCESS, FAILURE])
def test_what_only_this_step_sets_is_emptied_where_it_says_nothing(way: str) -> None:
    left = alone(ImageEvent("id", status="accepted", facts=Facts(width=3)), way, owns=("predicted_class",))
    assert left.attributes == {"predicted_class": ""}


def test_a_retry_sets_nothing() -> None:
    left = alone(ImageEvent("id", status="failed"), RETRY, owns=("predicted_class",))
    assert (left.relationship, left.attributes, left.contents) == (RETRY, None, None)


def test_a_submission_that_is_no_package_is_forgotten_with_what_it_claims() -> None:
    class First:
        name = "First"

        def process(self, submissions: Any, spec: Any) -> list[Outcome]:
            raise AssertionError("called")

    flow_file = Given(b"no package", {codec.RECORDS: json.dumps([CLAIMS])})
    left: Any = codec.submit(setting(True), flow_file, First(), Result)
    assert (left.relationship, left.attributes[codec.RECORDS]) == (FAILURE, "")
    assert left.attributes["error_code"] == PackageBroken.code


def test_the_text_of_an_event_is_read_back() -> None:
    event = an_event(
        3, origin=Origin(Sender("client", "203.0.113.9", "CN=alice"), file_name="ä.png", size_bytes=1 << 40)
    )
    (record,) = codec.read_records(codec.write_records([event]))
    found, unreadable = codec.read_event(record.get, [column.name for column in COLUMNS])
    assert (found, unreadable) == (event, None)
    assert record["event_time"] == to_text(event.event_time)


def test_an_error_of_a_step_that_is_no_exception_of_ours_tells_nothing_of_itself() -> None:
    def process(images: Sequence[Image]) -> list[Outcome]:
        raise ZeroDivisionError("a secret")

    left = through(some([an_event()])[0], process)
    assert left.relationship == SUCCESS  # no further try would change it
    assert said(left)[0]["error_code"] == WarehouseError.code
    assert "secret" not in str(left.attributes)
