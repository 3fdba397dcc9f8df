"""A Unix socket in the data folder through which the operator's commands ask the running service.

Each process of a service has one, through which the others ask for its metrics. Commands ask the first.

Rows in Kudu are asked for here, because only the service has a client. Embedded rows could be read beside it; through the
socket it is one way for both. The socket has the folder's permissions: whoever may read the file may ask, and nobody else.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa

from imagewarehouse.errors import WarehouseError
from imagewarehouse.metadata import to_text
from imagewarehouse.places import Lookup
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.kudu import KuduRows
from imagewarehouse.rows.kudu_locations import KuduLocations, image_locations, locations_table
from imagewarehouse.rows.locations import ReadLocations, locations_of
from imagewarehouse.standalone.analytics import Analytics
from imagewarehouse.standalone.python_host import PythonProcessor
from imagewarehouse.standalone.server import Request, Response, Server

ARROW = "application/vnd.apache.arrow.stream"

_ELSEWHERE = "this run writes its rows elsewhere"
_METRICS_S = 2.0  # a process that does not answer for so long is left out
_STOP_S = 2.0
_PIECE_S = 10.0  # between two pieces of a statement
_MAX_BODY = 1 << 20  # bytes: of a SELECT, or of 15,000 image_ids


def control_socket(data: Path, worker: int = 0) -> Path:
    return data / ("control.sock" if worker == 0 else f"control-{worker}.sock")


async def metrics_of(sockets: Mapping[int, Path]) -> dict[int, bytes]:
    """The metrics of other processes of this service, by number. One that is being started again has none."""
    texts = await asyncio.gather(
        *(asyncio.wait_for(_metrics_of(path), _METRICS_S) for path in sockets.values()), return_exceptions=True
    )
    return {number: text for number, text in zip(sockets, texts, strict=True) if isinstance(text, bytes)}


async def _metrics_of(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise ConnectionError(head.decode("latin-1"))
    return body


class ControlSocket:
    def __init__(self, path: Path, processors: Iterable[PythonProcessor], metrics: Callable[[], bytes]) -> None:
        self._path = path
        self._processors = processors
        self._metrics = metrics
        self._places: Lookup | None = None
        self.analytics: Analytics | None = None  # what the other workers ask here
        self._server = Server(
            self._serve, lambda status, why: _text(status, why or "a defect of the service; see its log")
        )

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)  # of a run that was killed; the folder's lock says that none is alive
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(self._path))
        self._path.chmod(0o600)
        await self._server.start([listening])

    async def stop(self) -> None:
        await self._server.stop(_STOP_S)
        self._path.unlink(missing_ok=True)

    async def _serve(self, request: Request) -> Response:
        if request.method == "GET" and request.path == "/metrics":
            return Response(200, self._metrics(), {"Content-Type": "text/plain"})
        if self.analytics is not None and (figures := await self.analytics.answer(request)) is not None:
            return figures
        if request.method != "POST" or request.path not in ("/query", "/locations"):
            return _text(404, "POST a SELECT to /query, or image_ids, each on a line, to /locations")
        body = bytearray()
        while piece := await request.piece(_PIECE_S):
            body += piece
            if len(body) > _MAX_BODY:
                return _text(413, f"more than {_MAX_BODY} bytes")
        if request.path == "/locations":
            return await self._locations(body.decode("utf-8", "replace").split())
        return await self._query(body.decode("utf-8", "replace"))

    async def _query(self, sql: str) -> Response:
        rows = row_store(self._processors)
        if rows is None:
            return _text(409, _ELSEWHERE)
        try:
            table = await asyncio.to_thread(rows.query, sql)
        except duckdb.Error as err:
            return _text(400, str(err))
        except WarehouseError as err:
            return _text(503, str(err))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return Response(200, sink.getvalue().to_pybytes(), {"Content-Type": ARROW})

    async def _locations(self, image_ids: Sequence[str]) -> Response:
        """JSON: the name of the table; what it knows by image_id: the place, and when it was forgotten or null."""
        self._places = self._places or locations(self._processors)
        if self._places is None:
            return _text(409, _ELSEWHERE)
        try:
            known = await asyncio.to_thread(self._places.find, image_ids)
        except WarehouseError as err:
            return _text(503, str(err))
        found = {
            image_id: (one.uri, None if one.forgotten_at is None else to_text(one.forgotten_at))
            for image_id, one in known.items()
        }
        return Response(
            200, orjson.dumps({"table": str(self._places), "known": found}), {"Content-Type": "application/json"}
        )


def row_store(processors: Iterable[PythonProcessor]) -> LocalRows | KuduRows | None:
    """Where the rows of images go; None where this run writes them elsewhere."""
    for processor in processors:
        if processor.component.type == "PutKuduRecord":
            images = processor.processor.rows.get(processor.context).images
            return images.store if images else None
    return None


def locations(processors: Iterable[PythonProcessor]) -> Lookup | None:
    """Where the images are that lie in packs: a table beside the rows. None where this run writes its rows elsewhere."""
    rows = row_store(processors)
    if isinstance(rows, KuduRows):
        return KuduLocations(rows.writer, image_locations(locations_table(rows.sink.table)))
    return None if rows is None else ReadLocations(locations_of(rows.path))


def _text(status: int, text: str) -> Response:
    return Response(status, text.encode("utf-8", "replace"), {"Content-Type": "text/plain; charset=utf-8"})
