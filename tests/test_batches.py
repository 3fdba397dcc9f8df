"""A package of FlowFiles ends as its FlowFiles would have ended one by one, whatever is wrong with some of them."""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagewarehouse import intake
from imagewarehouse.errors import InferenceFailed, PackageBroken, RowRejected, WarehouseError
from imagewarehouse.flows.definition import Component
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import COLUMNS, ImageRecord, to_text
from imagewarehouse.models.classifier import Classifier, Prediction, load_classifier
from imagewarehouse.nifi import adapter, batches
from imagewarehouse.nifi.packages import MEDIA_TYPE, Packed, read_package, write_package
from imagewarehouse.nifi.processors import processor_class
from imagewarehouse.rows.store import GroupCommit
from imagewarehouse.standalone import java
from imagewarehouse.standalone.engine import Outcome
from imagewarehouse.standalone.flowfile import FlowFile, Ticket
from imagewarehouse.standalone.python_host import PythonProcessor
from tests import hostile
from tests.conftest import Hosted, Left
from tests.test_processors import CLAIMS, written

KEY = "alice-0123456789abcdef"
IN_PACKAGES = {batches.SETTING: "true"}
Host = Callable[..., Hosted]
Picture = Callable[..., bytes]
Sent = tuple[Mapping[str, str], bytes]


# --- requests -----------------------------------------------------------------------------------------------------


def awaited(content_type: str | None = "image/png", **more: str) -> dict[str, str]:
    """As HandleHttpRequest leaves them: a client waits."""
    identifier = new_request_id(adapter.now())
    attributes = {
        "http.context.identifier": identifier,
        "http.method": "POST",
        "http.remote.addr": "203.0.113.9",
        "uuid": identifier,
        "filename": identifier,
        **more,
    }
    if content_type is not None:
        attributes |= {"mime.type": content_type, "http.headers.Content-Type": content_type}
    return attributes


def listened(content_type: str | None = "image/png", **more: str) -> dict[str, str]:
    """As ListenHTTP leaves them: nobody waits."""
    identifier = new_request_id(adapter.now())
    attributes = {
        "restlistener.remote.source.host": "203.0.113.9",
        "restlistener.remote.user.dn": "none",
        "uuid": identifier,
        "filename": identifier,
        **more,
    }
    if content_type is not None:
        attributes["Content-Type"] = content_type
    return attributes


def package(sent: Iterable[Sent]) -> tuple[bytes, dict[str, str]]:
    """(content, attributes) of the package that the flow makes of them."""
    component = Component("gather", "gather", "PROCESSOR", java.PACKAGE, ("", "", ""), (),
                          {"Maximum Batch Size": "10000"}, frozenset(), frozenset(), 1, 0, 0, None, True)  # type: ignore[arg-type]  # fmt: skip
    flow_files = [FlowFile(attributes, content, len(content), Ticket()) for attributes, content in sent]
    outcome: Outcome = java.package_flow_file(component, {}).work(flow_files)
    ((_, made),) = (item for item in outcome if item[0] == "success")
    assert made.content is not None
    return made.content, dict(made.attributes)


def records(left: Left) -> list[dict[str, str]]:
    found: list[dict[str, str]] = batches.read_records(left.attributes[batches.RECORDS])
    return found


def column(left: Left, name: str) -> list[str]:
    return [record.get(name, "") for record in records(left)]


# --- the whole way ------------------------------------------------------------------------------------------------


@dataclass
class Way:
    """The five steps as the flow connects them."""

    steps: dict[str, Hosted]
    passed: list[tuple[str, Left]] = field(default_factory=list)

    def run(self, content: bytes, attributes: Mapping[str, str], size: int | None = None) -> Left:
        """How a FlowFile leaves its last step, or the step that wants to see it again."""
        names = list(self.steps)
        left = Left("", attributes, content, {})
        self.passed = []
        number: int | None = 0
        while number is not None:
            left = self.steps[names[number]].transform(left.content, left.attributes, size)
            size = None
            self.passed.append((names[number], left))
            number = self._next(number, left.relationship)
        return left

    def _next(self, number: int, relationship: str) -> int | None:
        last = len(self.steps) - 1
        if number == last or relationship == "retry":
            return None
        if relationship == "failure" or (relationship == "rejected" and number > 0):
            return last
        return number + 1

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["request_id"]: row for row in written(self.steps["PutKuduRecord"])}

    def ways(self) -> list[str]:
        return [left.relationship for _, left in self.passed]


