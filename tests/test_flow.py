import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows import build
from imagewarehouse.flows.check import check_flow
from imagewarehouse.flows.definition import (
    data_size,
    duration_s,
    parse_flow,
    read_flow,
    read_json,
    references,
    resolve,
)
from imagewarehouse.resources import REPOSITORY

Raw = dict[str, Any]
ROOMY = "10000 objects, 1 GB"
IN_PACKAGES = {"FlowFile Packages": "true"}  # a processor by itself takes images, in this flow they travel together


@pytest.fixture(scope="module")
def raw(request: pytest.FixtureRequest) -> Raw:
    return read_json(getattr(request, "param", build.FLOW_FILE))


both = pytest.mark.parametrize("raw", [build.FLOW_FILE, build.TLS_FLOW_FILE], ids=["http", "https"], indirect=True)


def groups(raw: Raw) -> Iterator[Raw]:
    pending = [raw["flowContents"]]
    while pending:
        group = pending.pop(0)
        yield group
        pending.extend(group["processGroups"])


def group(raw: Raw, name: str) -> Raw:
    return next(g for g in groups(raw) if g["name"] == name)


def processor(raw: Raw, name: str) -> Raw:
    return next(p for g in groups(raw) for p in g["processors"] if p["name"] == name)


def port(raw: Raw, group_name: str, key: str, name: str) -> Raw:
    return next(p for p in group(raw, group_name)[key] if p["name"] == name)


def java_type(name: str) -> str:
    return f"org.apache.nifi.processors.standard.{name}"


def connection(raw: Raw, source: str, relationship: str, destination: str | None = None) -> Raw:
    return next(
        c
        for g in groups(raw)
        for c in g["connections"]
        if c["source"]["name"] == source
        and relationship in c["selectedRelationships"]
        and destination in (None, c["destination"]["name"])
    )


def parameter(raw: Raw, name: str) -> Raw:
    return next(p for p in raw["parameterContexts"][build.PARAMETER_CONTEXT]["parameters"] if p["name"] == name)


# --- the file ---


def test_the_flow_file_is_what_the_builder_writes() -> None:
    assert build.FLOW_FILE.read_bytes() == build.flow_bytes(), "run python -m imagewarehouse.flows.build"
    assert build.TLS_FLOW_FILE.read_bytes() == build.flow_bytes(tls=True), "run python -m imagewarehouse.flows.build"
    assert build.main(["--check"]) == 0


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_builds_the_same_bytes(seed: str) -> None:
    """Sets come in another order there."""
    command = [
        sys.executable,
        "-c",
        "import sys; from imagewarehouse.flows.build import flow_bytes; sys.stdout.buffer.write(flow_bytes())",
    ]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    built = subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY, env=environment)
    assert built.stdout == build.flow_bytes()


def test_check_says_when_the_file_is_not_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "FLOW_FILE", tmp_path / "flow.json")
    monkeypatch.setattr(build, "TLS_FLOW_FILE", tmp_path / "tls.json")
    assert build.main(["--check"]) == 1
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    for path in (build.FLOW_FILE, build.TLS_FLOW_FILE):
        whole = path.read_bytes()
        path.write_bytes(whole + b" ")
        assert build.main(["--check"]) == 1
        path.write_bytes(whole)
    assert build.main(["--check"]) == 0


@both
def test_the_flow_has_no_findings(raw: Raw) -> None:
    assert check_flow(parse_flow(raw), raw) == []


def test_the_flow_with_https_doors_is_the_same_but_for_its_doors() -> None:
    plain, secure = (parse_flow(read_json(path)) for path in (build.FLOW_FILE, build.TLS_FLOW_FILE))
    assert secure.connections == plain.connections
    different = {c.name for name, c in secure.components.items() if plain.components.get(name) != c}
    assert different == {"Receive images", "Receive for classification", "TLS"}
    assert set(plain.components) == set(secure.components) - {
        c.identifier for c in secure.components.values() if c.name == "TLS"
    }
    for name, parameter in plain.parameters.items():
        assert secure.parameters[name] == parameter
    assert all(name.startswith("tls.") for name in set(secure.parameters) - set(plain.parameters))


