"""Entry point: finds the command, turns errors into one readable line and an exit code."""

from __future__ import annotations

import importlib
import sys

import click

from imagewarehouse import __version__
from imagewarehouse.errors import ConfigurationError

# Imported when called for: a command needs neither the others' libraries nor their start-up time.
_COMMANDS = {
    "run": "cli.run:run",
    "send": "cli.send:send",
    "rows": "cli.rows:rows",
    "flow": "cli.flow:flow",
    "model": "cli.model:model",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="imagewarehouse")
def cli() -> None:
    """An image warehouse: takes images over HTTP, refuses what is none, stores, classifies and records them.

    The same flow and the same processors run in Apache NiFi; `imagewarehouse run` runs them without it.
    """


def main() -> None:
    """Exit codes: 0 done, 1 some of the work failed, 2 a wrong setting or argument."""
    try:
        cli.main(standalone_mode=False)
    except ConfigurationError as err:
        _fail(str(err))
    except click.exceptions.Exit as err:
        sys.exit(err.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as err:
        if isinstance(err, click.UsageError) and err.ctx is not None:
            click.echo(f"{err.ctx.get_usage()}\n", err=True)
        _fail(err.format_message())


def _fail(message: str) -> None:
    click.echo(f"imagewarehouse: {message}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
