"""`python -m benchmarks.search_service`: GET /search over 100,000 embedded rows, and what duplicates take.

One client, one request after the other, each kind in turn; the service is `imagewarehouse run` with one process. The processor
time is that of the service, so that one sees what it takes on a machine that does other things as well. The same searches over
the same file in this process, as the command line searches, show what the service adds.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import numpy as np
import psutil

from benchmarks.machine import describe
from imagewarehouse.ids import new_request_id
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.parameters import parameters_of
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.whole_local import WholeLocal
from imagewarehouse.search.asking import asked
from imagewarehouse.search.duplicates import Requests
from imagewarehouse.search.local_index import LocalIndex
from imagewarehouse.search.query import FACETS
from tests.running import Service

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PLACES = ("holiday", "site", "camera", "beach", "Überblick", "gate")
_FIRST = datetime(2026, 10, 1, tzinfo=timezone.utc)
_KINDS = {
    "the newest 20": "limit=20",
    "two facets": "facet=predicted_class,source_ip",
    "all facets, no results": f"limit=0&facet={','.join(FACETS)}",
    "class, time, confidence": "class=truck&since=2026-10-20&min_confidence=0.9",
    "network": "source=10.1.0.0/16",
    "one word": "q=truck",
    "a mistyped word": "q=autmobile",
    "two words and a facet": "q=truck+holday&facet=predicted_class",
    "like": "like={image}",
    "like, with a class and a facet": "like={image}&class=ship&facet=source_ip",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--no-duplicates", action="store_true")
    arguments = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        image = fill(data / "rows.duckdb", arguments.rows)
        in_this_process(data / "rows.duckdb", image, arguments.repeats)
        with Service(data, environment={"IMAGEWAREHOUSE_WORKERS": "1"}) as service:
            ask(service, image, arguments.repeats)
        if not arguments.no_duplicates:
            look_for_duplicates(data / "rows.duckdb")


def fill(database: Path, count: int) -> str:
    """Nine of ten requests bring a new picture; gives the image_id of one of them."""
    draw = np.random.default_rng(1)
    centres = draw.integers(-90, 91, (300, 128))
    rows, records = LocalRows(database), []
    for n in range(count):
        moment = _FIRST + timedelta(seconds=26 * n)
        picture = n if draw.random() < 0.9 else int(draw.integers(0, n + 1))
        noise = np.random.default_rng(picture)
        kind = int(noise.integers(0, 300))
        look = np.clip(centres[kind] + noise.integers(-50, 51, 128), -127, 127).astype(np.int8)
        confidence = float(np.float32(noise.beta(6, 1)))
        best, next_best = _CLASSES[kind % 10], _CLASSES[(kind + 1) % 10]
        records.append(
            ImageRecord(
                event_time=moment, request_id=new_request_id(moment), status="classified", image_id=_image_id(picture),
                file_name=f"IMG_{moment:%Y%m%d_%H%M%S}_{_PLACES[n % 6]}.jpg", format="JPEG", size_bytes=1000, width=32,
                height=32, fields=f'{{"note": "lot {n % 997} at gate {n % 12}"}}' if n % 2 else None,
                source_user=f"camera-{n % 40}",
                source_ip=f"10.{n % 5}.{n % 7}.{n % 200}", storage_uri=f"file:///srv/{n}", predicted_class=best,
                confidence=confidence, model_name="cifar10", model_version="4", embedding=look.tobytes(),
                top_k=f'[{{"class":"{best}","probability":{confidence}}},'
                      f'{{"class":"{next_best}","probability":{1 - confidence}}}]',
            )
        )  # fmt: skip
        if len(records) == 5000 or n == count - 1:
            rows.write(records)
            records = []
    rows.close()
    return _image_id(count // 2)


def _image_id(picture: int) -> str:
    return hashlib.sha256(str(picture).encode()).hexdigest()


def ask(service: Service, image: str, repeats: int) -> None:
    assert service.process is not None
    with httpx.Client(base_url=f"http://127.0.0.1:{service.images_port}", timeout=60) as client:

        def search(query: str) -> None:
            answer = client.get(f"/search?{query}")
            assert answer.status_code == 200, answer.text

        measure("GET /search", search, psutil.Process(service.process.pid), image, repeats)
    print(f"memory of the service: {service.memory():.0f} MiB")


def in_this_process(database: Path, image: str, repeats: int) -> None:
    index = LocalIndex.of_file(database)

    def search(query: str) -> None:
        wanted = asked(parameters_of(query), datetime.now(timezone.utc))
        look = None if wanted.like is None else index.embedding_of(wanted.like)
        index.search(replace(wanted.search, like=look))

    measure("in this process", search, psutil.Process(), image, repeats)


def measure(name: str, search: Callable[[str], None], process: psutil.Process, image: str, repeats: int) -> None:
    took: defaultdict[str, list[float]] = defaultdict(list)
    used: defaultdict[str, float] = defaultdict(float)
    for round_ in range(repeats + 2):
        for kind, query in _KINDS.items():
            times, began = process.cpu_times(), time.perf_counter()
            search(query.format(image=image))
            seconds = time.perf_counter() - began
            if round_ < 2:  # warm-up
                continue
            took[kind].append(seconds * 1000)
            after = process.cpu_times()
            used[kind] += (after.user + after.system - times.user - times.system) * 1000
    print(f"{name} | p50, ms | p95, ms | CPU, ms")
    for kind, milliseconds in took.items():
        p50, p95 = np.percentile(milliseconds, [50, 95])
        print(f"{kind} | {p50:.0f} | {p95:.0f} | {used[kind] / repeats:.0f}")


def look_for_duplicates(database: Path) -> None:
    before, began, cpu = _peak(), time.perf_counter(), time.process_time()
    table = WholeLocal(database)
    requests = Requests(page for stretch in table.stretches() for page in table.pages(stretch))
    exact = sum(1 for _ in requests.exact())
    read_s, read_cpu = time.perf_counter() - began, time.process_time() - cpu
    near = requests.near()
    print(
        f"duplicates: {requests.requests:,} requests of {requests.pictures:,} pictures,"
        f" {exact:,} sent again, {len(near):,} groups"
    )
    print(f"read {read_s:.1f} s ({read_cpu:.1f} s CPU), in all {time.perf_counter() - began:.1f} s"
          f" ({time.process_time() - cpu:.1f} s CPU), {_peak() - before:.0f} MiB more")  # fmt: skip


def _peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
