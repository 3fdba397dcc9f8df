"""`imagewarehouse table` as operators type it, against a real Kudu."""

from __future__ import annotations

import dataclasses
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from imagewarehouse.cli import table as table_command
from imagewarehouse.cli.kudu import partitions, tablets
from imagewarehouse.cli.kudu.compact_check import problems
from imagewarehouse.cli.kudu.connection import readable
from imagewarehouse.cli.kudu.create import differences
from imagewarehouse.cli.kudu.printing import size
from imagewarehouse.cli.kudu.ranges import parse_server_range, usual_unit
from imagewarehouse.cli.kudu.tablets import Tablet, maintenance
from imagewarehouse.cli.main import call
from imagewarehouse.cli.main import cli as commands
from imagewarehouse.errors import KuduUnavailable
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings, KuduWriter
from imagewarehouse.kudu.declaration import read_schema
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, Range, TableSchema
from imagewarehouse.rows.kudu import image_events
from imagewarehouse.standalone.local_kudu import LocalKudu

NOW = datetime(2026, 11, 15, 12, tzinfo=timezone.utc)
SENSORS = {
    "columns": [
        {"name": "time", "type": "unixtime_micros", "key": True},
        {"name": "sensor", "type": "varchar(40)", "key": True, "encoding": "dict", "comment": "which one"},
        {"name": "price", "type": "decimal(9,2)", "default": "1.50"},
        {"name": "raw", "type": "binary"},
    ],
    "hash": [{"columns": ["sensor"], "buckets": 2}],
    "range": {"column": "time", "unit": "month", "ahead": 1},
    "replicas": 1,
    "comment": "a reading a row",
}
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def one(*arguments: object) -> Result:
        capsys.readouterr()
        code = call(["table", *map(str, arguments)])
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    return one


