"""``drtool restart`` and ``drtool diagnose``."""

from __future__ import annotations

from typing import Any

from drtool.cli.answer import answer
from drtool.cli.console import Said
from drtool.cli.recovery import open_recovery
from drtool.cli.runbook import beginning_options, carry_out, said_options
from drtool.cli.settings import Settings, command
from drtool.flows import diagnose as flow
from drtool.flows.restart import as_runbook
from drtool.render import machine


@command("drtool restart --outage '2026-11-24 03:10'")
@beginning_options
@said_options
def restart(settings: Settings, **asked: Any) -> int:
    """Carry out the restart concept: every system in the order of its dependencies, and a fresh backup at the end.

    It is a run as of any runbook: `drtool runbook show`, `resume` and `approve` go with it.
    """
    return carry_out(settings, lambda recovery: as_runbook(recovery.concept(), recovery.estate.locale), {}, asked)


@command("drtool diagnose")
def diagnose(settings: Settings) -> int:
    """Look at everything that the runbooks detect, within ten seconds, and name those that fit."""
    with open_recovery(settings, Said(), acts=False) as recovery:
        found = flow.diagnose(recovery)
    answer(
        settings,
        lambda: machine.diagnosis_document(found),
        lambda words: words.show_diagnosis(found),
        good=not found.fits,
    )
    return 0
