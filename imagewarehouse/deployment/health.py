"""What slows a flow down or stops it although all of it is valid and runs: full disks, full queues, steps that fail.

NiFi tells some of it over REST and some only in its nifi-app.log. What this cannot see: how far the content archive is
from its limit (the limit is not told), and a processor that yields without a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imagewarehouse.amounts import counted
from imagewarehouse.deployment.connection import Nifi
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.running import Queue, essence, is_worth_telling

FULL_PERCENT = 90  # where NiFi, as shipped, begins to delete its archive; two points later its writes wait
_MANY = 100  # most queues of the flow hold one package: full is what they are while work is done
_AGAIN = 3  # errors of one component within `_LATELY_S`: it is not the end of one client's patience
_LATELY_S = 60
_STILL_S = 20  # since the last of them: what an operator has mended is no problem any more
_DAY_S = 24 * 60 * 60
_ARCHIVE = "archive file size constraints"
_REPOSITORIES = (
    ("FlowFile repository", "flowFileRepositoryStorageUsage"),
    ("content repository", "contentRepositoryStorageUsage"),
    ("provenance repository", "provenanceRepositoryStorageUsage"),
)


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that a repository is on; others may write to it as well."""

    repository: str
    node: str
    used: int  # bytes, with what the system keeps for itself: what NiFi goes by
    total: int

    @property
    def percent(self) -> int:
        return round(100 * self.used / self.total) if self.total else 0

    def __str__(self) -> str:
        node = f" on {self.node}" if self.node else ""
        return f"{self.repository}{node}: {self.percent} % of {self.total / 1e9:,.0f} GB used"


# --- disks --------------------------------------------------------------------------------------------------------


def disks(nifi: Nifi) -> list[Disk] | None:
    """Of every node; None where this user may not look ('view system diagnostics')."""
    try:
        diagnostics = nifi.get("/system-diagnostics", nodewise="true")["systemDiagnostics"]
    except NifiError:
        return None
    nodes = diagnostics.get("nodeSnapshots") or [{"snapshot": diagnostics.get("aggregateSnapshot") or {}}]
    return [disk for node in nodes for disk in _disks(node.get("address") or "", node.get("snapshot") or {})]


def _disks(node: str, snapshot: Mapping[str, Any]) -> Iterator[Disk]:
    for name, key in _REPOSITORIES:
        usage = snapshot.get(key) or []
        for one in [usage] if isinstance(usage, Mapping) else usage:
            yield Disk(name, node, int(one.get("usedSpaceBytes") or 0), int(one.get("totalSpaceBytes") or 0))


def disk_problems(found: Iterable[Disk]) -> list[str]:
    return [
        f"{disk}; NiFi stops taking anything in when it is full, and waits for its content archive before that"
        for disk in found
        if disk.percent >= FULL_PERCENT
    ]


# --- queues -------------------------------------------------------------------------------------------------------


def queue_problems(queues: Iterable[Queue]) -> list[str]:
    """Queues that have reached their limit, so that the step before them stands still."""
    return [
        f"full: {counted(queue.count, 'FlowFile')} ({queue.size / 1e6:,.0f} MB) in {queue.group}:"
        f" {queue.name or f'{queue.source} -> {queue.destination}'};"
        f" {queue.destination} is too slow, fails or does not run, and listeners answer 503"
        for queue in queues
        if queue.full and queue.count >= _MANY
    ]


# --- what NiFi says -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Board:
    """What NiFi has said in the last five minutes, oldest first, and a line for each thing of it that is wrong now."""

    bulletins: list[Mapping[str, Any]]
    archive: list[str]  # writes that waited for the content archive
    failing: list[str]  # a line for each component that goes on failing


def board(nifi: Nifi, inside: Iterable[str]) -> Board:
    """Of these process groups, and of NiFi itself."""
    answer = nifi.get("/flow/bulletin-board", limit="1000")["bulletinBoard"]
    groups = set(inside)
    messages = [item["bulletin"] for item in answer.get("bulletins") or [] if item.get("bulletin")]
    mine = sorted(
        (
            message
            for message in messages
            if is_worth_telling(message)
            and (message.get("groupId") in groups or message.get("sourceType") == "FLOW_CONTROLLER")
        ),
        key=lambda message: message["id"],
    )
    return Board(mine, list(_archive(mine)), list(_failing(mine, str(answer.get("generated") or ""))))


def _archive(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    waits = [message for message in messages if _ARCHIVE in str(message.get("message"))]
    if waits:
        yield (
            f"NiFi waited for its content archive, the last time at {waits[-1].get('timestamp')}: the disk of the content"
            " repository is fuller than nifi.content.repository.archive.max.usage.percentage, so its writes wait up to a"
            " minute each time; set nifi.content.repository.archive.enabled=false, or give it another disk, and restart"
        )


def _failing(messages: Iterable[Mapping[str, Any]], now: str) -> Iterator[str]:
    """Components that go on failing. One error alone may be a client that has gone away."""
    by_source: dict[str, list[Mapping[str, Any]]] = {}
    for message in messages:
        if message.get("level") == "ERROR" and message.get("sourceId") and _age_s(message, now) <= _LATELY_S:
            by_source.setdefault(str(message["sourceId"]), []).append(message)
    for errors in by_source.values():
        if len(errors) >= _AGAIN and _age_s(errors[-1], now) <= _STILL_S:
            last = errors[-1]
            yield f"{last.get('sourceName')} goes on failing: {essence(str(last.get('message') or ''))}"


def _age_s(message: Mapping[str, Any], now: str) -> float:
    return _seconds_between(str(message.get("timestamp") or ""), now)


def _seconds_between(early: str, late: str) -> float:
    """Of two times of day as NiFi writes them (`17:52:19 UTC`): its own clock, whatever ours says."""
    try:
        seconds = [sum(int(part) * unit for part, unit in zip(text.split(" ")[0].split(":"), (3600, 60, 1), strict=True))
                   for text in (early, late)]  # fmt: skip
    except ValueError:
        return float("inf")
    return float((seconds[1] - seconds[0]) % _DAY_S)
