"""Write the digests of the scripts into the shipped runbooks that pin them: ``python tools/digests.py``."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "runbooks"
_PINNED = re.compile(r"(?m)^(?P<before> +script: (?P<script>\S+)\n +sha256: )[0-9a-f]*$")


def pinned() -> dict[Path, str]:
    """Each runbook and the text it should have."""
    return {
        path: _PINNED.sub(lambda found: found["before"] + _digest(found["script"]), path.read_text(encoding="utf-8"))
        for path in sorted(FOLDER.glob("*.yaml"))
    }


def _digest(script: str) -> str:
    return hashlib.sha256((FOLDER / script).read_bytes()).hexdigest()


def main() -> None:
    """Write what has changed."""
    for path, text in pinned().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
