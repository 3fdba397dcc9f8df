"""What `imagewarehouse status` finds, as Prometheus metrics.

NiFi has no endpoint of its own that tells of queues by group or of waits for its archive. Whatever runs the command each
minute can hand the text to a dashboard, for instance by the textfile collector of Prometheus' node exporter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PREFIX = "imagewarehouse_nifi_"


def text(facts: Mapping[str, Any]) -> str:
    """In Prometheus' text format. What could not be seen has no line, which a dashboard shows as a gap, not as zero."""
    registry = CollectorRegistry()
    registry.register(_Facts(facts))
    return generate_latest(registry).decode()


class _Facts(Collector):
    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        facts = self._facts
        yield _gauge("ok", "1: everything is valid and runs", [((), facts["ok"])])
        yield _gauge("problems", "Lines PROBLEM of imagewarehouse status", [((), len(facts["problems"]))])
        disks = facts["disks"] or ()
        where = [(disk["repository"], disk["node"]) for disk in disks]
        for name, meaning in (("used_bytes", "Used"), ("total_bytes", "Size")):
            values = zip(where, (disk[name] for disk in disks), strict=True)
            yield _gauge(f"disk_{name}", f"{meaning} of a repository's disk", values, "repository", "node")
        if facts["group"] is None:
            return
        yield _gauge("components", "Components of the flow", [((), facts["group"]["components"])])
        yield _gauge("components_running", "Those that run", [((), facts["group"]["running"])])
        for name, meaning in (("flowfiles", "FlowFiles"), ("bytes", "Bytes")):
            queued = [((queue["group"],), queue[name]) for queue in facts["queues"]]
            yield _gauge(f"queued_{name}", f"{meaning} that wait in the queues of a process group", queued, "group")
        yield _gauge(
            "dead_letter_queues", "Queues of dead letters that are not empty", [((), len(facts["dead_letters"]))]
        )
        answers = [((endpoint["url"],), endpoint["answers"]) for endpoint in facts["endpoints"]]
        yield _gauge("endpoint_answers", "1: the listener answers", answers, "url")
        slow = facts["slowed_by"]
        yield _gauge("full_queues", "Queues at their limit; the step before them waits", [((), slow["full_queues"])])
        yield _gauge("failing_components", "Components that go on failing", [((), slow["failing_components"])])
        yield _gauge(
            "waited_for_archive",
            "1: in the last five minutes NiFi's writes waited for its content archive",
            [((), slow["content_archive"])],
        )


def _gauge(name: str, meaning: str, values: Iterable[tuple[tuple[str, ...], Any]], *labels: str) -> Metric:
    gauge = GaugeMetricFamily(_PREFIX + name, meaning, labels=labels)
    for of, value in values:
        gauge.add_metric(of, float(value))
    return gauge
