"""Stand-ins for the Java components that the flow uses, with NiFi's property names; any other is refused."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from imagewarehouse.errors import ConfigurationError, PackageBroken
from imagewarehouse.flows.definition import Component, Flow, data_size, duration_s, resolve
from imagewarehouse.nifi.codec import RECORDS, Carried
from imagewarehouse.nifi.packages import MEDIA_TYPE, Package, Packed
from imagewarehouse.standalone.engine import BatchWork, Outcome, Work
from imagewarehouse.standalone.expressions import compile_expression
from imagewarehouse.standalone.flowfile import FlowFile, SeenAttributes, joined, requests_in

log = logging.getLogger("imagewarehouse.standalone")

T = TypeVar("T")
Parameters = Mapping[str, "str | None"]

_STANDARD = "org.apache.nifi.processors.standard."
LISTEN_HTTP = _STANDARD + "ListenHTTP"
HANDLE_REQUEST = _STANDARD + "HandleHttpRequest"
HANDLE_RESPONSE = _STANDARD + "HandleHttpResponse"
ROUTE = _STANDARD + "RouteOnAttribute"
PACKAGE = _STANDARD + "PackageFlowFile"
UNPACK = _STANDARD + "UnpackContent"
MODIFY_BYTES = _STANDARD + "ModifyBytes"
UPDATE = "org.apache.nifi.processors.attributes.UpdateAttribute"
CONTEXT_MAP = "org.apache.nifi.http.StandardHttpContextMap"

# What each stand-in acts on, and what it may ignore because it only tunes Jetty or repeats a default. A property
# outside both is refused: running without it would be another flow than the one NiFi runs.
_ACTS_ON = {
    LISTEN_HTTP: {"Base Path", "Listening Port", "HTTP Headers for Attributes", "Return Code", "Multipart Request Max Size"},
    HANDLE_REQUEST: {"Listening Port", "Hostname", "HTTP Context Map", "Allowed Paths", "Allow GET", "Allow POST", "Allow PUT",
                     "Allow DELETE", "Allow HEAD", "Allow OPTIONS", "Multipart Request Max Size"},
    HANDLE_RESPONSE: {"HTTP Status Code", "HTTP Context Map", "Attributes for HTTP Response"},
    ROUTE: {"Routing Strategy"},
    PACKAGE: {"Maximum Batch Size", "Maximum Batch Content Size"},
    UNPACK: {"Packaging Format"},
    MODIFY_BYTES: {"Remove All Content"},
    UPDATE: {"Delete Attributes Expression"},
    CONTEXT_MAP: {"Maximum Outstanding Requests", "Request Expiration"},
}  # fmt: skip
_IGNORES: dict[str, dict[str, str | None]] = {
    LISTEN_HTTP: {"Authorized Subject DN Pattern": ".*", "Authorized Issuer DN Pattern": ".*", "HTTP Protocols": "HTTP_1_1",
                  "Max Unconfirmed Flowfile Time": None, "Request Header Maximum Size": None,
                  "Multipart Read Buffer Size": None, "Maximum Thread Pool Size": None, "Client Authentication": "AUTO"},
    HANDLE_REQUEST: {"Default URL Character Set": "UTF-8", "HTTP Protocols": "HTTP_1_1", "Maximum Threads": None,
                     "Request Header Maximum Size": None, "Client Authentication": "No Authentication",
                     "Container Queue Size": None, "Multipart Read Buffer Size": None},
    UNPACK: {"Filename Character Set": None, "File Filter": ".*", "Allow Stored Entries With Data Descriptor": None},
    MODIFY_BYTES: {"Start Offset": "0 B", "End Offset": "0 B"},
    UPDATE: {"Store State": "Do not store state", "Cache Value Lookup Cache Size": None},
}  # fmt: skip
_DYNAMIC = (HANDLE_RESPONSE, ROUTE)
_ANSWERS_AT_ONCE = 1_000


class Settings:
    """The set properties of a Java component, parameters filled in.

    Raises ConfigurationError, naming component, property and parameter, for a component or a property that is not
    stood in for and for a value that is not of its kind.
    """

    def __init__(self, component: Component, parameters: Parameters) -> None:
        if component.type not in _ACTS_ON:
            raise ConfigurationError(
                "flow", f"the standalone runner has no component {component.type} ({component.name})"
            )
        self.component = component
        self.values: dict[str, str] = {}
        ignored = _IGNORES.get(component.type, {})
        for name, raw in component.properties.items():
            value = resolve(raw, parameters)
            if value is None or value == "":
                continue
            if name in ignored:
                if ignored[name] not in (None, value):
                    raise ConfigurationError(
                        component.setting(name), f"the standalone runner only knows {ignored[name]!r}"
                    )
            elif name in _ACTS_ON[component.type] or component.type in _DYNAMIC:
                self.values[name] = value
            else:
                raise ConfigurationError(component.setting(name), "the standalone runner does not know this property")

    def text(self, name: str, default: str | None = None) -> str:
        value = self.values.get(name, default)
        if value is None:
            raise ConfigurationError(self.component.setting(name), "is required")
        return value

    def integer(self, name: str, low: int, high: int, default: str | None = None) -> int:
        text = self.text(name, default)
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ConfigurationError(self.component.setting(name), f"expected {low} to {high}, received {text!r}")
        return int(text)

    def size(self, name: str, default: str) -> int:
        return self._parsed(name, default, data_size)

    def seconds(self, name: str, default: str) -> float:
        return self._parsed(name, default, duration_s)

    def pattern(self, name: str, default: str) -> re.Pattern[str]:
        try:
            return re.compile(self.text(name, default))
        except re.error as err:
            raise ConfigurationError(self.component.setting(name), f"is not a regular expression: {err}") from err

    def dynamic(self) -> dict[str, str]:
        """The properties that the flow added to those the component has."""
        return {name: value for name, value in self.values.items() if name not in _ACTS_ON[self.component.type]}

    def _parsed(self, name: str, default: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(self.text(name, default))
        except ConfigurationError as err:
            raise ConfigurationError(self.component.setting(name), err.problem) from err


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back to a waiting client."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ContextMap:
    """Requests that wait for an answer, as StandardHttpContextMap holds them. Thread-safe."""

    def __init__(self, component: Component, parameters: Parameters) -> None:
        settings = Settings(component, parameters)
        self.expiration_s = settings.seconds("Request Expiration", "1 min")
        self.max_outstanding = settings.integer("Maximum Outstanding Requests", 1, 2**31 - 1, "5000")
        self._waiting: dict[str, asyncio.Future[Reply]] = {}

    def register(self, identifier: str) -> asyncio.Future[Reply] | None:
        """A future for the answer, or None when too many wait already. Called on the event loop."""
        if len(self._waiting) >= self.max_outstanding:
            return None
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[identifier] = future
        return future

    def forget(self, identifier: str) -> None:
        self._waiting.pop(identifier, None)

    def complete(self, replies: Sequence[tuple[str, Reply]]) -> list[bool]:
        """Hand over answers by identifier; False where nobody waits any more. Called from any thread."""
        pairs = [(self._waiting.pop(identifier, None), reply) for identifier, reply in replies]
        settled = [(future, reply) for future, reply in pairs if future is not None and not future.cancelled()]
        if settled:
            try:
                settled[0][0].get_loop().call_soon_threadsafe(_settle, settled)  # once: each call wakes the loop
            except RuntimeError:  # the loop is closed: we are shutting down
                return [False] * len(pairs)
        return [future is not None and not future.cancelled() for future, _ in pairs]


def handle_response(component: Component, parameters: Parameters, contexts: Callable[[str], ContextMap]) -> BatchWork:
    """HandleHttpResponse, for as many answers as there are."""
    settings = Settings(component, parameters)
    context_map = contexts(settings.text("HTTP Context Map"))
    status = compile_expression(settings.text("HTTP Status Code"), component.setting("HTTP Status Code"))
    pattern = settings.pattern("Attributes for HTTP Response", "(?!)")  # by default no attribute
    headers = {name: compile_expression(text, component.setting(name)) for name, text in settings.dynamic().items()}

    def reply(flow_file: FlowFile) -> tuple[str, Reply] | None:
        attributes = flow_file.attributes
        identifier, code = attributes.get("http.context.identifier"), status(attributes)
        if identifier is None or not code.isdecimal():
            return None
        sent = {name: value(attributes).strip() for name, value in headers.items()}
        sent |= {name: value for name, value in attributes.items() if pattern.fullmatch(name)}
        return identifier, Reply(int(code), {n: v for n, v in sent.items() if v}, flow_file.body or b"")

    def work(flow_files: Sequence[FlowFile]) -> Outcome:
        replies = [reply(flow_file) for flow_file in flow_files]
        deliveries = iter(context_map.complete([answer for answer in replies if answer is not None]))
        return [
            ("success" if answer is not None and next(deliveries) else "failure", flow_file)
            for answer, flow_file in zip(replies, flow_files, strict=True)
        ]

    return BatchWork(_ANSWERS_AT_ONCE, 1 << 30, work)


def route_on_attribute(component: Component, parameters: Parameters) -> Work:
    """RouteOnAttribute with the strategy "Route to Property name"."""
    settings = Settings(component, parameters)
    if settings.text("Routing Strategy", "Route to Property name") != "Route to Property name":
        raise ConfigurationError(
            component.setting("Routing Strategy"), "the standalone runner only routes to property names"
        )
    rules = {name: compile_expression(text, component.setting(name)) for name, text in settings.dynamic().items()}

    def work(flow_file: FlowFile) -> Outcome:
        matching = [name for name, rule in rules.items() if rule(SeenAttributes(flow_file)) == "true"]
        # A copy for each further match, as NiFi clones.
        return [(name, flow_file) for name in matching] or [("unmatched", flow_file)]

    return work


def package_flow_file(component: Component, parameters: Parameters) -> BatchWork:
    """PackageFlowFile: one package of whatever waits, within the limits."""
    settings = Settings(component, parameters)

    originals = "original" not in component.auto_terminated

    def work(flow_files: Sequence[FlowFile]) -> Outcome:
        package = Package([Packed(item.attributes, item.body or b"") for item in flow_files])
        # As NiFi: what they have in common are the package's attributes, too.
        common = dict(set.intersection(*(set(item.attributes.items()) for item in flow_files)))
        flow_file = FlowFile(
            {**common, "mime.type": MEDIA_TYPE}, None, package.size, joined(flow_files), {}, Carried(package)
        )
        return [("success", flow_file), *(("original", item) for item in flow_files if originals)]

    return BatchWork(
        settings.integer("Maximum Batch Size", 1, 10_000, "1"),
        settings.size("Maximum Batch Content Size", "1 GB"),
        work,
        carries=True,
    )


def unpack_content(component: Component, parameters: Parameters) -> Work:
    """UnpackContent for FlowFile packages."""
    settings = Settings(component, parameters)
    if settings.text("Packaging Format", "use mime.type attribute") != "flowfile-stream-v3":
        raise ConfigurationError(
            component.setting("Packaging Format"), "the standalone runner only knows packages of FlowFiles"
        )
    originals = "original" not in component.auto_terminated

    def work(flow_file: FlowFile) -> Outcome:
        try:
            packed = flow_file.packed
        except PackageBroken as err:
            log.error("%s: %s: %s", component.name, requests_in(flow_file), err)
            return [("failure", flow_file)]
        own = {name: text for name, text in flow_file.attributes.items() if name != RECORDS}
        members = [
            FlowFile({**own, **item.attributes}, bytes(item.content), len(item.content), flow_file.ticket)
            for item in packed
        ]
        return [*([("original", flow_file)] if originals else []), *(("success", item) for item in members)]

    return work


def update_attribute(component: Component, parameters: Parameters) -> Work:
    """UpdateAttribute, where it only deletes."""
    settings = Settings(component, parameters)
    unwanted = settings.pattern("Delete Attributes Expression", "(?!)")

    def work(flow_file: FlowFile) -> Outcome:
        attributes = {name: text for name, text in flow_file.attributes.items() if not unwanted.fullmatch(name)}
        carried = flow_file.carried
        if carried is not None and unwanted.fullmatch(RECORDS):
            carried = replace(carried, images=None)
        return [("success", replace(flow_file, attributes=attributes, retries={}, carried=carried))]

    return work


def modify_bytes(component: Component, parameters: Parameters) -> Work:
    """ModifyBytes, where it removes the content. What the steps have said of a package's images stays: it is an attribute."""
    settings = Settings(component, parameters)
    if settings.text("Remove All Content", "false") != "true":
        raise ConfigurationError(
            component.setting("Remove All Content"), "the standalone runner only removes the whole content"
        )

    def work(flow_file: FlowFile) -> Outcome:
        carried = flow_file.carried
        if carried is not None:
            events = None if carried.images is None else [(event, None) for event, _ in carried.images]
            carried = Carried(Package([]), events)
        content = b"" if carried is None else None
        return [("success", replace(flow_file, content=content, size=0, retries={}, carried=carried))]

    return work


def builders(contexts: Callable[[str], ContextMap]) -> dict[str, Callable[[Component, Parameters], Work | BatchWork]]:
    """What makes the work of each type of processor that takes FlowFiles. `contexts`: a context map by its identifier."""
    return {
        HANDLE_RESPONSE: lambda component, parameters: handle_response(component, parameters, contexts),
        ROUTE: route_on_attribute,
        PACKAGE: package_flow_file,
        UNPACK: unpack_content,
        MODIFY_BYTES: modify_bytes,
        UPDATE: update_attribute,
    }


def context_maps(flow: Flow, parameters: Parameters) -> dict[str, ContextMap]:
    """The flow's controller services by identifier. Raises ConfigurationError for any other kind of service."""
    return {c.identifier: ContextMap(c, parameters) for c in flow.components.values() if c.kind == "CONTROLLER_SERVICE"}


def _settle(replies: Sequence[tuple[asyncio.Future[Reply], Reply]]) -> None:
    for future, reply in replies:
        if not future.done():
            future.set_result(reply)
