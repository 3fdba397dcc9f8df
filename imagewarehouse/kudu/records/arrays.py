"""Converts a whole column to the Arrow array of a batch, from Python values or from Arrow.

Arrow converts it in one go. Only where Arrow refuses, or could change a value, is the column looked at cell by cell, by
the rules of `cells.py`, and then a bad cell costs only its row.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagewarehouse.contents import cell_value
from imagewarehouse.kudu.records.cells import (
    CELL_RULES,
    INTEGER_BITS,
    MAX_CELL_BYTES,
    TIME_UNITS,
    Conversion,
    exact_context,
    wrong_value,
)
from imagewarehouse.kudu.schema import KuduColumn, KuduType

_FIRST_MICROS = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
_LAST_MICROS = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY_MICROS = 86_400_000_000
_MICROS = pa.timestamp("us", tz="UTC")
_REFUSALS = (pa.ArrowException, ValueError, TypeError, OverflowError, ArithmeticError)


def mask(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.asarray(
        array.to_numpy(zero_copy_only=False) if isinstance(array, pa.Array) else array.to_numpy(), dtype=bool
    )


# --- from Python's values ---------------------------------------------------------------------------------------


def from_list(cells: list[Any], column: KuduColumn, conversion: Conversion) -> tuple[pa.Array, dict[int, ValueError]]:
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
    converted: list[Any] = []
    wrong: dict[int, ValueError] = {}
    convert = CELL_RULES[column.type]
    for row, value in enumerate(cells):
        cell = None
        if value is not None:
            try:
                cell = convert(value, column, conversion)
            except ValueError as err:
                wrong[row] = err
        converted.append(cell)
    return pa.array(converted, type=column.arrow_type), wrong


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
    context, unit = exact_context(column.precision or 1, column.scale or 0)
    quantize = context.quantize
    return pa.array([None if c is None else quantize(c, unit) for c in cells], column.arrow_type)


_BULK: dict[KuduType, Callable[[list[Any], set[type], KuduColumn, Conversion], pa.Array | None]] = {
    KuduType.BOOL: _bulk_bool, KuduType.INT8: _bulk_int, KuduType.INT16: _bulk_int, KuduType.INT32: _bulk_int,
    KuduType.INT64: _bulk_int, KuduType.FLOAT: _bulk_float, KuduType.DOUBLE: _bulk_float, KuduType.STRING: _bulk_text,
    KuduType.VARCHAR: _bulk_text, KuduType.BINARY: _bulk_binary, KuduType.UNIXTIME_MICROS: _bulk_timestamp,
    KuduType.DATE: _bulk_date, KuduType.DECIMAL: _bulk_decimal,
}  # fmt: skip

# --- from Arrow -------------------------------------------------------------------------------------------------


def plain_array(column: pa.ChunkedArray) -> pa.Array:
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


def from_array(array: pa.Array, column: KuduColumn, conversion: Conversion) -> tuple[pa.Array, dict[int, ValueError]]:
    """As from_list, but converts compatible Arrow types without Python objects."""
    kind = array.type
    if pa.types.is_null(kind):
        return pa.nulls(len(array), column.arrow_type), {}
    if column.type in (KuduType.FLOAT, KuduType.DOUBLE) and pa.types.is_floating(kind):
        return _floats_of_floats(array, column)
    timed = column.type in (KuduType.UNIXTIME_MICROS, KuduType.DATE)
    if timed and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return _times_of_times(array, column)
    try:
        converted = _cast(array, column, conversion)
    except _REFUSALS:
        converted = None
    if isinstance(converted, pa.Array):
        return converted, {}
    return from_list(_cells_of(array), column, conversion)


def _cells_of(array: pa.Array) -> list[Any]:
    try:
        return list(array.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException):
        return [cell_value(cell) for cell in array]


def _cast(array: pa.Array, column: KuduColumn, conversion: Conversion) -> pa.Array | None:
    kind, target, kudu_type = array.type, column.arrow_type, column.type
    if kudu_type in (KuduType.STRING, KuduType.VARCHAR):
        if _is_text(kind) or is_binary(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            return _short_enough(array.cast(target), column)
    elif kudu_type is KuduType.BINARY:
        if is_binary(kind) or (_is_text(kind) and conversion.binary_text == "utf-8"):
            return _short_enough(array.cast(target), column)
    elif kudu_type is KuduType.UNIXTIME_MICROS:
        if _is_text(kind):
            return _timestamps_of_text(array.cast(pa.string()))
        if pa.types.is_integer(kind):
            return _timestamps_of_ints(array.cast(pa.int64()), conversion)
    elif kudu_type is KuduType.DATE:
        if _is_text(kind):
            return _dates_of_text(array.cast(pa.string()))
        if pa.types.is_integer(kind):
            return _dates_of_ints(array.cast(pa.int64()))
    elif kind == target:
        return array
    elif kudu_type in INTEGER_BITS and pa.types.is_integer(kind):
        return array.cast(target)
    elif kudu_type in (KuduType.FLOAT, KuduType.DOUBLE) and pa.types.is_integer(kind):
        return array.cast(pa.float64(), safe=False).cast(
            target, safe=False
        )  # twice, as the cells do: the same rounding
    elif kudu_type is KuduType.DECIMAL and pa.types.is_decimal(kind):
        return array.cast(target)
    elif kudu_type is KuduType.DECIMAL and pa.types.is_integer(kind) and (column.scale or 0) <= 18:
        return array.cast(pa.decimal128(38, column.scale or 0)).cast(target)
    return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def _floats_of_floats(array: pa.Array, column: KuduColumn) -> tuple[pa.Array, dict[int, ValueError]]:
    """Infinities are kept; a finite value that becomes infinite is an error."""
    floats = array.cast(column.arrow_type, safe=False)
    if column.type is KuduType.DOUBLE or not pa.types.is_float64(array.type):
        return floats, {}
    return _without(floats, pc.and_not(pc.is_inf(floats), pc.is_inf(array)), array, column)


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
    values = ticks.cast(pa.int32()).view(target) if column.type is KuduType.DATE else ticks.view(target)
    return (values, {}) if wrong is None else _without(values, wrong, array, column)


def _without(
    values: pa.Array, wrong: pa.Array, array: pa.Array, column: KuduColumn
) -> tuple[pa.Array, dict[int, ValueError]]:
    rows = np.flatnonzero(mask(pc.fill_null(wrong, False)))
    if not len(rows):
        return values, {}
    errors = {row: wrong_value(column, _shown(array[row])) for row in rows.tolist()}
    return pc.if_else(wrong, pa.scalar(None, values.type), values), errors


def _shown(cell: pa.Scalar) -> Any:
    """Arrow's own text: Python would drop nanoseconds or have no such year."""
    try:
        return cell.cast(pa.string()).as_py()
    except pa.ArrowException:
        return cell_value(cell)


# --- for both ---------------------------------------------------------------------------------------------------


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
        timestamps = array.cast(_MICROS)
    except pa.ArrowInvalid:  # it wants a zone in all of them, or, for the other type, in none
        timestamps = array.cast(pa.timestamp("us")).view(_MICROS)
    return _in_range(timestamps, pa.int64(), _FIRST_MICROS, _LAST_MICROS)


def _timestamps_of_ints(array: pa.Array, conversion: Conversion) -> pa.Array | None:
    unit = TIME_UNITS[conversion.time_unit]
    micros = array if unit == 1 else pc.multiply_checked(array, pa.scalar(unit, pa.int64()))
    return _in_range(micros.view(_MICROS), pa.int64(), _FIRST_MICROS, _LAST_MICROS)


def _dates_of_text(array: pa.Array) -> pa.Array | None:
    return _in_range(array.cast(pa.date32()), pa.int32(), _FIRST_DAY, _LAST_DAY)


def _dates_of_ints(array: pa.Array) -> pa.Array | None:
    checked = _in_range(array, pa.int64(), _FIRST_DAY, _LAST_DAY)
    return None if checked is None else checked.cast(pa.int32()).view(pa.date32())
