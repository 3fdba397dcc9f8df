"""What every engine is held to: each panel's figures over the same rows, against those computed in plain Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from imagewarehouse.analytics.catalog import Cursor, Filters
from imagewarehouse.analytics.engines import Engine
from imagewarehouse.analytics.networks import with_addresses
from imagewarehouse.analytics.panels import PANELS, Panel, Request
from imagewarehouse.analytics.periods import between, named
from imagewarehouse.metadata import ImageRecord
from tests import analytics_rows as rows

BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")  # half an hour off
UTC = ZoneInfo("UTC")
NOW = datetime(2026, 10, 26, 14, 20, tzinfo=timezone.utc)
EMPTY = between(NOW + timedelta(days=100), NOW + timedelta(days=101))

REQUESTS = {
    **{
        name: Request(period=named(name, NOW, BERLIN), tz=BERLIN, training=rows.TRAINING)
        for name in ("today", "yesterday", "7-days-ago", "last-week", "30-days-ago")
    },
    "clocks": Request(period=named("yesterday", NOW, BERLIN), tz=BERLIN, width="hour"),
    "kolkata": Request(period=named("yesterday", NOW, KOLKATA), tz=KOLKATA, width="hour"),
    "empty": Request(period=EMPTY, tz=UTC, training=rows.TRAINING),
    "whole": Request(period=between(rows.START, rows.START + timedelta(days=rows.DAYS)), tz=UTC, width="day"),
    "classes": Request(period=named("30-days-ago", NOW, UTC), tz=UTC, filters=Filters(classes=("cat", "dog"))),
    "hostile": Request(period=named("30-days-ago", NOW, UTC), tz=UTC, filters=Filters(users=rows.TEXTS)),
    "hostile-class": Request(period=named("30-days-ago", NOW, UTC), tz=UTC, filters=Filters(classes=rows.TEXTS)),
    "several": Request(
        period=named("30-days-ago", NOW, UTC),
        tz=UTC,
        filters=Filters(sources=("10.0.0.1", "2001:db8::1"), models=("cifar10/4",), min_confidence=0.45, max_confidence=0.9),
    ),
    "sure": Request(
        period=named("30-days-ago", NOW, UTC), tz=UTC, filters=Filters(min_confidence=0.9, max_confidence=1.0), threshold=0.9
    ),
    "rejected": Request(period=named("30-days-ago", NOW, UTC), tz=UTC, filters=Filters(statuses=("rejected", "failed"))),
    "networks": Request(
        period=named("7-days-ago", NOW, BERLIN), tz=BERLIN, filters=Filters(sources=("10.0.0.0/31", "2001:db8::/32"))
    ),
    "nobody": Request(period=named("7-days-ago", NOW, UTC), tz=UTC, filters=Filters(sources=("172.16.0.0/12",))),
    "model": Request(period=named("30-days-ago", NOW, UTC), tz=UTC, filters=Filters(models=("cifar10", "nobody/4"))),
    "cut": Request(period=named("30-days-ago", NOW, UTC), tz=UTC, limit=3),
    "one-error": Request(period=named("30-days-ago", NOW, UTC), tz=UTC, filters=Filters(errors=("image.corrupt",))),
}  # fmt: skip
each_request = pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)


def check(engine: Engine, panel: str, asked: Request, found: Sequence[ImageRecord]) -> None:
    """Every figure of a panel."""
    now = rows.chosen(found, asked)
    before = rows.chosen(found, asked, asked.period.earlier())
    _CHECKS[panel](PANELS[panel](engine, with_addresses(engine, asked)), asked, now, before)


def near(value: float | None, tolerance: float = 1e-5) -> Any:
    return None if value is None else pytest.approx(value, abs=tolerance, rel=tolerance)


def table(panel: Panel) -> list[dict[str, Any]]:
    names = [column.name for column in panel.columns]
    return [dict(zip(names, row, strict=True)) for row in panel.rows]


Records = Sequence[ImageRecord]


def _totals(panel: Panel, asked: Request, now: Records, before: Records) -> None:
    expected, earlier = rows.totals(now), rows.totals(before)
    assert [row["measure"] for row in table(panel)] == list(expected)
    for row in table(panel):
        name = row["measure"]
        assert row["value"] == near(expected[name])
        assert row["before"] == near(earlier[name])
        if name != "confidence":
            change = None if not earlier[name] else expected[name] / earlier[name] - 1
            assert row["change"] == near(change)


def _classes(panel: Panel, asked: Request, now: Records, before: Records) -> None:
    groups = rows.grouped([r for r in now if r.predicted_class is not None], lambda r: r.predicted_class)
    earlier = Counter(r.predicted_class for r in before)
    ordered = sorted(groups, key=lambda name: (-len(groups[name]), name))
    total = sum(map(len, groups.values()))
    assert [row["predicted_class"] for row in table(panel)] == ordered[: asked.limit]
    for row in table(panel):
        group = groups[row["predicted_class"]]
        assert (row["images"], row["before"]) == (len(group), earlier[row["predicted_class"]])
        assert row["share"] == near(len(group) / total)
        assert row["confidence"] == near(rows.mean(r.confidence for r in group))
    assert panel.facts == {"classes": len(groups), "images": total}


def _over_time(panel: Panel, asked: Request, now: Records, before: Records) -> None:
    starts = [datetime.fromisoformat(text) for text in panel.facts["starts"]]
    assert starts == sorted(starts)
    assert starts[0] <= asked.period.since
    expected: Counter[tuple[datetime, str, str | None]] = Counter()
    for r in now:
        local = r.event_time.astimezone(asked.tz)
        start = max(start for start in starts if start.timestamp() <= r.event_time.timestamp())
        # The column is the hour, or the day, that a clock on the wall shows.
        if asked.width == "hour":
            assert (local.date(), local.hour, local.utcoffset()) == (start.date(), start.hour, start.utcoffset())
        elif asked.width == "day":
            assert local.date() == start.date()
        expected[start, r.status, r.predicted_class] += 1
    given = {
        (datetime.fromisoformat(row["start"]).astimezone(timezone.utc), row["status"], row["predicted_class"]): row[
            "images"
        ]
        for row in table(panel)
    }
    assert given == {(start.astimezone(timezone.utc), *rest): n for (start, *rest), n in expected.items()}


def _sources(panel: Panel, asked: Request, now: Records, before: Records) -> None:
    groups = rows.grouped(now, lambda r: (r.source_ip, r.source_user))
    given = table(panel)
    assert [row["images"] for row in given] == sorted(map(len, groups.values()), reverse=True)[: asked.limit]
    for row in given:
        group = groups[row["source_ip"], row["source_user"]]
        assert (row["images"], row["rejected"], row["failed"]) == (
            len(group), sum(r.status == "rejected" for r in group), sum(r.status == "failed" for r in group),
        )  # fmt: skip
        assert row["confidence"] == near(rows.mean(r.confidence for r in group))
        _same_time(row["last_seen"], max(r.event_time for r in group))
    assert panel.facts == {"sources": len(groups)}


def _rejections(panel: Panel, asked: Request, now: Records, before: Records) -> None:
    groups = rows.grouped([r for r in now if r.status in ("rejected", "failed")], lambda r: (r.status, r.error_code))
    assert {(row["status"], row["error_code"]): (row["images"], row["sources"]) for row in table(panel)} == {
        key: (len(group), rows.distinct(r.source_ip for r in group)) for key, group in groups.items()
    }


def _confidence(panel: Panel, asked: Request, now: Records, before: Records) -> None:
    sure = [r.confidence for r in now if r.confidence is not None]
    expected = Counter(min(19, math.floor(value * 20 + 1e-6)) for value in sure)
    assert [row["images"] for row in table(panel)] == [expected[n] for n in range(20)]
    below = sum(value < float(_single(asked.threshold)) for value in sure)
    assert (panel.facts["images"], panel.facts["below"]) == (len(sure), below)


def _latency(panel: Panel, asked: Request, now: Records, before: Records) -> None:
    for row in table(panel):
        values = [getattr(r, f"{row['stage']}_ms") for r in now]
        known = [value for value in values if value is not None]
        assert row["images"] == len(known)
        assert row["most"] == near(max(known, default=None), 1e-3)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            expected = rows.nearest_rank(values, share)
            assert row[name] == (None if expected is None else pytest.approx(expected, rel=0.0101, abs=0.001)), name


def _drift(panel: Panel, asked: Request, now: Records, before: Records) -> None:
    mixes = [Counter(r.predicted_class for r in part if r.predicted_class is not None) for part in (now, before)]
    assert [panel.facts[name] for name in ("images", "images_before")] == [sum(mix.values()) for mix in mixes]
    assert panel.facts["index_training"] == near(rows.stability(dict(asked.training), mixes[0]), 1e-4)
    assert panel.facts["index_before"] == near(rows.stability(mixes[1], mixes[0]), 1e-4)
    for row in table(panel):
        total = sum(mixes[0].values())
        assert row["share"] == near(mixes[0][row["predicted_class"]] / total if total else None)
    assert {row["predicted_class"] for row in table(panel)} == {*mixes[0], *mixes[1], *asked.training}


def _models(panel: Panel, asked: Request, now: Records, before: Records) -> None:
    groups = rows.grouped([r for r in now if r.model_version is not None], lambda r: (r.model_name, r.model_version))
    whole = Counter(r.predicted_class for r in now if r.predicted_class is not None)
    assert [(row["model_name"], row["model_version"]) for row in table(panel)] == sorted(groups)
    for row in table(panel):
        group = groups[row["model_name"], row["model_version"]]
        assert row["images"] == len(group)
        assert row["confidence"] == near(rows.mean(r.confidence for r in group))
        assert row["below"] == near(
            sum(float(r.confidence or 0) < _single(asked.threshold) for r in group) / len(group)
        )
        assert row["inference_ms"] == near(rows.mean(r.inference_ms for r in group), 1e-3)
        mix = Counter(str(r.predicted_class) for r in group)
        assert row["index"] == near(rows.stability({str(k): v for k, v in whole.items()}, mix), 1e-4)
        _same_time(row["first_seen"], min(r.event_time for r in group))


def _duplicates(panel: Panel, asked: Request, now: Records, before: Records) -> None:
    groups = rows.grouped([r for r in now if r.image_id is not None], lambda r: r.image_id)
    several = {image_id: group for image_id, group in groups.items() if len(group) > 1}
    ordered = sorted(several, key=lambda image_id: (-len(several[image_id]), image_id))
    assert [row["image_id"] for row in table(panel)] == ordered[: asked.limit]
    for row in table(panel):
        group = several[row["image_id"]]
        assert (row["images"], row["sources"]) == (len(group), rows.distinct(r.source_ip for r in group))
        _same_time(row["first_seen"], min(r.event_time for r in group))
        _same_time(row["last_seen"], max(r.event_time for r in group))
    assert panel.facts == {"pictures": len(several)}


def _latest(panel: Panel, asked: Request, now: Records, before: Records) -> None:
    ordered = sorted(now, key=lambda r: (r.event_time, r.request_id), reverse=True)
    given = table(panel)
    assert [row["request_id"] for row in given] == [r.request_id for r in ordered[: asked.limit]]
    for row, record in zip(given, ordered, strict=False):
        _same_time(row.pop("event_time"), record.event_time)
        for name, value in row.items():
            expected = getattr(record, name)
            assert value == (near(expected) if isinstance(expected, float) else expected), name


def check_pages(engine: Engine, found: Records) -> None:
    """Page by page every row comes once."""
    asked = REQUESTS["whole"]
    seen: list[str] = []
    after = None
    while True:
        page = PANELS["latest"](engine, _with(asked, limit=100, after=after))
        seen += [row["request_id"] for row in table(page)]
        if "after" not in page.facts:
            break
        moment, _, request_id = page.facts["after"].partition(" ")
        after = Cursor(datetime.fromisoformat(moment), request_id)
    expected = sorted(rows.chosen(found, asked), key=lambda r: (r.event_time, r.request_id), reverse=True)
    assert seen == [r.request_id for r in expected]


def _with(asked: Request, **changes: Any) -> Request:
    return replace(asked, **changes)


def _single(value: float) -> float:
    return float(np.float32(value))


def _same_time(text: str, moment: datetime) -> None:
    """Engines may have milliseconds only, cut or rounded."""
    assert abs(datetime.fromisoformat(text) - moment) <= timedelta(milliseconds=1)


_CHECKS = {
    "totals": _totals, "classes": _classes, "over-time": _over_time, "sources": _sources, "rejections": _rejections,
    "confidence": _confidence, "latency": _latency, "drift": _drift, "models": _models, "duplicates": _duplicates,
    "latest": _latest,
}  # fmt: skip
assert set(_CHECKS) == set(PANELS)
each_panel = pytest.mark.parametrize("panel", sorted(PANELS))
