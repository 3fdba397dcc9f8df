"""`imagewarehouse run`: the flow as a service on this machine."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagewarehouse import __version__, resources
from imagewarehouse.errors import ConfigurationError, WarehouseError

if TYPE_CHECKING:
    from imagewarehouse.standalone.local_kudu import LocalKudu
    from imagewarehouse.standalone.runner import Options, Runner

log = logging.getLogger("imagewarehouse.run")

_MASTERS = "kudu.masters"
_FLOW = resources.FLOW
_LINUX = sys.platform == "linux"
_MOST_WORKERS = 4  # unless more are asked for: each takes memory


@click.command()
@click.option(
    "--flow", type=click.Path(path_type=Path), default=_FLOW, help="Flow definition.  [default: the shipped one]"
)
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, envvar="IMAGEWAREHOUSE_DATA",
              help="Folder for the journal, and for rows and images unless settings say otherwise.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, envvar="IMAGEWAREHOUSE_HOST",
              help="Address to listen on; 0.0.0.0 for every network.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), envvar="IMAGEWAREHOUSE_WORKERS",
              help="Processes that serve together; also IMAGEWAREHOUSE_WORKERS. Two take 40 MiB more than one, each further "
                   "one 20.  [default: one for each core, 4 at most; 1 where the system is not Linux]")  # fmt: skip
@click.option("--kudu", metavar="local|MASTERS", envvar="IMAGEWAREHOUSE_KUDU",
              help="Write rows to Kudu: to one of its own, kept under --data (local; Linux x86_64), or to that of these "
                   "masters (HOST:PORT,...).")  # fmt: skip
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a parameter of the flow; may be repeated."
)
@click.option(
    "--settings", "list_settings", is_flag=True, help="List the flow's parameters with their values, and exit."
)
@click.option("--verbose", is_flag=True, help="Log every step of the start-up.")
def run(
    flow: Path,
    data: Path,
    host: str,
    workers: int | None,
    kudu: str | None,
    settings: tuple[str, ...],
    list_settings: bool,
    verbose: bool,
) -> None:
    """Run the flow on this machine, without NiFi.

    POST images to http://127.0.0.1:8081/images (answered once the image is safe) or to http://127.0.0.1:8082/classify
    (answered with the class). Rows go to DuckDB and images to a folder, both under --data; with --kudu rows go to Kudu.

    A parameter is taken from --set, else from the environment (`access.keys` is IMAGEWAREHOUSE_ACCESS_KEYS), else from
    the flow. Keep secrets in the environment: arguments are visible to every user of the machine.

    \b
    Examples:
      imagewarehouse run
      imagewarehouse run --kudu local
      imagewarehouse run --data /srv/images --set http.classify.port=9000
      imagewarehouse run --set model.folder=/srv/models/flowers --set intake.max.size='50 MB'
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)-7s %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("imagewarehouse").setLevel(logging.INFO)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # a traceback for every client that goes away
    # Before anything allocates on a thread.
    from imagewarehouse.cli.keeping import PRIVATE
    from imagewarehouse.standalone.process import allow_connections, cores, keep_small

    os.umask(PRIVATE)
    keep_small()
    allow_connections()
    # A thread that comes back from the decoder, the model or the disk waits up to this long for Python's lock: with the
    # default of 5 ms every hand-over between two steps can cost that much.
    sys.setswitchinterval(0.001)
    from imagewarehouse.standalone.runner import Options

    if workers is None:
        workers = min(cores(), _MOST_WORKERS) if _LINUX else 1
    elif workers > 1 and not _LINUX:
        raise ConfigurationError("--workers", "only Linux spreads connections over several processes")
    options = Options(flow, data, host, workers, tuple(_pair(text) for text in settings))
    if kudu and any(name == _MASTERS for name, _ in options.settings):
        raise ConfigurationError("--kudu", f"{_MASTERS} is set as well; give one of them")
    if kudu and kudu != "local":
        options = _with_masters(options, kudu)
    if list_settings:
        _list(options)
        return
    local = _start_kudu(options) if kudu == "local" else None
    try:
        if local is not None:
            options = _with_masters(options, local.masters)
        sys.exit(_serve(options, local))
    finally:
        if local is not None:
            local.stop()  # last: what was under way has been written by now


def _start_kudu(options: Options) -> LocalKudu:
    from imagewarehouse.flows.definition import read_flow
    from imagewarehouse.standalone.local_kudu import LocalKudu
    from imagewarehouse.standalone.runner import parameter_values

    # Reports a misspelt setting before Kudu starts.
    parameter_values(read_flow(options.flow), _with_masters(options, ""), os.environ)
    return LocalKudu(options.data / "kudu").start()


