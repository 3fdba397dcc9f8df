"""What holds when things go wrong between PutKuduRecord and a real Kudu: nothing lost, nothing doubled, one clear error
each."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagewarehouse.errors import KuduUnavailable, WarehouseError
from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings, KuduWriter
from imagewarehouse.kudu.records.convert import IGNORE, to_batch
from imagewarehouse.kudu.records.mapping import Rows
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, Range, RangePolicy, TableSchema
from imagewarehouse.kudu.writing.ranges import range_of
from imagewarehouse.kudu.writing.sink import SinkSettings, TableSink
from imagewarehouse.kudu.writing.tables import KuduTables, Put
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.conftest import Hosted, Left, until
from tests.kudu_tables import arrow_bytes, new_schema, stored
from tests.running import Service
from tests.test_service import TEST_IMAGES, needs_data, send

AWAITED = {"http.context.identifier": "6f1c0d0e-0000-4000-8000-000000000002", "http.method": "POST"}
QUICK = {"Operation Timeout": "2 sec", "Admin Timeout": "2 sec", "Retries": "0", "Retry Back-off": "100 ms"}
PRESENT, MISSING, NO_RANGE = "kudu.already_present", "kudu.not_found", "kudu.no_range_partition"

KEY = KuduColumn("key", KuduType.INT64, key=True)
TEXT = KuduColumn("text", KuduType.STRING, nullable=True)
NUMBER = KuduColumn("number", KuduType.INT32, nullable=True)
DECLARED = json.dumps(
    {
        "columns": [
            {"name": "key", "type": "int64", "key": True},
            {"name": "text", "type": "string", "nullable": True},
        ],
        "hash": [{"columns": ["key"], "buckets": 4}],
    }
)

Host = Callable[..., Hosted]
Record = dict[str, Any]


@pytest.fixture
def cluster(kudu: LocalKudu, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKudu]:
    """A Kudu of the test's own, to kill; `kudu` only tells whether there can be one."""
    with LocalKudu(tmp_path_factory.mktemp("cluster"), never_fsync=True) as running:
        yield running


@pytest.fixture
def open_writer() -> Iterator[Callable[..., KuduWriter]]:
    opened: list[KuduWriter] = []

    def make(masters: str, **chosen: Any) -> KuduWriter:
        opened.append(connect(KuduSettings(masters, **{"operation_timeout_s": 5.0, "admin_timeout_s": 5.0, **chosen})))
        return opened[-1]

    yield make
    for writer in opened:
        writer.close()


@pytest.fixture
def writer(kudu: LocalKudu, open_writer: Callable[..., KuduWriter]) -> KuduWriter:
    """Another client of the cluster that all tests share."""
    return open_writer(kudu.masters)


@pytest.fixture
def put(hosted: Host, kudu: LocalKudu) -> Callable[..., Hosted]:
    """A processor for the contents of FlowFiles; properties by their names with _ for a blank."""

    def build(table: str, masters: str = "", **properties: str) -> Hosted:
        chosen = {name.replace("_", " "): value for name, value in properties.items()}
        return hosted(
            "PutKuduRecord",
            {
                "Kudu Masters": masters or kudu.masters,
                "Record Source": "content",
                "Table Name": table,
                **QUICK,
                **chosen,
            },
        )

    return build


def fresh(*columns: KuduColumn, key: Sequence[KuduColumn] = (KEY,), **more: Any) -> TableSchema:
    """A table of these columns behind the key, with a name of its own."""
    return new_schema(key, columns, **more)


def make(writer: KuduWriter, *columns: KuduColumn, **more: Any) -> str:
    schema = fresh(*columns, **more)
    assert writer.create(schema)
    return schema.name


def content(records: Sequence[Record]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def records_of(data: bytes | None) -> list[Record]:
    return [json.loads(line) for line in (data or b"").splitlines()]


def reported(left: Left) -> list[tuple[int, str]]:
    """Number and code of each row of a report, each with one line of text."""
    assert left.relationship == "bad rows", (left.relationship, left.set)
    lines = records_of(left.content)
    assert int(left.set["bad.count"]) == len(lines)
    for line in lines:
        assert line["error_detail"].isprintable()
        assert 10 <= len(line["error_detail"]) <= 400, line["error_detail"]
    return [(line["row"], line["error_code"]) for line in lines]


def rows_of(records: Sequence[Record], operation: Operation = Operation.UPSERT) -> Rows:
    return Rows(range(len(records)), np.full(len(records), operation, dtype=np.uint8), list(records))


# --- load: FlowFiles from several threads, those on retry tried again as NiFi does ------------------------------------


@dataclass
class Load:
    """Writes FlowFiles without end until it is stopped. `sent`: what each table has to hold by then."""

    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)
    sent: dict[str, dict[Any, str]] = field(default_factory=dict)
    lefts: list[tuple[str, str]] = field(default_factory=list)  # relationship and error code of every try
    defects: list[BaseException] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def contents(self, processor: Hosted, table: str, threads: int, rows: int = 5) -> Load:
        def one() -> None:
            first = next(self.numbers) * rows
            records = [{"key": key, "text": f"text of {key}"} for key in range(first, first + rows)]
            self.sent.setdefault(table, {}).update((r["key"], r["text"]) for r in records)
            self._deliver(processor, content(records), {})

        return self._start(one, threads)

    def images(self, processor: Hosted, record: Callable[..., ImageRecord], threads: int) -> Load:
        def one() -> None:
            made = record(file_name=f"{next(self.numbers)}.png")
            self.sent.setdefault("image_events", {})[made.request_id] = made.file_name or ""
            self._deliver(processor, b"the image", made.as_attributes())

        return self._start(one, threads)

    def count(self, relationship: str) -> int:
        return sum(left == relationship for left, _ in self.lefts)

    def more(self, relationship: str, number: int, seconds: float = 20.0) -> bool:
        """Whether so many more FlowFiles leave that way in time."""
        wanted = self.count(relationship) + number
        return until(lambda: self.count(relationship) >= wanted or bool(self.defects), seconds) and not self.defects

    def finish(self, seconds: float = 40.0) -> None:
        """Let every FlowFile come to its end."""
        self.stop.set()
        end = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
        assert not self.defects, self.defects
        assert not any(thread.is_alive() for thread in self.threads), "a FlowFile is still on its way"

    def check(self, writer: KuduWriter, *, refusals: frozenset[str] = frozenset()) -> None:
        """Exactly what was sent is there, and nothing left in a way it should not."""
        assert {left for left in self.lefts if left[0] not in ("success", "retry")} <= {
            ("bad rows", c) for c in refusals
        }
        for table, expected in self.sent.items():
            names = ("request_id", "file_name") if table == "image_events" else ("key", "text")
            found = stored(writer, table, *names)
            assert len(found) == len(expected), f"{table}: {len(found)} rows, {len(expected)} were sent"
            assert dict(found) == expected

    def _start(self, one: Callable[[], None], threads: int) -> Load:
        def work() -> None:
            try:
                while not self.stop.wait(0.02):
                    one()
            except BaseException as err:  # told by finish()
                self.defects.append(err)

        started = [threading.Thread(target=work) for _ in range(threads)]
        self.threads += started
        for thread in started:
            thread.start()
        return self

    def _deliver(self, processor: Hosted, data: bytes | None, attributes: dict[str, str]) -> None:
        while True:
            left = processor.transform(data, attributes)
            self.lefts.append((left.relationship, left.set.get("error_code", "")))
            if left.relationship != "retry":
                return
            data = left.content
            threading.Event().wait(0.05)  # NiFi penalizes it


# --- servers that die and servers that hang ---------------------------------------------------------------------------

KILL, PAUSE = "killed", "paused"


def _down(cluster: LocalKudu, server: str, how: str) -> None:
    if how == PAUSE:
        cluster.pause(server)
    elif server == "master":
        cluster.kill_master()
    else:
        cluster.kill_tserver(int(server.partition("-")[2]))


def _up(cluster: LocalKudu, server: str, how: str) -> None:
    if how == PAUSE:
        cluster.resume(server)
    elif server == "master":
        cluster.start_master()
    else:
        cluster.start_tserver(int(server.partition("-")[2]))