MakeWay = Callable[..., Way]


def make_way(hosted: Host, folder: Path, model: Path, settings: Mapping[str, Mapping[str, str]], packages: bool) -> Way:
    own: dict[str, dict[str, str]] = {
        "FilterImageRequest": {},
        "EnrichImageMetadata": {},
        "StoreImage": {"Store URI": str(folder / "objects")},
        "ClassifyImage": {"Model Folder": str(model)},
        "PutKuduRecord": {"Local Database": str(folder / "rows.duckdb")},
    }
    mode = {batches.SETTING: str(packages).lower()}
    return Way({name: hosted(name, {**own[name], **mode, **settings.get(name, {})}) for name in own})


@pytest.fixture
def way(hosted: Host, tmp_path: Path, colour_model: Path) -> MakeWay:
    """Builds the five steps; settings of a processor by its name."""

    def build(packages: bool = True, **settings: Mapping[str, str]) -> Way:
        return make_way(hosted, tmp_path / ("packages" if packages else "single"), colour_model, settings, packages)

    return build


def answers(left: Left) -> dict[str, Packed]:
    """What UnpackContent makes of the answers, by the client that waits."""
    assert left.content is not None
    found = [
        Packed({**left.attributes, **packed.attributes}, bytes(packed.content)) for packed in read_package(left.content)
    ]
    return {packed.attributes["http.context.identifier"]: packed for packed in found}


# --- one and the same outcome -------------------------------------------------------------------------------------

VARYING = {"event_time", "request_id", "total_ms", "preprocess_ms", "inference_ms", "storage_uri"}
OF_AN_ANSWER = ("http.response.status", "mime.type", "Retry-After")


def requests() -> dict[str, Callable[[Callable[..., dict[str, str]]], Sent]]:
    """Good and bad requests; each is given what a listener makes of a content type and of more attributes."""

    def plain(content: bytes, declared: str | None, **more: str) -> Callable[[Callable[..., dict[str, str]]], Sent]:
        return lambda listener: (listener(declared, **more), content)

    def envelope(**fields: str) -> bytes:
        return json.dumps(fields).encode()

    encoded = base64.b64encode(hostile.PNG).decode()
    found = {
        case.id: plain(case.body(), case.declared_type)
        for case in hostile.CASES
        if case.over_http and not case.limits and not case.rules and not case.request and len(case.body()) < 100_000
    }
    found |= {f"good-{name}": plain(content, declared) for name, (declared, content) in hostile.HEALTHY.items()}
    part = {
        "http.multipart.fragments.sequence.number": "1",
        "http.multipart.fragments.total.number": "1",
        "http.multipart.content.type": "image/png",
        "http.multipart.name": "file",
    }
    form = "multipart/form-data; boundary=x"
    found |= {
        "json-base64": plain(envelope(image=encoded), "application/json"),
        "json-base64-with-a-name": plain(envelope(image=encoded, file_name="a.png"), "application/json"),
        "json-base64-of-another-type": plain(envelope(image=encoded, type="image/gif"), "application/json"),
        "form-with-a-file": plain(hostile.PNG, form, **part, **{"http.multipart.filename": "ä b.png"}),
        "form-with-a-field": plain(b"text", form, **part),
        "form-with-two-files": plain(
            hostile.PNG,
            form,
            **{**part, "http.multipart.fragments.total.number": "2", "http.multipart.filename": "a.png"},
        ),
        "form-that-is-none": plain(b"--y", form),
        "get": plain(hostile.PNG, "image/png", **{"http.method": "GET"}),
        "body-that-was-not-kept": plain(b"", "image/png", **{"http.unkept.size": str(64 << 20)}),
        "no-body": plain(b"", "image/png"),
        "no-type": plain(hostile.PNG, None),
        "type-with-parameters": plain(hostile.PNG, "image/png; charset=binary"),
        "type-that-is-no-text": plain(hostile.PNG, "image/\udcff"),
        "named": plain(
            hostile.PNG, "image/png", **{"Content-Disposition": "attachment; filename*=UTF-8''%e2%82%ac.png"}
        ),
        "named-by-a-path": plain(
            hostile.PNG, "image/png", **{"Content-Disposition": 'attachment; filename="../a.png"'}
        ),
        "bad-key": plain(hostile.PNG, "image/png", **{"Idempotency-Key": "1"}),
        "claims": plain(hostile.PNG, "image/png", **{k: v for k, v in CLAIMS.items() if not k.startswith("http.")}),
        "rejected-with-claims": plain(
            b"no picture", "image/png", **{k: v for k, v in CLAIMS.items() if not k.startswith("http.")}
        ),
    }
    return found


