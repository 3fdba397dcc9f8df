"""Amounts read as people write them."""

from __future__ import annotations

import pytest

from imagewarehouse.amounts import counted, file_size, listed


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (counted(0, "row"), "0 rows"),
        (counted(1, "row"), "1 row"),
        (counted(2000, "row"), "2,000 rows"),
        (listed(["a", "b"], 2), "a, b"),
        (listed(["a", "b", "c"], 2), "a, b and 1 more"),
        (listed([]), ""),
        (file_size(0), "0.0 kB"),
        (file_size(999_999), "1000.0 kB"),
        (file_size(12_345_678), "12.3 MB"),
    ],
)
def test_an_amount_in_words(written: str, expected: str) -> None:
    assert written == expected
