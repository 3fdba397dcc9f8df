"""Data sets to train on: what each kind of source gives, how it is divided, and what is said about what is wrong."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.images.decoding import InputSpec, UInt8Array, decode_rgb
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.training import dataset_problems, sources
from imagewarehouse.training.dataset import Dataset, Examples, read_dataset, read_examples, read_test
from imagewarehouse.training.dataset_keras import CLASSES, list_arrays
from imagewarehouse.training.dataset_reading import read_contents

SPEC = InputSpec(8, 8)
COLOURS = {"cat": (200, 30, 30), "dog": (30, 200, 30), "eel": (30, 30, 200)}


def image(number: int, colour: Sequence[int] = (9, 9, 9), image_format: str = "PNG", mode: str = "RGB") -> bytes:
    """A picture like no other number's, of a size of its own."""
    file = io.BytesIO()
    picture = Image.new("RGB", (9 + number % 5, 7 + number % 3), tuple(colour))
    picture.putpixel((0, 0), (number % 256, number // 256 % 256, 77))
    picture.convert(mode).save(file, image_format, **({"lossless": True} if image_format == "WEBP" else {}))
    return file.getvalue()


def write_folder(root: Path, counts: Mapping[str, int], first: int = 0) -> Path:
    """A folder a class, such as {"cat": 3, "train/dog": 2}."""
    number = first
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            number += 1
            (root / name / f"{index:03}.png").write_bytes(image(number, COLOURS.get(Path(name).name, (9, 9, 9))))
    return root


def write_table(file: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), file, row_group_size=4)
    return file


def images(count: int, first: int = 0) -> list[bytes]:
    return [image(first + number) for number in range(count)]


def names(data: Dataset) -> tuple[set[str], set[str], set[str]]:
    tested = {data.test.listing.names[row] for row in data.test.rows}
    return set(data.train.names), set(data.validation.names), tested


def per_class(data: Dataset, examples: Examples) -> dict[str, int]:
    return dict(Counter(data.classes[label] for label in examples.labels.tolist()))


def refused(source: object, setting: str = "--data", **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_dataset(str(source), SPEC, **options)
    assert caught.value.setting == setting
    assert "\n" not in str(caught.value)
    return caught.value.problem


# --- what is read ---------------------------------------------------------------------------------------------------


def test_folder_of_many_formats_and_sizes_is_read(tmp_path: Path) -> None:
    kinds = [
        ("JPEG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "L"),
        ("JPEG", "CMYK"),
        ("WEBP", "RGB"),
        ("GIF", "P"),
        ("BMP", "RGB"),
    ]
    for number, (image_format, mode) in enumerate(kinds):
        for name in ("cat", "dog"):
            file = tmp_path / name / "deeper" / f"{image_format}-{mode}.{image_format.lower()}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(image(number, COLOURS[name], image_format, mode))
    data = read_dataset(str(tmp_path), SPEC)
    tested, problems = read_test(data.test, SPEC, data.classes)
    assert data.classes == ("cat", "dog")
    assert data.train.images.dtype == np.uint8
    assert data.train.images.shape == (10, 8, 8, 3)
    assert (len(data.validation), len(tested), len(data.test), problems) == (2, 2, 2, ())
    assert set().union(*names(data)) == {f"{c}/deeper/{f}-{m}.{f.lower()}" for c in ("cat", "dog") for f, m in kinds}
    for examples in (data.train, data.validation, tested):
        for pixels, label, name in zip(examples.images, examples.labels, examples.names, strict=True):
            assert name.startswith(data.classes[label])
            assert (pixels == decode_rgb((tmp_path / name).read_bytes(), SPEC)).all()


@pytest.mark.parametrize("spec", [InputSpec(5, 9, colour_order="L"), InputSpec(5, 9, colour_order="BGR", fit="crop")])
def test_images_have_the_size_and_channels_of_the_spec(tmp_path: Path, spec: InputSpec) -> None:
    data = read_dataset(str(write_folder(tmp_path, {"cat": 6, "dog": 6})), spec)
    assert data.train.images.shape == (8, 5, 9, spec.channels)
    if spec.channels == 3:
        first = dict(zip(data.train.names, data.train.images, strict=True))["cat/000.png"]
        assert first[2, 4].tolist() == list(reversed(COLOURS["cat"]))


def test_examples_are_taken_by_row() -> None:
    examples = Examples(np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1), np.array([5, 6, 7]), ("a", "b", "c"))
    taken = examples.take([2, 0])
    assert (len(examples), len(taken)) == (3, 2)
    assert (taken.labels.tolist(), taken.names, taken.images[:, 0, 0, 0].tolist()) == ([7, 5], ("c", "a"), [8, 0])
    assert len(examples.take([])) == 0


def test_broken_files_are_left_out_with_a_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, {"cat": 20, "dog": 20})
    whole = image(500, image_format="JPEG")
    noise = bytes(random.Random(1).randbytes(400))
    for name, content in {
        "text.jpg": b"this is no picture",
        "empty.png": b"",
        "cut.jpg": whole[: len(whole) // 2],
        "bits.png": image(501)[:60] + b"\x00\x01\x02" + image(501)[63:],
        "noise.gif": b"GIF89a" + noise,
        "bomb.png": _bomb(),
        "new.heic": b"\x00\x00\x00\x18ftypheic" + bytes(16),
        "line\nbreak.jpg": b"?",
    }.items():
        (tmp_path / "cat" / name).write_bytes(content)
    (tmp_path / "cat" / "away.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    data = read_dataset(str(tmp_path), SPEC)
    assert len(data.train) + len(data.validation) + len(data.test) == 40
    assert data.facts["images"]["left_out"] == 10
    lines = {line.partition(" is left out: ")[0]: line.partition(" is left out: ")[2] for line in data.problems}
    assert len(lines) == 10
    assert lines["cat/text.jpg"] == "not an image of a known format"
    assert lines["cat/empty.png"] == "the file is empty"
    assert lines["cat/cut.jpg"].startswith("JPEG: the file ends")
    assert lines["cat/bits.png"].startswith("PNG: ")
    assert lines["cat/noise.gif"].startswith("GIF: ")
    assert "at most 50000000 in all" in lines["cat/bomb.png"]
    assert lines["cat/new.heic"].startswith("HEIF: the file ends")
    assert lines["cat/line?break.jpg"] == "not an image of a known format"
    assert lines["cat/away.png"] == "No such file or directory"
    assert lines["cat/pipe.png"] == "not a regular file"


def _bomb() -> bytes:
    """A picture of 100 megapixels in a few kilobytes."""
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "PNG")
    return file.getvalue()


def test_a_file_over_the_size_limit_is_not_read(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 3, "dog": 3})
    with (tmp_path / "cat" / "large.png").open("wb") as file:
        file.truncate(21 * 1024 * 1024)
    assert (
        "cat/large.png is left out: 22020096 bytes, at most 20971520 are allowed"
        in read_dataset(str(tmp_path), SPEC).problems
    )


def test_pixels_that_only_the_decoder_finds_broken_are_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 20, "dog": 20})
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(file, "TIFF", compression="tiff_adobe_deflate")
    content = bytearray(file.getvalue())
    content[20:1000] = b"\xff" * 980  # inside the picture data, which nothing but the decoder looks at
    (tmp_path / "cat" / "000.tiff").write_bytes(content)
    data = read_dataset(str(tmp_path), SPEC, validation_part=0.0, test_part=0.0)
    assert [line for line in data.problems if line.startswith("cat/000.tiff is left out: TIFF: ")]
    assert len(data.train) == 40
    assert all((pixels == decode_rgb((tmp_path / name).read_bytes(), SPEC)).all()
               for pixels, name in zip(data.train.images, data.train.names, strict=True))  # fmt: skip


