"""``drtool schedule`` as it is run: real processes, with the root of another system below a temporary folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DRTOOL = Path(sys.prefix) / "bin" / "drtool"
HOSTILE = "es tate 50% \"q\" 'x' $HOME \\%"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def estate(tmp_path: Path) -> Path:
    """An estate in a folder whose name holds whatever sh, cron and systemd give a meaning to."""
    data, folder = tmp_path / "www", tmp_path / HOSTILE
    data.mkdir()
    arguments = ["init", folder, "--site", "shop", "--files", data, "--copy-directory", tmp_path / "copy"]
    subprocess.run([DRTOOL, *arguments], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return folder / "drtool.yaml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def schedule(estate: Path, root: Path) -> Run:
    """Run ``drtool schedule`` for the estate below the root; ``before`` goes before the program."""

    def run(*arguments: str, before: tuple[str, ...] = (), code: int = 0) -> subprocess.CompletedProcess[str]:
        line = [*before, DRTOOL, "schedule", *arguments, "--config", estate, "--root", root]
        done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == code, done.stderr
        return done

    return run


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or not path.is_dir()}


CRON = "etc/cron.d/drtool-shop"
SERVICE = "etc/systemd/system/drtool-shop-backup.service"
TIMER = "etc/systemd/system/drtool-shop-backup.timer"
LINK = "etc/systemd/system/timers.target.wants/drtool-shop-backup.timer"
UNITS = {
    path.replace("-backup.", f"-{job}.") for path in (SERVICE, TIMER, LINK) for job in ("backup", "prune", "check")
}


def test_cron_starts_this_very_program_with_this_very_estate(schedule: Run, root: Path, estate: Path) -> None:
    schedule("install", "--kind", "cron", "--state", str(root / "state 5%"))
    lines = [line for line in (root / CRON).read_text().splitlines() if line[0].isdigit()]
    given = ["--config", str(estate), "--state", str(root / "state 5%")]
    assert [_heard_by_sh(line) for line in lines] == [
        [str(DRTOOL), *words, *given]
        for words in (
            ("backup", "--quiet"),
            ("prune", "--quiet", "--wait", "14400"),
            ("check", "--due", "--quiet"),
        )
    ]


def _heard_by_sh(line: str) -> list[str]:
    """The words of the command in a cron table, as sh takes them apart."""
    command = line.split(" ", 6)[6].replace("\\%", "%")
    done = subprocess.run(["/bin/sh"], input=f'set -- {command}\nprintf "%s\\0" "$@"', capture_output=True, text=True)
    return done.stdout.split("\0")[:-1]


def test_the_cron_file_is_one_that_cron_trusts(schedule: Run, root: Path) -> None:
    schedule("install", "--kind", "cron", before=("sh", "-c", 'umask 077; exec "$@"', "sh"))
    assert (root / CRON).stat().st_mode & 0o777 == 0o644
    assert (root / CRON).parent.stat().st_mode & 0o777 == 0o755
    assert files_below(root) == {CRON}


def test_installing_again_changes_nothing(schedule: Run, root: Path) -> None:
    first = document(schedule("install", "--kind", "cron", "--json"))
    before = (root / CRON).stat()
    again = document(schedule("install", "--kind", "cron", "--json"))
    assert (first["written"], first["unchanged"]) == ([str(root / CRON)], [])
    assert (again["written"], again["unchanged"]) == ([], [str(root / CRON)])
    assert (root / CRON).stat().st_ino == before.st_ino


def test_another_time_is_written_over_the_old_one(schedule: Run, root: Path) -> None:
    schedule("install", "--kind", "cron")
    old = (root / CRON).read_text()
    done = document(schedule("install", "--kind", "cron", "--time", "04:00", "--json"))
    assert done["written"] == [str(root / CRON)]
    assert (root / CRON).read_text() != old


def test_a_time_that_is_none_is_a_usage_error(schedule: Run) -> None:
    assert "02:00" in schedule("install", "--time", "25:00", code=2).stderr


def test_systemd_is_chosen_where_it_runs_the_machine(schedule: Run, root: Path) -> None:
    assert document(schedule("show", "--json"))["kind"] == "cron"
    (root / "run/systemd/system").mkdir(parents=True)
    assert document(schedule("show", "--json"))["kind"] == "systemd"


def test_the_units_satisfy_systemd_itself(schedule: Run, root: Path) -> None:
    schedule("install", "--kind", "systemd")
    verified = _verify(root)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_systemd_itself_would_see_a_broken_unit(schedule: Run, root: Path) -> None:
    schedule("install", "--kind", "systemd")
    service = root / SERVICE
    service.write_text(service.read_text().replace('ExecStart=":', 'ExecStart=":/nowhere'))
    assert _verify(root).returncode != 0


def _verify(root: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program, "systemd is in tools/test-packages.txt: make test installs it"
    line = [program, "verify", "--man=no", "--recursive-errors=no", str(root / SERVICE), str(root / TIMER)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_timer_is_enabled_in_a_system_that_does_not_run(schedule: Run, root: Path) -> None:
    schedule("install", "--kind", "systemd")
    assert os.readlink(root / LINK) == f"/{TIMER}"
    assert files_below(root) == UNITS


@pytest.mark.parametrize(("first", "second", "left"), [
    ("cron", "systemd", UNITS),
    ("systemd", "cron", {CRON}),
])  # fmt: skip
def test_changing_the_kind_removes_the_other_kinds_files(
    schedule: Run, root: Path, first: str, second: str, left: set[str]
) -> None:
    schedule("install", "--kind", first)
    assert document(schedule("show", "--kind", second, "--json"))["others"]
    schedule("install", "--kind", second)
    assert files_below(root) == left


@pytest.mark.parametrize("kind", ["cron", "systemd"])
def test_remove_takes_away_what_install_wrote_and_can_be_repeated(schedule: Run, root: Path, kind: str) -> None:
    schedule("install", "--kind", kind)
    assert document(schedule("remove", "--json"))["removed"]
    assert files_below(root) == set()
    assert document(schedule("remove", "--json")) == {"removed": []}


def test_a_file_that_drtool_did_not_write_is_neither_overwritten_nor_removed(schedule: Run, root: Path) -> None:
    (root / CRON).parent.mkdir(parents=True)
    (root / CRON).write_text("# mine\n")
    refused = schedule("install", "--kind", "cron", code=1)
    assert "was not written by drtool" in refused.stderr
    assert "hint: " in refused.stderr
    assert document(schedule("remove", "--json")) == {"removed": []}
    schedule("install", "--kind", "systemd")
    assert (root / CRON).read_text() == "# mine\n"


def test_show_tells_what_is_installed_and_whether_it_differs(schedule: Run, root: Path) -> None:
    def state() -> str:
        (file,) = document(schedule("show", "--kind", "cron", "--json"))["files"]
        return str(file["state"])

    states = [state()]
    schedule("install", "--kind", "cron")
    states.append(state())
    with (root / CRON).open("a") as file:
        file.write("# changed by hand\n")
    states.append(state())
    (root / CRON).write_text("# mine\n")
    states.append(state())
    assert states == ["absent", "current", "differs", "foreign"]


def test_show_prints_the_very_text_that_install_writes(schedule: Run, root: Path) -> None:
    shown = schedule("show", "--kind", "cron")
    assert files_below(root) == set()
    schedule("install", "--kind", "cron")
    assert (root / CRON).read_text() in shown.stdout


def test_installing_quietly_says_nothing(schedule: Run) -> None:
    done = schedule("install", "--kind", "cron", "--quiet")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("kind", ["cron", "systemd"])
def test_in_a_folder_that_cannot_be_written_nothing_appears(schedule: Run, root: Path, kind: str) -> None:
    folder = root / ("etc/cron.d" if kind == "cron" else "etc/systemd/system")
    folder.mkdir(parents=True)
    folder.chmod(0o555)
    refused = schedule("install", "--kind", kind, before=_without_roots_right_to_write_anywhere(), code=1)
    assert f"{folder}/drtool-shop" in refused.stderr
    assert "permission denied" in refused.stderr
    assert files_below(root) == set()


def _without_roots_right_to_write_anywhere() -> tuple[str, ...]:
    return ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()


def test_when_one_unit_cannot_be_written_the_other_is_not_there_either(schedule: Run, root: Path) -> None:
    (root / TIMER).mkdir(parents=True)
    refused = schedule("install", "--kind", "systemd", code=1)
    assert str(root / TIMER) in refused.stderr
    assert files_below(root) == set()


def test_each_subcommand_shows_an_example() -> None:
    for name in ("show", "install", "remove"):
        done = subprocess.run([DRTOOL, "schedule", name, "--help"], capture_output=True, text=True, check=True)
        assert f"Example: drtool schedule {name}" in done.stdout
