"""Access keys: who may POST, and under which name the request is recorded."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from imagewarehouse.errors import AccessKeyMissing, AccessKeyWrong, ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
MIN_KEY_LENGTH = 16  # shorter ones are guessed, not stolen


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """Keys by name. Only digests are kept, so a dump of the process shows no key. Empty: everybody may POST."""

    digests: Mapping[str, bytes]

    @classmethod
    def parse(cls, text: str | None, setting: str = "Access Keys") -> AccessKeys:
        """Read `name:key` pairs separated by commas, spaces or new lines. Raises ConfigurationError, never echoing a key."""
        digests: dict[str, bytes] = {}
        for number, pair in enumerate(re.split(r"[,\s]+", (text or "").strip()), start=1):
            if not pair:
                continue
            name, colon, key = pair.partition(":")
            if not colon or not _NAME.fullmatch(name):
                raise ConfigurationError(setting, f"entry {number} is not name:key (name: letters, digits and . _ @ -)")
            if len(key) < MIN_KEY_LENGTH:
                raise ConfigurationError(setting, f"the key of {name} is shorter than {MIN_KEY_LENGTH} characters")
            if name in digests:
                raise ConfigurationError(setting, f"{name} has two keys")
            digests[name] = _digest(key)
        return cls(digests)

    def check(self, offered: str | None) -> str | None:
        """The name that `offered` belongs to; None when no keys are configured.

        Every key is compared, in constant time. Raises AccessKeyMissing, AccessKeyWrong.
        """
        if not self.digests:
            return None
        if not offered:
            raise AccessKeyMissing("this service needs an access key: send it as X-Access-Key or Authorization: Bearer")
        digest, owner = _digest(offered), None
        for name, known in self.digests.items():
            if hmac.compare_digest(digest, known):
                owner = name
        if owner is None:
            raise AccessKeyWrong("the access key is not known here")
        return owner


def offered_key(x_access_key: str | None, authorization: str | None) -> str | None:
    """The key a client sent, from either header."""
    if x_access_key:
        return x_access_key.strip()
    scheme, _, value = (authorization or "").strip().partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
