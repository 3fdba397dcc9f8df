"""`imagewarehouse deploy` and its siblings against a real NiFi."""

from __future__ import annotations

import re
import socket
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagewarehouse import __version__
from imagewarehouse.deployment.nars import read_nar
from imagewarehouse.resources import REPOSITORY
from tests.nifi.conftest import Command, Warehouse
from tools.local_nifi import LocalNifi

FROG = (REPOSITORY / "examples" / "frog.jpg").read_bytes()
NEXT = "99.0.0"


def changed(facts: dict[str, Any]) -> list[str]:
    return [step["said"] for step in facts["steps"] if step["changed"]]


def classify(warehouse: Warehouse) -> httpx.Response:
    headers = {"Content-Type": "image/jpeg"}
    return httpx.post(warehouse.classify, content=FROG, headers=headers, timeout=60, trust_env=False)


def types(nifi: LocalNifi) -> set[str]:
    with nifi.client() as client:
        query = {"bundleArtifactFilter": "python-extensions"}
        answer = client.get("/flow/processor-types", params=query).json()
    return {one["bundle"]["version"] for one in answer["processorTypes"]}


def stop_processor(client: httpx.Client, kind: str) -> dict[str, Any]:
    """The first of that type or of that name."""
    found = client.get("/process-groups/root/processors", params={"includeDescendantGroups": "true"}).json()
    one: dict[str, Any] = next(
        e for e in found["processors"] if kind in (e["component"]["type"].rpartition(".")[2], e["component"]["name"])
    )
    stopped = {"revision": one["revision"], "state": "STOPPED"}
    client.put(f"/processors/{one['id']}/run-status", json=stopped).raise_for_status()
    return one


def renumbered(nar: Path, version: str, folder: Path) -> Path:
    """The same NAR as if it were of another release."""
    target = folder / f"image-warehouse-{version}-cp311-linux_x86_64.nar"
    with zipfile.ZipFile(nar) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "META-INF/MANIFEST.MF" or ("/" not in name and name.endswith(".py")):
                content = content.replace(__version__.encode(), version.encode(), 2)
            new.writestr(name, content)
    assert read_nar(target).processor_version == version
    return target


def test_deploy_installs_imports_and_starts_a_flow_that_classifies(warehouse: Warehouse) -> None:
    answer = classify(warehouse)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "classified"


def test_deploying_again_changes_nothing_and_is_quick(warehouse: Warehouse, nar: Path, command: Command) -> None:
    code, facts, said = command("deploy", "--nar", str(nar), *warehouse.settings)
    assert (code, changed(facts), said) == (0, [], "")
    assert float(str(facts["seconds"])) < 10


def test_status_is_fine_only_while_everything_runs(warehouse: Warehouse, nar: Path, command: Command) -> None:
    code, facts, _ = command("status")
    assert (code, facts["problems"]) == (0, [])
    assert command("stop")[0] == 0
    code, facts, _ = command("status")
    assert code == 1
    assert "not running" in " ".join(map(str, facts["problems"]))  # type: ignore[call-overload]
    code, facts, _ = command("deploy", "--nar", str(nar))
    assert code == 0
    assert len(changed(facts)) == 1, "only started"


def test_a_changed_parameter_is_set_and_stays_set(warehouse: Warehouse, nar: Path, command: Command) -> None:
    code, facts, said = command("deploy", "--nar", str(nar), "--set", "intake.max.size=500 B")
    assert code == 0, said
    assert "intake.max.size set" in " ".join(changed(facts))
    assert classify(warehouse).status_code == 413
    code, facts, _ = command("deploy", "--nar", str(nar))
    assert (code, changed(facts)) == (0, []), "NiFi's value is kept"
    assert command("deploy", "--nar", str(nar), "--set", "intake.max.size=20 MB")[0] == 0
    assert classify(warehouse).status_code == 200


def test_a_parameter_that_makes_a_processor_invalid_is_told_with_its_name(
    warehouse: Warehouse, nar: Path, command: Command
) -> None:
    code, _, said = command("deploy", "--nar", str(nar), "--set", "intake.max.pixels=many")
    assert code == 1
    assert "FilterImageRequest" in said
    assert command("deploy", "--nar", str(nar), "--set", "intake.max.pixels=50000000")[0] == 0