@pytest.fixture
def masters(kudu: LocalKudu, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("IMAGEWAREHOUSE_KUDU_MASTERS", kudu.masters)
    monkeypatch.setattr(table_command, "_now", lambda: NOW)
    return kudu.masters


@pytest.fixture
def writer(masters: str) -> Iterator[KuduWriter]:
    opened = connect(KuduSettings(masters))
    yield opened
    opened.close()


@pytest.fixture
def name(writer: KuduWriter) -> Iterator[str]:
    """Of a table that is gone after the test."""
    chosen = f"operated_{next(_numbers)}"
    yield chosen
    if chosen in writer.tables():
        writer.drop(chosen)


@pytest.fixture
def data(kudu: LocalKudu, tmp_path: Path) -> Path:
    """Of a service whose own Kudu is the one of the tests: with it, its web pages are known."""
    (tmp_path / "kudu").symlink_to(kudu.folder)
    return tmp_path


@pytest.fixture
def declaration(tmp_path: Path) -> Path:
    path = tmp_path / "sensors.json"
    path.write_text(json.dumps(SENSORS))
    return path


@pytest.fixture
def sensors(run: Run, name: str, declaration: Path) -> str:
    """A table with the ranges October to December 2026."""
    assert run("create", name, "--schema", declaration).code == 0
    return name


def fill(writer: KuduWriter, table: str, month: int, rows: int, year: int = 2026) -> None:
    times = pa.array([datetime(year, month, 2, tzinfo=timezone.utc)] * rows, type=pa.timestamp("us", tz="UTC"))
    names = pa.array([f"sensor {number}" for number in range(rows)])
    raw = pa.array([b"\x00\xff"] * rows)
    batch = RowBatch(
        np.full(rows, Operation.INSERT, dtype=np.uint8),
        (ColumnValues("time", times), ColumnValues("sensor", names), ColumnValues("raw", raw)),
    )
    assert writer.write(table, [batch]) == []


def months(writer: KuduWriter, table: str) -> list[str]:
    writer.schema(table, refresh=True)  # the client remembers the ranges that it has seen
    return [f"{part.lower[0]:%Y-%m}" for part in writer.ranges(table) if part.lower]


# --- create -------------------------------------------------------------------------------------------------------


def test_the_table_of_image_records_is_made_with_its_months(run: Run, writer: KuduWriter, name: str) -> None:
    made = run("create", name, "--buckets", 2, "--months-ahead", 1)
    assert (made.code, made.lines[0]) == (0, f"made table {name}")
    assert "partitions  hashed by request_id into 2" in made.lines
    assert "            ranges over event_time: 3, 2026-10-01 to 2027-01-01" in made.lines
    assert months(writer, name) == ["2026-10", "2026-11", "2026-12"]
    again = run("create", name, "--buckets", 2)
    assert (again.code, again.lines) == (0, [f"table {name} is there already, and fits"])


def test_a_declared_table_is_made(run: Run, writer: KuduWriter, sensors: str) -> None:
    schema = writer.schema(sensors, refresh=True)
    assert [column.type_text for column in schema.columns] == [
        "unixtime_micros",
        "varchar(40)",
        "decimal(9,2)",
        "binary",
    ]
    assert months(writer, sensors) == ["2026-10", "2026-11", "2026-12"]


def test_a_table_that_differs_is_told_and_left_alone(run: Run, writer: KuduWriter, sensors: str) -> None:
    before = writer.schema(sensors, refresh=True)
    found = run("create", sensors)
    assert found.code == 1
    assert f"table {sensors}: has the key time, sensor, expected event_time, request_id" in found.lines
    assert found.lines[-1] == f"table {sensors} is there already, but differs"
    assert writer.schema(sensors, refresh=True) == before


def test_another_layout_fits_with_a_note(run: Run, sensors: str, declaration: Path) -> None:
    declaration.write_text(json.dumps(SENSORS | {"hash": [{"columns": ["sensor"], "buckets": 5}]}))
    found = run("create", sensors, "--schema", declaration)
    assert found.code == 0
    assert "note: it has hashed by sensor into 2, declared is hashed by sensor into 5" in found.lines[0]


def test_a_dry_run_prints_the_declaration_and_connects_to_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGEWAREHOUSE_KUDU_MASTERS", raising=False)
    shown = run("create", "--dry-run", "--keep-months", 12, "--data", tmp_path)
    assert shown.code == 0
    assert read_schema(shown.out, "image_events") == image_events(keep_months=12)


@pytest.mark.parametrize(
    ("content", "options", "problem"),
    [
        pytest.param("{", (), "is not JSON", id="no-json"),
        pytest.param('{"columns": [], "colour": 1}', (), "has no colour", id="unknown-word"),
        pytest.param('{"columns": []}', (), "no column is a key", id="no-key"),
        pytest.param(None, (), "No such file", id="no-file"),
        pytest.param(json.dumps(SENSORS), ("--keep-months", "3"), "--keep-months", id="options-of-image-records"),
        pytest.param(json.dumps(SENSORS), ("--replicas", "2"), "odd number of replicas", id="even-replicas"),
    ],
)
def test_a_wrong_declaration_is_one_line(
    run: Run, tmp_path: Path, content: str | None, options: tuple[str, ...], problem: str
) -> None:
    path = tmp_path / "sensors.json"
    if content is not None:
        path.write_text(content)
    refused = run("create", "sensors", "--schema", path, *options, "--dry-run")
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert refused.err.startswith("imagewarehouse: ")
    assert problem in refused.err


def test_a_declaration_needs_a_name(run: Run, declaration: Path) -> None:
    refused = run("create", "--schema", declaration, "--dry-run")
    assert (refused.code, "TABLE: is needed" in refused.err) == (2, True)


def test_what_kudu_refuses_is_one_line(run: Run, name: str, masters: str) -> None:
    refused = run("create", name, "--replicas", 3)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "replication factor 3" in refused.err


# --- show ---------------------------------------------------------------------------------------------------------


def test_all_tables_are_listed(run: Run, sensors: str) -> None:
    listed = run("show")
    assert listed.lines[0].split() == ["table", "rows", "on", "disk", "ranges", "replicas", "comment"]
    assert any(line.split()[0] == sensors and "a reading a row" in line for line in listed.lines)
    entries = [json.loads(line) for line in run("show", "--json").lines]
    (entry,) = (entry for entry in entries if entry["table"] == sensors)
    assert (entry["ranges"], entry["replicas"]) == (3, 1)


def test_a_table_is_shown_with_its_columns_and_partitions(run: Run, sensors: str) -> None:
    shown = run("show", sensors)
    assert shown.code == 0
    assert shown.lines[0] == f"table {sensors}: a reading a row"
    rows = {line.split()[0]: line.split()[1:] for line in shown.lines[1:]}
    assert rows["sensor"] == ["varchar(40)", "key", "dict", "which", "one"]
    assert rows["price"] == ["decimal(9,2)", "null", "default", "1.50"]
    assert "            ranges over time: 3, 2026-10-01 to 2027-01-01" in shown.lines
    answer = json.loads(run("show", sensors, "--json").out)
    assert (answer["table"], answer["hash"], len(answer["columns"])) == (sensors, SENSORS["hash"], 4)


def test_a_shown_declaration_makes_the_same_table(run: Run, writer: KuduWriter, sensors: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.json"
    path.write_text(run("show", sensors, "--schema").out)
    copy = f"{sensors}_copy"
    try:
        assert run("create", copy, "--schema", path).code == 0
        original, made = writer.schema(sensors, refresh=True), writer.schema(copy, refresh=True)
        assert made == dataclasses.replace(original, name=copy)
        assert writer.ranges(copy) == writer.ranges(sensors)
    finally:
        writer.drop(copy)


def test_rows_are_shown(run: Run, writer: KuduWriter, sensors: str) -> None:
    assert run("show", sensors, "--rows", 2).lines == ["no rows"]
    fill(writer, sensors, 11, 5)
    assert len(run("show", sensors, "--rows", 2).lines) == 3
    row = json.loads(run("show", sensors, "--rows", 1, "--json").lines[0])
    assert row["price"] == "1.50"
    assert (row["time"], row["raw"]) == ("2026-11-02T00:00:00.000000Z", "00ff")


@pytest.mark.parametrize("command", ["show", "partitions", "compact-check"])
def test_a_table_that_is_missing_is_told_with_what_was_perhaps_meant(run: Run, sensors: str, command: str) -> None:
    refused = run(command, sensors.replace("operated", "operatted"))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "Kudu has no table operatted" in refused.err
    assert sensors in refused.err


# --- partitions ---------------------------------------------------------------------------------------------------


def test_ranges_are_listed_with_what_is_missing(run: Run, data: Path, writer: KuduWriter, sensors: str) -> None:
    fill(writer, sensors, 11, 7)
    listed = run("partitions", sensors)
    assert [line.split()[:2] for line in listed.lines[2:5]] == [
        ["2026-10-01", "2026-11-01"],
        ["2026-11-01", "2026-12-01"],
        ["2026-12-01", "2027-01-01"],
    ]
    assert "ended 14 days ago" in listed.lines[2]
    assert listed.lines[3].endswith("now")
    assert "in 15 days" in listed.lines[4]
    assert listed.lines[-1].startswith("missing of this month and the next 2: 2027-01-01 to 2027-02-01")
    counted = [json.loads(line) for line in run("partitions", sensors, "--json", "--data", data).lines]
    assert [entry["rows"] for entry in counted] == [0, 7, 0]
    assert counted[0]["lower"] == ["2026-10-01T00:00:00+00:00"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(["--add", "2027-03"], ["2027-03"], id="a-month"),
        pytest.param(["--add", "2027-03", "--add", "2027-05"], ["2027-03", "2027-05"], id="two-months"),
        pytest.param(["--add-until", "2027-02"], ["2027-01", "2027-02"], id="until-a-month"),
        pytest.param(["--ahead", "2"], ["2027-01"], id="ahead"),
        pytest.param(["--add", "2026-12"], [], id="there-already"),
        pytest.param(["--add", "2027", "--unit", "month"], ["2027-01"], id="unit-given"),
    ],
)
def test_ranges_are_added(run: Run, writer: KuduWriter, sensors: str, options: list[str], expected: list[str]) -> None:
    before = months(writer, sensors)
    would = run("partitions", sensors, *options, "--dry-run", "--json")
    assert [entry["lower"][0][:7] for entry in json.loads(would.out)["added"]] == expected
    assert months(writer, sensors) == before
    assert run("partitions", sensors, *options).code == 0
    assert months(writer, sensors) == before + expected


def test_a_day_and_a_year_are_ranges_too(run: Run, writer: KuduWriter, sensors: str) -> None:
    assert run("partitions", sensors, "--add", "2027-01-05", "--add", "2028").code == 0
    assert [part.upper[0].strftime("%Y-%m-%d") for part in writer.ranges(sensors)[3:] if part.upper] == [
        "2027-01-06",
        "2029-01-01",
    ]


def test_a_range_over_others_is_refused(run: Run, sensors: str) -> None:
    refused = run("partitions", sensors, "--add", "2026")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "conflicts" in refused.err or "overlaps" in refused.err


@pytest.mark.parametrize("with_web", [False, True], ids=["rows-counted", "rows-from-the-web-pages"])
def test_old_ranges_are_dropped_with_yes_only(
    run: Run, data: Path, writer: KuduWriter, sensors: str, with_web: bool
) -> None:
    fill(writer, sensors, 10, 3)
    drop = ["partitions", sensors, "--drop-before", "2026-11", *(["--data", data] if with_web else [])]
    refused = run(*drop)
    assert (refused.code, "--yes: is needed to drop 1 range" in refused.err) == (2, True)
    assert "with 3 rows" in refused.err
    assert run(*drop, "--dry-run").lines == ["2026-10-01 to 2026-11-01  would be dropped with 3 rows"]
    assert months(writer, sensors) == ["2026-10", "2026-11", "2026-12"]
    assert run(*drop, "--yes").lines == ["2026-10-01 to 2026-11-01  dropped with 3 rows"]
    assert months(writer, sensors) == ["2026-11", "2026-12"]
    assert run(*drop, "--yes").lines == ["nothing was changed"]


def test_a_terminal_is_asked_before_rows_are_dropped(
    monkeypatch: pytest.MonkeyPatch, writer: KuduWriter, sensors: str
) -> None:
    monkeypatch.setattr(partitions, "_can_ask", lambda: True)
    drop = ["table", "partitions", sensors, "--drop-before", "2026-11"]
    declined = CliRunner().invoke(commands, drop, input="n\n")
    assert (declined.exit_code, "Drop 1 range" in declined.stderr) == (1, True)
    assert months(writer, sensors)[0] == "2026-10"
    assert CliRunner().invoke(commands, drop, input="y\n").exit_code == 0
    assert months(writer, sensors)[0] == "2026-11"


def test_retention_and_need_in_one_command(run: Run, writer: KuduWriter, sensors: str) -> None:
    assert run("partitions", sensors, "--add", "2026-08").code == 0
    done = json.loads(run("partitions", sensors, "--keep-months", 1, "--ahead", 2, "--yes", "--json").out)
    assert [entry["lower"][0][:7] for entry in done["dropped"]] == ["2026-08"]
    assert months(writer, sensors) == ["2026-10", "2026-11", "2026-12", "2027-01"]


@pytest.fixture
def ten_years_ahead(monkeypatch: pytest.MonkeyPatch, writer: KuduWriter, sensors: str) -> None:
    """The clock of this machine, while the table has rows of October and November 2026."""
    monkeypatch.setattr(table_command, "_now", lambda: NOW.replace(year=2036))
    for month in (10, 11):
        fill(writer, sensors, month, 3)


@pytest.mark.usefixtures("ten_years_ahead")
def test_clock_that_may_be_wrong_drops_nothing_with_yes(run: Run, writer: KuduWriter, sensors: str) -> None:
    drop = ["partitions", sensors, "--keep-months", 2]
    refused = run(*drop, "--ahead", 1, "--yes")
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert "--keep-months: 2026-10-01 to 2026-12-01 would be dropped; is the clock of this machine" in refused.err
    assert "It says 2036-11-15 12:00, Kudu's clock says 2" in refused.err
    assert "if it is, give --drop-before 2026-12" in refused.err
    assert months(writer, sensors) == ["2026-10", "2026-11", "2026-12"]
    would = run(*drop, "--dry-run")
    assert (would.code, len(would.lines)) == (0, 3)
    assert would.err.startswith("warning: 2026-10-01 to 2026-12-01 would be dropped")
    assert months(writer, sensors) == ["2026-10", "2026-11", "2026-12"]
    assert run(*drop, "--drop-before", "2026-12", "--yes").code == 0
    assert months(writer, sensors) == []


@pytest.mark.usefixtures("ten_years_ahead")
def test_clock_that_may_be_wrong_is_told_before_rows_are_dropped(
    monkeypatch: pytest.MonkeyPatch, writer: KuduWriter, sensors: str
) -> None:
    monkeypatch.setattr(partitions, "_can_ask", lambda: True)
    drop = ["table", "partitions", sensors, "--keep-months", "2"]
    declined = CliRunner().invoke(commands, drop, input="n\n")
    assert declined.exit_code == 1
    assert declined.stderr.count("is the clock of this machine right?") == 1
    assert months(writer, sensors) == ["2026-10", "2026-11", "2026-12"]
    assert CliRunner().invoke(commands, drop, input="y\n").exit_code == 0
    assert months(writer, sensors) == []


def test_right_clock_drops_old_months_with_rows_without_a_warning(
    monkeypatch: pytest.MonkeyPatch, run: Run, writer: KuduWriter, sensors: str
) -> None:
    monkeypatch.setattr(table_command, "_now", lambda: datetime(2016, 5, 15, tzinfo=timezone.utc))
    assert run("partitions", sensors, *(word for n in range(1, 6) for word in ("--add", f"2016-0{n}"))).code == 0
    assert months(writer, sensors)[:5] == [f"2016-0{n}" for n in range(1, 6)]
    for month in range(1, 6):
        fill(writer, sensors, month, 2, year=2016)
    done = run("partitions", sensors, "--keep-months", 2, "--yes")
    assert (done.code, "clock" in done.err) == (0, False)
    assert done.lines == [f"2016-0{n}-01 to 2016-0{n + 1}-01  dropped with 2 rows" for n in (1, 2)]
    assert months(writer, sensors)[:3] == ["2016-03", "2016-04", "2016-05"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--add", "December"], "--add: expected a month"),
        (["--add", "2026-13"], "--add: expected a month"),
        (["--drop-before", "2999-01", "--yes"], "--drop-before: 2999-01 is still to come"),
        (["--add-until", "2020-01"], "--add-until: 2020-01-01 is past"),
        (["--add-until", "2999-01"], "more than 1000 ranges"),
        (["--dry-run"], "there is nothing to do"),
    ],
)
def test_a_wrong_time_is_one_line(run: Run, sensors: str, options: list[str], problem: str) -> None:
    refused = run("partitions", sensors, *options)
    assert (refused.code, refused.err.count("\n"), problem in refused.err) == (2, 1, True)


