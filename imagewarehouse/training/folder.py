"""Writes a new version to a model folder, atomically.

What `imagewarehouse.manifest` reads is written here and nowhere else, by training, export and import alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from imagewarehouse.checksums import file_sha256
from imagewarehouse.errors import ConfigurationError, ModelBroken
from imagewarehouse.images.colour import background_text
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import MANIFEST, Manifest, read_manifest

LABELS_FILE, LITERT_FILE, KERAS_FILE = "labels.txt", "model.tflite", "model.keras"
REPORT = "report/"

_KEYS = ("name", "version", "input", "output", "temperature", "labels", "runtimes", "exports", "embedding",
         "sha256", "metrics", "training", "created")  # fmt: skip
_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "ai-edge-litert", "numpy", "pillow")
_FILE = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*", re.ASCII)
_VERSION = re.compile(r"\w[\w.-]*", re.ASCII)


def next_version(model: Path) -> str:
    """The number of the version to write: "1" for a new model, else one above the highest there is.

    A folder without a manifest counts as well: it may be one that is being copied. Ask right before writing.
    Raises: ConfigurationError when `model` is no folder of versions.
    """
    if (model / MANIFEST).is_file():
        raise ConfigurationError("--out", f"{model} is a version itself; give the folder of the model, one above")
    try:
        names = [path.name for path in model.iterdir()]
    except FileNotFoundError:
        return "1"
    except OSError as err:
        raise _not_writable(model, err) from err
    return str(max((int(name) for name in names if name.isdecimal()), default=0) + 1)


def write_version(
    model: Path, version: str, manifest: Mapping[str, Any], files: Mapping[str, bytes | Path]
) -> Manifest:
    """Write `model/version` and check it by loading it in every runtime it names.

    It is built in a hidden folder beside it and renamed at the end: nobody sees half a version, and when anything
    fails nothing is left.

    Args:
        manifest: the keys of `imagewarehouse.manifest.Manifest`; `sha256` and `metrics.size_bytes` are added for each
            file outside report/, and where they are missing `name`, `temperature`, `labels`, `metrics`, `training`
            and `created` (today, UTC).
        files: content, or the path of a file to copy, by name; a name may hold one sub-folder ("report/metrics.json").
    Returns: the manifest as it is read back from the version's folder.
    Raises: ConfigurationError (the version exists, the folder cannot be written), ModelBroken (what is wrong with the
        version), ModelUnavailable (a runtime it names is not installed).
    """
    target = model / version
    _check_names(version, files)
    if os.path.lexists(target):
        raise _exists(target)
    with _building(model, version) as building:
        try:
            for name, content in files.items():
                _write(building / name, content)
            whole = _complete(building, {"name": model.resolve().name, **manifest, "version": version}, files)
            text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            # Last, because a folder without a manifest is no version.
            _write(building / MANIFEST, text.encode())
            _sync(building)
            for runtime in read_manifest(building).runtimes:
                load_classifier(building, runtime=runtime, embed=True)
        except ModelBroken as err:
            raise ModelBroken(str(err).replace(str(building), str(target))) from err
        try:
            building.rename(target)
        except OSError as err:  # a version that somebody else wrote meanwhile is not empty: never replaced
            raise (_exists(target) if os.path.lexists(target) else err) from err
        _sync(model)
    return read_manifest(target)


def manifest_input(spec: InputSpec) -> dict[str, Any]:
    """The manifest's `input`, which `read_manifest` turns into the same `spec` again."""
    return {
        "height": spec.height,
        "width": spec.width,
        "multiply": _number(spec.multiply),
        "add": _number(spec.add),
        "colour_order": spec.colour_order,
        "fit": spec.fit,
        "background": background_text(spec.background),
    }


def versions() -> dict[str, str]:
    """Of Python and of the installed libraries that a model's answers depend on."""
    installed = {item.name.replace("_", "-").lower(): item.version for item in distributions()}
    return {"python": platform.python_version(), **{name: installed[name] for name in _PACKAGES if name in installed}}


def _check_names(version: str, files: Mapping[str, Any]) -> None:
    if not _VERSION.fullmatch(version):
        raise ConfigurationError("--version", f"expected letters, digits, dots and dashes, received {version!r}")
    if version == "latest":
        raise ConfigurationError(
            "--version", "latest is the highest number in the folder, so no version can be called so"
        )
    for name in files:
        if not _FILE.fullmatch(name) or name == MANIFEST:
            raise ValueError(f"files: {name!r} is no name for a file of a version")


@contextlib.contextmanager
def _building(model: Path, version: str) -> Iterator[Path]:
    """A hidden folder in `model`, which is made where it is missing; gone afterwards unless it was renamed."""
    created = [path for path in (model, *model.parents) if not path.exists()]
    building = model / f".{version}.{secrets.token_hex(4)}"
    try:
        building.mkdir(parents=True)  # not mkdtemp: NiFi reads it as another user
        yield building
    except OSError as err:
        written = err.filename2 or err.filename or building  # of a copy the second is what is written
        inside = str(written).startswith(str(building))
        raise _not_writable(model, OSError(err.errno, err.strerror) if inside else err) from err
    finally:
        shutil.rmtree(building, ignore_errors=True)
        for path in created:
            with contextlib.suppress(OSError):  # a version is in it
                path.rmdir()


def _complete(folder: Path, manifest: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest in the order of _KEYS, with what is known of the files."""
    served = [name for name in names if not name.startswith(REPORT)]
    described: dict[str, Any] = {"temperature": 1.0, "labels": LABELS_FILE, "training": {}, **manifest}
    described["sha256"] = {name: file_sha256(folder / name) for name in served}
    sizes = {name: (folder / name).stat().st_size for name in served}
    described["metrics"] = {**described.get("metrics", {}), "size_bytes": sizes}
    described.setdefault("created", datetime.now(timezone.utc).date().isoformat())
    return {key: described[key] for key in (*_KEYS, *described) if key in described}


def _write(path: Path, content: bytes | Path) -> None:
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)
    _sync(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Down to the disk: a rename must not arrive there before the files do."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _number(values: tuple[float, ...]) -> float | list[float]:
    return values[0] if len(values) == 1 else list(values)


def _exists(target: Path) -> ConfigurationError:
    return ConfigurationError("--out", f"{target} exists already, and a version never changes")


def _not_writable(model: Path, err: OSError) -> ConfigurationError:
    return ConfigurationError("--out", f"{err.filename or model}: {err.strerror or err}")
