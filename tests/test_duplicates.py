"""`imagewarehouse duplicates`: pictures that were sent more than once, and those that nearly look the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows.columns import SCHEMA, record_arrays
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.whole_kudu import WholeKudu
from imagewarehouse.search.duplicates import Requests
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.search_indexes import record

Run = Callable[..., int]


def rows_of(records: Sequence[ImageRecord]) -> pa.Table:
    return pa.Table.from_arrays(record_arrays(records), schema=SCHEMA)


def picture(letter: str, hours: float, *look: int, **values: Any) -> ImageRecord:
    embedding = bytes(value & 0xFF for value in look) or None
    return record(hours, image_id=letter * 64, embedding=embedding, file_name=f"{letter}{hours:g}.jpg", **values)


RECORDS = [
    picture("a", 0, 100, 0, 0, source_user="camera-1"),
    picture("b", 1, 100, 10, 0, source_user="camera-2"),
    picture("a", 2, 100, 0, 0, source_user="camera-1"),
    picture("c", 3, 0, 100, 0, source_ip="10.0.0.1"),
    picture("a", 4, 100, 0, 0, source_user="camera-2", source_ip="10.0.0.1"),
    picture("d", 5, 100, 5, 0),
    picture("c", 6, 0, 100, 0, source_ip="10.0.0.1"),
    picture("e", 7, 100, 0, 0, model_version="4", source_user="camera-2"),
    picture("f", 8, source_user="camera-1"),
    record(9, status="rejected", source_user="camera-1", file_name="rejected.jpg"),
    picture("0", 10, 0, 0, 0, source_user="camera-1"),
]


def test_the_same_bytes_are_counted_with_their_sources() -> None:
    requests = Requests([rows_of(RECORDS[:4]), rows_of(RECORDS[4:5]), rows_of(RECORDS[5:])])
    assert (requests.requests, requests.pictures, requests.comparable) == (10, 7, 6)
    first, second = requests.exact()
    assert first.as_json() == {
        "image_id": "a" * 64,
        "requests": 3,
        "first": "2026-11-01T00:00:00.000000Z",
        "last": "2026-11-01T04:00:00.000000Z",
        "sources": {"camera-1": 2, "camera-2": 1},
        "file_name": "a0.jpg",
        "predicted_class": "truck",
    }
    assert (second.image_id, second.requests, second.sources) == ("c" * 64, 2, (("10.0.0.1", 2),))


def test_sources_are_counted_with_what_they_repeat() -> None:
    """Whoever sends a picture first does not repeat it."""
    counted = Requests([rows_of(RECORDS)]).by_source()
    assert counted == [("camera-1", 4, 1), ("camera-2", 3, 1), ("10.0.0.1", 2, 1), ("unknown", 1, 0)]


def test_the_picture_that_came_first_stands_for_those_that_look_like_it() -> None:
    (group,) = Requests([rows_of(RECORDS)]).near(0.01)
    assert group.first.image_id == "a" * 64
    assert [(sent.image_id[0], distance) for sent, distance in group.others] == [("d", 0.0012), ("b", 0.005)]
    assert [sent.image_id[0] for sent, _ in Requests([rows_of(RECORDS)]).near(0.002)[0].others] == ["d"]
    assert Requests([rows_of(RECORDS)]).near(0.0001) == []


def test_a_picture_belongs_to_the_nearest_of_its_groups() -> None:
    angles = {"a": 0, "b": 40, "c": 25, "d": 12}
    looks = {
        name: (round(100 * np.cos(np.radians(a))), round(100 * np.sin(np.radians(a)))) for name, a in angles.items()
    }
    records = [picture(name, n, *looks[name]) for n, name in enumerate("abcd")]
    groups = Requests([rows_of(records)]).near(1 - float(np.cos(np.radians(30))))
    assert [(group.first.image_id[0], [s.image_id[0] for s, _ in group.others]) for group in groups] == [
        ("a", ["d"]),
        ("b", ["c"]),
    ]


@pytest.mark.parametrize("count", [1, 1023, 1024, 1025, 3000])
def test_groups_are_those_that_one_would_find_one_by_one(count: int) -> None:
    draw = np.random.default_rng(count)
    centres = draw.integers(-100, 101, (max(1, count // 10), 16))
    looks = np.clip(centres[draw.integers(0, len(centres), count)] + draw.integers(-25, 26, (count, 16)), -127, 127)
    looks = looks.astype(np.int8)
    looks[:, 0] |= 1
    table = rows_of([record(n, image_id=f"{n:064x}", embedding=looks[n].tobytes()) for n in range(count)])
    found = {}
    for group in Requests([table.slice(start, 700) for start in range(0, count, 700)]).near(0.05):
        for sent, _ in group.others:
            found[int(sent.image_id, 16)] = int(group.first.image_id, 16)
    directions = looks.astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    leaders: list[int] = []
    expected = {}
    for n in range(count):
        alike = directions[leaders] @ directions[n]
        if leaders and alike.max() >= 0.95:
            expected[n] = leaders[int(alike.argmax())]
        else:
            leaders.append(n)
    different = [n for n in range(count) if found.get(n) != expected.get(n)]
    assert not different
    assert count < 1000 or len(expected) > count / 4


def test_without_rows_or_looks_there_is_nothing() -> None:
    for pages in ([], [rows_of([])], [rows_of([RECORDS[9]])]):
        requests = Requests(pages)
        assert (requests.requests, requests.pictures, list(requests.exact()), requests.near()) == (0, 0, [], [])
        assert requests.by_source() == []


def test_an_id_that_ends_with_zeros_keeps_them() -> None:
    records = [record(n, image_id="ab" + "0" * 62) for n in range(2)]
    (sent,) = Requests([rows_of(records)]).exact()
    assert sent.image_id == "ab" + "0" * 62


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Run:
    rows = LocalRows(tmp_path / "rows.duckdb")
    rows.write(RECORDS)
    rows.close()
    return lambda *words: call(["duplicates", "--data", str(tmp_path), *words])


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("kinds", [(), ("--exact", "--near")], ids=["neither", "both"])
def test_json_has_a_group_a_line_and_what_was_counted(
    run: Run, capsys: pytest.CaptureFixture[str], kinds: tuple[str, ...]
) -> None:
    assert run("--json", "--distance", "0.01", *kinds) == 0
    first, second, near, summary = lines(capsys)
    assert [(one["kind"], one["image_id"][0]) for one in (first, second, near)] == [
        ("exact", "a"),
        ("exact", "c"),
        ("near", "a"),
    ]
    assert [(one["image_id"][0], one["distance"]) for one in near["others"]] == [("d", 0.0012), ("b", 0.005)]
    assert {name: summary[name] for name in ("requests", "pictures", "comparable", "exact", "near")} == {
        "requests": 10, "pictures": 7, "comparable": 6, "exact": 2, "near": 1,
    }  # fmt: skip
    assert summary["sources"][0] == {"source": "camera-1", "requests": 4, "again": 1}


def test_one_kind_alone(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--exact", "--limit", "1") == 0
    assert [line.get("kind") for line in lines(capsys)] == ["exact", None]
    assert run("--json", "--near") == 0
    assert [line.get("kind") for line in lines(capsys)] == ["near", None]


def test_a_stretch_of_time(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--exact", "--since", "2026-11-01T02:00:00Z", "--until", "2026-11-01T06:00:00Z") == 0
    first, summary = lines(capsys)
    assert (first["image_id"][0], first["requests"], summary["requests"]) == ("a", 2, 4)
    assert run("--json", "--since", "1d", "--until", "2020-01-01") == 2
    assert "--until: is not after --since" in capsys.readouterr().err


def test_tables_name_pictures_and_sources(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--distance", "0.01", "--progress") == 0
    said = capsys.readouterr()
    assert "10 requests sent 7 pictures" in said.out
    assert "the same bytes: 2 pictures were sent more than once" in said.out
    assert "nearly the same look: 1 groups; of 6 pictures it is known what they look like" in said.out
    assert "camera-1 (2), camera-2 (1)" in said.out
    assert "aaaaaaaaaaaa" in said.out
    assert "25.0%" in said.out
    assert "pictures" in said.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--since", "soon"], "--since: expected a time"),
        (["--exact", "--distance", "0.1"], "--distance: is for what nearly looks the same"),
        (["--distance", "2"], "'--distance'"),
        (["--distance", "nan"], "--distance: expected 0 to 1"),
        (["--database", "no.duckdb"], "no.duckdb does not exist"),
    ],
)
def test_wrong_arguments(run: Run, capsys: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    assert run(*words) == 2
    assert why in capsys.readouterr().err


def test_rows_in_kudu(kudu: LocalKudu, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--distance", "0.01") == 0
    expected = lines(capsys)
    writer = connect(KuduSettings(kudu.masters))
    table = f"{tmp_path.name}_image_events"
    try:
        WholeKudu(writer, table, create=True).write(rows_of(RECORDS))
        assert run("--json", "--distance", "0.01", "--masters", kudu.masters, "--table", table) == 0
        assert lines(capsys) == expected
        until = ["--until", "2026-11-01T03:00:00Z"]
        assert run("--json", "--exact", *until, "--masters", kudu.masters, "--table", table) == 0
        first, summary = lines(capsys)
        assert (first["image_id"][0], first["requests"], summary["requests"]) == ("a", 2, 3)
    finally:
        writer.drop(table)
        writer.close()
