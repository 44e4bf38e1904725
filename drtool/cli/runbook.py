"""``drtool runbook``: list, show, lint, plan, run, resume, approve, print."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from drtool.adapters.journal import FileJournals
from drtool.cli.answer import answer
from drtool.cli.console import Said
from drtool.cli.recovery import journals_of, open_recovery, read_procedures, read_register
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_estate, operator
from drtool.core.model import Event
from drtool.core.runbook import RunState, RunView, progress
from drtool.documents.loader import Procedure
from drtool.documents.restart_concept import RestartConcept
from drtool.documents.runbook import ApproveStep, DecideStep, ManualStep, Runbook
from drtool.errors import DocumentInvalid, DrtoolError, Interrupted, UsageError
from drtool.flows.agree import approver, operators_of
from drtool.flows.execute import Beginning, resume, start
from drtool.flows.intend import intend
from drtool.flows.lint import lint as find_problems
from drtool.flows.moments import parse_moment
from drtool.flows.parameters import resolve
from drtool.flows.recovery import Recovery, document_named
from drtool.flows.restart import PARALLEL, as_runbook
from drtool.flows.view import view_of
from drtool.render import machine

EXIT = {
    RunState.COMPLETED: 0, RunState.COMPLETED_WITH_EXCEPTIONS: 3, RunState.FAILED: 1, RunState.ABORTED: 1,
}  # fmt: skip
MISSED = 21
WAITING = 3

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@click.group(epilog="Example: drtool runbook run nwb-03-disk-full")
def runbook() -> None:
    """Follow a runbook step by step, and keep the record of it."""


def said_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What may be said beforehand instead of being typed."""
    for option in (
        click.option("--reason", default="", help="Why, for skip, abort, undo and break-glass."),
        click.option(
            "--choose", "choices", multiple=True, metavar="STEP=WORD",
            help="The answer to a step that asks: retry, again, done, skip, undo, abort, break-glass.",
        ),
        click.option("--answer", "answers", multiple=True, metavar="KEY=VALUE", help="The answer to a question."),
        click.option("--yes", is_flag=True, help="Work by hand counts as done; never agrees for a second person."),
    ):  # fmt: skip
        function = option(function)
    return function


def beginning_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Since when the trouble is there."""
    for option in (
        click.option("--outage", metavar="TIME", help="When the outage began; without it when the run begins."),
        click.option("--detected", metavar="TIME", help="When it was noticed."),
        click.option("--drill", is_flag=True, help="Practise: nothing is destroyed outside of the sandbox."),
    ):
        function = option(function)
    return function


@command("drtool runbook list", name="list")
def list_all(settings: Settings) -> int:
    """Show the runbooks, with what is wrong with them."""
    estate = open_estate(settings)
    procedures = read_procedures(estate)
    problems = find_problems(procedures, read_register(estate), estate, date.today())
    rows = [_row(one, [problem.message for problem in problems if problem.procedure == one.id]) for one in procedures]
    runs = _unfinished(journals_of(settings, estate))
    answer(
        settings,
        lambda: {"runbooks": rows, "runs": runs},
        lambda words: words.show_runbooks(rows, runs),
        good=False,
    )
    return 0


def _unfinished(journals: FileJournals) -> list[dict[str, Any]]:
    """The runs that have not ended, without those that are parts of others; one that was changed hinders no other."""
    found = []
    for run in (run for run in journals.runs() if "." not in run):
        try:
            so_far = progress(journals.read(run))
        except DrtoolError:
            found.append({"run": run, "runbook": None, "state": "changed"})
            continue
        if so_far.started and not so_far.ended:
            state = so_far.paused or RunState.RUNNING
            found.append({"run": run, "runbook": so_far.started["runbook"], "state": state})
    return found


def _row(one: Procedure, problems: list[str]) -> dict[str, Any]:
    document = one.document
    return {
        "id": one.id,
        "title": document.title if document else "",
        "version": document.revision if document else None,
        "owner": document.owner if document else None,
        "review_due": document.review_due.isoformat() if document else None,
        "kind": "restart_concept" if isinstance(document, RestartConcept) else "runbook",
        "problems": problems or list(one.problems),
    }


@command("drtool runbook show nwb-03-disk-full")
@click.argument("name", metavar="RUNBOOK|RUN")
def show(settings: Settings, name: str) -> int:
    """Show a runbook's steps, or how a run of one stands."""
    estate = open_estate(settings)
    journals = journals_of(settings, estate)
    if name in journals.runs():
        view = _view(settings, name)
        return _answered(settings, view)
    return _planned(settings, name, (), look=False)


