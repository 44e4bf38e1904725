"""What the record of evidence promises (``core.ports.Evidence``), tried on the real file, also a torn one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drtool.adapters.evidence_store import EvidenceStore
from drtool.adapters.state import SystemClock
from drtool.core.model import ClockSeen, LockMode, Pruning, Reading, Snapshot, UploadVerification, Verified
from drtool.errors import DrtoolError

ROOT = Path(__file__).parents[2]
MOMENT = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
EVENTS = 60  # more than one page of the file


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EvidenceStore]:
    found = EvidenceStore(tmp_path / "state" / "evidence.db", SystemClock())
    yield found
    found.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record with events and working memory; every event waits for the disk, so it is written once."""
    with closing(EvidenceStore(tmp_path_factory.mktemp("written") / "evidence.db", SystemClock())) as store:
        for number in range(EVENTS):
            store.append(f"run{number % 3}", "act", {"number": number, "text": "x" * 200})
        store.record("main", "disk", {f"data/{number:064x}": number for number in range(200)})
    return store.path


@pytest.fixture
def full(store: EvidenceStore, written: Path) -> EvidenceStore:
    """A copy of it that is not open, so that the file can be meddled with."""
    store.path.parent.mkdir()
    shutil.copy(written, store.path)
    return store


def meddle(store: EvidenceStore, *statements: str) -> None:
    """Edit the file as somebody would who has the rights to."""
    with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        for statement in ("DROP TRIGGER event_no_update", "DROP TRIGGER event_no_delete", *statements):
            db.execute(statement)


def tear(store: EvidenceStore, change: Callable[[bytes], bytes]) -> None:
    store.path.write_bytes(change(store.path.read_bytes()))


# Events


def test_events_come_back_in_order(full: EvidenceStore) -> None:
    assert [event.body["number"] for event in full.events()] == list(range(EVENTS))


def test_events_of_one_run_can_be_asked_for(full: EvidenceStore) -> None:
    assert {event.run for event in full.events(run="run1")} == {"run1"}


def test_events_of_one_kind_can_be_asked_for(full: EvidenceStore) -> None:
    full.append("run1", "other", {})
    assert [event.kind for event in full.events(kind="other")] == ["other"]


def test_a_written_chain_verifies(full: EvidenceStore) -> None:
    verdict = full.verify()
    assert (verdict.ok, verdict.events) == (True, EVENTS)


def test_a_new_record_verifies(store: EvidenceStore) -> None:
    assert (store.verify().ok, store.verify().events) == (True, 0)


def test_a_chain_goes_on_after_it_was_closed(full: EvidenceStore) -> None:
    assert full.append("run", "act", {}).seq == EVENTS + 1
    assert full.verify().ok


def test_only_the_owner_may_read_the_record(store: EvidenceStore) -> None:
    store.append("run", "act", {})
    assert store.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("statement", ["UPDATE event SET body = '{}'", "DELETE FROM event WHERE seq = 1"])
def test_a_slip_cannot_change_events(full: EvidenceStore, statement: str) -> None:
    with closing(sqlite3.connect(full.path)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(statement)


# Meddling


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE event SET body = replace(body, '\"number\":6,', '\"number\":7,') WHERE seq = 7", 7),
        ("UPDATE event SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 7", 7),
        ("UPDATE event SET run = 'other' WHERE seq = 7", 7),
        ("UPDATE event SET kind = 'other' WHERE seq = 7", 7),
        ("UPDATE event SET hash = previous WHERE seq = 7", 7),
        ("UPDATE event SET body = 'no json' WHERE seq = 7", 7),
        ("UPDATE event SET body = '[1]' WHERE seq = 7", 7),
        ("UPDATE event SET at = 'yesterday' WHERE seq = 7", 7),
        ("DELETE FROM event WHERE seq = 7", 7),
        ("DELETE FROM event WHERE seq = 1", 1),
    ],
)
def test_a_meddled_event_is_named(full: EvidenceStore, statement: str, first_bad: int) -> None:
    meddle(full, statement)
    verdict = full.verify()
    assert (verdict.ok, verdict.first_bad) == (False, first_bad)


def test_exchanged_events_are_named(full: EvidenceStore) -> None:
    meddle(
        full,
        "UPDATE event SET seq = 1000 WHERE seq = 7",
        "UPDATE event SET seq = 7 WHERE seq = 8",
        "UPDATE event SET seq = 8 WHERE seq = 1000",
    )
    assert full.verify().first_bad == 7


def test_an_event_slipped_in_between_is_named(full: EvidenceStore) -> None:
    meddle(
        full,
        "UPDATE event SET seq = -seq - 1 WHERE seq >= 7",
        "UPDATE event SET seq = -seq WHERE seq < 0",
        "INSERT INTO event SELECT 7, at, run, kind, body, previous, hash FROM event WHERE seq = 6",
    )
    assert full.verify().first_bad == 7


