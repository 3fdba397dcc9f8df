"""Impala, or another HiveServer2, over the rows in Kudu: by impyla, over connections that are kept and made anew."""

from __future__ import annotations

import importlib.util
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from imagewarehouse.analytics.dialects import Dialect, Impala, Spark
from imagewarehouse.analytics.engines import Asked
from imagewarehouse.errors import AnalyticsUnavailable, ConfigurationError
from imagewarehouse.rows.columns import TABLE
from imagewarehouse.text import one_line

AUTHENTICATION = ("NOSASL", "PLAIN", "LDAP", "GSSAPI")
_DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (Impala(), Spark())}
_NAME = re.compile(r"[A-Za-z]\w{0,127}", re.ASCII)
_CONNECTIONS = 8
_FETCHED_AT_ONCE = 10_000
_POLL_S = (0.01, 0.2)  # between two looks whether the answer is there: at first, and later on
_SPARK = (
    "spark.sql.session.timeZone=UTC",
    "spark.sql.variable.substitute=false",  # or ${...} in a literal is taken for a variable of the server
    "spark.sql.datetime.java8API.enabled=false",  # Kudu's connector refuses the newer API's times
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpalaSettings:
    """Where the SQL engine is, and how to log in there. Raises ConfigurationError on construction.

    `auth`: NOSASL for an Impala that asks nobody, PLAIN for a HiveServer2 that does not, LDAP with user and password, GSSAPI
    (Kerberos) with the ticket of the process. `ca_file`: PEM, instead of the system's certificates. `http_path`: where the
    protocol travels over HTTP, such as cliservice. `dialect`: impala, or spark for Spark's Thrift server.
    """

    host: str
    port: int = 21050
    database: str = "default"
    table: str = TABLE
    auth: str = "NOSASL"
    user: str = ""
    password: str = field(default="", repr=False)
    kerberos_service: str = "impala"
    tls: bool = False
    ca_file: str = ""
    http_path: str = ""
    timeout_s: float = 60.0  # of a question, and of each answer on the network
    dialect: str = "impala"

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigurationError("Impala Host", "is needed")
        if not 1 <= self.port <= 65_535:
            raise ConfigurationError("Impala Port", f"expected 1 to 65535, received {self.port}")
        for name, value in (("Impala Database", self.database), ("Impala Table", self.table)):
            if not _NAME.fullmatch(value):
                raise ConfigurationError(name, f"expected letters, digits and underscores, received {value!r}")
        for name, value, choices in (
            ("Impala Authentication", self.auth, AUTHENTICATION),
            ("Impala Dialect", self.dialect, tuple(_DIALECTS)),
        ):
            if value not in choices:
                raise ConfigurationError(name, f"expected one of {', '.join(choices)}, received {value!r}")
        if self.auth == "LDAP" and not (self.user and self.password):
            raise ConfigurationError("Impala User", "LDAP needs a user and a password")
        if self.password and not self.tls:
            raise ConfigurationError("Impala TLS", "is needed for a password, which anybody could read otherwise")
        if self.ca_file and not self.tls:
            raise ConfigurationError("Impala CA File", "has no use without TLS")
        if not 1 <= self.timeout_s <= 3600:
            raise ConfigurationError("Impala Timeout", f"expected 1 to 3600 s, received {self.timeout_s:g} s")


class _TooSlow(Exception):
    """The question was given up on."""


class ImpalaEngine:
    """An `Engine`."""

    def __init__(self, settings: ImpalaSettings) -> None:
        """Connects with the first question. Raises ConfigurationError."""
        if importlib.util.find_spec("impala") is None:
            raise ConfigurationError("Impala Host", "impyla is not installed; install the extra `impala`")
        self.dialect = _DIALECTS[settings.dialect]
        self.table = f"`{settings.database}`.`{settings.table}`"
        self._settings = settings
        self._where = f"{settings.host}:{settings.port}"
        self._idle: list[_Session] = []
        self._places = threading.BoundedSemaphore(_CONNECTIONS)
        self._lock = threading.Lock()

    def rows(self, asked: Asked) -> Sequence[tuple[Any, ...]]:
        if not self._places.acquire(timeout=self._settings.timeout_s):
            raise AnalyticsUnavailable(f"{self._where} is busy with {_CONNECTIONS} other questions")
        try:
            with self._lock:
                session = self._idle.pop() if self._idle else None
            if session is not None:
                # It may be over by now: sessions end after a while, servers are started again. A SELECT can be asked twice.
                with suppress(*_broken()):
                    return self._ask(session, asked.sql)
                self._drop_idle()
            return self._ask(self._connected(), asked.sql)
        except _TooSlow as err:
            raise AnalyticsUnavailable(f"{self._where} took longer than {self._settings.timeout_s:g} s") from err
        except _broken() as err:
            # Thrift says "unexpected exception", and has the reason inside.
            raise AnalyticsUnavailable(f"{self._where}: {one_line(getattr(err, 'inner', None) or err)}") from err
        finally:
            self._places.release()

    def close(self) -> None:
        self._drop_idle()

    def _connected(self) -> _Session:
        from thrift.transport.TTransport import TTransportException

        try:
            return _Session(self._settings)
        except TTransportException as err:
            if err.type != TTransportException.END_OF_FILE:
                raise
            # It says nothing to those who do not log in as it expects.
            problem = f"{self._where} closed the connection: does it log users in with {self._settings.auth}?"
            raise AnalyticsUnavailable(problem) from err

    def _ask(self, session: _Session, sql: str) -> Sequence[tuple[Any, ...]]:
        """The session is kept for the next question, unless this one fails."""
        try:
            rows = session.rows(sql)
        except BaseException:
            session.close()
            raise
        with self._lock:
            self._idle.append(session)
        return rows

    def _drop_idle(self) -> None:
        with self._lock:
            dropped, self._idle = self._idle, []
        for session in dropped:
            session.close()


class _Session:
    """A connection and its session, for one question at a time."""

    def __init__(self, settings: ImpalaSettings) -> None:
        from impala.dbapi import connect

        self._timeout_s = settings.timeout_s
        with _refused():
            self._connection = connect(
                host=settings.host,
                port=settings.port,
                timeout=settings.timeout_s,
                auth_mechanism=settings.auth,
                user=settings.user or None,
                password=settings.password or None,
                kerberos_service_name=settings.kerberos_service,
                use_ssl=settings.tls,
                ca_cert=settings.ca_file or None,
                verify_cert=settings.tls,  # by the system's certificates; not checked by default
                use_http_transport=bool(settings.http_path),
                http_path=settings.http_path,
                retries=1,
            )
            try:
                self._cursor = self._open(settings)
            except BaseException:
                self._connection.close()
                raise

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        until = time.monotonic() + self._timeout_s
        wait_s = _POLL_S[0]
        self._cursor.execute_async(sql)
        while self._cursor.is_executing():
            if time.monotonic() > until:
                with suppress(*_broken()):
                    self._cursor.cancel_operation()
                raise _TooSlow
            time.sleep(wait_s)
            wait_s = min(1.5 * wait_s, _POLL_S[1])
        rows: list[tuple[Any, ...]] = []
        while some := self._cursor.fetchmany(_FETCHED_AT_ONCE):  # raises what became of the question
            rows += some
            if time.monotonic() > until:
                raise _TooSlow
        return rows

    def close(self) -> None:
        with suppress(*_broken()):
            self._cursor.close()
        with suppress(*_broken()):
            self._connection.close()

    def _open(self, settings: ImpalaSettings) -> Any:
        # Impala: the zone of now() and of conversions. Kudu's times are UTC there, and the dialect speaks of nothing else.
        options = {"TIMEZONE": "UTC", "EXEC_TIME_LIMIT_S": str(round(settings.timeout_s))}
        cursor = self._connection.cursor(
            user=settings.user or "imagewarehouse",
            configuration=options if settings.dialect == "impala" else None,
        )
        cursor.set_arraysize(_FETCHED_AT_ONCE)
        if settings.dialect == "spark":
            for setting in _SPARK:
                cursor.execute(f"SET {setting}")
        return cursor


@contextmanager
def _refused() -> Iterator[None]:
    """What Kerberos' packages lack is only told when they are needed."""
    try:
        yield
    except ImportError as err:
        raise AnalyticsUnavailable(f"GSSAPI needs Kerberos for Python: {one_line(err)}") from err


def _broken() -> tuple[type[Exception], ...]:
    """What impyla raises: of its own, of the network, of Thrift."""
    from impala.error import Error
    from thrift.Thrift import TException

    return Error, OSError, EOFError, TException
