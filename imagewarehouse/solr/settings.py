"""How a Solr is reached: its nodes, or the ZooKeeper that knows them, logins and time limits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from imagewarehouse.errors import ConfigurationError

Params = Sequence[tuple[str, str]]
"""Of a request; a name may be there several times."""
ZOOKEEPER = "zookeeper"  # as the scheme of an address
_COLLECTION = re.compile(r"(?!\.{1,2}$|admin$)[\w.-]+")
_HOSTS = re.compile(r"[\w.-]+(?::\d{1,5})?(?:,[\w.-]+(?::\d{1,5})?)*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where nodes are: `urls`, each up to /solr, or `zookeeper` (host:port,host:port/chroot).

    `collection`: empty where the address does not say it.
    """

    urls: tuple[str, ...] = ()
    zookeeper: str = ""
    collection: str = ""


@dataclass(frozen=True, slots=True)
class SolrSettings:
    """Raises ConfigurationError on construction. Times in seconds; None waits for ever.

    `ca_file`: PEM of the authorities that Solr's certificate may be signed by, instead of those that requests brings.
    `certificate`, `key`: PEM files of the client's own; `key` may be empty where the certificate's file has it.
    `connections`: to one node at once. `kerberos`: by requests-kerberos and the ticket of the process.
    """

    address: Address
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    certificate: str = ""
    key: str = ""
    kerberos: bool = False
    connect_s: float | None = 10.0
    answer_s: float | None = 10.0
    connections: int = 5

    def __post_init__(self) -> None:
        if self.password and not self.user:
            raise ConfigurationError("Basic Username", "is empty, and there is a password")
        if self.kerberos and self.user:
            raise ConfigurationError("Kerberos", "is true, and there is a Basic Username; one of them")
        if self.connections < 1:
            raise ConfigurationError("Solr Maximum Connections Per Host", "expected at least 1")
        if self.key and not self.certificate:
            raise ConfigurationError("Client Key", "is set, and Client Certificate is not")
        for name, path in (
            ("Trusted Certificates", self.ca_file),
            ("Client Certificate", self.certificate),
            ("Client Key", self.key),
        ):
            if path and not Path(path).is_file():
                raise ConfigurationError(name, f"{path} is not there")


def parse_address(text: str, setting: str, *, cloud: bool = False) -> Address:
    """Read http://host:8983/solr/images, several of them separated by commas, or zookeeper://host:2181,host:2181/solr/images.

    Args: cloud: the text is ZooKeeper's hosts, without scheme and collection, as in PutSolrContentStream of NiFi 1.x.
    Raises: ConfigurationError naming `setting`.
    """
    text = text.strip()
    if cloud:
        return Address(zookeeper=_hosts(text.removeprefix(f"{ZOOKEEPER}://").rstrip("/"), setting))
    if text.startswith(f"{ZOOKEEPER}://"):
        hosts, _, collection = text.removeprefix(f"{ZOOKEEPER}://").rstrip("/").rpartition("/")
        if not hosts:
            hosts, collection = collection, ""
        return Address(zookeeper=_hosts(hosts, setting), collection=collection and checked_name(collection, setting))
    parsed = [_url(part.strip(), setting) for part in text.split(",") if part.strip()]
    if not parsed:
        raise ConfigurationError(setting, "is empty")
    collections = {collection for _, collection in parsed}
    if len(collections) > 1:
        raise ConfigurationError(setting, f"names several collections: {', '.join(sorted(collections))}")
    return Address(urls=tuple(base for base, _ in parsed), collection=collections.pop())


def checked_name(name: str, setting: str) -> str:
    """The name of a collection. Raises ConfigurationError: it would lead elsewhere."""
    if not _COLLECTION.fullmatch(name):
        raise ConfigurationError(setting, f"expected the name of a collection, received {name[:80]!r}")
    return name


def checked_path(path: str, setting: str) -> str:
    """The path of a handler below the collection, such as /update/json/docs. Raises ConfigurationError likewise."""
    parts = path.strip("/").split("/")
    if not all(re.fullmatch(r"(?!\.{1,2}$)[\w.-]+", part) for part in parts) or parts[0] == "admin":
        raise ConfigurationError(setting, f"expected a path such as /update, received {path[:80]!r}")
    return "/".join(parts)


def _url(text: str, setting: str) -> tuple[str, str]:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as err:
        raise ConfigurationError(setting, f"{text[:200]!r} is no URL: {err}") from err
    if url.username is not None or url.password is not None:
        raise ConfigurationError(setting, "has a login in it; it belongs into Basic Username and Basic Password")
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        raise ConfigurationError(setting, f"expected http(s)://host:port/solr/collection, received {text[:200]!r}")
    if url.query or url.fragment:
        raise ConfigurationError(setting, "has parameters in it; they are properties of the processor")
    path = url.path.rstrip("/")
    base, _, last = path.rpartition("/")
    server = f"{url.scheme}://{url.netloc}"
    if last in ("solr", ""):
        return server + path, ""
    return server + base, checked_name(unquote(last), setting)


def _hosts(text: str, setting: str) -> str:
    hosts, slash, chroot = text.partition("/")
    if not _HOSTS.fullmatch(hosts.replace(" ", "")) or not re.fullmatch(r"[\w./-]*", chroot):
        raise ConfigurationError(setting, f"expected host:2181,host:2181/solr, received {text[:200]!r}")
    return hosts.replace(" ", "") + slash + chroot
