"""Records as updates: which fields they have in the index, and what is to be done with each record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from imagewarehouse.contents import BadRow, Record, Records, shorten, table_records
from imagewarehouse.errors import RecordsMalformed, SolrRefused, SolrWrongValue, WarehouseError
from imagewarehouse.solr.updates import INSERT_ONLY, UPDATE_ONLY, VERSION, Update, add, delete, delete_matching
from imagewarehouse.solr.values import OPERATIONS, Atomic, solr_date

ADD, UPDATE, DELETE, DELETE_MATCHING = "add", "update", "delete", "delete matching"
RECORD_OPERATIONS = (ADD, UPDATE, DELETE, DELETE_MATCHING)
VERSIONS = ("overwrite", "insert only", "update only", "of the record")
_VERSION_OF = {"insert only": INSERT_ONLY, "update only": UPDATE_ONLY}


@dataclass(frozen=True, slots=True)
class RecordMapping:
    """How records become updates. Raises ValueError on construction.

    `fields`: field of the index for one of the record, "" to drop it. `only`: fields of the index that are written, all if
    empty; the id always is. `dates`: fields of the index whose texts and whole numbers (in `unit` since 1970) are times.
    `flatten`: an object within a record becomes fields parent_child; else such a record is refused. `changes`: what an
    update does with a field, `set` with all others.
    """

    operation: str = ADD
    id_field: str = "id"
    fields: Mapping[str, str] = field(default_factory=dict)
    only: frozenset[str] = frozenset()
    dates: frozenset[str] = frozenset()
    unit: str = "millis"
    flatten: bool = True
    changes: Mapping[str, str] = field(default_factory=dict)
    version: str = "overwrite"

    def __post_init__(self) -> None:
        if self.operation not in RECORD_OPERATIONS:
            raise ValueError(f"expected one of {', '.join(RECORD_OPERATIONS)}, received {shorten(self.operation)}")
        if self.version not in VERSIONS:
            raise ValueError(f"expected one of {', '.join(VERSIONS)}, received {shorten(self.version)}")
        for operation in self.changes.values():
            Atomic(operation, None)

    def update(self, record: Record) -> Update:
        """Raises SolrRefused, RecordsMalformed."""
        values = self._document(record)
        given = values.pop(VERSION, None)
        version = _VERSION_OF.get(self.version)
        if self.version == "of the record" and given is not None:
            version = _whole(given)
        if self.operation == DELETE:
            return delete(values.get(self.id_field), version=version)
        if self.operation == DELETE_MATCHING:
            return delete_matching(values)
        if self.operation == UPDATE:
            values = {
                name: value if name == self.id_field or isinstance(value, Atomic) else self._change(name, value)
                for name, value in values.items()
            }
        return add(values, id_field=self.id_field, version=version)

    def _change(self, name: str, value: Any) -> Atomic:
        return Atomic(self.changes.get(name, "set"), value)

    def _document(self, record: Record) -> dict[str, Any]:
        document: dict[str, Any] = {}
        for source, value in self._flat(record):
            name = self.fields.get(source, source)
            if not name or (self.only and name not in self.only and name not in (self.id_field, VERSION)):
                continue
            if name in document:
                raise RecordsMalformed(f"two fields are for field {shorten(name)}")
            document[name] = self._date(name, value) if name in self.dates else value
        return document

    def _flat(self, record: Record) -> Iterator[tuple[str, Any]]:
        for name, value in record.items():
            if self.operation == UPDATE and isinstance(value, dict) and len(value) == 1 and {*value} <= {*OPERATIONS}:
                [(operation, changed)] = value.items()
                yield name, Atomic(operation, changed)
            elif _is_nested(value):
                if not self.flatten:
                    raise SolrWrongValue(f"field {shorten(name)}: {shorten(value)}, and a field has no parts")
                yield from _parts(name, value)
            else:
                yield name, value

    def _date(self, name: str, value: Any) -> Any:
        if isinstance(value, Atomic):
            return Atomic(value.operation, self._date(name, value.value))
        if isinstance(value, list):
            return [self._date(name, each) for each in value]
        if value is None or value == "":
            return None
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        try:
            return solr_date(value, self.unit)
        except ValueError as err:
            raise SolrWrongValue(f"field {shorten(name)}: {err}") from None


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """`numbers`: for each update the number of its record. `errors`: of records that are none."""

    updates: list[Update]
    numbers: list[int]
    records: list[Record]
    errors: tuple[BadRow, ...]


def map_records(records: Records, mapping: RecordMapping) -> Mapped:
    items = table_records(records.table) if records.table is not None else records.items
    updates, numbers, mapped, errors = [], [], [], list(records.errors)
    for number, item in zip(records.numbers, items, strict=True):
        outcome = _update(item, mapping)
        if isinstance(outcome, WarehouseError):
            errors.append(BadRow(number, outcome, item))
        else:
            updates.append(outcome)
            numbers.append(number)
            mapped.append(item)
    return Mapped(updates, numbers, mapped, tuple(errors))


def _update(item: Record, mapping: RecordMapping) -> Update | WarehouseError:
    try:
        return mapping.update(item)
    except (SolrRefused, RecordsMalformed) as err:
        return err


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, dict) for each in value))


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The fields of an object within a record; those of a list of objects have the values of all of them."""
    if isinstance(value, dict):
        for inner, part in value.items():
            yield from _parts(f"{name}_{inner}", part) if _is_nested(part) else ((f"{name}_{inner}", part),)
        return
    collected: dict[str, list[Any]] = {}
    for each in value:
        if each is not None and not isinstance(each, dict):
            raise SolrWrongValue(f"field {shorten(name)}: a list of objects and of other values")
        for inner, part in _parts(name, each or {}):
            collected.setdefault(inner, []).extend(part if isinstance(part, list) else [part])
    yield from collected.items()


def _whole(value: Any) -> int:
    try:
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    raise SolrWrongValue(f"field {VERSION}: expected a whole number, received {shorten(value)}")
