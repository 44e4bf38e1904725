"""Ties runbooks to the outside: documents, hosts, probes, messages, journals, and the person before them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TextIO

from drtool.adapters.journal import FileJournals
from drtool.adapters.patience import again
from drtool.adapters.state import SystemClock
from drtool.cli.console import RunConsole, Said, Told
from drtool.cli.settings import Settings
from drtool.cli.wiring import (
    open_estate,
    open_hosts,
    open_messages,
    open_outside,
    open_probes,
    secret_of,
    state_folder,
)
from drtool.documents.estate import Estate
from drtool.documents.loader import Procedure, load_procedures, load_register
from drtool.documents.register import Register
from drtool.errors import UsageError
from drtool.flows.assess import judge_copies
from drtool.flows.recovery import Recovery


def read_procedures(estate: Estate) -> tuple[Procedure, ...]:
    """The runbooks and the restart concept. Raises ``UsageError`` where the estate names no folder of them."""
    if estate.runbooks is None:
        raise UsageError("the estate names no runbooks", hint=f"write `runbooks: runbooks` into {estate.path}")
    if not estate.runbooks.is_dir():
        raise UsageError(f"there is no folder {estate.runbooks}", hint=f"correct `runbooks` in {estate.path}")
    return load_procedures(estate.runbooks)


def read_register(estate: Estate) -> Register:
    """The register; an empty one where the estate names none. Raises ``DocumentInvalid``."""
    if estate.register_file is None:
        return Register.model_validate({"version": 1, "register": estate.site})
    return load_register(estate.register_file)


def journals_of(settings: Settings, estate: Estate) -> FileJournals:
    return FileJournals(state_folder(settings, estate.site) / "runs", SystemClock())


@contextmanager
def open_recovery(settings: Settings, said: Said, *, mode: str = "real", acts: bool = True) -> Iterator[Recovery]:
    """Everything a run touches. Without ``acts`` a state folder that cannot be written to is no obstacle."""
    estate = open_estate(settings)
    procedures, register = read_procedures(estate), read_register(estate)
    live = acts and _is_terminal(sys.stderr) and not settings.quiet
    with ExitStack() as stack:
        console = RunConsole(said, present=acts and _is_terminal(sys.stdin) and not settings.as_json, live=live)
        stack.callback(console.close)
        outside = stack.enter_context(open_outside(settings, estate, reads=not acts, show=Told(console)))
        hosts = stack.enter_context(open_hosts(register, state_folder(settings, estate.site)))
        yield Recovery(
            outside=outside,
            estate=estate,
            register=register,
            procedures=procedures,
            hosts=hosts,
            probes=open_probes(estate, hosts, copies=partial(judge_copies, estate, outside)),
            messages=open_messages(estate),
            journals=journals_of(settings, estate),
            console=console,
            again=again,
            secret=secret_of,
            mode=mode,
        )


def _is_terminal(stream: TextIO | None) -> bool:
    """Python has no stream where it was started with a closed one."""
    return stream is not None and stream.isatty()
