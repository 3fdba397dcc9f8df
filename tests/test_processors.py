"""The processors as NiFi finds them in their source, and as it calls them, one FlowFile at a time and many at once."""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagewarehouse import __version__
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import COLUMNS, ImageRecord, to_text
from imagewarehouse.nifi import adapter
from imagewarehouse.nifi.processors import processor_class
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.resources import PROCESSORS, REPOSITORY
from imagewarehouse.steps import outcome
from tests.conftest import record_from_attributes

KEY = "alice-0123456789abcdef"
AWAITED = {"http.context.identifier": "6f1c0d0e-0000-4000-8000-000000000002", "http.method": "POST"}

Host = Callable[..., Any]
Picture = Callable[..., bytes]


def column_values(attributes: Mapping[str, str]) -> dict[str, str]:
    return {column.name: attributes[column.name] for column in COLUMNS if attributes.get(column.name)}


# --- what NiFi reads in the source before it imports anything -----------------------------------------------------


@pytest.fixture
def module(processor_type: str) -> ast.Module:
    return ast.parse((PROCESSORS / f"{processor_type}.py").read_text(encoding="utf-8"))


@pytest.fixture
def processor_node(module: ast.Module) -> ast.ClassDef:
    (found,) = (node for node in module.body if isinstance(node, ast.ClassDef))
    return found


def inner(node: ast.ClassDef, name: str) -> dict[str, ast.expr]:
    """The plain assignments of an inner class."""
    (found,) = (child for child in node.body if isinstance(child, ast.ClassDef) and child.name == name)
    return {target.id: item.value for item in found.body if isinstance(item, ast.Assign) for target in item.targets}


def calls(node: ast.AST, name: str) -> list[ast.Call]:
    found = (child for child in ast.walk(node) if isinstance(child, ast.Call))
    return [call for call in found if isinstance(call.func, ast.Name) and call.func.id == name]


def test_there_are_the_six_processors() -> None:
    assert sorted(path.stem for path in PROCESSORS.glob("*.py")) == [
        "ClassifyImage", "EnrichImageMetadata", "FilterImageRequest", "PutKuduRecord", "PutSolrDocument", "StoreImage",
    ]  # fmt: skip


def test_a_module_holds_one_class_of_its_own_name(processor_type: str, module: ast.Module) -> None:
    assert [node.name for node in ast.walk(module) if isinstance(node, ast.ClassDef)] == [
        processor_type, "Java", "ProcessorDetails",
    ]  # fmt: skip


def test_the_interface_and_the_details_are_plain_literals(processor_node: ast.ClassDef) -> None:
    assert ast.literal_eval(inner(processor_node, "Java")["implements"]) == [
        "org.apache.nifi.python.processor.FlowFileTransform"
    ]
    details = inner(processor_node, "ProcessorDetails")
    assert isinstance(details["tags"], ast.List)  # NiFi loses a tuple
    assert all(isinstance(tag.value, str) and tag.value for tag in details["tags"].elts)
    for name in ("version", "description"):
        assert isinstance(details[name], ast.Constant)  # NiFi loses an f-string, a sum or a constant from elsewhere
        assert isinstance(details[name].value, str)


