"""Every case of `hostile.CASES` through the core: code, HTTP status, time and memory.

As a program (`python -m tests.test_bad_input`) it prints what each case added to the resident memory; one of the tests
runs it so.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from imagewarehouse.access import AccessKeys
from imagewarehouse.errors import BadIdempotencyKey, ImageRejected, all_errors
from imagewarehouse.forms import parse_form
from imagewarehouse.ids import request_id_from_key
from imagewarehouse.intake import (
    IntakeRules,
    Request,
    check_access,
    check_content,
    check_request,
    files_of,
    is_form,
    parse_media_types,
)
from imagewarehouse.limits import Limits
from imagewarehouse.objects.fetching import Fetch, Fetcher, parse_locations
from tests.hostile import BAD_IDEMPOTENCY_KEYS, CASES, HEALTHY, NOW, STATUS, Case

MAX_SECONDS = 1.0
MAX_GROWTH_MB = 300

each_case = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])


def rules_for(case: Case) -> IntakeRules:
    settings: dict[str, object] = {}
    if "media_types" in case.rules:
        settings["media_types"] = parse_media_types(case.rules["media_types"])
    return IntakeRules(limits=Limits(**case.limits), keys=AccessKeys.parse(case.rules.get("keys")), **settings)


def judge(request: Request, content: bytes, rules: IntakeRules, uri_prefixes: str = "") -> ImageRejected | None:
    """The refusal, or None where the request passes; any other exception is a defect and comes through."""

    def checked(_: None, fetch: Fetch | None) -> None:
        if is_form(request):
            files_of(request, parse_form(content, request.declared_type or ""))
        check_content(request, content, rules, fetch)

    try:
        check_access(request, rules)
        check_request(request, rules)
        if uri_prefixes:
            Fetcher(parse_locations(uri_prefixes), rules.limits).for_each(checked, [None])
        else:
            checked(None, None)
    except ImageRejected as err:
        return err
    return None


def request_for(case: Case, content: bytes) -> Request:
    fields = {
        "size": len(content),
        "declared_type": case.declared_type,
        "method": "POST",
        "file_name": case.file_name,
        **case.request,
    }
    return Request(**fields)


@dataclass(frozen=True, slots=True)
class Outcome:
    error: ImageRejected | None
    seconds: float
    """Wall time of the best run."""


@cache
def outcome(case_id: str) -> Outcome:
    """Judged once for all tests; up to twice more where it was slow, because the machine may have been busy."""

    case = next(each for each in CASES if each.id == case_id)
    content, rules = case.body(), rules_for(case)
    request = request_for(case, content)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        error = judge(request, content, rules, case.rules.get("uri_prefixes", ""))
        best = min(best, time.perf_counter() - start)
        if best < MAX_SECONDS or best > 4 * MAX_SECONDS:  # fast enough, or too slow for that excuse
            break
    return Outcome(error, best)


def test_the_table_is_large_and_its_ids_are_unique() -> None:
    assert len(CASES) >= 80
    ids = [case.id for case in CASES]
    assert sorted(set(ids)) == sorted(ids)


def test_the_table_names_only_codes_that_exist_with_their_status() -> None:
    known = {code: error.http_status for code, error in all_errors().items()}
    assert {code: known.get(code) for code in STATUS} == STATUS


@each_case
def test_bad_input_is_refused_with_its_code_and_status(case: Case) -> None:
    error = outcome(case.id).error
    assert error is not None, f"accepted, expected {case.code}"
    assert (error.code, error.http_status) == (case.code, case.status), str(error)


@each_case
def test_bad_input_is_refused_within_a_second(case: Case) -> None:
    assert outcome(case.id).seconds < MAX_SECONDS


@each_case
def test_refusal_is_one_short_readable_line(case: Case) -> None:
    """It becomes an attribute, a column and a log line: a line break in it would forge a second log line."""

    error = outcome(case.id).error
    if error is None:
        pytest.skip("accepted; another test fails for it")
    message = str(error)
    assert message.strip()
    assert message.isprintable(), repr(message)
    assert len(message) <= 1000


# --- memory -------------------------------------------------------------------------------------------------------


def resident_mb(key: str) -> float:
    kilobytes = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert kilobytes is not None
    return int(kilobytes[1]) / 1024


def growth_mb(case: Case) -> float:
    """How far the peak of the resident memory rose over its state before the case."""

    content, rules = case.body(), rules_for(case)
    request = request_for(case, content)
    # sets VmHWM back to VmRSS; ru_maxrss cannot be set back, so one large case would hide all that follow it
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident_mb("VmRSS")
    judge(request, content, rules, case.rules.get("uri_prefixes", ""))
    return resident_mb("VmHWM") - before


@pytest.fixture(scope="session")
def growth() -> dict[str, float]:
    """MB each case added, measured in one fresh process."""

    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux lets a process set back its own memory peak")
    # a fixed threshold returns large blocks to the system at once; glibc's moving one keeps them, and the next case
    # would grow into memory that is already counted
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_bad_input"],
        env=environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@each_case
def test_bad_input_adds_little_memory(case: Case, growth: dict[str, float]) -> None:
    assert growth[case.id] < MAX_GROWTH_MB


# --- beyond the table ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEALTHY)
def test_no_cut_of_a_picture_is_accepted(name: str) -> None:
    declared, content = HEALTHY[name]
    accepted = []
    for length in range(1, len(content), 1 if len(content) < 4000 else 3):
        part = content[:length]
        if judge(Request(size=length, declared_type=declared, method="POST"), part, IntakeRules()) is None:
            accepted.append(length)
    assert accepted == []


@pytest.mark.parametrize("name", HEALTHY)
def test_flipped_bytes_are_accepted_or_refused_but_never_crash(name: str) -> None:
    """A seeded search for exceptions that are not `ImageRejected`: those would cost a retry for ever."""

    declared, content = HEALTHY[name]
    request = Request(size=len(content), declared_type=declared, method="POST")
    random = np.random.default_rng(11)
    for _ in range(300):
        changed = bytearray(content)
        # half of all changes in the first 200 bytes, where the sizes and offsets stand
        span = min(200, len(content)) if random.random() < 0.5 else len(content)
        for at in random.integers(0, span, size=int(random.integers(1, 4))):
            changed[at] = random.integers(0, 256)
        error = judge(request, bytes(changed), IntakeRules())
        assert error is None or error.code in STATUS


@pytest.mark.parametrize("key", BAD_IDEMPOTENCY_KEYS.values(), ids=BAD_IDEMPOTENCY_KEYS)
def test_bad_idempotency_key_is_refused(key: str) -> None:
    with pytest.raises(BadIdempotencyKey) as caught:
        request_id_from_key(key, NOW)
    assert (caught.value.code, caught.value.http_status) == ("request.bad_idempotency_key", 400)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 1000


if __name__ == "__main__":
    sys.stdout.write(json.dumps({case.id: round(growth_mb(case), 1) for case in CASES}) + "\n")
