"""Rows for the dashboards in Superset, and what each of their charts has to draw, computed from the rows in plain Python."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from imagewarehouse.ids import new_request_id
from imagewarehouse.metadata import COLUMNS, ImageRecord
from imagewarehouse.ports import free_ports
from imagewarehouse.resources import REPOSITORY
from tests import analytics_rows as rows
from tests.dashboard import browser
from tests.object_services import Service, running
from tests.superset_run import LOGIN
from tools.superset.__main__ import bundle
from tools.superset.charts import CHARTS
from tools.superset.dataset import METRICS, TABLE, TIME, Engine

if TYPE_CHECKING:
    from playwright.sync_api import Page, Response

SUPERSET = REPOSITORY / "build" / "services" / "superset"
# It has packages of its own, and reads the time of its machine as if it were UTC.
_ALONE = {"PYTHONPATH": "", "TZ": "UTC"}

Drawn = Sequence[Mapping[str, Any]]
Records = Sequence[ImageRecord]

_DAYS = timedelta(days=30)  # of the charts
_SLACK = timedelta(minutes=45)  # a test may take as long


def records(now: datetime) -> list[ImageRecord]:
    """The three weeks of `rows.records`, a week of which lies before the 30 days of the charts.

    None lies where the 30 days begin: when exactly Superset reads its clock makes no difference.
    """
    shift = now - _DAYS - (rows.START + timedelta(days=7))
    edge = now - _DAYS
    made = []
    for number, r in enumerate(rows.records()):
        at, name = r.event_time + shift, r.predicted_class
        if edge - _SLACK <= at <= edge + _SLACK:
            continue
        if name is not None and number % 7 == 0:
            name = rows.TEXTS[number // 7 % len(rows.TEXTS)]  # more classes than a chart over time shows
        made.append(replace(r, event_time=at, request_id=new_request_id(at), predicted_class=name))
    assert len({r.predicted_class for r in made if r.event_time > edge}) > 21
    return made


def check(drawn: Mapping[str, Drawn], found: Records, now: datetime) -> None:
    """Every figure of every chart, by its title."""
    assert set(drawn) == set(_CHECKS)
    recent = [r for r in found if r.event_time > now - _DAYS]
    assert len(recent) < len(found)
    for title, one in _CHECKS.items():
        assert drawn[title], title
        one(drawn[title], recent)


def _near(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, rel=1e-5)


def _share(group: Records, status: str) -> float:
    return sum(r.status == status for r in group) / len(group)


def _confidence(group: Records) -> float | None:
    return rows.mean(r.confidence for r in group)


def _unsure(r: ImageRecord) -> bool:
    return r.confidence is not None and r.confidence < float(np.float32(0.6))


def _same_time(given: float, expected: datetime) -> None:
    """`given`: milliseconds, as Superset has them. Kudu's come to Trino in whole ones."""
    assert abs(given - expected.timestamp() * 1000) <= 1


def _total(name: str, figure: Callable[[Records], Any]) -> Callable[[Drawn, Records], None]:
    def compare(drawn: Drawn, recent: Records) -> None:
        assert [dict(row) for row in drawn] == [{name: _near(figure(recent))}]

    return compare


def _grouped(
    columns: Sequence[str], figures: Mapping[str, Callable[[Records], Any]], limit: int,
    only: Callable[[ImageRecord], bool] = lambda r: True, least: int = 1,
) -> Callable[[Drawn, Records], None]:  # fmt: skip
    """A table with a row for each value of the columns, the most frequent ones first."""

    def compare(drawn: Drawn, recent: Records) -> None:
        groups = rows.grouped([r for r in recent if only(r)], lambda r: tuple(getattr(r, name) for name in columns))
        sizes = sorted((len(group) for group in groups.values() if len(group) >= least), reverse=True)
        assert [row["images"] for row in drawn] == sizes[:limit]
        assert len({tuple(row[name] for name in columns) for row in drawn}) == len(drawn)
        for row in drawn:
            group = groups[tuple(row[name] for name in columns)]
            assert set(row) == {*columns, *figures}
            for name, figure in figures.items():
                if name == "last_seen":
                    _same_time(row[name], max(r.event_time for r in group))
                else:
                    assert row[name] == _near(figure(group)), (name, row)

    return compare


