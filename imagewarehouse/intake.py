"""Intake rules: whether a request is an image that this warehouse takes.

Pure: what the listener saw and the body go in, an `Accepted` or an `ImageRejected` comes out. Every test stands before
the step it protects: nothing is read before the size is known, nothing is decoded before type and structure agree.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from imagewarehouse.access import SEND, AccessKeys
from imagewarehouse.errors import (
    ConfigurationError,
    MalformedBase64,
    MalformedJson,
    MethodNotAllowed,
    NoBody,
    NotAFile,
    NotAnImage,
    TooLarge,
    TooManyParts,
    TypeMismatch,
    TypeMissing,
    TypeNotAccepted,
    UriNotAllowed,
)
from imagewarehouse.forms import FORM_TYPE, UNDECLARED, Form, FormFile, media_type
from imagewarehouse.images.decoding import Decoded, ImageFacts, InputSpec, check_and_decode
from imagewarehouse.images.formats import DEFAULT_MEDIA_TYPES, ImageFormat, by_file_name, by_media_type, sniff
from imagewarehouse.limits import Limits
from imagewarehouse.text import one_line

JSON_TYPE = "application/json"
MAX_JSON_SIGNS = 1000  # commas, colons and brackets in a JSON body
MAX_NAME = 255  # characters; also what file systems and most databases take


@dataclass(frozen=True, slots=True)
class Siblings:
    """The parts of a form that its listener took apart, as far as they came in one package."""

    files: int  # how many of them are files
    whole: bool  # nothing of the form is missing
    first: bool  # this part is the first of them


@dataclass(frozen=True, slots=True)
class Request:
    """What the listener knows before the body is read. None: the listener does not say."""

    size: int
    declared_type: str | None = None  # Content-Type of the body or the part, as sent
    method: str | None = None
    file_name: str | None = None
    access_key: str | None = None
    idempotency_key: str | None = None
    part: int | None = None  # 1, 2, ... of a multipart body
    parts: int | None = None
    part_is_file: bool = True
    siblings: Siblings | None = None
    synchronous: bool = False  # somebody waits for one answer
    in_package: bool = False  # of one request several images, or none, may become


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What is taken. `media_types` are canonical names."""

    limits: Limits = field(default_factory=Limits)
    keys: AccessKeys = field(default_factory=lambda: AccessKeys({}, {}))
    media_types: tuple[str, ...] = DEFAULT_MEDIA_TYPES
    max_form: int = 32 << 20  # bytes of a form that comes whole
    keep_fields: tuple[str, ...] = ()  # text fields of a form that are recorded


@dataclass(frozen=True, slots=True)
class Accepted:
    """An image that may be stored and classified. `unwrapped`: the body was JSON around it."""

    image: bytes = field(repr=False)
    image_id: str
    declared_type: str | None  # None: of a part that declares none
    file_name: str | None
    facts: ImageFacts
    unwrapped: bool
    decoded: Decoded | None = None


def check_access(request: Request, rules: IntakeRules) -> str | None:
    """Method and access key; gives the name of the key. Before this, nothing else of the request may be believed.

    Raises: MethodNotAllowed, AccessKeyMissing, AccessKeyWrong, NotAllowed.
    """
    if request.method is not None and request.method != "POST":
        raise MethodNotAllowed(f"{request.method[:16]} is not allowed here, only POST")
    return rules.keys.check(request.access_key, SEND)


def is_nothing(request: Request) -> bool:
    """Whether it is a part of a form that nothing becomes of: a text field, or a file input that was left empty."""
    if request.part is None or not request.in_package:
        return False
    if request.part_is_file and (request.size or request.file_name):
        return False
    siblings = request.siblings
    if not request.synchronous or siblings is None:
        return not request.synchronous
    # Somebody waits: the file is what is answered, and where there is none, one part for all of them.
    return siblings.files > 0 or not siblings.whole or not siblings.first


def is_form(request: Request) -> bool:
    """Whether the body is a form that nobody has taken apart."""
    return request.part is None and media_type(request.declared_type) == FORM_TYPE


def check_request(request: Request, rules: IntakeRules) -> None:
    """Everything else that can be judged before the body is read.

    Raises: TooManyParts, NotAFile, NoBody, TooLarge, TypeMissing, TypeNotAccepted.
    """
    if request.synchronous and request.parts is not None and request.parts > 1:
        if request.siblings is None:
            raise TooManyParts(f"{request.parts} parts in the body, one image a request here; /images takes many")
        if request.siblings.files > 1:
            raise _too_many(request.siblings.files)
    if not request.part_is_file:
        raise _no_file()
    if request.size == 0:
        raise NoBody("the request has no body")
    if is_form(request):
        if request.size > rules.max_form:
            raise TooLarge(f"a form of {request.size} bytes, at most {rules.max_form} are allowed")
        return
    ceiling = rules.limits.max_bytes
    most = ceiling * 4 // 3 + 64 * 1024  # base64 takes four bytes for three
    if request.size > most:  # whatever it is: of a body that was not kept nothing else can be judged
        raise TooLarge(f"{request.size} bytes, at most {ceiling} are allowed")
    declared = declared_media_type(request)
    if request.size > ceiling and declared != JSON_TYPE:
        raise TooLarge(f"{request.size} bytes, at most {ceiling} are allowed")
    if declared is not None and declared != JSON_TYPE:
        _accepted_format(declared, rules)


