"""The embedded rows as an engine: DuckDB over its file and the log, while the service or NiFi writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from imagewarehouse.analytics.dialects import Dialect, DuckDbFile
from imagewarehouse.analytics.engines import Asked, InProcess
from imagewarehouse.errors import AnalyticsUnavailable, RowStoreUnavailable
from imagewarehouse.rows.columns import TABLE
from imagewarehouse.rows.reading import reading
from imagewarehouse.text import one_line

_MEMORY = "512MB"  # of all queries at once; DuckDB puts what does not fit into files
LONGEST_S = 20.0


class EmbeddedEngine:
    """An `Engine`, and `InProcess`."""

    def __init__(self, database: Path) -> None:
        self.dialect: Dialect = DuckDbFile()
        self.table = TABLE
        self._database = database
        self._seen = False

    def rows(self, asked: Asked) -> Sequence[tuple[Any, ...]]:
        with self.together() as opened:
            return opened.rows(asked)

    def table_of(self, asked: Asked) -> pa.Table:
        with self.together() as opened:
            return opened.table_of(asked)

    @contextmanager
    def together(self) -> Iterator[InProcess]:
        if not self._database.exists():
            if self._seen:
                raise AnalyticsUnavailable(f"{self._database} is gone; put it back")
            # Nothing has been written yet; the service makes it with the first row.
            yield _Opened(self.dialect, lambda sql, longest_s: pa.table({}))
            return
        self._seen = True
        with _errors(), reading(self._database, more_memory=_MEMORY, numbered=True) as select:
            yield _Opened(self.dialect, select)

    def close(self) -> None:
        """Nothing is open between two questions."""


class _Opened:
    """The file while it is open."""

    def __init__(self, dialect: Dialect, select: Callable[[str, float], pa.Table]) -> None:
        self.dialect = dialect
        self.table = TABLE
        self._select = select

    def rows(self, asked: Asked) -> Sequence[tuple[Any, ...]]:
        table = self.table_of(asked)
        return list(zip(*table.to_pydict().values(), strict=True)) if table.num_rows else []

    def table_of(self, asked: Asked) -> pa.Table:
        with _errors():
            return self._select(asked.sql, LONGEST_S)

    def together(self) -> AbstractContextManager[InProcess]:
        return nullcontext(self)

    def close(self) -> None:
        """Who has opened it closes it."""


@contextmanager
def _errors() -> Iterator[None]:
    """DuckDB's errors as ours."""
    try:
        yield
    except duckdb.InterruptException as err:
        raise AnalyticsUnavailable(f"a query took longer than {LONGEST_S:g} s") from err
    except (duckdb.Error, RowStoreUnavailable) as err:
        raise AnalyticsUnavailable(one_line(err)) from err
