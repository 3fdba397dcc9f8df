"""Many images at a model, and many rows in a commit: each gets what it would get alone."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagewarehouse.errors import InferenceFailed, RowRejected, WarehouseError
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.models.classifier import Classifier, Prediction, load_classifier
from imagewarehouse.rows.store import GroupCommit

Picture = Callable[..., bytes]


# --- many at a model ------------------------------------------------------------------------------------------------

_ADDRESS = re.compile(r"0x[0-9a-f]+")  # Pillow names the object that it was given
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")


@pytest.fixture
def classifier(colour_model: Path) -> Classifier:
    return load_classifier(colour_model)


def one_by_one(classifier: Classifier, images: Sequence[tuple[bytes, str | None]]) -> list[Prediction | WarehouseError]:
    found: list[Prediction | WarehouseError] = []
    for content, image_format in images:
        try:
            found.append(classifier.classify(content, image_format))
        except WarehouseError as err:
            found.append(err)
    return found


def same(one: Prediction | WarehouseError, other: Prediction | WarehouseError) -> bool:
    if isinstance(one, WarehouseError) or isinstance(other, WarehouseError):
        return type(one) is type(other) and _ADDRESS.sub("", str(one)) == _ADDRESS.sub("", str(other))
    return [label for label, _ in one.top] == [label for label, _ in other.top] and np.allclose(
        [p for _, p in one.top], [p for _, p in other.top], atol=1e-6
    )


def pictures(picture: Picture, count: int) -> list[tuple[bytes, str | None]]:
    return [
        (
            picture(FORMATS[n % 6], (n * 37 % 256, n * 11 % 256, n * 17 % 256), (8 + n % 5, 6)),
            FORMATS[n % 6] if n % 4 else None,
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 64])
def test_many_images_are_classified_as_each_alone(classifier: Classifier, picture: Picture, count: int) -> None:
    images = pictures(picture, count)
    together, alone = classifier.classify_many(images), one_by_one(classifier, images)
    assert len(together) == count
    assert all(map(same, together, alone))


@pytest.mark.parametrize("bad", [[0], [3], [7], [0, 7], [2, 3, 4], list(range(8))], ids=str)
def test_images_that_do_not_decode_cost_only_themselves(
    classifier: Classifier, picture: Picture, bad: list[int]
) -> None:
    images = [
        (content[: len(content) // 3], "PNG") if number in bad else (content, image_format)
        for number, (content, image_format) in enumerate(pictures(picture, 8))
    ]
    together, alone = classifier.classify_many(images), one_by_one(classifier, images)
    assert [isinstance(one, WarehouseError) for one in together] == [number in bad for number in range(8)]
    assert all(map(same, together, alone))


def test_top_k_holds_for_each_of_many(classifier: Classifier, picture: Picture) -> None:
    for top_k in (1, 2, 3, 10):
        found = classifier.classify_many(pictures(picture, 4), top_k)
        assert [len(one.top) for one in found if isinstance(one, Prediction)] == [min(top_k, 3)] * 4


def refusing(classifier: Classifier, refuses: Callable[[np.ndarray[Any, Any]], bool]) -> tuple[Classifier, list[int]]:
    """The same model, which raises at some of what it is given."""
    calls: list[int] = []

    def infer(batch: Any) -> Any:
        calls.append(len(batch))
        if refuses(batch):
            raise RuntimeError("cannot take this")
        return classifier._infer(batch)

    return Classifier(classifier.manifest, infer, classifier.runtime), calls


def test_a_model_that_refuses_batches_is_asked_one_by_one(classifier: Classifier, picture: Picture) -> None:
    images = pictures(picture, 5)
    refused, calls = refusing(classifier, lambda batch: len(batch) > 1)
    assert all(map(same, refused.classify_many(images), classifier.classify_many(images)))
    assert calls == [5, 1, 1, 1, 1, 1]


def test_an_image_that_the_model_refuses_costs_only_itself(classifier: Classifier, picture: Picture) -> None:
    images: list[tuple[bytes, str | None]] = [(picture(colour=(n, 0, 0)), "PNG") for n in (10, 200, 20)]
    refused, _ = refusing(classifier, lambda batch: bool((batch.max(axis=(1, 2, 3)) > 0.5).any()))
    found = refused.classify_many(images)
    assert [isinstance(one, InferenceFailed) for one in found] == [False, True, False]
    assert all(map(same, found, one_by_one(refused, images)))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda batch: np.zeros((len(batch) + 1, 3), np.float32), id="a-row-too-many"),
        pytest.param(lambda batch: np.zeros((1, 3), np.float32) if len(batch) > 1 else np.zeros((1, 4)), id="one-row"),
        pytest.param(lambda batch: np.full((len(batch), 3), np.nan, np.float32), id="no-numbers"),
        pytest.param(lambda batch: None, id="nothing"),
    ],
)
def test_a_model_that_answers_nonsense_fails_each_image(
    classifier: Classifier, picture: Picture, answer: Callable[[Any], Any]
) -> None:
    broken = Classifier(classifier.manifest, lambda batch: (answer(batch), None), classifier.runtime)
    found = broken.classify_many(pictures(picture, 3))
    assert [type(one) for one in found] == [InferenceFailed] * 3


def test_packages_of_many_threads_are_classified_as_each_alone(classifier: Classifier, picture: Picture) -> None:
    images = pictures(picture, 32)
    alone = classifier.classify_many(images)
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda _: classifier.classify_many(images), range(24)):
            assert all(map(same, found, alone))


# --- shared commits -------------------------------------------------------------------------------------------------


class Odd:
    """Refuses rows of odd width; notes what was written together."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def write(self, items: Sequence[ImageRecord], /) -> Sequence[str | WarehouseError]:
        self.batches.append(len(items))
        return [RowRejected("odd") if (item.width or 0) % 2 else f"row {item.width}" for item in items]

    def close(self) -> None: ...


def expected(widths: Iterable[int]) -> list[str]:
    return ["odd" if width % 2 else f"row {width}" for width in widths]


def texts(outcomes: Iterable[Any]) -> list[str]:
    return [str(outcome) for outcome in outcomes]


@pytest.mark.parametrize("count", [0, 1, 2, 10, 11, 35])
def test_items_written_together_get_each_their_own_result(record: Callable[..., ImageRecord], count: int) -> None:
    store = Odd()
    found = GroupCommit(store, max_weight=10).write_all([record(width=n) for n in range(count)])
    assert texts(found) == expected(range(count))
    assert sum(store.batches) == count
    assert all(size <= 10 for size in store.batches)
    assert len(store.batches) == -(-count // 10)


def test_packages_of_many_threads_get_each_their_own_results(record: Callable[..., ImageRecord]) -> None:
    store = Odd()
    commits = GroupCommit(store, max_weight=10)
    found: dict[int, list[str]] = {}

    def write(thread: int) -> None:
        for turn in range(40):
            widths = range(thread * 10_000 + turn * 100, thread * 10_000 + turn * 100 + (thread * 7 + turn) % 25)
            found[thread * 100 + turn] = texts(commits.write_all([record(width=n) for n in widths]))
            assert found[thread * 100 + turn] == expected(widths)

    # Daemons: a thread that waits for ever has to fail its test, not the end of the run.
    threads = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a task waits for a commit that never comes"
    assert len(found) == 8 * 40
    assert max(store.batches) <= 10
