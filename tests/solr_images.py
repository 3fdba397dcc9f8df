"""A core with the shipped configset for tests, and records of all kinds to search among."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import requests

from imagewarehouse.ids import new_request_id
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.search.documents import document
from imagewarehouse.search.solr_index import SolrIndex
from imagewarehouse.solr.settings import SolrSettings, parse_address

CONFIGSET = REPOSITORY / "nifi-conf" / "solr" / "conf"
CLASSES = ("truck", "automobile", "ship", "horse", "überschrift", "中文卡车")
_NAMES = (
    "IMG_2024-05-01.jpg", "DSC0042.JPG", "holiday trucks.png", "Überblick-Straße.jpg", "卡车照片01.jpg", "🚚 müll.heic", "x",
    "truck.jpg", "truk.jpg", "trcuk_7.png", "gate-7 camera17.jpg", "a1b2c3d4e5f6a7b8.gif", "файл.jpg", None,
)  # fmt: skip
FIRST = datetime(2026, 11, 28, 22, tzinfo=timezone.utc)


def index(url: str, records: Sequence[ImageRecord]) -> None:
    """Write documents into the core and make them visible."""
    answer = requests.post(
        f"{url}/update", data=orjson.dumps([document(record) for record in records]), params={"commit": "true"},
        headers={"Content-Type": "application/json"}, timeout=60,
    )  # fmt: skip
    assert answer.ok, answer.text


def open_index(url: str) -> SolrIndex:
    return SolrIndex.of(SolrSettings(parse_address(url, "--solr")))


def many_records(count: int, seed: int = 1) -> list[ImageRecord]:
    """Requests of all statuses, some for the same picture, some at the same microsecond, with names of all kinds."""
    draw = random.Random(seed)
    records: list[ImageRecord] = []
    for n in range(count):
        moment = FIRST + timedelta(microseconds=draw.randrange(4) * 86_400_000_000 + n // 3 * 1_000_001)
        status = draw.choice(["classified", "classified", "classified", "rejected", "failed", "accepted"])
        values: dict[str, Any] = {
            "source_ip": draw.choice(["10.0.0.7", "10.200.0.1", "192.168.1.20", "2001:db8::7", "::1", None]),
            "source_user": draw.choice(["camera-17", "camera-18", "CN=gate, O=Works", None]),
            "file_name": draw.choice(_NAMES),
            "fields": draw.choice([None, None, '{"part": "47/11", "lot": "Lot Nr. 8"}', '{"truck": "wheel"}']),
        }
        if status in ("rejected", "failed"):
            values |= {
                "error_code": draw.choice(["image.truncated", "image.corrupt"]),
                "error_detail": "ends in the header",
            }
        if status != "rejected":
            values |= {"image_id": f"{draw.randrange(count // 2):064x}", "format": draw.choice(["JPEG", "PNG"]), "width": 32,
                       "height": 24, "size_bytes": draw.randrange(1 << 40)}  # fmt: skip
        if status == "classified":
            first, second = draw.sample(CLASSES, 2)
            confidence = draw.choice([0.9, 0.1, 1.0, 0.55, 0.3, draw.random()])
            top_k = [
                {"class": first, "probability": confidence},
                {"class": second, "probability": (1 - confidence) / 2},
            ]
            values |= {
                "predicted_class": first, "confidence": confidence, "top_k": orjson.dumps(top_k).decode(),
                "model_name": draw.choice(["cifar10", "other"]), "model_version": draw.choice(["3", "4"]),
                "notes": draw.choice([None, '["exif","gps"]']),
            }  # fmt: skip
            if draw.random() < 0.8:
                look = random.Random(values["image_id"])  # the same picture looks the same
                values["embedding"] = bytes(look.randrange(256) for _ in range(16))
        records.append(ImageRecord(event_time=moment, request_id=new_request_id(moment), status=status, **values))
    return records
