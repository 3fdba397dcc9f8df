"""PutKuduRecord's settings: masters, timeouts, authentication; wrong ones are found and named."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.nifi import kudu_options as options
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_processor
from tests.conftest import until
from tests.kudu_processor import Put, Table, content

# pytest finds fixtures among the names of a module
make_table = kudu_processor.make_table
put = kudu_processor.put
table = kudu_processor.table
writer = kudu_processor.writer


# --- Kudu Masters, timeouts, workers, Kerberos ----------------------------------------------------------------------


def test_masters_are_addresses_with_or_without_a_port(hosted: Callable[..., Any]) -> None:
    masters = {"Kudu Masters": "a.example:7051, b.example ,[::1]:7151", "Record Source": "content"}
    settings = options.kudu_settings(hosted("PutKuduRecord", masters).host.context)
    assert settings.addresses == ("a.example:7051", "b.example:7051", "[::1]:7151")


def test_masters_that_do_not_answer_send_the_flowfile_to_retry_in_time(put: Put) -> None:
    away = put("any", {"Kudu Masters": "127.0.0.1:1", "Admin Timeout": "400 ms", "Retries": "0"})
    start = time.monotonic()
    sent = content({"key": 1})
    left = away.transform(sent, {"a": "b"})
    assert (left.relationship, left.content, left.attributes) == ("retry", sent, {"a": "b"})
    assert time.monotonic() - start < 10


def test_rows_wait_for_a_tablet_server_as_long_as_the_operation_timeout(
    put: Put, table: Table, kudu: LocalKudu
) -> None:
    host = put(table, {"Operation Timeout": "700 ms", "Retries": "0"})
    assert host.transform(content({"key": 1, "name": "before"})).relationship == "success"
    sent = content({"key": 1, "name": "after"}, {"key": 2})
    kudu.pause("tserver-0")
    try:
        start = time.monotonic()
        left = host.transform(sent)
        waited = time.monotonic() - start
    finally:
        kudu.resume("tserver-0")
    assert (left.relationship, left.content) == ("retry", sent)
    assert 0.5 < waited < 10
    assert host.transform(left.content).set == {"record.count": "2"}
    assert table.column("name") == {1: "after", 2: None}


def test_timeouts_and_flush_settings_reach_the_client(put: Put, table: Table) -> None:
    chosen = {"Operation Timeout": "7 sec", "Admin Timeout": "9 sec", "Batch Size": "77", "Client Worker Count": "3",
              "Flush Mode": "MANUAL_FLUSH", "Kudu SASL Protocol Name": "kudu-prod", "Encryption": "required"}  # fmt: skip
    host = put(table, chosen)
    assert host.transform(content({"key": 1})).relationship == "success"
    opened = host.processor.rows.get(host.host.context).tables.writer
    settings = opened.settings
    assert (settings.operation_timeout_s, settings.admin_timeout_s, settings.batch_rows) == (7, 9, 77)
    assert (settings.workers, settings.flush_mode, settings.sasl_protocol_name) == (3, "MANUAL_FLUSH", "kudu-prod")
    java = opened._async
    assert (java.getDefaultOperationTimeoutMs(), java.getDefaultAdminOperationTimeoutMs()) == (7000, 9000)


def test_cluster_that_authenticates_nobody_is_refused_where_that_is_required(put: Put, table: Table) -> None:
    left = put(table, {"Require Authentication": "true", "Retries": "0", "Admin Timeout": "2 sec"}).transform(
        content({"key": 1})
    )
    assert left.relationship in ("retry", "failure")
    assert table.rows == []


# --- settings -------------------------------------------------------------------------------------------------------

WRONG: list[Any] = [
    ("Kudu Masters", "kudu:70510"),
    ("Kudu Masters", "a b"),
    ("Kudu Masters", "kudu:7051,"),
    ("Kudu Masters", None),
    ("Table Name", ""),
    ("Record Source", "files"),
    ("Record Format", "csv"),
    ("Operation", "PUT"),
    ("Operation", ""),
    ("Operation Path", "op"),
    ("Operation Path", "/op/"),
    ("Data Path", "after"),
    ("Data Path", "/items[0]"),
    ("Data Path", "coalesce(/after, /before)"),
    ("Field Mapping", "{"),
    ("Field Mapping", "[]"),
    ("Field Mapping", '{"a": 1}'),
    ("Lowercase Field Names", "yes"),
    ("Ignore Nulls", "1"),
    ("Unknown Fields", "drop"),
    ("Integer Timestamps", "nanos"),
    ("Text in Binary Columns", "ascii"),
    ("Table Schema", "key int32"),
    ("Table Schema", '{"columns": []}'),
    ("Table Schema", '{"columns": [{"name": "key", "type": "int33", "key": true}]}'),
    ("Batch Size", "0"),
    ("Batch Size", "100001"),
    ("Batch Size", "many"),
    ("Flush Mode", "SYNC"),
    ("Operation Timeout", "10"),
    ("Admin Timeout", "soon"),
    ("Retries", "-1"),
    ("Retries", "101"),
    ("Retry Back-off", "later"),
    ("Kudu Client", "cpp"),
    ("Client Worker Count", "many"),
    pytest.param("Client Worker Count", "-1"),
    pytest.param("Operation Timeout", "0 sec"),
    pytest.param("Admin Timeout", "0 sec"),
    ("Kudu SASL Protocol Name", ""),
    ("Kerberos Keytab", "kudu.keytab"),
    ("Require Authentication", "yes"),
    ("Encryption", "never"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_setting_is_found_before_the_first_flowfile_and_named(
    hosted: Callable[..., Any], name: str, value: str | None
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        hosted("PutKuduRecord", {"Kudu Masters": "localhost", "Record Source": "content", name: value})
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("Months to Keep", "0"), ("Months to Keep", "1.5"), ("Table Name", "${t}")]
)
def test_wrong_setting_of_image_records_is_found(hosted: Callable[..., Any], name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        hosted("PutKuduRecord", {"Kudu Masters": "localhost", name: value})
    assert name in str(caught.value)


def test_secrets_are_not_in_what_is_said_about_settings(hosted: Callable[..., Any]) -> None:
    secret = "eyJhbGciOiJSUzI1NiJ9.made-up"
    with pytest.raises(ConfigurationError) as caught:
        hosted("PutKuduRecord", {"Kudu Masters": "localhost", "JSON Web Token": secret, "Batch Size": "0"})
    assert secret not in str(caught.value)


def test_wrong_value_of_an_expression_sends_its_flowfile_to_failure_only(put: Put, table: Table) -> None:
    host = put(table, {"Lowercase Field Names": "${l}", "Ignore Nulls": "${i}", "Unknown Fields": "${u}"})
    for name in "liu":
        left = host.transform(content({"key": 1}), {name: "maybe"})
        assert (left.relationship, left.set["error_code"]) == ("failure", "configuration")
    assert host.transform(content({"key": 1})).relationship == "success"


def test_processor_works_again_after_a_stop_and_a_start(put: Put, table: Table) -> None:
    host = put(table)
    for key in (1, 2):
        host.processor.onScheduled(host.host.context)
        assert host.transform(content({"key": key})).relationship == "success"
        host.processor.onStopped(host.host.context)
    assert list(table.column("key")) == [1, 2]


def test_restarts_leave_no_threads(put: Put, table: Table) -> None:
    host = put(table)
    threads = Path("/proc/self/task")
    counts = []
    for key in range(8):
        host.host.schedule()
        assert host.transform(content({"key": key})).relationship == "success"
        host.host.stop()
        counts.append(len(list(threads.iterdir())))
    assert until(lambda: len(list(threads.iterdir())) <= counts[0] + 4)
