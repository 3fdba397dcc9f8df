"""The rules of docs/architecture.md: who imports whom, and no cycles."""

from __future__ import annotations

import re
from pathlib import Path

from tools import imports


def write(root: Path, **modules: str) -> Path:
    for name, text in modules.items():
        path = root / "imagewarehouse" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in (path.parent, root / "imagewarehouse"):
            (folder / "__init__.py").touch()
        path.write_text(text)
    return root


def test_the_code_keeps_the_rules() -> None:
    assert imports.problems() == []


def test_a_room_that_may_not_be_imported_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, images__formats="import imagewarehouse.cli.main", cli__main="")
    assert imports.problems(root) == [
        "imagewarehouse.images.formats imports imagewarehouse.cli.main: images may not import cli"
    ]


def test_an_import_cycle_is_found_however_late_the_import(tmp_path: Path) -> None:
    late = "def f():\n    from imagewarehouse.kudu import c\n"
    root = write(
        tmp_path, kudu__a="from imagewarehouse.kudu.b import x", kudu__b=late, kudu__c="import imagewarehouse.kudu.a"
    )
    assert imports.problems(root) == [
        "import cycle: imagewarehouse.kudu.a, imagewarehouse.kudu.b, imagewarehouse.kudu.c"
    ]


def test_an_import_for_type_checkers_counts(tmp_path: Path) -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from imagewarehouse.kudu import a\n"
    assert imports.import_cycles(imports.graph(write(tmp_path, kudu__a="import imagewarehouse.kudu.b", kudu__b=typed)))


def test_every_room_has_a_rule_and_a_line_in_the_docs() -> None:
    package = imports.REPOSITORY / "imagewarehouse"
    rooms = {path.name for path in package.iterdir() if path.is_dir() and (path / "__init__.py").is_file()}
    assert rooms - set(imports.ROOMS) == set()
    documented = re.findall(
        r"^\| `imagewarehouse/(\w+)", (imports.REPOSITORY / "docs" / "architecture.md").read_text(), re.M
    )
    assert rooms - set(documented) == set()