# --- its structure ---


@both
def test_the_four_groups_stand_clockwise_and_their_labels_number_them(raw: Raw) -> None:
    """See tests/test_canvas.py for the rest of the layout."""
    root = raw["flowContents"]
    by_name = {g["name"]: g["position"] for g in root["processGroups"]}
    left, right = ("Handle Request", "Storing Result"), ("Pre-processing", "Prediction")
    for top, below in (left, right):
        assert by_name[top]["x"] == by_name[below]["x"]
        assert by_name[top]["y"] < by_name[below]["y"]
    for one, other in zip(left, right, strict=True):
        assert by_name[one]["x"] < by_name[other]["x"]
        assert by_name[one]["y"] == by_name[other]["y"]
    beside = {
        label["label"][:2]: name
        for label in root["labels"]
        for name, at in by_name.items()
        if label["position"]["x"] == at["x"] and abs(label["position"]["y"] - at["y"]) < 200
    }
    assert beside == {"1.": "Handle Request", "2.": "Pre-processing", "3.": "Prediction", "4.": "Storing Result"}


@both
def test_every_group_has_labels_that_say_what_it_does(raw: Raw) -> None:
    assert len(raw["flowContents"]["labels"]) == 5  # the port has one, too
    assert all(g["labels"] for g in groups(raw))


@both
def test_every_component_has_a_comment(raw: Raw) -> None:
    for g in groups(raw):
        for item in (g, *g["processors"], *g["inputPorts"], *g["outputPorts"], *g["controllerServices"]):
            assert item["comments"], f"{g['name']} / {item['name']}"


@both
def test_every_property_of_our_processors_is_in_the_flow(raw: Raw) -> None:
    used = {p["type"]: p for g in groups(raw) for p in g["processors"]}
    for name, found in build.our_types().items():
        assert set(used[name]["properties"]) == set(found.properties), name
        assert set(used[name]["propertyDescriptors"]) == set(found.properties), name


@both
def test_every_property_of_our_processors_is_at_its_default_or_a_parameter_that_holds_it(raw: Raw) -> None:
    flow = parse_flow(raw)
    for component in flow.components.values():
        found = build.our_types().get(component.type)
        for name, value in component.properties.items() if found else ():
            assert found is not None
            default = IN_PACKAGES.get(name, found.properties[name].default or "")
            if references(value):
                (named,) = references(value)
                assert value == f"#{{{named}}}"
                value = flow.parameters[named].value
            assert (value or "") == default, f"{component.name}, {name}"


@both
def test_every_parameter_has_a_description_of_its_own(raw: Raw) -> None:
    descriptions = [p.description for p in parse_flow(raw).parameters.values()]
    assert all(len(text) > 10 and text.endswith(".") for text in descriptions)
    assert len(set(descriptions)) == len(descriptions)


@both
def test_no_secret_is_in_the_file(raw: Raw) -> None:
    secret = [p for p in parse_flow(raw).parameters.values() if p.sensitive]
    assert {p.name: p.value for p in secret} == {
        "access.keys": None, "store.secret.key": None, "store.session.token": None, "solr.password": None,
    }  # fmt: skip


@both
def test_no_host_port_or_folder_is_outside_the_parameters(raw: Raw) -> None:
    places = re.compile(r"Hostname|Listening Port|Base Path|Folder|URIs?$|URL$|Masters|Database|Keys")
    for component in parse_flow(raw).components.values():
        for name, value in component.properties.items():
            assert not places.search(name) or not value or references(value), f"{component.name}, {name}"


