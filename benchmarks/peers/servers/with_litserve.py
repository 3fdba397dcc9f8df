"""LitServe: FastAPI in front of a process for each core; batches, where they are switched on."""

from typing import Annotated, Any

import litserve
from fastapi import Body
from preprocess import BATCH, BATCH_WAIT_MS, PORT, WORKERS, Answer, classify, model


class Classify(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        model()

    # FastAPI reads the type of the request from here: the body as it comes, not JSON and not a form.
    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        return request

    def predict(self, data: Any) -> Any:
        return [classify(one) for one in data] if isinstance(data, list) else classify(data)

    def encode_response(self, output: Answer) -> Answer:
        return output


if __name__ == "__main__":
    batches = {"max_batch_size": BATCH, "batch_timeout": BATCH_WAIT_MS / 1000} if BATCH > 1 else {}
    server = litserve.LitServer(
        Classify(api_path="/classify", **batches),
        accelerator="cpu",
        workers_per_device=WORKERS,
        fast_queue=True,  # advised from 100 requests a second
        timeout=60,  # seconds; its 30 would refuse what only waits on a slow machine
    )
    # As many API servers as workers: its default.
    server.run(host="127.0.0.1", port=PORT, log_level="warning", generate_client_file=False, access_log=False)
