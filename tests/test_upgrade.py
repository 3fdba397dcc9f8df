"""What version 0.1.0 left behind goes on under this one: a data folder, a table in Kudu, FlowFiles in queues, a flow.

tests/data/warehouse-0.1.0/README.md says what there is and how it was made. tests/nifi/test_upgrade.py has the NiFi.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from imagewarehouse import ids
from imagewarehouse.cli.rows import plain, query
from imagewarehouse.deployment.flow import Group, check_origin, read_definition
from imagewarehouse.deployment.parameters import Present, merge
from imagewarehouse.flows.build import FLOW_FILE
from imagewarehouse.flows.definition import read_flow, walk_groups
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings, KuduWriter
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.nifi.packages import read_package
from imagewarehouse.rows.columns import SCHEMA
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.conftest import REPOSITORY, Hosted, Left, until
from tests.running import Service, post

OLD = REPOSITORY / "tests" / "data" / "warehouse-0.1.0"
EXAMPLES = REPOSITORY / "examples"
JPEG = {"Content-Type": "image/jpeg"}
Row = dict[str, Any]

# --- the data folder of `imagewarehouse run` ----------------------------------------------------------------------

_IN_THAT_WEEK = (  # keys of clients are taken for seven days
    "from datetime import timedelta; from imagewarehouse import ids; ids.MAX_AGE = timedelta(days=36_500);"
    " from imagewarehouse.cli.main import main; main()"
)


class Upgraded(Service):
    """This version in a folder of the old one, in the week in which that was stopped."""

    def command(self) -> list[str]:
        python, _, _, *arguments = super().command()
        return [python, "-c", _IN_THAT_WEEK, *arguments]

    def row(self, request_id: str) -> Row:
        (found,) = self.rows(f"SELECT * FROM image_events WHERE request_id = '{request_id}'")
        return found

    def journalled(self) -> int:
        return len(entries(self.data))


def copied(folder: Path) -> Path:
    """The old data folder, as kill -9 left it."""
    return Path(shutil.copytree(OLD / "data", folder / "data"))


def entries(data: Path) -> list[dict[str, str]]:
    """Attributes of what is in a journal."""
    with closing(sqlite3.connect(data / "journal.sqlite")) as connection:
        return [json.loads(text) for (text,) in connection.execute("SELECT attributes FROM entries ORDER BY number")]


def unfinished(folder: Path) -> dict[str, str]:
    """What the old journal has: file names by request id."""
    found = {one["Idempotency-Key"]: one for one in entries(copied(folder))}
    return {key: one["Content-Disposition"].partition('filename="')[2].rstrip('"') for key, one in found.items()}


def old_rows(folder: Path) -> dict[str, Row]:
    """The old rows by their ids, as DuckDB alone reads them."""
    with duckdb.connect(str(copied(folder) / "rows.duckdb")) as database:
        database.execute("SET TimeZone='UTC'")
        found = database.sql("SELECT * FROM image_events").to_arrow_table().to_pylist()
    return {row["request_id"]: {name: plain(value) for name, value in row.items()} for row in found}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    return old_rows(tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return unfinished(tmp_path_factory.mktemp("journal"))


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, Row], journal: dict[str, str]
) -> Iterator[Upgraded]:
    """Running in a copy, and done with what the old one had not finished."""
    with Upgraded(copied(tmp_path_factory.mktemp("upgraded"))) as running:
        assert until(lambda: running.count() >= len(before) + len(journal), 30)
        yield running


def test_the_old_folder_has_what_it_is_to_show(before: dict[str, Row], journal: dict[str, str]) -> None:
    assert Counter(row["status"] for row in before.values()) == {"classified": 6, "rejected": 2, "failed": 1}
    assert sorted(journal.values()) == ["a frog again.jpg", "horse.jpg", "ship.jpg", "ship.jpg", "truck.jpg"]
    assert not journal.keys() & before.keys()


def test_old_rows_are_there_as_they_were(service: Upgraded, before: dict[str, Row]) -> None:
    found = {row["request_id"]: row for row in service.rows("SELECT * FROM image_events")}
    for request_id, row in before.items():
        assert {name: found[request_id][name] for name in row} == row


def test_what_was_acknowledged_is_finished_exactly_once(service: Upgraded, journal: dict[str, str]) -> None:
    assert until(lambda: service.journalled() == 0)
    for request_id, name in journal.items():
        row = service.row(request_id)
        assert (row["status"], row["file_name"]) == ("classified", name)
        assert row["predicted_class"] in name
        assert Path(row["storage_uri"].removeprefix("file://")).is_relative_to(service.data)


def test_old_rows_have_the_columns_that_came_since(service: Upgraded, before: dict[str, Row]) -> None:
    assert not any(ADDED & row.keys() for row in before.values())
    found = {row["request_id"]: row for row in service.rows("SELECT * FROM image_events")}
    for request_id in before:
        assert {name: found[request_id][name] for name in ADDED} == dict.fromkeys(ADDED)


class Late(Upgraded):
    """Started when no key of the journal would be taken from a client any more."""

    def command(self) -> list[str]:
        return [text.replace("timedelta(days=36_500)", "timedelta(0)") for text in super().command()]


def test_what_was_acknowledged_is_finished_however_long_the_service_was_away(
    tmp_path: Path, before: dict[str, Row], journal: dict[str, str]
) -> None:
    with Late(copied(tmp_path)) as service:
        assert until(lambda: service.count() >= len(before) + len(journal), 30)
        assert {service.row(request_id)["status"] for request_id in journal} == {"classified"}


@pytest.mark.parametrize("end", [Upgraded.stop, Upgraded.kill], ids=["stopped", "killed"])
def test_a_journal_that_is_replayed_twice_adds_nothing(
    tmp_path: Path, before: dict[str, Row], journal: dict[str, str], end: Callable[[Upgraded], object]
) -> None:
    service = Upgraded(copied(tmp_path))
    for _ in range(2):
        with service:
            assert until(lambda: service.count() >= len(before) + len(journal) and service.journalled() == 0, 30)
            end(service)
        for path in service.data.glob("journal.sqlite*"):
            path.unlink()
        for path in (OLD / "data").glob("journal.sqlite*"):
            shutil.copy(path, service.data)
    with service:
        assert until(lambda: service.journalled() == 0, 30)
        found = [row["request_id"] for row in service.rows("SELECT request_id FROM image_events")]
        assert sorted(found) == sorted([*before, *journal])


def test_new_images_are_added(service: Upgraded) -> None:
    count = service.count()
    answer = post(service.classify_url, (EXAMPLES / "horse.jpg").read_bytes(), JPEG)
    assert (answer.status, answer.json()["predicted_class"]) == (200, "horse")
    assert service.row(answer.json()["request_id"])["predicted_class"] == "horse"
    acknowledged = post(service.images_url, (EXAMPLES / "cat.jpg").read_bytes(), JPEG)
    assert acknowledged.status == 202
    assert until(lambda: service.count() == count + 2)
    assert service.row(acknowledged.json()["request_id"])["predicted_class"] == "cat"


def test_an_image_that_the_old_version_stored_is_not_stored_again(service: Upgraded) -> None:
    content = (EXAMPLES / "frog.jpg").read_bytes()
    (path,) = (one for one in service.objects() if one.read_bytes() == content)
    first = path.stat()
    answer = post(service.classify_url, content, JPEG).json()
    assert answer["storage_uri"] == path.as_uri()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    stored = [one.stem for one in service.objects()]
    assert len(stored) == len(set(stored))
    assert {path.stem for path in (OLD / "data" / "objects").rglob("*.jpg")} <= set(stored)


def test_a_retry_with_the_key_of_an_old_row_replaces_that_row(tmp_path: Path, before: dict[str, Row]) -> None:
    content, name = (EXAMPLES / "truck.jpg").read_bytes(), {"Content-Disposition": 'attachment; filename="instead.jpg"'}
    with Upgraded(copied(tmp_path)) as service:
        assert until(lambda: service.journalled() == 0, 30)
        count = service.count()
        for old in before.values():
            answer = post(service.classify_url, content, {**JPEG, **name, "Idempotency-Key": old["request_id"]})
            assert answer.status == 200
            row = service.row(old["request_id"])
            assert row["event_time"] == old["event_time"]
            assert (row["status"], row["file_name"], row["predicted_class"]) == ("classified", "instead.jpg", "truck")
            assert row["error_code"] is None
        assert service.count() == count


def test_rows_are_shown_while_it_runs_and_after(
    tmp_path: Path, before: dict[str, Row], journal: dict[str, str]
) -> None:
    service = Upgraded(copied(tmp_path))

    def shown(*arguments: str) -> str:
        command = [sys.executable, "-m", "imagewarehouse.cli.main", "rows", "--data", str(service.data), *arguments]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True).stdout

    request_id = next(request_id for request_id, row in before.items() if row["status"] == "failed")
    for _ in range(2):  # before the first start, and after a stop
        assert "objects.unavailable" in shown("--status", "failed")
        assert "dog.jpg" in shown("--request", request_id)
        with service:
            assert until(lambda: service.count() == len(before) + len(journal), 30)
            found = [json.loads(line) for line in shown("--json", "--limit", "100").splitlines()]
            assert {row["request_id"] for row in found} == {*before, *journal}


# --- a table in Kudu ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was made as the old version made it, by Kudu's own command, with the old rows in it."""

    name: str
    kudu: LocalKudu
    writer: KuduWriter
    old: list[Row]
    described: list[str]

    def describe(self) -> list[str]:
        flags = ("-show_attributes", "-show_column_comment")
        lines = self.kudu.cli("table", "describe", self.kudu.masters, self.name, *flags).splitlines()
        return [line for line in lines if not line.startswith("OWNER")]

    def rows(self) -> dict[str, Row]:
        self.writer.schema(self.name, refresh=True)  # another client may have added columns
        found = self.writer.scan(self.name).to_pylist()
        assert len(found) == len({row["request_id"] for row in found})
        return {row["request_id"]: row for row in found}


