"""`python -m benchmarks.collections FOLDER...`: real image files through the check, held against ImageMagick.

Every image file under the folders goes the way of a form that a browser sends: the type is the one that a browser
declares for its suffix. For each format it says how many of the files that ImageMagick reads without a warning are
accepted, and how far the pixels that a model gets are from ImageMagick's: upright, in sRGB, over white. Exits with 1 when
fewer than 98 % are accepted, or when an accepted file differs by more than 8 levels without a line in reasons.txt.

Needs ImageMagick, and libvips' tools for HEIC, AVIF and JPEG XL (Debian: imagemagick, libvips-tools).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from tqdm import tqdm

from benchmarks.collections import files, other, pool, report
from benchmarks.collections.measure import Measured, Task, measure

LIMIT_S = 3 * other.TIMEOUT_S  # for one file


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.collections",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folders (or files) to read")
    parser.add_argument("--url", help="post to a running service, and compare status and size only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every result there")
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep what ImageMagick gives there, some 2 MB a file, for later runs",
    )
    parser.add_argument("--reasons", type=Path, default=report.REASONS, help="known differences (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: %(default)s")
    arguments = parser.parse_args()
    if other.magick() is None:
        parser.error("ImageMagick is not installed (Debian: apt-get install imagemagick libvips-tools)")
    for folder in arguments.folders:
        if not folder.exists():
            parser.error(f"{folder}: no such folder")
    if arguments.cache:
        arguments.cache.mkdir(parents=True, exist_ok=True)
    reasons = report.read_reasons(arguments.reasons)

    found = list(tqdm(files.find(arguments.folders), desc="looking", unit=" files", mininterval=1))
    if not found:
        parser.error("no image files there")
    results: list[Measured] = []
    tasks = [Task(file, arguments.url, arguments.cache) for file in found]
    for task, result in tqdm(
        pool.each(measure, tasks, arguments.processes, LIMIT_S), total=len(tasks), unit=" files", mininterval=1
    ):
        results.append(result if isinstance(result, Measured) else report.crashed(task, result))
    results.sort(key=lambda result: (result.format, result.path))
    if arguments.json:
        arguments.json.write_text(json.dumps([result.as_json() for result in results], indent=1), encoding="utf-8")
    print(f"{len(results)} files; {other.versions()}\n")
    print(report.text(results, reasons))
    failures = report.failures(results, reasons)
    for failure in failures:
        print(f"FAILED {failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
