"""Kudu's servers die, hang or come late while PutKuduRecord writes: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from imagewarehouse.errors import KuduUnavailable, WarehouseError
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.writing.tables import Put
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_faults
from tests.conftest import Hosted, Left, until
from tests.kudu_faults import AWAITED, DECLARED, NUMBER, PRESENT, QUICK, TEXT, Host, Load, content, fresh, make, rows_of
from tests.kudu_tables import stored

# pytest finds fixtures among the names of a module
cluster = kudu_faults.cluster
open_writer = kudu_faults.open_writer
put = kudu_faults.put


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