def test_many_problems_of_a_kind_become_a_count(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 20, "dog": 20})
    for number in range(27):
        (tmp_path / "cat" / f"{number}.jpg").write_bytes(b"text")
    problems = read_dataset(str(tmp_path), SPEC).problems
    assert len(problems) == dataset_problems.MOST_LINES + 1
    assert problems[-1] == "... and 7 more images left out"


SYSTEM_FOLDERS = (
    "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found", "__pycache__",
    ".AppleDouble", ".ipynb_checkpoints", ".git", ".thumbnails", ".hidden",
)  # fmt: skip
SYSTEM_FILES = ("Thumbs.db", ".DS_Store", "desktop.ini", "._000.png", "000.png:Zone.Identifier", "Icon\r")


@pytest.mark.parametrize("below", ["", "cat/", "cat/indoors/"], ids=["beside-classes", "in-a-class", "deeper"])
def test_system_folders_and_files_are_no_classes_and_no_images(tmp_path: Path, below: str) -> None:
    write_folder(tmp_path, {"cat": 20, "dog": 20, "cat/indoors": 5})
    write_folder(tmp_path, {f"{below}{name}": 3 for name in SYSTEM_FOLDERS})
    for name in SYSTEM_FILES:
        (tmp_path / f"{below}{name}").write_bytes(image(1))
    data = read_dataset(str(tmp_path), SPEC)
    assert data.classes == ("cat", "dog")
    assert len(data.train) + len(data.validation) + len(data.test) == 45
    assert data.problems == (
        f"{len(SYSTEM_FOLDERS) + len(SYSTEM_FILES)} system folders and files are left out, such as {below}#recycle",
    )


def test_system_folders_beside_the_parts_are_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {f"{part}/{name}": 20 for part in ("train", "test") for name in ("cat", "dog")})
    write_folder(tmp_path, {"@eaDir": 1, "train/@eaDir": 1})
    data = read_dataset(str(tmp_path), SPEC)
    assert (data.classes, len(data.test)) == (("cat", "dog"), 40)
    assert data.problems == ("2 system folders and files are left out, such as @eaDir",)


def test_names_that_only_look_like_system_files_are_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"thumbs": 20, "@home": 20, "recycler": 20, "git": 20})
    data = read_dataset(str(tmp_path), SPEC)
    assert (data.classes, data.problems) == (("@home", "git", "recycler", "thumbs"), ())


def test_what_lies_beside_the_classes_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 20, "dog": 20, "eel": 0})
    (tmp_path / "README.md").write_text("hello")
    problems = read_dataset(str(tmp_path), SPEC).problems
    assert problems == (
        "folder eel is empty",
        "1 file(s) beside the folders of the classes are not used, such as README.md",
    )


def test_progress_ends_with_all_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = str(write_folder(tmp_path, {"cat": 20, "dog": 20}))
    data = read_dataset(source, SPEC, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 40) for n in range(1, 41)] + [(n, 36) for n in range(1, 37)]
    seen.clear()
    read_test(data.test, SPEC, data.classes, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 4) for n in range(1, 5)]


# --- how it is divided ----------------------------------------------------------------------------------------------


def test_parts_are_cut_from_every_class_by_its_share(tmp_path: Path) -> None:
    data = read_dataset(str(write_folder(tmp_path, {"cat": 40, "dog": 20})), SPEC, validation_part=0.2, test_part=0.1)
    tested, _ = read_test(data.test, SPEC, data.classes)
    assert per_class(data, data.train) == {"cat": 28, "dog": 14}
    assert per_class(data, data.validation) == {"cat": 8, "dog": 4}
    assert per_class(data, tested) == {"cat": 4, "dog": 2}
    train, validation, test = names(data)
    assert len(train | validation | test) == 60
    assert data.problems == ()
    assert data.facts["test_is"] == "cut from the source"


