"""The error tree: each class carries its exit code (SPEC.md section 4).

An error means "cannot go on". What is merely bad news (an incomplete backup, a copy that
lags) is a value, not an error. Messages are lowercase, name the thing and end without a full
stop; ``hint`` is the next act, best a command to type.
"""

from __future__ import annotations


class DrtoolError(Exception):
    """Something that ends a command: a message, the next act, and an exit code."""

    code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DrtoolError):
    """The command line asks for something that does not exist or does not fit."""

    code = 2


class NoSuchAnswer(UsageError):
    """What was said beforehand is no answer to what is asked: the command ends, and the run waits as before."""


class NoRepository(DrtoolError):
    """No copy holds the repository: it was never initialised."""

    code = 10


class Locked(DrtoolError):
    """Another run holds the repository."""

    code = 11


class WrongPassword(DrtoolError):
    """The repository does not open with the configured password."""

    code = 12


class DocumentInvalid(DrtoolError):
    """One or more documents are refused; ``problems`` lists every mistake."""

    code = 20

    def __init__(self, problems: tuple[str, ...], *, hint: str = "") -> None:
        count = len(problems)
        super().__init__(f"{count} mistake{'s' if count != 1 else ''} in the documents", hint=hint)
        self.problems = problems


class ProgramMissing(DrtoolError):
    """restic or another program is missing or too old."""

    code = 22


class NoSnapshot(DrtoolError):
    """No snapshot fits what was asked."""

    code = 23


class CopyTrouble(DrtoolError):
    """One copy cannot be used now; ``copy`` names it, so that the run can go on with the others."""

    def __init__(self, message: str, *, copy: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.copy = copy


class CopyAbsent(CopyTrouble):
    """The place of a copy holds no marker: a disk that is not mounted, or a copy never initialised."""

    code = 24


class CopyUnreachable(CopyTrouble):
    """The copy did not answer in time; trying again later can help."""


class CopyRefused(CopyTrouble):
    """The copy answered and refused (key, permission, missing bucket); trying again cannot help."""


class MarkerDamaged(CopyRefused):
    """What lies at the place of the marker is none."""


class CopyFull(CopyRefused):
    """The medium of the copy has no room left."""


class ObjectMissing(DrtoolError):
    """A copy does not hold the object that was asked for."""


class ObjectAltered(DrtoolError):
    """The bytes of an object do not match its name; they were not passed on."""


class ResticFailed(DrtoolError):
    """restic ended with an error that has no class of its own."""


class SourceFailed(DrtoolError):
    """A dataset could not be read: missing path, failed command, broken database."""


class DatabaseFailed(DrtoolError):
    """A database's server cannot be reached, or refused what it was asked."""


class DatabaseRefused(DatabaseFailed):
    """The server answers, and does not let this account do so, or does not understand the query."""


class HostUnreachable(DrtoolError):
    """A host of the register does not answer."""


class Interrupted(DrtoolError):
    """A signal ended the command."""

    code = 130
