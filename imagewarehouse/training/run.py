"""One training, from the images to a new version, in a working folder from which it can be resumed.

The working folder holds `run.json` (its settings), `start/` (the version that it began with), `checkpoints/`,
`tensorboard/`, `history.json` and `cache/` with the decoded images. Nothing in it is served; the version is written by
`training.version` at the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagewarehouse.errors import ConfigurationError, ImageRejected
from imagewarehouse.images.colour import background_from
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.training.dataset import Dataset, read_dataset
from imagewarehouse.training.listing import TEST
from imagewarehouse.training.loop import Progress, Trainer
from imagewarehouse.training.recipe import PRESETS, Recipe
from imagewarehouse.training.sources import list_source
from imagewarehouse.training.start import Start, copy_version, read_start

RUN_FILE, FINISHED_FILE = "run.json", "finished.json"
_START = "start"
_STATE = (
    RUN_FILE,
    FINISHED_FILE,
    _START,
    "history.json",
    "seconds.json",
    "images.json",
    "checkpoints",
    "tensorboard",
    "cache",
)
_OPTIONS = {
    "recipe": "recipe (--preset, --epochs, --batch, --rate, --smoothing, --widths, --no-flip)",
    "start": "--from",
    "epochs_given": "--epochs",
    "batch_given": "--batch",
}
_LOOKED_AT = 200  # images whose size is looked at when none is given


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a training; the same settings give the same run."""

    data: str
    test: str | None
    recipe: Recipe
    epochs_given: bool
    seed: int
    height: int
    width: int
    colour: str = "RGB"
    fit: str = "stretch"
    background: str = "#ffffff"
    validation_part: float = 0.1
    test_part: float = 0.1
    limit: int | None = None
    precision: str = "float32"  # Keras' dtype policy
    batch_given: bool = False
    start: str | None = None  # the folder of the version whose weights it began with
    command: str = ""

    @property
    def spec(self) -> InputSpec:
        """Pixels go into the network as 0-1."""
        background = background_from(self.background)
        return InputSpec(
            self.height,
            self.width,
            colour_order=self.colour,  # type: ignore[arg-type]
            fit=self.fit,  # type: ignore[arg-type]
            background=background,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """An open working folder of a training, with its settings."""

    folder: Path
    settings: Settings
    resumed: bool

    def read(self, progress: Callable[[int, int], None] | None = None) -> Dataset:
        """The images; those for the test are not looked at."""
        settings = self.settings
        return read_dataset(
            settings.data,
            settings.spec,
            test=settings.test,
            validation_part=settings.validation_part,
            test_part=settings.test_part,
            seed=settings.seed,
            limit=settings.limit,
            progress=progress,
            cache=self.folder / "cache",
        )

    def trainer(self, data: Dataset, strategy: Any = None) -> Trainer:
        """The training, continued from its newest checkpoint.

        Raises: ConfigurationError when the images are others than those it began with.
        """
        replicas = strategy.num_replicas_in_sync if strategy else 1
        recipe = self.settings.recipe.fitted(
            len(data.train),
            replicas,
            epochs_given=self.settings.epochs_given,
            batch_given=self.settings.batch_given,
        )
        self._same_images(data)
        trainer = Trainer(
            data.train, data.validation, self.settings.spec, len(data.classes), recipe, self.settings.seed, self.folder,
            strategy, self.settings.precision, self._start(data),
        )  # fmt: skip
        if self.resumed:
            trainer.restore()
        return trainer

    def train(self, trainer: Trainer, report: Callable[[Progress], None]) -> None:
        """Go on to the end, and remember how long it took, over all interruptions."""
        before, started = self.seconds, time.monotonic()
        try:
            trainer.run(report)
        finally:
            _write_json(self.folder / "seconds.json", before + time.monotonic() - started)

    @property
    def seconds(self) -> float:
        """Spent in training so far, all interrupted parts together."""
        with contextlib.suppress(OSError, ValueError):
            return float(json.loads((self.folder / "seconds.json").read_text(encoding="utf-8")))
        return 0.0

    def finished(self, version: str) -> None:
        """Remember that the version was written, so that the next training here begins anew."""
        _write_json(self.folder / FINISHED_FILE, version)

    @property
    def version(self) -> str | None:
        """The version that was written when the training had ended, None before."""
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads((self.folder / FINISHED_FILE).read_text(encoding="utf-8")))
        return None

    def _start(self, data: Dataset) -> Start | None:
        if self.settings.start is None:
            return None
        return read_start(self.folder / _START, self.settings.spec, data.classes)

    def _same_images(self, data: Dataset) -> None:
        file = self.folder / "images.json"
        if self.resumed and file.is_file():
            digest = json.loads(file.read_text(encoding="utf-8"))
            if digest != data.facts["sha256"]:
                raise ConfigurationError(
                    "--data", "the images are not those that this training began with; --restart begins anew"
                )
        _write_json(file, data.facts["sha256"])


