"""Run by Superset's own Python: imports bundles into a fresh Superset and says what its API answers, as JSON.

    python tests/superset_run.py FOLDER BUNDLE... > answers.json

One process: each command of Superset's takes seconds to start.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(folder: Path, bundles: list[str]) -> dict[str, Any]:
    config = folder / "superset_config.py"
    config.write_text(
        "SECRET_KEY = 'only for this test, long enough'\nPREVENT_UNSAFE_DB_CONNECTIONS = False\nWTF_CSRF_ENABLED = False\n"
        f"SQLALCHEMY_DATABASE_URI = 'sqlite:///{folder / 'superset.db'}'\nRATELIMIT_ENABLED = False\n"
    )
    os.environ |= {"SUPERSET_CONFIG_PATH": str(config), "SUPERSET_HOME": str(folder)}
    from superset.app import create_app

    app = create_app()
    with app.app_context():
        from flask_appbuilder import Model
        from superset.extensions import db

        Model.metadata.create_all(db.engine)  # as `superset db upgrade` ends
        app.appbuilder.add_permissions(update_perms=True)  # and this is `superset init`
        security = app.appbuilder.sm
        security.sync_role_definitions()
        security.add_user("admin", "a", "b", "a@example.org", security.find_role("Admin"), password="admin")
        db.session.commit()
    from superset.cli.importexport import import_dashboards

    runner = app.test_cli_runner()
    for bundle in bundles:
        done = runner.invoke(import_dashboards, ["-p", bundle, "-u", "admin"])
        if done.exit_code:
            raise SystemExit(f"{bundle}: {done.output}\n{done.exception!r}")
    client = app.test_client()
    login = {"username": "admin", "password": "admin", "provider": "db", "refresh": False}
    token = client.post("/api/v1/security/login", json=login).get_json()["access_token"]
    answers: dict[str, Any] = {}

    def get(path: str) -> Any:
        answer = client.get(path, headers={"Authorization": f"Bearer {token}"})
        answers[path] = {"status": answer.status_code, "body": answer.get_json()}
        return answers[path]["body"]

    boards = get("/api/v1/dashboard/")["result"]
    get("/api/v1/database/")
    get("/api/v1/chart/")
    for board in boards:
        slug = board["slug"]
        get(f"/api/v1/dashboard/{slug}/datasets")
        for chart in get(f"/api/v1/dashboard/{slug}/charts")["result"]:
            if slug.endswith("duckdb"):
                get(f"/api/v1/chart/{chart['id']}/data/?force=true")
    return answers


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), sys.argv[2:])
    print("\n" + json.dumps(found))
