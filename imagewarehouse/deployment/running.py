"""Starting, stopping and draining what is in a process group."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imagewarehouse.amounts import counted, listed
from imagewarehouse.deployment.connection import Nifi
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.wait import until

_GIVE_UP_S = 8.0  # an invalid processor whose errors have not changed for so long will not become valid by itself
_LOADING = (
    "nitializ",  # "Initializing runtime environment", "not yet completed initialization"
    "ownloading third-party dependencies",
    "oading Processor code",
)
# The last error of a Python traceback, not what py4j makes of it, or of Java's causes.
_CAUSE = re.compile(r"(?:- Caused by: )?((?!py4j\.)[A-Za-z_][\w.]*: \S.*)")
_STUCK_S = 20.0  # longer than a penalty or a commit, so nothing moves because nothing can
_LINE = 400  # characters of a message that are shown
_WRONG_PYTHON = (
    "Failed to parse or load Processor code",
    "ModuleNotFoundError",
    "ImportError",
    "cannot import name",
    "undefined symbol",
    "No module named",
)


@dataclass(frozen=True, slots=True)
class Processor:
    identifier: str
    name: str
    type: str
    group: str
    bundle: tuple[str, str, str]
    revision: Mapping[str, Any]
    state: str  # what is wanted of it: RUNNING STOPPED DISABLED
    physical: str  # what it does: RUNNING STOPPED DISABLED STARTING STOPPING
    validity: str  # VALID INVALID VALIDATING
    errors: tuple[str, ...]
    properties: Mapping[str, str | None]

    @property
    def loading(self) -> bool:
        """Not valid yet, because its Python process is still starting."""
        return self.validity == "VALIDATING" or any(text in error for error in self.errors for text in _LOADING)


@dataclass(frozen=True, slots=True)
class Queue:
    """A connection and what waits in it."""

    identifier: str
    name: str
    group: str  # name of its process group
    source: str  # names
    destination: str
    count: int
    size: int  # bytes
    full: bool = False  # at one of its limits, so that NiFi lets nothing more in


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A process group and all below it, as of now."""

    queues: tuple[Queue, ...]
    states: Mapping[str, str]  # run status of processors and ports, by identifier
    names: Mapping[str, str]
    threads: int  # tasks under way
    groups: tuple[tuple[str, int, int], ...]  # (name, FlowFiles, bytes) of each process group, without those below it
    closed: frozenset[str] = (
        frozenset()
    )  # output ports of the group itself that lead nowhere: disabled, or not connected


@dataclass(frozen=True, slots=True)
class Layout:
    """What leads to what in a process group and all below it. `links`: source and destination of each connection."""

    groups: frozenset[str]
    processors: frozenset[str]
    funnels: frozenset[str]
    links: Mapping[str, tuple[str, str]]
    revisions: Mapping[str, Mapping[str, Any]]  # of processors and ports
    outputs: frozenset[str] = frozenset()  # output ports of the group itself, to whatever is behind it

    @property
    def sources(self) -> set[str]:
        """Processors that nothing but themselves leads to: they take in what comes from outside."""
        fed = {end for start, end in self.links.values() if end != start}
        return set(self.processors - fed)

    @property
    def dead_ends(self) -> set[str]:
        """Connections into a funnel without a way out: only an operator empties them."""
        starts = {start for start, _ in self.links.values()}
        return {connection for connection, (_, end) in self.links.items() if end in self.funnels and end not in starts}

    @property
    def ways_out(self) -> set[str]:
        """Connections into the group's own output ports: whether those take anything is not up to the flow."""
        return {connection for connection, (_, end) in self.links.items() if end in self.outputs}


# --- looking ------------------------------------------------------------------------------------------------------


