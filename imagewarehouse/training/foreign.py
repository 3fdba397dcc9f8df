"""Foreign models: checks whether a file may be loaded, loads it, and gives all kinds one interface.

Keras files of Keras 2 are loaded by tf_keras, which is Keras 2: Keras 3 refuses most of them, or connects their layers
in another way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from imagewarehouse.checksums import file_sha256
from imagewarehouse.errors import ConfigurationError, ModelBroken
from imagewarehouse.images.decoding import Float32Array
from imagewarehouse.models.tensors import CLASSES, EMBEDDING, Tensor, input_of, output_of
from imagewarehouse.training.embedding import Features, Projection, find_features
from imagewarehouse.training.foreign_code import (
    MAX_BYTES,
    KerasConfig,
    code_in_config,
    code_in_graph,
    in_full_precision,
    layer_classes,
    read_h5_config,
    read_keras_config,
)
from imagewarehouse.training.foreign_kinds import H5, KERAS, SAVED_MODEL, TFLITE, find_kind, of_keras_2
from imagewarehouse.training.litert import convert, litert_function, quiet
from imagewarehouse.training.reasons import reason

_RESCALING = {
    "Rescaling",
    "Normalization",
    "math.truediv",
}  # what Keras' `preprocess_input` of many networks begins with

Shape = tuple[int | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Network:
    """A model as it was read.

    Attributes:
        shape: height, width and channels of its input; None where it takes any.
        call: from a tensor (N, *shape) to one (N, classes); None of a TFLite file, which is run by `content`.
        keras: the model, where it can be saved as a Keras file that runs nobody's code.
        activation: what it ends in, where that is known ("softmax", "sigmoid", "linear").
        content: of a TFLite file.
        source, answer: the input and the output of a TFLite file, which may be quantised.
        facts: what else is worth a line in the report.
        features: what feeds its last Dense layer, of a Keras model that ends in one.
        both: where there are features, from a tensor (N, *shape) to the answers and the features.
    """

    kind: str
    shape: Shape
    call: Callable[[Any], Any] | None = None
    keras: Any = None
    activation: str | None = None
    content: bytes = b""
    source: Tensor = Tensor(0)
    answer: Tensor = Tensor(0)
    facts: dict[str, Any] = field(default_factory=dict)
    features: Features | None = None
    both: Callable[[Any], tuple[Any, Any]] | None = None

    def answers(self, batch: Float32Array) -> Float32Array:
        """(N, height, width, channels) -> (N, classes) float32. Raises ModelBroken when the model fails."""
        if self.call is None:
            return litert_function(self.content, batch.shape[1:])(batch)
        try:
            with quiet():
                # One at a time, as the service asks: a batch may be fixed at 1.
                rows = [np.asarray(self.call(image[np.newaxis]), dtype=np.float32) for image in batch]
                return np.concatenate(rows)
        except Exception as err:
            raise ModelBroken(f"fails on an image: {reason(err)}") from err

    def litert(self, shape: tuple[int, int, int], quantise: bool, projection: Projection | None) -> bytes:
        """The LiteRT file of this network at one size, with its embedding where it has features.

        Raises ModelBroken naming what cannot be converted.
        """
        if self.call is None:
            return self.content
        both = self.both
        if both is None:
            return convert(self.call, shape, quantise)

        def outputs(images: Any) -> dict[str, Any]:
            answers, features = both(images)
            return {CLASSES: answers, EMBEDDING: features if projection is None else features @ projection.matrix}

        return convert(outputs, shape, quantise)


@contextlib.contextmanager
def opened(file: Path, trust: bool, work: Path) -> Iterator[Network]:
    """Open somebody else's model, after looking for code in it; errors are one line that names the file.

    Args:
        trust: load it though it holds code. It is then never saved as a Keras file.
        work: an empty folder to put a copy into.
    Raises: ConfigurationError (no such file, no training libraries), ModelBroken (everything else).
    """
    try:
        yield _OPEN[find_kind(file)](file, trust, work)
    except ModelBroken as err:
        raise ModelBroken(f"{file.name}: {err}") from err
    except ImportError as err:
        package = str(err.name or err).partition(".")[0]
        raise ConfigurationError("FILE", f"{file.name} needs {package}, which comes with the extra `training`: "
                                 "`make training` here, `pip install 'imagewarehouse[training]'` elsewhere; "
                                 "a TFLite file needs none of it") from err  # fmt: skip
    except OSError as err:
        raise ConfigurationError("FILE", f"{err.filename or file}: {err.strerror or err}") from err


def source_hash(file: Path) -> str:
    """The sha256 of a file; of a folder, that of the lines "<sha256>  <path>" of its files, as `sha256sum` prints them."""
    if file.is_file():
        return file_sha256(file)
    lines = [
        f"{file_sha256(path)}  {path.relative_to(file).as_posix()}\n"
        for path in sorted(file.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


# --- Keras --------------------------------------------------------------------------------------------------------


def _open_keras(file: Path, trust: bool, work: Path) -> Network:
    _import_keras()
    copy = work / "source.keras"  # Keras goes by the name; and what was checked is what is loaded
    shutil.copyfile(file, copy)
    described = read_keras_config(copy)
    if half := in_full_precision(described.config):
        with zipfile.ZipFile(file) as original, zipfile.ZipFile(copy, "w") as changed:
            for name in original.namelist():
                if name != "config.json":
                    with original.open(name) as source, changed.open(name, "w", force_zip64=True) as target:
                        shutil.copyfileobj(source, target)
            changed.writestr("config.json", json.dumps(described.config))
    return _load(KERAS, copy, described, trust, half)


def _open_h5(file: Path, trust: bool, work: Path) -> Network:
    _import_keras()
    import h5py

    copy = work / "source.h5"
    shutil.copyfile(file, copy)
    described = read_h5_config(copy)
    if half := in_full_precision(described.config):
        with h5py.File(copy, "r+") as changed:
            changed.attrs["model_config"] = json.dumps(described.config)
    return _load(H5, copy, described, trust, half)


def _import_keras() -> Any:
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's keras.json says: LiteRT is made from it
    with quiet():
        import keras
        import tensorflow  # noqa: F401  (Keras alone is no backend)
    return keras


def _import_keras_2() -> Any:
    with quiet():
        import tf_keras
    return tf_keras


def _load(kind: str, path: Path, described: KerasConfig, trust: bool, half: bool) -> Network:
    keras = _import_keras_2() if described.keras_2 else _import_keras()
    code = code_in_config(described.config, described.keras_2)
    _refuse(code, trust)
    # Keras 2.12 to 2.15 wrote where this class was in their own source; tf_keras has it elsewhere.
    moved = {"custom_objects": {"Functional": keras.Model}} if described.keras_2 else {}
    try:
        with quiet():
            model = keras.models.load_model(path, compile=False, safe_mode=not code, **moved)
    except Exception as err:
        loader = f"tf_keras {keras.__version__}" if described.keras_2 else f"Keras {keras.__version__}"
        wrote = f" (Keras {described.version} wrote it)" if described.version else ""
        raise ModelBroken(f"{loader} cannot load it{wrote}: {reason(err)}") from err
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if not inputs:
        raise ModelBroken(_no_shape(isinstance(model, keras.Sequential)))
    _check_single([tensor.name for tensor in inputs], [tensor.name for tensor in outputs])
    shape = check_input(tuple(inputs[0].shape), _dtype_name(inputs[0].dtype))
    activation = _activation(model)
    features = find_features(model, keras.Model)
    if features is not None or not isinstance(model, keras.Sequential):
        # The one input and output may stand in a list or a dict, as in every H5 file; the service gives and takes tensors.
        model = keras.Model(inputs[0], outputs[0] if features is None else features.classes, name=model.name)
    both = None if features is None else _caller(keras.Model(inputs[0], [features.classes, features.tensor]))
    facts = {
        "keras_version": described.version,
        "parameters": int(model.count_params()),
        "layers": len(model.layers),
        "rescales": sorted(_RESCALING.intersection(layer_classes(described.config))),
        "half_precision": half,
        "code": code,
    }
    if described.keras_2:
        # Keras 3, which the service has, cannot load it again.
        return Network(
            of_keras_2(kind), shape, _caller(model), None, activation, facts=facts, features=features, both=both
        )
    single = inputs[0].shape[0] == 1  # TensorFlow is given batches
    saved = None if code or single else model
    return Network(kind, shape, _caller(model), saved, activation, facts=facts, features=features, both=both)


def _no_shape(sequential: bool) -> str:
    if sequential:
        return "its input has no shape: call the model once, or give it an Input layer, before it is saved"
    return (
        "its class does not keep the shape of its input; write a SavedModel with model.export(FOLDER) and import that"
    )


def _dtype_name(dtype: Any) -> str:
    return str(getattr(dtype, "name", dtype))  # TensorFlow's own in Keras 2, a text in Keras 3


def save_and_reload(model: Any, path: Path) -> Callable[[Float32Array], Float32Array]:
    """Save a model as a Keras file, uncompiled, load that as the service does, and return its answers as a function."""
    keras = _import_keras()
    with quiet():
        model.save(path)
        again = keras.models.load_model(path, compile=False, safe_mode=True)
    call = _caller(again)

    def classes(images: Any) -> Any:
        answers = call(images)
        return answers[CLASSES] if isinstance(answers, dict) else answers

    return Network(KERAS, (None, None, None), classes).answers


def _caller(model: Any) -> Callable[[Any], Any]:
    return lambda images: model(images, training=False)


def _refuse(code: list[str], trust: bool) -> None:
    """Raises ModelBroken unless there is no code, or it is trusted."""
    if code and not trust:
        raise ModelBroken(
            f"holds code of its author's: {', '.join(code)}; it would run in every NiFi node that loads the model. "
            "Use Keras' own layers instead, or convert it to TFLite where it was made and import that; --trust runs "
            "the code here, once, and keeps the converted LiteRT file only"
        )


def _activation(model: Any) -> str | None:
    layer = model
    while getattr(layer, "layers", None):
        layer = layer.layers[-1]
    if type(layer).__name__ == "Softmax":
        return "softmax"
    name = getattr(getattr(layer, "activation", None), "__name__", None)
    return name if isinstance(name, str) else None


def two_classes(network: Network, logits: bool) -> Network:
    """A network of one output as one of two: 1 - p and p, or for logits 0 and z, whose softmax is the same."""
    keras = _import_keras()
    activation = "linear" if logits else "softmax"
    if network.keras is not None:
        second = network.keras.outputs[0]
        scale, offset = (0.0, 0.0) if logits else (-1.0, 1.0)
        complement = keras.layers.Rescaling(scale, offset, name="first_class")(second)
        pair = keras.layers.Concatenate(name="two_classes")([complement, second])
        model = keras.Model(network.keras.inputs[0], pair, name=network.keras.name)
        features = None if network.features is None else replace(network.features, classes=pair)
        both = None if features is None else _caller(keras.Model(network.keras.inputs[0], [pair, features.tensor]))
        return replace(network, call=_caller(model), keras=model, activation=activation, features=features, both=both)
    call = network.call
    if call is None:
        raise ValueError("a TFLite file cannot be changed")

    def pair_of(second: Any) -> Any:
        return keras.ops.concatenate([second * 0 if logits else 1 - second, second], axis=-1)

    one_and_features = network.both

    def pair_and_features(images: Any) -> tuple[Any, Any]:
        assert one_and_features is not None
        second, features = one_and_features(images)
        return pair_of(second), features

    both = pair_and_features if one_and_features is not None else None
    return replace(network, call=lambda images: pair_of(call(images)), activation=activation, both=both)


# --- SavedModel ---------------------------------------------------------------------------------------------------


def _open_saved_model(file: Path, trust: bool, _work: Path) -> Network:
    _import_keras()
    import tensorflow as tf

    total = sum(path.stat().st_size for path in file.rglob("*") if path.is_file())
    if total > MAX_BYTES:
        raise ModelBroken(f"has {total:,} bytes, at most {MAX_BYTES:,} are read")
    code = code_in_graph(file / "saved_model.pb")
    _refuse(code, trust)
    try:
        with quiet():
            loaded = tf.saved_model.load(str(file))
    except Exception as err:
        raise ModelBroken(f"TensorFlow {tf.__version__} cannot load it: {reason(err)}") from err
    signatures = dict(loaded.signatures)
    name = next((name for name in ("serving_default", "serve") if name in signatures), next(iter(signatures), None))
    if name is None:
        raise ModelBroken("it has no signature that serves, only what training needs")
    serve = signatures[name]
    inputs, outputs = serve.structured_input_signature[1], serve.structured_outputs
    _check_single(list(inputs), list(outputs))
    (argument, spec), (answer,) = next(iter(inputs.items())), outputs
    if spec.shape.rank is None:
        raise ModelBroken("its input has no shape")
    shape = check_input(tuple(spec.shape), spec.dtype.name)

    def call(images: Any) -> Any:
        # `loaded` is named here because the variables live as long as it does.
        return loaded.signatures[name](**{argument: tf.convert_to_tensor(images)})[answer]

    return Network(SAVED_MODEL, shape, call, facts={"signature": name, "code": code})


# --- TFLite -------------------------------------------------------------------------------------------------------


def _open_tflite(file: Path, _trust: bool, _work: Path) -> Network:
    from ai_edge_litert.interpreter import Interpreter

    content = file.read_bytes()
    if b"edgetpu-custom-op" in content:
        raise ModelBroken(
            "is compiled for a Coral Edge TPU, and nothing else can run it; import the TFLite file that it was compiled from "
            "(Teachable Machine: Export Model, Tensorflow Lite, Quantized or Floating point)"
        )
    try:
        with quiet():
            interpreter = Interpreter(model_content=content, num_threads=1)
    except (ValueError, RuntimeError) as err:
        raise ModelBroken(f"truncated or damaged: {reason(err)}") from err
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    _check_single([detail["name"] for detail in inputs], [detail["name"] for detail in outputs])
    source, answer = input_of(interpreter), output_of(interpreter)
    sizes = tuple(None if size == -1 else int(size) for size in inputs[0]["shape_signature"])
    facts = {name: {"dtype": tensor.dtype, "scale": tensor.scale, "zero_point": tensor.zero_point}
             for name, tensor in (("input", source), ("output", answer)) if tensor.quantised}  # fmt: skip
    return Network(
        TFLITE,
        check_input(sizes),
        content=content,
        source=source,
        answer=answer,
        facts={"quantised": facts} if facts else {},
    )


# --- every kind ---------------------------------------------------------------------------------------------------


def check_input(shape: tuple[int | None, ...], dtype: str = "float32") -> Shape:
    """(height, width, channels) of an input with these sizes, batch first. Raises ModelBroken."""
    text = " x ".join("any" if size is None else str(size) for size in shape)
    if len(shape) != 4:
        raise ModelBroken(f"its input is of rank {len(shape)} ({text}); an image has 4: batch, height, width, channels")
    batch, height, width, channels = shape
    if channels not in (1, 3, None):
        if height in (1, 3):
            raise ModelBroken(f"its input is {text}: channels first; convert it to channels last")
        raise ModelBroken(f"its input is {text}: {channels} channels, an image has 3, or 1 when it is grey")
    if batch not in (1, None):
        raise ModelBroken(f"its batch is fixed at {batch}; save it with an open batch, or with 1")
    if dtype != "float32":
        raise ModelBroken(
            f"its input is {dtype}, float32 is served: save it with a float32 input, or convert it to TFLite"
        )
    return height, width, channels


def _check_single(inputs: list[str], outputs: list[str]) -> None:
    for kind, names in (("input", inputs), ("output", outputs)):
        if len(names) != 1:
            raise ModelBroken(f"has {len(names)} {kind}s ({', '.join(names)}), expected 1")


_OPEN: dict[str, Callable[[Path, bool, Path], Network]] = {
    KERAS: _open_keras,
    H5: _open_h5,
    SAVED_MODEL: _open_saved_model,
    TFLITE: _open_tflite,
}
