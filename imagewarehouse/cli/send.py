"""`imagewarehouse send`: sends files, folders or Parquet rows to a warehouse and reports the outcomes."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import click

from imagewarehouse.errors import ConfigurationError

_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)


class _WrongArgument(click.ClickException):
    exit_code = 2


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--url",
    default="http://127.0.0.1:8082/classify",
    show_default=True,
    envvar="IMAGEWAREHOUSE_URL",
    show_envvar=True,
    help="Where to send. /classify answers with the class; /images acknowledges at once.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 1024),
    default=8,
    show_default=True,
    metavar="N",
    help="Requests under way at the same time.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Send at most N images.")
@click.option("--skip", type=click.IntRange(0), default=0, metavar="N", help="Pass over the first N images.")
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=8,
    show_default=True,
    metavar="N",
    help="Further attempts after lost connections, timeouts and 429, 502, 503, 504.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long one attempt may take.",
)
@click.option(
    "--access-key",
    envvar="IMAGEWAREHOUSE_ACCESS_KEY",
    show_envvar=True,
    metavar="KEY",
    help="Sent as X-Access-Key. Better set the variable: options show up in `ps` and in the shell's history.",
)
@click.option(
    "--type",
    "media_type",
    metavar="TYPE",
    help="Declare this Content-Type for every image, instead of what its name or its first bytes say.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write one JSON line an image; - is standard output, and the summary then goes to standard error. "
    "With --state lines are appended.",
)
@click.option("--progress/--no-progress", default=None, help="Show progress.  [default: only on a terminal]")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option(
    "--state",
    "state_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Remember in FILE what was answered. Started again with it, only the rest is sent, under the same keys.",
)
@click.option("--cacert", type=_FILE, metavar="FILE", help="https: trust the certificates in FILE (PEM).")
@click.option("--cert", type=_FILE, metavar="FILE", help="https: client certificate (PEM, with its key or --key).")
@click.option("--key", type=_FILE, metavar="FILE", help="https: private key of --cert (PEM).")
def send(
    sources: tuple[str, ...],
    url: str,
    connections: int,
    limit: int | None,
    skip: int,
    retries: int,
    timeout: float,
    access_key: str | None,
    media_type: str | None,
    json_path: str | None,
    progress: bool | None,
    quiet: bool,
    state_path: Path | None,
    cacert: Path | None,
    cert: Path | None,
    key: Path | None,
) -> None:
    """Send images and show what they were taken for.

    SOURCE is an image file, a folder (every file with an image suffix in it and below, hidden ones passed over), a
    pattern such as 'photos/**/*.jpg' (quoted or not), a .parquet file (column `image` with the bytes, optionally `path`
    and `class`) or - for one image on standard input.

    Of links, those to files are followed wherever they lead, as a folder of links is a usual way to choose images; those to
    folders are not. So send no folder that others may write to.

    Every image has one Idempotency-Key for all its attempts, so that a retry never makes a second row. Where the
    Parquet file has a column `class`, the summary says how often the answer agreed with it.

    \b
    Examples:
      imagewarehouse send photo.jpg
      imagewarehouse send photos/ 'more/**/*.png' --connections 16
      imagewarehouse send cifar10-test-a.parquet --limit 500
      imagewarehouse send photos/ --url http://127.0.0.1:8081/images --state photos.state --json photos.jsonl
      curl -s https://example.org/cat.jpg | imagewarehouse send - --json -

    \b
    Exit codes:
      0    every image was accepted
      1    an image was rejected or failed, with --state also in an earlier run, or the service did not answer
      2    a wrong argument
      130  stopped with Ctrl-C
    """
    # Not at the top: aiohttp and rich take half a second, too long for --help.
    from imagewarehouse.sending.report import Display, print_summary
    from imagewarehouse.sending.run import Run
    from imagewarehouse.sending.settings import Plan, tls_context
    from imagewarehouse.sending.sources import open_sources
    from imagewarehouse.sending.state import State
    from imagewarehouse.sending.text import OutputBroken, open_lines

    try:
        access_key = access_key and access_key.strip()
        tls = tls_context(url, cacert, cert, key)
        plan = Plan(url, access_key, tls, connections, retries, timeout, skip, limit, media_type)
        opened = open_sources(sources, sys.stdin.buffer)
        if not quiet and plan.exposes_key:
            click.echo("warning: the access key is sent unencrypted; use https", err=True)
        with ExitStack() as stack:
            state = lines = display = None
            if state_path is not None:
                state = stack.enter_context(closing(State(state_path, url)))
            if json_path == "-":
                lines = sys.stdout
            elif json_path is not None:
                lines = stack.enter_context(open_lines("--json", Path(json_path), "a" if state_path else "w"))
            if progress is None:  # lines and a bar on the same terminal would tear each other apart
                progress = sys.stderr.isatty() and not quiet and not (json_path == "-" and sys.stdout.isatty())
            if progress:
                display = stack.enter_context(Display(sys.stderr))
            tally = Run(opened, plan, state, lines, display).send()
    except ConfigurationError as err:
        raise _WrongArgument(str(err)) from err
    except OutputBroken as err:
        if json_path == "-":  # otherwise Python flushes it once more at its end, and fails once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"Error: {err}; stopped", err=True)
        sys.exit(1)
    if not quiet and (tally.has_answered or not tally.stopped):
        print_summary(tally, url, sys.stderr if json_path == "-" else sys.stdout)
    if tally.stopped:
        click.echo(f"Error: {tally.stopped}", err=True)
    elif quiet and tally.not_accepted:
        click.echo(f"Error: {tally.not_accepted} of {tally.done} images were not accepted", err=True)
    elif quiet and tally.rejected_earlier:
        click.echo(f"Error: {tally.rejected_earlier} images were rejected in an earlier run", err=True)
    sys.exit(tally.exit_code)
