"""`imagewarehouse model`: shows a model folder, and writes its files in other formats."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagewarehouse.cli.export_model import export_model
from imagewarehouse.errors import ConfigurationError, WarehouseError

if TYPE_CHECKING:
    from imagewarehouse.models.manifest import Manifest


@click.group()
def model() -> None:
    """Look at models, and write them in other formats."""


model.add_command(export_model)


@model.command()
@click.argument("folder", metavar="MODEL", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--data",
    metavar="SOURCE",
    required=True,
    help="Labelled images of the model's classes, best those that it learnt from: 10,000 of them are used.",
)
@click.option(
    "--test", metavar="SOURCE", help="Labelled images whose neighbours are looked for.  [default: a tenth of --data]"
)
@click.option("--version", default="latest", show_default=True, help="Which version gets one.")
@click.option("--out", type=click.Path(path_type=Path), metavar="MODEL", help="Another model folder.  [default: MODEL]")
@click.pass_context
def embed(ctx: click.Context, folder: Path, data: str, test: str | None, version: str, out: Path | None) -> None:
    """Give a model an embedding: the next version answers the same, and can say which images look alike.

    For versions that an earlier release made, and for imported ones, whose projection was drawn by chance. The version has to
    hold a Keras file. What it was trained on and its report stay as they are.

    \b
    Examples:
      imagewarehouse model embed model/flowers --data photos/
      imagewarehouse model embed model/cifar10 --data cifar10-train.parquet --test cifar10-test-a.parquet
    """
    from imagewarehouse.cli.training import load_tensorflow, needs_training

    needs_training("model embed")
    load_tensorflow()
    from imagewarehouse.cli.training.display import Display
    from imagewarehouse.training.embedding_version import embed_version, neighbours_text

    words = ["imagewarehouse", "model", "embed", str(folder), "--data", data, *(["--test", test] if test else [])]
    display = Display()
    with display.shown():
        manifest, problems = embed_version(
            folder,
            version,
            out,
            data,
            test,
            shlex.join(words),
            progress=lambda done, total: display.step("reading images", done, total),
        )
    for line in problems:
        click.echo(f"  ! {line}", err=True)
    assert manifest.embedding is not None
    click.echo(f"{manifest.name} version {manifest.version}: {manifest.folder}")
    click.echo(f"  {neighbours_text(manifest.embedding)}")


@model.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--version", default="latest", show_default=True, help="Which version of the model.")
@click.option("--load", is_flag=True, help="Also load it, warm it up and time it.")
def info(folder: Path | None, version: str, load: bool) -> None:
    """Check a model folder, hashes included, and show what its manifest says.

    FOLDER holds a sub-folder for each version, or is one version. Without it: the CIFAR-10 model of this project.
    """
    from imagewarehouse.images.colour import background_text
    from imagewarehouse.models.manifest import BUNDLED_MODEL, find_version, read_manifest

    try:
        manifest = read_manifest(find_version(folder or BUNDLED_MODEL, version))
    except ConfigurationError as err:
        raise ConfigurationError("FOLDER" if err.setting == "Model Folder" else "--version", err.problem) from err
    except WarehouseError as err:
        raise ConfigurationError("FOLDER", str(err)) from err
    spec = manifest.spec
    rows = [
        ("model", f"{manifest.name} version {manifest.version}, created {manifest.created}"),
        (
            "input",
            f"{spec.height} x {spec.width} (height x width) {spec.colour_order}, {spec.fit}, "
            f"behind transparency {background_text(spec.background)}; value * {spec.multiply} + {spec.add}",
        ),
        ("output", f"{len(manifest.labels)} {manifest.output}, temperature {manifest.temperature:g}"),
        ("embedding", _embedding_text(manifest)),
        ("classes", ", ".join(manifest.labels[:20]) + (", ..." if len(manifest.labels) > 20 else "")),
        *(
            (f"runtime {name}", f"{path.name}, {path.stat().st_size:,} bytes, hash checked")
            for name, path in manifest.runtimes.items()
        ),
        *(
            (f"metric {name}", str(value))
            for name, value in manifest.metrics.items()
            if not isinstance(value, (dict, list))
        ),
        *(
            (f"training {name}", str(value))
            for name, value in manifest.training.items()
            if not isinstance(value, (dict, list))
        ),
    ]
    for name, value in rows:
        click.echo(f"{name:<26} {value}")
    if load:
        _time(manifest.folder)


def _embedding_text(manifest: Manifest) -> str:
    facts = manifest.embedding
    if facts is None:
        return "none; `imagewarehouse model embed` gives it one"
    projection = f", {facts.projection.get('method')}" if facts.projection else ""
    return f"{facts.width} numbers made of the {facts.of} of layer {facts.layer}{projection}"


def _time(folder: Path) -> None:
    import time

    import numpy as np

    from imagewarehouse.images.decoding import to_batch
    from imagewarehouse.models.classifier import load_classifier

    started = time.perf_counter()
    try:
        classifier = load_classifier(folder)
    except WarehouseError as err:
        raise ConfigurationError("FOLDER", str(err)) from err
    loaded = time.perf_counter()
    spec = classifier.manifest.spec
    batch = to_batch([np.zeros((spec.height, spec.width, spec.channels), np.uint8)], spec)
    times = []
    for _ in range(100):
        before = time.perf_counter()
        classifier.probabilities(batch)
        times.append(time.perf_counter() - before)
    click.echo(f"{'loaded with':<26} {classifier.runtime} in {loaded - started:.2f} s")
    click.echo(f"{'one image':<26} {sorted(times)[50] * 1000:.2f} ms (median of 100, one thread)")
