"""Finds mistakes in a flow definition that NiFi would show only after the import, or not at all."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows.build import (
    FUNNEL_SIZE,
    GROUP_SIZE,
    PORT_SIZE,
    PROCESSOR_SIZE,
    ComponentType,
    Property,
    component_types,
    our_types,
)
from imagewarehouse.flows.definition import KINDS, Component, Connection, Flow, references, resolve, walk_groups

_SIZES = {
    "processors": PROCESSOR_SIZE,
    "inputPorts": PORT_SIZE,
    "outputPorts": PORT_SIZE,
    "funnels": FUNNEL_SIZE,
    "processGroups": GROUP_SIZE,
    "labels": None,  # say it themselves
}


def check_flow(flow: Flow, raw: Mapping[str, Any]) -> list[str]:
    """What is wrong with a flow, one readable line each; `raw` is the JSON object that `flow` was read from."""
    subject = _Subject(flow, raw, component_types())
    return [finding for check in _CHECKS for finding in check(subject)]


@dataclass(frozen=True, slots=True)
class _Subject:
    flow: Flow
    raw: Mapping[str, Any]
    types: Mapping[str, ComponentType]

    def of(self, *kinds: str) -> Iterator[Component]:
        return (c for c in self.flow.components.values() if c.kind in kinds)

    def configured(self) -> Iterator[tuple[Component, ComponentType]]:
        """Processors and services of a known type; `_types` reports the others."""
        for component in self.of("PROCESSOR", "CONTROLLER_SERVICE"):
            if component.type in self.types:
                yield component, self.types[component.type]

    def groups(self) -> Iterator[tuple[Mapping[str, Any], tuple[str, ...]]]:
        return walk_groups(self.raw["flowContents"])

    def value(self, component: Component, definition: Property) -> str | None:
        """A property's value with the parameters' values as the file has them; None where it is not set."""
        text = component.properties.get(definition.name)
        if text is None:
            return definition.default
        try:
            return resolve(text, {p.name: p.value for p in self.flow.parameters.values()})
        except ConfigurationError:  # an undefined parameter: another check reports it
            return text

    def ends(self, connection: Connection) -> str:
        return " -> ".join(
            _where(self.flow.components[end]) if end in self.flow.components else f"unknown {end}"
            for end in (connection.source, connection.destination)
        )


def _where(component: Component) -> str:
    return " / ".join((*component.group, component.name or component.kind.lower()))


# --- components and their properties -------------------------------------------------------------------------------


def _types(subject: _Subject) -> Iterator[str]:
    for component in subject.of("PROCESSOR", "CONTROLLER_SERVICE"):
        definition = subject.types.get(component.type)
        if definition is None:
            yield f"{_where(component)}: unknown type {component.type or '(none)'}"
        elif component.bundle[:2] != definition.bundle[:2]:
            yield f"{_where(component)}: comes from {':'.join(component.bundle)}, expected {':'.join(definition.bundle)}"
        elif component.bundle[2] != definition.bundle[2]:
            code = "the code has" if component.type in our_types() else "the flow was made for NiFi"
            yield f"{_where(component)}: version {component.bundle[2]} in the flow, {code} {definition.bundle[2]}"


def _property_names(subject: _Subject) -> Iterator[str]:
    for component, definition in subject.configured():
        if not definition.dynamic:
            for name in sorted(set(component.properties) - set(definition.properties)):
                yield f"{_where(component)}: {definition.short} has no property {name!r}"


def _property_values(subject: _Subject) -> Iterator[str]:
    for component, definition in subject.configured():
        for item in definition.properties.values():
            if any(not subject.value(component, definition.properties[name]) for name in item.needs):
                continue
            value = subject.value(component, item)
            if not value:
                if item.required:
                    yield f"{_where(component)}: {item.name} is required and not set"
            elif item.allowed and value not in item.allowed:
                yield f"{_where(component)}: {item.name} is {value!r}, expected one of {', '.join(item.allowed)}"


def _descriptors(subject: _Subject) -> Iterator[str]:
    """At the import NiFi has not loaded the Python processors: it reads these two flags from the descriptors in the file."""
    raw = {item["identifier"]: item for group, _ in subject.groups() for key in KINDS for item in group.get(key) or ()}
    for component, definition in subject.configured():
        descriptors = raw[component.identifier].get("propertyDescriptors") or {}
        for name in sorted({*definition.properties, *component.properties}):
            property_definition = definition.properties.get(name)
            if name not in descriptors:
                yield f"{_where(component)}: property {name!r} has no descriptor"
            elif property_definition is not None:
                for key, expected in (
                    ("sensitive", property_definition.sensitive),
                    ("identifiesControllerService", property_definition.service),
                ):
                    if bool(descriptors[name].get(key)) != expected:
                        yield f"{_where(component)}: descriptor of {name!r} does not say {key}: {expected}"


def _services(subject: _Subject) -> Iterator[str]:
    services = {c.identifier: c for c in subject.of("CONTROLLER_SERVICE")}
    for component, definition in subject.configured():
        for item in definition.properties.values():
            value = component.properties.get(item.name)
            if not item.service or not value:
                continue
            service = services.get(value)
            if service is None:
                yield f"{_where(component)}: {item.name} names the controller service {value}, which is not in the flow"
            elif component.group[: len(service.group)] != service.group:
                yield f"{_where(component)}: {item.name} names {_where(service)}, which is out of its reach"


# --- parameters ----------------------------------------------------------------------------------------------------


def _parameter_references(subject: _Subject) -> Iterator[str]:
    used: set[str] = set()
    for component in subject.of("PROCESSOR", "CONTROLLER_SERVICE"):
        for name, value in component.properties.items():
            for parameter in references(value):
                used.add(parameter)
                if parameter not in subject.flow.parameters:
                    yield f"{_where(component)}: {name} refers to the parameter {parameter!r}, which is not defined"
    for parameter in subject.flow.parameters:
        if parameter not in used:
            yield f"parameter {parameter}: is not used"


def _parameter_contexts(subject: _Subject) -> Iterator[str]:
    contexts = subject.raw.get("parameterContexts") or {}
    for group, path in subject.groups():
        name = group.get("parameterContextName")  # NiFi does not inherit it from the group around
        if name not in contexts:
            problem = f"the parameter context {name!r}, which is not in the file" if name else "no parameter context"
            yield f"{' / '.join(path) or subject.flow.name}: has {problem}"


def _parameter_values(subject: _Subject) -> Iterator[str]:
    for parameter in subject.flow.parameters.values():
        if parameter.sensitive and parameter.value is not None:
            yield f"parameter {parameter.name}: is sensitive and has a value in the file"
        elif parameter.value == "":
            # Measured: an empty text fails validators that an unset property never meets.
            yield f"parameter {parameter.name}: has an empty text as its value, which is not the same as no value"


def _sensitive_properties(subject: _Subject) -> Iterator[str]:
    secret = {name for name, parameter in subject.flow.parameters.items() if parameter.sensitive}
    for component, definition in subject.configured():
        sensitive = component.sensitive | {name for name, item in definition.properties.items() if item.sensitive}
        for name, value in component.properties.items():
            named = references(value)
            if name not in sensitive:
                if secret & set(named):
                    yield f"{_where(component)}: {name} is not sensitive, the parameter {min(secret & set(named))} is"
            elif value and (len(named) != 1 or value not in (f"#{{{named[0]}}}", f"#{{'{named[0]}'}}")):
                yield f"{_where(component)}: {name} is sensitive and not exactly one parameter"
            elif named and named[0] in subject.flow.parameters and named[0] not in secret:
                yield f"{_where(component)}: {name} is sensitive, the parameter {named[0]} is not"


# --- relationships and connections ---------------------------------------------------------------------------------


def _relationships(subject: _Subject) -> Iterator[str]:
    for component, definition in subject.configured():
        if component.kind != "PROCESSOR":
            continue
        where, declared = _where(component), _declared(component, definition)
        connected = {
            name for c in subject.flow.connections if c.source == component.identifier for name in c.relationships
        }
        for name in sorted(declared - connected - component.auto_terminated):
            yield f"{where}: relationship {name!r} is neither connected nor auto-terminated"
        for name in sorted(connected & component.auto_terminated):
            yield f"{where}: relationship {name!r} is both connected and auto-terminated"
        for role, names in (
            ("a connection leaves on", connected),
            ("auto-terminates", component.auto_terminated),
            ("retries", component.retry.relationships),
        ):
            for name in sorted(names - declared):
                yield f"{where}: {role} {name!r}, which is not a relationship of {definition.short}"


def _declared(component: Component, definition: ComponentType) -> frozenset[str]:
    if not definition.routes:
        return definition.relationships
    if component.properties.get("Routing Strategy", "Route to Property name") != "Route to Property name":
        return definition.relationships | {"matched"}
    return definition.relationships | (set(component.properties) - set(definition.properties))


def _connection_ends(subject: _Subject) -> Iterator[str]:
    components = subject.flow.components
    for connection in subject.flow.connections:
        for role, end in (("begins", connection.source), ("ends", connection.destination)):
            if end not in components:
                yield f"connection {subject.ends(connection)}: {role} at a component that is not in the flow"
        source = components.get(connection.source)
        if source is not None and (source.kind == "PROCESSOR") != bool(connection.relationships):
            yield f"connection {subject.ends(connection)}: " + (
                "has no relationship" if source.kind == "PROCESSOR" else f"{source.kind} has no relationships"
            )


def _connection_groups(subject: _Subject) -> Iterator[str]:
    """A connection joins components of its own group, output ports and input ports of the groups right inside it."""
    connections = {c.identifier: c for c in subject.flow.connections}
    for group, path in subject.groups():
        for raw in group.get("connections") or ():
            connection = connections[raw["identifier"]]
            for end, inner, own_kinds in (
                (connection.source, "OUTPUT_PORT", ("PROCESSOR", "FUNNEL", "INPUT_PORT")),
                (connection.destination, "INPUT_PORT", ("PROCESSOR", "FUNNEL", "OUTPUT_PORT")),
            ):
                part = subject.flow.components.get(end)
                if part is None or (part.group == path and part.kind in own_kinds):
                    continue
                if part.group[:-1] != path or len(part.group) != len(path) + 1 or part.kind != inner:
                    yield f"connection {subject.ends(connection)}: cannot reach {_where(part)} from its group"


def _unconnected(subject: _Subject) -> Iterator[str]:
    # The root's own ports are joined where the flow is put; a loop feeds nobody.
    sources = {c.source for c in subject.flow.connections}
    destinations = {c.destination for c in subject.flow.connections if c.source != c.destination}
    for component in subject.of("INPUT_PORT", "OUTPUT_PORT"):
        if component.identifier not in destinations and (component.group or component.kind != "INPUT_PORT"):
            yield f"{_where(component)}: nothing comes into this {_kind_text(component)}"
        if component.identifier not in sources and (component.group or component.kind != "OUTPUT_PORT"):
            yield f"{_where(component)}: nothing leaves this {_kind_text(component)}"
    for component, definition in subject.configured():
        if component.kind == "PROCESSOR" and definition.takes_input != (component.identifier in destinations):
            problem = (
                "nothing comes into this processor"
                if definition.takes_input
                else f"{definition.short} takes no FlowFiles"
            )
            yield f"{_where(component)}: {problem}"
    for component in subject.of("FUNNEL"):
        if component.identifier not in destinations:
            yield f"{_where(component)}: nothing comes into this funnel"


def _kind_text(component: Component) -> str:
    return component.kind.lower().replace("_", " ")


def _back_pressure(subject: _Subject) -> Iterator[str]:
    sources = {connection.source for connection in subject.flow.connections}
    for connection in subject.flow.connections:
        end = subject.flow.components.get(connection.destination)
        if end is not None and end.kind == "FUNNEL" and end.identifier not in sources:
            continue  # dead letters: a full queue would stop the step in front of it for good
        if end is not None and end.kind == "OUTPUT_PORT" and not end.group:
            # It may lead nowhere where the flow is put.
            if connection.max_objects or connection.max_bytes:
                yield f"connection {subject.ends(connection)}: a full queue would stop the flow where nothing takes it"
            if not connection.expiration_s:
                yield f"connection {subject.ends(connection)}: grows without end where nothing takes it"
            continue
        if connection.source != connection.destination and _nobody_waits_for(subject, connection.destination):
            continue  # the index, say: while it is away its queue grows, and rows and answers go on
        for measure, limit in (("objects", connection.max_objects), ("size", connection.max_bytes)):
            if limit <= 0:
                yield f"connection {subject.ends(connection)}: no back pressure by {measure}"


def _nobody_waits_for(subject: _Subject, identifier: str) -> bool:
    """Whether what leaves a processor comes back to it, or is parked in a funnel without a way out."""
    component = subject.flow.components.get(identifier)
    if component is None or component.kind != "PROCESSOR":
        return False
    sources = {connection.source for connection in subject.flow.connections}
    ends = [c.destination for c in subject.flow.connections if c.source == identifier and c.destination != identifier]
    parts = [subject.flow.components.get(end) for end in ends]
    return all(part is not None and part.kind == "FUNNEL" and part.identifier not in sources for part in parts)


def _loops(subject: _Subject) -> Iterator[str]:
    """A loop without a delay keeps a thread busy, so one component of each loop must delay the FlowFile."""
    edges = {(c.source, c.destination) for c in subject.flow.connections if not _waits(subject, c)}
    while True:
        graph: dict[str, list[str]] = {}
        for source, destination in sorted(edges):
            graph.setdefault(destination, []).append(source)
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as err:
            loop: list[str] = err.args[1]
            names = (_where(subject.flow.components[i]) if i in subject.flow.components else i for i in loop)
            yield f"loop without a penalised retry: {' -> '.join(names)}"
            edges -= set(itertools.pairwise(loop))
        else:
            return


def _waits(subject: _Subject, connection: Connection) -> bool:
    source = subject.flow.components.get(connection.source)
    if source is None or not connection.relationships:
        return False
    retry = source.retry
    penalised = retry.penalize and retry.count > 0 and source.penalty_s > 0
    return penalised and set(connection.relationships) <= retry.relationships


# --- the canvas ----------------------------------------------------------------------------------------------------


def _duplicates(subject: _Subject) -> Iterator[str]:
    identifiers: Counter[str] = Counter()
    for group, path in subject.groups():
        identifiers[group.get("identifier", "")] += 1
        for key in (*KINDS, "connections", "labels"):
            items = group.get(key) or ()
            identifiers.update(item.get("identifier", "") for item in items)
            if key not in ("connections", "labels", "funnels"):
                yield from _same_names(items, key, path)
        yield from _same_names(group.get("processGroups") or (), "processGroups", path)
    for identifier, count in sorted(identifiers.items()):
        if count > 1:
            yield f"identifier {identifier}: stands for {count} components"


def _same_names(items: Iterable[Mapping[str, Any]], key: str, path: tuple[str, ...]) -> Iterator[str]:
    for name, count in sorted(Counter(item.get("name") or "" for item in items).items()):
        if count > 1:
            yield f"{' / '.join((*path, name))}: {count} {key} of this name in one group"


def _overlaps(subject: _Subject) -> Iterator[str]:
    for group, path in subject.groups():
        boxes = [_box(item, key, path) for key in _SIZES for item in group.get(key) or ()]
        for (name, left, top, right, bottom), other in itertools.combinations(boxes, 2):
            if left < other[3] and other[1] < right and top < other[4] and other[2] < bottom:
                yield f"{name}: overlaps with {other[0]} on the canvas"


def _box(item: Mapping[str, Any], key: str, path: tuple[str, ...]) -> tuple[str, float, float, float, float]:
    position = item.get("position") or {}
    left, top = float(position.get("x") or 0), float(position.get("y") or 0)
    width, height = _SIZES[key] or (float(item.get("width") or 0), float(item.get("height") or 0))
    name = item.get("name") or (item.get("label") or key.rstrip("s")).splitlines()[0]
    return " / ".join((*path, name)), left, top, left + width, top + height


_CHECKS: tuple[Callable[[_Subject], Iterator[str]], ...] = (
    _types,
    _property_names,
    _property_values,
    _descriptors,
    _services,
    _parameter_references,
    _parameter_contexts,
    _parameter_values,
    _sensitive_properties,
    _relationships,
    _connection_ends,
    _connection_groups,
    _unconnected,
    _back_pressure,
    _loops,
    _duplicates,
    _overlaps,
)
