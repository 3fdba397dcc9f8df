"""Importing models that were made elsewhere: the same answers when served, no code of theirs, no half version."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from imagewarehouse.errors import ConfigurationError, ModelBroken
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import read_manifest
from imagewarehouse.training.foreign_code import code_in_config
from imagewarehouse.training.import_options import Labels, parse_scale, read_labels
from imagewarehouse.training.litert import litert_function, to_litert
from imagewarehouse.training.reasons import reason
from tests import importing
from tests.importing import Refused, Run, assert_served_the_same, everything, network
from tests.pictures import noise

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
h5py = pytest.importorskip("h5py")
layers = keras.layers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

Files = dict[str, Path]

# pytest finds fixtures among the names of a module
run = importing.run
refused = importing.refused


@pytest.fixture(scope="session")
def model() -> Any:
    return network()


@pytest.fixture(scope="session")
def sources(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The same model in every kind of file."""
    folder = tmp_path_factory.mktemp("sources")
    files = {
        "keras": folder / "net.keras",
        "h5": folder / "net.h5",
        "saved": folder / "net",
        "tflite": folder / "net.tflite",
    }
    model.compile("adam", "categorical_crossentropy")  # as it comes from training
    model.save(files["keras"])
    model.save(files["h5"])
    model.export(files["saved"], verbose=False)
    files["tflite"].write_bytes(to_litert(model))
    return files


