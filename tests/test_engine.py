"""The engine moves FlowFiles as NiFi does: queues fill, tasks wait, retries start over, nothing is lost or ends twice."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows.definition import Component, Connection, Flow, Retry
from imagewarehouse.nifi.codec import Carried
from imagewarehouse.nifi.packages import Package, Packed, read_package, write_package
from imagewarehouse.standalone import components
from imagewarehouse.standalone.engine import BatchWork, Engine, Work
from imagewarehouse.standalone.flowfile import FlowFile, InputFlowFile, SeenAttributes, Ticket, joined
from imagewarehouse.steps.event import ImageEvent
from tests.conftest import until

Make = Callable[..., Component]
SOURCE = "source"


class Journal:
    """Notes which entries have ended, and how often: each has to end exactly once."""

    def __init__(self) -> None:
        self.ended: Counter[int] = Counter()
        self._lock = threading.Lock()

    def flow_file(self, number: int, content: bytes = b"x", **attributes: str) -> FlowFile:
        def end() -> None:
            with self._lock:
                self.ended[number] += 1

        return FlowFile({"number": str(number), **attributes}, content, len(content), Ticket(end))


@pytest.fixture
def journal() -> Journal:
    return Journal()


def link(source: str, destination: str, *relationships: str, **limits: int) -> Connection:
    identifier = f"{source}-{'/'.join(relationships)}-{destination}"
    values = {"max_objects": 0, "max_bytes": 0, **limits}
    return Connection(identifier, identifier, source, destination, relationships, **values)


@pytest.fixture
def engine(component: Make) -> Iterator[Callable[..., Engine]]:
    """Builds and starts an engine; components are given by the keywords of `Component`, works by identifier."""
    engines: list[Engine] = []

    def build(
        components: dict[str, dict[str, Any]],
        connections: Sequence[Connection],
        works: dict[str, Work | BatchWork],
        start: bool = True,
    ) -> Engine:
        made = {name: component(name, **{"penalty_s": 0.02, "yield_s": 0.02, **values})
                for name, values in {SOURCE: {}, **components}.items()}  # fmt: skip
        engines.append(Engine(Flow("test", made, tuple(connections), {}), works))
        if start:
            engines[-1].start()
        return engines[-1]

    yield build
    for one in engines:
        one.stop()


def to(relationship: str) -> Work:
    return lambda flow_file: [(relationship, flow_file)]


def behind(gate: threading.Event, begun: threading.Event | None = None) -> Work:
    """Work that waits for the gate; not for ever, so that a failed test ends too."""

    def work(flow_file: FlowFile) -> Any:
        if begun is not None:
            begun.set()
        gate.wait(5)
        return [("success", flow_file)]

    return work


# --- the plain way ------------------------------------------------------------------------------------------------


def test_each_flowfile_goes_through_every_step_in_order(engine: Callable[..., Engine], journal: Journal) -> None:
    def step(name: str) -> Work:
        return lambda f: [("success", f.updated({"way": f.attributes.get("way", "") + name}))]

    seen: list[tuple[str, str]] = []
    running = engine(
        {"a": {}, "b": {}, "c": {}},
        [link(SOURCE, "a", "success"), link("a", "b", "success"), link("b", "c", "success")],
        {"a": step("a"), "b": step("b"),
         "c": lambda f: seen.append((f.attributes["number"], f.attributes["way"])) or [("success", f)]},
    )  # fmt: skip
    running.submit(SOURCE, [journal.flow_file(n) for n in range(100)])
    assert running.drain(10)
    assert seen == [(str(n), "ab") for n in range(100)]  # one task each: the order is kept
    assert journal.ended == dict.fromkeys(range(100), 1)
    assert running.nodes["c"].routed == {"success": 100}


def test_a_relationship_without_a_connection_ends_the_flowfile(engine: Callable[..., Engine], journal: Journal) -> None:
    running = engine({"a": {}}, [link(SOURCE, "a", "success")], {"a": to("failure")})
    running.submit(SOURCE, [journal.flow_file(1)])
    assert running.drain(10)
    assert journal.ended == {1: 1}


def test_an_output_port_of_the_whole_flow_ends_the_flowfile(engine: Callable[..., Engine], journal: Journal) -> None:
    running = engine(
        {"a": {}, "inner": {"kind": "OUTPUT_PORT", "group": ("Group",)}, "outer": {"kind": "OUTPUT_PORT"}, "b": {}},
        [link(SOURCE, "a", "success"), link("a", "inner", "success"), link("inner", "outer", max_objects=1),
         link("a", "b", "success")],
        {"a": to("success"), "b": to("success")},
    )  # fmt: skip
    running.submit(SOURCE, [journal.flow_file(n) for n in range(10)])
    assert running.drain(10)
    assert (journal.ended, running.parked) == (dict.fromkeys(range(10), 1), [])
    assert running.nodes["b"].routed == {"success": 10}


def test_as_many_tasks_work_at_once_as_the_flow_says(engine: Callable[..., Engine], journal: Journal) -> None:
    gate = threading.Barrier(4)  # opens only when four are inside
    inside: list[int] = []
    lock = threading.Lock()

    def work(flow_file: FlowFile) -> Any:
        with lock:
            inside.append(1)
            most.append(len(inside))
        gate.wait(timeout=5)
        with lock:
            inside.pop()
        return [("success", flow_file)]

    most: list[int] = []
    running = engine({"a": {"tasks": 4}}, [link(SOURCE, "a", "success")], {"a": work})
    running.submit(SOURCE, [journal.flow_file(n) for n in range(40)])
    assert running.drain(10)
    assert max(most) == 4
    assert journal.ended == dict.fromkeys(range(40), 1)


def test_queues_of_one_processor_take_turns(engine: Callable[..., Engine], journal: Journal) -> None:
    seen: list[str] = []
    running = engine(
        {"other": {}, "a": {}},
        [link(SOURCE, "a", "success"), link("other", "a", "success")],
        {"a": lambda f: seen.append(f.attributes["from"]) or [("success", f)]},
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n, **{"from": "first"}) for n in range(20)])
    running.submit("other", [journal.flow_file(100 + n, **{"from": "second"}) for n in range(20)])
    running.start()
    assert running.drain(10)
    assert Counter(seen[:10]) == {"first": 5, "second": 5}


# --- back pressure ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"max_objects": 3}, {"max_bytes": 30}], ids=["objects", "bytes"])
def test_a_full_queue_stops_the_step_before_it(
    engine: Callable[..., Engine], journal: Journal, limits: dict[str, int]
) -> None:
    gate, begun = threading.Event(), threading.Event()
    running = engine(
        {"a": {}, "b": {}},
        [link(SOURCE, "a", "success", max_objects=5), link("a", "b", "success", **limits)],
        {"a": to("success"), "b": behind(gate, begun)},
    )
    (first,), (queue,) = running.nodes["a"].incoming, running.nodes["b"].incoming
    running.submit(SOURCE, [journal.flow_file(0)])
    assert begun.wait(5)
    accepted = 1
    while running.accepts(SOURCE) and accepted < 100:
        running.submit(SOURCE, [journal.flow_file(accepted, content=b"0123456789")])
        accepted += 1
        assert until(lambda: first.count == 0 or queue.full)
    assert until(lambda: queue.full)
    # 5 before a, 3 before b, 1 in b's hands
    assert (accepted, queue.count, queue.full) == (9, 3, True)
    gate.set()
    assert running.drain(10)
    assert running.accepts(SOURCE)
    assert (queue.count, queue.bytes) == (0, 0)
    assert journal.ended == dict.fromkeys(range(9), 1)


def test_no_more_than_the_tasks_of_a_step_can_overfill_a_queue(engine: Callable[..., Engine], journal: Journal) -> None:
    gate = threading.Event()
    running = engine(
        {"a": {"tasks": 4}, "b": {}},
        [link(SOURCE, "a", "success"), link("a", "b", "success", max_objects=2)],
        {"a": to("success"), "b": behind(gate)},
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(50)])
    (queue,) = running.nodes["b"].incoming
    assert until(lambda: queue.full)
    time.sleep(0.1)
    assert queue.count <= 2 + 3  # each of the others may have looked before it was full
    gate.set()
    assert running.drain(10)


def test_a_full_loop_does_not_stop_its_own_step(engine: Callable[..., Engine], journal: Journal) -> None:
    away = threading.Event()
    running = engine(
        {"a": {}},
        [link(SOURCE, "a", "success"), link("a", "a", "retry", max_objects=2)],
        {"a": lambda f: [("success" if away.is_set() else "retry", f)]},
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(10)])
    assert until(lambda: running.nodes["a"].routed["retry"] >= 20)
    away.set()
    assert running.drain(10)
    assert journal.ended == dict.fromkeys(range(10), 1)


def test_a_loop_goes_round_after_a_pause(engine: Callable[..., Engine], journal: Journal) -> None:
    running = engine(
        {"a": {"penalty_s": 0.2}},
        [link(SOURCE, "a", "success"), link("a", "a", "retry")],
        {"a": to("retry")},
    )
    started = time.monotonic()
    running.submit(SOURCE, [journal.flow_file(1)])
    assert until(lambda: running.nodes["a"].routed["retry"] == 3)
    assert time.monotonic() - started >= 0.4  # at 0, 0.2 and 0.4 s


# --- retries ------------------------------------------------------------------------------------------------------


def test_a_retried_flowfile_comes_back_as_it_was_and_later_each_time(
    engine: Callable[..., Engine], journal: Journal
) -> None:
    seen: list[tuple[float, dict[str, str], bytes | None]] = []

    def work(flow_file: FlowFile) -> Any:
        seen.append((time.monotonic(), dict(flow_file.attributes), flow_file.content))
        return [("failure", flow_file.updated({"status": "failed", "attempt": str(len(seen))}, b"changed"))]

    left: list[FlowFile] = []
    running = engine(
        {"a": {"penalty_s": 0.05, "retry": Retry(3, frozenset({"failure"}), 0.1, True)}, "b": {}},
        [link(SOURCE, "a", "success"), link("a", "b", "failure")],
        {"a": work, "b": lambda f: left.append(f) or [("success", f)]},
    )
    running.submit(SOURCE, [journal.flow_file(1, status="accepted")])
    assert running.drain(10)
    assert [attributes["status"] for _, attributes, _ in seen] == ["accepted"] * 4  # the first try and three more
    assert [content for _, _, content in seen] == [b"x"] * 4
    pauses = [later[0] - earlier[0] for earlier, later in itertools.pairwise(seen)]
    assert all(
        pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.1), strict=True)
    )  # doubled up to the longest
    (one,) = left
    assert (one.attributes["status"], one.attributes["attempt"], one.content) == ("failed", "4", b"changed")
    assert (one.retries, journal.ended) == ({}, {1: 1})


def test_a_flowfile_that_passes_at_the_second_try_leaves_without_a_trace(
    engine: Callable[..., Engine], journal: Journal
) -> None:
    attempts: list[str] = []

    def work(flow_file: FlowFile) -> Any:
        attempts.append(flow_file.attributes["number"])
        return [("success" if len(attempts) > 1 else "failure", flow_file.updated({f"try{len(attempts)}": "x"}))]

    left: list[FlowFile] = []
    running = engine(
        {"a": {"retry": Retry(5, frozenset({"failure"}), 1.0, True)}, "b": {}},
        [link(SOURCE, "a", "success"), link("a", "b", "success")],
        {"a": work, "b": lambda f: left.append(f) or [("success", f)]},
    )
    running.submit(SOURCE, [journal.flow_file(1)])
    assert running.drain(10)
    assert dict(left[0].attributes) == {"number": "1", "try2": "x"}
    assert running.nodes["a"].routed == {"success": 1}  # the metrics count it once


def test_a_penalised_flowfile_lets_the_others_pass(engine: Callable[..., Engine], journal: Journal) -> None:
    seen: list[str] = []

    def work(flow_file: FlowFile) -> Any:
        seen.append(flow_file.attributes["number"])
        return [("failure" if seen.count("0") == 1 and flow_file.attributes["number"] == "0" else "success", flow_file)]

    running = engine(
        {"a": {"penalty_s": 0.3, "retry": Retry(1, frozenset({"failure"}), 1.0, True)}},
        [link(SOURCE, "a", "success")],
        {"a": work},
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(5)])
    assert running.drain(10)
    assert seen == ["0", "1", "2", "3", "4", "0"]


# --- copies -------------------------------------------------------------------------------------------------------


def test_an_entry_has_ended_when_the_last_of_its_copies_has(engine: Callable[..., Engine], journal: Journal) -> None:
    gate = threading.Event()
    running = engine(
        {"a": {}, "fast": {}, "slow": {}},
        [link(SOURCE, "a", "success"), link("a", "fast", "success"), link("a", "slow", "success")],
        {"a": to("success"), "fast": to("success"), "slow": behind(gate)},
    )
    running.submit(SOURCE, [journal.flow_file(1)])
    assert until(lambda: running.nodes["fast"].routed["success"] == 1)
    assert running.live == 1
    assert journal.ended == {}
    gate.set()
    assert running.drain(10)
    assert (running.live, journal.ended) == (0, {1: 1})


def split(flow_file: FlowFile) -> Any:
    return [("success", flow_file), ("original", flow_file)]


def routed(component: Make) -> Work:
    properties = {"one": "${number:isEmpty():not()}", "two": "${number:equals('1')}", "three": "${number:isEmpty()}"}
    return components.route_on_attribute(component("route", type=components.ROUTE, properties=properties), {})


@pytest.mark.parametrize("kind", ["original", "route"])
def test_a_step_with_two_outcomes_ends_its_entry_once_and_after_both(
    engine: Callable[..., Engine], component: Make, journal: Journal, kind: str
) -> None:
    gate = threading.Event()
    ways = ("success", "original") if kind == "original" else ("one", "two")
    running = engine(
        {"a": {}, "fast": {}, "slow": {}},
        [link(SOURCE, "a", "success"), link("a", "fast", ways[0]), link("a", "slow", ways[1])],
        {"a": split if kind == "original" else routed(component), "fast": to("success"),
         "slow": behind(gate)},
    )  # fmt: skip
    running.submit(SOURCE, [journal.flow_file(1)])
    assert until(lambda: running.nodes["fast"].routed["success"] == 1)
    assert journal.ended == {}  # else a crash now would lose the slow one
    assert running.live == 1
    assert running.drain(0.05) is False
    gate.set()
    assert running.drain(10)
    assert until(lambda: running.nodes["slow"].routed["success"] == 1)
    assert (running.live, journal.ended) == (0, {1: 1})


def test_a_step_that_drops_a_flowfile_ends_it(engine: Callable[..., Engine], journal: Journal) -> None:
    running = engine({"a": {}}, [link(SOURCE, "a", "success")], {"a": lambda f: []})
    running.submit(SOURCE, [journal.flow_file(1)])
    assert running.drain(5)
    assert journal.ended == {1: 1}


def test_a_ticket_calls_back_once_when_nothing_is_left() -> None:
    called: list[int] = []
    ticket = Ticket(lambda: called.append(1))
    ticket.add(1)
    threads = [threading.Thread(target=lambda: [ticket.add(1) or ticket.add(-1) for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert called == []
    ticket.add(-1)
    assert called == [1]


# --- gathering ----------------------------------------------------------------------------------------------------


def packaging_work(component: Make, images: int = 64, size: str = "8 MB") -> BatchWork:
    properties = {"Maximum Batch Size": str(images), "Maximum Batch Content Size": size}
    return components.package_flow_file(component("gather", type=components.PACKAGE, properties=properties), {})


def unpack(component: Make) -> Work:
    properties = {"Packaging Format": "flowfile-stream-v3"}
    return components.unpack_content(component("unpack", type=components.UNPACK, properties=properties), {})


def numbers(package: FlowFile) -> list[int]:
    return [int(packed.attributes["number"]) for packed in package.packed]


@pytest.fixture
def packages(engine: Callable[..., Engine], component: Make, journal: Journal) -> Callable[..., list[FlowFile]]:
    """The packages that are made of FlowFiles with these contents, all of which wait before the gathering begins."""

    def run(contents: Sequence[bytes], **limits: Any) -> list[FlowFile]:
        left: list[FlowFile] = []
        running = engine(
            {"gather": {}, "b": {}},
            [link(SOURCE, "gather", "success"), link("gather", "b", "success")],
            {"gather": packaging_work(component, **limits), "b": lambda f: left.append(f) or [("success", f)]},
            start=False,
        )
        running.submit(SOURCE, [journal.flow_file(n, content) for n, content in enumerate(contents)])
        running.start()
        assert running.drain(20)
        assert (running.live, journal.ended) == (0, dict.fromkeys(range(len(contents)), 1))
        (queue,) = running.nodes["gather"].incoming
        assert (queue.count, queue.bytes) == (0, 0)
        assert running.nodes["gather"].routed == {"success": len(left)}
        return left

    return run


@pytest.mark.parametrize(
    ("count", "images", "expected"),
    [
        pytest.param(1, 64, [1], id="one-alone"),
        pytest.param(3, 64, [3], id="fewer-than-the-limit"),
        pytest.param(64, 64, [64], id="as-many-as-the-limit"),
        pytest.param(65, 64, [64, 1], id="one-more"),
        pytest.param(10, 4, [4, 4, 2], id="several-packages"),
        pytest.param(3, 1, [1, 1, 1], id="one-each"),
    ],
)
def test_a_package_holds_as_many_as_wait_and_no_more_than_its_limit(
    packages: Callable[..., list[FlowFile]], count: int, images: int, expected: list[int]
) -> None:
    left = packages([b"x"] * count, images=images)
    assert [len(numbers(package)) for package in left] == expected
    assert [n for package in left for n in numbers(package)] == list(range(count))  # in their order


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([500, 500], [[0, 1]], id="as-many-bytes-as-the-limit"),
        pytest.param([500, 501], [[0], [1]], id="a-byte-more"),
        pytest.param([2000], [[0]], id="a-large-one-alone"),
        pytest.param([10, 2000, 10, 10], [[0], [1], [2, 3]], id="a-large-one-between-small-ones"),
        pytest.param([2000, 2000], [[0], [1]], id="two-large-ones"),
        pytest.param([1000, 0, 0, 1], [[0, 1, 2], [3]], id="empty-ones-cost-nothing"),
    ],
)
def test_a_package_stays_below_its_bytes_unless_one_is_larger_by_itself(
    packages: Callable[..., list[FlowFile]], sizes: list[int], expected: list[list[int]]
) -> None:
    assert [numbers(package) for package in packages([bytes(size) for size in sizes], size="1000 B")] == expected


def test_a_package_holds_what_went_into_it_and_has_what_that_has_in_common(
    engine: Callable[..., Engine], component: Make, journal: Journal
) -> None:
    left: list[FlowFile] = []
    running = engine(
        {"gather": {}, "b": {}},
        [link(SOURCE, "gather", "success"), link("gather", "b", "success")],
        {"gather": packaging_work(component), "b": lambda f: left.append(f) or [("success", f)]},
        start=False,
    )
    attributes = {"same": "a", "mime.type": "image/png"}
    running.submit(SOURCE, [journal.flow_file(n, bytes([n]), other=str(n), **attributes) for n in range(3)])
    unkept = FlowFile({"number": "3", "same": "a", "http.unkept.size": "99"}, None, 99, Ticket())
    running.submit(SOURCE, [unkept])
    running.start()
    assert running.drain(10)
    (package,) = left
    assert dict(package.attributes) == {"same": "a", "mime.type": "application/flowfile-v3"}
    assert package.body is not None
    assert InputFlowFile(package).getSize() == len(package.body)
    found = [(dict(packed.attributes), bytes(packed.content)) for packed in read_package(package.body)]
    assert found[1] == ({"number": "1", "other": "1", **attributes}, b"\x01")
    assert found[3] == ({"number": "3", "same": "a", "http.unkept.size": "99"}, b"")  # a body that was not kept


def test_gathering_never_waits_for_more(engine: Callable[..., Engine], component: Make, journal: Journal) -> None:
    gate, begun = threading.Event(), threading.Event()
    left: list[list[int]] = []

    def work(package: FlowFile) -> Any:
        left.append(numbers(package))
        begun.set()
        gate.wait(5)
        return [("success", package)]

    running = engine(
        {"gather": {}, "b": {}},
        [link(SOURCE, "gather", "success"), link("gather", "b", "success", max_objects=1)],
        {"gather": packaging_work(component), "b": work},
    )
    running.submit(SOURCE, [journal.flow_file(0)])
    assert begun.wait(5)  # alone, although more could have come
    running.submit(SOURCE, [journal.flow_file(1)])
    assert until(lambda: running.nodes["b"].incoming[0].full)
    running.submit(SOURCE, [journal.flow_file(n) for n in range(2, 10)])  # these find no space and wait in front
    assert until(lambda: running.nodes["gather"].incoming[0].count == 8)
    gate.set()
    assert running.drain(10)
    assert left == [[0], [1], list(range(2, 10))]
    assert journal.ended == dict.fromkeys(range(10), 1)


def test_penalised_flowfiles_are_not_gathered(engine: Callable[..., Engine], component: Make, journal: Journal) -> None:
    left: list[list[int]] = []
    tries: Counter[str] = Counter()

    def back(flow_file: FlowFile) -> Any:
        number = flow_file.attributes["number"]
        tries[number] += 1
        return [("failure" if number == "0" and tries[number] == 1 else "success", flow_file)]

    running = engine(
        {"a": {"penalty_s": 0.2, "retry": Retry(1, frozenset({"failure"}), 1.0, True)}, "gather": {}, "b": {}},
        [link(SOURCE, "a", "success"), link("a", "gather", "success"), link("gather", "b", "success")],
        {"a": back, "gather": packaging_work(component), "b": lambda f: left.append(numbers(f)) or [("success", f)]},
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(3)])
    assert running.drain(10)
    assert [n for package in left for n in package] == [1, 2, 0]
    assert left[-1] == [0]


def test_an_entry_has_ended_when_the_package_it_is_in_has(
    engine: Callable[..., Engine], component: Make, journal: Journal
) -> None:
    gate, begun = threading.Event(), threading.Event()
    running = engine(
        {"gather": {}, "b": {}},
        [link(SOURCE, "gather", "success"), link("gather", "b", "success")],
        {"gather": packaging_work(component), "b": behind(gate, begun)},
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(5)])
    running.start()
    assert begun.wait(5)
    assert (running.live, journal.ended) == (1, {})  # one package, its five entries all still in the journal
    gate.set()
    assert running.drain(10)
    assert journal.ended == dict.fromkeys(range(5), 1)


def test_an_entry_has_ended_when_the_last_flowfile_out_of_its_package_has(
    engine: Callable[..., Engine], component: Make, journal: Journal
) -> None:
    gate = threading.Event()

    def last_waits(flow_file: FlowFile) -> Any:
        if flow_file.attributes["number"] == "4":
            gate.wait(5)
        return [("success", flow_file)]

    running = engine(
        {"gather": {}, "unpack": {}, "b": {}},
        [link(SOURCE, "gather", "success"), link("gather", "unpack", "success"), link("unpack", "b", "success")],
        {"gather": packaging_work(component), "unpack": unpack(component), "b": last_waits},
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n, bytes([n]) * n) for n in range(5)])
    running.start()
    assert until(lambda: running.nodes["b"].routed["success"] == 4)
    assert (running.live, journal.ended) == (1, {})
    gate.set()
    assert running.drain(10)
    assert (running.live, journal.ended) == (0, dict.fromkeys(range(5), 1))
    assert running.nodes["unpack"].routed == {"success": 5}


def test_what_is_unpacked_is_what_was_packed(engine: Callable[..., Engine], component: Make, journal: Journal) -> None:
    left: list[FlowFile] = []
    running = engine(
        {"gather": {}, "unpack": {}, "b": {}},
        [link(SOURCE, "gather", "success"), link("gather", "unpack", "success"), link("unpack", "b", "success")],
        {
            "gather": packaging_work(component),
            "unpack": unpack(component),
            "b": lambda f: left.append(f) or [("success", f)],
        },
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n, bytes([n]) * n, **{"mime.type": "image/png"}) for n in range(5)])
    running.start()
    assert running.drain(10)
    assert [(f.attributes["number"], f.attributes["mime.type"], f.content, f.size) for f in left] == [
        (str(n), "image/png", bytes([n]) * n, n) for n in range(5)
    ]


@pytest.mark.parametrize("content", [b"no package", write_package([Packed({}, b"x")])[:-1]], ids=["text", "cut-short"])
def test_what_is_no_package_leaves_the_unpacking_on_failure_and_as_it_was(
    engine: Callable[..., Engine], component: Make, journal: Journal, content: bytes
) -> None:
    left: list[FlowFile] = []
    running = engine(
        {"unpack": {}, "b": {}},
        [link(SOURCE, "unpack", "success"), link("unpack", "b", "failure")],
        {"unpack": unpack(component), "b": lambda f: left.append(f) or [("success", f)]},
    )
    running.submit(SOURCE, [journal.flow_file(1, content)])
    assert running.drain(10)
    assert [f.content for f in left] == [content]
    assert journal.ended == {1: 1}


def test_an_empty_package_ends_without_a_trace(
    engine: Callable[..., Engine], component: Make, journal: Journal
) -> None:
    running = engine({"unpack": {}}, [link(SOURCE, "unpack", "success")], {"unpack": unpack(component)})
    running.submit(SOURCE, [journal.flow_file(1, b"")])
    assert running.drain(10)
    assert (running.live, journal.ended) == (0, {1: 1})


def test_a_package_that_is_retried_comes_back_whole(
    engine: Callable[..., Engine], component: Make, journal: Journal
) -> None:
    seen: list[list[int]] = []

    def work(package: FlowFile) -> Any:
        seen.append(numbers(package))
        assert "failed" not in package.attributes
        return [("failure" if len(seen) < 3 else "success", package.updated({"failed": "once"}, b"changed"))]

    left: list[FlowFile] = []
    running = engine(
        {"gather": {}, "a": {"retry": Retry(5, frozenset({"failure"}), 0.1, True)}, "b": {}},
        [link(SOURCE, "gather", "success"), link("gather", "a", "success"), link("a", "b", "success")],
        {"gather": packaging_work(component), "a": work, "b": lambda f: left.append(f) or [("success", f)]},
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(4)])
    running.start()
    assert running.drain(10)
    assert seen == [[0, 1, 2, 3]] * 3
    assert [f.content for f in left] == [b"changed"]
    assert journal.ended == dict.fromkeys(range(4), 1)


def test_a_package_in_a_loop_holds_its_entries_until_it_leaves(
    engine: Callable[..., Engine], component: Make, journal: Journal
) -> None:
    away = threading.Event()
    running = engine(
        {"gather": {}, "a": {}},
        [link(SOURCE, "gather", "success"), link("gather", "a", "success"), link("a", "a", "retry")],
        {"gather": packaging_work(component), "a": lambda f: [("success" if away.is_set() else "retry", f)]},
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(4)])
    running.start()
    assert until(lambda: running.nodes["a"].routed["retry"] >= 5)
    assert journal.ended == {}
    away.set()
    assert running.drain(10)
    assert journal.ended == dict.fromkeys(range(4), 1)


def test_a_parked_package_keeps_its_entries(engine: Callable[..., Engine], component: Make, journal: Journal) -> None:
    running = engine(
        {"gather": {}, "a": {}, "dead": {"kind": "FUNNEL"}},
        [link(SOURCE, "gather", "success"), link("gather", "a", "success"), link("a", "dead", "failure")],
        {"gather": packaging_work(component), "a": to("failure")},
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(4)])
    running.start()
    assert running.drain(10)  # what is parked is not under way
    assert (running.parked[0].count, running.live, journal.ended) == (1, 0, {})


def test_gathering_that_raises_puts_all_back_in_their_queue(
    engine: Callable[..., Engine], component: Make, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    whole = packaging_work(component)
    tries: list[int] = []

    def work(flow_files: Sequence[FlowFile]) -> Any:
        tries.append(len(flow_files))
        if len(tries) < 3:
            raise ZeroDivisionError("a defect")
        return whole.work(flow_files)

    left: list[list[int]] = []
    running = engine(
        {"gather": {}, "b": {}},
        [link(SOURCE, "gather", "success"), link("gather", "b", "success")],
        {"gather": BatchWork(64, 1000, work), "b": lambda f: left.append(numbers(f)) or [("success", f)]},
        start=False,
    )
    with caplog.at_level(logging.ERROR):
        running.submit(SOURCE, [journal.flow_file(n) for n in range(4)])
        running.start()
        assert running.drain(10)
    assert sorted(n for package in left for n in package) == [0, 1, 2, 3]
    assert "gather: 4 FlowFiles put back" in caplog.text
    assert (running.live, journal.ended) == (0, dict.fromkeys(range(4), 1))


def test_a_work_that_raises_at_a_package_loses_nothing(
    engine: Callable[..., Engine], component: Make, journal: Journal
) -> None:
    tries: list[int] = []

    def work(package: FlowFile) -> Any:
        tries.append(len(numbers(package)))
        if len(tries) < 3:
            raise ZeroDivisionError("a defect")
        return [("success", package)]

    running = engine(
        {"gather": {}, "a": {}},
        [link(SOURCE, "gather", "success"), link("gather", "a", "success")],
        {"gather": packaging_work(component), "a": work},
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(4)])
    running.start()
    assert running.drain(10)
    assert tries == [4, 4, 4]
    assert journal.ended == dict.fromkeys(range(4), 1)


def test_a_header_that_is_no_text_does_not_hold_up_what_is_gathered_with_it(
    engine: Callable[..., Engine], component: Make, journal: Journal
) -> None:
    left: list[list[int]] = []
    running = engine(
        {"gather": {}, "b": {}},
        [link(SOURCE, "gather", "success"), link("gather", "b", "success")],
        {"gather": packaging_work(component), "b": lambda f: left.append(numbers(f)) or [("success", f)]},
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(1), journal.flow_file(2, filename="\udcff"), journal.flow_file(3)])
    running.start()
    assert running.drain(5)
    assert left == [[1, 2, 3]]


def test_copies_of_one_entry_in_one_package_end_it_once(
    engine: Callable[..., Engine], component: Make, journal: Journal
) -> None:
    running = engine(
        {"a": {}, "gather": {}, "unpack": {}},
        [link(SOURCE, "a", "success"), link("a", "gather", "success", "copy"), link("gather", "unpack", "success")],
        {
            "a": lambda f: [("success", f), ("copy", f)],
            "gather": packaging_work(component),
            "unpack": unpack(component),
        },
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(50)])
    assert running.drain(10)
    assert running.nodes["unpack"].routed["success"] == 100
    assert (running.live, journal.ended) == (0, dict.fromkeys(range(50), 1))


def test_packages_of_packages_end_their_entries(
    engine: Callable[..., Engine], component: Make, journal: Journal
) -> None:
    running = engine(
        {"first": {}, "second": {}},
        [link(SOURCE, "first", "success"), link("first", "second", "success")],
        {"first": packaging_work(component, images=2), "second": packaging_work(component, images=2)},
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(7)])
    running.start()
    assert running.drain(10)
    assert (running.live, journal.ended) == (0, dict.fromkeys(range(7), 1))


def test_a_joined_ticket_ends_the_others_once_and_not_before_they_are_done_themselves() -> None:
    ended: list[int] = []
    flow_files = [FlowFile({}, b"", 0, Ticket(lambda n=n: ended.append(n))) for n in range(3)]  # type: ignore[misc]
    for flow_file in flow_files:
        flow_file.ticket.add(1)
    ticket = joined(flow_files)
    flow_files[0].ticket.add(-1)
    assert ended == []
    ticket.add(-1)
    assert ended == [0]  # the other two are still somewhere themselves
    flow_files[1].ticket.add(-1)
    flow_files[2].ticket.add(-1)
    assert ended == [0, 1, 2]


@pytest.mark.parametrize(
    "properties",
    [{"Maximum Batch Size": "0"}, {"Maximum Batch Size": "10001"}, {"Maximum Batch Content Size": "many"}],
    ids=["none", "too-many", "no-size"],
)
def test_limits_that_nifi_refuses_are_refused(component: Make, properties: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="Maximum Batch"):
        components.package_flow_file(component("gather", type=components.PACKAGE, properties=properties), {})


def test_only_packages_of_flowfiles_are_unpacked(component: Make) -> None:
    with pytest.raises(ConfigurationError, match="Packaging Format"):
        components.unpack_content(
            component("unpack", type=components.UNPACK, properties={"Packaging Format": "zip"}), {}
        )


@pytest.mark.parametrize("carried", [False, True])
def test_attributes_are_deleted_by_their_names(component: Make, carried: bool) -> None:
    events = [(ImageEvent("one"), None)]
    package = Carried(Package([Packed({"a": "in it"}, b"x")]), events) if carried else None
    given = FlowFile({"a": "1", "ab": "2", "b": "3"}, b"content", 7, Ticket(), {}, package)

    def deleted(pattern: str, **more: str) -> dict[str, str]:
        properties = {"Delete Attributes Expression": pattern, "Store State": "Do not store state", **more}
        work = components.update_attribute(component("u", type=components.UPDATE, properties=properties), {})
        assert not isinstance(work, BatchWork)
        ((relationship, left),) = work(given)
        assert (relationship, left.body) == ("success", given.body)
        return dict(SeenAttributes(left))

    records = {"package.records": '[{"request_id":"one"}]'} if carried else {}
    assert deleted("a") == {"ab": "2", "b": "3", **records}
    assert deleted(".*") == {}
    with pytest.raises(ConfigurationError, match="does not know this property"):
        deleted("a", status="classified")


def test_many_flowfiles_in_packages_through_many_tasks_all_end_once(
    engine: Callable[..., Engine], component: Make, journal: Journal
) -> None:
    tried: set[str] = set()
    lock = threading.Lock()

    def flaky(package: FlowFile) -> Any:
        first = numbers(package)[0]
        with lock:
            again = str(first) in tried
            tried.add(str(first))
        if not again and first % 3 == 0:
            raise ZeroDivisionError("a defect")
        return [("failure" if not again and first % 2 == 0 else "success", package)]

    running = engine(
        {"gather": {"tasks": 3}, "a": {"tasks": 3, "retry": Retry(1, frozenset({"failure"}), 1.0, True)},
         "unpack": {"tasks": 2}, "b": {"tasks": 2}},
        [link(SOURCE, "gather", "success"), link("gather", "a", "success", max_objects=2),
         link("a", "unpack", "success", "failure", max_objects=3), link("unpack", "b", "success")],
        {"gather": packaging_work(component, images=7), "a": flaky, "unpack": unpack(component), "b": to("success")},
    )  # fmt: skip
    for start in range(0, 1000, 50):
        running.submit(SOURCE, [journal.flow_file(n) for n in range(start, start + 50)])
    assert running.drain(30)
    assert running.nodes["b"].routed["success"] == 1000
    assert (running.live, journal.ended) == (0, dict.fromkeys(range(1000), 1))


# --- parking ------------------------------------------------------------------------------------------------------


def test_a_funnel_without_a_way_out_parks_what_reaches_it(
    engine: Callable[..., Engine], journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    running = engine(
        {"a": {}, "dead": {"kind": "FUNNEL"}},
        [link(SOURCE, "a", "success"), link("a", "dead", "failure")],
        {"a": to("failure")},
    )
    with caplog.at_level(logging.ERROR):
        running.submit(SOURCE, [journal.flow_file(n, content=b"123", request_id=f"id-{n}") for n in range(3)])
        assert running.drain(10)  # what is parked is not under way
    (queue,) = running.parked
    assert (queue.count, queue.bytes, running.live) == (3, 9, 0)
    assert journal.ended == {}  # its journal record brings it back at the next start
    assert all(f"id-{n}" in caplog.text for n in range(3))


def test_a_full_dead_letter_queue_holds_the_flow_up(engine: Callable[..., Engine], journal: Journal) -> None:
    running = engine(
        {"a": {}, "dead": {"kind": "FUNNEL"}},
        [link(SOURCE, "a", "success"), link("a", "dead", "failure", max_objects=2)],
        {"a": to("failure")},
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(5)])
    assert until(lambda: running.parked[0].count == 2)
    assert running.drain(0.2) is False
    assert running.nodes["a"].incoming[0].count == 3


# --- ports and funnels on the way ---------------------------------------------------------------------------------


def test_ports_and_funnels_are_no_stops(engine: Callable[..., Engine], journal: Journal) -> None:
    seen: list[str] = []
    running = engine(
        {"out": {"kind": "OUTPUT_PORT"}, "funnel": {"kind": "FUNNEL"}, "in": {"kind": "INPUT_PORT"}, "a": {}},
        [link(SOURCE, "out", "success", max_objects=1), link("out", "funnel"), link("funnel", "in"),
         link("in", "a", max_objects=7)],
        {"a": lambda f: seen.append(f.attributes["number"]) or [("success", f)]},
    )  # fmt: skip
    assert list(running.nodes) == [SOURCE, "a"]
    (queue,) = running.entry(SOURCE)
    assert queue.connection.max_objects == 7  # the last connection is the queue in front of the processor
    running.submit(SOURCE, [journal.flow_file(n) for n in range(5)])
    assert running.drain(10)
    assert seen == [str(n) for n in range(5)]


def test_ways_that_meet_share_the_queue_behind_the_funnel(engine: Callable[..., Engine], journal: Journal) -> None:
    running = engine(
        {"other": {}, "funnel": {"kind": "FUNNEL"}, "a": {}},
        [link(SOURCE, "funnel", "success"), link("other", "funnel", "success", "failure"),
         link("funnel", "a", max_objects=2)],
        {"a": to("success")},
        start=False,
    )  # fmt: skip
    assert running.entry(SOURCE) == running.entry("other") == running.entry("other", "failure")
    running.submit(SOURCE, [journal.flow_file(1)])
    running.submit("other", [journal.flow_file(2)], "failure")
    assert not running.accepts(SOURCE)
    assert not running.accepts("other")
    running.start()
    assert running.drain(10)
    assert journal.ended == {1: 1, 2: 1}


def test_a_funnel_with_two_ways_out_sends_a_copy_on_each(engine: Callable[..., Engine], journal: Journal) -> None:
    running = engine(
        {"funnel": {"kind": "FUNNEL"}, "a": {}, "b": {}},
        [link(SOURCE, "funnel", "success"), link("funnel", "a"), link("funnel", "b")],
        {"a": to("success"), "b": to("success")},
    )
    running.submit(SOURCE, [journal.flow_file(1)])
    assert running.drain(10)
    assert running.nodes["a"].routed["success"] == running.nodes["b"].routed["success"] == 1
    assert journal.ended == {1: 1}


def test_funnels_in_a_ring_park_instead_of_going_round_for_ever(
    engine: Callable[..., Engine], journal: Journal
) -> None:
    running = engine(
        {"x": {"kind": "FUNNEL"}, "y": {"kind": "FUNNEL"}},
        [link(SOURCE, "x", "success"), link("x", "y"), link("y", "x")],
        {},
    )
    running.submit(SOURCE, [journal.flow_file(1)])
    assert running.drain(1)
    assert sum(queue.count for queue in running.parked) == 1


# --- defects and the end ------------------------------------------------------------------------------------------


def test_a_work_that_raises_loses_nothing_and_stops_nobody(engine: Callable[..., Engine], journal: Journal) -> None:
    failures: Counter[str] = Counter()

    def work(flow_file: FlowFile) -> Any:
        number = flow_file.attributes["number"]
        if failures[number] < 2 and int(number) % 3 == 0:
            failures[number] += 1
            raise ZeroDivisionError("a defect")
        return [("success", flow_file)]

    running = engine({"a": {"tasks": 2}}, [link(SOURCE, "a", "success")], {"a": work})
    running.submit(SOURCE, [journal.flow_file(n) for n in range(12)])
    assert running.drain(10)
    assert journal.ended == dict.fromkeys(range(12), 1)
    assert failures == {"0": 2, "3": 2, "6": 2, "9": 2}


def test_a_relationship_that_is_not_declared_keeps_the_flowfile_where_it_is(
    engine: Callable[..., Engine], journal: Journal, component: Make, caplog: pytest.LogCaptureFixture
) -> None:
    from imagewarehouse.standalone.python_host import PythonProcessor

    host = PythonProcessor(component("PutSolrDocument"), {})
    host.relationships = {"success", "failure", "original"}  # as if the processor had forgotten one
    running = engine(
        {"PutSolrDocument": {}}, [link(SOURCE, "PutSolrDocument", "success")], {"PutSolrDocument": host.work}
    )
    with caplog.at_level(logging.ERROR):
        running.submit(SOURCE, [journal.flow_file(1)])
        assert running.drain(0.2) is False
    assert "'switched off', which it does not declare" in caplog.text
    assert journal.ended == {}
    host.relationships.add("switched off")
    assert running.drain(10)
    assert journal.ended == {1: 1}


def test_drain_says_whether_the_time_was_enough(engine: Callable[..., Engine], journal: Journal) -> None:
    gate = threading.Event()
    running = engine({"a": {}}, [link(SOURCE, "a", "success")], {"a": behind(gate)})
    running.submit(SOURCE, [journal.flow_file(1)])
    started = time.monotonic()
    assert running.drain(0.1) is False
    assert 0.1 <= time.monotonic() - started < 2
    gate.set()
    assert running.drain(10) is True


def test_stopping_finishes_what_is_in_hand_and_leaves_the_rest(engine: Callable[..., Engine], journal: Journal) -> None:
    started, gate = threading.Event(), threading.Event()

    def work(flow_file: FlowFile) -> Any:
        started.set()
        gate.wait(10)
        return [("success", flow_file)]

    running = engine({"a": {}}, [link(SOURCE, "a", "success")], {"a": work})
    running.submit(SOURCE, [journal.flow_file(n) for n in range(3)])
    assert started.wait(5)
    threading.Timer(0.05, gate.set).start()
    running.stop()
    assert journal.ended == {0: 1}
    assert running.live == 2  # the journal keeps them
    assert not running.accepts(SOURCE)


def test_many_flowfiles_through_many_tasks_all_end_once(engine: Callable[..., Engine], journal: Journal) -> None:
    def flaky(flow_file: FlowFile) -> Any:
        number = int(flow_file.attributes["number"])
        if number % 50 == 0 and not flow_file.retries:
            raise ZeroDivisionError("a defect") if number % 100 else RuntimeError("another")
        return [("failure" if number % 7 == 0 and not flow_file.attributes.get("again") else "success",
                 flow_file.updated({"again": "x"}))]  # fmt: skip

    tried: set[str] = set()

    def once(flow_file: FlowFile) -> Any:
        number = flow_file.attributes["number"]
        if number not in tried:
            tried.add(number)
            return flaky(flow_file)
        return [("success", flow_file)]

    running = engine(
        {"a": {"tasks": 4, "retry": Retry(1, frozenset({"failure"}), 1.0, True)}, "b": {"tasks": 4}, "c": {"tasks": 2}},
        [link(SOURCE, "a", "success"), link("a", "b", "success", "failure", max_objects=10), link("a", "c", "success"),
         link("b", "c", "success", max_objects=10)],
        {"a": once, "b": to("success"), "c": to("success")},
    )  # fmt: skip
    running.submit(SOURCE, [journal.flow_file(n) for n in range(1000)])
    assert running.drain(30)
    assert journal.ended == dict.fromkeys(range(1000), 1)
    assert running.nodes["c"].routed["success"] == 2000
    assert running.live == 0
