"""What is searched for, and what is found: the values that every front end and every backend share.

Two backends answer a `Search`: Solr (`SolrIndex`) and the embedded rows (`LocalIndex`). One suite of tests is held to both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Protocol

from imagewarehouse.metadata import COLUMNS, STATUSES
from imagewarehouse.search.words import words_of

# Of a record, what a search shows. The row alone has the times that it took and who wrote it; nobody reads a vector.
SHOWN = tuple(
    c.name for c in COLUMNS if c.name not in ("embedding", "preprocess_ms", "inference_ms", "total_ms", "node")
)
FACETS = (
    "predicted_class", "status", "error_code", "format", "model", "source_ip", "source_user", "day", "confidence",
)  # fmt: skip
"""`model`: name/version. `day`: of event_time, UTC, 2026-12-01. `confidence`: tenths, 0.9 for 0.9 to 1.0, both included."""
MOST_HITS = 100  # of one page
MOST_VALUES = 50  # of one facet, the most frequent first
MOST_CHOICES = 100  # values of one condition, one of which is to be met
MOST_ALIKE = 1000  # pictures that look like one; what comes behind them does not


@dataclass(frozen=True, slots=True)
class Embedding:
    """A picture's place among others, as one version of a model sees it. Comparable with those of the same version only.

    `values`: one signed byte for each dimension, 128 at most; what counts is the direction, not the length.
    """

    model_name: str
    model_version: str
    values: bytes

    def __post_init__(self) -> None:
        if not 1 <= len(self.values) <= 128 or not any(self.values):
            raise ValueError(f"embedding: expected 1 to 128 numbers, not all of them 0, received {len(self.values)}")


CHOICES = ("classes", "statuses", "errors", "formats", "models", "users", "sources", "images")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Every condition that is given is to be met. Raises ValueError on construction for what cannot be asked.

    `words`: as people type them: no query language, every word is to be found, mistyped ones too, in the file name, the class
    and other classes from `words.LABEL_FROM` on, the texts of the form's fields, the error, the user (`words.py`). Text
    without any word finds nothing, unless it is blank. `classes` and the other tuples: one of them is to be met, exactly.
    `models`: a name, a version, or `name/version`. `since` and `until`: aware; `until` is not included. `users`: of
    source_user.
    `like`: pictures that look like this one, the most alike first, MOST_ALIKE of them at most and each once, however often it
    was sent: with its newest request that meets the other conditions. `cursor`: `next_cursor` of the page before.
    """

    words: str = ""
    classes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    sources: tuple[IPv4Network | IPv6Network, ...] = ()
    images: tuple[str, ...] = ()  # image_ids
    since: datetime | None = None
    until: datetime | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    like: Embedding | None = None
    facets: tuple[str, ...] = ()
    limit: int = 20
    cursor: str | None = None

    def __post_init__(self) -> None:
        words_of(self.words)
        for moment in (self.since, self.until):
            if moment is not None and moment.tzinfo is None:
                raise ValueError("since, until: expected a time with a zone, received a naive one")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("until: is not after since, so that no time lies between them")
        for name in self.facets:
            if name not in FACETS:
                raise ValueError(f"facet: expected one of {', '.join(FACETS)}, received {name[:40]!r}")
        for status in self.statuses:
            if status not in STATUSES:
                raise ValueError(f"status: expected one of {', '.join(STATUSES)}, received {status[:40]!r}")
        for name in ("min_confidence", "max_confidence"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name}: expected 0.0-1.0, received {value!r}")
        if (self.min_confidence or 0.0) > (1.0 if self.max_confidence is None else self.max_confidence):
            raise ValueError("max_confidence: is less than min_confidence")
        for name in CHOICES:
            if len(getattr(self, name)) > MOST_CHOICES:
                raise ValueError(f"{name}: expected at most {MOST_CHOICES}, received {len(getattr(self, name))}")
        if not 0 <= self.limit <= MOST_HITS:
            raise ValueError(f"limit: expected 0 to {MOST_HITS}, received {self.limit}")


@dataclass(frozen=True, slots=True)
class Hit:
    """One request that was found. `record`: SHOWN, as `metadata.json_values` has them, nothing left out.

    `similarity`: cosine to the picture that was asked for, -1 to 1; None without one. `highlights`: HTML-free pieces of text by
    column, the words that were found between U+E000 and U+E001; empty where the backend has none.
    """

    record: Mapping[str, Any]
    similarity: float | None = None
    highlights: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The record; beside its fields `similarity` and `highlights`, where there are any."""
        shown = dict(self.record)
        if self.similarity is not None:
            shown["similarity"] = self.similarity
        if self.highlights:
            shown["highlights"] = self.highlights
        return shown


@dataclass(frozen=True, slots=True)
class Found:
    """One page. `total`: hits of all pages. `facets`: (value, count) of all hits, the most frequent first, then by value;
    days by day, and confidences from the lowest. `next_cursor`: None on the last page."""

    hits: Sequence[Hit]
    total: int
    facets: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    next_cursor: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "hits": [hit.as_json() for hit in self.hits],
            "facets": {
                name: [{"value": value, "count": count} for value, count in values]
                for name, values in self.facets.items()
            },
            "next_cursor": self.next_cursor,
        }


class Index(Protocol):
    """What answers searches. Thread-safe."""

    def search(self, search: Search, /) -> Found:
        """Without words and likeness the newest come first; with words the best; each in an order that paging can rely on.

        Raises: BadParameter (a cursor that is none of this search), SearchUnavailable.
        """

    def embedding_of(self, image_id: str, /) -> Embedding | None:
        """The newest one of an image; None where there is none. Raises SearchUnavailable."""

    def close(self) -> None: ...
