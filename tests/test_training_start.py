"""What a version that a training goes on from had seen before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.models.manifest import Manifest
from imagewarehouse.training.dataset import read_dataset
from imagewarehouse.training.start import Start, widths_of

DATA = {"sha256": "a", "train_sha256": "b", "split_seed": 0, "validation_part": 0.1, "test_part": 0.1, "limit": None,
        "test_is": "separate"}  # fmt: skip
OLD = {name: value for name, value in DATA.items() if name != "train_sha256"}


def version(training: Any) -> Manifest:
    files = {"tensorflow": Path(__file__)}
    return Manifest(
        Path("m/1"), "m", "1", InputSpec(16, 16), "logits", 1.0, ("a", "b"), files, {}, training, "2026-01-01"
    )


def facts(manifest: Manifest, data: Mapping[str, Any]) -> dict[str, Any]:
    return Start(manifest, None, True).facts(dict(data))


@pytest.mark.parametrize(
    ("training", "now", "same"),
    [
        pytest.param({"data": DATA}, DATA, True, id="the-same"),
        pytest.param({"data": DATA}, {**DATA, "sha256": "x"}, False, id="other-images"),
        pytest.param({"data": DATA}, {**DATA, "train_sha256": "x"}, False, id="the-same-images-otherwise-split"),
        pytest.param({"data": DATA}, {**DATA, "split_seed": 9}, True, id="another-seed-that-splits-alike"),
        pytest.param({"data": OLD}, DATA, True, id="of-before-there-was-a-hash-of-the-part"),
        pytest.param({"data": OLD}, {**DATA, "split_seed": 9}, False, id="of-before-with-another-seed"),
        pytest.param({"data": DATA, "began_with": {"same_split": True}}, DATA, True, id="third-in-a-row"),
        pytest.param({"data": DATA, "began_with": {"same_split": False}}, DATA, False, id="whose-forerunner-saw-more"),
        pytest.param({"data": DATA, "began_with": {}}, DATA, True, id="began-with-nothing-said"),
        pytest.param({}, DATA, False, id="nothing-known"),
        pytest.param({"data": "x", "began_with": 3}, DATA, False, id="nonsense"),
        pytest.param(None, DATA, False, id="no-training"),
    ],
)
def test_whether_it_has_seen_other_images(training: Any, now: Mapping[str, Any], same: bool) -> None:
    assert facts(version(training), now)["same_split"] is same


@pytest.mark.parametrize(
    ("training", "widths"),
    [
        ({"recipe": {"widths": [8, 16]}}, (8, 16)),
        ({"recipe": {"widths": []}}, ()),
        ({"recipe": {"widths": [8, "16"]}}, ()),
        ({"recipe": {"widths": [8, -1]}}, ()),
        ({"recipe": {"widths": [True]}}, ()),
        ({"recipe": {"widths": [[8]]}}, ()),
        ({"recipe": {"widths": 8}}, ()),
        ({"recipe": []}, ()),
        ({}, ()),
        (None, ()),
    ],
)
def test_the_networks_widths_are_read_or_missing(training: Any, widths: tuple[int, ...]) -> None:
    assert widths_of(version(training)) == widths


def test_images_that_change_from_training_to_validation_are_noticed(tmp_path: Path) -> None:
    from PIL import Image

    def listed(validated: int) -> dict[str, Any]:
        lines = ["path,label,split"]
        for number in range(12):
            part = "validation" if number % 6 == validated else "train"
            lines.append(f"{number}.png,{'ab'[number % 2]},{part}")
        (tmp_path / "all.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return read_dataset(str(tmp_path / "all.csv"), InputSpec(16, 16)).facts

    for number in range(12):
        Image.new("RGB", (16, 16), (20 * number, number % 2 * 200, 90)).save(tmp_path / f"{number}.png")
    first, second, again = listed(2), listed(4), listed(2)
    assert (first["sha256"], first["train_sha256"]) == (again["sha256"], again["train_sha256"])
    assert facts(version({"data": first}), again)["same_split"] is True
    assert facts(version({"data": first}), second)["same_split"] is False
