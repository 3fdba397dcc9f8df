"""Maps records to rows: an operation and renamed fields, selected by paths.

Paths, a small part of NiFi's RecordPath: `/name/name`, `[*]` behind a name for every element of a list, quotes around
a name with other signs (`/'a b'`), `/` for the record itself, and `|` between alternatives, of which the first that
finds something wins: `/after | /before` are the data of a change from Debezium, whose deletes have no `after`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from imagewarehouse.contents import BadRow, Record, Records, shorten, table_records, table_row
from imagewarehouse.errors import KuduUnknownOperation, RecordsMalformed, WarehouseError
from imagewarehouse.kudu.batch import Operation

_SYNTAX = "expected a path such as /after, /payload/after or /items[*]"
_STEP = re.compile(r"/(?:'([^']*)'|\"([^\"]*)\"|([^\s/\[\]|'\"][^/\[\]|'\"]*))((?:\[\*\])*)")
_ALL = object()  # the step [*]
_SEPARATORS = re.compile(r"[\s_-]+")
_OPERATIONS = {o.name: o for o in Operation} | {
    "C": Operation.INSERT, "R": Operation.INSERT, "U": Operation.UPDATE, "D": Operation.DELETE,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows before they are converted, in `values` or, where nothing had to be taken out of records, in `table`.

    `records`: for each row the number of its record. `operations`: uint8, an Operation for each row.
    `ignore_nulls`: nulls of `table` are as if not given; in `values` they are gone already.
    """

    records: Sequence[int]
    operations: np.ndarray
    values: list[Record]
    table: pa.Table | None = None
    ignore_nulls: bool = False
    errors: tuple[BadRow, ...] = ()

    def __len__(self) -> int:
        return len(self.operations)

    def bad(self, row: int, error: WarehouseError) -> BadRow:
        """What to report when row number `row` was not written."""
        values = self.values[row] if self.table is None else table_row(self.table, row)
        return BadRow(int(self.records[row]), error, values)


@dataclass(frozen=True, slots=True)
class RecordMapping:
    """How records map to rows. Raises ValueError on construction.

    `data_path`: the part of a record that is its row, or its rows; empty: the record. `operation_path`: where a record
    names its operation, by the name of an Operation or as Debezium does (c and r: INSERT, u: UPDATE, d: DELETE);
    empty: the operation of the caller. `fields`: column for a field of another name, "" to drop the field;
    `lower_case` is for all names, after `fields`. `ignore_nulls`: a null is as if the field was not there.
    """

    data_path: str = ""
    operation_path: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    lower_case: bool = False
    ignore_nulls: bool = False

    def __post_init__(self) -> None:
        for path in (self.data_path, self.operation_path):
            _parse_path(path)

    @property
    def renames(self) -> bool:
        return bool(self.fields) or self.lower_case

    def column(self, name: str) -> str:
        """The column for a field; empty where the field is dropped."""
        name = self.fields.get(name, name)
        return name.lower() if self.lower_case else name


def map_records(records: Records, mapping: RecordMapping, operation: Operation) -> Rows:
    """The rows of the records, each with `operation` unless the mapping says where a record names its own.

    Arrow stays a table as long as no path is set. Raises: RecordsMalformed: two columns of a table get one name.
    """
    items, numbers, errors = records.items, records.numbers, list(records.errors)
    if records.table is not None:
        if not mapping.data_path and not mapping.operation_path:
            table = _rename(records.table, mapping)
            return Rows(numbers, _repeated(operation, table.num_rows), [], table, mapping.ignore_nulls, records.errors)
        items = table_records(records.table)
    if mapping.data_path or mapping.operation_path:
        items, numbers, operations = _extract(items, numbers, mapping, operation, errors)
    else:
        operations = _repeated(operation, len(items))
    if mapping.renames:
        items, valid = _rename_records(items, numbers, mapping, errors)
        operations, numbers = operations[valid], [numbers[row] for row in valid]
    if mapping.ignore_nulls:
        items = [{k: v for k, v in i.items() if v is not None} if None in i.values() else i for i in items]
    return Rows(numbers, operations, items, errors=tuple(errors))


def attributes_record(
    attributes: Mapping[str, str], columns: Collection[str], mapping: RecordMapping | None = None
) -> Record:
    """The attributes of a FlowFile that are, after the renames of the mapping, columns of the table.

    Raises: RecordsMalformed: two attributes are for one column.
    """
    mapping = mapping or RecordMapping()
    try:
        return _rename_record({k: v for k, v in attributes.items() if mapping.column(k) in columns}, mapping, {})
    except ValueError as err:
        raise RecordsMalformed(str(err)) from None


def _repeated(operation: Operation, rows: int) -> np.ndarray:
    return np.full(rows, operation, dtype=np.uint8)


def _rename(table: pa.Table, mapping: RecordMapping) -> pa.Table:
    if not mapping.renames:
        return table
    kept = [n for n in table.column_names if mapping.column(n)]
    names = [mapping.column(n) for n in kept]
    if len(set(names)) < len(names):
        raise RecordsMalformed(f"two fields are for column {shorten(next(n for n in names if names.count(n) > 1))}")
    return table.select(kept).rename_columns(names)


