"""Thumbnails on disk, so that each is made once: a folder with a bound, out of which the least recently used go.

The processes of a service share the folder. None of them knows what the others write, so each may add a small share of the
bound before it looks at the whole folder again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from imagewarehouse.images.thumbnails import Thumbnail

log = logging.getLogger("imagewarehouse.standalone")

MOST_BYTES = 256 << 20
_TARGET = 3 / 4  # of the bound, after a sweep
_SUFFIXES = ("jpg", "webp")
_USED_ANEW_S = 3600.0  # a use is noted once an hour: that is exact enough, and a write for each would not be


def remove_thumbnails(folder: Path, image_ids: Iterable[str]) -> int:
    """Those of these images, also such as are being written; gives how many there were. Raises OSError."""
    wanted: dict[str, set[str]] = {}
    for image_id in image_ids:
        wanted.setdefault(image_id[:2], set()).add(image_id)
    removed = 0
    for beginning, ids in wanted.items():
        with suppress(FileNotFoundError):
            for path in list((folder / beginning).iterdir()):
                if path.name.lstrip(".").partition("-")[0] in ids:
                    path.unlink(missing_ok=True)
                    removed += 1
    return removed


class ThumbnailCache:
    """To be used by one thread. Its files are nobody's only copy: whatever goes wrong with them, a thumbnail is made anew."""

    def __init__(self, folder: Path, workers: int = 1, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most = most_bytes
        # Together they stay below the bound: all of them may have added this much since a sweep.
        self._share = int(most_bytes * (1 - _TARGET) / workers)
        self._added = self._share  # a start looks at what is there

    def get(self, image_id: str, side: int) -> Thumbnail | None:
        for suffix in _SUFFIXES:
            path = self._path(image_id, side, suffix)
            with suppress(OSError):
                content = path.read_bytes()
                if not content:  # left by a machine that lost its power
                    continue
                if time.time() - path.stat().st_mtime > _USED_ANEW_S:
                    os.utime(path)
                return Thumbnail(content, suffix)
        return None

    def put(self, image_id: str, side: int, thumbnail: Thumbnail) -> None:
        path = self._path(image_id, side, thumbnail.suffix)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            if self._added + len(thumbnail.content) > self._share:
                self._sweep()
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(thumbnail.content)
            temporary.replace(path)
        except OSError as err:  # a full disk: people see pictures all the same
            log.warning("%s: %s; thumbnails are not kept", self._folder, err.strerror or err)
            with suppress(OSError):
                temporary.unlink()
        else:
            self._added += len(thumbnail.content)

    def _sweep(self) -> None:
        """Remove the least recently used until three quarters of the bound are left. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:  # the others wait: what they would remove is being removed
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = []
            for folder in os.scandir(self._folder):
                if folder.is_dir(follow_symlinks=False):
                    for file in os.scandir(folder.path):
                        with suppress(FileNotFoundError):
                            status = file.stat(follow_symlinks=False)
                            files.append((status.st_mtime, status.st_size, file.path))
            total = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if total <= self._most * _TARGET:
                    break
                with suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108
                total -= size
        self._added = 0

    def _path(self, image_id: str, side: int, suffix: str) -> Path:
        return self._folder / image_id[:2] / f"{image_id}-{side}.{suffix}"
