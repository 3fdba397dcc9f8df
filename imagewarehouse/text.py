"""Foreign text made fit for one line: of a log, an answer, a column or a terminal."""

from __future__ import annotations

import re

_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor; its end may have been cut off
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS and other strings, with what they say
    r"|\x1b[ -/]*[0-~]?"  # everything else
    r"|\x9b[0-?]*[ -/]*[@-~]?"
)
# Also what turns the direction of text, and lone surrogates, which no store takes.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")

LINE = 300  # characters of a foreign message that a line has room for
_CUT = " … "


def printable(text: str) -> str:
    """The text without terminal escape sequences; other control characters become a space."""
    return _CONTROL.sub(" ", _ESCAPE.sub("", text)).strip()


def one_line(message: object, most: int = LINE) -> str:
    """A foreign message as one line of at most `most` characters.

    What is too long loses its middle, between two words: libraries say what failed at the beginning and why at the end.
    An exception without a text is named by its type.
    """
    text = " ".join(printable(str(message)).split())
    if not text and isinstance(message, BaseException):
        return type(message).__name__
    if len(text) <= most:
        return text
    tail = max(0, (most - len(_CUT)) // 3)
    head = most - len(_CUT) - tail
    return f"{_whole_words(text[:head], text[head])}{_CUT}{_whole_words(text[-tail:], text[-tail - 1], end=True)}"


def _whole_words(part: str, neighbour: str, *, end: bool = False) -> str:
    """`part` without the word that the cut divides, unless that word is most of it."""
    if neighbour == " ":
        return part.strip()
    _, space, kept = part.partition(" ") if end else part.rpartition(" ")[::-1]
    return kept.strip() if space and 2 * len(kept) > len(part) else part.strip()
