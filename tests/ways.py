"""The way of requests through the five steps: what listeners make of them, packages, and the steps in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagewarehouse.flows.definition import Component, Retry
from imagewarehouse.ids import new_request_id, utc_now
from imagewarehouse.nifi import codec
from imagewarehouse.nifi.packages import Packed, read_package
from imagewarehouse.standalone import components
from imagewarehouse.standalone.flowfile import FlowFile, SeenAttributes, Ticket
from tests.conftest import Hosted, Left
from tests.test_processors import written

Host = Callable[..., Hosted]
Sent = tuple[Mapping[str, str], bytes]
IN_PACKAGES = {codec.SETTING: "true"}


# --- requests -----------------------------------------------------------------------------------------------------


def awaited(content_type: str | None = "image/png", **more: str) -> dict[str, str]:
    """As HandleHttpRequest leaves them: a client waits."""
    identifier = new_request_id(utc_now())
    attributes = {
        "http.context.identifier": identifier,
        "http.method": "POST",
        "http.remote.addr": "203.0.113.9",
        "uuid": identifier,
        "filename": identifier,
        **more,
    }
    if content_type is not None:
        attributes |= {"mime.type": content_type, "http.headers.Content-Type": content_type}
    return attributes


def listened(content_type: str | None = "image/png", **more: str) -> dict[str, str]:
    """As ListenHTTP leaves them: nobody waits."""
    identifier = new_request_id(utc_now())
    attributes = {
        "restlistener.remote.source.host": "203.0.113.9",
        "restlistener.remote.user.dn": "none",
        "uuid": identifier,
        "filename": identifier,
        **more,
    }
    if content_type is not None:
        attributes["Content-Type"] = content_type
    return attributes


def packaged_flow_file(sent: Iterable[Sent]) -> FlowFile:
    """The package that the flow makes of them, as it is inside one process."""
    component = Component("gather", "gather", "PROCESSOR", components.PACKAGE, ("", "", ""), (),
                          {"Maximum Batch Size": "10000"}, frozenset(), frozenset({"original"}), 1, 0, 0,
                          Retry(0, frozenset(), 0, True), True)  # fmt: skip
    flow_files = [FlowFile(attributes, content, len(content), Ticket()) for attributes, content in sent]
    ((_, made),) = components.package_flow_file(component, {}).work(flow_files)
    return made


def package(sent: Iterable[Sent]) -> tuple[bytes, dict[str, str]]:
    """(content, attributes) of the package that the flow makes of them."""
    made = packaged_flow_file(sent)
    assert made.body is not None
    return made.body, dict(made.attributes)


def records(left: Left) -> list[dict[str, str]]:
    found: list[dict[str, str]] = codec.read_records(left.attributes[codec.RECORDS])
    return found


def column(left: Left, name: str) -> list[str]:
    return [record.get(name, "") for record in records(left)]


def as_left(relationship: str, flow_file: FlowFile) -> Left:
    """A FlowFile of one process as NiFi would see it."""
    return Left(relationship, dict(SeenAttributes(flow_file)), flow_file.body, flow_file.attributes)


# --- the whole way ------------------------------------------------------------------------------------------------


@dataclass
class Way:
    """The five steps as the flow connects them."""

    steps: dict[str, Hosted]
    passed: list[tuple[str, Left]] = field(default_factory=list)

    def run(self, content: bytes, attributes: Mapping[str, str], size: int | None = None) -> Left:
        """How a FlowFile leaves its last step, or the step that wants to see it again."""
        names = list(self.steps)
        left = Left("", attributes, content, {})
        self.passed = []
        number: int | None = 0
        while number is not None:
            left = self.steps[names[number]].transform(left.content, left.attributes, size)
            size = None
            self.passed.append((names[number], left))
            number = self._next(number, left.relationship)
        return left

    def carry(self, flow_file: FlowFile) -> FlowFile:
        """As `run`, the way the standalone runner does it: a package is not turned into text."""
        names = list(self.steps)
        self.passed = []
        number: int | None = 0
        while number is not None:
            ((relationship, flow_file),) = self.steps[names[number]].host.work(flow_file)
            self.passed.append((names[number], as_left(relationship, flow_file)))
            number = self._next(number, relationship)
        return flow_file

    def _next(self, number: int, relationship: str) -> int | None:
        last = len(self.steps) - 1
        if number == last or relationship == "retry":
            return None
        if relationship == "failure" or (relationship == "rejected" and number > 0):
            return last
        return number + 1

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["request_id"]: row for row in written(self.steps["PutKuduRecord"])}

    def ways(self) -> list[str]:
        return [left.relationship for _, left in self.passed]


MakeWay = Callable[..., Way]


def make_way(hosted: Host, folder: Path, model: Path, settings: Mapping[str, Mapping[str, str]], packages: bool) -> Way:
    own: dict[str, dict[str, str]] = {
        "FilterImageRequest": {},
        "EnrichImageMetadata": {},
        "StoreImage": {"Store URI": str(folder / "objects")},
        "ClassifyImage": {"Model Folder": str(model)},
        "PutKuduRecord": {"Local Database": str(folder / "rows.duckdb")},
    }
    mode = {codec.SETTING: str(packages).lower()}
    return Way({name: hosted(name, {**own[name], **mode, **settings.get(name, {})}) for name in own})


def answers(left: Left) -> dict[str, Packed]:
    """What UnpackContent makes of the answers, by the client that waits."""
    assert left.content is not None
    found = [
        Packed({**left.attributes, **packed.attributes}, bytes(packed.content)) for packed in read_package(left.content)
    ]
    return {packed.attributes["http.context.identifier"]: packed for packed in found}