@pytest.mark.parametrize("how", [KILL, PAUSE])
def test_every_row_is_there_once_though_the_tablet_server_was_away_under_load(
    cluster: LocalKudu, put: Callable[..., Hosted], hosted: Host, record: Callable[..., ImageRecord],
    open_writer: Callable[..., KuduWriter], how: str,
) -> None:  # fmt: skip
    load = Load()
    for operation in ("UPSERT", "INSERT_IGNORE", "INSERT"):
        table = operation.lower()
        processor = put(table, cluster.masters, Operation=operation, Table_Schema=DECLARED)
        load.contents(processor, table, threads=2)
    load.images(hosted("PutKuduRecord", {"Kudu Masters": cluster.masters, **QUICK}), record, threads=2)
    try:
        assert load.more("success", 200), load.defects
        _down(cluster, "tserver-0", how)
        assert load.more("retry", 8)
        _up(cluster, "tserver-0", how)
        assert load.more("success", 200)
    finally:
        load.finish()
    # An INSERT whose answer was lost is refused at its second try, and the row is there.
    load.check(open_writer(cluster.masters), refusals=frozenset({PRESENT}))


def test_nothing_needs_a_retry_while_one_of_three_tablet_servers_dies(
    kudu: LocalKudu, tmp_path_factory: pytest.TempPathFactory, put: Callable[..., Hosted],
    open_writer: Callable[..., KuduWriter],
) -> None:  # fmt: skip
    with LocalKudu(tmp_path_factory.mktemp("three"), tservers=3, never_fsync=True) as cluster:
        declared = json.dumps({**json.loads(DECLARED), "replicas": 3})
        processor = put("t", cluster.masters, Table_Schema=declared, Operation_Timeout="15 sec", Admin_Timeout="15 sec")
        load = Load().contents(processor, "t", threads=8)
        try:
            assert load.more("success", 100), load.defects
            cluster.kill_tserver(1)
            assert load.more("success", 500, 30)
        finally:
            load.finish()
        assert set(load.lefts) == {("success", "")}
        load.check(open_writer(cluster.masters))


# RowWriter sends batch after batch although one got no answer.


def test_large_flow_file_waits_no_longer_than_a_small_one_while_the_tablet_server_hangs(
    cluster: LocalKudu, put: Callable[..., Hosted]
) -> None:
    processor = put("t", cluster.masters, Table_Schema=DECLARED, Operation_Timeout="1 sec")
    assert processor.transform(content([{"key": 1}])).relationship == "success"
    cluster.pause("tserver-0")
    try:
        begun = time.monotonic()
        left = processor.transform(content([{"key": key} for key in range(20_000)]))
        taken = time.monotonic() - begun
    finally:
        cluster.resume("tserver-0")
    assert left.relationship == "retry"
    assert taken < 6, "each of its batches waited for its own time-out"


@pytest.mark.parametrize("retries", ["0", "1"])
def test_last_row_of_a_key_wins_though_the_first_one_was_tried_again(
    cluster: LocalKudu, put: Callable[..., Hosted], open_writer: Callable[..., KuduWriter], retries: str
) -> None:
    processor = put("t", cluster.masters, Table_Schema=DECLARED, Operation_Timeout="1 sec", Retries=retries)
    assert processor.transform(content([{"key": 1}])).relationship == "success"
    others = [{"key": key, "text": "x"} for key in range(100, 1200)]  # more than a batch between the two
    data: bytes | None = content([{"key": 1, "text": "old"}, *others, {"key": 1, "text": "new"}])
    lefts: list[Left] = []
    thread = threading.Thread(target=lambda: lefts.append(processor.transform(data)))
    cluster.pause("tserver-0")
    try:
        thread.start()
        thread.join(1.5)  # the first batch has timed out by then, the second one is on its way
    finally:
        cluster.resume("tserver-0")
        thread.join()
    while lefts[-1].relationship == "retry":
        lefts.append(processor.transform(lefts[-1].content))
    assert lefts[-1].relationship == "success"
    assert dict(stored(open_writer(cluster.masters), "t"))[1] == "new"


@pytest.mark.parametrize("how", [KILL, PAUSE])
def test_open_tables_are_written_while_the_master_is_away_and_others_wait(
    cluster: LocalKudu, put: Callable[..., Hosted], open_writer: Callable[..., KuduWriter], how: str
) -> None:
    load = Load().contents(put("t", cluster.masters, Table_Schema=DECLARED, Operation_Timeout="10 sec"), "t", threads=4)
    new = put("${table}", cluster.masters, Table_Schema=DECLARED)
    one = content([{"key": 1, "text": "a"}])
    try:
        assert load.more("success", 50), load.defects
        assert new.transform(one, {"table": "known"}).relationship == "success"
        _down(cluster, "master", how)
        begun = time.monotonic()
        left = new.transform(one, {"table": "unknown"})
        assert time.monotonic() - begun < 2 + 2
        assert (left.relationship, left.content, left.set) == ("retry", one, {})
        assert new.transform(one, {"table": "known"}).relationship == "success"
        assert load.more("success", 100)
        _up(cluster, "master", how)
        assert until(lambda: new.transform(one, {"table": "unknown"}).relationship == "success")
    finally:
        load.finish()
    assert set(load.lefts) == {("success", "")}
    writer = open_writer(cluster.masters)
    load.check(writer)
    assert stored(writer, "unknown") == [(1, "a")]