@both
def test_every_connection_is_as_roomy_as_what_it_holds(raw: Raw) -> None:
    """Requests and answers one by one, packages of many, and what has to wait however long it takes."""
    singly = {"Receive images", "Receive for classification", "Unpack answers", "answers", "Unpack images",
              "Image or answer?"}  # fmt: skip
    for g in groups(raw):
        for c in g["connections"]:
            source = c["source"]["name"]
            limit = f"{c['backPressureObjectThreshold']} objects, {c['backPressureDataSizeThreshold']}"
            if c["name"].startswith("dead letters"):
                assert limit == "0 objects, 0 B", f"{source}: {limit}: a full one would stop the step in front of it"
            elif c["source"]["name"] == "images":
                assert limit == "0 objects, 0 B", f"{source}: {limit}: nobody has to take them, and the flow goes on"
            elif c["destination"]["name"] == "PutSolrDocument" and source != "PutSolrDocument":
                assert limit == "0 objects, 0 B", f"{source}: {limit}: nobody waits for the index, and the flow goes on"
            elif c["source"]["id"] == c["destination"]["id"]:
                assert limit == ROOMY, f"{source}: {limit}"
            else:
                objects = 1000 if source in singly else 1
                assert limit == f"{objects} objects, 100 MB", f"{source}: {limit}"


@both
def test_what_nobody_takes_is_dropped_and_nothing_else_is(raw: Raw) -> None:
    flow = parse_flow(raw)
    [way] = [c for c in flow.connections if c.expiration_s]
    port = flow.components[way.destination]
    assert (port.kind, port.name, port.group, way.expiration_s) == ("OUTPUT_PORT", "images", (), 600)
    assert not port.enabled, "NiFi counts one that leads nowhere as invalid"
    assert flow.parameters["images.pass.on"].value == "false"


@both
def test_whatever_reaches_a_processor_of_ours_has_been_gathered(raw: Raw) -> None:
    """A FlowFile that is no package would fail at every step."""
    flow = parse_flow(raw)
    sources = {
        c.identifier for c in flow.components.values() if c.type in map(java_type, ("ListenHTTP", "HandleHttpRequest"))
    }
    behind = {c.destination for c in flow.connections if c.source in sources}
    assert {flow.components[name].type for name in behind} == {java_type("PackageFlowFile")}
    assert (
        len(behind) == len(sources) == 2
    )  # one for each listener: the images of a package are all waited for, or none is


@both
def test_uploads_that_give_way_at_the_check_leave_it_free_for_clients(raw: Raw) -> None:
    """NiFi counts what a processor is at as queued: with one package a lane, uploads take one of its tasks and no more."""
    flow = parse_flow(raw)
    [check] = [c for c in flow.components.values() if c.name == "FilterImageRequest"]
    assert check.properties["Give Way"] == "#{images.give.way}"
    lanes = [c for c in flow.connections if c.destination == check.identifier]
    assert {flow.components[c.source].name for c in lanes} == {"Gather images", "Gather requests"}
    assert [c.max_objects for c in lanes] == [1, 1]
    assert check.tasks >= 2


@both
def test_python_processors_never_clone_their_input(raw: Raw) -> None:
    for component in parse_flow(raw).components.values():
        assert component.type not in build.our_types() or "original" in component.auto_terminated, component.name


@both
def test_only_the_listed_headers_become_attributes(raw: Raw) -> None:
    pattern = re.compile(processor(raw, "Receive images")["properties"]["HTTP Headers for Attributes"])
    for name in ("content-type", "Idempotency-Key", "X-ACCESS-KEY", "x-forwarded-for", "filename", "Authorization"):
        assert pattern.fullmatch(name)
    for name in ("Cookie", "X-Content-Type", "request_id", "status", "Content-Type-Options"):
        assert not pattern.fullmatch(name)


# --- what the check finds ---

Change = Callable[[Raw], Any]


def edit(name: str, /, **values: Any) -> Change:
    return lambda raw: processor(raw, name).update(values)


