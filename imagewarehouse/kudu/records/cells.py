"""Converts one value for one Kudu column. A value is never truncated, wrapped or rounded: it fits, or it is refused.

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
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache
from typing import Any

from imagewarehouse.contents import Unreadable, json_text, shorten
from imagewarehouse.kudu.schema import KuduColumn, KuduType

MAX_CELL_BYTES = 64 * 1024  # Kudu's own ceiling for a string, varchar or binary
BINARY_TEXT = ("utf-8", "base64", "hex")
TIME_UNITS = {"micros": 1, "millis": 1_000, "seconds": 1_000_000}  # microseconds
INTEGER_BITS = {KuduType.INT8: 8, KuduType.INT16: 16, KuduType.INT32: 32, KuduType.INT64: 64}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITE = {"nan": "nan", "infinity": "inf", "+infinity": "inf", "-infinity": "-inf"}
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_ISO = re.compile(
    _DATE.pattern + r"(?:[T ]([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?)?"
    r"(?:Z|([+-])([0-9]{2})(?::?([0-9]{2}))?)?)?"
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """How to convert ambiguous values. Raises ValueError on construction.

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


class TooLong(ValueError):
    """Becomes KuduCellTooLong where every other ValueError becomes KuduWrongValue."""


DEFAULT_CONVERSION = Conversion()


def convert_cell(value: Any, column: KuduColumn, conversion: Conversion = DEFAULT_CONVERSION) -> Any:
    """The value as the column holds it: bool, int, float, str, bytes, Decimal, date or datetime (UTC).

    Raises: ValueError: one line with the column, what it takes and at most 80 characters of what came.
    """
    return CELL_RULES[column.type](value, column, conversion)


def wrong_value(column: KuduColumn, value: Any, expected: str = "") -> ValueError:
    return ValueError(f"column {column.name}: expected {expected or column.type_text}, received {shorten(value)}")


def _too_long(column: KuduColumn, limit: str, received: int, value: str) -> TooLong:
    return TooLong(f"column {column.name}: expected at most {limit}, received {received}: {shorten(value)}")


def _cell_bool(value: Any, column: KuduColumn, conversion: Conversion) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise wrong_value(column, value, "true or false")


def _cell_int(value: Any, column: KuduColumn, conversion: Conversion) -> int:
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, Decimal) and value.is_finite():
        # adjusted: the exponent of the first digit; int() would write out every zero of 1e999999999
        if not value:
            number = 0
        elif 0 <= value.adjusted() <= 20 and value == value.to_integral_value():
            number = int(value)
    elif isinstance(value, str) and _INTEGER.fullmatch(value):
        number = int(value)
    half = 1 << (INTEGER_BITS[column.type] - 1)
    if number is None or not -half <= number < half:
        raise wrong_value(column, value, f"{column.type_text}, a whole number from {-half} to {half - 1}")
    return number


def _cell_float(value: Any, column: KuduColumn, conversion: Conversion) -> float:
    number: float | None = None
    if isinstance(value, str):
        if value.lower() in _INFINITE:
            return float(_INFINITE[value.lower()])
        if _NUMBER.fullmatch(value):
            number = float(value)
    elif isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (OverflowError, ValueError):
            number = None
    if number is not None and column.type is KuduType.FLOAT:
        try:
            number = float(struct.unpack("f", struct.pack("f", number))[0])
        except OverflowError:
            number = None
    if number is None or number in (float("inf"), float("-inf")):  # JSON cannot say infinity: 1e400 became one
        raise wrong_value(column, value, f"a number for {column.type_text}")
    return number


def _cell_text(value: Any, column: KuduColumn, conversion: Conversion) -> str:
    try:
        if isinstance(value, Unreadable):
            raise ValueError
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
        raise wrong_value(column, value, "less nesting") from None
    except UnicodeEncodeError:
        raise wrong_value(column, value, "text without half characters (lone surrogates)") from None
    except ValueError:
        raise wrong_value(column, str(value)) from None
    if column.length is not None and octets > column.length:
        units = len(text.encode("utf-16-le")) // 2
        if units > column.length:
            raise _too_long(column, f"{column.length} characters", units, text)
    if octets > MAX_CELL_BYTES:
        raise _too_long(column, f"{MAX_CELL_BYTES} bytes", octets, text)
    return text


