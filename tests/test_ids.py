"""Request ids: the time that goes in comes out, and a client's key is taken only where it can be a row's key."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import RFC_4122, UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagewarehouse.errors import BadIdempotencyKey
from imagewarehouse.ids import MAX_AGE, MAX_AHEAD, event_time, new_request_id, request_id_from_key

NOW = datetime(2026, 3, 1, 12, 0, 0, 123457, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)

times = st.datetimes(
    datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), timezones=st.just(timezone.utc)
)  # fmt: skip


@given(times)
def test_every_microsecond_that_goes_into_an_id_comes_out_of_it(when: datetime) -> None:
    assert event_time(new_request_id(when)) == when


def test_every_microsecond_of_a_millisecond_survives() -> None:
    # The fraction has 4096 steps for 1000 microseconds: all of them are few enough to try.
    whole = NOW.replace(microsecond=7000)
    found = [event_time(new_request_id(whole + n * MICROSECOND)) for n in range(1000)]
    assert found == [whole + n * MICROSECOND for n in range(1000)]


@given(times)
def test_an_id_is_a_uuid_of_version_7_and_the_rfc_variant(when: datetime) -> None:
    value = UUID(new_request_id(when))
    assert (value.version, value.variant) == (7, RFC_4122)
    assert value.int >> 80 == (when - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(milliseconds=1)


def test_the_time_zone_of_now_does_not_change_the_moment() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert event_time(new_request_id(elsewhere)) == NOW


def test_ids_of_one_moment_differ() -> None:
    assert len({new_request_id(NOW) for _ in range(1000)}) == 1000


def test_ids_sort_by_their_time() -> None:
    moments = [NOW + n * timedelta(microseconds=250) for n in range(50)]
    ids = [new_request_id(moment) for moment in moments]
    assert sorted(ids) == ids


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("not-a-uuid", id="words"),
        pytest.param(str(uuid4()), id="version-4"),
        pytest.param("018f4c2e-7b1a-7abc-0abc-0123456789ab", id="version-7-of-another-variant"),
        pytest.param("018f4c2e-7b1a-7abc-8abc-0123456789a", id="one-digit-short"),
    ],
)
def test_what_is_no_uuid_of_version_7_has_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"UUID"):
        event_time(text)


# --- keys of clients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "taken"),
    [
        pytest.param(timedelta(0), True, id="now"),
        pytest.param(-MAX_AGE, True, id="just-7-days-old"),
        pytest.param(-MAX_AGE - MICROSECOND, False, id="a-microsecond-older"),
        pytest.param(MAX_AHEAD, True, id="just-an-hour-ahead"),
        pytest.param(MAX_AHEAD + MICROSECOND, False, id="a-microsecond-further-ahead"),
        pytest.param(timedelta(days=400), False, id="from-next-year"),
    ],
)
def test_a_key_is_taken_within_its_window_only(offset: timedelta, taken: bool) -> None:
    key = new_request_id(NOW + offset)
    if taken:
        assert request_id_from_key(key, NOW) == key
    else:
        with pytest.raises(BadIdempotencyKey, match="7 days ago"):
            request_id_from_key(key, NOW)


def test_the_same_key_gives_the_same_id_however_it_is_written() -> None:
    key = new_request_id(NOW)
    spelled = {request_id_from_key(text, NOW) for text in (key, key.upper(), f"  {key} ")}
    assert spelled == {key}


def test_a_retry_gets_the_same_id_later() -> None:
    key = new_request_id(NOW)
    assert request_id_from_key(key, NOW + timedelta(days=6), part=3) == request_id_from_key(key, NOW, part=3)


def test_parts_share_the_keys_time_and_have_ids_of_their_own() -> None:
    key = new_request_id(NOW)
    ids = [request_id_from_key(key, NOW, part) for part in range(1, 101)]
    assert ids[0] == key
    assert len(set(ids)) == 100
    assert {event_time(text) for text in ids} == {NOW}
    assert {(UUID(text).version, UUID(text).variant) for text in ids} == {(7, RFC_4122)}


def test_parts_of_two_keys_of_one_moment_differ() -> None:
    first, second = new_request_id(NOW), new_request_id(NOW)
    assert request_id_from_key(first, NOW, 2) != request_id_from_key(second, NOW, 2)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("order-4711", id="words"),
        pytest.param("   ", id="blanks"),
        pytest.param(str(uuid4()), id="version-4"),
        pytest.param("0" * 32, id="zeros"),
        pytest.param("ffffffff-ffff-7fff-bfff-ffffffffffff", id="a-time-beyond-the-calendar"),
        pytest.param("018f4c2e" * 1000, id="very-long"),
        pytest.param("\ud800" * 36, id="lone-surrogates"),
        pytest.param("0\u0661" * 18, id="digits-of-another-script"),
        pytest.param("018f4c2e-7b1a-7abc-8abc-0123456789ab\x00", id="nul-behind-it"),
    ],
)
def test_a_key_that_is_no_uuid_of_version_7_is_refused(key: str) -> None:
    with pytest.raises(BadIdempotencyKey) as caught:
        request_id_from_key(key, NOW)
    assert len(str(caught.value)) < 1000
    str(caught.value).encode()  # it becomes an answer and a column: printable as it is


@given(st.text(max_size=80))
def test_no_text_at_all_makes_a_key_fail_in_another_way(key: str) -> None:
    try:
        found = request_id_from_key(key, NOW)
    except BadIdempotencyKey:
        return
    assert NOW - MAX_AGE <= event_time(found) <= NOW + MAX_AHEAD


def test_a_key_stands_for_another_id_with_each_user() -> None:
    key = new_request_id(NOW)
    ids = {request_id_from_key(key, NOW, part, user) for user in (None, "alice", "bob") for part in (1, 2)}
    assert len(ids) == 6
    assert {event_time(request_id) for request_id in ids} == {NOW}
    assert request_id_from_key(key.upper(), NOW, user="alice") == request_id_from_key(key, NOW, user="alice")
