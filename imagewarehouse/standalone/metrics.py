"""Prometheus metrics of the standalone runner: of one process, or of all that serve together.

Whichever process is asked for /metrics asks the others for theirs and adds them up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from imagewarehouse.standalone.engine import Engine
from imagewarehouse.standalone.server import Response

Others = Callable[[], Awaitable[Sequence[bytes]]]

_ENABLED = "imagewarehouse_store_enabled"
_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """What /metrics shows. The engine's own counters are read when asked for, so they cost nothing on the way."""

    def __init__(self, engine: Engine, switched_off: list[str]) -> None:
        """`switched_off`: names of processors whose store has no address."""
        self._engine = engine
        self._switched_off = switched_off
        self._others: Others | None = None
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

    def ask(self, others: Others) -> None:
        """`others` gives the metrics of the other processes, as `text` of each."""
        self._others = others

    def text(self) -> bytes:
        """Of this process alone, in Prometheus' text format."""
        return generate_latest(self._registry)

    async def response(self) -> Response:
        text = self.text()
        if self._others is not None:
            text = added_up([text, *await self._others()])
        return Response(200, text, {"Content-Type": "text/plain; version=0.0.4"})

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
        yield GaugeMetricFamily("imagewarehouse_workers", "Processes whose numbers are in here", value=1)
        enabled = GaugeMetricFamily(_ENABLED, "0: the store has no address and is switched off", labels=["processor"])
        for node in list(self._engine.nodes.values()):
            if node.component.type.startswith("Put"):
                enabled.add_metric([node.component.name], 0 if node.component.name in self._switched_off else 1)
        yield enabled


def added_up(texts: Sequence[bytes]) -> bytes:
    """One text of several processes' metrics: the sum of each sample, of times and switches the least."""
    families: dict[str, Metric] = {}
    values: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for text in texts:
        for family in text_string_to_metric_families(text.decode()):
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                key = (family.name, sample.name, tuple(sample.labels.items()))
                least = sample.name == _ENABLED or sample.name.endswith("_created")
                before = values.get(key)
                values[key] = (
                    sample.value if before is None else min(before, sample.value) if least else before + sample.value
                )
    for (name, sample_name, labels), value in values.items():
        families[name].add_sample(sample_name, dict(labels), value)
    registry = CollectorRegistry()
    registry.register(_Fixed(list(families.values())))
    return generate_latest(registry)


class _Fixed:
    """A collector of metrics that are known."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics
