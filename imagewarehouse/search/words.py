"""Words as people type them and as records have them: made alike for every backend, so that both find the same.

A word is a run of letters or a run of digits, without case and accents. What a record has is also split where a small
letter meets a capital one: `IMG_2024-05-01.jpg` has img, 2024, 05, 01, jpg; `SpecimenPhoto2` specimenphoto, specimen, photo, 2.

A word of a search meets a word of a record that is the same (`EXACT`), that begins with it (`BEGINS`), or that is it but for
typing mistakes (`MISTYPED`). What a hit is worth is the sum, over the words of the search, of those that it meets by any of
its words: a word that is the same also begins with it and is free of mistakes, so it is worth 7.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import orjson

EXACT, BEGINS, MISTYPED = 4, 2, 1
COLUMNS = ("file_name", "predicted_class", "error_code", "error_detail", "source_user", "fields")
"""Where words are looked for; of `fields` in the texts, not in the names."""
MOST_WORDS = 16  # of one search
MOST_LETTERS = 64  # of one word; what is longer is cut on both sides
_BEGINS_FROM = 2  # letters: more than half of all records would begin with one letter
MARK, END = "\ue000", "\ue001"  # around what was found

_MARKS = "".join(
    c for c in map(chr, range(0x300, 0x11000)) if unicodedata.category(c)[0] == "M"
)  # vowels, in half of Asia
_RUN = re.compile(rf"[^\W\d_](?:[^\W\d_]|[{_MARKS}])*|\d+")
_NO_ASCII = re.compile(r"[^\x00-\x7f]")
# Letters that Unicode takes for letters of their own, and which people type without their stroke.
_STROKES = str.maketrans(
    {"ø": "o", "đ": "d", "ð": "d", "ł": "l", "\u0131": "i", "ħ": "h", "æ": "ae", "œ": "oe", "þ": "th"}
)


def asked(text: str) -> tuple[str, ...]:
    """The different words of a search, in its order, MOST_WORDS and one at most."""
    found: dict[str, None] = {}
    for run in _runs(text):
        found[_folded(run)] = None
        if len(found) > MOST_WORDS:
            break
    found.pop("", None)
    return tuple(found)


def words_of(texts: Iterable[str]) -> tuple[str, ...]:
    """The different words of a record's texts."""
    found: dict[str, None] = {}
    for text in texts:
        for run in _runs(text):
            for part in (run, *_parts(run)):
                found[_folded(part)] = None
    found.pop("", None)
    return tuple(found)


def texts_of(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(column, text) of what a record has in COLUMNS; `fields`: JSON as text, or what it says."""
    for name in COLUMNS:
        value = values.get(name)
        if name == "fields" and value is not None:
            told = orjson.loads(value) if isinstance(value, str) else value
            yield from ((name, text) for text in told.values() if isinstance(text, str))
        elif value is not None:
            yield name, value


def mistakes(word: str) -> int:
    """Mistakes that are forgiven in a word of a search. A number that is mistyped is another number."""
    if word[:1].isdecimal() or len(word) < 4:
        return 0
    return 1 if len(word) < 8 else 2


def begins(word: str) -> bool:
    """Whether words that begin with this word of a search are found."""
    return len(word) >= _BEGINS_FROM


def meets(word: str, known: str) -> int:
    """What a word of a record is worth to a word of a search; 0: it is another word."""
    if known == word:
        return EXACT + (BEGINS if begins(word) else 0) + (MISTYPED if mistakes(word) else 0)
    worth = BEGINS if begins(word) and known.startswith(word) else 0
    most = mistakes(word)
    return worth + (MISTYPED if most and _within(word, known, most) else 0)


def highlights(values: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, list[str]]:
    """The texts of a record in which words of a search are, marked, by column."""
    found: dict[str, list[str]] = {}
    for name, text in texts_of(values):
        marked = _marked(text, wanted)
        if marked is not None:
            found.setdefault(name, []).append(marked)
    return found


def _marked(text: str, wanted: Sequence[str]) -> str | None:
    text = unicodedata.normalize("NFC", text).replace(MARK, "").replace(END, "")  # nobody else's marks
    pieces, end = [], 0
    for run in _RUN.finditer(text):
        parts = [run.span(), *((run.start() + first, run.start() + last) for first, last in _part_spans(run[0]))]
        hit = next((span for span in parts if _found(text[slice(*span)], wanted)), None)
        if hit is not None:
            pieces += [text[end : hit[0]], MARK, text[slice(*hit)], END]
            end = hit[1]
    return "".join([*pieces, text[end:]]) if pieces else None


def _found(run: str, wanted: Sequence[str]) -> bool:
    known = _folded(run)
    return any(meets(word, known) for word in wanted)


# --- letters ------------------------------------------------------------------------------------------------------


def _runs(text: str) -> Iterator[str]:
    if _NO_ASCII.search(text):
        # Composed, so that an accent is part of its letter; letters of full width and the like as those that people type.
        text = unicodedata.normalize("NFKC", text)
    return (run[0] for run in _RUN.finditer(text))


def _parts(run: str) -> list[str]:
    return [run[first:last] for first, last in _part_spans(run)]


def _part_spans(run: str) -> list[tuple[int, int]]:
    """Where a run is split into several, each beginning with a capital letter; empty where it is not."""
    if run.islower() or run.isupper() or run.isdecimal():
        return []
    inner = [at for at in range(1, len(run)) if run[at].isupper() and run[at - 1].islower()]
    return list(pairwise([0, *inner, len(run)])) if inner else []


def _folded(run: str) -> str:
    if run.isascii():
        return run[:MOST_LETTERS].lower()
    letters = unicodedata.normalize("NFKD", run.casefold())
    plain = "".join(letter for letter in letters if not "\u0300" <= letter <= "\u036f").translate(_STROKES)
    return unicodedata.normalize("NFC", plain)[:MOST_LETTERS]


def _within(one: str, other: str, most: int) -> bool:
    """Whether so many letters that are missing, too many, another or exchanged with the next make the difference."""
    if abs(len(one) - len(other)) > most:
        return False
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, known in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != known))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == known:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return False
    return row[-1] <= most
