"""The processors of this bundle as Python classes, for hosts other than NiFi: the runner, and what builds the flow."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from imagewarehouse import resources
from imagewarehouse.errors import ConfigurationError


def processor_names(folder: Path = resources.PROCESSORS) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.py"))


def processor_class(name: str, folder: Path = resources.PROCESSORS) -> type[Any]:
    """The class of a processor, from the root module of its name. Raises ConfigurationError."""
    path = folder / f"{name}.py"
    if not name.isidentifier() or not path.is_file():
        raise ConfigurationError("flow", f"the standalone runner has no component {name}")
    if importlib.util.find_spec("nifiapi") is None:  # NiFi's own is as good, where it is there
        sys.path.insert(0, str(resources.STAND_IN))
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ConfigurationError("flow", f"{path} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    cls: type[Any] = getattr(module, name)
    return cls
