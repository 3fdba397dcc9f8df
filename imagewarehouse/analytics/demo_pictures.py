"""Small pictures for rows of demo data: a coloured ground, some shapes and the name of the class. Pure."""

from __future__ import annotations

import colorsys
import hashlib
import io
import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from imagewarehouse.analytics.demo import CLASSES
from imagewarehouse.metadata import CLASSIFIED

SIDE = 160  # pixels

Put = Callable[[str, bytes], str]
"""Stores a JPEG of this image_id; gives its storage_uri."""


def picture(name: str, number: int) -> bytes:
    """A JPEG, unlike those of other numbers."""
    rng = np.random.default_rng([number, len(name)])
    hue = (CLASSES.index(name) / len(CLASSES) if name in CLASSES else 0.5) + float(rng.uniform(-0.04, 0.04))
    image = Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB")
    image = Image.blend(image, Image.new("RGB", image.size, _colour(hue, 0.45, 0.75)), 0.8)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 7))):
        x, y, radius = (float(value) for value in rng.uniform((10, 40, 8), (150, 150, 36)))
        colour = _colour(hue + float(rng.uniform(-0.12, 0.12)), 0.6, float(rng.uniform(0.35, 0.95)))
        corners, turn = int(rng.integers(3, 9)), float(rng.uniform(0, 360))
        if corners == 8:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        else:
            draw.regular_polygon((x, y, radius), corners, rotation=turn, fill=colour)
    draw.text((8, 8), f"{name} {number}", fill=(255, 255, 255), stroke_width=1, stroke_fill=(40, 40, 40))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82)
    return file.getvalue()


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = (math.floor(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, value))
    return red, green, blue


class Pictures:
    """Gives the newest rows pictures: `count` of them, a row that repeats another one the same."""

    def __init__(self, count: int, put: Put) -> None:
        self._left = count
        self._put = put
        self._made: dict[str, tuple[str, str, int]] = {}  # by the id that the row had: image_id, storage_uri, bytes

    @property
    def count(self) -> int:
        return len(self._made)

    def onto(self, page: pa.Table) -> pa.Table:
        """The page, with pictures for its newest rows that were classified as long as there are some left."""
        if not self._left and not self._made:
            return page
        images, statuses, classes = (page[name].to_pylist() for name in ("image_id", "status", "predicted_class"))
        columns = {name: page[name].to_pylist() for name in ("image_id", "storage_uri", "size_bytes", *_SAME)}
        for row in reversed(range(page.num_rows)):
            if statuses[row] != CLASSIFIED or (images[row] not in self._made and not self._left):
                continue
            image_id, uri, size = self._made.get(images[row]) or self._make(images[row], classes[row])
            columns["image_id"][row], columns["storage_uri"][row], columns["size_bytes"][row] = image_id, uri, size
            for name, value in _SAME.items():
                columns[name][row] = value
        for name, values in columns.items():
            at = page.schema.get_field_index(name)
            page = page.set_column(at, page.schema.field(at), pa.array(values, page.schema.field(at).type))
        return page

    def _make(self, row_image: str, name: str) -> tuple[str, str, int]:
        content = picture(name, len(self._made) + 1)
        image_id = hashlib.sha256(content).hexdigest()
        self._left -= 1
        self._made[row_image] = image_id, self._put(image_id, content), len(content)
        return self._made[row_image]


_SAME = {"format": "JPEG", "declared_type": "image/jpeg", "width": SIDE, "height": SIDE}
