"""Measure drtool side by side with plain restic, and write the table."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import bringing_back
from measures import FULL, QUICK, Bench
from measures import MEASURES as BACKING_UP
from programs import s3_server
from table import markdown

ROOM = 8 << 30  # bytes that the server must find
MEASURES = BACKING_UP | {
    measure.__name__: measure
    for measure in (
        bringing_back.restore,
        bringing_back.union,
        bringing_back.striped,
        bringing_back.verify,
        bringing_back.replicate,
        bringing_back.heal,
    )
}
HERE = Path(__file__).resolve().parent


def main() -> None:
    options = _options()
    size = QUICK if options.quick else FULL
    # Below /var/tmp, which is on a disk where /tmp may be memory.
    scratch = Path(tempfile.mkdtemp(prefix="drtool-bench-", dir=options.scratch))
    elsewhere = _other_medium(scratch)
    try:
        with s3_server(elsewhere / "server") as server:
            bench = Bench(scratch=scratch, server=server, source=options.source.resolve(), size=size, say=_say)
            for name in options.only or MEASURES:
                MEASURES[name](bench)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(elsewhere, ignore_errors=True)
    text = markdown(bench.figures, f"{size.bytes / 1e6:,.0f} MB mixed in {size.files:,} files", bench.source)
    raw = {way: [asdict(took) for took in figures] for way, figures in bench.figures.items()}
    sys.stdout.write(text)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.md").write_text(text)
    (options.output / "results.json").write_text(json.dumps(raw, indent=1) + "\n")


def _other_medium(scratch: Path) -> Path:
    """Where the server keeps its objects: in memory where there is enough, since copies lie on different media."""
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > ROOM
    return Path(tempfile.mkdtemp(prefix="drtool-bench-", dir=memory if roomy else scratch))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the data, for development")
    parser.add_argument("--only", action="append", choices=MEASURES, help="one measure; may be repeated")
    parser.add_argument("--source", type=Path, default=HERE.parent, help="the checkout to measure (this one)")
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp"), help="on a disk, with 10 GB free")  # noqa: S108
    parser.add_argument("--output", type=Path, default=HERE, help="where the results go")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