REQUESTS = requests()


def outcome(row: Mapping[str, Any] | None, answer: Packed | None) -> dict[str, Any]:
    """What became of a request, without what is another each time."""
    found: dict[str, Any] = {"row": None, "answer": None}
    if row is not None:
        # Of what varies, whether it is there.
        found["row"] = {name: value is not None if name in VARYING else value for name, value in row.items()}
    if answer is not None:
        body = json.loads(bytes(answer.content))
        said = {name: value is not None if name in VARYING else value for name, value in body.items()}
        found["answer"] = {name: answer.attributes.get(name, "") for name in OF_AN_ANSWER} | {"body": said}
    return found


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory, component: Callable[..., Component], colour_model: Path
) -> Iterator[dict[tuple[str, str, bool], dict[str, Any]]]:
    """By door, request, and whether it came in a package."""
    hosts: list[PythonProcessor] = []

    def hosted(name: str, properties: Mapping[str, str]) -> Hosted:
        hosts.append(PythonProcessor(component(name, properties=properties), {}))
        return Hosted(hosts[-1])

    folder = tmp_path_factory.mktemp("outcomes")
    found: dict[tuple[str, str, bool], dict[str, Any]] = {}
    for door, listener in {"awaited": awaited, "listened": listened}.items():
        alone = make_way(hosted, folder / f"{door}-alone", colour_model, {}, False)
        lefts: dict[str, Left] = {}
        for name, make in REQUESTS.items():
            attributes, content = make(listener)
            lefts[name] = alone.run(content, attributes)
        rows = alone.rows()
        for name, left in lefts.items():
            answer = Packed(left.attributes, left.content or b"") if door == "awaited" else None
            assert left.relationship == "success"
            found[door, name, False] = outcome(rows.get(left.attributes["request_id"]), answer)

        together = make_way(hosted, folder / f"{door}-together", colour_model, {}, True)
        names = list(REQUESTS)
        for start in range(0, len(names), 64):
            share = names[start : start + 64]
            sent = [REQUESTS[name](listener) for name in share]
            content, attributes = package(sent)
            left = together.run(content, attributes)
            assert left.relationship == "success"
            rows, made = together.rows(), answers(left) if door == "awaited" else {}
            for name, record, (one, _) in zip(share, records(left), sent, strict=True):
                answer = made.get(one.get("http.context.identifier", ""))
                found[door, name, True] = outcome(rows.get(record["request_id"]), answer)
    yield found
    for host in hosts:
        host.stop()


@pytest.mark.parametrize("door", ["awaited", "listened"])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_ends_in_a_package_as_it_does_alone(
    outcomes: dict[tuple[str, str, bool], dict[str, Any]], door: str, name: str
) -> None:
    alone, together = outcomes[door, name, False], outcomes[door, name, True]
    assert alone["row"] is not None
    assert (alone["answer"] is not None) == (door == "awaited")
    assert together == alone


def test_the_table_of_requests_has_good_and_bad_ones_of_every_kind(
    outcomes: dict[tuple[str, str, bool], dict[str, Any]],
) -> None:
    rows = [outcomes["awaited", name, True]["row"] for name in REQUESTS]
    assert sum(row["status"] == "classified" for row in rows) >= 15
    assert len({row["error_code"] for row in rows}) >= 15
    assert len(REQUESTS) > 40


