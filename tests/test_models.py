"""The model folder and the classifier: a bad version is refused by name, a good one says the same in every runtime."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagewarehouse.errors import ConfigurationError, Corrupt, InferenceFailed, ModelBroken, ModelUnavailable
from imagewarehouse.images.decoding import InputSpec, decode_rgb, to_batch
from imagewarehouse.models.classifier import Classifier, Prediction, load_classifier
from imagewarehouse.models.manifest import find_version, read_manifest
from imagewarehouse.models.quiet import without_info_lines
from imagewarehouse.resources import REPOSITORY
from tests.pictures import noise

# Keras asks NumPy for a copy in the old way while it loads weights.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

WriteModel = Callable[..., Path]
Tflite = Callable[..., bytes]
Picture = Callable[..., bytes]


# --- versions -----------------------------------------------------------------------------------------------------


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """A model whose folder holds everything that may stand in one."""
    for name in ("1", "2", "10", "beta"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    (tmp_path / "11").mkdir()  # still being copied: no manifest yet
    (tmp_path / "README.md").write_text("about the model")
    return tmp_path


@pytest.mark.parametrize(
    ("version", "found"),
    [("latest", "10"), ("", "10"), ("2", "2"), ("beta", "beta")],
    ids=["latest", "empty", "2", "beta"],
)
def test_the_latest_version_is_the_highest_number_with_a_manifest(versions: Path, version: str, found: str) -> None:
    assert find_version(versions, version) == versions / found


def test_a_version_folder_may_be_named_itself(versions: Path) -> None:
    assert find_version(versions / "1", "latest") == versions / "1"


@pytest.mark.parametrize("version", ["3", "11", "../outside", "README.md"])
def test_a_version_that_is_not_there_is_a_wrong_setting(versions: Path, version: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_version(versions, version)
    assert caught.value.setting == "Model Version"
    assert "10, 2, beta" in str(caught.value)  # what there is


def test_names_alone_have_no_latest(tmp_path: Path) -> None:
    (tmp_path / "beta").mkdir()
    (tmp_path / "beta" / "manifest.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="beta"):
        find_version(tmp_path)


@pytest.mark.parametrize("kind", ["nothing", "file", "empty folder"])
def test_a_model_folder_without_a_model_is_a_wrong_setting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model"
    if kind == "file":
        path.write_text("")
    elif kind == "empty folder":
        path.mkdir()
    with pytest.raises(ConfigurationError) as caught:
        find_version(path)
    assert caught.value.setting == "Model Folder"


# --- the manifest -------------------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path: Path, write_model: WriteModel, tflite: Tflite) -> Path:
    return write_model(tmp_path / "colours" / "3", {"litert": ("model.tflite", tflite())}, temperature=2.0)


def change(folder: Path, **values: Any) -> None:
    """Replace keys of the manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def remove(folder: Path, key: str) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != key}))


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Other content for a file, the hash in the manifest with it."""
    (folder / name).write_bytes(content)
    hashes = json.loads((folder / "manifest.json").read_text())["sha256"]
    change(folder, sha256={**hashes, name: hashlib.sha256(content).hexdigest()})


def point_outside(folder: Path, name: str) -> None:
    outside = folder.parent / "outside.tflite"
    outside.write_bytes((folder / "model.tflite").read_bytes())
    change(folder, runtimes={"litert": name}, sha256={
        name: hashlib.sha256(outside.read_bytes()).hexdigest(),
        "labels.txt": hashlib.sha256((folder / "labels.txt").read_bytes()).hexdigest(),
    })  # fmt: skip


def link_outside(folder: Path) -> None:
    point_outside(folder, "link.tflite")
    (folder / "link.tflite").symlink_to(folder.parent / "outside.tflite")


def test_a_version_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelBroken, match=r"manifest.json: No such file"):
        read_manifest(tmp_path)


def test_a_good_manifest_is_read_completely(good: Path) -> None:
    change(good, input={"height": 8, "width": 9, "multiply": [1, 2, 3], "add": -1, "colour_order": "BGR", "fit": "crop"},
           metrics={"accuracy": 0.9}, created="2026-03-01")  # fmt: skip
    manifest = read_manifest(good)
    assert (manifest.name, manifest.version, manifest.labels) == ("colours", "3", ("red", "green", "blue"))
    assert manifest.spec == InputSpec(8, 9, (1.0, 2.0, 3.0), (-1.0,), "BGR", "crop")
    assert (manifest.output, manifest.temperature) == ("logits", 2.0)
    assert manifest.runtimes == {"litert": good / "model.tflite"}
    assert (manifest.metrics, manifest.created) == ({"accuracy": 0.9}, "2026-03-01")


@pytest.mark.parametrize("ending", ["red\ngreen\nblue", "red\ngreen\nblue\n", "red\r\ngreen\r\nblue\r\n"])
def test_labels_are_one_a_line_whatever_the_line_ends(good: Path, ending: str) -> None:
    rewrite(good, "labels.txt", ending.encode())
    assert read_manifest(good).labels == ("red", "green", "blue")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        pytest.param(lambda f: (f / "manifest.json").write_text("{"), "not JSON", id="manifest-that-is-no-json"),
        pytest.param(lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe"), "not JSON", id="manifest-that-is-no-text"),
        pytest.param(lambda f: (f / "manifest.json").write_text("[" * 200_000), "not JSON", id="manifest-without-end"),
        pytest.param(lambda f: (f / "manifest.json").write_text("[]"), "expected an object", id="manifest-that-is-a-list"),
        pytest.param(lambda f: remove(f, "name"), "'name' is missing", id="no-name"),
        pytest.param(lambda f: remove(f, "version"), "'version' is missing", id="no-version"),
        pytest.param(lambda f: remove(f, "input"), "'input' is missing", id="no-input"),
        pytest.param(lambda f: remove(f, "output"), "'output' is missing", id="no-output"),
        pytest.param(lambda f: remove(f, "runtimes"), "'runtimes' is missing", id="no-runtimes"),
        pytest.param(lambda f: remove(f, "labels"), "'labels' is missing", id="no-labels"),
        pytest.param(lambda f: remove(f, "sha256"), "'sha256' is missing", id="no-hashes"),
        pytest.param(lambda f: (f / "model.tflite").unlink(), "model.tflite: No such file", id="missing-file"),
        pytest.param(lambda f: (f / "labels.txt").unlink(), "labels.txt: No such file", id="missing-labels"),
        pytest.param(lambda f: (f / "model.tflite").write_bytes(b"x"), "model.tflite: its sha256 is", id="wrong-hash"),
        pytest.param(lambda f: (f / "labels.txt").write_text("a\nb\nc\n"), "labels.txt: its sha256 is", id="changed-labels"),
        pytest.param(lambda f: change(f, sha256={}), "no entry for", id="no-hash-for-a-file"),
        pytest.param(lambda f: change(f, sha256=["model.tflite", "labels.txt"]), "manifest.json", id="hashes-as-a-list"),
        pytest.param(lambda f: point_outside(f, "../outside.tflite"), "outside the model folder", id="path-with-dots"),
        pytest.param(lambda f: point_outside(f, str(f.parent / "outside.tflite")), "outside the model folder",
                     id="absolute-path"),
        pytest.param(link_outside, "outside the model folder", id="link-to-the-outside"),
        pytest.param(lambda f: change(f, labels="."), "outside the model folder", id="the-folder-itself"),
        pytest.param(lambda f: change(f, labels=5), "manifest.json", id="labels-as-a-number"),
        pytest.param(lambda f: rewrite(f, "labels.txt", b"red\nred\nblue\n"), "names a class twice", id="duplicate-labels"),
        pytest.param(lambda f: rewrite(f, "labels.txt", b"red\n\nblue\n"), "an empty line", id="empty-label"),
        pytest.param(lambda f: rewrite(f, "labels.txt", b""), "an empty line", id="no-label-at-all"),
        pytest.param(lambda f: rewrite(f, "labels.txt", b"\xff\xfe"), "manifest.json", id="labels-that-are-no-text"),
        pytest.param(lambda f: change(f, runtimes={"onnx": "model.tflite"}), "onnx", id="unknown-runtime"),
        pytest.param(lambda f: change(f, runtimes={}), "runtimes", id="no-runtime-at-all"),
        pytest.param(lambda f: change(f, runtimes=["model.tflite"]), "manifest.json", id="runtimes-as-a-list"),
        pytest.param(lambda f: change(f, output="boxes"), "output: expected", id="unknown-output"),
        pytest.param(lambda f: change(f, temperature=0), "temperature", id="temperature-of-0"),
        pytest.param(lambda f: change(f, temperature=float("nan")), "temperature", id="temperature-not-a-number"),
        pytest.param(lambda f: change(f, temperature="warm"), "manifest.json", id="temperature-in-words"),
        pytest.param(lambda f: change(f, input={"width": 8}), "'height' is missing", id="no-height"),
        pytest.param(lambda f: change(f, input={"height": 0, "width": 8}), "input size", id="height-of-0"),
        pytest.param(lambda f: change(f, input={"height": float("inf"), "width": 8}), "infinity", id="endless-height"),
        pytest.param(lambda f: change(f, input={"height": 8, "width": 8, "multiply": [1, 2]}), "multiply", id="two-factors"),
        pytest.param(lambda f: change(f, input={"height": 8, "width": 8, "colour_order": "HSV"}), "colour_order", id="hsv"),
        pytest.param(lambda f: change(f, input={"height": 8, "width": 8, "fit": "squeeze"}), "fit", id="unknown-fit"),
        pytest.param(lambda f: change(f, input=[8, 8]), "manifest.json", id="input-as-a-list"),
    ],
)  # fmt: skip
def test_a_bad_version_is_refused_by_what_is_wrong_with_it(
    good: Path, spoil: Callable[[Path], None], named: str
) -> None:
    spoil(good)
    with pytest.raises(ModelBroken) as caught:
        load_classifier(good)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        pytest.param(b"", "model.tflite", id="empty"),
        pytest.param(b"no model at all", "model.tflite", id="garbage"),
        pytest.param(lambda tflite: tflite()[:-200], "model.tflite", id="cut"),
        pytest.param(lambda tflite: tflite(input_type="INT32"), "model.tflite: .*int32", id="int32-input"),
        pytest.param(lambda tflite: tflite(size=16), "model.tflite", id="another-size"),
    ],
)
def test_a_model_that_does_not_fit_its_manifest_is_refused(
    good: Path, tflite: Tflite, content: Any, named: str
) -> None:
    rewrite(good, "model.tflite", content if isinstance(content, bytes) else content(tflite))
    with pytest.raises(ModelBroken, match=named):
        load_classifier(good)


@pytest.mark.parametrize("labels", [b"red\n", b"red\ngreen\nblue\nviolet\n"], ids=["too-few", "too-many"])
def test_a_model_with_another_number_of_classes_than_labels_is_refused(good: Path, labels: bytes) -> None:
    rewrite(good, "labels.txt", labels)
    with pytest.raises(ModelBroken, match="labels"):
        load_classifier(good)


def test_a_model_that_calls_logits_probabilities_is_refused(good: Path) -> None:
    change(good, output="probabilities")
    with pytest.raises(ModelBroken, match="does not sum to 1"):
        load_classifier(good)


@pytest.mark.parametrize("runtime", ["tensorflow", "onnx"])
def test_a_runtime_that_the_model_has_no_file_for_is_named(good: Path, runtime: str) -> None:
    with pytest.raises(ModelUnavailable, match=f"no file for {runtime}"):
        load_classifier(good, runtime=runtime)


# --- what the classifier says -------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["red", "lime", "blue"])
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", None])
def test_the_class_of_a_picture_is_found(
    colour_model: Path, picture: Picture, colour: str, image_format: str | None
) -> None:
    classifier = load_classifier(colour_model)
    found = classifier.classify(picture(image_format or "GIF", colour), image_format)
    assert found.predicted_class == {"lime": "green"}.get(colour, colour)
    assert found.confidence > 0.99
    assert found.preprocess_ms >= 0
    assert found.inference_ms >= 0


@pytest.mark.parametrize(("top_k", "classes"), [(1, 1), (2, 2), (3, 3), (50, 3), (0, 1)])
def test_the_best_classes_come_first_and_no_more_than_wanted(
    colour_model: Path, picture: Picture, top_k: int, classes: int
) -> None:
    found = load_classifier(colour_model).classify(picture(colour=(200, 10, 100)), "PNG", top_k)
    assert [label for label, _ in found.top] == ["red", "blue", "green"][:classes]
    probabilities = [probability for _, probability in found.top]
    assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_logits_become_probabilities_by_a_softmax_at_the_manifests_temperature(
    good: Path, picture: Picture, temperature: float
) -> None:
    change(good, temperature=temperature)
    found = dict(load_classifier(good).classify(picture(colour=(255, 51, 0)), "PNG").top)
    powers = np.exp(np.array([1.0, 0.2, 0.0]) / temperature)  # the model gives the mean of each colour, 0-1
    expected = dict(zip(("red", "green", "blue"), powers / powers.sum(), strict=True))
    assert found == pytest.approx(expected, abs=1e-6)
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-6)


def test_probabilities_are_passed_on_as_they_are(
    tmp_path: Path, write_model: WriteModel, tflite: Tflite, picture: Picture
) -> None:
    folder = write_model(
        tmp_path / "1", {"litert": ("m.tflite", tflite(softmax=True))}, output="probabilities", temperature=9
    )
    found = dict(load_classifier(folder).classify(picture(colour="red"), "PNG").top)
    powers = np.exp([1.0, 0.0, 0.0])
    assert found == pytest.approx(dict(zip(("red", "green", "blue"), powers / powers.sum(), strict=True)), abs=1e-6)


@pytest.mark.parametrize(
    ("values", "logits"),
    [
        pytest.param({"multiply": 1 / 255}, (1.0, 0.2, 0.0), id="0-to-1"),
        pytest.param({"multiply": 1 / 127.5, "add": -1}, (1.0, -0.6, -1.0), id="minus-1-to-1"),
        pytest.param({"multiply": 1}, (255.0, 51.0, 0.0), id="0-to-255"),
        pytest.param(
            {"multiply": 1, "add": [-103, -50, 0], "colour_order": "BGR"}, (-103.0, 1.0, 255.0), id="bgr-less-mean"
        ),
    ],
)
def test_pixels_are_scaled_as_the_manifest_says(
    good: Path, picture: Picture, values: dict[str, Any], logits: tuple[float, ...]
) -> None:
    change(good, input={"height": 8, "width": 8, **values}, temperature=50)
    found = dict(load_classifier(good).classify(picture(colour=(255, 51, 0)), "PNG").top)
    powers = np.exp(np.array(logits) / 50)
    assert [found[label] for label in ("red", "green", "blue")] == pytest.approx(list(powers / powers.sum()), abs=1e-5)


def test_huge_logits_do_not_overflow(good: Path, picture: Picture) -> None:
    change(good, input={"height": 8, "width": 8, "multiply": 1e30})
    found = load_classifier(good).classify(picture(colour="red"), "PNG")
    assert found.top[0] == ("red", 1.0)


def test_a_picture_that_does_not_decode_is_corrupt(colour_model: Path, picture: Picture) -> None:
    with pytest.raises(Corrupt):
        load_classifier(colour_model).classify(picture("PNG")[:40], "PNG")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([[0.5, 0.2, 0.2]], id="sum-below-1"),
        pytest.param([[0.5, 0.5, 0.5]], id="sum-above-1"),
        pytest.param([[1.5, -0.5, 0.0]], id="negative"),
        pytest.param([[float("nan"), 0.5, 0.5]], id="not-a-number"),
        pytest.param([[float("inf"), 0.0, 0.0]], id="infinite"),
        pytest.param([[0.5, 0.5]], id="too-few-classes"),
        pytest.param([0.2, 0.3, 0.5], id="no-batch"),
        pytest.param([[0.2, 0.3, 0.5]] * 2, id="more-rows-than-images"),
        pytest.param([["a", "b", "c"]], id="words"),
    ],
)
def test_an_answer_that_is_no_distribution_is_refused(good: Path, picture: Picture, answer: Any) -> None:
    change(good, output="probabilities")
    classifier = Classifier(read_manifest(good), lambda batch: (np.array(answer), None), "litert")
    with pytest.raises(InferenceFailed):
        classifier.classify(picture(), "PNG")


@pytest.mark.parametrize("error", [RuntimeError("kernel"), ValueError("shape"), KeyError("defect"), MemoryError()])
def test_any_failure_of_a_runtime_is_told_as_one(good: Path, picture: Picture, error: Exception) -> None:
    def infer(batch: Any) -> Any:
        raise error

    with pytest.raises(InferenceFailed, match="colours 3"):
        Classifier(read_manifest(good), infer, "litert").classify(picture(), "PNG")


@pytest.mark.parametrize("top", [(), (("frog", 1.01),), (("frog", -0.01),), (("frog", float("nan")),)])
def test_a_prediction_of_nonsense_is_never_born(top: tuple[tuple[str, float], ...]) -> None:
    with pytest.raises(ValueError, match=r"frog|class"):
        Prediction(top, 0.0, 0.0)


def test_the_demonstration_images_decode_to_the_models_numbers(shared_data: Path) -> None:
    import pyarrow.parquet as pq

    content = pq.ParquetFile(shared_data / "cifar10-test-a.parquet").read_row_group(0, ["image"])["image"][0].as_py()
    spec = InputSpec(32, 32)
    batch = to_batch([decode_rgb(content, spec, "JPEG")], spec)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32) / 255
    assert np.abs(batch[0] - expected).max() < 1e-6


def test_calls_at_the_same_moment_do_not_mix(tmp_path: Path, write_model: WriteModel, tflite: Tflite) -> None:
    # Large enough that eight threads are inside the runtime at once, each with a picture of its own.
    folder = write_model(
        tmp_path / "1", {"litert": ("model.tflite", tflite(size=256))}, input={"height": 256, "width": 256}
    )
    classifier = load_classifier(folder)
    batches = [np.full((1, 256, 256, 3), (number / 8, 0.5, 1 - number / 8), np.float32) for number in range(8)]
    alone = [classifier.probabilities(batch) for batch in batches]
    gate = threading.Barrier(8)

    def run(number: int) -> list[np.ndarray]:
        gate.wait()
        return [classifier.probabilities(batches[number]) for _ in range(25)]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(run, range(8)))
    assert all(np.array_equal(one, alone[number]) for number, found in enumerate(together) for one in found)


# --- both runtimes ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras_files() -> Iterator[dict[str, bytes]]:
    """A tiny Keras classifier with random weights, as it is saved and as it is exported; and others that are not taken."""
    pytest.importorskip("tensorflow", reason="needs TensorFlow: make test installs it")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    def saved(model: Any) -> bytes:
        path = Path(os.environ.get("TMPDIR", "/tmp")) / f"imagewarehouse-test-{os.getpid()}.keras"
        try:
            model.save(path)
            return path.read_bytes()
        finally:
            path.unlink(missing_ok=True)

    keras.utils.set_random_seed(5)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),  # off, as this is no training
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    image = keras.Input((8, 8, 3))
    looked_up = layers.GlobalAveragePooling2D()(layers.Reshape((8, 8, 9))(layers.Embedding(2, 3)(image)))
    fragile = keras.Model(image, layers.Dense(3, activation="softmax")(looked_up))
    programmed = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Lambda(lambda x: x), layers.Flatten(), layers.Dense(3)]
    )
    yield {
        "keras": saved(model),
        "tflite": tf.lite.TFLiteConverter.from_keras_model(model).convert(),
        "fragile": saved(fragile),
        "programmed": saved(programmed),
    }
    keras.backend.clear_session()


@pytest.fixture
def both(tmp_path: Path, write_model: WriteModel, keras_files: dict[str, bytes]) -> Path:
    """One model in both runtimes' files, TensorFlow preferred."""
    return write_model(
        tmp_path / "both" / "1",
        {"tensorflow": ("model.keras", keras_files["keras"]), "litert": ("model.tflite", keras_files["tflite"])},
        output="probabilities",
    )


