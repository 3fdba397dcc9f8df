"""Parameters of a URL, read alike wherever figures and searches are asked for (docs/search.md#in-urls)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from urllib.parse import parse_qsl

from imagewarehouse.errors import BadParameter

_MOST = 800  # some may have a hundred values each
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


def parameters_of(query: str) -> list[tuple[str, str]]:
    """Names and texts; without those that are blank, as forms send what nobody filled in. Raises BadParameter."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST, errors="strict")
    except UnicodeDecodeError:
        raise BadParameter("query: expected percent-encoded UTF-8") from None
    except ValueError:
        raise BadParameter(f"query: expected at most {_MOST} parameters") from None
    return [(name, text) for name, text in pairs if text.strip()]


def listed(text: str) -> Iterator[str]:
    """The values of a text with commas between them."""
    return filter(None, (part.strip() for part in text.split(",")))


def image_id(text: str) -> str:
    """Raises BadParameter, without the parameter's name."""
    found = text.strip().lower()
    if not _IMAGE_ID.fullmatch(found):
        raise BadParameter(f"expected an image_id, 64 digits of 0-9 and a-f, received {text[:80]!r}")
    return found


def network(text: str) -> str:
    """An address or a network (with a slash) as rows write addresses. Raises BadParameter, without the parameter's name."""
    try:
        found = ip_network(text.strip(), strict=False)
    except ValueError:
        raise BadParameter(f"expected an address or a network such as 10.0.0.0/8, received {text[:80]!r}") from None
    return str(found.network_address if found.prefixlen == found.max_prefixlen else found)
