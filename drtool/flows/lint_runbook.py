"""What lint asks of a runbook."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from drtool.core.placeholders import ALWAYS, names_in, single_brace
from drtool.core.plan import Graph, before, critical_path, cycles
from drtool.core.plan import Path as Chain
from drtool.core.rules import in_words
from drtool.documents.part import Part, nearest, quoted
from drtool.documents.probe import CopiesProbe, Probe, SqlProbe
from drtool.documents.runbook import (
    Answer,
    ApproveStep,
    BackupStep,
    DecideStep,
    ExecStep,
    HoldStep,
    ManualStep,
    NotifyStep,
    ProbeStep,
    Question,
    RestoreStep,
    Runbook,
    RunbookStep,
    ScriptStep,
    ServiceStep,
    Step,
    WaitStep,
)
from drtool.documents.tree import Steps
from drtool.flows.lint_released import (
    Around,
    Flaw,
    deputy_flaws,
    error,
    given_flaws,
    missing_params,
    reachable_flaws,
    role_flaws,
    unknown,
    value_flaws,
    value_here,
    warning,
)
from drtool.flows.order import planned_time, steps_of

_ACTS = (ExecStep, ScriptStep, ServiceStep)
_BY_PEOPLE = ("manual", "decide", "approve", "notify", "wait", "runbook")
_PERSONAL = re.compile(r"person(al|en)|datenschutz|data.protection|dsgvo|gdpr", re.IGNORECASE)
_MOST_CASES = 4096
When = Mapping[str, Answer | tuple[Answer, ...]]


@dataclass(frozen=True, kw_only=True)
class Book:
    """A runbook with its order worked out."""

    runbook: Runbook
    around: Around

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The place of each step."""
        return {step.id: place for place, step in enumerate(self.runbook.steps)}

    @cached_property
    def graph(self) -> Graph:
        """The order of all steps."""
        return steps_of(self.runbook)

    def before(self, step: Step) -> tuple[Step, ...]:
        """All that is done before a step, in the order written."""
        names = before(self.graph, step.id)
        return tuple(one for one in self.runbook.steps if one.id in names)


def runbook_flaws(runbook: Runbook, around: Around) -> Iterator[Flaw]:
    """Everything that is wrong with a runbook as such."""
    book = Book(runbook=runbook, around=around)
    for check in _OF_ALL:
        yield from check(book)
    for place, step in enumerate(runbook.steps):
        for check_step in _OF_EACH:
            yield from check_step(book, step, ("steps", place))


# The whole


def _texts(book: Book) -> Iterator[Flaw]:
    runbook = book.runbook
    for key, what in (
        ("immediate", "what anybody can do at once"),
        ("data_protection", "what follows for personal data"),
    ):
        if getattr(runbook, key) is None:
            yield warning((), f"nothing says {what}; write it at '{key}'")
    if runbook.detect is None:
        yield warning((), "no probe tells that it fits, so diagnose cannot name it; add 'detect'")


def _people(book: Book) -> Iterator[Flaw]:
    yield from deputy_flaws(book.runbook.executor, ("executor",), book.around)
    for place, escalation in enumerate(book.runbook.escalation):
        yield from reachable_flaws(escalation.to, ("escalation", place, "to"), book.around)


def _rings(book: Book) -> Iterator[Flaw]:
    for ring in cycles(book.graph):
        place = book.index[ring[0]]
        steps: Steps = ("steps", place, "needs")
        yield error(steps, f"steps wait for one another: {' -> '.join((*ring, ring[0]))}; take one out of 'needs'")


def _marks(book: Book) -> Iterator[Flaw]:
    marked = [place for place, step in enumerate(book.runbook.steps) if step.marks == "service_restored"]
    if not marked:
        yield error((), "no step says when service is back; give one 'marks: service_restored'")
    for place in marked[1:]:
        first = book.runbook.steps[marked[0]].id
        yield error(("steps", place, "marks"), f"'{first}' marks service_restored already; let only one step mark it")
    for place in marked:
        if not _proves(book.runbook.steps[place]):
            yield error(
                ("steps", place, "marks"), "service counts as restored without a proof; give the step a 'verify'"
            )


def _proves(step: Step) -> bool:
    return bool(step.verify) or isinstance(step, ProbeStep) or (isinstance(step, WaitStep) and bool(step.until))


def _objectives(book: Book) -> Iterator[Flaw]:
    rto, mtpd = book.runbook.objectives.rto, book.runbook.objectives.mtpd
    if mtpd and rto > mtpd:
        yield error(
            ("objectives", "rto"),
            f"the rto of {in_words(rto)} is longer than the mtpd of {in_words(mtpd)}; recover sooner",
        )
    chain = _longest(book)
    if chain.length > rto:
        steps = {step.id: step for step in book.runbook.steps}
        parts = ", ".join(f"{name} {in_words(planned_time(steps[name]))}" for name in chain.names)
        yield error(
            ("objectives", "rto"),
            f"the critical path takes {in_words(chain.length)}, longer than the rto of {in_words(rto)}: "
            f"{parts}; shorten a step or raise the rto",
        )


