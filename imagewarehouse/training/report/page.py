"""Writes the report: the numbers as metrics.json, and the page out of the templates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from imagewarehouse.models.manifest import Manifest
from imagewarehouse.training.evaluation import Evaluation, rounded
from imagewarehouse.training.report.sections import sections
from imagewarehouse.training.report.wording import count, number, percent, short

if TYPE_CHECKING:
    from imagewarehouse.training.dataset import Examples

METRICS_FILE, PAGE_FILE = "metrics.json", "index.html"

# Names of classes and files come from anywhere: all that a template shows is escaped. A value it misspells is an error.
_TEMPLATES = Environment(
    loader=PackageLoader("imagewarehouse.training.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {"short": short, "count": count, "percent": percent, "number": number}


def write_report(
    folder: Path,
    evaluation: Evaluation,
    *,
    manifest: Manifest,
    examples: Examples,
    history: Mapping[str, Sequence[float]] | None = None,
    exports: Mapping[str, Any] | None = None,
    latency: Mapping[str, Any] | None = None,
    problems: Sequence[str] = (),
) -> Path:
    """Write metrics.json and index.html into `folder`, which is made where it is missing.

    The same arguments give the same bytes: no date and no path of this machine is in them.

    Args:
        examples: those that were evaluated, for the pictures of the mistakes.
        history: a value an epoch for each quantity, as Keras' History has them; `val_x` is drawn into the chart of `x`.
        exports: by file name, any of `bytes`, `agreement` (0-1, same class as Keras), `largest_difference` (of a
            probability), `accuracy` (0-1, on validation), `median_ms`. What is missing is left empty.
        latency: what `training.evaluation.latency` returns.
        problems: what is wrong with the data, a line each.
    Returns: the path of the page.
    Raises: OSError when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    extra = {"latency": latency, "exports": exports, "history": history, "problems": list(problems)}
    metrics = {**evaluation.metrics, **{name: rounded(value) for name, value in extra.items() if value}}
    (folder / METRICS_FILE).write_text(_json(metrics), encoding="utf-8")
    page = folder / PAGE_FILE
    page.write_text(_page(metrics, evaluation, manifest, examples), encoding="utf-8")
    return page


def _json(metrics: Mapping[str, Any]) -> str:
    """Indented, but a list of numbers on one line: a confusion matrix can be read, and 1,000 classes take 3 MB."""

    def lines(value: Any, indent: str) -> str:
        inner = indent + "  "
        if isinstance(value, Mapping) and value:
            items = [f"{json.dumps(name)}: {lines(item, inner)}" for name, item in value.items()]
            return "{\n" + ",\n".join(inner + item for item in items) + f"\n{indent}}}"
        if isinstance(value, list) and any(isinstance(item, (list, Mapping)) for item in value):
            return "[\n" + ",\n".join(inner + lines(item, inner) for item in value) + f"\n{indent}]"
        return json.dumps(value, allow_nan=False)

    return lines(metrics, "") + "\n"


def _page(metrics: Mapping[str, Any], evaluation: Evaluation, manifest: Manifest, examples: Examples) -> str:
    return _TEMPLATES.get_template("evaluation.html").render(
        manifest=manifest,
        metrics=metrics,
        metrics_file=METRICS_FILE,
        sections=list(sections(metrics, evaluation.mistakes, manifest, examples)),
    )
