"""Reads a NiFi flow definition into frozen values.

The file is what NiFi's "Download flow definition" gives and what its import takes (a RegisteredFlowSnapshot). Reading
does not judge: whatever NiFi could have written comes back as it is, and `check.py` says what is wrong with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.units import parse_duration, parse_size

T = TypeVar("T")

# Where each kind of component stands in a process group.
KINDS = {
    "processors": "PROCESSOR",
    "inputPorts": "INPUT_PORT",
    "outputPorts": "OUTPUT_PORT",
    "funnels": "FUNNEL",
    "controllerServices": "CONTROLLER_SERVICE",
}

_REFERENCE = re.compile(r"(#+)\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Retry:
    """How NiFi retries a FlowFile before it transfers it to one of `relationships`."""

    count: int
    relationships: frozenset[str]
    max_backoff_s: float
    penalize: bool  # False: the whole processor yields instead


@dataclass(frozen=True, slots=True)
class Component:
    """A processor, port, funnel or controller service; what a kind does not have is empty."""

    identifier: str
    name: str
    kind: str  # one of KINDS' values
    type: str
    bundle: tuple[str, str, str]  # group, artifact, version
    group: tuple[str, ...]  # names of the process groups around it, from the root's child down
    properties: Mapping[str, str | None]  # as written, with #{...}
    sensitive: frozenset[str]
    auto_terminated: frozenset[str]
    tasks: int
    penalty_s: float
    yield_s: float
    retry: Retry
    enabled: bool  # a controller service is enabled where it is used, whatever this says

    def setting(self, name: str) -> str:
        """The name of a property for an operator: its parameter first, if it has one."""
        parameters = references(self.properties.get(name))
        where = f"{self.name}, {name}"
        return f"{parameters[0]} ({where})" if len(parameters) == 1 else where


@dataclass(frozen=True, slots=True)
class Connection:
    identifier: str
    name: str
    source: str  # identifiers of components
    destination: str
    relationships: tuple[str, ...]  # empty from ports and funnels
    max_objects: int  # 0: no back pressure
    max_bytes: int
    expiration_s: float = 0.0  # after which a FlowFile in it is dropped; 0: never


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    value: str | None
    sensitive: bool
    description: str


@dataclass(frozen=True, slots=True)
class Flow:
    name: str
    components: Mapping[str, Component]  # by identifier
    connections: tuple[Connection, ...]
    parameters: Mapping[str, Parameter]  # by name, of all parameter contexts in the file


def read_flow(path: Path) -> Flow:
    """Raises: ConfigurationError: the file is missing, is not JSON, or is not a flow definition."""
    raw = read_json(path)
    try:
        return parse_flow(raw)
    except ConfigurationError as err:
        raise ConfigurationError("flow", f"{path}: {err.problem}") from err


def read_json(path: Path) -> dict[str, Any]:
    """The file's JSON object, for those who look at what `Flow` leaves out (positions, labels, descriptors)."""
    try:
        raw = json.loads(path.read_bytes())
    except OSError as err:
        raise ConfigurationError("flow", f"{path}: {err.strerror or err}") from err
    except ValueError as err:  # covers both broken UTF-8 and broken JSON
        raise ConfigurationError("flow", f"{path}: not JSON: {err}") from err
    if not isinstance(raw, dict):
        raise ConfigurationError("flow", f"{path}: not a flow definition: expected an object")
    return raw


def parse_flow(raw: Mapping[str, Any]) -> Flow:
    """A flow from its JSON object. Raises ConfigurationError."""
    root = _get(raw, "flowContents", dict, element="not a flow definition")
    components: dict[str, Component] = {}
    connections: list[Connection] = []
    for group, path in walk_groups(root):
        for key, kind in KINDS.items():
            for item in _objects(group, key):
                component = _component(item, kind, path)
                components[component.identifier] = component
        connections.extend(_connection(item) for item in _objects(group, "connections"))
    return Flow(
        name=_get(root, "name", str, ""),
        components=MappingProxyType(components),
        connections=tuple(connections),
        parameters=MappingProxyType(_parameters(_get(raw, "parameterContexts", dict, {}))),
    )


def walk_groups(
    root: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[Mapping[str, Any], tuple[str, ...]]]:
    """Each process group of the JSON with the names of the groups down to it; the root's are empty."""
    yield root, path
    for child in _objects(root, "processGroups"):
        yield from walk_groups(child, (*path, _get(child, "name", str, "")))


