"""Impala's SQL, held to its documentation, since no Impala can be had; and how its client is used."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.analytics import impala
from imagewarehouse.analytics.catalog import Cursor, Filters, catalog, statement
from imagewarehouse.analytics.dialects import Impala
from imagewarehouse.analytics.engines import Asked
from imagewarehouse.analytics.impala import ImpalaEngine, ImpalaSettings
from imagewarehouse.analytics.periods import between
from imagewarehouse.errors import AnalyticsUnavailable, ConfigurationError
from imagewarehouse.ids import new_request_id
from tests.analytics_rows import TEXTS

NOW = datetime(2026, 10, 26, 14, 20, tzinfo=timezone.utc)
PERIOD = between(NOW - timedelta(days=1), NOW)

# --- the dialect --------------------------------------------------------------------------------------------------

# Each function that the queries call, with the page below impala.apache.org/docs/build/html/topics that describes it.
FUNCTIONS = {
    "avg": "impala_avg.html",
    "cast": "impala_conversion_functions.html",
    "count": "impala_count.html",
    "floor": "impala_math_functions.html",  # gives the type that it takes, so it is cast
    "greatest": "impala_math_functions.html",
    "ln": "impala_math_functions.html",
    "max": "impala_max.html",  # of STRING and TIMESTAMP, too
    "min": "impala_min.html",
    "substr": "impala_string_functions.html",
    "sum": "impala_sum.html",
    "unix_timestamp": "impala_datetime_functions.html",  # whole seconds, BIGINT
}
# Words of the grammar that they may use, each with a page likewise.
GRAMMAR = {
    "impala_select.html": "select from where as distinct all",
    "impala_group_by.html": "group by",
    "impala_having.html": "having",
    "impala_order_by.html": "order desc",
    "impala_limit.html": "limit",
    "impala_union.html": "union",
    "impala_joins.html": "cross join on",
    "impala_analytic_functions.html": "over",
    "impala_with.html": "with",
    "impala_operators.html": "and or not in is null",
    "impala_conditional_functions.html": "case when then else end",
    "impala_datatypes.html": "bigint double float timestamp",
}
WORDS = (Path(__file__).parent / "data" / "impala_words.txt").read_text()
RESERVED = frozenset(word for line in WORDS.splitlines() if not line.startswith("#") for word in line.split())
ALLOWED = frozenset(word for words in GRAMMAR.values() for word in words.split())
LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)
QUOTED = re.compile(r"`[^`]*`")

FILTERS = Filters(
    classes=TEXTS, statuses=("classified",), errors=TEXTS, sources=TEXTS, users=TEXTS, images=TEXTS,
    models=("cifar10/4", "5"), min_confidence=1e-7, max_confidence=0.9,
)  # fmt: skip


def impala_sql(name: str) -> str:
    after = Cursor(NOW, new_request_id(NOW))
    return statement(catalog()[name], Impala(), "`default`.`image_events`", PERIOD, FILTERS, threshold=0.6, after=after)


each_query = pytest.mark.parametrize("name", sorted(catalog()))


def bare(sql: str) -> str:
    """Without literals and quoted names."""
    return QUOTED.sub(" ", LITERAL.sub(" ", sql))


@each_query
def test_calls_only_functions_that_impala_documents(name: str) -> None:
    called = {word.lower() for word in re.findall(r"(\w+)\s*\(", bare(impala_sql(name)))}
    assert called - ALLOWED <= FUNCTIONS.keys()


@each_query
def test_counts_one_kind_of_distinct_values_in_a_select(name: str) -> None:
    for select in bare(impala_sql(name)).split("SELECT"):  # older Impalas refuse a second one
        assert select.count("DISTINCT") <= 1


@each_query
def test_no_name_is_a_word_of_impala(name: str) -> None:
    used = {word.lower() for word in re.findall(r"[A-Za-z_]\w*", bare(impala_sql(name)))}
    assert used & RESERVED <= ALLOWED | {"cast"}


@each_query
def test_has_no_character_that_impala_takes_for_something_else(name: str) -> None:
    text = bare(impala_sql(name))
    assert re.fullmatch(r"[\w\s.,()*/+<>=-]*", text, re.ASCII), re.sub(r"[\w\s.,()*/+<>=-]", "", text)
    assert "//" not in text  # the whole quotient in DuckDB, nothing in Impala
    assert "--" not in text


def test_word_list_is_the_whole_one() -> None:
    assert {"format", "fields", "select", "location", "values", "query"} <= RESERVED
    assert len(RESERVED) > 450


@pytest.mark.parametrize("text", [*TEXTS, "\\", "\\\\'", "a\\%b\\_c", "\\101", "\\0", "\\Z", "x" * 300])
def test_literal_is_read_as_it_was_meant(text: str) -> None:
    literal = Impala().text(text)
    assert LITERAL.fullmatch(literal)
    assert impala_reads(literal) == text


def impala_reads(literal: str) -> str:
    """By the rules of impala_literals.html: a backslash before a quote or a backslash is dropped; before others of which the
    page says something else (letters, digits, % and _) none may come."""
    assert not re.search(r"(?<!\\)(?:\\\\)*\\[^\\']", literal[1:-1])
    return re.sub(r"\\(.)", r"\1", literal[1:-1], flags=re.DOTALL)


def test_times_are_told_as_impala_reads_them_and_in_utc() -> None:
    moment = datetime(2026, 10, 25, 2, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert Impala().moment(moment) == "CAST('2026-10-25 00:30:00.000005' AS TIMESTAMP)"


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        pytest.param({"host": ""}, "Impala Host", id="no-host"),
        pytest.param({"port": 0}, "Impala Port", id="port"),
        pytest.param({"table": "x` UNION SELECT"}, "Impala Table", id="table-with-sql"),
        pytest.param({"database": "a.b"}, "Impala Database", id="database-with-a-dot"),
        pytest.param({"auth": "KERBEROS"}, "NOSASL, PLAIN, LDAP, GSSAPI", id="auth"),
        pytest.param({"auth": "LDAP", "user": "u", "tls": True}, "user and a password", id="ldap-without-password"),
        pytest.param({"auth": "LDAP", "user": "u", "password": "p"}, "Impala TLS", id="password-without-tls"),
        pytest.param({"ca_file": "ca.pem"}, "without TLS", id="certificates-without-tls"),
        pytest.param({"timeout_s": 0}, "Impala Timeout", id="timeout"),
        pytest.param({"dialect": "hive"}, "impala, spark", id="dialect"),
    ],
)
def test_settings_that_cannot_work_are_refused(chosen: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        ImpalaSettings(**{"host": "impala", **chosen})


def test_password_is_not_shown() -> None:
    assert "secret" not in repr(ImpalaSettings(host="impala", auth="LDAP", user="u", password="secret", tls=True))


# --- connections --------------------------------------------------------------------------------------------------


class Server:
    """What impyla's `connect` gives, as far as the engine uses it."""

    def __init__(self) -> None:
        self.connections: list[FakeConnection] = []
        self.down = False
        self.takes_s = 0.0
        self.asked: list[str] = []
        self.running = self.most_running = 0
        self.cancelled = 0

    def connect(self, **options: Any) -> FakeConnection:
        if self.down:
            raise OSError("connection refused")
        self.connections.append(FakeConnection(self, options))
        return self.connections[-1]