@contextlib.contextmanager
def open_run(folder: Path, settings: Settings | None, *, resume: bool, restart: bool) -> Iterator[Run]:
    """Open a working folder for one process.

    Args: settings: None takes those the folder remembers, which only a resumed run can.
    Raises: ConfigurationError: the folder holds another run, or none to resume, or another process works in it.
    """
    if settings is not None and settings.start is not None and folder.resolve() in Path(settings.start).parents:
        raise ConfigurationError("--from", f"{settings.start} lies in the working folder, which is begun anew")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as err:
        raise ConfigurationError("--work", f"{folder}: {err.strerror or err}") from err
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            raise ConfigurationError("--work", f"another process is training in {folder}") from err
        run_file = folder / RUN_FILE
        # What is finished, or has not learnt anything yet, is in nobody's way.
        done = (folder / FINISHED_FILE).is_file() or not any(folder.glob("checkpoints/*.index"))
        if run_file.is_file() and (restart or (done and not resume)):
            _empty(folder)
        if run_file.is_file():
            recorded = read_settings(folder)
            if not resume:
                raise ConfigurationError(
                    "--work",
                    f"{folder} holds a training that was begun before: --resume goes on with it, --restart drops it",
                )
            if settings is not None and _asked(settings) != _asked(recorded):
                names = [
                    _OPTIONS.get(name, name)
                    for name, value in _asked(settings).items()
                    if value != _asked(recorded)[name]
                ]
                raise ConfigurationError("--resume", f"this training began with other settings: {', '.join(names)}")
            yield Run(folder, recorded, resumed=True)
            return
        if settings is None:
            raise ConfigurationError("--resume", f"there is no training in {folder}")
        if settings.start is not None:
            copy_version(Path(settings.start), folder / _START)
        _write_json(run_file, asdict(settings))
        yield Run(folder, settings, resumed=False)


def read_settings(folder: Path) -> Settings:
    """What the training in a folder was begun with.

    Raises: ConfigurationError when there is none.
    """
    try:
        raw = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        return Settings(**{**raw, "recipe": Recipe.from_dict(raw["recipe"])})
    except FileNotFoundError as err:
        raise ConfigurationError("--work", f"there is no training in {folder}") from err
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ConfigurationError("--work", f"{folder / RUN_FILE} can't be read: {err}; --restart begins anew") from err


def recipe_for(preset: str, **changes: Any) -> Recipe:
    """A preset with other values; None keeps the preset's value."""
    return replace(PRESETS[preset], **{name: value for name, value in changes.items() if value is not None})


def typical_size(source: str, most: int) -> tuple[int, int]:
    """Height and width that suit the images of a source: theirs if they all have one, else a square; `most` at most."""
    listing = list_source(source, "--data")
    rows = np.flatnonzero(listing.parts != TEST)  # those are not looked at, not even for this
    rows = rows[np.linspace(0, len(rows) - 1, min(_LOOKED_AT, len(rows)), dtype=np.int64)]
    sizes = set()
    for _, load in listing.reader.read(rows):
        with (
            contextlib.suppress(OSError, ValueError, SyntaxError, ImageRejected),
            Image.open(io.BytesIO(load())) as image,
        ):
            sizes.add((image.height, image.width))
    if len(sizes) == 1 and max(max(sizes)) <= most:
        return sizes.pop()
    side = int(np.median([min(size) for size in sizes])) if sizes else most
    side = max(8, min(most, side))
    return side, side


def machine() -> str:
    """In words and without a host name, such as "2 vCPU AMD EPYC, AVX2"."""
    import tensorflow as tf

    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    facts = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    flags = facts.get("flags", "").split()
    vector = next((name for name in ("avx512_bf16", "avx512f", "avx2") if name in flags), "")
    gpus = tf.config.list_physical_devices("GPU")
    words = [f"{os.cpu_count()} vCPU {facts.get('model name', platform.machine())}", vector.upper().replace("_", " ")]
    return ", ".join(filter(None, [*words, f"{len(gpus)} GPU" if gpus else ""]))


def _asked(settings: Settings) -> dict[str, Any]:
    """The settings that decide the training: all but the command."""
    return {name: value for name, value in asdict(settings).items() if name != "command"}


def _empty(folder: Path) -> None:
    import shutil

    for name in _STATE:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _write_json(path: Path, value: Any) -> None:
    """Atomic: a power failure leaves the old file or the new one."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