@pytest.fixture
def table(kudu: LocalKudu) -> Iterator[Table]:
    found = json.loads((OLD / "kudu.json").read_text(encoding="utf-8"))
    name = f"upgrade_{uuid.uuid4().hex}"
    kudu.cli("table", "create", kudu.masters, json.dumps({**found["create"], "table_name": name}))
    writer = connect(KuduSettings(kudu.masters))
    rows = [{**row, "event_time": _time(row["event_time"])} for row in found["rows"]]
    old = [f for f in SCHEMA if f.name not in ADDED]
    values = tuple(ColumnValues(f.name, pa.array([row[f.name] for row in rows], f.type)) for f in old)
    assert not writer.write(name, [RowBatch(np.full(len(rows), Operation.INSERT, dtype=np.uint8), values)])
    described = [line.replace("image_events", name, 1) for line in found["described"]]
    yield Table(name, kudu, writer, rows, described)
    writer.drop(name)
    writer.close()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_the_table_is_as_the_old_version_made_it(table: Table) -> None:
    assert table.describe() == table.described
    assert len(table.rows()) == len(table.old) == 4


def test_an_old_table_takes_new_rows_and_retries_of_old_ones_and_loses_nothing(
    table: Table, hosted: Callable[..., Hosted], record: Callable[..., ImageRecord]
) -> None:
    host = hosted("PutKuduRecord", {"Kudu Masters": table.kudu.masters, "Table Name": table.name})
    before = table.rows()
    new = record(
        status="classified", predicted_class="cat", confidence=0.5, file_name="new.png", fields='{"part": "4711"}'
    )
    failed = next(row for row in table.old if row["status"] == "failed")
    retried = record(
        status="classified", predicted_class="dog", request_id=failed["request_id"], event_time=failed["event_time"]
    )
    for one in (new, retried):
        assert host.transform(b"the image", one.as_attributes()).relationship == "success"
    after = table.rows()
    assert after.keys() == before.keys() | {new.request_id}
    assert after[new.request_id]["file_name"] == "new.png"
    assert after[new.request_id]["fields"] == '{"part": "4711"}'  # the table got the column
    replaced = after[failed["request_id"]]
    assert (replaced["status"], replaced["predicted_class"]) == ("classified", "dog")
    assert (replaced["error_code"], replaced["file_name"]) == (None, None)
    for request_id in before.keys() - {failed["request_id"]}:
        assert {name: after[request_id][name] for name in before[request_id]} == before[request_id]
    # Columns, partitions and ranges are still there; more of them may have come.
    described = [line.rstrip(",") for line in table.describe()]
    assert {line.rstrip(",") for line in table.described} <= set(described)
    columns = len(SCHEMA) - len(ADDED)
    assert described[1 : columns + 1] == [line.rstrip(",") for line in table.described[1 : columns + 1]]