def bundle(name: str, **values: str) -> Change:
    return lambda raw: processor(raw, name)["bundle"].update(values)


def setting(name: str, prop: str, value: str | None) -> Change:
    return lambda raw: processor(raw, name)["properties"].update({prop: value})


def descriptor(name: str, prop: str, **values: bool) -> Change:
    return lambda raw: processor(raw, name)["propertyDescriptors"][prop].update(values)


def param(name: str, /, **values: Any) -> Change:
    return lambda raw: parameter(raw, name).update(values)


def without_param(name: str) -> Change:
    return lambda raw: raw["parameterContexts"][build.PARAMETER_CONTEXT]["parameters"].remove(parameter(raw, name))


def in_group(name: str, /, **values: Any) -> Change:
    return lambda raw: group(raw, name).update(values)


def wire(*which: str, **values: Any) -> Change:
    return lambda raw: connection(raw, *which).update(values)


def cut(*which: str) -> Change:
    """Takes one connection away."""

    def change(raw: Raw) -> None:
        found = connection(raw, *which)
        for g in groups(raw):
            g["connections"] = [c for c in g["connections"] if c is not found]

    return change


def lead(which: tuple[str, ...], to: Callable[[Raw], str]) -> Change:
    """Lets a connection end elsewhere."""
    return lambda raw: connection(raw, *which)["destination"].update(id=to(raw))


def move_service_into_one_group(raw: Raw) -> None:
    group(raw, "Prediction")["controllerServices"].append(raw["flowContents"]["controllerServices"].pop())


def move_connection_to_another_group(raw: Raw) -> None:
    found = connection(raw, "ClassifyImage", "success")
    group(raw, "Prediction")["connections"].remove(found)
    group(raw, "Handle Request")["connections"].append(found)


def cut_all_dead_letters(raw: Raw) -> None:
    for name in ("PutKuduRecord", "PutSolrDocument", "Unpack answers", "Unpack images"):
        cut(name, "failure")(raw)


