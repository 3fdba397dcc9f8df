"""One call, many images: a processor's work for one FlowFile, done for each FlowFile of a package.

A package crosses every step of the flow unchanged. What the steps say of its FlowFiles goes into one attribute of the
package, RECORDS: a JSON list with an object for each FlowFile, holding the attributes that it would carry by itself. So
a step costs NiFi one FlowFile, one attribute and at most one read of the content, however many images there are, and
no image is written back through the bridge. The last step makes the answers a package of their own.

NiFi writes an attribute down at each step, in its FlowFile repository and twice in its provenance, so that the records of
many images are deflated: a sixth of NiFi's work for an image, measured. Those of a few stay readable.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from imagewarehouse.errors import PackageBroken, WarehouseError, all_errors
from imagewarehouse.metadata import COLUMNS, FAILED, REJECTED
from imagewarehouse.nifi import bridge
from imagewarehouse.nifi.adapter import boolean, failed, log
from imagewarehouse.nifi.listeners import CHECKED, ORIGIN
from imagewarehouse.nifi.packages import Packed, read_package, write_package

RECORDS = "package.records"
_READABLE = 4_000  # characters of records that an operator finds as plain JSON
_DEFLATED = "deflate:"
SETTING = "FlowFile Packages"  # a processor's property

# A package longer than this holds one FlowFile: the gathering step stops at fewer megabytes. If it is far over the limit on
# images, too, it is judged by its size and never read; its attributes are those of the FlowFile in it.
LARGE = 64 << 20
_UNEXPECTED = "an unexpected error, see the log"
_TRIED_AGAIN = {"failure", "refused"}  # what the flow sends to the same step again, for some seconds
_OURS = frozenset(column.name for column in COLUMNS)


class Result(Protocol):
    """What `transform` gives back: NiFi's FlowFileTransformResult."""

    relationship: str
    attributes: dict[str, str] | None
    contents: bytes | None


class Package:
    """A FlowFile that holds FlowFiles. Its content is only read when something in it is asked for."""

    def __init__(self, flow_file: Any, *, first: bool = False, most: int = 0) -> None:
        """`first`: no step of ours came before, and what looks so was brought along by a sender of packages. `most`: bytes
        that the first step reads, if that is more than 64 MB. Later steps read what the first one let pass.

        Raises: PackageBroken.
        """
        self._flow_file = flow_file
        self._most = max(LARGE, most) if first else None
        self.records: list[dict[str, str]]
        text = None if first else bridge.text_attribute(flow_file, RECORDS)
        if text:
            self.records = read_records(text)
        else:  # what later steps want to know of the listener, so that they need not read the package for it
            # No id yet, and the sender's is none: it would name a row to overwrite, should the first step trip over an image.
            known = {"request_id": ""} if first else {}
            count = 1 if self.unread else len(self.packed)
            self.records = [
                {name: self.attributes(number).get(name) or "" for name in ORIGIN} | known for number in range(count)
            ]

    @cached_property
    def size(self) -> int:
        """Bytes of the whole package."""
        return int(self._flow_file.getSize())

    @property
    def unread(self) -> bool:
        """Whether it holds one body that is too long to be looked at: there are no bytes of it here."""
        return self._most is not None and self.size > self._most

    @cached_property
    def packed(self) -> Sequence[Packed]:
        """The FlowFiles, with their bytes. Raises PackageBroken."""
        if self.unread:
            raise PackageBroken(f"{self.size} bytes: not read, at most {self._most} are")
        found = read_package(bridge.read(self._flow_file))
        if "records" in self.__dict__ and len(found) != len(self.records):
            raise PackageBroken(f"{RECORDS} speaks of {len(self.records)} FlowFiles, the package holds {len(found)}")
        return found

    def attributes(self, number: int) -> Mapping[str, str]:
        """What the listener said of a FlowFile. A large one alone is not read for it: the package has its attributes."""
        alone = self.unread or ("packed" not in self.__dict__ and len(self.records) == 1 and self.size > LARGE)
        return _Attributes(self._flow_file) if alone else self.packed[number].attributes

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Member]:
        return (Member(self, number) for number in range(len(self)))

    def records_text(self) -> str:
        text = json.dumps(self.records, separators=(",", ":"))
        if len(text) <= _READABLE:
            return text
        return _DEFLATED + base64.b64encode(zlib.compress(text.encode(), 1)).decode()

    def with_contents(self, contents: Mapping[int, bytes]) -> bytes:
        """The package with other contents for the FlowFiles of these numbers."""
        return write_package(
            Packed(packed.attributes, contents.get(number, packed.content)) for number, packed in enumerate(self.packed)
        )


class _Attributes(Mapping[str, str]):
    """Attributes of the one FlowFile in a package that is not read; asked for by name."""

    def __init__(self, flow_file: Any) -> None:
        self._flow_file = flow_file

    def __getitem__(self, name: str) -> str:
        found: str | None = self._flow_file.getAttribute(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._flow_file.getAttributes()))

    def __len__(self) -> int:
        return len(self._flow_file.getAttributes())


def read_records(text: str) -> list[dict[str, str]]:
    """What `Package.records_text` wrote. Raises PackageBroken."""
    try:
        if text.startswith(_DEFLATED):
            inflate = zlib.decompressobj()
            inflated = inflate.decompress(base64.b64decode(text.removeprefix(_DEFLATED)), LARGE)
            if not inflate.eof:  # cut short, or a bomb in a flow without the check in front
                raise PackageBroken(f"{RECORDS}: does not end within {LARGE >> 20} MB")
            text = inflated.decode()
        found: list[dict[str, str]] = json.loads(text)
    except (ValueError, binascii.Error, zlib.error) as err:
        raise PackageBroken(f"{RECORDS}: {err}") from err
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise PackageBroken(f"{RECORDS}: expected a list of objects")
    return found


