"""Put drtool, its pinned libraries and a restic that is new enough into .venv.

Needs the standard library of Python 3.11 and nothing else: no pip, no venv package, no root.
Run it again after an interruption or a change; when nothing changed it returns at once.
"""

from __future__ import annotations

import bz2
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

PYTHON_NEEDED = (3, 11)
RESTIC_NEEDED = (0, 18, 0)
# Asked in this order where the machine's own release has only an older restic.
LATER_SUITES = ("sid", "trixie")
RESTIC_RELEASES = "https://github.com/restic/restic/releases/download"
GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}

Version = tuple[int, ...]


class SetupFailed(Exception):
    """What went wrong, and what to do next."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint


class Unavailable(Exception):
    """One source of restic has nothing for this machine, but the next one may."""


@dataclass(frozen=True)
class Project:
    """The checkout, and what setup makes in it."""

    root: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin/python"

    @property
    def restic(self) -> Path:
        return self.venv / "bin/restic"

    @property
    def state(self) -> Path:
        """Holds `started` while packages are being installed, then the fingerprint of their sources."""
        return self.venv / "setup.state"

    def fingerprint(self) -> str:
        """Changes with everything that the installed packages depend on."""
        digest = hashlib.sha256(f"{sys.version} {sys.base_prefix} {self.root}".encode())
        for name in ("requirements.lock", "pyproject.toml"):
            digest.update((self.root / name).read_bytes())
        return digest.hexdigest()


# The environment and the libraries


def install_packages(project: Project) -> None:
    fingerprint = project.fingerprint()
    state = recorded_state(project)
    if state == fingerprint:
        return
    if not can_be_updated(project, state):
        create_venv(project)
    project.state.write_text("started")
    say("installing the libraries of requirements.lock, each checked against its hash")
    pip_install(project, "--require-hashes", "--requirement", project.root / "requirements.lock")
    say("installing drtool itself, editable")
    pip_install(project, "--no-index", "--no-deps", "--no-build-isolation", "--editable", project.root)
    project.state.write_text(fingerprint)


def recorded_state(project: Project) -> str:
    # The interpreter may be gone while the folder stays: a Python that was upgraded away leaves a dead link.
    return project.state.read_text() if project.state.exists() and project.python.exists() else ""


def can_be_updated(project: Project, state: str) -> bool:
    """Whether pip may build on what is there.

    Not after an interruption: pip writes a package's metadata before its list of files, and takes one that
    was cut off in between for installed. Not after a change of Python either.
    """
    if state in ("", "started"):
        return False
    try:
        version = run(project.python, "-c", "import pip, sys; print(sys.version)")
    except (OSError, subprocess.SubprocessError):
        return False
    return version.strip() == sys.version.strip()


def create_venv(project: Project) -> None:
    say(f"making .venv with Python {platform.python_version()}")
    if project.venv.exists():
        shutil.rmtree(project.venv)
    # Debian keeps ensurepip in the package python3-venv, which needs root to install.
    if importlib.util.find_spec("ensurepip"):
        run(base_python(), "-m", "venv", project.venv)
        return
    run(base_python(), "-m", "venv", "--without-pip", project.venv)
    say("this Python has no ensurepip: taking pip from the distribution's package python3-pip-whl")
    try:
        bootstrap_pip(project)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise SetupFailed(
            f"pip could not be fetched: {reason(error)}",
            "as root: apt-get install python3-venv; then run make setup again",
        ) from error


def base_python() -> str:
    """This Python, and not the .venv's own where that one is activated: it was just removed."""
    return str(getattr(sys, "_base_executable", sys.executable))


