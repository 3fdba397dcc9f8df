"""The charts, and where they lie on the dashboard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tools.superset.dataset import METRICS, TIME, VERSION, Engine, key

_RANGE = "DATEADD(DATETIME('now'), -30, day) : now"
_DAY = "P1D"
_SERIES = 20  # of a chart over time: those with the highest figures
_LATEST = ("event_time", "status", "error_code", "predicted_class", "confidence", "source_ip", "source_user", "file_name",
           "model_version", "total_ms", "image_id", "request_id")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chart:
    """`kind`: Superset's viz_type. `by`: columns that rows are grouped by. `raw`: columns of single rows instead.
    `only`: (column, operator, value) conditions. `width`: of twelve, `height`: in Superset's units of 8 pixels."""

    name: str
    title: str
    kind: str
    metrics: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    raw: tuple[str, ...] = ()
    over_time: bool = False
    only: tuple[tuple[str, str, Any], ...] = ()
    having: str = ""
    limit: int = 1000
    width: int = 4
    height: int = 50
    options: Mapping[str, Any] = field(default_factory=dict)


def _number(name: str, **options: Any) -> Chart:
    metric = METRICS[name]
    shown = {"y_axis_format": metric.shown, "header_font_size": 0.4, "subtitle_font_size": 0.15, **options}
    return Chart(f"total-{name}", metric.title, "big_number_total", (name,), width=2, height=18, options=shown)


_STACKED = {"stack": "Stack", "show_legend": True, "legendOrientation": "top", "rich_tooltip": True}
# A name or an id with hyphens breaks over lines in a narrow column.
_SINGLE = {
    "show_cell_bars": False,
    "column_config": {"file_name": {"columnWidth": 200}, "request_id": {"columnWidth": 290}},
}
_CLASSIFIED = (("predicted_class", "IS NOT NULL", None),)

ROWS: Sequence[Sequence[Chart]] = (
    # Two words would take two lines of a narrow card, and its number shrinks.
    [
        _number("images"), _number("pictures", subtitle="distinct"), _number("sources", subtitle="distinct"),
        _number("rejected_share"), _number("failed_share"), _number("confidence", subtitle="mean"),
    ],
    [
        Chart("classes-over-time", "Images by class", "echarts_timeseries_bar", ("images",), ("predicted_class",),
              over_time=True, only=_CLASSIFIED, width=8, options=_STACKED),
        Chart("classes", "Most frequent objects", "table", ("images", "confidence"), ("predicted_class",), only=_CLASSIFIED,
              limit=50),
    ],
    [
        Chart("statuses-over-time", "Images by what became of them", "echarts_timeseries_bar", ("images",), ("status",),
              over_time=True, width=8, options=_STACKED),
        Chart("rejections", "Why images were rejected, or failed", "table", ("images", "sources"), ("status", "error_code"),
              only=(("status", "IN", ["rejected", "failed"]),), limit=50),
    ],
    [
        Chart("sources", "Images by source", "table", ("images", "rejected_share", "failed_share", "confidence", "last_seen"),
              ("source_ip", "source_user"), limit=100, width=6),
        Chart("models", "Versions of the model", "table", ("images", "confidence", "below_share", "inference_ms", "last_seen"),
              ("model_name", "model_version"), only=(("model_version", "IS NOT NULL", None),), limit=50, width=6),
    ],
    [
        Chart("confidence-over-time", "Mean confidence by version", "echarts_timeseries_line", ("confidence",),
              ("model_version",), over_time=True, only=(("model_version", "IS NOT NULL", None),), width=6,
              options={"y_axis_format": ".0%", "show_legend": True}),
        Chart("latency-over-time", "Mean time of the inference, ms", "echarts_timeseries_line", ("inference_ms",),
              ("model_version",), over_time=True, only=(("model_version", "IS NOT NULL", None),), width=6,
              options={"y_axis_format": ".2f", "show_legend": True}),
    ],
    [
        Chart("unsure", "Latest images that the model was unsure of", "table", raw=_LATEST, only=(("confidence", "<", 0.6),),
              limit=100, width=12, options=_SINGLE),
    ],
    [
        Chart("duplicates", "Pictures that came more than once", "table", ("images", "sources", "last_seen"),
              ("image_id",), only=(("image_id", "IS NOT NULL", None),), having="COUNT(*) > 1", limit=50, width=12),
    ],
    [Chart("latest", "Latest requests", "table", raw=_LATEST, limit=100, width=12, options=_SINGLE)],
)  # fmt: skip
CHARTS = [chart for row in ROWS for chart in row]


