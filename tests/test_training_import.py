"""Importing models that were made elsewhere: the same answers when served, no code of theirs, no half version."""

from __future__ import annotations

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

from imagewarehouse.cli.main import call
from imagewarehouse.errors import ConfigurationError, ModelBroken
from imagewarehouse.images.decoding import InputSpec, decode_rgb, to_batch
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import read_manifest
from imagewarehouse.training.foreign_code import code_in_config
from imagewarehouse.training.import_options import parse_scale, read_labels
from imagewarehouse.training.litert import litert_function, quiet, to_litert
from tests.pictures import noise

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
h5py = pytest.importorskip("h5py")
layers = keras.layers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

LABELS = "red,green,blue"
Files = dict[str, Path]
Run = Callable[..., int]


def network(
    end: str = "softmax", classes: int = 3, size: tuple[int | None, int | None, int] = (8, 8, 3), body: Any = None
) -> Any:
    """A tiny classifier whose answers depend on the image."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input(size)
    x = layers.Conv2D(4, 3, activation="relu", name="look")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = body(x) if body else x
    return keras.Model(
        inputs, layers.Dense(classes, end, kernel_initializer=keras.initializers.RandomNormal(0, 5.0))(x)
    )


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


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


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`imagewarehouse import FILE ...` into `tmp_path/out`; later words win over the usual ones."""

    def start(file: Path, *words: str, labels: str = LABELS, scale: str = "1/255", out: Path | None = None) -> int:
        where = ["--out", str(out or tmp_path / "out")]
        return call(["import", str(file), *where, "--labels", labels, "--scale", scale, *words])

    return start


