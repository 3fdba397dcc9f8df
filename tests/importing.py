"""`imagewarehouse import` and small models for it; what the modules of its tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from imagewarehouse.cli.main import call
from imagewarehouse.images.decoding import decode_rgb, to_batch
from imagewarehouse.models.classifier import load_classifier
from tests.pictures import noise

keras = pytest.importorskip("keras")

LABELS = "red,green,blue"
Run = Callable[..., int]
Refused = Callable[..., str]


def network(
    end: str = "softmax", classes: int = 3, size: tuple[int | None, int | None, int] = (8, 8, 3), body: Any = None
) -> Any:
    """A tiny classifier whose answers depend on the image."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input(size)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="look")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = body(x) if body else x
    return keras.Model(
        inputs, keras.layers.Dense(classes, end, kernel_initializer=keras.initializers.RandomNormal(0, 5.0))(x)
    )


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`imagewarehouse import FILE ...` into `tmp_path/out`; later words win over the usual ones."""

    def start(file: Path, *words: str, labels: str = LABELS, scale: str = "1/255", out: Path | None = None) -> int:
        where = ["--out", str(out or tmp_path / "out")]
        return call(["import", str(file), *where, "--labels", labels, "--scale", scale, *words])

    return start


@pytest.fixture
def refused(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """The one line that an import ends with; nothing is left behind."""

    def start(file: Path, *words: str, **others: Any) -> str:
        before = everything(tmp_path)
        capfd.readouterr()  # of what went before
        assert run(file, *words, **others) == 2
        captured = capfd.readouterr()
        lines = captured.err.splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("imagewarehouse: ")
        assert lines[0].isprintable()
        assert "…" not in lines[0]  # a sentence that was cut
        assert captured.out == ""
        assert everything(tmp_path) == before
        return lines[0]

    return start


def assert_served_the_same(
    folder: Path, expected: Any, runtime: str = "auto", tolerance: float = 1e-4, *, varied: bool = True
) -> None:
    """`expected`: from a batch (N, height, width, channels) to probabilities (N, classes).

    `varied`: the images have different answers, so that those of another model would not do. Not so where pixels of 0-255
    saturate a tiny network, or where the tolerance is as wide as the differences.
    """
    classifier = load_classifier(folder, runtime=runtime)
    all_wanted = []
    for seed in range(5):
        batch = to_batch([decode_rgb(noise(seed), classifier.manifest.spec)], classifier.manifest.spec)
        answer = dict(classifier.classify(noise(seed)).top)
        wanted = np.asarray(expected(batch))[0]
        assert [answer[label] for label in classifier.manifest.labels] == pytest.approx(wanted.tolist(), abs=tolerance)
        all_wanted.append(wanted)
    assert not varied or np.ptp(all_wanted, axis=0).max() > 2 * tolerance
