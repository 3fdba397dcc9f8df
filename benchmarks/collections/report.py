"""The table and the lists over all files, and the verdict."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.collections import files
from benchmarks.collections.measure import MOST_LEVELS, Measured, Task

REASONS = Path(__file__).with_name("reasons.txt")
LEAST_ACCEPTED = 0.98


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the files whose path fits `glob` may differ."""

    glob: str
    text: str


def read_reasons(path: Path) -> list[Reason]:
    """One in a line: a glob over the end of the path, blanks, the reason. Raises: ValueError."""
    reasons = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        glob, _, text = line.strip().partition(" ")
        if not text.strip():
            raise ValueError(f"{path}, line {number}: expected a glob and a reason")
        reasons.append(Reason(glob, text.strip()))
    return reasons


def reason_for(result: Measured, reasons: Sequence[Reason]) -> str:
    return next((reason.text for reason in reasons if fnmatch(result.path, f"*/{reason.glob}")), "")


def crashed(task: Task, error: Exception) -> Measured:
    file = task.file
    return Measured(str(file.path), file.format, file.declared, "crashed", str(error), 0, 0, None, wrong=str(error))


def differs(result: Measured) -> bool:
    return bool(result.wrong) or (result.difference is not None and result.difference > MOST_LEVELS)


def counted(results: Sequence[Measured]) -> list[Measured]:
    """The files that the share of accepted ones is of: on the list of types, and read by the other decoder in peace."""
    return [result for result in results if result.other and result.other.clean and not result.by_design]


def failures(results: Sequence[Measured], reasons: Sequence[Reason]) -> list[str]:
    """What is not as it has to be, in words."""
    said = []
    clean = counted(results)
    accepted = sum(result.accepted for result in clean)
    if accepted < LEAST_ACCEPTED * len(clean):
        said.append(f"{accepted} of {len(clean)} accepted ({accepted / len(clean):.1%}), expected {LEAST_ACCEPTED:.0%}")
    wrong = [result for result in results if differs(result) and not reason_for(result, reasons)]
    if wrong:
        said.append(f"{len(wrong)} files differ by more than {MOST_LEVELS:.0f} levels, and no reason is stated")
    return said


def text(results: Sequence[Measured], reasons: Sequence[Reason]) -> str:
    """The whole report: table, accepted files that differ, refused files that the other decoder reads."""
    lines = [table(results), *_aside(results)]
    wrong = sorted((result for result in results if differs(result)), key=lambda result: -(result.difference or 999))
    if wrong:
        lines += ["", f"accepted, but more than {MOST_LEVELS:.0f} levels off: {len(wrong)} files"]
        for result in wrong:
            levels = result.wrong or f"{result.difference:.1f}"
            said = [f"{levels:>7}", result.path, result.third, reason_for(result, reasons) or "NO REASON STATED"]
            lines.append("  ".join(part for part in said if part))
    refused = [result for result in counted(results) if not result.accepted]
    if refused:
        codes = Counter(result.code for result in refused)
        counts = ", ".join(f"{code} {count}" for code, count in codes.most_common())
        lines += ["", f"refused, though the other decoder reads them cleanly: {len(refused)} files ({counts})"]
        lines += [f"  {result.code}  {result.path}  {result.detail}" for result in refused]
    return "\n".join(lines) + "\n"


def table(results: Sequence[Measured]) -> str:
    """One line for each format, one for all of them."""
    lines = [("format", "files", "unlisted", "clean", "accepted", "share", "refused", "median", "max", "over 8")]
    listed = [result for result in results if result.format in files.FORMATS]
    present = [name for name in files.FORMATS if any(result.format == name for result in listed)]
    lines += [_line(name, [result for result in listed if result.format == name]) for name in present]
    lines.append(_line("all", listed))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(f"{cell:{'<' if cell is line[0] else '>'}{width}}" for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _line(name: str, results: Sequence[Measured]) -> tuple[str, ...]:
    clean = counted(results)
    accepted = sum(result.accepted for result in clean)
    differences = [result.difference for result in results if result.difference is not None]
    return (
        name,
        str(len(results)),
        str(sum(result.by_design for result in results)),
        str(len(clean)),
        str(accepted),
        f"{accepted / len(clean):.1%}" if clean else "-",
        str(len(clean) - accepted),
        f"{statistics.median(differences):.2f}" if differences else "-",
        f"{max(differences):.1f}" if differences else "-",
        str(sum(differs(result) for result in results)),
    )


def _aside(results: Sequence[Measured]) -> list[str]:
    """What the table does not count."""
    lines = [
        "",
        "clean: the other decoder reads all of it without a warning, and its type is on the list; the share is of those.",
        "median, max: mean difference of a picture in levels of 255.",
    ]
    kinds = Counter(result.declared for result in results if result.format == files.OTHER)
    if kinds:
        some = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(10))
        lines.append(f"of other types than those ten: {kinds.total()} files ({some})")
    taken = [r for r in results if r.accepted and r.other and not r.other.clean]
    lines.append(f"accepted, though the other decoder warns or fails: {len(taken)}")
    return lines
