"""Serves with several processes: forks the workers, starts one again that has ended, and stops them together.

Python runs one thread at a time in a process, so one process does not use two cores. Each worker runs the whole flow, as
each node of a cluster does. They are forked from a process that has imported everything already, so that they share that
memory; it does nothing itself but watch them. The kernel ends them when it is gone (Linux).
"""

from __future__ import annotations

import gc
import json
import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.standalone.process import end_with

log = logging.getLogger("imagewarehouse.standalone")

NOT_DRAINED = 3  # a worker's exit status: what it could not finish is in its journal

_STOP = (signal.SIGTERM, signal.SIGINT)
_READY = b"ready\n"
_ALIVE = b"."
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0  # before a worker that has ended is started again
_LONG_LIFE_S = 60.0  # after which the pause is short again
BEAT_S = 5.0  # between two signs of life of a worker
_HANGS_S = 60.0  # a worker that has given none for so long answers nobody: it is killed, and started again
_STARTS_S = 300.0  # a start that takes longer does not end: a model or a store hangs
_LATEST_STOP_S = 60.0  # a worker that drains and closes for longer is killed; its journal has the rest

Say = Callable[[], None]
# Serves as the worker of that number until it is told to stop, and gives the exit status. Says once that it is ready, and
# then every `BEAT_S` that it is alive.
Serve = Callable[[int, Say, Say], int]


@dataclass(slots=True)
class _Worker:
    number: int
    process: int = 0  # 0 while there is none
    pipe: int = -1  # what it says: that it is ready, or why it cannot be
    said: bytes = b""
    ready: bool = False
    started: float = 0.0
    heard: float = 0.0  # when it last gave a sign of life
    pause_s: float = _FIRST_PAUSE_S
    due: float = 0.0  # when it is started again


class Ports(Protocol):
    """The ports that workers share, as this process has them open: a connection to a worker that has ended waits."""

    def let_in(self, worker: int, /) -> None: ...

    def keep_out(self, worker: int, /) -> None: ...

    def close_ports(self) -> None: ...


