"""The properties of PutKuduRecord as values of the core."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from imagewarehouse.contents import read_records
from imagewarehouse.errors import ConfigurationError, WarehouseError
from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import JAVA, KuduSettings
from imagewarehouse.kudu.declaration import read_schema
from imagewarehouse.kudu.records.cells import Conversion
from imagewarehouse.kudu.records.convert import ADD, IGNORE, REFUSE
from imagewarehouse.kudu.records.mapping import RecordMapping, Rows, attributes_record, map_records
from imagewarehouse.kudu.schema import KuduType, TableSchema
from imagewarehouse.kudu.writing.delivery import Delivery, split_outcomes
from imagewarehouse.kudu.writing.sink import SinkSettings
from imagewarehouse.kudu.writing.tables import KuduTables, Put
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.nifi import adapter
from imagewarehouse.rows.kudu import KuduRows, image_events
from imagewarehouse.rows.kudu_locations import KuduLocations, image_locations, locations_table
from imagewarehouse.rows.locations import FirstPlaces, SqliteLocations, locations_of
from imagewarehouse.rows.store import GroupCommit, open_rows

IMAGE_RECORD, ATTRIBUTES, CONTENT = "image record", "attributes", "content"
_UNKNOWN = {"refuse": REFUSE, "ignore": IGNORE, "add columns": ADD}
_WHOLE = re.compile(r"-?\d{1,19}")
_ROWS_A_COMMIT = 50_000  # of all FlowFiles that share it


@dataclass(frozen=True, slots=True)
class Opened:
    """A scheduled processor: `images` for image records, with the `places` of those in packs; or `tables` with the commits to
    them for all others.
    """

    images: GroupCommit[ImageRecord, None] | None = None
    places: FirstPlaces | None = None
    tables: KuduTables | None = None
    puts: GroupCommit[Put, list[WarehouseError | None]] | None = None

    def close(self) -> None:
        for store in (self.places, self.images, self.puts):
            if store is not None:
                store.close()

    def deliver(self, context: Any, flow_file: Any) -> Delivery:
        """Write the rows of a FlowFile. Raises every error that is not of a row."""
        assert self.puts is not None  # only called where the source is not an image record
        assert self.tables is not None
        table = adapter.evaluated(context, flow_file, "Table Name")
        if not table:
            raise ConfigurationError("Table Name", "is empty for this FlowFile")
        if not table.isprintable():
            raise ConfigurationError("Table Name", f"is no name: {ascii(table)[:100]}")
        operation = _operation(adapter.evaluated(context, flow_file, "Operation"))
        mapping = _mapping(context, lambda name: adapter.evaluated(context, flow_file, name))
        if adapter.text(context, "Record Source") == ATTRIBUTES:
            return self._attributes(context, flow_file.getAttributes(), table, operation, mapping)
        conversion = _conversion(context)
        unknown = _unknown(adapter.evaluated(context, flow_file, "Unknown Fields", "refuse"))
        floats = (KuduType.FLOAT, KuduType.DOUBLE, KuduType.BOOL)  # all others keep every digit of a fraction
        exact = any(column.type not in floats for column in self.tables.schema(table).columns)
        records = read_records(
            adapter.read_content(flow_file), adapter.text(context, "Record Format", "auto"), exact=exact
        )
        rows = map_records(records, mapping, operation)
        outcomes = self.puts.write(Put(table, rows, unknown, conversion)) if len(rows) else []
        return split_outcomes(records, rows, outcomes)

    def _attributes(
        self, context: Any, attributes: Mapping[str, str], table: str, operation: Operation, mapping: RecordMapping
    ) -> Delivery:
        """Write the attributes as one row: an error of the row is an error of the FlowFile."""
        assert self.puts is not None
        assert self.tables is not None
        columns = {column.name: column.type for column in self.tables.schema(table).columns}
        record = attributes_record(attributes, columns.keys(), mapping)
        values = {
            name: value for name, text in record.items() if (value := _attribute_value(text, columns[name])) is not None
        }
        rows = Rows(range(1), np.full(1, operation, dtype=np.uint8), [values])
        (outcome,) = self.puts.write(Put(table, rows, IGNORE, _conversion(context)))
        if outcome is not None:
            raise outcome
        return Delivery(1)


def open_store(context: Any) -> Opened:
    """What the properties describe. Raises ConfigurationError, RowStoreUnavailable."""
    check(context)
    if not adapter.text(context, "Kudu Masters"):
        path = Path(adapter.text(context, "Local Database", "./image-warehouse/rows.duckdb"))
        return Opened(GroupCommit(open_rows(path)), FirstPlaces(lambda: SqliteLocations(locations_of(path))))
    cluster = kudu_settings(context)
    writer = connect(cluster)
    sink = SinkSettings(None, _retries(context), adapter.seconds(context, "Retry Back-off", 0.5))
    if adapter.text(context, "Record Source", IMAGE_RECORD) == IMAGE_RECORD:
        table = image_table(context)
        rows = KuduRows(writer, table, retries=sink.retries, backoff_s=sink.backoff_s)
        places = image_locations(locations_table(table.name))
        # Beside the start, so that a cluster that is away does not keep a node from starting.
        threading.Thread(target=_prepare, args=(rows, cluster.backend), name="kudu-prepare", daemon=True).start()
        return Opened(
            GroupCommit(rows),
            FirstPlaces(lambda: KuduLocations(writer, places, retries=sink.retries, backoff_s=sink.backoff_s)),
        )
    declared = adapter.text(context, "Table Schema")
    settings: Callable[[str], SinkSettings] = (
        (lambda table: replace(sink, declared=read_schema(declared, table))) if declared else lambda table: sink
    )
    tables = KuduTables(writer, settings)
    return Opened(tables=tables, puts=GroupCommit(tables, _ROWS_A_COMMIT, len))


def _prepare(rows: KuduRows, backend: str) -> None:
    rows.prepare()
    if backend == JAVA:
        import jpype

        jpype.java.lang.Thread.detach()  # a thread that ends without it stays with Java for good


def check(context: Any) -> None:
    """Read every property that does not depend on the FlowFile. Raises ConfigurationError."""
    source = adapter.text(context, "Record Source", IMAGE_RECORD)
    if not adapter.text(context, "Kudu Masters"):
        if source != IMAGE_RECORD:
            raise ConfigurationError("Kudu Masters", f"is required where Record Source is {source}")
        return
    kudu_settings(context)
    _retries(context)
    adapter.seconds(context, "Retry Back-off", 0.5)
    table = adapter.text(context, "Table Name")
    if source == IMAGE_RECORD:
        if "${" in table:
            raise ConfigurationError(
                "Table Name", "image records go to one table; expressions are for the other sources"
            )
        image_table(context)
        return

    def constant(name: str) -> str:
        return "" if "${" in adapter.text(context, name) else adapter.text(context, name)

    _mapping(context, constant)
    _conversion(context)
    _operation(constant("Operation") or "UPSERT")
    _unknown(constant("Unknown Fields") or "refuse")
    declared = adapter.text(context, "Table Schema")
    if declared:
        read_schema(declared, "t" if "${" in table else table)


def kudu_settings(context: Any) -> KuduSettings:
    """Raises ConfigurationError."""
    defaults = KuduSettings("localhost")
    return KuduSettings(
        adapter.text(context, "Kudu Masters"),
        backend=adapter.text(context, "Kudu Client", defaults.backend),
        java_home=adapter.text(context, "Java Home"),
        operation_timeout_s=adapter.seconds(context, "Operation Timeout", 10.0),
        admin_timeout_s=adapter.seconds(context, "Admin Timeout", 15.0),
        batch_rows=adapter.integer(context, "Batch Size", defaults.batch_rows),
        flush_mode=adapter.text(context, "Flush Mode", defaults.flush_mode),
        workers=adapter.integer(context, "Client Worker Count", 0),
        sasl_protocol_name=adapter.text(context, "Kudu SASL Protocol Name", defaults.sasl_protocol_name),
        require_authentication=adapter.boolean(context, "Require Authentication"),
        encryption=adapter.text(context, "Encryption", defaults.encryption),
        ticket_cache=adapter.text(context, "Kerberos Ticket Cache"),
        principal=adapter.text(context, "Kerberos Principal"),
        keytab=adapter.text(context, "Kerberos Keytab"),
        jwt=adapter.text(context, "JSON Web Token"),
        certificates=adapter.text(context, "Trusted Certificates"),
    )


def image_table(context: Any) -> TableSchema:
    """The table of image records as the properties want it. Raises ConfigurationError."""
    months = adapter.text(context, "Months to Keep")
    if months and not (months.isdecimal() and 1 <= int(months) <= 10_000):
        raise ConfigurationError("Months to Keep", f"expected 1 to 10000, received {months!r}")
    return image_events(
        adapter.text(context, "Table Name", "image_events"), keep_months=int(months) if months else None
    )


def _retries(context: Any) -> int:
    retries = adapter.integer(context, "Retries", 1)
    if not 0 <= retries <= 100:
        raise ConfigurationError("Retries", f"expected 0 to 100, received {retries}")
    return retries


def _mapping(context: Any, value: Callable[[str], str]) -> RecordMapping:
    return _parsed_mapping(
        adapter.text(context, "Data Path"),
        adapter.text(context, "Operation Path"),
        adapter.text(context, "Field Mapping"),
        _flag("Lowercase Field Names", value("Lowercase Field Names")),
        _flag("Ignore Nulls", value("Ignore Nulls")),
    )


@lru_cache(maxsize=64)
def _parsed_mapping(data: str, operation: str, fields: str, lower_case: bool, ignore_nulls: bool) -> RecordMapping:
    names = {}
    if fields:
        try:
            names = json.loads(fields)
        except ValueError as err:
            raise ConfigurationError("Field Mapping", f"is not JSON: {err}") from err
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ConfigurationError("Field Mapping", "expected a JSON object with a text for each field")
    with _setting_errors("Data Path"):
        RecordMapping(data_path=data)
    with _setting_errors("Operation Path"):
        RecordMapping(operation_path=operation)
    return RecordMapping(data, operation, names, lower_case, ignore_nulls)


def _attribute_value(text: str, kind: KuduType) -> str | int | None:
    """An attribute is always text: a whole number counts as one where a time may be one, and an empty one as none."""
    if kind in (KuduType.STRING, KuduType.VARCHAR, KuduType.BINARY):
        return text
    text = text.strip()
    if kind in (KuduType.UNIXTIME_MICROS, KuduType.DATE) and _WHOLE.fullmatch(text):
        return int(text)
    return text or None


@contextmanager
def _setting_errors(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as err:
        raise ConfigurationError(name, str(err)) from err


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("", "true", "false"):
        raise ConfigurationError(name, f"expected true or false, received {text!r}")
    return text.lower() == "true"


def _conversion(context: Any) -> Conversion:
    binary, unit = (
        adapter.text(context, "Text in Binary Columns", "utf-8"),
        adapter.text(context, "Integer Timestamps", "millis"),
    )
    with _setting_errors("Text in Binary Columns"):
        Conversion(binary_text=binary)
    with _setting_errors("Integer Timestamps"):
        return Conversion(binary, unit)


def _operation(text: str) -> Operation:
    try:
        return Operation[text.upper()]
    except KeyError as err:
        known = ", ".join(Operation.__members__)
        raise ConfigurationError("Operation", f"expected one of {known}, received {text!r}") from err


def _unknown(text: str) -> str:
    try:
        return _UNKNOWN[text.lower()]
    except KeyError as err:
        raise ConfigurationError("Unknown Fields", f"expected one of {', '.join(_UNKNOWN)}, received {text!r}") from err
