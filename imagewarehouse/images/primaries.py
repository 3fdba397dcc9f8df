"""Colour profiles for pictures that have none but say their primaries and gamma in numbers: PNG's chunks and AVIF's `nclx`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
XY = tuple[float, float]
Gamma = float | tuple[float, ...] | None

_D50 = (0.9642, 1.0, 0.8249)  # ICC.1:2022, 7.2.16
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1, as a parametric curve of type 3


@dataclass(frozen=True, slots=True)
class Primaries:
    """Chromaticities x, y."""

    white: XY
    red: XY
    green: XY
    blue: XY


_D65: XY = (0.3127, 0.3290)
_BT601 = Primaries(_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
BT709 = Primaries(_D65, (0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
# ITU-T H.273, table 2; 2 is "unspecified".
CODED_PRIMARIES = {
    1: BT709,
    2: BT709,
    5: Primaries(_D65, (0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    6: _BT601,
    7: _BT601,
    9: Primaries(_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: Primaries((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: Primaries(_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: Primaries(_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
# Table 3. Curves of television (1, 6, 7, 14, 15) say how a camera encodes; screens show them as they show sRGB.
CODED_CURVES: dict[int, float | None] = {1: None, 2: None, 6: None, 7: None, 13: None, 14: None, 15: None,
                                         4: 2.2, 5: 2.8, 8: 1.0}  # fmt: skip

_WHITE_OF_SDR = 203.0  # cd/m2; the light of white paper, ITU-R BT.2408
_PEAK_OF_HLG, _GAMMA_OF_HLG = 1000.0, 1.2  # of the screen that BT.2100 is written for
_TABLE = 4096


def _pq(values: Float64Array) -> Float64Array:
    """Light of a code of 0 to 1, in cd/m2: SMPTE ST 2084."""
    powers = values ** (1 / 78.84375)
    light: Float64Array = (np.maximum(powers - 0.8359375, 0) / (18.8515625 - 18.6875 * powers)) ** (1 / 0.1593017578125)
    return 10_000 * light


def _hlg(values: Float64Array) -> Float64Array:
    """Light of a code of 0 to 1, in cd/m2: ITU-R BT.2100, channel by channel."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((np.maximum(values, 0.5) - c) / a) + b) / 12)
    light: Float64Array = _PEAK_OF_HLG * scene**_GAMMA_OF_HLG
    return light


# Colours of high dynamic range (16 and 18 of table 3), as a screen without it shows them: what is brighter than white is white.
HIGH_DYNAMIC_RANGE: dict[int, tuple[float, ...]] = {
    number: tuple(np.minimum(light(np.linspace(0, 1, _TABLE)) / _WHITE_OF_SDR, 1).tolist())
    for number, light in ((16, _pq), (18, _hlg))
}


def profile_for(primaries: Primaries, gamma: Gamma) -> bytes:
    """An ICC profile (version 4, matrix and curves).

    `gamma`: light is pixel ** gamma, or what a table of light of 0 to 1 says; None is the curve of sRGB.

    Raises: ValueError where no colours have such primaries.
    """
    matrix = _matrix(primaries)
    if gamma is None:
        curve = _curve(3, _SRGB_CURVE)
    else:
        curve = _table(gamma) if isinstance(gamma, tuple) else _curve(0, (gamma,))
    tags = {b"wtpt": _xyz(_D50)}
    for letter, column in zip((b"r", b"g", b"b"), matrix.T, strict=True):
        tags[letter + b"XYZ"], tags[letter + b"TRC"] = _xyz(column), curve
    directory, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        directory += struct.pack(">4sII", name, start + len(body), len(data))
        body += data.ljust(-(-len(data) // 4) * 4, b"\0")
    size = start + len(body)
    header = struct.pack(">I4xI4s4s4s12x4s", size, 0x04300000, b"mntr", b"RGB ", b"XYZ ", b"acsp").ljust(68, b"\0")
    header += b"".join(map(_fixed, _D50))
    return header.ljust(128, b"\0") + directory + body


def _matrix(primaries: Primaries) -> Float64Array:
    """Linear RGB -> XYZ, white adapted to D50 by Bradford's method."""
    columns = np.array([_from_xy(xy) for xy in (primaries.red, primaries.green, primaries.blue)]).T
    white = np.array(_from_xy(primaries.white))
    try:
        matrix = columns * np.linalg.solve(columns, white)
    except np.linalg.LinAlgError as err:
        raise ValueError("primaries: they lie on one line") from err
    cones, target = _BRADFORD @ white, _BRADFORD @ np.array(_D50)
    if not np.isfinite(matrix).all() or (cones <= 0).any():
        raise ValueError("primaries: no colours have them")
    adapted: Float64Array = np.linalg.inv(_BRADFORD) @ np.diag(target / cones) @ _BRADFORD @ matrix
    if np.abs(adapted).max() > 4:
        raise ValueError("primaries: no colours have them")
    return adapted


def _from_xy(xy: XY) -> tuple[float, float, float]:
    x, y = xy
    if y <= 0:
        raise ValueError(f"primaries: y of {y}")
    return x / y, 1.0, (1 - x - y) / y


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: Sequence[float] | Float64Array) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_fixed(float(value)) for value in values)


def _curve(kind: int, numbers: Sequence[float]) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + b"".join(map(_fixed, numbers))


def _table(values: Sequence[float]) -> bytes:
    return struct.pack(">4s4xI", b"curv", len(values)) + struct.pack(
        f">{len(values)}H", *(round(v * 65535) for v in values)
    )
