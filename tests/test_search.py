"""`imagewarehouse search`: what people type, and what they see."""

from __future__ import annotations

import json
import re
import webbrowser
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.search.asking import moment
from tests.pictures import numbered
from tests.search_indexes import record
from tests.warehouses import Warehouse

Run = Callable[..., int]

RECORDS = [
    record(
        0, file_name="truck.jpg", image_id="a" * 64, embedding=b"\x64\x00", source_user="camera-1", source_ip="10.0.0.1"
    ),
    record(1, file_name="ship.jpg", image_id="ab" + "0" * 62, embedding=b"\x64\x14", predicted_class="ship"),
    record(
        2,
        file_name="old.jpg",
        image_id="c" * 64,
        predicted_class="a, b & c",
        fields='{"note": "red \\u202e \\u001b[31m"}',
    ),
    record(3, file_name="broken.jpg", status="rejected", error_code="image.truncated", source_ip="2001:db8::1"),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("IMAGEWAREHOUSE_SOLR_URL", raising=False)
    rows = LocalRows(tmp_path / "rows.duckdb")
    rows.write(RECORDS)
    rows.close()
    return lambda *words: call(["search", "--data", str(tmp_path), *words])


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def names(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line["file_name"] for line in lines(capsys)]


# --- what is asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["broken.jpg", "old.jpg", "ship.jpg", "truck.jpg"]),
        (["trukc"], ["truck.jpg"]),
        (["red", "old"], ["old.jpg"]),
        (["old red"], ["old.jpg"]),
        (["--class", "truck", "--class", "ship"], ["ship.jpg", "truck.jpg"]),
        (["--class", "a, b & c"], ["old.jpg"]),
        (["--status", "rejected"], ["broken.jpg"]),
        (["--error", "image.truncated"], ["broken.jpg"]),
        (["--format", "JPEG", "--model", "cifar10/3", "--limit", "1"], ["old.jpg"]),
        (["--user", "camera-1"], ["truck.jpg"]),
        (["--source", "10.0.0.0/8", "--source", "2001:db8::/32"], ["broken.jpg", "truck.jpg"]),
        (["--image", "C" * 64], ["old.jpg"]),
        (["--since", "2026-11-01T01:00:00Z", "--until", "2026-11-01T04:00:00+01:00"], ["old.jpg", "ship.jpg"]),
        (["--until", "9000d"], []),
        (["--min-confidence", "0.875", "--max-confidence", "0.9", "ship"], ["ship.jpg"]),
        (["--like", "a" * 64], ["truck.jpg", "ship.jpg"]),
        (["--like", "a" * 8], ["truck.jpg", "ship.jpg"]),
        (["--like", RECORDS[1].request_id, "--class", "truck"], ["truck.jpg"]),
    ],
)
def test_what_is_typed(run: Run, words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", *words) == 0
    assert names(capsys) == expected


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--since", "soon"], "--since: expected a time such as"),
        (["--min-confidence", "2"], "--min-confidence: expected 0.0-1.0"),
        (["--source", "10.0.0.0/99"], "--source: '10.0.0.0/99' is not an address"),
        (["--facet", "colour"], "--facet: expected one of"),
        (["--image", "56d2"], "--image: expected an image_id"),
        (["--cursor", "x"], "cursor: is none of this search"),
        (["x" * 1001], "WORDS: expected at most 1000 characters"),
        (["--limit", "101"], "'--limit'"),
        (["--all"], "--all: goes with --json"),
        (["--all", "--json", "--open"], "--all: and --open exclude each other"),
        (["--like", "nobody.jpg"], "--like: is no file, and as an id: expected an image_id"),
        (["--like", "99999999"], "--like: there is no file 99999999, and no row has this id"),
        (["--like", "9" * 64], "is not known: pictures have one that were classified while model.embedding was true"),
        (["--like", "c" * 64], "is not known: pictures have one that were classified while model.embedding was true"),
        (["--database", "nowhere.duckdb"], "--database: nowhere.duckdb does not exist"),
        (["--solr", "ftp://x/y"], "--solr: "),
        (["--model-folder", "nowhere", "--like", __file__], "--model-folder: "),
        (["--like", __file__], "--like: "),
    ],
)
def test_wrong_arguments(run: Run, words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    assert why in capsys.readouterr().err


def test_rows_in_kudu_are_searched_with_solr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kudu").mkdir()
    assert call(["search", "--data", str(tmp_path)]) == 2
    assert "are in Kudu, which are searched with Solr: --solr URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("7d", timedelta(days=7)),
        ("12h", timedelta(hours=12)),
        ("30 min", timedelta(minutes=30)),
        (" 2w ", timedelta(weeks=2)),
    ],
)
def test_a_time_may_be_how_long_ago(text: str, ago: timedelta) -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)
    assert moment(text, now) == now - ago


# --- what is shown ------------------------------------------------------------------------------------------------