def test_every_version_is_the_versions_of_the_package(processor_node: ast.ClassDef) -> None:
    version = ast.literal_eval(inner(processor_node, "ProcessorDetails")["version"])
    project = re.search(
        r'^version = "(.+)"$', (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert project is not None
    assert version == __version__ == project[1]


def test_nothing_in_the_class_is_annotated(processor_node: ast.ClassDef) -> None:
    # NiFi's scan only knows `name = literal`: an annotated version reads as Unknown.
    assert [node for node in ast.walk(processor_node) if isinstance(node, ast.AnnAssign)] == []


def test_only_the_two_decorators_that_nifi_reads_are_used(processor_node: ast.ClassDef) -> None:
    assert processor_node.decorator_list
    for decorator in processor_node.decorator_list:
        assert isinstance(decorator, ast.Call)  # anything else makes NiFi ignore the module
        assert isinstance(decorator.func, ast.Name)
        assert decorator.func.id in ("use_case", "multi_processor_use_case")
        assert not decorator.args
        for keyword in decorator.keywords:
            if keyword.arg != "configurations":
                ast.literal_eval(keyword.value)
            else:
                configurations = calls(keyword.value, "ProcessorConfiguration")
                assert len(configurations) == len(keyword.value.elts)
                assert all(ast.literal_eval(k.value) for call in configurations for k in call.keywords)


def test_every_property_is_given_by_keywords_that_nifi_can_read(
    processor_type: str, processor_node: ast.ClassDef
) -> None:
    methods = [node for node in processor_node.body if isinstance(node, ast.FunctionDef)]
    of_any_name = [
        c for m in methods if m.name == "getDynamicPropertyDescriptor" for c in calls(m, "PropertyDescriptor")
    ]
    descriptors = [call for call in calls(processor_node, "PropertyDescriptor") if call not in of_any_name]
    assigned = [node.value for node in processor_node.body if isinstance(node, ast.Assign)]
    for call in descriptors:
        assert call in assigned  # NiFi's documentation only finds `NAME = PropertyDescriptor(...)`
        assert not call.args
        for keyword in call.keywords:
            if keyword.arg in ("name", "description", "required", "sensitive", "default_value", "allowable_values"):
                ast.literal_eval(keyword.value)
    names = [ast.literal_eval(k.value) for call in descriptors for k in call.keywords if k.arg == "name"]
    processor = processor_class(processor_type)()
    assert [descriptor.name for descriptor in processor.getPropertyDescriptors()] == names  # in the order of the source
    assert len(set(names)) == len(names)


def ways(module: ast.Module) -> set[str]:
    """Where the steps that a processor uses let images go."""
    steps = [node.module for node in module.body if isinstance(node, ast.ImportFrom) and node.module]
    found = set()
    for name in steps:
        if name.startswith("imagewarehouse.steps."):
            source = REPOSITORY.joinpath(*name.split(".")).with_suffix(".py").read_text(encoding="utf-8")
            for call in calls(ast.parse(source), "Outcome"):
                way = call.args[0]
                branches = (way.body, way.orelse) if isinstance(way, ast.IfExp) else (way,)
                found |= {getattr(outcome, branch.id) for branch in branches if isinstance(branch, ast.Name)}
    return found


def test_every_relationship_that_is_returned_is_declared(processor_type: str, module: ast.Module) -> None:
    declared = {relationship.name for relationship in processor_class(processor_type)().getRelationships()}
    named = [keyword.value for node in ast.walk(module) if isinstance(node, ast.Call)
             for keyword in node.keywords if keyword.arg in ("relationship", "fatal")]  # fmt: skip
    named += [call.args[0] for call in calls(module, "_answered")]
    named += [node.value for node in ast.walk(module) if isinstance(node, ast.Assign)
              and any(isinstance(target, ast.Name) and target.id == "relationship" for target in node.targets)]  # fmt: skip
    branches = [
        part for node in named for part in ((node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,))
    ]
    returned = {node.value for node in branches if isinstance(node, ast.Constant)} | ways(module)
    assert returned
    assert returned <= declared | {"failure"}
    assert "original" not in returned
    if hasattr(processor_class(processor_type), "PACKAGES"):
        assert "success" in declared  # where a package goes whose images went different ways
    assert not declared & {"failure", "original"}  # NiFi adds these two itself


def test_a_processor_takes_what_nifi_passes_to_its_constructor(processor_type: str) -> None:
    assert processor_class(processor_type)(jvm=object()).getRelationships()


def test_importing_a_processor_loads_neither_a_runtime_nor_a_database(processor_type: str) -> None:
    program = (
        "import sys; from imagewarehouse.nifi.processors import processor_class;"
        f"processor_class({processor_type!r});"
        "print(sorted({'tensorflow', 'keras', 'ai_edge_litert', 'duckdb'} & set(sys.modules)))"
    )
    # NiFi runs a Python process for each processor on the canvas: what one does not need, it must not hold.
    found = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# --- preparation --------------------------------------------------------------------------------------------------


def test_what_is_prepared_is_built_once_however_many_tasks_ask() -> None:
    built: list[object] = []

    def build(context: object) -> object:
        time.sleep(0.05)  # long enough for all tasks to come while it is under way
        built.append(context)
        return object()

    prepared = adapter.BuiltOnce(build)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(prepared.get, ["context"] * 8))
    assert len(found) == len(built) == 1


def test_none_can_be_what_was_prepared() -> None:
    built: list[object] = []
    prepared = adapter.BuiltOnce(built.append)
    assert (prepared.get("a"), prepared.get("b"), built) == (None, None, ["a"])


def test_a_new_schedule_lets_go_of_what_was_built_before() -> None:
    closed: list[str] = []
    prepared = adapter.BuiltOnce(lambda context: context, closed.append)
    assert prepared.renew("first") == "first"
    assert prepared.get("ignored") == "first"
    assert prepared.renew("second") == "second"
    assert closed == ["first"]
    prepared.release()
    prepared.release()
    assert closed == ["first", "second"]


def test_a_failed_preparation_is_tried_again() -> None:
    attempts = iter([ConfigurationError("Store URI", "away"), None])

    def build(context: object) -> str:
        error = next(attempts)
        if error:
            raise error
        return "built"

    prepared = adapter.BuiltOnce(build)
    with pytest.raises(ConfigurationError):
        prepared.get("context")
    assert prepared.get("context") == "built"


@pytest.mark.parametrize(
    ("type_name", "properties", "named"),
    [
        pytest.param("FilterImageRequest", {"Maximum Size": "20"}, "Maximum Size", id="size-without-unit"),
        pytest.param("FilterImageRequest", {"Maximum Size": "0 B"}, "max_bytes", id="size-of-0"),
        pytest.param("FilterImageRequest", {"Maximum Pixels": "0"}, "Maximum Pixels", id="no-pixels"),
        pytest.param("FilterImageRequest", {"Accepted Types": "image/png, text/html"}, "Accepted Types", id="html"),
        pytest.param("FilterImageRequest", {"Allow Trailing Data": "yes"}, "Allow Trailing Data", id="yes-for-true"),
        pytest.param(
            "FilterImageRequest", {"Allowed Image URIs": "/data"}, "Allowed Image URIs", id="prefix-without-scheme"
        ),
        pytest.param("FilterImageRequest", {"Access Keys": f"alice:{KEY[:10]}"}, "Access Keys", id="short-key"),
        pytest.param("EnrichImageMetadata", {"Trusted Proxies": "10.0.0.0/99"}, "Trusted Proxies", id="no-network"),
        pytest.param("StoreImage", {"Store URI": "gopher://host/x"}, "Store URI", id="unknown-store"),
        pytest.param("ClassifyImage", {"Model Folder": "/no/such/model"}, "Model Folder", id="no-model"),
        pytest.param("ClassifyImage", {"Top K": "many"}, "Top K", id="top-k-in-words"),
        pytest.param("ClassifyImage", {"Runtime": "torch"}, "Runtime", id="unknown-runtime"),
        pytest.param("PutKuduRecord", {"Kudu Masters": "kudu:70510"}, "Kudu Masters", id="kudu-port-that-is-none"),
        pytest.param("PutSolrDocument", {"Solr URL": "http://solr:8983/solr"}, "Collection", id="no-collection"),
        pytest.param("StoreImage", {"Store URl": "/images"}, "Store URl", id="misspelled-property"),
    ],
)
def test_a_wrong_setting_is_found_before_the_first_image(
    hosted: Host, type_name: str, properties: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        hosted(type_name, properties)
    assert named in str(caught.value)
    assert KEY[:10] not in str(caught.value)


# --- the filter ---------------------------------------------------------------------------------------------------


def test_an_accepted_image_leaves_with_its_facts_and_its_content_untouched(hosted: Host, picture: Picture) -> None:
    content = picture("PNG", size=(8, 6))
    before = adapter.now()
    left = hosted("FilterImageRequest").transform(content, {"Content-Type": "image/png", "filename": "../a/frog.png"})
    assert left.relationship == "success"
    assert left.content is content
    record = record_from_attributes(column_values(left.attributes))
    assert before <= record.event_time <= adapter.now()
    assert record == ImageRecord(
        event_time=event_time(record.request_id), request_id=record.request_id, status="accepted",
        image_id=hashlib.sha256(content).hexdigest(), file_name="frog.png", declared_type="image/png", format="PNG",
        size_bytes=len(content), width=8, height=6, color_mode="RGB", frames=1,
    )  # fmt: skip


def test_a_rejected_request_leaves_with_its_reason_and_a_row_can_be_written(hosted: Host) -> None:
    left = hosted("FilterImageRequest").transform(b"%PDF-1.4", {"Content-Type": "image/png", "filename": "cv.pdf"})
    assert left.relationship == "rejected"
    record = record_from_attributes(column_values(left.attributes))
    assert (record.status, record.error_code) == ("rejected", "image.not_an_image")
    assert (record.file_name, record.declared_type, record.size_bytes) == ("cv.pdf", "image/png", 8)
    assert record.event_time == event_time(record.request_id)


def test_a_body_over_the_ceiling_is_refused_by_its_size_alone(hosted: Host) -> None:
    # The standalone listener keeps no such body; to read it would raise.
    filter_request = hosted("FilterImageRequest", {"Maximum Size": "1 KB"})
    left = filter_request.transform(None, {"Content-Type": "image/png"}, size=1025)
    assert (left.relationship, left.attributes["error_code"]) == ("rejected", "request.too_large")


def test_the_same_idempotency_key_gives_the_same_row_key_again(hosted: Host, picture: Picture) -> None:
    key = new_request_id(adapter.now())
    filter_request = hosted("FilterImageRequest")
    sent = {"Content-Type": "image/png", "Idempotency-Key": key}
    first, second = (filter_request.transform(picture(), sent).attributes for _ in range(2))
    assert first["request_id"] == second["request_id"] == key
    assert first["event_time"] == second["event_time"] == to_text(event_time(key))


def test_a_rejected_request_keeps_its_idempotency_key_too(hosted: Host) -> None:
    key = new_request_id(adapter.now())
    left = hosted("FilterImageRequest").transform(b"text", {"Content-Type": "image/png", "Idempotency-Key": key})
    assert (left.relationship, left.attributes["request_id"]) == ("rejected", key)


def test_parts_of_one_body_get_rows_of_their_own_again_and_again(hosted: Host, picture: Picture) -> None:
    key = new_request_id(adapter.now())
    filter_request = hosted("FilterImageRequest")

    def ids() -> list[str]:
        parts = [{"Idempotency-Key": key, "http.multipart.filename": "a.png", "http.multipart.content.type": "image/png",
                  "http.multipart.fragments.sequence.number": str(n), "http.multipart.fragments.total.number": "3"}
                 for n in (1, 2, 3)]  # fmt: skip
        return [filter_request.transform(picture(), part).attributes["request_id"] for part in parts]

    first = ids()
    assert first == ids()
    assert len(set(first)) == 3


def test_a_key_that_is_none_is_rejected_under_a_fresh_id(hosted: Host, picture: Picture) -> None:
    left = hosted("FilterImageRequest").transform(
        picture(), {"Content-Type": "image/png", "Idempotency-Key": "order-1"}
    )
    assert (left.relationship, left.attributes["error_code"]) == ("rejected", "request.bad_idempotency_key")
    assert abs(event_time(left.attributes["request_id"]) - adapter.now()).total_seconds() < 60


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param({}, "access.key_missing", id="no-key"),
        pytest.param({"X-Access-Key": "guessed-0123456789"}, "access.key_wrong", id="wrong-key"),
        pytest.param({"X-Access-Key": KEY, "http.method": "PUT"}, "request.method_not_allowed", id="wrong-method"),
    ],
)
def test_an_idempotency_key_is_not_honoured_before_the_access_check(
    hosted: Host, picture: Picture, sent: dict[str, str], code: str
) -> None:
    # It names the row that will be overwritten: a stranger must not choose one.
    key = new_request_id(adapter.now())
    filter_request = hosted("FilterImageRequest", {"Access Keys": f"alice:{KEY}"})
    left = filter_request.transform(picture(), {"Content-Type": "image/png", "Idempotency-Key": key, **sent})
    assert (left.relationship, left.attributes["error_code"]) == ("rejected", code)
    assert left.attributes["request_id"] != key
    assert left.attributes["event_time"] != to_text(event_time(key))
    assert left.attributes["source_user"] == ""


