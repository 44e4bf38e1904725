"""A picture of a page, taken by a real browser that verifies the server's certificate."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0
PNG = b"\x89PNG\r\n\x1a\n"
SIZE = "1100,1600"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """``error`` is the browser's own word for what went wrong; ``picture`` is there only where nothing did."""

    title: str
    error: str
    picture: Path | None


def take(url: str, *, host: str, address: str, authority: Path, picture: Path) -> Shot:
    """The browser knows no other host and trusts no other authority than the given ones."""
    with tempfile.TemporaryDirectory(prefix="drtool-browser-") as folder:
        home = Path(folder)
        _trust(authority, home)
        picture.unlink(missing_ok=True)
        run = subprocess.run(
            [*_browser(home, host, address), f"--screenshot={picture}", "--dump-dom", url],
            env={"PATH": os.environ["PATH"], "HOME": folder},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    # Its exit code is 0 whatever happens to the page.
    error = re.search(r"net::ERR_[A-Z_]+", run.stderr)
    title = re.search(r"<title>(.*?)</title>", run.stdout)
    is_there = not error and picture.exists() and picture.read_bytes().startswith(PNG)
    return Shot(title=title[1] if title else "", error=error[0] if error else "", picture=picture if is_there else None)


def _trust(authority: Path, home: Path) -> None:
    store = home / ".pki/nssdb"
    store.mkdir(parents=True)
    for words in (("-N", "--empty-password"), ("-A", "-n", "authority", "-t", "C,,", "-i", str(authority))):
        subprocess.run(["certutil", *words, "-d", f"sql:{store}"], check=True, capture_output=True, timeout=PATIENCE)


def _browser(home: Path, host: str, address: str) -> list[str]:
    return [
        "chromium-headless-shell",
        "--no-sandbox",  # it refuses to work for root with one
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--hide-scrollbars",
        f"--window-size={SIZE}",
        f"--user-data-dir={home / 'profile'}",
        f"--host-resolver-rules=MAP {host} {address}, MAP * ~NOTFOUND",
    ]
