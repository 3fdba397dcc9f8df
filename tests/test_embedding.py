"""The embedding of a model: from the network to the bytes in the record, the same in each file and in each runtime."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from imagewarehouse.cli.main import call
from imagewarehouse.errors import ModelBroken
from imagewarehouse.images.decoding import InputSpec, to_batch
from imagewarehouse.models.classifier import as_bytes, load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL, read_manifest
from imagewarehouse.training.embedding import (
    cosines,
    find_features,
    fit_projection,
    measure,
    nearest,
    random_projection,
    with_embedding,
    without_embedding,
)
from imagewarehouse.training.exports import FORMATS, export
from imagewarehouse.training.litert import litert_outputs

layers = keras.layers
SPEC = InputSpec(8, 8)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
LABELS = "red,green,blue"


def body(width: int) -> list[Any]:
    keras.utils.set_random_seed(3)
    return [layers.Conv2D(width, 3, activation="relu", name="look"), layers.GlobalAveragePooling2D(name="features")]


def network(width: int = 6, *end: Any, classes: int = 3) -> Any:
    return keras.Sequential([keras.Input((8, 8, 3)), *body(width), layers.Dense(classes, name="classes"), *end])


def pictures(count: int, seed: int = 0) -> Any:
    """(N, 8, 8, 3) uint8, three colours by turns."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 90, (count, 8, 8, 3), dtype=np.uint8)
    images[np.arange(count), :, :, np.arange(count) % 3] += 140
    return images


def features_of(model: Any, images: Any) -> Any:
    found = find_features(model, keras.Model)
    assert found is not None
    return np.asarray(keras.Model(model.inputs[0], found.tensor)(to_batch(list(images), SPEC)))


def embedded(model: Any, images: Any) -> Any:
    found = find_features(model, keras.Model)
    assert found is not None
    return with_embedding(model, found, fit_projection(features_of(model, images)))


# --- what feeds the last layer ------------------------------------------------------------------------------------


def nested() -> Any:
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(5, "relu", name="hidden"), layers.Dense(3, "softmax")])
    inner.name = "head"
    return keras.Sequential([keras.Input((8, 8, 3)), *body(6), inner])


def through(function: Callable[[Any], Any], model: Any) -> Any:
    """The model, and a function of its answers that is no layer."""
    return keras.Model(model.inputs[0], function(model.outputs[0]))


@pytest.mark.parametrize(
    ("make", "layer", "width"),
    [
        pytest.param(network, "features", 6, id="a-dense-layer-at-the-end"),
        pytest.param(lambda: network(6, layers.Activation("softmax")), "features", 6, id="an-activation-behind-it"),
        pytest.param(lambda: network(6, layers.Rescaling(0.1), layers.Softmax()), "features", 6, id="two-behind-it"),
        pytest.param(lambda: through(keras.ops.softmax, network(6)), "features", 6, id="a-function-behind-it"),
        pytest.param(nested, "head/hidden", 5, id="in-a-model-within-the-model"),
    ],
)
def test_the_embedding_is_made_of_what_feeds_the_last_dense_layer(
    make: Callable[[], Any], layer: str, width: int
) -> None:
    model, batch = make(), to_batch(list(pictures(4)), SPEC)
    found = find_features(model, keras.Model)
    assert found is not None
    assert (found.layer, found.width) == (layer, width)
    both = with_embedding(model, found, None)(batch)
    assert np.allclose(both["classes"], model(batch), atol=1e-6)
    assert np.ptp(np.asarray(both["embedding"]), axis=0).max() > 0  # not the same for each image


@pytest.mark.parametrize(
    "model_layers",
    [
        pytest.param(lambda: [layers.Flatten(), layers.Dense(3)], id="nothing-is-learnt-before-it"),
        pytest.param(lambda: [layers.Conv2D(3, 8), layers.Flatten()], id="no-dense-layer"),
        pytest.param(lambda: [layers.Conv2D(4, 8), layers.Dense(3), layers.Flatten()], id="a-dense-layer-over-a-map"),
        pytest.param(lambda: [*body(6), layers.Dense(3), layers.BatchNormalization()], id="something-learnt-behind-it"),
    ],
)
def test_a_network_that_ends_otherwise_has_none(model_layers: Callable[[], list[Any]]) -> None:
    assert find_features(keras.Sequential([keras.Input((8, 8, 3)), *model_layers()]), keras.Model) is None


