"""`imagewarehouse dashboard`: the page and its figures beside a NiFi, over whatever engine has its rows."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagewarehouse import __version__, resources
from imagewarehouse.access import AccessKeys
from imagewarehouse.cli.getting import places_of, settings_of, store_of, warehouse_options
from imagewarehouse.errors import ConfigurationError, WarehouseError

if TYPE_CHECKING:
    from imagewarehouse.analytics.engines import Engine
    from imagewarehouse.objects.reading import Images, Place, StoredImages
    from imagewarehouse.objects.settings import StoreSettings
    from imagewarehouse.places import Lookup
    from imagewarehouse.standalone.pictures import Pictures

_ENGINES = ("--kudu", "--impala", "--trino")


@click.command()
@warehouse_options
@click.option("--kudu", metavar="MASTERS", help="Rows in this Kudu (HOST:PORT,...), which is scanned: good to about a million "
                                                "rows in a period.")  # fmt: skip
@click.option(
    "--impala", metavar="HOST:PORT", help="Rows in Kudu, asked through this Impala; also Spark's HiveServer2."
)
@click.option("--trino", metavar="URL", help="Rows in Kudu, asked through this Trino: http://HOST:8080.")
@click.option("--table", help="The table there: NAME, DATABASE.NAME for Impala, CATALOG.SCHEMA.NAME for Trino."
                              "  [default: image_events]")  # fmt: skip
@click.option("--dialect", type=click.Choice(["impala", "spark"]), default="impala", show_default=True,
              help="What answers at --impala.")  # fmt: skip
@click.option("--user", help="User of Impala or Trino. Its password: IMAGEWAREHOUSE_DASHBOARD_PASSWORD.")
@click.option("--auth", help="How Impala logs users in: NOSASL, PLAIN, LDAP or GSSAPI (Kerberos).  [default: LDAP with --user; "
                             "else NOSASL, for spark PLAIN]")  # fmt: skip
@click.option("--tls", is_flag=True, help="Reach Impala with TLS.")
@click.option("--ca-file", default="", help="Certificates that Impala's or Trino's is signed with (PEM).")
@click.option("--model", type=click.Path(path_type=Path), default=resources.MODEL,
              help="Folder of the served model, for the drift from its training.  [default: the shipped one]")  # fmt: skip
@click.option(
    "--classify", metavar="URL", help="Where pictures go that are dropped on the page: http://NIFI:8082/classify."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for every network.")
@click.option("--port", type=click.IntRange(1, 65535), default=8084, show_default=True, help="Port to listen on.")
def dashboard(
    data: Path,
    database: Path | None,
    store: str | None,
    settings: tuple[str, ...],
    kudu: str | None,
    impala: str | None,
    trino: str | None,
    table: str | None,
    dialect: str,
    user: str | None,
    auth: str | None,
    tls: bool,
    ca_file: str,
    model: Path,
    classify: str | None,
    host: str,
    port: int,
) -> None:
    """Serve the dashboard beside a NiFi: its page, the figures for programs (/api), and pictures.

    The rows are those of a DuckDB file, which NiFi may be writing to, or those in Kudu. `imagewarehouse run` serves the same
    by itself.

    Access keys are those of the flow, in IMAGEWAREHOUSE_ACCESS_KEYS; without any, everybody who reaches the port may read.
    For TLS, put a front before it (docs/front.md).

    \b
    Examples:
      imagewarehouse dashboard --database /opt/nifi/nifi-current/image-warehouse/rows.duckdb
      imagewarehouse dashboard --kudu kudu1:7051,kudu2:7051 --store s3://pictures --classify http://nifi:8082/classify
      imagewarehouse dashboard --impala impala:21050 --table warehouse.image_events
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(message)s", stream=sys.stderr)
    logging.getLogger("imagewarehouse").setLevel(logging.INFO)
    if sum(map(bool, (kudu, impala, trino))) > 1:
        raise ConfigurationError(" ".join(_ENGINES), "give one of them")
    keys = AccessKeys.parse(os.environ.get("IMAGEWAREHOUSE_ACCESS_KEYS"), "IMAGEWAREHOUSE_ACCESS_KEYS")
    password = os.environ.get("IMAGEWAREHOUSE_DASHBOARD_PASSWORD", "")
    if kudu:
        engine, what = _kudu(kudu, table), f"Kudu at {kudu}"
    elif impala:
        engine, what = _impala(impala, table, dialect, user, password, auth, tls, ca_file), f"{dialect} at {impala}"
    elif trino:
        engine, what = _trino(trino, table, user, password, ca_file), f"Trino at {trino}"
    else:
        engine, what = _embedded(data, database), str(database or data / "rows.duckdb")
    places = None if kudu or impala or trino else (data, database)
    with tempfile.TemporaryDirectory(prefix="imagewarehouse-") as folder:
        pictures = _pictures(engine, store, settings, places, keys, Path(folder))
        try:
            asyncio.run(_serve(engine, keys, model, pictures, classify, host, port, what, places is not None))
        finally:
            engine.close()


