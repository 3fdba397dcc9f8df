"""What a Kudu table looks like: columns, keys and partitions, as frozen values and as the JSON that declares them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum
from typing import Any

import pyarrow as pa

from imagewarehouse.errors import ConfigurationError

MAX_COLUMNS = 300  # Kudu's own ceiling
_SETTING = "Table Schema"
_TYPE = re.compile(r"(\w+)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")


class KuduType(str, Enum):
    """The column types of Kudu 1.18, by Kudu's own names."""

    BOOL = "bool"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT = "float"
    DOUBLE = "double"
    STRING = "string"
    VARCHAR = "varchar"
    BINARY = "binary"
    UNIXTIME_MICROS = "unixtime_micros"
    DATE = "date"
    DECIMAL = "decimal"


ENCODINGS = ("auto", "plain", "prefix", "group_varint", "rle", "dict", "bit_shuffle")
COMPRESSIONS = ("default", "none", "snappy", "lz4", "zlib")
_NO_KEY = (KuduType.BOOL, KuduType.FLOAT, KuduType.DOUBLE)
_TIMES = (KuduType.UNIXTIME_MICROS, KuduType.DATE)
_ARROW = {
    KuduType.BOOL: pa.bool_(), KuduType.INT8: pa.int8(), KuduType.INT16: pa.int16(), KuduType.INT32: pa.int32(),
    KuduType.INT64: pa.int64(), KuduType.FLOAT: pa.float32(), KuduType.DOUBLE: pa.float64(),
    KuduType.STRING: pa.string(), KuduType.VARCHAR: pa.string(), KuduType.BINARY: pa.binary(),
    KuduType.UNIXTIME_MICROS: pa.timestamp("us", tz="UTC"), KuduType.DATE: pa.date32(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KuduColumn:
    """One column. `precision` and `scale` belong to decimal (1-38 digits), `length` (characters) to varchar.

    `encoding`, `compression` and `default` are None where the server decides. Raises ValueError at birth.
    """

    name: str
    type: KuduType
    nullable: bool = False
    key: bool = False
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    encoding: str | None = None
    compression: str | None = None
    default: Any = None
    immutable: bool = False
    comment: str = ""
    auto_incrementing: bool = False  # the server fills it; nobody may write it

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 256:
            raise ValueError(f"column name: expected 1 to 256 characters, received {self.name[:40]!r}")
        if self.type is KuduType.DECIMAL:
            if not 1 <= (self.precision or 0) <= 38 or not 0 <= (self.scale or 0) <= (self.precision or 0):
                raise ValueError(f"column {self.name}: expected decimal(1-38, 0-precision), received {self.type_text}")
        elif self.precision is not None or self.scale is not None:
            raise ValueError(f"column {self.name}: only a decimal has a precision and a scale")
        if self.type is KuduType.VARCHAR:
            if not 1 <= (self.length or 0) <= 65_535:
                raise ValueError(f"column {self.name}: expected varchar(1-65535), received {self.type_text}")
        elif self.length is not None:
            raise ValueError(f"column {self.name}: only a varchar has a length")
        if self.key and self.type in _NO_KEY:
            raise ValueError(f"column {self.name}: a {self.type.value} cannot be part of the key")
        if self.key and (self.nullable or self.immutable):
            raise ValueError(f"column {self.name}: a key column can be neither nullable nor immutable")
        if self.encoding is not None and self.encoding not in ENCODINGS:
            raise ValueError(
                f"column {self.name}: expected an encoding of {', '.join(ENCODINGS)}, received {self.encoding!r}"
            )
        if self.compression is not None and self.compression not in COMPRESSIONS:
            raise ValueError(
                f"column {self.name}: expected a compression of {', '.join(COMPRESSIONS)}, received {self.compression!r}"
            )

    @property
    def type_text(self) -> str:
        """`decimal(9,2)`, `varchar(40)`, `int32`: what a declaration says."""
        if self.type is KuduType.DECIMAL:
            return f"decimal({self.precision},{self.scale or 0})"
        return f"varchar({self.length})" if self.type is KuduType.VARCHAR else self.type.value

    @property
    def arrow_type(self) -> pa.DataType:
        """The one Arrow type that values for this column have inside a RowBatch."""
        if self.type is KuduType.DECIMAL:
            return pa.decimal128(self.precision, self.scale or 0)
        return _ARROW[self.type]

    @property
    def required(self) -> bool:
        """Whether an inserted row has to bring a value."""
        return not self.nullable and self.default is None and not self.auto_incrementing


@dataclass(frozen=True, slots=True)
class HashPartition:
    """One hash level: rows are spread over `buckets` (at least 2) by the value of `columns`."""

    columns: tuple[str, ...]
    buckets: int

    def __post_init__(self) -> None:
        if not self.columns or self.buckets < 2:
            raise ValueError(
                f"hash: expected columns and at least 2 buckets, received {self.columns} and {self.buckets}"
            )


@dataclass(frozen=True, slots=True)
class Range:
    """One range partition, lower bound in it and upper bound not. None: without a bound on that side.

    Bounds are Python values of the range columns: datetime (UTC), date, int, str, bytes, Decimal.
    """

    lower: tuple[Any, ...] | None = None
    upper: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True)
class RangePolicy:
    """Ranges of a calendar unit over one time column, made `ahead` units ahead and dropped `keep` units later.

    `keep` counts the whole units before the current one that stay; None keeps everything.
    """

    column: str
    unit: str = "month"
    ahead: int = 2
    keep: int | None = None

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"range: expected a unit of {', '.join(UNITS)}, received {self.unit!r}")
        if not 0 <= self.ahead <= 1000:
            raise ValueError(f"range: expected ahead from 0 to 1000, received {self.ahead}")
        if self.keep is not None and not 1 <= self.keep <= 100_000:
            raise ValueError(f"range: expected keep of at least 1, received {self.keep}")


