"""Where the flow's listeners are reached, and whether they answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import httpx

from imagewarehouse.deployment.connection import Nifi
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.running import Processor, bulletins, last_bulletin, port_is_taken
from imagewarehouse.deployment.wait import until
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows.definition import references, resolve

_TLS = "SSL Context Service"
_PROBE_S = 5.0
_COMPLAINS_S = 2.5
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - only compared


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`host` is the address the listener is bound to, where it is bound to one."""

    processor: str
    name: str
    port: int
    path: str
    host: str
    secure: bool
    probe: str | None  # a path that is answered without a FlowFile; None: only a connection tells
    setting: str  # what an operator sets to change the port

    def url(self, host: str) -> str:
        """As a client on another machine has it."""
        shown = host if self.host in _EVERYWHERE else self.host
        shown = f"[{shown}]" if ":" in shown and not shown.startswith("[") else shown
        return f"{'https' if self.secure else 'http'}://{shown}:{self.port}{self.path}"


def endpoints(processors: Iterable[Processor], values: Mapping[str, str | None]) -> list[Endpoint]:
    """Of NiFi's HTTP listeners among these processors; what they say with parameters is filled in."""
    listeners = [
        endpoint for endpoint in (_endpoint(processor, values) for processor in processors) if endpoint is not None
    ]
    return sorted(listeners, key=lambda endpoint: endpoint.port)


def _endpoint(processor: Processor, values: Mapping[str, str | None]) -> Endpoint | None:
    kind = processor.type.rpartition(".")[2]
    if kind not in ("ListenHTTP", "HandleHttpRequest"):
        return None

    def text(name: str) -> str:
        try:
            return resolve(processor.properties.get(name), values) or ""
        except ConfigurationError:  # a parameter of an inherited context
            return ""

    port = text("Listening Port")
    if not port.isdecimal():
        return None
    behind = references(processor.properties.get("Listening Port"))
    if kind == "ListenHTTP":
        base = text("Base Path") or "contentListener"
        path, host = f"/{base.strip('/')}", ""
        probe: str | None = f"{path}/healthcheck"
    else:
        allowed = text("Allowed Paths")
        # It makes a FlowFile of every request that it allows, and complains of every other.
        path, host, probe = allowed or "/", text("Hostname"), None
    secure = bool(processor.properties.get(_TLS))
    setting = behind[0] if len(behind) == 1 else f"{processor.name}, Listening Port"
    return Endpoint(
        processor.identifier, processor.name, int(port), path, host, secure, None if secure else probe, setting
    )


def addresses(nifi: Nifi, nodes: Iterable[str]) -> list[str]:
    """Hosts whose ports to try: the cluster's nodes, else that of NiFi's own address."""
    return sorted(set(nodes)) or [nifi.address.host]


def wait_answers(
    nifi: Nifi,
    group: str,
    listeners: list[Endpoint],
    hosts: Iterable[str],
    timeout: float,
    doing: Callable[[str], None],
) -> None:
    """Until every listener answers on every host. Raises NifiError, at once where a port is taken by something else."""
    pending_pairs = [(listener, host) for listener in listeners for host in hosts]

    def look() -> bool | None:
        pending_pairs[:] = [(listener, host) for listener, host in pending_pairs if not answers(listener, host)]
        taken = ports_taken(nifi, group, listeners)  # whatever has the port may have answered
        if taken:
            raise NifiError("\n".join(port_taken(listener) for listener in taken))
        if pending_pairs:
            doing(f"waiting for {pending_pairs[0][0].url(pending_pairs[0][1])} ...")
        return None if pending_pairs else True

    def late() -> str:
        urls = ", ".join(listener.url(host) for listener, host in pending_pairs)
        return f"no answer at {urls} from here; is a firewall in between, or the port that of another network?"

    until(look, timeout, late)


def ports_taken(nifi: Nifi, group: str, listeners: list[Endpoint]) -> list[Endpoint]:
    """Listeners that cannot have their port. They run all the same, and complain each second."""
    if not _complaints(nifi, group, listeners, None):
        return []
    after = last_bulletin(nifi)
    time.sleep(_COMPLAINS_S)  # older ones may be settled by now
    return _complaints(nifi, group, listeners, after)


def _complaints(nifi: Nifi, group: str, listeners: list[Endpoint], after: int | None) -> list[Endpoint]:
    source_ids = {bulletin.get("sourceId") for bulletin in bulletins(nifi, group, after) if port_is_taken(bulletin)}
    return [listener for listener in listeners if listener.processor in source_ids]


def port_taken(endpoint: Endpoint) -> str:
    return (
        f"port {endpoint.port} of {endpoint.name} is in use by another program;"
        f" stop that, or give --set {endpoint.setting}=PORT"
    )


def answers(listener: Endpoint, host: str) -> bool:
    host = host if listener.host in _EVERYWHERE else listener.host
    if listener.probe is None:
        with suppress(OSError), socket.create_connection((host.strip("[]"), listener.port), _PROBE_S):
            return True
        return False
    try:
        shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
        httpx.get(f"http://{shown}:{listener.port}{listener.probe}", timeout=_PROBE_S, trust_env=False)
    except httpx.HTTPError:
        return False
    return True
