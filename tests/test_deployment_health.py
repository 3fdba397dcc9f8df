"""What `status` says of a flow that is valid and runs and is ill all the same, and NARs that were copied into NiFi."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from imagewarehouse.deployment import health, status_metrics
from imagewarehouse.deployment.nars import InstalledNar, copied_versions, how_to_remove, our_types
from imagewarehouse.deployment.running import Queue
from tests.test_deploy import Canned, Command, Server, run  # noqa: F401 - a fixture

GIGABYTE = 10**9


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


# --- disks --------------------------------------------------------------------------------------------------------


def usage(percent: int, identifier: str = "default") -> dict[str, Any]:
    return {"identifier": identifier, "usedSpaceBytes": percent * GIGABYTE, "totalSpaceBytes": 100 * GIGABYTE}


def repositories(flowfile: int, content: int, provenance: int) -> dict[str, Any]:
    return {
        "flowFileRepositoryStorageUsage": usage(flowfile),
        "contentRepositoryStorageUsage": [usage(content)],
        "provenanceRepositoryStorageUsage": [usage(provenance)],
    }


def test_a_disk_near_its_limit_is_a_problem_and_names_the_node() -> None:
    nodes = [
        {"address": "node-1", "snapshot": repositories(10, 20, 30)},
        {"address": "node-2", "snapshot": repositories(10, 90, 89)},
    ]
    nifi: Any = Canned({"/system-diagnostics": {"systemDiagnostics": {"nodeSnapshots": nodes}}})
    found = health.disks(nifi)
    assert found is not None
    assert len(found) == 6
    [problem] = health.disk_problems(found)
    assert problem.startswith("content repository on node-2: 90 % of 100 GB used")


def test_disks_of_a_nifi_that_runs_alone() -> None:
    nifi: Any = Canned({"/system-diagnostics": {"systemDiagnostics": {"aggregateSnapshot": repositories(1, 2, 3)}}})
    assert [str(disk) for disk in health.disks(nifi) or ()] == [
        "FlowFile repository: 1 % of 100 GB used",
        "content repository: 2 % of 100 GB used",
        "provenance repository: 3 % of 100 GB used",
    ]


# --- queues -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "full", "said"),
    [
        pytest.param(1, True, False, id="one-package-is-what-most-queues-are-made-for"),
        pytest.param(999, False, False, id="not-full"),
        pytest.param(1000, True, True, id="full"),
    ],
)
def test_a_queue_at_its_limit_is_a_problem(count: int, full: bool, said: bool) -> None:
    queue = Queue("q", "", "Handle Request", "Receive images", "Gather images", count, 5_000_000, full)
    problems = health.queue_problems([queue])
    assert bool(problems) == said
    if said:
        assert "1,000 FlowFiles (5 MB) in Handle Request: Receive images -> Gather images" in problems[0]


# --- bulletins ----------------------------------------------------------------------------------------------------

WAITING = (
    "Unable to write flowfile content to content repository container default due to archive file size constraints;"
    " waiting for archive cleanup. Total number of files currently archived = 285"
)


def bulletin(number: int, message: str, **more: Any) -> dict[str, Any]:
    about = {
        "id": number,
        "level": "ERROR",
        "message": message,
        "timestamp": "23:59:50 UTC",
        "groupId": "g",
        "sourceId": "s",
        "sourceName": "StoreImage",
        "sourceType": "PROCESSOR",
    }
    return {"id": number, "bulletin": about | more}


def board(*items: dict[str, Any], now: str = "00:00:05 UTC") -> tuple[list[str], list[str]]:
    answer = {"bulletinBoard": {"generated": now, "bulletins": list(items)}}
    nifi: Any = Canned({"/flow/bulletin-board": answer})
    found = health.board(nifi, ["g"])
    messages, problems = found.bulletins, [*found.archive, *found.failing]
    return [str(message["message"]) for message in messages], problems


def test_writes_that_waited_for_the_content_archive_are_a_problem() -> None:
    controller = {"level": "WARNING", "sourceType": "FLOW_CONTROLLER", "groupId": None, "sourceId": None}
    messages, [problem] = board(bulletin(1, WAITING, **controller))
    assert messages == [WAITING]
    assert "the last time at 23:59:50 UTC" in problem
    assert "nifi.content.repository.archive.enabled=false" in problem


def test_a_step_that_goes_on_failing_is_a_problem_and_one_that_failed_once_is_not() -> None:
    errors = [bulletin(number, "disk is full") for number in range(3)]
    assert board(*errors)[1] == ["StoreImage goes on failing: disk is full"]
    assert board(*errors[:2]) == (["disk is full"] * 2, [])
    assert board(*errors, now="00:00:15 UTC")[1] == [], "it has not failed for 20 seconds"
    assert board(*errors, now="00:01:20 UTC")[1] == [], "it has not failed for a minute"
    assert board(*(bulletin(number, "disk is full", groupId="another") for number in range(3))) == ([], [])


# --- NARs ---------------------------------------------------------------------------------------------------------


def managed(version: str) -> InstalledNar:
    return InstalledNar("i", "g", "n", version, "imagewarehouse", "", "Installed", "", True)


def offered(*versions: str) -> list[tuple[str, str]]:
    return [(kind, version) for version in versions for kind in sorted(our_types())]


def test_processors_that_no_nar_of_the_manager_has_were_copied() -> None:
    assert copied_versions(offered("1.0.0"), []) == ["1.0.0"]
    assert copied_versions(offered("1.0.0"), [managed("1.0.0")]) == []
    assert copied_versions(offered("1.0.0", "2.0.0"), [managed("2.0.0")]) == ["1.0.0"]
    assert copied_versions([("ClassifyImage", "7")], []) == [], "somebody else's, of the same name"
    assert "image-warehouse*-1.0.0-*.nar" in how_to_remove(["1.0.0"])


# --- undeploy -----------------------------------------------------------------------------------------------------


def with_a_group(server: Server, connections: list[dict[str, Any]]) -> None:
    def answer(path: str, content: Any) -> None:
        server.answers[f"GET {path}"] = (200, "application/json", json.dumps(content))

    group = {"id": "g", "revision": {"version": 0}, "component": {"name": "Image Warehouse"}}
    flow = {"processGroups": [group], "connections": connections}
    answer("/flow/process-groups/root", {"processGroupFlow": {"flow": flow}})
    answer("/controller/nar-manager/nars", {"narSummaries": []})
    answer("/flow/processor-types", {"processorTypes": []})


def test_undeploy_without_a_terminal_asks_for_yes_and_changes_nothing(
    run: Command,  # noqa: F811
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_a_group(server, [])
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    code, said = run("undeploy", "--nifi", server.url)
    assert code == 2
    assert "--yes: is needed" in said
    assert not [asked for asked in server.asked if not asked.startswith("GET")]


def test_undeploy_of_a_group_that_is_connected_says_to_what_and_changes_nothing(run: Command, server: Server) -> None:  # noqa: F811
    ends = {"source": {"name": "images"}, "destination": {"name": "RouteOnAttribute"}}
    with_a_group(server, [{"sourceGroupId": "g", "destinationGroupId": "root", "component": ends}])
    code, said = run("undeploy", "--nifi", server.url, "--yes")
    assert code == 1
    assert "images -> RouteOnAttribute" in said
    assert not [asked for asked in server.asked if not asked.startswith("GET")]


# --- metrics ------------------------------------------------------------------------------------------------------


def values(facts: dict[str, Any]) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(status_metrics.text(facts))
    return {
        (sample.name.removeprefix("imagewarehouse_nifi_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_tell_what_slows_a_flow_down() -> None:
    url = "http://node-1:8082/classify"
    facts = {
        "ok": False,
        "problems": ["full: ...", "NiFi waited ..."],
        "disks": [{"repository": "content repository", "node": "node-1", "used_bytes": 93, "total_bytes": 100}],
        "group": {"components": 34, "running": 33},
        "queues": [{"group": "Prediction", "flowfiles": 12, "bytes": 3000}],
        "dead_letters": ["one"],
        "endpoints": [{"url": url, "answers": False}],
        "slowed_by": {"full_queues": 2, "content_archive": True, "failing_components": 1},
    }
    assert values(facts) == {
        ("ok",): 0, ("problems",): 2, ("disk_used_bytes", "node-1", "content repository"): 93,
        ("disk_total_bytes", "node-1", "content repository"): 100, ("components",): 34, ("components_running",): 33,
        ("queued_flowfiles", "Prediction"): 12, ("queued_bytes", "Prediction"): 3000, ("dead_letter_queues",): 1,
        ("endpoint_answers", url): 0, ("full_queues",): 2, ("failing_components",): 1, ("waited_for_archive",): 1,
    }  # fmt: skip


def test_what_could_not_be_seen_has_no_metric() -> None:
    facts = {"ok": False, "problems": ["there is no process group"], "disks": None, "group": None}
    assert values(facts) == {("ok",): 0, ("problems",): 1}
