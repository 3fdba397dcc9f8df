"""`imagewarehouse model export`, after its options are parsed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported, or it prints what the CPU can do

from rich.console import Console
from rich.table import Table

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.models.manifest import TENSORFLOW, find_version, read_manifest
from imagewarehouse.training.dataset import read_examples
from imagewarehouse.training.exports import MORE_FORMATS, Exported, export, load_keras

_MOST_COMPARED = 2_000


def write_files(source: Path, version: str, formats: Sequence[str], out: Path, data: str | None) -> None:
    """Write the files, overwrite none, and print how far each is from the Keras network."""
    try:
        manifest = read_manifest(find_version(source, version))
    except ConfigurationError as err:
        raise ConfigurationError("SOURCE" if err.setting == "Model Folder" else "--version", err.problem) from err
    if TENSORFLOW not in manifest.runtimes:
        raise ConfigurationError(
            "SOURCE", f"{manifest.name} {manifest.version} holds no Keras file that other formats could be made from"
        )
    names = {kind: MORE_FORMATS[kind] for kind in formats}
    for name in names.values():
        if (out / name).exists():
            raise ConfigurationError("--out", f"{out / name} exists already")
    examples = None
    if data:
        examples, problems = read_examples(data, manifest.spec, manifest.labels, limit=_MOST_COMPARED)
        for line in problems:
            click.echo(f"  ! {line}", err=True)
    model = load_keras(manifest.runtimes[TENSORFLOW])
    try:
        out.mkdir(parents=True, exist_ok=True)
        # In place at the end only: what can't be written or compared leaves nothing.
        with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as folder:
            files = export(model, names, Path(folder), manifest.spec, examples, manifest.output)
            table = _table(files, out)
            for name, exported in files.items():
                exported.path.rename(out / name)
    except OSError as err:
        raise ConfigurationError("--out", f"{err.filename or out}: {err.strerror or err}") from err
    Console(highlight=False).print(table)


def _table(files: Mapping[str, Exported], out: Path) -> Table:
    labelled = any(exported.accuracy is not None for exported in files.values())
    table = Table(box=None, pad_edge=False)
    for column in ("file", "bytes", "same class as Keras", "largest difference", *(["accuracy"] if labelled else [])):
        table.add_column(column, justify="left" if column == "file" else "right")
    for name, exported in files.items():
        accuracy = [] if exported.accuracy is None else [f"{exported.accuracy:.2%}"]
        same, difference = f"{exported.agreement:.2%}", f"{exported.largest_difference:.6f}"
        table.add_row(str(out / name), f"{exported.size:,}", same, difference, *accuracy)
    return table
