"""PutKuduRecord and a table of a test's own, in a real Kudu; what the modules of PutKudu's tests share."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timezone
from typing import Any

import pytest

from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings, KuduWriter
from imagewarehouse.kudu.declaration import parse_type
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, TableSchema
from imagewarehouse.standalone.local_kudu import LocalKudu

UTC = timezone.utc
EXISTS, MISSING = "kudu.already_present", "kudu.not_found"


def column(name: str, type_text: str, **more: Any) -> KuduColumn:
    kind, precision, scale, length = parse_type(type_text)
    return KuduColumn(
        name, kind, **{"nullable": "key" not in more, "precision": precision, "scale": scale, "length": length, **more}
    )


KEY = column("key", "int32", key=True)
NAME = column("name", "string")
NUMBER = column("number", "int64")


@pytest.fixture(scope="module")
def writer(kudu: LocalKudu) -> Iterator[KuduWriter]:
    """Another client of the same cluster: makes tables ahead of the processor and reads what it left."""
    opened = connect(KuduSettings(kudu.masters))
    yield opened
    opened.close()


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    writer: KuduWriter

    @property
    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.writer.scan(self.name).to_pylist()
        return sorted(found, key=lambda row: repr(row["key"]))

    def column(self, name: str) -> dict[Any, Any]:
        return {row["key"]: row[name] for row in self.rows}

    @property
    def types(self) -> dict[str, str]:
        return {c.name: c.type_text for c in self.writer.schema(self.name, refresh=True).columns}


MakeTable = Callable[..., Table]


@pytest.fixture
def make_table(writer: KuduWriter) -> Iterator[MakeTable]:
    made: list[Table] = []

    def make(*columns: KuduColumn, key: KuduColumn = KEY, exists: bool = True) -> Table:
        table = Table(f"put_{uuid.uuid4().hex}", writer)
        made.append(table)
        if exists:
            hashes = (HashPartition((key.name,), 2),)
            assert writer.create(TableSchema(table.name, (key, *columns), hashes, replicas=1))
        return table

    yield make
    there = set(writer.tables())
    for table in made:
        if table.name in there:
            writer.drop(table.name)


@pytest.fixture
def table(make_table: MakeTable) -> Table:
    return make_table(NAME, NUMBER)


Put = Callable[..., Any]


@pytest.fixture
def put(hosted: Callable[..., Any], kudu: LocalKudu) -> Put:
    """The processor on its content, with these other properties."""

    def build(table: Table | str, properties: Mapping[str, str | None] | None = None) -> Any:
        name = table if isinstance(table, str) else table.name
        given = {
            "Kudu Masters": kudu.masters,
            "Record Source": "content",
            "Table Name": name,
            "Retry Back-off": "50 ms",
        }
        return hosted("PutKuduRecord", {**given, **(properties or {})})

    return build


def content(*records: Any) -> bytes:
    return json.dumps(records).encode()


def report(left: Any) -> list[tuple[int, str]]:
    return [(line["row"], line["error_code"]) for line in map(json.loads, left.content.splitlines())]


def writes_of(host: Any, monkeypatch: pytest.MonkeyPatch, change: Callable[..., Any] | None = None) -> list[int]:
    """The rows of each write that the processor asks its client for. `change`: stands before the client."""
    opened = host.processor.rows.get(host.host.context).tables.writer
    plain = opened.write
    seen: list[int] = []

    def write(table: str, batches: Sequence[Any]) -> Any:
        seen.append(sum(map(len, batches)))
        return plain(table, batches) if change is None else change(plain, table, batches)

    monkeypatch.setattr(opened, "write", write)
    return seen


DRIFT = {"Unknown Fields": "${drift:equals('true'):ifElse('add columns', 'ignore')}"}
