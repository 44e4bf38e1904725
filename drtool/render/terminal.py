"""What a person sees on a terminal: tables, and a line that moves while something long goes on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich import markup
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn
from rich.table import Table

from drtool.core.dump import Verdict as TableVerdict
from drtool.core.media import Medium
from drtool.core.model import (
    Changes,
    CheckOutcome,
    CopyOutcome,
    CopyStatus,
    DatasetOutcome,
    Event,
    HealOutcome,
    Hold,
    Initialised,
    LoadPlan,
    LocksFound,
    Loss,
    PruneOutcome,
    PrunePlan,
    RepositoryPlan,
    RestoreOutcome,
    RestorePlan,
    RunOutcome,
    Snapshot,
    Status,
    Verdict,
)
from drtool.core.observation import Diagnosis, Intended
from drtool.core.ports import Progress as Facts
from drtool.render.show import printable

COLOURS = {
    "done": "green", "healthy": "green", "pass": "green",
    "incomplete": "yellow", "behind": "yellow", "warn": "yellow", "unknown": "yellow",
    "added": "green", "altered": "yellow", "deleted": "red",
    "failed": "red", "damaged": "red", "absent": "red", "fail": "red",
}  # fmt: skip

SHOWN = 20  # tables that are not as they were; the JSON lists all


class LiveShow:
    """One moving line on stderr: what is being done, how far, how fast, how long still."""

    watched = True

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            DownloadColumn(),
            SpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)
        self._bar.start()

    def phase(self, text: str) -> None:
        self._bar.reset(self._task, description=escape(text), total=None, completed=0)

    def progress(self, progress: Facts) -> None:
        self._bar.update(self._task, completed=progress.done, total=progress.total or None)

    def note(self, text: str) -> None:
        self._console.print(f"[yellow]note:[/] {escape(text)}", highlight=False)

    def close(self) -> None:
        self._bar.stop()


def show_backup(run: RunOutcome) -> None:
    table = _table("dataset", "outcome", ">files", ">size", ">new", ">time", "snapshot")
    for one in run.datasets:
        table.add_row(*_dataset_row(one))
    copies = _table("copy", "outcome", ">sent", ">objects", ">healed", "agrees", "")
    for copy in run.copies:
        copies.add_row(*_copy_row(copy))
    console = _console()
    console.print(table, copies)
    for dataset in run.datasets:
        for path in dataset.unreadable[:10]:
            console.print(f"could not be read: {escape(path)}", highlight=False)
    for copy in run.copies:
        if copy.hint:
            console.print(f"hint for {copy.copy}: {escape(copy.hint)}", highlight=False)
    console.print(f"{_coloured(run.outcome)} in {_duration(timedelta(seconds=run.seconds))}")


def show_status(status: Status) -> None:
    console = _console()
    copies = {(one.repository, one.copy): one for one in status.facts.copies}
    table = _table("dataset", "copy", "newest", ">age", ">rpo", "state", "verified", "medium")
    for dataset in status.facts.datasets:
        for held in dataset.holdings:
            copy = copies[dataset.repository, held.copy]
            age = _duration(held.age) if held.age is not None else "-"
            table.add_row(
                escape(dataset.dataset),
                escape(held.copy),
                _time(held.newest.time) if held.newest else "none",
                age if held.fresh else f"[red]{age}[/]",
                _duration(dataset.rpo),
                _coloured(copy.state),
                f"{copy.verified.level} {_time(copy.verified.at)}" if copy.verified else "never",
                escape(describe(copy.medium)),
            )
    console.print(table)
    for copy in status.facts.copies:
        if copy.reason:
            console.print(f"{_coloured(copy.state)} {escape(copy.reason)}", highlight=False)
    for finding in status.findings:
        console.print(
            f"{_coloured(finding.verdict)} {escape(finding.policy)}/{escape(finding.rule)} {escape(finding.subject)}: "
            f"{escape(finding.reason)}" + (f"\n     [dim]hint: {escape(finding.hint)}[/]" if finding.hint else ""),
            highlight=False,
        )
    good = sum(finding.verdict is Verdict.PASS for finding in status.findings)
    word = "[green]compliant[/]" if status.compliant else "[red]not compliant[/]"
    if status.findings:
        console.print(f"{escape(status.site)}: {word}, {good} of {len(status.findings)} findings pass")
    else:
        console.print(f"{escape(status.site)}: not proven, no policy was judged")


def show_copies(copies: Sequence[CopyStatus]) -> None:
    table = _table(
        "repository",
        "copy",
        "state",
        ">objects",
        ">size",
        "agrees",
        "uploads verified by",
        "immutable",
        "medium",
        "place",
    )
    for one in copies:
        table.add_row(
            escape(one.repository),
            escape(one.copy),
            _coloured(one.state),
            f"{one.objects:,}",
            _size(one.bytes),
            "yes" if one.agrees else "[red]no[/]",
            str(one.upload_verification or "not known"),
            _locked(one.locks),
            escape(describe(one.medium)),
            escape(one.location),
        )
    console = _console()
    console.print(table)
    for one in copies:
        if one.reason:
            hint = f"; hint: {one.hint}" if one.hint else ""
            console.print(f"{escape(one.copy)}: {escape(one.reason)}{escape(hint)}", highlight=False)


def _locked(found: LocksFound | None) -> str:
    """For how long nobody can remove an object, as read back; a promise that is not kept stands out."""
    if found is None or found.settings is None or found.settings.object_lock is None:
        return "not known"
    if found.shortest:
        return f"{_duration(found.shortest)}, {found.mode}"
    return "[red]no[/]" if found.declared else "no"


def show_snapshots(found: Sequence[tuple[Snapshot, Sequence[str]]]) -> None:
    table = _table("dataset", "snapshot", "time (UTC)", ">files", ">size", "copies")
    for one, copies in found:
        table.add_row(
            escape(one.dataset or "-") + (" (before a restore)" if one.safety else ""),
            one.id[:12],
            _time(one.time),
            f"{one.files:,}",
            _size(one.bytes),
            escape(", ".join(copies)),
        )
    _console().print(table)


def show_restore(outcome: RestoreOutcome) -> None:
    seconds = max(outcome.seconds, 0.001)
    sources = ", ".join(f"{name} ({_size(part.bytes)})" for name, part in outcome.taken_from.items())
    verified = "all of it verified" if outcome.verified else "[red]not as it was saved[/]"
    _console().print(
        f"{_coloured(outcome.outcome)}: {escape(outcome.dataset)} of {_time(outcome.snapshot.time)} UTC"
        f" is back in {'its place' if outcome.target == '/' else escape(outcome.target)}\n"
        f"{outcome.files:,} files and folders, {_size(outcome.bytes)} in {_duration(timedelta(seconds=seconds))}"
        f" ({_size(outcome.bytes / seconds)}/s), {verified}, taken from {escape(sources or outcome.source)}",
        highlight=False,
    )
    if outcome.tables:
        _show_tables(outcome)
    for path in outcome.lost[:SHOWN]:
        _console().print(f"[red]lost[/]: {escape(path)}", highlight=False)
    if len(outcome.lost) > SHOWN:
        say(f"and {len(outcome.lost) - SHOWN} files more (--json names all)")
    if outcome.undo:
        say(f"what was there before is saved; undo by: {outcome.undo}")


def _show_tables(outcome: RestoreOutcome) -> None:
    """What was counted after loading, and what of it is wrong."""
    console, wrong = _console(), [one for one in outcome.tables if one.verdict != TableVerdict.EQUAL]
    rows = sum(one.found or 0 for one in outcome.tables)
    console.print(f"{len(outcome.tables):,} tables with {rows:,} rows were counted", highlight=False)
    for one in wrong[:SHOWN]:
        expected = "no such table" if one.expected is None else f"{one.expected} rows"
        found = "no such table" if one.found is None else f"{one.found} rows"
        console.print(f"  [red]{escape(one.table)}: saved {expected}, found {found}[/]", highlight=False)
    if len(wrong) > SHOWN:
        console.print(f"  … and {len(wrong) - SHOWN} more", highlight=False)


def show_load_plan(plan: LoadPlan) -> None:
    database = escape(plan.request.database)
    first = "which would be created"
    if plan.holds is not None:
        first = "which would be [red]dropped[/] and created anew" if plan.holds else "which is there and empty"
    _console().print(
        f"would load {escape(plan.request.dataset)} of {_time(plan.snapshot.time)} UTC"
        f" (snapshot {plan.snapshot.id[:12]}) into the database {database}, {first},\n"
        f"on {escape(plan.server)}, from {escape(_ways(plan))}: {_size(plan.snapshot.bytes)}",
        highlight=False,
    )


def show_restore_plan(plan: RestorePlan) -> None:
    _console().print(
        f"would restore {escape(plan.request.dataset)} of {_time(plan.snapshot.time)} UTC"
        f" (snapshot {plan.snapshot.id[:12]}) into"
        f" {'its place' if plan.request.in_place else escape(str(plan.request.target))}\n"
        f"from {escape(_ways(plan))}: {plan.files:,} files, {_size(plan.bytes)};"
        f" {_size(plan.free)} are free",
        highlight=False,
    )
    if plan.changes:
        _show_changes(plan.changes)


def _show_changes(changes: Changes) -> None:
    console = _console()
    for kind, path in changes.examples:
        console.print(f"  {_coloured(kind)} {escape(path)}", highlight=False)
    shown, all_ = len(changes.examples), changes.added + changes.altered + changes.deleted
    if all_ > shown:
        console.print(f"  and {all_ - shown:,} more", highlight=False)
    console.print(
        f"{changes.added:,} files come back, {changes.altered:,} are set right, {changes.deleted:,} are deleted,"
        f" {changes.unchanged:,} are as they should be",
        highlight=False,
    )


def _ways(plan: RestorePlan | LoadPlan) -> str:
    first = plan.sources[0] if plan.direct else ""
    together = f"all copies together ({', '.join(plan.present)})" if plan.united else ""
    return ", then ".join(filter(None, (first, together)))


def show_plans(plans: Sequence[RepositoryPlan]) -> None:
    console = _console()
    for plan in plans:
        writer = f"restic writes to {plan.writer}" if plan.writer else "[red]no copy is fit to be written to[/]"
        console.print(f"{escape(plan.repository)}: {escape(', '.join(plan.datasets))}; {writer}", highlight=False)
        for copy, reason in plan.unreached.items():
            console.print(f"  left out: {escape(copy)}: {escape(reason)}", highlight=False)
        for copy, keys in plan.lost.items():
            console.print(f"  [red]{len(keys)} objects were lost from {escape(copy)}[/]", highlight=False)
        for target in dict.fromkeys(send.target for send in plan.sends):
            sizes = [send.size for send in plan.sends if send.target == target]
            console.print(f"  {len(sizes)} objects, {_size(sum(sizes))}, go to {escape(target)} first", highlight=False)


def show_heal(done: HealOutcome) -> None:
    table = _table("repository", "copy", "outcome", ">lost", ">altered", ">healed", ">sent", "")
    for one in done.copies:
        table.add_row(
            escape(one.repository), escape(one.copy), _coloured(one.outcome), str(one.lost), str(one.altered),
            str(one.healed), _size(one.sent_bytes), escape(one.reason),
        )  # fmt: skip
    console = _console()
    console.print(table)
    for one in done.copies:
        for key in one.unhealable[:10]:
            console.print(f"[red]gone[/]: {escape(key)}", highlight=False)
        if len(one.unhealable) > 10:
            console.print(f"[red]gone[/]: and {len(one.unhealable) - 10} objects more (--json names all)")
    for snapshot, loss in done.losses:
        _show_loss(console, snapshot, loss)
    if any(one.unhealable for one in done.copies):
        console.print(
            "What is not named can be restored; `drtool restore` brings it, and names what it cannot.\n"
            "If no other copy turns up, restic can drop what is lost from its listings, in one copy:\n"
            "restic -r COPY repair index; restic -r COPY repair snapshots --forget; then: drtool heal --repaired COPY",
            highlight=False,
        )
    for hint in dict.fromkeys(one.hint for one in done.copies if one.hint):
        console.print(f"hint: {escape(hint)}", highlight=False)


def _show_loss(console: Console, snapshot: Snapshot, loss: Loss) -> None:
    more = " and a folder of which the listing is gone" if loss.unknown and loss.paths else ""
    what = f"loses {len(loss.paths)} files{more}" if loss.paths else "cannot be read as a whole"
    console.print(
        f"[red]hurt[/]: {escape(snapshot.dataset)} of {_time(snapshot.time)} UTC ({snapshot.id[:12]}) {what}",
        highlight=False,
    )
    for path in loss.paths[:10]:
        console.print(f"      {escape(path)}", highlight=False)


def show_check(done: CheckOutcome) -> None:
    table = _table("check", "subject", "verdict", "")
    for one in done.checks:
        hint = f"; hint: {one.hint}" if one.hint else ""
        table.add_row(one.check, escape(one.subject), _coloured(one.verdict), escape(one.reason + hint))
    console = _console()
    console.print(table)
    console.print(_coloured(done.outcome) if done.checks else "nothing is due")


def show_prune_plans(plans: Sequence[PrunePlan]) -> None:
    console = _console()
    for plan in plans:
        table = _table("dataset", "snapshot", "time (UTC)", "", "why")
        for one in plan.snapshots:
            word = "[green]stays[/]" if one.reasons else "[red]goes[/]"
            table.add_row(
                escape(one.snapshot.dataset or "-"), one.snapshot.id[:12], _time(one.snapshot.time), word,
                escape(", ".join(one.reasons)),
            )  # fmt: skip
        console.print(table)
        console.print(
            f"{escape(plan.repository)}: {len(plan.going)} of {len(plan.snapshots)} snapshots go"
            + (f", from {escape(plan.copy)} first" if plan.copy else ""),
            highlight=False,
        )
        for copy, keys in plan.due.items():
            console.print(f"  {escape(copy)} has kept {len(keys)} removed objects for long enough", highlight=False)
        if plan.refused:
            console.print(f"[red]refused[/]: {escape(plan.refused)}\nhint: {escape(plan.hint)}", highlight=False)


def show_prune(done: PruneOutcome) -> None:
    table = _table(
        "repository", "outcome", ">snapshots", ">objects", ">freed", "others removed", "kept for a while", ""
    )
    for one in done.repositories:
        kept = ", ".join(f"{copy}: {count}" for copy, count in one.retained.items() if count)
        followed = ", ".join(f"{copy}: {count}" for copy, count in one.copies.items() if count > 0)
        table.add_row(
            escape(one.repository), _coloured(one.outcome), str(one.snapshots), f"{one.objects:,}", _size(one.bytes),
            escape(followed), escape(kept), escape(one.reason),
        )  # fmt: skip
    console = _console()
    console.print(table)
    for one in done.repositories:
        if one.hint:
            console.print(f"hint for {escape(one.repository)}: {escape(one.hint)}", highlight=False)


def show_holds(holds: Sequence[Hold]) -> None:
    if not holds:
        say("no hold is set")
        return
    table = _table("hold", "set (UTC)", "by", "freezes", "reason")
    for one in holds:
        what = f"snapshot {one.snapshot[:12]}" if one.snapshot else one.repository or "everything"
        table.add_row(one.id, _time(one.at), escape(one.by), escape(what), escape(one.reason))
    _console().print(table)


def show_initialised(done: Sequence[Initialised]) -> None:
    table = _table("repository", "copy", "result", "place")
    for one in done:
        table.add_row(escape(one.repository), escape(one.copy), _coloured(one.result), escape(one.location))
    console = _console()
    console.print(table)
    for one in done:
        if one.reason:
            console.print(f"{escape(one.reason)}\n  hint: {escape(one.hint)}", highlight=False)


def show_runbooks(rows: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> None:
    table = _table("runbook", "version", "owner", "review due", "problems", "title")
    for row in rows:
        problems = str(len(row["problems"])) if row["problems"] else ""
        cells = (row["id"], row["version"], row["owner"], row["review_due"], problems, row["title"])
        table.add_row(*(escape(str(cell or "")) for cell in cells))
    _console().print(table)
    for run in runs:
        say(f"run {run['run']} of {run['runbook'] or 'an unknown runbook'}: {run['state'].replace('_', ' ')}; "
            f"drtool runbook show {run['run']}, or resume")  # fmt: skip


def show_problems(rows: Sequence[Mapping[str, str]]) -> None:
    for row in rows:
        colour = "red" if row["severity"] == "error" else "yellow"
        _console().print(f"[{colour}]{row['severity']}[/] {escape(row['where'])}: {escape(row['message'])}",
                         soft_wrap=True)  # fmt: skip
    if not rows:
        say("nothing is wrong")


def show_intended(title: str, steps: Sequence[Intended]) -> None:
    """What a run would do; with probes that were looked at, what they say now."""
    console = _console()
    console.print(f"[bold]{escape(title)}[/]")
    for number, step in enumerate(steps, 1):
        state = " [green](is so already)[/]" if step.already else ""
        after = f" after {', '.join(step.needs)}" if step.needs else ""
        console.print(f"{number:3}. [bold]{escape(step.id)}[/] {escape(step.title)}{state}")
        what = ", ".join(f"{key} {_spoken(value)}" for key, value in step.what.items())
        console.print(f"     {step.kind}, {step.effect}{escape(after)}: {escape(what)}", soft_wrap=True)
        for seen in step.seen:
            console.print(f"     {_coloured(seen.verdict)} {escape(seen.probe)}: {escape(seen.reason)}", soft_wrap=True)


def _spoken(value: object) -> str:
    """A value of a step in a line; arguments as one would type them."""
    if isinstance(value, tuple):
        return shlex.join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_spoken(one)}" for key, one in value.items())
    return str(value)


def show_diagnosis(diagnosis: Diagnosis) -> None:
    console = _console()
    for runbook, reason in diagnosis.fits:
        console.print(f"[bold red]{escape(runbook)}[/] fits: {escape(reason)}", soft_wrap=True)
        console.print(f"     drtool runbook run {escape(runbook)}")
    unknown = [one for one in diagnosis.seen if one.observation.verdict is Verdict.UNKNOWN]
    for one in unknown:
        console.print(f"[yellow]unknown[/] {escape(one.runbook)}: {escape(one.observation.reason)}", soft_wrap=True)
    for name in diagnosis.broken:
        console.print(f"[yellow]unreadable[/] {escape(name)}: drtool runbook lint {escape(name)}")
    if not diagnosis.fits:
        console.print(f"no runbook fits; {len(diagnosis.seen) - len(unknown)} probes looked")


def show_events(events: Sequence[Event]) -> None:
    table = _table(">seq", "time (UTC)", "run", "event", "figures")
    for one in events:
        figures = ", ".join(f"{name}={value}" for name, value in one.body.items())
        table.add_row(str(one.seq), _time(one.at), one.run[:8], escape(one.kind), escape(figures[:160]))
    _console().print(table)


def say(text: str) -> None:
    """One line for a person."""
    _console().print(escape(text), highlight=False, soft_wrap=True)


def describe(medium: Medium) -> str:
    """A medium in a few words."""
    what = ", ".join(medium.devices or medium.ids) or medium.kind
    where = " on this machine" if medium.machine and medium.kind == "object-store" else ""
    return f"{what}{where}{' (declared)' if medium.declared else ''}"


def escape(text: str) -> str:
    """Outside text as data: no markup of rich's, and nothing that a terminal would obey."""
    return markup.escape(printable(text))


def _dataset_row(one: DatasetOutcome) -> tuple[str, ...]:
    figures = (f"{one.files:,}", _size(one.bytes), _size(one.added_bytes), _duration(timedelta(seconds=one.seconds)))
    last = one.snapshot[:12] if one.snapshot and not one.reason else escape(one.reason)
    return (escape(one.dataset), _coloured(one.outcome), *figures, last)


def _copy_row(one: CopyOutcome) -> tuple[str, ...]:
    agrees = "yes" if one.agrees else "[red]no[/]"
    wrote = "written by restic" if one.wrote else ""
    return (
        escape(one.copy), _coloured(one.outcome), _size(one.sent_bytes), f"{one.sent_objects:,}", str(one.healed),
        agrees, escape(one.reason) or wrote,
    )  # fmt: skip


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(heading.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return table


def _console() -> Console:
    """Sentences are never wrapped here: a terminal does that itself, and a log wants whole lines."""
    return Console(width=None if sys.stdout.isatty() else 200, soft_wrap=True)


def _coloured(word: str) -> str:
    return f"[{COLOURS.get(word, 'default')}]{word}[/]"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _duration(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or unit == "min":
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