def test_ranges_that_are_no_time_are_listed_and_left_alone(run: Run, writer: KuduWriter, name: str) -> None:
    key = KuduColumn("number", KuduType.INT32, key=True)
    writer.create(TableSchema(name, (key,), range_columns=("number",), ranges=(Range((0,), (9,)), Range((9,), None))))
    assert [line.split() for line in run("partitions", name).lines[1:]] == [
        ["from", "to"],
        ["0", "9"],
        ["9", "without", "a", "bound"],
    ]
    refused = run("partitions", name, "--ahead", 1)
    assert (refused.code, "which is no time" in refused.err) == (2, True)


# --- compact-check ------------------------------------------------------------------------------------------------


def test_a_table_with_rows_is_looked_at(run: Run, kudu: LocalKudu, writer: KuduWriter, sensors: str) -> None:
    fill(writer, sensors, 11, 5000)
    checked = run("compact-check", sensors, "--web", kudu.web())
    assert checked.code == 0
    assert checked.lines[-1] == f"table {sensors}: fine, 6 tablets"
    assert sum("fine" in line for line in checked.lines) == 3
    assert "2026-10-01 to 2026-11-01: no rows in 2 tablets, could be dropped (ended 14 days ago)" in checked.lines
    by_server = json.loads(run("compact-check", sensors, "--web", kudu.web(0), "--json").out)
    assert (by_server["fine"], sum(t["rows"] for t in by_server["tablets"])) == (True, 5000)
    assert all(t["unflushed"] is not None and t["gain"] is not None for t in by_server["tablets"])


