"""The engine: what a journal leaves to do. Whatever is cut off anywhere, nothing that could harm is done twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drtool.core.evidence import link
from drtool.core.model import Event
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
    JUMPED,
    PAUSED,
    RECHECKED,
    RESUMED,
    STARTED,
    UNSETTLED,
    Ask,
    Begin,
    Duty,
    End,
    Next,
    Pass,
    Recheck,
    RunState,
    Settle,
    Step,
    StepState,
    TakeBack,
    Verify,
    Why,
    due,
    jumped,
    measure,
    next_step,
    next_steps,
    progress,
    waiting_state,
)

BEGINNING = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def step(name: str, effect: str = "idempotent", **more: Any) -> Step:
    return Step(id=name, kind=more.pop("kind", "exec"), effect=effect, **more)


class Book:
    """A journal that grows a minute per event."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.add(STARTED, clocks={})

    def add(self, kind: str, **body: Any) -> Book:
        before = self.events[-1] if self.events else None
        at = BEGINNING + timedelta(minutes=len(self.events))
        self.events.append(link(before, at=at, run="r", kind=kind, body=body))
        return self

    def done(self, name: str, state: str = "ok", **more: Any) -> Book:
        return self.add(BEGAN, step=name).add(ACTING, step=name).add(ACTED, step=name, good=state == "ok").add(
            DONE, step=name, state=state, **more
        )  # fmt: skip


A, B, C = step("a"), step("b", needs=("a",)), step("c", needs=("b",))


def test_steps_follow_what_they_need() -> None:
    book = Book()
    for name in "abc":
        assert next_step((A, B, C), book.events) == Begin(name)
        book.done(name)
    assert next_step((A, B, C), book.events) == End(RunState.COMPLETED)


def test_independent_steps_are_ready_together_and_busy_ones_are_not_named_again() -> None:
    steps = (A, step("left", needs=("a",)), step("right", needs=("a",)), step("end", needs=("left", "right")))
    so_far = progress(Book().done("a").events)
    assert next_steps(steps, so_far) == (Begin("left"), Begin("right"))
    assert next_steps(steps, so_far, frozenset({"left"})) == (Begin("right"),)
    assert next_steps(steps, so_far, frozenset({"left", "right"})) == ()


def test_what_only_began_is_begun_again_after_a_crash() -> None:
    assert next_step((A,), Book().add(BEGAN, step="a").add(RESUMED).events) == Begin("a")


@pytest.mark.parametrize(
    ("what", "then"),
    [
        (step("a", "read"), Begin("a")),
        (step("a", "idempotent"), Begin("a")),
        (step("a", "once"), Ask("a", Why.IN_DOUBT)),
        (step("a", "destructive"), Ask("a", Why.IN_DOUBT)),
        (step("a", "read", checked=True), Settle("a")),
        (step("a", "destructive", checked=True), Settle("a")),
    ],
)
def test_what_was_about_to_act_is_in_doubt_after_a_crash(what: Step, then: Next) -> None:
    book = Book().add(BEGAN, step="a").add(ACTING, step="a").add(RESUMED)
    assert progress(book.events).of("a").state is StepState.IN_DOUBT
    assert next_step((what,), book.events) == then


@pytest.mark.parametrize(("effect", "then"), [("idempotent", Begin("a")), ("destructive", Ask("a", Why.IN_DOUBT))])
def test_a_check_that_says_no_leaves_it_to_the_effect(effect: str, then: Next) -> None:
    book = Book().add(BEGAN, step="a").add(ACTING, step="a").add(RESUMED).add(UNSETTLED, step="a")
    assert next_step((step("a", effect, checked=True),), book.events) == then


def test_what_acted_well_and_was_cut_off_is_verified_and_not_done_again() -> None:
    book = Book().add(BEGAN, step="a").add(ACTING, step="a").add(ACTED, step="a", good=True).add(RESUMED)
    assert next_step((step("a", "destructive"),), book.events) == Verify("a")


