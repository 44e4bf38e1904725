"""``drtool prune``."""

from __future__ import annotations

import click

from drtool.cli.answer import answer
from drtool.cli.backup import EXIT
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_estate, open_outside
from drtool.flows import prune as flow
from drtool.render import machine


@command("drtool prune --dry-run")
@click.option("--dry-run", is_flag=True, help="Show each snapshot with why it stays, and remove nothing.")
@click.option("--yes", is_flag=True, help="The clock is right, though it jumped.")
@click.option("--wait", type=float, default=60, show_default=True, help="Seconds to wait for another run to end.")
def prune(settings: Settings, dry_run: bool, yes: bool, wait: float) -> int:
    """Remove what retention does not keep: from one copy at once, from the others after their `keep_removed`.

    Refuses while a copy is unhealthy or behind, while a hold is set, and where the clock has jumped.
    """
    estate = open_estate(settings)
    with open_outside(settings, estate, patient=not dry_run) as outside:
        if dry_run:
            plans = flow.plan_prune(estate, outside, clock_is_right=yes)
            answer(
                settings,
                lambda: machine.prune_plans_document(plans),
                lambda words: words.show_prune_plans(plans),
                good=False,
            )
            return 0
        done = flow.prune(estate, outside, wait=wait, clock_is_right=yes)
    code = EXIT[done.outcome]
    answer(settings, lambda: machine.prune_document(done), lambda words: words.show_prune(done), good=code == 0)
    return code
