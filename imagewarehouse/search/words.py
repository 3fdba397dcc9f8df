"""What people type into a search box, as words: the rules that every backend keeps to.

A word is a run of letters and digits. It is found where a word of a text is the same, begins with it, or is it with a typing
mistake, in this order. Case, accents and the way in which a character is composed make no difference. Characters of scripts
without spaces between words (Chinese, Japanese, Thai, ...) are found wherever they are, and so are symbols such as emoji.
"""

from __future__ import annotations

import unicodedata
from itertools import groupby

MOST_CHARACTERS = 1000
MOST_WORDS = 16
LABEL_FROM = 0.1  # a class that the model held for possible is a word of the picture from this probability on

# Ranges of scripts that put no space between words, as regular expressions and Python's comparisons want them.
_WITHOUT_SPACES = (
    ("\u0e00", "\u0eff"),  # Thai, Lao
    ("\u1000", "\u109f"),  # Burmese
    ("\u1780", "\u17ff"),  # Khmer
    ("\u3040", "\u30ff"),  # Hiragana, Katakana
    ("\u3400", "\u4dbf"),  # Han
    ("\u4e00", "\u9fff"),
    ("\uf900", "\ufaff"),
    ("\U00020000", "\U0003ffff"),
)
WITHOUT_SPACES = "".join(f"{first}-{last}" for first, last in _WITHOUT_SPACES)
"""For the inside of a regular expression's brackets."""

SPELLED = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d"}
"""How people type these letters who lack the key. To Unicode they are no letters with an accent."""
_SPELLED = str.maketrans(SPELLED)


def fold(text: str) -> str:
    """In small letters, without accents, composed, SPELLED spelled: as texts are compared."""
    marked = unicodedata.normalize("NFD", text)
    plain = "".join(c for c in marked if unicodedata.category(c)[0] != "M")
    # Letter by letter: a database knows nothing of a sigma at the end of a word.
    small = "".join(c.lower() if len(c.lower()) == 1 else c for c in plain)
    return unicodedata.normalize("NFC", small.translate(_SPELLED))


def words_of(text: str) -> tuple[str, ...]:
    """The words of what somebody typed, each once, folded. Raises ValueError: more than can be looked for.

    Text without a letter, a digit or a symbol has none, and finds nothing, unless it is blank.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"words: expected at most {MOST_CHARACTERS} characters, received {len(text)}")
    found = ["".join(run) for kind, run in groupby(fold(text), _kind) if kind]
    words = tuple(dict.fromkeys(found))
    if len(words) > MOST_WORDS:
        raise ValueError(f"words: expected at most {MOST_WORDS} words, received {len(words)}")
    return words


def edits(word: str) -> int:
    """How many letters may be wrong, too many, missing, or changed places with the next one.

    None of a short word, or nearly every other short word would be found; none of one with a digit, because a number with
    another digit is another number.
    """
    if not word.isalpha() or any(is_without_spaces(c) for c in word):
        return 0
    return 0 if len(word) < 4 else 1 if len(word) < 8 else 2 if len(word) <= 24 else 0


def is_without_spaces(character: str) -> bool:
    """Whether it is found wherever it is, because its script does not say where a word begins."""
    return any(first <= character <= last for first, last in _WITHOUT_SPACES) or _kind(character) == "symbol"


def _kind(character: str) -> str:
    """Empty for what stands between words."""
    category = unicodedata.category(character)
    if category[0] in "LN":
        return "word"
    return "symbol" if category in ("So", "Sk", "Sm", "Sc") and not character.isascii() else ""
