"""The runbook document: ordered steps to recover, typed; what only several pieces together show is found by lint.

Texts, arguments, paths and addresses may name parameters: ``{web_root}``. A brace that is meant is written twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr
from pydantic_core import InitErrorDetails

from drtool.documents.estate import Secret
from drtool.documents.fields import VARIABLE, CommandLine, Day, Duration, FullPath, Name, Sha256, Text, Texts, Version
from drtool.documents.part import Part, found, mistake, quoted
from drtool.documents.probe import Detect, Probe, Probes
from drtool.documents.register import Approved
from drtool.documents.tree import Mistake, Spot, Steps, Tree

Effect = Literal["read", "idempotent", "once", "destructive"]
Phase = Literal["immediate", "diagnose", "restart", "restore", "aftercare"]
Answer = str | int | bool
Key = Annotated[str, Field(pattern=VARIABLE)]


class Objectives(Part):
    """What recovering is measured against."""

    rto: Annotated[Duration, Field(description="How long the outage may last")]
    rpo: Annotated[Duration | None, Field(description="How much of the newest work may be lost")] = None
    mtpd: Annotated[Duration | None, Field(description="How long an outage can be borne at all")] = None


class Param(Part):
    """A value that is given when a run starts, and stays as it is for all of that run."""

    type: Annotated[
        Literal["text", "name", "number", "bool", "choice", "path", "host", "dataset", "snapshot", "secret"],
        Field(description="What it is; it is checked before anything begins"),
    ]
    text: Annotated[Text | None, Field(description="What it is for, for a person")] = None
    default: Annotated[
        Answer | None, Field(description="The value where neither the command line nor the register gives one")
    ] = None
    values: Annotated[Texts | None, Field(description="For a choice: what may be chosen")] = None
    pattern: Annotated[Text | None, Field(description="A regular expression that the whole value must match")] = None
    secret: Annotated[Secret | None, Field(description="For a secret: where it is to be had; it is never recorded")] = (
        None
    )

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: what belongs to another type, or is missing for this one."""
        yield from super().mistakes_in(data)
        for key, kind in (("values", "choice"), ("secret", "secret")):
            if data.get("type") == kind and key not in data:
                yield found(mistake(f"missing key '{key}'"))
            if data.get("type") != kind and key in data:
                yield found(mistake(f"belongs to a parameter of type {kind}", at_key=True), key)
        if data.get("type") == "secret" and "default" in data:
            yield found(
                mistake("a secret has no default; say where it is to be had by 'secret'", at_key=True), "default"
            )


class Question(Part):
    """Something a person must answer."""

    type: Annotated[Literal["bool", "choice", "number", "text"], Field(description="What the answer is")]
    text: Annotated[Text, Field(description="The question")]
    values: Annotated[Texts | None, Field(description="For a choice: what may be chosen")] = None

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: a choice without values."""
        yield from super().mistakes_in(data)
        if (data.get("type") == "choice") != ("values" in data):
            yield found(mistake("a choice needs values, and nothing else has them"))


Questions = Annotated[Mapping[Key, Question], Field(min_length=1)]


class Retry(Part):
    """How often a step is tried again by itself; only one that reads or is idempotent is."""

    max: Annotated[int, Field(ge=1, le=100, description="How often more")]
    interval: Annotated[Duration, Field(description="How long is waited before")] = timedelta(seconds=5)


class Undo(Part):
    """How a step is taken back."""

    one_of = ("argv", "manual")

    argv: Annotated[CommandLine | None, Field(description="The program and its arguments; no shell")] = None
    manual: Annotated[Text | None, Field(description="What a person must do")] = None


class _Step(Part):
    id: Annotated[Name, Field(description="The step's name, unique in its runbook")]
    title: Annotated[Text, Field(description="What is done, in one line")]
    text: Annotated[Text | None, Field(description="What a person should know before")] = None
    phase: Annotated[Phase, Field(description="Which part of the recovery it belongs to")] = "restart"
    needs: Annotated[
        tuple[Name, ...] | None, Field(description="The steps before it; without the key the one written before it")
    ] = None
    when: Annotated[
        Mapping[Key, Answer | tuple[Answer, ...]],
        Field(description="Only where the answers given so far are these; a list for any of several"),
    ] = Field(default_factory=dict)
    check: Annotated[Probe | None, Field(description="Is it so already? Then nothing is done")] = None
    verify: Annotated[tuple[Probe, ...], Field(description="What shows that it worked")] = ()
    timeout: Annotated[
        Duration,
        Field(
            description="How long a program or a wait may take; then all it started is ended; a restore is not cut off"
        ),
    ] = timedelta(minutes=10)
    planned: Annotated[Duration | None, Field(description="How long it is planned to take", alias="expect")] = None
    on_failure: Annotated[
        Literal["pause", "continue", "abort"],
        Field(description="pause asks; continue goes on, and the run ends with exceptions; abort ends the run"),
    ] = "pause"
    retry: Annotated[Retry | None, Field(description="Try again by itself")] = None
    undo: Annotated[Undo | None, Field(description="How it is taken back")] = None
    drill: Annotated[
        Literal["run", "simulate", "skip"] | None,
        Field(description="What a drill does with it; only a step that reads needs none"),
    ] = None
    marks: Annotated[
        Literal["declared", "service_restored", "normal"] | None,
        Field(description="Which clock stops once its verify passes; service_restored stops the RTO's"),
    ] = None

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What it observes besides its check."""
        return self.verify


