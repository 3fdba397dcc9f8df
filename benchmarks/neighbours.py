"""`python -m benchmarks.neighbours`: pictures that look alike, by the embedding of a model.

Of each test image the ten most alike among the training images: how many of them are of its class, by all that feeds the last
layer, by the projection of it, and by the bytes that are stored. And what an embedding costs ClassifyImage: images as files,
packages of 64, one thread, with and without by turns, so that both meet the same machine.

Needs CIFAR-10 beside the repository (../shared/data) and the training libraries. `--save` keeps the bytes for other
measurements: (N, width) int8, the training images first, and their classes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pyarrow.parquet as pq

from imagewarehouse.images.decoding import Float32Array, to_batch
from imagewarehouse.models.classifier import Classifier, as_bytes, load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL, TENSORFLOW, Manifest, find_version, read_manifest
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.steps.classifying import ClassifyImages
from imagewarehouse.steps.event import Facts, Image, ImageEvent
from imagewarehouse.training.dataset import Examples, read_examples
from imagewarehouse.training.embedding import NEAREST, find_features, nearest, without_embedding
from imagewarehouse.training.exports import load_keras, outputs_of

_PACKAGE = 64
_ROUNDS = 60


class _File(Image):
    """An image file between two steps."""

    def __init__(self, content: bytes) -> None:
        super().__init__(ImageEvent(request_id="0", status="accepted", facts=Facts(format="JPEG")))
        self._content = content

    def content(self) -> bytes:
        return self._content

    def header(self, name: str) -> str | None:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL)
    parser.add_argument("--save", type=Path, metavar="PREFIX", help="write PREFIX-embeddings.npy and PREFIX-labels.npy")
    parser.add_argument("--limit", type=int, metavar="N", help="of each part, for a first look")
    parser.add_argument("--only-times", action="store_true", help="no neighbours")
    arguments = parser.parse_args()
    manifest = read_manifest(find_version(arguments.model))
    if not arguments.only_times:
        print_neighbours(manifest, arguments.data, arguments.save, arguments.limit)
    print_times(arguments.model, arguments.data)


# --- neighbours -------------------------------------------------------------------------------------------------------


def print_neighbours(manifest: Manifest, data: Path, save: Path | None, limit: int | None) -> None:
    parts = [
        read_examples(str(data / f"cifar10-{name}.parquet"), manifest.spec, manifest.labels, limit=limit)[0]
        for name in ("train", "test-a")
    ]
    among, queries = parts
    served = load_classifier(manifest.folder, embed=True)
    stored = [_stored(served, part) for part in parts]
    if save is not None:
        np.save(f"{save}-embeddings.npy", np.concatenate(stored))
        np.save(f"{save}-labels.npy", np.concatenate([part.labels for part in parts]))
    every = [_features(manifest, part) for part in parts]
    mean = every[0].mean(axis=0)
    projected = [_projected(manifest, part) for part in parts]
    kinds = {
        f"the {every[0].shape[1]} numbers that feed the last layer": every,
        "the same, their mean taken off": [part - mean for part in every],
        f"projected, {projected[0].shape[1]} numbers, float32": projected,
        f"as ClassifyImage gives them, {stored[0].shape[1]} signed bytes": [part.astype(np.float32) for part in stored],
    }
    print(
        f"{manifest.name} version {manifest.version}, {len(queries):,} test images among {len(among):,} training images\n"
    )
    print(f"| | of the same class among the nearest {NEAREST} | of the {NEAREST} by all numbers without their mean |")
    print("| --- | --- | --- |")
    reference = nearest(every[0] - mean, every[1] - mean)
    for kind, (known, asked) in kinds.items():
        found = nearest(known, asked)
        same = np.mean(among.labels[found] == queries.labels[:, None])
        again = np.mean(
            [len(set(a) & set(b)) / NEAREST for a, b in zip(found.tolist(), reference.tolist(), strict=True)]
        )
        print(f"| {kind} | {same:.2%} | {again:.1%} |", flush=True)
    print()


def _stored(classifier: Classifier, examples: Examples) -> Any:
    """(N, width) int8, of the file that is served."""
    parts = []
    for first in range(0, len(examples), _PACKAGE):
        _, vectors = classifier.answers(
            to_batch(list(examples.images[first : first + _PACKAGE]), classifier.manifest.spec)
        )
        assert vectors is not None
        nothing = bytes(vectors.shape[1])
        parts += [np.frombuffer(one or nothing, np.int8) for one in as_bytes(vectors)]
    return np.stack(parts)


def _features(manifest: Manifest, examples: Examples) -> Float32Array:
    model = without_embedding(load_keras(manifest.runtimes[TENSORFLOW]))
    features = find_features(model, keras.Model)
    assert features is not None
    network = keras.Model(model.inputs[0], features.tensor)
    return outputs_of(lambda batch: (np.asarray(network(batch, training=False)), None), examples.images, manifest.spec)[
        0
    ]


def _projected(manifest: Manifest, examples: Examples) -> Float32Array:
    model = load_keras(manifest.runtimes[TENSORFLOW])
    network = keras.Model(model.inputs[0], model.output["embedding"])
    return outputs_of(lambda batch: (np.asarray(network(batch, training=False)), None), examples.images, manifest.spec)[
        0
    ]


# --- what it costs ----------------------------------------------------------------------------------------------------


def print_times(model: Path, data: Path) -> None:
    table = pq.ParquetFile(data / "cifar10-test-a.parquet").read_row_group(0, ["image"])["image"].to_pylist()
    contents = [one["bytes"] if isinstance(one, dict) else one for one in table[:_PACKAGE]]
    images = [_File(content) for content in contents]
    steps = {kind: ClassifyImages(load_classifier(model, embed=embed)) for kind, embed in
             (("without", False), ("with", True))}  # fmt: skip
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    for number in range(2 * _ROUNDS + 2):
        kind = list(steps)[number % 2]
        started = time.thread_time()  # this thread's CPU: other programs count for less
        outcomes = steps[kind].process(images)
        if number >= 2:  # the first of each warms up
            times[kind].append((time.thread_time() - started) * 1000 / len(images))
        embeddings = [outcome.event.classification.embedding for outcome in outcomes]
        assert all(embeddings) is (kind == "with")
    print(
        f"| ClassifyImage, packages of {_PACKAGE}, ms of CPU an image | median of {_ROUNDS} | first quartile | least |"
    )
    print("| --- | --- | --- | --- |")
    for kind, found in times.items():
        quartile = statistics.quantiles(found, n=4)[0]
        print(f"| {kind} the embedding | {statistics.median(found):.3f} | {quartile:.3f} | {min(found):.3f} |")


if __name__ == "__main__":
    main()
