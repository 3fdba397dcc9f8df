"""Clients who wait go before uploads that were acknowledged already.

Both travel through the same steps, and a package under way is not interrupted. With uploads at every step, a client waits for
one of their packages at each. So uploads stand back in front of the first step: while clients come, a package of them goes on
only every now and then, and between two of them the steps are free.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Clients who wait for 0.5 s behind uploads, four of them, come every 0.12 s; if that passed for quiet, it would stay so. One
# client each second takes a quarter of the time at most.
QUIET_S = 0.25
GIVE_WAY_S = 0.5  # a package of 64 small images takes both cores of a small machine for a fifth of a second
LONGEST_S = 10.0  # a step that is to stop waits for it


class Precedence:
    """When a package of uploads may go on. Thread-safe.

    Args: give_way_s: seconds between two of them while clients come; 0 makes no difference between the two.
    """

    def __init__(
        self,
        give_way_s: float = GIVE_WAY_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._give_way_s = give_way_s
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._client_at = self._upload_at = float("-inf")
        self._pause_s = give_way_s

    def wait_s(self) -> float:
        """Seconds until a package of uploads may go on, unless a client comes meanwhile; 0 or less: now."""
        return min(self._client_at + QUIET_S, self._upload_at + self._pause_s) - self._clock()

    def took(self, seconds: float) -> None:
        """Say how long a package of uploads was on its way, where that is known: they then take half of the time."""
        self._pause_s = min(self._give_way_s, 2 * seconds)

    def goes(self, *, awaited: bool) -> None:
        """A package goes on: clients wait for it, or nobody does."""
        if awaited:
            self._client_at = self._clock()
        else:
            self._upload_at = self._clock()

    def let_pass(self, *, awaited: bool) -> None:
        """Return when a package may go on."""
        if awaited:
            self.goes(awaited=True)
            return
        with self._lock:  # one after the other, should a flow check several packages of uploads at once
            while (wait_s := self.wait_s()) > 0:
                self._sleep(wait_s)
            self.goes(awaited=False)
