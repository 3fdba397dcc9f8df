"""Converts values, columns and tables to the types of Kudu's Java client, and back. Needs a running JVM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, Range, TableSchema

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ENCODINGS = {"auto": "AUTO_ENCODING", "plain": "PLAIN_ENCODING", "prefix": "PREFIX_ENCODING", "group_varint": "GROUP_VARINT",
              "rle": "RLE", "dict": "DICT_ENCODING", "bit_shuffle": "BIT_SHUFFLE"}  # fmt: skip
_COMPRESSIONS = {
    "default": "DEFAULT_COMPRESSION",
    "none": "NO_COMPRESSION",
    "snappy": "SNAPPY",
    "lz4": "LZ4",
    "zlib": "ZLIB",
}

# --- to Java ----------------------------------------------------------------------------------------------------


def java_list(values: Sequence[Any]) -> Any:
    import jpype

    array_list = jpype.JClass("java.util.ArrayList")()
    for value in values:
        array_list.add(value)
    return array_list


def java_long(value: int) -> Any:
    import jpype

    return jpype.JLong(value)


def _java_value(value: Any, column: KuduColumn) -> Any:
    """A Python value as the Java object that `addObject` and `defaultValue` take."""
    import jpype

    java = jpype.java
    kind = column.type
    if kind is KuduType.UNIXTIME_MICROS:
        micros = (value - EPOCH) // timedelta(microseconds=1)
        return java.lang.Long(micros)
    if kind is KuduType.DATE:
        return java.sql.Date.valueOf(value.isoformat())
    if kind is KuduType.DECIMAL:
        return java.math.BigDecimal(str(value)).setScale(column.scale or 0)
    if kind is KuduType.BINARY:
        return jpype.JArray(jpype.JByte)(value)
    boxes = {KuduType.BOOL: java.lang.Boolean, KuduType.INT8: java.lang.Byte, KuduType.INT16: java.lang.Short,
             KuduType.INT32: java.lang.Integer, KuduType.INT64: java.lang.Long, KuduType.FLOAT: java.lang.Float,
             KuduType.DOUBLE: java.lang.Double}  # fmt: skip
    return boxes[kind](value) if kind in boxes else java.lang.String(value)


def java_column(column: KuduColumn) -> Any:
    import jpype

    kudu = jpype.JPackage("org").apache.kudu
    schema = kudu.ColumnSchema
    builder = schema.ColumnSchemaBuilder(column.name, getattr(kudu.Type, column.type.name))
    builder.key(column.key).nullable(column.nullable).comment(column.comment)
    if column.immutable:
        builder.immutable(True)
    if column.type is KuduType.DECIMAL:
        attributes = kudu.util.DecimalUtil.typeAttributes(column.precision, column.scale or 0)
        builder.typeAttributes(attributes)
    elif column.type is KuduType.VARCHAR:
        builder.typeAttributes(kudu.util.CharUtil.typeAttributes(column.length))
    if column.encoding is not None:
        builder.encoding(getattr(schema.Encoding, _ENCODINGS[column.encoding]))
    if column.compression is not None:
        builder.compressionAlgorithm(getattr(schema.CompressionAlgorithm, _COMPRESSIONS[column.compression]))
    if column.default is not None:
        builder.defaultValue(_java_value(column.default, column))
    return builder.build()


def java_bound(java_schema: Any, schema: TableSchema, values: tuple[Any, ...] | None) -> Any:
    row = java_schema.newPartialRow()
    for name, value in zip(schema.range_columns, values or (), strict=False):
        row.addObject(name, _java_value(value, schema.column(name)))
    return row


# --- from Java --------------------------------------------------------------------------------------------------


def _python_value(value: Any, column: KuduColumn) -> Any:
    """A Java object as the Python value of its column."""
    if column.type is KuduType.UNIXTIME_MICROS:
        if hasattr(value, "getNanos"):
            return EPOCH + timedelta(seconds=int(value.getTime()) // 1000, microseconds=int(value.getNanos()) // 1000)
        return EPOCH + timedelta(microseconds=int(value))
    if column.type is KuduType.DATE:
        return (
            date.fromisoformat(str(value.toString()))
            if hasattr(value, "toLocalDate")
            else EPOCH.date() + timedelta(days=int(value))
        )
    if column.type is KuduType.DECIMAL:
        return Decimal(str(value.toPlainString()))
    if column.type in (KuduType.STRING, KuduType.VARCHAR):
        return str(value)
    if column.type is KuduType.BINARY:
        if hasattr(value, "array"):
            value = value.array()
        return bytes(memoryview(value).cast("B")) if len(value) else b""
    if column.type is KuduType.BOOL:
        return bool(value)
    return float(value) if column.type in (KuduType.FLOAT, KuduType.DOUBLE) else int(value)


def table_schema(handle: Any) -> TableSchema:
    java = handle.getSchema()
    columns = tuple(_column(java.getColumnByIndex(number)) for number in range(java.getColumnCount()))
    partitions = handle.getPartitionSchema()

    def names(identifiers: Any) -> tuple[str, ...]:
        return tuple(columns[java.getColumnIndex(int(identifier))].name for identifier in identifiers)

    hashes = tuple(
        HashPartition(names(level.getColumnIds()), int(level.getNumBuckets()))
        for level in partitions.getHashBucketSchemas()
    )
    range_columns = names(partitions.getRangeSchema().getColumnIds())
    replicas = int(handle.getNumReplicas())
    return TableSchema(
        str(handle.getName()), columns, hashes, range_columns, replicas=replicas, comment=str(handle.getComment())
    )


def _column(java: Any) -> KuduColumn:
    kind = KuduType[str(java.getType().name())]
    attributes = java.getTypeAttributes()
    column = KuduColumn(
        str(java.getName()),
        kind,
        nullable=bool(java.isNullable()),
        key=bool(java.isKey()),
        precision=int(attributes.getPrecision()) if kind is KuduType.DECIMAL else None,
        scale=int(attributes.getScale()) if kind is KuduType.DECIMAL else None,
        length=int(attributes.getLength()) if kind is KuduType.VARCHAR else None,
        encoding=_known(_ENCODINGS, java.getEncoding()),
        compression=_known(_COMPRESSIONS, java.getCompressionAlgorithm()),
        immutable=bool(java.isImmutable()),
        comment=str(java.getComment()),
        auto_incrementing=bool(java.isAutoIncrementing()),
    )
    default = java.getDefaultValue()
    if default is None:
        return column
    return replace(column, default=_python_value(default, column))


def _known(names: dict[str, str], java: Any) -> str | None:
    text = None if java is None else str(java.name())
    name = next((kudu_name for kudu_name, java_name in names.items() if java_name == text), None)
    return None if name in ("auto", "default") else name  # what a declaration leaves out


def range_of(partition: Any, handle: Any, schema: TableSchema) -> Range:
    lower = partition.getDecodedRangeKeyStart(handle) if len(partition.getRangeKeyStart()) else None
    upper = partition.getDecodedRangeKeyEnd(handle) if len(partition.getRangeKeyEnd()) else None
    return Range(*(None if row is None else _bound_values(row, schema) for row in (lower, upper)))


def _bound_values(row: Any, schema: TableSchema) -> tuple[Any, ...]:
    return tuple(_python_value(row.getObject(name), schema.column(name)) for name in schema.range_columns)
