"""The table of image records as a dataset of Superset: columns, and figures that every engine computes from the same SQL."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagewarehouse.metadata import COLUMNS, ColumnType

VERSION = "1.0.0"  # of Superset's format of exports
TABLE = "image_events"
TIME = "event_time"

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "imagewarehouse")


@dataclass(frozen=True, slots=True)
class Engine:
    """`uri`: SQLAlchemy's; whoever imports it changes it. `types`: of columns, as the engine names them."""

    name: str
    title: str
    uri: str
    schema: str
    types: Mapping[ColumnType, str]


ENGINES = {
    engine.name: engine
    for engine in (
        Engine(
            "duckdb", "DuckDB", "duckdb:////srv/images/rows.duckdb?access_mode=read_only", "main",
            {"string": "VARCHAR", "timestamp": "TIMESTAMP WITH TIME ZONE", "int32": "INTEGER", "int64": "BIGINT",
             "float": "FLOAT", "double": "DOUBLE"},
        ),
        Engine(
            "impala", "Impala", "impala://impala.example:21050/default", "default",
            {"string": "STRING", "timestamp": "TIMESTAMP", "int32": "INT", "int64": "BIGINT", "float": "FLOAT",
             "double": "DOUBLE"},
        ),
        Engine(
            "trino", "Trino", "trino://superset@trino.example:8080/kudu/default", "default",
            {"string": "VARCHAR", "timestamp": "TIMESTAMP", "int32": "INTEGER", "int64": "BIGINT", "float": "REAL",
             "double": "DOUBLE"},
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metric:
    """`shown`: a format of D3."""

    title: str
    sql: str
    shown: str = ",d"


def _share(condition: str, of: str = "COUNT(*)") -> str:
    # As DOUBLE: Trino divides decimals to as many places as they have, and 1.0 has one: 0.1 for 0.0978.
    return f"CAST(SUM(CASE WHEN {condition} THEN 1 ELSE 0 END) AS DOUBLE) / {of}"


def _mean(column: str) -> str:
    return f"AVG(CAST({column} AS DOUBLE))"  # Trino's mean of single floats is a single float


METRICS = {
    "images": Metric("Images", "COUNT(*)"),
    "pictures": Metric("Pictures", "COUNT(DISTINCT image_id)"),
    "sources": Metric("Sources", "COUNT(DISTINCT source_ip)"),
    "bytes": Metric("Size", "SUM(size_bytes)", ".3~s"),
    "rejected_share": Metric("Rejected", _share("status = 'rejected'"), ".1%"),
    "failed_share": Metric("Failed", _share("status = 'failed'"), ".1%"),
    "confidence": Metric("Confidence", _mean("confidence"), ".1%"),
    # NULLIF: of images without a confidence there is no share; Trino would say NaN.
    "below_share": Metric("Share below 0.6", _share("confidence < 0.6", "NULLIF(COUNT(confidence), 0)"), ".1%"),
    "inference_ms": Metric("Inference, mean ms", _mean("inference_ms"), ".2f"),
    "total_ms": Metric("Whole way, mean ms", _mean("total_ms"), ".1f"),
    "last_seen": Metric("Last seen", f"MAX({TIME})", ""),
}


_TITLES = {
    "event_time": "Time", "predicted_class": "Class", "error_code": "Error", "source_ip": "Source", "source_user": "User",
    "file_name": "File", "model_name": "Model", "model_version": "Version", "total_ms": "Whole way, ms",
    "inference_ms": "Inference, ms", "preprocess_ms": "Decoding, ms", "size_bytes": "Size, bytes", "image_id": "Picture",
    "request_id": "Request",
}  # fmt: skip


def key(engine: Engine, kind: str, name: str) -> str:
    """The uuid of a thing: the same at every export, so that an import takes the place of the one before."""
    return str(uuid.uuid5(_NAMESPACE, f"{engine.name}/{kind}/{name}"))


def database(engine: Engine, uri: str | None = None) -> dict[str, Any]:
    """databases/*.yaml"""
    return {
        "database_name": f"Image Warehouse ({engine.title})",
        "sqlalchemy_uri": uri or engine.uri,
        "cache_timeout": None,
        "expose_in_sqllab": True,
        "allow_run_async": False,
        "allow_ctas": False,
        "allow_cvas": False,
        "allow_dml": False,
        "allow_csv_upload": False,
        "extra": {"allows_virtual_table_explore": True},
        "uuid": key(engine, "database", "images"),
        "version": VERSION,
    }


def dataset(engine: Engine, table: str = TABLE) -> dict[str, Any]:
    """datasets/DATABASE/*.yaml"""
    return {
        "table_name": table,
        "main_dttm_col": TIME,
        "description": "One row for each request: docs/metadata.md has the columns.",
        "default_endpoint": None,
        "offset": 0,
        "cache_timeout": None,
        "schema": engine.schema,
        "sql": None,
        "params": None,
        "template_params": None,
        "filter_select_enabled": True,
        "fetch_values_predicate": None,
        "extra": None,
        "uuid": key(engine, "dataset", TABLE),
        "metrics": [
            {
                "metric_name": name,
                "verbose_name": metric.title,
                "metric_type": None,
                "expression": metric.sql,
                "description": None,
                "d3format": metric.shown or None,
                "extra": {},
                "warning_text": None,
            }
            for name, metric in METRICS.items()
        ],
        "columns": [
            {
                "column_name": column.name,
                "verbose_name": _TITLES.get(column.name, column.name.capitalize().replace("_", " ")),
                "is_dttm": column.type == "timestamp",
                "is_active": True,
                "type": engine.types[column.type],
                "groupby": True,
                "filterable": True,
                "expression": None,
                "description": column.meaning,
                "python_date_format": None,
                "extra": {},
            }
            for column in COLUMNS
            if column.type != "vector"  # no chart has a use for one
        ],
        "version": VERSION,
        "database_uuid": key(engine, "database", "images"),
    }
