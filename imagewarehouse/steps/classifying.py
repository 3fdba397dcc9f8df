"""ClassifyImage: what the model says of each image."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from imagewarehouse.errors import WarehouseError
from imagewarehouse.metadata import COLUMNS
from imagewarehouse.models.classifier import Classifier, Prediction
from imagewarehouse.steps.event import Classification, Image
from imagewarehouse.steps.outcome import FAILURE, SUCCESS, Outcome

log = logging.getLogger("imagewarehouse")

_AT_ONCE = 64  # images in a call of the model: a form may have a thousand, and their pixels are large

_to_json = json.JSONEncoder().encode
_READS = ("status", "request_id", "format")
_OWNS = tuple(column.name for column in COLUMNS if column.stage == "classify")


class ClassifyImages:
    """Classifies with one model. Thread-safe."""

    name = "ClassifyImage"
    takes_ended = False
    answers = False
    fatal = None
    reads = _READS
    owns = _OWNS

    def __init__(self, classifier: Classifier, top_k: int = 5) -> None:
        self.classifier = classifier
        self.top_k = top_k

    def process(self, images: Sequence[Image]) -> list[Outcome]:
        shares = (images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE))
        return [outcome for share in shares for outcome in self._classify(share)]

    def _classify(self, images: Sequence[Image]) -> list[Outcome]:
        spec = self.classifier.manifest.spec
        inputs = [
            image.decoded
            if image.decoded is not None and image.decoded.spec == spec
            else (image.content(), image.event.facts.format or None)
            for image in images
        ]
        outcomes = self.classifier.classify_many(inputs, self.top_k)
        return [self._outcome(image, outcome) for image, outcome in zip(images, outcomes, strict=True)]

    def _outcome(self, image: Image, outcome: Prediction | WarehouseError) -> Outcome:
        if isinstance(outcome, WarehouseError):
            return _failed(image, outcome)
        manifest = self.classifier.manifest
        top = [{"class": label, "probability": round(probability, 6)} for label, probability in outcome.top]
        classification = Classification(
            outcome.predicted_class,
            round(outcome.confidence, 6),
            _to_json(top),
            manifest.name,
            manifest.version,
            outcome.preprocess_ms,
            outcome.inference_ms,
            outcome.embedding,
        )
        return Outcome(SUCCESS, image.event.classified(classification))


class NoModel:
    """Stands in where there is no model to classify with: says so of every image."""

    name = ClassifyImages.name
    takes_ended = False
    answers = False
    fatal = None
    reads = _READS
    owns = _OWNS

    def __init__(self, error: WarehouseError) -> None:
        self.error = error

    def process(self, images: Sequence[Image]) -> list[Outcome]:
        return [_failed(image, self.error) for image in images]


def _failed(image: Image, error: WarehouseError) -> Outcome:
    log.warning("%s: request %s: %s", ClassifyImages.name, image.event.request_id, error)
    # Empty, or a sender of FlowFile packages could have chosen them.
    return Outcome(FAILURE, image.event.failed(error, classification=Classification()))
