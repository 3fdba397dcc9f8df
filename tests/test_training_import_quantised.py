"""Importing quantised TFLite files: served with the classes and probabilities of the model that they were made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagewarehouse.errors import ModelBroken
from imagewarehouse.images.decoding import decode_rgb, to_batch
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import read_manifest
from imagewarehouse.models.tensors import Tensor, tensor_of
from imagewarehouse.training.litert import litert_function, quiet
from tests import importing
from tests.importing import Refused, Run, assert_served_the_same, network
from tests.pictures import noise

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

# pytest finds fixtures among the names of a module
run = importing.run
refused = importing.refused

pytestmark = [
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

# As the converter is told, in the range of --scale 1/127.5-1.
TYPES = {"float32": tf.float32, "uint8": tf.uint8, "int8": tf.int8, "int16": tf.int16}


def pictures(count: int = 40) -> Any:
    rng = np.random.default_rng(2)
    return (rng.integers(0, 256, (count, 1, 8, 8, 3)) / 127.5 - 1).astype(np.float32)


def quantised(model: Any, file: Path, source: str = "uint8", answer: str = "uint8") -> Path:
    """Fully quantised, as TensorFlow's guide does it: ranges are measured on pictures."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([picture] for picture in pictures())
    wide = "int16" in (source, answer)
    operations = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter.target_spec.supported_ops = [operations if wide else tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = TYPES[source], TYPES[answer]
    with quiet():
        file.write_bytes(converter.convert())
    return file


@pytest.fixture(scope="module")
def model() -> Any:
    return network()


# --- served -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "answer"),
    [("uint8", "uint8"), ("int8", "int8"), ("int16", "int16"), ("uint8", "float32"), ("float32", "int8")],
)
def test_a_quantised_file_gives_the_answers_of_the_float_model(
    source: str, answer: str, model: Any, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = quantised(model, tmp_path / "net.tflite", source, answer)
    capfd.readouterr()
    assert run(file, scale="1/127.5-1") == 0
    assert (tmp_path / "out" / "1" / "model.tflite").read_bytes() == file.read_bytes()
    assert_served_the_same(tmp_path / "out", model, tolerance=0.05)
    classifier = load_classifier(tmp_path / "out")
    best = []
    for seed in range(40):
        batch = to_batch([decode_rgb(noise(seed), classifier.manifest.spec)], classifier.manifest.spec)
        wanted = np.asarray(model(batch))[0]
        found = classifier.classify(noise(seed))
        assert sum(probability for _, probability in found.top) == pytest.approx(1, abs=1e-6)
        if np.sort(wanted)[-1] - np.sort(wanted)[-2] > 0.1:  # no tie
            best.append(found.predicted_class == classifier.manifest.labels[wanted.argmax()])
    assert all(best)
    assert len(best) > 10
    report = json.loads((tmp_path / "out" / "1" / "report" / "import.json").read_text())
    kinds = {name: facts["dtype"] for name, facts in report["source"]["quantised"].items()}
    assert kinds == {name: kind for name, kind in (("input", source), ("output", answer)) if kind != "float32"}
    printed, problems = capfd.readouterr()
    assert problems == ""
    for name, kind in kinds.items():
        assert f"{name} {kind} (scale " in printed


def test_quantised_logits_are_logits(run: Run, tmp_path: Path) -> None:
    model = network("linear")
    assert run(quantised(model, tmp_path / "net.tflite"), scale="1/127.5-1") == 0
    assert read_manifest(tmp_path / "out" / "1").output == "logits"
    assert_served_the_same(tmp_path / "out", lambda batch: tf.nn.softmax(model(batch)), tolerance=0.1)


@pytest.mark.parametrize("answer", ["uint8", "float32"])
def test_many_classes_keep_their_sum_though_each_is_rounded(answer: str, run: Run, tmp_path: Path) -> None:
    """With 400 classes alike each has a quarter of a percent, which 8 bits round to 0 or 1/256."""
    weak = keras.initializers.RandomNormal(0, 0.05, seed=1)
    model = network(classes=400, end="linear")
    model = keras.Model(
        model.inputs, keras.layers.Dense(400, "softmax", kernel_initializer=weak)(model.layers[-2].output)
    )
    labels = ",".join(f"class {number}" for number in range(400))
    file = quantised(model, tmp_path / "net.tflite", "float32", answer)
    stored = np.asarray(litert_function(file.read_bytes(), (8, 8, 3))(pictures(1)[0]))
    assert abs(stored.sum() - 1) > 0.01  # which is refused where nothing was rounded
    assert run(file, scale="1/127.5-1", labels=labels) == 0
    assert read_manifest(tmp_path / "out" / "1").output == "probabilities"
    found = load_classifier(tmp_path / "out").classify(noise(1), top_k=400)
    assert sum(probability for _, probability in found.top) == pytest.approx(1, abs=1e-5)


# --- the range of the input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["none", "1/255"])
def test_a_scale_that_the_input_was_not_made_for_is_refused(
    scale: str, model: Any, refused: Refused, tmp_path: Path
) -> None:
    line = refused(quantised(model, tmp_path / "net.tflite"), scale=scale)
    assert (
        f"--scale: {scale} turns pixels into 0 to {'255' if scale == 'none' else '1'}, but the model's uint8 input"
        in line
    )
    assert "was made for -0.996 to 1, as 1/127.5-1 gives it" in line


def test_a_scale_that_does_not_quite_fit_is_pointed_out(
    model: Any, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = quantised(model, tmp_path / "net.tflite")
    capfd.readouterr()
    assert run(file, scale="0.01,-1") == 0
    assert (
        "is --scale right? 0.01,-1 turns pixels into -1 to 1.55, but the model's uint8 input" in capfd.readouterr().out
    )


@pytest.fixture
def integers(model: Any, tmp_path: Path) -> Path:
    """A file that takes the pixels themselves, without a quantisation."""
    function = tf.function(lambda image: model(tf.cast(image, tf.float32) / 127.5 - 1))
    concrete = function.get_concrete_function(tf.TensorSpec((1, 8, 8, 3), tf.uint8))
    module = tf.Module()
    module.held = list(concrete.variables)
    with quiet():
        content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert()
    (tmp_path / "net.tflite").write_bytes(content)
    return tmp_path / "net.tflite"


def test_an_input_of_whole_numbers_takes_the_pixels_as_they_are(
    integers: Path, model: Any, run: Run, refused: Refused, tmp_path: Path
) -> None:
    assert "made for 0 to 255, as none gives it" in refused(integers, scale="1/255")
    assert run(integers, scale="none") == 0
    assert_served_the_same(tmp_path / "out", lambda batch: model(batch / 127.5 - 1))


# --- tensors ------------------------------------------------------------------------------------------------------


def details(dtype: Any, scale: float = 0.0, zero_point: int = 0, scales: int = 1) -> dict[str, Any]:
    return {
        "index": 3,
        "name": "image",
        "dtype": dtype,
        "quantization": (scale, zero_point),
        "quantization_parameters": {"scales": np.full(scales if scale else 0, scale, np.float32)},
    }


@pytest.mark.parametrize(
    ("tensor", "real", "stored"),
    [
        (Tensor(0, "uint8", 1 / 127, 128), [-1.0, 0.0, 0.25, 5.0, -5.0], [1, 128, 160, 255, 0]),
        (Tensor(0, "int8", 1 / 255, -128), [0.0, 1.0, 0.2, 2.0], [-128, 127, -77, 127]),
        (Tensor(0, "int16", 1 / 32768), [0.5, -1.0, 1.0], [16384, -32768, 32767]),
        (Tensor(0, "uint8"), [0.0, 254.6, 255.0, 300.0], [0, 255, 255, 255]),
    ],
)
def test_real_numbers_are_stored_as_the_nearest_whole_one(tensor: Tensor, real: list[float], stored: list[int]) -> None:
    encoded = tensor.encode(np.array(real, np.float32))
    assert (encoded.tolist(), encoded.dtype.name) == (stored, tensor.dtype)
    low, high = tensor.range
    within = np.array(real).clip(low, high)
    assert tensor.decode(encoded).tolist() == pytest.approx(within.tolist(), abs=tensor.scale / 2 + 1e-6)


def test_what_rounding_took_from_a_sum_of_probabilities_is_given_back() -> None:
    tensor = Tensor(0, "uint8", 1 / 256, step=1 / 256)
    answers = np.array([[0.5, 0.25, 0.246], [0, 0, 0], [0.9, 0.9, 0.9]], np.float32)
    sums = tensor.sum_to_1(answers)
    assert sums[0] == pytest.approx(np.array([0.502, 0.251, 0.247]), abs=1e-3)
    assert sums[0].sum() == pytest.approx(1, abs=1e-6)
    assert sums[1:] == pytest.approx(answers[1:])  # three zeros, or 2.7, are not of rounding
    many = np.zeros((1, 1000), np.float32)
    assert tensor.sum_to_1(many) == pytest.approx(np.full((1, 1000), 0.001))


def test_types_that_are_not_served_are_named() -> None:
    assert tensor_of(details(np.float32)) == Tensor(3)
    assert tensor_of(details(np.int8, 0.5, -3)) == Tensor(3, "int8", 0.5, -3, 0.5)
    assert tensor_of(details(np.uint8)) == Tensor(3, "uint8", 1.0, 0, 1.0)
    with pytest.raises(ModelBroken, match="tensor 'image' is float16, expected float32, uint8, int8, int16"):
        tensor_of(details(np.float16))
    with pytest.raises(ModelBroken, match="a scale for each channel"):
        tensor_of(details(np.int8, 0.5, scales=3))
