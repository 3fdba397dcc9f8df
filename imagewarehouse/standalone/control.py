"""A Unix socket in the data folder through which the operator's commands ask the running service.

Rows in Kudu are asked for here, because only the service has a client. Embedded rows could be read beside it; through the
socket it is one way for both. The socket has the folder's permissions: whoever may read the file may ask, and nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa
from aiohttp import web

from imagewarehouse.errors import WarehouseError
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.kudu import KuduRows
from imagewarehouse.standalone.python_host import PythonProcessor

ARROW = "application/vnd.apache.arrow.stream"


class ControlSocket:
    def __init__(self, path: Path, processors: Iterable[PythonProcessor]) -> None:
        self._path = path
        self._processors = processors
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
