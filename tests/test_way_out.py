"""The way out without NiFi: `images.pass.on` lets every image out after its row, with its record and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.flows.definition import Component, read_flow
from imagewarehouse.metadata import COLUMNS, to_text
from imagewarehouse.nifi.codec import ANSWERS, IMAGES, LET_OUT
from imagewarehouse.resources import FLOW
from imagewarehouse.standalone import components
from imagewarehouse.standalone.engine import BatchWork
from imagewarehouse.standalone.flowfile import FlowFile, Ticket
from tests import hostile
from tests.conftest import Hosted
from tests.pictures import numbered
from tests.running import Service, post
from tests.ways import Sent, Way, awaited, listened, make_way, package, packaged_flow_file

JPEG = {"Content-Type": "image/jpeg"}
KEY = "0123456789abcdef"
SETTINGS = {"FilterImageRequest": {"Access Keys": f"lab:{KEY}"}, "PutKuduRecord": {LET_OUT: "true"}}


def after_rows(flow_file: FlowFile) -> list[tuple[str, FlowFile]]:
    """What the steps of the shipped flow behind the rows make of a package with images: by the rule of the last one."""
    steps = {one.name: one for one in read_flow(FLOW).components.values()}
    works = [
        components.update_attribute(steps["Forget requests"], {}),
        components.unpack_content(steps["Unpack images"], {}),
        components.route_on_attribute(steps["Image or answer?"], {}),
    ]
    left = [("", flow_file)]
    for work in works:
        assert not isinstance(work, BatchWork)
        left = [found for _, one in left for found in work(one)]
    return left


def through(way: Way, sent: list[Sent], mode: str) -> FlowFile:
    if mode == "carried":
        return way.carry(packaged_flow_file(sent))
    left = way.run(*package(sent))
    assert left.content is not None
    return FlowFile(left.attributes, left.content, len(left.content), Ticket())


@pytest.fixture
def way(hosted: Callable[..., Hosted], tmp_path: Path, colour_model: Path) -> Way:
    return make_way(hosted, tmp_path, colour_model, SETTINGS, True)


@pytest.mark.parametrize("mode", ["text", "carried"])
@pytest.mark.parametrize("listener", [awaited, listened])
@pytest.mark.parametrize("number", [1, 3], ids=["alone", "together"])
def test_an_image_has_its_record_and_nothing_of_its_listener(
    way: Way, mode: str, listener: Callable[..., Mapping[str, str]], number: int
) -> None:
    header = "http.headers.X-Access-Key" if listener is awaited else "X-Access-Key"
    name = {"Content-Disposition": 'attachment; filename="a.png"'}
    claims = {IMAGES: "99", ANSWERS: "99", "path": "/etc", "predicted_class": "made up"}
    contents = [hostile.PNG, b"no picture", hostile.PNG[:40]][:number]
    sent: list[Sent] = [(listener("image/png", **{header: KEY}, **name, **claims), one) for one in contents]
    left = through(way, sent, mode)
    assert (left.attributes[IMAGES], left.attributes[ANSWERS]) == (str(number), "")
    rows = way.rows()
    out = after_rows(left)
    images = [one for relationship, one in out if relationship == "unmatched"]
    assert [one.body for one in images] == contents
    types = {column.name for column in COLUMNS}
    for one in images:
        row = {n: to_text(v) for n, v in rows[one.attributes["request_id"]].items() if v is not None}
        assert set(one.attributes) == {*row, "filename", "path", "mime.type"}
        assert set(row) <= types
        assert (one.attributes["status"], one.attributes["node"]) == (row["status"], row["node"])
        assert one.attributes["path"] == "./"
        assert KEY not in str(one.attributes)
    answers = [one for relationship, one in out if relationship == "answer"]
    assert [one.attributes["http.response.status"] for one in answers] == (
        ["200", "415", "422"][:number] if listener is awaited else []
    )
    identifiers = [attributes["http.context.identifier"] for attributes, _ in sent] if answers else []
    assert [one.attributes["http.context.identifier"] for one in answers] == identifiers


def test_it_is_for_packages_only(hosted: Callable[..., Hosted]) -> None:
    host = hosted("PutKuduRecord", {LET_OUT: "true", "FlowFile Packages": "false"}).host
    assert host.context.getProperty(LET_OUT) is None


def routed(service: Service) -> dict[str, int]:
    """FlowFiles by relationship of the last step before the port."""
    text = post(service.images_url.replace("/images", "/metrics"), b"", method="GET").body.decode()
    found = re.findall(
        r'flowfiles_total\{processor="Image or answer\?",relationship="(\w+)",worker="\d"\} ([\d.]+)', text
    )
    counts = Counter[str]()
    for name, count in found:
        counts[name] += int(float(count))
    return counts


@pytest.mark.parametrize("on", [True, False])
def test_the_service_lets_images_out_and_goes_on_as_before(tmp_path: Path, on: bool) -> None:
    with Service(tmp_path / "data", {"images.pass.on": str(on).lower()}) as service:
        answers = [post(service.classify_url, numbered(n), JPEG) for n in range(3)]
        assert [answer.status for answer in answers] == [200] * 3
        assert post(service.classify_url, b"no picture", JPEG).status == 415
        assert [post(service.images_url, numbered(n), JPEG).status for n in range(3, 6)] == [202] * 3
        assert service.stop() == 0, "what was let out is not under way any more"
        assert service.count() == 7
        service.start()
        assert post(service.classify_url, numbered(9), JPEG).status == 200
        assert routed(service) == ({"unmatched": 1, "answer": 1} if on else {}), "nothing was taken up again"


def test_the_steps_behind_the_rows_are_as_shipped(component: Callable[..., Component]) -> None:
    flow = read_flow(FLOW)
    (rows,) = [one for one in flow.components.values() if one.type == "PutKuduRecord"]
    (waits,) = [one for one in flow.components.values() if one.name == "Somebody waits?"]
    rules: Any = components.route_on_attribute(waits, {"solr.url": None})

    def ways(**attributes: str) -> set[str]:
        return {way for way, _ in rules(FlowFile(attributes, b"", 0, Ticket()))}

    assert rows.properties[LET_OUT] == "#{images.pass.on}"
    assert ways(answers="2", images="") == {"waiting"}
    assert ways(answers="", images="3") == {"images"}
    assert ways(answers="", images="") == {"unmatched"}
