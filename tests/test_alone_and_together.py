"""A request ends in a package as it would alone, in NiFi and inside one process, whatever is wrong with it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.flows.definition import Component, Retry
from imagewarehouse.nifi.packages import Packed
from imagewarehouse.standalone import components
from imagewarehouse.standalone.flowfile import FlowFile
from imagewarehouse.standalone.python_host import PythonProcessor
from tests import forms, hostile
from tests.conftest import Hosted, Left
from tests.test_processors import CLAIMS
from tests.ways import Sent, Way, answers, awaited, listened, make_way, package, packaged_flow_file, records

VARYING = {"event_time", "request_id", "total_ms", "preprocess_ms", "inference_ms", "storage_uri"}
OF_AN_ANSWER = ("http.response.status", "mime.type", "Retry-After")


def requests() -> dict[str, Callable[[Callable[..., dict[str, str]]], Sent]]:
    """Good and bad requests; each is given what a listener makes of a content type and of more attributes."""

    def plain(content: bytes, declared: str | None, **more: str) -> Callable[[Callable[..., dict[str, str]]], Sent]:
        return lambda listener: (listener(declared, **more), content)

    def envelope(**fields: str) -> bytes:
        return json.dumps(fields).encode()

    encoded = base64.b64encode(hostile.PNG).decode()
    found = {
        case.id: plain(case.body(), case.declared_type)
        for case in hostile.CASES
        if case.over_http and not case.limits and not case.rules and not case.request and len(case.body()) < 100_000
    }
    found |= {f"good-{name}": plain(content, declared) for name, (declared, content) in hostile.HEALTHY.items()}
    part = {
        "http.multipart.fragments.sequence.number": "1",
        "http.multipart.fragments.total.number": "1",
        "http.multipart.content.type": "image/png",
        "http.multipart.name": "file",
    }
    form, fields = "multipart/form-data; boundary=x", [forms.text("part", "4711"), forms.EMPTY_INPUT]
    found |= {
        "json-base64": plain(envelope(image=encoded), "application/json"),
        "json-base64-with-a-name": plain(envelope(image=encoded, file_name="a.png"), "application/json"),
        "json-base64-of-another-type": plain(envelope(image=encoded, type="image/gif"), "application/json"),
        "form-with-a-file": plain(hostile.PNG, form, **part, **{"http.multipart.filename": "ä b.png"}),
        "form-with-a-file-that-has-no-name": plain(hostile.PNG, form, **part),
        "whole-form": plain(forms.form([*fields, forms.file(hostile.PNG)]), forms.FORM),
        "whole-form-covered": plain(
            forms.form([forms.file(hostile.PNG, "ä b.png", None)]),
            forms.COVERED,
            **{"X-Form-Content-Type": forms.FORM, "http.headers.X-Form-Content-Type": forms.FORM},
        ),
        "whole-form-with-a-bad-file": plain(forms.form([*fields, forms.file(b"text")]), forms.FORM),
        "whole-form-without-a-file": plain(forms.form(fields), forms.FORM),
        "form-that-is-none": plain(b"--y", form),
        "get": plain(hostile.PNG, "image/png", **{"http.method": "GET"}),
        "body-that-was-not-kept": plain(b"", "image/png", **{"http.unkept.size": str(64 << 20)}),
        "no-body": plain(b"", "image/png"),
        "no-type": plain(hostile.PNG, None),
        "type-with-parameters": plain(hostile.PNG, "image/png; charset=binary"),
        "type-that-is-no-text": plain(hostile.PNG, "image/\udcff"),
        "named": plain(
            hostile.PNG, "image/png", **{"Content-Disposition": "attachment; filename*=UTF-8''%e2%82%ac.png"}
        ),
        "named-by-a-path": plain(
            hostile.PNG, "image/png", **{"Content-Disposition": 'attachment; filename="../a.png"'}
        ),
        "bad-key": plain(hostile.PNG, "image/png", **{"Idempotency-Key": "1"}),
        "claims": plain(hostile.PNG, "image/png", **{k: v for k, v in CLAIMS.items() if not k.startswith("http.")}),
        "rejected-with-claims": plain(
            b"no picture", "image/png", **{k: v for k, v in CLAIMS.items() if not k.startswith("http.")}
        ),
    }
    return found


REQUESTS = requests()


def outcome(row: Mapping[str, Any] | None, answer: Packed | None) -> dict[str, Any]:
    """What became of a request, without what is another each time."""
    found: dict[str, Any] = {"row": None, "answer": None}
    if row is not None:
        # Of what varies, whether it is there.
        found["row"] = {name: value is not None if name in VARYING else value for name, value in row.items()}
    if answer is not None:
        body = json.loads(bytes(answer.content))
        said = {name: value is not None if name in VARYING else value for name, value in body.items()}
        found["answer"] = {name: answer.attributes.get(name, "") for name in OF_AN_ANSWER} | {"body": said}
    return found


MODES = ("text", "carried")  # how a package goes from step to step: NiFi's attributes, or the values of one process


def through(way: Way, sent: Sequence[Sent], mode: str) -> tuple[Left, dict[str, Packed]]:
    """How a package leaves its last step, and the answers by the client that waits."""
    if mode == "text":
        left = way.run(*package(sent))
        return left, answers(left) if left.attributes["answers"] else {}
    flow_file = way.carry(packaged_flow_file(sent))
    assert flow_file.carried is not None
    assert flow_file.content is None
    left = way.passed[-1][1]
    return left, unpacked(flow_file) if left.attributes["answers"] else {}


def unpacked(flow_file: FlowFile) -> dict[str, Packed]:
    values = {"Packaging Format": "flowfile-stream-v3"}
    component = Component("unpack", "unpack", "PROCESSOR", components.UNPACK, ("", "", ""), (), values, frozenset(),
                          frozenset({"original"}), 1, 0, 0, Retry(0, frozenset(), 0, True), True)  # fmt: skip
    made = [one for _, one in components.unpack_content(component, {})(flow_file)]
    return {one.attributes["http.context.identifier"]: Packed(one.attributes, one.content or b"") for one in made}


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory, component: Callable[..., Component], colour_model: Path
) -> Iterator[dict[tuple[str, str, str], dict[str, Any]]]:
    """By listener, request and transport: alone, or in a package of either kind."""
    hosts: list[PythonProcessor] = []

    def hosted(name: str, properties: Mapping[str, str]) -> Hosted:
        hosts.append(PythonProcessor(component(name, properties=properties), {}))
        return Hosted(hosts[-1])

    folder = tmp_path_factory.mktemp("outcomes")
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry, listener in {"awaited": awaited, "listened": listened}.items():
        alone = make_way(hosted, folder / f"{entry}-alone", colour_model, {}, False)
        lefts: dict[str, Left] = {}
        for name, make in REQUESTS.items():
            attributes, content = make(listener)
            lefts[name] = alone.run(content, attributes)
        rows = alone.rows()
        for name, left in lefts.items():
            answer = Packed(left.attributes, left.content or b"") if entry == "awaited" else None
            assert left.relationship == "success"
            found[entry, name, "alone"] = outcome(rows.get(left.attributes["request_id"]), answer)

        for mode in MODES:
            together = make_way(hosted, folder / f"{entry}-{mode}", colour_model, {}, True)
            names = list(REQUESTS)
            for start in range(0, len(names), 64):
                share = names[start : start + 64]
                sent = [REQUESTS[name](listener) for name in share]
                left, made = through(together, sent, mode)
                assert left.relationship == "success"
                rows = together.rows()
                for name, record, (one, _) in zip(share, records(left), sent, strict=True):
                    answer = made.get(one.get("http.context.identifier", ""))
                    found[entry, name, mode] = outcome(rows.get(record["request_id"]), answer)
    yield found
    for host in hosts:
        host.stop()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("entry", ["awaited", "listened"])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_ends_in_a_package_as_it_does_alone(
    outcomes: dict[tuple[str, str, str], dict[str, Any]], entry: str, name: str, mode: str
) -> None:
    alone, together = outcomes[entry, name, "alone"], outcomes[entry, name, mode]
    assert alone["row"] is not None
    assert (alone["answer"] is not None) == (entry == "awaited")
    assert together == alone


def test_the_table_of_requests_has_good_and_bad_ones_of_every_kind(
    outcomes: dict[tuple[str, str, str], dict[str, Any]],
) -> None:
    rows = [outcomes["awaited", name, "text"]["row"] for name in REQUESTS]
    assert sum(row["status"] == "classified" for row in rows) >= 15
    assert len({row["error_code"] for row in rows}) >= 15
    assert len(REQUESTS) > 40
