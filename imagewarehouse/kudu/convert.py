"""Rows as a batch for one Kudu table. Nothing is cut, wrapped or rounded away: a value fits its column or is refused.

What a column takes, besides null where it is nullable:

- bool: true, false, and the words as text in any case; never a number.
- int8 to int64: a whole number (5, 5.0) or its digits as text, within the range of the column; never a bool.
- float, double: a number, or one as text; also the text NaN, Infinity and -Infinity. The nearest value is stored; a
  number that only infinity is near to is refused.
- string: text; a number or bool as JSON has it; an object or list as compact JSON. At most 65536 bytes of UTF-8.
- varchar: as string, at most as many characters as the column has. Those beyond U+FFFF, such as emoji, count as two: so
  does Kudu's Java client, which cuts what is longer.
- binary: bytes, text that `Conversion.binary_text` says how to read, or a list of bytes as numbers (-128 to 255), which
  is what NiFi's JSON writer makes of Avro's bytes. At most 65536 bytes.
- unixtime_micros: a datetime (without a zone: UTC); ISO 8601 text with `T` or a blank, up to six digits of a second
  (more only if zeros), `Z`, an offset or nothing (UTC); a date alone is its midnight in UTC; whole numbers count
  `Conversion.time_unit` since 1970. Years 1 to 9999, which Kudu, Java and Python all have.
- date: a date, text as 2026-12-31, whole numbers as days since 1970; a datetime only if it is midnight in UTC.
- decimal: a number or one as text, with no more digits in front and behind the point than the column has; a float counts
  as the shortest number that reads back as it.

A batch is converted column by column in Arrow. Only where that refuses a column, or could change a value of it, is the
column looked at cell by cell, and then a bad cell costs only its row.
"""

from __future__ import annotations

import base64
import difflib
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagewarehouse.errors import (
    KuduCellTooLong,
    KuduMissingValue,
    KuduUnknownColumn,
    KuduWrongValue,
    WarehouseError,
)
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch
from imagewarehouse.kudu.records import Record, Rows, cell_value, json_text, shorten
from imagewarehouse.kudu.schema import KuduColumn, KuduType, TableSchema

MAX_CELL_BYTES = 64 * 1024  # Kudu's own ceiling for a string, varchar or binary
MAX_NAME_BYTES = 256  # Kudu's own ceiling for the name of a column
UNKNOWN = ("refuse", "ignore", "add")
BINARY_TEXT = ("utf-8", "base64", "hex")
TIME_UNITS = {"micros": 1, "millis": 1_000, "seconds": 1_000_000}  # microseconds

