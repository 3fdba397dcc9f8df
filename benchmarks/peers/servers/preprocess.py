"""What every peer does with an image, in its own environment: the same pixels, the same model file, the same answer.

It mirrors `decode_rgb`, `to_batch` and `Classifier` of imagewarehouse/ for a model that takes stretched RGB and gives logits,
which is what the shipped one does; benchmarks/peers/checks.py holds its probabilities against the product's. Nothing else of
the product is repeated here: no check of the file, no store, no row.
"""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

PORT = int(os.environ.get("PEERS_PORT", "0"))
WORKERS = int(os.environ.get("PEERS_WORKERS", "2"))
BATCH = int(os.environ.get("PEERS_BATCH", "1"))
BATCH_WAIT_MS = 2  # what a batch waits for its last image at most; an image takes about as long
_FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]
_TOP = 5

Float32Array = npt.NDArray[np.float32]
Answer = dict[str, Any]


class Model:
    """One interpreter of one thread. Not for two threads at once: `model` gives each its own."""

    def __init__(self, folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        shape = manifest["input"]
        if manifest["output"] != "logits" or shape["colour_order"] != "RGB" or shape["fit"] != "stretch":
            raise ValueError(f"{folder}: a model of another kind than this file can serve")
        self.size = (int(shape["width"]), int(shape["height"]))
        self.multiply, self.add = np.float32(shape["multiply"]), np.float32(shape["add"])
        self.temperature = float(manifest["temperature"])
        self.labels = (folder / manifest["labels"]).read_text(encoding="utf-8").splitlines()
        self._interpreter = Interpreter(str(folder / manifest["runtimes"]["litert"]), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = self._interpreter.get_output_details()
        classes = outputs[0]
        if len(outputs) > 1:  # which one is first is chance
            classes = self._interpreter.get_signature_runner().get_output_details()["classes"]
        self._output = classes["index"]

    def decode(self, content: bytes) -> Float32Array:
        """(height, width, 3), scaled as the model wants it."""
        return self.pixels(Image.open(io.BytesIO(content), formats=_FORMATS))

    def pixels(self, image: Image.Image) -> Float32Array:
        """The same for a picture that is open and not decoded yet."""
        if isinstance(image, JpegImageFile):
            side = 2 * max(self.size)
            image.draft(image.mode, (side, side))
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode != "RGB":
            image = image.convert("RGB")
        if image.size != self.size:
            image = image.resize(self.size, Image.Resampling.BICUBIC)
        pixels = np.asarray(image, np.uint8).astype(np.float32)
        pixels *= self.multiply
        pixels += self.add
        return pixels

    def probabilities(self, pixels: Float32Array) -> Float32Array:
        self._interpreter.set_tensor(self._input, pixels[np.newaxis])
        self._interpreter.invoke()
        scaled = self._interpreter.get_tensor(self._output)[0] / self.temperature
        powers = np.exp(scaled - scaled.max())
        return np.asarray(powers / powers.sum(), np.float32)

    def answer(self, probabilities: Float32Array) -> Answer:
        best = np.argsort(-probabilities, kind="stable")[:_TOP]
        top = [{"class": self.labels[i], "probability": round(float(probabilities[i]), 6)} for i in best]
        return {"predicted_class": top[0]["class"], "confidence": top[0]["probability"], "top_k": top}

    def classify(self, content: bytes) -> Answer:
        return self.answer(self.probabilities(self.decode(content)))

    def classify_opened(self, image: Image.Image) -> Answer:
        return self.answer(self.probabilities(self.pixels(image)))


_of_thread = threading.local()


def model() -> Model:
    """The model of the thread that asks."""
    found: Model | None = getattr(_of_thread, "model", None)
    if found is None:
        found = _of_thread.model = Model(Path(os.environ["PEERS_MODEL"]))
    return found


def classify(content: bytes) -> Answer:
    return model().classify(content)
