"""Every panel's figures by SQL engines over Kudu: Spark's HiveServer2, by Impala's client, and Trino. `make test-sql`"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from imagewarehouse.analytics.engines import Engine
from imagewarehouse.analytics.impala import ImpalaEngine, ImpalaSettings
from imagewarehouse.analytics.panels import Request
from imagewarehouse.analytics.trino import TrinoEngine, TrinoSettings
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import analytics_rows
from tests.analytics_kudu import filled
from tests.analytics_suite import check, check_pages, each_panel, each_request
from tests.object_services import Service
from tests.sql_services import show_kudu, spark_running, trino_running

pytestmark = pytest.mark.sql


@pytest.fixture(scope="module")
def found() -> Sequence[ImageRecord]:
    return analytics_rows.records()


@pytest.fixture(scope="module")
def kudu_table(kudu: LocalKudu, found: Sequence[ImageRecord]) -> Iterator[str]:
    with filled(kudu.masters, found) as table:
        yield table


@pytest.fixture(scope="module")
def spark(
    kudu: LocalKudu, kudu_table: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, ImpalaSettings]]:
    with spark_running(tmp_path_factory.mktemp("spark")) as service:
        settings = ImpalaSettings(host="127.0.0.1", port=service.port, dialect="spark")
        show_kudu(service.port, kudu.masters, kudu_table)
        yield service, settings


@pytest.fixture(scope="module")
def trino(kudu: LocalKudu, kudu_table: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrinoSettings]:
    with trino_running(tmp_path_factory.mktemp("trino"), kudu.masters) as service:
        yield TrinoSettings(host="127.0.0.1", port=service.port, table=kudu_table)


@pytest.fixture(scope="module", params=["spark", "trino"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    # One after the other: each takes a gigabyte.
    made: Engine
    if request.param == "spark":
        made = ImpalaEngine(request.getfixturevalue("spark")[1])
    else:
        made = TrinoEngine(request.getfixturevalue("trino"))
    yield made
    made.close()


@each_request
@each_panel
def test_figures(engine: Engine, found: Sequence[ImageRecord], panel: str, asked: Request) -> None:
    check(engine, panel, asked, found)


def test_pages(engine: Engine, found: Sequence[ImageRecord]) -> None:
    check_pages(engine, found)
