"""PutKuduRecord with the records of images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.kudu.schema import Range
from imagewarehouse.metadata import to_text
from imagewarehouse.nifi import adapter
from imagewarehouse.rows.kudu import image_events
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_processor
from tests.kudu_processor import UTC, MakeTable, Table

# pytest finds fixtures among the names of a module
make_table = kudu_processor.make_table
writer = kudu_processor.writer


# --- image records --------------------------------------------------------------------------------------------------


@pytest.fixture
def images(hosted: Callable[..., Any], kudu: LocalKudu, make_table: MakeTable) -> tuple[Any, Table]:
    table = make_table(exists=False)
    return hosted("PutKuduRecord", {"Kudu Masters": kudu.masters, "Table Name": table.name}), table


def image_attributes() -> dict[str, str]:
    request_id = new_request_id(adapter.now())
    return {"request_id": request_id, "event_time": to_text(event_time(request_id)), "status": "classified",
            "predicted_class": "frog", "confidence": "0.9", "top_k": '[{"class": "frog", "probability": 0.9}]',
            "http.context.identifier": "6f1c0d0e-0000-4000-8000-000000000003"}  # fmt: skip


def test_image_record_is_committed_answered_and_one_row_however_often_it_comes(images: tuple[Any, Table]) -> None:
    host, table = images
    sent = image_attributes()
    for _ in range(2):
        left = host.transform(b"the image", sent)
        assert (left.relationship, left.set["http.response.status"]) == ("success", "200")
        assert left.set["mime.type"] == "application/json"
        answer = json.loads(left.content)
        assert (answer["request_id"], answer["predicted_class"]) == (sent["request_id"], "frog")
    (row,) = table.writer.scan(table.name).to_pylist()
    assert (row["request_id"], row["event_time"]) == (sent["request_id"], event_time(sent["request_id"]))
    assert (row["predicted_class"], row["confidence"]) == ("frog", pytest.approx(0.9))
    assert row["node"]
    assert len(table.writer.ranges(table.name)) >= 3


def test_image_record_that_is_none_is_told_to_who_waits(images: tuple[Any, Table]) -> None:
    host, _ = images
    broken = {**image_attributes(), "confidence": "often"}
    left = host.transform(b"", {**broken, "http.method": "POST"})
    assert (left.relationship, left.set["http.response.status"]) == ("refused", "500")
    assert left.set["mime.type"] == "application/problem+json"
    del broken["http.context.identifier"]
    left = host.transform(b"the image", broken)
    assert (left.relationship, left.content) == ("failure", b"the image")


def test_image_record_waits_on_retry_while_the_cluster_is_away(hosted: Callable[..., Any]) -> None:
    host = hosted(
        "PutKuduRecord", {"Kudu Masters": "127.0.0.1:1", "Admin Timeout": "300 ms", "Retries": "0", "Table Name": "t"}
    )
    waiting = image_attributes()
    refused = host.transform(b"", {**waiting, "http.method": "POST"})
    assert (refused.relationship, refused.set["http.response.status"]) == ("refused", "503")
    assert refused.set["Retry-After"]
    del waiting["http.context.identifier"]
    left = host.transform(b"the image", waiting)
    assert (left.relationship, left.content, left.set) == ("retry", b"the image", {})


def test_months_past_retention_are_dropped(hosted: Callable[..., Any], kudu: LocalKudu, make_table: MakeTable) -> None:
    table = make_table(exists=False)
    old = [datetime(2020, month, 1, tzinfo=UTC) for month in (1, 2)]
    schema = replace(image_events(table.name, replicas=1), policy=None, ranges=(Range((old[0],), (old[1],)),))
    assert table.writer.create(schema)
    host = hosted("PutKuduRecord", {"Kudu Masters": kudu.masters, "Table Name": table.name, "Months to Keep": "2"})
    assert host.transform(b"", image_attributes()).relationship == "success"
    ranges = table.writer.ranges(table.name)
    assert ranges
    assert all(part.lower[0] > old[1] for part in ranges)