# fmt: off
BROKEN: list[tuple[str, Change, str]] = [
    # types and versions
    ("unknown-type", edit("ClassifyImage", type="GuessImage"), "Prediction / ClassifyImage: unknown type GuessImage"),
    ("unknown-bundle", bundle("Answer", artifact="nifi-other-nar"), "expected org.apache.nifi:nifi-standard-nar:2.9.0"),
    ("another-nifi", bundle("Answer", version="1.28.0"), "version 1.28.0 in the flow, the flow was made for NiFi 2.9.0"),
    ("another-version-of-ours", bundle("StoreImage", version="0.0.9"), "version 0.0.9 in the flow, the code has"),
    # properties
    ("unknown-property", setting("StoreImage", "Store URL", "x"), "StoreImage has no property 'Store URL'"),
    ("required-property-unset", setting("Answer", "HTTP Status Code", None), "HTTP Status Code is required and not set"),
    ("required-property-of-an-unset-parameter", param("store.uri", value=None), "Store URI is required and not set"),
    ("literal-not-allowed", setting("ClassifyImage", "Runtime", "torch"),
     "Runtime is 'torch', expected one of auto, litert, tensorflow"),
    ("parameter-not-allowed", param("source.keep.gps", value="yes"), "Keep GPS is 'yes', expected one of true, false"),
    ("no-descriptor", edit("StoreImage", propertyDescriptors={}), "property 'Store URI' has no descriptor"),
    ("descriptor-not-sensitive", descriptor("FilterImageRequest", "Access Keys", sensitive=False),
     "descriptor of 'Access Keys' does not say sensitive: True"),
    ("descriptor-without-service", descriptor("Answer", "HTTP Context Map", identifiesControllerService=False),
     "descriptor of 'HTTP Context Map' does not say identifiesControllerService: True"),
    ("no-service", in_group("Image Warehouse", controllerServices=[]), "HTTP Context Map names the controller service"),
    ("service-out-of-reach", move_service_into_one_group, "Prediction / Waiting requests, which is out of its reach"),
    # parameters
    ("undefined-parameter", without_param("solr.url"), "Solr URL refers to the parameter 'solr.url', which is not defined"),
    ("undefined-parameter-of-a-service", without_param("http.answer.timeout"),
     "Waiting requests: Request Expiration refers to the parameter 'http.answer.timeout', which is not defined"),
    ("unused-parameter", setting("ClassifyImage", "Top K", None), "parameter model.top.k: is not used"),
    ("empty-text", param("solr.url", value=""), "parameter solr.url: has an empty text"),
    ("no-context", in_group("Prediction", parameterContextName=None), "Prediction: has no parameter context"),
    ("unknown-context", in_group("Prediction", parameterContextName="other"), "the parameter context 'other', which is not"),
    ("secret-in-the-file", param("access.keys", value="lab:0123456789abcdef"), "is sensitive and has a value in the file"),
    ("literal-secret", setting("FilterImageRequest", "Access Keys", "lab:0123456789abcdef"),
     "Access Keys is sensitive and not exactly one parameter"),
    ("secret-of-two-parameters", setting("FilterImageRequest", "Access Keys", "#{access.keys},#{access.keys}"),
     "Access Keys is sensitive and not exactly one parameter"),
    ("secret-of-a-plain-parameter", param("access.keys", sensitive=False), "the parameter access.keys is not"),
    ("secret-in-a-plain-property", setting("PutSolrDocument", "Solr URL", "#{access.keys}"),
     "Solr URL is not sensitive, the parameter access.keys is"),
    # relationships
    ("relationship-left-open", edit("StoreImage", autoTerminatedRelationships=[]),
     "StoreImage: relationship 'original' is neither connected nor auto-terminated"),
    ("route-left-open", cut("Somebody waits?", "waiting"), "relationship 'waiting' is neither connected nor"),
    ("route-by-another-strategy", setting("Somebody waits?", "Routing Strategy", "Route to 'match' if all match"),
     "relationship 'matched' is neither connected nor"),
    ("connected-and-ended", edit("ClassifyImage", autoTerminatedRelationships=["failure", "original"]),
     "relationship 'failure' is both connected and auto-terminated"),
    ("connects-an-unknown-relationship", wire("ClassifyImage", "failure", selectedRelationships=["failed"]),
     "a connection leaves on 'failed', which is not a relationship of ClassifyImage"),
    ("ends-an-unknown-relationship", edit("ClassifyImage", autoTerminatedRelationships=["original", "gone"]),
     "auto-terminates 'gone', which is not a relationship of ClassifyImage"),
    ("retries-an-unknown-relationship", edit("ClassifyImage", retriedRelationships=["retry"]),
     "retries 'retry', which is not a relationship of ClassifyImage"),
    # connections
    ("ends-nowhere", lead(("ClassifyImage", "success"), lambda raw: "gone"),
     "Prediction / ClassifyImage -> unknown gone: ends at a component that is not in the flow"),
    ("begins-nowhere", lambda raw: group(raw, "Handle Request")["processors"].remove(processor(raw, "Receive images")),
     "begins at a component that is not in the flow"),
    ("no-relationship", wire("ClassifyImage", "success", selectedRelationships=[]), "classified: has no relationship"),
    ("port-with-relationship", wire("answers", "", "Answer", selectedRelationships=["success"]),
     "INPUT_PORT has no relationships"),
    ("connection-in-another-group", move_connection_to_another_group, "cannot reach Prediction / ClassifyImage from its group"),
    ("input-leads-nowhere", cut("answers", "", "Answer"), "Handle Request / answers: nothing leaves this input port"),
    ("input-not-fed", cut("answers", "", "answers"), "Handle Request / answers: nothing comes into this input port"),
    ("output-not-fed", cut("ClassifyImage", "failure"), "Prediction / not classified: nothing comes into this output port"),
    ("output-leads-nowhere", cut("stored", "", "stored"), "Pre-processing / stored: nothing leaves this output port"),
    ("processor-fed-only-by-itself", cut("Funnel", ""), "PutKuduRecord: nothing comes into this processor"),
    ("source-is-fed", lead(("Receive images", "success"),
                           lambda raw: processor(raw, "Receive for classification")["identifier"]),
     "HandleHttpRequest takes no FlowFiles"),
    ("funnel-not-fed", cut_all_dead_letters, "Storing Result / funnel: nothing comes into this funnel"),
    ("any-number", wire("ClassifyImage", "success", backPressureObjectThreshold=0), "no back pressure by objects"),
    ("way-out-that-fills", wire("images", "", "images", backPressureObjectThreshold=1),
     "-> images: a full queue would stop the flow where nothing takes it"),
    ("way-out-without-end", wire("images", "", "images", flowFileExpiration="0 sec"),
     "-> images: grows without end where nothing takes it"),
    ("any-size", wire("ClassifyImage", "success", backPressureDataSizeThreshold="0 B"), "no back pressure by size"),
    # loops
    ("loop-without-retry", edit("StoreImage", retriedRelationships=["failure"]),
     "loop without a penalised retry: Pre-processing / StoreImage -> Pre-processing / StoreImage"),
    ("loop-with-no-tries", edit("StoreImage", retryCount=0), "loop without a penalised retry"),
    ("loop-without-penalty", edit("StoreImage", penaltyDuration="0 sec"), "loop without a penalised retry"),
    ("loop-that-yields", edit("StoreImage", backoffMechanism="YIELD_PROCESSOR"), "loop without a penalised retry"),
    ("loop-through-a-group", lead(("answers", "", "answers"),
                                  lambda raw: port(raw, "Storing Result", "inputPorts", "failed")["identifier"]),
     "loop without a penalised retry: Storing Result / "),
    # the canvas
    ("identifier-twice", lambda raw: processor(raw, "StoreImage").update(identifier=processor(raw, "Answer")["identifier"]),
     "stands for 2 components"),
    ("processor-name-twice", edit("PutSolrDocument", name="PutKuduRecord"), "2 processors of this name in one group"),
    ("group-name-twice", in_group("Prediction", name="Storing Result"), "2 processGroups of this name in one group"),
    ("processors-overlap", edit("Answer", position={"x": 700.0, "y": 400.0}), "overlaps with Handle Request / Answer"),
    ("groups-overlap", in_group("Prediction", position={"x": 600.0, "y": 200.0}), "Handle Request: overlaps with Prediction"),
]
# fmt: on


