"""Client addresses: which one a request came from, where proxies stand in front of the listener."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache

from imagewarehouse.errors import ConfigurationError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(peer: str | None, forwarded: Callable[[], str | None], trusted: Iterable[Network]) -> str | None:
    """The peer's address, or, where the peer is a trusted proxy, the last one that is not.

    Args: forwarded: gives the header X-Forwarded-For; it is read from its end, since only what trusted proxies appended can be
        believed, and only asked for where the peer is one of them.
    """
    address = _address(peer)
    if address is None:
        return None
    networks = list(trusted)
    if any(address in network for network in networks):
        for hop in reversed((forwarded() or "").split(",")):
            forwarded_address = _address(hop)
            if forwarded_address is None:
                break
            address = forwarded_address
            if not any(forwarded_address in network for network in networks):
                break
    return str(address)


def parse_networks(text: str | None, setting: str = "Trusted Proxies") -> tuple[Network, ...]:
    """Comma-separated addresses or CIDR networks. Raises ConfigurationError."""
    networks: list[Network] = []
    for item in (part.strip() for part in (text or "").split(",")):
        if item:
            try:
                networks.append(ipaddress.ip_network(item, strict=False))
            except ValueError as err:
                raise ConfigurationError(
                    setting, f"{item!r} is not an address or a network such as 10.0.0.0/8"
                ) from err
    return tuple(networks)


@lru_cache(maxsize=4096)  # the same clients come again and again
def _address(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    candidate = (text or "").strip()
    if candidate.startswith("["):
        candidate = candidate[1:].partition("]")[0]
    elif candidate.count(":") == 1:
        candidate = candidate.partition(":")[0]
    try:
        address = ipaddress.ip_address(candidate.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