def _over_time(
    column: str, name: str, figure: Callable[[Records], Any], series: int = 20
) -> Callable[[Drawn, Records], None]:
    """Days of UTC, of the series with the highest figures in the 30 days."""

    def compare(drawn: Drawn, recent: Records) -> None:
        chosen = [r for r in recent if getattr(r, column) is not None]
        days = rows.grouped(chosen, lambda r: (r.event_time.date(), getattr(r, column)))
        whole = {value: figure(group) for value, group in rows.grouped(chosen, lambda r: getattr(r, column)).items()}
        assert all(set(row) == {"event_time", column, name} for row in drawn)
        shown = {row[column] for row in drawn}
        best = sorted(whole.values(), reverse=True)[:series]
        assert sorted((whole[value] for value in shown), reverse=True) == best
        given = {(_midnight(row["event_time"]), row[column]): row[name] for row in drawn}
        assert len(given) == len(drawn)
        assert given == {key: _near(figure(group)) for key, group in days.items() if key[1] in shown}

    return compare


def _midnight(milliseconds: float) -> Any:
    moment = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    assert moment.time() == datetime.min.time()
    return moment.date()


def _latest(only: Callable[[ImageRecord], bool]) -> Callable[[Drawn, Records], None]:
    def compare(drawn: Drawn, recent: Records) -> None:
        ordered = sorted(filter(only, recent), key=lambda r: (r.event_time, r.request_id), reverse=True)
        assert [row["request_id"] for row in drawn] == [r.request_id for r in ordered[:100]]
        for row, record in zip(drawn, ordered, strict=False):
            for name, value in row.items():
                expected = getattr(record, name)
                if name == "event_time":
                    _same_time(value, expected)
                else:
                    assert value == (_near(expected) if isinstance(expected, float) else expected), name

    return compare


def _distinct(column: str) -> Callable[[Records], int]:
    return lambda group: rows.distinct(getattr(r, column) for r in group)


def _mean_inference(group: Records) -> float | None:
    return rows.mean(r.inference_ms for r in group)


def _last(group: Records) -> datetime:
    return max(r.event_time for r in group)


_CHECKS: Mapping[str, Callable[[Drawn, Records], None]] = {
    "Images": _total("images", len),
    "Pictures": _total("pictures", _distinct("image_id")),
    "Sources": _total("sources", _distinct("source_ip")),
    "Rejected": _total("rejected_share", lambda group: _share(group, "rejected")),
    "Failed": _total("failed_share", lambda group: _share(group, "failed")),
    "Confidence": _total("confidence", _confidence),
    "Images by class": _over_time("predicted_class", "images", len),
    "Most frequent objects": _grouped(
        ["predicted_class"], {"images": len, "confidence": _confidence}, 50, lambda r: r.predicted_class is not None
    ),
    "Images by what became of them": _over_time("status", "images", len),
    "Why images were rejected, or failed": _grouped(
        ["status", "error_code"], {"images": len, "sources": _distinct("source_ip")}, 50,
        lambda r: r.status in ("rejected", "failed"),
    ),
    "Images by source": _grouped(
        ["source_ip", "source_user"],
        {"images": len, "rejected_share": lambda group: _share(group, "rejected"),
         "failed_share": lambda group: _share(group, "failed"), "confidence": _confidence, "last_seen": _last},
        100,
    ),
    "Versions of the model": _grouped(
        ["model_name", "model_version"],
        {"images": len, "confidence": _confidence, "below_share": lambda group: sum(map(_unsure, group)) / len(group),
         "inference_ms": _mean_inference, "last_seen": _last},
        50, lambda r: r.model_version is not None,
    ),
    "Mean confidence by version": _over_time("model_version", "confidence", _confidence),
    "Mean time of the inference, ms": _over_time("model_version", "inference_ms", _mean_inference),
    "Latest images that the model was unsure of": _latest(_unsure),
    "Pictures that came more than once": _grouped(
        ["image_id"], {"images": len, "sources": _distinct("source_ip"), "last_seen": _last}, 50,
        lambda r: r.image_id is not None, least=2,
    ),
    "Latest requests": _latest(lambda r: True),
}  # fmt: skip
assert set(_CHECKS) == {one.title for one in CHARTS}


# --- a Superset ---------------------------------------------------------------------------------------------------


def needs_superset() -> None:
    if not (SUPERSET / "bin" / "superset").exists():
        pytest.skip("needs a Superset: make test-superset")


