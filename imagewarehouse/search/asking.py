"""Searches as programs and people write them: names and texts, of a URL or a command line."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from imagewarehouse.addresses import parse_networks
from imagewarehouse.errors import BadParameter, ConfigurationError
from imagewarehouse.parameters import image_id, listed
from imagewarehouse.search.query import MOST_CHOICES, Search
from imagewarehouse.units import parse_duration

_NUMBER = re.compile(r"\d{0,3}(\.\d{0,12})?")
_WHOLE = re.compile(r"\d{1,4}")
_ZONE_BEHIND_A_SPACE = re.compile(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)")  # a + in a URL is a space

# By the names of parameters, those of `Search`. Each may be given several times. A class, a model's name or a user may have a
# comma in it; of the others, several may be in one text with commas between.
_WHOLE_TEXTS = {"class": "classes", "model": "models", "user": "users"}
_LISTS = {
    "status": "statuses",
    "error": "errors",
    "format": "formats",
    "facet": "facets",
    "image": "images",
    "source": "sources",
}
ONCE = ("q", "since", "until", "min_confidence", "max_confidence", "like", "limit", "cursor")
NAMES = ("q", *_WHOLE_TEXTS, *_LISTS, *ONCE[1:])


@dataclass(frozen=True, slots=True)
class Asked:
    """`like`: the image_id of the picture that is to be looked like. Whoever answers finds out what that looks like."""

    search: Search
    like: str | None = None


def asked(parameters: Iterable[tuple[str, str]], now: datetime) -> Asked:
    """Read parameters by their names; one without a text counts as not given, as forms send them.

    Args: now: what `7d` is before. Raises: BadParameter, whose text begins with the name.
    """
    given: defaultdict[str, list[str]] = defaultdict(list)
    for name, text in parameters:
        if name not in NAMES:
            raise BadParameter(f"{name[:40]}: is no parameter of a search; those are {', '.join(NAMES)}")
        if text.strip():
            given[name].append(text)
    for name in ONCE:
        if len(given[name]) > 1:
            raise BadParameter(f"{name}: is given {len(given[name])} times; once, please")
    values: dict[str, Any] = {field: tuple(given[name]) for name, field in _WHOLE_TEXTS.items()}
    for name, field in _LISTS.items():
        values[field] = tuple(part for text in given[name] for part in listed(text))
    for name, field in (*_WHOLE_TEXTS.items(), *_LISTS.items()):
        if len(values[field]) > MOST_CHOICES:
            raise BadParameter(f"{name}: expected at most {MOST_CHOICES}, received {len(values[field])}")
    values["images"] = tuple(_image_id("image", text) for text in values["images"])
    try:
        values["sources"] = parse_networks(",".join(values["sources"]), "source")
    except ConfigurationError as err:
        raise BadParameter(str(err)) from err
    once = {name: given[name][0] for name in ONCE if given[name]}
    values |= {field: read(name, once[name]) for name, (field, read) in _readers(now).items() if name in once}
    like = _image_id("like", once["like"]) if "like" in once else None
    try:
        return Asked(Search(**values), like)
    except ValueError as err:
        raise BadParameter(str(err).replace("words: ", "q: ", 1)) from err


def moment(text: str, now: datetime) -> datetime:
    """A time of ISO 8601, in UTC where it has no zone, or how long ago: `7d`, `12h`. Raises ValueError."""
    seconds = parse_duration(text)
    try:
        if seconds is not None:
            return now - timedelta(seconds=seconds)
        time = datetime.fromisoformat(_ZONE_BEHIND_A_SPACE.sub(r"\1+\2", text.strip()).replace("Z", "+00:00"))
        return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)
    except (ValueError, OverflowError) as err:
        expected = "2026-11-01, 2026-11-01T12:30:00Z, or how long ago, 7d"
        raise ValueError(f"expected a time such as {expected}, received {text[:40]!r}") from err


def _readers(now: datetime) -> Mapping[str, tuple[str, Callable[[str, str], Any]]]:
    """By parameter: the field of `Search`, and what reads the text."""

    def time(name: str, text: str) -> datetime:
        try:
            return moment(text, now)
        except ValueError as err:
            raise BadParameter(f"{name}: {err}") from err

    return {
        "q": ("words", lambda name, text: text),
        "since": ("since", time),
        "until": ("until", time),
        "min_confidence": ("min_confidence", _number),
        "max_confidence": ("max_confidence", _number),
        "limit": ("limit", _whole),
        "cursor": ("cursor", lambda name, text: text),
    }


def _image_id(name: str, text: str) -> str:
    try:
        return image_id(text)
    except BadParameter as err:
        raise BadParameter(f"{name}: {err}") from err


def _number(name: str, text: str) -> float:
    if not _NUMBER.fullmatch(text.strip()) or text.strip() in ("", ".") or not text.isascii():
        raise BadParameter(f"{name}: expected 0.0-1.0, received {text[:40]!r}")
    return float(text)


def _whole(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text.strip()) or not text.isascii():
        raise BadParameter(f"{name}: expected a whole number, received {text[:40]!r}")
    return int(text)
