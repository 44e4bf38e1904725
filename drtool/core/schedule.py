"""What runs when, and the texts that tell cron and systemd so."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import time
from pathlib import PurePosixPath
from typing import Literal

from drtool.errors import UsageError

Kind = Literal["cron", "systemd"]

SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CRON_FOLDER = PurePosixPath("etc/cron.d")
UNIT_FOLDER = PurePosixPath("etc/systemd/system")
LONGEST_CRON_COMMAND = 999  # Debian's cron passes over a longer one (MAX_COMMAND in cron.h)

_OURS = "# Written by drtool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Which days, in the words of either: cron's last three fields, systemd's weekday and date."""

    cron: str
    systemd: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command that runs by itself, ``later`` by so many hours. ``title`` goes on with "of SITE"."""

    name: str
    title: str
    arguments: tuple[str, ...]
    calendar: Calendar
    later: int = 0


NIGHTLY = Calendar(cron="* * *", systemd="*-*-*")
WEEKLY = Calendar(cron="* * 0", systemd="Sun *-*-*")

JOBS = (
    Job(name="backup", title="nightly backup", arguments=("backup", "--quiet"), calendar=NIGHTLY),
    # a long backup is waited for; what is kept for a week more harms nobody
    Job(
        name="prune",
        title="weekly retention",
        arguments=("prune", "--quiet", "--wait", "14400"),
        calendar=WEEKLY,
        later=2,
    ),
    Job(name="check", title="weekly check", arguments=("check", "--due", "--quiet"), calendar=NIGHTLY, later=4),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """For whom the jobs run: paths are absolute. ``sandbox`` holds systemd's directives, ready to be written."""

    site: str
    program: str
    config: str
    state: str | None = None
    user: str = "root"
    start: time = time(2)
    sandbox: tuple[str, ...] = ()

    def command(self, job: Job) -> tuple[str, ...]:
        """The whole command line of a job."""
        state = ("--state", self.state) if self.state else ()
        return (self.program, *job.arguments, "--config", self.config, *state)


def scheduled_time(site: str, start: time, *, later: int = 0) -> time:
    """Within the hour after the start, at a minute of the site's own, so that many sites do not begin at once.

    So many hours ``later``, on the same day where that is not past midnight.
    """
    minute = int.from_bytes(hashlib.sha256(site.encode()).digest()[:8], "big") % 60
    hours, minutes = divmod((start.hour + later) * 60 + start.minute + minute, 60)
    return time(hours % 24, minutes)


def schedule_files(kind: Kind, setting: Setting) -> Mapping[PurePosixPath, str]:
    """The files that make the jobs run, by their paths below the root. Raises ``UsageError``."""
    if kind == "cron":
        texts = [cron_table(setting)]
    else:
        texts = [text for job in JOBS for text in (service_unit(setting, job), timer_unit(setting, job))]
    return dict(zip(schedule_paths(kind, setting.site), texts, strict=True))


def schedule_paths(kind: Kind, site: str) -> tuple[PurePosixPath, ...]:
    """Where the files lie below the root; cron passes over names with other signs than A-Z a-z 0-9 _ -."""
    if kind == "cron":
        return (CRON_FOLDER / f"drtool-{site}",)
    return tuple(UNIT_FOLDER / f"{_unit(site, job)}.{end}" for job in JOBS for end in ("service", "timer"))


def is_ours(content: bytes) -> bool:
    """Whether drtool wrote a file, by its first line."""
    return content.startswith(_OURS.encode())


def cron_table(setting: Setting) -> str:
    """A file for /etc/cron.d. Raises ``UsageError`` for what a cron table cannot hold."""
    lines = (
        _first_line(setting), "SHELL=/bin/sh", f"PATH={SAFE_PATH}", *(_cron_line(setting, job) for job in JOBS)
    )  # fmt: skip
    return "".join(f"{line}\n" for line in lines)


def _cron_line(setting: Setting, job: Job) -> str:
    at = scheduled_time(setting.site, setting.start, later=job.later)
    return f"{at.minute} {at.hour} {job.calendar.cron} {setting.user} {_cron_command(setting, job)}"


def timer_unit(setting: Setting, job: Job) -> str:
    """A systemd timer; what was missed while the machine was off is made up for."""
    at = scheduled_time(setting.site, setting.start, later=job.later)
    return f"""\
{_first_line(setting)}
[Unit]
Description=drtool: {job.title} of {setting.site}

[Timer]
OnCalendar={job.calendar.systemd} {at:%H:%M}:00
Persistent=true
RandomizedDelaySec=0

[Install]
WantedBy=timers.target
"""


