"""Forms: taken apart by the parser, and what the first step makes of them, whole or as NiFi takes them apart."""

from __future__ import annotations

import base64
import json
import random
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagewarehouse.errors import ConfigurationError, MalformedMultipart
from imagewarehouse.forms import (
    MAX_FIELD,
    MAX_FIELDS,
    MAX_HEADERS,
    MAX_PARTS,
    Form,
    FormFile,
    kept_fields,
    parse_field_names,
    parse_form,
)
from imagewarehouse.ids import new_request_id, request_id_from_key
from imagewarehouse.models.classifier import Classifier
from imagewarehouse.nifi import adapter
from imagewarehouse.nifi.packages import read_package
from tests import hostile
from tests.conftest import Hosted
from tests.forms import BOUNDARY, COVERED, EMPTY_INPUT, FORM, file, form, part, text
from tests.ways import (
    IN_PACKAGES,
    Way,
    answers,
    awaited,
    column,
    listened,
    make_way,
    package,
    packaged_flow_file,
    records,
)

Host = Callable[..., Hosted]
Picture = Callable[..., bytes]


def parsed(*parts: bytes, content_type: str = FORM) -> Form:
    return parse_form(form(parts), content_type)


def names(*parts: bytes, content_type: str = FORM) -> list[str | None]:
    return [one.file_name for one in parsed(*parts, content_type=content_type).files]


# --- structure ----------------------------------------------------------------------------------------------------

CHROME = (
    b'------WebKitFormBoundaryrVEPZHrcAKpgbcJ8\r\nContent-Disposition: form-data; name="part"\r\n\r\n47/11\r\n'
    b'------WebKitFormBoundaryrVEPZHrcAKpgbcJ8\r\nContent-Disposition: form-data; name="note"\r\n\r\nline 1\r\nline 2\r\n'
    b'------WebKitFormBoundaryrVEPZHrcAKpgbcJ8\r\nContent-Disposition: form-data; name="f"; filename="a %22b%22 \xc3\xa4.png"'
    b"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\r\n"
    b'------WebKitFormBoundaryrVEPZHrcAKpgbcJ8\r\nContent-Disposition: form-data; name="g"; filename=""\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n\r\n------WebKitFormBoundaryrVEPZHrcAKpgbcJ8--\r\n"
)
FIREFOX = CHROME.replace(
    b"----WebKitFormBoundaryrVEPZHrcAKpgbcJ8", b"geckoformboundary3a7d7b2e3a1f9a2b8c5d1e0f4b6a9c7d"
)


@pytest.mark.parametrize(
    ("body", "boundary"),
    [
        pytest.param(CHROME, "----WebKitFormBoundaryrVEPZHrcAKpgbcJ8", id="Chrome"),
        pytest.param(FIREFOX, "geckoformboundary3a7d7b2e3a1f9a2b8c5d1e0f4b6a9c7d", id="Firefox"),
    ],
)
def test_a_form_of_a_browser_is_taken_apart(body: bytes, boundary: str) -> None:
    found = parse_form(body, f"multipart/form-data; boundary={boundary}")
    assert found.files == (FormFile(b"\x89PNG\r\n", 'a "b" ä.png', "image/png"),)
    assert [(one.name, one.content) for one in found.fields] == [("part", b"47/11"), ("note", b"line 1\r\nline 2")]
    assert kept_fields(found, ("note", "part", "other")) == '{"note": "line 1 line 2", "part": "47/11"}'


