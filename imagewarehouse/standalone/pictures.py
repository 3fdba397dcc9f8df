"""GET /images/{image_id} and /images/{image_id}/thumbnail: what was stored, for programs and browsers.

A picture never changes, as its id is its sha256: that is its ETag, and whoever has it may keep it for ever. Bytes that a
client sent are shown to others, so an answer forbids a browser to take them for anything but a picture.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import ClassVar, NamedTuple
from urllib.parse import parse_qsl

from imagewarehouse.access import AccessKeys, Holder, offered_key
from imagewarehouse.errors import (
    BadParameter,
    ImageUnavailable,
    NoSuchImage,
    ObjectMissing,
    ObjectStoreUnavailable,
    RangeNotSatisfiable,
    RowStoreUnavailable,
    WarehouseError,
)
from imagewarehouse.images.thumbnails import LARGEST, SMALLEST, Thumbnail, thumbnail
from imagewarehouse.limits import Limits
from imagewarehouse.objects.reading import PIECE, Images, Place, pieces, read_image
from imagewarehouse.standalone.reading import Lane, only_read, refused
from imagewarehouse.standalone.server import Request, Response, Stream
from imagewarehouse.standalone.thumbnails import ThumbnailCache

PATH = "/images/{image_id}"

_PATH = re.compile(r"/images/(?P<image_id>[0-9a-fA-F]{64})(?P<thumbnail>/thumbnail)?")
_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(?P<first>\d{0,18})-(?P<last>\d{0,18})[ \t]*")
_ETAG = re.compile(r'(?:W/)?"([^"]*)"')
_DEFAULT_SIDE = 256
_REMEMBERED = 4096  # images that a user is known to have sent
_FOREVER = {
    "Cache-Control": "private, immutable, max-age=31536000",
    "Vary": "X-Access-Key, Authorization",  # in the cache of a browser, too, a picture is for those who may see it
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
_THUMBNAIL_TYPES = {"jpg": "image/jpeg", "webp": "image/webp"}

Sent = Callable[[str, str], bool]


class Range(NamedTuple):
    """Bytes of an image, `stop` not among them."""

    start: int
    stop: int


class Pictures:
    """Answers what is asked for a stored picture. Used on one event loop; reads and decodes on threads."""

    path: ClassVar[str] = PATH

    def __init__(self, images: Images, keys: AccessKeys, sent: Sent, limits: Limits, cache: ThumbnailCache) -> None:
        """`sent(image_id, source_user)` says whether a row says so; it may raise Unavailable."""
        self._images = images
        self._keys = keys
        self._sent = sent
        self._limits = limits
        self._cache = cache
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._thumbnails = Lane("thumbnails")  # a decode takes up to 200 MB
        self._lookups = Lane("lookups")  # 0.2 s in a million rows

    async def answer(self, request: Request) -> Response | None:
        """The answer; None to what is asked for something else."""
        match = _PATH.fullmatch(request.path)
        if match is None:
            return None
        try:
            only_read(request)
            holder = self._keys.holder(
                offered_key(request.headers.get("x-access-key"), request.headers.get("authorization"))
            )
            side = _side(request.query) if match["thumbnail"] else None
            place = await self._find(match["image_id"].lower(), holder)
            if side is not None:
                return await self._thumbnail(request, place, side)
            return await self._picture(request, place)
        except ObjectMissing as err:  # removed between two questions
            return refused(NoSuchImage(str(err)), request)
        except (ObjectStoreUnavailable, RowStoreUnavailable) as err:  # their titles speak of writing
            return refused(ImageUnavailable(str(err)), request)
        except WarehouseError as err:
            return refused(err, request)

    def close(self) -> None:
        self._thumbnails.close()
        self._lookups.close()

    async def _find(self, image_id: str, holder: Holder) -> Place:
        """Raises NoSuchImage, and the same to who may not read it, after the same work: existence is not theirs to know."""
        if holder.reads_only is not None and not await self._has_sent(image_id, holder.reads_only):
            raise NoSuchImage("there is no image of this id, or this key may not read it")
        place = await asyncio.to_thread(self._images.find, image_id)
        if place is None:
            raise NoSuchImage("there is no image of this id, or this key may not read it")
        return place

    async def _has_sent(self, image_id: str, user: str) -> bool:
        """What has been sent stays so, and a look into the rows takes long: a page of pictures asks for each again."""
        if (image_id, user) in self._known:
            return True
        if not await self._lookups.run(self._sent, image_id, user):
            return False
        self._known[image_id, user] = None
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return True

    async def _picture(self, request: Request, place: Place) -> Response:
        tag = f'"{place.image_id}"'
        headers = {**_FOREVER, "ETag": tag, "Accept-Ranges": "bytes"}
        if _is_known(request, tag):
            return Response(304, headers=headers)
        shown = "inline" if place.media_type.startswith("image/") else "attachment"
        headers |= {"Content-Type": place.media_type, "Content-Disposition": f'{shown}; filename="{place.file_name}"'}
        part = _range(request, tag, place.size)
        if part is None:
            if place.size > PIECE or request.method == "HEAD":
                return Response(200, Stream(place.size, lambda: self._pieces(place)), headers)
            return Response(200, await asyncio.to_thread(read_image, self._images, place), headers)
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{place.size}"
        return Response(206, Stream(part.stop - part.start, lambda: self._part(place, part)), headers)

    async def _pieces(self, place: Place) -> AsyncIterator[bytes]:
        """The whole picture: the last piece goes out only if all of them are the picture."""
        source = pieces(self._images, place)
        while (piece := await asyncio.to_thread(next, source, None)) is not None:
            yield piece

    async def _part(self, place: Place, part: Range) -> AsyncIterator[bytes]:
        for start in range(part.start, part.stop, PIECE):
            yield await asyncio.to_thread(self._images.read, place, start, min(PIECE, part.stop - start))

    async def _thumbnail(self, request: Request, place: Place, side: int) -> Response:
        tag = f'"{place.image_id}-{side}"'
        if _is_known(request, tag):
            return Response(304, headers={**_FOREVER, "ETag": tag})
        made = await self._thumbnails.run(self._make, place, side)
        name = f"{place.image_id}-{side}.{made.suffix}"
        headers = {
            **_FOREVER,
            "ETag": tag,
            "Content-Type": _THUMBNAIL_TYPES[made.suffix],
            "Content-Disposition": f'inline; filename="{name}"',
        }
        return Response(200, made.content, headers)

    def _make(self, place: Place, side: int) -> Thumbnail:
        made = self._cache.get(place.image_id, side)
        if made is None:
            made = thumbnail(read_image(self._images, place, self._limits.max_bytes), side, self._limits)
            self._cache.put(place.image_id, side, made)
        return made


def _side(query: str) -> int:
    """Raises BadParameter."""
    text = dict(parse_qsl(query, keep_blank_values=True)).get("size", str(_DEFAULT_SIDE))
    side = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not SMALLEST <= side <= LARGEST:
        raise BadParameter(f"size: expected {SMALLEST} to {LARGEST} pixels, received {text[:20]!r}")
    return side


def _is_known(request: Request, tag: str) -> bool:
    """Whether the client has these bytes already (If-None-Match; RFC 9110, 13.1.2)."""
    offered = request.headers.get("if-none-match")
    return offered.strip() == "*" or tag.strip('"') in _ETAG.findall(offered)


def _range(request: Request, tag: str, size: int) -> Range | None:
    """The bytes that are asked for; None: all of them, also where several ranges are asked for, which a server may pass over.

    Raises RangeNotSatisfiable. Source: RFC 9110, 13.1.5 and 14.2.
    """
    wanted = request.headers.get("range")
    if not wanted or request.method != "GET":
        return None
    condition = request.headers.get("if-range")
    match = _RANGE.fullmatch(wanted)
    if match is None or (condition and condition != tag) or not (match["first"] or match["last"]):
        return None
    if not match["first"]:
        start, stop = max(0, size - int(match["last"])), size
    else:
        start = int(match["first"])
        stop = min(size, int(match["last"]) + 1) if match["last"] else size
        if match["last"] and int(match["last"]) < start:
            return None  # no range at all
    if start >= stop:
        raise RangeNotSatisfiable(size)
    return Range(start, stop)
