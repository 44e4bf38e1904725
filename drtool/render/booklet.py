"""Runbooks and the restart concept for the folder in the safe: self-contained HTML, and PDF of it.

Nothing is fetched, and the same document printed on the same day gives the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from drtool.core.booklet import ConceptOnPaper, RunbookOnPaper, StepOnPaper
from drtool.core.rules import in_words
from drtool.errors import ProgramMissing

_TEMPLATES = Path(__file__).parent / "templates"
_SHELL_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+""")
_LINES = 25  # what a page holds besides a step's fixed lines


def runbook_html(page: RunbookOnPaper, *, printed: date, locale: str = "en") -> str:
    """A runbook as one HTML page that prints on A4."""
    return _rendered("runbook.html", locale, page=page, printed=printed)


def concept_html(page: ConceptOnPaper, *, printed: date, locale: str = "en") -> str:
    """The restart concept as one HTML page that prints on A4."""
    return _rendered("concept.html", locale, page=page, printed=printed, exercises=_exercises(page))


def pdf(html: str) -> bytes:
    """A page as PDF. Raises ``ProgramMissing`` where WeasyPrint or the libraries below it are not there."""
    try:
        from weasyprint import HTML  # type: ignore[import-untyped]
        from weasyprint.urls import URLFetcher  # type: ignore[import-untyped]
    except (ImportError, OSError) as error:
        hint = "pip install 'drtool[report]' and apt-get install libpango-1.0-0 libpangoft2-1.0-0; or print the HTML"
        raise ProgramMissing("the libraries that make PDF are missing: weasyprint and pango", hint=hint) from error
    identifier = hashlib.sha256(html.encode()).digest()[:16]
    document = HTML(string=html, url_fetcher=URLFetcher(allowed_protocols=("data",)))
    made: bytes = document.write_pdf(pdf_identifier=identifier, pdf_tags=True)
    return made


def _rendered(template: str, locale: str, **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    language = locale if locale in _WORDS else "en"
    words = _WORDS[language]
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_filters(words))
    environment.tests["long"] = _is_long
    return environment.get_template(template).render(language=language, words=words, **values)


def _filters(words: Mapping[str, str]) -> dict[str, Callable[..., Any]]:
    def shown(value: object) -> str:
        return in_words(value) if isinstance(value, timedelta) else str(value)

    return {
        "duration": in_words,
        "deadline": _deadline,
        "day": lambda day: day.strftime(words["day"]),
        "shown": shown,
        "shell_words": _shell_words,
    }


def _deadline(duration: timedelta) -> str:
    """Up to a week in hours, as laws count: ``72 h``."""
    hours, rest = divmod(duration, timedelta(hours=1))
    return f"{hours} h" if not rest and 0 < hours <= 7 * 24 else in_words(duration)


def _shell_words(command: str) -> list[str]:
    """The words of a command as they are typed: a line may end between two, as a break inside looks like a blank."""
    words = _SHELL_WORD.findall(command)
    return words if " ".join(words) == command else [command]


