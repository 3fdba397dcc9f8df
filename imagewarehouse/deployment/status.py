"""`imagewarehouse status`: what is there, and whether all of it runs."""

from __future__ import annotations

import json
from typing import Any, Literal

import click

from imagewarehouse.amounts import counted, listed
from imagewarehouse.deployment import flow as flows
from imagewarehouse.deployment import health, nars, parameters, running, status_metrics
from imagewarehouse.deployment.connection import Nifi
from imagewarehouse.deployment.deploying import endpoint_line
from imagewarehouse.deployment.endpoints import addresses, answers, endpoints, port_taken, ports_taken
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.report import Report
from imagewarehouse.deployment.target import Target, nodes

_BULLETINS = 5


def show_status(target: Target, shape: Literal["lines", "json", "metrics"] = "lines") -> bool:
    """Print it. Gives whether everything is valid and runs. Raises Unavailable, ConfigurationError, NifiError."""
    if target.address.insecure and target.address.secure:
        Report().warn("--insecure: whoever is between here and NiFi can read and change everything, logins included")
    with Nifi(target.address, target.login) as nifi:
        facts = _facts(nifi, target)
    if shape == "json":
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    elif shape == "metrics":
        click.echo(status_metrics.text(facts), nl=False)
    else:
        for line in _lines(facts):
            click.echo(line)
    return bool(facts["ok"])


def _facts(nifi: Nifi, target: Target) -> dict[str, Any]:
    facts: dict[str, Any] = {"nifi": target.address.url, "version": nifi.connect(), "problems": []}
    problems: list[str] = facts["problems"]
    found_nodes = nodes(nifi)
    facts["nodes"] = [{"address": node.get("address"), "status": node.get("status")} for node in found_nodes]
    problems += [f"node {node.get('address')} is {node['status']}" for node in found_nodes
                 if node.get("address") and node.get("status") != "CONNECTED"]  # fmt: skip
    facts["nars"] = _nars(nifi, problems)
    disks = health.disks(nifi)
    facts["disks"] = None if disks is None else [
        {"repository": disk.repository, "node": disk.node, "used_bytes": disk.used, "total_bytes": disk.total,
         "percent": disk.percent, "line": str(disk)}
        for disk in disks
    ]  # fmt: skip
    problems += health.disk_problems(disks or ())
    group = flows.find_group(nifi, target.group, target.parent)
    facts["group"] = None
    if group is None:
        problems.append(f"there is no process group called {target.group}; deploy makes one")
        return facts | {"ok": False}
    now = running.snapshot(nifi, group.identifier)
    processors = running.processors(nifi, group.identifier)
    offered = set(nars.python_types(nifi))
    ours = {
        (processor.type, processor.bundle[2]) for processor in processors if processor.bundle[:2] == nars.PYTHON_BUNDLE
    }
    states = dict(now.states) | {processor.identifier: processor.physical.capitalize() for processor in processors}
    facts["group"] = {
        "id": group.identifier,
        "name": group.name,
        "running": sum(state == "Running" for state in states.values()),
        "components": len(states),
        "off_by_design": sorted(now.names.get(identifier, identifier) for identifier in now.closed),
    }
    facts["types"] = [{"type": kind, "version": version} for kind, version in sorted(ours)]
    problems += [
        f"NiFi does not offer {kind} {version}; deploy installs it" for kind, version in sorted(ours - offered)
    ]
    facts["queues"] = [{"group": name, "flowfiles": count, "bytes": size} for name, count, size in now.groups]
    facts["dead_letters"] = running.queue_lines(running.dead_letters(now, running.layout(nifi, group.identifier)))
    invalid = [processor for processor in processors if processor.validity != "VALID" and processor.state != "DISABLED"]
    facts["invalid"] = running.invalid_lines(invalid)
    problems += facts["invalid"]
    wrong = {processor.identifier for processor in invalid}
    stopped = [
        now.names.get(identifier, identifier)
        for identifier, state in states.items()
        if state != "Running" and identifier not in wrong and identifier not in now.closed
    ]
    if stopped:
        problems.append(f"not running: {listed(sorted(stopped))}")
    off = [service["name"] for service in running.services(nifi, group.identifier) if service["state"] != "ENABLED"]
    if off:
        problems.append(f"controller services not enabled: {listed(off)}")
    facts["endpoints"] = _endpoints(nifi, group, processors, found_nodes, stopped, problems)
    full = health.queue_problems(now.queues)
    board = health.board(nifi, running.group_identifiers(nifi, group.identifier))
    problems += [*full, *board.archive, *board.failing]
    facts["bulletins"] = running.bulletin_lines(board.bulletins, _BULLETINS)
    facts["slowed_by"] = {
        "full_queues": len(full),
        "content_archive": bool(board.archive),
        "failing_components": len(board.failing),
    }
    return facts | {"ok": not problems}


