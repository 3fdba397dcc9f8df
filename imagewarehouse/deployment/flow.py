"""The flow definition and the process group that is made of it."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagewarehouse.deployment.connection import Nifi
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.nars import PYTHON_BUNDLE, LocalNar
from imagewarehouse.deployment.wait import until
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows.definition import Flow, parse_flow, read_json, walk_groups

_PLACE = 480.0  # a process group is 384 wide

# Where things stand on the canvas is the operator's business; the rest is told elsewhere or is NiFi's own.
_NOT_COMPARED = frozenset({
    "bends", "bundle", "componentType", "controllerServiceApis", "destination", "groupIdentifier", "height", "identifier",
    "instanceIdentifier", "labelIndex", "position", "propertyDescriptors", "scheduledState", "source", "style",
    "versionedFlowCoordinates", "width", "zIndex",
})  # fmt: skip
_ROOT = "root"
_KINDS = (
    "processors", "inputPorts", "outputPorts", "connections", "funnels", "labels", "controllerServices", "processGroups",
    "remoteProcessGroups",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Definition:
    """A flow definition, with the processors of a NAR in the NAR's version."""

    raw: Mapping[str, Any]
    flow: Flow

    @property
    def context(self) -> Mapping[str, Any]:
        """The parameter context of the whole group."""
        name = self.raw["flowContents"].get("parameterContextName")
        contexts: Mapping[str, Any] = self.raw.get("parameterContexts") or {}
        if name is None or name not in contexts:
            raise ConfigurationError("--flow", "its process group has no parameter context")
        context: Mapping[str, Any] = contexts[name]
        return context


@dataclass(frozen=True, slots=True)
class Group:
    """The process group in NiFi."""

    identifier: str
    name: str
    versioned: str | None  # the identifier it has in the definition it came from
    revision: Mapping[str, Any]
    context: str | None  # identifier of its parameter context
    version_control: bool


def read_definition(path: Path, nar: LocalNar | None = None) -> Definition:
    """Raises ConfigurationError when it is no flow definition, or one whose processors are not in the NAR."""
    raw = read_json(path)
    try:
        parse_flow(raw)
    except ConfigurationError as err:
        raise ConfigurationError("--flow", f"{path}: {err.problem}") from err
    if nar is not None:
        raw = copy.deepcopy(raw)
        missing = set()
        for group, _ in walk_groups(raw["flowContents"]):
            for processor in group.get("processors", []):
                bundle = processor["bundle"]
                if (bundle["group"], bundle["artifact"]) != PYTHON_BUNDLE:
                    continue
                if processor["type"] not in nar.types:
                    missing.add(processor["type"])
                else:
                    # Else NiFi would leave a processor without code behind when the two differ.
                    bundle["version"] = nar.types[processor["type"]]
        if missing:
            raise ConfigurationError(
                "--flow", f"{path} uses {', '.join(sorted(missing))}, and {nar.path.name} has none"
            )
    return Definition(raw, parse_flow(raw))


@dataclass(frozen=True, slots=True)
class Outer:
    """A connection that an operator has made from or to the group: names of its ends."""

    source: str
    destination: str


# --- the group in NiFi --------------------------------------------------------------------------------------------


def find_group(nifi: Nifi, name: str, parent: str) -> Group | None:
    """Raises ConfigurationError when there are several of that name, or `parent` is not there."""
    groups = [child for child in _children(nifi, parent) if (child.get("component") or {}).get("name") == name]
    if len(groups) > 1:
        raise ConfigurationError("--group", f"there are {len(groups)} process groups called {name}; rename all but one")
    return _group(groups[0]) if groups else None


def _group(entity: Mapping[str, Any]) -> Group:
    component = entity["component"]
    context = component.get("parameterContext") or {}
    return Group(
        entity["id"],
        component["name"],
        component.get("versionedComponentId"),
        entity["revision"],
        context.get("id"),
        bool(component.get("versionControlInformation")),
    )


