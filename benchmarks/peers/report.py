"""The result as text: Markdown that docs/performance.md can take as it is."""

from __future__ import annotations

import platform
import statistics
import subprocess
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from benchmarks.peers.environments import GIT
from benchmarks.peers.measure import Plan, Point, Result
from benchmarks.peers.pictures import Picture, sizes
from benchmarks.peers.systems import OURS, System
from imagewarehouse.models.manifest import LITERT, Manifest
from imagewarehouse.resources import REPOSITORY


def conditions(
    plan: Plan, systems: Sequence[System], pictures: dict[str, list[Picture]], manifest: Manifest
) -> dict[str, Any]:
    """What a reader has to know beside the figures."""
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    git = [GIT, "-C", str(REPOSITORY)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run(
        [*git, "status", "--porcelain"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": list(psutil.getloadavg()),
        "commit": commit,
        "changed": bool(changed),
        "model": f"{manifest.name} {manifest.version}, {manifest.runtimes[LITERT].name}",
        "pictures": {kind: sizes(found) for kind, found in pictures.items()},
        "unique": plan.unique,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "connections": list(plan.connections),
        "systems": {one.name: {"setting": one.setting, "versions": dict(one.versions())} for one in systems},
    }


def text(result: Result) -> str:
    found = result.conditions
    lines = [*_head(result), ""]
    kinds = list(dict.fromkeys(point.kind for point in result.points))
    for kind in kinds:
        for connections in found["connections"]:
            points = [point for point in result.points if (point.kind, point.connections) == (kind, connections)]
            if points:
                plural = "s" if connections > 1 else ""
                lines += [f"**{kind}, {connections} connection{plural}**", "", *_load_table(points), ""]
    lines += ["**Start and memory**", "", *_start_table(result, kinds), ""]
    lines += [f"- {name}: {what['setting']}; {_versions(what['versions'])}" for name, what in found["systems"].items()]
    if result.problems:
        lines += ["", "What did not work:", "", *(f"- {problem}" for problem in result.problems)]
    return "\n".join(lines) + "\n"


def _head(result: Result) -> Iterable[str]:
    found, points = result.conditions, result.points
    load = ", ".join(f"{value:.1f}" for value in found["load_before"])
    changed = " with changes that are not committed" if found["changed"] else ""
    yield (
        f"{found['cores']} x {found['cpu']}, {found['memory_gib']} GiB, {found['system']}, Python {found['python']}; load "
        f"before: {load}; commit {found['commit'][:12]}{changed}, {found['date']}. Model {found['model']}."
    )
    for kind, what in found["pictures"].items():
        yield f"{kind}: {what}{', each request another file' if found['unique'] else ', sent again and again'}."
    if points:
        right, failed = sum(point.load.right for point in points), sum(point.load.failed for point in points)
        others = [point.others for point in points]
        client = statistics.median(point.load.client_cpu * 1000 / max(1, point.load.right) for point in points)
        yield (
            f"Median of {found['rounds']} rounds of {found['seconds']:g} s [lowest, highest]; ratios are of one round. Status "
            f"and class of each of {right + failed:,} answers were checked: {failed:,} failed. Client and server share the "
            f"cores: the generator took {client:.2f} ms of CPU an image, other programs {statistics.median(others):.2f} cores "
            f"[{min(others):.2f}, {max(others):.2f}]."
        )


def _load_table(points: Sequence[Point]) -> list[str]:
    rows = []
    ours = {point.round: point.load.images_per_second for point in points if point.system == OURS}
    for name in dict.fromkeys(point.system for point in sorted(points, key=lambda point: point.round)):
        of = [point for point in points if point.system == name]
        ratios = [ours[p.round] / p.load.images_per_second for p in of if p.round in ours and p.load.images_per_second]
        failed = sum(point.load.failed for point in of)
        rows.append(
            (
                statistics.median(point.load.images_per_second for point in of),
                [
                    name,
                    _spread([point.load.images_per_second for point in of], _rate),
                    _spread([point.load.p50 for point in of], _milliseconds),
                    _spread([point.load.p99 for point in of], _milliseconds),
                    _spread([point.cpu_ms for point in of], lambda value: f"{value:.2f}"),
                    _spread(ratios, lambda value: f"{value:.2f}") if name != OURS else "",
                    f"{failed:,}",
                ],
            )
        )
    rows.sort(key=lambda row: -row[0])
    head = ["system", "images/s", "p50, ms", "p99, ms", "CPU an image, ms", "ours / it", "failed"]
    return _table(head, [cells for _, cells in rows])


def _start_table(result: Result, kinds: Sequence[str]) -> list[str]:
    rows = []
    for name in result.conditions["systems"]:
        visits = [visit for visit in result.visits if visit.system == name]
        if not visits:
            continue
        cells = [name, _spread([visit.ready_after for visit in visits], lambda value: f"{value:.1f}")]
        for kind in kinds:
            found = [visit.memory[kind] for visit in visits]
            cells += [
                _spread([memory.pss for memory in found], _whole),
                _spread([memory.rss for memory in found], _whole),
            ]
        processes = max(memory.processes for visit in visits for memory in visit.memory.values())
        rows.append([*cells, str(processes)])
    columns = [column for kind in kinds for column in (f"PSS after {kind}, MiB", f"RSS after {kind}, MiB")]
    return _table(["system", "first right answer after, s", *columns, "processes"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    if not values:
        return ""
    middle = form(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} [{form(min(values))}, {form(max(values))}]"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _milliseconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
