"""Files that have their name only once they are whole, and a lock for who writes into a folder."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagewarehouse.errors import ConfigurationError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The path to write to; it gets its name once it is on the disk. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    yield part
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def copy_whole(source: Path, target: Path) -> None:
    """Raises OSError."""
    with whole(target) as part:
        shutil.copyfile(source, part)


def sync_folder(folder: Path) -> None:
    """So that the names in it are on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, argument: str) -> Iterator[None]:
    """Raises ConfigurationError: another process has it."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise ConfigurationError(argument, f"another process is writing into {path.parent}") from err
        except OSError:
            pass  # a file system without locks
        yield


@contextmanager
def errors_of(path: Path, argument: str) -> Iterator[None]:
    """Errors of the disk as one of the argument."""
    try:
        yield
    except OSError as err:
        raise ConfigurationError(argument, f"{err.filename or path}: {err.strerror or err}") from err