@pytest.mark.parametrize("keras_2", [False, True])
def test_a_function_behind_a_model_within_the_model_is_no_layer_to_call_again(keras_2: bool) -> None:
    library = pytest.importorskip("tf_keras") if keras_2 else keras
    inner = library.Sequential([library.Input((8, 8, 3)), library.layers.Conv2D(6, 8), library.layers.Flatten(),
                                library.layers.Dense(3)])  # fmt: skip
    inputs = library.Input((8, 8, 3))
    assert find_features(library.Model(inputs, inner(inputs) / 2), library.Model) is None
    assert find_features(library.Model(inputs, library.layers.Softmax()(inner(inputs))), library.Model) is not None


def test_a_network_can_lose_its_embedding_again() -> None:
    model, batch = network(), to_batch(list(pictures(4)), SPEC)
    assert np.array_equal(without_embedding(embedded(model, pictures(9)))(batch), model(batch))
    assert without_embedding(model) is model


# --- the projection -----------------------------------------------------------------------------------------------


def test_as_many_directions_as_features_lose_nothing() -> None:
    features = np.random.default_rng(0).normal(3, 1, (50, 12)).astype(np.float32)
    projection = fit_projection(features)
    projected, centred = projection.apply(features), features - features.mean(axis=0)
    assert np.allclose(projected @ projected.T, centred @ centred.T, atol=1e-3)
    assert projection.facts["kept_variance"] == 1.0


@pytest.mark.parametrize("count", [20, 400])
def test_wide_features_are_projected_onto_128_directions(count: int) -> None:
    projection = fit_projection(np.random.default_rng(0).normal(size=(count, 300)).astype(np.float32))
    assert projection.matrix.shape == (300, 128)
    assert np.allclose(projection.matrix.T @ projection.matrix, np.eye(128), atol=1e-4)


def test_without_images_the_directions_are_drawn_and_always_the_same() -> None:
    first, second = random_projection(500), random_projection(500)
    assert first is not None
    assert second is not None
    assert np.array_equal(first.matrix, second.matrix)
    assert np.allclose(first.matrix.T @ first.matrix, np.eye(128), atol=1e-5)
    assert random_projection(128) is None


def test_neighbours_are_those_of_the_greatest_cosine() -> None:
    among = np.array([[1, 0], [100, 1], [0, 1], [-1, 0]], np.float32)
    assert set(nearest(among, np.array([[5, 0.01]], np.float32), 2)[0].tolist()) == {0, 1}


def test_what_a_projection_costs_is_measured_in_neighbours() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    among = (np.eye(3)[labels] * 9 + rng.normal(size=(300, 3))).astype(np.float32)
    found = measure(fit_projection(among), among[:200], labels[:200], among[200:], labels[200:])
    assert found is not None
    assert (found["nearest"], found["queries"], found["among"]) == (10, 100, 200)
    assert set(found["same_class"]) == {"features", "centred", "projected", "stored"}
    assert min(found["same_class"].values()) > 0.95
    assert found["found_again"] > 0.9
    assert measure(fit_projection(among), among[:10], labels[:10], among[10:], labels[10:]) is None


@pytest.mark.parametrize(
    ("vector", "stored"),
    [
        ([1.0, -0.5, 0.0], [127, -64, 0]),
        ([1e-30, -1e-30], [127, -127]),
        ([-3e30, 0.0], [-127, 0]),
        ([0.0, 0.0], None),
        ([float("nan"), 1.0], None),
        ([float("inf"), 1.0], None),
    ],
)
def test_a_vector_is_stored_as_its_direction(vector: list[float], stored: list[int] | None) -> None:
    good = np.array([vector, [1.0] * len(vector)], np.float32)
    first, second = as_bytes(good)
    assert first == (None if stored is None else array("b", stored).tobytes())
    assert second == b"\x7f" * len(vector)  # whatever the other one is


# --- files --------------------------------------------------------------------------------------------------------


