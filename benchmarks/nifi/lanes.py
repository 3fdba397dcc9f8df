"""What clients of /classify get from a real NiFi while /images is saturated: uploads that give way beside uploads that do not.

    make bench-nifi-lanes    # python -m benchmarks.nifi.lanes [--repeats N] [--seconds S] [--connections N] [--uploaders N]

One NiFi for each design, awake in turns. A turn is /classify alone, then /classify while as many uploaders as given send to
/images without a pause, and then the time until the flow is empty. A 503 of /images is answered by a pause of 0.1 s. At the end
every acknowledged image has to have its row.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Measured, load, request_bytes
from benchmarks.machine import describe
from benchmarks.nifi.designs import Design
from benchmarks.nifi.host import PROPERTIES, Host, start
from benchmarks.nifi.pictures import photograph
from benchmarks.nifi.throughput import newest
from imagewarehouse.flows.build import PARAMETER_CONTEXT, build_flow

GIVES_WAY, ALIKE = "gives way", "all alike"
_LEAD_S = 3.0  # until the queue in front of /images is full
_NUMBERS = itertools.count(time.time_ns() // 1_000_000)  # a file is never sent twice, not by another run either


def unique(path: str, pictures: int = 4) -> Callable[[int], bytes]:
    """Requests with files of 3 KB, each another one."""
    files = [photograph("3 KB", seed) for seed in range(pictures)]

    def make(_: int) -> bytes:
        number = next(_NUMBERS)
        file = files[number % len(files)]
        return request_bytes(path, file[:2] + b"\xff\xfe\x00\x22" + f"{number:032d}".encode() + file[2:])

    return make


@dataclass(slots=True)
class Uploads:
    """Sends to /images until told to stop."""

    port: int
    uploaders: int
    acknowledged: int = 0
    refused: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        await asyncio.gather(*(self._one(stop, unique("/images")) for _ in range(self.uploaders)))

    async def _one(self, stop: asyncio.Event, make: Callable[[int], bytes]) -> None:
        while not stop.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                while not stop.is_set():
                    writer.write(make(0))
                    head = await reader.readuntil(b"\r\n\r\n")
                    if not head.startswith(b"HTTP/1.1 202"):
                        self.refused += 1
                        break  # ListenHTTP closes the connection
                    self.acknowledged += 1
                    if length := int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0):
                        await reader.readexactly(length)
            finally:
                writer.close()
            await asyncio.sleep(0.1)


async def beside(
    classify_port: int, uploads: Uploads, connections: int, *, seconds: float, lead_s: float = _LEAD_S
) -> Measured:
    """What clients of /classify get while uploads come, which began `lead_s` before."""
    stop = asyncio.Event()
    sending = asyncio.create_task(uploads.run(stop))
    try:
        await asyncio.sleep(lead_s)
        return await load(classify_port, unique("/classify"), connections, seconds=seconds)
    finally:
        stop.set()
        await sending


@dataclass(frozen=True, slots=True)
class Turn:
    alone: Measured
    beside: Measured
    recorded_per_second: float  # uploads: rows a second, from the first upload until the flow was empty

    @property
    def kept(self) -> float:
        return self.beside.per_second / self.alone.per_second


def turn(host: Host, connections: int, uploaders: int, seconds: float) -> Turn:
    alone = host.measure(unique("/classify"), connections, seconds)
    host.wake()
    uploads = Uploads(host.images_port, uploaders)
    begun = time.perf_counter()
    measured = asyncio.run(beside(host.port, uploads, connections, seconds=seconds))
    while queued(host):
        time.sleep(0.1)
    spent = time.perf_counter() - begun
    host.answered += measured.requests - measured.failures + uploads.acknowledged
    host.sleep()
    return Turn(alone, measured, uploads.acknowledged / spent)


def queued(host: Host) -> int:
    with host.nifi.client() as client:
        return int(client.get("/flow/status").json()["controllerStatus"]["flowFilesQueued"])


def designs(properties: Mapping[str, str]) -> list[Design]:
    flow = copy.deepcopy(build_flow())
    for parameter in flow["parameterContexts"][PARAMETER_CONTEXT]["parameters"]:
        if parameter["name"] == "images.give.way":
            parameter["value"] = "0 sec"
    return [Design(GIVES_WAY, build_flow(), {}, properties), Design(ALIKE, flow, {}, properties)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of one measurement")
    parser.add_argument("--warm", type=float, default=20.0, help="seconds each NiFi runs before the first measurement")
    parser.add_argument("--connections", type=int, default=4, help="to /classify")
    parser.add_argument("--uploaders", type=int, default=16, help="connections to /images")
    parser.add_argument("--bored", default=PROPERTIES["nifi.bored.yield.duration"], help="nifi.bored.yield.duration")
    parser.add_argument("--nar", type=Path, help="NAR to deploy; the newest in dist/ if not given")
    arguments = parser.parse_args()
    nar = arguments.nar or newest()
    print(describe(), flush=True)
    hosts: list[Host] = []
    with tempfile.TemporaryDirectory(prefix="bench-lanes-") as temporary:
        try:
            for design in designs({"nifi.bored.yield.duration": arguments.bored}):
                hosts.append(start(design, Path(temporary) / design.name.replace(" ", "-"), nar))
                hosts[-1].sleep()
            for host in hosts:
                host.measure(unique("/classify"), 16, arguments.warm)
                turn(host, arguments.connections, arguments.uploaders, arguments.seconds / 2)
            turns: list[list[Turn]] = [[] for _ in hosts]
            for _ in range(arguments.repeats):
                for number, host in enumerate(hosts):
                    turns[number].append(turn(host, arguments.connections, arguments.uploaders, arguments.seconds))
            for host, found in zip(hosts, turns, strict=True):
                _report(host.design.name, found)
            for host in hosts:
                host.wake()
                host.nifi.stop()
                rows = host.rows()
                print(f"{host.design.name}: {host.answered} images answered or acknowledged, {rows} rows")
                assert rows >= host.answered, "an answer or an acknowledgement without its row"
        finally:
            for host in hosts:
                host.wake()
                host.nifi.kill()


def _report(name: str, turns: Sequence[Turn]) -> None:
    for what, runs in (("alone", [one.alone for one in turns]), ("beside uploads", [one.beside for one in turns])):
        print(
            f"  {name:<10} {what:<15} {_spread([run.per_second for run in runs])} images/s"
            f"  p50 {_spread([run.percentile(50) * 1000 for run in runs])} ms"
            f"  p99 {_spread([run.percentile(99) * 1000 for run in runs])} ms"
            f"  failed {sum(run.failures for run in runs)}"
        )
    print(
        f"  {name:<10} kept of alone  {_spread([one.kept for one in turns], 2)}"
        f"  uploads recorded {_spread([one.recorded_per_second for one in turns])} images/s",
        flush=True,
    )


def _spread(values: Sequence[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


if __name__ == "__main__":
    main()