# --- the filter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 64])
def test_a_package_of_good_images_goes_on_with_a_record_for_each(hosted: Host, picture: Picture, count: int) -> None:
    contents = [picture(colour=(number, 0, 0)) for number in range(count)]
    content, attributes = package((listened(), one) for one in contents)
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(content, attributes)
    assert left.relationship == "success"
    assert left.content == content  # no image goes back through the bridge
    assert set(left.set) == {batches.RECORDS}
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
    whole = intake.check_content

    def check(request: Any, content: bytes, *arguments: Any, **more: Any) -> Any:
        if content == poisoned:
            raise ZeroDivisionError("a defect")
        return whole(request, content, *arguments, **more)

    processor_class("FilterImageRequest")
    monkeypatch.setattr(sys.modules["FilterImageRequest"], "check_content", check)
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


@pytest.mark.parametrize(("processor", "function"), [("EnrichImageMetadata", "source_ip"), ("StoreImage", "_put")])
def test_an_image_that_trips_a_later_step_costs_only_itself(
    way: MakeWay, picture: Picture, monkeypatch: pytest.MonkeyPatch, processor: str, function: str
) -> None:
    steps = way()
    module = sys.modules[processor]
    whole = getattr(module, function)
    content, attributes = package([(listened(), picture(colour=(n, 0, 0))) for n in range(5)])

    def trips(first: Any, *more: Any) -> Any:
        member = first if processor == "StoreImage" else first.__self__
        if member.number == 2:
            raise ZeroDivisionError("a defect")
        return whole(first, *more)

    monkeypatch.setattr(module, function, trips)
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
    whole = sys.modules["StoreImage"]._put
    monkeypatch.setattr(
        sys.modules["StoreImage"], "_put", lambda image, *more: seen.append(image.number) or whole(image, *more)
    )
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


# --- many at a model ------------------------------------------------------------------------------------------------

_ADDRESS = re.compile(r"0x[0-9a-f]+")  # Pillow names the object that it was given
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")


@pytest.fixture
def classifier(colour_model: Path) -> Classifier:
    return load_classifier(colour_model)


def one_by_one(classifier: Classifier, images: Sequence[tuple[bytes, str | None]]) -> list[Prediction | WarehouseError]:
    found: list[Prediction | WarehouseError] = []
    for content, image_format in images:
        try:
            found.append(classifier.classify(content, image_format))
        except WarehouseError as err:
            found.append(err)
    return found


def same(one: Prediction | WarehouseError, other: Prediction | WarehouseError) -> bool:
    if isinstance(one, WarehouseError) or isinstance(other, WarehouseError):
        return type(one) is type(other) and _ADDRESS.sub("", str(one)) == _ADDRESS.sub("", str(other))
    return [label for label, _ in one.top] == [label for label, _ in other.top] and np.allclose(
        [p for _, p in one.top], [p for _, p in other.top], atol=1e-6
    )


def pictures(picture: Picture, count: int) -> list[tuple[bytes, str | None]]:
    return [
        (
            picture(FORMATS[n % 6], (n * 37 % 256, n * 11 % 256, n * 17 % 256), (8 + n % 5, 6)),
            FORMATS[n % 6] if n % 4 else None,
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 64])
def test_many_images_are_classified_as_each_alone(classifier: Classifier, picture: Picture, count: int) -> None:
    images = pictures(picture, count)
    together, alone = classifier.classify_many(images), one_by_one(classifier, images)
    assert len(together) == count
    assert all(map(same, together, alone))


