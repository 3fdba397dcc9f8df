"""`python -m benchmarks.dashboard`: how long the page takes in a browser, and until a picture that was sent moves its figures.

Over ten million rows in DuckDB (`--keep FOLDER` keeps them, and finds those of `benchmarks.analytics`). While `--rate`
pictures a second come in, a page of a new profile is opened for each period: the first time that anybody asks the service for
it, and again. Then nothing comes in but one picture at a time, and the page is watched until its figure has changed.

The time is the browser's own, from the navigation until the last panel is painted: playwright looks each half second only.
A new window fills its own address bar first, with pages and processes of its own, so the page is opened `--rest` seconds later.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from PIL import Image

from benchmarks.analytics import filled, middle, post_pictures
from benchmarks.machine import describe
from imagewarehouse.analytics.periods import PERIODS
from tests.dashboard import Dashboard, browser, dashboard
from tests.running import Service, post

_NO_PICTURES = ("console: Failed to load resource: the server responded with a status of 404",)  # behind made rows
# When the last panel was drawn, and when that was painted.
_WATCH = """new MutationObserver((_, watching) => {
    if (document.body && !document.body.classList.contains('waiting')) {
        watching.disconnect();
        requestAnimationFrame(() => setTimeout(() => performance.mark('painted')));
    }
}).observe(document, { subtree: true, attributeFilter: ['class'] });"""
_LATE_MS = 10_000  # until the last of those that came in are counted
_MOST_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rate", type=float, default=100.0, help="pictures a second that come in meanwhile; 0: none")
    parser.add_argument("--rounds", type=int, default=5, help="pages of each period, in a service of its own each")
    parser.add_argument("--pictures", type=int, default=20, help="that are sent one by one")
    parser.add_argument("--rest", type=float, default=2.5, help="seconds between a new window and its page")
    parser.add_argument("--keep", type=Path, help="folder to keep the rows in, and to find them in")
    arguments = parser.parse_args()
    print(describe())
    first: dict[str, list[float]] = {name: [] for name in PERIODS}
    again: dict[str, list[float]] = {name: [] for name in PERIODS}
    moved: list[float] = []
    with tempfile.TemporaryDirectory() as temporary, browser() as opened:
        data = filled(arguments.keep or Path(temporary), arguments.rows)
        for number in range(arguments.rounds):
            with Service(data) as service:
                address = f"http://127.0.0.1:{service.classify_port}/"
                with _coming_in(service.images_url, arguments.rate):
                    for name in PERIODS:
                        with (
                            dashboard(opened, address, allowed=_NO_PICTURES) as page,
                            dashboard(opened, address, allowed=_NO_PICTURES) as other,
                        ):
                            page.page.wait_for_timeout(arguments.rest * 1e3)
                            first[name].append(_painted(page, f"?period={name}"))
                            page.page.close()  # or it would go on asking
                            again[name].append(_painted(other, f"?period={name}"))
                if number == arguments.rounds - 1:
                    with dashboard(opened, address, allowed=_NO_PICTURES) as page:
                        page.open()
                        page.page.wait_for_timeout(_LATE_MS)
                        moved = [_moved(page, service.classify_url) for _ in range(arguments.pictures)]
    print(f"\nmilliseconds until every panel is painted, median [least, most] of {arguments.rounds}; "
          f"{arguments.rate:g} pictures a second come in")  # fmt: skip
    print(f"{'period':14}{'the first who asks':>28}{'the next one':>28}")
    for name in PERIODS:
        print(f"{name:14}{middle(first[name]):>28}{middle(again[name]):>28}")
    print(f"from the answer to a picture until the figures have moved: {statistics.median(moved):.1f} s (median), "
          f"{max(moved):.1f} s at most, of {len(moved)} pictures")  # fmt: skip


@contextmanager
def _coming_in(url: str, rate: float) -> Iterator[None]:
    """On a thread: this one runs the event loop of playwright."""
    ended = threading.Event()

    async def send() -> None:
        async with aiohttp.ClientSession() as session:
            posting = asyncio.create_task(post_pictures(session, url, rate))
            await asyncio.to_thread(ended.wait)
            posting.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(send()))
    if rate:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if rate:
            thread.join()


def _painted(page: Dashboard, query: str) -> float:
    """Milliseconds."""
    page.page.add_init_script(_WATCH)
    page.open(query)
    marks = "() => performance.getEntriesByName('painted').map((mark) => mark.startTime)"
    while not (found := page.page.evaluate(marks)):
        page.page.wait_for_timeout(20)
    return float(found[0])


def _moved(page: Dashboard, url: str) -> float:
    """Seconds from the answer to a picture."""
    before = page.figure("images") or 0
    out = io.BytesIO()
    Image.frombytes("RGB", (32, 32), os.urandom(3 * 32 * 32)).save(out, "JPEG")
    answer = post(url, out.getvalue(), {"Content-Type": "image/jpeg"})
    if answer.status != 200:
        raise AssertionError(f"{answer.status} {answer.body[:300]!r}")
    started = time.perf_counter()
    while (page.figure("images") or 0) <= before:
        page.page.wait_for_timeout(20)
        if time.perf_counter() - started > _MOST_S:
            raise AssertionError(f"the figures have not moved for {_MOST_S} s")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
