"""A new version of a model is written whole or not at all, and never over another."""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.errors import ConfigurationError, ModelBroken
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL, find_version, read_manifest
from imagewarehouse.training.folder import manifest_input, next_version, write_version

VERSION = find_version(BUNDLED_MODEL)
BUNDLED = read_manifest(VERSION)
LITERT = BUNDLED.runtimes["litert"]
LABELS = VERSION / "labels.txt"


def manifest(**values: Any) -> dict[str, Any]:
    return {
        "input": manifest_input(InputSpec(32, 32)),
        "output": BUNDLED.output,
        "runtimes": {"litert": "model.tflite"},
        **values,
    }


def files(**values: Any) -> dict[str, Any]:
    return {"model.tflite": LITERT, "labels.txt": LABELS, "report/metrics.json": b"{}", **values}


# --- the number ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        pytest.param([], "1", id="empty-folder"),
        pytest.param(["1", "2", "10"], "11", id="numbers-are-not-words"),
        pytest.param(["beta"], "1", id="names-do-not-count"),
        pytest.param(["3", ".7.ab12"], "4", id="hidden-ones-do-not-count"),
    ],
)
def test_the_next_version_is_above_every_folder_that_is_a_number(
    tmp_path: Path, there: list[str], expected: str
) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == expected


def test_a_new_model_starts_at_1(tmp_path: Path) -> None:
    assert next_version(tmp_path / "new") == "1"


@pytest.mark.parametrize("path", [VERSION, LABELS], ids=["a-version", "a-file"])
def test_what_is_no_folder_of_versions_has_no_next(path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        next_version(path)
    assert caught.value.setting == "--out"


# --- writing ------------------------------------------------------------------------------------------------------


def test_a_version_is_written_with_hashes_and_sizes_and_can_be_served(tmp_path: Path) -> None:
    model = tmp_path / "deep" / "flowers"
    written = write_version(model, "1", manifest(metrics={"accuracy": 0.9}), files())
    raw = json.loads((model / "1" / "manifest.json").read_text())
    assert list(raw) == ["name", "version", "input", "output", "temperature", "labels", "runtimes", "sha256", "metrics",
                         "training", "created"]  # fmt: skip
    assert (raw["name"], raw["version"], raw["temperature"]) == ("flowers", "1", 1.0)
    assert raw["sha256"]["model.tflite"] == hashlib.sha256(LITERT.read_bytes()).hexdigest()
    assert set(raw["sha256"]) == {"model.tflite", "labels.txt"}
    sizes = {"model.tflite": LITERT.stat().st_size, "labels.txt": LABELS.stat().st_size}
    assert raw["metrics"] == {"accuracy": 0.9, "size_bytes": sizes}
    assert written == read_manifest(model / "1")
    assert written.folder == model / "1"
    assert load_classifier(model).manifest == written
    assert (model / "1" / "report" / "metrics.json").read_bytes() == b"{}"
    assert [path.name for path in model.iterdir()] == ["1"]


def test_everybody_may_read_it_as_far_as_the_umask_says(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.mkdir()
    write_version(tmp_path / "m", "1", manifest(), files())
    assert (tmp_path / "m" / "1").stat().st_mode == usual.stat().st_mode


def test_no_version_is_called_as_the_highest_of_them_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="latest is the highest number in the folder"):
        write_version(tmp_path / "m", "latest", manifest(), files())
    assert not (tmp_path / "m").exists()


def test_a_full_disk_is_told_of_the_folder_and_not_of_what_was_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(ConfigurationError, match=re.escape(f"--out: {tmp_path / 'm'}: No space left on device")):
        write_version(tmp_path / "m", "1", manifest(), {**files(), "model.tflite": LITERT})
    assert list(tmp_path.iterdir()) == []


def test_keys_are_kept_in_the_same_order_however_they_are_given(tmp_path: Path) -> None:
    given = {"created": "2026-01-02", "training": {"seed": 1}, "exports": {}, **manifest(name="other"), "note": "x"}
    write_version(tmp_path, "7", given, files())
    raw = json.loads((tmp_path / "7" / "manifest.json").read_text())
    assert list(raw)[:3] == ["name", "version", "input"]
    assert list(raw)[-3:] == ["training", "created", "note"]
    assert (raw["name"], raw["created"]) == ("other", "2026-01-02")


@pytest.mark.parametrize(
    "spec",
    [InputSpec(8, 9), InputSpec(8, 9, (1.0, 2.0, 3.0), (-1.0,), "BGR", "crop"), InputSpec(4, 4, colour_order="L")],
    ids=["plain", "a-number-a-channel", "grey"],
)
def test_the_input_is_read_back_as_it_was(tmp_path: Path, spec: InputSpec, write_model: Callable[..., Path]) -> None:
    folder = write_model(tmp_path / "m" / "1", {"litert": ("model.tflite", b"")}, input=manifest_input(spec))
    assert read_manifest(folder).spec == spec


# --- refusing -----------------------------------------------------------------------------------------------------


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.mark.parametrize("there", ["version", "empty folder", "dead link"])
def test_a_version_that_exists_is_never_touched(tmp_path: Path, there: str) -> None:
    if there == "version":
        write_version(tmp_path, "1", manifest(), files())
    elif there == "dead link":
        (tmp_path / "1").symlink_to(tmp_path / "nowhere")
    else:
        (tmp_path / "1").mkdir()
    before = everything(tmp_path)
    with pytest.raises(ConfigurationError, match="a version never changes"):
        write_version(tmp_path, "1", manifest(), files())
    assert everything(tmp_path) == before


def test_of_two_that_write_the_same_version_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(*_: Any, **__: Any) -> None:
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "theirs").write_text("theirs")

    monkeypatch.setattr("imagewarehouse.training.folder.load_classifier", meanwhile)
    with pytest.raises(ConfigurationError, match="a version never changes"):
        write_version(tmp_path, "1", manifest(), files())
    assert everything(tmp_path) == {"1": b"", "1/theirs": b"theirs"}