def _rename_records(
    items: list[Record], numbers: Sequence[int], mapping: RecordMapping, errors: list[BadRow]
) -> tuple[list[Record], list[int]]:
    """The renamed rows and which of `items` they were; the others go to `errors`."""
    shapes: dict[tuple[str, ...], list[str]] = {}
    renamed: list[Record] = []
    valid: list[int] = []
    for row, values in enumerate(items):
        try:
            renamed.append(_rename_record(values, mapping, shapes))
        except ValueError as err:
            errors.append(BadRow(numbers[row], RecordsMalformed(str(err)), values))
            continue
        valid.append(row)
    return renamed, valid


def _rename_record(values: Record, mapping: RecordMapping, shapes: dict[tuple[str, ...], list[str]]) -> Record:
    """`shapes` caches the renamed fields by the fields of a record: most records have the same. Raises ValueError."""
    shape = tuple(values)
    names = shapes.get(shape)
    if names is None:
        names = [mapping.column(name) for name in shape]
        kept = [name for name in names if name]
        if len(set(kept)) < len(kept):
            raise ValueError(f"two fields are for column {shorten(next(c for c in kept if kept.count(c) > 1))}")
        shapes[shape] = names
    return {name: value for name, value in zip(names, values.values(), strict=True) if name}


def _extract(
    items: list[Record], numbers: Sequence[int], mapping: RecordMapping, operation: Operation, errors: list[BadRow]
) -> tuple[list[Record], list[int], np.ndarray]:
    """Rows and operations at the paths of the mapping; records that lack them go to `errors`."""
    data, names = _parse_path(mapping.data_path), _parse_path(mapping.operation_path)
    operation_names: dict[str, Operation] = {}
    objects: list[Record] = []
    origins: list[int] = []
    operations: list[int] = []
    for number, item in zip(numbers, items, strict=True):
        try:
            row_operation = _operation(item, names, mapping.operation_path, operation_names) if names else operation
            rows = _objects(item, data, mapping.data_path) if data else [item]
        except WarehouseError as err:
            errors.append(BadRow(number, err, item))
            continue
        objects += rows
        origins += [number] * len(rows)
        operations += [row_operation] * len(rows)
    return objects, origins, np.array(operations, dtype=np.uint8)


def _operation(item: Record, paths: _Paths, shown: str, cache: dict[str, Operation]) -> Operation:
    selected = next((values for path in paths if (values := [v for v in _select(item, path) if v is not None])), [])
    if len(selected) != 1 or not isinstance(selected[0], str):
        received = (
            shorten(selected[0]) if len(selected) == 1 else ("nothing" if not selected else f"{len(selected)} values")
        )
        raise KuduUnknownOperation(f"{shown}: expected the name of an operation, received {received}")
    name = selected[0]
    if name not in cache:
        operation = _OPERATIONS.get(_SEPARATORS.sub("_", name.strip()).upper())
        if operation is None:
            choice = ", ".join(o.name for o in Operation)
            raise KuduUnknownOperation(f"{shown}: expected {choice} or c, r, u, d, received {shorten(name)}")
        cache[name] = operation
    return cache[name]


def _objects(item: Record, paths: _Paths, shown: str) -> list[Record]:
    others: list[Any] = []
    for path in paths:
        values = _select(item, path)
        others = [v for v in values if not isinstance(v, dict)]
        if values and not others:
            return values
        if values and len(others) < len(values):
            break
    received = shorten(others[0]) if others else "nothing"
    raise RecordsMalformed(f"{shown}: expected an object for every row, received {received}")


# --- paths ------------------------------------------------------------------------------------------------------


_Paths = tuple[tuple[Any, ...], ...]  # alternatives, each a tuple of names and _ALL


def _select(item: Record, path: tuple[Any, ...]) -> list[Any]:
    values: list[Any] = [item]
    for step in path:
        if step is _ALL:
            values = [part for value in values if isinstance(value, list) for part in value]
        else:
            values = [value[step] for value in values if isinstance(value, dict) and step in value]
    return values


@lru_cache(maxsize=64)
def _parse_path(text: str) -> _Paths:
    """Raises ValueError."""
    if not text.strip():
        return ()
    paths: list[tuple[Any, ...]] = []
    at = 0
    while True:
        at = _skip_blanks(text, at)
        steps: list[Any] = []
        start = at
        while step := _STEP.match(text, at):
            name = next(g for g in step.groups() if g is not None)
            steps += [name if step[3] is None else name.rstrip(), *[_ALL] * (len(step[4]) // 3)]
            at = step.end()
        if at == start:
            if text[at : at + 1] != "/":
                raise ValueError(f"{_SYNTAX}, received {text[:80]!r}")
            at += 1
        paths.append(tuple(steps))
        at = _skip_blanks(text, at)
        if at == len(text):
            return tuple(paths)
        if text[at] != "|":
            raise ValueError(f"{_SYNTAX}, received {text[:80]!r}")
        at += 1


def _skip_blanks(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at
