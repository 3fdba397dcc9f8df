"""The part of NiFi's Expression Language that the flow uses: it means what NiFi means, and the rest is refused."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows.definition import read_flow, resolve
from imagewarehouse.standalone.expressions import compile_expression
from imagewarehouse.standalone.runner import DEFAULT_FLOW

ATTRIBUTES = {"name": "frog", "blank": " \t", "empty": "", "yes": "true", "no": "false", "http.response.status": "422",
              "mime.type": "image/png", "a-b_c": "odd"}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("no expression, $5 and #{this}", "no expression, $5 and #{this}", id="plain-text"),
        pytest.param("${name}", "frog", id="attribute"),
        pytest.param("${http.response.status}", "422", id="attribute-with-dots"),
        pytest.param("${a-b_c}", "odd", id="attribute-with-dash-and-underscore"),
        pytest.param("${ name }", "frog", id="blanks-around"),
        pytest.param("a ${name}, a ${mime.type}.", "a frog, a image/png.", id="two-in-text"),
        pytest.param("${missing}", "", id="missing-attribute"),
        pytest.param("${missing:isEmpty()}", "true", id="missing-is-empty"),
        pytest.param("${empty:isEmpty()}", "true", id="empty-is-empty"),
        pytest.param("${blank:isEmpty()}", "true", id="blank-is-empty"),
        pytest.param("${name:isEmpty()}", "false", id="text-is-not-empty"),
        pytest.param("${name:isEmpty():not()}", "true", id="not"),
        pytest.param("${missing:isEmpty():not()}", "false", id="not-empty-of-missing"),
        pytest.param("${name:equals('frog')}", "true", id="equals"),
        pytest.param("${name:equals('Frog')}", "false", id="equals-minds-the-case"),
        pytest.param("${missing:equals('')}", "false", id="missing-equals-nothing"),
        pytest.param("${empty:equals('')}", "true", id="empty-equals-empty"),
        pytest.param("${missing:replaceNull('none')}", "none", id="replace-null-of-missing"),
        pytest.param("${empty:replaceNull('none')}", "", id="empty-is-not-null"),
        pytest.param("${name:replaceNull('none')}", "frog", id="replace-null-of-text"),
        pytest.param("${yes:ifElse('a', 'b')}", "a", id="if"),
        pytest.param("${no:ifElse('a', 'b')}", "b", id="else"),
        pytest.param("${name:equals('frog'):ifElse('', 'b')}", "", id="empty-branch"),
        pytest.param("${ name : equals( 'frog' ) : ifElse( 'a' , 'b' ) }", "a", id="blanks-everywhere"),
        pytest.param("${name:equals('}')}", "false", id="brace-in-an-argument"),
        pytest.param("${name:equals('a:b()')}", "false", id="call-in-an-argument"),
        pytest.param("${missing:replaceNull('a, ${b}')}", "a, ${b}", id="reference-in-an-argument-is-text"),
        pytest.param("${hostname()}", socket.gethostname(), id="hostname"),
        pytest.param("${hostname(true):isEmpty()}", "false", id="hostname-with-a-call"),
    ],
)
def test_an_expression_gives_what_nifi_gives(text: str, value: str) -> None:
    assert compile_expression(text, "Component, Property")(ATTRIBUTES) == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("${name:toUpper()}", id="function-it-does-not-know"),
        pytest.param("${now()}", id="subjectless-function"),
        pytest.param("${UUID()}", id="another"),
        pytest.param("${hostname(false)}", id="hostname-in-short"),
        pytest.param("${}", id="nothing"),
        pytest.param("${ }", id="blank"),
        pytest.param("${name:}", id="no-function"),
        pytest.param("${name:equals}", id="no-parentheses"),
        pytest.param("${name:equals()}", id="too-few-arguments"),
        pytest.param("${name:equals('a', 'b')}", id="too-many-arguments"),
        pytest.param("${name:isEmpty('a')}", id="argument-where-none-is"),
        pytest.param("${yes:ifElse('a' 'b')}", id="no-comma"),
        pytest.param("${yes:ifElse('a', 'b',)}", id="comma-too-many"),
        pytest.param('${name:equals("frog")}', id="double-quotes"),
        pytest.param("${name:equals('frog}", id="open-quote"),
        pytest.param("${name:equals('fr\\'og')}", id="escaped-quote"),
        pytest.param("${name:equals(${other})}", id="nested"),
        pytest.param("${'name'}", id="quoted-subject"),
        pytest.param("${name", id="open"),
        pytest.param("text ${name:equals('a')", id="open-after-a-call"),
        pytest.param("${allAttributes('a', 'b'):equals('c')}", id="all-attributes"),
        pytest.param("${literal(5):equals('5')}", id="literal"),
        pytest.param("$${name}", id="escaped-reference"),
        pytest.param("${name}${", id="open-at-the-end"),
        pytest.param("${name} garbage ${name:foo()}", id="known-and-unknown"),
    ],
)
def test_anything_else_is_refused_by_its_place_and_never_guessed(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        compile_expression(text, "Answer, HTTP Status Code")
    assert caught.value.setting == "Answer, HTTP Status Code"


@given(st.text(st.sampled_from("${}(),: abnotequals"), max_size=30))
def test_any_text_is_compiled_or_refused_and_never_leaves_an_expression_in_the_result(text: str) -> None:
    try:
        found = compile_expression(text, "p")({})
    except ConfigurationError:
        return
    assert "${" not in found


def test_attributes_of_one_flowfile_do_not_stay_for_the_next() -> None:
    expression = compile_expression("${name:replaceNull('nobody')}", "p")
    assert [expression({"name": "a"}), expression({}), expression({"name": "b"})] == ["a", "nobody", "b"]


def test_every_expression_of_the_flow_is_known() -> None:
    flow = read_flow(DEFAULT_FLOW)
    values = {name: parameter.value for name, parameter in flow.parameters.items()}
    texts = [
        (component.name, name, value)
        for component in flow.components.values()
        for name, raw in component.properties.items()
        if "${" in (value := resolve(raw, values) or "")
    ]
    assert texts
    for component, name, value in texts:
        compile_expression(value, f"{component}, {name}")


@pytest.mark.parametrize(
    ("value", "expected"), [("http://solr:8983/solr/images", "true"), ("", "false"), (None, "false")]
)
def test_an_expression_may_begin_with_a_parameter(value: str | None, expected: str) -> None:
    text = resolve("${#{solr.url}:isEmpty():not()}", {"solr.url": value})
    assert text is not None
    assert compile_expression(text, "here")({}) == expected


@pytest.mark.parametrize("value", ["it's", "${x}"])
def test_a_value_that_would_end_an_expression_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="'solr.url'"):
        resolve("${#{solr.url}:isEmpty()}", {"solr.url": value})
