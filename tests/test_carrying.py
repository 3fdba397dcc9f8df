"""A thread carries a FlowFile on to the next step itself, and everything else holds as if it had not."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from imagewarehouse.flows.definition import Component, Connection, Flow, Retry
from imagewarehouse.standalone.engine import BatchWork, Engine, LatestFirst, Work
from imagewarehouse.standalone.flowfile import FlowFile
from tests.conftest import until
from tests.test_engine import SOURCE, Journal, link, packaging_work, to, unpack

Make = Callable[..., Component]
Build = Callable[..., Engine]


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def engine(component: Make) -> Iterator[Build]:
    """Builds an engine of steps in a row, `a` to `b` to `c` to ...; components are given by their keywords."""
    engines: list[Engine] = []

    def build(steps: dict[str, tuple[dict[str, Any], Work | BatchWork]], *more: Connection, start: bool = True,
              **limits: dict[str, int]) -> Engine:  # fmt: skip
        """`limits`: of the queue in front of a step."""
        kinds: dict[str, dict[str, Any]] = {SOURCE: {}, **{name: values for name, (values, _) in steps.items()}}
        made = {
            name: component(name, **{"penalty_s": 0.02, "yield_s": 0.02, **values}) for name, values in kinds.items()
        }
        names = list(made)
        links = [link(one, other, "success", **limits.get(other, {})) for one, other in itertools.pairwise(names)]
        works = {name: work for name, (_, work) in steps.items()}
        engines.append(Engine(Flow("test", made, (*links, *more), {}), works))
        if start:
            engines[-1].start()
        return engines[-1]

    yield build
    for one in engines:
        one.stop()


class Watched:
    """Work that notes by which threads it is done, and how many are inside at once."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.threads: list[str] = []
        self.most = self.inside = 0
        self._gate = gate
        self._lock = threading.Lock()

    def __call__(self, flow_file: FlowFile) -> Any:
        with self._lock:
            self.threads.append(threading.current_thread().name)
            self.inside += 1
            self.most = max(self.most, self.inside)
        if self._gate is not None:
            self._gate.wait(5)
        with self._lock:
            self.inside -= 1
        return [("success", flow_file)]


def whose(threads: Sequence[str]) -> list[str]:
    """The steps that threads belong to."""
    return [name.rpartition("-")[0] for name in threads]


def test_one_flowfile_is_carried_all_the_way_by_one_thread(engine: Build, journal: Journal) -> None:
    steps = [Watched() for _ in range(4)]
    running = engine({name: ({}, step) for name, step in zip("abcd", steps, strict=True)})
    running.submit(SOURCE, [journal.flow_file(1)])
    assert running.drain(5)
    assert [whose(step.threads) for step in steps] == [["a"]] * 4
    assert len({step.threads[0] for step in steps}) == 1
    assert (running.live, journal.ended) == (0, {1: 1})
    assert [running.nodes[name].routed["success"] for name in "abcd"] == [1] * 4


def test_no_thread_carries_past_those_that_wait(engine: Build, journal: Journal) -> None:
    """A FlowFile that waits in front of a step is done before one that comes later."""
    gate, seen = threading.Event(), []
    first = Watched(gate)

    def last(flow_file: FlowFile) -> Any:
        seen.append(flow_file.attributes["number"])
        return first(flow_file)

    running = engine({"a": ({}, to("success")), "b": ({}, last)})
    for number in range(5):
        running.submit(SOURCE, [journal.flow_file(number)])
        assert until(lambda n=number: running.nodes["a"].routed["success"] == n + 1)  # type: ignore[misc]
    gate.set()
    assert running.drain(5)
    assert seen == [str(number) for number in range(5)]
    assert first.most == 1
    assert whose(first.threads) == ["a", *["b"] * 4]  # only the first found nobody there


