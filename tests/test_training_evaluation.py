"""What is measured of a model is right, the same under the same seed, and told on a page that stands alone."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn", reason="needs the training libraries")
pytest.importorskip("matplotlib", reason="needs the training libraries")
pytest.importorskip("jinja2", reason="needs the training libraries")

from imagewarehouse.cli.evaluate import _steps, evaluate
from imagewarehouse.cli.training.display import Display
from imagewarehouse.errors import ConfigurationError, ModelBroken
from imagewarehouse.images.decoding import Float32Array, InputSpec, decode_rgb
from imagewarehouse.models.classifier import Classifier, load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL, EmbeddingFacts, Manifest, find_version, read_manifest
from imagewarehouse.training.calibration import (
    at_temperature_one,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from imagewarehouse.training.dataset import Examples
from imagewarehouse.training.evaluation import Evaluation, evaluate_model, latency, rounded, score, wilson_interval
from imagewarehouse.training.report.page import METRICS_FILE, write_report
from imagewarehouse.training.report.wording import noise
from imagewarehouse.training.robustness import CORRUPTIONS, Corruption, compress, robustness, to_picture

WriteModel = Callable[..., Path]
Tflite = Callable[..., bytes]

HOSTILE = "<b>&\"'</b>"


def softmax(logits: Any) -> Any:
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def drawn(classes: int, images: int, spread: float = 2.0, seed: int = 0) -> tuple[Any, Any]:
    """Logits and labels that are exactly as likely as these logits say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (images, classes))
    totals = softmax(logits).cumsum(axis=1)
    labels = (totals < rng.random((images, 1))).sum(axis=1).clip(0, classes - 1)
    return logits, labels.astype(np.int64)


# --- calibration --------------------------------------------------------------------------------------------------


def test_the_calibration_error_is_the_mean_distance_of_confidence_and_accuracy() -> None:
    # Two answers with 0.95, one of them right; two with 0.55, both right: (0.45 + 0.45) / 2.
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45], [0.45, 0.55]])
    labels = np.array([0, 1, 0, 1])
    assert expected_calibration_error(probabilities, labels, bins=10) == pytest.approx(0.45)
    assert [bin_["images"] for bin_ in reliability(probabilities, labels, bins=10)] == [2, 2]


def test_confidences_on_an_edge_count_to_the_bin_below_and_certainty_to_the_last() -> None:
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5]])
    (lower, upper) = reliability(probabilities, np.array([0, 0]), bins=10)
    assert (lower["lower"], lower["upper"]) == (0.4, 0.5)
    assert (upper["lower"], upper["upper"]) == (0.9, 1.0)
    assert expected_calibration_error(probabilities, np.array([0, 0])) == pytest.approx(0.25)


def test_probabilities_that_mean_what_they_say_have_hardly_any_error() -> None:
    logits, labels = drawn(10, 20_000)
    assert expected_calibration_error(softmax(logits), labels) < 0.01
    assert expected_calibration_error(softmax(3 * logits), labels) > 0.1


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_the_temperature_of_logits_is_found(temperature: float, classes: int) -> None:
    logits, labels = drawn(classes, 10_000)
    assert fit_temperature(temperature * logits, labels) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        pytest.param(np.zeros((0, 3)), [], id="nothing"),
        pytest.param(np.eye(3)[[0, 1, 2] * 5], [0, 1, 0] * 5, id="few"),
        pytest.param(np.eye(3)[[0, 1, 2] * 50], [0, 1, 2] * 50, id="every-answer-right"),
        pytest.param(np.eye(3)[[0, 1, 2] * 50], [1, 2, 0] * 50, id="every-answer-wrong"),
        pytest.param(np.ones((100, 3)), [0, 1] * 50, id="always-the-same"),
        pytest.param(np.full((100, 3), np.nan), [0, 1] * 50, id="nan"),
    ],
)
def test_data_that_determines_no_temperature_leaves_it_at_1(logits: Any, labels: Sequence[int]) -> None:
    assert fit_temperature(logits, np.array(labels, dtype=np.int64)) == 1.0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_can_be_taken_back(temperature: float) -> None:
    logits, _ = drawn(5, 100)
    served = softmax(logits / temperature).astype(np.float32)
    assert at_temperature_one(served, temperature) == pytest.approx(softmax(logits), abs=1e-5)


