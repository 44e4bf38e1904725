"""Agreement of a second person: who may give it, and to what."""

from __future__ import annotations

from collections.abc import Iterable

from drtool.core.model import Event
from drtool.core.runbook import RESUMED, STARTED
from drtool.documents.register import Register
from drtool.documents.runbook import ApproveStep
from drtool.errors import UsageError


def approver(register: Register, step: ApproveStep, account: str, operators: frozenset[str]) -> str:
    """The person behind a login. Raises ``UsageError`` where that person may not agree to the step."""
    person = next((name for name, one in register.people.items() if account in one.accounts), None)
    role = register.roles.get(step.by)
    if person is None:
        raise UsageError(f"the register knows nobody with the account {account}", hint="people.NAME.accounts")
    if role is None or person not in (role.person, role.deputy):
        raise UsageError(f"{register.people[person].name} does not have the role {step.by}")
    own = [name for name, one in register.people.items() if operators.intersection(one.accounts)]
    if step.four_eyes and (account in operators or person in own):
        raise UsageError(f"{register.people[person].name} carries out this run, and cannot agree to it")
    return person


def operators_of(journal: Iterable[Event]) -> frozenset[str]:
    """Who carried out a run so far."""
    return frozenset(event.body["operator"] for event in journal if event.kind in (STARTED, RESUMED))