def _view(settings: Settings, run: str) -> RunView:
    so_far = progress(journals_of(settings, open_estate(settings)).read(run))
    if not so_far.started:
        raise UsageError(f"run {run} never began", hint="drtool runbook list")
    return view_of(run, so_far, so_far.paused or RunState.RUNNING, datetime.now(UTC))


@command("drtool runbook lint")
@click.argument("names", nargs=-1, metavar="[RUNBOOK]...")
def lint(settings: Settings, names: tuple[str, ...]) -> int:
    """Find what is wrong with runbooks and the restart concept before they are needed.

    Ends with 20 where something is wrong, with 0 where there are only warnings.
    """
    estate = open_estate(settings)
    procedures = read_procedures(estate)
    for name in names:
        if all(one.id != name for one in procedures):
            raise UsageError(f"there is no runbook {name}", hint="drtool runbook list; a file: drtool validate FILE")
    found = find_problems(procedures, read_register(estate), estate, date.today())
    chosen = [one for one in found if not names or one.procedure in names]
    rows = [
        {"runbook": one.procedure, "where": one.where, "message": one.message, "severity": one.severity}
        for one in chosen
    ]
    bad = any(one.severity == "error" for one in chosen)
    answer(settings, lambda: {"problems": rows}, lambda words: words.show_problems(rows), good=not rows)
    return DocumentInvalid.code if bad else 0


@command("drtool runbook plan nwb-07-database --param snapshot=latest")
@click.argument("name", metavar="RUNBOOK")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the runbook.")
def plan(settings: Settings, name: str, params: tuple[str, ...]) -> int:
    """Show what a run would do, with its parameters put in; nothing is looked at or done."""
    return _planned(settings, name, params, look=False)


def _planned(settings: Settings, name: str, params: tuple[str, ...], *, look: bool) -> int:
    with open_recovery(settings, Said(), acts=False) as recovery:
        book = _chosen(recovery, name)
        given = resolve(book, pairs(params), recovery.register, recovery.estate)
        steps = intend(book, given, recovery, look=look)
    answer(
        settings,
        lambda: machine.intended_document(book.runbook, steps),
        lambda words: words.show_intended(book.title, steps),
        good=False,
    )
    return 0


def _chosen(recovery: Recovery, name: str) -> Runbook:
    document = document_named(recovery.procedures, name)
    return as_runbook(document, recovery.estate.locale) if isinstance(document, RestartConcept) else document


@command("drtool runbook run nwb-01-service-down --outage '2026-11-24 03:10'")
@click.argument("name", metavar="RUNBOOK")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the runbook.")
@click.option("--dry-run", is_flag=True, help="Only look: run the probes, and show what would be done.")
@beginning_options
@said_options
def run(settings: Settings, name: str, params: tuple[str, ...], dry_run: bool, **asked: Any) -> int:
    """Follow a runbook: each step is checked, done, verified, and written down before and after.

    A step that fails pauses the run and asks. Where nobody can be asked, the run waits: go on by `drtool runbook
    resume`. Ends with 0 when completed, 3 with exceptions or while it waits, 1 when failed or aborted, 21 when the RTO
    was missed.
    """
    if dry_run:
        return _planned(settings, name, params, look=True)
    return carry_out(settings, lambda recovery: _chosen(recovery, name), pairs(params), asked)


