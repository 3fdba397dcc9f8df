"""The second backend: kudu-python, a compiled extension over Kudu's C++ client.

It needs no Java, but a build of kudu-python for this machine, and it never releases Python's lock: while it waits for a
server, for up to `operation_timeout_s`, no other thread of this process runs. The default backend has neither limit.

AUTO_FLUSH_BACKGROUND is MANUAL_FLUSH here: with the lock held, nothing could be filled while a batch travels.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from decimal import localcontext
from typing import Any

import pyarrow as pa

from imagewarehouse.errors import ConfigurationError, KuduRefused, KuduUnavailable, WarehouseError
from imagewarehouse.kudu.batch import RowBatch
from imagewarehouse.kudu.clients.interface import KuduSettings, RowFailure
from imagewarehouse.kudu.clients.native_tokens import (
    OpenedTable,
    bound_values,
    first_token,
    opened_table,
    range_keys,
    table_schema,
    unreadable,
)
from imagewarehouse.kudu.clients.native_values import EVERY_DIGIT, describe_column, kudu_bound
from imagewarehouse.kudu.clients.native_writing import Writing, status_text
from imagewarehouse.kudu.clients.security import read_certificates
from imagewarehouse.kudu.clients.status import error_from_status
from imagewarehouse.kudu.schema import KuduColumn, Range, TableSchema


class NativeKuduWriter:
    """A `KuduWriter` over kudu-python."""

    def __init__(self, settings: KuduSettings) -> None:
        try:
            self._kudu = importlib.import_module("kudu")  # after pyarrow, which brings libraries of the same names
        except ImportError as err:
            reason = "" if isinstance(err, ModuleNotFoundError) and err.name == "kudu" else f" ({err})"
            raise ConfigurationError("Kudu Client", f"kudu-python is not installed{reason}; choose java") from err
        _refuse_settings(settings)
        self.settings = settings
        self._lock = threading.Lock()
        self._connected: Any = None
        self._closed = False
        self._opened: dict[str, OpenedTable] = {}

    # --- rows ---

    def write(self, table: str, batches: Sequence[RowBatch]) -> list[RowFailure]:
        opened = self._open(table)
        with self._errors(table):
            session = self._client().new_session("manual", round(self.settings.operation_timeout_s * 1000))
            schema = functools.partial(self._schema, table, opened)
            writing = Writing(session, self._kudu.KuduException, self.settings, opened, schema)
            for number, batch in enumerate(batches):
                writing.add(number, batch)
            return writing.finish()

    # --- tables ---

    def schema(self, table: str, *, refresh: bool = False) -> TableSchema:
        return self._schema(table, self._open(table, refresh))

    def tables(self) -> list[str]:
        with self._errors():
            return sorted(self._client().list_tables())

    def create(self, schema: TableSchema) -> bool:
        layout = importlib.import_module("kudu.client").Partitioning()
        for level in schema.hashes:
            layout.add_hash_partitions(list(level.columns), level.buckets)
        layout.set_range_partition_columns(list(schema.range_columns))
        with self._errors(schema.name), localcontext(EVERY_DIGIT):
            for part in schema.ranges:
                layout.add_range_partition(*(kudu_bound(schema, bound) for bound in (part.lower, part.upper)))
            builder = self._kudu.schema_builder()
            for column in schema.columns:
                describe_column(builder.add_column(column.name, column.type.value, nullable=column.nullable), column)
            builder.set_primary_keys(list(schema.key))
            built = builder.build()
            try:
                self._client().create_table(
                    schema.name, built, layout, n_replicas=schema.replicas, comment=schema.comment or None
                )
            except self._kudu.KuduException as err:
                if not status_text(err).startswith("Already present"):
                    raise
                return False
        return True

    def drop(self, table: str) -> None:
        with self._errors(table):
            self._client().delete_table(table)
        with self._lock:
            self._opened.pop(table, None)

    def add_columns(self, table: str, columns: Sequence[KuduColumn]) -> None:
        for column in columns:  # one by one: another node may have added some of them
            with self._errors(table), localcontext(EVERY_DIGIT):
                alterer = self._alterer(table)
                describe_column(alterer.add_column(column.name, column.type.value, nullable=column.nullable), column)
                self._alter(alterer)

    def ranges(self, table: str) -> list[Range]:
        with self._errors(table):
            opened = self._read_table(table)  # the handle that is open keeps to the ranges that it saw first
            return self._ranges(table, opened)

    def add_range(self, table: str, part: Range) -> bool:
        schema = self._schema(table, self._open(table))
        with self._errors(table), localcontext(EVERY_DIGIT):
            alterer = self._alterer(table)
            alterer.add_range_partition(*(kudu_bound(schema, bound) for bound in (part.lower, part.upper)))
            if self._alter(alterer):
                return True
        if part in self.ranges(table):
            return False
        raise KuduRefused(f"table {table}: the range overlaps another one")

    def drop_range(self, table: str, part: Range) -> bool:
        schema = self._schema(table, self._open(table))
        with self._errors(table), localcontext(EVERY_DIGIT):
            alterer = self._alterer(table)
            alterer.drop_range_partition(*(kudu_bound(schema, bound) for bound in (part.lower, part.upper)))
            try:
                alterer.alter()
            except self._kudu.KuduException:
                if part not in self.ranges(table):
                    return False
                raise
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
        opened = self._open(table)
        by_name = {column.name: column for column in opened.columns}
        chosen = [by_name[name] for name in (columns if columns is not None else by_name)]
        rows: list[tuple[Any, ...]] = []
        with self._errors(table), localcontext(EVERY_DIGIT):
            if limit != 0 and (one_of is None or one_of[1]):  # the client takes 0 for no limit
                scanner = self._scanner(opened, [column.name for column in chosen])
                if limit is not None:
                    scanner.set_limit(limit)
                for bound in filter(None, (since, until)):
                    if bound[0] not in by_name:
                        raise KuduRefused(f"table {table}: has no column {bound[0]}")
                if since is not None:
                    scanner.add_predicate(opened.handle[since[0]] >= since[1])
                if until is not None:
                    scanner.add_predicate(opened.handle[until[0]] < until[1])
                for name, text in (equal or {}).items():
                    scanner.add_predicate(opened.handle[name] == text)
                if one_of is not None:
                    scanner.add_predicate(opened.handle[one_of[0]].in_list(list(one_of[1])))
                scanner.open()
                while scanner.has_more_rows():
                    rows += scanner.next_batch().as_tuples()
            cells = list(zip(*rows, strict=True)) or [()] * len(chosen)
            arrays = [pa.array(values, type=column.arrow_type) for values, column in zip(cells, chosen, strict=True)]
        return pa.Table.from_arrays(arrays, names=[column.name for column in chosen])

    def count(self, table: str, part: Range | None = None) -> int:
        opened = self._open(table)
        key = opened.columns[0].name
        total = 0
        with self._errors(table):
            if part is None:
                scanners = [self._scanner(opened, [key])]
            else:
                scanners = [token.into_kudu_scanner() for token, its in self._tokens(table) if its == part]
            for scanner in scanners:
                scanner.open()
                while scanner.has_more_rows():
                    total += len(scanner.next_batch())
        return total

    def ranges_with_rows(self, table: str, parts: Sequence[Range]) -> set[Range]:
        wanted = set(parts)
        non_empty: set[Range] = set()
        if not wanted:
            return non_empty
        with self._errors(table):
            for token, part in self._tokens(table):
                if part in wanted and part not in non_empty and _has_row(token.into_kudu_scanner()):
                    non_empty.add(part)
        return non_empty

    def clock(self) -> datetime | None:
        with self._errors():
            observed = self._client().latest_observed_timestamp().replace(tzinfo=timezone.utc)
        return observed if observed.year > 1970 else None  # 0 where no server has answered yet

    def statistics(self, table: str) -> dict[str, Any]:
        """Unknown (-1): kudu-python has no call for it."""
        with self._errors(table):
            self._client().table(table)  # raises where the table is missing
        return {"rows": -1, "bytes": -1}

    def close(self) -> None:
        """Let go of the client; nothing is sent, and a cluster that is gone does not delay it."""
        with self._lock:
            self._closed = True
            self._opened.clear()
            self._connected = None

    # --- inside ---

    def _client(self) -> Any:
        """The connection, made at first use as the default backend does."""
        with self._lock:
            if self._closed:
                raise KuduUnavailable("the connection to Kudu is closed")
            if self._connected is None:
                settings = self.settings
                self._connected = self._kudu.Client(
                    list(settings.addresses),
                    admin_timeout_ms=round(settings.admin_timeout_s * 1000),
                    sasl_protocol_name=settings.sasl_protocol_name.encode(),  # not taken as text
                    require_authentication=settings.require_authentication,
                    encryption_policy=getattr(self._kudu, f"ENCRYPTION_{settings.encryption.upper()}"),
                    jwt=settings.jwt or None,
                    trusted_certificates=_certificates(settings.certificates) or None,
                )
            return self._connected

    @contextlib.contextmanager
    def _errors(self, table: str = "") -> Iterator[None]:
        """Translates kudu-python's exceptions, and Python's own that it raises for values it cannot convert."""
        where = f"table {table}: " if table else ""
        try:
            yield
        except WarehouseError:
            raise
        except self._kudu.KuduException as err:
            error = error_from_status(status_text(err))
            raise type(error)(f"{where}{error}") from err
        except (ValueError, TypeError, OverflowError, ArithmeticError) as err:
            raise KuduRefused(f"{where}kudu-python cannot take or give a value: {err}") from err

    def _read_table(self, table: str) -> OpenedTable:
        handle = self._client().table(table)
        return opened_table(handle, self._kudu.Schema.get_auto_incrementing_column_name())

    def _open(self, table: str, refresh: bool = False) -> OpenedTable:
        opened = None if refresh else self._opened.get(table)
        if opened is None:
            with self._errors(table):
                opened = self._read_table(table)
            with self._lock:
                self._opened[table] = opened
        return opened

    def _schema(self, table: str, opened: OpenedTable) -> TableSchema:
        if opened.schema is None:
            with self._errors(table), unreadable(table):
                opened.schema = table_schema(opened, first_token(table, opened.handle))
        return opened.schema

    def _ranges(self, table: str, opened: OpenedTable) -> list[Range]:
        schema = self._schema(table, opened)
        if not schema.range_columns:
            return []
        columns = [schema.column(name) for name in schema.range_columns]
        range_bounds = set()
        with unreadable(table):
            for token in opened.handle.scan_token_builder().build():
                range_bounds.add(range_keys(token))
            return [Range(*(bound_values(key, columns) for key in keys)) for keys in sorted(range_bounds)]

    def _tokens(self, table: str) -> list[tuple[Any, Range]]:
        """A scan token for each tablet as it is now, with the range partition of the tablet. They give the first key."""
        opened = self._read_table(table)  # the handle that is open keeps to the ranges that it saw first
        schema = self._schema(table, opened)
        columns = [schema.column(name) for name in schema.range_columns]
        builder = opened.handle.scan_token_builder()
        builder.set_projected_column_names([opened.columns[0].name])
        builder.set_selection("leader")  # the other replicas may lag behind what was just written
        with unreadable(table):
            keys = [(token, range_keys(token)) for token in builder.build()]
            return [(token, Range(*(bound_values(end, columns) for end in ends))) for token, ends in keys]

    def _alterer(self, table: str) -> Any:
        client = self._client()
        return client.new_table_alterer(client.table(table))

    def _alter(self, alterer: Any) -> bool:
        """False where what is to be added is there already."""
        try:
            alterer.alter()
        except self._kudu.KuduException as err:
            if not status_text(err).startswith("Already present"):
                raise
            return False
        return True

    def _scanner(self, opened: OpenedTable, columns: Sequence[str]) -> Any:
        scanner = opened.handle.scanner()
        scanner.set_selection("leader")  # the other replicas may lag behind what was just written
        scanner.set_projected_column_names(list(columns))
        return scanner


def _has_row(scanner: Any) -> bool:
    scanner.set_limit(1)
    scanner.open()
    while scanner.has_more_rows():
        if len(scanner.next_batch()):
            return True
    return False


def _refuse_settings(settings: KuduSettings) -> None:
    """Raises ConfigurationError for settings that kudu-python does not support."""
    if settings.keytab:
        raise ConfigurationError(
            "Kerberos Keytab", "kudu-python only takes tickets that are there; run kinit, or choose java"
        )
    if settings.ticket_cache:
        raise ConfigurationError(
            "Kerberos Ticket Cache", "kudu-python reads the environment's KRB5CCNAME; set that instead"
        )
    if settings.workers:
        raise ConfigurationError(
            "Client Worker Count", "kudu-python has no such setting; leave it at 0, or choose java"
        )
    _certificates(settings.certificates)


def _certificates(path: str) -> list[str]:
    return [ssl.DER_cert_to_PEM_cert(certificate) for certificate in read_certificates(path)] if path else []
