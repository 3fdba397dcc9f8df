"""The values of each section of the page; the templates only render them.

A section is a function of what was measured. One that has nothing to say returns None and is not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from imagewarehouse.amounts import file_size
from imagewarehouse.models.manifest import EmbeddingFacts, Manifest
from imagewarehouse.training.evaluation import Mistake
from imagewarehouse.training.report import plots
from imagewarehouse.training.report.wording import ms, noise, number, percent, short, words

if TYPE_CHECKING:
    from imagewarehouse.training.dataset import Examples

NUMBERED = 20  # most classes whose confusion matrix is written out in numbers
PAIRS = 30  # of classes, in the table that more classes get instead
MISTAKES = 24
PROBLEMS = 200  # lines
LISTED = 7  # facts on one line
CHARTS = 8  # of the history

Values = Mapping[str, Any]  # by the names that the section's template has for them


@dataclass(frozen=True, slots=True)
class Section:
    name: str  # of its template, and the page's anchor
    title: str
    values: Values


@dataclass(frozen=True, slots=True)
class Tile:
    name: str
    value: str
    more: str


@dataclass(frozen=True, slots=True)
class Fact:
    name: str
    text: str = ""
    is_code: bool = False
    inner: tuple[Fact, ...] = ()  # instead of the text


@dataclass(frozen=True, slots=True)
class Picture:
    source: str  # a data URI
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Cell:
    count: int
    depth: str  # of its colour, 0.00-1.00
    right: bool


@dataclass(frozen=True, slots=True)
class Pair:
    true: str
    predicted: str
    images: int
    share: float  # of the images of the true class, 0-1


@dataclass(frozen=True, slots=True)
class Photo:
    source: str  # a data URI
    alt: str
    small: bool
    predicted: str
    confidence: float
    true: str
    name: str


def sections(
    metrics: Mapping[str, Any], mistakes: Sequence[Mistake], manifest: Manifest, examples: Examples
) -> Iterator[Section]:
    """The sections that have content, in the order of the page."""
    for name, title, values in (
        ("result", "Result", _result(metrics, manifest)),
        ("problems", "Problems found", _problems(metrics.get("problems", []))),
        ("training", "Training", _training(manifest)),
        ("history", "Training curves", _history(metrics.get("history", {}))),
        ("classes", "Classes", _classes(metrics["by_class"])),
        ("confusion", "Confusion matrix", _confusion(metrics)),
        ("calibration", "Calibration", _calibration(metrics)),
        ("robustness", "Robustness", _robustness(metrics.get("robustness"))),
        ("files", "Files and speed", _files(metrics)),
        ("embedding", "Pictures that look alike", _embedding(manifest.embedding)),
        ("mistakes", "Most confident mistakes", _mistakes(mistakes, examples, manifest)),
    ):
        if values is not None:
            yield Section(name, title, values)


def _result(metrics: Mapping[str, Any], manifest: Manifest) -> Values:
    low, high = metrics["accuracy_interval"]
    tiles = [Tile("Accuracy", percent(metrics["accuracy"]), f"95 %: {percent(low)} to {percent(high)}")]
    if "top_2_accuracy" in metrics:
        tiles.append(Tile("Top-2 accuracy", percent(metrics["top_2_accuracy"]), "true class among the first two"))
    tiles.append(Tile("Macro F1", number(metrics["macro_f1"]), "mean over the classes"))
    if manifest.output == "logits":
        scaled = f"{number(metrics['ece_unscaled'])} before, temperature {metrics['temperature']:.4g}"
    else:
        scaled = "as the network says it, not rescaled"
    tiles += [
        Tile("Calibration error", number(metrics["ece"]), scaled),
        Tile("Mean confidence", percent(metrics["mean_confidence"]), f"right in {percent(metrics['accuracy'])}"),
        Tile("Log loss, Brier", number(metrics["nll"]), f"Brier {number(metrics['brier'])} of at most 2"),
        Tile("Size", file_size(manifest.runtimes[metrics["runtime"]].stat().st_size), short(metrics["file"])),
    ]
    timing = metrics.get("latency", {}).get("files", {}).get(metrics["file"])
    if timing:
        note = f"median on one thread, p99 {ms(timing['p99_ms'])} ms"
        tiles.append(Tile("One image", f"{ms(timing['median_ms'])} ms", note))
    return {"tiles": tiles, "noise": noise(metrics)}


def _problems(problems: Sequence[str]) -> Values | None:
    if not problems:
        return None
    return {"lines": problems[:PROBLEMS], "more": max(0, len(problems) - PROBLEMS)}


def _training(manifest: Manifest) -> Values | None:
    return {"facts": _facts(manifest.training)} if manifest.training else None


def _facts(values: Mapping[str, Any]) -> tuple[Fact, ...]:
    return tuple(_fact(name, value) for name, value in values.items())


def _fact(name: str, value: Any) -> Fact:
    shown = short(str(name).replace("_", " "))
    if name == "command":
        return Fact(shown, short(value, 1000), is_code=True)
    if name == "seconds" and isinstance(value, (int, float)):
        return Fact(shown, f"{value:,} ({timedelta(seconds=round(value))})")
    if isinstance(value, Mapping) and len(value) > LISTED:
        if all(isinstance(item, (int, float)) for item in value.values()):  # such as the images of 1,000 classes
            return Fact(shown, f"{len(value):,}: {words(min(value.values()))} to {words(max(value.values()))} each")
        return Fact(shown, inner=_facts(value))
    return Fact(shown, short(words(value), 2000))


def _history(history: Mapping[str, Sequence[float | None]]) -> Values | None:
    lines_by_metric: dict[str, dict[str, Sequence[float | None]]] = {}
    for name, values in history.items():
        base = name.removeprefix("val_")
        if values and (base in lines_by_metric or len(lines_by_metric) < CHARTS):
            lines_by_metric.setdefault(base, {})["training" if name == base else "validation"] = values
    charts = [
        Picture(
            plots.curves(lines),
            f"{base} over {max(map(len, lines.values()))} epochs: "
            + ", ".join(f"{name} ends at {words(values[-1])}" for name, values in lines.items()),
            f"{short(base.replace('_', ' '))}: "
            + ", ".join(f"{name} {short(words(values[-1]))}" for name, values in lines.items()),
        )
        for base, lines in lines_by_metric.items()
    ]
    return {"charts": charts} if charts else None


def _classes(rows: Sequence[Mapping[str, Any]]) -> Values:
    many = len(rows) > NUMBERED
    if many:  # the weakest are what one looks for; those without images come last
        rows = sorted(rows, key=lambda row: (row["f1"] is None, row["f1"]))
    return {"rows": rows, "many": many}


def _confusion(metrics: Mapping[str, Any]) -> Values:
    names = [row["class"] for row in metrics["by_class"]]
    counts = np.array(metrics["confusion"], dtype=np.int64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(names) <= NUMBERED:
        return {"numbered": True, "names": names, "rows": _matrix(names, counts, shares)}
    caption = (
        "Each row a true class, each column a predicted one, in the order of the labels file. Blue is right, orange "
        "wrong; the deeper, the larger the share of the row."
    )
    if len(names) > plots.CELLS:
        caption += f" {-(-len(names) // plots.CELLS)} classes share a row."
    alt = f"Heat map of {len(names):,} classes: rows true, columns predicted; the diagonal is right."
    heat_map = Picture(plots.heat_map(shares), alt, caption)
    return {"numbered": False, "pairs": _pairs(names, counts, shares), "heat_map": heat_map}


def _matrix(names: Sequence[str], counts: np.ndarray, shares: np.ndarray) -> list[tuple[str, list[Cell]]]:
    # The depth is the root of the share, so that 1 % can be told from none.
    return [
        (
            name,
            [
                Cell(int(counts[row, column]), f"{shares[row, column] ** 0.5:.2f}", row == column)
                for column in range(len(names))
            ],
        )
        for row, name in enumerate(names)
    ]


def _pairs(names: Sequence[str], counts: np.ndarray, shares: np.ndarray) -> list[Pair]:
    """The pairs most often confused."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    cells = [divmod(int(cell), len(names)) for cell in order if wrong.flat[cell]]
    return [Pair(names[row], names[column], int(counts[row, column]), shares[row, column]) for row, column in cells]


