"""Totals of a run, its progress and its summary."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from io import TextIOWrapper
from itertools import accumulate
from typing import ClassVar, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from imagewarehouse.sending.items import ACCEPTED, FAILED, REJECTED, Outcome, Status
from imagewarehouse.sending.text import plain

SHOWN_KINDS = 30  # rows of a table
NAMED_FAILURES = 20  # lines of the summary that name an image


class Histogram:
    """Milliseconds rounded to three digits, which is within 0.5 %: any number of values in a few KB."""

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()

    def add(self, ms: float) -> None:
        self._counts[float(f"{ms:.3g}")] += 1

    def quantile(self, share: float) -> float:
        """The value that `share` of all values (0-1) do not exceed."""
        ranked = sorted(self._counts)
        sums = list(accumulate(self._counts[ms] for ms in ranked))
        return ranked[bisect_left(sums, share * sums[-1])]

    @property
    def max(self) -> float:
        return max(self._counts, default=0.0)


@dataclass
class Tally:
    """What has become of all images, and how the run ended."""

    MAX_KINDS: ClassVar[int] = 10_000  # classes or codes; a service that makes up names must not fill the memory

    by_status: dict[Status, int] = field(default_factory=lambda: {ACCEPTED: 0, REJECTED: 0, FAILED: 0})
    answered_earlier: int = 0  # in a run before this one
    rejected_earlier: int = 0  # of those
    unanswered: int = 0  # under way when the run was stopped
    retries: int = 0
    labelled: int = 0
    correct: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    confidence: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # sum of each class
    errors: Counter[tuple[Status, str]] = field(default_factory=Counter)  # by status and error_code
    examples: dict[tuple[Status, str], Outcome] = field(default_factory=dict)  # the first of each
    named: list[Outcome] = field(default_factory=list)  # the first not accepted
    latency: Histogram = field(default_factory=Histogram)
    started: float = field(default_factory=time.monotonic)
    signal: int | None = None  # the one that stopped the run
    stopped: str | None = None  # why it stopped by itself
    has_answered: bool = True  # the service has answered at least once

    @property
    def done(self) -> int:
        return sum(self.by_status.values())

    @property
    def not_accepted(self) -> int:
        return self.done - self.by_status[ACCEPTED]

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    @property
    def exit_code(self) -> int:
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.stopped or self.not_accepted or self.rejected_earlier else 0

    def add(self, outcome: Outcome) -> None:
        self.by_status[outcome.status] += 1
        self.retries += max(0, outcome.attempts - 1)
        if outcome.status != ACCEPTED:
            kind = (outcome.status, outcome.error_code or "internal")
            if kind not in self.errors and len(self.errors) >= self.MAX_KINDS:
                kind = (outcome.status, "(other)")
            self.errors[kind] += 1
            self.examples.setdefault(kind, outcome)
            if len(self.named) < NAMED_FAILURES:
                self.named.append(outcome)
            return
        if outcome.ms is not None:
            self.latency.add(outcome.ms)
        if (name := outcome.predicted_class) is None:
            return
        if outcome.label is not None:
            self.labelled += 1
            self.correct += outcome.label == name
        if name not in self.classes and len(self.classes) >= self.MAX_KINDS:
            name = "(other)"
        self.classes[name] += 1
        self.confidence[name] += math.nan if outcome.confidence is None else outcome.confidence


class Display:
    """Progress: a bar on a terminal, elsewhere a line every few seconds."""

    LINE_EVERY_S = 5.0

    def __init__(self, stream: TextIO) -> None:
        self._console = _console(stream)
        self._next_line = time.monotonic() + self.LINE_EVERY_S
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def update(self, tally: Tally, total: int | None) -> None:
        done = tally.done + tally.answered_earlier
        facts = f"{_rate(tally)}, {tally.not_accepted:,} not accepted"
        if self._console.is_terminal:
            self._bar.update(self._task, completed=done, total=total, description=facts, refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + self.LINE_EVERY_S
            if total is not None and tally.done:
                left_s = max(0, total - done) * tally.elapsed_s / tally.done
                facts += f", {timedelta(seconds=round(left_s))} left"
            self.note(f"{done:,} of {'?' if total is None else f'{total:,}'} images, {facts}")

    def note(self, line: str) -> None:
        self._console.print(plain(line, 1000), soft_wrap=True)


def print_summary(tally: Tally, url: str, stream: TextIO) -> None:
    """Tables and totals of a run."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal may lack the letters of a file name
    console = _console(stream)
    if tally.classes:
        _print_classes(console, tally)
    if tally.labelled:
        share = tally.correct / tally.labelled
        console.print(f"accuracy {share:.4f}: {tally.correct:,} of {tally.labelled:,} images with a known class\n")
    if tally.errors:
        _print_errors(console, tally)
    if tally.latency.max:
        shown = "  ".join(f"p{percent} {_ms(tally.latency.quantile(percent / 100))}" for percent in (50, 90, 99))
        console.print(f"latency of accepted images, ms: {shown}  max {_ms(tally.latency.max)}")
    counts = ", ".join(f"{number:,} {status}" for status, number in tally.by_status.items())
    line = f"{tally.done:,} images in {tally.elapsed_s:.1f} s ({_rate(tally)}): {counts}; {tally.retries:,} retries"
    if tally.answered_earlier:
        line += f"; {tally.answered_earlier:,} answered in an earlier run"
        if tally.rejected_earlier:
            line += f", {tally.rejected_earlier:,} of them rejected"
    console.print(plain(f"{line}; {url}", 1000), soft_wrap=True)
    if tally.signal is not None or tally.unanswered:
        console.print(f"stopped early; under way and not answered: {tally.unanswered:,}", soft_wrap=True)


