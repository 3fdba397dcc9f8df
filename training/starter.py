"""Train the starter model: a small residual network on CIFAR-10, made on two CPU cores in under half an hour.

It writes one complete version folder (`imagewarehouse.manifest`): LiteRT file, Keras file, labels, report, manifest.

    python -m training.starter --data ../shared/data/cifar10-train.parquet \
        --test ../shared/data/cifar10-test-a.parquet --out model/cifar10/1
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shlex
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported, or it prints its CPU flags

import keras
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from imagewarehouse.images import InputSpec, UInt8Array, decode_rgb, to_batch
from imagewarehouse.manifest import MANIFEST, read_manifest

SPEC = InputSpec(32, 32)
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Few and wide layers: trains as fast as ResNet-20 here (247 and 215-245 images per CPU second), on 3 times its weights.
STEM, WIDTHS = 32, (64, 128, 192)
VALIDATION = 2_500
SHIFT = 2  # pixels, of the usual 2 to 4; the short training underfits rather than overfits (not compared)
SMOOTHING = 0.1
PEAK_RATE, MOMENTUM = 0.2, 0.9
# Keras decouples the decay from the momentum: this is the usual L2 penalty of 5e-4 divided by (1 - momentum).
WEIGHT_DECAY = 5e-3

IntArray = npt.NDArray[np.int64]


def load(path: Path, limit: int | None = None, seed: int = 0) -> tuple[UInt8Array, IntArray]:
    """Images (N, 32, 32, 3) uint8 and labels (N,), shuffled: the file is sorted by class."""
    table = pq.read_table(path, columns=["image", "label"])
    order = np.random.default_rng(seed).permutation(table.num_rows)[:limit]
    table = table.take(order)
    images = np.stack([decode_rgb(content, SPEC, "JPEG") for content in table["image"].to_pylist()])
    return images, table["label"].to_numpy().astype(np.int64)


class Augmented(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches in a new order each epoch, every image mirrored or not and moved by up to SHIFT pixels."""

    def __init__(self, images: UInt8Array, labels: IntArray, batch: int, seed: int) -> None:
        super().__init__()
        self.padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
        self.targets = np.eye(len(LABELS), dtype=np.float32)[labels]
        self.batch = batch
        self.rng = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self.padded) // self.batch  # the rest is dropped: a tiny last batch would disturb batch norm

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        rows = self.order[index * self.batch : (index + 1) * self.batch]
        images = [
            self.padded[row, top : top + SPEC.height, left : left + SPEC.width][:, :: -1 if mirror else 1]
            for row, (top, left, mirror) in zip(rows, self.moves[rows], strict=True)
        ]
        return to_batch(images, SPEC), self.targets[rows]

    def on_epoch_end(self) -> None:
        count = len(self.padded)
        self.order = self.rng.permutation(count)
        # Drawn per epoch, not per batch: Keras may fetch batches from another thread, in any order.
        self.moves = self.rng.integers(0, (2 * SHIFT + 1, 2 * SHIFT + 1, 2), size=(count, 3))


class Triangle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Up to the peak over the first fifth of the steps, then straight down to zero."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        done = keras.ops.cast(step, "float32") / self.steps
        return PEAK_RATE * keras.ops.maximum(0.0, keras.ops.minimum(done / 0.2, (1.0 - done) / 0.8))


class Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """One line an epoch, flushed, so that a log file can be followed."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        done, epochs, seconds = epoch + 1, self.params["epochs"], time.monotonic() - self.started
        values = "  ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        speed, left = done * self.images / seconds, seconds / done * (epochs - done)
        print(f"epoch {done}/{epochs}  {values}  {speed:.0f} images/s  {left / 60:.1f} min left", flush=True)


def build(images: UInt8Array) -> tuple[keras.Model, keras.Model]:
    """The network twice over the same weights: ending in logits to train, in probabilities to export."""
    pixels = images.reshape(-1, 3) / 255
    inputs = keras.Input((SPEC.height, SPEC.width, SPEC.channels), name="image")
    # Inside the graph, so that callers only ever scale to 0-1.
    x = layers.Normalization(mean=pixels.mean(0).tolist(), variance=pixels.var(0).tolist())(inputs)
    x = layers.ReLU()(_convolve(x, STEM))
    for width in WIDTHS:
        y = layers.ReLU()(_convolve(x, width, stride=2))
        x = layers.Add()([_convolve(x, width, stride=2, size=1), _convolve(y, width)])
        x = layers.ReLU()(x)
    logits = layers.Dense(len(LABELS), name="logits")(layers.GlobalAveragePooling2D()(x))
    probabilities = layers.Softmax(name="probabilities")(logits)
    return keras.Model(inputs, logits), keras.Model(inputs, probabilities, name="starter")


def _convolve(x: Any, width: int, stride: int = 1, size: int = 3) -> Any:
    x = layers.Conv2D(width, size, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def to_litert(model: keras.Model) -> bytes:
    """With 8-bit weights (dynamic range): a quarter of the size, and less than half of the time for an image."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content: bytes = converter.convert()
    return content


