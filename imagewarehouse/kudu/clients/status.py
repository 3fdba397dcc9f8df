"""Translates Kudu's statuses into errors; no other place does."""

from __future__ import annotations

import re

from imagewarehouse.errors import (
    KuduAlreadyPresent,
    KuduCellTooLong,
    KuduImmutable,
    KuduMissingValue,
    KuduNoRange,
    KuduNotAuthorized,
    KuduNotFound,
    KuduRefused,
    KuduTableMissing,
    KuduUnavailable,
    SchemaChanged,
    WarehouseError,
)

# Every code name of Kudu 1.18. A server that restarts says "Illegal state" or "Uninitialized", one that is short of memory
# or disk "Service unavailable" or "IO error".
RETRYABLE = ("Timed out", "Network error", "Service unavailable", "Aborted", "Incomplete", "Uninitialized", "Illegal state",
             "Remote error", "IO error", "End of file")  # fmt: skip
FINAL = ("Not found", "Corruption", "Not implemented", "Invalid argument", "Already present", "Runtime error",
         "Not authorized", "Configuration error", "Immutable")  # fmt: skip

# Rows were made for columns that the table had before.
ALTERED = ("not present in tablet", "client provided column", "schema version", "must have type")
_POSIX = re.compile(r"\s*\(error -?\d+\)$")  # the client appends a number that says nothing


def error_from_status(status: str) -> WarehouseError:
    """The error for a status as the client prints it: `Not found: key not found`."""
    name, _, message = status.partition(":")
    name, message = name.strip(), _POSIX.sub("", message.strip() or status)
    text = message.lower()
    if name == "Already present":
        return KuduAlreadyPresent(message)
    if name == "Not found":
        if "range partition" in text:
            return KuduNoRange(message)
        if "key not found" in text or "not found: key" in text:
            return KuduNotFound(message)
        if "table" in text and ("deleted" in text or "exist" in text or "no such" in text):
            return KuduTableMissing(message)
        return KuduNotFound(message)
    if name == "Not authorized":
        return KuduNotAuthorized(message)
    if name == "Immutable":
        return KuduImmutable(message)
    if name == "Invalid argument":
        if any(part in text for part in ALTERED):
            return SchemaChanged(message)
        if "no value provided for required column" in text or "cannot be set to null" in text:
            return KuduMissingValue(message)
        if "not enough live tablet servers" in text:
            return KuduUnavailable(message)
        if "too large" in text or "exceeds" in text or "too long" in text:
            return KuduCellTooLong(message)
        return KuduRefused(message)
    if name == "Runtime error" and "was deleted" in text:
        return KuduTableMissing(message)
    if name in RETRYABLE:
        return KuduUnavailable(f"{name}: {message}")
    return KuduRefused(f"{name}: {message}")
