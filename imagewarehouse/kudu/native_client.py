"""The second backend: kudu-python, a compiled extension over Kudu's C++ client.

It needs no Java, but a build of kudu-python for this machine, and it never releases Python's lock: while it waits for a
server, for up to `operation_timeout_s`, no other thread of this process runs. The default backend has neither limit.

AUTO_FLUSH_BACKGROUND is MANUAL_FLUSH here: with the lock held, nothing could be filled while a batch travels.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import importlib
import re
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagewarehouse.errors import (
    ConfigurationError,
    KuduCellTooLong,
    KuduRefused,
    KuduUnavailable,
    KuduWrongValue,
    SchemaChanged,
    WarehouseError,
)
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch, misfit
from imagewarehouse.kudu.client import SYNC, KuduSettings, RowFailure
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, Range, TableSchema
from imagewarehouse.kudu.security import read_certificates
from imagewarehouse.kudu.status import error_from_status

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # taken as UTC by kudu-python, and faster than one that says so
_FIRST_MICROS, _LAST_MICROS = (  # of Python's datetime, the only thing that kudu-python takes for a time
    (end.replace(tzinfo=timezone.utc) - _EPOCH) // timedelta(microseconds=1) for end in (datetime.min, datetime.max)
)
_BUFFER_BYTES = 1 << 40  # flushed here, by rows and by bytes; a full buffer would let `apply` fail
# kudu-python takes Decimal apart in the context of the thread, whose 28 digits would round one of 38.
_EVERY_DIGIT = Context(prec=40)
_EXACT = Context(prec=40, traps=[Inexact, InvalidOperation])

# The numbers are those of Kudu's protocol (common.proto), the names those that kudu-python takes.
_ENCODINGS = ("auto", "plain", "prefix", "group_varint", "rle", "dict", "bit_shuffle")
_ENCODING_NAMES = {name: name for name in _ENCODINGS if name != "group_varint"} | {"bit_shuffle": "bitshuffle"}
_COMPRESSIONS = ("default", "none", "snappy", "lz4", "zlib")
_METHODS = {operation: f"new_{operation.name.lower()}" for operation in Operation}

_TEXTS = (KuduType.STRING, KuduType.VARCHAR, KuduType.BINARY)
_INTEGERS = {KuduType.INT8: 1, KuduType.INT16: 2, KuduType.INT32: 4, KuduType.INT64: 8}
_ESCAPES = {ord(sign): f"\\{letter}" for sign, letter in zip("\n\r\t\"'\\", "nrt\"'\\", strict=True)}
_TEXT_ESCAPES = {code: f"\\{code:03o}" for code in (*range(32), 127)} | _ESCAPES
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_BINARY_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 256))} | _ESCAPES


@dataclass(slots=True)
class _Opened:
    """A table as it was when it was opened. `schema` is read when it is asked for first."""

    handle: Any
    columns: tuple[KuduColumn, ...]  # without defaults, encodings and compressions
    key: tuple[int, ...]  # index of each column of the key
    schema: TableSchema | None = None


class NativeKuduWriter:
    """A `KuduWriter` over kudu-python."""

    def __init__(self, settings: KuduSettings) -> None:
        try:
            self._kudu = importlib.import_module("kudu")  # after pyarrow, which brings libraries of the same names
        except ImportError as err:
            reason = "" if isinstance(err, ModuleNotFoundError) and err.name == "kudu" else f" ({err})"
            raise ConfigurationError("Kudu Client", f"kudu-python is not installed{reason}; choose java") from err
        _refuse_settings(settings)
        self.settings = settings
        self._lock = threading.Lock()
        self._connected: Any = None
        self._closed = False
        self._opened: dict[str, _Opened] = {}

    # --- rows ---

    def write(self, table: str, batches: Sequence[RowBatch]) -> list[RowFailure]:
        opened = self._open(table)
        with self._errors(table):
            writing = _Writing(self, table, opened)
            for number, batch in enumerate(batches):
                writing.add(number, batch)
            return writing.finish()

    # --- tables ---

    def schema(self, table: str, *, refresh: bool = False) -> TableSchema:
        return self._schema(table, self._open(table, refresh))

    def tables(self) -> list[str]:
        with self._errors():
            return sorted(self._client().list_tables())

    def create(self, schema: TableSchema) -> bool:
        layout = importlib.import_module("kudu.client").Partitioning()
        for level in schema.hashes:
            layout.add_hash_partitions(list(level.columns), level.buckets)
        layout.set_range_partition_columns(list(schema.range_columns))
        with self._errors(schema.name), localcontext(_EVERY_DIGIT):
            for part in schema.ranges:
                layout.add_range_partition(*(_bound(schema, bound) for bound in (part.lower, part.upper)))
            builder = self._kudu.schema_builder()
            for column in schema.columns:
                _describe(builder.add_column(column.name, column.type.value, nullable=column.nullable), column)
            builder.set_primary_keys(list(schema.key))
            built = builder.build()
            try:
                self._client().create_table(
                    schema.name, built, layout, n_replicas=schema.replicas, comment=schema.comment or None
                )
            except self._kudu.KuduException as err:
                if not _status(err).startswith("Already present"):
                    raise
                return False
        return True

    def drop(self, table: str) -> None:
        with self._errors(table):
            self._client().delete_table(table)
        with self._lock:
            self._opened.pop(table, None)

    def add_columns(self, table: str, columns: Sequence[KuduColumn]) -> None:
        for column in columns:  # one by one: another node may have added some of them
            with self._errors(table), localcontext(_EVERY_DIGIT):
                alterer = self._alterer(table)
                _describe(alterer.add_column(column.name, column.type.value, nullable=column.nullable), column)
                self._alter(alterer)

    def ranges(self, table: str) -> list[Range]:
        with self._errors(table):
            opened = self._look(table)  # the handle that is open keeps to the ranges that it saw first
            return self._ranges(table, opened)

    def add_range(self, table: str, part: Range) -> bool:
        schema = self._schema(table, self._open(table))
        with self._errors(table), localcontext(_EVERY_DIGIT):
            alterer = self._alterer(table)
            alterer.add_range_partition(*(_bound(schema, bound) for bound in (part.lower, part.upper)))
            if self._alter(alterer):
                return True
        if part in self.ranges(table):
            return False
        raise KuduRefused(f"table {table}: the range overlaps another one")

    def drop_range(self, table: str, part: Range) -> bool:
        schema = self._schema(table, self._open(table))
        with self._errors(table), localcontext(_EVERY_DIGIT):
            alterer = self._alterer(table)
            alterer.drop_range_partition(*(_bound(schema, bound) for bound in (part.lower, part.upper)))
            try:
                alterer.alter()
            except self._kudu.KuduException:
                if part not in self.ranges(table):
                    return False
                raise
        return True

    def scan(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        since: tuple[str, datetime] | None = None,
    ) -> pa.Table:
        opened = self._open(table)
        by_name = {column.name: column for column in opened.columns}
        chosen = [by_name[name] for name in (columns if columns is not None else by_name)]
        rows: list[tuple[Any, ...]] = []
        with self._errors(table), localcontext(_EVERY_DIGIT):
            if limit != 0:  # which the client takes for no limit
                scanner = self._scanner(opened, [column.name for column in chosen])
                if limit is not None:
                    scanner.set_limit(limit)
                if since is not None:
                    if since[0] not in by_name:
                        raise KuduRefused(f"table {table}: has no column {since[0]}")
                    scanner.add_predicate(opened.handle[since[0]] >= since[1])
                scanner.open()
                while scanner.has_more_rows():
                    rows += scanner.next_batch().as_tuples()
            cells = list(zip(*rows, strict=True)) or [()] * len(chosen)
            arrays = [pa.array(values, type=column.arrow_type) for values, column in zip(cells, chosen, strict=True)]
        return pa.Table.from_arrays(arrays, names=[column.name for column in chosen])

    def count(self, table: str, part: Range | None = None) -> int:
        opened = self._open(table)
        key = opened.columns[0].name
        total = 0
        with self._errors(table):
            if part is None:
                scanners = [self._scanner(opened, [key])]
            else:
                opened = self._look(table)  # the handle that is open keeps to the ranges that it saw first
                schema = self._schema(table, opened)
                columns = [schema.column(name) for name in schema.range_columns]
                builder = opened.handle.scan_token_builder()
                builder.set_projected_column_names([key])
                builder.set_selection("leader")
                with _unreadable(table):
                    found = [(token, _range_keys(token)) for token in builder.build()]
                    tokens = [t for t, ends in found if Range(*(_bound_values(end, columns) for end in ends)) == part]
                scanners = [token.into_kudu_scanner() for token in tokens]
            for scanner in scanners:
                scanner.open()
                while scanner.has_more_rows():
                    total += len(scanner.next_batch())
        return total

    def statistics(self, table: str) -> dict[str, Any]:
        """Nothing is known: kudu-python has no call for it."""
        with self._errors(table):
            self._client().table(table)  # one that is missing is told
        return {"rows": -1, "bytes": -1}

    def close(self) -> None:
        """Let go of the client; nothing is sent, and a cluster that is gone does not delay it."""
        with self._lock:
            self._closed = True
            self._opened.clear()
            self._connected = None

    # --- inside ---

    def _client(self) -> Any:
        """The connection, made at first use as the default backend does."""
        with self._lock:
            if self._closed:
                raise KuduUnavailable("the connection to Kudu is closed")
            if self._connected is None:
                settings = self.settings
                self._connected = self._kudu.Client(
                    list(settings.addresses),
                    admin_timeout_ms=round(settings.admin_timeout_s * 1000),
                    sasl_protocol_name=settings.sasl_protocol_name.encode(),  # not taken as text
                    require_authentication=settings.require_authentication,
                    encryption_policy=getattr(self._kudu, f"ENCRYPTION_{settings.encryption.upper()}"),
                    jwt=settings.jwt or None,
                    trusted_certificates=_certificates(settings.certificates) or None,
                )
            return self._connected

    @contextlib.contextmanager
    def _errors(self, table: str = "") -> Iterator[None]:
        """kudu-python's exceptions as errors of ours, and those of Python that it raises for values it cannot take."""
        where = f"table {table}: " if table else ""
        try:
            yield
        except WarehouseError:
            raise
        except self._kudu.KuduException as err:
            found = error_from_status(_status(err))
            raise type(found)(f"{where}{found}") from err
        except (ValueError, TypeError, OverflowError, ArithmeticError) as err:
            raise KuduRefused(f"{where}kudu-python cannot take or give a value: {err}") from err

    def _look(self, table: str) -> _Opened:
        handle = self._client().table(table)
        automatic = self._kudu.Schema.get_auto_incrementing_column_name()
        keys = handle.schema.primary_key_indices()
        columns = tuple(
            _column(handle.schema[number], number in keys, automatic) for number in range(len(handle.schema))
        )
        return _Opened(handle, columns, tuple(keys))

    def _open(self, table: str, refresh: bool = False) -> _Opened:
        opened = None if refresh else self._opened.get(table)
        if opened is None:
            with self._errors(table):
                opened = self._look(table)
            with self._lock:
                self._opened[table] = opened
        return opened

    def _schema(self, table: str, opened: _Opened) -> TableSchema:
        if opened.schema is None:
            with self._errors(table), _unreadable(table):
                opened.schema = _table_schema(opened, _token(table, opened.handle))
        return opened.schema

    def _ranges(self, table: str, opened: _Opened) -> list[Range]:
        schema = self._schema(table, opened)
        if not schema.range_columns:
            return []
        columns = [schema.column(name) for name in schema.range_columns]
        found = set()
        with _unreadable(table):
            for token in opened.handle.scan_token_builder().build():
                found.add(_range_keys(token))
            return [Range(*(_bound_values(key, columns) for key in keys)) for keys in sorted(found)]

    def _alterer(self, table: str) -> Any:
        client = self._client()
        return client.new_table_alterer(client.table(table))

    def _alter(self, alterer: Any) -> bool:
        """False where what is to be added is there already."""
        try:
            alterer.alter()
        except self._kudu.KuduException as err:
            if not _status(err).startswith("Already present"):
                raise
            return False
        return True

    def _scanner(self, opened: _Opened, columns: Sequence[str]) -> Any:
        scanner = opened.handle.scanner()
        scanner.set_selection("leader")  # the other replicas may lag behind what was just written
        scanner.set_projected_column_names(list(columns))
        return scanner


