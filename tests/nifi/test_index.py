"""The shipped flow in a real NiFi with a real Solr: a document for each row, while Solr is away too, and bad ones named."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.metadata import COLUMNS, ImageRecord
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.search.documents import document
from tests.conftest import until
from tests.nifi.conftest import Command, Warehouse
from tests.nifi.test_flow import acknowledged, is_drained, key, started, table
from tests.pictures import numbered
from tests.running import post
from tests.solr_service import Solr, found, solr_running

__all__ = ["started"]  # a fixture

CONFIGSET = REPOSITORY / "nifi-conf" / "solr" / "conf"
JPEG = {"Content-Type": "image/jpeg"}
OF_THE_ROW = ("total_ms", "node", "preprocess_ms", "inference_ms")


@pytest.fixture(scope="module")
def index_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Solr]:
    """A Solr of its own, to be killed while NiFi writes."""
    with solr_running(tmp_path_factory.mktemp("solr")) as solr:
        yield solr


@pytest.fixture
def indexed(started: Warehouse, index_service: Solr, nar: Path, command: Command) -> Iterator[Warehouse]:
    """`started`, without the index again afterwards."""
    yield started
    assert (
        command("deploy", "--nar", str(nar), *started.settings, "--set", "solr.url=", "--set", "model.embedding=false")[
            0
        ]
        == 0
    )


def with_index(warehouse: Warehouse, command: Command, nar: Path, url: str, *more: str) -> None:
    code, facts, said = command("deploy", "--nar", str(nar), *warehouse.settings, "--set", f"solr.url={url}", *more)
    assert code == 0, (facts, said)


def expected(row: dict[str, Any]) -> dict[str, Any]:
    """The document of a row: what the steps before the row knew."""
    values = {name: value for name, value in row.items() if name in {column.name for column in COLUMNS}}
    if values.get("embedding") is not None:
        values["embedding"] = bytes(number & 0xFF for number in values["embedding"])
    values |= dict.fromkeys(OF_THE_ROW)
    return document(ImageRecord(**values))


def test_each_row_has_its_document(indexed: Warehouse, index_service: Solr, nar: Path, command: Command) -> None:
    """Classified with its vector, and rejected; of uploads and of clients who wait."""
    url = index_service.core(f"images-{uuid.uuid4().hex[:8]}", CONFIGSET)
    with_index(indexed, command, nar, url, "--set", "model.embedding=true")
    for number in range(6):
        answer = post(
            indexed.classify, numbered(number), {**JPEG, "Content-Disposition": f'attachment; filename="{number}.jpg"'}
        )
        assert answer.status == 200, (answer.body, indexed.nifi.last_words())
        assert post(indexed.images, numbered(100 + number), JPEG).status == 202
    assert post(indexed.classify, b"no image", JPEG).status == 415
    assert until(lambda: is_drained(indexed.nifi), seconds=60, every=0.5)
    documents = {one["id"]: one for one in found(url, fl="*")}
    rows = table(indexed, command)
    assert len(rows) == 13
    assert set(documents) == {row["request_id"] for row in rows}
    for row in rows:
        given, wanted = documents[row["request_id"]], expected(row)
        for name in ("status", "error_code", "image_id", "file_name", "predicted_class", "top_k", "source_ip", "model"):
            assert given.get(name) == wanted.get(name), name
    near = found(url, f"{{!knn f=embedding topK=3}}{expected(rows_with_vector(rows)[0])['embedding']}", rows=3)
    assert near[0]["id"] in {row["request_id"] for row in rows_with_vector(rows)}


def rows_with_vector(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    having = [row for row in rows if row["embedding"] is not None]
    assert len(having) == 12
    return having


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(400, id="400"),
        pytest.param(20_000, id="20000", marks=[pytest.mark.services, pytest.mark.timeout(1800)]),
    ],
)
def test_solr_is_killed_twice(
    indexed: Warehouse, index_service: Solr, nar: Path, command: Command, tmp_path: Path, count: int
) -> None:
    """Each good record is there once. The index lacks a field, so each rejected request is a bad document, and is named."""
    lacking = tmp_path / "conf"
    shutil.copytree(CONFIGSET, lacking)
    schema = (lacking / "schema.xml").read_text(encoding="utf-8")
    lines = [line for line in schema.splitlines() if 'name="error_detail"' not in line]
    assert len(lines) == len(schema.splitlines()) - 1
    (lacking / "schema.xml").write_text("\n".join(lines), encoding="utf-8")
    url = index_service.core(f"images-{uuid.uuid4().hex[:8]}", lacking)
    with_index(indexed, command, nar, url)
    keys, done = [key() for _ in range(count)], []
    failed: list[BaseException] = []

    def send() -> None:
        try:
            acknowledged(indexed, range(count), keys, done)
        except BaseException as err:
            failed.append(err)

    sending = threading.Thread(target=send)
    sending.start()
    for share in (0.3, 0.6):
        assert until(lambda s=share: len(done) >= s * count or failed, seconds=count / 10 + 60, every=0.05)
        index_service.service.kill()
        # Rows and answers do not wait for the index.
        answer = post(indexed.classify, numbered(7), JPEG, timeout=60)
        assert answer.status == 200, answer.body
        index_service.start()
    bad = [post(indexed.classify, b"no image", JPEG) for _ in range(3)]
    assert [answer.status for answer in bad] == [415] * 3
    sending.join()
    assert not failed
    assert until(lambda: waiting(indexed) == {"dead letters: documents"}, seconds=240, every=1)
    with indexed.nifi.client() as client:
        client.post("/process-groups/root/empty-all-connections-requests").raise_for_status()
    assert until(lambda: is_drained(indexed.nifi), seconds=60, every=0.5)
    there = Counter(one["id"] for one in found(url, fl="id"))
    rows = {row["request_id"]: row["status"] for row in table(indexed, command)}
    assert set(keys) <= set(rows)
    assert there == Counter({request_id: 1 for request_id, status in rows.items() if status != "rejected"})
    assert sum(status == "rejected" for status in rows.values()) == 3
    log = indexed.nifi.log_path.read_text(encoding="utf-8", errors="replace")
    for request_id, status in rows.items():
        if status == "rejected":
            assert any(request_id in line and "error_detail" in line for line in log.splitlines()), request_id


def waiting(warehouse: Warehouse) -> set[str]:
    """Names of the connections that hold something."""
    with warehouse.nifi.client() as client:
        status = client.get("/flow/process-groups/root/status?recursive=true").json()
    names: set[str] = set()
    groups = [status["processGroupStatus"]["aggregateSnapshot"]]
    while groups:
        group = groups.pop()
        groups += [one["processGroupStatusSnapshot"] for one in group["processGroupStatusSnapshots"]]
        names |= {
            one["connectionStatusSnapshot"]["name"]
            for one in group["connectionStatusSnapshots"]
            if one["connectionStatusSnapshot"]["flowFilesQueued"]
        }
    return names
