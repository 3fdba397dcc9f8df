"""What a step says of an image, and how a step is run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from imagewarehouse.answers import Answer
from imagewarehouse.errors import WarehouseError, all_errors
from imagewarehouse.images.decoding import Decoded
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.steps.event import Image, ImageEvent

# Where an image goes, by the names of the processors' relationships.
SUCCESS, REJECTED, FAILURE, RETRY, REFUSED = "success", "rejected", "failure", "retry", "refused"
_TRIED_AGAIN = (FAILURE, REFUSED)  # what the flow sends to the same step again, for some seconds

UNEXPECTED = "an unexpected error, see the log"

log = logging.getLogger("imagewarehouse")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an image at a step."""

    way: str
    event: ImageEvent
    content: bytes | None = field(default=None, repr=False)  # takes the place of what was there
    decoded: Decoded | None = None  # for a model in this process
    answer: Answer | None = None  # for a client that waits
    record: ImageRecord | None = None  # the row, once it is written


class Step(Protocol):
    """A step behind the first one."""

    name: str
    takes_ended: bool  # it also wants images that an earlier step has ended
    answers: bool  # it makes the answers
    fatal: str | None  # a way that all images of a batch take if one does
    reads: Sequence[str]  # the columns it asks for
    owns: Sequence[str]  # the columns that nobody else sets: what it does not say of them, nobody has said

    def process(self, images: Sequence[Image], /) -> Sequence[Outcome]:
        """An outcome for each image, in their order."""


def run(step: Step, images: Sequence[Image]) -> list[Outcome | None]:
    """The outcome of each image at a step; None for those that have ended, where the step does not take them."""
    active_images = [image for image in images if step.takes_ended or not image.event.ended]
    if not active_images:  # a step that cannot work must not fail what it has nothing to do with
        return [None] * len(images)
    outcomes = guarded(step.process, active_images, lambda image: _tripped(step.name, image))
    if len(active_images) == len(images):
        return [*outcomes]
    by_image = dict(zip(map(id, active_images), outcomes, strict=True))
    return [by_image.get(id(image)) for image in images]


def guarded(
    work: Callable[[Sequence[Item]], Sequence[Outcome]], items: Sequence[Item], tripped: Callable[[Item], Outcome]
) -> list[Outcome]:
    """What `work` gives for the items. One that trips our code must not take the others along: then it is done one by one."""
    try:
        outcomes = list(work(items))
    except Exception:  # noqa: BLE001 - told as the failure of the one item that it belongs to
        if len(items) > 1:
            return [outcome for item in items for outcome in guarded(work, [item], tripped)]
        return [tripped(items[0])]
    if len(outcomes) != len(items):
        raise ValueError(f"{len(outcomes)} outcomes for {len(items)} images")
    return outcomes


def common_way(outcomes: Iterable[Outcome | None], fatal: str | None = None) -> str:
    """Where a batch goes: where all of its images go. Where they differ it goes on: what became of each is in its event.

    So it does where all have failed for good: `failure` is for what another try may change, of which the end of this process
    in the middle of a call is one. But if a single one may pass at another try the batch goes where that one would go alone,
    and all of it is tried again as it came: every step may be done twice.
    """
    step_outcomes = [outcome for outcome in outcomes if outcome is not None]
    ways = {outcome.way for outcome in step_outcomes}
    if RETRY in ways:
        return RETRY
    if fatal is not None and fatal in ways:
        return fatal
    for outcome in step_outcomes:
        if outcome.way in _TRIED_AGAIN and _may_pass(outcome):
            return outcome.way
    if len(ways) != 1 or ways <= set(_TRIED_AGAIN):
        return SUCCESS
    return ways.pop()


def _may_pass(outcome: Outcome) -> bool:
    return all_errors().get(outcome.event.problem.error_code or "", WarehouseError).retryable


def _tripped(name: str, image: Image) -> Outcome:
    log.exception("%s: request %s", name, image.event.request_id)
    return Outcome(FAILURE, image.event.failed(WarehouseError(UNEXPECTED)))
