"""``drtool bootstrap``: begin on a bare machine."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from drtool.adapters import files, secrets
from drtool.adapters.files import NewFile
from drtool.cli.answer import answer
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_location
from drtool.core.evidence import stamp
from drtool.documents.loader import check_document
from drtool.flows.bootstrap import Documents, fetch_documents
from drtool.render.show import show_for

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@command("drtool bootstrap /mnt/disk/shop --password-file /root/main.password --to /etc/drtool")
@click.argument("location")
@click.option("--password-file", type=_FILE, required=True, help="The repository's password.")
@click.option("--credentials", type=_FILE, help="Keys of a bucket, in the AWS shared-credentials format.")
@click.option("--region", help="The bucket's region.")
@click.option("--ca", type=_FILE, help="A private CA's certificate, as a PEM file.")
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), default="/etc/drtool",
              show_default=True, help="The folder of the estate.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Write over documents that are there.")
def bootstrap(settings: Settings, location: str, password_file: Path, folder: Path, yes: bool, **keys: Any) -> int:
    """Bring back the estate that the runs have stored, so that `drtool restore` can follow.

    LOCATION is a copy's directory, or s3:https://ENDPOINT/BUCKET/PREFIX as `drtool copies list` shows it.
    """
    password = secrets.from_file(password_file)
    show = show_for(quiet=settings.quiet)
    with tempfile.TemporaryDirectory(prefix="drtool-") as private:
        scratch = Path(private)
        copy, restic = open_location(location, password, scratch, **keys)
        try:
            found = fetch_documents(copy, restic, scratch / "documents", show)
        finally:
            show.close()
        placed = _put(found, folder.absolute(), password, over=yes)
    estate = found.placed(found.estate, folder.absolute())
    missing = check_document(estate)
    following = shlex.join(["drtool", "--config", str(estate), "snapshots"])
    document = {
        "snapshot": found.snapshot.id,
        "time": stamp(found.snapshot.time),
        "repository": found.repository,
        "estate": str(estate),
        "files": [str(path) for path in placed],
        "missing": list(missing),
        "next": following,
    }
    lines = [f"the estate of {found.snapshot.time:%Y-%m-%d %H:%M} UTC is in {estate}"]
    lines += [f"still to be put there: {one}" for one in missing] or [f"next: {following}"]
    answer(settings, lambda: document, lambda words: words.say("\n".join(lines)), good=not missing)
    return 3 if missing else 0


def _put(found: Documents, folder: Path, password: bytes, *, over: bool) -> tuple[Path, ...]:
    """All documents, and the password where the estate looks for it and nothing is yet."""
    new: dict[Path, NewFile] = {}
    for path, file in found.files.items():
        new[found.placed(path, folder)] = NewFile(content=file.read_bytes(), mode=file.stat().st_mode & 0o777)
    new |= _passwords(found, folder, password)
    files.put(new, replace=over)
    return tuple(new)


def _passwords(found: Documents, folder: Path, password: bytes) -> Mapping[Path, NewFile]:
    places = [found.placed(path, folder) for path in found.passwords]
    return {place: NewFile(content=password + b"\n", mode=0o600) for place in places if not place.exists()}
