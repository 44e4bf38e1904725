"""What is measured. Each measure runs its programs in interleaved rounds and hands back its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import data
from places import PLAIN, PYTHON, Place
from programs import Server, Took, run

SMALL = 60_000_000  # bytes of all the small files together: 300 each where there are 200,000
Figures = dict[str, list[Took]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured how often."""

    bytes: int
    files: int
    rounds: int
    nights: int
    starts: int
    small: tuple[int, int]


FULL = Size(bytes=1_000_000_000, files=20_000, rounds=5, nights=7, starts=40, small=(1_000, 200_000))
QUICK = Size(bytes=200_000_000, files=4_000, rounds=3, nights=5, starts=20, small=(1_000, 20_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where and with what the measures work."""

    scratch: Path
    server: Server
    source: Path
    size: Size
    say: Callable[[str], None]
    figures: Figures = field(default_factory=dict)

    def place(self, name: str, folder: Path) -> Place:
        return Place(folder=self.scratch / name, data=folder, server=self.server, source=self.source)

    def note(self, way: str, took: Took) -> Took:
        self.figures.setdefault(way, []).append(took)
        self.say(f"  {way}: {took.seconds:.2f} s, CPU {took.cpu:.2f} s, server {took.server_cpu:.2f} s")
        return took

    @contextmanager
    def making(self, place: Place) -> Iterator[Place]:
        place.make()
        try:
            yield place
        finally:
            place.remove()


def first_backup(bench: Bench) -> None:
    """Everything new, into fresh repositories with fresh caches, the data read from the disk."""
    folder = mixed(bench)
    for number in range(bench.size.rounds):
        bench.say(f"first backup, round {number + 1} of {bench.size.rounds}")
        with bench.making(bench.place(f"first-{number}", folder)) as place:
            _both(bench, place, "first", number, lambda: data.forget(folder))
            data.forget(folder)
            bench.note("first: restic to S3", place.restic_s3())
            bench.note("first: restic copy", place.restic_copy())


def in_memory(bench: Bench) -> None:
    """The same with all data in the page cache: restic then saturates two cores."""
    folder = mixed(bench)
    for number in range(bench.size.rounds):
        bench.say(f"first backup with the data in memory, round {number + 1} of {bench.size.rounds}")
        with bench.making(bench.place(f"memory-{number}", folder)) as place:
            _both(bench, place, "first, in memory", number, lambda: data.read(folder))


def _both(bench: Bench, place: Place, name: str, number: int, before: Callable[[], object]) -> None:
    """Plain restic and drtool; every second round in the other order."""
    ways = [("restic", place.restic), ("drtool", place.drtool)]
    for way, run_it in ways if number % 2 == 0 else reversed(ways):
        before()
        bench.note(f"{name}: {way}", run_it())


def unchanged(bench: Bench) -> None:
    """The nightly run when nothing has changed."""
    with bench.making(bench.place("nightly", mixed(bench))) as place:
        place.restic(), place.drtool(), place.restic_s3()
        place.restic(), place.drtool(), place.restic_s3()
        bench.say("unchanged nights")
        for _ in range(bench.size.nights):
            bench.note("unchanged: restic", place.restic())
            bench.note("unchanged: drtool", place.drtool())
            bench.note("unchanged: restic to S3", place.restic_s3())


def start(bench: Bench) -> None:
    """How long it takes until drtool can do anything at all."""
    env = PLAIN | {"HOME": str(bench.scratch), "PYTHONPATH": str(bench.source)}
    bench.say("start-up")
    log = bench.scratch / "log"
    for _ in range(bench.size.starts):
        for way, words in (("click", ["-c", "import click"]), ("drtool", ["-m", "drtool", "--version"])):
            bench.figures.setdefault(f"start: {way}", []).append(run([PYTHON, *words], env, log))


def memory(bench: Bench) -> None:
    """The peak of drtool's own process, with few and with very many files of the same bytes together."""
    for files in bench.size.small:
        folder = bench.scratch / f"small-{files}"
        data.small(folder, files=files, size=SMALL)
        with bench.making(bench.place(f"memory-{files}", folder)) as place:
            for run_name in ("first", "unchanged"):
                took = place.drtool_watched()
                bench.figures.setdefault(f"memory: {files} files, {run_name}", []).append(took)
                bench.say(f"  {files} files, {run_name}: {took.memory / 1024:.1f} MB in {took.seconds:.1f} s")


def mixed(bench: Bench) -> Path:
    """The data, written once, and now in the page cache."""
    folder = bench.scratch / "data"
    if not folder.exists():
        bench.say("writing the data")
        data.mixed(folder, size=bench.size.bytes, files=bench.size.files)
    files, size = data.read(folder)
    bench.say(f"{files} files, {size / 1e6:.0f} MB, read once")
    return folder


MEASURES: dict[str, Callable[[Bench], None]] = {
    "start": start,
    "first": first_backup,
    "in-memory": in_memory,
    "unchanged": unchanged,
    "memory": memory,
}