def _calibration(metrics: Mapping[str, Any]) -> Values:
    diagrams = [("reliability", "ece", "As served")]
    if metrics["temperature"] != 1:
        served = f"As served, at temperature {metrics['temperature']:.4g}"
        diagrams = [
            ("reliability_unscaled", "ece_unscaled", "Before, at temperature 1"),
            ("reliability", "ece", served),
        ]
    charts = [
        Picture(
            plots.reliability(metrics[bins]),
            f"Reliability diagram, {title.lower()}: {_reliability_text(metrics[bins])}",
            f"{title}: expected calibration error {number(metrics[error])}",
        )
        for bins, error, title in diagrams
    ]
    return {"charts": charts, "bins": metrics["reliability"]}


def _reliability_text(bins: Sequence[Mapping[str, Any]]) -> str:
    last = bins[-1]
    return (
        f"the {last['images']:,} most confident answers have {percent(last['confidence'])} mean confidence and are "
        f"right in {percent(last['accuracy'])}."
    )


def _robustness(robustness: Mapping[str, Any] | None) -> Values | None:
    if not robustness:
        return None
    clean = robustness["clean"]
    charts = [
        Picture(
            plots.severities(corruption, clean),
            f"{corruption['name']}: accuracy {percent(corruption['levels'][-1]['accuracy'])} "
            f"at {corruption['levels'][-1]['severity']:g}.",
            f"{short(corruption['name'])} ({short(corruption['unit'])})",
        )
        for corruption in robustness["corruptions"]
    ]
    changes = [
        {
            "name": corruption["name"],
            "unit": corruption["unit"],
            "levels": [
                (f"{level['severity']:g}", level["accuracy"], f"{100 * (level['accuracy'] - clean):+.1f}")
                for level in corruption["levels"]
            ],
        }
        for corruption in robustness["corruptions"]
    ]
    facts = {"clean": clean, "images": robustness["images"], "seed": robustness["seed"]}
    return {**facts, "charts": charts, "changes": changes}


