"""Where to send and how."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from imagewarehouse.errors import ConfigurationError

_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(\s*;[\x20-\x7e]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to send and how. Raises ConfigurationError naming the option, never echoing the key."""

    url: str
    access_key: str | None = field(repr=False)
    tls: ssl.SSLContext | None  # None: plain HTTP
    connections: int
    retries: int  # attempts after the first
    timeout_s: float  # one attempt, from connecting to the last byte of the answer
    skip: int
    limit: int | None
    media_type: str | None  # declared for every image instead of what its name or its bytes say

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            parts.port  # noqa: B018  # raises where the port is no number
        except ValueError as err:
            raise ConfigurationError("--url", f"{self.url!r} is not a URL: {err}") from err
        if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\x00-\x20\x7f]", self.url):
            raise ConfigurationError("--url", f"expected http://host:port/classify, received {self.url!r}")
        if parts.username is not None:
            raise ConfigurationError("--url", "a password in a URL ends up in logs; use IMAGEWAREHOUSE_ACCESS_KEY")
        if self.access_key is not None and not re.fullmatch(r"[\x21-\x7e]+", self.access_key):
            raise ConfigurationError("--access-key", "empty, or with characters that no header can carry")
        if self.media_type is not None and not _MEDIA_TYPE.fullmatch(self.media_type):
            raise ConfigurationError(
                "--type", f"expected a media type such as image/jpeg, received {self.media_type!r}"
            )

    @property
    def answers_later(self) -> bool:
        """/images acknowledges before the flow has run, so there is no class in its answer."""
        return urlsplit(self.url).path.rstrip("/").endswith("/images")

    @property
    def exposes_key(self) -> bool:
        """Whether the access key would cross a network unencrypted."""
        host = urlsplit(self.url).hostname or ""
        is_local = host in ("localhost", "::1") or host.startswith("127.")
        return self.access_key is not None and self.tls is None and not is_local


def tls_context(url: str, cacert: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Load the TLS files; None for plain HTTP. Raises ConfigurationError naming the option."""
    if not url.lower().startswith("https:"):
        for option, value in (("--cacert", cacert), ("--cert", cert), ("--key", key)):
            if value is not None:
                raise ConfigurationError(option, f"only for https, but the address is {url}")
        return None
    try:
        context = ssl.create_default_context(cafile=cacert)
    except OSError as err:  # ssl.SSLError is one
        raise ConfigurationError("--cacert", f"{cacert}: {err.strerror or 'holds no certificate in PEM form'}") from err

    def no_password() -> str:
        # OpenSSL would ask on the terminal, and a scheduled job would hang there.
        raise ConfigurationError("--key", f"{key or cert} is encrypted; give an unencrypted one")

    if cert is not None:
        try:
            context.load_cert_chain(cert, key, password=no_password)
        except OSError as err:
            problem = f"{cert}: not a certificate with its private key in PEM form ({err.strerror or err})"
            raise ConfigurationError("--cert", problem) from err
    elif key is not None:
        raise ConfigurationError("--key", "goes with --cert")
    return context
