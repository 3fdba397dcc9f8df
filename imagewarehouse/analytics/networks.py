"""Networks among the sources of a question, as the addresses in them.

SQL engines have no common way to tell whether an address is in a network, so the addresses of the period are looked at here.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from imagewarehouse.analytics.asking import Request, ask
from imagewarehouse.analytics.catalog import MOST_ADDRESSES
from imagewarehouse.analytics.engines import Engine
from imagewarehouse.errors import BadParameter


def with_addresses(engine: Engine, request: Request) -> Request:
    """The same request, with the addresses that its networks stand for. Raises BadParameter, AnalyticsUnavailable."""
    networks = [ip_network(source) for source in request.filters.sources if "/" in source]
    if not networks:
        return request
    others = replace(request.filters, sources=())
    period = replace(request.period, since=request.period.earlier().since)  # figures are compared with those before
    found = ask(engine, "addresses", replace(request, filters=others), period)
    inside = tuple(text for (text,) in found if any(_is_in(text, network) for network in networks))
    if len(inside) > MOST_ADDRESSES:
        raise BadParameter(f"source: more than {MOST_ADDRESSES:,} addresses; ask for smaller networks, or less time")
    return replace(request, filters=replace(request.filters, addresses=inside))


def _is_in(text: str, network: object) -> bool:
    try:
        return ip_address(text) in network  # type: ignore[operator]
    except ValueError:  # written by somebody else
        return False
