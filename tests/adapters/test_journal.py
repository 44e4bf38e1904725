"""The journals on disk: what is written before each act stays, whatever happens to who wrote it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drtool.adapters.journal import FileJournals
from drtool.adapters.state import SystemClock
from drtool.core.runbook import JUMPED
from drtool.errors import DrtoolError, Locked, UsageError


class SetClock(SystemClock):
    """A machine's clock that somebody sets."""

    def __init__(self) -> None:
        self.at, self.since = datetime(2026, 11, 24, 3, 0, tzinfo=UTC), 100.0

    def now(self) -> datetime:
        return self.at

    def running(self) -> tuple[str, float]:
        return "boot", self.since

    def pass_by(self, seconds: float, *, jump: float = 0) -> None:
        self.at += timedelta(seconds=seconds + jump)
        self.since += seconds


@pytest.fixture
def journals(tmp_path: Path) -> FileJournals:
    return FileJournals(tmp_path / "runs", SystemClock())


def file_of(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one" / "journal"


def test_what_was_appended_is_read_again_by_who_carries_on_and_by_who_only_looks(journals: FileJournals) -> None:
    with journals.begin("one") as journal:
        journal.append("run.started", {"runbook": "a"})
        assert [event.kind for event in journals.read("one")] == ["run.started"]
    with journals.carry_on("one") as journal:
        journal.append("run.resumed", {})
        assert [event.kind for event in journal.events()] == ["run.started", "run.resumed"]
    assert journals.runs() == ("one",)


def test_only_its_owner_reads_it(journals: FileJournals, tmp_path: Path) -> None:
    with journals.begin("one") as journal:
        journal.append("run.started", {})
        journal.path("output", "step").touch()
    assert file_of(tmp_path).stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "runs", tmp_path / "runs" / "one")} == {0o700}


def test_a_run_is_begun_once(journals: FileJournals) -> None:
    with journals.begin("one"):
        pass
    with pytest.raises(FileExistsError), journals.begin("one"):
        pass


def test_two_do_not_carry_on_one_run(journals: FileJournals) -> None:
    with journals.begin("one"), pytest.raises(Locked) as raised, journals.carry_on("one"):
        pass
    assert raised.value.code == 11
    with journals.carry_on("one"):
        pass


@pytest.mark.parametrize("name", ["none", "../one", "", "."])
def test_a_run_that_is_not_there_is_named(journals: FileJournals, name: str) -> None:
    with pytest.raises(UsageError), journals.carry_on(name):
        pass


@pytest.mark.parametrize("torn", [b"{", b'{"seq":3,"at":"2026', b"\x00\x00"])
def test_a_last_line_that_a_crash_cut_off_is_left_out_and_overwritten(
    journals: FileJournals, tmp_path: Path, torn: bytes
) -> None:
    with journals.begin("one") as journal:
        journal.append("run.started", {})
    with file_of(tmp_path).open("ab") as file:
        file.write(torn)
    assert len(journals.read("one")) == 1
    with journals.carry_on("one") as journal:
        journal.append("run.resumed", {})
    assert [event.seq for event in journals.read("one")] == [1, 2]


def changed(lines: list[str]) -> list[str]:
    event = json.loads(lines[1])
    event["body"]["step"] = "another"
    return [lines[0], json.dumps(event), *lines[2:]]


@pytest.mark.parametrize(
    "damage",
    [changed, lambda lines: [lines[0], *lines[2:]], lambda lines: [lines[1], lines[0], *lines[2:]],
     lambda lines: [*lines, lines[-1]], lambda lines: ["{}", *lines]],
    ids=["changed", "removed", "reordered", "repeated", "foreign"],
)  # fmt: skip
def test_a_journal_that_was_changed_is_not_carried_on(journals: FileJournals, tmp_path: Path, damage: object) -> None:
    with journals.begin("one") as journal:
        for name in ("a", "b", "c"):
            journal.append("step.began", {"step": name})
    path = file_of(tmp_path)
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")  # type: ignore[operator]
    with pytest.raises(DrtoolError, match="was changed"), journals.carry_on("one"):
        pass


def test_a_clock_that_was_set_is_written_down(tmp_path: Path) -> None:
    clock = SetClock()
    with FileJournals(tmp_path / "runs", clock).begin("one") as journal:
        journal.append("run.started", {})
        clock.pass_by(30)
        journal.append("step.began", {"step": "a"})
        clock.pass_by(30, jump=-7200)
        journal.append("step.ended", {"step": "a"})
        assert [event.kind for event in journal.events()] == ["run.started", "step.began", JUMPED, "step.ended"]
        assert journal.events()[2].body["seconds"] == -7200


def test_a_disk_without_room_is_told_and_leaves_the_journal_whole(journals: FileJournals, tmp_path: Path) -> None:
    import resource

    with journals.begin("one") as journal:
        journal.append("run.started", {})
        size = file_of(tmp_path).stat().st_size
        before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
        try:
            with pytest.raises(DrtoolError, match="cannot be written"):
                journal.append("step.began", {"step": "a"})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert file_of(tmp_path).stat().st_size == size
        journal.append("step.began", {"step": "a"})
    assert len(journals.read("one")) == 2


WRITER = """
import sys
from pathlib import Path
from drtool.adapters.journal import FileJournals
from drtool.adapters.state import SystemClock
with FileJournals(Path(sys.argv[1]), SystemClock()).begin("one") as journal:
    number = 0
    while True:
        journal.append("step.began", {"step": str(number)})
        print(number, flush=True)
        number += 1
"""


def test_what_was_told_to_be_on_disk_is_there_after_kill_9(journals: FileJournals, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", WRITER, str(tmp_path / "runs")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as writer:
        assert writer.stdout
        for line in writer.stdout:
            if int(line) == 50:
                writer.kill()
                break
        told = [int(line) for line in writer.stdout if line.endswith("\n")]
    last = max([50, *told])
    with journals.carry_on("one") as journal:
        assert [event.body["step"] for event in journal.events()][: last + 1] == [str(n) for n in range(last + 1)]


def test_a_second_persons_word_reaches_who_has_the_journal(journals: FileJournals) -> None:
    with journals.begin("one"):
        journals.approve("one", "agree", {"account": "anna", "at": "now", "reason": ""})
        journals.approve("one", "agree", {"account": "../ben", "at": "now", "reason": ""})
        assert {word["account"] for word in journals.approvals("one", "agree")} == {"anna", "../ben"}
        assert journals.approvals("one", "other") == ()
    with pytest.raises(UsageError):
        journals.approve("two", "agree", {"account": "anna", "at": "now", "reason": ""})
