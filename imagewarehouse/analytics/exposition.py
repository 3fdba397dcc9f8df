"""What the rows say, as Prometheus metrics, for alerts: the last quarter of an hour, and the last day's drift.

/metrics counts FlowFiles, which are packages of many images, and knows no class. Rows are images; so these come from the same
panels as the dashboards. The window moves, so nothing is added up: no counters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from imagewarehouse.analytics.engines import Engine
from imagewarehouse.analytics.panels import PANELS, Request
from imagewarehouse.analytics.periods import between
from imagewarehouse.metadata import STATUSES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WINDOW, DAY = timedelta(minutes=15), timedelta(days=1)

_PREFIX = "imagewarehouse_rows_"
_UTC = ZoneInfo("UTC")


def text(engine: Engine, now: datetime, training: Mapping[str, int]) -> bytes:
    """In Prometheus' text format. What is not known has no line. Raises AnalyticsUnavailable.

    Args: training: images by class that the model was trained on.
    """
    registry = CollectorRegistry()
    registry.register(_Rows(_measured(engine, now, training)))
    return generate_latest(registry)


@dataclass(frozen=True, slots=True)
class _Measured:
    totals: Mapping[str, Any]
    errors: Mapping[str, int]
    stages: Mapping[str, Mapping[str, float | None]]
    drift: Mapping[str, float | None]
    newest: float | None  # seconds since 1970


def _measured(engine: Engine, now: datetime, training: Mapping[str, int]) -> _Measured:
    recent = Request(period=between(now - WINDOW, now), tz=_UTC)
    day = Request(period=between(now - DAY, now), tz=_UTC, training=training, limit=1)
    latest = PANELS["latest"](engine, day).rows
    facts = PANELS["drift"](engine, day).facts
    errors: dict[str, int] = {}
    for _, code, images, _ in PANELS["rejections"](engine, recent).rows:
        errors[code or ""] = errors.get(code or "", 0) + images
    return _Measured(
        {row[0]: row[1] for row in PANELS["totals"](engine, recent).rows},
        errors,
        {row[0]: {"0.5": row[2], "0.95": row[3], "0.99": row[4]} for row in PANELS["latency"](engine, recent).rows},
        {against: facts[f"index_{against}"] for against in ("training", "before", "confidence")},
        datetime.fromisoformat(latest[0][0]).timestamp() if latest else None,
    )


class _Rows(Collector):
    def __init__(self, measured: _Measured) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        m = self._measured
        images = {status: m.totals[status] for status in STATUSES}
        yield _gauge("recent_images", "Images of the last 15 minutes by what became of them", images, "status")
        yield _gauge("recent_errors", "Of these, rejected or failed, by error_code", m.errors, "error_code")
        yield _gauge("recent_sources", "Distinct addresses in the last 15 minutes", {"": m.totals["sources"]})
        yield _gauge("recent_size_bytes", "Bytes of the images of the last 15 minutes", {"": m.totals["bytes"]})
        yield _gauge("recent_confidence_ratio", "Mean of their confidence, 0-1", {"": m.totals["confidence"]})
        name = f"{_PREFIX}recent_stage_seconds"
        stages = Metric(name, "Time of a stage in the last 15 minutes", "summary")
        for stage, quantiles in m.stages.items():
            for quantile, ms in quantiles.items():
                if ms is not None:
                    stages.add_sample(name, {"stage": stage, "quantile": quantile}, ms / 1000)
        yield stages
        yield _gauge(
            "drift_index",
            "Population stability index of the last 24 hours: classes against training and the day before, and confidence",
            m.drift,
            "against",
        )
        yield _gauge("newest_timestamp_seconds", "event_time of the newest row of the last 24 hours", {"": m.newest})


def _gauge(name: str, meaning: str, values: Mapping[str, float | int | None], label: str = "") -> Metric:
    gauge = GaugeMetricFamily(_PREFIX + name, meaning, labels=[label] if label else [])
    for of, value in values.items():
        if value is not None:
            gauge.add_metric([of] if label else [], float(value))
    return gauge
