"""The part of NiFi's Expression Language that the flow uses; anything else is refused, never guessed."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping

from imagewarehouse.errors import ConfigurationError

Expression = Callable[[Mapping[str, str]], str]

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_STEP = re.compile(r"\s*(?P<name>[A-Za-z]+)\(\s*(?:'(?P<argument>[^']*)')?\s*\)\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")

_FUNCTIONS: dict[str, Callable[[str | None, str | None], str]] = {
    "isEmpty": lambda value, _: str(not (value or "").strip()).lower(),
    "not": lambda value, _: str(value != "true").lower(),
    "equals": lambda value, argument: str(value == argument).lower(),
    "replaceNull": lambda value, argument: (argument or "") if value is None else value,
}


def compile_expression(text: str, where: str) -> Expression:
    """Text with `${attribute:function('argument')}` references as a function of the attributes.

    Raises ConfigurationError naming `where` for functions that are not among those above.
    """
    parts: list[str | Expression] = []
    position = 0
    for found in _REFERENCE.finditer(text):
        parts += [text[position : found.start()], _reference(found[1], where)]
        position = found.end()
    parts.append(text[position:])
    return lambda attributes: "".join(p if isinstance(p, str) else p(attributes) for p in parts)


def _reference(inside: str, where: str) -> Expression:
    subject, *steps = inside.split(":")
    subject = subject.strip()
    hostname = subject in ("hostname()", "hostname(true)")
    if not hostname and not _NAME.fullmatch(subject):
        raise ConfigurationError(where, f"the expression ${{{inside}}} is not one that the standalone runner knows")
    calls = []
    for step in steps:
        found = _STEP.fullmatch(step)
        if found is None or found["name"] not in _FUNCTIONS:
            raise ConfigurationError(
                where, f"the expression ${{{inside}}} uses {step.strip()}, which the standalone runner does not know"
            )
        calls.append((_FUNCTIONS[found["name"]], found["argument"]))

    def evaluate(attributes: Mapping[str, str]) -> str:
        value = socket.gethostname() if hostname else attributes.get(subject)
        for function, argument in calls:
            value = function(value, argument)
        return value or ""

    return evaluate
