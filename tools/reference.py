"""`python -m tools.reference [--check]`: writes the tables of the documentation from the code they describe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from imagewarehouse.analytics.catalog import catalog
from imagewarehouse.analytics.panels import PANELS
from imagewarehouse.analytics.parameters import PARAMETERS
from imagewarehouse.analytics.service import columns_of_panels, question_of
from imagewarehouse.errors import WarehouseError, all_errors
from imagewarehouse.flows.definition import environment_name, read_flow
from imagewarehouse.metadata import COLUMNS
from imagewarehouse.nifi.processors import processor_class
from imagewarehouse.resources import PROCESSORS, REPOSITORY
from imagewarehouse.standalone.openapi import FACTS, UNITS
from imagewarehouse.standalone.runner import DEFAULT_FLOW

DOCS = REPOSITORY / "docs"


def pages() -> dict[Path, str]:
    """Every generated text by the file it belongs to."""
    readme, analytics = REPOSITORY / "README.md", DOCS / "analytics.md"
    return {
        DOCS / "metadata.md": _metadata(),
        DOCS / "errors.md": _errors(),
        DOCS / "processors.md": _processors(),
        readme: _between(readme.read_text(encoding="utf-8"), _settings()),
        analytics: _between(
            _between(analytics.read_text(encoding="utf-8"), _queries(), "queries"), _parameters(), "parameters"
        ),
    }


def _metadata() -> str:
    rows = [(f"`{c.name}`", c.type, "yes" if c.nullable else "no", c.stage, c.meaning) for c in COLUMNS]
    return (
        "# Metadata\n\nWhich fields does a record have? Each request gives one record. NiFi's attributes, the columns of"
        " `image_events` and the JSON answer use the same names. They are defined in one place,"
        " `imagewarehouse/metadata.py`. The key is `(event_time, request_id)`.\n\n"
        + _table(("name", "type", "nullable", "set by", "meaning"), rows)
        + "\nTypes: `timestamp` is in microseconds, UTC (in attributes and JSON: ISO 8601 with `Z`). The names of the other"
        " types say what they are. A rejected request has no values for the fields of steps that it did not reach.\n\n"
        "`width` and `height` mean the same for every format: those of the picture as it is stored, before it is turned"
        " upright (by EXIF, by TIFF's orientation, by the boxes of HEIC and AVIF) and behind a crop that the file asks for."
        " A photo that a phone took upright may so have a width that is larger than its height. Of several frames they are"
        " those of the first one; of a GIF those of its canvas, widened to its first frame.\n"
    )


def _errors() -> str:
    errors = sorted(
        (e for e in all_errors().values() if e is not WarehouseError), key=lambda e: (e.http_status, e.code)
    )
    rows = [(f"`{e.code}`", str(e.http_status), "yes" if e.retryable else "no", e.title) for e in errors]
    return (
        "# Errors\n\nWhat does an error code mean? Every rejection and failure has a code that never changes. You find it in"
        " the attribute and the column `error_code`, as a label on dashboards, and as `error_code` in the RFC 9457 answer"
        " (`application/problem+json`). If the client can try again, the answer has the header `Retry-After`.\n\n"
        + _table(("code", "status", "try again", "meaning"), rows)
    )


def _settings() -> str:
    rows = []
    for name, parameter in read_flow(DEFAULT_FLOW).parameters.items():
        default = "(secret)" if parameter.sensitive else f"`{parameter.value}`" if parameter.value else ""
        rows.append((f"`{name}`", default, parameter.description, f"`{environment_name(name)}`"))
    return _table(("setting", "default", "meaning", "environment"), rows)


def _queries() -> str:
    """Of the panels, then of the SQL that they ask."""
    panels = []
    for name in PANELS:
        columns = ", ".join(f"`{c.name}` ({c.unit})" for c in columns_of_panels()[name])
        panels.append((f"`{name}`", question_of(name), columns, FACTS.get(name, "")))
    queries = []
    for name, query in catalog().items():
        columns = ", ".join(f"`{c}`" + (f": {meaning}" if meaning else "") for c, meaning in query.columns.items())
        queries.append((f"[{name}.sql](../analytics/queries/{name}.sql)", query.question, columns))
    units = ", ".join(f"`{unit}` {meaning}" for unit, (meaning, _) in UNITS.items())
    return (
        _table(("panel", "question", "columns (unit)", "facts"), panels)
        + f"\nUnits: {units}.\n\nWhat a panel asks an engine:\n\n"
        + _table(("query", "question", "columns"), queries)
    )


def _parameters() -> str:
    rows = []
    for parameter in PARAMETERS.values():
        schema = parameter.schema
        values = ", ".join(f"`{value}`" for value in schema.get("enum", schema.get("examples", ())))
        if "maximum" in schema:
            values = f"{schema['minimum']} to {schema['maximum']}"
        default = f"`{schema['default']}`" if "default" in schema else ""
        only = ", ".join(f"`{name}`" for name in parameter.panels) or "all"
        meaning = parameter.meaning + (" (may be repeated: one of them)" if parameter.repeated else "")
        rows.append((f"`{parameter.name}`", meaning, values, default, only))
    return _table(("parameter", "meaning", "values", "default", "matters to"), rows)


def _processors() -> str:
    text = "# Processors\n\nWhich properties and relationships does each processor have? NiFi shows the same texts.\n"
    for path in sorted(PROCESSORS.glob("*.py")):
        cls = processor_class(path.stem)
        processor = cls()
        rows = [
            (
                p.name,
                f"`{p.defaultValue}`" if p.defaultValue else "",
                "yes" if p.required else "no",
                _line(p.description),
            )
            for p in processor.getPropertyDescriptors()
        ]
        relationships = [(r.name, _line(r.description)) for r in processor.getRelationships()]
        relationships.append(("failure", "Will not pass, or an unexpected error; content unchanged"))
        text += f"\n## {path.stem}\n\n{_line(cls.ProcessorDetails.description)}\n\n"
        text += (
            _table(("property", "default", "required", "meaning"), rows)
            + "\n"
            + _table(("relationship", "for"), relationships)
        )
    return text


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _line(text: str) -> str:
    return " ".join(text.split())


def _between(text: str, table: str, name: str = "settings") -> str:
    start, end = f"<!-- {name}: generated by tools/reference.py -->", f"<!-- /{name} -->"
    head, _, remainder = text.partition(start)
    _, _, tail = remainder.partition(end)
    return f"{head}{start}\n{table}{end}{tail}"


def main() -> None:
    stale = [path for path, text in pages().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(REPOSITORY)} is out of date; run python -m tools.reference", file=sys.stderr)
        sys.exit(1 if stale else 0)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
