"""From a trained network to a version that can be served: files, temperature, the test, the report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import LITERT, TENSORFLOW, Manifest
from imagewarehouse.training.calibration import fit_temperature
from imagewarehouse.training.dataset import Dataset, Examples, read_test
from imagewarehouse.training.embedding_version import add_embedding
from imagewarehouse.training.evaluation import Evaluation, evaluate_model, latency
from imagewarehouse.training.exports import FORMATS, QUANTISED_FILE, Exported, export
from imagewarehouse.training.folder import (
    KERAS_FILE,
    LABELS_FILE,
    LITERT_FILE,
    manifest_input,
    next_version,
    versions,
    write_version,
)
from imagewarehouse.training.recipe import Recipe
from imagewarehouse.training.report.page import write_report
from imagewarehouse.training.run import Run, machine
from imagewarehouse.training.start import Start

Note = Callable[[str, int, int], None]
_SEEN = (
    "it began with {name} version {version}, which was trained on other images or another part of them: as far as it"
    " has seen validation or test images, the figures look too good"
)
MOST_LOST = 0.005  # of the accuracy on validation: a quantised file that loses no more than this is served


def make_version(
    run: Run,
    model: keras.Model,
    data: Dataset,
    history: Mapping[str, Sequence[float]],
    out: Path,
    *,
    recipe: Recipe,
    start: Start | None = None,
    name: str | None = None,
    unfinished: str | None = None,
    progress: Note | None = None,
) -> tuple[Manifest, Evaluation | None, tuple[str, ...]]:
    """Export a trained network, read the test images, and write the next version in `out`.

    Everything that is chosen, temperature and served file, is chosen on the validation images, before the test is read.

    Args:
        recipe: as it was trained with. start: what it began with, if not with chance.
        unfinished: how much of the training was done, if it was not all.
    Returns: the manifest, the evaluation (None without test images), and all problems of the data.
    """
    spec, number = run.settings.spec, next_version(out)
    name = name or out.resolve().name
    began_with = start.facts(data.facts) if start else None
    with tempfile.TemporaryDirectory(prefix="version-") as temporary:
        embedded, embedding = add_embedding(model, data.train, data.validation, spec, run.settings.seed)
        files = export(embedded, FORMATS, Path(temporary), spec, data.validation)
        served = choose(files)
        manifest: dict[str, Any] = {
            "name": name,
            "input": manifest_input(spec),
            "output": "logits",
            "temperature": round(_temperature(files[served], data), 4),
            "runtimes": {LITERT: served, TENSORFLOW: KERAS_FILE},
            "exports": {file: exported.facts() for file, exported in files.items()},
            **({"embedding": embedding} if embedding else {}),
            "metrics": {
                "validation_accuracy": files[served].facts()["accuracy"],
                "validation_images": len(data.validation),
                "parameters": model.count_params(),
            },
            "training": {
                "command": run.settings.command,
                "seed": run.settings.seed,
                "seconds": round(run.seconds),
                "machine": machine(),
                **({"unfinished": unfinished} if unfinished else {}),
                **({"began_with": began_with} if began_with else {}),
                "recipe": recipe.as_dict(),
                "data": data.facts,
                "versions": versions(),
            },
        }
        contents: dict[str, bytes | Path] = {file: exported.path for file, exported in files.items()}
        contents[LABELS_FILE] = ("\n".join(data.classes) + "\n").encode()
        draft = write_version(Path(temporary) / name, number, manifest, contents)

        timed = {file: draft.folder / file for file in files if file.endswith(".tflite")}
        times = latency(timed, spec, progress=progress)
        for file, timing in times["files"].items():
            manifest["exports"][file]["median_ms"] = round(timing["median_ms"], 3)
        examples, found_problems = _test(data, run, progress)
        if began_with and not began_with["same_split"]:
            found_problems = (*found_problems, _SEEN.format(**began_with))
        problems = (*data.problems, *found_problems)
        evaluation = None
        if len(examples):
            evaluation = evaluate_model(
                load_classifier(draft.folder), examples, seed=run.settings.seed, progress=progress
            )
            manifest["metrics"] = _headline(evaluation.metrics, times["files"][served]) | manifest["metrics"]
            report = Path(temporary) / "report"
            write_report(
                report, evaluation, manifest=draft, examples=examples, history=_renamed(history),
                exports=manifest["exports"], latency=times, problems=problems,
            )  # fmt: skip
            contents |= {f"report/{path.name}": path for path in sorted(report.iterdir())}
        return write_version(out, number, manifest, contents), evaluation, problems


def _temperature(served: Exported, data: Dataset) -> float:
    return fit_temperature(served.outputs, data.validation.labels) if len(data.validation) else 1.0


def choose(files: Mapping[str, Exported]) -> str:
    """The quantised file, a quarter of the size and faster, unless it loses more than MOST_LOST on validation."""
    full, small = files[LITERT_FILE], files[QUANTISED_FILE]
    if full.accuracy is None or small.accuracy is None:
        return LITERT_FILE
    return QUANTISED_FILE if full.accuracy - small.accuracy <= MOST_LOST else LITERT_FILE


def _test(data: Dataset, run: Run, progress: Note | None) -> tuple[Examples, tuple[str, ...]]:
    note = (lambda done, total: progress("reading the test images", done, total)) if progress else None
    return read_test(data.test, run.settings.spec, data.classes, progress=note)


def _headline(metrics: Mapping[str, Any], served: Mapping[str, Any]) -> dict[str, Any]:
    """What `imagewarehouse model info` shows; the rest is in the report."""
    return {
        "test_accuracy": metrics["accuracy"],
        "test_images": metrics["images"],
        "ece": metrics["ece"],
        "ece_unscaled": metrics["ece_unscaled"],
        "milliseconds_median": round(served["median_ms"], 3),
        "milliseconds_p99": round(served["p99_ms"], 3),
    }


def _renamed(history: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """As the report wants them: val_x beside x."""
    return {name.replace("validation_", "val_"): values for name, values in history.items()}