def test_the_name_of_the_access_key_is_recorded_and_the_key_is_not(hosted: Host, picture: Picture) -> None:
    filter_request = hosted("FilterImageRequest", {"Access Keys": f"bob:bob-0123456789abcdefg,alice:{KEY}"})
    sent = {"Content-Type": "image/png", "X-Access-Key": KEY, "Authorization": f"Bearer {KEY}"}
    left = filter_request.transform(picture(), sent)
    assert (left.relationship, left.attributes["source_user"]) == ("success", "alice")
    assert KEY not in "".join(left.attributes.values())


@pytest.mark.parametrize(
    "envelope",
    [
        pytest.param(lambda image: {"image": image, "file_name": "frog.png"}, id="base64"),
        pytest.param(
            lambda image: {"image": image, "type": "image/png", "file_name": "frog.png"}, id="base64-with-type"
        ),
        pytest.param(lambda image: {"image": f"data:image/png;base64,{image}", "file_name": "frog.png"}, id="data-uri"),
    ],
)
def test_a_json_body_is_replaced_by_the_image_in_it(
    hosted: Host, picture: Picture, envelope: Callable[[str], dict[str, str]]
) -> None:
    image = picture("PNG", size=(5, 4))
    body = json.dumps(envelope(base64.b64encode(image).decode())).encode()
    left = hosted("FilterImageRequest").transform(body, {"Content-Type": "application/json"})
    assert (left.relationship, left.content) == ("success", image)
    record = record_from_attributes(column_values(left.attributes))
    assert (record.image_id, record.size_bytes) == (hashlib.sha256(image).hexdigest(), len(image))
    assert (record.format, record.width, record.file_name) == ("PNG", 5, "frog.png")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        pytest.param("in/a.png", None, id="inside"),
        pytest.param("in/gone.png", "request.uri_not_readable", id="inside-but-not-there"),
        pytest.param("in/large.png", "request.too_large", id="larger-than-allowed"),
        pytest.param("out/a.png", "request.uri_not_allowed", id="outside"),
        pytest.param("in/../out/a.png", "request.uri_not_allowed", id="outside-by-dots"),
        pytest.param("in/%2e%2e/out/a.png", "request.uri_not_allowed", id="outside-by-escaped-dots"),
        pytest.param("inside/a.png", "request.uri_not_allowed", id="neighbour-that-starts-alike"),
    ],
)
def test_an_image_uri_is_read_inside_the_allowed_prefixes_only(
    hosted: Host, picture: Picture, tmp_path: Path, name: str, code: str | None
) -> None:
    for folder in ("in", "out", "inside"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(picture())
    (tmp_path / "in" / "large.png").write_bytes(picture() + bytes(2048))
    filter_request = hosted(
        "FilterImageRequest", {"Allowed Image URIs": (tmp_path / "in").as_uri(), "Maximum Size": "2 KB"}
    )
    body = json.dumps({"image_uri": f"{tmp_path.as_uri()}/{name}"}).encode()
    left = filter_request.transform(body, {"Content-Type": "application/json"})
    if code is None:
        assert (left.relationship, left.content) == ("success", picture())
    else:
        assert (left.relationship, left.attributes.get("error_code")) == ("rejected", code)


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        pytest.param(b"x", {"Content-Type": "image/\udcff"}, id="type-that-is-no-text"),
        pytest.param(b"x", {"Content-Type": "image/a\r\nb\x1b[31m"}, id="type-with-control-characters"),
        pytest.param(
            b'{"image": "QUJD", "type": "\\ud800"}', {"Content-Type": "application/json"}, id="surrogate-in-json"
        ),
        pytest.param(
            b'{"image": "QUJD", "type": "a\\nb\\u0000"}', {"Content-Type": "application/json"}, id="lines-in-json"
        ),
        pytest.param(b'{"image_uri": "\\ud800"}', {"Content-Type": "application/json"}, id="surrogate-in-uri"),
        pytest.param(b"x", {"Content-Type": "image/png", "filename": "\udcff\u202e.png"}, id="name-that-is-no-text"),
        pytest.param(b"x", {"http.method": "G\nT\udcff", "Content-Type": "image/png"}, id="method-that-is-no-text"),
        pytest.param(b"x", {"Content-Type": "image/png", "Idempotency-Key": "\udcff\n"}, id="key-that-is-no-text"),
    ],
)
def test_what_a_client_sends_never_breaks_the_line_that_says_what_was_wrong(
    hosted: Host, tmp_path: Path, content: bytes, sent: dict[str, str]
) -> None:
    left = hosted("FilterImageRequest").transform(content, sent)
    assert left.relationship == "rejected"
    assert left.attributes["error_detail"].isprintable()
    for text in column_values(left.attributes).values():
        text.encode()
    # The way to its row and to the answer is open, too.
    rows = hosted("PutKuduRecord", {"Local Database": str(tmp_path / "rows.duckdb")})
    assert rows.transform(b"", {**left.attributes, **AWAITED}).relationship == "success"


