"""Parses the content of a FlowFile into records, and writes records as a content or a report.

Content: a JSON object, an array of objects, JSON lines (or objects one behind the other), an Arrow IPC stream or file.
JSON is read strictly: UTF-8, no key twice in one object, no NaN or Infinity outside of quotes. Integers keep every
digit; fractions are read as doubles, or with every digit where the caller asks for it (a table with decimals does).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from json.decoder import WHITESPACE  # type: ignore[attr-defined]  # a plain name of the module, missing in its stubs
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from imagewarehouse.errors import RecordsMalformed, WarehouseError
from imagewarehouse.text import one_line

Record = dict[str, Any]
FORMATS = ("auto", "json", "json-lines", "arrow")
RAW_SHOWN = 1 << 20  # characters of an unreadable record that a report repeats
_NESTED = re.compile(rb":\s*(?:\[\s*)?\{")
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class BadRow(NamedTuple):
    """A record or row that was not written. `record`: its number in the content, from 0.

    `values`: what was read of it; the text of the record where it could not be read at all.
    """

    record: int
    error: WarehouseError
    values: Record | str


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """What a content holds: `table` for Arrow, `items` for JSON.

    `numbers`: for each item its number in the content, from 0; the numbers of `errors` are missing there.
    """

    items: list[Record]
    numbers: Sequence[int]
    table: pa.Table | None = None
    errors: tuple[BadRow, ...] = ()

    def __len__(self) -> int:
        """Readable and unreadable records together."""
        return len(self.numbers) + len(self.errors)


# --- reading ----------------------------------------------------------------------------------------------------


def read_records(content: bytes, format: str = "auto", *, exact: bool = False) -> Records:
    """The records of a content.

    With `auto` a content that is not JSON as a whole is read line by line where at least half of its lines are records;
    with `json-lines` always. A broken line then costs only itself.

    Args: exact: fractions come as Decimal, not as float: the table has a decimal column.
    Raises: RecordsMalformed: nothing can be read; names the line and the column where there is one.
    """
    if format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, received {format!r}")
    if format == "arrow" or (format == "auto" and content.startswith((b"ARROW1", b"\xff\xff\xff\xff"))):
        return _read_arrow(content)
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in content[:2]:
        raise RecordsMalformed("content is not UTF-8; it looks like UTF-16 or UTF-32")
    try:
        values = _parse(content, exact)
    except _NotJson as err:
        malformed = RecordsMalformed(f"line {err.line}, column {err.column}: {err.problem}")
        if format == "json" or (format == "auto" and content.lstrip()[:1] == b"["):
            raise malformed from None
        values = _parse_lines(content, exact)
        if format == "auto" and 2 * sum(type(v) is dict for v in values) < len(values):
            raise malformed from None
    if set(map(type, values)) <= {dict}:
        return Records(values, range(len(values)))
    errors = tuple(BadRow(n, RecordsMalformed(v.reason), v.text()) for n, v in enumerate(values) if type(v) is _Refused)
    numbers = [n for n, v in enumerate(values) if type(v) is dict]
    return Records([values[n] for n in numbers], numbers, errors=errors)


class _NotJson(Exception):
    """Text that is not JSON; `line` and `column` count from 1."""

    def __init__(self, line: int, column: int, problem: str) -> None:
        super().__init__(problem)
        self.line, self.column, self.problem = line, column, problem


class _Refused:
    """Placeholder in parsed JSON for a value that is refused. `source`: its text, or the pairs of an object as a tuple."""

    __slots__ = ("reason", "source")

    def __init__(self, reason: str, source: Any) -> None:
        self.reason, self.source = reason, source

    def text(self) -> str:
        if isinstance(self.source, str):
            return self.source
        return "{" + ",".join(f"{json.dumps(k)}:{_safe_text(v)}" for k, v in self.source) + "}"


def _parse(content: bytes, exact: bool) -> list[Any]:
    """A dict for each JSON record, or a _Refused where it is refused. Raises _NotJson."""
    try:
        text = content.decode()
    except UnicodeDecodeError as err:
        start = content.rfind(b"\n", 0, err.start) + 1
        line, column = content.count(b"\n", 0, start) + 1, len(content[start : err.start].decode()) + 1
        raise _NotJson(line, column, "is not UTF-8") from None
    json_reader = _JsonReader(exact)
    try:
        values = None if _NESTED.search(content, 0, 8192) else json_reader.scan(text)
        if values is None or json_reader.refused or not _keys_are_single(content, values):
            # for every object Python is called, which costs half as much again, but finds the key that stands twice
            values = json_reader.scan(text, keys=True)
    except (ValueError, ArithmeticError):  # digits without end; json's own errors are translated already
        values = json_reader.scan(text, keys=True, numbers=True)
    if json_reader.refused or not set(map(type, values)) <= {dict}:
        return list(map(_checked, values))
    return values


class _JsonReader:
    def __init__(self, exact: bool) -> None:
        self.refused = 0
        self._fraction: Any = Decimal if exact else float

    def scan(self, text: str, keys: bool = False, numbers: bool = False) -> list[Any]:
        """The values of concatenated objects and arrays. `keys`, `numbers`: check these in Python.

        Raises: _NotJson; ValueError, ArithmeticError: a number that cannot be read, unless `numbers`.
        """
        decoder = json.JSONDecoder(
            object_pairs_hook=self._pairs if keys else None,
            parse_constant=lambda literal: self._refuse(f"{literal} is not a number of JSON", literal),
            parse_float=(lambda literal: self._number(self._fraction, literal)) if numbers else self._fraction,
            parse_int=(lambda literal: self._number(int, literal)) if numbers else None,
        )
        scan, skip, size = decoder.scan_once, WHITESPACE.match, len(text)  # type: ignore[attr-defined]
        values: list[Any] = []
        at = skip(text, 0).end()
        lists = False
        try:
            while at < size:
                value, at = scan(text, at)
                values.append(value)
                lists = lists or type(value) is list
                if not (
                    text[at : at + 2] == "\n{" and (at := at + 1)
                ):  # the usual line end, without a regular expression
                    at = skip(text, at).end()
        except StopIteration as err:
            raise _NotJson(*_position(text, err.value), "expected a value of JSON") from None
        except json.JSONDecodeError as err:
            raise _NotJson(err.lineno, err.colno, err.msg) from None
        except RecursionError:
            raise _NotJson(*_position(text, at), "is nested too deeply") from None
        if lists:
            return [v for value in values for v in (value if type(value) is list else (value,))]
        return values

    def _refuse(self, reason: str, source: Any) -> _Refused:
        self.refused += 1
        return _Refused(reason, source)

    def _pairs(self, pairs: list[tuple[str, Any]]) -> Any:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        keys: set[str] = set()
        twice = next(name for name, _ in pairs if name in keys or keys.add(name))  # type: ignore[func-returns-value]
        return self._refuse(f"key {shorten(twice)} stands twice in one object", tuple(pairs))

    def _number(self, kind: Any, literal: str) -> Any:
        try:
            return kind(literal)
        except (ValueError, ArithmeticError):
            return self._refuse(f"number {literal[:20]}... has too many digits", literal)


def _keys_are_single(content: bytes, values: list[Any]) -> bool:
    """Whether no object can have a duplicate key, decided without a check of each object.

    A key ends with a quote or a blank in front of a colon. Text may hold the same, so there are at most as many keys
    as such places; and at least as many as were read. Where both counts are equal, none was lost.
    """
    if not set(map(type, values)) <= {dict}:
        return False
    octets = np.frombuffer(content, np.uint8)
    preceding = octets[np.flatnonzero(octets == 58) - 1]
    return int(np.count_nonzero((preceding == 34) | (preceding <= 32))) == sum(map(len, values))


def _checked(value: Any) -> Any:
    """The record, or a _Refused where the value is no object or contains a _Refused."""
    if type(value) is _Refused:
        return value
    if type(value) is not dict:
        return _Refused(f"expected an object, received {shorten(value)}", _safe_text(value))
    pending: list[Any] = [value]
    while pending:
        part = pending.pop()
        if type(part) is dict:
            pending.extend(part.values())
        elif type(part) is list:
            pending.extend(part)
        elif type(part) is _Refused:
            return _Refused(part.reason, _safe_text(value))
    return value


def _parse_lines(content: bytes, exact: bool) -> list[Any]:
    """As _parse, but a line that is not JSON becomes a _Refused. Good lines are still read many at a time."""
    lines = [(n, line) for n, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    records: list[Any] = []
    pending = [lines]
    while pending:
        part = pending.pop()
        try:
            values = _parse(b"\n".join(line for _, line in part), exact)
        except _NotJson as err:
            if len(part) == 1:
                number, line = part[0]
                reason = f"line {number}, column {err.column}: {err.problem}"
                values = [_Refused(reason, line.decode(errors="replace").strip())]
            else:
                values = []
        if len(part) == 1 or len(values) == len(part):
            records += values
        else:
            half = len(part) // 2
            pending += [part[half:], part[:half]]
    return records


def _position(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _read_arrow(content: bytes) -> Records:
    if not content:
        return Records([], range(0))
    try:
        if content.startswith(b"ARROW1"):
            table = pa.ipc.open_file(content).read_all()
        else:
            table = _read_streams(content)
        table.validate(full=True)  # offsets beyond a buffer would be read as they are
    except (pa.ArrowException, OSError, MemoryError, ValueError, KeyError, TypeError) as err:
        raise RecordsMalformed(f"content is not Arrow: {one_line(err)}") from err
    names = table.column_names
    if len(set(names)) < len(names):
        raise RecordsMalformed(
            f"field {shorten(next(n for n in names if names.count(n) > 1))} stands twice in the Arrow schema"
        )
    return Records([], range(table.num_rows), table)


def _read_streams(content: bytes) -> pa.Table:
    """One stream, or several one behind the other as MergeContent leaves them, all with the same fields."""
    source = pa.BufferReader(content)
    tables: list[pa.Table] = []
    while not tables or source.tell() < len(content):
        tables.append(pa.ipc.open_stream(source).read_all())
    return pa.concat_tables(tables)


# --- writing ----------------------------------------------------------------------------------------------------


def bad_rows_json(bad: Iterable[BadRow]) -> bytes:
    """A report in JSON lines: number of the record from 0, code and detail of the error, and the row as it was.

    Numbers are numbers with every digit that was read, at any depth. What JSON has no word for is text: bytes are
    base64, times are ISO 8601, and NaN and the infinities have their names.
    """
    lines = []
    for row in sorted(bad, key=lambda b: b.record):
        line = {"row": row.record, "error_code": row.error.code, "error_detail": str(row.error)}
        values = row.values[:RAW_SHOWN] if isinstance(row.values, str) else row.values
        lines.append(_utf8(f'{json.dumps(line, ensure_ascii=False)[:-1]}, "record": {_safe_text(values)}}}'))
    return b"".join(line + b"\n" for line in lines)


def remaining(records: Records, numbers: Iterable[int]) -> bytes:
    """The records of these numbers as a content again: JSON lines, or an Arrow IPC stream. Unreadable ones as they were.

    Raises: KeyError: there is no record of this number.
    """
    selected = sorted(set(numbers))
    if records.table is not None:
        if selected and not 0 <= selected[0] <= selected[-1] < records.table.num_rows:
            raise KeyError(selected[-1])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, records.table.schema) as writer:
            writer.write_table(table_rows(records.table, selected))
        return bytes(sink.getvalue())
    at = {n: row for row, n in enumerate(records.numbers)}
    texts = {bad.record: bad.values for bad in records.errors}
    lines = [_whole_text(records.items[at[n]]) if n in at else str(texts[n]).replace("\n", " ") for n in selected]
    return b"".join(_utf8(line) + b"\n" for line in lines)


def table_rows(table: pa.Table, rows: list[int]) -> pa.Table:
    try:
        return table.take(pa.array(rows, pa.int64()))
    except pa.ArrowNotImplementedError:  # Arrow 26 takes nothing out of views and run-end encoded columns
        return pa.concat_tables([table.slice(row, 1) for row in rows] or [table.slice(0, 0)])


# --- values as text ---------------------------------------------------------------------------------------------


def json_text(value: Any) -> str:
    """Compact JSON in which a Decimal is a number with every digit. All else is as in `bad_rows_json`."""
    try:
        return _compact(value)
    except (TypeError, ValueError):
        return _slow_text(value)


def _safe_text(value: Any) -> str:
    try:
        return json_text(value)
    except RecursionError:
        return '"(nested too deeply)"'


def _whole_text(value: Any) -> str:
    """As json_text, but without a depth limit: a record that is retried must keep all of its values."""
    try:
        return json_text(value)
    except RecursionError:
        return _slow_text(value)


def _slow_text(value: Any) -> str:
    """JSON without the json module, whose encoder can neither write a Decimal as a number nor nest without end."""
    written: list[str] = []
    pending: list[Any] = [value]  # what is still to be written, the next at the end
    while pending:
        part = pending.pop()
        if type(part) is _Written:
            written.append(part)
        elif isinstance(part, dict):
            written.append("{")
            pending.append(_Written("}"))
            for number, (key, inner) in reversed(list(enumerate(part.items()))):
                pending += (inner, _Written(f"{',' if number else ''}{_compact(str(key))}:"))
        elif isinstance(part, (list, tuple)):
            written.append("[")
            pending.append(_Written("]"))
            for number, inner in reversed(list(enumerate(part))):
                pending += (inner, _Written(",")) if number else (inner,)
        else:
            written.append(_scalar_text(part))
    return "".join(written)


class _Written(str):
    """Text that is JSON already."""

    __slots__ = ()


def _scalar_text(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value) if value.is_finite() else _compact(str(value))
    if isinstance(value, _Refused):
        return value.text()
    if isinstance(value, float) and not math.isfinite(value):
        return _compact(str(value))
    try:
        return _compact(value)
    except TypeError:
        return _compact(_plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return value.text() if isinstance(value, _Refused) else str(value)


def shorten(value: Any) -> str:
    """At most 80 characters of a value, for a message."""
    if isinstance(value, str):
        text = json.dumps(value[:81], ensure_ascii=False)
    elif isinstance(value, bytes):
        text = str(value[:81])
    elif isinstance(value, (dict, list)):
        text = f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    else:
        text = json_text(value) if value is None or isinstance(value, (bool, float)) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON writes as an escape
        return re.sub("[\ud800-\udfff]", lambda s: f"\\u{ord(s[0]):04x}", text).encode()


# --- cells of Arrow ---------------------------------------------------------------------------------------------


def table_records(table: pa.Table) -> list[Record]:
    """The rows of a table as records. A cell that Python has no value for becomes text."""
    try:
        return list(table.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException):
        return [table_row(table, row) for row in range(table.num_rows)]


def table_row(table: pa.Table, row: int) -> Record:
    return {name: cell_value(table.column(at)[row]) for at, name in enumerate(table.column_names)}


class Unreadable(str):
    """The type of an Arrow cell that Python cannot represent. For reports only, never for a table."""

    __slots__ = ()


def cell_value(cell: pa.Scalar) -> Any:
    """The Python value of an Arrow cell, or its text where Python has none: nanoseconds, years beyond 9999.

    An `Unreadable` where there is no text either: lists and structs of such.
    """
    try:
        return cell.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        try:
            return str(cell.cast(pa.string()).as_py())
        except pa.ArrowException:
            return Unreadable(f"({cell.type})")
