"""A run of a runbook: what the journal leaves to do is done, until nothing is left or somebody is waited for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from drtool import __version__
from drtool.core.model import Verdict
from drtool.core.observation import Observation
from drtool.core.ports import Journal
from drtool.core.runbook import (
    ACTED,
    ACTING,
    AMENDED,
    ANSWERED,
    APPROVED,
    ASKED,
    BEGAN,
    DONE,
    ENDED,
    ESCALATED,
    HAPPENED,
    PAUSED,
    RECHECKED,
    RESUMED,
    STARTED,
    UNSETTLED,
    Answer,
    Ask,
    Asked,
    Begin,
    Duty,
    End,
    Next,
    Pass,
    Progress,
    Question,
    Recheck,
    Reply,
    RunState,
    RunView,
    Settle,
    StepState,
    TakeBack,
    Verify,
    Why,
    due,
    fits,
    next_steps,
    progress,
    waiting_state,
)
from drtool.documents.durations import format_duration
from drtool.documents.runbook import ApproveStep, DecideStep, ManualStep, Runbook, RunbookStep, Step
from drtool.errors import DrtoolError, NoSuchAnswer, UsageError
from drtool.flows.agree import approver, operators_of
from drtool.flows.observe import fitting, observe, observe_all
from drtool.flows.order import alternatives, ordered
from drtool.flows.parameters import Params, resolve
from drtool.flows.perform import Acted, Scene, holds_of, mark_of, perform, told, whom
from drtool.flows.recovery import Recovery
from drtool.flows.refuse import in_sandbox, refuse_in_drill, refuse_unsound
from drtool.flows.view import shown_of, view_of

GOOD_ENDS = frozenset({RunState.COMPLETED, RunState.COMPLETED_WITH_EXCEPTIONS})
LOOKS = 0.5  # seconds between two looks at whether somebody agreed, or is to be told


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What is known when a run starts: since when the trouble is there, and when it was noticed."""

    outage: datetime | None = None
    detected: datetime | None = None
    part_of: str = ""  # the run that runs this one

    def clocks(self) -> Mapping[str, str]:
        known = {"outage": self.outage, "detected": self.detected}
        return {name: at.isoformat() for name, at in known.items() if at}


def start(
    runbook: Runbook,
    params: Params,
    journal: Journal,
    recovery: Recovery,
    beginning: Beginning,
    *,
    parallel: int = 1,
    outer: Execution | None = None,
) -> RunView:
    """A new run, as far as it gets; ``outer`` is the one that it is a part of.

    Raises ``UsageError`` for a drill that would destroy outside the sandbox, and for texts that name no parameter.
    """
    refuse_in_drill(runbook, params, recovery)
    refuse_unsound(runbook, params, recovery)
    outside = recovery.outside
    started = {
        "runbook": runbook.runbook, "revision": runbook.revision, "digest": runbook.digest, "mode": recovery.mode,
        "params": dict(params.values), "operator": outside.operator, "host": socket.gethostname(),
        "drtool": __version__, "clocks": beginning.clocks(), "part_of": beginning.part_of,
        **shown_of(runbook, params.values),
    }  # fmt: skip
    journal.append(STARTED, started)
    outside.evidence.append(journal.run, "runbook.started", {key: started[key] for key in _IN_EVIDENCE})
    return Execution(runbook, params, journal, recovery, parallel=parallel, outer=outer).carry_on()


_IN_EVIDENCE = ("runbook", "revision", "digest", "mode", "operator")


def resume(
    runbook: Runbook,
    journal: Journal,
    recovery: Recovery,
    *,
    amend: str = "",
    parallel: int = 1,
    outer: Execution | None = None,
) -> RunView:
    """Go on with a run that was cut off or waits.

    Raises ``UsageError`` where the runbook is not the one that was pinned at the start, unless a reason to ``amend``
    it is given.
    """
    so_far = progress(journal.events())
    _compare_with_evidence(so_far, journal, recovery)
    if so_far.ended:
        return view_of(journal.run, so_far, so_far.ended, recovery.outside.clock.now())
    pinned = next((event.body["digest"] for event in reversed(journal.events()) if event.kind == AMENDED),
                  so_far.started["digest"])  # fmt: skip
    if runbook.digest != pinned:
        _amend(runbook, journal, recovery, amend)
    params = Params(
        values=progress(journal.events()).started["params"],
        secrets={name: param.secret for name, param in runbook.params.items() if param.secret},
    )
    refuse_in_drill(runbook, params, recovery)
    journal.append(RESUMED, {"operator": recovery.outside.operator, "host": socket.gethostname()})
    return Execution(runbook, params, journal, recovery, parallel=parallel, outer=outer, amend=amend).carry_on()