class _Writing:
    """One call of `write`: rows become operations, operations travel in flushes, and failures find their rows again.

    The client names a failed operation by its text only, in any order. The text begins with the key, so a flush never
    holds two rows with one key; that also keeps their order.
    """

    def __init__(self, writer: NativeKuduWriter, table: str, opened: _Opened) -> None:
        settings = writer.settings
        self._writer, self._table, self._opened = writer, table, opened
        self._exception = writer._kudu.KuduException
        self._session = writer._client().new_session("manual", round(settings.operation_timeout_s * 1000))
        self._session.set_mutation_buffer_space(_BUFFER_BYTES)
        self._most_rows = 1 if settings.flush_mode == SYNC else settings.batch_rows
        self._most_bytes = settings.batch_bytes
        self._index = {column.name: number for number, column in enumerate(opened.columns)}
        self._new = [getattr(opened.handle, _METHODS[operation]) for operation in Operation]
        self._pattern = _key_pattern([opened.columns[number] for number in opened.key])
        self._pending: dict[tuple[Any, ...], tuple[int, int]] = {}  # (batch, row) by the cells of the key
        self._bytes = 0
        self._failures: list[RowFailure] = []

    def add(self, number: int, batch: RowBatch) -> None:
        reason = misfit(batch, self._opened.columns)
        if reason:
            self._failures += [RowFailure(number, row, SchemaChanged(reason)) for row in range(len(batch))]
            return
        size = sum(column.values.nbytes for column in batch.columns) or 1
        step = max(1, min(self._writer.settings.batch_rows, self._most_bytes * len(batch) // size))
        with localcontext(_EVERY_DIGIT):
            for start in range(0, len(batch), step):
                self._add(number, batch, start, min(start + step, len(batch)))

    def finish(self) -> list[RowFailure]:
        self._flush()
        return sorted(self._failures, key=lambda failure: (failure.batch, failure.row))

    def _add(self, number: int, batch: RowBatch, start: int, stop: int) -> None:
        part = RowBatch(
            batch.operations[start:stop],
            tuple(
                ColumnValues(c.name, c.values[start:stop], None if c.given is None else c.given[start:stop])
                for c in batch.columns
            ),
        )
        refused = self._refused(part)
        sizes = np.zeros(len(part), dtype=np.int64)
        cells = []
        for column in part.columns:
            index = self._index[column.name]
            sizes += _sizes(column.values)
            given = None if column.given is None or column.given.all() else column.given.tolist()
            cells.append((index, _cells(column.values, self._opened.columns[index]), given))
        key = self._opened.key
        keys = [each for each in cells if each[0] in key]
        for row, (operation, row_size) in enumerate(zip(part.operations.tolist(), sizes.tolist(), strict=True)):
            if row in refused:
                self._failures.append(RowFailure(number, start + row, refused[row]))
                continue
            # Of a delete only the key is sent: a server refuses one with more, and Java's client leaves it out too.
            sent = keys if operation >= Operation.DELETE else cells
            record = {index: values[row] for index, values, given in sent if given is None or given[row]}
            identity = tuple([record.get(index) for index in key])
            full = len(self._pending) >= self._most_rows or self._bytes + row_size > self._most_bytes
            if full or identity in self._pending:
                self._flush()
            try:
                prepared = self._new[operation](record)
            except self._exception as err:
                self._failures.append(RowFailure(number, start + row, error_from_status(_status(err))))
                continue
            try:
                self._session.apply(prepared)
            except self._exception as err:
                # kudu-python frees what is in such an operation twice and dies; one that is never freed is lost memory,
                # so what can be told before is told in `_refused`.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(prepared))
                self._session.get_pending_errors()  # it is told there once more
                status = _status(err).replace("Illegal state:", "Invalid argument:", 1)  # of the row, not of a server
                self._failures.append(RowFailure(number, start + row, error_from_status(status)))
                continue
            self._pending[identity] = (number, start + row)
            self._bytes += row_size

    def _refused(self, part: RowBatch) -> dict[int, WarehouseError]:
        """The rows that the client would not take, or would cut, or that would end this process."""
        refused: dict[int, WarehouseError] = {}
        values = {column.name: column for column in part.columns}
        inserts = part.operations <= Operation.UPSERT_IGNORE
        nothing, everything = np.zeros(len(part), dtype=bool), np.ones(len(part), dtype=bool)

        def refuse(rows: Any, error: WarehouseError) -> None:
            for row in np.flatnonzero(rows).tolist():
                refused.setdefault(row, error)

        for index, column in enumerate(self._opened.columns):
            found = values.get(column.name)
            if found is None:
                given = null = nothing
            else:
                given = everything if found.given is None else found.given.astype(bool)
                null = found.values.is_null().to_numpy(zero_copy_only=False) if found.values.null_count else nothing
            if column.auto_incrementing:
                word = "Invalid argument: Auto-Incrementing column should"
                numbered = part.operations <= Operation.INSERT_IGNORE  # by the server
                refuse(numbered & given, error_from_status(f"{word} not be specified for INSERT operation"))
                refuse(~numbered & (null | ~given), error_from_status(f"{word} be specified for this operation"))
            elif not column.nullable:
                refuse(given & null, error_from_status(f"Invalid argument: {column.name} cannot be set to null"))
                if column.key:
                    refuse(~given, error_from_status(f"Invalid argument: Primary key column {column.name} is not set"))
                elif (inserts & ~given).any() and self._required(index):
                    text = f"No value provided for required column: {column.name} {column.type.name} NOT NULL"
                    refuse(inserts & ~given, error_from_status(f"Invalid argument: {text}"))
            if found is not None and column.type is KuduType.VARCHAR:
                long = pc.utf8_length(found.values).fill_null(0).to_numpy(zero_copy_only=False) > column.length
                refuse(given & long, KuduCellTooLong(f"{column.name}: longer than {column.type_text}"))
            elif found is not None and column.type is KuduType.UNIXTIME_MICROS:
                micros = found.values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
                outside = (micros < _FIRST_MICROS) | (micros > _LAST_MICROS)
                reason = f"{column.name}: kudu-python takes times from year 1 to 9999"
                refuse(given & outside, KuduWrongValue(reason))
        return refused

    def _required(self, index: int) -> bool:
        """Whether a column has no default."""
        try:
            return self._writer._schema(self._table, self._opened).columns[index].required
        except KuduRefused:
            return False  # cannot be read; the client knows, and refuses the row

    def _flush(self) -> None:
        if not self._pending:
            return
        try:
            self._session.flush()
        except self._exception as err:
            self._failed(_status(err))
        self._pending = {}
        self._bytes = 0

    def _failed(self, status: str) -> None:
        errors, overflowed = self._session.get_pending_errors()
        key = [self._opened.columns[number] for number in self._opened.key]
        rows = {_key_text(cells, key): row for cells, row in self._pending.items()}
        found = []
        for error in errors:
            row = rows.pop(self._failed_key(error), None)
            if row is None:
                break
            found.append(RowFailure(*row, error_from_status(_row_status(error))))
        if overflowed or not errors or len(found) < len(errors):
            # Told for every row although some are written: an upsert may be sent again, a row lost may not.
            reason = _row_status(errors[0]) if errors else status
            error = KuduUnavailable(f"kudu-python does not say which rows were not written: {reason}")
            found = [RowFailure(*row, error) for row in self._pending.values()]
        self._failures += found

    def _failed_key(self, error: Any) -> str:
        try:
            found = self._pattern.match(error.failed_op())
        except UnicodeDecodeError:
            return ""
        return found[1] if found else ""


# --- from Arrow to kudu-python ----------------------------------------------------------------------------------------


def _cells(values: pa.Array, column: KuduColumn) -> list[Any]:
    """Cells as kudu-python takes them."""
    if column.type is KuduType.UNIXTIME_MICROS:
        zero = _NAIVE_EPOCH
        return [
            None
            if micros is None or not _FIRST_MICROS <= micros <= _LAST_MICROS
            else zero + timedelta(microseconds=micros)
            for micros in values.cast(pa.int64()).to_pylist()
        ]
    if column.type in (KuduType.STRING, KuduType.VARCHAR):
        return list(values.cast(pa.binary()).to_pylist())  # it would only encode the text again
    return list(values.to_pylist())


def _sizes(values: pa.Array) -> Any:
    """Bytes of each cell, about as the client counts them."""
    if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        return pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64) + 16
    return max(1, values.type.bit_width // 8)


def _plain(value: Any, column: KuduColumn) -> Any:
    """A default or a bound as kudu-python takes it: it ignores the scale of the column."""
    if column.type is KuduType.DECIMAL:
        return value.quantize(Decimal(1).scaleb(-(column.scale or 0)), context=_EXACT)
    return value


def _bound(schema: TableSchema, values: tuple[Any, ...] | None) -> dict[str, Any] | None:
    if not values:
        return None
    return {name: _plain(v, schema.column(name)) for name, v in zip(schema.range_columns, values, strict=True)}


def _describe(spec: Any, column: KuduColumn) -> None:
    """Say about a column that is being made whatever is more than name, type and whether it is nullable."""
    if column.auto_incrementing:
        raise KuduRefused(f"column {column.name}: the server makes it, nobody else")
    if column.type is KuduType.DECIMAL:
        spec.precision(column.precision).scale(column.scale or 0)
    elif column.type is KuduType.VARCHAR:
        spec.length(column.length)
    if column.encoding is not None:
        if column.encoding not in _ENCODING_NAMES:
            raise KuduRefused(f"column {column.name}: kudu-python has no encoding {column.encoding}")
        spec.encoding(_ENCODING_NAMES[column.encoding])
    if column.compression is not None:
        spec.compression(column.compression)
    if column.default is not None:
        spec.default(_plain(column.default, column))
    if column.immutable:
        spec.mutable(False)
    if column.comment:
        spec.comment(column.comment)


# --- failed operations ------------------------------------------------------------------------------------------------


def _key_pattern(key: Sequence[KuduColumn]) -> re.Pattern[str]:
    """What the text of an operation begins with; group 1 is the key: `UPSERT string id="a", int32 at=1, ...`."""
    parts = []
    for number, column in enumerate(key):
        cell = r'"(?:[^"\\]|\\.)*"' if column.type in _TEXTS else "[^,]*"
        part = re.escape(f"{column.type.value} {column.name}=") + cell
        if number:
            part = ", " + part
        # Not in the text of an insert: the server numbers the rows.
        parts.append(f"(?:{part})?" if column.auto_incrementing else part)
    return re.compile(f"[A-Z_ ]+? ({''.join(parts)})(?:, |$)", re.DOTALL)


def _key_text(cells: Sequence[Any], key: Sequence[KuduColumn]) -> str:
    """The key as the text of its operation has it."""
    return ", ".join(
        f"{column.type.value} {column.name}={_cell_text(cell, column)}"
        for cell, column in zip(cells, key, strict=True)
        if cell is not None
    )


def _cell_text(cell: Any, column: KuduColumn) -> str:
    if column.type is KuduType.BINARY:
        return f'"{_binary_text(cell)}"'
    if column.type in _TEXTS:
        return f'"{cell.decode("utf-8", "replace").translate(_TEXT_ESCAPES)}"'
    if column.type is KuduType.UNIXTIME_MICROS:
        return f"{cell.year}-{cell.month:02}-{cell.day:02}T{cell.time().isoformat('microseconds')}Z"
    if column.type is KuduType.DATE:
        return f"{cell.year}-{cell.month:02}-{cell.day:02}"
    if column.type is KuduType.DECIMAL:
        return f"{int(cell.scaleb(column.scale or 0, _EVERY_DIGIT))}_D{8 * _decimal_bytes(column)}"
    return str(cell)


def _binary_text(cell: bytes) -> str:
    found, behind = "", False
    for byte in cell:
        sign = _BINARY_ESCAPES.get(byte, chr(byte))
        if behind and sign in _HEXADECIMAL:
            sign = f"\\x{byte:02x}"  # or else it would read as a third digit of the one before
        behind = sign.startswith("\\x")
        found += sign
    return found


def _decimal_bytes(column: KuduColumn) -> int:
    """Bytes that Kudu keeps a decimal of this precision in."""
    precision = column.precision or 0
    return 4 if precision <= 9 else 8 if precision <= 18 else 16


def _status(err: Exception) -> str:
    """What kudu-python raises as Kudu prints it; it leaves the code out where it has a class for it."""
    text = err.args[0] if err.args else ""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    names = {
        "KuduNotFound": "Not found",
        "KuduInvalidArgument": "Invalid argument",
        "KuduNotSupported": "Not implemented",
    }
    name = names.get(type(err).__name__)
    return f"{name}: {text}" if name else text


def _row_status(error: Any) -> str:
    """`Not found: key not found` out of `KuduError('b'Not found: key not found'')`, the only place where it stands."""
    text = repr(error).removeprefix("KuduError('").removesuffix("')")
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else text


# --- what kudu-python cannot say about a table, out of its scan tokens ------------------------------------------------
#
# A scan token is a message (ScanTokenPB) that carries the table along, so that another process needs no master.


def _token(table: str, handle: Any) -> dict[int, list[Any]]:
    tokens = handle.scan_token_builder().build()
    if not tokens:
        reason = "has no range partition now, and kudu-python cannot say more about such a table; choose java"
        raise KuduRefused(f"table {table}: {reason}")
    return _fields(tokens[0].serialize())


@contextlib.contextmanager
def _unreadable(table: str) -> Iterator[None]:
    try:
        yield
    except (LookupError, ValueError, struct.error) as err:
        raise KuduRefused(f"table {table}: what kudu-python says about it is not understood; choose java") from err


def _fields(message: bytes) -> dict[int, list[Any]]:
    """The values of each field of a protocol buffer; strings and messages as bytes. Raises ValueError, IndexError."""
    found: dict[int, list[Any]] = {}
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
        found.setdefault(tag >> 3, []).append(value)
    return found


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


def _range_keys(token: Any) -> tuple[bytes, bytes]:
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


def _table_schema(opened: _Opened, token: Mapping[int, list[Any]]) -> TableSchema:
    table = _fields(_only(token, 21))
    described = [_fields(column) for column in _fields(_only(table, 4))[1]]
    columns = tuple(_filled(column, told) for column, told in zip(opened.columns, described, strict=True))
    names = {_only(told, 1): column.name for told, column in zip(described, columns, strict=True)}

    def named(level: Mapping[int, list[Any]]) -> tuple[str, ...]:
        return tuple(names[_only(_fields(identifier), 1)] for identifier in level.get(1, ()))

    partitions = _fields(_only(table, 5, b""))
    levels = [_fields(level) for level in partitions.get(1, ())]
    hashes = tuple(HashPartition(named(level), _only(level, 2)) for level in levels)
    handle = opened.handle
    range_columns = named(_fields(_only(partitions, 2, b"")))
    replicas, comment = handle.num_replicas, handle.comment
    return TableSchema(handle.name, columns, hashes, range_columns, replicas=replicas, comment=comment)


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


def _filled(column: KuduColumn, told: Mapping[int, list[Any]]) -> KuduColumn:
    """With what ColumnSchemaPB says and kudu-python does not."""
    if _only(told, 2) != column.name.encode():
        raise ValueError("another column")
    encoding, compression = _ENCODINGS[_only(told, 8, 0)], _COMPRESSIONS[_only(told, 9, 0)]
    default = told.get(7) or told.get(6)
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
    if kind in _TEXTS:
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
        return Decimal(value).scaleb(-(column.scale or 0), _EVERY_DIGIT)
    return value


def _bound_values(key: bytes, columns: Sequence[KuduColumn]) -> tuple[Any, ...] | None:
    """The values in an encoded range key; None where it is empty, which stands for no bound.

    Numbers are big-endian with their sign flipped, so that bytes sort as values do. Texts are as they are at the end;
    before that a zero byte is 0 1 and the end of the text 0 0.
    """
    if not key:
        return None
    found: list[Any] = []
    for column in columns:
        if column.type in _TEXTS:
            if column is columns[-1]:
                text, key = key, b""
            else:
                end = 0
                while key[end : end + 2] != b"\0\0":
                    end += 2 if key[end] == 0 else 1
                text, key = key[:end].replace(b"\0\1", b"\0"), key[end + 2 :]
            found.append(text if column.type is KuduType.BINARY else text.decode("utf-8"))
            continue
        width = _decimal_bytes(column) if column.type is KuduType.DECIMAL else _INTEGERS.get(column.type, 8)
        if column.type is KuduType.DATE:
            width = 4
        if len(key) < width:
            raise ValueError("cut off")
        found.append(_from_integer(int.from_bytes(key[:width], "big") - (1 << (8 * width - 1)), column))
        key = key[width:]
    return tuple(found)


# --- settings ---------------------------------------------------------------------------------------------------------


def _refuse_settings(settings: KuduSettings) -> None:
    """Raises ConfigurationError for what kudu-python has no setting for."""
    if settings.keytab:
        raise ConfigurationError(
            "Kerberos Keytab", "kudu-python only takes tickets that are there; run kinit, or choose java"
        )
    if settings.ticket_cache:
        raise ConfigurationError(
            "Kerberos Ticket Cache", "kudu-python reads the environment's KRB5CCNAME; set that instead"
        )
    if settings.workers:
        raise ConfigurationError(
            "Client Worker Count", "kudu-python has no such setting; leave it at 0, or choose java"
        )
    _certificates(settings.certificates)


def _certificates(path: str) -> list[str]:
    return [ssl.DER_cert_to_PEM_cert(certificate) for certificate in read_certificates(path)] if path else []
