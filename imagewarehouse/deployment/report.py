"""What a command says while it works: one line a step, with a tick and the time it took."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.status import Status

_WIDTH = 84


@dataclass
class Step:
    """A step under way. `said` becomes its line."""

    name: str
    said: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    changed: bool = False

    def note(self, text: str) -> None:
        """A line of its own below the step's."""
        self.notes.append(text)


class Report:
    """Prints steps, or collects them for --json."""

    def __init__(self, as_json: bool = False) -> None:
        self._json = as_json
        self._began = time.monotonic()
        self._steps: list[Step] = []
        self._spinner: Status | None = None
        self._console = Console(stderr=True)
        self.facts: dict[str, Any] = {}  # for --json

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step and print its line; an error inside prints a cross and passes on."""
        step = Step(name)
        began = time.monotonic()
        try:
            with self._spinning(f"{name} ..."):
                yield step
        except BaseException:
            step.seconds = time.monotonic() - began
            self._line("✗", name, step)
            raise
        step.seconds = time.monotonic() - began
        self._steps.append(step)
        self._line("✓", step.said or name, step)

    def doing(self, text: str) -> None:
        """Replace what is shown on a terminal while a step takes its time."""
        if self._spinner is not None:
            self._spinner.update(text)

    @contextmanager
    def progress(self, text: str, total: int) -> Iterator[Progress]:
        """A bar for `total` bytes, on a terminal."""
        if self._spinner is not None:
            self._spinner.stop()
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=self._console, transient=True, disable=not self._shown) as bar:
            bar.add_task(text, total=total)
            yield bar
        if self._spinner is not None:
            self._spinner.start()

    def say(self, text: str = "") -> None:
        if not self._json:
            click.echo(text)

    def warn(self, text: str) -> None:
        click.echo(f"imagewarehouse: warning: {text}", err=True)

    def finish(self, text: str) -> None:
        seconds = time.monotonic() - self._began
        changed = sum(step.changed for step in self._steps)
        self.say(f"{text} in {seconds:.1f} s")
        if self._json:
            steps = [
                {"step": s.name, "said": s.said, "notes": s.notes, "seconds": round(s.seconds, 3), "changed": s.changed}
                for s in self._steps
            ]
            whole = {**self.facts, "steps": steps, "changed": bool(changed), "seconds": round(seconds, 3)}
            click.echo(json.dumps(whole, indent=2, ensure_ascii=False))

    @property
    def _shown(self) -> bool:
        return not self._json and sys.stderr.isatty() and sys.stdout.isatty()

    @contextmanager
    def _spinning(self, text: str) -> Iterator[None]:
        if not self._shown:
            yield
            return
        with self._console.status(text) as self._spinner:
            try:
                yield
            finally:
                self._spinner = None

    def _line(self, mark: str, text: str, step: Step) -> None:
        if self._json:
            return
        with suppress(UnicodeEncodeError):
            mark.encode(sys.stdout.encoding or "ascii")
            self._print(mark, text, step)
            return
        self._print("ok" if mark == "✓" else "no", text, step)

    def _print(self, mark: str, text: str, step: Step) -> None:
        click.echo(f"{mark} {text:<{_WIDTH}} {step.seconds:6.1f} s")
        for note in step.notes:
            click.echo(f"    {note}")
