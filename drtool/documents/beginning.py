"""The text of a new estate: what was answered, written so that a person can go on from there."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import yaml

from drtool.documents.loader import FILE_NAME, load_estate
from drtool.errors import DocumentInvalid, DrtoolError, UsageError

PASSWORD = "main.password"  # noqa: S105 - the file's name
KEYS = "offsite.credentials"
POLICIES = "policies"
RUNBOOKS = "runbooks"
REGISTER = "register.yaml"
JUDGED_BY = ("two-copies", "art32-tom")  # the others that are shipped lie beside them, to be switched on

SHIPPED_ON = date(2026, 11, 24)  # the day from which the days in shipped runbooks and the register's template count

_DAY = re.compile(r"\b20\d\d-\d\d-\d\d\b")
_KEPT = "{last: 3, daily: 14, weekly: 8, monthly: 12}"
_REMOVED_KEPT = "30d"
_PLAIN = re.compile(r"(?:/?[A-Za-z][A-Za-z0-9_./:-]*[A-Za-z0-9_/-]|[1-9][0-9]*[wdhms])\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A copy in S3. ``credentials`` is a file in AWS's format."""

    endpoint: str
    bucket: str
    prefix: str | None = None
    region: str | None = None
    ca: str | None = None
    credentials: str | None = None
    profile: str | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a new estate is to hold. Paths are absolute."""

    site: str
    locale: str
    files: tuple[str, ...]
    databases: tuple[str, ...]
    directories: tuple[str, ...]
    bucket: Bucket | None
    rpo: str = "24h"
    rto: str = "4h"


def shipped_policies() -> dict[str, bytes]:
    """The policies that travel with drtool, by name; in a source tree they lie beside the package."""
    return {path.stem: path.read_bytes() for path in sorted(_shipped(POLICIES).glob("*.yaml"))}


def _shipped(kind: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "shipped" / kind, package.parent / kind):
        if any(folder.glob("*.yaml")):
            return folder
    raise DrtoolError(f"the {kind} that travel with drtool are missing", hint="install drtool anew")


def shipped_runbooks() -> dict[str, bytes]:
    """The runbooks, the restart concept and their scripts, by the path below their folder."""
    folder = _shipped(RUNBOOKS)
    files = sorted((*folder.rglob("*.yaml"), *folder.rglob("*.sh")))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def runbook_text(shipped: bytes, beginning: Beginning, today: date) -> bytes:
    """A shipped runbook or restart concept as it is for this estate; a pinned script stays as it is."""
    files, databases = _names(beginning)
    text = _dated(shipped.decode(), today)
    text = text.replace("datasets: [shop-files]", f"datasets: [{', '.join(map(_scalar, files))}]")
    text = text.replace("datasets: [shop-db]", f"datasets: [{', '.join(map(_scalar, databases))}]")
    return text.replace("{copy: disk}", f"{{copy: {_copy_names(beginning)[0]}}}").encode()


def register_text(beginning: Beginning, values: Mapping[str, str], today: date) -> str:
    """The template of the register with what is known already put into its values."""
    files, databases = _names(beginning)
    first = (*files, *databases)[0]
    known = {
        "files_dataset": first,
        "config_dataset": first,
        "db_dataset": (*databases, first)[0],
        "web_root": (*beginning.files, "/var/www/html")[0],
        **values,
    }
    text = _dated((Path(__file__).parent / REGISTER).read_text(encoding="utf-8"), today)
    for name, value in known.items():
        text = re.sub(rf"(?m)^  {name}: \S+", _line_of(name, value), text)
    if databases:
        return text
    missing = "BITTE EINTRAGEN: in drtool.yaml steht noch keine Datenbank"
    return text.replace(f"  db_dataset: {_scalar(first)}\n", f"  db_dataset: {_scalar(first)} # {missing}\n")


def _line_of(name: str, value: str) -> Callable[[re.Match[str]], str]:
    return lambda _: f"  {name}: {_scalar(value)}"  # not as a pattern, in which a backslash would mean something


def _dated(text: str, today: date) -> str:
    """With the days moved on by as much time as has passed since it was shipped."""
    passed = today - SHIPPED_ON
    return _DAY.sub(lambda found: (date.fromisoformat(found[0]) + passed).isoformat(), text)


def _names(beginning: Beginning) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The datasets of files and those of databases."""
    taken: set[str] = set()
    files = tuple(name for name, _ in dataset_names(beginning.files, "files", taken))
    return files, tuple(name for name, _ in dataset_names(beginning.databases, "db", taken))


def _copy_names(beginning: Beginning) -> tuple[str, ...]:
    names = ("disk", "second", *(f"disk-{number}" for number in range(3, 100)))
    return (*names[: len(beginning.directories)], *(["offsite"] if beginning.bucket else []))


def estate_text(beginning: Beginning, policies: Iterable[str]) -> str:
    """The estate as commented YAML. It is not checked: ``check_beginning`` does."""
    parts = (_head(beginning), _repositories(beginning), _datasets(beginning), _policies(policies), _procedures())
    return "\n".join("".join(f"{line}\n" for line in part) for part in parts)


def check_beginning(folder: Path, *, instead_of: Path) -> None:
    """Load a draft; its mistakes are told without places in a text that nobody has seen."""
    try:
        load_estate(folder / FILE_NAME)
    except DocumentInvalid as refused:
        place = re.compile(re.escape(str(folder / FILE_NAME)) + r":\d+:\d+: ")
        told = (place.sub("", problem).replace(str(folder), str(instead_of)) for problem in refused.problems)
        raise DocumentInvalid(tuple(told), hint="nothing was written; change the answers or options") from None


