"""PutSolrDocument with the records of images, alone and in packages, on a real Solr with the warehouse's own schema."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import to_text
from imagewarehouse.nifi import adapter
from imagewarehouse.nifi.codec import RECORDS, read_records
from imagewarehouse.ports import free_ports
from imagewarehouse.resources import REPOSITORY
from tests.conftest import Hosted, Left
from tests.solr_service import Solr, found

Host = Callable[..., Hosted]
OURS = REPOSITORY / "nifi-conf" / "solr" / "conf"


@pytest.fixture
def images(solr_service: Solr) -> Iterator[str]:
    """A core with the warehouse's schema."""
    yield solr_service.core("test-images", OURS)
    solr_service.drop("test-images")


@pytest.fixture
def index(hosted: Host, images: str) -> Hosted:
    return hosted("PutSolrDocument", {"Solr URL": images})


@pytest.fixture
def packages(hosted: Host, images: str) -> Hosted:
    return hosted("PutSolrDocument", {"Solr URL": images, "FlowFile Packages": "true"})


def attributes(**more: str) -> dict[str, str]:
    request_id = new_request_id(adapter.now())
    return {"request_id": request_id, "event_time": to_text(event_time(request_id)), "status": "classified",
            "file_name": "a truck.png", "predicted_class": "truck", "confidence": "0.9",
            "top_k": '[{"class": "truck", "probability": 0.9}]', "model_name": "m", "model_version": "1", **more}  # fmt: skip


def package(*records: dict[str, str]) -> dict[str, str]:
    return {RECORDS: json.dumps(records), "mime.type": "application/flowfile-v3", "answers": "1"}


def through(host: Hosted, sent: dict[str, str]) -> Left:
    """The content is not there: whoever reads it fails."""
    return host.transform(None, sent, size=1_000_000)


def test_a_record_is_one_document_however_often_it_comes(index: Hosted, images: str) -> None:
    sent = attributes()
    for _ in range(2):
        left = through(index, sent)
        assert (left.relationship, left.set) == ("success", {})
    [there] = found(images)
    assert (there["id"], there["request_id"], there["predicted_class"]) == (
        sent["request_id"],
        sent["request_id"],
        "truck",
    )
    assert found(images, "words:truck")
    later = attributes(request_id=sent["request_id"], event_time=sent["event_time"], predicted_class="car")
    assert through(index, later).relationship == "success"
    assert [d["predicted_class"] for d in found(images)] == ["car"]


@pytest.mark.parametrize("status", ["rejected", "failed", "accepted"])
def test_images_that_have_ended_are_found_too(index: Hosted, images: str, status: str) -> None:
    sent = {**attributes(), "status": status}
    if status != "accepted":
        sent |= {"error_code": "image.corrupt", "error_detail": "broken"}
    assert through(index, sent).relationship == "success"
    assert [d["status"] for d in found(images)] == [status]


def test_a_package_is_its_records_and_its_content_is_not_read(packages: Hosted, images: str) -> None:
    sent = [attributes(file_name=f"{n}.png") for n in range(70)]
    sent[3] = {**sent[3], "status": "rejected", "error_code": "image.corrupt", "error_detail": "broken"}
    left = through(packages, package(*sent))
    assert left.relationship == "success"
    assert {d["id"] for d in found(images)} == {each["request_id"] for each in sent}
    assert [each["request_id"] for each in read_records(left.attributes[RECORDS])] == [e["request_id"] for e in sent]
    assert left.attributes["answers"] == "1"


HOSTILE = ['"><script>', "*:* OR x", "{!xmlparser}", "a\\", '", "id": "x', "\x01\x1f", "🐈‍⬛", "x" * 5_000]


def test_texts_of_clients_stay_texts(packages: Hosted, images: str) -> None:
    sent = [attributes(file_name=text, source_user=text, error_detail=text, status="failed") for text in HOSTILE]
    assert through(packages, package(*sent)).relationship == "success"
    there = {d["id"]: d for d in found(images)}
    assert len(there) == len(sent)
    for each in sent:
        assert there[each["request_id"]]["file_name"] == each["file_name"]
        assert there[each["request_id"]]["source_user"] == each["source_user"]


