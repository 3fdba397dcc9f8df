"""The outcome of the records of one content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagewarehouse.contents import BadRow, Records, bad_rows_json, remaining
from imagewarehouse.errors import SolrConflict, WarehouseError
from imagewarehouse.solr.mapping import Mapped


@dataclass(frozen=True, slots=True)
class Delivery:
    """`written` records are in the index; those of `bad` never will be.

    `later`: why some have to be tried again; None when all are decided. `rest`: the records that are not written, bad ones
    among them, as a content of the same kind; None where that is the content as it was.
    """

    written: int
    bad: tuple[BadRow, ...] = ()
    later: WarehouseError | None = None
    rest: bytes | None = None

    @property
    def only_conflicts(self) -> bool:
        return bool(self.bad) and all(isinstance(row.error, SolrConflict) for row in self.bad)

    @property
    def summary(self) -> str:
        """One line for the log; no values of records in it but what Solr itself says."""
        refused = (
            f"{len(self.bad)} refused, the first (record {self.bad[0].record}): {self.bad[0].error}" if self.bad else ""
        )
        waiting = f"some wait: {self.later}" if self.later else ""
        return "; ".join(part for part in (f"{self.written} documents written", refused, waiting) if part)

    def report(self) -> bytes:
        """The refused records, one JSON object a line."""
        return bad_rows_json(self.bad)


def split_outcomes(records: Records, mapped: Mapped, outcomes: Sequence[WarehouseError | None]) -> Delivery:
    """Split the records into written, refused and waiting ones."""
    together = list(zip(mapped.numbers, mapped.records, outcomes, strict=True))
    refused = [
        BadRow(number, error, record) for number, record, error in together if error is not None and not error.retryable
    ]
    bad = tuple(sorted((*mapped.errors, *refused), key=lambda row: row.record))
    waiting = {number: error for number, _, error in together if error is not None and error.retryable}
    written = sum(error is None for error in outcomes)
    if not waiting:
        return Delivery(written, bad)
    numbers = {*waiting, *(row.record for row in bad)}
    rest = None if len(numbers) == len(records) else remaining(records, numbers)
    return Delivery(written, bad, next(iter(waiting.values())), rest)