@pytest.mark.parametrize("bad", [[0], [3], [7], [0, 7], [2, 3, 4], list(range(8))], ids=str)
def test_images_that_do_not_decode_cost_only_themselves(
    classifier: Classifier, picture: Picture, bad: list[int]
) -> None:
    images = [
        (content[: len(content) // 3], "PNG") if number in bad else (content, image_format)
        for number, (content, image_format) in enumerate(pictures(picture, 8))
    ]
    together, alone = classifier.classify_many(images), one_by_one(classifier, images)
    assert [isinstance(one, WarehouseError) for one in together] == [number in bad for number in range(8)]
    assert all(map(same, together, alone))


def test_top_k_holds_for_each_of_many(classifier: Classifier, picture: Picture) -> None:
    for top_k in (1, 2, 3, 10):
        found = classifier.classify_many(pictures(picture, 4), top_k)
        assert [len(one.top) for one in found if isinstance(one, Prediction)] == [min(top_k, 3)] * 4


def refusing(classifier: Classifier, refuses: Callable[[np.ndarray[Any, Any]], bool]) -> tuple[Classifier, list[int]]:
    """The same model, which raises at some of what it is given."""
    calls: list[int] = []

    def infer(batch: Any) -> Any:
        calls.append(len(batch))
        if refuses(batch):
            raise RuntimeError("cannot take this")
        return classifier._infer(batch)

    return Classifier(classifier.manifest, infer, classifier.runtime), calls


def test_a_model_that_refuses_batches_is_asked_one_by_one(classifier: Classifier, picture: Picture) -> None:
    images = pictures(picture, 5)
    refused, calls = refusing(classifier, lambda batch: len(batch) > 1)
    assert all(map(same, refused.classify_many(images), classifier.classify_many(images)))
    assert calls == [5, 1, 1, 1, 1, 1]


def test_an_image_that_the_model_refuses_costs_only_itself(classifier: Classifier, picture: Picture) -> None:
    images: list[tuple[bytes, str | None]] = [(picture(colour=(n, 0, 0)), "PNG") for n in (10, 200, 20)]
    refused, _ = refusing(classifier, lambda batch: bool((batch.max(axis=(1, 2, 3)) > 0.5).any()))
    found = refused.classify_many(images)
    assert [isinstance(one, InferenceFailed) for one in found] == [False, True, False]
    assert all(map(same, found, one_by_one(refused, images)))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda batch: np.zeros((len(batch) + 1, 3), np.float32), id="a-row-too-many"),
        pytest.param(lambda batch: np.zeros((1, 3), np.float32) if len(batch) > 1 else np.zeros((1, 4)), id="one-row"),
        pytest.param(lambda batch: np.full((len(batch), 3), np.nan, np.float32), id="no-numbers"),
        pytest.param(lambda batch: None, id="nothing"),
    ],
)
def test_a_model_that_answers_nonsense_fails_each_image(
    classifier: Classifier, picture: Picture, answer: Callable[[Any], Any]
) -> None:
    broken = Classifier(classifier.manifest, answer, classifier.runtime)
    found = broken.classify_many(pictures(picture, 3))
    assert [type(one) for one in found] == [InferenceFailed] * 3


def test_packages_of_many_threads_are_classified_as_each_alone(classifier: Classifier, picture: Picture) -> None:
    images = pictures(picture, 32)
    alone = classifier.classify_many(images)
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda _: classifier.classify_many(images), range(24)):
            assert all(map(same, found, alone))


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
    return content, {**attributes, batches.RECORDS: json.dumps(found)}


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
    sent = batches.read_records(attributes[batches.RECORDS])
    left = rows.transform(content, attributes)
    assert (left.relationship, left.attributes["answers"]) == ("success", "10")
    assert left.content is not None
    made = [Packed({**left.attributes, **one.attributes}, bytes(one.content)) for one in read_package(left.content)]
    assert [one.attributes["http.context.identifier"] for one in made] == [r["http.context.identifier"] for r in sent]
    for one, record in zip(made, sent, strict=True):
        assert (one.attributes["http.response.status"], one.attributes["mime.type"]) == ("200", "application/json")
        assert json.loads(bytes(one.content))["request_id"] == record["request_id"]
        assert not one.attributes.get(batches.RECORDS)  # else each answer would carry the records of all


def test_only_those_who_wait_are_answered(hosted: Host, tmp_path: Path) -> None:
    rows = last_step(hosted, tmp_path)
    (first, one), (second, two) = finished(3), finished(2, awaited)
    found = batches.read_records(one[batches.RECORDS]) + batches.read_records(two[batches.RECORDS])
    left = rows.transform(first + second, {batches.RECORDS: json.dumps(found)})
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
    found = batches.read_records(attributes[batches.RECORDS])
    found[number]["confidence"] = "often"
    return {**attributes, batches.RECORDS: json.dumps(found)}


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
    assert column(left, "request_id") == [r["request_id"] for r in batches.read_records(attributes[batches.RECORDS])]
    assert len(written(rows)) == 4  # the others are there


