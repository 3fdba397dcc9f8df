"""The file of --state: which images were answered, and which key the others were sent under."""

from __future__ import annotations

import fcntl
import hashlib
import json
from array import array
from bisect import bisect_left
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.ids import MAX_AGE, MAX_AHEAD, event_time, new_request_id
from imagewarehouse.sending.items import ACCEPTED, REJECTED
from imagewarehouse.sending.text import open_lines, write_line

_KEY_MARGIN = timedelta(hours=1)  # a key that expires while it is being retried would fail for good


class State:
    """Append-only JSONL: the address, then `sending` before an image's first attempt and its status after the last.

    An answered image is remembered as 8 bytes (a digest; among a million, two agree with a chance of 1 in 40 million).
    """

    def __init__(self, path: Path, url: str) -> None:
        """Open and read it. Raises ConfigurationError: not a state file, of another address, in use, not writable."""
        self._pending: dict[int, str] = {}
        self._rejected: set[int] = set()
        answered = array("Q")
        with ExitStack() as stack:
            self._file = stack.enter_context(open_lines("--state", path, "a+"))
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                raise ConfigurationError("--state", f"{path} is in use by another `imagewarehouse send`") from err
            except OSError:
                pass  # a file system without locks
            self._file.seek(0)
            line = self._file.readline()
            if line:
                _check_header(line, path, url)
            else:
                self._write(imagewarehouse_send=1, url=url)
            for line in self._file:
                self._remember(line, answered)
            if line and not line.endswith("\n"):  # cut off by a crash; the next line must not be glued to it
                self._file.write("\n")
            self.close = stack.pop_all().close
        self._answered = array("Q", sorted(answered))

    def is_answered(self, key: str) -> bool:
        digest = _digest(key)
        at = bisect_left(self._answered, digest)
        return at < len(self._answered) and self._answered[at] == digest

    def is_rejected(self, key: str) -> bool:
        """Whether the answer to an image that is answered was no."""
        return _digest(key) in self._rejected

    def begin(self, key: str, now: datetime) -> str:
        """The Idempotency-Key for an image: the one of an earlier run, or a fresh one where that has grown too old."""
        earlier = self._pending.pop(_digest(key), None)
        request_id = earlier if earlier is not None and _is_usable(earlier, now) else new_request_id(now)
        self.end(key, request_id, "sending")
        return request_id

    def end(self, key: str, request_id: str, status: str) -> None:
        self._write(source=key, key=request_id, status=status)

    def _write(self, **entry: object) -> None:
        write_line("--state", self._file, json.dumps(entry))

    def _remember(self, line: str, answered: array[int]) -> None:
        try:
            entry = json.loads(line)
            digest, request_id, status = _digest(entry["source"]), entry["key"], entry["status"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # cut off by a crash
        if status in (ACCEPTED, REJECTED):
            self._pending.pop(digest, None)
            answered.append(digest)
            if status == REJECTED:
                self._rejected.add(digest)
        else:
            self._pending[digest] = str(request_id)


def _check_header(line: str, path: Path, url: str) -> None:
    try:
        header = json.loads(line)
        recorded_url, _ = header["url"], header["imagewarehouse_send"]
    except (ValueError, KeyError, TypeError) as err:
        problem = f"{path} exists and is no state file of `imagewarehouse send`"
        raise ConfigurationError("--state", problem) from err
    if recorded_url != url:
        problem = (
            f"{path} belongs to {recorded_url}; take another file, or edit its first line if the service has moved"
        )
        raise ConfigurationError("--state", problem)


def _is_usable(request_id: str, now: datetime) -> bool:
    """Whether the service would still take this Idempotency-Key."""
    try:
        return -MAX_AHEAD <= now - event_time(request_id) <= MAX_AGE - _KEY_MARGIN
    except (ValueError, OverflowError):
        return False


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
