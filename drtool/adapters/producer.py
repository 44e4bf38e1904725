"""Runs a dataset's command for restic: ``python -m drtool.adapters.producer REPORT LIMIT COMMAND…``.

restic's ``--stdin-from-command`` saves no snapshot when the command fails, but an empty one when
it prints nothing and says it went well. This program stands between: no output is a failure, a time limit
holds, and the command gets a clean environment and none of restic's open files. What went wrong
is written to REPORT as JSON. When restic is gone, the command is ended.
"""

from __future__ import annotations

import json
import math
import os
import pwd
import sys
import time
from pathlib import Path

from drtool.adapters import process


def main() -> int:
    report, limit, *argv = sys.argv[1:]
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # inherited: the run's lock and the password are restic's alone
    user = pwd.getpwuid(os.getuid())
    env = {
        "PATH": process.SAFE_PATH,
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "LC_ALL": "C.UTF-8",
    }
    command = process.Command(argv=argv, env=env, secrets={})
    restic, end = os.getppid(), time.monotonic() + (float(limit) or math.inf)
    ended, size = process.pour(
        command, process.writer(sys.stdout.fileno()), overdue=lambda: time.monotonic() > end or os.getppid() != restic
    )
    if ended.code == 0 and size and not ended.stopped:
        return 0
    why = {"code": ended.code, "bytes": size, "stopped": ended.stopped, "last": ended.errors[-1:]}
    Path(report).write_text(json.dumps(why))
    return 1


if __name__ == "__main__":
    sys.exit(main())
