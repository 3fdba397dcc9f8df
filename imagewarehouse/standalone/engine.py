"""Queues and tasks: moves FlowFiles between components the way NiFi schedules them.

Each processor has as many threads as the flow gives it concurrent tasks. A task takes a FlowFile only while none of
the processor's outgoing queues is full (back pressure), and a FlowFile sent to a relationship with retries comes back
penalised before it leaves on it. Ports and funnels are names on the way, not stops: a connection through them ends at
the next processor. A funnel without a way out parks what reaches it; an output port of the whole flow ends it.

A thread carries a FlowFile on to the next processor itself while nothing waits there: a queue and the thread behind it cost
more than a step. So under load what waits does so in one place, in front of the packaging step, and becomes one package.
As many threads as a processor has tasks stay with it all the while: further ones do the carrying. Where those of a packaging
step are all away, its own make no package before they have been away for long, which means that they wait for something.

While clients wait, packages of uploads stand back in front of the packaging step: see imagewarehouse/nifi/precedence.py.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from imagewarehouse.flows.definition import Component, Connection, Flow
from imagewarehouse.nifi.listeners import is_awaited
from imagewarehouse.nifi.precedence import Precedence
from imagewarehouse.standalone.flowfile import FlowFile, requests_in

log = logging.getLogger("imagewarehouse.standalone")

_LONG_S = 0.1  # a package takes some 20 ms where nothing is waited for

Outcome = Sequence[tuple[str, FlowFile]]  # (relationship, FlowFile)
Work = Callable[[FlowFile], Outcome]


@dataclass(frozen=True, slots=True)
class BatchWork:
    """Work on as many FlowFiles as wait, within limits; it never waits for more. `max_bytes` is soft: one is always taken.

    `carries`: it makes packages, which its threads carry on.
    """

    max_objects: int
    max_bytes: int
    work: Callable[[Sequence[FlowFile]], Outcome]
    carries: bool = False


class LatestFirst:
    """As threading.Condition, but the thread that began to wait last is woken first: what it needs is still in the cache."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[threading.Lock] = []

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, seconds: float | None) -> None:
        """Until woken, or for so long. The lock is held before and after."""
        woken = threading.Lock()
        woken.acquire()
        self._waiting.append(woken)
        self._lock.release()
        in_time = woken.acquire(timeout=-1 if seconds is None else max(0.0, seconds))
        self._lock.acquire()
        if not in_time and woken in self._waiting:
            self._waiting.remove(woken)

    def notify(self) -> None:
        if self._waiting:
            self._waiting.pop().release()

    def notify_all(self) -> None:
        while self._waiting:
            self.notify()


class Queue:
    """A connection in front of a node (or of nothing, where FlowFiles are parked)."""

    def __init__(self, connection: Connection, node: Node | None) -> None:
        self.name = connection.name
        self.connection = connection
        self.node = node
        self.count = 0
        self.bytes = 0
        self.ready: deque[FlowFile] = deque()
        self.delayed: list[tuple[float, int, FlowFile]] = []

    @property
    def full(self) -> bool:
        limits = self.connection
        return bool((limits.max_objects and self.count >= limits.max_objects)
                    or (limits.max_bytes and self.bytes >= limits.max_bytes))  # fmt: skip

    def poll(self, now: float) -> FlowFile | None:
        """The next FlowFile that is not penalised. The node's lock is held."""
        while self.delayed and self.delayed[0][0] <= now:
            self.ready.append(heapq.heappop(self.delayed)[2])
        return self.ready.popleft() if self.ready else None


class Node:
    """A processor with its queues."""

    def __init__(self, component: Component, work: Work | BatchWork, carriers: int = 2) -> None:
        self.component = component
        self.batch_work = (
            work if isinstance(work, BatchWork) else BatchWork(1, 0, lambda flow_files: work(flow_files[0]))
        )
        self.incoming: list[Queue] = []
        self.outgoing: dict[str, list[Queue]] = {}
        self.changed = LatestFirst()
        self.active = 0  # tasks under way
        # Threads that may be on their way with a FlowFile; packages are on theirs for long.
        self.spare = carriers if self.batch_work.carries else component.tasks
        self.left_at: dict[int, float] = {}  # since when each of them has been away, by thread
        self.routed: Counter[str] = Counter()  # FlowFiles by relationship, for /metrics
        self.seconds = 0.0

    @property
    def blocked(self) -> bool:
        # A queue that loops back does not count: it could never empty again.
        return any(q.full for queues in self.outgoing.values() for q in queues if q.node is not self)


