"""Access keys: who gets in, under which name, and that no message gives a key away."""

from __future__ import annotations

import pytest

from imagewarehouse.access import ADMIN, READ, SCOPES, SEND, AccessKeys, offered_key
from imagewarehouse.errors import AccessKeyMissing, AccessKeyWrong, ConfigurationError, NotAllowed
from imagewarehouse.intake import IntakeRules, Request, check_access

ALICE, BOB = "alice-0123456789abcdef", "bob-0123456789abcdefg"
KEYS = AccessKeys.parse(f"alice:{ALICE},bob:{BOB}")


@pytest.mark.parametrize(("key", "name"), [(ALICE, "alice"), (BOB, "bob")])
def test_a_known_key_gives_its_name(key: str, name: str) -> None:
    assert KEYS.check(key, SEND) == name


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"alice:{ALICE},bob:{BOB}", id="comma"),
        pytest.param(f"alice:{ALICE} bob:{BOB}", id="space"),
        pytest.param(f"\n  alice:{ALICE}\r\n  bob:{BOB}\n", id="lines"),
        pytest.param(f"alice:{ALICE}, ,bob:{BOB},", id="empty-entries"),
    ],
)
def test_pairs_may_be_separated_in_any_usual_way(text: str) -> None:
    keys = AccessKeys.parse(text)
    assert (keys.check(ALICE, SEND), keys.check(BOB, SEND)) == ("alice", "bob")


@pytest.mark.parametrize("text", [None, "", " \n "])
def test_without_keys_everybody_gets_in_without_a_name(text: str | None) -> None:
    keys = AccessKeys.parse(text)
    for scope in SCOPES:
        assert keys.check(None, scope) is None
        assert keys.check("anything at all", scope) is None
    assert keys.holder(None).reads_only is None


@pytest.mark.parametrize("offered", [None, ""])
def test_no_key_is_told_apart_from_a_wrong_one(offered: str | None) -> None:
    with pytest.raises(AccessKeyMissing):
        KEYS.check(offered, SEND)


@pytest.mark.parametrize(
    "offered",
    [
        pytest.param(ALICE[:-1], id="cut"),
        pytest.param(ALICE + "x", id="longer"),
        pytest.param(ALICE.upper(), id="upper-case"),
        pytest.param(f"alice:{ALICE}", id="with-its-name"),
        pytest.param("alice", id="the-name-alone"),
        pytest.param("\udcff\udcfe", id="bytes-that-are-no-text"),
        pytest.param("ключ" * 8, id="another-script"),
    ],
)
def test_a_wrong_key_is_refused(offered: str) -> None:
    with pytest.raises(AccessKeyWrong):
        KEYS.check(offered, SEND)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"alice{ALICE}", id="no-colon"),
        pytest.param(f":{ALICE}", id="no-name"),
        pytest.param(f"al/ice:{ALICE}", id="name-with-a-slash"),
        pytest.param(f"{'a' * 65}:{ALICE}", id="name-of-65-characters"),
        pytest.param(f"alice:{ALICE[:15]}", id="key-of-15-characters"),
        pytest.param(f"alice:{ALICE},alice:{BOB}", id="one-name-twice"),
        pytest.param(f"alice:{ALICE},alice/read:{BOB}", id="one-name-twice-once-with-scopes"),
        pytest.param(f"alice/raed:{ALICE}", id="scope-misspelt"),
        pytest.param(f"alice/READ:{ALICE}", id="scope-in-upper-case"),
        pytest.param(f"alice/:{ALICE}", id="no-scope-behind-the-slash"),
        pytest.param(f"alice/read+:{ALICE}", id="plus-without-a-scope"),
        pytest.param(f"/read:{ALICE}", id="scopes-without-a-name"),
        pytest.param(f"alice:{ALICE}:read+send", id="scopes-behind-the-key"),
    ],
)
def test_a_wrong_setting_is_refused_without_showing_a_key(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AccessKeys.parse(text)
    assert caught.value.setting == "Access Keys"
    assert ALICE[:15] not in str(caught.value)
    assert BOB not in str(caught.value)


def test_a_key_of_16_characters_is_long_enough() -> None:
    assert AccessKeys.parse(f"alice:{ALICE[:16]}").check(ALICE[:16], SEND) == "alice"


# --- scopes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "may"),
    [
        pytest.param("alice", {SEND}, id="as-it-was-before-there-were-scopes"),
        pytest.param("alice/send", {SEND}, id="send"),
        pytest.param("alice/read", {READ}, id="read"),
        pytest.param("alice/read+send", {READ, SEND}, id="read-and-send"),
        pytest.param("alice/send+read", {READ, SEND}, id="in-any-order"),
        pytest.param("alice/admin", {SEND, READ, ADMIN}, id="admin-is-all-of-them"),
    ],
)
def test_a_key_may_do_what_its_scopes_say(owner: str, may: set[str]) -> None:
    keys = AccessKeys.parse(f"{owner}:{ALICE}, bob/admin:{BOB}")
    for scope in SCOPES:
        if scope in may:
            assert keys.check(ALICE, scope) == "alice"
        else:
            with pytest.raises(NotAllowed, match=f"of alice may not {scope}"):
                keys.check(ALICE, scope)
    assert keys.check(BOB, ADMIN) == "bob"


