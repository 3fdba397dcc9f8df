"""`imagewarehouse stop` and `undeploy`: nothing that was accepted is lost unless that is asked for."""

from __future__ import annotations

import sys

import click

from imagewarehouse.amounts import counted, listed
from imagewarehouse.deployment import flow as flows
from imagewarehouse.deployment import nars, parameters, running
from imagewarehouse.deployment.connection import Nifi
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.flow import Group
from imagewarehouse.deployment.report import Report
from imagewarehouse.deployment.running import Queue
from imagewarehouse.deployment.target import Target, connected, existing_group
from imagewarehouse.errors import ConfigurationError

_UNUSED_S = 15.0  # NiFi takes a moment to let go of what a deleted group has used


def stop(target: Target, report: Report) -> bool:
    """Whether the queues were empty when everything was stopped, dead letters aside."""
    with connected(target, report) as nifi:
        queues = stop_group(nifi, target, existing_group(nifi, target), report)
        report.finish("Stopped")
        return not queues


def stop_group(nifi: Nifi, target: Target, group: Group, report: Report) -> list[Queue]:
    """Listeners first, then what they have taken in, then all. Returns the queues that have something left."""
    with report.step("listeners") as step:
        names = running.stop_sources(nifi, group.identifier, target.timeout)
        step.said = f"stopped: {listed(names)}" if names else "listeners do not run"
        step.changed = bool(names)
    with report.step("drain") as step:
        queues = running.drain(nifi, group.identifier, target.timeout, report.doing)
        step.said = (
            "queues are empty" if not queues else f"{counted(sum(q.count for q in queues), 'FlowFile')} left in queues"
        )
        for line in running.queue_lines(queues):
            step.note(line)
        now, plan = running.snapshot(nifi, group.identifier), running.layout(nifi, group.identifier)
        for line in running.queue_lines(running.dead_letters(now, plan)):
            step.note(f"left alone, dead letters: {line}")
    with report.step("stop") as step:
        count = running.stop(nifi, group.identifier, target.timeout)
        step.said = f"{counted(count, 'component')} stopped" if count else "nothing runs"
        step.changed = bool(count)
    report.facts["left"] = running.queue_lines(queues)
    return queues


def undeploy(target: Target, drop_queued: bool, yes: bool, report: Report) -> None:
    """Raises NifiError while something is queued, unless that is to be dropped."""
    with connected(target, report) as nifi:
        group = flows.find_group(nifi, target.group, target.parent)
        if group is not None and group.version_control:
            report.warn(f"{group.name} is under version control; what is in the registry stays there")
        installed = [nar for nar in nars.installed_nars(nifi) if nar.ours]
        copied = nars.copied_versions(nars.python_types(nifi), installed)
        if group is None and not installed:
            _say_copied(copied, report)
            report.finish("Nothing is there that this command could remove; looked")
            return
        if group is not None:
            _check_unconnected(nifi, target, group)
        items = [f"the process group {group.name}"] if group else []
        items += [f"the NAR {nar.name}" for nar in installed]
        if not yes and not _confirmed(f"Remove {' and '.join(items)} from {target.address.url}?"):
            raise NifiError("nothing was removed")
        if group is not None:
            _remove_group(nifi, target, group, drop_queued, report)
        _remove_nars(nifi, target, installed, report)
        _say_copied(nars.copied_versions(nars.python_types(nifi), nars.installed_nars(nifi)), report)
        report.finish("Removed")


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort as err:
        if sys.stdin.isatty():  # Ctrl-C
            raise
        raise ConfigurationError("--yes", "is needed where nobody can be asked: there is no terminal") from err


def _check_unconnected(nifi: Nifi, target: Target, group: Group) -> None:
    """NiFi deletes no group that is connected: told before anything is stopped. Raises NifiError."""
    connected_names = [
        f"{connection.source} -> {connection.destination}"
        for connection in flows.outer_connections(nifi, group, target.parent)
    ]
    if connected_names:
        raise NifiError(
            f"{group.name} is connected to what is outside of it: {listed(connected_names)}. That is yours: stop what it"
            " leads to, empty the connection, delete it on the canvas, and run this again. Nothing was changed."
        )


def _say_copied(versions: list[str], report: Report) -> None:
    """A NAR that came by hand goes by hand; NiFi offers its processors until then."""
    report.facts["copied_nars"] = versions
    for version in versions:
        with report.step(f"NAR {version}") as step:
            step.said = f"NAR {nars.NAR_ID} {version} stays, {nars.COPIED}"
            step.note(nars.how_to_remove([version]))


def _remove_group(nifi: Nifi, target: Target, group: Group, drop_queued: bool, report: Report) -> None:
    context = parameters.find_context(nifi, "", group.context) if group.context else None
    stop_group(nifi, target, group, report)
    queues = [queue for queue in running.snapshot(nifi, group.identifier).queues if queue.count]
    if queues and not drop_queued:
        raise NifiError(
            f"{counted(sum(queue.count for queue in queues), 'FlowFile')} would be lost:\n    "
            + "\n    ".join(running.queue_lines(queues))
            + "\nStart the flow and let it finish them, or give --drop-queued. Everything is stopped now."
        )
    if queues:
        with report.step("queues") as step:
            step.said = f"{counted(running.drop_queued(nifi, group.identifier, target.timeout), 'FlowFile')} dropped"
            step.changed = True
    with report.step("process group") as step:
        running.disable_services(nifi, group.identifier, target.timeout)
        flows.delete_group(nifi, group)
        step.said = f"process group {group.name} removed"
        step.changed = True
    if context is not None:
        _remove_context(nifi, context.identifier, report)


def _remove_context(nifi: Nifi, identifier: str, report: Report) -> None:
    with report.step("parameters") as step:
        context = parameters.find_context(nifi, "", identifier)
        assert context is not None
        if context.groups:
            step.said = f"parameters {context.name} stay: {counted(len(context.groups), 'process group')} more use them"
        else:
            parameters.delete_context(nifi, context)
            step.said = f"parameters {context.name} removed"
            step.changed = True


def _remove_nars(nifi: Nifi, target: Target, installed: list[nars.InstalledNar], report: Report) -> None:
    for nar in installed:
        with report.step(f"NAR {nar.name}") as step:
            try:
                nars.delete(nifi, nar, target.timeout)
            except NifiError as err:
                if "components are instantiated" not in str(err):
                    raise
                step.said = f"NAR {nar.name} stays: components elsewhere on the canvas use it"
            else:
                step.said = f"NAR {nar.name} removed"
                step.changed = True