async def _serve(
    engine: Engine,
    keys: AccessKeys,
    model: Path,
    pictures: Pictures | None,
    classify: str | None,
    host: str,
    port: int,
    what: str,
    embedded: bool,
) -> None:
    from imagewarehouse.analytics.service import QueryService
    from imagewarehouse.standalone.analytics import Analytics
    from imagewarehouse.standalone.dashboard import CLASSIFY, Dashboard, Part, Relay
    from imagewarehouse.standalone.openapi import document
    from imagewarehouse.standalone.page import Page

    relay = Relay(classify, keys) if classify else None
    sending = (CLASSIFY,) if classify else ()
    about = document(sending=sending, images=pictures is not None, searches=False)
    # An engine on a network waits more than it works, and takes longer.
    service = QueryService(engine, _training(model), at_once=2 if embedded else 6, longest_s=20 if embedded else 60)
    analytics = Analytics(service, keys)
    every: tuple[Part | None, ...] = (Page(about, sending, keys), analytics, pictures, relay)
    parts = [part for part in every if part is not None]

    def ready() -> None:
        shown = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared
        address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
        click.echo(f"imagewarehouse {__version__} dashboard is ready\n  {address}\n  rows: {what}; Ctrl-C stops")

    try:
        await Dashboard(parts).run(host, port, ready)
    finally:
        analytics.close()
        if pictures is not None:
            pictures.close()
        if relay is not None:
            await relay.close()


# --- engines ------------------------------------------------------------------------------------------------------


def _embedded(data: Path, database: Path | None) -> Engine:
    from imagewarehouse.analytics.embedded import EmbeddedEngine

    path = database or data / "rows.duckdb"
    if not path.is_file():
        where = "--data" if database is None else "--database"
        raise ConfigurationError(where, f"{path} does not exist; where NiFi keeps its rows, say it with --database")
    return EmbeddedEngine(path)


def _kudu(masters: str, table: str | None) -> Engine:
    from imagewarehouse.analytics.kudu_scan import KuduEngine
    from imagewarehouse.kudu.clients.connecting import connect
    from imagewarehouse.kudu.clients.interface import KuduSettings
    from imagewarehouse.rows.columns import TABLE

    return KuduEngine(connect(KuduSettings(masters)), table or TABLE)


def _impala(
    address: str,
    table: str | None,
    dialect: str,
    user: str | None,
    password: str,
    auth: str | None,
    tls: bool,
    ca_file: str,
) -> Engine:
    from imagewarehouse.analytics.impala import ImpalaEngine, ImpalaSettings

    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        host, port = address, "21050"
    in_database, _, name = (table or "image_events").rpartition(".")
    return ImpalaEngine(
        ImpalaSettings(
            host=host.strip("[]"),
            port=int(port),
            database=in_database or "default",
            table=name,
            auth=auth or ("LDAP" if user else "PLAIN" if dialect == "spark" else "NOSASL"),
            user=user or "",
            password=password,
            tls=tls,
            ca_file=ca_file,
            dialect=dialect,
        )
    )


def _trino(url: str, table: str | None, user: str | None, password: str, ca_file: str) -> Engine:
    from imagewarehouse.analytics.trino import TrinoEngine, TrinoSettings

    *inside, name = (table or "image_events").split(".")
    given = dict(zip(("schema", "catalog"), reversed(inside), strict=False))
    if user:
        given["user"] = user
    return TrinoEngine(TrinoSettings.at(url, table=name, password=password, ca_file=ca_file, **given))


