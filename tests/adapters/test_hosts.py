"""Programs on this machine and on one behind a real sshd: the same calls, the same answers."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from drtool.adapters.hosts import Line, Machine, Service, SystemHosts
from drtool.core.observation import ProgramEnd
from drtool.errors import HostUnreachable, UsageError
from tests.ssh import Sshd, key, public

ROOT = Path(__file__).parents[2]
LIMIT = 60.0
ODD = [
    "",
    " ",  # one for each sign that a shell obeys
    "it's",
    'say "no"',
    "$(id)",
    "`id`",
    "a\nb",
    "tab\there",
    "Grüße",
    "-x",
    "*",
    "\\",
    "; exit 3",
    "a=b",
    "~",
]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@dataclass(frozen=True)
class Asked:
    """One host, with what a program printed there."""

    hosts: SystemHosts
    name: str

    def run(self, *argv: str, limit: float = LIMIT, **more: Any) -> tuple[ProgramEnd, str]:
        said = bytearray()
        return self.hosts.run(self.name, argv, limit=limit, take=said.extend, **more), said.decode()


@pytest.fixture(params=["local", "web"])
def host(request: pytest.FixtureRequest, sshd: Sshd) -> Iterator[Asked]:
    with connected(sshd.line()) as hosts:
        yield Asked(hosts, request.param)


def connected(line: Line, **services: Service) -> SystemHosts:
    machines = {"web": Machine(line=line, services=services), "local": Machine(services=services)}
    return SystemHosts(machines, places=[Path("/tmp")])


def eventually(true: Any, *, within: float = 30) -> bool:
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def pid_in(file: Path) -> int:
    assert eventually(lambda: file.exists() and file.read_text().strip())
    return int(file.read_text())


# What a program gets, and how it ends


@pytest.mark.parametrize("code", [0, 1, 124, 126, 127, 137, 255])
def test_a_programs_own_code_is_handed_back(host: Asked, code: int) -> None:
    assert host.run("sh", "-c", f"exit {code}")[0] == ProgramEnd(code=code)


def test_a_program_that_is_not_there_ends_as_in_a_shell(host: Asked) -> None:
    assert host.run("no-such-program")[0].code == 127


def test_arguments_arrive_as_they_are(host: Asked) -> None:
    assert host.run("printf", "%s\\0", *ODD)[1].split("\0")[:-1] == ODD


def test_the_environment_is_built_from_nothing(host: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTIC_PASSWORD", "inherited")
    said = host.run("env", env={"GIVEN": "it's\n$HOME"})[1]
    assert "GIVEN=it's\n$HOME" in said and "LANG=C.UTF-8" in said
    assert "RESTIC_PASSWORD" not in said and "SSH_" not in said and "HOME=/" not in said


def test_what_is_printed_comes_in_order_with_the_errors_among_it(host: Asked) -> None:
    assert host.run("sh", "-c", "echo one; echo two >&2; echo three")[1] == "one\ntwo\nthree\n"


def test_a_program_reads_what_it_is_told(host: Asked) -> None:
    told = bytes(range(256)) * 1000
    assert host.run("sha256sum", stdin=told)[1].split()[0] == __import__("hashlib").sha256(told).hexdigest()


def test_a_program_that_is_told_nothing_waits_for_nothing(host: Asked) -> None:
    assert host.run("cat") == (ProgramEnd(code=0), "")


def test_a_program_that_takes_too_long_is_ended_with_its_children(host: Asked, tmp_path: Path) -> None:
    ended, _ = host.run("sh", "-c", f"sleep 300 & echo $! > {tmp_path}/pid; wait", limit=2)
    assert ended.overdue
    assert eventually(lambda: not alive(pid_in(tmp_path / "pid")))


def test_a_program_that_will_not_end_is_ended(host: Asked, tmp_path: Path) -> None:
    stubborn = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done"
    assert host.run("sh", "-c", stubborn, limit=1)[0].overdue
    assert eventually(lambda: not alive(pid_in(tmp_path / "pid")))


def test_a_service_that_a_program_leaves_running_stays_and_is_not_waited_for(host: Asked, tmp_path: Path) -> None:
    ended, said = host.run("sh", "-c", f"echo on; setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 300' & exit 0")
    pid = pid_in(tmp_path / "pid")
    assert (ended, said, alive(pid)) == (ProgramEnd(code=0), "on\n", True)
    psutil.Process(pid).kill()


def test_what_cannot_be_started_is_no_crash(host: Asked) -> None:
    assert host.run("/etc/passwd")[0].code == 126


def test_too_many_arguments_for_the_kernel_are_no_crash(sshd: Sshd) -> None:
    assert Asked(connected(sshd.line()), "").run("echo", "x" * 4_000_000)[0].code == 126


@pytest.mark.parametrize("name", ["", "web"])
def test_a_hundred_megabytes_in_one_line_need_no_memory(sshd: Sshd, name: str) -> None:
    line = sshd.line()
    program = f"""
        import resource
        from pathlib import Path, PosixPath
        from drtool.adapters.hosts import Line, Machine, SystemHosts
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        came = 0
        def take(piece):
            global came
            came += len(piece)
        with SystemHosts({{"web": Machine(line={line!r})}}, places=[Path("/tmp")]) as hosts:
            hosts.run({name!r}, ["true"], limit=60)
            before = peak()
            assert hosts.run({name!r}, ["head", "-c", "100000000", "/dev/zero"], limit=200, take=take).good
        print(came, peak() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    came, kilobytes = map(int, done.stdout.split())
    assert came == 100_000_000 and kilobytes < 8000


def test_a_secret_is_read_from_the_file_that_its_variable_names(sshd: Sshd) -> None:
    asked = Asked(connected(sshd.line()), "")
    assert asked.run("sh", "-c", 'cat "$KEY"', secrets={"KEY": b"correct horse"})[1] == "correct horse"


def test_a_secret_is_not_handed_to_another_host(sshd: Sshd) -> None:
    with connected(sshd.line()) as hosts, pytest.raises(UsageError, match="secrets cannot be handed to host web"):
        hosts.run("web", ["true"], limit=LIMIT, secrets={"KEY": b"correct horse"})


# The line


def test_a_host_that_is_not_in_the_register_is_named(sshd: Sshd) -> None:
    with connected(sshd.line()) as hosts, pytest.raises(UsageError, match="no host db"):
        hosts.run("db", ["true"], limit=LIMIT)


def test_many_commands_share_one_connection(sshd: Sshd) -> None:
    before = (sshd.folder / "log").read_text().count("Accepted")
    with connected(sshd.line()) as hosts, ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda n: hosts.run("web", ["sh", "-c", f"exit {n}"], limit=LIMIT).code, range(24)))
    assert ends == list(range(24))
    assert eventually(lambda: "Accepted" in (sshd.folder / "log").read_text()[-4000:] or True)
    assert (sshd.folder / "log").read_text().count("Accepted") - before <= 1


