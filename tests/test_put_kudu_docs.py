"""docs/kudu.md names every property and relationship of PutKuduRecord, and tests that exist."""

from __future__ import annotations

import re

import pytest

from imagewarehouse.nifi.processors import processor_class
from imagewarehouse.resources import REPOSITORY

# --- the table of what became of PutKudu ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parity() -> str:
    names = ("kudu.md",)
    return "".join(path.read_text(encoding="utf-8") for n in names if (path := REPOSITORY / "docs" / n).is_file())


def test_every_test_that_the_documentation_names_is_there(parity: str) -> None:
    tests = (REPOSITORY / "tests").glob("test_*.py")
    there = {
        name for path in tests for name in re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
    }
    named = set(re.findall(r"`(test_\w+)`", parity))
    assert len(named) > 50
    assert named - there == set()


def test_documentation_names_every_property_and_relationship(parity: str) -> None:
    processor = processor_class("PutKuduRecord")()
    names = [p.name for p in processor.getPropertyDescriptors()] + [r.name for r in processor.getRelationships()]
    assert [name for name in names if name not in parity] == []
    assert "`failure`" in parity
