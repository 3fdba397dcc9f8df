"""Alert rules as Grafana's provisioning reads them, on the query service alone: for whom no Prometheus runs."""

from __future__ import annotations

from typing import Any, Literal

from grafana_foundation_sdk.builders import alerting, expr
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.alerting import RelativeTimeRange
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from tools.grafana.infinity import SOURCE, Query

FOLDER, GROUP = "Image Warehouse", "Image Warehouse"
_EXPRESSIONS = "__expr__"
_QUARTER_S, _DAY_S = 900, 86_400
_OF_API = ("folderUID", "orgID", "ruleGroup")  # a file has them around its rules


def rules() -> dict[str, Any]:
    """The content of a file of rules."""
    return {
        "apiVersion": 1,
        "groups": [
            {"orgId": 1, "name": GROUP, "folder": FOLDER, "interval": "1m", "rules": [_of_file(r) for r in _rules()]}
        ],
    }


def _rules() -> list[alerting.Rule]:
    return [
        _rule("no-images", "No images for 15 minutes", "1m")
        .with_query(_asked(_total("images"), _QUARTER_S))
        .with_query(_threshold("B", "A", "lt", 1))
        .condition("B")
        .annotations({"summary": "No image has come for 15 minutes.", "description": "Do senders and listeners work?"}),
        _rule("many-rejections", "More than a fifth of the images is rejected", "5m")
        .with_query(_asked(_total("images"), _QUARTER_S))
        .with_query(_asked(_total("rejected", "B"), _QUARTER_S))
        .with_query(_math("C", "($A >= 20) * $B / ($A + ($A < 1))"))
        .with_query(_threshold("D", "C", "gt", 0.2))
        .condition("D")
        .annotations(
            {"summary": "More than a fifth of the images of the last 15 minutes was rejected.",
             "description": "The panel of rejections says why, the one of sources who sends them."}
        ),
        _drift("training", "Images are unlike those of the training"),
        _drift("before", "Images are unlike those of the day before"),
        _rule("slow", "One image in a hundred takes longer than a second", "10m")
        .with_query(
            _asked(
                Query("latency", "stage", "p99", where="stage == 'total'", filters=False, tz="UTC"), _QUARTER_S
            )
        )
        .with_query(_threshold("B", "A", "gt", 1000))
        .condition("B")
        .annotations(
            {"summary": "The slowest hundredth of the images takes more than a second.",
             "description": "The panel of stages says which one it is."}
        ),
    ]  # fmt: skip


def _rule(uid: str, title: str, held: str) -> alerting.Rule:
    return (
        alerting.Rule(title)
        .uid(f"image-warehouse-{uid}")
        .for_val(held)
        .labels({"service": "image-warehouse", "severity": "warning"})
        .no_data_state("OK")  # no figure, such as a drift without images, is no alert
        .exec_err_state("Error")
    )


def _total(measure: str, ref: str = "A") -> Query:
    return Query("totals", "measure", "value", where=f"measure == '{measure}'", filters=False, tz="UTC", ref=ref)


def _drift(against: str, title: str) -> alerting.Rule:
    return (
        _rule(f"drift-{against}", title, "30m")
        .with_query(_asked(Query("drift", facts=(f"index_{against}",), filters=False, tz="UTC"), _DAY_S))
        .with_query(_threshold("B", "A", "gt", 0.25))
        .condition("B")
        .annotations(
            {"summary": f"{title}: their index is over 0.25.",
             "description": "Compare the mix of classes. The model may have to be trained again."}
        )
    )  # fmt: skip


def _asked(query: Query, seconds: int) -> alerting.Query:
    model = query.build()
    if not model.values["root_selector"]:
        # The filter needs the text column, the alert takes one number: what is chosen goes on alone.
        name = model.values["columns"][-1]["selector"]
        model.values |= {"summarizeExpression": f"max({name})", "summarizeBy": ""}
    return (
        alerting.Query(str(model.values["refId"]))
        .datasource_uid(str(SOURCE.uid))
        .relative_time_range(RelativeTimeRange(from_val=seconds, to=0))
        .model(_Given(model))
    )


def _math(ref: str, expression: str) -> alerting.Query:
    return _expression(ref, expr.TypeMath().expression(expression))


def _threshold(ref: str, of: str, kind: Literal["gt", "lt"], limit: float) -> alerting.Query:
    evaluator = expr.ExprTypeThresholdConditionsEvaluator().type(kind).params([limit])
    condition = expr.ExprTypeThresholdConditions().evaluator(evaluator)
    return _expression(ref, expr.TypeThreshold().expression(of).conditions([condition]))


def _expression(ref: str, made: expr.TypeMath | expr.TypeThreshold) -> alerting.Query:
    model = made.ref_id(ref).datasource(DataSourceRef(type_val=_EXPRESSIONS, uid=_EXPRESSIONS))
    return alerting.Query(ref).datasource_uid(_EXPRESSIONS).model(model)


class _Given(Builder[Dataquery]):
    def __init__(self, query: Dataquery) -> None:
        self._query = query

    def build(self) -> Dataquery:
        return self._query


def _of_file(rule: alerting.Rule) -> dict[str, object]:
    return {name: value for name, value in rule.build().to_json().items() if name not in _OF_API}
