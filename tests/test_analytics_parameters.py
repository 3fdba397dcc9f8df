"""What a URL asks of the query service: every parameter, and everything that is none."""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from imagewarehouse.analytics.catalog import Cursor, Filters
from imagewarehouse.analytics.panels import PANELS
from imagewarehouse.analytics.parameters import MOST_ROWS, PARAMETERS, no_parameters, read_question
from imagewarehouse.analytics.periods import buckets, width_for
from imagewarehouse.errors import BadParameter

NOW = datetime(2026, 6, 10, 13, 30, tzinfo=timezone.utc)
UTC = timezone.utc


def asked(query: str | dict[str, str] | list[tuple[str, Any]], panel: str = "latest", only: str | None = None) -> Any:
    return read_question(panel, query if isinstance(query, str) else urlencode(query), NOW, only)


def test_without_parameters_it_is_today_in_utc() -> None:
    question = asked("")
    assert question.period_name == "today"
    assert question.running
    request = question.request
    assert (request.period.since, request.period.until) == (datetime(2026, 6, 10, tzinfo=UTC), NOW)
    assert (request.tz.key, request.filters, request.threshold, request.limit, request.width, request.after) == (
        "UTC", Filters(), 0.6, 50, None, None,
    )  # fmt: skip
    assert question.format == "json"


@pytest.mark.parametrize(
    ("panel", "query", "expected"),
    [
        ("latest", "class=cat&class=dog&class=cat", {"filters": Filters(classes=("cat", "dog"))}),
        ("latest", "status=failed&status=rejected", {"filters": Filters(statuses=("failed", "rejected"))}),
        ("latest", "error=image.corrupt", {"filters": Filters(errors=("image.corrupt",))}),
        ("latest", "source=2001%3Adb8%3A%3A1", {"filters": Filters(sources=("2001:db8::1",))}),
        ("latest", "source=10.1.2.3/8,2001:0DB8::1&source=10.0.0.0/8",
         {"filters": Filters(sources=("10.0.0.0/8", "2001:db8::1"))}),
        ("latest", "status=failed,+rejected,&error=image.corrupt,rejected",
         {"filters": Filters(statuses=("failed", "rejected"), errors=("image.corrupt", "rejected"))}),
        ("latest", "class=a,b&user=c,d", {"filters": Filters(classes=("a,b",), users=("c,d",))}),
        ("latest", f"image={'A' * 64}", {"filters": Filters(images=("a" * 64,))}),
        ("latest", f"user={quote('研究室')}", {"filters": Filters(users=("研究室",))}),
        ("latest", "model=cifar10/3&model=4", {"filters": Filters(models=("4", "cifar10/3"))}),
        ("latest", f"image={'a' * 64}", {"filters": Filters(images=("a" * 64,))}),
        ("latest", "min_confidence=0&max_confidence=1", {"filters": Filters(min_confidence=0.0, max_confidence=1.0)}),
        ("latest", "min_confidence=.25&max_confidence=0.75",
         {"filters": Filters(min_confidence=0.25, max_confidence=0.75)}),
        ("confidence", "threshold=1e-3", {"threshold": 0.001}),
        ("latest", "limit=1000", {"limit": 1000}),
        ("over-time", "width=week", {"width": "week"}),
        ("latest", "after=2026-06-10T08:00:00.000001Z+0190-x",
         {"after": Cursor(datetime(2026, 6, 10, 8, 0, 0, 1, tzinfo=UTC), "0190-x")}),
    ],
)  # fmt: skip
def test_every_parameter(panel: str, query: str, expected: dict[str, Any]) -> None:
    request = asked(query, panel).request
    assert {name: getattr(request, name) for name in expected} == expected


def test_what_is_blank_counts_as_not_given() -> None:
    blank = "&".join(f"{name}={'+' * (number % 3)}" for number, name in enumerate(PARAMETERS))
    for query in (blank, "period", "&&", "limit=&limit=5&limit="):
        assert asked(query, "totals").key == asked("", "totals").key
    assert asked("limit=&limit=5").request.limit == 5


@pytest.mark.parametrize(
    ("query", "since", "until"),
    [
        ("since=2026-06-01", "2026-06-01T00:00:00+00:00", NOW.isoformat()),
        ("since=2026-06-01&until=2026-06-02", "2026-06-01T00:00:00+00:00", "2026-06-02T00:00:00+00:00"),
        ("since=2026-06-01&until=2026-06-02&tz=Europe/Berlin", "2026-05-31T22:00:00+00:00", "2026-06-01T22:00:00+00:00"),
        ("since=2026-06-01T08:15&tz=Asia/Kathmandu", "2026-06-01T02:30:00+00:00", NOW.isoformat()),
        ("since=2026-06-01T08:00:00.5%2B02:00&until=2026-06-01t09:00:00z", "2026-06-01T06:00:00.500000+00:00",
         "2026-06-01T09:00:00+00:00"),
        ("since=2026-06-01T08:00:00.123456789Z&until=2026-06-02", "2026-06-01T08:00:00.123456+00:00",
         "2026-06-02T00:00:00+00:00"),
    ],
)  # fmt: skip
def test_free_ranges(query: str, since: str, until: str) -> None:
    question = asked(query)
    assert (question.request.period.since.isoformat(), question.request.period.until.isoformat()) == (since, until)
    assert question.period_name == ""