def _console(stream: TextIO) -> Console:
    # Names and details may hold brackets and colons, which rich would take for markup and emoji.
    width = None if stream.isatty() else 120
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def _print_classes(console: Console, tally: Tally) -> None:
    table = Table("class", box=None, pad_edge=False, header_style="bold")
    table.add_column("images", justify="right")
    table.add_column("mean confidence", justify="right")
    ranked = sorted(tally.classes.items(), key=lambda item: (-item[1], item[0]))
    for name, number in ranked[:SHOWN_KINDS]:
        table.add_row(plain(name, 60), f"{number:,}", f"{tally.confidence[name] / number:.3f}")
    console.print(table)
    if hidden := ranked[SHOWN_KINDS:]:
        console.print(f"and {len(hidden):,} more classes with {sum(number for _, number in hidden):,} images")
    console.print()


def _print_errors(console: Console, tally: Tally) -> None:
    table = Table("", "error_code", box=None, pad_edge=False, header_style="bold")
    table.add_column("images", justify="right")
    table.add_column("for example", overflow="fold")
    table.add_column("detail", overflow="fold")
    for kind, number in tally.errors.most_common(SHOWN_KINDS):
        example = tally.examples[kind]
        cells = (*kind, f"{number:,}", example.source, example.error_detail or "")
        table.add_row(*map(plain, cells))
    console.print(table)
    if len(tally.errors) > SHOWN_KINDS:
        console.print(f"and {len(tally.errors) - SHOWN_KINDS:,} more codes")
    console.print()
    if tally.not_accepted > len(tally.errors):  # otherwise the examples above are all there is
        for outcome in tally.named:
            console.print(plain(f"not accepted: {outcome.source} ({outcome.error_code})", 500), soft_wrap=True)
        if tally.not_accepted > len(tally.named):
            console.print(f"and {tally.not_accepted - len(tally.named):,} more")
        console.print()


def _rate(tally: Tally) -> str:
    return f"{tally.done / max(tally.elapsed_s, 1e-3):,.1f} images/s"


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