@pytest.mark.parametrize("statement", ["UPDATE event SET body = 'no json'", "UPDATE event SET at = 'yesterday'"])
def test_after_a_last_event_that_cannot_be_read_a_new_chain_begins(full: EvidenceStore, statement: str) -> None:
    meddle(full, f"{statement} WHERE seq = {EVENTS}")
    full.append("run", "act", {})
    assert [event.kind for event in full.events()] == ["evidence.set_aside", "act"]


# A torn file

TEARS: dict[str, Callable[[bytes], bytes]] = {
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut after the head": lambda content: content[:100],
    "no database": lambda content: b"lost and found, nothing of worth" * 400,
    "zeroes in front": lambda content: bytes(4096) + content[4096:],
    "zeroes behind the head": lambda content: content[:4096] + bytes(len(content) - 4096),
}


@pytest.mark.parametrize("tearing", TEARS.values(), ids=TEARS.keys())
def test_a_torn_file_is_a_verdict_that_names_an_event(full: EvidenceStore, tearing: Callable[[bytes], bytes]) -> None:
    tear(full, tearing)
    verdict = full.verify()
    assert not verdict.ok
    assert 1 <= (verdict.first_bad or 0) <= EVENTS + 1


def test_a_flipped_bit_in_an_event_is_named(full: EvidenceStore) -> None:
    tear(full, lambda content: content.replace(b'{"number":6,', b'{"number":4,'))
    assert full.verify().first_bad == 7


@pytest.mark.parametrize("tearing", TEARS.values(), ids=TEARS.keys())
def test_after_a_torn_file_a_new_chain_begins_that_names_it(
    full: EvidenceStore, tearing: Callable[[bytes], bytes]
) -> None:
    tear(full, tearing)
    torn = full.path.read_bytes()
    full.recorded("main")
    full.append("run", "act", {"number": 1})
    first = next(full.events())
    assert first.kind == "evidence.set_aside"
    assert (full.path.parent / first.body["file"]).read_bytes() == torn
    assert full.verify().ok


@pytest.mark.parametrize("tearing", TEARS.values(), ids=TEARS.keys())
def test_a_torn_working_memory_is_an_empty_one(full: EvidenceStore, tearing: Callable[[bytes], bytes]) -> None:
    tear(full, tearing)
    assert full.recorded("main") == {}
    full.record("main", "disk", {"config": 1})
    assert full.recorded("main") == {"disk": {"config": 1}}


def test_a_journal_beside_a_torn_file_is_set_aside_with_it(full: EvidenceStore) -> None:
    tear(full, TEARS["no database"])
    journal = Path(f"{full.path}-journal")
    journal.write_bytes(b"what a killed writer left")
    full.append("run", "act", {})
    assert not journal.exists()
    assert full.verify().ok


