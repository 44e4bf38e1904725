"""What keeps a run from beginning."""

from __future__ import annotations

from drtool.core.placeholders import ALWAYS
from drtool.documents.runbook import RestoreStep, Runbook, Step
from drtool.errors import UsageError
from drtool.flows.parameters import Params, fill, named_in
from drtool.flows.recovery import Recovery


def refuse_in_drill(runbook: Runbook, params: Params, recovery: Recovery) -> None:
    """Raises ``UsageError`` naming each destructive step that a drill would run outside of the sandbox."""
    if recovery.mode != "drill":
        return
    outside = [
        step.id
        for step in runbook.steps
        if (step.effect == "destructive" or isinstance(step, RestoreStep))
        and step.drill == "run"
        and not _in_sandbox(step, params, recovery)
    ]
    if outside:
        raise UsageError(
            f"a drill would destroy outside of the sandbox: {', '.join(outside)}",
            hint="give the steps a host that the register marks with `sandbox: true`, or `drill: simulate`",
        )


def _in_sandbox(step: Step, params: Params, recovery: Recovery) -> bool:
    name = fill(getattr(step, "target", None) or "", params.values)
    hosts = recovery.register.hosts
    if name:
        return name in hosts and hosts[name].sandbox
    return any(host.sandbox and not host.ssh for host in hosts.values())


def refuse_unknown_names(runbook: Runbook, params: Params) -> None:
    """Before anything is done, since a name that is missing would stop the run in the middle."""
    named = {name for step in runbook.steps for name in named_in(step.model_dump(exclude={"when"}))}
    if unknown := sorted(named - params.values.keys() - ALWAYS):
        raise UsageError(f"runbook {runbook.runbook} names what is no parameter: {', '.join(unknown)}",
                         hint=f"drtool runbook lint {runbook.runbook}")  # fmt: skip