def files_of(request: Request, form: Form) -> Sequence[FormFile]:
    """The files that images become of. Raises: NotAFile, TooManyParts."""
    if not form.files:
        raise _no_file()
    if len(form.files) > 1:
        if request.synchronous:
            raise _too_many(len(form.files))
        if not request.in_package:
            raise TooManyParts(
                f"{len(form.files)} files in the form, but FlowFile Packages is false: one image a FlowFile"
            )
    return form.files


def _no_file() -> NotAFile:
    return NotAFile("the form has no file; send the picture as a file, that is, with a file name")


def _too_many(files: int) -> TooManyParts:
    return TooManyParts(f"{files} files in the form, one image a request here; /images takes many")


def check_content(
    request: Request,
    content: bytes,
    rules: IntakeRules,
    fetch: Callable[[str, int], bytes] | None = None,
    spec: InputSpec | None = None,
) -> Accepted:
    """Judge the body itself: declared type, signature and decoder have to agree, and the picture has to decode.

    Args: fetch: reads an `image_uri`, given it and the most bytes to read, and refuses what is not allowed; None switches
        image_uri off. spec: what a model takes, where the same decode shall serve it.
    Raises: any ImageRejected; UriUnavailable.
    """
    declared = declared_media_type(request)
    file_name = clean_file_name(request.file_name)
    if declared is None:
        image_format = _sniff(content)
        _accepted_format(image_format.media_types[0], rules)
        said = media_type(request.declared_type) or None
        return _accept(content, image_format, said, file_name, rules, spec, unwrapped=False)
    if declared != JSON_TYPE:
        declared_format = _accepted_format(declared, rules)
        image_format = _sniff(content)
        _agree(declared, declared_format, image_format, rules)
        return _accept(content, image_format, declared, file_name, rules, spec, unwrapped=False)

    envelope = _parse_json(content)
    file_name = clean_file_name(envelope.get("file_name")) or file_name
    inner_type = _inner_type(envelope, file_name)
    if inner_type is not None:
        _accepted_format(inner_type, rules)
    image = _unwrap(envelope, rules.limits.max_bytes, fetch)
    if len(image) > rules.limits.max_bytes:
        raise TooLarge(f"{len(image)} bytes, at most {rules.limits.max_bytes} are allowed")
    if not image:
        raise NoBody("the image that the JSON holds or names is empty")
    image_format = _sniff(image)
    # A type that nobody declared is the content's own, but it has to be on the list all the same.
    _agree(
        inner_type or image_format.media_types[0],
        _accepted_format(inner_type or image_format.media_types[0], rules),
        image_format,
        rules,
    )
    return _accept(image, image_format, inner_type or JSON_TYPE, file_name, rules, spec, unwrapped=True)


def declared_media_type(request: Request) -> str | None:
    """The declared type without parameters, lower case; None of a part of a form that declares none, or not which.

    It is the browser that writes the type of a part, from tables of its own, and what it does not know it sends as
    application/octet-stream. The type of a raw body is written by whoever sends the image: there the suffix of a file name
    stands in where none is declared, and a type that says nothing is refused.

    Raises: TypeMissing.
    """
    declared = media_type(request.declared_type)
    if request.part is not None:
        return None if declared in ("", FORM_TYPE, *UNDECLARED) else declared
    if declared:
        return declared
    by_name = by_file_name(request.file_name or "")
    if by_name is None:
        raise TypeMissing(
            "no Content-Type, and no file name with a known suffix; send for example Content-Type: image/jpeg"
        )
    return by_name.media_types[0]


def clean_file_name(name: str | None) -> str | None:
    """A client's file name made harmless to show: no folders, no control characters, at most 255 characters.

    It is recorded and displayed; no path is ever built from it.
    """
    if not name:
        return None
    name = re.split(r"[/\\]", name)[-1]
    name = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode("utf-8"))
    name = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")).strip()
    return name[:MAX_NAME].strip() or None


def parse_media_types(text: str, setting: str = "Accepted Types") -> tuple[str, ...]:
    """A comma-separated list of media types this warehouse knows, canonical. Raises ConfigurationError."""
    media_types = []
    for item in (part.strip().lower() for part in text.split(",")):
        if not item:
            continue
        image_format = by_media_type(item)
        if image_format is None:
            raise ConfigurationError(setting, f"{item!r} is not known here")
        media_types.append(image_format.media_types[0])
    if not media_types:
        raise ConfigurationError(setting, "expected at least one media type")
    return tuple(dict.fromkeys(media_types))