def test_a_table_without_a_range_for_now_is_something_to_do(
    run: Run, kudu: LocalKudu, monkeypatch: pytest.MonkeyPatch, sensors: str
) -> None:
    monkeypatch.setattr(table_command, "_now", lambda: datetime(2027, 6, 1, tzinfo=timezone.utc))
    checked = run("compact-check", sensors, "--web", kudu.web())
    assert (checked.code, "no range takes rows of now" in checked.out) == (1, True)
    assert checked.lines[-1] == f"table {sensors}: 1 finding, 6 tablets"


def test_web_pages_that_do_not_answer_are_told(run: Run, sensors: str) -> None:
    checked = run("compact-check", sensors, "--web", "127.0.0.1:1")
    assert (checked.code, checked.err.count("\n")) == (2, 1)
    assert "--web: give the web address" in checked.err


GIB = 1 << 30
GOOD = Tablet("0" * 32, "", "http://t", rows=5000, data=GIB, rowsets=40, height=1.2, unflushed=100, deltas=0, gain=0.0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param({}, None, id="good"),
        pytest.param({"rows": 0, "data": 0, "height": 0.0}, None, id="empty"),
        pytest.param({"rows": None, "data": None, "height": None, "unflushed": None}, None, id="nothing-known"),
        pytest.param({"height": 2.0}, None, id="freshly-flushed"),
        pytest.param({"height": 3.4}, "no compaction: raise --tablet_compaction_budget_mb", id="none-planned"),
        pytest.param({"height": 3.4, "gain": 0.2}, "waits for its turn", id="planned"),
        pytest.param({"height": 3.4, "gain": None}, "does not keep up", id="plan-unknown"),
        pytest.param({"height": 3.4, "compacting": True}, None, id="being-compacted"),
        pytest.param({"data": 11 * GIB}, "more than the 10 GiB", id="large"),
        pytest.param({"data": 51 * GIB}, "limit of 50 GiB", id="too-large"),
        pytest.param({"unflushed": GIB, "deltas": 1}, "only in memory", id="unflushed"),
        pytest.param({"rows": 10_001}, "another bucket has 5,000", id="skewed"),
        pytest.param({"state": "BOOTSTRAPPING"}, "is BOOTSTRAPPING", id="not-running"),
    ],
)
def test_a_tablet_is_judged(changes: dict[str, Any], problem: str | None) -> None:
    tablet = dataclasses.replace(GOOD, **changes)
    found = problems(tablet, [tablet] if changes.get("rows") in (0, None) else [tablet, GOOD])
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


