"""Rows for the tests of analytics in a real Kudu."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows.columns import SCHEMA, record_arrays
from imagewarehouse.rows.whole_kudu import WholeKudu


@contextmanager
def filled(masters: str, found: Sequence[ImageRecord]) -> Iterator[str]:
    """The name of a table with these rows; it is gone afterwards."""
    name = f"image_events_{uuid.uuid4().hex}"
    table = WholeKudu(writer := connect(KuduSettings(masters=masters)), name, create=True)
    table.write(pa.Table.from_arrays(record_arrays(found), schema=SCHEMA))
    yield name
    writer.drop(name)
    table.close()
