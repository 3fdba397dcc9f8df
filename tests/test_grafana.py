"""The files for Grafana: up to date, of Grafana's form, and each query of theirs answered by the query service over HTTP.

A Grafana server is not to be had here. So its part is played: variables and times are put into each URL as Grafana and its
Infinity data source put them in, and columns are taken out of the answers as the data source takes them.
"""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("grafana_foundation_sdk", reason="Grafana's SDK needs Python 3.11")

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.alerting import Rule
from grafana_foundation_sdk.models.dashboard import Dashboard
from ruamel.yaml import YAML

from imagewarehouse.cli.main import call
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.running import Service, dashboard, post
from tests.sql_services import show_kudu, spark_running
from tests.test_metrics import DOCS, metrics_of
from tools.grafana.__main__ import FOLDER, files
from tools.grafana.infinity import TYPE

BOARDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / "dashboards").glob("*.json"))
}
RULES = json.loads((FOLDER / "provisioning" / "alerting" / "rules.json").read_text(encoding="utf-8"))
END = datetime(2026, 11, 30, 12, 0, tzinfo=timezone.utc)  # a Monday noon

Target = Mapping[str, Any]


def targets(board: Mapping[str, Any]) -> Iterator[tuple[str, Target]]:
    """(title, target) of each panel, and each variable's query."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]["infinityQuery"]


ASKED = [
    pytest.param(target, id=f"{name}: {title}")
    for name, board in BOARDS.items()
    for title, target in targets(board)
    if target["datasource"]["type"] == TYPE
]
ALERTS = [
    pytest.param(rule, query, id=f"{rule['uid']}-{query['refId']}")
    for group in RULES["groups"]
    for rule in group["rules"]
    for query in rule["data"]
    if query["datasourceUid"] != "__expr__"
]


# --- the files ----------------------------------------------------------------------------------------------------


def test_the_files_are_up_to_date() -> None:
    written = {str(path.relative_to(FOLDER)): path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.json")}
    assert written == files()


@pytest.mark.parametrize("name", BOARDS)
def test_grafanas_own_types_read_a_dashboard_and_write_the_same(name: str) -> None:
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(BOARDS[name]), cls=JSONEncoder))
    assert again == BOARDS[name]


def test_grafanas_own_types_read_the_rules() -> None:
    register_default_plugins()
    for group in RULES["groups"]:
        for rule in group["rules"]:
            again = json.loads(json.dumps(Rule.from_json(rule), cls=JSONEncoder))
            assert {name: again[name] for name in rule} == rule


def test_uids_and_ids_are_distinct() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == 3
    uids = [rule["uid"] for group in RULES["groups"] for rule in group["rules"]]
    assert len(set(uids)) == len(uids) >= 5
    assert all(len(uid) <= 40 for uid in uids)
    for board in BOARDS.values():
        ids = [panel["id"] for panel in board["panels"]]
        assert ids == sorted(set(ids))


@pytest.mark.parametrize("name", BOARDS)
def test_panels_do_not_lie_on_each_other(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_each_dashboard_has_the_five_periods_and_the_variables() -> None:
    for board in BOARDS.values():
        links = [link["title"] for link in board["links"] if link["type"] == "link"]
        assert links == ["Today", "Yesterday", "7 days ago", "Last week", "30 days ago"]
        assert [option["display"] for option in board["timepicker"]["quick_ranges"]] == links
        assert {"class", "source", "model"} <= {variable["name"] for variable in board["templating"]["list"]}


def test_every_panel_of_the_query_service_is_shown() -> None:
    from imagewarehouse.analytics.panels import PANELS

    shown = {
        re.match(r"/api/queries/([a-z-]+)\?", target["url"])[1]  # type: ignore[index]
        for board in BOARDS.values()
        for _, target in targets(board)
        if "url" in target
    }
    assert shown == set(PANELS)


def test_prometheus_is_asked_for_metrics_that_are_listed() -> None:
    for board in BOARDS.values():
        for title, target in targets(board):
            if "expr" not in target:
                continue
            for name in metrics_of(target["expr"].replace("$__rate_interval", "1m")):
                plain = re.sub(r"_(count|bucket)$", "", name)
                assert f"`{plain}`" in DOCS, f"{title}: {name}"


def test_provisioning_names_the_sources_that_dashboards_use() -> None:
    yaml = YAML(typ="safe")
    sources = yaml.load((FOLDER / "provisioning" / "datasources" / "image-warehouse.yaml").read_text(encoding="utf-8"))
    known = {source["uid"]: source["type"] for source in sources["datasources"]}
    used = {
        target["datasource"]["uid"]: target["datasource"]["type"]
        for board in BOARDS.values()
        for _, target in targets(board)
    }
    assert used == known
    assert {q["datasourceUid"] for group in RULES["groups"] for r in group["rules"] for q in r["data"]} == {
        "image-warehouse", "__expr__",
    }  # fmt: skip
    (provider,) = yaml.load((FOLDER / "provisioning" / "dashboards" / "image-warehouse.yaml").read_text())["providers"]
    assert provider["options"]["path"]


# --- every query, over HTTP ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["embedded rows", pytest.param("HiveServer2 over Kudu", marks=pytest.mark.sql)])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a query service whose rows are demo data up to END."""
    folder = tmp_path_factory.mktemp("grafana")
    made = ["demo-data", "--rows", "20000", "--days", "40", "--until", END.isoformat()]
    if request.param == "embedded rows":
        assert call([*made, "--data", str(folder / "data")]) == 0
        with Service(folder / "data") as running:
            yield f"http://127.0.0.1:{running.classify_port}"
        return
    kudu: LocalKudu = request.getfixturevalue("kudu")
    table = f"image_events_{uuid.uuid4().hex}"
    assert call([*made, "--masters", kudu.masters, "--table", table]) == 0
    with spark_running(folder) as spark:
        show_kudu(spark.port, kudu.masters, table)
        asked = ["--impala", f"127.0.0.1:{spark.port}", "--dialect", "spark", "--auth", "NOSASL"]
        with dashboard(folder / "dashboard.log", *asked) as address:
            yield address