def service_unit(setting: Setting, job: Job) -> str:
    """The systemd service of a job. User= is named even for root, because only then HOME is set.

    Only drtool itself is asked to end (KillMode=mixed), so that a stopped restic is not taken for a broken copy.
    """
    sandbox = "".join(f"{line}\n" for line in setting.sandbox)
    return f"""\
{_first_line(setting)}
[Unit]
Description=drtool: {job.title} of {setting.site}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User={setting.user}
ExecStart={_systemd_command(setting, job)}
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7
KillMode=mixed
UMask=0077
{sandbox}"""


_READ_ONLY = ("/usr", "/boot", "/efi", "/etc")  # under ProtectSystem=full
_PRIVATE = ("/tmp", "/var/tmp")  # noqa: S108 - under PrivateTmp=; nothing is written there


def sandbox(*, reads: Iterable[str], writes: Iterable[str], own_programs: bool) -> tuple[str, ...]:
    """Those of systemd's restrictions that do not hinder a run.

    Everything stays readable. A folder of temporary files of its own would hide data, copies or programs
    that lie there; read-only system folders would stop a copy or a database there. Programs that the estate
    names (dumps, password commands) may need sudo or a socket in /tmp, so they run unrestricted.
    """
    read, written = tuple(reads), tuple(writes)
    allowed = {
        "NoNewPrivileges=yes": not own_programs,
        "PrivateTmp=yes": not own_programs and not _touch((*read, *written), _PRIVATE),
        "ProtectSystem=full": not own_programs and not _touch(written, _READ_ONLY),
    }
    return tuple(line for line, fits in allowed.items() if fits)


def _touch(paths: Iterable[str], folders: Iterable[str]) -> bool:
    """Whether a path lies in one of the folders, or holds one."""
    pairs = [(PurePosixPath(path), PurePosixPath(folder)) for path in paths for folder in folders]
    return any(path.is_relative_to(folder) or folder.is_relative_to(path) for path, folder in pairs)


def _unit(site: str, job: Job) -> str:
    return f"drtool-{site}-{job.name}"


def _first_line(setting: Setting) -> str:
    """``is_ours`` knows the file by it; the names in it hold no odd characters."""
    return f"{_OURS} for the site {setting.site}; to be rid of it: drtool schedule remove"


def _cron_command(setting: Setting, job: Job) -> str:
    command = " ".join(_for_cron(argument) for argument in setting.command(job))
    if len(command.encode(errors="surrogateescape")) > LONGEST_CRON_COMMAND:
        raise UsageError(
            f"the command is longer than the {LONGEST_CRON_COMMAND} bytes that cron takes",
            hint="give --kind systemd, or move the estate to a shorter path such as /etc/drtool",
        )
    return command


def _for_cron(argument: str) -> str:
    r"""Quoted for sh, and then for cron, which reads ``%`` as the end of the command and ``\%`` as ``%``.

    Some crons also make one backslash of two, some do not; so no two ever stand side by side.
    """
    if "\n" in argument:
        raise UsageError(f"a cron table cannot hold the line break in {argument!r}", hint="give --kind systemd")
    return shlex.quote(argument).replace("\\", "\\''").replace("%", "\\%")


def _systemd_command(setting: Setting, job: Job) -> str:
    """The colon keeps systemd from putting variables for ``$`` (systemd.service(5), since 244)."""
    program, *arguments = setting.command(job)
    if any(sign in "\"'\\" or ord(sign) < 32 or ord(sign) == 127 for sign in program):
        raise UsageError(
            f"systemd starts no program with such a path: {program!r}", hint="give --kind cron, or move drtool"
        )
    return " ".join(_for_systemd(argument) for argument in (f":{program}", *arguments))


_ESCAPED = {chr(code): f"\\x{code:02x}" for code in (*range(1, 32), 127)} | {"\\": "\\\\", '"': '\\"', "%": "%%"}


def _for_systemd(argument: str) -> str:
    """Quoted as systemd.syntax(7) says, with ``%`` doubled for systemd.unit(5)'s specifiers."""
    if any(0xD800 <= ord(sign) < 0xE000 for sign in argument):
        raise UsageError(f"a systemd unit holds only UTF-8, and {argument!r} is not", hint="give --kind cron")
    return '"' + "".join(_ESCAPED.get(sign, sign) for sign in argument) + '"'
