"""What is measured of restoring, verifying, replicating and healing."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import data
from measures import Bench, mixed
from places import Place
from programs import s3_server

LOST, ALTERED, ELSEWHERE = 5, 5, 10  # packs gone from and altered in the directory, and others gone from the bucket
SLOW = 12  # MiB a second that each of two limited servers gives: slow enough that only that counts
SOME = 24  # files of as many bytes as a pack that are restored through them
TRANSFERS = 4  # as many as drtool's own


def restore(bench: Bench) -> None:
    """Everything from the healthy directory. drtool reads back what it wrote; restic does when it is asked to."""
    with _filled(bench, "restore") as place:
        for number in range(bench.size.rounds):
            bench.say(f"restore, round {number + 1} of {bench.size.rounds}")
            ways = [
                ("restic, verified", lambda: place.restic_restore("--verify")),
                ("drtool", lambda: place.drtool_restore()),
            ]
            for way, run_it in ways if number % 2 == 0 else reversed(ways):
                bench.note(f"restore: {way}", run_it())
            bench.note("restore: restic, not verified", place.restic_restore())


def union(bench: Bench) -> None:
    """Where no copy alone is whole: ten packs of the directory are damaged, ten others gone from the bucket."""
    with _filled(bench, "union") as place:
        for number in range(bench.size.rounds):
            bench.say(f"restore from all copies together, round {number + 1} of {bench.size.rounds}")
            bench.note("union: drtool, healthy", place.drtool_restore())
            with _damaged(place):
                bench.note("union: drtool, damaged", place.drtool_restore())


def striped(bench: Bench) -> None:
    """Two buckets behind lines of the same rate, both together and one alone."""
    limit = ("--bwlimit", f"{SLOW}M")
    folder = bench.scratch / "striped-servers"
    with s3_server(folder / "one", *limit) as one, s3_server(folder / "two", *limit) as two:
        some = bench.scratch / "some"
        data.dense(some, files=SOME, each=16 << 20)
        place = Place(folder=bench.scratch / "striped", data=some, server=one, source=bench.source)
        place.make_of_two_buckets(one, two)
        for number in range(min(3, bench.size.rounds)):
            bench.say(f"striped restore, round {number + 1}")
            bench.note("striped: one alone", place.drtool_restore("--from", "one"))
            bench.note("striped: both", place.drtool_restore())
        shutil.rmtree(place.folder)


def verify(bench: Bench) -> None:
    """Every object of the directory read and hashed, against sha256sum on as many processors."""
    with _filled(bench, "verify") as place:
        for _ in range(bench.size.rounds):
            bench.note("verify: sha256sum", place.sha256sum())
            bench.note("verify: drtool", place.drtool_verify())


def replicate(bench: Bench) -> None:
    """A bucket filled from the directory, against rclone with the same number of transfers."""
    with _filled(bench, "replicate") as place:
        for number in range(bench.size.rounds):
            ways = [("rclone", lambda: place.rclone_copy(TRANSFERS)), ("drtool", place.drtool_fill)]
            for way, run_it in ways if number % 2 == 0 else reversed(ways):
                place.server.empty(f"{place.name}-offsite", f"{place.name}-rclone")
                bench.note(f"replicate: {way}", run_it())


def heal(bench: Bench) -> None:
    """One object in a hundred lost from the directory: listing the copies, and bringing that much."""
    with _filled(bench, "heal") as place:
        packs = place.packs()
        lost = random.Random(1).sample(packs, max(1, len(packs) // 100))
        for _ in range(bench.size.rounds):
            bench.note("heal: listing", place.drtool_list())
            bench.note("heal: rclone brings 1 %", place.rclone_fetch(lost))
            for pack in lost:
                pack.unlink()
            bench.note("heal: drtool", place.drtool_heal())


@contextmanager
def _filled(bench: Bench, name: str) -> Iterator[Place]:
    """Two copies that hold everything, and an equal repository for plain restic."""
    with bench.making(bench.place(name, mixed(bench))) as place:
        place.drtool()
        yield place


@contextmanager
def _damaged(place: Place) -> Iterator[None]:
    packs = sorted(place.packs(), key=lambda path: path.stat().st_size, reverse=True)[: LOST + ALTERED + ELSEWHERE]
    kept = place.folder / "kept"
    kept.mkdir()
    gone = packs[LOST + ALTERED :]
    for pack in packs[: LOST + ALTERED]:
        shutil.copy2(pack, kept / pack.name)
    for pack in packs[:LOST]:
        pack.unlink()
    for pack in packs[LOST : LOST + ALTERED]:
        pack.chmod(0o600)
        with pack.open("r+b") as file:
            file.seek(1000)
            file.write(b"altered")
    place.server.delete(*(f"{place.name}-offsite/{pack.relative_to(place.folder / 'disk')}" for pack in gone))
    try:
        yield
    finally:
        for pack in packs[: LOST + ALTERED]:
            pack.unlink(missing_ok=True)
            shutil.move(kept / pack.name, pack)
        kept.rmdir()
        for pack in gone:
            place.server.put(f"{place.name}-offsite/{pack.relative_to(place.folder / 'disk')}", pack.read_bytes())
        place.forget_state()