def test_few_rows_are_never_skewed() -> None:
    few = dataclasses.replace(GOOD, rows=999)
    assert problems(few, [few, dataclasses.replace(GOOD, rows=1)]) == []


def test_the_master_that_leads_is_found_and_servers_that_are_away_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = {"table_name": "t", "partition": "HASH (a) PARTITION 1, RANGE (b) PARTITION 1 <= VALUES < 2"}
    pages = {
        "http://follower/dump-entities": {"tables": [], "tablets": []},
        "http://leader/dump-entities": {
            "tables": [{"table_id": "i", "table_name": "t"}],
            "tablets": [
                {"table_id": "i", "tablet_id": "one", "state": "RUNNING", "leader": "u1"},
                {"table_id": "i", "tablet_id": "two", "state": "RUNNING", "leader": "u2"},
                {"table_id": "i", "tablet_id": "three", "state": "RUNNING"},
            ],
            "tablet_servers": [
                {"uuid": "u1", "http_addrs": ["http://s1"]},
                {"uuid": "u2", "http_addrs": ["http://s2"]},
            ],
        },
        "http://s1/metrics": [
            {"id": "one", "attributes": attributes, "metrics": [{"name": "live_row_count", "value": 7}]},
            {"id": "two", "attributes": attributes, "metrics": [{"name": "live_row_count", "value": 6}]},
            {"id": "old", "attributes": attributes, "metrics": [{"name": "state", "value": ""}]},
        ],
    }

    def get(url: str, timeout: float) -> bytes:
        page = pages.get(url.partition("?")[0])
        if page is None:
            raise KuduUnavailable(f"{url} did not answer")
        return json.dumps(page).encode()

    monkeypatch.setattr(tablets, "_get", get)
    found = tablets.read_tablets(["away", "follower", "leader"], "t", 1.0)
    assert [(t.id, t.rows, t.bucket, t.range, t.deltas) for t in found.tablets] == [
        ("one", 7, "1", "1 <= VALUES < 2", None)
    ]
    assert found.leaderless == ("three",)
    assert len(found.unread) == 1
    assert "http://s2" in found.unread[0]


