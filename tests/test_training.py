"""Training: the same run after an interruption, on one worker or two, on CIFAR-10 or on somebody's own folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagewarehouse.cli.main import call
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import read_manifest
from imagewarehouse.ports import free_ports
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.training.augment import augment, epoch_batches
from imagewarehouse.training.dataset import Examples
from imagewarehouse.training.embedding import LAYER
from imagewarehouse.training.exports import load_keras
from imagewarehouse.training.loop import Progress, Trainer
from imagewarehouse.training.network import QuickConv2D, block_widths, build, stem_stride, whitening
from imagewarehouse.training.recipe import PRESETS, Recipe
from imagewarehouse.training.run import Settings, open_run
from imagewarehouse.training.start import read_start
from tests.running import Service, post

SPEC = InputSpec(16, 16)
RECIPE = replace(PRESETS["tiny"], epochs=3, widths=(8, 8), batch=32, sizes=((0.5, 0.75), (1.0, 1.0)))


def shapes(count: int, seed: int = 0, side: int = 16) -> Examples:
    """Bright squares of three colours on noise: easy to learn, not to guess."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, side, side, 3), dtype=np.uint8)
    labels = np.arange(count) % 3
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(0, side // 2, 2)
        image[top : top + side // 2, left : left + side // 2, label] += 130
    return Examples(images, labels.astype(np.int64), tuple(f"{number}.png" for number in range(count)))


def trainer(folder: Path, seed: int = 0, recipe: Recipe = RECIPE) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    return Trainer(shapes(200), shapes(60, seed=1), SPEC, 3, recipe, seed, folder)


def ignore(_: Progress) -> None:
    pass


def weights(one: Trainer) -> list[np.ndarray]:
    return one.averaged_model().get_weights()


# --- what the network sees ----------------------------------------------------------------------------------------


def test_an_epoch_shows_every_picture_once_in_an_order_of_its_own() -> None:
    examples, recipe = shapes(64), replace(RECIPE, batch=16, jpeg=0, light=0, shift=0, cutout=0, flip=False)
    seen = [np.concatenate([images for images, _ in epoch_batches(examples, recipe, 7, epoch)]) for epoch in (0, 1)]
    for found in seen:
        assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in examples.images)
    assert not np.array_equal(seen[0], seen[1])
    again = np.concatenate([images for images, _ in epoch_batches(examples, recipe, 7, 1)])
    assert np.array_equal(seen[1], again)


def test_batches_from_the_middle_of_an_epoch_are_those_of_the_whole_epoch() -> None:
    examples, recipe = shapes(64), replace(RECIPE, batch=16, jpeg=0.5, cutout=0.3)
    whole = list(epoch_batches(examples, recipe, 3, 2))
    rest = list(epoch_batches(examples, recipe, 3, 2, start=2))
    assert len(whole) == 4
    for (images, labels), (rest_images, rest_labels) in zip(whole[2:], rest, strict=True):
        assert np.array_equal(images, rest_images)
        assert np.array_equal(labels, rest_labels)


def test_in_two_epochs_each_picture_is_seen_from_both_sides() -> None:
    examples, recipe = shapes(32), replace(RECIPE, batch=32, jpeg=0, light=0, shift=0, cutout=0)
    seen = [
        {image.tobytes() for images, _ in epoch_batches(examples, recipe, 0, epoch) for image in images}
        for epoch in (0, 1)
    ]
    both = {image.tobytes() for image in (*examples.images, *examples.images[:, :, ::-1])}
    assert seen[0] | seen[1] == both
    assert not seen[0] & seen[1]


def test_pictures_are_changed_but_the_originals_are_not() -> None:
    images = shapes(40).images
    before = images.copy()
    for change in ({"shift": 0.2}, {"cutout": 0.5}, {"jpeg": 1.0}, {"light": 0.3}):
        recipe = replace(RECIPE, **{"shift": 0.0, "cutout": 0.0, "jpeg": 0.0, "light": 0.0, **change})
        changed = augment(images, recipe, np.random.default_rng(0), np.zeros(40, bool))
        assert changed.shape == images.shape
        assert np.mean(np.any(changed != before, axis=(1, 2, 3))) > 0.8, change
        assert np.array_equal(images, before)
    grey = images[:, :, :, :1]
    assert augment(grey, replace(RECIPE, jpeg=1.0), np.random.default_rng(0), np.zeros(40, bool)).shape == grey.shape


# --- the network --------------------------------------------------------------------------------------------------


def test_the_quick_convolution_has_the_values_and_gradients_of_the_plain_one() -> None:
    import tensorflow as tf

    image = tf.random.stateless_normal((2, 9, 7, 4), (1, 2))
    quick = QuickConv2D(6, 3, padding="same", use_bias=False)
    quick.build(image.shape)
    kernel = quick.kernel.value

    def gradients(convolve: Any) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            tape.watch(image)
            result = convolve(image)
            loss = tf.reduce_sum(tf.sin(result))
        return [result.numpy(), *(value.numpy() for value in tape.gradient(loss, [image, kernel]))]

    plain = gradients(lambda value: tf.nn.conv2d(value, kernel, 1, "SAME"))
    for mine, theirs in zip(gradients(quick), plain, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_whitening_leaves_the_colours_of_neighbours_uncorrelated() -> None:
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.random((300, 8, 8, 3)), np.ones((1, 2, 2, 1))).astype(np.float32)
    mean, kernel = whitening(smooth, 1)
    assert kernel.shape == (2, 2, 3, 24)
    np.testing.assert_allclose(kernel[..., :12], -kernel[..., 12:])
    patches = np.concatenate(
        [smooth[:, t : t + 2, left : left + 2].reshape(300, 12) for t in range(15) for left in range(15)]
    )
    found = np.cov(((patches - np.tile(mean, 4)) @ kernel[..., :12].reshape(12, 12)).T)
    assert np.abs(found - np.diag(np.diag(found))).max() < 0.05


@pytest.mark.parametrize(
    ("side", "stride", "blocks"),
    [
        (8, 1, 1),
        (16, 1, 2),
        (28, 1, 2),
        (32, 1, 3),
        (47, 1, 3),
        (64, 2, 3),
        (96, 4, 2),
        (128, 4, 3),
        (224, 4, 3),
        (512, 4, 5),
    ],
)
def test_larger_pictures_get_a_coarser_stem_and_more_blocks(side: int, stride: int, blocks: int) -> None:
    assert stem_stride(side) == stride
    assert len(block_widths(side, (8, 16))) == blocks
    spec = InputSpec(side, side + 5, colour_order="L")
    sample = np.random.default_rng(0).integers(0, 256, (4, side, side + 5, 1), dtype=np.uint8)
    model = build(spec, 4, replace(RECIPE, widths=(4, 4)), sample, fixed=True)
    assert model.output_shape == (None, 4)
    assert np.isfinite(model(np.zeros((1, side, side + 5, 1), np.float32)).numpy()).all()


def test_a_batch_that_was_asked_for_is_taken() -> None:
    assert replace(PRESETS["standard"], batch=32).fitted(60, batch_given=True).batch == 32
    assert replace(PRESETS["standard"], batch=32).fitted(60, replicas=5, batch_given=True).batch == 30


def test_small_sets_get_small_batches_and_more_epochs() -> None:
    recipe = PRESETS["standard"]
    assert recipe.fitted(47_500) == recipe
    small = recipe.fitted(60)
    assert small.batch <= 8
    assert small.epochs * (60 // small.batch) >= recipe.fewest_steps
    assert recipe.fitted(60, epochs_given=True).epochs == recipe.epochs
    assert recipe.fitted(1000, replicas=3).batch % 3 == 0


# --- the same run -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    one = trainer(tmp_path_factory.mktemp("whole"))
    one.run(ignore)
    return one


def test_it_learns(uninterrupted: Trainer) -> None:
    assert uninterrupted.step == uninterrupted.steps == 18
    assert len(uninterrupted.history["loss"]) == 3
    assert uninterrupted.history["loss"][-1] < uninterrupted.history["loss"][0]


@pytest.mark.parametrize("after", [1, 6, 10, 17])
def test_a_run_that_was_interrupted_ends_as_the_one_that_was_not(
    uninterrupted: Trainer, tmp_path: Path, after: int
) -> None:
    def stop(now: Progress) -> None:
        if now.step == after and now.validation_accuracy is None:
            raise KeyboardInterrupt

    first = trainer(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.run(stop)
    second = trainer(tmp_path)
    assert second.restore()
    assert second.step == after
    second.run(ignore)
    for mine, theirs in zip(weights(second), weights(uninterrupted), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    assert second.history["validation_accuracy"] == uninterrupted.history["validation_accuracy"]


def test_the_same_seed_gives_the_same_network_and_another_seed_another(uninterrupted: Trainer, tmp_path: Path) -> None:
    same, other = trainer(tmp_path / "same"), trainer(tmp_path / "other", seed=5)
    same.run(ignore)
    other.run(ignore)
    difference = [np.abs(a - b).max() for a, b in zip(weights(same), weights(uninterrupted), strict=True)]
    assert max(difference) < 1e-4
    assert max(np.abs(a - b).max() for a, b in zip(weights(other), weights(uninterrupted), strict=True)) > 1e-2


def test_it_learns_in_bfloat16_and_exports_float32(tmp_path: Path) -> None:
    one = Trainer(shapes(200), shapes(60, seed=1), SPEC, 3, RECIPE, 0, tmp_path, precision="mixed_bfloat16")
    assert {layer.compute_dtype for layer in one.model.layers if layer.name.startswith("block")} == {"bfloat16"}
    one.run(ignore)
    assert one.history["loss"][-1] < one.history["loss"][0]
    assert {layer.compute_dtype for layer in one.averaged_model().layers} == {"float32"}
    assert {value.dtype for value in weights(one)} == {np.dtype(np.float32)}


def test_curves_are_written_for_tensorboard(uninterrupted: Trainer) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = Path(uninterrupted._manager.directory).parent / "tensorboard"
    board = EventAccumulator(str(folder))
    board.Reload()
    assert set(board.Tags()["tensors"]) >= {"loss", "accuracy", "validation_accuracy", "learning_rate"}
    assert [event.step for event in board.Tensors("loss")] == [1, 2, 3]


# --- the commands -------------------------------------------------------------------------------------------------


def command(*words: object, folder: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """`imagewarehouse ...` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "imagewarehouse.cli.main", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def picture(colour: int, number: int, size: tuple[int, int], kind: str) -> bytes:
    rng = random.Random(1000 * colour + number)
    rgb = [rng.randrange(90) for _ in range(3)]
    rgb[colour] = rng.randrange(170, 256)
    image = Image.new("RGB", size, tuple(rgb))
    for _ in range(5):
        image.putpixel((rng.randrange(size[0]), rng.randrange(size[1])), (rng.randrange(256),) * 3)
    if kind == "PNG" and number % 2:
        image = image.convert("RGBA")
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


KINDS = (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's own set: three classes in all sizes and formats, a corrupt file, a class with one image."""
    folder = tmp_path_factory.mktemp("own") / "photos"
    for colour, name in enumerate(("red <ripe>", "grün", "blue")):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            kind, suffix = KINDS[number % len(KINDS)]
            size = (24 + 7 * (number % 6), 20 + 11 * (number % 4))
            (folder / name / f"{number}.{suffix}").write_bytes(picture(colour, number, size, kind))
    whole = picture(0, 99, (40, 40), "JPEG")
    (folder / "blue" / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "blue" / "notes.txt").write_text("no picture\n")
    (folder / "blue" / ".DS_Store").write_bytes(b"x")
    (folder / "only one").mkdir()
    (folder / "only one" / "it.png").write_bytes(picture(1, 98, (33, 33), "PNG"))
    return folder


@pytest.fixture(scope="module")
def own(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The model trained on it, and what was said."""
    folder = tmp_path_factory.mktemp("trained")
    process = command(
        "train",
        "--data",
        photos,
        "--out",
        "model/fruit",
        "--preset",
        "tiny",
        "--epochs",
        12,
        "--rate",
        0.5,
        folder=folder,
    )
    said, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said
    return folder / "model" / "fruit", said


def test_problems_of_ones_own_set_are_one_readable_line_each(own: tuple[Path, str], photos: Path) -> None:
    lines = own[1].splitlines()
    assert "Traceback" not in own[1]
    for part in ("blue/broken.jpg", "blue/notes.txt", "'only one'"):
        assert len([line for line in lines if part in line and line.lstrip().startswith("!")]) == 1, part
    assert len([line for line in lines if "1 system folder or file is left out: blue/.DS_Store" in line]) == 1
    assert "4 classes" in own[1]


def test_ones_own_set_trains_reports_and_serves(own: tuple[Path, str], photos: Path, tmp_path: Path) -> None:
    model, said = own
    manifest = read_manifest(model / "1")
    assert manifest.labels == ("blue", "grün", "only one", "red <ripe>")
    assert manifest.metrics["test_accuracy"] >= 0.8, said
    raw = json.loads((model / "1" / "manifest.json").read_text(encoding="utf-8"))
    assert str(photos.parent) not in json.dumps(raw)
    assert raw["training"]["seed"] == 0
    assert raw["training"]["seconds"] > 0
    assert set(raw["exports"]) == {"model.keras", "model.h5", "model.tflite", "model-int8.tflite"}
    assert set(raw["sha256"]) == {*raw["exports"], "labels.txt"}
    metrics = json.loads((model / "1" / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] == manifest.metrics["test_accuracy"]
    assert any("broken.jpg" in line for line in metrics["problems"])
    page = (model / "1" / "report" / "index.html").read_text(encoding="utf-8")
    assert "red &lt;ripe&gt;" in page
    with Service(tmp_path / "data", {"model.folder": str(model)}) as service:
        found = [
            post(
                service.classify_url, picture(colour, 200 + number, (50, 31), "PNG"), {"Content-Type": "image/png"}
            ).json()
            for colour in range(3)
            for number in range(4)
        ]
    named = [one["predicted_class"] for one in found]
    assert {one["model_name"] for one in found} == {"fruit"}
    expected = [name for name in ("red <ripe>", "grün", "blue") for _ in range(4)]
    assert sum(a == b for a, b in zip(named, expected, strict=True)) >= 9, named


def test_the_next_training_is_the_next_version_and_the_first_stays(own: tuple[Path, str], photos: Path) -> None:
    model, _ = own
    before = (model / "1" / "manifest.json").read_bytes()
    finished = command("train", "--resume", "--out", model, folder=model.parent.parent)
    said, _ = finished.communicate(timeout=200)
    assert (finished.returncode, (model / "2").exists()) == (2, False), said
    assert "version 1 was written" in said
    process = command(
        "train",
        "--data",
        photos,
        "--out",
        model,
        "--preset",
        "tiny",
        "--epochs",
        1,
        "--validation",
        0,
        folder=model.parent.parent,
    )
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said  # with nothing to validate on as well
    assert read_manifest(model / "2").temperature == 1.0
    assert (model / "1" / "manifest.json").read_bytes() == before


# --- going on from a version --------------------------------------------------------------------------------------

BARELY = ("--epochs", 1, "--batch", 32, "--rate", 1e-6, "--smoothing", 0)  # what it ends with is what it began with


def kernels(version: Path) -> dict[str, np.ndarray]:
    """Of what is trained; the projection of the embedding is fitted anew."""
    trained = (layer for layer in load_keras(version / "model.keras").layers if layer.weights and layer.name != LAYER)
    return {layer.name: layer.get_weights()[0] for layer in trained}


def test_a_training_goes_on_from_a_version(own: tuple[Path, str], photos: Path, tmp_path: Path) -> None:
    before = tmp_path / "1"
    shutil.copytree(own[0] / "1", before)
    described = json.loads((before / "manifest.json").read_text(encoding="utf-8"))
    described["input"]["fit"] = "crop"
    (before / "manifest.json").write_text(json.dumps(described), encoding="utf-8")
    # Of another preset, whose network is another one: that of the version counts.
    process = command(
        "train", "--data", photos, "--from", before, "--preset", "quick", *BARELY, "--out", "more", folder=tmp_path
    )
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "beginning with the weights of fruit version 1, all of them" in said
    assert "look too good" not in said
    after = read_manifest(tmp_path / "more" / "1")
    digest = hashlib.sha256((before / "model.keras").read_bytes()).hexdigest()
    assert after.training["began_with"] == {"name": "fruit", "version": "1", "sha256": digest, "same_split": True}
    assert (after.training["recipe"]["smoothing"], after.spec.fit) == (0, "crop")
    assert after.metrics["test_accuracy"] == pytest.approx(read_manifest(before).metrics["test_accuracy"], abs=0.09)
    mine, theirs = kernels(after.folder), kernels(before)
    for name, kernel in theirs.items():
        if kernel.ndim > 1:  # what a batch norm has seen of the pictures goes on changing
            np.testing.assert_allclose(mine[name], kernel, atol=1e-3, err_msg=name)


def test_a_run_keeps_the_version_that_it_began_with(own: tuple[Path, str], tmp_path: Path) -> None:
    version = tmp_path / "1"
    shutil.copytree(own[0] / "1", version)
    before = read_manifest(version)
    settings = Settings("x", None, RECIPE, True, 0, before.spec.height, before.spec.width, start=str(version))
    with open_run(tmp_path / "work", settings, resume=False, restart=False):
        pass
    shutil.rmtree(version)
    kept = read_start(tmp_path / "work" / "start", before.spec, before.labels)
    assert (kept.manifest.name, kept.same_classes) == ("fruit", True)
    itself = replace(settings, start=str((tmp_path / "work" / "start").resolve()))
    with (
        pytest.raises(ConfigurationError, match="lies in the working folder"),
        open_run(tmp_path / "work", itself, resume=False, restart=True),
    ):
        pass
    assert read_manifest(tmp_path / "work" / "start").name == "fruit"
    with (
        pytest.raises(ConfigurationError, match="can't be copied"),
        open_run(tmp_path / "more", settings, resume=False, restart=False),
    ):
        pass


def test_what_a_version_knows_serves_other_classes(own: tuple[Path, str], photos: Path, tmp_path: Path) -> None:
    for name in ("blue", "grün"):
        shutil.copytree(photos / name, tmp_path / "two" / name)
    process = command("train", "--data", "two", "--from", own[0] / "1", *BARELY, "--out", "fewer", folder=tmp_path)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "but for the last layer" in said
    assert len([line for line in said.splitlines() if "look too good" in line]) == 1
    after = read_manifest(tmp_path / "fewer" / "1")
    assert (after.labels, after.training["began_with"]["same_split"]) == (("blue", "grün"), False)
    mine, theirs = kernels(after.folder), kernels(own[0] / "1")
    assert mine["classes"].shape == (theirs["classes"].shape[0], 2)
    np.testing.assert_allclose(mine["block1a"], theirs["block1a"], atol=1e-3)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        pytest.param(("--from", "nowhere"), "--from: nowhere is not a folder", id="nowhere"),
        pytest.param(("--from", "VERSION", "--widths", "8,24"), "its layer block2a", id="another-network"),
        pytest.param(("--from", "VERSION", "--input-size", "64"), "it has no layer block3a", id="more-blocks"),
        pytest.param(("--from", "VERSION", "--input-size", "8"), "it has a layer block2a", id="fewer-blocks"),
        pytest.param(("--from", "VERSION", "--colour", "L"), "its channels is 3, here it is 1", id="grey"),
        pytest.param(("--from", "IMPORTED"), "no Keras file that `imagewarehouse train` has made", id="imported"),
    ],
)
def test_what_a_training_cannot_go_on_from_is_said_in_one_line(
    words: tuple[str, ...], part: str, own: tuple[Path, str], photos: Path, tmp_path: Path
) -> None:
    version, imported = own[0] / "1", tmp_path / "imported"
    shutil.copytree(version, imported)
    described = json.loads((version / "manifest.json").read_text(encoding="utf-8"))
    (imported / "manifest.json").write_text(json.dumps({**described, "training": {}}), encoding="utf-8")
    named = {"VERSION": version, "IMPORTED": imported}
    process = command(
        "train", "--data", photos, "--out", "m", *(named.get(word, word) for word in words), folder=tmp_path
    )
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 2, said
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if line.startswith("imagewarehouse: --from") and part in line]) == 1
    assert not (tmp_path / "m").exists()


# --- stopping -----------------------------------------------------------------------------------------------------

LONG = ("--preset", "tiny", "--no-progress", "--epochs", 200)


def stop_with(sent: signal.Signals, photos: Path, folder: Path) -> str:
    """Begin a long training, stop it after its first epoch; what it said."""
    process = command("train", "--data", photos, "--out", "model/stopped", *LONG, folder=folder)
    first_epoch = folder / "training-runs" / "stopped" / "history.json"
    until = time.monotonic() + 200
    while not first_epoch.is_file() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(sent)
    time.sleep(0.2)
    process.send_signal(sent)  # in the middle of the saving
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    return said


def test_sigterm_stops_like_ctrl_c(photos: Path, tmp_path: Path) -> None:
    assert "--resume" in stop_with(signal.SIGTERM, photos, tmp_path)
    assert list((tmp_path / "training-runs" / "stopped" / "checkpoints").glob("*.index"))


def test_ctrl_c_keeps_what_was_learnt(photos: Path, tmp_path: Path) -> None:
    assert "--resume" in stop_with(signal.SIGINT, photos, tmp_path)
    words = ("train", "--data", photos, "--out", "model/stopped", *LONG)
    again = command(*words, folder=tmp_path)
    said, _ = again.communicate(timeout=200)
    assert again.returncode == 2
    assert "--resume goes on" in said
    other = command(*words, "--resume", "--seed", 4, folder=tmp_path)
    said, _ = other.communicate(timeout=200)
    assert other.returncode == 2
    assert "seed" in said
    exported = command("export", "training-runs/stopped", "--out", "model/stopped", folder=tmp_path)
    said, _ = exported.communicate(timeout=200)
    assert exported.returncode == 0, said
    described = json.loads((tmp_path / "model" / "stopped" / "1" / "manifest.json").read_text(encoding="utf-8"))
    assert " of " in described["training"]["unfinished"]
    load_classifier(tmp_path / "model" / "stopped")


def test_two_workers_learn_what_one_does(photos: Path, tmp_path: Path) -> None:
    words = ("train", "--data", photos, "--preset", "tiny", "--epochs", 2, "--batch", 8, "--out", "model/shared")
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    alone.mkdir()
    shared.mkdir()
    ports = free_ports(2)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    configured = [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})} for index in (0, 1)
    ]
    processes = [command(*words, folder=alone)]
    said = [processes[0].communicate(timeout=200)[0]]
    processes += [command(*words, "--strategy", "multiworker", folder=shared, environment=one) for one in configured]
    said += [process.communicate(timeout=250)[0] for process in processes[1:]]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    histories = [
        json.loads((folder / "training-runs" / "shared" / "history.json").read_text()) for folder in (alone, shared)
    ]
    # Batch norms see half a batch each, so the curves are near each other, not the same.
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=0.25)
    assert read_manifest(shared / "model" / "shared" / "1").metrics["test_images"] > 0
    assert sorted(path.name for path in (shared / "model" / "shared").iterdir()) == ["1"]


def test_mirrored_trains_on_what_there_is(photos: Path, tmp_path: Path) -> None:
    process = command(
        "train",
        "--data",
        photos,
        "--preset",
        "tiny",
        "--epochs",
        1,
        "--out",
        "m",
        "--strategy",
        "mirrored",
        folder=tmp_path,
    )
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    load_classifier(tmp_path / "m")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        pytest.param(("--out", "m"), "--data", id="no-data"),
        pytest.param(("--data", "nowhere", "--out", "m"), "nowhere: no such file or folder", id="nowhere"),
        pytest.param(("--data", "."), "--out", id="no-out"),
        pytest.param(("--resume", "--out", "m"), "there is no training in", id="nothing-to-resume"),
        pytest.param(("--data", ".", "--out", "m", "--input-size", "big"), "--input-size", id="size-in-words"),
        pytest.param(("--data", ".", "--out", "m", "--input-size", "4"), "8 to 1024", id="too-small"),
        pytest.param(("--data", ".", "--out", "m", "--widths", "a,b"), "--widths", id="widths"),
        pytest.param(("--data", ".", "--out", "m", "--strategy", "multiworker"), "TF_CONFIG", id="no-cluster"),
        pytest.param(("--resume", "--restart", "--out", "m"), "--restart", id="resume-and-restart"),
        pytest.param(("--data", ".", "--out", "/dev/null/m"), "--out: /dev/null/m", id="out-is-no-folder"),
        pytest.param(
            ("--resume", "--out", "m", "--rate", "3", "--epochs", "2"), "leave out --epochs, --rate", id="others"
        ),
    ],
)
def test_what_is_wrong_with_the_command_is_said_in_one_line(
    words: tuple[str, ...],
    part: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert call(["train", *words]) == 2
    said = capsys.readouterr().err.strip()
    assert part in said
    assert said.startswith("imagewarehouse: ")
    assert "\n" not in said
    assert not (tmp_path / "m").exists()


def test_what_tensorflow_prints_at_its_start_is_no_part_of_the_answer(tmp_path: Path) -> None:
    program = "import sys; from imagewarehouse.cli.main import call; sys.exit(call(sys.argv[1:]))"
    words = [
        "train",
        "--data",
        str(tmp_path / "photos"),
        "--out",
        str(tmp_path / "out"),
        "--work",
        str(tmp_path / "work"),
    ]
    done = subprocess.run([sys.executable, "-c", program, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("imagewarehouse: --data: ")
    assert done.stderr.count("\n") == 1


def test_where_the_training_libraries_are_missing_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "sklearn" else real(name, *rest)
    )
    assert call(["train", "--data", "x", "--out", "y"]) == 2
    said = capsys.readouterr().err
    assert "sklearn" in said
    assert "imagewarehouse[training]" in said


# --- exports ------------------------------------------------------------------------------------------------------


def test_a_model_is_written_in_every_format_and_each_answers_alike(
    own: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    formats = ("keras", "h5", "litert", "litert-int8", "savedmodel")
    assert (
        call(["export", str(own[0]), "--out", str(tmp_path / "all"), *(w for f in formats for w in ("--format", f))])
        == 0
    )
    said = capsys.readouterr().out
    names = {"model.keras", "model.h5", "model.tflite", "model-int8.tflite", "saved_model"}
    assert {path.name for path in (tmp_path / "all").iterdir()} == names
    assert said.count("100.00%") >= 4  # the quantised one may differ
    assert call(["export", str(own[0]), "--out", str(tmp_path / "all")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_exported_files_agree_with_the_network(own: tuple[Path, str]) -> None:
    described = json.loads((own[0] / "1" / "manifest.json").read_text(encoding="utf-8"))["exports"]
    for name in ("model.keras", "model.h5", "model.tflite"):
        assert described[name]["agreement"] == 1.0
        assert described[name]["largest_difference"] < 1e-4
    assert described["model-int8.tflite"]["agreement"] >= 0.9
