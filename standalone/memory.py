"""Keeps the resident memory of a process with many threads down."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h


def keep_small() -> None:
    """Let glibc share two arenas between all threads, and Arrow use the same allocator.

    By default each thread gets an arena of its own and keeps what it once needed for a large picture.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with suppress(OSError, AttributeError):  # another C library: only the saving is lost
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