def test_tasks_that_wait_for_a_table_wait_no_longer_than_one_of_them_would(put: Callable[..., Hosted]) -> None:
    for source in ("content", "attributes"):
        processor = put("t", "127.0.0.1:1", Record_Source=source)
        lefts: list[str] = []

        def one(processor: Hosted = processor, lefts: list[str] = lefts) -> None:
            lefts.append(processor.transform(b'{"key": 1}', {"key": "1"}).relationship)

        threads = [threading.Thread(target=one) for _ in range(8)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert lefts == ["retry"] * 8
        assert time.monotonic() - begun < 2 * 2 + 2, source  # those who came first, and then all others


def test_a_kudu_that_is_away_delays_neither_start_nor_stop(hosted: Host, put: Callable[..., Hosted]) -> None:
    away = {"Kudu Masters": "127.0.0.1:1", "Admin Timeout": "60 sec"}
    for processor in (hosted("PutKuduRecord", {**QUICK, **away}), put("t", "127.0.0.1:1", Admin_Timeout="60 sec")):
        begun = time.monotonic()
        processor.host.schedule()
        processor.host.stop()
        assert time.monotonic() - begun < 20


@pytest.mark.parametrize("call", ["schema", "create", "add_columns", "write"])
def test_call_that_is_under_way_ends_when_the_connection_is_closed(
    cluster: LocalKudu, open_writer: Callable[..., KuduWriter], call: str
) -> None:
    table = make(open_writer(cluster.masters), TEXT)
    writer = open_writer(cluster.masters, admin_timeout_s=2.0, operation_timeout_s=2.0)
    batch, _, _ = Put(table, rows_of([{"key": 1}])).batch(writer.schema(table), [0])
    calls: dict[str, Callable[[], Any]] = {
        "schema": lambda: writer.schema("none"),
        "create": lambda: writer.create(fresh(TEXT)),
        "add_columns": lambda: writer.add_columns(table, [NUMBER]),
        "write": lambda: [failure.error for failure in writer.write(table, [batch])],
    }
    found: list[Any] = []

    def one() -> None:
        try:
            found.extend(calls[call]() or ["an answer"])
        except WarehouseError as err:
            found.append(err)

    for server in ("master", "tserver-0"):
        cluster.pause(server)
    try:
        thread = threading.Thread(target=one, daemon=True)
        thread.start()
        thread.join(0.3)  # on its way
        writer.close()
        thread.join(20)
    finally:
        for server in ("master", "tserver-0"):
            cluster.resume(server)
    assert [type(error) for error in found] == [KuduUnavailable]


def test_a_kudu_that_comes_up_later_is_found(
    cluster: LocalKudu, put: Callable[..., Hosted], hosted: Host, record: Callable[..., ImageRecord],
    open_writer: Callable[..., KuduWriter],
) -> None:  # fmt: skip
    masters = cluster.masters
    cluster.stop()
    images = hosted("PutKuduRecord", {"Kudu Masters": masters, **QUICK, "Admin Timeout": "1 sec"})
    rows = put("t", masters, Table_Schema=DECLARED, Admin_Timeout="1 sec")
    for processor in (images, rows):
        processor.host.schedule()
    made = record(file_name="1.png").as_attributes()
    left = images.transform(b"the image", {**made, **AWAITED})
    assert left.relationship == "refused"
    problem = json.loads(left.content or b"")
    assert (problem["status"], problem["error_code"], problem["request_id"]) == (
        503, "kudu.unavailable", made["request_id"],
    )  # fmt: skip
    assert masters not in str(problem)
    assert left.set["http.response.status"] == "503"
    assert int(left.set["Retry-After"]) > 0
    left = images.transform(b"the image", made)
    assert (left.relationship, left.content, left.set) == ("retry", b"the image", {})
    one = content([{"key": 1, "text": "a"}])
    assert rows.transform(one).relationship == "retry"
    with cluster:
        assert until(lambda: images.transform(b"the image", made).relationship == "success")
        assert until(lambda: rows.transform(one).relationship == "success")
        writer = open_writer(masters)
        assert stored(writer, "image_events", "request_id", "file_name") == [(made["request_id"], "1.png")]
        assert stored(writer, "t") == [(1, "a")]


# --- tables that others alter -----------------------------------------------------------------------------------------


def drop(kudu: LocalKudu, writer: KuduWriter, table: str) -> None:
    """Until its tablets are gone, too: for some milliseconds they still take rows, which then go with them."""
    writer.drop(table)
    ports = json.loads((kudu.folder / "ports.json").read_text())
    server = f"127.0.0.1:{ports['tserver-0'][0]}"
    assert until(lambda: table not in kudu.cli("remote_replica", "list", server))


WITH_TEXT = content([{"key": 1, "text": "a"}, {"key": 2, "text": "b"}])


def test_columns_of_image_records_come_back_when_somebody_drops_them_under_load(
    cluster: LocalKudu, hosted: Host, record: Callable[..., ImageRecord], open_writer: Callable[..., KuduWriter]
) -> None:
    nodes = [hosted("PutKuduRecord", {"Kudu Masters": cluster.masters, **QUICK}) for _ in range(2)]
    load = Load()
    for node in nodes:
        load.images(node, record, threads=4)
    writer = open_writer(cluster.masters)
    try:
        assert load.more("success", 100), load.defects
        writer.add_columns("image_events", [KuduColumn("note", KuduType.STRING, nullable=True)])
        assert load.more("success", 100)
        for name in ("file_name", "image_id"):
            cluster.cli("table", "delete_column", cluster.masters, "image_events", name)
            assert load.more("success", 100)
    finally:
        load.finish()
    assert set(load.lefts) <= {("success", ""), ("retry", "")}  # the latter where nodes alter it at once
    names = {column.name for column in writer.schema("image_events", refresh=True).columns}
    assert {"file_name", "image_id", "note"} <= names
    found = stored(writer, "image_events", "request_id")
    assert [request_id for (request_id,) in found] == sorted(load.sent["image_events"])
    made = record(file_name="after.png")
    assert nodes[0].transform(b"", made.as_attributes()).relationship == "success"
    assert (made.request_id, "after.png") in stored(writer, "image_events", "request_id", "file_name")


def test_column_that_is_dropped_costs_the_rows_that_carry_it(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = make(writer, TEXT, NUMBER)
    processor = put(table)
    assert processor.transform(WITH_TEXT).relationship == "success"
    kudu.cli("table", "delete_column", kudu.masters, table, "text")
    rows = [{"key": 3, "text": "c"}, {"key": 4, "number": 4}, {"key": 5, "text": "e"}, {"key": 6, "number": 6}]
    assert reported(processor.transform(content(rows))) == [(0, "kudu.unknown_column"), (2, "kudu.unknown_column")]
    writer.schema(table, refresh=True)
    assert stored(writer, table) == [(1, None), (2, None), (4, 4), (6, 6)]


@pytest.mark.parametrize("unknown", ["refuse", "add columns"])
def test_column_that_comes_back_with_another_type_takes_what_fits_it(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted], unknown: str
) -> None:
    table = make(writer, TEXT, NUMBER)
    processor = put(table, Unknown_Fields=unknown)
    assert processor.transform(WITH_TEXT).relationship == "success"
    kudu.cli("table", "delete_column", kudu.masters, table, "text")
    writer.add_columns(table, [KuduColumn("text", KuduType.INT32, nullable=True)])
    rows = [{"key": 3, "text": "c"}, {"key": 4, "number": 4}, {"key": 5, "text": "5"}]
    assert reported(processor.transform(content(rows))) == [(0, "kudu.wrong_value")]
    writer.schema(table, refresh=True)
    assert stored(writer, table) == [(1, None, None), (2, None, None), (4, 4, None), (5, None, 5)]


def test_column_that_is_dropped_is_added_again_where_that_was_asked_for(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = make(writer, TEXT, NUMBER)
    adds, declares = put(table, Unknown_Fields="add columns"), put(table, Table_Schema=DECLARED)
    for processor, key in ((adds, 3), (declares, 4)):
        assert processor.transform(WITH_TEXT).relationship == "success"
        kudu.cli("table", "delete_column", kudu.masters, table, "text")
        left = processor.transform(content([{"key": key, "text": "x"}]))
        assert (left.relationship, left.set["record.count"]) == ("success", "1")
        writer.schema(table, refresh=True)
        assert (key, "x") in stored(writer, table, "key", "text")


def test_required_column_that_is_new_refuses_rows_without_it_one_by_one(
    writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = make(writer, TEXT)
    processor = put(table)
    assert processor.transform(WITH_TEXT).relationship == "success"
    writer.add_columns(table, [KuduColumn("number", KuduType.INT32, default=7)])
    assert processor.transform(content([{"key": 3, "text": "c"}])).relationship == "success"
    assert stored(writer, table) == [(1, "a", 7), (2, "b", 7), (3, "c", 7)]
    rows = [{"key": 4, "number": 4}, {"key": 5, "number": None}]
    assert reported(put(table).transform(content(rows))) == [(1, "kudu.missing_value")]


@pytest.mark.parametrize(
    ("columns", "rows", "refused", "found"),
    [
        pytest.param(
            (NUMBER,), [{"key": 3, "text": "c"}, {"key": 4}], [(0, "kudu.unknown_column")], [(4, None)], id="columns"
        ),
        pytest.param(
            (KuduColumn("text", KuduType.INT16),),
            [{"key": 3, "text": "c"}, {"key": 4, "text": 4}, {"key": 5}],
            [(0, "kudu.wrong_value"), (2, "kudu.missing_value")],
            [(4, 4)],
            id="types",
        ),
        pytest.param((TEXT,), [{"key": 3, "text": "c"}], [], [(3, "c")], id="nothing"),
    ],
)
def test_table_that_is_made_anew_while_it_is_open_is_taken_as_it_is_then(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted], columns: tuple[KuduColumn, ...], rows: list[Record],
    refused: list[tuple[int, str]], found: list[tuple[Any, ...]],
) -> None:  # fmt: skip
    table = make(writer, TEXT)
    processor = put(table)
    assert processor.transform(WITH_TEXT).relationship == "success"
    drop(kudu, writer, table)
    changed = fresh(*columns)
    assert writer.create(TableSchema(table, changed.columns, changed.hashes, replicas=1))
    left = processor.transform(content(rows))
    assert (reported(left) if refused else left.relationship) == (refused or "success")
    assert stored(writer, table) == found


def test_table_that_is_dropped_is_made_again_where_it_is_declared(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = f"test_{uuid.uuid4().hex}"
    processor = put(table, Table_Schema=DECLARED)
    for _ in range(2):
        assert processor.transform(WITH_TEXT).relationship == "success"
        writer.schema(table, refresh=True)
        assert stored(writer, table) == [(1, "a"), (2, "b")]
        drop(kudu, writer, table)


@pytest.mark.parametrize("source", ["content", "attributes"])
def test_flow_file_for_a_table_that_is_gone_fails_whole_until_there_is_one(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted], source: str
) -> None:
    table = make(writer, TEXT)
    processor = put(table, Record_Source=source)
    attributes = {"key": "1", "text": "a", "uuid": "of no column"}
    assert processor.transform(WITH_TEXT, attributes).relationship == "success"
    drop(kudu, writer, table)
    for _ in range(2):
        left = processor.transform(WITH_TEXT, attributes)
        assert (left.relationship, left.set["error_code"]) == ("failure", "kudu.table_missing")
        assert table in left.set["error_detail"]
        assert left.set["error_detail"].isprintable()
    assert writer.create(TableSchema(table, (KEY, TEXT), (HashPartition(("key",), 2),), replicas=1))
    assert processor.transform(WITH_TEXT, attributes).relationship == "success"


def test_table_that_is_dropped_fails_a_flow_file_whole_though_some_of_its_records_are_bad(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = make(writer, TEXT)
    processor = put(table)
    mixed = content([{"key": 1, "text": "a"}, {"key": "not a number"}])
    assert reported(processor.transform(mixed)) == [(1, "kudu.wrong_value")]
    drop(kudu, writer, table)
    left = processor.transform(mixed)
    assert (left.relationship, left.set["error_code"]) == ("failure", "kudu.table_missing")


def test_declared_table_of_another_shape_is_a_setting_to_change(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    other_key = make(writer, key=(KuduColumn("id", KuduType.STRING, key=True),))
    other_type = make(writer, KuduColumn("text", KuduType.INT32, nullable=True))
    for table, said in ((other_key, "has the key id, expected key"), (other_type, "text of table")):
        left = put(table, Table_Schema=DECLARED).transform(WITH_TEXT)
        assert (left.relationship, left.set["error_code"]) == ("failure", "configuration")
        assert said in left.set["error_detail"]
        assert writer.count(table) == 0


# --- rows that are wrong ----------------------------------------------------------------------------------------------

BAD_CELLS = (
    KuduColumn("name", KuduType.STRING),
    KuduColumn("short", KuduType.VARCHAR, length=5, nullable=True),
    KuduColumn("raw", KuduType.BINARY, nullable=True),
    KuduColumn("small", KuduType.INT8, nullable=True),
    KuduColumn("yes", KuduType.BOOL, nullable=True),
    KuduColumn("price", KuduType.DECIMAL, precision=5, scale=2, nullable=True),
    KuduColumn("day", KuduType.DATE, nullable=True),
    KuduColumn("at", KuduType.UNIXTIME_MICROS, nullable=True),
    KuduColumn("ratio", KuduType.FLOAT, nullable=True),
    KuduColumn("once", KuduType.STRING, nullable=True, immutable=True),
)
WRONG: dict[str, tuple[Record, str]] = {
    "no-key": ({"key": None}, "kudu.missing_value"),
    "key-of-text": ({"key": "ten"}, "kudu.wrong_value"),
    "key-out-of-range": ({"key": 2**63}, "kudu.wrong_value"),
    "required-null": ({"name": None}, "kudu.missing_value"),
    "string-too-long": ({"name": "x" * 65537}, "kudu.cell_too_long"),
    "string-too-long-in-utf-8": ({"name": "ä" * 32769}, "kudu.cell_too_long"),
    "varchar-too-long": ({"short": "äöüßéx"}, "kudu.cell_too_long"),
    "binary-too-long": ({"raw": "x" * 65537}, "kudu.cell_too_long"),
    "integer-too-large": ({"small": 128}, "kudu.wrong_value"),
    "integer-with-fraction": ({"small": 1.5}, "kudu.wrong_value"),
    "bool-of-number": ({"yes": 1}, "kudu.wrong_value"),
    "decimal-too-large": ({"price": 1000}, "kudu.wrong_value"),
    "decimal-too-fine": ({"price": "0.001"}, "kudu.wrong_value"),
    "day-that-is-none": ({"day": "2026-02-30"}, "kudu.wrong_value"),
    "time-that-is-none": ({"at": "2026-01-01T25:00"}, "kudu.wrong_value"),
    "number-that-only-infinity-is-near-to": ({"ratio": 1e39}, "kudu.wrong_value"),
    "unknown-field": ({"nmae": "x"}, "kudu.unknown_column"),
    "list": ({"small": [1]}, "kudu.wrong_value"),
    "lines": ({"small": "a\nb\r\x1b[31m\u2028c"}, "kudu.wrong_value"),
}


def test_each_wrong_value_costs_its_row_only_and_passes_once_it_is_corrected(
    writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = make(writer, *BAD_CELLS)
    processor = put(table, Operation="INSERT")
    rows: list[Record] = [{"key": key, "name": f"good {key}"} for key in range(5 * len(WRONG))]
    for number, (wrong, _) in enumerate(WRONG.values()):
        rows[5 * number + 2].update(wrong)
    left = processor.transform(content(rows))
    expected = [(5 * number + 2, code) for number, (_, code) in enumerate(WRONG.values())]
    assert reported(left) == expected
    assert left.set["record.count"] == str(4 * len(WRONG))
    bad = {number for number, _ in expected}
    good = {key for key in range(len(rows)) if key not in bad}
    assert {key for (key,) in stored(writer, table, "key")} == good
    # What the report repeats of a record is the record: corrected, it can be sent again.
    again = []
    for line, (wrong, _) in zip(records_of(left.content), WRONG.values(), strict=True):
        assert line["record"] == rows[line["row"]]
        kept = {name: value for name, value in line["record"].items() if name not in wrong}
        again.append({"key": line["row"], "name": "corrected", **kept})
    assert processor.transform(content(again)).relationship == "success"
    assert writer.count(table) == len(rows)


@pytest.mark.parametrize("operation", ["INSERT", "UPSERT", "UPDATE", "DELETE"])
def test_cells_that_are_missing_are_told_by_operation(
    writer: KuduWriter, put: Callable[..., Hosted], operation: str
) -> None:
    table = make(writer, KuduColumn("name", KuduType.STRING), NUMBER)
    present = content([{"key": 1, "name": "a"}, {"key": 2, "name": "b"}])
    assert put(table).transform(present).relationship == "success"
    left = put(table, Operation=operation).transform(
        content([{"name": "no key"}, {"key": 1, "number": 5}, {"key": 3, "name": "c"}, {"key": 2, "number": None}])
    )
    expected = {
        "INSERT": ["kudu.missing_value", "kudu.missing_value", None, "kudu.missing_value"],
        "UPSERT": ["kudu.missing_value", "kudu.missing_value", None, "kudu.missing_value"],
        "UPDATE": ["kudu.missing_value", None, MISSING, None],
        "DELETE": ["kudu.missing_value", None, MISSING, None],
    }[operation]
    assert reported(left) == [(row, code) for row, code in enumerate(expected) if code]
    found = {
        "INSERT": [(1, "a", None), (2, "b", None), (3, "c", None)],
        "UPSERT": [(1, "a", None), (2, "b", None), (3, "c", None)],
        "UPDATE": [(1, "a", 5), (2, "b", None)],
        "DELETE": [],
    }[operation]
    assert stored(writer, table) == found


def test_key_that_is_too_long_and_immutable_column_cost_their_rows(
    writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    name = KuduColumn("name", KuduType.STRING, key=True)
    table = make(writer, KuduColumn("once", KuduType.STRING, nullable=True, immutable=True), NUMBER, key=(name,))
    processor = put(table, Operation_Path="/op", Data_Path="/row")

    def rows(*given: tuple[str, Record]) -> bytes:
        return content([{"op": operation, "row": row} for operation, row in given])

    assert processor.transform(rows(("insert", {"name": "a", "once": "1"}))).relationship == "success"
    left = processor.transform(
        rows(
            ("upsert", {"name": "x" * 16385}),
            ("update", {"name": "a", "once": "2"}),
            ("upsert", {"name": "b", "once": "3"}),
            ("update-ignore", {"name": "a", "once": "4", "number": 4}),
            ("explode", {"name": "c"}),
            ("insert", {"name": "d"}),
        )
    )
    assert reported(left) == [(0, "kudu.cell_too_long"), (1, "kudu.immutable_column"), (4, "kudu.unknown_operation")]
    assert stored(writer, table) == [("a", "1", 4), ("b", "3", None), ("d", None, None)]


POSITIONS = {
    "first": [0],
    "last": [2499],
    "around-a-batch": [998, 999, 1000, 1001],
    "at-two-batches": [0, 999, 1000, 1999, 2000, 2499],
    "one": [1234],
}


@pytest.mark.parametrize("mode", ["AUTO_FLUSH_BACKGROUND", "MANUAL_FLUSH"])
@pytest.mark.parametrize("where", ["kudu", "conversion"])
def test_bad_rows_are_told_by_their_numbers_wherever_they_stand(
    writer: KuduWriter, put: Callable[..., Hosted], where: str, mode: str
) -> None:
    for positions in POSITIONS.values():
        table = make(writer, TEXT)
        processor = put(table, Operation="INSERT", Flush_Mode=mode)
        rows = [{"key": key, "text": f"{key}"} for key in range(2500)]
        code = PRESENT if where == "kudu" else "kudu.wrong_value"
        if where == "kudu":
            there = content([{"key": key, "text": "before"} for key in positions])
            assert processor.transform(there).relationship == "success"
        else:
            for position in positions:
                rows[position]["key"] = "none"
        assert reported(processor.transform(content(rows))) == [(position, code) for position in positions]
        assert writer.count(table) == 2500 - (len(positions) if where == "conversion" else 0)


def test_thousand_bad_rows_of_a_thousand_are_all_told(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    table = make(writer, TEXT)
    for operation, code in (("UPDATE", MISSING), ("DELETE", MISSING)):
        left = put(table, Operation=operation).transform(content([{"key": key, "text": "x"} for key in range(1000)]))
        assert reported(left) == [(row, code) for row in range(1000)]
        assert left.set["record.count"] == "0"
    left = put(table).transform(content([{"key": 5, "text": [row], "x": row} for row in range(1000)]))
    assert {code for _, code in reported(left)} == {"kudu.unknown_column"}
    assert len(reported(left)) == 1000
    assert writer.count(table) == 0


def test_insert_of_one_key_twice_in_a_flow_file_keeps_the_first(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    table = make(writer, TEXT)
    rows = [{"key": 1, "text": "first"}, {"key": 2, "text": "b"}, {"key": 1, "text": "second"}]
    assert reported(put(table, Operation="INSERT").transform(content(rows))) == [(2, PRESENT)]
    assert stored(writer, table) == [(1, "first"), (2, "b")]


@pytest.mark.parametrize("source", ["content", "attributes"])
def test_content_that_is_nothing_or_no_records(writer: KuduWriter, put: Callable[..., Hosted], source: str) -> None:
    table = make(writer, TEXT)
    processor = put(table, Record_Source=source)
    if source == "attributes":
        for attributes, code in (({}, "kudu.missing_value"), ({"key": "x"}, "kudu.wrong_value")):
            left = processor.transform(b"", attributes)
            assert (left.relationship, left.set["error_code"]) == ("failure", code)
    else:
        for data in (b"", b"[]", b"\n\n"):
            left = processor.transform(data)
            assert (left.relationship, left.set["record.count"]) == ("success", "0")
        for data in (b"key=1", b"\x00\x01", b"ARROW1" + b"\x00" * 50, b'{"key": 1', b"\xff\xff\xff\xff\x10"):
            left = processor.transform(data)
            assert (left.relationship, left.set["error_code"]) == ("failure", "records.malformed")
            assert left.set["error_detail"].isprintable()
    assert writer.count(table) == 0


# --- range partitions -------------------------------------------------------------------------------------------------

AT = KuduColumn("at", KuduType.UNIXTIME_MICROS, key=True)


def month(number: int, day: int = 1, year: int = 2026) -> datetime:
    return datetime(year, number, day, 12, tzinfo=timezone.utc)


def monthly(ahead: int = 1, keep: int | None = None) -> TableSchema:
    return fresh(TEXT, key=(AT, KEY), hashes=(HashPartition(("key",), 2),), range_columns=("at",),
                 policy=RangePolicy("at", "month", ahead, keep))  # fmt: skip


def months(writer: KuduWriter, table: str) -> list[tuple[int, int]]:
    """Year and month of each range of a table."""
    found = [part.lower[0] for part in writer.ranges(table) if part.lower]
    return [(lower.year, lower.month) for lower in found]


def write(sink: TableSink, *rows: Record) -> list[str | None]:
    """Code of each row's error, None where it is written."""
    (outcomes,) = sink.write([Put(sink.table, rows_of(rows))])
    return [None if outcome is None else outcome.code for outcome in outcomes]


@dataclass
class Clock:
    moment: datetime

    def __call__(self) -> datetime:
        return self.moment


def test_row_outside_of_every_range_is_bad_alone(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    bounds = Range((month(1),), (month(2),))
    table = make(writer, TEXT, key=(AT, KEY), range_columns=("at",), ranges=(bounds,))
    rows = [{"at": month(number % 3 + 1, 5).isoformat(), "key": number} for number in range(300)]
    left = put(table).transform(content(rows))
    assert reported(left) == [(number, NO_RANGE) for number in range(300) if number % 3]
    assert writer.count(table) == 100


def test_months_are_made_before_their_rows_come(writer: KuduWriter) -> None:
    schema = monthly(ahead=1)
    clock = Clock(month(1, 15))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1, range_check_s=0), now=clock)
    assert write(sink, {"at": month(1), "key": 1}, {"at": month(12, year=2025), "key": 1}) == [None, None]
    assert months(writer, schema.name) == [(2025, 12), (2026, 1), (2026, 2)]
    assert write(sink, {"at": month(3), "key": 1}, {"at": month(2), "key": 1}) == [NO_RANGE, None]
    clock.moment = month(2, 1)
    assert write(sink, {"at": month(2), "key": 2}) == [None]
    assert months(writer, schema.name)[-1] == (2026, 3)
    assert write(sink, {"at": month(3), "key": 1}) == [None]  # although it was refused a moment ago


def test_month_that_upkeep_was_too_late_for_is_made_for_the_row_that_needs_it(writer: KuduWriter) -> None:
    schema = monthly(ahead=0)
    clock = Clock(month(1, 15))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1), now=clock)
    assert write(sink, {"at": month(1), "key": 1}) == [None]
    clock.moment = month(5, 1)
    rows = [{"at": month(number), "key": 1} for number in (5, 4, 1)]
    assert write(sink, *rows) == [None, NO_RANGE, None]
    assert months(writer, schema.name) == [(2025, 12), (2026, 1), (2026, 5)]


def test_range_that_another_node_makes_is_found_after_a_failure(
    writer: KuduWriter, kudu: LocalKudu, put: Callable[..., Hosted], open_writer: Callable[..., KuduWriter]
) -> None:
    table = make(writer, TEXT, key=(AT, KEY), range_columns=("at",), ranges=(Range((month(1),), (month(2),)),))
    processor = put(table)
    rows = content([{"at": month(1, 5).isoformat(), "key": 1}, {"at": month(2, 5).isoformat(), "key": 2}])
    assert reported(processor.transform(rows)) == [(1, NO_RANGE)]
    assert open_writer(kudu.masters).add_range(table, Range((month(2),), (month(3),)))
    assert processor.transform(rows).relationship == "success"
    assert writer.count(table) == 2


def test_retention_drops_what_is_past_it_and_nothing_else(writer: KuduWriter) -> None:
    schema = monthly(ahead=1, keep=2)
    clock = Clock(month(1, 15, year=2016))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1, range_check_s=0), now=clock)
    for number in range(1, 7):
        clock.moment = month(number, 28, year=2016)
        assert write(sink, {"at": month(number, 27, year=2016), "key": number}) == [None]
        kept = [(2015, 12) if n == 0 else (2016, n) for n in range(max(0, number - 2), number + 2)]
        assert months(writer, schema.name) == kept
        found = [key for (key,) in stored(writer, schema.name, "key")]
        assert found == list(range(max(1, number - 2), number + 1))
    late = {"at": month(1, year=2016), "key": 1}
    assert write(sink, late, {"at": month(6, year=2016), "key": 7}) == [NO_RANGE, None]


def test_rows_from_before_a_pause_go_once_those_after_it_fill_more_months_than_are_kept(writer: KuduWriter) -> None:
    schema = monthly(ahead=0, keep=2)
    clock = Clock(month(3, 15, year=2016))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1, range_check_s=0), now=clock)
    assert write(sink, {"at": clock.moment, "key": 2016}) == [None]
    for number in range(1, 5):
        clock.moment = month(number, 15, year=2020)  # nothing was written for years
        assert (2016, 3) in months(writer, schema.name)
        assert write(sink, {"at": clock.moment, "key": number}) == [None]
    assert months(writer, schema.name) == [(2020, 2), (2020, 3), (2020, 4)]
    assert stored(writer, schema.name, "key") == [(2,), (3,), (4,)]


class Told:
    """A writer to whom the cluster tells another time."""

    def __init__(self, writer: KuduWriter, clock: Callable[[], datetime | None]) -> None:
        self._writer, self.clock = writer, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


def with_months(writer: KuduWriter, keep: int, *moments: datetime) -> TableSchema:
    """A table with a row in each of these months, its number as the key."""
    schema = monthly(ahead=1, keep=keep)
    ranges = tuple(range_of(at, "month", KuduType.UNIXTIME_MICROS) for at in moments)
    assert writer.create(replace(schema, policy=None, ranges=ranges))
    rows = [{"at": at, "key": number} for number, at in enumerate(moments)]
    assert write(TableSink(writer, schema.name, SinkSettings()), *rows) == [None] * len(rows)
    return schema


def back(now: datetime, number: int) -> datetime:
    """The middle of the month that is so many before that of `now`."""
    count = 12 * now.year + now.month - 1 - number
    return datetime(count // 12, count % 12 + 1, 15, tzinfo=timezone.utc)


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The errors logged since they were asked for last."""
    found = [record.message for record in caplog.records if record.levelname == "ERROR"]
    caplog.clear()
    return found


def test_clock_years_ahead_drops_no_rows_that_the_right_clock_keeps(
    writer: KuduWriter, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(timezone.utc)
    schema = with_months(writer, 2, *(back(now, number) for number in (2, 1, 0)))
    settings, clock = SinkSettings(schema, 0, 0.1, range_check_s=0), Clock(now.replace(year=now.year + 5, day=1))
    live = months(writer, schema.name)
    wrong = TableSink(writer, schema.name, settings, now=clock)
    wrong.prepare()
    (error,) = refusals(caplog)
    assert error.startswith(
        f"table {schema.name}: range partitions with rows are not dropped: {back(now, 2):%Y-%m-01} to "
    )
    assert f"this node's clock, {clock.moment:%Y-%m-%dT%H:%M:%SZ}" in error
    assert f"the newest rows that count are of {now:%Y-%m}." in error
    assert f"imagewarehouse table partitions {schema.name} --drop-before {back(now, -1):%Y-%m}" in error
    # Rows that come with the wrong time, as many months as are kept, change nothing about it.
    for number in range(3):
        clock.moment = back(now, -60 - number)
        assert write(wrong, {"at": clock.moment, "key": 100 + number}) == [None]
        assert len(refusals(caplog)) == 1
        assert months(writer, schema.name)[:3] == live
    # What the right clock keeps is kept, and what it does not is dropped, by either node.
    old = [back(now, number) for number in (4, 3)]
    for at in old:
        assert writer.add_range(schema.name, range_of(at, "month", KuduType.UNIXTIME_MICROS))
    backfill = TableSink(writer, schema.name, SinkSettings())
    assert write(backfill, *({"at": at, "key": 200} for at in old)) == [None, None]
    TableSink(writer, schema.name, settings).prepare()
    assert refusals(caplog) == []
    assert months(writer, schema.name)[:3] == live
    assert {key for (key,) in stored(writer, schema.name, "key")} == {0, 1, 2, 100, 101, 102}


@pytest.mark.parametrize("told", [True, False], ids=["kudu-is-wrong-too", "kudu-tells-nothing"])
def test_rows_alone_keep_a_clock_years_ahead_from_dropping_them(
    writer: KuduWriter, caplog: pytest.LogCaptureFixture, told: bool
) -> None:
    schema = with_months(writer, 2, *(month(number, 15, year=2016) for number in (1, 2, 6, 7, 8)))
    clock = Clock(month(5, 15, year=2031))
    kudu = Told(writer, clock if told else lambda: None)
    sink = TableSink(kudu, schema.name, SinkSettings(schema, 0, 0.1, range_check_s=0), now=clock)
    before = months(writer, schema.name)
    sink.prepare()
    assert len(refusals(caplog)) == 1
    assert write(sink, {"at": clock.moment, "key": 100}) == [None]
    assert len(refusals(caplog)) == 1
    assert months(writer, schema.name) == [*before, (2031, 5), (2031, 6)]
    clock.moment = month(8, 31, year=2016)
    sink.prepare()
    assert len(refusals(caplog)) == 1  # the months from before the pause of the spring, by the right clock
    clock.moment = month(9, 1, year=2016)
    sink.prepare()
    assert refusals(caplog) == []
    assert months(writer, schema.name) == [(2016, n) for n in (7, 8, 9, 10)] + [(2031, 5), (2031, 6)]


def test_declared_table_is_safe_from_a_clock_years_ahead(
    writer: KuduWriter, put: Callable[..., Hosted], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = f"test_{uuid.uuid4().hex}"
    declared = {
        "columns": [
            {"name": "at", "type": "unixtime_micros", "key": True},
            {"name": "key", "type": "int64", "key": True},
        ],
        "hash": [{"columns": ["key"], "buckets": 2}],
        "range": {"column": "at", "unit": "day", "ahead": 1, "keep": 1},
        "replicas": 1,
    }
    now = datetime.now(timezone.utc)
    row = content([{"at": now.isoformat(), "key": 1}])
    assert put(table, Table_Schema=json.dumps(declared)).transform(row).relationship == "success"

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return now.replace(year=now.year + 5, day=1)

    monkeypatch.setattr("imagewarehouse.kudu.writing.sink.datetime", Ahead)
    again = content([{"at": Ahead.now().isoformat(), "key": 2}])
    assert put(table, Table_Schema=json.dumps(declared)).transform(again).relationship == "success"
    assert stored(writer, table, "key") == [(1,), (2,)]
    (error,) = refusals(caplog)
    assert f"table {table}: range partitions with rows are not dropped: {now:%Y-%m-%d} to " in error


def test_upkeep_that_cannot_look_for_rows_drops_nothing_and_makes_what_is_missing(
    writer: KuduWriter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = with_months(writer, 1, *(month(number, 15, year=2016) for number in (1, 2, 3)))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1), now=Clock(month(4, 15, year=2016)))

    def unavailable(table: str, parts: Sequence[Range]) -> set[Range]:
        raise KuduUnavailable("no server answers")

    monkeypatch.setattr(writer, "ranges_with_rows", unavailable)
    with caplog.at_level("WARNING", "imagewarehouse.kudu"):
        assert write(sink, {"at": month(4, 15, year=2016), "key": 4}) == [None]
    assert [record.message for record in caplog.records] == [
        f"table {schema.name}: range partitions: no server answers"
    ]
    assert months(writer, schema.name) == [(2016, number) for number in range(1, 6)]


def test_rows_outside_of_every_range_do_not_make_the_table_be_searched_each_time(
    writer: KuduWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = with_months(writer, 1, *(month(number, 15, year=2016) for number in (1, 2, 3)))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1), now=Clock(month(3, 15, year=2016)))
    searched = []
    whole = writer.ranges_with_rows
    monkeypatch.setattr(writer, "ranges_with_rows", lambda *given: searched.append(given) or whole(*given))
    for _ in range(3):
        assert write(sink, {"at": month(1, year=2010), "key": 4}) == [NO_RANGE]
    assert len(searched) == 1


def test_nodes_that_make_keep_and_drop_at_once_do_not_disturb_each_other(
    kudu: LocalKudu, open_writer: Callable[..., KuduWriter], caplog: pytest.LogCaptureFixture
) -> None:
    schema = monthly(ahead=2, keep=1)
    clock = Clock(month(1, 15, year=2016))
    settings = SinkSettings(schema, 0, 0.1, range_check_s=0)
    writers = [open_writer(kudu.masters) for _ in range(3)]
    sinks = [TableSink(writer, schema.name, settings, now=clock) for writer in writers]
    start = threading.Barrier(len(sinks))
    found: dict[tuple[int, int], list[str | None]] = {}

    def work(number: int) -> None:
        for round_ in range(1, 5):
            start.wait(60)
            clock.moment = month(2 * round_, 15, year=2016)
            start.wait(60)
            rows = [{"at": month(2 * round_ + ahead, 14, year=2016), "key": number} for ahead in range(3)]
            found[number, round_] = write(sinks[number], *rows)

    with caplog.at_level("WARNING", "imagewarehouse.kudu"):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(sinks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {(number, round_): [None] * 3 for number in range(3) for round_ in range(1, 5)}
    assert months(writers[0], schema.name) == [(2016, 7), (2016, 8), (2016, 9), (2016, 10)]
    assert [record.message for record in caplog.records if "past retention" not in record.message] == []


# --- what is left on retry --------------------------------------------------------------------------------------------


def arrow_records(data: bytes | None) -> list[Record]:
    found: list[Record] = pa.ipc.open_stream(data).read_all().to_pylist()
    return found


@pytest.fixture(scope="module")
def pair(kudu: LocalKudu, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalKudu, str, list[int]]]:
    """Two tablet servers with a table on both: (cluster, table, which of 100 keys are on the second server)."""
    with LocalKudu(tmp_path_factory.mktemp("pair"), tservers=2, never_fsync=True) as cluster:
        writer = connect(KuduSettings(cluster.masters, operation_timeout_s=1.0))
        table = make(writer, TEXT, hashes=(HashPartition(("key",), 8),))
        rows = Put(table, rows_of([{"key": key, "text": ""} for key in range(100)]))
        sink = TableSink(writer, table, SinkSettings(retries=0))
        assert sink.write([rows]) == [[None] * 100]
        cluster.pause("tserver-1")
        try:
            (outcomes,) = sink.write([rows])
        finally:
            cluster.resume("tserver-1")
        writer.close()
        there = [key for key, outcome in enumerate(outcomes) if outcome is not None]
        assert 0 < len(there) < 100
        yield cluster, table, there


@pytest.mark.parametrize("form", ["json-lines", "json", "arrow stream", "arrow file"])
def test_only_what_is_not_committed_is_left_on_retry_and_completes_the_rest(
    pair: tuple[LocalKudu, str, list[int]],
    put: Callable[..., Hosted],
    open_writer: Callable[..., KuduWriter],
    form: str,
) -> None:
    cluster, table, there = pair
    writer = open_writer(cluster.masters)
    processor = put(table, cluster.masters, Record_Format=form.split()[0])
    rows = [{"key": key, "text": f"{form} {key}"} for key in range(100)]
    refused = next(key for key in range(100) if key not in there)
    rows[refused]["text"] = "x" * 65537
    data = {"json-lines": content(rows), "json": json.dumps(rows, indent=1).encode()}.get(form)
    data = data or arrow_bytes(pa.Table.from_pylist(rows), file=form == "arrow file")
    cluster.pause("tserver-1")
    try:
        left = processor.transform(data)
    finally:
        cluster.resume("tserver-1")
    assert (left.relationship, left.set) == ("retry", {})
    rest = arrow_records(left.content) if form.startswith("arrow") else records_of(left.content)
    assert rest == [rows[key] for key in sorted({*there, refused})]
    last = processor.transform(left.content)
    assert reported(last) == [(sorted({*there, refused}).index(refused), "kudu.cell_too_long")]
    assert records_of(last.content)[0]["record"] == rows[refused]
    found = {key: text for key, text in stored(writer, table) if text.startswith(form)}
    assert found == {row["key"]: row["text"] for row in rows if row["key"] != refused}


def test_unreadable_records_stay_with_what_waits(
    pair: tuple[LocalKudu, str, list[int]], put: Callable[..., Hosted], open_writer: Callable[..., KuduWriter]
) -> None:
    cluster, table, there = pair
    processor = put(table, cluster.masters, Operation_Path="/op", Data_Path="/rows[*]", Record_Format="json-lines")
    away, here = there[0], next(key for key in range(100) if key not in there)
    lines = [
        {"op": "upsert", "rows": [{"key": away, "text": "one"}, {"key": here, "text": "one"}]},
        {"op": "upsert", "rows": [{"key": here, "text": "two"}]},
        {"op": "explode", "rows": [{"key": here}]},
    ]
    broken = b'{"op": "upsert", "rows": [\n'
    cluster.pause("tserver-1")
    try:
        left = processor.transform(content(lines[:1]) + broken + content(lines[1:]))
    finally:
        cluster.resume("tserver-1")
    assert left.relationship == "retry"
    kept = (left.content or b"").splitlines()
    # The first goes again as a whole, so what came behind it goes again too, or "one" would win over "two".
    assert [json.loads(kept[0]), kept[1], *map(json.loads, kept[2:])] == [lines[0], broken.strip(), *lines[1:]]
    assert reported(processor.transform(left.content)) == [(1, "records.malformed"), (3, "kudu.unknown_operation")]
    found = dict(stored(open_writer(cluster.masters), table))
    assert (found[away], found[here]) == ("one", "two")


# --- FlowFiles that share a commit ------------------------------------------------------------------------------------


def test_flow_files_that_share_a_commit_keep_their_own_outcomes(writer: KuduWriter) -> None:
    good, other = make(writer, TEXT), make(writer, NUMBER)
    tables = KuduTables(writer, lambda _: SinkSettings(retries=0))
    assert tables.write([Put(good, rows_of([{"key": 7, "text": "there"}]))]) == [[None]]
    table = pa.table({"key": [40, 41], "text": ["a", "b"]})
    puts = [
        Put(good, rows_of([{"key": 1}, {"key": "x"}, {"key": 2}])),
        Put(good, rows_of([{"key": 7}, {"key": 8}], Operation.INSERT)),
        Put("no such table", rows_of([{"key": 1}, {"key": 2}])),
        Put(good, rows_of([{"key": 3, "none": 1}]), IGNORE),
        Put(other, rows_of([{"key": 1, "number": 1}, {"key": 2, "text": "of the other table"}])),
        Put(good, Rows(range(2), np.full(2, Operation.UPSERT, np.uint8), [], table)),
        Put(good, rows_of([{"key": 4, "none": 1}, {"key": 5}])),
        Put(good, rows_of([])),
    ]
    found = [[None if outcome is None else outcome.code for outcome in outcomes] for outcomes in tables.write(puts)]
    assert found == [
        [None, "kudu.wrong_value", None],
        [PRESENT, None],
        ["kudu.table_missing"] * 2,
        [None],
        [None, "kudu.unknown_column"],
        [None, None],
        ["kudu.unknown_column", None],
        [],
    ]
    assert [key for (key,) in stored(writer, good, "key")] == [1, 2, 3, 40, 41, 5, 7, 8]
    assert stored(writer, other) == [(1, 1)]


def test_defect_in_one_flow_file_costs_that_flow_file_only(
    writer: KuduWriter, put: Callable[..., Hosted], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(rows: Rows, *arguments: Any) -> Any:
        if any(values.get("text") == "explode" for values in rows.values):
            raise ZeroDivisionError("a defect")
        return to_batch(rows, *arguments)

    monkeypatch.setattr("imagewarehouse.kudu.writing.tables.to_batch", explode)
    table, other = make(writer, TEXT), make(writer, TEXT)
    tables = KuduTables(writer, lambda _: SinkSettings(retries=0))
    puts = [
        Put(table, rows_of([{"key": 1}], Operation.INSERT)),
        Put(table, rows_of([{"key": 2, "text": "explode"}, {"key": 3}])),
        Put(table, rows_of([{"key": 4}], Operation.INSERT)),
        Put(other, rows_of([{"key": 5}], Operation.INSERT)),
        Put(other, rows_of([{"key": 6, "text": "explode"}])),
    ]
    found = [[None if outcome is None else outcome.code for outcome in outcomes] for outcomes in tables.write(puts)]
    assert found == [[None], ["internal", "internal"], [None], [None], ["internal"]]
    assert (stored(writer, table, "key"), stored(writer, other, "key")) == ([(1,), (4,)], [(5,)])
    data = content([{"key": 9, "text": "explode"}, {"key": 10}])
    left = put(table).transform(data)
    assert (left.relationship, left.set["error_code"], left.content) == ("failure", "internal", data)


# --- large tables, large rows, many rows ------------------------------------------------------------------------------


def test_table_of_300_columns_keeps_every_cell(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    kinds: list[tuple[dict[str, Any], Callable[[int], Any], Callable[[int], Any]]] = [
        ({"type": KuduType.DECIMAL, "precision": 38, "scale": 9},
         lambda n: Decimal(f"{n}1234567890123456789012345.123456789"), lambda n: f"{n}1234567890123456789012345.123456789"),
        ({"type": KuduType.DATE}, lambda n: date(2026, 1, 1 + n), lambda n: f"2026-01-{n + 1:02}"),
        ({"type": KuduType.BINARY}, lambda n: bytes([0, n, 255]), lambda n: base64.b64encode(bytes([0, n, 255])).decode()),
        ({"type": KuduType.UNIXTIME_MICROS}, lambda n: month(1, n + 1), lambda n: month(1, n + 1).isoformat()),
        ({"type": KuduType.STRING}, lambda n: f"text {n}", lambda n: f"text {n}"),
        ({"type": KuduType.DOUBLE}, lambda n: n + 0.1, lambda n: n + 0.1),
    ]  # fmt: skip
    columns = [KuduColumn(f"c{n}", nullable=True, **kinds[n % len(kinds)][0]) for n in range(299)]
    table = make(writer, *columns)
    rows: list[Record] = []
    expected = []
    for key in range(20):
        cells = {c.name: n for n, c in enumerate(columns) if (n + key) % 7}  # every seventh is left out
        rows.append({"key": key, **{name: kinds[n % len(kinds)][2]((n + key) % 28) for name, n in cells.items()}})
        expected.append({"key": key} | {c.name: kinds[n % len(kinds)][1]((n + key) % 28) if c.name in cells else None
                                        for n, c in enumerate(columns)})  # fmt: skip
    # The digits of a decimal as a number of JSON, not as text: a double would hold 17 of them.
    text = re.sub(rb'"(\d{20,}\.\d+)"', rb"\1", content(rows))
    assert put(table, Text_in_Binary_Columns="base64").transform(text).relationship == "success"
    found = writer.scan(table).to_pylist()
    assert sorted(found, key=lambda row: row["key"]) == expected
    left = put(table, Unknown_Fields="add columns").transform(content([{"key": 99, "one more": 1}]))
    assert (left.relationship, left.set["error_code"]) != ("success", "")
    assert len(writer.schema(table, refresh=True).columns) == 300


LARGE = """
import resource, sys
import numpy as np
from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.records.mapping import RecordMapping, map_records
from imagewarehouse.kudu.records.content import read_records
from imagewarehouse.kudu.writing.sink import SinkSettings
from imagewarehouse.kudu.writing.tables import KuduTables, Put

def written(keys):
    lines = [b'{"key": %d, %s}' % (key, b", ".join(b'"c%d": "%s"' % (n, cell) for n in range(20))) for key in keys]
    records = read_records(b"\\n".join(lines))
    (outcomes,) = tables.write([Put(sys.argv[2], map_records(records, RecordMapping(), Operation.UPSERT))])
    assert outcomes == [None] * len(keys), {str(outcome) for outcome in outcomes}

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

tables = KuduTables(connect(KuduSettings(sys.argv[1])), lambda _: SinkSettings(retries=0))
cell = b"x"
written(range(10))
before = peak()
cell = b"0123456789abcdef" * 4090
for start in range(0, 500, 20):
    written(range(start, start + 20))
print(peak() - before)
"""


def test_five_hundred_rows_of_more_than_a_megabyte_each_take_little_memory(
    cluster: LocalKudu, open_writer: Callable[..., KuduWriter]
) -> None:
    writer = open_writer(cluster.masters)
    table = make(writer, *(KuduColumn(f"c{n}", KuduType.STRING) for n in range(20)))
    done = python(LARGE, cluster.masters, table)
    assert writer.count(table) == 500
    row = writer.scan(table, ["c0", "c19"], limit=1).to_pylist()[0]
    assert {len(cell) for cell in row.values()} == {65440}
    assert int(done) < 300, f"{done} MB for rows of 26 MB at a time"


def python(script: str, *arguments: str, timeout: float = 120) -> str:
    """What a Python process of its own prints."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], cwd=REPOSITORY, capture_output=True, text=True,
                          timeout=timeout, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_arrow_file_of_200_000_rows_is_one_flow_file(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    table = make(writer, TEXT, NUMBER)
    keys = np.arange(200_000)
    data = pa.table({"key": keys, "text": pa.array(keys).cast(pa.string()), "number": (keys % 1000).astype(np.int32)})
    left = put(table, Operation="INSERT", Operation_Timeout="20 sec").transform(arrow_bytes(data, file=True))
    assert (left.relationship, left.set) == ("success", {"record.count": "200000"})
    assert writer.count(table) == 200_000
    again = put(table, Operation="INSERT", Operation_Timeout="20 sec").transform(
        content([{"key": 0}, {"key": 199_999}])
    )
    assert reported(again) == [(0, PRESENT), (1, PRESENT)]


# --- start, stop and exit ---------------------------------------------------------------------------------------------

EXITS = {
    "unclosed": "thread = threading.Thread(target=write); thread.start(); thread.join()",
    "closed": "thread = threading.Thread(target=write); thread.start(); thread.join(); writer.close()",
}
EXIT = """
import sys, threading, time
from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.writing.sink import SinkSettings, TableSink
from imagewarehouse.kudu.writing.tables import Put
from tests.test_kudu_faults import rows_of
written = []
writer = None

def write():
    global writer
    writer = writer or connect(KuduSettings(sys.argv[1]))
    sink = TableSink(writer, sys.argv[2], SinkSettings())
    assert sink.write([Put(sys.argv[2], rows_of([{"key": 1}]))]) == [[None]]
    written.append(1)
"""


@pytest.mark.parametrize("how", EXITS)
def test_process_that_wrote_from_another_thread_ends(
    kudu: LocalKudu, writer: KuduWriter, how: str, tmp_path: Path
) -> None:
    table = make(writer, TEXT)
    script = EXIT + EXITS[how] + "\nprint(time.time(), flush=True)\n"
    asked = float(python(script, kudu.masters, table))
    assert time.time() - asked < 5
    assert stored(writer, table, "key") == [(1,)]


@pytest.mark.parametrize("source", ["content", "image record"])
def test_processor_stops_in_bounded_time_while_a_flush_hangs(
    cluster: LocalKudu, put: Callable[..., Hosted], hosted: Host, record: Callable[..., ImageRecord], source: str
) -> None:
    if source == "content":
        processor, attributes = put("t", cluster.masters, Table_Schema=DECLARED), {}
    else:
        processor = hosted("PutKuduRecord", {"Kudu Masters": cluster.masters, **QUICK})
        attributes = record().as_attributes()
    processor.host.schedule()
    assert processor.transform(WITH_TEXT, attributes).relationship == "success"
    cluster.pause("tserver-0")
    lefts: list[str] = []

    def one() -> None:
        lefts.append(processor.transform(WITH_TEXT, attributes).relationship)

    threads = [threading.Thread(target=one) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        processor.host.stop()
        assert time.monotonic() - begun < 10
        for thread in threads:
            thread.join(20)
    finally:
        cluster.resume("tserver-0")
    assert lefts == ["retry"] * 4


def test_start_and_stop_under_load_lose_nothing(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    table = make(writer, TEXT)
    processor = put(table)
    processor.host.schedule()
    load = Load().contents(processor, table, threads=6)
    try:
        for _ in range(5):
            assert load.more("success", 30), load.defects
            processor.host.stop()
            processor.host.schedule()
    finally:
        load.finish()
    load.check(writer)


def test_starting_and_stopping_leaves_no_threads_behind(
    kudu: LocalKudu, hosted: Host, put: Callable[..., Hosted], record: Callable[..., ImageRecord], writer: KuduWriter
) -> None:
    import jpype

    table = make(writer, TEXT)
    images, rows = hosted("PutKuduRecord", {"Kudu Masters": kudu.masters, **QUICK}), put(table)

    def once() -> None:
        for processor in (images, rows):
            processor.host.schedule()
        assert images.transform(b"", record().as_attributes()).relationship == "success"
        assert rows.transform(WITH_TEXT).relationship == "success"
        for processor in (images, rows):
            processor.host.stop()

    def java_threads() -> Counter[str]:
        """Those that do something; the client's pool lets go of idle ones after a minute."""
        found = jpype.JClass("java.lang.Thread").getAllStackTraces().entrySet()
        busy = [e.getKey() for e in found if "ThreadPoolExecutor.getTask" not in str(list(e.getValue()))]
        return Counter(str(thread.getName()).rstrip("0123456789-") for thread in busy)

    once()
    python_threads, before = threading.active_count(), java_threads()
    for _ in range(20):
        once()
    assert until(lambda: threading.active_count() <= python_threads), threading.enumerate()
    assert until(lambda: not java_threads() - before, 30), java_threads() - before


# --- the whole service ------------------------------------------------------------------------------------------------


@needs_data
def test_200_images_leave_200_rows_in_kudu_though_the_service_is_killed_in_the_middle(
    kudu: LocalKudu, tmp_path: Path, open_writer: Callable[..., KuduWriter]
) -> None:
    service = Service(tmp_path / "data")
    service.command = lambda command=service.command: [*command(), "--kudu", "local"]  # type: ignore[method-assign]
    service.start()
    done: list[subprocess.CompletedProcess[str]] = []
    arguments = (str(TEST_IMAGES), "--limit", "200", "--connections", "8", "--retries", "20")
    sender = threading.Thread(target=lambda: done.append(send(service.classify_url, *arguments)))
    sender.start()
    assert until(lambda: len(service.objects()) >= 40, 60)
    service.kill()
    assert len(service.objects()) < 200, "killed too late to show anything"
    with service:
        sender.join(120)
        assert done
        assert done[0].returncode == 0, done[0].stdout + done[0].stderr
        ports = json.loads((service.data / "kudu" / "ports.json").read_text())
        writer = open_writer(f"127.0.0.1:{ports['master'][0]}")
        found = stored(writer, "image_events", "request_id", "status", "image_id")
        assert [status for _, status, _ in found] == ["classified"] * 200
        images = pq.read_table(TEST_IMAGES, columns=["image"]).slice(0, 200)["image"].to_pylist()
        assert sorted(image_id for _, _, image_id in found) == sorted(hashlib.sha256(i).hexdigest() for i in images)
