"""Searches over a Solr collection with the schema of nifi-conf/solr. Whatever a client typed gets to Solr as a value: of a term
query, or as a word of letters and digits (`words.words_of`), never as a query.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from imagewarehouse.errors import BadParameter, SearchUnavailable, SolrRefused
from imagewarehouse.search.cursors import cursor_of, place_of
from imagewarehouse.search.documents import microseconds, moment_of, network_digits, record_values, vector
from imagewarehouse.search.highlights import highlights
from imagewarehouse.search.query import MOST_ALIKE, MOST_VALUES, SHOWN, Embedding, Found, Hit, Search
from imagewarehouse.search.terms import pieces
from imagewarehouse.search.words import edits, words_of
from imagewarehouse.solr.client import Collection, Solr
from imagewarehouse.solr.settings import SolrSettings

_NEWEST_FIRST = "event_us desc,id desc"
_SHOWN = sorted({*SHOWN, "event_us"} - {"event_time"})
_FACETS = {"confidence": "confidence_tenth"}  # fields that are not called as their facet
_BY_VALUE = ("day", "confidence")  # shown in their order, not by how many they count
_BETWEEN = "\x1f"  # values of a terms query
_SCORE = "query($words)"

_Place = tuple[float, int, str]  # rank, event_time in microseconds, request_id: of a page's last hit


class SolrIndex:
    """An `Index` over one collection."""

    def __init__(self, collection: Collection, close: Callable[[], None] = lambda: None) -> None:
        self._collection = collection
        self._close = close

    @classmethod
    def of(cls, settings: SolrSettings, collection: str = "") -> SolrIndex:
        """That collection, or the one of the address; closed with the index. Raises ConfigurationError."""
        solr = Solr(settings)
        return cls(solr.collection(collection), solr.close)

    def search(self, search: Search) -> Found:
        place = _place(search)
        if search.words.strip() and not words_of(search.words):
            return Found([], 0, {name: [] for name in search.facets})
        return (
            self._by_likeness(search, search.like, place) if search.like is not None else self._by_words(search, place)
        )

    def embedding_of(self, image_id: str) -> Embedding | None:
        answer = self._ask(
            {
                "query": "*:*",
                "filter": [
                    _one_of("image_id", [image_id]),
                    "embedding_width:[1 TO *]",
                    "model_name:*",
                    "model_version:*",
                ],
                "sort": _NEWEST_FIRST,
                "limit": 1,
                "fields": ["embedding", "embedding_width", "model_name", "model_version"],
            }
        )
        for found in answer["response"]["docs"]:
            values = bytes(value & 0xFF for value in found["embedding"][: found["embedding_width"]])
            return Embedding(found["model_name"], found["model_version"], values)
        return None

    def close(self) -> None:
        self._close()

    def _by_words(self, search: Search, place: _Place | None) -> Found:
        words = _words_query(search.words)
        filters: list[Any] = list(_filters(search))
        facets = {name: _facet(_FACETS.get(name, name)) for name in search.facets}
        if place is not None:
            filters.append({"#after": _after(place, ranked=bool(words))})
            facets["total"] = {"type": "query", "q": "*:*"}
            for facet in facets.values():  # of all pages
                facet["domain"] = {"excludeTags": "after"}
        answer = self._ask(
            {
                "query": "{!lucene q.op=OR v=$text}" if words else "*:*",
                "params": {"text": words, "words": "{!lucene q.op=OR v=$text}"} if words else {},
                "filter": filters,
                "facet": facets,
                "sort": f"score desc,{_NEWEST_FIRST}" if words else _NEWEST_FIRST,
                "limit": search.limit,
                "fields": [*_SHOWN, "score"],
            }
        )
        found, counts = answer["response"], answer.get("facets", {})
        documents = found["docs"]
        wanted = words_of(search.words)
        hits = [Hit(record := record_values(each), None, highlights(record, wanted)) for each in documents]
        cursor = None
        if search.limit and found["numFound"] > len(documents) > 0:
            last = documents[-1]
            cursor = cursor_of(search, [last["score"] if words else 0, last["event_us"], last["request_id"]])
        total = found["numFound"] if place is None else counts["total"]["count"]
        values = {
            name: [(each["val"], each["count"]) for each in counts.get(name, {}).get("buckets", [])]
            for name in search.facets
        }
        return Found(hits, total, {name: _in_order(name, pairs) for name, pairs in values.items()}, cursor)

    def _by_likeness(self, search: Search, like: Embedding, place: _Place | None) -> Found:
        """Solr gives the nearest requests, with what is needed to choose among them; then what a page shows of its own."""
        words = _words_query(search.words)
        facets = {name: _FACETS.get(name, name) for name in search.facets}
        nearest = self._ask(
            {
                "query": {"knn": {"f": "embedding", "topK": MOST_ALIKE, "query": str(vector(like.values))}},
                "params": {"text": words} if words else {},
                "filter": [
                    *_filters(search),
                    *(["{!lucene q.op=OR v=$text}"] if words else []),
                    _one_of("model_name", [like.model_name]),
                    _one_of("model_version", [like.model_version]),
                    f"embedding_width:{len(like.values)}",
                ],
                "limit": MOST_ALIKE,
                "fields": ["id", "event_us", "image_id", "score", *facets.values()],
            }
        )["response"]["docs"]
        hits = _each_picture_once(nearest)
        ranked = [(_cosine(each["score"]), each["event_us"], each["id"]) for each in hits]
        first = 0 if place is None else next((n for n, key in enumerate(ranked) if key < place), len(ranked))
        page = ranked[first : first + search.limit]
        records = self._records([key[2] for key in page])
        wanted = words_of(search.words)
        counts = {
            name: Counter(each[field] for each in hits if field in each).most_common() for name, field in facets.items()
        }
        return Found(
            [
                Hit(records[key[2]], key[0], highlights(records[key[2]], wanted))
                for key in page
                if key[2] in records  # else deleted meanwhile
            ],
            len(hits),
            {
                name: _in_order(name, sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:MOST_VALUES])
                for name, pairs in counts.items()
            },
            cursor_of(search, page[-1]) if page and first + len(page) < len(ranked) else None,
        )

    def _records(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        if not ids:
            return {}
        answer = self._ask(
            {"query": "*:*", "filter": [_one_of("id", ids)], "limit": len(ids), "fields": ["id", *_SHOWN]}
        )
        return {each["id"]: record_values(each) for each in answer["response"]["docs"]}

    def _ask(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            answer = self._collection.ask("select", body)
        except SolrRefused as err:
            raise SearchUnavailable(str(err)) from err
        if answer.get("responseHeader", {}).get("partialResults"):
            raise SearchUnavailable("Solr had not found everything when its time was up (timeAllowed)")
        return answer


# --- conditions ---------------------------------------------------------------------------------------------------


def _filters(search: Search) -> Iterator[Any]:
    if search.since is not None or search.until is not None:
        since = "*" if search.since is None else microseconds(search.since)
        until = "*" if search.until is None else microseconds(search.until)
        yield f"event_us:[{since} TO {until}}}"
    for field, values in (
        ("predicted_class", search.classes),
        ("status", search.statuses),
        ("error_code", search.errors),
        ("format", search.formats),
        ("source_user", search.users),
        ("image_id", search.images),
    ):
        if values:
            yield _one_of(field, values)
    if search.models:
        named = [_one_of(name, search.models) for name in ("model_name", "model_version", "model")]
        yield {"bool": {"should": named}}
    if search.min_confidence is not None or search.max_confidence is not None:
        least = "*" if search.min_confidence is None else search.min_confidence
        most = "*" if search.max_confidence is None else search.max_confidence
        yield f"confidence:[{least} TO {most}]"
    if search.sources:
        yield " OR ".join(map(_inside, search.sources))


def _one_of(field: str, values: Sequence[str]) -> dict[str, Any]:
    """What no document can have, such as half a character, is no value to look for."""
    possible = [
        value for value in values if _BETWEEN not in value and value == value.encode("utf-8", "replace").decode()
    ]
    return {"terms": {"f": field, "separator": _BETWEEN, "query": _BETWEEN.join(possible)}}


def _inside(network: IPv4Network | IPv6Network) -> str:
    first, last = network_digits(network)
    return f'source_address:["{first}" TO "{last}"]'


# --- words --------------------------------------------------------------------------------------------------------


def _words_query(text: str) -> str:
    """Each word is worth 1 where it is found at all, 2 as a beginning, 3 as it is. Empty: there are none."""
    return " ".join(map(_word_query, words_of(text)))


def _word_query(word: str) -> str:
    *whole, last = pieces(word)
    before = "".join(f"+words:{piece} " for piece in whole)
    begins = f"({before}+words:{last}*)"
    labels = "".join(f"+labels:{piece} " for piece in whole)
    anyhow = [begins, f"({labels}+labels:{last}*)"]
    if edits(word):
        anyhow.append(f"letters:{word}~{edits(word)}")
    return f"+({' '.join(anyhow)})^=1 {begins}^=1 ({before}+words:{last})^=1"


# --- pages --------------------------------------------------------------------------------------------------------


def _place(search: Search) -> _Place | None:
    """Raises BadParameter."""
    place = place_of(search, 3)
    if place is None:
        return None
    rank, time_us, request_id = place
    try:
        if isinstance(rank, bool) or not isinstance(rank, int | float) or not math.isfinite(rank):
            raise ValueError("rank")
        if isinstance(time_us, bool) or not isinstance(time_us, int) or not isinstance(request_id, str):
            raise ValueError("key")
        moment_of(time_us)
    except (ValueError, OverflowError) as err:
        raise BadParameter("cursor: is none of this search; ask for its first page") from err
    return rank, time_us, request_id


def _after(place: _Place, *, ranked: bool) -> dict[str, Any]:
    """Behind the last hit of the page before. Solr's own cursorMark is no text to take from a client: it is a serialised
    object, which may name any length."""
    rank, time_us, request_id = place
    request_id = request_id.encode("utf-8", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    later = f'event_us:[* TO {time_us}}} OR (event_us:{_number(time_us)} AND id:{{* TO "{request_id}"}})'
    if not ranked:
        return {"lucene": {"query": later}}
    worse = {"frange": {"u": rank, "incu": "false", "query": _SCORE}}
    as_good = {"frange": {"l": rank, "u": rank, "query": _SCORE}}
    return {"bool": {"should": [worse, {"bool": {"must": [as_good, {"lucene": {"query": later}}]}}]}}


def _number(value: int) -> str:
    return f'"{value}"'  # a bare minus sign would negate


# --- answers ------------------------------------------------------------------------------------------------------


def _facet(field: str) -> dict[str, Any]:
    return {"type": "terms", "field": field, "limit": MOST_VALUES, "refine": True}


def _in_order(name: str, pairs: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(pairs) if name in _BY_VALUE else pairs


def _each_picture_once(documents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Its newest request; in the order of pages."""
    newest: dict[str, Mapping[str, Any]] = {}
    for each in documents:
        known = newest.setdefault(picture := each.get("image_id", each["id"]), each)
        if (each["event_us"], each["id"]) > (known["event_us"], known["id"]):
            newest[picture] = each
    ordered = sorted(
        newest.values(), key=lambda each: (_cosine(each["score"]), each["event_us"], each["id"]), reverse=True
    )
    return ordered[:MOST_ALIKE]


def _cosine(score: float) -> float:
    """Of Lucene's score, (1 + cosine) / 2, with the digits that it has."""
    return round(2 * score - 1, 6)