def _longest(book: Book) -> Chain:
    """The longest way to where service is restored, whatever is answered; steps led past are not part of it."""
    goal = next((step for step in book.runbook.steps if step.marks == "service_restored"), None)
    if goal is None:
        return Chain()
    paths = []
    for answers in _cases(book):
        skipped = {step.id for step in book.runbook.steps if not _fits(step.when, answers)}
        if goal.id not in skipped:
            path = critical_path(steps_of(book.runbook, skipped), goal.id)
            taken = tuple(name for name in path.names if name not in skipped)
            paths.append(Chain(names=taken, length=path.length))
    return max(paths, key=lambda path: path.length, default=Chain())


def _cases(book: Book) -> Iterator[Mapping[str, Answer | None]]:
    """Every combination of the answers that steps ask for, and none of them."""
    wanted: dict[str, dict[Answer | None, None]] = {}
    for step in book.runbook.steps:
        for key, value in step.when.items():
            wanted.setdefault(key, {None: None}).update(dict.fromkeys(_several(value)))
    cases = product(*wanted.values())
    for _, case in zip(range(_MOST_CASES), cases, strict=False):
        yield dict(zip(wanted, case, strict=True))


def _several(value: Answer | tuple[Answer, ...]) -> tuple[Answer, ...]:
    return value if isinstance(value, tuple) else (value,)


def _fits(when: When, answers: Mapping[str, Answer | None]) -> bool:
    return all(answers.get(key) in _several(value) for key, value in when.items())


def _clocks(book: Book) -> Iterator[Flaw]:
    steps = [step for step in book.runbook.steps if isinstance(step, DecideStep)]
    asked = [f"{key} {question.text}" for step in steps for key, question in step.ask.items()]
    if book.runbook.clocks and not any(_PERSONAL.search(text) for text in asked):
        yield error(("clocks",), "legal clocks, but no decide step asks whether personal data is affected; add one")
    events = {emits.event for step in steps for emits in step.emit}
    for place, clock in enumerate(book.runbook.clocks):
        if clock.start not in events:
            message = f"no decide step emits {quoted(clock.start)}{nearest(clock.start, events)}; add it to its 'emit'"
            yield error(("clocks", place, "start"), message)


# Parameters


def _parameters(book: Book) -> Iterator[Flaw]:
    runbook, used = book.runbook, set()
    for steps, text in strings(runbook, ()):
        if single_brace(text):
            yield error(steps, "a brace that names no parameter; write {{ or }} where a brace is meant")
        for name in names_in(text):
            used.add(name)
            yield from _reference(name, steps, book)
    used |= {
        name for step in runbook.steps if isinstance(step, ExecStep | ScriptStep) for name in step.secrets.values()
    }
    for name, param in runbook.params.items():
        if name not in used:
            yield warning(("params", name), f"the parameter '{name}' is used nowhere; remove it")
        value = value_here(name, runbook, book.around)
        if value is not None:
            yield from value_flaws(name, param, value, ("params", name), book.around)


def _reference(name: str, steps: Steps, book: Book) -> Iterator[Flaw]:
    param = book.runbook.params.get(name)
    if param is None and name not in ALWAYS:
        known = [*book.runbook.params, *ALWAYS]
        yield error(steps, f"there is no parameter {quoted(name)}{nearest(name, known)}; add it to 'params'")
    if param and param.type == "secret":
        yield error(steps, f"'{name}' is a secret and cannot stand in a text; hand it over by the step's 'secrets'")