def test_a_form_of_httpx_is_taken_apart() -> None:
    request = httpx.Request(
        "POST", "http://localhost/", data={"part": "Größe 7"}, files={"f": ("ä € 表.png", b"abc", "image/png")}
    )
    found = parse_form(request.read(), request.headers["content-type"])
    assert found.files == (FormFile(b"abc", "ä € 表.png", "image/png"),)
    assert kept_fields(found, ("part",)) == '{"part": "Größe 7"}'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(b"", FORM, id="empty"),
        pytest.param(b"hello", FORM, id="no-boundary-in-it"),
        pytest.param(form([text("a", "1")])[:-4] + b"\r\n", FORM, id="no-end"),
        pytest.param(form([file(b"abc")])[:60], FORM, id="cut-in-a-header"),
        pytest.param(form([]), FORM, id="no-parts"),
        pytest.param(form([text("a", "1")], "other"), FORM, id="another-boundary"),
        pytest.param(form([text("a", "1")]), "multipart/form-data", id="no-boundary-declared"),
        pytest.param(form([text("a", "1")]), "multipart/form-data; boundary=", id="empty-boundary"),
        pytest.param(form([b"\r\nabc\r\n"]), FORM, id="part-without-headers"),
        pytest.param(form([b"Content-Type: image/png\r\n\r\nabc\r\n"]), FORM, id="no-disposition"),
        pytest.param(form([b'Content-Disposition: attachment; filename="a"\r\n\r\nabc\r\n']), FORM, id="attachment"),
        pytest.param(form([b"Content-Disposition\r\n\r\nabc\r\n"]), FORM, id="header-without-a-colon"),
        pytest.param(form([part('name="f"', b"", "multipart/mixed; boundary=y")]), FORM, id="nested"),
        pytest.param(form([text("a", "1")] * (MAX_PARTS + 1)), FORM, id="too-many-parts"),
        pytest.param(form([b"X: 1\r\n" * MAX_HEADERS + text("a", "1")]), FORM, id="too-many-headers"),
        pytest.param(form([text("a" * 5000, "1")]), FORM, id="too-long-a-header"),
        pytest.param(form([text("a", "1")]).replace(b"\r\n", b"\n"), FORM, id="line-feeds-only"),
        pytest.param(form([b"Content-Length: 7\r\n" + text("a", "1")]), FORM, id="wrong-length"),
    ],
)
def test_what_is_no_form_is_malformed(body: bytes, content_type: str) -> None:
    with pytest.raises(MalformedMultipart) as caught:
        parse_form(body, content_type)
    assert 0 < len(str(caught.value)) < 200


def test_as_many_parts_as_are_allowed_are_read() -> None:
    assert len(parsed(*[file(b"1")] * MAX_PARTS).files) == MAX_PARTS


def test_a_preamble_and_an_epilogue_are_passed_over() -> None:
    found = parse_form(b"This is a form.\r\n" + form([file(b"abc")]) + b"bye", FORM)
    assert [one.content for one in found.files] == [b"abc"]


@pytest.mark.parametrize(
    "content",
    [
        b"\r\n",
        b"--" + BOUNDARY.encode(),
        b"\r\n--",
        b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n",
        b"\x00" * 10,
        b"\r\n\r\n--",
    ],
)
def test_a_content_that_looks_like_the_form_around_it_is_kept(content: bytes) -> None:
    assert [one.content for one in parsed(file(content), file(content)).files] == [content, content]


@pytest.mark.parametrize(
    "unnamed",
    [
        pytest.param(EMPTY_INPUT, id="browser"),
        pytest.param(part('name="f"; filename=""', b""), id="no-type"),
        pytest.param(part('name="f"', b"", "application/octet-stream"), id="no-name"),
        pytest.param(part("name=f; filename=", b""), id="not-quoted"),
    ],
)
def test_a_file_input_that_was_left_empty_is_neither_a_file_nor_a_field(unnamed: bytes) -> None:
    assert parsed(unnamed) == Form((), ())


def test_a_file_that_is_empty_is_a_file() -> None:
    assert parsed(file(b"")).files == (FormFile(b"", "a.png", "image/png"),)


