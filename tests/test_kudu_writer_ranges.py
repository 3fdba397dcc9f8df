"""Range partitions with both clients."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from imagewarehouse.errors import (
    KuduRefused,
)
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, Range
from tests import kudu_clients
from tests.conftest import until
from tests.kudu_clients import KEYS, NO_RANGE, TEXT, UPSERT, Make, _label, batch, by_key, codes
from tests.kudu_tables import stored

# pytest finds fixtures among the names of a module
backend = kudu_clients.backend
connect = kudu_clients.connect
make = kudu_clients.make
writer = kudu_clients.writer


# --- ranges -----------------------------------------------------------------------------------------------------------


def test_ranges_are_added_and_dropped(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, range_columns=("key",), ranges=(Range((0,), (10,)),))
    assert writer.add_range(schema.name, Range((10,), (20,))) is True
    assert writer.add_range(schema.name, Range((10,), (20,))) is False
    assert writer.add_range(schema.name, Range(None, (-10,))) is True
    assert writer.add_range(schema.name, Range((100,), None)) is True
    expected = [Range(None, (-10,)), Range((0,), (10,)), Range((10,), (20,)), Range((100,), None)]
    assert writer.ranges(schema.name) == expected
    for overlapping in (Range((5,), (12,)), Range((0,), (9,)), Range(None, None), Range((15,), (30,))):
        with pytest.raises(KuduRefused):
            writer.add_range(schema.name, overlapping)
    for wrong in (Range((30,), (30,)), Range((40,), (30,))):
        with pytest.raises(KuduRefused):
            writer.add_range(schema.name, wrong)
    writer.write(schema.name, [batch(schema, UPSERT, key=[5, 15, -20, 1000])])
    assert writer.drop_range(schema.name, Range((0,), (10,))) is True
    assert writer.drop_range(schema.name, Range((0,), (10,))) is False
    assert writer.drop_range(schema.name, Range((10,), (15,))) is False
    assert writer.drop_range(schema.name, Range(None, (-10,))) is True
    assert writer.ranges(schema.name) == expected[2:]
    assert stored(writer, schema.name, "key") == [(1000,), (15,)]


@pytest.mark.parametrize(("column", "values"), KEYS, ids=_label)
def test_bounds_of_every_type_come_back(writer: KuduWriter, make: Make, column: KuduColumn, values: list[Any]) -> None:
    ends = sorted(value for value in values if len(str(value)) < 400)
    parts = [Range((lower,), (upper,)) for lower, upper in itertools.pairwise(ends)]
    parts[-1] = replace(parts[-1], upper=None)
    if not ends[0]:
        parts[0] = replace(parts[0], lower=None)  # nothing is before an empty text
    schema = make(key=(column,), range_columns=("k",), ranges=parts, hashes=(HashPartition(("k",), 2),))
    assert writer.ranges(schema.name) == parts
    assert writer.schema(schema.name).range_columns == ("k",)
    assert writer.drop_range(schema.name, parts[1]) is True
    assert writer.ranges(schema.name) == [parts[0], *parts[2:]]
    assert writer.add_range(schema.name, parts[1]) is True


def test_bounds_of_several_columns_come_back(writer: KuduWriter, make: Make) -> None:
    key = [replace(column, name=f"k{number}") for number, (column, _) in enumerate(KEYS)]
    low = tuple(sorted(values)[1] for _, values in KEYS)
    high = tuple(sorted(values)[2] for _, values in KEYS)
    names = tuple(column.name for column in key)
    schema = make(
        key=key,
        hashes=(HashPartition(("k1", "k4"), 2),),
        range_columns=names,
        ranges=(Range(low, high), Range(high, None)),
    )
    assert writer.ranges(schema.name) == [Range(low, high), Range(high, None)]
    reversed_names = tuple(reversed(names))
    other = make(key=key, range_columns=reversed_names, ranges=(Range(None, low[::-1]), Range(low[::-1], high[::-1])))
    assert writer.ranges(other.name) == [Range(None, low[::-1]), Range(low[::-1], high[::-1])]
    assert writer.schema(other.name).range_columns == reversed_names


def test_table_without_ranges_has_none(writer: KuduWriter, make: Make) -> None:
    assert writer.ranges(make(TEXT).name) == []


def test_row_outside_of_every_range_fails_alone(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, range_columns=("key",), ranges=(Range((0,), (10,)), Range((20,), (30,))))
    keys = [-1, 0, 9, 10, 19, 20, 30, 5]
    failures = writer.write(schema.name, [batch(schema, UPSERT, key=keys, text=["x"] * 8)])
    assert codes(failures) == [(0, row, NO_RANGE) for row in (0, 3, 4, 6)]
    assert stored(writer, schema.name, "key") == [(0,), (20,), (5,), (9,)]


def test_table_whose_last_range_is_dropped_takes_rows_once_there_is_one(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, range_columns=("key",), ranges=(Range((0,), (10,)),))
    assert writer.schema(schema.name).range_columns == ("key",)
    assert writer.drop_range(schema.name, Range((0,), (10,)))
    failures = writer.write(schema.name, [batch(schema, UPSERT, key=[5], text=["x"])])
    assert [failure.error.code for failure in failures] == [NO_RANGE]
    assert writer.add_range(schema.name, Range((0,), (10,)))
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[5], text=["x"])]) == []


def test_rows_of_a_dropped_range_fail(connect: Callable[..., KuduWriter], writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, range_columns=("key",), ranges=(Range((0,), (10,)), Range((10,), (20,))))
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[5, 15])]) == []
    assert connect().drop_range(schema.name, Range((0,), (10,)))
    both = batch(schema, UPSERT, key=[5, 15])
    # A server takes rows until it has heard of the drop.
    assert until(lambda: codes(writer.write(schema.name, [both])) == [(0, 0, NO_RANGE)])


def test_range_that_another_writer_adds_is_seen_after_a_refresh(
    connect: Callable[..., KuduWriter], writer: KuduWriter, make: Make
) -> None:
    schema = make(TEXT, range_columns=("key",), ranges=(Range((0,), (10,)),))
    one = batch(schema, UPSERT, key=[15], text=["x"])
    assert codes(writer.write(schema.name, [one])) == [(0, 0, NO_RANGE)]
    assert connect().add_range(schema.name, Range((10,), (20,)))
    writer.schema(schema.name, refresh=True)
    assert writer.write(schema.name, [one]) == []
    assert writer.ranges(schema.name) == [Range((0,), (10,)), Range((10,), (20,))]
    assert by_key(writer, schema, "text") == {15: "x"}
