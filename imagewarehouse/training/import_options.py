"""Options of an import: pixel scale and labels, parsed from the command line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.images.colour import WHITE, Background
from imagewarehouse.images.decoding import Fit

Colour = Literal["RGB", "BGR", "L"]

# Of ImageNet, in the order RGB: mean and deviation of 0-1 (PyTorch, timm), mean of 0-255 (Keras' ResNet50 and VGG).
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (123.68, 116.779, 103.939)
NAMED_SCALES = ("1/255", "1/127.5-1", "none", "imagenet", "caffe")
_TERM = re.compile(r"([+-]?[\d.]+(?:e[+-]?\d+)?)(?:/([\d.]+))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The caller's options for the model; None: read from the model."""

    labels: tuple[str, ...]
    scale: str
    size: tuple[int, int] | None = None  # height, width
    colour: Colour | None = None
    fit: Fit = "stretch"
    background: Background = WHITE
    output: Literal["auto", "probabilities", "logits"] = "auto"
    temperature: float = 1.0
    litert: bool = True
    quantise: bool = False
    trust: bool = False
    labels_from: str = "--labels"  # for messages: the file's name
    labels_note: str = ""  # what was changed about them


# --- scale -----------------------------------------------------------------------------------------------------


def parse_scale(text: str, colour: Colour) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(multiply, add): what a pixel's 0-255 is multiplied by, and what is added then.

    "none", "imagenet", "caffe"; "1/255"; "1/127.5-1"; "MULTIPLY,ADD"; or six numbers, the three factors first.
    Raises: ConfigurationError.
    """
    if text in ("imagenet", "caffe"):
        if colour == "L":
            raise ConfigurationError("--scale", f"{text} is for three colours, the model takes grey images")
        mean, deviation = (_MEAN, _DEVIATION) if text == "imagenet" else (_CAFFE_MEAN, (1.0, 1.0, 1.0))
        unit = 255 if text == "imagenet" else 1
        order = slice(None, None, -1) if colour == "BGR" else slice(None)
        multiply = tuple(1 / (unit * d) for d in deviation)
        add = tuple(-m / d for m, d in zip(mean, deviation, strict=True))
        return (multiply if text == "imagenet" else (1.0,))[order], add[order]
    if text == "none":
        return (1.0,), (0.0,)
    numbers = [_number(part, text) for part in _split(text)]
    if len(numbers) not in (1, 2, 6):
        raise ConfigurationError("--scale", f"{text!r}: expected 1, 2 or 6 numbers, received {len(numbers)}")
    half = max(1, len(numbers) // 2)
    multiply, add = tuple(numbers[:half]), tuple(numbers[half:]) or (0.0,)
    if 0.0 in multiply:
        raise ConfigurationError("--scale", f"{text!r}: times 0 every image looks the same")
    return multiply, add


def _split(text: str) -> list[str]:
    """ "1/127.5-1" is "1/127.5" and "-1"; else commas part."""
    sum_of_two = re.fullmatch(r"([+-]?[\d.]+(?:/[\d.]+)?)([+-][\d.]+(?:/[\d.]+)?)", text)
    return list(sum_of_two.groups()) if sum_of_two else text.split(",")


def _number(part: str, text: str) -> float:
    match = _TERM.fullmatch(part.strip())
    try:
        if match is None:
            raise ValueError(part)
        value = float(match[1]) / float(match[2] or 1)
        if not np.isfinite(value):
            raise ValueError(part)
    except (ValueError, ZeroDivisionError) as err:
        raise ConfigurationError(
            "--scale", f"{text!r}: expected 1/255, 1/127.5-1, imagenet, caffe, none or numbers with commas"
        ) from err
    return value


# --- labels -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels in the order of the outputs, where they come from, and a note on what was changed about them, or ""."""

    names: tuple[str, ...]
    origin: str
    note: str = ""


