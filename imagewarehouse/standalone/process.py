"""Limits of the process: memory kept by the allocator, files and connections that may be open."""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h


def keep_small() -> None:
    """Let glibc share two arenas between all threads, and Arrow use the same allocator.

    By default each thread gets an arena of its own and keeps what it once needed for a large picture.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with suppress(OSError, AttributeError):  # another C library: only the saving is lost
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def allow_connections() -> None:
    """As many open files as the system lets this user have; the usual 1,024 are used up by idle connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 65536 if hard == resource.RLIM_INFINITY else hard
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