def test_a_probability_of_0_stays_0_when_a_temperature_is_taken_back() -> None:
    assert at_temperature_one(np.array([[1.0, 0.0]]), 2.0).tolist() == [[1.0, 0.0]]


# --- scores -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # the example of Newcombe, Statistics in Medicine 1998
        (10, 10, 0.7225, 1.0),
        (0, 10, 0.0, 0.2775),
    ],
)
def test_the_interval_is_wilsons(right: int, images: int, low: float, high: float) -> None:
    assert wilson_interval(right, images) == pytest.approx((low, high), abs=1e-4)


def test_scores_of_a_small_example() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]], dtype=np.float32)
    found = score(probabilities, np.array([0, 0, 1, 1]), ("a", "b", "c"))
    assert found["images"] == 4
    assert found["accuracy"] == 0.75
    assert found["top_2_accuracy"] == 1.0
    assert found["confusion"] == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)  # over the two classes that have images
    assert found["nll"] == pytest.approx(-np.log([0.7, 0.5, 0.8, 0.3]).mean(), rel=1e-6)
    assert found["brier"] == pytest.approx((0.14 + 0.38 + 0.06 + 0.86) / 4, rel=1e-6)
    assert found["mean_confidence"] == pytest.approx(0.65)
    assert found["by_class"][0] == {
        "class": "a",
        "images": 2,
        "precision": pytest.approx(2 / 3),
        "recall": 1.0,
        "f1": 0.8,
    }
    assert found["by_class"][2] == {"class": "c", "images": 0, "precision": None, "recall": None, "f1": None}


def test_a_class_that_is_never_predicted_has_no_precision() -> None:
    found = score(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), ("a", "b"))
    assert found["by_class"][1] == {"class": "b", "images": 1, "precision": None, "recall": 0.0, "f1": 0.0}
    assert found["brier"] == pytest.approx((0.02 + 1.28) / 2)  # summed over both classes
    assert "top_2_accuracy" not in found  # of two classes it is always 1


@pytest.mark.parametrize("classes", [2, 3, 120, 1000])
def test_scores_of_any_number_of_classes_come_without_warnings_and_numbers_that_json_lacks(classes: int) -> None:
    logits, labels = drawn(classes, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(softmax(logits).astype(np.float32), labels, [f"class {number}" for number in range(classes)])
    json.dumps(found, allow_nan=False)
    assert len(found["by_class"]) == len(found["confusion"]) == classes
    assert sum(map(sum, found["confusion"])) == 300


@pytest.mark.parametrize("labels", [[], [0, 3], [-1, 0]], ids=["none", "too-high", "negative"])
def test_labels_that_cannot_be_scored_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="images|labels"):
        score(np.full((len(labels), 3), 1 / 3), np.array(labels, dtype=np.int64), ("a", "b", "c"))


def test_numbers_are_rounded_to_what_json_can_hold() -> None:
    value = {"a": np.float32(0.1234567), 1: (np.int64(3), float("nan"), True, None), "c": 1.23456e-7}
    assert rounded(value) == {"a": 0.12346, "1": [3, None, True, None], "c": 1.2346e-7}


# --- robustness ---------------------------------------------------------------------------------------------------

SPECS = [
    pytest.param(InputSpec(8, 8), id="rgb"),
    pytest.param(InputSpec(9, 5, colour_order="BGR"), id="bgr-not-square"),
    pytest.param(InputSpec(1, 1, colour_order="L"), id="grey-1-pixel"),
    pytest.param(InputSpec(40, 30, colour_order="L"), id="grey"),
]


def some(spec: InputSpec, images: int, classes: int = 3, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (images, spec.height, spec.width, spec.channels), dtype=np.uint8)
    names = tuple(f"{HOSTILE}/{number}.png" for number in range(images))
    return Examples(pixels, rng.integers(0, classes, images), names)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_a_corruption_keeps_shape_and_type_and_does_more_at_each_severity(
    corruption: Corruption, spec: InputSpec
) -> None:
    image = some(spec, 1).images[0]
    before = image.copy()
    distances = []
    for severity in corruption.severities:
        worse = corruption.apply(image, severity, spec, np.random.default_rng(0))
        assert (worse.shape, worse.dtype) == (image.shape, np.uint8)
        distances.append(float(np.abs(worse.astype(int) - image).mean()))
    assert np.array_equal(image, before)
    if spec.height > 1:  # a single pixel can be neither blurred nor be worth much as a JPEG
        assert distances == sorted(distances)
        assert distances[-1] > 3


