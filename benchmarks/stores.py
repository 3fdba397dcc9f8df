"""`python -m benchmarks.stores`: pictures into an S3 store through our interface, against bare puts by the same client.

One SeaweedFS, both ways in turn within each round, one thread; every picture is new. The bare put is obstore's, without a
condition: the fastest client that was measured. pyarrow stands beside them: write under another name, then move, as it was
before. `ratio` is the median of ours to that of the bare puts of the same round; the bar is 1.5.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from imagewarehouse.objects.arrow import ArrowStore
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from tests.object_services import s3_running, s3_uri

BAR = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=200, help="of each size, way and round")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000, 2_000_000], help="bytes")
    arguments = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as folder, s3_running(Path(folder)) as service:
        location = Location.parse(f"{s3_uri(service.port).replace('@bucket', '@bucket/bench')}")
        store: Any = open_store(location)
        images = ImageStore(store)
        arrow = ArrowStore(location, *location.open())
        ways: dict[str, Callable[[str, bytes], object]] = {
            "bare put": lambda image_id, content: store._client.put(f"bare/{image_id}", content, use_multipart=False),
            "ours": lambda image_id, content: images.put(image_id, "JPEG", content, hashed=True),
            "pyarrow": lambda image_id, content: arrow.put_if_absent(f"arrow/{image_id}", content),
        }
        worst = 0.0
        for size in arguments.sizes:
            pictures = max(10, min(arguments.pictures, 20_000_000 // size))
            worst = max(worst, measured(ways, size, arguments.rounds, pictures))
    print(f"bar: {BAR:g} times a bare put; reached: {worst:.2f}")
    sys.exit(0 if worst <= BAR else 1)


def measured(ways: dict[str, Callable[[str, bytes], object]], size: int, rounds: int, pictures: int) -> float:
    """The median of the rounds' ratios."""
    ratios, medians = [], {name: [] for name in ways}
    for _ in range(rounds):
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(pictures):
            for name, put in ways.items():
                content = os.urandom(size)
                image_id = hashlib.sha256(content).hexdigest()
                began = time.perf_counter()
                put(image_id, content)
                times[name].append(time.perf_counter() - began)
        for name in ways:
            medians[name].append(statistics.median(times[name]) * 1000)
        ratios.append(medians["ours"][-1] / medians["bare put"][-1])
    print(f"{size:,} bytes, {pictures} pictures a round, median of each round in ms")
    for name, values in medians.items():
        print(f"  {name:<9} " + "  ".join(f"{value:6.2f}" for value in values))
    print("  ratio     " + "  ".join(f"{ratio:6.2f}" for ratio in ratios))
    return statistics.median(ratios)


if __name__ == "__main__":
    main()