def test_a_table_says_what_was_found(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--facet", "predicted_class,status", "--limit", "2") == 0
    said = capsys.readouterr().out
    assert re.search(r"2026-11-01 03:00:00 │ rejected: image.truncated +│ +│ broken.jpg", said)
    assert re.search(r"a, b & c +│ 0.8750 +│ old.jpg +│ +│ cccccccccccc │", said)
    assert re.search(r"classified │ 3 ", said)
    assert "4 requests found" in said
    cursor = re.search(r"the next ones: --cursor (\S+)", said)
    assert cursor
    assert run("--limit", "2", "--cursor", cursor[1]) == 0
    said = capsys.readouterr().out
    assert re.search(r"truck +│ 0.8750 +│ truck.jpg +│ camera-1, 10.0.0.1 │ aaaaaaaaaaaa", said)
    assert "--cursor" not in said


def test_nothing_found_is_said(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("zebra") == 0
    assert capsys.readouterr().out == "nothing found\n"


def test_likeness_is_shown(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--like", "a" * 64) == 0
    said = capsys.readouterr().out
    assert re.search(r"ship +│ 0.8750 +│ 0.9806 │ ship.jpg", said)
    assert "2 pictures found" in said


def test_json_has_all_of_the_record_and_nothing_that_turns_a_terminal(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--json", "old") == 0
    said = capsys.readouterr().out
    assert "\u202e" not in said
    assert "\x1b" not in said
    shown = json.loads(said)
    assert (shown["request_id"], shown["fields"]) == (RECORDS[2].request_id, {"note": "red"})
    assert "embedding" not in shown


def test_json_ends_with_what_was_counted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--limit", "0", "--facet", "status") == 0
    assert lines(capsys) == [
        {
            "total": 4,
            "facets": {"status": [{"value": "classified", "count": 3}, {"value": "rejected", "count": 1}]},
            "next_cursor": None,
        }
    ]


def test_all_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = LocalRows(tmp_path / "rows.duckdb")
    rows.write([record(n, file_name=f"{n}.jpg") for n in range(230)])
    rows.close()
    assert call(["search", "--data", str(tmp_path), "--json", "--all", "--facet", "format"]) == 0
    *hits, counted = lines(capsys)
    assert [hit["file_name"] for hit in hits] == [f"{n}.jpg" for n in reversed(range(230))]
    assert counted == {"total": 230, "facets": {"format": [{"value": "JPEG", "count": 230}]}, "next_cursor": None}
    assert call(["search", "--data", str(tmp_path), "--json"]) == 0
    assert "230 found; the next ones: --cursor " in capsys.readouterr().err


# --- a picture of one's own ---------------------------------------------------------------------------------------


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """Ten pictures, classified by the model of this project."""
    monkeypatch.delenv("IMAGEWAREHOUSE_SOLR_URL", raising=False)
    classifier = load_classifier(BUNDLED_MODEL, embed=True)
    made = Warehouse(tmp_path / "data")
    for n in range(10):
        said = classifier.classify(numbered(n))
        made.add(
            numbered(n),
            file_name=f"<b>{n}</b>.jpg",
            embedding=said.embedding,
            model_name=classifier.manifest.name,
            model_version=classifier.manifest.version,
        )
    return made.close()


def test_a_file_finds_itself_first(warehouse: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.jpg").write_bytes(numbered(7))
    assert call(["search", "--data", str(warehouse.data), "--like", str(tmp_path / "mine.jpg"), "--json"]) == 0
    found = lines(capsys)
    assert (found[0]["file_name"], found[0]["similarity"]) == ("<b>7</b>.jpg", 1.0)
    assert len(found) == 10


def test_another_version_of_the_model_is_named(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.jpg").write_bytes(numbered(7))
    assert run("--like", str(tmp_path / "mine.jpg")) == 0
    said = capsys.readouterr()
    version = load_classifier(BUNDLED_MODEL).manifest.version
    assert said.out == "nothing found\n"
    assert f"no picture was classified by cifar10/{version}, but by cifar10/3; --model-folder names" in said.err


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    opened: list[Path] = []

    def note(url: str) -> bool:
        opened.append(Path(url.removeprefix("file://")))
        return True

    monkeypatch.setattr(webbrowser, "open", note)
    yield opened
    for path in opened:
        path.unlink()


def test_a_browser_is_shown_the_pictures(
    warehouse: Warehouse, browser: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["search", "--data", str(warehouse.data), "--limit", "3", "--open"]) == 0
    page = browser[0].read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 3
    assert "&lt;b&gt;9&lt;/b&gt;.jpg" in page
    assert "<b>9" not in page
    assert "default-src 'none'" in page
    assert f"opened {browser[0]}" in capsys.readouterr().err


def test_a_picture_that_is_gone_is_no_reason_not_to_show_the_others(
    warehouse: Warehouse, browser: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse.path(warehouse.records[9]).unlink()
    assert call(["search", "--data", str(warehouse.data), "--limit", "3", "--open"]) == 1
    page = browser[0].read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 2
    assert page.count("the picture is gone from the store or damaged") == 1
    assert "is not there" in capsys.readouterr().err