UNITS = ("day", "month", "year")


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table as it is or as it is to be made. Key columns come first. Raises ValueError at birth.

    Made with either fixed `ranges`, or a `policy` that keeps making them, or neither: one range without bounds.
    `replicas` None leaves the number to the cluster.
    """

    name: str
    columns: tuple[KuduColumn, ...]
    hashes: tuple[HashPartition, ...] = ()
    range_columns: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    policy: RangePolicy | None = None
    replicas: int | None = None
    comment: str = ""

    def __post_init__(self) -> None:
        names = [c.name for c in self.columns]
        if not self.name:
            raise ValueError("table: has no name")
        if len(names) > MAX_COLUMNS:
            raise ValueError(f"table {self.name}: Kudu takes at most {MAX_COLUMNS} columns, received {len(names)}")
        doubles = {n for n in names if names.count(n) > 1}
        if doubles:
            raise ValueError(f"table {self.name}: column {min(doubles)} stands there twice")
        keys = self.key
        if not keys:
            raise ValueError(f"table {self.name}: no column is a key")
        if not all(c.key for c in self.columns[: len(keys)]):
            raise ValueError(f"table {self.name}: key columns have to come first, in the order of the key")
        hashed: set[str] = set()
        for level in self.hashes:
            for column in level.columns:
                if column not in keys:
                    raise ValueError(f"table {self.name}: hash column {column} is not part of the key")
                if column in hashed:
                    raise ValueError(f"table {self.name}: column {column} is in two hash levels")
                hashed.add(column)
        for column in self.range_columns:
            if column not in keys:
                raise ValueError(f"table {self.name}: range column {column} is not part of the key")
        if self.policy is not None:
            if self.range_columns != (self.policy.column,):
                raise ValueError(
                    f"table {self.name}: ranges of a calendar unit need the one range column {self.policy.column}"
                )
            if self.column(self.policy.column).type not in _TIMES:
                raise ValueError(
                    f"table {self.name}: range column {self.policy.column} is neither unixtime_micros nor date"
                )
        if self.replicas is not None and (self.replicas < 1 or self.replicas % 2 == 0):
            raise ValueError(f"table {self.name}: expected an odd number of replicas, received {self.replicas}")

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.key)

    def column(self, name: str) -> KuduColumn:
        """Raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


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
    """The declaration of a table; `read_schema` takes it back."""
    found: dict[str, Any] = {"columns": [_column_json(c) for c in schema.columns]}
    if schema.hashes:
        found["hash"] = [{"columns": list(h.columns), "buckets": h.buckets} for h in schema.hashes]
    if schema.policy is not None:
        policy = schema.policy
        found["range"] = {"column": policy.column, "unit": policy.unit, "ahead": policy.ahead}
        if policy.keep is not None:
            found["range"]["keep"] = policy.keep
    elif schema.range_columns:
        found["range"] = {
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
        found["replicas"] = schema.replicas
    if schema.comment:
        found["comment"] = schema.comment
    return found


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
    found = _TYPE.fullmatch(text.strip().lower())
    try:
        kind = KuduType(found[1]) if found else None
    except ValueError:
        kind = None
    if found is None or kind is None:
        raise ValueError(f"expected a type of {', '.join(t.value for t in KuduType)}, received {text[:40]!r}")
    first, second = (None if g is None else int(g) for g in found.group(2, 3))
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
    found: dict[str, Any] = {"name": column.name, "type": column.type_text}
    if column.key:
        found["key"] = True
    elif not column.nullable:
        found["nullable"] = False
    for name in ("encoding", "compression", "comment"):
        if getattr(column, name):
            found[name] = getattr(column, name)
    if column.default is not None:
        found["default"] = bound_text(column.default)
    if column.immutable:
        found["immutable"] = True
    return found


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
    from imagewarehouse.kudu.cells import convert_cell  # it knows the columns of this module

    return convert_cell(value, column)


def _only(declared: Any, what: str, *known: str) -> None:
    if not isinstance(declared, dict):
        raise ValueError(f"{what}: expected an object, received {type(declared).__name__}")
    unknown = set(declared) - set(known)
    if unknown:
        raise ValueError(f"{what}: has no {min(unknown)}; it knows {', '.join(known)}")


def _list(declared: Mapping[str, Any], name: str, default: Sequence[Any] | None = None) -> Sequence[Any]:
    value = declared.get(name, default)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name}: expected a list, received {value!r}")
    return value
