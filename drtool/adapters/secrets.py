"""Fetch a secret from where the estate says it lies. It is never kept longer than a call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from drtool.adapters import process
from drtool.errors import DrtoolError

LIMIT = 60.0  # seconds a password command may take


def from_file(path: Path) -> bytes:
    try:
        return _checked(path.read_bytes(), f"password file {path}")
    except OSError as error:
        raise DrtoolError(f"password file {path} cannot be read: {error.strerror}") from None


def from_environment(name: str, environ: Mapping[str, str]) -> bytes:
    if name not in environ:
        raise DrtoolError(f"environment variable {name}, which holds the password, is not set")
    return _checked(environ[name].encode(), f"environment variable {name}")


def from_credential(name: str, environ: Mapping[str, str]) -> bytes:
    """A systemd credential; the unit needs LoadCredential= or LoadCredentialEncrypted=."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        raise DrtoolError(
            f"credential {name} is only there in a systemd unit",
            hint="run it by `systemctl start`, or use {file: …}",
        )
    return from_file(Path(folder) / name)


def from_command(argv: Sequence[str]) -> bytes:
    """The stdout of a command."""
    env = {"PATH": process.SAFE_PATH, "HOME": os.path.expanduser("~"), "LC_ALL": "C.UTF-8"}
    ended, text = process.output(process.Command(argv=tuple(argv), env=env, secrets={}), limit=LIMIT)
    if ended.code:
        raise DrtoolError(f"password command {argv[0]} ended with exit code {ended.code}")
    return _checked(text.encode(), f"password command {argv[0]}")


def _checked(content: bytes, name: str) -> bytes:
    """restic trims white space at both ends of a password file; so does drtool."""
    password = content.strip()
    if not password:
        raise DrtoolError(f"{name} is empty")
    return password
