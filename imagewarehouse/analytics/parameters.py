"""What may be asked of the query service: its parameters, read from the query of a URL. Pure.

The table PARAMETERS says everything once: the parser, the OpenAPI document and docs/analytics.md are made from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from imagewarehouse.analytics.catalog import Cursor, Filters
from imagewarehouse.analytics.panels import Request
from imagewarehouse.analytics.periods import PERIODS, Period, Width, between, named, zone
from imagewarehouse.errors import BadParameter
from imagewarehouse.metadata import STATUSES
from imagewarehouse.parameters import image_id, listed, network, parameters_of

Format = Literal["json", "csv", "arrow"]
FORMATS: tuple[Format, ...] = get_args(Format)
WIDTHS: tuple[Width, ...] = get_args(Width)
DEFAULT_PERIOD = "today"
MOST_ROWS = 1000
_FIRST_YEAR, _LAST_YEAR = 1900, 9998
_YEARS = f"since, until: expected times between the years {_FIRST_YEAR} and {_LAST_YEAR}"
_SHOWN = 40  # characters of a value that a refusal repeats

_NUMBER = re.compile(r"[0-9]{1,9}")
_SHARE = re.compile(r"(?:0|1)?(?:\.\d{1,15})?|\d(?:\.\d{1,15})?[eE]-\d{1,2}", re.ASCII)
_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<clock>\d\d:\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6})\d*)?)?(?P<zone>[Zz]|[+-]\d\d:\d\d)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """`schema`: of one value, as JSON Schema. `read`: the value, or BadParameter. `panels`: which ones it matters to, none
    for all. `field`: where the value goes in `Filters` or `Request`; empty where the parser needs it for something else.
    `listed`: one text may hold several values, with commas between."""

    name: str
    schema: Mapping[str, Any]
    meaning: str
    read: Callable[[str], Any]
    field: str = ""
    repeated: bool = False
    listed: bool = False
    panels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A request for a panel, understood.

    `period_name`: empty for a free range. `running`: the period is not over. `key`: the same for the same question, also a
    moment later.
    """

    panel: str
    request: Request
    format: Format
    period_name: str
    running: bool
    asked: datetime
    key: tuple[Any, ...]


# --- values -------------------------------------------------------------------------------------------------------


def _text(value: str) -> str:
    return value  # Filters check it


def _whole(value: str) -> int:
    number = int(value) if _NUMBER.fullmatch(value) else 0
    if not 1 <= number <= MOST_ROWS:
        raise BadParameter(f"expected a whole number from 1 to {MOST_ROWS}")
    return number


def _share(value: str) -> float:
    number = float(value) if value and value != "." and _SHARE.fullmatch(value) else 2.0
    if not 0 <= number <= 1:
        raise BadParameter("expected a number from 0 to 1, as in 0.75")
    return number


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in choices:
            raise BadParameter(f"expected one of {', '.join(choices)}")
        return value

    return read


def _time(value: str) -> datetime:
    """A time, or a day, which begins at midnight. Without a zone it is naive: of the zone that is asked for."""
    match = _TIME.fullmatch(value)
    try:
        if match is None:
            raise ValueError(value)
        text = f"{match['date']}T{match['clock'] or '00:00'}:{match['second'] or '00'}.{(match['fraction'] or '0'):0<6}"
        moment = datetime.fromisoformat(text)
        offset = match["zone"]
        if not offset:
            return moment
        zoned = datetime.fromisoformat(text + ("+00:00" if offset in "Zz" else offset))
        return zoned.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise BadParameter("expected a time such as 2026-10-12, 2026-10-12T08:00 or 2026-10-12T08:00:00Z") from None


def _cursor(value: str) -> Cursor:
    text, space, request_id = value.partition(" ")
    try:
        moment = _time(text)
    except BadParameter:
        moment = datetime.min
    if not space or moment.tzinfo is None or not 1 <= len(request_id) <= 64 or not request_id.isprintable():
        raise BadParameter("expected what facts.after of the page before says")
    return Cursor(moment, request_id)


def _string(**more: Any) -> Mapping[str, Any]:
    return {"type": "string", **more}


