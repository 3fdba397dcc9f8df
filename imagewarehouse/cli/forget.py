"""`imagewarehouse forget`: images, all that a user has sent, or pictures past their time."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import click

from imagewarehouse.amounts import counted, file_size, listed
from imagewarehouse.cli.getting import settings_of
from imagewarehouse.cli.keeping import RowsMeant, keeping_options, store_meant
from imagewarehouse.cli.solr import SOLR, settings_of_solr
from imagewarehouse.errors import ConfigurationError, ObjectStoreUnavailable, RowStoreUnavailable
from imagewarehouse.units import parse_duration

if TYPE_CHECKING:
    from imagewarehouse.keeping.forgetting import Plan
    from imagewarehouse.keeping.pictures import StoredPictures
    from imagewarehouse.objects.settings import StoreSettings
    from imagewarehouse.rows.whole import WholeTable
    from imagewarehouse.solr.settings import SolrSettings

log = logging.getLogger("imagewarehouse.forget")

_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_MOST_SHOWN = 10


@click.command()
@click.argument("image_ids", metavar="[IMAGE_ID]...", nargs=-1)
@click.option(
    "--source-user", metavar="NAME", help="Instead: every row of this user, and the pictures that nobody else sent."
)
@click.option("--older-than", metavar="TIME", help="Instead: the pictures whose newest row is older, such as '90 days'; needs "
              "--keep-rows.")  # fmt: skip
@click.option("--keep-rows", is_flag=True, help="Only pictures and thumbnails go; rows stay, with their storage_uri.")
@click.option(
    "--every", metavar="TIME", help="With --older-than: again and again, with so much time between, such as '1 day'."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@SOLR
@keeping_options
def forget(
    image_ids: tuple[str, ...],
    source_user: str | None,
    older_than: str | None,
    keep_rows: bool,
    every: str | None,
    dry_run: bool,
    yes: bool,
    solr: str | None,
    store: str | None,
    settings: tuple[str, ...],
    **rows: Any,
) -> None:
    """Forget images: their rows, thumbnails and pictures, and with --solr their documents. There is no way back.

    A picture that other users have sent as well stays, with --source-user, and so do their rows. After an interruption, run
    the same command again. docs/forgetting.md says what other programs still keep.

    \b
    Examples:
      imagewarehouse forget --dry-run --source-user camera-17
      imagewarehouse forget 56d2e362b7a3ee058fb82d3a2d94ce04b4236d249043b574ce0c09ffcc0a6776
      imagewarehouse forget --older-than '90 days' --keep-rows --yes

    \b
    Exit codes:
      0    done, or there was nothing
      1    the answer was no; or the same images were sent while they were being forgotten
      2    a wrong argument, or rows or store do not answer: run it again
      130  stopped with Ctrl-C: run it again
    """
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    wanted = [text.strip().lower() for text in image_ids]
    for text, image_id in zip(image_ids, wanted, strict=True):
        if not _IMAGE_ID.fullmatch(image_id):
            raise ConfigurationError("IMAGE_ID", f"expected all 64 digits, received {text[:80]!r}")
    if sum(map(bool, (wanted, source_user, older_than))) != 1:
        raise ConfigurationError("IMAGE_ID", "say what to forget: one of IMAGE_ID, --source-user, --older-than")
    keep_s = _seconds(older_than, "--older-than")
    every_s = _seconds(every, "--every")
    if keep_s is not None and not keep_rows:
        raise ConfigurationError(
            "--older-than", "is for pictures alone: give --keep-rows; old rows of Kudu go by kudu.keep.months"
        )
    if every_s is not None and (keep_s is None or dry_run or not yes):
        raise ConfigurationError("--every", "needs --older-than and --yes")
    documents = _Documents(settings_of_solr(solr)) if solr and not keep_rows and not dry_run else None
    command = _Command(RowsMeant(**rows), store, settings_of(settings), keep_rows, dry_run, yes, documents)
    what = _What(tuple(wanted), source_user, keep_s)
    if every_s is None:
        sys.exit(0 if command.run(what) else 1)
    while True:
        try:
            command.run(what)
        except (ObjectStoreUnavailable, RowStoreUnavailable) as err:
            log.warning("%s; the next try is in %s", err, every)
        time.sleep(every_s)


@dataclass(frozen=True, slots=True)
class _What:
    """One of them is given. `keep_s`: seconds."""

    image_ids: tuple[str, ...]
    source_user: str | None
    keep_s: float | None

    def __str__(self) -> str:
        if self.source_user is not None:
            return f"of user {self.source_user}"
        return "by image_id" if self.keep_s is None else f"older than {self.keep_s / 86_400:.3g} days"

    def plans(self, table: WholeTable, pictures: StoredPictures, now: datetime) -> Iterable[Plan]:
        from imagewarehouse.keeping.forgetting import plan_images, plan_older, plan_user

        if self.keep_s is not None:
            return plan_older(table, pictures, now - timedelta(seconds=self.keep_s))
        if self.source_user is not None:
            return [plan_user(table, pictures, self.source_user)]
        return [plan_images(table, pictures, self.image_ids)]


class _Documents:
    """The documents in Solr of what is forgotten, also of rows that have gone already."""

    def __init__(self, settings: SolrSettings) -> None:
        from imagewarehouse.solr.client import Solr

        self._solr = Solr(settings)

    def forget(self, what: _What, request_ids: Sequence[str]) -> None:
        """Raises SolrUnavailable, SolrRefused: nothing else was removed yet."""
        from imagewarehouse.solr.updates import delete, delete_matching
        from imagewarehouse.solr.writing import Writing, write

        updates = [delete(request_id) for request_id in request_ids]
        updates += [delete_matching({"image_id": image_id}) for image_id in what.image_ids]
        if what.source_user is not None:
            updates.append(delete_matching({"source_user": what.source_user}))
        collection = self._solr.collection()
        for error in filter(None, write(collection, updates, Writing(commit=True))):
            raise error
        log.info("forgot %s: its documents in %s", what, collection.name)


@dataclass(frozen=True, slots=True)
class _Command:
    rows: RowsMeant
    store: str | None
    settings: StoreSettings
    keep_rows: bool
    dry_run: bool
    yes: bool
    documents: _Documents | None

    def run(self, what: _What) -> bool:
        """Whether all is as it should be."""
        from imagewarehouse.keeping.pictures import StoredPictures

        with self.rows.open(look_only=self.dry_run) as (table, locations):
            pictures = StoredPictures(locations, store_meant(self.rows.data, self.store), self.settings)
            try:
                if self.dry_run or not self.yes:
                    plans = list(self._plans(what, table, pictures, _now()))
                    if not self._may(plans, table.where):
                        return self.dry_run or not any(plans)
                # Made anew: while the question stood there, somebody else may have sent one of the pictures.
                now = _now()
                planned = self._plans(what, table, pictures, now)
                if self.documents is not None:
                    planned = list(planned)
                    # First, like the pictures: as long as there are rows, the same command finishes what was interrupted.
                    self.documents.forget(what, [row.request_id for plan in planned for row in plan.rows])
                return self._carry_out(planned, str(what), table, pictures, now)
            finally:
                pictures.close()

    def _plans(self, what: _What, table: WholeTable, pictures: StoredPictures, now: datetime) -> Iterable[Plan]:
        plans = what.plans(table, pictures, now)
        return (replace(plan, rows=()) for plan in plans) if self.keep_rows else plans

    def _may(self, plans: list[Plan], where: str) -> bool:
        if not any(plans):
            click.echo(f"nothing to forget in {where}")
            return False
        for line in self._described(plans):
            click.echo(line, err=not self.dry_run)
        if self.dry_run:
            return False
        if not sys.stdin.isatty():
            raise ConfigurationError("--yes", "is needed, as nobody can be asked; --dry-run shows what would go")
        if not click.confirm("Forget this for good?", err=True):
            click.echo("nothing was changed", err=True)
            return False
        return True

    def _described(self, plans: list[Plan]) -> list[str]:
        rows = sum(len(plan.rows) for plan in plans)
        pictures, packed = sum(len(plan.pictures) for plan in plans), sum(plan.packed for plan in plans)
        size = sum(plan.size for plan in plans)
        lines = [f"goes: {counted(rows, 'row')}, {counted(pictures, 'picture')} ({file_size(size)}), their thumbnails"]
        if packed:
            lines.append(f"  {counted(packed, 'picture')} in packs: the bytes go with the next `imagewarehouse pack`")
        if self.keep_rows:
            lines.append("stays: all rows (--keep-rows)")
        staying = [item for plan in plans for item in plan.staying.items()]
        if staying:
            lines.append(f"stays: {counted(len(staying), 'picture')} that others have sent as well, with their rows")
            for image_id, users in staying[:_MOST_SHOWN]:
                lines.append(f"  {image_id}: {listed(sorted(user or '(no user)' for user in users))}")
            if len(staying) > _MOST_SHOWN:
                lines.append(f"  and {len(staying) - _MOST_SHOWN:,} more")
        return lines

    def _carry_out(
        self, plans: Iterable[Plan], why: str, table: WholeTable, pictures: StoredPictures, now: datetime
    ) -> bool:
        from imagewarehouse.keeping.forgetting import carry_out
        from imagewarehouse.standalone.thumbnails import remove_thumbnails

        late = 0
        nothing = True
        for plan in plans:
            if not plan:
                continue
            nothing = False
            try:
                outcome = carry_out(
                    plan, table, pictures, lambda ids: remove_thumbnails(self.rows.data / "thumbnails", ids), now
                )
            except OSError as err:
                raise ConfigurationError("--data", f"{err.filename}: {err.strerror or err}; run it again") from err
            log.info(
                "forgot %s: %s, %s (%s, %d in packs), %s; %d stay. Images: %s",
                why, counted(len(plan.rows), "row"), counted(len(plan.pictures), "picture"), file_size(plan.size), plan.packed,
                counted(outcome.thumbnails, "thumbnail"), len(plan.staying), " ".join(plan.image_ids) or "none",
            )  # fmt: skip
            for row in outcome.late[:_MOST_SHOWN]:
                log.warning(
                    "image %s was sent again meanwhile (request %s); its picture may be gone: look with `imagewarehouse get`",
                    row.image_id, row.request_id,
                )  # fmt: skip
            late += len(outcome.late)
        if nothing:
            click.echo(f"nothing to forget in {table.where}")
        return not late


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _seconds(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    seconds = parse_duration(text)
    if not seconds:
        raise ConfigurationError(option, f"expected a time such as '90 days', received {text!r}")
    return seconds
