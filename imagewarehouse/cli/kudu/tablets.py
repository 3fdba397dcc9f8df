"""The tablets of a Kudu table, read from the web pages of Kudu's servers.

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
from typing import Any
from urllib.parse import quote

from imagewarehouse.errors import KuduUnavailable

MASTER_WEB_PORT = 8051  # Kudu's own default; only RPCs that no client offers give the address itself

_METRICS = ("live_row_count", "on_disk_size", "on_disk_data_size", "num_rowsets_on_disk", "average_diskrowset_height",
            "memrowset_size", "compact_rs_running", "state")  # fmt: skip
_GONE = ("", "STOPPING", "STOPPED", "SHUTDOWN")
_RANGE = re.compile(r"RANGE \([^)]*\) PARTITION (.+)")
_BUCKET = re.compile(r"HASH \([^)]*\) PARTITION (\d+)")
_OPERATION = re.compile(r"<td>(\w+)\((\w{32})\)</td>((?:\s*<td>[^<]*</td>)+)")
_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True)
class Tablet:
    """One tablet as its leader reports it; None: not reported. Sizes in bytes."""

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
        match = _RANGE.search(self.partition)
        return re.sub(r"T00:00:00\.000000Z", "", match[1]) if match else ""

    @property
    def bucket(self) -> str:
        """`2`; `2.0` where there are two hash levels."""
        return ".".join(_BUCKET.findall(self.partition))


@dataclass(frozen=True, slots=True)
class TabletSurvey:
    """The tablets that could be read. `leaderless`: ids that nobody serves. `unread`: why some servers are missing."""

    tablets: tuple[Tablet, ...]
    leaderless: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def read_tablets(addresses: Sequence[str], table: str, timeout: float) -> TabletSurvey:
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
            entities = _json(f"{url}/dump-entities", timeout)
        except _NoSuchPage:  # no master
            servers[url] = url
            continue
        except KuduUnavailable as err:
            unread.append(str(err))
            continue
        ids = {t["table_id"] for t in entities.get("tables", ()) if t.get("table_name") == table}
        tablets = [t for t in entities.get("tablets", ()) if t.get("table_id") in ids and t.get("state") == "RUNNING"]
        if not tablets:  # a master that does not lead knows of none
            unread.append(f"{url} knows no tablet of {table}")
            continue
        leaders = {t["tablet_id"]: t["leader"] for t in tablets if t.get("leader")}
        leaderless = tuple(t["tablet_id"] for t in tablets if not t.get("leader"))
        web_addresses = {
            s["uuid"]: s["http_addrs"][0] for s in entities.get("tablet_servers", ()) if s.get("http_addrs")
        }
        servers.update((uuid, web_addresses[uuid]) for uuid in set(leaders.values()) if uuid in web_addresses)
        unread = [
            f"tablet server {uuid} has no web pages" for uuid in sorted(set(leaders.values()) - set(web_addresses))
        ]
        break
    tablets_by_id: dict[str, Tablet] = {}
    for uuid, url in servers.items():
        try:
            server_tablets = _tablets_of(url, table, timeout)
        except KuduUnavailable as err:
            unread.append(str(err))
            continue
        for tablet in server_tablets:
            if not leaders or leaders.get(tablet.id) == uuid:
                tablets_by_id.setdefault(tablet.id, tablet)
    if not tablets_by_id:
        raise KuduUnavailable("; ".join(unread) or f"no tablet of {table} at {', '.join(addresses)}")
    by_place = sorted(tablets_by_id.values(), key=lambda t: (t.range, t.bucket))
    return TabletSurvey(tuple(by_place), leaderless, tuple(unread))


def by_range(tablets: Iterable[Tablet]) -> dict[str, list[Tablet]]:
    groups: dict[str, list[Tablet]] = defaultdict(list)
    for tablet in tablets:
        groups[tablet.range].append(tablet)
    return dict(groups)


# --- the pages ----------------------------------------------------------------------------------------------------


def _tablets_of(url: str, table: str, timeout: float) -> list[Tablet]:
    entities = _json(f"{url}/metrics?types=tablet&compact=1&metrics={','.join(_METRICS)}", timeout)
    try:
        operations = maintenance(_get(f"{url}/maintenance-manager", timeout).decode("utf-8", "replace"))
    except KuduUnavailable:
        operations = {}  # the page is HTML for people: its values are omitted where it cannot be read
    tablets = []
    for entity in entities:
        values = {m["name"]: m.get("value") for m in entity.get("metrics", ())}
        # Of a tablet that was dropped or has moved away, the metrics stay for minutes.
        if entity.get("attributes", {}).get("table_name") != table or values.get("state") in _GONE:
            continue
        compaction = operations.get(("CompactRowSetsOp", entity["id"]))
        deltas = operations.get(("FlushDeltaMemStoresOp", entity["id"]))
        tablets.append(
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
    return tablets


def maintenance(page: str) -> dict[tuple[str, str], tuple[int, float]]:
    """The operations that a tablet server may run: (memory held in bytes, expected gain) by (operation, tablet)."""
    operations_by_tablet = {}
    for operation, tablet, row_html in _OPERATION.findall(page):
        cells = re.findall(r"<td>([^<]*)</td>", row_html)
        if len(cells) < 4:  # one that runs
            continue
        try:
            number, unit = re.fullmatch(r"([\d.]+)([KMGT]?)B?", cells[1].strip()).groups()  # type: ignore[union-attr]
            operations_by_tablet[operation, tablet] = int(float(number) * _SIZES[unit]), float(cells[3])
        except (AttributeError, ValueError):
            continue
    return operations_by_tablet


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a cluster is not behind the proxy of the web


class _NoSuchPage(KuduUnavailable):
    pass


def _json(url: str, timeout: float) -> Any:
    try:
        return json.loads(_get(url, timeout))
    except ValueError as err:
        raise KuduUnavailable(f"{url} is not JSON: is it the web address of a Kudu server?") from err


def _get(url: str, timeout: float) -> bytes:
    try:
        with _OPENER.open(quote(url, safe=":/?&=,[]%"), timeout=timeout) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as err:
        hint = "; its web pages ask who is there, which this command cannot answer" if err.code == 401 else ""
        kind = _NoSuchPage if err.code == 404 else KuduUnavailable
        raise kind(f"{url} answered {err.code}{hint}") from err
    except (OSError, ValueError) as err:
        raise KuduUnavailable(f"{url} did not answer: {getattr(err, 'reason', err)}") from err
