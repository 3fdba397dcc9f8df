"""Every panel's figures on the embedded rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from imagewarehouse.analytics import embedded, pictures
from imagewarehouse.analytics.embedded import EmbeddedEngine
from imagewarehouse.analytics.panels import PANELS, Request
from imagewarehouse.analytics.periods import between
from imagewarehouse.errors import AnalyticsUnavailable
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows.embedded import LocalRows
from tests import analytics_rows
from tests.analytics_suite import REQUESTS, check, check_pages, each_panel, each_request

NOW = datetime(2026, 6, 10, 12, tzinfo=timezone.utc)


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
def test_a_panel_opens_the_file_once(engine: EmbeddedEngine, panel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    open_file = embedded.reading
    monkeypatch.setattr(embedded, "reading", lambda *args, **more: opened.append(args) or open_file(*args, **more))
    PANELS[panel](engine, REQUESTS["today"])
    assert len(opened) == 1


@pytest.mark.parametrize("at_once", [50, 700])
@pytest.mark.parametrize("panel", ["totals", "duplicates"])
def test_more_pictures_than_are_held_at_once(
    engine: EmbeddedEngine, found: Sequence[ImageRecord], panel: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_AT_ONCE", at_once)
    for asked in REQUESTS.values():
        check(engine, panel, asked, found)


def test_two_pictures_whose_ids_begin_alike_are_no_duplicates(
    record: Callable[..., ImageRecord], tmp_path: Path
) -> None:
    beginning = "ab" * 8
    store = LocalRows(tmp_path / "rows.duckdb")
    sent = [beginning + digit * 48 for digit in "0112"] + ["c" * 64] * 2
    store.write([record(image_id=image_id, event_time=NOW) for image_id in sent])
    store.close()
    asked = Request(period=between(NOW, NOW + timedelta(hours=1)), tz=ZoneInfo("UTC"))
    rows = PANELS["duplicates"](EmbeddedEngine(tmp_path / "rows.duckdb"), asked).rows
    assert [row[:2] for row in rows] == [(beginning + "1" * 48, 2), ("c" * 64, 2)]


@each_panel
def test_before_the_first_row(tmp_path: Path, panel: str) -> None:
    check(EmbeddedEngine(tmp_path / "rows.duckdb"), panel, REQUESTS["today"], [])


def test_a_file_that_is_gone_is_no_empty_warehouse(found: Sequence[ImageRecord], tmp_path: Path) -> None:
    store = LocalRows(tmp_path / "rows.duckdb")
    store.write(found[:1])
    store.close()
    engine = EmbeddedEngine(tmp_path / "rows.duckdb")
    assert PANELS["totals"](engine, REQUESTS["today"]).rows
    (tmp_path / "rows.duckdb").unlink()
    with pytest.raises(AnalyticsUnavailable, match="is gone"):
        PANELS["totals"](engine, REQUESTS["today"])
