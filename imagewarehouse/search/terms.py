"""Words as terms of Solr's index: made so that a term query finds what `patterns.py` finds in a text.

A word begins and ends where letters meet digits or anything else, and each character of a script without spaces stands alone.
So a text is cut into parts, IMG0042 into img and 0042, and every few parts that stand together are a term: img, img0042, 0042.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from typing import Any

import orjson

from imagewarehouse.search.words import LABEL_FROM, fold, is_without_spaces

COLUMNS = ("file_name", "predicted_class", "error_code", "error_detail", "source_user", "fields")
"""Where words are looked for; of `fields` in the texts, not in the names."""

_TOGETHER = 4  # parts of one term; a word of more is looked for in pieces
_LONGEST = 255  # characters of a term; the rest of a longer one is cut off, on both sides


def texts_of(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(column, text) of what a record has in COLUMNS; `fields`: JSON as text, or what it says."""
    for name in COLUMNS:
        value = values.get(name)
        if name == "fields" and value is not None:
            told = orjson.loads(value) if isinstance(value, str) else value
            yield from ((name, text) for text in told.values() if isinstance(text, str))
        elif value is not None:
            yield name, value


def labels_of(top_k: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of what a model held for possible, the classes that count as words of the picture."""
    return [each["class"] for each in top_k if each["probability"] >= LABEL_FROM]


def terms(texts: Iterable[str]) -> list[str]:
    """The different terms of some texts."""
    found = {
        "".join(parts[first : first + count])[:_LONGEST]: None
        for text in texts
        for parts in _runs(text)
        for first in range(len(parts))
        for count in range(1, min(_TOGETHER, len(parts) - first) + 1)
    }
    return list(found)


def letter_terms(texts: Iterable[str]) -> list[str]:
    """Those of one part of letters alone: what a mistyped word is compared with."""
    found = {
        part[:_LONGEST]: None
        for text in texts
        for parts in _runs(text)
        for part in parts
        if kind_of(part[0]) == "letter"
    }
    return list(found)


def pieces(word: str) -> list[str]:
    """A word of `words.words_of` as terms that all have to be there, in most cases one."""
    (parts,) = _runs(word)
    first_ones = range(max(1, len(parts) - _TOGETHER + 1))
    return ["".join(parts[first : first + _TOGETHER])[:_LONGEST] for first in first_ones]


@lru_cache(maxsize=1024)  # classes, users, errors come again and again; a file name is looked at twice
def _runs(text: str) -> list[list[str]]:
    """Parts that stand together."""
    runs: list[list[str]] = []
    parts: list[str] = []
    for kind, characters in groupby(fold(text), kind_of):
        if not kind:
            if parts:
                runs.append(parts)
            parts = []
        elif kind == "alone":
            parts += characters
        else:
            parts.append("".join(characters))
    if parts:
        runs.append(parts)
    return runs


@lru_cache(maxsize=4096)
def kind_of(character: str) -> str:
    """Empty for what stands between words."""
    if is_without_spaces(character):
        return "alone" if unicodedata.category(character)[0] in "LNS" else ""
    category = unicodedata.category(character)[0]
    return "letter" if category == "L" else "digit" if category == "N" else ""
