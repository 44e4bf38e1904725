"""What a run does next: a pure function of the runbook and the journal.

The journal is all that is known of a run. Each event is on disk before the act that it announces, so that after a
crash at any point the journal says what may have happened: a step that was about to act and did not end is in doubt.
Of three workflow engines that were tried, each ran the step in flight again without asking; a restore must not be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from drtool.core.model import Event

Answer = str | int | bool

STARTED, RESUMED, AMENDED, PAUSED, ENDED = "run.started", "run.resumed", "run.amended", "run.paused", "run.ended"
BEGAN, ACTING, ACTED, DONE = "step.began", "step.acting", "step.acted", "step.ended"
RECHECKED, ASKED, ANSWERED, APPROVED = "step.rechecked", "step.asked", "step.answered", "step.approved"
UNSETTLED, ESCALATED, HAPPENED, JUMPED = "step.unsettled", "escalated", "event", "clock.jumped"


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    IN_DOUBT = "in_doubt"
    UNVERIFIED = "unverified"  # it acted, and was not verified yet
    OK = "ok"
    SATISFIED = "satisfied"  # it was so already
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    UNDONE = "undone"
    NOT_REACHED = "not_reached"  # the answers led elsewhere


class RunState(StrEnum):
    RUNNING = "running"
    WAITING_APPROVAL = "waiting_approval"
    WAITING_MANUAL = "waiting_manual"
    PAUSED_FAILED = "paused_failed"
    PAUSED_IN_DOUBT = "paused_in_doubt"
    PAUSED_OPERATOR = "paused_operator"  # somebody ended drtool by Ctrl-C
    COMPLETED = "completed"
    COMPLETED_WITH_EXCEPTIONS = "completed_with_exceptions"
    FAILED = "failed"
    ABORTED = "aborted"


GOOD = frozenset({StepState.OK, StepState.SATISFIED, StepState.NOT_REACHED})
BAD = frozenset({StepState.FAILED, StepState.TIMED_OUT})
PASSED = GOOD | {StepState.SKIPPED}
_HARMLESS = frozenset({"read", "idempotent"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the order of a run depends on; what the step does stands in its document."""

    id: str
    kind: str
    effect: str
    needs: tuple[str, ...] = ()
    when: Mapping[str, tuple[Answer, ...]] = field(default_factory=dict)
    checked: bool = False  # it has a check
    on_failure: str = "pause"
    undoable: bool = False
    marks: str | None = None

    @property
    def asks(self) -> bool:
        """Whether a person does it."""
        return self.kind in ("manual", "decide", "approve")

    @property
    def harmless(self) -> bool:
        """Whether doing it once more changes nothing."""
        return self.effect in _HARMLESS


class Why(StrEnum):
    """What a person is asked for."""

    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    MANUAL = "manual"
    DECIDE = "decide"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True)
class Recheck:
    """Verify again what was done before the run was resumed; a red one is told."""

    step: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Ask the check of a step in doubt whether it was done."""

    step: str


@dataclass(frozen=True, slots=True)
class Begin:
    """Check, do, verify."""

    step: str


@dataclass(frozen=True, slots=True)
class Verify:
    """It acted; what is left is to verify."""

    step: str


@dataclass(frozen=True, slots=True)
class Pass:
    """The answers lead elsewhere."""

    step: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A person must say something."""

    step: str
    why: Why


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Undo a step."""

    step: str


@dataclass(frozen=True, slots=True)
class End:
    """There is nothing left to do."""

    state: RunState


Next = Recheck | Settle | Begin | Verify | Pass | Ask | TakeBack | End


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """Where a step is; times are those of the journal."""

    state: StepState = StepState.PENDING
    attempts: int = 0
    retries: int = 0  # how often a person said that it is to be done again
    undo_failed: bool = False
    began: datetime | None = None
    ended: datetime | None = None
    asked: datetime | None = None
    reason: str = ""
    unsettled: bool = False  # its check could not tell, or said no
    recheck: bool = False
    exceptions: bool = False  # the runbook that it ran left something out
    approvals: tuple[str, ...] = ()
    acted: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the journal says of a run."""

    started: Mapping[str, Any]
    steps: Mapping[str, StepProgress]
    answers: Mapping[str, Answer]
    clocks: Mapping[str, datetime]
    happened: Mapping[str, datetime]
    escalated: frozenset[str]
    undoing: bool
    aborted: bool
    ended: RunState | None
    waits: tuple[tuple[datetime, datetime | None], ...]
    jumped: timedelta  # by how much the clock was set so far; ``steady`` and ``waits`` are without it
    steady: Mapping[str, datetime]  # the clocks, as a clock shows them that nobody sets
    paused: RunState | None

    def of(self, step: str) -> StepProgress:
        return self.steps.get(step, StepProgress())


