"""Queries of the Infinity data source, for which Grafana's SDK has no type: a URL of the query service, and its columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from imagewarehouse.analytics.service import columns_of_panels

TYPE = "yesoreyeram-infinity-datasource"
SOURCE = DataSourceRef(type_val=TYPE, uid="image-warehouse")
# Infinity's backend fills them in, so alerts have them too, which no browser looks at.
TIMES = "since=${__timeFrom:date:iso}&until=${__timeTo:date:iso}"
FILTERS = "&".join(f"${{{name}:queryparam}}" for name in ("class", "source", "model"))
"""`var-class=cat&var-class=dog`, or `var-class=$__all`: the service reads them so."""

_FORMATS = {"text": "string", "time": "timestamp"}


class InfinityQuery(Dataquery):
    """As JSON of a panel's target."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)

    def to_json(self) -> dict[str, object]:
        return self.values


class Query(Builder[Dataquery]):
    """Rows of a panel of the query service, as CSV; or its facts, where `facts` names some."""

    def __init__(
        self,
        panel: str,
        *columns: str,
        facts: tuple[str, ...] = (),
        texts: tuple[str, ...] = (),
        where: str = "",
        parameters: str = "",
        filters: bool = True,
        tz: str = "${tz}",
        ref: str = "A",
    ) -> None:
        """`texts`: columns that are labels, though they are numbers. `where`: an expression of Infinity's over the columns.
        `filters`: whether the dashboard's variables count."""
        units = {column.name: column.unit for column in columns_of_panels()[panel]}
        self._columns = [
            (name, "string" if name in texts else _FORMATS.get(units[name], "number"))
            for name in columns or (() if facts else units)
        ]
        self._columns += [(name, "number") for name in facts]
        parts = [TIMES, f"tz={tz}", FILTERS if filters else "", parameters, "" if facts else "format=csv"]
        self._url = f"/api/queries/{panel}?{'&'.join(part for part in parts if part)}"
        self._facts = bool(facts)
        self._where = where
        self._ref = ref

    def build(self) -> InfinityQuery:
        return InfinityQuery(
            {
                "refId": self._ref,
                "datasource": SOURCE.to_json(),
                "type": "json" if self._facts else "csv",
                "source": "url",
                "format": "table",
                "parser": "backend",
                "url": self._url,
                "url_options": {"method": "GET", "data": ""},
                "root_selector": "facts" if self._facts else "",
                "columns": [{"selector": name, "text": name, "type": kind} for name, kind in self._columns],
                "filters": [],
                "filterExpression": self._where,
            }
        )


def variable_query(panel: str, column: str) -> dict[str, object]:
    """The values of a variable: a column of a panel, of the time that is looked at."""
    query = Query(
        panel, column, filters=False, parameters="limit=1000" if panel != "models" else "", ref="variable"
    ).build()
    return {"queryType": "infinity", "refId": "variable", "query": "", "infinityQuery": query.values}