class Superset:
    """A fresh Superset, into which the bundle of this engine was imported.

    One for each engine: in SQLite, where such a Superset keeps its own data, two databases may not have a table of one name.
    """

    def __init__(self, folder: Path, engine: Engine, uri: str | None = None, table: str = TABLE) -> None:
        needs_superset()
        self._folder, self._engine, self._slug = folder, engine, f"image-warehouse-{engine.name}"
        path = folder / "bundle.zip"
        path.write_bytes(bundle(engine, uri, table))
        draw = () if uri is None else ("--draw", self._slug)
        done = subprocess.run(
            [SUPERSET / "bin" / "python", REPOSITORY / "tests" / "superset_run.py", folder, path, *draw],
            env={**os.environ, **_ALONE}, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        self._answers = json.loads(done.stdout.splitlines()[-1])

    def _get(self, path: str) -> Any:
        answer = self._answers[path]
        assert answer["status"] == 200, f"{path}: {str(answer)[:800]}"
        return answer["body"]

    def check_import(self) -> None:
        title = f"Image Warehouse ({self._engine.title})"
        assert [board["dashboard_title"] for board in self._get("/api/v1/dashboard/")["result"]] == [title]
        assert [database["database_name"] for database in self._get("/api/v1/database/")["result"]] == [title]
        charts = self._get(f"/api/v1/dashboard/{self._slug}/charts")["result"]
        assert sorted(chart["slice_name"] for chart in charts) == sorted(one.title for one in CHARTS)
        (dataset,) = self._get(f"/api/v1/dashboard/{self._slug}/datasets")["result"]
        whole = self._get(f"/api/v1/dataset/{dataset['id']}")["result"]
        assert {metric["metric_name"] for metric in whole["metrics"]} == set(METRICS)
        assert {column["column_name"] for column in whole["columns"]} == {c.name for c in COLUMNS} - {"embedding"}

    def _titles(self) -> dict[int, str]:
        return {
            chart["id"]: chart["slice_name"] for chart in self._get(f"/api/v1/dashboard/{self._slug}/charts")["result"]
        }

    def drawn_by_api(self) -> dict[str, Drawn]:
        """By its title, what each chart draws for reports: the query that is stored with it."""
        answers = {title: self._get(f"/api/v1/chart/{i}/data/?force=true") for i, title in self._titles().items()}
        return {title: answer["result"][0]["data"] for title, answer in answers.items()}

    @contextmanager
    def opened(self) -> Iterator[tuple[Page, dict[str, Drawn]]]:
        """The dashboard in a browser, and what each chart draws in it: the query that the page makes of its settings."""
        (port,) = free_ports(1)
        command = [SUPERSET / "bin" / "gunicorn", "--bind", f"127.0.0.1:{port}", "--threads", "8", "--timeout", "120",
                   "superset.app:create_app()"]  # fmt: skip
        environment = {**_ALONE, "SUPERSET_CONFIG_PATH": str(self._folder / "superset_config.py"),
                       "SUPERSET_HOME": str(self._folder)}  # fmt: skip
        here = f"http://127.0.0.1:{port}"
        with running(Service(command, port, self._folder, environment)), browser() as program:
            page = program.new_page(viewport={"width": 1500, "height": 4200})  # it asks for the charts that are in view
            page.set_default_timeout(120_000)
            # Superset counts those who use it, by a picture of a server of somebody else's.
            page.route(lambda url: not url.startswith(here), lambda route: route.abort())
            assert page.request.post(f"{here}/login/", form=LOGIN).url.endswith("/welcome/")
            answers: dict[int, Any] = {}

            def keep(response: Response) -> None:
                if response.url.partition("?")[0] == f"{here}/api/v1/chart/data":
                    form = response.request.post_data_json["form_data"]
                    if form.get("slice_id") is not None:  # a filter's has none
                        answers[form["slice_id"]] = response

            page.on("response", keep)
            page.goto(f"{here}/superset/dashboard/{self._slug}/")
            end = time.monotonic() + 120
            while set(answers) != set(self._titles()) or page.locator(".loading:visible").count():
                assert time.monotonic() < end, sorted(set(self._titles()) - set(answers))
                page.wait_for_timeout(200)
            drawn = {}
            for number, title in self._titles().items():
                response = answers[number]
                assert response.status == 200, f"{title}: {response.text()[:800]}"
                drawn[title] = _long(title, response.json()["result"][0]["data"])
            assert page.locator("canvas").count() == sum(one.over_time for one in CHARTS)
            assert page.locator(".ant-alert-error").count() == 0
            yield page, drawn


def _long(title: str, drawn: Drawn) -> Drawn:
    """A page has a chart over time with a column for each series."""
    (one,) = (one for one in CHARTS if one.title == title)
    if not one.over_time:
        return drawn
    (column,), (metric,) = one.by, one.metrics
    return [
        {TIME: row[TIME], column: series, metric: value}
        for row in drawn
        for series, value in row.items()
        if series != TIME and value is not None
    ]