# --- the origin and the facts -------------------------------------------------------------------------------------

FILTERED = {"status": "accepted", "format": "PNG", "http.remote.addr": "203.0.113.9"}


def test_behind_the_filter_the_content_is_not_read_again(hosted: Host) -> None:
    left = hosted("EnrichImageMetadata").transform(None, FILTERED)  # None: reading would raise
    assert left.relationship == "success"
    assert left.set == {"source_ip": "203.0.113.9"}


def test_alone_it_reads_the_facts_itself(hosted: Host, picture: Picture) -> None:
    content = picture("GIF", size=(7, 5))
    left = hosted("EnrichImageMetadata").transform(content, {"http.remote.addr": "203.0.113.9"})
    assert left.relationship == "success"
    assert left.content is content
    assert {name: left.set[name] for name in ("format", "size_bytes", "width", "height", "frames", "source_ip")} == {
        "format": "GIF", "size_bytes": str(len(content)), "width": "7", "height": "5", "frames": "1",
        "source_ip": "203.0.113.9",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"plain text", "image.not_an_image", id="text"),
        pytest.param(b"", "image.not_an_image", id="nothing"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "image.truncated", id="png-signature"),
    ],
)
def test_alone_it_sends_what_is_no_image_to_failure(hosted: Host, content: bytes, code: str) -> None:
    left = hosted("EnrichImageMetadata").transform(content, {"http.remote.addr": "203.0.113.9"})
    assert left.relationship == "failure"
    assert (left.set["status"], left.set["error_code"]) == ("failed", code)
    assert left.set["source_ip"] == "203.0.113.9"


