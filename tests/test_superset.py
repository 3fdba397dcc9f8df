"""The bundles for Superset: up to date, whole in themselves, and really imported into a Superset 6.1 that draws each chart.

The second part takes minutes and 802 MB of Superset: make test-superset.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from imagewarehouse.analytics.dialects import DuckDb
from imagewarehouse.cli.main import call
from imagewarehouse.metadata import COLUMNS
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.rows.reading import read
from tools.superset.__main__ import FOLDER, bundle, files
from tools.superset.charts import CHARTS
from tools.superset.dataset import ENGINES, METRICS, Engine

SUPERSET = REPOSITORY / "build" / "services" / "superset"
each_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


def loaded(engine: Engine) -> dict[str, Any]:
    return {path: YAML(typ="safe").load(text) for path, text in files(engine).items()}


# --- the files ----------------------------------------------------------------------------------------------------


@each_engine
def test_the_files_are_up_to_date(engine: Engine) -> None:
    folder = FOLDER / engine.name
    written = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.yaml")}
    assert written == files(engine)


@each_engine
def test_a_bundle_is_whole_in_itself(engine: Engine) -> None:
    things = loaded(engine)
    by_kind = {
        kind: {p: t for p, t in things.items() if p.startswith(kind)} for kind in ("databases", "datasets", "charts")
    }
    (database,), (dataset,) = by_kind["databases"].values(), by_kind["datasets"].values()
    assert dataset["database_uuid"] == database["uuid"]
    names = [column.name for column in COLUMNS if column.name != "embedding"]  # no chart has a use for a vector
    assert [column["column_name"] for column in dataset["columns"]] == names
    known = set(names)
    charts = {thing["uuid"]: thing for thing in by_kind["charts"].values()}
    assert len(charts) == len(CHARTS)
    for one in charts.values():
        assert one["dataset_uuid"] == dataset["uuid"]
        (query,) = json.loads(one["query_context"])["queries"]
        assert {f["col"] for f in query["filters"]} <= known
        assert {column for column in query["columns"] if isinstance(column, str)} <= known
        assert set(query["metrics"] or ()) <= set(METRICS)
    (board,) = (thing for path, thing in things.items() if path.startswith("dashboards"))
    shown = [
        item["meta"]["uuid"]
        for item in board["position"].values()
        if isinstance(item, dict) and item["type"] == "CHART"
    ]
    assert sorted(shown) == sorted(charts)
    for row in (item for item in board["position"].values() if isinstance(item, dict) and item["type"] == "ROW"):
        assert sum(board["position"][child]["meta"]["width"] for child in row["children"]) <= 12


def test_no_two_engines_share_an_id() -> None:
    ids = [thing["uuid"] for engine in ENGINES.values() for thing in loaded(engine).values() if "uuid" in thing]
    assert len(set(ids)) == len(ids)


# --- in a Superset ------------------------------------------------------------------------------------------------

NOW = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)


class Answers:
    """What the API of a Superset answered, into which the bundles of all engines were imported."""

    def __init__(self, folder: Path, duckdb_uri: str) -> None:
        bundles = []
        for engine in ENGINES.values():
            path = folder / f"{engine.name}.zip"
            path.write_bytes(bundle(engine, duckdb_uri if engine.name == "duckdb" else None))
            bundles.append(str(path))
        done = subprocess.run(
            [SUPERSET / "bin" / "python", REPOSITORY / "tests" / "superset_run.py", folder, *bundles],
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True, text=True, timeout=1500,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        self._answers = json.loads(done.stdout.splitlines()[-1])

    def get(self, path: str) -> Any:
        answer = self._answers[path]
        assert answer["status"] == 200, f"{path}: {str(answer)[:800]}"
        return answer["body"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("rows")
    assert call(["demo-data", "--data", str(data), "--rows", "20000", "--days", "40", "--until", NOW.isoformat()]) == 0
    return data / "rows.duckdb"


@pytest.fixture(scope="module")
def superset(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    if not (SUPERSET / "bin" / "superset").exists():
        pytest.skip("needs a Superset: make test-superset")
    return Answers(tmp_path_factory.mktemp("superset"), f"duckdb:///{rows}?access_mode=read_only")


@pytest.mark.services
@pytest.mark.timeout(1800)
def test_the_bundles_are_imported(superset: Answers) -> None:
    titles = {board["dashboard_title"] for board in superset.get("/api/v1/dashboard/")["result"]}
    assert titles >= {f"Image Warehouse ({engine.title})" for engine in ENGINES.values()}
    names = {database["database_name"] for database in superset.get("/api/v1/database/")["result"]}
    assert names >= {f"Image Warehouse ({engine.title})" for engine in ENGINES.values()}
    assert superset.get("/api/v1/chart/")["count"] == len(CHARTS) * len(ENGINES)
    for engine in ENGINES.values():
        charts = superset.get(f"/api/v1/dashboard/image-warehouse-{engine.name}/charts")["result"]
        assert len(charts) == len(CHARTS)
        (dataset,) = superset.get(f"/api/v1/dashboard/image-warehouse-{engine.name}/datasets")["result"]
        assert {metric["metric_name"] for metric in dataset["metrics"]} == set(METRICS)


@pytest.fixture(scope="module")
def data(superset: Answers) -> Mapping[str, list[dict[str, Any]]]:
    """What each chart of the dashboard for DuckDB draws, by its title."""
    charts = superset.get("/api/v1/dashboard/image-warehouse-duckdb/charts")["result"]
    answers = {chart["slice_name"]: superset.get(f"/api/v1/chart/{chart['id']}/data/?force=true") for chart in charts}
    return {title: answer["result"][0]["data"] for title, answer in answers.items()}


@pytest.mark.services
@pytest.mark.timeout(1800)
def test_each_chart_draws_what_is_in_the_rows(data: Mapping[str, list[dict[str, Any]]], rows: Path) -> None:
    assert set(data) == {one.title for one in CHARTS}
    assert all(data.values()), [title for title, drawn in data.items() if not drawn]

    def ask(sql: str) -> list[dict[str, Any]]:
        # As Superset reads "the last 30 days": its clock is that of UTC, and a second may lie between the two.
        since = DuckDb().moment(datetime.now(timezone.utc) - timedelta(days=30))
        found: list[dict[str, Any]] = read(rows, sql.replace("RANGE", f"event_time >= {since}")).to_pylist()
        return found

    (total,) = ask("SELECT count(*) AS images, count(DISTINCT source_ip) AS sources FROM image_events WHERE RANGE")
    assert data["Images"][0]["images"] == pytest.approx(total["images"], abs=30)
    assert data["Sources"][0].get("sources", data["Sources"][0].get("images")) is not None
    classes = {
        row["predicted_class"]: row["images"]
        for row in ask("SELECT predicted_class, count(*) AS images FROM image_events WHERE RANGE"
                       " AND predicted_class IS NOT NULL GROUP BY predicted_class")
    }  # fmt: skip
    drawn = {row["predicted_class"]: row["images"] for row in data["Most frequent objects"]}
    assert drawn == {name: pytest.approx(images, abs=30) for name, images in classes.items()}
    over_time: dict[str, int] = {}
    for row in data["Images by class"]:
        over_time[row["predicted_class"]] = over_time.get(row["predicted_class"], 0) + row["images"]
    assert over_time == {name: pytest.approx(images, abs=30) for name, images in classes.items()}
    assert {row["model_version"] for row in data["Versions of the model"]} <= {"1", "2", "3", "4"}
    assert all(row["images"] > 1 for row in data["Pictures that came more than once"])
    assert all(row["confidence"] < 0.6 for row in data["Latest images that the model was unsure of"])
    newest = ask("SELECT request_id FROM image_events ORDER BY event_time DESC, request_id DESC LIMIT 100")
    assert [row["request_id"] for row in data["Latest requests"]] == [row["request_id"] for row in newest]


def test_titles_are_those_of_the_docs() -> None:
    text = (REPOSITORY / "docs" / "dashboards.md").read_text(encoding="utf-8")
    assert re.search(r"analytics/superset", text)
