"""A run of a runbook before a person: one screen with clocks, steps and the present output, or plain lines."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from drtool.core.runbook import RunState, RunView, StepProgress, StepState
from drtool.render.show import printable

OUTPUT_LINES = 8
SIGNS = {
    StepState.OK: ("✔", "green"), StepState.SATISFIED: ("✔", "green"), StepState.FAILED: ("✘", "bold red"),
    StepState.TIMED_OUT: ("✘", "bold red"), StepState.SKIPPED: ("–", "yellow"), StepState.UNDONE: ("↶", "yellow"),
    StepState.IN_DOUBT: ("?", "bold yellow"), StepState.NOT_REACHED: ("·", "dim"),
}  # fmt: skip
ENDED = (RunState.COMPLETED, RunState.COMPLETED_WITH_EXCEPTIONS, RunState.FAILED, RunState.ABORTED)
GOOD_STATES = (RunState.COMPLETED,)


def one_line(text: str) -> str:
    """Without what a terminal would obey, and without a line that could be taken for another's."""
    return printable(text).replace("\n", " ")


def told_state(progress: StepProgress, *, over: bool = False) -> str:
    """A step's state in a word or two; ``over``: its run has ended."""
    if over and not progress.ended:
        return "not done"
    if progress.state is StepState.UNVERIFIED:
        return "being verified"
    if progress.asked:
        return "waits for you"
    if progress.began and not progress.ended and progress.state in (StepState.PENDING, StepState.RUNNING):
        return "running"
    return progress.state.replace("_", " ")


def clock_lines(view: RunView) -> list[tuple[str, str]]:
    """The clocks that run, each with whether it is good, near or over."""
    began = view.clocks.get("outage") or view.clocks.get("started", view.at)
    lines = []
    if view.measured.recovery is not None:
        kept = view.measured.recovery <= view.rto
        lines.append(
            (
                f"back after {spell(view.measured.recovery)}, objective {spell(view.rto)}",
                "green" if kept else "bold red",
            )
        )
    elif view.state in ENDED:
        lines.append((f"nothing shows that the service is back; objective {spell(view.rto)}", ""))
    else:
        left = view.rto - (view.at - began)
        over = left < timedelta()
        text = f"RTO {spell(view.rto)}: {'over by ' + spell(-left) if over else spell(left) + ' left'}"
        lines.append((text, "bold red" if over else "yellow" if left < view.rto / 4 else "green"))
    if view.measured.waiting:
        lines.append((f"people were waited for {spell(view.measured.waiting)}", ""))
    for duty, until in view.duties:
        left = until - view.at
        state = f"{spell(left)} left" if left > timedelta() else f"over by {spell(-left)}"
        lines.append((f"{duty.text}: {state}", "yellow" if left > timedelta() else "bold red"))
    return lines


def spell(duration: timedelta) -> str:
    """H:MM:SS, with days where there are any."""
    days, seconds = divmod(int(duration.total_seconds()), 86400)
    hours, rest = divmod(seconds, 3600)
    return f"{f'{days}d ' if days else ''}{hours}:{rest // 60:02}:{rest % 60:02}"


class LiveRun:
    """The screen of somebody who follows a run."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._lock = threading.RLock()
        self._views: dict[str, RunView] = {}
        self._output: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._tail = b""
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4, transient=True)
        self._live.start()

    def tell(self, text: str) -> None:
        self._console.print(Text(f"{datetime.now():%H:%M:%S} {one_line(text)}"))

    def output(self, step: str, piece: bytes) -> None:
        with self._lock:
            *lines, self._tail = (self._tail + piece[-65536:]).split(b"\n")
            self._tail = self._tail[-4096:]
            for line in lines[-OUTPUT_LINES:]:
                self._output.append(f"{step}: {printable(line.decode(errors='replace'))[:300]}")

    def show(self, view: RunView) -> None:
        """The run itself, and what runs within it as long as it does."""
        with self._lock:
            if self._views and view.run not in self._views and view.state is not RunState.RUNNING:
                return
            self._views[view.run] = view
            if len(self._views) > 1 and view.state is not RunState.RUNNING:
                del self._views[view.run]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The screen stands still while somebody types."""
        self._live.stop()
        if self._views:
            self._console.print(self._render())
        try:
            yield
        finally:
            self._live.start()

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        with self._lock:
            views = list(self._views.values())
            output = Text("\n".join(self._output), style="dim", no_wrap=True, overflow="ellipsis")
        panels: list[RenderableType] = [_panel(view, clocks=not number) for number, view in enumerate(views)]
        return Group(*panels, output) if views else Text("")


def _panel(view: RunView, *, clocks: bool) -> Panel:
    lines = clock_lines(view) if clocks else []
    parts: list[RenderableType] = [Text(line, style=style) for line, style in lines]
    mode = "" if view.mode == "real" else f" · {view.mode.upper()}"
    title = f"{one_line(view.title)}{mode}"
    return Panel(Group(*parts, _steps(view)), title=title, subtitle=view.run, border_style="blue")


class PlainRun:
    """The same in lines, for a log or a pipe: one whenever a step's state changes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def tell(self, text: str) -> None:
        self._say(one_line(text))

    def output(self, step: str, piece: bytes) -> None: ...

    def show(self, view: RunView) -> None:
        with self._lock:
            for name, title, progress in view.steps:
                state = told_state(progress)
                if self._known.setdefault(f"{view.run} {name}", "pending") != state:
                    self._known[f"{view.run} {name}"] = state
                    self._say(f"{view.runbook}: {name}: {state} ({one_line(title)})")

    @contextmanager
    def paused(self) -> Iterator[None]:
        yield

    def close(self) -> None: ...

    def _say(self, text: str) -> None:
        self._stream.write(f"{datetime.now():%H:%M:%S} {text}\n")
        self._stream.flush()


def show_run(view: RunView) -> None:
    """How a run stands, or ended."""
    console = Console(highlight=False)
    colour = "green" if view.state in GOOD_STATES else "yellow" if "exceptions" in view.state else "red"
    drill = "" if view.mode == "real" else f"{view.mode.upper()}: "
    console.print(Text(f"{drill}{one_line(view.title)}", style="bold"))
    console.print(Text.assemble("run ", view.run, ": ", (view.state.replace("_", " "), colour)))
    console.print(_steps(view))
    for line, style in clock_lines(view):
        console.print(Text(line, style=style))


def _steps(view: RunView) -> Table:
    table = Table.grid(padding=(0, 1))
    over = view.state in ENDED
    for name, title, progress in view.steps:
        sign, style = _sign(progress, over=over)
        table.add_row(
            Text(sign, style=style), Text(name, style=style), Text(one_line(title)),
            Text(told_state(progress, over=over), style=style), Text(_took(progress, view.at)), Text(_marked(progress)),
        )  # fmt: skip
    return table


def _sign(progress: StepProgress, *, over: bool) -> tuple[str, str]:
    if told_state(progress, over=over) in ("running", "waits for you"):
        return "▶", "bold cyan"
    return SIGNS.get(progress.state, (" ", ""))


def _took(progress: StepProgress, now: datetime) -> str:
    if not progress.began or progress.state is StepState.NOT_REACHED:
        return ""
    return spell((progress.ended or now) - progress.began)


def _marked(progress: StepProgress) -> str:
    return (
        one_line(progress.reason)[:80]
        if progress.state in (StepState.FAILED, StepState.TIMED_OUT, StepState.SKIPPED)
        else ""
    )
