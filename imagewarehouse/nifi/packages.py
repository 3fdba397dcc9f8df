"""FlowFile packages: many FlowFiles with their attributes in one content (FlowFile Stream, version 3).

NiFi's PackageFlowFile makes them, UnpackContent takes them apart. A step that is given a package pays NiFi's price of a
FlowFile once for all the images in it. Layout, for each FlowFile: `NiFiFF3`, the number of attributes, each one's name
and value as length and UTF-8, the content's length in 8 bytes, the content. Lengths have 2 bytes, or FF FF and 4 more.
Source: nifi-flowfile-packager, FlowFilePackagerV3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from imagewarehouse.errors import PackageBroken

MEDIA_TYPE = "application/flowfile-v3"
MAGIC = b"NiFiFF3"
_LONG = 0xFFFF


@dataclass(frozen=True, slots=True)
class Packed:
    """One FlowFile of a package. `content` is a part of the package's bytes, not a copy of them."""

    attributes: Mapping[str, str]
    content: memoryview | bytes = field(repr=False)


class Package:
    """FlowFiles as one content; turned into bytes where somebody asks for them."""

    __slots__ = ("flow_files", "size")

    def __init__(self, flow_files: Sequence[Packed]) -> None:
        self.flow_files = flow_files
        self.size = sum(len(flow_file.content) for flow_file in flow_files)  # bytes, attributes not counted

    def __bytes__(self) -> bytes:
        return write_package(self.flow_files)


def read_package(data: bytes) -> list[Packed]:
    """The FlowFiles of a package in their order; none of an empty one.

    Raises: PackageBroken: it is none, or it ends too early.
    """
    packed, at = [], 0
    view = memoryview(data)
    while at < len(data):
        if data[at : at + len(MAGIC)] != MAGIC:
            raise PackageBroken(f"expected a FlowFile at byte {at} of {len(data)}, found {data[at : at + 8]!r}")
        at += len(MAGIC)
        count, at = _length(data, at)
        attributes = {}
        for _ in range(count):
            name, at = _text(data, at)
            attributes[name], at = _text(data, at)
        size = int.from_bytes(_exactly(data, at, 8), "big")
        at += 8
        if at + size > len(data):
            raise PackageBroken(f"a content of {size} bytes begins at byte {at} of {len(data)}")
        packed.append(Packed(attributes, view[at : at + size]))
        at += size
    return packed


def write_package(flow_files: Iterable[Packed]) -> bytes:
    """The reverse of `read_package`."""
    out = bytearray()
    for flow_file in flow_files:
        out += MAGIC + _encoded_length(len(flow_file.attributes))
        for text in (text for pair in flow_file.attributes.items() for text in pair):
            encoded = text.encode("utf-8", "replace")  # a header may hold bytes that are no text; Java writes ? as well
            out += _encoded_length(len(encoded)) + encoded
        out += len(flow_file.content).to_bytes(8, "big")
        out += flow_file.content
    return bytes(out)


def _length(data: bytes, at: int) -> tuple[int, int]:
    """(length, where it ends)"""
    short = int.from_bytes(_exactly(data, at, 2), "big")
    if short != _LONG:
        return short, at + 2
    return int.from_bytes(_exactly(data, at + 2, 4), "big"), at + 6


def _text(data: bytes, at: int) -> tuple[str, int]:
    size, at = _length(data, at)
    try:
        return _exactly(data, at, size).decode(), at + size
    except UnicodeDecodeError as err:
        raise PackageBroken(f"the attribute at byte {at} is not UTF-8") from err


def _exactly(data: bytes, at: int, size: int) -> bytes:
    part = data[at : at + size]
    if len(part) != size:
        raise PackageBroken(f"ends at byte {len(data)}, in the middle of a FlowFile")
    return part


def _encoded_length(size: int) -> bytes:
    return size.to_bytes(2, "big") if size < _LONG else b"\xff\xff" + size.to_bytes(4, "big")