def test_jpeg_sees_the_same_picture_in_every_colour_order() -> None:
    rgb, bgr = InputSpec(16, 16), InputSpec(16, 16, colour_order="BGR")
    image = some(rgb, 1).images[0]
    rng = np.random.default_rng(0)
    assert np.array_equal(compress(image, 30, rgb, rng), compress(image[:, :, ::-1], 30, bgr, rng)[:, :, ::-1])
    assert to_picture(image[:, :, ::-1], bgr).tobytes() == to_picture(image, rgb).tobytes()


def by_brightness(images: Sequence[Any]) -> Float32Array:
    """A classifier of two classes: dark and bright."""
    bright = np.array([image.mean() / 255 for image in images], dtype=np.float32)
    return np.stack([1 - bright, bright], axis=1)


def test_robustness_is_the_same_under_the_same_seed_and_falls_where_it_should() -> None:
    spec = InputSpec(4, 4)
    examples = some(spec, 150)
    examples = Examples(examples.images, by_brightness(examples.images).argmax(axis=1), examples.names)
    seen: list[tuple[str, int, int]] = []
    found = robustness(by_brightness, examples, spec, seed=3, limit=100, progress=lambda *step: seen.append(step))
    assert found == robustness(by_brightness, examples, spec, seed=3, limit=100)
    assert found != robustness(by_brightness, examples, spec, seed=4, limit=100)
    assert (found["images"], found["seed"], found["clean"]) == (100, 3, 1.0)
    darker = next(one for one in found["corruptions"] if one["name"] == "Darker")
    assert darker["levels"][-1]["accuracy"] < 0.9  # the bright ones look dark
    assert seen[-1][1] == seen[-1][2] == 100 * (1 + sum(len(one.severities) for one in CORRUPTIONS))


# --- speed --------------------------------------------------------------------------------------------------------


def test_files_are_timed_side_by_side(tmp_path: Path, tflite: Tflite) -> None:
    for name in ("one.tflite", "two.tflite"):
        (tmp_path / name).write_bytes(tflite(softmax=name == "two.tflite"))
    files = {name: tmp_path / name for name in ("one.tflite", "two.tflite")}
    found = latency(files, InputSpec(8, 8), runs=30)
    assert (found["runs"], found["threads"], list(found["files"])) == (30, 1, list(files))
    assert found["files"]["one.tflite"]["ratio"] == 1.0
    for name, took in found["files"].items():
        assert took["bytes"] == files[name].stat().st_size
        assert 0 < took["median_ms"] <= took["p99_ms"]


def test_a_file_that_takes_no_such_image_is_named(tmp_path: Path, tflite: Tflite) -> None:
    (tmp_path / "bytes.tflite").write_bytes(tflite(input_type="INT32"))
    with pytest.raises(ModelBroken, match=r"bytes\.tflite"):
        latency({"bytes": tmp_path / "bytes.tflite"}, InputSpec(8, 8))


# --- a model ------------------------------------------------------------------------------------------------------