def test_what_acted_badly_and_was_cut_off_is_in_doubt() -> None:
    book = Book().add(BEGAN, step="a").add(ACTING, step="a").add(ACTED, step="a", good=False).add(RESUMED)
    assert next_step((step("a", "destructive"),), book.events) == Ask("a", Why.IN_DOUBT)


def test_what_is_done_is_verified_again_when_a_run_is_resumed_and_not_done_again() -> None:
    book = Book().done("a").add(RESUMED)
    assert next_step((A, B), book.events) == Recheck("a")
    assert next_step((A, B), book.add(RECHECKED, step="a", good=False).events) == Begin("b")


def test_a_step_in_doubt_that_was_done_by_the_operators_word_is_verified() -> None:
    book = Book().add(BEGAN, step="a").add(ACTING, step="a").add(RESUMED).add(ASKED, step="a", why="in_doubt")
    assert next_step((step("a", "once"),), book.add(ANSWERED, step="a", choice="done").events) == Verify("a")


@pytest.mark.parametrize("state", ["failed", "timed_out"])
def test_a_failure_pauses_and_asks(state: str) -> None:
    book = Book().done("a", state)
    assert next_step((A, B), book.events) == Ask("a", Why.FAILED)
    assert next_step((A, B), book.add(ASKED, step="a").add(ANSWERED, step="a", choice="retry").events) == Begin("a")


def test_a_skipped_step_lets_the_run_go_on_and_end_with_exceptions() -> None:
    book = Book().done("a", "failed").add(ASKED, step="a").add(ANSWERED, step="a", choice="skip", reason="no")
    assert next_step((A, B), book.events) == Begin("b")
    assert next_step((A, B), book.done("b").events) == End(RunState.COMPLETED_WITH_EXCEPTIONS)
    assert progress(book.events).of("a").reason == "no"


def test_a_failure_may_be_gone_over_where_the_runbook_says_so() -> None:
    book = Book().done("a", "failed")
    assert next_step((step("a", on_failure="continue"), B), book.events) == Begin("b")
    assert next_step((step("a", on_failure="continue"), B), book.done("b").events) == End(
        RunState.COMPLETED_WITH_EXCEPTIONS
    )


def test_a_failure_may_end_the_run_where_the_runbook_says_so_but_not_before_what_is_under_way() -> None:
    steps = (step("a", on_failure="abort"), step("other"), B)
    so_far = progress(Book().done("a", "failed").events)
    assert next_steps(steps, so_far, frozenset({"other"})) == ()
    assert next_steps(steps, so_far) == (End(RunState.FAILED),)


def test_exceptions_of_a_runbook_within_are_exceptions_of_the_whole() -> None:
    book = Book().done("a", exceptions=True)
    assert next_step((A,), book.events) == End(RunState.COMPLETED_WITH_EXCEPTIONS)


def test_what_acted_well_can_be_looked_at_again_without_doing_it_again() -> None:
    book = Book().add(BEGAN, step="a").add(ACTING, step="a").add(ACTED, step="a", good=True)
    book.add(DONE, step="a", state="failed").add(ASKED, step="a").add(ANSWERED, step="a", choice="verify")
    assert next_step((step("a", "destructive"),), book.events) == Verify("a")


def test_what_is_no_longer_so_when_a_run_is_resumed_is_an_exception() -> None:
    book = Book().done("a").add(RESUMED).add(RECHECKED, step="a", good=False)
    assert next_step((A,), book.events) == End(RunState.COMPLETED_WITH_EXCEPTIONS)


def test_to_go_on_alone_is_an_exception() -> None:
    book = Book().add(ASKED, step="a").add(ANSWERED, step="a", choice="done", exceptions=True)
    book.add(DONE, step="a", state="ok")
    assert next_step((step("a", kind="approve"),), book.events) == End(RunState.COMPLETED_WITH_EXCEPTIONS)


