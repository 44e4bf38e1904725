"""The restart concept as a runbook: declare, each system once those it needs run, return to normal, back up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from drtool.documents.durations import format_duration
from drtool.documents.restart_concept import RestartConcept
from drtool.documents.runbook import Objectives, Runbook

PARALLEL = 4  # systems that are started at once, where none needs another
EVENT = "breach.aware"

WORDS: Mapping[str, Mapping[str, str]] = {
    "de": {
        "declare": "Notfall feststellen und Wiederanlauf ausrufen",
        "declared_by": "Ausrufen darf: {roles}",
        "personal_data": "Sind personenbezogene Daten betroffen (Verlust, Zugriff Unbefugter, Nichtverfügbarkeit)?",
        "alarm": "Alarmkette auslösen",
        "restored": "Alle Systeme laufen wieder",
        "normal": "Zurück in den Normalbetrieb",
        "agree": "Normalbetrieb feststellen",
        "backup": "Frische Sicherung aller Datenbestände",
    },
    "en": {
        "declare": "Establish the emergency and declare the restart",
        "declared_by": "may be declared by: {roles}",
        "personal_data": "Is personal data affected (lost, seen by strangers, not available)?",
        "alarm": "Start the alarm chain",
        "restored": "All systems run again",
        "normal": "Return to normal operation",
        "agree": "Establish normal operation",
        "backup": "A fresh backup of all datasets",
    },
}


def as_runbook(concept: RestartConcept, locale: str) -> Runbook:
    """The concept's steps, with the digest of the concept's own text."""
    words = WORDS[locale]
    chain = concept.alarm_chain
    alarms = "; ".join(f"{one.role} {format_duration(one.within)} ({', '.join(one.via)})" for one in chain)
    steps: list[dict[str, Any]] = [
        {
            "id": "declare", "kind": "decide", "phase": "immediate", "title": words["declare"], "marks": "declared",
            "text": words["declared_by"].format(roles=", ".join(concept.activation.declared_by)),
            "ask": {"personal_data": {"type": "bool", "text": words["personal_data"]}},
            "emit": ({"when": {"personal_data": True}, "event": EVENT},), "drill": "run",
            "expect": timedelta(minutes=5),
        },
        {
            "id": "alarm", "kind": "notify", "phase": "immediate", "title": words["alarm"], "needs": ("declare",),
            "to": tuple(dict.fromkeys(one.role for one in chain)),
            "message": _literal(f"{concept.title}: {alarms}"),
            "drill": "simulate", "expect": timedelta(minutes=5),
        },
        *(_system(name, concept) for name in concept.systems),
        {
            "id": "all-restored", "kind": "probe" if concept.verify else "wait", "title": words["restored"],
            "needs": tuple(f"system-{name}" for name in concept.systems), "marks": "service_restored",
            **({"do": concept.verify} if concept.verify else {"for": timedelta(seconds=1)}),
        },
        {
            "id": "return-to-normal", "kind": "manual", "phase": "aftercare", "title": words["normal"],
            "needs": ("all-restored",), "checklist": tuple(map(_literal, concept.return_to_normal.steps)),
            "drill": "skip", "expect": timedelta(minutes=30),
        },
        {
            "id": "fresh-backup", "kind": "backup", "phase": "aftercare", "title": words["backup"],
            "needs": ("return-to-normal",), "drill": "skip", "timeout": timedelta(hours=12),
            "expect": timedelta(minutes=30),
        },
        {
            "id": "normal", "kind": "approve", "phase": "aftercare", "title": words["agree"],
            "needs": ("fresh-backup",), "by": concept.return_to_normal.approval, "four_eyes": False,
            "show": (_literal(concept.activation.deactivation),), "marks": "normal", "break_glass": True,
            "timeout": timedelta(days=3), "drill": "skip",
        },
    ]  # fmt: skip
    runbook = Runbook.model_validate(
        {
            "version": 1,
            "runbook": concept.restart_concept,
            "title": concept.title,
            "revision": concept.revision,
            "owner": concept.owner,
            "review_due": concept.review_due,
            "executor": concept.activation.declared_by[0],
            "objectives": Objectives(rto=max(system.objectives.rto for system in concept.systems.values())),
            "clocks": concept.clocks,
            "steps": tuple(steps),
        }
    )
    concept.lend_text(runbook)
    return runbook


def _system(name: str, concept: RestartConcept) -> dict[str, Any]:
    system = concept.systems[name]
    return {
        "id": f"system-{name}", "kind": "runbook", "title": system.title, "runbook": system.runbook,
        "params": system.params, "needs": ("alarm", *(f"system-{one}" for one in system.depends)),
        "expect": system.planned, "timeout": system.objectives.rto, "drill": "run",
    }  # fmt: skip


def _literal(text: str) -> str:
    """A text of the concept, in which braces mean nothing."""
    return text.replace("{", "{{").replace("}", "}}")