def processors(nifi: Nifi, group: str) -> list[Processor]:
    """Of the group and all below it. Raises NifiError when some may not be looked at."""
    answer = nifi.get(f"/process-groups/{group}/processors", includeDescendantGroups="true")
    group_processors = []
    for entity in answer.get("processors") or []:
        component = entity.get("component")
        if component is None:
            raise NifiError("NiFi does not let this user see the processors; the user needs 'view the component'")
        bundle = component["bundle"]
        group_processors.append(
            Processor(
                entity["id"],
                component["name"],
                component["type"],
                component["parentGroupId"],
                (bundle["group"], bundle["artifact"], bundle["version"]),
                entity["revision"],
                component["state"],
                component.get("physicalState") or component["state"],
                component.get("validationStatus") or "VALIDATING",
                tuple(component.get("validationErrors") or ()),
                component["config"].get("properties") or {},
            )
        )
    return sorted(group_processors, key=lambda processor: processor.name)


def services(nifi: Nifi, group: str) -> list[Mapping[str, Any]]:
    query = {"includeAncestorGroups": "false", "includeDescendantGroups": "true"}
    answer = nifi.get(f"/flow/process-groups/{group}/controller-services", **query)
    return [entity["component"] for entity in answer.get("controllerServices") or [] if entity.get("component")]


def snapshot(nifi: Nifi, group: str) -> Snapshot:
    status = nifi.get(f"/flow/process-groups/{group}/status", recursive="true")["processGroupStatus"]
    queues: list[Queue] = []
    states: dict[str, str] = {}
    names: dict[str, str] = {}
    groups: list[tuple[str, int, int]] = []
    threads = 0
    own = _entities(status["aggregateSnapshot"], "outputPortStatusSnapshots", "portStatusSnapshot")
    closed = frozenset(port["id"] for port in own if port["runStatus"] in ("Disabled", "Invalid"))
    for group_status in _walk(status["aggregateSnapshot"]):
        mine = [
            _queue(connection, group_status.get("name") or "")
            for connection in _entities(group_status, "connectionStatusSnapshots", "connectionStatusSnapshot")
        ]
        queues += mine
        groups.append((group_status.get("name") or "", sum(q.count for q in mine), sum(q.size for q in mine)))
        for processor in _entities(group_status, "processorStatusSnapshots", "processorStatusSnapshot"):
            states[processor["id"]] = processor["runStatus"]
            names[processor["id"]] = processor["name"]
            threads += processor.get("activeThreadCount") or 0
        for kind in ("inputPortStatusSnapshots", "outputPortStatusSnapshots"):
            for port in _entities(group_status, kind, "portStatusSnapshot"):
                states[port["id"]] = port["runStatus"]
                names[port["id"]] = f"port {port['name']}"
    return Snapshot(tuple(queues), states, names, threads, tuple(groups), closed)


def _queue(connection: Mapping[str, Any], group: str) -> Queue:
    return Queue(
        connection["id"],
        connection.get("name") or "",
        group,
        connection.get("sourceName") or "",
        connection.get("destinationName") or "",
        connection["flowFilesQueued"],
        connection["bytesQueued"],
        max(connection.get("percentUseCount") or 0, connection.get("percentUseBytes") or 0) >= 100,
    )


