"""Detects code in a foreign model by reading it, before anything in it is loaded.

A Keras file may hold Python bytecode (Lambda) or name classes from anywhere, a SavedModel may hold operations that
run Python or read and write files. Either would run wherever the model is loaded.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from imagewarehouse.errors import ModelBroken

MAX_BYTES = 2 * 1024**3
"""A LiteRT file cannot be larger either: its offsets have 32 bits."""

_MAX_CONFIG = 64 * 1024**2
_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}

# Part of Keras, but they unpickle, run serialised functions, or read files whose path stands in the config.
_CODE_LAYERS = {
    "Lambda": "Python bytecode",
    "TorchModuleWrapper": "a pickled module",
    "JaxLayer": "a Python function",
    "FlaxLayer": "a Python function",
    "TFSMLayer": "the path of another model",
    "TextVectorization": "the path of a file",
    "StringLookup": "the path of a file",
    "IntegerLookup": "the path of a file",
}
_MODULES = ("layers", "models", "initializers", "regularizers", "constraints", "activations", "dtype_policies",
            "mixed_precision", "quantizers", "losses", "metrics", "optimizers")  # fmt: skip
_FUNCTIONS = ("activations", "ops", "losses", "metrics", "initializers", "regularizers", "constraints")
_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__",
           "TensorShape", "Policy", "InputSpec"}  # fmt: skip

# Classes of Keras 2 without a public name.
_KERAS_2_CLASSES = {"Model", "BatchNormalizationV1", "BatchNormalizationV2"}
# In Keras 2 a TensorFlow function among the layers (`x / 127.5`, `tf.image.resize(x, size)`) became a layer that names it.
# All in these groups of TensorFlow only computes; others reach files, run Python or load libraries.
_KERAS_2_CALLS = {"TFOpLambda", "SlicingOpLambda"}
_COMPUTING = re.compile(
    r"keras\.activations\.\w+|(compat\.v1\.)?((math|nn|image|linalg|bitwise|signal|__operators__)\.\w+|reduce_\w+|abs|add|"
    r"argmax|argmin|broadcast_to|cast|clip_by_value|concat|constant|convert_to_tensor|divide|exp|expand_dims|fill|gather|"
    r"gather_nd|identity|matmul|maximum|minimum|multiply|norm|one_hot|ones|ones_like|pad|pow|range|rank|repeat|reshape|"
    r"reverse|roll|round|shape|sigmoid|size|slice|split|sqrt|square|squeeze|stack|strided_slice|subtract|tanh|tensordot|tile|"
    r"transpose|unstack|where|zeros|zeros_like)"
)

_SAVER = {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"}
# Families, not names: TensorFlow gets new ones with every release.
_UNSAFE = re.compile(
    r"PyFunc|File|Reader|Save|Restore|Checkpoint|Proto|Summary|Debug|Print|Rpc|Remote|ImmutableConst|Remap|Dataset|Iterator"
)


# --- Keras --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KerasConfig:
    """What a Keras file says of its network.

    Attributes:
        config: the network as JSON.
        version: of the Keras that wrote the file; "" where it does not say.
        keras_2: whether that was Keras 2, or even older.
    """

    config: dict[str, Any]
    version: str
    keras_2: bool


def read_keras_config(path: Path) -> KerasConfig:
    """From the config.json and metadata.json of a .keras file, whose members are checked. Raises ModelBroken."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist())
            if (damaged := archive.testzip()) is not None:
                raise ModelBroken(f"{damaged} in it is damaged")
            config = _object(archive.read("config.json"))
            metadata = _object(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
            version = str(metadata.get("keras_version", ""))
            described = KerasConfig(config, version, version.startswith("2."))
            if described.keras_2 and "model.weights.h5" in archive.namelist():
                _check_weights(io.BytesIO(archive.read("model.weights.h5")))
            return described
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, KeyError, RuntimeError) as err:
        raise ModelBroken(f"truncated or damaged: {err}") from err