def test_packages_that_were_queued_go_into_the_old_table(table: Table, hosted: Callable[..., Hosted]) -> None:
    settings = {"Kudu Masters": table.kudu.masters, "Table Name": table.name, "FlowFile Packages": "true"}
    host = hosted("PutKuduRecord", settings)
    case = cases()["listened many"]
    for _ in range(2):  # as after a crash
        assert host.transform(*case.came("PutKuduRecord")).relationship == "success"
    found = table.rows()
    assert len(found) == len(table.old) + len(case.rows)
    for row in case.rows:
        written = found[row["request_id"]]
        assert (written["status"], written["predicted_class"], written["storage_uri"]) == (
            row["status"], row["predicted_class"], row["storage_uri"],
        )  # fmt: skip


# --- FlowFiles that lie in the queues -----------------------------------------------------------------------------

STEPS = ("FilterImageRequest", "EnrichImageMetadata", "StoreImage", "ClassifyImage", "PutKuduRecord")
ADDED = {"fields", "notes", "embedding"}  # columns that 0.1.0 did not have
MEASURED = {"total_ms", "node", "preprocess_ms", "inference_ms"}
OF_AN_ANSWER = ("http.response.status", "mime.type", "Retry-After")


@dataclass(frozen=True, slots=True)
class Case:
    """How a FlowFile left each step of the old version, and what became of it there."""

    name: str
    packages: bool
    keys: str
    passed: list[Mapping[str, Any]]
    rows: list[Row]
    contents: Mapping[str, bytes]

    def steps(self) -> list[str]:
        return [one["step"] for one in self.passed[1:]]

    def came(self, step: str) -> tuple[bytes, Mapping[str, str]]:
        """(content, attributes) of the FlowFile in front of a step."""
        number = self.steps().index(step)
        return self._content(number), self.passed[number]["attributes"]

    def end(self) -> Left:
        attributes = self.passed[-1]["attributes"]
        return Left(self.passed[-1]["way"], attributes, self._content(-1), attributes)

    def _content(self, number: int) -> bytes:
        return self.contents[self.passed[number]["content"]]


