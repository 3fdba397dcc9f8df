"""The schema of a Kudu table: columns, keys and partitions, as frozen values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pyarrow as pa

MAX_COLUMNS = 300  # Kudu's own ceiling
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

    `encoding`, `compression` and `default` are None where the server decides. Raises ValueError on construction.
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
    """A table as it is or as it is to be made. Key columns come first. Raises ValueError on construction.

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