def test_the_same_seed_and_files_give_the_same_split(tmp_path: Path) -> None:
    first = write_folder(tmp_path / "a" / "data", {"cat": 30, "dog": 30})
    files = sorted(first.rglob("*.png"), reverse=True)
    for file in files:  # written the other way round, so that the disk may list them otherwise
        copy = tmp_path / "b" / "data" / file.relative_to(first)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    one, same = read_dataset(str(first), SPEC, seed=3), read_dataset(str(tmp_path / "b" / "data"), SPEC, seed=3)
    other = read_dataset(str(first), SPEC, seed=4)
    assert (one.train.names, one.validation.names) == (same.train.names, same.validation.names)
    assert (one.train.images == same.train.images).all()
    assert names(one) == names(same)
    assert names(one) != names(other)
    assert one.facts == same.facts


def test_a_source_sorted_by_class_is_shuffled(tmp_path: Path) -> None:
    data = read_dataset(str(write_folder(tmp_path, {"cat": 50, "dog": 50})), SPEC)
    half = data.train.labels[: len(data.train) // 2]
    assert 0.25 < half.mean() < 0.75


def test_a_class_of_one_or_two_images_is_only_trained_on(tmp_path: Path) -> None:
    source = str(write_folder(tmp_path / "data", {"ant": 1, "bee": 2, "cat": 3, "dog": 25}))
    data = read_dataset(source, SPEC)
    tested, _ = read_test(data.test, SPEC, data.classes)
    assert per_class(data, data.train) == {"ant": 1, "bee": 2, "cat": 1, "dog": 21}
    assert per_class(data, data.validation) == {"cat": 1, "dog": 2}
    assert per_class(data, tested) == {"cat": 1, "dog": 2}
    assert data.problems == (
        "class 'ant' has 1 image: it is trained on but neither validated nor tested; at least 20 are advised",
        "class 'bee' has 2 images: they are trained on but neither validated nor tested; at least 20 are advised",
        "class 'cat' has 3 images; at least 20 are advised",
    )
    elsewhere = read_dataset(source, SPEC, test=str(write_folder(tmp_path / "test", {"ant": 1}, first=900)))
    assert elsewhere.problems[0].startswith("class 'ant' has 1 image: it is trained on but not validated;")


def test_copies_stay_on_one_side(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 30, "dog": 30})
    for file in sorted((tmp_path / "cat").glob("*.png")):
        for number in range(2):
            shutil.copyfile(file, file.with_name(f"{file.stem}-copy{number}.png"))
    for seed in range(5):
        data = read_dataset(str(tmp_path), SPEC, seed=seed)
        sides = [{name.partition("-copy")[0].removesuffix(".png") for name in part} for part in names(data)]
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]
        assert read_test(data.test, SPEC, data.classes)[1] == ()


def test_three_copies_are_not_three_images(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 1, "dog": 25})
    for number in range(3):
        shutil.copyfile(tmp_path / "cat" / "000.png", tmp_path / "cat" / f"copy{number}.png")
    data = read_dataset(str(tmp_path), SPEC)
    assert per_class(data, data.train)["cat"] == 4
    assert data.problems[0].startswith("class 'cat' has 4 images, 1 different: they are trained on but neither")


def test_a_picture_in_two_classes_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 20, "dog": 20})
    shutil.copyfile(tmp_path / "cat" / "000.png", tmp_path / "dog" / "zzz.png")
    assert read_dataset(str(tmp_path), SPEC).problems == ("1 picture(s) lie in more than one class, byte for byte",)


def test_images_both_trained_and_tested_on_are_counted(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "data", {"cat": 20, "dog": 20})
    test = write_folder(tmp_path / "more", {"cat": 5, "dog": 5}, first=100)
    for number in range(3):
        shutil.copyfile(source / "cat" / f"00{number}.png", test / "cat" / f"again{number}.png")
    data = read_dataset(str(source), SPEC, test=str(test))
    tested, problems = read_test(data.test, SPEC, data.classes)
    assert len(tested) == 13
    assert problems == ("3 of 13 test images are also among those trained on, byte for byte",)


def test_folders_of_parts_are_used(tmp_path: Path) -> None:
    counts = {"train/cat": 20, "train/dog": 20, "val/cat": 3, "val/dog": 4, "test/cat": 5, "test/dog": 6}
    data = read_dataset(str(write_folder(tmp_path, counts)), SPEC)
    tested, _ = read_test(data.test, SPEC, data.classes)
    assert (per_class(data, data.train), per_class(data, data.validation), per_class(data, tested)) == (
        {"cat": 20, "dog": 20},
        {"cat": 3, "dog": 4},
        {"cat": 5, "dog": 6},
    )
    assert data.problems == ()
    assert data.facts["test_is"] == "part of the source"


def test_folder_with_train_alone_is_cut(tmp_path: Path) -> None:
    data = read_dataset(str(write_folder(tmp_path, {"train/cat": 20, "train/dog": 20})), SPEC)
    assert (data.classes, len(data.train), len(data.validation), len(data.test)) == (("cat", "dog"), 32, 4, 4)


def test_classes_may_be_called_like_parts(tmp_path: Path) -> None:
    assert read_dataset(str(write_folder(tmp_path, {"train": 4, "bus": 4})), SPEC).classes == ("bus", "train")


def test_a_separate_test_leaves_the_sources_own_one_alone(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "a", {"train/cat": 20, "train/dog": 20, "test/cat": 5, "test/dog": 6})
    test = write_folder(tmp_path / "b", {"cat": 2, "dog": 2}, first=300)
    data = read_dataset(str(source), SPEC, test=str(test))
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 4)
    assert data.problems == ("the test part of a (11 images) is not used: --test is",)
    assert (data.facts["test_source"], data.facts["test_is"]) == ("b", "separate")