def filled(url: str, since: datetime, until: datetime, chosen: Mapping[str, list[str]] | None = None) -> str:
    """A URL as it leaves Grafana."""
    for name, moment in (("timeFrom", since), ("timeTo", until)):
        url = url.replace(f"${{__{name}:date:iso}}", moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    for name in ("class", "source", "model"):
        values = (chosen or {}).get(name, ["$__all"])
        url = url.replace(
            f"${{{name}:queryparam}}", "&".join(f"var-{name}={quote(value, safe='')}" for value in values)
        )
    url = url.replace("${tz}", "Europe/Berlin").replace("${threshold}", "0.6")
    assert "$" not in url
    return url


def ask(service: str, url: str) -> Any:
    """CSV as rows of dictionaries, or JSON."""
    answer = post(f"{service}{url}", b"", method="GET")
    assert answer.status == 200, answer.body[:300]
    if answer.headers["Content-Type"].startswith("text/csv"):
        return list(csv.DictReader(io.StringIO(answer.body.decode("utf-8"))))
    return answer.json()


def check_columns(target: Target, answer: Any) -> None:
    """That the answer has what the data source takes out of it, of the type that it takes it for."""
    if target["type"] == "json":
        answer = [answer[target["root_selector"]]]
    assert answer
    for row in answer:
        for column in target["columns"]:
            value = row[column["selector"]]
            if value in ("", None):
                continue
            if column["type"] == "number":
                float(value)
            elif column["type"] == "timestamp":
                assert datetime.fromisoformat(value).tzinfo is not None


@pytest.mark.parametrize("target", ASKED)
def test_each_query_of_a_panel_is_answered_with_its_columns(service: str, target: Target) -> None:
    week = (END - timedelta(days=7), END)
    check_columns(target, ask(service, filled(target["url"], *week)))
    if "${class" in target["url"]:
        chosen = {"class": ["cat", "dog"], "source": ["203.0.113.10", "203.0.113.11"], "model": ["4"]}
        narrow = ask(service, filled(target["url"], *week, chosen))
        # Drift also shows the classes of the training, which no filter chooses.
        for row in narrow if isinstance(narrow, list) and "/drift?" not in target["url"] else ():
            assert row.get("predicted_class", "cat") in ("cat", "dog")
    empty = ask(service, filled(target["url"], END + timedelta(days=1), END + timedelta(days=2)))
    assert isinstance(empty, (list, dict))


def test_filters_of_the_expressions_choose_a_row(service: str) -> None:
    """`measure == 'images'` is Infinity's to apply; here: that there is one such row."""
    chosen = 0
    for parameter in ASKED:
        (target,) = parameter.values
        if match := re.fullmatch(r"(\w+) == '(\w+)'", target["filterExpression"]):
            answer = ask(service, filled(target["url"], END - timedelta(days=1), END))
            assert sum(row[match[1]] == match[2] for row in answer) == 1
            chosen += 1
    assert chosen == 8


def test_pictures_of_the_table_of_times_are_columns_of_it(service: str) -> None:
    """Images over time: each class once in each column, as the panel's transformations take for granted."""
    (target,) = (p.values[0] for p in ASKED if "status=classified" in p.values[0]["url"])
    answer = ask(service, filled(target["url"], END - timedelta(days=7), END))
    pairs = [(row["start"], row["predicted_class"]) for row in answer]
    assert len(set(pairs)) == len(pairs) > 30


# --- alerts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "query"), ALERTS)
def test_each_query_of_an_alert_gives_one_number(service: str, rule: Mapping[str, Any], query: Any) -> None:
    model = query["model"]
    length = timedelta(seconds=query["relativeTimeRange"]["from"])
    answer = ask(service, filled(model["url"], END - length, END))
    if model["root_selector"]:
        value = answer["facts"][model["columns"][0]["selector"]]
        assert value is not None or "training" in rule["uid"]  # no model is served in this test
        return
    match = re.fullmatch(r"(\w+) == '(\w+)'", model["filterExpression"])
    assert match
    (row,) = (row for row in answer if row[match[1]] == match[2])
    assert float(row[re.fullmatch(r"max\((\w+)\)", model["summarizeExpression"])[1]]) >= 0  # type: ignore[index]


def test_conditions_of_alerts_name_their_queries() -> None:
    for group in RULES["groups"]:
        for rule in group["rules"]:
            known: set[str] = set()
            for query in rule["data"]:
                expression = query["model"].get("expression", "")
                used = set(re.findall(r"\$([A-Z])", expression)) or ({expression} if expression else set())
                assert used <= known
                known.add(query["refId"])
            assert rule["condition"] in known
            assert set(rule["annotations"]) == {"summary", "description"}


def test_the_docs_name_every_dashboard() -> None:
    text = (REPOSITORY / "docs" / "dashboards.md").read_text(encoding="utf-8")
    for board in BOARDS.values():
        assert board["title"] in text
    assert Path("analytics/grafana").name in text
