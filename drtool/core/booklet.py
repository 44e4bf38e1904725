"""A runbook or the restart concept as it stands on paper: all that is printed, in order, as plain values.

Texts are those of the documents. Facts are pairs: the key of a fixed word, said in the page's language, and a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

Texts = tuple[str, ...]
Fact = tuple[str, str | int | timedelta]

BLANK = "________"
"""Where a value is to be filled in by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Which document this is."""

    id: str
    title: str
    title_en: str
    revision: int
    digest: str  # the SHA-256 of its text
    site: str
    company: str
    owner: str
    approved_by: str
    approved_on: date | None
    review_due: date
    basis: Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody to call."""

    name: str
    phones: Texts
    mail: str
    out_of_band: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleOnPaper:
    """A role: who has it, then who stands in."""

    role: str
    people: tuple[Person, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactOnPaper:
    """Somebody outside."""

    name: str
    phones: Texts
    mail: str
    portal: str
    contract: str
    duty: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A duty with a deadline."""

    duty: str
    start: str
    within: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Something to look at: what to type, and what must be seen."""

    command: str
    facts: tuple[Fact, ...]
    failing: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionOnPaper:
    """A question with its possible answers; for free ones none."""

    text: str
    type: str
    choices: Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A step counts only where an earlier question has one of these answers."""

    step: int  # the number of the step that asks; 0 where nothing does
    question: str
    answers: tuple[str | int | bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Who must agree."""

    role: str
    people: Texts
    min: int
    four_eyes: bool
    show: Texts
    escalate_to: str
    break_glass: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOnPaper:
    """A step."""

    number: int
    id: str
    title: str
    kind: str
    phase: str
    text: str
    who: str
    after: tuple[int, ...]  # the steps before it, where that is not just the one above
    conditions: tuple[Condition, ...]
    effect: str
    planned: timedelta
    by: timedelta  # when it is done at the earliest, counted from the start
    target: str
    reach: str  # the command that leads to the target
    commands: Texts
    facts: tuple[Fact, ...]
    checklist: Texts
    questions: tuple[QuestionOnPaper, ...]
    events: tuple[tuple[str, tuple[Condition, ...]], ...]
    approval: Approval | None
    message: str
    looks: tuple[Look, ...]  # what a step that observes looks at
    check: Look | None
    verify: tuple[Look, ...]
    undo: str
    undo_by_hand: str
    marks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamOnPaper:
    """A parameter with its value here, or room for it."""

    name: str
    text: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationOnPaper:
    """Who is told when it takes too long."""

    after: timedelta
    unless: str
    to: str
    via: Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookOnPaper:
    """A runbook."""

    head: Head
    trigger: str
    rto: timedelta
    rpo: timedelta | None
    mtpd: timedelta | None
    executor: str
    immediate: Texts
    roles: tuple[RoleOnPaper, ...]
    contacts: tuple[ContactOnPaper, ...]
    deadlines: tuple[Deadline, ...]
    params: tuple[ParamOnPaper, ...]
    detect_all: bool
    detect: tuple[Look, ...]
    steps: tuple[StepOnPaper, ...]
    aftercare: tuple[StepOnPaper, ...]
    escalation: tuple[EscalationOnPaper, ...]
    data_protection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmOnPaper:
    """A link of the alarm chain."""

    role: str
    within: timedelta
    via: Texts
    out_of_band: bool
    people: tuple[Person, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapOnPaper:
    """Something that must exist before anything can be restored."""

    item: str
    where: Texts
    checked: date
    sealed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemOnPaper:
    """A system in the order of restart."""

    id: str
    title: str
    kind: str
    depends: Texts
    owner: str
    people: Texts
    rto: timedelta
    rpo: timedelta | None
    mtpd: timedelta | None
    planned: timedelta
    by: timedelta
    degraded: str
    manual: str
    runbook: str
    runbook_title: str
    params: tuple[tuple[str, str], ...]
    datasets: Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceOnPaper:
    """What can stand in."""

    item: str
    where: str
    serves: Texts
    ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderOnPaper:
    """Who has a copy of this paper."""

    holder: str
    form: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptOnPaper:
    """The restart concept."""

    head: Head
    purpose: str
    scope: str
    audience: Texts
    criteria: Texts
    declared_by: Texts
    deactivation: str
    alarm_chain: tuple[AlarmOnPaper, ...]
    roles: tuple[RoleOnPaper, ...]
    contacts: tuple[ContactOnPaper, ...]
    bootstrap: tuple[BootstrapOnPaper, ...]
    deadlines: tuple[Deadline, ...]
    tiers: tuple[tuple[SystemOnPaper, ...], ...]
    verify: tuple[Look, ...]
    resources: tuple[ResourceOnPaper, ...]
    normal: Texts
    normal_declared_by: str
    templates: Texts
    update_every: timedelta
    exercises: tuple[Fact, ...]  # how often
    exercised: tuple[tuple[str, date | None], ...]
    distribution: tuple[HolderOnPaper, ...]
    incident_handling: str
