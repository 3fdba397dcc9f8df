"""Trino over the rows in Kudu, by its own client: HTTP, a connection for each question."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from imagewarehouse.analytics.dialects import Dialect, Trino
from imagewarehouse.analytics.engines import Asked
from imagewarehouse.errors import AnalyticsUnavailable, ConfigurationError
from imagewarehouse.rows.columns import TABLE
from imagewarehouse.text import one_line

_NAME = re.compile(r"\w[\w.:-]{0,127}", re.ASCII)
_TRIES = 3  # of one request over HTTP, where the server is busy


@dataclass(frozen=True, slots=True, kw_only=True)
class TrinoSettings:
    """Where Trino is, and how to log in there. Raises ConfigurationError on construction.

    `password` or `token` (JSON Web Token), or neither for a Trino that asks nobody. `ca_file`: PEM, instead of the usual
    certificates.
    """

    host: str
    port: int = 8080
    catalog: str = "kudu"
    schema: str = "default"
    table: str = TABLE
    user: str = "imagewarehouse"
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    tls: bool = False
    ca_file: str = ""
    timeout_s: float = 60.0  # of a question, and of each answer on the network

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigurationError("Trino Host", "is needed")
        if not 1 <= self.port <= 65_535:
            raise ConfigurationError("Trino Port", f"expected 1 to 65535, received {self.port}")
        for name, value in (("Catalog", self.catalog), ("Schema", self.schema), ("Table", self.table)):
            if not _NAME.fullmatch(value):
                raise ConfigurationError(f"Trino {name}", f"expected letters, digits and _.:-, received {value!r}")
        if not self.user:
            raise ConfigurationError("Trino User", "is needed")
        if self.password and self.token:
            raise ConfigurationError("Trino Token", "give a password or a token, not both")
        if (self.password or self.token) and not self.tls:
            raise ConfigurationError(
                "Trino TLS", "is needed for a password or a token, which anybody could read otherwise"
            )
        if self.ca_file and not self.tls:
            raise ConfigurationError("Trino CA File", "has no use without TLS")
        if not 1 <= self.timeout_s <= 3600:
            raise ConfigurationError("Trino Timeout", f"expected 1 to 3600 s, received {self.timeout_s:g} s")

    @classmethod
    def at(cls, url: str, **more: Any) -> TrinoSettings:
        """Those of http://HOST:8080 or https://HOST. Raises ConfigurationError."""
        try:
            parts = urlsplit(url)
            tls, port = parts.scheme == "https", parts.port
        except ValueError as err:  # a port that is none
            raise ConfigurationError("Trino Host", f"expected http://HOST:PORT, received {url!r}") from err
        if parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.username or parts.query:
            raise ConfigurationError("Trino Host", f"expected http://HOST:PORT or https://HOST:PORT, received {url!r}")
        return cls(host=parts.hostname or "", port=port or (443 if tls else 8080), tls=tls, **more)


class TrinoEngine:
    """An `Engine`."""

    def __init__(self, settings: TrinoSettings) -> None:
        """Connects with the first question. Raises ConfigurationError."""
        if importlib.util.find_spec("trino") is None:
            raise ConfigurationError("Trino Host", "its client is not installed; install the extra `trino`")
        self.dialect: Dialect = Trino()
        self.table = ".".join(f'"{name}"' for name in (settings.catalog, settings.schema, settings.table))
        self._settings = settings

    def rows(self, asked: Asked) -> Sequence[tuple[Any, ...]]:
        from trino.exceptions import Error, HttpError

        connection = self._connect()
        try:
            cursor = connection.cursor()
            cursor.execute(asked.sql)
            return [tuple(row) for row in cursor.fetchall()]
        except (Error, HttpError, OSError) as err:  # those of requests are OSErrors
            raise AnalyticsUnavailable(f"{self._settings.host}:{self._settings.port}: {one_line(err)}") from err
        finally:
            connection.close()

    def close(self) -> None:
        """Nothing is open between two questions."""

    def _connect(self) -> Any:
        from trino.auth import BasicAuthentication, JWTAuthentication
        from trino.dbapi import connect

        settings = self._settings
        auth = JWTAuthentication(settings.token) if settings.token else None
        return connect(  # type: ignore[no-untyped-call]
            host=settings.host,
            port=settings.port,
            user=settings.user,
            auth=BasicAuthentication(settings.user, settings.password) if settings.password else auth,
            http_scheme="https" if settings.tls else "http",
            verify=settings.ca_file or True,
            source="imagewarehouse",
            timezone="UTC",
            # Its own end, also where nobody waits for the answer any more.
            session_properties={"query_max_run_time": f"{round(settings.timeout_s)}s"},
            request_timeout=settings.timeout_s,
            max_attempts=_TRIES,
        )
