"""Throughput and latency of /classify beside model servers that hold the same model, taking turns on this machine.

    python -m benchmarks.peers                        # ours and every peer, about half an hour
    python -m benchmarks.peers --quick                # whether the harness works: 1 round, 3 s a point
    python -m benchmarks.peers --against HEAD~20 --systems ours,before
    python -m benchmarks.peers --pictures small,photo --plot docs/peers.png
    python -m benchmarks.peers --from build/peers/result.json --plot docs/peers.png

Ours checks, stores, classifies and records each image, and answers when its row is committed. The peers decode, classify and
answer. All hold the same LiteRT file, and each answer is held against the product's own class for that picture. Environments of
the peers are made in build/peers/ when they are first asked for. A C compiler is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.peers import report, wrk
from benchmarks.peers.checks import check_preprocessing
from benchmarks.peers.environments import FOLDER, PEERS, check_shared_versions, renew_locks
from benchmarks.peers.measure import Measurement, Plan, Result
from benchmarks.peers.pictures import KINDS, pictures
from benchmarks.peers.processes import adopt_orphans
from benchmarks.peers.systems import BEFORE, OURS, System, systems
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL, LITERT

_CONNECTIONS, _ROUNDS, _SECONDS, _WARM_UP = (1, 8, 32, 128), 5, 5.0, 2.0


def main() -> int:
    arguments = _arguments()
    if arguments.lock:
        renew_locks()
        return 0
    if arguments.read is not None:
        return _show(Result.from_json(json.loads(arguments.read.read_text())), arguments.plot)
    check_shared_versions()
    adopt_orphans()
    signal.signal(signal.SIGTERM, _end)  # as Ctrl-C: the server under way is ended too
    chosen = _chosen(arguments.systems, arguments.against)
    classifier = load_classifier(BUNDLED_MODEL, arguments.model_version, LITERT)
    _say("making the pictures (photographs once)...")
    found = {kind: pictures(kind, classifier, FOLDER) for kind in arguments.pictures}
    for kind, these in found.items():
        difference = check_preprocessing(these[:20], classifier)
        _say(
            f"{kind}: the peers' preprocessing gives the product's probabilities on 20 pictures (difference {difference:.1e})"
        )
    if arguments.wrk:
        kind, rounds = arguments.pictures[0], arguments.rounds
        wrk.compare(found[kind], classifier.manifest, FOLDER, arguments.connections, rounds, arguments.seconds, print)
        return 0
    plan = Plan(arguments.connections, arguments.rounds, arguments.seconds, arguments.warm_up, arguments.unique)
    result = Result(report.conditions(plan, chosen, found, classifier.manifest))
    points = plan.rounds * len(chosen) * len(found) * len(plan.connections)
    _say(f"{points} points, about {points * plan.seconds / 60 + plan.rounds * len(chosen) / 6:.0f} minutes")

    def keep() -> None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result.as_json(), indent=1))

    measurement = Measurement(plan, chosen, found, classifier.manifest, FOLDER, result, _say)
    try:
        measurement.rounds(keep)
    except KeyboardInterrupt:
        result.problems.append("stopped before its end")
    keep()
    return _show(result, arguments.plot)


def _show(result: Result, plot: Path | None) -> int:
    print(report.text(result), end="")
    if plot is not None and result.points:
        from benchmarks.peers.plot import draw

        draw(result, plot)
        _say(f"plot: {plot}")
    return 1 if result.problems or any(point.load.failed for point in result.points) else 0


def _chosen(names: Sequence[str] | None, against: str | None) -> list[System]:
    known = systems(against)
    wanted = names or [OURS, *([BEFORE] if against else []), *PEERS]
    for name in wanted:
        if name not in known:
            hint = " (needs --against)" if name == BEFORE else ""
            raise SystemExit(f"--systems: no {name!r}{hint}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    # fmt: off
    add("--systems", type=_names, metavar="A,B",
        help=f"which of {', '.join(systems())}, {BEFORE}  [{OURS}, {', '.join(PEERS)}]")
    add("--against", metavar="COMMIT", help=f"also measure ours at an older commit, as {BEFORE!r}")
    add("--connections", type=_numbers, metavar="N,N", help="[1,8,32,128]")
    add("--pictures", type=_names, metavar="A,B", default=["small"],
        help="small (2,000 of 900 bytes), photo (200 of 300 KB)  [small]")
    add("--rounds", type=int, help=f"[{_ROUNDS}]")
    add("--seconds", type=float, help=f"of one point  [{_SECONDS:g}]")
    warm_up = f"seconds of load before a system's first point, again until each picture was sent once [{_WARM_UP:g}]"
    add("--warm-up", type=float, default=_WARM_UP, help=warm_up)
    add("--unique", action="store_true",
        help="make each request's picture one that nobody has sent yet; ours then stores every one of them")
    add("--quick", action="store_true", help="1 round, 3 s a point, 1 and 32 connections, unless they are given")
    add("--model-version", default="latest", help="of the bundled model  [latest]")
    add("--json", type=Path, metavar="FILE", default=FOLDER / "result.json",
        help="where the figures go  [build/peers/result.json]")
    add("--plot", type=Path, metavar="FILE", help="draw them into this PNG")
    add("--from", dest="read", type=Path, metavar="FILE", help="measure nothing; show and draw the figures of this file")
    add("--wrk", action="store_true", help="compare the load generator with wrk on the bare server, and end")
    add("--lock", action="store_true", help="renew the peers' locks from their requirements-<name>.in, and end")
    # fmt: on
    found = parser.parse_args()
    for kind in found.pictures:
        if kind not in KINDS:
            parser.error(f"--pictures: no {kind!r}; there are {', '.join(KINDS)}")
    found.connections = found.connections or ((1, 32) if found.quick else _CONNECTIONS)
    found.rounds = found.rounds or (1 if found.quick else _ROUNDS)
    found.seconds = found.seconds or (3.0 if found.quick else _SECONDS)
    if min(*found.connections, found.rounds, 1) < 1 or found.seconds <= 0:
        parser.error("connections, rounds and seconds have to be above 0")
    return found


def _names(value: str) -> list[str]:
    return [name.strip() for name in value.split(",") if name.strip()]


def _numbers(value: str) -> tuple[int, ...]:
    return tuple(int(number) for number in value.split(","))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