_FIRST_MICROS = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
_LAST_MICROS = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY_MICROS = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_BITS = {KuduType.INT8: 8, KuduType.INT16: 16, KuduType.INT32: 32, KuduType.INT64: 64}
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITE = {"nan": "nan", "infinity": "inf", "+infinity": "inf", "-infinity": "-inf"}
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_ISO = re.compile(
    _DATE.pattern + r"(?:[T ]([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?)?"
    r"(?:Z|([+-])([0-9]{2})(?::?([0-9]{2}))?)?)?"
)
_MICROS = pa.timestamp("us", tz="UTC")
_REFUSALS = (pa.ArrowException, ValueError, TypeError, OverflowError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Conversion:
    """How to read what could be read in more than one way. Raises ValueError at birth.

    `binary_text`: what text is for a binary column; its own UTF-8 bytes are what NiFi 1's PutKudu wrote.
    `time_unit`: what a whole number counts for a unixtime_micros column; NiFi's own records count milliseconds.
    """

    binary_text: str = "utf-8"
    time_unit: str = "millis"

    def __post_init__(self) -> None:
        if self.binary_text not in BINARY_TEXT:
            raise ValueError(f"binary text: expected one of {', '.join(BINARY_TEXT)}, received {self.binary_text!r}")
        if self.time_unit not in TIME_UNITS:
            raise ValueError(f"time unit: expected one of {', '.join(TIME_UNITS)}, received {self.time_unit!r}")


class Converted(NamedTuple):
    """`kept`: for each row of the batch its number among the rows given. `errors`: number and error of all others."""

    batch: RowBatch
    kept: np.ndarray
    errors: list[tuple[int, WarehouseError]]


class _TooLong(ValueError):
    """Becomes KuduCellTooLong where every other ValueError becomes KuduWrongValue."""


_DEFAULT = Conversion()


def convert_cell(value: Any, column: KuduColumn, conversion: Conversion = _DEFAULT) -> Any:
    """The value as the column holds it: bool, int, float, str, bytes, Decimal, date or datetime (UTC).

    Raises: ValueError: one line with the column, what it takes and at most 80 characters of what came.
    """
    return _CELLS[column.type](value, column, conversion)


def to_batch(rows: Rows, schema: TableSchema, unknown: str = "refuse", conversion: Conversion = _DEFAULT) -> Converted:
    """The rows that fit the table as a batch, and the error of each that does not.

    Key columns need a value in every row, required ones in every row that may be inserted. Rows that delete keep their
    key columns only. A column that no row gives is not in the batch.

    Args: unknown: what a field without a column costs its row: refuse: the row is an error; ignore: nothing, the field
        is left out; add: as refuse, but a null is left out (`drift_columns` finds no column for nulls alone).
    """
    if unknown not in UNKNOWN:
        raise ValueError(f"unknown: expected one of {', '.join(UNKNOWN)}, received {unknown!r}")
    if rows.table is not None:
        return table_to_batch(rows.table, rows.operations, schema, unknown, conversion, rows.ignore_nulls)
    values, operations = rows.values, rows.operations
    wide = bool(values) and len(schema.columns) > 2 * len(values[0])
    names = set().union(*values) if wide else None
    seen = 0

    def take(column: KuduColumn, drop: np.ndarray | None) -> _Cells | None:
        nonlocal seen
        if names is not None and column.name not in names:
            return None
        given = None
        try:
            cells = list(map(itemgetter(column.name), values))
        except KeyError:
            cells = [row.get(column.name, _MISSING) for row in values]
            given = np.fromiter((c is not _MISSING for c in cells), dtype=bool, count=len(cells))
            cells = [None if c is _MISSING else c for c in cells]
        seen += len(cells) if given is None else int(given.sum())
        if drop is not None:
            given = ~drop if given is None else given & ~drop
            cells = [c if g else None for c, g in zip(cells, given.tolist(), strict=True)]
        if given is not None and not given.any():
            return None
        return _Cells(*_from_list(cells, column, conversion), given)

    bad, columns = _take_columns(operations, schema, take)
    if unknown != "ignore" and seen < sum(map(len, values)):
        bad |= _unknown_fields(values, operations, schema, nulls=unknown == "refuse")
    return _finish(operations, columns, bad)


def table_to_batch(
    table: pa.Table,
    operation: Operation | np.ndarray,
    schema: TableSchema,
    unknown: str = "refuse",
    conversion: Conversion = _DEFAULT,
    ignore_nulls: bool = False,
) -> Converted:
    """As `to_batch`, but column by column from Arrow to Arrow. `operation`: one for all rows, or uint8 for each."""
    rows = table.num_rows
    operations = operation if isinstance(operation, np.ndarray) else np.full(rows, operation, dtype=np.uint8)
    names = set(table.column_names)

    def take(column: KuduColumn, drop: np.ndarray | None) -> _Cells | None:
        if column.name not in names or (drop is not None and drop.all()):
            return None
        array = _plain_array(table.column(column.name))
        given = None
        if ignore_nulls and array.null_count:
            given = _mask(array.is_valid())
        if drop is not None:
            given = ~drop if given is None else given & ~drop
            array = pc.if_else(pa.array(given), array, pa.scalar(None, array.type))
        if given is not None and not given.any():
            return None
        return _Cells(*_from_array(array, column, conversion), given)

    bad, columns = _take_columns(operations, schema, take)
    if unknown != "ignore":
        known = {c.name for c in schema.columns}
        extra = [n for n in table.column_names if n not in known]
        if extra:
            error = KuduUnknownColumn(_unknown_text(extra, known))
            hit = operations < Operation.DELETE
            if unknown == "add" or ignore_nulls:
                hit &= np.logical_or.reduce([_mask(table.column(n).is_valid()) for n in extra])
            bad |= dict.fromkeys(np.flatnonzero(hit).tolist(), error)
    return _finish(operations, columns, bad)


def drift_columns(rows: Rows | pa.Table, schema: TableSchema) -> tuple[KuduColumn, ...]:
    """Nullable columns for the fields that the table lacks, in the order in which they first come.

    The type holds every value there is: bool, int64, double (fractions, or whole numbers among them) or string; for
    Arrow the type of its own. A field with nulls only, and one whose name Kudu would not take, gets no column. Fields
    of rows that delete do not count. How many columns a table can take is for the caller to check.
    """
    known = {c.name for c in schema.columns}
    table = rows if isinstance(rows, pa.Table) else rows.table
    if table is not None:
        if isinstance(rows, Rows) and len(rows) and bool((rows.operations >= Operation.DELETE).all()):
            return ()
        new = [n for n in table.column_names if n not in known and _usable(n)]
        return tuple(_arrow_column(n, table.column(n).type) for n in new if table.column(n).null_count < table.num_rows)
    values = rows.values
    if (rows.operations >= Operation.DELETE).any():
        values = [
            v for v, delete in zip(values, (rows.operations >= Operation.DELETE).tolist(), strict=True) if not delete
        ]
    fresh = set().union(*values) - known
    if not fresh:
        return ()
    order = dict.fromkeys(name for row in values if not fresh.isdisjoint(row) for name in row if name in fresh)
    cells: dict[str, list[Any]] = {name: [] for name in order if _usable(name)}
    for row in values:
        for name in cells.keys() & row.keys():
            cells[name].append(row[name])
    found = ((name, _field_type(column)) for name, column in cells.items())
    return tuple(KuduColumn(name, kind, nullable=True) for name, kind in found if kind is not None)


# --- rules about rows ---------------------------------------------------------------------------------------------


class _Cells(NamedTuple):
    """One column of all rows. `given`: bool for each row, None: all. Cells in `wrong` are null in `values`."""

    values: pa.Array
    wrong: dict[int, ValueError]
    given: np.ndarray | None


class _Missing:
    """Stands where a row has no such field."""


_MISSING = _Missing()
_Take = Callable[[KuduColumn, "np.ndarray | None"], "_Cells | None"]


def _take_columns(
    operations: np.ndarray, schema: TableSchema, take: _Take
) -> tuple[dict[int, WarehouseError], list[tuple[str, _Cells]]]:
    """All columns that rows give, and for each bad row its first error.

    `take` is told in which rows a column does not count: rows that delete have their key only.
    """
    inserts = operations <= Operation.UPSERT_IGNORE
    deletes = operations >= Operation.DELETE
    drop = deletes if deletes.any() else None
    everywhere = np.ones(len(operations), dtype=bool)
    bad: dict[int, WarehouseError] = {}
    missing: dict[int, list[str]] = {}
    columns: list[tuple[str, _Cells]] = []
    for column in schema.columns:
        cells = take(column, None if column.key else drop)
        given = np.zeros_like(everywhere) if cells is None else everywhere if cells.given is None else cells.given
        needed: np.ndarray | None
        if column.auto_incrementing:
            needed = ~inserts
            for row in np.flatnonzero(given & inserts).tolist():
                bad.setdefault(row, KuduWrongValue(f"column {column.name}: expected no value, the server gives one"))
        else:
            needed = everywhere if column.key else inserts if column.required else None
        if needed is not None and (cells is None or cells.given is not None):
            for row in np.flatnonzero(needed & ~given).tolist():
                missing.setdefault(row, []).append(column.name)
        if cells is None:
            continue
        for row, err in cells.wrong.items():
            kind = KuduCellTooLong if isinstance(err, _TooLong) else KuduWrongValue
            bad.setdefault(row, kind(str(err)))
        if not column.nullable and cells.values.null_count:
            for row in np.flatnonzero(_mask(cells.values.is_null()) & given).tolist():
                if row not in cells.wrong:
                    missing.setdefault(row, []).append(f"{column.name} (null)")
        columns.append((column.name, cells))
    for row, names in missing.items():
        bad.setdefault(row, KuduMissingValue(f"no value for {', '.join(names)}"))
    return bad, columns


def _finish(operations: np.ndarray, columns: list[tuple[str, _Cells]], bad: dict[int, WarehouseError]) -> Converted:
    """The batch of the rows that are not bad."""
    kept = np.arange(len(operations))
    keep: np.ndarray | None = None
    if bad:
        keep = np.ones(len(operations), dtype=bool)
        keep[list(bad)] = False
        kept, operations = kept[keep], operations[keep]
    found = []
    for name, cells in columns:
        values, given = cells.values, cells.given
        if keep is not None:
            values = values.filter(pa.array(keep))
            given = None if given is None else given[keep]
        if given is not None:
            if not given.any():
                continue
            given = None if given.all() else given.astype(np.uint8)
        found.append(ColumnValues(name, values, given))
    return Converted(RowBatch(operations.astype(np.uint8), tuple(found)), kept, sorted(bad.items()))


def _unknown_fields(
    values: Sequence[Record], operations: np.ndarray, schema: TableSchema, nulls: bool
) -> dict[int, WarehouseError]:
    """`nulls`: whether a null counts as well."""
    known = {c.name for c in schema.columns}
    errors: dict[tuple[str, ...], WarehouseError] = {}
    found: dict[int, WarehouseError] = {}
    for row, (record, operation) in enumerate(zip(values, operations.tolist(), strict=True)):
        if operation >= Operation.DELETE or record.keys() <= known:
            continue
        names = tuple(n for n, v in record.items() if n not in known and (nulls or v is not None))
        if names:
            if names not in errors:
                errors[names] = KuduUnknownColumn(_unknown_text(names, known if len(errors) < 20 else ()))
            found[row] = errors[names]
    return found


def _unknown_text(names: Sequence[str], known: Mapping[str, Any] | set[str] | tuple[()]) -> str:
    """Which fields have no column, and a column that one of them may have meant; `known` is empty where many asked."""
    shown = []
    for name in names[:5]:
        near = difflib.get_close_matches(name[:256], known, 1) if known else []
        shown.append(shorten(name) + (f" (did you mean {near[0]}?)" if near else ""))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"no column for field {', '.join(shown)}{more}"


def _mask(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.asarray(
        array.to_numpy(zero_copy_only=False) if isinstance(array, pa.Array) else array.to_numpy(), dtype=bool
    )


# --- a column at once ---------------------------------------------------------------------------------------------


def _from_list(cells: list[Any], column: KuduColumn, conversion: Conversion) -> tuple[pa.Array, dict[int, ValueError]]:
    """The cells as one array of the column's type, and the cells that do not fit, which are null there."""
    types = set(map(type, cells)) - {type(None)}
    if not types:
        return pa.nulls(len(cells), column.arrow_type), {}
    try:
        array = _BULK[column.type](cells, types, column, conversion)
    except _REFUSALS:
        array = None
    if isinstance(array, pa.Array):
        return array, {}
    found: list[Any] = []
    wrong: dict[int, ValueError] = {}
    convert = _CELLS[column.type]
    for row, value in enumerate(cells):
        cell = None
        if value is not None:
            try:
                cell = convert(value, column, conversion)
            except ValueError as err:
                wrong[row] = err
        found.append(cell)
    return pa.array(found, type=column.arrow_type), wrong


# Each takes cells with the set of their types and answers with the array, or with None or an error where a look at
# each cell is needed: because one is wrong, or because Arrow on its own would read one in another way than we do.


def _bulk_bool(cells: list[Any], types: set[type], column: KuduColumn, conversion: Conversion) -> pa.Array | None:
    return pa.array(cells, pa.bool_()) if types == {bool} else None


def _bulk_int(cells: list[Any], types: set[type], column: KuduColumn, conversion: Conversion) -> pa.Array | None:
    return pa.array(cells, column.arrow_type) if types == {int} else None


def _bulk_float(cells: list[Any], types: set[type], column: KuduColumn, conversion: Conversion) -> pa.Array | None:
    if not types <= {int, float, Decimal}:
        return None
    if Decimal in types:
        cells = [None if c is None else float(c) for c in cells]
    array = pa.array(cells, pa.float64())
    if column.type is KuduType.FLOAT:
        array = array.cast(pa.float32(), safe=False)
    return None if pc.any(pc.is_inf(array)).as_py() else array


def _bulk_text(cells: list[Any], types: set[type], column: KuduColumn, conversion: Conversion) -> pa.Array | None:
    return _short_enough(pa.array(cells, pa.string()), column) if types == {str} else None


def _bulk_binary(cells: list[Any], types: set[type], column: KuduColumn, conversion: Conversion) -> pa.Array | None:
    if types == {bytes} or (types == {str} and conversion.binary_text == "utf-8"):
        return _short_enough(pa.array(cells, pa.binary()), column)
    return None


def _bulk_timestamp(cells: list[Any], types: set[type], column: KuduColumn, conversion: Conversion) -> pa.Array | None:
    if types == {str}:
        return _timestamps_of_text(pa.array(cells, pa.string()))
    if types == {int}:
        return _timestamps_of_ints(pa.array(cells, pa.int64()), conversion)
    if types == {datetime}:
        return _in_range(pa.array(cells, _MICROS), pa.int64(), _FIRST_MICROS, _LAST_MICROS)
    return None


def _bulk_date(cells: list[Any], types: set[type], column: KuduColumn, conversion: Conversion) -> pa.Array | None:
    if types == {date}:
        return pa.array(cells, pa.date32())
    if types == {str}:
        return _dates_of_text(pa.array(cells, pa.string()))
    return _dates_of_ints(pa.array(cells, pa.int64())) if types == {int} else None


def _bulk_decimal(cells: list[Any], types: set[type], column: KuduColumn, conversion: Conversion) -> pa.Array | None:
    if types == {float}:
        cells = [None if c is None else Decimal(repr(c)) for c in cells]
    elif not types <= {int, Decimal}:
        return None
    # always, not only to check: Arrow 26 crashes the process on Decimal("0E-99999")
    context, unit = _exact(column.precision or 1, column.scale or 0)
    quantize = context.quantize
    return pa.array([None if c is None else quantize(c, unit) for c in cells], column.arrow_type)


_BULK: dict[KuduType, Callable[[list[Any], set[type], KuduColumn, Conversion], pa.Array | None]] = {
    KuduType.BOOL: _bulk_bool, KuduType.INT8: _bulk_int, KuduType.INT16: _bulk_int, KuduType.INT32: _bulk_int,
    KuduType.INT64: _bulk_int, KuduType.FLOAT: _bulk_float, KuduType.DOUBLE: _bulk_float, KuduType.STRING: _bulk_text,
    KuduType.VARCHAR: _bulk_text, KuduType.BINARY: _bulk_binary, KuduType.UNIXTIME_MICROS: _bulk_timestamp,
    KuduType.DATE: _bulk_date, KuduType.DECIMAL: _bulk_decimal,
}  # fmt: skip


def _short_enough(array: pa.Array, column: KuduColumn) -> pa.Array | None:
    if (pc.max(pc.binary_length(array)).as_py() or 0) > MAX_CELL_BYTES:
        return None
    if column.length is not None and (pc.max(pc.binary_length(array)).as_py() or 0) > column.length:
        wide = pc.count_substring_regex(array, r"[\x{10000}-\x{10ffff}]")
        if pc.max(pc.add(pc.utf8_length(array), wide)).as_py() > column.length:
            return None
    return array


def _in_range(array: pa.Array, integer: pa.DataType, first: int, last: int) -> pa.Array | None:
    ends = pc.min_max(array.view(integer)).as_py()
    return array if ends["min"] is None or (first <= ends["min"] and ends["max"] <= last) else None


def _timestamps_of_text(array: pa.Array) -> pa.Array | None:
    try:
        found = array.cast(_MICROS)
    except pa.ArrowInvalid:  # it wants a zone in all of them, or, for the other type, in none
        found = array.cast(pa.timestamp("us")).view(_MICROS)
    return _in_range(found, pa.int64(), _FIRST_MICROS, _LAST_MICROS)


def _timestamps_of_ints(array: pa.Array, conversion: Conversion) -> pa.Array | None:
    unit = TIME_UNITS[conversion.time_unit]
    micros = array if unit == 1 else pc.multiply_checked(array, pa.scalar(unit, pa.int64()))
    return _in_range(micros.view(_MICROS), pa.int64(), _FIRST_MICROS, _LAST_MICROS)


def _dates_of_text(array: pa.Array) -> pa.Array | None:
    return _in_range(array.cast(pa.date32()), pa.int32(), _FIRST_DAY, _LAST_DAY)


def _dates_of_ints(array: pa.Array) -> pa.Array | None:
    checked = _in_range(array, pa.int64(), _FIRST_DAY, _LAST_DAY)
    return None if checked is None else checked.cast(pa.int32()).view(pa.date32())


# --- a column of Arrow --------------------------------------------------------------------------------------------


def _plain_array(column: pa.ChunkedArray) -> pa.Array:
    """One array without dictionary or extension type."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    while True:
        if isinstance(array, pa.ChunkedArray):  # too much text for one array with offsets of 32 bits
            array = pa.concat_arrays([c.cast(_large(c.type)) for c in array.chunks])
        elif isinstance(array, pa.ExtensionArray):
            array = array.storage
        elif pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        elif pa.types.is_run_end_encoded(array.type):
            array = pc.run_end_decode(array)
        elif pa.types.is_string_view(
            array.type
        ):  # by way of Python: Arrow 26 follows the view of a null, wherever it leads
            array = pa.array(array.to_pylist(), pa.large_string())
        elif pa.types.is_binary_view(array.type):
            array = pa.array(array.to_pylist(), pa.large_binary())
        else:
            return array


def _large(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if pa.types.is_string(kind) else pa.large_binary() if pa.types.is_binary(kind) else kind


def _from_array(array: pa.Array, column: KuduColumn, conversion: Conversion) -> tuple[pa.Array, dict[int, ValueError]]:
    """As _from_list, without Python for the types that fit each other by nature."""
    kind = array.type
    if pa.types.is_null(kind):
        return pa.nulls(len(array), column.arrow_type), {}
    if column.type in (KuduType.FLOAT, KuduType.DOUBLE) and pa.types.is_floating(kind):
        return _floats_of_floats(array, column)
    timed = column.type in (KuduType.UNIXTIME_MICROS, KuduType.DATE)
    if timed and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return _times_of_times(array, column)
    try:
        found = _cast(array, column, conversion)
    except _REFUSALS:
        found = None
    if isinstance(found, pa.Array):
        return found, {}
    return _from_list(_cells_of(array), column, conversion)


def _cells_of(array: pa.Array) -> list[Any]:
    try:
        return list(array.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException):
        return [cell_value(cell) for cell in array]


def _cast(array: pa.Array, column: KuduColumn, conversion: Conversion) -> pa.Array | None:
    kind, target, wanted = array.type, column.arrow_type, column.type
    if wanted in (KuduType.STRING, KuduType.VARCHAR):
        if _is_text(kind) or _is_binary(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            return _short_enough(array.cast(target), column)
    elif wanted is KuduType.BINARY:
        if _is_binary(kind) or (_is_text(kind) and conversion.binary_text == "utf-8"):
            return _short_enough(array.cast(target), column)
    elif wanted is KuduType.UNIXTIME_MICROS:
        if _is_text(kind):
            return _timestamps_of_text(array.cast(pa.string()))
        if pa.types.is_integer(kind):
            return _timestamps_of_ints(array.cast(pa.int64()), conversion)
    elif wanted is KuduType.DATE:
        if _is_text(kind):
            return _dates_of_text(array.cast(pa.string()))
        if pa.types.is_integer(kind):
            return _dates_of_ints(array.cast(pa.int64()))
    elif kind == target:
        return array
    elif wanted in _BITS and pa.types.is_integer(kind):
        return array.cast(target)
    elif wanted in (KuduType.FLOAT, KuduType.DOUBLE) and pa.types.is_integer(kind):
        return array.cast(pa.float64(), safe=False).cast(
            target, safe=False
        )  # twice, as the cells do: the same rounding
    elif wanted is KuduType.DECIMAL and pa.types.is_decimal(kind):
        return array.cast(target)
    elif wanted is KuduType.DECIMAL and pa.types.is_integer(kind) and (column.scale or 0) <= 18:
        return array.cast(pa.decimal128(38, column.scale or 0)).cast(target)
    return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def _floats_of_floats(array: pa.Array, column: KuduColumn) -> tuple[pa.Array, dict[int, ValueError]]:
    """Infinities stay; only what becomes one is wrong."""
    found = array.cast(column.arrow_type, safe=False)
    if column.type is KuduType.DOUBLE or not pa.types.is_float64(array.type):
        return found, {}
    return _without(found, pc.and_not(pc.is_inf(found), pc.is_inf(array)), array, column)


def _times_of_times(array: pa.Array, column: KuduColumn) -> tuple[pa.Array, dict[int, ValueError]]:
    """Timestamps and dates of any unit; a timestamp without a zone is in UTC."""
    kind = array.type
    if pa.types.is_date32(kind):
        ticks, per_day = array.view(pa.int32()).cast(pa.int64()), 1
    elif pa.types.is_date64(kind):
        ticks, per_day = array.view(pa.int64()), 86_400_000
    else:
        ticks, per_day = array.view(pa.int64()), 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    per_target = _DAY_MICROS if column.type is KuduType.UNIXTIME_MICROS else 1
    first = max(_FIRST_DAY * per_day, -(2**63))
    last = min((_LAST_DAY + 1) * per_day - 1, 2**63 - 1)
    ends = pc.min_max(ticks).as_py()
    wrong: pa.Array | None = None
    if ends["min"] is not None and not first <= ends["min"] <= ends["max"] <= last:
        wrong = pc.or_(pc.less(ticks, pa.scalar(first, pa.int64())), pc.greater(ticks, pa.scalar(last, pa.int64())))
        ticks = pc.if_else(wrong, pa.scalar(0, pa.int64()), ticks)
    if per_day < per_target:
        ticks = pc.multiply(ticks, pa.scalar(per_target // per_day, pa.int64()))
    elif per_day > per_target:
        count = pa.scalar(per_day // per_target, pa.int64())
        whole = pc.divide(ticks, count)
        cut = pc.not_equal(pc.multiply(whole, count), ticks)
        wrong = cut if wrong is None else pc.or_(wrong, cut)
        ticks = whole
    target = column.arrow_type
    found = ticks.cast(pa.int32()).view(target) if column.type is KuduType.DATE else ticks.view(target)
    return (found, {}) if wrong is None else _without(found, wrong, array, column)


def _without(
    found: pa.Array, wrong: pa.Array, array: pa.Array, column: KuduColumn
) -> tuple[pa.Array, dict[int, ValueError]]:
    rows = np.flatnonzero(_mask(pc.fill_null(wrong, False)))
    if not len(rows):
        return found, {}
    errors = {row: _wrong(column, _shown(array[row])) for row in rows.tolist()}
    return pc.if_else(wrong, pa.scalar(None, found.type), found), errors


def _shown(cell: pa.Scalar) -> Any:
    """Arrow's own text: Python would drop nanoseconds or have no such year."""
    try:
        return cell.cast(pa.string()).as_py()
    except pa.ArrowException:
        return cell_value(cell)


# --- a cell -------------------------------------------------------------------------------------------------------


def _wrong(column: KuduColumn, value: Any, expected: str = "") -> ValueError:
    return ValueError(f"column {column.name}: expected {expected or column.type_text}, received {shorten(value)}")


def _cell_bool(value: Any, column: KuduColumn, conversion: Conversion) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise _wrong(column, value, "true or false")


def _cell_int(value: Any, column: KuduColumn, conversion: Conversion) -> int:
    found: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, float) and value.is_integer():
        found = int(value)
    elif isinstance(value, Decimal) and value.is_finite():
        # adjusted: the exponent of the first digit; int() would write out every zero of 1e999999999
        if not value:
            found = 0
        elif 0 <= value.adjusted() <= 20 and value == value.to_integral_value():
            found = int(value)
    elif isinstance(value, str) and _INTEGER.fullmatch(value):
        found = int(value)
    half = 1 << (_BITS[column.type] - 1)
    if found is None or not -half <= found < half:
        raise _wrong(column, value, f"{column.type_text}, a whole number from {-half} to {half - 1}")
    return found


def _cell_float(value: Any, column: KuduColumn, conversion: Conversion) -> float:
    found: float | None = None
    if isinstance(value, str):
        if value.lower() in _INFINITE:
            return float(_INFINITE[value.lower()])
        if _NUMBER.fullmatch(value):
            found = float(value)
    elif isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        try:
            found = float(value)
        except (OverflowError, ValueError):
            found = None
    if found is not None and column.type is KuduType.FLOAT:
        try:
            found = float(struct.unpack("f", struct.pack("f", found))[0])
        except OverflowError:
            found = None
    if found is None or found in (float("inf"), float("-inf")):  # JSON cannot say infinity: 1e400 became one
        raise _wrong(column, value, f"a number for {column.type_text}")
    return found


def _cell_text(value: Any, column: KuduColumn, conversion: Conversion) -> str:
    try:
        if isinstance(value, str):
            text = value
        elif isinstance(value, bytes):
            text = value.decode()
        elif isinstance(value, (datetime, date, time)):
            text = value.isoformat()
        elif isinstance(value, (bool, int, float, Decimal, dict, list, tuple)):
            text = json_text(value)
            if isinstance(value, float):
                text = text.strip('"')  # NaN and Infinity, which JSON has in quotes only
        else:
            text = str(value)
        octets = len(text.encode())
    except RecursionError:
        raise _wrong(column, value, "less nesting") from None
    except UnicodeEncodeError:
        raise _wrong(column, value, "text without half characters (lone surrogates)") from None
    except ValueError:
        raise _wrong(column, str(value)) from None
    if column.length is not None and octets > column.length:
        units = len(text.encode("utf-16-le")) // 2
        if units > column.length:
            raise _too_long(column, f"{column.length} characters", units, text)
    if octets > MAX_CELL_BYTES:
        raise _too_long(column, f"{MAX_CELL_BYTES} bytes", octets, text)
    return text


def _too_long(column: KuduColumn, limit: str, received: int, value: str) -> _TooLong:
    return _TooLong(f"column {column.name}: expected at most {limit}, received {received}: {shorten(value)}")


def _cell_binary(value: Any, column: KuduColumn, conversion: Conversion) -> bytes:
    mode = conversion.binary_text
    try:
        if isinstance(value, (bytes, bytearray, memoryview)):
            found = bytes(value)
        elif isinstance(value, list) and all(type(v) is int and -128 <= v <= 255 for v in value):
            found = bytes(v & 255 for v in value)
        elif not isinstance(value, str):
            raise _wrong(column, value, f"bytes or text ({mode})")
        elif mode == "base64":
            found = base64.b64decode(value, validate=True)
        else:
            found = value.encode() if mode == "utf-8" else base64.b16decode(value.upper())
    except UnicodeEncodeError:
        raise _wrong(column, value, "text without half characters (lone surrogates)") from None
    except ValueError:
        raise _wrong(column, value, f"bytes or text ({mode})") from None
    if len(found) > MAX_CELL_BYTES:
        raise _too_long(column, f"{MAX_CELL_BYTES} bytes", len(found), str(value[:80]))
    return found


def _cell_timestamp(value: Any, column: KuduColumn, conversion: Conversion) -> datetime:
    try:
        if isinstance(value, datetime):
            return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
        if isinstance(value, date):
            return datetime.combine(value, time(), timezone.utc)
        if isinstance(value, int) and not isinstance(value, bool):
            return _EPOCH + timedelta(microseconds=value * TIME_UNITS[conversion.time_unit])
        if isinstance(value, str) and (found := _ISO.fullmatch(value)):
            return _moment(found)
    except (ValueError, OverflowError):
        pass
    if isinstance(value, int):
        raise _wrong(column, value, f"{conversion.time_unit} since 1970 within the years 1 to 9999")
    raise _wrong(column, value, "a time such as 2026-12-31T23:59:59.123456Z")


def _moment(found: re.Match[str]) -> datetime:
    """Raises ValueError, OverflowError."""
    year, month, day, hour, minute, second = (int(g or 0) for g in found.groups()[:6])
    fraction = (found[7] or "").rstrip("0")
    if len(fraction) > 6:
        raise ValueError
    moment = datetime(year, month, day, hour, minute, second, int(fraction.ljust(6, "0")), timezone.utc)
    if found[8]:
        hours, minutes = int(found[9]), int(found[10] or 0)
        if hours > 23 or minutes > 59:
            raise ValueError
        offset = timedelta(hours=hours, minutes=minutes)
        moment = moment - offset if found[8] == "+" else moment + offset
    return moment


def _cell_date(value: Any, column: KuduColumn, conversion: Conversion) -> date:
    try:
        if isinstance(value, datetime):
            moment = _cell_timestamp(value, column, conversion)
            if moment.time() == time():
                return moment.date()
        elif isinstance(value, date):
            return value
        elif isinstance(value, int) and not isinstance(value, bool):
            return _EPOCH.date() + timedelta(days=value)
        elif isinstance(value, str) and (found := _DATE.fullmatch(value)):
            return date(int(found[1]), int(found[2]), int(found[3]))
    except (ValueError, OverflowError):
        pass
    if isinstance(value, int) and not isinstance(value, bool):
        raise _wrong(column, value, "days since 1970 within the years 1 to 9999")
    raise _wrong(column, value, "a date such as 2026-12-31")


def _cell_decimal(value: Any, column: KuduColumn, conversion: Conversion) -> Decimal:
    context, unit = _exact(column.precision or 1, column.scale or 0)
    found: Decimal | None = None
    try:
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            found = context.quantize(value, unit)
        elif isinstance(value, float):
            found = context.quantize(Decimal(repr(value)), unit)
        elif isinstance(value, str) and _NUMBER.fullmatch(value):
            found = context.quantize(Decimal(value), unit)
    except (ArithmeticError, ValueError):
        pass
    if found is None or not found.is_finite():
        raise _wrong(column, value, f"a number for {column.type_text}")
    return found


@lru_cache(maxsize=256)
def _exact(precision: int, scale: int) -> tuple[Context, Decimal]:
    """A context that quantizes to the unit of a column, or raises ArithmeticError."""
    return Context(prec=precision, traps=[Inexact, InvalidOperation]), Decimal(1).scaleb(-scale)


_CELLS: dict[KuduType, Callable[[Any, KuduColumn, Conversion], Any]] = {
    KuduType.BOOL: _cell_bool, KuduType.INT8: _cell_int, KuduType.INT16: _cell_int, KuduType.INT32: _cell_int,
    KuduType.INT64: _cell_int, KuduType.FLOAT: _cell_float, KuduType.DOUBLE: _cell_float, KuduType.STRING: _cell_text,
    KuduType.VARCHAR: _cell_text, KuduType.BINARY: _cell_binary, KuduType.UNIXTIME_MICROS: _cell_timestamp,
    KuduType.DATE: _cell_date, KuduType.DECIMAL: _cell_decimal,
}  # fmt: skip


# --- columns for new fields ---------------------------------------------------------------------------------------


def _usable(name: str) -> bool:
    # printable: no half character (lone surrogate) is, so that it has bytes
    return name.isprintable() and 0 < len(name.encode()) <= MAX_NAME_BYTES


def _field_type(cells: list[Any]) -> KuduType | None:
    types = set(map(type, cells)) - {type(None)}
    if not types:
        return None
    if types == {int}:
        fits = all(c is None or -(2**63) <= c < 2**63 for c in cells)
        return KuduType.INT64 if fits else KuduType.STRING
    if types <= {int, float, Decimal}:
        return KuduType.DOUBLE
    single = {bool: KuduType.BOOL, datetime: KuduType.UNIXTIME_MICROS, date: KuduType.DATE, bytes: KuduType.BINARY}
    return single.get(next(iter(types)), KuduType.STRING) if len(types) == 1 else KuduType.STRING


def _arrow_column(name: str, kind: pa.DataType) -> KuduColumn:
    types = pa.types
    while types.is_dictionary(kind) or isinstance(kind, pa.BaseExtensionType):
        kind = kind.value_type if types.is_dictionary(kind) else kind.storage_type
    if types.is_uint64(kind):
        return KuduColumn(name, KuduType.DECIMAL, nullable=True, precision=20, scale=0)
    if types.is_decimal(kind) and kind.precision <= 38 and 0 <= kind.scale <= kind.precision:
        return KuduColumn(name, KuduType.DECIMAL, nullable=True, precision=kind.precision, scale=kind.scale)
    if types.is_integer(kind):
        bits = min(64, kind.bit_width * (2 if types.is_unsigned_integer(kind) else 1))
        return KuduColumn(name, KuduType(f"int{bits}"), nullable=True)
    if types.is_timestamp(kind):
        return KuduColumn(name, KuduType.UNIXTIME_MICROS, nullable=True)
    if types.is_date(kind):
        return KuduColumn(name, KuduType.DATE, nullable=True)
    if _is_binary(kind):
        return KuduColumn(name, KuduType.BINARY, nullable=True)
    if types.is_boolean(kind):
        return KuduColumn(name, KuduType.BOOL, nullable=True)
    if types.is_floating(kind):
        return KuduColumn(name, KuduType.DOUBLE if types.is_float64(kind) else KuduType.FLOAT, nullable=True)
    return KuduColumn(name, KuduType.STRING, nullable=True)