@pytest.mark.parametrize("panel", ["totals", "over-time", "drift"])
@pytest.mark.parametrize("tz", ["UTC", "Pacific/Niue", "Pacific/Kiritimati", "Africa/Monrovia"])
@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("1900-01-02", "1909-12-31"),
        ("1970-01-01", "1970-03-01"),
        ("1989-01-01", "1998-12-30"),
        ("9989-01-02", "9998-12-30"),
    ],
)
def test_panels_can_count_the_earliest_and_the_latest_ranges(since: str, until: str, tz: str, panel: str) -> None:
    request = asked({"since": since, "until": until, "tz": tz}, panel).request
    assert request.period.earlier().earlier().since < request.period.since
    columns = buckets(request.period, request.width or width_for(request.period), request.tz)
    assert columns.starts[-1] < request.period.until


def test_the_same_question_a_moment_later_has_the_same_key() -> None:
    for query in ("", "period=30-days-ago&class=b&class=a", "since=2026-06-01"):
        later = read_question("totals", query, NOW + timedelta(seconds=3), None)
        assert asked(query, "totals").key == later.key
    assert asked("class=a&class=b").key == asked("class=b&class=a&class=a").key
    assert asked("limit=5", "rejections").key == asked("", "rejections").key  # it does not matter there


@pytest.mark.parametrize("other", ["period=yesterday", "tz=Europe/Berlin", "class=cat", "format=csv", "limit=5",
                                   "min_confidence=0.5", "since=2026-06-10"])  # fmt: skip
def test_another_question_has_another_key(other: str) -> None:
    assert asked(other).key != asked("").key
    assert asked(other, only="camera").key != asked(other).key
    assert asked(other, only="camera").key != asked(other, only="portal").key