def chart(engine: Engine, one: Chart) -> dict[str, Any]:
    """charts/*.yaml"""
    query = _query(one)
    return {
        "slice_name": one.title,
        "description": None,
        "certified_by": None,
        "certification_details": None,
        "viz_type": one.kind,
        "params": _params(one),
        # The number of the dataset is put in when it is imported. Reports and the API take it; a browser makes its own.
        "query_context": json.dumps(
            {"datasource": {"id": 0, "type": "table"}, "force": False, "queries": [query], "result_format": "json",
             "result_type": "full"}
        ),
        "cache_timeout": None,
        "uuid": key(engine, "chart", one.name),
        "version": VERSION,
        "dataset_uuid": key(engine, "dataset", "image_events"),
    }  # fmt: skip


def _params(one: Chart) -> dict[str, Any]:
    filters = [
        {"clause": "WHERE", "expressionType": "SIMPLE", "subject": column, "operator": operator, "comparator": value,
         "operatorId": _OPERATORS[operator], "filterOptionName": f"filter_{one.name}_{number}"}
        for number, (column, operator, value) in enumerate(one.only)
    ]  # fmt: skip
    filters.append(
        {"clause": "WHERE", "expressionType": "SIMPLE", "subject": TIME, "operator": "TEMPORAL_RANGE", "comparator": _RANGE,
         "operatorId": "TEMPORAL_RANGE", "filterOptionName": f"filter_{one.name}_time"}
    )  # fmt: skip
    if one.having:
        filters.append(
            {"clause": "HAVING", "expressionType": "SQL", "sqlExpression": one.having,
             "filterOptionName": f"filter_{one.name}_having"}
        )  # fmt: skip
    shared: dict[str, Any] = {
        "viz_type": one.kind,
        "adhoc_filters": filters,
        "row_limit": _row_limit(one),
        **one.options,
    }
    if one.kind == "big_number_total":
        return {**shared, "metric": one.metrics[0]}
    if one.raw:
        order = [json.dumps(by) for by in _NEWEST]
        return {**shared, "query_mode": "raw", "all_columns": list(one.raw), "order_by_cols": order}
    if one.over_time:
        axis = {"x_axis": TIME, "time_grain_sqla": _DAY, "order_desc": True}
        return {**shared, **axis, "groupby": list(one.by), "metrics": list(one.metrics), "limit": _SERIES}
    return {**shared, "query_mode": "aggregate", "groupby": list(one.by), "metrics": list(one.metrics), "order_desc": True,
            "all_columns": [], "table_timestamp_format": "smart_date"}  # fmt: skip


_NEWEST = [[TIME, False], ["request_id", False]]  # two requests of one moment keep their order
_OPERATORS = {"IS NOT NULL": "IS_NOT_NULL", "IN": "IN", "<": "LESS_THAN"}


def _row_limit(one: Chart) -> int:
    return 10_000 if one.over_time else one.limit  # a year of days, of every series


