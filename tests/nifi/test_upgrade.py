"""The flow and the processors of version 0.1.0 in a real NiFi, and this version deployed over them."""

from __future__ import annotations

import json
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from imagewarehouse.deployment.nars import read_nar
from imagewarehouse.flows.definition import walk_groups
from imagewarehouse.ids import request_id_from_key, utc_now
from imagewarehouse.models.manifest import BUNDLED_MODEL
from imagewarehouse.resources import FLOW
from tests.conftest import until
from tests.nifi.conftest import Command, Warehouse
from tests.nifi.test_deploy import changed, renumbered
from tests.nifi.test_flow import JPEG, key
from tests.pictures import numbered as picture
from tests.test_upgrade import OLD
from tools.local_nifi import LocalNifi

OLD_FLOW = OLD / "image-warehouse.json"
SECRET = "0123456789abcdef-of-0.1.0"
OWN = {"batch.max.images": "32", "intake.max.pixels": "1000000"}  # what an operator has changed


def old_nar(nar: Path, folder: Path) -> Path:
    """The NAR with the code of the old version in the place of this one's, and a model with one output, which is what that code
    can serve; the libraries as they are."""
    target = folder / "image-warehouse-0.1.0.nar"
    with (
        zipfile.ZipFile(nar) as new,
        zipfile.ZipFile(OLD / "code.zip") as code,
        zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as old,
    ):
        for name in new.namelist():
            if name.startswith("model/"):
                continue
            if name.endswith(".py") and ("/" not in name or name.startswith("imagewarehouse/")):
                continue
            content = new.read(name)
            if name == "META-INF/MANIFEST.MF":  # it says what is installed by a hash of the contents
                before, _, rest = content.partition(b"sha256:")
                content = before + b"sha256:" + b"0" * 24 + rest[24:]
            old.writestr(name, content)
        for name in code.namelist():
            old.writestr(name, code.read(name))
        for name in ("manifest.json", "labels.txt", "model-int8.tflite", "model.keras"):
            old.write(BUNDLED_MODEL / "3" / name, f"model/cifar10/3/{name}")
    assert read_nar(target).processor_version == "0.1.0"
    return target


@pytest.fixture
def empty(places: Warehouse, command: Command) -> Iterator[None]:
    """Nothing is deployed before and after, and there are no rows yet."""
    assert command("undeploy", "--yes", "--drop-queued")[0] == 0
    for path in places.data.glob("rows.duckdb*"):
        path.unlink()
    yield
    command("undeploy", "--yes", "--drop-queued")


