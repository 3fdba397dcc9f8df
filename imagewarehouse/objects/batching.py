"""Which pictures of a batch go into one object together: small ones, as long as it does not become too large."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable

from imagewarehouse.objects.packs import PackPicture

PACKED_BELOW = 1_000_000  # bytes; a larger picture gains nothing by company, and stays an object that a link leads to
LARGEST_BATCH = 64_000_000  # bytes of one object: it is in memory as a whole, beside its pictures
_END = 2 * tarfile.RECORDSIZE  # the end of a tar file: two empty blocks, filled up


def groups(pictures: Iterable[PackPicture], largest: int | None = None) -> list[list[PackPicture]]:
    """The pictures in their order, those that go into one object together in one list.

    `largest`: most bytes of an object in that store. A picture that finds no company is alone in its list.
    """
    room = min(LARGEST_BATCH, LARGEST_BATCH if largest is None else largest) - _END
    made: list[list[PackPicture]] = []
    filling: list[PackPicture] | None = None
    filled = 0
    for picture in pictures:
        if len(picture.content) >= PACKED_BELOW:
            made.append([picture])
            continue
        if filling is None or filled + picture.packed_size > room:
            filling, filled = [], 0
            made.append(filling)
        filling.append(picture)
        filled += picture.packed_size
    return made