_TIME_SCHEMA = _string(examples=["2026-10-12", "2026-10-12T08:00:00Z"])
_VALUE = _string(minLength=1, maxLength=300)
_SHARE_SCHEMA = {"type": "number", "minimum": 0, "maximum": 1}
_CUT = ("classes", "sources", "duplicates", "latest")

PARAMETERS: Mapping[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter("period", _string(enum=list(PERIODS), default=DEFAULT_PERIOD),
                  "which period; days begin at midnight of `tz`, weeks on Monday. Not together with since and until",
                  _one_of(tuple(PERIODS))),
        Parameter("since", _TIME_SCHEMA, "where a free range begins; without a zone it is a time in `tz`", _time),
        Parameter("until", _TIME_SCHEMA, "where it ends, not included; now, where only since is given", _time),
        Parameter("tz", _string(default="UTC", maxLength=64, examples=["Europe/Berlin"]),
                  "time zone of days and hours, a name of the IANA database", zone),
        Parameter("class", _VALUE, "only this predicted class", _text, "classes", repeated=True),
        Parameter("status", _string(enum=list(STATUSES)), "only this status", _one_of(STATUSES), "statuses",
                  repeated=True, listed=True),
        Parameter("error", _VALUE, "only this error code", _text, "errors", repeated=True, listed=True),
        Parameter("source", _string(examples=["10.0.0.1", "10.0.0.0/8"]), "only this source address or network", network,
                  "sources", repeated=True, listed=True),
        Parameter("user", _VALUE, "only this source user", _text, "users", repeated=True),
        Parameter("model", _VALUE, "only this model: a name, a version, or name/version", _text, "models",
                  repeated=True),
        Parameter("image", _string(pattern="^[0-9a-fA-F]{64}$"), "only this image_id", image_id, "images", repeated=True,
                  listed=True),
        Parameter("min_confidence", _SHARE_SCHEMA, "least confidence", _share, "min_confidence"),
        Parameter("max_confidence", _SHARE_SCHEMA, "greatest confidence, not included unless it is 1", _share,
                  "max_confidence"),
        Parameter("threshold", {**_SHARE_SCHEMA, "default": 0.6}, "a confidence below it counts as low", _share,
                  "threshold", panels=("confidence", "models")),
        Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": 50}, "most rows", _whole,
                  "limit", panels=_CUT),
        Parameter("width", _string(enum=list(WIDTHS)), "how wide a column of the chart is; chosen by the period if left out",
                  _one_of(WIDTHS), "width", panels=("over-time",)),
        Parameter("after", _string(maxLength=100), "the next page: what facts.after of the page before says", _cursor,
                  "after", panels=("latest",)),
        Parameter("format", _string(enum=list(FORMATS), default="json"), "how the answer is written", _one_of(FORMATS)),
    )
}  # fmt: skip
"""A parameter that does not matter to a panel is checked and passed over, so that one set of them serves a whole page."""

# What Grafana makes of ${class:queryparam}, a variable with no, one or several values: var-class=cat&var-class=dog.
_OF_GRAFANA, _ALL = "var-", "$__all"
_GRAFANAS = {f"{_OF_GRAFANA}{name}": name for name, parameter in PARAMETERS.items() if parameter.repeated}

_OF_FILTERS = frozenset(field.name for field in fields(Filters))


def read_question(panel: str, query: str, now: datetime, only_user: str | None = None) -> Question:
    """What a URL asks of a panel.

    `only_user`: whose rows alone may be shown; None: those of everybody. Raises BadParameter naming the parameter; what is
    unknown, comes twice where once is meant, or is malformed is never passed over.
    """
    values = _values(query)
    tz: ZoneInfo = values.pop("tz", None) or zone("UTC")
    format_: Format = values.pop("format", "json")
    period_name, period, open_end = _period(values, now, tz)
    given = {PARAMETERS[name].field: value for name, value in values.items() if _matters(PARAMETERS[name], panel)}
    try:
        filters = Filters(**{name: value for name, value in given.items() if name in _OF_FILTERS})
    except BadParameter as err:
        raise BadParameter(_in_our_words(str(err))) from None
    if filters.min_confidence is not None and filters.max_confidence is not None:  # noqa: SIM102 - two conditions, two lines
        if filters.min_confidence > filters.max_confidence:
            raise BadParameter("max_confidence: expected no less than min_confidence")
    filters = _restricted(filters, only_user)
    request = Request(
        period=period, tz=tz, filters=filters, **{name: v for name, v in given.items() if name not in _OF_FILTERS}
    )
    options = (request.threshold, request.limit, request.width, request.after)
    until = None if open_end else period.until
    key = (panel, format_, period_name, period.since, until, tz.key, filters, options)
    return Question(panel, request, format_, period_name, period.until >= now, now, key)


