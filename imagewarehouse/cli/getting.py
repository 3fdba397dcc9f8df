"""What the commands share that read a warehouse: where its rows and its pictures are, and how the store is reached."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagewarehouse.cli.rows import ask, query, read_file
from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable
from imagewarehouse.places import Known, Lookup
from imagewarehouse.units import parse_duration

if TYPE_CHECKING:
    from imagewarehouse.getting.rows import Query
    from imagewarehouse.objects.location import Location
    from imagewarehouse.objects.settings import StoreSettings

_ASKED_AT_ONCE = 5000  # image_ids: 325 KB

DATA = click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True,
                    envvar="IMAGEWAREHOUSE_DATA", help="Data folder of the service, running or not.")  # fmt: skip
DATABASE = click.option(
    "--database",
    type=click.Path(path_type=Path, dir_okay=False),
    help="DuckDB file with the rows instead, as rows.database names it; NiFi may be writing to it.",
)
_STORE = click.option("--store", metavar="URI", envvar="IMAGEWAREHOUSE_STORE_URI", show_envvar=True,
                      help="Where the pictures are, as store.uri says it: with the login that rows do not have, or where they "
                           "have moved.  [default: where each row says]")  # fmt: skip
SETTINGS = click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
                        help="How the store is reached, as the service is told: a setting of store.*, such as "
                             "store.endpoint=URL; may be repeated. Each is also taken from the environment, "
                             "IMAGEWAREHOUSE_STORE_ENDPOINT and so on; keep secrets there.")  # fmt: skip

# The parameters of the flow by the field of StoreSettings.
_TEXTS = {
    "store.endpoint": "endpoint",
    "store.region": "region",
    "store.access.key": "access_key",
    "store.secret.key": "secret_key",
    "store.session.token": "session_token",
    "store.ca.file": "ca_file",
}
_TIMES = {"store.connect.timeout": "connect_s", "store.read.timeout": "answer_s"}
_PATH_STYLE = "store.path.style"


def warehouse_options(command: Callable[..., None]) -> Callable[..., None]:
    """--data, --database, --store and --set."""
    for option in (SETTINGS, _STORE, DATABASE, DATA):
        command = option(command)
    return command


def query_of(data: Path, database: Path | None) -> Query:
    """What answers SELECTs: the running service or the file, as `imagewarehouse rows` chooses."""
    return partial(query, data) if database is None else partial(read_file, database, option="--database")


def places_of(data: Path, database: Path | None) -> Lookup:
    """What knows the places of packed pictures: the running service, or the file beside the rows."""
    from imagewarehouse.rows.locations import ReadLocations, locations_of

    if database is not None:
        return ReadLocations(locations_of(database))
    return _OfService(data / "control.sock", ReadLocations(locations_of(data / "rows.duckdb")))


def store_of(store: str | None) -> Location | None:
    """Raises ConfigurationError."""
    from imagewarehouse.objects.location import Location

    return Location.parse(store, "--store") if store else None


def settings_of(given: Iterable[str]) -> StoreSettings:
    """The settings of --set and of the environment. Raises ConfigurationError."""
    from imagewarehouse.flows.definition import environment_name
    from imagewarehouse.objects.settings import StoreSettings

    known = (*_TEXTS, *_TIMES, _PATH_STYLE)
    values = {name: os.environ[environment_name(name)] for name in known if os.environ.get(environment_name(name))}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name.strip() not in known:
            raise ConfigurationError("--set", f"expected NAME=VALUE with one of {', '.join(known)}, received {name!r}")
        values[name.strip()] = value
    fields: dict[str, Any] = {_TEXTS[name]: value for name, value in values.items() if name in _TEXTS}
    fields |= {_TIMES[name]: _seconds(name, value) for name, value in values.items() if name in _TIMES}
    if _PATH_STYLE in values:
        text = values[_PATH_STYLE].lower()
        if text not in ("true", "false"):
            raise ConfigurationError(_PATH_STYLE, f"expected true or false, received {text!r}")
        fields["path_style"] = text == "true"
    return StoreSettings(**fields)


def _seconds(name: str, text: str) -> float:
    seconds = parse_duration(text)
    if seconds is None or not 0.1 <= seconds <= 600:
        raise ConfigurationError(name, f"expected 100 ms to 10 min, received {text!r}")
    return seconds


class _OfService:
    """A `Lookup` that asks the service, where one runs: its rows, and with them the table of places, may be in Kudu."""

    def __init__(self, socket: Path, beside: Lookup) -> None:
        self._socket = socket
        self._beside = beside

    def find(self, image_ids: Iterable[str]) -> dict[str, Known]:
        from datetime import datetime

        import orjson

        wanted = list(image_ids)
        found: dict[str, Known] = {}
        if not self._socket.exists():
            return self._beside.find(wanted)
        for start in range(0, len(wanted), _ASKED_AT_ONCE):
            body = "\n".join(wanted[start : start + _ASKED_AT_ONCE]).encode()
            try:
                status, answer = asyncio.run(ask(self._socket, "/locations", body))
            except (ConnectionError, asyncio.TimeoutError):  # left by a run that was killed
                return self._beside.find(wanted)
            if status in (404, 409):  # of an older release, or its rows are not written here
                return self._beside.find(wanted)
            if status != 200:
                raise RowStoreUnavailable(answer.decode("utf-8", "replace"))
            for image_id, (uri, moment) in orjson.loads(answer)["known"].items():
                time = None if moment is None else datetime.fromisoformat(moment.replace("Z", "+00:00"))
                found[image_id] = Known(uri, time)
        return found
