"""The person before whom a runbook runs: what the command line said beforehand, else what is typed."""

from __future__ import annotations

import select
import sys
import termios
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import click

from drtool.core.ports import Progress
from drtool.core.runbook import Answer, Asked, Question, Reply, RunView, Why
from drtool.errors import NoSuchAnswer
from drtool.render.show import printable

MEANING = {
    "retry": "do it again", "again": "do it again: it was not done", "done": "it is done",
    "verify": "look again whether it worked, without doing it again",
    "skip": "leave it out, with a reason; the run ends with exceptions", "undo": "take back what was done, and end",
    "abort": "end the run as it is, with a reason", "break-glass": "go on alone, with a reason that is reviewed",
}  # fmt: skip
TYPED_WHOLE = frozenset({"again", "undo", "abort", "break-glass"})
NEED_A_REASON = frozenset({"skip", "abort", "break-glass", "undo"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said on the command line, so that nobody need be asked; ``choices`` are by step."""

    answers: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    yes: bool = False


class RunConsole:
    """See ``core.ports.Console``. ``screen`` shows; nobody is asked unless ``present``."""

    def __init__(self, said: Said, *, present: bool, live: bool) -> None:
        from drtool.render.incident import LiveRun, PlainRun

        self._said, self._present = said, present
        self._screen: LiveRun | PlainRun = LiveRun() if live else PlainRun()
        self._asking = threading.Lock()
        self._used: set[tuple[str, str]] = set()  # in which run the word for which step was taken

    def tell(self, text: str) -> None:
        self._screen.tell(text)

    def output(self, step: str, piece: bytes) -> None:
        self._screen.output(step, piece)

    def show(self, view: RunView) -> None:
        self._screen.show(view)

    def close(self) -> None:
        self._screen.close()

    def ask(self, asked: Asked, *, settled: Callable[[], bool]) -> Reply | None:
        if reply := self._said_already(asked):
            return reply
        if not self._present:
            for line in (asked.title, *asked.lines):
                self._screen.tell(f"{asked.step}: {line}")
            return None
        with self._asking, self._screen.paused():
            return self._typed(asked, settled)

    def _said_already(self, asked: Asked) -> Reply | None:
        """A choice counts once: what fails again is asked again. ``yes`` stands for work done, never for agreement."""
        choice = self._said.choices.get(asked.step)
        if choice and (asked.run, asked.step) not in self._used:
            if choice not in asked.choices:
                known = ", ".join(asked.choices)
                raise NoSuchAnswer(f"step {asked.step} cannot be answered by {choice}", hint=f"one of: {known}")
            if choice in NEED_A_REASON and not self._said.reason:
                raise NoSuchAnswer(f"{choice} needs a reason", hint="give --reason TEXT")
            self._used.add((asked.run, asked.step))
            if choice != "done" or not asked.questions:
                return Reply(choice=choice, reason=self._said.reason)
        answered = {key: self._said.answers[key] for key in asked.questions if key in self._said.answers}
        if asked.questions and len(answered) == len(asked.questions):
            return Reply(choice="done", answers={key: _typed_as(asked.questions[key], key, one)
                                                 for key, one in answered.items()})  # fmt: skip
        if self._said.yes and asked.why is Why.MANUAL and not asked.questions:
            return Reply(choice="done", reason="--yes")
        return None

    def _typed(self, asked: Asked, settled: Callable[[], bool]) -> Reply | None:
        click.echo(f"\n{click.style(printable(asked.title), bold=True)}", err=True)
        for line in asked.lines:
            click.echo(f"  [ ] {printable(line)}" if asked.why is Why.MANUAL else f"  {printable(line)}", err=True)
        for key, question in asked.questions.items():
            shown = f" ({', '.join(question.values)})" if question.values else ""
            click.echo(f"  ? {key}: {printable(question.text)}{shown}", err=True)
        for choice in asked.choices:
            meaning = "answer, a question at a time" if choice == "done" and asked.questions else MEANING[choice]
            click.echo(f"  {choice:12} {meaning}", err=True)
        with suppress(termios.error, OSError):
            termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before the question is no answer to it
        while True:
            word = self._line("> ", settled)
            if word is None:
                return None
            meant = [one for one in asked.choices if word and one.startswith(word)]
            if len(meant) == 1 and (meant[0] == word or meant[0] not in TYPED_WHOLE):
                choice = meant[0]
                break
            click.echo(f"one of: {', '.join(asked.choices)}; those that cannot be taken back in full", err=True)
        answers = {key: self._answer(key, one) for key, one in asked.questions.items()} if choice == "done" else {}
        reason = self._reason() if choice in NEED_A_REASON else ""
        return Reply(choice=choice, answers=answers, reason=reason)

    def _line(self, prompt: str, settled: Callable[[], bool]) -> str | None:
        """A line that is typed; nothing once it is settled elsewhere, or where the terminal is gone."""
        click.echo(prompt, nl=False, err=True)
        while True:
            if select.select([sys.stdin], [], [], 0.5)[0]:
                line = sys.stdin.readline()
                return line.strip() if line else None
            if settled():
                return None

    def _answer(self, key: str, question: Question) -> Answer:
        while True:
            text = click.prompt(f"{key}: {printable(question.text)}", err=True)
            try:
                return _typed_as(question, key, text)
            except NoSuchAnswer as error:
                click.echo(error.message, err=True)

    def _reason(self) -> str:
        reason = ""
        while not reason.strip():
            reason = click.prompt("reason", err=True)
        return reason


class Told:
    """See ``core.ports.Show``: what drtool's own flows are at, on the screen of the run."""

    watched = True

    def __init__(self, console: RunConsole) -> None:
        self._console, self._phase, self._tenth = console, "", -1

    def phase(self, text: str) -> None:
        self._phase, self._tenth = text, -1
        self._console.output("drtool", f"{text}\n".encode())

    def progress(self, progress: Progress) -> None:
        tenth = int(10 * progress.done / progress.total) if progress.total else -1
        if tenth != self._tenth:
            self._tenth = tenth
            self._console.output("drtool", f"{self._phase}: {tenth * 10} %\n".encode())

    def note(self, text: str) -> None:
        self._console.tell(f"note: {text}")

    def close(self) -> None: ...


def _typed_as(question: Question, key: str, text: str) -> Answer:
    """An answer in its type. Raises ``NoSuchAnswer`` with what it must be."""
    text = text.strip()
    if question.type == "bool":
        if text.lower() in ("y", "yes", "j", "ja", "true"):
            return True
        if text.lower() in ("n", "no", "nein", "false"):
            return False
        raise NoSuchAnswer(f"{key} must be yes or no")
    if question.type == "number":
        try:
            return int(text)
        except ValueError:
            raise NoSuchAnswer(f"{key} must be a whole number") from None
    if question.type == "choice" and text not in question.values:
        raise NoSuchAnswer(f"{key} must be one of {', '.join(question.values)}")
    if not text:
        raise NoSuchAnswer(f"{key} needs an answer")
    return text