# --- every kind ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["keras", "h5", "saved", "tflite"])
def test_each_kind_is_served_with_the_answers_of_its_source(
    kind: str, sources: Files, model: Any, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(sources[kind]) == 0
    manifest = read_manifest(tmp_path / "out" / "1")
    both = kind in ("keras", "h5")
    assert list(manifest.runtimes) == (["litert", "tensorflow"] if both else ["litert"])
    for runtime in manifest.runtimes:
        assert_served_the_same(tmp_path / "out", model, runtime)
    assert (manifest.output, manifest.labels) == ("probabilities", ("red", "green", "blue"))
    assert manifest.training["imported_from"] == sources[kind].name
    assert manifest.training["command"].startswith(f"imagewarehouse import {sources[kind].name} --out out --labels")
    assert str(tmp_path) not in (tmp_path / "out" / "1" / "manifest.json").read_text()
    report = json.loads((tmp_path / "out" / "1" / "report" / "import.json").read_text())
    assert kind == "tflite" or report["checks"]["model.tflite"]["largest_difference"] < 1e-4
    assert report["notes"] == (["a SavedModel is served as LiteRT only"] if kind == "saved" else [])
    printed, problems = capfd.readouterr()
    assert problems == ""
    assert "--set model.folder=" in printed
    assert everything(tmp_path / "out") == sorted(
        ["1", "1/manifest.json", "1/labels.txt", "1/model.tflite", "1/report", "1/report/import.json"]
        + ["1/model.keras"] * both
    )


def test_the_kept_keras_file_holds_nothing_of_training(sources: Files, run: Run, tmp_path: Path) -> None:
    assert run(sources["h5"]) == 0
    with zipfile.ZipFile(tmp_path / "out" / "1" / "model.keras") as archive:
        assert not json.loads(archive.read("config.json")).get("compile_config")


def test_the_content_says_the_kind_not_the_name(sources: Files, run: Run, tmp_path: Path) -> None:
    swapped = tmp_path / "net.h5"
    swapped.write_bytes(sources["keras"].read_bytes())
    assert run(swapped) == 0
    assert read_manifest(tmp_path / "out" / "1").training["kind"] == "Keras file"


def test_the_next_version_follows_and_an_existing_one_is_refused(
    sources: Files, run: Run, refused: Refused, tmp_path: Path
) -> None:
    assert run(sources["tflite"]) == 0
    assert run(sources["tflite"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1", "2"]
    assert "a version never changes" in refused(sources["tflite"], "--version", "2")


def test_logits_are_found_and_divided_by_the_temperature(run: Run, tmp_path: Path) -> None:
    model = network("linear")
    model.save(tmp_path / "logits.keras")
    assert run(tmp_path / "logits.keras", "--temperature", "3") == 0
    assert read_manifest(tmp_path / "out" / "1").output == "logits"
    assert_served_the_same(tmp_path / "out", lambda batch: tf.nn.softmax(model(batch) / 3))


@pytest.mark.parametrize("scale", ["imagenet", "caffe", "1/127.5-1", "none", "0.01,-1"])
@pytest.mark.parametrize("colour", ["RGB", "BGR"])
def test_scale_and_colour_arrive_in_the_service(
    scale: str, colour: str, sources: Files, model: Any, run: Run, tmp_path: Path
) -> None:
    assert run(sources["tflite"], "--colour", colour, "--fit", "crop", scale=scale) == 0
    spec = read_manifest(tmp_path / "out" / "1").spec
    assert (spec.multiply, spec.add) == parse_scale(scale, colour)  # type: ignore[arg-type]
    assert (spec.colour_order, spec.fit) == (colour, "crop")
    assert_served_the_same(tmp_path / "out", model, varied=scale != "none")


def test_caffe_means_bgr_unless_something_else_is_said(sources: Files, run: Run, tmp_path: Path) -> None:
    assert run(sources["tflite"], scale="caffe") == 0
    assert run(sources["tflite"], "--colour", "RGB", scale="caffe") == 0
    specs = [read_manifest(tmp_path / "out" / version).spec for version in ("1", "2")]
    assert [spec.colour_order for spec in specs] == ["BGR", "RGB"]
    assert specs[0].add == specs[1].add[::-1]


def test_a_model_that_looks_at_nothing_is_pointed_out(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = network()
    model.layers[-1].set_weights([value * 0 for value in model.layers[-1].get_weights()])
    (tmp_path / "net.tflite").write_bytes(to_litert(model))
    assert run(tmp_path / "net.tflite") == 0
    assert "answers the same for every test image" in capfd.readouterr().out


def test_a_model_of_any_size_gets_the_size_that_is_said(run: Run, refused: Refused, tmp_path: Path) -> None:
    model = network(size=(None, None, 3))
    model.save(tmp_path / "any.keras")
    model.export(tmp_path / "any", verbose=False)
    assert "--input-size: is needed" in refused(tmp_path / "any.keras")
    for file in ("any.keras", "any"):
        assert run(tmp_path / file, "--input-size", "12x10") == 0
    for version in ("1", "2"):
        spec = read_manifest(tmp_path / "out" / version).spec
        assert (spec.height, spec.width) == (12, 10)
        assert_served_the_same(tmp_path / "out" / version, model)


def test_a_grey_model_is_seen_to_be_grey(run: Run, refused: Refused, tmp_path: Path) -> None:
    model = network(size=(8, 8, 1))
    model.save(tmp_path / "grey.keras")
    assert run(tmp_path / "grey.keras") == 0
    assert read_manifest(tmp_path / "out" / "1").spec.colour_order == "L"
    assert_served_the_same(tmp_path / "out", model)
    assert "--colour: RGB, but the model takes 1 channel" in refused(tmp_path / "grey.keras", "--colour", "RGB")
    assert "--scale: imagenet is for three colours" in refused(tmp_path / "grey.keras", scale="imagenet")


@pytest.mark.parametrize(("end", "output"), [("sigmoid", "probabilities"), ("linear", "logits")])
@pytest.mark.parametrize("kind", ["keras", "saved"])
def test_one_sigmoid_output_becomes_two_classes(end: str, output: str, kind: str, run: Run, tmp_path: Path) -> None:
    model = network(end, classes=1)
    file = tmp_path / ("one.keras" if kind == "keras" else "one")
    if kind == "keras":
        model.save(file)
    else:
        model.export(file, verbose=False)

    def both(batch: Any) -> Any:
        second = model(batch) if end == "sigmoid" else tf.sigmoid(model(batch))
        return np.concatenate([1 - second, second], axis=1)

    assert run(file, labels="cat,dog") == 0
    manifest = read_manifest(tmp_path / "out" / "1")
    assert manifest.output == output
    for runtime in manifest.runtimes:
        assert_served_the_same(tmp_path / "out", both, runtime)


def test_eight_bit_weights_are_close_enough(run: Run, tmp_path: Path) -> None:
    model = network(body=lambda x: layers.Dense(128, "relu")(layers.Dense(128, "relu")(x)))
    model.save(tmp_path / "net.keras")
    assert run(tmp_path / "net.keras") == 0
    assert run(tmp_path / "net.keras", "--quantise") == 0
    sizes = [(tmp_path / "out" / version / "model.tflite").stat().st_size for version in ("1", "2")]
    assert sizes[1] < sizes[0]
    assert_served_the_same(tmp_path / "out" / "2", model, "litert", tolerance=0.1, varied=False)


def test_keras_alone_serves_when_litert_is_not_wanted(sources: Files, model: Any, run: Run, tmp_path: Path) -> None:
    assert run(sources["keras"], "--no-litert") == 0
    assert list(read_manifest(tmp_path / "out" / "1").runtimes) == ["tensorflow"]
    assert_served_the_same(tmp_path / "out", model)


def test_a_rescaling_layer_is_pointed_out(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, network()(layers.Rescaling(1 / 255)(inputs))).save(tmp_path / "net.keras")
    assert run(tmp_path / "net.keras") == 0
    assert (
        "the network rescales its input itself (Rescaling); is --scale 1/255 meant, or none?" in capfd.readouterr().out
    )
    assert run(tmp_path / "net.keras", scale="none") == 0
    assert "Rescaling" not in capfd.readouterr().out


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_a_model_in_half_precision_is_served_in_float32(
    name: str, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    half = keras.layers.Conv2D(4, 3, dtype="mixed_float16")
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Dense(3, "softmax", dtype="float32")(layers.Flatten()(half(inputs))))
    model.save(tmp_path / name)
    assert run(tmp_path / name) == 0
    assert "its layers compute in half precision" in capfd.readouterr().out
    for runtime in ("litert", "tensorflow"):
        assert_served_the_same(tmp_path / "out", model, runtime, tolerance=5e-3)


def test_augmentation_is_off_when_the_model_serves(run: Run, tmp_path: Path) -> None:
    augmentation = keras.Sequential([
        layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomZoom(0.3), layers.RandomContrast(0.9),
    ])  # fmt: skip
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, network()(augmentation(inputs)))
    model.save(tmp_path / "net.keras")
    assert run(tmp_path / "net.keras") == 0
    for runtime in ("litert", "tensorflow"):
        assert_served_the_same(tmp_path / "out", lambda batch: model(batch, training=False), runtime)


# --- code ---------------------------------------------------------------------------------------------------------


def touching(file: Path) -> Any:
    """A model with a Lambda layer that creates a file whenever it is called."""
    body = layers.Lambda(eval(f"lambda x: [x * 1.0, open({str(file)!r}, 'w').close()][0]"), name="sneaky")  # noqa: S307
    return network(body=body)


@pytest.fixture(params=["keras", "h5", "nested"])
def with_lambda(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, Any]:
    """(model file, the file its Lambda creates, model)."""
    model = touching(tmp_path / "touched")
    if request.param == "nested":
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, keras.Sequential([model])(inputs))
    file = tmp_path / ("net.h5" if request.param == "h5" else "net.keras")
    model.save(file)
    (tmp_path / "touched").unlink()  # it was called while the model was built
    return file, tmp_path / "touched", model


def test_a_lambda_layer_is_refused_and_not_executed(with_lambda: tuple[Path, Path, Any], refused: Refused) -> None:
    file, touched, _ = with_lambda
    line = refused(file)
    assert "'sneaky' (Lambda: Python bytecode)" in line
    for part in ("every NiFi node", "own layers instead", "TFLite", "--trust"):
        assert part in line
    assert not touched.exists()


def test_a_trusted_lambda_layer_leaves_litert_only(
    with_lambda: tuple[Path, Path, Any], run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, touched, model = with_lambda
    assert run(file, "--trust") == 0
    assert touched.exists()  # what was refused above does run
    assert sorted(read_manifest(tmp_path / "out" / "1").runtimes) == ["litert"]
    assert not list((tmp_path / "out" / "1").glob("*.keras"))
    assert "holds none of it" in capfd.readouterr().out
    touched.unlink()
    assert_served_the_same(tmp_path / "out", lambda batch: model(batch))
    touched.unlink()  # by the source model just now
    load_classifier(tmp_path / "out").classify(noise(1))
    assert not touched.exists()


def test_a_trusted_model_without_litert_is_refused(with_lambda: tuple[Path, Path, Any], refused: Refused) -> None:
    assert "--trust: " in refused(with_lambda[0], "--trust", "--no-litert")  # and nothing was executed


def rewrite(file: Path, change: Callable[[str], str]) -> None:
    """Change the config.json of a .keras file."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = change(members["config.json"].decode()).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(
            lambda text: text.replace('{"module": "keras.layers", "class_name": "BatchNormalization"',
                                      '{"module": "evil_package.layers", "class_name": "Normal"'),
            "class Normal of evil_package.layers", id="class-of-a-module",
        ),
        pytest.param(
            lambda text: text.replace('"registered_name": null, "build_', '"registered_name": "Mine>Own", "build_'),
            "class Mine>Own", id="registered-class",
        ),
        pytest.param(lambda text: text.replace('"module": "keras.layers"', '"module": "keras_hub.layers"'),
                     "of keras_hub.layers", id="another-package"),
        pytest.param(lambda text: text.replace('"class_name": "BatchNormalization"', '"class_name": "TFSMLayer"'),
                     "TFSMLayer: the path", id="layer-that-loads-a-model"),
        pytest.param(lambda text: text.replace('"class_name": "BatchNormalization"', '"class_name": "TorchModuleWrapper"'),
                     "TorchModuleWrapper: a pickled", id="layer-that-unpickles"),
        pytest.param(lambda text: text.replace('"keras.layers"', '"keras.utils"'), "of keras.utils", id="keras-but-no-layer"),
        pytest.param(lambda text: text.replace('"activation": "relu"', '"activation": {"module": "keras.utils", '
                     '"class_name": "function", "config": "get_file", "registered_name": "get_file"}'),
                     "function get_file of keras.utils", id="function-that-downloads"),
        pytest.param(lambda text: text.replace('"activation": "relu"', '"activation": {"module": "os", '
                     '"class_name": "function", "config": "system", "registered_name": "system"}'),
                     "function system of os", id="function-of-a-module"),
        pytest.param(lambda text: text.replace('"activation": "relu"', '"activation": {"class_name": "__lambda__", '
                     '"config": {"value": ["4wAA", null, null]}}'),
                     "__lambda__: Python bytecode", id="lambda-as-activation"),
    ],
)  # fmt: skip
def test_a_keras_file_with_anything_but_keras_is_refused(
    change: Callable[[str], str], named: str, sources: Files, refused: Refused, tmp_path: Path
) -> None:
    file = tmp_path / "net.keras"
    shutil.copy(sources["keras"], file)
    rewrite(file, change)
    assert named in refused(file)


def test_a_custom_class_that_is_not_here_cannot_be_trusted_either(
    sources: Files, refused: Refused, tmp_path: Path
) -> None:
    file = tmp_path / "net.keras"
    shutil.copy(sources["keras"], file)
    rewrite(file, lambda text: text.replace('"module": "keras.layers"', '"module": "evil_package.layers"'))
    assert "cannot load it" in refused(file, "--trust")


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_everything_keras_itself_writes_is_let_through() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.SeparableConv2D(
        4, 3, activation=keras.activations.gelu, depthwise_regularizer="l2", dtype="mixed_float16"
    )(inputs)
    x = layers.RandomFlip()(layers.Dropout(0.1)(x))
    x = keras.Sequential([layers.Conv2D(4, 1, kernel_constraint="max_norm"), layers.LeakyReLU()])(x)
    x = layers.Concatenate()([keras.ops.mean(x, axis=(1, 2)), keras.ops.max(x, axis=(1, 2)) * 2.0])
    model = keras.Model(inputs, layers.Dense(3, activation=keras.activations.softmax)(x[:, 1:]))
    model.compile("adam", lambda true, predicted: predicted)  # a loss of one's own is not loaded
    assert code_in_config(json.loads(json.dumps(keras.saving.serialize_keras_object(model)))) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [("../outside.txt", "no place"), ("/tmp/x", "no place"), ("config.json", "twice"), ("archive/data.pkl", "pickles")],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_odd_members_of_a_keras_file_are_refused(
    name: str, says: str, sources: Files, refused: Refused, tmp_path: Path
) -> None:
    file = tmp_path / "net.keras"
    shutil.copy(sources["keras"], file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, b"{}")
    assert says in refused(file)


def test_a_keras_file_that_unpacks_without_end_is_refused(
    sources: Files, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagewarehouse.training.foreign_code.MAX_BYTES", 1000)
    assert "when unpacked" in refused(sources["keras"])


class _Reads(tf.Module):  # type: ignore[misc]
    """A SavedModel whose serving function does more than arithmetic."""

    def __init__(self, how: str, file: Path) -> None:
        super().__init__()
        self.how, self.file = how, str(file)
        self.weights = tf.Variable(tf.random.stateless_normal((192, 3), (1, 2)))

    def serve(self, image: Any) -> Any:
        answer = tf.nn.softmax(tf.reshape(image, (-1, 192)) @ self.weights)
        if self.how == "python":
            return tf.ensure_shape(tf.py_function(lambda x: x, [answer], tf.float32), (None, 3))
        if self.how == "numpy":
            return tf.ensure_shape(tf.numpy_function(lambda x: x, [answer], tf.float32), (None, 3))
        if self.how == "write":
            with tf.control_dependencies([tf.io.write_file(self.file, "here")]):
                return tf.identity(answer)
        read = tf.strings.length(tf.io.read_file(self.file))
        return answer + 0.0 * tf.cast(read, tf.float32)


@pytest.mark.parametrize(
    ("how", "operation"),
    [("python", "EagerPyFunc"), ("numpy", "PyFunc"), ("write", "WriteFile"), ("read", "ReadFile")],
)
def test_a_saved_model_that_runs_python_or_reaches_files_is_refused(
    how: str, operation: str, refused: Refused, tmp_path: Path
) -> None:
    module = _Reads(how, tmp_path / "touched")
    signature = tf.function(module.serve, autograph=False).get_concrete_function(
        tf.TensorSpec((None, 8, 8, 3), tf.float32)
    )
    tf.saved_model.save(module, str(tmp_path / "net"), signatures=signature)
    assert operation in refused(tmp_path / "net")
    assert not (tmp_path / "touched").exists()
    if how != "write":  # which would leave its file
        assert refused(tmp_path / "net", "--trust")  # LiteRT has no such operation


# --- what does not fit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "others", "says"),
    [
        pytest.param([], {"labels": "a,b"}, "2 labels (--labels), but the model answers with 3 numbers", id="few-labels"),
        pytest.param([], {"labels": "a,b,c,d"}, "'d' and what follows have none", id="many-labels"),
        pytest.param([], {"labels": "a,b,a"}, "--labels, label 3: 'a' is label 1 already", id="label-twice"),
        pytest.param([], {"labels": "a,,b"}, "label 2 is empty", id="label-empty"),
        pytest.param([], {"labels": "nowhere.txt"}, "neither a file nor a list", id="no-labels-file"),
        pytest.param(["--input-size", "16"], {}, "16x16, but the model takes 8x8", id="size"),
        pytest.param(["--input-size", "8x"], {}, "--input-size: expected a number", id="size-is-no-size"),
        pytest.param(["--colour", "L"], {}, "--colour: L, but the model takes 3 channels", id="colour"),
        pytest.param([], {"scale": "1/0"}, "--scale: '1/0'", id="scale-by-nothing"),
        pytest.param([], {"scale": "0"}, "every image looks the same", id="scale-zero"),
        pytest.param([], {"scale": "1,2,3"}, "expected 1, 2 or 6 numbers", id="scale-of-three"),
        pytest.param([], {"scale": "nan"}, "--scale: 'nan'", id="scale-no-number"),
        pytest.param(["--output", "logits"], {}, "they are probabilities", id="output"),
        pytest.param(["--temperature", "2"], {}, "--temperature", id="temperature-of-probabilities"),
        pytest.param(["--name", " "], {}, "--name: ' ' is no name", id="name-empty"),
        pytest.param(["--version", "../1"], {}, "--version", id="version-outside"),
    ],
)  # fmt: skip
def test_what_contradicts_the_model_is_named(
    words: list[str], others: dict[str, str], says: str, sources: Files, refused: Refused
) -> None:
    for kind in ("tflite", "keras"):
        assert says in refused(sources[kind], *words, **others)


@pytest.mark.parametrize("temperature", ["nan", "inf"])
def test_a_temperature_that_is_no_number_is_named(temperature: str, sources: Files, refused: Refused) -> None:
    line = refused(sources["tflite"], "--temperature", temperature)
    assert f"--temperature: expected a number above 0, received {temperature}" in line


def test_options_that_exclude_each_other_are_named(sources: Files, refused: Refused) -> None:
    assert "--quantise: a TFLite file is taken as it is" in refused(sources["tflite"], "--quantise")
    assert "--quantise" in refused(sources["keras"], "--quantise", "--no-litert")
    assert "--no-litert: the model is a TFLite file" in refused(sources["tflite"], "--no-litert")
    assert "--no-litert: the model is a SavedModel" in refused(sources["saved"], "--no-litert")


def test_probabilities_that_are_none_are_refused(refused: Refused, tmp_path: Path) -> None:
    network("linear").save(tmp_path / "net.keras")
    assert "they are logits" in refused(tmp_path / "net.keras", "--output", "probabilities")


def test_several_classes_at_a_time_are_explained(refused: Refused, run: Run, tmp_path: Path) -> None:
    network("sigmoid").save(tmp_path / "net.keras")
    assert "(sigmoid)" in refused(tmp_path / "net.keras")
    assert run(tmp_path / "net.keras", "--output", "logits") == 0


def test_one_output_of_a_tflite_file_is_explained(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "one.tflite").write_bytes(to_litert(network("sigmoid", classes=1)))
    assert "one output for two classes" in refused(tmp_path / "one.tflite", labels="cat,dog")


def test_functions_among_the_layers_are_served(run: Run, tmp_path: Path) -> None:
    inner, inputs = network("linear"), keras.Input((8, 8, 3))
    for name, model in (
        ("behind", keras.Model(inner.inputs[0], keras.ops.softmax(inner.outputs[0] / 2))),
        ("within", keras.Model(inputs, keras.ops.softmax(inner(inputs * 1.5 - 0.5) / 2))),
    ):
        model.save(tmp_path / f"{name}.keras")
        assert run(tmp_path / f"{name}.keras", out=tmp_path / name) == 0
        for runtime in ("litert", "tensorflow"):
            assert_served_the_same(tmp_path / name, model, runtime)


def test_a_class_that_loses_its_input_is_told_what_keeps_it(refused: Refused, run: Run, tmp_path: Path) -> None:
    model = OwnModel()
    model(np.zeros((1, 8, 8, 3), np.float32))
    model.save(tmp_path / "net.keras")
    assert "write a SavedModel with model.export(FOLDER)" in refused(tmp_path / "net.keras", "--trust")
    model.export(tmp_path / "net", verbose=False)
    assert run(tmp_path / "net") == 0


def test_weights_that_are_no_numbers_are_found(refused: Refused, tmp_path: Path) -> None:
    model = network()
    model.layers[-1].set_weights([value * np.nan for value in model.layers[-1].get_weights()])
    model.save(tmp_path / "nan.keras")
    (tmp_path / "nan.tflite").write_bytes(to_litert(model))
    for file in ("nan.keras", "nan.tflite"):
        assert "NaN or infinity for every image" in refused(tmp_path / file)


def several_inputs() -> Any:
    one, two = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    return keras.Model([one, two], layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Add()([one, two]))))


def several_outputs() -> Any:
    inputs = keras.Input((8, 8, 3))
    x = layers.Flatten()(inputs)
    return keras.Model(inputs, [layers.Dense(3, name="kind")(x), layers.Dense(1, name="age")(x)])


def flat_input() -> Any:
    return keras.Sequential([keras.Input((192,)), layers.Dense(3, "softmax")])


def channels_first() -> Any:
    return keras.Sequential([keras.Input((3, 8, 8)), layers.Flatten(), layers.Dense(3, "softmax")])


def five_channels() -> Any:
    return keras.Sequential([keras.Input((8, 8, 5)), layers.Flatten(), layers.Dense(3, "softmax")])


def named_input_and_output() -> Any:
    inputs = keras.Input((8, 8, 3), name="image")
    return keras.Model({"image": inputs}, {"kind": layers.Dense(3, "softmax")(layers.Flatten()(inputs))})


def test_an_input_and_output_in_a_dict_are_taken_out(run: Run, tmp_path: Path) -> None:
    model = named_input_and_output()
    model.save(tmp_path / "net.keras")
    assert run(tmp_path / "net.keras") == 0
    for runtime in ("litert", "tensorflow"):
        assert_served_the_same(tmp_path / "out", lambda batch: model({"image": batch})["kind"], runtime)


def map_output() -> Any:
    return keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 1)])


def fixed_batch() -> Any:
    return keras.Sequential([keras.Input(batch_shape=(4, 8, 8, 3)), layers.Flatten(), layers.Dense(3, "softmax")])


def integer_input() -> Any:
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.Flatten()(layers.Rescaling(1 / 255)(inputs))))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (several_inputs, "has 2 inputs (left, right), expected 1"),
        (several_outputs, "has 2 outputs"),
        (flat_input, "rank 2"),
        (channels_first, "channels first"),
        (five_channels, "5 channels"),
        (map_output, "answers with shape (8, 8, 3)"),
        (fixed_batch, "batch is fixed at 4"),
        (integer_input, "its input is uint8"),
    ],
)
def test_a_network_of_another_form_is_refused(
    build: Callable[[], Any], says: str, refused: Refused, tmp_path: Path
) -> None:
    build().save(tmp_path / "net.keras")
    assert says in refused(tmp_path / "net.keras")


@keras.saving.register_keras_serializable("tests")
class OwnModel(keras.Model):  # type: ignore[misc]
    def __init__(self, **names: Any) -> None:
        super().__init__(**names)
        self.flat, self.last = layers.Flatten(), layers.Dense(3, "softmax")

    def call(self, images: Any) -> Any:
        return self.last(self.flat(images))


class Unusual(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return tf.math.igamma(tf.abs(x) + 1.0, tf.abs(x))


def test_a_litert_file_that_answers_nan_where_the_model_does_not_is_refused(refused: Refused, tmp_path: Path) -> None:
    black = [layers.Rescaling(0.0), layers.UnitNormalization()]  # LiteRT divides by the length 0
    head = [layers.GlobalAveragePooling2D(), layers.Dense(3, "softmax")]
    keras.Sequential([keras.Input((8, 8, 3)), *black, *head]).save(tmp_path / "net.keras")
    line = refused(tmp_path / "net.keras")
    assert "model.tflite: answers NaN or infinity for 16 of 16 test images, the model does not" in line
    assert line.endswith("; with --no-litert TensorFlow serves it")


def test_what_litert_has_not_is_named() -> None:
    with pytest.raises(ModelBroken, match="LiteRT has no Igamma"):
        to_litert(network(body=lambda x: Unusual()(x)))


# --- files that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["keras", "h5", "tflite"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(kind: str, part: float, sources: Files, refused: Refused, tmp_path: Path) -> None:
    content = sources[kind].read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(len(content) * part)])
    assert "cut: " in refused(tmp_path / "cut")


@pytest.mark.parametrize(
    "cut", ["saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"]
)
def test_a_truncated_saved_model_is_refused(cut: str, sources: Files, refused: Refused, tmp_path: Path) -> None:
    shutil.copytree(sources["saved"], tmp_path / "net")
    content = (tmp_path / "net" / cut).read_bytes()
    (tmp_path / "net" / cut).write_bytes(content[: len(content) // 2])
    assert "net: " in refused(tmp_path / "net")


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("net.keras", np.random.default_rng(1).bytes(5000), "is neither", id="random-bytes"),
        pytest.param("model.h5", b"accuracy 0.93\n", "is neither", id="text-as-h5"),
        pytest.param("model.tflite", b"", "is empty", id="empty"),
        pytest.param("model.pkl", b"\x80\x04\x95\x00\x00.", "a pickle, which is never opened", id="pickle"),
        pytest.param("saved_model.pb", b"\x08\x01", "give the folder", id="file-of-a-saved-model"),
        pytest.param("net.keras", b"PK\x05\x06" + bytes(18), "config.json", id="empty-zip"),
        pytest.param("converted_keras.zip", zipped("labels.txt", "keras_model.h5"),
                     "is a zip file with keras_model.h5 in it; unpack it and import that", id="zip-of-teachable-machine"),
        pytest.param("export.zip", zipped("model.savedmodel/saved_model.pb"),
                     "with the folder model.savedmodel in it; unpack it", id="zip-with-a-saved-model"),
        pytest.param("tm-my-image-model.zip", zipped("model.json", "weights.bin", "metadata.json"),
                     "TensorFlow.js; in Teachable Machine choose Export Model, Tensorflow, Keras", id="zip-of-tensorflow-js"),
        pytest.param("model.json", b'{"modelTopology": {"class_name": "Sequential"}}', "of TensorFlow.js", id="tensorflow-js"),
        pytest.param("net.json", b'{"class_name": "Sequential", "config": {}}', "a network without its weights", id="to-json"),
        pytest.param("net.pt", zipped("archive/data.pkl", "archive/version"), "is a file of PyTorch, a pickle", id="pytorch"),
        pytest.param("old.pth", b"\x80\x02\x8a\nl\xfc", "is a file of PyTorch, a pickle", id="old-pytorch"),
        pytest.param("net.onnx", b"\x08\x07\x12\x07pytorch", "is an ONNX model; convert it to TFLite", id="onnx"),
        pytest.param("frozen.pb", b"\n\x05\n\x01x", "is a graph of TensorFlow 1", id="frozen-graph"),
        pytest.param("keras_model.h5", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
                     "a pointer of Git LFS, not the model; fetch it with `git lfs pull`", id="git-lfs"),
        pytest.param("keras_model.h5", b"<!DOCTYPE html><html>", "is a web page, not a model", id="web-page"),
        pytest.param("model_edgetpu.tflite", bytes(4) + b"TFL3" + bytes(64) + b"edgetpu-custom-op" + bytes(64),
                     "is compiled for a Coral Edge TPU, and nothing else can run it", id="edge-tpu"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_in_one_line(
    name: str, content: bytes, says: str, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    line = refused(tmp_path / name)
    assert f"{name}: " in line
    assert says in line


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["keras_model.h5", "labels.txt"], "did you mean keras_model.h5 in it?"),
        (["flowers/saved_model.pb"], "did you mean the folder flowers in it?"),
        (["model.json", "weights.bin"], "is a model of TensorFlow.js"),
        (["config.json", "metadata.json", "model.weights.h5"], "is a Keras file that was unpacked"),
        (["checkpoint", "ckpt-1.index", "ckpt-1.data-00000-of-00001"], "holds a TensorFlow checkpoint: weights alone"),
    ],
)
def test_a_folder_that_is_no_saved_model_says_what_it_is(
    names: list[str], says: str, refused: Refused, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / "net" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "net" / name).write_bytes(b"content")
    assert says in refused(tmp_path / "net")


def test_what_keras_cannot_load_is_said_in_whole_sentences(sources: Files, refused: Refused, tmp_path: Path) -> None:
    """Keras repeats the settings of each layer around the one that it does not know, in bold letters."""
    file = tmp_path / "net.keras"
    shutil.copy(sources["keras"], file)
    rewrite(file, lambda text: text.replace('"use_bias": true', '"use_bias": true, "colour": 3'))
    line = refused(file)
    assert (
        f"Keras {keras.__version__} cannot load it (Keras {keras.__version__} wrote it): Unrecognized keyword" in line
    )
    assert "'colour': 3" in line
    assert "config=" not in line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Exception encountered when calling Dense.call().\n\n\x1b[1mThe shapes differ.\x1b[0m\n\nArguments received by "
         "Dense.call():\n  • x=tf.Tensor", "Exception encountered when calling Dense.call(). The shapes differ"),
        ("in user code:\n\n    File \"a.py\", line 6, in None  *\n        call(x)\n\n    ValueError: 'a b' is no valid name.",
         "'a b' is no valid name"),
        ("Layer A is broken. {'a': 1}.\n\nException encountered: Layer B is broken. Really.", "Layer B is broken. Really"),
        ("First sentence. " + "Second sentence is long " * 20 + ".", "First sentence"),
        ("No layer for " + str({"a": "b" * 300}) + " was found", "No layer for was found"),
        ("TF Select ops: Erf, Roll\nDetails:", "LiteRT has no Erf, Roll"),
        ("Encountered unresolved custom op: FlexErf.\nSee", "LiteRT has no Erf"),
        ("", "ValueError"),
    ],
)  # fmt: skip
def test_the_reason_of_a_library_is_whole_sentences_without_its_escape_codes(text: str, says: str) -> None:
    assert reason(ValueError(text)) == says


def test_weights_alone_are_no_model(model: Any, refused: Refused, tmp_path: Path) -> None:
    model.save_weights(tmp_path / "net.weights.h5")
    line = refused(tmp_path / "net.weights.h5")
    assert "is an HDF5 file without a network in it (it has " in line
    assert "Weights alone do not say the network: save the whole model with model.save" in line


def test_a_folder_or_nothing_is_no_model(refused: Refused, tmp_path: Path) -> None:
    assert "no SavedModel" in refused(tmp_path)
    assert "does not exist" in refused(tmp_path / "nowhere.h5")


def test_a_place_that_cannot_be_written_is_named(sources: Files, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--out: " in refused(sources["tflite"], out=tmp_path / "file" / "model")
    assert "--out: " in refused(sources["tflite"], out=tmp_path / "file")


def test_without_the_training_libraries_one_line_says_what_is_missing(
    sources: Files, refused: Refused, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("keras", "tensorflow", "h5py"):
        monkeypatch.setitem(sys.modules, name, None)
    for kind in ("keras", "h5", "saved"):
        assert "imagewarehouse[training]" in refused(sources[kind])
    assert run(sources["tflite"]) == 0
    assert_served_the_same(tmp_path / "out", litert_function(sources["tflite"].read_bytes(), (8, 8, 3)))


# --- words of the command line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "multiply", "add"),
    [
        ("1/255", (1 / 255,), (0.0,)),
        ("1/127.5-1", (1 / 127.5,), (-1.0,)),
        ("2+0.5", (2.0,), (0.5,)),
        ("none", (1.0,), (0.0,)),
        ("0.5,-3", (0.5,), (-3.0,)),
        ("1e-2", (0.01,), (0.0,)),
        ("1/2,1/4,1,0,-1,1/2", (0.5, 0.25, 1.0), (0.0, -1.0, 0.5)),
        ("caffe", (1.0,), (-103.939, -116.779, -123.68)),
    ],
)
def test_a_scale_is_read(text: str, multiply: tuple[float, ...], add: tuple[float, ...]) -> None:
    assert parse_scale(text, "BGR") == (multiply, add)
    InputSpec(8, 8, multiply, add)


def test_imagenet_is_what_pytorch_does_with_pixels() -> None:
    multiply, add = parse_scale("imagenet", "RGB")
    pixel = np.array([10.0, 200.0, 255.0])
    expected = (pixel / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert (pixel * multiply + add).tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", b"red\ngreen\nblue\n"),
        ("labels.txt", b"\xef\xbb\xbfred\r\ngreen \r\nblue"),
        ("labels.json", b'["red", "green", "blue"]'),
        ("labels.json", b'{"1": "green", "0": "red", "2": "blue"}'),
        ("classes.json", b'{"blue": 2, "red": 0, "green": 1}'),
        ("imagenet.txt", b'{"0": ["n01", "red"], "1": ["n02", "green"], "2": ["n03", "blue"]}'),
    ],
)
def test_labels_are_read_however_they_are_written(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_labels(str(tmp_path / name)) == Labels(("red", "green", "blue"), name)


@pytest.mark.parametrize(
    ("text", "labels", "note"),
    [
        ("0 Cat\n1 Dog\n", ("Cat", "Dog"), "0 to 1"),
        ("1 Cat\r\n2 Big dog\r\n", ("Cat", "Big dog"), "1 to 2"),
        ("0: cat\n1: dog", ("cat", "dog"), "0 to 1"),
        ("0,cat\n1,dog", ("cat", "dog"), "0 to 1"),
        ("001.Black_footed_Albatross\n002.Laysan_Albatross", ("Black_footed_Albatross", "Laysan_Albatross"), "1 to 2"),
        ("0 3 Musketeers\n1 Dune", ("3 Musketeers", "Dune"), "0 to 1"),
        ("3 Musketeers\nDune", ("3 Musketeers", "Dune"), ""),
        ("1 Cat\nDog", ("1 Cat", "Dog"), ""),
        ("2 Cat\n3 Dog", ("2 Cat", "3 Dog"), ""),
        ("0 Cat\n2 Dog", ("0 Cat", "2 Dog"), ""),
        ("1 Dog\n0 Cat", ("1 Dog", "0 Cat"), ""),
        ("1 Euro\n2 Euro", ("1 Euro", "2 Euro"), ""),
        ("0\n1", ("0", "1"), ""),
        ("0Cat\n1Dog", ("0Cat", "1Dog"), ""),
    ],
)  # fmt: skip
def test_numbers_that_count_the_lines_of_a_labels_file_are_left_out(
    text: str, labels: tuple[str, ...], note: str, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_bytes(text.encode())
    said = f"the numbers in front of the labels in labels.txt, {note}, are left out" if note else ""
    assert read_labels(str(tmp_path / "labels.txt")) == Labels(labels, "labels.txt", said)


def test_numbers_that_are_left_out_are_told(
    sources: Files, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.txt").write_text("0 red\n1 green\n2 blue\n")
    assert run(sources["tflite"], labels=str(tmp_path / "labels.txt")) == 0
    assert read_manifest(tmp_path / "out" / "1").labels == ("red", "green", "blue")
    notes = [line.split(maxsplit=1)[1] for line in capfd.readouterr().out.splitlines() if line.startswith("  note")]
    assert notes == ["the numbers in front of the labels in labels.txt, 0 to 2, are left out"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"red\n\nblue\n", "labels.txt, line 2 is empty"),
        (b"red\nblue\nred\n", "labels.txt, line 3: 'red' is line 1 already"),
        (b"red\nblue\n\n", "line 3 is empty"),
        (b"r\xffed\nblue\n", "not UTF-8"),
        (b"red\nbl\x07ue\n", "control character"),
        (b"", "line 1 is empty"),
        (b"red\n", "1 labels"),
        (b'{"0": "red", "2": "blue"}', "there is no label 1"),
        (b"[1, 2]", "expected a JSON list"),
        (b"[" * 100_000, "expected a JSON list"),
        (b'{"a": 0, "b": 0}', "'a' and 'b' are both number 0"),
    ],
)  # fmt: skip
def test_labels_that_are_none_are_refused_by_their_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(says)) as caught:
        read_labels(str(tmp_path / "labels.txt"))
    assert caught.value.setting == "--labels"


def test_a_text_as_json_is_no_list_of_its_letters(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('"red"')
    with pytest.raises(ConfigurationError, match='labels.json: expected a JSON list or object of labels: it is "red"'):
        read_labels(str(tmp_path / "labels.json"))


def test_the_lines_of_a_labels_file_without_an_output_are_named(
    sources: Files, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "many.txt").write_text("a\nb\nc\nd\ne\n")
    assert "5 labels (many.txt), but the model answers with 3 numbers; lines 4 to 5 have none" in refused(
        sources["tflite"], labels=str(tmp_path / "many.txt")
    )
