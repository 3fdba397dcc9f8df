"""The flows that are compared, made of the shipped one.

    packages        the flow as it is shipped
    throughput      the same, with nifi-conf/nifi-throughput.properties.example and its collector
    before          the flow and the NAR of an older commit
    single          the same processors, one FlowFile an image, the bridge as NiFi has it (IMAGEWAREHOUSE_BRIDGE=plain)
    model server    one FlowFile an image, and NiFi's InvokeHTTP asks a REST model server for the class: the image as
                    base64 in JSON, one request an image, as such products want it

What the comparison is not about is the same in all: listeners, checks, the store of images, rows. The model server's flow
keeps the cure of the bridge, which a user without our processors would not have.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import product_at
from imagewarehouse.flows.build import build_flow
from imagewarehouse.resources import REPOSITORY
from tools.local_nifi import read_properties

Raw = dict[str, Any]

PACKAGES, THROUGHPUT, SINGLE, SERVER, BEFORE = "packages", "throughput", "single", "model server", "before"
_THROUGHPUT_FILE = REPOSITORY / "nifi-conf" / "nifi-throughput.properties.example"
KUDU_JARS = REPOSITORY / "imagewarehouse" / "kudu" / "jars"
_TASKS_OF_ROWS = 8  # rows of single FlowFiles share a commit only if many tasks write at the same time
_NIFI = "2.9.0"


@dataclass(frozen=True, slots=True)
class Design:
    """`properties` are NiFi's, `settings` parameters of the flow, `nar` another one than ours."""

    name: str
    flow: Raw = field(repr=False)
    environment: dict[str, str]
    properties: Mapping[str, str] = field(default_factory=dict)
    jvm_options: tuple[str, ...] = ()
    nar: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


def designs(model_server: str) -> list[Design]:
    """`model_server`: URL that takes {"image": "<base64>"}."""
    shipped = build_flow()
    single = without_packages(shipped)
    return [
        Design(PACKAGES, shipped, {}),
        Design(THROUGHPUT, shipped, {}, read_properties(_THROUGHPUT_FILE), ("-XX:+UseParallelGC",)),
        Design(SINGLE, single, {"IMAGEWAREHOUSE_BRIDGE": "plain"}),
        Design(SERVER, through_model_server(single, model_server), {}),
    ]


def before(commit: str) -> Design:
    """The flow of an older commit, with its NAR, which is packed once."""
    tree, _, _ = product_at(commit)
    if not (nars := sorted((tree / "dist").glob("*.nar"))):
        # Jars of Kudu's client are fetched, and no part of a commit.
        shutil.copytree(KUDU_JARS, tree / "imagewarehouse" / "kudu" / "jars", dirs_exist_ok=True)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        subprocess.run(
            [sys.executable, "-m", "tools.nar"],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "PATH": path},
            check=True,
        )
        nars = sorted((tree / "dist").glob("*.nar"))
    flow = json.loads((tree / "flows" / "image-warehouse.json").read_text(encoding="utf-8"))
    return Design(BEFORE, flow, {}, nar=nars[-1])


def without_packages(shipped: Raw) -> Raw:
    flow = copy.deepcopy(shipped)
    for group in _groups(flow["flowContents"]):
        for processor in group["processors"]:
            if "FlowFile Packages" in processor["properties"]:
                processor["properties"]["FlowFile Packages"] = "false"
            if processor["type"] == "PutKuduRecord":
                processor["concurrentlySchedulableTaskCount"] = _TASKS_OF_ROWS
        for processor in list(group["processors"]):
            if processor["type"].endswith((".PackageFlowFile", ".UnpackContent", ".UpdateAttribute")):
                _take_out(group, processor)
        for connection in group["connections"]:
            connection["backPressureObjectThreshold"] = max(1000, connection["backPressureObjectThreshold"])
    return flow