class _Acts(_Step):
    effect: Annotated[Effect, Field(description="What doing it twice would do")]


class _OnHost(_Acts):
    target: Annotated[Text | None, Field(description="The register's host to act on; without it this machine")] = None
    env: Annotated[Mapping[Key, Text], Field(description="The program's environment, besides PATH")] = Field(
        default_factory=dict
    )
    secrets: Annotated[
        Mapping[Key, Name],
        Field(description="Variables that hold the path of a file with a secret parameter; on this machine only"),
    ] = Field(default_factory=dict)


class ProbeStep(_Step):
    """Observes, and fails where a probe does not fit."""

    kind: Literal["probe"]
    effect: Literal["read"] = "read"
    do: Annotated[Probes, Field(description="The probes; all must fit")]


class ExecStep(_OnHost):
    """Runs a program."""

    kind: Literal["exec"]
    argv: Annotated[CommandLine, Field(description="The program and its arguments; no shell")]


class ScriptStep(_OnHost):
    """Runs a file whose content is pinned."""

    kind: Literal["script"]
    script: Annotated[FullPath, Field(description="The file; its first line names the interpreter")]
    sha256: Annotated[Sha256, Field(description="The SHA-256 of the file; another content is refused")]
    args: Annotated[tuple[Text, ...], Field(description="Its arguments")] = ()


class ServiceStep(_Acts):
    """Drives a service."""

    kind: Literal["service"]
    effect: Effect = "idempotent"
    target: Annotated[Text | None, Field(description="The register's host; without it this machine")] = None
    service: Annotated[Text, Field(description="The service, as the register or systemd knows it")]
    action: Annotated[Literal["start", "stop", "restart", "reload"], Field(description="What is done to it")]


