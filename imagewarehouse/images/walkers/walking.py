"""What all walkers share: ceilings, what they give, and how far they follow a file."""

from __future__ import annotations

from dataclasses import dataclass

from imagewarehouse.errors import Corrupt, TooManyFrames, TooManyPixels


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the picture ends, in bytes from the start, and how many frames or pages it has.

    `notes`: codes of what the file has besides its picture, and of what in it was ignored; docs/intake.md lists them.
    """

    end: int
    frames: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most pixels of a frame and the most frames; a walker stops at the first that is exceeded."""

    pixels: int
    frames: int


class Steps:
    """How many parts of a file a walker follows before it calls the file an attack."""

    __slots__ = ("name", "remaining")

    def __init__(self, name: str, most: int) -> None:
        self.name, self.remaining = name, most

    def take(self, number: int = 1) -> None:
        self.remaining -= number
        if self.remaining < 0:
            raise Corrupt(f"{self.name}: more parts than a picture of its length has")


def check_pixels(name: str, width: int, height: int, ceilings: Ceilings) -> None:
    if width < 1 or height < 1:
        raise Corrupt(f"{name}: {width} x {height} pixels")
    if width * height > ceilings.pixels:
        raise TooManyPixels(f"{name}: {width} x {height} pixels, at most {ceilings.pixels} in all are allowed")


def check_frames(name: str, frames: int, ceilings: Ceilings) -> None:
    if frames > ceilings.frames:
        raise TooManyFrames(f"{name}: more frames than the {ceilings.frames} allowed")