# Three classes and an embedding of three numbers: no shape tells them apart.
@pytest.mark.parametrize("width", [3, 200])
def test_each_file_of_a_network_has_both_outputs(tmp_path: Path, width: int) -> None:
    model = network(width)
    both = embedded(model, pictures(300))
    files = export(both, {**FORMATS, "savedmodel": "saved"}, tmp_path, SPEC)
    assert set(files) == {*FORMATS.values(), "saved"}
    for name, exported in files.items():
        assert exported.agreement > 0.9, name
        assert exported.embedding_cosine is not None
        assert exported.embedding_cosine > (0.98 if "int8" in name else 0.9999), name
        assert exported.facts()["embedding_cosine"] == pytest.approx(exported.embedding_cosine, abs=1e-6)
    batch = to_batch(list(pictures(5)), SPEC)
    classes, vectors = litert_outputs((tmp_path / "model.tflite").read_bytes(), (8, 8, 3))(batch)
    assert np.allclose(classes, model(batch), atol=1e-4)
    expected = fit_projection(features_of(model, pictures(300))).apply(features_of(model, pictures(5)))
    assert np.allclose(vectors, expected, atol=1e-4)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path]) -> Path:
    """A version with an embedding of three numbers, in both runtimes."""
    folder = tmp_path_factory.mktemp("embedded")
    files = export(embedded(network(3), pictures(300)), FORMATS, folder, SPEC)
    runtimes = {kind: (name, files[name].path.read_bytes()) for kind, name in
                (("litert", "model.tflite"), ("tensorflow", "model.keras"))}  # fmt: skip
    return write_model(folder / "1", runtimes, embedding={"width": 3, "of": 3, "layer": "features"})


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pictures(number + 1)[number]).save(file, "PNG")
    return file.getvalue()


def vector(embedding: bytes | None) -> Any:
    assert embedding is not None
    return np.frombuffer(embedding, np.int8).astype(np.float32)


def test_both_runtimes_give_the_same_embedding_and_the_same_classes_as_without(version: Path) -> None:
    images = [(png(number), "PNG") for number in range(6)]
    found = {}
    for runtime in ("litert", "tensorflow"):
        with_it = load_classifier(version, runtime=runtime, embed=True)
        without = load_classifier(version, runtime=runtime)
        assert (with_it.embeds, without.embeds) == (True, False)
        found[runtime] = with_it.classify_many(images)
        for one, other in zip(found[runtime], without.classify_many(images), strict=True):
            assert one.top == other.top
            assert other.embedding is None
    for one, other in zip(found["litert"], found["tensorflow"], strict=True):
        assert np.abs(vector(one.embedding) - vector(other.embedding)).max() <= 1
    assert len({one.embedding for one in found["litert"]}) == 6


def test_an_image_alone_has_the_embedding_that_it_has_among_others(version: Path) -> None:
    classifier = load_classifier(version, embed=True)
    images = [(png(number), "PNG") for number in range(4)]
    together = [one.embedding for one in classifier.classify_many(images)]
    assert together == [classifier.classify(*image).embedding for image in images]


def test_a_version_that_promises_another_embedding_is_refused(
    version: Path, tmp_path: Path, write_model: Callable[..., Path]
) -> None:
    raw = json.loads((version / "manifest.json").read_text())
    for runtime, file in raw["runtimes"].items():
        folder = write_model(
            tmp_path / runtime,
            {runtime: (file, (version / file).read_bytes())},
            embedding={"width": 4, "of": 4, "layer": "features"},
        )
        assert load_classifier(folder).embeds is False  # whoever does not ask for it is served
        with pytest.raises(ModelBroken, match=r"embedding has shape \(1, 3\), the manifest says \(1, 4\)"):
            load_classifier(folder, embed=True)


@pytest.mark.parametrize("facts", [{"width": 129, "of": 129, "layer": "x"}, {"width": 0, "of": 1, "layer": "x"}, {}, 5])
def test_nonsense_about_an_embedding_is_refused(
    version: Path, tmp_path: Path, write_model: Callable[..., Path], facts: Any
) -> None:
    content = (version / "model.tflite").read_bytes()
    with pytest.raises(ModelBroken, match="manifest.json"):
        read_manifest(write_model(tmp_path / "1", {"litert": ("model.tflite", content)}, embedding=facts))


# --- ClassifyImage ------------------------------------------------------------------------------------------------

SENT = {"status": "accepted", "request_id": "0", "format": "PNG"}


