"""From figures to a table: ratios round by round, their median and spread, and the target beside them."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from measures import Figures
from places import PLAIN, PYTHON, RESTIC
from programs import SERVER, Took


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One target: a value for each round, and what it may be at most."""

    what: str
    values: Sequence[float]
    limit: float
    unit: str = ""

    @property
    def kept(self) -> bool:
        return median(self.values) <= self.limit

    def line(self) -> str:
        spread = f"{min(self.values):.2f}–{max(self.values):.2f}"
        verdict = "kept" if self.kept else "**missed**"
        number, limit = f"**{median(self.values):.2f}**{self.unit}", f"≤ {self.limit:g}{self.unit}"
        return f"| {self.what} | {number} | {spread} | {len(self.values)} | {limit} | {verdict} |"


def rows(figures: Figures) -> list[Row]:
    """The targets of which there are figures."""
    made = [make(figures) for needed, make in TARGETS.items() if all(name in figures for name in needed)]
    return [row for group in made for row in group] + _memory(figures)


def beside(figures: Figures) -> list[Row]:
    """What others take for the same, as ratios of the same kind; no targets."""
    first, s3, copy = (figures.get(f"first: {name}") for name in ("restic", "restic to S3", "restic copy"))
    found = []
    if first and s3 and copy:
        twice = [a + b for a, b in zip(first, s3, strict=True)]
        copied = [a + b for a, b in zip(first, copy, strict=True)]
        found += [("First backup: restic twice (local, then S3)", twice, first)]
        found += [("First backup: restic, then `restic copy` to S3", copied, first)]
    if (warm := figures.get("first, in memory: drtool")) and (plain := figures.get("first, in memory: restic")):
        found += [("First backup: drtool, all data in the page cache, against restic likewise", warm, plain)]
    if (ours := figures.get("restore: drtool")) and (bare := figures.get("restore: restic, not verified")):
        found += [("Restore, verified: drtool, against `restic restore` without `--verify`", ours, bare)]
    if (night := figures.get("unchanged: restic")) and (more := figures.get("unchanged: restic to S3")):
        both = [a + b for a, b in zip(night, more, strict=True)]
        found += [("Unchanged night: restic twice (local, then S3)", both, night)]
    return [Row(what=what, values=_ratios(ours, plain, _seconds), limit=0) for what, ours, plain in found]


def markdown(figures: Figures, data: str, source: Path) -> str:
    lines = [
        "# Measured",
        "",
        *_machine(data, source),
        "",
        "| measure | median | min–max | rounds | target | |",
        "|---|---|---|---|---|---|",
        *(row.line() for row in rows(figures)),
        "",
    ]
    if others := beside(figures):
        lines += [
            "Beside it, as ratios of the same kind; backups against plain `restic backup` into one local repository:",
            "",
        ]
        lines += ["| way | median | min–max |", "|---|---|---|"]
        lines += [f"| {o.what} | {median(o.values):.2f} | {min(o.values):.2f}–{max(o.values):.2f} |" for o in others]
        lines += [""]
    lines += ["| run | seconds | min–max | CPU seconds | of the S3 server | rounds |", "|---|---|---|---|---|---|"]
    lines += [_run(name, took) for name, took in figures.items()]
    return "\n".join(lines) + "\n"


def _first(figures: Figures) -> list[Row]:
    plain, ours = figures["first: restic"], figures["first: drtool"]
    return [
        Row(
            what="First backup into two copies, read from disk, time against plain restic into one",
            values=_ratios(ours, plain, _seconds),
            limit=1.15,
        )
    ]


def _cpu(figures: Figures) -> list[Row]:
    """The second copy's CPU: what drtool and all its children took more than plain restic."""
    columns = (figures[f"first: {name}"] for name in ("drtool", "restic", "restic copy"))
    values = [(ours.cpu - plain.cpu) / copy.cpu for ours, plain, copy in zip(*columns, strict=True)]
    return [Row(what="CPU for the second copy against `restic copy`", values=values, limit=0.25)]


def _unchanged(figures: Figures) -> list[Row]:
    """Half a second is granted, so the ratio is made of what is left of drtool's time after it."""
    plain, ours = figures["unchanged: restic"], figures["unchanged: drtool"]
    values = [(one.seconds - 0.5) / other.seconds for one, other in zip(ours, plain, strict=True)]
    return [
        Row(what="Unchanged night into two copies, time less 0.5 s against plain restic", values=values, limit=1.25)
    ]


def _start(figures: Figures) -> list[Row]:
    values = _ratios(figures["start: drtool"], figures["start: click"], _seconds)
    return [Row(what="`drtool --version` against `python -c 'import click'`", values=values, limit=1.5)]