class Engine:
    """Runs the processors of a flow. Thread-safe."""

    def __init__(
        self,
        flow: Flow,
        works: Mapping[str, Work | BatchWork],
        carriers: int = 2,
        precedence: Precedence | None = None,
    ) -> None:
        """`works`: what to do with a FlowFile, by component id, for every processor that takes FlowFiles.

        `carriers`: how many packages may be on their way at once, beside those that wait for something. `precedence`: when a
        package of uploads may set out; all go alike without.
        """
        self._sequence = itertools.count()
        self._precedence = precedence or Precedence(0)
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._live = 0
        self._live_lock = threading.Lock()
        self.nodes: dict[str, Node] = {
            c.identifier: Node(c, works.get(c.identifier, _no_input), carriers)
            for c in flow.components.values()
            if c.kind == "PROCESSOR"
        }
        self.parked: list[Queue] = []
        _connect(flow, self.nodes, self.parked)

    # --- what listeners call ---

    def entry(self, identifier: str, relationship: str = "success") -> list[Queue]:
        """The queues behind a source."""
        return self.nodes[identifier].outgoing.get(relationship, [])

    def accepts(self, identifier: str) -> bool:
        """Whether there is space behind a source."""
        return not self._stopping and not self.nodes[identifier].blocked

    def submit(self, identifier: str, flow_files: Sequence[FlowFile], relationship: str = "success") -> None:
        """Let FlowFiles out of a source. Space is not checked: see `accepts`."""
        for flow_file in flow_files:
            self._enter(1)
            flow_file.ticket.add(1)
            for queue, item, delay_s in self._route(self.nodes[identifier], relationship, flow_file):
                self._put(queue, item, delay_s)

    # --- life ---

    def start(self) -> None:
        for node in self.nodes.values():
            if not node.incoming:
                continue
            for number in range(node.component.tasks + node.spare):
                thread = threading.Thread(
                    target=self._task, args=(node,), name=f"{node.component.name}-{number + 1}", daemon=True
                )
                thread.start()
                self._threads.append(thread)

    @property
    def stopping(self) -> bool:
        return self._stopping

    @property
    def live(self) -> int:
        """FlowFiles under way, those parked not counted."""
        with self._live_lock:
            return self._live - sum(q.count for q in self.parked)

    def drain(self, deadline_s: float) -> bool:
        """Wait until everything under way has reached an end; False if the time was not enough."""
        until = time.monotonic() + deadline_s
        while self.live > 0:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
        return True

    def halt(self) -> None:
        """Let no task take another FlowFile."""
        self._stopping = True

    def stop(self) -> None:
        """Stop the tasks, each after the FlowFile it is at."""
        self.halt()
        for node in self.nodes.values():
            with node.changed:
                node.changed.notify_all()
        for thread in self._threads:
            thread.join()

    # --- inside ---

    def _task(self, node: Node) -> None:
        while (taken := self._take(node)) is not None:
            with node.changed:
                carries = node.spare > 0
                node.spare -= carries
                if carries:
                    node.left_at[threading.get_ident()] = time.monotonic()
            started = time.monotonic()
            work: tuple[Node, Queue, list[FlowFile]] | None = (node, *taken)
            while work is not None:
                work = self._work(*work, carries=carries)
            if node.batch_work.carries and not is_awaited(taken[1][0].attributes.get):
                self._precedence.took(time.monotonic() - started)
            with node.changed:
                node.spare += carries
                node.left_at.pop(threading.get_ident(), None)

    def _take(self, node: Node) -> tuple[Queue, list[FlowFile]] | None:
        with node.changed:
            while not self._stopping:
                now = time.monotonic()
                wait: float | None = None
                if node.active >= node.component.tasks:
                    pass  # whoever ends a task wakes one of those that wait
                elif node.blocked:
                    wait = 0.01  # looked at again soon: with a thousand FlowFiles ahead that is no delay
                elif node.batch_work.carries and (remaining_s := self._packages_later_s(node, now)) > 0:
                    wait = remaining_s
                else:
                    for queue in node.incoming:
                        flow_files = _poll(queue, node.batch_work, now)
                        if flow_files:
                            node.incoming.append(node.incoming.pop(node.incoming.index(queue)))  # the others are next
                            node.active += 1
                            if node.batch_work.carries:
                                self._precedence.goes(awaited=is_awaited(flow_files[0].attributes.get))
                            return queue, flow_files
                        if queue.delayed:
                            due = max(0.0, queue.delayed[0][0] - now)
                            wait = due if wait is None else min(wait, due)
                node.changed.wait(wait)
        return None

    def _packages_later_s(self, node: Node, now: float) -> float:
        """How long a packaging step makes no package yet. The node's lock is held."""
        if not node.spare and (remaining_s := min(node.left_at.values()) + _LONG_S - now) > 0:
            return remaining_s
        first = next((queue.ready[0] for queue in node.incoming if queue.ready), None)
        return 0.0 if first is None or is_awaited(first.attributes.get) else self._precedence.wait_s()

    def _work(
        self, node: Node, queue: Queue, flow_files: list[FlowFile], *, carries: bool
    ) -> tuple[Node, Queue, list[FlowFile]] | None:
        """One task of a node. Gives what this thread goes on with if it carries, as a task that is counted already."""
        started = time.perf_counter()
        leaving: list[tuple[Queue, FlowFile, float]] = []
        try:
            leaving = self._process(node, queue, flow_files)
        except Exception:  # a defect of ours; the task has to live on, and no FlowFile must be lost
            names = "; ".join(map(requests_in, flow_files))
            log.exception("%s: %d FlowFiles put back; %s", node.component.name, len(flow_files), names)
            leaving = [(queue, flow_file, node.component.yield_s) for flow_file in flow_files]
        node.seconds += time.perf_counter() - started
        onward = self._deliver(leaving, carries=carries)
        with node.changed:
            node.active -= 1
            if any(q.count for q in node.incoming):  # somebody may have waited for the free task
                node.changed.notify()
        return onward

    def _deliver(
        self, leaving: Sequence[tuple[Queue, FlowFile, float]], *, carries: bool
    ) -> tuple[Node, Queue, list[FlowFile]] | None:
        """Put FlowFiles into their queues; those of the last queue are given back if this thread may carry them on."""
        if not leaving:
            return None
        last, _, delay_s = leaving[-1]
        onward = [flow_file for queue, flow_file, _ in leaving if queue is last]
        claimed = carries and delay_s == 0.0 and self._claim(last, len(onward))
        for queue, flow_file, delay in leaving:
            if queue is not last or not claimed:
                self._put(queue, flow_file, delay)
        return (last.node, last, onward) if claimed and last.node is not None else None

    def _claim(self, queue: Queue, number: int) -> bool:
        """Take a task of the node behind a queue, if one is free and nothing waits for it."""
        node = queue.node
        if node is None or number > node.batch_work.max_objects or self._stopping:
            return False
        with node.changed:
            if node.active >= node.component.tasks or node.blocked or any(q.count for q in node.incoming):
                return False
            node.active += 1
            return True

    def _process(self, node: Node, queue: Queue, flow_files: Sequence[FlowFile]) -> list[tuple[Queue, FlowFile, float]]:
        """Do the work; gives what goes where, and after how many seconds."""
        outcome = node.batch_work.work(flow_files)
        # One more to wait for with each further FlowFile, of whom it came; none is left where one was dropped.
        self._enter(len(outcome) - len(flow_files))
        change = Counter(id(result.ticket) for _, result in outcome)
        change.subtract(id(item.ticket) for item in flow_files)
        for ticket in {id(item.ticket): item.ticket for item in flow_files}.values():
            if change[id(ticket)]:
                ticket.add(change[id(ticket)])
        retry = node.component.retry
        leaving: list[tuple[Queue, FlowFile, float]] = []
        for relationship, result in outcome:
            name = node.component.identifier
            flow_file = flow_files[0] if len(flow_files) == 1 else result  # of many: it is one of them, and unchanged
            done = flow_file.retries.get(name, 0)
            if relationship in retry.relationships and done < retry.count:
                # NiFi tries again with the FlowFile as it came, not as the failed attempt left it.
                delay = min(node.component.penalty_s * 2**done, retry.max_backoff_s)
                leaving.append((queue, replace(flow_file, retries={**flow_file.retries, name: done + 1}), delay))
            else:
                leaving += self._route(node, relationship, result)
        return leaving

    def _route(self, node: Node, relationship: str, flow_file: FlowFile) -> list[tuple[Queue, FlowFile, float]]:
        node.routed[relationship] += 1
        queues = node.outgoing.get(relationship, ())
        extra = len(queues) - 1
        if extra:
            self._enter(extra)
            flow_file.ticket.add(extra)  # to 0 and the callback, when the relationship ends here
        # A loop goes round after a pause, or it would burn a core while a store is away.
        return [(queue, flow_file, node.component.penalty_s if queue.node is node else 0.0) for queue in queues]

    def _put(self, queue: Queue, flow_file: FlowFile, delay_s: float = 0.0) -> None:
        node = queue.node
        if node is None:
            with self._live_lock:  # only counted: its journal record brings it back at the next start
                queue.count += 1
                queue.bytes += flow_file.size
            log.error("%s: parked; %s", queue.name, requests_in(flow_file))
            return
        with node.changed:
            queue.count += 1
            queue.bytes += flow_file.size
            if delay_s > 0:
                heapq.heappush(queue.delayed, (time.monotonic() + delay_s, next(self._sequence), flow_file))
            else:
                queue.ready.append(flow_file)
            node.changed.notify()

    def _enter(self, number: int) -> None:
        with self._live_lock:
            self._live += number


