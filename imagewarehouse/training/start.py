"""Fine-tuning: a new training begins with the weights of an existing version."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from imagewarehouse.checksums import file_sha256
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.models.manifest import TENSORFLOW, Manifest, find_version, read_manifest
from imagewarehouse.training.embedding import LAYER
from imagewarehouse.training.exports import load_keras

OPTION = "--from"
_HEAD = "classes"  # the layer of network.py that gives a number for each class
_IMAGES = ("sha256", "train_sha256")
_SPLIT = ("sha256", "split_seed", "validation_part", "test_part", "limit", "test_is")  # of versions without the second


@dataclass(frozen=True, slots=True)
class Start:
    """A version that a training goes on from."""

    manifest: Manifest
    model: keras.Model
    same_classes: bool  # as those that are trained now, and in the same order

    def mean(self) -> Any:
        """The colour (channels,) that is taken off before the whitening."""
        return np.ravel(self._layer("centre").mean)

    def give(self, model: keras.Model) -> None:
        """Copy the weights into a network that `training.network.build` made.

        The last layer keeps its own first weights where the classes are others.
        Raises: ConfigurationError naming the layer that has another form, or that only one of the two has.
        """
        layer_names = {layer.name for layer in model.layers if layer.weights}
        for layer in self.model.layers:
            if layer.weights and layer.name not in layer_names and layer.name != LAYER:
                raise self._other(f"it has a layer {layer.name}, which is too many for pictures of this --input-size")
        for layer in model.layers:
            if not layer.weights or (layer.name == _HEAD and not self.same_classes):
                continue
            expected = [tuple(weight.shape) for weight in layer.weights]
            received = [tuple(weight.shape) for weight in self._layer(layer.name).weights]
            if expected != received:
                raise self._other(f"its layer {layer.name} is {received[0]}, here it is {expected[0]}: give no --widths and no"
                                  f" --input-size, or those of it")  # fmt: skip
            layer.set_weights(self._layer(layer.name).get_weights())

    def facts(self, data: dict[str, Any]) -> dict[str, Any]:
        """For the manifest. `same_split`: it was trained on the images that are trained on now, and on no others."""
        training = _object(self.manifest.training)
        before, began_with = _object(training.get("data")), _object(training.get("began_with"))
        names = _IMAGES if "train_sha256" in before else _SPLIT
        same = all(name in before and before[name] == data[name] for name in names)
        return {
            "name": self.manifest.name,
            "version": self.manifest.version,
            "sha256": file_sha256(self.manifest.runtimes[TENSORFLOW]),
            "same_split": same and began_with.get("same_split", True) is True,
        }

    def _layer(self, name: str) -> keras.layers.Layer:
        try:
            return self.model.get_layer(name)
        except ValueError as err:
            raise self._other(f"it has no layer {name}: fewer blocks, or not made by `imagewarehouse train`") from err

    def _other(self, difference: str) -> ConfigurationError:
        return ConfigurationError(OPTION, f"{self.manifest.name} version {self.manifest.version}: {difference}")


def find_start(model: Path) -> Manifest:
    """The version to go on from: `model` itself, or its newest.

    Raises: ConfigurationError when there is none that `imagewarehouse train` has made; ModelBroken.
    """
    try:
        manifest = read_manifest(find_version(model))
    except ConfigurationError as err:
        raise ConfigurationError(OPTION, err.problem) from err
    if TENSORFLOW not in manifest.runtimes or not widths_of(manifest):
        raise ConfigurationError(
            OPTION,
            f"{manifest.folder}: holds no Keras file that `imagewarehouse train` has made; it can't be gone on from",
        )
    return manifest


def read_start(model: Path, spec: InputSpec, classes: tuple[str, ...]) -> Start:
    """The version with its network. Raises: ConfigurationError when it looks at other colours or pixels; ModelBroken."""
    manifest = find_start(model)
    for name in ("channels", "colour_order", "multiply", "add"):
        expected, actual = getattr(spec, name), getattr(manifest.spec, name)
        if expected != actual:
            raise ConfigurationError(
                OPTION, f"{manifest.name} version {manifest.version}: its {name} is {actual}, here it is {expected}"
            )
    return Start(manifest, load_keras(manifest.runtimes[TENSORFLOW]), manifest.labels == classes)


def widths_of(version: Manifest) -> tuple[int, ...]:
    """Filters of each block of its network; none where `imagewarehouse train` has not made it."""
    widths = _object(_object(version.training).get("recipe")).get("widths")
    if not isinstance(widths, list) or not all(type(width) is int and width > 0 for width in widths):
        return ()
    return tuple(widths)


def mirrors(version: Manifest) -> bool:
    """Whether its training mirrored the images."""
    return _object(_object(version.training).get("recipe")).get("flip") is not False


def copy_version(version: Path, copy: Path) -> None:
    """Copy a version, without its report, so that a training can be resumed whatever becomes of the version.

    Raises: ConfigurationError.
    """
    temporary = copy.with_suffix(".new")
    try:
        for folder in (copy, temporary):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(version, temporary, ignore=shutil.ignore_patterns("report"))
        temporary.rename(copy)
    except (OSError, shutil.Error) as err:
        raise ConfigurationError("--work", f"{version} can't be copied to {copy}: {err}") from err


def _object(value: Any) -> Mapping[str, Any]:
    """The value as an object; a manifest is unchecked, so it may be of any type."""
    return value if isinstance(value, Mapping) else {}
