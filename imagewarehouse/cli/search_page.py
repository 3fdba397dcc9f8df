"""What was found as a page of pictures in a browser: one file with everything in it, that asks nobody for anything."""

from __future__ import annotations

import base64
import tempfile
import webbrowser
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import click

from imagewarehouse.errors import ImageRejected, ObjectDamaged, ObjectMissing
from imagewarehouse.getting.reading import Pictures
from imagewarehouse.images.thumbnails import thumbnail
from imagewarehouse.limits import Limits
from imagewarehouse.search.query import Hit
from imagewarehouse.text import printable

if TYPE_CHECKING:
    from imagewarehouse.objects.location import Location
    from imagewarehouse.objects.settings import StoreSettings
    from imagewarehouse.places import Lookup

_SIDE = 256  # pixels
_TYPES = {"jpg": "image/jpeg", "webp": "image/webp"}
_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>imagewarehouse search</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 1rem; display: flex; flex-wrap: wrap; gap: 1rem }
figure { margin: 0; width: 256px }
img { max-width: 256px; image-rendering: auto; background: #eee }
figcaption { overflow-wrap: anywhere }
</style>
"""


def show(hits: Sequence[Hit], store: Location | None, settings: StoreSettings, places: Lookup | None) -> int:
    """Write the page and open it; gives how many pictures are missing. Raises ObjectStoreUnavailable, ConfigurationError."""
    pictures, missing = Pictures(store, settings, places), 0
    with tempfile.NamedTemporaryFile(
        "w", prefix="imagewarehouse-", suffix=".html", delete=False, encoding="utf-8"
    ) as page:
        page.write(_HEAD)
        for hit in hits:
            shown, lost = _picture(pictures, hit)
            missing += lost
            page.write(f"<figure>{shown}<figcaption>{_caption(hit)}</figcaption></figure>\n")
    opened = webbrowser.open(f"file://{page.name}")
    click.echo(f"{'opened' if opened else 'there is no browser here; the pictures are in'} {page.name}", err=True)
    return missing


def _picture(pictures: Pictures, hit: Hit) -> tuple[str, bool]:
    """HTML, and whether a picture that should be there is not."""
    record = hit.record
    if record["image_id"] is None or record["storage_uri"] is None:
        return f"<p>{escape(record['status'])}: no picture is kept</p>", False
    try:
        content = pictures.read(record["image_id"], record["storage_uri"], record["format"]).content
        small = thumbnail(content, _SIDE, Limits())
    except (ObjectMissing, ObjectDamaged) as err:
        click.echo(f"imagewarehouse: {err}", err=True)
        return "<p>the picture is gone from the store or damaged</p>", True
    except ImageRejected as err:
        return f"<p>{escape(str(err))}</p>", False
    return f'<img alt="" src="data:{_TYPES[small.suffix]};base64,{base64.b64encode(small.content).decode()}">', False


def _caption(hit: Hit) -> str:
    record = hit.record
    said = record["predicted_class"] or record["error_code"] or record["status"]
    sure = "" if record["confidence"] is None else f" {record['confidence']:.2f}"
    alike = "" if hit.similarity is None else f"alike {hit.similarity:.3f}"
    lines = (
        said + sure,
        alike,
        record["file_name"],
        str(record["event_time"])[:19].replace("T", " "),
        record["image_id"],
    )
    return "<br>".join(escape(printable(line)) for line in lines if line)
