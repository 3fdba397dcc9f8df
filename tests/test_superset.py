"""The bundles for Superset: up to date, whole in themselves, and really imported into a Superset 6.1 that draws each chart.

The second part takes minutes and 802 MB of Superset: make test-superset.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from imagewarehouse.analytics.dialects import DuckDb
from imagewarehouse.cli.main import call
from imagewarehouse.metadata import COLUMNS
from imagewarehouse.ports import free_ports
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
    assert [column["column_name"] for column in dataset["columns"]] == [column.name for column in COLUMNS]
    known = {column.name for column in COLUMNS}
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


class Superset:
    """A Superset of its own, with the bundles of all engines; `get` and `post` as its administrator."""

    def __init__(self, folder: Path, duckdb_uri: str) -> None:
        self._bin = SUPERSET / "bin"
        (self._port,) = free_ports(1)
        config = folder / "superset_config.py"
        config.write_text(
            "SECRET_KEY = 'only for this test'\nPREVENT_UNSAFE_DB_CONNECTIONS = False\nWTF_CSRF_ENABLED = False\n"
            f"SQLALCHEMY_DATABASE_URI = 'sqlite:///{folder / 'superset.db'}'\nRATELIMIT_ENABLED = False\n"
        )
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "SUPERSET_CONFIG_PATH": str(config), "FLASK_APP": "superset", "SUPERSET_HOME": str(folder),
        }  # fmt: skip
        self._run("db", "upgrade")
        self._run("fab", "create-admin", "--username", "admin", "--firstname", "a", "--lastname", "b",
                  "--email", "a@example.org", "--password", "admin")  # fmt: skip
        self._run("init")
        for engine in ENGINES.values():
            path = folder / f"{engine.name}.zip"
            path.write_bytes(bundle(engine, duckdb_uri if engine.name == "duckdb" else None))
            self._run("import-dashboards", "-p", str(path), "-u", "admin")
        self._log = (folder / "superset.log").open("w")
        self._process = subprocess.Popen(
            [self._bin / "gunicorn", "-w", "1", "-k", "gthread", "--threads", "4", "-b", f"127.0.0.1:{self._port}",
             "--timeout", "300", "superset.app:create_app()"],
            env=self._environment, cwd=folder, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=120)
        end = time.monotonic() + 180
        while not self._is_up():
            assert time.monotonic() < end, (folder / "superset.log").read_text()[-2000:]
            time.sleep(0.5)
        login = {"username": "admin", "password": "admin", "provider": "db", "refresh": False}
        token = self._client.post("/api/v1/security/login", json=login).json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str) -> Any:
        answer = self._client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:600]}"
        return answer.json()

    def close(self) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(30)
        self._log.close()

    def _is_up(self) -> bool:
        try:
            return self._client.get("/health").status_code == 200
        except httpx.HTTPError:
            return False

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            [self._bin / "superset", *words], env=self._environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{words}: {done.stderr[-3000:]}"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("rows")
    assert call(["demo-data", "--data", str(data), "--rows", "20000", "--days", "40", "--until", NOW.isoformat()]) == 0
    return data / "rows.duckdb"


@pytest.fixture(scope="module")
def superset(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Superset]:
    if not (SUPERSET / "bin" / "superset").exists():
        pytest.skip("needs a Superset: make test-superset")
    running = Superset(tmp_path_factory.mktemp("superset"), f"duckdb:///{rows}?access_mode=read_only")
    yield running
    running.close()


@pytest.mark.services
@pytest.mark.timeout(1800)
def test_the_bundles_are_imported(superset: Superset) -> None:
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
def data(superset: Superset) -> Mapping[str, list[dict[str, Any]]]:
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
