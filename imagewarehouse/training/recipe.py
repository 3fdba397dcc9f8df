"""How a network is trained: frozen values, and the presets of `imagewarehouse train --preset`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from imagewarehouse.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a training besides the images and the seed.

    The ingredients are those of airbench94 (Jordan, 2024): frozen whitening, large biases' rate, alternating flips,
    label smoothing, Nesterov momentum, triangular rate. Numbers that depend on the batch are given so that they do not:
    `rate` is for 1,024 images and scales with the batch.
    """

    epochs: int
    widths: tuple[int, ...] = (48, 160, 192)  # filters of each block; a block halves the picture
    batch: int = 512
    rate: float = 1.5  # peak learning rate at a batch of 1,024, for the mean loss
    bias_rate: float = 64.0  # the biases of the batch norms learn this much faster
    momentum: float = 0.85
    weight_decay: float = 0.009  # decoupled, times the rate; not for biases
    warm_up: float = 0.2  # part of the steps in which the rate rises; then it falls to zero
    smoothing: float = 0.2
    shift: float = 1 / 16  # of the side, 2 pixels of 32, by which a picture is moved, its edges reflected
    cutout: float = 9 / 32  # of the side, greyed out somewhere
    jpeg: float = 0.15  # part of the pictures that are stored as a JPEG of quality 30-95 once more
    light: float = 0.1  # brightness times 1 plus or minus up to this
    flip: bool = True
    sizes: tuple[tuple[float, float], ...] = ((0.4, 0.75), (0.7, 0.875), (1.0, 1.0))  # until this part: this size
    average: float = 0.5  # epochs in which an old weight's share in the averaged weights halves
    fewest_steps: int = 600  # small sets are gone through more often than `epochs` says

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("rate", 0.0), ("smoothing", 0.0)):
            if not getattr(self, name) >= least:
                raise ConfigurationError(f"--{name}", f"expected at least {least}, received {getattr(self, name)}")
        if not self.widths or min(self.widths) < 1:
            raise ConfigurationError("--widths", f"expected filters of each block, received {self.widths}")

    def fitted(
        self, images: int, replicas: int = 1, *, epochs_given: bool = False, batch_given: bool = False
    ) -> Recipe:
        """For a set of so many images: a batch that leaves some 20 steps in an epoch, and epochs enough to learn.

        The batch is a multiple of `replicas`, so that each gets its equal share.
        """
        most = 2 ** int(math.log2(max(8, images / 20)))
        batch = self.batch if batch_given else min(self.batch, most, max(1, images))
        batch = max(batch // replicas, 1) * replicas
        steps = max(1, images // batch)
        epochs = self.epochs if epochs_given else max(self.epochs, min(200, math.ceil(self.fewest_steps / steps)))
        return replace(self, batch=batch, epochs=epochs)

    def size_factor(self, done: float) -> float:
        """The side of the pictures, as a part of the whole, when this part of the training is done (0-1)."""
        return next((factor for until, factor in self.sizes if done < until), 1.0)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` is its inverse."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Recipe:
        sizes = tuple((float(until), float(factor)) for until, factor in values["sizes"])
        return Recipe(**{**values, "widths": tuple(values["widths"]), "sizes": sizes})


# The times are for CIFAR-10 and in docs/models.md.
PRESETS = {
    "tiny": Recipe(epochs=1, widths=(8, 16, 16), batch=128, average=0.1, cutout=0.0, fewest_steps=40),
    "quick": Recipe(
        epochs=6,
        widths=(32, 128, 192),
        batch=256,
        cutout=0.0,
        jpeg=0.0,
        light=0.0,
        sizes=((0.4, 0.5), (0.8, 0.75), (1, 1)),
    ),
    "standard": Recipe(epochs=24),
    "best": Recipe(epochs=60, widths=(128, 384, 384), cutout=12 / 32),
}
