"""What a model was trained on, for the drift from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def images_of_training(training: Mapping[str, Any]) -> dict[str, int]:
    """Images by class, of `training` in a model's manifest; none where it does not say, as with imported models."""
    data = training.get("data")
    counts = data.get("train_images_by_class") if isinstance(data, Mapping) else None
    if not isinstance(counts, Mapping):
        return {}
    return {str(name): count for name, count in counts.items() if isinstance(count, int) and count > 0}
