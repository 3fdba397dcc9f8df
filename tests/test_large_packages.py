"""Packages over 64 MB: what is not read is never taken for bytes, and what the check let pass is stored whole."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.errors import PackageBroken
from imagewarehouse.nifi import codec
from imagewarehouse.nifi.packages import MEDIA_TYPE, write_package
from imagewarehouse.standalone.flowfile import FlowFile, InputFlowFile, Ticket
from tests.conftest import Hosted
from tests.ways import Way, answers, awaited, column, listened, make_way, package

Host = Callable[..., Hosted]
LARGE = {"FilterImageRequest": {"Maximum Size": "100 MB"}}


def bitmap(megabytes: int, seed: int = 0) -> bytes:
    """A whole BMP of that many megabytes, within the limit on pixels."""
    width, height = 4096, megabytes * (1 << 20) // (4096 * 3)
    size = width * height * 3
    header = struct.pack("<2sIHHI", b"BM", 54 + size, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, size, 0, 0, 0, 0)
    return header + bytes([seed]) * size


@pytest.fixture
def way(hosted: Host, tmp_path: Path, colour_model: Path) -> Callable[..., Way]:
    return lambda **settings: make_way(hosted, tmp_path / "packages", colour_model, settings, True)


def stored(folder: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in folder.rglob("*.bmp")}


@pytest.mark.parametrize("listener", [awaited, listened])
def test_an_image_that_makes_a_package_large_is_stored_whole(
    way: Callable[..., Way], tmp_path: Path, listener: Callable[..., dict[str, str]]
) -> None:
    content = bitmap(70)
    image_id = hashlib.sha256(content).hexdigest()
    steps = way(**LARGE)
    sent = [(listener("image/bmp"), content)]
    left = steps.run(*package(sent))
    assert steps.ways() == ["success"] * 5
    (row,) = steps.rows().values()
    assert (row["status"], row["image_id"], row["size_bytes"]) == ("classified", image_id, len(content))
    assert stored(tmp_path) == {image_id: content}
    if listener is awaited:
        (answer,) = answers(left).values()
        assert json.loads(bytes(answer.content))["image_id"] == image_id


def test_a_whole_object_survives_a_large_package_with_the_same_image(way: Callable[..., Way], tmp_path: Path) -> None:
    content = bitmap(40)
    steps = way(**LARGE)
    steps.run(*package([(listened("image/bmp"), content)]))
    (path,) = tmp_path.rglob("*.bmp")
    before = path.stat()
    # Two images of 40 MB in one package.
    steps.run(*package([(listened("image/bmp"), content), (listened("image/bmp"), bitmap(40, seed=1))]))
    assert steps.ways() == ["success"] * 5
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert {len(one) for one in stored(tmp_path).values()} == {len(content)}
    assert len(steps.rows()) == 3
    assert {row["status"] for row in steps.rows().values()} == {"classified"}


def test_images_that_were_fetched_make_a_package_large_and_are_all_stored(
    way: Callable[..., Way], tmp_path: Path
) -> None:
    contents = [bitmap(17, seed) for seed in range(5)]
    (tmp_path / "in").mkdir()
    sent = []
    for number, content in enumerate(contents):
        path = tmp_path / "in" / f"{number}.bmp"
        path.write_bytes(content)
        sent.append((listened("application/json"), json.dumps({"image_uri": path.as_uri()}).encode()))
    steps = way(FilterImageRequest={"Allowed Image URIs": (tmp_path / "in").as_uri()})
    left = steps.run(*package(sent))
    assert steps.ways() == ["success"] * 5
    assert column(left, "status") == ["classified"] * 5
    found = stored(tmp_path / "packages")
    assert set(found) == {hashlib.sha256(content).hexdigest() for content in contents}
    assert all(hashlib.sha256(content).hexdigest() == name for name, content in found.items())


def test_a_body_far_over_the_limit_is_refused_by_its_size_and_its_bytes_are_never_asked_for(hosted: Host) -> None:
    (content, attributes), size = package([(awaited("image/bmp"), b"BM")]), 1 << 40
    left = hosted("FilterImageRequest", {codec.SETTING: "true"}).transform(content, attributes, size=size)
    assert left.relationship == "rejected"
    assert column(left, "error_code") == ["request.too_large"]


def test_the_row_of_a_body_that_is_not_read_says_what_the_client_sent(hosted: Host) -> None:
    sent = awaited("image/bmp") | {"http.headers.Content-Length": str(99 << 20)}
    content, attributes = package([(sent, b"BM")])
    assert attributes["mime.type"] == MEDIA_TYPE  # PackageFlowFile's
    left = hosted("FilterImageRequest", {codec.SETTING: "true"}).transform(content, attributes, size=(99 << 20) + 700)
    assert (column(left, "declared_type"), column(left, "size_bytes")) == (["image/bmp"], [str(99 << 20)])


def test_what_was_not_read_cannot_be_taken_for_bytes() -> None:
    flow_file = FlowFile(awaited("image/bmp"), None, 1 << 40, Ticket())
    found = codec.Bundle(InputFlowFile(flow_file), first=True)
    (submission,) = found.requests()
    request = submission.request(keys_wanted=False)
    assert (request.size, request.declared_type) == (1 << 40, "image/bmp")
    with pytest.raises(PackageBroken, match="not read"):
        submission.content()
    with pytest.raises(PackageBroken):
        found.packed  # noqa: B018 - of which a package with other contents would be made


def test_a_later_step_does_not_read_a_large_package_for_its_attributes() -> None:
    """One that the check refused by its size: EnrichImageMetadata asks for headers, and not for 1 TB."""

    class Unreadable(InputFlowFile):
        def getContentsAsBytes(self) -> bytes:
            raise AssertionError("was read")

    attributes = {**awaited("image/bmp"), codec.RECORDS: json.dumps([{"request_id": "x", "status": "rejected"}])}
    found = codec.Bundle(Unreadable(FlowFile(attributes, None, 1 << 40, Ticket())))
    (image,) = found.images()
    assert image.header("Content-Type") == "image/bmp"
    assert image.header("X-Forwarded-For") is None
    assert dict(found.attributes(0))["mime.type"] == "image/bmp"


def test_a_content_of_none_is_no_package(hosted: Host, picture: Callable[..., bytes]) -> None:
    """The records say that two images were accepted; a package without bytes does not store anything in their place."""
    both = [(listened(), picture()), (listened(), picture(colour="blue"))]
    filtered = hosted("FilterImageRequest", {codec.SETTING: "true"}).transform(*package(both))
    store = hosted("StoreImage", {codec.SETTING: "true", "Store URI": os.devnull + "/never"})
    left: Any = store.transform(write_package([]), filtered.attributes)
    assert column(left, "status") == ["failed"] * 2
    assert column(left, "storage_uri") == [""] * 2