@pytest.mark.parametrize(
    ("one", "is_file"),
    [
        pytest.param(part("name=f", b"x"), False, id="neither"),
        pytest.param(part("name=f", b"x", "text/plain; charset=utf-8"), False, id="text"),
        pytest.param(part("name=f", b"x", "application/json"), False, id="json"),
        pytest.param(part("name=f", b"x", "image/jpeg"), True, id="image"),
        pytest.param(part("name=f", b"x", "Application/Octet-Stream"), True, id="bytes"),
        pytest.param(part("name=f; filename=a", b"x", "text/plain"), True, id="named-text"),
        pytest.param(part("name=f; filename*=klingon''a", b"x"), True, id="name-that-cannot-be-read"),
        pytest.param(part("name=f; x-filename=a", b"x"), False, id="another-parameter"),
    ],
)
def test_a_file_is_known_by_its_name_or_its_type(one: bytes, is_file: bool) -> None:
    found = parsed(one)
    assert (len(found.files), len(found.fields)) == ((1, 0) if is_file else (0, 1))


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        pytest.param('name="f"; filename="a.png"', "a.png", id="browser"),
        pytest.param("name=f; filename=a.png", "a.png", id="bare"),
        pytest.param("name=f;filename=a.png", "a.png", id="no-space"),
        pytest.param('name = "f" ; filename = "a.png" ', "a.png", id="spaces"),
        pytest.param('NAME="f"; FileName="a.png"', "a.png", id="capitals"),
        pytest.param('filename="a.png"; name="f"', "a.png", id="name-behind"),
        pytest.param('filename="a.png"', "a.png", id="no-name-of-the-field"),
        pytest.param('name="f"; filename="a%22b.png"', 'a"b.png', id="quote-of-a-browser"),
        pytest.param('name="f"; filename="a\\"b.png"', 'a"b.png', id="quote-of-a-library"),
        pytest.param('name="f"; filename="a"b.png"', 'a"b.png', id="quote-of-nobody"),
        pytest.param('name="a%22; filename=%22b"; filename="c.png"', "c.png", id="quote-in-the-field"),
        pytest.param('name="a; filename=b"; filename="c.png"', "c.png", id="semicolon-in-the-field"),
        pytest.param('name="f"; filename="a; b.png"', "a; b.png", id="semicolon"),
        pytest.param('name="f"; filename="100%.png"', "100%.png", id="percent"),
        pytest.param('name="f"; filename="a\\b.png"', "a\\b.png", id="backslash"),
        pytest.param('name="f"; filename="a\\"', "a\\", id="backslash-at-the-end"),
        pytest.param('name="f"; filename="a.png', "a.png", id="no-closing-quote"),
        pytest.param("name=f; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.png", "naïve €.png", id="extended"),
        pytest.param("name=f; filename*=utf-8'en'a.png", "a.png", id="extended-with-a-language"),
        pytest.param("name=f; filename*=\"UTF-8''%E2%82%AC.png\"", "€.png", id="extended-quoted"),
        pytest.param("name=f; filename*=iso-8859-1''%A3.png", "£.png", id="extended-latin-1"),
        pytest.param("name=f; filename*=Shift_JIS''%95%5C.png", "表.png", id="extended-shift-jis"),
        pytest.param("name=f; filename=a.png; filename*=UTF-8''%E2%82%AC.png", "€.png", id="both"),
        pytest.param("name=f; filename*=UTF-8''%E2%82%AC.png; filename=a.png", "€.png", id="both-the-other-way-round"),
        pytest.param("name=f; filename=a.png; filename*=UTF-8''%FF", "a.png", id="extended-broken"),
        pytest.param("name=f; filename=a.png; filename*=hex''00", "a.png", id="extended-by-no-charset"),
        pytest.param("name=f; filename=a.png; filename*=idna''xn--a", "a.png", id="extended-by-a-slow-codec"),
        pytest.param("name=f; filename=a.png; filename*=", "a.png", id="extended-empty"),
        pytest.param("name=f; filename*=b.png", None, id="extended-without-a-charset"),
    ],
)
def test_a_file_name_is_read_however_it_is_written(disposition: str, name: str | None) -> None:
    assert names(part(disposition, b"x")) == [name]


@pytest.mark.parametrize(
    ("charset", "name"),
    [("shift_jis", "表ソ.png"), ("gbk", "文件.png"), ("big5", "許功蓋.png"), ("euc-kr", "그림.png"), ("koi8-r", "снимок.png"),
     ("iso-8859-1", "bär.png"), ("windows-1252", "10 €.png"), ("utf-8", "bär 表.png")],
)  # fmt: skip
@pytest.mark.parametrize("where", ["field", "parameter"])
def test_a_name_in_a_charset_that_the_form_names_is_read(charset: str, name: str, where: str) -> None:
    raw = part(b'name="f"; filename="' + name.encode(charset) + b'"', b"x")
    field = [text("_charset_", charset)] if where == "field" else []
    parameter = f"; charset={charset}" if where == "parameter" else ""
    assert names(raw, *field, content_type=FORM + parameter) == [name]


