"""How Trino's client is used. The figures: test_analytics_sql.py."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from imagewarehouse.analytics.catalog import Cursor, Filters, catalog, statement
from imagewarehouse.analytics.dialects import Trino
from imagewarehouse.analytics.engines import Asked
from imagewarehouse.analytics.periods import between
from imagewarehouse.analytics.trino import TrinoEngine, TrinoSettings
from imagewarehouse.errors import AnalyticsUnavailable, ConfigurationError
from imagewarehouse.ports import free_ports

NOW = datetime(2026, 10, 26, 14, 20, 0, 123_456, tzinfo=timezone.utc)
PERIOD = between(NOW - timedelta(days=1), NOW)


@pytest.mark.parametrize("after", [None, Cursor(NOW, "01a1")], ids=["first-page", "next-page"])
@pytest.mark.parametrize("name", sorted(catalog()))
def test_kudu_is_only_asked_for_whole_milliseconds(name: str, after: Cursor | None) -> None:
    sql = statement(catalog()[name], Trino(), "t", PERIOD, Filters(), after=after)
    assert sql.count("TIMESTAMP '") == sql.count(".123'") + sql.count(".124'")
    for before in ("<=", " =", ">"):
        assert f"{before} TIMESTAMP" not in sql.replace(">= TIMESTAMP", "")


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        pytest.param({"host": ""}, "Trino Host", id="no-host"),
        pytest.param({"port": 70_000}, "Trino Port", id="port"),
        pytest.param({"table": 'x" UNION SELECT'}, "Trino Table", id="table-with-sql"),
        pytest.param({"user": ""}, "Trino User", id="no-user"),
        pytest.param({"password": "p"}, "Trino TLS", id="password-without-tls"),
        pytest.param({"token": "t"}, "Trino TLS", id="token-without-tls"),
        pytest.param({"password": "p", "token": "t", "tls": True}, "not both", id="two-logins"),
        pytest.param({"ca_file": "ca.pem"}, "without TLS", id="certificates-without-tls"),
        pytest.param({"timeout_s": 0}, "Trino Timeout", id="timeout"),
    ],
)
def test_settings_that_cannot_work_are_refused(chosen: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        TrinoSettings(**{"host": "trino", **chosen})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("http://trino", ("trino", 8080, False), id="http"),
        pytest.param("https://trino/", ("trino", 443, True), id="https"),
        pytest.param("http://[::1]:9", ("::1", 9, False), id="ipv6"),
    ],
)
def test_url_says_where_it_is(url: str, expected: tuple[str, int, bool]) -> None:
    settings = TrinoSettings.at(url)
    assert (settings.host, settings.port, settings.tls) == expected


@pytest.mark.parametrize(
    "url", ["trino:8080", "ftp://trino", "http://u:p@trino", "http://trino/x", "http://trino:x", "http://"]
)
def test_url_that_says_something_else_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="Trino Host"):
        TrinoSettings.at(url)


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(TrinoSettings(host="trino", password="secret", tls=True))
    assert "secret" not in repr(TrinoSettings(host="trino", token="secret", tls=True))


# --- over HTTP ----------------------------------------------------------------------------------------------------


class Protocol(BaseHTTPRequestHandler):
    """As much of Trino's protocol as one answer in two parts takes."""

    asked: list[tuple[str, dict[str, str]]] = []
    error: dict[str, Any] | None = None

    def do_POST(self) -> None:
        sql = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append((sql, dict(self.headers)))
        more = {"error": self.error} if self.error else {"nextUri": f"{self._here()}/next"}
        self._answer({**more, "data": None})

    def do_GET(self) -> None:
        self._answer({"data": [["a", 1, "2026-10-26 14:20:00.123"]]})

    def _here(self) -> str:
        return "http://{}:{}".format(*self.server.server_address[:2])

    def _answer(self, more: dict[str, Any]) -> None:
        types = (("name", "varchar"), ("images", "bigint"), ("at", "timestamp(3)"))
        columns = [
            {"name": name, "type": type, "typeSignature": {"rawType": type.partition("(")[0], "arguments": []}}
            for name, type in types
        ]
        body = {"id": "1", "infoUri": "", "stats": {"state": "FINISHED"}, "columns": columns, "warnings": [], **more}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setattr(Protocol, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Protocol)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(port: int) -> Any:
    engine = TrinoEngine(TrinoSettings(host="127.0.0.1", port=port, timeout_s=30))
    return engine.rows(Asked("SELECT", frozenset(), PERIOD))


def test_answer_comes_as_rows_and_the_session_has_utc_and_an_end(server: ThreadingHTTPServer) -> None:
    assert ask(server.server_port) == [("a", 1, datetime(2026, 10, 26, 14, 20, 0, 123_000))]
    [(sql, headers)] = Protocol.asked
    assert sql == "SELECT"
    assert headers["X-Trino-Time-Zone"] == "UTC"
    assert headers["X-Trino-Session"] == "query_max_run_time=30s"


def test_what_trino_says_of_a_question_is_told(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    error = {
        "message": "line 1:1: mismatched input",
        "errorCode": 1,
        "errorName": "SYNTAX_ERROR",
        "errorType": "USER_ERROR",
    }
    monkeypatch.setattr(Protocol, "error", error)
    with pytest.raises(AnalyticsUnavailable, match="mismatched input"):
        ask(server.server_port)


def test_trino_that_is_not_there_is_told() -> None:
    with pytest.raises(AnalyticsUnavailable, match="127.0.0.1"):
        ask(free_ports(1)[0])
