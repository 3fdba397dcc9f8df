"""The dashboard page in a real browser, and what is read from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.running import post

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZES = {1440: 900, 768: 1024, 390: 844}
ZONE = "Europe/Berlin"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    """The browser of this machine; the environment variable CHROMIUM names another."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """Skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = chromium()
    if program is None:
        pytest.skip(f"no browser: install one of {', '.join(_NAMES)}, or name one with CHROMIUM")
    with playwright.sync_playwright() as driver:
        # --no-sandbox: in a container, as root, it has none; it shows our own page only.
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield opened
        finally:
            opened.close()


@cache
def has_search(address: str) -> bool:
    """Whether the service finds pictures; where it does not, a stub finds none, since a browser reports each 404."""
    return post(f"{address}search?limit=1", b"", method="GET").status not in (404, 405)


class Dashboard:
    """A page, and everything that went wrong on it.

    `without_pictures`: image_ids of rows whose pictures nobody has stored; that these are not found is no error.
    """

    def __init__(self, page: Page, address: str, without_pictures: frozenset[str] = frozenset()) -> None:
        self.page, self.address = page, address
        self.problems: list[str] = []
        self.answers: dict[str, Any] = {}
        self._missing = without_pictures
        if not has_search(address):
            page.route("**/search?*", lambda route: route.fulfill(json={"total": 0, "hits": [], "next_cursor": None}))
        page.on("console", lambda m: self._console(m.type, m.text, str(m.location.get("url", ""))))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._request(request.url))

    def _console(self, kind: str, text: str, url: str) -> None:
        parts = urlsplit(url).path.split("/")
        if kind in ("error", "warning") and not (parts[1:2] == ["images"] and parts[2] in self._missing):
            self.problems.append(f"console: {text} {url}")

    def _request(self, url: str) -> None:
        if not url.startswith((self.address, "blob:", "data:")):
            self.problems.append(f"asked another host: {url}")

    def open(self, query: str = "") -> Dashboard:
        self.page.goto(self.address + query)
        self.settled()
        return self

    def settled(self) -> None:
        """Until every panel shows what the address says."""
        self.page.locator("body:not(.waiting)").wait_for()

    def figure(self, measure: str) -> float | None:
        value = self.page.locator(f"#totals [data-measure={measure}] data").first.get_attribute("value")
        return float(value) if value else None

    def figures(self, panel: str) -> list[list[str]]:
        """The rows of a panel's table: a number as programs read it where there is one, else the text."""
        rows = self.page.locator(f"#panel-{panel} tbody tr").evaluate_all(
            """(rows) => rows.map((row) => [...row.children].map((cell) => {
                const data = cell.querySelector('data');
                return data ? data.value : (cell.querySelector('bdi') ?? cell).textContent;
            }))"""
        )
        return [[str(cell) for cell in row] for row in rows]

    def fact(self, name: str) -> float | None:
        value = self.page.locator(f"[data-fact={name}] data").get_attribute("value")
        return float(value) if value else None

    def columns(self, panel: str) -> list[int]:
        """What a screen reader hears of a chart's columns: their numbers."""
        names = self.page.locator(f"#panel-{panel} .column").evaluate_all(
            "(all) => all.map((one) => one.getAttribute('aria-label'))"
        )
        return [int(name.rsplit(": ", 1)[1].split()[0].replace(",", "")) for name in names]

    def chips(self) -> list[str]:
        return [text.strip("\u00d7") for text in self.page.locator("#chips .filter bdi").all_inner_texts()]

    def violations(self) -> list[str]:
        """What axe-core finds."""
        from axe_playwright_python.sync_playwright import Axe

        found: Sequence[Any] = Axe().run(self.page, options={"resultTypes": ["violations"]}).response["violations"]
        return [
            f"{one['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
            for one in found
            for node in one["nodes"]
        ]


@contextmanager
def dashboard(
    opened: Browser,
    address: str,
    *,
    width: int = 1440,
    scheme: str = "light",
    without_pictures: frozenset[str] = frozenset(),
    allowed: Sequence[str] = (),
) -> Iterator[Dashboard]:
    """A page of a new profile. At its end nothing has gone wrong on it but what begins with one of `allowed`."""
    context = opened.new_context(
        viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme, locale="en-GB", timezone_id=ZONE,
        reduced_motion="reduce",
    )  # fmt: skip
    context.set_default_timeout(60_000)  # where much else runs a page of ten queries takes long
    try:
        shown = Dashboard(context.new_page(), address, without_pictures)
        yield shown
        problems = [text for text in shown.problems if not text.startswith(tuple(allowed) or ("\0",))]
        if problems:
            raise AssertionError("\n".join(problems))
    finally:
        for page in context.pages:
            page.unroute_all(behavior="ignoreErrors")  # a live page may be asking in the moment at which it is closed
        context.close()