def test_a_secret_reaches_nifi_and_no_output(
    warehouse: Warehouse, nar: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "0123456789abcdef-secret"
    file = tmp_path / "secrets"
    file.write_text(f"access.keys=alice:{key}\n")
    code, facts, said = command("deploy", "--nar", str(nar), "--parameters", str(file))
    assert code == 0, said
    assert key not in f"{facts} {said}"
    assert classify(warehouse).status_code == 401
    file.write_text("access.keys=\n")
    assert command("deploy", "--nar", str(nar), "--parameters", str(file))[0] == 0
    assert classify(warehouse).status_code == 200


def test_a_port_that_something_else_has_is_told(warehouse: Warehouse, nar: Path, command: Command) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, _, said = command("deploy", "--nar", str(nar), "--set", f"http.classify.port={port}")
        assert code == 1
        assert f"port {port}" in said
        assert "http.classify.port" in said
        assert command("status")[0] == 1
    assert command("deploy", "--nar", str(nar), *warehouse.settings)[0] == 0


def test_what_an_operator_has_changed_in_the_flow_is_put_back(
    warehouse: Warehouse, nar: Path, command: Command, nifi: LocalNifi
) -> None:
    with nifi.client() as client:
        one = stop_processor(client, "HandleHttpResponse")
        one = client.get(f"/processors/{one['id']}").json()
        body = {"revision": one["revision"], "component": {"id": one["id"], "name": "Reply"}}
        client.put(f"/processors/{one['id']}", json=body).raise_for_status()
    code, facts, _ = command("deploy", "--nar", str(nar))
    assert code == 0
    assert "replaced in place, 1 difference" in " ".join(changed(facts))
    assert classify(warehouse).status_code == 200


def test_a_new_version_replaces_the_old_one_in_place(
    warehouse: Warehouse, nar: Path, tmp_path: Path, command: Command, nifi: LocalNifi
) -> None:
    group = command("status")[1]["group"]
    newer = renumbered(nar, NEXT, tmp_path)
    code, facts, said = command("deploy", "--nar", str(newer))
    assert code == 0, said
    assert types(nifi) == {NEXT}
    assert facts["group"]["id"] == group["id"]  # type: ignore[index]
    assert classify(warehouse).status_code == 200
    assert command("status")[0] == 0
    code, _, said = command("deploy", "--nar", str(nar))  # and back
    assert code == 0, said
    assert types(nifi) == {__version__}
    assert classify(warehouse).status_code == 200


def test_a_restarted_nifi_goes_on_where_it_was(
    warehouse: Warehouse, nifi: LocalNifi, nar: Path, command: Command
) -> None:
    nifi.restart(timeout=300)
    code, facts, said = command("deploy", "--nar", str(nar), *warehouse.settings)
    assert code == 0, said
    assert not [text for text in changed(facts) if re.search("uploaded|imported|replaced| set", text)]
    assert classify(warehouse).status_code == 200


def test_each_python_process_is_known_by_its_processor(warehouse: Warehouse, nifi: LocalNifi, nar: Path) -> None:
    assert classify(warehouse).status_code == 200
    found = nifi.python_processes()
    assert {one.type for one in found} == {"Controller", *read_nar(nar).types}
    assert all(one.processor for one in found if one.type != "Controller")


def test_undeploy_throws_nothing_away_unasked(
    warehouse: Warehouse, nar: Path, command: Command, nifi: LocalNifi
) -> None:
    with nifi.client() as client:
        stop_processor(client, "StoreImage")
    headers = {"Content-Type": "image/jpeg"}
    assert httpx.post(warehouse.images, content=FROG, headers=headers, trust_env=False).status_code == 202
    code, _, said = command("undeploy", "--yes")
    assert code == 1
    assert "1 FlowFile would be lost" in said
    assert command("deploy", "--nar", str(nar))[0] == 0
    code, facts, _ = command("stop")
    assert (code, facts["left"]) == (0, []), "started again, the flow has finished it"


def test_undeploy_of_a_group_that_is_connected_says_to_what_and_stops_nothing(
    warehouse: Warehouse, command: Command, nifi: LocalNifi
) -> None:
    group = command("status")[1]["group"]["id"]  # type: ignore[index]
    with nifi.client() as client:
        [port] = client.get(f"/process-groups/{group}/output-ports").json()["outputPorts"]
        root = client.get("/flow/process-groups/root").json()["processGroupFlow"]["id"]

        def make(kind: str, **component: Any) -> tuple[str, int]:
            body = {"revision": {"version": 0}, "component": component}
            made = client.post(f"/process-groups/{root}/{kind}", json=body).raise_for_status().json()
            return f"/{kind}/{made['id']}", made["revision"]["version"]

        funnel = make("funnels", position={"x": 0.0, "y": 900.0})
        ends = {
            "source": {"id": port["id"], "groupId": group, "type": "OUTPUT_PORT"},
            "destination": {"id": funnel[0].rpartition("/")[2], "groupId": root, "type": "FUNNEL"},
        }
        connection = make("connections", **ends)
        code, _, said = command("undeploy", "--yes")
        for path, version in (connection, funnel):
            client.delete(path, params={"version": version}).raise_for_status()
    assert code == 1
    assert "images -> Funnel" in said
    assert classify(warehouse).status_code == 200


def test_undeploy_removes_everything(warehouse: Warehouse, nar: Path, command: Command, nifi: LocalNifi) -> None:
    code, _, said = command("undeploy", "--yes")
    assert code == 0, said
    assert types(nifi) == set()
    with nifi.client() as client:
        assert client.get("/flow/parameter-contexts").json()["parameterContexts"] == []
        assert client.get("/controller/nar-manager/nars").json()["narSummaries"] == []
        assert client.get("/flow/process-groups/root").json()["processGroupFlow"]["flow"]["processGroups"] == []
    assert command("undeploy", "--yes")[0] == 0, "nothing is left to do"
    assert command("status")[0] == 1
