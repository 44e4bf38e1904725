"""drtool that is killed (kill -9) right before or right after the n-th event of its journal is on disk."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from drtool.adapters.journal import FileJournal
from drtool.cli import main
from drtool.core.model import Event

write = FileJournal._write
left = int(os.environ["DYING_AT"])


def dying(self: FileJournal, kind: str, at: datetime, body: Mapping[str, Any]) -> Event:
    global left
    left -= 1
    if left == 0 and os.environ["DYING"] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    event = write(self, kind, at, body)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return event


FileJournal._write = dying  # type: ignore[method-assign]
sys.argv[0] = "drtool"
main()
