"""Request identifiers: UUIDv7 whose time is the event time.

`event_time` is computed from `request_id`, never stored beside it: the two together are the key of a row, and a pair
that cannot disagree is a row that a retry overwrites instead of doubling. Layout: RFC 9562 section 5.7 with the
sub-millisecond fraction in `rand_a` (section 6.2, method 3).
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from uuid import UUID

from imagewarehouse.errors import BadIdempotencyKey

MAX_AGE = timedelta(days=7)  # a sender that resumes after a long week-end still hits the same row
MAX_AHEAD = timedelta(hours=1)  # clocks of clients run fast; a key from next year would miss every partition
_CANONICAL = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def new_request_id(now: datetime) -> str:
    """A fresh UUIDv7 for `now` (aware), microseconds kept."""
    micros = (now - _EPOCH) // timedelta(microseconds=1)
    return build(micros, next(_tails))


def event_time(request_id: str) -> datetime:
    """The time inside a request id, UTC, microseconds. Raises ValueError if it is no UUIDv7."""
    # By hand where it is written as ours are: UUID() takes as long as all the rest of a step.
    number = int(request_id.replace("-", ""), 16) if _CANONICAL.fullmatch(request_id) else UUID(request_id).int
    if (number >> 76) & 0xF != 7 or (number >> 62) & 0b11 != 0b10:
        raise ValueError(f"expected a UUIDv7, received {request_id!r}")
    millis = number >> 80
    fraction = (number >> 64) & 0xFFF
    # Rounded up, so that the microsecond that went in by flooring comes out again.
    return _EPOCH + timedelta(milliseconds=millis, microseconds=-(-fraction * 1000 // 4096))


def request_id_from_key(key: str, now: datetime, part: int = 1, user: str | None = None) -> str:
    """The request id that a client's `Idempotency-Key` stands for.

    Part 1 is the key itself; further parts of a multipart body share its time and get bits of their own, the same at
    every retry. So does each part where access keys say which `user` it is from: whoever learns the id of somebody else's
    row cannot overwrite it. Raises BadIdempotencyKey when the key is no UUIDv7 or its time is too far from `now`.
    """
    try:
        key = key.strip(" \t")
        if not _CANONICAL.fullmatch(key):  # UUID() itself takes braces, URNs and digits of any script
            raise ValueError(key)
        when = event_time(key)
    except (ValueError, OverflowError) as err:
        raise BadIdempotencyKey(f"Idempotency-Key: expected a UUIDv7, received {key[:64]!r}") from err
    if not now - MAX_AGE <= when <= now + MAX_AHEAD:
        raise BadIdempotencyKey(
            f"Idempotency-Key: its time {when:%Y-%m-%dT%H:%M:%SZ} is not between 7 days ago and 1 hour ahead"
        )
    if part == 1 and user is None:
        return key.lower()
    value = UUID(key)
    digest = hashlib.sha256(value.bytes + part.to_bytes(4, "big") + (user or "").encode()).digest()
    tail = int.from_bytes(digest[:8], "big") & ((1 << 62) - 1)
    return str(UUID(int=(value.int >> 64 << 64) | (0b10 << 62) | tail))


def build(micros: int, tail: int) -> str:
    """The request id of a time, in microseconds since 1970, and of 62 bits."""
    millis, micros_of_milli = divmod(micros, 1000)
    fraction = micros_of_milli * 4096 // 1000
    digits = f"{(millis << 80) | (7 << 76) | (fraction << 64) | (0b10 << 62) | tail:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _random_tails() -> Iterator[int]:
    """62 random bits at a time, from the system: who knows some ids must not be able to guess others. Many are read at once."""
    while True:
        block = memoryview(os.urandom(1024)).cast("Q")
        yield from (number >> 2 for number in block)


class _Shared(Iterator[int]):
    """An iterator for many threads; one of its own for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._numbers = _random_tails()

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers)


_tails = _Shared()
