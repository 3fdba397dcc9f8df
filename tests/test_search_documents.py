"""Records as documents of the index and back, words as its terms, and what was found in a text."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address, ip_network

import orjson
import pytest

from imagewarehouse.metadata import ImageRecord, json_values
from imagewarehouse.search.documents import (
    address_digits,
    document,
    network_digits,
    record_values,
    tenth,
    vector,
)
from imagewarehouse.search.highlights import END, MARK, highlights
from imagewarehouse.search.query import SHOWN
from imagewarehouse.search.terms import letter_terms, pieces, terms
from imagewarehouse.search.words import words_of
from tests.search_indexes import record
from tests.solr_images import many_records


@pytest.mark.parametrize("made", many_records(60, seed=5), ids=range(60))
def test_a_record_comes_back_from_its_document(made: ImageRecord) -> None:
    made = replace(made, confidence=made.confidence and float(f"{made.confidence:.3f}"))
    kept = orjson.loads(orjson.dumps(document(made)))  # as it travels
    expected = json_values({name: getattr(made, name) for name in SHOWN})
    back = record_values(kept)
    assert list(back) == list(SHOWN)
    assert back.pop("confidence") == pytest.approx(expected.pop("confidence"), abs=1e-7)
    assert back == expected


def test_a_time_keeps_its_microseconds_in_any_zone() -> None:
    moment = datetime(2026, 12, 1, 1, 30, 0, 123_457, tzinfo=timezone(timedelta(hours=2)))
    made = document(replace(record(), event_time=moment))
    assert (made["event_time"], made["day"]) == ("2026-11-30T23:30:00.123457Z", "2026-11-30")
    assert record_values(made)["event_time"] == "2026-11-30T23:30:00.123457Z"


@pytest.mark.parametrize(
    "broken", [{"fields": "{"}, {"notes": "["}, {"top_k": "7"}, {"top_k": "[{}]"}, {"fields": "[]"}]
)
def test_json_that_is_none_is_no_document(broken: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expect|JSON|input|unexpected|EOF|end"):
        document(record(**broken))


def test_a_vector_is_filled_up_and_one_without_a_direction_left_out() -> None:
    made = document(record(embedding=bytes([1, 255, 128])))
    assert made["embedding"] == [1, -1, -128, *[0] * 125]
    assert made["embedding_width"] == 3
    assert not {"embedding", "embedding_width"} & document(record(embedding=bytes(16))).keys()
    with pytest.raises(ValueError, match="at most 128 bytes, received 129"):
        vector(bytes(129))


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        (
            "10.0.0.0/8",
            ["10.0.0.0", "10.255.255.255", "10.9.100.7"],
            ["9.255.255.255", "11.0.0.0", "::ffff:10.0.0.1", "a00::"],
        ),
        ("192.168.1.64/27", ["192.168.1.64", "192.168.1.95"], ["192.168.1.63", "192.168.1.96"]),
        ("0.0.0.0/0", ["0.0.0.1", "255.255.255.255"], ["::", "::1"]),
        ("::/0", ["::", "2001:db8::1", "fe80::1%eth0"], ["1.2.3.4"]),
        ("2001:db8::/33", ["2001:db8::", "2001:db8:7fff::1"], ["2001:db8:8000::", "2001:db7:ffff::"]),
    ],
)
def test_a_network_is_one_range(network: str, inside: list[str], outside: list[str]) -> None:
    first, last = network_digits(ip_network(network))
    for address in inside:
        assert first <= str(address_digits(address)) <= last, address
    for address in outside:
        assert not first <= str(address_digits(address)) <= last, address


def test_digits_of_addresses_are_in_their_order() -> None:
    addresses = [ip_address(n) for n in (0, 9, 255, 256, 10_000_000, 2**32 - 1)] + [
        ip_address(f"::{n:x}") for n in (0, 10, 256)
    ]
    digits = [str(address_digits(str(address))) for address in addresses]
    assert digits == sorted(digits)
    assert address_digits("unknown") is None


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0.0, "0.0"), (0.1, "0.1"), (0.3, "0.3"), (0.7, "0.7"), (0.89999, "0.8"), (0.9, "0.9"), (1.0, "0.9")],
)
def test_tenths(confidence: float, expected: str) -> None:
    assert tenth(confidence) == expected


# --- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("IMG_2024-05-01.jpg", ["img", "2024", "05", "01", "jpg"], id="camera"),
        pytest.param("DSC0042", ["dsc", "dsc0042", "0042"], id="letters-and-digits"),
        pytest.param("Übergröße", ["ubergrosse"], id="accents"),
        pytest.param(unicodedata.normalize("NFD", "Über"), ["uber"], id="decomposed"),
        pytest.param("卡车a", ["卡", "卡车", "卡车a", "车", "车a", "a"], id="without-spaces"),
        pytest.param("a" * 10_000, ["a" * 255], id="very-long"),
        pytest.param("\x00\u202e*:* {!lucene} \\", ["lucene"], id="hostile"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms([text]) == expected


def test_a_text_of_many_parts_has_few_terms_for_each() -> None:
    text = "a1" * 5_000
    assert len(terms([text])) <= 8
    assert len(terms([" ".join(f"a{n}b{n}" for n in range(1000))])) <= 8 * 2000
    assert letter_terms(["a1b22c 中文"]) == ["a", "b", "c"]


def test_a_word_of_many_parts_is_looked_for_in_pieces() -> None:
    assert pieces("truck") == ["truck"]
    assert pieces("a1b2c3") == ["a1b2", "1b2c", "b2c3"]
    assert set(pieces("a1b2c3")) <= set(terms(["xx-a1b2c3d4.gif"]))


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        pytest.param("truck", "01truck.jpg", "01[truck].jpg", id="same"),
        pytest.param("truck", "Trucks at night", "[Truck]s at night", id="beginning"),
        pytest.param("trukc", "a TRUCK, a trucker", "a [TRUCK], a trucker", id="mistyped"),
        pytest.param("uber night", unicodedata.normalize("NFD", "Über Night"), "[Über] [Night]", id="accents"),
        pytest.param("strasse", "Lange Straße 7", "Lange [Straße] 7", id="sharp-s"),
        pytest.param("卡车", "红色卡车01", "红色[卡车]01", id="without-spaces"),
        pytest.param("dsc0042", "DSC0042.JPG", "[DSC0042].JPG", id="letters-and-digits"),
        pytest.param("truck", f"{MARK}truck{END} <b>", "[truck] <b>", id="marks-of-others"),
        pytest.param("uck", "truck", None, id="not-in-the-middle"),
        pytest.param("", "truck", None, id="no-words"),
    ],
)
def test_what_was_found_is_marked(words: str, text: str, expected: str | None) -> None:
    found = highlights({"file_name": text, "source_user": None}, words_of(words))
    shown = {
        name: [unicodedata.normalize("NFC", one).replace(MARK, "[").replace(END, "]") for one in texts]
        for name, texts in found.items()
    }
    assert shown == ({} if expected is None else {"file_name": [expected]})


def test_texts_of_the_form_are_marked_without_their_names() -> None:
    values = {"fields": {"truck": "blue", "note": "a truck"}, "predicted_class": "truck"}
    assert highlights(values, ("truck",)) == {
        "predicted_class": [f"{MARK}truck{END}"],
        "fields": [f"a {MARK}truck{END}"],
    }