@cache
def cases() -> Mapping[str, Case]:
    found = json.loads((OLD / "flowfiles.json").read_text(encoding="utf-8"))
    contents = {name: base64.b64decode(text) for name, text in found["contents"].items()}
    return {name: Case(name, contents=contents, **one) for name, one in found["cases"].items()}


QUEUES = [
    pytest.param(name, step, id=f"{name.replace(' ', '-')}-before-{step}")
    for name in cases()
    for step in cases()[name].steps()
]


def go_on(hosted: Callable[..., Hosted], folder: Path, case: Case, first: str) -> Left:
    """The rest of the way under this version, as the flow connects the steps."""
    (folder / "objects").mkdir()
    for row in case.rows:
        if row["error_code"] == "objects.unavailable":  # it meets what it met then
            (folder / "objects" / row["image_id"][:2]).write_text("in the way")
    settings = {
        "FilterImageRequest": {"Access Keys": case.keys},
        "StoreImage": {"Store URI": str(folder / "objects")},
        "ClassifyImage": {"Model Folder": str(OLD / "model")},
        "PutKuduRecord": {"Local Database": str(folder / "rows.duckdb")},
    }
    content, attributes = case.came(first)
    left = Left("success", attributes, content, {})
    step: str | None = first
    while step is not None:
        host = hosted(step, {**settings.get(step, {}), "FlowFile Packages": str(case.packages).lower()})
        left = host.transform(left.content, left.attributes)
        assert left.relationship != "failure", (step, left.set)
        host.host.stop()
        ended = left.relationship == "rejected" and step != STEPS[0]
        number = STEPS.index(step) + 1
        step = None if number == len(STEPS) else STEPS[-1] if ended else STEPS[number]
    return left


def comparable(row: Row, first: str) -> Row:
    """Without what a step that is done again may do otherwise: times, places, and words of errors."""
    ran = STEPS[STEPS.index(first) :]
    found = {name: value for name, value in row.items() if name not in MEASURED}
    if "FilterImageRequest" in ran:
        for name in ("request_id", "event_time", "error_detail"):
            del found[name]
    if "StoreImage" in ran:
        found["storage_uri"] = (row["storage_uri"] or "").rpartition("/objects/")[2]
        if row["status"] == "failed":
            found.pop("error_detail", None)
    if "ClassifyImage" in ran and row["confidence"] is not None:
        found["confidence"] = pytest.approx(row["confidence"], abs=0.001)
        best = json.loads(row["top_k"]) if isinstance(row["top_k"], str) else row["top_k"]
        found["top_k"] = [one["class"] for one in best[:1]]
    return found