class FakeConnection:
    def __init__(self, server: Server, options: dict[str, Any]) -> None:
        self.server, self.options = server, options
        self.broken = self.closed = False

    def cursor(self, **options: Any) -> FakeConnection:
        self.session = options
        return self

    def set_arraysize(self, size: int) -> None: ...

    def execute(self, sql: str) -> None:
        self.server.asked.append(sql)

    def execute_async(self, sql: str) -> None:
        if self.broken or self.server.down:
            from thrift.transport.TTransport import TTransportException

            raise TTransportException(message="broken pipe")
        if sql == "SELEC":
            from impala.error import HiveServer2Error

            raise HiveServer2Error("AnalysisException: Syntax error in line 1")
        self.server.asked.append(sql)
        self.server.running += 1
        self.server.most_running = max(self.server.most_running, self.server.running)
        self.until = time.monotonic() + self.server.takes_s
        self.left = [[("a", 1)], [("b", 2)], []]

    def is_executing(self) -> bool:
        return time.monotonic() < self.until

    def fetchmany(self, size: int) -> list[tuple[str, int]]:
        if len(self.left) == 1:
            self.server.running -= 1
        return self.left.pop(0)

    def cancel_operation(self) -> None:
        self.server.cancelled += 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    import impala.dbapi

    server = Server()
    monkeypatch.setattr(impala.dbapi, "connect", server.connect)
    return server


