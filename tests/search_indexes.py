"""Records to be searched, and an index of each backend that has them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from imagewarehouse.ids import new_request_id
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.log import RecordLog, log_of
from imagewarehouse.search.local_index import LocalIndex
from imagewarehouse.search.query import Embedding, Index
from tests.solr_images import CONFIGSET, index, open_index
from tests.solr_service import Solr

FIRST = datetime(2026, 11, 1, tzinfo=timezone.utc)

Open = Callable[[Sequence[ImageRecord]], Index]
Fixture = Callable[[str], Any]
"""Gives a fixture by its name: a backend asks for what it needs, and no other."""


def record(hours: float = 0.0, **values: Any) -> ImageRecord:
    """A request so many hours after FIRST: a picture of a truck, unless the values say something else."""
    moment = FIRST + timedelta(hours=hours)
    facts: dict[str, Any] = {"status": "classified"}
    if values.get("status", "classified") == "classified":
        facts |= {
            "image_id": hashlib.sha256(repr((hours, values)).encode()).hexdigest(),
            "format": "JPEG",
            "storage_uri": "file:///objects",
            "predicted_class": "truck",
            "confidence": 0.875,
            "model_name": "cifar10",
            "model_version": "3",
        }
    return ImageRecord(event_time=moment, request_id=values.pop("request_id", new_request_id(moment)), **facts | values)


def look(*values: int, model: str = "cifar10", version: str = "3") -> Embedding:
    return Embedding(model, version, bytes(value & 0xFF for value in values))


@contextmanager
def local(folder: Path, _: Fixture) -> Iterator[Open]:
    """Half of the records is in the file, and half in the log, where nobody moves them."""
    count = 0

    def opened(records: Sequence[ImageRecord]) -> Index:
        nonlocal count
        count += 1
        path = folder / f"{count}.duckdb"
        rows = LocalRows(path)
        rows.write(records[: len(records) // 2])
        rows.close()
        log = RecordLog(log_of(path))
        log.append(records[len(records) // 2 :])
        log.close()
        return LocalIndex.of_file(path)

    yield opened


@contextmanager
def solr(_: Path, fixture: Fixture) -> Iterator[Open]:
    """A core of its own for each index, with the shipped configset."""
    service: Solr = fixture("solr_service")
    names: list[str] = []

    def opened(records: Sequence[ImageRecord]) -> Index:
        names.append(f"test-search-{len(names)}")
        url = service.core(names[-1], CONFIGSET)
        index(url, records)
        return open_index(url)

    yield opened
    for name in names:
        service.drop(name)


BACKENDS: dict[str, Callable[[Path, Fixture], AbstractContextManager[Open]]] = {"local": local, "solr": solr}
"""Context managers by name: each gives what makes an index of records, a new one with every call."""
