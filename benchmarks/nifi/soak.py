"""50,000 images through a deployed flow: every row there once, and the memory of each Python process on the way.

    make soak-nifi                                    # python -m benchmarks.nifi.soak [--images N]
    make soak-nifi ARGS='--mix --minutes 30'          everybody at once, through nginx (nifi-conf/front/): see mix.py

The mix prints a block every minute and a summary at the end, also after Ctrl-C. It ends with 1 where a row is missing or
there twice, or where somebody got another answer than the right one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.load import load
from benchmarks.machine import describe
from benchmarks.nifi.designs import PACKAGES, designs
from benchmarks.nifi.host import Host, start
from benchmarks.nifi.mischief import beside
from benchmarks.nifi.mix import BESIDE, GOOD, Mix, Told
from benchmarks.nifi.pictures import requests
from benchmarks.nifi.throughput import newest
from imagewarehouse.cli.main import call
from tests.front import Front, nginx

_CONNECTIONS = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--mix", action="store_true", help="good clients and bad ones together, through nginx")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the mix")
    parser.add_argument("--nar", type=Path, help="NAR to deploy; the newest in dist/ if not given")
    arguments = parser.parse_args()
    if arguments.mix and nginx() is None:
        raise SystemExit("the mix needs nginx (Debian: apt install nginx-light)")
    print(describe(), flush=True)
    well = True
    with tempfile.TemporaryDirectory(prefix="soak-nifi-") as temporary:
        [design] = [one for one in designs("http://127.0.0.1:1") if one.name == PACKAGES]
        host = start(design, Path(temporary) / "warehouse", arguments.nar or newest())
        try:
            if arguments.mix:
                well = _mixed(host, Path(temporary) / "front", arguments.minutes)
            else:
                _run(host, arguments.images)
        finally:
            host.nifi.kill()
    sys.exit(not well)


def _processes(host: Host) -> list[tuple[str, psutil.Process]]:
    """NiFi's JVM first, then its Python processes."""
    assert host.nifi.pid is not None
    named = {one.pid: one.type or "discovery" for one in host.nifi.python_processes()}
    ordered = sorted(named.items(), key=lambda pair: pair[1])
    return [("JVM", psutil.Process(host.nifi.pid)), *((name, psutil.Process(pid)) for pid, name in ordered)]


def _run(host: Host, images: int) -> None:
    (_, jvm), *processes = _processes(host)
    print(
        f"{'answered':>9}  {'images/s':>8}  " + "  ".join(f"{name[:13]:>13}" for name, _ in processes) + "    JVM, MiB"
    )
    answered = failures = 0
    samples: list[tuple[int, list[float]]] = []
    make = requests("3 KB")
    while answered < images:
        offset = answered + failures
        begun = time.perf_counter()
        found = asyncio.run(
            load(host.port, lambda number, offset=offset: make(offset + number), _CONNECTIONS, seconds=10)  # type: ignore[misc]
        )
        answered, failures = answered + found.requests - found.failures, failures + found.failures
        sizes = [process.memory_info().rss / 2**20 for _, process in processes]
        samples.append((answered, sizes))
        rate = (found.requests - found.failures) / (time.perf_counter() - begun)
        print(
            f"{answered:9,}  {rate:8.0f}  " + "  ".join(f"{size:13.1f}" for size in sizes)
            + f"    {jvm.memory_info().rss / 2**20:.0f}", flush=True,
        )  # fmt: skip
    half = samples[len(samples) // 2 :]
    for number, (name, _) in enumerate(processes):
        slope = np.polyfit([count / 1000 for count, _ in half], [sizes[number] for _, sizes in half], 1)[0]
        print(f"{name}: {slope:+.3f} MiB a thousand images over the second half, {half[-1][1][number]:.0f} at the end")
    host.nifi.stop()
    print(f"{answered:,} images answered, {failures} refused, {host.rows():,} rows")
    assert host.rows() == answered


# --- the mix --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Look:
    """A process at one moment."""

    hours: float
    memory: float  # MiB, resident
    threads: int
    handles: int


def _mixed(host: Host, folder: Path, minutes: float) -> bool:
    """Whether all is well."""
    told = Told()
    with Front(folder, host.images_port, host.port) as front, contextlib.ExitStack() as others:
        for kind, amount in BESIDE.items():
            others.enter_context(beside(kind, front.port, amount))
        looks = asyncio.run(_watched(host, Mix(front.port, told), told, minutes))
        others.close()
        print("\nthe front's log:", dict(front.reasons()), flush=True)
    print("waiting until the flow has nothing left", flush=True)
    if call(["stop", "--nifi", host.nifi.url]):
        print("the flow did not come to an end: rows may be missing below")
    host.nifi.stop()
    rows = host.row_counts()
    lost, doubled = told.rows - rows.keys(), sum(rows.values()) - len(rows)
    for name, found in looks.items():
        if found:
            _say_slope(name, found)
    by_status = ", ".join(f"{number:,} {status}" for status, number in host.statuses().items())
    print(f"{len(told.rows):,} images answered or acknowledged; {sum(rows.values()):,} rows: {by_status}")
    print(f"loss {len(lost)}, doubles {doubled}, unexpected {dict(told.unexpected) or 0}", flush=True)
    return not (lost or doubled or told.unexpected)


async def _watched(host: Host, mix: Mix, told: Told, minutes: float) -> dict[str, list[_Look]]:
    """Run it so long, or until Ctrl-C; a second one ends all at once. What was seen of each process, every minute."""
    processes = _processes(host)
    looks: dict[str, list[_Look]] = {name: [] for name, _ in processes}
    _look(processes, 0.0, looks, told)
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        mix.stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, interrupted)
    running = asyncio.ensure_future(mix.run())
    begun = time.perf_counter()
    end = begun + minutes * 60
    seen = _Seen(told)
    while not running.done():
        await asyncio.wait([running], timeout=max(0.1, min(60.0, end - time.perf_counter())))
        if time.perf_counter() >= end:
            mix.stop.set()
            await running
        hours = (time.perf_counter() - begun) / 3600
        print(seen.line(hours * 60))
        _look(processes, hours, looks, told)
        _say_looks(looks)
    await running
    return looks


