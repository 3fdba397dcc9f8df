"""A package of FlowFiles ends as its FlowFiles would have ended one by one, whatever is wrong with some of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.errors import PackageBroken, WarehouseError
from imagewarehouse.flows.definition import Component
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import COLUMNS, to_text
from imagewarehouse.nifi import adapter, codec
from imagewarehouse.nifi.packages import MEDIA_TYPE, Packed, read_package, write_package
from imagewarehouse.standalone.python_host import PythonProcessor
from imagewarehouse.steps import filtering
from imagewarehouse.steps.classifying import ClassifyImages
from imagewarehouse.steps.enriching import EnrichMetadata
from imagewarehouse.steps.storing import StoreImages
from tests import hostile
from tests.conftest import Hosted, Left
from tests.test_processors import CLAIMS, written
from tests.ways import IN_PACKAGES, Sent, Way, answers, awaited, column, listened, make_way, package, records

KEY = "alice-0123456789abcdef"
Host = Callable[..., Hosted]
MakeWay = Callable[..., Way]
Picture = Callable[..., bytes]


@pytest.fixture
def way(hosted: Host, tmp_path: Path, colour_model: Path) -> MakeWay:
    """Builds the five steps; settings of a processor by its name."""

    def build(packages: bool = True, **settings: Mapping[str, str]) -> Way:
        return make_way(hosted, tmp_path / ("packages" if packages else "single"), colour_model, settings, packages)

    return build


# --- the filter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 64])
def test_a_package_of_good_images_goes_on_with_a_record_for_each(hosted: Host, picture: Picture, count: int) -> None:
    contents = [picture(colour=(number, 0, 0)) for number in range(count)]
    content, attributes = package((listened(), one) for one in contents)
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(content, attributes)
    assert left.relationship == "success"
    assert left.content == content  # no image goes back through the bridge
    assert set(left.set) == {codec.RECORDS}
    assert column(left, "status") == ["accepted"] * count
    assert len(set(column(left, "request_id"))) == count
    assert len(set(column(left, "image_id"))) == count
    for record in records(left):
        assert record["event_time"] == to_text(event_time(record["request_id"]))


def test_an_empty_package_goes_all_the_way_and_leaves_nothing(way: MakeWay) -> None:
    steps = way()
    left = steps.run(b"", {"mime.type": MEDIA_TYPE})
    assert steps.ways() == ["success"] * 5
    assert (left.attributes["answers"], steps.rows()) == ("", {})


def test_rejected_and_good_images_travel_on_together_each_with_its_own_verdict(way: MakeWay, picture: Picture) -> None:
    sent: list[Sent] = [
        (listened(), picture()),
        (listened(), b"plain text"),
        (listened("image/gif"), picture()),
        (listened(), picture()[:-5]),
        (listened("image/jpeg"), picture("JPEG")),
    ]
    steps = way()
    content, attributes = package(sent)
    left = steps.run(content, attributes)
    assert steps.ways() == ["success"] * 5
    codes = ["", "image.not_an_image", "image.type_mismatch", "image.truncated", ""]
    assert column(left, "error_code") == codes
    rows = [steps.rows()[request_id] for request_id in column(left, "request_id")]
    assert [row["status"] for row in rows] == ["rejected" if code else "classified" for code in codes]
    assert [row["error_code"] or "" for row in rows] == codes
    assert [row["predicted_class"] for row in rows] == [None if code else "red" for code in codes]
    assert [row["storage_uri"] is None for row in rows] == [bool(code) for code in codes]
    assert {row["source_ip"] for row in rows} == {"203.0.113.9"}


def test_a_package_of_rejected_requests_only_takes_the_way_of_the_rejected(way: MakeWay) -> None:
    steps = way()
    content, attributes = package([(listened(), b"text"), (listened(None), b"\x89PNG\r\n\x1a\n")])
    left = steps.run(content, attributes)
    assert [(name, one.relationship) for name, one in steps.passed] == [
        ("FilterImageRequest", "rejected"), ("EnrichImageMetadata", "rejected"), ("PutKuduRecord", "success"),
    ]  # fmt: skip
    assert {row["status"] for row in steps.rows().values()} == {"rejected"}
    assert len(steps.rows()) == 2
    assert column(left, "source_ip") == ["203.0.113.9"] * 2


def test_images_out_of_json_take_the_place_of_their_bodies(hosted: Host, picture: Picture) -> None:
    image = picture()
    body = json.dumps({"image": base64.b64encode(image).decode()}).encode()
    sent = [(listened("application/json"), body), (listened(), image), (listened("application/json"), b"{"),
            (listened("application/json"), body)]  # fmt: skip
    content, attributes = package(sent)
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(content, attributes)
    assert left.relationship == "success"
    assert left.content is not None
    packed = read_package(left.content)
    assert [bytes(one.content) for one in packed] == [image, image, b"{", image]
    assert [dict(one.attributes) for one in packed] == [one for one, _ in sent]
    assert column(left, "status") == ["accepted", "accepted", "rejected", "accepted"]
    assert column(left, "size_bytes") == [str(len(image)), str(len(image)), "1", str(len(image))]


def test_the_parts_of_a_form_keep_their_own_names_and_ids_inside_a_package(hosted: Host, picture: Picture) -> None:
    key = new_request_id(adapter.now())

    def part(number: int, **more: str) -> dict[str, str]:
        return listened("multipart/form-data; boundary=x", **{
            "Idempotency-Key": key, "http.multipart.fragments.sequence.number": str(number),
            "http.multipart.fragments.total.number": "3", "http.multipart.content.type": "image/png", **more,
        })  # fmt: skip

    sent = [(part(1, **{"http.multipart.filename": "a.png"}), picture(colour="red")),
            (part(2, **{"http.multipart.filename": "b.png"}), picture(colour="blue")),
            (part(3), b"a field")]  # fmt: skip
    apart = hosted("FilterImageRequest")
    alone = [apart.transform(content, attributes) for attributes, content in sent]
    content, attributes = package(sent)
    together = hosted("FilterImageRequest", IN_PACKAGES).transform(content, attributes)
    for name in ("request_id", "file_name", "declared_type", "status", "error_code"):
        assert column(together, name) == [one.attributes.get(name, "") for one in alone], name
    assert column(together, "request_id")[0] == key
    assert column(together, "file_name")[:2] == ["a.png", "b.png"]


# --- an image that trips our code -----------------------------------------------------------------------------------


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A content over which the filter's own code stumbles."""
    poisoned = b"GIF89a poisoned"
    whole = filtering.check_content

    def check(request: Any, content: bytes, *arguments: Any, **more: Any) -> Any:
        if content == poisoned:
            raise ZeroDivisionError("a defect")
        return whole(request, content, *arguments, **more)

    monkeypatch.setattr(filtering, "check_content", check)
    return poisoned