def test_a_rejected_request_gets_its_origin_and_leaves_by_its_own_way(hosted: Host) -> None:
    sent = {"status": "rejected", "restlistener.remote.source.host": "10.0.0.1", "X-Forwarded-For": "198.51.100.1"}
    left = hosted("EnrichImageMetadata", {"Trusted Proxies": "10.0.0.0/8"}).transform(None, sent)
    assert left.relationship == "rejected"
    assert left.set == {"source_ip": "198.51.100.1"}


@pytest.mark.parametrize(
    ("known", "expected"), [("alice", None), ("", "CN=bob"), (None, "CN=bob")], ids=["key", "blanked", "no-filter"]
)
def test_the_name_of_an_access_key_goes_before_the_certificates(
    hosted: Host, known: str | None, expected: str | None
) -> None:
    sent = {**FILTERED, "http.subject.dn": "CN=bob", **({} if known is None else {"source_user": known})}
    assert hosted("EnrichImageMetadata").transform(None, sent).set.get("source_user") == expected


@pytest.fixture
def with_gps() -> bytes:
    exif = Image.Exif()
    exif[0x8825] = {1: "S", 2: (33.0, 51.0, 24.5), 3: "E", 4: (151.0, 12.0, 55.0)}
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("filtered", [True, False], ids=["behind-the-filter", "alone"])
def test_a_position_is_left_out_unless_asked_for(hosted: Host, with_gps: bytes, filtered: bool) -> None:
    sent = {"format": "JPEG"} if filtered else {}
    assert not [name for name in hosted("EnrichImageMetadata").transform(with_gps, sent).attributes if "gps" in name]
    asked = hosted("EnrichImageMetadata", {"Keep GPS": "true"}).transform(with_gps, sent)
    assert asked.relationship == "success"
    assert float(asked.set["gps_latitude"]) == pytest.approx(-33.85680556)
    assert float(asked.set["gps_longitude"]) == pytest.approx(151.21527778)


def test_a_picture_without_a_position_is_no_error(hosted: Host, picture: Picture) -> None:
    left = hosted("EnrichImageMetadata", {"Keep GPS": "true"}).transform(picture("JPEG"), {"format": "JPEG"})
    assert left.relationship == "success"
    assert not [name for name in left.set if "gps" in name]


# --- the image store ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False], ids=["behind-the-filter", "alone"])
def test_an_image_is_stored_and_its_uri_recorded(hosted: Host, picture: Picture, tmp_path: Path, known: bool) -> None:
    content = picture()
    image_id = hashlib.sha256(content).hexdigest()
    left = hosted("StoreImage", {"Store URI": str(tmp_path)}).transform(
        content, {"image_id": image_id, "format": "PNG"} if known else {}
    )
    assert left.relationship == "success"
    assert left.content is content
    assert left.attributes["image_id"] == image_id
    assert ImageStore(open_store(Location.parse(str(tmp_path)))).get(left.attributes["storage_uri"], 10_000) == content


@pytest.fixture
def blocked(hosted: Host, tmp_path: Path) -> Any:
    """A store that cannot be written, not even by root, until the file is gone."""
    (tmp_path / "objects").write_text("a file in the place of the folder")
    return hosted("StoreImage", {"Store URI": str(tmp_path / "objects")})


def test_an_image_that_cannot_be_stored_fails_where_a_client_waits(blocked: Any, picture: Picture) -> None:
    left = blocked.transform(picture(), {**AWAITED, "status": "accepted", "format": "PNG"})
    assert left.relationship == "refused"
    assert (left.set["status"], left.set["error_code"]) == ("failed", "objects.unavailable")


def test_an_image_that_was_acknowledged_before_is_stored_later_as_if_nothing_had_been(
    blocked: Any, picture: Picture, tmp_path: Path
) -> None:
    left = blocked.transform(picture(), {"status": "accepted", "format": "PNG"})
    assert (left.relationship, left.content) == ("retry", picture())
    (tmp_path / "objects").unlink()
    again = blocked.transform(left.content, left.attributes)  # it looped back as it left
    assert again.relationship == "success"
    assert again.attributes["status"] == "accepted"


# --- the classifier -----------------------------------------------------------------------------------------------


