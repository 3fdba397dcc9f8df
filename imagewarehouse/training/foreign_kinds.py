"""Detects what a foreign model file is, by its content: a kind that can be imported, or what else, and what to do then."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from imagewarehouse.errors import ConfigurationError, ModelBroken
from imagewarehouse.text import one_line
from imagewarehouse.training.foreign_code import MAX_BYTES

KERAS, H5, SAVED_MODEL, TFLITE = "Keras file", "Keras H5 file", "SavedModel", "TFLite file"

_EXPECTED = "expected a Keras file (.keras), a Keras H5 file (.h5), a SavedModel folder or a TFLite file (.tflite)"
_HEAD = 4096  # bytes that tell what a file is

_TEACHABLE = "in Teachable Machine choose Export Model, Tensorflow, Keras (or Tensorflow Lite)"
_TENSORFLOW_JS = f"a model of TensorFlow.js; {_TEACHABLE}, elsewhere convert it with tensorflowjs_converter"
_PYTORCH = "of PyTorch, a pickle, which is never opened; convert the model to TFLite where it was made"
_WEIGHTS = "weights alone, which do not say the network; save the whole model with model.save"
# By the end of the name, for kinds whose content does not say what they are.
_BY_NAME = {
    ".onnx": "an ONNX model; convert it to TFLite or a SavedModel, for example with onnx2tf",
    ".pb": "a graph of TensorFlow 1, or another protocol buffer; convert it to a SavedModel or TFLite where it was made",
    ".ckpt": f"a checkpoint: {_WEIGHTS}",
    ".index": f"part of a TensorFlow checkpoint: {_WEIGHTS}",
    ".pt": f"a file {_PYTORCH}",
    ".pth": f"a file {_PYTORCH}",
    ".safetensors": f"a file of {_WEIGHTS}",
    ".mlmodel": "a Core ML model; convert the model that it was made from",
}


def of_keras_2(kind: str) -> str:
    """Such as "Keras 2 H5 file"."""
    return kind.replace("Keras", "Keras 2")


def find_kind(file: Path) -> str:
    """KERAS, H5, SAVED_MODEL or TFLITE, by content. Raises ConfigurationError (not readable), ModelBroken (what it is)."""
    try:
        if file.is_dir():
            return _kind_of_folder(file)
        if not file.is_file():
            raise ConfigurationError("FILE", f"{file} does not exist")
        if file.stat().st_size > MAX_BYTES:
            raise ModelBroken(f"has {file.stat().st_size:,} bytes, at most {MAX_BYTES:,} are read")
        with file.open("rb") as stream:
            start = stream.read(_HEAD)
    except OSError as err:
        raise ConfigurationError("FILE", f"{file}: {err.strerror or err}") from err
    if file.name == "saved_model.pb":
        raise ModelBroken("give the folder of the SavedModel, not the file in it")
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return H5
    if start[4:8] == b"TFL3":
        return TFLITE
    if start.startswith(b"PK"):
        _check_archive(file)
        return KERAS
    raise ModelBroken(f"is {_description(file, start)}")


def _kind_of_folder(folder: Path) -> str:
    if (folder / "saved_model.pb").is_file():
        return SAVED_MODEL
    names = sorted(
        path.relative_to(folder).as_posix() for path in (*folder.glob("*"), *folder.glob("*/saved_model.pb"))
    )
    if inside := _importable(names):
        raise ModelBroken(f"is a folder without a saved_model.pb, so no SavedModel; did you mean {inside} in it?")
    if "model.json" in names:
        raise ModelBroken(f"is {_TENSORFLOW_JS}")
    if "model.weights.h5" in names:
        raise ModelBroken("is a Keras file that was unpacked; give the .keras file itself")
    if any(name.endswith(".index") for name in names):
        raise ModelBroken(f"holds a TensorFlow checkpoint: {_WEIGHTS}")
    raise ModelBroken(f"is a folder without a saved_model.pb, so no SavedModel; {_EXPECTED}")


def _check_archive(file: Path) -> None:
    """Raises ModelBroken for a zip file that is something else than a Keras file and says so by its members."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return  # damaged, which the reader of Keras files says better
    if "config.json" in names:
        return
    if inside := _importable(names):
        raise ModelBroken(f"is a zip file with {inside} in it; unpack it and import that")
    if any(name.endswith((".pkl", "/data.pkl")) for name in names):
        raise ModelBroken(f"is a file {_PYTORCH}")
    if any(name.rpartition("/")[2] == "model.json" for name in names):
        raise ModelBroken(f"is a zip file with {_TENSORFLOW_JS}")
    raise ModelBroken(f"is a zip file, but no Keras file: it has no config.json; {_EXPECTED}")


def _importable(names: Sequence[str]) -> str | None:
    """The first of those files that is a model to import, for a message."""
    for end in (".keras", ".h5", ".hdf5", ".tflite", "saved_model.pb"):
        for name in names:
            if name.endswith(end) and not name.endswith(".weights.h5"):
                parent = name.rpartition("/")[0]
                return one_line(f"the folder {parent or '.'}" if end == "saved_model.pb" else name, 100)
    return None


def _description(file: Path, start: bytes) -> str:
    """What a file is that cannot be imported, and what to do."""
    text = start.lstrip()
    if not start:
        return f"empty; {_EXPECTED}"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the model; fetch it with `git lfs pull`"
    if text[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page, not a model; the download went wrong"
    if text.startswith(b"{"):
        if b'"modelTopology"' in start or b'"weightsManifest"' in start or b"tfjs" in start:
            return _TENSORFLOW_JS
        if b'"class_name"' in start:
            return "a network without its weights, as model.to_json writes it; save the whole model with model.save"
    suffix = file.suffix.lower()
    if start[:1] == b"\x80" and suffix not in (".pt", ".pth"):
        return f"a pickle, which is never opened; {_EXPECTED}"
    return _BY_NAME.get(suffix, f"neither of the kinds that can be imported, by its content; {_EXPECTED}")