def _is_long(step: StepOnPaper) -> bool:
    """Whether a step may not fit on one page, so that it can be broken."""
    lines = len(step.checklist) + 2 * len(step.questions) + 2 * len(step.commands)
    typed = (*step.commands, *(look.command for look in step.verify), step.text, step.message)
    lines += 3 * (len(step.verify) + len(step.looks)) + sum(len(text) // 80 + text.count("\n") for text in typed)
    return lines > _LINES


def _exercises(page: ConceptOnPaper) -> list[tuple[str, object, date | None]]:
    """Each exercise with how often it is done and when it last was."""
    every, last = dict(page.exercises), dict(page.exercised)
    return [(name, every.get(name), last.get(name)) for name in dict.fromkeys((*every, *last))]


_ENGLISH = {
    "day": "%Y-%m-%d",
    "quoted": "“{}”",
    "revision": "revision",
    "printed": "printed",
    "page": "page",
    "yes": "yes",
    "no": "no",
    "and": "and",
    "or": "or",
    "step": "step",
    "expected": "Expected",
    "failing": "the contrary of:",
    "for": "What for",
    "name": "Name",
    "date_time": "Date, time",
    "signature": "Signature",
    "signatures": "Signatures",
    "role": "Role",
    "phone": "Phone",
    "out_of_band": "out of band",
    "deputy": "deputy",
    "outside": "Outside",
    "reach": "To be reached at",
    "contract": "Contract",
    "duty": "Duty",
    "trigger": "To be used when",
    "document": "Document",
    "owner": "Owner",
    "approved": "Approved",
    "not_approved": "not approved",
    "review_due": "Review due",
    "rto": "service is back",
    "rpo": "newest work lost at most",
    "mtpd": "can be borne at most",
    "outage_since": "Outage since",
    "by_hand": "fill in at once",
    "immediate": "Immediate measures",
    "contacts": "Contacts",
    "deadlines": "Legal deadlines",
    "within": "Within",
    "starts_with": "Begins with",
    "started_at": "Began at",
    "done_at": "Done at",
    "params": "Values of this site",
    "param": "Value of",
    "meaning": "Meaning",
    "value": "Is",
    "detect": "How to detect it",
    "detect.any": "One of these is enough:",
    "detect.all": "All of these must be so:",
    "detect.none": "No probe tells; decide by the trigger on the first page.",
    "steps": "Steps",
    "who": "Who",
    "what": "What",
    "planned": "planned",
    "done_by": "done after",
    "on": "on",
    "after": "after step",
    "only_if": "Only if",
    "check": "Is it so already? Then tick it and go on",
    "do": "Do",
    "message": "Say",
    "look": "Look",
    "verify": "Verify",
    "verify.all": "All runs again when",
    "undo": "Take back",
    "event_if": "If",
    "event_at": "from when:",
    "approval": "Must agree",
    "at_least_people": "{} people at least",
    "four_eyes": "Whoever carries out the steps cannot agree.",
    "must_know": "Must be told before",
    "no_answer": "If nobody answers, tell:",
    "break_glass": "In need without approval; reason, reviewed afterwards:",
    "effect.once": "once only",
    "effect.destructive": "destroys data",
    "marks.declared": "Now it is declared: note the time.",
    "marks.service_restored": "Service is restored once this is verified: note the time.",
    "marks.normal": "Normal operation: note the time.",
    "began": "Began",
    "ended": "Ended",
    "initials": "Initials",
    "aftercare": "Aftercare",
    "escalation": "Escalation",
    "after_outage": "After the outage began",
    "unless": "Unless",
    "unless.started": "begun",
    "unless.service_restored": "service is restored",
    "tell": "Tell",
    "via": "By",
    "data_protection": "Data protection",
    "basis": "Basis",
    "log": "Log",
    "carried_out": "Carried out",
    "reviewed": "Reviewed",
    "kind.probe": "look",
    "kind.exec": "command",
    "kind.script": "script",
    "kind.service": "service",
    "kind.restore": "restore",
    "kind.backup": "backup",
    "kind.hold": "hold",
    "kind.evidence": "keep evidence",
    "kind.manual": "by hand",
    "kind.decide": "decide",
    "kind.approve": "approve",
    "kind.notify": "tell",
    "kind.wait": "wait",
    "kind.runbook": "other runbook",
    "fact.on": "on",
    "fact.status": "status",
    "fact.header": "header",
    "fact.holds": "holds",
    "fact.without": "does not hold",
    "fact.valid_for": "certificate still valid for",
    "fact.answers": "answers",
    "fact.name": "name",
    "fact.there": "is there",
    "fact.not_there": "is not there",
    "fact.younger": "younger than",
    "fact.free": "bytes free at least",
    "fact.inodes": "inodes free at least",
    "fact.at_least": "at least",
    "fact.at_most": "at most",
    "fact.exit": "exit code",
    "fact.prints": "prints",
    "fact.database": "query to the database of",
    "fact.sha256": "SHA-256",
    "fact.repository": "repository",
    "fact.copies": "every copy is there and fresh",
    "fact.consecutive": "times in a row:",
    "fact.secret": "needs the file with the secret:",
    "fact.tell": "call",
    "fact.wait": "wait",
    "fact.wait_at_most": "until this is so, at most",
    "fact.runbook": "takes over:",
    "activation": "When this concept begins to hold",
    "activation.each": "Each of these is enough:",
    "declared_by": "Declared by",
    "deactivation": "It ends when",
    "alarm_chain": "Alarm chain",
    "reached_at": "Reached at",
    "bootstrap": "Needed to begin at all",
    "bootstrap.about": "Fetch these first; each lies in several places.",
    "sealed": "sealed",
    "checked": "looked at on",
    "order": "Order of restart",
    "order.about": "Tier by tier; systems of one tier side by side. Times count from the beginning.",
    "tier": "Tier",
    "system": "System",
    "depends": "Needs",
    "owner_deputy": "Owner and deputy",
    "degraded": "Emergency operation",
    "manual": "Without it",
    "runbook": "Runbook",
    "runs_since": "Runs since",
    "resources": "Resources",
    "item": "What",
    "where": "Where",
    "serves": "Can carry",
    "ready": "Ready",
    "normal": "Return to normal",
    "normal_declared": "Normal operation",
    "communication": "Communication",
    "update_every": "News to those who wait every",
    "templates": "Prepared texts",
    "about": "About this concept",
    "purpose": "Purpose",
    "scope": "Scope",
    "audience": "Readers",
    "incident_handling": "Incident handling",
    "exercises": "Exercises",
    "exercise": "Exercise",
    "every": "Every",
    "last": "Last",
    "exercise.table_top": "At the table",
    "exercise.restore_drill": "Restore drill",
    "exercise.full": "All of it",
    "exercise.by_third_party": "Followed by others",
    "distribution": "Distribution",
    "holder": "Holder",
    "form": "Form",
    "replaced_at": "Replaced on",
}
_GERMAN = {
    "day": "%d.%m.%Y",
    "quoted": "„{}“",
    "revision": "Revision",
    "printed": "gedruckt am",
    "page": "Seite",
    "yes": "ja",
    "no": "nein",
    "and": "und",
    "or": "oder",
    "step": "Schritt",
    "expected": "Erwartet",
    "failing": "das Gegenteil von:",
    "for": "Wofür",
    "name": "Name",
    "date_time": "Datum, Uhrzeit",
    "signature": "Unterschrift",
    "signatures": "Unterschriften",
    "role": "Rolle",
    "phone": "Telefon",
    "out_of_band": "Ausweichweg",
    "deputy": "Vertretung",
    "outside": "Außerhalb",
    "reach": "Erreichbar unter",
    "contract": "Vertrag",
    "duty": "Pflicht",
    "trigger": "Anlass",
    "document": "Dokument",
    "owner": "Verantwortlich",
    "approved": "Freigegeben",
    "not_approved": "nicht freigegeben",
    "review_due": "Überprüfung fällig",
    "rto": "Dienst läuft wieder",
    "rpo": "höchster Datenverlust",
    "mtpd": "höchstens tragbar",
    "outage_since": "Ausfall seit",
    "by_hand": "sofort eintragen",
    "immediate": "Sofortmaßnahmen",
    "contacts": "Kontakte",
    "deadlines": "Uhren: gesetzliche Fristen",
    "within": "Innerhalb von",
    "starts_with": "Beginnt mit",
    "started_at": "Begonnen um",
    "done_at": "Erledigt um",
    "params": "Werte dieses Standorts",
    "param": "Angabe",
    "meaning": "Bedeutung",
    "value": "Wert",
    "detect": "Erkennen",
    "detect.any": "Eines davon genügt:",
    "detect.all": "Alles muss zutreffen:",
    "detect.none": "Keine Probe zeigt es an; nach dem Anlass auf der ersten Seite entscheiden.",
    "steps": "Schritte",
    "who": "Wer",
    "what": "Was",
    "planned": "geplant",
    "done_by": "fertig nach",
    "on": "auf",
    "after": "nach Schritt",
    "only_if": "Nur wenn",
    "check": "Schon erledigt? Dann abhaken und weiter",
    "do": "Tun",
    "message": "Mitteilen",
    "look": "Ansehen",
    "verify": "Prüfen",
    "verify.all": "Alles läuft wieder, wenn",
    "undo": "Rücknahme",
    "event_if": "Wenn",
    "event_at": "seit:",
    "approval": "Freigabe durch",
    "at_least_people": "mindestens {} Personen",
    "four_eyes": "Wer die Schritte ausführt, kann nicht freigeben.",
    "must_know": "Vorher mitzuteilen",
    "no_answer": "Wenn niemand antwortet, benachrichtigen:",
    "break_glass": "Im Notfall ohne Freigabe; Grund, wird nachträglich geprüft:",
    "effect.once": "nur einmal ausführen",
    "effect.destructive": "zerstört Daten",
    "marks.declared": "Notfall ist ausgerufen: Uhrzeit notieren.",
    "marks.service_restored": "Dienst ist wiederhergestellt, sobald geprüft: Uhrzeit notieren.",
    "marks.normal": "Normalbetrieb: Uhrzeit notieren.",
    "began": "Beginn",
    "ended": "Ende",
    "initials": "Kürzel",
    "aftercare": "Nachbereitung",
    "escalation": "Eskalation",
    "after_outage": "Nach Beginn des Ausfalls",
    "unless": "Außer wenn",
    "unless.started": "begonnen",
    "unless.service_restored": "Dienst läuft wieder",
    "tell": "Benachrichtigen",
    "via": "Über",
    "data_protection": "Datenschutz",
    "basis": "Grundlagen",
    "log": "Protokoll",
    "carried_out": "Durchgeführt",
    "reviewed": "Geprüft",
    "kind.probe": "ansehen",
    "kind.exec": "Befehl",
    "kind.script": "Skript",
    "kind.service": "Dienst",
    "kind.restore": "Rücksicherung",
    "kind.backup": "Sicherung",
    "kind.hold": "Löschsperre",
    "kind.evidence": "Beweise sichern",
    "kind.manual": "von Hand",
    "kind.decide": "entscheiden",
    "kind.approve": "Freigabe",
    "kind.notify": "benachrichtigen",
    "kind.wait": "warten",
    "kind.runbook": "andere Anweisung",
    "fact.on": "auf",
    "fact.status": "Status",
    "fact.header": "Kopfzeile",
    "fact.holds": "enthält",
    "fact.without": "enthält nicht",
    "fact.valid_for": "Zertifikat noch gültig für",
    "fact.answers": "antwortet",
    "fact.name": "Name",
    "fact.there": "vorhanden",
    "fact.not_there": "nicht vorhanden",
    "fact.younger": "jünger als",
    "fact.free": "freier Platz mindestens",
    "fact.inodes": "freie Inodes mindestens",
    "fact.at_least": "mindestens",
    "fact.at_most": "höchstens",
    "fact.exit": "Rückgabewert",
    "fact.prints": "Ausgabe",
    "fact.database": "Abfrage an die Datenbank von",
    "fact.sha256": "SHA-256",
    "fact.repository": "Repository",
    "fact.copies": "jede Kopie ist da und aktuell",
    "fact.consecutive": "so oft nacheinander:",
    "fact.secret": "braucht die Datei mit dem Geheimnis:",
    "fact.tell": "anrufen:",
    "fact.wait": "warten:",
    "fact.wait_at_most": "bis dies zutrifft, höchstens",
    "fact.runbook": "übernimmt:",
    "activation": "Wann dieses Konzept gilt",
    "activation.each": "Jedes davon genügt:",
    "declared_by": "Ausgerufen durch",
    "deactivation": "Es endet, wenn",
    "alarm_chain": "Alarmierung",
    "reached_at": "Erreicht um",
    "bootstrap": "Was zum Anfangen nötig ist",
    "bootstrap.about": "Zuerst holen; jedes liegt an mehreren Orten.",
    "sealed": "versiegelt",
    "checked": "nachgesehen am",
    "order": "Reihenfolge des Wiederanlaufs",
    "order.about": "Stufe für Stufe; Systeme einer Stufe nebeneinander. Zeiten zählen vom Beginn an.",
    "tier": "Stufe",
    "system": "System",
    "depends": "Braucht",
    "owner_deputy": "Zuständig / Vertretung",
    "degraded": "Notbetrieb",
    "manual": "Ohne System",
    "runbook": "Anweisung",
    "runs_since": "Läuft seit",
    "resources": "Ersatz und Reserven",
    "item": "Was",
    "where": "Wo",
    "serves": "Kann tragen",
    "ready": "Bereit",
    "normal": "Rückkehr zum Normalbetrieb",
    "normal_declared": "Normalbetrieb",
    "communication": "Kommunikation",
    "update_every": "Zwischenstand an die Wartenden alle",
    "templates": "Vorbereitete Texte",
    "about": "Über dieses Konzept",
    "purpose": "Zweck",
    "scope": "Geltungsbereich",
    "audience": "Leserkreis",
    "incident_handling": "Vorfallsbehandlung",
    "exercises": "Übungen",
    "exercise": "Übung",
    "every": "Alle",
    "last": "Zuletzt",
    "exercise.table_top": "Am Tisch durchgespielt",
    "exercise.restore_drill": "Rücksicherungsübung",
    "exercise.full": "Vollständig geübt",
    "exercise.by_third_party": "Von Dritten nachvollzogen",
    "distribution": "Verteiler",
    "holder": "Wer",
    "form": "Form",
    "replaced_at": "Ausgetauscht am",
}
_WORDS: Mapping[str, Mapping[str, str]] = MappingProxyType({"en": _ENGLISH, "de": _GERMAN})
