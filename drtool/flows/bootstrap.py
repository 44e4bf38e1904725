"""Bring back the estate's own documents from one copy, on a machine that has nothing yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drtool.core.model import ESTATE, Branch, Snapshot
from drtool.core.ports import Copy, Restic, Show
from drtool.documents.tree import read_tree
from drtool.errors import NoSnapshot, ResticFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The estate's documents as one snapshot holds them.

    ``files`` maps where each lay to where it lies now; ``estate`` is where the estate file lay. ``passwords`` are the
    files in which the estate expects the password of this copy's repository, as it names them.
    """

    snapshot: Snapshot
    repository: str
    estate: Path
    files: Mapping[Path, Path]
    passwords: tuple[Path, ...]

    def placed(self, path: Path, folder: Path) -> Path:
        """Where a file belongs if the estate's own folder is to be ``folder``, below which everything stays.

        What lay elsewhere goes to a folder ``elsewhere``: who could forge a snapshot must not write anywhere as root.
        """
        home = self.estate.parent
        return folder / (path.relative_to(home) if path.is_relative_to(home) else Path("elsewhere", *path.parts[1:]))


def fetch_documents(copy: Copy, restic: Restic, folder: Path, show: Show) -> Documents:
    """Restore the newest of them into ``folder``. Raises ``NoSnapshot`` where no run has stored any."""
    repository = copy.marker().repository
    show.phase(f"looking for the estate in {copy.location}")
    stored = restic.snapshots(copy, tag=f"dataset:{ESTATE}")
    if not stored:
        raise NoSnapshot(
            f"no run has stored its estate in {copy.location}", hint="drtool init, and name the copies by hand"
        )
    newest = stored[-1]
    done = restic.restore(copy, newest.id, Branch(target=folder), watch=show.progress)
    if not done.complete:
        raise ResticFailed(f"not every document came back: {done.reason}", hint="name another copy's location")
    strange = [path for path in newest.paths if not path.startswith("/") or ".." in Path(path).parts]
    if strange:
        raise NoSnapshot(
            f"snapshot {newest.id[:8]} holds an odd path: {strange[0]}", hint="name another copy's location"
        )
    files = {Path(path): folder / path.lstrip("/") for path in newest.paths}
    estate, data = _estate(files, newest)
    secret = ((data["repositories"].get(repository) or {}).get("password") or {}).get("file")
    return Documents(
        snapshot=newest,
        repository=repository,
        estate=estate,
        files=files,
        passwords=(estate.parent / secret,) if isinstance(secret, str) else (),
    )


def _estate(files: Mapping[Path, Path], snapshot: Snapshot) -> tuple[Path, Mapping[str, Any]]:
    """Which of the documents is the estate, and what it says."""
    for path, file in files.items():
        data = read_tree(file.read_bytes()).data
        if isinstance(data, dict) and isinstance(data.get("repositories"), dict):
            return path, data
    raise NoSnapshot(f"snapshot {snapshot.id[:8]} holds no estate file", hint="drtool init")
