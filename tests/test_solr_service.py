"""The Solr that tests use is what they take it for: the real one, with logins where it has them."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.solr_service import READER, RECORDS, WRITER, Solr, found, solr_running, utf8

DOCUMENT = [{"id": "a", "owner": "somebody"}]


def test_a_document_is_there_after_a_kill(solr_service: Solr, solr: str) -> None:
    requests.post(f"{solr}/update", json=DOCUMENT, timeout=10).raise_for_status()
    solr_service.service.kill()
    solr_service.start()
    assert [document["id"] for document in found(solr)] == ["a"]


@pytest.mark.parametrize(
    ("login", "writes", "reads"),
    [
        pytest.param(None, 401, 401, id="no-login"),
        pytest.param(("writer", "wrong"), 401, 401, id="wrong-password"),
        pytest.param(READER, 403, 200, id="reader"),
        pytest.param(WRITER, 200, 200, id="writer"),
    ],
)
def test_a_guarded_collection_of_the_cloud_wants_a_login(
    solr_guarded: str, login: tuple[str, str] | None, writes: int, reads: int
) -> None:
    auth = login and utf8(login)
    assert requests.post(f"{solr_guarded}/update", json=DOCUMENT, auth=auth, timeout=10).status_code == writes
    assert requests.get(f"{solr_guarded}/select?q=*:*", auth=auth, timeout=10).status_code == reads


def test_a_node_alone_can_want_a_login_too(tmp_path: Path) -> None:
    with solr_running(tmp_path, {"records": RECORDS}, memory="256m", security=True) as solr:
        url = f"{solr.url}/records"
        assert requests.post(f"{url}/update", json=DOCUMENT, timeout=10).status_code == 401
        assert requests.post(f"{url}/update", json=DOCUMENT, auth=utf8(READER), timeout=10).status_code == 403
        requests.post(f"{url}/update", json=DOCUMENT, auth=utf8(WRITER), timeout=10).raise_for_status()
        assert [document["id"] for document in found(url, login=WRITER)] == ["a"]
