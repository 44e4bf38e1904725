"""``drtool check``."""

from __future__ import annotations

import click

from drtool.cli.answer import answer
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_estate, open_outside
from drtool.core.model import Outcome
from drtool.documents.estate import Estate
from drtool.flows import check as flow
from drtool.render import machine

EXIT = {Outcome.DONE: 0, Outcome.INCOMPLETE: 3, Outcome.FAILED: 1}


@command("drtool check --due --quiet")
@click.option("--due", is_flag=True, help="Only what was not checked within a week.")
@click.option("--full", is_flag=True, help="Read and hash every object of every copy, not only the share that is due.")
@click.option("--wait", type=float, default=60, show_default=True, help="Seconds to wait for another check to end.")
def check(settings: Settings, due: bool, full: bool, wait: float) -> int:
    """Check the copies: names and sizes, stored checksums, a share of the objects read in full, restic's own check.

    Each run reads a share, so that every object is read within the `verify_within` of its copy. Ends with 1 when
    something is wrong, with 3 when something could not be told.
    """
    return run_check(settings, open_estate(settings), due=due, full=full, wait=wait)


def run_check(
    settings: Settings,
    estate: Estate,
    *,
    names: tuple[str, ...] = (),
    due: bool = False,
    full: bool = False,
    wait: float,
) -> int:
    """Check, answer, and return the exit code."""
    with open_outside(settings, estate, patient=True) as outside:
        done = flow.check(estate, outside, names=names, due=due, full=full, wait=wait)
    code = EXIT[done.outcome]
    answer(settings, lambda: machine.check_document(done), lambda words: words.show_check(done), good=code == 0)
    return code
