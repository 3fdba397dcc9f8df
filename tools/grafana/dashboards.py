"""The three dashboards: overview, model quality, operations."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import barchart, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    VariableHide,
    VariableOption,
    VariableRefresh,
)

from tools.grafana.infinity import SOURCE, Query, variable_query

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
_TAG = "image-warehouse"

# The five periods of the mission, as Grafana writes ranges of time.
PERIODS = {
    "Today": ("now/d", "now"),
    "Yesterday": ("now-1d/d", "now-1d/d"),
    "7 days ago": ("now-7d/d", "now"),
    "Last week": ("now-1w/w", "now-1w/w"),
    "30 days ago": ("now-30d/d", "now"),
}


def dashboards() -> dict[str, Dashboard]:
    """By the names of their files."""
    boards = {"overview": overview(), "model-quality": model_quality(), "operations": operations()}
    for board in boards.values():
        for number, panel in enumerate(board.panels or (), start=1):
            panel.id_val = number  # else Grafana gives them, and a link to a panel leads elsewhere after a change
    return boards


# --- overview ---------------------------------------------------------------------------------------------------------


def overview() -> Dashboard:
    board = _board(
        "image-warehouse-overview", "Image Warehouse: overview", "How many images came, of what, and from where."
    )
    for measure, title, unit in (
        ("images", "Images", units.Short),
        ("classified", "Classified", units.Short),
        ("rejected", "Rejected", units.Short),
        ("failed", "Failed", units.Short),
        ("pictures", "Distinct pictures", units.Short),
        ("sources", "Sources", units.Short),
        ("bytes", "Size", units.BytesSI),
        ("confidence", "Mean confidence", units.PercentUnit),
    ):
        board.with_panel(_total(measure, title, unit))
    board.with_panel(_over_time("Images by class", "predicted_class", "status=classified").span(16).height(9))
    board.with_panel(
        _bars("Most frequent objects", Query("classes", "predicted_class", "images", parameters="limit=15"))
        .span(8)
        .height(9)
    )
    board.with_panel(_over_time("Images by what became of them", "status").span(16).height(8))
    board.with_panel(
        _bars("Why images were rejected, or failed", Query("rejections", "error_code", "images")).span(8).height(8)
    )
    board.with_panel(_table("Sources", "sources", parameters="limit=100").span(12).height(9))
    board.with_panel(_table("Classes", "classes", parameters="limit=100").span(12).height(9))
    board.with_panel(
        _table("Pictures that came more than once", "duplicates", parameters="limit=50").span(24).height(8)
    )
    latest = _table("Latest requests", "latest", parameters="limit=100").span(24).height(12)
    board.with_panel(latest)
    return board.build()


def _total(measure: str, title: str, unit: str) -> stat.Panel:
    change = [] if measure == "confidence" else ["change"]
    query = Query("totals", "measure", "value", *change, where=f"measure == '{measure}'")
    panel = (
        stat.Panel()
        .title(title)
        .description("Below it: the change against the period before." if change else "")
        .datasource(SOURCE)
        .with_target(query)
        .unit(unit)
        .text_mode(kinds.BigValueTextMode.VALUE)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .color_mode(kinds.BigValueColorMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
        .span(3)
        .height(4)
    )
    return panel.override_by_name("change", [DynamicConfigValue(id_val="unit", value=units.PercentUnit)])


# --- model quality ----------------------------------------------------------------------------------------------------


def model_quality() -> Dashboard:
    board = _board(
        "image-warehouse-model-quality",
        "Image Warehouse: model quality",
        "How sure the model is, and whether it still fits.",
    )
    for fact, title in (
        ("index_training", "Drift of classes against training"),
        ("index_before", "Drift of classes against before"),
        ("index_confidence", "Drift of confidence against before"),
    ):
        board.with_panel(_index(fact, title))
    board.with_panel(
        _fact("Share of images below the threshold", Query("confidence", facts=("below_share",))).unit(
            units.PercentUnit
        )
    )
    board.with_panel(_histogram().span(12).height(9))
    board.with_panel(
        _bars("Mix of classes: now, before, in training", Query("drift")).unit(units.PercentUnit).span(12).height(9)
    )
    board.with_panel(_table("Versions of the model", "models").span(24).height(8))
    board.with_panel(
        _bars("Mean confidence by version", Query("models", "model_version", "confidence"))
        .unit(units.PercentUnit)
        .min(0)
        .max(1)
        .span(12)
        .height(8)
    )
    board.with_panel(
        _bars("Time of the inference by version", Query("models", "model_version", "inference_ms"))
        .unit(units.Milliseconds)
        .span(12)
        .height(8)
    )
    unsure = "max_confidence=${threshold}&limit=100"
    board.with_panel(
        _table("Latest images that the model was unsure of", "latest", parameters=unsure).span(24).height(12)
    )
    return board.build()


def _index(fact: str, title: str) -> stat.Panel:
    steps = [Threshold(None, "green"), Threshold(0.1, "yellow"), Threshold(0.25, "red")]
    return (
        _fact(title, Query("drift", facts=(fact,)))
        .decimals(3)
        .thresholds(_thresholds(steps))
        .color_mode(kinds.BigValueColorMode.VALUE)
    )


def _histogram() -> barchart.Panel:
    return (
        barchart.Panel()
        .title("Confidence")
        .datasource(SOURCE)
        .with_target(Query("confidence", "from", "images", texts=("from",)))
        .x_field("from")
        .orientation(kinds.VizOrientation.AUTO)
        .legend(_no_legend())
    )


# --- operations -------------------------------------------------------------------------------------------------------


def operations() -> Dashboard:
    board = _board(
        "image-warehouse-operations",
        "Image Warehouse: operations",
        "How fast it is, what waits, and how the servers are.",
    )
    board.with_row(dashboard.Row("Stages, as the rows say"))
    board.with_panel(_table("How long each stage takes", "latency").unit(units.Milliseconds).span(12).height(7))
    board.with_panel(
        _bars("99 of 100 images are faster", Query("latency", "stage", "p50", "p95", "p99"))
        .unit(units.Milliseconds)
        .span(12)
        .height(7)
    )
    board.with_row(dashboard.Row("The service"))
    rate = "sum by (listener, status) (rate(imagewarehouse_http_request_seconds_count[$__rate_interval]))"
    board.with_panel(_lines("Answers a second", units.RequestsPerSecond, (rate, "{{listener}} {{status}}")))
    p99 = "histogram_quantile({q}, sum by (listener, le) (rate(imagewarehouse_http_request_seconds_bucket[$__rate_interval])))"
    board.with_panel(
        _lines(
            "Time of an answer", units.Seconds,
            (p99.format(q="0.99"), "{{listener}} p99"), (p99.format(q="0.5"), "{{listener}} p50"),
        )
    )  # fmt: skip
    board.with_panel(
        _lines("FlowFiles that wait", units.Short, ("sum by (processor) (imagewarehouse_queued)", "{{processor}}"))
    )
    board.with_panel(
        _lines(
            "FlowFiles a second", units.RequestsPerSecond,
            ("sum by (processor, relationship) (rate(imagewarehouse_flowfiles_total[$__rate_interval]))",
             "{{processor}} {{relationship}}"),
        )
    )  # fmt: skip
    board.with_panel(
        _lines(
            "Dead letters", units.Short,
            ("imagewarehouse_parked", "{{instance}}"), ("imagewarehouse_nifi_dead_letter_queues", "NiFi"),
        )
    )  # fmt: skip
    board.with_panel(
        _lines(
            "Newest image", units.Seconds, ("time() - imagewarehouse_rows_newest_timestamp_seconds", "seconds ago"),
        )
    )  # fmt: skip
    board.with_row(dashboard.Row("NiFi"))
    board.with_panel(
        _lines(
            "What waits", units.Short,
            ('sum by (instance) (nifi_amount_items_queued{component_type="RootProcessGroup"})', "{{instance}}"),
            ("imagewarehouse_nifi_queued_flowfiles", "{{group}}"),
        )
    )  # fmt: skip
    board.with_panel(_lines("Heap of the JVM", units.BytesSI, ("nifi_jvm_heap_used", "{{instance}}")))
    board.with_panel(
        _lines(
            "Disk that is left", units.PercentUnit,
            ("nifi_content_repo_free_space_bytes / nifi_content_repo_total_space_bytes", "{{instance}} content"),
        )
    )  # fmt: skip
    board.with_row(dashboard.Row("Kudu"))
    write = "kudu_tserver_handler_latency_kudu_tserver_TabletServerService_Write"
    board.with_panel(_lines("Writes, 99 of 100", units.Microseconds, (f'{write}{{quantile="0.99"}}', "{{instance}}")))
    board.with_panel(_lines("Memory", units.BytesSI, ("kudu_tserver_memory_usage", "{{instance}}")))
    board.with_panel(
        _lines("Refused requests a second", units.RequestsPerSecond,
               ("rate(kudu_tserver_rpcs_queue_overflow[$__rate_interval])", "{{instance}}"))
    )  # fmt: skip
    return board.build()


# --- what they share --------------------------------------------------------------------------------------------------


def _board(uid: str, title: str, description: str) -> dashboard.Dashboard:
    board = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([_TAG])
        .timezone("utc")
        .week_start("monday")
        .time("now-7d/d", "now")
        .refresh("1m")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .timepicker(
            dashboard.TimePicker().quick_ranges(
                [
                    dashboard.TimeOption().display(name).from_val(since).to(until)
                    for name, (since, until) in PERIODS.items()
                ]
            )
        )
        .link(_other_boards())
    )
    for name, (since, until) in PERIODS.items():
        board.link(_link(name, f"/d/{uid}?from={since}&to={until}"))
    for name, label, panel, column in (
        ("class", "Class", "classes", "predicted_class"),
        ("source", "Source", "sources", "source_ip"),
        ("model", "Version", "models", "model_version"),
    ):
        board.with_variable(
            dashboard.QueryVariable(name)
            .label(label)
            .datasource(SOURCE)
            .query(variable_query(panel, column))
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
        )
    for name, label, value in (
        ("tz", "Time zone of days", "UTC"),
        ("threshold", "Unsure below", "0.6"),
        ("service", "Service for links", "http://127.0.0.1:8080"),
    ):
        board.with_variable(
            dashboard.TextBoxVariable(name)
            .label(label)
            .default_value(value)
            .hide(VariableHide.HIDE_VARIABLE if name == "service" else VariableHide.DONT_HIDE)
        )
    return board


def _other_boards() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Image Warehouse")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([_TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def _link(title: str, url: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(title).type(DashboardLinkType.LINK).url(url).include_vars(True)


def _fact(title: str, query: Query) -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .datasource(SOURCE)
        .with_target(query)
        .text_mode(kinds.BigValueTextMode.VALUE)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .color_mode(kinds.BigValueColorMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
        .no_value("not known")
        .span(6)
        .height(5)
    )


def _over_time(title: str, series: str, parameters: str = "") -> timeseries.Panel:
    """Stacked columns, one colour for each value of `series`."""
    added_up = DataTransformerConfig(
        id_val="groupBy",
        options={
            "fields": {
                "start": {"operation": "groupby", "aggregations": []},
                series: {"operation": "groupby", "aggregations": []},
                "images": {"operation": "aggregate", "aggregations": ["sum"]},
            }
        },
    )
    apart = DataTransformerConfig(
        id_val="partitionByValues", options={"fields": [series], "keepFields": False, "naming": {"asLabels": True}}
    )
    return (
        timeseries.Panel()
        .title(title)
        .datasource(SOURCE)
        .with_target(Query("over-time", "start", series, "images", parameters=parameters))
        .with_transformation(added_up)
        .with_transformation(apart)
        .draw_style(kinds.GraphDrawStyle.BARS)
        .bar_alignment(kinds.BarAlignment.AFTER)  # a column's time is its beginning
        .fill_opacity(80)
        .line_width(0)
        .stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
        .unit(units.Short)
        .display_name(f"${{__field.labels.{series}}}")
        .legend(_legend())
    )


def _bars(title: str, query: Query) -> barchart.Panel:
    return (
        barchart.Panel()
        .title(title)
        .datasource(SOURCE)
        .with_target(query)
        .orientation(kinds.VizOrientation.HORIZONTAL)
        .legend(_legend())
        .fill_opacity(80)
    )


_UNITS = {
    "share": units.PercentUnit, "before_share": units.PercentUnit, "confidence": units.PercentUnit, "change": units.PercentUnit,
    "below": units.PercentUnit, "size_bytes": units.BytesSI, "total_ms": units.Milliseconds, "inference_ms": units.Milliseconds,
    "event_time": units.DatetimeISO, "last_seen": units.DatetimeISO, "first_seen": units.DatetimeISO,
}  # fmt: skip


def _table(title: str, name: str, parameters: str = "") -> table.Panel:
    query = Query(name, parameters=parameters)
    columns = [column["text"] for column in query.build().values["columns"]]
    panel = table.Panel().title(title).datasource(SOURCE).with_target(query).filterable(True).no_value("-")
    for column, unit in _UNITS.items():
        if column in columns:
            panel.override_by_name(column, [DynamicConfigValue(id_val="unit", value=unit)])
    if "image_id" in columns:
        links = [{"title": "Picture", "url": "${service}/images/${__value.raw}", "targetBlank": True}]
        panel.override_by_name("image_id", [DynamicConfigValue(id_val="links", value=links)])
    if "request_id" in columns:
        links = [{"title": "Record", "url": "${service}/api/request/${__value.raw}", "targetBlank": True}]
        panel.override_by_name("request_id", [DynamicConfigValue(id_val="links", value=links)])
    return panel


def _lines(title: str, unit: str, *expressions: tuple[str, str]) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .draw_style(kinds.GraphDrawStyle.LINE)
        .fill_opacity(8)
        .legend(_legend())
        .span(8)
        .height(8)
    )
    for number, (expression, legend) in enumerate(expressions):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id("ABCDEF"[number])
        panel.with_target(query.datasource(PROMETHEUS))
    return panel


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(True).display_mode(kinds.LegendDisplayMode.LIST)
    return legend.placement(kinds.LegendPlacement.BOTTOM).calcs([])


def _no_legend() -> common.VizLegendOptions:
    return _legend().show_legend(False)


def _thresholds(steps: Sequence[Threshold]) -> dashboard.ThresholdsConfig:
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(list(steps))