def colours(images: int, confused: int = 0) -> Examples:
    """Pictures of a red, green or blue shade; the first few are labelled wrongly."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % 3
    pixels = rng.integers(0, 120, (images, 8, 8, 3), dtype=np.uint8)
    pixels[np.arange(images), :, :, labels] += 80
    labels[:confused] = (labels[:confused] + 1) % 3
    return Examples(pixels, labels, tuple(f"{number}.png" for number in range(images)))


def test_a_model_of_logits_is_measured_before_and_after_its_temperature(colour_model: Path) -> None:
    found = evaluate_model(load_classifier(colour_model), colours(60, confused=6), robustness=False)
    metrics = found.metrics
    assert metrics["accuracy"] == 0.9
    assert metrics["temperature"] == 0.1
    assert metrics["ece"] < metrics["ece_unscaled"]  # at temperature 1 every answer is close to a third
    assert metrics["reliability_unscaled"][0]["confidence"] < 0.5 < metrics["reliability"][0]["confidence"]
    assert {"model": "colours", "version": "1", "runtime": "litert", "file": "model.tflite"}.items() <= metrics.items()
    assert "robustness" not in metrics


def test_mistakes_are_listed_the_most_confident_first(colour_model: Path) -> None:
    mistakes = evaluate_model(load_classifier(colour_model), colours(60, confused=6), robustness=False).mistakes
    assert sorted(mistake.index for mistake in mistakes) == list(range(6))
    confidences = [mistake.confidence for mistake in mistakes]
    assert confidences == sorted(confidences, reverse=True)
    assert {(mistake.true, mistake.predicted) for mistake in mistakes} == {
        ("green", "red"), ("blue", "green"), ("red", "blue")}  # fmt: skip


def test_an_evaluation_is_the_same_under_the_same_seed(colour_model: Path) -> None:
    classifier = load_classifier(colour_model)
    stages = []
    first = evaluate_model(classifier, colours(30), seed=1, progress=lambda stage, *_: stages.append(stage))
    assert first == evaluate_model(classifier, colours(30), seed=1)
    assert list(dict.fromkeys(stages)) == ["evaluation", "robustness"]


def test_a_model_of_probabilities_has_nothing_to_scale(tmp_path: Path, tflite: Tflite, write_model: WriteModel) -> None:
    folder = write_model(
        tmp_path / "1", {"litert": ("model.tflite", tflite(softmax=True))}, output="probabilities", temperature=7.0
    )
    metrics = evaluate_model(load_classifier(folder), colours(30), robustness=False).metrics
    assert metrics["temperature"] == 1
    assert metrics["ece"] == metrics["ece_unscaled"]


def test_nothing_to_evaluate_is_refused(colour_model: Path) -> None:
    with pytest.raises(ValueError, match="no images"):
        evaluate_model(load_classifier(colour_model), colours(0))


# --- the report ---------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Reads a page as strictly as a browser is lenient."""

    VOID = {"meta", "img", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        assert len(values) == len(attrs), f"an attribute of {tag} is there twice"
        self.tags.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] for name in ("src", "href") if name in values]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [values for name, values in self.tags if name == tag]


