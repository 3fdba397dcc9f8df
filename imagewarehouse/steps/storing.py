"""StoreImage: keeps the bytes of each image under their sha256."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from imagewarehouse.errors import WarehouseError
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.steps.event import Image
from imagewarehouse.steps.outcome import FAILURE, REFUSED, RETRY, SUCCESS, Outcome

log = logging.getLogger("imagewarehouse")


class StoreImages:
    """Puts images into an object store. Thread-safe."""

    name = "StoreImage"
    takes_ended = False
    answers = False
    fatal = None
    reads = ("status", "request_id", "image_id", "format")
    owns = ("storage_uri",)

    def __init__(self, store: ImageStore) -> None:
        self.store = store

    def process(self, images: Sequence[Image]) -> list[Outcome]:
        # Read here, not on the store's threads: NiFi's session is not made to be read by many at once.
        read = [(image, image.content()) for image in images]
        return self.store.for_each(lambda pair: self._put(*pair), read)

    def close(self) -> None:
        self.store.close()

    def _put(self, image: Image, content: bytes) -> Outcome:
        event, facts = image.event, image.event.facts
        if not facts.image_id:
            facts = replace(facts, image_id=hashlib.sha256(content).hexdigest())
        try:
            # Of a large photograph the sha256 is a twentieth of all work, and the check has just made it.
            uri = self.store.put(facts.image_id or "", facts.format or "", content, hashed=image.of_this_process)
        except WarehouseError as err:
            log.warning("%s: request %s: %s", self.name, event.request_id, err)
            if err.retryable and not event.waits:
                # An image that was acknowledged before must not end as a failed row without its bytes. It loops as it
                # came, or the next try would carry the marks of this one.
                return Outcome(RETRY, image.event)
            return Outcome(REFUSED if err.retryable else FAILURE, event.failed(err, facts=facts, storage_uri=None))
        return Outcome(SUCCESS, event.stored(uri, facts), decoded=image.decoded)
