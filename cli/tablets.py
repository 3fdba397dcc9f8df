"""The tablets of a Kudu table as the web pages of Kudu's servers tell of them, and what an operator should do about it.

Kudu's clients know neither rowsets nor memory. The servers do: each has web pages, some of them JSON.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

from imagewarehouse.errors import KuduUnavailable
from imagewarehouse.kudu.schema import KuduType, Range

MASTER_WEB_PORT = 8051  # Kudu's own default; the address itself is only told by RPCs that no client offers

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

_METRICS = ("live_row_count", "on_disk_size", "on_disk_data_size", "num_rowsets_on_disk", "average_diskrowset_height",
            "memrowset_size", "compact_rs_running", "state")  # fmt: skip
_GONE = ("", "STOPPING", "STOPPED", "SHUTDOWN")
_RANGE = re.compile(r"RANGE \([^)]*\) PARTITION (.+)")
_BUCKET = re.compile(r"HASH \([^)]*\) PARTITION (\d+)")
_BOUNDS = re.compile(r"(?:(?P<lower>.+) <= )?VALUES(?: < (?P<upper>.+))?")
_OPERATION = re.compile(r"<td>(\w+)\((\w{32})\)</td>((?:\s*<td>[^<]*</td>)+)")
_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True)
class Tablet:
    """One tablet as its leader tells of it; None: it does not. Sizes in bytes."""

    id: str
    partition: str
    server: str
    state: str = "RUNNING"
    rows: int | None = None
    disk: int | None = None  # with the write-ahead log, of which even an empty tablet has 8 MiB
    data: int | None = None
    rowsets: int | None = None
    height: float | None = None  # rowsets that a key lies in, on average over the rows: 1 is compacted, 0 is empty
    unflushed: int | None = None  # rows that are in memory only
    deltas: int | None = None  # changes of flushed rows that are in memory only
    compacting: bool = False
    gain: float | None = None  # what Kudu expects of the next compaction; 0: it plans none

    @property
    def range(self) -> str:
        """`2026-11-01 <= VALUES < 2026-12-01`; empty for a table without ranges."""
        found = _RANGE.search(self.partition)
        return re.sub(r"T00:00:00\.000000Z", "", found[1]) if found else ""

    @property
    def bucket(self) -> str:
        """`2`; `2.0` where there are two hash levels."""
        return ".".join(_BUCKET.findall(self.partition))


@dataclass(frozen=True, slots=True)
class Found:
    """The tablets that could be read. `leaderless`: ids that nobody serves. `unread`: why some servers are missing."""

    tablets: tuple[Tablet, ...]
    leaderless: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def read_tablets(addresses: Sequence[str], table: str, timeout: float) -> Found:
    """Ask web addresses (host:port) of masters, of which one knows all tablet servers, or of tablet servers themselves.

    Raises KuduUnavailable when nothing can be read.
    """
    servers: dict[str, str] = {}  # address of the web pages by itself or by the server's id
    leaders: dict[str, str] = {}
    leaderless: tuple[str, ...] = ()
    unread: list[str] = []
    for address in addresses:
        url = address if "://" in address else f"http://{address}"
        try:
            entities = _json(f"{url}/dump-entities", timeout, missing=None)
        except KuduUnavailable as err:
            unread.append(str(err))
            continue
        if entities is None:  # no master
            servers[url] = url
            continue
        ids = {t["table_id"] for t in entities.get("tables", ()) if t.get("table_name") == table}
        tablets = [t for t in entities.get("tablets", ()) if t.get("table_id") in ids and t.get("state") == "RUNNING"]
        if not tablets:  # a master that does not lead knows of none
            unread.append(f"{url} knows no tablet of {table}")
            continue
        leaders = {t["tablet_id"]: t["leader"] for t in tablets if t.get("leader")}
        leaderless = tuple(t["tablet_id"] for t in tablets if not t.get("leader"))
        known = {s["uuid"]: s["http_addrs"][0] for s in entities.get("tablet_servers", ()) if s.get("http_addrs")}
        servers.update((uuid, known[uuid]) for uuid in set(leaders.values()) if uuid in known)
        unread = [f"tablet server {uuid} has no web pages" for uuid in sorted(set(leaders.values()) - set(known))]
        break
    found: dict[str, Tablet] = {}
    for uuid, url in servers.items():
        tablets_there, reason = _ask(url, table, timeout)
        unread += [reason] if reason else []
        for tablet in tablets_there:
            if not leaders or leaders.get(tablet.id) == uuid:
                found.setdefault(tablet.id, tablet)
    if not found:
        raise KuduUnavailable("; ".join(unread) or f"no tablet of {table} at {', '.join(addresses)}")
    tablets_found = sorted(found.values(), key=lambda t: (t.range, t.bucket))
    return Found(tuple(tablets_found), leaderless, tuple(unread))


def time_range(text: str, kind: KuduType) -> Range | None:
    """`Tablet.range` as the range that a client knows; None where the column is no time."""
    found = _BOUNDS.fullmatch(text)
    if found is None or kind not in (KuduType.DATE, KuduType.UNIXTIME_MICROS):
        return None

    def bound(value: str | None) -> tuple[Any, ...] | None:
        if value is None:
            return None
        if kind is KuduType.DATE:
            return (date.fromisoformat(value),)
        full = value if "T" in value else f"{value}T00:00:00Z"
        return (datetime.fromisoformat(full.replace("Z", "+00:00")),)

    try:
        return Range(bound(found["lower"]), bound(found["upper"]))
    except ValueError:
        return None


def problems(tablet: Tablet, siblings: Iterable[Tablet]) -> list[str]:
    """What is to be done about a tablet, a line each. `siblings`: the tablets of its range."""
    found = []
    if tablet.state != "RUNNING":
        found.append(f"is {tablet.state}, not RUNNING: see the log of {tablet.server}")
    if (tablet.height or 0) > MAX_HEIGHT and not tablet.compacting:
        if tablet.gain == 0:
            reason = "and Kudu plans no compaction: raise --tablet_compaction_budget_mb, or make smaller tablets"
        elif tablet.gain is None:
            reason = "compaction does not keep up with the writes"
        else:
            reason = "compaction waits for its turn: if it stays so, raise --maintenance_manager_num_threads"
        found.append(f"rowset height {tablet.height:.1f}, {reason}")
    if (tablet.data or 0) > AIM_BYTES:
        limit = "over Kudu's limit of 50 GiB" if (tablet.data or 0) > MAX_BYTES else "more than the 10 GiB to aim at"
        found.append(f"{size(tablet.data)} of data, {limit}: shorter ranges from now on, or a table with more buckets")
    memory = (tablet.unflushed or 0) + (tablet.deltas or 0)
    if memory > FLUSH_BYTES:
        found.append(f"{size(memory)} only in memory: flushes do not keep up, look at disks and memory")
    least = min((t.rows for t in siblings if t.rows is not None), default=None)
    if least is not None and (tablet.rows or 0) >= SKEW_ROWS and (tablet.rows or 0) > SKEW * max(least, 1):
        found.append(f"{tablet.rows:,} rows where another bucket has {least:,}: hash by a column of more values")
    return found


def by_range(tablets: Iterable[Tablet]) -> dict[str, list[Tablet]]:
    found: dict[str, list[Tablet]] = defaultdict(list)
    for tablet in tablets:
        found[tablet.range].append(tablet)
    return dict(found)


def size(value: int | None) -> str:
    """`1.5 GiB`; a question mark for what is not known."""
    if value is None or value < 0:
        return "?"
    number = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


# --- the pages ----------------------------------------------------------------------------------------------------


def _ask(url: str, table: str, timeout: float) -> tuple[list[Tablet], str]:
    try:
        return _tablets_of(url, table, timeout), ""
    except KuduUnavailable as err:
        return [], str(err)


def _tablets_of(url: str, table: str, timeout: float) -> list[Tablet]:
    entities = _json(f"{url}/metrics?types=tablet&compact=1&metrics={','.join(_METRICS)}", timeout)
    try:
        operations = maintenance(_get(f"{url}/maintenance-manager", timeout).decode("utf-8", "replace"))
    except KuduUnavailable:
        operations = {}  # the page is HTML for people: what it tells is left out where it cannot be read
    found = []
    for entity in entities:
        values = {m["name"]: m.get("value") for m in entity.get("metrics", ())}
        # Of a tablet that was dropped or has moved away, the metrics stay for minutes.
        if entity.get("attributes", {}).get("table_name") != table or values.get("state") in _GONE:
            continue
        compaction = operations.get(("CompactRowSetsOp", entity["id"]))
        deltas = operations.get(("FlushDeltaMemStoresOp", entity["id"]))
        found.append(
            Tablet(
                entity["id"],
                entity["attributes"].get("partition", ""),
                url,
                str(values.get("state", "RUNNING")),
                values.get("live_row_count"),
                values.get("on_disk_size"),
                values.get("on_disk_data_size"),
                values.get("num_rowsets_on_disk"),
                values.get("average_diskrowset_height"),
                values.get("memrowset_size"),
                deltas[0] if deltas else None,
                bool(values.get("compact_rs_running")),
                compaction[1] if compaction else None,
            )
        )
    return found


def maintenance(page: str) -> dict[tuple[str, str], tuple[int, float]]:
    """The operations that a tablet server may run: (memory held in bytes, expected gain) by (operation, tablet)."""
    found = {}
    for operation, tablet, rest in _OPERATION.findall(page):
        cells = re.findall(r"<td>([^<]*)</td>", rest)
        if len(cells) < 4:  # one that runs
            continue
        try:
            number, unit = re.fullmatch(r"([\d.]+)([KMGT]?)B?", cells[1].strip()).groups()  # type: ignore[union-attr]
            found[operation, tablet] = int(float(number) * _SIZES[unit]), float(cells[3])
        except (AttributeError, ValueError):
            continue
    return found


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a cluster is not behind the proxy of the web
_MISSING: Any = object()


def _json(url: str, timeout: float, missing: Any = _MISSING) -> Any:
    try:
        return json.loads(_get(url, timeout))
    except ValueError as err:
        raise KuduUnavailable(f"{url} is not JSON: is it the web address of a Kudu server?") from err
    except KuduUnavailable as err:
        if missing is not _MISSING and isinstance(err.__cause__, urllib.error.HTTPError) and err.__cause__.code == 404:
            return missing
        raise


def _get(url: str, timeout: float) -> bytes:
    try:
        with _OPENER.open(quote(url, safe=":/?&=,[]%"), timeout=timeout) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as err:
        hint = "; its web pages ask who is there, which this command cannot answer" if err.code == 401 else ""
        raise KuduUnavailable(f"{url} answered {err.code}{hint}") from err
    except (OSError, ValueError) as err:
        raise KuduUnavailable(f"{url} did not answer: {getattr(err, 'reason', err)}") from err