def bootstrap_pip(project: Project) -> None:
    with tempfile.TemporaryDirectory() as folder:
        unpacked = own_suite(Path(folder)).update().unpack("python3-pip-whl")
        (wheel,) = unpacked.glob("usr/share/python-wheels/pip-*.whl")
        # A wheel is a zip file, and Python runs the package inside it.
        run(project.python, wheel / "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)


def pip_install(project: Project, *arguments: str | Path) -> None:
    try:
        run(project.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)
    except subprocess.SubprocessError as error:
        raise SetupFailed(
            f"pip could not install: {reason(error)}",
            "see which package index is asked (python3 -m pip config list), then run make setup again",
        ) from error


# Packages of the distribution, without being root


@dataclass(frozen=True)
class Suite:
    """One suite of the archive this machine is installed from, with lists and cache in a private folder.

    Address and keys are those of the machine, so its mirror is respected and every signature is checked.
    """

    name: str
    address: str
    folder: Path

    def update(self) -> Suite:
        """Fetch the lists; both other methods need them."""
        keyring = next((f"[signed-by={file}] " for file in archive_keyrings()), "")
        self.folder.mkdir()
        (self.folder / "sources.list").write_text(f"deb {keyring}{self.address} {self.name} main\n")
        run("apt-get", *self._options, "update", "--error-on=any")
        return self

    def unpack(self, package: str) -> Path:
        """The folder that holds the package's newest files."""
        target = self.folder / package
        target.mkdir()
        run("apt-get", *self._options, "download", package, cwd=target)
        (archive,) = target.glob("*.deb")
        run("dpkg", "--extract", archive, target)
        return target

    def version_of(self, package: str) -> Version:
        """The version that the suite offers; raises ValueError where it has none."""
        return version_after("Version: ", run("apt-cache", *self._options, "show", package))

    @property
    def _options(self) -> list[str]:
        return [
            *private_apt(self.folder),
            f"-oDir::Etc::sourcelist={self.folder / 'sources.list'}",
            "-oDir::Etc::sourceparts=/dev/null",
        ]


def own_suite(folder: Path) -> Suite:
    """The suite of the distribution's release; raises ValueError where apt's settings name none."""
    options: list[str] = []
    found = own_targets(options)
    if not found:
        # A new container has no lists yet; without them apt cannot tell which source is the distribution's.
        options = private_apt(folder / "sources")
        run("apt-get", *options, "update")
        found = own_targets(options)
    if not found:
        raise ValueError("apt's sources name no archive of this distribution")
    suite, address = found[0]
    return Suite(suite, address, folder / suite)


def own_targets(options: list[str]) -> list[tuple[str, str]]:
    fields = "$(ORIGIN)|$(COMPONENT)|$(RELEASE)|$(CODENAME)|$(REPO_URI)"
    rows = run("apt-get", *options, "indextargets", "--format", fields, "Created-By: Packages").splitlines()
    return [
        (codename, address)
        for origin, component, release, codename, address in (row.split("|") for row in rows)
        # A dash marks the suites beside the release: -updates, -security, -backports.
        if origin.lower() == distribution() and component == "main" and "-" not in release
    ]


def distribution() -> str:
    """As the machine names it: `debian`, `ubuntu`."""
    return platform.freedesktop_os_release()["ID"]


def private_apt(folder: Path) -> list[str]:
    """Options that keep apt out of the machine's state, so that it needs no root and changes nothing."""
    (folder / "lists/partial").mkdir(parents=True, exist_ok=True)
    (folder / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
    return [
        "--quiet=2",
        f"-oDir::State::Lists={folder / 'lists'}",
        f"-oDir::Cache={folder / 'cache'}",
        "-oDir::State::status=/dev/null",  # the machine's own version must not count as a candidate
        "-oDir::Etc::preferences=/dev/null",  # neither must its pins
        "-oDir::Etc::preferencesparts=/dev/null",
        "-oAPT::Default-Release=",
        "-oAPT::Sandbox::User=root",  # apt's own user could not write into a private folder
        "-oAcquire::Languages=none",
        "-oAcquire::Retries=3",
    ]


def archive_keyrings() -> list[Path]:
    """The keys of the distribution's archive; where there are none, apt has its own."""
    return sorted(Path("/usr/share/keyrings").glob(f"{distribution()}-archive-keyring.[gp]*"))


# restic


def provide_restic(project: Project, releases: str = RESTIC_RELEASES) -> None:
    """Leave everything as it is where a restic fits; else put one into .venv/bin."""
    if any(program and restic_fits(program) for program in (str(project.restic), shutil.which("restic"))):
        return
    for name, fetch in restic_sources(project, releases):
        say(f"looking for restic in {name}")
        with tempfile.TemporaryDirectory() as folder:
            try:
                take_restic(project, fetch(Path(folder)))
                return
            except (Unavailable, OSError, ValueError, subprocess.SubprocessError) as error:
                say(f"  not there: {reason(error)}")
    raise SetupFailed(
        f"no restic {dotted(RESTIC_NEEDED)} or newer was found",
        "put one on PATH or at .venv/bin/restic, then run make setup again",
    )


def restic_sources(project: Project, releases: str) -> list[tuple[str, Callable[[Path], Path]]]:
    """Where to look, and what fetches it into a folder; the distribution first, because it is kept secure."""
    pins = project.root / "tools/restic.sha256"
    upstream = ("the official release", partial(restic_from_upstream, pins, releases))
    if not shutil.which("apt-get"):
        return [upstream]
    return [
        ("the distribution's own release", partial(restic_from_suite, None)),
        *((f"its suite {name}", partial(restic_from_suite, name)) for name in LATER_SUITES),
        upstream,
    ]


def restic_from_suite(name: str | None, folder: Path) -> Path:
    own = own_suite(folder)
    suite = (own if name is None else replace(own, name=name, folder=folder / name)).update()
    version = suite.version_of("restic")
    if version < RESTIC_NEEDED:
        raise Unavailable(f"{suite.name} has restic {dotted(version)}, older than {dotted(RESTIC_NEEDED)}")
    return suite.unpack("restic") / "usr/bin/restic"


def restic_from_upstream(pins: Path, releases: str, folder: Path) -> Path:
    """The released program, refused unless it is byte for byte the one whose SHA-256 the checkout names."""
    digest, file = pinned_release(pins.read_text(), platform.machine())
    version = file.split("_")[1]
    with urllib.request.urlopen(f"{releases}/v{version}/{file}", timeout=60) as answer:  # noqa: S310  https, see above
        archive = answer.read()
    found = hashlib.sha256(archive).hexdigest()
    if found != digest:
        raise Unavailable(f"{file} has the SHA-256 {found}, and {pins.name} names {digest}")
    program = folder / "restic"
    program.write_bytes(bz2.decompress(archive))
    return program


def pinned_release(pins: str, machine: str) -> tuple[str, str]:
    """The SHA-256 and the file name of the release for a kind of machine; the lines are sha256sum's."""
    wanted = f"_linux_{GO_NAMES.get(machine, machine)}.bz2"
    for line in pins.splitlines():
        digest, _, file = line.partition("  ")
        if file.endswith(wanted):
            return digest, file
    raise Unavailable(f"tools/restic.sha256 names no release for {machine}")


def take_restic(project: Project, program: Path) -> None:
    program.chmod(0o755)
    version = restic_version(str(program))
    if version < RESTIC_NEEDED:
        raise Unavailable(f"it is restic {dotted(version)}")
    # Copied aside and renamed, so that an interruption leaves no half of a program.
    aside = project.restic.with_name("restic.new")
    shutil.copy(program, aside)
    aside.replace(project.restic)
    say(f"restic {dotted(version)} is at {project.restic.relative_to(project.root)}")


def restic_fits(program: str) -> bool:
    try:
        return restic_version(program) >= RESTIC_NEEDED
    except (OSError, ValueError, subprocess.SubprocessError):
        return False


def restic_version(program: str) -> Version:
    # Prose, because the versions that are to be told apart here include those before `version --json`.
    return version_after("restic ", run(program, "version"))


# What the tests need of the machine


def install_test_packages(project: Project) -> None:
    """Install the missing packages of tools/test-packages.txt where that can be, and name them where not."""
    lines = (project.root / "tools/test-packages.txt").read_text().splitlines()
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not wanted or not shutil.which("dpkg-query"):
        return
    missing = [package for package in wanted if not is_installed(package)]
    if not missing:
        return
    if os.geteuid() != 0:
        raise SetupFailed(
            f"the tests need {', '.join(missing)}",
            f"as root: apt-get install {' '.join(missing)}; without them: .venv/bin/pytest",
        )
    say(f"installing {', '.join(missing)} for the tests")
    run("apt-get", "--quiet=2", "update")
    with starting_no_daemon():
        run("apt-get", "--quiet=2", "--yes", "--no-install-recommends", "install", *missing)


@contextmanager
def starting_no_daemon(policy: Path = Path("/usr/sbin/policy-rc.d")) -> Iterator[None]:
    """Let packages start none of their daemons: they ask this program first (invoke-rc.d(8)), and 101 means no."""
    try:
        with policy.open("x") as file:
            file.write("#!/bin/sh\nexit 101\n")
    except FileExistsError:  # the machine's own answer stands
        yield
        return
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def is_installed(package: str) -> bool:
    try:
        return run("dpkg-query", "--show", "--showformat=${db:Status-Status}", package) == "installed"
    except subprocess.CalledProcessError:
        return False


# Words, versions, programs


def say(line: str) -> None:
    print(f"setup: {line}", flush=True)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a program prints; raises SubprocessError when it fails or takes half an hour."""
    done = subprocess.run(
        command, cwd=cwd, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1800
    )
    return done.stdout


def reason(error: Exception) -> str:
    """One line; of a failed program its last error, or just its last line."""
    if not isinstance(error, subprocess.CalledProcessError):
        return str(error)
    lines = [line.strip() for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"E: |\w*error\b", line, re.IGNORECASE)]
    return (errors or lines or [f"{error.cmd[0]} ended with code {error.returncode}"])[-1]


def version_after(word: str, text: str) -> Version:
    """The first version that a line has right after the word; raises ValueError where there is none."""
    found = re.search(rf"^{word}(?:\d+:)?(\d+(?:\.\d+)+)", text, re.MULTILINE)
    if not found:
        raise ValueError(f"no version after {word!r}")
    return tuple(int(number) for number in found[1].split("."))


def dotted(version: Version) -> str:
    return ".".join(str(number) for number in version)


def main(arguments: list[str]) -> int:
    project = Project(Path(__file__).resolve().parent.parent)
    try:
        if sys.version_info < PYTHON_NEEDED:
            raise SetupFailed(
                f"drtool needs Python {dotted(PYTHON_NEEDED)}, and this is {platform.python_version()}",
                "name a newer one: make setup PYTHON=python3.11",
            )
        if arguments == ["test-packages"]:
            install_test_packages(project)
            return 0
        with (project.root / "requirements.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would install into each other's .venv
            install_packages(project)
            provide_restic(project)
    except SetupFailed as failure:
        print(f"setup: {failure}\nhint: {failure.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; run make setup again, and it repairs what was left", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
