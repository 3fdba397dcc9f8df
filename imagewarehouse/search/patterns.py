"""Words as regular expressions of RE2, for text that is folded as the words are (`words.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from imagewarehouse.search.words import LABEL_FROM, WITHOUT_SPACES, edits, is_without_spaces

assert LABEL_FROM == 0.1

# What may stand in the place of a mistyped letter. All that is not ASCII counts: RE2 needs a hundred times as much for the
# letters of Unicode, and there may be hundreds of such places in an expression.
_ANY_LETTER = r"[^\x00-`{-\x7f]"
_Letters = tuple[str, ...]


def same(word: str) -> str:
    """Finds the word itself."""
    return f"{_beginning(word)}{re.escape(word)}{_end(word)}"


def begins(word: str) -> str:
    """Finds words that begin with it, itself among them."""
    return f"{_beginning(word)}{re.escape(word)}"


def label(word: str) -> str:
    """Finds a class, in the JSON of a record's `top_k`, with a word that begins with it, if it is as probable as LABEL_FROM."""
    between = _between(word[0])
    anything = f'(?:[^"]*(?:{between}))?' if between else '[^"]*'
    return rf'"class": ?"{anything}{re.escape(word)}[^"]*", ?"probability": ?(?:0\.[1-9]|1(?:\.0*)?[,}}])'


def mistyped(word: str) -> str | None:
    """Finds the word with as many typing mistakes as it may have, or none; None where it may have none."""
    count = edits(word)
    if not count:
        return None
    variants: set[_Letters] = {tuple(word)}
    for _ in range(count):
        variants |= {changed for variant in variants for changed in _with_one_mistake(variant)}
    alternatives = "|".join(sorted("".join(variant) for variant in variants))
    return f"{_beginning(word)}(?:{alternatives}){_end(word)}"


def _with_one_mistake(letters: _Letters) -> Iterable[_Letters]:
    for i in range(len(letters) + 1):
        before, after = letters[:i], letters[i:]
        yield (*before, _ANY_LETTER, *after)
        if after:
            yield before + after[1:]
            yield (*before, _ANY_LETTER, *after[1:])
        if len(after) > 1:
            yield (*before, after[1], after[0], *after[2:])


def _beginning(word: str) -> str:
    return f"(?:^|{_between(word[0])})" if _between(word[0]) else ""


def _end(word: str) -> str:
    return f"(?:$|{_between(word[-1])})" if _between(word[-1]) else ""


def _between(letter: str) -> str:
    """What is next to a word that ends with it. Between digits and letters there is a new word: `truck` is in 01truck."""
    if is_without_spaces(letter):
        return ""
    return rf"[^\p{{L}}]|[{WITHOUT_SPACES}]" if letter.isalpha() else r"[^\p{N}]"
