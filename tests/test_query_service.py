"""The query service over an engine that counts: what it costs to be asked often, and what the answers look like."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest

from imagewarehouse.access import READ, SEND, Holder
from imagewarehouse.analytics import service as service_module
from imagewarehouse.analytics.catalog import catalog
from imagewarehouse.analytics.dialects import DuckDb
from imagewarehouse.analytics.engines import Asked
from imagewarehouse.analytics.panels import PANELS
from imagewarehouse.analytics.service import Answer, QueryService, columns_of_panels, list_of_queries
from imagewarehouse.errors import AnalyticsUnavailable, Busy, NoSuchRequest, NotFound
from imagewarehouse.ids import new_request_id
from imagewarehouse.metadata import COLUMNS

NOW = datetime(2026, 6, 10, 13, 30, tzinfo=timezone.utc)
READER, SENDER = Holder("desk", frozenset({READ})), Holder("camera", frozenset({SEND}))
HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\n=x", "\uff1d1", 'quo"ted', "a,b", "line\nbreak", "\u202eevil",
           "研究室", "<script>alert(1)</script>", "'", "", "\U0001f600"]  # fmt: skip


class Counting:
    """An engine that answers as it is told, after a while."""

    def __init__(self, answer: Callable[[Asked], Sequence[tuple[Any, ...]]] = lambda asked: [], takes_s: float = 0.0):
        self.dialect, self.table = DuckDb(), "image_events"
        self.answer, self.takes_s = answer, takes_s
        self.asked: list[Asked] = []
        self.at_once = self.most_at_once = 0
        self.closed = False
        self._lock = threading.Lock()

    def rows(self, asked: Asked) -> Sequence[tuple[Any, ...]]:
        with self._lock:
            self.asked.append(asked)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(self.takes_s)
            return self.answer(asked)
        finally:
            with self._lock:
                self.at_once -= 1

    def close(self) -> None:
        self.closed = True


def run(engine: Counting, work: Callable[[QueryService], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    async def body() -> Any:
        service = QueryService(engine, **{"now": lambda: NOW, **options})
        try:
            return await work(service)
        finally:
            service.close()

    return asyncio.run(body())


def panel(name: str, query: str = "", holder: Holder = READER) -> Callable[[QueryService], Coroutine[Any, Any, Answer]]:
    return lambda service: service.panel(name, query, holder)


# --- the price of being asked -------------------------------------------------------------------------------------


def test_a_hundred_who_ask_the_same_at_once_cost_one_query() -> None:
    engine = Counting(takes_s=0.1)

    async def ask(service: QueryService) -> list[Answer]:
        return list(await asyncio.gather(*(service.panel("rejections", "", READER) for _ in range(100))))

    answers = run(engine, ask)
    assert len(engine.asked) == 1
    assert len({answer.tag for answer in answers}) == 1


def test_an_answer_is_kept_and_says_how_old_it_is() -> None:
    engine = Counting()

    async def ask(service: QueryService) -> list[Answer]:
        first = await service.panel("rejections", "", READER)
        await asyncio.sleep(0.2)
        return [first, await service.panel("rejections", "", READER)]

    first, second = run(engine, ask)
    assert len(engine.asked) == 1
    ages = [json.loads(answer.body)["age_s"] for answer in (first, second)]
    assert 0 <= ages[0] <= ages[1] - 0.2
    assert json.loads(first.body)["as_of"] == json.loads(second.body)["as_of"] == "2026-06-10T13:30:00.000Z"
    assert first.tag == second.tag


def test_what_is_not_over_is_asked_again_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_RUNNING_S", "_RUNNING_MOST_S"):
        monkeypatch.setattr(service_module, name, 0.05)
    engine = Counting()

    async def ask(service: QueryService) -> None:
        for query in ("", "period=yesterday"):
            await service.panel("rejections", query, READER)
            await asyncio.sleep(0.2)
            await service.panel("rejections", query, READER)

    run(engine, ask)
    assert len(engine.asked) == 3  # yesterday is over: once is enough


def test_a_dear_answer_is_renewed_while_those_who_ask_have_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_RUNNING_S", 0.0), ("_RUNNING_MOST_S", 0.0), ("_DEAR_S", 0.0)):
        monkeypatch.setattr(service_module, name, value)
    values, go_on = iter(range(1, 100)), threading.Event()

    def answer(asked: Asked) -> Sequence[tuple[Any, ...]]:
        if len(engine.asked) > 1:
            assert go_on.wait(30)
        return [("failed", "x", next(values), 1)]

    engine = Counting(answer)

    async def ask(service: QueryService) -> list[int]:
        async def images() -> int:
            return int(json.loads((await service.panel("rejections", "", READER)).body)["rows"][0][2])

        found = [await images(), await images()]  # the second while the engine is at it again
        go_on.set()
        while found[-1] == 1:
            await asyncio.sleep(0.01)
            found.append(await images())
        return found

    found = run(engine, ask)
    assert found[:2] == [1, 1]
    assert found[-1] == 2


def test_so_many_queries_run_at_once_and_so_many_wait() -> None:
    engine = Counting(takes_s=0.2)

    async def ask(service: QueryService) -> list[Any]:
        questions = [service.panel("rejections", f"class={number}", READER) for number in range(8)]
        return list(await asyncio.gather(*questions, return_exceptions=True))

    answers = run(engine, ask, at_once=2, waiting=3)
    assert engine.most_at_once == 2
    assert len([answer for answer in answers if isinstance(answer, Answer)]) == 5
    assert [type(answer) for answer in answers if not isinstance(answer, Answer)] == [Busy] * 3


def test_a_query_that_takes_too_long_is_given_up_and_harms_nobody() -> None:
    go_on = threading.Event()

    def answer(asked: Asked) -> Sequence[tuple[Any, ...]]:
        assert go_on.wait(30)
        return []

    engine = Counting(answer)

    async def ask(service: QueryService) -> Answer:
        with pytest.raises(AnalyticsUnavailable, match="longer than 0.1 s"):
            await service.panel("rejections", "", READER)
        go_on.set()
        await asyncio.gather(*service._asking.values())
        return await service.panel("rejections", "", READER)

    run(engine, ask, longest_s=0.1)
    assert len(engine.asked) == 1  # the answer came after all, and was kept


def test_an_engine_that_is_away_is_said_and_not_kept() -> None:
    answers = iter([AnalyticsUnavailable("away"), []])

    def answer(asked: Asked) -> Sequence[tuple[Any, ...]]:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    async def ask(service: QueryService) -> Answer:
        with pytest.raises(AnalyticsUnavailable, match="away"):
            await service.panel("rejections", "", READER)
        return await service.panel("rejections", "", READER)

    assert json.loads(run(Counting(answer), ask).body)["rows"] == []


def test_what_is_kept_has_a_limit() -> None:
    engine = Counting(lambda asked: [("failed", "x" * 1000, 1, 1)])

    async def ask(service: QueryService) -> int:
        for number in range(100):
            await service.panel("rejections", f"class={number}", READER)
        return service._size

    assert 10_000 < run(engine, ask, kept_bytes=20_000) <= 20_000


def test_who_goes_away_ends_the_query_for_nobody_else() -> None:
    engine = Counting(takes_s=0.2)

    async def ask(service: QueryService) -> Answer:
        going = asyncio.create_task(service.panel("rejections", "", READER))
        staying = asyncio.create_task(service.panel("rejections", "", READER))
        await asyncio.sleep(0.05)
        going.cancel()
        return await staying

    run(engine, ask)
    assert len(engine.asked) == 1


def test_the_engine_is_closed_with_the_service() -> None:
    engine = Counting()
    run(engine, panel("rejections"))
    assert engine.closed


# --- the answers --------------------------------------------------------------------------------------------------


def test_every_panel_says_its_columns_before_it_is_asked() -> None:
    listed = json.loads(list_of_queries())["queries"]
    assert [one["name"] for one in listed] == list(PANELS)
    for one in listed:
        answer = json.loads(run(Counting(), panel(one["name"])).body)
        assert answer["columns"] == one["columns"]
        assert answer["question"] == one["question"]
        assert one["question"].endswith("?")
    assert set(columns_of_panels()) == set(PANELS)


@pytest.mark.parametrize("name", PANELS)
def test_json_has_the_period_and_when_it_was_asked(name: str) -> None:
    answer = run(Counting(), panel(name, "period=yesterday&tz=Asia/Kathmandu"))
    assert answer.media_type == "application/json"
    body = json.loads(answer.body)
    assert list(body) == ["name", "question", "period", "columns", "rows", "facts", "as_of", "age_s"]
    assert body["period"] == {
        "name": "yesterday", "since": "2026-06-09T00:00:00.000+05:45", "until": "2026-06-10T00:00:00.000+05:45",
        "before": "2026-06-08T00:00:00.000+05:45", "before_until": "2026-06-09T00:00:00.000+05:45", "tz": "Asia/Kathmandu",
    }  # fmt: skip


def test_the_tag_changes_with_the_figures_alone() -> None:
    count = iter([1, 1, 2])
    engine = Counting(lambda asked: [("failed", "x", next(count), 1)])
    moments = iter(NOW + timedelta(seconds=n) for n in range(100))

    async def ask(service: QueryService) -> list[str]:
        tags = []
        for _ in range(3):
            tags.append((await service.panel("rejections", "", READER)).tag)
            service._kept.clear()
        return tags

    first, second, third = run(engine, ask, now=lambda: next(moments))
    assert first == second != third


def test_another_format_has_another_tag() -> None:
    tags = {run(Counting(), panel("rejections", f"format={form}")).tag for form in ("json", "csv", "arrow")}
    assert len(tags) == 3


def hostile_rows(asked: Asked) -> Sequence[tuple[Any, ...]]:
    return [("failed", text, 100 - number, 1) for number, text in enumerate(HOSTILE)]


def test_json_has_every_text_as_it_is() -> None:
    body = json.loads(run(Counting(hostile_rows), panel("rejections")).body)
    assert [row[1] for row in body["rows"]] == HOSTILE


def test_csv_has_no_formula_and_is_otherwise_as_it_is() -> None:
    answer = run(Counting(hostile_rows), panel("rejections", "format=csv"))
    assert answer.media_type == "text/csv; charset=utf-8; header=present"
    head, *rows = csv.reader(io.StringIO(answer.body.decode(), newline=""))
    assert head == ["status", "error_code", "images", "sources"]
    assert [row[1].removeprefix("'") for row in rows] == [text.removeprefix("'") for text in HOSTILE]
    assert not [row[1] for row in rows if row[1][:1] in tuple("=+-@\t\r\n\uff1d")]
    assert [row[2] for row in rows] == [str(100 - number) for number in range(len(HOSTILE))]


def test_csv_leaves_negative_numbers_alone() -> None:
    empty = iter([[(5, 0, 0, 0, 0, 0, 0, None, 0)], [(0,)], [(10, 0, 0, 0, 0, 0, 0, None, 0)], [(0,)]])
    answer = run(Counting(lambda asked: next(empty)), panel("totals", "format=csv"))
    assert answer.body.decode().splitlines()[1] == "images,5,10,-0.5"


def test_arrow_has_types_units_and_what_it_is_about() -> None:
    answer = run(Counting(hostile_rows), panel("rejections", "format=arrow&period=yesterday"))
    assert answer.media_type == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(answer.body).read_all()
    assert table["error_code"].to_pylist() == HOSTILE
    assert table.schema.field("images").type == pa.int64()
    assert table.schema.field("images").metadata == {b"unit": b"images"}
    assert json.loads(table.schema.metadata[b"period"])["name"] == "yesterday"


@pytest.mark.parametrize("name", PANELS)
def test_arrow_has_the_same_types_without_rows(name: str) -> None:
    table = pa.ipc.open_stream(run(Counting(), panel(name, "format=arrow")).body).read_all()
    assert [(field.name, field.metadata[b"unit"].decode()) for field in table.schema] == [
        (column.name, column.unit) for column in columns_of_panels()[name]
    ]


def test_times_are_times_in_arrow() -> None:
    rows = [("camera", None, 1, 0, 0, None, NOW, 1)]
    table = pa.ipc.open_stream(run(Counting(lambda asked: rows), panel("sources", "format=arrow")).body).read_all()
    assert table["last_seen"].cast(pa.int64()).to_pylist() == [int(NOW.timestamp() * 1e6)]


def test_an_unknown_query_names_those_there_are() -> None:
    with pytest.raises(NotFound, match="no such query: '<b>'; there are totals, classes"):
        run(Counting(), panel("<b>"))


# --- one request, and whose rows ----------------------------------------------------------------------------------


def record_of(request_id: str) -> Callable[[Asked], Sequence[tuple[Any, ...]]]:
    columns = catalog()["request"].columns
    values = dict.fromkeys(columns) | {
        "event_time": NOW, "request_id": request_id, "status": "classified", "predicted_class": "cat",
        "top_k": '[{"class": "cat", "probability": 0.9}]', "notes": "no json", "confidence": 0.9,
    }  # fmt: skip
    return lambda asked: [tuple(values.values())] if request_id in asked.sql else []


def test_a_request_is_its_whole_record() -> None:
    assert list(catalog()["request"].columns) == [c.name for c in COLUMNS if c.name != "embedding"]
    request_id = new_request_id(NOW)
    engine = Counting(record_of(request_id))
    answer = run(engine, lambda service: service.request(request_id.upper(), "", READER))
    body = json.loads(answer.body)
    assert (body["request_id"], body["event_time"]) == (request_id, "2026-06-10T13:30:00.000000Z")
    assert body["notes"] == "no json"  # of a row that somebody else wrote
    (asked,) = engine.asked
    assert asked.period.until - asked.period.since == timedelta(milliseconds=1)
    assert asked.period.since <= NOW < asked.period.until


def test_a_request_that_is_not_there_is_not_kept() -> None:
    engine = Counting()

    async def ask(service: QueryService) -> None:
        for _ in range(2):
            with pytest.raises(NoSuchRequest):
                await service.request(new_request_id(NOW), "", READER)
        assert not service._kept

    run(engine, ask)
    assert len(engine.asked) == 2


@pytest.mark.parametrize("name", PANELS)
def test_a_key_that_may_only_send_asks_for_its_own_rows(name: str) -> None:
    engine = Counting()
    run(engine, panel(name, "", SENDER))
    assert engine.asked
    for asked in engine.asked:
        assert asked.sql.count("source_user IN ('camera')") == asked.sql.count("event_time >= ")
        assert "source_user" in asked.columns


def test_a_key_that_may_only_send_has_answers_of_its_own() -> None:
    request_id = new_request_id(NOW)
    engine = Counting(lambda asked: [] if "'camera'" in asked.sql else record_of(request_id)(asked))

    async def ask(service: QueryService) -> None:
        await service.request(request_id, "", READER)
        with pytest.raises(NoSuchRequest):
            await service.request(request_id, "", SENDER)
        await service.panel("rejections", "", READER)
        await service.panel("rejections", "", SENDER)

    run(engine, ask)
    assert len(engine.asked) == 4


def test_the_drift_is_from_the_training_of_the_model_that_is_served_now() -> None:
    mixes = iter([{"cat": 10}, {"dog": 5}])

    async def ask(service: QueryService) -> list[Any]:
        found = []
        for _ in range(2):
            found.append(json.loads((await service.panel("drift", "", READER)).body)["rows"])
            service._kept.clear()
        return found

    first, second = run(Counting(), ask, training=lambda: next(mixes))
    assert first == [["cat", None, None, 1.0]]
    assert second == [["dog", None, None, 1.0]]