def test_latin_1_that_nobody_declared_is_read() -> None:
    assert names(part(b'name="f"; filename="b\xe4r \x80.png"', b"x")) == ["bär €.png"]


@pytest.mark.parametrize("charset", ["shift_jis", "gbk", "big5", "euc-kr", "koi8-r", "utf-16"])
def test_a_name_in_a_charset_that_nobody_declared_is_no_reason_to_refuse(charset: str) -> None:
    raw = "表ソ.png" if charset in ("shift_jis", "gbk", "big5") else "снимок.png"
    encoded = raw.encode(charset).replace(b"\n", b"")
    found = parsed(text("a", "b"), part(b'name="' + encoded + b'"; filename="' + encoded + b'"', b"x"))
    (one,) = found.files
    assert one.content == b"x"
    assert one.file_name


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_name_is_a_reason_to_refuse(field: bytes, name: bytes) -> None:
    field, name = (raw.replace(b"\n", b"").replace(b"\r", b"") for raw in (field, name))
    for shape in (b'name="%s"; filename="%s"', b"name=%s; filename=%s", b"name=%s; filename*=%s"):
        found = parsed(part(shape % (field, name), b"x", "image/png"))
        assert [one.content for one in found.files] == [b"x"]


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_name_is_had_back_as_browsers_and_libraries_write_it(name: str) -> None:
    # A browser's escape in a name cannot be told from the name itself.
    if not any(escape in name for escape in ("%22", "%0A", "%0D", '\\"')):
        browser = name.replace('"', "%22")
        assert names(part(f'name="f"; filename="{browser}"', b"x", "image/png")) == [name]
    assert names(part(f"name=f; filename*=UTF-8''{quote(name)}", b"x", "image/png")) == [name]


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), min_size=1, max_size=6))
def test_whatever_is_put_into_a_form_comes_out_of_it(contents: Sequence[tuple[bool, bytes]]) -> None:
    found = parsed(*(part('name="f"; filename="a"' if is_file else 'name="t"', c) for is_file, c in contents))
    assert [one.content for one in found.files] == [content for is_file, content in contents if is_file]
    assert [one.content for one in found.fields] == [content for is_file, content in contents if not is_file]


@given(st.binary(max_size=200))
def test_no_bytes_trip_the_parser(noise: bytes) -> None:
    whole = form([file(b"abc"), text("a", "b")])
    at = len(noise) % len(whole)
    for body in (noise, whole[:at] + noise + whole[at:], whole[:at] + noise):
        with suppress(MalformedMultipart):
            found = parse_form(body, FORM)
            assert all(one.content in body for one in (*found.files, *found.fields))


@pytest.mark.parametrize(
    "header",
    [b'; a="' * 800, b'; a="\\' * 700, b'; filename="' + b'\\"' * 2000, b'; a="' + b'" ' * 2000, b"; " + b" " * 4000,
     b';a="' + b' "' * 2000, b"; filename*=" + b"%41" * 1300, b"; a=b" * 800],
)  # fmt: skip
def test_no_header_costs_much(header: bytes) -> None:
    begun = time.process_time()
    with suppress(MalformedMultipart):
        parsed(*[part(b"name=f" + header[:4100], b"x")] * 300)
    assert time.process_time() - begun < 5


def test_a_form_takes_little_memory_beside_its_files() -> None:
    body = form([file(random.Random(n).randbytes(1 << 20)) for n in range(8)])
    tracemalloc.start()
    try:
        parse_form(body, FORM)
        assert tracemalloc.get_traced_memory()[1] < 1.2 * len(body)
    finally:
        tracemalloc.stop()


