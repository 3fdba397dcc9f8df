"""`python -m benchmarks.near_duplicates`: how far apart copies of a picture look, and how near different pictures.

Copies as they happen: mirrored, shifted, cut, encoded again, brighter, enlarged. Different pictures: of each of the same
pictures the nearest of all others. What `imagewarehouse duplicates` takes for nearly the same is chosen between them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import click
import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.classify import IMAGES
from imagewarehouse.models.classifier import Classifier, Prediction, load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL

_DISTANCES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15)
_AT_ONCE = 64


def _saved(picture: Image.Image, kind: str = "PNG", **how: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **how)
    return out.getvalue()


def _shifted(picture: Image.Image, pixels: int) -> Image.Image:
    """To the right and down; the edge is repeated."""
    width, height = picture.size
    padded = np.pad(np.asarray(picture), ((pixels, 0), (pixels, 0), (0, 0)), mode="edge")
    return Image.fromarray(padded[:height, :width])


COPIES: Mapping[str, Callable[[Image.Image], bytes]] = {
    "JPEG, quality 90": lambda picture: _saved(picture, "JPEG", quality=90),
    "JPEG, quality 60": lambda picture: _saved(picture, "JPEG", quality=60),
    "twice as large": lambda picture: _saved(picture.resize((64, 64), Image.Resampling.BICUBIC)),
    "10 % brighter": lambda picture: _saved(ImageEnhance.Brightness(picture).enhance(1.1)),
    "shifted by 1 pixel": lambda picture: _saved(_shifted(picture, 1)),
    "shifted by 2 pixels": lambda picture: _saved(_shifted(picture, 2)),
    "mirrored": lambda picture: _saved(ImageOps.mirror(picture)),
    "cut by 2 pixels each side": lambda picture: _saved(picture.crop((2, 2, 30, 30))),
}


def directions(classifier: Classifier, contents: list[bytes]) -> np.ndarray:
    """(N, width) float32, each of length 1."""
    looks = []
    for first in range(0, len(contents), _AT_ONCE):
        for answer in classifier.classify_many([(content, None) for content in contents[first : first + _AT_ONCE]]):
            assert isinstance(answer, Prediction)
            assert answer.embedding is not None
            looks.append(np.frombuffer(answer.embedding, dtype=np.int8).astype(np.float32))
    vectors = np.stack(looks)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@click.command()
@click.option("--pictures", default=5000, show_default=True, help="Among so many the nearest other one is looked for.")
@click.option("--copied", default=1000, show_default=True, help="Of so many of them copies are made.")
def main(pictures: int, copied: int) -> None:
    """Distances (1 - cosine) between pictures of CIFAR-10's test images and their copies, and other pictures."""
    classifier = load_classifier(BUNDLED_MODEL, embed=True)
    print(f"{classifier.manifest.name} {classifier.manifest.version}, {pictures} pictures, copies of {copied}")
    images = pq.read_table(IMAGES).slice(0, pictures)["image"].to_pylist()
    contents = [image["bytes"] if isinstance(image, dict) else image for image in images]
    looks = directions(classifier, contents)
    print(
        f"{'distance':<28} {'median':>7} {'p90':>7} {'p99':>7}   " + " ".join(f"<={d:g}".rjust(6) for d in _DISTANCES)
    )
    opened = [Image.open(io.BytesIO(content)).convert("RGB") for content in contents[:copied]]
    for name, copy in COPIES.items():
        copies = directions(classifier, [copy(picture) for picture in opened])
        _print(name, 1 - (copies * looks[:copied]).sum(axis=1))
    alike = looks[:copied] @ looks.T
    alike[np.arange(copied), np.arange(copied)] = -1
    _print("nearest different picture", 1 - alike.max(axis=1))


def _print(name: str, distances: np.ndarray) -> None:
    shares = " ".join(f"{(distances <= d).mean():6.1%}" for d in _DISTANCES)
    median, p90, p99 = np.percentile(distances, [50, 90, 99])
    print(f"{name:<28} {median:7.4f} {p90:7.4f} {p99:7.4f}   {shares}")


if __name__ == "__main__":
    main()
