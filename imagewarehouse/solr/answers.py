"""What Solr answers instead of 200, and what keeps it from answering, as our errors: translated here and nowhere else."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import orjson

from imagewarehouse.errors import (
    SolrCollectionMissing,
    SolrConflict,
    SolrMissingValue,
    SolrNotAuthorized,
    SolrRefused,
    SolrTooLarge,
    SolrUnavailable,
    SolrUnknownField,
    SolrWrongValue,
    WarehouseError,
)
from imagewarehouse.text import one_line

# What Solr's messages say about one document. Their order counts: an immense term is also an "Error adding field" elsewhere.
_KINDS: tuple[tuple[re.Pattern[str], type[SolrRefused]], ...] = (
    (re.compile(r"version conflict for "), SolrConflict),
    (re.compile(r"immense term|MaxBytesLengthExceeded|DocValuesField .* is too large"), SolrTooLarge),
    (re.compile(r"unknown field |undefined field"), SolrUnknownField),
    (re.compile(r"missing required field|missing mandatory uniqueKey"), SolrMissingValue),
    (re.compile(r"Error adding field |multiple values encountered for|Invalid (?:Number|Date)|not supported on "
                r"|For input string"), SolrWrongValue),
)  # fmt: skip
# A vector of the wrong length is answered with 500; so are disks that are full, in other words.
_OF_A_DOCUMENT = re.compile(r"ERROR: \[doc=")
_REMOTE = "Remote error message: "  # in front of what another node of the cloud said
_TITLE = re.compile(r"<title>\s*(?:Error \d+ )?(.*?)\s*</title>", re.DOTALL | re.IGNORECASE)


class Refusal(Exception):
    """An answer that refuses an update; it never leaves this room.

    `error`: for whatever is to blame. `body`: Solr's answer, which says how far it came.
    """

    def __init__(self, error: WarehouseError, body: Mapping[str, Any]) -> None:
        super().__init__(str(error))
        self.error = error
        self.body = body


def error_of(status: int, content: bytes, where: str) -> tuple[WarehouseError, Mapping[str, Any]]:
    """The error for an answer that is not 200, and the JSON that came with it ({}: none did). `where`: the URL."""
    body = json_object(content)
    problem = body.get("error")
    message = str(problem.get("msg", "")) if isinstance(problem, Mapping) else ""
    if not message:
        title = _TITLE.search(content[:10_000].decode(errors="replace"))
        message = html.unescape(title[1]) if title else f"HTTP {status}"
    text = f"{where}: {one_line(message)}"
    if status in (401, 403):
        return SolrNotAuthorized(text), body
    if status == 404:
        return SolrCollectionMissing(text), body
    if status == 413:
        return SolrTooLarge(text), body
    if 400 <= status < 500 and status not in (407, 408, 425, 429):
        return refusal(message, conflict=status == 409), body
    if _OF_A_DOCUMENT.match(message):
        return refusal(message), body
    return SolrUnavailable(text), body


def refusal(message: str, *, conflict: bool = False) -> SolrRefused:
    """The error of the document or update that the message is about."""
    before, _, after = message.partition(_REMOTE)
    said = after or before
    for pattern, kind in _KINDS:
        if pattern.search(said):
            return kind(one_line(said))
    return (SolrConflict if conflict else SolrRefused)(one_line(said))


def accepted(content: bytes, where: str) -> Mapping[str, Any]:
    """Solr's answer to an update with 200.

    Raises SolrUnavailable: it is not Solr's but, say, the page of a proxy that asks for a login, so that nothing was written.
    """
    body = json_object(content)
    header = body.get("responseHeader")
    if not isinstance(header, Mapping) or header.get("status") != 0:
        raise SolrUnavailable(
            f"{where} answered, and not as Solr does: {one_line(content[:200].decode(errors='replace'))}"
        )
    return body


def json_object(content: bytes) -> Mapping[str, Any]:
    """{} for everything else."""
    try:
        body = orjson.loads(content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
