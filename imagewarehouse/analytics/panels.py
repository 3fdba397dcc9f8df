"""What a dashboard shows: each panel asks one or two named queries and makes its figures of the rows.

The figures are the same whichever engine has answered; what engines do differently (order, decimals, zones) ends here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from imagewarehouse.analytics.asking import Request, Row, ask
from imagewarehouse.analytics.catalog import CONFIDENCE_BINS, Cursor, catalog
from imagewarehouse.analytics.engines import Engine, InProcess
from imagewarehouse.analytics.periods import Buckets, Period, buckets, width_for
from imagewarehouse.analytics.pictures import different, frequent
from imagewarehouse.analytics.statistics import Bin, change, percentile, stability_index
from imagewarehouse.metadata import STATUSES

_RECENT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Column:
    """`unit`: images, share (0-1), ms, bytes, time (ISO 8601), text or number."""

    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A table of figures; `facts` are single ones beside it."""

    columns: tuple[Column, ...]
    rows: Sequence[Row]
    facts: Mapping[str, Any] = field(default_factory=dict)


# --- panels --------------------------------------------------------------------------------------------------------


def totals(engine: Engine, request: Request) -> Panel:
    """How many images, pictures, sources and bytes, what became of them, how sure the model was, and how that was before."""
    now, before = (_totals(engine, request, period) for period in (request.period, request.period.earlier()))
    sure, was_sure = now.pop("confidence"), before.pop("confidence")
    rows = [(name, now[name], before[name], _rounded(change(now[name], before[name]))) for name in now]
    rows.append(("confidence", _rounded(sure), _rounded(was_sure), None))
    return Panel(_columns("measure text, value number, before number, change share"), rows)


def _totals(engine: Engine, request: Request, period: Period) -> dict[str, Any]:
    rows = ask(engine, "totals", request, period)
    *counts, sources, size, sure, with_confidence = rows[0] if rows else (0,) * 9
    names = ("images", *STATUSES, "pictures", "sources", "bytes")
    numbers = (*counts, different(engine, request, period, int(counts[0] or 0)), sources, size)
    found: dict[str, Any] = {name: int(number or 0) for name, number in zip(names, numbers, strict=True)}
    return {**found, "confidence": _share(sure, with_confidence)}


def classes(engine: Engine, request: Request) -> Panel:
    """The most frequent objects, their share, and how many there were before."""
    before = {row[0]: int(row[1]) for row in ask(engine, "classes", request, request.period.earlier())}
    found = sorted(ask(engine, "classes", request), key=lambda row: (-int(row[1]), row[0]))
    total = sum(int(row[1]) for row in found)
    rows = [
        (
            name,
            int(images),
            images / total,
            before.get(name, 0),
            _rounded(change(images, before.get(name, 0))),
            float(confidence),
        )
        for name, images, confidence in found[: request.limit]
    ]
    return Panel(
        _columns("predicted_class text, images images, share share, before images, change share, confidence share"),
        rows,
        {"classes": len(found), "images": total},
    )


def over_time(engine: Engine, request: Request) -> Panel:
    """Images by column of the chart: of each class, and of those without one by what became of them."""
    columns = buckets(request.period, request.width or width_for(request.period), request.tz)
    counts: Counter[tuple[int, str, str]] = Counter()
    for slot, status, name, images in ask(engine, "over_time", request, slot_s=columns.slot_s):
        counts[columns.of_slot(int(slot)), status, name or ""] += int(images)
    rows = [
        (_iso(columns.starts[number], request.tz), status, name or None, images)
        for (number, status, name), images in sorted(counts.items())
    ]
    return Panel(_columns("start time, status text, predicted_class text, images images"), rows, {
        "starts": [_iso(start, request.tz) for start in columns.starts],
    })  # fmt: skip


def sources(engine: Engine, request: Request) -> Panel:
    """Who sends: addresses and users."""
    found = ask(engine, "sources", request)
    rows = [
        (ip, user, int(images), int(rejected), int(failed), _rounded(confidence), _iso(last, request.tz))
        for ip, user, images, rejected, failed, confidence, last, _ in found
    ]
    rows.sort(key=lambda row: (-row[2], row[0] or "", row[1] or ""))
    return Panel(
        _columns(
            "source_ip text, source_user text, images images, rejected images, failed images, confidence share, last_seen time"
        ),
        rows,
        {"sources": len(rows) if len(rows) < request.limit else int(found[0][-1])},
    )


