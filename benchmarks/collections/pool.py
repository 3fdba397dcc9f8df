"""Calls spread over processes that may crash: a file that kills a decoder costs one result and not the run."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any

_SPAWN = multiprocessing.get_context("spawn")  # threads start the processes: a fork would copy their locks


def each(call: Callable[[Any], Any], items: Iterable[Any], processes: int, limit_s: float) -> Iterator[tuple[Any, Any]]:
    """Every item with `call(item)`, or with the RuntimeError that says how its process ended; in any order."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    count = 0
    for item in items:
        waiting.put(item)
        count += 1
    for _ in range(processes):
        threading.Thread(target=_look_after, args=(call, waiting, done, limit_s), daemon=True).start()
    for _ in range(count):
        yield done.get()


def _look_after(call: Callable[[Any], Any], waiting: Any, done: Any, limit_s: float) -> None:
    process = here = None
    while True:
        try:
            item = waiting.get_nowait()
        except queue.Empty:
            break
        if process is None:
            here, there = _SPAWN.Pipe()
            process = _SPAWN.Process(target=_work, args=(call, there), daemon=True)
            process.start()
            there.close()
        try:
            here.send(item)
            if not here.poll(limit_s):
                raise TimeoutError
            done.put((item, here.recv()))
        except (EOFError, OSError) as err:
            process.kill()
            process.join()
            how = f"no end after {limit_s:.0f} s" if isinstance(err, TimeoutError) else f"exit code {process.exitcode}"
            done.put((item, RuntimeError(how)))
            process = None
    if process is not None:
        here.close()
        process.join()


def _work(call: Callable[[Any], Any], pipe: Connection) -> None:
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        pipe.send(call(item))