def _against(what: str, ours: str, plain: str, limit: float) -> Callable[[Figures], list[Row]]:
    def make(figures: Figures) -> list[Row]:
        return [Row(what=what, values=_ratios(figures[ours], figures[plain], _seconds), limit=limit)]

    return make


def _healing(figures: Figures) -> list[Row]:
    columns = (figures[f"heal: {name}"] for name in ("drtool", "listing", "rclone brings 1 %"))
    values = [ours.seconds / (listing.seconds + fetch.seconds) for ours, listing, fetch in zip(*columns, strict=True)]
    return [Row(what="`heal` of 1 % lost objects against listing both copies and bringing that 1 %", values=values,
                limit=1.5)]  # fmt: skip


TARGETS: dict[tuple[str, ...], Callable[[Figures], list[Row]]] = {
    ("first: restic", "first: drtool"): _first,
    ("unchanged: restic", "unchanged: drtool"): _unchanged,
    ("first: restic", "first: drtool", "first: restic copy"): _cpu,
    ("start: click", "start: drtool"): _start,
    ("restore: restic, verified", "restore: drtool"): _against(
        "Restore from the healthy directory against `restic restore --verify`",
        "restore: drtool",
        "restore: restic, verified",
        1.05,
    ),
    ("union: drtool, healthy", "union: drtool, damaged"): _against(
        "Restore where no copy is whole, from all together, against an undamaged one",
        "union: drtool, damaged",
        "union: drtool, healthy",
        1.3,
    ),
    ("striped: one alone", "striped: both"): _against(
        "Restore from two limited buckets at once against one of them (1.6 times as fast)",
        "striped: both",
        "striped: one alone",
        round(1 / 1.6, 3),
    ),
    ("verify: sha256sum", "verify: drtool"): _against(
        "Reading and hashing all of a directory (L2) against `sha256sum` on as many cores",
        "verify: drtool",
        "verify: sha256sum",
        1.2,
    ),
    ("replicate: rclone", "replicate: drtool"): _against(
        "Filling an empty bucket against `rclone copy` with as many transfers",
        "replicate: drtool",
        "replicate: rclone",
        1.0,
    ),
    ("heal: drtool", "heal: listing"): _healing,
}


def _memory(figures: Figures) -> list[Row]:
    """One row for each number of files, and the larger against the smaller."""
    peaks: dict[str, float] = {}
    for name, took in figures.items():
        if name.startswith("memory: "):
            files = name.removeprefix("memory: ").partition(" ")[0]
            peaks[files] = max([peaks.get(files, 0.0), *(one.memory * 1024 / 1e6 for one in took)])
    found = [
        Row(what=f"Peak memory of drtool itself, {int(files):,} files", values=[peak], limit=120, unit=" MB")
        for files, peak in peaks.items()
    ]
    if len(peaks) == 2:
        few, many = peaks.values()
        found += [Row(what="Peak memory, many files against few; a tenth is noise", values=[many / few], limit=1.1)]
    return found


def _ratios(ours: Sequence[Took], plain: Sequence[Took], of: Callable[[Took], float]) -> list[float]:
    return [of(one) / of(other) for one, other in zip(ours, plain, strict=True)]


def _seconds(took: Took) -> float:
    return took.seconds


def _run(name: str, took: Sequence[Took]) -> str:
    seconds = [one.seconds for one in took]
    cpu, served = (median(one.cpu for one in took), median(one.server_cpu for one in took))
    spread = f"{min(seconds):.3g}–{max(seconds):.3g}"
    return f"| {name} | {median(seconds):.3g} | {spread} | {cpu:.3g} | {served:.2f} | {len(took)} |"


def _machine(data: str, source: Path) -> list[str]:
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu.partition(':')[2].strip()}, {os.cpu_count()} cores, {memory:.0f} GB,"
        f" Linux {platform.release()}, Python {platform.python_version()}.",
        f"{_says(RESTIC, 'version')}; {_says(PYTHON, '-m', 'drtool', '--version', source=source)};"
        f" S3 by `rclone serve s3 {' '.join(word or repr(word) for word in SERVER)}` on the same cores,"
        " its objects in memory where there is room: copies lie on different media.",
        f"Data: {data}, read from disk unless said otherwise. Rounds are interleaved, ratios taken round by round.",
    ]


def _says(*argv: str, source: Path | None = None) -> str:
    env = PLAIN | ({"PYTHONPATH": str(source)} if source else {})
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.splitlines()[0]
