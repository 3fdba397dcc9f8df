"""`imagewarehouse get`: one picture out of the warehouse."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from imagewarehouse.cli.getting import places_of, query_of, settings_of, store_of, warehouse_options
from imagewarehouse.errors import ConfigurationError, ObjectDamaged, ObjectMissing


@click.command()
@click.argument("asked", metavar="ID")
@click.option("-o", "--output", metavar="FILE",
              help="A file; a folder, which is made where its name ends with /; or - for standard output."
                   "  [default: IMAGE_ID and its suffix, in this folder]")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace a file that is there.")
@warehouse_options
def get(
    asked: str,
    output: str | None,
    force: bool,
    data: Path,
    database: Path | None,
    store: str | None,
    settings: tuple[str, ...],
) -> None:
    """Get one picture, as it was sent.

    ID is the image_id of a picture, the request_id of a request that sent it, or the beginning of one of them, 8 digits at
    least, where only one picture has it. The bytes are checked against the image_id.

    Rows in Kudu are looked through while the service runs, the newest 20,000. A whole image_id needs no row with --store.

    \b
    Examples:
      imagewarehouse get 56d2e362
      imagewarehouse get 01a2169c-dbba-7d4f-b3d4-5a819afcc3c1 -o frog.jpg
      imagewarehouse get 56d2e362 -o - | display

    \b
    Exit codes:
      0    written
      1    the row is there, and its picture is gone from the store or damaged
      2    no such picture, several of them, a wrong argument, or the store does not answer
      130  stopped with Ctrl-C
    """
    from imagewarehouse.getting.reading import Pictures
    from imagewarehouse.getting.rows import find_row
    from imagewarehouse.objects.reading import IMAGE_ID

    location, how = store_of(store), settings_of(settings)
    if output == "-" and sys.stdout.isatty():
        raise ConfigurationError("--output", "standard output is a terminal; send it to a file or a program")
    row = find_row(query_of(data, database), asked)
    image_id = asked.strip().lower()
    if row is None and not (location is not None and IMAGE_ID.fullmatch(image_id)):
        raise ConfigurationError("ID", f"no row has {asked}")
    pictures = Pictures(location, how, places_of(data, database))
    try:
        if row is None:
            picture = pictures.read(image_id, None)
        else:
            picture = pictures.read(row["image_id"], row["storage_uri"], row["format"])
    except ObjectMissing as err:
        if row is None:
            raise ConfigurationError("ID", f"no row has {asked}, and it is not in {location}") from err
        click.echo(f"imagewarehouse: {err}, though a row says so (request {row['request_id']})", err=True)
        sys.exit(1)
    except ObjectDamaged as err:
        click.echo(f"imagewarehouse: {err}", err=True)
        sys.exit(1)
    if output == "-":
        sys.stdout.buffer.write(picture.content)
        sys.stdout.buffer.flush()
        return
    path = _path(output, picture.place.file_name)
    _write(path, picture.content, force)
    details = [
        f"{len(picture.content):,} bytes",
        *filter(None, ((row or {}).get(name) for name in ("format", "predicted_class"))),
    ]
    click.echo(f"{path}: {', '.join(details)}")


def _path(output: str | None, file_name: str) -> Path:
    """The file to write. A folder is one that is there, or whose name ends with a slash: it is made then."""
    path = Path(output or file_name)
    if output is not None and output.endswith("/"):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise ConfigurationError("--output", f"{path}: {err.strerror or err}") from err
    return path / file_name if path.is_dir() else path


def _write(path: Path, content: bytes, force: bool) -> None:
    """Whole or not at all. What is there is only replaced where that is wanted, or where it is the same."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        if not force and path.exists() and path.read_bytes() != content:
            raise ConfigurationError("--output", f"{path} is there already and is another file; --force replaces it")
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as err:
        temporary.unlink(missing_ok=True)
        raise ConfigurationError("--output", f"{path}: {err.strerror or err}") from err