def told(left: Left, packages: bool, first: str) -> dict[str, Any]:
    """What each client that waits is answered."""
    if not packages:
        parts = [(left.attributes, left.content or b"")] if "http.response.status" in left.attributes else []
    elif left.attributes["answers"]:
        parts = [
            ({**left.attributes, **one.attributes}, bytes(one.content)) for one in read_package(left.content or b"")
        ]
    else:
        parts = []
    found = {}
    for attributes, content in parts:
        body = json.loads(content)
        if "predicted_class" in body:
            body = comparable({name: value for name, value in body.items() if name not in ADDED}, first)
        else:
            body = {name: body.get(name) for name in ("type", "title", "status", "error_code")}
        found[attributes.get("http.context.identifier", "")] = [attributes.get(name) for name in OF_AN_ANSWER], body
    return found


def _by_image(row: Row) -> str:
    return repr([row[name] for name in ("file_name", "image_id", "error_code", "size_bytes")])


@pytest.mark.parametrize(("name", "step"), QUEUES)
def test_a_flow_file_that_was_queued_ends_as_it_would_have_ended(
    hosted: Callable[..., Hosted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    monkeypatch.setattr(ids, "MAX_AGE", timedelta(days=36_500))  # in the week in which it was queued
    case = cases()[name]
    left = go_on(hosted, tmp_path, case, step)
    assert left.relationship == case.end().relationship
    rows = [{n: plain(v) if isinstance(v, datetime) else v for n, v in row.items()} for row in _rows(tmp_path)]
    expected, found = ([comparable(row, step) for row in sorted(some, key=_by_image)] for some in (case.rows, rows))
    assert [{name: row[name] for name in old} for old, row in zip(expected, found, strict=True)] == expected
    assert told(left, case.packages, step) == told(case.end(), case.packages, step)
    stored = [row["storage_uri"] for row in rows if row["storage_uri"]]
    if STEPS.index(step) <= STEPS.index("StoreImage"):
        assert all(Path(uri.removeprefix("file://")).is_file() for uri in stored)


def _rows(folder: Path) -> list[Row]:
    return query(folder, "SELECT * FROM image_events")


def test_the_queued_flow_files_are_of_every_kind() -> None:
    assert {case.packages for case in cases().values()} == {True, False}
    assert {row["status"] for case in cases().values() for row in case.rows} == {"classified", "rejected", "failed"}
    readable = {
        one["attributes"]["package.records"][0] for case in cases().values() for one in case.passed[1:] if case.packages
    }
    assert readable == {"[", "d"}, "plain, and deflated"


# --- the flow definition ------------------------------------------------------------------------------------------

KINDS = ("processors", "inputPorts", "outputPorts", "connections", "funnels", "controllerServices", "processGroups")


def components(path: Path) -> dict[str, str]:
    """Identifiers of what can hold a FlowFile, or a setting: kinds by identifier."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    return {
        item["identifier"]: kind
        for group, _ in walk_groups(raw["flowContents"])
        for kind in KINDS
        for item in group.get(kind) or []
    }


# From PutKuduRecord to PutSolrDocument, which 0.1.0 could not switch on: what came there was gone at once.
ROWS_TO_INDEX = "cf22864b-8425-57e0-b9bb-8de28cd81fb4"


def test_nothing_of_the_old_flow_is_gone() -> None:
    """NiFi replaces no flow in which a connection is gone that has something queued: a deploy would be refused.

    A component that is known by another name is gone, and so is a connection whose relationships are others; see `known_by`
    in imagewarehouse/flows/build.py.
    """
    gone = components(OLD / "image-warehouse.json").items() - components(FLOW_FILE).items()
    assert gone == {(ROWS_TO_INDEX, "connections")}


def test_a_deployed_old_flow_is_known_as_this_one() -> None:
    raw = json.loads((OLD / "image-warehouse.json").read_text(encoding="utf-8"))
    check_origin(Group("id", "Image Warehouse", None, {}, None, False), read_definition(FLOW_FILE), raw)


def test_parameters_keep_their_values() -> None:
    old, new = read_flow(OLD / "image-warehouse.json").parameters, read_flow(FLOW_FILE).parameters
    own = {"intake.max.size": "5 MB", "store.uri": "s3://bucket/images", "access.keys": None}
    present = {
        name: Present(own.get(name, one.value), one.sensitive, name in own or one.value is not None)
        for name, one in old.items()
    }
    merged = merge(new, {}, present)
    assert [change.name for change in merged.changes if not change.new] == []
    assert {line.partition(" = ")[0] for line in merged.kept} >= {"intake.max.size", "store.uri"}
    assert merged.obsolete == []