def test_test_images_are_decoded_only_by_read_test(tmp_path: Path) -> None:
    test = write_folder(tmp_path / "b", {"cat": 2, "dog": 2}, first=300)
    data = read_dataset(str(write_folder(tmp_path / "a", {"cat": 20, "dog": 20})), SPEC, test=str(test))
    (test / "dog" / "000.png").write_bytes(b"text")
    (test / "dog" / "001.png").unlink()
    tested, problems = read_test(data.test, SPEC, data.classes)
    assert len(tested) == 2
    assert problems == (
        "dog/000.png is left out: not an image of a known format",
        "dog/001.png is left out: No such file or directory",
    )


def test_test_classes_unknown_to_the_training_are_left_out(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "a", {"cat": 20, "dog": 20})
    test = write_folder(tmp_path / "b", {"cat": 2, "ant": 3, "bee": 1}, first=300)
    data = read_dataset(str(source), SPEC, test=str(test))
    tested, _ = read_test(data.test, SPEC, data.classes)
    assert per_class(data, tested) == {"cat": 2}
    assert data.problems == (
        "class 'ant' of b is not trained on: 3 images left out",
        "class 'bee' of b is not trained on: 1 image left out",
    )
    shutil.rmtree(test / "cat")
    problem = refused(source, "--test", test=str(test))
    assert problem == "none of its classes (ant, bee) is one of the model's (cat, dog)"


def test_no_part_is_cut_where_none_is_wanted(tmp_path: Path) -> None:
    data = read_dataset(str(write_folder(tmp_path, {"cat": 20, "dog": 20})), SPEC, validation_part=0.0, test_part=0.0)
    tested, _ = read_test(data.test, SPEC, data.classes)
    assert (len(data.train), len(data.validation), tested.images.shape) == (40, 0, (0, 8, 8, 3))
    assert data.problems == ("there is no image to validate on", "there is no image to test on")
    assert data.facts["test_is"] == "none"


def test_a_limit_takes_every_class_by_its_share(tmp_path: Path) -> None:
    source = str(write_folder(tmp_path, {"cat": 60, "dog": 30, "eel": 1}))
    data = read_dataset(source, SPEC, limit=31)
    tested, _ = read_test(data.test, SPEC, data.classes)
    everything = (
        Counter(per_class(data, data.train))
        + Counter(per_class(data, data.validation))
        + Counter(per_class(data, tested))
    )
    assert everything == {"cat": 20, "dog": 10, "eel": 1}
    assert names(data) == names(read_dataset(source, SPEC, limit=31))
    assert names(data) != names(read_dataset(source, SPEC, limit=31, seed=1))


def test_facts_are_json_without_paths(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "pets", {"cat": 20, "dog": 20})
    data = read_dataset(str(source), SPEC, seed=7)
    text = json.dumps(data.facts)
    assert str(tmp_path) not in text
    assert data.facts | {"sha256": "", "train_sha256": ""} == {
        "source": "pets", "test_source": "pets", "test_is": "cut from the source",
        "images": {"train": 32, "validation": 4, "test": 4, "left_out": 0},
        "train_images_by_class": {"cat": 16, "dog": 16},
        "split_seed": 7, "validation_part": 0.1, "test_part": 0.1, "limit": None, "sha256": "", "train_sha256": "",
    }  # fmt: skip
    assert len(data.facts["sha256"]) == 64


def test_fingerprint_follows_contents_and_not_names(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "pets", {"cat": 20, "dog": 20})

    def fingerprint() -> str:
        return str(read_dataset(str(source), SPEC, test_part=0.0).facts["sha256"])

    before = fingerprint()
    (source / "cat" / "000.png").rename(source / "cat" / "renamed.png")
    assert fingerprint() == before
    (source / "cat" / "renamed.png").write_bytes(image(999))
    assert fingerprint() != before


# --- Parquet --------------------------------------------------------------------------------------------------------


def test_parquet_with_numbers_and_names(tmp_path: Path) -> None:
    contents = images(40)
    classes = pa.array(["zebra"] * 20 + ["ant"] * 20).dictionary_encode()
    file = write_table(
        tmp_path / "a.parquet", image=contents, label=pa.array([3] * 20 + [7] * 20, pa.int8()), **{"class": classes}
    )
    data = read_dataset(str(file), SPEC)
    assert data.classes == ("zebra", "ant")  # by number
    for pixels, label, name in zip(data.train.images, data.train.labels, data.train.names, strict=True):
        row = int(name.removeprefix("a.parquet#"))
        assert label == row // 20
        assert (pixels == decode_rgb(contents[row], SPEC)).all()


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        pytest.param({"label": [10, 2] * 10}, ("2", "10"), id="numbers"),
        pytest.param({"label": [10.0, 2.0] * 10}, ("2", "10"), id="whole-floats"),
        pytest.param({"label": ["10", "2"] * 10}, ("2", "10"), id="numbers-as-text"),
        pytest.param({"label": ["b", "a"] * 10}, ("a", "b"), id="names"),
        pytest.param({"class": ["b", "a"] * 10}, ("a", "b"), id="class-alone"),
        pytest.param({"label": ["n1", "n2"] * 10, "class": ["b", "a"] * 10}, ("a", "b"), id="codes-and-names"),
        pytest.param({"label": [False, True] * 10}, ("0", "1"), id="yes-or-no"),
    ],
)
def test_classes_of_parquet(tmp_path: Path, columns: dict[str, Any], classes: tuple[str, ...]) -> None:
    assert read_dataset(str(write_table(tmp_path / "a.parquet", image=images(20), **columns)), SPEC).classes == classes


