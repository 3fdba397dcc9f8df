"""`imagewarehouse rows`: queries the running service, or reads the embedded row store next to its writer."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable
from imagewarehouse.metadata import STATUSES, to_text
from imagewarehouse.text import printable

_ANSWER_S = 60.0  # for a SELECT that the service does
_OF_LIST = 4  # values that a table shows
_COLUMNS = "event_time, status, file_name, predicted_class, confidence, width, height, error_code, total_ms, request_id"


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, envvar="IMAGEWAREHOUSE_DATA",
              help="Data folder of the service.")  # fmt: skip
@click.option("--database", type=click.Path(path_type=Path, dir_okay=False),
              help="DuckDB file to read instead, as rows.database names it; NiFi may be writing to it.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1, 10**9), default=20, show_default=True,
              help="How many rows, newest first.")  # fmt: skip
@click.option("--status", type=click.Choice(STATUSES), help="Only rows of this status.")
@click.option("--class", "predicted_class", help="Only rows of this predicted class.")
@click.option("--request", "request_id", help="Only the row of this request id, all columns.")
@click.option("--sql", help="A SELECT of your own; the table is image_events.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
def rows(
    data: Path,
    database: Path | None,
    limit: int,
    status: str | None,
    predicted_class: str | None,
    request_id: str | None,
    sql: str | None,
    as_json: bool,
) -> None:
    """Show rows, newest first.

    Of the embedded row store (DuckDB) at any time; of Kudu while the service runs, and of its newest 20,000 rows at most.

    \b
    Examples:
      imagewarehouse rows --status rejected
      imagewarehouse rows --database /opt/nifi/image-warehouse/rows.duckdb
      imagewarehouse rows --sql 'SELECT predicted_class, count(*) FROM image_events GROUP BY ALL ORDER BY 2 DESC'
    """
    if sql is not None and (status, predicted_class, request_id) != (None, None, None):
        raise ConfigurationError("--sql", "is the whole question; --status, --class and --request do not go with it")
    if sql is None:
        where = [
            f"{column} = '{value.replace(chr(39), chr(39) * 2)}'"
            for column, value in (("status", status), ("predicted_class", predicted_class), ("request_id", request_id))
            if value is not None
        ]
        # Nobody reads a vector; a SELECT of one's own has it.
        columns = "* EXCLUDE (embedding)" if request_id or as_json else _COLUMNS
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        sql = f"SELECT {columns} FROM image_events{condition} ORDER BY event_time DESC LIMIT {limit}"
    records = query(data, sql) if database is None else read_file(database, sql, "--database")
    if as_json:
        for row in records:
            click.echo(json.dumps({name: plain(value) for name, value in row.items()}, ensure_ascii=False, default=str))
    elif not records:
        click.echo("no rows")
    elif len(records) == 1 and request_id:
        for name, value in records[0].items():
            click.echo(f"{name:<16} {'' if value is None else _short(value)}")
    else:
        _table(records)


def query(data: Path, sql: str) -> list[dict[str, Any]]:
    """Rows of a SELECT, asked of the running service or read from its file. Raises ConfigurationError."""
    socket, database = data / "control.sock", data / "rows.duckdb"
    if socket.exists():
        try:
            return asyncio.run(_select(socket, sql))
        except (ConnectionError, asyncio.TimeoutError):
            pass  # left by a run that was killed, or of a process that hangs
    if not database.is_file():
        raise ConfigurationError(
            "--data",
            f"{database} does not exist. Where rows.database is another file, name it with --database; rows in Kudu are shown"
            " while `imagewarehouse run` runs with this --data",
        )
    return read_file(database, sql, "--data")


def read_file(database: Path, sql: str, option: str) -> list[dict[str, Any]]:
    """Rows out of the file and its log, whoever writes them. Raises ConfigurationError."""
    if not database.is_file():
        raise ConfigurationError(option, f"{database} does not exist")
    import duckdb

    from imagewarehouse.rows.locks import FileHeld
    from imagewarehouse.rows.reading import read

    try:
        return list(read(database, sql).to_pylist())
    except duckdb.Error as err:
        raise ConfigurationError("--sql", str(err)) from err
    except FileHeld as err:
        # Ours open it for milliseconds, so it is a DuckDB shell, a notebook, or a service of release 0.1.0.
        raise ConfigurationError(option, f"{err}; rows can be read once it closes the file, or out of a copy") from err
    except RowStoreUnavailable as err:
        raise ConfigurationError(option, str(err)) from err


async def _select(socket: Path, sql: str) -> list[dict[str, Any]]:
    import pyarrow as pa

    status, body = await ask(socket, "/query", sql.encode())
    if status != 200:
        raise ConfigurationError("--sql" if status == 400 else "--data", body.decode("utf-8", "replace"))
    return list(pa.ipc.open_stream(body).read_all().to_pylist())


async def ask(socket: Path, path: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of what the running service answers. Raises ConnectionError, asyncio.TimeoutError."""
    import aiohttp

    connector, timeout = aiohttp.UnixConnector(str(socket)), aiohttp.ClientTimeout(total=_ANSWER_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        try:
            async with session.post(f"http://localhost{path}", data=body) as answer:
                return answer.status, await answer.read()
        except aiohttp.ClientConnectionError as err:
            raise ConnectionError(str(err)) from err


def _table(records: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in records[0]:
        table.add_column(name, overflow="fold")
    for row in records:
        table.add_row(*("" if value is None else str(_short(value)) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def plain(value: object) -> object:
    """A value that JSON can hold and a terminal can show, with all its digits."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, datetime):
        return to_text(value)
    return value


def _short(value: object) -> object:
    """For people: four decimals are enough to look at, and of a vector its beginning."""
    if isinstance(value, list) and len(value) > _OF_LIST:
        return f"[{', '.join(str(_short(one)) for one in value[:_OF_LIST])}, ...] ({len(value)})"
    return round(value, 4) if isinstance(value, float) else plain(value)
