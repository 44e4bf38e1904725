"""``drtool backup``."""

from __future__ import annotations

from typing import Any

import click

from drtool.cli.answer import answer
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_estate, open_outside
from drtool.core.model import Outcome, RepositoryPlan
from drtool.documents.estate import Estate
from drtool.errors import UsageError
from drtool.flows.back_up import back_up, plan_backup
from drtool.render import machine

EXIT = {Outcome.DONE: 0, Outcome.INCOMPLETE: 3, Outcome.FAILED: 1, Outcome.ABSENT: 24}


@command("drtool backup --quiet")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--wait", type=float, default=60, show_default=True, help="Seconds to wait for another run to end.")
def backup(settings: Settings, datasets: tuple[str, ...], dry_run: bool, wait: float) -> int:
    """Back up all datasets, or those named, and bring every copy up to date.

    Ends with 3 when something was left out, such as a copy that could not be reached.
    """
    estate = open_estate(settings)
    names = named_datasets(estate, datasets)
    if dry_run:
        return _dry_run(settings, estate, names)
    with open_outside(settings, estate, patient=True) as outside:
        run = back_up(estate, names, outside, wait=wait)
    code = EXIT[run.outcome]
    answer(settings, lambda: machine.backup_document(run), lambda words: words.show_backup(run), good=code == 0)
    return code


def _dry_run(settings: Settings, estate: Estate, names: tuple[str, ...]) -> int:
    with open_outside(settings, estate) as outside:
        plans = plan_backup(estate, names, outside)
    answer(settings, lambda: _plan_document(plans), lambda words: words.show_plans(plans), good=False)
    return 0


def named_datasets(estate: Estate, names: tuple[str, ...]) -> tuple[str, ...]:
    """The datasets named, or all. Raises ``UsageError`` for a name that is not in the estate."""
    for name in names:
        if name not in estate.datasets:
            raise UsageError(f"there is no dataset {name}", hint=f"the datasets: {', '.join(estate.datasets)}")
    return tuple(dict.fromkeys(names)) or tuple(estate.datasets)


def _plan_document(plans: tuple[RepositoryPlan, ...]) -> dict[str, Any]:
    return {
        "plans": [
            {
                "repository": plan.repository,
                "datasets": list(plan.datasets),
                "writer": plan.writer,
                "unreached": dict(plan.unreached),
                "sends": [
                    {"key": one.key, "bytes": one.size, "from": one.source, "to": one.target} for one in plan.sends
                ],
                "lost": {copy: sorted(keys) for copy, keys in plan.lost.items()},
            }
            for plan in plans
        ]
    }
