"""Reads the attributes of NiFi's HTTP listeners as one `Request`.

HandleHttpRequest puts every header under `http.headers.<Name>`; ListenHTTP puts the allowed ones under their bare name.
Both keep the client's spelling of a header's name, and both describe the parts of a multipart body alike. Attributes
are asked for by name because inside NiFi each one costs a round trip to the JVM.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from email.message import Message

from imagewarehouse.access import offered_key
from imagewarehouse.forms import COVERED_TYPE, FORM_TYPE, TYPE_HEADER, is_file, media_type
from imagewarehouse.intake import Request, Siblings
from imagewarehouse.nifi.packages import MEDIA_TYPE, Packed
from imagewarehouse.steps.event import Sender
from imagewarehouse.text import printable

Get = Callable[[str], "str | None"]

CONTEXT_ID = "http.context.identifier"  # set by HandleHttpRequest only: somebody waits for an answer
CREDENTIAL_HEADERS = ("X-Access-Key", "Authorization")
RECEIVED = "http.received"  # when the standalone runner's listener took it
GIVEN_ID = "http.given.id"  # what that listener has told a client who brought no key
UNKEPT_SIZE = "http.unkept.size"  # bytes of a body over the limit, of which a listener kept nothing else
_PART, _PARTS = "http.multipart.fragments.sequence.number", "http.multipart.fragments.total.number"
_PART_NAME, _PART_TYPE = "http.multipart.filename", "http.multipart.content.type"
CHECKED = "checked"  # what takes the place of a credential


class Headers:
    """Request headers by name, whatever listener took them and however the client spelled them."""

    def __init__(self, get: Get, all_attributes: Callable[[], Mapping[str, str]] | None = None) -> None:
        self._get = get
        self._all = all_attributes
        self._prefixes = ("http.headers.", "") if get("http.method") else ("",)

    def find(self, name: str) -> tuple[str, str] | None:
        """(attribute name, value) of the header spelled `Name` or `name`, or None."""
        for spelling in (name, name.lower()):
            for prefix in self._prefixes:
                value = self._get(prefix + spelling)
                if value:
                    return prefix + spelling, value
        return None

    def find_all(self, name: str) -> dict[str, str]:
        """Value by attribute name, of every spelling; the usual ones first. Costs a look at all attributes."""
        usual = self.find(name)
        wanted = {(prefix + name).lower() for prefix in self._prefixes}
        attributes = self._all().items() if self._all is not None else ()
        return dict([usual] if usual else []) | {a: value for a, value in attributes if a.lower() in wanted and value}

    def value(self, name: str) -> str | None:
        header = self.find(name)
        return header[1] if header else None


def read_request(
    get: Get, size: int, *, keys_wanted: bool, all_attributes: Callable[[], Mapping[str, str]] | None = None
) -> tuple[Request, dict[str, str]]:
    """The request, and attributes that blank out the credentials it carried.

    Without the latter an access key would travel on to every later step and into NiFi's provenance.
    """
    headers = Headers(get, all_attributes)
    part = _number(get(_PART))
    part_name = get(_PART_NAME) if part else None
    declared = get(_PART_TYPE) if part else get("mime.type") or headers.value("Content-Type")
    if (
        not part and declared == MEDIA_TYPE
    ):  # of a package that is not read: PackageFlowFile replaced what the client said
        declared = headers.value("Content-Type") or declared
    if not part and media_type(declared) == COVERED_TYPE:
        covered = headers.value(TYPE_HEADER)
        declared = covered if media_type(covered) == FORM_TYPE else declared
    if declared is not None:  # it becomes a column; a header may hold bytes that are no text, or what a terminal obeys
        declared = printable(declared.encode("utf-8", "replace").decode("utf-8"))
    key, blank = None, {}
    if keys_wanted:
        headers_by_name = [headers.find_all(name) for name in CREDENTIAL_HEADERS]
        key = offered_key(*(next(iter(values.values()), None) for values in headers_by_name))
        blank = {attribute: CHECKED for values in headers_by_name for attribute in values}
    request = Request(
        size=size or _number(get(UNKEPT_SIZE), digits=18) or 0,
        declared_type=declared,
        method=get("http.method"),
        file_name=part_name if part else _file_name(get, headers),
        access_key=key,
        idempotency_key=headers.value("Idempotency-Key"),
        part=part,
        parts=_number(get(_PARTS)) if part else None,
        part_is_file=part is None or is_file(part_name, declared),
        synchronous=is_awaited(get),
    )
    return request, blank


def siblings(parts: Sequence[Packed]) -> list[Siblings | None]:
    """What came along of the form that each FlowFile of a package is a part of; None: of none that somebody waits for."""
    if not any(_PART in part.attributes for part in parts):
        return [None] * len(parts)
    # A client waits under one id for all parts of its form.
    forms = [
        part.attributes[CONTEXT_ID] if _PART in part.attributes and is_awaited(part.attributes.get) else None
        for part in parts
    ]
    here, files, seen = Counter(forms), Counter[str | None](), set[str | None]()
    for form, part in zip(forms, parts, strict=True):
        if form is not None:
            name, declared = part.attributes.get(_PART_NAME), part.attributes.get(_PART_TYPE)
            files[form] += is_file(name, declared) and bool(name or len(part.content))
    found: list[Siblings | None] = []
    for form, part in zip(forms, parts, strict=True):
        whole = here[form] == _number(part.attributes.get(_PARTS))
        found.append(None if form is None else Siblings(files[form], whole, form not in seen))
        seen.add(form)
    return found


def is_awaited(get: Get) -> bool:
    """Whether a client waits for this FlowFile's answer."""
    return bool(get(CONTEXT_ID)) and not get("restlistener.remote.source.host")  # else out of a FlowFile package


def read_sender(get: Get) -> Sender:
    """Who sent it, as the listener says."""
    # ListenHTTP's own attributes first: a FlowFile package sent to it may bring some that look like HandleHttpRequest's.
    host = get("restlistener.remote.source.host")
    subject = get("restlistener.remote.user.dn") or get("http.subject.dn")
    return Sender(
        (get(CONTEXT_ID) or None) if not host else None,
        host or get("http.remote.addr") or None,
        subject if subject and subject != "none" else None,
    )


def sender_attributes(sender: Sender) -> dict[str, str]:
    """The attributes that `read_sender` reads."""
    names = (CONTEXT_ID, "http.remote.addr" if sender.waits else "restlistener.remote.source.host", "http.subject.dn")
    values = (sender.context, sender.peer, sender.certificate)
    return {name: value for name, value in zip(names, values, strict=True) if value}


def _file_name(get: Get, headers: Headers) -> str | None:
    disposition = headers.value("Content-Disposition")
    if disposition:
        message = Message()
        message["Content-Disposition"] = disposition
        try:
            name = message.get_filename()  # understands RFC 2231's filename*=UTF-8''...
        except (LookupError, TypeError, ValueError):  # malformed; the picture may be fine all the same
            name = None
        if name:
            return name
    name = headers.value("filename") if get("http.method") else get("filename")
    # NiFi names a FlowFile after its own uuid when nobody else does.
    return None if name is None or name == get("uuid") else name


def _number(text: str | None, digits: int = 9) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) <= digits else None  # longer ones are made up