def read_h5_config(path: Path) -> KerasConfig:
    """From the attributes `model_config` and `keras_version` of a Keras H5 file. Raises ModelBroken."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "")
            groups = sorted(file)
    except (OSError, RuntimeError, KeyError) as err:
        raise ModelBroken(f"truncated or damaged: {err}") from err
    if not isinstance(text, (str, bytes)):
        found = f"it has {', '.join(groups[:5])}" if groups else "it is empty"
        raise ModelBroken(
            f"is an HDF5 file without a network in it ({found}). Weights alone do not say the network: save the whole "
            "model with model.save, not with save_weights or a checkpoint of weights only"
        )
    version = version.decode("ascii", "replace") if isinstance(version, bytes) else str(version)
    major = version.partition(".")[0]
    described = KerasConfig(_object(text), version, not (major.isdecimal() and int(major) > 2))
    if described.keras_2:
        _check_weights(path)
    return described


def _check_weights(source: Path | IO[bytes]) -> None:
    """HDF5 may say that its numbers are in any file of this machine, or are a thousand times as many as it holds.

    Keras 3 refuses that itself, Keras 2 would read it. Raises ModelBroken.
    """
    import h5py

    sizes: list[int] = []

    def problem(name: str, link: object) -> str | None:  # h5py lets no exception of ours through
        if not isinstance(link, h5py.HardLink):
            return f"{name!r} in it is a link, maybe to another file; a model has none"
        item = file[name]
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                return f"{name!r} in it is to be read from another file; a model holds its weights"
            sizes.append(int(item.nbytes))
        return None

    try:
        with h5py.File(source, "r") as file:
            found = file.visititems_links(problem)
    except (OSError, RuntimeError, KeyError) as err:
        raise ModelBroken(f"truncated or damaged: {err}") from err
    if found is not None:
        raise ModelBroken(found)
    total = sum(sizes)
    if total > MAX_BYTES:
        raise ModelBroken(f"has {total:,} bytes when unpacked, at most {MAX_BYTES:,} are read")


def code_in_config(config: dict[str, Any], keras_2: bool = False) -> list[str]:
    """What in a Keras config is code or no class of Keras, such as "layer 'twice' (Lambda: Python bytecode)".

    Args: keras_2: it is loaded by Keras 2, whose classes and names those must be then.
    """
    public = _public_names(keras_2)
    # At the top Keras skips it with compile=False; in a nested model it does not.
    loaded = {key: value for key, value in config.items() if key != "compile_config"}
    reasons: dict[str, str] = {}
    for layer, entry in _entries(loaded):
        reason = _code_in_entry(entry, public, keras_2)
        if reason:
            reasons.setdefault(layer, reason)
    return [f"layer '{layer}' ({reason})" if layer else reason for layer, reason in reasons.items()]


def layer_classes(config: dict[str, Any]) -> list[str]:
    """The class of every object in a Keras config; of a layer of Keras 2 that calls a function, the function."""
    return [
        str(entry["config"].get("function") if entry["class_name"] in _KERAS_2_CALLS else entry["class_name"])
        for _, entry in _entries(config)
        if isinstance(entry.get("config"), dict)
    ]


def in_full_precision(config: dict[str, Any]) -> bool:
    """Let layers that compute in half precision do it in float32, as their weights are. True when there were some."""
    policies = [
        entry["config"]
        for _, entry in _entries(config)
        if entry["class_name"] in ("Policy", "PolicyV1", "DTypePolicy") and isinstance(entry.get("config"), dict)
    ]
    mixed = [policy for policy in policies if str(policy.get("name")).startswith("mixed_")]
    for policy in mixed:
        policy["name"] = "float32"
    return bool(mixed)


def _check_members(members: Iterable[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    for member in members:
        if member.filename not in _MEMBERS:
            hint = "; PyTorch's files are pickles, which are never opened" if ".pkl" in member.filename else ""
            raise ModelBroken(f"{member.filename!r} has no place in a Keras file{hint}")
        if member.filename.endswith(".json") and member.file_size > _MAX_CONFIG:
            raise ModelBroken(f"{member.filename} has {member.file_size:,} bytes, at most {_MAX_CONFIG:,} are read")
    if len(set(names)) != len(names):
        raise ModelBroken("a member stands in it twice")
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES:
        raise ModelBroken(f"has {total:,} bytes when unpacked, at most {MAX_BYTES:,} are read")


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise ModelBroken(f"its config is not JSON: {err}") from err
    if not isinstance(value, dict):
        raise ModelBroken("its config is no JSON object")
    return value


def _entries(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name of the layer it belongs to, object) for every {"class_name": ...}, however deep."""
    pending: list[tuple[str, Any]] = [("", config)]
    while pending:
        layer, value = pending.pop()
        if isinstance(value, list):
            pending.extend((layer, item) for item in reversed(value))
        elif isinstance(value, dict):
            inner = value.get("config")
            if isinstance(value.get("class_name"), str):
                name = inner.get("name") if isinstance(inner, dict) and "layers" not in inner else None
                layer = name if isinstance(name, str) and value.get("module") != "keras" else layer
                yield layer, value
            pending.extend((layer, item) for item in reversed(list(value.values())))