def test_a_file_that_another_program_holds_is_not_set_aside(full: EvidenceStore) -> None:
    """A full disk or a lock is no damage: the file stays, and the trouble is named."""
    with closing(sqlite3.connect(full.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        impatient = EvidenceStore(full.path, SystemClock(), patience=0.1)
        with pytest.raises(DrtoolError, match=r"evidence in .*evidence\.db cannot be used: database is locked"):
            impatient.append("run", "act", {})
    assert [path.name for path in full.path.parent.iterdir() if "damaged" in path.name] == []


# Several writers, sudden ends

WRITER = """
    import sys
    from pathlib import Path
    from drtool.adapters.evidence_store import EvidenceStore
    from drtool.adapters.state import SystemClock
    store = EvidenceStore(Path(sys.argv[1]), SystemClock())
    print("up", flush=True)
    for number in range(int(sys.argv[2])):
        event = store.append(sys.argv[3], "act", {"number": number, "text": "x" * 300})
        print(event.seq, flush=True)
"""


def writer(path: Path, events: int, run: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(events), run]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_append_at_once_write_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "evidence.db"
    both = [writer(path, 40, run) for run in ("one", "two")]
    for process in both:
        process.communicate()
    with closing(EvidenceStore(path, SystemClock())) as store:
        verdict = store.verify()
        assert (verdict.ok, verdict.events) == (True, 80), verdict.reason
        assert {event.run for event in store.events()} == {"one", "two"}


def test_a_writer_killed_at_any_moment_leaves_a_chain_that_holds_all_it_reported(tmp_path: Path) -> None:
    path = tmp_path / "evidence.db"
    reported = 0
    for lines, delay in ((1, 0.0), (1, 0.013), (3, 0.03), (8, 0.0), (12, 0.007)):
        with writer(path, 100_000, "killed") as process:
            assert process.stdout
            told = [process.stdout.readline() for _ in range(lines)][1:]
            time.sleep(delay)
            process.kill()
            told += process.stdout
            reported = max([reported, *(int(line) for line in told if line.endswith("\n"))])
        with closing(EvidenceStore(path, SystemClock())) as store:
            verdict = store.verify()
            assert verdict.ok, verdict.reason
            assert verdict.events >= reported
    assert reported > 10


# Working memory


def test_what_is_recorded_of_a_copy_replaces_what_was(store: EvidenceStore) -> None:
    store.record("main", "disk", {"config": 1, "keys/a": 2})
    store.record("main", "disk", {"config": 3})
    assert store.recorded("main") == {"disk": {"config": 3}}


def test_copies_and_repositories_are_kept_apart(store: EvidenceStore) -> None:
    store.record("main", "disk", {"config": 1})
    store.record("main", "offsite", {"config": 2})
    store.record("other", "disk", {"config": 3})
    assert store.recorded("main") == {"disk": {"config": 1}, "offsite": {"config": 2}}


def test_snapshots_come_back_as_recorded_and_oldest_first(store: EvidenceStore) -> None:
    two = [
        Snapshot(id=name * 64, dataset="shop", time=MOMENT + timedelta(days=days), tree="t", run="r",
                 paths=("/var/ä",), tags=("drtool",), files=2, bytes=3)
        for name, days in (("a", 1), ("b", 0))
    ]  # fmt: skip
    store.record_snapshots("main", two)
    store.record_snapshots("main", two)
    assert store.catalog("main") == (two[1], two[0])


def test_of_each_level_the_last_verification_comes_back(store: EvidenceStore) -> None:
    assert store.verified("main", "disk") == ()
    for level, days in (("L2", 0), ("L0", 1), ("L0", 2)):
        store.record_verified("main", "disk", Verified(level=level, at=MOMENT + timedelta(days=days)))
    assert store.verified("main", "disk") == (
        Verified(level="L0", at=MOMENT + timedelta(days=2)),
        Verified(level="L2", at=MOMENT),
    )


def test_readings_come_back_as_recorded_and_what_is_gone_is_forgotten(store: EvidenceStore) -> None:
    readings = {"a": Reading(since=MOMENT), "b": Reading(since=MOMENT, at=MOMENT + timedelta(days=1))}
    store.record_readings("main", "disk", readings)
    assert store.readings("main", "disk") == readings
    store.record_readings("main", "disk", {"a": readings["b"]}, gone=["b", "never"])
    assert store.readings("main", "disk") == {"a": readings["b"]}
    assert store.readings("main", "offsite") == {}


def test_what_was_removed_is_recorded_as_held_by_no_copy(store: EvidenceStore) -> None:
    store.record("main", "disk", {"a": 1, "b": 2})
    store.record_removed("main", ["a"], MOMENT)
    assert store.removed("main") == {"a": MOMENT}
    assert store.recorded("main") == {"disk": {"b": 2}}
    store.record_removed("main", ["a"], MOMENT + timedelta(days=1))
    assert store.removed("main") == {"a": MOMENT}, "it was removed when it first was"
    store.forget_removed("main", ["a", "never"])
    assert store.removed("main") == {}


def test_a_removal_under_way_is_known_until_it_ends(store: EvidenceStore) -> None:
    assert store.pruning("main") is None
    store.record_pruning("main", Pruning(copy="disk", snapshots=frozenset({"a", "b"})))
    assert store.pruning("main") == Pruning(copy="disk", snapshots=frozenset({"a", "b"}))
    store.record_pruning("main", None)
    assert store.pruning("main") is None


def test_the_clock_comes_back_as_seen(store: EvidenceStore) -> None:
    assert store.clock_seen() is None
    seen = ClockSeen(at=MOMENT, boot="b", running=1.5, trouble="it jumped")
    store.record_clock(seen)
    assert store.clock_seen() == seen


def test_how_uploads_are_verified_comes_back_as_recorded(store: EvidenceStore) -> None:
    store.record_upload_verification("main", "disk", UploadVerification.MD5, MOMENT)
    assert store.upload_verification("main", "disk") == (UploadVerification.MD5, MOMENT)


def test_when_locks_end_comes_back_as_recorded_for_each_copy_and_mode(store: EvidenceStore) -> None:
    later = MOMENT + timedelta(days=1)
    store.record_protection("main", "offsite", LockMode.COMPLIANCE, {"config": MOMENT, "keys/a": MOMENT})
    store.record_protection("main", "offsite", LockMode.COMPLIANCE, {"keys/a": later})
    assert store.protection("main", "offsite", LockMode.COMPLIANCE) == {"config": MOMENT, "keys/a": later}
    assert store.protection("main", "offsite", LockMode.GOVERNANCE) == {}
    assert store.protection("main", "other", LockMode.COMPLIANCE) == {}


def test_a_lock_that_is_forgotten_is_not_known_any_more(store: EvidenceStore) -> None:
    store.record_protection("main", "offsite", LockMode.GOVERNANCE, {"config": MOMENT, "keys/a": MOMENT})
    store.forget_protection("main", "offsite", ["keys/a", "keys/never"])
    assert store.protection("main", "offsite", LockMode.GOVERNANCE) == {"config": MOMENT}


def test_a_record_that_may_not_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "evidence.db").mkdir()
    with pytest.raises((DrtoolError, OSError), match=r"evidence\.db"):
        EvidenceStore(tmp_path / "evidence.db", SystemClock()).append("run", "act", {})
    assert os.listdir(tmp_path) == ["evidence.db"]
