"""A NiFi for each design, deployed as a user deploys, and put to sleep while another one is measured."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import psutil

from benchmarks.load import Measured, load
from benchmarks.nifi.designs import Design
from imagewarehouse.cli.main import call
from imagewarehouse.ports import free_ports
from tools.local_nifi import LocalNifi

# An idle step looks for work every 10 ms by default, and an image crosses about 18 of them (nifi-conf/). In all designs.
PROPERTIES = {"nifi.bored.yield.duration": "1 millis"}


@dataclass(slots=True)
class Host:
    """A design in a NiFi of its own. `deploy_s`: from an empty NiFi to a started flow, seconds."""

    design: Design
    nifi: LocalNifi
    port: int  # of /classify
    images_port: int
    folder: Path
    deploy_s: float = 0.0
    answered: int = 0
    _asleep: list[psutil.Process] = field(default_factory=list)

    def measure(self, requests: Sequence[bytes] | Callable[[int], bytes], connections: int, seconds: float) -> Measured:
        """What clients of /classify get in that time; the NiFi is awake meanwhile and has nothing left afterwards."""
        self.wake()
        found = asyncio.run(load(self.port, requests, connections, seconds=seconds))
        self.answered += found.requests - found.failures
        self.sleep()
        return found

    def rows(self) -> int:
        """Rows in the database; NiFi has to be stopped."""
        return sum(self.row_counts().values())

    def row_counts(self) -> Counter[str]:
        """The same, by request id."""
        return self._counted("request_id")

    def statuses(self) -> Counter[str]:
        return self._counted("status")

    def _counted(self, column: str) -> Counter[str]:
        with duckdb.connect(str(self.folder / "rows.duckdb"), read_only=True) as database:
            found = database.execute(f"SELECT {column}, count(*) FROM image_events GROUP BY ALL").fetchall()
        return Counter({str(value): int(number) for value, number in found})

    def sleep(self) -> None:
        """Take no CPU: an idle NiFi takes a sixth of a core."""
        assert self.nifi.pid is not None
        jvm = psutil.Process(self.nifi.pid)
        self._asleep = [jvm, *jvm.children(recursive=True)]
        for process in self._asleep:
            process.suspend()

    def wake(self) -> None:
        for process in reversed(self._asleep):
            process.resume()
        self._asleep = []


def start(design: Design, folder: Path, nar: Path) -> Host:
    folder.mkdir(parents=True)
    flow = folder / "flow.json"
    flow.write_text(json.dumps(design.flow))
    port, other = free_ports(2)
    nifi = LocalNifi(
        folder / "nifi",
        properties={**PROPERTIES, **design.properties},
        environment=design.environment,
        jvm_options=design.jvm_options,
    ).start(timeout=300)
    settings = {
        "http.classify.host": "127.0.0.1", "http.classify.port": port, "http.images.port": other,
        "rows.database": folder / "rows.duckdb", "store.uri": folder / "objects",
        **design.settings,
    }  # fmt: skip
    begun = time.perf_counter()
    given = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    code = call(["deploy", "--nifi", nifi.url, "--nar", str(design.nar or nar), "--flow", str(flow), *given])
    if code:
        raise SystemExit(f"{design.name}: deploy ended with {code}")
    return Host(design, nifi, port, other, folder, time.perf_counter() - begun)