def test_the_page_of_maintenance_operations_is_read() -> None:
    cells = "<td>true</td>\n <td>1.50M</td><td>0B</td><td>0.25</td><td>0</td><td>0B</td>"
    running = f"<td>CompactRowSetsOp({'b' * 32})</td><td>1s</td><td>now</td>"
    page = f"<tr><td>FlushMRSOp({'a' * 32})</td>\n{cells}</tr><tr>{running}</tr>"
    assert maintenance(page) == {("FlushMRSOp", "a" * 32): (3 << 19, 0.25)}
    assert maintenance("<html>another page</html>") == {}


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("2026-11-01 <= VALUES < 2026-12-01", KuduType.DATE, Range((date(2026, 11, 1),), (date(2026, 12, 1),))),
        (
            "2026-11-01 <= VALUES < 2026-12-01T00:00:00.000001Z",
            KuduType.UNIXTIME_MICROS,
            Range(
                (datetime(2026, 11, 1, tzinfo=timezone.utc),), (datetime(2026, 12, 1, 0, 0, 0, 1, tzinfo=timezone.utc),)
            ),
        ),
        ("VALUES < 2026-12-01", KuduType.DATE, Range(None, (date(2026, 12, 1),))),
        ("2026-12-01 <= VALUES", KuduType.DATE, Range((date(2026, 12, 1),), None)),
        ("1 <= VALUES < 2", KuduType.INT32, None),
        ("UNBOUNDED", KuduType.DATE, None),
        ("x <= VALUES < y", KuduType.DATE, None),
    ],
)
def test_a_range_as_servers_write_it(text: str, kind: KuduType, expected: Range | None) -> None:
    assert parse_server_range(text, kind) == expected


