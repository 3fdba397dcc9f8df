"""`imagewarehouse flow`: looks at flow definitions."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group()
def flow() -> None:
    """Look at flow definitions."""


@flow.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
def check(file: Path | None) -> None:
    """Check a NiFi flow definition: processors, properties, parameters, connections, handling of all failures.

    FILE is what NiFi's "Download flow definition" gives. Without it: the flow of this project.
    """
    from imagewarehouse.flows.check import check_flow
    from imagewarehouse.flows.definition import parse_flow, read_flow, read_json
    from imagewarehouse.standalone.runner import DEFAULT_FLOW

    path = file or DEFAULT_FLOW
    read_flow(path)  # names the file in its errors
    raw = read_json(path)
    definition = parse_flow(raw)
    findings = check_flow(definition, raw)
    for finding in findings:
        click.echo(finding)
    kinds = [c.kind for c in definition.components.values()]
    click.echo(
        f"{definition.name}: {kinds.count('PROCESSOR')} processors, {len(definition.connections)} connections,"
        f" {len(definition.parameters)} parameters, {len(findings) or 'no'} finding{'s' if len(findings) != 1 else ''}"
    )
    sys.exit(1 if findings else 0)
