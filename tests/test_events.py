"""What travels from step to step, and the row that becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagewarehouse.errors import NotAnImage, RowRejected
from imagewarehouse.ids import event_time, new_request_id, utc_now
from imagewarehouse.metadata import ACCEPTED, CLASSIFIED, COLUMNS, FAILED, REJECTED, from_text, to_text
from imagewarehouse.steps.event import Classification, Facts, ImageEvent, Origin, Problem, Sender

SENDER = Sender("a client", "203.0.113.9", "CN=alice")
BY_THE_LAST_STEP = {"total_ms", "node"}
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(timezone.utc))


def of(group: type) -> Callable[[st.DrawFn], Any]:
    """Draws the values of a part of an event, each of them or None."""
    kinds = {column.name: column.type for column in COLUMNS}
    values: dict[str, st.SearchStrategy[Any]] = {
        "string": st.text(min_size=1, max_size=20),
        "int32": st.integers(0, 2**31 - 1),
        "int64": st.integers(0, 2**63 - 1),
        "float": st.floats(0, 1),
        "double": st.floats(-180, 180),
        "vector": st.binary(min_size=1, max_size=128),
    }
    return lambda draw: group(**{
        name: draw(st.none() | values[kinds[name]]) for name in (f.name for f in fields(group)) if name in kinds
    })  # fmt: skip


@st.composite
def events(draw: st.DrawFn) -> ImageEvent:
    return ImageEvent(
        draw(st.none() | st.text(min_size=1, max_size=40)),
        draw(st.none() | TIMES),
        draw(st.none() | st.sampled_from([ACCEPTED, REJECTED, CLASSIFIED, FAILED])),
        replace(of(Origin)(draw), sender=SENDER),
        of(Facts)(draw),
        draw(st.none() | st.text(min_size=1, max_size=20)),
        of(Classification)(draw),
        of(Problem)(draw),
    )


def whole(status: str = CLASSIFIED) -> ImageEvent:
    """An event that says everything."""
    request_id = new_request_id(utc_now())
    return ImageEvent(
        request_id,
        event_time(request_id),
        status,
        Origin(SENDER, "203.0.113.9", "alice", "a.png", "image/png", 70, '{"part": "4711"}'),
        Facts("0" * 64, "PNG", 8, 6, "RGB", 1, '["padding"]', 47.5, 8.5),
        "file:///objects/0",
        Classification("frog", 0.5, "[]", "colours", "1", 1.5, 2.5, b"\x01\xff"),
        Problem("image.truncated", "ends early"),
    )


@given(events())
def test_an_event_is_made_of_its_values(event: ImageEvent) -> None:
    assert ImageEvent.of(event.values(), SENDER) == event


@given(events())
def test_the_values_of_an_event_are_read_back_from_their_text(event: ImageEvent) -> None:
    kinds = {column.name: column.type for column in COLUMNS}
    texts = {name: to_text(value) for name, value in event.values().items()}
    assert ImageEvent.of({name: from_text(text, kinds[name]) for name, text in texts.items()}, SENDER) == event


def test_an_event_has_every_column_but_those_of_the_last_step() -> None:
    assert set(whole().values()) == {column.name for column in COLUMNS} - BY_THE_LAST_STEP


def test_values_that_are_no_column_are_passed_over() -> None:
    assert ImageEvent.of({"total_ms": 1.0, "node": "a", "colour": "red"}, SENDER) == ImageEvent(origin=Origin(SENDER))


def test_what_nobody_has_said_is_no_value() -> None:
    assert ImageEvent().values() == {}


@pytest.mark.parametrize(
    ("status", "ended"), [(None, False), (ACCEPTED, False), (CLASSIFIED, False), (REJECTED, True), (FAILED, True)]
)
def test_rejected_and_failed_images_have_ended(status: str | None, ended: bool) -> None:
    assert ImageEvent(status=status).ended is ended


@pytest.mark.parametrize(("context", "waits"), [(None, False), ("a client", True)])
def test_a_client_waits_where_the_listener_keeps_its_request_open(context: str | None, waits: bool) -> None:
    assert ImageEvent(origin=Origin(Sender(context))).waits is waits


def test_a_failure_keeps_what_was_known_and_says_why() -> None:
    event = whole()
    failed = event.failed(NotAnImage("no picture"), storage_uri=None)
    assert failed == replace(event, status=FAILED, problem=Problem(NotAnImage.code, "no picture"), storage_uri=None)


# --- the row --------------------------------------------------------------------------------------------------------


def columns(event: ImageEvent) -> dict[str, Any]:
    return {name: value for name, value in event.record(total_ms=7.5, node="a").items() if value is not None}


@pytest.mark.parametrize("status", [ACCEPTED, CLASSIFIED])
def test_only_what_failed_has_an_error_in_its_row(status: str) -> None:
    """An image that passed at the second try keeps the error of the first."""
    row = columns(whole(status))
    assert set(row) == {column.name for column in COLUMNS} - {"error_code", "error_detail"}
    assert (row["total_ms"], row["node"]) == (7.5, "a")


def test_what_failed_has_everything_in_its_row() -> None:
    assert set(columns(whole(FAILED))) == {column.name for column in COLUMNS}


def test_what_was_rejected_keeps_its_origin_and_its_error_and_no_facts() -> None:
    assert set(columns(whole(REJECTED))) == {
        "event_time", "request_id", "status", "error_code", "error_detail", "file_name", "declared_type", "fields",
        "size_bytes", "source_ip", "source_user", "total_ms", "node",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["event_time", "request_id", "status"])
def test_a_row_without_its_key_or_status_is_refused_by_name(name: str) -> None:
    with pytest.raises(RowRejected, match=f"{name} is missing"):
        replace(whole(), **{name: None}).record()


@pytest.mark.parametrize(
    ("event", "message"),
    [
        pytest.param(whole("done"), "status", id="a-status-that-does-not-exist"),
        pytest.param(replace(whole(), classification=Classification(confidence=1.5)), "confidence", id="confidence"),
        pytest.param(replace(whole(), event_time=datetime(2026, 1, 1)), "event_time", id="a-naive-time"),
    ],
)
def test_a_row_that_no_table_could_hold_is_refused(event: ImageEvent, message: str) -> None:
    with pytest.raises(RowRejected, match=message):
        event.record()


@pytest.mark.long
@given(events().filter(lambda event: None not in (event.request_id, event.event_time, event.status)))
def test_any_event_becomes_a_row_or_is_refused(event: ImageEvent) -> None:
    try:
        record = event.record()
    except RowRejected:
        return
    assert (record.request_id, record.event_time, record.status) == (event.request_id, event.event_time, event.status)
    assert record.status == FAILED or record.status == REJECTED or record.error_code is None
