"""What the commands for models share. Nothing here needs the training libraries until it is called."""

from __future__ import annotations

import importlib.util

from imagewarehouse.errors import ConfigurationError

_NEEDED = ("tensorflow", "keras", "sklearn", "scipy", "matplotlib", "jinja2", "tensorboard", "h5py")


def needs_training(command: str) -> None:
    """Raises: ConfigurationError saying what to install, where the training libraries are not."""
    packages = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if packages:
        raise ConfigurationError(
            command,
            f"{', '.join(packages)} not installed; `make training` installs what it needs here, "
            "`pip install 'imagewarehouse[training]'` elsewhere",
        )


def load_tensorflow() -> None:
    """Import TensorFlow before anything else does, without what it prints meanwhile: what the CPU can do, and how it logs."""
    from imagewarehouse.training.litert import quiet

    with quiet():
        import tensorflow  # noqa: F401