def _cell_binary(value: Any, column: KuduColumn, conversion: Conversion) -> bytes:
    mode = conversion.binary_text
    try:
        if isinstance(value, (bytes, bytearray, memoryview)):
            data = bytes(value)
        elif isinstance(value, list) and all(type(v) is int and -128 <= v <= 255 for v in value):
            data = bytes(v & 255 for v in value)
        elif not isinstance(value, str):
            raise wrong_value(column, value, f"bytes or text ({mode})")
        elif mode == "base64":
            data = base64.b64decode(value, validate=True)
        else:
            data = value.encode() if mode == "utf-8" else base64.b16decode(value.upper())
    except UnicodeEncodeError:
        raise wrong_value(column, value, "text without half characters (lone surrogates)") from None
    except ValueError:
        raise wrong_value(column, value, f"bytes or text ({mode})") from None
    if len(data) > MAX_CELL_BYTES:
        raise _too_long(column, f"{MAX_CELL_BYTES} bytes", len(data), str(value[:80]))
    return data


def _cell_timestamp(value: Any, column: KuduColumn, conversion: Conversion) -> datetime:
    try:
        if isinstance(value, datetime):
            return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
        if isinstance(value, date):
            return datetime.combine(value, time(), timezone.utc)
        if isinstance(value, int) and not isinstance(value, bool):
            return _EPOCH + timedelta(microseconds=value * TIME_UNITS[conversion.time_unit])
        if isinstance(value, str) and (match := _ISO.fullmatch(value)):
            return _moment(match)
    except (ValueError, OverflowError):
        pass
    if isinstance(value, int):
        raise wrong_value(column, value, f"{conversion.time_unit} since 1970 within the years 1 to 9999")
    raise wrong_value(column, value, "a time such as 2026-12-31T23:59:59.123456Z")


def _moment(match: re.Match[str]) -> datetime:
    """Raises ValueError, OverflowError."""
    year, month, day, hour, minute, second = (int(g or 0) for g in match.groups()[:6])
    fraction = (match[7] or "").rstrip("0")
    if len(fraction) > 6:
        raise ValueError
    moment = datetime(year, month, day, hour, minute, second, int(fraction.ljust(6, "0")), timezone.utc)
    if match[8]:
        hours, minutes = int(match[9]), int(match[10] or 0)
        if hours > 23 or minutes > 59:
            raise ValueError
        offset = timedelta(hours=hours, minutes=minutes)
        moment = moment - offset if match[8] == "+" else moment + offset
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
        elif isinstance(value, str) and (match := _DATE.fullmatch(value)):
            return date(int(match[1]), int(match[2]), int(match[3]))
    except (ValueError, OverflowError):
        pass
    if isinstance(value, int) and not isinstance(value, bool):
        raise wrong_value(column, value, "days since 1970 within the years 1 to 9999")
    raise wrong_value(column, value, "a date such as 2026-12-31")


def _cell_decimal(value: Any, column: KuduColumn, conversion: Conversion) -> Decimal:
    context, unit = exact_context(column.precision or 1, column.scale or 0)
    number: Decimal | None = None
    try:
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            number = context.quantize(value, unit)
        elif isinstance(value, float):
            number = context.quantize(Decimal(repr(value)), unit)
        elif isinstance(value, str) and _NUMBER.fullmatch(value):
            number = context.quantize(Decimal(value), unit)
    except (ArithmeticError, ValueError):
        pass
    if number is None or not number.is_finite():
        raise wrong_value(column, value, f"a number for {column.type_text}")
    return number


@lru_cache(maxsize=256)
def exact_context(precision: int, scale: int) -> tuple[Context, Decimal]:
    """A context that quantizes to the unit of a column, or raises ArithmeticError."""
    return Context(prec=precision, traps=[Inexact, InvalidOperation]), Decimal(1).scaleb(-scale)


CELL_RULES: dict[KuduType, Callable[[Any, KuduColumn, Conversion], Any]] = {
    KuduType.BOOL: _cell_bool, KuduType.INT8: _cell_int, KuduType.INT16: _cell_int, KuduType.INT32: _cell_int,
    KuduType.INT64: _cell_int, KuduType.FLOAT: _cell_float, KuduType.DOUBLE: _cell_float, KuduType.STRING: _cell_text,
    KuduType.VARCHAR: _cell_text, KuduType.BINARY: _cell_binary, KuduType.UNIXTIME_MICROS: _cell_timestamp,
    KuduType.DATE: _cell_date, KuduType.DECIMAL: _cell_decimal,
}  # fmt: skip
