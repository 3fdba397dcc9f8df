"""Values of the flow's parameters: where they come from, and what of them NiFi does not have yet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from imagewarehouse.deployment.connection import Nifi
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.wait import until
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows.definition import Parameter, environment_name


@dataclass(frozen=True, slots=True)
class Given:
    """A value from outside; None takes the value away. `source` is for messages."""

    value: str | None = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True)
class Present:
    """A parameter as NiFi has it; the value of a sensitive one is never shown."""

    value: str | None = field(repr=False)
    sensitive: bool
    is_set: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """What NiFi is to be told of one parameter."""

    name: str
    value: str | None = field(repr=False)
    sensitive: bool
    description: str
    new: bool

    def entity(self) -> dict[str, Any]:
        parameter: dict[str, Any] = {"name": self.name, "description": self.description, "sensitive": self.sensitive}
        parameter["value"] = self.value
        if self.value is None and not self.new:
            parameter["valueRemoved"] = True  # else NiFi takes it for "leave the value"
        return {"parameter": parameter}


@dataclass(frozen=True, slots=True)
class Merged:
    """What to change; `kept` are values that are NiFi's own and not the flow's; `obsolete` are in NiFi alone."""

    changes: list[Change]
    kept: list[str]
    obsolete: list[str]


@dataclass(frozen=True, slots=True)
class Context:
    """A parameter context of NiFi."""

    identifier: str
    name: str
    revision: Mapping[str, Any]
    parameters: Mapping[str, Present]
    groups: tuple[str, ...] = ()  # identifiers of the process groups that use it

    def values(self) -> dict[str, str | None]:
        return {name: parameter.value for name, parameter in self.parameters.items()}


# --- from outside -------------------------------------------------------------------------------------------------


def given_values(
    declared: Mapping[str, Parameter], pairs: Iterable[str], file: Path | None, environ: Mapping[str, str]
) -> dict[str, Given]:
    """--set before --parameters before the environment. An empty text means: without a value.

    Raises ConfigurationError for a name that the flow does not have, and for a secret among the arguments.
    """
    overrides: dict[str, Given] = {}
    for name in declared:
        variable = environment_name(name)
        if variable in environ:
            overrides[name] = Given(environ[variable] or None, variable)
    if file is not None:
        for name, value in read_file(file).items():
            _known(declared, name, str(file))
            overrides[name] = Given(value or None, str(file))
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigurationError("--set", "expected NAME=VALUE")  # what was received may hold a secret
        _known(declared, name, "--set")
        if declared[name].sensitive:
            how = f"put it into {environment_name(name)}, or into a file for --parameters"
            raise ConfigurationError(name, f"is secret, and arguments are visible to every user of the machine; {how}")
        overrides[name] = Given(value or None, "--set")
    return overrides


def _known(declared: Mapping[str, Parameter], name: str, where: str) -> None:
    if name in declared:
        return
    close = get_close_matches(name, declared, n=1)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(declared))}"
    raise ConfigurationError(name, f"({where}) the flow has no such parameter; {hint}")


def read_file(path: Path) -> dict[str, str]:
    """A JSON object, or lines NAME=VALUE; a line that begins with # is a comment. Raises ConfigurationError."""
    option = "--parameters"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as err:
        raise ConfigurationError(option, f"{path}: {err.strerror or err}") from err
    except UnicodeDecodeError as err:
        raise ConfigurationError(option, f"{path} is not UTF-8") from err
    if text.lstrip().startswith("{"):
        try:
            values = json.loads(text)
        except ValueError as err:  # its message has a position and no content
            raise ConfigurationError(option, f"{path} is not JSON: {err}") from err
        wrong = [name for name, value in values.items() if isinstance(value, dict | list)]
        if wrong:
            raise ConfigurationError(option, f"{path}: the value of {wrong[0]} is no text, number or true or false")
        return {name: _plain(value) for name, value in values.items()}
    pairs = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise ConfigurationError(option, f"{path} line {number}: expected NAME=VALUE")
        pairs[name.strip()] = value.strip()
    return pairs


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def merge(declared: Mapping[str, Parameter], overrides: Mapping[str, Given], present: Mapping[str, Present]) -> Merged:
    """What NiFi has stays unless a value is given; what it lacks comes from the flow.

    Raises ConfigurationError where NiFi's parameter is secret and the flow's is not, or the other way round.
    """
    changes, kept_lines = [], []
    for name, parameter in declared.items():
        have, want = present.get(name), overrides.get(name)
        if have is None:
            value = want.value if want else parameter.value or None
            changes.append(Change(name, value, parameter.sensitive, parameter.description, new=True))
            continue
        if have.sensitive != parameter.sensitive:
            kinds = "secret in NiFi and not" if have.sensitive else "not secret in NiFi, and is"
            raise ConfigurationError(name, f"is {kinds} in the flow; remove it from NiFi's parameter context")
        if want is not None and (have.sensitive or want.value != have.value):
            # NiFi does not tell what a secret is, so one that is given is set each time.
            if have.sensitive and want.value is None and not have.is_set:
                continue
            changes.append(Change(name, want.value, have.sensitive, parameter.description, new=False))
        elif want is None and not have.sensitive and (have.value or None) != (parameter.value or None):
            kept_lines.append(f"{name} = {have.value or '(without a value)'}")
    return Merged(changes, kept_lines, sorted(set(present) - set(declared)))


