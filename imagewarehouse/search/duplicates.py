"""Pictures that came more than once: the same bytes, and pictures that nearly look the same.

What is kept of a request with a picture are some 80 bytes, and of a picture its embedding: 128 at most, and four times as much
while they are compared. Comparing takes a time that grows with the square of how many pictures there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagewarehouse.metadata import MOST_DIMENSIONS, to_text

NEAR = 0.02
"""Cosine distance of pictures that nearly look the same. Of CIFAR-10's pictures saved again as JPEG (quality 90) 99 % are as
near; of 5,000 different ones 1.3 % have another one so near. docs/search.md has all that was measured."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_BLOCK = 1024  # pictures that are compared with the first of each group at once
_NO_NAME = "unknown"
_COLUMNS = ("event_time", "request_id", "image_id", "file_name", "source_ip", "source_user", "predicted_class", "model_name",
            "model_version", "embedding")  # fmt: skip

Advance = Callable[[int], None]
_Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture, and what became of it: how often it was sent, first and last, by how many requests of each source.

    A source is the user, or the address where there is none. `file_name` and `predicted_class` are those of the first request.
    """

    image_id: str
    requests: int
    first: datetime
    last: datetime
    sources: tuple[tuple[str, int], ...]
    file_name: str | None
    predicted_class: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "image_id": self.image_id,
            "requests": self.requests,
            "first": to_text(self.first),
            "last": to_text(self.last),
            "sources": dict(self.sources),
            "file_name": self.file_name,
            "predicted_class": self.predicted_class,
        }


@dataclass(frozen=True, slots=True)
class Near:
    """A picture, and those that came later and nearly look like it, the nearest first, with their distances from it."""

    first: Sent
    others: tuple[tuple[Sent, float], ...]

    def as_json(self) -> dict[str, Any]:
        others = [{**sent.as_json(), "distance": distance} for sent, distance in self.others]
        return {"kind": "near", **self.first.as_json(), "others": others}


class Requests:
    """All requests with a picture, of rows in the order of their times."""

    def __init__(self, pages: Iterable[pa.Table], advance: Advance = lambda count: None) -> None:
        """`pages`: tables of the columns of SCHEMA. `advance`: is told of each page how many rows were read."""
        self._names = _Names()
        parts = [_read(page, self._names, advance) for page in pages]
        ids, times, sources, classes, models, self._files, vectors = _joined(parts)
        # Pictures are numbered by their ids; `firsts` is the first request of each.
        self._ids, self._firsts, self._picture = np.unique(ids, return_index=True, return_inverse=True)
        self._times, self._sources, self._classes = times, sources, classes
        self._counts = np.bincount(self._picture, minlength=len(self._ids))
        self._last = np.zeros(len(self._ids), dtype=np.int64)
        np.maximum.at(self._last, self._picture, times)
        self._by_picture = np.argsort(self._picture, kind="stable")
        self._ends = np.cumsum(self._counts)
        # Of a picture that was looked at several times the newest look counts: the last one written here stays.
        self._vectors = np.zeros((len(self._ids), MOST_DIMENSIONS), dtype=np.int8)
        self._models = np.full(len(self._ids), -1, dtype=np.int32)
        looked_at = models >= 0
        self._vectors[self._picture[looked_at]] = vectors
        self._models[self._picture[looked_at]] = models[looked_at]

    @property
    def requests(self) -> int:
        return len(self._times)

    @property
    def pictures(self) -> int:
        return len(self._ids)

    @property
    def comparable(self) -> int:
        """Pictures whose look is known."""
        return int((self._models >= 0).sum())

    def by_source(self) -> list[tuple[str, int, int]]:
        """(source, requests, those of them with a picture that had been sent before), most of the latter first."""
        again = np.ones(len(self._times), dtype=bool)
        again[self._firsts] = False
        count = len(self._names)
        all_of = np.bincount(self._sources, minlength=count)
        again_of = np.bincount(self._sources[again], minlength=count)
        found = [(self._names[int(n)], int(all_of[n]), int(again_of[n])) for n in np.flatnonzero(all_of)]
        return sorted(found, key=lambda each: (-each[2], -each[1], each[0]))

    def exact(self) -> Iterator[Sent]:
        """Pictures that were sent more than once, those sent most often first."""
        several = np.flatnonzero(self._counts > 1)
        for picture in several[np.lexsort((self._firsts[several], -self._counts[several]))]:
            yield self._sent(int(picture))

    def near(self, distance: float = NEAR, advance: Advance = lambda count: None) -> list[Near]:
        """Groups of pictures that nearly look the same, the largest first. A picture is in one group at most.

        The picture that came first stands for its group; another one belongs to the nearest of those within `distance` of
        it. Only looks by one version of one model are compared. `advance`: is told how many pictures were compared.
        """
        groups: list[Near] = []
        for model in np.unique(self._models[self._models >= 0]):
            pictures = np.flatnonzero(self._models == model)
            pictures = pictures[np.argsort(self._firsts[pictures], kind="stable")]
            leaders, distances = _groups(self._vectors[pictures], distance, advance)
            groups += self._named_groups(pictures, leaders, distances)
        return sorted(groups, key=lambda group: (-len(group.others), group.first.first, group.first.image_id))

    def _named_groups(self, pictures: _Array, leaders: _Array, distances: _Array) -> Iterator[Near]:
        followers = np.flatnonzero(leaders != np.arange(len(leaders)))
        members: dict[int, list[int]] = {}
        for n in followers:
            members.setdefault(int(leaders[n]), []).append(int(n))
        for leader, others in members.items():
            others.sort(key=lambda n: (distances[n], n))
            named = tuple((self._sent(int(pictures[n])), round(float(distances[n]), 4)) for n in others)
            yield Near(self._sent(int(pictures[leader])), named)

    def _sent(self, picture: int) -> Sent:
        end = int(self._ends[picture])
        requests = self._by_picture[end - int(self._counts[picture]) : end]
        first = int(self._firsts[picture])
        sources = Counter(self._names[n] for n in self._sources[requests])
        predicted_class = int(self._classes[first])
        return Sent(
            bytes(self._ids[picture]).ljust(32, b"\0").hex(),
            len(requests),
            _moment(self._times[first]),
            _moment(self._last[picture]),
            tuple(sorted(sources.items(), key=lambda each: (-each[1], each[0]))),
            self._files[first].as_py(),
            None if predicted_class < 0 else self._names[predicted_class],
        )


class _Names:
    """Texts that come again and again, by numbers."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._texts: list[Any] = []

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, number: int) -> Any:
        return self._texts[number]

    def number(self, text: Any) -> int:
        """-1 for None."""
        if text is None:
            return -1
        known = self._numbers.setdefault(text, len(self._texts))
        if known == len(self._texts):
            self._texts.append(text)
        return known


