"""Table metadata from kudu-python: from the table handle, and from scan tokens where the handle lacks it.

A scan token is a message (ScanTokenPB) that carries the table along, so that another process needs no master.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from imagewarehouse.errors import KuduRefused
from imagewarehouse.kudu.clients.native_values import COMPRESSIONS, ENCODINGS, EVERY_DIGIT, TEXTS, decimal_bytes
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, TableSchema

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_INTEGERS = {KuduType.INT8: 1, KuduType.INT16: 2, KuduType.INT32: 4, KuduType.INT64: 8}


@dataclass(slots=True)
class OpenedTable:
    """A table as it was when it was opened. `schema` is read at its first use."""

    handle: Any
    columns: tuple[KuduColumn, ...]  # without defaults, encodings and compressions
    key: tuple[int, ...]  # index of each column of the key
    schema: TableSchema | None = None


def opened_table(handle: Any, automatic: str) -> OpenedTable:
    """`automatic`: how Kudu names the column of a key that the server fills."""
    keys = handle.schema.primary_key_indices()
    columns = tuple(_column(handle.schema[number], number in keys, automatic) for number in range(len(handle.schema)))
    return OpenedTable(handle, columns, tuple(keys))


def _column(native: Any, key: bool, automatic: str) -> KuduColumn:
    kind = KuduType(native.type.name)
    attributes = native.type_attributes
    return KuduColumn(
        native.name,
        kind,
        nullable=native.nullable,
        key=key,
        precision=attributes.precision if kind is KuduType.DECIMAL else None,
        scale=attributes.scale if kind is KuduType.DECIMAL else None,
        length=attributes.length if kind is KuduType.VARCHAR else None,
        immutable=not native.mutable,
        comment=native.comment,
        auto_incrementing=key and native.name == automatic,  # the name is Kudu's own, no other column may have it
    )


# --- the whole table --------------------------------------------------------------------------------------------


def first_token(table: str, handle: Any) -> dict[int, list[Any]]:
    tokens = handle.scan_token_builder().build()
    if not tokens:
        reason = "has no range partition now, and kudu-python cannot say more about such a table; choose java"
        raise KuduRefused(f"table {table}: {reason}")
    return _fields(tokens[0].serialize())


def table_schema(opened: OpenedTable, token: Mapping[int, list[Any]]) -> TableSchema:
    table = _fields(_only(token, 21))
    described = [_fields(column) for column in _fields(_only(table, 4))[1]]
    columns = tuple(_with_details(column, message) for column, message in zip(opened.columns, described, strict=True))
    names = {_only(message, 1): column.name for message, column in zip(described, columns, strict=True)}

    def named(level: Mapping[int, list[Any]]) -> tuple[str, ...]:
        return tuple(names[_only(_fields(identifier), 1)] for identifier in level.get(1, ()))

    partitions = _fields(_only(table, 5, b""))
    levels = [_fields(level) for level in partitions.get(1, ())]
    hashes = tuple(HashPartition(named(level), _only(level, 2)) for level in levels)
    handle = opened.handle
    range_columns = named(_fields(_only(partitions, 2, b"")))
    replicas, comment = handle.num_replicas, handle.comment
    return TableSchema(handle.name, columns, hashes, range_columns, replicas=replicas, comment=comment)


def _with_details(column: KuduColumn, message: Mapping[int, list[Any]]) -> KuduColumn:
    """The column with the values of ColumnSchemaPB that kudu-python does not expose."""
    if _only(message, 2) != column.name.encode():
        raise ValueError("another column")
    encoding, compression = ENCODINGS[_only(message, 8, 0)], COMPRESSIONS[_only(message, 9, 0)]
    default = message.get(7) or message.get(6)
    return replace(
        column,
        encoding=None if encoding == "auto" else encoding,  # what a declaration leaves out
        compression=None if compression == "default" else compression,
        default=None if default is None else _default(default[-1], column),
    )


def _default(cell: bytes, column: KuduColumn) -> Any:
    """A cell as Kudu keeps it in memory."""
    kind = column.type
    if kind is KuduType.BINARY:
        return cell
    if kind in TEXTS:
        return cell.decode("utf-8")
    if kind is KuduType.BOOL:
        return cell != b"\0"
    if kind in (KuduType.FLOAT, KuduType.DOUBLE):
        return float(struct.unpack("<f" if kind is KuduType.FLOAT else "<d", cell)[0])
    return _from_integer(int.from_bytes(cell, "little", signed=True), column)


def _from_integer(value: int, column: KuduColumn) -> Any:
    """What Kudu keeps as an integer as the Python value of its column."""
    if column.type is KuduType.UNIXTIME_MICROS:
        return _EPOCH + timedelta(microseconds=value)
    if column.type is KuduType.DATE:
        return date(1970, 1, 1) + timedelta(days=value)
    if column.type is KuduType.DECIMAL:
        return Decimal(value).scaleb(-(column.scale or 0), EVERY_DIGIT)
    return value


# --- ranges -----------------------------------------------------------------------------------------------------


def range_keys(token: Any) -> tuple[bytes, bytes]:
    """Lower and upper bound of the range of a scan token's tablet. Raises LookupError."""
    tablet = _fields(_only(_fields(token.serialize()), 22))
    partition = _fields(_only(tablet, 2))
    # Four bytes for each hash level stand in front; what has no bound has nothing behind them.
    skipped = 4 * _hash_levels(partition)
    return _only(partition, 2, b"")[skipped:], _only(partition, 3, b"")[skipped:]


