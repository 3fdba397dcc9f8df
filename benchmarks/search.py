"""`python -m benchmarks.search`: 100,000 records with vectors, searched in Solr and in DuckDB: times, and Solr's recall.

The vectors are those of pictures (`--vectors`, a file of `benchmarks.embeddings`), or drawn around some hundred points. What is
asked for is not among the records. Exact neighbours are computed by NumPy. Solr is real, from Maven Central, one node, filled
as `imagewarehouse index rebuild` does it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from io import StringIO
from ipaddress import ip_network
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.machine import describe
from imagewarehouse.ids import new_request_id
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.resources import CONFIGSET
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.whole_local import WholeLocal
from imagewarehouse.search.collection import Installation
from imagewarehouse.search.documents import vector
from imagewarehouse.search.local_index import LocalIndex
from imagewarehouse.search.query import Embedding, Index, Search
from imagewarehouse.search.rebuilding import Rebuild, State, StateFile, Task
from imagewarehouse.search.solr_index import SolrIndex
from imagewarehouse.solr.client import Collection
from imagewarehouse.solr.client import Solr as Client
from imagewarehouse.solr.settings import SolrSettings, parse_address
from tests.solr_service import Solr, solr_running

Vectors = npt.NDArray[np.int8]

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FIRST = datetime(2026, 11, 1, tzinfo=timezone.utc)
_WRITTEN_AT_ONCE = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--vectors", type=Path, help="of benchmarks.embeddings; without it they are drawn")
    parser.add_argument("--queries", type=int, default=200, help="whose neighbours are looked for")
    parser.add_argument("--repeats", type=int, default=50, help="of each kind of search")
    parser.add_argument("--connections", type=int, help="hnswMaxConnections instead of the configset's")
    parser.add_argument("--beam", type=int, help="hnswBeamWidth instead of the configset's")
    parser.add_argument("--only-solr", action="store_true")
    parser.add_argument("--memory", default="1g", help="of Solr's heap")
    arguments = parser.parse_args()
    print(describe())
    drawn = np.random.default_rng(1)
    records, asked = _vectors(arguments.vectors, arguments.records, arguments.queries, drawn)
    print(f"{len(records):,} records, {records.shape[1]} dimensions, {len(asked)} to ask for")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = folder / "rows.duckdb"
        _write_rows(rows, records)
        configset = _configset(folder, arguments.connections, arguments.beam)
        with solr_running(folder / "solr", {"images": configset}, memory=arguments.memory, compiled=True) as solr:
            settings = SolrSettings(parse_address(f"{solr.url}/images", "--solr"), answer_s=600)
            _fill(settings, rows, folder)
            cpu = _cpu_of(solr)
            _print_recall(Client(settings).collection(), records, asked, cpu)
            backends: dict[str, Index] = {"Solr": SolrIndex.of(settings)}
            if not arguments.only_solr:
                backends["DuckDB"] = LocalIndex.of_file(rows)
            _print_times(backends, asked[: arguments.repeats], cpu)
            _print_size(solr)


# --- records ------------------------------------------------------------------------------------------------------


def _vectors(path: Path | None, count: int, queries: int, draw: np.random.Generator) -> tuple[Vectors, Vectors]:
    """(count, dimensions) of the records and (queries, dimensions) of what is asked for."""
    if path is None:
        centres = draw.normal(size=(300, 24))
        mixing = draw.normal(size=(24, 128))
        points = centres[draw.integers(0, 300, count + queries)] + draw.normal(scale=0.6, size=(count + queries, 24))
        there = _bytes(points @ mixing)
        return there[queries:], there[:queries]
    with np.load(path) as found:
        return found["records"][:count], found["asked"][:queries]


def _bytes(points: npt.NDArray[np.float64]) -> Vectors:
    return np.asarray(np.rint(points / np.abs(points).max(axis=1, keepdims=True) * 127), dtype=np.int8)


def _write_rows(path: Path, vectors: Vectors) -> None:
    draw = np.random.default_rng(2)
    count = len(vectors)
    classes, confidences = draw.integers(0, 10, count), draw.beta(6, 1, count)
    rows = LocalRows(path)
    for first in range(0, count, _WRITTEN_AT_ONCE):
        some = range(first, min(first + _WRITTEN_AT_ONCE, count))
        failed = rows.write([_record(n, vectors[n], int(classes[n]), float(confidences[n])) for n in some])
        assert not any(failed)
    rows.close()


def _record(n: int, look: Vectors, kind: int, confidence: float) -> ImageRecord:
    moment = _FIRST + timedelta(seconds=26 * n)
    return ImageRecord(
        event_time=moment, request_id=new_request_id(moment), status="classified", image_id=f"{n:064x}",
        file_name=f"IMG_{moment:%Y%m%d}_{n:06d}.jpg", format="JPEG", size_bytes=900 + n % 500, width=32, height=32,
        source_ip=f"10.{n % 5}.{n % 7}.{n % 200}", source_user=f"camera-{n % 40}",
        storage_uri=f"file:///srv/images/{n:064x}.jpg", predicted_class=_CLASSES[kind], confidence=confidence,
        top_k=f'[{{"class":"{_CLASSES[kind]}","probability":{confidence}}}]', model_name="cifar10", model_version="4",
        embedding=look.tobytes(),
    )  # fmt: skip


# --- Solr ---------------------------------------------------------------------------------------------------------


def _configset(folder: Path, connections: int | None, beam: int | None) -> Path:
    """The shipped one, with other settings of the graph where they are given."""
    copy = folder / "conf"
    shutil.copytree(CONFIGSET, copy)
    schema = (copy / "schema.xml").read_text()
    for name, value in (("hnswMaxConnections", connections), ("hnswBeamWidth", beam)):
        if value is not None:
            before, _, behind = schema.partition(f'{name}="')
            schema = f'{before}{name}="{value}"{behind.partition(chr(34))[2]}'
    (copy / "schema.xml").write_text(schema)
    print(schema[schema.index("hnswMaxConnections") :].partition("/>")[0])
    return copy


def _fill(settings: SolrSettings, rows: Path, folder: Path) -> None:
    client = Client(settings)
    table, installation = WholeLocal(rows), Installation(client)
    task = Task.of(installation, table, None, None)
    bad = StringIO()
    began = time.monotonic()
    work = Rebuild(table, installation, task, StateFile(folder / "state.json", task), bad)
    *_, state = work.run(State())
    installation.commit()
    taken = time.monotonic() - began
    assert not state.bad, bad.getvalue()[:500]
    assert installation.count() == state.written
    print(f"filled in {taken:.0f} s: {state.written / taken:,.0f} documents a second")
    client.close()


def _cpu_of(solr: Solr) -> Callable[[], float]:
    """Seconds of CPU that this process and Solr have taken."""
    process = psutil.Process(solr.service.process.pid if solr.service.process else None)

    def taken() -> float:
        times = process.cpu_times()
        return time.process_time() + float(times.user + times.system)

    return taken


def _print_size(solr: Solr) -> None:
    files = [path for path in (solr.home / "images" / "data" / "index").rglob("*") if path.is_file()]
    print(f"index: {sum(path.stat().st_size for path in files) / 1e6:.0f} MB in {len(list(_segments(files)))} segments")


def _segments(files: Sequence[Path]) -> Iterator[str]:
    yield from {path.name.partition(".")[0].partition("_Lucene")[0] for path in files if path.suffix == ".si"}


# --- recall -------------------------------------------------------------------------------------------------------


def _print_recall(collection: Collection, records: Vectors, asked: Vectors, cpu: Callable[[], float]) -> None:
    """Share of the exact nearest 10 and 100 that Solr finds, when so many are asked for."""
    directions = _unit(records)
    exact = [np.argsort(-(directions @ one), kind="stable")[:100] for one in _unit(asked)]
    print("\nneighbours asked for | recall at 10 | recall at 100 | p50, ms | p95, ms | CPU, ms")
    for wanted in (10, 20, 50, 100, 200, 500, 1000):
        at: dict[int, list[float]] = {10: [], 100: []}
        times = []
        used = cpu()
        for look, nearest in zip(asked, exact, strict=True):
            body = {
                "query": {"knn": {"f": "embedding", "topK": wanted, "query": str(vector(look.tobytes()))}},
                "limit": wanted,
                "fields": "image_id",
            }
            began = time.perf_counter()
            found = collection.ask("select", body)["response"]["docs"]
            times.append((time.perf_counter() - began) * 1000)
            numbers = [int(each["image_id"], 16) for each in found]
            for count, shares in at.items():
                # One that is exactly as near as the last of the exact ones is as good.
                least = float(directions[nearest[count - 1]] @ _unit(look[None])[0]) - 1e-6
                similar = directions[numbers[:count]] @ _unit(look[None])[0]
                shares.append(float((similar >= least).sum()) / count)
        taken = (cpu() - used) / len(asked) * 1000
        shares10, shares100 = (f"{statistics.mean(at[count]):.4f}" for count in (10, 100))
        print(f"{wanted} | {shares10} | {shares100 if wanted >= 100 else ''} | {_quantiles(times)} | {taken:.1f}")


def _unit(vectors: Vectors) -> npt.NDArray[np.float32]:
    numbers = vectors.astype(np.float32)
    unit: npt.NDArray[np.float32] = numbers / np.linalg.norm(numbers, axis=1, keepdims=True)
    return unit


# --- times --------------------------------------------------------------------------------------------------------


def _print_times(backends: dict[str, Index], asked: Vectors, cpu: Callable[[], float]) -> None:
    """Backends take turns, so that whatever else the machine does is shared. CPU is that of client and service."""
    found: dict[tuple[str, str], list[float]] = {}
    used: dict[tuple[str, str], float] = {}
    kinds = _searches(asked)
    for kind, make in kinds.items():
        for n in range(len(asked)):
            for name, index in backends.items():
                search = make(n)
                before, began = cpu(), time.perf_counter()
                page = index.search(search)
                found.setdefault((kind, name), []).append((time.perf_counter() - began) * 1000)
                used[kind, name] = used.get((kind, name), 0.0) + cpu() - before
                assert page.total, (kind, name)
    print(f"\nsearch | {' | '.join(f'{name} p50, ms | p95, ms | CPU, ms' for name in backends)}")
    for kind in kinds:
        figures = (f"{_quantiles(found[kind, name])} | {used[kind, name] / len(asked) * 1000:.1f}" for name in backends)
        print(f"{kind} | {' | '.join(figures)}", flush=True)


def _searches(asked: Vectors) -> dict[str, Callable[[int], Search]]:
    def like(n: int) -> Embedding:
        return Embedding("cifar10", "4", asked[n].tobytes())

    facets = ("predicted_class", "source_ip", "day")
    return {
        "the newest 20": lambda n: Search(min_confidence=n / 1000),
        "facets of all, no hits": lambda n: Search(facets=facets, limit=0, min_confidence=n / 1000),
        "facets of a class": lambda n: Search(facets=facets, classes=(_CLASSES[n % 10],), min_confidence=n / 1000),
        "one word": lambda n: Search(words=f"camera {n % 40}"),
        "a mistyped word": lambda n: Search(
            words=("automobil", "trukc", "arplane", "hrose")[n % 4], min_confidence=n / 1000
        ),
        "number and class": lambda n: Search(words=f"{n * 97:06d} img"),
        "a network": lambda n: Search(sources=(ip_network(f"10.{n % 5}.0.0/16"),), min_confidence=n / 1000),
        "like this one": lambda n: Search(like=like(n)),
        "like this one, of a class": lambda n: Search(like=like(n), classes=(_CLASSES[n % 10],)),
        "like this one, with facets": lambda n: Search(like=like(n), facets=facets),
    }


def _quantiles(times: Sequence[float]) -> str:
    ranked = sorted(times)
    return f"{statistics.median(ranked):.1f} | {ranked[int(len(ranked) * 0.95)]:.1f}"


if __name__ == "__main__":
    main()
