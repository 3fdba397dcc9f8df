"""`imagewarehouse table show`: lists tables; columns, partitions and rows of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import click

from imagewarehouse.cli.kudu.connection import Cluster
from imagewarehouse.cli.kudu.printing import number, print_columns, print_json, size
from imagewarehouse.cli.kudu.ranges import ends
from imagewarehouse.errors import KuduTableMissing
from imagewarehouse.kudu.declaration import bound_text, schema_json
from imagewarehouse.kudu.schema import Range, TableSchema
from imagewarehouse.metadata import to_text

_MOST_COLUMNS = 10  # a row of more is shown as lines, a table would not be readable


def list_tables(cluster: Cluster, as_json: bool) -> None:
    lines = []
    with cluster.connect() as writer:
        names = writer.tables()
        for name in names:
            try:
                schema = writer.schema(name, refresh=True)
                statistics, ranges = writer.statistics(name), len(writer.ranges(name))
            except KuduTableMissing:
                continue  # dropped meanwhile
            rows, data_bytes = statistics["rows"], statistics["bytes"]
            if as_json:
                print_json({"table": name, "rows": _known(rows), "bytes": _known(data_bytes), "ranges": ranges,
                            "replicas": schema.replicas})  # fmt: skip
            lines.append(
                (name, number(rows), size(data_bytes), str(ranges or ""), str(schema.replicas or ""), schema.comment)
            )
    if as_json:
        return
    if lines:
        print_columns(("table", "rows", "on disk", "ranges", "replicas", "comment"), lines)
    else:
        click.echo("no tables")


def show_table(cluster: Cluster, name: str, as_json: bool) -> None:
    with cluster.connect(name) as writer:
        schema, ranges = writer.schema(name, refresh=True), writer.ranges(name)
        statistics = writer.statistics(name)
    if as_json:
        numbers = {key: _known(value) for key, value in statistics.items()}
        print_json({"table": name, **_declaration(schema, ranges), **numbers}, indent=2)
        return
    click.echo(f"table {name}{f': {schema.comment}' if schema.comment else ''}")
    describe(schema, ranges)
    click.echo(f"rows        {number(statistics['rows'])}")
    click.echo(f"on disk     {size(statistics['bytes'])}, without the other replicas")


def show_declaration(cluster: Cluster, name: str) -> None:
    """As `table create --schema` takes it."""
    with cluster.connect(name) as writer:
        declaration = _declaration(writer.schema(name, refresh=True), writer.ranges(name))
    print_json(declaration, indent=2)


def show_rows(cluster: Cluster, name: str, rows: int, as_json: bool) -> None:
    with cluster.connect(name) as writer:
        writer.schema(name, refresh=True)
        records = writer.scan(name, limit=rows).to_pylist()
    shown = [{name: _cell(value) for name, value in row.items()} for row in records]
    if as_json:
        for row in shown:
            print_json(row)
    elif not shown:
        click.echo("no rows")
    elif len(shown[0]) > _MOST_COLUMNS:
        for index, row in enumerate(shown):
            if index:
                click.echo()
            for name, value in row.items():
                if value is not None:
                    click.echo(f"{name:<20} {value}")
    else:
        print_columns(tuple(shown[0]), [tuple("" if v is None else str(v) for v in row.values()) for row in shown])


def describe(schema: TableSchema, ranges: Sequence[Range]) -> None:
    """Columns and partitions."""
    lines = []
    for column in schema.columns:
        default = "" if column.default is None else f"default {bound_text(column.default)}"
        marks = "key" if column.key else "null" if column.nullable else "not null"
        storage = (column.encoding, column.compression, "immutable" if column.immutable else "", default)
        lines.append((column.name, column.type_text, marks, " ".join(filter(None, storage)), column.comment))
    print_columns(("column", "type", "", "storage", "comment"), lines)
    click.echo(f"partitions  {hashes_text(schema)}")
    if schema.range_columns:
        over = f"            ranges over {', '.join(schema.range_columns)}: {len(ranges)}"
        click.echo(f"{over}, {ends(ranges[0])[0]} to {ends(ranges[-1])[1]}" if ranges else over)
    click.echo(f"replicas    {schema.replicas or '?'}")


def hashes_text(schema: TableSchema) -> str:
    levels = [f"hashed by {', '.join(level.columns)} into {level.buckets}" for level in schema.hashes]
    return ", ".join(levels) or "not hashed"


def _declaration(schema: TableSchema, ranges: Sequence[Range]) -> dict[str, Any]:
    return schema_json(replace(schema, ranges=tuple(ranges)))


def _known(value: int) -> int | None:
    return None if value < 0 else value


def _cell(value: Any) -> Any:
    """A value that JSON can hold and people can read."""
    if isinstance(value, bytes):
        return value.hex()
    return to_text(value) if isinstance(value, (date, datetime, Decimal)) else value
