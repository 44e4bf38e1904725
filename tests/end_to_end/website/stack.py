"""A real site on this machine: WordPress on nginx, PHP-FPM and MariaDB, all below one folder.

``srv`` holds the web root and ``var`` the database: what a backup must bring back. ``etc`` belongs to the machine, and
so do the accounts of the database: whoever sets a new machine up writes them anew. Content, authority and passwords
lie elsewhere and outlive the loss of everything.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tests.end_to_end.website.authority import Authority
from tests.end_to_end.website.check import Inspection, Visitor, digests
from tests.end_to_end.website.daemon import Daemon, answers, as_user, group_of
from tests.end_to_end.website.screenshot import Shot, take
from tests.end_to_end.website.truth import Content, Truth, draw_content, draw_image, files_below
from tests.servers import free_port

ASSETS = Path(__file__).parent / "assets"
WORDPRESS = Path("/usr/share/wordpress")  # where Debian's package has it
WEB_USER, DATABASE_USER = "www-data", "nobody"
DATABASE = "wordpress"
PREFIX = "drtool-site-"
MEMORY, ROOM = Path("/dev/shm"), 1 << 30  # a site has 60 MB, and each worker one


class Site:
    """A site of which nothing runs yet. Its address is one of the loopback's many, so that copies share a port."""

    database = DATABASE

    def __init__(self, root: Path, content: Content, authority: Authority, truth: Truth | None = None) -> None:
        self.root, self.content, self.authority, self.truth = root, content, authority, truth
        self.address = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(1, 254)}"
        self.web_root = root / "srv/teahouse"
        self.uploads = self.web_root / "wp-content/uploads"
        self.data = root / "var/mariadb"
        self.socket = root / "run/mariadb.sock"
        self.admin_file, self.backup_file = root / "etc/admin.cnf", root / "etc/backup.cnf"
        self.mariadb, self.php, self.nginx = self._daemons()

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """In the order in which they start."""
        return self.mariadb, self.php, self.nginx

    # Up and down

    def start(self) -> None:
        for daemon in self.daemons:
            daemon.start()

    def stop(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.stop()

    def kill(self) -> None:
        for daemon in self.daemons:
            daemon.kill()

    def restart_php(self) -> None:
        """PHP keeps compiled files in memory and does not see that they have changed if their times have not."""
        self.php.stop()
        self.php.start()

    def destroy(self) -> None:
        assert self.root.name.startswith(PREFIX), f"{self.root} is not a site of these tests"
        self.kill()
        if self.root.exists():
            shutil.rmtree(self.root)

    # The machine

    def set_up_machine(self) -> None:
        """The folders and settings that a new machine gets before there is any content."""
        for name, mode in (("etc", 0o755), ("run", 0o1777), ("log", 0o1777), ("tmp", 0o1777), ("srv", 0o755)):
            (self.root / name).mkdir(exist_ok=True)
            (self.root / name).chmod(mode)
        for name in ("nginx.conf", "php-fpm.conf", "my.cnf"):
            (self.root / "etc" / name).write_text(self._filled(name))
        for user, password, file in (("root", "admin", self.admin_file), ("backup", "backup", self.backup_file)):
            file.touch(mode=0o600)
            file.write_text(self._filled("client.cnf", user=user, password=self.content.passwords[password]))
        certificate, key = self.root / "etc/server.pem", self.root / "etc/server.key"
        self.authority.issue(self.content.host, certificate, key)
        _give(key, WEB_USER)

    def set_up_database(self) -> None:
        """A new server with its accounts and no database, left running."""
        self.data.mkdir(parents=True, mode=0o700)
        _give(self.data, DATABASE_USER)
        _run(
            *as_user(DATABASE_USER), "mariadb-install-db", f"--defaults-file={self.root}/etc/my.cnf",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
        )  # fmt: skip
        self.mariadb.start()
        _run("mariadb", "--no-defaults", "--user=root", f"--socket={self.socket}", entering=self.accounts())

    def accounts(self) -> str:
        """The statements that make the accounts in a new database."""
        return self._filled("accounts.sql", **self.content.passwords)

    def rebuild_empty_server(self) -> None:
        """What stands before a restore after everything has gone: all daemons run, and there is no content."""
        assert not any(self.root.iterdir()), f"{self.root} is not empty"
        self.set_up_machine()
        self.set_up_database()
        self.start()

    # The content

    def set_up_content(self) -> None:
        shutil.copytree(WORDPRESS, self.web_root, ignore=_left_out, ignore_dangling_symlinks=True)
        shutil.copytree(ASSETS / "theme", self.web_root / "wp-content/themes/teahouse", dirs_exist_ok=True)
        self.uploads.mkdir()
        config = self.web_root / "wp-config.php"
        config.write_text(self._filled("wp-config.php", **self.content.passwords, url=self.content.url))
        config.chmod(0o640)
        _give(config, WEB_USER)
        _give(self.uploads, WEB_USER)
        self.query(f"CREATE DATABASE {DATABASE}", database="")
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            self._install(Path(folder))  # not from here, where its user may not enter

    def _install(self, folder: Path) -> None:
        folder.chmod(0o755)
        shutil.copy(ASSETS / "install.php", folder)
        for name in self.content.images:
            draw_image(folder / name)
        (folder / "content.json").write_text(json.dumps(asdict(self.content)))
        _run(
            *as_user(WEB_USER), "php", "-d", "display_errors=stderr", "-d", "memory_limit=256M",
            str(folder / "install.php"), str(self.web_root), str(folder / "content.json"),
        )  # fmt: skip

    # What is so

    def check(self) -> dict[str, str]:
        """The checks that fail, each with its reason; nothing where the site is what it was."""
        assert self.truth
        return Inspection(
            truth=self.truth, visitor=self.visitor, web_root=self.web_root, query=partial(self.query, go_on=True)
        ).failures()

    @property
    def visitor(self) -> Visitor:
        return Visitor(
            address=self.address,
            port=self.content.port,
            host=self.content.host,
            authority=self.authority.certificate,
        )

    def screenshot(self, picture: Path) -> Shot:
        """Of the front page, as who trusts the site's authority sees it."""
        return take(
            f"{self.content.url}/",
            host=self.content.host,
            address=self.address,
            authority=self.authority.certificate,
            picture=picture,
        )

    def query(self, statements: str, *, database: str = DATABASE, go_on: bool = False) -> str:
        """What the administrator's account gets for an answer; with ``go_on``, also where statements fail."""
        words = ["mariadb", f"--defaults-file={self.admin_file}", "--batch", "--raw", "--skip-column-names"]
        more = ["--force"] if go_on else []
        return _run(*words, *more, *([database] if database else []), entering=statements, must_succeed=not go_on)

    # Inside

    def _daemons(self) -> tuple[Daemon, Daemon, Daemon]:
        etc, log, php = self.root / "etc", self.root / "log", self.root / "run/php.sock"
        return (
            Daemon(
                name="mariadb",
                argv=("/usr/sbin/mariadbd", f"--defaults-file={etc}/my.cnf"),
                user=DATABASE_USER,
                log=log / "mariadb.out",
                ready=lambda: answers(socket.AF_UNIX, str(self.socket), greets=True),
            ),
            Daemon(
                name="php-fpm",
                argv=(_php_fpm(), "--nodaemonize", "--fpm-config", f"{etc}/php-fpm.conf"),
                user=WEB_USER,
                log=log / "php-fpm.out",
                ready=lambda: answers(socket.AF_UNIX, str(php)),
            ),
            Daemon(
                name="nginx",
                argv=("/usr/sbin/nginx", "-c", f"{etc}/nginx.conf", "-e", f"{log}/nginx.err"),
                user=WEB_USER,
                log=log / "nginx.out",
                ready=lambda: answers(socket.AF_INET, (self.address, self.content.port)),
            ),
        )

    def _filled(self, asset: str, **more: str) -> str:
        values = {
            "root": str(self.root),
            "web_root": str(self.web_root),
            "data": str(self.data),
            "socket": str(self.socket),
            "address": self.address,
            "host": self.content.host,
            "port": str(self.content.port),
        } | more
        return re.sub(r"@([a-z_]+)@", lambda found: values[found[1]], (ASSETS / asset).read_text())


# Building and copying


def build(template: Path) -> None:
    """Make a site with random content, and keep it in a new folder from which ``copied`` makes others."""
    unfinished = template.with_name(f"{template.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    site = Site(_new_root(), draw_content(free_port()), Authority(unfinished / "authority"))
    try:
        site.rebuild_empty_server()
        site.set_up_content()
        site.visitor.get("/")  # WordPress writes some settings at the first visit
        tables = digests(site.query)
        site.stop()
        (unfinished / "root").mkdir()
        for name in ("srv", "var"):
            _copy(site.root / name, unfinished / "root")
        truth = Truth(content=site.content, tables=tables, files=files_below(site.web_root))
        truth.save(unfinished / "truth.json")
    finally:
        site.destroy()
    unfinished.rename(template)


def copied(template: Path) -> Site:
    """A new site like that one, in a folder of its own and at an address of its own, not yet started."""
    truth = Truth.load(template / "truth.json")
    site = Site(_new_root(), truth.content, Authority(template / "authority"), truth)
    for path in (template / "root").iterdir():
        _copy(path, site.root)
    site.set_up_machine()
    return site


def _new_root() -> Path:
    """In memory where there is room, for speed; and below no folder of pytest's, which the daemons may not enter."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=MEMORY if roomy else None))
    root.chmod(0o755)
    return root


def _copy(path: Path, folder: Path) -> None:
    _run("cp", "--archive", "--reflink=auto", str(path), str(folder))


def _left_out(folder: str, names: list[str]) -> list[str]:
    """The package's own settings, and the long forms of scripts and styles, which only developers are served."""
    settings = ["wp-config.php", ".htaccess"] if Path(folder) == WORDPRESS else []
    shortened = {name.replace(".min.", ".") for name in names if ".min." in name}
    return [name for name in names if name in shortened or name in settings]


def _php_fpm() -> str:
    """Debian has the version in its name."""
    return str(max(Path("/usr/sbin").glob("php-fpm[0-9]*")))


def _give(path: Path, user: str) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, user, group_of(user))


def _run(*words: str, entering: str = "", must_succeed: bool = True) -> str:
    run = subprocess.run(words, input=entering, capture_output=True, text=True, timeout=120, check=False, cwd="/")
    assert run.returncode == 0 or not must_succeed, f"{' '.join(words)}: {run.stdout[-1000:]}{run.stderr[-1000:]}"
    return run.stdout