def rejections(engine: Engine, request: Request) -> Panel:
    """Why requests were rejected, or failed."""
    rows = [(status, code, int(images), int(ips)) for status, code, images, ips in ask(engine, "rejections", request)]
    rows.sort(key=lambda row: (-row[2], row[0], row[1] or ""))
    return Panel(_columns("status text, error_code text, images images, sources number"), rows)


def confidence(engine: Engine, request: Request) -> Panel:
    """How sure the model was, in twenty steps, and the share of images under the threshold."""
    found = {int(number): (int(images), int(below)) for number, images, below in ask(engine, "confidence", request)}
    images, below = (sum(pair[part] for pair in found.values()) for part in (0, 1))
    rows = [
        (number / CONFIDENCE_BINS, (number + 1) / CONFIDENCE_BINS, found.get(number, (0, 0))[0])
        for number in range(CONFIDENCE_BINS)
    ]
    return Panel(
        _columns("from share, to share, images images"),
        rows,
        {
            "threshold": request.threshold,
            "images": images,
            "below": below,
            "below_share": below / images if images else None,
        },
    )


def latency(engine: Engine, request: Request) -> Panel:
    """How long each stage takes: percentiles by nearest rank, within one per cent."""
    stages: dict[str, list[Bin]] = defaultdict(list)
    for stage, number, count, least, most in ask(engine, "latency", request):
        stages[stage].append(Bin(int(number), int(count), float(least), float(most)))
    rows = []
    for stage in ("preprocess", "inference", "total"):
        bins = sorted(stages[stage])
        p50, p95, p99 = (_rounded(percentile(bins, share), 3) for share in (0.5, 0.95, 0.99))
        most = max((found.most for found in bins), default=None)
        rows.append((stage, sum(found.images for found in bins), p50, p95, p99, _rounded(most, 3)))
    return Panel(_columns("stage text, images images, p50 ms, p95 ms, p99 ms, most ms"), rows)


def drift(engine: Engine, request: Request) -> Panel:
    """Whether the classes still come as they did in training and in the stretch before, and the confidence as before."""
    now, sure = _mix(engine, request, request.period)
    before, was_sure = _mix(engine, request, request.period.earlier())
    totals_of = [sum(mix.values()) for mix in (now, before, request.training)]
    rows = [
        (name, *(_rounded(mix.get(name, 0) / total) if total else None for mix, total in
                 zip((now, before, request.training), totals_of, strict=True)))
        for name in sorted({*now, *before, *request.training})
    ]  # fmt: skip
    return Panel(
        _columns("predicted_class text, share share, before share, training share"),
        rows,
        {
            "images": totals_of[0],
            "images_before": totals_of[1],
            "index_training": _rounded(stability_index(request.training, now)),
            "index_before": _rounded(stability_index(before, now)),
            "index_confidence": _rounded(stability_index(was_sure, sure)),
        },
    )


def _mix(engine: Engine, request: Request, period: Period) -> tuple[Counter[str], Counter[str]]:
    """Images by class, and by bin of the confidence."""
    of_class, of_bin = Counter[str](), Counter[str]()
    for name, number, images in ask(engine, "mix", request, period):
        if name is not None:
            of_class[name] += int(images)
        if number is not None:
            of_bin[str(number)] += int(images)
    return of_class, of_bin


def models(engine: Engine, request: Request) -> Panel:
    """Versions of the model beside each other; the drift of a version's classes is from those of all versions together."""
    versions: dict[tuple[str, str], list[Row]] = defaultdict(list)
    whole: Counter[str] = Counter()
    for name, version, *of_class in ask(engine, "models", request):
        versions[name, version].append(tuple(of_class))
        if of_class[0] is not None:
            whole[of_class[0]] += int(of_class[1])
    rows = []
    for (name, version), found in versions.items():
        _, *numbers, first, last = zip(*found, strict=True)
        images, sure, with_confidence, below, ms, with_ms = (sum(n or 0 for n in column) for column in numbers)
        mix = {row[0]: int(row[1]) for row in found if row[0] is not None}
        rows.append(
            (
                name, version, int(images), _rounded(_share(sure, with_confidence)), _rounded(below / images),
                _rounded(_share(ms, with_ms), 3), _rounded(stability_index(whole, mix)),
                _iso(min(first), request.tz), _iso(max(last), request.tz),
            )
        )  # fmt: skip
    rows.sort(key=lambda row: (row[0], row[1]))
    return Panel(
        _columns(
            "model_name text, model_version text, images images, confidence share, below share, inference_ms ms, index number,"
            " first_seen time, last_seen time"
        ),
        rows,
    )


