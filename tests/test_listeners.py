"""What the two HTTP listeners leave in attributes, and what is believed of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagewarehouse.addresses import Network, client_address, parse_networks
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.intake import Request
from imagewarehouse.nifi.listeners import (
    Headers,
    is_awaited,
    read_request,
    read_sender,
    sender_attributes,
)

KEY = "alice-0123456789abcdef"
IDEMPOTENCY_KEY = "019ca9a5-7b1a-7abc-8abc-0123456789ab"

# As NiFi 2.9 leaves them: a GET or POST by HandleHttpRequest, and a POST by ListenHTTP with the headers it lets through.
HANDLED = {
    "uuid": "6f1c0d0e-0000-4000-8000-000000000001",
    "filename": "6f1c0d0e-0000-4000-8000-000000000001",
    "http.context.identifier": "6f1c0d0e-0000-4000-8000-000000000002",
    "http.method": "POST",
    "http.remote.addr": "203.0.113.9",
    "http.remote.host": "203.0.113.9",
    "mime.type": "image/png",
    "http.headers.Content-Type": "image/png",
}
LISTENED = {
    "uuid": "6f1c0d0e-0000-4000-8000-000000000001",
    "filename": "6f1c0d0e-0000-4000-8000-000000000001",
    "restlistener.remote.source.host": "203.0.113.9",
    "restlistener.remote.user.dn": "none",
    "restlistener.remote.issuer.dn": "none",
    "restlistener.request.uri": "/images",
    "Content-Type": "image/png",
}
PART = {
    "http.multipart.name": "picture",
    "http.multipart.filename": "frog.png",
    "http.multipart.content.type": "image/png",
    "http.multipart.size": "70",
    "http.multipart.fragments.sequence.number": "2",
    "http.multipart.fragments.total.number": "3",
}
each_listener = pytest.mark.parametrize(
    ("base", "prefix"), [(HANDLED, "http.headers."), (LISTENED, "")], ids=["HandleHttpRequest", "ListenHTTP"]
)


def read(attributes: Mapping[str, str], keys_wanted: bool = False) -> tuple[Request, dict[str, str]]:
    return read_request(attributes.get, 70, keys_wanted=keys_wanted, all_attributes=lambda: attributes)


# --- one request, two conventions ---------------------------------------------------------------------------------


@each_listener
def test_a_plain_body_is_read_alike_from_both_listeners(base: dict[str, str], prefix: str) -> None:
    headers = {f"{prefix}Idempotency-Key": IDEMPOTENCY_KEY, f"{prefix}X-Access-Key": KEY}
    request, _ = read({**base, **headers}, keys_wanted=True)
    assert request == Request(
        size=70,
        declared_type="image/png",
        method="POST" if base is HANDLED else None,
        access_key=KEY,
        idempotency_key=IDEMPOTENCY_KEY,
        synchronous=base is HANDLED,
    )


@each_listener
def test_a_part_is_described_by_its_own_headers(base: dict[str, str], prefix: str) -> None:
    around = {"mime.type": "multipart/form-data; boundary=x", f"{prefix}Content-Type": "multipart/form-data; boundary=x",
              f"{prefix}Content-Disposition": 'attachment; filename="whole.bin"'}  # fmt: skip
    request, _ = read({**base, **around, **PART})
    assert (request.declared_type, request.file_name) == ("image/png", "frog.png")
    assert (request.part, request.parts, request.part_is_file) == (2, 3, True)


@each_listener
@pytest.mark.parametrize(
    ("part", "is_file"),
    [
        pytest.param({"http.multipart.content.type": "text/plain"}, False, id="text"),
        pytest.param({"http.multipart.content.type": "application/json"}, False, id="json"),
        pytest.param({}, False, id="no-type"),
        pytest.param({"http.multipart.content.type": "image/png"}, True, id="image-without-a-name"),
        pytest.param({"http.multipart.content.type": "application/octet-stream"}, True, id="bytes-without-a-name"),
        pytest.param({"http.multipart.content.type": "text/plain", "http.multipart.filename": "a"}, True, id="named"),
        pytest.param({"http.multipart.filename": ""}, True, id="empty-name"),
    ],
)
def test_a_form_field_is_told_from_a_file_by_its_name_or_its_type(
    base: dict[str, str], prefix: str, part: dict[str, str], is_file: bool
) -> None:
    common = {
        name: text
        for name, text in PART.items()
        if name not in ("http.multipart.filename", "http.multipart.content.type")
    }
    request, _ = read({**base, **common, **part})
    assert request.part_is_file is is_file


FORM = "multipart/form-data; boundary=x"
COVERED = "application/vnd.imagewarehouse.form"


@each_listener
@pytest.mark.parametrize(
    ("sent", "declared"),
    [
        pytest.param({"Content-Type": COVERED, "X-Form-Content-Type": FORM}, FORM, id="the-pair"),
        pytest.param({"Content-Type": COVERED, "x-form-content-type": FORM}, FORM, id="lower-case"),
        pytest.param({"Content-Type": COVERED.upper(), "X-Form-Content-Type": FORM}, FORM, id="type-in-capitals"),
        pytest.param({"Content-Type": COVERED}, COVERED, id="the-type-alone"),
        pytest.param({"Content-Type": COVERED, "X-Form-Content-Type": "image/png"}, COVERED, id="another-type-covered"),
        pytest.param({"Content-Type": "image/png", "X-Form-Content-Type": FORM}, "image/png", id="the-header-alone"),
        pytest.param({"Content-Type": FORM}, FORM, id="a-form-that-nobody-took-apart"),
    ],
)
def test_a_covered_form_is_known_by_exactly_its_pair(
    base: dict[str, str], prefix: str, sent: dict[str, str], declared: str
) -> None:
    attributes = {**base, **{prefix + name: text for name, text in sent.items()}}
    if base is HANDLED:
        attributes["mime.type"] = sent["Content-Type"]
    assert read(attributes)[0].declared_type == declared


def test_a_request_without_a_content_type_declares_nothing() -> None:
    request, _ = read({name: text for name, text in LISTENED.items() if name != "Content-Type"})
    assert request.declared_type is None


@pytest.mark.parametrize("number", ["", "two", "-1", "1.5", "9" * 5000], ids=lambda text: text[:6] or "empty")
def test_a_part_number_that_is_none_does_not_stop_the_request(number: str) -> None:
    attributes = {**LISTENED, **PART, "http.multipart.fragments.sequence.number": number}
    request, _ = read(attributes)
    assert request.size == 70


@each_listener
def test_only_a_request_with_a_context_is_awaited(base: dict[str, str], prefix: str) -> None:
    assert is_awaited(base.get) is (base is HANDLED)


def test_a_flowfile_package_cannot_claim_that_somebody_waits() -> None:
    # It would fail at once where a store is away, instead of being tried again.
    assert not is_awaited({**LISTENED, "http.context.identifier": "made up"}.get)


# --- spelling of headers ------------------------------------------------------------------------------------------


@each_listener
@pytest.mark.parametrize("spelling", ["Idempotency-Key", "idempotency-key"])
def test_a_header_is_found_as_registered_and_in_lower_case(base: dict[str, str], prefix: str, spelling: str) -> None:
    request, _ = read({**base, prefix + spelling: IDEMPOTENCY_KEY})
    assert request.idempotency_key == IDEMPOTENCY_KEY


@each_listener
@pytest.mark.parametrize("spelling", ["X-Access-Key", "x-access-key", "X-ACCESS-KEY", "X-access-key"])
def test_an_access_key_is_found_in_any_spelling(base: dict[str, str], prefix: str, spelling: str) -> None:
    request, blank = read({**base, prefix + spelling: KEY}, keys_wanted=True)
    assert request.access_key == KEY
    assert blank == {prefix + spelling: "checked"}


def test_the_prefixed_header_wins_behind_handle_http_request() -> None:
    # A sender of FlowFile packages chooses bare attributes; what HandleHttpRequest read stands under the prefix.
    found = Headers({**HANDLED, "http.headers.X-A": "sent", "X-A": "made up"}.get).value("X-A")
    assert found == "sent"


def test_an_empty_header_counts_as_absent() -> None:
    assert Headers({**LISTENED, "X-A": ""}.get).find("X-A") is None


# --- credentials --------------------------------------------------------------------------------------------------


@each_listener
def test_every_credential_is_blanked_not_only_the_one_used(base: dict[str, str], prefix: str) -> None:
    sent = {f"{prefix}X-Access-Key": KEY, f"{prefix}Authorization": "Bearer bob-0123456789abcdefg"}
    request, blank = read({**base, **sent}, keys_wanted=True)
    assert request.access_key == KEY
    left = {**base, **sent, **blank}
    assert set(left) == set(base) | set(sent)
    assert not any("0123456789" in text for name, text in left.items() if name in sent)


@each_listener
def test_a_credential_sent_in_two_spellings_is_blanked_in_both(base: dict[str, str], prefix: str) -> None:
    sent = {f"{prefix}X-Access-Key": KEY, f"{prefix}x-ACCESS-key": KEY}
    _, blank = read({**base, **sent}, keys_wanted=True)
    assert KEY not in {**sent, **blank}.values()


@each_listener
def test_credentials_are_not_looked_for_where_no_keys_are_set(base: dict[str, str], prefix: str) -> None:
    request, blank = read({**base, f"{prefix}X-Access-Key": KEY})
    assert (request.access_key, blank) == (None, {})


# --- file names ---------------------------------------------------------------------------------------------------


@each_listener
@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        pytest.param('attachment; filename="frog.png"', "frog.png", id="quoted"),
        pytest.param("attachment; filename=frog.png", "frog.png", id="bare"),
        pytest.param('attachment; filename="a \\"b\\".png"', 'a "b".png', id="escaped-quotes"),
        pytest.param("attachment; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.png", "naïve €.png", id="rfc-2231-utf-8"),
        pytest.param("attachment; filename*=iso-8859-1'en'%A3.png", "£.png", id="rfc-2231-latin-1"),
        pytest.param("attachment; FILENAME=frog.png", "frog.png", id="parameter-in-capitals"),
        pytest.param("attachment; filename*0=fr; filename*1=og.png", "frog.png", id="rfc-2231-continued"),
        pytest.param("attachment", None, id="none"),
        pytest.param('attachment; filename=""', None, id="empty"),
    ],
)
def test_a_file_name_is_read_from_content_disposition(
    base: dict[str, str], prefix: str, disposition: str, name: str | None
) -> None:
    request, _ = read({**base, f"{prefix}Content-Disposition": disposition})
    assert request.file_name == name


@pytest.mark.parametrize(
    "disposition",
    [
        pytest.param("attachment; filename*=undefined''frog.png", id="charset-that-refuses-everything"),
        pytest.param("attachment; filename*=idna''%ff.png", id="charset-that-cannot-replace"),
        pytest.param("attachment; filename*=hex''00.png", id="codec-that-is-no-charset"),
        pytest.param("attachment; filename*=klingon''frog.png", id="unknown-charset"),
        pytest.param("attachment; filename*0=a; filename*=b", id="continued-and-not"),
        pytest.param("attachment; filename*" + "9" * 5000 + "=a", id="continuation-of-5000-digits"),
        pytest.param(";;;=;\"'*=", id="line-noise"),
        pytest.param("attachment; filename=\udcff", id="bytes-that-are-no-text"),
    ],
)
def test_a_malformed_content_disposition_costs_the_name_at_most(disposition: str) -> None:
    request, _ = read({**LISTENED, "Content-Disposition": disposition})
    assert request.declared_type == "image/png"


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_content_disposition_stops_the_request(parameter: str, value: str) -> None:
    request, _ = read({**LISTENED, "Content-Disposition": f"attachment; filename{parameter}={value}"})
    assert request.size == 70


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        pytest.param(LISTENED, None, id="nifi-own-name-is-no-file-name"),
        pytest.param({**LISTENED, "filename": "frog.png"}, "frog.png", id="filename-header-of-ListenHTTP"),
        pytest.param({**HANDLED, "http.headers.filename": "frog.png"}, "frog.png", id="filename-header-handled"),
        pytest.param(HANDLED, None, id="nifi-own-name-is-no-file-name-when-handled"),
    ],
)
def test_a_file_name_may_come_from_a_header_but_never_from_nifi(attributes: dict[str, str], name: str | None) -> None:
    assert read(attributes)[0].file_name == name


# --- where it came from -------------------------------------------------------------------------------------------

PROXIES = parse_networks("10.0.0.0/8, 192.0.2.7, fd00::/8")


def source_ip(get: Callable[[str], str | None], trusted: Sequence[Network]) -> str | None:
    """Whom a listener's attributes name as the client."""
    return client_address(read_sender(get).peer, lambda: Headers(get).value("X-Forwarded-For"), trusted)


