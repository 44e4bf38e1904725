"""Runs a dataset's command for restic: ``python -m drtool.adapters.producer REPORT LIMIT COMMAND…``.

restic's ``--stdin-from-command`` saves no snapshot when the command fails, but an empty one when
it prints nothing and says it went well. This program stands between: no output is a failure, a time limit
holds, and the command gets a clean environment and none of restic's open files. What went wrong
is written to REPORT as JSON.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
from pathlib import Path

from drtool.adapters import process


def main() -> int:
    report, limit, *argv = sys.argv[1:]
    user = pwd.getpwuid(os.getuid())
    env = {
        "PATH": process.SAFE_PATH,
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "LC_ALL": "C.UTF-8",
    }
    command = process.Command(argv=argv, env=env, secrets={})
    ended, size = process.pour(command, sys.stdout.fileno(), limit=float(limit) or None)
    if ended.code == 0 and size and not ended.stopped:
        return 0
    why = {"code": ended.code, "bytes": size, "stopped": ended.stopped, "last": ended.errors[-1:]}
    Path(report).write_text(json.dumps(why))
    return 1


if __name__ == "__main__":
    sys.exit(main())
