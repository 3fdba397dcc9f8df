"""`imagewarehouse status`: what is there, and whether all of it runs."""

from __future__ import annotations

import json
from typing import Any

import click

from imagewarehouse.amounts import counted, listed
from imagewarehouse.deployment import flow as flows
from imagewarehouse.deployment import nars, parameters, running
from imagewarehouse.deployment.connection import Nifi
from imagewarehouse.deployment.deploying import endpoint_line
from imagewarehouse.deployment.endpoints import addresses, answers, endpoints, port_taken, ports_taken
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.report import Report
from imagewarehouse.deployment.target import Target, nodes

_BULLETINS = 5


def show_status(target: Target, as_json: bool) -> bool:
    """Whether everything is valid and runs. Raises Unavailable, ConfigurationError, NifiError."""
    if target.address.insecure and target.address.secure:
        Report().warn("--insecure: whoever is between here and NiFi can read and change everything, logins included")
    with Nifi(target.address, target.login) as nifi:
        facts = _facts(nifi, target)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        for line in _lines(facts):
            click.echo(line)
    return bool(facts["ok"])


def _facts(nifi: Nifi, target: Target) -> dict[str, Any]:
    facts: dict[str, Any] = {"nifi": target.address.url, "version": nifi.connect(), "problems": []}
    problems: list[str] = facts["problems"]
    found_nodes = nodes(nifi)
    facts["nodes"] = [{"address": one.get("address"), "status": one.get("status")} for one in found_nodes]
    problems += [f"node {one.get('address')} is {one['status']}" for one in found_nodes
                 if one.get("address") and one.get("status") != "CONNECTED"]  # fmt: skip
    facts["nars"] = _nars(nifi, problems)
    group = flows.find_group(nifi, target.group, target.parent)
    facts["group"] = None
    if group is None:
        problems.append(f"there is no process group called {target.group}; deploy makes one")
        return facts | {"ok": False}
    now = running.snapshot(nifi, group.identifier)
    found = running.processors(nifi, group.identifier)
    offered = set(nars.python_types(nifi))
    ours = {(one.type, one.bundle[2]) for one in found if one.bundle[:2] == nars.PYTHON_BUNDLE}
    states = dict(now.states) | {one.identifier: one.physical.capitalize() for one in found}
    facts["group"] = {
        "id": group.identifier,
        "name": group.name,
        "running": sum(state == "Running" for state in states.values()),
        "components": len(states),
    }
    facts["types"] = [{"type": kind, "version": version} for kind, version in sorted(ours)]
    problems += [
        f"NiFi does not offer {kind} {version}; deploy installs it" for kind, version in sorted(ours - offered)
    ]
    facts["queues"] = [{"group": name, "flowfiles": count, "bytes": size} for name, count, size in now.groups]
    facts["dead_letters"] = running.queue_lines(running.dead_letters(now, running.layout(nifi, group.identifier)))
    invalid = [one for one in found if one.validity != "VALID" and one.state != "DISABLED"]
    facts["invalid"] = running.invalid_lines(invalid)
    problems += facts["invalid"]
    wrong = {one.identifier for one in invalid}
    stopped = [
        now.names.get(one, one)
        for one, state in states.items()
        if state != "Running" and one not in wrong and one not in now.closed
    ]
    if stopped:
        problems.append(f"not running: {listed(sorted(stopped))}")
    off = [one["name"] for one in running.services(nifi, group.identifier) if one["state"] != "ENABLED"]
    if off:
        problems.append(f"controller services not enabled: {listed(off)}")
    facts["endpoints"] = _endpoints(nifi, group, found, found_nodes, stopped, problems)
    said = [one for one in running.bulletins(nifi, group.identifier) if running.is_worth_telling(one)]
    facts["bulletins"] = running.bulletin_lines(said, _BULLETINS)
    return facts | {"ok": not problems}


def _nars(nifi: Nifi, problems: list[str]) -> list[dict[str, str]]:
    try:
        found = [one for one in nars.installed_nars(nifi) if one.ours]
    except NifiError as err:  # needs a policy of its own, which who only looks may not have
        return [{"id": "?", "version": "?", "state": str(err)}]
    problems += [f"NAR {one.name}: {one.failure}" for one in found if one.failure]
    if not found:
        problems.append("the NAR manager has no NAR of ours")
    elif len(found) > 1:
        problems.append(f"{len(found)} versions of the NAR are installed; deploy removes those not in use")
    return [{"id": one.id, "version": one.version, "state": one.state} for one in found]


def _endpoints(nifi: Nifi, group: flows.Group, found: Any, found_nodes: Any, stopped: Any, problems: Any) -> list[Any]:
    values: dict[str, str | None] = {}
    if group.context:
        try:
            context = parameters.find_context(nifi, "", group.context)
        except NifiError as err:
            problems.append(str(err))
        else:
            values = context.values() if context else {}
    known = endpoints(found, values)
    problems += [port_taken(one) for one in ports_taken(nifi, group.identifier, known)]
    hosts = addresses(nifi, (str(node["address"]) for node in found_nodes if node.get("address")))
    lines = []
    for one in known:
        for host in hosts:
            answered = answers(one, host)
            lines.append(
                {"url": one.url(host), "name": one.name, "answers": answered, "line": endpoint_line(one, host)}
            )
            if not answered and one.name not in stopped:
                problems.append(f"no answer at {one.url(host)} from here")
    return lines


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"NiFi        {facts['version']} at {facts['nifi']}"]
    lines += [f"node        {one['address'] or ''} {one['status']}" for one in facts["nodes"]]
    lines += [f"NAR         {one['id']} {one['version']}, {one['state'].lower()}" for one in facts["nars"]]
    group = facts["group"]
    if group is not None:
        lines.append(f"flow        {group['name']}, {group['running']} of {group['components']} components run")
        versions = sorted({one["version"] for one in facts["types"]})
        lines.append(f"processors  {', '.join(one['type'] for one in facts['types'])} {', '.join(versions)}")
        lines += [
            f"queued      {one['group']:<24} {counted(one['flowfiles'], 'FlowFile'):>16}, {one['bytes'] / 1e6:.1f} MB"
            for one in facts["queues"]
        ]
        lines += [f"dead        {line}" for line in facts["dead_letters"]]
        lines += [f"endpoint    {one['line']}{'' if one['answers'] else '   no answer'}" for one in facts["endpoints"]]
        lines += [f"bulletin    {line}" for line in facts["bulletins"]]
    lines += [f"PROBLEM     {line}" for line in facts["problems"]]
    return [*lines, "all valid and running" if facts["ok"] else "not as it should be"]
