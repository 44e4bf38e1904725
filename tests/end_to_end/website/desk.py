"""The desk of a site's administrator: the shipped instructions and register, and a second person who can agree.

The daemons are in the hand of a service script, as on a machine without systemd: drtool starts and stops them by the
register, and the incidents by the same script.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.end_to_end.shop import PROGRAMS, Answer, Shop
from tests.end_to_end.website.daemon import STARTED, Daemon, as_user
from tests.end_to_end.website.stack import ASSETS, DATABASE_USER, Site

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "runbooks"
TEMPLATE = ROOT / "drtool/documents/register.yaml"
SERVICE = ASSETS / "service.sh"
ACCOUNTS = {"admin": "root", "technik": "technik", "vertretung": "vertretung"}  # people of the template: their login
WAITING = 3
GOOD = ("ok", "satisfied", "not_reached")


@dataclass(kw_only=True)
class Service(Daemon):
    """A daemon that nobody holds but its pid file, whoever started it."""

    service: str  # its name in the register
    pid_file: Path

    @property
    def commands(self) -> dict[str, list[str]]:
        """As the register has them."""
        before = [str(SERVICE), str(self.pid_file), str(self.log)]
        program = [*as_user(self.user), *self.argv]
        return {
            act: [*before, act, *(program if act == "start" else ())] for act in ("start", "stop", "reload", "status")
        }

    @property
    def pid(self) -> int | None:
        lives = subprocess.run(self.commands["status"], check=False).returncode == 0
        return int(self.pid_file.read_text()) if lives else None

    def start(self) -> None:
        subprocess.run(self.commands["start"], check=True)
        end = time.monotonic() + STARTED
        while not self.ready():
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} does not serve: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        subprocess.run(self.commands["stop"], check=True)

    def kill(self) -> None:
        """Like a power cut; its pid file stays behind."""
        with suppress(OSError, ValueError):
            os.killpg(int(self.pid_file.read_text()), signal.SIGKILL)
        end = time.monotonic() + STARTED
        while self.pid:
            assert time.monotonic() < end, f"{self.name} survives"
            time.sleep(0.02)


@dataclass(kw_only=True)
class Desk:
    """``register`` and ``values`` may be changed before ``write``."""

    site: Site
    shop: Shop
    register: dict[str, Any]

    @property
    def values(self) -> dict[str, str]:
        found: dict[str, str] = self.register["values"]
        return found

    def write(self, **values: object) -> Desk:
        """Write the register anew, with these values of the site in it."""
        self.values.update({name: str(value) for name, value in values.items()})
        (self.shop.folder / "register.yaml").write_text(json.dumps(self.register, ensure_ascii=False))
        return self

    def add_service(self, name: str, commands: Mapping[str, Sequence[str]]) -> None:
        self.register["hosts"]["web1"]["services"][name] = commands

    def run(self, *words: str, code: int | None = 0, person: str = "admin") -> Answer:
        """drtool, as that person of the register."""
        return self.shop.run(*words, code=code, env={"SUDO_USER": ACCOUNTS[person]})

    def diagnosed(self) -> set[str]:
        return {fit["runbook"] for fit in self.run("diagnose").document["fits"]}

    # Runs

    def begin(self, book: str, *words: str, params: Mapping[str, object] | None = None, **answers: object) -> Answer:
        """Begin a run that will wait somewhere."""
        given = [word for name, value in (params or {}).items() for word in ("--param", f"{name}={value}")]
        return self.run("runbook", "run", book, *given, *words, *_said(answers), code=WAITING)

    def resume(self, run: Answer, *words: str, code: int | None = WAITING, **answers: object) -> Answer:
        return self.run("runbook", "resume", run.document["run"], *words, *_said(answers), code=code)

    def approve(self, run: Answer, step: str, *, person: str = "technik", code: int = 0) -> Answer:
        return self.run("runbook", "approve", run.document["run"], step, person=person, code=code)

    def follow(self, book: str, *, approve: Sequence[str] = (), failed: Collection[str] = (),
               params: Mapping[str, object] | None = None, **answers: object) -> Answer:  # fmt: skip
        """A run to its good end, in which work by hand counts as done.

        It waits for agreement at just the steps ``approve``, and the second person gives it.
        """
        given = [word for name, value in (params or {}).items() for word in ("--param", f"{name}={value}")]
        run = self.run("runbook", "run", book, "--yes", *given, *_said(answers), code=None)
        return self.go_on(run, approve=approve, failed=failed, **answers)

    def go_on(self, run: Answer, *, approve: Sequence[str] = (), failed: Collection[str] = (),
              **answers: object) -> Answer:  # fmt: skip
        """The rest of a run that waits, likewise. Just the steps ``failed`` do so, and are meant to."""
        for step in approve:
            assert waits_at(run, "waiting_approval") == step, str(run)
            self.approve(run, step)
            run = self.resume(run, "--yes", code=None, **answers)
        assert {name for name, state in states(run).items() if state not in GOOD} == set(failed), str(run)
        assert run.document["state"] == ("completed_with_exceptions" if failed else "completed"), str(run)
        return run

    def journal(self, run: Answer) -> list[dict[str, Any]]:
        text = (self.folder(run) / "journal").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def folder(self, run: Answer) -> Path:
        return self.shop.state / "shop" / "runs" / str(run.document["run"])


def states(run: Answer) -> dict[str, str]:
    return {step["id"]: step["state"] for step in run.document["steps"]}


def waits_at(run: Answer, state: str) -> str:
    """The step at which a run waits in that state."""
    assert run.document["state"] == state, str(run)
    return str([step["id"] for step in run.document["steps"] if step["started"]][-1])


def _said(answers: Mapping[str, object]) -> list[str]:
    return [word for name, value in answers.items() for word in ("--answer", f"{name}={value}")]


def set_up(site: Site, shop: Shop, names: int) -> Desk:
    """A desk for a running site that has an estate with the datasets of the template; the daemons change hands.

    ``names`` is the port of a name server that knows the site.
    """
    site.stop()
    hand_over(site)
    shutil.copytree(SHIPPED, shop.folder / "runbooks")
    register = yaml.safe_load(TEMPLATE.read_text())
    for person, account in ACCOUNTS.items():
        register["people"][person]["accounts"] = [account]
    register["hosts"] = {"web1": {"services": {one.service: one.commands for one in services(site)}}}
    desk = Desk(site=site, shop=shop, register=register)
    shop.more |= {"runbooks": "runbooks", "register": "register.yaml"}
    shop.write()
    site.start()
    return desk.write(**_values(site, shop), **_network(shop, names))


def hand_over(site: Site) -> None:
    """Put the stopped daemons of a site in the hand of the service script."""
    run = site.root / "run"
    site.mariadb = _service(site.mariadb, "mariadb", run / "mariadb.pid")
    site.php = _service(site.php, "php8.2-fpm", run / "php.pid")
    site.nginx = _service(site.nginx, "nginx", run / "nginx.pid")


def services(site: Site) -> list[Service]:
    return [daemon for daemon in site.daemons if isinstance(daemon, Service)]


def _service(daemon: Daemon, service: str, pid_file: Path) -> Service:
    return Service(
        name=daemon.name, argv=daemon.argv, user=daemon.user, log=daemon.log, ready=daemon.ready,
        service=service, pid_file=pid_file,
    )  # fmt: skip


def _values(site: Site, shop: Shop) -> dict[str, object]:
    content, etc = site.content, site.root / "etc"
    accounts = shop.folder / "accounts.sql"
    accounts.touch(mode=0o600)
    accounts.write_text(site.accounts())
    return {
        "site_url": f"{content.url}/",
        "site_name": content.host,
        "site_ip": site.address,
        "web_address": f"{site.address}:{content.port}",
        "ca_file": site.authority.certificate,
        "content_mark": content.marks[0],
        "web_root": site.web_root,
        "upload_dir": site.uploads,
        "maintenance_flag": site.root / "tmp/maintenance.flag",
        "web_config": etc / "nginx.conf",
        "config_dataset": "shop-etc",
        "config_path": etc,
        "db_datadir": site.data,
        "db_user": DATABASE_USER,
        "db_config": etc / "my.cnf",
        "db_accounts": accounts,
        "db_query": "SELECT COUNT(*) FROM wp_posts",
        "cert_name": "shop",
        "cert_source": shop.folder / "live",
        "cert_file": etc / "server.pem",
        "key_file": etc / "server.key",
        "volume": site.root,
        "logs": site.root / "log",
        "access_log": site.root / "log/access.log",
        "deny_file": etc / "deny.conf",
        "restore_dir": shop.folder / "beside",
        "package_list": shop.folder / "packages.txt",
        "drtool": PROGRAMS / "drtool",
        "estate": shop.estate,
        "state": shop.state,
    }


def _network(shop: Shop, names: int) -> dict[str, object]:
    """An uplink, which is the server of the bucket, and name servers."""
    assert shop.bucket
    servers = dict.fromkeys(("dns_a", "dns_b", "resolver_a", "resolver_b"), f"127.0.0.1:{names}")
    return {"uplink_url": f"{shop.bucket.endpoint}/", **servers}