@pytest.mark.parametrize(
    ("changed", "content", "error", "says"),
    [
        pytest.param({}, {"model.tflite": b"TFL3 no model"}, ModelBroken, "model.tflite", id="no-model"),
        pytest.param({}, {"labels.txt": b"a\nb\n"}, ModelBroken, "labels ask for", id="labels-of-another-model"),
        pytest.param({}, {"labels.txt": b"a\na\n"}, ModelBroken, "twice", id="a-label-twice"),
        pytest.param({"input": manifest_input(InputSpec(33, 32))}, {}, ModelBroken, "model.tflite", id="other-size"),
        pytest.param({"runtimes": {"litert": "other"}}, {}, ModelBroken, "no entry for other", id="file-missing"),
        pytest.param({"output": "?"}, {}, ModelBroken, "output", id="output"),
        pytest.param({}, {"model.tflite": Path("nowhere")}, ConfigurationError, "nowhere", id="nothing-to-copy"),
        pytest.param({"metrics": {"accuracy": float("nan")}}, {}, ValueError, "JSON", id="nan-is-not-json"),
        pytest.param({}, {"../outside": b""}, ValueError, "outside", id="name-outside"),
        pytest.param({}, {"a/b/c": b""}, ValueError, "a/b/c", id="name-too-deep"),
        pytest.param({}, {".hidden": b""}, ValueError, "hidden", id="name-hidden"),
        pytest.param({}, {"manifest.json": b""}, ValueError, "manifest", id="manifest-as-file"),
    ],
)
def test_what_fails_leaves_nothing_behind(
    tmp_path: Path, changed: dict[str, Any], content: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        write_version(tmp_path / "new" / "model", "1", manifest(**changed), files(**content))
    assert everything(tmp_path) == {}
    assert ".1." not in str(caught.value)


@pytest.mark.parametrize("version", ["", ".", "..", ".1", "a/b", "../1", "a b"])
def test_a_version_is_one_plain_name(tmp_path: Path, version: str) -> None:
    with pytest.raises(ConfigurationError, match="--version"):
        write_version(tmp_path, version, manifest(), files())
    assert everything(tmp_path) == {}


def test_a_model_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(ConfigurationError, match="--out"):
        write_version(tmp_path / "file" / "model", "1", manifest(), files())
    assert everything(tmp_path) == {"file": b"here"}


def test_a_file_that_is_no_model_beside_versions_leaves_those(tmp_path: Path) -> None:
    write_version(tmp_path, "1", manifest(), files())
    before = everything(tmp_path)
    with pytest.raises(ModelBroken):
        write_version(tmp_path, next_version(tmp_path), manifest(), files(**{"model.tflite": b""}))
    assert everything(tmp_path) == before