def _walk(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield status
    for child in _entities(status, "processGroupStatusSnapshots", "processGroupStatusSnapshot"):
        yield from _walk(child)


def _entities(status: Mapping[str, Any], list_key: str, entity_key: str) -> Iterator[Mapping[str, Any]]:
    for entity in status.get(list_key) or []:
        if entity.get(entity_key):
            yield entity[entity_key]


def layout(nifi: Nifi, group: str) -> Layout:
    groups, processor_ids, funnels = set(), set(), set()
    links: dict[str, tuple[str, str]] = {}
    revisions: dict[str, Mapping[str, Any]] = {}
    outputs: set[str] = set()
    pending = [group]
    while pending:
        identifier = pending.pop()
        groups.add(identifier)
        flow = nifi.get(f"/flow/process-groups/{identifier}")["processGroupFlow"]["flow"]
        for kind in ("processors", "inputPorts", "outputPorts"):
            revisions |= {entity["id"]: entity["revision"] for entity in flow.get(kind) or []}
        processor_ids |= {entity["id"] for entity in flow.get("processors") or []}
        funnels |= {entity["id"] for entity in flow.get("funnels") or []}
        links |= {
            entity["id"]: (entity["sourceId"], entity["destinationId"]) for entity in flow.get("connections") or []
        }
        pending += [entity["id"] for entity in flow.get("processGroups") or []]
        if identifier == group:
            outputs = {entity["id"] for entity in flow.get("outputPorts") or []}
    return Layout(frozenset(groups), frozenset(processor_ids), frozenset(funnels), links, revisions, frozenset(outputs))


def dead_letters(now: Snapshot, plan: Layout) -> list[Queue]:
    return [queue for queue in now.queues if queue.identifier in plan.dead_ends]


def waiting(now: Snapshot, plan: Layout) -> list[Queue]:
    """Queues with something in them that the flow itself would take on."""
    others = plan.dead_ends | plan.ways_out
    return [queue for queue in now.queues if queue.count and queue.identifier not in others]


def bulletins(nifi: Nifi, group: str, after: int | None = None) -> list[Mapping[str, Any]]:
    """The last messages of the group's components, oldest first."""
    query = {"limit": "200", **({"after": str(after)} if after is not None else {})}
    board = nifi.get("/flow/bulletin-board", **query)["bulletinBoard"]
    inside = group_identifiers(nifi, group)
    messages = [item["bulletin"] for item in board.get("bulletins") or [] if item.get("bulletin")]
    return sorted(
        (message for message in messages if message.get("groupId") in inside), key=lambda message: message["id"]
    )


def group_identifiers(nifi: Nifi, group: str) -> set[str]:
    status = nifi.get(f"/flow/process-groups/{group}/status", recursive="true")["processGroupStatus"]
    return {group_status["id"] for group_status in _walk(status["aggregateSnapshot"])}


def is_worth_telling(bulletin: Mapping[str, Any]) -> bool:
    """Not that a processor could not start before its Python process was there."""
    text = str(bulletin.get("message"))
    loading = "difficulty starting" in text and any(phrase in text for phrase in _LOADING)
    return str(bulletin.get("level")) in ("WARNING", "ERROR") and not loading


def last_bulletin(nifi: Nifi) -> int:
    """The number of the newest message, so that later ones can be told from those that were there before."""
    board = nifi.get("/flow/bulletin-board", limit="1000")["bulletinBoard"]
    return max((item["id"] for item in board.get("bulletins") or []), default=-1)


def bulletin_line(bulletin: Mapping[str, Any]) -> str:
    node = f" on {bulletin['nodeAddress']}" if bulletin.get("nodeAddress") else ""
    when = bulletin.get("timestamp") or ""
    return f"{when} {bulletin.get('level')} {bulletin.get('sourceName')}{node}: {essence(str(bulletin.get('message') or ''))}"


def essence(message: str) -> str:
    """One line of what may be a traceback through Java and Python."""
    text = re.sub(r"^\w+\[[^\]]*\bid=[^\]]*\]\s*", "", message.strip())
    first, *later_lines = [line for line in text.splitlines() if line.strip()] or [""]
    if not later_lines:
        return first[:_LINE]
    causes = [match[1] for match in map(_CAUSE.match, later_lines) if match]
    return f"{first.partition('. ')[0][:_LINE]}: {causes[-1][:_LINE]}" if causes else first[:_LINE]


def bulletin_lines(messages: Iterable[Mapping[str, Any]], most: int) -> list[str]:
    """The last of them; what is said again and again is said once."""
    by_text: dict[tuple[Any, str], tuple[str, int]] = {}
    for message in messages:
        key = (message.get("sourceId"), essence(str(message.get("message") or "")))
        _, times = by_text.pop(key, ("", 0))
        by_text[key] = (bulletin_line(message), times + 1)
    return [line if times == 1 else f"{line} ({times} times)" for line, times in list(by_text.values())[-most:]]


def invalid_lines(invalid_processors: Iterable[Processor]) -> list[str]:
    """Each invalid processor with what is wrong with it."""
    lines = []
    for processor in invalid_processors:
        lines += [
            f"{processor.name} ({processor.type.rpartition('.')[2]}): {error}"
            for error in processor.errors or ("is invalid",)
        ]
        if any(text in error for error in processor.errors for text in _WRONG_PYTHON):
            lines.append(
                "  is this NAR for another Python or another platform? Compare its file name with nifi.python.command"
            )
    return lines


# --- starting -----------------------------------------------------------------------------------------------------


def enable_services(nifi: Nifi, group: str, timeout: float) -> int:
    """Returns how many were not enabled before. Raises NifiError naming those that cannot be."""
    off = [service for service in services(nifi, group) if service["state"] != "ENABLED"]
    if not off:
        return 0
    path = f"/flow/process-groups/{group}/controller-services"
    nifi.call("PUT", path, json={"id": group, "state": "ENABLED"})

    def remaining_services() -> list[Mapping[str, Any]]:
        return [service for service in services(nifi, group) if service["state"] != "ENABLED"]

    def look() -> bool | None:
        waiting = remaining_services()
        wrong = [service for service in waiting if service.get("validationStatus") == "INVALID"]
        if wrong:
            errors = [
                f"{service['name']}: {error}" for service in wrong for error in service.get("validationErrors") or ()
            ]
            raise NifiError("controller services are not valid:\n    " + "\n    ".join(errors))
        if any(service["state"] == "DISABLED" for service in waiting):
            nifi.call("PUT", path, json={"id": group, "state": "ENABLED"})  # it was not validated yet when first asked
        return None if waiting else True

    until(look, timeout, lambda: f"not enabled: {listed([service['name'] for service in remaining_services()])}")
    return len(off)


def wait_valid(nifi: Nifi, group: str, timeout: float, doing: Callable[[str], None]) -> list[Processor]:
    """Until every processor is valid; those in Python are invalid as long as their processes start.

    Raises NifiError that lists each invalid processor with its errors.
    """
    last: tuple[str, ...] = ()
    since = time.monotonic()
    group_processors: list[Processor] = []

    def look() -> list[Processor] | None:
        nonlocal last, since, group_processors
        group_processors = processors(nifi, group)
        wrong = [
            processor
            for processor in group_processors
            if processor.validity != "VALID" and processor.state != "DISABLED"
        ]
        if not wrong:
            return group_processors
        lines = tuple(invalid_lines(wrong))
        if lines != last or any(processor.loading for processor in wrong):
            last, since = lines, time.monotonic()
        elif time.monotonic() - since > _GIVE_UP_S:
            raise NifiError(_invalid(wrong))
        doing(f"waiting for {listed([processor.name for processor in wrong])} to be valid ...")
        return None

    return until(
        look, timeout, lambda: _invalid([processor for processor in group_processors if processor.validity != "VALID"])
    )


def _invalid(invalid_processors: list[Processor]) -> str:
    return f"{counted(len(invalid_processors), 'processor')} not valid:\n    " + "\n    ".join(
        invalid_lines(invalid_processors)
    )


def start(nifi: Nifi, group: str, timeout: float, after: int, doing: Callable[[str], None]) -> int:
    """Start everything, listeners last, so that nobody is let into half a flow. Returns how many were not running.

    Args: after: messages up to this number are older than what is done here.

    Raises NifiError naming what does not run, with what NiFi says of it.
    """
    off = _off(nifi, group)
    if not off:
        return 0
    plan = layout(nifi, group)
    first = {
        identifier: plan.revisions[identifier]
        for identifier in off
        if identifier not in plan.sources and identifier in plan.revisions
    }
    if first:
        _schedule(nifi, group, "RUNNING", first)
        _wait_running(nifi, group, first.keys(), after, timeout, doing)
    _schedule(nifi, group, "RUNNING")
    _wait_running(nifi, group, None, after, timeout, doing)
    return len(off)


def _wait_running(
    nifi: Nifi, group: str, only: Collection[str] | None, after: int, timeout: float, doing: Callable[[str], None]
) -> None:
    off: dict[str, str] = {}

    def look() -> bool | None:
        nonlocal off
        off = {identifier: text for identifier, text in _off(nifi, group).items() if only is None or identifier in only}
        if not off:
            return True
        # It stays `starting`, and NiFi tries again twice a minute; what it says the first time is what it says each time.
        errors = [
            bulletin
            for bulletin in bulletins(nifi, group, after)
            if bulletin.get("level") == "ERROR" and bulletin.get("sourceId") in off
        ]
        if errors:
            raise NifiError("does not start:\n    " + "\n    ".join(start_problem(bulletin) for bulletin in errors))
        doing(f"starting {listed(list(off.values()))} ...")
        return None

    until(look, timeout, lambda: "not running:\n    " + "\n    ".join([*off.values(), *_wrong(nifi, group)]))


def start_problem(bulletin: Mapping[str, Any]) -> str:
    hint = (
        "; another program has its port: stop that, or give another port with --set" if port_is_taken(bulletin) else ""
    )
    return f"{bulletin.get('sourceName')}: {essence(str(bulletin.get('message') or ''))}{hint}"


def port_is_taken(bulletin: Mapping[str, Any]) -> bool:
    text = f"{bulletin.get('message')} {bulletin.get('stackTrace')}"
    return any(
        phrase in text for phrase in ("ddress already in use", "Failed to bind", "Failed to initialize the server")
    )


def _off(nifi: Nifi, group: str) -> dict[str, str]:
    """What neither runs nor is disabled: name and state by identifier. Ports tell in the status alone."""
    now = snapshot(nifi, group)
    states = dict(now.states) | {
        processor.identifier: processor.physical.capitalize() for processor in processors(nifi, group)
    }
    return {
        identifier: f"{now.names.get(identifier, identifier)} ({state.lower()})"
        for identifier, state in states.items()
        if state not in ("Running", "Disabled") and identifier not in now.closed
    }


def _wrong(nifi: Nifi, group: str) -> list[str]:
    return invalid_lines(
        processor
        for processor in processors(nifi, group)
        if processor.validity != "VALID" and processor.state != "DISABLED"
    )


def _schedule(nifi: Nifi, group: str, state: str, components: Mapping[str, Any] | None = None) -> None:
    body: dict[str, Any] = {"id": group, "state": state}
    if components is not None:
        body["components"] = components
    nifi.call("PUT", f"/flow/process-groups/{group}", json=body)


# --- stopping -----------------------------------------------------------------------------------------------------


def stop_sources(nifi: Nifi, group: str, timeout: float) -> list[str]:
    """Stop what takes in new work. Returns the names."""
    now, plan = snapshot(nifi, group), layout(nifi, group)
    running = [identifier for identifier in plan.sources if now.states.get(identifier) == "Running"]
    if running:
        _schedule(nifi, group, "STOPPED", {identifier: plan.revisions[identifier] for identifier in running})
        until(
            lambda: (
                True
                if all(snapshot(nifi, group).states.get(identifier) != "Running" for identifier in running)
                else None
            ),
            timeout,
            lambda: f"not stopped: {listed([now.names[identifier] for identifier in running])}",
        )
    return sorted(now.names[identifier] for identifier in running)


def running_components(nifi: Nifi, group: str) -> list[str]:
    """Identifiers of the processors and ports that run."""
    return [identifier for identifier, state in snapshot(nifi, group).states.items() if state == "Running"]


def start_again(nifi: Nifi, group: str, stopped: Collection[str], timeout: float) -> None:
    """Start what was stopped, if it is still there, and nothing else."""
    revisions = layout(nifi, group).revisions
    present = {identifier: revisions[identifier] for identifier in stopped if identifier in revisions}
    if present:
        _schedule(nifi, group, "RUNNING", present)
        until(
            lambda: True if present.keys() <= set(running_components(nifi, group)) else None,
            timeout,
            lambda: "not all that ran before runs again",
        )


def drain(nifi: Nifi, group: str, timeout: float, doing: Callable[[str], None]) -> list[Queue]:
    """Wait until the queues are empty and no task is under way. Returns those that are not after `timeout`.

    Where nothing runs nothing can drain, and what waits is returned at once.
    """
    end, plan = time.monotonic() + timeout, layout(nifi, group)
    counts: list[tuple[str, int]] = []
    moved = time.monotonic()
    while True:
        now = snapshot(nifi, group)
        queues = waiting(now, plan)
        if not queues and not now.threads:
            return []
        runs = any(state == "Running" for state in now.states.values())
        if time.monotonic() > end or (not runs and not now.threads):
            return queues
        if counts != [(queue.identifier, queue.count) for queue in queues]:
            counts, moved = [(queue.identifier, queue.count) for queue in queues], time.monotonic()
        elif time.monotonic() - moved > _STUCK_S and [identifier for identifier in plan.processors & _off(nifi, group).keys()
                                                      if identifier not in plan.sources]:  # fmt: skip
            return queues  # what should take it on does not run
        doing(f"draining: {sum(queue.count for queue in queues):,} FlowFiles in {counted(len(queues), 'queue')} ...")
        time.sleep(0.3)


def stop(nifi: Nifi, group: str, timeout: float) -> int:
    """Stop everything. Returns how many ran."""
    running = [identifier for identifier, state in snapshot(nifi, group).states.items() if state == "Running"]
    _schedule(nifi, group, "STOPPED")

    def look() -> bool | None:
        now = snapshot(nifi, group)
        return True if not now.threads and "Running" not in now.states.values() else None

    until(look, timeout, lambda: _busy(nifi, group))
    settle(nifi, group, timeout)
    return len(running)


def settle(nifi: Nifi, group: str, timeout: float) -> None:
    """Until nothing is about to stop any more: NiFi changes no processor before that.

    One that could not start takes up to half a minute.
    """
    until(lambda: None if _stopping(nifi, group) else True, timeout, lambda: _busy(nifi, group))


def _stopping(nifi: Nifi, group: str) -> list[str]:
    return [processor.name for processor in processors(nifi, group) if processor.physical == "STOPPING"]


def _busy(nifi: Nifi, group: str) -> str:
    busy = _stopping(nifi, group) or ["tasks"]
    return f"{listed(busy)} will not end; NiFi's user interface can terminate a processor"


def disable_services(nifi: Nifi, group: str, timeout: float) -> int:
    on = [service for service in services(nifi, group) if service["state"] != "DISABLED"]
    if on:
        nifi.call("PUT", f"/flow/process-groups/{group}/controller-services", json={"id": group, "state": "DISABLED"})
        until(
            lambda: True if all(service["state"] == "DISABLED" for service in services(nifi, group)) else None,
            timeout,
            lambda: f"not disabled: {listed([service['name'] for service in on])}",
        )
    return len(on)


def drop_queued(nifi: Nifi, group: str, timeout: float) -> int:
    """Throw away what is queued. Returns how many FlowFiles that were."""
    path = f"/process-groups/{group}/empty-all-connections-requests"
    request = nifi.call("POST", path)["dropRequest"]
    request_path = f"{path}/{request['id']}"

    def look() -> Any:
        now = nifi.get(request_path)["dropRequest"]
        return now if now.get("finished") else None

    try:
        done = until(look, timeout, lambda: "NiFi has not finished emptying the queues")
    finally:
        nifi.call("DELETE", request_path)
    if done.get("failureReason"):
        raise NifiError(f"NiFi could not empty the queues: {done['failureReason']}")
    return int(done.get("droppedCount") or 0)


def queue_lines(queues: Iterable[Queue]) -> list[str]:
    return [
        f"{counted(queue.count, 'FlowFile')} in {queue.group}: "
        + (queue.name or f"{queue.source} -> {queue.destination}")
        for queue in queues
        if queue.count
    ]
