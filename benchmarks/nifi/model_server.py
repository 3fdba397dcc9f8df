"""A REST model server holding the shipped model: POST {"image": "<base64>"} -> class, probabilities.

    python -m benchmarks.nifi.model_server --port 9000 [--runtime litert|tensorflow]

As fast as such a server can be: the same runtime as the processor's, no access key, no queue.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json

import uvloop
from aiohttp import web

from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL


def application(runtime: str) -> web.Application:
    classifier = load_classifier(BUNDLED_MODEL, runtime=runtime)

    def classify(body: bytes) -> dict[str, object]:
        prediction = classifier.classify(base64.b64decode(json.loads(body)["image"]))
        return {
            "predicted_class": prediction.predicted_class,
            "confidence": prediction.confidence,
            "top_k": [{"class": label, "probability": round(value, 6)} for label, value in prediction.top],
            "preprocess_ms": prediction.preprocess_ms,
            "inference_ms": prediction.inference_ms,
            "model_name": classifier.manifest.name,
            "model_version": classifier.manifest.version,
        }

    async def handle(request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(classify, await request.read()))

    app = web.Application(client_max_size=1 << 27)
    app.router.add_post("/predict", handle)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--runtime", choices=["litert", "tensorflow"], default="litert")
    arguments = parser.parse_args()
    uvloop.install()
    web.run_app(application(arguments.runtime), host="127.0.0.1", port=arguments.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
