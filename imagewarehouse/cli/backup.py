"""`imagewarehouse backup` and `imagewarehouse restore`."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagewarehouse.amounts import counted, file_size
from imagewarehouse.cli.getting import settings_of
from imagewarehouse.cli.keeping import RowsMeant, keeping_options, store_meant
from imagewarehouse.errors import ConfigurationError

if TYPE_CHECKING:
    from imagewarehouse.keeping.manifest import Manifest

_MISSING_AFTER = "missing-pictures.txt"


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--models", type=click.Path(path_type=Path, file_okay=False), multiple=True, metavar="FOLDER",
              help="Folder of a model, with its versions; may be repeated.  [default: each in models of --data, and that of "
                   "IMAGEWAREHOUSE_MODEL_FOLDER]")  # fmt: skip
@click.option(
    "--no-objects", is_flag=True, help="Without the list of the store's objects, and the look for what is missing."
)
@keeping_options
def backup(
    out: Path, models: tuple[Path, ...], no_objects: bool, store: str | None, settings: tuple[str, ...], **rows: Any
) -> None:
    """Back up rows, places of packed pictures and models into a new folder, with a list of the pictures.

    The pictures themselves are not copied: docs/forgetting.md says how. The service may run. OUT gets its name once it is
    whole; after an interruption, run the same command again.

    \b
    Examples:
      imagewarehouse backup /backup/2026-11-30
      imagewarehouse backup /backup/nifi --database /opt/nifi/image-warehouse/rows.duckdb --store s3://bucket/images

    \b
    Exit codes:
      0    written
      1    written, and pictures of rows are missing in the store: OUT/missing.txt
      2    not written: a wrong argument, or rows or store do not answer
      130  stopped with Ctrl-C
    """
    from imagewarehouse.keeping.backup import Wanted, make_backup
    from imagewarehouse.keeping.manifest import MISSING

    meant = RowsMeant(**rows)
    wanted = Wanted(_models(models, meant.data), store_meant(meant.data, store), not no_objects, settings_of(settings))
    with meant.open(look_only=True) as (table, places):
        manifest = make_backup(out, table, places, wanted, lambda: datetime.now(timezone.utc), _say)
    click.echo(f"{out}: {_described(manifest)}")
    if manifest.missing:
        click.echo(f"{counted(manifest.missing, 'picture')} of rows missing in the store: {out / MISSING}", err=True)
        sys.exit(1)


@click.command()
@click.argument("folder", metavar="BACKUP", type=click.Path(path_type=Path))
@click.option("--models", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Where the folders of models go.  [default: models in --data]")  # fmt: skip
@click.option(
    "--merge", is_flag=True, help="Into a table that has rows: those of the backup take the place of the same ones."
)
@click.option("--no-objects", is_flag=True, help="Do not look whether the pictures are in the store.")
@click.option("--dry-run", is_flag=True, help="Check the backup and say what is in it; change nothing.")
@keeping_options
def restore(
    folder: Path,
    models: Path | None,
    merge: bool,
    no_objects: bool,
    dry_run: bool,
    store: str | None,
    settings: tuple[str, ...],
    **rows: Any,
) -> None:
    """Bring rows, places and models of a backup back, into an empty table.

    Each file is checked against the manifest first. After an interruption, run the same command again.

    \b
    Examples:
      imagewarehouse restore /backup/2026-11-30 --dry-run
      imagewarehouse restore /backup/2026-11-30 --data /srv/images
      imagewarehouse restore /backup/2026-11-30 --masters kudu-1:7051

    \b
    Exit codes:
      0    done
      1    done, and pictures are missing in the store, or have changed: missing-pictures.txt in --data
      2    nothing was done: a wrong argument, a damaged backup, or rows that are there; or interrupted: run it again
      130  stopped with Ctrl-C: run it again
    """
    from imagewarehouse.keeping.files import errors_of
    from imagewarehouse.keeping.looking import Look, look
    from imagewarehouse.keeping.objects_list import write_missing
    from imagewarehouse.keeping.restoring import Backup, check_target, restore

    checked = Backup.open(folder)
    meant = RowsMeant(**rows)
    to_models = models or meant.data / "models"
    click.echo(f"{folder}: {_described(checked.manifest)}, of {checked.manifest.began[:19]}")
    # A store that does not answer is found out before anything is changed.
    looks = not no_objects and checked.manifest.objects is not None
    found = look(folder, store_meant(meant.data, store) if store else None, settings_of(settings)) if looks else Look()
    where = "run without --dry-run for the list"
    if dry_run:
        with meant.open(create=True, look_only=True) as (table, _):
            check_target(checked, table, meant.data, to_models, merge=merge)
            click.echo(f"would go into {table.where}, models into {to_models}")
    else:
        with errors_of(meant.data, "--data"):
            meant.data.mkdir(parents=True, exist_ok=True)
        with meant.open(create=True) as (table, places):
            restore(checked, table, places, found.moves, meant.data, to_models, merge=merge, say=_say)
        with errors_of(meant.data, "--data"):
            write_missing(meant.data / _MISSING_AFTER, found.missing)
        click.echo("restored")
        where = str(meant.data / _MISSING_AFTER)
    if found.missing:
        click.echo(f"{counted(len(found.missing), 'picture')} missing in the store, or changed: {where}", err=True)
        sys.exit(1)


def _models(given: tuple[Path, ...], data: Path) -> list[Path]:
    """Raises ConfigurationError: one that was named is not there."""
    import os

    for path in given:
        if not path.is_dir():
            raise ConfigurationError("--models", f"{path} is no folder")
    if given:
        return list(given)
    named = os.environ.get("IMAGEWAREHOUSE_MODEL_FOLDER")
    folders = [path for path in sorted((data / "models").glob("[!.]*")) if path.is_dir()]
    if named and Path(named).is_dir() and Path(named).resolve() not in {path.resolve() for path in folders}:
        folders.append(Path(named))
    return folders


def _described(manifest: Manifest) -> str:
    parts = [counted(manifest.rows, "row"), f"places of {counted(manifest.places, 'packed picture')}"]
    parts.append(f"{counted(len(manifest.models), 'model')}{''.join(f' {name}' for name in manifest.models)}")
    if manifest.objects is not None:
        parts.append(f"a list of {counted(manifest.objects, 'object')} ({file_size(manifest.object_bytes or 0)})")
    return ", ".join(parts)


def _say(line: str) -> None:
    click.echo(line, err=True)