def progress(journal: Iterable[Event]) -> Progress:
    """Fold the journal from its beginning."""
    fold = _Fold()
    for event in journal:
        fold.take(event)
    return fold.result()


def next_step(steps: Sequence[Step], journal: Iterable[Event]) -> Next:
    """The first of ``next_steps``."""
    return next_steps(steps, progress(journal))[0]


def next_steps(steps: Sequence[Step], so_far: Progress, busy: frozenset[str] = frozenset()) -> tuple[Next, ...]:
    """What can be done now, independent of one another; ``busy`` steps are under way. Empty only while some are."""
    if so_far.ended:
        return (End(so_far.ended),)
    if so_far.undoing or so_far.aborted:
        return tuple(_taking_back(steps, so_far, busy))
    rechecks = tuple(Recheck(step.id) for step in steps if so_far.of(step.id).recheck and step.id not in busy)
    if rechecks:
        return rechecks
    if any(_ends_the_run(step, so_far) for step in steps):
        return () if busy else (End(RunState.FAILED),)
    ready = tuple(_of(step, so_far) for step in steps if step.id not in busy and _ready(step, steps, so_far))
    if ready or busy:
        return ready
    return (End(_verdict(steps, so_far)),)


def waiting_state(why: Why) -> RunState:
    """The state of a run that waits for a person who is not there."""
    return {
        Why.FAILED: RunState.PAUSED_FAILED,
        Why.IN_DOUBT: RunState.PAUSED_IN_DOUBT,
        Why.APPROVE: RunState.WAITING_APPROVAL,
    }.get(why, RunState.WAITING_MANUAL)


def _ends_the_run(step: Step, so_far: Progress) -> bool:
    return step.on_failure == "abort" and so_far.of(step.id).state in BAD


def _ready(step: Step, steps: Sequence[Step], so_far: Progress) -> bool:
    if so_far.of(step.id).state in PASSED:
        return False
    if so_far.of(step.id).state in BAD and step.on_failure == "continue":
        return False
    by_id = {one.id: one for one in steps}
    return all(_behind(by_id[need], so_far) for need in step.needs if need in by_id)


def _behind(step: Step, so_far: Progress) -> bool:
    state = so_far.of(step.id).state
    return state in PASSED or (state in BAD and step.on_failure == "continue")


def _of(step: Step, so_far: Progress) -> Next:
    now = so_far.of(step.id)
    if now.state in BAD:
        return Ask(step.id, Why.FAILED)
    if now.state is StepState.IN_DOUBT:
        return _in_doubt(step, now)
    if now.state is StepState.UNVERIFIED:
        return Verify(step.id)
    if now.state is StepState.PENDING and not fits(step.when, so_far.answers):
        return Pass(step.id)
    return Ask(step.id, Why(step.kind)) if step.asks else Begin(step.id)


def _in_doubt(step: Step, now: StepProgress) -> Next:
    if step.checked and not now.unsettled:
        return Settle(step.id)
    return Begin(step.id) if step.harmless else Ask(step.id, Why.IN_DOUBT)


def fits(when: Mapping[str, tuple[Answer, ...]], answers: Mapping[str, Answer]) -> bool:
    """Whether the answers given are among those asked for; a question never answered fits nothing."""
    return all(key in answers and answers[key] in wanted for key, wanted in when.items())


def _taking_back(steps: Sequence[Step], so_far: Progress, busy: frozenset[str]) -> Iterator[Next]:
    """What was done is taken back, the latest first; then the run is aborted."""
    done = [step for step in steps if step.undoable and _may_be_done(so_far.of(step.id))]
    if busy:
        return
    if so_far.undoing and done:
        yield TakeBack(max(done, key=lambda step: so_far.of(step.id).ended or datetime.min).id)
    else:
        yield End(RunState.ABORTED)


def _may_be_done(now: StepProgress) -> bool:
    return now.state in (StepState.OK, StepState.UNVERIFIED, StepState.IN_DOUBT, *BAD) and not now.undo_failed


def _verdict(steps: Sequence[Step], so_far: Progress) -> RunState:
    clean = all(so_far.of(step.id).state in GOOD and not so_far.of(step.id).exceptions for step in steps)
    return RunState.COMPLETED if clean else RunState.COMPLETED_WITH_EXCEPTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person is to say: to go on, to do something, to answer, or to agree."""

    run: str
    step: str
    why: Why
    title: str
    lines: tuple[str, ...] = ()  # what to do or to know, a line each
    questions: Mapping[str, Question] = field(default_factory=dict)
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    type: str  # bool, choice, number, text
    text: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a person said: one of the choices, the answers, and why."""

    choice: str
    answers: Mapping[str, Answer] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """From the outage to the last probe green, and how much of that people were waited for. ``None``: not yet."""

    recovery: timedelta | None
    waiting: timedelta


