"""`imagewarehouse table create`: makes a table, or compares the one that is there."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from imagewarehouse.cli.kudu.connection import Cluster
from imagewarehouse.cli.kudu.show import describe, hashes_text
from imagewarehouse.errors import ConfigurationError, KuduTableMissing
from imagewarehouse.kudu.declaration import read_schema
from imagewarehouse.kudu.schema import TableSchema
from imagewarehouse.kudu.writing.ranges import first_ranges
from imagewarehouse.rows.columns import TABLE
from imagewarehouse.rows.kudu import image_events


def declare(name: str | None, file: Path | None, layout: dict[str, int | None], replicas: int | None) -> TableSchema:
    """The table of `file`, else that of the image records. `layout`: options of `image_events`; None: not given.

    Raises ConfigurationError.
    """
    chosen = {option: value for option, value in layout.items() if value is not None}
    try:
        if file is None:
            return image_events(name or TABLE, replicas=replicas, **chosen)
        if chosen:
            raise ConfigurationError(
                "--schema", "the file says it all; --keep-months, --months-ahead and --buckets are for image records"
            )
        if name is None:
            raise ConfigurationError("TABLE", "is needed with --schema: a declaration has no name")
        try:
            declared = read_schema(file.read_text("utf-8"), name)
        except ConfigurationError as err:
            raise ConfigurationError("--schema", f"{file}: {err.problem}") from err
        return declared if replicas is None else replace(declared, replicas=replicas)
    except OSError as err:
        raise ConfigurationError("--schema", f"{file}: {err.strerror or err}") from err
    except UnicodeDecodeError as err:
        raise ConfigurationError("--schema", f"{file}: is not UTF-8") from err
    except ValueError as err:
        raise ConfigurationError("TABLE or its options", str(err)) from err


def create_table(cluster: Cluster, declared: TableSchema, now: datetime) -> bool:
    """Create the table, or print how the existing one differs. Returns False where it differs."""
    name, planned = declared.name, declared
    if declared.policy is not None:
        kind = declared.column(declared.policy.column).type
        planned = replace(declared, ranges=first_ranges(declared.policy, kind, now))
    with cluster.connect() as writer:
        try:
            existing = writer.schema(name, refresh=True)
            created = False
        except KuduTableMissing:
            created = writer.create(planned)
            existing = writer.schema(name, refresh=True)
        if created:
            click.echo(f"made table {name}")
            describe(existing, writer.ranges(name))
            return True
    differing, notes = differences(existing, declared)
    for line in differing:
        click.echo(f"table {name}: {line}")
    for line in notes:
        click.echo(f"note: {line}")
    click.echo(f"table {name} is there already, {'but differs' if differing else 'and fits'}")
    return not differing


def differences(existing: TableSchema, declared: TableSchema) -> tuple[list[str], list[str]]:
    """(problems, notes): differences that make the writing processor refuse the table, and different partitions or replicas."""
    problems = []
    if existing.key != declared.key:
        problems.append(f"has the key {', '.join(existing.key)}, expected {', '.join(declared.key)}")
    columns = {column.name: column for column in existing.columns}
    missing = [f"{column.name} {column.type_text}" for column in declared.columns if column.name not in columns]
    if missing:
        problems.append(f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    for column in declared.columns:
        existing_column = columns.get(column.name)
        if existing_column is not None and existing_column.type_text != column.type_text:
            problems.append(f"column {column.name} is {existing_column.type_text}, expected {column.type_text}")
    names = {column.name for column in declared.columns}
    problems += [f"column {c.name} needs a value, and is not declared" for c in existing.columns
              if c.name not in names and c.required]  # fmt: skip
    notes = []
    if existing.hashes != declared.hashes:
        notes.append(
            f"it has {hashes_text(existing)}, declared is {hashes_text(declared)}; only a new table can be laid out so"
        )
    if existing.range_columns != declared.range_columns:
        ranges = [", ".join(s.range_columns) or "nothing" for s in (existing, declared)]
        notes.append(f"it has ranges over {ranges[0]}, declared are ranges over {ranges[1]}")
    if declared.replicas is not None and existing.replicas not in (None, declared.replicas):
        notes.append(f"it has {existing.replicas} replicas, declared are {declared.replicas}")
    return problems, notes