def strings(value: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:
    """Every text below a place in which parameters count, with its own place."""
    if isinstance(value, str):
        yield steps, value
    elif isinstance(value, Part):
        for name, field in type(value).model_fields.items():
            if (steps, name) not in (((), "params"), ((), "basis")):
                yield from strings(getattr(value, name), (*steps, field.alias or name))
    elif isinstance(value, tuple):
        for place, item in enumerate(value):
            yield from strings(item, (*steps, place))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings(item, (*steps, key))


# Each step


def _needs(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    for place, need in enumerate(step.needs or ()):
        yield from unknown("step", need, book.index, "this runbook", (*at, "needs", place))


def _when(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    known = _asked(book.before(step))
    yield from _conditions(book, step.when, known, (*at, "when"))
    if isinstance(step, DecideStep):
        for place, emits in enumerate(step.emit):
            yield from _conditions(book, emits.when, known | dict(step.ask), (*at, "emit", place, "when"))


def _asked(steps: tuple[Step, ...]) -> dict[str, Question]:
    return {
        key: question
        for step in steps
        if isinstance(step, DecideStep | ManualStep)
        for key, question in step.ask.items()
    }


def _conditions(book: Book, when: When, known: Mapping[str, Question], at: Steps) -> Iterator[Flaw]:
    everywhere = _asked(book.runbook.steps)
    for key, wanted in when.items():
        if key not in everywhere:
            yield error((*at, key), f"no step asks for {quoted(key)}{nearest(key, everywhere)}")
        elif key not in known:
            asks = next(step.id for step in book.runbook.steps if key in _asked((step,)))
            yield error((*at, key), f"'{key}' is not answered before this step; add '{asks}' to its 'needs'")
        elif odd := [value for value in _several(wanted) if not _possible(value, known[key])]:
            yield error((*at, key), f"{quoted(str(odd[0]))} is never the answer to '{key}'; {_answers(known[key])}")


def _possible(value: Answer, question: Question) -> bool:
    match question.type:
        case "bool":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, int) and not isinstance(value, bool)
        case "choice":
            return value in (question.values or ())
    return isinstance(value, str)


def _answers(question: Question) -> str:
    return f"possible: {', '.join(question.values)}" if question.values else f"it is a {question.type}"


def _hosts(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    yield from _host(getattr(step, "target", None), (*at, "target"), book)
    for steps, probe in _probes(step, at):
        yield from probe_flaws(probe, steps, book)


def _detect(book: Book) -> Iterator[Flaw]:
    detect = book.runbook.detect
    key = "any" if detect and detect.any else "all"
    for place, probe in enumerate(detect.probes if detect else ()):
        yield from probe_flaws(probe, ("detect", key, place), book)


def probe_flaws(probe: Probe, at: Steps, book: Book) -> Iterator[Flaw]:
    """Names in a probe that nothing knows."""
    yield from _host(getattr(probe, "target", None), (*at, "target"), book)
    if isinstance(probe, SqlProbe):
        yield from _dataset(probe.dataset, (*at, "dataset"), book)
    if isinstance(probe, CopiesProbe):
        yield from _repository(probe.repository, (*at, "repository"), book)


def _probes(step: Step, at: Steps) -> Iterator[tuple[Steps, Probe]]:
    if step.check:
        yield (*at, "check"), step.check
    for place, probe in enumerate(step.verify):
        yield (*at, "verify", place), probe
    for place, probe in enumerate(step.do if isinstance(step, ProbeStep) else ()):
        yield (*at, "do", place), probe
    if isinstance(step, WaitStep) and step.until:
        yield (*at, "until"), step.until


def _host(name: str | None, at: Steps, book: Book) -> Iterator[Flaw]:
    if name and _literal(name):
        yield from unknown("host", name, book.around.register.hosts, "the register", at)


def _dataset(name: str, at: Steps, book: Book) -> Iterator[Flaw]:
    if book.around.estate and _literal(name):
        yield from unknown("dataset", name, book.around.estate.datasets, "the estate", at)


def _repository(name: str | None, at: Steps, book: Book) -> Iterator[Flaw]:
    if book.around.estate and name and _literal(name):
        yield from unknown("repository", name, book.around.estate.repositories, "the estate", at)


def _literal(name: str) -> bool:
    return not any(names_in(name))


def _here(name: str, book: Book) -> str:
    """A name that is nothing but a parameter, as it is on this site."""
    param = next(names_in(name), None)
    return value_here(param, book.runbook, book.around) or "" if param and name == f"{{{param}}}" else name


def _datasets(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    match step:
        case RestoreStep():
            yield from _dataset(step.dataset, (*at, "dataset"), book)
        case BackupStep():
            for place, name in enumerate(step.datasets):
                yield from _dataset(name, (*at, "datasets", place), book)
        case HoldStep():
            yield from _repository(step.repository, (*at, "repository"), book)


def _others(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    if not isinstance(step, RunbookStep):
        return
    around, name = book.around, step.runbook
    yield from unknown("runbook", name, (*around.runbooks, *around.broken), "the folder of runbooks", (*at, "runbook"))
    own = book.runbook.runbook
    if name == own or (name in around.calls and own in before(around.calls, name)):
        yield error((*at, "runbook"), f"'{name}' leads back to '{own}', so neither would ever end; take one step out")
    if name in around.runbooks:
        other = around.runbooks[name]
        yield from given_flaws(other, step.params, (*at, "params"), around)
        for param in missing_params(other, step.params, around):
            yield error(at, f"nothing gives '{param}' of the runbook '{name}' a value; give it at 'params'")


def _acting(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    if not isinstance(step, _ACTS) or step.effect == "read":
        return
    if step.effect in ("once", "destructive") and step.check is None:
        yield error(at, f"a {step.effect} step without 'check': after a crash nobody knows whether it was done")
    if not step.verify:
        yield error(at, "nothing shows that it worked; add 'verify'")


def _harm(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    if step.retry and step.effect in ("once", "destructive"):
        yield error((*at, "retry"), f"a {step.effect} step is never tried again by itself; remove 'retry'")
    if step.effect != "read" and step.drill is None:
        yield error(at, "nothing says what a drill does with it; add 'drill: run', 'simulate' or 'skip'")
    if step.effect != "destructive":
        return
    if step.undo is None:
        yield warning(at, "nothing says how it is taken back; add 'undo'")
    if not any(_guards(one, step) for one in book.before(step)):
        yield error(at, "a destructive step that nobody approves; put an approve step before it, into its 'needs'")


def _guards(one: Step, step: Step) -> bool:
    """Whether an approval is asked for in every case in which the step is done."""
    return isinstance(one, ApproveStep) and all(
        key in step.when and set(_several(step.when[key])) <= set(_several(wanted)) for key, wanted in one.when.items()
    )


def _times(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    if step.planned is None and not (isinstance(step, WaitStep) and step.duration):
        counted = in_words(step.timeout)
        yield warning(at, f"nothing says how long it takes, so its timeout of {counted} counts; add 'expect'")
    elif step.planned and step.planned > step.timeout and step.kind not in _BY_PEOPLE:
        timeout = in_words(step.timeout)
        yield error(
            (*at, "expect"), f"it is ended after its timeout of {timeout}, sooner than planned; raise 'timeout'"
        )


def _approvals(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    if not isinstance(step, ApproveStep):
        return
    yield from role_flaws(step.by, (*at, "by"), book.around)
    if step.escalate_to:
        yield from reachable_flaws(step.escalate_to, (*at, "escalate_to"), book.around)
    elif not step.break_glass:
        yield warning(at, "where nobody answers, the run stands still; add 'escalate_to' or allow 'break_glass'")
    if step.break_glass and not step.four_eyes:
        yield warning((*at, "break_glass"), "whoever runs it may agree anyway; remove 'break_glass', or ask four eyes")
    if step.by in book.around.register.roles:
        yield from _enough_eyes(book, step, at)


def _enough_eyes(book: Book, step: ApproveStep, at: Steps) -> Iterator[Flaw]:
    approvers = _people_of(step.by, book)
    people = book.around.register.people
    if sum(bool(people[one].accounts) for one in approvers) < min(step.min, len(approvers)):
        message = f"drtool knows too few with the role '{step.by}' by their login; add their 'accounts' in the register"
        yield error((*at, "by"), message)
    runners = _people_of(book.runbook.executor, book) if step.four_eyes else frozenset()
    alone = sorted(one for one in runners if len(approvers - {one}) < step.min)
    if len(approvers) < step.min:
        yield error((*at, "min"), f"the role '{step.by}' has fewer people than must agree; lower 'min' or add a deputy")
    elif alone:
        yield error(
            (*at, "by"),
            f"where '{alone[0]}' runs it, too few others have the role '{step.by}'; give it a deputy, or name another",
        )


def _people_of(role: str, book: Book) -> frozenset[str]:
    held = book.around.register.roles.get(role)
    return frozenset(filter(None, (held.person, held.deputy))) if held else frozenset()


def _told(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    for place, name in enumerate(step.to if isinstance(step, NotifyStep) else ()):
        yield from reachable_flaws(name, (*at, "to", place), book.around)


def _scripts(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    if not isinstance(step, ScriptStep):
        return
    digest = _digest(step.script)
    if digest is None:
        yield error((*at, "script"), f"the script {step.script.name} cannot be read; put it beside the runbook")
    elif digest != step.sha256:
        yield error((*at, "sha256"), f"{step.script.name} has another content; look at it, then write {digest}")


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _secrets(book: Book, step: Step, at: Steps) -> Iterator[Flaw]:
    if not isinstance(step, ExecStep | ScriptStep):
        return
    known = [name for name, param in book.runbook.params.items() if param.type == "secret"]
    for variable, name in step.secrets.items():
        yield from unknown("parameter of type secret", name, known, "this runbook", (*at, "secrets", variable))
    target = _here(step.target or "", book)
    host = book.around.register.hosts.get(target)
    if step.secrets and host and host.ssh:
        yield error((*at, "secrets"), f"secrets stay on this machine, but '{target}' is reached by ssh; run it here")


_OF_ALL: tuple[Callable[[Book], Iterator[Flaw]], ...] = (
    _texts,
    _people,
    _rings,
    _marks,
    _objectives,
    _clocks,
    _parameters,
    _detect,
)
_OF_EACH: tuple[Callable[[Book, Step, Steps], Iterator[Flaw]], ...] = (
    _needs,
    _when,
    _hosts,
    _datasets,
    _others,
    _acting,
    _harm,
    _times,
    _approvals,
    _told,
    _scripts,
    _secrets,
)
