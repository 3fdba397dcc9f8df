"""Where to send and how."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from imagewarehouse.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send. `tls` None: plain HTTP."""

    url: str
    access_key: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

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


@dataclass(frozen=True, slots=True)
class Plan:
    """How to send."""

    connections: int = 8
    retries: int = 8  # attempts after the first
    timeout_s: float = 60.0  # one attempt, from connecting to the last byte of the answer
    skip: int = 0
    limit: int | None = None
    media_type: str | None = None  # declared for every image instead of what its name or its bytes say


def parse_target(
    url: str,
    access_key: str | None = None,
    cacert: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
) -> Target:
    """Check the address and load the TLS files. Raises ConfigurationError naming the option, never echoing the key."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises where the port is no number
    except ValueError as err:
        raise ConfigurationError("--url", f"{url!r} is not a URL: {err}") from err
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\x00-\x20\x7f]", url):
        raise ConfigurationError("--url", f"expected http://host:port/classify, received {url!r}")
    if parts.username is not None:
        raise ConfigurationError("--url", "a password in a URL ends up in logs; use IMAGEWAREHOUSE_ACCESS_KEY")
    if access_key is not None:
        access_key = access_key.strip()
        if not re.fullmatch(r"[\x21-\x7e]+", access_key):
            raise ConfigurationError("--access-key", "empty, or with characters that no header can carry")
    if parts.scheme == "https":
        return Target(url, access_key, _tls_context(cacert, cert, key))
    for option, value in (("--cacert", cacert), ("--cert", cert), ("--key", key)):
        if value is not None:
            raise ConfigurationError(option, f"only for https, but the address is {url}")
    return Target(url, access_key)


def _tls_context(cacert: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
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