def test_differences_are_those_that_keep_rows_away() -> None:
    there = TableSchema(
        "t",
        (
            KuduColumn("k", KuduType.INT32, key=True),
            KuduColumn("a", KuduType.INT32, nullable=True),
            KuduColumn("must", KuduType.STRING),
            KuduColumn("more", KuduType.STRING, nullable=True),
        ),
    )
    declared = TableSchema(
        "t",
        (
            KuduColumn("k", KuduType.INT32, key=True),
            KuduColumn("a", KuduType.INT64, nullable=True),
            KuduColumn("b", KuduType.INT8, nullable=True),
        ),
        hashes=(HashPartition(("k",), 2),),
    )
    found, notes = differences(there, declared)
    assert found == [
        "lacks the column b int8",
        "column a is int32, expected int64",
        "column must needs a value, and is not declared",
    ]
    assert notes == ["it has not hashed, declared is hashed by k into 2; only a new table can be laid out so"]
    assert differences(there, there) == ([], [])


@pytest.mark.parametrize(
    ("upper", "unit"),
    [((2026, 11, 2), "day"), ((2026, 12, 1), "month"), ((2026, 11, 9), None)],
)
def test_the_unit_of_a_table_is_that_of_its_ranges(upper: tuple[int, int, int], unit: str | None) -> None:
    columns = (KuduColumn("d", KuduType.DATE, key=True),)
    part = Range((date(2026, 11, 1),), (date(*upper),))
    assert usual_unit(TableSchema("t", columns, range_columns=("d",)), [part]) == unit


