"""`python -m tools.imports`: checks the import rules of docs/architecture.md: allowed imports, and no cycles.

Every import counts, also one inside a function or for type checkers only: what is late is still a dependency.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "imagewarehouse"

# Each room may import those above it that it names, and the base: modules directly in the package.
BASE = "base"
ROOMS: Mapping[str, frozenset[str]] = {
    BASE: frozenset(),
    "images": frozenset(),
    "models": frozenset({"images"}),
    "objects": frozenset({"images"}),
    "intake": frozenset({"images"}),
    "kudu": frozenset(),
    "rows": frozenset({"kudu"}),
    "solr": frozenset(),
    "search": frozenset({"rows", "solr"}),
    "steps": frozenset({"images", "intake", "models", "objects", "rows", "search"}),
    "nifi": frozenset({"images", "intake", "kudu", "objects", "rows", "search", "solr", "steps"}),
    "flows": frozenset({"nifi"}),
    "standalone": frozenset({"analytics", "flows", "images", "nifi", "objects", "rows", "search", "solr", "steps"}),
    "deployment": frozenset({"flows", "nifi"}),
    "sending": frozenset({"images"}),
    "training": frozenset({"images", "models"}),
    "analytics": frozenset({"kudu", "rows"}),
    "getting": frozenset({"images", "objects", "rows"}),
    "keeping": frozenset({"images", "objects", "rows"}),
    "cli": frozenset(
        {
            "images",
            "models",
            "objects",
            "kudu",
            "rows",
            "search",
            "solr",
            "flows",
            "standalone",
            "deployment",
            "sending",
            "training",
            "analytics",
            "getting",
            "keeping",
        }
    ),
}


def modules(root: Path = REPOSITORY) -> dict[str, Path]:
    """Every module of the package by its dotted name; the stand-in for `nifiapi` is no part of it."""
    paths = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        if "stand_in" not in path.parts:
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            paths[name.removesuffix(".__init__")] = path
    return paths


def imports(name: str, path: Path, package: Mapping[str, Path]) -> Iterator[str]:
    """The modules of the package that a module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in package)
        elif isinstance(node, ast.ImportFrom) and node.module in package:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            submodules = [module for module in inner if module in package]
            yield from submodules
            # A name out of a package comes from its __init__; one that is a module of its own does not.
            if len(submodules) < len(inner) and node.module != PACKAGE:
                yield str(node.module)


def graph(root: Path = REPOSITORY) -> dict[str, set[str]]:
    paths = modules(root)
    return {name: set(imports(name, path, paths)) - {name} for name, path in paths.items()}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else BASE


def broken_rules(edges: Mapping[str, set[str]]) -> list[str]:
    """One line for each import that the rules do not allow."""
    violations = []
    for module, imported in sorted(edges.items()):
        source = room(module)
        allowed = {source, BASE, *ROOMS[source]}
        violations += [
            f"{module} imports {target}: {source} may not import {room(target)}"
            for target in sorted(imported)
            if room(target) not in allowed
        ]
    return violations


def import_cycles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or by way of others: each group once (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    cycles: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(edges[module]):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            group = []
            while True:
                group.append(stack.pop())
                if group[-1] == module:
                    break
            if len(group) > 1:
                cycles.append(sorted(group))

    for module in sorted(edges):
        if module not in index:
            visit(module)
    return cycles


def problems(root: Path = REPOSITORY) -> Sequence[str]:
    edges = graph(root)
    return [*broken_rules(edges), *(f"import cycle: {', '.join(group)}" for group in import_cycles(edges))]


if __name__ == "__main__":
    lines = problems()
    for line in lines:
        print(line, file=sys.stderr)
    sys.exit(1 if lines else 0)
