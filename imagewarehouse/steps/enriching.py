"""EnrichImageMetadata: records where an image came from, and its facts where the filter has not left them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from imagewarehouse.addresses import Network, client_address
from imagewarehouse.errors import ImageRejected, NotAnImage
from imagewarehouse.images.decoding import check_image, gps_position
from imagewarehouse.images.formats import sniff
from imagewarehouse.limits import Limits
from imagewarehouse.metadata import notes_text
from imagewarehouse.steps.event import Image, Origin
from imagewarehouse.steps.outcome import FAILURE, REJECTED, SUCCESS, Outcome

log = logging.getLogger("imagewarehouse")


class EnrichMetadata:
    """Adds the origin, for rejected requests too. Thread-safe."""

    name = "EnrichImageMetadata"
    takes_ended = True
    answers = False
    fatal = None
    reads = ("status", "request_id", "format", "source_user", "gps_latitude", "gps_longitude")
    owns = ("source_ip",)

    def __init__(self, trusted: Sequence[Network] = (), *, keep_gps: bool = False) -> None:
        """`trusted`: proxies whose X-Forwarded-For is believed."""
        self.trusted = trusted
        self.keep_gps = keep_gps

    def process(self, images: Sequence[Image]) -> list[Outcome]:
        return [self._enrich(image) for image in images]

    def _enrich(self, image: Image) -> Outcome:
        origin, facts, sender = image.event.origin, image.event.facts, image.event.origin.sender
        if facts.gps_latitude is not None or facts.gps_longitude is not None:
            # A position that is there already was chosen by a sender of FlowFile packages.
            facts = replace(facts, gps_latitude=None, gps_longitude=None)
        address = client_address(sender.peer, lambda: image.header("X-Forwarded-For"), self.trusted)
        origin = Origin(
            sender, address, origin.source_user or sender.certificate, origin.file_name, origin.declared_type,
            origin.size_bytes, origin.fields,
        )  # fmt: skip
        event = image.event.come_from(origin, facts)
        if event.ended:
            return Outcome(REJECTED, event)
        if facts.format and not self.keep_gps:
            return Outcome(SUCCESS, event, decoded=image.decoded)
        try:
            content = image.content()
            if not facts.format:
                image_format = sniff(content)
                if image_format is None:
                    raise NotAnImage("the content is not an image of a known format")
                image_facts = check_image(content, image_format, Limits())
                facts = replace(
                    facts, format=image_facts.format, width=image_facts.width, height=image_facts.height,
                    color_mode=image_facts.color_mode, frames=image_facts.frames, notes=notes_text(image_facts.notes),
                )  # fmt: skip
                event = replace(event, origin=replace(event.origin, size_bytes=len(content)))
            position = gps_position(content, facts.format or "") if self.keep_gps else None
            if position:
                facts = replace(facts, gps_latitude=position[0], gps_longitude=position[1])
        except ImageRejected as err:
            log.warning("%s: request %s: %s", self.name, event.request_id, err)
            return Outcome(FAILURE, event.failed(err))
        return Outcome(SUCCESS, event.come_from(event.origin, facts), decoded=image.decoded)