class RestoreStep(_Acts):
    """Brings a dataset back, as ``drtool restore`` does."""

    kind: Literal["restore"]
    effect: Literal["destructive", "idempotent"] = "destructive"
    dataset: Annotated[Text, Field(description="The dataset")]
    snapshot: Annotated[Text, Field(description="latest, a time, or the beginning of a snapshot's id")] = "latest"
    to: Annotated[Text | None, Field(description="The directory to restore into")] = None
    into: Annotated[Text | None, Field(description="The database to load into")] = None
    in_place: Annotated[bool, Field(description="Where it came from; what is there now is saved first")] = False
    delete: Annotated[bool, Field(description="In place: also remove what the snapshot does not have")] = False
    safety: Annotated[bool, Field(description="In place: save first what is there now")] = True
    include: Annotated[tuple[Text, ...], Field(description="Only these paths")] = ()

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: not exactly one place."""
        yield from super().mistakes_in(data)
        if sum(bool(data.get(key)) for key in ("to", "into", "in_place")) != 1:
            yield found(mistake("exactly one of these keys must be there: to, into, in_place"))


class BackupStep(_Acts):
    """Backs up, as ``drtool backup`` does: recovering ends with a fresh backup."""

    kind: Literal["backup"]
    effect: Literal["idempotent"] = "idempotent"
    datasets: Annotated[tuple[Text, ...], Field(description="The datasets; without them all")] = ()


class HoldStep(_Acts):
    """Freezes the removal of snapshots, or releases what this run froze."""

    kind: Literal["hold"]
    effect: Literal["idempotent"] = "idempotent"
    action: Annotated[Literal["set", "release"], Field(description="Set, or release what this run set")] = "set"
    repository: Annotated[Text | None, Field(description="The repository; without it all of them")] = None
    reason: Annotated[Text | None, Field(description="Why; without it the run and the title are named")] = None


class EvidenceStep(_Acts):
    """Keeps the output of programs and the content of files, with their SHA-256, before they change."""

    kind: Literal["evidence"]
    effect: Literal["read"] = "read"
    target: Annotated[Text | None, Field(description="The register's host; without it this machine")] = None
    collect: Annotated[
        Mapping[Name, CommandLine], Field(description="Programs whose output is kept, the most fleeting first")
    ] = Field(default_factory=dict)
    files: Annotated[tuple[Text, ...], Field(description="Files that are kept; a folder as an archive")] = ()


class ManualStep(_Acts):
    """Asks a person to do something, and what came of it."""

    kind: Literal["manual"]
    effect: Effect = "once"
    checklist: Annotated[Texts, Field(description="What to do, a line each")]
    ask: Annotated[Mapping[Key, Question], Field(description="What to note down")] = Field(default_factory=dict)


class Emits(Part):
    """An event that some answers mean."""

    when: Annotated[Mapping[Key, Answer | tuple[Answer, ...]], Field(min_length=1, description="The answers")]
    event: Annotated[Text, Field(description="The event: breach.aware starts the legal clocks")]


class DecideStep(_Step):
    """Asks what is the case; later steps follow from it by their ``when``."""

    kind: Literal["decide"]
    effect: Literal["read"] = "read"
    ask: Annotated[Questions, Field(description="The questions; the answers are known to all later steps")]
    emit: Annotated[tuple[Emits, ...], Field(description="Events that follow from the answers")] = ()


class ApproveStep(_Step):
    """Waits until somebody with the right role agrees. It never agrees by itself."""

    kind: Literal["approve"]
    effect: Literal["read"] = "read"
    by: Annotated[Name, Field(description="The role that must agree")]
    min: Annotated[int, Field(ge=1, description="How many people")] = 1
    four_eyes: Annotated[bool, Field(description="Whoever runs the runbook cannot agree")] = True
    show: Annotated[tuple[Text, ...], Field(description="What they must know before")] = ()
    escalate_to: Annotated[Name | None, Field(description="The role that is told when the time is over")] = None
    break_glass: Annotated[
        bool, Field(description="Whether it can be passed alone in need, with a reason that is reviewed afterwards")
    ] = False


class NotifyStep(_Acts):
    """Tells somebody: by the estate's addresses, and on the screen whom to call."""

    kind: Literal["notify"]
    effect: Literal["once"] = "once"
    to: Annotated[tuple[Name, ...], Field(min_length=1, description="Roles or contacts of the register")]
    message: Annotated[Text, Field(description="What to say")]


class WaitStep(_Step):
    """Waits for a while, or until a probe fits."""

    kind: Literal["wait"]
    effect: Literal["read"] = "read"
    one_of = ("for", "until")

    duration: Annotated[Duration | None, Field(description="How long", alias="for")] = None
    until: Annotated[Probe | None, Field(description="Until this fits, at most for the step's timeout")] = None


class RunbookStep(_Step):
    """Runs another runbook to its end."""

    kind: Literal["runbook"]
    effect: Literal["idempotent"] = "idempotent"
    runbook: Annotated[Name, Field(description="The other runbook")]
    params: Annotated[Mapping[Name, Answer], Field(description="Its parameters")] = Field(default_factory=dict)


