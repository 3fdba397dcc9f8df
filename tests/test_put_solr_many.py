"""Many documents in batches while Solr is killed: every good one is there once, every bad one is named."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Hosted
from tests.solr_service import RECORDS, Solr, found, solr_running

BATCH = 1000


@pytest.mark.timeout(900)
@pytest.mark.parametrize("amount", [20_000, pytest.param(100_000, marks=pytest.mark.services)])
def test_all_good_ones_are_there_once_though_solr_is_killed_twice(
    hosted: Callable[..., Hosted], solr_service: Solr, solr: str, amount: int
) -> None:
    host = hosted("PutSolrDocument", {"Solr URL": solr, "Record Source": "content", "Solr Socket Timeout": "60 sec"})
    bad = set(range(13, amount, 997))
    reports: list[dict[str, Any]] = []
    waited: list[str] = []
    done = [0]

    def document(number: int) -> dict[str, Any]:
        return {
            "id": f"d{number:06}",
            "owner": "x",
            "count": "bad" if number in bad else number,
            "title": f"number {number}",
        }

    def send(first: int) -> None:
        """As NiFi does: what leaves on retry comes again."""
        content: bytes | None = b"".join(json.dumps(document(n)).encode() + b"\n" for n in range(first, first + BATCH))
        while True:
            left = host.transform(content)
            content = left.content
            if left.relationship != "retry":
                break
            waited.append(left.relationship)
            time.sleep(0.2)
        assert left.relationship in ("success", "bad documents"), left.set
        if left.relationship == "bad documents":
            reports.extend(json.loads(line) for line in (content or b"").splitlines())
        done[0] += BATCH

    def task(number: int) -> None:
        for first in range(number * BATCH, amount, 2 * BATCH):
            send(first)

    threads = [threading.Thread(target=task, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for share in (0.25, 0.6):
        while done[0] < share * amount and any(thread.is_alive() for thread in threads):
            time.sleep(0.002)
        solr_service.service.kill()
        time.sleep(0.3)
        solr_service.start()
    for thread in threads:
        thread.join(800)
    assert not any(thread.is_alive() for thread in threads)
    assert waited, "it was away for nobody"
    assert sorted(line["record"]["id"] for line in reports) == sorted(f"d{n:06}" for n in bad)
    assert {line["error_code"] for line in reports} == {"solr.wrong_value"}
    there = [d["count"] for d in found(solr, fl="id,count")]
    assert there == [n for n in range(amount) if n not in bad]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 24 MB, in memory."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


@pytest.mark.timeout(900)
@pytest.mark.services
def test_records_wait_while_the_disk_of_solr_is_full(hosted: Callable[..., Hosted], small_disk: Path) -> None:
    with solr_running(small_disk, {"records": RECORDS}) as solr:
        url = f"{solr.url}/records"
        host = hosted("PutSolrDocument", {"Solr URL": url, "Record Source": "content", "Solr Socket Timeout": "60 sec"})
        waiting: bytes | None = None
        amount = 0
        while waiting is None:
            assert amount < 200_000, "the disk never was full"
            batch = [
                {"id": f"d{n:06}", "owner": "x", "count": n, "title": f"{n} {random.randbytes(500).hex()}"}
                for n in range(amount, amount + BATCH)
            ]
            left = host.transform(b"".join(json.dumps(each).encode() + b"\n" for each in batch))
            assert left.relationship in ("success", "retry"), left.set
            waiting = left.content if left.relationship == "retry" else None
            amount += BATCH
        subprocess.run(["mount", "-o", "remount,size=1g", str(small_disk)], check=True)
        solr.service.kill()  # its index is closed after such an error, until it is started again
        solr.start()
        while waiting is not None:
            left = host.transform(waiting)
            waiting = left.content if left.relationship == "retry" else None
        assert left.relationship == "success"
        assert [d["count"] for d in found(url, fl="id,count")] == list(range(amount))
