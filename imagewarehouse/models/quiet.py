"""Keeps what C++ libraries write to standard error at their start out of an operator's terminal."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.Lock()


@contextmanager
def without_info_lines() -> Iterator[None]:
    """What is written to standard error inside comes out behind it, without lines that begin with INFO.

    Of the whole process: what other threads write meanwhile comes out late, and complete. At most 64 KB, which a pipe holds.
    """
    with _one_at_a_time:
        try:
            reading, writing = os.pipe()
            saved = os.dup(2)
        except OSError:  # no standard error, or no file left to open: then it is not worth a failure
            yield
            return
        os.set_blocking(writing, False)  # more than it holds is lost, and nobody waits for ever
        os.dup2(writing, 2)
        os.close(writing)
        try:
            yield
        finally:
            os.dup2(saved, 2)  # closes the last writing end, so that reading ends
            os.close(saved)
            with open(reading, "rb") as lines:  # noqa: PTH123 - a descriptor
                kept = [line for line in lines if not line.startswith(b"INFO")]
            if kept:
                os.write(2, b"".join(kept))