def test_both_runtimes_give_the_same_probabilities(both: Path) -> None:
    first, second = load_classifier(both, runtime="litert"), load_classifier(both, runtime="tensorflow")
    batch = np.random.default_rng(1).random((20, 8, 8, 3), dtype=np.float32)
    found, expected = first.probabilities(batch), second.probabilities(batch)
    assert np.abs(found - expected).max() < 1e-5
    assert expected.std(axis=0).min() > 1e-3  # a model that says the same of everything would agree, too


@pytest.mark.parametrize(("runtime", "served"), [("auto", "tensorflow"), ("litert", "litert")])
def test_the_manifests_first_runtime_serves_unless_another_is_named(both: Path, runtime: str, served: str) -> None:
    assert load_classifier(both, runtime=runtime).runtime == served


@pytest.mark.parametrize("runtime", ["litert", "tensorflow"])
def test_eight_threads_get_what_one_gets(both: Path, runtime: str) -> None:
    classifier = load_classifier(both, runtime=runtime)
    pictures = [noise(seed, 16) for seed in range(24)]
    alone = [classifier.classify(content, "PNG").top for content in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda content: classifier.classify(content, "PNG").top, pictures * 4))
    assert together == alone * 4
    assert len({top[0] for top in alone}) > 12  # the pictures are told apart