class Member:
    """A FlowFile of a package, with the methods of NiFi's InputFlowFile; none of them costs a round trip."""

    __slots__ = ("_package", "number")

    def __init__(self, package: Package, number: int) -> None:
        self._package = package
        self.number = number

    @property
    def record(self) -> dict[str, str]:
        return self._package.records[self.number]

    def getAttribute(self, name: str) -> str | None:
        record = self.record
        # Once the filter has spoken, what a record lacks is not there, whatever a sender of packages wrote beside it.
        if name in record or (name in _OURS and "request_id" in record):
            return record.get(name)
        return self._package.attributes(self.number).get(name)

    def getAttributes(self) -> dict[str, str]:
        return {**self._package.attributes(self.number), **self.record}

    def getSize(self) -> int:
        package = self._package
        if not package.unread:
            return len(package.packed[self.number].content)
        told = package.attributes(self.number).get("http.headers.Content-Length") or ""
        return int(told) if told.isdecimal() and len(told) < 19 and int(told) <= package.size else package.size

    def getContentsAsBytes(self) -> bytes:
        """Raises PackageBroken where the bytes are not here: nothing else is ever given in their place."""
        return bytes(self._package.packed[self.number].content)


def requests_in(get: Callable[[str], str | None]) -> str:
    """The requests in a FlowFile by their ids, for a line of a log."""
    try:
        records = read_records(get(RECORDS) or "[]")
    except PackageBroken:
        records = []
    found = [record.get("request_id") for record in records] or [get("request_id")]
    ids = [request_id for request_id in found if request_id]
    return f"request {', '.join(ids)}" if ids else "a request without an id"


def has_ended(image: Any) -> bool:
    """Whether an earlier step rejected it or failed at it: the rest of the way it is only carried along."""
    return image.getAttribute("status") in (REJECTED, FAILED)


def transform(
    context: Any,
    flow_file: Any,
    work: Callable[[Sequence[Any]], Iterable[Result]],
    result: Callable[..., Result],
    *,
    first: bool = False,
    everyone: bool = False,
    most: int = 0,
) -> Result:
    """A processor's result for one FlowFile: an image, or a package of them where the processor is set so.

    Args: work: a result for each FlowFile it is given. result: makes one. first, everyone: see `Package` and `each`.
    """
    if not boolean(context, SETTING):
        if not everyone and has_ended(flow_file) and flow_file.getAttribute("request_id"):  # not somebody else's status
            return result(relationship="success")
        (found,) = work([flow_file])
        return bridge.send_attributes_together(found, flow_file)
    try:
        return bridge.send_attributes_together(
            each(Package(flow_file, first=first, most=most), work, result, everyone=everyone), flow_file
        )
    except PackageBroken as err:
        log.error("%s: %s is true, but: %s", requests_in(flow_file.getAttribute), SETTING, err)
        forget = {RECORDS: ""} if first else {}  # the sender's, which no step has looked at
        return result(relationship="failure", attributes=failed(err) | forget)


def each(
    package: Package,
    work: Callable[[Sequence[Member]], Iterable[Result]],
    result: Callable[..., Result],
    *,
    everyone: bool = False,
    fatal: str | None = None,
) -> Result:
    """A step's result for a package: what `work` says of the FlowFiles in it.

    The package goes where all of them go. Where they differ it goes on, `success`: the record of each says what became of
    it. So it does where all have failed for good: `failure` is for what another try may change, of which the end of
    this process in the middle of a call is one; NiFi takes the FlowFile there as it was. But if a single one may pass at
    another try the package goes where that one would go alone, and the whole package is tried again as it came: every
    step may be done twice.

    Args: work: a result for each member it is given, in their order. result: makes a result. everyone: also those that
        an earlier step has ended. fatal: a way that all take if one does.
    """
    members = [member for member in package if everyone or not has_ended(member)]
    found = _guarded(work, members, result)
    ways = {item.relationship for item in found}
    if "retry" in ways:
        return result(relationship="retry")
    if fatal in ways:
        ways = {fatal}
    elif again := {item.relationship for item in found if item.relationship in _TRIED_AGAIN and _may_pass(item)}:
        ways = {again.pop()}
    elif ways <= _TRIED_AGAIN:
        ways = {"success"}
    contents: dict[int, bytes] = {}
    for member, item in zip(members, found, strict=True):
        member.record.update(item.attributes or {})
        if item.contents is not None:
            contents[member.number] = item.contents
    return result(
        relationship=ways.pop() if len(ways) == 1 else "success",
        attributes={RECORDS: package.records_text(), **_hidden(found)},
        contents=package.with_contents(contents) if contents else None,
    )


def _may_pass(item: Result) -> bool:
    return all_errors().get((item.attributes or {}).get("error_code", ""), WarehouseError).retryable


def _guarded(
    work: Callable[[Sequence[Member]], Iterable[Result]], members: Sequence[Member], result: Callable[..., Result]
) -> list[Result]:
    """An image that trips our code must not take the others of its package along."""
    if not members:
        return []
    try:
        return list(work(members))
    except Exception:  # noqa: BLE001 - re-raised as the failure of the one image that it belongs to
        if len(members) > 1:
            return [found for member in members for found in _guarded(work, [member], result)]
        log.exception("request %s", members[0].getAttribute("request_id"))
        return [result(relationship="failure", attributes=failed(WarehouseError(_UNEXPECTED)))]


def _hidden(found: Iterable[Result]) -> dict[str, str]:
    """A package has the attributes that all its FlowFiles had in common, so a credential may stand there as well."""
    return {name: value for item in found for name, value in (item.attributes or {}).items() if value == CHECKED}