def no_parameters(query: str) -> None:
    """For what takes none. Raises BadParameter."""
    if query:
        raise BadParameter(f"{_shown(query.partition('=')[0])}: no parameters are taken here")


def _values(query: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in parameters_of(query):
        if name in _GRAFANAS and text == _ALL:
            continue
        name = _GRAFANAS.get(name, name)
        parameter = PARAMETERS.get(name)
        if parameter is None:
            raise BadParameter(f"{_shown(name)}: no such parameter; there are {', '.join(PARAMETERS)}")
        if parameter.repeated:
            parts = listed(text) if parameter.listed else (text,)
            found[name] = (*found.get(name, ()), *(_read(parameter, part) for part in parts))
        elif name in found:
            raise BadParameter(f"{name}: expected once")
        else:
            found[name] = _read(parameter, text)
    return {name: tuple(sorted(set(v))) if isinstance(v, tuple) else v for name, v in found.items()}


def _read(parameter: Parameter, text: str) -> Any:
    try:
        return parameter.read(text)
    except BadParameter as err:
        problem = str(err).removeprefix(f"{parameter.name}: ").partition(", received")[0]
        raise BadParameter(f"{parameter.name}: {problem}, received {_shown(text)}") from None


def _period(values: dict[str, Any], now: datetime, tz: ZoneInfo) -> tuple[str, Period, bool]:
    """Its name, the period, and whether its end moves on with the clock."""
    name, since, until = (values.pop(key, None) for key in ("period", "since", "until"))
    if since is None and until is None:
        period = named(name or DEFAULT_PERIOD, now, tz)
        return name or DEFAULT_PERIOD, period, period.until >= now
    if name is not None:
        raise BadParameter("period: expected either period, or since and until")
    if since is None:
        raise BadParameter("since: expected with until")
    if until is None and (since if since.tzinfo else since.replace(tzinfo=tz)) >= now:
        raise BadParameter("since: lies in the future; give until, too")
    try:
        # A clock on the wall of that zone; what it skips or shows twice is what Python makes of it (fold 0).
        begins, ends = (moment if moment.tzinfo else moment.replace(tzinfo=tz) for moment in (since, until or now))
        period = between(begins, ends, now)
    except OverflowError:
        raise BadParameter(_YEARS) from None
    # Python's calendar is from 1 to 9999: room for a chart's last week, and for the ranges before that drift looks at.
    if period.since.year < _FIRST_YEAR or period.until.year > _LAST_YEAR:
        raise BadParameter(_YEARS)
    return "", period, until is None


def _matters(parameter: Parameter, panel: str) -> bool:
    return bool(parameter.field) and (not parameter.panels or panel in parameter.panels)


def _restricted(filters: Filters, only_user: str | None) -> Filters:
    if only_user is None:
        return filters
    if filters.users and only_user not in filters.users:
        raise BadParameter(f"user: this access key may read the rows of {only_user} only")
    return replace(filters, users=(only_user,))


def _in_our_words(problem: str) -> str:
    """`Filters` names its fields; who asks knows them as parameters."""
    name, colon, rest = problem.partition(":")
    ours = next((p.name for p in PARAMETERS.values() if p.field == name), name)
    return f"{ours}{colon}{rest}"


def _shown(text: str) -> str:
    return ascii(text[:_SHOWN])


__all__ = ["DEFAULT_PERIOD", "FORMATS", "MOST_ROWS", "PARAMETERS", "Format", "Parameter", "Question", "no_parameters",
           "read_question"]  # fmt: skip