@pytest.mark.parametrize("listener", [awaited, listened], ids=["awaited", "listened"])
def test_an_image_that_trips_the_filter_costs_only_itself(
    way: MakeWay,
    picture: Picture,
    poison: bytes,
    listener: Callable[..., dict[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = [(listener(), picture()), (listener("image/gif"), poison), (listener(), picture(colour="blue")),
            (listener(), b"no picture")]  # fmt: skip
    steps = way()
    content, attributes = package(sent)
    left = steps.run(content, attributes)
    assert steps.ways()[:4] == ["success"] * 4
    classified = steps.passed[3][1]
    assert column(classified, "status") == ["classified", "failed", "classified", "rejected"]
    assert column(classified, "error_code") == ["", "internal", "", "image.not_an_image"]
    assert column(classified, "source_ip") == ["203.0.113.9"] * 4
    assert sorted(row["status"] for row in steps.rows().values()) == ["classified", "classified", "failed", "rejected"]
    assert "ZeroDivisionError: a defect" in caplog.text
    # One id in the log, the row and the answer.
    request_id = column(classified, "request_id")[1]
    assert f"FilterImageRequest: request {request_id}" in caplog.text
    assert steps.rows()[request_id]["error_code"] == "internal"
    assert left.relationship == "success"
    if listener is awaited:
        made = [answers(left)[one["http.context.identifier"]] for one, _ in sent]
        assert [one.attributes["http.response.status"] for one in made] == ["200", "500", "200", "415"]
        assert json.loads(made[1].content)["request_id"] == request_id


def test_a_sender_of_packages_cannot_choose_a_row_by_tripping_the_filter(
    way: MakeWay, picture: Picture, poison: bytes
) -> None:
    """What the filter stumbled over has no id of ours, and must not get the sender's: it names the row overwritten."""
    steps = way()
    content, attributes = package([(listened(**CLAIMS), poison), (listened(), picture())])
    steps.run(content, attributes)
    assert CLAIMS["request_id"] not in steps.rows()
    assert "made up" not in str(steps.rows())


@pytest.mark.parametrize(
    ("step", "method"), [(EnrichMetadata, "_enrich"), (StoreImages, "_put"), (ClassifyImages, "_outcome")]
)
def test_an_image_that_trips_a_later_step_costs_only_itself(
    way: MakeWay, picture: Picture, monkeypatch: pytest.MonkeyPatch, step: type, method: str
) -> None:
    steps = way()
    whole = getattr(step, method)
    content, attributes = package([(listened(), picture(colour=(n, 0, 0))) for n in range(5)])

    def trips(self: Any, image: Any, *more: Any) -> Any:
        if image.number == 2:
            raise ZeroDivisionError("a defect")
        return whole(self, image, *more)

    monkeypatch.setattr(step, method, trips)
    left = steps.run(content, attributes)
    assert steps.ways() == ["success"] * 5
    assert column(left, "status") == ["classified", "classified", "failed", "classified", "classified"]
    rows = [steps.rows()[request_id] for request_id in column(left, "request_id")]
    assert [row["error_code"] for row in rows] == [None, None, "internal", None, None]
    assert all("ZeroDivision" not in str(row) for row in rows)  # the text stays in the log


def test_what_an_earlier_step_failed_at_is_only_carried_along(
    hosted: Host, way: MakeWay, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = way()
    seen: list[int] = []
    whole = StoreImages._put

    def put(self: StoreImages, image: Any, content: bytes) -> Any:
        seen.append(image.number)
        return whole(self, image, content)

    monkeypatch.setattr(StoreImages, "_put", put)
    content, attributes = package([(listened(), b"text"), (listened(), picture()), (listened(), b"text")])
    left = steps.run(content, attributes)
    assert seen == [1]
    assert [set(record) & {"storage_uri", "predicted_class"} == set() for record in records(left)] == [
        True,
        False,
        True,
    ]


# --- the store ----------------------------------------------------------------------------------------------------


def break_store(folder: Path) -> None:
    """A file where the store's folder should be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "objects").write_bytes(b"")


def accepted(hosted: Host, sent: Sequence[Sent]) -> Left:
    content, attributes = package(sent)
    return hosted("FilterImageRequest", IN_PACKAGES).transform(content, attributes)


@pytest.mark.parametrize(
    ("listeners", "relationship"),
    [
        pytest.param([listened, listened, listened], "retry", id="nobody-waits"),
        pytest.param([awaited, awaited, awaited], "refused", id="all-wait"),
        pytest.param([awaited, listened, awaited], "retry", id="some-wait"),
    ],
)
def test_a_store_that_is_away(
    hosted: Host,
    picture: Picture,
    tmp_path: Path,
    listeners: Sequence[Callable[..., dict[str, str]]],
    relationship: str,
) -> None:
    filtered = accepted(hosted, [(listener(), picture()) for listener in listeners])
    break_store(tmp_path)
    store = hosted("StoreImage", {"Store URI": str(tmp_path / "objects"), **IN_PACKAGES})
    left = store.transform(filtered.content, filtered.attributes)
    assert left.relationship == relationship
    if relationship == "retry":  # as it came, or the next try would carry the marks of this one
        assert (left.set, left.content) == ({}, filtered.content)
        assert dict(left.attributes) == dict(filtered.attributes)
        (tmp_path / "objects").unlink()
        again = store.transform(left.content, left.attributes)
        assert (again.relationship, column(again, "status")) == ("success", ["accepted"] * 3)
        assert len(set(column(again, "storage_uri"))) == 1
    else:
        assert column(left, "status") == ["failed"] * 3
        assert column(left, "error_code") == ["objects.unavailable"] * 3
        assert column(left, "storage_uri") == [""] * 3
        assert all(column(left, "error_detail"))


def test_an_image_that_was_rejected_does_not_keep_a_package_of_a_store_that_is_away(
    hosted: Host, picture: Picture, tmp_path: Path
) -> None:
    filtered = accepted(hosted, [(awaited(), b"text"), (awaited(), picture())])
    break_store(tmp_path)
    store = hosted("StoreImage", {"Store URI": str(tmp_path / "objects"), **IN_PACKAGES})
    left = store.transform(filtered.content, filtered.attributes)
    assert left.relationship == "refused"
    assert column(left, "error_code") == ["image.not_an_image", "objects.unavailable"]


# --- the model ----------------------------------------------------------------------------------------------------


def spoil(folder: Path) -> None:
    (folder / "1" / "model.tflite").write_bytes(b"x")


@pytest.mark.parametrize(
    ("break_model", "code"),
    [
        pytest.param(spoil, "model.broken", id="another-file"),
        pytest.param(lambda folder: (folder / "1" / "manifest.json").write_text("{"), "model.broken", id="no-manifest"),
    ],
)
def test_a_model_that_is_broken_fails_every_image_of_the_package(
    hosted: Host, way: MakeWay, tmp_path: Path, picture: Picture, tflite: Host, write_model: Callable[..., Path],
    break_model: Callable[[Path], Any], code: str,
) -> None:  # fmt: skip
    write_model(tmp_path / "model" / "1", {"litert": ("model.tflite", tflite())})
    steps = way(ClassifyImage={"Model Folder": str(tmp_path / "model")})
    break_model(tmp_path / "model")
    sent = [
        (awaited(**CLAIMS | {"http.remote.addr": "203.0.113.9"}), picture()),
        (awaited(), picture()),
        (awaited(), b"text"),
    ]
    content, attributes = package(sent)
    left = steps.run(content, attributes)
    assert steps.ways() == ["success"] * 5
    assert column(left, "status") == ["failed", "failed", "rejected"]
    assert column(left, "error_code") == [code, code, "image.not_an_image"]
    assert column(left, "predicted_class") == ["", "", ""]
    rows = steps.rows()
    assert sorted(row["error_code"] for row in rows.values()) == sorted([code, code, "image.not_an_image"])
    made = [answers(left)[one["http.context.identifier"]].attributes["http.response.status"] for one, _ in sent]
    assert made == ["500", "500", "415"]


def test_a_model_that_is_not_there_fails_every_image_of_the_package(
    way: MakeWay, tmp_path: Path, picture: Picture, tflite: Host, write_model: Callable[..., Path]
) -> None:
    write_model(tmp_path / "model" / "1", {"litert": ("model.tflite", tflite())})
    steps = way(ClassifyImage={"Model Folder": str(tmp_path / "model")})
    (tmp_path / "model").rename(tmp_path / "away")
    content, attributes = package(
        [(listened(), picture()), (listened(), picture("JPEG")), (listened("image/jpeg"), picture("JPEG"))]
    )
    left = steps.run(content, attributes)
    assert column(left, "status") == ["failed", "rejected", "failed"]
    assert len(steps.rows()) == 3


# --- the rows -----------------------------------------------------------------------------------------------------


def last_step(hosted: Host, tmp_path: Path) -> Hosted:
    return hosted("PutKuduRecord", {"Local Database": str(tmp_path / "rows.duckdb"), **IN_PACKAGES})


def finished(
    count: int, listener: Callable[..., dict[str, str]] = listened, **more: str
) -> tuple[bytes, dict[str, str]]:
    """A package as it comes to the last step."""
    sent = [(listener(), bytes([number % 256])) for number in range(count)]
    content, attributes = package(sent)
    found = []
    for (one, _), number in zip(sent, range(count), strict=True):
        request_id = new_request_id(adapter.now())
        found.append({
            "http.context.identifier": one.get("http.context.identifier", ""),
            "restlistener.remote.source.host": one.get("restlistener.remote.source.host", ""),
            "request_id": request_id, "event_time": to_text(event_time(request_id)), "status": "classified",
            "predicted_class": "frog", "confidence": "0.5", "width": str(number), **more,
        })  # fmt: skip
    return content, {**attributes, codec.RECORDS: json.dumps(found)}


def test_there_is_a_row_for_each_image_and_no_answer_where_nobody_waits(hosted: Host, tmp_path: Path) -> None:
    rows = last_step(hosted, tmp_path)
    content, attributes = finished(100)
    left = rows.transform(content, {**attributes, "answers": "7"})
    assert (left.relationship, left.content, left.attributes["answers"]) == ("success", content, "")
    assert sorted(row["width"] for row in written(rows)) == list(range(100))
    assert {row["request_id"] for row in written(rows)} == set(column(left, "request_id"))


def test_the_answers_become_a_package_with_what_the_response_needs(hosted: Host, tmp_path: Path) -> None:
    rows = last_step(hosted, tmp_path)
    content, attributes = finished(10, awaited)
    sent = codec.read_records(attributes[codec.RECORDS])
    left = rows.transform(content, attributes)
    assert (left.relationship, left.attributes["answers"]) == ("success", "10")
    assert left.content is not None
    made = [Packed({**left.attributes, **one.attributes}, bytes(one.content)) for one in read_package(left.content)]
    assert [one.attributes["http.context.identifier"] for one in made] == [r["http.context.identifier"] for r in sent]
    for one, record in zip(made, sent, strict=True):
        assert (one.attributes["http.response.status"], one.attributes["mime.type"]) == ("200", "application/json")
        assert json.loads(bytes(one.content))["request_id"] == record["request_id"]
        assert not one.attributes.get(codec.RECORDS)  # else each answer would carry the records of all


def test_only_those_who_wait_are_answered(hosted: Host, tmp_path: Path) -> None:
    rows = last_step(hosted, tmp_path)
    (first, one), (second, two) = finished(3), finished(2, awaited)
    found = codec.read_records(one[codec.RECORDS]) + codec.read_records(two[codec.RECORDS])
    left = rows.transform(first + second, {codec.RECORDS: json.dumps(found)})
    assert (left.relationship, left.attributes["answers"]) == ("success", "2")
    assert left.content is not None
    assert [p.attributes["http.context.identifier"] for p in read_package(left.content)] == [
        record["http.context.identifier"] for record in found[3:]
    ]
    assert len(written(rows)) == 5


def test_an_answer_is_not_forged_by_an_identifier_that_a_sender_of_packages_wrote(
    way: MakeWay, picture: Picture
) -> None:
    steps = way()
    content, attributes = package([(listened(**{"http.context.identifier": "somebody else"}), picture())])
    left = steps.run(content, attributes)
    assert left.attributes["answers"] == ""
    assert left.content == content


def test_one_key_for_two_images_of_a_package_leaves_one_row(way: MakeWay, picture: Picture) -> None:
    key = new_request_id(adapter.now())
    steps = way()
    sent = [(listened(**{"Idempotency-Key": key}), picture(colour=colour)) for colour in ("red", "blue", "red")]
    content, attributes = package(sent)
    left = steps.run(content, attributes)
    assert left.relationship == "success"
    assert list(steps.rows()) == [key]
    assert steps.rows()[key]["predicted_class"] == "red"  # the last one's


@pytest.mark.parametrize(
    ("listener", "relationship"), [(listened, "retry"), (awaited, "refused")], ids=["nobody-waits", "all-wait"]
)
def test_rows_that_cannot_be_written_now(
    hosted: Host, tmp_path: Path, listener: Callable[..., dict[str, str]], relationship: str
) -> None:
    rows = last_step(hosted, tmp_path)
    content, attributes = finished(5, listener)
    rows.processor.rows.get(rows.host.context).close()
    left = rows.transform(content, attributes)
    assert left.relationship == relationship
    if relationship == "retry":
        assert (left.set, left.content) == ({}, content)
        rows.processor.onScheduled(rows.host.context)  # the database is back
        assert rows.transform(left.content, left.attributes).relationship == "success"
        assert len(written(rows)) == 5
        return
    assert left.attributes["answers"] == "5"
    assert left.content is not None
    for packed in read_package(left.content):
        assert packed.attributes["http.response.status"] == "503"
        assert packed.attributes["Retry-After"]
        assert json.loads(bytes(packed.content))["error_code"] == "rows.unavailable"


def with_a_bad_row(attributes: dict[str, str], number: int) -> dict[str, str]:
    found = codec.read_records(attributes[codec.RECORDS])
    found[number]["confidence"] = "often"
    return {**attributes, codec.RECORDS: json.dumps(found)}


def test_a_row_that_can_never_be_written_is_told_to_its_client_only(hosted: Host, tmp_path: Path) -> None:
    rows = last_step(hosted, tmp_path)
    content, attributes = finished(5, awaited)
    left = rows.transform(content, with_a_bad_row(attributes, 2))
    assert (left.relationship, left.attributes["answers"]) == ("success", "5")
    assert left.content is not None
    statuses = [packed.attributes["http.response.status"] for packed in read_package(left.content)]
    assert statuses == ["200", "200", "500", "200", "200"]
    assert len(written(rows)) == 4


def test_a_package_with_a_row_that_can_never_be_written_waits_for_an_operator_with_all_it_knew(
    hosted: Host, tmp_path: Path
) -> None:
    rows = last_step(hosted, tmp_path)
    content, attributes = finished(5)
    left = rows.transform(content, with_a_bad_row(attributes, 2))
    assert (left.relationship, left.content) == ("failure", content)
    assert column(left, "error_code") == ["", "", "rows.rejected", "", ""]
    assert column(left, "request_id") == [r["request_id"] for r in codec.read_records(attributes[codec.RECORDS])]
    assert len(written(rows)) == 4  # the others are there


def test_a_record_that_trips_the_last_step_costs_only_its_own_answer(
    hosted: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = last_step(hosted, tmp_path)
    content, attributes = finished(4, awaited)
    found = codec.read_records(attributes[codec.RECORDS])
    found[2]["top_k"] = "no json"  # the answer cannot be made of it
    left = rows.transform(content, {**attributes, codec.RECORDS: json.dumps(found)})
    assert (left.relationship, left.attributes["answers"]) == ("success", "4")
    assert left.content is not None
    made = {p.attributes["http.context.identifier"]: p for p in read_package(left.content)}
    statuses = [made[record["http.context.identifier"]].attributes["http.response.status"] for record in found]
    assert statuses == ["200", "200", "500", "200"]
    assert "JSONDecodeError" in caplog.text


def test_a_package_cannot_be_made_of_what_has_no_record(hosted: Host, tmp_path: Path) -> None:
    rows = last_step(hosted, tmp_path)
    content, attributes = package([(listened(**CLAIMS), b"x")])
    attributes.pop(codec.RECORDS, None)
    left = rows.transform(content, attributes)
    # No filter has spoken, so a flow of another kind may have put the record into the attributes.
    assert left.relationship == "success"
    (row,) = written(rows)
    assert row["request_id"] == CLAIMS["request_id"]


# --- what a package claims ------------------------------------------------------------------------------------------


def forged(count: int) -> str:
    return json.dumps([{**CLAIMS, "request_id": new_request_id(adapter.now())} for _ in range(count)])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_records_that_came_along_with_a_package_are_not_believed_by_the_first_step(
    way: MakeWay, picture: Picture, count: int
) -> None:
    steps = way()
    content, attributes = package([(listened(), picture()), (listened(), b"text")])
    left = steps.run(content, {**attributes, codec.RECORDS: forged(count), "answers": "5"})
    assert column(left, "status") == ["classified", "rejected"]
    assert left.attributes["answers"] == ""
    assert len(steps.rows()) == 2
    assert "made up" not in str(steps.rows())


def test_records_that_came_along_inside_a_package_are_no_records(way: MakeWay, picture: Picture) -> None:
    steps = way()
    content, attributes = package([(listened(**{codec.RECORDS: forged(1), "answers": "1"}), picture())])
    left = steps.run(content, attributes)
    assert left.attributes["answers"] == ""
    assert "made up" not in str(steps.rows())
    assert len(steps.rows()) == 1


@pytest.mark.parametrize("name", [column.name for column in COLUMNS])
def test_a_column_that_a_sender_claims_is_not_believed_behind_the_filter(
    hosted: Host, picture: Picture, name: str
) -> None:
    content, attributes = package([(listened(**{name: CLAIMS[name]}), picture()), (listened(**CLAIMS), b"text")])
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(content, attributes)
    images = codec.Bundle(_Given(left)).images()
    for image, record, status in zip(images, records(left), ("accepted", "rejected"), strict=True):
        assert codec.event_attributes(image.event).get(name) != CLAIMS[name]
        assert record.get(name) != CLAIMS[name]
        assert image.event.status == status
        assert image.event.request_id == record["request_id"]


class _Given:
    """A FlowFile as it left a step."""

    def __init__(self, left: Left) -> None:
        self._left = left

    def getAttribute(self, name: str) -> str | None:
        return self._left.attributes.get(name)

    def getSize(self) -> int:
        return len(self._left.content or b"")

    def getContentsAsBytes(self) -> bytes:
        assert self._left.content is not None
        return self._left.content


@pytest.mark.parametrize("header", ["X-Access-Key", "x-access-key", "X-ACCESS-KEY"])
@pytest.mark.parametrize("body", ["an image", "no image", "the wrong key"])
def test_a_credential_is_blanked_on_the_package_and_in_no_record(
    hosted: Host, picture: Picture, header: str, body: str
) -> None:
    key = "wrong-0123456789abcdef" if body == "the wrong key" else KEY
    content = b"text" if body == "no image" else picture()
    filter_request = hosted("FilterImageRequest", {"Access Keys": f"alice:{KEY}", **IN_PACKAGES})
    packed, attributes = package([(listened(**{header: key}), content), (listened(**{header: key}), content)])
    assert attributes[header] == key  # NiFi's package has what all in it have in common
    left = filter_request.transform(packed, attributes)
    assert key not in str(left.attributes)
    assert left.attributes[header] == "checked"
    assert column(left, "source_user") == (["", ""] if body == "the wrong key" else ["alice", "alice"])
    assert column(left, "status") == ["accepted" if body == "an image" else "rejected"] * 2


def test_each_image_of_a_package_is_checked_with_its_own_key(hosted: Host, picture: Picture) -> None:
    filter_request = hosted(
        "FilterImageRequest", {"Access Keys": f"alice:{KEY}, bob:bob-0123456789abcdef", **IN_PACKAGES}
    )
    sent = [(listened(**{"X-Access-Key": KEY}), picture()), (listened(), picture()),
            (listened(Authorization="Bearer bob-0123456789abcdef"), picture()),
            (listened(**{"X-Access-Key": "mallory-0123456789"}), picture())]  # fmt: skip
    content, attributes = package(sent)
    left = filter_request.transform(content, attributes)
    assert column(left, "source_user") == ["alice", "", "bob", ""]
    assert column(left, "error_code") == ["", "access.key_missing", "", "access.key_wrong"]


def test_a_credential_stays_inside_the_package_and_nowhere_else(hosted: Host, picture: Picture) -> None:
    """What docs/nifi.md tells operators: NiFi's own event of the request has it as well, and taking it out would mean to
    write every package back through the bridge."""
    filter_request = hosted("FilterImageRequest", {"Access Keys": f"alice:{KEY}", **IN_PACKAGES})
    content, attributes = package([(listened(**{"X-Access-Key": KEY}), picture())])
    left = filter_request.transform(content, attributes)
    assert left.content == content
    assert KEY not in json.dumps(dict(left.attributes))


# --- what is no package ---------------------------------------------------------------------------------------------

STEPS = ["FilterImageRequest", "EnrichImageMetadata", "StoreImage", "ClassifyImage", "PutKuduRecord"]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(hostile.PNG, id="an-image"),
        pytest.param(write_package([Packed({}, hostile.PNG)])[:-1], id="cut-short"),
        pytest.param(write_package([Packed({}, hostile.PNG)]) + b"x", id="a-byte-too-many"),
    ],
)
def test_what_is_no_package_fails_with_a_reason(
    hosted: Host, tmp_path: Path, colour_model: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes
) -> None:
    settings = {"StoreImage": {"Store URI": str(tmp_path)}, "ClassifyImage": {"Model Folder": str(colour_model)},
                "PutKuduRecord": {"Local Database": str(tmp_path / "rows.duckdb")}}  # fmt: skip
    step = hosted(name, {**settings.get(name, {}), **IN_PACKAGES})
    left = step.transform(content, listened())
    assert (left.relationship, left.content) == ("failure", content)
    assert (left.set["status"], left.set["error_code"]) == ("failed", PackageBroken.code)
    assert left.set["error_detail"] in caplog.text


@pytest.mark.parametrize("name", ["StoreImage", "ClassifyImage"])
@pytest.mark.parametrize("change", ["one-less", "one-more", "cut-short"])
def test_a_package_that_is_not_the_one_its_records_speak_of_fails_image_by_image(
    hosted: Host, tmp_path: Path, colour_model: Path, picture: Picture, name: str, change: str
) -> None:
    """Each of them still gets its row, and that says that it failed."""
    filtered = accepted(hosted, [(listened(), picture()) for _ in range(3)])
    assert filtered.content is not None
    packed = read_package(filtered.content)
    content = {
        "one-less": write_package(packed[:-1]),
        "one-more": write_package([*packed, packed[0]]),
        "cut-short": filtered.content[:-1],
    }[change]
    settings = {
        "StoreImage": {"Store URI": str(tmp_path / "objects")},
        "ClassifyImage": {"Model Folder": str(colour_model)},
    }
    left = hosted(name, {**settings[name], **IN_PACKAGES}).transform(content, filtered.attributes)
    assert left.relationship == "success"  # no further try would change it
    assert column(left, "status") == ["failed"] * 3
    rows = last_step(hosted, tmp_path)
    assert rows.transform(left.content, left.attributes).relationship == "success"
    assert [row["status"] for row in written(rows)] == ["failed"] * 3


def test_a_filter_that_is_given_no_package_leaves_no_records_that_a_later_step_would_believe(
    hosted: Host, tmp_path: Path
) -> None:
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(b"no package", {codec.RECORDS: forged(1)})
    assert left.relationship == "failure"
    assert not left.attributes.get(codec.RECORDS)
    assert last_step(hosted, tmp_path).transform(left.content, left.attributes).relationship == "failure"


# --- what costs what, and what it is made of ---------------------------------------------------------------------------


def test_the_content_is_not_read_where_the_records_say_enough(hosted: Host, picture: Picture) -> None:
    filtered = accepted(hosted, [(listened(), picture()), (listened(), b"text")])
    enriched = hosted("EnrichImageMetadata", IN_PACKAGES).transform(
        None, filtered.attributes
    )  # None: reading would raise
    assert enriched.relationship == "success"
    assert column(enriched, "source_ip") == ["203.0.113.9"] * 2


def test_rows_are_written_without_reading_the_content(hosted: Host, tmp_path: Path) -> None:
    _, attributes = finished(5)
    assert last_step(hosted, tmp_path).transform(None, attributes).relationship == "success"


@pytest.mark.parametrize(("value", "works"), [("true", True), ("false", True), ("yes", False)])
@pytest.mark.parametrize("name", STEPS)
def test_the_property_takes_true_and_false(
    component: Callable[..., Component], name: str, value: str, works: bool
) -> None:
    def build() -> None:
        PythonProcessor(component(name, properties={codec.SETTING: value}), {})

    if works:
        build()
    else:
        with pytest.raises(WarehouseError, match="FlowFile Packages"):
            build()


def test_records_are_text_that_every_host_can_take(way: MakeWay) -> None:
    """NiFi's bridge sends attributes as UTF-8."""
    steps = way()
    bodies = [b'{"image": "QUJD", "type": "\\ud800"}', b'{"image_uri": "\\ud800"}', b'{"\\udcff": 1}',
              b'{"image": "\\udcff"}', b'{"image": "QUJD", "file_name": "\\ud800.png"}']  # fmt: skip
    sent = [(listened("application/json"), body) for body in bodies]
    sent += [(listened("image/\udcff"), b"x"), (listened(filename="\udcff\u202e.png"), b"x"),
             (listened(**{"Idempotency-Key": "\udcff\n"}), b"x")]  # fmt: skip
    content, attributes = package(sent)
    left = steps.run(content, attributes)
    assert left.relationship == "success"
    for _, step in steps.passed:
        step.attributes[codec.RECORDS].encode()
    assert len(steps.rows()) == len(sent)


class _Large:
    """A package of one FlowFile whose content nobody may read."""

    def __init__(self, size: int, attributes: Mapping[str, str]) -> None:
        self._size, self._attributes = size, attributes

    def getSize(self) -> int:
        return self._size

    def getContentsAsBytes(self) -> bytes:
        raise AssertionError("was read")

    def getAttribute(self, name: str) -> str | None:
        return self._attributes.get(name)

    def getAttributes(self) -> dict[str, str]:
        return dict(self._attributes)


@pytest.mark.parametrize("size", [(64 << 20) + 1, 3 << 30], ids=["64 MB", "3 GB"])
def test_a_body_far_over_the_limit_is_rejected_without_being_read(hosted: Host, size: int) -> None:
    sent = awaited() | {codec.RECORDS: forged(1)}
    filter_request = hosted("FilterImageRequest", IN_PACKAGES)
    result = filter_request.host.processor.transform(filter_request.host.context, _Large(size, sent))
    assert result.relationship == "rejected"
    [record] = codec.read_records(result.attributes[codec.RECORDS])
    assert (record["error_code"], record["size_bytes"]) == ("request.too_large", str(size))
    assert record["http.context.identifier"] == sent["http.context.identifier"]
    enrich = hosted("EnrichImageMetadata", IN_PACKAGES)
    later = enrich.host.processor.transform(enrich.host.context, _Large(size, sent | result.attributes))
    assert later.relationship == "rejected"
