"""`python -m tools.dashboard_pictures`: the pictures of docs/dashboard-page.md, of a service with demo data.

It needs a Chromium on the PATH, or where the environment variable CHROMIUM says, and a font that looks well (fonts-inter).
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from PIL import Image

from imagewarehouse.ports import free_ports

DOCS = Path(__file__).resolve().parent.parent / "docs"
MOST_BYTES = 400_000
_MADE = ("--days", "62", "--rows", "90000", "--pictures", "800", "--yes")
_COMMAND = (sys.executable, "-m", "imagewarehouse.cli.main")

# name, width and height of the window, pixels of a point, colours, address, what is clicked
_SHOTS: tuple[tuple[str, int, int, int, Literal["light", "dark"], str, str | None], ...] = (
    ("dashboard", 1440, 1000, 1, "light", "?period=30-days-ago", None),
    ("dashboard-dark", 1440, 1000, 1, "dark", "?period=7-days-ago&class=cat&class=dog", None),
    ("dashboard-phone", 390, 844, 2, "light", "?period=yesterday", None),
    ("dashboard-request", 1440, 900, 1, "light", "?period=7-days-ago", "#panel-latest .entry:has(img)"),
)


def main() -> None:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no Chromium: install one, or name one with CHROMIUM")
    from playwright.sync_api import sync_playwright

    with _service() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--font-render-hinting=none"])
        for name, width, height, scale, scheme, query, click in _SHOTS:
            context = browser.new_context(
                viewport={"width": width, "height": height}, device_scale_factor=scale, color_scheme=scheme,
                locale="en-GB", timezone_id="Europe/Berlin", reduced_motion="reduce",
            )  # fmt: skip
            page = context.new_page()
            page.goto(address + query)
            page.locator("body:not(.waiting)").wait_for(timeout=60_000)
            page.wait_for_timeout(2000)  # thumbnails
            if click is not None:
                page.locator(click).first.click()
                page.locator("#request .record").wait_for()
                page.wait_for_timeout(1500)
            _save(page.screenshot(), DOCS / f"{name}.png")
            context.close()
        browser.close()


@contextmanager
def _service() -> Iterator[str]:
    data = Path(tempfile.gettempdir()) / "warehouse"  # the pictures show it
    data.mkdir()
    subprocess.run([*_COMMAND, "demo-data", "--data", str(data), *_MADE], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    ports = free_ports(2)
    settings = [
        text
        for name, port in zip(("http.images.port", "http.classify.port"), ports, strict=True)
        for text in ("--set", f"{name}={port}")
    ]
    process = subprocess.Popen([*_COMMAND, "run", "--data", str(data), *settings], stdout=subprocess.DEVNULL)  # noqa: S603
    address = f"http://127.0.0.1:{ports[1]}/"
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{address}health", timeout=5):  # noqa: S310 - our own
                    break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(data)


def _save(shot: bytes, path: Path) -> None:
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image.save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path.name}: {image.width} x {image.height}, {size // 1000} kB")
    if size > MOST_BYTES:
        raise SystemExit(f"{path.name} is larger than {MOST_BYTES // 1000} kB")


if __name__ == "__main__":
    main()
