"""``drtool heal``."""

from __future__ import annotations

import click

from drtool.cli.answer import answer
from drtool.cli.backup import EXIT
from drtool.cli.copies import check_copy_names
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_estate, open_outside
from drtool.flows import heal as flow
from drtool.render import machine


@command("drtool heal disk")
@click.argument("names", nargs=-1, metavar="[COPY]...")
@click.option(
    "--repaired", default="", metavar="COPY", help="This copy was repaired by restic: what it lacks is removed."
)
@click.option("--wait", type=float, default=60, show_default=True, help="Seconds to wait for another run to end.")
def heal(settings: Settings, names: tuple[str, ...], repaired: str, wait: float) -> int:
    """Repair all copies, or those named, from one another.

    Ends with 3 when something is left: what no copy holds any more is named, with what it costs in which snapshot.
    """
    estate = open_estate(settings)
    check_copy_names(estate, (*names, *filter(None, [repaired])))
    with open_outside(settings, estate, patient=True) as outside:
        done = flow.heal(estate, names, outside, wait=wait, repaired=repaired)
    code = EXIT[done.outcome]
    answer(settings, lambda: machine.heal_document(done), lambda words: words.show_heal(done), good=code == 0)
    return code
