"""Servers that do not answer, threads, closed connections, and what only kudu-python refuses."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from imagewarehouse.errors import (
    ConfigurationError,
    KuduUnavailable,
    WarehouseError,
)
from imagewarehouse.kudu.clients import connecting
from imagewarehouse.kudu.clients.interface import SYNC, KuduSettings, KuduWriter
from imagewarehouse.kudu.schema import TableSchema
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_clients
from tests.kudu_clients import DELETE, EXISTS, INSERT, KEY, NUMBER, TEXT, UPSERT, Make, batch, codes, needs_native
from tests.kudu_tables import stored

# pytest finds fixtures among the names of a module
backend = kudu_clients.backend
connect = kudu_clients.connect
make = kudu_clients.make
writer = kudu_clients.writer


# --- servers and threads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda w, s: w.tables(),
        lambda w, s: w.schema("t"),
        lambda w, s: w.write("t", [batch(s, UPSERT, key=[1])]),
        lambda w, s: w.create(s),
    ],
    ids=["tables", "schema", "write", "create"],
)
def test_master_that_does_not_answer_is_said_in_time(
    connect: Callable[..., KuduWriter], call: Callable[[KuduWriter, TableSchema], Any]
) -> None:
    begun = time.monotonic()
    writer = connect(masters="127.0.0.1:1", admin_timeout_s=1.0, operation_timeout_s=1.0)
    assert time.monotonic() - begun < 1.0  # nothing is sent yet
    with pytest.raises(KuduUnavailable):
        call(writer, TableSchema("t", (KEY,)))
    writer.close()
    assert time.monotonic() - begun < 5.0


def test_rows_fail_in_time_while_the_tablet_server_does_not_answer(
    kudu: LocalKudu, connect: Callable[..., KuduWriter], make: Make
) -> None:
    schema = make(TEXT)
    writer = connect(operation_timeout_s=2.0)
    parts = [batch(schema, UPSERT, key=range(start, start + 100)) for start in (0, 100)]
    assert writer.write(schema.name, parts) == []
    kudu.pause(kudu.tservers[0])
    try:
        begun = time.monotonic()
        failures = writer.write(schema.name, parts)
        taken = time.monotonic() - begun
    finally:
        kudu.resume(kudu.tservers[0])
    assert codes(failures) == [(part, row, "kudu.unavailable") for part in (0, 1) for row in range(100)]
    assert taken < 6.0
    assert writer.write(schema.name, parts) == []
    assert writer.count(schema.name) == 200


def test_nothing_is_sent_behind_a_row_that_has_to_wait(
    kudu: LocalKudu, connect: Callable[..., KuduWriter], make: Make
) -> None:
    schema = make(TEXT)
    writer = connect(operation_timeout_s=1.0, flush_mode=SYNC)
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[0, 1], text=["old", "old"])]) == []
    parts = [batch(schema, UPSERT, key=range(20), text=["new"] * 20), batch(schema, DELETE, key=range(20))]
    kudu.pause(kudu.tservers[0])
    try:
        begun = time.monotonic()
        failures = writer.write(schema.name, parts)
        taken = time.monotonic() - begun
    finally:
        kudu.resume(kudu.tservers[0])
    assert codes(failures) == [(part, row, "kudu.unavailable") for part in (0, 1) for row in range(20)]
    assert len({str(failure.error) for failure in failures}) == 1
    assert taken < 4.0  # not a timeout for each row
    assert stored(writer, schema.name) in ([(0, "old"), (1, "old")], [(0, "new"), (1, "old")])
    assert writer.write(schema.name, parts) == []
    assert stored(writer, schema.name) == []


def test_connection_outlives_a_restart_of_the_tablet_server(
    kudu: LocalKudu, connect: Callable[..., KuduWriter], make: Make
) -> None:
    schema = make(TEXT)
    writer = connect()
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[1])]) == []
    kudu.kill_tserver()
    kudu.start_tserver()
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[2])]) == []
    assert writer.count(schema.name) == 2


def test_eight_threads_write_at_once(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, NUMBER)
    writer.write(schema.name, [batch(schema, INSERT, key=[n * 1000 + 5 for n in range(8)])])
    found: dict[int, list[tuple[int, int, str]]] = {}

    def write(number: int) -> None:
        keys = range(number * 1000, number * 1000 + 1000)
        parts = [batch(schema, INSERT, key=keys[n : n + 250], text=[f"{number}"] * 250) for n in range(0, 1000, 250)]
        found[number] = codes(writer.write(schema.name, parts))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [(0, 5, EXISTS)] for number in range(8)}
    assert writer.count(schema.name) == 8000


def test_closed_connection_says_so_and_closes_again(connect: Callable[..., KuduWriter], make: Make) -> None:
    schema = make(TEXT)
    writer = connect()
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[1])]) == []
    writer.close()
    writer.close()
    with pytest.raises(WarehouseError):
        writer.tables()


def test_connection_that_was_never_used_closes(connect: Callable[..., KuduWriter]) -> None:
    writer = connect(masters="127.0.0.1:1")
    writer.close()
    with pytest.raises(WarehouseError):
        writer.tables()


# --- kudu-python alone ------------------------------------------------------------------------------------------------


def test_native_client_that_is_not_installed_is_a_setting_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kudu", None)
    with pytest.raises(ConfigurationError, match="kudu-python is not installed.*; choose java$"):
        connecting.connect(KuduSettings("127.0.0.1:1", backend="native"))


@needs_native
@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"principal": "a@B", "keytab": "f"}, "Kerberos Keytab"),
        ({"ticket_cache": "f"}, "Kerberos Ticket Cache"),
        ({"workers": 2}, "Worker Count"),
        ({"certificates": "there/is/no/such/file"}, "Trusted Certificates"),
    ],
)
def test_what_native_has_no_setting_for_is_refused(chosen: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        connecting.connect(KuduSettings("127.0.0.1:1", backend="native", **chosen))
