"""``drtool init``: a working estate from a few answers."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import click

from drtool.adapters import files
from drtool.adapters.files import AlreadyThere, NewFile
from drtool.cli.answer import answer
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import state_folder
from drtool.documents.beginning import (
    KEYS,
    PASSWORD,
    POLICIES,
    REGISTER,
    RUNBOOKS,
    Beginning,
    Bucket,
    check_beginning,
    estate_text,
    fitting,
    register_text,
    runbook_text,
    shipped_policies,
    shipped_runbooks,
)
from drtool.documents.durations import parse_duration
from drtool.documents.fields import PATTERNS, SITE
from drtool.documents.loader import FILE_NAME, find_estate
from drtool.errors import UsageError

SQLITE_HEADER = b"SQLite format 3\0"  # sqlite.org/fileformat.html#magic_header_string
_PATH = click.Path(exists=True)
_FILE = click.Path(exists=True, dir_okay=False)
_FOLDER = click.Path(file_okay=False)


def _duration(ctx: click.Context, param: click.Parameter, text: str) -> str:
    try:
        parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    return text


@command(
    "drtool init /etc/drtool --files /var/www/shop --sqlite /var/lib/shop/shop.db --copy-directory /srv/backup/shop"
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--site", help="Names this installation; default: the host's name.")
@click.option("--locale", type=click.Choice(["de", "en"]), help="Language of reports; default: from LANG.")
@click.option("--files", multiple=True, type=_PATH, help="A folder or file to back up; may be repeated.")
@click.option("--sqlite", multiple=True, type=_FILE, help="A SQLite database to back up; may be repeated.")
@click.option("--copy-directory", type=_FOLDER, help="Where the local copy shall lie.")
@click.option("--second-directory", type=_FOLDER, help="Where a second copy shall lie, on another disk.")
@click.option("--s3-endpoint", metavar="URL", help="An S3 server for a copy off this machine.")
@click.option("--s3-bucket", metavar="NAME", help="Its bucket; it must exist.")
@click.option("--s3-prefix", metavar="PREFIX", help="Where in the bucket; default: SITE/main.")
@click.option("--s3-region", metavar="NAME", help="The region to sign requests for.")
@click.option("--s3-credentials", type=_FILE, help="A file in the AWS shared-credentials format, mode 0600.")
@click.option("--s3-profile", metavar="NAME", help="A profile in it, or in ~/.aws.")
@click.option("--s3-provider", metavar="NAME", help="Who runs the server.")
@click.option("--s3-ca", type=_FILE, help="The certificate of a private CA.")
@click.option("--rpo", default="24h", show_default=True, callback=_duration, help="How much work may be lost.")
@click.option("--rto", default="4h", show_default=True, callback=_duration, help="How long a restore may take.")
def init(settings: Settings, folder: Path, **given: Any) -> None:
    """Write a working estate: drtool.yaml, a generated password, policies, runbooks and the register.

    On a terminal it asks for what is not given. Nothing that exists is overwritten.
    """
    if settings.config:
        raise UsageError("init takes a folder, not --config", hint="drtool init FOLDER")
    folder = Path(os.path.abspath(folder))
    _refuse_existing(folder)
    answers = _Answers.of(given)
    if _has_terminal(settings):
        answers = _asked(answers)
    beginning = answers.beginning()
    policies = shipped_policies()
    written = _documents(beginning, policies, answers.keys) | _procedures(settings, beginning, folder)
    written[FILE_NAME] = written.pop(FILE_NAME)  # the estate comes last: where it is, the rest is
    _check(written, folder)
    _write(written, folder)
    document = {
        "estate": str(folder / FILE_NAME),
        "password_file": str(folder / PASSWORD),
        "policies": [str(folder / POLICIES / f"{name}.yaml") for name in policies],
        "runbooks": str(folder / RUNBOOKS),
        "register": str(folder / REGISTER),
    }
    answer(settings, lambda: document, lambda _: click.echo(_farewell(settings, folder, beginning, written)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """What was given or asked so far; ``keys`` is the text of a credentials file to be written."""

    site: str | None
    locale: str
    files: tuple[str, ...]
    databases: tuple[str, ...]
    directories: tuple[str, ...]
    s3: Mapping[str, str]
    rpo: str
    rto: str
    keys: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> _Answers:
        directories = (given["copy_directory"], given["second_directory"])
        s3 = {key.removeprefix("s3_"): value for key, value in given.items() if key.startswith("s3_") and value}
        return cls(
            site=given["site"],
            locale=given["locale"] or _language(os.environ),
            files=_absolute(given["files"]),
            databases=_absolute(given["sqlite"]),
            directories=_absolute(directory for directory in directories if directory),
            s3={key: os.path.abspath(value) if key in ("credentials", "ca") else value for key, value in s3.items()},
            rpo=given["rpo"],
            rto=given["rto"],
        )

    def beginning(self) -> Beginning:
        """Complete. Raises ``UsageError`` naming the options that lack."""
        missing = []
        if not (self.files or self.databases):
            missing.append("what to back up: --files PATH or --sqlite PATH")
        if not (self.directories or self.s3):
            missing.append("where to: --copy-directory DIR, and for the second copy --second-directory DIR or --s3-…")
        if self.s3:
            missing += [f"--s3-{key}" for key in ("endpoint", "bucket") if key not in self.s3]
        if missing:
            raise UsageError(f"missing: {'; '.join(missing)}", hint="drtool init --help, or run it on a terminal")
        site = self.site or _host_site()
        return Beginning(
            site=site,
            locale=self.locale,
            files=self.files,
            databases=self.databases,
            directories=self.directories,
            bucket=Bucket(**{"prefix": f"{site}/main"} | dict(self.s3)) if self.s3 else None,
            rpo=self.rpo,
            rto=self.rto,
        )


def _absolute(paths: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(os.path.abspath(os.path.expanduser(path)) for path in paths))


def _language(environ: Mapping[str, str]) -> str:
    chosen = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "de" if chosen.startswith("de") else "en"


def _host_site() -> str:
    return fitting(socket.gethostname().split(".")[0]) or "site"


# What is asked on a terminal


def _has_terminal(settings: Settings) -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty() and not (settings.as_json or settings.quiet)


def _ask(question: str, **options: Any) -> Any:
    return click.prompt(question, err=True, **options)


def _asked(answers: _Answers) -> _Answers:
    """With answers to all that is still open."""
    if not answers.site:
        answers = replace(answers, site=_ask("Name of this site", default=_host_site(), value_proc=_site))
    if not (answers.files or answers.databases):
        answers = _ask_what(answers)
    if not (answers.directories or answers.s3):
        place = _ask("Where the local copy shall lie", default=_local_place(answers.site), value_proc=_folder)
        answers = replace(answers, directories=(place,))
    if len(answers.directories) + bool(answers.s3) < 2:
        answers = _ask_second(answers)
    return answers


def _site(text: str) -> str:
    if not re.fullmatch(SITE, text):
        raise click.UsageError(PATTERNS[SITE])
    return text


def _folder(text: str) -> str:
    path = os.path.abspath(os.path.expanduser(text))
    if os.path.exists(path) and not os.path.isdir(path):
        raise click.UsageError(f"{path} is not a folder")
    return path


def _source(text: str) -> str:
    path = os.path.abspath(os.path.expanduser(text)) if text else ""
    if path and not os.path.exists(path):
        raise click.UsageError(f"{path} is not there")
    return path


def _local_place(site: str | None) -> str:
    root = "/srv/backup" if os.geteuid() == 0 else os.path.expanduser("~/backup")
    return os.path.join(root, site or "main")


def _ask_what(answers: _Answers) -> _Answers:
    """Paths, one by one, until nothing is answered; a database is known by its first bytes."""
    click.echo("What is to be backed up: folders, files, SQLite databases; Enter alone ends the list.", err=True)
    found: dict[str, bool] = {}
    while True:
        path = _ask("Back up", default="", show_default=False, value_proc=_source)
        if path:
            found[path] = _is_sqlite(path)
        elif found:
            break
    plain = tuple(path for path, is_database in found.items() if not is_database)
    return replace(answers, files=plain, databases=tuple(path for path in found if found[path]))


def _is_sqlite(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER


def _ask_second(answers: _Answers) -> _Answers:
    kinds = click.Choice(["s3", "directory", "none"])
    kind = _ask("The second copy: in S3, in a directory on another disk, or none yet", type=kinds, default="s3")
    if kind == "directory":
        place = _ask("Where the second copy shall lie", value_proc=_folder)
        return replace(answers, directories=(*answers.directories, place))
    return _ask_bucket(answers) if kind == "s3" else answers


def _ask_bucket(answers: _Answers) -> _Answers:
    s3 = {
        "endpoint": _ask("S3 server (https://…)"),
        "bucket": _ask("Bucket"),
        "prefix": _ask("Where in the bucket", default=f"{answers.site}/main"),
        "region": _ask("Region (Enter: the server's own)", default="", show_default=False),
        "provider": _ask("Who runs the server (Enter: not said)", default="", show_default=False),
    }
    kinds = click.Choice(["keys", "profile", "environment"])
    kind = _ask(
        "How to enter: type the keys now, a profile in ~/.aws, or the AWS environment", type=kinds, default="keys"
    )
    if kind == "profile":
        s3["profile"] = _ask("Profile")
    keys = None
    if kind == "keys":
        access, secret = _ask("Access key"), _ask("Secret key (not shown)", hide_input=True)
        keys = f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
        s3["credentials"] = KEYS
    return replace(answers, s3={key: value for key, value in s3.items() if value}, keys=keys)


# What is written


def _refuse_existing(folder: Path) -> None:
    """Before any question is asked; ``_write`` makes sure once more."""
    hints = {
        FILE_NAME: f"edit it and run `drtool validate {shlex.quote(str(folder / FILE_NAME))}`, or name another folder",
        PASSWORD: "name another folder; never delete a password while a copy exists that was made with it",
    }
    for name, hint in hints.items():
        if os.path.lexists(folder / name):
            raise AlreadyThere(f"{folder / name} is there already, and is not overwritten", hint=hint)


def _documents(beginning: Beginning, policies: Mapping[str, bytes], keys: str | None) -> dict[str, NewFile]:
    """The estate with its password, its keys and its policies, by name."""
    written = {f"{POLICIES}/{name}.yaml": NewFile(content=content) for name, content in policies.items()}
    written[PASSWORD] = NewFile(content=f"{secrets.token_urlsafe(32)}\n".encode(), mode=0o600)
    if keys:
        written[KEYS] = NewFile(content=keys.encode(), mode=0o600)
    written[FILE_NAME] = NewFile(content=estate_text(beginning, policies).encode())
    return written


def _procedures(settings: Settings, beginning: Beginning, folder: Path) -> dict[str, NewFile]:
    """The runbooks with their scripts, and the register, which knows this estate's names and places."""
    written = {}
    for name, content in shipped_runbooks().items():
        is_script = name.endswith(".sh")
        content = content if is_script else runbook_text(content, beginning, date.today())
        written[f"{RUNBOOKS}/{name}"] = NewFile(content=content, mode=0o755 if is_script else 0o644)
    values = {
        "drtool": os.path.abspath(shutil.which(sys.argv[0]) or sys.argv[0]),
        "estate": str(folder / FILE_NAME),
        "db_accounts": str(folder / "db-accounts.sql"),
        "package_list": str(folder / "packages.txt"),
        "state": str(state_folder(settings, beginning.site).parent),
    }
    written[REGISTER] = NewFile(content=register_text(beginning, values, date.today()).encode())
    return written


