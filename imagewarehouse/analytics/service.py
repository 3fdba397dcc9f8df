"""The query service: answers to questions about panels and requests, from an engine, at a bounded price.

What it holds to, whoever asks how often: questions that are the same cost one query, also while it runs; an answer is kept for
a moment and says how old it is; so many queries run at once and so many wait, each for so long; what is kept has a limit.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import orjson

from imagewarehouse.access import Holder
from imagewarehouse.analytics import exposition
from imagewarehouse.analytics.catalog import Filters, catalog, columns_of, statement
from imagewarehouse.analytics.engines import Asked, Engine
from imagewarehouse.analytics.formats import ARROW_TYPE, CSV_TYPE, JSON_TYPE, as_arrow, as_csv, as_json
from imagewarehouse.analytics.networks import with_addresses
from imagewarehouse.analytics.panels import PANELS, Column, Panel
from imagewarehouse.analytics.parameters import Format, Question, no_parameters, read_question
from imagewarehouse.analytics.periods import Period
from imagewarehouse.errors import AnalyticsUnavailable, BadParameter, Busy, NoSuchRequest, NotFound, WarehouseError
from imagewarehouse.ids import event_time, utc_now
from imagewarehouse.metadata import COLUMNS, json_values

log = logging.getLogger("imagewarehouse.analytics")

Training = Callable[[], Mapping[str, int]]

_AT_ONCE = 2  # queries
_MOST_WAITING = 64  # a page asks a dozen
_LONGEST_S = 20.0
_KEPT_BYTES = 32 << 20
_RUNNING_S = 1.0  # how long an answer about a period that is not over is good
_RUNNING_MOST_S = 4.0
_OF_ITS_PRICE = 4.0  # what takes long is asked less often
_DEAR_S = 0.5  # a query that takes longer is renewed while those who ask have the answer before
_STALE_S = 30.0  # beyond its time, at most
_OVER_S = 60.0  # rows of a period that is over may still come (a store was away) or go (forgotten)
_JUST_OVER = timedelta(minutes=10)
_EXPOSED_S = 10.0  # Prometheus asks every 15 s or less often, perhaps twice for being sure
_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_SINGLE = tuple(column.name for column in COLUMNS if column.type == "float")
_TYPES = {"json": JSON_TYPE, "csv": CSV_TYPE, "arrow": ARROW_TYPE}


@dataclass(frozen=True, slots=True)
class Answer:
    """`tag` changes with what is answered, not with when. `as_of`: when the engine was asked; `age_s`: how long ago.

    `good_s`: how long it is worth no second question.
    """

    media_type: str
    body: bytes
    tag: str
    as_of: datetime
    age_s: float
    good_s: float


@dataclass(slots=True)
class _Kept:
    media_type: str
    body: bytes  # of JSON: without its last brace, as the age comes behind it
    tag: str
    as_of: datetime
    made: float  # monotonic
    good_s: float
    took_s: float

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.made


# Gives the key of a question as it is asked now, and what answers it.
Job = Callable[[], tuple[Any, Callable[[], _Kept]]]


class QueryService:
    """Used on one event loop; the engine is asked on threads."""

    def __init__(
        self,
        engine: Engine,
        training: Training = dict,
        *,
        now: Callable[[], datetime] = utc_now,
        at_once: int = _AT_ONCE,
        waiting: int = _MOST_WAITING,
        longest_s: float = _LONGEST_S,
        kept_bytes: int = _KEPT_BYTES,
    ) -> None:
        """`training`: images by class that the served model was trained on; asked at each drift."""
        self._engine = engine
        self._training = training
        self._now = now
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="analytics")
        self._most = at_once + waiting
        self._longest_s = longest_s
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[Any, _Kept] = OrderedDict()
        self._size = 0
        self._asking: dict[Any, asyncio.Future[_Kept]] = {}
        self._due: OrderedDict[Any, Job] = OrderedDict()
        self._renewing: asyncio.Task[None] | None = None

    def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._engine.close()

    async def panel(self, name: str, query: str, holder: Holder) -> Answer:
        """Raises NotFound, BadParameter, Busy, AnalyticsUnavailable."""
        if name not in PANELS:
            raise NotFound(f"no such query: {name[:40]!a}; there are {', '.join(PANELS)}")

        def job() -> tuple[Any, Callable[[], _Kept]]:
            question, asked = read_question(name, query, self._now(), holder.reads_only), time.monotonic()
            return question.key, functools.partial(self._answer, question, asked)

        return _shown(await self._ask(job))

    async def request(self, request_id: str, query: str, holder: Holder) -> Answer:
        """The whole record. Raises NoSuchRequest, BadParameter, Busy, AnalyticsUnavailable."""
        no_parameters(query)
        request_id, moment = request_id.lower(), _moment_of(request_id)
        only = () if holder.reads_only is None else (holder.reads_only,)

        def job() -> tuple[Any, Callable[[], _Kept]]:
            return ("request", request_id, only), functools.partial(
                self._record, request_id, moment, only, time.monotonic()
            )

        kept = await self._ask(job)
        if not kept.body:
            raise NoSuchRequest("there is no request of this id, or this key may not read it")
        return _shown(kept)

    async def metrics(self) -> Answer:
        """What the rows of all users say, as Prometheus metrics. Raises Busy, AnalyticsUnavailable."""
        return _shown(await self._ask(lambda: (("metrics",), functools.partial(self._exposed, time.monotonic()))))

    # --- one query for those who ask the same ---------------------------------------------------------------------

    async def _ask(self, job: Job) -> _Kept:
        key, work = job()
        kept = self._kept.get(key)
        if kept is not None:
            age_s = kept.age_s
            if age_s < kept.good_s:
                self._kept.move_to_end(key)
                return kept
            if kept.took_s > _DEAR_S and age_s < kept.good_s + _STALE_S:
                self._renew_soon(key, job)
                return kept
        return await self._run(key, work)

    async def _run(self, key: Any, work: Callable[[], _Kept]) -> _Kept:
        asking = self._asking.get(key)
        if asking is None:
            if len(self._asking) >= self._most:
                raise Busy("too many questions are waiting")
            asking = asyncio.get_running_loop().run_in_executor(self._threads, work)
            self._asking[key] = asking
            asking.add_done_callback(functools.partial(self._answered, key))
        try:
            # Who goes away, or waits for too long, ends the query for nobody else.
            return await asyncio.wait_for(asyncio.shield(asking), self._longest_s)
        except asyncio.TimeoutError as err:
            raise AnalyticsUnavailable(f"a query took longer than {self._longest_s:g} s") from err

    def _renew_soon(self, key: Any, job: Job) -> None:
        if key not in self._due and len(self._due) < self._most:
            self._due[key] = job
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        """One after the other, with a pause as long as each took: for who writes the rows, and for questions that wait."""
        try:
            while self._due:
                _, job = self._due.popitem(last=False)
                started = time.monotonic()
                with suppress(WarehouseError):  # who asks once the old answer is too old is told
                    await self._run(*job())
                await asyncio.sleep(time.monotonic() - started)
        finally:
            self._renewing = None

    def _answered(self, key: Any, asking: asyncio.Future[_Kept]) -> None:
        del self._asking[key]
        if asking.cancelled() or asking.exception() is not None:
            return
        kept = asking.result()
        self._forget(key)
        if kept.good_s <= 0 or len(kept.body) > self._kept_bytes // 4:
            return
        self._kept[key] = kept
        self._size += _size(kept)
        while self._size > self._kept_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Any) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._size -= _size(old)

    # --- on a thread ----------------------------------------------------------------------------------------------

    def _answer(self, question: Question, asked: float) -> _Kept:
        """`asked`: when, by the monotonic clock."""
        started = time.monotonic()
        request = question.request
        if question.panel == "drift":
            request = replace(request, training=self._training())
        request = with_addresses(self._engine, request)
        panel = PANELS[question.panel](self._engine, request)
        about = {
            "name": question.panel,
            "question": question_of(question.panel),
            "period": _period(question, request.tz),
        }
        body = _written(question.format, about, panel)
        # Without the period, whose end moves with the clock where it is not over.
        tag = _tag(question.key, as_json({}, panel) if question.running else body)
        over = question.asked - request.period.until > _JUST_OVER
        return _kept(question.format, body, tag, question.asked, asked, started, over=over)

    def _record(self, request_id: str, moment: datetime, users: tuple[str, ...], asked: float) -> _Kept:
        started, as_of = time.monotonic(), self._now()
        # A millisecond, since some engines show no less.
        since = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        period = Period(since, since + timedelta(milliseconds=1), since - timedelta(milliseconds=1), since)
        query, filters = catalog()["request"], Filters(users=users)
        sql = statement(query, self._engine.dialect, self._engine.table, period, filters, request_id=request_id)
        found = self._engine.rows(Asked(sql, columns_of(query, filters), period))
        if not found:
            return _Kept(JSON_TYPE, b"", "", as_of, asked, 0.0, 0.0)
        values = dict(zip(query.columns, found[0], strict=True))
        values["event_time"] = moment  # as exactly as it was written
        body = orjson.dumps(_record_values(values))
        return _kept("json", body, _tag(body), as_of, asked, started, over=False)

    def _exposed(self, asked: float) -> _Kept:
        started, as_of = time.monotonic(), self._now()
        body = exposition.text(self._engine, as_of, self._training())
        ended = time.monotonic()
        return _Kept(
            exposition.CONTENT_TYPE, body, _tag(body), as_of, asked, ended - asked + _EXPOSED_S, ended - started
        )


_DRIFT = "Do the classes come as they did in training and as before, and is the model as sure as before?"


def question_of(panel: str) -> str:
    """What a panel answers, in one line."""
    query = catalog().get(panel.replace("-", "_"))  # drift has none of its own
    return _DRIFT if query is None else query.question


class _Nothing:
    """An engine without rows."""

    def __init__(self) -> None:
        from imagewarehouse.analytics.dialects import Dialect, DuckDb

        self.dialect: Dialect = DuckDb()
        self.table = "nothing"

    def rows(self, asked: Asked) -> list[tuple[Any, ...]]:
        return []

    def close(self) -> None: ...


@functools.cache
def columns_of_panels() -> Mapping[str, tuple[Column, ...]]:
    """The columns that each panel answers with."""
    day = datetime(2026, 1, 1, tzinfo=timezone.utc)
    asked = read_question("totals", "", day + timedelta(hours=1)).request
    return {name: panel(_Nothing(), asked).columns for name, panel in PANELS.items()}


def list_of_queries(serves: Sequence[str] = ()) -> bytes:
    """What GET /api/queries answers. `serves`: what the service answers beside figures."""
    return orjson.dumps(
        {
            "queries": [
                {
                    "name": name,
                    "question": question_of(name),
                    "columns": [{"name": column.name, "unit": column.unit} for column in columns],
                }
                for name, columns in columns_of_panels().items()
            ],
            "serves": list(serves),
        }
    )


# --- values -------------------------------------------------------------------------------------------------------


def _kept(form: Format, body: bytes, tag: str, as_of: datetime, asked: float, started: float, *, over: bool) -> _Kept:
    """`asked` and `started`: by the monotonic clock; a question may wait for a thread."""
    took_s = time.monotonic() - started
    good_s = _OVER_S if over else min(max(_RUNNING_S, took_s * _OF_ITS_PRICE), _RUNNING_MOST_S)
    body = body[:-1] if form == "json" else body
    # The age is that of the figures; how long they are good counts from when they are there.
    return _Kept(_TYPES[form], body, tag, as_of, asked, time.monotonic() - asked + good_s, took_s)


def _shown(kept: _Kept) -> Answer:
    age_s = kept.age_s
    body = kept.body
    if kept.media_type == JSON_TYPE:
        when = orjson.dumps({"as_of": _iso(kept.as_of), "age_s": round(age_s, 3)})
        body = b"%b,%b" % (body, when[1:])
    return Answer(kept.media_type, body, kept.tag, kept.as_of, age_s, kept.good_s)


def _size(kept: _Kept) -> int:
    return len(kept.body) + 1000  # and its key


def _moment_of(request_id: str) -> datetime:
    try:
        if not _ID.fullmatch(request_id):
            raise ValueError(request_id)
        return event_time(request_id)
    except (ValueError, OverflowError):
        raise BadParameter(f"request_id: expected a UUIDv7, received {request_id[:40]!a}") from None


def _written(form: Format, about: Mapping[str, Any], panel: Panel) -> bytes:
    if form == "csv":
        return as_csv(panel)
    return as_arrow(about, panel) if form == "arrow" else as_json(about, panel)


def _period(question: Question, tz: Any) -> dict[str, Any]:
    period = question.request.period
    moments = {name: getattr(period, name) for name in ("since", "until", "before", "before_until")}
    shown = {name: moment.astimezone(tz).isoformat(timespec="milliseconds") for name, moment in moments.items()}
    return {"name": question.period_name or None, **shown, "tz": tz.key}


def _record_values(values: dict[str, Any]) -> dict[str, Any]:
    for name in _SINGLE:
        if values.get(name) is not None:  # the shortest number that is the same in single precision, as it was written
            values[name] = float(str(np.float32(values[name])))
    try:
        return json_values(values)
    except ValueError:  # a text that should be JSON, written by somebody else
        return {**values, **json_values({"event_time": values["event_time"]})}


def _tag(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode("utf-8", "replace"))
    return digest.hexdigest()[:32]


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
