"""`imagewarehouse index`: the collection is made, shown and filled, in a real Solr, whatever interrupts it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.metadata import ImageRecord, to_text
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.kudu import KuduRows, image_events
from imagewarehouse.search.collection import Schema
from imagewarehouse.search.documents import document, single
from imagewarehouse.search.rebuilding import Task
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.solr_images import CONFIGSET, index, many_records
from tests.solr_service import Solr, found, solr_running

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def core(solr_service: Solr, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty core with the shipped configset."""
    name = f"test-index-{abs(hash(request.node.nodeid))}"
    yield solr_service.core(name, CONFIGSET)
    solr_service.drop(name)


def write_rows(data: Path, records: list[ImageRecord]) -> None:
    data.mkdir(exist_ok=True)
    rows = LocalRows(data / "rows.duckdb")
    assert not any(rows.write(records))
    rows.close()


def command(*words: object) -> int:
    return call(["index", *map(str, words)])


def shown(url: str, capsys: Capture) -> dict[str, Any]:
    capsys.readouterr()
    command("show", "--solr", url, "--json")
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def stored(url: str) -> dict[str, dict[str, Any]]:
    """Every document as it was sent, as far as the index shows it."""
    return {each["id"]: comparable(each) for each in found(url)}


def sent(records: list[ImageRecord]) -> dict[str, dict[str, Any]]:
    return {record.request_id: comparable(document(record)) for record in records}


def comparable(values: dict[str, Any]) -> dict[str, Any]:
    hidden = {"_version_", "event_time", "words", "letters", "labels", "source_address"}
    shown = {name: value for name, value in values.items() if name not in hidden}
    return shown | ({"confidence": single(shown["confidence"])} if "confidence" in shown else {})


# --- create and show ----------------------------------------------------------------------------------------------


def test_every_field_of_a_document_is_declared() -> None:
    fields = Schema.shipped().fields
    keys = {name for record in many_records(200) for name in document(record)}
    assert keys <= fields.keys()
    assert {"embedding", "words", "labels"} <= keys


def test_a_single_node_is_told_which_folder_it_lacks(tmp_path: Path, capsys: Capture) -> None:
    with solr_running(tmp_path / "solr") as solr:
        url = f"{solr.url}/images"
        assert command("create", "--solr", url) == 2
        target = solr.home / "configsets" / "image-warehouse" / "conf"
        assert f"copy the folder {CONFIGSET} to {target}" in capsys.readouterr().err
        assert command("show", "--solr", url) == 2
        assert "there is no collection images: make it with `imagewarehouse index create`" in capsys.readouterr().err
        shutil.copytree(CONFIGSET, target)
        assert command("create", "--solr", url) == 0
        index(url, many_records(10))
        assert command("create", "--solr", url) == 0
        assert "is there; nothing was changed" in capsys.readouterr().out
        facts = shown(url, capsys)
        assert (facts["documents"], facts["cloud"], facts["differences"]) == (10, False, [])
        assert facts["bytes"] > 1000
        assert facts["newest"] == max(record.event_time for record in many_records(10)).isoformat()
        # An older schema is named, and mended by a copy of the new one.
        schema = target / "schema.xml"
        current = schema.read_text()
        schema.write_text(
            current.replace('<field name="labels" type="terms"/>', "").replace('BeamWidth="', 'BeamWidth="7')
        )
        solr.admin("cores", action="RELOAD", core="images")
        assert command("create", "--solr", url) == 1
        differences = capsys.readouterr().err
        assert "field labels is missing" in differences
        assert "type vector has hnswBeamWidth=7" in differences
        assert command("rebuild", "--solr", url, "--over", "--data", tmp_path) == 2
        schema.write_text(current)
        assert command("create", "--solr", url, "--update-schema") == 0
        assert shown(url, capsys)["documents"] == 10


