"""GET /search: requests and their pictures by words, conditions and likeness, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import ClassVar
from urllib.parse import urlencode

import orjson

from imagewarehouse.access import AccessKeys, Holder, offered_key
from imagewarehouse.errors import SearchNotConfigured, WarehouseError
from imagewarehouse.parameters import parameters_of
from imagewarehouse.search.asking import Asked, asked
from imagewarehouse.search.query import Embedding, Found, Index, Search
from imagewarehouse.standalone.reading import Lane, only_read, refused
from imagewarehouse.standalone.server import Request, Response

PATH = "/search"

_MOST_WAITING = 16  # searches of one process; each takes some hundredths of a second in 100,000 rows
_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_NO_LOOK = (
    "it is not known what this image looks like: there is no image of this id, this key may not read it, or it was"
    " classified while model.embedding was false"
)

_Parameters = Sequence[tuple[str, str]]


class Searches:
    """Answers searches. Used on one event loop; searches on a thread."""

    path: ClassVar[str] = PATH

    def __init__(self, index: Index | None, keys: AccessKeys) -> None:
        """`index`: None where the rows are not to be searched from here."""
        self._index = index
        self._keys = keys
        self._lane = Lane("searches", _MOST_WAITING)

    @property
    def has_index(self) -> bool:
        """Whether there is anything to search in."""
        return self._index is not None

    async def answer(self, request: Request) -> Response | None:
        if request.path != PATH:
            return None
        try:
            only_read(request)
            holder = self._keys.holder(
                offered_key(request.headers.get("x-access-key"), request.headers.get("authorization"))
            )
            if self._index is None:
                raise SearchNotConfigured
            parameters = parameters_of(request.query)
            body = await self._lane.run(
                self._search, self._index, parameters, asked(parameters, datetime.now(timezone.utc)), holder
            )
        except WarehouseError as err:
            return refused(err, request)
        return Response(200, body, _HEADERS)

    def close(self) -> None:
        self._lane.close()
        if self._index is not None:
            self._index.close()

    def _search(self, index: Index, parameters: _Parameters, wanted: Asked, holder: Holder) -> bytes:
        """Raises BadParameter, SearchUnavailable."""
        search = wanted.search
        if holder.reads_only is not None:
            if search.users and holder.reads_only not in search.users:
                return _body(Found([], 0, {name: [] for name in search.facets}), parameters)
            search = replace(search, users=(holder.reads_only,))
        if wanted.like is not None:
            look = _look(index, wanted.like, holder)
            if look is None:  # no fault of who asks: a page cannot know it before
                return _body(Found([], 0, {name: [] for name in search.facets}), parameters, note=_NO_LOOK)
            search = replace(search, like=look)
        return _body(index.search(search), parameters)


def _look(index: Index, image_id: str, holder: Holder) -> Embedding | None:
    """What the picture looks like; None where that is not known, and to who may not read it."""
    if holder.reads_only is not None:
        of_holder = Search(images=(image_id,), users=(holder.reads_only,), limit=0)
        if not index.search(of_holder).total:
            return None
    return index.embedding_of(image_id)


def _body(found: Found, parameters: _Parameters, note: str | None = None) -> bytes:
    following = None
    if found.next_cursor is not None:
        others = [(name, text) for name, text in parameters if name != "cursor"]
        following = f"{PATH}?{urlencode([*others, ('cursor', found.next_cursor)])}"
    return orjson.dumps({**found.as_json(), "next": following, "note": note}, option=orjson.OPT_APPEND_NEWLINE)
