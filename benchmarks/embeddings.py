"""`python -m benchmarks.embeddings OUT.npz`: embeddings of pictures for `benchmarks.search`, by the shipped model.

`records`: the training pictures of CIFAR-10, then copies of them, flipped and shifted by up to three pixels, until there are as
many as wanted. `asked`: the test pictures, none of which is among them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagewarehouse.images.decoding import to_batch
from imagewarehouse.models.classifier import Classifier, as_bytes, load_classifier
from imagewarehouse.resources import MODEL, REPOSITORY
from imagewarehouse.training.dataset import read_examples

_AT_ONCE = 250
_SHIFT = 3
_DATA = REPOSITORY.parent / "shared" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--asked", type=int, default=1_000)
    parser.add_argument(
        "--data", type=Path, default=_DATA, help="folder of cifar10-train.parquet and cifar10-test-a.parquet"
    )
    arguments = parser.parse_args()
    classifier = load_classifier(MODEL, embed=True)
    spec, labels = classifier.manifest.spec, classifier.manifest.labels
    began = time.monotonic()
    test, _ = read_examples(str(arguments.data / "cifar10-test-a.parquet"), spec, labels, limit=arguments.asked)
    train, _ = read_examples(str(arguments.data / "cifar10-train.parquet"), spec, labels)
    asked = _embedded(classifier, test.images)
    original = _embedded(classifier, train.images[: arguments.records])
    copies = arguments.records - len(original)
    changed = _embedded(classifier, _changed(train.images[:copies])) if copies > 0 else original[:0]
    np.savez(arguments.out, records=np.concatenate([original, changed]), asked=asked)
    print(
        f"{len(original):,} pictures, {len(changed):,} copies, {len(asked):,} to ask for: {asked.shape[1]} dimensions,"
        f" model version {classifier.manifest.version}, {time.monotonic() - began:.0f} s"
    )


def _changed(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    draw = np.random.default_rng(3)
    wide = np.pad(images, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="edge")
    height, width = images.shape[1:3]
    copies = np.empty_like(images)
    for n, (down, right) in enumerate(draw.integers(0, 2 * _SHIFT + 1, (len(images), 2))):
        copies[n] = wide[n, down : down + height, right : right + width][:, ::-1]
    return copies


def _embedded(classifier: Classifier, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    vectors = [np.frombuffer(each, dtype=np.int8) for each in _vectors(classifier, images)]
    return np.stack(vectors)


def _vectors(classifier: Classifier, images: npt.NDArray[np.uint8]) -> Iterator[bytes]:
    for first in range(0, len(images), _AT_ONCE):
        batch = to_batch(list(images[first : first + _AT_ONCE]), classifier.manifest.spec)
        _, embeddings = classifier.answers(batch)
        assert embeddings is not None
        yield from (each for each in as_bytes(embeddings) if each is not None)


if __name__ == "__main__":
    main()
