"""Updates of a collection, each as its part of one request in JSON.

A request of many updates is one object in which names stand several times, in the order of the updates:
{"add": {"doc": ...}, "delete": {"id": ...}, "add": ...}. Every text in it is written by a JSON encoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from imagewarehouse.contents import shorten
from imagewarehouse.errors import SolrMissingValue, SolrRefused, SolrWrongValue
from imagewarehouse.solr.values import Atomic, json_document, json_value

VERSION = "_version_"
INSERT_ONLY, UPDATE_ONLY = -1, 1  # as a version: there must be no such document, there must be one
ADD, DELETE, QUERY = "adds", "deletes", "deleteByQuery"
"""By these names an answer says what was done."""
_FIELD = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class Update:
    """`kind`: ADD, DELETE or QUERY. `id`: None where it is not known. `repeatable`: done twice it is as done once."""

    kind: str
    id: str | None
    body: bytes
    repeatable: bool = True


def add(document: Mapping[str, Any], *, id_field: str = "id", version: int | None = None) -> Update:
    """A document, or changes of one where fields are `Atomic`. Raises SolrRefused: it cannot be written as JSON.

    Args: version: INSERT_ONLY, UPDATE_ONLY, or the one that the document must have in the index.
    """
    values = json_document(document)
    if isinstance(document.get(VERSION), int):
        values[VERSION] = document[VERSION]  # a number of any size
    identifier = values.get(id_field)
    if isinstance(identifier, (list, dict)):
        raise SolrWrongValue(f"field {id_field}: expected one value, received {shorten(identifier)}")
    if version is not None:
        values[VERSION] = version
    fixed = values.get(VERSION)
    repeatable = fixed in (None, 0, UPDATE_ONLY) and all(
        value.repeatable for value in document.values() if isinstance(value, Atomic)
    )
    body = b'"add":{"doc":' + _json(values) + b"}"
    return Update(ADD, None if identifier is None else _id_text(identifier), body, repeatable)


def delete(identifier: Any, *, version: int | None = None) -> Update:
    """The document of that id. Raises SolrRefused."""
    if isinstance(identifier, (list, tuple, dict)) or identifier is None or identifier == "":
        raise SolrMissingValue("a delete without an id")
    try:
        text = _id_text(json_value(identifier))
    except ValueError as err:
        raise SolrWrongValue(f"id: {err}") from None
    given = {"id": text} if version is None else {"id": text, VERSION: version}
    return Update(DELETE, text, b'"delete":' + _json(given), version is None)


def delete_matching(values: Mapping[str, Any]) -> Update:
    """Every document that has each of these values. Raises SolrRefused.

    A value is quoted, so that nothing in it is syntax; a list means one of its values.
    """
    clauses = []
    for name, value in json_document(values).items():
        if not _FIELD.fullmatch(name) or name == VERSION:
            raise SolrWrongValue(f"expected the name of a field, received {shorten(name)}")
        wanted = value if isinstance(value, list) else [value]
        clauses.append(f"+{name}:({' '.join(_quoted(each) for each in wanted)})")
    if not clauses:
        raise SolrMissingValue("a delete without a value to match would delete everything")
    return Update(QUERY, None, b'"delete":' + _json({"query": " ".join(clauses)}))


def request_body(updates: Sequence[Update]) -> bytes:
    return b"{" + b",".join(update.body for update in updates) + b"}"


def _quoted(value: Any) -> str:
    text = _id_text(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _id_text(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _json(values: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(values)
    except (TypeError, ValueError) as err:  # a lone surrogate, or a number of more than 64 bits
        raise SolrRefused(f"cannot be written as JSON: {err}") from None