# --- in NiFi ------------------------------------------------------------------------------------------------------


def find_context(nifi: Nifi, name: str, identifier: str | None = None) -> Context | None:
    """By its identifier where that is known, else by its name. Raises NifiError when it may not be looked at."""
    if identifier is None:
        entities = nifi.get("/flow/parameter-contexts").get("parameterContexts") or []
        identifiers = [entity["id"] for entity in entities if (entity.get("component") or {}).get("name") == name]
        if not identifiers:
            return None
        identifier = identifiers[0]
    entity = nifi.get(f"/parameter-contexts/{identifier}", includeInheritedParameters="false")
    component = entity.get("component")
    if component is None:
        raise NifiError(f"NiFi does not let this user see the parameter context {name}; it needs 'view the component'")
    parameters = {}
    for item in component.get("parameters") or []:
        parameter = item["parameter"]
        value = parameter.get("value")
        secret = bool(parameter.get("sensitive"))
        parameters[parameter["name"]] = Present(None if secret else value, secret, value is not None)
    groups = tuple(group["id"] for group in component.get("boundProcessGroups") or [])
    return Context(entity["id"], component["name"], entity["revision"], parameters, groups)


def create_context(nifi: Nifi, name: str, description: str, changes: Iterable[Change]) -> Context:
    component = {
        "name": name,
        "description": description,
        "parameters": [change.entity() for change in changes],
        "inheritedParameterContexts": [],
    }
    entity = nifi.call("POST", "/parameter-contexts", json={"revision": {"version": 0}, "component": component})
    context = find_context(nifi, name, entity["id"])
    assert context is not None
    return context


def update_context(nifi: Nifi, context: Context, changes: Iterable[Change], timeout: float) -> None:
    """NiFi stops what uses a changed parameter, sets it and starts again. Raises NifiError with its reason if it fails."""
    path = f"/parameter-contexts/{context.identifier}/update-requests"
    component = {"id": context.identifier, "parameters": [change.entity() for change in changes]}
    body = {"revision": context.revision, "id": context.identifier, "component": component}
    request = nifi.call("POST", path, json=body)["request"]
    identifier, state = request["requestId"], ""

    def look() -> Any:
        nonlocal state
        now = nifi.get(f"{path}/{identifier}")["request"]
        state = now.get("state") or ""
        return now if now.get("complete") else None

    try:
        done = until(look, timeout, lambda: f"NiFi has not finished setting parameters of {context.name} ({state})")
    finally:
        nifi.call("DELETE", f"{path}/{identifier}")
    if done.get("failureReason"):
        raise NifiError(f"NiFi could not set the parameters of {context.name}: {done['failureReason']}")


def delete_context(nifi: Nifi, context: Context) -> None:
    version = context.revision.get("version", 0)
    nifi.call("DELETE", f"/parameter-contexts/{context.identifier}", params={"version": version})