# --- what else the page shows -------------------------------------------------------------------------------------


def _training(model: Path) -> Callable[[], Mapping[str, int]]:
    """Of the newest version in the folder; it is read again when there is a newer one."""
    from imagewarehouse.analytics.training import images_of_training
    from imagewarehouse.models.manifest import find_version, read_manifest

    known: dict[Path, Mapping[str, int]] = {}

    def images() -> Mapping[str, int]:
        try:
            folder = find_version(model)
            if folder not in known:
                known[folder] = images_of_training(read_manifest(folder).training)
        except WarehouseError as err:
            logging.getLogger("imagewarehouse").warning("--model: %s", err)
            return {}
        return known[folder]

    return images


def _pictures(
    engine: Engine,
    store: str | None,
    settings: tuple[str, ...],
    places: tuple[Path, Path | None] | None,
    keys: AccessKeys,
    folder: Path,
) -> Pictures | None:
    """What serves pictures: of --store, else of the store that the newest row names."""
    from imagewarehouse.limits import Limits
    from imagewarehouse.objects.opening import open_store
    from imagewarehouse.objects.reading import StoredImages
    from imagewarehouse.standalone.pictures import Pictures
    from imagewarehouse.standalone.thumbnails import ThumbnailCache

    how, location = settings_of(settings), store_of(store)
    images: Images
    if location is not None:
        images = StoredImages(open_store(location, how), None if places is None else places_of(*places))
    elif places is not None:
        images = _OfNewestRow(engine, how, places_of(*places))
    else:
        logging.getLogger("imagewarehouse").warning("without --store no pictures are shown")
        return None
    return Pictures(images, keys, _sent(engine), Limits(), ThumbnailCache(folder))


class _OfNewestRow:
    """`Images` of the store that the newest row names; there may be no row yet."""

    def __init__(self, engine: Engine, settings: StoreSettings, places: Lookup) -> None:
        self._engine = engine
        self._settings = settings
        self._places = places
        self._images: StoredImages | None = None
        self._opening = threading.Lock()

    def find(self, image_id: str, likely: str = "jpg", stored: str | None = None) -> Place | None:
        images = self._opened()
        return None if images is None else images.find(image_id, likely, stored)

    def read(self, place: Place, start: int = 0, length: int | None = None) -> bytes:
        images = self._opened()
        assert images is not None  # it has found the place
        return images.read(place, start, length)

    def _opened(self) -> StoredImages | None:
        from imagewarehouse.analytics.engines import Asked
        from imagewarehouse.analytics.periods import between
        from imagewarehouse.getting.reading import location_in
        from imagewarehouse.ids import utc_now
        from imagewarehouse.objects.location import Location
        from imagewarehouse.objects.opening import open_store
        from imagewarehouse.objects.reading import StoredImages

        with self._opening:
            if self._images is None:
                sql = (
                    f"SELECT storage_uri FROM {self._engine.table} WHERE storage_uri IS NOT NULL"
                    " ORDER BY event_time DESC LIMIT 1"
                )
                ever = between(utc_now() - timedelta(days=3650), utc_now())
                for (uri,) in self._engine.rows(Asked(sql, frozenset({"event_time", "storage_uri"}), ever)):
                    if named := location_in(uri):
                        store = open_store(Location.parse(named, "storage_uri"), self._settings)
                        self._images = StoredImages(store, self._places)
            return self._images


def _sent(engine: Engine) -> Callable[[str, str], bool]:
    """Whether a row says that this user has sent this image, for keys that may only read what they sent."""
    from imagewarehouse.analytics.catalog import Filters
    from imagewarehouse.analytics.panels import PANELS, Request
    from imagewarehouse.analytics.periods import between, zone
    from imagewarehouse.ids import utc_now

    def sent(image_id: str, user: str) -> bool:
        now = utc_now()
        asked = Request(
            period=between(now - timedelta(days=3650), now + timedelta(days=1)), tz=zone("UTC"),
            filters=Filters(images=(image_id,), users=(user,)), limit=1,
        )  # fmt: skip
        return bool(PANELS["latest"](engine, asked).rows)

    return sent
