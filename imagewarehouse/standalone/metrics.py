"""Prometheus metrics of the standalone runner: of one process, or of all that serve together.

Whichever process is asked for /metrics asks the others for theirs. What waits is added up. Counters and histograms stay apart
by `worker`: one that is started again counts from 0, and a sum that falls would be taken for a restart of the whole service.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from imagewarehouse.standalone.engine import Engine
from imagewarehouse.standalone.server import Response

Others = Callable[[], Awaitable[Mapping[int, bytes]]]

_ENABLED = "imagewarehouse_store_enabled"
_COUNTING = ("counter", "histogram")
_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """What /metrics shows. The engine's own counters are read when asked for, so they cost nothing on the way."""

    def __init__(self, engine: Engine, switched_off: list[str]) -> None:
        """`switched_off`: names of processors whose store has no address."""
        self._worker = 0
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

    def ask(self, worker: int, others: Others) -> None:
        """`worker`: the number of this process. `others` gives the metrics of those beside it, by number, as `text` of each."""
        self._worker, self._others = worker, others

    def text(self) -> bytes:
        """Of this process alone, in Prometheus' text format."""
        return generate_latest(self._registry)

    async def response(self) -> Response:
        others = {} if self._others is None else await self._others()
        text = of_workers({self._worker: self.text(), **others})
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


def of_workers(texts: Mapping[int, bytes]) -> bytes:
    """One text of several processes' metrics, by their numbers: counters of each, of gauges the sum, of switches the least."""
    families: dict[str, Metric] = {}
    values: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for worker, text in sorted(texts.items()):
        for family in text_string_to_metric_families(text.decode()):
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            of_each = {"worker": str(worker)} if family.type in _COUNTING or family.name.endswith("_created") else {}
            for sample in family.samples:
                key = (family.name, sample.name, tuple({**sample.labels, **of_each}.items()))
                both = [values[key], sample.value] if key in values else [sample.value]
                values[key] = min(both) if sample.name == _ENABLED else sum(both)
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
