"""A server in processes of its own: started, asked for CPU and memory of all of them, and ended whole."""

from __future__ import annotations

import ctypes
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB of all processes of a server: `pss` counts a page that several share once, `rss` once for each."""

    pss: float
    rss: float
    processes: int


def adopt_orphans() -> None:
    """Make this process the parent of whatever a server leaves behind, so that it can be found and ended."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _in_the_child() -> None:
    """Before the server's program: daemons of its own stay its children, and it ends when the harness does."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Running:
    """One started server. `ready_after` is the time in seconds from its start to its first right answer."""

    def __init__(self, command: Sequence[str], folder: Path, variables: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._known: dict[int, psutil.Process] = {}
        with log.open("wb") as out:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                command, cwd=folder, env=dict(variables), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                preexec_fn=_in_the_child, start_new_session=True,
            )  # fmt: skip
        self.root = psutil.Process(self.process.pid)
        self.ready_after = 0.0

    def wait_until(self, ready: Callable[[], bool], seconds: float = 120) -> None:
        """Raises RuntimeError with the end of the log when the server ends or takes too long."""
        while time.monotonic() - self.started < seconds:
            with suppress(OSError, http.client.HTTPException):
                if ready():
                    self.ready_after = time.monotonic() - self.started
                    return
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.last_words()}")
            time.sleep(0.02)
        raise RuntimeError(f"the server was not ready after {seconds:.0f} s:\n{self.last_words()}")

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]

    def tree(self) -> list[psutil.Process]:
        found = [self.root, *self.root.children(recursive=True)]
        self._known.update((process.pid, process) for process in found)
        return found

    def cpu(self) -> float:
        """Seconds, user and system, of all its processes up to now, those that have ended included."""
        total = 0.0
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def memory(self) -> Memory:
        pss = rss = processes = 0
        for process in self.tree():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                full = process.memory_full_info()
                pss, rss, processes = pss + full.pss, rss + full.rss, processes + 1
        return Memory(pss / 2**20, rss / 2**20, processes)

    def stop(self) -> None:
        """SIGTERM to the first process; whatever of the tree is left after that is killed, each by its number."""
        with suppress(psutil.NoSuchProcess):
            self.tree()
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        left = [process for process in self._known.values() if process.pid != self.root.pid and process.is_running()]
        _, left = psutil.wait_procs(left, timeout=2)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)
        psutil.wait_procs(left, timeout=10)
        _end_orphans()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _end_orphans() -> None:
    """Processes that a server started while it was ending: they have become children of the harness, which has no others."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def busy_seconds() -> float:
    """CPU seconds that the whole machine has worked since it was started; a guest's are in `user` as well."""
    times = psutil.cpu_times()._asdict()
    return float(
        sum(seconds for name, seconds in times.items() if name not in ("idle", "iowait", "guest", "guest_nice"))
    )
