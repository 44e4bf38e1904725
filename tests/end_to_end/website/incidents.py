"""What befalls a site. Each one acts on the site that it is given, and on nothing outside of its folder."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from tests.end_to_end.website.stack import Site

TABLE = "wp_posts"
PAGE = 16384  # bytes
HEADERS = 3  # pages of a table file that hold no rows
DEFACED = "<?php header('Content-Type: text/html'); echo '<title>HACKED</title><h1>HACKED</h1>'; exit;\n"
BACK_DOOR = "<?php http_response_code(404); exit; // harmless; a real one would run what it is sent\n"
RANSOM_NOTE = "This is an exercise: every file in this folder was encrypted, and nobody kept the key.\n"


def drop_table(site: Site) -> None:
    """Someone drops the table of posts. The front page goes on answering with 200."""
    site.query(f"DROP TABLE {TABLE}")


def corrupt_innodb(site: Site) -> None:
    """The disk returns nonsense for the rows of the posts. The server starts, and fails where it reads them."""
    site.mariadb.stop()
    file = site.data / site.database / f"{TABLE}.ibd"
    pages = file.stat().st_size // PAGE
    with file.open("r+b") as table:
        table.seek(HEADERS * PAGE)
        table.write(secrets.token_bytes((pages - HEADERS) * PAGE))
    site.mariadb.start()


def delete_web_root(site: Site) -> None:
    shutil.rmtree(site.web_root)


def deface(site: Site) -> None:
    """An intruder's front page, and a back door among the uploads. The changed file's times are as before."""
    index, door = site.web_root / "index.php", site.uploads / ".cache/session.php"
    before = index.stat()
    index.write_text(DEFACED)
    door.parent.mkdir()
    door.write_text(BACK_DOOR)
    for path in (index, door):
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def encrypt_uploads(site: Site) -> None:
    """Ransomware: each file is encrypted in place and renamed, under a key that is thrown away."""
    key = secrets.token_bytes(32)
    for path in list(_files(site.uploads)):
        encryptor = Cipher(AES(key), CTR(secrets.token_bytes(16))).encryptor()
        path.write_bytes(encryptor.update(path.read_bytes()))
        path.rename(path.with_name(f"{path.name}.locked"))
    (site.uploads / "README-RESTORE-FILES.txt").write_text(RANSOM_NOTE)


def lose_everything(site: Site) -> None:
    """The machine is gone: all daemons killed at once, and nothing left of files, settings and database."""
    site.kill()
    for path in site.root.iterdir():
        shutil.rmtree(path)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
