"""`python -m benchmarks.packs`: small pictures into packs against an object each, as StoreImage puts a batch both ways.

A local folder, SeaweedFS by S3 and HDFS over HTTP, one after the other; on each both ways in turn, batch by batch, one thread
that puts and the store's own connections; every picture is new, and has a record of the size that the check leaves. `ratio`
is that of the pictures per second of the same round; the bar is 5 on S3 and on HDFS.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import describe
from imagewarehouse.objects.images import ImageStore, NewPicture
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from tests.object_services import PATIENT, hdfs_running, hdfs_uri, inside, s3_running, s3_uri

BAR = 5.0
PICTURE_BYTES = 900
RECORD = b'{"fields":"' + b"x" * 480 + b'"}'  # what is known of a picture takes one block of 512 bytes, mostly
PACKED, ALONE = "packed", "an object each"


@contextmanager
def folder(path: Path) -> Iterator[str]:
    yield str(path / "objects")


@contextmanager
def s3(path: Path) -> Iterator[str]:
    with s3_running(path) as service:
        yield inside(s3_uri(service.port), "bench")


@contextmanager
def hdfs(path: Path) -> Iterator[str]:
    with hdfs_running(path) as service:
        yield hdfs_uri(service.port)


STORES = {"folder": folder, "s3": s3, "hdfs": hdfs}
HELD_TO_THE_BAR = ("s3", "hdfs")


@dataclass
class Way:
    """What a way of putting pictures took: seconds of each batch of this round, pictures per second of each round."""

    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=10, help="of each way and round")
    parser.add_argument("--pictures", type=int, default=64, help="of a batch")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    arguments = parser.parse_args()
    print(describe())
    reached: dict[str, float] = {}
    for name in arguments.stores:
        with tempfile.TemporaryDirectory() as path, STORES[name](Path(path)) as uri:
            images = ImageStore(open_store(Location.parse(uri), PATIENT))
            reached[name] = measured(name, images, arguments.rounds, arguments.batches, arguments.pictures)
            images.close()
    held = {name: ratio for name, ratio in reached.items() if name in HELD_TO_THE_BAR}
    shown = ", ".join(f"{name} {ratio:.1f}" for name, ratio in held.items())
    print(f"bar: {BAR:g} times as many pictures a second; reached: {shown or 'not asked'}")
    sys.exit(0 if all(ratio >= BAR for ratio in held.values()) else 1)


def measured(name: str, images: ImageStore, rounds: int, batches: int, pictures: int) -> float:
    """The median of the rounds' ratios."""
    ways = {PACKED: Way(), ALONE: Way()}
    for way in ways:  # connections, folders and classes of the store are there then
        put(images, way, batch(pictures))
    ratios = []
    for _ in range(rounds):
        for number in range(batches):
            for way in (PACKED, ALONE) if number % 2 else (ALONE, PACKED):
                chosen = batch(pictures)
                began = time.perf_counter()
                put(images, way, chosen)
                ways[way].seconds.append(time.perf_counter() - began)
        for taken in ways.values():
            taken.rates.append(pictures * batches / sum(taken.seconds))
            taken.seconds.clear()
        ratios.append(ways[PACKED].rates[-1] / ways[ALONE].rates[-1])
    print(f"{name}: pictures of {PICTURE_BYTES} bytes, {batches} batches of {pictures} a round, pictures per second")
    for way, taken in ways.items():
        print(f"  {way:<14} " + "  ".join(f"{rate:7,.0f}" for rate in taken.rates))
    print(f"  {'ratio':<14} " + "  ".join(f"{ratio:7.1f}" for ratio in ratios))
    return statistics.median(ratios)


def put(images: ImageStore, way: str, pictures: Sequence[NewPicture]) -> None:
    if way == PACKED:
        failed = [outcome for outcome in images.put_batch(pictures) if not isinstance(outcome, str)]
        assert not failed, failed
    else:
        images.for_each(lambda picture: images.put(picture.image_id, "JPEG", picture.content, hashed=True), pictures)


def batch(pictures: int) -> list[NewPicture]:
    contents = [os.urandom(PICTURE_BYTES) for _ in range(pictures)]
    moment = int(time.time())
    return [NewPicture(hashlib.sha256(c).hexdigest(), "JPEG", c, RECORD, moment, hashed=True) for c in contents]


if __name__ == "__main__":
    main()