def test_parquet_of_hugging_face(tmp_path: Path) -> None:
    structs = pa.array([{"bytes": content, "path": None} for content in images(20)])
    info = {"info": {"features": {"label": {"names": ["zebra", "ant"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": structs, "label": [0, 1] * 10}).replace_schema_metadata(
        {"huggingface": json.dumps(info)}
    )
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(0, 4), tmp_path / "test-00000-of-00001.parquet")
    data = read_dataset(str(tmp_path), SPEC)
    tested, problems = read_test(data.test, SPEC, data.classes)
    assert data.classes == ("zebra", "ant")
    assert (len(data.train), len(data.validation), len(tested)) == (18, 2, 4)
    assert "also among those trained on" in problems[0]


def test_split_column_and_paths_are_used(tmp_path: Path) -> None:
    split = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    paths = [f"photos/{n}.png" for n in range(19)] + [None]
    file = write_table(tmp_path / "a.parquet", image=images(20), label=["a", "b"] * 10, split=split, path=paths)
    data = read_dataset(str(file), SPEC)
    train, validation, test = names(data)
    assert train == {f"photos/{n}.png" for n in range(12)}
    assert validation == {f"photos/{n}.png" for n in range(12, 16)}
    assert test == {"photos/16.png", "photos/17.png", "photos/18.png", "a.parquet#19"}


def test_rows_without_a_usable_image_are_left_out(tmp_path: Path) -> None:
    file = write_table(tmp_path / "a.parquet", image=[*images(40), None, b"text"], label=["a", "b"] * 21)
    assert read_dataset(str(file), SPEC).problems == (
        "a.parquet#40 is left out: the row has no image",
        "a.parquet#41 is left out: not an image of a known format",
    )


def test_unreadable_group_of_rows_costs_these_rows(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    table = pa.table({"image": images(80), "label": ["a", "b"] * 40})
    pq.write_table(table, file, row_group_size=20, compression="none", use_dictionary=False)
    content = bytearray(file.read_bytes())
    chunk = pq.ParquetFile(file).metadata.row_group(1).column(0)
    content[chunk.data_page_offset : chunk.data_page_offset + 12] = b"\xff" * 12
    file.write_bytes(content)
    data = read_dataset(str(file), SPEC)
    assert len(data.train) + len(data.validation) + len(data.test) == 60
    assert sum(line.startswith("a.parquet#") for line in data.problems) == 20
    assert "a.parquet#20 is left out: rows 20 to 39 are not readable: " in "".join(data.problems)
    assert str(tmp_path) not in "".join(data.problems)


def test_a_test_file_that_shrank_or_went_meanwhile_costs_a_line_a_row(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "a", {"cat": 20, "dog": 20})
    test = write_table(tmp_path / "t.parquet", image=images(6, 900), label=["cat", "dog"] * 3)
    data = read_dataset(str(source), SPEC, test=str(test))
    write_table(test, image=images(4, 900), label=["cat", "dog"] * 2)
    tested, problems = read_test(data.test, SPEC, data.classes)
    assert len(tested) == 4
    assert problems == tuple(f"t.parquet#{row} is left out: the file has no such row any more" for row in (4, 5))
    test.unlink()
    _, problems = read_test(data.test, SPEC, data.classes)
    assert problems[0] == "t.parquet#0 is left out: No such file or directory"


def test_numbers_without_names_take_those_of_the_training(tmp_path: Path) -> None:
    named = write_table(tmp_path / "a.parquet", image=images(20), label=[5, 9] * 10, **{"class": ["cat", "ant"] * 10})
    test = write_table(tmp_path / "t.parquet", image=images(4, 800), label=[9, 5, 5, 5])
    data = read_dataset(str(named), SPEC, test=str(test))
    tested, _ = read_test(data.test, SPEC, data.classes)
    assert data.classes == ("cat", "ant")
    assert tested.labels.tolist() == [1, 0, 0, 0]
    assert "t.parquet has numbers without names as labels: 5 is taken for 'cat', and so on" in data.problems


# --- CSV ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "header", "separator"),
    [
        pytest.param("a.csv", "path,label", ",", id="csv"),
        pytest.param("a.csv", "File;Class", ";", id="semicolon-and-capitals"),
        pytest.param("a.tsv", "image\tlabel", "\t", id="tsv"),
        pytest.param("a.csv", "\ufeffpath, label", ",", id="byte-order-mark"),
        *(
            pytest.param("a.csv", f"{column},label", ",", id=column)
            for column in (
                "filename",
                "file_name",
                "File Name",
                "filepath",
                "file-path",
                "image_path",
                "ImagePath",
                "image_name",
                "img",
            )
        ),
    ],
)
def test_csv_is_read_from_beside_its_images(tmp_path: Path, name: str, header: str, separator: str) -> None:
    write_folder(tmp_path / "photos", {"x": 10})
    rows = [f"photos/x/{n:03}.png{separator}{'cat' if n % 2 else 'dog'}" for n in range(10)]
    (tmp_path / name).write_text(
        "\n".join([header, *rows, "", "photos\\x\\gone.png" + separator + "cat"]) + "\n", "utf-8"
    )
    data = read_dataset(str(tmp_path / name), SPEC)
    assert data.classes == ("cat", "dog")
    assert len(data.train) + len(data.validation) + len(data.test) == 10
    assert data.problems[0] == "photos/x/gone.png is left out: No such file or directory"
    assert all(data.classes[label] == ("cat" if int(name[-7:-4]) % 2 else "dog")
               for label, name in zip(data.train.labels, data.train.names, strict=True))  # fmt: skip


def test_csv_with_parts_and_numbered_names(tmp_path: Path) -> None:
    write_folder(tmp_path, {"x": 20})
    rows = [
        f"{tmp_path}/x/{n:03}.png,{n % 2 * 10},{'ant' if n % 2 else 'zebra'},{'test' if n > 15 else 'train'}"
        for n in range(20)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["path,label,class,split", *rows]))
    data = read_dataset(str(tmp_path / "a.csv"), SPEC)
    assert data.classes == ("zebra", "ant")
    assert names(data)[2] == {f"{n:03}.png" for n in range(16, 20)}  # absolute paths stay out of names


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("path,filename,label", "x/{n:03}.png,{n:03}.png,{l}"),
        ("image,file,label", "{n},x/{n:03}.png,{l}"),
        ("filename,image_path,label", "x/{n:03}.png,x/{n:03}.png,{l}"),
    ],
    ids=["a-path-and-its-last-part", "a-number-and-a-path", "the-same-twice"],
)
def test_of_several_columns_the_one_that_names_files_is_taken(tmp_path: Path, header: str, row: str) -> None:
    write_folder(tmp_path, {"x": 20})
    rows = [row.format(n=n, l="cat" if n % 2 else "dog") for n in range(20)]
    (tmp_path / "a.csv").write_text("\n".join([header, *rows]))
    data = read_dataset(str(tmp_path / "a.csv"), SPEC)
    assert set().union(*names(data)) == {f"x/{n:03}.png" for n in range(20)}


