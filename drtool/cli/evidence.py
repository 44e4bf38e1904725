"""``drtool evidence``: the chain."""

from __future__ import annotations

from collections import deque

import click

from drtool.adapters.evidence_store import EvidenceStore
from drtool.cli.answer import answer
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_estate, open_evidence
from drtool.errors import DrtoolError
from drtool.render import machine


@click.group()
def evidence() -> None:
    """The recorded, chained facts of runs."""


@command("drtool evidence show --run 3f2a", name="show")
@click.option("--run", help="Only this run: its id, or the beginning of it.")
@click.option("--kind", help="Only events of this kind.")
@click.option("--last", type=int, default=50, show_default=True, help="How many events at most.")
def show(settings: Settings, run: str | None, kind: str | None, last: int) -> int:
    """Show the newest events."""
    store = _store(settings)
    wanted = (event for event in store.events(kind=kind) if run is None or event.run.startswith(run))
    events = list(deque(wanted, maxlen=last))
    answer(
        settings,
        lambda: {"events": [machine.event_document(event) for event in events]},
        lambda words: words.show_events(events),
        good=False,
    )
    return 0


@command("drtool evidence verify", name="verify")
def verify(settings: Settings) -> int:
    """Verify every link of the chain; ends with 1 and names the first that does not hold."""
    store = _store(settings)
    verdict = store.verify()
    for torn in sorted(store.path.parent.glob(f"{store.path.name}.damaged-*")):
        click.echo(f"note: a damaged file was set aside: {torn}", err=True)
    words = f"{verdict.events} events, the chain holds, head {verdict.head}" if verdict.ok else verdict.reason
    answer(settings, lambda: machine.verdict_document(verdict), lambda terminal: terminal.say(words), good=verdict.ok)
    return 0 if verdict.ok else 1


def _store(settings: Settings) -> EvidenceStore:
    """The evidence as it is; none is begun here, since an empty chain would hold."""
    store = open_evidence(settings, open_estate(settings))
    if not store.path.exists():
        raise DrtoolError(f"there is no evidence in {store.path}", hint="name its state folder by --state, as its user")
    return store


evidence.add_command(show)
evidence.add_command(verify)
