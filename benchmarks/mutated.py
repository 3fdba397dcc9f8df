"""`python -m benchmarks.mutated`: posts damaged images (`tools.mutations`) to a real service and looks at every answer.

No answer may be a 5xx, take more than a second or lack its request_id; in the end there is one row for each
request, none of them failed. A file that breaks a rule is kept in build/mutated, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from benchmarks.machine import describe
from imagewarehouse.images.formats import FORMATS
from imagewarehouse.resources import REPOSITORY
from tests.running import Service
from tools.image_seeds import seeds
from tools.mutations import MAX_PIXELS, Mutated, mutated

KEPT = REPOSITORY / "build" / "mutated"
MAX_MS = 1000.0
AGAIN = 3  # times that a slow file is sent alone, to tell it from a busy machine
PROGRESS_S = 5.0
# Of a single request: the service itself answers at the latest after 60 s.
TIMEOUT = aiohttp.ClientTimeout(total=90)
TYPES = ("application/json", "application/problem+json")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one file. `broken`: the rule it breaks, or nothing."""

    format: str
    status: int
    code: str
    ms: float
    broken: str = ""
    request_id: str = ""
    pixels: int = 0  # of a picture that was accepted


@dataclass
class Run:
    """One run and all its answers so far, by the number of the file."""

    seed: int
    numbers: range
    formats: tuple[str, ...] = ()
    posted: int = 0
    answers: dict[int, Answer] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def note(self, answer: Answer, number: int, file: Mutated) -> None:
        self.answers[number] = answer
        if answer.broken:
            self.violate(number, file, answer.broken)

    def violate(self, number: int, file: Mutated, rule: str) -> None:
        KEPT.mkdir(parents=True, exist_ok=True)
        path = KEPT / f"{self.seed}-{number}.{FORMATS[file.seed.format].extension}"
        path.write_bytes(file.content)
        line = (
            f"{rule}: {file.seed.format} {file.seed.name}, {len(file.content)} bytes, kept as"
            f" {path.relative_to(REPOSITORY)}; again with --seed {self.seed} --first {number} --files 1{self._of_formats}"
        )
        self.violations.append(line)
        print(f"VIOLATION {line}", flush=True)

    def file(self, number: int) -> Mutated:
        return mutated(self.seed, number, self.formats)

    @property
    def _of_formats(self) -> str:
        return "".join(f" --format {name}" for name in self.formats)

    @property
    def slow(self) -> list[int]:
        return [number for number, answer in self.answers.items() if answer.ms >= MAX_MS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000, help="how many damaged files (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which series of files (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file in the series")
    parser.add_argument("--connections", type=int, default=4, help="keep-alive connections (default: %(default)s)")
    parser.add_argument("--format", action="append", choices=list(seeds()), default=[], help="default: all of them")
    arguments = parser.parse_args()
    if arguments.files < 1 or arguments.connections < 1:
        parser.error("--files and --connections: expected 1 or more")
    print(describe())
    healthy = sum(len(found) for found in seeds().values())
    print(f"{arguments.files} files from {healthy} healthy ones, seed {arguments.seed}", flush=True)

    run = Run(arguments.seed, range(arguments.first, arguments.first + arguments.files), tuple(arguments.format))
    stopped = False
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder) / "data") as service:
        try:
            asyncio.run(post_all(run, service, arguments.connections))
        except KeyboardInterrupt:
            stopped = True
            print("\nstopped; what there is so far:")
        report(run)
        if not stopped:
            check_rows(run, service)
        check_log(run, service)
    print(f"{len(run.violations)} violations" + ("" if not run.violations else ":"))
    for line in run.violations:
        print(f"  {line}")
    sys.exit(1 if run.violations else 130 if stopped else 0)


async def post_all(run: Run, service: Service, connections: int) -> None:
    waiting = iter(run.numbers)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections), timeout=TIMEOUT, auto_decompress=False
    ) as session:
        progress = asyncio.create_task(show(run, service))
        workers = [asyncio.create_task(worker(run, service, session, waiting)) for _ in range(connections)]
        try:
            await asyncio.gather(*workers)
        finally:  # also at Ctrl-C, which the service gets too: what is under way then has no answer
            for task in (progress, *workers):
                task.cancel()
            await asyncio.gather(progress, *workers, return_exceptions=True)
        for number in run.slow:
            await send_alone(run, service, session, number)


async def worker(run: Run, service: Service, session: aiohttp.ClientSession, waiting: Iterator[int]) -> None:
    """One connection: its next file goes out when the last one is answered."""
    for number in waiting:
        file = run.file(number)
        run.posted += 1
        run.note(await post(service, session, file), number, file)
        if service.process is None or service.process.poll() is not None:
            run.violate(number, file, "the service has ended; this file or one next to it")
            return


async def post(service: Service, session: aiohttp.ClientSession, file: Mutated) -> Answer:
    headers = {"Content-Type": FORMATS[file.seed.format].media_types[0]}
    started = time.perf_counter()
    try:
        async with session.post(service.classify_url, data=file.content, headers=headers) as reply:
            body = await reply.read()
    except (aiohttp.ClientError, TimeoutError, asyncio.TimeoutError) as err:
        ms = (time.perf_counter() - started) * 1000
        return Answer(file.seed.format, 0, "no answer", ms, f"no answer: {type(err).__name__} {err}")
    return judge(file, reply.status, reply.content_type, body, (time.perf_counter() - started) * 1000)