Step = Annotated[
    ProbeStep
    | ExecStep
    | ScriptStep
    | ServiceStep
    | RestoreStep
    | BackupStep
    | HoldStep
    | EvidenceStep
    | ManualStep
    | DecideStep
    | ApproveStep
    | NotifyStep
    | WaitStep
    | RunbookStep,
    Field(discriminator="kind"),
]


class LegalClock(Part):
    """A duty with a deadline that an event starts."""

    id: Annotated[Name, Field(description="The clock's name")]
    start: Annotated[Text, Field(description="The event that starts it")]
    deadline: Annotated[Duration, Field(description="How long there is")]
    duty: Annotated[Text, Field(description="What must be done, and by which clause")]


class Escalation(Part):
    """Who is told when recovering takes too long."""

    after: Annotated[Duration, Field(description="How long after the outage began")]
    unless: Annotated[Literal["started", "service_restored"], Field(description="What must have happened by then")] = (
        "service_restored"
    )
    to: Annotated[Name, Field(description="The role or contact that is told")]
    via: Annotated[tuple[Text, ...], Field(description="How: phone, sms")] = ()


class ReleasedDocument(Part):
    """What every released procedure says of itself."""

    title: Annotated[Text, Field(description="The title")]
    title_en: Annotated[Text | None, Field(description="The title in English")] = None
    revision: Annotated[int, Field(ge=1, description="Which version of the text this is")]
    owner: Annotated[Name, Field(description="The role that keeps it up to date")]
    approved: Annotated[Approved | None, Field(description="Who released it")] = None
    review_due: Annotated[Day, Field(description="When it must be reviewed next, within a year")]
    basis: Annotated[tuple[Text, ...], Field(description="The clauses it serves")] = ()

    _tree: Tree | None = PrivateAttr(default=None)
    _path: Path = PrivateAttr(default=Path("runbook.yaml"))

    @property
    def path(self) -> Path:
        """The file it was read from."""
        return self._path

    @property
    def digest(self) -> str:
        """The SHA-256 of its text."""
        return self._tree.digest if self._tree else ""

    def described(self, steps: Steps, message: str) -> str:
        """Something that is wrong here, as ``file:line:column: path: message``."""
        spot = self._tree.spot(steps) if self._tree else Spot(1, 1)
        return Mistake(spot=spot, steps=steps, message=message).described(self._path)

    def lend_text(self, other: ReleasedDocument) -> None:
        """What was made of this is known by this text."""
        other._path, other._tree = self._path, self._tree

    def read_from(self, path: Path, tree: Tree) -> None:
        """Remember where the text lies, and which it was."""
        self._path, self._tree = path, tree


class Runbook(ReleasedDocument):
    """Ordered steps to recover from one kind of trouble."""

    version: Annotated[Version, Field(description="The version of this document's form")]
    runbook: Annotated[Name, Field(description="The runbook's id, unique in the estate")]
    trigger: Annotated[Text | None, Field(description="When it is to be used, in words")] = None
    objectives: Annotated[Objectives, Field(description="What recovering is measured against")]
    executor: Annotated[Name, Field(description="The role that runs it")]
    params: Annotated[Mapping[Name, Param], Field(description="What a run must be told")] = Field(default_factory=dict)
    detect: Annotated[Detect | None, Field(description="What tells that it fits; it never starts by itself")] = None
    immediate: Annotated[
        Texts | None, Field(description="What anybody can do in the first quarter of an hour, printed first")
    ] = None
    steps: Annotated[tuple[Step, ...], Field(min_length=1, description="The steps")]
    clocks: Annotated[tuple[LegalClock, ...], Field(description="The duties with a deadline")] = ()
    escalation: Annotated[tuple[Escalation, ...], Field(description="Who is told when it takes too long")] = ()
    data_protection: Annotated[
        Text | None, Field(description="Whether and when personal data is affected, and what follows")
    ] = None

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: two steps of one id."""
        yield from super().mistakes_in(data)
        steps = data.get("steps")
        ids = [step.get("id") if isinstance(step, dict) else None for step in steps or ()] if steps else []
        for index, name in enumerate(ids):
            if isinstance(name, str) and name in ids[:index]:
                yield found(mistake(f"another step has the id {quoted(name)} already"), "steps", index, "id")
