"""The deployed flow in a real NiFi: the same answers, rows and objects as the standalone runner gives, through kills and
restarts, and exported again as it was shipped."""

from __future__ import annotations

import concurrent.futures
import gzip
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

from imagewarehouse.flows.build import FLOW_FILE
from imagewarehouse.flows.definition import KINDS, walk_groups
from imagewarehouse.ids import new_request_id
from imagewarehouse.rows.columns import NUMBER
from tests.conftest import until
from tests.hostile import CASES
from tests.nifi.conftest import Command, Warehouse
from tests.pictures import numbered
from tests.running import Answered, Service, post
from tools.local_nifi import LocalNifi

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
def started(warehouse: Warehouse, nar: Path, command: Command) -> Warehouse:
    """Running, with an empty table."""
    assert command("stop")[0] == 0
    rows = warehouse.data / "rows.duckdb"
    for path in (rows, rows.with_suffix(".duckdb.wal")):
        path.unlink(missing_ok=True)
    assert command("deploy", "--nar", str(nar), *warehouse.settings)[0] == 0
    return warehouse


def table(warehouse: Warehouse, command: Command) -> list[dict[str, Any]]:
    """Every record; the flow is stopped for it, so that none is on its way or in the log."""
    code, facts, said = command("stop")
    assert code == 0, (facts, said)
    with duckdb.connect(str(warehouse.data / "rows.duckdb"), read_only=True) as database:
        return database.sql(f"SELECT * EXCLUDE ({NUMBER}) FROM image_events").to_arrow_table().to_pylist()


def key() -> str:
    return new_request_id(datetime.now(timezone.utc))


def acknowledged(warehouse: Warehouse, numbers: range, keys: list[str], done: list[str] | None = None) -> list[str]:
    """Send pictures to /images, a retry with the same key until each is acknowledged, as a sender should.

    `done` grows by each key that is.
    """

    def one(number: int, request_id: str) -> str:
        until, last = time.monotonic() + 240, ""
        while time.monotonic() < until:
            try:
                answer = post(warehouse.images, numbered(number), {**JPEG, "Idempotency-Key": request_id}, timeout=20)
                if answer.status == 202:
                    if done is not None:
                        done.append(request_id)
                    return request_id
                last = f"answered {answer.status}: {answer.body[:200]!r}"
            except OSError as err:
                last = str(err)
            time.sleep(0.2)
        raise AssertionError(f"picture {number} was never acknowledged, at last {last}\n{warehouse.nifi.last_words()}")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        try:
            return list(pool.map(one, numbers, keys))
        except AssertionError:
            # What one was refused for 240 seconds, the others will be too.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


# --- against the standalone runner --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Input:
    name: str
    content: bytes
    headers: dict[str, str]


def inputs() -> Iterator[Input]:
    for seed, kind in enumerate(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]):
        yield Input(kind, numbered(seed, (40, 30), kind), {"Content-Type": f"image/{kind.lower()}"})
    yield Input("wide", numbered(50, (900, 600)), {**JPEG, "Content-Disposition": 'attachment; filename="wide.jpg"'})
    yield Input("again", numbered(50, (900, 600)), JPEG)
    form = (
        b'--xyz\r\nContent-Disposition: form-data; name="f"; filename="in a form.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        + numbered(60)
        + b"\r\n--xyz--\r\n"
    )
    yield Input("form", form, {"Content-Type": "multipart/form-data; boundary=xyz"})
    for case in [case for case in CASES if case.over_http and len(case.body()) < 200_000][::12]:
        yield Input(case.id, case.body(), {"Content-Type": case.declared_type} if case.declared_type else {})


# What differs between two hosts, or two runs on one of them.
VOLATILE = ("preprocess_ms", "inference_ms", "total_ms", "node", "storage_uri")


def steady(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in VOLATILE}


