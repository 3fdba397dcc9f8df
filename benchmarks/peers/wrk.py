"""The load generator beside wrk, on the bare server, turn and turn about: whether it is the bottleneck.

wrk (a package of most distributions) sends the same requests from a script and looks at no answer.
"""

from __future__ import annotations

import re
import resource
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.peers import generator
from benchmarks.peers.checks import answers
from benchmarks.peers.pictures import Picture
from benchmarks.peers.processes import Running
from benchmarks.peers.systems import environment_variables, systems
from imagewarehouse.models.manifest import Manifest
from imagewarehouse.ports import free_ports

_SCRIPT = """
local file, all, place, number = io.open("{file}", "rb"), {{}}, 0, 0
for _, size in ipairs({{{sizes}}}) do all[#all + 1] = file:read(size) end
function request() number = number % #all + 1; return all[number] end
function done(summary, latency)
  io.write(string.format("RESULT %f %f %f %d\\n", summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


def compare(
    found: Sequence[Picture], manifest: Manifest, folder: Path, connections: Sequence[int], rounds: int, seconds: float,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed (apt-get install wrk)")
    program, system = generator.build(folder), systems()["bare"]
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        work, (port,) = Path(name), free_ports(1)
        requests, script = work / "requests.bin", work / "post.lua"
        generator.write_requests(requests, found, "raw", unique=False)
        every = [generator.request_bytes(picture.content, "raw") for picture in found]
        (work / "all").write_bytes(b"".join(every))
        script.write_text(_SCRIPT.format(file=work / "all", sizes=",".join(str(len(one)) for one in every)))
        start = system.start(port, work, manifest)
        rates: dict[tuple[str, int], list[tuple[float, float]]] = {}
        with Running(start.command, start.folder, environment_variables(start, work), work / "log") as server:
            server.wait_until(lambda: answers(port, found[0], "raw"))
            generator.run(program, port, requests, 8, 2, 0)
            for turn in range(rounds):
                for number in connections:
                    for side in ("generator", "wrk") if turn % 2 == 0 else ("wrk", "generator"):
                        if side == "wrk":
                            found_rate = _wrk(wrk, port, script, number, seconds)
                        else:
                            load = generator.run(program, port, requests, number, seconds, 0)
                            found_rate = (load.images_per_second, load.client_cpu * 1000 / max(1, load.right))
                        rates.setdefault((side, number), []).append(found_rate)
    say("| connections | generator, images/s | its CPU an image, ms | wrk, images/s | its CPU, ms | generator / wrk |")
    say("| --- | --- | --- | --- | --- | --- |")
    for number in connections:
        ours, theirs = rates["generator", number], rates["wrk", number]
        ratios = [a[0] / b[0] for a, b in zip(ours, theirs, strict=True)]
        cells = [
            f"{statistics.median(rate for rate, _ in side):.0f} | {statistics.median(cpu for _, cpu in side):.3f}"
            for side in (ours, theirs)
        ]
        spread = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
        say(f"| {number} | {cells[0]} | {cells[1]} | {spread} |")


def _wrk(wrk: str, port: int, script: Path, connections: int, seconds: float) -> tuple[float, float]:
    """Requests a second, and milliseconds of CPU for each."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    length, address = f"-d{max(1, round(seconds))}s", f"http://127.0.0.1:{port}/classify"
    command = [wrk, "-t1", f"-c{connections}", length, "-s", str(script), address]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = re.search(r"RESULT ([\d.]+) ([\d.]+) ([\d.]+) (\d+)", output)
    if result is None or int(result[4]):
        raise RuntimeError(f"wrk: {output[-500:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(result[1]), used * 1000 / (float(result[1]) * max(1, round(seconds)))