def through_model_server(single: Raw, url: str) -> Raw:
    flow = copy.deepcopy(single)
    [group] = [group for group in _groups(flow["flowContents"]) if group["name"] == "Prediction"]
    [classify] = group["processors"]
    chain = [
        _java(classify, "Base64", "EncodeContent", {"Line Output Mode": "SINGLE_LINE"}, ["success"]),
        _java(classify, "JSON", "ReplaceText", {
            "Replacement Strategy": "Surround", "Evaluation Mode": "Entire text", "Maximum Buffer Size": "64 MB",
            "Text to Prepend": '{"image":"', "Text to Append": '"}'}, ["success"]),
        _java(classify, "Ask the model server", "InvokeHTTP", {
            "HTTP Method": "POST", "HTTP URL": url, "Request Content-Type": "application/json"}, ["Response"]),
        _java(classify, "Read the answer", "EvaluateJsonPath", {
            "Destination": "flowfile-attribute", "Return Type": "json",
            **{name: f"$.{name}" for name in ("confidence", "top_k", "inference_ms", "preprocess_ms")}}, ["matched"]),
        _java(classify, "Read the class", "EvaluateJsonPath", {
            "Destination": "flowfile-attribute", "Return Type": "scalar",
            **{name: f"$.{name}" for name in ("predicted_class", "model_name", "model_version")}}, ["matched"]),
        _java(classify, "Classified", "UpdateAttribute", {"status": "classified"}, ["success"]),
    ]  # fmt: skip
    for processor in chain:
        processor["concurrentlySchedulableTaskCount"] = 4 if processor["type"].endswith("InvokeHTTP") else 2
    incoming, outgoing, failing = (_connection(group, classify, way) for way in (None, "success", "failure"))
    group["processors"] = chain
    group["connections"] = [
        {**incoming, "destination": _end(chain[0])},
        *(_between(group, incoming, first, second) for first, second in itertools.pairwise(chain)),
        {**outgoing, "source": _end(chain[-1])},
    ]
    ways = {"InvokeHTTP": ["Retry", "No Retry", "Failure"], "EvaluateJsonPath": ["failure", "unmatched"]}
    group["connections"] += [
        {**failing, "identifier": str(uuid.uuid4()), "source": _end(processor),
         "selectedRelationships": ways.get(processor["type"].rpartition(".")[2], ["failure"])}
        for processor in chain[:-1]
    ]  # fmt: skip
    return flow


def _groups(root: Raw) -> Iterator[Raw]:
    yield root
    for child in root["processGroups"]:
        yield from _groups(child)


def _take_out(group: Raw, processor: Raw) -> None:
    """What came to it goes where its `success` went."""
    end = _connection(group, processor, "success")["destination"]
    kept = [item for item in group["connections"] if item["source"]["id"] != processor["identifier"]]
    for item in kept:
        if item["destination"]["id"] == processor["identifier"]:
            item["destination"] = end
    group["connections"] = kept
    group["processors"].remove(processor)


def _connection(group: Raw, processor: Raw, relationship: str | None) -> Raw:
    """The connection that leaves on the relationship, or (None) the one that comes in."""
    here = processor["identifier"]
    [found] = [
        item for item in group["connections"]
        if (item["destination"]["id"] == here if relationship is None
            else item["source"]["id"] == here and relationship in item["selectedRelationships"])
    ]  # fmt: skip
    return found


def _java(like: Raw, name: str, kind: str, properties: dict[str, str], ways: list[str]) -> Raw:
    update = kind == "UpdateAttribute"
    artifact = "nifi-update-attribute-nar" if update else "nifi-standard-nar"
    package = "org.apache.nifi.processors.attributes" if update else "org.apache.nifi.processors.standard"
    descriptors = {
        key: {"name": key, "displayName": key, "identifiesControllerService": False, "sensitive": False,
              "dynamic": key.islower()}
        for key in properties
    }  # fmt: skip
    return {
        **like,
        "identifier": str(uuid.uuid4()),
        "name": name,
        "type": f"{package}.{kind}",
        "bundle": {"group": "org.apache.nifi", "artifact": artifact, "version": _NIFI},
        "properties": properties,
        "propertyDescriptors": descriptors,
        "autoTerminatedRelationships": ["Original"] if kind == "InvokeHTTP" else [],
        "_ways": ways,
    }


def _between(group: Raw, like: Raw, first: Raw, second: Raw) -> Raw:
    return {
        **like,
        "identifier": str(uuid.uuid4()),
        "source": _end(first),
        "destination": _end(second),
        "selectedRelationships": first["_ways"],
    }


def _end(processor: Raw) -> Raw:
    return {"groupId": processor["groupIdentifier"], "id": processor["identifier"], "name": processor["name"],
            "type": "PROCESSOR", "comments": ""}  # fmt: skip


def as_json(design: Design) -> str:
    return json.dumps(design.flow, indent=1)