def measure(so_far: Progress, now: datetime) -> Measured:
    """The measured recovery time, and the waiting within it, without what the clock jumped meanwhile."""
    begin, end = so_far.steady.get("outage") or so_far.steady.get("started"), so_far.steady.get("service_restored")
    until = end or now - so_far.jumped
    return Measured(recovery=end - begin if begin and end else None, waiting=_covered(so_far.waits, until))


def _covered(waits: Iterable[tuple[datetime, datetime | None]], until: datetime) -> timedelta:
    """How much time the intervals cover together, each moment once."""
    total, reached = timedelta(), None
    for since, to in sorted((since, min(to or until, until)) for since, to in waits):
        start = max(since, reached) if reached else since
        total += max(to - start, timedelta())
        reached = max(to, reached) if reached else to
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """Something that must be done within a time after an event: a legal clock, or an escalation."""

    id: str
    after: timedelta
    start: str  # the event or the clock that starts it
    text: str


def due(duties: Iterable[Duty], so_far: Progress) -> tuple[tuple[Duty, datetime], ...]:
    """The duties whose clock runs, with when they end, the most urgent first."""
    began = {**so_far.clocks, **so_far.happened}
    running = [(duty, began[duty.start] + duty.after) for duty in duties if duty.start in began]
    return tuple(sorted(running, key=lambda one: one[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run as it is shown: while it goes on, and at its end."""

    run: str
    runbook: str
    title: str
    mode: str
    state: RunState
    steps: tuple[tuple[str, str, StepProgress], ...]  # its id, and its title
    clocks: Mapping[str, datetime]
    rto: timedelta
    measured: Measured
    duties: tuple[tuple[Duty, datetime], ...]
    at: datetime
    waits: tuple[tuple[datetime, datetime | None], ...] = ()  # when people were waited for


def jumped(before: Event, at: datetime, boot: str, running: float) -> float:
    """By how many seconds somebody set the clock since the event before, where that is more than a minute."""
    if before.body.get("boot") != boot:
        return 0.0  # between two boots there is nothing to compare with
    by = (at - before.at).total_seconds() - (running - before.body["running"])
    return by if abs(by) > _NOTICED else 0.0


_NOTICED = 60.0


_SHOWN = ("params", "title", "rto", "steps", "duties")  # what an amendment tells anew
_PAUSE = ""  # under which name a paused run is waited for


class _Fold:
    """The journal, event by event."""

    def __init__(self) -> None:
        self._started: Mapping[str, Any] = {}
        self._steps: dict[str, StepProgress] = {}
        self._answers: dict[str, Answer] = {}
        self._clocks: dict[str, datetime] = {}
        self._happened: dict[str, datetime] = {}
        self._escalated: set[str] = set()
        self._undoing = self._aborted = False
        self._ended: RunState | None = None
        self._waits: list[tuple[datetime, datetime]] = []
        self._asked: dict[str, datetime] = {}  # what is waited for now, since when
        self._paused: RunState | None = None  # until somebody resumes it
        self._jumped = timedelta()
        self._steady: dict[str, datetime] = {}

    def take(self, event: Event) -> None:
        handler = self._HANDLERS.get(event.kind)
        if handler:
            handler(self, event)

    def result(self) -> Progress:
        return Progress(
            started=self._started,
            steps=dict(self._steps),
            answers=dict(self._answers),
            clocks=dict(self._clocks),
            happened=dict(self._happened),
            escalated=frozenset(self._escalated),
            undoing=self._undoing,
            aborted=self._aborted,
            ended=self._ended,
            waits=(*self._waits, *((since, None) for since in self._asked.values())),
            jumped=self._jumped,
            steady=dict(self._steady),
            paused=self._paused,
        )

    def _start(self, event: Event) -> None:
        self._started = event.body
        for clock, at in event.body.get("clocks", {}).items():
            self._clocks[clock] = self._steady[clock] = datetime.fromisoformat(at)
        self._set("started", event)

    def _set(self, clock: str, event: Event) -> None:
        self._clocks[clock], self._steady[clock] = event.at, event.at - self._jumped

    def _resume(self, event: Event) -> None:
        """Whatever was about to act and did not end is in doubt; whatever only began is as if it never had."""
        self._paused = None
        self._no_longer_asked(_PAUSE, event)
        for name, step in self._steps.items():
            if step.state is StepState.RUNNING:
                self._steps[name] = replace(step, state=StepState.IN_DOUBT)
            elif step.state is StepState.OK:
                self._steps[name] = replace(step, recheck=True)

    def _pause(self, event: Event) -> None:
        self._paused = RunState(event.body["state"])
        self._asked.setdefault(_PAUSE, event.at - self._jumped)

    def _amend(self, event: Event) -> None:
        """Agreement was to the text as it was."""
        told = {key: event.body[key] for key in _SHOWN if key in event.body}
        self._started = {**self._started, **told}
        for name, step in self._steps.items():
            if step.asked:
                self._steps[name] = replace(step, asked=None, approvals=())

    def _end(self, event: Event) -> None:
        self._ended = RunState(event.body["state"])
        if self._ended not in (RunState.FAILED, RunState.ABORTED) and "normal" not in self._clocks:
            self._set("normal", event)

    def _change(self, event: Event, **changes: Any) -> None:
        name = event.body["step"]
        self._steps[name] = replace(self._steps.get(name, StepProgress()), **changes)

    def _begin(self, event: Event) -> None:
        before = self._steps.get(event.body["step"], StepProgress())
        self._change(event, attempts=before.attempts + 1, began=before.began or event.at, ended=None,
                     state=StepState.PENDING, unsettled=False)  # fmt: skip

    def _act(self, event: Event) -> None:
        self._change(event, state=StepState.RUNNING)

    def _acted(self, event: Event) -> None:
        good = event.body.get("good", False)
        before = self._steps.get(event.body["step"], StepProgress())
        self._change(event, acted=event.body, exceptions=before.exceptions or event.body.get("exceptions", False),
                     **({"state": StepState.UNVERIFIED} if good else {}))  # fmt: skip
        for since, until in event.body.get("waits", ()):  # those of a run within
            self._waits.append((datetime.fromisoformat(since), datetime.fromisoformat(until)))

    def _done(self, event: Event) -> None:
        if event.body.get("undo"):
            self._change(event, undo_failed=True, reason=event.body.get("reason", ""))
            return
        state = StepState(event.body["state"])
        before = self._steps.get(event.body["step"], StepProgress())
        self._change(event, state=state, ended=event.at, began=before.began or event.at,
                     reason=event.body.get("reason", ""),
                     exceptions=before.exceptions or event.body.get("exceptions", False))  # fmt: skip
        if "marks" in event.body:
            self._set(event.body["marks"], event)

    def _rechecked(self, event: Event) -> None:
        """What is no longer so is an exception, though it was done."""
        before = self._steps.get(event.body["step"], StepProgress())
        self._change(event, recheck=False, exceptions=before.exceptions or not event.body["good"])

    def _ask(self, event: Event) -> None:
        before = self._steps.get(event.body["step"], StepProgress())
        if before.asked is None:
            self._change(event, asked=event.at, began=before.began or event.at)
            self._asked.setdefault(event.body["step"], event.at - self._jumped)

    def _answer(self, event: Event) -> None:
        self._answers.update(event.body.get("answers", {}))
        for happened in event.body.get("events", ()):
            self._happened.setdefault(happened, event.at)
        choice = event.body.get("choice")
        changes: dict[str, Any] = {"asked": None}
        if choice in ("retry", "again"):
            changes |= {"state": StepState.PENDING, "unsettled": False}
            self._retries(event)
        elif choice in ("skip", "done", "verify"):
            state = StepState.SKIPPED if choice == "skip" else StepState.UNVERIFIED
            changes |= {"state": state, "ended": event.at, "reason": event.body.get("reason", "")}
        if event.body.get("exceptions"):
            changes["exceptions"] = True
        self._undoing = self._undoing or choice == "undo"
        self._aborted = self._aborted or choice in ("abort", "undo")
        self._change(event, **changes)
        self._no_longer_asked(event.body["step"], event)

    def _no_longer_asked(self, what: str, event: Event) -> None:
        since = self._asked.pop(what, None)
        if since:
            self._waits.append((since, event.at - self._jumped))

    def _retries(self, event: Event) -> None:
        before = self._steps.get(event.body["step"], StepProgress())
        self._change(event, retries=before.retries + 1)

    def _approve(self, event: Event) -> None:
        before = self._steps.get(event.body["step"], StepProgress())
        self._change(event, approvals=(*before.approvals, event.body["person"]))

    def _unsettled(self, event: Event) -> None:
        self._change(event, unsettled=True, state=StepState.IN_DOUBT)

    def _happen(self, event: Event) -> None:
        self._happened.setdefault(event.body["event"], event.at)

    def _escalate(self, event: Event) -> None:
        self._escalated.add(event.body["escalation"])

    def _jump(self, event: Event) -> None:
        self._jumped += timedelta(seconds=event.body["seconds"])

    _HANDLERS = {  # noqa: RUF012 - never changed
        STARTED: _start, PAUSED: _pause, RESUMED: _resume, AMENDED: _amend, ENDED: _end,
        HAPPENED: _happen, JUMPED: _jump,
        BEGAN: _begin, ACTING: _act, ACTED: _acted, UNSETTLED: _unsettled, DONE: _done, RECHECKED: _rechecked,
        ASKED: _ask, ANSWERED: _answer, APPROVED: _approve, ESCALATED: _escalate,
    }  # fmt: skip