def _compare_with_evidence(so_far: Progress, journal: Journal, recovery: Recovery) -> None:
    """The evidence knows how a run ended. What a crash kept from it is told now; what the journal lacks was cut."""
    known = list(recovery.outside.evidence.events(run=journal.run, kind=IN_EVIDENCE))
    if so_far.ended and not known:
        tell_of_the_end(journal, recovery)
    if known and not so_far.ended:
        raise DrtoolError(
            f"the journal of run {journal.run} was cut: the evidence knows {known[-1].body['events']} events of it,"
            f" and its end ({known[-1].body['state']})",
            hint="keep the file as evidence, and start a new run",
        )


def tell_of_the_end(journal: Journal, recovery: Recovery) -> None:
    """Put the journal's head into the evidence."""
    started, ended = journal.events()[0], journal.events()[-1]
    recovery.outside.evidence.append(
        journal.run,
        IN_EVIDENCE,
        {"runbook": started.body["runbook"], "state": progress(journal.events()).ended,
         "events": ended.seq, "head": ended.hash},
    )  # fmt: skip


IN_EVIDENCE = "runbook.ended"


def _amend(runbook: Runbook, journal: Journal, recovery: Recovery, reason: str) -> None:
    if not reason:
        raise UsageError(
            f"runbook {runbook.runbook} was changed since run {journal.run} began",
            hint=f"compare {runbook.path}; to go on with it as it is now: drtool runbook resume"
            f" {journal.run.partition('.')[0]} --amend REASON",
        )
    so_far = progress(journal.events())
    gone = so_far.steps.keys() - {step.id for step in runbook.steps}
    if gone:
        raise UsageError(f"steps that have begun are gone from runbook {runbook.runbook}: {', '.join(sorted(gone))}",
                         hint="bring them back under their names, or start a new run")  # fmt: skip
    given = {name: value for name, value in so_far.started["params"].items() if name in runbook.params}
    params = resolve(runbook, given, recovery.register, recovery.estate)
    refuse_unsound(runbook, params, recovery)
    journal.append(
        AMENDED,
        {"digest": runbook.digest, "reason": reason, "operator": recovery.outside.operator,
         "params": dict(params.values), **shown_of(runbook, params.values)},
    )  # fmt: skip
    for name, step in so_far.steps.items():
        if step.approvals:
            recovery.console.tell(
                f"what {', '.join(step.approvals)} agreed to at {name} was another text; it is asked for again"
            )