MALFORMED = [
    pytest.param("period=tomorrow", "period: expected one of", id="no-such-period"),
    pytest.param("period=today&period=today", "period: expected once", id="doubled"),
    pytest.param("period=today&since=2026-06-01", "period: expected either", id="period-and-range"),
    pytest.param("until=2026-06-01", "since: expected with until", id="until-alone"),
    pytest.param("since=2026-06-02&until=2026-06-01", "until: expected a time after since", id="backwards"),
    pytest.param("since=2026-06-11", "since: lies in the future; give until, too", id="from-tomorrow-until-now"),
    pytest.param("since=1999-06-01", "since: expected at most ten years", id="too-long"),
    pytest.param("since=0001-01-01&until=0001-01-02", "since, until: expected times between", id="year-1"),
    pytest.param("since=1899-01-01&until=1903-01-01", "since, until: expected times between", id="year-1899"),
    pytest.param("since=9999-01-01&until=9999-12-31", "since, until: expected times between", id="year-9999"),
    pytest.param("since=2026-02-30", "since: expected a time such as", id="no-such-day"),
    pytest.param("since=yesterday", "since: expected a time such as", id="no-time"),
    pytest.param("since=1717200000", "since: expected a time such as", id="seconds-since-1970"),
    pytest.param("since=2026-06-01T08:00:00+02:00", "since: expected a time such as", id="plus-that-is-a-blank"),
    pytest.param("since=2026-06-01T25:00", "since: expected a time such as", id="hour-25"),
    pytest.param("tz=Mars", "tz: expected a time zone", id="no-such-zone"),
    pytest.param("tz=..%2F..%2Fetc%2Fpasswd", "tz: expected a time zone", id="zone-is-a-path"),
    pytest.param(f"class={'x' * 301}", "class: expected a text of 1 to 300", id="long-class"),
    pytest.param("class=a%00b", "class: expected a text of 1 to 300", id="nul"),
    pytest.param("class=%ff", "query: expected percent-encoded UTF-8", id="no-utf-8"),
    pytest.param("user=\udcff", "user: expected a text of 1 to 300", id="raw-bytes"),
    pytest.param("&".join(f"class={n}" for n in range(101)), "class: expected at most 100", id="many-classes"),
    pytest.param("&".join(["class=a"] * 801), "query: expected at most 800", id="very-many-pairs"),
    pytest.param("status=fine", "status: expected one of accepted", id="no-such-status"),
    pytest.param("source=gate", "source: expected an address or a network such as 10.0.0.0/8, re", id="no-address"),
    pytest.param("source=10.0.0.0/99", "source: expected an address or a network", id="no-network"),
    pytest.param("image=56d2e362", "image: expected an image_id, 64 digits", id="beginning-of-an-id"),
    pytest.param("min_confidence=2", "min_confidence: expected a number from 0 to 1", id="above-1"),
    pytest.param("min_confidence=-0.1", "min_confidence: expected a number from 0 to 1", id="below-0"),
    pytest.param("min_confidence=nan", "min_confidence: expected a number from 0 to 1", id="nan"),
    pytest.param("min_confidence=inf", "min_confidence: expected a number from 0 to 1", id="inf"),
    pytest.param("min_confidence=0,5", "min_confidence: expected a number from 0 to 1", id="comma"),
    pytest.param("min_confidence=.", "min_confidence: expected a number from 0 to 1", id="a-dot"),
    pytest.param("min_confidence=%D9%A1", "min_confidence: expected a number from 0 to 1", id="arabic-one"),
    pytest.param("min_confidence=0.9&max_confidence=0.1", "max_confidence: expected no less", id="crossed"),
    pytest.param("limit=0", f"limit: expected a whole number from 1 to {MOST_ROWS}", id="limit-0"),
    pytest.param("limit=1001", "limit: expected a whole number", id="limit-too-high"),
    pytest.param("limit=1e3", "limit: expected a whole number", id="limit-is-a-float"),
    pytest.param("limit=" + "9" * 5000, "limit: expected a whole number", id="limit-of-5000-digits"),
    pytest.param("limit=%D9%A1", "limit: expected a whole number", id="limit-in-arabic"),
    pytest.param("width=minute", "width: expected one of quarter", id="no-such-width"),
    pytest.param("after=2026-06-10", "after: expected what facts.after", id="after-without-an-id"),
    pytest.param("after=2026-06-10T08:00+x", "after: expected what facts.after", id="after-without-a-zone"),
    pytest.param("after=2026-06-10T08:00Z+%07", "after: expected what facts.after", id="after-with-a-bell"),
    pytest.param("format=xml", "format: expected one of json, csv, arrow", id="no-such-format"),
    pytest.param("sql=SELECT", "'sql': no such parameter", id="unknown"),
    pytest.param("%3Cscript%3E=1", "'<script>': no such parameter", id="html-as-a-name"),
    pytest.param("Period=today", "'Period': no such parameter", id="another-spelling"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "problem"), MALFORMED)
@pytest.mark.parametrize("panel", ["totals", "latest", "over-time"])
def test_what_is_malformed_is_refused_by_name(panel: str, query: str, problem: str) -> None:
    with pytest.raises(BadParameter) as caught:
        asked(query, panel)
    assert problem in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_key_that_may_only_send_sees_its_own_rows() -> None:
    assert asked("", only="camera").request.filters == Filters(users=("camera",))
    assert asked("user=camera&user=portal", only="camera").request.filters == Filters(users=("camera",))
    with pytest.raises(BadParameter, match="user: this access key may read the rows of camera only"):
        asked("user=portal", only="camera")


def test_what_takes_no_parameters_says_so() -> None:
    no_parameters("")
    with pytest.raises(BadParameter, match="'x': no parameters"):
        no_parameters("x=1")


def test_a_parameter_that_does_not_matter_is_still_checked() -> None:
    assert asked("width=hour&after=2026-06-10T08:00Z+x&threshold=0.5", "totals").request.width is None
    with pytest.raises(BadParameter, match="width"):
        asked("width=minute", "totals")


def test_a_thousand_malformed_queries_are_refused_at_once() -> None:
    rng = random.Random(1)
    names = [*PARAMETERS, "x", "", "sql", "\u202e", "a" * 2000]
    values = ["", "today", "2026-06-01", "-1", "1e999", "'; DROP TABLE image_events; --", "{where}", "%", "%zz", "\0",
              "研究室", "\U0001f600" * 300, "x" * 10_000, "0.5", "../..", "null"]  # fmt: skip
    slowest, refused = 0.0, 0
    for _ in range(1000):
        pairs = [(rng.choice(names), rng.choice(values)) for _ in range(rng.randrange(1, 12))]
        query = urlencode(pairs) if rng.random() < 0.7 else "&".join(f"{a}={b}" for a, b in pairs)
        started = time.thread_time()
        try:
            read_question(rng.choice(list(PANELS)), query, NOW)
        except BadParameter:
            refused += 1
        slowest = max(slowest, time.thread_time() - started)
    assert refused > 900
    assert slowest < 0.25
