"""Writes rows through a session of kudu-python and maps failures to rows."""

from __future__ import annotations

import ast
import ctypes
import re
from collections.abc import Callable, Sequence
from decimal import localcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagewarehouse.errors import (
    KuduCellTooLong,
    KuduRefused,
    KuduUnavailable,
    KuduWrongValue,
    SchemaChanged,
    WarehouseError,
)
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch, mismatch
from imagewarehouse.kudu.clients.interface import SYNC, KuduSettings, RowFailure
from imagewarehouse.kudu.clients.native_tokens import OpenedTable
from imagewarehouse.kudu.clients.native_values import (
    EVERY_DIGIT,
    FIRST_MICROS,
    LAST_MICROS,
    TEXTS,
    cell_sizes,
    decimal_bytes,
    kudu_cells,
)
from imagewarehouse.kudu.clients.status import error_from_status
from imagewarehouse.kudu.schema import KuduColumn, KuduType, TableSchema

_BUFFER_BYTES = 1 << 40  # flushed here, by rows and by bytes; a full buffer would let `apply` fail
_METHODS = {operation: f"new_{operation.name.lower()}" for operation in Operation}
_ESCAPES = {ord(sign): f"\\{letter}" for sign, letter in zip("\n\r\t\"'\\", "nrt\"'\\", strict=True)}
_TEXT_ESCAPES = {code: f"\\{code:03o}" for code in (*range(32), 127)} | _ESCAPES
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_BINARY_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 256))} | _ESCAPES