@each_listener
@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        pytest.param("203.0.113.9", None, "203.0.113.9", id="no-proxy"),
        pytest.param("203.0.113.9", "198.51.100.1", "203.0.113.9", id="stranger-who-claims-another-address"),
        pytest.param("10.0.0.1", "198.51.100.1", "198.51.100.1", id="one-proxy"),
        pytest.param("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1", id="two-proxies"),
        pytest.param("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1", id="client-claims-a-hop-before-itself"),
        pytest.param("10.0.0.1", "10.0.0.9, 198.51.100.1", "198.51.100.1", id="client-claims-a-trusted-hop"),
        pytest.param("10.0.0.1", None, "10.0.0.1", id="proxy-that-forwards-nothing"),
        pytest.param("10.0.0.1", "", "10.0.0.1", id="empty-header"),
        pytest.param("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3", id="only-trusted-hops"),
        pytest.param("10.0.0.1", "unknown", "10.0.0.1", id="obfuscated-client"),
        pytest.param("10.0.0.1", "198.51.100.1, garbage", "10.0.0.1", id="garbage-from-the-last-hop"),
        pytest.param("10.0.0.1", "garbage, 10.0.0.2", "10.0.0.2", id="garbage-before-a-trusted-hop"),
        pytest.param("10.0.0.1", ",,", "10.0.0.1", id="commas"),
        pytest.param("10.0.0.1", "198.51.100.1:4711", "198.51.100.1", id="ipv4-with-port"),
        pytest.param("10.0.0.1", "[2001:db8::5]:4711", "2001:db8::5", id="ipv6-with-port"),
        pytest.param("10.0.0.1", "[2001:db8::5]", "2001:db8::5", id="ipv6-in-brackets"),
        pytest.param("10.0.0.1", "2001:db8:0:0::5", "2001:db8::5", id="ipv6-long"),
        pytest.param("fd00::1", "2001:db8::5, fd00::2", "2001:db8::5", id="ipv6-proxies"),
        pytest.param("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1", id="proxy-on-a-dual-stack-socket"),
        pytest.param("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1", id="client-on-a-dual-stack-socket"),
        pytest.param("fe80::1%eth0", None, "fe80::1", id="link-local-with-zone"),
        pytest.param("192.0.2.7", "198.51.100.1", "198.51.100.1", id="single-trusted-address"),
        pytest.param("192.0.2.8", "198.51.100.1", "192.0.2.8", id="its-neighbour-is-not"),
        pytest.param("10.0.0.1", "999.1.1.1", "10.0.0.1", id="no-such-address"),
        pytest.param("10.0.0.1", "0x7f.1", "10.0.0.1", id="address-in-hex"),
        pytest.param("proxy.example", "198.51.100.1", None, id="peer-by-name"),
        pytest.param("", "198.51.100.1", None, id="no-peer"),
    ],
)
def test_the_source_is_the_last_hop_that_is_not_trusted(
    base: dict[str, str], prefix: str, peer: str, forwarded: str | None, expected: str | None
) -> None:
    where = "http.remote.addr" if base is HANDLED else "restlistener.remote.source.host"
    attributes = {**base, where: peer}
    if forwarded is not None:
        attributes[f"{prefix}X-Forwarded-For"] = forwarded
    assert source_ip(attributes.get, PROXIES) == expected


