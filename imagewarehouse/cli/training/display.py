"""Progress bars on a terminal, else a line from time to time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from imagewarehouse.training.loop import Progress as Trained

_LINE_EVERY_S = 30.0


class Display:
    """The progress of a training, on standard error.

    Without a terminal: one line when an epoch ends, and one every half minute in between, so that a log can be followed.
    """

    def __init__(self, bars: bool | None = None) -> None:
        self.bars = sys.stderr.isatty() if bars is None else bars
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        self._tasks: dict[str, Any] = {}
        self._task, self._printed_at = "", time.monotonic()

    @contextmanager
    def shown(self) -> Iterator[Display]:
        """Shows the progress bars within this block."""
        if not self.bars:
            yield self
            return
        columns = (
            TextColumn("{task.description:<24}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=self._console) as self._progress:
            yield self
        self._progress = None

    def say(self, text: str) -> None:
        """One line, above the bars."""
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            click.echo(text, err=True)

    def step(self, task: str, done: int, total: int, note: str = "") -> None:
        """Show `done` of `total` of a task; without bars, a line every half minute."""
        if self._progress is not None:
            if task not in self._tasks:
                self._tasks[task] = self._progress.add_task(task, total=total, note=note)
            self._progress.update(self._tasks[task], completed=done, total=total, note=note)
        elif task != self._task:  # what is over within half a minute needs no line
            self._task, self._printed_at = task, time.monotonic()
        elif time.monotonic() - self._printed_at > _LINE_EVERY_S:
            self._printed_at = time.monotonic()
            self.say(f"{task}: {done:,} of {total:,}  {note}".rstrip())

    def trained(self, now: Trained) -> None:
        """After each step of a training."""
        remaining = minutes(now.seconds_left)
        speed = f"{now.images_per_second:,.0f} images/s"
        if now.validation_accuracy is None:
            note = f"epoch {now.epoch}/{now.epochs}  loss {now.loss:.3f}  accuracy {now.accuracy:.1%}  {speed}"
            self.step("training", now.step, now.steps, note if self.bars else f"{note}  {remaining} left")
            return
        self._printed_at = time.monotonic()
        validation = (
            "" if now.validation_accuracy != now.validation_accuracy else f"  validation {now.validation_accuracy:.2%}"
        )
        self.say(
            f"epoch {now.epoch}/{now.epochs}  loss {now.loss:.4f}  accuracy {now.accuracy:.2%}{validation}  {speed}  "
            f"{remaining} left"
        )


def minutes(seconds: float) -> str:
    """3:05 for 185 seconds, 1:02:00 for an hour and two minutes."""
    whole = round(seconds)
    hours, seconds_of_hour = divmod(whole, 3600)
    return (
        f"{hours}:{seconds_of_hour // 60:02}:{seconds_of_hour % 60:02}"
        if hours
        else f"{seconds_of_hour // 60}:{seconds_of_hour % 60:02}"
    )
