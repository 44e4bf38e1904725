"""``drtool schedule``: let cron or systemd run the jobs."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import get_args

import click

from drtool.adapters import files, process
from drtool.adapters.files import NewFile
from drtool.cli.answer import answer
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_estate, state_folder
from drtool.core.schedule import Kind, Setting, is_ours, sandbox, schedule_files, schedule_paths, scheduled_time
from drtool.documents.estate import CommandSource, DatabaseSource, Estate, FileSource, SqliteSource
from drtool.errors import DrtoolError, UsageError

KINDS: tuple[Kind, ...] = get_args(Kind)
ENABLED = "timers.target.wants"  # a link in here is what `systemctl enable` makes of a timer
LIMIT = 60.0  # seconds systemctl may take


@click.group()
def schedule() -> None:
    """Let cron or a systemd timer run the nightly backup."""


def _time_of_day(ctx: click.Context, param: click.Parameter, text: str) -> time:
    try:
        return datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise click.BadParameter("must be a time of day such as 02:00", ctx, param) from None


_KIND = click.option("--kind", type=click.Choice(KINDS), help="Default: systemd where it runs the machine, else cron.")
_ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default="/",
    show_default=True,
    help="The root folder of the system that is to run the jobs.",
)
_TIME = click.option(
    "--time",
    "start",
    default="02:00",
    show_default=True,
    metavar="HH:MM",
    callback=_time_of_day,
    help="When the hour begins in which each site has a minute of its own.",
)


@command("drtool schedule show --kind cron", name="show")
@_KIND
@_ROOT
@_TIME
def show(settings: Settings, kind: Kind | None, root: Path, start: time) -> None:
    """Print what would be written, and how it compares with what is there."""
    kind = kind or _kind_of(root)
    estate = open_estate(settings)
    wanted = _compared(kind, _setting(settings, estate, start), root)
    others = [str(path) for path in _ours(_other(kind), estate.site, root)]
    words = [f"{one.path} ({_STATES[one.state]}):\n\n{one.text}" for one in wanted]
    words += [f"{path}: also installed; drtool schedule install --kind {kind} removes it" for path in others]
    answer(
        settings,
        lambda: {
            "kind": kind,
            "files": [{"path": str(one.path), "state": one.state, "content": one.text} for one in wanted],
            "others": others,
        },
        lambda _: click.echo(_bytes("\n".join(words))),
    )


@command("drtool schedule install --time 03:30", name="install")
@_KIND
@_ROOT
@_TIME
def install(settings: Settings, kind: Kind | None, root: Path, start: time) -> None:
    """Write the schedule and switch it on. Safe to repeat; the other kind's files are removed."""
    kind = kind or _kind_of(root)
    estate = open_estate(settings)
    _refuse_unknown_passwords(estate)
    setting = _setting(settings, estate, start)
    wanted = _compared(kind, setting, root)
    _refuse_foreign(wanted)
    outdated = [one for one in wanted if one.state != "current"]
    files.put({one.path: NewFile(content=_bytes(one.text)) for one in outdated}, replace=True)
    if kind == "systemd":
        _switch_on(setting.site, root)
    removed = _take_away(_other(kind), setting.site, root)
    at = scheduled_time(setting.site, start)
    document = {
        "kind": kind,
        "time": f"{at:%H:%M}",
        "user": setting.user,
        "written": [str(one.path) for one in outdated],
        "unchanged": [str(one.path) for one in wanted if one.state == "current"],
        "removed": [str(path) for path in removed],
    }
    words = [f"{act}: {path}" for act in ("written", "unchanged", "removed") for path in document[act]]
    words += [
        f"the backup of {setting.site} runs every night at {at:%H:%M} as {setting.user}",
        *_ways_to_look(kind, setting),
    ]
    answer(settings, lambda: document, lambda _: click.echo(_bytes("\n".join(words))))


def _refuse_unknown_passwords(estate: Estate) -> None:
    """A job knows neither this shell's environment nor a unit's credentials that nobody gives it."""
    for name, repository in estate.repositories.items():
        if repository.password.env or repository.password.credential:
            raise UsageError(
                f"the scheduled run could not know the password of repository {name}",
                hint="name it by {file: PATH} or {command: [PROGRAM]} in the estate",
            )


@command("drtool schedule remove", name="remove")
@_KIND
@_ROOT
def remove(settings: Settings, kind: Kind | None, root: Path) -> None:
    """Remove what install wrote, and nothing else. Safe to repeat."""
    estate = open_estate(settings)
    removed = [str(path) for one in ((kind,) if kind else KINDS) for path in _take_away(one, estate.site, root)]
    words = "\n".join(f"removed: {path}" for path in removed) or f"nothing is installed for {estate.site}"
    answer(settings, lambda: {"removed": removed}, lambda _: click.echo(_bytes(words)))


