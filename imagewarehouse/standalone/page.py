"""The dashboard page and what describes the API: GET /, /assets/*, /openapi.json, /api and /api/queries, on every port.

The page and the document hold no figures, so they need no access key.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from imagewarehouse.access import SEND, AccessKeys
from imagewarehouse.analytics.page_files import HEADERS, PageFile, page_files
from imagewarehouse.analytics.parameters import no_parameters
from imagewarehouse.analytics.service import list_of_queries
from imagewarehouse.errors import WarehouseError
from imagewarehouse.standalone.analytics import API, OF_FIGURES, holder_of, is_known
from imagewarehouse.standalone.openapi import Json, documents, served_beside
from imagewarehouse.standalone.reading import READING, only_read, refused
from imagewarehouse.standalone.server import Request, Response

PAGE, QUERIES = "/", "/api/queries"


class Page:
    """A `Reader`. Each port has its own, since not every port takes pictures in at every path."""

    path: ClassVar[str] = API

    def __init__(self, document: Json, sending: Collection[str], keys: AccessKeys) -> None:
        """`document`: the OpenAPI document, of all ports. `sending`: the paths of this one that take pictures in."""
        self._keys = keys
        serves = served_beside(document, sending)
        self._files = {**page_files(guarded=bool(keys.digests), serves=serves), **documents(document)}
        self._queries = {  # by whether the key may send
            True: list_of_queries(serves),
            False: list_of_queries(served_beside(document, ())),
        }

    async def answer(self, request: Request) -> Response | None:
        """The answer; None to what is asked for something else."""
        file = self._files.get(request.path)
        if (file is None and request.path != QUERIES) or (request.path == PAGE and request.method not in READING):
            return None  # a listener may be at /
        try:
            only_read(request)
            if file is not None:
                return _file(request, file)
            holder = holder_of(request, self._keys)
            no_parameters(request.query)
            return Response(200, self._queries[holder.may(SEND)], {**OF_FIGURES, "Content-Type": "application/json"})
        except WarehouseError as err:
            return refused(err, request, OF_FIGURES)

    def close(self) -> None: ...


def _file(request: Request, file: PageFile) -> Response:
    kept = "public, immutable, max-age=31536000" if file.for_ever else "no-cache"
    headers = {**HEADERS, "ETag": f'"{file.tag}"', "Cache-Control": kept}
    if is_known(request, file.tag):
        return Response(304, headers=headers)
    return Response(200, file.content, {**headers, "Content-Type": file.media_type})
