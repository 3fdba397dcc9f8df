"""Forms in a real NiFi: taken apart by its own listeners, and whole, as a front in front of it sends them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.ids import new_request_id, request_id_from_key
from tests.conftest import until
from tests.forms import COVERED, EMPTY_INPUT, FORM, file, form, part, text
from tests.nifi.conftest import Command, Warehouse
from tests.nifi.test_flow import is_drained, started, table
from tests.pictures import noise, numbered
from tests.running import post

__all__ = ["started"]  # a fixture

WHOLE = {"Content-Type": COVERED, "X-Form-Content-Type": FORM}
IN_PARTS = {"Content-Type": FORM}


def image(number: int, name: str = "a.jpg", content_type: str | None = "image/jpeg") -> bytes:
    return file(numbered(number), name, content_type)


def bulletins(warehouse: Warehouse) -> dict[int, str]:
    with warehouse.nifi.client() as client:
        board = client.get("/flow/bulletin-board").json()["bulletinBoard"]["bulletins"]
    return {item["id"]: item["bulletin"]["message"] for item in board if "bulletin" in item}


@pytest.fixture
def keeping(started: Warehouse, nar: Path, command: Command) -> Warehouse:
    """Which keeps the text field `part` of whole forms."""
    assert command("deploy", "--nar", str(nar), *started.settings, "--set", "intake.keep.fields=part")[0] == 0
    return started


def test_forms_in_parts_and_whole_end_as_they_should(keeping: Warehouse, command: Command) -> None:
    before = bulletins(keeping)
    fields, now = [text("part", "47/11"), text("note", "x")], datetime.now(timezone.utc)
    whole, several, in_parts = (new_request_id(now) for _ in range(3))

    def classify(parts: Sequence[bytes], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        answer = post(keeping.classify, form(parts), headers)
        return answer.status, answer.json()

    def send(parts: Sequence[bytes], headers: dict[str, str]) -> None:
        assert post(keeping.images, form(parts), headers).status == 202

    # Whole: everything is as in the standalone runner.
    status, record = classify([*fields, EMPTY_INPUT, image(1, "one.jpg", None)], {**WHOLE, "Idempotency-Key": whole})
    assert (status, record["request_id"], record["file_name"]) == (200, whole, "one.jpg")
    assert record["fields"] == {"part": "47/11"}
    legacy = part(b'name="f"; filename="b\xe4r.jpg"', numbered(2), "application/octet-stream")
    assert classify([legacy], WHOLE)[1]["file_name"] == "bär.jpg"
    large = noise(1, 200)  # over what the bridge hands back as base64
    status, record = classify([file(large, "large.png", None), *fields], WHOLE)
    assert (status, record["image_id"]) == (200, hashlib.sha256(large).hexdigest())
    assert Path(record["storage_uri"].removeprefix("file://")).read_bytes() == large
    for parts, code in (
        ([image(3), image(4)], "request.too_many_parts"),
        (fields, "request.not_a_file"),
        ([], "request.malformed_multipart"),
    ):
        status, problem = classify(parts, WHOLE)
        assert (status, problem["error_code"]) == (400, code)
    send([*fields, *(image(10 + n, f"{n}.jpg") for n in range(3))], {**WHOLE, "Idempotency-Key": several})

    # In parts, as NiFi's listeners make them: the file counts, and what is none leaves nothing.
    status, record = classify([*fields, EMPTY_INPUT, image(20, "parts.jpg")], IN_PARTS)
    assert (status, record["status"], record["file_name"]) == (200, "classified", "parts.jpg")
    status, problem = classify([text("part", "1")], IN_PARTS)
    assert (status, problem["error_code"]) == (400, "request.not_a_file")
    send([image(21, "first.jpg"), *fields, EMPTY_INPUT], {**IN_PARTS, "Idempotency-Key": in_parts})
    send([text("part", "1"), EMPTY_INPUT], IN_PARTS)

    assert until(lambda: is_drained(keeping.nifi), 60, every=0.1)
    assert [said for number, said in bulletins(keeping).items() if number not in before] == []
    rows = {row["request_id"]: row for row in table(keeping, command)}
    for number in (1, 2, 3):
        row = rows[request_id_from_key(several, now, number)]
        assert (row["status"], row["file_name"]) == ("classified", f"{number - 1}.jpg")
        assert row["fields"] == '{"part": "47/11"}'
    assert (rows[in_parts]["status"], rows[in_parts]["file_name"]) == ("classified", "first.jpg")
    assert sum(row["status"] == "classified" for row in rows.values()) == 3 + 3 + 2
    assert sorted(row["error_code"] for row in rows.values() if row["status"] == "rejected") == [
        "request.malformed_multipart", "request.not_a_file", "request.not_a_file", "request.too_many_parts",
    ]  # fmt: skip
