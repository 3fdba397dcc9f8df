"""Every panel's figures on the embedded rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from imagewarehouse.analytics.embedded import EmbeddedEngine
from imagewarehouse.analytics.panels import PANELS, Request
from imagewarehouse.errors import AnalyticsUnavailable
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows.embedded import LocalRows
from tests import analytics_rows
from tests.analytics_suite import check, check_pages, each_panel, each_request


@pytest.fixture(scope="module")
def found() -> Sequence[ImageRecord]:
    return analytics_rows.records()


@pytest.fixture(scope="module")
def engine(found: Sequence[ImageRecord], tmp_path_factory: pytest.TempPathFactory) -> EmbeddedEngine:
    database = tmp_path_factory.mktemp("rows") / "rows.duckdb"
    store = LocalRows(database)
    assert store.write(found) == [None] * len(found)
    store.close()
    return EmbeddedEngine(database)


@each_request
@each_panel
def test_figures(engine: EmbeddedEngine, found: Sequence[ImageRecord], panel: str, asked: Request) -> None:
    check(engine, panel, asked, found)


def test_pages(engine: EmbeddedEngine, found: Sequence[ImageRecord]) -> None:
    check_pages(engine, found)


@each_panel
def test_before_the_first_row(tmp_path: Path, panel: str) -> None:
    from tests.analytics_suite import REQUESTS

    check(EmbeddedEngine(tmp_path / "rows.duckdb"), panel, REQUESTS["today"], [])


def test_a_file_that_is_gone_is_no_empty_warehouse(found: Sequence[ImageRecord], tmp_path: Path) -> None:
    from tests.analytics_suite import REQUESTS

    store = LocalRows(tmp_path / "rows.duckdb")
    store.write(found[:1])
    store.close()
    engine = EmbeddedEngine(tmp_path / "rows.duckdb")
    assert PANELS["totals"](engine, REQUESTS["today"]).rows
    (tmp_path / "rows.duckdb").unlink()
    with pytest.raises(AnalyticsUnavailable, match="is gone"):
        PANELS["totals"](engine, REQUESTS["today"])
