"""Answers for a waiting client: the record as JSON, or RFC 9457 problem details."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from imagewarehouse.errors import WarehouseError, all_errors
from imagewarehouse.metadata import ACCEPTED, CLASSIFIED, ImageRecord

JSON_MEDIA_TYPE = "application/json"
PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_S = 5  # long enough for a flush or a failover to pass, short enough for a person


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `retry_after` in seconds where trying again makes sense."""

    status: int
    media_type: str
    body: bytes
    retry_after: int | None = None


def answer_record(record: ImageRecord) -> Answer:
    """The answer for a record that has been written."""
    if record.status in (CLASSIFIED, ACCEPTED):
        return Answer(200, JSON_MEDIA_TYPE, _dump(record.as_json()))
    code = record.error_code or WarehouseError.code
    return problem(code, record.error_detail if is_public(code) else None, record.request_id)


def is_public(code: str) -> bool:
    """Whether the text of an error may go to the client: what went wrong on our side names paths and hosts of ours."""
    return all_errors().get(code, WarehouseError).http_status < 500


def problem(code: str, detail: str | None, request_id: str | None = None, instance: str | None = None) -> Answer:
    """Problem details for an error code of `imagewarehouse.errors`."""
    error = all_errors().get(code, WarehouseError)
    body: dict[str, object] = {
        "type": f"urn:imagewarehouse:error:{code}",
        "title": error.title,
        "status": error.http_status,
        "error_code": code,
    }
    if detail:
        body["detail"] = detail
    if request_id:
        body["request_id"] = request_id
    if instance:
        body["instance"] = instance
    return Answer(error.http_status, PROBLEM_TYPE, _dump(body), RETRY_AFTER_S if error.retryable else None)


def _dump(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