def test_a_picture_is_classified_with_the_model_that_said_so(
    hosted: Host, picture: Picture, colour_model: Path
) -> None:
    classify = hosted("ClassifyImage", {"Model Folder": str(colour_model), "Top K": "2"})
    content = picture("PNG", "blue")
    left = classify.transform(content, {"format": "PNG"})
    assert left.relationship == "success"
    assert left.content is content
    record = record_from_attributes({**column_values(left.attributes), "event_time": "2026-03-01T00:00:00.000000Z",
                                     "request_id": "x"})  # fmt: skip
    assert (record.status, record.predicted_class, record.model_name, record.model_version) == (
        "classified", "blue", "colours", "1",
    )  # fmt: skip
    top = json.loads(record.top_k)
    assert [item["class"] for item in top] == ["blue", "red"]
    assert record.confidence == pytest.approx(top[0]["probability"], abs=1e-6)
    assert record.preprocess_ms >= 0
    assert record.inference_ms >= 0


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param(lambda model: None, "image.corrupt", id="broken-picture"),
        pytest.param(lambda model: (model / "1" / "model.tflite").write_bytes(b"x"), "model.broken", id="broken-model"),
        pytest.param(lambda model: (model / "1" / "manifest.json").unlink(), "configuration", id="model-gone"),
    ],
)
def test_what_cannot_be_classified_fails_with_its_code(
    hosted: Host, tmp_path: Path, tflite: Host, write_model: Host, spoil: Callable[[Path], None], code: str
) -> None:
    write_model(tmp_path / "1", {"litert": ("model.tflite", tflite())})
    classify = hosted("ClassifyImage", {"Model Folder": str(tmp_path)})
    spoil(tmp_path)
    left = classify.transform(b"\x89PNG\r\n\x1a\n", {"format": "PNG"})
    assert left.relationship == "failure"
    assert (left.set["status"], left.set["error_code"]) == ("failed", code)


def test_a_model_that_was_put_right_serves_without_a_new_schedule(
    hosted: Host, picture: Picture, tmp_path: Path, tflite: Host, write_model: Host
) -> None:
    write_model(tmp_path / "1", {"litert": ("model.tflite", tflite())})
    classify = hosted("ClassifyImage", {"Model Folder": str(tmp_path)})
    content = (tmp_path / "1" / "model.tflite").read_bytes()
    (tmp_path / "1" / "model.tflite").write_bytes(b"half of it")
    assert classify.transform(picture(), {"format": "PNG"}).relationship == "failure"
    (tmp_path / "1" / "model.tflite").write_bytes(content)
    assert classify.transform(picture(), {"format": "PNG"}).relationship == "success"


# --- the rows -----------------------------------------------------------------------------------------------------


@pytest.fixture
def rows(hosted: Host, tmp_path: Path) -> Any:
    return hosted("PutKuduRecord", {"Local Database": str(tmp_path / "rows" / "rows.duckdb")})


def written(rows: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        rows.processor.rows.get(rows.host.context).images.store.query("SELECT * FROM image_events").to_pylist()
    )
    return found


def take_away(rows: Any) -> None:
    """The database is gone from under the processor, as when its disk is."""
    rows.processor.rows.get(rows.host.context).close()


CLASSIFIED = {"status": "classified", "predicted_class": "frog", "confidence": "0.9", "format": "PNG",
              "top_k": '[{"class": "frog", "probability": 0.9}]'}  # fmt: skip


def with_key(attributes: Mapping[str, str]) -> dict[str, str]:
    request_id = new_request_id(adapter.now())
    return {"request_id": request_id, "event_time": to_text(event_time(request_id)), **attributes}


def test_a_written_row_is_answered_with_the_record(rows: Any) -> None:
    sent = with_key({**CLASSIFIED, **AWAITED})
    left = rows.transform(b"the image", sent)
    assert left.relationship == "success"
    assert (left.set["http.response.status"], left.set["mime.type"]) == ("200", "application/json")
    answer = json.loads(left.content)
    assert (answer["request_id"], answer["predicted_class"]) == (sent["request_id"], "frog")
    assert answer["top_k"] == [{"class": "frog", "probability": 0.9}]
    (row,) = written(rows)
    assert (row["request_id"], row["predicted_class"]) == (sent["request_id"], "frog")
    assert row["total_ms"] >= 0
    assert row["node"]


@pytest.mark.parametrize(
    ("attributes", "status", "retry_after"),
    [
        pytest.param(
            {"status": "rejected", "error_code": "image.truncated", "error_detail": "cut"}, "422", None, id="rejected"
        ),
        pytest.param({"status": "rejected", "error_code": "access.key_wrong"}, "401", None, id="no-entry"),
        pytest.param(
            {"status": "failed", "error_code": "model.broken", "error_detail": "hash"}, "500", None, id="failed"
        ),
        pytest.param({"status": "failed", "error_code": "objects.unavailable"}, "503", "5", id="failed-for-now"),
        pytest.param({"status": "failed"}, "500", None, id="failed-without-a-code"),
    ],
)
def test_a_written_row_of_a_bad_request_is_answered_with_its_problem(
    rows: Any, attributes: dict[str, str], status: str, retry_after: str | None
) -> None:
    sent = with_key({**attributes, **AWAITED})
    left = rows.transform(b"whatever came", sent)
    assert left.relationship == "success"
    assert (left.set["http.response.status"], left.set["mime.type"]) == (status, "application/problem+json")
    assert left.set.get("Retry-After") == retry_after
    answer = json.loads(left.content)
    assert (answer["status"], answer["request_id"]) == (int(status), sent["request_id"])
    assert answer["error_code"] == attributes.get("error_code", "internal")
    # What went wrong on our side names paths and hosts, so it is told to the row and not to the client.
    assert answer.get("detail") == (attributes.get("error_detail") if int(status) < 500 else None)
    (row,) = written(rows)
    assert row["status"] == attributes["status"]


def test_a_flowfile_that_comes_twice_leaves_one_row(rows: Any) -> None:
    sent = with_key(CLASSIFIED)
    assert [rows.transform(b"", sent).relationship for _ in range(3)] == ["success"] * 3
    assert len(written(rows)) == 1


@pytest.mark.parametrize("attributes", [CLASSIFIED, {"status": "rejected", "error_code": "image.truncated"}],
                         ids=["classified", "rejected"])  # fmt: skip