def _children(nifi: Nifi, parent: str) -> list[Mapping[str, Any]]:
    answer = nifi.find(f"/flow/process-groups/{parent}")
    if answer is None:
        raise ConfigurationError("--parent", f"NiFi has no process group {parent}")
    groups: list[Mapping[str, Any]] = answer["processGroupFlow"]["flow"].get("processGroups") or []
    return groups


def outer_connections(nifi: Nifi, group: Group, parent: str) -> list[Outer]:
    """Connections between the group's own ports and what is beside it on the canvas."""
    flow = nifi.get(f"/flow/process-groups/{parent}")["processGroupFlow"]["flow"]
    return [
        Outer(
            *(str((entity.get("component") or {}).get(end, {}).get("name") or "?") for end in ("source", "destination"))
        )
        for entity in flow.get("connections") or []
        if group.identifier in (entity.get("sourceGroupId"), entity.get("destinationGroupId"))
    ]


def import_group(nifi: Nifi, definition: Definition, name: str, parent: str) -> Group:
    """A new process group beside those that are there. Existing parameter contexts keep their values."""
    places = [child["position"] for child in _children(nifi, parent) if child.get("position")]
    x = max((place["x"] for place in places), default=-_PLACE) + _PLACE
    y = min((place["y"] for place in places), default=0.0)
    form = {"groupName": name, "positionX": str(x), "positionY": str(y), "clientId": str(uuid.uuid4())}
    content = json.dumps(definition.raw).encode()
    file = {"file": ("image-warehouse.json", content, "application/json")}
    return _group(
        nifi.call("POST", f"/process-groups/{parent}/process-groups/upload", data=form, files=file, timeout=300)
    )


def replace_group(nifi: Nifi, group: Group, definition: Definition, present: Mapping[str, Any], timeout: float) -> None:
    """Make the group what the definition says; queues of connections that stay keep what is in them.

    `present`: the group as it is. Its own ports stay enabled or disabled: what they lead to is the operator's. NiFi stops and
    starts again what it changes. Raises NifiError with NiFi's reason.
    """
    raw = copy.deepcopy(dict(definition.raw))
    raw["flowContents"]["name"] = group.name  # else it would be renamed
    states = {port["identifier"]: port.get("scheduledState") for port in _ports(present)}
    for port in _ports(raw):
        port["scheduledState"] = states.get(port["identifier"]) or port["scheduledState"]
    entity = nifi.get(f"/process-groups/{group.identifier}")
    body = {"processGroupRevision": entity["revision"], "versionedFlowSnapshot": raw}
    request = nifi.call("POST", f"/process-groups/{group.identifier}/replace-requests", json=body, timeout=300)[
        "request"
    ]
    path, state = f"/process-groups/replace-requests/{request['requestId']}", ""

    def look() -> Any:
        nonlocal state
        now = nifi.get(path)["request"]
        state = now.get("state") or ""
        return now if now.get("complete") else None

    try:
        done = until(look, timeout, lambda: f"NiFi has not finished replacing the flow ({state})")
    finally:
        nifi.call("DELETE", path)
    if reason := done.get("failureReason"):
        hint = "; `imagewarehouse stop` lets the queues drain first" if "queue" in reason.lower() else ""
        raise NifiError(f"NiFi could not replace the flow of {group.name}: {reason}{hint}")


