"""Whatever happens while a picture is judged: an answer at once, a row, and one id for both and for the log."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import make_mocked_request
from PIL import Image, PngImagePlugin

from imagewarehouse.errors import ImageRejected, all_errors
from imagewarehouse.flows.build import FLOW_FILE
from imagewarehouse.flows.definition import read_flow
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.images.decoding import InputSpec, check_image, decode_rgb
from imagewarehouse.images.formats import sniff
from imagewarehouse.limits import Limits
from imagewarehouse.metadata import to_text
from imagewarehouse.nifi import adapter
from imagewarehouse.standalone.http import Bodies, HandleHttp, ListenHttp
from imagewarehouse.standalone.metrics import Metrics
from imagewarehouse.standalone.openapi import SENDING
from imagewarehouse.steps import filtering
from imagewarehouse.steps.classifying import ClassifyImages
from tests.conftest import Hosted
from tests.test_processors import CLAIMS
from tests.ways import Way, answers, awaited, column, listened, make_way, package

Host = Callable[..., Hosted]
SPEC = InputSpec(32, 32)

DEFECTS = [OverflowError("Python int too large"), MemoryError(), RecursionError("too deep"), ZeroDivisionError("a defect"),
           AttributeError("None has none"), UnicodeDecodeError("utf-8", b"x", 0, 1, "why")]  # fmt: skip


def big_tiff(offset: int) -> bytes:
    """A BigTIFF of 16 bytes whose first directory lies at `offset`."""
    return struct.pack("<2sHHHQ", b"II", 43, 8, 0, offset)


# --- an exception while a picture is judged -----------------------------------------------------------------------


@pytest.mark.parametrize("bits", [15, 16, 31, 32, 63, 64])
@pytest.mark.parametrize("step", [-2, -1, 0, 1])
def test_an_offset_at_an_edge_is_a_refusal(bits: int, step: int) -> None:
    content = big_tiff(((1 << bits) + step) % (1 << 64))
    found = sniff(content)
    assert found is not None
    with pytest.raises(ImageRejected):
        check_image(content, found, Limits())


@pytest.mark.parametrize("packages", [True, False], ids=["in-a-package", "alone"])
@pytest.mark.parametrize("error", DEFECTS, ids=lambda error: type(error).__name__)
def test_any_exception_is_answered_at_once_with_a_row_and_one_id(
    hosted: Host,
    tmp_path: Path,
    colour_model: Path,
    picture: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    packages: bool,
) -> None:
    steps = make_way(hosted, tmp_path, colour_model, {}, packages)

    def trips(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(filtering, "check_content", trips)
    sent = (awaited(**CLAIMS), picture())
    left = steps.run(*package([sent])) if packages else steps.run(sent[1], sent[0])
    # Past the store and the model, and no relationship that is tried again on the way.
    assert [name for name, _ in steps.passed] == ["FilterImageRequest", "EnrichImageMetadata", "PutKuduRecord"]
    assert steps.ways() == ["rejected", "rejected", "success"]
    ((request_id, row),) = steps.rows().items()
    assert (row["status"], row["error_code"]) == ("failed", "internal")
    assert request_id != CLAIMS["request_id"]
    assert to_text(row["event_time"]) == to_text(event_time(request_id))
    assert "made up" not in str(row)
    answer = answers(left)[sent[0]["http.context.identifier"]] if packages else left
    assert answer.attributes["http.response.status"] == "500"
    assert json.loads(bytes(answer.content or b""))["request_id"] == request_id
    assert f"FilterImageRequest: request {request_id}" in caplog.text
    assert "without an id" not in caplog.text


def test_every_line_about_a_request_names_it(
    hosted: Host, tmp_path: Path, colour_model: Path, picture: Callable[..., bytes], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One image that the store refuses, one that the model cannot take, in one package."""
    steps: Way = make_way(hosted, tmp_path, colour_model, {}, True)
    whole = ClassifyImages._outcome
    monkeypatch.setattr(
        ClassifyImages, "_outcome", lambda self, image, outcome: whole(self, image, all_errors()["image.corrupt"]("x"))
    )
    caplog.set_level(logging.WARNING)
    sent = [(listened(), picture()), (listened(), picture(colour="blue"))]
    left = steps.run(*package(sent))
    ids = column(left, "request_id")
    for request_id in ids:
        assert f"ClassifyImage: request {request_id}: x" in caplog.text


# --- the listeners ------------------------------------------------------------------------------------------------


class _Refuses:
    """An engine whose queues are full."""

    nodes: Mapping[str, Any] = {}
    parked: Sequence[Any] = ()
    live = 0

    def accepts(self, identifier: str) -> bool:
        return False


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        pytest.param("POST", "/classify", {}, 503, id="queue-full"),
        pytest.param("POST", "/elsewhere", {}, 404, id="not-found"),
        pytest.param("PATCH", "/classify", {}, 405, id="method"),
    ],
)
@pytest.mark.parametrize("key", [None, "valid", "broken"])
def test_an_answer_before_the_filter_has_an_id(
    method: str, path: str, headers: dict[str, str], status: int, key: str | None
) -> None:
    valid = new_request_id(adapter.now())
    sent = {**headers, **({"Idempotency-Key": valid if key == "valid" else "broken"} if key else {})}
    found = asyncio.run(_ask(method, path, sent))
    assert found.status == status
    body = json.loads(found.body)
    assert event_time(body["request_id"])
    assert (body["request_id"] == valid) == (key == "valid")


