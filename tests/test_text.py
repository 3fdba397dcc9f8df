"""Foreign text in one line: escape sequences, control characters and length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagewarehouse.errors import Corrupt
from imagewarehouse.text import LINE, one_line, printable


@pytest.mark.parametrize(
    ("message", "line"),
    [
        pytest.param(
            "\x1b[1mException encountered when calling Layer\x1b[0m",
            "Exception encountered when calling Layer",
            id="colours-of-keras",
        ),
        pytest.param("a\x1b]0;new window title\x07b", "ab", id="window-title"),
        pytest.param("a\x1b]8;;http://elsewhere\x1b\\link\x1b]8;;\x1b\\b", "alinkb", id="link"),
        pytest.param("a\x9b31mb", "ab", id="one-byte-introducer"),
        pytest.param("a\x1b(Bb\x1bcc", "abc", id="short-sequences"),
        pytest.param("two\r\nlines\tand a tab", "two lines and a tab", id="line-break"),
        pytest.param("a\u2028b\ud800c", "a b c", id="separators-and-half-characters"),
        pytest.param("a\u202eb\u2066c", "a b c", id="turns-the-direction"),
        pytest.param("ends in the middle of one \x1b[3", "ends in the middle of one", id="cut-sequence"),
    ],
)
def test_a_message_becomes_one_line_without_escape_sequences(message: str, line: str) -> None:
    assert one_line(message) == line
    assert str(Corrupt(message)) == printable(message)
    assert printable(message).isprintable()


def test_a_long_message_keeps_its_beginning_and_its_end_in_whole_words() -> None:
    middle = " ".join(f"word{number}" for number in range(200))
    message = f"When writing the object of bucket images: {middle}: access denied"
    line = one_line(message)
    assert line.startswith("When writing the object of bucket images: word0 word1 ")
    assert line.endswith(" word198 word199: access denied")
    assert len(line) <= LINE
    before, after = line.split(" … ")
    assert set(before.split()) | set(after.split()) <= set(message.split())


def test_an_exception_without_a_text_is_named_by_its_type() -> None:
    assert one_line(TimeoutError()) == "TimeoutError"


@given(st.text(), st.integers(10, 400))
def test_any_text_is_one_printable_line_of_at_most_that_length(message: str, most: int) -> None:
    line = one_line(message, most)
    assert len(line) <= most
    assert "\n" not in line
    assert "\x1b" not in line
    assert line == one_line(line, most)
