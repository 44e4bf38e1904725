"""The machine is gone for good; on a new one `drtool restart` alone brings the site back, and its journal has the time.

What the new host has: drtool, the programs, and what lay in the safe. The rest comes out of the bucket.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.shop import Answer
from tests.end_to_end.website import incidents
from tests.end_to_end.website.authority import Authority
from tests.end_to_end.website.desk import ACCOUNTS, ROOT, Desk, states
from tests.end_to_end.website.new_host import NewHost
from tests.end_to_end.website.stack import WEB_USER, Site
from tests.end_to_end.website.truth import Truth
from tests.servers import Rclone

ROUNDS = 12  # times that a run may wait for somebody
TEMPORARY = ("body", "fastcgi", "proxy", "uwsgi", "scgi")  # folders of nginx
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a host of its own needs root")
CHECKS = 6
CHECK = "import sys; from tests.end_to_end.website.test_restart import look; print(look(sys.stdin.read()))"
ANSWERS = {
    "personal_data": "false", "network": "back",
    "config_back": "true", "rebuild_database": "false", "new_address": "false", "disk_left": "false",
    "db_way": "fresh", "erased": "0", "cause": "hardware", "lost": "replaced",
}  # fmt: skip


@dataclass(kw_only=True)
class Successor:
    """The new host, and the administrator before it."""

    desk: Desk
    host: NewHost
    safe: Mapping[Path, str]
    lost_at: datetime

    def run(self, *words: str, code: int | None = 0, person: str = "admin") -> Answer:
        return self.desk.run(*words, code=code, person=person)

    def bootstrap(self) -> None:
        """The estate comes out of the bucket; what must not lie in a backup comes out of the safe."""
        shop = self.desk.shop
        for path, text in self.safe.items():
            self.host.write(path, text)
        assert shop.bucket
        done = self.run(
            "bootstrap", f"s3:{shop.bucket.endpoint}/{shop.bucket.name}/offsite/main",
            "--password-file", str(shop.folder / "main.password"),
            "--credentials", str(shop.folder / "offsite.cred"), "--to", str(shop.folder), code=3,
        ).document  # fmt: skip
        assert done["estate"] == str(shop.estate)
        assert len(done["missing"]) == 2, "the accounts of the database, which are in the backup of /etc"

    def restart(self) -> Answer:
        return self.run("restart", "--outage", self.lost_at.isoformat(), *said(), code=None)

    def resume(self, run: str, *words: str) -> Answer:
        return self.run("runbook", "resume", run, *said(), *words, code=None)

    def agree(self, waiting: Answer) -> list[str]:
        """The second person types what the run asks for, in a login of his own."""
        asked = re.findall(r"drtool runbook approve (\S+) (\S+)", waiting.err)
        for run, step in asked:
            self.run("runbook", "approve", run, step, person="technik")
        return [step for _, step in asked]

    def carry_on(self, run: Answer) -> tuple[Answer, list[str]]:
        """Until it waits for nobody any more; with the steps that were agreed to."""
        agreed: list[str] = []
        for _ in range(ROUNDS):
            if run.document["state"] != "waiting_approval":
                break
            agreed += self.agree(run)
            run = self.resume(run.document["run"])
        return run, agreed

    def kill_while_loading(self, run: str) -> None:
        """kill -9 to drtool when the first tables of the database are there again, and not all."""
        shop, tables = self.desk.shop, self.host.inside(self.desk.site.data)
        under_way = shop.start("runbook", "resume", run, *said(), env={"SUDO_USER": ACCOUNTS["admin"]})
        while not any(tables.glob("*/wp_*.ibd")):
            assert under_way.process.poll() is None, str(under_way.wait())
            time.sleep(0.005)
        for pid, words in shop.processes().items():
            if "/bin/drtool" in words and not words.startswith("nsenter"):
                os.kill(pid, signal.SIGKILL)
        assert under_way.wait().out == ""

    def assert_measured(self, run: Answer) -> None:
        """From the loss to the proof, with the time that people took; in the journal, and in what is shown later."""
        clocks = {name: datetime.fromisoformat(at) for name, at in run.document["clocks"].items()}
        assert clocks["outage"] == self.lost_at
        assert clocks["outage"] < clocks["started"] < clocks["declared"] < clocks["service_restored"] < clocks["normal"]
        rto = run.document["rto"]
        assert rto["measured"] == pytest.approx((clocks["service_restored"] - clocks["outage"]).total_seconds())
        assert 0 < rto["waiting"] < rto["measured"] < rto["target"]
        shown = self.run("runbook", "show", run.document["run"]).document
        assert (shown["rto"], shown["clocks"]) == (rto, run.document["clocks"])
        kinds = [one["kind"] for one in self.run("evidence", "show").document["events"]]
        assert {"runbook.started", "runbook.ended"} <= set(kinds)
        self.run("evidence", "verify")

    def assert_backed_up(self) -> None:
        """A fresh snapshot of everything in both copies, the refilled one too, and nothing is held any more."""
        for dataset in self.desk.shop.datasets:
            newest = self.run("snapshots", dataset).document["snapshots"][-1]
            assert datetime.fromisoformat(newest["time"]) > self.lost_at
            assert sorted(newest["copies"]) == ["disk", "offsite"]
        assert self.run("hold", "list").document["holds"] == []

    def check(self) -> dict[str, str]:
        """The site's own check, made on the new host: its page, its database and its files."""
        site = self.desk.site
        assert site.truth
        told = {"root": str(site.root), "address": site.address, "truth": asdict(site.truth)}
        told["authority"] = (site.authority.certificate).read_text()
        found = self.host.run(
            "env", f"PYTHONPATH={ROOT}", "PYTHONDONTWRITEBYTECODE=1", sys.executable, "-c", CHECK,
            entering=json.dumps(told),
        )  # fmt: skip
        return dict(json.loads(found))