def test_a_model_that_fails_on_one_picture_only_fails_on_that(
    tmp_path: Path, write_model: WriteModel, keras_files: dict[str, bytes], picture: Picture
) -> None:
    folder = write_model(
        tmp_path / "1",
        {"tensorflow": ("model.keras", keras_files["fragile"])},
        output="probabilities",
        input={"height": 8, "width": 8, "multiply": 1},  # it looks each value up in a table of two
    )
    classifier = load_classifier(folder)
    with pytest.raises(InferenceFailed):
        classifier.classify(picture(colour="white"), "PNG")
    assert len(classifier.classify(picture(colour="black"), "PNG").top) == 3


@pytest.mark.parametrize("kind", ["programmed", "empty", "garbage", "empty archive", "another archive"])
def test_a_keras_file_that_is_not_safe_or_not_whole_is_refused(
    tmp_path: Path, write_model: WriteModel, keras_files: dict[str, bytes], kind: str
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        if kind == "another archive":
            file.writestr("config.json", "{}")
    content = {"programmed": keras_files["programmed"], "empty": b"", "garbage": b"no model " * 100}.get(
        kind, archive.getvalue()
    )
    folder = write_model(tmp_path / "1", {"tensorflow": ("model.keras", content)}, output="probabilities")
    with pytest.raises(ModelBroken, match="model.keras"):
        load_classifier(folder)


# --- runtimes that are not installed ------------------------------------------------------------------------------


def test_a_model_that_needs_tensorflow_is_unavailable_without_it(
    tmp_path: Path, write_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, name, None)
    folder = write_model(tmp_path / "1", {"tensorflow": ("model.keras", b"never opened")})
    with pytest.raises(ModelUnavailable, match="tensorflow is not installed"):
        load_classifier(folder)


def test_the_next_runtime_serves_where_the_first_is_not_installed(
    tmp_path: Path, write_model: WriteModel, tflite: Tflite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, name, None)
    files = {"tensorflow": ("model.keras", b"never opened"), "litert": ("model.tflite", tflite())}
    assert load_classifier(write_model(tmp_path / "1", files)).runtime == "litert"


def test_without_any_runtime_each_is_named(
    tmp_path: Path, write_model: WriteModel, tflite: Tflite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorflow", "keras", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    files = {"tensorflow": ("model.keras", b"never opened"), "litert": ("model.tflite", tflite())}
    with pytest.raises(ModelUnavailable, match=r"tensorflow is not installed.*litert is not installed"):
        load_classifier(write_model(tmp_path / "1", files))


# --- noise ----------------------------------------------------------------------------------------------------------


def test_info_lines_of_libraries_are_kept_from_standard_error_and_all_others_come_through(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with without_info_lines():
        os.write(2, b"INFO: Created a delegate\nERROR: no memory\nINFO\nlast")
    os.write(2, b" words\n")
    assert capfd.readouterr().err == "ERROR: no memory\nlast words\n"


def test_what_is_written_before_an_error_comes_through(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with without_info_lines():
            os.write(2, b"why\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capfd.readouterr().err == "why\n"


def test_loading_a_model_writes_nothing_to_the_terminal() -> None:
    program = (
        "from imagewarehouse.models.classifier import load_classifier;"
        "from imagewarehouse.models.manifest import BUNDLED_MODEL; load_classifier(BUNDLED_MODEL)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