# --- fields -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        pytest.param(b"4711", "4711", id="plain"),
        pytest.param(" Größe\t7 ".encode(), "Größe 7", id="blanks"),
        pytest.param("größe".encode("latin-1"), "größe", id="latin-1"),
        pytest.param(b"a\x00b\x1b[31mc", "a bc", id="control-characters"),
        pytest.param(b"x" * 5000, "x" * MAX_FIELD, id="long"),
        pytest.param("ä".encode() * 5000, "ä" * MAX_FIELD, id="long-and-cut-inside-a-character"),
        pytest.param("\U0001f438".encode() * 501, "\U0001f438" * MAX_FIELD, id="long-characters"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b" \r\n ", None, id="blank"),
    ],
)
def test_a_text_is_kept_as_one_line_of_bounded_length(raw: bytes, kept: str | None) -> None:
    found = kept_fields(parsed(part('name="part"', raw)), ("part",))
    assert (json.loads(found)["part"] if found else None) == kept


def test_a_text_is_read_in_the_charset_of_its_part() -> None:
    found = parsed(part('name="part"', "表".encode("shift_jis"), "text/plain; charset=Shift_JIS"))
    assert kept_fields(found, ("part",)) == '{"part": "表"}'


def test_only_named_fields_are_kept_and_the_first_of_a_name() -> None:
    found = parsed(text("b", ""), text("c", "3"), text("b", "2"), text("b", "9"), text("A", "1"), file(b"x"))
    assert kept_fields(found, ("a", "b", "file")) == '{"b": "2"}'
    assert kept_fields(found, ()) is None


def test_names_of_fields_are_parsed() -> None:
    assert parse_field_names(" part , lot number,, part") == ("part", "lot number")
    assert parse_field_names("") == ()
    for wrong in (",".join(map(str, range(MAX_FIELDS + 1))), "x" * 65, "a\x00b"):
        with pytest.raises(ConfigurationError, match="Keep Fields"):
            parse_field_names(wrong)


# --- the first step: a form that comes whole ----------------------------------------------------------------------

KEEP = {"Keep Fields": "part, lot"}
entries = pytest.mark.parametrize("entry", [awaited, listened], ids=["awaited", "listened"])


def covered(entry: Callable[..., dict[str, str]], **more: str) -> dict[str, str]:
    """As a front sends it."""
    prefix = "http.headers." if entry is awaited else ""
    return entry(COVERED, **{f"{prefix}X-Form-Content-Type": FORM}, **more)


@entries
@pytest.mark.parametrize("way", ["whole", "covered"])
def test_one_file_among_text_fields_and_empty_inputs_is_an_image(
    hosted: Host, picture: Picture, entry: Any, way: str
) -> None:
    image, key = picture(), new_request_id(adapter.now())
    prefix = "http.headers." if entry is awaited else ""
    sent = {f"{prefix}Idempotency-Key": key}
    attributes = entry(FORM, **sent) if way == "whole" else covered(entry, **sent)
    body = form([text("part", "47/11"), EMPTY_INPUT, text("note", "none"), file(image, "ä.png"), text("lot", "7")])
    left = hosted("FilterImageRequest", {**IN_PACKAGES, **KEEP}).transform(*package([(attributes, body)]))
    (record,) = records(left)
    assert (record["status"], record["request_id"], record["file_name"]) == ("accepted", key, "ä.png")
    assert json.loads(record["fields"]) == {"part": "47/11", "lot": "7"}
    assert (record["declared_type"], record["size_bytes"]) == ("image/png", str(len(image)))
    assert [bytes(one.content) for one in read_package(left.content or b"")] == [image]