def references(text: str | None) -> tuple[str, ...]:
    """Names of the parameters that a property's value refers to."""
    names = (_parameter_name(match) for match in _REFERENCE.finditer(text or ""))
    return tuple(name for name in names if name is not None)


_SUBJECT_OF_EXPRESSION = re.compile(r"\$\{(#\{[^{}]+\})")


def resolve(text: str | None, values: Mapping[str, str | None]) -> str | None:
    """A property's value with its parameters filled in; None where it consists of unset parameters only.

    `##{x}` stands for a literal `#{x}`, as in NiFi. Where an expression begins with a parameter, `${#{x}:isEmpty()}`, the value
    stands there as `literal('...')`.

    Raises: ConfigurationError: a parameter is not in `values`, or cannot stand in an expression.
    """
    if text is None:
        return None

    def as_literal(match: re.Match[str]) -> str:
        value = resolve(match[1], values) or ""
        if set("'{}") & set(value):
            raise ConfigurationError(
                "flow", f"parameter {match[1][2:-1]!r}: a value with quotes or braces in an expression"
            )
        return f"${{literal('{value}')"

    text = _SUBJECT_OF_EXPRESSION.sub(as_literal, text)

    def replace(match: re.Match[str]) -> str:
        hashes, name = match[1], _parameter_name(match)
        if name is None:
            return match[0] if len(hashes) % 2 else match[0][len(hashes) // 2 :]
        if name not in values:
            raise ConfigurationError("flow", f"parameter {name!r} is not defined")
        return "#" * (len(hashes) // 2) + (values[name] or "")

    resolved = _REFERENCE.sub(replace, text)
    return None if not resolved and references(text) else resolved


def environment_name(parameter: str) -> str:
    """The variable that sets a parameter: `access.keys` -> `IMAGEWAREHOUSE_ACCESS_KEYS`."""
    return "IMAGEWAREHOUSE_" + re.sub(r"\W", "_", parameter).upper()


def duration_s(text: str) -> float:
    """Seconds of a NiFi time period such as `30 sec`, `1 min` or `500 ms`. Raises ConfigurationError."""
    seconds = parse_duration(text)
    if seconds is None:
        raise ConfigurationError("flow", f"expected a time such as 30 sec, received {text!r}")
    return seconds


def data_size(text: str) -> int:
    """Bytes of a NiFi data size such as `100 MB` (1 KB is 1,024 bytes). Raises ConfigurationError."""
    size = parse_size(text)
    if size is None:
        raise ConfigurationError("flow", f"expected a size such as 100 MB, received {text!r}")
    return size


def _wrong(problem: str) -> ConfigurationError:
    """`read_flow` adds the file name."""
    return ConfigurationError("flow", problem)


def _parameter_name(match: re.Match[str]) -> str | None:
    """None where NiFi takes the text literally: escaped by a second #, or quoted by halves."""
    name = match[2]
    if len(match[1]) % 2 == 0:
        return None
    if "'" not in name:
        return name
    inner = name[1:-1]
    return inner if len(name) > 1 and name[0] == name[-1] == "'" and "'" not in inner else None


def _component(raw: Mapping[str, Any], kind: str, group: tuple[str, ...]) -> Component:
    identifier = _get(raw, "identifier", str, element=f"{kind} {raw.get('name', '')!r}")
    element = f"{kind} {identifier}"
    bundle = _get(raw, "bundle", dict, {}, element)
    descriptors = _get(raw, "propertyDescriptors", dict, {}, element)
    return Component(
        identifier=identifier,
        name=_get(raw, "name", str, "", element),
        kind=kind,
        type=_get(raw, "type", str, "", element) if kind in ("PROCESSOR", "CONTROLLER_SERVICE") else "",
        bundle=(
            _get(bundle, "group", str, "", element),
            _get(bundle, "artifact", str, "", element),
            _get(bundle, "version", str, "", element),
        ),
        group=group,
        properties=MappingProxyType(_properties(raw, element)),
        sensitive=frozenset(
            name for name, item in descriptors.items() if isinstance(item, dict) and item.get("sensitive") is True
        ),
        auto_terminated=frozenset(_texts(raw, "autoTerminatedRelationships", element)),
        tasks=_get(raw, "concurrentlySchedulableTaskCount", int, 1, element),
        penalty_s=_duration(raw, "penaltyDuration", "30 sec", element),
        yield_s=_duration(raw, "yieldDuration", "1 sec", element),
        retry=Retry(
            count=_get(raw, "retryCount", int, 0, element),
            relationships=frozenset(_texts(raw, "retriedRelationships", element)),
            max_backoff_s=_duration(raw, "maxBackoffPeriod", "10 mins", element),
            penalize=_get(raw, "backoffMechanism", str, "PENALIZE_FLOWFILE", element) == "PENALIZE_FLOWFILE",
        ),
        enabled=_get(raw, "scheduledState", str, "ENABLED", element) != "DISABLED",
    )


def _connection(raw: Mapping[str, Any]) -> Connection:
    identifier = _get(raw, "identifier", str, element="a connection")
    element = f"connection {identifier}"
    size = _get(raw, "backPressureDataSizeThreshold", str, "", element)
    try:
        max_bytes = data_size(size) if size.strip() else 0
    except ConfigurationError as err:
        raise _wrong(f"{element}: {err.problem}") from err
    return Connection(
        identifier=identifier,
        name=_get(raw, "name", str, "", element),
        source=_get(_get(raw, "source", dict, element=element), "id", str, element=f"source of {element}"),
        destination=_get(
            _get(raw, "destination", dict, element=element), "id", str, element=f"destination of {element}"
        ),
        # Ports and funnels have one nameless way out, which NiFi writes as [""].
        relationships=tuple(name for name in _texts(raw, "selectedRelationships", element) if name),
        max_objects=_get(raw, "backPressureObjectThreshold", int, 0, element),
        max_bytes=max_bytes,
        expiration_s=_duration(raw, "flowFileExpiration", "0 sec", element),
    )


def _parameters(contexts: Mapping[str, Any]) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for name, context in contexts.items():
        if not isinstance(context, dict):
            raise _wrong(f"parameter context {name!r} is not an object")
        for raw in _objects(context, "parameters"):
            parameter = Parameter(
                name=_get(raw, "name", str, element=f"a parameter of {name!r}"),
                value=_get(raw, "value", str, None),
                sensitive=_get(raw, "sensitive", bool, False),
                description=_get(raw, "description", str, ""),
            )
            first = parameters.setdefault(parameter.name, parameter)
            if first != parameter:
                # `Flow` has one table of parameters; picking one of two values would be a guess.
                raise _wrong(f"two parameter contexts define {parameter.name!r} differently")
    return parameters


def _properties(raw: Mapping[str, Any], element: str) -> dict[str, str | None]:
    properties: dict[str, str | None] = _get(raw, "properties", dict, {}, element)
    for name, value in properties.items():
        if value is not None and not isinstance(value, str):
            raise _wrong(f"{element}: property {name!r} is not a text")
    return properties


def _duration(raw: Mapping[str, Any], key: str, default: str, element: str) -> float:
    try:
        return duration_s(_get(raw, key, str, default, element))
    except ConfigurationError as err:
        raise _wrong(f"{element}: {key}: {err.problem}") from err


def _objects(raw: Mapping[str, Any], key: str) -> Iterable[Mapping[str, Any]]:
    items: list[Mapping[str, Any]] = _get(raw, key, list, [])
    for item in items:
        if not isinstance(item, dict):
            raise _wrong(f"{key}: expected objects, found {item!r}")
    return items


def _texts(raw: Mapping[str, Any], key: str, element: str) -> list[str]:
    items: list[str] = _get(raw, key, list, [], element)
    if any(not isinstance(item, str) for item in items):
        raise _wrong(f"{element}: {key}: expected texts")
    return items


_REQUIRED: Any = object()


def _get(raw: Mapping[str, Any], key: str, kind: type[T], default: Any = _REQUIRED, element: str = "") -> Any:
    """A member of the JSON object, of the right kind; null counts as absent, as NiFi writes both."""
    value = raw.get(key)
    where = f"{element}: " if element else ""
    if value is None:
        if default is _REQUIRED:
            raise _wrong(f"{where}{key} is missing")
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _wrong(f"{where}{key}: expected {kind.__name__}, found {type(value).__name__}")
    return value
