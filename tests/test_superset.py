"""The bundles for Superset: up to date, whole in themselves, and really imported into a Superset 6.1 that draws each chart.

The second part takes minutes and 802 MB of Superset: make test-superset.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from imagewarehouse.metadata import COLUMNS
from imagewarehouse.rows.embedded import LocalRows
from tests.superset_charts import Superset, check, records
from tools.superset.__main__ import FOLDER, files
from tools.superset.charts import CHARTS
from tools.superset.dataset import ENGINES, METRICS, Engine

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
        # What a browser asks for is in the settings, what reports ask for in the query.
        assert one["params"]["row_limit"] == query["row_limit"]
        assert one["params"].get("limit", 0) == query["series_limit"]
        if query["series_limit"]:
            assert query["row_limit"] >= query["series_limit"] * 366
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
# Superset asks Trino for its catalogs while it imports: test_superset_sql.py.


@pytest.mark.services
@pytest.mark.timeout(900)
def test_each_chart_draws_what_is_in_the_rows(tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    found = records(now)
    store = LocalRows(tmp_path / "rows.duckdb")
    assert store.write(found) == [None] * len(found)
    store.close()
    uri = f"duckdb:///{tmp_path / 'rows.duckdb'}?access_mode=read_only"
    superset = Superset(tmp_path, ENGINES["duckdb"], uri)
    superset.check_import()
    check(superset.drawn_by_api(), found, now)
    with superset.opened() as (page, drawn):
        check(drawn, found, now)
        cards = page.locator(".header-line").all_inner_texts()
    assert f"{drawn['Images'][0]['images']:,}" in cards
    assert f"{drawn['Rejected'][0]['rejected_share']:.1%}" in cards


@pytest.mark.services
@pytest.mark.timeout(900)
def test_the_bundle_for_impala_is_imported(tmp_path: Path) -> None:
    Superset(tmp_path, ENGINES["impala"]).check_import()