@pytest.mark.parametrize("carried", [False, True], ids=["text", "carried"])
def test_each_file_of_a_form_becomes_an_image_with_a_row_of_its_own(
    hosted: Host, tmp_path: Any, colour_model: Any, picture: Picture, carried: bool
) -> None:
    key = new_request_id(adapter.now())
    images = {name: picture(colour=name) for name in ("red", "green", "blue")}
    body = form(
        [
            text("part", "7"),
            *(file(image, f"{name}.png") for name, image in images.items()),
            file(b"no image", "no.png"),
        ]
    )
    single = picture(colour="white")
    steps = make_way(hosted, tmp_path, colour_model, {"FilterImageRequest": KEEP}, True)
    sent = [(listened(), single), (listened(FORM, **{"Idempotency-Key": key}), body), (listened(), single)]
    for _ in range(2):  # the second is a retry
        left = _through(steps, sent, carried=carried)
        assert left.relationship == "success"
        assert column(left, "status") == ["classified"] * 4 + ["rejected", "classified"]
    rows = steps.rows()
    ids = [request_id_from_key(key, adapter.now(), number) for number in (1, 2, 3, 4)]
    assert ids[0] == key
    assert [rows[one]["file_name"] for one in ids] == ["red.png", "green.png", "blue.png", "no.png"]
    assert [rows[one]["predicted_class"] for one in ids] == ["red", "green", "blue", None]
    assert (rows[ids[3]]["status"], rows[ids[3]]["error_code"]) == ("rejected", "image.not_an_image")
    assert [rows[one]["fields"] for one in ids] == ['{"part": "7"}'] * 4
    assert len(rows) == 4 + 4  # those without a key are new each time
    assert len(list((tmp_path / "objects").rglob("*.png"))) == 4


def test_a_form_of_many_files_is_classified_in_shares(
    hosted: Host, tmp_path: Any, colour_model: Any, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    whole = Classifier.classify_many

    def counted(self: Classifier, images: Sequence[Any], top_k: int = 5) -> Any:
        calls.append(len(images))
        return whole(self, images, top_k)

    monkeypatch.setattr(Classifier, "classify_many", counted)
    image = picture(colour="red")
    steps = make_way(hosted, tmp_path, colour_model, {}, True)
    left = _through(steps, [(listened(FORM), form([file(image)] * 150))], carried=True)
    assert column(left, "predicted_class") == ["red"] * 150
    assert len(steps.rows()) == 150
    assert calls == [64, 64, 22]


def _through(steps: Way, sent: Sequence[Any], *, carried: bool) -> Any:
    if not carried:
        return steps.run(*package(sent))
    steps.carry(packaged_flow_file(sent))
    return steps.passed[-1][1]


@entries
@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(form([text("part", "7")]), "request.not_a_file", id="no-file"),
        pytest.param(form([EMPTY_INPUT]), "request.not_a_file", id="an-empty-input-only"),
        pytest.param(form([file(b"")]), "request.no_body", id="an-empty-file"),
        pytest.param(b"--x", "request.malformed_multipart", id="no-form"),
        pytest.param(b"", "request.no_body", id="nothing"),
        pytest.param(form([file(b"x" * 5000)]), "request.too_large", id="too-large-a-form"),
        pytest.param(form([file(b"x" * 2048)]), "request.too_large", id="too-large-a-file"),
    ],
)
def test_a_form_without_an_image_is_one_rejected_row(hosted: Host, entry: Any, body: bytes, code: str) -> None:
    settings = {**IN_PACKAGES, "Maximum Size": "1 KB", "Maximum Form Size": "4 KB"}
    left = hosted("FilterImageRequest", settings).transform(*package([(entry(FORM), body)]))
    assert (column(left, "status"), column(left, "error_code")) == (["rejected"], [code])
    assert column(left, "error_detail") != [""]


def test_several_files_are_refused_where_one_answer_is_waited_for(hosted: Host, picture: Picture) -> None:
    body = form([file(picture()), file(picture())])
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(*package([(awaited(FORM), body)]))
    assert (column(left, "status"), column(left, "error_code")) == (["rejected"], ["request.too_many_parts"])


@entries
def test_without_packages_a_form_is_one_image_or_refused(hosted: Host, picture: Picture, entry: Any) -> None:
    host, image = hosted("FilterImageRequest", KEEP), picture()
    one = host.transform(form([text("lot", "1"), file(image), EMPTY_INPUT]), covered(entry, fields="made up"))
    assert (one.relationship, one.content, one.attributes["fields"]) == ("success", image, '{"lot": "1"}')
    two = host.transform(form([file(image), file(image)]), entry(FORM, fields="made up"))
    assert (two.relationship, two.attributes["error_code"]) == ("rejected", "request.too_many_parts")
    assert two.attributes["fields"] == ""
    assert entry is awaited or "FlowFile Packages" in two.attributes["error_detail"]


