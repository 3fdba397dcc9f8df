"""Object locations: an operator's URI, split into its public part and its secrets.

`s3://KEY:SECRET@bucket/images?region=eu-central-1` holds a login and options. Neither belongs into rows, logs and
answers, and neither is in the middle of an object's own URI: that is `s3://bucket/images/ab/abcd.jpg`. So a row alone
does not say how its object is reached; the location does, which opens every object below it.

Source: the URIs that Apache Arrow's `FileSystem.from_uri` takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import pyarrow as pa
from pyarrow import fs

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.text import one_line

_URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<options>\?[^#]*)?")
_NOT_IN_A_URI = re.compile(r"[?#\\\x00-\x20\x7f]")
_NOT_IN_A_KEY = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LATE_AT = re.compile(r"[^:]*://[^/?#@]*[/?#].*@")
_LIKE_A_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]+:|(s3|gs|gcs|abfss?|hdfs|viewfs|s?webhdfs|hbase|file)/+[^/]*[:@]", re.IGNORECASE
)
_CONNECT_S, _ANSWER_S = 3, 5  # of an S3 store, for each of two tries
_PATH_IS_ALL = ("file", "hdfs", "viewfs", "webhdfs", "swebhdfs", "hbase")  # their authority is a machine, if anything
_AZURE = ("abfs", "abfss")
_AZURE_HOST = ".core.windows.net"


@dataclass(frozen=True, slots=True)
class Address:
    """A location taken apart, escapes undone, for the client of its store. Not to be shown: it has the login."""

    scheme: str
    user: str
    password: str = field(repr=False)
    host: str
    """Machine and port, or bucket."""
    path: str
    """Without a slash around it."""
    options: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Location:
    """A folder, or a prefix in a bucket or container.

    `uri` is public: without user, secret and options, and without a slash at its end. Two locations are equal where
    everything about them is.
    """

    uri: str
    _opened_by: str = field(repr=False)  # with all that Arrow is to know

    @classmethod
    def parse(cls, text: str, setting: str = "Store URI") -> Location:
        """A setting as a location. Text without a scheme is a folder, relative to the working one.

        Nothing is opened yet. Raises ConfigurationError: it is no URI, or it names no folder, bucket or container.
        """
        if "://" not in text and _LIKE_A_URI.match(text):  # else the login of a mistyped URI became a folder's name
            raise ConfigurationError(
                setting, f"expected a folder or a URI such as s3://bucket/images, received {text[:4]}..."
            )
        uri_text = text if "://" in text else Path(text).expanduser().absolute().as_uri()
        if not uri_text.startswith("file:") and _LATE_AT.match(uri_text):
            # A slash in a secret ends the address too early, and the rest of the secret would be a path.
            hint = "in a login write / as %2F, ? as %3F, # as %23, @ as %40"
            raise ConfigurationError(setting, f"{uri_text.partition('://')[0]}://***: {hint}")
        match = _URI.fullmatch(uri_text)
        if match is None:
            hint = "" if uri_text[:1].islower() else "; schemes are lower case"
            raise ConfigurationError(setting, f"{public(uri_text)!r} is not a URI such as s3://bucket/images{hint}")
        if match["scheme"] == "file" and match["options"]:
            raise ConfigurationError(
                setting, f"{public(uri_text)!r}: a folder has no options; write ? as %3F in its name"
            )
        scheme, path, options = match["scheme"], match["path"].rstrip("/"), match["options"] or ""
        user, _, host = match["authority"].rpartition("@")
        if scheme in _AZURE:  # before the colon stands a container or an account, which are part of the address
            user = user.partition(":")[0]
            shown = f"{user}@{host}" if user else host
            whole = bool(path) or bool(user and host.partition(":")[0].endswith(_AZURE_HOST))
        else:
            shown, whole = host, bool(path if scheme in _PATH_IS_ALL else host)
        if not whole:
            raise ConfigurationError(setting, f"{public(uri_text)!r} names no {_wanted(scheme)}")
        uri = f"{scheme}://{shown}{path}"
        return cls(uri, f"{scheme}://{match['authority']}{path}{options}")

    def __str__(self) -> str:
        return self.uri

    def child(self, key: str) -> str:
        """The public URI of the object of that key. Keys are relative paths of letters, digits, `.`, `_`, `-`, `/`."""
        return f"{self.uri}/{key}"

    def key_of(self, uri: str) -> str | None:
        """The path of an object below here, relative and decoded; None for a URI that is not below."""
        if not uri.startswith(self.uri + "/"):
            return None
        encoded = uri[len(self.uri) + 1 :]
        key = unquote(encoded)
        # As it is opened, escapes undone; and once more, for a store that undoes them again.
        outside = any({"", ".", ".."} & set(path.split("/")) for path in (key, unquote(key)))
        return None if outside or _NOT_IN_A_URI.search(encoded) or _NOT_IN_A_KEY.search(key) else key

    @property
    def scheme(self) -> str:
        return self.uri.partition(":")[0]

    def address(self) -> Address:
        match = _URI.fullmatch(self._opened_by)
        assert match is not None  # parse() has matched it
        login, _, host = match["authority"].rpartition("@")
        user, _, password = login.partition(":")
        options = dict(parse_qsl((match["options"] or "")[1:], keep_blank_values=True))
        path = unquote(match["path"]).strip("/")
        return Address(match["scheme"], unquote(user), unquote(password), unquote(host), path, options)

    def open(self, setting: str = "Store URI") -> tuple[fs.FileSystem, str]:
        """(file system, path of this location in it). May ask the store where its bucket is. Raises ConfigurationError."""
        try:
            filesystem, root = fs.FileSystem.from_uri(self._opened_by)
            if isinstance(filesystem, fs.S3FileSystem):
                filesystem = _with_timeouts(filesystem)
        except (pa.ArrowException, ValueError, OSError) as err:
            raise ConfigurationError(setting, f"{self.uri}: {self.hide(one_line(err))}") from err
        return filesystem, root.rstrip("/")

    def hide(self, message: str) -> str:
        """A message of the store without the secrets of this location: stores repeat the URI of a request."""
        hidden = message.replace(self._opened_by, self.uri)
        for secret in self._secrets():
            hidden = hidden.replace(secret, "***")
        return hidden

    def _secrets(self) -> list[str]:
        match = _URI.fullmatch(self._opened_by)
        authority, options = (match["authority"], match["options"] or "") if match else ("", "")
        password = authority.rpartition("@")[0].partition(":")[2]
        values = [value for pair in options[1:].split("&") if "secret" in pair for value in pair.split("=", 1)[1:]]
        return [text for secret in (password, *values) if len(secret) > 3 for text in {secret, unquote(secret)}]


def _wanted(scheme: str) -> str:
    return "folder" if scheme in _PATH_IS_ALL else "container" if scheme in _AZURE else "bucket"


def public(text: str) -> str:
    """A text without what looks like a login or options of a URI, safe to show. It need not be a valid URI."""
    scheme, separator, remainder = text.partition("://")
    if not separator:
        return text[:200]
    remainder = re.sub(r"[?#].*", "", remainder.rpartition("@")[2])
    address, slash, path = remainder.partition("/")
    _, colon, port = address.partition(":")
    if colon and not port.isdecimal():  # KEY:SECRET without an address behind it
        address = "***"
    return f"{scheme}://{address}{slash}{path}"[:200]


def _with_timeouts(filesystem: fs.S3FileSystem) -> fs.S3FileSystem:
    """The same store with settings that a URI cannot hold: time-outs of seconds instead of minutes, and one request instead
    of three for a small object."""
    _, (settings,) = filesystem.__reduce__()
    times = {"connect_timeout": _CONNECT_S, "request_timeout": _ANSWER_S}
    retry = fs.AwsStandardS3RetryStrategy(max_attempts=2)
    return fs.S3FileSystem(**settings | times | {"allow_delayed_open": True}, retry_strategy=retry)
