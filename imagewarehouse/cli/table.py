"""`imagewarehouse table`: the commands and their options; what they do is in `cli/kudu/`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from imagewarehouse.errors import ConfigurationError

# Modules of cli.kudu are imported in the commands: Arrow and Kudu's clients take too long for --help.

_CLUSTER = (
    click.option("--masters", metavar="HOST:PORT,...", envvar="IMAGEWAREHOUSE_KUDU_MASTERS",
                 help="Kudu's masters.  [default: the Kudu of --data, where one runs]"),
    click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True,
                 envvar="IMAGEWAREHOUSE_DATA", help="Data folder of the service whose own Kudu is meant."),
    click.option("--client", "backend", type=click.Choice(["java", "native"]), default="java", show_default=True,
                 help="Kudu's Java client, or kudu-python."),
    click.option("--timeout", type=click.FloatRange(min=0.1), default=10.0, show_default=True, metavar="SECONDS",
                 help="How long Kudu may take to answer."),
)  # fmt: skip
_json = click.option(
    "--json", "as_json", is_flag=True, help="JSON instead of a table; of a list, one object a line, as `jq` takes it."
)


def _cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that `find_cluster` takes."""
    for option in reversed(_CLUSTER):
        command = option(command)
    return command


def _now() -> datetime:
    return datetime.now(timezone.utc)


@click.group()
def table() -> None:
    """Make Kudu tables, look at them, and keep their range partitions."""


@table.command()
@click.argument("name", metavar="[TABLE]", required=False)
@click.option("--schema", "file", type=click.Path(path_type=Path), metavar="FILE.json",
              help="Declaration of the table; `table show --schema` prints one.  [default: image records]")  # fmt: skip
@click.option("--keep-months", type=click.IntRange(1), help="Image records: drop months that are older than these.")
@click.option("--months-ahead", type=click.IntRange(0), help="Image records: ranges made ahead of need.  [default: 2]")
@click.option("--buckets", type=click.IntRange(2), help="Image records: hash buckets, over the servers.  [default: 4]")
@click.option("--replicas", type=click.IntRange(1), help="Copies of each row, an odd number.  [default: the cluster's]")
@click.option("--dry-run", is_flag=True, help="Print the declaration, and connect to nothing.")
@_cluster_options
def create(
    name: str | None,
    file: Path | None,
    keep_months: int | None,
    months_ahead: int | None,
    buckets: int | None,
    replicas: int | None,
    dry_run: bool,
    **cluster: Any,
) -> None:
    """Make a table: that of the image records, or the one that a file declares.

    A table that is there already is compared and never changed. Exit code 1: it differs.

    \b
    Examples:
      imagewarehouse table create --dry-run
      imagewarehouse table create sensors --schema sensors.json --masters kudu-1:7051
    """
    from imagewarehouse.cli.kudu.connection import find_cluster
    from imagewarehouse.cli.kudu.create import create_table, declare
    from imagewarehouse.cli.kudu.printing import print_json
    from imagewarehouse.kudu.declaration import schema_json

    layout = {"keep_months": keep_months, "months_ahead": months_ahead, "hash_buckets": buckets}
    declared = declare(name, file, layout, replicas)
    if dry_run:
        print_json(schema_json(declared), indent=2)
    elif not create_table(find_cluster(**cluster), declared, _now()):
        sys.exit(1)


@table.command()
@click.argument("name", metavar="[TABLE]", required=False)
@click.option("--schema", "as_schema", is_flag=True, help="Print the declaration that `table create --schema` takes.")
@click.option("--rows", type=click.IntRange(1), metavar="N", help="Show N rows, in no order.")
@_json
@_cluster_options
def show(name: str | None, as_schema: bool, rows: int | None, as_json: bool, **cluster: Any) -> None:
    """Show a table, or list all.

    Rows and sizes are the latest that the tablet servers reported to the master, some seconds old.
    """
    from imagewarehouse.cli.kudu.connection import find_cluster
    from imagewarehouse.cli.kudu.show import list_tables, show_declaration, show_rows, show_table

    if name is None and (as_schema or rows):
        raise ConfigurationError("TABLE", "is needed with --schema and --rows")
    connection = find_cluster(**cluster)
    if name is None:
        list_tables(connection, as_json)
    elif rows:
        show_rows(connection, name, rows, as_json)
    elif as_schema:
        show_declaration(connection, name)
    else:
        show_table(connection, name, as_json)


