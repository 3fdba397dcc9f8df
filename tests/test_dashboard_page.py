"""The dashboard page in a headless Chromium, on a real service: every figure against one computed from the rows."""

from __future__ import annotations

import base64
import math
import random
import re
import shlex
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

import pytest

from imagewarehouse.analytics.page_files import PAGE
from imagewarehouse.analytics.panels import Request
from imagewarehouse.analytics.periods import PERIODS, Period, named
from imagewarehouse.ids import new_request_id
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows.embedded import LocalRows
from tests import analytics_rows as rows
from tests.analytics_suite import near
from tests.dashboard import SIZES, ZONE, Dashboard, browser, dashboard
from tests.pictures import numbered
from tests.running import Service, post
from tests.running import dashboard as beside

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

WITHIN_S = 60.0  # from a request to its figures: some seconds, but machines that run this are busy
HOSTILE = (
    "<script>window.injected=1;alert(1)</script>",
    "\"><img src=x onerror='window.injected=1;alert(1)'>",
    "'; DROP TABLE image_events; --",
    "\u202egpj.elgnuf",  # turns what follows around
    "\u202b\u05e9\u05dc\u05d5\u05dd\u202c",
    "bell\x07 tab\t line\nend",
    "x" * 10_000,
    "${7*7} {{7*7}} %00 \\u003cb\\u003e",
    "javascript:alert(1)",
    "\U0001f600" * 60,
)

each_size = pytest.mark.parametrize("width", SIZES)
each_scheme = pytest.mark.parametrize("scheme", ["light", "dark"])
long = pytest.mark.long
each_look = pytest.mark.parametrize(
    ("width", "scheme"),
    [
        pytest.param(width, scheme, marks=[long] * ((width, scheme) not in {(1440, "light"), (390, "dark")}))
        for width in SIZES
        for scheme in ("light", "dark")
    ],
)


@dataclass(frozen=True)
class Warehouse:
    service: Service
    found: Sequence[ImageRecord]
    without_pictures: frozenset[str]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.service.classify_port}/"

    def post(self, content: bytes, name: str = "truck.jpg") -> dict[str, Any]:
        head = f'--b\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/jpeg\r\n\r\n'
        body = head.encode() + content + b"\r\n--b--\r\n"
        answer = post(self.service.classify_url, body, {"Content-Type": "multipart/form-data; boundary=b"})
        assert answer.status == 200, answer.body
        return dict(answer.json())


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def history(now: datetime) -> list[ImageRecord]:
    """The rows of tests.analytics_rows, spread over the 45 days up to now."""
    stretch = 45 / rows.DAYS
    made = []
    for number, record in enumerate(rows.records(2500)):
        ago = (rows.START + timedelta(days=rows.DAYS) - record.event_time) * stretch + timedelta(seconds=90)
        # Each class that is none of the five takes a colour; what such texts do is seen in a test of its own.
        name = record.predicted_class
        kept = name if name is None or name in rows.CLASSES else rows.CLASSES[number % 5]
        at = now - ago
        made.append(replace(record, event_time=at, request_id=new_request_id(at), predicted_class=kept))
    return made


def written(folder: Path, records: Sequence[ImageRecord]) -> None:
    folder.mkdir()
    store = LocalRows(folder / "rows.duckdb")
    assert store.write(records) == [None] * len(records)
    store.close()


