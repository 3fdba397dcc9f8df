"""What sources give: an image to send, or what should have been one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

MAX_READ = 128 * 1024 * 1024  # bytes of one image; the service's default is 20 MiB, and each connection may hold this


@dataclass(frozen=True, slots=True)
class Image:
    """One image to send; its bytes are here (Parquet, standard input) or still in the file `source`."""

    source: str  # as the user would name it
    key: str  # in the state file: absolute path, or absolute path of the Parquet file # row
    file_name: str | None
    content: bytes | None = field(default=None, repr=False)
    label: str | None = None  # the true class where it is known


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that should have been an image and could not be read."""

    source: str
    detail: str


Item = Image | Unreadable


def read_image(file: BinaryIO) -> bytes:
    """The rest of a file. Raises OSError, also for more than MAX_READ."""
    content = file.read(MAX_READ + 1)
    if len(content) > MAX_READ:
        raise OSError(f"more than {MAX_READ} bytes, that is no single image")
    return content
