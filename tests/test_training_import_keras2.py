"""Importing what Keras 2 wrote: the answers are those that Keras 2 itself (tf_keras) gives, and no code of theirs runs."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagewarehouse.models.manifest import read_manifest
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.training.foreign_code import code_in_config
from imagewarehouse.training.litert import quiet
from tests import importing
from tests.importing import Refused, Run, assert_served_the_same

tf_keras = pytest.importorskip("tf_keras")
tf = pytest.importorskip("tensorflow")
h5py = pytest.importorskip("h5py")
layers = tf_keras.layers

# pytest finds fixtures among the names of a module
run = importing.run
refused = importing.refused

pytestmark = [
    pytest.mark.timeout(900),  # a MobileNetV2 is built, saved, loaded and converted
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
]

CASES = REPOSITORY.parent / "shared" / "cases"


# --- what people trained ------------------------------------------------------------------------------------------


def dense(classes: int, end: str | None = "softmax", **more: Any) -> Any:
    return layers.Dense(classes, end, kernel_initializer=tf_keras.initializers.RandomNormal(0, 2.0), **more)


def teachable_machine() -> Any:
    """As Teachable Machine's keras_model.h5: MobileNetV2 of width 0.35 and a head, both in a Sequential of their own."""
    base = tf_keras.applications.MobileNetV2((224, 224, 3), alpha=0.35, include_top=False, weights=None)
    features = tf_keras.Sequential([base, layers.GlobalAveragePooling2D()])
    head = tf_keras.Sequential([layers.Dense(100, "relu", input_shape=(1280,)), dense(3, use_bias=False)])
    return tf_keras.Sequential([features, head])


def augmented() -> Any:
    """As TensorFlow's tutorial on flowers: augmentation in a nested Sequential, logits at the end."""
    augmentation = tf_keras.Sequential([
        layers.RandomFlip("horizontal", input_shape=(16, 16, 3)), layers.RandomRotation(0.1), layers.RandomZoom(0.1),
        layers.RandomContrast(0.5), layers.RandomBrightness(0.5), layers.RandomTranslation(0.2, 0.2),
    ])  # fmt: skip
    body = [
        layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Dropout(0.5),
    ]
    return tf_keras.Sequential([augmentation, *body, layers.Flatten(), dense(3, None)])


def transfer() -> Any:
    """As TensorFlow's tutorial on transfer learning: `preprocess_input` among the layers, one number at the end."""
    augmentation = tf_keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.2)])
    base = tf_keras.applications.MobileNet((32, 32, 3), alpha=0.25, include_top=False, weights=None)
    settle(base, 1 / 127.5, -1.0)  # below it is never trained
    x = inputs = tf_keras.Input((32, 32, 3))
    x = base(tf_keras.applications.mobilenet.preprocess_input(augmentation(x)), training=False)
    return tf_keras.Model(inputs, dense(1, None)(layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))))


def calls() -> Any:
    """TensorFlow's own functions between the layers, and layers whose settings Keras 3 renamed."""
    inputs = tf_keras.Input((16, 16, 3))
    x = layers.Normalization(mean=[0.1, 0.0, -0.1], variance=[0.2, 0.3, 0.2])(inputs / 127.5 - 1.0)
    x = tf.image.resize(x, (12, 12))
    x = layers.BatchNormalization(axis=[3])(layers.LeakyReLU(alpha=0.2)(layers.SeparableConv2D(8, 3)(x)))
    x = layers.Conv2DTranspose(4, 3, activation=tf.nn.swish)(layers.DepthwiseConv2D(3)(x))
    x = tf.concat([tf.reduce_mean(x, [1, 2]), tf.reduce_max(x[:, ::2], axis=[1, 2])], -1) * 2 + 1
    return tf_keras.Model(inputs, tf.nn.softmax(dense(3, None)(x)))


def half_precision() -> Any:
    policy = tf_keras.mixed_precision.Policy("mixed_float16")
    x = inputs = tf_keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, dtype=policy)(layers.Rescaling(1 / 255)(x))
    return tf_keras.Model(inputs, dense(3, dtype="float32")(layers.Flatten()(x)))


