"""What the modules of Kudu's fault tests share: clusters to kill, processors, FlowFiles under load."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings, KuduWriter
from imagewarehouse.kudu.records.mapping import Rows
from imagewarehouse.kudu.schema import KuduColumn, KuduType, TableSchema
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.conftest import Hosted, Left, until
from tests.kudu_tables import new_schema, stored

AWAITED = {"http.context.identifier": "6f1c0d0e-0000-4000-8000-000000000002", "http.method": "POST"}
QUICK = {"Operation Timeout": "2 sec", "Admin Timeout": "2 sec", "Retries": "0", "Retry Back-off": "100 ms"}
PRESENT, MISSING, NO_RANGE = "kudu.already_present", "kudu.not_found", "kudu.no_range_partition"

KEY = KuduColumn("key", KuduType.INT64, key=True)
TEXT = KuduColumn("text", KuduType.STRING, nullable=True)
NUMBER = KuduColumn("number", KuduType.INT32, nullable=True)
DECLARED = json.dumps(
    {
        "columns": [
            {"name": "key", "type": "int64", "key": True},
            {"name": "text", "type": "string", "nullable": True},
        ],
        "hash": [{"columns": ["key"], "buckets": 4}],
    }
)

Host = Callable[..., Hosted]
Record = dict[str, Any]


@pytest.fixture
def cluster(kudu: LocalKudu, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKudu]:
    """A Kudu of the test's own, to kill; `kudu` only tells whether there can be one."""
    with LocalKudu(tmp_path_factory.mktemp("cluster"), never_fsync=True) as running:
        yield running


@pytest.fixture
def open_writer() -> Iterator[Callable[..., KuduWriter]]:
    opened: list[KuduWriter] = []

    def make(masters: str, **chosen: Any) -> KuduWriter:
        opened.append(connect(KuduSettings(masters, **{"operation_timeout_s": 5.0, "admin_timeout_s": 5.0, **chosen})))
        return opened[-1]

    yield make
    for writer in opened:
        writer.close()


@pytest.fixture
def writer(kudu: LocalKudu, open_writer: Callable[..., KuduWriter]) -> KuduWriter:
    """Another client of the cluster that all tests share."""
    return open_writer(kudu.masters)


@pytest.fixture
def put(hosted: Host, kudu: LocalKudu) -> Callable[..., Hosted]:
    """A processor for the contents of FlowFiles; properties by their names with _ for a blank."""

    def build(table: str, masters: str = "", **properties: str) -> Hosted:
        chosen = {name.replace("_", " "): value for name, value in properties.items()}
        return hosted(
            "PutKuduRecord",
            {
                "Kudu Masters": masters or kudu.masters,
                "Record Source": "content",
                "Table Name": table,
                **QUICK,
                **chosen,
            },
        )

    return build


def fresh(*columns: KuduColumn, key: Sequence[KuduColumn] = (KEY,), **more: Any) -> TableSchema:
    """A table of these columns behind the key, with a name of its own."""
    return new_schema(key, columns, **more)


def make(writer: KuduWriter, *columns: KuduColumn, **more: Any) -> str:
    schema = fresh(*columns, **more)
    assert writer.create(schema)
    return schema.name


def content(records: Sequence[Record]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def records_of(data: bytes | None) -> list[Record]:
    return [json.loads(line) for line in (data or b"").splitlines()]


def reported(left: Left) -> list[tuple[int, str]]:
    """Number and code of each row of a report, each with one line of text."""
    assert left.relationship == "bad rows", (left.relationship, left.set)
    lines = records_of(left.content)
    assert int(left.set["bad.count"]) == len(lines)
    for line in lines:
        assert line["error_detail"].isprintable()
        assert 10 <= len(line["error_detail"]) <= 400, line["error_detail"]
    return [(line["row"], line["error_code"]) for line in lines]


def rows_of(records: Sequence[Record], operation: Operation = Operation.UPSERT) -> Rows:
    return Rows(range(len(records)), np.full(len(records), operation, dtype=np.uint8), list(records))


WITH_TEXT = content([{"key": 1, "text": "a"}, {"key": 2, "text": "b"}])


def month(number: int, day: int = 1, year: int = 2026) -> datetime:
    return datetime(year, number, day, 12, tzinfo=timezone.utc)


def python(script: str, *arguments: str, timeout: float = 120) -> str:
    """What a Python process of its own prints."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], cwd=REPOSITORY, capture_output=True, text=True,
                          timeout=timeout, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


# --- load: FlowFiles from several threads, those on retry tried again as NiFi does ------------------------------------


@dataclass
class Load:
    """Writes FlowFiles without end until it is stopped. `sent`: what each table has to hold by then."""

    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)
    sent: dict[str, dict[Any, str]] = field(default_factory=dict)
    lefts: list[tuple[str, str]] = field(default_factory=list)  # relationship and error code of every try
    defects: list[BaseException] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def contents(self, processor: Hosted, table: str, threads: int, rows: int = 5) -> Load:
        def one() -> None:
            first = next(self.numbers) * rows
            records = [{"key": key, "text": f"text of {key}"} for key in range(first, first + rows)]
            self.sent.setdefault(table, {}).update((r["key"], r["text"]) for r in records)
            self._deliver(processor, content(records), {})

        return self._start(one, threads)

    def images(self, processor: Hosted, record: Callable[..., ImageRecord], threads: int) -> Load:
        def one() -> None:
            made = record(file_name=f"{next(self.numbers)}.png")
            self.sent.setdefault("image_events", {})[made.request_id] = made.file_name or ""
            self._deliver(processor, b"the image", made.as_attributes())

        return self._start(one, threads)

    def count(self, relationship: str) -> int:
        return sum(left == relationship for left, _ in self.lefts)

    def more(self, relationship: str, number: int, seconds: float = 20.0) -> bool:
        """Whether so many more FlowFiles leave that way in time."""
        wanted = self.count(relationship) + number
        return until(lambda: self.count(relationship) >= wanted or bool(self.defects), seconds) and not self.defects

    def finish(self, seconds: float = 40.0) -> None:
        """Let every FlowFile come to its end."""
        self.stop.set()
        end = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
        assert not self.defects, self.defects
        assert not any(thread.is_alive() for thread in self.threads), "a FlowFile is still on its way"

    def check(self, writer: KuduWriter, *, refusals: frozenset[str] = frozenset()) -> None:
        """Exactly what was sent is there, and nothing left in a way it should not."""
        assert {left for left in self.lefts if left[0] not in ("success", "retry")} <= {
            ("bad rows", c) for c in refusals
        }
        for table, expected in self.sent.items():
            names = ("request_id", "file_name") if table == "image_events" else ("key", "text")
            found = stored(writer, table, *names)
            assert len(found) == len(expected), f"{table}: {len(found)} rows, {len(expected)} were sent"
            assert dict(found) == expected

    def _start(self, one: Callable[[], None], threads: int) -> Load:
        def work() -> None:
            try:
                while not self.stop.wait(0.02):
                    one()
            except BaseException as err:  # told by finish()
                self.defects.append(err)

        started = [threading.Thread(target=work) for _ in range(threads)]
        self.threads += started
        for thread in started:
            thread.start()
        return self

    def _deliver(self, processor: Hosted, data: bytes | None, attributes: dict[str, str]) -> None:
        while True:
            left = processor.transform(data, attributes)
            self.lefts.append((left.relationship, left.set.get("error_code", "")))
            if left.relationship != "retry":
                return
            data = left.content
            threading.Event().wait(0.05)  # NiFi penalizes it
