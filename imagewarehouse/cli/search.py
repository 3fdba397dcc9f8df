"""`imagewarehouse search`: requests and their pictures by words, conditions and likeness."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagewarehouse.cli.getting import places_of, query_of, settings_of, store_of, warehouse_options
from imagewarehouse.cli.rows import plain
from imagewarehouse.cli.solr import SOLR, settings_of_solr
from imagewarehouse.errors import BadParameter, ConfigurationError, WarehouseError
from imagewarehouse.metadata import STATUSES
from imagewarehouse.search.query import FACETS, MOST_HITS

if TYPE_CHECKING:
    from imagewarehouse.search.query import Embedding, Found, Hit, Index, Search

_DIGITS = 12  # of an id in a table
_NO_LOOKS = "pictures have one that were classified while model.embedding was true"


@click.command()
@click.argument("words", nargs=-1)
@click.option("--class", "classes", multiple=True, help="Only this predicted class; may be repeated, as most of these.")
@click.option("--status", "statuses", type=click.Choice(STATUSES), multiple=True, help="Only requests of this status.")
@click.option("--error", "errors", multiple=True, metavar="CODE", help="Only requests with this error_code.")
@click.option("--format", "formats", multiple=True, metavar="FORMAT", help="Only files of this format, such as JPEG.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="Only what this model has classified: NAME, VERSION or NAME/VERSION.",
)
@click.option("--user", "users", multiple=True, metavar="NAME", help="Only what was sent with this access key.")
@click.option("--source", "sources", multiple=True, metavar="NETWORK", help="Only from this address or network.")
@click.option("--image", "images", multiple=True, metavar="IMAGE_ID", help="Only requests that sent this picture.")
@click.option(
    "--since", metavar="TIME", help="Only from this date or time on (ISO 8601; UTC), or from so long ago: 7d, 12h."
)
@click.option("--until", metavar="TIME", help="Only before this date or time, or longer ago than this.")
@click.option("--min-confidence", metavar="0-1", help="Only where the model is as certain of the class, or more.")
@click.option("--max-confidence", metavar="0-1", help="Only where it is as certain, or less.")
@click.option("--like", metavar="FILE|IMAGE_ID", help="What looks like this picture, the most alike first.")
@click.option(
    "--model-folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The model that looks at the FILE of --like: the one that the service has.  [default: the one of this project]",
)
@click.option("--facet", "facets", multiple=True, metavar="FIELD,...", help=f"Count by value: {', '.join(FACETS)}.")
@click.option("--limit", type=click.IntRange(0, MOST_HITS), default=20, show_default=True, help="How many of them.")
@click.option("--cursor", metavar="TEXT", help="Go on behind a page, as its last line says.")
@click.option("--all", "every", is_flag=True, help="All pages; with --json.")
@click.option("--json/--table", "as_json", default=False, help="One JSON object a line, or a table.  [default: table]")
@click.option("--open", "to_open", is_flag=True, help="Also show the pictures in a browser.")
@SOLR
@warehouse_options
def search(
    words: tuple[str, ...],
    facets: tuple[str, ...],
    like: str | None,
    model_folder: Path | None,
    limit: int,
    cursor: str | None,
    every: bool,
    as_json: bool,
    to_open: bool,
    solr: str | None,
    data: Path,
    database: Path | None,
    store: str | None,
    settings: tuple[str, ...],
    **conditions: Any,
) -> None:
    """Find requests, and with them pictures: by WORDS, by conditions, and by a picture that they look like.

    WORDS are looked for in the name of the file, the class, the texts of the form, the error and the user; every one has to be
    found. Typing mistakes are forgiven.

    The rows in DuckDB are searched, of --data or --database, whoever writes them; with --solr a Solr collection. Rows in Kudu
    are searched with Solr.

    \b
    Examples:
      imagewarehouse search truck --since 7d --min-confidence 0.9
      imagewarehouse search --source 10.0.0.0/8 --status rejected --facet error_code,day
      imagewarehouse search --like photo.jpg --open
      imagewarehouse search --class cat --all --json | jq -r .image_id

    \b
    Exit codes:
      0    searched, whether something was found or not
      1    with --open: pictures are gone from the store or damaged; the others are shown
      2    a wrong argument, or neither the rows nor Solr can be read
      130  stopped with Ctrl-C
    """
    if every and not as_json:
        raise ConfigurationError("--all", "goes with --json; a table shows a page, and --cursor the next one")
    if every and to_open:
        raise ConfigurationError("--all", "and --open exclude each other: a browser is shown a page")
    wanted = _wanted(words, facets, cursor, MOST_HITS if every else limit, conditions)
    index = _index(data, None if database is not None else solr, database)
    try:
        if like is not None:
            of_file = _of_file(like, model_folder)
            wanted = replace(wanted, like=of_file or _of_image(index, like, data, database, solr))
        pages = _pages(index, wanted, every)
        first = next(pages)
        if as_json:
            _print_json(wanted, first, pages)
        else:
            _print_table(wanted, first)
        if not first.total and wanted.like is not None:
            _explain(index, wanted.like)
    finally:
        index.close()
    if to_open and first.hits:
        from imagewarehouse.cli.search_page import show

        missing = show(first.hits, store_of(store), settings_of(settings), places_of(data, database))
        sys.exit(1 if missing else 0)


def _wanted(
    words: Sequence[str], facets: Sequence[str], cursor: str | None, limit: int, conditions: Mapping[str, Any]
) -> Search:
    """Raises ConfigurationError."""
    from imagewarehouse.search.asking import asked

    names = {"classes": "class", "statuses": "status"}
    parameters = [("q", " ".join(words)), *(("facet", text) for text in facets), ("limit", str(limit))]
    for field, given in conditions.items():
        name = names.get(field, field.removesuffix("s") if isinstance(given, tuple) else field)
        parameters += [(name, text) for text in (given if isinstance(given, tuple) else (given,)) if text is not None]
    if cursor is not None:
        parameters.append(("cursor", cursor))
    try:
        return asked(parameters, datetime.now(timezone.utc)).search
    except BadParameter as err:
        name, _, problem = str(err).partition(": ")
        raise ConfigurationError("WORDS" if name == "q" else f"--{name.replace('_', '-')}", problem) from err


def _index(data: Path, solr: str | None, database: Path | None) -> Index:
    """Raises ConfigurationError."""
    if solr:
        from imagewarehouse.search.solr_index import SolrIndex

        return SolrIndex.of(settings_of_solr(solr))
    path = database or data / "rows.duckdb"
    if not path.is_file():
        if database is None and (data / "kudu").exists():
            raise ConfigurationError(
                "--data", f"the rows of {data} are in Kudu, which are searched with Solr: --solr URL"
            )
        hint = "" if database else "; name the file of rows.database with --database, or a Solr collection with --solr"
        raise ConfigurationError("--database" if database else "--data", f"{path} does not exist{hint}")
    from imagewarehouse.search.local_index import LocalIndex

    return LocalIndex.of_file(path)


# --- likeness -----------------------------------------------------------------------------------------------------


def _of_file(like: str, model_folder: Path | None) -> Embedding | None:
    """What the picture in a file looks like; None: there is no such file. Raises ConfigurationError."""
    path = Path(like)
    if not path.is_file():
        return None
    from imagewarehouse.models.classifier import load_classifier
    from imagewarehouse.models.manifest import BUNDLED_MODEL
    from imagewarehouse.search.query import Embedding

    try:
        classifier = load_classifier(model_folder or BUNDLED_MODEL, embed=True)
    except ConfigurationError as err:
        raise ConfigurationError("--model-folder", err.problem) from err
    except WarehouseError as err:
        raise ConfigurationError("--model-folder", str(err)) from err
    manifest = classifier.manifest
    if not classifier.embeds:
        raise ConfigurationError(
            "--model-folder",
            f"{manifest.name} {manifest.version} does not say what pictures look like: it gives no embedding",
        )
    try:
        look = classifier.classify(path.read_bytes()).embedding
        return Embedding(manifest.name, manifest.version, look or b"")
    except OSError as err:
        raise ConfigurationError("--like", f"{path}: {err.strerror or err}") from err
    except (WarehouseError, ValueError) as err:
        raise ConfigurationError("--like", f"{path}: {err}") from err


def _of_image(index: Index, like: str, data: Path, database: Path | None, solr: str | None) -> Embedding:
    """Raises ConfigurationError."""
    from imagewarehouse.getting.rows import find_row

    image_id = like.strip().lower()
    if len(image_id) < 64:
        if solr and database is None:
            raise ConfigurationError("--like", f"{like} is no file; of an image in Solr the whole image_id is needed")
        try:
            row = find_row(query_of(data, database), image_id)
        except ConfigurationError as err:
            raise ConfigurationError("--like", f"is no file, and as an id: {err.problem}") from err
        if row is None:
            raise ConfigurationError("--like", f"there is no file {like}, and no row has this id")
        image_id = str(row["image_id"])
    look = index.embedding_of(image_id)
    if look is None:
        raise ConfigurationError("--like", f"what {like} looks like is not known: {_NO_LOOKS}")
    return look


def _explain(index: Index, look: Embedding) -> None:
    """Why nothing looks like a picture."""
    from imagewarehouse.search.query import Search

    version = f"{look.model_name}/{look.model_version}"
    if not index.search(Search(models=(version,), limit=0)).total:
        models = index.search(Search(facets=("model",), limit=0)).facets["model"]
        said = ", ".join(name for name, _ in models) or "none"
        click.echo(
            f"no picture was classified by {version}, but by {said}; --model-folder names the model of the service",
            err=True,
        )
    else:
        click.echo(f"{version} has classified pictures, but none with a look that is met here: {_NO_LOOKS}", err=True)


# --- what is shown ------------------------------------------------------------------------------------------------


def _pages(index: Index, wanted: Search, every: bool) -> Iterator[Found]:
    while True:
        found = index.search(wanted)
        yield found
        if not every or found.next_cursor is None:
            return
        wanted = replace(wanted, cursor=found.next_cursor, facets=())


def _print_json(wanted: Search, first: Found, others: Iterable[Found]) -> None:
    """A hit a line. Where something is counted, it is in a last line."""
    last = first
    for hit in first.hits:
        _print_object(hit.as_json())
    for last in others:
        for hit in last.hits:
            _print_object(hit.as_json())
    if wanted.facets or not wanted.limit:
        counted = first.as_json()
        _print_object({"total": first.total, "facets": counted["facets"], "next_cursor": last.next_cursor})
    elif last.next_cursor is not None:
        click.echo(f"{first.total:,} found; the next ones: --cursor {last.next_cursor}", err=True)


def _print_object(values: Mapping[str, Any]) -> None:
    click.echo(json.dumps(_printable(values), ensure_ascii=False))


def _printable(value: Any) -> Any:
    """Whatever a client may have sent, fit for a terminal; the values of fields, and labels, among it."""
    if isinstance(value, Mapping):
        return {plain(name): _printable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_printable(inner) for inner in value]
    return plain(value)


def _print_table(wanted: Search, found: Found) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 160)
    if found.hits:
        table = Table()
        for name in ("time", "class", "confidence", *(["alike"] if wanted.like else []), "file name", "source", "id"):
            table.add_column(name, overflow="fold", no_wrap=name in ("time", "id"))
        for hit in found.hits:
            table.add_row(*(Text(str(plain(cell))) for cell in _cells(hit, wanted.like is not None)))
        console.print(table)
    for name, values in found.facets.items():
        counts = Table(title=name, title_justify="left", show_header=False)
        for value, count in values:
            counts.add_row(Text(str(plain(value))), f"{count:,}")
        console.print(counts)
    what = "picture" if wanted.like else "request"
    click.echo(f"{found.total:,} {what}{'' if found.total == 1 else 's'} found" if found.total else "nothing found")
    if found.next_cursor is not None:
        click.echo(f"the next ones: --cursor {found.next_cursor}")


def _cells(hit: Hit, alike: bool) -> list[str]:
    record = hit.record
    said = (
        record["predicted_class"] or f"{record['status']}{': ' + record['error_code'] if record['error_code'] else ''}"
    )
    source = [text for text in (record["source_user"], record["source_ip"]) if text]
    return [
        str(record["event_time"])[:19].replace("T", " "),
        said,
        "" if record["confidence"] is None else f"{record['confidence']:.4f}",
        *([f"{hit.similarity:.4f}"] if alike and hit.similarity is not None else []),
        record["file_name"] or "",
        ", ".join(source),
        (record["image_id"] or record["request_id"])[:_DIGITS],
    ]
