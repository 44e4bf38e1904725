"""The field types of documents: names, durations, paths, endpoints, addresses, command lines."""

from __future__ import annotations

import ipaddress
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, WithJsonSchema

from drtool.documents import durations
from drtool.documents.part import Reading, found, mistake
from drtool.documents.secrecy import (
    KEEP_IT_IN_A_FILE,
    LITERAL,
    arguments_with_password,
    secret_file_complaint,
    url_holds_password,
)

NAME = r"^[a-z0-9][a-z0-9_-]*$"
SITE = r"^[a-z0-9][a-z0-9-]{0,62}$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
PLAIN_FILE = r"^[^/\x00-\x1f\x7f]*[^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]*$"
SHA256 = r"^[0-9a-f]{64}$"
BUCKET = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$"

PATTERNS = {
    NAME: "must be made of a-z, 0-9, - and _, and begin with a letter or a digit",
    SITE: "must be made of a-z, 0-9 and -, begin with a letter or a digit and have at most 63 characters",
    VARIABLE: "must be the name of an environment variable",
    PLAIN_FILE: "must be a plain file name without a slash",
    SHA256: "must be a SHA-256 in 64 small hexadecimal digits",
    BUCKET: "must be a bucket's name: letters, digits, ., - and _",
}


def _present_version(version: int) -> int:
    if version != 1:
        raise mistake("must be 1, the only version that this drtool reads")
    return version


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise mistake("must not hold a NUL character")
    return text


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise mistake("must be a duration with its unit, such as 15m, 24h or 90d")
    try:
        return durations.parse_duration(value)
    except ValueError as error:
        raise mistake(str(error)) from None


def _day(value: object) -> object:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise mistake("must be a day, such as 2026-11-24") from None


def _fresh(value: object) -> object:
    return value if value == "rpo" else _duration(value)


def resolve(written: str, folder: Path) -> Path:
    """The absolute path that a document in this folder means. Raises ``ValueError`` with what is wrong."""
    if not written or "\0" in written:
        raise ValueError("must be a path")
    try:
        return Path(os.path.abspath(folder / Path(written).expanduser()))
    except RuntimeError:
        raise ValueError("there is no such home folder to put for ~") from None


def _absolute(value: object, info: ValidationInfo) -> object:
    """Resolve against the document's folder; ``~`` is the home of who runs drtool."""
    if not isinstance(value, str):
        return value
    reading = info.context
    try:
        return resolve(value, reading.folder if isinstance(reading, Reading) else Path())
    except ValueError as error:
        raise mistake(str(error)) from None


def _kept_secret(path: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, Reading) and info.context.look:
        complaint = secret_file_complaint(path, user=os.geteuid())
        if complaint:
            raise mistake(complaint)
    return path


def _kept_account(path: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, Reading) and info.context.lacking and not os.path.lexists(path):
        return path
    return _kept_secret(path, info)


def _present(path: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, Reading) and info.context.look and not os.path.isfile(path):
        raise mistake("no such file")
    return path


def _command_line(argv: tuple[str, ...]) -> tuple[str, ...]:
    literal = mistake(f"{LITERAL}: {KEEP_IT_IN_A_FILE}")
    errors = [found(literal, index) for index in arguments_with_password(argv)]
    if errors:
        raise ValidationError.from_exception_data("argv", errors, hide_input=True)
    if not argv[0]:
        raise mistake("the first item must name a program")
    return argv


def _address(url: str) -> str:
    if url_holds_password(url):
        raise mistake(f"{LITERAL}: {KEEP_IT_IN_A_FILE}")
    if "://" not in url:
        raise mistake("must be an address with its scheme, such as mailto://…")
    return url


def _prefix(prefix: str) -> str:
    trimmed = prefix.strip("/")
    if not trimmed.isprintable() or any(part in ("", ".", "..") for part in trimmed.split("/") if trimmed):
        raise mistake("must be a plain key prefix such as shop/main")
    return trimmed


def _endpoint(url: str) -> str:
    """The endpoint in one spelling: lower case, no slash at the end, no default port."""
    if url_holds_password(url):
        raise mistake(f"{LITERAL}: {KEEP_IT_IN_A_FILE}")
    parts, port = _taken_apart(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.username is not None or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise mistake("must be a scheme, a host and a port only; bucket and prefix have their own keys")
    if parts.scheme == "http" and not _is_loopback(host):
        raise mistake("must be https://; plain http:// is for loopback addresses only")
    default = {"https": 443, "http": 80}[parts.scheme]
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in (None, default) else "")


def _taken_apart(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise mistake("not an address; write https://HOST or https://HOST:PORT") from None
    odd = any(sign.isspace() or not sign.isprintable() for sign in url)
    if odd or parts.scheme not in ("http", "https") or not (parts.hostname or "").strip("."):
        raise mistake("must be an address such as https://s3.example.net")
    return parts, port


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _no_repeats(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(items)) < len(items):
        raise mistake("holds the same entry twice")
    return items


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


_PATH_SCHEMA = WithJsonSchema({"type": "string", "minLength": 1})
_DURATION_SCHEMA = {"type": "string", "pattern": durations.PATTERN}

Version = Annotated[int, AfterValidator(_present_version), WithJsonSchema({"const": 1})]
Text = Annotated[str, Field(min_length=1), AfterValidator(_no_nul)]
Name = Annotated[str, Field(pattern=NAME)]
Site = Annotated[str, Field(pattern=SITE)]
VariableName = Annotated[str, Field(pattern=VARIABLE)]
PlainFileName = Annotated[str, Field(pattern=PLAIN_FILE)]
BucketName = Annotated[str, Field(pattern=BUCKET)]
Prefix = Annotated[str, AfterValidator(_prefix)]
Endpoint = Annotated[
    str, AfterValidator(_endpoint), WithJsonSchema({"type": "string", "pattern": "^https?://[^/?#@]+/?$"})
]
Address = Annotated[str, AfterValidator(_address)]
Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema(_DURATION_SCHEMA)]
Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
Sha256 = Annotated[str, Field(pattern=SHA256)]
Freshness = Annotated[
    timedelta | Literal["rpo"],
    BeforeValidator(_fresh),
    WithJsonSchema({"anyOf": [{"const": "rpo"}, _DURATION_SCHEMA]}),
]
FullPath = Annotated[Path, BeforeValidator(_absolute), _PATH_SCHEMA]
SecretFile = Annotated[Path, BeforeValidator(_absolute), AfterValidator(_kept_secret), _PATH_SCHEMA]
AccountFile = Annotated[Path, BeforeValidator(_absolute), AfterValidator(_kept_account), _PATH_SCHEMA]
PresentFile = Annotated[Path, BeforeValidator(_absolute), AfterValidator(_present), _PATH_SCHEMA]
CommandLine = Annotated[
    tuple[Annotated[str, AfterValidator(_no_nul)], ...], Field(min_length=1), AfterValidator(_command_line)
]
Paths = Annotated[tuple[FullPath, ...], Field(min_length=1), AfterValidator(_no_repeats)]
Addresses = Annotated[tuple[Address, ...], Field(min_length=1), AfterValidator(_no_repeats)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]
Difference = Literal["medium", "provider", "site"]
_DIFFERENCE = {"enum": list(get_args(Difference))}
Differences = Annotated[
    tuple[Difference, ...],
    BeforeValidator(_one_or_more),
    Field(min_length=1),
    AfterValidator(_no_repeats),
    WithJsonSchema({"anyOf": [_DIFFERENCE, {"type": "array", "items": _DIFFERENCE, "minItems": 1}]}),
]
