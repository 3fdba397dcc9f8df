"""`imagewarehouse table compact-check`: checks the compaction and partitions of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

import click

from imagewarehouse.amounts import counted
from imagewarehouse.cli.kudu.connection import Cluster
from imagewarehouse.cli.kudu.printing import number, print_columns, print_json, progress, size
from imagewarehouse.cli.kudu.ranges import distance, parse_server_range, time_kind
from imagewarehouse.cli.kudu.tablets import Tablet, by_range, read_tablets
from imagewarehouse.errors import ConfigurationError, KuduUnavailable
from imagewarehouse.kudu.schema import KuduType, TableSchema

# A flush lays its rowsets over those that are there: after one, a key of a compacted tablet lies in up to 2. Above 2, a
# second flush has come before the compaction of the first. Every write and key lookup asks that many rowsets.
MAX_HEIGHT = 2.0
# Kudu's scaling recommendations: aim at less than 10 GiB a tablet, and stay below 50, from where on compactions of the
# default budget (128 MB) may change too little to be run at all (KUDU-2726).
AIM_BYTES, MAX_BYTES = 10 << 30, 50 << 30
# Kudu flushes from this size on (--flush_threshold_mb), or after two minutes: more than that waits for its turn.
FLUSH_BYTES = 1 << 30
# Hashing spreads even 1,000 rows to within a few percent. One bucket with twice the rows of another is no accident.
SKEW, SKEW_ROWS = 2.0, 1000


def check_table(cluster: Cluster, name: str, now: datetime, as_json: bool) -> bool:
    """Print the findings. Returns True where there are none."""
    with cluster.connect(name) as writer:
        schema = writer.schema(name, refresh=True)
    progress("asking the tablet servers")
    try:
        survey = read_tablets(cluster.web, name, cluster.timeout)
    except KuduUnavailable as err:
        raise ConfigurationError("--web", f"give the web address of a master: {err}") from err
    findings = [("", f"could not look at every tablet: {reason}") for reason in survey.unread]
    findings += [("", f"tablet {tablet} has no leader: nothing can be written to it") for tablet in survey.leaderless]
    notes, lines = [], []
    groups = by_range(survey.tablets)
    for text, members in groups.items():
        label = _short_range(text)
        for tablet in members:
            tablet_problems = problems(tablet, members)
            findings += [(f"{label} bucket {tablet.bucket}".strip(), line) for line in tablet_problems]
            if tablet.rows or tablet_problems:
                lines.append(_line(label, tablet, bool(tablet_problems)))
        if not any(tablet.rows for tablet in members):
            notes.append(f"{label or 'the table'}: {_empty(text, members, schema, now)}")
    if not survey.unread and not _takes_rows_of_now(schema, groups, now):
        findings.append(("", "no range takes rows of now: `table partitions` adds it"))
    if as_json:
        answer = {
            "table": name,
            "fine": not findings,
            "findings": [{"where": place, "problem": line} for place, line in findings],
            "tablets": [asdict(tablet) for tablet in survey.tablets],
        }
        print_json(answer, indent=2)
        return not findings
    if lines:
        print_columns(("range", "bucket", "rows", "data", "rowsets", "height", "unflushed", ""), lines)
    for note in notes:
        click.echo(note)
    for place, line in findings:
        click.echo(f"{f'{place}: ' if place else ''}{line}")
    verdict = counted(len(findings), "finding") if findings else "fine"
    click.echo(f"table {name}: {verdict}, {counted(len(survey.tablets), 'tablet')}")
    return not findings


def problems(tablet: Tablet, siblings: Iterable[Tablet]) -> list[str]:
    """The problems of a tablet, one line each. `siblings`: the tablets of its range."""
    lines = []
    if tablet.state != "RUNNING":
        lines.append(f"is {tablet.state}, not RUNNING: see the log of {tablet.server}")
    if (tablet.height or 0) > MAX_HEIGHT and not tablet.compacting:
        if tablet.gain == 0:
            reason = "and Kudu plans no compaction: raise --tablet_compaction_budget_mb, or make smaller tablets"
        elif tablet.gain is None:
            reason = "compaction does not keep up with the writes"
        else:
            reason = "compaction waits for its turn: if it stays so, raise --maintenance_manager_num_threads"
        lines.append(f"rowset height {tablet.height:.1f}, {reason}")
    if (tablet.data or 0) > AIM_BYTES:
        limit = "over Kudu's limit of 50 GiB" if (tablet.data or 0) > MAX_BYTES else "more than the 10 GiB to aim at"
        lines.append(f"{size(tablet.data)} of data, {limit}: shorter ranges from now on, or a table with more buckets")
    memory = (tablet.unflushed or 0) + (tablet.deltas or 0)
    if memory > FLUSH_BYTES:
        lines.append(f"{size(memory)} only in memory: flushes do not keep up, look at disks and memory")
    least = min((t.rows for t in siblings if t.rows is not None), default=None)
    if least is not None and (tablet.rows or 0) >= SKEW_ROWS and (tablet.rows or 0) > SKEW * max(least, 1):
        lines.append(f"{tablet.rows:,} rows where another bucket has {least:,}: hash by a column of more values")
    return lines


def _line(label: str, tablet: Tablet, has_problems: bool) -> tuple[str, ...]:
    memory = None if tablet.unflushed is None else tablet.unflushed + (tablet.deltas or 0)
    verdict = "see below" if has_problems else "being compacted" if tablet.compacting else "fine"
    height = "?" if tablet.height is None else f"{tablet.height:.2f}"
    return (label, tablet.bucket, number(tablet.rows), size(tablet.data), number(tablet.rowsets), height, size(memory),
            verdict)  # fmt: skip


def _empty(text: str, members: Sequence[Tablet], schema: TableSchema, now: datetime) -> str:
    part = parse_server_range(text, time_kind(schema))
    when = "" if part is None else distance(part, now)
    drop = ", could be dropped" if when.startswith("ended") else ""
    return f"no rows in {counted(len(members), 'tablet')}{drop}{f' ({when})' if when else ''}"


def _takes_rows_of_now(schema: TableSchema, texts: Iterable[str], now: datetime) -> bool:
    """Whether a range takes rows of now. True where a range cannot be read or is not over time."""
    kind = time_kind(schema)
    if kind is None:
        return True
    at = (now.date() if kind is KuduType.DATE else now,)
    parts = [parse_server_range(text, kind) for text in texts]
    return any(
        part is None or ((part.lower is None or part.lower <= at) and (part.upper is None or at < part.upper))
        for part in parts
    )


def _short_range(text: str) -> str:
    """`A <= VALUES < B` as `A to B`."""
    match = re.fullmatch(r"(.+) <= VALUES < (.+)", text)
    return f"{match[1]} to {match[2]}" if match else text