def said(**other: str) -> list[str]:
    """What the administrator says beforehand, since nobody can type here."""
    answers = ANSWERS | other
    return ["--yes", *(word for name, value in answers.items() for word in ("--answer", f"{name}={value}"))]


@pytest.fixture
def successor(desk: Desk, rclone: Rclone) -> Iterator[Successor]:
    """The site was backed up, with the concept that its administrator had filled in; then all was lost."""
    site, shop = desk.site, desk.shop
    authority = site.root / "etc/authority.pem"
    shutil.copy(site.authority.certificate, authority)
    desk.write(ca_file=authority)
    fill_in(shop.folder / "runbooks/restart-concept.yaml", desk)
    desk.run("backup")
    safe = {
        path: path.read_text()
        for path in (shop.folder / "main.password", shop.folder / "offsite.cred", shop.folder / "accounts.sql")
    }
    incidents.lose_everything(site)
    for path in (shop.state, shop.folders["disk"], shop.folder / "runbooks"):
        shutil.rmtree(path)
    for path in (shop.estate, shop.folder / "register.yaml", *safe):
        path.unlink()
    bare = (shop.folder, site.root, rclone.data, site.authority.certificate.parent.parent)
    with NewHost("web1-new", bare) as host:
        host.forward(rclone.port)
        prepare(host, site.root)
        shop.through, shop.environment = host.through, {}
        yield Successor(desk=desk, host=host, safe=safe, lost_at=datetime.now(UTC))


def prepare(host: NewHost, root: Path) -> None:
    """The folders that the packages of the daemons make.

    nginx is not root's here, and could not write to what its check of the settings, which is, had made before it.
    """
    for name in ("run", "log", "tmp"):
        host.run("install", "-d", "-m", "1777", str(root / name))
    host.run("install", "-d", "-o", WEB_USER, *(str(root / "tmp" / name) for name in TEMPORARY))
    host.run("install", "-o", WEB_USER, "/dev/null", str(root / "run/nginx.pid"))
    host.run("install", "-o", WEB_USER, "/dev/null", str(root / "log/nginx.err"))