def test_a_change_takes_back_what_was_agreed_to() -> None:
    book = Book().add(ASKED, step="a").add(APPROVED, step="a", person="ben").add(AMENDED, params={"x": 1})
    now = progress(book.events)
    assert (now.of("a").approvals, now.of("a").asked, now.started["params"]) == ((), None, {"x": 1})


def test_abort_ends_the_run() -> None:
    book = Book().done("a", "failed").add(ASKED, step="a").add(ANSWERED, step="a", choice="abort", reason="no")
    assert next_step((A, B), book.events) == End(RunState.ABORTED)


def test_undo_takes_back_what_was_done_the_latest_first() -> None:
    steps = (step("a", undoable=True), step("b", needs=("a",)), step("c", needs=("b",), undoable=True))
    book = Book().done("a").done("b").done("c", "failed").add(ASKED, step="c").add(ANSWERED, step="c", choice="undo")
    assert next_step(steps, book.events) == TakeBack("c")
    assert next_step(steps, book.add(DONE, step="c", state="undone").events) == TakeBack("a")
    assert next_step(steps, book.add(DONE, step="a", state="undone").events) == End(RunState.ABORTED)


def test_what_cannot_be_taken_back_is_left_and_what_was_cut_off_is_taken_back_again() -> None:
    steps = (step("a", undoable=True), step("b", needs=("a",), undoable=True))
    book = Book().done("a").done("b", "failed").add(ASKED, step="b").add(ANSWERED, step="b", choice="undo")
    book.add(ACTING, step="b").add(RESUMED)
    assert next_step(steps, book.events) == TakeBack("b")
    assert next_step(steps, book.add(DONE, step="b", undo=True, reason="no").events) == TakeBack("a")
    assert next_step(steps, book.add(DONE, step="a", state="undone").events) == End(RunState.ABORTED)


def test_an_ended_run_stays_ended() -> None:
    assert next_step((A, B), Book().add(ENDED, state="aborted").add(RESUMED).events) == End(RunState.ABORTED)


def test_answers_decide_which_steps_are_reached() -> None:
    steps = (
        step("ask", "read", kind="decide"),
        step("disk", needs=("ask",), when={"cause": ("hardware", "crash")}),
        step("attack", needs=("disk",), when={"cause": ("attack",)}),
        step("end", needs=("attack",)),
    )
    book = Book()
    assert next_step(steps, book.events) == Ask("ask", Why.DECIDE)
    book.add(ASKED, step="ask").add(ANSWERED, step="ask", choice="done", answers={"cause": "attack"})
    assert next_step(steps, book.events) == Verify("ask")
    book.add(DONE, step="ask", state="ok")
    assert next_step(steps, book.events) == Pass("disk")
    book.add(DONE, step="disk", state="not_reached")
    assert next_step(steps, book.events) == Begin("attack")
    assert next_step(steps, book.done("attack").done("end").events) == End(RunState.COMPLETED)


def test_a_question_never_answered_leads_nowhere() -> None:
    assert next_step((step("a", when={"cause": ("attack",)}),), Book().events) == Pass("a")


@pytest.mark.parametrize("kind", ["manual", "decide", "approve"])
def test_work_of_people_is_asked_for_again_after_a_crash(kind: str) -> None:
    book = Book().add(ASKED, step="a").add(RESUMED)
    assert next_step((step("a", "once", kind=kind),), book.events) == Ask("a", Why(kind))


def test_a_pause_names_what_is_waited_for() -> None:
    assert [waiting_state(why) for why in Why] == [
        RunState.PAUSED_FAILED, RunState.PAUSED_IN_DOUBT, RunState.WAITING_MANUAL, RunState.WAITING_MANUAL,
        RunState.WAITING_APPROVAL,
    ]  # fmt: skip


# Clocks


def minutes(book: Book) -> tuple[float | None, float]:
    measured = measure(progress(book.events), BEGINNING + timedelta(minutes=len(book.events) - 1))
    recovery = measured.recovery
    return recovery.total_seconds() / 60 if recovery is not None else None, measured.waiting.total_seconds() / 60


