"""The peer: the same model served by plain `model.predict` behind the same HTTP library.

It decodes and answers, and does nothing else: no check, no store, no row.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from aiohttp import web

from imagewarehouse.images.decoding import decode_rgb, to_batch
from imagewarehouse.models.manifest import BUNDLED_MODEL, TENSORFLOW, find_version, read_manifest


def main(port: int) -> None:
    manifest = read_manifest(find_version(BUNDLED_MODEL))
    model = keras.models.load_model(manifest.runtimes[TENSORFLOW], compile=False)
    one_at_a_time = ThreadPoolExecutor(1)  # predict is not thread-safe (tensorflow issue 61298)

    def classify(content: bytes) -> dict[str, object]:
        batch = to_batch([decode_rgb(content, manifest.spec)], manifest.spec)
        probabilities = model.predict(batch, verbose=0)[0]
        if manifest.output == "logits":
            probabilities = np.exp(probabilities / manifest.temperature - (probabilities / manifest.temperature).max())
            probabilities /= probabilities.sum()
        best = int(probabilities.argmax())
        return {"predicted_class": manifest.labels[best], "confidence": float(probabilities[best])}

    async def handle(request: web.Request) -> web.Response:
        content = await request.read()
        answer = await asyncio.get_running_loop().run_in_executor(one_at_a_time, classify, content)
        return web.Response(body=json.dumps(answer).encode(), content_type="application/json")

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ready")

    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.add_routes([web.post("/classify", handle), web.get("/health", health)])
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
