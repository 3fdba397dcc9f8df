"""Entry point: finds the command, turns errors into one readable line and an exit code."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

import click

from imagewarehouse import __version__
from imagewarehouse.errors import WarehouseError

# Imported when called for: a command needs neither the others' libraries nor their start-up time.
_COMMANDS = {
    "run": "imagewarehouse.cli.run:run",
    "send": "imagewarehouse.cli.send:send",
    "dashboard": "imagewarehouse.cli.dashboard:dashboard",
    "rows": "imagewarehouse.cli.rows:rows",
    "search": "imagewarehouse.cli.search:search",
    "duplicates": "imagewarehouse.cli.duplicates:duplicates",
    "get": "imagewarehouse.cli.get:get",
    "export": "imagewarehouse.cli.export:export",
    "pack": "imagewarehouse.cli.pack:pack",
    "forget": "imagewarehouse.cli.forget:forget",
    "backup": "imagewarehouse.cli.backup:backup",
    "restore": "imagewarehouse.cli.backup:restore",
    "index": "imagewarehouse.cli.index:index",
    "demo-data": "imagewarehouse.cli.demo_data:demo_data",
    "flow": "imagewarehouse.cli.flow:flow",
    "model": "imagewarehouse.cli.model:model",
    "train": "imagewarehouse.cli.train:train",
    "evaluate": "imagewarehouse.cli.evaluate:evaluate",
    "import": "imagewarehouse.cli.import_model:import_model",
    "table": "imagewarehouse.cli.table:table",
    "deploy": "imagewarehouse.cli.deploy:deploy",
    "status": "imagewarehouse.cli.deploy:status",
    "stop": "imagewarehouse.cli.deploy:stop",
    "undeploy": "imagewarehouse.cli.deploy:undeploy",
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

    Exit codes: 0 done, 1 something is not as it should be, 2 a wrong setting or something needed is not there, 130 Ctrl-C;
    docs/exit-codes.md has them for each command.
    """


def main() -> None:
    """Run the command of this process' arguments and end the process with its exit code."""
    code: list[int] = []
    atexit.register(_exit_now, code)  # first, so that it runs last
    code.append(call())
    sys.exit(code[0])


def call(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 some of the work failed, 2 a wrong setting or argument, or what is needed is not there."""
    try:
        cli.main(arguments, prog_name="imagewarehouse", standalone_mode=False)
    except WarehouseError as err:
        return _print_error(str(err))
    except click.exceptions.Exit as err:
        return err.exit_code
    except click.Abort:
        return 130
    except click.exceptions.NoArgsIsHelpError as err:
        click.echo(err.format_message(), err=True)
        return 2
    except click.ClickException as err:
        if isinstance(err, click.UsageError) and err.ctx is not None:
            click.echo(f"{err.ctx.get_usage()}\n", err=True)
        return _print_error(err.format_message())
    except SystemExit as err:
        return err.code if isinstance(err.code, int) else int(err.code is not None)
    return 0


def _print_error(message: str) -> int:
    click.echo(f"imagewarehouse: {message}", err=True)
    return 2


def _exit_now(code: list[int]) -> None:
    """End at once where Java runs: its threads may ask for Python while that is taken down, which ends in an abort."""
    jpype = sys.modules.get("jpype")
    if code and jpype is not None and jpype.isJVMStarted():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code[0])


if __name__ == "__main__":
    main()
