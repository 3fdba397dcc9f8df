"""`imagewarehouse deploy`: each step looks first and does what is missing, so the whole can be run again at any time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagewarehouse.amounts import counted, listed
from imagewarehouse.deployment import flow as flows
from imagewarehouse.deployment import nars, parameters, running
from imagewarehouse.deployment.connection import Nifi
from imagewarehouse.deployment.endpoints import Endpoint, addresses, endpoints, wait_answers
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.flow import Definition, Group
from imagewarehouse.deployment.nars import InstalledNar, LocalNar
from imagewarehouse.deployment.parameters import Context, Given
from imagewarehouse.deployment.report import Report, Step
from imagewarehouse.deployment.target import Target, connected, nodes
from imagewarehouse.flows.settings import check_listeners, without_effect

_SHOWN = 8  # differences of a flow that are named


@dataclass(frozen=True, slots=True)
class Deployment:
    """What to deploy, read and checked before NiFi is asked anything."""

    nar: LocalNar
    definition: Definition
    overrides: Mapping[str, Given]
    start: bool


def read_deployment(
    nar: Path | None,
    flow: Path,
    pairs: tuple[str, ...],
    file: Path | None,
    start: bool,
    environ: Mapping[str, str] = os.environ,
) -> Deployment:
    """Raises ConfigurationError."""
    # The flow first: a misspelt parameter is told even where there is no NAR yet.
    overrides = parameters.given_values(flows.read_definition(flow).flow.parameters, pairs, file, environ)
    local = nars.read_nar(nars.find_nar(nar))
    return Deployment(local, flows.read_definition(flow, local), overrides, start)


def deploy(target: Target, deployment: Deployment, report: Report) -> None:
    """Raises NifiError, Unavailable, ConfigurationError; running it again goes on from there."""
    with connected(target, report) as nifi:
        last = running.last_bulletin(nifi)
        _install(nifi, target, deployment.nar, report)
        group = _find(nifi, target, deployment.definition)
        context = _parameters(nifi, target, deployment, group, report)
        group = _flow(nifi, target, deployment.definition, group, context, report)
        _clean_up(nifi, target, deployment.nar, report)
        if not deployment.start:
            report.finish(f"Deployed {deployment.nar.name}, not started,")
            return
        _start(nifi, target, group, context, last, report)
        _endpoints(nifi, target, group, context, report)
        _bulletins(nifi, group, last, report)
        report.finish(f"Deployed {deployment.nar.name}")


# --- the NAR ------------------------------------------------------------------------------------------------------


def _install(nifi: Nifi, target: Target, nar: LocalNar, report: Report) -> None:
    with report.step(f"NAR {nar.path.name}") as step:
        present = nars.installed_nars(nifi)
        copied = nars.copied_versions(nars.python_types(nifi), present)
        same = next((one for one in present if nars.is_same(nar, one) and not one.failure), None)
        if same is not None:
            installed = nars.wait_installed(nifi, same, nar.types, target.timeout)
            step.said = f"NAR {nar.name} is installed"
            _note_twice(nar, installed, step)
        elif nar.processor_version in copied:
            _note_copied(nar, step)
        else:
            _upload(nifi, target, nar, present, step, report)
        report.doing("waiting for the processors ...")
        nars.wait_types(nifi, nar, target.timeout)
        step.said += f", {counted(len(nar.types), 'processor')}"
        if others := [version for version in copied if version != nar.processor_version]:
            step.note(f"NiFi also has {listed(others)}, {nars.COPIED}: {nars.how_to_remove(others)}")
    report.facts["nar"] = {"id": nar.id, "version": nar.version, "types": sorted(nar.types)}


def _note_copied(nar: LocalNar, step: Step) -> None:
    step.said = f"NAR {nar.name} is there, {nars.COPIED}"
    step.note("NiFi does not tell what is in it, so it is taken for the same as this one; if yours is newer:")
    step.note(f"{nars.how_to_remove([nar.version])}, and run this again")


def _upload(nifi: Nifi, target: Target, nar: LocalNar, present: list[InstalledNar], step: Step, report: Report) -> None:
    replaced = any((one.group, one.id, one.version) == (nar.group, nar.id, nar.version) for one in present)
    size = nar.path.stat().st_size
    report.doing(f"uploading {nar.path.name} ...")
    try:
        uploaded = nars.upload(nifi, nar, report)
    except nars.NarWasCopied:  # a moment ago: NiFi had not found its processors yet, or Python is off
        _note_copied(nar, step)
        return
    report.doing(f"NiFi installs {nar.name} ...")
    installed = nars.wait_installed(nifi, uploaded, nar.types, target.timeout)
    step.said = f"NAR {nar.name} {'replaced' if replaced else 'uploaded'} ({size / 1e6:.0f} MB)"
    step.changed = True
    _note_twice(nar, installed, step)


def _note_twice(nar: LocalNar, installed: InstalledNar, step: Step) -> None:
    if not installed.complete:
        step.note(f"NiFi has it twice, {nars.COPIED} as well: {nars.how_to_remove([nar.version])}")


def _clean_up(nifi: Nifi, target: Target, nar: LocalNar, report: Report) -> None:
    """Other versions of the NAR, once nothing of the flow is theirs any more."""
    for old in nars.others(nars.installed_nars(nifi), nar):
        with report.step(f"NAR {old.name}") as step:
            step.said = f"NAR {old.name} removed"
            step.changed = True
            _remove_nar(nifi, target, old, step)


def _remove_nar(nifi: Nifi, target: Target, old: InstalledNar, step: Step) -> None:
    try:
        nars.delete(nifi, old, target.timeout)
    except NifiError as err:
        if "components are instantiated" not in str(err):
            raise
        step.said = f"NAR {old.name} stays: components elsewhere on the canvas use it"
        step.changed = False


# --- parameters and flow ------------------------------------------------------------------------------------------


def _find(nifi: Nifi, target: Target, definition: Definition) -> Group | None:
    """The group, if it is there and is of this flow; looked at before anything is changed in it."""
    group = flows.find_group(nifi, target.group, target.parent)
    if group is not None:
        flows.check_origin(group, definition, flows.download(nifi, group))
    return group


def _parameters(nifi: Nifi, target: Target, deployment: Deployment, group: Group | None, report: Report) -> Context:
    raw = deployment.definition.context
    name = str(raw["name"])
    declared = deployment.definition.flow.parameters
    with report.step(f"parameters {name}") as step:
        context = parameters.find_context(nifi, name, group.context if group else None)
        merged = parameters.merge(declared, deployment.overrides, context.parameters if context else {})
        values = context.values() if context else {}
        values |= {change.name: change.value for change in merged.changes}
        check_listeners(deployment.definition.flow, values)  # before NiFi has them
        if context is None:
            context = parameters.create_context(nifi, name, str(raw.get("description") or ""), merged.changes)
            step.said = f"parameters {context.name} made, {len(merged.changes)} of them"
        elif merged.changes:
            if group is not None:
                running.settle(nifi, group.identifier, target.timeout)
            report.doing(f"NiFi sets {counted(len(merged.changes), 'parameter')} ...")
            parameters.update_context(nifi, context, merged.changes, target.timeout)
            step.said = f"parameters {context.name}: {listed([change.name for change in merged.changes], 3)} set"
        else:
            step.said = f"parameters {context.name} are as they should be"
        step.changed = bool(merged.changes)
        changed_names = sorted(
            name for name in deployment.overrides if any(change.name == name for change in merged.changes)
        )
        for changed_name in changed_names:
            step.note(f"{changed_name} from {deployment.overrides[changed_name].source}")
        for line in without_effect(values):
            step.note(line)
        if merged.kept:
            step.note(f"kept as NiFi has them: {listed(merged.kept)}")
        if merged.obsolete:
            step.note(f"no longer used by the flow, and left alone: {listed(merged.obsolete)}")
    current_context = parameters.find_context(nifi, name, context.identifier)
    assert current_context is not None
    return current_context


def _flow(
    nifi: Nifi, target: Target, definition: Definition, group: Group | None, context: Context, report: Report
) -> Group:
    with report.step(f"flow {target.group}") as step:
        if group is None:
            report.doing("NiFi imports the flow ...")
            group = flows.import_group(nifi, definition, target.group, target.parent)
            step.said = f"flow imported as {group.name}"
            step.changed = True
        else:
            present = flows.download(nifi, group)
            differences = flows.differences(definition, present)
            if differences:
                _replace(nifi, target, definition, group, context, present, len(differences), report)
                step.said = f"flow {group.name} replaced in place, {counted(len(differences), 'difference')}"
                step.changed = True
                for line in differences[:_SHOWN]:
                    step.note(line)
                if len(differences) > _SHOWN:
                    step.note(f"and {len(differences) - _SHOWN} more")
            else:
                step.said = f"flow {group.name} is as it should be"
    report.facts["group"] = {"id": group.identifier, "name": group.name}
    return group


def _replace(
    nifi: Nifi,
    target: Target,
    definition: Definition,
    group: Group,
    context: Context,
    present: Mapping[str, Any],
    count: int,
    report: Report,
) -> None:
    """NiFi moves no connection that leads to what runs: then all is stopped. Raises NifiError; what ran goes on as it was."""
    ran: list[str] = []
    if flows.left_destinations(definition, present):
        report.doing("the flow stops: some of its connections lead elsewhere now ...")
        ran = running.running_components(nifi, group.identifier)
        running.stop(nifi, group.identifier, target.timeout)
    running.settle(nifi, group.identifier, target.timeout)
    report.doing(f"NiFi replaces the flow, {counted(count, 'difference')} ...")
    try:
        flows.replace_group(nifi, group, definition, present, target.timeout)
    except NifiError:
        with suppress(NifiError):  # the first reason is the one to tell
            running.start_again(nifi, group.identifier, ran, target.timeout)
            listeners = endpoints(running.processors(nifi, group.identifier), context.values())
            ran_before = [listener for listener in listeners if listener.processor in ran]
            _wait_answers(nifi, target, group, ran_before, report)  # a port opens after its listener says that it runs
        raise


# --- running ------------------------------------------------------------------------------------------------------


def _start(nifi: Nifi, target: Target, group: Group, context: Context, last: int, report: Report) -> None:
    with report.step("controller services") as step:
        count = running.enable_services(nifi, group.identifier, target.timeout)
        step.said = f"{counted(count, 'controller service')} enabled" if count else "controller services are enabled"
        step.changed = bool(count)
    with report.step("validation") as step:
        processors = running.wait_valid(nifi, group.identifier, target.timeout, report.doing)
        step.said = f"{counted(len(processors), 'processor')} valid"
    with report.step("start") as step:
        count = running.start(nifi, group.identifier, target.timeout, last, report.doing)
        step.said = f"{counted(count, 'component')} started" if count else "everything runs"
        step.changed = bool(count)
        off = [processor.name for processor in processors if processor.state == "DISABLED"]
        if off:
            step.note(f"disabled in NiFi, and left alone: {listed(off)}")
        now = running.snapshot(nifi, group.identifier)
        if now.closed and context.values().get("images.pass.on") == "true":
            ports = listed(sorted(now.names[identifier] for identifier in now.closed))
            step.note(f"images.pass.on is true, and {ports} leads nowhere: connect it, enable and start it")


def _endpoints(nifi: Nifi, target: Target, group: Group, context: Context, report: Report) -> None:
    listeners = endpoints(running.processors(nifi, group.identifier), context.values())
    if not listeners:
        return
    with report.step("endpoints") as step:
        step.said = f"{counted(len(listeners), 'listener')} answer" + ("s" if len(listeners) == 1 else "")
        hosts = _wait_answers(nifi, target, group, listeners, report)
        for listener in listeners:
            for host in hosts:
                step.note(endpoint_line(listener, host))
    report.facts["endpoints"] = [listener.url(host) for listener in listeners for host in hosts]


def _wait_answers(nifi: Nifi, target: Target, group: Group, listeners: list[Endpoint], report: Report) -> list[str]:
    """Returns the hosts on which they answer. Raises NifiError."""
    hosts = addresses(nifi, (str(node["address"]) for node in nodes(nifi) if node.get("address")))
    wait_answers(nifi, group.identifier, listeners, hosts, min(target.timeout, 60.0), report.doing)
    return hosts


def endpoint_line(endpoint: Endpoint, host: str) -> str:
    return f"POST {endpoint.url(host):<42} {endpoint.name}"


def _bulletins(nifi: Nifi, group: Group, last: int, report: Report) -> None:
    bulletins = [
        bulletin for bulletin in running.bulletins(nifi, group.identifier, last) if running.is_worth_telling(bulletin)
    ]
    lines = running.bulletin_lines(bulletins, _SHOWN)
    if lines:
        report.say("NiFi has something to say:")
        for line in lines:
            report.say(f"    {line}")
    report.facts["bulletins"] = lines