def _with_masters(options: Options, masters: str) -> Options:
    return replace(options, settings=(*options.settings, (_MASTERS, masters)))


def _check_masters(masters: str) -> None:
    """Log at once that no master answers; the client would report it after its time-out."""
    from imagewarehouse.cli.kudu.connection import probe
    from imagewarehouse.kudu.clients.interface import KuduSettings

    try:
        probe(KuduSettings(masters).addresses, 2.0)
    except WarehouseError as err:
        log.warning("%s; rows wait until one does", err)


def _watch(kudu: LocalKudu) -> None:
    """Log each Kudu server that has ended by itself, once; rows wait until the service is started again."""
    reported: set[str] = set()
    while True:
        for name in set(kudu.dead()) - reported:
            reported.add(name)
            log.error("Kudu's %s has ended, no row can be written: %s", name, kudu.last_words(name))
        time.sleep(1)


def _serve(options: Options, kudu: LocalKudu | None = None) -> int:
    import uvloop

    from imagewarehouse.flows.definition import environment_name
    from imagewarehouse.flows.settings import without_effect
    from imagewarehouse.standalone.runner import Runner
    from imagewarehouse.standalone.supervisor import NOT_DRAINED, Supervisor
    from imagewarehouse.standalone.worker import serve

    runner = Runner(options)
    for name, _ in options.settings:
        if runner.flow.parameters[name].sensitive:
            seen = f"{name} is a secret, and every user of this machine can read the arguments of a program"
            click.echo(f"warning: {seen}; set {environment_name(name)} instead", err=True)
    for line in without_effect(runner.parameters):
        click.echo(f"warning: {line}", err=True)
    runner.open()

    def ready() -> None:
        _announce(runner, kudu)
        if kudu is not None:
            threading.Thread(target=_watch, args=(kudu,), name="kudu", daemon=True).start()

    def stopping() -> None:
        click.echo("stopping: new requests are refused, those under way are finished (again: do not wait)")

    if options.workers == 1:
        stop = (signal.SIGTERM, signal.SIGINT)
        drained = uvloop.run(serve(runner, 0, stop, ready, stopping))
    else:

        def work(number: int, ready: Callable[[], None], alive: Callable[[], None]) -> int:
            done = uvloop.run(serve(runner, number, (signal.SIGTERM,), ready, alive=alive))
            return 0 if done else NOT_DRAINED

        drained = Supervisor(options.workers, runner, work).run(ready, stopping)
    click.echo(
        "stopped" if drained else "stopped; what was not finished is in the journal and is taken up at the next start"
    )
    return 0


def _announce(runner: Runner, kudu: LocalKudu | None) -> None:
    """Say what is served and where the data is."""
    options = runner.options
    together = f" ({options.workers} processes)" if options.workers > 1 else ""
    click.echo(f"imagewarehouse {__version__} is ready{together}")
    for service, address in runner.describe():
        click.echo(f"  {service:<44} {address}")
    if kudu is not None:
        click.echo(f"  Kudu: {kudu.masters} (local, data in {kudu.folder}, pages at {kudu.web()})")
    elif masters := runner.parameters.get(_MASTERS):
        click.echo(f"  Kudu: {masters}")
        threading.Thread(target=_check_masters, args=(masters,), name="kudu", daemon=True).start()
    data, inside = options.data.resolve(), ["journal"]
    places = (
        [("images", "store.uri")]
        if runner.parameters.get(_MASTERS)
        else [("rows", "rows.database"), ("images", "store.uri")]
    )
    for contents, name in reversed(places):
        place = runner.parameters.get(name) or ""
        if Path(place).is_relative_to(data):
            inside.insert(0, contents)
        else:
            click.echo(f"  {contents} in {_without_login(place)}")
    click.echo(f"  {' and '.join(filter(None, (', '.join(inside[:-1]), inside[-1])))} in {data}; Ctrl-C stops")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigurationError("--set", f"expected NAME=VALUE, received {text!r}")
    return name.strip(), value


def _without_login(value: str) -> str:
    return re.sub(r"://[^,\s]*@", "://***@", value)


def _list(options: Options) -> None:
    from imagewarehouse.flows.definition import environment_name, read_flow
    from imagewarehouse.standalone.runner import parameter_values

    flow = read_flow(options.flow)
    for name, value in parameter_values(flow, options, os.environ).items():
        parameter = flow.parameters[name]
        shown = ("(set)" if value else "") if parameter.sensitive else _without_login(value or "")
        click.echo(f"{name} = {shown}\n    {parameter.description}\n    {environment_name(name)}")
