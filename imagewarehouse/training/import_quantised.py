"""Quantised TFLite files: the range that their input was made for is compared with what --scale gives it."""

from __future__ import annotations

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.models.tensors import Tensor
from imagewarehouse.training.import_options import NAMED_SCALES, parse_scale

_REFUSED, _DOUBTFUL = 0.6, 0.9  # of both ranges together, the part that they share

Range = tuple[float, float]


def check_scale(source: Tensor, spec: InputSpec, scale: str) -> list[str]:
    """A note where the two ranges differ a little. Raises ConfigurationError naming --scale where they do a lot."""
    if not source.quantised:
        return []
    shared = _shared(_range(spec.multiply, spec.add), source.range)
    if shared >= _DOUBTFUL:
        return []
    text = (
        f"{scale} turns pixels into {_text(_range(spec.multiply, spec.add))}, but the model's {source.dtype} input was made "
        f"for {_text(source.range)}"
    )
    others = [name for name in NAMED_SCALES if _fits(name, source, spec)]
    if others:
        text += f", as {' or '.join(others)} gives it"
    if shared < _REFUSED:
        raise ConfigurationError("--scale", text)
    return [f"is --scale right? {text}"]


def quantisation(source: Tensor, answer: Tensor) -> str:
    """What is quantised and how, for a note; "" for a file of float32."""
    parts = [
        f"{name} {tensor.dtype} (scale {tensor.scale:.6g}, zero point {tensor.zero_point})"
        for name, tensor in (("input", source), ("output", answer))
        if tensor.quantised
    ]
    return f"quantised: {', '.join(parts)}; the service converts from and to it" if parts else ""


def _fits(scale: str, source: Tensor, spec: InputSpec) -> bool:
    if spec.colour_order == "L" and scale in ("imagenet", "caffe"):
        return False
    return _shared(_range(*parse_scale(scale, spec.colour_order)), source.range) >= _DOUBTFUL


def _range(multiply: tuple[float, ...], add: tuple[float, ...]) -> Range:
    """Of what pixels of 0-255 become, over all channels."""
    channels = max(len(multiply), len(add))
    factors, offsets = (values * (channels // len(values)) for values in (multiply, add))
    ends = [offset + pixel * factor for factor, offset in zip(factors, offsets, strict=True) for pixel in (0, 255)]
    return min(ends), max(ends)


def _shared(one: Range, other: Range) -> float:
    """0 where they have nothing in common, 1 where they are the same."""
    common = min(one[1], other[1]) - max(one[0], other[0])
    return max(0.0, common) / (max(one[1], other[1]) - min(one[0], other[0]))


def _text(ends: Range) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}"