def _poll(queue: Queue, limits: BatchWork, now: float) -> list[FlowFile]:
    """As many FlowFiles as a node takes at once. The node's lock is held."""
    flow_files: list[FlowFile] = []
    size = 0
    while len(flow_files) < limits.max_objects and (flow_file := queue.poll(now)) is not None:
        size += flow_file.size
        if flow_files and size > limits.max_bytes:
            queue.ready.appendleft(flow_file)
            break
        queue.count -= 1
        queue.bytes -= flow_file.size
        flow_files.append(flow_file)
    return flow_files


def _no_input(flow_file: FlowFile) -> Outcome:
    raise AssertionError("a source was given a FlowFile")


@dataclass(frozen=True, slots=True)
class _Way:
    """A connection as it is after ports and funnels are taken out."""

    connection: Connection  # the last one: its back pressure counts
    destination: str


def _connect(flow: Flow, nodes: dict[str, Node], parked: list[Queue]) -> None:
    leaving: dict[str, list[Connection]] = {}
    for connection in flow.connections:
        leaving.setdefault(connection.source, []).append(connection)
    outside = {c.identifier for c in flow.components.values() if c.kind == "OUTPUT_PORT" and not c.group}

    def ways(connection: Connection, visited_ids: frozenset[str]) -> list[_Way]:
        destination = connection.destination
        onward = leaving.get(destination, [])
        if destination in nodes or not onward or destination in visited_ids:
            return [_Way(connection, destination)]
        return [way for following in onward for way in ways(following, visited_ids | {destination})]

    queues: dict[tuple[str, str], Queue] = {}
    for connection in flow.connections:
        source = nodes.get(connection.source)
        if source is None:
            continue
        # What reaches an output port of the whole flow ends there: here is nothing behind it.
        for way in (way for way in ways(connection, frozenset()) if way.destination not in outside):
            key = (way.connection.identifier, way.destination)
            if key not in queues:
                queue = queues[key] = Queue(way.connection, nodes.get(way.destination))
                (queue.node.incoming if queue.node else parked).append(queue)
            for relationship in connection.relationships:
                source.outgoing.setdefault(relationship, []).append(queues[key])
