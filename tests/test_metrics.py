"""Names and units of metrics as Prometheus wants them, and a configuration and alerts that ask for what there is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from imagewarehouse.analytics import exposition
from imagewarehouse.analytics.demo import CLASSES, History
from imagewarehouse.analytics.embedded import EmbeddedEngine
from imagewarehouse.analytics.parameters import read_question
from imagewarehouse.analytics.service import QueryService
from imagewarehouse.deployment import status_metrics
from imagewarehouse.errors import BadParameter
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.rows.whole_local import WholeLocal
from imagewarehouse.standalone.metrics import Metrics
from tests.running import Service, post

FOLDER = REPOSITORY / "analytics" / "prometheus"
DOCS = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
NOW = datetime(2026, 11, 30, 10, 0, tzinfo=timezone.utc)  # a Monday
TRAINING = dict.fromkeys(CLASSES, 5000)
STATUS: dict[str, Any] = {
    "ok": True, "problems": ["one"], "disks": [{"repository": "content", "node": "n", "used_bytes": 1, "total_bytes": 2}],
    "group": {"components": 3, "running": 3}, "queues": [{"group": "g", "flowfiles": 1, "bytes": 2}], "dead_letters": [],
    "endpoints": [{"url": "http://h", "answers": True}],
    "slowed_by": {"full_queues": 0, "failing_components": 0, "content_archive": False},
}  # fmt: skip


class _NoEngine:
    nodes: dict[str, Any] = {}
    parked: list[Any] = []


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedEngine:
    path = tmp_path_factory.mktemp("rows") / "rows.duckdb"
    table = WholeLocal(path, create=True)
    for page in History(3, 9000, NOW).pages():
        table.write(page)
    table.close()
    return EmbeddedEngine(path)


@pytest.fixture(scope="module")
def families(engine: EmbeddedEngine) -> dict[str, Metric]:
    """Everything that we say, by name."""
    metrics = Metrics(_NoEngine(), [])  # type: ignore[arg-type]
    metrics.answered("classify", 200, 0.1)
    texts = (metrics.text(), exposition.text(engine, NOW, TRAINING), status_metrics.text(STATUS).encode())
    return {family.name: family for text in texts for family in text_string_to_metric_families(text.decode("utf-8"))}


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("imagewarehouse_rows_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


# --- names --------------------------------------------------------------------------------------------------------

_UNITS = (
    "milliseconds",
    "ms",
    "microseconds",
    "us",
    "minutes",
    "hours",
    "days",
    "kilobytes",
    "kb",
    "megabytes",
    "mb",
    "percent",
)
_TYPES = ("gauge", "counter", "histogram", "summary")


def complaints(family: Metric) -> Iterator[str]:
    """What `promtool check metrics` says of a metric."""
    words = family.name.split("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", family.name):
        yield "not lower case with underscores"
    if not family.documentation.strip():
        yield "no help text"
    if set(words) & set(_UNITS):
        yield "not in a base unit"
    if set(words) & set(_TYPES):
        yield "its type in the name"
    if family.type != "counter" and family.name.endswith(("_total", "_count", "_sum", "_bucket")):
        yield "an end that means something else"
    for sample in family.samples:
        if family.type == "counter" and not sample.name.endswith(("_total", "_created")):
            yield "a counter without _total"
        for label in sample.labels:
            if not re.fullmatch(r"[a-z][a-z_]*", label):
                yield f"the label {label}"
            if label == "quantile" and family.type != "summary":
                yield "a quantile of what is no summary"


def test_names_follow_the_conventions(families: dict[str, Metric]) -> None:
    assert len(families) > 20
    assert [(name, word) for name, family in families.items() for word in complaints(family)] == []


def test_each_is_in_the_docs(families: dict[str, Metric]) -> None:
    for name, family in families.items():
        if not name.endswith("_created"):
            assert f"`{name}{'_total' if family.type == 'counter' else ''}`" in DOCS


# --- what rows say ------------------------------------------------------------------------------------------------


def test_what_the_rows_say_is_what_the_rows_are(engine: EmbeddedEngine) -> None:
    found = samples(exposition.text(engine, NOW, TRAINING))
    since = NOW - timedelta(minutes=15)
    rows = [r for page in History(3, 9000, NOW).pages() for r in page.to_pylist() if since <= r["event_time"] < NOW]
    assert len(rows) > 20
    for status in ("accepted", "rejected", "classified", "failed"):
        assert found["recent_images", status] == sum(r["status"] == status for r in rows)
    assert found["recent_size_bytes",] == sum(r["size_bytes"] for r in rows)
    sure = [r["confidence"] for r in rows if r["confidence"] is not None]
    assert found["recent_confidence_ratio",] == pytest.approx(sum(sure) / len(sure), abs=1e-5)
    totals = sorted(r["total_ms"] for r in rows)
    assert found["recent_stage_seconds", "0.5", "total"] == pytest.approx(
        totals[(len(totals) + 1) // 2 - 1] / 1000, rel=0.011
    )
    assert found["newest_timestamp_seconds",] == pytest.approx(
        rows and max(r["event_time"] for r in rows).timestamp(), abs=0.001
    )
    assert found["drift_index", "training"] > 0.1


def test_without_rows_nothing_is_made_up(tmp_path: Path) -> None:
    found = samples(exposition.text(EmbeddedEngine(tmp_path / "rows.duckdb"), NOW, {}))
    assert found["recent_images", "classified"] == 0
    assert not any(key[0] in ("newest_timestamp_seconds", "drift_index", "recent_stage_seconds") for key in found)


def test_many_who_ask_cost_one_answer(engine: EmbeddedEngine) -> None:
    service = QueryService(engine, lambda: TRAINING, now=lambda: NOW)

    async def ask() -> list[bytes]:
        return [answer.body for answer in await asyncio.gather(*(service.metrics() for _ in range(20)))]

    bodies = asyncio.run(ask())
    assert len(set(bodies)) == 1
    service.close()


def test_served_to_whoever_may_read(tmp_path: Path) -> None:
    keys = "camera:0123456789abcdef prometheus/read:fedcba9876543210"
    with Service(tmp_path / "data", {"access.keys": keys}) as service:
        url = service.classify_url.replace("/classify", "/api/metrics")
        statuses = [
            post(url, b"", {"X-Access-Key": key} if key else {}, method="GET").status for key in ("", keys[7:23])
        ]
        assert statuses == [401, 403]
        answer = post(url, b"", {"X-Access-Key": "fedcba9876543210"}, method="GET")
        if answer.status == 503:  # a busy machine: it has taken longer than a query may
            answer = post(url, b"", {"X-Access-Key": "fedcba9876543210"}, method="GET")
        assert answer.status == 200, service.output()[-2000:]
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert samples(answer.body)["recent_images", "classified"] == 0


# --- what Grafana writes ------------------------------------------------------------------------------------------


def test_variables_of_grafana_are_filters() -> None:
    query = "var-class=cat&var-class=dog&var-source=%24__all&var-model=demo-cifar10%2F2"
    filters = read_question("totals", query, NOW).request.filters
    assert (filters.classes, filters.sources, filters.models) == (("cat", "dog"), (), ("demo-cifar10/2",))
    assert (
        read_question("totals", query, NOW).key
        == read_question("totals", "class=dog&class=cat&model=demo-cifar10/2", NOW).key
    )


def test_a_variable_without_a_value_is_no_filter() -> None:
    assert read_question("totals", "var-class=&class=", NOW).request.filters.classes == ()


@pytest.mark.parametrize("query", ["var-tz=UTC", "var-=x", "var-nothing=x", "class=$__all"])
def test_nothing_else_is_passed_over(query: str) -> None:
    if query == "class=$__all":  # a class may be called so
        assert read_question("totals", query, NOW).request.filters.classes == ("$__all",)
        return
    with pytest.raises(BadParameter):
        read_question("totals", query, NOW)


# --- configuration ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    groups = YAML(typ="safe").load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    assert [set(group) for group in groups] == [{"name", "rules"}] * len(groups)
    return [rule for group in groups for rule in group["rules"]]


def metrics_of(expression: str) -> set[str]:
    """The metrics that a query of PromQL asks for; it fails where it is none."""
    found: set[str] = set()

    def note(part: Any) -> None:
        if isinstance(part, promql_parser.VectorSelector):
            found.add(part.name)
        elif isinstance(part, promql_parser.MatrixSelector):
            found.add(part.vector_selector.name)

    promql_parser.walk(promql_parser.parse(expression), note)
    return found


def test_alerts_ask_for_metrics_that_there_are(rules: list[dict[str, Any]], families: dict[str, Metric]) -> None:
    ours = {"up"} | {sample.name for family in families.values() for sample in family.samples} | set(families)
    for rule in rules:
        asked = metrics_of(rule["expr"])
        assert asked
        for name in asked:
            assert name in ours if name.startswith(("imagewarehouse", "up")) else f"`{name}`" in DOCS


def test_alerts_say_what_to_do(rules: list[dict[str, Any]]) -> None:
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+m", rule.get("for", "1m"))
        assert f"| {rule['alert']} |" in DOCS


def test_the_configuration_names_its_files_and_its_paths() -> None:
    loaded = YAML(typ="safe").load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    assert set(loaded) == {"global", "rule_files", "scrape_configs"}
    assert [(FOLDER / name).is_file() for name in loaded["rule_files"]] == [True]
    paths = {job["job_name"]: job.get("metrics_path", "/metrics") for job in loaded["scrape_configs"]}
    assert paths == {
        "image-warehouse": "/metrics", "image-warehouse-rows": "/api/metrics", "node": "/metrics",
        "nifi": "/nifi-api/flow/metrics/prometheus", "kudu": "/metrics_prometheus",
    }  # fmt: skip
    assert all(job["static_configs"][0]["targets"] for job in loaded["scrape_configs"])
