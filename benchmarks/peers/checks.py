"""That every server does the same work: its answers are held against the product's before it is measured."""

from __future__ import annotations

import http.client
import importlib.util
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers.generator import Form, request_bytes
from benchmarks.peers.pictures import Picture
from benchmarks.peers.systems import SERVERS
from imagewarehouse.images.decoding import decode_rgb, to_batch
from imagewarehouse.models.classifier import Classifier

_ROUNDING = 2e-6  # answers carry six digits


def check_preprocessing(found: Sequence[Picture], classifier: Classifier) -> float:
    """The largest difference between the product's probabilities and those of servers/preprocess.py on these pictures.

    Raises: RuntimeError when it is more than rounding.
    """
    spec = importlib.util.spec_from_file_location("peers_preprocess", SERVERS / "preprocess.py")
    if spec is None or spec.loader is None:
        raise RuntimeError("servers/preprocess.py cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model(classifier.manifest.folder)
    largest = 0.0
    for picture in found:
        batch = to_batch([decode_rgb(picture.content, classifier.manifest.spec, "JPEG")], classifier.manifest.spec)
        theirs = model.probabilities(model.decode(picture.content))
        largest = max(largest, float(np.abs(classifier.probabilities(batch)[0] - theirs).max()))
    if largest > _ROUNDING:
        raise RuntimeError(f"servers/preprocess.py gives other probabilities than the product, by up to {largest:.6f}")
    return largest


def ask(connection: http.client.HTTPConnection, picture: Picture, form: Form) -> dict[str, Any]:
    """One answer. Raises: RuntimeError when it is not one, OSError when nobody listens."""
    head, _, body = request_bytes(picture.content, form).partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    connection.request("POST", "/classify", body, headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}: {content[:300]!r}")
    found = json.loads(content)
    result: dict[str, Any] = found[0] if isinstance(found, list) else found
    return result


def check_answers(port: int, found: Sequence[Picture], form: Form) -> None:
    """Raises: RuntimeError when a server's class or probabilities are not the product's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        for index, picture in enumerate(found):
            answer = ask(connection, picture, form)
            theirs = {item["class"]: item["probability"] for item in answer["top_k"]}
            same = answer["predicted_class"] == picture.predicted_class and all(
                abs(theirs.get(label, -1.0) - probability) <= _ROUNDING for label, probability in picture.top
            )
            if not same:
                raise RuntimeError(f"picture {index}: it says {answer['top_k']}, the product {picture.top}")
    finally:
        connection.close()


def answers(port: int, picture: Picture, form: Form) -> bool:
    """Whether a server gives a right answer already. Raises OSError as long as nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        return bool(ask(connection, picture, form)["predicted_class"] == picture.predicted_class)
    except RuntimeError:
        return False
    finally:
        connection.close()
