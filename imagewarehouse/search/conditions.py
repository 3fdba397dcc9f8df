"""A `Search` as SQL over `image_events` in DuckDB. Whatever a client typed gets into it by `text`, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from imagewarehouse.metadata import to_text
from imagewarehouse.rows.columns import TABLE
from imagewarehouse.search import patterns
from imagewarehouse.search.query import Embedding, Search
from imagewarehouse.search.words import SPELLED, words_of

_SAME, _BEGINS, _ELSE = 3, 2, 1  # what a word is worth: found itself, as a beginning, mistyped or among other classes


def folded(sql: str) -> str:
    """SQL of a text as `words.fold` makes it."""
    small = f"lower(strip_accents({sql}))"
    for letter, spelled in SPELLED.items():
        small = f"replace({small}, '{letter}', '{spelled}')"
    return small


# What people search, of a row. Of the form's fields the texts, not their names.
_TEXT = folded(
    "concat_ws(' ', file_name, predicted_class, error_code, error_detail, source_user,"
    " CASE WHEN json_valid(fields) THEN array_to_string(json_extract_string(fields, '$.*'), ' ') END)"
)
_LABELS = folded("top_k")
# Of most rows the model is so certain that no other class can have LABEL_FROM, and their lists need not be read.
_UNSURE = "coalesce(confidence < 0.91, false)"

FACET_VALUES = {
    "model": "model_name || '/' || model_version",
    "day": "strftime(event_time, '%Y-%m-%d')",
    # Compared as the column holds it: ten times its 0.9 is less than 9.
    "confidence": "printf('%.1f', ("
    + " + ".join(f"(confidence >= {n / 10}::FLOAT)::INTEGER" for n in range(1, 10))
    + ") / 10)",
}
"""SQL of those that are no column."""


def text(value: str) -> str:
    """A text as SQL. What no row can have, an end of text or half a character, becomes what no row has."""
    safe = value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return "'" + safe.replace("'", "''") + "'"


def moment(value: datetime) -> str:
    return f"TIMESTAMPTZ '{to_text(value)}'"


def conditions(search: Search) -> list[str]:
    """All of them have to be true; words are not among them. They may look into the CTE `sources`."""
    return list(_conditions(search))


def _conditions(search: Search) -> Iterator[str]:
    if search.since is not None:
        yield f"event_time >= {moment(search.since)}"
    if search.until is not None:
        yield f"event_time < {moment(search.until)}"
    for column, values in (
        ("predicted_class", search.classes),
        ("status", search.statuses),
        ("error_code", search.errors),
        ("format", search.formats),
        ("source_user", search.users),
        ("image_id", search.images),
    ):
        if values:
            yield f"{column} IN ({_texts(values)})"
    if search.models:
        models = _texts(search.models)
        yield (f"(model_name IN ({models}) OR model_version IN ({models}) OR {FACET_VALUES['model']} IN ({models}))")
    if search.min_confidence is not None:
        yield f"confidence >= {search.min_confidence!r}::FLOAT"
    if search.max_confidence is not None:
        yield f"confidence <= {search.max_confidence!r}::FLOAT"
    if search.sources:
        yield "source_ip IN (SELECT source_ip FROM sources)"


# --- words --------------------------------------------------------------------------------------------------------


def words(search: Search) -> tuple[list[str], str]:
    """Conditions on the text of a row, and SQL of how well it meets them: the more, the better."""
    found, worth = [], []
    for word in words_of(search.words):
        begins, mistyped = patterns.begins(word), patterns.mistyped(word)
        anyhow = f"(?:{begins})|(?:{mistyped})" if mistyped else begins
        found.append(f"({_matches(_TEXT, anyhow)} OR ({_UNSURE} AND {_matches(_LABELS, patterns.label(word))}))")
        worth.append(
            f"CASE WHEN {_matches(_TEXT, patterns.same(word))} THEN {_SAME}"
            f" WHEN {_matches(_TEXT, begins)} THEN {_BEGINS} ELSE {_ELSE} END"
        )
    if search.words.strip() and not found:
        return ["false"], "0"
    return found, " + ".join(worth) or "0"


def _matches(value: str, pattern: str) -> str:
    return f"regexp_matches({value}, {text(pattern)})"


# --- likeness -----------------------------------------------------------------------------------------------------


def similarity(like: Embedding) -> str:
    """SQL of the cosine; not finite, or NULL, where there is nothing to compare. Rounded, so that a page can begin at one."""
    size = len(like.values)
    numbers = ", ".join(str(value - 256 if value > 127 else value) for value in like.values)
    cosine = f"list_cosine_similarity(embedding::FLOAT[], [{numbers}]::FLOAT[])"
    return f"CASE WHEN len(embedding) = {size} THEN round({cosine}::DOUBLE, 6) END"


def comparable(like: Embedding) -> list[str]:
    return [
        f"model_name = {text(like.model_name)}",
        f"model_version = {text(like.model_version)}",
        "embedding IS NOT NULL",
    ]


# --- networks -----------------------------------------------------------------------------------------------------

# Addresses as texts whose order is that of the addresses: 4:010.001.002.003, and 6: with 32 hexadecimal digits, for which the
# groups that :: leaves out have to be put in.
_V4 = "'4:' || array_to_string([lpad(part, 3, '0') for part in string_split(source_ip, '.')], '.')"
_V6_GROUPS = (
    "list_concat(string_split(split_part(source_ip, '::', 1), ':'),"
    " CASE WHEN contains(source_ip, '::') THEN list_concat("
    "[repeat('0000', 8 - len([part for part in string_split_regex(source_ip, ':+') if part <> '']))],"
    " string_split(split_part(source_ip, '::', 2), ':')) ELSE [] END)"
)
_V6 = (
    f"'6:' || array_to_string([CASE WHEN len(part) BETWEEN 1 AND 4 THEN lpad(part, 4, '0') ELSE part END"
    f" for part in {_V6_GROUPS}], '')"
)
_ADDRESS = f"CASE WHEN contains(source_ip, ':') THEN {_V6} ELSE {_V4} END"


def sources(search: Search) -> str:
    """A CTE with the addresses that are in these networks: they are few, and taking one apart takes long."""
    inside = " OR ".join(f"address BETWEEN {low} AND {high}" for low, high in map(_bounds, search.sources))
    return (  # materialized, or each would be taken apart for each comparison
        f"addresses AS MATERIALIZED (SELECT source_ip, {_ADDRESS} AS address FROM"
        f" (SELECT DISTINCT source_ip FROM {TABLE} WHERE source_ip IS NOT NULL)),"
        f" sources AS MATERIALIZED (SELECT source_ip FROM addresses WHERE {inside})"
    )


def _bounds(network: IPv4Network | IPv6Network) -> tuple[str, str]:
    """SQL of the lowest and the highest address."""
    return text(_key(network.network_address)), text(_key(network.broadcast_address))


def _key(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return "4:" + ".".join(f"{part:03d}" for part in address.packed)
    return "6:" + address.packed.hex()


def _texts(values: Sequence[str]) -> str:
    return ", ".join(map(text, values))