def stored(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def events(nifi: LocalNifi, since: datetime) -> Counter[str]:
    """How many provenance events of each kind there are since then."""
    with nifi.client() as client:
        wanted = {"maxResults": 10_000, "startDate": since.strftime("%m/%d/%Y %H:%M:%S UTC"), "summarize": True}
        query = client.post("/provenance", json={"provenance": {"request": wanted}}).json()["provenance"]
        until = time.monotonic() + 60
        while not query["finished"] and time.monotonic() < until:
            query = client.get(f"/provenance/{query['id']}").json()["provenance"]
        client.delete(f"/provenance/{query['id']}")
    return Counter(event["eventType"] for event in query["results"]["provenanceEvents"])


def test_answers_rows_and_objects_are_those_of_the_standalone_runner(
    started: Warehouse, command: Command, tmp_path: Path
) -> None:
    sent = [(item, key()) for item in inputs()]
    assert len(sent) > 40
    begun = datetime.now(timezone.utc).replace(microsecond=0)
    objects = started.data / "objects"
    before = set(stored(objects))

    def through(url: str) -> list[Answered]:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            send = lambda pair: post(url, pair[0].content, {**pair[0].headers, "Idempotency-Key": pair[1]})  # noqa: E731
            return list(pool.map(send, sent))

    with Service(tmp_path / "data") as alone:
        expected = through(alone.classify_url)
        expected_rows = alone.rows("SELECT * FROM image_events ORDER BY request_id")
        expected_objects = stored(tmp_path / "data" / "objects")
    found = through(started.classify)
    counted = events(started.nifi, begun)
    rows = {row["request_id"]: row for row in table(started, command)}

    for (item, _), mine, theirs in zip(sent, found, expected, strict=True):
        assert (item.name, mine.status) == (item.name, theirs.status), mine.body
        assert mine.headers["Content-Type"] == theirs.headers["Content-Type"], item.name
        assert steady(mine.json()) == steady(theirs.json()), item.name
    assert set(rows) == {row["request_id"] for row in expected_rows} == {request_id for _, request_id in sent}
    for theirs in expected_rows:
        mine = rows[theirs["request_id"]]
        names = [name for name in theirs if name not in (*VOLATILE, "event_time", "confidence")]
        assert {name: mine[name] for name in names} == {name: theirs[name] for name in names}
    assert {name: content for name, content in stored(objects).items() if name not in before} == expected_objects
    # Each request came in once and each answer went out once, however many travelled together.
    assert counted["RECEIVE"] == counted["SEND"] == len(sent)
    assert counted["FORK"] == counted["JOIN"] <= len(sent)


def test_images_are_recorded_behind_their_acknowledgement(started: Warehouse, command: Command) -> None:
    keys = [key() for _ in range(60)]
    bad = key()
    answer = post(started.images, b"no picture", {"Content-Type": "image/png", "Idempotency-Key": bad})
    assert answer.status == 202
    acknowledged(started, range(60), keys)
    rows = {row["request_id"]: row for row in table(started, command)}
    assert set(rows) == {*keys, bad}
    assert (rows[bad]["status"], rows[bad]["error_code"]) == ("rejected", "image.not_an_image")
    assert all(rows[one]["status"] == "classified" for one in keys)


# --- what goes wrong ----------------------------------------------------------------------------------------------


def python_process(nifi: LocalNifi, kind: str) -> int:
    [found] = [one.pid for one in nifi.python_processes() if one.type == kind]
    return found


@pytest.mark.parametrize("kind", ["FilterImageRequest", "ClassifyImage", "PutKuduRecord"])
def test_a_python_process_that_is_killed_loses_no_row_and_doubles_none(
    started: Warehouse, command: Command, kind: str
) -> None:
    keys = [key() for _ in range(300)]
    victim = python_process(started.nifi, kind)
    done: list[str] = []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sending = pool.submit(acknowledged, started, range(1000, 1300), keys, done)
        assert until(lambda: len(done) > 50, 30, every=0.1)
        os.kill(victim, signal.SIGKILL)
        assert sorted(sending.result(240)) == sorted(keys)
    assert until(lambda: is_drained(started.nifi), 120, every=0.1)
    assert victim not in [one.pid for one in started.nifi.python_processes()]
    assert post(started.classify, numbered(1), {**JPEG, "Idempotency-Key": (one := key())}).status == 200
    counted = Counter(row["request_id"] for row in table(started, command))
    assert counted == Counter([*keys, one])


def test_a_nifi_that_is_killed_and_started_again_loses_no_row_and_doubles_none(
    started: Warehouse, command: Command
) -> None:
    # NiFi writes half a second late what was started, and starts after a kill what it has written. This is about images.
    assert until(lambda: is_saved(started.nifi), 30, every=0.1)
    keys = [key() for _ in range(300)]
    done: list[str] = []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sending = pool.submit(acknowledged, started, range(2000, 2300), keys, done)
        assert until(lambda: len(done) > 50, 30, every=0.1)
        started.nifi.kill()
        started.nifi.start(timeout=300)
        assert sorted(sending.result(300)) == sorted(keys)
    assert until(lambda: is_drained(started.nifi), 120, every=0.1)
    counted = Counter(row["request_id"] for row in table(started, command))
    assert counted == Counter(keys)


def is_drained(nifi: LocalNifi) -> bool:
    with nifi.client() as client:
        return int(client.get("/flow/status").json()["controllerStatus"]["flowFilesQueued"]) == 0


def is_saved(nifi: LocalNifi) -> bool:
    """Whether the flow on NiFi's disk has as many running components as the one in its memory."""
    with nifi.client() as client:
        running = int(client.get("/flow/status").json()["controllerStatus"]["runningCount"])
    saved = json.loads(gzip.decompress((nifi.folder / "conf" / "flow.json.gz").read_bytes()))
    parts = [part for group, _ in walk_groups(saved["rootGroup"]) for kind in KINDS for part in group.get(kind) or ()]
    return running > 0 and sum(part.get("scheduledState") == "RUNNING" for part in parts) == running


# --- the flow itself ----------------------------------------------------------------------------------------------


def test_the_flow_comes_out_of_nifi_as_it_is_shipped(warehouse: Warehouse) -> None:
    shipped = json.loads(FLOW_FILE.read_bytes())
    with warehouse.nifi.client() as client:
        groups = client.get("/flow/process-groups/root").json()["processGroupFlow"]["flow"]["processGroups"]
        [group] = [one["id"] for one in groups if one["component"]["name"] == "Image Warehouse"]
        exported = client.get(f"/process-groups/{group}/download").json()
    mine, theirs = _components(shipped["flowContents"]), _components(exported["flowContents"])
    assert set(mine) == set(theirs)
    differences = [
        (mine[path].get("name"), key, value, theirs[path].get(key))
        for path in mine
        for key, value in mine[path].items()
        # Set when the flow is placed, started or its service enabled.
        if key not in ("position", "scheduledState", "groupIdentifier") and not _same(value, theirs[path].get(key))
    ]
    assert differences == []


def test_a_thousand_good_images_leave_no_bulletin_and_nothing_invalid(started: Warehouse, command: Command) -> None:
    with started.nifi.client() as client:
        before = {one["id"] for one in client.get("/flow/bulletin-board").json()["bulletinBoard"]["bulletins"]}

        def one(number: int) -> int:
            return post(started.classify, numbered(5000 + number), JPEG).status

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            assert Counter(pool.map(one, range(1000))) == {200: 1000}
        board = client.get("/flow/bulletin-board").json()["bulletinBoard"]["bulletins"]
        counts = client.get("/flow/status").json()["controllerStatus"]
    assert [item["bulletin"]["message"] for item in board if item["id"] not in before] == []
    assert (counts["invalidCount"], counts["disabledCount"], counts["stoppedCount"]) == (0, 1, 0), "but the way out"
    code, facts, _ = command("status")
    assert (code, facts["problems"]) == (0, [])
    assert len(table(started, command)) == 1000


def _components(group: dict[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    """Every component by the identifiers down to it, without those inside it."""
    kinds = ("processors", "connections", "controllerServices", "inputPorts", "outputPorts", "funnels", "labels")
    here = f"{path}/{group['identifier']}" if path else "root"  # NiFi gives the imported group an identifier of its own
    found = {here: {key: value for key, value in group.items() if key not in (*kinds, "processGroups", "identifier")}}
    for kind in kinds:
        found |= {f"{here}/{one['identifier']}": one for one in group.get(kind) or ()}
    for child in group.get("processGroups") or ():
        found |= _components(child, here)
    return found


def _same(mine: Any, theirs: Any) -> bool:
    """Equal but for what NiFi adds: members of objects, and null for what is not there."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return all(_same(value, theirs.get(key)) for key, value in mine.items() if key not in ("groupId", "comments"))
    if isinstance(mine, list) and isinstance(theirs, list):
        return len(mine) == len(theirs) and all(
            _same(one, other) for one, other in zip(_sorted(mine), _sorted(theirs), strict=True)
        )
    return mine == theirs or (mine in (None, "", []) and theirs in (None, "", []))


def _sorted(items: list[Any]) -> list[Any]:
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