@pytest.mark.parametrize(("change", "finding"), [pytest.param(change, text, id=name) for name, change, text in BROKEN])
def test_a_broken_flow_is_found(raw: Raw, change: Change, finding: str) -> None:
    copied = copy.deepcopy(raw)
    change(copied)
    findings = check_flow(parse_flow(copied), copied)
    assert any(finding in line for line in findings), findings


# --- reading ---

# fmt: off
NO_FLOWS = [
    ("not-json", b"{", "not JSON"),
    ("not-text", b"\xff\xfe", "not JSON"),
    ("not-an-object", b"[]", "not a flow definition"),
    ("other-json", b"{}", "flowContents is missing"),
    ("no-list", b'{"flowContents": {"processors": {}}}', "processors: expected list"),
    ("no-object", b'{"flowContents": {"processors": [1]}}', "expected objects"),
    ("no-identifier", b'{"flowContents": {"processors": [{"name": "A"}]}}', "'A': identifier is missing"),
    ("number-as-property", b'{"flowContents": {"processors": [{"identifier": "a", "properties": {"P": 1}}]}}',
     "property 'P' is not a text"),
    ("no-time", b'{"flowContents": {"processors": [{"identifier": "a", "yieldDuration": "soon"}]}}',
     "yieldDuration: expected a time"),
    ("no-source", b'{"flowContents": {"connections": [{"identifier": "c"}]}}', "connection c: source is missing"),
]
# fmt: on


