"""The training loop: steps, checkpoints, and exact resumption after an interruption.

A custom loop rather than `Model.fit`: the order of the pictures, two learning rates, averaged weights and a stop in the
middle of an epoch are all part of what a resumed run has to repeat.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.images.decoding import Float32Array, InputSpec, UInt8Array
from imagewarehouse.training.augment import epoch_batches
from imagewarehouse.training.dataset import Examples
from imagewarehouse.training.listing import IntArray
from imagewarehouse.training.network import build
from imagewarehouse.training.recipe import Recipe
from imagewarehouse.training.start import Start

T = TypeVar("T")
_SAVE_EVERY_S = 300.0
_AHEAD = 2  # batches made while the network learns from the one before
_SAMPLE = 5_000  # pictures that mean and whitening are taken from
_LARGEST_STEP = 1_000
_RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of the training after each step; `validation_accuracy` (of the averaged weights) after each epoch."""

    step: int
    begun: int  # the step this process began with
    steps: int
    epoch: int
    epochs: int
    batch: int
    seconds: float  # since this process began
    loss: float  # of this epoch so far
    accuracy: float  # of this epoch so far, on the changed training pictures
    validation_accuracy: float | None = None

    @property
    def images_per_second(self) -> float:
        return (self.step - self.begun) * self.batch / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """As if the steps to come took as long as those before; the last ones, on larger pictures, take longer."""
        return (self.steps - self.step) * self.seconds / max(1, self.step - self.begun)