def duplicates(engine: Engine, request: Request) -> Panel:
    """Pictures that came more than once."""
    often, of_all = frequent(engine, request)
    rows = [
        (image_id, int(images), int(ips), _iso(first, request.tz), _iso(last, request.tz), predicted, name)
        for image_id, images, ips, first, last, predicted, name in (
            ask(engine, "duplicates", request, pictures=often) if often else ()
        )
    ]
    rows.sort(key=lambda row: (-row[1], row[0]))
    return Panel(
        _columns(
            "image_id text, images images, sources number, first_seen time, last_seen time, predicted_class text,"
            " file_name text"
        ),
        rows,
        {"pictures": len(rows) if len(often) < request.limit else of_all},
    )


def latest(engine: Engine, request: Request) -> Panel:
    """The newest requests, page by page."""
    names = tuple(catalog()["latest"].columns)
    found = _newest(engine, request, _up_to(request.period, request.after))
    rows = [(_iso(row[0], request.tz), *(_plain(value) for value in row[1:])) for row in found]
    facts = {}
    if len(found) == request.limit:
        facts["after"] = f"{_utc(found[-1][0]).isoformat(timespec='microseconds')} {found[-1][1]}"
    units = {"event_time": "time", "size_bytes": "bytes", "confidence": "share", "total_ms": "ms", "width": "number",
             "height": "number"}  # fmt: skip
    return Panel(tuple(Column(name, units.get(name, "text")) for name in names), rows, facts)


def _newest(engine: Engine, request: Request, period: Period) -> list[Row]:
    """Of the last day first: with filters an engine reads every row of the stretch that it is asked for."""
    recent = max(period.since, period.until - _RECENT)
    if recent > period.since:
        found = ask(engine, "latest", request, replace(period, since=recent))
        if len(found) == request.limit:
            return found
    return ask(engine, "latest", request, period)


def _up_to(period: Period, after: Cursor | None) -> Period:
    """Without what comes before the page; a millisecond more, since some engines show no less."""
    if after is None:
        return period
    until = min(period.until, after.event_time + timedelta(milliseconds=1))
    return replace(period, until=max(until, period.since + timedelta(milliseconds=1)))


def _together(panel: Callable[[Engine, Request], Panel]) -> Callable[[Engine, Request], Panel]:
    """What a panel asks belongs together, where the engine can do that."""

    def ask_together(engine: Engine, request: Request) -> Panel:
        with engine.together() if isinstance(engine, InProcess) else nullcontext(engine) as opened:
            return panel(opened, request)

    return ask_together


PANELS: Mapping[str, Callable[[Engine, Request], Panel]] = {
    panel.__name__.replace("_", "-"): _together(panel)
    for panel in (
        totals,
        classes,
        over_time,
        sources,
        rejections,
        confidence,
        latency,
        drift,
        models,
        duplicates,
        latest,
    )
}

# --- values ---------------------------------------------------------------------------------------------------------


def _columns(text: str) -> tuple[Column, ...]:
    return tuple(Column(*pair.split()) for pair in text.split(", "))


def _share(total: float, count: float) -> float | None:
    return float(total) / int(count) if count else None


def _rounded(value: Any, digits: int = 6) -> float | None:
    """A float that every engine gives: sums of floats differ in their last digits by the order of the rows."""
    return None if value is None else round(float(value), digits)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int)) else _rounded(value)


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


def _iso(value: datetime, tz: ZoneInfo) -> str:
    return _utc(value).astimezone(tz).isoformat(timespec="milliseconds" if value.microsecond else "seconds")


__all__ = ["PANELS", "Buckets", "Column", "Panel", "Request"]
