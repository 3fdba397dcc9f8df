"""Access keys: who may send and who may read, and under which name a request is recorded."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from imagewarehouse.errors import AccessKeyMissing, AccessKeyWrong, ConfigurationError, NotAllowed

SEND, READ, ADMIN = "send", "read", "admin"
SCOPES = (SEND, READ, ADMIN)
MIN_KEY_LENGTH = 16  # shorter ones are guessed, not stolen

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_OF_A_PLAIN_KEY = frozenset({SEND})
# As if scopes were written behind the key: there they would be part of it, and nobody would know that key.
_MISPLACED = re.compile(rf":((?:{'|'.join(SCOPES)})(?:\+(?:{'|'.join(SCOPES)}))*)$")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who a key belongs to. `name` is None where no keys are configured: then everybody may do everything."""

    name: str | None
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        return scope in self.scopes or ADMIN in self.scopes

    @property
    def reads_only(self) -> str | None:
        """The `source_user` whose rows and images alone this holder may read: its own. None: those of everybody."""
        return None if self.may(READ) else self.name


_EVERYBODY = Holder(None, frozenset(SCOPES))


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """Keys by name. Only digests are kept, so a dump of the process shows no key. Empty: everybody may send and read.

    What a key may do are its scopes. `send`: POST images, and read what was sent with this key. `read`: read everything.
    `admin`: everything.
    """

    digests: Mapping[str, bytes]
    scopes: Mapping[str, frozenset[str]]  # by name

    @classmethod
    def parse(cls, text: str | None, setting: str = "Access Keys") -> AccessKeys:
        """Read the pairs `name:key` or `name/scope+scope:key`, separated by commas, spaces or new lines.

        A pair without scopes may send. The scopes are with the name, because a key may have any character, colons too.
        Raises ConfigurationError, never echoing a key.
        """
        digests: dict[str, bytes] = {}
        scopes: dict[str, frozenset[str]] = {}
        for number, pair in enumerate(re.split(r"[,\s]+", (text or "").strip()), start=1):
            if not pair:
                continue
            owner, colon, key = pair.partition(":")
            name, slash, listed = owner.partition("/")
            if not colon or not _NAME.fullmatch(name):
                expected = "name:key or name/scopes:key (name: letters, digits and . _ @ -)"
                raise ConfigurationError(setting, f"entry {number} is not {expected}")
            if slash and not set(listed.split("+")) <= set(SCOPES):
                expected = f"{', '.join(SCOPES)}, several joined by +, as in {name}/{READ}+{SEND}:key"
                raise ConfigurationError(setting, f"the scopes of {name} are not of these: {expected}")
            if misplaced := _MISPLACED.search(key):
                raise ConfigurationError(
                    setting, f"scopes are with the name, not behind the key: {name}/{misplaced[1]}:key"
                )
            if len(key) < MIN_KEY_LENGTH:
                raise ConfigurationError(setting, f"the key of {name} is shorter than {MIN_KEY_LENGTH} characters")
            if name in digests:
                raise ConfigurationError(setting, f"{name} has two keys")
            digests[name] = _digest(key)
            scopes[name] = frozenset(listed.split("+")) if slash else _OF_A_PLAIN_KEY
        return cls(digests, scopes)

    def check(self, offered: str | None, scope: str) -> str | None:
        """The name that `offered` belongs to, where that key has the scope; None when no keys are configured.

        Raises AccessKeyMissing, AccessKeyWrong, NotAllowed.
        """
        holder = self.holder(offered)
        if not holder.may(scope):
            raise NotAllowed(
                f"the access key of {holder.name} may not {scope}; it may {' and '.join(sorted(holder.scopes))}"
            )
        return holder.name

    def holder(self, offered: str | None) -> Holder:
        """Who `offered` belongs to, for what depends on more than a scope: reading what one has sent.

        Every key is compared, in constant time. Raises AccessKeyMissing, AccessKeyWrong.
        """
        if not self.digests:
            return _EVERYBODY
        if not offered:
            raise AccessKeyMissing("this service needs an access key: send it as X-Access-Key or Authorization: Bearer")
        digest, owner = _digest(offered), None
        for name, known in self.digests.items():
            if hmac.compare_digest(digest, known):
                owner = name
        if owner is None:
            raise AccessKeyWrong("the access key is not known here")
        return Holder(owner, self.scopes[owner])


def offered_key(x_access_key: str | None, authorization: str | None) -> str | None:
    """The key a client sent, from either header."""
    if x_access_key:
        return x_access_key.strip()
    scheme, _, value = (authorization or "").strip().partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
