"""Ray Serve: its HTTP proxy hands requests to a replica for each core; batches, where they are switched on."""

from __future__ import annotations

import signal
import threading
from typing import Any

import ray
from preprocess import BATCH, BATCH_WAIT_MS, PORT, WORKERS, Answer, classify, model
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=max(64, 2 * BATCH))
class Classify:
    def __init__(self) -> None:
        model()

    async def __call__(self, request: Request) -> Answer:
        return classify(await request.body())


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=max(64, 2 * BATCH))
class ClassifyBatches:
    def __init__(self) -> None:
        model()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=BATCH_WAIT_MS / 1000)  # type: ignore[untyped-decorator]
    async def many(self, contents: list[bytes]) -> list[Answer]:
        return [classify(content) for content in contents]

    async def __call__(self, request: Request) -> Answer:
        answer: Answer = await self.many(await request.body())
        return answer


if __name__ == "__main__":
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    deployment: Any = ClassifyBatches if BATCH > 1 else Classify
    serve.run(deployment.bind(), route_prefix="/classify")
    stop.wait()
    serve.shutdown()
    ray.shutdown()
