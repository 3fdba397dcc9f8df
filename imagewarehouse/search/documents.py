"""An image record as a document of the index, as nifi-conf/solr/conf/schema.xml has it, and back."""

from __future__ import annotations

import ipaddress
import struct
from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson

from imagewarehouse.metadata import COLUMNS, MOST_DIMENSIONS, ImageRecord, json_values, to_text
from imagewarehouse.search.query import SHOWN
from imagewarehouse.search.terms import labels_of, letter_terms, terms, texts_of
from imagewarehouse.text import one_line

DIMENSIONS = MOST_DIMENSIONS
"""Of the vector field. A shorter embedding is filled up with zeros, which leaves each angle as it is."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_FLOATS = frozenset(column.name for column in COLUMNS if column.type == "float")


def document(record: ImageRecord) -> dict[str, Any]:
    """What the index has of a record; fields without a value are left out.

    Raises ValueError: fields, notes or top_k are no JSON, or another one than our steps write.
    """
    try:
        return _document(record)
    except (TypeError, KeyError, AttributeError) as err:
        raise ValueError(f"fields, notes or top_k are not as expected: {one_line(err)}") from err


def _document(record: ImageRecord) -> dict[str, Any]:
    values: dict[str, Any] = {name: value for name in SHOWN if (value := getattr(record, name)) is not None}
    moment = record.event_time.astimezone(timezone.utc)
    values.update(
        id=record.request_id,
        event_time=to_text(moment),
        event_us=microseconds(moment),
        day=f"{moment:%Y-%m-%d}",
    )
    if record.notes is not None:
        values["notes_codes"] = orjson.loads(record.notes)
    if record.top_k is not None:
        top_k = orjson.loads(record.top_k)
        values["top_classes"] = [each["class"] for each in top_k]
        values["labels"] = " ".join(terms(labels_of(top_k)))
    if record.source_ip is not None and (address := address_digits(record.source_ip)) is not None:
        values["source_address"] = address
    if record.confidence is not None:
        values["confidence_tenth"] = tenth(record.confidence)
    if record.model_name is not None and record.model_version is not None:
        values["model"] = f"{record.model_name}/{record.model_version}"
    texts = [text for _, text in texts_of(values)]
    values["words"] = " ".join(terms(texts))
    values["letters"] = " ".join(letter_terms(texts))
    # Without a length there is no angle: a single such vector in an index makes Solr fail at searches for the nearest.
    if record.embedding is not None and any(record.embedding):
        values["embedding"] = vector(record.embedding)
        values["embedding_width"] = len(record.embedding)
    return values


def record_values(found: Mapping[str, Any]) -> dict[str, Any]:
    """SHOWN of a document that the index gave, as `json_values` has them."""
    values = {name: found.get(name) for name in SHOWN}
    values["event_time"] = moment_of(found["event_us"])
    for name in _FLOATS:
        value = values.get(name)
        if value is not None:
            values[name] = single(value)
    return json_values(values)


def vector(embedding: bytes) -> list[int]:
    """Signed numbers, DIMENSIONS of them. Raises ValueError: it has more."""
    if len(embedding) > DIMENSIONS:
        raise ValueError(f"embedding: expected at most {DIMENSIONS} bytes, received {len(embedding)}")
    return [*memoryview(embedding).cast("b"), *[0] * (DIMENSIONS - len(embedding))]


def microseconds(moment: datetime) -> int:
    """Since 1970, of an aware time."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND


def address_digits(address: str) -> str | None:
    """`4:` and 8 hexadecimal digits, or `6:` and 32, by which addresses are in order; None: it is no address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return f"{parsed.version}:{parsed.packed.hex()}"


def network_digits(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[str, str]:
    """The first and the last address of a network, as `address_digits` has them."""
    first, last = network.network_address, network.broadcast_address
    return f"{network.version}:{first.packed.hex()}", f"{network.version}:{last.packed.hex()}"


def single(value: float) -> float:
    """As the columns keep a confidence: with 24 bits."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


_TENTHS = [single(n / 10) for n in range(10)]


def tenth(confidence: float) -> str:
    """Of the facet: 0.9 for 0.9 to 1.0, both included."""
    return f"0.{bisect_right(_TENTHS, single(confidence)) - 1}"