def test_a_flowfile_that_waits_out_a_penalty_keeps_others_from_being_carried(engine: Build, journal: Journal) -> None:
    tried: Counter[str] = Counter()
    done = Watched()

    def work(flow_file: FlowFile) -> Any:
        number = flow_file.attributes["number"]
        tried[number] += 1
        if number == "0" and tried[number] == 1:
            return [("failure", flow_file)]
        return done(flow_file)

    retry = {"penalty_s": 0.3, "retry": Retry(1, frozenset({"failure"}), 1.0, True)}
    running = engine({"a": ({}, to("success")), "b": (retry, work)})
    running.submit(SOURCE, [journal.flow_file(0)])
    assert until(lambda: bool(running.nodes["b"].incoming[0].delayed))
    running.submit(SOURCE, [journal.flow_file(1)])
    assert running.drain(5)
    assert whose(done.threads) == ["b", "b"]
    assert journal.ended == {0: 1, 1: 1}


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_no_more_than_its_tasks_are_in_a_step_whoever_does_them(engine: Build, journal: Journal, tasks: int) -> None:
    step = Watched()
    running = engine({"a": ({"tasks": 6}, to("success")), "b": ({"tasks": tasks}, step), "c": ({}, to("success"))})
    for number in range(300):
        running.submit(SOURCE, [journal.flow_file(number)])
    assert running.drain(10)
    assert step.most <= tasks
    assert journal.ended == dict.fromkeys(range(300), 1)
    assert [node.active for node in running.nodes.values()] == [0] * 4
    assert all(until(lambda n=node: n.spare == n.component.tasks) for node in running.nodes.values())  # type: ignore[misc]


def test_a_step_works_on_while_its_threads_carry(engine: Build, journal: Journal) -> None:
    """What a thread is held up by further on must not hold up the step that it belongs to."""
    gate, begun = threading.Event(), threading.Event()

    def slow(flow_file: FlowFile) -> Any:
        begun.set()
        gate.wait(5)
        return [("success", flow_file)]

    def rejects(flow_file: FlowFile) -> Any:
        return [("success" if flow_file.attributes["number"] == "0" else "rejected", flow_file)]

    running = engine({"a": ({}, rejects), "b": ({}, slow)})
    running.submit(SOURCE, [journal.flow_file(0)])
    assert begun.wait(5)
    running.submit(SOURCE, [journal.flow_file(n) for n in range(1, 10)])
    assert until(lambda: running.nodes["a"].routed["rejected"] == 9)
    assert journal.ended == dict.fromkeys(range(1, 10), 1)
    gate.set()
    assert running.drain(5)


def test_as_many_as_a_step_has_tasks_work_while_others_are_carried(engine: Build, journal: Journal) -> None:
    gate = threading.Event()
    step, later = Watched(gate), Watched(gate)

    def first(flow_file: FlowFile) -> Any:
        return [("success", flow_file)] if int(flow_file.attributes["number"]) < 2 else step(flow_file)

    running = engine({"a": ({"tasks": 2}, first), "b": ({"tasks": 2}, later)})
    running.submit(SOURCE, [journal.flow_file(n) for n in range(2)])
    assert until(lambda: later.inside == 2)
    running.submit(SOURCE, [journal.flow_file(n) for n in range(2, 6)])
    assert until(lambda: step.inside == 2)
    gate.set()
    assert running.drain(5)
    assert step.most == later.most == 2


def test_a_full_queue_further_on_stops_what_is_carried_too(engine: Build, journal: Journal) -> None:
    gate = threading.Event()
    slow = Watched(gate)
    running = engine({"a": ({}, to("success")), "b": ({}, to("success")), "c": ({}, slow)},
                     a={"max_objects": 100}, b={"max_objects": 2}, c={"max_objects": 2})  # fmt: skip
    running.submit(SOURCE, [journal.flow_file(n) for n in range(20)])
    queues = [running.nodes[name].incoming[0] for name in "abc"]
    assert until(lambda: queues[1].full and queues[2].full)
    assert not until(lambda: queues[2].count > 2 or queues[1].count > 2, 0.1)
    # one in c's hands, two before it, two before b, and the others have not begun
    assert [queue.count for queue in queues] == [15, 2, 2]
    gate.set()
    assert running.drain(5)
    assert slow.most == 1
    assert journal.ended == dict.fromkeys(range(20), 1)