def test_a_cloud_gets_configset_and_collection(solr_cloud: Solr, tmp_path: Path, capsys: Capture) -> None:
    address = f"zookeeper://{solr_cloud.zookeeper}/shipped"
    assert command("create", "--solr", address, "--shards", 2, "--replicas", 2, "--update-schema") == 2
    assert command("create", "--solr", address, "--shards", 2, "--replicas", 2) == 0
    records = many_records(300)
    write_rows(tmp_path / "data", records)
    assert command("rebuild", "--solr", address, "--data", tmp_path / "data") == 0
    assert stored(f"{solr_cloud.url}/shipped") == sent(records)
    assert command("create", "--solr", address) == 0
    facts = shown(address, capsys)
    assert (facts["documents"], facts["cloud"], facts["differences"]) == (300, True, [])
    assert facts["with_embedding"] == sum(record.embedding is not None for record in records)
    assert facts["bytes"] > 1000
    assert command("create", "--solr", address, "--update-schema") == 0
    assert shown(address, capsys)["documents"] == 300


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        pytest.param("", "say where Solr is", id="none"),
        pytest.param("http://127.0.0.1:8983/solr", "names no collection", id="no-collection"),
        pytest.param("http://me:secret@127.0.0.1:8983/solr/images", "has a login in it", id="login"),
        pytest.param("http://127.0.0.1:9/solr/images", "did not answer", id="nobody-there"),
        pytest.param("http://127.0.0.1:8983/solr/..%2fadmin", "expected the name of a collection", id="path"),
    ],
)
def test_an_address_that_is_none(url: str, problem: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEWAREHOUSE_SOLR_URL", raising=False)
    assert command("show", *(["--solr", url] if url else [])) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert "secret" not in error


def test_the_login_comes_from_the_environment(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.solr_service import ADMIN

    with solr_running(tmp_path / "solr", {"images": CONFIGSET}, security=True) as solr:
        url = f"{solr.url}/images"
        assert command("show", "--solr", url) == 2
        assert "401" in (error := capsys.readouterr().err) or "uthentication" in error
        monkeypatch.setenv("IMAGEWAREHOUSE_SOLR_USER", ADMIN[0])
        monkeypatch.setenv("IMAGEWAREHOUSE_SOLR_PASSWORD", ADMIN[1])
        write_rows(tmp_path / "data", many_records(5))
        assert command("rebuild", "--solr", url, "--data", tmp_path / "data") == 0
        assert shown(url, capsys)["documents"] == 5


# --- rebuild ------------------------------------------------------------------------------------------------------


def test_every_row_becomes_a_document(core: str, tmp_path: Path, capsys: Capture) -> None:
    records = many_records(1200)
    write_rows(tmp_path / "data", records)
    assert command("rebuild", "--solr", core, "--data", tmp_path / "data") == 0
    assert stored(core) == sent(records)
    assert "1,200 rows of" in capsys.readouterr().out
    assert not list(tmp_path.glob("data/index-rebuild*"))
    # A second time it would be written over documents, which has to be meant.
    assert command("rebuild", "--solr", core, "--data", tmp_path / "data") == 2
    assert "has 1,200 documents" in capsys.readouterr().err
    assert command("rebuild", "--solr", core, "--data", tmp_path / "data", "--over") == 0
    assert stored(core) == sent(records)


def test_a_stretch_of_time(core: str, tmp_path: Path) -> None:
    records = many_records(300)
    write_rows(tmp_path / "data", records)
    times = sorted(record.event_time for record in records)
    since, until = times[100], times[200]
    bounds = ["--since", to_text(since), "--until", to_text(until)]
    assert command("rebuild", "--solr", core, "--data", tmp_path / "data", *bounds) == 0
    assert stored(core) == sent([record for record in records if since <= record.event_time < until])
    assert command("rebuild", "--solr", core, "--data", tmp_path / "data", "--since", "yesterday") == 2


@pytest.mark.long
def test_killed_at_any_moment_it_goes_on(core: str, tmp_path: Path, capsys: Capture) -> None:
    records = many_records(3000)
    data = tmp_path / "data"
    write_rows(data, records)
    words = ["index", "rebuild", "--solr", core, "--data", str(data), "--batch", "50"]
    state = next_state = data / f"index-rebuild-{core.rpartition('/')[2]}.json"
    killed = 0
    for wanted in (300, 900, 1700):
        process = subprocess.Popen([sys.executable, "-m", "imagewarehouse.cli.main", *words], cwd=REPOSITORY)
        while process.poll() is None and written(state) < wanted:
            time.sleep(0.005)
        process.kill()
        killed += process.wait() != 0
    assert killed == 3
    assert 1700 <= written(next_state) < 3000
    capsys.readouterr()
    assert call(words) == 0
    told = capsys.readouterr()
    assert "goes on behind" in told.err
    assert "3,000 rows of" in told.out
    assert stored(core) == sent(records)
    assert not state.exists()


def test_it_does_not_go_on_in_a_collection_that_was_emptied_meanwhile(
    core: str, tmp_path: Path, capsys: Capture
) -> None:
    data = tmp_path / "data"
    records = sorted(many_records(300), key=lambda record: (record.event_time, record.request_id))
    write_rows(data, records)
    state = data / f"index-rebuild-{core.rpartition('/')[2]}.json"
    rebuild = ["rebuild", "--solr", core, "--data", data, "--batch", "50"]
    task = asdict(Task(core, str(data / "rows.duckdb")))
    last = records[99]
    begun = {"written": 100, "bad": 0, "time": to_text(last.event_time), "request_id": last.request_id}
    state.write_text(json.dumps({"task": task, "state": begun}))
    assert command(*rebuild) == 2
    told = capsys.readouterr().err
    assert "says that 100 documents are written, and" in told
    assert "has 0 of them; give --restart" in told
    assert state.exists()
    assert command(*rebuild, "--restart") == 0
    assert stored(core) == sent(records)


def written(state: Path) -> int:
    try:
        count: int = json.loads(state.read_bytes())["state"]["written"]
    except FileNotFoundError:
        return 0
    return count


def test_another_rebuild_is_not_mixed_with_the_one_that_was_interrupted(
    core: str, tmp_path: Path, capsys: Capture
) -> None:
    data = tmp_path / "data"
    records = many_records(30)
    write_rows(data, records)
    state = tmp_path / "state.json"
    rebuild = ["rebuild", "--solr", core, "--data", data, "--state", state]
    (tmp_path / "state.json").write_text("nonsense")
    assert command(*rebuild) == 2
    assert "is no state of a rebuild" in capsys.readouterr().err
    task = {"collection": core, "rows": str(data / "rows.duckdb"), "since": None, "until": None}
    begun = {"written": 10, "bad": 0, "time": to_text(records[0].event_time), "request_id": "x"}
    state.write_text(json.dumps({"task": {**task, "rows": "others"}, "state": begun}))
    assert command(*rebuild) == 2
    assert "belongs to another rebuild: others into" in capsys.readouterr().err
    assert command(*rebuild, "--restart") == 0
    assert stored(core) == sent(records)


def test_rows_that_cannot_become_documents_are_named(core: str, tmp_path: Path, capsys: Capture) -> None:
    good = many_records(200)
    no_json = replace(good[0], fields="{broken", request_id="bad-json")
    too_long = replace(good[1], source_user="ü" * 20_000, request_id="bad-length")
    strange = replace(good[2], notes='{"a": [1]}', top_k="7", request_id="bad-list")
    data = tmp_path / "data"
    write_rows(data, [*good, no_json, too_long, strange])
    assert command("rebuild", "--solr", core, "--data", data, "--batch", 64) == 1
    assert stored(core) == sent(good)
    (report,) = data.glob("*.bad")
    named = {line["request_id"]: line for line in map(json.loads, report.read_text().splitlines())}
    assert named.keys() == {"bad-json", "bad-length", "bad-list"}
    assert named["bad-json"]["event_time"] == to_text(good[0].event_time)
    assert "immense term" in named["bad-length"]["error"]
    assert f"3 rows cannot: see {report}" in capsys.readouterr().err


@pytest.mark.long
def test_it_waits_for_a_solr_that_is_away(tmp_path: Path, capsys: Capture) -> None:
    records = many_records(2000)
    write_rows(tmp_path / "data", records)
    with solr_running(tmp_path / "solr", {"images": CONFIGSET}) as solr:
        killer = threading.Thread(target=kill_and_start, args=(solr, tmp_path / "data" / "index-rebuild-images.json"))
        killer.start()
        assert command("rebuild", "--solr", f"{solr.url}/images", "--data", tmp_path / "data", "--batch", 50) == 0
        killer.join()
        assert "waiting: " in capsys.readouterr().err
        assert stored(f"{solr.url}/images") == sent(records)


def kill_and_start(solr: Solr, state: Path) -> None:
    for wanted in (300, 1000):
        while written(state) < wanted:
            time.sleep(0.005)
        solr.service.kill()
        solr.start()


def test_hostile_texts_come_back_as_they_were(core: str, tmp_path: Path) -> None:
    texts = ["*:*", "{!lucene}*:*", '"; DROP', "a\\b", "\u202eabc\u202c", "tab\tline\nend\x01\x7f", "<b>&amp;</b>",
             "x" * 10_000, "ﬃ №5 ½", "\U0001f69a\U0010ffff", "' OR 1=1", "$q", "null", "\ufeffbom", "e\u0301"]  # fmt: skip
    base = many_records(len(texts))
    records = [
        replace(
            record,
            file_name=text,
            source_user=text,
            fields=json.dumps({text[:20]: text}),
            error_detail=text if record.status == "failed" else None,
        )
        for record, text in zip(base, texts, strict=True)
    ]
    write_rows(tmp_path / "data", records)
    assert command("rebuild", "--solr", core, "--data", tmp_path / "data") == 0
    assert stored(core) == sent(records)


def test_rows_of_kudu(kudu: LocalKudu, core: str, tmp_path: Path) -> None:
    records = many_records(250)
    table = f"index_{uuid.uuid4().hex}"
    writer = connect(KuduSettings(kudu.masters))
    try:
        assert not any(KuduRows(writer, image_events(table, replicas=1)).write(records))
        words = ["rebuild", "--solr", core, "--data", tmp_path, "--masters", kudu.masters, "--table", table]
        assert command(*words) == 0
        assert stored(core) == sent(records)
    finally:
        writer.drop(table)
        writer.close()


def test_what_is_forgotten_is_forgotten_by_the_index(core: str, tmp_path: Path, capsys: Capture) -> None:
    """With its rows; after them, where somebody forgot to say where Solr is; and of a user with any name."""
    user = 'me" OR *:*'
    records = [
        replace(each, source_user=user if n % 3 == 0 else f"user-{n}") for n, each in enumerate(many_records(60))
    ]
    write_rows(tmp_path / "data", records)
    assert command("rebuild", "--solr", core, "--data", tmp_path / "data") == 0
    # The rows name pictures that were never stored.
    given = ["forget", "--data", str(tmp_path / "data"), "--store", str(tmp_path / "objects"), "--yes"]
    (tmp_path / "objects").mkdir()
    first, second = list(
        dict.fromkeys(each.image_id for each in records if each.image_id and each.source_user != user)
    )[:2]
    assert call([*given, "--solr", core, str(first)]) == 0
    left = [each for each in records if each.image_id != first]
    assert {each["id"] for each in found(core)} == {each.request_id for each in left}
    assert call([*given, str(second)]) == 0, "without --solr"
    assert call([*given, "--solr", core, str(second)]) == 0, "its rows have gone"
    left = [each for each in left if each.image_id != second]
    assert {each["id"] for each in found(core)} == {each.request_id for each in left}
    assert call([*given, "--solr", core, "--source-user", user]) == 0
    left = [each for each in left if each.source_user != user]
    assert {each["id"] for each in found(core)} == {each.request_id for each in left}
    assert left, "there are others"