class Writing:
    """One call of `write`: turns rows into operations, flushes them, and maps failures back to rows.

    The client names a failed operation by its text only, in any order. The text begins with the key, so a flush never
    holds two rows with one key; that also keeps their order.
    """

    def __init__(
        self,
        session: Any,
        exception: type[Exception],
        settings: KuduSettings,
        opened: OpenedTable,
        schema: Callable[[], TableSchema],
    ) -> None:
        """`session`: one in the mode "manual". `exception`: what kudu-python raises. `schema`: asked where it is needed."""
        self._session, self._exception = session, exception
        self._opened, self._schema = opened, schema
        self._session.set_mutation_buffer_space(_BUFFER_BYTES)
        self._most_rows = 1 if settings.flush_mode == SYNC else settings.batch_rows
        self._step_rows = settings.batch_rows
        self._most_bytes = settings.batch_bytes
        self._index = {column.name: number for number, column in enumerate(opened.columns)}
        self._new = [getattr(opened.handle, _METHODS[operation]) for operation in Operation]
        self._pattern = _key_pattern([opened.columns[number] for number in opened.key])
        self._pending: dict[tuple[Any, ...], tuple[int, int]] = {}  # (batch, row) by the cells of the key
        self._bytes = 0
        self._failures: list[RowFailure] = []
        self._stopped: WarehouseError | None = None  # nothing is sent any more: nothing may overtake what has to wait

    def add(self, number: int, batch: RowBatch) -> None:
        reason = mismatch(batch, self._opened.columns)
        if reason and self._stopped is None:
            self._stopped = SchemaChanged(reason)
        size = sum(column.values.nbytes for column in batch.columns) or 1
        step = max(1, min(self._step_rows, self._most_bytes * len(batch) // size))
        with localcontext(EVERY_DIGIT):
            for start in range(0, len(batch), step):
                if self._stopped is not None:
                    self._skip(number, start, len(batch))
                    break
                self._add(number, batch, start, min(start + step, len(batch)))

    def finish(self) -> list[RowFailure]:
        self._flush()
        return sorted(self._failures, key=_position)

    def _add(self, number: int, batch: RowBatch, start: int, stop: int) -> None:
        part = RowBatch(
            batch.operations[start:stop],
            tuple(
                ColumnValues(c.name, c.values[start:stop], None if c.present is None else c.present[start:stop])
                for c in batch.columns
            ),
        )
        refused = self._refused(part)
        sizes = np.zeros(len(part), dtype=np.int64)
        cells = []
        for column in part.columns:
            index = self._index[column.name]
            sizes += cell_sizes(column.values)
            present = None if column.present is None or column.present.all() else column.present.tolist()
            cells.append((index, kudu_cells(column.values, self._opened.columns[index]), present))
        key = self._opened.key
        keys = [cell for cell in cells if cell[0] in key]
        for row, (operation, row_size) in enumerate(zip(part.operations.tolist(), sizes.tolist(), strict=True)):
            if row in refused:
                self._failures.append(RowFailure(number, start + row, refused[row]))
                continue
            # Of a delete only the key is sent: a server refuses one with more, and Java's client leaves it out too.
            sent = keys if operation >= Operation.DELETE else cells
            record = {index: values[row] for index, values, present in sent if present is None or present[row]}
            identity = tuple([record.get(index) for index in key])
            full = len(self._pending) >= self._most_rows or self._bytes + row_size > self._most_bytes
            if full or identity in self._pending:
                self._flush()
            if self._stopped is not None:
                self._skip(number, start + row, start + len(part))
                return
            try:
                prepared = self._new[operation](record)
            except self._exception as err:
                self._fail(RowFailure(number, start + row, error_from_status(status_text(err))))
                continue
            try:
                self._session.apply(prepared)
            except self._exception as err:
                # kudu-python frees what is in such an operation twice and dies; one that is never freed is lost memory,
                # so `_refused` finds what it can before.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(prepared))
                self._session.get_pending_errors()  # it is listed there as well
                status = status_text(err).replace(
                    "Illegal state:", "Invalid argument:", 1
                )  # of the row, not of a server
                self._fail(RowFailure(number, start + row, error_from_status(status)))
                continue
            self._pending[identity] = (number, start + row)
            self._bytes += row_size

    def _refused(self, part: RowBatch) -> dict[int, WarehouseError]:
        """The rows that the client would refuse or truncate, or that would crash this process, with their errors."""
        refused: dict[int, WarehouseError] = {}
        values = {column.name: column for column in part.columns}
        inserts = part.operations <= Operation.UPSERT_IGNORE
        none_present, all_present = np.zeros(len(part), dtype=bool), np.ones(len(part), dtype=bool)

        def refuse(rows: Any, error: WarehouseError) -> None:
            for row in np.flatnonzero(rows).tolist():
                refused.setdefault(row, error)

        for index, column in enumerate(self._opened.columns):
            cells = values.get(column.name)
            if cells is None:
                present = null = none_present
            else:
                present = all_present if cells.present is None else cells.present.astype(bool)
                null = (
                    cells.values.is_null().to_numpy(zero_copy_only=False) if cells.values.null_count else none_present
                )
            if column.auto_incrementing:
                word = "Invalid argument: Auto-Incrementing column should"
                numbered = part.operations <= Operation.INSERT_IGNORE  # by the server
                refuse(numbered & present, error_from_status(f"{word} not be specified for INSERT operation"))
                refuse(~numbered & (null | ~present), error_from_status(f"{word} be specified for this operation"))
            elif not column.nullable:
                refuse(present & null, error_from_status(f"Invalid argument: {column.name} cannot be set to null"))
                if column.key:
                    refuse(
                        ~present, error_from_status(f"Invalid argument: Primary key column {column.name} is not set")
                    )
                elif (inserts & ~present).any() and self._required(index):
                    text = f"No value provided for required column: {column.name} {column.type.name} NOT NULL"
                    refuse(inserts & ~present, error_from_status(f"Invalid argument: {text}"))
            if cells is not None and column.type is KuduType.VARCHAR:
                long = pc.utf8_length(cells.values).fill_null(0).to_numpy(zero_copy_only=False) > column.length
                refuse(present & long, KuduCellTooLong(f"{column.name}: longer than {column.type_text}"))
            elif cells is not None and column.type is KuduType.UNIXTIME_MICROS:
                micros = cells.values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
                outside = (micros < FIRST_MICROS) | (micros > LAST_MICROS)
                reason = f"{column.name}: kudu-python takes times from year 1 to 9999"
                refuse(present & outside, KuduWrongValue(reason))
        return refused

    def _required(self, index: int) -> bool:
        """Whether a column has no default."""
        try:
            return self._schema().columns[index].required
        except KuduRefused:
            return False  # cannot be read; the client knows, and refuses the row

    def _flush(self) -> None:
        if not self._pending:
            return
        try:
            self._session.flush()
        except self._exception as err:
            self._collect_failures(status_text(err))
        self._pending = {}
        self._bytes = 0

    def _collect_failures(self, status: str) -> None:
        errors, overflowed = self._session.get_pending_errors()
        key = [self._opened.columns[number] for number in self._opened.key]
        rows = {_key_text(cells, key): row for cells, row in self._pending.items()}
        failures = []
        for error in errors:
            row = rows.pop(self._failed_key(error), None)
            if row is None:
                break
            failures.append(RowFailure(*row, error_from_status(_row_status(error))))
        if overflowed or not errors or len(failures) < len(errors):
            # Reported for every row although some are written: an upsert may be repeated, a row must not be lost.
            reason = _row_status(errors[0]) if errors else status
            error = KuduUnavailable(f"kudu-python does not say which rows were not written: {reason}")
            failures = [RowFailure(*row, error) for row in self._pending.values()]
        for failure in sorted(failures, key=_position):
            self._fail(failure)

    def _fail(self, failure: RowFailure) -> None:
        self._failures.append(failure)
        if self._stopped is None and failure.error.retryable:
            self._stopped = failure.error

    def _skip(self, number: int, start: int, stop: int) -> None:
        """Add the rows that are not sent because an earlier row failed."""
        assert self._stopped is not None
        self._failures += [RowFailure(number, row, self._stopped) for row in range(start, stop)]

    def _failed_key(self, error: Any) -> str:
        try:
            match = self._pattern.match(error.failed_op())
        except UnicodeDecodeError:
            return ""
        return match[1] if match else ""


def _position(failure: RowFailure) -> tuple[int, int]:
    return failure.batch, failure.row


# --- failed operations ------------------------------------------------------------------------------------------


def _key_pattern(key: Sequence[KuduColumn]) -> re.Pattern[str]:
    """What the text of an operation begins with; group 1 is the key: `UPSERT string id="a", int32 at=1, ...`."""
    parts = []
    for number, column in enumerate(key):
        cell = r'"(?:[^"\\]|\\.)*"' if column.type in TEXTS else "[^,]*"
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
    if column.type in TEXTS:
        return f'"{cell.decode("utf-8", "replace").translate(_TEXT_ESCAPES)}"'
    if column.type is KuduType.UNIXTIME_MICROS:
        return f"{cell.year}-{cell.month:02}-{cell.day:02}T{cell.time().isoformat('microseconds')}Z"
    if column.type is KuduType.DATE:
        return f"{cell.year}-{cell.month:02}-{cell.day:02}"
    if column.type is KuduType.DECIMAL:
        return f"{int(cell.scaleb(column.scale or 0, EVERY_DIGIT))}_D{8 * decimal_bytes(column)}"
    return str(cell)


def _binary_text(cell: bytes) -> str:
    escaped, behind = "", False
    for byte in cell:
        sign = _BINARY_ESCAPES.get(byte, chr(byte))
        if behind and sign in _HEXADECIMAL:
            sign = f"\\x{byte:02x}"  # or else it would read as a third digit of the one before
        behind = sign.startswith("\\x")
        escaped += sign
    return escaped


def status_text(err: Exception) -> str:
    """The status text of an exception as Kudu prints it; kudu-python omits the code where it has a class for it."""
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
        message = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return message.decode("utf-8", "replace") if isinstance(message, bytes) else text
