"""Forms: a multipart/form-data body as browsers and HTTP clients write it (RFC 7578), taken apart.

Pure and bounded. The structure is read strictly, by the library; names are read leniently, because a file name in an old
charset, or quoted by somebody's own rules, is no reason to refuse a picture.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import unquote_to_bytes

import multipart

from imagewarehouse.errors import ConfigurationError, MalformedMultipart
from imagewarehouse.text import one_line, printable

FORM_TYPE = "multipart/form-data"
# NiFi's listeners make a FlowFile of each part of what they know as a form. A front may send a form under this type, and the
# type that its client sent in the header: then the form arrives whole.
COVERED_TYPE = "application/vnd.imagewarehouse.form"
TYPE_HEADER = "X-Form-Content-Type"

MAX_PARTS = 1_000
MAX_HEADERS = 16  # of a part; RFC 7578 knows three
MAX_HEADER = 4_224  # bytes of one line
MAX_FIELDS = 16  # text fields that are kept
MAX_FIELD_NAME = 64  # characters
MAX_FIELD = 500  # characters of a text that is kept

UNDECLARED = ("application/octet-stream", "image/*")  # what clients write where they do not know the type
_MOST_PARAMETERS = 16  # of a Content-Disposition
# A quoted text ends at the quote that a semicolon or the end follows: clients quote by rules of their own, and the second byte
# of a Shift-JIS or GBK character may be a backslash.
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"]|(?<=\\)")*?)"(?=\s*(?:;|$))|([^;]*))')
# What browsers know; Python has codecs that take very long, or are none of text.
_CODECS = frozenset((
    "utf-8", "ascii", *(f"iso8859-{n}" for n in (*range(1, 11), 13, 14, 15, 16)), *(f"cp{n}" for n in range(1250, 1259)),
    "cp866", "cp874", "koi8-r", "koi8-u", "mac-roman", "shift_jis", "cp932", "euc_jp", "iso2022_jp", "gb2312", "gbk",
    "gb18030", "big5", "big5hkscs", "euc_kr", "cp949",
))  # fmt: skip
_GUESS = "cp1252"  # keeps what each byte was, where it is another charset


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form. `declared_type`: its Content-Type as sent."""

    content: bytes = field(repr=False)
    file_name: str | None = None
    declared_type: str | None = None


@dataclass(frozen=True, slots=True)
class FormField:
    """A text field. `charsets`: what its text may be in, the likeliest first."""

    name: str
    content: bytes = field(repr=False)
    charsets: tuple[str, ...] = ()

    def text(self, most: int) -> str:
        """At most so many characters of it, on one line."""
        raw = self.content[: 4 * most + 4]  # no charset takes more for a character
        return printable(_decode(raw, self.charsets, whole=len(raw) == len(self.content))[:most])


@dataclass(frozen=True, slots=True)
class Form:
    """Its files and its text fields, each in the order of the form. File inputs that were left empty are neither."""

    files: tuple[FormFile, ...]
    fields: tuple[FormField, ...]


def is_file(file_name: str | None, declared_type: str | None) -> bool:
    """Whether a part is a file: a client that gives it no name says so by its type. `file_name` may be empty."""
    kind = media_type(declared_type)
    return file_name is not None or kind in UNDECLARED or kind.startswith("image/")


def media_type(declared_type: str | None) -> str:
    """Without parameters, lower case; empty where nothing is declared."""
    return (declared_type or "").partition(";")[0].strip().lower()


def parse_form(body: bytes, content_type: str) -> Form:
    """Take a whole form apart. `content_type`: with its boundary.

    Raises: MalformedMultipart: no form, an incomplete one, more parts or longer headers than are read, or a form in it.
    """
    _, parameters = multipart.parse_options_header(content_type)
    boundary = parameters.get("boundary")
    if not boundary:
        raise MalformedMultipart("the Content-Type of the form names no boundary")
    try:
        parts = _split(body, boundary)
    except (multipart.MultipartError, ValueError) as err:
        raise MalformedMultipart(_reason(err)) from err
    if not parts:
        raise MalformedMultipart("the form has no parts")
    return _sorted(parts, parameters.get("charset"))


def kept_fields(form: Form, names: Sequence[str]) -> str | None:
    """JSON of the named text fields that have a text, in the order of `names`; None where there is none.

    Of fields with the same name the first one counts.
    """
    texts: dict[str, str] = {}
    for name in names:
        found = (one.text(MAX_FIELD) for one in form.fields if one.name == name)
        text = next((text for text in found if text), None)
        if text:
            texts[name] = text
    return json.dumps(texts, ensure_ascii=False) if texts else None


def parse_field_names(text: str, setting: str = "Keep Fields") -> tuple[str, ...]:
    """Names of text fields, separated by commas. Raises ConfigurationError."""
    names = tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    if len(names) > MAX_FIELDS:
        raise ConfigurationError(setting, f"expected at most {MAX_FIELDS} names, received {len(names)}")
    for name in names:
        if len(name) > MAX_FIELD_NAME or name != printable(name):
            raise ConfigurationError(setting, f"{name[:80]!r} is no name of at most {MAX_FIELD_NAME} characters")
    return names