def settle(model: Any, multiply: float = 1.0, add: float = 0.0) -> None:
    """Let batch norms measure what comes to them, or the answers of a deep network hardly depend on the image."""
    norms = [layer for layer in model.submodules if isinstance(layer, layers.BatchNormalization)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    pixels = np.random.default_rng(0).integers(0, 256, (4, *model.input_shape[1:]))
    model((pixels * multiply + add).astype(np.float32), training=True)
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value


def trained(build: Callable[[], Any]) -> Any:
    """A model as it comes from a training."""
    tf_keras.utils.set_random_seed(4)
    model = build()
    settle(model, *((1 / 127.5, -1.0) if build is teachable_machine else ()))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def expected(model: Any) -> Callable[[Any], Any]:
    """The probabilities that Keras 2 gives, also from logits and from one number."""

    def probabilities(batch: Any) -> Any:
        answers = np.asarray(model(batch, training=False))
        if answers.shape[1] == 1:
            answers = np.concatenate([answers * 0, answers], axis=1)
        return tf.nn.softmax(answers) if abs(answers.sum(axis=1) - 1).max() > 1e-3 else answers

    return probabilities


def saved(model: Any, folder: Path, kind: str) -> Path:
    file = folder / {"h5": "net.h5", "keras": "net.keras", "saved": "net"}[kind]
    with quiet():
        model.save(file, save_format={"h5": "h5", "keras": "keras", "saved": "tf"}[kind])
    return file


KINDS = {"h5": "Keras 2 H5 file", "keras": "Keras 2 file", "saved": "SavedModel"}


@pytest.mark.parametrize(
    ("build", "kind", "scale"),
    [
        pytest.param(teachable_machine, "h5", "1/127.5-1", id="teachable-machine-h5"),
        *(pytest.param(augmented, kind, "none", id=f"augmented-{kind}") for kind in KINDS),
        pytest.param(transfer, "h5", "none", id="transfer-h5"),
        *(pytest.param(calls, kind, "none", id=f"calls-{kind}") for kind in KINDS),
        *(pytest.param(half_precision, kind, "none", id=f"half-precision-{kind}") for kind in ("h5", "keras")),
    ],
)
def test_a_model_of_keras_2_is_served_with_the_answers_of_keras_2(
    build: Callable[[], Any], kind: str, scale: str, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = trained(build)
    file = saved(model, tmp_path, kind)
    reference = tf_keras.models.load_model(file, compile=False)
    assert run(file, scale=scale, labels="no,yes" if build is transfer else importing.LABELS) == 0
    manifest = read_manifest(tmp_path / "out" / "1")
    assert manifest.training["kind"] == KINDS[kind]
    tolerance = 5e-3 if build is half_precision else 1e-4
    assert_served_the_same(tmp_path / "out", expected(reference), tolerance=tolerance)
    report = json.loads((tmp_path / "out" / "1" / "report" / "import.json").read_text())
    half = ["its layers compute in half precision, which LiteRT cannot; here they do it in float32"]
    assert report["notes"] == half * (build is half_precision) + [f"a {KINDS[kind]} is served as LiteRT only"]
    printed, problems = capfd.readouterr()
    assert problems == ""
    assert f"from a {KINDS[kind]}" in printed


def test_the_file_of_the_tutorial_on_flowers_is_served(run: Run, tmp_path: Path) -> None:
    file = CASES / "k2_flowers_tutorial.h5"
    if not file.is_file():
        pytest.skip(f"needs a file beside the checkout, and there is no {file}")
    assert run(file, scale="none") == 0
    reference = tf_keras.models.load_model(file, compile=False)
    assert_served_the_same(tmp_path / "out", expected(reference), tolerance=1e-5)


def test_augmentation_is_off_when_the_model_serves(run: Run, tmp_path: Path) -> None:
    model = trained(augmented)
    image = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 3)).astype(np.float32)
    assert np.ptp([np.asarray(model(image, training=True)) for _ in range(5)], axis=0).max() > 0.1  # it can be seen
    assert run(saved(model, tmp_path, "h5"), scale="none") == 0
    assert_served_the_same(tmp_path / "out", expected(model))


