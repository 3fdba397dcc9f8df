"""The default backend: Kudu's Java client inside this Python process.

It installs wherever NiFi runs, and its calls release Python's lock while they wait. Rows cross to Java and back as whole
batches in Arrow's memory layout; our classes `RowWriter` and `RowReader` fill the client's rows from them and empty them.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from imagewarehouse.errors import (
    ConfigurationError,
    KuduNotAuthorized,
    KuduRefused,
    KuduUnavailable,
    SchemaChanged,
    WarehouseError,
)
from imagewarehouse.kudu.batch import RowBatch, mismatch
from imagewarehouse.kudu.clients import jvm
from imagewarehouse.kudu.clients.interface import BACKGROUND, SYNC, KuduSettings, RowFailure
from imagewarehouse.kudu.clients.java_values import (
    EPOCH,
    java_bound,
    java_column,
    java_list,
    java_long,
    range_of,
    table_schema,
)
from imagewarehouse.kudu.clients.layout import keys_are_distinct, pack, row_bytes, unpack
from imagewarehouse.kudu.clients.security import KerberosLogin, check_token, read_certificates
from imagewarehouse.kudu.clients.status import ALTERED, FINAL, error_from_status
from imagewarehouse.kudu.schema import KuduColumn, Range, TableSchema

# A class that two threads name for the first time at once is half there for one of them, so each is named beforehand.
_CLASSES = ("ColumnSchema", "ColumnSchema$ColumnSchemaBuilder", "ColumnSchema$Encoding", "ColumnSchema$CompressionAlgorithm",
            "ColumnTypeAttributes", "Schema", "Type", "util.CharUtil", "util.DecimalUtil", "client.AlterTableOptions",
            "client.AsyncKuduClient", "client.AsyncKuduClient$AsyncKuduClientBuilder", "client.CreateTableOptions",
            "client.KuduClient", "client.KuduException", "client.KuduTable", "client.NonRecoverableException",
            "client.PartialRow", "client.PartitionSchema", "client.Status")  # fmt: skip
_loading = threading.Lock()
_GRACE_MS = 2000  # the client times out by itself; this only catches what it forgets
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
        self._java = jpype.JPackage("java")
        self._kudu = jpype.JPackage("org").apache.kudu
        self._row_writer = jpype.JClass("imagewarehouse.kudu.RowWriter")
        self._row_reader = jpype.JClass("imagewarehouse.kudu.RowReader")
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
        fitting, reason = list(batches), ""
        for number, batch in enumerate(batches):
            reason = mismatch(batch, schema.columns)
            if reason:  # Java would read the cells as what they are not; what comes after them must not overtake them
                fitting = fitting[:number]
                break
        failures = [
            RowFailure(number, row, SchemaChanged(reason))
            for number in range(len(fitting), len(batches))
            for row in range(len(batches[number]))
        ]
        batches = fitting
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
            failures.append(RowFailure(at, number - int(starts[at]), self._final_error(error_from_status(reason))))
        return failures

    def _add(self, writer: Any, batch: RowBatch, index: dict[str, int]) -> None:
        """Hand the rows over in portions that fit the JVM's heap."""
        ends = np.cumsum(row_bytes(batch.columns, len(batch)))
        columns = self._ints([index[column.name] for column in batch.columns])
        start = 0
        while start < len(batch):
            before = int(ends[start - 1]) if start else 0
            fitting = int(np.searchsorted(ends, before + self.settings.batch_bytes, side="right"))
            stop = max(start + 1, min(fitting, start + self.settings.batch_rows))
            layout, cells = pack(batch.columns, start, stop)
            operations = batch.operations[start:stop].astype(np.int8).tobytes()
            writer.add(self._bytes(operations), columns, self._ints(layout), self._bytes(cells))
            start = stop

    # --- tables ---

    def schema(self, table: str, *, refresh: bool = False) -> TableSchema:
        return self._open(table, refresh)[1]

    def tables(self) -> list[str]:
        with self._errors():
            return sorted(str(name) for name in self._client.getTablesList().getTablesList())

    def create(self, schema: TableSchema) -> bool:
        options = self._kudu.client.CreateTableOptions()
        for level in schema.hashes:
            options.addHashPartitions(java_list(level.columns), level.buckets)
        options.setRangePartitionColumns(java_list(schema.range_columns))
        if schema.replicas is not None:
            options.setNumReplicas(schema.replicas)
        if schema.comment:
            options.setComment(schema.comment)
        with self._errors(schema.name):
            java_schema = self._kudu.Schema(java_list([java_column(c) for c in schema.columns]))
            for part in schema.ranges:
                options.addRangePartition(*(java_bound(java_schema, schema, b) for b in (part.lower, part.upper)))
            try:
                self._wait_for(self._async.createTable(schema.name, java_schema, options))
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
                options.addColumn(java_column(column))
                if not self._alter(table, options):
                    # Whoever adds it may still be at it, and the table be opened without it.
                    self._client.isAlterTableDone(table)

    def ranges(self, table: str) -> list[Range]:
        handle, schema = self._open(table)
        if not schema.range_columns:
            return []
        with self._errors(table):
            parts = handle.getRangePartitions(round(self.settings.admin_timeout_s * 1000))
            return [range_of(part, handle, schema) for part in parts]

    def add_range(self, table: str, part: Range) -> bool:
        handle, schema = self._open(table)
        options = self._kudu.client.AlterTableOptions()
        with self._errors(table):
            options.addRangePartition(*(java_bound(handle.getSchema(), schema, b) for b in (part.lower, part.upper)))
            if self._alter(table, options):
                return True
        if part in self.ranges(table):
            return False
        raise KuduRefused(f"table {table}: the range overlaps another one")

    def drop_range(self, table: str, part: Range) -> bool:
        handle, schema = self._open(table)
        options = self._kudu.client.AlterTableOptions()
        with self._errors(table):
            options.dropRangePartition(*(java_bound(handle.getSchema(), schema, b) for b in (part.lower, part.upper)))
            try:
                self._wait_for(self._async.alterTable(table, options))
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
        equal: Mapping[str, str] | None = None,
        one_of: tuple[str, Sequence[str]] | None = None,
        until: tuple[str, datetime] | None = None,
    ) -> pa.Table:
        handle, schema = self._open(table)
        chosen = [
            schema.column(name) for name in (columns if columns is not None else [c.name for c in schema.columns])
        ]
        result = pa.schema([(column.name, column.arrow_type) for column in chosen])
        batches = []
        with self._errors(table):
            scanner = self._scanner(handle, result.names, since, equal, one_of, until, limit)
            reader = self._row_reader(scanner, -1 if limit is None else limit)
            while True:
                parts = reader.next()
                rows = int(reader.rows())
                if not rows:
                    break
                batches.append(pa.RecordBatch.from_arrays(unpack(parts, rows, result.types), schema=result))
        return pa.Table.from_batches(batches, result)

    def count(self, table: str, part: Range | None = None) -> int:
        handle, schema = self._open(table)
        total = 0
        with self._errors(table):
            builder = self._client.newScanTokenBuilder(handle)
            for token in builder.setProjectedColumnNames(java_list(schema.key[:1])).build():  # one for each tablet
                if part is None or range_of(token.getTablet().getPartition(), handle, schema) == part:
                    scanner = token.intoScanner(self._client)
                    while scanner.hasMoreRows():
                        total += int(scanner.nextRows().getNumRows())
        return total

    def ranges_with_rows(self, table: str, parts: Sequence[Range]) -> set[Range]:
        handle, schema = self._open(table, refresh=True)  # what is open remembers for minutes which ranges were missing
        wanted = set(parts)
        non_empty: set[Range] = set()
        if not wanted:
            return non_empty
        with self._errors(table):
            builder = self._client.newScanTokenBuilder(handle).setProjectedColumnNames(java_list(schema.key[:1]))
            for token in builder.limit(1).build():  # one for each tablet, and the limit is for each of them
                part = range_of(token.getTablet().getPartition(), handle, schema)
                if part in wanted and part not in non_empty and self._has_row(token):
                    non_empty.add(part)
        return non_empty

    def clock(self) -> datetime | None:
        stamp = int(self._async.getLastPropagatedTimestamp())  # microseconds, and 12 bits that count within one
        return None if stamp < 0 else EPOCH + timedelta(microseconds=stamp >> 12)

    def statistics(self, table: str) -> dict[str, Any]:
        with self._errors(table):
            numbers = self._client.getTableStatistics(table)
            return {"rows": int(numbers.getLiveRowCount()), "bytes": int(numbers.getOnDiskSize())}

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
        builder = self._kudu.client.AsyncKuduClient.AsyncKuduClientBuilder(java_list(settings.addresses))
        builder.defaultOperationTimeoutMs(round(settings.operation_timeout_s * 1000))
        builder.defaultAdminOperationTimeoutMs(round(settings.admin_timeout_s * 1000))
        builder.saslProtocolName(settings.sasl_protocol_name)
        builder.requireAuthentication(settings.require_authentication)
        builder.encryptionPolicy(
            getattr(self._kudu.client.AsyncKuduClient.EncryptionPolicy, settings.encryption.upper())
        )
        if settings.workers:
            builder.workerCount(settings.workers)
        # Its own pool keeps the threads of a closed client for a minute: three for each restart of a processor.
        concurrent = self._java.util.concurrent
        builder.nioExecutor(
            concurrent.ThreadPoolExecutor(0, 1000, 1, concurrent.TimeUnit.SECONDS, concurrent.SynchronousQueue())
        )
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
            client.trustedCertificates(java_list([of(self._bytes(certificate)) for certificate in certificates]))
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
            final = self._final_error(err)
            if final is err or isinstance(err.__cause__, WarehouseError):  # the latter: said by a call within this one
                raise
            raise final from err

    def _final_error(self, error: WarehouseError) -> WarehouseError:
        """The error with what the client does not know: whether a retry may succeed, and which settings cause it."""
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
                handle = self._wait_for(self._async.openTable(table))
                opened = handle, table_schema(handle)
            with self._lock:
                self._opened[table] = opened
        return opened

    def _wait_for(self, deferred: Any) -> Any:
        """The result of a call to the master. The time-out is ours: a client that is closed meanwhile never answers."""
        return deferred.join(java_long(round(self.settings.admin_timeout_s * 1000) + _GRACE_MS))

    def _alter(self, table: str, options: Any) -> bool:
        """False where what is to be added is there already."""
        try:
            self._wait_for(self._async.alterTable(table, options))
        except self._kudu.client.KuduException as err:
            if not err.getStatus().isAlreadyPresent():
                raise
            return False
        return True

    def _scanner(
        self,
        handle: Any,
        columns: Sequence[str],
        since: tuple[str, datetime] | None = None,
        equal: Mapping[str, str] | None = None,
        one_of: tuple[str, Sequence[str]] | None = None,
        until: tuple[str, datetime] | None = None,
        limit: int | None = None,
    ) -> Any:
        builder = self._client.newScannerBuilder(handle).setProjectedColumnNames(java_list(columns))
        if limit:  # none at all is not Kudu's to know
            builder.limit(limit)
        predicate = self._kudu.client.KuduPredicate
        for bound, comparison in (
            (since, predicate.ComparisonOp.GREATER_EQUAL),
            (until, predicate.ComparisonOp.LESS),
        ):
            if bound is not None:
                column, micros = handle.getSchema().getColumn(bound[0]), (bound[1] - EPOCH) // timedelta(microseconds=1)
                builder.addPredicate(predicate.newComparisonPredicate(column, comparison, java_long(micros)))
        for name, text in (equal or {}).items():
            column = handle.getSchema().getColumn(name)
            builder.addPredicate(predicate.newComparisonPredicate(column, predicate.ComparisonOp.EQUAL, text))
        if one_of is not None:
            column = handle.getSchema().getColumn(one_of[0])
            builder.addPredicate(predicate.newInListPredicate(column, java_list(one_of[1])))
        return builder.build()

    def _has_row(self, token: Any) -> bool:
        scanner = token.intoScanner(self._client)
        try:
            while scanner.hasMoreRows():
                if scanner.nextRows().getNumRows():
                    return True
            return False
        finally:
            scanner.close()


@contextlib.contextmanager
def _java_errors(table: str = "") -> Iterator[None]:
    """Translates Java's exceptions by their status; their class is of little use (a plain time-out is "non-recoverable")."""
    try:
        yield
    except WarehouseError:
        raise
    except Exception as err:
        status = getattr(err, "getStatus", None)
        where = f"table {table}: " if table else ""
        if status is not None:
            text = str(status().toString())
            error = _refusal(text) or error_from_status(text)
            raise type(error)(f"{where}{error}") from err
        if "java.lang.IllegalArgumentException" in str(type(err)) or "java.lang.IllegalStateException" in str(
            type(err)
        ):
            raise KuduRefused(f"{where}{err}") from err
        if hasattr(err, "getMessage"):
            raise KuduUnavailable(f"{where}{err}") from err
        raise


def _refusal(status: str) -> WarehouseError | None:
    if "find a valid master" in status:
        for pattern, setting in _REFUSALS:
            match = re.search(pattern, status)
            if match is not None:
                return KuduNotAuthorized(f"{setting}: {match[0].rstrip(']')}")
    return None
