"""``drtool hold``: freeze removal."""

from __future__ import annotations

import click

from drtool.cli.answer import answer
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_estate, open_outside
from drtool.core.model import Hold
from drtool.flows.hold import list_holds, release_hold, set_hold
from drtool.render import machine


@click.group()
def hold() -> None:
    """Freeze removal, with a reason."""


@command("drtool hold set --reason 'compromised on Sunday; nothing may go until it is clear since when'", name="set")
@click.option("--repository", default="", help="Only of this repository.")
@click.option("--snapshot", default="", help="Only this snapshot: its id, or the beginning of it.")
@click.option("--reason", required=True, help="Why; it is recorded as evidence.")
def set_one(settings: Settings, repository: str, snapshot: str, reason: str) -> int:
    """Let prune remove nothing, or keep one snapshot, until the hold is released."""
    estate = open_estate(settings)
    with open_outside(settings, estate) as outside:
        made = set_hold(estate, outside, repository=repository, snapshot=snapshot, reason=reason)
    return _answer(settings, (made,))


@command("drtool hold release 3f2a91c0 --reason 'examined; clean since Friday'", name="release")
@click.argument("name", metavar="HOLD")
@click.option("--reason", required=True, help="Why; it is recorded as evidence.")
def release(settings: Settings, name: str, reason: str) -> int:
    """Let removal go on."""
    with open_outside(settings, open_estate(settings)) as outside:
        gone = release_hold(outside, name, reason=reason)
    answer(
        settings,
        lambda: {"released": gone.id},
        lambda words: words.say(f"hold {gone.id} is released"),
    )
    return 0


@command("drtool hold list", name="list")
def list_all(settings: Settings) -> int:
    """Show the holds that are set."""
    with open_outside(settings, open_estate(settings), reads=True) as outside:
        holds = list_holds(outside)
    return _answer(settings, holds)


def _answer(settings: Settings, holds: tuple[Hold, ...]) -> int:
    answer(settings, lambda: machine.holds_document(holds), lambda words: words.show_holds(holds), good=False)
    return 0


hold.add_command(set_one)
hold.add_command(release)
hold.add_command(list_all)
