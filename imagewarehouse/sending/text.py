"""Errors and foreign text in one harmless line, and files of lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, cast

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.text import one_line, printable


class OutputBroken(Exception):
    """A file that results go to could not be written; going on would lose them."""


def plain(value: object, limit: int = 300) -> str:
    """Text from a file name or a server made harmless for a terminal: no control characters, valid UTF-8."""
    text = "".join(char if char.isprintable() else " " for char in printable(str(value))).strip()
    return text if len(text) <= limit else one_line(text, limit)


def first_line(value: object) -> str:
    return plain(str(value).strip().partition("\n")[0], 200) or type(value).__name__


def reason(err: BaseException) -> str:
    """The system's words for an error, without Python's around them."""
    # Read from the text: where several addresses were tried, asyncio joins their errors into one without a number.
    match = re.search(r"\[Errno (\d+)\]", str(err))
    return os.strerror(int(match[1])).lower() if match else first_line(getattr(err, "strerror", None) or err)


@contextmanager
def open_lines(option: str, path: Path, mode: str) -> Iterator[TextIO]:
    """A text file that `option` names. Raises ConfigurationError."""
    try:
        # What is written is ASCII; what is read may be any file that was named by mistake.
        file = cast("TextIO", path.open(mode, encoding="utf-8", errors="replace", newline="\n"))
    except OSError as err:
        raise ConfigurationError(option, f"{path}: {reason(err)}") from err
    try:
        yield file
    finally:
        with suppress(OSError):  # every line was flushed; what still fails here has been reported
            file.close()


def write_line(option: str, file: TextIO, line: str) -> None:
    """Hand one line to the operating system, where it survives a kill of this process. Raises OutputBroken."""
    try:
        file.write(line + "\n")
        file.flush()
    except OSError as err:
        raise OutputBroken(f"{option}: {err.strerror or err}") from err
