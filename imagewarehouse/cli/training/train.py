"""`imagewarehouse train` and its final steps, after the options are parsed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported, or it prints what the CPU can do

import tensorflow as tf

from imagewarehouse.amounts import listed
from imagewarehouse.cli.training.display import Display, minutes
from imagewarehouse.errors import ConfigurationError, WarehouseError
from imagewarehouse.images.colour import background_from, background_text
from imagewarehouse.models.manifest import Manifest
from imagewarehouse.training.dataset import Dataset
from imagewarehouse.training.evaluation import Evaluation
from imagewarehouse.training.folder import next_version
from imagewarehouse.training.loop import Trainer
from imagewarehouse.training.run import Run, Settings, open_run, read_settings, recipe_for, typical_size
from imagewarehouse.training.start import find_start, mirrors, widths_of
from imagewarehouse.training.version import make_version

RUNS = Path("training-runs")
_LARGEST_DEFAULT = 64
_OF_ANY_RUN = {"out", "work", "name", "resume", "strategy", "progress"}
_SPOKEN = {"start": "--from", "validation_part": "--validation"}  # options that are not called as they are typed


def run(options: Mapping[str, Any], explicit: Set[str], command: str) -> int:
    """Train, export, test, report; returns the exit code."""
    out: Path | None = options["out"]
    if out is None:
        raise ConfigurationError("--out", "name the model's folder, such as model/flowers")
    if options["resume"] and options["restart"]:
        raise ConfigurationError("--restart", "either that or --resume")
    _check_out(out)
    strategy = _strategy(options["strategy"])  # first: TensorFlow wants it before anything else is computed
    chief = strategy is None or strategy.cluster_resolver is None or strategy.cluster_resolver.task_id in (0, None)
    work: Path = options["work"] or RUNS / (options["name"] or out.resolve().name)
    if not chief:
        work = work / f"worker-{strategy.cluster_resolver.task_id}"
    settings = _settings(options, explicit, work, command)
    display = Display(options["progress"] if chief else False)
    with open_run(work, settings, resume=options["resume"], restart=options["restart"]) as opened:
        if opened.version is not None:
            raise ConfigurationError(
                "--resume",
                f"this training is finished, version {opened.version} was written; without it the next one begins",
            )
        _stop_once()
        try:
            with display.shown():
                data = opened.read(lambda done, total: display.step("reading images", done, total))
                trainer = opened.trainer(data, strategy)
                _print_data(display, data, trainer, opened)
                opened.train(trainer, display.trained)
        except KeyboardInterrupt:
            if not any(work.glob("checkpoints/*.index")):
                click.echo("\nStopped before anything was learnt.", err=True)
                return 130
            click.echo(f"\nStopped; what was learnt is kept in {work}. {_resume_hint(work, out)}", err=True)
            return 130
        if not chief:
            return 0
        try:
            finish(opened, trainer, data, out, options["name"], display)
        except (WarehouseError, OSError, KeyboardInterrupt):
            click.echo(f"What was learnt is kept in {work}. {_resume_hint(work, out)}", err=True)
            raise
    return 0


def finish(opened: Run, trainer: Trainer, data: Dataset, out: Path, name: str | None, display: Display) -> Manifest:
    """Write the version and print its test accuracy."""
    done = trainer.step
    with display.shown():
        display.say(f"trained for {minutes(opened.seconds)}; writing the files, then reading the test images")
        manifest, evaluation, problems = make_version(
            opened, trainer.averaged_model(), data, trainer.history, out, name=name, recipe=trainer.recipe, start=trainer.start,
            unfinished=f"{done} of {trainer.steps} steps" if done < trainer.steps else None, progress=display.step,
        )  # fmt: skip
    opened.finished(manifest.version)
    for line in problems[len(data.problems) :]:
        click.echo(f"  ! {line}", err=True)
    _print_result(manifest, evaluation, out)
    return manifest


def finish_stopped(work: Path, out: Path, name: str | None, display: Display) -> Manifest:
    """A version of a training that was stopped, from its newest checkpoint.

    Raises: ConfigurationError when there is none, or another process is training there.
    """
    with open_run(work, None, resume=True, restart=False) as opened:
        with display.shown():
            data = opened.read(lambda done, total: display.step("reading images", done, total))
        trainer = opened.trainer(data)
        if not trainer.step:
            raise ConfigurationError("SOURCE", f"nothing has been learnt in {work} yet: there is no checkpoint")
        for line in data.problems:
            click.echo(f"  ! {line}", err=True)
        return finish(opened, trainer, data, out, name, display)


def _check_out(out: Path) -> None:
    """Runs before the training. Raises: ConfigurationError when no version can be written there."""
    next_version(out)
    created = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigurationError("--out", f"{out}: {err.strerror or err}") from err
    finally:
        for path in created:
            with suppress(OSError):
                path.rmdir()


def _stop_once() -> None:
    """The first Ctrl-C, or SIGTERM of batch systems and containers, stops; a second one must not stop the saving."""

    def stop(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def _resume_hint(work: Path, out: Path) -> str:
    words = shlex.join(["imagewarehouse", "export", str(work), "--out", str(out)])
    return f"Go on with --resume, or make a version of it:\n  {words}"


def _print_data(display: Display, data: Dataset, trainer: Trainer, opened: Run) -> None:
    counts = data.facts["images"]
    recipe, spec = trainer.recipe, opened.settings.spec
    display.say(
        f"{counts['train']:,} images to train on, {counts['validation']:,} for validation, {counts['test']:,} for the test; "
        f"{len(data.classes)} classes: {listed(data.classes, 12)}"
    )
    for line in data.problems:
        display.say(f"  ! {line}")
    display.say(
        f"input {spec.height} x {spec.width} pixels (height x width) {spec.colour_order}, "
        f"{trainer.model.count_params():,} parameters, {recipe.epochs} epochs of "
        f"{trainer.steps_per_epoch} steps of {recipe.batch} images, seed {opened.settings.seed}"
    )
    if start := trainer.start:
        copied = "all of them" if start.same_classes else "but for the last layer, because the classes are others"
        display.say(f"beginning with the weights of {start.manifest.name} version {start.manifest.version}, {copied}")
    if trainer.step:
        display.say(f"going on after step {trainer.step} of {trainer.steps}")
    elif opened.resumed:
        display.say("there is no checkpoint yet: beginning anew")
    display.say(f"checkpoints and TensorBoard logs: {opened.folder}")


def _print_result(manifest: Manifest, evaluation: Evaluation | None, out: Path) -> None:
    shown = manifest.folder
    if evaluation is None:
        click.echo(f"{manifest.name} version {manifest.version}: {shown}, not tested: there was no image to test on")
    else:
        metrics = evaluation.metrics
        low, high = metrics["accuracy_interval"]
        click.echo(
            f"{manifest.name} version {manifest.version}: test accuracy {metrics['accuracy']:.2%} on {metrics['images']:,} "
            f"images (95 % interval {low:.1%} to {high:.1%})"
        )
        click.echo(f"  report   {shown / 'report' / 'index.html'}")
    click.echo(f"  look     imagewarehouse model info {out}")
    click.echo(f"  serve    imagewarehouse run --set model.folder={out}")


def _settings(options: Mapping[str, Any], explicit: Set[str], work: Path, command: str) -> Settings | None:

    if options["resume"] and options["data"] is None:
        rejected = sorted(_SPOKEN.get(name, f"--{name.replace('_', '-')}") for name in explicit - _OF_ANY_RUN)
        if rejected:
            raise ConfigurationError(
                "--resume", f"goes on with the options it began with; leave out {', '.join(rejected)}"
            )
        return None
    if options["data"] is None:
        raise ConfigurationError("--data", "name the images to train on, or give --resume")
    start = find_start(options["start"]) if options["start"] else None
    widths = _widths(options["widths"])
    colour, fit, background = options["colour"], options["fit"], options["background"]
    try:
        background_from(background)
    except ValueError as err:
        raise ConfigurationError("--background", str(err).removeprefix("background: ")) from err
    if start:  # what is not said is as it was
        widths = widths or widths_of(start)
        colour = colour if "colour" in explicit else start.spec.colour_order
        fit = fit if "fit" in explicit else start.spec.fit
        background = background if "background" in explicit else background_text(start.spec.background)
    recipe = recipe_for(
        options["preset"],
        epochs=options["epochs"],
        batch=options["batch"],
        rate=options["rate"],
        smoothing=options["smoothing"],
        widths=widths,
        flip=False if options["no_flip"] or (start and not mirrors(start)) else None,
    )
    if options["input_size"]:
        height, width = parse_size(options["input_size"])
    elif start:
        height, width = start.spec.height, start.spec.width
    elif options["resume"]:
        height, width = (before := read_settings(work)).height, before.width
    else:
        height, width = typical_size(options["data"], _LARGEST_DEFAULT)
    if min(height, width) < 8 or max(height, width) > 1024:
        raise ConfigurationError("--input-size", f"expected 8 to 1024 pixels, received {height} x {width}")
    return Settings(
        data=options["data"], test=options["test"], recipe=recipe, epochs_given="epochs" in explicit,
        batch_given="batch" in explicit, seed=options["seed"],
        height=height, width=width, colour=colour, fit=fit, background=background,
        start=str(start.folder.resolve()) if start else None, validation_part=options["validation_part"],
        test_part=options["test_part"], limit=options["limit"],
        precision="mixed_bfloat16" if options["precision"] == "bfloat16" else "float32", command=command,
    )  # fmt: skip


def _widths(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as err:
        raise ConfigurationError("--widths", f"expected numbers such as 48,160,192, received {text!r}") from err


def _strategy(name: str) -> Any:
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multiworker":
        if not os.environ.get("TF_CONFIG"):
            raise ConfigurationError("--strategy", "multiworker needs the workers in TF_CONFIG; see docs/models.md")
        try:
            configuration = json.loads(os.environ["TF_CONFIG"])
            configuration["cluster"]["worker"][int(configuration["task"]["index"])]
        except (ValueError, LookupError, TypeError) as err:
            raise ConfigurationError("TF_CONFIG", f"names no worker: {err}; see docs/models.md") from err
        return tf.distribute.MultiWorkerMirroredStrategy()
    return None


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of `64` or `48x64`, which is height x width."""
    match = re.fullmatch(r"(\d{1,5})(?:\s*[xX]\s*(\d{1,5}))?", text.strip())
    if not match:
        raise ConfigurationError("--input-size", f"expected a number of pixels or HEIGHTxWIDTH, received {text!r}")
    height = int(match[1])
    return height, int(match[2] or height)
