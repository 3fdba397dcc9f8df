"""What is wrong with settings of a flow together, each of which is fine alone: for `run` and for `deploy`."""

from __future__ import annotations

from collections.abc import Mapping

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows.definition import Component, Flow, resolve

_LISTENERS = ("ListenHTTP", "HandleHttpRequest")
_MASTERS = "kudu.masters"
_OF_KUDU = ("kudu.keep.months",)  # without Kudu they look as if something was deleted after that time


def check_listeners(flow: Flow, values: Mapping[str, str | None]) -> None:
    """Raises ConfigurationError: two listeners with one port, or a path that no client would guess."""
    by_port: dict[str, Component] = {}
    for component in flow.components.values():
        if component.type.rpartition(".")[2] not in _LISTENERS or not component.enabled:
            continue
        port = _value(component, "Listening Port", values)
        if port and (other := by_port.setdefault(port, component)) is not component:
            raise ConfigurationError(
                component.setting("Listening Port"),
                f"{port} is also the port of {other.setting('Listening Port')}; give one of them another",
            )
        path = _value(component, "Base Path", values)
        if path and path != path.strip("/"):
            # The listener puts a slash before it: /a would be reached as //a only.
            raise ConfigurationError(
                component.setting("Base Path"), f"is written without a slash around it: {path.strip('/') or 'images'}"
            )


def without_effect(values: Mapping[str, str | None]) -> list[str]:
    """Settings that have a value and do nothing, as lines for an operator."""
    if values.get(_MASTERS):
        return []
    return [
        f"{name} does nothing without {_MASTERS}: rows are in the embedded store, which keeps all of them"
        for name in _OF_KUDU
        if values.get(name)
    ]


def _value(component: Component, name: str, values: Mapping[str, str | None]) -> str:
    try:
        return (resolve(component.properties.get(name), values) or "").strip()
    except ConfigurationError:  # a parameter that is missing is told by whoever reads it
        return ""
