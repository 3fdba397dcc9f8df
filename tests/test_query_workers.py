"""Several workers answer for figures as one: the others ask the first, and answer by themselves while it is away."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from imagewarehouse.access import AccessKeys
from imagewarehouse.analytics.service import QueryService
from imagewarehouse.standalone.analytics import Analytics, OfFirstWorker
from imagewarehouse.standalone.server import Response, Server
from tests.test_query_service import Counting

KEYS = AccessKeys.parse("desk/read:read-0123456789abcdef camera:send-0123456789abcdef")
READER = {"X-Access-Key": "read-0123456789abcdef"}

Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]


def served(
    folder: Path, work: Callable[[Ask, Counting, Counting, Server], Coroutine[Any, Any, None]], *, first: bool = True
) -> None:
    """A first worker behind its control socket, another one behind a port, and a client of that port."""

    async def body() -> None:
        engines = [Counting(lambda asked: [("failed", "x", 7, 1)]) for _ in range(2)]
        analytics = [Analytics(QueryService(engine), KEYS) for engine in engines]
        path = folder / "control.sock"
        other = OfFirstWorker(path, analytics[1])
        servers = [Server(_handler(part), lambda status, why: Response(status)) for part in (analytics[0], other)]
        of_first = socket.socket(socket.AF_UNIX)
        if first:
            of_first.bind(str(path))
            await servers[0].start([of_first])
        port = socket.create_server(("127.0.0.1", 0))
        address = port.getsockname()
        await servers[1].start([port])

        async def ask(target: str, headers: dict[str, str] | None = None, method: str = "GET") -> Any:
            reader, writer = await asyncio.open_connection(*address)
            given = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "x", **(headers or {})}.items())
            writer.write(f"{method} {target} HTTP/1.1\r\n{given}Connection: close\r\n\r\n".encode())
            head, _, content = (await reader.read(-1)).partition(b"\r\n\r\n")
            writer.close()
            status, *fields = head.decode().split("\r\n")
            return int(status.split()[1]), {k.lower(): v for k, v in (f.split(": ", 1) for f in fields)}, content

        await work(ask, engines[0], engines[1], servers[0])
        for server in servers:
            await server.stop(1)
        for part in analytics:
            part.close()
        of_first.close()

    asyncio.run(body())


def _handler(part: Analytics | OfFirstWorker) -> Callable[[Any], Coroutine[Any, Any, Response]]:
    async def handle(request: Any) -> Response:
        return await part.answer(request) or Response(404)

    return handle


def test_the_first_worker_answers_for_all(tmp_path: Path) -> None:
    async def work(ask: Ask, first: Counting, other: Counting, server: Server) -> None:
        status, headers, body = await ask("/api/queries/rejections?class=%E7%8C%AB&class=a%20b", READER)
        assert status == 200
        assert b'["failed","x",7,1]' in body
        assert headers["content-type"] == "application/json"
        assert "predicted_class IN ('a b', '猫')" in first.asked[0].sql
        known = await ask("/api/queries/rejections?class=%E7%8C%AB&class=a%20b",
                          {**READER, "If-None-Match": headers["etag"]})  # fmt: skip
        assert (known[0], known[2]) == (304, b"")
        told = await ask("/api/queries/rejections?class=%E7%8C%AB&class=a%20b", READER, "HEAD")
        assert (told[0], told[2]) == (200, b"")
        assert int(told[1]["content-length"]) > 100
        assert (len(first.asked), len(other.asked)) == (1, 0)

    served(tmp_path, work)


def test_refusals_come_through(tmp_path: Path) -> None:
    async def work(ask: Ask, first: Counting, other: Counting, server: Server) -> None:
        status, headers, body = await ask("/api/queries/rejections")
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert b"access.key_missing" in body
        assert (await ask("/api/queries/rejections?x=1", READER))[0] == 400
        assert (await ask("/api/queries/%ff%0d%0ax", READER))[0] == 404
        assert (await ask("/api/queries/rejections", READER, "POST"))[0] == 405
        assert not first.asked
        assert not other.asked

    served(tmp_path, work)


def test_while_the_first_worker_is_away_the_others_answer_by_themselves(tmp_path: Path) -> None:
    async def work(ask: Ask, first: Counting, other: Counting, server: Server) -> None:
        assert (await ask("/api/queries/rejections", READER))[0] == 200
        assert (len(first.asked), len(other.asked)) == (0, 1)

    served(tmp_path, work, first=False)


def test_a_first_worker_that_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    async def work(ask: Ask, first: Counting, other: Counting, server: Server) -> None:
        await server.stop(1)
        assert (await ask("/api/queries/rejections", READER))[0] == 200
        assert (len(first.asked), len(other.asked)) == (0, 1)

    served(tmp_path, work)