class Supervisor:
    """Runs `count` workers. To be used on the main thread, before any other thread that matters to the workers exists."""

    def __init__(self, count: int, ports: Ports, serve: Serve) -> None:
        self._ports = ports
        self._serve = serve
        self._workers = [_Worker(number) for number in range(count)]
        self._selector = selectors.DefaultSelector()
        self._signals = 0  # how many times it was told to stop

    def run(self, ready: Callable[[], None], stopping: Callable[[], None]) -> bool:
        """Serve until SIGTERM or SIGINT. `ready` is called once all workers are, `stopping` before they are told to stop.

        Gives whether they all finished what was under way. A second signal does not wait for that. Raises
        ConfigurationError, as the first worker that cannot start does.
        """
        gc.freeze()  # the collector would write into memory that the workers share, which copies it
        with self._listening_to_signals():
            try:
                for worker in self._workers:
                    self._fork(worker)
                while not self._signals and not all(worker.ready for worker in self._workers):
                    for worker in self._wait_for_ended():
                        raise _why(worker)
                if not self._signals:
                    ready()
                while not self._signals:
                    for worker in self._wait_for_ended():
                        self._lost(worker)
                    self._end_those_that_hang()
                    for worker in self._workers:
                        if not worker.process and time.monotonic() >= worker.due:
                            self._start_again(worker)
                self._ports.close_ports()
                stopping()
                return self._stop()
            finally:
                for worker in self._workers:
                    self._kill(worker)
                gc.unfreeze()

    # --- one worker -----------------------------------------------------------------------------------------------

    def _fork(self, worker: _Worker) -> None:
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)  # the child's until it has handlers of its own
        process = os.fork()
        if process == 0:
            os.close(reading)
            self._run_child(worker.number, parent, writing)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        os.close(writing)
        os.set_blocking(reading, False)
        worker.process, worker.pipe, worker.said, worker.ready = process, reading, b"", False
        worker.started = worker.heard = time.monotonic()
        self._selector.register(reading, selectors.EVENT_READ, worker)

    def _run_child(self, number: int, parent: int, pipe: int) -> None:
        """What the child does. It does not return: nothing of the parent's is to run in it."""
        status = 1
        try:
            end_with(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # Ctrl-C goes to all processes of a terminal; the parent decides.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
            self._selector.close()
            for worker in self._workers:
                if worker.process:
                    os.close(worker.pipe)
            status = self._serve(number, lambda: _say(pipe, _READY), lambda: _say(pipe, _ALIVE))
        except ConfigurationError as err:
            _say(pipe, json.dumps([err.setting, err.problem]).encode())
        except BaseException:
            log.exception("worker %d", number)
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _wait_for_ended(self) -> Iterator[_Worker]:
        """Wait until something happens, a second at most; gives each worker that has ended."""
        for key, _ in self._selector.select(1.0):
            worker: _Worker | None = key.data
            if worker is None:  # a signal; its handler has counted it
                with suppress(BlockingIOError):
                    os.read(key.fd, 4096)
                continue
            if not _hear(worker):
                yield worker

    def _ended(self, worker: _Worker) -> int:
        """Take leave of a worker that has closed its pipe; gives its exit status, negative for a signal."""
        _, status = os.waitpid(worker.process, 0)
        self._selector.unregister(worker.pipe)
        os.close(worker.pipe)
        worker.process, worker.pipe, worker.ready = 0, -1, False
        return os.waitstatus_to_exitcode(status)

    def _lost(self, worker: _Worker) -> None:
        """Note when a worker that ended by itself is to be started again."""
        process, came_up = worker.process, worker.ready
        reason = str(_why(worker)) if worker.said and not came_up else ""
        status = self._ended(worker)
        if came_up and time.monotonic() - worker.started > _LONG_LIFE_S:
            worker.pause_s = _FIRST_PAUSE_S
        if not came_up:  # who is connected to it may wait for long
            self._ports.keep_out(worker.number)
        self._again_later(worker, f"(process {process}) {_status(status)}{reason and f': {reason}'}")

    def _end_those_that_hang(self) -> None:
        for worker in self._workers:
            most_s = _HANGS_S if worker.ready else _STARTS_S
            if not worker.process or time.monotonic() - worker.heard <= most_s:
                continue
            if _hear(worker) and time.monotonic() - worker.heard > most_s:  # else it is this process that stood still
                log.error(
                    "worker %d (process %d) has hung for %g s and is killed", worker.number, worker.process, most_s
                )
                os.kill(worker.process, signal.SIGKILL)
                worker.heard = time.monotonic()

    def _start_again(self, worker: _Worker) -> None:
        try:
            self._ports.let_in(worker.number)
        except ConfigurationError as err:
            self._again_later(worker, str(err))
        else:
            self._fork(worker)

    def _again_later(self, worker: _Worker, why: str) -> None:
        log.error("worker %d %s; it is started again in %g s", worker.number, why, worker.pause_s)
        worker.due = time.monotonic() + worker.pause_s
        worker.pause_s = min(2 * worker.pause_s, _LONGEST_PAUSE_S)

    def _kill(self, worker: _Worker) -> None:
        if worker.process:
            with suppress(ProcessLookupError):
                os.kill(worker.process, signal.SIGKILL)
            self._ended(worker)

    # --- all of them ----------------------------------------------------------------------------------------------

    def _stop(self) -> bool:
        told = self._signals
        for worker in self._workers:
            if worker.process:
                os.kill(worker.process, signal.SIGTERM)
        drained = True
        until = time.monotonic() + _LATEST_STOP_S
        while any(worker.process for worker in self._workers):
            for worker in self._wait_for_ended():
                drained &= self._ended(worker) == 0
            if self._signals > told or time.monotonic() > until:
                return False
        return drained

    @contextmanager
    def _listening_to_signals(self) -> Iterator[None]:
        """Count SIGTERM and SIGINT, and let them wake `_wait_for_ended`."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)

        def count(number: int, frame: object) -> None:
            self._signals += 1

        wakeup = signal.set_wakeup_fd(writing)
        before = {number: signal.signal(number, count) for number in _STOP}
        self._selector.register(reading, selectors.EVENT_READ, None)
        try:
            yield
        finally:
            self._selector.unregister(reading)
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            os.close(reading)
            os.close(writing)


def _hear(worker: _Worker) -> bool:
    """Take in what a worker has said. False once it has ended."""
    with suppress(BlockingIOError):  # nothing
        said = os.read(worker.pipe, 65536)
        if not said:
            return False
        worker.heard = time.monotonic()
        if not worker.ready:
            worker.said += said
            worker.ready = worker.said.startswith(_READY)
    return True


def _say(pipe: int, what: bytes) -> None:
    os.write(pipe, what)


def _why(worker: _Worker) -> ConfigurationError:
    """What a worker said before it ended."""
    try:
        setting, problem = json.loads(worker.said)
    except ValueError:
        return ConfigurationError("--workers", f"worker {worker.number} ended while it started; see above")
    return ConfigurationError(setting, problem)


def _status(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"has ended with status {code}"
