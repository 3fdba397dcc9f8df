"""What all walkers share: ceilings, what they give, and how far they follow a file."""

from __future__ import annotations

from dataclasses import dataclass

from imagewarehouse.errors import Corrupt, TooManyFrames, TooManyPixels, Unsupported

# Notes of what beside the pixels was ignored because it cannot be read.
EXIF, PROFILE, TEXT, OTHER = "unreadable_exif", "unreadable_profile", "unreadable_text", "unreadable_metadata"
STRAY = "stray_bytes"  # the note of bytes between the parts of a picture that belong to none
_ANY = 1 << 62


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the picture ends, in bytes from the start, and how many frames or pages it has.

    `notes`: codes of what the file has besides its picture, and of what in it was ignored; docs/intake.md lists them.
    `turned`: the decoder itself turns the picture by a quarter, so its width is the height that is stored.
    """

    end: int
    frames: int = 1
    notes: tuple[str, ...] = ()
    turned: bool = False


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most pixels of a frame, frames, and bytes of memory; a walker stops at the first that is exceeded.

    `bytes_per_pixel`: what decoding takes, for walkers that cannot tell more exactly.
    """

    pixels: int
    frames: int
    memory: int = _ANY
    bytes_per_pixel: float = 0.0


class Steps:
    """How many parts of a file a walker follows before it calls the file an attack."""

    __slots__ = ("name", "remaining")

    def __init__(self, name: str, most: int) -> None:
        self.name, self.remaining = name, most

    def take(self, number: int = 1) -> None:
        self.remaining -= number
        if self.remaining < 0:
            raise Corrupt(f"{self.name}: more parts than a picture of its length has")


# Pillow keeps a pointer to each row of each of its images, three at a time; a turn makes rows of columns. Of a picture it is
# next to nothing, of a line of 49 million pixels more than the pixels.
_OF_A_ROW = 24


def check_pixels(name: str, width: int, height: int, ceilings: Ceilings, bytes_per_pixel: float | None = None) -> None:
    """Both limits of a frame's size: pixels, and the memory that decoding them takes. Raises: Corrupt, TooManyPixels."""
    if width < 1 or height < 1:
        raise Corrupt(f"{name}: {width} x {height} pixels")
    if width * height > ceilings.pixels:
        raise TooManyPixels(
            f"{name}: {width} x {height} pixels, at most {ceilings.pixels} in all are allowed (intake.max.pixels)"
        )
    if bytes_per_pixel is None:
        bytes_per_pixel = ceilings.bytes_per_pixel
    memory = width * height * bytes_per_pixel + max(width, height) * _OF_A_ROW
    if memory > ceilings.memory:
        raise TooManyPixels(
            f"{name}: {width} x {height} pixels take {memory / 1e6:.0f} MB to decode, at most"
            f" {ceilings.memory / 1e6:.0f} MB are allowed (intake.max.memory)"
        )


def check_sides(name: str, width: int, height: int, most: int) -> None:
    """The longest side that the decoder takes, where the format itself allows more. Raises: Unsupported."""
    if max(width, height) > most:
        raise Unsupported(f"{name}: {width} x {height} pixels; sides of more than {most} cannot be read here")


def check_frames(name: str, frames: int, ceilings: Ceilings) -> None:
    if frames > ceilings.frames:
        raise TooManyFrames(f"{name}: more frames than the {ceilings.frames} allowed")