def _hash_levels(partition: Mapping[int, list[Any]]) -> int:
    """How many buckets PartitionPB names, each by itself or packed into one string."""
    count = 0
    for value in partition.get(1, ()):
        count += sum(byte < 128 for byte in value) if isinstance(value, bytes) else 1
    return count


def bound_values(key: bytes, columns: Sequence[KuduColumn]) -> tuple[Any, ...] | None:
    """The values in an encoded range key; None where it is empty, which stands for no bound.

    Numbers are big-endian with their sign flipped, so that bytes sort as values do. Texts are as they are at the end;
    before that a zero byte is 0 1 and the end of the text 0 0.
    """
    if not key:
        return None
    values: list[Any] = []
    for column in columns:
        if column.type in TEXTS:
            if column is columns[-1]:
                text, key = key, b""
            else:
                end = 0
                while key[end : end + 2] != b"\0\0":
                    end += 2 if key[end] == 0 else 1
                text, key = key[:end].replace(b"\0\1", b"\0"), key[end + 2 :]
            values.append(text if column.type is KuduType.BINARY else text.decode("utf-8"))
            continue
        width = decimal_bytes(column) if column.type is KuduType.DECIMAL else _INTEGERS.get(column.type, 8)
        if column.type is KuduType.DATE:
            width = 4
        if len(key) < width:
            raise ValueError("cut off")
        values.append(_from_integer(int.from_bytes(key[:width], "big") - (1 << (8 * width - 1)), column))
        key = key[width:]
    return tuple(values)


# --- protocol buffers -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def unreadable(table: str) -> Iterator[None]:
    try:
        yield
    except (LookupError, ValueError, struct.error) as err:
        raise KuduRefused(f"table {table}: what kudu-python says about it is not understood; choose java") from err


def _fields(message: bytes) -> dict[int, list[Any]]:
    """The values of each field of a protocol buffer; strings and messages as bytes. Raises ValueError, IndexError."""
    values: dict[int, list[Any]] = {}
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        value: Any
        if tag & 7 == 0:
            value, position = _varint(message, position)
        else:
            if tag & 7 == 2:
                length, position = _varint(message, position)
            else:
                length = {1: 8, 5: 4}[tag & 7]
            value = message[position : position + length]
            position += length
            if position > len(message):
                raise ValueError("cut off")
        values.setdefault(tag >> 3, []).append(value)
    return values


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position


def _only(fields: Mapping[int, list[Any]], number: int, default: Any = None) -> Any:
    """The value of a field that is there once. Raises LookupError."""
    values = fields.get(number)
    if values:
        return values[-1]
    if default is None:
        raise LookupError(number)
    return default