def test_a_store_that_is_away_is_tried_again_and_then_the_row_is_the_same(
    rows: Any, attributes: dict[str, str]
) -> None:
    take_away(rows)
    sent = with_key(attributes)
    left = rows.transform(b"the image", sent)
    assert (left.relationship, left.content) == ("retry", b"the image")
    rows.processor.onScheduled(rows.host.context)  # the database is back
    assert rows.transform(left.content, left.attributes).relationship == "success"  # it looped back as it left
    (row,) = written(rows)
    assert (row["status"], row["error_code"]) == (attributes["status"], attributes.get("error_code"))


def test_a_waiting_client_is_told_that_the_store_is_away(rows: Any) -> None:
    take_away(rows)
    sent = with_key({**CLASSIFIED, **AWAITED})
    left = rows.transform(b"the image", sent)
    assert left.relationship == "refused"
    assert (left.set["http.response.status"], left.set["Retry-After"]) == ("503", "5")
    assert left.set["mime.type"] == "application/problem+json"
    answer = json.loads(left.content)
    assert (answer["status"], answer["error_code"], answer["request_id"]) == (
        503,
        "rows.unavailable",
        sent["request_id"],
    )


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({**CLASSIFIED, "confidence": "2"}, id="impossible-confidence"),
        pytest.param({**CLASSIFIED, "event_time": ""}, id="no-time"),
        pytest.param({**CLASSIFIED, "request_id": ""}, id="no-id"),
        pytest.param({**CLASSIFIED, "status": "done"}, id="unknown-status"),
        pytest.param({**CLASSIFIED, "width": str(2**40)}, id="width-beyond-the-column"),
    ],
)
def test_a_row_that_can_never_be_written_is_not_tried_again(rows: Any, attributes: dict[str, str]) -> None:
    left = rows.transform(b"the image", with_key(attributes))
    assert left.relationship == "failure"
    assert left.set["error_code"] == "rows.rejected"
    awaited = rows.transform(b"the image", with_key({**attributes, **AWAITED}))
    assert (awaited.relationship, awaited.set["http.response.status"]) == ("refused", "500")
    assert json.loads(awaited.content)["error_code"] == "rows.rejected"
    assert written(rows) == []


def test_what_the_last_step_sets_itself_cannot_be_claimed_nor_cost_the_row(rows: Any) -> None:
    sent = with_key({**CLASSIFIED, "total_ms": "abc", "node": "made up"})
    assert rows.transform(b"the image", sent).relationship == "success"
    (row,) = written(rows)
    assert row["total_ms"] >= 0
    assert row["node"] != "made up"


def test_one_bad_row_does_not_take_the_rows_of_other_tasks_with_it(rows: Any) -> None:
    sent = [with_key({**CLASSIFIED, "file_name": "\udcff" if n % 7 == 0 else "a.png"}) for n in range(70)]
    with ThreadPoolExecutor(8) as pool:
        left = list(pool.map(lambda attributes: rows.transform(b"", attributes).relationship, sent))
    assert left == ["failure" if n % 7 == 0 else "success" for n in range(70)]
    assert len(written(rows)) == 60


# --- the search index ---------------------------------------------------------------------------------------------


def test_without_an_address_every_flowfile_leaves_untouched_by_its_own_way(hosted: Host) -> None:
    left = hosted("PutSolrDocument").transform(b"the answer", {"status": "classified"})
    assert (left.relationship, left.content, left.set) == ("switched off", b"the answer", {})


# --- what a sender of FlowFile packages claims --------------------------------------------------------------------

CLAIMS = {
    "event_time": "2001-01-01T00:00:00.000000Z", "request_id": new_request_id(adapter.now()), "status": "classified",
    "error_code": "made.up", "error_detail": "made up", "image_id": "00" * 32, "file_name": "../made\nup.png",
    "declared_type": "image/made-up", "fields": '{"part": "made up"}',
    "format": "GIF", "size_bytes": "1", "width": "1", "height": "1",
    "color_mode": "made up", "frames": "9", "notes": '["made up"]',
    "source_ip": "198.51.100.1", "source_user": "admin", "gps_latitude": "1.5", "gps_longitude": "2.5",
    "storage_uri": "file:///made/up", "predicted_class": "made up", "confidence": "1.0", "top_k": "[]",
    "model_name": "made up", "model_version": "9", "preprocess_ms": "9.0", "inference_ms": "9.0", "embedding": "CQkJ",
    "total_ms": "9.0", "node": "made up", "http.remote.addr": "198.51.100.1", "http.subject.dn": "CN=admin",
}  # fmt: skip
LISTENED = {"Content-Type": "image/png", "uuid": "1", "filename": "1", "restlistener.remote.source.host": "203.0.113.9",
            "restlistener.remote.user.dn": "none"}  # fmt: skip


@pytest.fixture
def whole_way(
    hosted: Host, tmp_path: Path, tflite: Host, write_model: Host
) -> Callable[[bytes, Mapping[str, str]], dict[str, Any]]:
    """From the filter to the row; a FlowFile that fails on the way goes on to its row, as in the flow."""
    write_model(tmp_path / "model" / "1", {"litert": ("model.tflite", tflite())})
    steps = [
        hosted("FilterImageRequest"),
        hosted("EnrichImageMetadata"),
        hosted("StoreImage", {"Store URI": str(tmp_path / "objects")}),
        hosted("ClassifyImage", {"Model Folder": str(tmp_path / "model")}),
    ]
    rows = hosted("PutKuduRecord", {"Local Database": str(tmp_path / "rows.duckdb")})

    def run(content: bytes, sent: Mapping[str, str]) -> dict[str, Any]:
        attributes: Mapping[str, str] = sent
        for step in steps:
            left = step.transform(content, attributes)
            content, attributes = left.content, left.attributes
            if left.relationship == "failure" or (left.relationship, step) == ("rejected", steps[1]):
                break
        left = rows.transform(content, attributes)
        assert left.relationship == "success"
        (row,) = (row for row in written(rows) if row["request_id"] == attributes["request_id"])
        return row

    return run


