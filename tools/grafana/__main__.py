"""`python -m tools.grafana` writes the files; with `--check` it only says whether they are up to date."""

from __future__ import annotations

import json
import sys

from imagewarehouse.resources import REPOSITORY

FOLDER = REPOSITORY / "analytics" / "grafana"


def files() -> dict[str, str]:
    """The content of each file by its path below analytics/grafana."""
    from tools.grafana.alerts import rules  # needs the SDK, and that Python 3.11
    from tools.grafana.dashboards import dashboards

    made = {f"dashboards/{name}.json": board for name, board in dashboards().items()}
    return {path: _text(value) for path, value in {**made, "provisioning/alerting/rules.json": rules()}.items()}


def _text(value: object) -> str:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    return json.dumps(value, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> int:
    """Exit code: 1 if `--check` finds a file that is not as it would be written."""
    if sys.version_info < (3, 11):
        print("analytics/grafana: not looked at, since Grafana's SDK needs Python 3.11")
        return 0
    check = sys.argv[1:] == ["--check"]
    old = []
    for name, text in files().items():
        path = FOLDER / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        old.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for name in old:
        print(f"analytics/grafana/{name}: {'out of date; run python -m tools.grafana' if check else 'written'}")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
