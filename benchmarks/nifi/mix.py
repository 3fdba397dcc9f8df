"""Everybody at once, through the front: good clients, uploads, forms, wrong requests, and beside them those of mischief.py.

Each request that should have a row has an Idempotency-Key, which is the row's request id. So what was answered can be looked
for afterwards, one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.nifi.mischief import BOUNDARY, BROKEN, NO_END, Client, head
from benchmarks.nifi.pictures import contents
from imagewarehouse.ids import new_request_id, request_id_from_key, utc_now
from tests.forms import EMPTY_INPUT, FORM, file, form, text

GOOD = 8
BESIDE = {"slow": 50, "broken": 2, "aborted": 2}  # clients, and bodies a second
BURST, SENDERS, PAUSE_S = 200, 16, 10.0
_FORMS_PAUSE_S, _WRONG_PAUSE_S = 1.0, 0.5
_BUSY_PAUSE_S = 0.2
_LONGEST_S = 120.0  # for one turn; the flow's own time-out for an answer is shorter
_TOO_LARGE = 33 << 20  # the front takes 32 MB

_JPEG = "image/jpeg"

_T = TypeVar("_T")
_END = object()


@dataclass(slots=True)
class Told:
    """What clients were told. `rows`: request ids that need one row each."""

    rows: set[str] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)  # of good clients, seconds
    counts: Counter[str] = field(default_factory=Counter)  # what was answered as it should be, and `busy`
    unexpected: Counter[str] = field(default_factory=Counter)

    def surprise(self, kind: str, what: str) -> None:
        self.unexpected[f"{kind}: {what}"] += 1


class Mix:
    """Runs until `stop` is set; each client then still takes its answer, so that nothing is left open."""

    def __init__(self, port: int, told: Told) -> None:
        self.stop = asyncio.Event()
        self._port, self._told = port, told
        self._numbers = itertools.count()
        self._make = contents("3 KB")

    async def run(self) -> None:
        clients: list[Callable[[], Awaitable[None]]] = [self._good] * GOOD
        clients += [self._uploads, self._forms, self._wrong]
        await asyncio.gather(*(client() for client in clients))

    # --- clients ------------------------------------------------------------------------------------------------------

    async def _good(self) -> None:
        async def send(client: Client, _: object) -> None:
            key, picture = _key(), self._make(next(self._numbers))
            begun = time.perf_counter()
            status, body = await client.ask(_request("/classify", picture, _JPEG, key))
            if status == 200 and json.loads(body)["status"] == "classified":
                self._told.latencies.append(time.perf_counter() - begun)
                self._told.rows.add(key)
            else:
                self._told.surprise("good", str(status))

        await self._each("good", itertools.repeat(None), send)

    async def _uploads(self) -> None:
        async def send(client: Client, number: int) -> None:
            await self._acknowledged("upload", self._make(number), _JPEG, client, 1)

        while not self.stop.is_set():
            burst = itertools.islice(self._numbers, BURST)
            await asyncio.gather(*(self._each("upload", burst, send) for _ in range(SENDERS)))
            await self._pause(PAUSE_S)

    async def _forms(self) -> None:
        """In turns three images with text fields at /images, and one at /classify."""

        async def send(client: Client, _: object) -> None:
            fields = [text("place", "pond"), text("note", "x" * 200), EMPTY_INPUT]
            images = [file(self._make(next(self._numbers)), f"{n}.jpg", _JPEG) for n in range(3)]
            await self._acknowledged("form", form([*fields, *images]), FORM, client, 3)
            key, body = _key(), form([fields[0], images[0], *fields[1:]])
            status, _ = await client.ask(_request("/classify", body, FORM, key))
            if status == 200:
                self._told.rows.add(key)
                self._told.counts["form"] += 1
            else:
                self._told.surprise("form", str(status))
            await self._pause(_FORMS_PAUSE_S)

        await self._each("form", itertools.repeat(None), send)

    async def _wrong(self) -> None:
        """What is refused at /classify, each with its status: by the flow, with a row, or by the front, without one."""
        picture = self._make(next(self._numbers))
        cases = [
            ("wrong type", 415, "application/pdf", picture),
            ("text as image", 415, _JPEG, b"no picture"),
            ("truncated", 422, _JPEG, picture[: len(picture) // 2]),
            ("no body", 400, _JPEG, b""),
            ("form without end", 400, BOUNDARY, NO_END),
            ("two files", 400, FORM, form([file(picture, "a.jpg", _JPEG), file(picture, "b.jpg", _JPEG)])),
            ("broken JSON", 400, "application/json", b"{"),
            ("too large", 413, _JPEG, b""),
        ]

        async def send(client: Client, case: tuple[str, int, str, bytes]) -> None:
            kind, expected, media_type, body = case
            key = _key()
            if expected == 413:  # the body never comes, so its connection is of no use afterwards
                with contextlib.closing(Client(self._port)) as alone:
                    status, _ = await alone.ask(head(_TOO_LARGE, media_type))
            else:
                status, _ = await client.ask(_request("/classify", body, media_type, key))
                self._told.rows.add(key)
            if status == expected:
                self._told.counts["wrong"] += 1
            else:
                self._told.surprise(kind, str(status))
            await self._pause(_WRONG_PAUSE_S)

        await self._each("wrong", itertools.cycle(cases), send)

    # --- what they share ----------------------------------------------------------------------------------------------

    async def _acknowledged(self, kind: str, body: bytes, media_type: str, client: Client, images: int) -> None:
        """Sent to /images until it is, as a sender should: 503 is the queue's back pressure, and the key stays the same."""
        key = _key()
        while (status := (await client.ask(_request("/images", body, media_type, key)))[0]) == 503:
            self._told.counts["busy"] += 1
            await asyncio.sleep(_BUSY_PAUSE_S)
        if status == 202:
            now = utc_now()
            self._told.rows |= {request_id_from_key(key, now, number + 1) for number in range(images)}
            self._told.counts[kind] += 1
        else:
            self._told.surprise(kind, str(status))

    async def _each(self, kind: str, turns: Iterator[_T], send: Callable[[Client, _T], Awaitable[None]]) -> None:
        with contextlib.closing(Client(self._port)) as client:
            while not self.stop.is_set() and (turn := next(turns, _END)) is not _END:
                try:
                    await asyncio.wait_for(send(client, turn), _LONGEST_S)  # type: ignore[arg-type]
                except (*BROKEN, asyncio.TimeoutError) as err:
                    self._told.surprise(kind, type(err).__name__)
                    await self._pause(1)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)


def _request(path: str, body: bytes, media_type: str, key: str) -> bytes:
    return head(len(body), media_type, path, Idempotency_Key=key) + body


def _key() -> str:
    return new_request_id(utc_now())
