"""`imagewarehouse deploy`, `status`, `stop`, `undeploy`: the commands and their options; `deployment/` does the rest."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagewarehouse import resources
from imagewarehouse.errors import ConfigurationError

if TYPE_CHECKING:
    from imagewarehouse.deployment.target import Target

# Modules of cli.nifi are imported in the commands: --help needs no HTTP client.

_FLOW = resources.FLOW
_file = click.Path(path_type=Path)

_TARGET = (
    click.option("--nifi", "url", metavar="URL", envvar="IMAGEWAREHOUSE_NIFI",
                 help="NiFi's address, such as https://nifi.example.org:8443."),
    click.option("--user", envvar="IMAGEWAREHOUSE_NIFI_USER",
                 help="Log in as this user; the password comes from IMAGEWAREHOUSE_NIFI_PASSWORD, a file or a prompt."),
    click.option("--password-file", type=_file, metavar="FILE", help="File that holds the password."),
    click.option("--token-file", type=_file, metavar="FILE",
                 help="File that holds a token; IMAGEWAREHOUSE_NIFI_TOKEN is taken as well."),
    click.option("--client-cert", type=_file, metavar="PEM", help="Client certificate, instead of a login."),
    click.option("--client-key", type=_file, metavar="PEM", help="Its key, where that is a file of its own."),
    click.option("--ca-cert", "--cacert", "ca_cert", type=_file, metavar="PEM",
                 help="Authority that NiFi's certificate was made by, or that certificate where NiFi has made it itself."),
    click.option("--insecure", is_flag=True, help="Take any certificate. For trials only."),
    click.option("--group", default="Image Warehouse", show_default=True, metavar="NAME", help="Name of the process group."),
    click.option("--parent", default="root", metavar="ID", help="Process group that it is in.  [default: the root]"),
    click.option("--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True, metavar="SECONDS",
                 help="How long one step may take."),
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of lines.")


def _nifi_options(command: Callable[..., None]) -> Callable[..., None]:
    """Passes the options above to a command as one `target`. A refusal of NiFi becomes a message and exit code 1."""

    @functools.wraps(command)
    def run(**options: Any) -> None:
        from imagewarehouse.deployment.errors import NifiError

        mine = {name: options.pop(name) for name in inspect.signature(_target).parameters}
        try:
            command(target=_target(**mine), **options)
        except NifiError as err:
            click.echo(f"imagewarehouse: {err}", err=True)
            sys.exit(1)

    wrapped: Callable[..., None] = run
    for option in reversed(_TARGET):
        wrapped = option(wrapped)
    return wrapped


def _target(
    url: str | None,
    user: str | None,
    password_file: Path | None,
    token_file: Path | None,
    client_cert: Path | None,
    client_key: Path | None,
    ca_cert: Path | None,
    insecure: bool,
    group: str,
    parent: str,
    timeout: float,
) -> Target:
    from dataclasses import replace

    from imagewarehouse.deployment.connection import PASSWORD, TOKEN, read_address, read_login
    from imagewarehouse.deployment.target import Target

    if not url:
        raise ConfigurationError("--nifi", "is needed: the address of NiFi, such as http://127.0.0.1:8080")
    if not group.strip():
        raise ConfigurationError("--group", "is empty")
    address = read_address(url, ca_cert, insecure)
    login = read_login(
        user=user, password_file=password_file, token_file=token_file, client_cert=client_cert, client_key=client_key
    )
    if (login.user or login.token) and not address.secure:
        option = "--user" if login.user else TOKEN
        raise ConfigurationError(option, "NiFi takes logins over https:// only, and so does this command")
    if login.user and not login.password:
        if not sys.stdin.isatty():
            raise ConfigurationError("--user", f"needs a password in {PASSWORD} or --password-file")
        login = replace(login, password=click.prompt(f"Password of {login.user}", hide_input=True, err=True))
    return Target(address, login, group.strip(), parent, timeout)


@click.command()
@click.option("--nar", type=_file, metavar="FILE", help="NAR to install.  [default: the newest in dist]")
@click.option("--flow", type=_file, default=_FLOW, help="Flow definition.  [default: the shipped one]")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated.")
@click.option("--parameters", type=_file, metavar="FILE",
              help="Parameters as a JSON object, or as lines NAME=VALUE.")  # fmt: skip
@click.option("--no-start", is_flag=True, help="Install and import only.")
@_json
@_nifi_options
def deploy(
    target: Target,
    nar: Path | None,
    flow: Path,
    settings: tuple[str, ...],
    parameters: Path | None,
    no_start: bool,
    as_json: bool,
) -> None:
    """Install the NAR in NiFi, import the flow, set its parameters and start it.

    May be repeated at any time: what is as it should be is not touched, a newer NAR or flow replaces the older one in place,
    and an interrupted run is taken up where it ended.

    A parameter is taken from --set, else from --parameters, else from the environment (`access.keys` is
    IMAGEWAREHOUSE_ACCESS_KEYS), else it stays as NiFi has it, else it is the flow's. Secrets are taken from the
    environment or the file.

    A NAR that was copied into NiFi's lib or extensions folder is found as well, and not uploaded again.

    Exit codes: 0 everything runs and answers, 1 something does not, 2 a wrong setting or no NiFi.

    \b
    Examples:
      imagewarehouse deploy --nifi http://127.0.0.1:8080
      imagewarehouse deploy --nifi https://nifi:8443 --ca-cert ca.pem --user admin --set kudu.masters=kudu-1:7051
    """
    from imagewarehouse.deployment.deploying import deploy as perform
    from imagewarehouse.deployment.deploying import read_deployment
    from imagewarehouse.deployment.report import Report

    perform(target, read_deployment(nar, flow, settings, parameters, not no_start), Report(as_json))


@click.command()
@_json
@click.option("--metrics", is_flag=True, help="Print Prometheus metrics, for a dashboard.")
@_nifi_options
def status(target: Target, as_json: bool, metrics: bool) -> None:
    """Show what is deployed in NiFi, what waits in its queues, and what is wrong.

    Wrong is also: a queue at its limit, a repository's disk that is 90 % full, writes that waited for the content archive in
    the last five minutes, and a step that has failed three times in the last minute. What NiFi tells only in nifi-app.log
    is not seen.

    Exit codes: 0 everything is valid and runs, 1 something is wrong (the lines PROBLEM), 2 could not look.
    """
    from imagewarehouse.deployment.status import show_status

    if as_json and metrics:
        raise click.UsageError("give --json or --metrics, not both")
    if not show_status(target, "metrics" if metrics else "json" if as_json else "lines"):
        sys.exit(1)


@click.command()
@_json
@_nifi_options
def stop(target: Target, as_json: bool) -> None:
    """Stop the flow in NiFi without losing anything: listeners first, then what they have taken in, then the rest.

    Dead letters stay where they are. `deploy` starts it again.

    Exit codes: 0 stopped and the queues are empty, 1 something is left in the queues after --timeout (it stays there, and is
    taken up when the flow is started) or does not stop, 2 a wrong setting or no NiFi.
    """
    from imagewarehouse.deployment.removing import stop as perform
    from imagewarehouse.deployment.report import Report

    if not perform(target, Report(as_json)):
        sys.exit(1)


@click.command()
@click.option("--drop-queued", is_flag=True, help="Throw away what is queued, dead letters included.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
@_nifi_options
def undeploy(target: Target, drop_queued: bool, yes: bool, as_json: bool) -> None:
    """Remove the flow, its parameters and the NAR from NiFi. Rows, images and the index stay.

    The flow is stopped first, as `stop` does it. What other flows use is left. A NAR that was copied into NiFi's lib or
    extensions folder has to be removed there, which is said.

    Exit codes: 0 removed, or nothing was there, 1 something is queued or connected, or the answer was no, 2 a wrong setting,
    no NiFi, or nobody to ask and no --yes, 130 Ctrl-C.
    """
    from imagewarehouse.deployment.removing import undeploy as perform
    from imagewarehouse.deployment.report import Report

    perform(target, drop_queued, yes, Report(as_json))
