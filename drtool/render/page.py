"""The status as one self-contained HTML page: no scripts, nothing fetched, the same bytes for the same status."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from drtool.core.media import Medium
from drtool.core.model import CopyState, CopyStatus, DatasetStatus, Finding, Holding, Status, Verdict
from drtool.core.rules import in_words
from drtool.errors import DrtoolError

_TEMPLATES = Path(__file__).parent / "templates"
_UNITS = ("kB", "MB", "GB", "TB", "PB")
_GRAVITY = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.WARN, Verdict.PASS)


def write_status_page(status: Status, path: Path, *, locale: str = "en") -> None:
    """Write the page; whoever reads ``path`` meanwhile gets the old page or the new one, never a part."""
    page = status_page(status, locale=locale)
    try:
        _replace(path, page.encode("utf-8", errors="backslashreplace"))
    except OSError as error:
        message = f"cannot write the status page {path}: {error.strerror or error}"
        raise DrtoolError(message, hint="give --html a file in a folder that exists and can be written") from error


def _replace(path: Path, content: bytes) -> None:
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def status_page(status: Status, *, locale: str = "en") -> str:
    """The page as text."""
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
    environment.filters.update(_filters(status.at, words))
    return environment.get_template("status.html").render(
        status=status,
        language=language,
        words=words,
        headline=_headline(status),
        counts=Counter(finding.verdict for finding in status.findings),
        gravity=_GRAVITY,
        pressing=_pressing(status),
        groups=_groups(status),
    )


# What is shown where


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One dataset in one copy; ``share`` is the age in percent of the RPO, at most 100."""

    copy: CopyStatus
    holding: Holding | None
    share: int

    @property
    def kind(self) -> str:
        """``fresh``, ``old``, ``none``, or the state of a copy that could not be asked."""
        if self.holding and self.holding.newest:
            return "fresh" if self.holding.fresh else "old"
        silent = self.copy.state in (CopyState.ABSENT, CopyState.UNKNOWN) or self.holding is None
        return "unknown" if silent else "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One repository: its copies as columns, its datasets as rows."""

    repository: str
    copies: tuple[CopyStatus, ...]
    rows: tuple[tuple[DatasetStatus, tuple[Cell, ...]], ...]


def _headline(status: Status) -> Verdict:
    """The worst verdict; without any finding nothing is proven."""
    verdicts = {finding.verdict for finding in status.findings}
    return next((verdict for verdict in _GRAVITY if verdict in verdicts), Verdict.UNKNOWN)


def _pressing(status: Status) -> list[tuple[Finding, list[str]]]:
    """What does not pass, worst first; findings that say the same of several subjects are told once."""
    subjects: dict[Finding, list[str]] = {}
    for finding in sorted(status.findings, key=lambda finding: _GRAVITY.index(finding.verdict)):
        if finding.verdict is not Verdict.PASS:
            subjects.setdefault(replace(finding, subject=""), []).append(finding.subject)
    return list(subjects.items())


def _groups(status: Status) -> list[Group]:
    facts = status.facts
    repositories = dict.fromkeys([one.repository for one in facts.datasets] + [one.repository for one in facts.copies])
    return [_group(status, repository) for repository in repositories]


def _group(status: Status, repository: str) -> Group:
    copies = tuple(copy for copy in status.facts.copies if copy.repository == repository)
    datasets = [dataset for dataset in status.facts.datasets if dataset.repository == repository]
    rows = ((dataset, tuple(_cell(dataset, copy) for copy in copies)) for dataset in datasets)
    return Group(repository=repository, copies=copies, rows=tuple(rows))


def _cell(dataset: DatasetStatus, copy: CopyStatus) -> Cell:
    holding = next((one for one in dataset.holdings if one.copy == copy.copy), None)
    age = holding.age if holding and holding.age is not None else timedelta()
    share = 100 * age / dataset.rpo if dataset.rpo else 100.0
    return Cell(copy=copy, holding=holding, share=round(min(100.0, max(0.0, share))))


# How single values are written