# What the library says, as a sender can use it.
_REASONS = {
    "Unexpected end": "it ends in front of its last boundary: it was cut off, or its Content-Type names another boundary",
    "segment count": f"it has more than {MAX_PARTS} parts",
    "header count": f"a part has more than {MAX_HEADERS} headers",
    "header length": f"a header of a part has more than {MAX_HEADER} bytes",
    "Missing Content-Disposition": "a part has no Content-Disposition",
    "Invalid Content-Disposition": "the Content-Disposition of a part is not form-data with a name",
    "Malformed segment header": "a header of a part has no name or no colon",
}


def _reason(err: Exception) -> str:
    text = one_line(err, 120)
    plain = next((plain for start, plain in _REASONS.items() if start in text), text)
    return f"the form cannot be read: {plain}"


# --- parts --------------------------------------------------------------------------------------------------------

_Part = tuple[Mapping[str, bytes], bytes]  # headers by their names in lower case, and the content


def _split(body: bytes, boundary: str) -> list[_Part]:
    """Raises multipart.MultipartError."""
    parts: list[_Part] = []
    # Latin-1: every byte of a header is a character, and can be had back. Not the library's strict mode: in a body that is
    # given to it as a whole that only refuses parts whose name it cannot read.
    parser = multipart.PushMultipartParser(
        boundary, content_length=len(body), max_header_size=MAX_HEADER, max_header_count=MAX_HEADERS,
        max_segment_count=MAX_PARTS, header_charset="latin-1",
    )  # fmt: skip
    headers: Mapping[str, bytes] = {}
    content = b""
    with parser:
        for event in parser.parse(body):
            if isinstance(event, multipart.MultipartSegment):
                headers = {name.lower(): value.encode("latin-1") for name, value in reversed(event.headerlist)}
                content = b""
            elif event is None:
                parts.append((headers, content))
            else:
                content = content + event if content else bytes(event)
    return parts


def _sorted(parts: Sequence[_Part], charset: str | None) -> Form:
    charsets = tuple(filter(None, (_charset_field(parts), charset)))
    files, fields = [], []
    for headers, content in parts:
        declared = headers.get("content-type", b"").decode("latin-1").strip() or None
        if media_type(declared).startswith("multipart/"):
            raise MalformedMultipart("a part of the form is multipart itself; send each file as a part of its own")
        disposition = _decode(headers.get("content-disposition", b""), charsets)
        parameters = _parameters(disposition)
        file_name = _file_name(parameters)
        if not is_file(file_name, declared):
            own = multipart.parse_options_header(declared or "")[1].get("charset")
            fields.append(
                FormField(_unquoted(parameters.get("name", "")), content, tuple(filter(None, (own, *charsets))))
            )
        elif content or file_name:  # else a file input that was left empty
            files.append(FormFile(content, file_name or None, declared))
    return Form(tuple(files), tuple(fields))


def _charset_field(parts: Iterable[_Part]) -> str | None:
    """What a browser writes into a hidden field of this name (RFC 7578, 4.6)."""
    for headers, content in parts:
        disposition = headers.get("content-disposition", b"")
        if b"_charset_" in disposition and _parameters(disposition.decode("latin-1")).get("name") == "_charset_":
            return content[:40].decode("latin-1").strip()
    return None


def _parameters(disposition: str) -> dict[str, str]:
    """Parameters as they are written, without the quotes around them; the first of a name counts."""
    found: dict[str, str] = {}
    for match in islice(_PARAMETER.finditer(disposition), _MOST_PARAMETERS):
        quoted, bare = match[2], match[3]
        found.setdefault(match[1].lower(), quoted if quoted is not None else bare.strip().strip('"'))
    return found


def _file_name(parameters: Mapping[str, str]) -> str | None:
    """The extended name where it can be read, else the plain one; empty: the part is a file without a name."""
    extended, plain = parameters.get("filename*"), parameters.get("filename")
    if extended is not None:
        charset, _, rest = extended.partition("'")
        text = _decoded(unquote_to_bytes(rest.partition("'")[2]), charset)
        if text:
            return text
    if plain is None:
        return None if extended is None else ""
    return _unquoted(plain)


def _unquoted(text: str) -> str:
    """Browsers write %22 for a quote, other clients a backslash in front of it."""
    unquoted: str = multipart.content_disposition_unquote(f'"{text}"')
    return unquoted


# --- charsets -----------------------------------------------------------------------------------------------------


def _decode(raw: bytes, charsets: Sequence[str], *, whole: bool = True) -> str:
    """UTF-8 where it is that, since hardly any other text is; else what was declared; else each byte by itself.

    `whole`: False where its last character may be cut.
    """
    for charset in ("utf-8", *charsets):
        text = _decoded(raw, charset, whole=whole)
        if text is not None:
            return text
    return raw.decode(_GUESS, "replace")


def _decoded(raw: bytes, charset: str, *, whole: bool = True) -> str | None:
    try:
        codec = codecs.lookup(charset)
        if codec.name not in _CODECS:
            return None
        # Web pages that say latin-1 or ASCII mean windows-1252 (WHATWG), which has characters for more of the bytes.
        name = _GUESS if codec.name in ("iso8859-1", "ascii") else codec.name
        return codecs.getincrementaldecoder(name)("strict").decode(raw, whole)
    except (LookupError, ValueError):  # UnicodeError is a ValueError; so is a name with a zero byte in it
        return None