def _accepted_format(declared: str, rules: IntakeRules) -> ImageFormat:
    image_format = by_media_type(declared)
    if image_format is None or image_format.media_types[0] not in rules.media_types:
        hint = "; curl sends this unless told -H 'Content-Type: image/jpeg'" if "urlencoded" in declared else ""
        raise TypeNotAccepted(f"{declared[:80]} is not accepted, only {', '.join(rules.media_types)}{hint}")
    return image_format


def _sniff(content: bytes) -> ImageFormat:
    image_format = sniff(content)
    if image_format is None:
        raise NotAnImage(f"the content is {_describe(content)}, not an image of a known format")
    return image_format


def _agree(declared_type: str, declared: ImageFormat, detected: ImageFormat, rules: IntakeRules) -> None:
    if declared_type == "image/heif" and detected.name == "AVIF":
        # The name of the container, however its picture is coded; browsers say it of any .heif.
        declared = _accepted_format(detected.media_types[0], rules)
    if declared is not detected:
        raise TypeMismatch(f"declared {declared_type}, but the content is {detected.name}")


def _accept(
    image: bytes,
    image_format: ImageFormat,
    declared_type: str | None,
    file_name: str | None,
    rules: IntakeRules,
    spec: InputSpec | None,
    *,
    unwrapped: bool,
) -> Accepted:
    facts, decoded = check_and_decode(image, image_format, rules.limits, spec)
    return Accepted(image, hashlib.sha256(image).hexdigest(), declared_type, file_name, facts, unwrapped, decoded)


# --- the JSON envelope --------------------------------------------------------------------------------------------


def _parse_json(content: bytes) -> dict[str, str]:
    """The envelope's texts. An envelope is one long text and a handful of short ones: anything else is refused before
    it costs twenty times its length as Python objects."""
    if sum(content.count(sign) for sign in (b",", b":", b"[", b"{")) > MAX_JSON_SIGNS:
        raise MalformedJson("the JSON holds more than an image and its name")
    try:
        envelope = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise MalformedJson(f"the body is declared JSON, but is not: {one_line(err, 120)}") from err
    if not isinstance(envelope, dict):
        raise MalformedJson('expected an object such as {"image": "<base64>"}')
    texts = {key: envelope[key] for key in ("image", "image_uri", "type", "file_name") if envelope.get(key) is not None}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise MalformedJson(f'"{key}": expected text')
    if ("image" in texts) == ("image_uri" in texts):
        raise MalformedJson('expected exactly one of "image" (base64) and "image_uri"')
    return texts


def _inner_type(envelope: dict[str, str], file_name: str | None) -> str | None:
    """What the envelope declares its image to be: by type, by data URI or by the file name's suffix."""
    declared = envelope.get("type", "")
    head, _, _ = envelope.get("image", "")[:256].partition(",")
    if not declared and head.startswith("data:"):
        declared = head.removeprefix("data:")
    by_name = by_file_name(file_name or "")
    return declared.partition(";")[0].strip().lower() or (by_name.media_types[0] if by_name else None)


def _unwrap(envelope: dict[str, str], max_bytes: int, fetch: Callable[[str, int], bytes] | None) -> bytes:
    if "image_uri" in envelope:
        uri = envelope["image_uri"]
        if fetch is None:
            raise UriNotAllowed("image_uri is not allowed here: intake.image.uris names no prefix")
        return fetch(uri, max_bytes)
    value = envelope["image"]
    if value.startswith("data:"):
        head, comma, value = value.partition(",")
        if not comma or not head.endswith(";base64"):
            raise MalformedBase64('"image": a data URI has to look like data:image/png;base64,...')
    value = re.sub(r"[ \t\r\n]+", "", value)
    try:
        if len(value) % 4 or -1 < value.find("=") < len(value) - 2:  # Python 3.10 is not strict about padding
            raise ValueError("its padding is wrong")
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as err:
        raise MalformedBase64(f'"image": {err}') from err


_LOOKS_LIKE = (
    (b"%PDF", "a PDF"), (b"PK\x03\x04", "a ZIP archive"), (b"\x7fELF", "an ELF program"), (b"MZ", "a Windows program"),
    (b"\x1f\x8b", "gzip data"), (b"%!PS", "PostScript"), (b"\xc5\xd0\xd3\xc6", "an EPS file"), (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x01\x00", "an icon"), (b"<svg", "SVG"), (b"<!doctype html", "HTML"), (b"<html", "HTML"), (b"<?xml", "XML"),
    (b"{", "JSON"), (b"[", "JSON"),
)  # fmt: skip


def _describe(content: bytes) -> str:
    head = content[:512].lstrip().lower()
    for prefix, name in _LOOKS_LIKE:
        if content.startswith(prefix) or head.startswith(prefix.lower()):
            return "SVG" if name == "XML" and b"<svg" in head else name
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in content[:512])
    return "text" if printable == len(content[:512]) else "unknown data"
