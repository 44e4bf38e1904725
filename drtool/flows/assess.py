"""Gather what is true of copies and datasets, and have the policies judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from drtool.core.model import (
    CopyFacts,
    CopyState,
    CopyStatus,
    DatasetStatus,
    Facts,
    Holding,
    LocksFound,
    Protection,
    Snapshot,
    Status,
    Verdict,
)
from drtool.core.objects import Plan, agreeing, key_of_snapshot, plan_replication, total
from drtool.core.ports import Copy
from drtool.core.rules import judge
from drtool.core.selection import worth_having
from drtool.core.verification import covered, strongest
from drtool.documents.estate import Copy as CopyDocument
from drtool.documents.estate import Dataset, Estate
from drtool.errors import DrtoolError
from drtool.flows.catalogue import known_snapshots
from drtool.flows.outside import Outside
from drtool.flows.protect import read_locks
from drtool.flows.take_stock import Stock, take_stock

NEXT = {CopyState.BEHIND: "drtool backup", CopyState.DAMAGED: "drtool heal"}
PROBED = timedelta(days=7)  # how long it is believed how a place verifies uploads


def assess(estate: Estate, outside: Outside) -> Status:
    """The status of everything, judged by the estate's policies."""
    now = outside.clock.now()
    copies: list[CopyStatus] = []
    datasets: dict[str, DatasetStatus] = {}
    protection: list[Protection] = []
    for repository in estate.repositories:
        outside.show.phase(f"looking at the copies of {repository}")
        stock = take_stock(repository, outside.copies[repository], outside.evidence)
        copies += copy_statuses(estate, repository, stock, outside)
        protection += _protection(estate, repository, stock, outside)
        snapshots = _snapshots(repository, stock, outside)
        for name, dataset in estate.datasets.items():
            if dataset.repository == repository:
                datasets[name] = _dataset(name, dataset, snapshots, stock, outside, now)
    facts = Facts(
        site=estate.site,
        copies=tuple(copies),
        datasets=tuple(datasets[name] for name in estate.datasets),
        protection=tuple(protection),
    )
    findings = tuple(finding for policy in estate.policies_loaded for finding in judge(policy, facts, now))
    return Status(site=estate.site, at=now, facts=facts, findings=findings)


def judge_copies(estate: Estate, outside: Outside, repository: str | None) -> tuple[Verdict, str]:
    """Whether the copies of a repository, or of all, are whole, and hold each dataset within its objective; and why."""
    if repository and repository not in estate.repositories:
        return Verdict.UNKNOWN, f"there is no repository {repository}"
    facts = assess(estate, outside).facts
    copies = [one for one in facts.copies if repository in (None, one.repository)]
    datasets = [one for one in facts.datasets if repository in (None, one.repository)]
    unwell = [f"copy {one.copy} of {one.repository} is {one.state}" for one in copies if one.state in _UNWELL]
    stale = [f"copy {held.copy} has no fresh snapshot of {one.dataset}"
             for one in datasets for held in one.holdings if not held.fresh]  # fmt: skip
    unknown = [
        f"copy {one.copy} of {one.repository} did not answer" for one in copies if one.state is CopyState.UNKNOWN
    ]
    if bad := unwell or (stale if not unknown else []):
        return Verdict.FAIL, "; ".join(bad)
    return (Verdict.UNKNOWN, "; ".join(unknown)) if unknown else (Verdict.PASS, f"{len(copies)} copies are whole")


_UNWELL = (CopyState.ABSENT, CopyState.DAMAGED, CopyState.BEHIND)


def list_copies(estate: Estate, outside: Outside) -> tuple[CopyStatus, ...]:
    """Every copy, with how it verifies uploads found out anew."""
    found: list[CopyStatus] = []
    for repository in estate.repositories:
        outside.show.phase(f"looking at the copies of {repository}")
        stock = take_stock(repository, outside.copies[repository], outside.evidence)
        for copy in outside.copies[repository]:
            if stock.facts[copy.name].reached:
                probe(repository, copy, outside)
        found += copy_statuses(estate, repository, stock, outside)
    return tuple(found)


def probe(repository: str, copy: Copy, outside: Outside) -> None:
    """Find out how a copy verifies uploads, and record it. A copy that may not be written to keeps what was known."""
    try:
        verification = copy.probe()
    except DrtoolError as error:
        outside.show.note(f"copy {copy.name} could not be probed: {error.message}")
        return
    outside.evidence.record_upload_verification(repository, copy.name, verification, outside.clock.now())


def ensure_probed(repository: str, copy: Copy, outside: Outside) -> None:
    """Probe a copy that never was, or whose last probe is too old to be believed."""
    known = outside.evidence.upload_verification(repository, copy.name)
    if known is None or outside.clock.now() - known[1] > PROBED:
        probe(repository, copy, outside)


