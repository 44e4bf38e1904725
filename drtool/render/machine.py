"""The JSON documents of SPEC.md section 10: times RFC 3339 UTC, durations seconds, sizes bytes, ids full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from drtool.core.dump import Comparison
from drtool.core.evidence import ChainVerdict, stamp
from drtool.core.media import Medium
from drtool.core.model import (
    CheckOutcome,
    CopyOutcome,
    CopyStatus,
    Coverage,
    DatasetOutcome,
    DatasetStatus,
    Event,
    Finding,
    HealOutcome,
    Hold,
    Holding,
    LoadPlan,
    LocksFound,
    PruneOutcome,
    PrunePlan,
    RestoreOutcome,
    RestorePlan,
    RunOutcome,
    Snapshot,
    Status,
)
from drtool.core.observation import Diagnosis, Intended
from drtool.core.runbook import RunView

Document = dict[str, Any]


def backup_document(run: RunOutcome) -> Document:
    return {
        "run": run.run,
        "outcome": run.outcome,
        "seconds": round(run.seconds, 3),
        "datasets": [_dataset_outcome(one) for one in run.datasets],
        "copies": [_copy_outcome(one) for one in run.copies],
    }


def status_document(status: Status) -> Document:
    facts = status.facts
    copies = {(one.repository, one.copy): one for one in facts.copies}
    return {
        "site": status.site,
        "at": stamp(status.at),
        "compliant": status.compliant,
        "datasets": [_dataset_status(one, copies) for one in facts.datasets],
        "findings": [_finding(one) for one in status.findings],
    }


def copies_document(copies: Sequence[CopyStatus]) -> Document:
    return {"copies": [_copy_status(one) for one in copies]}


def heal_document(done: HealOutcome) -> Document:
    return {
        "run": done.run,
        "outcome": done.outcome,
        "copies": [
            {
                "repository": one.repository,
                "copy": one.copy,
                "outcome": one.outcome,
                "lost": one.lost,
                "altered": one.altered,
                "healed": one.healed,
                "sent": {"objects": one.sent_objects, "bytes": one.sent_bytes},
                "unhealable": list(one.unhealable),
            }
            | ({"reason": one.reason, "hint": one.hint} if one.reason else {})
            for one in done.copies
        ],
        "losses": [
            {
                "dataset": snapshot.dataset,
                "snapshot": snapshot.id,
                "time": stamp(snapshot.time),
                "paths": list(loss.paths),
                "more": loss.unknown,
            }
            for snapshot, loss in done.losses
        ],
    }


def check_document(done: CheckOutcome) -> Document:
    return {"run": done.run, "outcome": done.outcome, "checks": [asdict(one) for one in done.checks]}


def prune_document(done: PruneOutcome) -> Document:
    return {"run": done.run, "outcome": done.outcome, "repositories": [asdict(one) for one in done.repositories]}


def prune_plans_document(plans: Sequence[PrunePlan]) -> Document:
    return {
        "plans": [
            {
                "repository": plan.repository,
                "copy": plan.copy,
                "refused": plan.refused,
                "hint": plan.hint,
                "snapshots": [
                    {
                        "dataset": one.snapshot.dataset,
                        "snapshot": one.snapshot.id,
                        "time": stamp(one.snapshot.time),
                        "stays": bool(one.reasons),
                        "reasons": list(one.reasons),
                    }
                    for one in plan.snapshots
                ],
                "due": {copy: len(keys) for copy, keys in plan.due.items()},
            }
            for plan in plans
        ]
    }


def holds_document(holds: Sequence[Hold]) -> Document:
    return {"holds": [asdict(one) | {"at": stamp(one.at)} for one in holds]}


def snapshots_document(found: Sequence[tuple[Snapshot, Sequence[str]]]) -> Document:
    return {
        "snapshots": [
            {
                "dataset": one.dataset,
                "snapshot": one.id,
                "time": stamp(one.time),
                "run": one.run,
                "files": one.files,
                "bytes": one.bytes,
                "copies": list(copies),
                "safety": one.safety,
            }
            for one, copies in found
        ]
    }


def restore_document(outcome: RestoreOutcome) -> Document:
    return {
        "run": outcome.run,
        "dataset": outcome.dataset,
        "snapshot": outcome.snapshot.id,
        "time": stamp(outcome.snapshot.time),
        "source": outcome.source,
        "target": outcome.target,
        "files": outcome.files,
        "bytes": outcome.bytes,
        "seconds": round(outcome.seconds, 3),
        "verified": outcome.verified,
        "taken_from": {copy: {"objects": one.objects, "bytes": one.bytes} for copy, one in outcome.taken_from.items()},
        "damage": {copy: sorted(keys) for copy, keys in outcome.damage.items()},
        "outcome": outcome.outcome,
        **({"lost": list(outcome.lost)} if outcome.lost else {}),
        **({"safety": outcome.safety, "undo": outcome.undo} if outcome.safety else {}),
        **({"tables": [_comparison(one) for one in outcome.tables]} if outcome.tables else {}),
        **({"reason": outcome.reason} if outcome.reason else {}),
    }


def _comparison(one: Comparison) -> Document:
    """``expected`` is a number, or the least and the most where the table was written to while it was dumped."""
    rows = one.expected
    expected = None if rows is None else rows.least if rows.least == rows.most else [rows.least, rows.most]
    return {"table": one.table, "expected": expected, "found": one.found, "verdict": one.verdict}


def load_plan_document(plan: LoadPlan) -> Document:
    return {
        "dataset": plan.request.dataset,
        "snapshot": plan.snapshot.id,
        "time": stamp(plan.snapshot.time),
        "sources": list(plan.sources),
        "source": plan.sources[0] if plan.direct else "union",
        "target": plan.request.database,
        "server": plan.server,
        "replaces": bool(plan.holds),
        "bytes": plan.snapshot.bytes,
    }


def plan_document(plan: RestorePlan) -> Document:
    return {
        "dataset": plan.request.dataset,
        "snapshot": plan.snapshot.id,
        "time": stamp(plan.snapshot.time),
        "sources": list(plan.sources),
        "source": plan.sources[0] if plan.direct else "union",
        "target": str(plan.request.target),
        "files": plan.files,
        "bytes": plan.bytes,
        "free": plan.free,
    } | ({"changes": asdict(plan.changes)} if plan.changes else {})


def run_document(view: RunView) -> Document:
    return {
        "run": view.run,
        "runbook": view.runbook,
        "mode": view.mode,
        "state": view.state,
        "steps": [
            {
                "id": name,
                "title": title,
                "state": progress.state,
                "started": stamp(progress.began) if progress.began else None,
                "ended": stamp(progress.ended) if progress.ended else None,
                "attempts": progress.attempts,
                **({"reason": progress.reason} if progress.reason else {}),
            }
            for name, title, progress in view.steps
        ],
        "clocks": {name: stamp(at) for name, at in view.clocks.items()},
        "duties": [{"duty": duty.text, "until": stamp(until)} for duty, until in view.duties],
        "rto": {
            "target": _seconds(view.rto),
            "measured": _seconds(view.measured.recovery),
            "waiting": _seconds(view.measured.waiting),
        },
    }


def intended_document(runbook: str, steps: Sequence[Intended]) -> Document:
    return {"runbook": runbook, "steps": [asdict(step) for step in steps]}


def diagnosis_document(diagnosis: Diagnosis) -> Document:
    return {
        "fits": [{"runbook": runbook, "reason": reason} for runbook, reason in diagnosis.fits],
        "probes": [
            {"runbook": one.runbook, "probe": one.observation.probe, "verdict": one.observation.verdict,
             "reason": one.observation.reason, "seconds": round(one.observation.seconds, 3), "fits": one.fits}
            for one in diagnosis.seen
        ],
        "unreadable": list(diagnosis.broken),
    }  # fmt: skip


def verdict_document(verdict: ChainVerdict) -> Document:
    document: Document = {"ok": verdict.ok, "events": verdict.events, "head": verdict.head}
    return document if verdict.ok else document | {"first_bad": verdict.first_bad, "reason": verdict.reason}


def event_document(event: Event) -> Document:
    return asdict(event) | {"at": stamp(event.at), "body": event.body}


def _dataset_outcome(one: DatasetOutcome) -> Document:
    document: Document = {
        "dataset": one.dataset,
        "outcome": one.outcome,
        "snapshot": one.snapshot,
        "tree": one.tree,
        "files": one.files,
        "bytes": one.bytes,
        "added_bytes": one.added_bytes,
        "seconds": round(one.seconds, 3),
    }
    return document | ({"reason": one.reason} if one.reason else {})


def _copy_outcome(one: CopyOutcome) -> Document:
    document: Document = {
        "repository": one.repository,
        "copy": one.copy,
        "outcome": one.outcome,
        "wrote": one.wrote,
        "sent": {"objects": one.sent_objects, "bytes": one.sent_bytes},
        "healed": one.healed,
        "agrees": one.agrees,
    }
    return document | ({"reason": one.reason} if one.reason else {})


def _copy_status(one: CopyStatus) -> Document:
    document: Document = {
        "repository": one.repository,
        "copy": one.copy,
        "location": one.location,
        "state": one.state,
        "objects": one.objects,
        "bytes": one.bytes,
        "agrees": one.agrees,
        "medium": medium_document(one.medium),
        "upload_verification": one.upload_verification,
        "immutability": _locks(one.locks) if one.locks else None,
        "retained": one.retained,
        "coverage": _coverage(one.coverage) if one.coverage else None,
    }
    return document | ({"reason": one.reason} if one.reason else {})


def _locks(found: LocksFound) -> Document:
    """What is declared, what the bucket says, and what a sample of objects has."""
    settings = found.settings
    return {
        "declared": asdict(found.declared) if found.declared else None,
        "versioning": settings.versioning if settings else None,
        "object_lock": settings.object_lock if settings else None,
        "default": asdict(settings.default) if settings and settings.default else None,
        "mode": found.mode,
        "sampled": found.sampled,
        "locked_for": _seconds(found.shortest),
    } | ({"reason": found.reason} if found.reason else {})


def _coverage(one: Coverage) -> Document:
    return {
        "objects": one.objects,
        "bytes": one.bytes,
        "of_objects": one.of_objects,
        "of_bytes": one.of_bytes,
        "overdue": one.overdue,
        "oldest": stamp(one.oldest) if one.oldest else None,
    }


def medium_document(medium: Medium) -> Document:
    document: Document = {
        "kind": medium.kind,
        "ids": list(medium.ids),
        "declared": medium.declared,
        "machine": medium.machine,
    }
    named = {"provider": medium.provider, "site": medium.site, "unresolved": medium.unresolved}
    return document | {name: value for name, value in named.items() if value}


def _dataset_status(one: DatasetStatus, copies: dict[tuple[str, str], CopyStatus]) -> Document:
    return {
        "dataset": one.dataset,
        "rpo": _seconds(one.rpo),
        "rto": _seconds(one.rto),
        "copies": [_holding(held, copies[one.repository, held.copy]) for held in one.holdings],
    }


def _holding(held: Holding, copy: CopyStatus) -> Document:
    newest = held.newest
    verified = copy.verified
    return {
        "copy": held.copy,
        "state": copy.state,
        "newest": {"snapshot": newest.id, "time": stamp(newest.time), "age": _seconds(held.age)} if newest else None,
        "fresh": held.fresh,
        "verified": {"level": verified.level, "at": stamp(verified.at)} if verified else None,
        "medium": medium_document(copy.medium),
    }


def _finding(one: Finding) -> Document:
    return asdict(one)


def _seconds(duration: timedelta | None) -> float | None:
    return duration.total_seconds() if duration is not None else None