def evaluate(litert: Path, images: UInt8Array, labels: IntArray) -> dict[str, Any]:
    """Run the exported file on one image at a time, on one thread, as the processor does."""
    interpreter = Interpreter(model_path=str(litert), num_threads=1)
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    confusion = np.zeros((len(LABELS), len(LABELS)), dtype=np.int64)
    seconds, confidence = [], []
    for image, label in zip(images, labels, strict=True):
        batch = to_batch([image], SPEC)
        started = time.perf_counter()
        interpreter.set_tensor(source, batch)
        interpreter.invoke()
        probabilities = interpreter.get_tensor(result)[0]
        seconds.append(time.perf_counter() - started)
        confidence.append(float(probabilities.max()))
        confusion[label, probabilities.argmax()] += 1
    recall = confusion.diagonal() / np.maximum(confusion.sum(1), 1)
    return {
        "images": len(labels),
        "accuracy": round(float(confusion.trace() / len(labels)), 4),
        "mean_confidence": round(float(np.mean(confidence)), 4),
        "accuracy_by_class": {name: round(float(value), 4) for name, value in zip(LABELS, recall, strict=True)},
        "confusion": confusion.tolist(),  # rows: the true class, columns: the predicted one
        "milliseconds_median": round(float(np.median(seconds)) * 1e3, 3),
        "milliseconds_p99": round(float(np.quantile(seconds, 0.99)) * 1e3, 3),
    }


def machine() -> str:
    """In words and without a host name, such as "2 vCPU AMD EPYC"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} vCPU {names[0] if names else platform.machine()}"


def write_json(path: Path, **value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="training images, parquet")
    parser.add_argument("--test", type=Path, required=True, help="test images, read once, after the export")
    parser.add_argument("--out", type=Path, required=True, help="<model>/<version>, must not hold a manifest yet")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--limit", type=int, help="use only this many training images, for a trial")
    args = parser.parse_args()
    if (args.out / MANIFEST).exists():
        parser.error(f"{args.out} holds a version already, and a version never changes")
    started = time.monotonic()
    keras.utils.set_random_seed(args.seed)

    images, labels = load(args.data, args.limit, args.seed)
    kept = min(VALIDATION, len(images) // 5)
    held, held_labels, images, labels = images[:kept], labels[:kept], images[kept:], labels[kept:]
    print(f"{len(images)} training and {kept} validation images, {time.monotonic() - started:.0f} s", flush=True)
    trained, exported = build(images)
    batches = Augmented(images, labels, args.batch, args.seed)
    rate = Triangle(args.epochs * len(batches))
    optimizer = keras.optimizers.SGD(rate, MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SMOOTHING)
    # "auto" would compile with XLA, which halves the speed of these nets on a CPU.
    trained.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
    validation = (to_batch(list(held), SPEC), np.eye(len(LABELS), dtype=np.float32)[held_labels])
    progress = Progress(len(batches) * args.batch)
    history = trained.fit(batches, epochs=args.epochs, verbose=0, validation_data=validation, callbacks=[progress])

    (args.out / "report").mkdir(parents=True, exist_ok=True)
    exported.save(args.out / "model.keras")  # never compiled: no optimizer state, no custom class to load
    (args.out / "model.tflite").write_bytes(to_litert(exported))
    (args.out / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    # The last epoch is taken as it is: nothing was chosen by these figures, neither validation nor test.
    on_validation = evaluate(args.out / "model.tflite", held, held_labels)
    on_test = evaluate(args.out / "model.tflite", *load(args.test))

    files = ("model.tflite", "model.keras", "labels.txt")
    # An absolute path would tell about this machine and be of no use on another.
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    versions = {name: version(name) for name in ("keras", "ai-edge-litert", "numpy", "pillow")}
    versions |= {"tensorflow": tf.__version__, "python": platform.python_version()}
    write_json(
        args.out / "report" / "metrics.json",
        parameters=exported.count_params(),
        validation=on_validation,
        test=on_test,
        history={name: [round(float(v), 4) for v in values] for name, values in history.history.items()},
    )
    # Last, because a folder without a manifest is no version: a broken run leaves nothing that could be served.
    write_json(
        args.out / MANIFEST,
        name=args.out.resolve().parent.name,
        version=args.out.resolve().name,
        input={"height": 32, "width": 32, "multiply": 1 / 255, "add": 0.0, "colour_order": "RGB", "fit": "stretch"},
        output="probabilities",
        temperature=1.0,
        labels="labels.txt",
        runtimes={"litert": "model.tflite", "tensorflow": "model.keras"},
        sha256={name: hashlib.sha256((args.out / name).read_bytes()).hexdigest() for name in files},
        metrics={
            "test_accuracy": on_test["accuracy"],
            "test_images": on_test["images"],
            "validation_accuracy": on_validation["accuracy"],
            "validation_images": kept,
            "size_bytes": {name: (args.out / name).stat().st_size for name in files},
        },
        training={
            "command": shlex.join(["python", "-m", "training.starter", *words]),
            "seed": args.seed,
            "epochs": args.epochs,
            "images": len(images),
            "seconds": round(time.monotonic() - started),
            "machine": machine(),
            "versions": versions,
        },
        created=datetime.now(timezone.utc).date().isoformat(),
    )
    read_manifest(args.out)
    print(f"test accuracy {on_test['accuracy']:.4f} over {on_test['images']} images", flush=True)


if __name__ == "__main__":
    main()