def _read(page: pa.Table, names: _Names, advance: Advance) -> tuple[Any, ...]:
    advance(page.num_rows)
    rows = page.select(_COLUMNS).filter(pc.is_valid(page["image_id"]))
    ids = np.array([bytes.fromhex(text) for text in rows["image_id"].to_pylist()], dtype="S32")
    times = rows["event_time"].cast(pa.int64()).to_numpy().astype(np.int64)
    sources = pc.fill_null(pc.coalesce(rows["source_user"], rows["source_ip"]), _NO_NAME)
    embeddings = rows["embedding"].combine_chunks()
    has_look = pc.and_(pc.is_valid(embeddings), pc.is_valid(rows["model_name"].combine_chunks())).to_numpy(
        zero_copy_only=False
    )
    widths = pc.fill_null(pc.list_value_length(embeddings), 0).to_numpy(zero_copy_only=False)
    has_look &= (widths > 0) & (widths <= MOST_DIMENSIONS)
    vectors = np.zeros((int(has_look.sum()), MOST_DIMENSIONS), dtype=np.int8)
    looked_at = embeddings.filter(pa.array(has_look))
    values, offset = looked_at.flatten().to_numpy(zero_copy_only=False), 0
    models = np.full(len(ids), -1, dtype=np.int32)
    facts = zip(rows["model_name"].to_pylist(), rows["model_version"].to_pylist(), widths.tolist(), strict=True)
    models[has_look] = [names.number(each) for each, looked in zip(facts, has_look, strict=True) if looked]
    for number, width in enumerate(widths[has_look]):
        vectors[number, :width] = values[offset : offset + width]
        offset += width
    return (
        ids,
        times,
        np.array([names.number(text) for text in sources.to_pylist()], dtype=np.int32),
        np.array([names.number(text) for text in rows["predicted_class"].to_pylist()], dtype=np.int32),
        models,
        rows["file_name"],
        vectors,
    )


def _joined(parts: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The columns of all pages."""
    if not parts:
        empty = np.zeros(0, dtype=np.int32)
        no_vectors = np.zeros((0, MOST_DIMENSIONS), dtype=np.int8)
        no_names = pa.chunked_array([], pa.string())
        return np.zeros(0, "S32"), np.zeros(0, np.int64), empty, empty, empty, no_names, no_vectors
    ids, times, sources, classes, models, files, vectors = zip(*parts, strict=True)
    chunks = [chunk for column in files for chunk in column.chunks]
    return (
        *map(np.concatenate, (ids, times, sources, classes, models)),
        pa.chunked_array(chunks, pa.string()),
        np.concatenate(vectors),
    )


def _groups(vectors: _Array, distance: float, advance: Advance) -> tuple[_Array, _Array]:
    """(N, 128) int8, in their order -> for each the number of the one that stands for its group, and its distance from it."""
    count = len(vectors)
    leaders, distances = np.arange(count), np.zeros(count, dtype=np.float32)
    chosen = np.empty(count, dtype=np.int64)  # those that stand for a group, in their order
    directions = np.empty((count, vectors.shape[1]), dtype=np.float32)  # theirs
    known = 0
    least = 1.0 - distance
    for start in range(0, count, _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float32)
        lengths = np.linalg.norm(block, axis=1, keepdims=True)
        block /= np.where(lengths > 0, lengths, 1)
        best = np.full(len(block), -2.0, dtype=np.float32)
        of = np.zeros(len(block), dtype=np.int64)
        for first in range(0, known, 16 * _BLOCK):
            alike = block @ directions[first : min(known, first + 16 * _BLOCK)].T
            place = alike.argmax(axis=1)
            nearest = alike[np.arange(len(block)), place]
            nearer = nearest > best
            best[nearer], of[nearer] = nearest[nearer], chosen[first + place[nearer]]
        among = block @ block.T
        new: list[int] = []  # of this block
        for n in range(len(block)):
            if new:
                place_of_new = int(among[n, new].argmax())
                if among[n, new[place_of_new]] > best[n]:
                    best[n], of[n] = among[n, new[place_of_new]], start + new[place_of_new]
            if best[n] >= least:
                leaders[start + n], distances[start + n] = of[n], max(0.0, 1.0 - float(best[n]))
            else:
                new.append(n)
        chosen[known : known + len(new)] = [start + n for n in new]
        directions[known : known + len(new)] = block[new]
        known += len(new)
        advance(len(block))
    return leaders, distances


def _moment(time_us: Any) -> datetime:
    return _EPOCH + timedelta(microseconds=int(time_us))
