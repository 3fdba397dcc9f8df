"""Tables as JSON: the declaration that the property Table Schema takes, and that `imagewarehouse table show` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.kudu.records.cells import convert_cell
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, Range, RangePolicy, TableSchema

_SETTING = "Table Schema"
_TYPE = re.compile(r"(\w+)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")


def read_schema(text: str, name: str) -> TableSchema:
    """The table `name` out of its JSON declaration; docs/kudu.md describes it. Raises ConfigurationError."""
    try:
        declared = json.loads(text)
    except ValueError as err:
        raise ConfigurationError(_SETTING, f"is not JSON: {err}") from err
    try:
        _only(declared, "declaration", "columns", "hash", "range", "replicas", "comment")
        columns = tuple(_column(c) for c in _list(declared, "columns"))
        types = {c.name: c for c in columns}
        hashes = tuple(_hash(level) for level in _list(declared, "hash", ()))
        range_columns, ranges, policy = _ranges(declared.get("range"), types)
        replicas = declared.get("replicas")
        if replicas is not None and type(replicas) is not int:
            raise ValueError(f"replicas: expected a number, received {replicas!r}")
        comment = str(declared.get("comment", ""))
        return TableSchema(name, columns, hashes, range_columns, ranges, policy, replicas, comment)
    except (ValueError, TypeError) as err:
        raise ConfigurationError(_SETTING, str(err)) from err


def schema_json(schema: TableSchema) -> dict[str, Any]:
    """The declaration of a table; `read_schema` reads it."""
    declaration: dict[str, Any] = {"columns": [_column_json(c) for c in schema.columns]}
    if schema.hashes:
        declaration["hash"] = [{"columns": list(h.columns), "buckets": h.buckets} for h in schema.hashes]
    if schema.policy is not None:
        policy = schema.policy
        declaration["range"] = {"column": policy.column, "unit": policy.unit, "ahead": policy.ahead}
        if policy.keep is not None:
            declaration["range"]["keep"] = policy.keep
    elif schema.range_columns:
        declaration["range"] = {
            "columns": list(schema.range_columns),
            "partitions": [
                {
                    side: [bound_text(v) for v in bound]
                    for side, bound in (("lower", r.lower), ("upper", r.upper))
                    if bound
                }
                for r in schema.ranges
            ],
        }
    if schema.replicas is not None:
        declaration["replicas"] = schema.replicas
    if schema.comment:
        declaration["comment"] = schema.comment
    return declaration


def bound_text(value: Any) -> Any:
    """A range bound or default as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def parse_type(text: str) -> tuple[KuduType, int | None, int | None, int | None]:
    """`decimal(9,2)` as (type, precision, scale, length). Raises ValueError."""
    match = _TYPE.fullmatch(text.strip().lower())
    try:
        kind = KuduType(match[1]) if match else None
    except ValueError:
        kind = None
    if match is None or kind is None:
        raise ValueError(f"expected a type of {', '.join(t.value for t in KuduType)}, received {text[:40]!r}")
    first, second = (None if g is None else int(g) for g in match.group(2, 3))
    if kind is KuduType.DECIMAL:
        return kind, first, second or 0, None
    if kind is KuduType.VARCHAR and second is None:
        return kind, None, None, first
    if first is not None:
        raise ValueError(f"{kind.value} takes no numbers, received {text[:40]!r}")
    return kind, None, None, None


def _column(declared: Any) -> KuduColumn:
    _only(
        declared,
        "column",
        "name",
        "type",
        "key",
        "nullable",
        "encoding",
        "compression",
        "default",
        "immutable",
        "comment",
    )
    name = declared.get("name")
    if not isinstance(name, str):
        raise ValueError(f"column: expected a name, received {name!r}")
    try:
        kind, precision, scale, length = parse_type(str(declared.get("type")))
    except ValueError as err:
        raise ValueError(f"column {name}: {err}") from err
    key = _flag(declared, name, "key", False)
    column = KuduColumn(
        name,
        kind,
        nullable=_flag(declared, name, "nullable", not key),
        key=key,
        precision=precision,
        scale=scale,
        length=length,
        encoding=_lower(declared.get("encoding")),
        compression=_lower(declared.get("compression")),
        immutable=_flag(declared, name, "immutable", False),
        comment=str(declared.get("comment", "")),
    )
    if declared.get("default") is None:
        return column
    return replace(column, default=parse_value(declared["default"], column))


def _flag(declared: Mapping[str, Any], column: str, name: str, default: bool) -> bool:
    value = declared.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"column {column}: expected true or false for {name}, received {value!r}")
    return value


def _lower(value: Any) -> str | None:
    return None if value is None else str(value).lower()


def _column_json(column: KuduColumn) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": column.name, "type": column.type_text}
    if column.key:
        declaration["key"] = True
    elif not column.nullable:
        declaration["nullable"] = False
    for name in ("encoding", "compression", "comment"):
        if getattr(column, name):
            declaration[name] = getattr(column, name)
    if column.default is not None:
        declaration["default"] = bound_text(column.default)
    if column.immutable:
        declaration["immutable"] = True
    return declaration


def _hash(declared: Any) -> HashPartition:
    _only(declared, "hash", "columns", "buckets")
    buckets = declared.get("buckets")
    if type(buckets) is not int:
        raise ValueError(f"hash: expected a number of buckets, received {buckets!r}")
    return HashPartition(tuple(str(c) for c in _list(declared, "columns")), buckets)


def _ranges(
    declared: Any, types: Mapping[str, KuduColumn]
) -> tuple[tuple[str, ...], tuple[Range, ...], RangePolicy | None]:
    if declared is None:
        return (), (), None
    if isinstance(declared, dict) and "column" in declared:
        _only(declared, "range", "column", "unit", "ahead", "keep")
        for name in ("ahead", "keep"):
            if name in declared and type(declared[name]) is not int:
                raise ValueError(f"range: expected a number for {name}, received {declared[name]!r}")
        return (str(declared["column"]),), (), RangePolicy(**declared)
    _only(declared, "range", "columns", "partitions")
    columns = tuple(str(c) for c in _list(declared, "columns"))
    unknown = [c for c in columns if c not in types]
    if unknown:
        raise ValueError(f"range: column {unknown[0]} is not in the table")
    ranges = []
    for part in _list(declared, "partitions", ()):
        _only(part, "range partition", "lower", "upper")
        ranges.append(Range(*(_bound(part.get(side), columns, types) for side in ("lower", "upper"))))
    return columns, tuple(ranges), None


def _bound(declared: Any, columns: Sequence[str], types: Mapping[str, KuduColumn]) -> tuple[Any, ...] | None:
    if declared is None:
        return None
    if not isinstance(declared, list) or len(declared) != len(columns):
        raise ValueError(
            f"range bound: expected a list with a value for each of {', '.join(columns)}, received {declared!r}"
        )
    return tuple(parse_value(value, types[name]) for value, name in zip(declared, columns, strict=True))


def parse_value(value: Any, column: KuduColumn) -> Any:
    """A default or a bound as a declaration has it, as a Python value of the column. Raises ValueError."""
    return convert_cell(value, column)


def _only(declared: Any, element: str, *known: str) -> None:
    if not isinstance(declared, dict):
        raise ValueError(f"{element}: expected an object, received {type(declared).__name__}")
    unknown = set(declared) - set(known)
    if unknown:
        raise ValueError(f"{element}: has no {min(unknown)}; it knows {', '.join(known)}")


def _list(declared: Mapping[str, Any], name: str, default: Sequence[Any] | None = None) -> Sequence[Any]:
    value = declared.get(name, default)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name}: expected a list, received {value!r}")
    return value
