"""Real database servers for tests: on a unix socket only, as an unprivileged user, thrown away afterwards.

Each dies with the process that started it. Durability is off.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8"}
NOBODY = "nobody"
STARTED = 60.0  # seconds after which a server counts as not starting


class Server:
    """A database server in a folder with a short name: a socket's path may have 107 bytes."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="drdb-"))
        self.data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._names = 0
        if os.geteuid() == 0:
            user = pwd.getpwnam(NOBODY)
            os.chown(self.folder, user.pw_uid, user.pw_gid)

    def __enter__(self) -> Self:
        self._create()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)

    def name(self, word: str = "shop") -> str:
        """A name that no other test uses on this server."""
        self._names += 1
        return f"{word}_{self._names}"

    def start(self) -> None:
        for last in (False, False, True):
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [*_as_nobody(), *self._argv()],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=ENVIRONMENT, start_new_session=True,
                )  # fmt: skip
            if self._came_up():
                return
            self.stop(signal.SIGKILL)
            if last:
                raise RuntimeError(f"no server: {(self.folder / 'log').read_text()[-3000:]}")
            time.sleep(2)

    def stop(self, number: int) -> None:
        if self._process:
            self._process.send_signal(number)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def restart_after_kill(self) -> None:
        self.stop(signal.SIGKILL)
        self.start()

    def sql(self, script: str, database: str = "") -> str:
        """Run statements as the server's own administrator; what they answer."""
        return run(self._client(database), stdin=script)

    def _came_up(self) -> bool:
        assert self._process
        end = time.monotonic() + STARTED
        while time.monotonic() < end and self._process.poll() is None:
            if (
                subprocess.run(self._client(""), input=b"SELECT 1;", capture_output=True, env=ENVIRONMENT).returncode
                == 0
            ):
                return True
            time.sleep(0.1)
        return False

    def _create(self) -> None:
        raise NotImplementedError

    def _argv(self) -> Sequence[str]:
        raise NotImplementedError

    def _client(self, database: str) -> Sequence[str]:
        raise NotImplementedError


class MariaDBServer(Server):
    @property
    def socket(self) -> Path:
        return self.folder / "s"

    def option_file(self, path: Path, user: str = "root", password: str = "") -> Path:
        return secret(path, f"[client]\nsocket={self.socket}\nuser={user}\npassword={password}\n")

    def account(self, database: str, password: str) -> str:
        """An account with no more rights than the README tells to give."""
        user = self.name("backup")
        self.sql(
            f"""CREATE USER {user}@localhost IDENTIFIED BY '{password}';
            GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON `{database}`.* TO {user}@localhost;
            GRANT SELECT ON mysql.* TO {user}@localhost;"""
        )
        return user

    def dump(self, database: str) -> str:
        """What the database holds, as the server's own program tells it."""
        words = ["--routines", "--triggers", "--events", "--hex-blob", "--skip-comments", "--skip-dump-date", database]
        return run(["mariadb-dump", "--no-defaults", "-uroot", f"--socket={self.socket}", *words])

    def exists(self, database: str) -> bool:
        return self.sql(f"SHOW DATABASES LIKE '{database}';") != ""

    def _create(self) -> None:
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        run([*_as_nobody(), "mariadb-install-db", "--no-defaults", f"--datadir={self.data}", *options])

    def _argv(self) -> Sequence[str]:
        options = {
            "datadir": self.data, "socket": self.socket, "pid-file": self.folder / "pid", "tmpdir": self.folder,
            "innodb-flush-log-at-trx-commit": 0, "innodb-doublewrite": 0, "innodb-log-file-size": "32M",
            "innodb-buffer-pool-size": "64M", "max-allowed-packet": "1G", "event-scheduler": "OFF",
            "character-set-server": "utf8mb4",
        }  # fmt: skip
        words = [f"--{name}={value}" for name, value in options.items()]
        return ["mariadbd", "--no-defaults", "--skip-networking", "--skip-log-bin", *words]

    def _client(self, database: str) -> Sequence[str]:
        words = ["--batch", "--skip-column-names", "--binary-mode", "--default-character-set=utf8mb4"]
        return ["mariadb", "--no-defaults", "-uroot", f"--socket={self.socket}", *words, *filter(None, [database])]


class PostgreSQLServer(Server):
    def pass_file(self, path: Path, user: str, password: str) -> Path:
        return secret(path, f"*:*:*:{user}:{password}\n")

    def account(self, password: str) -> str:
        """A role with no more rights than the README tells to give."""
        user = self.name("backup")
        self.sql(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'; GRANT pg_read_all_data TO {user};")
        return user

    def create(self, script: str, **more: str) -> str:
        """A new database, filled; its name."""
        name = self.name()
        self.sql(f"CREATE DATABASE {name} {more.get('options', '')};")
        self.sql(script, name)
        return name

    def dump(self, database: str) -> str:
        """What the database holds, as the server's own program tells it; without the key that is new each time."""
        lines = run([self._program("pg_dump"), "-h", str(self.folder), "-U", "postgres", "-d", database])
        return "\n".join(line for line in lines.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))

    def exists(self, database: str) -> bool:
        return self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{database}';") != ""

    def _create(self) -> None:
        words = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
        run([*_as_nobody(), self._program("initdb"), "-D", str(self.data), *words])
        (self.data / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")

    def _argv(self) -> Sequence[str]:
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of one that this object has seen end
        options = {
            "listen_addresses": "", "unix_socket_directories": self.folder, "fsync": "off", "shared_buffers": "64MB",
            "synchronous_commit": "off", "full_page_writes": "off",
        }  # fmt: skip
        return [self._program("postgres"), "-D", str(self.data), *(f"--{name}={options[name]}" for name in options)]

    def _client(self, database: str) -> Sequence[str]:
        words = ["-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1"]
        return [self._program("psql"), "-h", str(self.folder), "-U", "postgres", "-d", database or "postgres", *words]

    def _program(self, name: str) -> str:
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
        return str(found[-1]) if found else name


def run(argv: Sequence[str], *, stdin: str = "", env: Mapping[str, str] = ENVIRONMENT) -> str:
    done = subprocess.run(argv, input=stdin.encode(), capture_output=True, cwd="/", env=env, timeout=120, check=False)
    assert done.returncode == 0, f"{argv[0]}: {done.stderr.decode()[-2000:]}"
    return done.stdout.decode().strip("\n")


def secret(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(0o600)
    return path


def _as_nobody() -> Sequence[str]:
    guard = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() != 0:
        return [*guard, "--"]
    user = pwd.getpwnam(NOBODY)
    return [*guard, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