def test_recovery_is_measured_from_the_outage_to_the_last_probe_green() -> None:
    book = Book()
    book.events[0] = link(None, at=BEGINNING, run="r", kind=STARTED,
                          body={"clocks": {"outage": (BEGINNING - timedelta(minutes=30)).isoformat()}})  # fmt: skip
    book.done("a")
    assert minutes(book) == (None, 0)
    assert minutes(book.done("b", marks="service_restored")) == (38, 0)
    assert minutes(book.done("c")) == (38, 0)


def test_waiting_for_people_is_counted_once_even_where_two_are_waited_for() -> None:
    book = Book().add(ASKED, step="a").add(ASKED, step="b")  # minutes 1 and 2
    book.add(ANSWERED, step="a", choice="done").add(HAPPENED, event="x")
    assert minutes(book) == (None, 3)  # b is still waited for
    assert minutes(book.add(ANSWERED, step="b", choice="done")) == (None, 4)
    assert minutes(book.add(HAPPENED, event="y")) == (None, 4)


def test_asking_again_after_a_crash_does_not_begin_another_wait() -> None:
    book = Book().add(ASKED, step="a").add(RESUMED).add(ASKED, step="a").add(ANSWERED, step="a", choice="done")
    assert minutes(book) == (None, 3)


def test_a_paused_run_waits_for_people_until_somebody_resumes_it() -> None:
    book = Book().add(PAUSED, state="waiting_approval").add(HAPPENED, event="x")
    assert minutes(book) == (None, 1)
    assert minutes(book.add(RESUMED).done("a")) == (None, 2)


def test_what_a_runbook_within_waited_for_was_waited_for_by_the_whole() -> None:
    waits = [[(BEGINNING + timedelta(minutes=at)).isoformat() for at in pair] for pair in ((1, 3), (2, 4))]
    book = Book().add(BEGAN, step="a").add(ACTING, step="a").add(HAPPENED, event="x").add(HAPPENED, event="y")
    assert minutes(book.add(ACTED, step="a", good=True, waits=waits)) == (None, 3)


def test_a_clock_that_was_set_does_not_lengthen_the_outage() -> None:
    book = Book().add(JUMPED, seconds=120).done("a", marks="service_restored")
    assert minutes(book)[0] == 3


def test_a_clock_that_was_set_back_shortens_nothing() -> None:
    book = Book().add(JUMPED, seconds=-3600).done("a", marks="service_restored")  # minutes 1 to 5
    assert minutes(book)[0] == 65


@pytest.mark.parametrize(
    ("wall", "running", "by"),
    [(60, 60, 0), (90, 60, 0), (3660, 60, 3600), (-3540, 60, -3600), (100_000, 100_000, 0)],
)
def test_a_set_clock_is_known_by_the_one_that_nobody_can_set(wall: float, running: float, by: float) -> None:
    before = link(None, at=BEGINNING, run="r", kind=STARTED, body={"boot": "one", "running": 10.0})
    at = BEGINNING + timedelta(seconds=wall)
    assert jumped(before, at, "one", 10.0 + running) == by
    assert jumped(before, at, "another", 3.0) == 0


def test_legal_clocks_run_from_what_happened_the_most_urgent_first() -> None:
    duties = (
        Duty(id="33", after=timedelta(hours=72), start="breach.aware", text="authority"),
        Duty(id="33-2", after=timedelta(hours=24), start="breach.aware", text="controllers"),
        Duty(id="never", after=timedelta(hours=1), start="something.else", text="nothing"),
    )
    book = Book()
    assert due(duties, progress(book.events)) == ()
    book.add(ASKED, step="a").add(ANSWERED, step="a", choice="done", events=["breach.aware"])
    aware = BEGINNING + timedelta(minutes=2)
    assert [(duty.id, at) for duty, at in due(duties, progress(book.events))] == [
        ("33-2", aware + timedelta(hours=24)),
        ("33", aware + timedelta(hours=72)),
    ]


def test_what_was_escalated_is_remembered() -> None:
    assert progress(Book().add(ESCALATED, escalation="one").events).escalated == {"one"}


