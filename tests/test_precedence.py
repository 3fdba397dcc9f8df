"""Clients who wait go before uploads: while they come, a package of uploads goes on only every now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows.definition import Component, Flow, parse_flow, read_json
from imagewarehouse.nifi import precedence as rule
from imagewarehouse.nifi.precedence import GIVE_WAY_S, QUIET_S, Precedence
from imagewarehouse.resources import FLOW
from imagewarehouse.standalone.engine import BatchWork, Engine, Work
from imagewarehouse.standalone.flowfile import FlowFile
from imagewarehouse.standalone.runner import Options, Runner
from tests.conftest import Hosted, until
from tests.test_engine import SOURCE, Journal, link
from tests.ways import IN_PACKAGES, awaited, listened, package

Make = Callable[..., Component]
UPLOADS, CLIENTS = "uploads", "clients"


class Clock:
    """Time that passes when somebody sleeps. `comes`: what else happens every 0.1 s."""

    def __init__(self, comes: Callable[[], None] = lambda: None) -> None:
        self.now = 100.0
        self.comes = comes

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        until_then = self.now + seconds
        while self.now < until_then - 1e-9:
            self.now = min(until_then, self.now + 0.1)
            self.comes()


def made(clock: Clock, give_way_s: float = 0.5) -> Precedence:
    return Precedence(give_way_s, clock, clock.sleep)


def passed(precedence: Precedence, clock: Clock, packages: int) -> list[float]:
    """When packages of uploads that are all there go on."""
    times = []
    for _ in range(packages):
        precedence.let_pass(awaited=False)
        times.append(round(clock.now - 100, 3))
    return times


def test_uploads_alone_never_wait() -> None:
    clock = Clock()
    assert passed(made(clock), clock, 5) == [0] * 5


def test_while_clients_come_a_package_of_uploads_goes_on_every_now_and_then() -> None:
    clock = Clock()
    precedence = made(clock)
    clock.comes = lambda: precedence.let_pass(awaited=True)
    clock.comes()
    assert passed(precedence, clock, 4) == [0, 0.5, 1.0, 1.5]


def test_uploads_go_on_once_no_client_has_come_for_a_while() -> None:
    clock = Clock()
    precedence = made(clock, 5.0)
    precedence.let_pass(awaited=True)
    assert passed(precedence, clock, 4) == [0, QUIET_S, QUIET_S, QUIET_S]


def test_where_it_is_known_how_long_a_package_takes_uploads_get_half_of_the_time() -> None:
    clock = Clock()
    precedence = made(clock)
    clock.comes = lambda: precedence.let_pass(awaited=True)
    clock.comes()
    precedence.took(0.125)
    assert passed(precedence, clock, 4) == [0, 0.25, 0.5, 0.75]
    precedence.took(60)
    assert passed(precedence, clock, 2) == [1.25, 1.75]


def test_no_difference_is_made_where_none_is_wanted() -> None:
    clock = Clock()
    precedence = made(clock, 0)
    precedence.let_pass(awaited=True)
    assert passed(precedence, clock, 5) == [0] * 5


def test_a_client_goes_on_while_uploads_stand_back() -> None:
    """`comes` is called in the middle of a wait: a client that waited there would wait for ever."""
    clock = Clock()
    precedence = made(clock)
    came: list[float] = []

    def client() -> None:
        precedence.let_pass(awaited=True)
        came.append(clock.now)

    client()
    clock.comes = client
    passed(precedence, clock, 2)
    assert len(came) > 5
    assert came[-1] == pytest.approx(100.5)


# --- in NiFi: the first step of ours ---------------------------------------------------------------------------------


def test_the_check_holds_packages_of_uploads_back_and_no_others(
    hosted: Callable[..., Hosted], picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule, "QUIET_S", 60.0)  # the machine may be slow
    check = hosted("FilterImageRequest", {"Give Way": "300 ms", **IN_PACKAGES})

    def took(*listeners: Mapping[str, str]) -> float:
        content, attributes = package((one, picture(colour=(n, 0, 0))) for n, one in enumerate(listeners))
        begun = time.monotonic()
        assert check.transform(content, attributes).relationship == "success"
        return time.monotonic() - begun

    took(listened())
    took(awaited(), awaited())
    begun = time.monotonic()
    took(listened(), listened())
    took(listened())
    assert time.monotonic() - begun >= 0.3
    # What a sender of packages writes makes no client of it.
    forged = {**listened(), "http.context.identifier": "x"}
    begun = time.monotonic()
    took(forged)
    took(forged)
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize("give_way", ["11 sec", "1 min"])
def test_a_step_that_could_not_be_stopped_for_long_is_invalid(hosted: Callable[..., Hosted], give_way: str) -> None:
    with pytest.raises(ConfigurationError, match="at most 10 sec"):
        hosted("FilterImageRequest", {"Give Way": give_way})


# --- in the standalone runner: in front of the packaging step --------------------------------------------------------


@pytest.fixture
def engine(component: Make) -> Iterator[Callable[..., Engine]]:
    engines: list[Engine] = []

    def build(last: Work, precedence: Precedence) -> Engine:
        names = (f"{SOURCE} {UPLOADS}", f"{SOURCE} {CLIENTS}", UPLOADS, CLIENTS, "last")
        links = [
            *(link(f"{SOURCE} {lane}", lane, "success") for lane in (UPLOADS, CLIENTS)),
            *(link(lane, "last", "success", max_objects=1) for lane in (UPLOADS, CLIENTS)),
        ]
        works: dict[str, Work | BatchWork] = {UPLOADS: packages(), CLIENTS: packages(), "last": last}
        flow = Flow("test", {name: component(name) for name in names}, tuple(links), {})
        engines.append(Engine(flow, works, precedence=precedence))
        engines[-1].start()
        return engines[-1]

    yield build
    for one in engines:
        one.stop()


def packages() -> BatchWork:
    """Packages of one."""
    return BatchWork(1, 1 << 20, lambda flow_files: [("success", flow_files[0])], carries=True)


def test_the_runner_lets_clients_go_before_the_uploads_that_came_earlier(
    engine: Callable[..., Engine],
) -> None:
    clock, journal, seen = Clock(), Journal(), []

    def last(flow_file: FlowFile) -> Any:
        seen.append(flow_file.attributes["number"])
        return [("success", flow_file)]

    running = engine(last, made(clock, 0.2))

    def uploads(*numbers: int) -> None:
        running.submit(f"{SOURCE} {UPLOADS}", [journal.flow_file(n, **listened()) for n in numbers])

    def client(number: int) -> None:
        running.submit(f"{SOURCE} {CLIENTS}", [journal.flow_file(number, **awaited())])
        assert until(lambda: str(number) in seen)

    uploads(0)
    assert until(lambda: seen == ["0"])
    client(100)
    uploads(1, 2, 3)
    for number in range(101, 120):  # time stands still, and the uploads with it
        client(number)
    assert seen == ["0", *map(str, range(100, 120))]
    clock.now += 0.21  # one of them, the client is not forgotten yet
    assert until(lambda: seen[-1] == "1")
    client(120)
    assert seen[-1] == "120"
    clock.now += 60  # nobody comes any more
    assert running.drain(10)
    assert seen[-2:] == ["2", "3"]
    assert journal.ended == dict.fromkeys((*range(4), *range(100, 121)), 1)


def test_the_runner_reads_the_rule_from_the_flow(tmp_path: Any) -> None:
    flow = parse_flow(read_json(FLOW))
    assert flow.parameters["images.give.way"].value == "500 ms"
    for settings, expected in (((), GIVE_WAY_S), ((("images.give.way", "2 sec"),), 2.0)):
        runner = Runner(Options(data=tmp_path, settings=settings), {})
        precedence = runner.engine._precedence
        precedence.goes(awaited=False)
        precedence.goes(awaited=True)
        assert precedence._give_way_s == expected
        assert 0 < precedence.wait_s() <= QUIET_S