def _files(metrics: Mapping[str, Any]) -> Values | None:
    latency = metrics.get("latency", {})
    exports, times = metrics.get("exports", {}), latency.get("files", {})
    if not exports and not times:
        return None
    rows = []
    for name in dict.fromkeys([*exports, *times]):
        export, timing = exports.get(name) or {}, times.get(name) or {}
        facts = {**timing, **{key: value for key, value in export.items() if value is not None}}
        cells = (
            _maybe(facts.get("bytes"), lambda value: f"{value:,}"),
            _maybe(facts.get("agreement"), lambda value: f"{100 * value:.2f} %"),
            _maybe(facts.get("largest_difference"), lambda value: f"{value:.2g}"),
            _maybe(facts.get("accuracy"), percent),
            _maybe(facts.get("median_ms"), ms),
            _maybe(timing.get("p99_ms"), ms),
            _maybe(timing.get("ratio"), lambda value: f"× {value:.2f}"),  # noqa: RUF001 - times
        )
        rows.append((name, cells))
    return {"rows": rows, "runs": latency["runs"] if latency else 0}


def _embedding(facts: EmbeddingFacts | None) -> Values | None:
    """What a search for similar pictures finds; manifests are unchecked, so what is missing is left out."""
    if facts is None or not facts.neighbours:
        return None
    same = facts.neighbours["same_class"]
    names = {
        "features": f"all {facts.of} numbers of the layer {facts.layer}",
        "centred": "the same, their mean taken off",
        "projected": f"projected onto {facts.width} numbers",
        "stored": "the same, rounded to bytes, as they are stored",
    }
    rows = [(text, percent(same[name])) for name, text in names.items() if name in same]
    return {"rows": rows, **{name: facts.neighbours[name] for name in ("nearest", "queries", "among", "found_again")}}


def _maybe(value: Any, write: Callable[[Any], str]) -> str:
    return "" if value is None else write(value)


def _mistakes(mistakes: Sequence[Mistake], examples: Examples, manifest: Manifest) -> Values:
    photos = []
    for mistake in mistakes[:MISTAKES]:
        source, small = plots.photo(examples.images[mistake.index], manifest.spec)
        alt = f"{mistake.true} taken for {mistake.predicted}"
        name = examples.names[mistake.index]
        photos.append(Photo(source, alt, small, mistake.predicted, mistake.confidence, mistake.true, name))
    return {"photos": photos, "wrong": len(mistakes), "images": len(examples.labels)}
