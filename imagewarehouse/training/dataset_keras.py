"""The sets that Keras downloads by name, as a listing like any other."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from PIL import Image

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.images.decoding import UInt8Array
from imagewarehouse.training.listing import TEST, TRAIN, IntArray, Listing, Load

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm"""
_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
CLASSES = {
    "cifar10": tuple(_CIFAR10.split()),
    "cifar100": tuple(_CIFAR100.split()),
    "mnist": tuple("0123456789"),
    "fashion_mnist": tuple(_FASHION.split(",")),
}


@dataclass(frozen=True, slots=True)
class Arrays:
    """Pixels in memory, (N, height, width) or (N, height, width, 3) uint8."""

    images: UInt8Array = field(repr=False)

    def read(self, rows: IntArray) -> Iterator[tuple[int, Load]]:
        for position, row in enumerate(rows):
            yield position, partial(_as_file, self.images[row])


def _as_file(pixels: UInt8Array) -> bytes:
    """As a BMP file, so that these images pass the same preprocessing as all others."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    return file.getvalue()


def list_arrays(
    name: str, classes: Sequence[str], train: tuple[UInt8Array, IntArray], test: tuple[UInt8Array, IntArray]
) -> Listing:
    """A listing of what `keras.datasets` gives: pixels and labels (N,) or (N, 1), to train and to test."""
    labels = np.concatenate([train[1].ravel(), test[1].ravel()]).astype(np.int64)
    parts = [TRAIN] * len(train[1]) + [TEST] * len(test[1])
    names = tuple(f"{part}#{row}" for part, of in ((TRAIN, train), (TEST, test)) for row in range(len(of[1])))
    images = np.concatenate([train[0], test[0]])
    stamp = hashlib.sha256(f"keras {name} {images.shape}".encode()).hexdigest()
    return Listing(
        name, tuple(classes), labels, names, np.array(parts), Arrays(images), stamp, dict(enumerate(classes))
    )


def list_keras(name: str, setting: str) -> Listing:
    """Download a set, or take it from where Keras keeps it. Raises ConfigurationError when that fails."""
    try:
        import keras  # takes seconds, and is not everywhere

        train, test = getattr(keras.datasets, name).load_data()
    except Exception as err:  # Keras wraps every failed download into a bare Exception
        raise ConfigurationError(
            setting,
            f"{name} is downloaded by Keras, which failed: {err}. Without a network, name a folder with one sub-folder "
            "a class, a .csv file with path and label, or a .parquet file with image and label",
        ) from err
    return list_arrays(name, CLASSES[name], train, test)