def _check(written: Mapping[str, NewFile], folder: Path) -> None:
    """Load a draft with other secrets; the real ones are written once, in their own place."""
    with tempfile.TemporaryDirectory(prefix="drtool-init-") as draft:
        drafted = {
            Path(draft) / name: replace(file, content=b"draft\n") if file.mode == 0o600 else file
            for name, file in written.items()
        }
        files.put(drafted, replace=False)
        check_beginning(Path(draft), instead_of=folder)


def _write(written: Mapping[str, NewFile], folder: Path) -> None:
    """All or nothing; a policy that is there already, word for word, is left as it is."""
    wanted = {folder / name: file for name, file in written.items()}
    new = {path: file for path, file in wanted.items() if file.mode == 0o600 or files.read(path) != file.content}
    files.put(new, replace=False, folder_mode=0o700)


# What is said at the end


def _farewell(settings: Settings, folder: Path, beginning: Beginning, written: Mapping[str, NewFile]) -> str:
    place = _needed_options(settings, folder)
    lines = [f"written: {folder / name}" for name in written if not name.startswith(f"{RUNBOOKS}/")]
    lines += [f"written: {folder / RUNBOOKS}: the restart concept and the emergency instructions, with their scripts"]
    if len(beginning.directories) + bool(beginning.bucket) < 2:
        lines += ["", "There is only one copy so far, so `drtool status` will complain: add a second to drtool.yaml."]
    lines += [
        "",
        f"Keep the password somewhere else as well, today: {folder / PASSWORD}",
        "Whoever loses it cannot restore, whatever copies there are; nobody can bring it back.",
        "",
        f"Fill in what says BITTE EINTRAGEN: {folder / REGISTER} first, then {folder / RUNBOOKS}/restart-concept.yaml.",
        "",
        "Next:",
        *(f"  drtool {name}{place}" for name in ("copies init", "backup", "status", "schedule install")),
    ]
    return "\n".join(lines)


def _needed_options(settings: Settings, folder: Path) -> str:
    """``--config`` unless the estate is found without, and the state folder as it was given."""
    try:
        found = os.path.samefile(find_estate(None, os.environ), folder / FILE_NAME)
    except UsageError:
        found = False
    config = "" if found else f" --config {shlex.quote(str(folder / FILE_NAME))}"
    state = f" --state {shlex.quote(str(settings.state))}" if settings.state else ""
    return config + state
