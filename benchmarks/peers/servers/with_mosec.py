"""mosec: its HTTP server in Rust hands requests to a process for each core; batches, where they are switched on."""

from __future__ import annotations

from mosec import Server, Worker
from preprocess import BATCH, BATCH_WAIT_MS, WORKERS, Answer, classify, model


class Classify(Worker):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        model()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes | list[bytes]) -> Answer | list[Answer]:
        return [classify(one) for one in data] if isinstance(data, list) else classify(data)


if __name__ == "__main__":  # address and port come as MOSEC_ADDRESS and MOSEC_PORT
    server = Server()
    batches = {"max_batch_size": BATCH, "max_wait_time": BATCH_WAIT_MS} if BATCH > 1 else {}
    server.append_worker(Classify, num=WORKERS, route="/classify", **batches)
    server.run()