def _filters(now: datetime, words: Mapping[str, str]) -> dict[str, Callable[..., Any]]:
    def ago(moment: datetime) -> str:
        return words["ahead" if moment > now else "ago"].format(in_words(now - moment))

    def age(duration: timedelta) -> str:
        return in_words(duration) if duration >= timedelta() else words["ahead"].format(in_words(duration))

    def medium(one: Medium) -> str:
        return _medium(one, words)

    def size(amount: int) -> str:
        return _size(amount, words["decimal"])

    return {
        "ago": ago,
        "age": age,
        "duration": in_words,
        "medium": medium,
        "size": size,
        "grouped": lambda amount: f"{amount:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"),
        "utc": lambda moment: moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "rfc3339": lambda moment: moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "hint_parts": _hint_parts,
    }


def _medium(medium: Medium, words: Mapping[str, str]) -> str:
    """``disk sda, sdb · declared``: what a person would call it, then what is to be known of it."""
    things = medium.devices or tuple(key.removeprefix("bucket:").removeprefix("network:") for key in medium.ids)
    name = " ".join(filter(None, (words[f"medium.{medium.kind}"], ", ".join(filter(None, things)))))
    notes = [
        medium.provider,
        medium.site,
        words["medium.machine"] if medium.machine and medium.kind in ("object-store", "network") else None,
        words["medium.virtual"] if medium.virtual and not medium.declared else None,
        words["medium.declared"] if medium.declared else None,
        words["medium.unresolved"] if medium.unresolved and things else None,
    ]
    return " · ".join(filter(None, (name, *notes)))


def _size(amount: int, decimal: str) -> str:
    if amount < 1000:
        return f"{amount} B"
    power = next((power for power in range(1, len(_UNITS)) if amount / 1000**power < 999.95), len(_UNITS))
    return f"{amount / 1000**power:.1f} {_UNITS[power - 1]}".replace(".", decimal)


def _hint_parts(hint: str) -> list[tuple[bool, str]]:
    """The hint in pieces, each with whether it is a command: what stands in backticks, or all that begins with one."""
    if "`" not in hint:
        return [(hint.startswith("drtool "), hint)]
    return [(index % 2 == 1, part) for index, part in enumerate(hint.split("`")) if part]


