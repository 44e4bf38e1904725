"""Write files so that others see each of them complete or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from drtool.errors import DrtoolError


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """What a file shall hold, and who may read it."""

    content: bytes
    mode: int = 0o644


class AlreadyThere(DrtoolError):
    """A file that must not be overwritten exists."""


def put(files: Mapping[Path, NewFile], *, replace: bool, folder_mode: int = 0o755) -> None:
    """Write all files, in their order, making folders where they lack.

    Everything that can fail for want of room or permission happens before the first file appears. With
    ``replace`` each file is swapped in one act; without, an existing one raises ``AlreadyThere``, whoever
    made it in the meantime, and what was put before it goes again.
    """
    with _undone_on_error() as made:
        staged = {path: _staged(path, files[path], folder_mode, made) for path in files}
        for path, draft in staged.items():
            with _told(path):
                if replace:
                    os.replace(draft, path)
                else:
                    os.link(draft, path)
                    made.append(path)
        for folder in dict.fromkeys(path.parent for path in files):
            _sync(folder)
    for draft in staged.values():
        draft.unlink(missing_ok=True)


def link(path: Path, target: str) -> None:
    """Make a symbolic link, or let an existing one lead to the target, in one act."""
    with _undone_on_error() as made, _told(path):
        if path.is_symlink() and os.readlink(path) == target:
            return
        _make_folder(path.parent, 0o755, made)
        draft = Path(tempfile.mktemp(prefix=".drtool-", dir=path.parent))  # noqa: S306 - symlink() takes no used name
        draft.symlink_to(target)
        made.append(draft)
        os.replace(draft, path)
        _sync(path.parent)


def remove(path: Path) -> bool:
    """Remove a file or a link; whether it was there."""
    with _told(path, "removed"):
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
        _sync(path.parent)
    return True


def read(path: Path) -> bytes | None:
    """What a file holds; ``None`` where there is none."""
    with _told(path, "read"):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None


def _staged(path: Path, file: NewFile, folder_mode: int, made: list[Path]) -> Path:
    """A hidden file beside the path with all its bytes on disk; neither cron nor systemd reads such names."""
    with _told(path):
        _make_folder(path.parent, folder_mode, made)
        descriptor, name = tempfile.mkstemp(prefix=".drtool-", dir=path.parent)
        made.append(Path(name))
        with open(descriptor, "wb") as draft:
            os.fchmod(draft.fileno(), file.mode)
            draft.write(file.content)
            draft.flush()
            os.fsync(draft.fileno())
    return Path(name)


def _make_folder(folder: Path, mode: int, made: list[Path]) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent, mode, made)
    folder.mkdir(exist_ok=True)
    made.append(folder)
    folder.chmod(mode)  # whatever the umask says


@contextmanager
def _undone_on_error() -> Iterator[list[Path]]:
    """A list of what was made; left by an exception, all of it is removed, the newest first."""
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise


@contextmanager
def _told(path: Path, act: str = "written") -> Iterator[None]:
    """The system's refusal in our words."""
    try:
        yield
    except FileExistsError:
        raise AlreadyThere(f"{path} is there already, and is not overwritten") from None
    except OSError as error:
        by_permission = error.errno in (errno.EACCES, errno.EPERM)
        reason = (error.strerror or "unknown reason").lower()
        raise DrtoolError(
            f"{path} cannot be {act}: {reason}",
            hint="run the same command as root: sudo drtool …" if by_permission and os.geteuid() else "",
        ) from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
