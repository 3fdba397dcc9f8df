"""The model folder: `<model>/<version>/manifest.json` and the files it names.

A version is immutable: every file's sha256 is in the manifest and is checked before the file is opened. Nothing is
unpickled and nothing is fetched from a URL.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagewarehouse import resources
from imagewarehouse.checksums import file_sha256
from imagewarehouse.errors import ConfigurationError, ModelBroken
from imagewarehouse.images.colour import WHITE, background_from, background_text
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.metadata import MOST_DIMENSIONS

MANIFEST = "manifest.json"
BUNDLED_MODEL = resources.MODEL
LITERT, TENSORFLOW = "litert", "tensorflow"


@dataclass(frozen=True, slots=True)
class EmbeddingFacts:
    """What a version says of its second output.

    JSON keys: `width`, numbers that it gives; `of`, those that it is made of; `layer`, which gives those; `projection`, how the
    ones become the others (null: they are the same); `neighbours`, what that costs, where it was measured.
    """

    width: int
    of: int
    layer: str
    projection: Mapping[str, Any] | None
    neighbours: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        if not 0 < self.width <= MOST_DIMENSIONS:
            raise ValueError(f"embedding: width: expected 1 to {MOST_DIMENSIONS}, received {self.width}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of one model, as its manifest.json says.

    JSON keys: `name`, `version`, `input` {`height`, `width`, `multiply`, `add`, `colour_order`, `fit`,
    `background` behind what is transparent, "#rrggbb"}, `output`
    ("probabilities" or "logits"), `temperature` (logits are divided by it), `labels` (a file, one label a line),
    `runtimes` {"litert": file, "tensorflow": file} in order of preference, `exports` {file: how it compares with the
    network it was made from}, `embedding` (see `EmbeddingFacts`; left out where there is none), `sha256` {file: hex},
    `metrics`, `training`, `created`.
    """

    folder: Path
    name: str
    version: str
    spec: InputSpec
    output: str
    temperature: float
    labels: tuple[str, ...]
    runtimes: Mapping[str, Path]
    metrics: Mapping[str, Any]
    training: Mapping[str, Any]
    created: str
    embedding: EmbeddingFacts | None = None


def read_manifest(folder: Path) -> Manifest:
    """Read and check one version folder, hashes included. Raises ModelBroken naming the file and the key."""
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ModelBroken(f"{path}: {err.strerror or err}") from err
    except (ValueError, RecursionError) as err:
        raise ModelBroken(f"{path}: not JSON: {err}") from err
    if not isinstance(raw, dict):
        raise ModelBroken(f"{path}: expected an object")
    try:
        return _parse(folder, raw)
    except KeyError as err:
        raise ModelBroken(f"{path}: key {err} is missing") from err
    except (TypeError, ValueError, OverflowError) as err:
        raise ModelBroken(f"{path}: {err}") from err


def find_version(model: Path, version: str = "latest") -> Path:
    """The folder of a version: by its name, or the highest number for "latest".

    `model` may also be a version folder itself. Raises ConfigurationError when there is none.
    """
    if (model / MANIFEST).is_file():
        return model
    if not model.is_dir():
        raise ConfigurationError("Model Folder", f"{model} is not a folder")
    versions = {p.parent.name: p.parent for p in model.glob(f"*/{MANIFEST}")}
    if not versions:
        raise ConfigurationError("Model Folder", f"{model} has no <version>/{MANIFEST}")
    if version in ("", "latest"):
        numbered = sorted((int(name), name) for name in versions if name.isdecimal())
        if not numbered:
            raise ConfigurationError("Model Version", f"no numbered version in {model}: {', '.join(sorted(versions))}")
        return versions[numbered[-1][1]]
    if version not in versions:
        raise ConfigurationError("Model Version", f"no {version!r} in {model}: {', '.join(sorted(versions))}")
    return versions[version]


def _parse(folder: Path, raw: dict[str, Any]) -> Manifest:
    hashes: dict[str, str] = raw["sha256"]
    files: dict[str, str] = {**raw["runtimes"], "labels": raw["labels"]}
    for name in files.values():
        _check_hash(folder, name, hashes)
    labels = tuple((folder / raw["labels"]).read_text(encoding="utf-8").split("\n"))
    labels = labels[:-1] if labels and labels[-1] == "" else labels
    if not labels or any(not label.strip() for label in labels):
        raise ValueError(f"labels: {raw['labels']} has an empty line")
    if len(set(labels)) != len(labels):
        raise ValueError(f"labels: {raw['labels']} names a class twice")
    runtimes = {name: folder / file for name, file in raw["runtimes"].items()}
    if not runtimes or not set(runtimes) <= {LITERT, TENSORFLOW}:
        raise ValueError(f"runtimes: expected {LITERT} or {TENSORFLOW}, received {sorted(runtimes)}")
    if raw["output"] not in ("probabilities", "logits"):
        raise ValueError(f"output: expected probabilities or logits, received {raw['output']!r}")
    temperature = float(raw.get("temperature", 1.0))
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0, received {temperature}")
    shape = raw["input"]
    spec = InputSpec(
        height=int(shape["height"]),
        width=int(shape["width"]),
        multiply=_numbers(shape.get("multiply", 1 / 255)),
        add=_numbers(shape.get("add", 0.0)),
        colour_order=shape.get("colour_order", "RGB"),
        fit=shape.get("fit", "stretch"),
        background=background_from(str(shape.get("background", background_text(WHITE)))),
    )
    return Manifest(
        folder=folder,
        name=str(raw["name"]),
        version=str(raw["version"]),
        spec=spec,
        output=raw["output"],
        temperature=temperature,
        labels=labels,
        runtimes=runtimes,
        metrics=raw.get("metrics", {}),
        training=raw.get("training", {}),
        created=str(raw.get("created", "")),
        embedding=_embedding(raw["embedding"]) if raw.get("embedding") is not None else None,
    )


def _embedding(raw: Mapping[str, Any]) -> EmbeddingFacts:
    return EmbeddingFacts(
        int(raw["width"]), int(raw["of"]), str(raw["layer"]), raw.get("projection"), raw.get("neighbours")
    )


def _check_hash(folder: Path, name: str, hashes: Mapping[str, str]) -> None:
    path = (folder / name).resolve()
    if folder.resolve() not in path.parents:
        raise ValueError(f"{name}: lies outside the model folder")
    if name not in hashes:
        raise ValueError(f"sha256: no entry for {name}")
    try:
        digest = file_sha256(path)
    except OSError as err:
        raise ModelBroken(f"{path}: {err.strerror or err}") from err
    if digest != hashes[name]:
        raise ModelBroken(f"{path}: its sha256 is {digest[:12]}…, the manifest says {str(hashes[name])[:12]}…")


def _numbers(value: float | list[float]) -> tuple[float, ...]:
    return tuple(float(v) for v in value) if isinstance(value, list) else (float(value),)