@pytest.mark.parametrize(("content", "problem"), [pytest.param(*rest, id=name) for name, *rest in NO_FLOWS])
def test_a_file_that_is_no_flow_is_refused_with_its_path(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "flow.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_flow(path)
    assert caught.value.setting == "flow"
    assert caught.value.problem.startswith(f"{path}: ")
    assert problem in caught.value.problem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.json: No such file"):
        read_flow(tmp_path / "nowhere.json")


def test_two_contexts_that_disagree_on_a_parameter_are_refused() -> None:
    def context(value: str) -> Raw:
        return {"parameters": [{"name": "a", "value": value}]}

    assert parse_flow({"flowContents": {}, "parameterContexts": {"x": context("1"), "y": context("1")}}).parameters
    with pytest.raises(ConfigurationError, match="two parameter contexts define 'a' differently"):
        parse_flow({"flowContents": {}, "parameterContexts": {"x": context("1"), "y": context("2")}})


def test_a_component_is_read_with_its_place_and_its_retries(raw: Raw) -> None:
    flow = parse_flow(raw)
    (store,) = (c for c in flow.components.values() if c.type == "StoreImage")
    assert (store.kind, store.group, store.tasks, store.penalty_s) == ("PROCESSOR", ("Pre-processing",), 2, 1.0)
    assert store.retry.relationships == {"retry", "refused", "failure"}
    assert (store.retry.count, store.retry.max_backoff_s, store.retry.penalize) == (6, 3.0, True)
    assert flow.name == "Image Warehouse"


def test_what_nifi_leaves_out_has_nifis_defaults() -> None:
    flow = parse_flow(
        json.loads('{"flowContents": {"name": "x", "processors": [{"identifier": "a"}], "funnels": null}}')
    )
    component = flow.components["a"]
    assert (component.tasks, component.penalty_s, component.yield_s, component.enabled) == (1, 30.0, 1.0, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(None, None, id="unset"),
        pytest.param("plain", "plain", id="no-reference"),
        pytest.param("#{a}", "1", id="reference"),
        pytest.param("<#{'two words'}>", "<2>", id="name-with-a-space"),
        pytest.param("#{none}", None, id="parameter-without-a-value"),
        pytest.param("#{empty}", None, id="parameter-with-an-empty-value"),
        pytest.param("x#{none}", "x", id="unset-within-a-text"),
        pytest.param("##{a}", "#{a}", id="escaped"),
        pytest.param("###{a}", "#1", id="escaped-hash-before-a-reference"),
        pytest.param("#{'a}", "#{'a}", id="quoted-by-halves"),
        pytest.param("${status:equals('#{a}')}", "${status:equals('1')}", id="inside-an-expression"),
    ],
)
def test_parameters_are_filled_in(text: str | None, expected: str | None) -> None:
    assert resolve(text, {"a": "1", "two words": "2", "none": None, "empty": ""}) == expected


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(ConfigurationError, match="parameter 'b' is not defined"):
        resolve("#{b}", {"a": "1"})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30 sec", 30), ("1 min", 60), ("500 ms", 0.5), ("10 mins", 600), ("2hrs", 7200), ("1.5 s", 1.5)],
)
def test_times_are_read_as_nifi_reads_them(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "size"), [("100 MB", 100 << 20), ("1 KB", 1024), ("0 B", 0), ("1.5 gb", 3 << 29)])
def test_sizes_are_read_as_nifi_reads_them(text: str, size: int) -> None:
    assert data_size(text) == size


@pytest.mark.parametrize("text", ["", "soon", "5", "5 parsecs", "-1 sec"])
def test_what_is_no_time_or_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        duration_s(text)
    with pytest.raises(ConfigurationError):
        data_size(text)
