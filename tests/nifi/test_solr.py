"""PutSolrDocument in a real NiFi: 20,000 records while Solr is killed twice, with a parameter of Solr's as a property."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import until
from tests.nifi.conftest import Warehouse
from tests.nifi.test_way_out import Canvas
from tests.solr_service import Solr, found

AMOUNT, FILE = 20_000, 500


class Bench(Canvas):
    """Processors beside the warehouse's group, which they have nothing to do with."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.root = self.get("/flow/process-groups/root")["processGroupFlow"]["id"]
        self._made = []

    def python(self, name: str, properties: dict[str, str], ended: list[str], retried: list[str]) -> str:
        [kind] = self.get(f"/flow/processor-types?type={name}")["processorTypes"]
        config = {
            "properties": properties, "autoTerminatedRelationships": ended, "concurrentlySchedulableTaskCount": 2,
            "retriedRelationships": retried, "retryCount": 1000, "maxBackoffPeriod": "500 ms", "penaltyDuration": "200 ms",
        }  # fmt: skip
        component = {"type": kind["type"], "bundle": kind["bundle"], "name": name, "config": config}
        made: str = self.post(f"/process-groups/{self.root}/processors", component=component)["id"]
        self._made.append(("processors", made))
        return made

    def source(self, identifier: str) -> tuple[str, str, str]:
        return ("PROCESSOR", self.root, identifier)

    def remove(self) -> None:
        for kind, identifier in self._made:
            if kind == "processors":
                self.put(kind, identifier, state="STOPPED")
        for kind, identifier in sorted(self._made):  # connections first
            if kind == "connections":
                self.post(f"/flowfile-queues/{identifier}/drop-requests")

            def gone(kind: str = kind, identifier: str = identifier) -> bool:
                version = self.get(f"/{kind}/{identifier}")["revision"]["version"]
                return self.client.delete(f"/{kind}/{identifier}", params={"version": version}).is_success

            assert until(gone, 60, every=0.2), identifier


@pytest.fixture
def bench(warehouse: Warehouse) -> Iterator[Bench]:
    with warehouse.nifi.client() as client:
        made = Bench(client)
        yield made
        made.remove()


def test_every_good_record_is_there_once_and_every_bad_one_is_named(
    bench: Bench, solr_service: Solr, solr: str, tmp_path: Path
) -> None:
    bad = set(range(13, AMOUNT, 997))
    coming, named = tmp_path / "coming", tmp_path / "named"
    coming.mkdir()
    for first in range(0, AMOUNT, FILE):
        records = [
            {"id": f"d{n:05}", "owner": "x", "count": "bad" if n in bad else n} for n in range(first, first + FILE)
        ]
        (coming / f"{first}.json").write_text("".join(json.dumps(each) + "\n" for each in records))
    reader = bench.processor("GetFile", [], Input_Directory=str(coming), Batch_Size="4", Keep_Source_File="false")
    put = bench.python(
        "PutSolrDocument",
        {"Solr URL": solr, "Record Source": "content", "Batch Size": "100", "update.chain": "${chain:replaceNull('')}"},
        ["success", "conflict", "switched off", "failure", "original"],
        ["retry"],
    )
    writer = bench.processor("PutFile", ["success", "failure"], Directory=str(named))
    bench.connect(bench.source(reader), put, "success")
    bench.connect(bench.source(put), put, "retry")
    bench.connect(bench.source(put), writer, "bad documents")
    bench.run()
    for share in (0.2, 0.6):
        assert until(lambda share=share: _count(solr) > share * AMOUNT, 300, every=0.2)
        solr_service.service.kill()
        time.sleep(2)
        solr_service.start()
    assert until(lambda: _count(solr) >= AMOUNT - len(bad), 300, every=0.5), (
        _count(solr),
        bench.get("/flow/bulletin-board"),
    )
    assert [d["count"] for d in found(solr, fl="id,count")] == [n for n in range(AMOUNT) if n not in bad]

    def reported() -> list[dict[str, Any]]:
        return [json.loads(line) for path in named.glob("*") for line in path.read_text().splitlines()]

    assert until(lambda: len(reported()) >= len(bad), 120, every=0.5)
    assert sorted(line["record"]["id"] for line in reported()) == [f"d{n:05}" for n in sorted(bad)]
    assert {line["error_code"] for line in reported()} == {"solr.wrong_value"}


def _count(url: str) -> int:
    answer = httpx.get(f"{url}/select", params={"q": "*:*", "rows": 0}, timeout=60)
    return int(answer.json()["response"]["numFound"]) if answer.is_success else 0
