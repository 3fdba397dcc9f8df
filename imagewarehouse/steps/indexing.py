"""The step behind the rows: a document for each request. Nobody waits for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from imagewarehouse.errors import WarehouseError
from imagewarehouse.metadata import COLUMNS, FAILED, ImageRecord
from imagewarehouse.rows.store import GroupCommit
from imagewarehouse.steps.event import Image, Problem
from imagewarehouse.steps.outcome import FAILURE, RETRY, SUCCESS, Outcome

log = logging.getLogger("imagewarehouse")


class IndexDocuments:
    """Writes image records into the search index. Thread-safe."""

    name = "PutSolrDocument"
    takes_ended = True
    answers = False
    fatal = FAILURE  # a record that the index never takes: its batch goes to the dead letters, the others are there
    reads = tuple(column.name for column in COLUMNS if column.stage != "last")
    owns = ()

    def __init__(self, documents: GroupCommit[ImageRecord, None]) -> None:
        self.documents = documents

    def process(self, images: Sequence[Image]) -> list[Outcome]:
        results = [_record(image) for image in images]
        written = iter(self.documents.write_all([result for result in results if isinstance(result, ImageRecord)]))
        errors = [next(written) if isinstance(result, ImageRecord) else result for result in results]
        waiting = [image for image, error in zip(images, errors, strict=True) if error is not None and error.retryable]
        if waiting:  # for one reason, in nearly every case, and again and again
            reason = next(error for error in errors if error is not None and error.retryable)
            log.warning(
                "%s: %d requests wait, the first is %s: %s",
                self.name,
                len(waiting),
                waiting[0].event.request_id,
                reason,
            )
        return [self._outcome(image, error) for image, error in zip(images, errors, strict=True)]

    def _outcome(self, image: Image, error: WarehouseError | None) -> Outcome:
        event = image.event
        if error is None:
            return Outcome(SUCCESS, event)
        if error.retryable:
            return Outcome(RETRY, event)
        log.warning("%s: request %s: %s", self.name, event.request_id, error)
        return Outcome(FAILURE, replace(event, status=FAILED, problem=Problem.of(error)))


def _record(image: Image) -> ImageRecord | WarehouseError:
    """The record of an image, or why there can be none."""
    if image.unreadable is not None:
        return image.unreadable
    try:
        return image.event.record()
    except WarehouseError as err:
        return err