@pytest.fixture
def refused(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line that an import ends with; nothing is left behind."""

    def start(file: Path, *words: str, **others: Any) -> str:
        before = everything(tmp_path)
        capfd.readouterr()  # of what went before
        assert run(file, *words, **others) == 2
        captured = capfd.readouterr()
        lines = captured.err.splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("imagewarehouse: ")
        assert captured.out == ""
        assert everything(tmp_path) == before
        return lines[0]

    return start


def assert_served_the_same(folder: Path, expected: Any, runtime: str = "auto", tolerance: float = 1e-4) -> None:
    """`expected`: from a batch (N, height, width, channels) to probabilities (N, classes)."""
    classifier = load_classifier(folder, runtime=runtime)
    for seed in range(5):
        batch = to_batch([decode_rgb(noise(seed), classifier.manifest.spec)], classifier.manifest.spec)
        answer = dict(classifier.classify(noise(seed)).top)
        wanted = np.asarray(expected(batch))[0]
        assert [answer[label] for label in classifier.manifest.labels] == pytest.approx(wanted.tolist(), abs=tolerance)


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
    sources: Files, run: Run, refused: Callable[..., str], tmp_path: Path
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
    assert_served_the_same(tmp_path / "out", model)


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


def test_a_model_of_any_size_gets_the_size_that_is_said(run: Run, refused: Callable[..., str], tmp_path: Path) -> None:
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


def test_a_grey_model_is_seen_to_be_grey(run: Run, refused: Callable[..., str], tmp_path: Path) -> None:
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
    assert_served_the_same(tmp_path / "out" / "2", model, "litert", tolerance=0.1)


def test_keras_alone_serves_when_litert_is_not_wanted(sources: Files, model: Any, run: Run, tmp_path: Path) -> None:
    assert run(sources["keras"], "--no-litert") == 0
    assert list(read_manifest(tmp_path / "out" / "1").runtimes) == ["tensorflow"]
    assert_served_the_same(tmp_path / "out", model)


def test_a_rescaling_layer_is_pointed_out(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, network()(layers.Rescaling(1 / 255)(inputs))).save(tmp_path / "net.keras")
    assert run(tmp_path / "net.keras") == 0
    assert "holds a Rescaling layer" in capfd.readouterr().out
    assert run(tmp_path / "net.keras", scale="none") == 0
    assert "Rescaling" not in capfd.readouterr().out


# --- Keras 2 ------------------------------------------------------------------------------------------------------


def as_keras_2(file: Path) -> None:
    """Rewrite the config of an H5 file as Keras 2 wrote it."""

    def older(value: Any) -> Any:
        if isinstance(value, list):
            return [older(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get("class_name") == "DTypePolicy":
            return value["config"]["name"]
        new = {
            key: older(item) for key, item in value.items() if key not in ("module", "registered_name", "build_config")
        }
        if "batch_shape" in new:
            new["batch_input_shape"] = new.pop("batch_shape")
            new.pop("optional", None)
        if new.get("class_name") == "DepthwiseConv2D":
            new["config"] |= {"groups": 1}
        if "inbound_nodes" in new:
            nodes = new["inbound_nodes"]
            new["inbound_nodes"] = [
                [[*argument["config"]["keras_history"], {}] for argument in node["args"]] for node in nodes
            ]
        return new

    with h5py.File(file, "r+") as opened:
        config = older(json.loads(opened.attrs["model_config"]))
        outer = config["config"]
        for key in ("input_layers", "output_layers"):
            if key in outer and not isinstance(outer[key][0], list):
                outer[key] = [outer[key]]
        opened.attrs["model_config"] = json.dumps(config)
        opened.attrs["keras_version"] = "2.4.0"


@pytest.mark.parametrize("how", ["functional", "sequential"])
def test_an_h5_file_of_keras_2_is_read(how: str, run: Run, tmp_path: Path) -> None:
    parts = [layers.DepthwiseConv2D(3, name="look"), layers.ReLU(6.0), layers.GlobalAveragePooling2D()]
    end = layers.Dense(3, "softmax", kernel_initializer=keras.initializers.RandomNormal(0, 5.0))
    if how == "sequential":
        model = keras.Sequential([keras.Input((8, 8, 3)), *parts, end])
    else:
        x = inputs = keras.Input((8, 8, 3))
        for part in (*parts, end):
            x = part(x)
        model = keras.Model(inputs, x)
    model.save(tmp_path / "old.h5")
    as_keras_2(tmp_path / "old.h5")
    assert run(tmp_path / "old.h5") == 0
    for runtime in ("litert", "tensorflow"):
        assert_served_the_same(tmp_path / "out", model, runtime)


def test_calls_that_only_keras_2_can_load_are_named(
    refused: Callable[..., str], sources: Files, tmp_path: Path
) -> None:
    file = tmp_path / "old.h5"
    shutil.copy(sources["h5"], file)
    with h5py.File(file, "r+") as opened:
        config = opened.attrs["model_config"].replace('"BatchNormalization"', '"TFOpLambda"')
        opened.attrs["model_config"] = config
    assert re.search("TFOpLambda: a TensorFlow call that only Keras 2 can load", refused(file))


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


def test_a_lambda_layer_is_refused_and_not_executed(
    with_lambda: tuple[Path, Path, Any], refused: Callable[..., str]
) -> None:
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


def test_a_trusted_model_without_litert_is_refused(
    with_lambda: tuple[Path, Path, Any], refused: Callable[..., str]
) -> None:
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
    change: Callable[[str], str], named: str, sources: Files, refused: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "net.keras"
    shutil.copy(sources["keras"], file)
    rewrite(file, change)
    assert named in refused(file)


def test_a_custom_class_that_is_not_here_cannot_be_trusted_either(
    sources: Files, refused: Callable[..., str], tmp_path: Path
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
    name: str, says: str, sources: Files, refused: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "net.keras"
    shutil.copy(sources["keras"], file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, b"{}")
    assert says in refused(file)


def test_a_keras_file_that_unpacks_without_end_is_refused(
    sources: Files, refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    how: str, operation: str, refused: Callable[..., str], tmp_path: Path
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
    words: list[str], others: dict[str, str], says: str, sources: Files, refused: Callable[..., str]
) -> None:
    for kind in ("tflite", "keras"):
        assert says in refused(sources[kind], *words, **others)


def test_options_that_exclude_each_other_are_named(sources: Files, refused: Callable[..., str]) -> None:
    assert "--quantise: a TFLite file is taken as it is" in refused(sources["tflite"], "--quantise")
    assert "--quantise" in refused(sources["keras"], "--quantise", "--no-litert")
    assert "--no-litert: the model is a TFLite file" in refused(sources["tflite"], "--no-litert")
    assert "--no-litert: the model is a SavedModel" in refused(sources["saved"], "--no-litert")


def test_probabilities_that_are_none_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    network("linear").save(tmp_path / "net.keras")
    assert "they are logits" in refused(tmp_path / "net.keras", "--output", "probabilities")


def test_several_classes_at_a_time_are_explained(refused: Callable[..., str], run: Run, tmp_path: Path) -> None:
    network("sigmoid").save(tmp_path / "net.keras")
    assert "(sigmoid)" in refused(tmp_path / "net.keras")
    assert run(tmp_path / "net.keras", "--output", "logits") == 0


def test_one_output_of_a_tflite_file_is_explained(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "one.tflite").write_bytes(to_litert(network("sigmoid", classes=1)))
    assert "one output for two classes" in refused(tmp_path / "one.tflite", labels="cat,dog")


def test_weights_that_are_no_numbers_are_found(refused: Callable[..., str], tmp_path: Path) -> None:
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
    build: Callable[[], Any], says: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    build().save(tmp_path / "net.keras")
    assert says in refused(tmp_path / "net.keras")


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_a_tflite_file_with_integer_input_is_refused_with_the_reason(
    model: Any, refused: Callable[..., str], tmp_path: Path
) -> None:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.random.rand(1, 8, 8, 3).astype(np.float32)] for _ in range(4))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    for places, says in ((("input", "output"), "its input is uint8"), (("output",), "its output is uint8")):
        for place in ("input", "output"):
            setattr(converter, f"inference_{place}_type", tf.uint8 if place in places else tf.float32)
        with quiet():
            (tmp_path / "int.tflite").write_bytes(converter.convert())
        line = refused(tmp_path / "int.tflite")
        assert says in line
        assert "float32" in line


class Unusual(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return tf.math.igamma(tf.abs(x) + 1.0, tf.abs(x))


def test_what_litert_has_not_is_named() -> None:
    with pytest.raises(ModelBroken, match="LiteRT has no Igamma"):
        to_litert(network(body=lambda x: Unusual()(x)))


# --- files that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["keras", "h5", "tflite"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(
    kind: str, part: float, sources: Files, refused: Callable[..., str], tmp_path: Path
) -> None:
    content = sources[kind].read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(len(content) * part)])
    assert "cut: " in refused(tmp_path / "cut")


@pytest.mark.parametrize(
    "cut", ["saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"]
)
def test_a_truncated_saved_model_is_refused(
    cut: str, sources: Files, refused: Callable[..., str], tmp_path: Path
) -> None:
    shutil.copytree(sources["saved"], tmp_path / "net")
    content = (tmp_path / "net" / cut).read_bytes()
    (tmp_path / "net" / cut).write_bytes(content[: len(content) // 2])
    assert "net: " in refused(tmp_path / "net")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("net.keras", np.random.default_rng(1).bytes(5000), "is neither", id="random-bytes"),
        pytest.param("model.h5", b"accuracy 0.93\n", "is neither", id="text-as-h5"),
        pytest.param("model.tflite", b"", "is neither", id="empty"),
        pytest.param("model.pkl", b"\x80\x04\x95\x00\x00.", "a pickle is never opened", id="pickle"),
        pytest.param("saved_model.pb", b"\x08\x01", "give the folder", id="file-of-a-saved-model"),
        pytest.param("net.keras", b"PK\x05\x06" + bytes(18), "config.json", id="empty-zip"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(
    name: str, content: bytes, says: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert says in refused(tmp_path / name)


def test_weights_alone_are_no_model(model: Any, refused: Callable[..., str], tmp_path: Path) -> None:
    model.save_weights(tmp_path / "net.weights.h5")
    assert "weights alone" in refused(tmp_path / "net.weights.h5")


def test_a_folder_or_nothing_is_no_model(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "no SavedModel" in refused(tmp_path)
    assert "does not exist" in refused(tmp_path / "nowhere.h5")


def test_a_place_that_cannot_be_written_is_named(sources: Files, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--out: " in refused(sources["tflite"], out=tmp_path / "file" / "model")
    assert "--out: " in refused(sources["tflite"], out=tmp_path / "file")


def test_without_the_training_libraries_one_line_says_what_is_missing(
    sources: Files, refused: Callable[..., str], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert read_labels(str(tmp_path / name)) == (("red", "green", "blue"), name)


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


def test_the_lines_of_a_labels_file_without_an_output_are_named(
    sources: Files, refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "many.txt").write_text("a\nb\nc\nd\ne\n")
    assert "5 labels (many.txt), but the model answers with 3 numbers; lines 4 to 5 have none" in refused(
        sources["tflite"], labels=str(tmp_path / "many.txt")
    )
