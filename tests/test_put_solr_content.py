"""PutSolrDocument with the records of a content, with attributes and with Solr's own commands, on a real Solr."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import requests

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.ports import free_ports
from tests.conftest import Hosted, Left
from tests.solr_service import READER, WRITER, Solr, found

Host = Callable[..., Hosted]
HOSTILE = [
    '"}, {"id": "x"',
    "*:*",
    "</field><field name='id'>x",
    "${uuid}",
    "\\u0022",
    "a\nb",
    "{!term f=id}x",
    "🐈",
    "]]>",
    "a,b",
]


@pytest.fixture
def put(hosted: Host, solr: str) -> Callable[..., Hosted]:
    """The processor on the test's core, with `content` as its source unless another is given."""

    def make(**properties: str) -> Hosted:
        names = {name.replace("_", " "): text for name, text in properties.items()}
        return hosted("PutSolrDocument", {"Solr URL": solr, "Record Source": "content", **names})

    return make


def lines(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def record(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"d{number:05}", "owner": "somebody", "count": number, **more}


def report(left: Left) -> list[dict[str, Any]]:
    assert left.content is not None
    return [json.loads(line) for line in left.content.splitlines()]


# --- formats --------------------------------------------------------------------------------------------------------


def arrow(*records: dict[str, Any]) -> bytes:
    table = pa.Table.from_pylist(list(records))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("content", [
    pytest.param(json.dumps(record(1)).encode(), id="object"),
    pytest.param(json.dumps([record(1)]).encode(), id="array"),
    pytest.param(lines(record(1)), id="lines"),
    pytest.param(arrow(record(1)), id="arrow"),
])  # fmt: skip
def test_records_of_each_format_are_documents(put: Callable[..., Hosted], solr: str, content: bytes) -> None:
    left = put().transform(content)
    assert (left.relationship, left.content, left.set) == ("success", content, {"record.count": "1"})
    assert [(d["id"], d["count"]) for d in found(solr)] == [("d00001", 1)]


def test_a_record_that_comes_twice_is_one_document(put: Callable[..., Hosted], solr: str) -> None:
    host = put()
    for title in ("old", "new"):
        assert host.transform(lines(record(1, title=title), record(2, title=title))).relationship == "success"
    assert [d["title"] for d in found(solr)] == ["new", "new"]


def test_no_records_are_success(put: Callable[..., Hosted], solr: str) -> None:
    left = put(**{"Record Format": "json-lines"}).transform(b"")
    assert (left.relationship, left.set) == ("success", {"record.count": "0"})


def test_what_is_no_content_of_records_goes_to_failure(put: Callable[..., Hosted]) -> None:
    left = put().transform(b"<add/>")
    assert (left.relationship, left.set["error_code"]) == ("failure", "records.malformed")


def test_values_of_arrow_become_solrs(put: Callable[..., Hosted], solr: str) -> None:
    table = pa.table(
        {
            "id": ["a"],
            "owner": pa.array(["x"]).dictionary_encode(),
            "taken": pa.array([1_796_112_000_123_456], pa.timestamp("us", "Europe/Paris")),
            "times": pa.array([[20_000]], pa.list_(pa.date32())),
            "content": pa.array([b"\x00\xff"]),
            "share": pa.array([None], pa.float64()),
            "large": pa.array([2**60], pa.int64()),
            "words": pa.array([["a", None]]),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert put(**{"Record Format": "arrow"}).transform(bytes(sink.getvalue())).relationship == "success"
    [there] = found(solr)
    there.pop("_version_")
    assert there == {
        "id": "a", "owner": "x", "taken": "2026-12-01T08:00:00.123Z", "times": ["2024-10-04T00:00:00Z"], "content": "AP8=",
        "large": 2**60, "words": ["a"],
    }  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_anything_but_text(put: Callable[..., Hosted], solr: str, text: str) -> None:
    host = put()
    sent = record(1, word=text, title=text, words=[text])
    assert host.transform(json.dumps([sent, record(2)]).encode()).relationship == "success"
    [first, second] = found(solr)
    assert (first["word"], first["title"], first["words"]) == (text, text, [text])
    assert put(Operation="delete matching").transform(lines({"word": text})).relationship == "success"
    assert [d["count"] for d in found(solr)] == [second["count"]]


# --- bad ones -------------------------------------------------------------------------------------------------------


def test_bad_records_are_named_and_all_others_are_there(put: Callable[..., Hosted], solr: str) -> None:
    bad = {
        3: ({"count": "x"}, "solr.wrong_value"), 5: ({"nowhere": 1}, "solr.unknown_field"),
        6: ({"owner": None}, "solr.missing_value"), 8: ({"id": None}, "solr.missing_value"),
        9: ({"word": "x" * 40_000}, "solr.too_large"), 11: ({"words": [["a"]]}, "solr.wrong_value"),
    }  # fmt: skip
    content = lines(*(record(n, **bad.get(n, ({}, ""))[0]) for n in range(12))) + b"no json\n" + lines(record(13))
    left = put(**{"Record Format": "json-lines"}).transform(content)
    assert left.relationship == "bad documents"
    assert [(line["row"], line["error_code"]) for line in report(left)] == [
        *((n, code) for n, (_, code) in bad.items()), (12, "records.malformed"),
    ]  # fmt: skip
    assert report(left)[0]["record"] == record(3, count="x")
    assert (left.set["bad.count"], left.set["record.count"], left.set["error_code"]) == ("7", "7", "solr.wrong_value")
    assert left.set["mime.type"] == "application/x-ndjson"
    assert [d["count"] for d in found(solr)] == [0, 1, 2, 4, 7, 10, 13]


def test_bad_rows_of_arrow_are_named_too(put: Callable[..., Hosted], solr: str) -> None:
    left = put().transform(arrow(record(1), {**record(2), "owner": None}, record(3)))
    assert [(line["row"], line["error_code"]) for line in report(left)] == [(1, "solr.missing_value")]
    assert [d["count"] for d in found(solr)] == [1, 3]


# --- mapping --------------------------------------------------------------------------------------------------------


def test_fields_are_renamed_dropped_and_chosen(put: Callable[..., Hosted], solr: str) -> None:
    host = put(**{"Field Mapping": '{"uuid": "id", "who": "owner", "debug": ""}', "Fields To Index": "owner, count"})
    assert (
        host.transform(lines({"uuid": "a", "who": "x", "count": 1, "debug": "?", "title": "not"})).relationship
        == "success"
    )
    [there] = found(solr)
    assert there.keys() - {"_version_"} == {"id", "owner", "count"}


def test_two_fields_for_one_make_a_record_bad(put: Callable[..., Hosted]) -> None:
    left = put(**{"Field Mapping": '{"title_s": "title"}'}).transform(lines(record(1, title="a", title_s="b")))
    assert report(left)[0]["error_code"] == "records.malformed"


def test_objects_within_a_record_become_fields_of_their_own(put: Callable[..., Hosted], solr: str) -> None:
    nested = record(1, a={"b": {"s": "deep"}, "i": 7, "no": None}, exams=[{"name_s": "x"}, {"name_s": "y"}])
    nested["exams"] = [{"s": "x"}]
    left = put().transform(
        lines({**nested, "a": {"b": {"s": "deep"}, "i": 7}}, record(2, wor={"ds": "z"}) | {"wor": {}})
    )
    assert left.relationship == "success", left
    [first, second] = found(solr)
    assert (first["a_b_s"], first["a_i"], first["exams_s"]) == ("deep", 7, "x")
    assert second["count"] == 2
    assert put(**{"Nested Objects": "refuse"}).transform(lines(nested)).relationship == "bad documents"


def test_a_list_of_objects_becomes_fields_with_several_values(put: Callable[..., Hosted], solr: str) -> None:
    host = put(**{"Field Mapping": '{"exams_name": "words", "exams_year": "numbers"}'})
    exams = [{"name": "maths", "year": 1}, {"name": "art", "year": 2}, {"name": "law"}]
    assert host.transform(lines(record(1, exams=exams))).relationship == "success"
    [there] = found(solr)
    assert (there["words"], there["numbers"]) == (["maths", "art", "law"], [1, 2])
    assert host.transform(lines(record(1, exams=[{"name": "a"}, 5]))).relationship == "bad documents"


def test_an_object_in_a_record_is_no_atomic_update(put: Callable[..., Hosted], solr: str) -> None:
    put().transform(lines(record(1, word="keep")))
    left = put(**{"Nested Objects": "refuse"}).transform(lines(record(1, word={"set": "other"})))
    assert report(left)[0]["error_code"] == "solr.wrong_value"
    assert put().transform(lines(record(1, word={"set": "other"}))).relationship == "bad documents"  # no field word_set
    assert [d["word"] for d in found(solr)] == ["keep"]


@pytest.mark.parametrize(
    ("value", "unit", "there"),
    [
        ("2026-12-01T08:00:00+01:00", "millis", "2026-12-01T07:00:00Z"),
        ("2026-12-01", "millis", "2026-12-01T00:00:00Z"),
        (1_796_112_000, "seconds", "2026-12-01T08:00:00Z"),
        (1_796_112_000_000_000, "micros", "2026-12-01T08:00:00Z"),
    ],
)
def test_dates_take_solrs_form(put: Callable[..., Hosted], solr: str, value: object, unit: str, there: str) -> None:
    host = put(**{"Date Fields": "taken,times", "Integer Timestamps": unit})
    assert host.transform(lines(record(1, taken=value, times=[value, value]))).relationship == "success"
    assert [(d["taken"], d["times"]) for d in found(solr)] == [(there, [there, there])]
    left = host.transform(lines(record(2, taken="soon")))
    assert report(left)[0]["error_code"] == "solr.wrong_value"


# --- operations -----------------------------------------------------------------------------------------------------


def test_atomic_updates_by_property_and_by_record(put: Callable[..., Hosted], solr: str) -> None:
    put().transform(lines(record(1, words=["a"], title="old", word="gone", numbers=[1])))
    host = put(Operation="update", **{"Field Operations": '{"count": "inc", "words": "add-distinct"}'})
    update = {"id": "d00001", "count": 5, "words": ["a", "b"], "title": "new", "word": None, "numbers": {"add": [2]}}
    assert host.transform(lines(update)).relationship == "success"
    [there] = found(solr)
    assert {name: there.get(name) for name in (*update, "owner")} == {
        "id": "d00001", "count": 6, "words": ["a", "b"], "title": "new", "word": None, "numbers": [1, 2], "owner": "somebody",
    }  # fmt: skip


def test_documents_are_deleted_by_id(put: Callable[..., Hosted], solr: str) -> None:
    put().transform(lines(*(record(n) for n in range(4))))
    left = put(Operation="delete").transform(
        lines({"id": "d00001"}, {"id": "d00002", "more": 1}, {"id": "none"}, {"x": 1})
    )
    assert [(line["row"], line["error_code"]) for line in report(left)] == [(3, "solr.missing_value")]
    assert [d["count"] for d in found(solr)] == [0, 3]


def test_documents_are_deleted_by_their_values(put: Callable[..., Hosted], solr: str) -> None:
    put().transform(lines(*(record(n, word="ab"[n % 2]) for n in range(4))))
    found(solr)
    left = put(Operation="delete matching").transform(lines({"word": "a", "count": 2}, {}, {"word": ["b"]}))
    assert [(line["row"], line["error_code"]) for line in report(left)] == [(1, "solr.missing_value")]
    assert [d["count"] for d in found(solr)] == [0]


def test_the_operation_may_come_from_an_attribute(put: Callable[..., Hosted], solr: str) -> None:
    host = put(Operation="${what}")
    assert host.transform(lines(record(1)), {"what": "ADD"}).relationship == "success"
    assert host.transform(lines(record(1)), {"what": "delete"}).relationship == "success"
    assert found(solr) == []
    left = host.transform(lines(record(1)), {"what": "explode"})
    assert (left.relationship, left.set["error_code"]) == ("failure", "configuration")


def test_insert_only_tells_conflicts_from_bad_documents(put: Callable[..., Hosted], solr: str) -> None:
    host = put(**{"Document Version": "insert only"})
    assert host.transform(lines(record(1))).relationship == "success"
    left = host.transform(lines(record(1, title="new"), record(2)))
    assert (left.relationship, left.set["error_code"]) == ("conflict", "solr.conflict")
    assert [line["row"] for line in report(left)] == [0]
    left = host.transform(lines(record(1), record(3, count="x")))
    assert left.relationship == "bad documents"
    assert [line["error_code"] for line in report(left)] == ["solr.conflict", "solr.wrong_value"]
    assert ["title" in d for d in found(solr)] == [False, False]


def test_update_only_and_the_version_of_the_record(put: Callable[..., Hosted], solr: str) -> None:
    update, exact = put(**{"Document Version": "update only"}), put(**{"Document Version": "of the record"})
    assert update.transform(lines(record(1))).relationship == "conflict"
    assert put().transform(lines(record(1))).relationship == "success"
    assert update.transform(lines(record(1))).relationship == "success"
    [there] = found(solr)
    assert exact.transform(lines(there)).relationship == "success"
    assert exact.transform(lines(there)).relationship == "conflict"
    assert exact.transform(lines({**there, "_version_": "-1"})).relationship == "conflict"
    assert report(exact.transform(lines({**there, "_version_": "x"})))[0]["error_code"] == "solr.wrong_value"
    assert put().transform(lines(there)).relationship == "success", "overwrite passes over the record's version"
    assert (
        put(Operation="delete", **{"Document Version": "of the record"}).transform(lines(there)).relationship
        == "conflict"
    )


# --- attributes -----------------------------------------------------------------------------------------------------


def test_attributes_are_one_document(put: Callable[..., Hosted], solr: str) -> None:
    host = put(
        **{"Record Source": "attributes", "Fields To Index": "owner,count,words,taken,title", "Value Separator": "|",
           "Field Mapping": '{"uuid": "id", "filename": "title"}', "Date Fields": "taken"}
    )  # fmt: skip
    attributes = {"uuid": "u|1", "owner": "me", "count": "7", "words": "a | b|c", "taken": "2026-12-01T08:00:00+01:00",
                  "filename": 'x".png', "path": "./", "word": "not named"}  # fmt: skip
    left = host.transform(b"the content", attributes)
    assert (left.relationship, left.content, left.set) == ("success", b"the content", {"record.count": "1"})
    [there] = found(solr)
    there.pop("_version_")
    assert there == {"id": "u|1", "owner": "me", "count": 7, "words": ["a", "b", "c"], "taken": "2026-12-01T07:00:00Z",
                     "title": 'x".png'}  # fmt: skip


def test_attributes_that_are_no_document_go_to_failure_and_conflicts_to_conflict(
    put: Callable[..., Hosted], solr: str
) -> None:
    host = put(**{"Record Source": "attributes", "Fields To Index": "owner,count", "Document Version": "insert only"})
    left = host.transform(b"x", {"id": "a", "owner": "me", "count": "many"})
    assert (left.relationship, left.set["error_code"], left.content) == ("failure", "solr.wrong_value", b"x")
    assert host.transform(b"x", {"owner": "me"}).set["error_code"] == "solr.missing_value"
    assert host.transform(b"x", {"id": "a", "owner": "me"}).relationship == "success"
    left = host.transform(b"x", {"id": "a", "owner": "me"})
    assert (left.relationship, left.set["error_code"], left.content) == ("conflict", "solr.conflict", b"x")


# --- commands -------------------------------------------------------------------------------------------------------

CSV = b"id,owner,words\na,me,x;y\nb,me,z\n"
XML = b"<add><doc><field name='id'>a</field><field name='owner'>me</field></doc></add>"
EXAMS = b'{"owner": "me", "exams": [{"id": "a", "title": "maths"}, {"id": "b", "title": "art"}]}'


@pytest.mark.parametrize(("properties", "content", "ids"), [
    pytest.param({}, b'{"id": "a", "owner": "me"}', ["a"], id="as-shipped"),
    pytest.param({"Content Stream Path": "/update"}, b'{"add": {"doc": {"id": "a", "owner": "me"}}, "delete": {"id": "b"}}',
                 ["a"], id="json-commands"),
    pytest.param({"Content Stream Path": "/update", "Content-Type": "text/xml"}, XML, ["a"], id="xml"),
    pytest.param({"Content Stream Path": "/update", "Content-Type": "application/csv", "f.words.split": "true",
                  "f.words.separator": ";"}, CSV, ["a", "b"], id="csv"),
    pytest.param({"split": "/exams", "f.1": "id:/exams/id", "f.2": "title:/exams/title", "f.3": "owner:/owner"}, EXAMS,
                 ["a", "b"], id="json-taken-apart"),
])  # fmt: skip
def test_a_content_of_commands_is_posted_as_it_is(
    put: Callable[..., Hosted], solr: str, properties: dict[str, str], content: bytes, ids: list[str]
) -> None:
    left = put(**{"Record Source": "commands", **properties}).transform(content)
    assert (left.relationship, left.content, left.set) == ("success", content, {"record.count": "1"})
    assert [d["id"] for d in found(solr)] == ids


def test_commands_that_solr_refuses_go_to_failure_and_conflicts_to_conflict(
    put: Callable[..., Hosted], solr: str
) -> None:
    host = put(**{"Record Source": "commands", "Content Stream Path": "/update"})
    left = host.transform(b'{"add": ')
    assert (left.relationship, left.set["error_code"]) == ("failure", "solr.refused")
    left = host.transform(b'{"add": {"doc": {"id": "a", "owner": "x", "_version_": 7}}}')
    assert (left.relationship, left.set["error_code"]) == ("conflict", "solr.conflict")
    left = put(
        **{"Record Source": "commands", "Content-Type": "image/png", "Content Stream Path": "/update"}
    ).transform(b"x")
    assert (left.relationship, left.set["error_code"]) == ("failure", "solr.refused")


def test_paths_types_and_parameters_may_come_from_attributes_and_lead_nowhere_else(
    put: Callable[..., Hosted], solr: str
) -> None:
    host = put(
        **{
            "Record Source": "commands",
            "Content Stream Path": "${path}",
            "Content-Type": "${type}",
            "literal.owner": "${who}",
        }
    )
    good = {"path": "/update", "type": "application/csv", "who": "me&commit=true&literal.id=x"}
    assert host.transform(b"id\na\n", good).relationship == "success"
    for bad in (
        {"path": "/../x/update"},
        {"path": "/update?commit=true"},
        {"path": "/admin/file"},
        {"type": "a\r\nX: y"},
    ):
        left = host.transform(b"id\na\n", {**good, **bad})
        assert (left.relationship, left.set["error_code"]) == ("failure", "configuration")
    assert requests.get(f"{solr}/select?q=*:*", timeout=10).json()["response"]["numFound"] == 0, "nothing was committed"
    assert [(d["id"], d["owner"]) for d in found(solr)] == [("a", good["who"])]


def test_parameters_of_the_request_reach_solr_for_records_too(put: Callable[..., Hosted], solr: str) -> None:
    host = put(**{"update.chain": "${chain}"})
    assert host.transform(lines(record(1)), {"chain": "tolerant"}).relationship == "success"
    left = host.transform(lines(record(1)), {"chain": "no-such-chain"})
    assert "no-such-chain" in report(left)[0]["error_detail"]
    assert host.transform(lines(record(2)), {}).relationship == "success"  # an empty one is none


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("properties", "named"), [
    ({"Solr URL": "solr:8983"}, "Solr URL"),
    ({"Solr URL": "http://a/solr/x", "Solr Location": "http://a/solr/x"}, "Solr Location"),
    ({"Solr URL": "http://a/solr"}, "Collection"),
    ({"Solr URL": "http://a/solr", "Collection": "a/b"}, "Collection"),
    ({"Solr Location": "zk1:2181", "Solr Type": "Cloud"}, "Collection"),
    ({"Solr URL": "http://a/solr/x", "Basic Password": "p"}, "Basic Username"),
    ({"Solr URL": "http://a/solr/x", "Trusted Certificates": "/no/file"}, "Trusted Certificates"),
    ({"Solr URL": "http://a/solr/x", "Commit Within": "soon"}, "Commit Within"),
    ({"Solr URL": "http://a/solr/x", "Batch Size": "0"}, "Batch Size"),
    ({"Solr URL": "http://a/solr/x", "Solr Update Path": "/../admin"}, "Solr Update Path"),
    ({"Solr URL": "http://a/solr/x", "Collection": "${from}"}, "Collection"),
    ({"Solr URL": "http://a/solr/x", "a parameter": "x"}, "a parameter"),
    ({"Solr URL": "http://a/solr/x", "split": "x"}, "split"),
    ({"Solr URL": "http://a/solr/x", "Record Source": "content", "stream.url": "x"}, "stream.url"),
    ({"Solr URL": "http://a/solr/x", "Record Source": "content", "commit": "true"}, "commit"),
    ({"Solr URL": "http://a/solr/x", "Record Source": "content", "Operation": "explode"}, "Operation"),
    ({"Solr URL": "http://a/solr/x", "Record Source": "content", "Field Mapping": "[]"}, "Field Mapping"),
    ({"Solr URL": "http://a/solr/x", "Record Source": "content", "Field Operations": '{"a": "b"}'}, "Field Operations"),
    ({"Solr URL": "http://a/solr/x", "Record Source": "attributes"}, "Fields To Index"),
    ({"Solr URL": "http://a/solr/x", "Document Version": "newest"}, "Document Version"),
])  # fmt: skip
def test_a_wrong_setting_is_found_before_the_first_flowfile(
    hosted: Host, properties: dict[str, str], named: str
) -> None:
    if named == "Document Version":
        properties = {**properties, "Record Source": "content"}
    with pytest.raises(ConfigurationError) as caught:
        hosted("PutSolrDocument", properties)
    assert named in str(caught.value)


def test_the_collection_may_come_from_an_attribute(hosted: Host, solr: str) -> None:
    base, _, name = solr.rpartition("/")
    host = hosted("PutSolrDocument", {"Solr URL": base, "Collection": "${where}", "Record Source": "content"})
    assert host.transform(lines(record(1)), {"where": name}).relationship == "success"
    assert len(found(solr)) == 1
    for where in ("", "../x", "admin"):
        assert host.transform(lines(record(1)), {"where": where}).set["error_code"] == "configuration"
    assert host.transform(lines(record(1)), {"where": "not-there-yet"}).relationship == "retry"


def test_a_cloud_is_found_by_its_zookeeper_as_in_nifi_1(hosted: Host, solr_cloud: Solr, solr_guarded: str) -> None:
    host = hosted(
        "PutSolrDocument",
        {"Solr Type": "Cloud", "Solr Location": solr_cloud.zookeeper, "Collection": "guarded", "Record Source": "content",
         "Basic Username": WRITER[0], "Basic Password": WRITER[1], "Hard Commit": "true"},
    )  # fmt: skip
    assert host.transform(lines(record(1), record(2, count="x"))).relationship == "bad documents"
    assert "d00001" in [d["id"] for d in found(solr_guarded, login=WRITER)]


@pytest.mark.parametrize("login", [(), READER, (WRITER[0], "wrong")], ids=["none", "reader", "wrong-password"])
def test_records_wait_while_the_login_is_wrong(hosted: Host, solr_guarded: str, login: tuple[str, ...]) -> None:
    names = dict(zip(("Basic Username", "Basic Password"), login, strict=False))
    host = hosted("PutSolrDocument", {"Solr URL": solr_guarded, "Record Source": "content", **names})
    left = host.transform(lines(record(1)))
    assert (left.relationship, left.content, left.set) == ("retry", lines(record(1)), {})


def test_a_standard_location_is_a_url(hosted: Host, solr: str) -> None:
    host = hosted("PutSolrDocument", {"Solr Location": solr, "Record Source": "content"})
    assert host.transform(lines(record(1))).relationship == "success"
    assert len(found(solr)) == 1


def test_commit_within_hard_commit_and_neither(put: Callable[..., Hosted], solr: str) -> None:
    search = lambda: requests.get(f"{solr}/select?q=*:*", timeout=10).json()["response"]["numFound"]  # noqa: E731
    assert put(**{"Commit Within": ""}).transform(lines(record(1))).relationship == "success"
    assert search() == 0
    assert put(**{"Hard Commit": "true"}).transform(lines(record(2))).relationship == "success"
    assert search() == 2
    assert put(**{"Commit Within": "${within}"}).transform(lines(record(3)), {"within": "10"}).relationship == "success"
    end = time.monotonic() + 20
    while search() < 3:
        assert time.monotonic() < end
    left = put(**{"Commit Within": "${within}"}).transform(lines(record(3)), {"within": "soon"})
    assert (left.relationship, left.set["error_code"]) == ("failure", "configuration")
    commands = put(**{"Record Source": "commands", "Hard Commit": "true"})
    assert commands.transform(b'{"id": "x", "owner": "y"}').relationship == "success"
    assert search() == 4


# --- Solr away ------------------------------------------------------------------------------------------------------


def test_everything_waits_on_retry_while_solr_is_away(hosted: Host) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/solr/x"
    for source in ("content", "commands", "attributes"):
        host = hosted("PutSolrDocument", {"Solr URL": url, "Record Source": source, "Fields To Index": "owner"})
        left = host.transform(lines(record(1)), {"id": "x"})
        assert (left.relationship, left.content, left.set) == ("retry", lines(record(1)), {})


def test_only_what_is_not_there_waits_when_solr_goes_away_in_between(
    put: Callable[..., Hosted], solr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = put(**{"Batch Size": "2"})
    sent = [record(0), record(1, count="x"), *(record(n) for n in range(2, 8))]
    opened = host.processor.documents.get(host.host.context)
    session, posts = opened.solr._session, []

    def request(*args: Any, **more: Any) -> Any:
        posts.append(1)
        if len(posts) == 4:
            raise requests.ConnectionError("gone")
        return requests.Session.request(session, *args, **more)

    monkeypatch.setattr(session, "request", request)
    left = host.transform(lines(*sent))
    assert left.relationship == "retry"
    assert left.content is not None
    waiting = [json.loads(line) for line in left.content.splitlines()]
    assert waiting[0] == sent[1], "a bad one is named in the end"
    there = {d["count"] for d in found(solr)}
    assert there | {each["count"] for each in waiting[1:]} == {0, *range(2, 8)}
    assert there
    left = host.transform(left.content)
    assert left.relationship == "bad documents"
    assert [line["record"] for line in report(left)] == [sent[1]]
    assert [d["count"] for d in found(solr)] == [0, *range(2, 8)]