# --- sets of Keras --------------------------------------------------------------------------------------------------


def test_arrays_of_keras_become_images_like_all_others() -> None:
    rng = np.random.default_rng(0)
    pixels: UInt8Array = rng.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    listing = list_arrays(
        "mnist", CLASSES["mnist"], (pixels[:4], np.array([[3], [1], [4], [1]])), (pixels[4:], np.array([5, 9]))
    )
    contents = read_contents(listing, np.arange(6), InputSpec(28, 28, colour_order="L"), None)
    assert (contents.images[..., 0] == pixels).all()
    assert listing.parts.tolist() == ["train"] * 4 + ["test"] * 2
    assert listing.labels.tolist() == [3, 1, 4, 1, 5, 9]
    colour: UInt8Array = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    listing = list_arrays(
        "cifar10", CLASSES["cifar10"], (colour, np.array([0, 1])), (colour[:0], np.array([], np.int64))
    )
    assert (read_contents(listing, np.arange(2), InputSpec(32, 32), None).images == colour).all()


def test_names_of_keras_sets_are_whole() -> None:
    assert set(CLASSES) == set(sources.KERAS_SETS)
    assert [len(set(CLASSES[name])) for name in sources.KERAS_SETS] == [10, 100, 10, 10]
    assert CLASSES["cifar100"] == tuple(sorted(CLASSES["cifar100"]))