def _nars(nifi: Nifi, problems: list[str]) -> list[dict[str, str]]:
    try:
        own_nars = [nar for nar in nars.installed_nars(nifi) if nar.ours]
    except NifiError as err:  # needs a policy of its own, which who only looks may not have
        return [{"id": "?", "version": "?", "state": str(err)}]
    problems += [f"NAR {nar.name}: {nar.failure}" for nar in own_nars if nar.failure]
    copied = nars.copied_versions(nars.python_types(nifi), own_nars)
    if not own_nars and not copied:
        problems.append("NiFi has no NAR of ours; deploy installs it")
    elif len(own_nars) > 1:
        problems.append(f"{len(own_nars)} versions of the NAR are installed; deploy removes those not in use")
    if twice := [nar.version for nar in own_nars if not nar.complete]:
        problems.append(f"{listed(twice)} is being installed, or was copied as well: {nars.how_to_remove(twice)}")
    if copied and len(own_nars) + len(copied) > 1:
        problems.append(f"two NARs offer the same processors: {nars.how_to_remove(copied)}")
    return [
        *({"id": nar.id, "version": nar.version, "state": nar.state} for nar in own_nars),
        *({"id": nars.NAR_ID, "version": version, "state": nars.COPIED} for version in copied),
    ]


def _endpoints(
    nifi: Nifi, group: flows.Group, processors: Any, found_nodes: Any, stopped: Any, problems: Any
) -> list[Any]:
    values: dict[str, str | None] = {}
    if group.context:
        try:
            context = parameters.find_context(nifi, "", group.context)
        except NifiError as err:
            problems.append(str(err))
        else:
            values = context.values() if context else {}
    listeners = endpoints(processors, values)
    problems += [port_taken(listener) for listener in ports_taken(nifi, group.identifier, listeners)]
    hosts = addresses(nifi, (str(node["address"]) for node in found_nodes if node.get("address")))
    lines = []
    for listener in listeners:
        for host in hosts:
            answered = answers(listener, host)
            lines.append(
                {
                    "url": listener.url(host),
                    "name": listener.name,
                    "answers": answered,
                    "line": endpoint_line(listener, host),
                }
            )
            if not answered and listener.name not in stopped:
                problems.append(f"no answer at {listener.url(host)} from here")
    return lines


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"NiFi        {facts['version']} at {facts['nifi']}"]
    lines += [f"node        {node['address'] or ''} {node['status']}" for node in facts["nodes"]]
    lines += [f"NAR         {nar['id']} {nar['version']}, {nar['state'].lower()}" for nar in facts["nars"]]
    if facts["disks"] is None:
        lines.append("disk        not told: this user may not look at 'system diagnostics'")
    else:
        lines += [f"disk        {disk['line']}" for disk in facts["disks"]]
    group = facts["group"]
    if group is not None:
        off = group["off_by_design"]
        count = f"{group['running']} of {group['components'] - len(off)} components run"
        lines.append(
            f"flow        {group['name']}, {count}{f'; off, because it leads nowhere: {listed(off)}' if off else ''}"
        )
        versions = sorted({processor_type["version"] for processor_type in facts["types"]})
        lines.append(
            f"processors  {', '.join(processor_type['type'] for processor_type in facts['types'])} {', '.join(versions)}"
        )
        lines += [
            f"queued      {queue['group']:<24} {counted(queue['flowfiles'], 'FlowFile'):>16}, {queue['bytes'] / 1e6:.1f} MB"
            for queue in facts["queues"]
        ]
        lines += [f"dead        {line}" for line in facts["dead_letters"]]
        lines += [
            f"endpoint    {endpoint['line']}{'' if endpoint['answers'] else '   no answer'}"
            for endpoint in facts["endpoints"]
        ]
        lines += [f"bulletin    {line}" for line in facts["bulletins"]]
    lines += [f"PROBLEM     {line}" for line in facts["problems"]]
    return [*lines, "all valid and running" if facts["ok"] else "not as it should be"]