def read_labels(text: str) -> Labels:
    """The labels of a file, or of a list with commas.

    A file has one label a line, or is JSON: a list, {"0": "cat", ...} or {"cat": 0, ...}. Numbers that count its lines, as
    in Teachable Machine's "0 Cat", are no part of the labels. Raises ConfigurationError.
    """
    path = Path(text)
    origin, note = path.name, ""
    try:
        is_file = path.is_file()
    except OSError:  # a long list is no name of a file
        is_file = False
    if is_file:
        labels, note = _labels_of_file(path)
    elif "," in text:
        labels, origin = [label.strip() for label in text.split(",")], "--labels"
    else:
        raise ConfigurationError("--labels", f"{text} is neither a file nor a list with commas")
    place_is = "line" if is_file else "label"
    for place, label in enumerate(labels, 1):
        where = f"{origin}, {place_is} {place}"
        if not label:
            raise ConfigurationError("--labels", f"{where} is empty")
        if not label.isprintable():
            raise ConfigurationError("--labels", f"{where}: {label!r} holds a control character")
        if (previous := labels.index(label) + 1) < place:
            raise ConfigurationError("--labels", f"{where}: {label!r} is {place_is} {previous} already")
    if len(labels) < 2:
        raise ConfigurationError("--labels", f"{origin} has {len(labels)} labels, a classifier has 2 or more")
    return Labels(tuple(labels), origin, note)


def _labels_of_file(path: Path) -> tuple[list[str], str]:
    """The labels of a file, and a note on what was changed about them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as err:
        raise ConfigurationError("--labels", f"{path}: {err.strerror or err}") from err
    except UnicodeDecodeError as err:
        raise ConfigurationError("--labels", f"{path.name} is not UTF-8 text (byte {err.start})") from err
    if path.suffix == ".json" or text.lstrip()[:1] in ("{", "["):
        return _labels_of_json(text, path.name), ""
    return _without_numbers([line.strip() for line in text.removesuffix("\n").split("\n")], path.name)


_NUMBERED = re.compile(r"(\d+)(?:[.:,;)\t ]\s*)(\S.*)")


def _without_numbers(lines: list[str], name: str) -> tuple[list[str], str]:
    """Lines without the numbers in front of them, where those count all lines from 0 or 1 ("0 Cat", "1: Dog")."""
    matches = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    numbers = [int(match[1]) for match in matches]
    if len(matches) != len(lines) or numbers[0] > 1 or numbers != list(range(numbers[0], numbers[0] + len(lines))):
        return lines, ""
    labels = [match[2] for match in matches]
    if len(set(labels)) != len(labels):  # "1 Euro", "2 Euro": the numbers are part of the names
        return lines, ""
    return labels, f"the numbers in front of the labels in {name}, {numbers[0]} to {numbers[-1]}, are left out"


def _inverted(indices: dict[str, int], name: str) -> dict[str, str]:
    """Keras' class_indices {"cat": 0} as {"0": "cat"}."""
    labels: dict[str, str] = {}
    for label, number in indices.items():
        other = labels.setdefault(str(number), label)
        if other != label:
            raise ConfigurationError("--labels", f"{name}: {other!r} and {label!r} are both number {number}")
    return labels


def _labels_of_json(text: str, name: str) -> list[str]:
    try:
        value = json.loads(text)
        if isinstance(value, dict) and all(type(number) is int for number in value.values()):
            value = _inverted(value, name)
        if isinstance(value, dict):
            value = [value[str(number)] for number in range(len(value))]
        if not isinstance(value, list):  # a text would be a label for each of its letters
            raise TypeError(f"it is {text.strip()[:20]}")
        # ImageNet's usual file has ["n01440764", "tench"] for each.
        labels = [item[-1] if isinstance(item, list) and item else item for item in value]
        if not all(isinstance(label, str) for label in labels):
            raise TypeError("a label is no text")
    except KeyError as err:
        raise ConfigurationError("--labels", f"{name}: there is no label {err.args[0]}, counted from 0") from err
    except (ValueError, TypeError, RecursionError) as err:
        raise ConfigurationError("--labels", f"{name}: expected a JSON list or object of labels: {err}") from err
    return [label.strip() for label in labels]