def test_a_record_that_trips_the_last_step_costs_only_its_own_answer(
    hosted: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = last_step(hosted, tmp_path)
    content, attributes = finished(4, awaited)
    found = batches.read_records(attributes[batches.RECORDS])
    found[2]["top_k"] = "no json"  # the answer cannot be made of it
    left = rows.transform(content, {**attributes, batches.RECORDS: json.dumps(found)})
    assert (left.relationship, left.attributes["answers"]) == ("success", "4")
    assert left.content is not None
    made = {p.attributes["http.context.identifier"]: p for p in read_package(left.content)}
    statuses = [made[record["http.context.identifier"]].attributes["http.response.status"] for record in found]
    assert statuses == ["200", "200", "500", "200"]
    assert "JSONDecodeError" in caplog.text


def test_a_package_cannot_be_made_of_what_has_no_record(hosted: Host, tmp_path: Path) -> None:
    rows = last_step(hosted, tmp_path)
    content, attributes = package([(listened(**CLAIMS), b"x")])
    attributes.pop(batches.RECORDS, None)
    left = rows.transform(content, attributes)
    # No filter has spoken, so a flow of another kind may have put the record into the attributes.
    assert left.relationship == "success"
    (row,) = written(rows)
    assert row["request_id"] == CLAIMS["request_id"]


# --- shared commits -------------------------------------------------------------------------------------------------


class Odd:
    """Refuses rows of odd width; notes what was written together."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def write(self, items: Sequence[ImageRecord], /) -> Sequence[str | WarehouseError]:
        self.batches.append(len(items))
        return [RowRejected("odd") if (item.width or 0) % 2 else f"row {item.width}" for item in items]

    def close(self) -> None: ...


def expected(widths: Iterable[int]) -> list[str]:
    return ["odd" if width % 2 else f"row {width}" for width in widths]


def texts(outcomes: Iterable[Any]) -> list[str]:
    return [str(outcome) for outcome in outcomes]


@pytest.mark.parametrize("count", [0, 1, 2, 10, 11, 35])
def test_items_written_together_get_each_their_own_result(record: Callable[..., ImageRecord], count: int) -> None:
    store = Odd()
    found = GroupCommit(store, max_weight=10).write_all([record(width=n) for n in range(count)])
    assert texts(found) == expected(range(count))
    assert sum(store.batches) == count
    assert all(size <= 10 for size in store.batches)
    assert len(store.batches) == -(-count // 10)


def test_packages_of_many_threads_get_each_their_own_results(record: Callable[..., ImageRecord]) -> None:
    store = Odd()
    commits = GroupCommit(store, max_weight=10)
    found: dict[int, list[str]] = {}

    def write(thread: int) -> None:
        for turn in range(40):
            widths = range(thread * 10_000 + turn * 100, thread * 10_000 + turn * 100 + (thread * 7 + turn) % 25)
            found[thread * 100 + turn] = texts(commits.write_all([record(width=n) for n in widths]))
            assert found[thread * 100 + turn] == expected(widths)

    # Daemons: a thread that waits for ever has to fail its test, not the end of the run.
    threads = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a task waits for a commit that never comes"
    assert len(found) == 8 * 40
    assert max(store.batches) <= 10


# --- what a package claims ------------------------------------------------------------------------------------------


def forged(count: int) -> str:
    return json.dumps([{**CLAIMS, "request_id": new_request_id(adapter.now())} for _ in range(count)])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_records_that_came_along_with_a_package_are_not_believed_by_the_first_step(
    way: MakeWay, picture: Picture, count: int
) -> None:
    steps = way()
    content, attributes = package([(listened(), picture()), (listened(), b"text")])
    left = steps.run(content, {**attributes, batches.RECORDS: forged(count), "answers": "5"})
    assert column(left, "status") == ["classified", "rejected"]
    assert left.attributes["answers"] == ""
    assert len(steps.rows()) == 2
    assert "made up" not in str(steps.rows())


def test_records_that_came_along_inside_a_package_are_no_records(way: MakeWay, picture: Picture) -> None:
    steps = way()
    content, attributes = package([(listened(**{batches.RECORDS: forged(1), "answers": "1"}), picture())])
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
    for member, honest in zip(
        batches.Package(_Given(left)), ({"status": "accepted"}, {"status": "rejected"}), strict=True
    ):
        assert member.getAttribute(name) != CLAIMS[name]
        assert member.getAttribute("status") == honest["status"]
        assert member.getAttributes()["request_id"] == member.record["request_id"]


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
def test_a_credential_is_blanked_in_the_records_and_on_the_package(
    hosted: Host, picture: Picture, header: str, body: str
) -> None:
    key = "wrong-0123456789abcdef" if body == "the wrong key" else KEY
    content = b"text" if body == "no image" else picture()
    filter_request = hosted("FilterImageRequest", {"Access Keys": f"alice:{KEY}", **IN_PACKAGES})
    packed, attributes = package([(listened(**{header: key}), content), (listened(**{header: key}), content)])
    assert attributes[header] == key  # NiFi's package has what all in it have in common
    left = filter_request.transform(packed, attributes)
    assert key not in str(left.attributes)
    assert column(left, header) == ["checked"] * 2
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
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(b"no package", {batches.RECORDS: forged(1)})
    assert left.relationship == "failure"
    assert not left.attributes.get(batches.RECORDS)
    assert last_step(hosted, tmp_path).transform(left.content, left.attributes).relationship == "failure"


# --- the parts ------------------------------------------------------------------------------------------------------


class Given:
    def __init__(self, content: bytes, attributes: Mapping[str, str] | None = None) -> None:
        self.reads = 0
        self._content, self._attributes = content, attributes or {}

    def getSize(self) -> int:
        return len(self._content)

    def getContentsAsBytes(self) -> bytes:
        self.reads += 1
        return self._content

    def getAttribute(self, name: str) -> str | None:
        return self._attributes.get(name)


@dataclass
class Result:
    relationship: str
    attributes: dict[str, str] | None = None
    contents: bytes | None = None


def some(count: int) -> batches.Package:
    return batches.Package(Given(write_package([Packed({"n": str(n)}, bytes([n])) for n in range(count)])))


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


def test_the_content_is_read_once_however_much_is_asked() -> None:
    flow_file = Given(write_package([Packed({"a": "b"}, b"first"), Packed({}, b"second")]))
    found = batches.Package(flow_file)
    for _ in range(3):
        assert [(m.getAttribute("a"), m.getSize(), m.getContentsAsBytes()) for m in found] == [
            ("b", 5, b"first"), (None, 6, b"second"),
        ]  # fmt: skip
    assert flow_file.reads == 1


@pytest.mark.parametrize(
    ("ways", "fatal", "expected"),
    [
        pytest.param(["success"] * 3, None, "success", id="all-alike"),
        pytest.param(["rejected"] * 3, None, "rejected", id="all-rejected"),
        pytest.param(["success", "rejected", "failure"], None, "success", id="mixed"),
        pytest.param(["failure", "rejected"], None, "success", id="mixed-without-a-success"),
        pytest.param(["success", "failure", "success"], "failure", "failure", id="a-fatal-one"),
        pytest.param(["success", "retry", "success"], None, "retry", id="one-to-be-tried-again"),
        pytest.param(["failure", "retry"], "failure", "retry", id="trying-again-comes-before-a-fatal-one"),
        pytest.param([], None, "success", id="nobody"),
        pytest.param([], "failure", "success", id="nobody-and-nothing-fatal"),
    ],
)
def test_a_package_goes_where_its_images_go(ways: list[str], fatal: str | None, expected: str) -> None:
    found = some(len(ways))
    before = found.records_text()
    left = batches.each(
        found, lambda members: [Result(way, {"way": way}) for way in ways], Result, everyone=True, fatal=fatal
    )
    assert left.relationship == expected
    if expected == "retry":
        assert (left.attributes, left.contents, found.records_text()) == (None, None, before)
    else:
        assert [record["way"] for record in batches.read_records((left.attributes or {})[batches.RECORDS])] == ways


def test_work_that_fails_as_a_whole_is_done_one_by_one() -> None:
    calls: list[list[int]] = []

    def work(members: Sequence[Any]) -> list[Result]:
        calls.append([member.number for member in members])
        if any(member.number == 1 for member in members):
            raise ZeroDivisionError("a defect")
        return [Result("success", {"way": "success"}) for _ in members]

    found = some(4)
    left = batches.each(found, work, Result, everyone=True)
    assert calls == [[0, 1, 2, 3], [0], [1], [2], [3]]
    assert left.relationship == "success"
    assert [record.get("status") for record in found.records] == [None, "failed", None, None]
    assert found.records[1]["error_code"] == "internal"
    assert "a defect" not in found.records_text()


def test_work_for_nobody_is_not_done() -> None:
    """The rest of the way of a package whose images have all ended: a step that cannot work must not fail it."""

    def work(members: Sequence[Any]) -> list[Result]:
        raise AssertionError("called")

    found = batches.Package(Given(b"", {batches.RECORDS: '[{"status":"failed"},{"status":"rejected"}]'}))
    assert batches.each(found, work, Result).relationship == "success"


def test_work_that_fails_late_fails_the_same_way() -> None:
    def work(members: Sequence[Any]) -> Iterator[Result]:
        for member in members:
            if member.number == 2:
                raise ZeroDivisionError("a defect")
            yield Result("success")

    found = some(3)
    assert batches.each(found, work, Result, everyone=True).relationship == "success"
    assert [record.get("status") for record in found.records] == [None, None, "failed"]


def test_results_for_too_few_members_are_a_defect_and_no_outcome() -> None:
    with pytest.raises(ValueError, match="shorter"):
        batches.each(some(3), lambda members: [Result("success")] * 2, Result, everyone=True)


def test_other_contents_take_the_place_of_those_they_belong_to() -> None:
    found = some(4)
    left = batches.each(
        found,
        lambda members: [Result("success", None, b"new" if m.number in (1, 3) else None) for m in members],
        Result,
        everyone=True,
    )
    assert left.contents is not None
    assert [(dict(p.attributes), bytes(p.content)) for p in read_package(left.contents)] == [
        ({"n": "0"}, b"\x00"), ({"n": "1"}, b"new"), ({"n": "2"}, b"\x02"), ({"n": "3"}, b"new"),
    ]  # fmt: skip


@pytest.mark.parametrize(("value", "works"), [("true", True), ("false", True), ("yes", False)])
@pytest.mark.parametrize("name", STEPS)
def test_the_property_takes_true_and_false(
    component: Callable[..., Component], name: str, value: str, works: bool
) -> None:
    def build() -> None:
        PythonProcessor(component(name, properties={batches.SETTING: value}), {})

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
        step.attributes[batches.RECORDS].encode()
    assert len(steps.rows()) == len(sent)


@pytest.mark.parametrize("number", [1, 64])
def test_records_of_a_few_are_plain_json_and_those_of_many_come_back_all_the_same(number: int) -> None:
    given = [{"request_id": f"{n:036d}", "file_name": 'bär "1".jpg', "status": "accepted"} for n in range(number)]
    bundle = batches.Package(Given(write_package([Packed({}, b"")] * number)))
    bundle.records = given
    text = bundle.records_text()
    assert text.startswith("[") is (number == 1)
    assert len(text) < 4_000
    assert batches.read_records(text) == given


@pytest.mark.parametrize("text", ["{", "{}", "[1]", "deflate:", "deflate:!!", "deflate:AAAA", "deflated"])
def test_records_that_cannot_be_read_are_said_to_be(text: str) -> None:
    with pytest.raises(PackageBroken, match=batches.RECORDS):
        batches.read_records(text)


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
    sent = awaited() | {batches.RECORDS: forged(1)}
    filter_request = hosted("FilterImageRequest", IN_PACKAGES)
    result = filter_request.host.processor.transform(filter_request.host.context, _Large(size, sent))
    assert result.relationship == "rejected"
    [record] = batches.read_records(result.attributes[batches.RECORDS])
    assert (record["error_code"], record["size_bytes"]) == ("request.too_large", str(size))
    assert record["http.context.identifier"] == sent["http.context.identifier"]
    enrich = hosted("EnrichImageMetadata", IN_PACKAGES)
    later = enrich.host.processor.transform(enrich.host.context, _Large(size, sent | result.attributes))
    assert later.relationship == "rejected"


def test_records_that_inflate_without_end_are_not_inflated() -> None:
    bomb = batches._DEFLATED + base64.b64encode(zlib.compress(bytes(100 << 20), 9)).decode()
    assert len(bomb) < 200_000
    with pytest.raises(PackageBroken, match="does not end within 64 MB"):
        batches.read_records(bomb)
