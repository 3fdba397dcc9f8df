"""The last step: a row for each request, and the answer for whoever waits for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from imagewarehouse.answers import Answer, answer_record, is_public, problem
from imagewarehouse.errors import WarehouseError
from imagewarehouse.ids import utc_now
from imagewarehouse.metadata import COLUMNS, FAILED, ImageRecord
from imagewarehouse.places import PackedPlace
from imagewarehouse.rows.store import GroupCommit
from imagewarehouse.steps.event import Image, Problem
from imagewarehouse.steps.outcome import FAILURE, REFUSED, RETRY, SUCCESS, UNEXPECTED, Outcome

log = logging.getLogger("imagewarehouse")


class Places(Protocol):
    """The part of a `Locations` that a row needs."""

    def add(self, places: Mapping[str, str], /) -> None: ...


class RecordImages:
    """Writes image records, and makes the answers once they are committed. Thread-safe.

    The place of an image in a pack is written before its row: whoever finds the row finds the image, also after a compaction.
    """

    name = "PutKuduRecord"
    takes_ended = True
    answers = True
    fatal = FAILURE  # a row that can never be written: its batch goes to the dead letters, the other rows are there
    reads = tuple(column.name for column in COLUMNS if column.stage != "last")  # those it sets itself
    owns = ()

    def __init__(
        self,
        rows: GroupCommit[ImageRecord, None],
        node: str,
        *,
        places: Places | None = None,
        answer_all: bool = False,
    ) -> None:
        """`node`: the host's name, for the rows. `places`: of images in packs. `answer_all`: make an answer also where no
        client waits.
        """
        self.rows = rows
        self.node = node
        self.places = places
        self.answer_all = answer_all

    def process(self, images: Sequence[Image]) -> list[Outcome]:
        results = self._placed([self._record(image) for image in images])
        records = [record for record in results if isinstance(record, ImageRecord)]
        written = iter(self.rows.write_all(records))
        return [
            self._outcome(image, record, next(written) if isinstance(record, ImageRecord) else record)
            for image, record in zip(images, results, strict=True)
        ]

    def _record(self, image: Image) -> ImageRecord | WarehouseError:
        """The row of an image, or why there can be none."""
        if image.unreadable is not None:
            return image.unreadable
        time = image.event.event_time
        total_ms = max(0.0, (utc_now() - time).total_seconds() * 1000) if time is not None else 0.0
        try:
            return image.event.record(total_ms=round(total_ms, 3), node=self.node)
        except WarehouseError as err:
            return err

    def _placed(self, results: list[ImageRecord | WarehouseError]) -> list[ImageRecord | WarehouseError]:
        """The rows that may be written: those of images in packs only once their places are."""
        packed = {
            number: result
            for number, result in enumerate(results)
            if isinstance(result, ImageRecord) and PackedPlace.parse(result.storage_uri)
        }
        if self.places is None or not packed:
            return results
        try:
            self.places.add({str(record.image_id): str(record.storage_uri) for record in packed.values()})
        except WarehouseError as err:
            return [err if number in packed else result for number, result in enumerate(results)]
        return results

    def _outcome(self, image: Image, record: ImageRecord | WarehouseError, error: WarehouseError | None) -> Outcome:
        event = image.event
        if error is None and isinstance(record, ImageRecord):
            return self._answered(image, record)
        assert error is not None
        log.warning("%s: request %s: %s", self.name, event.request_id, error)
        failed = replace(event, status=FAILED, problem=Problem.of(error))
        if event.waits:
            return Outcome(REFUSED, failed, answer=_answer(error, event.request_id))
        if error.retryable:  # as it came: the row of the next try is the row of this one
            return Outcome(RETRY, event)
        return Outcome(FAILURE, failed)

    def _answered(self, image: Image, record: ImageRecord) -> Outcome:
        if not (self.answer_all or image.event.waits):
            return Outcome(SUCCESS, image.event, record=record)
        try:
            return Outcome(SUCCESS, image.event, answer=answer_record(record), record=record)
        except Exception:
            log.exception("%s: request %s", self.name, record.request_id)
            return self._outcome(image, record, WarehouseError(UNEXPECTED))


def _answer(error: WarehouseError, request_id: str | None) -> Answer:
    return problem(error.code, str(error) if is_public(error.code) else None, request_id)