class Execution:
    """One run, from where its journal stands."""

    def __init__(
        self,
        runbook: Runbook,
        params: Params,
        journal: Journal,
        recovery: Recovery,
        *,
        parallel: int = 1,
        outer: Execution | None = None,
        amend: str = "",
    ) -> None:
        self._runbook, self._params, self._journal, self._recovery = runbook, params, journal, recovery
        self._parallel, self._outer, self._amend = parallel, outer, amend
        self._steps = ordered(runbook)
        self._documents: Mapping[str, Step] = {step.id: step for step in runbook.steps}
        outside = recovery.outside
        self._values: Mapping[str, Answer] = {
            **params.values,
            "run": journal.run,
            "site": recovery.estate.site,
            "runbook": runbook.runbook,
            "evidence": str(journal.path("kept", "-").parent),
        }
        self._clock = outside.clock

    # What is done next

    def carry_on(self) -> RunView:
        """Until it ends, or waits for somebody who is not there."""
        for event in self._so_far().happened:
            self._tell_outer(event)  # a crash may have come between the two journals
        self._end_what_is_left_over()
        with self._watched():
            try:
                state = self._one_by_one() if self._parallel == 1 else self._side_by_side()
            except (KeyboardInterrupt, NoSuchAnswer):
                self._pause(RunState.PAUSED_OPERATOR)
                raise
        view = self.view(state)
        self._recovery.console.show(view)
        return view

    def _end_what_is_left_over(self) -> None:
        """Of a step in doubt nothing may go on beside what is done next: what outlived a killed drtool is ended."""
        for step in self._steps:
            if self._so_far().of(step.id).state is StepState.IN_DOUBT:
                for pid in self._recovery.hosts.end_left_over(mark_of(self._journal.run, step.id)):
                    self._tell(f"{step.id} was still at work as process {pid}, which was ended")

    def _one_by_one(self) -> RunState:
        while True:
            following = next_steps(self._steps, self._so_far())[0]
            if isinstance(following, End):
                return self._end(following.state)
            if waiting := self._take(following):
                return self._pause(waiting)

    def _side_by_side(self) -> RunState:
        """Independent steps at once; what waits for a person keeps only what needs it."""
        busy: dict[Future[RunState | None], str] = {}
        waiting: dict[str, RunState] = {}
        pool = ThreadPoolExecutor(self._parallel, thread_name_prefix="step")
        try:
            while True:
                so_far, taken = self._so_far(), frozenset(busy.values())
                ends = so_far.aborted or so_far.undoing  # then nobody is waited for any more
                following = next_steps(self._steps, so_far, taken if ends else taken | frozenset(waiting))
                if following and isinstance(following[0], End):
                    return self._end(following[0].state)
                for one in following[: self._parallel - len(busy)]:
                    assert not isinstance(one, End)  # it is alone
                    busy[pool.submit(self._take, one)] = one.step
                if not busy:
                    return self._pause(next(iter(waiting.values())))
                for ended in wait(busy, return_when=FIRST_COMPLETED).done:
                    step, state = busy.pop(ended), ended.result()
                    if state:
                        waiting[step] = state
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for what goes on

    def _take(self, following: Next) -> RunState | None:
        """Do one thing; what it waits for, where it waits."""
        self._show()
        match following:
            case Recheck(name):
                self._recheck(self._documents[name])
            case Settle(name):
                self._settle(self._documents[name])
            case Begin(name):
                return self._begin(self._documents[name])
            case Verify(name):
                self._verify(self._documents[name])
            case Pass(name):
                self._done(name, StepState.NOT_REACHED)
            case Ask(name, why):
                return self._ask(self._documents[name], why)
            case TakeBack(name):
                return self._take_back(self._documents[name])
        return None

    def _recheck(self, step: Step) -> None:
        seen = observe_all(step.verify, self._values, self._recovery)
        bad = _first_bad(seen)
        self._journal.append(RECHECKED, {"step": step.id, "good": not bad, "reason": bad})
        if bad:
            self._tell(f"{step.id} was done, but: {bad}")

    def _settle(self, step: Step) -> None:
        assert step.check is not None  # only such are settled
        seen = observe(step.check, self._values, self._recovery)
        if fitting(seen):
            self._done(step.id, StepState.SATISFIED, seen.reason)
        else:
            self._journal.append(UNSETTLED, {"step": step.id, "reason": seen.reason})

    def _begin(self, step: Step) -> RunState | None:
        self._journal.append(BEGAN, {"step": step.id})
        if self._recovery.mode == "drill" and step.drill in ("simulate", "skip"):
            how = "simulated in this drill: it was not done" if step.drill == "simulate" else "a drill leaves it out"
            self._done(step.id, StepState.SKIPPED, how)
            return None
        if step.check:
            seen = observe(step.check, self._values, self._recovery)
            if fitting(seen):
                self._done(step.id, StepState.SATISFIED, seen.reason)
                return None
            if seen.verdict is Verdict.UNKNOWN and step.effect in ("once", "destructive"):
                self._done(step.id, StepState.FAILED, f"its check cannot tell, so it was not done: {seen.reason}")
                return None
        retry = step.retry if step.effect in ("read", "idempotent") else None
        acted = self._recovery.again(
            lambda: self._attempt(step),
            lambda acted: acted.good or acted.waiting is not None,
            more=retry.max if retry else 0,
            interval=retry.interval.total_seconds() if retry else 0,
        )
        if acted.waiting:
            return acted.waiting
        if acted.good:
            self._verify(step)
        else:
            self._done(step.id, StepState.TIMED_OUT if acted.overdue else StepState.FAILED, acted.reason)
        return None

    def _attempt(self, step: Step) -> Acted:
        scene = self._scene(step)
        try:
            what = told(step, self._values)
        except UsageError as error:
            return Acted(good=False, reason=error.message)
        if self._recovery.mode == "drill" and not in_sandbox(step, self._params, self._recovery):
            return Acted(good=False, reason="a drill does not destroy outside of the sandbox")
        self._journal.append(ACTING, {"step": step.id, "what": what})
        acted = perform(step, scene)
        if not acted.waiting:
            body = {"step": step.id, "good": acted.good, "reason": acted.reason, **acted.facts}
            self._journal.append(ACTED, body | ({"exceptions": True} if acted.exceptions else {}))
        return acted

    def _verify(self, step: Step) -> None:
        try:
            seen = observe_all(step.verify, self._values, self._recovery)
            bad = _first_bad(seen)
        except UsageError as error:
            bad = error.message
        if bad:
            self._done(step.id, StepState.FAILED, f"not as it should be: {bad}")
        else:
            self._done(step.id, StepState.OK)

    def _done(self, name: str, state: StepState, reason: str = "") -> None:
        body: dict[str, Any] = {"step": name, "state": state, "reason": reason}
        marks = self._documents[name].marks
        if marks and state in (StepState.OK, StepState.SATISFIED):
            body["marks"] = marks
        self._journal.append(DONE, body)
        if reason and state is not StepState.NOT_REACHED:
            self._tell(f"{name}: {state.replace('_', ' ')}: {reason}")

    def _take_back(self, step: Step) -> RunState | None:
        assert step.undo is not None  # only such are taken back
        if step.undo.manual:
            lines = (self._scene(step).fill(step.undo.manual),)
            asked = self._asked(step, Why.MANUAL, lines=lines, choices=("done",))
            if not self._recovery.console.ask(asked, settled=lambda: False):
                return RunState.WAITING_MANUAL
        elif bad := self._undo(step):
            self._journal.append(DONE, {"step": step.id, "undo": True, "reason": f"it could not be taken back: {bad}"})
            self._tell(f"{step.id}: it could not be taken back: {bad}")
            return None
        self._done(step.id, StepState.UNDONE)
        return None

    def _undo(self, step: Step) -> str:
        """Why it could not be taken back; '' where it was."""
        assert step.undo and step.undo.argv  # the other way is a person's
        scene = self._scene(step)
        argv = scene.fill(step.undo.argv)
        self._journal.append(ACTING, {"step": step.id, "undo": list(argv)})
        try:
            end = self._recovery.hosts.run(
                scene.fill(getattr(step, "target", None) or ""),
                argv,
                limit=step.timeout.total_seconds(),
                take=lambda piece: self._recovery.console.output(step.id, piece),
                env=scene.fill(getattr(step, "env", {})),
            )
        except DrtoolError as error:
            return error.message
        return "" if end.good else f"{argv[0]} ended with {end.code}"

    # What a person says

    def _ask(self, step: Step, why: Why) -> RunState | None:
        if self._recovery.mode == "drill" and step.drill == "skip" and step.kind == why:
            self._done(step.id, StepState.SKIPPED, "a drill leaves it out")
            return None
        if why is Why.MANUAL and step.check and fitting(seen := observe(step.check, self._values, self._recovery)):
            self._done(step.id, StepState.SATISFIED, seen.reason)
            return None
        self._journal.append(ASKED, {"step": step.id, "why": why})
        if why is Why.APPROVE and isinstance(step, ApproveStep):
            return self._ask_to_agree(step)
        reply = self._recovery.console.ask(self._question(step, why), settled=lambda: False)
        if reply is None:
            return waiting_state(why)
        self._answered(step, reply)
        return None

    def _question(self, step: Step, why: Why) -> Asked:
        if why is Why.FAILED:
            undo = ("undo",) if any(one.undoable for one in self._steps) else ()
            now = self._so_far().of(step.id)
            verify = ("verify",) if now.acted.get("good") else ()
            lines: tuple[str, ...] = (now.reason,)
            return self._asked(step, why, lines=lines, choices=(*verify, "retry", "skip", *undo, "abort"))
        if why is Why.IN_DOUBT:
            lines = ("it had begun when the run was cut off: it may be done, or not, or half",)
            return self._asked(step, why, lines=lines, choices=("again", "done", "skip", "abort"))
        assert isinstance(step, ManualStep | DecideStep)  # nothing else asks
        scene = self._scene(step)
        questions = {
            key: Question(type=one.type, text=scene.fill(one.text), values=one.values or ())
            for key, one in step.ask.items()
        }
        lines = scene.fill(step.checklist) if isinstance(step, ManualStep) else ()
        return self._asked(step, why, lines=lines, questions=questions, choices=("done", "skip", "abort"))

    def _asked(self, step: Step, why: Why, **more: Any) -> Asked:
        scene = self._scene(step)
        return Asked(run=self._journal.run, step=step.id, why=why, title=scene.fill(step.title), **more)

    def _answered(self, step: Step, reply: Reply) -> None:
        answers = reply.answers
        emits = step.emit if isinstance(step, DecideStep) else ()
        events = [one.event for one in emits if fits(alternatives(one.when), answers)]
        alone = reply.choice == "break-glass"  # it passes, and is an exception
        body = {"step": step.id, "choice": "done" if alone else reply.choice, "answers": dict(answers),
                "reason": reply.reason, "by": self._recovery.outside.operator, "events": events}  # fmt: skip
        self._journal.append(ANSWERED, body | ({"exceptions": True, "break_glass": True} if alone else {}))
        for event in events:
            self._tell_outer(event)
            for duty in self._duties():
                if duty.start == event:
                    self._tell(f"{duty.text}: within {format_duration(duty.after)}")

    def _ask_to_agree(self, step: ApproveStep) -> RunState | None:
        """Somebody else agrees in a process of his own; here one can only break the glass, or give up."""

        def settled() -> bool:
            self._take_approvals(step)
            return len(self._so_far().of(step.id).approvals) >= step.min

        if not settled():
            people = tuple(line for line in whom(self._recovery, step.by))
            lines = (*self._scene(step).fill(step.show), *(f"by {one}" for one in people),
                     f"each in a login of their own: drtool runbook approve {self._journal.run} {step.id}")  # fmt: skip
            choices = (*(("break-glass",) if step.break_glass else ()), "abort")
            reply = self._recovery.console.ask(self._asked(step, Why.APPROVE, lines=lines, choices=choices),
                                               settled=settled)  # fmt: skip
            if reply:
                self._answered(step, reply)
                return None
            if not settled():
                return RunState.WAITING_APPROVAL
        self._answered(step, Reply(choice="done"))
        return None

    def _take_approvals(self, step: ApproveStep) -> None:
        """Record the words that count: of people with the role, each once, none of whom carries out this run."""
        known = self._so_far().of(step.id).approvals
        operators, asked = self.operators(), self._so_far().of(step.id).asked
        for word in self._recovery.journals.approvals(self._journal.run, step.id):
            if asked is None or datetime.fromisoformat(word["at"]) < asked:
                continue  # it was given before it was asked for, or to a text that was changed since
            with suppress(UsageError):  # it was told to whoever gave the word
                person = approver(self._recovery.register, step, word["account"], operators)
                if person not in known:
                    self._journal.append(APPROVED, {"step": step.id, "person": person, **word})
                    known = (*known, person)

    def operators(self) -> frozenset[str]:
        """Who carried out this run, and those that it is a part of."""
        return operators_of(self._journal.events()) | (self._outer.operators() if self._outer else frozenset())

    # What goes on beside the steps

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """While steps go on, whoever must be told that it takes long is told."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOKS):
                with suppress(DrtoolError):
                    self._escalate()
                self._show()

        watcher = threading.Thread(target=look, daemon=True, name="escalation")
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join(5)

    def _escalate(self) -> None:
        if self._recovery.mode == "drill":
            return
        so_far, now = self._so_far(), self._clock.now()
        for duty, at in due(self._escalations(so_far), so_far):
            if at <= now and duty.id not in so_far.escalated:
                self._journal.append(ESCALATED, {"escalation": duty.id, "to": duty.text})
                title = f"{self._recovery.estate.site}: {self._runbook.title}"
                self._recovery.messages.send(title, f"run {self._journal.run} takes long: {duty.id}")
                for line in whom(self._recovery, duty.text):
                    self._tell(f"it takes long; tell {line}")

    def _escalations(self, so_far: Progress) -> Iterator[Duty]:
        """Those of the runbook until the service is back, and those of a step that waits for somebody's word."""
        began = "outage" if "outage" in so_far.clocks else "started"
        for number, one in enumerate(self._runbook.escalation, 1):
            if one.unless not in so_far.clocks:
                yield Duty(id=f"escalation-{number}", after=one.after, start=began, text=one.to)
        for step in self._runbook.steps:
            asked = so_far.of(step.id).asked
            if asked and isinstance(step, ApproveStep):
                after = asked + step.timeout - so_far.clocks[began]
                yield Duty(id=f"{step.id}-waits", after=after, start=began, text=step.escalate_to or step.by)

    def _duties(self) -> tuple[Duty, ...]:
        return tuple(
            Duty(id=one.id, after=one.deadline, start=one.start, text=one.duty) for one in self._runbook.clocks
        )

    def view(self, state: RunState) -> RunView:
        """How it stands now."""
        return view_of(self._journal.run, self._so_far(), state, self._clock.now())

    def happened(self, event: str) -> None:
        """Something happened in a run that is part of this one: a legal clock runs for the whole."""
        if event not in self._so_far().happened:
            self._journal.append(HAPPENED, {"event": event})
            self._tell_outer(event)

    def _tell_outer(self, event: str) -> None:
        if self._outer:
            self._outer.happened(event)

    def _other(self, step: RunbookStep) -> Acted:
        """Another runbook to its end, as a run of its own; one that was cut off goes on, one that failed is not."""
        journals, runbook = self._recovery.journals, self._recovery.runbook(step.runbook)
        named = f"{self._journal.run}.{step.id}."
        tried = [run.removeprefix(named) for run in journals.runs() if run.startswith(named)]
        last = max((int(number) for number in tried if number.isdigit()), default=0)
        before = f"{named}{last}"
        so_far = progress(journals.read(before)) if last else None
        if so_far and so_far.ended and last > self._so_far().of(step.id).retries:
            # the crash came after its end: unless somebody said so since, nothing of it is done again
            return _as_act(view_of(before, so_far, so_far.ended, self._clock.now()))
        if so_far and not so_far.ended:
            with journals.carry_on(before) as journal:
                if so_far.started:
                    return _as_act(resume(runbook, journal, self._recovery, amend=self._amend, outer=self))
                return self._begin_other(step, runbook, journal)
        with journals.begin(f"{named}{last + 1}") as journal:
            return self._begin_other(step, runbook, journal)

    def _begin_other(self, step: RunbookStep, runbook: Runbook, journal: Journal) -> Acted:
        recovery = self._recovery
        params = resolve(runbook, self._scene(step).fill(step.params), recovery.register, recovery.estate)
        beginning = Beginning(outage=self._so_far().clocks.get("outage"), part_of=self._journal.run)
        return _as_act(start(runbook, params, journal, recovery, beginning, outer=self))

    def _scene(self, step: Step) -> Scene:
        return Scene(
            recovery=self._recovery,
            journal=self._journal,
            params=self._params,
            values=self._values,
            attempt=max(1, self._so_far().of(step.id).attempts),
            other=self._other,
        )

    def _so_far(self) -> Progress:
        return progress(self._journal.events())

    def _end(self, state: RunState) -> RunState:
        self._journal.append(ENDED, {"state": state})
        tell_of_the_end(self._journal, self._recovery)
        if state not in GOOD_ENDS:
            for hold in holds_of(self._journal.run, self._recovery):
                self._tell(
                    f"hold {hold.id} is still set, and freezes removal; to release it: drtool hold release {hold.id}"
                )
        return state

    def _pause(self, state: RunState) -> RunState:
        self._journal.append(PAUSED, {"state": state})
        return state

    def _show(self) -> None:
        self._recovery.console.show(self.view(RunState.RUNNING))

    def _tell(self, text: str) -> None:
        self._recovery.console.tell(text)


def _as_act(view: RunView) -> Acted:
    waits = [(since.isoformat(), (until or view.at).isoformat()) for since, until in view.waits]
    facts = {"run": view.run, "waits": waits}
    if view.state in GOOD_ENDS:
        return Acted(good=True, exceptions=view.state is RunState.COMPLETED_WITH_EXCEPTIONS, facts=facts)
    if view.state in (RunState.FAILED, RunState.ABORTED):
        return Acted(good=False, reason=f"run {view.run} {view.state}", facts=facts)
    return Acted(good=False, waiting=view.state)


def _first_bad(seen: Sequence[Observation]) -> str:
    return next((f"{one.probe}: {one.reason}" for one in seen if not fitting(one)), "")
