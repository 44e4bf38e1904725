"""Probes on real servers, files and programs: each passes, fails, and cannot tell where it cannot."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from drtool.adapters import process
from drtool.adapters.hosts import Machine, Service, SystemHosts
from drtool.adapters.probes import Observer
from drtool.core.model import Verdict
from drtool.core.observation import Observation
from drtool.documents.probe import Probe
from drtool.errors import DatabaseFailed, DatabaseRefused, UsageError
from tests.pages import DAY, Authority, names, pages
from tests.ssh import Sshd

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
REPETITION = {"probe", "text", "expect", "retries", "interval", "consecutive"}
TIMEOUT = timedelta(seconds=30)
Look = Callable[..., Observation]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def site(authority: Authority) -> Iterator[int]:
    with pages(authority.certificate("shop.example")) as port:
        yield port


@pytest.fixture(scope="module")
def plain() -> Iterator[int]:
    with pages() as port:
        yield port


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with names() as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def no_answer(*asked: Any) -> Any:
    raise AssertionError("nobody is to be asked")


def looking(hosts: SystemHosts, *, ask: Any = no_answer, copies: Any = no_answer) -> Look:
    """Observe as runbooks do: by the keys that the documents have."""
    observer = Observer(hosts, ask=ask, copies=copies)

    def look(kind: str, **what: Any) -> Observation:
        given = {key: value for key, value in what.items() if value is not None}
        probe = TypeAdapter[Any](Probe).validate_python({"probe": kind, "timeout": TIMEOUT} | given)
        return observer.observe(kind, probe.model_dump(exclude=REPETITION))

    return look


@pytest.fixture
def look() -> Look:
    return looking(SystemHosts({}, places=[]))


@pytest.fixture(params=[None, "web", "gone"])
def target(request: pytest.FixtureRequest) -> str | None:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def on_host(sshd: Sshd) -> Iterator[Look]:
    services = {
        "up": Service(commands={"status": ["true"]}),
        "down": Service(commands={"status": ["false"]}),
        "odd": Service(commands={"status": ["no-such-program"]}),
    }
    machines = {
        "here": Machine(services=services),
        "web": Machine(line=sshd.line(), services=services),
        "gone": Machine(line=sshd.line(port=1), services=services),
    }
    with SystemHosts(machines, places=[Path("/tmp")]) as hosts:
        yield looking(hosts)


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# Pages


def test_a_page_that_is_as_it_should_be_passes(look: Look, plain: int) -> None:
    seen = look("http", url=f"http://127.0.0.1:{plain}/", header={"x-shop": "nginx"}, body="Laden", without="hacked")
    assert (seen.verdict, seen.reason) == (PASS, "the status is 200")


@pytest.mark.parametrize(
    ("path", "what", "reason"),
    [
        ("/broken", {}, "the status is 503, not 2xx or 3xx"),
        ("/", {"status": ("404", "5xx")}, "the status is 200, not 404 or 5xx"),
        ("/", {"header": {"X-Other": "x"}}, "there is no header X-Other"),
        ("/", {"header": {"X-Shop": "Apache"}}, "the header X-Shop does not hold Apache"),
        ("/", {"body": "Kasse"}, "the page does not hold Kasse"),
        ("/", {"without": "Laden"}, "the page holds Laden"),
    ],
)
def test_a_page_that_is_not_as_it_should_be_fails(
    look: Look, plain: int, path: str, what: dict[str, Any], reason: str
) -> None:
    seen = look("http", url=f"http://127.0.0.1:{plain}{path}", **what)
    assert (seen.verdict, seen.reason) == (FAIL, reason)


def test_a_redirect_is_an_answer_and_is_not_followed(look: Look, plain: int) -> None:
    assert look("http", url=f"http://127.0.0.1:{plain}/moved", status=("302",)).verdict is PASS


def test_a_page_is_read_in_the_letters_that_its_server_names(look: Look, plain: int) -> None:
    assert look("http", url=f"http://127.0.0.1:{plain}/old", body="Grüße").verdict is PASS


def test_a_page_too_long_to_be_looked_at_cannot_tell_what_it_does_not_hold(look: Look, plain: int) -> None:
    url = f"http://127.0.0.1:{plain}/big"
    assert look("http", url=url, without="hacked").verdict is UNKNOWN
    assert look("http", url=url, body="hacked").verdict is UNKNOWN
    assert look("http", url=url, body="xxx").verdict is PASS


def test_another_place_is_connected_to_by_the_name_of_the_address(look: Look, site: int, authority: Authority) -> None:
    seen = look(
        "http", url="https://shop.example/host", connect=f"127.0.0.1:{site}", ca=str(authority.file),
        body="shop.example", valid_for=14 * DAY,
    )  # fmt: skip
    assert (seen.verdict, seen.reason) == (PASS, "the status is 200")


def test_a_page_behind_a_certificate_that_ends_soon_fails(look: Look, site: int, authority: Authority) -> None:
    seen = look(
        "http", url="https://shop.example/", connect=f"127.0.0.1:{site}", ca=str(authority.file), valid_for=40 * DAY
    )
    assert seen.verdict is FAIL and "valid for another 29 days" in seen.reason


def test_a_server_that_refuses_connections_fails(look: Look) -> None:
    for scheme in ("http", "https"):
        seen = look("http", url=f"{scheme}://127.0.0.1:{closed_port()}/")
        assert (seen.verdict, seen.reason) == (FAIL, "connection refused")


def test_a_server_that_says_nothing_fails_when_the_time_is_over(look: Look) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        seen = look("http", url=f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=timedelta(seconds=1))
    assert seen.verdict is FAIL and seen.reason.startswith(("no answer", "timed out"))


@pytest.mark.parametrize(
    "what",
    [
        {"url": "ftp://127.0.0.1/"},
        {"url": "http://127.0.0.1:port/"},
        {"url": "http://" + "x" * 80 + ".example/"},
        {"url": "https://127.0.0.1/", "ca": "/nonexistent"},
        {"url": "http://127.0.0.1/", "connect": "127.0.0.1:port"},
    ],
)
def test_a_question_that_makes_no_sense_cannot_tell(look: Look, what: dict[str, Any]) -> None:
    assert look("http", **what).verdict is UNKNOWN


def test_what_an_address_may_hold_of_secrets_is_not_told(look: Look, plain: int) -> None:
    seen = look("http", url=f"http://user:geheim@127.0.0.1:{plain}/?token=geheim")
    assert seen.probe == f"http http://127.0.0.1:{plain}/" and "geheim" not in seen.reason


# Ports and certificates


def test_a_port_accepts_connections_or_does_not(look: Look, plain: int) -> None:
    assert look("tcp", host="127.0.0.1", port=plain).verdict is PASS
    seen = look("tcp", host="127.0.0.1", port=closed_port())
    assert (seen.verdict, seen.reason) == (FAIL, "connection refused")
    assert look("tcp", host="x" * 80, port=1).verdict is UNKNOWN


def tls(look: Look, certificate: Path, ca: Path | None, **what: Any) -> Observation:
    with pages(certificate) as port:
        return look("tls", host="127.0.0.1", port=port, ca=ca and str(ca), **{"name": "shop.example", **what})


def test_a_valid_certificate_passes_with_its_days_and_names(look: Look, authority: Authority) -> None:
    seen = tls(look, authority.certificate("shop.example"), authority.file)
    assert seen.verdict is PASS
    assert seen.reason == "the certificate of shop.example is valid for another 29 days (shop.example)"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"begins": -9 * DAY, "ends": -3 * DAY}, "the certificate of shop.example expired 3 days ago"),
        ({"begins": DAY}, "the certificate of shop.example is not valid before"),
        ({"ends": 3 * DAY}, "valid for another 2 days (shop.example); it should be for 14 days"),
        ({"name": "other.example"}, "the certificate is for other.example, not for shop.example"),
    ],
)
def test_a_certificate_that_is_not_right_is_described(
    look: Look, authority: Authority, made: dict[str, Any], reason: str
) -> None:
    seen = tls(look, authority.certificate(**{"name": "shop.example", **made}), authority.file)
    assert seen.verdict is FAIL and reason in seen.reason


def test_a_certificate_that_nobody_vouches_for_fails(look: Look, authority: Authority) -> None:
    seen = tls(look, authority.certificate("shop.example"), None)
    assert seen.verdict is FAIL and "is not trusted" in seen.reason


def test_a_port_that_speaks_no_tls_fails(look: Look, plain: int) -> None:
    assert look("tls", host="127.0.0.1", port=plain).verdict is FAIL


def test_a_ca_that_cannot_be_read_cannot_tell(look: Look, site: int) -> None:
    assert look("tls", host="127.0.0.1", port=site, ca="/nonexistent").verdict is UNKNOWN


# Names


@pytest.mark.parametrize(
    "what",
    [
        {"name": "shop.example"},
        {"name": "shop.example", "answer": ("192.0.2.8", "192.0.2.7")},
        {"name": "SHOP.example.", "type": "AAAA", "answer": ("2001:0DB8:0::7",)},
        {"name": "shop.example", "type": "MX", "answer": ("10 Mail.Shop.Example",)},
        {"name": "shop.example", "type": "TXT", "answer": ("v=spf1 mx -all",)},
        {"name": "www.shop.example", "type": "CNAME", "answer": ("shop.example",)},
    ],
)
def test_a_name_that_resolves_as_it_should_passes(look: Look, server: str, what: dict[str, Any]) -> None:
    seen = look("dns", server=server, **what)
    assert seen.verdict is PASS, seen.reason


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"name": "shop.example", "answer": ("192.0.2.7",)}, "has A 192.0.2.7, 192.0.2.8, not 192.0.2.7"),
        ({"name": "nothing.example"}, "there is no name nothing.example"),
        ({"name": "shop.example", "type": "CAA"}, "shop.example has no record CAA"),
        ({"name": "refused.example"}, "refuses to answer for refused.example"),
        ({"name": "silent.example", "timeout": timedelta(seconds=2)}, "answer"),
    ],
)
def test_a_name_that_does_not_resolve_as_it_should_fails(
    look: Look, server: str, what: dict[str, Any], reason: str
) -> None:
    seen = look("dns", server=server, **what)
    assert seen.verdict is FAIL and reason in seen.reason


@pytest.mark.parametrize("what", [{"name": "a..b"}, {"name": "x" * 80}, {"name": "a.example", "server": "ns.example"}])
def test_a_name_that_is_none_cannot_tell(look: Look, server: str, what: dict[str, Any]) -> None:
    assert look("dns", **{"server": server, **what}).verdict is UNKNOWN


# Files, disks, programs and services, here and on another host


def check(seen: Observation, target: str | None, verdict: Verdict, reason: str = "") -> None:
    """What a host that is not there holds, nobody can tell."""
    if target == "gone":
        assert seen.verdict is UNKNOWN and "host gone" in seen.reason
    else:
        assert seen.verdict is verdict and reason in seen.reason, seen
    assert seen.probe.endswith(f" on {target}") is bool(target)


def test_a_file_is_there_or_is_not(on_host: Look, target: str | None, tmp_path: Path) -> None:
    file = tmp_path / "it's a 'file'"
    file.write_text("first\nsecond line\n")
    where = {"path": str(file), "target": target}
    check(on_host("file", **where), target, PASS, "is there")
    check(on_host("file", **where, present=False), target, FAIL, "is there")
    check(on_host("file", **where, contains="second"), target, PASS)
    check(on_host("file", **where, contains=".econd"), target, FAIL, "does not hold .econd")
    file.unlink()
    check(on_host("file", **where), target, FAIL, "is not there")
    check(on_host("file", **where, present=False), target, PASS, "is not there")


def test_a_files_age_counts(on_host: Look, target: str | None, tmp_path: Path) -> None:
    file = tmp_path / "dump"
    file.touch()
    where = {"path": str(file), "target": target, "younger": timedelta(hours=1)}
    check(on_host("file", **where), target, PASS)
    os.utime(file, (time.time() - 7200,) * 2)
    check(on_host("file", **where), target, FAIL, "more than 1:00:00")


def test_what_may_not_be_looked_into_cannot_tell(look: Look, tmp_path: Path) -> None:
    """As another user: root may look into everything."""

    class Unprivileged(SystemHosts):
        def run(self, host: str, argv: Any, **more: Any) -> Any:
            return super().run(host, ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv], **more)

    if os.geteuid() == 0:
        look = looking(Unprivileged({}, places=[]))
    closed = Path(tempfile.mkdtemp())
    file = closed / "below" / "file"
    file.parent.mkdir()
    file.touch()
    closed.chmod(0)
    try:
        for present in (True, False):
            assert look("file", path=str(file), present=present).verdict is UNKNOWN
        assert look("sha256", path=str(file), sha256="0" * 64).verdict is UNKNOWN
        assert look("file", path=str(closed / "none" / "x")).verdict is UNKNOWN
    finally:
        closed.chmod(0o700)
        shutil.rmtree(closed)


def test_a_disk_has_room_or_has_not(on_host: Look, target: str | None) -> None:
    check(on_host("disk", path="/dev/shm", free=0, inodes=0, target=target), target, PASS, "% of its bytes")
    check(on_host("disk", path="/dev/shm", free=100, inodes=100, target=target), target, FAIL)
    check(on_host("disk", path="/nonexistent", target=target), target, UNKNOWN)


def test_a_process_runs_or_does_not(on_host: Look, target: str | None, tmp_path: Path) -> None:
    program = tmp_path / "a.long+name-of-a-program"
    program.symlink_to("/bin/sleep")
    where = {"name": program.name, "target": target}
    with subprocess.Popen([program, "300"]) as running:
        check(on_host("process", **where), target, PASS, "1 of a.long+name-of-a-program runs")
        check(on_host("process", **where, max=0), target, FAIL)
        check(on_host("process", **where, min=2), target, FAIL)
        running.kill()
    check(on_host("process", **where), target, FAIL, "0 of")
    check(on_host("process", **where, min=0), target, PASS)


def test_a_zombie_does_not_run(look: Look, tmp_path: Path) -> None:
    program = tmp_path / "drtool-zombie"
    program.symlink_to("/bin/true")
    with subprocess.Popen([program]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert look("process", name="drtool-zombie").verdict is FAIL


def test_where_pgrep_is_missing_it_cannot_tell(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtool.adapters.hosts.ENVIRONMENT", {"PATH": "/nonexistent"})
    seen = look("process", name="nginx")
    assert (seen.verdict, seen.reason) == (UNKNOWN, "pgrep is not there")


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs here")
def test_a_service_is_active_or_is_not(on_host: Look, target: str | None) -> None:
    check(on_host("service", service="up", target=target), target, PASS, "up is active")
    check(on_host("service", service="down", target=target), target, FAIL, "down is not active")
    check(on_host("service", service="odd", target=target), target, UNKNOWN, "no-such-program is not there")
    check(on_host("service", service="other", target=target), target, UNKNOWN, "no command to status other")


def test_a_file_has_the_content_that_it_should_have_or_not(on_host: Look, target: str | None, tmp_path: Path) -> None:
    file = tmp_path / "back\\slash\nand line"
    file.write_bytes(b"content")
    where = {"path": str(file), "target": target}
    check(on_host("sha256", **where, sha256=hashlib.sha256(b"content").hexdigest()), target, PASS)
    check(on_host("sha256", **where, sha256="0" * 64), target, FAIL, "another content")
    file.unlink()
    check(on_host("sha256", **where, sha256="0" * 64), target, FAIL, "is not there")


def test_a_program_ends_as_it_should_or_not(on_host: Look, target: str | None) -> None:
    def ends(script: str, **what: Any) -> Observation:
        return on_host("command", argv=("sh", "-c", script), target=target, **what)

    check(ends("echo all is well", output="is well"), target, PASS, "sh ended with 0")
    check(ends("exit 3", exit=3), target, PASS)
    check(ends("exit 127", exit=127), target, PASS)
    check(ends("exit 3"), target, FAIL, "sh ended with 3, not 0")
    check(ends("echo geheim", output="well"), target, FAIL, "sh does not print what it should")
    check(ends("sleep 300", timeout=timedelta(seconds=4)), target, FAIL)
    check(ends("head -c 3000000 /dev/zero", output="x"), target, UNKNOWN, "more than the 1 MiB")
    check(on_host("command", argv=("no-such-program",), target=target), target, UNKNOWN, "is not there")


def test_a_host_that_nobody_knows_cannot_tell(look: Look) -> None:
    seen = look("disk", path="/", target="web9")
    assert (seen.verdict, seen.reason) == (UNKNOWN, "there is no host web9 in the register")


def test_a_host_that_hangs_is_not_waited_for_longer_than_asked(tmp_path: Path) -> None:
    with Sshd(tmp_path) as hung, SystemHosts({"web": Machine(line=hung.line())}, places=[Path("/tmp")]) as hosts:
        look = looking(hosts)
        assert look("disk", path="/", free=0, inodes=0, target="web").verdict is PASS
        with hung.silent():
            seen = look("disk", path="/", target="web", timeout=timedelta(seconds=1))
        assert (seen.verdict, seen.reason) == (UNKNOWN, "no answer within 1 s")


# Databases and copies


@pytest.mark.parametrize(
    ("said", "what", "verdict"),
    [
        ("7", {}, PASS),
        ("7", {"answer": "7"}, PASS),
        ("7", {"answer": "8"}, FAIL),
        ("7", {"at_least": 7}, PASS),
        ("7", {"at_least": 8}, FAIL),
        ("geheim", {"at_least": 8}, FAIL),
        ("geheim", {"answer": "8"}, FAIL),
        (None, {}, FAIL),
        (DatabaseFailed("the server is down"), {}, FAIL),
        (DatabaseRefused("access denied"), {}, UNKNOWN),
        (UsageError("there is no dataset shop"), {}, UNKNOWN),
    ],
)
def test_a_query_is_answered_as_it_should_be_or_not(said: Any, what: dict[str, Any], verdict: Verdict) -> None:
    def ask(dataset: str, query: str, limit: float) -> str | None:
        if isinstance(said, Exception):
            raise said
        return said  # type: ignore[no-any-return]

    look = looking(SystemHosts({}, places=[]), ask=ask)
    seen = look("sql", dataset="shop", query="SELECT 'geheim'", **what)
    assert (seen.verdict, seen.probe) == (verdict, "sql shop")
    assert "geheim" not in seen.reason


def test_a_client_that_is_not_installed_cannot_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from drtool.adapters.mariadb import MariaDB

    monkeypatch.setattr(process, "SAFE_PATH", "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    server = MariaDB(database="x", defaults_file=tmp_path / "cnf", restore_file=tmp_path / "cnf")
    look = looking(SystemHosts({}, places=[]), ask=lambda dataset, query, limit: server.answer(query, limit))
    seen = look("sql", dataset="shop", query="SELECT 1")
    assert (seen.verdict, seen.reason) == (UNKNOWN, "mariadb is not installed")


def test_copies_are_judged_by_who_knows_them() -> None:
    judge = lambda repository: (FAIL if repository == "main" else PASS, f"asked for {repository}")  # noqa: E731
    look = looking(SystemHosts({}, places=[]), copies=judge)
    assert look("copies", repository="main").verdict is FAIL
    seen = look("copies")
    assert (seen.verdict, seen.reason, seen.probe) == (PASS, "asked for None", "copies")


# All kinds


def test_a_mistake_of_ours_is_not_taken_for_an_answer(look: Look) -> None:
    with pytest.raises(AssertionError):
        look("copies")


def test_what_is_told_is_harmless_to_a_terminal(look: Look) -> None:
    seen = look("command", argv=("no-such\x1b[31m\nprogram",))
    assert seen.probe.isprintable() and seen.reason.isprintable()