def _ports(raw: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The ports of the group itself."""
    for kind in ("inputPorts", "outputPorts"):
        yield from raw["flowContents"].get(kind) or []


def delete_group(nifi: Nifi, group: Group) -> None:
    entity = nifi.get(f"/process-groups/{group.identifier}")
    nifi.call("DELETE", f"/process-groups/{group.identifier}", params={"version": entity["revision"].get("version", 0)})


# --- what differs -------------------------------------------------------------------------------------------------


def download(nifi: Nifi, group: Group) -> Mapping[str, Any]:
    """The group as a flow definition."""
    definition: Mapping[str, Any] = nifi.get(
        f"/process-groups/{group.identifier}/download", includeReferencedServices="false"
    )
    return definition


def check_origin(group: Group, definition: Definition, present: Mapping[str, Any]) -> None:
    """Raises ConfigurationError when a group of that name is something else: replacing would throw it away."""
    if group.version_control:
        raise ConfigurationError(
            "--group", f"{group.name} is under version control; change its version there, or stop version control first"
        )
    theirs = _components(present["flowContents"]).keys() - {_ROOT}
    if theirs and not theirs & _components(definition.raw["flowContents"]).keys():
        problem = f"the process group {group.name} has another flow, which would be lost"
        raise ConfigurationError("--group", f"{problem}; give another name, or remove the group")


def differences(definition: Definition, present: Mapping[str, Any]) -> list[str]:
    """What of the group is not as the definition has it, in words; places on the canvas do not count."""
    components, present_components = (_components(raw["flowContents"]) for raw in (definition.raw, present))
    lines = [f"new: {_called(components[key])}" for key in components.keys() - present_components.keys()]
    lines += [f"gone: {_called(present_components[key])}" for key in present_components.keys() - components.keys()]
    for key in components.keys() & present_components.keys():
        changed = list(_changed(components[key], present_components[key]))
        if key == _ROOT and "name" in changed:
            changed.remove("name")  # it is called as --group says
        if changed:
            lines.append(f"{_called(components[key])}: {', '.join(sorted(changed))}")
    return sorted(lines)


def left_destinations(definition: Definition, present: Mapping[str, Any]) -> set[str]:
    """Names of what connections lead to in the flow as it is, and no longer will: NiFi moves none that leads to what runs."""
    new, old = _destinations(definition.raw), _destinations(present)
    return {end["name"] for identifier, end in old.items() if identifier in new and new[identifier]["id"] != end["id"]}


def _destinations(raw: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What every connection leads to, by its identifier."""
    return {
        connection["identifier"]: connection["destination"]
        for group, _ in walk_groups(raw["flowContents"])
        for connection in group.get("connections") or []
    }


def _components(root: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    components: dict[str, Mapping[str, Any]] = {}
    for group, _ in walk_groups(root):
        for kind in _KINDS:
            for item in group.get(kind) or []:
                components[item["identifier"]] = item
    return components | {_ROOT: root}  # NiFi gives it an identifier of its own


def _changed(component: Mapping[str, Any], present: Mapping[str, Any]) -> Iterator[str]:
    for key, value in component.items():
        if key in _NOT_COMPARED or key in _KINDS:
            continue
        if key == "properties":
            theirs = present.get("properties") or {}
            # One that NiFi has and the definition has not was added by hand, or is a newer NiFi's.
            descriptors = component.get("propertyDescriptors") or {}
            yield from (name for name in value if (theirs.get(name) or None) != (value[name] or None))
            dynamic = {
                name
                for name, descriptor in (present.get("propertyDescriptors") or {}).items()
                if descriptor.get("dynamic")
            }
            yield from (name for name in dynamic - descriptors.keys() if theirs.get(name))
        elif _plain(value) != _plain(present.get(key)):
            yield key
    for end in ("source", "destination"):
        if end in component and component[end]["id"] != (present.get(end) or {}).get("id"):
            yield end
    bundle = component.get("bundle")
    if bundle and (bundle["group"], bundle["artifact"]) == PYTHON_BUNDLE and bundle != present.get("bundle"):
        yield f"version {(present.get('bundle') or {}).get('version')} -> {bundle['version']}"


def _plain(value: Any) -> Any:
    """So that the same reads the same: NiFi writes lists in any order, and null for an empty text."""
    if isinstance(value, list):
        return sorted(json.dumps(item, sort_keys=True) for item in value)
    return value or None


def _called(component: Mapping[str, Any]) -> str:
    if component.get("componentType") == "CONNECTION":
        return f"connection {_end(component, 'source')} -> {_end(component, 'destination')}"
    if component.get("componentType") == "LABEL":
        return f"label {str(component.get('label'))[:20]!r}"
    return str(component.get("name") or component.get("componentType", "").lower() or component.get("identifier"))


def _end(component: Mapping[str, Any], end: str) -> str:
    return str((component.get(end) or {}).get("name"))
