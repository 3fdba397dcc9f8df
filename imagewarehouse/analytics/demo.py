"""Made-up history for trying the dashboards: pure, the same rows for the same seed, size and end.

Cameras of two lines send on working days, people with an app in the evenings, a partner at night. What dashboards are there to
show happens on the way: `History.episodes` says when.

Two marks tell these rows from real ones: `source_user` is one of USERS, which no access key and no certificate can be called,
and `request_id` ends with MARK.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagewarehouse.errors import BadParameter
from imagewarehouse.ids import build
from imagewarehouse.metadata import CLASSIFIED, FAILED, REJECTED
from imagewarehouse.rows.columns import SCHEMA

MARK = b"demo".hex()
MODEL = "demo-cifar10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_HOUR = timedelta(hours=1)
_HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MOST_ROWS_OF_A_PAGE = 50_000  # about; an hour is never cut
_TAIL_BITS = 62 - 4 * len(MARK)

# What each class is taken for, the likeliest first.
_LOOKS_LIKE = {
    "airplane": "bird ship truck deer", "automobile": "truck ship airplane horse", "bird": "airplane deer frog cat",
    "cat": "dog frog deer bird", "deer": "horse bird cat dog", "dog": "cat horse deer frog", "frog": "bird cat deer dog",
    "horse": "deer dog cat truck", "ship": "airplane automobile truck bird", "truck": "automobile ship airplane horse",
}  # fmt: skip
_OTHERS = np.array([[CLASSES.index(other) for other in _LOOKS_LIKE[name].split()] for name in CLASSES])
_SHARES_OF_OTHERS = (0.5, 0.22, 0.13, 0.08)  # of the probability that the best class leaves

_DETAILS = {
    "image.corrupt": "JPEG: the scan cannot be decoded",
    "image.truncated": "the image ends before its last byte",
    "image.not_an_image": "the content begins like no image",
    "image.too_many_pixels": "8000 x 9000 pixels, at most 50000000",
    "image.type_mismatch": "declared image/png, is JPEG",
    "image.trailing_data": "512 bytes behind the end of the image",
    "request.no_body": "the request has no body",
    "request.too_large": "26214400 bytes, at most 20971520",
    "type.not_accepted": "application/pdf",
    "objects.unavailable": "the store did not answer",
    "model.inference_failed": "the model gave no probabilities",
}
_REASONS = tuple(_DETAILS)
_AWAY, _INFERENCE = _REASONS.index("objects.unavailable"), _REASONS.index("model.inference_failed")


@dataclass(frozen=True, slots=True)
class _Source:
    """`rate`: of images, beside the other sources. `week`, `day`: how much of it on each weekday, and in each hour of UTC.
    `mix`: of CLASSES. `rejected`: share of requests. `errors`: why, with weights. `size`: width, height, pixels."""

    user: str
    addresses: tuple[str, ...]
    rate: float
    week: tuple[float, ...]
    day: tuple[float, ...]
    mix: tuple[float, ...]
    rejected: float
    errors: Mapping[str, float]
    formats: Mapping[str, float]
    size: tuple[int, int]
    file_name: str
    since: float = 0.0  # of the history: when it appears


_WORKING = (1, 1, 1.05, 1, 0.9, 0.12, 0.05)
_EVERY_DAY = (0.8, 0.8, 0.85, 0.9, 1, 1.3, 1.25)
_SHIFTS = (0.02,) * 5 + (0.3, 0.9, 1, 1, 0.95, 0.8, 0.7, 0.9, 1, 1, 0.9, 0.85, 0.8, 0.8, 0.7, 0.5, 0.2, 0.04, 0.02)
_EVENINGS = (
    0.2,
    0.1,
    0.06,
    0.04,
    0.04,
    0.08,
    0.2,
    0.4,
    0.5,
    0.5,
    0.5,
    0.6,
    0.7,
    0.6,
    0.6,
    0.7,
    0.8,
    0.9,
    1,
    1,
    1,
    0.9,
    0.7,
    0.4,
)
_AT_NIGHT = (0, 1, 1, 0.4, *(0,) * 20)
_ALWAYS = (1,) * 24
_VEHICLES = (1, 8, 0.5, 1, 0.5, 1, 0.2, 0.5, 1, 6)
_ANIMALS = (1, 1, 4, 8, 3, 7, 2, 3, 1, 0.5)
_HARBOUR = (3, 1, 2, 0.3, 0.2, 0.3, 0.2, 0.2, 9, 2)
_OF_CAMERAS = {"image.truncated": 5, "image.corrupt": 3, "request.no_body": 1}
_OF_PEOPLE = {"image.not_an_image": 3, "type.not_accepted": 4, "image.too_many_pixels": 2, "image.type_mismatch": 2,
              "request.too_large": 2, "image.trailing_data": 1}  # fmt: skip
_JPEG = {"JPEG": 1.0}
_SOURCES = (
    _Source("demo/line-1", ("10.20.0.11",), 30, _WORKING, _SHIFTS, _VEHICLES, 0.01, _OF_CAMERAS, _JPEG, (1280, 960), "line-1"),
    _Source("demo/line-2", ("10.20.0.12",), 22, _WORKING, _SHIFTS, _VEHICLES, 0.015, _OF_CAMERAS, _JPEG, (1280, 960), "line-2"),
    _Source("demo/harbour", ("10.20.4.1", "10.20.4.2"), 14, _EVERY_DAY, _ALWAYS, _HARBOUR, 0.02, _OF_CAMERAS, _JPEG,
            (1920, 1080), "pier"),
    _Source("demo/app", tuple(f"203.0.113.{n}" for n in range(10, 60)), 24, _EVERY_DAY, _EVENINGS, _ANIMALS, 0.07, _OF_PEOPLE,
            {"JPEG": 7, "HEIF": 2, "PNG": 1, "WEBP": 1}, (3024, 4032), "IMG"),
    _Source("demo/partner", ("2001:db8:17::42",), 9, _WORKING, _AT_NIGHT, (1,) * 10, 0.004, {"image.trailing_data": 1},
            {"PNG": 3, "TIFF": 1}, (800, 800), "export"),
    _Source("demo/scanner", ("192.0.2.66",), 1, _EVERY_DAY, _ALWAYS, _ANIMALS, 0.9,
            {"image.not_an_image": 8, "type.not_accepted": 5, "request.no_body": 3}, _JPEG, (640, 480), "upload"),
    _Source("demo/line-3", ("198.51.100.77",), 26, _WORKING, _SHIFTS, _VEHICLES, 0.03, _OF_CAMERAS, _JPEG, (1280, 960),
            "line-3", since=0.58),
)  # fmt: skip
USERS = tuple(source.user for source in _SOURCES)
_MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "HEIF": "image/heic",
}
_FORMATS = tuple(_MEDIA_TYPES)
_SUFFIXES = ("jpg", "png", "webp", "tiff", "heic")

_DRIFTED = np.array((1, 1, 2, 6, 1, 4, 6, 1, 1, 0.3))  # times the mix of a source
_SEVERAL_TIMES = 0.05  # share of images that are one of a few well-known pictures
_AGAIN = 0.03  # share that is sent twice
_WELL_KNOWN = 40


@dataclass(frozen=True, slots=True)
class Episode:
    """Something that a dashboard is to show."""

    name: str
    what: str
    since: datetime
    until: datetime


_VERSIONS = ("1", "2", "3", "2", "4")
_SURE = ((7.0, 1.7), (9.0, 1.5), (2.0, 2.4), (9.0, 1.5), (11.0, 1.3))  # of each: a beta distribution of the confidence
_BAD = 2


@dataclass(frozen=True, slots=True)
class History:
    """`rows` rows of the `days` days before `until`. Raises BadParameter on construction."""

    days: int
    rows: int
    until: datetime
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.days <= 3650:
            raise BadParameter(f"days: expected 1 to 3650, received {self.days}")
        if self.rows < 1:
            raise BadParameter(f"rows: expected at least 1, received {self.rows}")
        if self.until.tzinfo is None:
            raise BadParameter("until: expected a time with a zone")

    @property
    def since(self) -> datetime:
        return self.until - timedelta(days=self.days)

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """In their order. Of a history of a few days they are shorter than a day."""
        day = timedelta(days=min(1.0, self.days / 30))
        new, bad, away = self._at(0.58), self._at(0.85), self._at(0.93)
        return (
            Episode("version-2", "version 2 of the model is deployed", self._at(0.3), self._at(0.3)),
            Episode("new-source", "a third line begins to send", new, self.until),
            Episode("drift", "cats, dogs and frogs in front of every camera", self._at(0.66), self._at(0.75)),
            Episode("bad-deployment", "version 3 is unsure and slow, and is taken back", bad, bad + day),
            Episode("version-4", "version 4 of the model is deployed", self._at(0.9), self._at(0.9)),
            Episode("store-away", "the object store does not answer", away, away + day / 12),
        )

    def _at(self, share: float) -> datetime:
        """A full hour, so that no hour is half in an episode."""
        moment = self.since + share * (self.until - self.since)
        return self.since + round((moment - self.since) / _HOUR) * _HOUR

    def pages(self) -> Iterator[pa.Table]:
        """All rows in tables of SCHEMA, the newest table first, the rows of each by their time."""
        counts = self._counts()
        per_hour = counts.sum(axis=0)
        last = per_hour.size
        while last > 0:
            first, size = last - 1, int(per_hour[last - 1])
            while first > 0 and size + per_hour[first - 1] <= _MOST_ROWS_OF_A_PAGE:
                first -= 1
                size += int(per_hour[first])
            if size:
                yield _Page(self, first, counts[:, first:last]).table()
            last = first

    def _counts(self) -> npt.NDArray[np.int64]:
        """Rows of each source in each hour."""
        hours = [self.since + number * _HOUR for number in range(24 * self.days)]
        rates = np.zeros((len(_SOURCES), len(hours)))
        for number, source in enumerate(_SOURCES):
            begin = self._at(source.since)
            for column, hour in enumerate(hours):
                if hour >= begin:
                    rates[number, column] = source.rate * source.week[hour.weekday()] * source.day[hour.hour]
        rng = np.random.default_rng([self.seed, 1])
        rates *= rng.lognormal(0.0, 0.12, rates.shape)  # no day is quite like another
        if not rates.any():
            rates[:] = 1.0
        counts: npt.NDArray[np.int64] = rng.multinomial(self.rows, (rates / rates.sum()).ravel()).reshape(rates.shape)
        return counts


class _Page:
    """The rows of some hours. `counts`: of each source in each of them."""

    def __init__(self, history: History, first_hour: int, counts: npt.NDArray[np.int64]) -> None:
        self._history = history
        self._rng = np.random.default_rng([history.seed, 2, first_hour])
        self._since = (history.since - _EPOCH) // timedelta(microseconds=1) + first_hour * _HOUR_US
        sources, hours = np.indices(counts.shape)
        source = np.repeat(sources.ravel(), counts.ravel())
        hour = np.repeat(hours.ravel(), counts.ravel())
        at = self._since + hour * _HOUR_US + self._rng.integers(0, _HOUR_US, source.size)
        order = np.argsort(at, kind="stable")
        self._at, self._source = at[order], source[order]
        self._count = source.size

    def table(self) -> pa.Table:
        rng, n = self._rng, self._count
        episodes = {episode.name: episode for episode in self._history.episodes}
        version = self._versions(episodes)
        bad = version == _BAD
        reason = self._reasons(self._during(episodes["store-away"]))
        rejected = (reason >= 0) & (reason < _AWAY)
        ok = reason < 0

        (kind, image_format, size, width, height), image = self._pictures(self._during(episodes["drift"]))
        sure = self._confidence(version, self._during(episodes["drift"]))
        self._repeat(ok, (kind, image_format, size, width, height, image, sure))
        classified, stored = _Cells(ok), _Cells(~rejected)

        preprocess = rng.lognormal(np.log(0.9), 0.45, n) * (1 + size / 4e6)
        inference = rng.lognormal(np.log(1.6), 0.3, n) * np.where(bad, 9.0, 1.0)
        around = rng.lognormal(np.log(8.0), 0.55, n) * np.where(rng.random(n) < 0.004, 25.0, 1.0)
        total = np.where(ok, preprocess + inference, 0.4) + around + np.where(reason == _AWAY, 15_000.0, 0.0)
        users, addresses, names = self._senders(image_format)
        errors = _Cells(~ok)
        status = np.where(ok, CLASSIFIED, np.where(rejected, REJECTED, FAILED))
        columns: dict[str, pa.Array] = {
            "event_time": pa.array(self._at, pa.int64()).cast(SCHEMA.field("event_time").type),
            "request_id": pa.array(self._request_ids()),
            "status": pa.array(status),
            "error_code": errors.of(np.array(_REASONS), reason),
            "error_detail": errors.of(np.array(list(_DETAILS.values())), reason),
            "image_id": stored.array(image),
            "file_name": pa.array(names),
            "declared_type": pa.array(np.array(list(_MEDIA_TYPES.values()))[image_format]),
            "format": stored.of(np.array(_FORMATS), image_format),
            "size_bytes": pa.array(size, pa.int64()),
            "width": stored.array(width, pa.int32()),
            "height": stored.array(height, pa.int32()),
            "color_mode": stored.array(np.full(n, "RGB")),
            "frames": stored.array(np.ones(n), pa.int32()),
            "source_ip": pa.array(addresses),
            "source_user": pa.array(users),
            "predicted_class": classified.of(np.array(CLASSES), kind),
            "confidence": classified.array(sure, pa.float32()),
            "top_k": classified.array(np.array(_top_five(kind, sure), dtype=object), pa.string()),
            "model_name": classified.array(np.full(n, MODEL)),
            "model_version": classified.of(np.array(_VERSIONS), version),
            "preprocess_ms": classified.array(preprocess.round(3), pa.float64()),
            "inference_ms": classified.array(inference.round(3), pa.float64()),
            "total_ms": pa.array(total.round(3)),
            "node": pa.array(np.full(n, "demo")),
        }
        return pa.table(
            [columns.get(field.name, pa.nulls(n, field.type)).cast(field.type) for field in SCHEMA], schema=SCHEMA
        )

    def _during(self, episode: Episode) -> npt.NDArray[np.bool_]:
        since, until = ((moment - _EPOCH) // timedelta(microseconds=1) for moment in (episode.since, episode.until))
        inside: npt.NDArray[np.bool_] = (self._at >= since) & (self._at < until)
        return inside

    def _versions(self, episodes: Mapping[str, Episode]) -> npt.NDArray[np.int64]:
        bad = episodes["bad-deployment"]
        turns = [episodes["version-2"].since, bad.since, bad.until, episodes["version-4"].since]
        edges = [(moment - _EPOCH) // timedelta(microseconds=1) for moment in turns]
        found: npt.NDArray[np.int64] = np.searchsorted(np.maximum.accumulate(edges), self._at, side="right")
        return found

    def _reasons(self, away: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Number of the reason in _REASONS; -1: classified."""
        rng, n = self._rng, self._count
        reason = np.full(n, -1)
        drawn = rng.random(n)
        for number, source in enumerate(_SOURCES):
            chosen = (self._source == number) & (drawn < source.rejected)
            codes = [_REASONS.index(code) for code in source.errors]
            reason[chosen] = rng.choice(codes, int(chosen.sum()), p=_shares(list(source.errors.values())))
        reason[(reason < 0) & (rng.random(n) < 0.0007)] = _INFERENCE
        reason[(reason < 0) & away & (rng.random(n) < 0.6)] = _AWAY
        return reason

    def _pictures(
        self, drifted: npt.NDArray[np.bool_]
    ) -> tuple[tuple[npt.NDArray[np.int64], ...], npt.NDArray[np.str_]]:
        """Class, format, bytes, width and height of each, and its image_id."""
        rng, n = self._rng, self._count
        kind, image_format = np.zeros(n, np.int64), np.zeros(n, np.int64)
        width, height = np.zeros(n, np.int64), np.zeros(n, np.int64)
        for number, source in enumerate(_SOURCES):
            of_source = self._source == number
            for some, mix in (
                (of_source & ~drifted, np.array(source.mix)),
                (of_source & drifted, source.mix * _DRIFTED),
            ):
                kind[some] = rng.choice(len(CLASSES), int(some.sum()), p=_shares(mix))
            numbers = [_FORMATS.index(name) for name in source.formats]
            image_format[of_source] = rng.choice(
                numbers, int(of_source.sum()), p=_shares(list(source.formats.values()))
            )
            width[of_source], height[of_source] = source.size
        size = (width * height * rng.lognormal(np.log(0.16), 0.35, n)).astype(np.int64)
        digits = rng.bytes(32 * n).hex()
        image = np.array([digits[start : start + 64] for start in range(0, 64 * n, 64)], dtype="U64")
        return (kind, image_format, size, width, height), image

    def _confidence(self, version: npt.NDArray[np.int64], drifted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        first, second = (np.array([pair[part] for pair in _SURE])[version] for part in (0, 1))
        drawn = self._rng.beta(first, np.where(drifted, second * 1.9, second))
        # Above a third the best class stays the best, whatever the next one takes of the rest.
        return np.clip(drawn, 0.34, 0.9999).round(4).astype(np.float32)

    def _repeat(self, ok: npt.NDArray[np.bool_], columns: tuple[npt.NDArray[np.generic], ...]) -> None:
        """Some pictures come again: one that was sent twice, and the well-known ones, which all pages share."""
        rng, n = self._rng, self._count
        drawn = rng.random(n)
        to = np.flatnonzero(ok & (drawn < _AGAIN) & (np.arange(n) > 0))
        # Of an earlier row that is not itself a repetition, so that the order of the copies does not matter.
        origin = np.flatnonzero(ok & (drawn >= _AGAIN))
        if origin.size:
            earlier = np.searchsorted(origin, to) - rng.integers(1, 40, to.size)
            to, earlier = to[earlier >= 0], earlier[earlier >= 0]
            for column in columns:
                column[to] = column[origin[earlier]]
        known = _WellKnown(self._history.seed)
        to = np.flatnonzero(ok & (drawn >= 1 - _SEVERAL_TIMES))
        chosen = rng.choice(_WELL_KNOWN, to.size, p=known.shares)
        for column, values in zip(columns[:6], known.columns, strict=True):
            column[to] = values[chosen]

    def _senders(self, image_format: npt.NDArray[np.generic]) -> tuple[list[str], list[str], list[str]]:
        """User, address and file name of each."""
        picked = self._rng.random(self._count)
        addresses = [
            source.addresses[int(share * share * len(source.addresses))]  # squared: some send more than others
            for source, share in zip(map(_SOURCES.__getitem__, self._source), picked, strict=True)
        ]
        numbers = (self._at // 1_000_000) % 1_000_000
        names = [
            f"{_SOURCES[source].file_name}-{number:06d}.{_SUFFIXES[kind]}"
            for source, number, kind in zip(self._source.tolist(), numbers.tolist(), image_format.tolist(), strict=True)
        ]
        return [_SOURCES[number].user for number in self._source], addresses, names

    def _request_ids(self) -> list[str]:
        mark = int(MARK, 16)
        tails = self._rng.integers(0, 1 << _TAIL_BITS, self._count).tolist()
        shift = 4 * len(MARK)
        return [build(at, tail << shift | mark) for at, tail in zip(self._at.tolist(), tails, strict=True)]


class _WellKnown:
    """A few pictures that come again and again. `columns`: class, format, bytes, width, height, image_id."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 3])
        digits = rng.bytes(32 * _WELL_KNOWN).hex()
        images = np.array([digits[64 * number : 64 * number + 64] for number in range(_WELL_KNOWN)])
        sides = [rng.choice([512, 800, 1024, 1600], _WELL_KNOWN) for _ in range(2)]
        kinds = rng.integers(0, len(CLASSES), _WELL_KNOWN)
        self.columns = (kinds, np.zeros(_WELL_KNOWN, np.int64), sides[0] * sides[1] // 6, *sides, images)
        self.shares = _shares(1 / np.arange(1, _WELL_KNOWN + 1))


class _Cells:
    """Columns that only some rows have a value in."""

    def __init__(self, filled: npt.NDArray[np.bool_]) -> None:
        self._empty = ~filled

    def array(self, values: npt.NDArray[np.generic], type: pa.DataType | None = None) -> pa.Array:
        return pa.array(values.tolist() if values.dtype.kind == "U" else values, type, mask=self._empty)

    def of(self, names: npt.NDArray[np.str_], numbers: npt.NDArray[np.generic]) -> pa.Array:
        indices = pa.array(numbers, pa.int32(), mask=self._empty)
        return pa.DictionaryArray.from_arrays(indices, pa.array(names.tolist())).cast(pa.string())


def is_demo(source_user: str | None, request_id: str) -> bool:
    """Whether a row has both marks."""
    return source_user in USERS and request_id.endswith(MARK)


def _shares(weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(weights, dtype=np.float64)
    shares: npt.NDArray[np.float64] = values / values.sum()
    return shares


def _top_five(kind: npt.NDArray[np.generic], sure: npt.NDArray[np.float32]) -> list[str]:
    """JSON, as the record has it."""
    heads = [f'{{"class":"{name}","probability":' for name in CLASSES]
    others = [[heads[other] for other in row] for row in _OTHERS.tolist()]
    found = []
    for number, value in zip(kind.tolist(), sure.astype(np.float64).round(4).tolist(), strict=True):
        rest = 1.0 - value
        a, b, c, d = others[number]
        w, x, y, z = (round(rest * share, 4) for share in _SHARES_OF_OTHERS)
        found.append(f"[{heads[number]}{value}}},{a}{w}}},{b}{x}}},{c}{y}}},{d}{z}}}]")
    return found
