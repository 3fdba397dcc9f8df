"""One read of a FlowFile's content over py4j 0.10.9, NiFi's bridge: as NiFi has it, without the stall, and handed over.

    python -m benchmarks.bridge

The Java end is py4j's own gateway with an object like NiFi's (tests/java/Bridge.java); in NiFi the content repository's
read comes on top, in all three.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from py4j.java_gateway import find_jar_path

from benchmarks.machine import describe
from imagewarehouse.nifi import bridge
from imagewarehouse.resources import REPOSITORY
from tests.test_bridge import MODES, Bridge
from tools import artifacts

SIZES = {"1 KB": 1 << 10, "8 KB": 8 << 10, "30 KB": 30 << 10, "300 KB": 300 << 10, "3 MB": 3 << 20}


def main() -> None:
    print(describe())
    [compiler] = artifacts.of_set("kudu-compiler")
    with tempfile.TemporaryDirectory() as temporary:
        py4j, jar = Path(find_jar_path()), Path(temporary) / "bridge.jar"
        source = REPOSITORY / "tests" / "java" / "Bridge.java"
        ecj = REPOSITORY / "build" / "compiler" / compiler.filename
        artifacts.compile_jar(artifacts.find_java(), ecj, [source], [py4j], jar)
        java = Bridge(os.pathsep.join(map(str, (py4j, jar))))
        try:
            _measure(java)
        finally:
            java.close()


def _measure(java: Bridge) -> None:
    cells: dict[str, list[str]] = {name: [] for name in SIZES}
    for mode in reversed(MODES):  # plain first: a connection that is quickened stays so
        os.environ[bridge.SWITCH] = mode
        for name, size in SIZES.items():
            flow_file = java.flow_file(size)
            times = []
            for _ in range(70):
                started = time.perf_counter()
                found = bridge.read(flow_file)
                times.append((time.perf_counter() - started) * 1000)
                assert len(found) == size
            kept = times[10:]
            cells[name].append(f"{mode} {statistics.median(kept):8.2f} [{min(kept):.2f}, {max(kept):.2f}]")
    print("milliseconds a read, median of 60 [lowest, highest]")
    for name, found in cells.items():
        print(f"  {name:>7}  " + "  ".join(found), flush=True)


if __name__ == "__main__":
    main()