# A run that is killed anywhere


class World:
    """Carries out what the engine says, on a world in which each act counts; dies after so many events."""

    def __init__(self, steps: Sequence[Step], fails: Mapping[str, int], says: Sequence[str]) -> None:
        self.steps, self.book = steps, Book()
        self.acts: dict[str, int] = {}
        self.agreed: dict[str, int] = {}
        self._fails, self._says = dict(fails), list(says)

    def live(self, events: int) -> RunState | None:
        """Until the run ends, or as many events are on disk."""
        while True:
            for happening in self._take(next_step(self.steps, self.book.events)):
                if isinstance(happening, RunState):
                    return happening
                if events == 0:
                    return None
                self.book.add(happening[0], **happening[1])
                events -= 1

    def _take(self, following: Next) -> Any:
        match following:
            case End(state):
                yield state
            case Recheck(name):
                yield RECHECKED, {"step": name, "good": True}
            case Settle(name):
                done = self.acts.get(name, 0) > 0
                yield (DONE, {"step": name, "state": "satisfied"}) if done else (UNSETTLED, {"step": name})
            case Begin(name):
                yield BEGAN, {"step": name}
                yield ACTING, {"step": name}
                self.acts[name] = self.acts.get(name, 0) + 1
                good = self._fails.get(name, 0) == 0
                self._fails[name] = max(0, self._fails.get(name, 0) - 1)
                yield ACTED, {"step": name, "good": good}
                yield DONE, {"step": name, "state": "ok" if good else "failed"}
            case Verify(name):
                yield DONE, {"step": name, "state": "ok"}
            case Pass(name):
                yield DONE, {"step": name, "state": "not_reached"}
            case Ask(name, why):
                yield ASKED, {"step": name, "why": why}
                choice = self._choice(why)
                self.agreed[name] = self.agreed.get(name, 0) + (choice in ("retry", "again"))
                yield ANSWERED, {"step": name, "choice": choice}

    def _choice(self, why: Why) -> str:
        if why in (Why.FAILED, Why.IN_DOUBT):
            word = self._says.pop() if self._says else "skip"
            return {"again": "retry" if why is Why.FAILED else "again"}.get(word, word)
        return "done"


@st.composite
def runbooks(draw: st.DrawFn) -> tuple[Step, ...]:
    made: list[Step] = []
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["exec", "exec", "manual"]))
        needs = draw(st.sets(st.sampled_from([one.id for one in made]), max_size=2)) if made else set()
        effect = draw(st.sampled_from(["read", "idempotent", "once", "destructive"]))
        made.append(step(f"s{number}", effect, kind=kind, needs=tuple(sorted(needs)), checked=draw(st.booleans())))
    return tuple(made)


@settings(max_examples=300, deadline=None)
@given(
    runbooks(),
    st.lists(st.integers(0, 12), max_size=6),
    st.dictionaries(st.sampled_from([f"s{number}" for number in range(6)]), st.integers(1, 2)),
    st.lists(st.sampled_from(["again", "skip"]), max_size=8),
)
def test_killed_anywhere_it_ends_and_never_harms_twice_unasked(
    steps: tuple[Step, ...], lives: list[int], fails: dict[str, int], says: list[str]
) -> None:
    world = World(steps, fails, says)
    for events in lives:
        if world.live(events):
            break
        world.book.add(RESUMED)
    state = world.live(10_000)
    assert state in (RunState.COMPLETED, RunState.COMPLETED_WITH_EXCEPTIONS)
    ended = progress(world.book.events)
    for one in steps:
        assert ended.of(one.id).state in (StepState.OK, StepState.SATISFIED, StepState.SKIPPED)
        if one.effect in ("once", "destructive") and not one.asks:
            assert world.acts.get(one.id, 0) <= 1 + world.agreed.get(one.id, 0)
    skipped = any(ended.of(one.id).state is StepState.SKIPPED for one in steps)
    assert (state is RunState.COMPLETED_WITH_EXCEPTIONS) == skipped
