"""FlowFile packages: what is written is read back as it was, and whatever is none is refused as that and nothing else."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagewarehouse.errors import PackageBroken, WarehouseError
from imagewarehouse.nifi.packages import MAGIC, Packed, read_package, write_package

Plain = list[tuple[dict[str, str], bytes]]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
flow_files = st.lists(st.tuples(st.dictionaries(texts, texts, max_size=6), st.binary(max_size=300)), max_size=5)


def plain(data: bytes) -> Plain:
    return [(dict(packed.attributes), bytes(packed.content)) for packed in read_package(data)]


def package(*items: tuple[Mapping[str, str], bytes]) -> bytes:
    return write_package(Packed(attributes, content) for attributes, content in items)


# --- there and back -----------------------------------------------------------------------------------------------


def test_the_layout_is_read_and_written_byte_for_byte() -> None:
    name = "ä.png".encode()
    by_hand = (
        b"NiFiFF3\x00\x02\x00\x04path\x00\x02./\x00\x08filename\x00\x06" + name
        + b"\x00\x00\x00\x00\x00\x00\x00\x05first"
        + b"NiFiFF3\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    )  # fmt: skip
    items: Plain = [({"path": "./", "filename": "ä.png"}, b"first"), ({}, b"")]
    assert plain(by_hand) == items
    assert package(*items) == by_hand


def test_an_empty_package_holds_nothing() -> None:
    assert read_package(b"") == []
    assert write_package([]) == b""


@given(flow_files)
def test_what_is_written_is_read_back(items: Plain) -> None:
    assert plain(package(*items)) == items


@given(flow_files, flow_files)
def test_packages_one_behind_the_other_are_one_package(first: Plain, second: Plain) -> None:
    assert plain(package(*first) + package(*second)) == first + second


@pytest.mark.parametrize("length", [0, 1, 65_534, 65_535, 65_536, 200_000])
@pytest.mark.parametrize("letter", ["x", "ä", "\U0001f41e"], ids=["1-byte", "2-bytes", "4-bytes"])
def test_attributes_of_every_length_are_read_back(length: int, letter: str) -> None:
    text = letter * (length // len(letter.encode())) + "x" * (length % len(letter.encode()))
    assert len(text.encode()) == length
    items: Plain = [({text: "value", "name": text}, b"content"), ({"after": "it"}, b"")]
    assert plain(package(*items)) == items


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536, 70_000])
def test_any_number_of_attributes_is_read_back(count: int) -> None:
    items: Plain = [({str(number): "" for number in range(count)}, b"content"), ({"after": "it"}, b"")]
    assert plain(package(*items)) == items


def test_any_number_of_flow_files_is_read_back() -> None:
    items: Plain = [({"number": str(number)}, bytes([number % 256]) * (number % 7)) for number in range(10_000)]
    assert plain(package(*items)) == items


def test_a_content_that_looks_like_a_package_stays_a_content() -> None:
    inner = package(({"a": "b"}, b"c"))
    items: Plain = [({}, inner), ({}, MAGIC), ({"magic": MAGIC.decode()}, MAGIC * 3)]
    assert plain(package(*items)) == items


def test_contents_are_parts_of_the_package_not_copies() -> None:
    data = package(({}, bytes(20 << 20)), ({}, bytes(20 << 20)))
    tracemalloc.start()
    try:
        found = read_package(data)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(packed.content) for packed in found] == [20 << 20] * 2
    assert max(held, peak) < 1 << 20


def test_what_is_no_text_is_written_as_java_writes_it() -> None:
    """aiohttp gives the bytes of a header that are no UTF-8 as lone surrogates."""
    data = package(({"filename": "a\udcff.png", "\ud800": "\U0001f41e"}, b"x"))
    assert plain(data) == [({"filename": "a?.png", "?": "\U0001f41e"}, b"x")]


def test_what_was_read_can_be_written_again() -> None:
    data = package(({"a": "1"}, b"first"), ({"b": "2"}, b"second"))
    assert write_package(read_package(data)) == data


# --- what is no package -------------------------------------------------------------------------------------------


def length8(size: int) -> bytes:
    return size.to_bytes(8, "big")


NO_PACKAGES = [
    pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(100), id="a-picture"),
    pytest.param(b"{}", id="json"),
    pytest.param(bytes(1000), id="zeros"),
    pytest.param(b"NiFiFF2" + bytes(10), id="another-version"),
    pytest.param(b"nififf3" + bytes(10), id="magic-in-small-letters"),
    pytest.param(b" " + package(({}, b"x")), id="something-before-it"),
    pytest.param(package(({}, b"x")) + b"\n", id="something-behind-it"),
    pytest.param(MAGIC + b"\x00\x00" + length8(2**64 - 1), id="longest-content-there-is"),
    pytest.param(MAGIC + b"\x00\x00" + length8(2**63), id="negative-length-to-java"),
    pytest.param(MAGIC + b"\x00\x00" + length8(5) + b"four", id="content-one-byte-short"),
    pytest.param(MAGIC + b"\xff\xff\xff\xff\xff\xff" + bytes(100), id="four-billion-attributes"),
    pytest.param(MAGIC + b"\xff\xff\xff\xff\xff\xff", id="four-billion-attributes-and-none"),
    pytest.param(MAGIC + b"\x00\x01\xff\xff\xff\xff\xff\xffname", id="name-of-4-GB"),
    pytest.param(MAGIC + b"\x00\x01\x00\x01a\xff\xff\x7f\xff\xff\xffvalue", id="value-of-2-GB"),
    pytest.param(MAGIC + b"\x00\x01\x00\x01\xff\x00\x00" + length8(0), id="name-is-no-text"),
    pytest.param(MAGIC + b"\x00\x01\x00\x01a\x00\x02\xc3\x28" + length8(0), id="value-is-no-text"),
    pytest.param(MAGIC + b"\x00\x01\x00\x01a\x00\x03\xed\xa0\x80" + length8(0), id="value-is-half-a-surrogate-pair"),
    pytest.param(MAGIC + b"\x00\x01\x00\x01a\x00\x02\xc0\x80" + length8(0), id="value-in-overlong-utf-8"),
]  # fmt: skip


@pytest.mark.parametrize("data", NO_PACKAGES)
def test_what_is_no_package_is_refused(data: bytes) -> None:
    with pytest.raises(PackageBroken) as caught:
        read_package(data)
    assert isinstance(caught.value, WarehouseError)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("data", NO_PACKAGES)
def test_what_is_refused_costs_no_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(PackageBroken):
            read_package(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


LONG = package(({"a": "x" * 65_535, "ä": ""}, b"first"), ({}, b""), ({"b": "ü"}, MAGIC))
BOUNDARIES = {0, len(LONG)} | {
    len(package(*items))
    for items in (
        [({"a": "x" * 65_535, "ä": ""}, b"first")],
        [({"a": "x" * 65_535, "ä": ""}, b"first"), ({}, b"")],
    )
}


def test_every_cut_is_refused_unless_it_falls_between_two_flow_files() -> None:
    whole = plain(LONG)
    # Not each of the 65,535 letters: they are all alike.
    for end in (*range(200), *range(60_000, 60_100), *range(len(LONG) - 200, len(LONG) + 1)):
        if end in BOUNDARIES:
            assert plain(LONG[:end]) == whole[: len(plain(LONG[:end]))]
        else:
            with pytest.raises(PackageBroken):
                read_package(LONG[:end])


def test_a_changed_byte_is_read_or_refused_but_nothing_else() -> None:
    """A seeded search for other exceptions: such a package would come back for ever."""
    data = package(
        ({"filename": "ä.png", "mime.type": "image/png"}, bytes(50)), ({"a": "b" * 300}, b"second"), ({}, b"")
    )
    random = np.random.default_rng(11)
    refused = 0
    for at in range(len(data)):
        for value in {0, 1, 0x7F, 0x80, 0xFF, data[at] ^ 1, int(random.integers(256))} - {data[at]}:
            changed = bytearray(data)
            changed[at] = value
            try:
                read_package(bytes(changed))
            except PackageBroken:
                refused += 1
    assert refused > len(data)


pieces_of_packages = st.sampled_from([MAGIC, b"\x00\x00", b"\x00\x01", b"\xff\xff", bytes(8), length8(1), b"a"])


@settings(max_examples=300)
@given(st.lists(pieces_of_packages | st.binary(max_size=4), max_size=12))
def test_pieces_of_packages_are_read_or_refused_but_nothing_else(pieces: list[bytes]) -> None:
    try:
        found = read_package(b"".join(pieces))
    except PackageBroken:
        return
    assert plain(write_package(found)) == [(dict(packed.attributes), bytes(packed.content)) for packed in found]