def fill_in(path: Path, desk: Desk) -> None:
    """What an administrator fills into the shipped concept: no name server of its own, its data, and the proof."""
    concept = yaml.safe_load(path.read_text())
    del concept["systems"]["dns"]
    for system in concept["systems"].values():
        system["depends"] = [one for one in system.get("depends", []) if one != "dns"]
    concept["systems"]["web"]["datasets"].append("shop-etc")
    values = desk.values
    concept["verify"] = [
        {"probe": "http", "url": values["site_url"], "connect": values["web_address"], "ca": values["ca_file"],
         "status": ["200"], "body": values["content_mark"], "retries": 10, "consecutive": 3, "interval": "1s"},
    ]  # fmt: skip
    path.write_text(yaml.safe_dump(concept, allow_unicode=True, sort_keys=False))


def look(told: str) -> str:
    """What ``Successor.check`` runs on the new host: from what it is told to the checks that fail, both as JSON."""
    document = json.loads(told)
    folder = Path(tempfile.mkdtemp())
    (folder / "ca.pem").write_text(document["authority"])
    (folder / "truth.json").write_text(json.dumps(document["truth"]))
    truth = Truth.load(folder / "truth.json")
    site = Site(Path(document["root"]), truth.content, Authority(folder), truth)
    site.address = document["address"]
    return json.dumps(site.check())


def test_everything_gone_is_brought_back_on_a_new_host_by_restart_alone(successor: Successor) -> None:
    host, root = successor.host, successor.desk.site.root
    assert host.run("hostname") == "web1-new\n"
    assert host.run("find", str(root), str(successor.desk.shop.folder), "-type", "f", "-size", "+0") == ""
    assert str(root) not in host.run("ps", "ax", "-o", "args", "--no-headers")
    successor.bootstrap()
    assert len(successor.check()) == CHECKS, "there is nothing yet"
    run, agreed = successor.carry_on(successor.restart())
    assert (run.code, run.document["state"]) == (0, "completed"), str(run)
    assert agreed == ["approve-restore", "approve-restore", "approve-refill", "normal"]
    assert set(states(run).values()) == {"ok"}
    assert successor.check() == {}
    successor.assert_measured(run)
    successor.assert_backed_up()


def test_a_restart_that_is_killed_in_the_middle_of_the_database_goes_on(successor: Successor) -> None:
    successor.bootstrap()
    run = successor.restart()
    successor.agree(run)
    name = run.document["run"]
    run = successor.resume(name)  # the machine is there, the database waits for agreement
    successor.agree(run)
    successor.kill_while_loading(name)
    run = successor.resume(name)
    assert run.document["state"] == "paused_in_doubt", str(run)
    assert "restore-database: it had begun when the run was cut off" in run.err
    run, agreed = successor.carry_on(successor.resume(name, "--choose", "restore-database=again"))
    assert agreed == ["approve-refill", "normal"], "nobody is asked twice"
    assert (run.code, run.document["state"]) == (0, "completed"), str(run)
    assert successor.check() == {}
    successor.assert_measured(run)


def test_the_rebuild_alone_brings_the_site_back_and_its_backup_waits_for_the_copy_that_is_gone(
    successor: Successor,
) -> None:
    successor.bootstrap()
    run = successor.run("runbook", "run", "nwb-11-rebuild", *said(rebuild_database="true"), code=None)
    run, agreed = successor.carry_on(run)
    assert agreed == ["approve-restore"]
    assert successor.check() == {}
    assert (run.document["state"], states(run)["fresh-backup"]) == ("paused_failed", "failed"), str(run)
    copy = successor.run("runbook", "run", "nwb-12-copy-lost", "--param", "copy=disk", *said(), code=None)
    copy, agreed = successor.carry_on(copy)
    assert (copy.document["state"], agreed) == ("completed", ["approve-refill"])
    run = successor.resume(run.document["run"], "--choose", "fresh-backup=retry")
    assert run.document["state"] == "completed", str(run)
    successor.assert_backed_up()
