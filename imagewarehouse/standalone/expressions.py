"""The part of NiFi's Expression Language that the flow uses; anything else is refused, never guessed."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping

from imagewarehouse.errors import ConfigurationError

Expression = Callable[[Mapping[str, str]], str]

_REFERENCE = re.compile(r"\$\{((?:[^{}']|'[^']*')*)\}")
_SUBJECT = re.compile(r"\s*(hostname\((?:true)?\)|literal\('[^']*'\)|[A-Za-z_][A-Za-z0-9._-]*)\s*")
_CALL = re.compile(r":\s*([A-Za-z]+)\(\s*((?:'[^']*'\s*(?:,\s*'[^']*'\s*)*)?)\)\s*")
_ARGUMENT = re.compile(r"'([^']*)'")

Function = Callable[..., str]
_FUNCTIONS: dict[str, tuple[int, Function]] = {  # by name: number of arguments, what it does
    "isEmpty": (0, lambda value: str(not (value or "").strip()).lower()),
    "not": (0, lambda value: str(value != "true").lower()),
    "equals": (1, lambda value, other: str(value == other).lower()),
    "replaceNull": (1, lambda value, instead: instead if value is None else value),
    "ifElse": (2, lambda value, yes, no: yes if value == "true" else no),
}


def compile_expression(text: str, where: str) -> Expression:
    """Text with `${attribute:function('argument')}` references as a function of the attributes.

    Raises ConfigurationError naming `where` for functions that are not among those above.
    """
    parts: list[str | Expression] = []
    position = 0
    for match in _REFERENCE.finditer(text):
        parts += [text[position : match.start()], _reference(match[1], where)]
        position = match.end()
    parts.append(text[position:])
    around = _REFERENCE.sub("\0", text)
    if "${" in around or "$\0" in around:  # nested, unfinished or escaped by a second dollar sign
        raise ConfigurationError(where, f"the standalone runner cannot read the expression in {text!r}")
    return lambda attributes: "".join(p if isinstance(p, str) else p(attributes) for p in parts)


def _reference(inside: str, where: str) -> Expression:
    match = _SUBJECT.match(inside)
    calls: list[tuple[Function, list[str]]] = []
    position = match.end() if match else 0
    while match and position < len(inside):
        call = _CALL.match(inside, position)
        arguments = _ARGUMENT.findall(call[2]) if call else []
        if call is None or call[1] not in _FUNCTIONS or len(arguments) != _FUNCTIONS[call[1]][0]:
            break
        calls.append((_FUNCTIONS[call[1]][1], arguments))
        position = call.end()
    if match is None or position < len(inside):
        function_names = ", ".join(_FUNCTIONS)
        raise ConfigurationError(where, f"the standalone runner does not know ${{{inside}}}; it knows {function_names}")
    subject = match[1]

    def evaluate(attributes: Mapping[str, str]) -> str:
        value: str | None
        if subject.startswith("literal("):
            value = subject[len("literal('") : -len("')")]
        else:
            value = socket.gethostname() if subject.startswith("hostname(") else attributes.get(subject)
        for function, arguments in calls:
            value = function(value, *arguments)
        return value or ""

    return evaluate