for _command in (show, install, remove):
    schedule.add_command(_command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a file should hold, and whether it does: current, differs, absent, or foreign: not written by drtool."""

    path: Path
    text: str
    state: str


_STATES = {
    "current": "installed",
    "differs": "installed, but differs; drtool schedule install brings it up to date",
    "absent": "not installed",
    "foreign": "there is such a file, which drtool did not write",
}


def _compared(kind: Kind, setting: Setting, root: Path) -> list[Compared]:
    wanted = {root / path: text for path, text in schedule_files(kind, setting).items()}
    return [Compared(path=path, text=text, state=_state(files.read(path), text)) for path, text in wanted.items()]


def _state(present: bytes | None, wanted: str) -> str:
    if present is None:
        return "absent"
    if present == _bytes(wanted):
        return "current"
    return "differs" if is_ours(present) else "foreign"


def _refuse_foreign(wanted: list[Compared]) -> None:
    for one in wanted:
        if one.state == "foreign":
            hint = f"look at it and move it away: less {shlex.quote(str(one.path))}"
            raise DrtoolError(f"{one.path} was not written by drtool, and is not overwritten", hint=hint)


def _ours(kind: Kind, site: str, root: Path) -> list[Path]:
    """Those of a kind's files that are there and that drtool wrote."""
    paths = (root / path for path in schedule_paths(kind, site))
    return [path for path in paths if is_ours(files.read(path) or b"")]


def _take_away(kind: Kind, site: str, root: Path) -> list[Path]:
    """Switch off and remove a kind's files; what was removed."""
    ours = _ours(kind, site, root)
    timers = [path for path in ours if path.suffix == ".timer"]
    if timers and _is_live(root):
        _systemctl("disable", "--now", *(timer.name for timer in timers))
    for timer in timers:
        files.remove(timer.parent / ENABLED / timer.name)
    removed = [path for path in ours if files.remove(path)]
    if timers and _is_live(root):
        _systemctl("daemon-reload")
    return removed


def _switch_on(site: str, root: Path) -> None:
    timers = [Path("/") / path for path in schedule_paths("systemd", site) if path.suffix == ".timer"]
    if _is_live(root):
        _systemctl("daemon-reload")
        _systemctl("enable", "--now", *(timer.name for timer in timers))
        return
    for timer in timers:
        files.link(root / timer.parent.relative_to("/") / ENABLED / timer.name, str(timer))


def _is_live(root: Path) -> bool:
    """Whether this is the running system, with systemd in charge."""
    return root.resolve() == Path("/") and _kind_of(root) == "systemd"


def _kind_of(root: Path) -> Kind:
    """sd_booted(3) asks for the same folder."""
    return "systemd" if (root / "run/systemd/system").is_dir() else "cron"


def _other(kind: Kind) -> Kind:
    return "systemd" if kind == "cron" else "cron"


def _systemctl(*arguments: str) -> None:
    env = {"PATH": process.SAFE_PATH, "LC_ALL": "C.UTF-8"}
    ended, _ = process.output(process.Command(argv=("systemctl", *arguments), env=env, secrets={}), limit=LIMIT)
    if ended.code:
        said = f": {ended.errors[-1]}" if ended.errors else ""
        line = shlex.join(("systemctl", *arguments))
        raise DrtoolError(
            f"`{line}` ended with exit code {ended.code}{said}", hint="the files are in place; run it by hand"
        )


def _ways_to_look(kind: Kind, setting: Setting) -> tuple[str, ...]:
    if kind == "cron":
        return ("what cron ran:     journalctl -t CRON | grep drtool",)
    unit = f"drtool-{setting.site}-backup"
    return (f"when it runs next: systemctl list-timers {unit}.timer", f"what it said:      journalctl -u {unit}")


def _setting(settings: Settings, estate: Estate, start: time) -> Setting:
    state = settings.state or os.environ.get("DRTOOL_STATE")
    program = _program()
    reads, writes = _places(estate)
    return Setting(
        site=estate.site,
        program=program,
        config=str(estate.path),
        state=os.path.abspath(state) if state else None,
        user=_user(),
        start=start,
        sandbox=sandbox(
            reads=(*reads, program),
            writes=(*writes, str(state_folder(settings, estate.site))),
            own_programs=_starts_own_programs(estate),
        ),
    )


def _places(estate: Estate) -> tuple[list[str], list[str]]:
    """What a run reads, and where it writes: into copies, and beside a database in use."""
    sources = [dataset.source for dataset in estate.datasets.values()]
    data = [path for source in sources if isinstance(source, FileSource) for path in source.paths]
    databases = [source.path for source in sources if isinstance(source, SqliteSource)]
    copies = [copy.directory for one in estate.repositories.values() for copy in one.copies.values() if copy.directory]
    reads = (*data, *estate.documents(), *estate.secret_files())
    return [str(path) for path in reads], [str(path) for path in (*copies, *databases)]


def _starts_own_programs(estate: Estate) -> bool:
    commands = (isinstance(dataset.source, CommandSource | DatabaseSource) for dataset in estate.datasets.values())
    return any(commands) or any(repository.password.command for repository in estate.repositories.values())


def _program() -> str:
    """The drtool that runs now, else the one that belongs to this Python."""
    for path in (os.path.abspath(sys.argv[0]), os.path.join(sys.prefix, "bin", "drtool")):
        if os.path.basename(path) == "drtool" and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise UsageError("this drtool is not installed as a program", hint="pip install drtool, or run `make setup`")


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise UsageError(f"user {os.geteuid()} has no name that cron or systemd could be told") from None


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
