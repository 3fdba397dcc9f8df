"""`imagewarehouse demo-data`: a plausible history, the same every time, in real stores, and gone again without a trace."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from imagewarehouse.access import AccessKeys
from imagewarehouse.analytics.demo import CLASSES, MARK, USERS, History
from imagewarehouse.analytics.embedded import EmbeddedEngine
from imagewarehouse.analytics.panels import PANELS, Request
from imagewarehouse.analytics.periods import between
from imagewarehouse.cli.main import call
from imagewarehouse.errors import BadParameter, ConfigurationError, all_errors
from imagewarehouse.ids import event_time
from imagewarehouse.images.formats import FORMATS, sniff
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.metadata import ImageRecord, can_have
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.rows.columns import SCHEMA
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.reading import read
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.analytics_suite import UTC, table
from tests.pictures import numbered
from tests.running import Service, post
from tests.warehouses import Warehouse

END = datetime(2026, 12, 1, 3, 20, tzinfo=timezone.utc)
UNTIL = "2026-12-01T03:20Z"
Demo = Callable[..., int]


@pytest.fixture(scope="module")
def history() -> History:
    return History(60, 60_000, END)


@pytest.fixture(scope="module")
def made(history: History) -> pa.Table:
    return pa.concat_tables(list(history.pages())).sort_by([("event_time", "ascending")])


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return lambda *words: call(["demo-data", "--data", str(tmp_path / "data"), "--until", UNTIL, *words])


def rows_of(data: Path) -> list[dict[str, Any]]:
    return list(read(data / "rows.duckdb", "SELECT * FROM image_events ORDER BY event_time, request_id").to_pylist())


# --- the history --------------------------------------------------------------------------------------------------


def test_every_row_is_a_record_that_the_flow_could_have_written(made: pa.Table) -> None:
    assert made.schema == SCHEMA
    codes, keys = all_errors(), set()
    for row in made.slice(0, 5000).to_pylist() + made.slice(40_000, 10_000).to_pylist():
        record = ImageRecord(**row)
        keys.add(record.request_id)
        assert event_time(record.request_id) == record.event_time
        assert all(value is None or can_have(record.status, name) for name, value in record.items())
        assert (record.error_code in codes) == (record.status in ("rejected", "failed"))
        assert record.format is None or record.format in FORMATS
        assert (record.predicted_class is None) == (record.status != "classified")
        if record.top_k is not None:
            top = json.loads(record.top_k)
            assert (top[0]["class"], np.float32(top[0]["probability"])) == (record.predicted_class, record.confidence)
            shares = [entry["probability"] for entry in top]
            assert shares == sorted(shares, reverse=True)
            assert sum(shares) <= 1.0001
    assert len(keys) == 15_000


def test_it_has_as_many_rows_as_asked_for_and_fills_its_days(history: History, made: pa.Table) -> None:
    assert made.num_rows == 60_000
    times = made["event_time"].to_pylist()
    assert history.since <= times[0] < history.since + timedelta(hours=3)
    assert END - timedelta(hours=3) < times[-1] < END


@pytest.mark.parametrize(("days", "rows"), [(1, 1), (1, 500), (3, 20), (400, 1000)])
def test_any_length_works(days: int, rows: int) -> None:
    pages = list(History(days, rows, END).pages())
    assert sum(page.num_rows for page in pages) == rows
    newest_first = [page["event_time"][0].as_py() for page in pages]
    assert newest_first == sorted(newest_first, reverse=True)
    for page in pages:
        times = page["event_time"].to_pylist()
        assert all(before <= after for before, after in pairwise(times))


@pytest.mark.parametrize("wrong", [{"days": 0}, {"days": 4000}, {"rows": 0}, {"until": datetime(2026, 1, 1)}])
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        History(**{"days": 1, "rows": 1, "until": END, **wrong})


def test_the_same_seed_gives_the_same_rows_and_another_one_others(made: pa.Table) -> None:
    again = pa.concat_tables(list(History(60, 60_000, END).pages())).sort_by([("event_time", "ascending")])
    assert again.equals(made)
    other = pa.concat_tables(list(History(60, 60_000, END, seed=1).pages()))
    assert not set(other["request_id"].to_pylist()) & set(made["request_id"].to_pylist())


def test_weeks_and_days_have_a_rhythm(made: pa.Table) -> None:
    times = made.filter(pc.equal(made["source_user"], "demo/line-1"))["event_time"].to_pylist()
    weekdays = Counter(time.weekday() for time in times)
    assert min(weekdays[day] for day in range(5)) > 4 * max(weekdays[5], weekdays[6])
    hours = Counter(time.hour for time in times)
    assert hours[8] > 20 * hours[2]


def test_a_source_appears_and_stays(history: History, made: pa.Table) -> None:
    new = made.filter(pc.equal(made["source_user"], "demo/line-3"))["event_time"].to_pylist()
    (episode,) = (e for e in history.episodes if e.name == "new-source")
    assert episode.since <= new[0] < episode.since + timedelta(days=2)
    assert len({time.date() for time in new}) > 15


def test_latencies_are_log_normal(made: pa.Table) -> None:
    usual = made.filter(pc.equal(made["model_version"], "2"))
    logs = np.log(usual["inference_ms"].to_numpy())
    assert logs.mean() == pytest.approx(np.log(1.6), abs=0.02)
    assert logs.std() == pytest.approx(0.3, abs=0.02)
    assert abs(((logs - logs.mean()) ** 3).mean() / logs.std() ** 3) < 0.1


def test_pictures_come_again(made: pa.Table) -> None:
    counts = Counter(made["image_id"].drop_null().to_pylist())
    twice = sum(count - 1 for count in counts.values())
    assert 0.05 < twice / made.num_rows < 0.12
    assert max(counts.values()) > 100


def test_no_access_key_can_be_called_as_its_users_are() -> None:
    for user in USERS:
        with pytest.raises(ConfigurationError):
            AccessKeys.parse(f"{user}:0123456789abcdef")


# --- what dashboards show of it -----------------------------------------------------------------------------------


def test_the_dashboards_show_its_episodes(history: History, demo: Demo, tmp_path: Path) -> None:
    assert demo("--rows", "60000") == 0
    engine = EmbeddedEngine(tmp_path / "data" / "rows.duckdb")
    episodes = {episode.name: episode for episode in history.episodes}
    training = dict.fromkeys(CLASSES, 5000)

    def ask(panel: str, since: datetime, until: datetime) -> Any:
        return PANELS[panel](engine, Request(period=between(since, until), tz=UTC, training=training))

    drift = episodes["drift"]
    assert ask("drift", drift.since, drift.until).facts["index_before"] > 0.25
    calm = drift.since - timedelta(days=14)
    assert ask("drift", calm, calm + timedelta(days=7)).facts["index_before"] < 0.05

    bad = episodes["bad-deployment"]
    assert {row["model_version"] for row in table(ask("models", bad.since, bad.until))} == {"3"}
    versions = {row["model_version"]: row for row in table(ask("models", bad.since - timedelta(days=7), bad.until))}
    assert versions["3"]["confidence"] < versions["2"]["confidence"] - 0.2
    assert versions["3"]["inference_ms"] > 5 * versions["2"]["inference_ms"]

    away = episodes["store-away"]
    failed = {row["error_code"]: row["images"] for row in table(ask("rejections", away.since, away.until))}
    assert failed["objects.unavailable"] > 10
    reasons = {row["error_code"] for row in table(ask("rejections", history.since, history.until))}
    assert len(reasons) >= 9
    assert {row["source_user"] for row in table(ask("sources", history.since, history.until))} == set(USERS)


# --- the command --------------------------------------------------------------------------------------------------


def test_twice_is_once(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo("--rows", "3000", "--pictures", "20") == 0
    first = rows_of(tmp_path / "data")
    assert demo("--rows", "3000", "--pictures", "20") == 0
    assert rows_of(tmp_path / "data") == first
    assert demo("--rows", "1000", "--seed", "1", "--json") == 0
    replaced = rows_of(tmp_path / "data")
    assert len(replaced) == 1000
    assert not list((tmp_path / "data" / "objects").rglob("*.jpg"))
    outcome = json.loads(capsys.readouterr().out[-2000:].partition("\n{")[2].join(("{", "")))
    assert (outcome["rows"], outcome["removed_rows"], outcome["removed_pictures"]) == (1000, 3000, 20)
    assert [episode["name"] for episode in outcome["episodes"]][1:4] == ["new-source", "drift", "bad-deployment"]


def test_two_at_once_do_not_double(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    assert demo("--rows", "500") == 0
    lock = data / "rows.duckdb.demo-data.lock"
    assert lock.stat().st_mode & 0o777 == 0o600
    other = [sys.executable, "-m", "imagewarehouse.cli.main", "demo-data", "--data", str(data), "--until", "2026-11-30"]
    with lock.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as one that is at work
        for words in (["--rows", "400"], ["--remove"]):
            ran = subprocess.run([*other, *words], capture_output=True, text=True, cwd=REPOSITORY)
            assert ran.returncode == 2
            assert f"another imagewarehouse demo-data is at work on {data / 'rows.duckdb'}" in " ".join(
                ran.stderr.split()
            )
        assert len(rows_of(data)) == 500
    both = [
        subprocess.Popen([*other, "--rows", str(rows)], stderr=subprocess.PIPE, cwd=REPOSITORY) for rows in (300, 400)
    ]
    codes = [process.wait(60) for process in both]
    for process in both:
        process.communicate()
    assert set(codes) <= {0, 2}
    assert len(rows_of(data)) in (300, 400)


def test_pictures_are_stored_and_distinct(demo: Demo, tmp_path: Path) -> None:
    assert demo("--rows", "3000", "--pictures", "50") == 0
    with_picture = [row for row in rows_of(tmp_path / "data") if row["storage_uri"] is not None]
    assert len({row["image_id"] for row in with_picture}) == 50
    for row in with_picture:
        content = Path(row["storage_uri"].removeprefix("file://")).read_bytes()
        assert len(content) == row["size_bytes"]
        found = sniff(content)
        assert found is not None
        assert found.name == row["format"]
    newest = [row for row in rows_of(tmp_path / "data") if row["status"] == "classified"][-50:]
    assert all(row["storage_uri"] for row in newest)


def test_real_rows_stay_and_are_asked_for(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = Warehouse(tmp_path / "data")
    real.add_many(5)
    # Each has one of the two marks only.
    real.add(numbered(6), source_user="demo/app")
    real.add(numbered(7), source_user="me")
    real.close()
    before = rows_of(real.data)
    stored = {path.name for path in (real.data / "objects").rglob("*.jpg")}
    assert demo("--rows", "500") == 2
    assert "--yes: is needed" in capsys.readouterr().err.replace("'", "")
    assert rows_of(real.data) == before
    assert demo("--rows", "500", "--pictures", "5", "--yes") == 0
    assert len(rows_of(real.data)) == len(before) + 500
    assert demo("--remove") == 0
    assert rows_of(real.data) == before
    assert {path.name for path in (real.data / "objects").rglob("*.jpg")} == stored


def test_the_answer_no_changes_nothing(demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Warehouse(tmp_path / "data").close()
    real = Warehouse(tmp_path / "data")
    real.add_many(2)
    real.close()
    monkeypatch.setattr("imagewarehouse.cli.demo_data.sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *words, **options: False)
    assert demo("--rows", "500") == 1
    assert len(rows_of(real.data)) == 2


def test_a_picture_that_somebody_sent_for_real_stays(demo: Demo, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert demo("--rows", "500", "--pictures", "3") == 0
    row = next(row for row in rows_of(data) if row["storage_uri"])
    content = Path(row["storage_uri"].removeprefix("file://")).read_bytes()
    real = Warehouse(data)
    record = real.add(content, source_user="me")
    real.close()
    assert demo("--remove") == 0
    assert [left["request_id"] for left in rows_of(data)] == [record.request_id]
    assert real.path(record).read_bytes() == content


def test_what_it_makes_is_not_for_every_user_of_the_machine(tmp_path: Path) -> None:
    data = tmp_path / "data"
    before = os.umask(0o022)
    try:
        made = ["demo-data", "--data", str(data), "--rows", "50", "--days", "2", "--pictures", "5"]
        assert call(made) == 0
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    files = [data, *data.rglob("*")]
    assert len(files) > 6
    assert [path.name for path in files if path.stat().st_mode & 0o007] == []


def test_an_end_before_any_request_id_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["demo-data", "--data", str(tmp_path), "--rows", "10", "--until", "1960-01-01"]) == 2
    assert "--until" in capsys.readouterr().err


def test_nothing_to_remove(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo("--remove") == 2  # there are no rows at all
    LocalRows(_made(tmp_path / "data") / "rows.duckdb").close()
    assert demo("--remove") == 0
    assert "there is no demo data" in capsys.readouterr().out


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_beside_a_running_service(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        assert (
            post(
                f"http://127.0.0.1:{service.classify_port}/classify", numbered(1), {"Content-Type": "image/jpeg"}
            ).status
            == 200
        )
        command = ["demo-data", "--data", str(service.data), "--until", UNTIL]
        assert call([*command, "--rows", "2000", "--pictures", "3", "--yes"]) == 0
        assert len(rows_of(service.data)) == 2001
        shown = {row["image_id"] for row in rows_of(service.data) if row["storage_uri"] and row["node"] == "demo"}
        assert len(shown) == 3
        for image_id in shown:
            answer = post(f"{service.images_url}/{image_id}/thumbnail?size=64", b"", method="GET")
            assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
        assert call([*command, "--remove"]) == 0
        assert len(rows_of(service.data)) == 1


def test_in_kudu(kudu: LocalKudu, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"demo_{uuid4().hex[:8]}"
    command = ["demo-data", "--data", str(tmp_path), "--masters", kudu.masters, "--table", name, "--until", UNTIL]
    assert call([*command, "--rows", "5000", "--pictures", "4"]) == 0
    with_pictures = list((tmp_path / "objects").rglob("*.jpg"))
    assert len(with_pictures) == 4
    writer = connect(KuduSettings(kudu.masters))
    try:
        first = sorted(writer.scan(name, ["request_id"])["request_id"].to_pylist())
        assert len(first) == 5000
        assert all(request_id.endswith(MARK) for request_id in first)
        assert call([*command, "--rows", "5000", "--pictures", "4"]) == 0  # demo rows alone are no reason to ask
        assert sorted(writer.scan(name, ["request_id"])["request_id"].to_pylist()) == first
        assert call([*command, "--remove"]) == 0
        assert writer.count(name) == 0
    finally:
        writer.close()
    assert not list((tmp_path / "objects").rglob("*.jpg"))
