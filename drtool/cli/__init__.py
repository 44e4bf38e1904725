"""The command line: the only error boundary. Everything below raises or returns; only here is it printed.

Commands load when they are called, so that ``drtool --version`` answers in a blink.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from types import FrameType
from typing import Any

import click

from drtool import __version__
from drtool.cli.settings import SHARED_OPTIONS, Settings
from drtool.errors import DocumentInvalid, DrtoolError

COMMANDS = {
    "init": "init",
    "validate": "validate",
    "backup": "backup",
    "status": "status",
    "snapshots": "restore",
    "restore": "restore",
    "check": "check",
    "heal": "heal",
    "prune": "prune",
    "copies": "copies",
    "hold": "hold",
    "diagnose": "restart",
    "runbook": "runbook",
    "restart": "restart",
    "schedule": "schedule",
    "evidence": "evidence",
    "bootstrap": "bootstrap",
}


class Commands(click.Group):
    """Finds each command in its module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"drtool.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(f"there is no command {args[0]!r}{_meant(args[0])}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    params=list(SHARED_OPTIONS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 incomplete, 10 no repository, 11 locked, 12 wrong password, "
    "20 document invalid, 21 objective missed or policy violated, 22 restic missing or too old, 23 no suitable "
    "snapshot, 24 copy absent, 130 interrupted.",
)
@click.version_option(__version__, prog_name="drtool")
@click.pass_context
def group(ctx: click.Context, /, **given: Any) -> None:
    """Back up into several provably equal copies, and bring everything back.

    \b
    Begin:            drtool init
    Every night:      drtool backup --quiet
    In an incident:   drtool restore DATASET --to DIRECTORY
    """
    ctx.obj = Settings().given(given)


def main() -> None:
    """Run one command and end the process with its exit code (SPEC.md section 4)."""
    signal.signal(signal.SIGTERM, _interrupt)
    machine = "--json" in sys.argv
    try:
        code = group.main(standalone_mode=False)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        code = _complain(
            2, _as_ours(error.format_message()), f"{context.command_path} --help" if context else "", machine
        )
    except DocumentInvalid as error:
        for problem in error.problems:
            _say(problem)
        code = _complain(error.code, error.message, error.hint, machine)
    except DrtoolError as error:
        code = _complain(error.code, error.message, error.hint, machine)
    except (KeyboardInterrupt, click.exceptions.Abort):
        code = _complain(130, "interrupted", "run the same command again; it goes on where it can", machine)
    except BrokenPipeError:
        code = 1
    except Exception:
        _say(f"drtool {__version__} met a bug in: drtool {' '.join(sys.argv[1:])}\n{traceback.format_exc()}")
        code = _complain(1, "a bug in drtool", "report it with the lines above", machine)
    _leave(code or 0)


def _leave(code: int) -> None:
    """Without taking the interpreter apart, which would cost a fifth of a second: all is closed by now."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)


def _complain(code: int, message: str, hint: str, machine: bool) -> int:
    if machine:
        _say(json.dumps({"message_type": "exit_error", "code": code, "message": message, "hint": hint}))
    else:
        _say(f"drtool: {message}" + (f"\nhint: {hint}" if hint else ""))
    return code


def _as_ours(message: str) -> str:
    """click's sentences as drtool writes its own: small letter, no full stop."""
    return message[:1].lower() + message[1:].rstrip(".")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _meant(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does: children are stopped, private folders removed."""
    raise KeyboardInterrupt