@table.command()
@click.argument("name", metavar="TABLE")
@click.option("--add", multiple=True, metavar="WHEN", help="Add the range of this month (2026-12), day (2026-12-31) or year "
              "(2026); may be repeated.")  # fmt: skip
@click.option("--add-until", metavar="WHEN", help="Add what is missing from now up to and including this month.")
@click.option("--ahead", type=click.IntRange(0, 1000), metavar="N", help="Add what is missing of now and N more.")
@click.option(
    "--drop-before", metavar="WHEN", help="Drop the ranges that end by the start of this month, with all rows."
)
@click.option("--keep-months", type=click.IntRange(1), metavar="N", help="Drop the ranges that ended more than N whole "
              "months ago, with all rows.")  # fmt: skip
@click.option("--unit", type=click.Choice(["day", "month", "year"]), help="Length of the ranges that are added.  "
              "[default: as --add says, else as the others in the table, else a month]")  # fmt: skip
@click.option("--yes", is_flag=True, help="Drop without asking.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@_json
@_cluster_options
def partitions(
    name: str,
    add: tuple[str, ...],
    add_until: str | None,
    ahead: int | None,
    drop_before: str | None,
    keep_months: int | None,
    unit: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    **cluster: Any,
) -> None:
    """List the range partitions of a table, add some, or drop old ones with their rows.

    Rows and sizes are listed where the web pages of Kudu's servers answer. Times are UTC.

    \b
    Examples:
      imagewarehouse table partitions image_events
      imagewarehouse table partitions image_events --add-until 2027-06
      imagewarehouse table partitions image_events --keep-months 24 --ahead 3 --yes
    """
    from imagewarehouse.cli.kudu.connection import find_cluster
    from imagewarehouse.cli.kudu.partitions import Changes, change_ranges, list_ranges

    connection = find_cluster(**cluster)
    changes = Changes(add, add_until, ahead, drop_before, keep_months)
    if changes:
        change_ranges(connection, name, changes, unit, _now(), yes=yes, dry_run=dry_run, as_json=as_json)
    elif dry_run:
        raise ConfigurationError("--dry-run", "there is nothing to do; say what to add or to drop")
    else:
        list_ranges(connection, name, unit, _now(), as_json)


@table.command("compact-check")
@click.argument("name", metavar="[TABLE]", default="image_events")
@_json
@click.option("--web", multiple=True, metavar="HOST:PORT", help="Web pages of a master or, once for each, of a tablet "
              "server; may be repeated.  [default: port 8051 of the masters]")  # fmt: skip
@_cluster_options
def compact_check(name: str, as_json: bool, **cluster: Any) -> None:
    """Look whether a table is well compacted and well laid out; without TABLE, that of the image records.

    Reads the web pages of Kudu's servers. Kudu compacts by itself and takes no order to do so; what is listed here is
    where it does not keep up, or where the layout is in its way. Exit codes: 0 fine, 1 something to do, 2 could not look.

    \b
    height     How many rowsets on disk a key lies in, on average. 1 is compacted; each write and each lookup of a key
               asks that many rowsets. Freshly flushed rows make it 2 until they are compacted.
    unflushed  Rows and changes that are in memory and in the log only. Kudu flushes them after two minutes or from 1 GiB on.
    """
    from imagewarehouse.cli.kudu.compact_check import check_table
    from imagewarehouse.cli.kudu.connection import find_cluster

    if not check_table(find_cluster(**cluster), name, _now(), as_json):
        sys.exit(1)
