"""The texts of a record in which words of a search are, with marks around what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imagewarehouse.search.terms import kind_of, texts_of
from imagewarehouse.search.words import edits, fold

MARK, END = "\ue000", "\ue001"


def highlights(values: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, list[str]]:
    """By column, in the order of the columns; `wanted`: of `words.words_of`. A text in which nothing is found is left out."""
    found: dict[str, list[str]] = {}
    if wanted:
        for name, text in texts_of(values):
            marked = _marked(text.replace(MARK, "").replace(END, ""), wanted)  # nobody else's marks
            if marked is not None:
                found.setdefault(name, []).append(marked)
    return found


def _marked(text: str, wanted: Sequence[str]) -> str | None:
    folded, places = [], []  # each character of the folded text, and where in the text it comes from
    for place, character in enumerate(text):
        for plain in fold(character):
            folded.append(plain)
            places.append(place)
    places.append(len(text))
    plain_text = "".join(folded)
    pieces, done = [], 0
    for first, end in _parts(plain_text):
        if first < done:
            continue
        lengths = (_length_found(plain_text, first, end, word) for word in wanted)
        length = max(lengths, default=0)
        if length:
            begin, behind = places[first], places[first + length]
            pieces += [text[places[done] : begin], MARK, text[begin:behind], END]
            done = first + length
    return "".join([*pieces, text[places[done] :]]) if pieces else None


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """(first, end) of the runs of letters, of digits, and of characters that stand alone."""
    first = 0
    for at in range(1, len(text) + 1):
        kind = kind_of(text[first])
        if at == len(text) or kind == "alone" or kind_of(text[at]) != kind:
            if kind:
                yield first, at
            first = at


def _length_found(text: str, first: int, end: int, word: str) -> int:
    if text.startswith(word, first):
        return len(word)
    most = edits(word)
    return end - first if most and kind_of(text[first]) == "letter" and _within(word, text[first:end], most) else 0


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
    return row[-1] <= most
