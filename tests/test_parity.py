"""A fault that may pass ends alike at every step, whether its image is alone or among others: tried again for as long."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.errors import WarehouseError, all_errors
from imagewarehouse.flows.build import FLOW_FILE
from imagewarehouse.flows.definition import read_flow
from imagewarehouse.images.decoding import Decoded, decode_rgb
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.models.classifier import Classifier
from imagewarehouse.objects import fetching
from imagewarehouse.objects.fetching import open_below
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.rows.store import GroupCommit
from imagewarehouse.standalone.flowfile import FlowFile
from tests.conftest import Hosted, Left
from tests.ways import Way, answers, as_left, awaited, listened, make_way, package, packaged_flow_file

Picture = Callable[..., bytes]

MAY_PASS = sorted((code for code, error in all_errors().items() if error.retryable), key=str)
LISTENERS = {"awaited": awaited, "listened": listened}
# How often the flow tries a FlowFile again at a step, and for which relationships; a loop has no end.
TRIES = {c.type: c.retry for c in read_flow(FLOW_FILE).components.values() if c.kind == "PROCESSOR"}
FOR_EVER = 1000
_LOOPS = 10  # that many rounds of a loop are enough of "for ever" here


class Fault:
    """An error that one image meets, so many times."""

    def __init__(self, code: str, times: int) -> None:
        self.code, self.left, self.met = code, times, 0

    def error(self) -> WarehouseError | None:
        if self.left <= 0:
            return None
        self.left -= 1
        self.met += 1
        return all_errors()[self.code]("away")


class Retried(Way):
    """The steps with the retries of the flow: NiFi tries again with the FlowFile as it came."""

    def run(self, content: bytes, attributes: Any, size: int | None = None) -> Left:
        names = list(self.steps)
        left = Left("", attributes, content, {})
        self.passed = []
        number: int | None = 0
        while number is not None:
            came = left
            for attempt in range(_LOOPS):
                left = self.steps[names[number]].transform(came.content, came.attributes)
                retry = TRIES[names[number]]
                tried = left.relationship in retry.relationships and attempt < retry.count
                if not tried and left.relationship != "retry":
                    break
            self.passed.append((names[number], left))
            number = self._next(number, left.relationship)
        return left

    def carry(self, flow_file: FlowFile) -> FlowFile:
        names = list(self.steps)
        self.passed = []
        number: int | None = 0
        while number is not None:
            came, retry = flow_file, TRIES[names[number]]
            for attempt in range(_LOOPS):
                ((relationship, flow_file),) = self.steps[names[number]].host.work(came)
                tried = relationship in retry.relationships and attempt < retry.count
                if not tried and relationship != "retry":
                    break
            self.passed.append((names[number], as_left(relationship, flow_file)))
            number = self._next(number, relationship)
        return flow_file


def break_objects(monkeypatch: pytest.MonkeyPatch, poison: bytes, fault: Fault) -> None:
    whole, image_id = ImageStore.put, hashlib.sha256(poison).hexdigest()

    def put(self: ImageStore, key: str, image_format: str, content: bytes, **more: bool) -> str:
        if key == image_id and (error := fault.error()):
            raise error
        return whole(self, key, image_format, content, **more)

    monkeypatch.setattr(ImageStore, "put", put)


def break_model(monkeypatch: pytest.MonkeyPatch, poison: bytes, fault: Fault) -> None:
    whole = Classifier.classify_many

    def classify_many(
        self: Classifier, images: Sequence[tuple[bytes, str | None] | Decoded], top_k: int = 5
    ) -> list[Any]:
        found = whole(self, images, top_k)
        pixels = decode_rgb(poison, self.manifest.spec)
        for number, image in enumerate(images):
            same = (image.pixels == pixels).all() if isinstance(image, Decoded) else image[0] == poison
            if same and (error := fault.error()):
                found[number] = error
        return found

    monkeypatch.setattr(Classifier, "classify_many", classify_many)


def break_rows(monkeypatch: pytest.MonkeyPatch, poison: bytes, fault: Fault) -> None:
    whole, image_id = GroupCommit.write_all, hashlib.sha256(poison).hexdigest()

    def write_all(self: Any, items: Sequence[ImageRecord]) -> list[Any]:
        found = list(whole(self, items))
        for number, record in enumerate(items):
            if record.image_id == image_id and (error := fault.error()):
                found[number] = error
        return found

    monkeypatch.setattr(GroupCommit, "write_all", write_all)


STEPS = {"StoreImage": break_objects, "ClassifyImage": break_model, "PutKuduRecord": break_rows}
OWN = {"StoreImage": "objects.unavailable", "ClassifyImage": "model.unavailable", "PutKuduRecord": "kudu.unavailable"}
# Every error at every step among two; a step's own error also among more.
TABLE = [
    pytest.param(step, code, count, id=f"{step}-{code}-among-{count}", marks=[pytest.mark.long] * (code != OWN[step]))
    for step in STEPS
    for code in MAY_PASS
    for count in ((2, 16, 64) if code == OWN[step] else (2,))
]


@pytest.fixture
def outcome(
    hosted: Callable[..., Hosted], tmp_path: Path, colour_model: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """What becomes of the image that meets a fault, and of the others of its package."""

    def run(
        step: str, code: str, times: int, listener: str, count: int, packages: bool = True, carried: bool = False
    ) -> dict[str, Any]:
        folder = tmp_path / f"{count}-{packages}-{carried}"
        steps = Retried(make_way(hosted, folder, colour_model, {}, packages).steps)
        contents = [picture(colour=(number, 0, 0)) for number in range(count)]
        poison, fault = contents[count // 2], Fault(code, times)
        with monkeypatch.context() as broken:
            STEPS[step](broken, poison, fault)
            sent = [(LISTENERS[listener](), content) for content in contents]
            if carried:
                steps.carry(packaged_flow_file(sent))
                left = steps.passed[-1][1]
            else:
                left = steps.run(*(package(sent) if packages else (sent[0][1], sent[0][0])))
        rows = {row["image_id"]: row for row in steps.rows().values()}
        own = rows.pop(hashlib.sha256(poison).hexdigest(), None)
        told: Any = None
        if listener == "awaited":
            others = dict(_answers(left, sent, packages))
            told = others.pop(sent[count // 2][0]["http.context.identifier"])
            assert {status for status, _ in others.values()} <= {"200"}, others
            assert len(others) == count - 1
        if left.relationship != "retry":
            assert {(row["status"], row["storage_uri"] is None) for row in rows.values()} <= {("classified", False)}
            assert len(rows) == count - 1
        row = own and {name: own[name] for name in ("status", "error_code", "predicted_class")}
        return {"row": row, "told": told, "met": fault.met, "waits": left.relationship == "retry"}

    return run


def _answers(left: Left, sent: Sequence[Any], packages: bool) -> Any:
    assert left.content is not None
    found = answers(left) if packages else {sent[0][0]["http.context.identifier"]: left}
    for identifier, answer in found.items():
        body = json.loads(bytes(answer.content))
        yield identifier, (answer.attributes["http.response.status"], body.get("error_code"))


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("times", [1, 3, FOR_EVER], ids=["once", "for-some-seconds", "for-ever"])
@pytest.mark.parametrize(("step", "code", "count"), TABLE)
def test_a_fault_ends_alike_alone_and_among_others(
    outcome: Callable[..., dict[str, Any]], step: str, code: str, times: int, listener: str, count: int
) -> None:
    alone = outcome(step, code, times, listener, 1)
    assert outcome(step, code, times, listener, 1, packages=False) == alone
    assert outcome(step, code, times, listener, count) == alone
    assert outcome(step, code, times, listener, min(count, 16), carried=True) == alone
    if times != FOR_EVER:  # it passed within the retries
        assert alone["row"]["status"] == "classified"
        assert alone["met"] == times
    elif listener == "awaited":
        assert alone["told"] == (str(all_errors()[code].http_status), code)
        assert alone["met"] == TRIES[step].count + 1


@pytest.mark.parametrize("count", [1, 2, 16])
@pytest.mark.parametrize("listener", LISTENERS)
def test_an_image_uri_whose_store_is_away_fails_at_once_alone_and_among_others(
    hosted: Callable[..., Hosted],
    tmp_path: Path,
    colour_model: Path,
    picture: Picture,
    monkeypatch: pytest.MonkeyPatch,
    listener: str,
    count: int,
) -> None:
    """FilterImageRequest has nothing of it yet that could be lost: the client is told, the row names the URI."""
    (tmp_path / "in").mkdir()
    uris = []
    for number in range(count):
        (tmp_path / "in" / f"{number}.png").write_bytes(picture(colour=(number, 0, 0)))
        uris.append((tmp_path / "in" / f"{number}.png").as_uri())

    def away(root: str, key: str) -> Any:
        if key == "0.png":
            raise TimeoutError("the store is away")
        return open_below(root, key)

    monkeypatch.setattr(fetching, "open_below", away)
    settings = {"FilterImageRequest": {"Allowed Image URIs": (tmp_path / "in").as_uri()}}
    steps = Retried(make_way(hosted, tmp_path, colour_model, settings, True).steps)
    sent = [(LISTENERS[listener]("application/json"), json.dumps({"image_uri": uri}).encode()) for uri in uris]
    left = steps.run(*package(sent))
    rows = {row["status"]: row for row in steps.rows().values()}
    assert len(steps.rows()) == count
    assert set(rows) == ({"failed", "classified"} if count > 1 else {"failed"})
    assert rows["failed"]["error_code"] == "request.uri_unavailable"
    assert rows["failed"]["error_detail"].startswith(uris[0])
    if listener == "awaited":
        told = dict(_answers(left, sent, True))
        assert told.pop(sent[0][0]["http.context.identifier"]) == ("503", "request.uri_unavailable")
        assert set(told.values()) <= {("200", None)}
        assert len(told) == count - 1


def test_the_errors_that_may_pass_are_known() -> None:
    """A new one takes part in the table above by itself; this says that the table is not empty."""
    assert {"objects.unavailable", "rows.unavailable", "kudu.unavailable", "model.unavailable", "busy"} <= set(MAY_PASS)
    assert set(STEPS) <= set(TRIES)
    assert all(TRIES[step].count >= 3 for step in STEPS)
