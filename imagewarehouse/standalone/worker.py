"""What one process of the service does between its start and its stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from imagewarehouse.standalone.runner import Runner
from imagewarehouse.standalone.supervisor import BEAT_S


async def serve(
    runner: Runner,
    worker: int,
    signals: Sequence[signal.Signals],
    ready: Callable[[], None],
    stopping: Callable[[], None] = lambda: None,
    alive: Callable[[], None] | None = None,
) -> bool:
    """Run the flow as that worker until one of the signals comes. Gives whether all that was under way is finished.

    `alive` is called every few seconds, as long as requests are answered. Raises ConfigurationError, before `ready` is called.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with _once(worker):
        await runner.start(worker)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    ready()
    beat = None if alive is None else asyncio.create_task(_beat(alive))
    await stop.wait()
    stopping()
    if runner.options.workers == 1:
        for number in signals:
            loop.remove_signal_handler(number)  # a second one does not wait
    try:
        return await runner.stop()
    finally:
        if beat is not None:
            beat.cancel()


async def _beat(alive: Callable[[], None]) -> None:
    while True:
        alive()
        await asyncio.sleep(BEAT_S)


@contextmanager
def _once(worker: int) -> Iterator[None]:
    """Let the first worker alone warn of what each of them would warn of at its start."""
    logger = logging.getLogger("imagewarehouse")
    before = logger.level
    if worker:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
