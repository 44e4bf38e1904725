"""``drtool restore`` and ``drtool snapshots``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from drtool.cli.answer import answer
from drtool.cli.backup import EXIT, named_datasets
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_estate, open_outside
from drtool.core.model import LoadRequest, RestoreOutcome, RestoreRequest
from drtool.documents.estate import DatabaseSource, Estate
from drtool.errors import UsageError
from drtool.flows.in_place import load_in_place, plan_in_place, restore_in_place
from drtool.flows.load import load, plan_load
from drtool.flows.moments import parse_moment
from drtool.flows.outside import Outside
from drtool.flows.restore import list_snapshots, plan_restore
from drtool.flows.restore import restore as bring_back
from drtool.render import machine


@command("drtool snapshots shop-files")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
def snapshots(settings: Settings, datasets: tuple[str, ...]) -> int:
    """Show what can be restored, and from which copies."""
    estate = open_estate(settings)
    names = named_datasets(estate, datasets)
    with open_outside(settings, estate, reads=True) as outside:
        found = list_snapshots(estate, names, outside)
    answer(settings, lambda: machine.snapshots_document(found), lambda words: words.show_snapshots(found), good=False)
    return 0


@command("drtool restore shop-files --at '2026-11-20 08:00' --to /srv/restored")
@click.argument("dataset")
@click.option("--at", help="The newest snapshot not after this time (local time, unless it ends in UTC).")
@click.option("--snapshot", help="This snapshot: its id, or the beginning of it.")
@click.option("--to", "target", type=click.Path(path_type=Path), help="The directory to restore into.")
@click.option("--in-place", is_flag=True, help="Restore where it came from; what is there now is saved first.")
@click.option("--delete", is_flag=True, help="In place: also remove what the snapshot does not have.")
@click.option("--no-safety", is_flag=True, help="In place: do not save first what is there now.")
@click.option("--into", metavar="DATABASE", help="The database to load into; it is created, or must be empty.")
@click.option("--include", multiple=True, metavar="PATH", help="Only this path or pattern of the snapshot.")
@click.option("--from", "copy", metavar="COPY", help="Only from this copy.")
@click.option("--dry-run", is_flag=True, help="Show what would be restored from where, and do nothing.")
@click.option("--yes", is_flag=True, help="Write over what is in the directory; drop what is in the database.")
def restore(settings: Settings, dry_run: bool, yes: bool, **asked: Any) -> int:
    """Bring a dataset back, from the best copy that has it, and verify every byte.

    A dataset of kind mariadb or postgresql can go back --into a database; its tables and rows are counted then.
    """
    estate = open_estate(settings)
    named_datasets(estate, (asked["dataset"],))
    source = estate.datasets[asked["dataset"]].source
    if asked["in_place"] and isinstance(source, DatabaseSource):
        return _load(settings, estate, _load_request({**asked, "into": source.database}, over=True), dry_run, yes)
    if asked["in_place"]:
        return _restore_in_place(settings, estate, asked, dry_run=dry_run, yes=yes)
    if asked["into"] is not None:
        return _load(settings, estate, _load_request(asked, over=yes), dry_run, yes)
    request = _request(asked, over=yes)
    with open_outside(settings, estate, reads=True) as outside:
        plan = plan_restore(estate, request, outside)
        outcome = None if dry_run else bring_back(plan, outside)
    if outcome is None:
        answer(settings, lambda: machine.plan_document(plan), lambda words: words.show_restore_plan(plan), good=False)
        return 0
    return _answer(settings, outcome)


def _restore_in_place(settings: Settings, estate: Estate, asked: Mapping[str, Any], *, dry_run: bool, yes: bool) -> int:
    """Show what would change, and do it if that is wanted."""
    if asked["target"]:
        raise UsageError("--to does not go with --in-place", hint=f"drtool restore {asked['dataset']} --help")
    request = _request({**asked, "target": Path("/")}, over=False)
    request = replace(request, in_place=True, delete=asked["delete"], safety=not asked["no_safety"])
    with open_outside(settings, estate, reads=dry_run) as outside:
        plan = plan_in_place(estate, request, outside)
        if dry_run or not (yes or _is_wanted(settings, lambda words: words.show_restore_plan(plan), outside)):
            answer(
                settings, lambda: machine.plan_document(plan), lambda words: words.show_restore_plan(plan), good=False
            )
            return 0
        outcome = restore_in_place(estate, plan, outside, wait=60)
    return _answer(settings, outcome)


def _answer(settings: Settings, outcome: RestoreOutcome) -> int:
    answer(
        settings,
        lambda: machine.restore_document(outcome),
        lambda words: words.show_restore(outcome),
        good=outcome.verified,
    )
    return EXIT[outcome.outcome]


def _is_wanted(settings: Settings, show: Callable[[ModuleType], None], outside: Outside) -> bool:
    """Asked of who sits there. Raises ``UsageError`` where nobody does."""
    if settings.as_json or not sys.stdin.isatty():
        raise UsageError("a restore in place overwrites what is there", hint="look at it by --dry-run, then give --yes")
    from drtool.render import terminal

    outside.show.close()
    show(terminal)
    return click.confirm("Restore this now?", default=False, err=True)


def _load(settings: Settings, estate: Estate, request: LoadRequest, dry_run: bool, yes: bool) -> int:
    """Load into a database that is named; in place, into the dataset's own, with what is in it saved before."""

    def show(words: ModuleType) -> None:
        words.show_load_plan(plan)

    with open_outside(settings, estate, reads=dry_run or not request.in_place) as outside:
        plan = plan_load(estate, request, outside)
        if dry_run or (request.in_place and not (yes or _is_wanted(settings, show, outside))):
            answer(settings, lambda: machine.load_plan_document(plan), show, good=False)
            return 0
        if request.in_place:
            outcome = load_in_place(estate, plan, outside, safety=request.safety, wait=60)
        else:
            outcome = load(plan, outside)
    return _answer(settings, outcome)


def _load_request(asked: Mapping[str, Any], *, over: bool) -> LoadRequest:
    for option in ("target", "include"):
        if asked[option]:
            name = "to" if option == "target" else option
            raise UsageError(
                f"--{name} does not go with {'--in-place' if asked['in_place'] else '--into'}",
                hint=f"drtool restore {asked['dataset']} --help",
            )
    if not asked["into"].isprintable() or not asked["into"]:
        raise UsageError("--into needs the name of a database")
    return LoadRequest(
        dataset=asked["dataset"],
        database=asked["into"],
        at=parse_moment(asked["at"]) if asked["at"] else None,
        snapshot=asked["snapshot"],
        copy=asked["copy"],
        over=over,
        in_place=asked["in_place"],
        safety=not asked["no_safety"],
    )


def _request(asked: Mapping[str, Any], *, over: bool) -> RestoreRequest:
    if asked["target"] is None:
        raise UsageError(
            "say where to restore to", hint=f"drtool restore {asked['dataset']} --to DIRECTORY, or --in-place"
        )
    for option in ("delete", "no_safety"):
        if asked[option] and not asked["in_place"]:
            raise UsageError(f"--{option.replace('_', '-')} only goes with --in-place")
    return RestoreRequest(
        dataset=asked["dataset"],
        target=asked["target"].absolute(),
        at=parse_moment(asked["at"]) if asked["at"] else None,
        snapshot=asked["snapshot"],
        include=asked["include"],
        copy=asked["copy"],
        over=over,
    )