def judge(file: Mutated, status: int, media_type: str, body: bytes, ms: float) -> Answer:
    """Whether the answer is one that a client can work with. How long it took is judged later, alone."""
    code, broken = "", ""
    try:
        fields = json.loads(body)
        code = fields.get("error_code") or ""
    except (ValueError, AttributeError):
        fields, broken = {}, "the answer is no JSON object"
    if status >= 500:
        broken = f"answered {status} {code}"
    elif media_type not in TYPES:
        broken = f"answered {status} as {media_type}"
    elif not broken and not fields.get("request_id"):
        broken = f"answered {status} without a request_id"
    elif not broken and status == 200 and not fields.get("predicted_class"):
        broken = "answered 200 without a class"
    elif not broken and status != 200 and not code:
        broken = f"answered {status} without an error_code"
    pixels = (fields.get("width") or 0) * (fields.get("height") or 0)
    return Answer(file.seed.format, status, code, ms, broken, fields.get("request_id") or "", pixels)


async def send_alone(run: Run, service: Service, session: aiohttp.ClientSession, number: int) -> None:
    """A slow file once more, while nothing else is under way: is it the file or was it the machine?

    A picture that is accepted may be large, whatever its file's length: as slow as an honest one of its size is no violation.
    """
    file, pixels = run.file(number), run.answers[number].pixels
    times = []
    for _ in range(AGAIN):
        run.posted += 1
        times.append((await post(service, session, file)).ms)
    said = ", ".join(f"{ms:.0f}" for ms in times)
    print(
        f"slow: file {number}, {file.seed.format} {file.seed.name}, {pixels / 1e6:.1f} megapixels:"
        f" {run.answers[number].ms:.0f} ms; alone: {said} ms",
        flush=True,
    )
    if min(times) >= MAX_MS and pixels <= MAX_PIXELS:
        run.violate(number, file, f"takes {min(times):.0f} ms")


async def show(run: Run, service: Service) -> None:
    started = time.perf_counter()
    while True:
        await asyncio.sleep(PROGRESS_S)
        done = len(run.answers)
        print(
            f"{done:7} of {len(run.numbers)} files  {done / (time.perf_counter() - started):6.1f} files/s"
            f"  {service.memory():6.1f} MiB  {len(run.violations)} violations",
            flush=True,
        )


# --- in the end -----------------------------------------------------------------------------------------------------


def report(run: Run) -> None:
    by_format: dict[str, list[Answer]] = defaultdict(list)
    for answer in run.answers.values():
        by_format[answer.format].append(answer)
    print(f"\n{'format':8} {'files':>7} {'accepted':>8} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7}   refused")
    for name, answers in sorted(by_format.items()):
        times = sorted(answer.ms for answer in answers)
        p50, p99 = (times[min(len(times) - 1, int(len(times) * part))] for part in (0.5, 0.99))
        codes = Counter(answer.code or str(answer.status) for answer in answers if answer.status != 200)
        refused = ", ".join(f"{code.removeprefix('image.')} {count}" for code, count in codes.most_common())
        accepted = len(answers) - codes.total()
        print(f"{name:8} {len(answers):7} {accepted:8} {p50:7.1f} {p99:7.1f} {times[-1]:7.1f}   {refused}")


def check_rows(run: Run, service: Service) -> None:
    """One row a request, and none of them failed."""
    (counts,) = service.rows(
        "SELECT count(*) AS all_rows, count(DISTINCT request_id) AS ids,"
        " count(*) FILTER (WHERE status = 'failed') AS failed,"
        " count(*) FILTER (WHERE status = 'classified' AND predicted_class IS NULL) AS without_class"
        " FROM image_events"
    )
    print(f"\n{run.posted} requests; {counts['all_rows']} rows, {counts['failed']} of them failed")
    if (counts["all_rows"], counts["ids"]) != (run.posted, run.posted):
        run.violations.append(f"{counts['all_rows']} rows with {counts['ids']} ids for {run.posted} requests")
    if counts["without_class"]:
        run.violations.append(f"{counts['without_class']} rows are classified without a class")
    # A client is told a decent code even of a failed row, so these do not show in the answers.
    numbers = {answer.request_id: number for number, answer in run.answers.items()}
    for row in service.rows("SELECT request_id, error_code, error_detail FROM image_events WHERE status = 'failed'"):
        said = f"its row is failed, {row['error_code']} {row['error_detail']}"
        if row["request_id"] in numbers:
            number = numbers[row["request_id"]]
            run.violate(number, run.file(number), said)
        else:
            run.violations.append(f"a file that was sent once more or had no answer: {said}")


def check_log(run: Run, service: Service) -> None:
    """What tripped our code stands there with its traceback, even where the answer was a decent one."""
    log = service.output()
    print(f"the service's log has {log.count(chr(10))} lines")
    if "Traceback" in log:
        KEPT.mkdir(parents=True, exist_ok=True)
        (KEPT / "service.log").write_text(log, encoding="utf-8")
        run.violations.append(f"{log.count('Traceback')} tracebacks in the log, kept as build/mutated/service.log")


if __name__ == "__main__":
    main()