def test_without_a_network_the_alternatives_are_named(tmp_path: Path) -> None:
    if find_spec("keras") is None:
        pytest.skip("needs Keras, of the extra `training`")
    script = (
        "from imagewarehouse.images.decoding import InputSpec\nfrom imagewarehouse.training.dataset import read_dataset\n"
        "try: read_dataset('cifar10', InputSpec(8, 8))\nexcept Exception as err: print(type(err).__name__, err)"
    )
    closed = "http://127.0.0.1:9"
    env = {
        **os.environ,
        "KERAS_HOME": str(tmp_path),
        "KERAS_BACKEND": "numpy",
        "https_proxy": closed,
        "HTTPS_PROXY": closed,
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("ConfigurationError --data: cifar10 is downloaded by Keras, which failed: ")
    assert last.endswith("name a folder with one sub-folder a class, a .csv file with path and label, "
                         "or a .parquet file with image and label")  # fmt: skip


# --- what is refused ------------------------------------------------------------------------------------------------


def _folder(path: Path, counts: Mapping[str, int]) -> Path:
    return write_folder(path / "data", counts)


def _csv(path: Path, text: str) -> Path:
    write_folder(path, {"x": 4})
    (path / "a.csv").write_text(text)
    return path / "a.csv"


def _table(folder: Path, **columns: Any) -> Path:
    return write_table(folder / "a.parquet", **columns)


def _written(path: Path, name: str, content: bytes) -> Path:
    (path / name).write_bytes(content)
    return path / name


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        pytest.param(lambda p: p / "nothing", "no such file or folder, and none of cifar10,", id="no-such-path"),
        pytest.param(
            lambda p: _folder(p, {"cat": 0}), "no image in it; expected one folder a class", id="empty-folder"
        ),
        pytest.param(
            lambda p: _written(p, "a.zip", b"PK"), "expected a .parquet, .csv or .tsv file", id="unknown-kind"
        ),
        pytest.param(
            lambda p: _folder(p, {"cat": 5}), "data has 1 usable class(es) to train on ('cat')", id="one-class"
        ),
        pytest.param(
            lambda p: _folder(p, {"test/cat": 5, "test/dog": 5}),
            "0 usable class(es) to train on (none)",
            id="only-a-test-part",
        ),
        pytest.param(
            lambda p: _folder(p, {"train/cat": 2, "train/dog": 2, "extra/cat": 2}),
            "beside train/ there is extra;",
            id="a-folder-beside-train",
        ),
        pytest.param(
            lambda p: _folder(p, {"cat\nb": 2, "dog": 2}),
            "a class is called 'cat\\nb': expected a name of one line",
            id="class-of-two-lines",
        ),
        pytest.param(lambda p: _table(p, image=images(2), label=["a", " "]), "a class is called ' '", id="empty-class"),
        pytest.param(
            lambda p: _written(p, "a.parquet", b"PAR1nonsense"),
            "a.parquet: not a readable Parquet file",
            id="broken-parquet",
        ),
        pytest.param(
            lambda p: _table(p, img=images(2), label=[0, 1]),
            "no column image; there are: img, label",
            id="no-image-column",
        ),
        pytest.param(
            lambda p: _table(p, image=images(2), target=[0, 1]),
            "no column label (or class); there are: image, target",
            id="no-label-column",
        ),
        pytest.param(
            lambda p: _table(p, image=["x", "y"], label=[0, 1]), "column image holds string", id="images-of-text"
        ),
        pytest.param(
            lambda p: _table(p, image=images(3), label=[0, None, 1]),
            "column label is empty in 1 row(s), first in row 2",
            id="null-label",
        ),
        pytest.param(
            lambda p: _table(p, image=images(3), label=[0.0, 1.0, float("nan")]),
            "column label is empty in 1 row(s), first in row 3",
            id="nan-label",
        ),
        pytest.param(
            lambda p: _table(p, image=images(2), label=[0.5, 1.0]),
            "column label holds double, expected whole numbers or names",
            id="fractions",
        ),
        pytest.param(lambda p: _table(p, image=images(2), label=[[0], [1]]), "column label holds list", id="lists"),
        pytest.param(
            lambda p: _table(p, image=images(3), label=[0, 0, 1], **{"class": ["a", "b", "c"]}),
            "label 0 is called both 'a' and 'b'",
            id="two-names",
        ),
        pytest.param(
            lambda p: _table(p, image=images(2), label=[0, 1], **{"class": ["a", "a"]}),
            "class 'a' has more than one label: 0, 1",
            id="two-labels",
        ),
        pytest.param(
            lambda p: _table(p, image=images(2), label=[0, 1], split=["train", "other"]),
            "column split holds 'other'",
            id="unknown-part",
        ),
        pytest.param(
            lambda p: _table(p, image=images(2), label=[0, 1], split=["train", None]),
            "column split holds None",
            id="null-part",
        ),
        pytest.param(
            lambda p: _table(p, image=pa.array([], pa.binary()), label=pa.array([], pa.int8())),
            "no rows in it",
            id="parquet-without-rows",
        ),
        pytest.param(
            lambda p: (
                _table(p, image=images(2), label=[0, 1]),
                write_table(p / "b.parquet", image=images(1), **{"class": ["a"]}),
                p,
            )[-1],
            "b.parquet has the columns ['class'], a.parquet has ['label']",
            id="files-that-differ",
        ),
        pytest.param(
            lambda p: _csv(p, "name,label\nx,y\n"),
            "no column path (or file, filename, image_path and the like); there are: name, label",
            id="csv-without-path",
        ),
        pytest.param(
            lambda p: _csv(p, "image,path,label\nx/000.png,x/001.png,a\nx/002.png,x/003.png,b\n"),
            "a.csv: the image may be in column image or path, and more than one of them names files that are there",
            id="csv-with-two-columns-of-images",
        ),
        pytest.param(
            lambda p: _csv(p, "File Name,img,label\n0,1,a\n2,3,b\n"),
            "the image may be in column File Name or img, and none of them names a file that is there; leave one of them",
            id="csv-with-two-columns-and-no-images",
        ),
        pytest.param(
            lambda p: _csv(p, "path,tag\nx,y\n"),
            "no column label (or class); there are: path, tag",
            id="csv-without-label",
        ),
        pytest.param(lambda p: _csv(p, "path,label\n"), "no rows in it", id="csv-without-rows"),
        pytest.param(lambda p: _csv(p, ""), "no column path", id="empty-csv"),
        pytest.param(
            lambda p: _csv(p, "path,label\nx/000.png,a\nx/001.png\nx/002.png,NaN\n"),
            "column label is empty in 2 row(s), first in row 2",
            id="csv-null-label",
        ),
        pytest.param(
            lambda p: _written(p, "a.csv", b"path,label\n\xff\xfe,a\n"), "not a CSV file in UTF-8", id="csv-not-utf-8"
        ),
    ],
)
def test_unusable_source_is_refused(tmp_path: Path, make: Callable[[Path], Path], problem: str) -> None:
    source = make(tmp_path)
    assert problem in refused(source)
    if "usable class" not in problem:
        trained = write_folder(tmp_path / "other", {"cat": 5, "dog": 5})
        assert problem in refused(trained, "--test", test=str(source))


def test_no_usable_image_says_what_was_wrong(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"text")
    assert "cat/a.jpg is left out: not an image of a known format" in refused(tmp_path)


def test_a_class_without_usable_images_is_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 0, "cat": 20, "dog": 20})
    (tmp_path / "ant" / "a.jpg").write_bytes(b"text")
    data = read_dataset(str(tmp_path), SPEC)
    assert data.classes == ("cat", "dog")
    assert set(data.train.labels.tolist()) == {0, 1}
    assert data.problems == (
        "ant/a.jpg is left out: not an image of a known format",
        "class 'ant' has no usable image to train on: left out",
    )


def test_a_source_is_not_its_own_test(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "a", {"cat": 5, "dog": 5})
    assert "is what is trained on" in refused(source, "--test", test=str(source))


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"validation_part": 1.0}, "--validation"),
        ({"test_part": -0.1}, "--test-part"),
        ({"validation_part": 0.5, "test_part": 0.5}, "--validation"),
        ({"seed": -1}, "--seed"),
        ({"limit": 0}, "--limit"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, options: dict[str, Any], setting: str) -> None:
    assert refused(write_folder(tmp_path, {"cat": 3, "dog": 3}), setting, **options)


# --- a labelled set to evaluate on ----------------------------------------------------------------------------------


def test_a_labelled_set_is_matched_by_class_name(tmp_path: Path) -> None:
    write_folder(tmp_path, {"dog": 3, "cat": 2, "ant": 1})
    examples, problems = read_examples(str(tmp_path), SPEC, ("eel", "dog", "cat"))
    assert examples.names == ("cat/000.png", "cat/001.png", "dog/000.png", "dog/001.png", "dog/002.png")
    assert examples.labels.tolist() == [2, 2, 1, 1, 1]
    assert problems == (f"class 'ant' of {tmp_path.name} is not trained on: 1 image left out",)