def test_a_bad_record_of_a_package_is_named_and_the_others_are_there(packages: Hosted, images: str) -> None:
    sent = [attributes() for _ in range(5)]
    sent[1]["model_name"] = "x" * 40_000  # more than Solr takes of a term
    sent[3]["confidence"] = "often"
    left = through(packages, package(*sent))
    assert left.relationship == "failure"
    assert {d["id"] for d in found(images)} == {sent[n]["request_id"] for n in (0, 2, 4)}
    told = {each["request_id"]: each.get("error_code") for each in read_records(left.attributes[RECORDS])}
    assert [told[each["request_id"]] for each in sent] == [None, "solr.too_large", None, "rows.rejected", None]


def test_a_bad_record_alone_goes_to_failure(index: Hosted, images: str) -> None:
    left = through(index, attributes(model_name="x" * 40_000))
    assert (left.relationship, left.set["error_code"]) == ("failure", "solr.too_large")
    left = through(index, attributes(top_k="no json"))
    assert (left.relationship, left.set["error_code"]) == ("failure", "solr.refused")
    assert found(images) == []


@pytest.mark.parametrize("packaged", ["true", "false"])
def test_it_leaves_on_retry_as_it_came_while_solr_is_away(hosted: Host, packaged: str) -> None:
    address = f"http://127.0.0.1:{free_ports(1)[0]}/solr/images"
    host = hosted("PutSolrDocument", {"Solr URL": address, "FlowFile Packages": packaged})
    sent = package(attributes(), attributes()) if packaged == "true" else attributes()
    left = through(host, sent)
    assert (left.relationship, left.set, left.attributes) == ("retry", {}, sent)


def test_a_collection_that_is_missing_is_waited_for(hosted: Host, solr_service: Solr) -> None:
    host = hosted("PutSolrDocument", {"Solr URL": f"{solr_service.url}/test-later", "FlowFile Packages": "true"})
    sent = package(attributes())
    assert through(host, sent).relationship == "retry"
    url = solr_service.core("test-later", OURS)
    assert through(host, sent).relationship == "success"
    assert len(found(url)) == 1
    solr_service.drop("test-later")


def test_solr_comes_back_after_a_kill_and_nothing_is_lost(packages: Hosted, images: str, solr_service: Solr) -> None:
    first, second = package(attributes()), package(attributes())
    assert through(packages, first).relationship == "success"
    solr_service.service.kill()
    assert through(packages, second).relationship == "retry"
    solr_service.start()
    assert through(packages, second).relationship == "success"
    assert len(found(images)) == 2


def test_records_of_parallel_tasks_share_requests(hosted: Host, images: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = hosted("PutSolrDocument", {"Solr URL": images, "Solr Socket Timeout": "60 s"})
    opened: Any = host.processor.documents.get(host.host.context)
    session, posts = opened.solr._session, []
    request = session.request
    monkeypatch.setattr(session, "request", lambda *args, **more: (posts.append(1), request(*args, **more))[1])
    sent = [attributes() for _ in range(200)]
    with ThreadPoolExecutor(16) as pool:
        assert {left.relationship for left in pool.map(lambda each: through(host, each), sent)} == {"success"}
    assert {d["id"] for d in found(images)} == {each["request_id"] for each in sent}
    assert len(posts) < 100


def test_without_an_address_everything_leaves_by_its_own_way(hosted: Host) -> None:
    for properties in ({}, {"Solr URL": "", "Record Source": "content"}, {"Solr Type": "Cloud", "Collection": "x"}):
        left = through(hosted("PutSolrDocument", properties), attributes())
        assert (left.relationship, left.set) == ("switched off", {})


def test_starting_and_stopping_needs_no_solr(hosted: Host) -> None:
    host = hosted("PutSolrDocument", {"Solr URL": f"http://127.0.0.1:{free_ports(1)[0]}/solr/x"})
    host.processor.onScheduled(host.host.context)
    assert through(host, attributes()).relationship == "retry"
    host.processor.onStopped(host.host.context)
    assert through(host, attributes()).relationship == "retry"


def test_nothing_is_loaded_for_an_index_that_is_switched_off() -> None:
    program = """
import sys
from imagewarehouse.nifi.processors import processor_class
processor_class("PutSolrDocument")()
print(sorted({"pysolr", "requests", "kazoo"} & {*sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == "[]"