def _code_in_entry(entry: dict[str, Any], public: set[str], keras_2: bool) -> str | None:
    name, module, registered = str(entry["class_name"]), entry.get("module"), entry.get("registered_name")
    if name == "__lambda__":
        return "__lambda__: Python bytecode"
    if name in _CODE_LAYERS:
        return f"{name}: {_CODE_LAYERS[name]}"
    if keras_2 and name in _KERAS_2_CALLS and (module is None or _keras_module(module, keras_2) is not None):
        return _call_of_tensorflow(entry.get("config"))
    if keras_2 and name == "TensorFlowOpLayer":
        return "TensorFlowOpLayer: an operation of TensorFlow of any kind, as TensorFlow 2.3 and older wrote them"
    if name in _VALUES and not module:
        return None
    if name == "function":
        function = str(entry.get("config"))
        built_in = module in (None, "builtins")
        allowed = function in public if built_in else _keras_module(module, keras_2) in _FUNCTIONS
        return None if allowed else f"function {function} of {module or 'its author'}"
    is_class = name.isidentifier() and name[:1].isupper()
    if ">" in str(registered):
        return f"class {registered}, not of Keras"
    if module is None:
        return None if name in public and is_class else f"class {name}, not of Keras"
    group = _keras_module(module, keras_2)
    if keras_2:
        built_in = group is not None and name in public
    else:
        built_in = name in public if group == "" else group in (*_MODULES, "ops")
    return None if built_in and is_class else f"class {name} of {module}, not of Keras"


def _call_of_tensorflow(config: object) -> str | None:
    """What is wrong with the function that a layer of Keras 2 calls."""
    symbol = str(config.get("function")) if isinstance(config, dict) else ""
    return None if _COMPUTING.fullmatch(symbol) else f"a call of tf.{symbol}, which does more than compute"


def _keras_module(module: object, keras_2: bool) -> str | None:
    """ "layers" of keras.layers or keras.src.layers.core.dense; "" of keras itself; None of any other."""
    parts = str(module).split(".")
    if parts[0] not in (("keras", "tf_keras") if keras_2 else ("keras",)):
        return None
    parts = [part for part in parts[1:] if part != "src"]
    return parts[0] if parts else ""


def _public_names(keras_2: bool) -> set[str]:
    if keras_2:
        import tf_keras as library
    else:
        import keras as library

    modules = [vars(getattr(library, module)) for module in _MODULES if hasattr(library, module)]
    names = {name for module in modules for name in module if not name.startswith("_")}
    return names | {"Functional"} | (_KERAS_2_CLASSES if keras_2 else set())


# --- SavedModel ---------------------------------------------------------------------------------------------------


def code_in_graph(path: Path) -> list[str]:
    """The operations of a saved_model.pb that run Python or reach files, such as "PyFunc in __inference_call_7".

    Saving and restoring the variables is left out where the saver does it. Raises ModelBroken.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(path.read_bytes())
    except (DecodeError, RuntimeError) as err:
        raise ModelBroken(f"truncated or damaged: {path.name} is no SavedModel") from err
    if not saved.meta_graphs:
        raise ModelBroken(f"truncated or damaged: {path.name} holds no graph")
    return sorted({operation for graph in saved.meta_graphs for operation in _unsafe(graph)})


def _unsafe(graph: Any) -> Iterator[str]:
    functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    ends = (graph.saver_def.save_tensor_name, graph.saver_def.restore_op_name, graph.saver_def.filename_tensor_name)
    saver = {name.partition(":")[0] for name in ends if name}
    folders = tuple(name.rpartition("/")[0] + "/" for name in saver if "/" in name)  # "save/" of TensorFlow 1

    def saves(node: Any) -> bool:
        return node.name in saver or (bool(folders) and node.name.startswith(folders))

    main = graph.graph_def.node
    of_saver = _reached((node for node in main if saves(node)), functions)
    for function, nodes in (("the main graph", main), *functions.items()):
        for node in nodes:
            saving = function in of_saver or (nodes is main and saves(node))
            if _UNSAFE.search(node.op) and node.op not in functions and not (saving and node.op in _SAVER):
                yield f"{node.op} in {function}"


def _reached(nodes: Iterable[Any], functions: dict[str, Any]) -> set[str]:
    """Names of the functions that are called by the nodes, directly or not."""
    reached: set[str] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        attributes = node.attr.values()
        names = {node.op, *(a.func.name for a in attributes), *(f.name for a in attributes for f in a.list.func)}
        for name in (names & functions.keys()) - reached:
            reached.add(name)
            pending.extend(functions[name])
    return reached