class Trainer:
    """One training, with its checkpoints in one folder. Not thread-safe.

    Raises ConfigurationError when the batch can't be shared equally among the replicas of the strategy.
    """

    def __init__(
        self,
        train: Examples,
        validation: Examples,
        spec: InputSpec,
        classes: int,
        recipe: Recipe,
        seed: int,
        folder: Path,
        strategy: Any = None,
        precision: str = "float32",
        start: Start | None = None,
    ) -> None:
        self.recipe, self.seed, self.spec, self.classes = recipe, seed, spec, classes
        self.start = start
        self._mean = start.mean() if start else None
        self.strategy = strategy or tf.distribute.get_strategy()
        replicas = self.strategy.num_replicas_in_sync
        if recipe.batch % replicas:
            raise ConfigurationError(
                "--batch", f"{recipe.batch} pictures can't be shared equally by {replicas} replicas"
            )
        if len(train) < recipe.batch:
            raise ConfigurationError("--batch", f"{recipe.batch} is more than the {len(train)} training images")
        self._train, self._validation = train, validation
        self.steps_per_epoch = len(train) // recipe.batch
        self.steps = self.steps_per_epoch * recipe.epochs
        self.sample = train.images[:_SAMPLE]
        self.history: dict[str, list[float]] = {"loss": [], "accuracy": [], "validation_accuracy": []}
        self._history_file = folder / "history.json"
        self._running: list[tuple[float, float]] = []  # loss and accuracy of each step of this epoch
        keras.utils.set_random_seed(seed)
        with self.strategy.scope():
            with _dtype_policy(precision):
                self.model = build(spec, classes, recipe, self.sample, mean=self._mean)
            if start:
                start.give(self.model)
            self._variables = self.model.trainable_variables
            self._biases = [variable for variable in self._variables if variable.path.endswith("beta")]
            self._weights = [variable for variable in self._variables if not variable.path.endswith("beta")]
            self._for_weights = self._optimizer(1.0, recipe.weight_decay)
            self._for_biases = self._optimizer(recipe.bias_rate, None)
            self._for_weights.build(self._weights)
            self._for_biases.build(self._biases)
            self._averaged = [tf.Variable(variable.value, trainable=False) for variable in self.model.variables]
            self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._decay = 0.5 ** (1 / max(1.0, recipe.average * self.steps_per_epoch))
        self._checkpoint = tf.train.Checkpoint(
            weights=[variable.value for variable in self.model.variables],
            averaged=self._averaged,
            for_weights=[variable.value for variable in self._for_weights.variables],
            for_biases=[variable.value for variable in self._for_biases.variables],
            step=self._step,
        )
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder / "checkpoints"), max_to_keep=2)
        self._board = tf.summary.create_file_writer(str(folder / "tensorboard"))
        self._learn_function = tf.function(self._learn_all, reduce_retracing=False)
        self._logits_function = tf.function(lambda images: self.model(images, training=False), reduce_retracing=True)

    @property
    def step(self) -> int:
        """Steps that are done."""
        return int(self._step.numpy())

    def restore(self) -> bool:
        """Go on from the newest checkpoint, if there is one."""
        if self._manager.latest_checkpoint is None:
            return False
        try:
            self._checkpoint.restore(self._manager.latest_checkpoint).assert_consumed()
        except (tf.errors.OpError, IndexError, ValueError, AssertionError) as err:
            raise ConfigurationError(
                "--work", f"the checkpoint in {self._manager.directory} can't be read; --restart begins anew"
            ) from err
        if self._history_file.is_file():
            history: dict[str, Any] = json.loads(self._history_file.read_text(encoding="utf-8"))
            running = history.pop(_RUNNING, [])
            self.history = {name: values[: self.step // self.steps_per_epoch] for name, values in history.items()}
            self._running = running[: self.step - len(self.history["loss"]) * self.steps_per_epoch]
        return True

    def save(self) -> None:
        """A checkpoint of this moment; the newest two are kept."""
        # First, so that it is never behind the weights: what is too much in it is cut off when they are read.
        try:
            self._save_history()
            self._manager.save(checkpoint_number=self.step)
        except (OSError, tf.errors.OpError) as err:
            reason = getattr(err, "strerror", None) or getattr(err, "message", None) or str(err)
            raise ConfigurationError(
                "--work", f"no checkpoint can be written in {self._manager.directory}: {reason}"
            ) from err

    def run(self, report: Callable[[Progress], None]) -> None:
        """Train to the end. However it is left, by Ctrl-C too, the last complete step is in a checkpoint."""
        begun, started, saved = self.step, time.monotonic(), time.monotonic()

        def now(validation_accuracy: float | None = None) -> Progress:
            loss, accuracy = np.mean(self._running, axis=0) if self._running else (math.nan, math.nan)
            return Progress(
                self.step, begun, self.steps, epoch + 1, self.recipe.epochs, self.recipe.batch,
                time.monotonic() - started, float(loss), float(accuracy), validation_accuracy,
            )  # fmt: skip

        try:
            while (epoch := len(self.history["loss"])) < self.recipe.epochs:
                first = self.step - epoch * self.steps_per_epoch
                for images, labels in _prefetched(epoch_batches(self._train, self.recipe, self.seed, epoch, first)):
                    self._running.append(self.learn(images, labels, self._size()))
                    report(now())
                    if time.monotonic() - saved > _SAVE_EVERY_S:
                        self.save()
                        saved = time.monotonic()
                ended = now(self.accuracy(self._validation))
                self._end_epoch(ended)
                report(ended)
        finally:
            self.save()
            self._board.flush()

    def averaged_model(self) -> keras.Model:
        """The network with the averaged weights, for pictures of exactly the model's size."""
        model = build(self.spec, self.classes, self.recipe, self.sample, fixed=True, mean=self._mean)
        for variable, value in zip(model.variables, self._averaged, strict=True):
            variable.assign(value.numpy())
        return model

    def accuracy(self, examples: Examples) -> float:
        """Of the averaged weights, on unchanged pictures."""
        if not len(examples):
            return math.nan
        weights = [variable.numpy() for variable in self.model.variables]
        self._assign([value.numpy() for value in self._averaged])
        try:
            predicted = np.argmax(self._logits(examples.images), axis=1)
        finally:
            self._assign(weights)
        return float(np.mean(predicted == examples.labels))

    # --- one step -----------------------------------------------------------------------------------------------------

    def learn(self, images: UInt8Array, labels: IntArray, size: tuple[int, int]) -> tuple[float, float]:
        """One step on one batch of pictures, brought to `size` (height, width).

        Returns: the loss, in nats, and the accuracy on this batch, 0-1.
        Raises: ConfigurationError when the loss is no number any more.
        """
        targets = np.eye(self.classes, dtype=np.float32)[labels]
        loss, correct = self._learn_function(self._shared(images), self._shared(targets), size)
        if not math.isfinite(float(loss)):
            raise ConfigurationError("--rate", f"the loss is {float(loss)} after {self.step} steps; try a lower rate")
        return float(loss), float(correct) / self.recipe.batch

    def _size(self) -> tuple[int, int]:
        """Of the pictures at this moment of the training."""
        factor = self.recipe.size_factor(self.step / self.steps)
        return max(8, round(self.spec.height * factor)), max(8, round(self.spec.width * factor))

    def _shared(self, values: Any) -> Any:
        """To each replica its equal part of a batch, in the order of the replicas, whichever process they are in."""
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            return tf.constant(values)
        share = len(values) // replicas

        def part(context: Any) -> Any:
            index = context.replica_id_in_sync_group
            return tf.constant(values[index * share : (index + 1) * share])

        return self.strategy.experimental_distribute_values_from_function(part)

    def _learn_all(self, images: Any, targets: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        losses, correct = self.strategy.run(self._learn_part, args=(images, targets, size))
        for average, variable in zip(self._averaged, self.model.variables, strict=True):
            average.assign(average * self._decay + tf.convert_to_tensor(variable.value) * (1 - self._decay))
        self._step.assign_add(1)  # in the same call as the weights, so that no Ctrl-C comes between
        add = tf.distribute.ReduceOp.SUM
        return self.strategy.reduce(add, losses, axis=None), self.strategy.reduce(add, correct, axis=None)

    def _learn_part(self, images: Any, targets: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        pixels = tf.cast(images, tf.float32) * self.spec.multiply + self.spec.add
        if size != (self.spec.height, self.spec.width):
            pixels = tf.image.resize(pixels, size, antialias=True)
        with tf.GradientTape() as tape:
            logits = self.model(pixels, training=True)
            each = keras.losses.categorical_crossentropy(
                targets, logits, from_logits=True, label_smoothing=self.recipe.smoothing
            )
            loss = tf.reduce_sum(each) / self.recipe.batch
        gradients = tape.gradient(loss, [*self._weights, *self._biases])
        self._for_weights.apply_gradients(zip(gradients[: len(self._weights)], self._weights, strict=True))
        self._for_biases.apply_gradients(zip(gradients[len(self._weights) :], self._biases, strict=True))
        right = tf.equal(tf.argmax(logits, axis=1), tf.argmax(targets, axis=1))
        return loss, tf.reduce_sum(tf.cast(right, tf.float32))

    def _optimizer(self, factor: float, weight_decay: float | None) -> Any:
        peak = self.recipe.rate * self.recipe.batch / 1024 * factor
        return keras.optimizers.SGD(
            TriangularSchedule(peak, self.steps, self.recipe.warm_up),
            self.recipe.momentum,
            nesterov=True,
            weight_decay=weight_decay,
        )

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _logits(self, images: UInt8Array) -> Float32Array:
        parts = []
        for start in range(0, len(images), _LARGEST_STEP):
            pixels = images[start : start + _LARGEST_STEP].astype(np.float32)
            pixels = pixels * np.asarray(self.spec.multiply, np.float32) + np.asarray(self.spec.add, np.float32)
            parts.append(self._logits_function(tf.constant(pixels)).numpy())
        return np.concatenate(parts)

    def _assign(self, values: list[Any]) -> None:
        for variable, value in zip(self.model.variables, values, strict=True):
            variable.assign(value)

    def _end_epoch(self, ended: Progress) -> None:
        """Record the metrics of an epoch that has ended."""
        self._running = []
        with self._board.as_default(step=ended.epoch):
            for name, values in self.history.items():
                value = float(getattr(ended, name))
                values.append(round(value, 4))
                tf.summary.scalar(name, value)
            tf.summary.scalar("learning_rate", float(self._for_weights.learning_rate))
        self._save_history()

    def _save_history(self) -> None:
        self._history_file.write_text(json.dumps({**self.history, _RUNNING: self._running}), encoding="utf-8")


class TriangularSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Linear warm-up to the peak, then linear decay to zero."""

    def __init__(self, peak: float, steps: int, warm_up: float) -> None:
        self.peak, self.steps, self.warm_up = peak, steps, warm_up

    def __call__(self, step: Any) -> Any:
        done = keras.ops.cast(step + 1, "float32") / (self.steps + 1)
        return self.peak * keras.ops.minimum(done / self.warm_up, (1 - done) / (1 - self.warm_up))

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "warm_up": self.warm_up}


@contextmanager
def _dtype_policy(precision: str) -> Iterator[None]:
    """Sets the dtype policy for layers built in this block; their weights stay float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _prefetched(items: Iterator[T]) -> Iterator[T]:
    """The same items, prepared in a thread ahead of their use."""
    with ThreadPoolExecutor(1, thread_name_prefix="augment") as pool:
        waiting = deque(pool.submit(next, items, None) for _ in range(_AHEAD))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, items, None))
            yield item