def carry_out(
    settings: Settings,
    choose: Callable[[Recovery], Runbook],
    given: Mapping[str, str],
    asked: Mapping[str, Any],
) -> int:
    """Start a run, show it, and return the exit code."""
    with open_recovery(settings, _said(asked), mode="drill" if asked["drill"] else "real") as recovery:
        book = choose(recovery)
        refuse_unknown_words(book, recovery, _said(asked))
        params = resolve(book, given, recovery.register, recovery.estate)
        beginning = Beginning(outage=_when(asked["outage"]), detected=_when(asked["detected"]))
        if beginning.outage and beginning.detected and beginning.detected < beginning.outage:
            raise UsageError("what is noticed has begun before", hint="correct --outage or --detected")
        with recovery.journals.begin(_new_run()) as journal:
            for other in _unfinished(journals_of(settings, recovery.estate)):
                if other["runbook"] == book.runbook:
                    recovery.console.tell(f"another run of it has not ended: drtool runbook resume {other['run']}")
            recovery.console.tell(f"run {journal.run}; if it is cut off: drtool runbook resume {journal.run}")
            with _going_on(journal.run):
                view = start(book, params, journal, recovery, beginning, parallel=_parallel(book, recovery))
    return _answered(settings, view)


@contextmanager
def _going_on(run: str) -> Iterator[None]:
    """Who ends drtool in the middle is told how the same run goes on: another one would do things twice."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted", hint=f"drtool runbook resume {run}") from None


def _parallel(book: Runbook, recovery: Recovery) -> int:
    concept = any(isinstance(one.document, RestartConcept) and one.id == book.runbook for one in recovery.procedures)
    return PARALLEL if concept else 1


def _new_run() -> str:
    """Readable on paper and over the phone, and never twice."""
    return f"{datetime.now():%Y%m%d-%H%M}-{secrets.token_hex(2)}"


@command("drtool runbook resume 20261124-0310-9f3a --choose restart-php=retry")
@click.argument("name", metavar="RUN")
@click.option("--amend", default="", metavar="REASON", help="Go on with a runbook that was changed meanwhile.")
@said_options
def resume_run(settings: Settings, name: str, amend: str, **asked: Any) -> int:
    """Go on with a run that was cut off, or that waits for an answer.

    What is done is not done again. A step that had begun is in doubt: its check decides, else you are asked.
    """
    with open_recovery(settings, _said(asked)) as recovery, recovery.journals.carry_on(name) as journal:
        started = progress(journal.events()).started
        if not started:
            raise UsageError(f"run {name} never began", hint="start a new one: drtool runbook run RUNBOOK")
        if started.get("part_of"):
            raise UsageError(f"run {name} is part of another", hint=f"drtool runbook resume {started['part_of']}")
        book = _chosen(recovery, started["runbook"])
        with_mode = recovery.in_mode(started["mode"])
        refuse_unknown_words(book, recovery, _said(asked))
        with _going_on(name):
            view = resume(book, journal, with_mode, amend=amend, parallel=_parallel(book, recovery))
    return _answered(settings, view)


@command("drtool runbook approve 20261124-0310-9f3a restore-approve")
@click.argument("name", metavar="RUN")
@click.argument("step")
@click.option("--reason", default="", help="What you looked at before you agreed.")
def approve(settings: Settings, name: str, step: str, reason: str) -> int:
    """Agree to a step of a run that somebody else carries out. Your login says who you are."""
    estate = open_estate(settings)
    journals = journals_of(settings, estate)
    journal = journals.read(name)
    if not journal:
        raise UsageError(f"run {name} never began", hint="drtool runbook list")
    document = document_named(read_procedures(estate), progress(journal).started["runbook"])
    book = as_runbook(document, estate.locale) if isinstance(document, RestartConcept) else document
    asking = next((one for one in book.steps if one.id == step and isinstance(one, ApproveStep)), None)
    if not isinstance(asking, ApproveStep):
        raise UsageError(f"run {name} has no step {step} that asks for agreement", hint=f"drtool runbook show {name}")
    if progress(journal).of(step).asked is None:
        raise UsageError(f"run {name} does not ask for agreement to {step} now", hint=f"drtool runbook show {name}")
    account = operator()
    person = approver(read_register(estate), asking, account, _operators(journals, journal))
    at = datetime.now(UTC).isoformat()
    journals.approve(name, step, {"account": account, "at": at, "reason": reason})
    answer(
        settings,
        lambda: {"run": name, "step": step, "person": person, "at": at},
        lambda words: words.say(f"{person} agrees to {step} of run {name}"),
    )
    return 0


@command("drtool runbook print nwb-05-compromise --output nwb-05.pdf", name="print")
@click.argument("names", nargs=-1, metavar="[RUNBOOK]...")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A .pdf or .html file, or a folder.")
def print_them(settings: Settings, names: tuple[str, ...], output: Path) -> int:
    """Write runbooks and the restart concept for the safe: all of them, or those named, as HTML or PDF."""
    from drtool.cli.paper import put_on_paper

    estate = open_estate(settings)
    procedures = read_procedures(estate)
    chosen = [document_named(procedures, name) for name in names or [one.id for one in procedures]]
    written = put_on_paper(chosen, procedures, read_register(estate), estate, output)
    answer(
        settings,
        lambda: {"files": [str(path) for path in written]},
        lambda words: words.say("\n".join(f"written: {path}" for path in written)),
    )
    return 0


def refuse_unknown_words(book: Runbook, recovery: Recovery, said: Said) -> None:
    """Raises ``UsageError`` for an answer to what no runbook asks: who misspells a word believes that it was heard."""
    others = [one.document for one in recovery.procedures if isinstance(one.document, Runbook)]
    steps = [step for one in (book, *others) for step in one.steps]
    questions = {key for step in steps if isinstance(step, ManualStep | DecideStep) for key in step.ask}
    for word, known in ((said.answers, questions), (said.choices, {step.id for step in steps})):
        for name in word:
            if name not in known:
                near = f"; did you mean {found[0]}?" if (found := get_close_matches(name, known, n=1)) else ""
                raise UsageError(f"nothing asks for {name}{near}", hint=f"drtool runbook plan {book.runbook}")


def _operators(journals: FileJournals, journal: tuple[Event, ...]) -> frozenset[str]:
    """Who carries out a run, and those that it is a part of."""
    outer = progress(journal).started.get("part_of")
    return operators_of(journal) | (_operators(journals, journals.read(outer)) if outer else frozenset())


def _said(asked: Mapping[str, Any]) -> Said:
    return Said(
        answers=pairs(asked["answers"]), choices=pairs(asked["choices"]), reason=asked["reason"], yes=asked["yes"]
    )


def pairs(written: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE, taken apart at the first sign. Raises ``UsageError``."""
    found = {}
    for one in written:
        name, sign, value = one.partition("=")
        if not sign or not name:
            raise UsageError(f"{one!r} is not of the form NAME=VALUE")
        found[name] = value
    return found


def _when(text: str | None) -> datetime | None:
    moment = parse_moment(text, end=False).astimezone(UTC) if text else None
    if moment and moment > datetime.now(UTC):
        raise UsageError(f"{text} is still to come")
    return moment


def _answered(settings: Settings, view: RunView) -> int:
    from drtool.render import incident

    code = EXIT.get(view.state, WAITING)
    missed = view.measured.recovery is not None and view.measured.recovery > view.rto
    code = MISSED if code == 0 and missed else code
    answer(settings, lambda: machine.run_document(view), lambda words: incident.show_run(view), good=code == 0)
    return code


runbook.add_command(list_all)
runbook.add_command(show)
runbook.add_command(lint)
runbook.add_command(plan)
runbook.add_command(run)
runbook.add_command(resume_run, "resume")
runbook.add_command(approve)
runbook.add_command(print_them)