@pytest.mark.parametrize("times", [1, 3])
def test_work_that_raises_while_a_flowfile_is_carried_loses_nothing(
    engine: Build, journal: Journal, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    raised: Counter[str] = Counter()
    threads: list[str] = []

    def work(flow_file: FlowFile) -> Any:
        threads.append(threading.current_thread().name)
        number = flow_file.attributes["number"]
        if raised[number] < times:
            raised[number] += 1
            raise ZeroDivisionError("a defect")
        return [("success", flow_file)]

    running = engine({"a": ({}, to("success")), "b": ({}, work), "c": ({}, to("success"))})
    running.submit(SOURCE, [journal.flow_file(1, request_id="the one")])
    assert running.drain(5)
    assert whose(threads) == ["a", *["b"] * times]
    assert "b: 1 FlowFiles put back; request the one" in caplog.text
    assert (running.live, journal.ended) == (0, {1: 1})
    (queue,) = running.nodes["b"].incoming
    assert (queue.count, queue.bytes, running.nodes["b"].active) == (0, 0, 0)
    running.submit(SOURCE, [journal.flow_file(2)])  # nobody is gone
    assert running.drain(5)
    assert journal.ended == {1: 1, 2: 1}


def test_stopping_ends_what_is_carried_at_its_next_queue(engine: Build, journal: Journal) -> None:
    gate, begun = threading.Event(), threading.Event()

    def slow(flow_file: FlowFile) -> Any:
        begun.set()
        gate.wait(5)
        return [("success", flow_file)]

    running = engine({"a": ({}, to("success")), "b": ({}, slow), "c": ({}, to("success"))})
    running.submit(SOURCE, [journal.flow_file(1)])
    assert begun.wait(5)
    threading.Timer(0.05, gate.set).start()
    running.stop()
    assert (running.live, journal.ended) == (1, {})
    assert running.nodes["c"].incoming[0].count == 1
    assert [node.active for node in running.nodes.values()] == [0] * 4


def test_both_copies_have_to_end_whoever_carries_them(engine: Build, journal: Journal) -> None:
    gate = threading.Event()
    running = engine(
        {
            "a": ({}, lambda f: [("success", f), ("copy", f)]),
            "b": ({"tasks": 2}, Watched(gate)),
            "c": ({}, to("success")),
        },
        link("a", "c", "copy"),
    )
    running.submit(SOURCE, [journal.flow_file(1)])
    assert until(lambda: running.nodes["c"].routed["success"] == 1)
    assert (running.live, journal.ended) == (1, {})
    gate.set()
    assert running.drain(5)
    assert (running.live, journal.ended) == (0, {1: 1})


def test_packages_are_carried_and_their_entries_end_once(engine: Build, component: Make, journal: Journal) -> None:
    step, last = Watched(), Watched()
    running = engine(
        {
            "gather": ({}, packaging_work(component)),
            "a": ({}, step),
            "unpack": ({}, unpack(component)),
            "b": ({}, last),
        },
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(64)])
    running.start()
    assert running.drain(5)
    assert whose(step.threads) == ["gather"]
    assert len(last.threads) == 64
    assert (running.live, journal.ended) == (0, dict.fromkeys(range(64), 1))


def test_the_next_package_is_made_while_others_are_carried(engine: Build, component: Make, journal: Journal) -> None:
    gate = threading.Event()
    slow = Watched(gate)
    running = engine({"gather": ({}, packaging_work(component)), "a": ({"tasks": 3}, slow)})
    for number in range(3):
        running.submit(SOURCE, [journal.flow_file(number)])
        assert until(lambda n=number: running.nodes["gather"].routed["success"] == n + 1)  # type: ignore[misc]
    assert until(lambda: slow.inside == 3)
    gate.set()
    assert running.drain(5)
    assert journal.ended == dict.fromkeys(range(3), 1)