def _listener(**properties: str) -> HandleHttp:
    """The shipped one, with these properties in the place of its own."""
    flow = read_flow(FLOW_FILE)
    component = next(c for c in flow.components.values() if c.type.endswith("HandleHttpRequest"))
    component = replace(component, properties={**component.properties, **properties})
    parameters = {name: parameter.value for name, parameter in flow.parameters.items()}
    engine: Any = _Refuses()
    return HandleHttp(component, parameters, engine, Metrics(engine, []), Bodies())


async def _ask(method: str, path: str, headers: dict[str, str]) -> Any:
    listener = _listener()
    listener.bind(None)  # type: ignore[arg-type]
    return await listener._serve(make_mocked_request(method, path, headers=headers))


@pytest.mark.parametrize(
    ("allowed", "taken"),
    [("/classify", ["/classify"]), ("/classify|/sort", ["/classify"]), (".*", ["/images", "/classify"]), ("/sort", [])],
)
def test_what_a_port_offers_follows_its_allowed_paths(allowed: str, taken: list[str]) -> None:
    listener = _listener(**{"Allowed Paths": allowed})
    assert [path for path in SENDING if listener.takes(path)] == taken


def test_both_listeners_answer_alike() -> None:
    assert HandleHttp._serve is ListenHttp._serve


# --- what the check accepts, the classifier decodes ---------------------------------------------------------------


def _png(**more: Any) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((96, 64)).save(out, "PNG", **more)
    return out.getvalue()


def _raw_profile() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", "\nexif\n      12\nno hex at all\n", zip=True)
    return _png(pnginfo=info)


def _webp(exif: bytes) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((96, 64)).save(out, "WEBP", exif=exif)
    return out.getvalue()


def _grey_with_associated_alpha() -> bytes:
    """A TIFF of 16 x 16 with two samples a pixel, the second an alpha that the first is multiplied by already."""
    pixels = np.zeros((16, 16, 2), np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = 60, 120
    entries = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 2, 8 | 8 << 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 2), (278, 3, 1, 16), (279, 4, 1, 512), (338, 3, 1, 1)]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHI", b"II", 42, 8 + 512) + pixels.tobytes() + directory + bytes(4)


EXIF = [
    b"Exif\0\0garbage",
    b"MM\0*\0\0\0\x08\xff\xff",
    b"II*\0\xff\xff\xff\xff",
    b"\0",
    b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12",
]


@pytest.mark.parametrize(
    ("content", "mean"),
    [
        *(pytest.param(_png(exif=exif), 127.5, id=f"png-exif-{number}") for number, exif in enumerate(EXIF)),
        *(pytest.param(_webp(exif), 127.5, id=f"webp-exif-{number}") for number, exif in enumerate(EXIF)),
        pytest.param(_raw_profile(), 127.5, id="png-raw-profile"),
        # 60 of 120, so a grey of 127 at an alpha of 120, over white.
        pytest.param(_grey_with_associated_alpha(), 60 + 255 - 120, id="tiff-grey-with-associated-alpha"),
    ],
)
def test_what_the_check_accepts_the_classifier_decodes(content: bytes, mean: float) -> None:
    found = sniff(content)
    assert found is not None
    check_image(content, found, Limits())
    assert decode_rgb(content, SPEC, found.name).mean() == pytest.approx(mean, abs=2)
    assert decode_rgb(content, InputSpec(32, 32, colour_order="L"), found.name).mean() == pytest.approx(mean, abs=2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "F"])
def test_a_picture_of_any_mode_becomes_colours_and_grey(mode: str) -> None:
    out = io.BytesIO()
    Image.new(mode, (16, 16)).save(out, "TIFF")
    found = sniff(out.getvalue())
    assert found is not None
    assert check_image(out.getvalue(), found, Limits()).width == 16
    for order in ("RGB", "L"):
        assert decode_rgb(out.getvalue(), InputSpec(8, 8, colour_order=order), found.name).shape[:2] == (8, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_orientation_that_can_be_read_is_still_followed(kind: str, orientation: int) -> None:
    # Four quarters of different brightness; what is seen does not depend on how it is stored.
    seen = np.array([[10, 80], [150, 250]], np.uint8).repeat(32, 0).repeat(32, 1)
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # the turn that storing it means
    image = Image.fromarray(seen)
    stored = image if undo is None else image.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    stored.save(out, kind, exif=exif, **({"quality": 95} if kind in ("JPEG", "WEBP") else {}))
    pixels = decode_rgb(out.getvalue(), SPEC, kind)[:, :, 0]
    quarters = [[pixels[:12, :12].mean(), pixels[:12, 20:].mean()], [pixels[20:, :12].mean(), pixels[20:, 20:].mean()]]
    assert np.allclose(quarters, [[10, 80], [150, 250]], atol=8), quarters
