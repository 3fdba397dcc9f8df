"""`imagewarehouse train`: from labelled images to a model version that can be served."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

_PART = click.FloatRange(0, 0.5)


@click.command()
@click.option("--data", metavar="SOURCE", help="Labelled images: see above. Needed unless --resume is given.")
@click.option("--test", metavar="SOURCE", help="Test images.  [default: the source's own, or a part of it]")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="MODEL", help="Model folder; the next version is written in it."
)
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="Begin with the weights of a version that `imagewarehouse train` has made, of these or other classes.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Checkpoints and logs.  [default: training-runs/<name of MODEL>]",
)
@click.option(
    "--preset",
    type=click.Choice(["tiny", "quick", "standard", "best"]),
    default="standard",
    show_default=True,
    help="How large a network, how long; docs/models.md has times and accuracies.",
)
@click.option(
    "--epochs", type=click.IntRange(1), metavar="N", help="Times each image is seen.  [default: the preset's]"
)
@click.option("--batch", type=click.IntRange(1), metavar="N", help="Images a step.  [default: fewer for small sets]")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="X", help="Peak learning rate at a batch of 1,024."
)
@click.option(
    "--smoothing",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="X",
    help="Label smoothing: 0 is none.  [default: the preset's, 0.2]",
)
@click.option("--widths", metavar="N,N,N", help="Filters of each block of the network.")
@click.option("--no-flip", is_flag=True, help="Never mirror an image: for letters, digits, left and right hands.")
@click.option(
    "--input-size", metavar="N|HxW", help="Size in pixels the images are brought to.  [default: theirs, at most 64]"
)
@click.option(
    "--fit",
    type=click.Choice(["stretch", "crop", "pad"]),
    default="stretch",
    show_default=True,
    help="How images of other proportions are brought to it.",
)
@click.option(
    "--background",
    default="#ffffff",
    show_default=True,
    metavar="#RRGGBB",
    help="Colour behind what is transparent.",
)
@click.option("--colour", type=click.Choice(["RGB", "L"]), default="RGB", show_default=True, help="L is grey.")
@click.option(
    "--validation",
    "validation_part",
    type=_PART,
    default=0.1,
    show_default=True,
    help="Part cut from the training images to choose by.",
)
@click.option(
    "--test-part", type=_PART, default=0.1, show_default=True, help="Part cut off to test on where there is no other."
)
@click.option("--limit", type=click.IntRange(2), metavar="N", help="Use only N of the images, for a trial.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31),
    default=0,
    show_default=True,
    help="Of the splits, the first weights and the order.",
)
@click.option("--resume", is_flag=True, help="Go on with the training in --work, as if it had not been interrupted.")
@click.option("--restart", is_flag=True, help="Drop the training in --work and begin anew.")
@click.option(
    "--strategy",
    type=click.Choice(["default", "mirrored", "multiworker"]),
    default="default",
    show_default=True,
    help="TensorFlow's: one device; every GPU of this machine; the machines of TF_CONFIG.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="What the network computes in; bfloat16 is for GPUs and processors that have it (avx512_bf16, amx_bf16).",
)
@click.option("--name", help="The model's name.  [default: that of MODEL]")
@click.option("--progress/--no-progress", default=None, help="Show progress bars.  [default: only on a terminal]")
@click.pass_context
def train(context: click.Context, /, **options: Any) -> None:
    """Train a classifier on your images and write it as the next version of a model, with a report.

    SOURCE is one of: a folder with a sub-folder of images for each class (or train/, validation/, test/ with such);
    a .csv or .tsv with the columns path and label; a .parquet file or a folder of them with the columns image and
    label; cifar10, cifar100, mnist or fashion_mnist, which Keras downloads.

    Images that can't be used are left out and named. Part of the training images is held back for validation;
    temperature and served file are chosen on it. The test images are read once, at the end.

    Ctrl-C or SIGTERM stops after the running step and keeps it: --resume goes on, `imagewarehouse model export` makes a
    version of it.

    \b
    Examples:
      imagewarehouse train --data photos/ --out model/flowers
      imagewarehouse train --data cifar10 --out model/cifar10 --preset quick
      imagewarehouse train --data train.parquet --test test.parquet --out model/cifar10 --preset standard --seed 7
      imagewarehouse train --data more-photos/ --from model/flowers --out model/flowers --rate 0.5
      imagewarehouse train --resume --out model/flowers
      tensorboard --logdir training-runs/flowers/tensorboard

    \b
    Exit codes:
      0    the version is written
      2    a wrong setting, or images that can't be trained on
      130  stopped with Ctrl-C; nothing is lost
    """
    from imagewarehouse.cli.training import load_tensorflow, needs_training

    needs_training("train")
    load_tensorflow()
    from imagewarehouse.cli.training.train import run

    explicit = {
        name for name in options if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    }
    sys.exit(run(options, explicit, _command()))


def _command() -> str:
    """What was typed; of an absolute path the last part: the rest is of no use on another machine, and tells of this one."""
    words = []
    for word in sys.argv[1:]:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        words.append(option + equals + (Path(value).name if value.startswith("/") else value))
    return shlex.join(["imagewarehouse", *words])