def copy_statuses(estate: Estate, repository: str, stock: Stock, outside: Outside) -> tuple[CopyStatus, ...]:
    """The copies of one repository as found now."""
    documents = estate.repositories[repository].copies
    plan = plan_replication(stock.present, recorded=outside.evidence.recorded(repository), altered=stock.altered)
    agrees = agreeing(stock.sound)
    locks = _locks(estate, repository, stock, outside)
    return tuple(
        replace(_copy(repository, facts, plan, agrees, documents[name].verify_within, outside), locks=locks.get(name))
        for name, facts in stock.facts.items()
    )


def _locks(estate: Estate, repository: str, stock: Stock, outside: Outside) -> Mapping[str, LocksFound]:
    """What the copies that were reached tell of their locks; a directory that was not is still one."""
    declared = estate.repositories[repository].copies
    return {
        copy.name: read_locks(repository, copy, declared[copy.name].locks, stock.facts[copy.name].inventory, outside)
        for copy in outside.copies[repository]
        if stock.facts[copy.name].reached or copy.local
    }


def _copy(
    repository: str, facts: CopyFacts, plan: Plan, agrees: Mapping[str, bool], within: timedelta, outside: Outside
) -> CopyStatus:
    evidence, now = outside.evidence, outside.clock.now()
    probed = outside.evidence.upload_verification(repository, facts.copy)
    state = _state(facts, plan, agrees)
    damage = plan.damage(facts.copy)
    return CopyStatus(
        repository=repository,
        copy=facts.copy,
        location=facts.location,
        state=state,
        objects=len(facts.inventory),
        bytes=total(facts.inventory),
        agrees=agrees.get(facts.copy, False) and not damage,
        medium=outside.media.of_copy(repository, facts.copy),
        upload_verification=probed[0] if probed else None,
        verified=strongest(evidence.verified(repository, facts.copy), now=now, within=within),
        coverage=covered(facts.inventory, evidence.readings(repository, facts.copy), now=now, within=within),
        retained=total(facts.retained),
        reason=_reason(facts, plan, state),
        hint=facts.hint or NEXT.get(state, ""),
    )


def _state(facts: CopyFacts, plan: Plan, agrees: Mapping[str, bool]) -> CopyState:
    if facts.absent:
        return CopyState.ABSENT
    if not facts.reached:
        return CopyState.UNKNOWN
    if plan.damage(facts.copy):
        return CopyState.DAMAGED
    return CopyState.HEALTHY if agrees[facts.copy] else CopyState.BEHIND


def _reason(facts: CopyFacts, plan: Plan, state: CopyState) -> str:
    if state is CopyState.DAMAGED:
        lost, altered = (len(where.get(facts.copy, ())) for where in (plan.lost, plan.altered))
        elsewhere = plan.damage(facts.copy) - plan.unhealable
        return f"{lost} objects lost, {altered} altered; {len(elsewhere)} of them are in another copy"
    if state is CopyState.BEHIND:
        behind = sum(send.target == facts.copy for send in plan.sends)
        return f"{behind} objects are in another copy and not here yet"
    return facts.reason


def _snapshots(repository: str, stock: Stock, outside: Outside) -> Sequence[Snapshot]:
    try:
        return known_snapshots(repository, outside, stock.present)
    except DrtoolError as error:
        outside.show.note(f"not all snapshots of {repository} are known: {error.message}")
        return outside.evidence.catalog(repository)


def _dataset(
    name: str, dataset: Dataset, snapshots: Sequence[Snapshot], stock: Stock, outside: Outside, now: datetime
) -> DatasetStatus:
    own = [one for one in snapshots if one.dataset == name]
    return DatasetStatus(
        dataset=name,
        repository=dataset.repository,
        rpo=dataset.rpo,
        rto=dataset.rto,
        holdings=tuple(_holding(copy, own, stock, dataset, now) for copy in stock.facts),
        media=outside.media.of_dataset(name),
    )


def _holding(copy: str, own: Sequence[Snapshot], stock: Stock, dataset: Dataset, now: datetime) -> Holding:
    held = stock.present.get(copy, {})
    there = worth_having([one for one in own if key_of_snapshot(one.id) in held and not one.safety])
    newest = max(there, key=lambda one: one.time, default=None)
    age = now - newest.time if newest else None
    return Holding(copy=copy, newest=newest, age=age, fresh=age is not None and age <= dataset.rpo)


def _protection(estate: Estate, repository: str, stock: Stock, outside: Outside) -> list[Protection]:
    documents = estate.repositories[repository].copies
    return [
        Protection(
            repository=repository,
            copy=copy.name,
            transport=_transport(documents[copy.name]),
            opaque=_opaque(copy) if stock.facts[copy.name].reached else None,
        )
        for copy in outside.copies[repository]
    ]


def _transport(copy: CopyDocument) -> str:
    if copy.s3 is None:
        return "local"
    return "https" if urlsplit(copy.s3.endpoint).scheme == "https" else "loopback"


def _opaque(copy: Copy) -> bool | None:
    """restic's configuration is JSON under its encryption; readable JSON would be none."""
    try:
        with copy.open("config") as stream:
            return stream.read(1) != b"{"
    except DrtoolError:
        return None
