"""``drtool copies``: the copies, their media, how uploads are verified."""

from __future__ import annotations

from dataclasses import asdict
from types import ModuleType

import click

from drtool.cli.answer import answer
from drtool.cli.check import run_check
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_estate, open_outside
from drtool.core.model import CopyState, Outcome
from drtool.documents.estate import Estate
from drtool.errors import UsageError
from drtool.flows.assess import list_copies
from drtool.flows.heal import heal
from drtool.flows.initialise import initialise
from drtool.render import machine


@click.group()
def copies() -> None:
    """The copies of each repository."""


@command("drtool copies list", name="list")
def list_all(settings: Settings) -> int:
    """Show each copy's state and medium, and how its uploads are verified (tried out anew)."""
    estate = open_estate(settings)
    with open_outside(settings, estate, reads=True) as outside:
        found = list_copies(estate, outside)
    good = all(one.state is CopyState.HEALTHY for one in found)
    answer(settings, lambda: machine.copies_document(found), lambda words: words.show_copies(found), good=good)
    return 0 if good else 3


@command("drtool copies init", name="init")
@click.option("--refill", multiple=True, metavar="COPY", help="This copy's medium was replaced: begin it anew.")
@click.option("--wait", type=float, default=60, show_default=True, help="Seconds to wait for another run to end.")
def init(settings: Settings, refill: tuple[str, ...], wait: float) -> int:
    """Create the repositories, and a marker in each copy. Safe to repeat."""
    estate = open_estate(settings)
    check_copy_names(estate, refill)
    with open_outside(settings, estate, patient=bool(refill)) as outside:
        done = [one for name in estate.repositories for one in initialise(name, outside, wait=wait, refill=refill)]
        filled = heal(estate, refill, outside, wait=wait) if refill else None
    good = all(one.result not in ("unreachable", "failed") for one in done)
    document = {"copies": [asdict(one) for one in done]}
    if filled:
        good = good and filled.outcome is Outcome.DONE
        document |= {"refilled": machine.heal_document(filled)["copies"]}

    def show(words: ModuleType) -> None:
        words.show_initialised(done)
        if filled:
            words.show_heal(filled)

    answer(settings, lambda: document, show, good=good)
    return 0 if good else 3


@command("drtool copies verify disk", name="verify")
@click.argument("names", nargs=-1, metavar="[COPY]...")
@click.option("--wait", type=float, default=60, show_default=True, help="Seconds to wait for another check to end.")
def verify(settings: Settings, names: tuple[str, ...], wait: float) -> int:
    """Read and hash every object of all copies, or of those named."""
    estate = open_estate(settings)
    check_copy_names(estate, names)
    return run_check(settings, estate, names=names, full=True, wait=wait)


def check_copy_names(estate: Estate, names: tuple[str, ...]) -> None:
    """Raises ``UsageError`` for a name that is not in the estate."""
    known = [copy for repository in estate.repositories.values() for copy in repository.copies]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no copy {name}", hint=f"the copies: {', '.join(known)}")


copies.add_command(list_all)
copies.add_command(init)
copies.add_command(verify)
