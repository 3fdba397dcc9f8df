"""Values of fields as Solr takes them in JSON."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from imagewarehouse.contents import shorten
from imagewarehouse.errors import SolrWrongValue

OPERATIONS = ("set", "add", "add-distinct", "remove", "removeregex", "inc")
"""What an atomic update does with a field."""
_INT_END = 1 << 31
_TWICE_IS_MORE = frozenset({"add", "inc"})  # the others leave a field as they have made it
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_UNITS = {"seconds": 1_000_000, "millis": 1_000, "micros": 1}


@dataclass(frozen=True, slots=True)
class Atomic:
    """A change of one field of a document that is there; `value` None with set removes the field."""

    operation: str
    value: Any

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ValueError(f"expected one of {', '.join(OPERATIONS)}, received {shorten(self.operation)}")

    @property
    def repeatable(self) -> bool:
        return self.operation not in _TWICE_IS_MORE


def json_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with values that JSON has; fields without a value are left out. Raises SolrWrongValue.

    Only an `Atomic` becomes an object: in JSON an object is a change of the field, or a document within the document.
    """
    made = {name: _field(name, value) for name, value in document.items()}
    return {name: value for name, value in made.items() if value is not None and value != []}


def _field(name: str, value: Any) -> Any:
    try:
        if isinstance(value, Atomic):
            return {value.operation: json_value(value.value)}
        return json_value(value)
    except ValueError as err:
        raise SolrWrongValue(f"field {shorten(name)}: {err}") from None


def json_value(value: Any) -> Any:
    """Raises ValueError: there is no such value in Solr.

    Of a number of JSON Solr takes what there is room for: 2 ** 40 is 0 in an int field, and 1.5 is 1. Of a text it takes the
    number or refuses it, so such numbers are texts. Not so fractions in a list: that may be a vector.
    """
    if isinstance(value, (list, tuple)):
        values = [each if isinstance(each, float) else json_value(each) for each in value if each is not None]
        if any(isinstance(each, list) for each in values):
            raise ValueError("a list in a list")
        if not all(math.isfinite(each) for each in values if isinstance(each, float)):
            raise ValueError("a list with a value that is no number of JSON")
        return values
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if -_INT_END <= value < _INT_END else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number of JSON")
        return value if value.is_integer() and abs(value) < _INT_END else repr(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime, date)):
        return solr_date(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} is no number")
        return str(value)  # Solr reads numbers of texts too, and no digit is lost on the way
    if isinstance(value, (time, UUID)):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise ValueError(f"expected a text, a number, a time or a list of them, received {shorten(value)}")


def solr_date(value: object, unit: str = "millis") -> str:
    """2026-12-01T02:38:49.123Z: Solr's only form. Raises ValueError.

    Args: value: a time (UTC where it has no zone), a day, a text in ISO 8601 or a whole number since 1970 in that unit.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.lstrip("-").isdecimal():
            value = int(text)
        else:
            value = _parsed(text)
    if isinstance(value, bool) or not isinstance(value, (int, date)):
        raise ValueError(f"expected a time, received {shorten(value)}")
    if isinstance(value, int):
        try:
            value = _EPOCH + timedelta(microseconds=value * _UNITS[unit])
        except OverflowError:
            raise ValueError(f"{value} {unit} since 1970 is no time") from None
    if not isinstance(value, datetime):
        return f"{value.isoformat()}T00:00:00Z"
    try:
        moment = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError(f"{value} is no time in UTC") from None
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _parsed(text: str) -> datetime | date:
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
        # Python 3.10 knows neither Z nor a comma, nor other than three or six digits behind the point.
        head, dot, rest = text.replace(",", ".", 1).partition(".")
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        zone = rest[len(digits) :] if dot else ""
        whole = head + (f".{digits[:6]:0<6}" if digits else "") + zone
        return datetime.fromisoformat(whole.replace("Z", "+00:00").replace("z", "+00:00"))
    except ValueError:
        raise ValueError(f"expected a time such as 2026-12-01T02:38:49Z, received {shorten(text)}") from None
