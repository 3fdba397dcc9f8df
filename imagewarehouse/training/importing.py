"""Imports a foreign model: all checks run before the version is written.

A wrong size, colour order or list of labels does not fail in the service, it answers wrongly; so whatever the model
itself says about them is compared with what the caller says.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagewarehouse.errors import ConfigurationError, ModelBroken
from imagewarehouse.images.decoding import Float32Array, InputSpec, to_batch
from imagewarehouse.metadata import MOST_DIMENSIONS
from imagewarehouse.models.manifest import Manifest
from imagewarehouse.training.embedding import Features, Projection, random_projection, with_embedding
from imagewarehouse.training.folder import (
    KERAS_FILE,
    LABELS_FILE,
    LITERT_FILE,
    REPORT,
    manifest_input,
    next_version,
    versions,
    write_version,
)
from imagewarehouse.training.foreign import Network, Shape, opened, save_and_reload, source_hash, two_classes
from imagewarehouse.training.foreign_kinds import H5, KERAS, TFLITE, of_keras_2
from imagewarehouse.training.import_options import Colour, ImportOptions, parse_scale
from imagewarehouse.training.import_quantised import check_scale, quantisation
from imagewarehouse.training.litert import litert_function

_SAME_SHARE = 0.8  # of the test images: near a tie, rounding may choose another class
_TIE = 0.02
_ALIKE = 1e-3


@dataclass(frozen=True, slots=True)
class Imported:
    """The written version, and report/import.json."""

    manifest: Manifest
    report: Mapping[str, Any]


def import_model(
    file: Path, out: Path, options: ImportOptions, name: str | None = None, number: str | None = None, command: str = ""
) -> Imported:
    """Check a foreign model and write it as a version of the model folder `out`.

    Args:
        file: Keras file, Keras H5 file, SavedModel folder or TFLite file; its content says which.
        name, number: of the model and of its version; None: the folder's name, the next number.
        command: what was typed, for the manifest.
    Raises: ConfigurationError naming the option, ModelBroken naming the file. Nothing is left behind.
    """
    if options.trust and not options.litert:
        raise ConfigurationError("--trust", "what it loads is kept as LiteRT only, and --no-litert asks for none")
    if not np.isfinite(options.temperature):
        raise ConfigurationError("--temperature", f"expected a number above 0, received {options.temperature}")
    name = out.resolve().name if name is None else name
    if not name.strip() or not name.isprintable():
        raise ConfigurationError("--name", f"{name!r} is no name")
    number = number or next_version(out)
    with (
        tempfile.TemporaryDirectory(prefix="imagewarehouse-") as folder,
        opened(file, options.trust, Path(folder)) as network,
    ):
        _check_options(network, options)
        spec = input_spec(network.shape, options)
        doubts = check_scale(network.source, spec, options.scale)
        images = to_batch(sample_images(spec), spec)
        answers = _first_answers(network, images)
        if answers.shape[1] == 1 and len(options.labels) == 2:
            network, answers = _as_two_classes(network, images, answers, options)
        _check_labels(options, answers.shape[1])
        output = output_kind(network, answers, options)
        projection = random_projection(network.features.width) if network.features else None
        files, checks = _exports(
            network, spec, options, images, _probabilities(answers, output), output, Path(folder), projection
        )
        digest = source_hash(file)
        report = {
            "source": {"file": file.name, "kind": network.kind, "sha256": digest, **network.facts},
            "input": {"model": list(network.shape), **manifest_input(spec)},
            "output": {"kind": output, "classes": len(options.labels), "activation": network.activation},
            "embedding": embedding_text(network, KERAS_FILE in files),
            "checks": {"images": len(images), **checks},
            "notes": [*doubts, *notes(network, options, files, answers)],
            "versions": versions(),
        }
        manifest = {
            "name": name,
            "input": manifest_input(spec),
            "output": output,
            "temperature": options.temperature,
            "runtimes": {runtime: path for runtime, path in _RUNTIME_FILES.items() if path in files},
            **({"embedding": _embedding(network.features, projection)} if network.features else {}),
            "training": {
                "imported_from": file.name,
                "sha256": digest,
                "kind": network.kind,
                "command": command,
            },
        }
        files[LABELS_FILE] = ("\n".join(options.labels) + "\n").encode()
        files[REPORT + "import.json"] = (json.dumps(report, indent=2) + "\n").encode()
        return Imported(write_version(out, number, manifest, files), report)


_WITH_LAYERS = (KERAS, H5, of_keras_2(KERAS), of_keras_2(H5))
_RUNTIME_FILES = {"litert": LITERT_FILE, "tensorflow": KERAS_FILE}


# --- input -------------------------------------------------------------------------------------------------


def input_spec(shape: Shape, options: ImportOptions) -> InputSpec:
    """The model's input, from what it says itself and what the caller says. Raises ConfigurationError."""
    height, width, channels = shape
    default_colour: Colour = "BGR" if options.scale == "caffe" else "RGB"
    colour: Colour = options.colour or ("L" if channels == 1 else default_colour)
    if channels not in (None, 1 if colour == "L" else 3):
        raise ConfigurationError("--colour", f"{colour}, but the model takes {channels} channel{'s'[: channels > 1]}")
    if options.size is None and (height is None or width is None):
        raise ConfigurationError("--input-size", "is needed: the model takes any size")
    high, wide = options.size or (height, width)
    if (height or high, width or wide) != (high, wide):
        raise ConfigurationError(
            "--input-size", f"{high}x{wide}, but the model takes {height or 'any'}x{width or 'any'} (height x width)"
        )
    multiply, add = parse_scale(options.scale, colour)
    try:
        return InputSpec(int(high or 0), int(wide or 0), multiply, add, colour, options.fit, options.background)
    except ValueError as err:
        raise ConfigurationError("--scale", str(err)) from err