@pytest.fixture(scope="module")
def warehouse(chrome: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    folder = tmp_path_factory.mktemp("warehouse") / "data"
    found = history(datetime.now(timezone.utc))
    written(folder, found)
    with Service(folder, environment={"IMAGEWAREHOUSE_WORKERS": "1"}) as service:
        yield Warehouse(service, found, frozenset(r.image_id for r in found if r.image_id))


@pytest.fixture
def page(chrome: Browser, warehouse: Warehouse) -> Iterator[Dashboard]:
    with dashboard(chrome, warehouse.address, without_pictures=warehouse.without_pictures) as shown:
        yield shown


def eventually(check: Any, within_s: float = WITHIN_S) -> float:
    """Seconds until it holds. Raises AssertionError."""
    started = time.monotonic()
    while not check():
        assert time.monotonic() - started < within_s, "it does not come true"
        time.sleep(0.05)
    return time.monotonic() - started


def all_rows(warehouse: Warehouse) -> list[ImageRecord]:
    """With those that other tests of this module have sent."""
    columns = ("event_time", "request_id", "status", "error_code", "image_id", "file_name", "size_bytes", "source_ip",
               "source_user", "predicted_class", "confidence", "model_name", "model_version", "preprocess_ms",
               "inference_ms", "total_ms", "node")  # fmt: skip
    known = {r.request_id for r in warehouse.found}
    with ThreadPoolExecutor(1) as thread:  # this one runs the event loop of playwright
        read = thread.submit(warehouse.service.rows, f"SELECT {', '.join(columns)} FROM image_events").result()
    sent = [
        ImageRecord(**{**row, "event_time": datetime.fromisoformat(row["event_time"].replace("Z", "+00:00"))})
        for row in read
        if row["request_id"] not in known
    ]
    return [*warehouse.found, *sent]


# --- figures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PERIODS)
def test_every_figure_of_a_period_is_that_of_the_rows(warehouse: Warehouse, page: Dashboard, name: str) -> None:
    asked: dict[str, Any] = {}
    page.page.on(
        "response",
        lambda answer: "/api/queries/totals" in answer.url and answer.ok and asked.update(answer.json()["period"]),
    )
    page.open("?period=yesterday" if name == "today" else "")
    page.page.get_by_label(label_of(name), exact=True).check()
    page.settled()
    eventually(lambda: asked.get("name") == name)
    moments = {key: datetime.fromisoformat(asked[key]) for key in ("since", "until", "before", "before_until")}
    period = Period(**moments)
    tz = ZoneInfo(ZONE)
    expected = named(name, datetime.now(timezone.utc), tz)
    assert (period.since, period.before) == (expected.since, expected.before)
    assert abs((period.until - expected.until).total_seconds()) < 30

    found = all_rows(warehouse)
    request = Request(period=period, tz=tz)
    now, before = rows.chosen(found, request), rows.chosen(found, request, period.earlier())
    assert now
    assert before
    check_totals(page, now, before)
    check_classes(page, now, before)
    check_charts(page, now)
    check_tables(page, now)
    check_drift(page, now, before)
    check_latest(page, now)


def label_of(name: str) -> str:
    return name.replace("-", " ").capitalize()


def check_totals(page: Dashboard, now: Sequence[ImageRecord], before: Sequence[ImageRecord]) -> None:
    figures, earlier = rows.totals(now), rows.totals(before)
    for measure in ("images", "classified", "rejected", "failed", "pictures", "sources", "bytes", "confidence"):
        assert page.figure(measure) == near(figures[measure]), measure
        tile = page.page.locator(f"#totals [data-measure={measure}]").inner_text()
        if measure not in ("bytes", "confidence"):
            assert f"{figures[measure]:,}" in tile
            assert f"was {earlier[measure]:,}" in tile
            if earlier[measure] and figures[measure] != earlier[measure]:
                change = figures[measure] / earlier[measure] - 1
                sign = "\u2191" if change > 0 else "\u2193"
                assert sign in tile
                shown = tile.split(sign)[1].split("was")[0].strip()
                number, word = shown.split(maxsplit=1)
                value = float(number.rstrip("%").lstrip("\u00d7").replace(",", ""))
                if number.startswith("\u00d7"):
                    assert (abs(value - change - 1) <= 0.51, word) == (True, "as many")
                else:  # the arrow, and the word for who does not see it, are the only signs
                    assert (abs(value - abs(change) * 100) <= 0.51, word) == (True, "more" if change > 0 else "less")


def check_classes(page: Dashboard, now: Sequence[ImageRecord], before: Sequence[ImageRecord]) -> None:
    groups = rows.grouped([r for r in now if r.predicted_class], lambda r: r.predicted_class)
    earlier = Counter(r.predicted_class for r in before)
    ordered = sorted(groups, key=lambda one: (-len(groups[one]), one))
    total = sum(map(len, groups.values()))
    shown = page.figures("classes")
    assert [row[0] for row in shown] == ordered
    for name, images, share, change, confidence in shown:
        size = len(groups[name])
        assert int(images) == size
        assert float(share) == near(size / total)
        assert (float(change) if change else None) == near(size / earlier[name] - 1 if earlier[name] else None)
        assert float(confidence) == near(rows.mean(r.confidence for r in groups[name]))


def check_charts(page: Dashboard, now: Sequence[ImageRecord]) -> None:
    assert sum(page.columns("over-time")) == len(now)
    page.page.get_by_role("button", name="Table of Images over time").click()
    heads = page.page.locator("#panel-over-time thead th").all_inner_texts()[2:]
    table = page.page.locator("#panel-over-time tbody tr").evaluate_all(
        "(rows) => rows.map((row) => [...row.children].slice(2).map((cell) => cell.textContent))"
    )
    by_series = Counter(r.predicted_class or r.status for r in now)
    for number, name in enumerate(heads):
        assert sum(int(row[number].replace(",", "")) for row in table) == by_series[name], name
    assert set(heads) == set(by_series)
    page.page.get_by_role("button", name="Table of Images over time").click()
    bins = Counter(min(19, math.floor(r.confidence * 20 + 1e-6)) for r in now if r.confidence is not None)
    assert page.columns("confidence") == [bins[number] for number in range(20)]
    below = page.page.locator("#panel-confidence .lead data").evaluate_all("(all) => all.map((one) => one.value)")
    sure = [r.confidence for r in now if r.confidence is not None]
    under = sum(value < rows._f32(0.6) for value in sure)
    assert [float(value) for value in below] == [near(under / len(sure)), under, len(sure)]


def check_tables(page: Dashboard, now: Sequence[ImageRecord]) -> None:
    for stage, row in zip(("preprocess", "inference", "total"), page.figures("latency"), strict=True):
        values = [getattr(r, f"{stage}_ms") for r in now]
        for value, share in zip(row[2:], (0.5, 0.95, 0.99), strict=True):
            assert float(value) == pytest.approx(rows.nearest_rank(values, share), rel=0.0101, abs=0.001)

    groups = rows.grouped([r for r in now if r.status in ("rejected", "failed")], lambda r: r.error_code)
    assert {row[0]: (int(row[1]), int(row[2])) for row in page.figures("rejections")} == {
        code: (len(group), rows.distinct(r.source_ip for r in group)) for code, group in groups.items()
    }

    senders = rows.grouped(now, lambda r: (r.source_ip, r.source_user))
    shown = page.figures("sources")
    assert [int(row[2]) for row in shown] == sorted(map(len, senders.values()), reverse=True)[:50]
    for row in shown:
        fitting = [
            group for (ip, user), group in senders.items() if (ip or "\u2013") == row[0] and same_text(user, row[1])
        ]
        assert (int(row[3]), int(row[4])) in [
            (sum(r.status == "rejected" for r in group), sum(r.status == "failed" for r in group)) for group in fitting
        ]

    versions = rows.grouped([r for r in now if r.model_version], lambda r: (r.model_name, r.model_version))
    shown = page.figures("models")
    assert [row[0] for row in shown] == [f"{name} {version}" for name, version in sorted(versions)]
    for row, key in zip(shown, sorted(versions), strict=True):
        group = versions[key]
        assert int(row[1]) == len(group)
        assert float(row[2]) == near(rows.mean(r.confidence for r in group))
        assert float(row[3]) == near(sum((r.confidence or 0) < rows._f32(0.6) for r in group) / len(group))
        assert float(row[4]) == near(rows.mean(r.inference_ms for r in group), 1e-3)

    pictures = rows.grouped([r for r in now if r.image_id], lambda r: r.image_id)
    several = {image_id: group for image_id, group in pictures.items() if len(group) > 1}
    ordered = sorted(several, key=lambda image_id: (-len(several[image_id]), image_id))[:20]
    assert [(int(row[2]), int(row[3])) for row in page.figures("duplicates")] == [
        (len(several[image_id]), rows.distinct(r.source_ip for r in several[image_id])) for image_id in ordered
    ]


def same_text(text: str | None, shown: str) -> bool:
    """Whether a text is what is shown of it: what could not be seen is shown as a code."""
    if text is None:
        return shown == "\u2013"
    plain = [c for c in text if c.isprintable() and c not in "\u202e"]
    return all(c in shown for c in plain[:50])


def check_drift(page: Dashboard, now: Sequence[ImageRecord], before: Sequence[ImageRecord]) -> None:
    mixes = [Counter(str(r.predicted_class) for r in part if r.predicted_class) for part in (now, before)]
    assert page.fact("index_before") == near(rows.stability(mixes[1], mixes[0]), 1e-4)
    totals = [sum(mix.values()) for mix in mixes]
    shown = {row[0]: row for row in page.figures("drift")}
    assert set(mixes[0]) <= set(shown)
    for name, row in shown.items():
        for value, mix, total in zip(row[2:4], mixes, totals, strict=True):
            assert (float(value) if value else None) == near(mix[name] / total if total else None)


def check_latest(page: Dashboard, now: Sequence[ImageRecord]) -> None:
    newest = sorted(now, key=lambda r: (r.event_time, r.request_id), reverse=True)
    shown = page.page.locator("#panel-latest .entry").evaluate_all("(all) => all.map((one) => one.dataset.request)")
    assert shown == [r.request_id for r in newest[:40]]


def test_older_requests_come_page_by_page(warehouse: Warehouse, page: Dashboard) -> None:
    page.open("?period=7-days-ago&class=cat")
    entries = page.page.locator("#panel-latest .entry")
    more = page.page.get_by_role("button", name="Older requests")
    while more.count():
        shown = entries.count()
        more.click()
        eventually(lambda shown=shown: entries.count() > shown)  # type: ignore[misc]
    ids = entries.evaluate_all("(all) => all.map((one) => one.dataset.request)")
    now = datetime.now(timezone.utc)
    since = named("7-days-ago", now, ZoneInfo(ZONE)).since
    of_class = [r for r in all_rows(warehouse) if r.predicted_class == "cat" and r.event_time >= since]
    assert ids == [r.request_id for r in sorted(of_class, key=lambda r: (r.event_time, r.request_id), reverse=True)]


# --- live -----------------------------------------------------------------------------------------------------------


def test_a_picture_that_is_sent_moves_the_figures_and_can_be_looked_at(warehouse: Warehouse, page: Dashboard) -> None:
    page.open()
    before = page.figure("images") or 0
    record = warehouse.post(numbered(1, (64, 64)), "lorry.jpg")
    eventually(lambda: page.figure("images") == before + 1)
    entry = page.page.locator(f"[data-request='{record['request_id']}']")
    entry.wait_for()
    assert "lorry.jpg" in entry.inner_text()
    eventually(lambda: entry.locator("img").evaluate("(img) => img.naturalWidth") > 0)
    entry.click()
    dialog = page.page.locator("#request")
    dialog.locator(".picture img").wait_for()
    assert dialog.locator("h2").inner_text().strip() == record["predicted_class"]
    assert dialog.locator("h2").evaluate("(h2) => h2 === document.activeElement")
    guesses = dialog.locator(".guess-list li")
    assert guesses.locator("bdi").all_inner_texts() == [guess["class"] for guess in record["top_k"][:5]]
    shown = [float(str(one.get_attribute("value"))) for one in guesses.locator("data").all()]
    assert shown == [near(guess["probability"]) for guess in record["top_k"][:5]]
    assert record["image_id"] in dialog.locator(".record").inner_text()
    assert "request=" in page.page.url
    page.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert "request=" not in page.page.url
    assert entry.evaluate("(entry) => entry === document.activeElement")


def test_the_first_picture(chrome: Browser, tmp_path: Path) -> None:
    """An empty warehouse says how to send one; doing what it says fills it."""
    with Service(tmp_path / "data", environment={"IMAGEWAREHOUSE_WORKERS": "1"}) as service, ExitStack() as stack:
        address = f"http://127.0.0.1:{service.classify_port}/"
        page = stack.enter_context(dashboard(chrome, address))
        page.open()
        empty = page.page.locator("#empty")
        empty.get_by_text("Nothing has come in yet").wait_for()
        line = empty.locator("code").inner_text()
        assert line == f"curl -F image=@picture.jpg {address}classify"
        assert not page.violations()
        beside = stack.enter_context(dashboard(chrome, f"http://127.0.0.1:{service.images_port}/"))
        beside.open()
        beside.page.get_by_text(f"curl -F image=@picture.jpg {beside.address}images").wait_for()
        assert not beside.page.locator("#classify").is_visible()
        dropped(beside, numbered(2, (64, 64)), "picture.jpg", taken=False)
        (tmp_path / "picture.jpg").write_bytes(numbered(2, (64, 64)))
        if shutil.which("curl") is None:
            pytest.skip("no curl")
        sent = subprocess.run(shlex.split(line), cwd=tmp_path, capture_output=True, check=True)
        assert b'"predicted_class"' in sent.stdout
        empty.wait_for(state="hidden")
        assert page.figure("images") == 1
        page.page.locator("#panel-latest .entry").wait_for()


def dropped(page: Dashboard, content: bytes, name: str, *, taken: bool = True) -> None:
    transfer = page.page.evaluate_handle(
        """([text, name]) => {
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: 'image/jpeg' }));
            return transfer;
        }""",
        [base64.b64encode(content).decode(), name],
    )
    page.page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    assert page.page.locator("#drop").is_visible() == taken
    page.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    assert not page.page.locator("#drop").is_visible()


def test_a_picture_that_is_dropped_is_classified(page: Dashboard) -> None:
    page.open()
    before = page.figure("images") or 0
    dropped(page, numbered(3, (64, 64)), "Zo\u00eb's <b>picture.jpg")
    answers = page.page.locator("#answers")
    answers.locator(".verdict").wait_for()
    assert "<b>picture" in answers.locator(".name").inner_text()
    assert answers.locator(".guess-list li").count() == 5
    eventually(lambda: page.figure("images") == before + 1)
    answers.get_by_role("button", name="The whole record").click()
    page.page.locator("#request .picture img").wait_for()
    assert "picture" in page.page.locator("#request .record").inner_text()


def test_what_is_dropped_and_no_picture_is_refused_in_words(page: Dashboard) -> None:
    page.open()
    dropped(page, b"no picture", "text.jpg")
    problem = page.page.locator("#answers .problem")
    problem.wait_for()
    assert len(problem.inner_text()) > 10
    page.problems = [text for text in page.problems if "/classify" not in text]  # a browser reports the answer 415, too


def try_again(page: Dashboard) -> None:
    """Where the page has not done so by itself meanwhile: then the button is gone, and a click would wait for it."""
    page.page.evaluate("() => document.querySelector('#trouble:not([hidden]) button')?.click()")


def test_a_service_that_is_away_and_comes_back(page: Dashboard) -> None:
    page.open()
    figures = page.figure("images")
    page.page.route("**/api/**", lambda route: route.abort())
    page.page.locator("#trouble").wait_for()
    assert "does not answer" in page.page.locator("#trouble").inner_text()
    assert "As of" in page.page.locator("#live").inner_text()
    assert page.figure("images") == figures  # what is old stays, and is called old
    page.page.unroute("**/api/**")
    try_again(page)
    page.page.locator("#trouble").wait_for(state="hidden")
    eventually(lambda: "Live" in page.page.locator("#live").inner_text())
    page.problems = [text for text in page.problems if "ERR_FAILED" not in text]


def refuse(status: int) -> Callable[[Any], None]:
    """What a service answers that is away (0), or says no."""

    def answer(route: Any) -> None:
        if status:
            route.fulfill(status=status, json={"title": "Not now", "status": status})
        else:
            route.abort()

    return answer


@pytest.mark.parametrize("status", [0, 400, 503])
def test_figures_of_another_question_do_not_stay(page: Dashboard, status: int) -> None:
    page.open("?period=30-days-ago")
    figures, stretch = page.figure("images"), page.page.locator("#stretch").inner_text()
    page.page.route("**/api/**", refuse(status))
    page.page.get_by_label("Yesterday").check()
    page.page.locator("#trouble").wait_for()
    page.settled()
    assert (
        page.page.locator("#totals data").evaluate_all("(all) => all.map((one) => one.textContent)") == ["\u2013"] * 8
    )
    assert "not answered" in page.page.locator("#totals").inner_text()
    assert page.page.locator("#stretch").inner_text() == "Yesterday was not answered"
    assert page.page.locator("#live").inner_text() == "No answer"
    assert page.page.locator("#panel-classes .note").inner_text() == ""

    page.page.go_back()  # to a question that was answered: its figures are there, and called old
    page.settled()
    assert page.figure("images") == figures
    assert page.page.locator("#stretch").inner_text() == stretch
    assert page.page.locator("#panel-classes tbody tr").count() == 5
    assert "As of" in page.page.locator("#live").inner_text()

    page.page.go_forward()
    page.settled()
    assert page.figure("images") is None
    page.page.unroute("**/api/**")
    try_again(page)
    page.page.locator("#trouble").wait_for(state="hidden")
    assert page.figure("images") != figures
    assert "compared with" in page.page.locator("#stretch").inner_text()
    page.problems = [text for text in page.problems if "Failed to load resource" not in text]


def test_a_question_that_takes_long_says_whose_figures_are_shown(page: Dashboard) -> None:
    page.open("?period=30-days-ago")
    figures, held = page.figure("images"), list[Any]()
    page.page.route("**/api/queries/totals?*", lambda route: held.append(route))
    page.page.get_by_label("Yesterday").check()
    page.page.get_by_text("Yesterday is asked for; the figures are still those from before").wait_for()
    assert page.figure("images") == figures
    for route in held:
        route.continue_()
    page.settled()
    assert page.figure("images") != figures
    assert "compared with" in page.page.locator("#stretch").inner_text()


def test_charts_have_their_room_after_a_filter_that_nothing_met(page: Dashboard) -> None:
    page.open("?period=30-days-ago&user=nobody-of-this-name")
    assert not page.page.locator("#grid").is_visible()
    page.page.locator("#chips .filter").click()
    page.page.locator("#panel-over-time .column").first.wait_for()
    page.settled()
    for panel in ("over-time", "confidence"):
        width = page.page.locator(f"#panel-{panel} svg").evaluate("(svg) => svg.viewBox.baseVal.width")
        assert width > 300, panel


def test_no_chart_is_drawn_while_its_panel_is_hidden(page: Dashboard) -> None:
    held = list[Any]()
    page.page.route("**/api/queries/over-time?*", lambda route: held.append(route))
    page.page.goto(f"{page.address}?period=30-days-ago&user=nobody-of-this-name")
    page.page.get_by_text("No request meets these filters").wait_for()
    for route in held:
        route.continue_()
    page.page.unroute("**/api/queries/over-time?*")
    page.settled()
    assert page.page.locator("#panel-over-time svg").count() == 0
    page.page.locator("#chips .filter").click()
    page.page.locator("#panel-over-time .column").first.wait_for()


def test_what_a_filter_found_nothing_for_is_not_said_of_another_question(page: Dashboard) -> None:
    page.open("?user=nobody-of-this-name")
    page.page.get_by_text("No request meets these filters").wait_for()
    page.page.route("**/api/**", refuse(503))
    page.page.locator("#chips .filter").click()
    page.page.locator("#trouble").wait_for()
    assert not page.page.locator("#empty").is_visible()
    assert "not answered" in page.page.locator("#totals").inner_text()
    page.problems = [text for text in page.problems if "Failed to load resource" not in text]


# --- filters and the address ----------------------------------------------------------------------------------------


def test_clicks_filter_everything_and_the_back_button_goes_back(warehouse: Warehouse, page: Dashboard) -> None:
    page.open("?period=30-days-ago")
    whole = page.figure("images")
    page.page.locator("#panel-classes").get_by_role("button", name="cat", exact=True).click()
    page.settled()
    assert "class=cat" in page.page.url
    assert page.chips() == ["cat"]
    now = datetime.now(timezone.utc)
    since = named("30-days-ago", now, ZoneInfo(ZONE)).since
    cats = [r for r in all_rows(warehouse) if r.predicted_class == "cat" and r.event_time >= since]
    assert page.figure("images") == len(cats)
    assert [row[0] for row in page.figures("classes")] == ["cat"]
    assert set(page.page.locator("#panel-latest .what bdi").all_inner_texts()) == {"cat"}

    page.page.locator("#panel-sources").get_by_role("button", name="192.0.2.7", exact=True).first.click()
    page.settled()
    from_one = [r for r in cats if r.source_ip == "192.0.2.7"]
    assert page.figure("images") == len(from_one)

    page.page.locator("#panel-confidence .column").nth(19).click()
    page.settled()
    assert "min_confidence=0.95" in page.page.url
    sure = [r for r in from_one if (r.confidence or 0) >= rows._f32(0.95)]
    assert page.figure("images") == len(sure)
    assert len(page.page.locator("#chips .filter").all()) == 3

    for expected in (len(from_one), len(cats), whole):
        page.page.go_back()
        page.settled()
        assert page.figure("images") == expected
    page.page.go_forward()
    page.settled()
    assert page.chips() == ["cat"]
    page.page.locator("#chips .filter").first.click()
    page.settled()
    assert page.figure("images") == whole
    assert not page.page.locator("#chips").is_visible()


def test_a_click_on_a_column_shows_that_stretch(warehouse: Warehouse, page: Dashboard) -> None:
    page.open("?period=last-week")
    images = page.columns("over-time")
    number = max(range(len(images)), key=images.__getitem__)
    page.page.locator("#panel-over-time .column").nth(number).click()
    page.settled()
    assert "since=" in page.page.url
    assert page.figure("images") == images[number]
    assert sum(page.columns("over-time")) == images[number]


def test_a_link_opens_the_same_view(warehouse: Warehouse, page: Dashboard) -> None:
    wanted = next(r for r in warehouse.found if r.status == "classified" and r.image_id)
    page.open(
        f"?period=30-days-ago&tz=Asia%2FKolkata&class=dog&min_confidence=0.5&threshold=0.9&request={wanted.request_id}"
    )
    page.page.locator("#request .record").wait_for()
    assert wanted.request_id in page.page.locator("#request .record").inner_text()
    page.page.keyboard.press("Escape")
    assert page.page.locator("#zone").input_value() == "Asia/Kolkata"
    assert page.page.get_by_label("30 days ago").is_checked()
    assert page.page.get_by_label("Threshold").input_value() == "0.9"
    assert page.page.locator("#chips .filter").count() == 2
    view = page.page.url
    images = page.figure("images")
    page.open(view.removeprefix(page.address))
    assert page.figure("images") == images


def test_a_range_of_ones_own_is_in_the_zone_that_is_shown(warehouse: Warehouse, page: Dashboard) -> None:
    page.open()
    zone = page.page.locator("#zone")
    assert zone.locator("option").count() == 1  # the others take their time, and come when somebody is about to choose
    zone.focus()
    assert zone.input_value() == ZONE
    assert zone.locator("option[value='Asia/Kolkata']").inner_text() == "Asia/Kolkata (+05:30)"
    zone.select_option("Asia/Kolkata")
    page.settled()
    day = (datetime.now(ZoneInfo("Asia/Kolkata")) - timedelta(days=3)).date().isoformat()
    page.page.locator("#range summary").click()
    page.page.locator("#range [name=since]").fill(f"{day}T00:00")
    page.page.locator("#range [name=until]").fill(f"{day}T12:00")
    page.page.locator("#range [type=submit]").click()
    page.settled()
    noon = datetime.fromisoformat(f"{day}T12:00+05:30")
    expected = [r for r in warehouse.found if noon - timedelta(hours=12) <= r.event_time < noon]
    assert page.figure("images") == len(expected)


@pytest.mark.parametrize(
    ("query", "said", "kept"),
    [
        ("period=foo&class=cat", "period \u2018foo\u2019 is unknown, shown is today.", "?class=cat"),
        ("tz=Mars/Phobos", f"time zone \u2018Mars/Phobos\u2019 is unknown, shown is {ZONE}.", ""),
        ("min_confidence=0.9&max_confidence=0.1", "confidence \u20180.9 to 0.1\u2019 ends before it begins, left out.", ""),
        ("min_confidence=9", "min_confidence \u20189\u2019 is no number from 0 to 1, left out.", ""),
        ("since=x&until=y", "until \u2018y\u2019 is no time, shown is today.", ""),
        ("since=0001-01-01T00:00Z&until=0001-02-01T00:00Z", "\u20180001-02-01T00:00Z\u2019 is before 1900", ""),
        ("status=weird&status=failed", "status \u2018weird\u2019 is unknown, left out.", "?status=failed"),
        ("class=" + "&class=".join(f"c{n}" for n in range(101)), "class has more than 100 values, shown is the first 100.",
         "?class=" + "&class=".join(f"c{n}" for n in range(100))),
        ("threshold=-1", "threshold \u2018-1\u2019 is no number from 0 to 1, shown is 0.6.", ""),
        ("class=", "class is empty, left out.", ""),
        ("colour=%E2%80%AEred", "colour \u2018\u27e8202E\u27e9red\u2019 means nothing to this page, left out.", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_read_in_an_address_is_left_out_of_it_and_named(
    page: Dashboard, query: str, said: str, kept: str
) -> None:
    page.open(f"?{query}")
    assert page.page.locator("#trouble").is_hidden()
    line = page.page.locator("#left-out").inner_text()
    assert line.startswith("The link\u2019s ")
    assert said in line
    assert page.page.url == page.address + kept
    assert page.page.get_by_label("Today").is_checked()
    assert page.figure("images") is not None
    page.page.get_by_label("Yesterday").check()
    assert page.page.locator("#left-out").is_hidden()  # it is about the link, not about what was chosen since


@each_scheme
def test_axe_finds_nothing_where_something_is_wrong(chrome: Browser, warehouse: Warehouse, scheme: str) -> None:
    without = warehouse.without_pictures
    with dashboard(chrome, warehouse.address, width=390, scheme=scheme, without_pictures=without) as page:
        page.page.route("**/api/**", refuse(503))
        page.open("?period=foo")
        assert page.page.locator("#left-out").is_visible()
        assert "not answered" in page.page.locator("#totals").inner_text()
        assert not page.violations()
        page.problems = [text for text in page.problems if "Failed to load resource" not in text]


def test_times_without_a_zone_are_of_the_zone_of_the_page(warehouse: Warehouse, page: Dashboard) -> None:
    today = datetime.now(ZoneInfo("Asia/Kolkata")).date()
    first, last = today - timedelta(days=9), today - timedelta(days=2)
    until = datetime.fromisoformat(f"{last}T06:00+05:30")
    since = datetime.fromisoformat(f"{first}T00:00+05:30")
    page.open(f"?since={first}&until={last}T06:00&tz=asia/kolkata")
    assert page.page.locator("#left-out").is_hidden()
    assert page.figure("images") == sum(since <= r.event_time < until for r in warehouse.found)
    assert "tz=Asia%2FKolkata" in page.page.url
    assert "until=" + quote(f"{until.astimezone(timezone.utc):%Y-%m-%dT%H:%M}", safe="") in page.page.url

    page.open(f"?since={first}&tz=Asia/Kolkata")  # as the API has it: up to now
    assert page.figure("images") == sum(since <= r.event_time for r in all_rows(warehouse))
    assert "Live" in page.page.locator("#live").inner_text()


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        ("0001-01-01T00:00", "2026-01-01T00:00", "The beginning is no time from 1900 to 9998."),
        ("2026-01-01T00:00", "10000-01-01T00:00", "The end is no time from 1900 to 9998."),
        ("2026-01-02T00:00", "2026-01-01T00:00", "The range ends before it begins."),
        ("2010-01-01T00:00", "2026-01-01T00:00", "The range is longer than ten years."),
    ],
)
def test_a_range_that_nobody_can_answer_is_refused_in_the_form(
    page: Dashboard, since: str, until: str, said: str
) -> None:
    page.open()
    page.page.locator("#range summary").click()
    page.page.locator("#range [name=since]").fill(since)
    page.page.locator("#range [name=until]").evaluate("(input, value) => { input.value = value; }", until)
    page.page.locator("#range [type=submit]").click()
    assert page.page.locator("#range .problem").inner_text() == said
    assert page.page.url == page.address


# --- what the figures mean ------------------------------------------------------------------------------------------


def answered(page: Dashboard, panel: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes what the service answers for a panel."""

    def answer(route: Any) -> None:
        got = route.fetch()
        told = got.json()
        change(told)
        route.fulfill(response=got, json=told)

    page.page.route(f"**/api/queries/{panel}?*", answer)


def repeated(size: int) -> Callable[[dict[str, Any]], None]:
    """A list of `size` lines, each with a first cell of its own."""

    def change(told: dict[str, Any]) -> None:
        told["rows"] = [[f"{number:064x}", *told["rows"][0][1:]] for number in range(size)]

    return change


def test_a_list_that_is_cut_says_so(page: Dashboard) -> None:
    answered(page, "sources", lambda told: (repeated(50)(told), told["facts"].update(sources=312)))  # type: ignore[func-returns-value]
    answered(page, "duplicates", lambda told: (repeated(20)(told), told["facts"].update(pictures=1431)))  # type: ignore[func-returns-value]
    answered(page, "classes", lambda told: (repeated(50)(told), told["facts"].update(classes=73)))  # type: ignore[func-returns-value]
    page.open("?period=30-days-ago")
    lines = {
        name: page.page.locator(f"#panel-{name} .cut").inner_text() for name in ("sources", "duplicates", "classes")
    }
    assert lines == {
        "sources": "50 of 312, the most frequent",
        "duplicates": "20 of 1,431, the most frequent",
        "classes": "50 of 73, the most frequent",
    }
    assert [len(page.figures(name)) for name in ("sources", "duplicates", "classes")] == [50, 20, 50]
    page.problems = [text for text in page.problems if "/images/000000" not in text]  # pictures that nobody has


def test_a_list_that_is_whole_says_nothing(page: Dashboard) -> None:
    answered(page, "sources", lambda told: (repeated(50)(told), told["facts"].update(sources=50)))  # type: ignore[func-returns-value]
    answered(page, "duplicates", lambda told: (repeated(20)(told), told["facts"].update(pictures=20)))  # type: ignore[func-returns-value]
    page.open("?period=30-days-ago")
    assert [len(page.figures(name)) for name in ("sources", "duplicates")] == [50, 20]
    assert page.page.locator(".cut").count() == 0
    page.problems = [text for text in page.problems if "/images/000000" not in text]


@pytest.mark.parametrize(("now", "before", "levels"), [
    (50, 50, ["drifted"] * 3),
    (49, 90, ["too few images to judge"] * 3),
    (90, 49, ["drifted", "too few images to judge", "too few images to judge"]),
])  # fmt: skip
def test_a_handful_of_images_does_not_drift(page: Dashboard, now: int, before: int, levels: list[str]) -> None:
    answered(page, "drift", lambda told: told["facts"].update(
        {**dict.fromkeys(told["facts"], 3.5), "images": now, "images_before": before}))  # fmt: skip
    answered(page, "models", lambda told: [row.__setitem__(slice(2, 3), [now]) for row in told["rows"]])
    page.open("?period=30-days-ago")
    assert page.page.locator("#panel-drift .indexes .level").all_inner_texts() == levels
    assert page.fact("index_training") == 3.5  # the figure itself stays
    few = page.page.locator("#panel-models .level-few").count()
    assert few == (len(page.figures("models")) if now < 50 else 0)
    assert not page.violations()


def test_short_names_are_explained(page: Dashboard) -> None:
    page.open("?period=30-days-ago&threshold=0.7")
    heads = {
        panel: page.page.locator(f"#panel-{panel} thead th").evaluate_all("(all) => all.map((one) => one.textContent)")
        for panel in ("models", "latency", "classes")
    }
    titles = page.page.locator("#panel-models abbr").evaluate_all("(all) => all.map((one) => one.title)")
    assert titles[:2] == ["Mean confidence", "Share with a confidence below 0.70"]
    assert "Stability index (PSI)" in titles[2]
    assert heads["models"][2] == "Conf.Mean confidence"
    assert "p95" + "95 % of the requests took no longer" in heads["latency"]
    assert heads["classes"][-1] == "Conf.Mean confidence"
    assert page.page.locator("#panel-drift .indexes .label").all_inner_texts() == [
        "Classes compared with training",
        "Classes compared with the period before",
        "Confidence compared with the period before",
    ]
    for panel in ("latency", "models", "drift"):
        body = page.page.locator(f"#panel-{panel} .body")
        assert body.evaluate("(body) => body.scrollWidth <= body.clientWidth"), panel


def test_a_period_says_what_it_means(page: Dashboard) -> None:
    page.open("?period=7-days-ago")
    assert page.page.get_by_label("7 days ago").get_attribute("title") == "From midnight seven days ago up to now"
    now = datetime.now(ZoneInfo(ZONE))
    shown = page.page.locator("#stretch b").inner_text()
    assert shown.startswith(f"{(now - timedelta(days=7)).day} ")
    assert f"{now.day} " in shown


def test_what_is_empty_cannot_be_picked(page: Dashboard) -> None:
    answered(page, "confidence", lambda told: told["rows"][3].__setitem__(2, 0))
    page.open("?period=30-days-ago")
    empty, full = (
        page.page.locator("#panel-confidence .column").nth(3),
        page.page.locator("#panel-confidence .column").nth(19),
    )
    assert empty.get_attribute("aria-disabled") == "true"
    assert full.get_attribute("aria-disabled") is None
    empty.click(force=True)  # playwright would wait until it can be clicked
    empty.focus()
    page.page.keyboard.press("Enter")
    assert "confidence" not in page.page.url
    page.page.keyboard.press("ArrowRight")  # the keys still go through it
    page.page.keyboard.press("Enter")
    assert "min_confidence=0.2&" in page.page.url
    page.settled()


@each_size
def test_the_range_is_shown_whole_and_printed_with_its_zone(chrome: Browser, warehouse: Warehouse, width: int) -> None:
    with dashboard(chrome, warehouse.address, width=width, without_pictures=warehouse.without_pictures) as page:
        page.open("?period=7-days-ago")
        stretch = page.page.locator("#stretch")
        assert stretch.evaluate(
            "(one) => one.scrollWidth <= one.clientWidth && one.scrollHeight <= one.clientHeight + 1"
        )
        assert ZONE not in stretch.inner_text()
        page.page.emulate_media(media="print")
        assert f"times of {ZONE} (+0" in stretch.inner_text()


# --- search ---------------------------------------------------------------------------------------------------------


def test_a_search_shows_what_it_found(warehouse: Warehouse, page: Dashboard) -> None:
    record = warehouse.post(numbered(4, (64, 64)), "quay-17.jpg")
    asked: list[str] = []

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(json={"total": 1, "hits": [record], "facets": {}, "next_cursor": None})

    page.page.route("**/search?*", answer)
    page.open()
    page.page.keyboard.press("/")
    page.page.keyboard.type("quay 17")
    page.page.keyboard.press("Enter")
    page.page.get_by_role("heading", name="Found requests").wait_for()
    assert "q=quay+17" in asked[-1]
    assert page.page.locator("#panel-latest .entry").count() == 1
    page.page.locator("#panel-latest .entry").click()
    page.page.locator("#request .alike").wait_for()
    page.page.keyboard.press("Escape")
    chip = page.page.locator("#chips .filter")
    assert "only in the list" in chip.inner_text()  # the figures are not those of what was found
    chip.click()
    page.page.get_by_role("heading", name="Latest requests").wait_for()


def test_a_service_without_search_says_so(page: Dashboard) -> None:
    page.page.route("**/search?*", lambda route: route.fulfill(status=404, json={"title": "Not found", "status": 404}))
    page.open("?q=truck")
    page.page.get_by_text("This service has no search").wait_for()
    assert page.page.locator("#panel-latest .entry").count() == 0
    page.problems = [text for text in page.problems if "/search" not in text]


# --- what is not served ---------------------------------------------------------------------------------------------


def test_what_is_not_served_beside_the_figures_is_not_shown(
    chrome: Browser, warehouse: Warehouse, tmp_path: Path
) -> None:
    with (
        beside(tmp_path / "log", "--data", str(warehouse.service.data)) as address,
        dashboard(chrome, f"{address}/", without_pictures=warehouse.without_pictures) as page,
    ):
        asked: list[str] = []
        page.page.on("request", lambda request: asked.append(urlsplit(request.url).path))
        page.open("?period=30-days-ago")
        assert not page.page.locator("#search").is_visible()
        assert not page.page.locator("#classify").is_visible()
        dropped(page, b"whatever it is", "a.jpg", taken=False)
        assert not page.page.locator("#answers").is_visible()
        assert page.page.locator("#panel-latest .thumb").count() > 0
        page.page.keyboard.press("/")
        page.page.locator("#panel-latest .entry:has(img)").first.click()
        page.page.locator("#request .picture").wait_for()
        assert page.page.locator("#request .alike").count() == 0
        page.open("?period=30-days-ago&q=truck")  # a link from a service that has a search
        page.page.get_by_text("This service has no search").wait_for()
        assert not {"/search", "/classify"} & set(asked)
        assert not page.violations()


@each_size
def test_without_pictures_there_is_no_place_for_them(chrome: Browser, warehouse: Warehouse, width: int) -> None:
    with dashboard(chrome, warehouse.address, width=width) as page:

        def search_alone(route: Route) -> None:
            answer = route.fetch()
            body, changed = re.subn(' data-serves="[^"]*" ', ' data-serves="search" ', answer.text())
            assert changed == 1
            route.fulfill(response=answer, body=body)

        page.page.route(lambda url: urlsplit(url).path == "/", search_alone)
        page.open("?period=30-days-ago")
        assert page.page.locator("#search").is_visible()
        assert page.page.locator(".thumb").count() == 0
        entry = page.page.locator("#panel-latest .entry").first
        assert entry.evaluate("(one) => one.scrollWidth <= one.clientWidth")
        entry.click()
        page.page.locator("#request .record").wait_for()
        assert page.page.locator("#request .picture").count() == 0


# --- keyboard, names, hostile texts -----------------------------------------------------------------------------------


def test_the_chart_is_used_with_keys(page: Dashboard) -> None:
    page.open("?period=last-week")
    images = page.columns("over-time")
    columns = page.page.locator("#panel-over-time .column")
    columns.last.focus()
    page.page.keyboard.press("ArrowLeft")
    assert columns.nth(len(images) - 2).evaluate("(one) => one === document.activeElement")
    assert page.page.locator("#tip").is_visible()
    page.page.keyboard.press("Home")
    page.page.keyboard.press("Enter")
    page.settled()
    assert page.figure("images") == images[0]


@each_look
def test_axe_finds_nothing(chrome: Browser, warehouse: Warehouse, width: int, scheme: str) -> None:
    without = warehouse.without_pictures
    with dashboard(chrome, warehouse.address, width=width, scheme=scheme, without_pictures=without) as page:
        page.open("?period=7-days-ago&class=cat&class=dog&min_confidence=0.1")
        assert not page.violations()
        wide = page.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
        page.page.locator("#panel-latest .entry").first.click()
        page.page.locator("#request .record").wait_for()
        assert not page.violations()


@pytest.fixture(scope="module")
def hostile(chrome: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    folder = tmp_path_factory.mktemp("hostile") / "data"
    now, rng, made = datetime.now(timezone.utc), random.Random(1), []
    for number, text in enumerate(HOSTILE):
        at = now - timedelta(seconds=10 + number)
        common: dict[str, Any] = {
            "event_time": at, "source_user": text, "source_ip": text, "file_name": text, "node": text, "total_ms": 5.0,
        }  # fmt: skip
        made.append(
            ImageRecord(
                request_id=new_request_id(at), status="classified", predicted_class=text, confidence=rng.random(),
                model_name=text, model_version=text, declared_type=text, format=text, storage_uri=text,
                top_k='[{"class": "cat", "probability": 0.5}]', **common,
            )
        )  # fmt: skip
        made.append(
            ImageRecord(
                request_id=new_request_id(at), status="failed", error_code=text, error_detail=text, **common
            )
        )  # fmt: skip
    written(folder, made)
    with Service(folder, environment={"IMAGEWAREHOUSE_WORKERS": "1"}) as service:
        yield Warehouse(service, made, frozenset())


@pytest.mark.parametrize("width", [pytest.param(width, marks=[long] * (width != 390)) for width in SIZES])
def test_hostile_texts_are_shown_as_texts(chrome: Browser, hostile: Warehouse, width: int) -> None:
    with dashboard(chrome, hostile.address, width=width) as page:
        page.open()
        text = page.page.locator("main").inner_text()
        assert "<script>window.injected=1;alert(1)</script>" in text
        assert "\u202e" not in text  # what turns a text around is shown as its code
        assert "\u27e8202E\u27e9gpj.elgnuf" in text
        dom = """() => [document.scripts.length, document.querySelectorAll('main img[src=x], main b').length,
                        typeof window.injected,
                        document.documentElement.scrollWidth - document.documentElement.clientWidth]"""
        assert page.page.evaluate(dom) == [2, 0, "undefined", 0]
        assert not page.violations()
        for record in hostile.found[:8]:
            page.page.evaluate("(id) => document.querySelector(`[data-request='${id}']`).click()", record.request_id)
            page.page.locator("#request .record").wait_for()
            assert page.page.evaluate(dom)[:3] == [2, 0, "undefined"]
            page.page.keyboard.press("Escape")
            page.page.locator("#request").wait_for(state="hidden")
        first = next(r for r in hostile.found if r.predicted_class == HOSTILE[0])
        page.open(f"?class={quote(str(first.predicted_class))}&user={quote(HOSTILE[1])}&q={quote(HOSTILE[3])}")
        assert page.page.evaluate(dom)[:3] == [2, 0, "undefined"]
        page.problems = [problem for problem in page.problems if "/search" not in problem]


def test_a_service_with_access_keys_asks_for_one(chrome: Browser, tmp_path: Path) -> None:
    reader, sender = "reader-0123456789abcdef", "sender-0123456789abcdef"
    settings = {"access.keys": f"desk/read:{reader} camera:{sender}"}
    with Service(tmp_path / "data", settings, {"IMAGEWAREHOUSE_WORKERS": "1"}) as service:
        headers = {"Content-Type": "image/jpeg", "X-Access-Key": sender}
        assert post(service.classify_url, numbered(5, (64, 64)), headers).status == 200
        address = f"http://127.0.0.1:{service.classify_port}/"
        with dashboard(
            chrome, address, allowed=["console: Failed to load resource: the server responded with a status of 401"]
        ) as page:
            refused: list[str] = []
            page.page.on("response", lambda answer: refused.append(answer.url) if answer.status == 401 else None)
            page.page.goto(address)
            dialog = page.page.locator("#key")
            dialog.wait_for()
            assert refused == [f"{address}api/queries"]  # one, not one of each panel
            assert page.page.get_by_label("Today").is_checked()
            assert not page.violations()
            dialog.locator("input").fill("another-0123456789abcdef")
            dialog.get_by_role("button", name="Continue").click()
            dialog.get_by_text("does not know this key").wait_for()
            dialog.locator("input").fill(reader)
            dialog.get_by_role("button", name="Continue").click()
            dialog.wait_for(state="hidden")
            page.settled()
            assert page.figure("images") == 1
            assert not page.page.locator("#classify").is_visible()  # a key that may read, and not send
            dropped(page, numbered(6, (64, 64)), "a.jpg", taken=False)
            eventually(lambda: page.page.locator("#panel-latest img").evaluate("(img) => img.naturalWidth") > 0)
            assert page.page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 1]
            page.page.reload()
            page.settled()
            assert page.figure("images") == 1  # not asked again in this tab
            assert not page.page.locator("#classify").is_visible()
            page.page.evaluate("(key) => sessionStorage.setItem(sessionStorage.key(0), key)", sender)
            page.page.reload()
            page.settled()
            assert page.page.locator("#classify").is_visible()
            dropped(page, numbered(6, (64, 64)), "a.jpg")
            page.page.locator("#answers .verdict").wait_for()


# --- without a browser ------------------------------------------------------------------------------------------------


def test_the_modules_of_the_page() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node, which runs the tests of the page's modules")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, version.lstrip("v").split(".")[:2])) < (20, 19):
        pytest.skip(f"node {version} takes a .js file for no module; from 20.19 on it looks")
    tests = Path(__file__).parent / "page"
    ran = subprocess.run([node, "--test", str(tests)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("path", sorted(PAGE.rglob("*.*")), ids=lambda path: path.name)
def test_the_page_keeps_to_its_policy(path: Path) -> None:
    """No text becomes markup, nothing is evaluated, nothing comes from elsewhere, no style stands in the HTML."""
    text = path.read_text(encoding="utf-8")
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "style=",
                      "onclick=", "//cdn", "https://"):  # fmt: skip
        if forbidden not in ("innerHTML",) or path.name != "dom.js":  # which says that it is not used
            assert forbidden not in text, forbidden
    if path.suffix == ".js" and (node := shutil.which("node")) is not None:
        kind = "commonjs" if path.name == "theme.js" else "module"
        checked = subprocess.run(
            [node, "--check", f"--input-type={kind}", "-"], input=text, text=True, capture_output=True
        )
        assert checked.returncode == 0, checked.stderr