def test_without_trusted_proxies_a_forwarded_address_is_never_believed() -> None:
    assert source_ip({**LISTENED, "X-Forwarded-For": "198.51.100.1"}.get, ()) == "203.0.113.9"


def test_a_forwarded_header_in_lower_case_is_read() -> None:
    attributes = {**HANDLED, "http.remote.addr": "10.0.0.1", "http.headers.x-forwarded-for": "198.51.100.1"}
    assert source_ip(attributes.get, PROXIES) == "198.51.100.1"


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_is_forwarded_gives_an_address_or_nothing(peer: str, forwarded: str) -> None:
    found = source_ip({"http.remote.addr": peer, "X-Forwarded-For": forwarded}.get, PROXIES)
    assert found is None or parse_networks(found)


def test_a_flowfile_package_cannot_claim_another_source_than_the_listener_saw() -> None:
    # ListenHTTP unpacks FlowFile packages, attributes and all; what it adds itself is the truth.
    claimed = {**LISTENED, "http.remote.addr": "198.51.100.1", "http.method": "POST"}
    assert source_ip(claimed.get, PROXIES) == "203.0.113.9"


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "proxy.example", "10.0.0.0/8; 192.0.2.7", "10.0.0", "*", "10.0.0.1-10.0.0.9"]
)
def test_a_wrong_list_of_proxies_is_refused_by_its_setting(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_networks(text)
    assert caught.value.setting == "Trusted Proxies"


def test_a_network_may_be_named_by_any_address_in_it() -> None:
    assert parse_networks("10.1.2.3/8") == parse_networks("10.0.0.0/8")
    assert parse_networks(" , ") == parse_networks(None) == ()


# --- client certificates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "subject"),
    [
        pytest.param({**HANDLED, "http.subject.dn": "CN=alice, O=Zoo"}, "CN=alice, O=Zoo", id="HandleHttpRequest"),
        pytest.param({**LISTENED, "restlistener.remote.user.dn": "CN=alice"}, "CN=alice", id="ListenHTTP"),
        pytest.param(LISTENED, None, id="ListenHTTP-says-none"),
        pytest.param(HANDLED, None, id="HandleHttpRequest-says-nothing"),
        pytest.param({**HANDLED, "http.subject.dn": ""}, None, id="empty"),
    ],
)
def test_the_subject_is_what_the_listener_verified(attributes: dict[str, str], subject: str | None) -> None:
    assert read_sender(attributes.get).certificate == subject


def test_a_flowfile_package_cannot_claim_a_certificate() -> None:
    assert read_sender({**LISTENED, "http.subject.dn": "CN=admin"}.get).certificate is None


# --- what a record says of the sender -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param(HANDLED, id="HandleHttpRequest"),
        pytest.param({**HANDLED, "http.subject.dn": "CN=alice"}, id="HandleHttpRequest-with-a-certificate"),
        pytest.param(LISTENED, id="ListenHTTP"),
        pytest.param({**LISTENED, "restlistener.remote.user.dn": "CN=alice"}, id="ListenHTTP-with-a-certificate"),
        pytest.param({**LISTENED, "http.context.identifier": "forged"}, id="ListenHTTP-with-a-claim"),
        pytest.param({"http.context.identifier": "id"}, id="no-address"),
        pytest.param({"http.remote.addr": "203.0.113.9"}, id="nobody-waits"),
        pytest.param({}, id="nothing"),
    ],
)
def test_a_sender_is_written_and_read_back(attributes: dict[str, str]) -> None:
    sender = read_sender(attributes.get)
    assert read_sender(sender_attributes(sender).get) == sender
    assert sender.waits == is_awaited(attributes.get)