def _look(
    processes: Sequence[tuple[str, psutil.Process]], hours: float, looks: dict[str, list[_Look]], told: Told
) -> None:
    for name, process in processes:
        try:
            with process.oneshot():
                memory = process.memory_info().rss / 2**20
                looks[name].append(_Look(hours, memory, process.num_threads(), process.num_fds()))
        except psutil.NoSuchProcess:
            told.surprise(name, "its process has ended")


class _Seen:
    """What is new since the last line."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._counts: Counter[str] = Counter()
        self._unexpected: Counter[str] = Counter()
        self._latencies, self._at = 0, time.perf_counter()

    def line(self, minutes: float) -> str:
        told, now = self._told, time.perf_counter()
        fresh = sorted(told.latencies[self._latencies :])
        counts, unexpected = told.counts - self._counts, told.unexpected - self._unexpected
        percentiles = ", ".join(
            f"p{percent} {1000 * fresh[min(len(fresh) - 1, len(fresh) * percent // 100)]:.0f} ms" if fresh else "none"
            for percent in (50, 99)
        )
        rate = len(fresh) / (now - self._at)
        self._counts, self._unexpected = told.counts.copy(), told.unexpected.copy()
        self._latencies, self._at = len(told.latencies), now
        return (
            f"\n{minutes:5.1f} min: {GOOD} good clients {rate:.0f} images/s, {percentiles}; unexpected {dict(unexpected) or 0};"
            f" others {dict(counts)}"
        )


def _say_looks(looks: dict[str, list[_Look]]) -> None:
    values: list[tuple[str, Callable[[_Look], float]]] = [
        ("MiB", lambda look: look.memory), ("threads", lambda look: look.threads), ("handles", lambda look: look.handles),
    ]  # fmt: skip
    for title, value in values:
        print(
            f"    {title:<8}" + "  ".join(f"{name} {value(found[-1]):.0f}" for name, found in looks.items() if found),
            flush=True,
        )


def _say_slope(name: str, found: Sequence[_Look]) -> None:
    half = found[len(found) // 2 :]
    slope = "too short for a slope"
    if len(half) > 2:
        fit = np.polyfit([look.hours for look in half], [look.memory for look in half], 1)[0]
        slope = f"{fit:+.1f} MiB an hour over the second half"
    first, last = found[0], found[-1]
    print(
        f"{name}: {slope}, {first.memory:.0f} to {last.memory:.0f} MiB; threads {first.threads} to {last.threads},"
        f" handles {first.handles} to {last.handles}"
    )


if __name__ == "__main__":
    main()
