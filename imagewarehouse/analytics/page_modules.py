"""The modules of the page as one file: a browser asks for it once, where it would ask for each of thirty.

The modules stay as they are, so nothing has to be built to work on them: they are joined when the service starts. What this
understands of JavaScript is how the page's modules import and export, at the beginning of a line; anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_IMPORT = re.compile(r"^import (?:\{([^}]*)\}|\* as (\w+)) from '\./([\w-]+\.js)';$", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)
_EXPORT_LIST = re.compile(r"^export \{([^}]*)\};$", re.MULTILINE)
_NOT_UNDERSTOOD = re.compile(r"^(?:import|export)\b.*$|\bimport\(|\bimport\.meta\b", re.MULTILINE)


def joined(modules: Mapping[str, str], first: str) -> str:
    """The module `first` with all that it imports, as one module.

    Args: modules: sources by file name.
    Raises: ValueError: a module is not there, they import each other in a circle, or a line is not understood.
    """
    parts: dict[str, str] = {}
    _join(modules, first, parts, ())
    return "\n".join(parts.values())


def _join(modules: Mapping[str, str], name: str, parts: dict[str, str], importers: tuple[str, ...]) -> None:
    if name in parts:
        return
    if name in importers or name not in modules:
        why = "is imported in a circle" if name in importers else "is not there"
        raise ValueError(f"{name} {why}: {' -> '.join((*importers, name))}")
    source = modules[name]
    for _, _, imported in _IMPORT.findall(source):
        _join(modules, imported, parts, (*importers, name))
    names = _EXPORT.findall(source)
    for listed in _EXPORT_LIST.findall(source):
        names += [one.strip() for one in listed.split(",")]
    body = _EXPORT_LIST.sub("", _EXPORT.sub("", _IMPORT.sub(_as_constants, source)))
    if unknown := _NOT_UNDERSTOOD.search(body):
        raise ValueError(f"{name}: {unknown[0]!r} is not understood")
    # Each in a function of its own: the names that it does not export stay its own.
    parts[name] = f"const {_variable(name)} = (() => {{\n{body}\nreturn {{ {', '.join(names)} }};\n}})();"


def _as_constants(found: re.Match[str]) -> str:
    names, whole, module = found.groups()
    wanted = whole or "{" + (names or "").replace(" as ", ": ") + "}"
    # The lines stay as many as they were.
    return f"const {wanted} = {_variable(module)};"


def _variable(name: str) -> str:
    return "$" + name.removesuffix(".js").replace("-", "_")
