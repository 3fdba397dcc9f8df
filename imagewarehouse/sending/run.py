"""Sends images in parallel, and stops the run."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import uvloop

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.ids import new_request_id
from imagewarehouse.sending.client import Client, NoAnswer, Reply, headers_of, judge
from imagewarehouse.sending.items import FAILED, Image, Item, Outcome, read_image, unreadable
from imagewarehouse.sending.report import Display, Tally
from imagewarehouse.sending.settings import Plan
from imagewarehouse.sending.sources import Source, count_items, each_item
from imagewarehouse.sending.state import State
from imagewarehouse.sending.text import reason, write_line

GRACE_S = 5.0  # how long requests under way are awaited after Ctrl-C
TAKEN = 32  # items taken from the sources at once: a change of threads for each would cost more than the item
_REFUSED_FOR_ALL = {301, 302, 303, 307, 308, 401, 403, 404, 405, 407}  # the second image would fare no better
_PATHS = "; the path is /classify or /images"
_HINTS = {401: "; set IMAGEWAREHOUSE_ACCESS_KEY", 404: _PATHS, 405: _PATHS}


@dataclass
class Run:
    """Sends everything there is in `sources`, once."""

    sources: Sequence[Source]
    plan: Plan
    state: State | None
    lines: TextIO | None  # of --json
    display: Display | None
    tally: Tally = field(default_factory=Tally)
    ahead: deque[Item] = field(default_factory=deque)  # taken from `sources`, to be sent next
    done_any: bool = False  # one image has been through all its attempts
    silent_in_a_row: int = 0

    def send(self) -> Tally:
        """Wait for the end. Ctrl-C and SIGTERM stop it cleanly, a second one at once.

        Raises: OutputBroken; ConfigurationError when --skip leaves nothing.
        """
        uvloop.run(self._main())
        if not (self.tally.exit_code or self.tally.done or self.tally.answered_earlier):
            raise ConfigurationError("--skip", f"nothing is left after {self.plan.skip} images")
        return self.tally

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        self.items = each_item(self.sources, self.plan.skip, self.plan.limit)
        self.turn = asyncio.Lock()  # whose turn it is to take from `items`
        self.halted = loop.create_future()  # done: take nothing new, start no further attempt
        self.client = Client(self.plan, self.halted, self.display.note if self.display else None)
        # The default pool has as few threads as the machine has cores, and slow disks want one a connection.
        loop.set_default_executor(ThreadPoolExecutor(min(64, self.plan.connections + 3)))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        self.work = asyncio.ensure_future(self._send_all())
        show = asyncio.ensure_future(self._show())
        async with self.client.session:
            try:
                await asyncio.wait({self.work, self.halted}, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({self.work}, timeout=GRACE_S)
            finally:
                await _cancel([self.work, show])
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.remove_signal_handler(number)  # uvloop would keep them when it is closed
        if not self.work.cancelled():
            self.work.result()
        self.tally.has_answered = self.client.has_answered

    def _on_signal(self, number: int) -> None:
        if self.tally.signal is not None:
            self.work.cancel()  # do not even wait for what is under way
        self.tally.signal = number
        self._stop()

    def _stop(self, why: str | None = None) -> None:
        self.tally.stopped = self.tally.stopped or why
        if not self.halted.done():
            self.halted.set_result(None)

    async def _send_all(self) -> None:
        # Alone until the service has answered: a wrong address or a wrong key shows once, not once an image.
        await self._send_items(until_answered=True)
        consumers = [asyncio.ensure_future(self._send_items()) for _ in range(self.plan.connections)]
        try:
            await asyncio.gather(*consumers)
        finally:
            await _cancel(consumers)

    async def _send_items(self, until_answered: bool = False) -> None:
        while not (until_answered and self.client.has_answered):
            item = await self._next()
            if item is None:
                return
            if isinstance(item, Image):
                await self._send(item)
            else:
                self._record(item)

    async def _next(self) -> Item | None:
        """The next item that has no answer yet; None at the end and after a halt."""
        while not self.halted.done():
            if not self.ahead:
                async with self.turn:
                    self.ahead = self.ahead or deque(await asyncio.to_thread(lambda: list(islice(self.items, TAKEN))))
                if not self.ahead:
                    break
            item = self.ahead.popleft()
            if self.state is None or isinstance(item, Outcome) or not self.state.is_answered(item.key):
                return item
            self.tally.answered_earlier += 1
            self.tally.rejected_earlier += self.state.is_rejected(item.key)
        return None

    async def _send(self, image: Image) -> None:
        content = image.content
        if content is None:
            try:
                content = await asyncio.to_thread(_read, image.source)
            except OSError as err:
                self._record(unreadable(image.source, reason(err)))
                return
        if self.halted.done():
            return
        now = datetime.now(timezone.utc)
        request_id = self.state.begin(image.key, now) if self.state is not None else new_request_id(now)
        headers = headers_of(image, content, request_id, self.plan.media_type)
        answer = None
        try:
            answer, attempts = await self.client.post(content, headers)
        finally:
            self.tally.unanswered += answer is None
        if answer is None:
            return
        fields: dict[str, Any] = {"request_id": request_id, "attempts": attempts, "label": image.label}
        if isinstance(answer, Reply):
            fields |= judge(answer, answers_later=self.plan.answers_later)
        else:
            fields |= {"status": FAILED, "error_code": answer.code, "error_detail": answer.detail}
        outcome = Outcome(image.source, **fields)
        self._record(outcome)  # before the state: after a crash between the two a line is there twice, not missing
        if self.state is not None:
            self.state.end(image.key, request_id, outcome.status)
        self._watch(outcome, answer)

    def _record(self, outcome: Outcome) -> None:
        self.tally.add(outcome)
        if self.lines is not None:
            write_line("--json", self.lines, outcome.as_json())

    def _watch(self, outcome: Outcome, answer: Reply | NoAnswer) -> None:
        """Stop the run where every further image would fail in the same way."""
        first, self.done_any = not self.done_any, True
        has_answered, url = self.client.has_answered, self.plan.url
        if isinstance(answer, Reply):
            self.silent_in_a_row = 0
            if first and answer.http_status in _REFUSED_FOR_ALL:
                words = f"{answer.http_status} {outcome.error_code}: {outcome.error_detail}"
                self._stop(f"{url} refused the first image: {words}{_HINTS.get(answer.http_status, '')}")
            return
        if has_answered and not answer.silent:
            return  # one image may break a connection, that says nothing about the next
        self.silent_in_a_row += 1
        patience = max(self.plan.connections, 3) if has_answered else (1 if answer.silent else 3)
        if self.silent_in_a_row < patience:
            return
        if answer.code == "connection.tls":
            self._stop(f"{url}: {answer.detail}")
        else:
            when = "stopped answering" if has_answered else "did not answer"
            self._stop(f"{url} {when}: {answer.detail}; is `imagewarehouse run` running?")

    async def _show(self) -> None:
        if self.display is None:
            return
        arguments = (self.sources, self.plan.skip, self.plan.limit, self.work.done)
        counting = asyncio.ensure_future(asyncio.to_thread(count_items, *arguments))
        while True:
            self.display.update(self.tally, counting.result() if counting.done() else None)
            await asyncio.sleep(0.2)


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return read_image(file)


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
