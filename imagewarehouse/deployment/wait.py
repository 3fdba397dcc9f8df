"""Waiting for what NiFi does in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from imagewarehouse.deployment.errors import NifiError

T = TypeVar("T")

_FIRST_S = 0.05
_LONGEST_S = 1.0


def until(look: Callable[[], T | None], timeout: float, late: Callable[[], str]) -> T:
    """What `look` returns as soon as that is not None; it is asked often at first, then once a second.

    Raises NifiError with what `late` says after `timeout` seconds.
    """
    end, pause = time.monotonic() + timeout, _FIRST_S
    while True:
        result = look()
        if result is not None:
            return result
        if time.monotonic() >= end:
            raise NifiError(f"{late()}; waited {timeout:g} s, --timeout gives it longer")
        time.sleep(min(pause, max(0.0, end - time.monotonic())))
        pause = min(_LONGEST_S, pause * 1.3)
