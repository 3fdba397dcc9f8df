"""`imagewarehouse import`: writes a foreign model as a version of a model folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from imagewarehouse.errors import ConfigurationError

if TYPE_CHECKING:
    from imagewarehouse.training.importing import Imported


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="MODEL_FOLDER",
              help="Folder of the model; the version becomes a sub-folder of it.")  # fmt: skip
@click.option("--labels", required=True, metavar="FILE|A,B,C",
              help="Classes in the order of the model's outputs: a text file with one a line, a JSON file (list, "
                   '{"0": "cat"} or Keras\' class_indices {"cat": 0}), or a list with commas.')  # fmt: skip
@click.option("--scale", required=True, metavar="SCALE",
              help="What the model was trained on, made of pixels 0-255: 1/255 (0 to 1), 1/127.5-1 (-1 to 1), none (0 to "
                   "255, or the model rescales itself), imagenet (PyTorch's mean and deviation), caffe (Keras' ResNet50 "
                   "and VGG; then BGR), MULTIPLY,ADD or six numbers, the three factors first.")  # fmt: skip
@click.option("--input-size", "size", metavar="N|HxW",
              help="Height and width in pixels. Needed where the model takes any size, else compared with it.")  # fmt: skip
@click.option("--colour", type=click.Choice(["RGB", "BGR", "L"]), default=None,
              help="Order of the channels; L is grey.  [default: RGB; L where the model has one channel]")  # fmt: skip
@click.option("--fit", type=click.Choice(["stretch", "crop", "pad"]), default="stretch", show_default=True,
              help="How a picture of another shape is made to fit: as in training.")  # fmt: skip
@click.option("--background", default="#ffffff", show_default=True, metavar="#RRGGBB",
              help="Colour behind what is transparent: as in training.")  # fmt: skip
@click.option("--output", type=click.Choice(["auto", "probabilities", "logits"]), default="auto", show_default=True,
              help="What the model answers; auto asks it about test images.")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Logits are divided by it; from calibration.")  # fmt: skip
@click.option("--name", help="Name of the model in the records.  [default: the folder's]")
@click.option("--version", "number", default="next", show_default=True,
              help="Version to write; an existing one is never replaced.")  # fmt: skip
@click.option("--litert/--no-litert", default=True, show_default=True,
              help="Convert to LiteRT, which serves in a tenth of the memory of TensorFlow.")  # fmt: skip
@click.option("--quantise", is_flag=True, help="8-bit weights in the LiteRT file: a quarter of the size.")
@click.option("--trust", is_flag=True,
              help="Load a model that holds code of its author's (Lambda layers, own classes). It runs here, for the "
                   "conversion; the version gets the LiteRT file only.")  # fmt: skip
@click.pass_context
def import_model(
    ctx: click.Context, /, file: Path, out: Path, labels: str, scale: str, size: str | None, name: str | None, number: str,
    **extra: Any,
) -> None:  # fmt: skip
    """Check a model that was made elsewhere and write it as a version of a model folder.

    FILE is a Keras file (.keras), a Keras H5 file, a SavedModel folder or a TFLite file; its content says which. Size,
    channels and number of classes are compared with what is said here, the model is asked about test images, and what
    is written has to answer the same. Nothing is unpickled, and a model that holds code is refused without --trust.

    \b
    Examples:
      imagewarehouse import flowers.h5 --out models/flowers --labels labels.txt --scale 1/255
      imagewarehouse import cats.keras --out models/cats --labels cat,dog --scale 1/127.5-1 --input-size 224 --quantise
      imagewarehouse import saved/resnet --out models/resnet --labels imagenet.json --scale caffe --fit crop
      imagewarehouse import net.tflite --out models/net --labels labels.txt --scale imagenet
    """
    from imagewarehouse.images.colour import background_from
    from imagewarehouse.training.import_options import ImportOptions, read_labels
    from imagewarehouse.training.importing import import_model as check_and_write

    try:
        extra["background"] = background_from(extra["background"])
    except ValueError as err:
        raise ConfigurationError("--background", str(err).removeprefix("background: ")) from err
    read = read_labels(labels)
    options = ImportOptions(read.names, scale, _size(size), labels_from=read.origin, labels_note=read.note, **extra)
    version = None if number == "next" else number
    _show(check_and_write(file, out, options, name, version, _command(ctx)), out)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})(?:\s*[xX]\s*([1-9]\d{0,4}))?", text.strip())
    if match is None:
        raise ConfigurationError("--input-size", f"expected a number such as 224 or HEIGHTxWIDTH, received {text!r}")
    return int(match[1]), int(match[2] or match[1])


def _command(ctx: click.Context) -> str:
    """What was typed, without where files lie on this machine."""
    words = ["imagewarehouse", "import"]
    for option in ctx.command.params:
        value = ctx.params[option.name or ""]
        if ctx.get_parameter_source(option.name or "") is ParameterSource.DEFAULT:
            continue
        path = Path(str(value))
        text = path.name if path.is_absolute() else str(value)
        if isinstance(option, click.Argument):
            words.append(text)
        elif isinstance(value, bool):
            words.append(option.opts[0] if value else option.secondary_opts[0])
        else:
            words += [option.opts[0], text]
    return shlex.join(words)


def _show(imported: Imported, out: Path) -> None:
    manifest, report = imported.manifest, imported.report
    spec, checks = manifest.spec, report["checks"]
    click.echo(f"{manifest.name} version {manifest.version} in {manifest.folder}, from a {report['source']['kind']}")
    click.echo(f"  input      {spec.height} x {spec.width} {spec.colour_order}, {spec.fit}; "
               f"pixel * {_numbers_text(spec.multiply)} + {_numbers_text(spec.add)}")  # fmt: skip
    click.echo(f"  output     {len(manifest.labels)} classes ({_label_list(manifest.labels)}), as {manifest.output}")
    click.echo(f"  embedding  {report['embedding']}")
    sizes = manifest.metrics["size_bytes"]
    for runtime, path in manifest.runtimes.items():
        click.echo(f"  {runtime:<10} {path.name}, {sizes[path.name]:,} bytes; {_comparison_text(checks, path.name)}")
    for note in report["notes"]:
        click.echo(f"  note       {note}")
    click.echo("The test images say that it is the same model, not that it is a good one. Next:")
    click.echo(f"  imagewarehouse evaluate {shlex.quote(str(out))} --data LABELLED_IMAGES")
    click.echo(f"  imagewarehouse run --set model.folder={shlex.quote(str(out))}")


def _comparison_text(checks: Mapping[str, Any], file: str) -> str:
    if file not in checks:
        return f"as it came, and it answers for {checks['images']} test images"
    difference, other = checks[file]["largest_difference"], checks[file]["other_class"]
    return f"over {checks['images']} test images it differs by at most {difference:g}, {other} other classes"


def _numbers_text(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.6g}" for value in values) if len(set(values)) > 1 else f"{values[0]:.6g}"


def _label_list(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