def test_nothing_of_a_form_is_read_before_the_access_key(hosted: Host, picture: Picture) -> None:
    settings = {**IN_PACKAGES, "Access Keys": "alice:alice-0123456789abcdef"}
    body = form([file(picture()), file(picture())])
    left = hosted("FilterImageRequest", settings).transform(*package([(listened(FORM), body)]))
    assert column(left, "error_code") == ["access.key_missing"]
    named = listened(FORM, **{"X-Access-Key": "alice-0123456789abcdef"})
    left = hosted("FilterImageRequest", settings).transform(*package([(named, body)]))
    assert column(left, "status") == ["accepted"] * 2
    assert column(left, "source_user") == ["alice"] * 2


@pytest.mark.parametrize(
    ("declared", "recorded"),
    [
        ("application/octet-stream", "application/octet-stream"),
        ("image/*", "image/*"),
        (None, ""),
        ("image/jpg", "image/jpg"),
    ],
)
def test_a_part_that_does_not_say_what_it_is_is_judged_by_its_content(
    hosted: Host, picture: Picture, declared: str | None, recorded: str
) -> None:
    host = hosted("FilterImageRequest", IN_PACKAGES)
    left = host.transform(*package([(listened(FORM), form([file(picture("JPEG"), "IMG_0001", declared)]))]))
    assert (column(left, "status"), column(left, "declared_type")) == (["accepted"], [recorded])
    left = host.transform(*package([(listened(FORM), form([file(b"MZ program", "a.png", declared)]))]))
    assert column(left, "error_code") == ["image.not_an_image"]


@pytest.mark.parametrize("declared", ["application/octet-stream", "image/*", None])
def test_what_is_not_accepted_is_not_accepted_undeclared_either(hosted: Host, declared: str | None) -> None:
    host = hosted("FilterImageRequest", {**IN_PACKAGES, "Accepted Types": "image/jpeg"})
    left = host.transform(*package([(listened(FORM), form([file(hostile.PNG, "a.jpg", declared)]))]))
    assert column(left, "error_code") == ["type.not_accepted"]


@pytest.mark.parametrize(
    ("declared", "code"), [("image/gif", "image.type_mismatch"), ("text/plain", "type.not_accepted")]
)
def test_what_a_part_declares_counts(hosted: Host, declared: str, code: str) -> None:
    body = form([file(hostile.PNG, "a.png", declared)])
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(*package([(listened(FORM), body)]))
    assert column(left, "error_code") == [code]


def test_a_json_file_of_a_form_is_unwrapped(hosted: Host) -> None:
    body = form(
        [file(json.dumps({"image": base64.b64encode(hostile.PNG).decode()}).encode(), "a.json", "application/json")]
    )
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(*package([(listened(FORM), body)]))
    assert [bytes(one.content) for one in read_package(left.content or b"")] == [hostile.PNG]


# --- the first step: a form that NiFi took apart ------------------------------------------------------------------


def split(entry: Callable[..., dict[str, str]], *parts: tuple[str | None, str | None, bytes], **more: str) -> list[Any]:
    """What NiFi's listeners make of a form: (file name, type, content) each."""
    common = entry("multipart/form-data; boundary=x", **more)
    return [
        (
            common
            | {
                "http.multipart.name": "f",
                "http.multipart.size": str(len(content)),
                "http.multipart.fragments.sequence.number": str(number),
                "http.multipart.fragments.total.number": str(len(parts)),
            }
            | ({"http.multipart.filename": name} if name is not None else {})
            | ({"http.multipart.content.type": declared} if declared else {}),
            content,
        )
        for number, (name, declared, content) in enumerate(parts, start=1)
    ]


FIELD, EMPTY = (None, None, b"4711"), ("", "application/octet-stream", b"")
IMAGE = ("a.png", "image/png", hostile.PNG)


