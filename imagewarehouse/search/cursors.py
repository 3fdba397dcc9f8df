"""Where a page of a search ends, as text that a client hands back. It belongs to that search, and says nothing by itself."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from imagewarehouse.errors import BadParameter
from imagewarehouse.search.query import Search

_LONGEST = 1000
_WRONG = "cursor: is none of this search; ask for its first page"


def cursor_of(search: Search, place: Sequence[Any]) -> str:
    """`place`: numbers, texts and None, as the backend finds its way by."""
    text = orjson.dumps([_fingerprint(search), *place])
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def place_of(search: Search, length: int) -> list[Any] | None:
    """What `cursor_of` was given, so many values; None on the first page.

    Whoever reads it has to look at the types: a client may have made it. Raises BadParameter: a cursor of another search.
    """
    if search.cursor is None:
        return None
    try:
        text = search.cursor[:_LONGEST]
        place = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as err:
        raise BadParameter(_WRONG) from err
    if not isinstance(place, list) or len(place) != length + 1 or place[0] != _fingerprint(search):
        raise BadParameter(_WRONG)
    return place[1:]


def _fingerprint(search: Search) -> str:
    """Of what decides which hits there are, and in which order; times excepted: `7d` is another time with every page."""
    asked = repr(replace(search, since=None, until=None, facets=(), limit=0, cursor=None))
    return hashlib.sha256(asked.encode("utf-8", "backslashreplace")).hexdigest()[:12]
