"""The report of an evaluation: metrics.json for programs and index.html, one file without a network, for people."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from imagewarehouse.models.manifest import Manifest
from imagewarehouse.training.evaluation import Evaluation, Mistake, rounded
from imagewarehouse.training.robustness import to_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from imagewarehouse.images.decoding import UInt8Array
    from imagewarehouse.training.dataset import Examples

METRICS_FILE, PAGE_FILE = "metrics.json", "index.html"

NUMBERED = 20  # most classes whose confusion matrix is written out in numbers
PAIRS = 30  # of classes, in the table that more classes get instead
CELLS = 250  # most rows of the heat map; of more classes several share one
MISTAKES = 24
PICTURE = 160  # pixels; larger pictures are made smaller, far smaller ones are shown enlarged
PROBLEMS = 200  # lines
LISTED = 7  # facts on one line
CHARTS = 8  # of the history
LONGEST = 120  # characters of a name

# Colours in the plots are written as these and become the page's own, which change with light and dark.
INK, FAINT, BLUE, ORANGE = "#010203", "#010204", "#010205", "#010206"
_VARIABLES = {INK: "--ink", FAINT: "--faint", BLUE: "--blue", ORANGE: "--orange"}
_THEME = """\
:root{--ink:#1f2328;--soft:#59636e;--faint:#c8ced6;--paper:#f6f8fa;--card:#ffffff;--line:#d8dee4;--blue:#1f5fbf;
--orange:#b54708;--rgb-blue:31,95,191;--rgb-orange:201,84,14;--deepest:.62}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9ba4ae;--faint:#4a525c;--paper:#0d1117;--card:#161b22;
--line:#30363d;--blue:#7cb0ff;--orange:#ffab70;--rgb-blue:56,118,212;--rgb-orange:205,100,30;--deepest:.85}}
"""
_STYLE = (
    ":root{color-scheme:light dark}\n"
    + _THEME
    + """\
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main,header,footer{max-width:72rem;margin:0 auto;padding:0 1rem}
header{padding-top:2rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:0 0 .75rem}
h3{font-size:1rem;margin:1.25rem 0 .5rem}
p{margin:.5rem 0;max-width:48rem}
header p{max-width:none}
a{color:var(--blue)}
code{font:.875em ui-monospace,SFMono-Regular,Consolas,monospace;overflow-wrap:anywhere}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;margin:.75rem 0 0;padding:0;font-size:.9rem}
section{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1.25rem;margin:1rem 0}
.soft,figcaption,footer{color:var(--soft);font-size:.9rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(14.5rem,46%),1fr));gap:.75rem;margin:0 0 1rem;padding:0}
.tiles>div{border:1px solid var(--line);border-radius:.5rem;padding:.6rem .8rem}
.tiles dt{font-size:.85rem;color:var(--soft)}
.tiles dd{margin:0;font-size:1.5rem;font-weight:600;line-height:1.3}
.tiles dd.more{font-size:.85rem;font-weight:400;color:var(--soft)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(17rem,100%),1fr));gap:1rem}
figure{margin:0;min-width:0}
figure img{display:block;max-width:100%;height:auto}
.charts figure img{width:100%;max-width:30rem}
figcaption{margin-top:.25rem;overflow-wrap:anywhere}
.scroll{overflow:auto;max-width:100%}
.scroll.tall{max-height:34rem}
table{border-collapse:collapse;width:100%;max-width:56rem;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:middle}
th{font-weight:600}
.tall thead th{position:sticky;top:0;background:var(--card)}
tbody th,.text{text-align:left;max-width:24rem;overflow-wrap:anywhere}
tbody th{font-weight:400;min-width:7.5rem}
tbody th.group{vertical-align:top}
td.bar{width:18%;background:linear-gradient(90deg,rgba(var(--rgb-blue),.22) var(--x),transparent var(--x)) no-repeat}
.matrix{width:auto;max-width:none}
.matrix th,.matrix td{border:1px solid var(--card);padding:.3rem .45rem;text-align:center;min-width:2.6rem}
.matrix thead th{vertical-align:bottom;font-weight:400}
.matrix thead span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:11rem;overflow:hidden;
text-overflow:ellipsis;white-space:nowrap}
.matrix tbody th{text-align:right;min-width:7rem;max-width:14rem}
.matrix td.none{color:var(--soft)}
.matrix td{--x:0;background:rgba(var(--rgb-orange),calc(var(--x)*var(--deepest)))}
.matrix td.right{background:rgba(var(--rgb-blue),calc(var(--x)*var(--deepest)))}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.25rem;margin:0;font-size:.9rem}
.facts dt{color:var(--soft)}
.facts .facts{font-size:1em}
.facts dd{margin:0;overflow-wrap:anywhere}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:1rem;list-style:none;padding:0}
.pictures img{width:8.5rem;height:8.5rem;object-fit:contain;background:var(--paper);border-radius:.3rem}
.pictures img.small{image-rendering:pixelated}
.pictures b{overflow-wrap:anywhere}
ul.lines{padding-left:1.2rem;font-size:.9rem;overflow-wrap:anywhere}
footer{padding-bottom:2rem}
@media(max-width:36rem){.facts{grid-template-columns:1fr;gap:0}.facts dd{margin-bottom:.5rem}section{padding:.9rem}
table{font-size:.82rem}th,td{padding:.25rem .35rem}tbody th{min-width:5.5rem}}
@media print{:root{color-scheme:light}body{background:#fff;font-size:11pt}nav{display:none}
section{border:0;padding:0 0 1rem}h2,h3,p{break-after:avoid}p,figure,tr,.pictures li,.tiles>div{break-inside:avoid}
.scroll,.scroll.tall{max-height:none;overflow:visible}td,img{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
)


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
    page.write_text(_page(metrics, evaluation.mistakes, manifest, examples), encoding="utf-8")
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


# --- the page -----------------------------------------------------------------------------------------------------


def _page(metrics: Mapping[str, Any], mistakes: Sequence[Mistake], manifest: Manifest, examples: Examples) -> str:
    sections = [
        ("result", "Result", _result(metrics, manifest)),
        ("problems", "Problems found", _problems(metrics.get("problems", []))),
        ("training", "How it was trained", _training(manifest)),
        ("history", "Course of the training", _history(metrics.get("history", {}))),
        ("classes", "Classes", _classes(metrics["by_class"])),
        ("confusion", "Confusion matrix", _confusion(metrics)),
        ("calibration", "Calibration", _calibration(metrics)),
        ("robustness", "Robustness", _robustness(metrics.get("robustness"))),
        ("files", "Files and speed", _files(metrics)),
        ("mistakes", "Most confident mistakes", _mistakes(mistakes, examples, manifest)),
    ]
    shown = [(anchor, title, body) for anchor, title, body in sections if body]
    title = f"{_text(manifest.name)} {_text(manifest.version)}"
    links = "".join(f'<li><a href="#{anchor}">{heading}</a></li>' for anchor, heading, _ in shown)
    bodies = "\n".join(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title"><h2 id="{anchor}-title">{heading}</h2>\n{body}</section>'
        for anchor, heading, body in shown
    )
    spec = manifest.spec
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}: evaluation</title>
<style>
{_STYLE}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="soft">{len(manifest.labels):,} classes, input {spec.width} &times; {spec.height} {spec.colour_order},
evaluated on {metrics["images"]:,} images with {_text(metrics["runtime"])} ({_text(metrics["file"])}){_created(manifest)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{bodies}
</main>
<footer><p>All numbers of this page, and those behind its plots, are in {METRICS_FILE} beside it.</p></footer>
</body>
</html>
"""


def _created(manifest: Manifest) -> str:
    return f", made {_text(manifest.created)}" if manifest.created else ""


def _result(metrics: Mapping[str, Any], manifest: Manifest) -> str:
    low, high = metrics["accuracy_interval"]
    tiles = [("Accuracy", _percent(metrics["accuracy"]), f"95 %: {_percent(low)} to {_percent(high)}")]
    if "top_2_accuracy" in metrics:
        tiles.append(("Among the first two", _percent(metrics["top_2_accuracy"]), "top-2 accuracy"))
    tiles.append(("Macro F1", _number(metrics["macro_f1"]), "mean over the classes"))
    if manifest.output == "logits":
        scaled = f"{_number(metrics['ece_unscaled'])} before, temperature {metrics['temperature']:.4g}"
    else:
        scaled = "as the network says it, not rescaled"
    tiles += [
        ("Calibration error", _number(metrics["ece"]), scaled),
        ("Mean confidence", _percent(metrics["mean_confidence"]), f"right in {_percent(metrics['accuracy'])}"),
        ("Log loss, Brier", _number(metrics["nll"]), f"Brier {_number(metrics['brier'])} of at most 2"),
    ]
    size = manifest.runtimes[metrics["runtime"]].stat().st_size
    tiles.append(("Size", _bytes(size), _text(metrics["file"])))
    timed = metrics.get("latency", {}).get("files", {}).get(metrics["file"])
    if timed:
        more = f"median on one thread, p99 {_ms(timed['p99_ms'])} ms"
        tiles.append(("One image", f"{_ms(timed['median_ms'])} ms", more))
    body = "".join(
        f'<div><dt>{name}</dt><dd>{value}</dd><dd class="more">{more}</dd></div>' for name, value, more in tiles
    )
    return f'<dl class="tiles">{body}</dl>\n<p><strong>Noise.</strong> {noise(metrics)}</p>'


def noise(metrics: Mapping[str, Any]) -> str:
    """How far chance alone moves the accuracy, in a sentence or two."""
    points = f"±\N{NO-BREAK SPACE}{metrics['noise_points']:.1f} points"
    return (
        f"Another run, or the same seed again, differs by chance within about {points} on {metrics['images']:,} images "
        "(95 %, Wilson). A smaller difference between two models may be chance too."
    )


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    lines = "".join(f"<li>{_text(line, 500)}</li>" for line in problems[:PROBLEMS])
    rest = f"<p>and {len(problems) - PROBLEMS:,} more</p>" if len(problems) > PROBLEMS else ""
    return f'<ul class="lines">{lines}</ul>{rest}'


def _training(manifest: Manifest) -> str:
    return _facts(manifest.training) if manifest.training else ""


def _facts(values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<dt>{_text(str(name).replace('_', ' '))}</dt><dd>{_fact(name, value)}</dd>" for name, value in values.items()
    )
    return f'<dl class="facts">{rows}</dl>'


def _fact(name: str, value: Any) -> str:
    if name == "command":
        return f"<code>{_text(value, 1000)}</code>"
    if name == "seconds" and isinstance(value, (int, float)):
        return f"{value:,} ({timedelta(seconds=round(value))})"
    if isinstance(value, Mapping) and len(value) > LISTED:
        if all(isinstance(item, (int, float)) for item in value.values()):  # such as the images of 1,000 classes
            return f"{len(value):,}: {_words(min(value.values()))} to {_words(max(value.values()))} each"
        return _facts(value)
    return _text(_words(value), 2000)


def _words(value: Any) -> str:
    """A value of the manifest in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_words(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _classes(rows: Sequence[Mapping[str, Any]]) -> str:
    many = len(rows) > NUMBERED
    if many:  # the weakest are what one looks for; those without images come last
        rows = sorted(rows, key=lambda row: (row["f1"] is None, row["f1"]))
    body = "".join(
        f'<tr><th scope="row">{_text(row["class"])}</th><td>{row["images"]:,}</td>'
        + (
            "".join(_bar(row[name]) for name in ("precision", "recall", "f1"))
            if row["images"]
            else '<td class="text" colspan="3">no images of this class</td>'
        )
        + "</tr>"
        for row in rows
    )
    order = " Weakest first." if many else ""
    return _table(
        "Precision: how often an answer with this class is right. Recall: how many images of the class are found. "
        f"F1: their harmonic mean.{order}",
        ("Class", "Images", "Precision", "Recall", "F1"),
        body,
        tall=many,
        name="Classes",
    )


def _bar(value: float | None) -> str:
    return "<td>never predicted</td>" if value is None else f'<td class="bar" style="--x:{value:.1%}">{value:.3f}</td>'


def _confusion(metrics: Mapping[str, Any]) -> str:
    names = [row["class"] for row in metrics["by_class"]]
    counts = np.array(metrics["confusion"], dtype=np.int64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(names) <= NUMBERED:
        return _matrix(names, counts, shares)
    picture = _figure(
        _heat_map(shares),
        f"Heat map of {len(names):,} classes: rows true, columns predicted; the diagonal is right.",
        "Each row a true class, each column a predicted one, in the order of the labels file. Blue is right, orange "
        "wrong; the deeper, the larger the share of the row."
        + (f" {-(-len(names) // CELLS)} classes share a row." if len(names) > CELLS else ""),
    )
    return _pairs(names, counts, shares) + f"<h3>All classes</h3>{picture}"


def _matrix(names: Sequence[str], counts: np.ndarray, shares: np.ndarray) -> str:
    head = "".join(f'<th scope="col"><span title="{_text(name)}">{_text(name, 40)}</span></th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{_text(name, 60)}</th>'
        + "".join(_cell(int(counts[row, column]), shares[row, column], row == column) for column in range(len(names)))
        + "</tr>"
        for row, name in enumerate(names)
    )
    return (
        "<p>Images by true class (rows) and predicted class (columns). Blue is right, orange wrong; the deeper, the "
        'larger the share of the row.</p>\n<div class="scroll" role="region" aria-label="Confusion matrix" tabindex="0">'
        '<table class="matrix" aria-label="Confusion matrix">'
        f'<thead><tr><th scope="col">true \\ predicted</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cell(count: int, share: float, right: bool) -> str:
    if not count:
        return '<td class="none">0</td>'
    # By the root, so that a share of 1 % can be told from none.
    return f'<td{" class=right" if right else ""} style="--x:{share**0.5:.2f}">{count:,}</td>'


def _pairs(names: Sequence[str], counts: np.ndarray, shares: np.ndarray) -> str:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    cells = [divmod(int(cell), len(names)) for cell in order if wrong.flat[cell]]
    if not cells:
        return "<p>No class was taken for another.</p>"
    body = "".join(
        f'<tr><th scope="row">{_text(names[row])}</th><td class="text">{_text(names[column])}</td>'
        f"<td>{counts[row, column]:,}</td><td>{_percent(shares[row, column])}</td></tr>"
        for row, column in cells
    )
    head = ("True class", "Predicted class", "Images", "Share of the true class")
    return _table("The pairs most often confused.", head, body, text=2, name="Confused pairs")


def _calibration(metrics: Mapping[str, Any]) -> str:
    diagrams = [("reliability", "ece", "As served")]
    if metrics["temperature"] != 1:
        served = f"As served, at temperature {metrics['temperature']:.4g}"
        diagrams = [
            ("reliability_unscaled", "ece_unscaled", "Before, at temperature 1"),
            ("reliability", "ece", served),
        ]
    figures = "".join(
        _figure(
            _reliability(metrics[bins]),
            f"Reliability diagram, {title.lower()}: {_said(metrics[bins])}",
            f"{title}: expected calibration error {_number(metrics[error])}",
        )
        for bins, error, title in diagrams
    )
    body = "".join(
        f'<tr><th scope="row">{_percent(bin_["lower"])} to {_percent(bin_["upper"])}</th><td>{bin_["images"]:,}</td>'
        f"<td>{_percent(bin_['confidence'])}</td><td>{_percent(bin_['accuracy'])}</td></tr>"
        for bin_ in metrics["reliability"]
    )
    head = ("Confidence", "Images", "Mean confidence", "Accuracy")
    table = _table("The bins of the answers as served.", head, body, name="Bins")
    return (
        "<p>Of the answers given with 80 % confidence, 80 % should be right: bars on the dashed line. Below it the model "
        "is too sure of itself, above it too modest. The lower plot shows how many answers have that confidence. "
        f'Bins with few images lie off the line by chance.</p>\n<div class="charts">{figures}</div>'
        f"<details><summary>The bins as a table</summary>{table}</details>"
    )


def _said(bins: Sequence[Mapping[str, Any]]) -> str:
    last = bins[-1]
    return (
        f"the {last['images']:,} most confident answers have {_percent(last['confidence'])} mean confidence and are "
        f"right in {_percent(last['accuracy'])}."
    )


def _robustness(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    clean = found["clean"]
    figures = "".join(
        _figure(
            _severities(one, clean),
            f"{one['name']}: accuracy {_percent(one['levels'][-1]['accuracy'])} at {one['levels'][-1]['severity']:g}.",
            f"{_text(one['name'])} ({_text(one['unit'])})",
        )
        for one in found["corruptions"]
    )
    body = f'<tr><th scope="row">Unchanged</th><td></td>{_bar(clean)}<td></td></tr>'
    for one in found["corruptions"]:
        head = (
            f'<th scope="rowgroup" class="group" rowspan="{len(one["levels"])}">{_text(one["name"])}<br>'
            f'<span class="soft">{_text(one["unit"])}</span></th>'
        )
        for level in one["levels"]:
            body += (
                f"<tr>{head}<td>{level['severity']:g}</td>{_bar(level['accuracy'])}"
                f"<td>{100 * (level['accuracy'] - clean):+.1f}</td></tr>"
            )
            head = ""
    titles = ("Change", "Strength", "Accuracy", "Points")
    return (
        f"<p>Accuracy on {found['images']:,} of the images, chosen and changed by seed {found['seed']}. Dashed: the same "
        f'images unchanged, {_percent(clean)}.</p>\n<div class="charts">{figures}</div>\n'
        + _table("The same in numbers.", titles, body, name="Robustness")
    )


def _files(metrics: Mapping[str, Any]) -> str:
    timed = metrics.get("latency", {})
    exports, times = metrics.get("exports", {}), timed.get("files", {})
    if not exports and not times:
        return ""
    body = ""
    for name in dict.fromkeys([*exports, *times]):
        export, took = exports.get(name) or {}, times.get(name) or {}
        known = {**took, **{key: value for key, value in export.items() if value is not None}}
        cells = (
            _maybe(known.get("bytes"), lambda value: f"{value:,}"),
            _maybe(known.get("agreement"), lambda value: f"{100 * value:.2f} %"),
            _maybe(known.get("largest_difference"), lambda value: f"{value:.2g}"),
            _maybe(known.get("accuracy"), _percent),
            _maybe(known.get("median_ms"), _ms),
            _maybe(took.get("p99_ms"), _ms),
            _maybe(took.get("ratio"), lambda value: f"&times; {value:.2f}"),
        )
        body += f'<tr><th scope="row">{_text(name)}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    head = ("File", "Bytes", "Same class as Keras", "Largest difference", "Accuracy on validation", "Median ms",
            "p99 ms", "Time by the first")  # fmt: skip
    note = ""
    if timed:
        note = (
            f"<p>Time of one image on one thread, {timed['runs']:,} images each after a warm-up; the files took turns in "
            "one process. Decoding is not in it.</p>"
        )
    return (
        _table("What each file is, and how far its answers are from those of Keras.", head, body, name="Files") + note
    )


def _history(history: Mapping[str, Sequence[float | None]]) -> str:
    drawn: dict[str, dict[str, Sequence[float | None]]] = {}
    for name, values in history.items():
        base = name.removeprefix("val_")
        if values and (base in drawn or len(drawn) < CHARTS):
            drawn.setdefault(base, {})["training" if name == base else "validation"] = values
    figures = "".join(
        _figure(
            _curves(lines),
            f"{base} over {max(map(len, lines.values()))} epochs: "
            + ", ".join(f"{name} ends at {_words(values[-1])}" for name, values in lines.items()),
            f"{_text(base.replace('_', ' '))}: "
            + ", ".join(f"{name} {_text(_words(values[-1]))}" for name, values in lines.items()),
        )
        for base, lines in drawn.items()
    )
    return f'<div class="charts">{figures}</div>' if figures else ""


def _mistakes(mistakes: Sequence[Mistake], examples: Examples, manifest: Manifest) -> str:
    if not mistakes:
        return "<p>None: every answer was right.</p>"
    items = "".join(
        f"<li><figure>{_picture(examples.images[one.index], manifest, f'{one.true} taken for {one.predicted}')}"
        f"<figcaption><b>{_text(one.predicted, 60)}</b> {_percent(one.confidence)}<br>"
        f"is {_text(one.true, 60)}<br>{_text(examples.names[one.index])}</figcaption></figure></li>"
        for one in mistakes[:MISTAKES]
    )
    shown = f", {MISTAKES} shown" if len(mistakes) > MISTAKES else ""
    return (
        f"<p>{len(mistakes):,} of {len(examples.labels):,} answers were wrong{shown}: those the model was surest of. In bold "
        "the answer, behind it its confidence. Some "
        f'may be labelled wrongly, or show something else than their class.</p>\n<ul class="pictures">{items}</ul>'
    )


# --- parts --------------------------------------------------------------------------------------------------------


def _table(caption: str, head: Sequence[str], body: str, *, name: str, text: int = 1, tall: bool = False) -> str:
    """Rows that are HTML under headings; the first `text` columns are words."""
    cells = "".join(
        f'<th scope="col"{" class=text" if column < text else ""}>{title}</th>' for column, title in enumerate(head)
    )
    kind = "scroll tall" if tall else "scroll"
    return (
        # Not a <caption>: on a narrow screen that would be cut off with the table instead of wrapped.
        f'<p class="soft">{caption}</p><div class="{kind}" role="region" aria-label="{name}" tabindex="0">'
        f'<table aria-label="{name}"><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _figure(source: str, alt: str, caption: str) -> str:
    """`caption` is HTML, `alt` is not yet."""
    return f'<figure><img src="{source}" alt="{_text(alt, 500)}"><figcaption>{caption}</figcaption></figure>'


def _picture(pixels: UInt8Array, manifest: Manifest, alt: str) -> str:
    picture = to_picture(pixels, manifest.spec)
    small = max(picture.size) <= PICTURE // 2
    picture.thumbnail((PICTURE, PICTURE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    kind = "png" if small else "jpeg"
    picture.save(file, kind, **({"optimize": True} if small else {"quality": 85}))
    crisp = ' class="small"' if small else ""
    return f'<img{crisp} src="{_data_uri(f"image/{kind}", file.getvalue())}" alt="{_text(alt, 200)}">'


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _text(value: object, longest: int = LONGEST) -> str:
    """Foreign text as HTML: shortened, without characters that cannot be seen, nothing in it a tag or an attribute."""
    unseen = "\N{REPLACEMENT CHARACTER}"
    text = "".join(char if char.isprintable() else " " if char.isspace() else unseen for char in str(value))
    if len(text) > longest:
        half = (longest - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    return html.escape(text)


def _maybe(value: Any, write: Any) -> str:
    return "" if value is None else write(value)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _number(value: float) -> str:
    return f"{value:.3f}"


def _ms(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


# --- plots --------------------------------------------------------------------------------------------------------


def _axes(width: float = 4.0, height: float = 2.8, rows: int = 1, **grid: Any) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, 1, **grid)).tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color=FAINT, linewidth=0.5)
        axis.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure) -> str:
    """As a data URI. Text stays text, and the colours follow light and dark as those of the page do."""
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "imagewarehouse"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = file.getvalue()
    for colour, variable in _VARIABLES.items():
        drawn = drawn.replace(colour, f"var({variable})")
    head, tag, rest = drawn.partition("<defs>")
    return _data_uri("image/svg+xml", f"{head}<style>{_THEME}</style>{tag}{rest}".encode())


def _styled() -> Any:
    return mpl.rc_context(
        {"font.size": 9.5, "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "axes.linewidth": 0.7,
         "xtick.color": INK, "ytick.color": INK, "lines.linewidth": 2, "legend.frameon": False}
    )  # fmt: skip


def _reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    middles = [(bin_["lower"] + bin_["upper"]) / 2 for bin_ in bins]
    width = 0.9 * (bins[0]["upper"] - bins[0]["lower"])
    with _styled():
        figure, (upper, lower) = _axes(4.0, 4.0, 2, sharex=True, height_ratios=(3, 1))
        upper.bar(middles, [bin_["accuracy"] for bin_ in bins], width, color=BLUE)
        upper.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1.2)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        lower.bar(middles, [bin_["images"] for bin_ in bins], width, color=ORANGE)
        lower.set(xlabel="confidence", ylabel="images")
        return _svg(figure)


def _severities(corruption: Mapping[str, Any], clean: float) -> str:
    levels = corruption["levels"]
    with _styled():
        figure, (axis,) = _axes()
        axis.axhline(clean, color=INK, linestyle="--", linewidth=1.2)
        axis.plot(range(len(levels)), [level["accuracy"] for level in levels], color=BLUE, marker="o")
        axis.set_xticks(range(len(levels)), [f"{level['severity']:g}" for level in levels])
        axis.set(ylim=(0, 1.02), xlim=(-0.3, len(levels) - 0.7), ylabel="accuracy")
        return _svg(figure)


def _curves(lines: Mapping[str, Sequence[float | None]]) -> str:
    with _styled():
        figure, (axis,) = _axes()
        for name, values in lines.items():
            known = [np.nan if value is None else value for value in values]
            colour, style = (BLUE, "-") if name == "training" else (ORANGE, "--")
            mark = "o" if len(known) == 1 else None  # a line of one point cannot be seen
            axis.plot(range(1, len(known) + 1), known, color=colour, linestyle=style, marker=mark, label=name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("epoch")
        if len(lines) > 1:
            axis.legend()
        return _svg(figure)


def _heat_map(shares: np.ndarray) -> str:
    """Shares of each row as depth: blue on the diagonal, orange elsewhere."""
    step = -(-len(shares) // CELLS)
    right = np.diag(np.diag(shares))
    depth = [_pooled(part, step) ** 0.5 for part in (right, shares - right)]
    blue, orange = np.array([31, 95, 191]), np.array([224, 110, 30])
    pixels = np.zeros((*depth[0].shape, 4), dtype=np.uint8)
    wrong = depth[1] > depth[0]
    pixels[..., :3] = np.where(wrong[..., None], orange, blue)
    pixels[..., 3] = np.rint(255 * np.maximum(*depth))
    with _styled():
        figure, (axis,) = _axes(6.5, 6.0)
        axis.grid(visible=False)
        axis.imshow(pixels, interpolation="none", extent=(0, len(shares), len(shares), 0))
        axis.set(xlabel="predicted class, its number", ylabel="true class, its number")
        return _svg(figure)


def _pooled(values: np.ndarray, step: int) -> np.ndarray:
    """Blocks of step x step as their largest value, so that a single confusion stays visible."""
    starts = np.arange(0, len(values), step)
    return np.maximum.reduceat(np.maximum.reduceat(values, starts, axis=0), starts, axis=1)