@entries
def test_of_a_form_in_parts_only_the_file_is_left(hosted: Host, tmp_path: Any, colour_model: Any, entry: Any) -> None:
    steps = make_way(hosted, tmp_path, colour_model, {}, True)
    left = steps.run(*package([*split(entry, FIELD, IMAGE, EMPTY), (listened(), hostile.PNG)]))
    assert left.relationship == "success"
    assert column(left, "status") == ["classified"] * 2
    assert {row["status"] for row in steps.rows().values()} == {"classified"}
    assert len(steps.rows()) == 2
    if entry is awaited:
        (answer,) = answers(left).values()
        assert json.loads(bytes(answer.content))["file_name"] == "a.png"


@pytest.mark.parametrize("carried", [False, True], ids=["text", "carried"])
def test_a_package_of_which_nothing_is_left_ends_cleanly(
    hosted: Host, tmp_path: Any, colour_model: Any, caplog: pytest.LogCaptureFixture, carried: bool
) -> None:
    steps = make_way(hosted, tmp_path, colour_model, {"PutKuduRecord": {"Pass Images On": "true"}}, True)
    left = _through(steps, split(listened, FIELD, EMPTY), carried=carried)
    assert set(steps.ways()) == {"success"}
    assert (records(left), left.content, left.attributes["answers"], left.attributes["images"]) == ([], b"", "", "")
    assert not caplog.records
    # It has made no row; one that comes behind it does.
    assert _through(steps, [(listened(), hostile.PNG)], carried=carried).relationship == "success"
    assert len(steps.rows()) == 1


def test_credentials_of_a_part_that_is_dropped_are_blanked(hosted: Host) -> None:
    key = "alice-0123456789abcdef"
    host = hosted("FilterImageRequest", {**IN_PACKAGES, "Access Keys": f"alice:{key}"})
    left = host.transform(*package(split(listened, FIELD, **{"X-Access-Key": key})))
    assert records(left) == []
    assert key not in str(left.attributes)


@pytest.mark.parametrize(
    ("parts", "codes"),
    [
        pytest.param((FIELD, FIELD), ["request.not_a_file"], id="no-file-one-answer"),
        pytest.param((FIELD, EMPTY), ["request.not_a_file"], id="an-empty-input-one-answer"),
        pytest.param((IMAGE, FIELD, IMAGE), ["request.too_many_parts"] * 2, id="two-files"),
    ],
)
def test_a_client_that_waits_for_a_form_in_parts_is_told_what_is_wrong(
    hosted: Host, parts: Sequence[Any], codes: list[str]
) -> None:
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(*package(split(awaited, *parts)))
    assert column(left, "error_code") == codes


def test_forms_of_two_clients_in_one_package_are_told_apart(hosted: Host) -> None:
    sent = [*split(awaited, FIELD, IMAGE), *split(awaited, IMAGE, FIELD), *split(awaited, FIELD)]
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(*package(sent))
    assert column(left, "error_code") == ["", "", "request.not_a_file"]


@pytest.mark.parametrize("cut", [1, 2])
def test_a_form_in_parts_that_is_cut_by_the_end_of_a_package_is_answered_once(hosted: Host, cut: int) -> None:
    host, sent = hosted("FilterImageRequest", IN_PACKAGES), split(awaited, FIELD, IMAGE, FIELD)
    lefts = [host.transform(*package(some)) for some in (sent[:cut], sent[cut:])]
    assert [status for left in lefts for status in column(left, "status")] == ["accepted"]


def test_without_packages_a_part_without_a_file_is_rejected(hosted: Host) -> None:
    ((attributes, content),) = split(listened, FIELD)
    left = hosted("FilterImageRequest").transform(content, attributes)
    assert (left.relationship, left.attributes["error_code"]) == ("rejected", "request.not_a_file")


def test_an_image_that_is_sent_by_a_form_is_that_image(hosted: Host, picture: Picture) -> None:
    """Byte for byte, in the middle of a package that has other bodies."""
    image = picture("PNG", size=(200, 100))
    sent = [(listened(), hostile.PNG), (covered(listened), form([file(image, "a.png")])), (listened(), b"text")]
    left = hosted("FilterImageRequest", IN_PACKAGES).transform(*package(sent))
    assert [bytes(one.content) for one in read_package(left.content or b"")] == [hostile.PNG, image, b"text"]
