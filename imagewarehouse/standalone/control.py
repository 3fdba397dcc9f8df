"""A Unix socket in the data folder through which the operator's commands ask the running service.

Each process of a service has one, through which the others ask for its metrics. Commands ask the first.

Rows in Kudu are asked for here, because only the service has a client. Embedded rows could be read beside it; through the
socket it is one way for both. The socket has the folder's permissions: whoever may read the file may ask, and nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import aiohttp
import duckdb
import pyarrow as pa
from aiohttp import web

from imagewarehouse.errors import WarehouseError
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.kudu import KuduRows
from imagewarehouse.standalone.python_host import PythonProcessor

ARROW = "application/vnd.apache.arrow.stream"


_METRICS_S = 2.0  # a process that does not answer so long is left out


def control_socket(data: Path, worker: int = 0) -> Path:
    return data / ("control.sock" if worker == 0 else f"control-{worker}.sock")


async def metrics_of(sockets: Sequence[Path]) -> list[bytes]:
    """The metrics of other processes of this service. One that is being started again has none."""

    async def ask(socket: Path) -> bytes | None:
        timeout = aiohttp.ClientTimeout(total=_METRICS_S)
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
                session.get("http://localhost/metrics") as answer,
            ):
                return await answer.read() if answer.status == 200 else None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
            return None

    texts = await asyncio.gather(*map(ask, sockets))
    return [text for text in texts if text is not None]


class ControlSocket:
    def __init__(self, path: Path, processors: Iterable[PythonProcessor], metrics: Callable[[], bytes]) -> None:
        self._path = path
        self._processors = processors
        self._metrics = metrics
        self._runner = web.ServerRunner(web.Server(self._serve, access_log=None))

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)  # of a run that was killed; the folder's lock says that none is alive
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._path)).start()
        self._path.chmod(0o600)

    async def stop(self) -> None:
        await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET" and request.path == "/metrics":
            return web.Response(body=self._metrics(), content_type="text/plain")
        if request.method != "POST" or request.path != "/query":
            return web.Response(status=404, text="POST a SELECT to /query")
        rows = self._rows()
        if rows is None:
            return web.Response(status=409, text="this run writes its rows elsewhere")
        sql = (await request.read()).decode("utf-8", "replace")
        try:
            table = await asyncio.to_thread(rows.query, sql)
        except duckdb.Error as err:
            return web.Response(status=400, text=str(err))
        except WarehouseError as err:
            return web.Response(status=503, text=str(err))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return web.Response(body=sink.getvalue().to_pybytes(), content_type=ARROW)

    def _rows(self) -> LocalRows | KuduRows | None:
        for processor in self._processors:
            if processor.component.type == "PutKuduRecord":
                images = processor.processor.rows.get(processor.context).images
                return images.store if images else None
        return None
