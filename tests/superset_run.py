"""Run by Superset's own Python: imports bundles into a fresh Superset and says what its API answers, as JSON.

    python tests/superset_run.py FOLDER BUNDLE... [--draw SLUG...] > answers.json

One process: each command of Superset's takes seconds to start. FOLDER then holds a Superset that can be served.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

LOGIN = {"username": "admin", "password": "admin"}


def configured(folder: Path) -> None:
    config = folder / "superset_config.py"
    # Tokens are signed with the first key; a shorter one is warned of. SQLite and DuckDB count as unsafe: they open files.
    config.write_text(
        f"SECRET_KEY = {'only for this test, and long enough for it'!r}\nPREVENT_UNSAFE_DB_CONNECTIONS = False\n"
        f"SQLALCHEMY_DATABASE_URI = 'sqlite:///{folder / 'superset.db'}'\n"
        "WTF_CSRF_ENABLED = False\nRATELIMIT_ENABLED = False\nTALISMAN_ENABLED = False\n"
    )
    os.environ |= {"SUPERSET_CONFIG_PATH": str(config), "SUPERSET_HOME": str(folder)}


def main(folder: Path, bundles: list[str], drawn: list[str]) -> dict[str, Any]:
    configured(folder)
    from superset.app import create_app
    from superset.cli.main import superset

    app = create_app()
    runner = app.test_cli_runner()

    def command(*words: str) -> None:
        done = runner.invoke(superset, args=words)
        if done.exit_code:
            raise SystemExit(f"superset {' '.join(words)}: {done.output[-2000:]}\n{done.exception!r}")

    command("db", "upgrade")
    command("init")
    names = ("--firstname", "Superset", "--lastname", "Admin", "--email", "admin@example.org")
    command("fab", "create-admin", "--username", LOGIN["username"], "--password", LOGIN["password"], *names)
    for bundle in bundles:
        command("import-dashboards", "-p", bundle, "-u", LOGIN["username"])

    client = app.test_client()
    login = client.post("/api/v1/security/login", json={**LOGIN, "provider": "db", "refresh": False})
    token = login.get_json()["access_token"]
    answers: dict[str, Any] = {}

    def get(path: str) -> Any:
        answer = client.get(path, headers={"Authorization": f"Bearer {token}"})
        answers[path] = {"status": answer.status_code, "body": answer.get_json()}
        return answers[path]["body"]

    get("/api/v1/database/")
    for board in get("/api/v1/dashboard/")["result"]:
        slug = board["slug"]
        for dataset in get(f"/api/v1/dashboard/{slug}/datasets")["result"]:
            get(f"/api/v1/dataset/{dataset['id']}")
        for chart in get(f"/api/v1/dashboard/{slug}/charts")["result"]:
            if slug in drawn:
                get(f"/api/v1/chart/{chart['id']}/data/?force=true")
    return answers


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("bundles", nargs="*")
    parser.add_argument("--draw", nargs="*", default=[])
    given = parser.parse_args()
    found = main(given.folder, given.bundles, given.draw)
    sys.stdout.write("\n" + json.dumps(found) + "\n")