def test_answers_of_a_package_are_taken_together_and_each_that_fails_is_tried_again_itself(
    engine: Build, component: Make, journal: Journal
) -> None:
    calls: list[list[str]] = []

    def together(flow_files: Sequence[FlowFile]) -> Any:
        calls.append([flow_file.attributes["number"] for flow_file in flow_files])
        return [("failure" if f.attributes["number"] in "13" and len(calls) == 1 else "success", f) for f in flow_files]

    retry = {"retry": Retry(1, frozenset({"failure"}), 1.0, True)}
    running = engine(
        {
            "gather": ({}, packaging_work(component)),
            "unpack": ({}, unpack(component)),
            "b": (retry, BatchWork(100, 1000, together)),
        },
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(5)])
    running.start()
    assert running.drain(5)
    assert calls[0] == ["0", "1", "2", "3", "4"]
    assert sorted(number for call in calls[1:] for number in call) == ["1", "3"]
    assert journal.ended == dict.fromkeys(range(5), 1)


def test_more_answers_than_are_taken_at_once_wait_in_their_queue(
    engine: Build, component: Make, journal: Journal
) -> None:
    sizes: list[int] = []

    def together(flow_files: Sequence[FlowFile]) -> Any:
        sizes.append(len(flow_files))
        return [("success", f) for f in flow_files]

    running = engine(
        {
            "gather": ({}, packaging_work(component)),
            "unpack": ({}, unpack(component)),
            "b": ({}, BatchWork(4, 1000, together)),
        },
        start=False,
    )
    running.submit(SOURCE, [journal.flow_file(n) for n in range(10)])
    running.start()
    assert running.drain(5)
    assert sum(sizes) == 10
    assert max(sizes) <= 4
    assert journal.ended == dict.fromkeys(range(10), 1)


def test_thousands_through_steps_of_few_tasks_and_short_queues_all_end_once(engine: Build, journal: Journal) -> None:
    tried: set[tuple[str, str]] = set()
    lock = threading.Lock()

    def flaky(name: str) -> Work:
        def work(flow_file: FlowFile) -> Any:
            number = flow_file.attributes["number"]
            with lock:
                again = (name, number) in tried
                tried.add((name, number))
            if not again and int(number) % 37 == 0:
                raise ZeroDivisionError("a defect")
            return [("failure" if not again and int(number) % 11 == 0 else "success", flow_file)]

        return work

    retry = Retry(1, frozenset({"failure"}), 1.0, True)
    running = engine(
        {name: ({"tasks": tasks, "retry": retry, "penalty_s": 0.001, "yield_s": 0.001}, flaky(name))
         for name, tasks in zip("abcde", (2, 1, 3, 1, 2), strict=True)},
        b={"max_objects": 3}, c={"max_objects": 1}, e={"max_objects": 2},
    )  # fmt: skip
    for start in range(0, 2000, 100):
        running.submit(SOURCE, [journal.flow_file(n) for n in range(start, start + 100)])
    assert running.drain(30)
    assert (running.live, journal.ended) == (0, dict.fromkeys(range(2000), 1))
    assert running.nodes["e"].routed == {"success": 2000}


# --- threads that wait ----------------------------------------------------------------------------------------------


def test_the_thread_that_began_to_wait_last_is_woken_first() -> None:
    changed, woken = LatestFirst(), []

    def wait(number: int) -> None:
        with changed:
            changed.wait(None)
            woken.append(number)

    threads = [threading.Thread(target=wait, args=(number,), daemon=True) for number in range(4)]
    for number, thread in enumerate(threads):
        thread.start()
        assert until(lambda: len(changed._waiting) == number + 1)  # noqa: B023 - asked for before the next one starts
    for number in range(4):
        with changed:
            changed.notify()
        assert until(lambda: len(woken) == number + 1)  # noqa: B023
    assert woken == [3, 2, 1, 0]


def test_a_wait_ends_by_itself_and_then_wakes_nobody_elses() -> None:
    changed = LatestFirst()
    with changed:
        changed.wait(0.01)
        assert changed._waiting == []
        changed.notify()  # nobody
        changed.wait(0.01)
        changed.notify_all()
