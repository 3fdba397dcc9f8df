"""BentoML: a process for each core, one request at a time in each; adaptive batches, where they are switched on."""

from typing import Any

import bentoml
from PIL.Image import Image
from preprocess import BATCH, WORKERS, model

if BATCH > 1:

    @bentoml.service(workers=WORKERS, traffic={"timeout": 60})
    class Classify:
        def __init__(self) -> None:
            model()

        @bentoml.api(route="/classify", batchable=True, max_batch_size=BATCH, max_latency_ms=60_000)  # type: ignore[untyped-decorator]
        def classify(self, images: list[Image]) -> list[dict[str, Any]]:
            return [model().classify_opened(image) for image in images]
else:

    @bentoml.service(workers=WORKERS, traffic={"timeout": 60})
    class Classify:  # type: ignore[no-redef]
        def __init__(self) -> None:
            model()

        @bentoml.api(route="/classify")  # type: ignore[untyped-decorator]
        def classify(self, image: Image, /) -> dict[str, Any]:
            answer: dict[str, Any] = model().classify_opened(image)
            return answer
