"""What clients that do not behave cost the others: /classify of a real NiFi, through nginx (nifi-conf/front/) and straight.

    make bench-mischief      # python -m benchmarks.nifi.mischief [--rounds N] [--seconds S]

Sixteen good clients send photographs of 3 KB, each the next when it has its answer; beside them nobody, 200 clients that
send a byte a second, a stream of multipart bodies that cannot be parsed, or one of uploads that are broken off. Through
the front every round has them all, and a ratio is to nobody in the same round; straight, each once, and how long NiFi
needs afterwards. Who misbehaves has a process of its own and addresses of its own (127.1.0.0/16), as on a network.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import read_body
from benchmarks.machine import describe

GOOD = 16
SLOW = 200
STREAM = 20  # bodies a second of the streams
_SETTLE_S = 3.0  # 200 connections, and after them NiFi's second of yield

BOUNDARY = "multipart/form-data; boundary=xyz"
NO_END = (
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    + bytes(2000)
)


# --- those who misbehave, in a process of their own ----------------------------------------------------------------------


def head(length: int, media_type: str, path: str = "/classify", method: str = "POST", **headers: str) -> bytes:
    """`headers` by name, with _ for -."""
    given = {"Host": "localhost", "Content-Type": media_type, "Content-Length": str(length), **headers}
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode()


def _address(number: int) -> tuple[str, int]:
    return (f"127.1.{number // 250}.{number % 250 + 1}", 0)


@contextlib.asynccontextmanager
async def _connected(port: int, number: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=_address(number))
    try:
        yield reader, writer
    finally:
        writer.close()


async def slow(port: int, clients: int = SLOW) -> None:
    """Half of them with a body of 1,000 bytes, half of 10 MB, a byte a second; who is thrown out comes again."""

    async def one(number: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                async with _connected(port, number) as (_, writer):
                    writer.write(head(1000 if number % 2 else 10_000_000, "image/jpeg"))
                    while not writer.is_closing():
                        writer.write(b"x")
                        await writer.drain()
                        await asyncio.sleep(1)
            await asyncio.sleep(1)

    await asyncio.gather(*(one(number) for number in range(clients)))


async def _stream(one: Callable[[int], Coroutine[object, object, None]], a_second: int) -> None:
    running: set[asyncio.Task[None]] = set()
    number = 0
    while True:
        if len(running) < 200:
            task = asyncio.create_task(one(number % 500))
            running.add(task)
            task.add_done_callback(running.discard)
        number += 1
        await asyncio.sleep(1 / a_second)


async def broken(port: int, a_second: int = STREAM) -> None:
    """Multipart bodies without an end."""

    async def one(number: int) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            async with _connected(port, number) as (reader, writer):
                writer.write(head(len(NO_END), BOUNDARY) + NO_END)
                await asyncio.wait_for(reader.read(4096), 30)

    await _stream(one, a_second)


async def aborted(port: int, a_second: int = STREAM) -> None:
    """Uploads that end in the middle of a multipart body."""

    async def one(number: int) -> None:
        with contextlib.suppress(OSError):
            async with _connected(port, number) as (_, writer):
                writer.write(head(100_000, BOUNDARY) + NO_END)
                await writer.drain()
                await asyncio.sleep(0.05)  # long enough for the listener to begin with it

    await _stream(one, a_second)


KINDS: dict[str, Callable[..., Coroutine[object, object, None]]] = {"slow": slow, "broken": broken, "aborted": aborted}


@contextlib.contextmanager
def beside(kind: str, port: int, amount: int | None = None) -> Iterator[None]:
    """Somebody misbehaves at that port meanwhile; `alone`: nobody does. `amount`: so many, or so many a second."""
    if kind == "alone":
        yield
        return
    command = [sys.executable, "-m", "benchmarks.nifi.mischief", "--be", kind, "--port", str(port)]
    process = subprocess.Popen(
        [*command, *(["--amount", str(amount)] if amount else [])],
        start_new_session=True,  # Ctrl-C is for us: what is here ends with the block
    )
    try:
        time.sleep(_SETTLE_S)
        assert process.poll() is None, f"{kind} has ended"
        yield
    finally:
        process.kill()
        process.wait()


# --- the others -----------------------------------------------------------------------------------------------------------


BROKEN = (OSError, asyncio.IncompleteReadError)


class Client:
    """A keep-alive connection; another one where that breaks, or where the server says that it ends (nginx: after 1,000)."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises one of BROKEN."""
        if self._connection is None:
            self._connection = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._connection
        try:
            writer.write(request)
            top = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = await read_body(reader, top)
        except BaseException:
            self.close()
            raise
        if b"\r\nconnection: close\r\n" in top:
            self.close()
        return int(top.split(b" ", 2)[1]), body

    def close(self) -> None:
        if self._connection is not None:
            self._connection[1].close()
            self._connection = None


@dataclass(frozen=True, slots=True)
class Served:
    """What the good clients got: answers with a class, and other answers or none."""

    classified: int
    failures: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.classified / self.seconds


