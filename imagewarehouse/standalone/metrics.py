"""Prometheus metrics of the standalone runner."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from imagewarehouse.standalone.engine import Engine
from imagewarehouse.standalone.server import Response

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """What /metrics shows. The engine's own counters are read when asked for, so they cost nothing on the way."""

    def __init__(self, engine: Engine, switched_off: list[str]) -> None:
        """`switched_off`: names of processors whose store has no address."""
        self._engine = engine
        self._switched_off = switched_off
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "imagewarehouse_http_request_seconds", "Answered requests by listener and status", ["listener", "status"],
            buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self._series: dict[tuple[str, int], Histogram] = {}
        self._registry.register(self)

    def answered(self, listener: str, status: int, seconds: float) -> None:
        series = self._series.get((listener, status))
        if series is None:  # looking them up by their labels costs more than the rest
            series = self._series[listener, status] = self._requests.labels(listener, str(status))
        series.observe(seconds)

    def response(self) -> Response:
        return Response(200, generate_latest(self._registry), {"Content-Type": "text/plain; version=0.0.4"})

    def collect(self) -> Iterator[Metric]:
        routed = CounterMetricFamily(
            "imagewarehouse_flowfiles", "FlowFiles by processor and relationship", labels=["processor", "relationship"]
        )
        seconds = CounterMetricFamily("imagewarehouse_task_seconds", "Time spent in tasks", labels=["processor"])
        queued = GaugeMetricFamily(
            "imagewarehouse_queued", "FlowFiles waiting in front of a processor", labels=["processor"]
        )
        for node in list(self._engine.nodes.values()):
            name = node.component.name
            for relationship, count in list(node.routed.items()):
                routed.add_metric([name, relationship], count)
            if node.incoming:
                seconds.add_metric([name], node.seconds)
                queued.add_metric([name], sum(q.count for q in node.incoming))
        yield from (routed, seconds, queued)
        yield GaugeMetricFamily(
            "imagewarehouse_parked", "FlowFiles in dead letters", value=sum(q.count for q in self._engine.parked)
        )
        enabled = GaugeMetricFamily(
            "imagewarehouse_store_enabled", "0: the store has no address and is switched off", labels=["processor"]
        )
        for node in list(self._engine.nodes.values()):
            if node.component.type.startswith("Put"):
                enabled.add_metric([node.component.name], 0 if node.component.name in self._switched_off else 1)
        yield enabled
