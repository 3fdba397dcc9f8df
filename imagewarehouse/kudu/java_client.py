"""The default backend: Kudu's Java client inside this Python process.

It installs wherever NiFi runs, and its calls release Python's lock while they wait. Rows cross to Java as whole batches
in Arrow's memory layout and are filled into the client's rows by our class `RowWriter`.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagewarehouse.errors import (
    ConfigurationError,
    KuduNotAuthorized,
    KuduRefused,
    KuduUnavailable,
    SchemaChanged,
    WarehouseError,
)
from imagewarehouse.kudu import jvm
from imagewarehouse.kudu.batch import ColumnValues, RowBatch, misfit
from imagewarehouse.kudu.client import BACKGROUND, SYNC, KuduSettings, RowFailure
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, Range, TableSchema
from imagewarehouse.kudu.security import KerberosLogin, check_token, read_certificates
from imagewarehouse.kudu.status import ALTERED, FINAL, error_from_status

# A class that two threads name for the first time at once is half there for one of them, so each is named beforehand.
_CLASSES = ("ColumnSchema", "ColumnSchema$ColumnSchemaBuilder", "ColumnSchema$Encoding", "ColumnSchema$CompressionAlgorithm",
            "ColumnTypeAttributes", "Schema", "Type", "util.CharUtil", "util.DecimalUtil", "client.AlterTableOptions",
            "client.AsyncKuduClient", "client.AsyncKuduClient$AsyncKuduClientBuilder", "client.CreateTableOptions",
            "client.KuduClient", "client.KuduException", "client.KuduTable", "client.NonRecoverableException",
            "client.PartialRow", "client.PartitionSchema", "client.Status")  # fmt: skip
_loading = threading.Lock()
_GRACE_MS = 2000  # the client times out by itself; this only catches what it forgets
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ENCODINGS = {"auto": "AUTO_ENCODING", "plain": "PLAIN_ENCODING", "prefix": "PREFIX_ENCODING", "group_varint": "GROUP_VARINT",
              "rle": "RLE", "dict": "DICT_ENCODING", "bit_shuffle": "BIT_SHUFFLE"}  # fmt: skip
_COMPRESSIONS = {
    "default": "DEFAULT_COMPRESSION",
    "none": "NO_COMPRESSION",
    "snappy": "SNAPPY",
    "lz4": "LZ4",
    "zlib": "ZLIB",
}

# The client calls it "service unavailable" when every master refuses it, and it will not pass by itself.
_REFUSALS = (
    (r"server requires authentication, but (?!.*have expired).*", "Kerberos Principal and Kerberos Keytab are needed"),
    (r"client requires authentication, but.*", "Require Authentication is true"),
    (r"server does not support required TLS encryption", "Encryption is required"),
    (r"unauthorized access to method.*", "the user is not in the cluster's --user_acl"),
)


class JavaKuduWriter:
    """A `KuduWriter` over org.apache.kudu:kudu-client."""

    def __init__(self, settings: KuduSettings) -> None:
        jvm.start(settings.java_home)
        import jpype

        self.settings = settings
        with _loading:
            for name in _CLASSES:
                jpype.JClass(f"org.apache.kudu.{name}")
        self._kudu = jpype.JPackage("org").apache.kudu
        self._row_writer = jpype.JClass("imagewarehouse.kudu.RowWriter")
        self._bytes, self._ints = jpype.JArray(jpype.JByte), jpype.JArray(jpype.JInt)
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[Any, TableSchema]] = {}
        self._login: KerberosLogin | None = None
        self._closed = False
        if settings.jwt:
            check_token(settings.jwt, time.time())
        try:
            if settings.keytab or settings.ticket_cache:
                self._login = KerberosLogin(settings)
            with self._errors():
                self._async = self._connect()
                self._client = self._async.syncClient()
        except BaseException:
            if self._login is not None:
                self._login.close()
            raise

    # --- rows ---

    def write(self, table: str, batches: Sequence[RowBatch]) -> list[RowFailure]:
        handle, schema = self._open(table)
        found, fitting = [], []
        for number, batch in enumerate(batches):
            reason = misfit(batch, schema.columns)
            if reason:  # Java would read the cells as what they are not
                found += [RowFailure(number, row, SchemaChanged(reason)) for row in range(len(batch))]
            else:
                fitting.append(number)
        batches = [batches[number] for number in fitting]
        settings = self.settings
        rows = 1 if settings.flush_mode == SYNC else settings.batch_rows
        total = sum(len(batch) for batch in batches)
        pipelined = settings.flush_mode == BACKGROUND and total > rows and keys_are_distinct(batches, schema.key)
        with self._errors(table):
            writer = self._row_writer(
                self._async,
                handle,
                rows,
                settings.batch_bytes,
                2 if pipelined else 1,
                round(settings.operation_timeout_s * 1000),
                FINAL,
                ALTERED,
            )
            try:
                index = {column.name: number for number, column in enumerate(schema.columns)}
                for batch in batches:
                    self._add(writer, batch, index)
                failed = [int(number) for number in writer.finish()]
                reasons = [str(reason) for reason in writer.failures()] if failed else []
            finally:
                writer.close()
        starts = np.cumsum([0, *(len(batch) for batch in batches)])
        for number, reason in zip(failed, reasons, strict=True):
            at = int(np.searchsorted(starts, number, side="right")) - 1
            found.append(RowFailure(fitting[at], number - int(starts[at]), self._fate(error_from_status(reason))))
        return found

    def _add(self, writer: Any, batch: RowBatch, index: dict[str, int]) -> None:
        """Hand the rows over in portions that fit the JVM's heap."""
        size = sum(column.values.nbytes for column in batch.columns) or 1
        step = max(1, min(self.settings.batch_rows, self.settings.batch_bytes * len(batch) // size))
        columns = self._ints([index[column.name] for column in batch.columns])
        for start in range(0, len(batch), step):
            stop = min(start + step, len(batch))
            layout, cells = pack(batch.columns, start, stop)
            operations = batch.operations[start:stop].astype(np.int8).tobytes()
            writer.add(self._bytes(operations), columns, self._ints(layout), self._bytes(cells))

    # --- tables ---

    def schema(self, table: str, *, refresh: bool = False) -> TableSchema:
        return self._open(table, refresh)[1]

    def tables(self) -> list[str]:
        with self._errors():
            return sorted(str(name) for name in self._client.getTablesList().getTablesList())

    def create(self, schema: TableSchema) -> bool:
        options = self._kudu.client.CreateTableOptions()
        for level in schema.hashes:
            options.addHashPartitions(_java_list(level.columns), level.buckets)
        options.setRangePartitionColumns(_java_list(schema.range_columns))
        if schema.replicas is not None:
            options.setNumReplicas(schema.replicas)
        if schema.comment:
            options.setComment(schema.comment)
        with self._errors(schema.name):
            java_schema = self._kudu.Schema(_java_list([self._java_column(c) for c in schema.columns]))
            for part in schema.ranges:
                options.addRangePartition(*(self._bound(java_schema, schema, b) for b in (part.lower, part.upper)))
            try:
                self._answer(self._async.createTable(schema.name, java_schema, options))
            except self._kudu.client.KuduException as err:
                if not err.getStatus().isAlreadyPresent():
                    raise
                return False
        return True

    def drop(self, table: str) -> None:
        with self._errors(table):
            self._client.deleteTable(table)
        with self._lock:
            self._opened.pop(table, None)

    def add_columns(self, table: str, columns: Sequence[KuduColumn]) -> None:
        for column in columns:  # one by one: another node may have added some of them
            options = self._kudu.client.AlterTableOptions()
            with self._errors(table):
                options.addColumn(self._java_column(column))
                if not self._alter(table, options):
                    # Whoever adds it may still be at it, and the table be opened without it.
                    self._client.isAlterTableDone(table)

    def ranges(self, table: str) -> list[Range]:
        handle, schema = self._open(table)
        if not schema.range_columns:
            return []
        with self._errors(table):
            parts = handle.getRangePartitions(round(self.settings.admin_timeout_s * 1000))
            return [_range(part, handle, schema) for part in parts]

    def add_range(self, table: str, part: Range) -> bool:
        handle, schema = self._open(table)
        options = self._kudu.client.AlterTableOptions()
        with self._errors(table):
            options.addRangePartition(*(self._bound(handle.getSchema(), schema, b) for b in (part.lower, part.upper)))
            if self._alter(table, options):
                return True
        if part in self.ranges(table):
            return False
        raise KuduRefused(f"table {table}: the range overlaps another one")

    def drop_range(self, table: str, part: Range) -> bool:
        handle, schema = self._open(table)
        options = self._kudu.client.AlterTableOptions()
        with self._errors(table):
            options.dropRangePartition(*(self._bound(handle.getSchema(), schema, b) for b in (part.lower, part.upper)))
            try:
                self._answer(self._async.alterTable(table, options))
            except self._kudu.client.KuduException as err:
                if part not in self.ranges(table):
                    return False
                raise err
        return True

    def scan(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        since: tuple[str, datetime] | None = None,
    ) -> pa.Table:
        handle, schema = self._open(table)
        chosen = [
            schema.column(name) for name in (columns if columns is not None else [c.name for c in schema.columns])
        ]
        cells: list[list[Any]] = [[] for _ in chosen]
        with self._errors(table):
            for row in self._rows(self._scanner(handle, [c.name for c in chosen], since), limit):
                for number, column in enumerate(chosen):
                    cells[number].append(None if row.isNull(number) else _value(row, number, column))
        arrays = [pa.array(values, type=c.arrow_type) for values, c in zip(cells, chosen, strict=True)]
        return pa.Table.from_arrays(arrays, names=[c.name for c in chosen])

    def count(self, table: str, part: Range | None = None) -> int:
        handle, schema = self._open(table)
        total = 0
        with self._errors(table):
            builder = self._client.newScanTokenBuilder(handle)
            for token in builder.setProjectedColumnNames(_java_list(schema.key[:1])).build():  # one for each tablet
                if part is None or _range(token.getTablet().getPartition(), handle, schema) == part:
                    scanner = token.intoScanner(self._client)
                    while scanner.hasMoreRows():
                        total += int(scanner.nextRows().getNumRows())
        return total

    def statistics(self, table: str) -> dict[str, Any]:
        with self._errors(table):
            found = self._client.getTableStatistics(table)
            return {"rows": int(found.getLiveRowCount()), "bytes": int(found.getOnDiskSize())}

    def close(self) -> None:
        self._closed = True
        if self._login is not None:
            self._login.close()
        with contextlib.suppress(
            Exception
        ):  # nothing is under way any more, and a cluster that is gone may not delay us
            self._client.shutdown()

    # --- inside ---

    def _connect(self) -> Any:
        settings = self.settings
        builder = self._kudu.client.AsyncKuduClient.AsyncKuduClientBuilder(_java_list(settings.addresses))
        builder.defaultOperationTimeoutMs(round(settings.operation_timeout_s * 1000))
        builder.defaultAdminOperationTimeoutMs(round(settings.admin_timeout_s * 1000))
        builder.saslProtocolName(settings.sasl_protocol_name)
        builder.requireAuthentication(settings.require_authentication)
        builder.encryptionPolicy(
            getattr(self._kudu.client.AsyncKuduClient.EncryptionPolicy, settings.encryption.upper())
        )
        if settings.workers:
            builder.workerCount(settings.workers)
        client = builder.build() if self._login is None else self._login.build(builder)
        if settings.certificates:
            self._trust(client, read_certificates(settings.certificates))
        if settings.jwt:
            client.jwt(settings.jwt)
        return client

    def _trust(self, client: Any, certificates: Sequence[bytes]) -> None:
        import jpype

        of = jpype.JClass("org.apache.kudu.shaded.com.google.protobuf.ByteString").copyFrom
        try:
            client.trustedCertificates(_java_list([of(self._bytes(certificate)) for certificate in certificates]))
        except jpype.JClass("java.security.cert.CertificateException") as err:
            path = self.settings.certificates
            client.shutdown()
            raise ConfigurationError("Trusted Certificates", f"{path} holds a damaged certificate: {err}") from err

    @contextlib.contextmanager
    def _errors(self, table: str = "") -> Iterator[None]:
        if self._closed:
            raise KuduUnavailable("the connection to Kudu is closed")  # the client would wait for ever
        try:
            with _java_errors(table):
                yield
        except (KuduNotAuthorized, KuduRefused, KuduUnavailable) as err:
            fate = self._fate(err)
            if fate is err or isinstance(err.__cause__, WarehouseError):  # the latter: said by a call within this one
                raise
            raise fate from err

    def _fate(self, error: WarehouseError) -> WarehouseError:
        """What the client does not know of a refusal: whether it may pass, and which settings are behind it."""
        if self._closed and type(error) is KuduRefused:
            return KuduUnavailable(f"the connection to Kudu was closed: {error}")  # nothing is known about the rows
        if type(error) not in (KuduNotAuthorized, KuduUnavailable):
            return error
        problem = self._login.problem if self._login is not None else ""
        if problem:
            return KuduUnavailable(f"no Kerberos ticket: {problem} ({error})")  # it comes once the KDC answers again
        if isinstance(error, KuduNotAuthorized):
            return error
        hints = []
        # A master hangs up on what it does not believe, and so does the client; neither says why.
        if any(sign in str(error) for sign in ("NETWORK_ERROR", "ConnectToMaster", "Server requires Kerberos")):
            if self._login is not None:
                hints.append("Kudu SASL Protocol Name, and whether the KDC answers")
            if self.settings.jwt:
                hints.append("JSON Web Token and Trusted Certificates")
        return KuduUnavailable(f"{error}; where the masters are up, look at {', '.join(hints)}") if hints else error

    def _open(self, table: str, refresh: bool = False) -> tuple[Any, TableSchema]:
        opened = None if refresh else self._opened.get(table)
        if opened is None:
            with self._errors(table):
                handle = self._answer(self._async.openTable(table))
                opened = handle, _table_schema(handle)
            with self._lock:
                self._opened[table] = opened
        return opened

    def _answer(self, deferred: Any) -> Any:
        """Of a call to the master. A client that is closed meanwhile never gives it; its own calls would wait for ever."""
        return deferred.join(_long(round(self.settings.admin_timeout_s * 1000) + _GRACE_MS))

    def _alter(self, table: str, options: Any) -> bool:
        """False where what is to be added is there already."""
        try:
            self._answer(self._async.alterTable(table, options))
        except self._kudu.client.KuduException as err:
            if not err.getStatus().isAlreadyPresent():
                raise
            return False
        return True

    def _scanner(self, handle: Any, columns: Sequence[str], since: tuple[str, datetime] | None = None) -> Any:
        builder = self._client.newScannerBuilder(handle).setProjectedColumnNames(_java_list(columns))
        if since is not None:
            predicate = self._kudu.client.KuduPredicate
            column, micros = handle.getSchema().getColumn(since[0]), (since[1] - _EPOCH) // timedelta(microseconds=1)
            at_least = predicate.ComparisonOp.GREATER_EQUAL
            builder.addPredicate(predicate.newComparisonPredicate(column, at_least, _long(micros)))
        return builder.build()

    def _rows(self, scanner: Any, limit: int | None) -> Iterator[Any]:
        left = limit
        while scanner.hasMoreRows() and left != 0:
            for row in scanner.nextRows():
                yield row
                if left is not None:
                    left -= 1
                    if left == 0:
                        break
        scanner.close()

    def _java_column(self, column: KuduColumn) -> Any:
        schema = self._kudu.ColumnSchema
        builder = schema.ColumnSchemaBuilder(column.name, getattr(self._kudu.Type, column.type.name))
        builder.key(column.key).nullable(column.nullable).comment(column.comment)
        if column.immutable:
            builder.immutable(True)
        if column.type is KuduType.DECIMAL:
            attributes = self._kudu.util.DecimalUtil.typeAttributes(column.precision, column.scale or 0)
            builder.typeAttributes(attributes)
        elif column.type is KuduType.VARCHAR:
            builder.typeAttributes(self._kudu.util.CharUtil.typeAttributes(column.length))
        if column.encoding is not None:
            builder.encoding(getattr(schema.Encoding, _ENCODINGS[column.encoding]))
        if column.compression is not None:
            builder.compressionAlgorithm(getattr(schema.CompressionAlgorithm, _COMPRESSIONS[column.compression]))
        if column.default is not None:
            builder.defaultValue(_java_value(column.default, column))
        return builder.build()

    def _bound(self, java_schema: Any, schema: TableSchema, values: tuple[Any, ...] | None) -> Any:
        row = java_schema.newPartialRow()
        for name, value in zip(schema.range_columns, values or (), strict=False):
            row.addObject(name, _java_value(value, schema.column(name)))
        return row


def keys_are_distinct(batches: Sequence[RowBatch], key: Sequence[str]) -> bool:
    """Whether no two rows share a key, so that the order in which their batches arrive does not matter."""
    arrays: dict[str, list[pa.Array]] = {name: [] for name in key}
    for batch in batches:
        for column in batch.columns:
            if column.name in arrays:
                arrays[column.name].append(column.values)
    rows = sum(len(batch) for batch in batches)
    columns = [pa.chunked_array(parts) for parts in arrays.values() if parts]
    if len(columns) != len(key):
        return False
    if any(pc.count_distinct(column, mode="all").as_py() == rows for column in columns):
        return True
    table = pa.Table.from_arrays(columns, names=list(key))
    return int(table.group_by(list(key)).aggregate([]).num_rows) == rows


def pack(columns: Sequence[ColumnValues], start: int, stop: int) -> tuple[list[int], bytes]:
    """Rows `start` to `stop` as `RowWriter.add` takes them: (layout, cells).

    Six numbers a column: the first row's bit in bitmaps, then where given, validity, offsets and data begin (-1: absent),
    then what the first offset counts from.
    """
    layout: list[int] = []
    parts: list[Any] = []
    position = 0

    def put(part: Any, size: int) -> int:
        nonlocal position
        at = position
        parts.append(part)
        padding = -size % 8  # numbers are read where they lie
        if padding:
            parts.append(bytes(padding))
        position += size + padding
        return at

    for column in columns:
        values = column.values
        offset = values.offset + start
        buffers = values.buffers()
        given = -1 if column.given is None else put(column.given[start:stop].tobytes(), stop - start)
        first_byte, bit = divmod(offset, 8)
        last_byte = (offset + stop - start + 7) // 8
        validity = offsets = -1
        base = 0
        if buffers[0] is not None and values.null_count:
            validity = put(buffers[0][first_byte:last_byte], last_byte - first_byte)
        if len(buffers) == 3:
            ends = np.frombuffer(buffers[1], dtype=np.int32, count=stop - start + 1, offset=4 * offset)
            base, end = int(ends[0]), int(ends[-1])
            offsets = put(ends.tobytes(), ends.nbytes)
            data = put(b"" if buffers[2] is None else buffers[2][base:end], end - base)
        elif pa.types.is_boolean(values.type):
            data = put(buffers[1][first_byte:last_byte], last_byte - first_byte)
        else:
            width = values.type.bit_width // 8
            data = put(buffers[1][width * offset : width * (offset + stop - start)], width * (stop - start))
        layout += (bit, given, validity, offsets, data, base)
    return layout, b"".join(parts)


@contextlib.contextmanager
def _java_errors(table: str = "") -> Iterator[None]:
    """Java's exceptions as errors of ours; the class says little (a plain time-out is "non-recoverable"), the status all."""
    try:
        yield
    except WarehouseError:
        raise
    except Exception as err:
        status = getattr(err, "getStatus", None)
        where = f"table {table}: " if table else ""
        if status is not None:
            text = str(status().toString())
            found = _refusal(text) or error_from_status(text)
            raise type(found)(f"{where}{found}") from err
        if "java.lang.IllegalArgumentException" in str(type(err)) or "java.lang.IllegalStateException" in str(
            type(err)
        ):
            raise KuduRefused(f"{where}{err}") from err
        if hasattr(err, "getMessage"):
            raise KuduUnavailable(f"{where}{err}") from err
        raise


def _long(value: int) -> Any:
    import jpype

    return jpype.JLong(value)


def _refusal(status: str) -> WarehouseError | None:
    if "find a valid master" in status:
        for pattern, setting in _REFUSALS:
            found = re.search(pattern, status)
            if found is not None:
                return KuduNotAuthorized(f"{setting}: {found[0].rstrip(']')}")
    return None


def _java_list(values: Sequence[Any]) -> Any:
    import jpype

    found = jpype.JClass("java.util.ArrayList")()
    for value in values:
        found.add(value)
    return found


def _table_schema(handle: Any) -> TableSchema:
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
    found = next((ours for ours, theirs in names.items() if theirs == text), None)
    return None if found in ("auto", "default") else found  # what a declaration leaves out


def _range(partition: Any, handle: Any, schema: TableSchema) -> Range:
    lower = partition.getDecodedRangeKeyStart(handle) if len(partition.getRangeKeyStart()) else None
    upper = partition.getDecodedRangeKeyEnd(handle) if len(partition.getRangeKeyEnd()) else None
    return Range(*(None if row is None else _bound_values(row, schema) for row in (lower, upper)))


def _bound_values(row: Any, schema: TableSchema) -> tuple[Any, ...]:
    return tuple(_python_value(row.getObject(name), schema.column(name)) for name in schema.range_columns)


def _value(row: Any, number: int, column: KuduColumn) -> Any:
    if column.type is KuduType.DATE:
        return _python_value(row.getInt(number), column)  # java.sql.Date has no 10 October 1582
    return _python_value(row.getObject(number), column)


def _python_value(value: Any, column: KuduColumn) -> Any:
    """A Java object as the Python value of its column."""
    if column.type is KuduType.UNIXTIME_MICROS:
        if hasattr(value, "getNanos"):
            return _EPOCH + timedelta(seconds=int(value.getTime()) // 1000, microseconds=int(value.getNanos()) // 1000)
        return _EPOCH + timedelta(microseconds=int(value))
    if column.type is KuduType.DATE:
        return (
            date.fromisoformat(str(value.toString()))
            if hasattr(value, "toLocalDate")
            else _EPOCH.date() + timedelta(days=int(value))
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


def _java_value(value: Any, column: KuduColumn) -> Any:
    """A Python value as the Java object that `addObject` and `defaultValue` take."""
    import jpype

    java = jpype.java
    kind = column.type
    if kind is KuduType.UNIXTIME_MICROS:
        micros = (value - _EPOCH) // timedelta(microseconds=1)
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
