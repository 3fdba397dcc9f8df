"""`python -m tools.superset` writes analytics/superset; `--check` says whether it is up to date; `--zip` makes a bundle."""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from imagewarehouse.resources import REPOSITORY
from tools.superset.charts import CHARTS, chart, dashboard
from tools.superset.dataset import ENGINES, TABLE, VERSION, Engine, database, dataset

FOLDER = REPOSITORY / "analytics" / "superset"
_TIMESTAMP = "2026-12-01T00:00:00+00:00"  # of an export; a fixed one, so that nothing changes without a change


def files(engine: Engine, uri: str | None = None, table: str = TABLE) -> dict[str, str]:
    """The content of each file of a bundle by its path in it."""
    name = f"image_warehouse_{engine.name}"
    things: dict[str, Any] = {
        "metadata.yaml": {"version": VERSION, "type": "Dashboard", "timestamp": _TIMESTAMP},
        f"databases/{name}.yaml": database(engine, uri),
        f"datasets/{name}/{TABLE}.yaml": dataset(engine, table),
        f"dashboards/{name}.yaml": dashboard(engine),
        **{f"charts/{one.name}.yaml": chart(engine, one) for one in CHARTS},
    }
    return {path: _yaml(value) for path, value in things.items()}


def bundle(engine: Engine, uri: str | None = None, table: str = TABLE) -> bytes:
    """What `superset import-dashboards` takes: a zip with one folder."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files(engine, uri, table).items():
            archive.writestr(zipfile.ZipInfo(f"image-warehouse/{path}"), text)
    return content.getvalue()


def _yaml(value: Any) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 120
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = io.StringIO()
    yaml.dump(value, text)
    return text.getvalue()


def main() -> int:
    """Exit code: 1 if `--check` finds a file that is not as it would be written."""
    parser = argparse.ArgumentParser(prog="python -m tools.superset", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what is out of date")
    parser.add_argument("--zip", type=Path, metavar="FILE", help="write a bundle, to be imported")
    parser.add_argument("--engine", choices=sorted(ENGINES), default="impala", help="of the bundle")
    parser.add_argument("--uri", help="SQLAlchemy's URI of the database, instead of an example")
    parser.add_argument("--table", default=TABLE, help="its name in the database (default: %(default)s)")
    given = parser.parse_args()
    if given.zip is not None:
        given.zip.write_bytes(bundle(ENGINES[given.engine], given.uri, given.table))
        print(f"{given.zip}: superset import-dashboards -p {given.zip} -u NAME")
        return 0
    old = []
    for engine in ENGINES.values():
        for name, text in files(engine).items():
            path = FOLDER / engine.name / name
            if path.exists() and path.read_text(encoding="utf-8") == text:
                continue
            old.append(path.relative_to(REPOSITORY))
            if not given.check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for old_path in old:
        print(f"{old_path}: {'out of date; run python -m tools.superset' if given.check else 'written'}")
    return 1 if given.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
