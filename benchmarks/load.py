"""A small load generator: N keep-alive connections, each sending its next request when it has its answer.

Plain asyncio streams instead of a client library, so that the client takes as little as possible of the cores that the
service is measured on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run gave. Times in seconds."""

    requests: int
    failures: int
    seconds: float
    latencies: tuple[float, ...]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def request_bytes(path: str, content: bytes, media_type: str = "image/jpeg") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """`head`: of the answer, in lower case."""
    if b"content-length:" in head:
        return await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
    body, size = b"", -1
    while size:  # chunked
        size = int(await reader.readuntil(b"\r\n"), 16)
        body += (await reader.readexactly(size + 2))[:-2]
    return body


async def load(
    port: int, requests: Sequence[bytes] | Callable[[int], bytes], connections: int, *, seconds: float
) -> Measured:
    """Send requests over `connections` connections for `seconds`: a list round and round, or one made for each number."""
    make = requests if callable(requests) else lambda number: requests[number % len(requests)]
    latencies: list[float] = []
    failures = 0
    position = 0
    until = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal failures, position
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while time.perf_counter() < until:
                position += 1
                started = time.perf_counter()
                writer.write(make(position))
                head = await reader.readuntil(b"\r\n\r\n")
                await read_body(reader, head.lower())
                latencies.append(time.perf_counter() - started)
                failures += not head.startswith(b"HTTP/1.1 2")
        finally:
            writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return Measured(len(latencies), failures, time.perf_counter() - started, tuple(latencies))
