"""Each technical instruction that is shipped is followed after its real incident, and the site is what it was.

Work by hand counts as done. Where an instruction asks for agreement, a second person gives it by their own login.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.end_to_end.shop import Answer
from tests.end_to_end.website import incidents, nameserver
from tests.end_to_end.website.check import Differs
from tests.end_to_end.website.desk import SERVICE, SHIPPED, Desk, states, waits_at
from tests.end_to_end.website.stack import DATABASE_USER, Site
from tests.pages import pages
from tests.servers import free_port

ATTACKER = "127.66.66.66"
OLD = timedelta(days=30).total_seconds()


def last_night(desk: Desk) -> str:
    """A time by which everything was saved."""
    return max(str(one["time"]) for one in desk.run("snapshots").document["snapshots"])


def test_where_all_is_well_nothing_fits_and_each_can_be_tried_without_changing_anything(desk: Desk) -> None:
    site = desk.site
    assert desk.diagnosed() == set()
    asked = {
        "nwb-05-compromise": ["snapshot=latest"],
        "nwb-06-ransomware": ["snapshot=latest"],
        "nwb-12-copy-lost": ["copy=disk"],
        "nwb-13-deletion": [f"path={site.uploads}"],
    }
    for name in sorted(path.stem for path in SHIPPED.glob("nwb-*.yaml")):
        given = [word for param in asked.get(name, ()) for word in ("--param", param)]
        steps = desk.run("runbook", "run", name, "--dry-run", *given).document["steps"]
        verdicts = {step["id"]: [look["verdict"] for look in step.get("seen", ())] for step in steps}
        assert verdicts["restored"][-1] == "pass", name
        unknown = {step for step, found in verdicts.items() if "unknown" in found}
        assert unknown == ({"reload-dns"} if name == "nwb-10-dns" else set()), "there is no name server here"
    assert site.check() == {}


def test_01_services_that_were_killed_are_started_again(desk: Desk) -> None:
    desk.site.nginx.kill()
    desk.site.php.kill()
    assert desk.diagnosed() == {"nwb-01-service-down"}
    run = desk.follow("nwb-01-service-down", cause="absturz", personal_data=False)
    assert [states(run)[step] for step in ("start-database", "start-php", "start-web")] == ["satisfied", "ok", "ok"]
    assert desk.site.check() == {}


def test_02_an_expired_certificate_is_renewed(desk: Desk) -> None:
    site, folder = desk.site, desk.shop.folder
    expire(site)
    assert "certificate has expired" in site.check()["front"]
    (folder / "live").mkdir()
    (folder / "new").mkdir()
    site.authority.issue(site.content.host, folder / "new/fullchain.pem", folder / "new/privkey.pem")
    renew = folder / "renew"
    renew.write_text(
        f'#!/bin/sh\n[ "$*" = "renew --cert-name shop --non-interactive" ] && cp {folder}/new/* {folder}/live'
    )
    renew.chmod(0o755)
    desk.write(cert_renew=renew)
    assert "nwb-02-certificate" in desk.diagnosed()
    desk.follow("nwb-02-certificate", cert_way="renew", key_lost=False, personal_data=False)
    key = site.root / "etc/server.key"
    assert (key.owner(), key.stat().st_mode & 0o777) == ("www-data", 0o600)
    assert site.check() == {}


def test_02_a_lost_certificate_comes_from_the_backup(desk: Desk) -> None:
    site = desk.site
    (site.root / "etc/server.pem").unlink()
    (site.root / "etc/server.key").unlink()
    desk.write(cert_source=site.root / "etc")
    assert desk.diagnosed() == {"nwb-02-certificate"}
    answers = {"cert_way": "from_backup", "key_lost": False, "personal_data": False}
    desk.follow("nwb-02-certificate", approve=["approve-restore"], failed={"present"}, **answers)
    assert site.check() == {}


def expire(site: Site) -> None:
    certificate, key = site.root / "etc/server.pem", site.root / "etc/server.key"
    site.authority.issue(site.content.host, certificate, key, ends_in=-timedelta(days=1))
    site.nginx.stop()
    site.nginx.start()


def test_03_a_full_disk_gets_room_and_the_database_is_not_touched(desk: Desk) -> None:
    site = desk.site
    with small_disk(site) as disk:
        desk.write(volume=disk, logs=disk)
        log = disk / "log"
        log.mkdir()
        keep = [log / "access.log", log / "access.log.1", site.data / "mariadb-bin.000001", site.data / "dump.sql.gz"]
        for path in keep:
            path.write_bytes(os.urandom(1000))
        age(site.data / "dump.sql.gz")
        fill(disk, [log / f"access.log.{number}.gz" for number in range(2, 6)])
        with pytest.raises(AssertionError, match="No space left on device"):
            site.query("CREATE TABLE orders AS SELECT REPEAT('x', 60000) FROM seq_1_to_300")
        site.mariadb.kill()
        assert "nwb-03-disk-full" in desk.diagnosed()
        run = desk.follow("nwb-03-disk-full", lost=False, personal_data=False)
        assert (states(run)["more-room"], states(run)["start-database"]) == ("satisfied", "ok")
        assert [path for path in keep if not path.exists()] == []
        assert {path.name for path in log.iterdir()} == {"access.log", "access.log.1"}
        site.query("CREATE TABLE orders AS SELECT REPEAT('x', 60000) FROM seq_1_to_30; DROP TABLE orders")
        assert site.check() == {}


def test_03_a_run_that_finds_no_room_for_itself_begins_after_the_script_by_hand(desk: Desk) -> None:
    with small_disk(desk.site) as disk:
        shutil.copytree(desk.shop.state, disk / "state")
        desk.shop.state = disk / "state"
        desk.write(volume=disk, logs=disk, state=desk.shop.state)
        fill(disk, [disk / f"access.log.{number}.gz" for number in range(2, 6)])
        refused = desk.run("runbook", "run", "nwb-03-disk-full", code=1)
        assert "no space left on device" in refused.error["message"]
        by_hand = [SHIPPED / "scripts/free-room.sh", disk, disk, "7", desk.site.data]
        subprocess.run(by_hand, check=True, capture_output=True)
        run = desk.begin("nwb-03-disk-full")
        assert (waits_at(run, "waiting_manual"), states(run)["restored"]) == ("assess", "ok")


@contextmanager
def small_disk(site: Site) -> Iterator[Path]:
    """Put the database on a disk of its own, on which there is little room."""
    site.mariadb.stop()
    disk, elsewhere = site.root / "var", site.root / "moved"
    disk.rename(elsewhere)
    disk.mkdir()
    size = 2 * sum(path.stat().st_size for path in elsewhere.rglob("*"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "small", disk], check=True)
    try:
        subprocess.run(["cp", "--archive", elsewhere / "mariadb", disk], check=True)
        shutil.rmtree(elsewhere)
        site.mariadb.start()
        yield disk
    finally:
        site.kill()
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path, files: list[Path]) -> None:
    """To the last byte, with old files of about the same size."""
    part = shutil.disk_usage(disk).free // len(files) - 4096
    for file in files:
        file.write_bytes(bytes(part))
        age(file)
    with pytest.raises(OSError, match="No space"), files[-1].open("ab", buffering=0) as last:
        while last.write(bytes(4096)):
            pass
    age(files[-1])


def age(path: Path) -> None:
    then = path.stat().st_mtime - OLD
    os.utime(path, (then, then))


def test_04_a_failed_deployment_is_taken_back_with_its_migration(desk: Desk) -> None:
    site, releases = desk.site, desk.site.root / "releases"
    releases.mkdir()
    site.web_root.rename(releases / "20261101-1200")
    (releases / "20261120-1800").mkdir()
    (releases / "20261120-1800/index.php").write_text("<?php throw new Exception('a new version');\n")
    age(releases / "20261120-1800")
    site.web_root.symlink_to(releases / "20261120-1800")
    site.restart_php()
    incidents.drop_table(site)
    desk.write(release_link=site.web_root, releases=releases)
    desk.shop.add_files("shop-files", releases)
    desk.shop.write()
    assert desk.diagnosed() == {"nwb-01-service-down", "nwb-04-failed-deployment", "nwb-07-database"}
    answers = {"database_changed": True, "database_back": True, "erased": 0, "personal_data": False}
    desk.follow("nwb-04-failed-deployment", approve=["approve-database"], **answers)
    assert site.web_root.readlink().name == "20261101-1200"
    assert site.check() == {}


def test_05_an_intruders_page_back_door_and_account_are_gone(desk: Desk) -> None:
    site, clean = desk.site, last_night(desk)
    incidents.deface(site)
    site.query("INSERT INTO wp_users (user_login, user_email) VALUES ('intruder', 'intruder@example.test')")
    assert {"nwb-05-compromise", "nwb-14-mail-abuse"} <= desk.diagnosed()
    answers = {"isolation": "web_stop", "where": "same_host", "database_affected": True, "nis2": False}
    run = desk.begin("nwb-05-compromise", "--yes", params={"snapshot": clean}, **answers, personal_data=True)
    assert waits_at(run, "waiting_approval") == "approve-restore"
    assert site.nginx.pid is None
    alone = ("--choose", "approve-restore=break-glass", "--reason", "in a hurry")
    assert "break-glass" in desk.resume(run, *alone, code=2).error["message"]
    desk.approve(run, "approve-restore", person="admin", code=2)
    run = desk.go_on(run, approve=["approve-restore", "approve-open"])
    assert ["Art. 33 Abs. " in duty["duty"] for duty in run.document["duties"]] == [True, True]
    traces = [path.read_text() for path in desk.folder(run).rglob("php-in-uploads.txt")]
    assert ["session.php" in text for text in sorted(traces)] == [False, True]
    assert site.check() == {}


def test_06_files_encrypted_by_ransomware_come_from_the_state_before_the_last(desk: Desk) -> None:
    site, clean = desk.site, last_night(desk)
    incidents.encrypt_uploads(site)
    desk.run("backup")
    assert "nwb-06-ransomware" in desk.diagnosed()
    answers = {"isolation": "both", "where": "same_host", "database_affected": False, "nis2": False}
    desk.follow(
        "nwb-06-ransomware",
        params={"snapshot": clean},
        approve=["approve-restore", "approve-open"],
        **answers,
        personal_data=False,
    )
    assert site.check() == {}


def test_07_a_database_with_a_corrupt_file_is_restored(desk: Desk) -> None:
    incidents.corrupt_innodb(desk.site)
    assert "nwb-07-database" in desk.diagnosed()
    answers = {"db_way": "restore", "erased": 0, "personal_data": False}
    run = desk.begin("nwb-07-database", "--yes", **answers)
    with pytest.raises(Differs, match="503"):
        desk.site.visitor.get("/")
    desk.go_on(run, approve=["approve-restore"], **answers)
    assert desk.site.check() == {}


def test_07_a_database_whose_folder_has_gone_is_made_anew(desk: Desk) -> None:
    site = desk.site
    site.mariadb.kill()
    shutil.rmtree(site.data)
    assert "nwb-07-database" in desk.diagnosed()
    desk.follow("nwb-07-database", approve=["approve-restore"], db_way="fresh", erased=0, personal_data=False)
    assert (site.data.owner(), site.data.stat().st_mode & 0o777) == (DATABASE_USER, 0o700)
    assert site.check() == {}


def test_08_whoever_floods_the_site_is_denied_and_it_serves_again(desk: Desk) -> None:
    site = desk.site
    settings = site.root / "etc/nginx.conf"
    more = f"access_log {site.root}/log/access.log combined;\n  include {site.root}/etc/deny*.conf;"
    settings.write_text(settings.read_text().replace("access_log off;", more))
    site.nginx.stop()
    site.nginx.start()
    flood = replace(site.visitor, source=ATTACKER)
    for _ in range(60):
        flood.get("/wp-content/themes/teahouse/style.css")
    desk.write(deny_limit=50)
    stop_workers(site)
    assert "nwb-08-overload" in desk.diagnosed()
    run = desk.follow("nwb-08-overload", flood="attack", deny=True, personal_data=False)
    assert states(run)["restart-php"] == "ok"
    with pytest.raises(Differs, match="403"):
        flood.get("/wp-content/themes/teahouse/style.css")
    assert site.check() == {}


def stop_workers(site: Site) -> None:
    """All places of PHP are taken."""
    found = subprocess.run(["pgrep", "-P", str(site.php.pid)], check=True, capture_output=True, text=True)
    for worker in found.stdout.split():
        os.kill(int(worker), signal.SIGSTOP)


def test_09_a_dead_uplink_is_seen_and_proven_to_be_back(desk: Desk) -> None:
    port = free_port()
    desk.write(uplink_url=f"http://127.0.0.1:{port}/")
    assert desk.diagnosed() == {"nwb-09-network"}
    run = desk.begin("nwb-09-network", "--yes", network="back", personal_data=False)
    assert waits_at(run, "paused_failed") == "restored"
    with pages(port=port):
        assert desk.diagnosed() == set()
        run = desk.resume(run, "--yes", "--choose", "restored=retry", code=0)
    assert run.document["state"] == "completed"


def test_10_a_zone_that_is_wrong_comes_back_with_a_higher_serial(desk: Desk) -> None:
    site, port = desk.site, free_port()
    zone, here = site.root / "etc/zone", f"127.0.0.1:{port}"
    good = zone_of(site, site.address)
    zone.write_text(good)
    desk.run("backup", "shop-etc")
    commands = [str(SERVICE), str(site.root / "run/named.pid"), str(site.root / "log/named.out")]
    program = [sys.executable, nameserver.__file__, str(zone), site.content.host, str(port), commands[1]]
    desk.add_service(
        "named",
        {act: [*commands, act] for act in ("stop", "reload", "status")} | {"start": [*commands, "start", *program]},
    )
    desk.write(zone_file=zone, dns_a=here, dns_b=here, resolver_a=here, resolver_b=here)
    zone.write_text(zone_of(site, "192.0.2.66"))
    subprocess.run([*commands, "start", *program], check=True)
    try:
        assert desk.diagnosed() == {"nwb-10-dns"}
        desk.follow("nwb-10-dns", approve=["approve-zone"], dns="own_zone", personal_data=False, nis2=False)
        assert desk.diagnosed() == set()
    finally:
        subprocess.run([*commands, "stop"], check=True)
    assert re.sub(r"20\d{8}", "2020010101", zone.read_text()) == good
    assert "2020010101" not in zone.read_text()


def zone_of(site: Site, address: str) -> str:
    soa = f"@ IN SOA ns.{site.content.host}. admin.{site.content.host}. (\n  2020010101 ; serial\n  3600 600 86400 60 )"
    return f"$TTL 60\n{soa}\n@ IN NS ns\nns IN A 127.0.0.1\n@ IN A {address}\n"


def test_12_a_copy_is_filled_again_from_the_other(desk: Desk) -> None:
    disk, answers = desk.shop.folders["disk"], {"params": {"copy": "disk"}, "personal_data": False}
    for pack in desk.shop.packs("disk")[:2]:
        pack.unlink()
    assert desk.diagnosed() == {"nwb-12-copy-lost"}
    desk.follow("nwb-12-copy-lost", lost="damaged", **answers)
    desk.shop.assert_whole()
    for path in list(disk.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert desk.diagnosed() == {"nwb-12-copy-lost"}
    desk.follow("nwb-12-copy-lost", lost="replaced", approve=["approve-refill"], **answers)
    desk.shop.assert_whole()
    assert desk.diagnosed() == set()


def test_13_a_deleted_folder_comes_back_and_the_copy_beside_is_removed(desk: Desk) -> None:
    site = desk.site
    shutil.rmtree(site.uploads)
    assert set(site.check()) == {"images", "files"}
    answers = {"put_back": "all", "personal_data": False}
    run = desk.follow("nwb-13-deletion", params={"path": site.uploads}, approve=["approve-restore"], **answers)
    assert f"{site.uploads} fehlt ganz" in (desk.folder(run) / "kept/unterschiede.txt").read_text()
    assert list((desk.shop.folder / "beside").iterdir()) == []
    assert site.check() == {}


def test_14_mail_abuse_is_found_and_ends_only_when_its_script_has_gone(desk: Desk) -> None:
    site = desk.site
    door = site.uploads / "mailer.php"
    door.write_text("<?php // harmless; a real one would send mail\n")
    assert desk.diagnosed() == {"nwb-05-compromise", "nwb-14-mail-abuse"}
    answers = {"source": "script", "deleted": 0, "personal_data": False}
    run: Answer = desk.begin("nwb-14-mail-abuse", **answers)
    assert waits_at(run, "waiting_manual") == "stop-source"
    run = desk.resume(run, "--yes", **answers)
    desk.approve(run, "approve-release")
    run = desk.resume(run, "--yes", **answers)
    assert waits_at(run, "paused_failed") == "restored"
    door.unlink()
    run = desk.resume(run, "--yes", "--choose", "restored=retry", code=0)
    assert run.document["state"] == "completed"
    assert site.check() == {}
