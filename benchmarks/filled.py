"""The service with a million rows and a million objects there already, against an empty one: images a second, and memory.

    python -m benchmarks.filled [--rows N] [--rounds N] [--seconds S]

Both are started in turn and given the same load; every picture is one that nobody has sent yet, so each is stored and gets a
row. The filled warehouse is made once in build/filled/ (about 4 GB for a million). A C compiler is needed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import uuid
from contextlib import closing
from pathlib import Path

import duckdb

from benchmarks.machine import describe
from benchmarks.peers import generator
from benchmarks.peers.checks import answers
from benchmarks.peers.environments import FOLDER
from benchmarks.peers.pictures import Picture, pictures
from benchmarks.peers.processes import Running
from benchmarks.peers.systems import OURS, Start, environment_variables, systems
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL, LITERT, Manifest
from imagewarehouse.ports import free_ports
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.rows.embedded import LocalRows

FILLED = REPOSITORY / "build" / "filled"
CONNECTIONS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    print(describe(), flush=True)
    classifier = load_classifier(BUNDLED_MODEL, "latest", LITERT)
    small = pictures("small", classifier, FOLDER)
    program, requests = generator.build(FOLDER), FOLDER / "requests-small-raw-unique.bin"
    generator.write_requests(requests, small, "raw", unique=True)
    _fill(FILLED, arguments.rows)
    sent = uuid.uuid4().int % (1 << 40)  # pictures of this run, and of no other
    ratios: list[float] = []
    memory: dict[str, list[float]] = {"filled": [], "empty": []}
    for number in range(arguments.rounds):
        rates: dict[str, float] = {}
        for name in ("filled", "empty") if number % 2 else ("empty", "filled"):
            with tempfile.TemporaryDirectory(prefix="filled-") as temporary:
                folder = FILLED if name == "filled" else Path(temporary)
                load, mib = _turn(
                    folder, Path(temporary), classifier.manifest, small[0], program, requests, sent, arguments.seconds
                )
            sent += int(load.details["sent"]) + 1_000_000
            assert load.failed == 0, load.first_wrong
            rates[name] = load.images_per_second
            memory[name].append(mib)
            print(
                f"  round {number + 1}, {name}: {load.images_per_second:.0f} images/s, p50 {load.p50:.1f} ms, {mib:.0f} MiB",
                flush=True,
            )
        ratios.append(rates["filled"] / rates["empty"])
    print(f"filled / empty: {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")
    for name, sizes in memory.items():
        print(f"memory (PSS), {name}: {statistics.median(sizes):.0f} MiB [{min(sizes):.0f}, {max(sizes):.0f}]")


def _turn(
    data: Path,
    scratch: Path,
    manifest: Manifest,
    first: Picture,
    program: Path,
    requests: Path,
    sent: int,
    seconds: float,
) -> tuple[generator.Load, float]:
    """One start, a second to warm up, and the load. Gives it, and the memory behind it."""
    (port,) = free_ports(1)
    ours = systems()[OURS]
    start: Start = ours.start(port, data, manifest)
    with Running(start.command, start.folder, environment_variables(start, scratch), scratch / "log") as server:
        server.wait_until(lambda: answers(port, first, "raw"))
        generator.run(program, port, requests, CONNECTIONS, 1.0, sent + 500_000)
        load = generator.run(program, port, requests, CONNECTIONS, seconds, sent)
        return load, server.memory().pss


def _fill(folder: Path, number: int) -> None:
    """Rows and objects as `number` images of the last months would have left them."""
    if (folder / f".{number}").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    data = folder / "data"
    print(f"making {number:,} rows and objects in {folder.relative_to(REPOSITORY)} (once)...", flush=True)
    with closing(LocalRows(data / "rows.duckdb")):
        pass  # the table
    with duckdb.connect(str(data / "rows.duckdb")) as database:
        database.execute(
            "INSERT INTO image_events BY NAME SELECT"
            " make_timestamptz(1750000000000000 + n * 10000000) AS event_time, uuid()::VARCHAR AS request_id,"
            " 'classified' AS status, sha256(n::VARCHAR) AS image_id, 'image/jpeg' AS declared_type, 'JPEG' AS format,"
            " 900 AS size_bytes, 32 AS width, 32 AS height, 'RGB' AS color_mode, 1 AS frames, '127.0.0.1' AS source_ip,"
            " 'file:///objects/' || sha256(n::VARCHAR) || '.jpg' AS storage_uri, 'frog' AS predicted_class, 0.9 AS confidence,"
            """ '[{"class": "frog", "probability": 0.9}]' AS top_k, 'cifar10' AS model_name, '3' AS model_version,"""
            f" 0.1 AS preprocess_ms, 0.3 AS inference_ms, 2.0 AS total_ms, 'node' AS node FROM range({number}) AS t(n)"
        )
        names = database.execute("SELECT image_id FROM image_events").fetchall()
    content = b"\xff" * 900
    for first in range(256):
        (data / "objects" / f"{first:02x}").mkdir(parents=True, exist_ok=True)
    for (name,) in names:
        file = os.open(data / "objects" / name[:2] / f"{name}.jpg", os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(file, content)
        os.close(file)
    (folder / f".{number}").touch()


if __name__ == "__main__":
    main()