def serve(port: int, make: Callable[[int], bytes], seconds: float, connections: int = GOOD) -> Served:
    """Keep-alive connections that send their next request when they have their answer. What is open at the end counts not."""

    async def run() -> Served:
        classified = failures = position = 0

        async def one() -> None:
            nonlocal classified, failures, position
            with contextlib.closing(Client(port)) as client:
                while True:
                    position += 1
                    try:
                        good = (await client.ask(make(position)))[0] == 200
                        classified, failures = classified + good, failures + (not good)
                    except BROKEN:
                        failures += 1
                        await asyncio.sleep(0.1)

        tasks = [asyncio.ensure_future(one()) for _ in range(connections)]
        started = time.perf_counter()
        await asyncio.wait(tasks, timeout=seconds)
        taken = time.perf_counter() - started
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return Served(classified, failures, taken)

    return asyncio.run(run())


def new_ones(make: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """A picture that nobody has sent, in every turn: known ones are not stored again."""
    numbers = itertools.count()
    return lambda _: make(next(numbers))


def in_turns(
    port: int, kinds: Sequence[str], make: Callable[[int], bytes], rounds: int, seconds: float, other: int | None = None
) -> dict[str, list[Served]]:
    """Each kind of mischief, `rounds` times; with `other`, that port alone in each round too, as `other`."""
    found: dict[str, list[Served]] = {kind: [] for kind in (*kinds, *(["other"] if other else []))}
    for number in range(rounds):
        for kind in found:
            with beside("alone" if kind == "other" else kind, port):
                found[kind].append(serve(other if kind == "other" and other else port, make, seconds))
            print(f"round {number + 1} {kind:<8} {_say(found[kind][-1])}", flush=True)
            if kind in KINDS:
                time.sleep(_SETTLE_S)
    return found


def _say(served: Served) -> str:
    return f"{served.per_second:7.1f}/s, other answers {served.failures}"


def recovered(port: int, make: Callable[[int], bytes], longest: float) -> float:
    """Seconds until one request gets its class again; `longest` where it does not in that time."""
    started = time.monotonic()
    while time.monotonic() - started < longest and not serve(port, make, 1.0, connections=1).classified:
        pass
    return min(longest, time.monotonic() - started)


def ratios(found: dict[str, list[Served]], kind: str, base: str = "alone") -> list[float]:
    """Round by round, smallest first."""
    return sorted(one.per_second / alone.per_second for one, alone in zip(found[kind], found[base], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of one measurement")
    parser.add_argument("--warm", type=float, default=40.0, help="seconds NiFi runs before the first measurement")
    parser.add_argument("--longest", type=float, default=240.0, help="seconds to wait for NiFi to answer again")
    parser.add_argument("--nar", type=Path, help="NAR to deploy; the newest in dist/ if not given")
    parser.add_argument("--be", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--amount", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be:
        given = [arguments.amount] if arguments.amount else []
        asyncio.run(KINDS[arguments.be](arguments.port, *given))
        return
    # The others need none of these.
    from benchmarks.nifi.designs import PACKAGES, designs
    from benchmarks.nifi.host import start
    from benchmarks.nifi.pictures import requests
    from benchmarks.nifi.throughput import newest
    from imagewarehouse.ports import free_ports
    from tests.front import Front

    print(describe(), flush=True)
    make = new_ones(requests("3 KB"))
    with tempfile.TemporaryDirectory(prefix="bench-mischief-") as temporary:
        [design] = [one for one in designs("http://127.0.0.1:9") if one.name == PACKAGES]
        host = start(design, Path(temporary) / "nifi", arguments.nar or newest())
        try:
            with Front(Path(temporary) / "front", *free_ports(1), host.port) as front:
                serve(host.port, make, arguments.warm)
                found = in_turns(front.port, ["alone", *KINDS], make, arguments.rounds, arguments.seconds, host.port)
                print("\nthe front's log:", dict(front.reasons()))
            for kind in ("alone", *KINDS):
                rate = statistics.median(one.per_second for one in found[kind])
                print(f"| front | {kind} | {rate:.0f} | {_range(ratios(found, kind))} |")
            print("front / straight, alone:", _range(ratios(found, "alone", "other")), flush=True)
            _straight(host.port, make, arguments)
        finally:
            host.nifi.kill()


def _straight(port: int, make: Callable[[int], bytes], arguments: argparse.Namespace) -> None:
    """Once each: what is measured here is whether it stands still, and for how long."""
    alone = serve(port, make, arguments.seconds)
    print(f"| straight | alone | {_say(alone)} |", flush=True)
    for kind in KINDS:
        with beside(kind, port):
            found = serve(port, make, arguments.seconds)
        again = recovered(port, make, arguments.longest)
        share = found.per_second / alone.per_second
        print(f"| straight | {kind} | {_say(found)} | {share:.2f} | again after {again:.0f} s |", flush=True)


def _range(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} [{values[0]:.2f}, {values[-1]:.2f}]"


if __name__ == "__main__":
    main()