def sample_images(spec: InputSpec) -> list[Any]:
    """Pictures to ask a model about, (height, width, channels) uint8: single-coloured, noise, and coarse blotches."""
    rng = np.random.default_rng(0)
    shape = (spec.height, spec.width, spec.channels)
    flat = [np.full(shape, value, np.uint8) for value in (0, 128, 255)]
    noise = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(3)]
    rows, columns = np.arange(spec.height) * 4 // spec.height, np.arange(spec.width) * 4 // spec.width
    coarse = [rng.integers(0, 256, (4, 4, spec.channels), dtype=np.uint8)[rows][:, columns] for _ in range(10)]
    return [*flat, *noise, *coarse]


def _check_labels(options: ImportOptions, outputs: int) -> None:
    labels, origin = options.labels, options.labels_from
    if len(labels) == outputs:
        return
    text = f"{len(labels)} labels ({origin}), but the model answers with {outputs} number{'s'[: outputs > 1]}"
    if outputs == 1:
        text += "; for two classes give two labels, the one of a low number first"
    elif len(labels) > outputs:
        text += f"; {labels[outputs]!r} and what follows have none" if origin == "--labels" else (
            f"; lines {outputs + 1} to {len(labels)} have none"
        )  # fmt: skip
    elif len(labels) == outputs - 1:
        text += "; if number 0 is the background, give it a label of its own at the start"
    raise ConfigurationError("--labels", text)


# --- output -----------------------------------------------------------------------------------------------


def _check_options(network: Network, options: ImportOptions) -> None:
    if network.kind == TFLITE and options.quantise:
        raise ConfigurationError("--quantise", "a TFLite file is taken as it is; quantise the model it was made from")
    if not options.litert and network.keras is None:
        raise ConfigurationError("--no-litert", f"the model is a {network.kind}, which is served as LiteRT only")
    if options.quantise and not options.litert:
        raise ConfigurationError("--quantise", "makes the LiteRT file smaller, and --no-litert asks for none")


def _first_answers(network: Network, images: Float32Array) -> Float32Array:
    answers = network.answers(images)
    if answers.ndim != 2:
        raise ModelBroken(f"answers with shape {answers.shape[1:]} for an image, expected one number for each class")
    broken = ~np.isfinite(answers).all(axis=1)
    if broken.all():
        raise ModelBroken("answers NaN or infinity for every image: are its weights broken, or --scale wrong?")
    if broken.any():
        raise ModelBroken(f"answers NaN or infinity for {broken.sum()} of {len(images)} test images, "
                          "among them single-coloured ones, as the service meets them too")  # fmt: skip
    return answers


def _as_two_classes(
    network: Network, images: Float32Array, answers: Float32Array, options: ImportOptions
) -> tuple[Network, Float32Array]:
    """The network with two outputs, from a single sigmoid that gives the probability of the second class."""
    if network.kind == TFLITE:
        raise ModelBroken("has one output for two classes, and a TFLite file cannot be changed; import the Keras file or "
                          "SavedModel it was made from, or give it two outputs with softmax")  # fmt: skip
    between = bool(answers.min() >= 0 and answers.max() <= 1)
    logits = options.output == "logits" or not between or network.activation == "linear"
    if logits and options.output == "probabilities":
        raise ConfigurationError("--output", "probabilities, but the model's one number is not between 0 and 1")
    wrapped = two_classes(network, logits)
    return wrapped, _first_answers(wrapped, images)


def output_kind(network: Network, answers: Float32Array, options: ImportOptions) -> str:
    """ "probabilities" or "logits". Raises ConfigurationError when the caller says the other one."""
    tolerance = 0.01 + network.answer.tolerance(answers.shape[1])
    sums = bool(answers.min() >= 0 and abs(answers.sum(axis=1) - 1).max() < tolerance)
    kind = "probabilities" if sums else "logits"
    if options.output == "auto" and kind == "logits":
        between = bool(answers.min() >= 0 and answers.max() <= 1)
        if network.activation == "sigmoid" or (network.activation is None and between):
            raise ConfigurationError("--output", "the model says of each class by itself how much it is there (sigmoid), "
                                     "and their sum is not 1; the warehouse gives an image one class: end the model in "
                                     "softmax, or say --output logits if these numbers are scores")  # fmt: skip
    if options.output not in ("auto", kind):
        sums_text = "sum to 1 already" if kind == "probabilities" else "do not sum to 1"
        raise ConfigurationError("--output", f"{options.output}, but the model's answers {sums_text}: they are {kind}")
    if kind == "probabilities" and options.temperature != 1.0:
        raise ConfigurationError("--temperature", "logits are divided by it, and the model answers with probabilities")
    return kind


