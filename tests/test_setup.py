"""What `make setup` decides; that it works on a bare Debian is tried by hand in a new container."""

import bz2
import hashlib
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tools import setup

ROOT = Path(__file__).parent.parent
PROGRAM = "#!/bin/sh\necho 'restic {version} compiled with go1.26.4 on linux/amd64'\n"


@pytest.fixture
def project(tmp_path: Path) -> setup.Project:
    """A checkout with an empty .venv, and nothing else."""
    (tmp_path / "checkout/.venv/bin").mkdir(parents=True)
    (tmp_path / "checkout/tools").mkdir()
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / "checkout" / name).touch()
    return setup.Project(tmp_path / "checkout")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, so that no program of the machine is found."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server with releases of restic: its address, and the folder behind it."""
    folder = tmp_path / "releases"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def put_program(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


def release(project: setup.Project, folder: Path, version: str, said: str | None = None) -> None:
    """Publish a release and pin it; `said` is the version that its program names, where the two differ."""
    archive = bz2.compress(PROGRAM.format(version=said or version).encode())
    name = f"restic_{version}_linux_{setup.GO_NAMES[platform.machine()]}.bz2"
    (folder / f"v{version}").mkdir()
    (folder / f"v{version}" / name).write_bytes(archive)
    (project.root / "tools/restic.sha256").write_text(f"{hashlib.sha256(archive).hexdigest()}  {name}\n")


# Versions


@pytest.mark.parametrize(
    ("word", "text", "version"),
    [
        ("restic ", "restic 0.18.0 compiled with go1.24.4 on linux/amd64\n", (0, 18, 0)),
        ("restic ", "restic 0.19.1-dev (compiled manually) compiled with go1.26\n", (0, 19, 1)),
        ("Version: ", "Package: restic\nVersion: 0.14.0-1+b5\n", (0, 14, 0)),
        ("Version: ", "Package: restic\nVersion: 1:0.18.0+ds-2\n", (0, 18, 0)),
    ],
)
def test_a_version_is_read_from_what_programs_print(word: str, text: str, version: setup.Version) -> None:
    assert setup.version_after(word, text) == version


def test_a_text_without_a_version_is_no_version() -> None:
    with pytest.raises(ValueError, match="no version after 'restic '"):
        setup.version_after("restic ", "command not found\n")


def test_versions_are_compared_as_numbers() -> None:
    assert setup.version_after("restic ", "restic 0.9.6") < setup.RESTIC_NEEDED


# Which restic


def test_a_restic_on_path_that_fits_is_used_where_it_is(project: setup.Project, path: Path) -> None:
    put_program(path / "restic", PROGRAM.format(version="0.18.0"))
    setup.provide_restic(project, "http://no.such.host.invalid")
    assert not project.restic.exists()


@pytest.mark.parametrize("on_path", ["#!/bin/sh\nexit 1\n", PROGRAM.format(version="0.17.3"), None])
def test_a_restic_that_does_not_fit_is_passed_over_for_the_release(
    project: setup.Project, path: Path, releases: tuple[str, Path], on_path: str | None
) -> None:
    address, folder = releases
    release(project, folder, "0.19.1")
    if on_path:
        put_program(path / "restic", on_path)
    setup.provide_restic(project, address)
    assert setup.restic_version(str(project.restic)) == (0, 19, 1)


def test_a_release_with_another_hash_is_refused(
    project: setup.Project, path: Path, releases: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    address, folder = releases
    release(project, folder, "0.19.1")
    for archive in folder.glob("v0.19.1/*"):
        archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(setup.SetupFailed, match="no restic"):
        setup.provide_restic(project, address)
    assert "has the SHA-256" in capsys.readouterr().out
    assert not project.restic.exists()


def test_a_release_whose_program_is_too_old_is_refused(
    project: setup.Project, path: Path, releases: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    address, folder = releases
    release(project, folder, "0.19.1", said="0.17.0")
    with pytest.raises(setup.SetupFailed):
        setup.provide_restic(project, address)
    assert "not there: it is restic 0.17.0" in capsys.readouterr().out


def test_a_failed_search_says_where_to_put_a_restic(
    project: setup.Project, path: Path, releases: tuple[str, Path]
) -> None:
    address, folder = releases
    release(project, folder, "0.19.1")
    shutil.rmtree(folder / "v0.19.1")
    with pytest.raises(setup.SetupFailed) as failure:
        setup.provide_restic(project, address)
    assert "PATH" in failure.value.hint


def test_the_distribution_is_asked_before_the_release(path: Path, project: setup.Project) -> None:
    put_program(path / "apt-get", "#!/bin/sh\n")
    names = [name for name, _ in setup.restic_sources(project, "")]
    assert names == [
        "the distribution's own release",
        "its suite sid",
        "its suite trixie",
        "the official release",
    ]


def test_a_machine_without_a_pin_is_refused_by_name() -> None:
    with pytest.raises(setup.Unavailable, match="names no release for riscv64"):
        setup.pinned_release((ROOT / "tools/restic.sha256").read_text(), "riscv64")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_pinned_release_is_new_enough(machine: str) -> None:
    digest, file = setup.pinned_release((ROOT / "tools/restic.sha256").read_text(), machine)
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert setup.version_after("restic_", file) >= setup.RESTIC_NEEDED


# Which archive


def test_the_archive_is_the_distributions_own_and_not_a_guest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian"})
    put_program(
        path / "apt-get",
        """#!/bin/sh
echo 'A vendor|main|bookworm|bookworm|mirror:/vendor/'
echo 'Debian|main|bookworm-updates|bookworm-updates|mirror:/debian/'
echo 'Debian|contrib|oldstable|bookworm|mirror:/debian/'
echo 'Debian|main|oldstable|bookworm|mirror:/debian/'
""",
    )
    assert setup.own_targets([]) == [("bookworm", "mirror:/debian/")]


# What the tests need of the machine


@pytest.fixture
def apt(project: setup.Project, path: Path) -> Path:
    """A machine that has e2fsprogs and lacks attr, where tests want both; the file tells what apt-get was asked."""
    (project.root / "tools/test-packages.txt").write_text("# why\ne2fsprogs\nattr\n")
    asked = path / "asked"
    put_program(path / "apt-get", f'#!/bin/sh\necho "$@" >> "{asked}"\n')
    put_program(path / "dpkg-query", '#!/bin/sh\ncase "$*" in *e2fsprogs) printf installed ;; *) exit 1 ;; esac\n')
    return asked


def test_root_installs_the_missing_test_packages(
    project: setup.Project, apt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(setup, "starting_no_daemon", nullcontext)  # not as a test
    setup.install_test_packages(project)
    assert apt.read_text().splitlines()[-1].endswith(" install attr")


def test_installed_daemons_are_not_started(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with setup.starting_no_daemon(policy):
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()


def test_the_machines_own_policy_stands(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    put_program(policy, "#!/bin/sh\nexit 104\n")
    with setup.starting_no_daemon(policy):
        assert subprocess.run([policy], check=False).returncode == 104
    assert policy.exists()


def test_others_are_told_which_test_packages_are_missing(
    project: setup.Project, apt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(setup.SetupFailed, match="the tests need attr") as failure:
        setup.install_test_packages(project)
    assert "apt-get install attr" in failure.value.hint
    assert not apt.exists()


# Doing it again


def test_an_interrupted_install_is_not_built_upon() -> None:
    assert not setup.can_be_updated(setup.Project(ROOT), "started")


def test_an_environment_of_this_python_is_updated_in_place(project: setup.Project) -> None:
    put_program(project.python, f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    assert setup.can_be_updated(project, "an older fingerprint")


def test_an_environment_of_another_python_is_made_anew(project: setup.Project) -> None:
    put_program(project.python, "#!/bin/sh\necho '3.9.2 (default)'\n")
    assert not setup.can_be_updated(project, "an older fingerprint")


def test_an_environment_that_lost_its_python_counts_as_none(project: setup.Project) -> None:
    project.state.write_text("a fingerprint")
    project.python.symlink_to("/no/such/python")
    assert setup.recorded_state(project) == ""


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_a_changed_file_asks_for_an_update(project: setup.Project, name: str) -> None:
    before = project.fingerprint()
    (project.root / name).write_text("changed")
    assert project.fingerprint() != before


# What failures say


def test_the_reason_of_a_failed_program_is_its_error_and_not_its_advice() -> None:
    failed = subprocess.CalledProcessError(
        1, ["pip"], output="", stderr="WARNING: slow\nERROR: no matching distribution\nhint: see above\n"
    )
    assert setup.reason(failed) == "ERROR: no matching distribution"


def test_a_silent_program_is_named_by_its_code() -> None:
    assert setup.reason(subprocess.CalledProcessError(7, ["dpkg"], "", "")) == "dpkg ended with code 7"


# The files that setup reads


def test_every_locked_version_has_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", lock.strip())
    assert all(re.match(r"[a-z0-9-]+==\S+", entry) and "--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock


def test_make_alone_tells_what_there_is() -> None:
    told = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "make setup" in told
    assert "make demo" in told


def test_a_wheel_carries_the_documents(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for file in (
        "drtool/__init__.py",
        "drtool/render/templates/report.html",
        "policies/p.yaml",
        "runbooks/r.yaml",
        "runbooks/scripts/s.sh",
        "drtool/documents/register.yaml",
    ):
        (checkout / file).parent.mkdir(parents=True, exist_ok=True)
        (checkout / file).touch()
    (checkout / "drtool/__init__.py").write_text('__version__ = "1.2.3"\n')
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, checkout)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=checkout, check=True, capture_output=True)
    with zipfile.ZipFile(tmp_path / "drtool-1.2.3-py3-none-any.whl") as wheel:
        assert {
            "drtool/render/templates/report.html",
            "drtool/shipped/policies/p.yaml",
            "drtool/shipped/runbooks/r.yaml",
            "drtool/shipped/runbooks/scripts/s.sh",
            "drtool/documents/register.yaml",
        } <= set(wheel.namelist())
