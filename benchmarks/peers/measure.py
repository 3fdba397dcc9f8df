"""The measurement: in each round every system is started, checked, warmed up, loaded, and ended; the next one follows.

One at a time, so that nothing idles beside what is measured (Ray alone keeps a dozen processes awake), and so that start and
memory are measured as often as everything else. The order moves on by one in each round.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import generator
from benchmarks.peers.checks import answers, check_answers
from benchmarks.peers.pictures import Picture
from benchmarks.peers.processes import Memory, Running, busy_seconds
from benchmarks.peers.systems import System, environment_variables
from imagewarehouse.models.manifest import Manifest
from imagewarehouse.ports import free_ports

CHECKED = {"small": 50, "photo": 10}  # answers looked at in full before anything is measured
_WARM_UP_CONNECTIONS = 8
_WARM_UPS = 5  # most of them


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured. Times in seconds."""

    connections: Sequence[int]
    rounds: int
    seconds: float
    warm_up: float
    unique: bool


@dataclass(frozen=True, slots=True)
class Point:
    """One system under one load in one round."""

    system: str
    kind: str
    connections: int
    round: int
    load: generator.Load
    cpu_ms: float  # of all the server's processes, for an image
    others: float  # cores that neither the server nor the generator used, but somebody else


@dataclass(frozen=True, slots=True)
class Visit:
    """One start of one system: seconds to its first right answer, and memory after the load of each kind of picture."""

    system: str
    round: int
    ready_after: float
    memory: Mapping[str, Memory]


@dataclass(slots=True)
class Result:
    """All of it, as build/peers/result.json holds it."""

    conditions: dict[str, Any]
    points: list[Point] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Result:
        points = [Point(**{**point, "load": generator.Load(**point["load"])}) for point in raw["points"]]
        visits = [
            Visit(**{**visit, "memory": {kind: Memory(**memory) for kind, memory in visit["memory"].items()}})
            for visit in raw["visits"]
        ]
        return cls(raw["conditions"], points, visits, raw["problems"])


class Measurement:
    def __init__(
        self,
        plan: Plan,
        systems: Sequence[System],
        pictures: Mapping[str, Sequence[Picture]],
        manifest: Manifest,
        folder: Path,
        result: Result,
        say: Callable[[str], None],
    ) -> None:
        self.plan, self.systems, self.pictures, self.manifest = plan, systems, pictures, manifest
        self.folder, self.result, self.say = folder, result, say
        self.program = generator.build(folder)
        self._written: set[tuple[str, str]] = set()
        self.next: dict[tuple[str, str], int] = {}  # the request that a system gets next, by kind

    def rounds(self, after_each: Callable[[], None]) -> None:
        for number in range(self.plan.rounds):
            turn = number % len(self.systems)
            for system in (*self.systems[turn:], *self.systems[:turn]):
                try:
                    self._visit(system, number)
                except (RuntimeError, OSError) as err:
                    self.result.problems.append(f"round {number + 1}, {system.name}: {err}")
                    self.say(f"  {system.name}: {err}")
            after_each()

    def _visit(self, system: System, number: int) -> None:
        with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as name:
            folder, (port,) = Path(name), free_ports(1)
            start = system.start(
                port, folder, self.manifest
            )  # makes its environment, if need be: before the clock starts
            variables = environment_variables(start, folder)
            first = next(iter(self.pictures.values()))[0]
            with Running(start.command, start.folder, variables, folder / "log") as server:
                server.wait_until(lambda: answers(port, first, system.form))
                for kind, found in self.pictures.items():
                    check_answers(port, found[: CHECKED[kind]], system.form)
                memory: dict[str, Memory] = {}
                for kind in self.pictures:
                    self._warm_up(system, port, kind)
                    for connections in self.plan.connections:
                        self._point(system, server, port, kind, connections, number)
                    memory[kind] = server.memory()
                self.result.visits.append(Visit(system.name, number, server.ready_after, memory))

    def _warm_up(self, system: System, port: int, kind: str) -> None:
        """Until every picture has been sent once: what a picture costs that nobody has sent yet is measured by --unique."""
        sent = 0
        for _ in range(_WARM_UPS):
            sent += int(self._load(system, port, kind, _WARM_UP_CONNECTIONS, self.plan.warm_up).details["sent"])
            if self.plan.unique or sent >= len(self.pictures[kind]):
                return

    def _load(self, system: System, port: int, kind: str, connections: int, seconds: float) -> generator.Load:
        requests = self.folder / f"requests-{kind}-{system.form.replace(':', '-')}{'-unique' * self.plan.unique}.bin"
        if (kind, system.form) not in self._written:
            generator.write_requests(requests, self.pictures[kind], system.form, unique=self.plan.unique)
            self._written.add((kind, system.form))
        begin = self.next.get((system.name, kind), 0)
        load = generator.run(self.program, port, requests, connections, seconds, begin)
        self.next[system.name, kind] = begin + int(load.details["sent"])
        return load

    def _point(self, system: System, server: Running, port: int, kind: str, connections: int, number: int) -> None:
        cpu, busy = server.cpu(), busy_seconds()
        load = self._load(system, port, kind, connections, self.plan.seconds)
        cpu, busy = server.cpu() - cpu, busy_seconds() - busy
        others = max(0.0, busy - cpu - load.client_cpu) / load.elapsed
        point = Point(system.name, kind, connections, number, load, cpu * 1000 / max(1, load.right), others)
        self.result.points.append(point)
        self.say(
            f"  {number + 1}/{self.plan.rounds} {system.name:14} {kind:5} {connections:3} connections"
            f" {load.images_per_second:7.1f} images/s  p50 {load.p50:7.1f}  p99 {load.p99:7.1f} ms"
            f"  CPU {point.cpu_ms:5.2f} ms an image  failed {load.failed}"
        )
        if load.failed:
            self.say(f"    {load.first_wrong}")