_ENGLISH = {
    "title": "Backup status",
    "as_of": "As of",
    "headline.pass": "All rules are kept",
    "headline.warn": "All rules are kept, with warnings",
    "headline.unknown": "Not proven",
    "headline.fail": "Rules are violated",
    "judged.none": "No policy was judged.",
    "pass": "pass",
    "warn": "warning",
    "fail": "fail",
    "unknown": "unknown",
    "attention": "What needs attention",
    "next": "Next",
    "datasets": "Datasets",
    "datasets.about": "Age of the newest snapshot in each copy. A full bar means that the RPO is used up.",
    "datasets.none": "No dataset is kept here.",
    "dataset": "Dataset",
    "repository": "Repository",
    "copies": "Copies",
    "copies.none": "Nothing is known of any copy.",
    "fresh": "fresh",
    "old": "too old",
    "none": "no snapshot",
    "cell.unknown": "not known",
    "findings": "All findings",
    "findings.caption": "Every rule against every subject, with the clause it serves",
    "verdict": "Verdict",
    "subject": "Subject",
    "rule": "Rule",
    "clause": "Clause",
    "reason": "Reason",
    "state.healthy": "healthy",
    "state.behind": "behind",
    "state.damaged": "damaged",
    "state.absent": "absent",
    "state.unknown": "unknown",
    "location": "Location",
    "medium": "Medium",
    "holds": "Holds",
    "objects": "objects",
    "agreement": "Agreement",
    "agrees.yes": "holds the same objects as the others",
    "agrees.no": "differs from the other copies",
    "upload": "Uploads verified",
    "upload.sha256": "SHA-256 compared by the server",
    "upload.payload": "signed payload hash compared by the server",
    "upload.md5": "MD5 compared by the server",
    "upload.read-back": "read back after each upload",
    "upload.local-hash": "hashed while written",
    "not_known": "not known",
    "verified": "Verified",
    "never": "never verified",
    "L0": "names and sizes",
    "L1": "stored checksums",
    "L2": "every byte read",
    "L3": "restic check",
    "ago": "{} ago",
    "ahead": "{} in the future",
    "decimal": ".",
    "medium.disk": "disk",
    "medium.object-store": "object store",
    "medium.tape": "tape",
    "medium.optical": "disc",
    "medium.memory": "memory",
    "medium.network": "network share",
    "medium.unknown": "not known",
    "medium.machine": "on this machine",
    "medium.virtual": "virtual",
    "medium.declared": "as declared",
    "medium.unresolved": "not followed to its hardware",
    "made": "Written by drtool. Times are UTC; ages are counted up to the time above.",
}
_GERMAN = {
    "title": "Sicherungsstatus",
    "as_of": "Stand",
    "headline.pass": "Alle Regeln sind eingehalten",
    "headline.warn": "Alle Regeln sind eingehalten, mit Warnungen",
    "headline.unknown": "Nicht nachgewiesen",
    "headline.fail": "Regeln sind verletzt",
    "judged.none": "Es wurde keine Richtlinie geprüft.",
    "pass": "erfüllt",
    "warn": "Warnung",
    "fail": "verletzt",
    "unknown": "unbekannt",
    "attention": "Was zu tun ist",
    "next": "Nächster Schritt",
    "datasets": "Datenbestände",
    "datasets.about": "Alter der neuesten Sicherung in jeder Kopie. Ein voller Balken heißt: Das RPO ist aufgebraucht.",
    "datasets.none": "Hier liegt kein Datenbestand.",
    "dataset": "Datenbestand",
    "repository": "Repository",
    "copies": "Kopien",
    "copies.none": "Über keine Kopie ist etwas bekannt.",
    "fresh": "aktuell",
    "old": "zu alt",
    "none": "keine Sicherung",
    "cell.unknown": "nicht bekannt",
    "findings": "Alle Befunde",
    "findings.caption": "Jede Regel gegen jeden Gegenstand, mit der Vorschrift, der sie dient",
    "verdict": "Urteil",
    "subject": "Gegenstand",
    "rule": "Regel",
    "clause": "Vorschrift",
    "reason": "Begründung",
    "state.healthy": "in Ordnung",
    "state.behind": "im Rückstand",
    "state.damaged": "beschädigt",
    "state.absent": "nicht vorhanden",
    "state.unknown": "unbekannt",
    "location": "Ort",
    "medium": "Datenträger",
    "holds": "Enthält",
    "objects": "Objekte",
    "agreement": "Übereinstimmung",
    "agrees.yes": "enthält dieselben Objekte wie die anderen",
    "agrees.no": "weicht von den anderen Kopien ab",
    "upload": "Übertragung geprüft",
    "upload.sha256": "SHA-256, vom Server verglichen",
    "upload.payload": "signierter Prüfwert, vom Server verglichen",
    "upload.md5": "MD5, vom Server verglichen",
    "upload.read-back": "nach jeder Übertragung zurückgelesen",
    "upload.local-hash": "beim Schreiben geprüft",
    "not_known": "nicht bekannt",
    "verified": "Überprüft",
    "never": "nie überprüft",
    "L0": "Namen und Größen",
    "L1": "gespeicherte Prüfsummen",
    "L2": "jedes Byte gelesen",
    "L3": "restic check",
    "ago": "vor {}",
    "ahead": "{} in der Zukunft",
    "decimal": ",",
    "medium.disk": "Platte",
    "medium.object-store": "Objektspeicher",
    "medium.tape": "Band",
    "medium.optical": "optische Platte",
    "medium.memory": "Arbeitsspeicher",
    "medium.network": "Netzlaufwerk",
    "medium.unknown": "nicht bekannt",
    "medium.machine": "auf diesem Rechner",
    "medium.virtual": "virtuell",
    "medium.declared": "laut Angabe",
    "medium.unresolved": "nicht bis zur Hardware verfolgt",
    "made": "Geschrieben von drtool. Zeiten in UTC; Alter gerechnet bis zum oben genannten Stand.",
}
_WORDS: Mapping[str, Mapping[str, str]] = MappingProxyType({"en": _ENGLISH, "de": _GERMAN})