def check_page(path: Path) -> Page:
    """A well-formed page that asks for nothing, with headings, names and alternatives for whoever cannot see it."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert len(text) < 1_500_000
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith("data:image/") or link.removeprefix("#") in page.ids, link[:80]
    assert not re.search(r"url\(|@import|<script|https?:", text)
    assert "default-src 'none'" in text
    assert all(image.get("alt", "").strip() for image in page.all("img"))
    assert all("scope" in heading for heading in page.all("th"))
    assert all(table.get("aria-label") for table in page.all("table"))
    assert "nan" not in page.words.lower().split()
    for image in page.all("img"):
        kind, _, content = image["src"].partition(";base64,")
        raw = base64.b64decode(content, validate=True)
        if kind == "data:image/svg+xml":
            for element in ElementTree.fromstring(raw).iter():  # noqa: S314 - our own
                reference = element.get("{http://www.w3.org/1999/xlink}href", "#")
                assert reference.startswith(("#", "data:image/png"))
                assert not re.search("#01020[3-6]", element.get("style", "")), "a colour that does not follow the theme"
        else:
            Image.open(io.BytesIO(raw)).verify()
    return page


def made_up(
    tmp_path: Path, classes: int, images: int, spec: InputSpec, names: Sequence[str] = (), right: bool = False
) -> tuple[Evaluation, Manifest, Examples]:
    """An evaluation of a model that answers at random, or always right."""
    examples = some(spec, images, classes)
    logits = np.random.default_rng(1).normal(0, 1, (images, classes)).astype(np.float32)
    logits[np.arange(images), examples.labels] += 50 if right else 2
    (tmp_path / "model.tflite").write_bytes(b"12345")
    labels = tuple(names) or tuple(f"class {number}" for number in range(classes))
    runtimes = {"litert": tmp_path / "model.tflite"}
    manifest = Manifest(tmp_path, HOSTILE, "7", spec, "logits", 1.5, labels, runtimes, {}, {}, "")
    answers = iter(np.array_split(logits, range(64, images, 64)))
    return (
        evaluate_model(Classifier(manifest, lambda _: (next(answers), None), "litert"), examples, robustness=False),
        (manifest),
        examples,
    )


@pytest.mark.parametrize("order", ["RGB", "BGR", "L"])
def test_two_classes_with_hostile_names_make_a_page(tmp_path: Path, order: Any) -> None:
    names = (HOSTILE, "x" * 5000 + "\x00\x1b[31m\u202e\ud800")
    evaluation, manifest, examples = made_up(tmp_path, 2, 90, InputSpec(16, 12, colour_order=order), names)
    path = write_report(tmp_path / "report", evaluation, manifest=manifest, examples=examples, problems=[HOSTILE])
    page = check_page(path)
    assert HOSTILE in page.words  # and not as a tag
    assert not page.all("script")
    assert all(char.isprintable() or char in "\n\N{NO-BREAK SPACE}" for char in page.words)
    for missing in ("robustness", "files", "history", "training"):
        assert missing not in page.ids
    assert len(page.all("table")) == 3  # classes, confusion, bins


@pytest.mark.parametrize(("classes", "images"), [(20, 300), (21, 300), (120, 2000), (1000, 2000)])
def test_many_classes_make_a_page(tmp_path: Path, classes: int, images: int) -> None:
    evaluation, manifest, examples = made_up(tmp_path, classes, images, InputSpec(8, 8))
    path = write_report(tmp_path / "report", evaluation, manifest=manifest, examples=examples)
    page = check_page(path)
    matrix = [table for table in page.all("table") if table.get("class") == "matrix"]
    assert len(matrix) == (1 if classes <= 20 else 0)
    assert ("Heat map" in str(page.tags)) == (classes > 20)
    metrics = json.loads((path.parent / METRICS_FILE).read_text())
    assert np.array(metrics["confusion"]).shape == (classes, classes)
    crisp = [image for image in page.all("img") if image.get("class") == "small"]
    assert len(crisp) == min(24, len(evaluation.mistakes)) > 0


def test_a_page_without_a_mistake_says_so(tmp_path: Path) -> None:
    evaluation, manifest, examples = made_up(tmp_path, 30, 100, InputSpec(8, 8), right=True)
    page = check_page(write_report(tmp_path / "out", evaluation, manifest=manifest, examples=examples))
    assert evaluation.mistakes == ()
    assert "every answer was right" in page.words
    assert "No class was taken for another" in page.words


def test_large_pictures_are_made_smaller(tmp_path: Path) -> None:
    evaluation, manifest, examples = made_up(tmp_path, 2, 60, InputSpec(300, 500))
    page = check_page(write_report(tmp_path / "out", evaluation, manifest=manifest, examples=examples))
    photos = [image["src"] for image in page.all("img") if image["src"].startswith("data:image/jpeg")]
    assert len(photos) == min(24, len(evaluation.mistakes)) > 0
    first = Image.open(io.BytesIO(base64.b64decode(photos[0].partition(",")[2])))
    assert first.size == (160, 96)


def test_a_report_says_what_is_found_among_pictures_that_look_alike(tmp_path: Path) -> None:
    evaluation, manifest, examples = made_up(tmp_path, 3, 60, InputSpec(8, 8))
    neighbours = {"nearest": 10, "queries": 1234, "among": 9876, "found_again": 0.912,
                  "same_class": {"features": 0.91, "centred": 0.92, "projected": 0.93, "stored": 0.94}}  # fmt: skip
    without = check_page(write_report(tmp_path / "without", evaluation, manifest=manifest, examples=examples))
    assert "Pictures that look alike" not in without.words
    manifest = replace(manifest, embedding=EmbeddingFacts(128, 192, "<b>pool</b>", None, neighbours))
    page = check_page(write_report(tmp_path / "with", evaluation, manifest=manifest, examples=examples))
    for words in ("Pictures that look alike", "1,234", "9,876", "94.0", "91.2", "<b>pool</b>", "onto 128 numbers"):
        assert words in page.words


def examples_of_the_bundled_model() -> Examples:
    manifest = read_manifest(find_version(BUNDLED_MODEL))
    files = sorted((BUNDLED_MODEL.parent.parent / "examples").glob("*.jpg"))
    images = np.stack([decode_rgb(path.read_bytes(), manifest.spec) for path in files])
    labels = np.array([manifest.labels.index(path.stem) for path in files])
    return Examples(images, labels, tuple(path.name for path in files))


@pytest.fixture(scope="module")
def bundled() -> tuple[Evaluation, Manifest, Examples]:
    """The bundled model on the pictures of examples/."""
    classifier, examples = load_classifier(BUNDLED_MODEL), examples_of_the_bundled_model()
    return evaluate_model(classifier, examples), classifier.manifest, examples


def test_everything_there_is_to_tell_is_on_the_page(
    tmp_path: Path, bundled: tuple[Evaluation, Manifest, Examples]
) -> None:
    evaluation, manifest, examples = bundled
    told = {"command": "imagewarehouse train --data here --out there", "seconds": 1525, "machine": "2 vCPU AMD EPYC"}
    manifest = replace(manifest, training={**told, "versions": {"tensorflow": "2.21.0"}})
    times = latency({"model.tflite": manifest.runtimes["litert"]}, manifest.spec, runs=20)
    path = write_report(
        tmp_path,
        evaluation,
        manifest=manifest,
        examples=examples,
        history={
            "loss": [2.0, 1.5, 1.0],
            "val_loss": [2.1, float("nan"), 1.2],
            "learning_rate": [0.1],
            HOSTILE: [1, 2],
        },
        exports={"model.tflite": {"bytes": 897624, "agreement": 0.998, "accuracy": 0.862}, "model.h5": {"bytes": 12}},
        latency=times,
        problems=["cat/1.jpg: cannot be decoded"],
    )
    page = check_page(path)
    assert {"result", "problems", "training", "history", "classes", "confusion", "calibration", "robustness", "files",
            "mistakes"} <= set(page.ids)  # fmt: skip
    for said in (manifest.training["command"], "0:25:25", "2 vCPU AMD EPYC", "tensorflow 2.21.0", "99.80 %", "897,624",
                 "model.h5", "cat/1.jpg: cannot be decoded", "JPEG", noise(evaluation.metrics)):  # fmt: skip
        assert said in page.words, said
    metrics = json.loads((tmp_path / METRICS_FILE).read_text())
    assert metrics["history"]["val_loss"] == [2.1, None, 1.2]
    assert metrics["latency"]["files"]["model.tflite"]["bytes"] == manifest.runtimes["litert"].stat().st_size
    assert list(metrics)[:3] == ["model", "version", "runtime"]


def test_the_same_evaluation_makes_the_same_bytes(
    tmp_path: Path, bundled: tuple[Evaluation, Manifest, Examples]
) -> None:
    evaluation, manifest, examples = bundled
    pages = [write_report(tmp_path / name, evaluation, manifest=manifest, examples=examples) for name in ("a", "b")]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert (tmp_path / "a" / METRICS_FILE).read_bytes() == (tmp_path / "b" / METRICS_FILE).read_bytes()


def test_both_runtimes_of_the_bundled_model_score_alike(bundled: tuple[Evaluation, Manifest, Examples]) -> None:
    pytest.importorskip("tensorflow")
    classifier = load_classifier(BUNDLED_MODEL, runtime="tensorflow")
    keras = evaluate_model(classifier, bundled[2], robustness=False).metrics
    assert keras["file"] == "model.keras"
    assert keras["accuracy"] == pytest.approx(bundled[0].metrics["accuracy"], abs=0.1)
    assert keras["nll"] == pytest.approx(bundled[0].metrics["nll"], abs=0.1)


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder for each class, with a file that is no image among them."""
    examples = colours(12, confused=2)
    for number, (pixels, label) in enumerate(zip(examples.images, examples.labels, strict=True)):
        folder = tmp_path / "photos" / ("red", "green", "blue")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "photos" / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path / "photos"


