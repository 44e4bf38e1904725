"""The one door to other programs, tried with real children and real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from drtool.adapters import process
from drtool.adapters.process import Command, Ended, output, pour, run, talk, writer
from drtool.errors import ProgramMissing

ROOT = Path(__file__).parents[2]
PATH = {"PATH": process.SAFE_PATH}


def shell(script: str, **more: object) -> Command:
    """A script for the shell, which stands for any program."""
    return Command(**{"argv": ["/bin/sh", "-c", script], "env": PATH, "secrets": {}, **more})  # type: ignore[arg-type]


def eventually(true: Callable[[], object], *, within: float = 10) -> bool:
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def stopped_once_ready(script: str) -> Ended:
    """How a program ends that is overdue from the moment on at which it has said a line."""
    lines: list[str] = []
    return run(shell(script), on_line=lines.append, overdue=lambda: bool(lines), every=0.1)


def pid_in(file: Path) -> int:
    assert eventually(lambda: file.exists() and file.read_text().strip())
    return int(file.read_text())


# How a program ends


@pytest.mark.parametrize("code", [0, 1, 12, 255])
def test_the_exit_code_is_handed_back(code: int) -> None:
    assert output(shell(f"exit {code}"), limit=10)[0].code == code


def test_a_program_ended_by_a_signal_has_a_negative_code() -> None:
    assert output(shell("kill -9 $$"), limit=10)[0].code == -signal.SIGKILL


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ProgramMissing, match="no-such-program"):
        process.find("no-such-program")


def test_a_program_that_ends_in_time_is_not_called_stopped() -> None:
    assert not output(shell("true"), limit=10)[0].stopped


# What it says


def test_lines_are_handed_over_while_the_program_runs(tmp_path: Path) -> None:
    """The second only comes once the first was handed over."""
    lines: list[str] = []

    def line(text: str) -> None:
        lines.append(text)
        (tmp_path / text).touch()

    run(shell(f"echo one; while ! test -e {tmp_path}/one; do sleep 0.02; done; echo two"), on_line=line)
    assert lines == ["one", "two"]


def test_stdout_and_stderr_are_kept_apart() -> None:
    errors: list[str] = []
    ended = run(shell("echo out; echo err >&2"), on_line=lambda line: None, on_error=errors.append)
    assert (errors, ended.errors) == (["err"], ("err",))


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert output(shell(r"printf 'a\377b'"), limit=10)[1] == "a\ufffdb"


def test_only_the_last_lines_of_errors_are_kept() -> None:
    ended, _ = output(shell("seq 1000 >&2"), limit=10)
    assert ended.errors == tuple(str(number) for number in range(951, 1001))


def test_a_program_is_asked_nothing() -> None:
    assert output(shell("cat; echo end"), limit=10)[1] == "end"


def test_a_program_is_poured_into_a_file(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        ended, size = pour(shell("head -c 3000000 /dev/zero"), writer(out.fileno()), overdue=lambda: False)
    assert (ended.code, size, (tmp_path / "out").stat().st_size) == (0, 3_000_000, 3_000_000)


def test_a_program_that_is_talked_to_answers_in_lines_and_tells_when_it_is_done() -> None:
    lines: list[str | None] = []
    with talk(shell("while read line; do echo got $line; done; echo bad >&2; exit 3"), on_line=lines.append) as spoken:
        spoken.say(b"one\n")
        assert eventually(lambda: lines == ["got one"])
        spoken.say(b"two\n")
        ended = spoken.end()
    assert (ended.code, ended.errors, lines) == (3, ("bad",), ["got one", "got two", None])


def test_a_program_that_is_talked_to_does_not_outlive_the_talk(tmp_path: Path) -> None:
    with talk(shell(f"echo $$ > {tmp_path / 'pid'}; exec sleep 60")):
        pid = pid_in(tmp_path / "pid")
    assert not alive(pid)


def test_talking_to_a_program_that_has_ended_is_a_broken_pipe() -> None:
    with talk(shell("exit 1")) as spoken, pytest.raises(BrokenPipeError):
        for _ in range(100):
            spoken.say(b"hello\n" * 10_000)
            time.sleep(0.01)


@pytest.mark.parametrize(
    "act",
    [
        """run(command("yes 0123456789abcdef | head -c 100000000"), on_line=lambda line: None)""",
        """run(command("yes 0123456789abcdef | head -c 100000000 >&2"), on_line=lambda line: None)""",
        """pour(command("head -c 100000000 /dev/zero"), lambda chunk: None, overdue=lambda: False)""",
    ],
)
def test_a_hundred_megabytes_of_output_need_no_memory(act: str) -> None:
    program = f"""
        import os, resource
        from drtool.adapters.process import Command, SAFE_PATH, pour, run
        def command(script):
            return Command(argv=["/bin/sh", "-c", script], env={{"PATH": SAFE_PATH}}, secrets={{}})
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run(command("true"), on_line=print)
        before = peak()
        assert {act}
        print(peak() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 8000  # kilobytes


# What it gets


def test_the_environment_is_built_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTIC_PASSWORD", "inherited")
    text = output(Command(argv=["/usr/bin/env"], env={"GIVEN": "1"}, secrets={}), limit=10)[1]
    assert text.splitlines() == ["GIVEN=1"]


def test_no_open_file_is_inherited(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        listed = output(shell("ls /proc/self/fd"), limit=10)[1].split()
    assert set(listed) <= {"0", "1", "2", "3"}  # 3 is the folder that ls reads


def test_a_file_named_to_be_kept_open_stays_open(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        kept = output(shell(f"echo kept > /proc/self/fd/{file.fileno()}", keep_open=[file.fileno()]), limit=10)[0]
    assert (kept.code, (tmp_path / "lock").read_text()) == (0, "kept\n")


def test_a_secret_is_read_from_the_file_that_its_variable_names() -> None:
    command = shell('cat "$PASSWORD_FILE" "$PASSWORD_FILE"', secrets={"PASSWORD_FILE": b"correct horse"})
    assert output(command, limit=10)[1] == "correct horsecorrect horse"


def test_a_secret_is_neither_in_the_arguments_nor_in_the_environment() -> None:
    command = shell("cat /proc/self/environ /proc/self/cmdline /proc/$PPID/cmdline", secrets={"P": b"correct horse"})
    text = output(command, limit=10)[1]
    assert "P=/proc/self/fd/" in text
    assert "correct horse" not in text


def test_a_secret_is_gone_from_our_own_files_afterwards() -> None:
    output(shell("true", secrets={"P": b"correct horse"}), limit=10)
    assert not [link for link in Path("/proc/self/fd").iterdir() if "memfd:P" in str(link.resolve())]


# Its end


def test_an_overdue_program_is_stopped_and_says_so() -> None:
    begin = time.monotonic()
    ended, _ = output(shell("sleep 60"), limit=0.2)
    assert ended.stopped
    assert time.monotonic() - begin < 40


def test_a_program_that_will_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)
    ended = stopped_once_ready("trap '' TERM; echo ready; while :; do sleep 0.1; done")
    assert (ended.stopped, ended.code) == (True, -signal.SIGKILL)


def test_a_program_may_tidy_up_when_asked_to_end(tmp_path: Path) -> None:
    stopped_once_ready(f"trap 'touch {tmp_path}/tidied; exit' TERM; echo ready; while :; do sleep 0.05; done")
    assert (tmp_path / "tidied").exists()


def test_the_programs_children_end_with_it(tmp_path: Path) -> None:
    stopped_once_ready(f"sleep 60 & echo $! > {tmp_path}/pid; echo ready; wait")
    assert eventually(lambda: not alive(pid_in(tmp_path / "pid")))


def test_children_that_outlive_their_program_are_ended_too(tmp_path: Path) -> None:
    """They hold its output open: without an end of theirs the call would never return."""
    begin = time.monotonic()
    ended = stopped_once_ready(f"sleep 60 & echo $! > {tmp_path}/pid; echo ready; exit 0")
    assert ended.stopped
    assert time.monotonic() - begin < 40
    assert eventually(lambda: not alive(pid_in(tmp_path / "pid")))


def test_children_that_will_not_end_are_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)
    stubborn = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    stopped_once_ready(f'sh -c "{stubborn}" & echo $! > {tmp_path}/pid; wait')
    assert eventually(lambda: not alive(pid_in(tmp_path / "pid")))


def test_leaving_by_an_exception_ends_the_program(tmp_path: Path) -> None:
    def give_up(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(shell(f"echo $$ > {tmp_path}/pid; echo line; sleep 60"), on_line=give_up)
    assert not alive(pid_in(tmp_path / "pid"))


def test_a_program_dies_with_a_killed_parent(tmp_path: Path) -> None:
    program = f"""
        from drtool.adapters.process import Command, SAFE_PATH, run
        script = "echo $$ > {tmp_path}/pid; exec sleep 60"
        run(Command(argv=["/bin/sh", "-c", script], env={{"PATH": SAFE_PATH}}, secrets={{}}), on_line=print)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT) as parent:
        child = pid_in(tmp_path / "pid")
        assert alive(child)
        parent.kill()
    assert eventually(lambda: not alive(child))
