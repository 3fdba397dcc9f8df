"""The input and the output of a LiteRT file as real numbers, also where the file stores them in 8 or 16 bits.

A quantised tensor stores a real number r as the whole number q with r = (q - zero_point) * scale, see TFLite's
quantisation specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imagewarehouse.errors import ModelBroken
from imagewarehouse.images.decoding import Float32Array

# What the outputs are called, in a LiteRT file and in a Keras file, where there are two.
CLASSES, EMBEDDING = "classes", "embedding"

_QUANTISED = ("uint8", "int8", "int16")
_SOFTMAX_STEPS = (1 / 256, 1 / 32768)  # TFLite's specification fixes them: of 8 bits, of 16


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of an interpreter.

    Attributes:
        index: the interpreter's number of it.
        dtype: "float32", or what a quantised one is stored in.
        scale, zero_point: of a quantised one. Whole numbers without a quantisation stand for themselves: 1 and 0.
        step: what its numbers are multiples of, 0 where they are any.
    """

    index: int
    dtype: str = "float32"
    scale: float = 1.0
    zero_point: int = 0
    step: float = 0.0

    @property
    def quantised(self) -> bool:
        return self.dtype != "float32"

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest real number that a quantised one holds."""
        limits = np.iinfo(self.dtype)
        return (limits.min - self.zero_point) * self.scale, (limits.max - self.zero_point) * self.scale

    def encode(self, values: Float32Array) -> Any:
        """Real numbers as the tensor stores them; what lies outside its range becomes its nearest end."""
        if not self.quantised:
            return values
        limits = np.iinfo(self.dtype)
        return np.rint(values / self.scale + self.zero_point).clip(limits.min, limits.max).astype(self.dtype)

    def decode(self, stored: Any) -> Float32Array:
        """The real numbers of what the tensor stores."""
        if not self.quantised:
            real: Float32Array = stored
            return real
        numbers: Float32Array = stored.astype(np.float32)
        return (numbers - np.float32(self.zero_point)) * np.float32(self.scale)

    def tolerance(self, classes: int) -> float:
        """How far rounding alone takes the sum of so many probabilities from 1, at most."""
        return self.step * classes

    def sum_to_1(self, answers: Float32Array) -> Float32Array:
        """Probabilities (N, classes) without what rounding took from their sum, or added to it.

        Rows that rounding does not explain stay as they are. Where all are rounded to 0, all classes are alike.
        """
        sums = answers.sum(axis=1, keepdims=True)
        rounded = abs(sums - 1) <= self.tolerance(answers.shape[1]) + np.float32(1e-6)
        alike = np.float32(1 / answers.shape[1])
        return np.where(rounded, np.divide(answers, sums, out=np.full_like(answers, alike), where=sums > 0), answers)


def input_of(interpreter: Any) -> Tensor:
    """The input of a LiteRT interpreter that has one. Raises ModelBroken for a type that is not served."""
    return tensor_of(interpreter.get_input_details()[0])


def output_of(interpreter: Any) -> Tensor:
    """The output that has a number for each class. Raises ModelBroken: there is none, or its type is not served.

    A file that is quantised inside may give float32. Then its probabilities are those of a quantised softmax all the same.
    """
    details = _output(interpreter, CLASSES)
    if details is None:
        raise ModelBroken(f"has several outputs, and none is called {CLASSES}")
    tensor = tensor_of(details)
    if tensor.quantised:
        return tensor
    shape = list(details["shape_signature"])
    steps = [
        other["quantization"][0]
        for other in interpreter.get_tensor_details()
        if list(other["shape_signature"]) == shape and other["quantization"][0] in _SOFTMAX_STEPS
    ]
    return replace(tensor, step=float(max(steps, default=0.0)))


def embedding_of(interpreter: Any) -> Tensor | None:
    """The output that places an image among others, where the file has one. Raises ModelBroken for a type not served."""
    details = _output(interpreter, EMBEDDING)
    return None if details is None else tensor_of(details)


def _output(interpreter: Any, name: str) -> Mapping[str, Any] | None:
    """An output alone has a number for each class. Of several the signature knows the names; their order is chance."""
    details: Sequence[Mapping[str, Any]] = interpreter.get_output_details()
    if len(details) == 1:
        return details[0] if name == CLASSES else None
    if len(interpreter.get_signature_list()) != 1:
        return None
    named: Mapping[str, Mapping[str, Any]] = interpreter.get_signature_runner().get_output_details()
    return named.get(name)


def tensor_of(details: Mapping[str, Any]) -> Tensor:
    """From what an interpreter says of an input or output. Raises ModelBroken for a type that is not served."""
    index, name = int(details["index"]), np.dtype(details["dtype"]).name
    if name == "float32":
        return Tensor(index)
    if name not in _QUANTISED:
        raise ModelBroken(f"tensor {details['name']!r} is {name}, expected float32, {', '.join(_QUANTISED)}")
    if len(details["quantization_parameters"]["scales"]) > 1:
        raise ModelBroken(f"tensor {details['name']!r} has a scale for each channel, expected one")
    scale, zero_point = float(details["quantization"][0]) or 1.0, int(details["quantization"][1])
    return Tensor(index, name, scale, zero_point, step=scale)
