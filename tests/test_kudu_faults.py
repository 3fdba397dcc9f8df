"""What holds when things go wrong between PutKuduRecord and a real Kudu: nothing lost, nothing doubled, one clear error
each."""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.client import KuduSettings, KuduWriter, connect
from imagewarehouse.kudu.records import Rows
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, TableSchema
from imagewarehouse.metadata import ImageRecord
from standalone.local_kudu import LocalKudu
from tests.conftest import Hosted, Left, until

AWAITED = {"http.context.identifier": "6f1c0d0e-0000-4000-8000-000000000002", "http.method": "POST"}
QUICK = {"Operation Timeout": "2 sec", "Admin Timeout": "2 sec", "Retries": "0", "Retry Back-off": "100 ms"}
PRESENT, MISSING, NO_RANGE = "kudu.already_present", "kudu.not_found", "kudu.no_range_partition"

KEY = KuduColumn("key", KuduType.INT64, key=True)
TEXT = KuduColumn("text", KuduType.STRING, nullable=True)
NUMBER = KuduColumn("number", KuduType.INT32, nullable=True)
DECLARED = json.dumps(
    {
        "columns": [{"name": "key", "type": "int64", "key": True}, {"name": "text", "type": "string", "nullable": True}],
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
            {"Kudu Masters": masters or kudu.masters, "Record Source": "content", "Table Name": table, **QUICK, **chosen},
        )

    return build


def fresh(*columns: KuduColumn, key: Sequence[KuduColumn] = (KEY,), **more: Any) -> TableSchema:
    """A table of these columns behind the key, with a name of its own."""
    if "range_columns" not in more:
        more.setdefault("hashes", (HashPartition((key[0].name,), 2),))
    return TableSchema(f"test_{uuid.uuid4().hex}", (*key, *columns), replicas=1, **more)


def make(writer: KuduWriter, *columns: KuduColumn, **more: Any) -> str:
    schema = fresh(*columns, **more)
    assert writer.create(schema)
    return schema.name


def content(records: Sequence[Record]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def records_of(data: bytes | None) -> list[Record]:
    return [json.loads(line) for line in (data or b"").splitlines()]


def stored(writer: KuduWriter, table: str, *columns: str) -> list[tuple[Any, ...]]:
    """What is in the table, sorted."""
    found = writer.scan(table, columns or None).to_pydict()
    return sorted(zip(*found.values(), strict=True), key=repr)


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
        assert {left for left in self.lefts if left[0] not in ("success", "retry")} <= {("bad rows", c) for c in refusals}
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


@pytest.mark.parametrize("how", [KILL, PAUSE])
def test_open_tables_are_written_while_the_master_is_away_and_others_wait(
    cluster: LocalKudu, put: Callable[..., Hosted], open_writer: Callable[..., KuduWriter], how: str
) -> None:
    load = Load().contents(put("t", cluster.masters, Table_Schema=DECLARED), "t", threads=4)
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


def test_a_kudu_that_comes_up_later_is_found(
    cluster: LocalKudu, put: Callable[..., Hosted], hosted: Host, record: Callable[..., ImageRecord],
    open_writer: Callable[..., KuduWriter],
) -> None:  # fmt: skip
    masters = cluster.masters
    cluster.stop()
    images = hosted("PutKuduRecord", {"Kudu Masters": masters, **QUICK})
    rows = put("t", masters, Table_Schema=DECLARED)
    begun = time.monotonic()
    for processor in (images, rows):
        processor.host.schedule()
    assert time.monotonic() - begun < 2, "a cluster that is away kept the processors from starting"
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
    assert set(load.lefts) == {("success", "")}
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
    writer: KuduWriter, put: Callable[..., Hosted], columns: tuple[KuduColumn, ...], rows: list[Record],
    refused: list[tuple[int, str]], found: list[tuple[Any, ...]],
) -> None:  # fmt: skip
    table = make(writer, TEXT)
    processor = put(table)
    assert processor.transform(WITH_TEXT).relationship == "success"
    writer.drop(table)
    changed = fresh(*columns)
    assert writer.create(TableSchema(table, changed.columns, changed.hashes, replicas=1))
    left = processor.transform(content(rows))
    assert (reported(left) if refused else left.relationship) == (refused or "success")
    assert stored(writer, table) == found


def test_table_that_is_dropped_is_made_again_where_it_is_declared(
    writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = f"test_{uuid.uuid4().hex}"
    processor = put(table, Table_Schema=DECLARED)
    for _ in range(2):
        assert processor.transform(WITH_TEXT).relationship == "success"
        writer.schema(table, refresh=True)
        assert stored(writer, table) == [(1, "a"), (2, "b")]
        writer.drop(table)


@pytest.mark.parametrize("source", ["content", "attributes"])
def test_flow_file_for_a_table_that_is_gone_fails_whole_until_there_is_one(
    writer: KuduWriter, put: Callable[..., Hosted], source: str
) -> None:
    table = make(writer, TEXT)
    processor = put(table, Record_Source=source)
    one = content([{"key": 1, "text": "a"}, {"key": "not a number"}]) if source == "attributes" else WITH_TEXT
    attributes = {"key": "1", "text": "a", "uuid": "of no column"}
    assert processor.transform(one, attributes).relationship == "success"
    writer.drop(table)
    for _ in range(2):
        left = processor.transform(one, attributes)
        assert (left.relationship, left.set["error_code"]) == ("failure", "kudu.table_missing")
        assert table in left.set["error_detail"]
        assert left.set["error_detail"].isprintable()
    assert writer.create(TableSchema(table, (KEY, TEXT), (HashPartition(("key",), 2),), replicas=1))
    assert processor.transform(one, attributes).relationship == "success"


def test_table_that_is_dropped_fails_a_flow_file_whole_though_some_of_its_records_are_bad(
    writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = make(writer, TEXT)
    processor = put(table)
    mixed = content([{"key": 1, "text": "a"}, {"key": "not a number"}])
    assert reported(processor.transform(mixed)) == [(1, "kudu.wrong_value")]
    writer.drop(table)
    left = processor.transform(mixed)
    assert (left.relationship, left.set["error_code"]) == ("failure", "kudu.table_missing")


def test_declared_table_of_another_shape_is_a_setting_to_change(
    writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    other_key = make(writer, key=(KuduColumn("id", KuduType.STRING, key=True),))
    other_type = make(writer, KuduColumn("text", KuduType.INT32, nullable=True))
    for table, said in ((other_key, "has the key id, expected key"), (other_type, "text of table")):
        left = put(table, Table_Schema=DECLARED).transform(WITH_TEXT)
        assert (left.relationship, left.set["error_code"]) == ("failure", "configuration")
        assert said in left.set["error_detail"]
        assert writer.count(table) == 0