def call(*arguments: object) -> None:
    evaluate.main([str(argument) for argument in arguments], prog_name="evaluate", standalone_mode=False)


def test_the_command_writes_a_report_and_says_where(
    tmp_path: Path,
    colour_model: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    call(colour_model, "--data", photos)
    out = capsys.readouterr().out
    assert "83.33%" in out
    assert "broken.png" in out
    assert "differs by chance" in out
    assert str(Path("evaluation-colours-1") / "index.html") in out
    page = check_page(tmp_path / "evaluation-colours-1" / "index.html")
    assert "broken.png" in page.words
    assert json.loads((tmp_path / "evaluation-colours-1" / METRICS_FILE).read_text())["robustness"]["images"] == 12


def test_json_is_all_there_is_on_standard_output(
    tmp_path: Path, colour_model: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "report"
    call(colour_model, "--data", photos, "--out", out, "--no-robustness", "--json", "--limit", 6)
    printed = capsys.readouterr()
    metrics = json.loads(printed.out)
    assert metrics == json.loads((out / METRICS_FILE).read_text())
    assert metrics["images"] <= 6
    assert "robustness" not in metrics
    assert str(out) in printed.err


def test_other_litert_files_of_the_version_are_timed_beside_the_served_one(
    tmp_path: Path, tflite: Tflite, write_model: WriteModel, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model(tmp_path / "m" / "1", {"litert": ("model.tflite", tflite())}, temperature=0.1)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "model-int8.tflite").write_bytes(tflite())
    manifest["sha256"] |= {"model-int8.tflite": manifest["sha256"]["model.tflite"], "model-old.tflite": "0" * 64}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    call(folder, "--data", photos, "--out", tmp_path / "out", "--no-robustness", "--json")
    printed = capsys.readouterr()
    assert list(json.loads(printed.out)["latency"]["files"]) == ["model.tflite", "model-int8.tflite"]
    assert "model-old.tflite" in printed.err


@pytest.mark.parametrize("where", [".", "report", "report/deep/er"])
def test_a_version_is_never_written_into(colour_model: Path, photos: Path, where: str) -> None:
    before = sorted((colour_model / "1").rglob("*"))
    with pytest.raises(ConfigurationError, match="--out: .* a version never changes"):
        call(colour_model, "--data", photos, "--out", colour_model / "1" / where)
    assert sorted((colour_model / "1").rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (["nowhere", "--data", "photos"], "MODEL"),
        (["--version", "99", "--data", "photos"], "--version"),
        (["--data", "nowhere"], "--data"),
    ],
    ids=["model", "version", "data"],
)
def test_a_wrong_argument_is_named(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], setting: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments)
    assert caught.value.setting == setting
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]  # nothing was written


