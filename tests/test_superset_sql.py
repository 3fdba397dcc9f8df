"""The dashboard of the bundle for Trino in a real Superset, over a real Kudu.

`make test-superset` runs it where `make test-sql` has fetched Trino.
"""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.analytics_kudu import filled
from tests.sql_services import trino_running
from tests.superset_charts import Superset, check, needs_superset, records
from tools.superset.dataset import ENGINES


@pytest.mark.sql
@pytest.mark.timeout(900)
def test_each_chart_draws_what_is_in_kudu_by_trino(kudu: LocalKudu, tmp_path_factory: pytest.TempPathFactory) -> None:
    needs_superset()  # before anything starts
    now = datetime.now(timezone.utc)
    found = records(now)
    folder = tmp_path_factory.mktemp("trino")
    with filled(kudu.masters, found) as table, trino_running(folder, kudu.masters) as trino:
        uri = f"trino://superset@127.0.0.1:{trino.port}/kudu/default"
        superset = Superset(tmp_path_factory.mktemp("superset"), ENGINES["trino"], uri, table)
        superset.check_import()
        check(superset.drawn_by_api(), found, now)
        with superset.opened() as (_, drawn):
            check(drawn, found, now)