def test_classify_image_gives_an_embedding_only_when_it_is_asked_for(hosted: Callable[..., Any], version: Path) -> None:
    settings = {"Model Folder": str(version)}
    assert (
        not hosted("ClassifyImage", settings).transform(png(1), SENT).attributes["embedding"]
    )  # emptied, as any that it owns
    left = hosted("ClassifyImage", {**settings, "Embedding": "true"}).transform(png(1), SENT)
    expected = load_classifier(version, embed=True).classify(png(1), "PNG").embedding
    assert base64.b64decode(left.attributes["embedding"]) == expected


def test_a_model_without_an_embedding_classifies_and_warns_once(
    hosted: Callable[..., Any], colour_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = hosted("ClassifyImage", {"Model Folder": str(colour_model), "Embedding": "true"})
    with caplog.at_level(logging.WARNING):
        results = [host.transform(png(number), SENT) for number in range(3)]
    assert [result.relationship for result in results] == ["success"] * 3
    assert not any(result.attributes.get("embedding") for result in results)
    warnings = [record.getMessage() for record in caplog.records if "Embedding is true" in record.getMessage()]
    assert len(warnings) == 1
    assert "model embed" in warnings[0]


# --- import, and versions that have none --------------------------------------------------------------------------


def imported(tmp_path: Path, model: Any, *words: str, name: str = "net.keras", labels: str = LABELS) -> Path:
    model.save(tmp_path / name)
    where = ["--out", str(tmp_path / "out"), "--labels", labels, "--scale", "1/255"]
    assert call(["import", str(tmp_path / name), *where, *words]) == 0
    return tmp_path / "out"


@pytest.mark.parametrize(("width", "of_embedding"), [(6, 6), (200, 128)])
def test_an_imported_keras_model_has_an_embedding(
    tmp_path: Path, width: int, of_embedding: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = imported(tmp_path, network(width, layers.Softmax()))
    facts = read_manifest(out / "1").embedding
    assert facts is not None
    assert (facts.width, facts.of, facts.layer) == (of_embedding, width, "features")
    assert (facts.projection is None) is (width == of_embedding)
    images = [(png(number), "PNG") for number in range(4)]
    litert, tensorflow = (
        np.array([vector(one.embedding) for one in load_classifier(out, runtime=name, embed=True).classify_many(images)])
        for name in ("litert", "tensorflow")
    )  # fmt: skip
    assert cosines(litert, tensorflow).min() > 0.999
    assert f"embedding  {of_embedding} numbers" in capsys.readouterr().out


@pytest.mark.parametrize("end", ["sigmoid", "linear"])
def test_one_number_for_two_classes_has_one_too(tmp_path: Path, end: str) -> None:
    model = network(6, layers.Activation(end), classes=1)
    words = ["--output", "logits"] if end == "linear" else []
    out = imported(tmp_path, model, *words, labels="cat,dog")
    for runtime in ("litert", "tensorflow"):
        (found,) = load_classifier(out, runtime=runtime, embed=True).classify_many([(png(1), "PNG")])
        assert len(found.top) == 2
        assert len(vector(found.embedding)) == 6


def test_a_model_within_a_model_is_not_computed_twice(tmp_path: Path) -> None:
    plain, out = nested(), imported(tmp_path, nested())
    alone = len(export(plain, {"litert": "plain.tflite"}, tmp_path, SPEC)["plain.tflite"].path.read_bytes())
    assert (out / "1" / "model.tflite").stat().st_size < alone + 600  # the name of an output and its tensor
    assert read_manifest(out / "1").embedding is not None


def test_a_model_of_keras_2_has_one(tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    inner = tf_keras.Sequential([tf_keras.layers.Dense(5, "relu"), tf_keras.layers.Dense(3, "softmax")])
    model = tf_keras.Sequential([tf_keras.layers.Conv2D(6, 3, input_shape=(8, 8, 3)),
                                 tf_keras.layers.GlobalAveragePooling2D(), inner])  # fmt: skip
    out = imported(tmp_path, model, name="net.h5")
    facts = read_manifest(out / "1").embedding
    assert facts is not None
    assert facts.width == 5
    (found,) = load_classifier(out, embed=True).classify_many([(png(1), "PNG")])
    assert len(vector(found.embedding)) == 5


def test_a_tflite_file_has_none_and_the_import_says_so(
    tmp_path: Path, tflite: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.tflite").write_bytes(tflite())
    where = ["--out", str(tmp_path / "out"), "--labels", LABELS, "--scale", "1/255", "--output", "logits"]
    assert call(["import", str(tmp_path / "net.tflite"), *where]) == 0
    assert read_manifest(tmp_path / "out" / "1").embedding is None
    assert "embedding  none: a TFLite file does not show its layers" in capsys.readouterr().out
    assert load_classifier(tmp_path / "out", embed=True).embeds is False
    assert call(["model", "embed", str(tmp_path / "out"), "--data", str(tmp_path)]) == 2
    assert "holds no Keras file" in capsys.readouterr().err


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """60 pictures of three classes."""
    images = pictures(60)
    for number, name in enumerate(LABELS.split(",")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for one in range(number, 60, 3):
            Image.fromarray(images[one]).save(tmp_path / "photos" / name / f"{one}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("quantise", [False, True])
def test_a_version_gets_one_fitted_on_images_and_answers_as_before(
    tmp_path: Path, photos: Path, quantise: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    out = imported(tmp_path, network(300, layers.Softmax()), *(["--quantise"] if quantise else []))
    assert call(["model", "embed", str(out), "--data", str(photos)]) == 0
    said = capsys.readouterr().out
    assert "128 numbers made of 300" in said
    before, after = read_manifest(out / "1"), read_manifest(out / "2")
    assert after.embedding is not None
    assert after.embedding.projection is not None
    assert after.embedding.projection["method"] == "principal components"
    assert after.embedding.neighbours is not None
    assert after.embedding.neighbours["queries"] == 6
    assert after.training["embedding"]["of_version"] == "1"
    assert after.training["imported_from"] == before.training["imported_from"]
    assert (out / "2" / "report" / "import.json").is_file()
    images = [(png(number), "PNG") for number in range(9)]
    for runtime in ("litert", "tensorflow"):
        old, new = (load_classifier(out, number, runtime).classify_many(images) for number in ("1", "2"))
        for one, other in zip(old, new, strict=True):
            assert one.predicted_class == other.predicted_class
            assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
    sizes = [(out / number / "model.tflite").stat().st_size for number in ("1", "2")]
    assert abs(sizes[1] - sizes[0]) < 0.1 * sizes[0] + 2_000  # quantised before, quantised now


def test_a_network_without_a_dense_layer_cannot_get_one(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 8), layers.Flatten(), layers.Softmax()])
    out = imported(tmp_path, model)
    assert "embedding  none: no Dense layer at its end" in capsys.readouterr().out
    assert call(["model", "embed", str(out), "--data", str(photos)]) == 2
    assert "no Dense layer" in capsys.readouterr().err
    assert not (out / "2").exists()


# --- the model of this project ------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["litert", "tensorflow"])
def test_the_shipped_model_answers_as_the_version_that_it_was_made_from(shared_data: Path, runtime: str) -> None:
    import pyarrow.parquet as pq

    column = pq.ParquetFile(shared_data / "cifar10-test-a.parquet").read_row_group(0, ["image"])["image"]
    images = [(one["bytes"] if isinstance(one, dict) else one, None) for one in column.to_pylist()[:400]]
    old = load_classifier(BUNDLED_MODEL, "3", runtime).classify_many(images, 10)
    new = load_classifier(BUNDLED_MODEL, "4", runtime, embed=True).classify_many(images, 10)
    largest = 0.0
    for one, other in zip(old, new, strict=True):
        assert one.predicted_class == other.predicted_class
        probabilities = dict(one.top)
        largest = max(largest, *(abs(probabilities[name] - value) for name, value in other.top))
        assert len(vector(other.embedding)) == 128
    # The 8-bit file was written on another processor, whose last bits differ; rounding makes steps of them.
    assert largest < (0.01 if runtime == "litert" else 1e-5)


def test_its_file_without_rounding_gives_the_same_probabilities_but_for_the_last_bits() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8).astype(np.float32) / 255
    files = [BUNDLED_MODEL / number / "model.tflite" for number in ("3", "4")]
    old, new = (litert_outputs(file.read_bytes(), (32, 32, 3))(images)[0] for file in files)
    assert np.abs(old - new).max() < 1e-4  # logits