def test_a_labelled_set_with_a_test_part_is_that_part(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", {"train/dog": 3, "train/cat": 2, "test/dog": 1, "test/cat": 1})
    examples, problems = read_examples(str(tmp_path / "a"), SPEC, ("cat", "dog"))
    assert examples.names == ("test/cat/000.png", "test/dog/000.png")
    assert problems == ("of a only the test part is used, 2 of 7 images",)


def test_numbers_without_names_are_positions_in_the_classes(tmp_path: Path) -> None:
    file = write_table(tmp_path / "a.parquet", image=images(4), label=[2, 0, 1, 2])
    examples, problems = read_examples(str(file), SPEC, ("cat", "dog"))
    assert examples.labels.tolist() == [0, 1]
    assert problems == (
        "a.parquet has numbers without names as labels: 0 is taken for 'cat', and so on",
        "class '2' of a.parquet is not trained on: 2 images left out",
    )
    assert read_examples(str(file), SPEC, ("2", "1", "0"))[0].labels.tolist() == [0, 2, 1, 0]


def test_a_limited_labelled_set_is_drawn_by_the_seed(tmp_path: Path) -> None:
    write_folder(tmp_path, {"dog": 30, "cat": 10})
    first, _ = read_examples(str(tmp_path), SPEC, ("cat", "dog"), limit=8)
    assert np.bincount(first.labels).tolist() == [2, 6]
    assert first.names == read_examples(str(tmp_path), SPEC, ("cat", "dog"), limit=8)[0].names
    assert first.names != read_examples(str(tmp_path), SPEC, ("cat", "dog"), limit=8, seed=1)[0].names


def test_a_labelled_set_of_nothing_usable_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"dog": 2})
    with pytest.raises(ConfigurationError, match=r"--data: none of its classes \(dog\) is one of the model's \(cat\)"):
        read_examples(str(tmp_path), SPEC, ("cat",))
    for file in (tmp_path / "dog").iterdir():
        file.write_bytes(b"text")
    with pytest.raises(ConfigurationError, match="SOURCE: no usable image in .* dog/000.png is left out: not an image"):
        read_examples(str(tmp_path), SPEC, ("dog",), setting="SOURCE")


# --- cache ----------------------------------------------------------------------------------------------------------


def _same(one: Dataset, other: Dataset) -> bool:
    return (
        (one.classes, one.problems, one.facts, one.train.names)
        == (other.classes, other.problems, other.facts, other.train.names)
        and bool((one.train.images == other.train.images).all())
        and bool((one.validation.images == other.validation.images).all())
    )


def test_a_cache_gives_the_same_without_reading_the_files(tmp_path: Path) -> None:
    source, cache = write_folder(tmp_path / "a", {"cat": 20, "dog": 20}), tmp_path / "made" / "cache"
    (source / "cat" / "text.jpg").write_bytes(b"text")
    one = read_dataset(str(source), SPEC, cache=cache)
    assert [file.suffix for file in cache.iterdir()] == [".npz", ".npz"]
    for file in source.rglob("*.*"):  # other contents, same size and time: only the cache can know the old ones
        facts = file.stat()
        file.write_bytes(bytes(facts.st_size))
        os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    seen: list[tuple[int, int]] = []
    assert _same(one, read_dataset(str(source), SPEC, cache=cache, progress=lambda *n: seen.append(n)))
    assert seen == [(41, 41), (36, 36)]


def test_a_cache_does_not_outlive_a_change_of_files_or_spec(tmp_path: Path) -> None:
    source, cache = write_folder(tmp_path / "a", {"cat": 20, "dog": 20}), tmp_path / "cache"
    one = read_dataset(str(source), SPEC, cache=cache)
    assert read_dataset(str(source), InputSpec(4, 4), cache=cache).train.images.shape[1:] == (4, 4, 3)
    grey = read_dataset(str(source), InputSpec(8, 8, colour_order="L"), cache=cache)
    assert grey.train.images.shape[1:] == (8, 8, 1)
    assert len(list(cache.iterdir())) == 4  # the comparison of the files is shared
    (source / "cat" / "000.png").write_bytes(image(7777))
    assert read_dataset(str(source), SPEC, cache=cache).facts["sha256"] != one.facts["sha256"]


def test_a_broken_cache_is_made_again(tmp_path: Path) -> None:
    source, cache = write_folder(tmp_path / "a", {"cat": 6, "dog": 6}), tmp_path / "cache"
    one = read_dataset(str(source), SPEC, cache=cache)
    rng = random.Random(0)
    for _ in range(25):
        for file in cache.iterdir():
            content = bytearray(file.read_bytes())
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            file.write_bytes(content if rng.random() < 0.8 else content[: rng.randrange(len(content))])
        assert _same(one, read_dataset(str(source), SPEC, cache=cache))


def test_a_cache_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "a", {"cat": 6, "dog": 6})
    (tmp_path / "file").write_bytes(b"")
    assert _same(read_dataset(str(source), SPEC), read_dataset(str(source), SPEC, cache=tmp_path / "file"))


# --- the shipped data -----------------------------------------------------------------------------------------------


def test_shared_parquet_file_is_read(shared_data: Path) -> None:
    data = read_dataset(str(shared_data / "cifar10-test-a.parquet"), InputSpec(32, 32), limit=200)
    assert data.classes == CLASSES["cifar10"]
    assert (len(data.train), len(data.validation), len(data.test)) == (160, 20, 20)
    assert all(
        name.startswith(f"test/{data.classes[label]}/")
        for name, label in zip(data.train.names, data.train.labels, strict=True)
    )
    assert data.problems == ()
