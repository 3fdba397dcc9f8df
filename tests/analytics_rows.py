"""Rows for the tests of analytics, and every panel's figures computed from them in plain Python, another way than by SQL."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address, ip_network
from typing import Any

import numpy as np

from imagewarehouse.analytics.panels import Request
from imagewarehouse.analytics.periods import Period
from imagewarehouse.ids import new_request_id
from imagewarehouse.metadata import ImageRecord

TEXTS = (
    "it's", 'quo"ted', "back\\slash\\'", "'; DROP TABLE image_events; --", "<script>alert(1)</script>", "a%b_c", "{table}",
    "{where}", "Zoë", "研究室", "\u202edlrow", "e\u0301", "\U0001f600", "tab\tnew\nline", "${x}", " blanks ", "NULL",
    "long" * 50,
)  # fmt: skip
START = datetime(2026, 10, 12, tzinfo=timezone.utc)  # Europe/Berlin puts its clocks back on the 25th
DAYS = 21
CLASSES = ("bird", "cat", "dog", "frog", "ship")
SOURCES = ("10.0.0.1", "10.0.0.2", "192.0.2.7", "2001:db8::1", None)
USERS = ("camera-1", "camera-2", "Zoë", "研究室", None)
TRAINING = dict.fromkeys(CLASSES, 5000)


def records(count: int = 3000, seed: int = 0) -> list[ImageRecord]:
    """Of three weeks, in any order; some at the very edges of days, of slots, and in the hour that comes twice."""
    rng = random.Random(seed)
    berlin_twice = datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc)
    edges = [START + timedelta(days=day, hours=hour) for day in range(DAYS) for hour in (0, 22, 23)]
    edges += [berlin_twice + timedelta(minutes=15 * n) for n in range(8)]
    edges += [edge - timedelta(microseconds=1) for edge in edges[1:]]
    made = []
    for number in range(count):
        at = (
            edges[number]
            if number < len(edges)
            else START + timedelta(microseconds=rng.randrange(DAYS * 86_400_000_000))
        )
        made.append(_record(rng, at, number))
    return made


def _record(rng: random.Random, at: datetime, number: int) -> ImageRecord:
    text = TEXTS[number % len(TEXTS)]
    common: dict[str, Any] = {
        "event_time": at,
        "request_id": new_request_id(at),
        "source_ip": rng.choice(SOURCES),
        "source_user": rng.choice(USERS) if number % 50 else text[:200] or None,
        "size_bytes": rng.randrange(1000, 100_000),
        "file_name": f"{number}.jpg" if number % 40 else text[:200] or None,
        "total_ms": _f32(rng.lognormvariate(2, 1)),
        "node": "node-1",
    }
    kind = rng.random()
    if kind < 0.1:
        return ImageRecord(
            status="rejected", error_code=rng.choice(("image.corrupt", "image.truncated", "request.no_body")), **common
        )
    picture = hashlib.sha256(str(rng.randrange(2000)).encode()).hexdigest()
    if kind < 0.13:
        return ImageRecord(status="failed", error_code="model.inference_failed", image_id=picture, **common)
    name = rng.choices(CLASSES, weights=(5, 4, 3, 2, 1))[0] if number % 60 else (text[:200] or "cat")
    return ImageRecord(
        status="classified",
        image_id=picture,
        predicted_class=name,
        confidence=_f32(rng.choice((rng.random(), 1.0, 0.9, 0.45, 0.05 * rng.randrange(21)))),
        model_name="cifar10",
        model_version=rng.choice(("3", "4")),
        preprocess_ms=_f32(rng.lognormvariate(-1, 0.5)),
        inference_ms=_f32(rng.lognormvariate(0, 0.5)),
        **common,
    )


def _f32(value: float) -> float:
    return float(np.float32(value))


# --- what each panel has to say ------------------------------------------------------------------------------------


def chosen(found: Iterable[ImageRecord], request: Request, period: Period | None = None) -> list[ImageRecord]:
    stretch, f = period or request.period, request.filters

    def fits(r: ImageRecord) -> bool:
        return (
            stretch.since <= r.event_time < stretch.until
            and (not f.classes or r.predicted_class in f.classes)
            and (not f.statuses or r.status in f.statuses)
            and (not f.errors or r.error_code in f.errors)
            and (not f.sources or any(r.source_ip and ip_address(r.source_ip) in ip_network(s) for s in f.sources))
            and (not f.users or r.source_user in f.users)
            and (not f.images or r.image_id in f.images)
            and (not f.models or {r.model_name, r.model_version, f"{r.model_name}/{r.model_version}"} & {*f.models})
            and (
                f.min_confidence is None or (r.confidence is not None and r.confidence >= np.float32(f.min_confidence))
            )
            and (
                f.max_confidence is None
                or f.max_confidence == 1
                or (r.confidence is not None and r.confidence < np.float32(f.max_confidence))
            )
        )

    return [r for r in found if fits(r)]


def mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def nearest_rank(values: Iterable[float | None], share: float) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[max(1, math.ceil(share * len(known))) - 1] if known else None


def distinct(values: Iterable[Any]) -> int:
    return len({value for value in values if value is not None})


def grouped(found: Sequence[ImageRecord], key: Callable[[ImageRecord], Any]) -> dict[Any, list[ImageRecord]]:
    groups: dict[Any, list[ImageRecord]] = defaultdict(list)
    for r in found:
        groups[key(r)].append(r)
    return groups


def totals(found: Sequence[ImageRecord]) -> dict[str, Any]:
    by_status = Counter(r.status for r in found)
    return {
        "images": len(found),
        **{status: by_status[status] for status in ("accepted", "rejected", "classified", "failed")},
        "pictures": distinct(r.image_id for r in found),
        "sources": distinct(r.source_ip for r in found),
        "bytes": sum(r.size_bytes or 0 for r in found),
        "confidence": mean(r.confidence for r in found),
    }


def stability(expected: dict[str, int], actual: dict[str, int]) -> float | None:
    if not sum(expected.values()) or not sum(actual.values()):
        return None
    names = set(expected) | set(actual)
    p = {n: max(1e-4, expected.get(n, 0) / sum(expected.values())) for n in names}
    q = {n: max(1e-4, actual.get(n, 0) / sum(actual.values())) for n in names}
    return math.fsum((q[n] - p[n]) * (math.log(q[n]) - math.log(p[n])) for n in names)