@pytest.mark.parametrize(
    ("value", "text"), [(None, "?"), (-1, "?"), (0, "0 B"), (1536, "1.5 KiB"), (GIB * 10, "10.0 GiB")]
)
def test_sizes_are_readable(value: int | None, text: str) -> None:
    assert size(value) == text


# --- which Kudu ---------------------------------------------------------------------------------------------------


def test_without_masters_the_local_kudu_is_meant(
    run: Run, sensors: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGEWAREHOUSE_KUDU_MASTERS")
    assert run("show", sensors, "--data", data).code == 0
    checked = run("compact-check", sensors, "--data", data)  # and its web pages are known
    assert checked.code == 0


def test_without_masters_and_without_a_local_kudu_masters_are_asked_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGEWAREHOUSE_KUDU_MASTERS", raising=False)
    never = run("show", "--data", tmp_path)
    assert (never.code, never.err.count("\n")) == (2, 1)
    assert "--masters: is needed: no Kudu has ever run" in never.err
    (tmp_path / "kudu").mkdir()
    (tmp_path / "kudu" / "ports.json").write_text('{"master": [1, 2]}')
    stopped = run("show", "--data", tmp_path)
    assert (stopped.code, "does not run now" in stopped.err) == (2, True)


@pytest.mark.parametrize(
    ("masters", "problem"),
    [
        ("127.0.0.1:1", "no master of Kudu answers at 127.0.0.1:1 (Connection refused)"),
        ("kudu.invalid:7051,127.0.0.1:1", "127.0.0.1:1 (Connection refused)"),
        ("a:b:c", "--masters: expected host:port of each master"),
    ],
)
def test_masters_that_cannot_be_reached_are_one_line(run: Run, masters: str, problem: str) -> None:
    refused = run("show", "--masters", masters)
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert problem in refused.err


def test_the_words_of_a_client_are_cut_short() -> None:
    away = "Service unavailable: Couldn't find a valid master in (k:1). Exceptions received: "
    why = "[org.apache.kudu.client.NonRecoverableException: Couldn't resolve this master's address k:1]"
    assert readable(away + why, "k:1", 5) == (
        "Service unavailable: Couldn't find a valid master in (k:1). Couldn't resolve this master's address k:1"
    )
    late = "[org.apache.kudu.client.NonRecoverableException: cannot complete before timeout: KuduRpc(method=X))]"
    assert readable(away + late, "k:1", 5) == "Kudu at k:1 did not answer within 5 s"
    assert readable("Network error: connection reset", "k:1", 5) == "Network error: connection reset"


def test_a_master_that_says_nothing_is_given_up_in_time(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        refused = run("show", "events", "--masters", address, "--timeout", 2)
        took = time.monotonic() - started
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == f"imagewarehouse: Kudu at {address} did not answer within 2 s\n"
    assert took < 10  # with the start of Java
