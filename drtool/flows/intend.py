"""What a run would do, with its probes looked at and nothing done."""

from __future__ import annotations

from collections.abc import Mapping

from drtool.core.observation import Intended
from drtool.documents.runbook import Answer, ProbeStep, Runbook, Step
from drtool.flows.observe import fitting, observe
from drtool.flows.order import ordered
from drtool.flows.parameters import Params
from drtool.flows.perform import told
from drtool.flows.recovery import Recovery


def intend(runbook: Runbook, params: Params, recovery: Recovery, *, look: bool) -> tuple[Intended, ...]:
    """Each step in its order; with ``look`` their probes are asked once. Raises ``UsageError``."""
    values: dict[str, Answer] = {
        **params.values,
        "run": "RUN",
        "site": recovery.estate.site,
        "runbook": runbook.runbook,
        "evidence": "EVIDENCE",
    }
    documents = {step.id: step for step in runbook.steps}
    return tuple(_intended(documents[step.id], step.needs, values, recovery, look=look) for step in ordered(runbook))


def _intended(
    step: Step, needs: tuple[str, ...], values: Mapping[str, Answer], recovery: Recovery, *, look: bool
) -> Intended:
    asked = (*((step.check,) if step.check else ()), *(step.do if isinstance(step, ProbeStep) else ()), *step.verify)
    seen = tuple(observe(probe, values, recovery, limit=probe.timeout) for probe in asked) if look else ()
    return Intended(
        id=step.id,
        title=step.title,
        kind=step.kind,
        effect=step.effect,
        needs=needs,
        what=told(step, values),
        already=bool(look and step.check and fitting(seen[0])),
        seen=seen,
    )
