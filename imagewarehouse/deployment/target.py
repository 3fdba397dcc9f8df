"""What the commands work on: a NiFi, and in it a process group with its parameter context."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from imagewarehouse import resources
from imagewarehouse.deployment.connection import Address, Login, Nifi
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.flow import Group, find_group
from imagewarehouse.deployment.report import Report
from imagewarehouse.errors import ConfigurationError

TESTED = "2.9"
FLOW = resources.FLOW
GROUP = "Image Warehouse"


@dataclass(frozen=True, slots=True)
class Target:
    """`timeout`: how many seconds one step may take."""

    address: Address
    login: Login
    group: str
    parent: str
    timeout: float


@contextmanager
def connected(target: Target, report: Report) -> Iterator[Nifi]:
    """A NiFi of a version that the flow is for. Raises Unavailable, ConfigurationError."""
    if target.address.insecure and target.address.secure:
        report.warn("--insecure: whoever is between here and NiFi can read and change everything, logins included")
    with Nifi(target.address, target.login) as nifi:
        with report.step(f"NiFi at {target.address.url}") as step:
            version = nifi.connect()
            if not re.match(r"2\.", version):
                raise ConfigurationError("--nifi", f"is NiFi {version}; Python processors need NiFi 2")
            step.said = f"NiFi {version} at {target.address.url}"
            if not version.startswith(f"{TESTED}."):
                step.note(f"written for NiFi {TESTED} and tested with it")
        report.facts |= {"nifi": target.address.url, "version": version}
        yield nifi


def existing_group(nifi: Nifi, target: Target) -> Group:
    group = find_group(nifi, target.group, target.parent)
    if group is None:
        where = "" if target.parent == "root" else f" in {target.parent}"
        raise ConfigurationError("--group", f"NiFi has no process group called {target.group}{where}; deploy makes one")
    return group


def nodes(nifi: Nifi) -> list[Mapping[str, Any]]:
    """The cluster's nodes; none where NiFi runs alone."""
    summary = nifi.get("/flow/cluster/summary")["clusterSummary"]
    if not summary.get("clustered"):
        return []
    try:
        cluster_nodes: list[Mapping[str, Any]] = nifi.get("/controller/cluster")["cluster"]["nodes"]
    except NifiError:  # needs a policy that the rest can do without
        return [{"address": None, "status": f"{summary.get('connectedNodes')} connected"}]
    return cluster_nodes