@pytest.mark.parametrize("place", ["keras.src.engine.functional", "keras.engine.functional"])
def test_a_keras_file_of_2023_is_read_wherever_its_classes_were_then(place: str, run: Run, tmp_path: Path) -> None:
    model = trained(calls)
    file = saved(model, tmp_path, "keras")
    rewrite(file, lambda text: text.replace("tf_keras.src.engine.functional", place))
    assert run(file, scale="none") == 0
    assert_served_the_same(tmp_path / "out", expected(model))


@pytest.mark.parametrize("version", ["2.2.4-tf", "1.2.2", None])
def test_an_h5_file_of_an_older_keras_is_read(version: str | None, run: Run, tmp_path: Path) -> None:
    model = trained(augmented)
    file = saved(model, tmp_path, "h5")
    with h5py.File(file, "r+") as opened:
        del opened.attrs["keras_version"]
        if version == "2.2.4-tf":
            opened.attrs["keras_version"] = version.encode()
    assert run(file, scale="none") == 0
    assert read_manifest(tmp_path / "out" / "1").training["kind"] == "Keras 2 H5 file"
    assert_served_the_same(tmp_path / "out", expected(model))


def test_preprocessing_among_the_layers_is_pointed_out(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs = tf_keras.Input((8, 8, 3))
    x = tf_keras.applications.mobilenet_v2.preprocess_input(inputs)
    file = saved(tf_keras.Model(inputs, dense(3)(layers.Flatten()(x))), tmp_path, "h5")
    assert run(file, scale="1/127.5-1") == 0
    said = "the network rescales its input itself (math.truediv); is --scale 1/127.5-1 meant, or none?"
    assert said in capfd.readouterr().out


def test_keras_2_files_are_served_as_litert_only(refused: Refused, tmp_path: Path) -> None:
    file = saved(trained(augmented), tmp_path, "h5")
    assert "--no-litert: the model is a Keras 2 H5 file" in refused(file, "--no-litert")


# --- code ---------------------------------------------------------------------------------------------------------


def rewrite(file: Path, change: Callable[[str], str]) -> None:
    """Change the network in an H5 file or a .keras file."""
    if file.suffix == ".h5":
        with h5py.File(file, "r+") as opened:
            opened.attrs["model_config"] = change(opened.attrs["model_config"])
        return
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = change(members["config.json"].decode()).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_a_lambda_layer_of_keras_2_runs_only_when_it_is_trusted(
    kind: str, refused: Refused, run: Run, tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    sneaky = layers.Lambda(eval(f"lambda x: [x * 1.0, open({str(touched)!r}, 'w').close()][0]"), name="sneaky")  # noqa: S307
    model = trained(lambda: tf_keras.Sequential([layers.Flatten(input_shape=(8, 8, 3)), sneaky, dense(3)]))
    file = saved(model, tmp_path, kind)
    touched.unlink()  # it was called while the model was built
    assert "'sneaky' (Lambda: Python bytecode)" in refused(file)
    assert not touched.exists()
    assert run(file, "--trust") == 0
    assert touched.exists()
    touched.unlink()
    assert_served_the_same(tmp_path / "out", lambda batch: model(batch))


FUNCTION = '"function": "math.truediv"'


@pytest.mark.parametrize("kind", ["h5", "keras"])
@pytest.mark.parametrize(
    ("pattern", "replacement", "named"),
    [
        (FUNCTION, '"function": "io.write_file"', "a call of tf.io.write_file, which does more than compute"),
        (FUNCTION, '"function": "raw_ops.WriteFile"', "a call of tf.raw_ops.WriteFile"),
        (FUNCTION, '"function": "py_function"', "a call of tf.py_function"),
        (FUNCTION, '"function": "math.load_op_library"', None),
        (FUNCTION, '"function": "load_op_library"', "a call of tf.load_op_library"),
        ('"BatchNormalization"', '"Mine"', "class Mine"),
        ('"BatchNormalization"', '"StringLookup"', "StringLookup: the path of a file"),
        ('"BatchNormalization"', '"TensorFlowOpLayer"', "TensorFlowOpLayer: an operation of TensorFlow of any kind"),
        (r'"class_name": "TFOpLambda"', '"module": "os", "class_name": "TFOpLambda"', "class TFOpLambda of os, not of Keras"),
        (r'"class_name": "GlorotUniform"', '"module": "os", "class_name": "GlorotUniform"', "class GlorotUniform of os"),
    ],
)  # fmt: skip
def test_anything_but_layers_and_arithmetic_is_refused(
    kind: str, pattern: str, replacement: str, named: str | None, refused: Refused, tmp_path: Path
) -> None:
    file = saved(trained(calls), tmp_path, kind)

    def change(text: str) -> str:
        text = re.sub(r'"module": "[^"]*tf_op_layer", ', "", text) if "TFOpLambda" in pattern else text
        text = re.sub(r'"module": "keras.initializers", ', "", text) if "Glorot" in pattern else text
        changed = text.replace(pattern, replacement)
        assert changed != text
        return changed

    rewrite(file, change)
    line = refused(file)
    if named is None:  # there is no such function of TensorFlow
        assert "`math.load_op_library` could not be found" in line
    else:
        assert named in line


def elsewhere(file: Any, name: str, values: Path) -> None:
    file.create_dataset(name, (48, 3), "f4", external=[(str(values), 0, 48 * 3 * 4)])


def virtual(file: Any, name: str, values: Path) -> None:
    layout = h5py.VirtualLayout((48, 3), "f4")
    layout[:] = h5py.VirtualSource(values, "numbers", (48, 3))
    file.create_virtual_dataset(name, layout)


def linked(file: Any, name: str, values: Path) -> None:
    file[name] = h5py.ExternalLink(values, "numbers")


def enormous(file: Any, name: str, values: Path) -> None:
    file.create_dataset(name, (10**10, 3), "f4", chunks=(10**6, 3), compression="gzip")


@pytest.mark.parametrize("kind", ["h5", "keras"])
@pytest.mark.parametrize(
    ("replace", "says"),
    [
        (elsewhere, "is to be read from another file"),
        (virtual, "is to be read from another file"),
        (linked, "is a link, maybe to another file"),
        (enormous, "bytes when unpacked"),
    ],
)
def test_weights_that_the_file_does_not_hold_are_refused(
    kind: str, replace: Callable[[Any, str, Path], None], says: str, refused: Refused, tmp_path: Path
) -> None:
    file = saved(tf_keras.Sequential([layers.Flatten(input_shape=(4, 4, 3)), dense(3)]), tmp_path, kind)
    values = tmp_path / "values.h5"
    with h5py.File(values, "w") as other:
        other["numbers"] = np.zeros((48, 3), np.float32)
    weights = file if kind == "h5" else tmp_path / "model.weights.h5"
    if kind == "keras":
        with zipfile.ZipFile(file) as archive:
            archive.extract(weights.name, tmp_path)
            members = {name: archive.read(name) for name in archive.namelist()}
    with h5py.File(weights, "r+") as changed:
        names: list[str] = []
        changed.visititems(lambda name, item: names.append(name) if getattr(item, "shape", ()) == (48, 3) else None)
        del changed[names[0]]
        replace(changed, names[0], values)
    if kind == "keras":
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in (members | {weights.name: weights.read_bytes()}).items():
                archive.writestr(name, content)
    assert says in refused(file)


@pytest.mark.parametrize("build", [teachable_machine, augmented, transfer, calls, half_precision])
def test_everything_keras_2_itself_writes_is_let_through(build: Callable[[], Any]) -> None:
    model = build()
    assert (
        build is not teachable_machine or '"groups": 1' in model.to_json()
    )  # of DepthwiseConv2D, which Keras 3 refuses
    for text in (model.to_json(), json.dumps(tf_keras.saving.serialize_keras_object(model))):
        assert code_in_config(json.loads(text), keras_2=True) == []


def test_what_keras_2_cannot_load_is_said_in_whole_sentences(refused: Refused, tmp_path: Path) -> None:
    file = saved(trained(augmented), tmp_path, "h5")
    rewrite(file, lambda text: text.replace('"rng_type"', '"colour": 3, "rng_type"'))
    line = refused(file)
    assert f"tf_keras {tf_keras.__version__} cannot load it (Keras {tf_keras.__version__} wrote it): " in line
    assert "'colour'" in line
