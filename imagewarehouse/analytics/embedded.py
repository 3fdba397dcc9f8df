"""The embedded rows as an engine: DuckDB over its file and the log, while the service or NiFi writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from imagewarehouse.analytics.dialects import Dialect, DuckDb
from imagewarehouse.analytics.engines import Asked
from imagewarehouse.errors import AnalyticsUnavailable, RowStoreUnavailable
from imagewarehouse.rows.columns import TABLE
from imagewarehouse.rows.reading import read
from imagewarehouse.text import one_line

_MEMORY = "512MB"  # of all queries at once; DuckDB puts what does not fit into files
LONGEST_S = 20.0


class EmbeddedEngine:
    """An `Engine`."""

    def __init__(self, database: Path) -> None:
        self.dialect: Dialect = DuckDb()
        self.table = TABLE
        self._database = database
        self._seen = False

    def rows(self, asked: Asked) -> Sequence[tuple[Any, ...]]:
        if not self._database.exists():
            if self._seen:
                raise AnalyticsUnavailable(f"{self._database} is gone; put it back")
            return []  # nothing has been written yet; the service makes it with the first row
        self._seen = True
        try:
            table = read(self._database, asked.sql, more_memory=_MEMORY, longest_s=LONGEST_S)
        except duckdb.InterruptException as err:
            raise AnalyticsUnavailable(f"a query took longer than {LONGEST_S:g} s") from err
        except (duckdb.Error, RowStoreUnavailable) as err:
            raise AnalyticsUnavailable(one_line(err)) from err
        return list(zip(*table.to_pydict().values(), strict=True)) if table.num_rows else []

    def close(self) -> None:
        """Nothing is open between two questions."""