@pytest.mark.parametrize("way", ["classified", "rejected", "model broken"])
def test_nothing_that_a_flowfile_package_claims_comes_into_its_row(
    whole_way: Callable[[bytes, Mapping[str, str]], dict[str, Any]], picture: Picture, tmp_path: Path, way: str
) -> None:
    content = b"no picture" if way == "rejected" else picture()
    if way == "model broken":
        (tmp_path / "model" / "1" / "model.tflite").write_bytes(b"x")
    honest, claimed = whole_way(content, LISTENED), whole_way(content, {**CLAIMS, **LISTENED})
    assert claimed["request_id"] != CLAIMS["request_id"]
    assert claimed["event_time"] == event_time(claimed["request_id"])
    varying = {"event_time", "request_id", "total_ms", "preprocess_ms", "inference_ms"}
    different = {name: claimed[name] for name in honest if name not in varying and claimed[name] != honest[name]}
    assert different == {}
    assert [claimed[name] is None for name in varying] == [honest[name] is None for name in varying]
    assert 9.0 not in (claimed["preprocess_ms"], claimed["inference_ms"], claimed["total_ms"])


# --- many tasks at once -------------------------------------------------------------------------------------------


def alone_and_together(host: Any, inputs: Sequence[tuple[bytes, Mapping[str, str]]], varying: set[str]) -> Counter[str]:
    """Eight threads get the same out of one processor as one does. Returns how many left on which relationship."""

    def run(item: tuple[bytes, Mapping[str, str]]) -> tuple[str, dict[str, str], bytes | None]:
        left = host.transform(*item)
        return left.relationship, {name: text for name, text in left.set.items() if name not in varying}, left.content

    gate = threading.Barrier(8)

    def share(number: int) -> list[tuple[str, dict[str, str], bytes | None]]:
        gate.wait()
        return [run(item) for item in inputs[number::8]]

    with ThreadPoolExecutor(8) as pool:  # first, so that the threads also meet in the preparation
        shares = list(pool.map(share, range(8)))
    alone = [[run(item) for item in inputs[number::8]] for number in range(8)]
    assert shares == alone
    return Counter(relationship for share in alone for relationship, _, _ in share)


@pytest.fixture
def pictures(picture: Picture) -> list[bytes]:
    formats = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
    return [picture(formats[n % 6], (n * 5 % 256, n * 11 % 256, n * 17 % 256), (8 + n % 5, 6)) for n in range(64)]


def test_filter_is_safe_in_many_threads(hosted: Host, pictures: list[bytes]) -> None:
    types = ("png", "jpeg", "gif", "webp", "bmp", "tiff")
    keys = [new_request_id(adapter.now()) for _ in pictures]
    inputs = [(content, {"Content-Type": f"image/{types[n % 6] if n % 8 else 'png'}", "Idempotency-Key": keys[n],
                         "X-Access-Key": KEY if n % 3 else "wrong-0123456789"})
              for n, content in enumerate(pictures)]  # fmt: skip
    inputs = [item for item in inputs if item[1]["X-Access-Key"] == KEY] * 2  # others get a fresh id each time
    left = alone_and_together(hosted("FilterImageRequest", {"Access Keys": f"alice:{KEY}"}), inputs, set())
    lies = sum(headers["Content-Type"] != f"image/{types[pictures.index(content) % 6]}" for content, headers in inputs)
    assert lies > 0
    assert left == {"success": len(inputs) - lies, "rejected": lies}


def test_enrich_is_safe_in_many_threads(hosted: Host, pictures: list[bytes]) -> None:
    inputs = [(content, {"http.remote.addr": f"203.0.113.{n}"}) for n, content in enumerate(pictures)]
    assert alone_and_together(hosted("EnrichImageMetadata", {"Keep GPS": "true"}), inputs, set()) == {"success": 64}


def test_store_is_safe_in_many_threads(hosted: Host, pictures: list[bytes], tmp_path: Path) -> None:
    alone_and_together(hosted("StoreImage", {"Store URI": str(tmp_path)}), [(c, {}) for c in pictures] * 2, set())
    assert len(list(tmp_path.rglob("*.bin"))) == len(set(pictures))


def test_classify_is_safe_in_many_threads(hosted: Host, pictures: list[bytes], colour_model: Path) -> None:
    host = hosted("ClassifyImage", {"Model Folder": str(colour_model)})
    left = alone_and_together(host, [(content, {}) for content in pictures], {"preprocess_ms", "inference_ms"})
    assert left == {"success": 64}


def test_rows_are_safe_in_many_threads(rows: Any) -> None:
    sent = [with_key({**CLASSIFIED, "width": str(n)}) for n in range(160)]

    def run(attributes: dict[str, str]) -> tuple[str, str, int]:
        left = rows.transform(b"", attributes)
        answer = json.loads(left.content)
        return left.relationship, answer["request_id"], answer["width"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, sent))
    assert found == [("success", attributes["request_id"], n) for n, attributes in enumerate(sent)]
    assert sorted(row["width"] for row in written(rows)) == list(range(160))


def test_the_switched_off_index_is_safe_in_many_threads(hosted: Host) -> None:
    left = alone_and_together(hosted("PutSolrDocument"), [(b"x", {"status": "classified"})] * 32, set())
    assert left == {"switched off": 32}
