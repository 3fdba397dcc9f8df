"""Many updates in few requests, and what became of each.

Solr stops at the first update of a request that it refuses, and says so of the request. Which one that was follows from what
the answer lists as done (`versions=true`). Where it lists nothing, because the collection has no update log, the request is
halved until one update is left. In a cloud a node hands updates on to others and does not know what became of these: they are
sent again, which is why what must not be done twice travels alone there. The order of updates of one id always stays.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagewarehouse.errors import SolrUnavailable, WarehouseError
from imagewarehouse.solr.answers import Refusal, accepted, refusal
from imagewarehouse.solr.settings import Params
from imagewarehouse.solr.updates import ADD, DELETE, QUERY, Update, request_body

if TYPE_CHECKING:
    from imagewarehouse.solr.client import Collection

log = logging.getLogger("imagewarehouse.solr")

_LEAST = 64  # updates that follow one that was refused; all may be refused, and each request carries them all


@dataclass(frozen=True, slots=True)
class Writing:
    """How updates are written.

    `commit_within_ms`: None leaves that to the collection. `commit`: at the end, so that all of it is found and on disk.
    `batch`: updates of one request at most; `batch_bytes`: its size, unless one update has more. `params`: of every request.
    """

    path: str = "update"
    commit_within_ms: int | None = None
    commit: bool = False
    batch: int = 500
    batch_bytes: int = 8 << 20
    params: Params = ()


def write(collection: Collection, updates: Sequence[Update], how: Writing = Writing()) -> list[WarehouseError | None]:
    """Do the updates in their order; gives None for each that is done, else why not.

    After one that may pass later nothing else is tried: all that are left get its error, which is retryable.
    """
    return _Delivery(collection, updates, how).run()


class _Delivery:
    def __init__(self, collection: Collection, updates: Sequence[Update], how: Writing) -> None:
        self._collection = collection
        self._updates = updates
        self._how = how
        self._outcomes: list[WarehouseError | None] = [None] * len(updates)
        self._waiting = deque(range(len(updates)))
        self._size = how.batch
        self._alone: set[int] = set()
        self._turn = 0  # which of the nodes is asked first
        self._params = [*how.params, ("wt", "json"), ("versions", "true"), ("json.nl", "flat")]
        if how.commit_within_ms is not None:
            self._params.append(("commitWithin", str(how.commit_within_ms)))

    def run(self) -> list[WarehouseError | None]:
        try:
            while self._waiting:
                self._send(self._next())
            if self._how.commit and None in self._outcomes:
                self._commit()
        except SolrUnavailable as err:
            for number in self._waiting:
                self._outcomes[number] = err
        return self._outcomes

    def _next(self) -> list[int]:
        """The updates of the next request. One that deletes by query travels alone: what is done at it is not certain."""
        numbers: list[int] = []
        size = 0
        while self._waiting and len(numbers) < self._size:
            update = self._updates[self._waiting[0]]
            size += len(update.body)
            alone = update.kind == QUERY or self._waiting[0] in self._alone
            alone = alone or not (update.repeatable or self._collection.cloud is False)
            if numbers and (alone or size > self._how.batch_bytes):
                break
            numbers.append(self._waiting.popleft())
            if alone:
                break
        return numbers

    def _send(self, numbers: list[int]) -> None:
        updates = [self._updates[number] for number in numbers]
        repeatable = all(update.repeatable for update in updates)
        try:
            body = request_body(updates)
            content = self._collection.post(
                self._how.path, body, params=self._params, repeatable=repeatable, turn=self._turn
            )
            answer = accepted(content, self._collection.name)
        except SolrUnavailable:
            self._waiting.extendleft(reversed(numbers))
            raise
        except Refusal as err:
            self._refused(numbers, err)
            return
        self._learn(answer, numbers)
        tolerated = answer["responseHeader"].get("errors")
        if tolerated:
            self._tolerated(numbers, tolerated)
        else:
            self._size = min(2 * self._size, self._how.batch)

    def _refused(self, numbers: list[int], err: Refusal) -> None:
        """Decide those of a refused request that can be decided; the others wait in front, fewer to a request."""
        self._learn(err.body, [])
        if len(numbers) == 1:
            self._outcomes[numbers[0]] = err.error
            return
        done = self._done(numbers, err.body)
        if done is None:  # it is not told
            self._again(numbers, len(numbers) // 2)
            return
        elsewhere = [number for number, here in zip(numbers, done, strict=False) if not here]
        if len(done) < len(numbers):
            stopped, rest = numbers[len(done)], numbers[len(done) + 1 :]
            if elsewhere:  # the error may be of one of these, and hide that of the one where it stopped
                self._alone.add(stopped)
                rest = [stopped, *elsewhere, *rest]
            else:
                self._outcomes[stopped] = err.error
            self._again(rest, max(_LEAST, 4 * len(done)))
        elif len(elsewhere) == 1:
            self._outcomes[elsewhere[0]] = err.error
        elif elsewhere:
            self._turn += 1  # another node may have them itself
            self._again(elsewhere, len(elsewhere) // 2)
        else:
            self._waiting.extendleft(reversed(numbers))
            raise SolrUnavailable(f"every update was done, and then: {err.error}") from err

    def _done(self, numbers: list[int], body: Mapping[str, Any]) -> list[bool] | None:
        """For each update up to the one that was refused whether it was done by this node (else it was handed on).

        None: that is not told.
        """
        header = body.get("responseHeader")
        if not isinstance(header, Mapping):
            return None  # it is a proxy that refuses, for the size of a request or for something in it
        if header.get("errors"):
            return None  # some were passed over, and then there were too many of these
        listed = {kind: _pairs(body.get(kind)) for kind in (ADD, DELETE)}
        if not any(kind in body for kind in (ADD, DELETE)) and not self._collection.reports:
            return None
        done = []
        for number in numbers:
            update = self._updates[number]
            entry = next(listed[update.kind], None)
            if entry is None:
                break
            identifier, version = entry
            if update.id is not None and update.id != identifier:
                return None
            done.append(version != 0)
        if any(next(pairs, None) for pairs in listed.values()):
            return None
        return done

    def _tolerated(self, numbers: list[int], errors: Sequence[Mapping[str, Any]]) -> None:
        """The collection passes over what it refuses (TolerantUpdateProcessor), and names it by its id."""
        by_id: dict[str, list[int]] = {}
        for number in numbers:
            by_id.setdefault(self._updates[number].id or "", []).append(number)
        for error in errors:
            refused = numbers if len(numbers) == 1 else by_id.get(str(error.get("id")), [])
            if len(refused) != 1:
                self._again(numbers, len(numbers) // 2)
                return
            self._outcomes[refused[0]] = refusal(str(error.get("message")))

    def _again(self, numbers: list[int], size: int) -> None:
        self._waiting.extendleft(reversed(numbers))
        self._size = max(1, min(size, self._how.batch))

    def _learn(self, answer: Mapping[str, Any], numbers: list[int]) -> None:
        header = answer.get("responseHeader")
        if isinstance(header, Mapping) and "status" in header and (numbers or "rf" in header):
            self._collection.cloud = self._collection.cloud or "rf" in header
        if numbers and self._updates[numbers[0]].kind != QUERY:
            self._collection.reports = ADD in answer or DELETE in answer

    def _commit(self) -> None:
        try:
            params = [*self._how.params, ("wt", "json"), ("commit", "true")]
            accepted(self._collection.post(self._how.path, b"{}", params=params), self._collection.name)
        except (SolrUnavailable, Refusal) as err:
            error = SolrUnavailable(f"the commit failed: {err}")
            self._outcomes = [error if outcome is None else outcome for outcome in self._outcomes]


def _pairs(flat: Any) -> Iterator[tuple[str, int]]:
    """["id", version, "id", version...] in pairs."""
    values: list[Any] = flat if isinstance(flat, list) else []
    return ((str(values[at]), values[at + 1]) for at in range(0, len(values) - 1, 2))
