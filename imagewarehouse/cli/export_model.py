"""`imagewarehouse model export`: writes a model in other formats, or a version of a stopped training."""

from __future__ import annotations

from pathlib import Path

import click

_FORMATS = ("keras", "h5", "litert", "litert-int8", "savedmodel")


@click.command("export")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where to: see above.")
@click.option("--version", default="latest", show_default=True, help="Which version of a model folder.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(_FORMATS),
    multiple=True,
    help="Which files, of a model; may be given several times.  [default: all but savedmodel]",
)
@click.option("--data", metavar="SOURCE", help="Labelled images to compare the files on.  [default: noise]")
@click.option("--name", help="Of a training: the model's name.  [default: that of DIR]")
@click.option("--progress/--no-progress", default=None, help="Show progress bars.  [default: only on a terminal]")
def export_model(
    source: Path,
    out: Path,
    version: str,
    formats: tuple[str, ...],
    data: str | None,
    name: str | None,
    progress: bool | None,
) -> None:
    """Write a model in other formats, or make a version of a training that was stopped.

    SOURCE is a model folder (or one version in it) that holds a Keras file: the files are written into DIR, and each is
    loaded again and compared with the Keras network.

    SOURCE is the working folder of a training (training-runs/...): the weights of its newest checkpoint become the next
    version of the model DIR, tested and with a report, as `imagewarehouse train` would have done at its end.

    \b
    Examples:
      imagewarehouse model export model/cifar10 --out exported --format h5 --format litert
      imagewarehouse model export training-runs/flowers --out model/flowers
    """
    from imagewarehouse.cli.training import load_tensorflow, needs_training

    needs_training("export")
    load_tensorflow()
    from imagewarehouse.cli.training.display import Display
    from imagewarehouse.training.run import RUN_FILE

    if (source / RUN_FILE).is_file():
        from imagewarehouse.cli.training.train import finish_stopped

        finish_stopped(source, out, name, Display(progress))
        return
    from imagewarehouse.cli.training.export import write_files

    write_files(source, version, formats or _FORMATS[:-1], out, data)
