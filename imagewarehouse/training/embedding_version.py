"""Gives a network its embedding: for a version that is being made, or as the next version of a model that has none."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from imagewarehouse.errors import ConfigurationError, ModelBroken
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.models.manifest import MANIFEST, TENSORFLOW, EmbeddingFacts, Manifest, find_version, read_manifest
from imagewarehouse.training.dataset import Examples, read_examples
from imagewarehouse.training.embedding import (
    FITTED_ON,
    NEAREST,
    Features,
    find_features,
    fit_projection,
    measure,
    with_embedding,
    without_embedding,
)
from imagewarehouse.training.exports import H5_FILE, QUANTISED_FILE, difference, export, load_keras, outputs_of
from imagewarehouse.training.folder import KERAS_FILE, LABELS_FILE, LITERT_FILE, next_version, versions, write_version
from imagewarehouse.training.litert import litert_outputs

Step = Callable[[int, int], None]
QUERIES = 5_000  # images at most whose neighbours are looked for
_COMPARED = 1_000
# How far a probability of the same network in another file may be off. What is quantised is rounded at every layer, so that
# the last bit of a float, which is another on another processor, may be a step.
_SAME = {"litert": 1e-4, "litert-int8": 0.02}
_KINDS = {KERAS_FILE: "keras", H5_FILE: "h5", LITERT_FILE: "litert", QUANTISED_FILE: "litert-int8"}


def add_embedding(
    model: keras.Model, among: Examples, queries: Examples, spec: InputSpec, seed: int = 0
) -> tuple[keras.Model, dict[str, Any] | None]:
    """The network with its embedding, and what the manifest says of that; as it is, and None, where it can have none.

    Args: among: images that it learnt from, 10,000 of which are used: the projection is fitted on them, and neighbours are
        looked for among them. queries: whose neighbours; images that it did not learn from.
    """
    features = find_features(model, keras.Model)
    if features is None or not len(among):
        return model, None
    rows = np.random.default_rng(seed).permutation(len(among))[:FITTED_ON]
    known, asked = among.take(rows), queries.take(range(min(len(queries), QUERIES)))
    seen = _features(model, features, known, spec)
    projection = fit_projection(seen)
    facts = _facts(features, projection.matrix.shape[1], projection.facts)
    if len(asked):
        facts["neighbours"] = measure(
            projection, seen, known.labels, _features(model, features, asked, spec), asked.labels
        )
    return with_embedding(model, features, projection), facts


def embed_version(
    model: Path,
    version: str,
    out: Path | None,
    data: str,
    test: str | None,
    command: str = "",
    *,
    progress: Step | None = None,
) -> tuple[Manifest, tuple[str, ...]]:
    """Write the next version of a model: the same network with the same answers, and an embedding.

    Args: data: labelled images that the projection is fitted on, best those it learnt from. test: those whose neighbours are
        looked for; None: a tenth of `data`. out: another model folder.
    Returns: the manifest, and what was wrong with the images.
    Raises: ConfigurationError, ModelBroken: it does not end in a Dense layer, or its files would answer otherwise.
    """
    source = _source(model, version)
    folder = out or (source.folder.parent if model == source.folder else model)
    number = next_version(folder)
    network = without_embedding(load_keras(source.runtimes[TENSORFLOW]))
    if find_features(network, keras.Model) is None:
        raise ModelBroken(f"{source.folder}: it has no Dense layer at its end, what feeds which would be the embedding")
    limit = FITTED_ON if test else FITTED_ON + FITTED_ON // 9
    among, problems = read_examples(data, source.spec, source.labels, limit=limit, progress=progress)
    if test is None:
        rows = np.random.default_rng(0).permutation(len(among))
        tenth = len(rows) // 10
        queries, among = among.take(rows[:tenth]), among.take(rows[tenth:])
    else:
        queries, more = read_examples(
            test, source.spec, source.labels, limit=QUERIES, progress=progress, setting="--test"
        )
        problems += more
    embedded, facts = add_embedding(network, among, queries, source.spec)
    raw = json.loads((source.folder / MANIFEST).read_text(encoding="utf-8"))
    names = [name for name in _KINDS if name in {*raw.get("exports", {}), *(p.name for p in source.runtimes.values())}]
    compared = queries.take(range(min(len(queries), _COMPARED)))
    with tempfile.TemporaryDirectory(prefix="version-") as temporary:
        exports = dict(raw.get("exports", {}))
        contents: dict[str, bytes | Path] = {}
        for name in names:
            contents[name], new_facts = _same_answers(source, name, embedded, compared, Path(temporary))
            if name in exports:
                exports[name] = {**exports[name], **new_facts}
        for path in sorted(source.folder.glob("report/*")):
            contents[f"report/{path.name}"] = path
        contents[LABELS_FILE] = source.folder / raw["labels"]
        manifest = {
            **{key: value for key, value in raw.items() if key not in ("version", "sha256", "created")},
            "exports": exports,
            "embedding": facts,
            "training": {
                **raw.get("training", {}),
                "embedding": {"of_version": source.version, "command": command, "versions": versions()},
            },
        }
        if not raw.get("exports"):
            del manifest["exports"]
        return write_version(folder, number, manifest, contents), problems


def _source(model: Path, version: str) -> Manifest:
    try:
        source = read_manifest(find_version(model, version))
    except ConfigurationError as err:
        raise ConfigurationError("MODEL" if err.setting == "Model Folder" else "--version", err.problem) from err
    if TENSORFLOW not in source.runtimes:
        raise ConfigurationError(
            "MODEL",
            f"{source.name} {source.version} holds no Keras file, and a LiteRT file cannot be changed; import the model again"
            " from its Keras file",
        )
    return source


def _same_answers(
    source: Manifest, name: str, embedded: keras.Model, examples: Examples, work: Path
) -> tuple[Path, dict[str, Any]]:
    """The file made anew, and what is new of it; a LiteRT file is held against the one that it takes the place of."""
    shape = (source.spec.height, source.spec.width, source.spec.channels)
    answers = litert_outputs((source.folder / name).read_bytes(), shape) if name.endswith(".tflite") else None
    kinds = (
        [_KINDS[name], "litert-int8"] if name == LITERT_FILE else [_KINDS[name]]
    )  # `import --quantise` keeps the name
    largest = 0.0
    for kind in kinds:
        exported = export(embedded, {kind: name}, work, source.spec, examples)[name]
        facts = {"bytes": exported.size, "embedding_cosine": exported.facts()["embedding_cosine"]}
        if answers is None:
            return exported.path, facts
        old, _ = outputs_of(answers, examples.images, source.spec)
        largest = difference(old, exported.outputs, source.output)
        if largest <= _SAME[kind]:
            return exported.path, facts
    raise ModelBroken(
        f"{source.folder}: {name} made anew gives other probabilities, by {largest:.2g}; nothing is written"
    )


def _features(model: keras.Model, features: Features, examples: Examples, spec: InputSpec) -> Any:
    """(N, of) float32."""
    network = keras.Model(model.inputs[0], features.tensor)
    return outputs_of(lambda batch: (np.asarray(network(batch, training=False)), None), examples.images, spec)[0]


def _facts(features: Features, width: int, projection: Mapping[str, Any] | None) -> dict[str, Any]:
    """For the manifest."""
    return {"width": width, "of": features.width, "layer": features.layer, "projection": projection}


def neighbours_text(facts: EmbeddingFacts) -> str:
    """One line for people."""
    line = f"{facts.width} numbers made of {facts.of}"
    measured = facts.neighbours
    if not measured:
        return line
    same = measured["same_class"]
    return (
        f"{line}; of the {NEAREST} most alike {same['stored']:.1%} are of the same class, before the projection"
        f" {same['features']:.1%} ({measured['queries']:,} images among {measured['among']:,})"
    )