def deploy(command: Command, nifi: LocalNifi, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """As docs/nifi.md says: where NiFi has lost the start of a processor (seen once in 70), restart it and go on."""
    code, facts, said = command("deploy", "--timeout", "120", *arguments)
    if code == 1 and "nitializ" in said:
        nifi.restart(timeout=300)
        code, facts, said = command("deploy", "--timeout", "120", *arguments)
    return code, facts, said


def processor(client: httpx.Client, kind: str) -> dict[str, Any]:
    found = client.get("/process-groups/root/processors", params={"includeDescendantGroups": "true"}).json()
    one: dict[str, Any] = next(e for e in found["processors"] if e["component"]["type"].rpartition(".")[2] == kind)
    return one


def schedule(nifi: LocalNifi, kind: str, state: str) -> None:
    with nifi.client() as client:
        one = processor(client, kind)
        body = {"revision": one["revision"], "state": state}
        client.put(f"/processors/{one['id']}/run-status", json=body).raise_for_status()


def queued(nifi: LocalNifi) -> Counter[str]:
    """FlowFiles in each connection, by the names of its ends."""
    found: Counter[str] = Counter()
    with nifi.client() as client:
        answer = client.get("/flow/process-groups/root/status", params={"recursive": "true"}).json()

    def walk(status: dict[str, Any]) -> None:
        for one in status["connectionStatusSnapshots"]:
            queue = one["connectionStatusSnapshot"]
            found[f"{queue['sourceName']} -> {queue['destinationName']}"] += queue["flowFilesQueued"]
        for child in status["processGroupStatusSnapshots"]:
            walk(child["processGroupStatusSnapshot"])

    walk(answer["processGroupStatus"]["aggregateSnapshot"])
    return +found


def parameters(nifi: LocalNifi) -> dict[str, str | None]:
    with nifi.client() as client:
        (context,) = client.get("/flow/parameter-contexts").json()["parameterContexts"]
    return {one["parameter"]["name"]: one["parameter"].get("value") for one in context["component"]["parameters"]}


def send(url: str, number: int, access: str = SECRET) -> tuple[int, str]:
    request_id = key()
    headers = {**JPEG, "Idempotency-Key": request_id, "X-Access-Key": access}
    answer = httpx.post(url, content=picture(number), headers=headers, timeout=60, trust_env=False)
    return answer.status_code, request_id


def of_alice(request_id: str) -> str:
    """The id that this version makes of the client's; the old one took the client's."""
    return request_id_from_key(request_id, utc_now(), user="alice")


def rows(warehouse: Warehouse, command: Command) -> dict[str, str]:
    """Statuses by request id; the flow is stopped for it."""
    code, facts, said = command("stop")
    assert (code, facts["left"]) == (0, []), said
    with duckdb.connect(str(warehouse.data / "rows.duckdb"), read_only=True) as database:
        found = database.sql("SELECT request_id, status FROM image_events").fetchall()
    assert len(found) == len(dict(found))
    return dict(found)


def hold_up(warehouse: Warehouse, nifi: LocalNifi) -> list[str]:
    """Keep ClassifyImage from working, and send until images wait at every step before it. Gives their ids."""
    schedule(nifi, "ClassifyImage", "STOPPED")
    ids = []
    for number in range(100, 108):
        status, request_id = send(warehouse.images, number)
        assert status == 202
        ids.append(request_id)
        time.sleep(0.5)
    assert until(lambda: queued(nifi)["StoreImage -> stored"] > 0, 30), queued(nifi)
    return ids


def deployed_old(
    places: Warehouse, nar: Path, folder: Path, command: Command, nifi: LocalNifi, given: dict[str, str]
) -> list[str]:
    """The old version, set up as an operator had it, running."""
    secrets = folder / "secrets"
    secrets.write_text(f"access.keys=alice:{SECRET}\n")
    settings = [text for name, value in given.items() for text in ("--set", f"{name}={value}")]
    flow = ("--flow", str(OLD_FLOW), "--nar", str(old_nar(nar, folder)))
    code, _, said = deploy(command, nifi, *flow, *places.settings, *settings, "--parameters", str(secrets))
    assert code == 0, said
    assert send(places.classify, 0, "another-key-of-nobody")[0] == 401
    ids = []
    for number in range(1, 4):
        for url, wanted in ((places.classify, 200), (places.images, 202)):
            status, request_id = send(url, number)
            assert status == wanted
            ids.append(request_id)
    return ids


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"], ids=["of-the-same-number", "of-a-higher-number"])
def test_an_upgrade_keeps_parameters_and_what_is_queued(
    places: Warehouse, nar: Path, tmp_path: Path, command: Command, nifi: LocalNifi, version: str
) -> None:
    done = deployed_old(places, nar, tmp_path, command, nifi, OWN)
    before = parameters(nifi)
    waiting = hold_up(places, nifi)
    held = queued(nifi)
    assert sum(held.values()) >= 3, held
    code, facts, said = deploy(command, nifi, "--nar", str(renumbered(nar, version, tmp_path)))
    assert code == 0, said
    assert "replaced in place" in " ".join(changed(facts))
    after = parameters(nifi)
    assert {name: after[name] for name in before} == before
    assert {name: after[name] for name in OWN} == OWN
    code, facts, _ = command("status")
    assert (code, facts["problems"]) == (0, [])
    assert send(places.classify, 4, "another-key-of-nobody")[0] == 401, "the secret is kept"
    status, request_id = send(places.classify, 4)
    assert status == 200
    found = rows(places, command)
    assert {*done, of_alice(request_id)} <= found.keys()
    # The id is made where a form is taken apart: some had it from the old version.
    assert all((one in found) != (of_alice(one) in found) for one in waiting)
    assert Counter(found.values()) == {"classified": len(done) + len(waiting) + 1, "rejected": 2}


@pytest.mark.usefixtures("empty")
def test_a_flow_in_which_a_full_queue_is_gone_replaces_nothing_until_it_is_empty(
    places: Warehouse, nar: Path, tmp_path: Path, command: Command, nifi: LocalNifi
) -> None:
    done = deployed_old(places, nar, tmp_path, command, nifi, {})
    waiting = hold_up(places, nifi)
    held = queued(nifi)
    newer = renumbered(nar, "0.2.0", tmp_path)
    flow = tmp_path / "flow.json"
    flow.write_text(json.dumps(_otherwise_connected(json.loads(FLOW.read_text(encoding="utf-8")))))
    code, _, said = deploy(command, nifi, "--nar", str(newer), "--flow", str(flow))
    assert code == 1
    assert "imagewarehouse stop" in said, said
    assert sum(queued(nifi).values()) == sum(held.values()), "nothing is lost"
    facts = command("status")[1]
    assert {one["version"] for one in facts["types"]} == {"0.1.0"}, "the old version goes on"  # type: ignore[attr-defined]
    assert [one["answers"] for one in facts["endpoints"]] == [True, True]  # type: ignore[attr-defined]
    schedule(nifi, "ClassifyImage", "RUNNING")
    code, facts, said = command("stop")
    assert (code, facts["left"]) == (0, []), said
    code, _, said = deploy(command, nifi, "--nar", str(newer), "--flow", str(flow))
    assert code == 0, said
    assert send(places.classify, 4)[0] == 200
    assert {*done, *waiting} <= rows(places, command).keys()


def _otherwise_connected(raw: dict[str, Any]) -> dict[str, Any]:
    """The flow as if the connection behind StoreImage were another one."""
    for group, _ in walk_groups(raw["flowContents"]):
        for one in group["connections"]:
            if (one["source"]["name"], one["destination"]["name"]) == ("StoreImage", "stored"):
                one["identifier"] = "00000000-0000-5000-8000-000000000000"
    return raw
