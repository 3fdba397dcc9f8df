"""A warehouse on disk: pictures in a store and their rows in DuckDB, as a service that has stopped leaves them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from imagewarehouse.ids import new_request_id
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.packs import BATCHES, PackPicture, make_pack
from imagewarehouse.objects.store import ObjectStore
from imagewarehouse.places import PackedPlace
from imagewarehouse.rows.embedded import LocalRows
from tests.pictures import numbered

FIRST = datetime(2026, 11, 1, tzinfo=timezone.utc)
CLASSES = ("bird", "cat", "dog")


class Warehouse:
    """The data folder of a service: `objects` and `rows.duckdb`."""

    def __init__(self, data: Path) -> None:
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        self.store = ImageStore(open_store(Location.parse(str(data / "objects"))))
        self.records: list[ImageRecord] = []

    def add(self, content: bytes, at: timedelta | None = None, **values: Any) -> ImageRecord:
        """A picture and its row, an hour after the one before."""
        moment = FIRST + (timedelta(hours=len(self.records)) if at is None else at)
        image_id = hashlib.sha256(content).hexdigest()
        image_format = values.pop("format", "JPEG")
        facts = {
            "status": "classified",
            "image_id": image_id,
            "format": image_format,
            "size_bytes": len(content),
            "storage_uri": self.store.put(image_id, image_format, content),
            "predicted_class": "cat",
            "confidence": 0.875,
            "top_k": '[{"class":"cat","probability":0.875}]',
        }
        record = ImageRecord(event_time=moment, request_id=new_request_id(moment), **{**facts, **values})
        self.records.append(record)
        return record

    def add_many(self, count: int, size: tuple[int, int] = (32, 32)) -> Sequence[ImageRecord]:
        """So many JPEG pictures of three classes."""
        return [
            self.add(
                numbered(n, size),
                predicted_class=CLASSES[n % 3],
                confidence=float(np.float32((n % 100) / 100)),  # as a column holds it
                file_name=f"{n}.jpg",
                source_user=f"camera-{n % 2}",
            )
            for n in range(count)
        ]

    def close(self) -> Warehouse:
        """Write the rows."""
        rows = LocalRows(self.data / "rows.duckdb")
        rows.write(self.records)
        rows.close()
        return self

    def path(self, record: ImageRecord) -> Path:
        """Of the object."""
        (found,) = (self.data / "objects").rglob(f"{record.image_id}.*")
        return found


def put_batch(store: ObjectStore, contents: Iterable[bytes], suffix: str = "jpg") -> dict[str, str]:
    """These pictures in one pack below batches/; gives their storage_uri by image_id."""
    pack = make_pack(PackPicture(hashlib.sha256(content).hexdigest(), suffix, content) for content in contents)
    key = pack.key(BATCHES, FIRST.date())
    store.put_if_absent(key, pack.content)
    return {e.image_id: str(PackedPlace(store.location.child(key), e.start, e.size)) for e in pack.entries}