def _query(one: Chart) -> dict[str, Any]:
    filters = [{"col": column, "op": operator, "val": value} for column, operator, value in one.only]
    filters.append({"col": TIME, "op": "TEMPORAL_RANGE", "val": _RANGE})
    columns: list[Any] = list(one.raw or one.by)
    if one.over_time:
        axis = {
            "columnType": "BASE_AXIS",
            "expressionType": "SQL",
            "label": TIME,
            "sqlExpression": TIME,
            "timeGrain": _DAY,
        }
        columns = [axis, *columns]
    order = _NEWEST if one.raw else [[one.metrics[0], False]]
    return {
        "filters": filters,
        "extras": {"having": one.having, "where": "", **({"time_grain_sqla": _DAY} if one.over_time else {})},
        "columns": columns,
        "metrics": list(one.metrics) or None,
        "orderby": order,
        "row_limit": _row_limit(one),
        "annotation_layers": [],
        "applied_time_extras": {},
        "series_columns": list(one.by) if one.over_time else [],
        "series_limit": _SERIES if one.over_time else 0,
        "order_desc": True,
        "url_params": {},
        "custom_params": {},
        "custom_form_data": {},
    }


def dashboard(engine: Engine) -> dict[str, Any]:
    """dashboards/*.yaml"""
    return {
        "dashboard_title": f"Image Warehouse ({engine.title})",
        "description": "How many images came, of what, from where, and how sure the model was.",
        "css": "",
        "slug": f"image-warehouse-{engine.name}",
        "uuid": key(engine, "dashboard", "images"),
        "position": _position(engine),
        "metadata": {
            "color_scheme": "supersetColors",
            "refresh_frequency": 60,
            "timed_refresh_immune_slices": [],
            "expanded_slices": {},
            "label_colors": {},
            "cross_filters_enabled": True,
            "default_filters": "{}",
            "native_filter_configuration": _filters(engine),
        },
        "version": VERSION,
    }


def _position(engine: Engine) -> dict[str, Any]:
    found: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": [], "parents": ["ROOT_ID"]},
        "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": f"Image Warehouse ({engine.title})"}},
    }
    for number, charts in enumerate(ROWS):
        row = f"ROW-{number}"
        found["GRID_ID"]["children"].append(row)
        found[row] = {
            "type": "ROW",
            "id": row,
            "children": [f"CHART-{one.name}" for one in charts],
            "parents": ["ROOT_ID", "GRID_ID"],
            "meta": {"background": "BACKGROUND_TRANSPARENT"},
        }
        for one in charts:
            found[f"CHART-{one.name}"] = {
                "type": "CHART",
                "id": f"CHART-{one.name}",
                "children": [],
                "parents": ["ROOT_ID", "GRID_ID", row],
                "meta": {"chartId": CHARTS.index(one) + 1, "uuid": key(engine, "chart", one.name), "sliceName": one.title,
                         "width": one.width, "height": one.height},
            }  # fmt: skip
    return found


def _filters(engine: Engine) -> list[dict[str, Any]]:
    scope = {"rootPath": ["ROOT_ID"], "excluded": []}
    time = {
        "id": "NATIVE_FILTER-time", "name": "Period", "filterType": "filter_time", "targets": [{}], "scope": scope,
        "type": "NATIVE_FILTER", "cascadeParentIds": [], "controlValues": {}, "description": "",
        "defaultDataMask": {"extraFormData": {"time_range": _RANGE}, "filterState": {"value": _RANGE}},
    }  # fmt: skip
    return [time] + [
        {
            "id": f"NATIVE_FILTER-{column}", "name": title, "filterType": "filter_select", "scope": scope,
            "targets": [{"column": {"name": column}, "datasetUuid": key(engine, "dataset", "image_events")}],
            "type": "NATIVE_FILTER", "cascadeParentIds": [], "description": "",
            "controlValues": {"multiSelect": True, "enableEmptyFilter": False, "inverseSelection": False,
                              "defaultToFirstItem": False, "searchAllOptions": True},
            "defaultDataMask": {"extraFormData": {}, "filterState": {}},
        }
        for column, title in (("predicted_class", "Class"), ("source_ip", "Source"), ("model_version", "Version"),
                              ("status", "Status"))
    ]  # fmt: skip
