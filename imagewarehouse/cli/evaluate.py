"""`imagewarehouse evaluate`: scores a model on labelled images, as numbers and as a report."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagewarehouse.checksums import file_sha256
from imagewarehouse.cli.training import needs_training
from imagewarehouse.cli.training.display import Display, minutes
from imagewarehouse.errors import ConfigurationError, ModelBroken, WarehouseError
from imagewarehouse.sending.text import plain

if TYPE_CHECKING:
    from imagewarehouse.models.classifier import Classifier
    from imagewarehouse.models.manifest import Manifest

WEAKEST = 5  # classes in the summary
PROBLEMS = 20  # lines


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option(
    "--data",
    required=True,
    metavar="SOURCE",
    help="Labelled images; of a source with a test part, that part. The same sources as `imagewarehouse train` takes.",
)
@click.option("--version", default="latest", show_default=True, help="Which version of the model.")
@click.option(
    "--runtime",
    type=click.Choice(["auto", "litert", "tensorflow"]),
    default="auto",
    show_default=True,
    help="What to run it with; auto is what serves it.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the report goes.  [default: evaluation-MODEL-VERSION here]",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Use N images, each class by its share.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of --limit, and of the noise and the choice of images that robustness is measured with.",
)
@click.option("--no-robustness", is_flag=True, help="Leave out noise, blur, light and JPEG: most of the time.")
@click.option("--json", "as_json", is_flag=True, help="The metrics as JSON on standard output instead of a summary.")
def evaluate(
    model: Path | None,
    data: str,
    version: str,
    runtime: str,
    out: Path | None,
    limit: int | None,
    seed: int,
    no_robustness: bool,
    as_json: bool,
) -> None:
    """Measure a model on labelled images that it was not trained on, and write a report.

    MODEL is a folder with a sub-folder for each version, or one version. Without it: the CIFAR-10 model of this project.
    It is measured as it is served: the same file, runtime and scaling of confidences as in NiFi.

    The report is one page, index.html, that needs no network, and metrics.json with the same numbers.

    \b
    Examples:
      imagewarehouse evaluate --data cifar10-test-a.parquet
      imagewarehouse evaluate model/flowers --data photos/test --version 3 --out report-3
      imagewarehouse evaluate --data photos/ --no-robustness --json | jq .accuracy
    """
    needs_training("evaluate")
    from imagewarehouse.training.dataset import read_examples
    from imagewarehouse.training.evaluation import evaluate_model
    from imagewarehouse.training.report.page import METRICS_FILE, write_report
    from imagewarehouse.training.report.wording import noise

    classifier = _load(model, version, runtime)
    manifest = classifier.manifest
    out = out or Path(f"evaluation-{_file_name(manifest.name)}-{_file_name(manifest.version)}")
    _check_out(out)
    display = Display()
    with display.shown():
        step = _steps(display)
        examples, problems = read_examples(
            data, manifest.spec, manifest.labels, limit=limit, seed=seed, progress=partial(step, "reading images")
        )
        with _write_errors(out):  # before the minutes that the rest takes
            out.mkdir(parents=True, exist_ok=True)
        times, broken = _latency(manifest, step)
        problems = (*problems, *broken)
        evaluation = evaluate_model(classifier, examples, seed=seed, robustness=not no_robustness, progress=step)
    with _write_errors(out):
        page = write_report(out, evaluation, manifest=manifest, examples=examples, latency=times, problems=problems)
    if as_json:
        click.echo((out / METRICS_FILE).read_text(encoding="utf-8"), nl=False)
    else:
        for name, value in _summary(evaluation.metrics, times):
            click.echo(f"{name:<20} {plain(value)}")
        click.echo(f"\n{noise(evaluation.metrics)}")
    for line in problems[:PROBLEMS]:
        click.echo(f"  ! {plain(line)}", err=as_json)
    if len(problems) > PROBLEMS:
        click.echo(f"  ! and {len(problems) - PROBLEMS} more, all in the report", err=as_json)
    click.echo(f"report: {page}", err=as_json)


def _steps(display: Display) -> Callable[[str, int, int], None]:
    """Progress for `display`, with the images per second."""
    started: dict[str, float] = {}

    def step(task: str, done: int, total: int) -> None:
        now = time.monotonic()
        seconds = now - started.setdefault(task, now)
        remaining = f", {minutes((total - done) * seconds / done)} left" if done and not display.bars else ""
        display.step(task, done, total, f"{done / seconds:,.0f} images/s{remaining}" if seconds else "")

    return step


def _load(model: Path | None, version: str, runtime: str) -> Classifier:
    from imagewarehouse.models.classifier import load_classifier
    from imagewarehouse.models.manifest import BUNDLED_MODEL

    try:
        return load_classifier(model or BUNDLED_MODEL, version, runtime)
    except ConfigurationError as err:
        raise ConfigurationError("MODEL" if err.setting == "Model Folder" else "--version", err.problem) from err
    except WarehouseError as err:
        raise ConfigurationError("MODEL", str(err)) from err


def _check_out(out: Path) -> None:
    """Raises ConfigurationError when `out` is in the folder of a version, or is one."""
    from imagewarehouse.models.manifest import MANIFEST

    for folder in (out.resolve(), *out.resolve().parents):
        if (folder / MANIFEST).is_file():
            raise ConfigurationError("--out", f"{out} belongs to a version of a model, and a version never changes")


@contextmanager
def _write_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise ConfigurationError("--out", f"{err.filename or out}: {err.strerror or err}") from err


def _latency(manifest: Manifest, step: Callable[[str, int, int], None]) -> tuple[dict[str, Any] | None, list[str]]:
    """Times of the LiteRT files of a version, the served one first, and what is wrong with the others."""
    from imagewarehouse.models.manifest import LITERT, MANIFEST
    from imagewarehouse.training.evaluation import latency

    served = manifest.runtimes.get(LITERT)
    if served is None:
        return None, []
    hashes = json.loads((manifest.folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
    files, problems = {served.name: served}, []
    for name in sorted(hashes):
        path = manifest.folder / name
        if path.suffix == served.suffix and name not in files:
            if path.is_file() and file_sha256(path) == hashes[name]:
                files[name] = path
            else:
                problems.append(f"{name}: not the file that the manifest names, not timed")
    try:
        return latency(files, manifest.spec, progress=step), problems
    except ModelBroken as err:
        return None, [*problems, f"no times: {err}"]


def _summary(metrics: Mapping[str, Any], times: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    low, high = metrics["accuracy_interval"]
    yield "model", f"{metrics['model']} version {metrics['version']}, {metrics['file']} with {metrics['runtime']}"
    yield "images", f"{metrics['images']:,}"
    yield "accuracy", f"{metrics['accuracy']:.2%} (95 %: {low:.2%} to {high:.2%})"
    if "top_2_accuracy" in metrics:
        yield "top-2 accuracy", f"{metrics['top_2_accuracy']:.2%}"
    yield "macro F1", f"{metrics['macro_f1']:.4f}"
    weakest = sorted((row for row in metrics["by_class"] if row["images"]), key=lambda row: row["f1"])[:WEAKEST]
    yield "weakest classes", ", ".join(f"{row['class']} {row['f1']:.3f}" for row in weakest)
    before = "" if metrics["temperature"] == 1 else f", {metrics['ece_unscaled']:.4f} at temperature 1"
    yield "calibration error", f"{metrics['ece']:.4f}{before}"
    for name, timing in (times or {}).get("files", {}).items():
        yield (
            "one image",
            f"{timing['median_ms']:.3g} ms, p99 {timing['p99_ms']:.3g} ms, {timing['bytes']:,} bytes ({name})",
        )
    for corruption in metrics.get("robustness", {}).get("corruptions", ()):
        shares = ", ".join(f"{level['accuracy']:.1%} at {level['severity']:g}" for level in corruption["levels"])
        yield corruption["name"], shares


def _file_name(name: str) -> str:
    """A manifest may name its model anything."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip(".") or "model"
