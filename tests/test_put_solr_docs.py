"""docs/solr.md names every property and relationship of PutSolrDocument, and tests that exist."""

from __future__ import annotations

import re

import pytest

from imagewarehouse.nifi.processors import processor_class
from imagewarehouse.resources import REPOSITORY


@pytest.fixture(scope="module")
def page() -> str:
    return (REPOSITORY / "docs" / "solr.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there(page: str) -> None:
    tests = (REPOSITORY / "tests").glob("test_*.py")
    there = {
        name for path in tests for name in re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
    }
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 50
    assert named - there == set()


def test_the_page_names_every_property_and_relationship(page: str) -> None:
    processor = processor_class("PutSolrDocument")()
    names = [p.name for p in processor.getPropertyDescriptors()] + [r.name for r in processor.getRelationships()]
    assert [name for name in names if name not in page] == []
    assert "`failure`" in page