def test_who_may_only_send_reads_its_own_and_readers_read_everybodys() -> None:
    keys = AccessKeys.parse(f"alice:{ALICE} bob/read:{BOB}")
    assert keys.holder(ALICE).reads_only == "alice"
    assert keys.holder(BOB).reads_only is None


def test_a_key_with_colons_and_slashes_stays_one_key() -> None:
    """Such keys were possible before there were scopes."""
    key = "a/b:read/c+d:0123456789"
    keys = AccessKeys.parse(f"alice:{key}")
    assert keys.check(key, SEND) == "alice"
    with pytest.raises(NotAllowed):
        keys.check(key, READ)


def test_a_wrong_key_is_not_told_what_scopes_there_are() -> None:
    for scope in SCOPES:
        with pytest.raises(AccessKeyWrong):
            AccessKeys.parse(f"alice/read:{ALICE}").check(BOB, scope)


def test_a_misspelt_scope_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="scopes of alice are not of these: send, read, admin"):
        AccessKeys.parse(f"alice/raed:{ALICE}")


def test_the_check_of_requests_refuses_a_key_that_may_not_send() -> None:
    rules = IntakeRules(keys=AccessKeys.parse(f"alice/read:{ALICE}, bob/read+send:{BOB}"))
    with pytest.raises(NotAllowed) as caught:
        check_access(Request(3, "image/png", access_key=ALICE), rules)
    assert (caught.value.code, caught.value.http_status) == ("access.not_allowed", 403)
    assert check_access(Request(3, "image/png", access_key=BOB), rules) == "bob"


# ------------------------------------------------------------------------------------------------------------------


def test_the_keys_themselves_are_not_kept() -> None:
    assert ALICE not in repr(KEYS)
    assert ALICE.encode() not in KEYS.digests.values()


@pytest.mark.parametrize(
    ("x_access_key", "authorization", "found"),
    [
        pytest.param(ALICE, None, ALICE, id="own-header"),
        pytest.param(f"  {ALICE} ", None, ALICE, id="own-header-with-blanks"),
        pytest.param(None, f"Bearer {ALICE}", ALICE, id="bearer"),
        pytest.param(None, f"bearer   {ALICE} ", ALICE, id="bearer-in-lower-case-with-blanks"),
        pytest.param("", f"Bearer {ALICE}", ALICE, id="empty-own-header"),
        pytest.param(BOB, f"Bearer {ALICE}", BOB, id="own-header-wins"),
        pytest.param(None, f"Basic {ALICE}", None, id="basic"),
        pytest.param(None, f"Bearer{ALICE}", None, id="no-blank"),
        pytest.param(None, ALICE, None, id="no-scheme"),
        pytest.param(None, None, None, id="neither"),
    ],
)
def test_the_offered_key_is_found_in_either_header(
    x_access_key: str | None, authorization: str | None, found: str | None
) -> None:
    assert offered_key(x_access_key, authorization) == found


def test_bearer_without_a_key_counts_as_no_key() -> None:
    with pytest.raises(AccessKeyMissing):
        KEYS.check(offered_key(None, "Bearer "), SEND)
