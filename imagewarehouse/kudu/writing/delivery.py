"""The outcome of the records of one FlowFile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagewarehouse.contents import BadRow, Records, bad_rows_json, remaining
from imagewarehouse.errors import (
    ConfigurationError,
    KuduNotAuthorized,
    KuduTableMissing,
    WarehouseError,
)
from imagewarehouse.kudu.records.mapping import Rows

_OF_THE_TABLE = (ConfigurationError, KuduNotAuthorized, KuduTableMissing)  # no row of the FlowFile is to blame


@dataclass(frozen=True, slots=True)
class Delivery:
    """`written` rows are committed; those of `bad` never will be.

    `later`: why some rows have to be tried again; None when all are decided. `rest`: the records that are not committed,
    bad ones among them, as a content of the same kind; None where that is the content as it was.
    """

    written: int
    bad: tuple[BadRow, ...] = ()
    later: WarehouseError | None = None
    rest: bytes | None = None

    @property
    def summary(self) -> str:
        """One line for the log; no values of rows in it."""
        refused = (
            f"{len(self.bad)} refused, the first (record {self.bad[0].record}): {self.bad[0].error}" if self.bad else ""
        )
        waiting = f"some wait: {self.later}" if self.later else ""
        return "; ".join(part for part in (f"{self.written} rows written", refused, waiting) if part)

    def report(self) -> bytes:
        """The refused rows, one JSON object a line."""
        return bad_rows_json(self.bad)


def split_outcomes(records: Records, rows: Rows, outcomes: Sequence[WarehouseError | None]) -> Delivery:
    """Split the rows into written, refused and waiting ones.

    Raises the error of the table or of a defect, where it stopped all rows.
    """
    errors = [error for error in outcomes if error is not None and not error.retryable]
    if len(errors) == len(outcomes):
        for error in errors:
            if isinstance(error, _OF_THE_TABLE) or type(error) is WarehouseError:
                raise error
    refused = [rows.bad(n, error) for n, error in enumerate(outcomes) if error is not None and not error.retryable]
    bad = tuple(sorted((*rows.errors, *refused), key=lambda row: row.record))
    waiting = {int(rows.records[n]): error for n, error in enumerate(outcomes) if error is not None and error.retryable}
    written = sum(error is None for error in outcomes)
    if not waiting:
        return Delivery(written, bad)
    numbers = {*waiting, *(row.record for row in bad)}
    if len({int(number) for number in rows.records}) < len(rows):
        # A record with several rows goes again as a whole, and must not undo what records behind it have written.
        numbers |= {int(number) for number in rows.records if number > min(waiting)}
    remainder = None if len(numbers) == len(records) else remaining(records, numbers)
    return Delivery(written, bad, next(iter(waiting.values())), remainder)
