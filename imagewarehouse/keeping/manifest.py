"""The manifest of a backup: what is in it, and the sha256 of each file. It is written last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from imagewarehouse.checksums import file_sha256
from imagewarehouse.errors import ConfigurationError

MANIFEST = "manifest.json"
ROWS, PLACES, MODELS, OBJECTS, MISSING = "rows", "places.parquet", "models", "objects.parquet", "missing.txt"
"""Folders and files of a backup."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class BackupFile:
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`began`, `ended`: ISO 8601. `where`: whose rows. `objects`, `missing`: None where the store was not looked at."""

    release: str
    began: str
    ended: str
    where: str
    rows: int
    places: int
    models: tuple[str, ...]
    objects: int | None
    object_bytes: int | None
    missing: int | None
    files: Mapping[str, BackupFile]

    def as_json(self) -> bytes:
        values = {"imagewarehouse_backup": _VERSION, **asdict(self)}
        return orjson.dumps(values, option=orjson.OPT_INDENT_2)


def read_manifest(folder: Path) -> Manifest:
    """Raises ConfigurationError: it is no backup, or none that this release knows."""
    file = folder / MANIFEST
    try:
        values: dict[str, Any] = orjson.loads(file.read_bytes())
        version = values.pop("imagewarehouse_backup")
        if version != _VERSION:
            raise ConfigurationError("BACKUP", f"{file} is of another release (format {version!r})")
        files = {_checked(name): BackupFile(**its) for name, its in values.pop("files").items()}
        return Manifest(**{**values, "models": tuple(values["models"]), "files": files})
    except OSError as err:
        unfinished = f"; {folder} is a backup that was interrupted" if folder.name.endswith(".part") else ""
        raise ConfigurationError("BACKUP", f"{file}: {err.strerror or err}{unfinished}") from err
    except (ValueError, LookupError, TypeError, AttributeError) as err:
        raise ConfigurationError("BACKUP", f"{file} is no manifest of a backup") from err


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raises ConfigurationError naming the first file that is not as it was written."""
    for name, its in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != its.size:
                raise ConfigurationError("BACKUP", f"{path} is damaged: it has {size:,} bytes and had {its.size:,}")
            if file_sha256(path) != its.sha256:
                raise ConfigurationError("BACKUP", f"{path} is damaged: its sha256 is not that of the manifest")
        except OSError as err:
            raise ConfigurationError("BACKUP", f"{path}: {err.strerror or err}") from err


def _checked(name: str) -> str:
    """A name in the manifest becomes a path. Raises ValueError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(name)
    return name