Open = Callable[..., ImpalaEngine]


@pytest.fixture
def opened(server: Server) -> Iterator[Open]:
    engines: list[ImpalaEngine] = []

    def make(**chosen: Any) -> ImpalaEngine:
        engines.append(ImpalaEngine(ImpalaSettings(**{"host": "impala", **chosen})))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
    assert all(connection.closed for connection in server.connections)


def ask(engine: ImpalaEngine, sql: str = "SELECT") -> Sequence[tuple[Any, ...]]:
    return engine.rows(Asked(sql, frozenset(), PERIOD))


def test_one_connection_answers_one_question_after_the_other(server: Server, opened: Open) -> None:
    engine = opened()
    assert [ask(engine) for _ in range(3)] == [[("a", 1), ("b", 2)]] * 3
    assert len(server.connections) == 1


def test_session_has_utc_and_an_end(server: Server, opened: Open) -> None:
    ask(opened(timeout_s=30))
    assert server.connections[0].session["configuration"] == {"TIMEZONE": "UTC", "EXEC_TIME_LIMIT_S": "30"}


def test_login_and_certificates_reach_the_client(server: Server, opened: Open) -> None:
    ask(opened(auth="LDAP", user="u", password="p", tls=True, ca_file="ca.pem", http_path="cliservice"))
    options = server.connections[0].options
    assert (options["auth_mechanism"], options["user"], options["password"]) == ("LDAP", "u", "p")
    assert (options["use_ssl"], options["ca_cert"], options["verify_cert"]) == (True, "ca.pem", True)
    assert (options["use_http_transport"], options["http_path"]) == (True, "cliservice")


def test_connection_that_broke_is_made_anew(server: Server, opened: Open) -> None:
    engine = opened()
    ask(engine)
    server.connections[0].broken = True
    assert ask(engine) == [("a", 1), ("b", 2)]
    assert [connection.closed for connection in server.connections] == [True, False]


def test_server_that_is_gone_is_told_and_comes_back(server: Server, opened: Open) -> None:
    engine = opened()
    ask(engine)
    server.down = True
    with pytest.raises(AnalyticsUnavailable, match="impala:21050: connection refused"):
        ask(engine)
    server.down = False
    assert ask(engine) == [("a", 1), ("b", 2)]


def test_server_that_closes_the_connection_may_expect_another_login() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)

        thread = threading.Thread(target=hang_up)
        thread.start()
        engine = ImpalaEngine(ImpalaSettings(host="127.0.0.1", port=server.getsockname()[1], auth="PLAIN"))
        with pytest.raises(AnalyticsUnavailable, match="closed the connection: does it log users in with PLAIN"):
            ask(engine)
        engine.close()
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    assert not thread.is_alive()


def test_what_the_server_says_of_a_question_is_told(opened: Open) -> None:
    with pytest.raises(AnalyticsUnavailable, match="Syntax error"):
        ask(opened(), "SELEC")


def test_question_that_takes_too_long_is_cancelled(
    server: Server, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.takes_s = 60
    started = time.monotonic()
    with pytest.raises(AnalyticsUnavailable, match="longer than 1 s"):
        ask(opened(timeout_s=1))
    assert time.monotonic() - started < 5
    assert server.cancelled == 1


def test_no_more_than_some_questions_at_a_time(server: Server, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    server.takes_s = 0.05
    engine = opened()
    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(lambda _: ask(engine), range(40)))
    assert server.most_running <= impala._CONNECTIONS
    assert len(server.connections) <= impala._CONNECTIONS


def test_sparks_session_is_set_up_by_statements(server: Server, opened: Open) -> None:
    ask(opened(dialect="spark"))
    assert server.connections[0].session["configuration"] is None
    assert [sql for sql in server.asked if sql.startswith("SET ")] == [
        "SET spark.sql.session.timeZone=UTC",
        "SET spark.sql.variable.substitute=false",
        "SET spark.sql.datetime.java8API.enabled=false",
    ]