def fitting(text: str) -> str:
    """A name made of a-z, 0-9 and -, as near to the text as can be; may be empty."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:63].rstrip("-")


def dataset_names(paths: Iterable[str], ending: str, taken: set[str]) -> Iterator[tuple[str, str]]:
    """Each path with a name for its dataset that nothing else has: /var/www/shop is ``shop-files``."""
    for path in paths:
        stem = Path(path).stem if ending == "db" else Path(path).name
        base = fitting(stem).removesuffix(f"-{ending}") or "all"
        names = (f"{base}{number}-{ending}" for number in ("", *(f"-{count}" for count in range(2, 10_000))))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        yield name, path


def _head(beginning: Beginning) -> Iterator[str]:
    yield "# What drtool protects here, and how. After a change: drtool validate"
    yield "version: 1"
    yield f"site: {_scalar(beginning.site)}  # names this installation in snapshots and reports"
    yield f"locale: {_scalar(beginning.locale)}  # language of reports: de or en"


def _repositories(beginning: Beginning) -> Iterator[str]:
    yield "# Where backups go. All copies of a repository hold the same; drtool writes to the first that is healthy."
    yield "repositories:"
    yield "  main:"
    yield "    # Without this password nobody can restore. Keep it somewhere else too."
    yield "    password:"
    yield f"      file: {PASSWORD}"
    yield "    copies:"
    for name, directory in zip(_copy_names(beginning), beginning.directories, strict=False):
        yield from _directory(name, directory, first=name == "disk")
    if beginning.bucket:
        yield from _bucket(beginning.bucket, first=not beginning.directories)


def _directory(name: str, directory: str, *, first: bool) -> Iterator[str]:
    if first:
        yield "      # On a disk of this machine: quick to write and to restore from."
    else:
        yield "      # On another disk; it counts only if no disk is shared with the data or another copy."
    yield f"      {name}:"
    yield f"        directory: {_scalar(directory)}"
    if not first:
        yield f"        keep_removed: {_REMOVED_KEPT}  # how long it keeps what prune has removed elsewhere"


def _bucket(bucket: Bucket, *, first: bool) -> Iterator[str]:
    yield "      # In S3, away from this machine. The bucket must exist."
    yield "      offsite:"
    yield "        s3:"
    for key in ("endpoint", "bucket", "prefix", "region", "ca"):
        yield from _line("          ", key, getattr(bucket, key))
    if bucket.credentials or bucket.profile:
        yield "        credentials:"
        yield from _line("          ", "file", bucket.credentials)
        yield from _line("          ", "profile", bucket.profile)
    yield from _line("        ", "provider", bucket.provider)
    if not first:
        yield f"        keep_removed: {_REMOVED_KEPT}  # how long it keeps what prune has removed elsewhere"


def _datasets(beginning: Beginning) -> Iterator[str]:
    yield "# What is backed up. rpo: how much of the newest work may be lost; rto: how long a restore may take;"
    yield "# retention: what `drtool prune` keeps (the last so many, then one a day, a week, a month)."
    yield "datasets:"
    taken: set[str] = set()
    for name, path in dataset_names(beginning.files, "files", taken):
        yield f"  {name}:"
        yield "    repository: main"
        yield from _files(path, beginning.directories)
        yield from _objectives(beginning)
    for name, path in dataset_names(beginning.databases, "db", taken):
        yield f"  {name}:"
        yield "    repository: main"
        yield "    sqlite:  # copied while it is in use"
        yield f"      path: {_scalar(path)}"
        yield from _objectives(beginning)


def _files(path: str, directories: Iterable[str]) -> Iterator[str]:
    yield "    files:"
    yield "      paths:"
    yield f"        - {_scalar(path)}"
    inside = [pattern for directory in directories if (pattern := _pattern_inside(directory, path))]
    if inside:
        yield "      exclude:  # a copy must not hold itself"
        yield from (f"        - {_scalar(pattern)}" for pattern in inside)


def _pattern_inside(directory: str, path: str) -> str | None:
    """A pattern for exactly this directory, if it lies below the path."""
    real, real_path = Path(os.path.realpath(directory)), Path(os.path.realpath(path))
    if real == real_path or not real.is_relative_to(real_path):
        return None
    return re.sub(r"([*?[])", r"[\1]", str(Path(path) / real.relative_to(real_path)))


def _objectives(beginning: Beginning) -> Iterator[str]:
    yield f"    rpo: {_scalar(beginning.rpo)}"
    yield f"    rto: {_scalar(beginning.rto)}"
    yield f"    retention: {_KEPT}"


def _policies(names: Iterable[str]) -> Iterator[str]:
    known = tuple(names)
    judged = [name for name in known if name in JUDGED_BY] or known
    yield "# By what the estate is judged: see `drtool status`."
    yield "policies:"
    yield from (f"  - {_scalar(f'{POLICIES}/{name}.yaml')}" for name in judged)
    yield from (f"  # - {POLICIES}/{name}.yaml" for name in known if name not in judged)


def _procedures() -> Iterator[str]:
    yield "# What to do in an emergency, and what that leans on: people, contacts, this site's values. Fill in both."
    yield f"runbooks: {RUNBOOKS}"
    yield f"register: {REGISTER}"


def _line(indent: str, key: str, value: str | None) -> Iterator[str]:
    if value:
        yield f"{indent}{key}: {_scalar(value)}"


def _scalar(text: str) -> str:
    """The text as one YAML scalar on one line: plain where no version of YAML reads it as something else."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{text!r} is not UTF-8 text, so no document can hold it", hint="name a folder above it"
        ) from None
    if _PLAIN.match(text) and yaml.safe_dump(text, width=10_000).startswith(text):
        return text
    return yaml.safe_dump(text, default_style='"', width=10**9, allow_unicode=True).rstrip("\n")
