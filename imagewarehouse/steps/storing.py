"""StoreImage: keeps the bytes of each image under their sha256."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace

import orjson

from imagewarehouse.errors import WarehouseError
from imagewarehouse.metadata import json_values
from imagewarehouse.objects.images import ImageStore, NewPicture
from imagewarehouse.steps.event import Facts, Image
from imagewarehouse.steps.outcome import FAILURE, REFUSED, RETRY, SUCCESS, Outcome

# Beside a picture in a pack lies what it is, and not who sent it: the picture stays while another sender's row points to it.
_BESIDE = (
    "image_id", "format", "size_bytes", "width", "height", "color_mode", "frames", "notes", "event_time", "declared_type",
)  # fmt: skip
_LATEST = 0o77777777777  # what the header of a tar file can say of a time

log = logging.getLogger("imagewarehouse")


class StoreImages:
    """Puts images into an object store. Thread-safe."""

    name = "StoreImage"
    takes_ended = False
    answers = False
    fatal = None
    reads = ("status", "request_id", "image_id", "format")
    owns = ("storage_uri",)

    def __init__(self, store: ImageStore, *, pack: bool = False) -> None:
        """`pack`: the small pictures of a batch go into one object."""
        self.store = store
        self.pack = pack

    def process(self, images: Sequence[Image]) -> list[Outcome]:
        # Read here, not on the store's threads: NiFi's session is not made to be read by many at once.
        read = [(image, image.content()) for image in images]
        if not self.pack:
            return self.store.for_each(lambda pair: self._put(*pair), read)
        facts = [_facts(*pair) for pair in read]
        pictures = [_picture(image, known, content) for (image, content), known in zip(read, facts, strict=True)]
        stored = self.store.put_batch(pictures)
        return [self._outcome(*each) for each in zip(images, facts, stored, strict=True)]

    def close(self) -> None:
        self.store.close()

    def _put(self, image: Image, content: bytes) -> Outcome:
        facts = _facts(image, content)
        stored: str | WarehouseError
        try:
            # Of a large photograph the sha256 is a twentieth of all work, and the check has just made it.
            stored = self.store.put(facts.image_id or "", facts.format or "", content, hashed=image.of_this_process)
        except WarehouseError as err:
            stored = err
        return self._outcome(image, facts, stored)

    def _outcome(self, image: Image, facts: Facts, stored: str | WarehouseError) -> Outcome:
        """`stored`: the URI, or why there is none."""
        event = image.event
        if isinstance(stored, str):
            return Outcome(SUCCESS, event.stored(stored, facts), decoded=image.decoded)
        log.warning("%s: request %s: %s", self.name, event.request_id, stored)
        if stored.retryable and not event.waits:
            # An image that was acknowledged before must not end as a failed row without its bytes. It loops as it
            # came, or the next try would carry the marks of this one.
            return Outcome(RETRY, event)
        return Outcome(REFUSED if stored.retryable else FAILURE, event.failed(stored, facts=facts, storage_uri=None))


def _facts(image: Image, content: bytes) -> Facts:
    """What is known of the content, its id included."""
    facts = image.event.facts
    return facts if facts.image_id else replace(facts, image_id=hashlib.sha256(content).hexdigest())


def _picture(image: Image, facts: Facts, content: bytes) -> NewPicture:
    """The picture with what is known of it by now, the same at each try."""
    event = image.event
    values = json_values({**event.values(), "image_id": facts.image_id})
    record = orjson.dumps({name: value for name, value in values.items() if name in _BESIDE})
    time = 0 if event.event_time is None else int(event.event_time.timestamp())
    return NewPicture(
        facts.image_id or "", facts.format or "", content, record, min(max(time, 0), _LATEST), image.of_this_process
    )