def _probabilities(answers: Float32Array, output: str) -> Float32Array:
    if output == "probabilities":
        return answers
    powers: Float32Array = np.exp(answers - answers.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def _exports(
    network: Network,
    spec: InputSpec,
    options: ImportOptions,
    images: Float32Array,
    expected: Float32Array,
    output: str,
    work: Path,
    projection: Projection | None,
) -> tuple[dict[str, bytes | Path], dict[str, Any]]:
    """The files that serve the model, each checked against its answers, and the differences."""
    shape = (spec.height, spec.width, spec.channels)
    files: dict[str, bytes | Path] = {}
    checks: dict[str, Any] = {}
    if options.litert:
        try:
            content = network.litert(shape, options.quantise, projection)
            if network.call is not None:  # a TFLite file is what it is compared with
                answers = litert_function(content, shape)(images)
                checks[LITERT_FILE] = compare(LITERT_FILE, expected, _probabilities(answers, output))
        except ModelBroken as err:
            hint = "; with --no-litert TensorFlow serves it" if network.keras is not None else ""
            raise ModelBroken(f"{err}{hint}") from err
        files[LITERT_FILE] = content
    if network.keras is not None:
        files[KERAS_FILE] = work / KERAS_FILE
        model = with_embedding(network.keras, network.features, projection) if network.features else network.keras
        answers = save_and_reload(model, work / KERAS_FILE)(images)
        checks[KERAS_FILE] = compare(KERAS_FILE, expected, _probabilities(answers, output))
    return files, checks


def _embedding(features: Features, projection: Projection | None) -> dict[str, Any]:
    """For the manifest."""
    width = features.width if projection is None else projection.matrix.shape[1]
    facts = None if projection is None else projection.facts
    return {"width": width, "of": features.width, "layer": features.layer, "projection": facts}


def compare(name: str, expected: Float32Array, answers: Float32Array) -> dict[str, Any]:
    """How far two (N, classes) of probabilities are apart. Raises ModelBroken when they are not the same model's."""
    if answers.shape != expected.shape:
        raise ModelBroken(f"{name}: answers with shape {answers.shape}, the model with {expected.shape}")
    if broken := int((~np.isfinite(answers)).any(axis=1).sum()):
        raise ModelBroken(
            f"{name}: answers NaN or infinity for {broken} of {len(answers)} test images, the model does not"
        )
    best, other = expected.argmax(axis=1), answers.argmax(axis=1)
    rows = np.arange(len(expected))
    different = (best != other) & (expected[rows, best] - expected[rows, other] > _TIE)
    largest = float(abs(answers - expected).max())
    if different.mean() > 1 - _SAME_SHARE:
        raise ModelBroken(f"{name}: names another class than the model for {different.sum()} of {len(expected)} test "
                          f"images (largest difference {largest:.2g})")  # fmt: skip
    return {"largest_difference": float(f"{largest:.3g}"), "other_class": int(different.sum())}


def notes(network: Network, options: ImportOptions, files: Mapping[str, Any], answers: Float32Array) -> list[str]:
    """Notes on possible mistakes and unexpected properties."""
    remarks = [note for note in (options.labels_note, quantisation(network.source, network.answer)) if note]
    if float(np.ptp(answers, axis=0).max()) < _ALIKE:
        remarks.append(
            "the model answers the same for every test image; are its weights trained, and is --scale right?"
        )
    if (own := network.facts.get("rescales")) and options.scale != "none":
        layers = " and ".join(own)
        remarks.append(f"the network rescales its input itself ({layers}); is --scale {options.scale} meant, or none?")
    if network.facts.get("half_precision"):
        remarks.append("its layers compute in half precision, which LiteRT cannot; here they do it in float32")
    if network.facts.get("code"):
        remarks.append("its code was run for the conversion; the version holds none of it")
    elif KERAS_FILE not in files and network.call is not None:
        remarks.append(f"a {network.kind} is served as LiteRT only")
    return remarks


def embedding_text(network: Network, fitted_later: bool) -> str:
    """What there is for finding images that look alike, and if there is nothing, why."""
    if network.features is None:
        has_layers = network.kind in _WITH_LAYERS
        return f"none: {'no Dense layer at its end' if has_layers else f'a {network.kind} does not show its layers'}"
    if random_projection(network.features.width) is None:
        return f"{network.features.width} numbers"
    hint = "; `imagewarehouse model embed` fits them on images" if fitted_later else ""
    return f"{MOST_DIMENSIONS} numbers: {network.features.width} seen from random directions{hint}"