def test_a_folder_that_cannot_be_written_is_named_before_the_work(
    tmp_path: Path, colour_model: Path, photos: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--out"):
        call(colour_model, "--data", photos, "--out", tmp_path / "file" / "report")


def test_missing_libraries_are_named_with_what_brings_them(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"evaluate: matplotlib not installed.*imagewarehouse\[training\]"):
        call("--data", photos)


def test_progress_says_how_fast_it_goes_and_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter(range(0, 1000, 5))
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
    step = _steps(Display(bars=False))
    for done in range(0, 1001, 100):
        step("robustness", done, 1000)
    lines = capsys.readouterr().err.splitlines()
    assert 1 < len(lines) < 10  # now and then
    assert all(re.fullmatch(r"robustness: [\d,]+ of 1,000  \d+ images/s, \d+:\d\d left", line) for line in lines), lines


def test_a_long_fact_of_the_training_is_summed_up(tmp_path: Path) -> None:
    evaluation, manifest, examples = made_up(tmp_path, 2, 60, InputSpec(8, 8))
    counts = {f"class {number}": 10 + number for number in range(1000)}
    data = {"source": HOSTILE, "train_images_by_class": counts, **{f"more_{number}": "x" for number in range(9)}}
    manifest = replace(manifest, training={"data": data, "versions": {"python": "3.11.7"}, "seconds": 65, "flip": True})
    page = check_page(write_report(tmp_path / "out", evaluation, manifest=manifest, examples=examples))
    for said in (HOSTILE, "1,000: 10 to 1,009 each", "more 8", "python 3.11.7", "65 (0:01:05)", "flipyes"):
        assert said in page.words
