"""The process and its machine: cores, memory kept by the allocator, open files, and a child that ends with its parent."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

_M_ARENA_MAX = -8  # malloc.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SIGKILL = 9
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container


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


def cores() -> int:
    """How many cores this process may use: of those it is bound to, as many as its container is allowed."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no container, or no limit: "max 100000"
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        count = min(count, max(1, round(int(quota) / int(period))))
    return count


def end_with(parent: int) -> None:
    """Let the kernel end this process when its parent is gone, however that went. Linux only."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:  # gone before the call
        os._exit(1)