def test_nothing_of_a_connection_is_left_at_the_end(sshd: Sshd, tmp_path: Path) -> None:
    place = Path(__import__("tempfile").mkdtemp())
    with SystemHosts({"web": Machine(line=sshd.line())}, places=[place]) as hosts:
        hosts.run("web", ["true"], limit=LIMIT)
        (folder,) = place.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert list(folder.iterdir())
    assert not list(place.iterdir())


def test_a_place_that_is_full_or_too_long_for_sockets_is_passed_over(sshd: Sshd, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir()
    with SystemHosts({"web": Machine(line=sshd.line())}, places=[Path("/nonexistent"), long, Path("/tmp")]) as hosts:
        assert hosts.run("web", ["true"], limit=LIMIT).good


def test_another_key_than_the_pinned_one_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    known = tmp_path / 'known "hosts" 100%'
    known.write_text(f"[127.0.0.1]:{sshd.port} {public(key(tmp_path / 'other'))}")
    with connected(sshd.line(known_hosts=known)) as hosts, pytest.raises(HostUnreachable) as raised:
        hosts.run("web", ["touch", str(tmp_path / "ran")], limit=LIMIT)
    assert "shows another key" in raised.value.message and str(known) in raised.value.message
    assert not (tmp_path / "ran").exists()


def test_a_host_whose_key_is_not_known_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("")
    with connected(sshd.line(known_hosts=tmp_path / "known")) as hosts, pytest.raises(HostUnreachable) as raised:
        hosts.run("web", ["true"], limit=LIMIT)
    assert "its key is not in" in raised.value.message


def test_a_key_of_ours_that_the_host_refuses_is_told(sshd: Sshd, tmp_path: Path) -> None:
    with (
        connected(sshd.line(identity=key(tmp_path / "other"))) as hosts,
        pytest.raises(HostUnreachable, match="Permission denied"),
    ):
        hosts.run("web", ["true"], limit=LIMIT)


def test_a_host_that_is_not_there_is_told(sshd: Sshd) -> None:
    with connected(sshd.line(port=1)) as hosts, pytest.raises(HostUnreachable, match="refused") as raised:
        hosts.run("web", ["true"], limit=LIMIT)
    assert "host web" in raised.value.message and raised.value.hint


@pytest.fixture
def frail(tmp_path: Path) -> Iterator[Sshd]:
    """An sshd of the test's own, to be killed."""
    with Sshd(tmp_path) as server:
        yield server


def test_a_host_that_vanishes_in_the_middle_is_told_and_its_program_ends_at_its_limit(
    frail: Sshd, tmp_path: Path
) -> None:
    with connected(frail.line()) as hosts, ThreadPoolExecutor(1) as pool:
        script = f"echo $$ > {tmp_path}/pid; exec sleep 300"
        running = pool.submit(hosts.run, "web", ["sh", "-c", script], limit=20)
        pid = pid_in(tmp_path / "pid")
        frail.kill()
        with pytest.raises(HostUnreachable, match="host web"):
            running.result()
        assert eventually(lambda: not alive(pid), within=60)


def test_a_host_that_comes_back_is_reached_again(frail: Sshd) -> None:
    with connected(frail.line()) as hosts:
        assert hosts.run("web", ["true"], limit=LIMIT).good
        frail.kill()
        with pytest.raises(HostUnreachable):
            hosts.run("web", ["true"], limit=LIMIT)
        frail.start()
        assert hosts.run("web", ["true"], limit=LIMIT).good


def test_a_host_that_says_nothing_any_more_is_told(frail: Sshd) -> None:
    with connected(frail.line()) as hosts:
        assert hosts.run("web", ["true"], limit=LIMIT).good
        with frail.silent(), pytest.raises(HostUnreachable):
            hosts.run("web", ["true"], limit=1)
        assert hosts.run("web", ["true"], limit=LIMIT).good


# Services

NGINX = Service(commands={"start": ["nginx"], "stop": ["nginx", "-s", "quit"], "status": ["pgrep", "nginx"]})


@pytest.fixture(params=["", "local", "web"])
def served(request: pytest.FixtureRequest, sshd: Sshd) -> Iterator[tuple[SystemHosts, str]]:
    with connected(sshd.line(), nginx=NGINX) as hosts:
        yield hosts, request.param


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs here")
def test_without_systemd_a_service_is_driven_as_the_register_says(served: tuple[SystemHosts, str]) -> None:
    hosts, name = served
    assert hosts.service(name, "nginx", "start") == (("nginx",),)
    assert hosts.service(name, "nginx", "restart") == (("nginx", "-s", "quit"), ("nginx",))
    assert hosts.service(name, "nginx", "status") == (("pgrep", "nginx"),)


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs here")
def test_what_the_register_does_not_say_names_the_key_to_fill_in(served: tuple[SystemHosts, str]) -> None:
    hosts, name = served
    for service, action, missing in (("nginx", "reload", "reload"), ("php", "restart", "stop")):
        with pytest.raises(UsageError) as raised:
            hosts.service(name, service, action)
        assert service in raised.value.message
        assert raised.value.hint == f"fill in hosts.{name or 'NAME'}.services.{service}.{missing} in the register"


@pytest.mark.parametrize(("name", "unit"), [("mariadb", "mariadb"), ("php", "php8.2-fpm.service")])
def test_where_systemd_runs_it_drives_services(sshd: Sshd, name: str, unit: str) -> None:
    class Booted(SystemHosts):
        """A host that says that systemd runs; none does here."""

        def run(self, host: str, argv: Any, **more: Any) -> ProgramEnd:
            assert tuple(argv) == ("test", "-d", "/run/systemd/system")
            return ProgramEnd(code=0)

    hosts = Booted({"web": Machine(line=sshd.line(), services={"php": Service(unit=unit)})}, places=[])
    assert hosts.service("web", name, "restart") == (("systemctl", "--no-ask-password", "restart", unit),)
    assert hosts.service("web", name, "status") == (("systemctl", "--no-ask-password", "is-active", "--quiet", unit),)
