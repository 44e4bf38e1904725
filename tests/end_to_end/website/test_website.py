"""The site that the other tests lose and bring back: it is real, and no damage to it goes unseen."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.website import incidents
from tests.end_to_end.website.authority import Authority
from tests.end_to_end.website.check import Differs, Visitor
from tests.end_to_end.website.screenshot import take
from tests.end_to_end.website.stack import Site

EVERYTHING = {"front", "marks", "shop", "images", "database", "files"}

# Each incident with the checks that fail after it, and those that fail once PHP has started again.
INCIDENTS: tuple[tuple[Callable[[Site], None], set[str], set[str]], ...] = (
    (incidents.drop_table, {"marks", "shop", "database"}, {"marks", "shop", "database"}),
    (incidents.corrupt_innodb, {"marks", "shop", "database"}, {"marks", "shop", "database"}),
    (incidents.delete_web_root, EVERYTHING - {"database"}, EVERYTHING - {"database"}),
    (incidents.deface, {"files"}, {"files", "front", "marks", "shop"}),
    (incidents.encrypt_uploads, {"images", "files"}, {"images", "files"}),
)


def living(site: Site) -> list[psutil.Process]:
    """The site's daemons and their workers."""
    masters = [psutil.Process(daemon.pid) for daemon in site.daemons if daemon.pid]
    return [process for master in masters for process in (master, *master.children(recursive=True))]


def lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=60)


def test_what_is_known_of_a_site_leaves_nothing_out(site: Site) -> None:
    assert site.truth
    images = [name for name in site.truth.files if name.startswith("wp-content/uploads/") and name.endswith(".png")]
    assert len(images) > len(site.content.images)  # in several sizes
    assert {"index.php", "wp-config.php", "wp-content/themes/teahouse/index.php"} < site.truth.files.keys()
    assert len(set(site.truth.tables.values())) == len(site.query("SHOW TABLES").split()) > 10


def test_a_built_site_passes_every_check_before_and_after_a_restart(site: Site) -> None:
    assert site.check() == {}
    site.stop()
    assert set(site.check()) == EVERYTHING - {"files"}
    site.start()
    assert site.check() == {}


@pytest.mark.parametrize(
    ("incident", "failing", "failing_later"), INCIDENTS, ids=[incident.__name__ for incident, _, _ in INCIDENTS]
)
def test_each_incident_is_seen(
    site: Site, incident: Callable[[Site], None], failing: set[str], failing_later: set[str]
) -> None:
    site.visitor.get("/")  # as visitors did before; PHP keeps what it has compiled
    incident(site)
    assert set(site.check()) == failing, site.check()
    site.restart_php()
    assert set(site.check()) == failing_later, site.check()


def test_an_empty_server_does_not_pass_for_the_site(site: Site) -> None:
    incidents.lose_everything(site)
    assert set(site.check()) == EVERYTHING
    assert list(site.root.iterdir()) == []
    site.rebuild_empty_server()
    assert all(daemon.pid for daemon in site.daemons)
    assert set(site.check()) == EVERYTHING


def test_what_was_lost_can_be_brought_back_by_hand(site: Site, tmp_path: Path) -> None:
    dump, archive = tmp_path / "wordpress.sql", tmp_path / "teahouse.tar"
    run("mariadb-dump", f"--defaults-file={site.backup_file}", f"--result-file={dump}", "--databases", site.database)
    run("tar", "--create", f"--file={archive}", f"--directory={site.web_root}", ".")
    incidents.lose_everything(site)
    site.rebuild_empty_server()
    site.web_root.mkdir()
    run("tar", "--extract", "--same-owner", f"--file={archive}", f"--directory={site.web_root}")
    site.query(dump.read_text(), database="")
    site.restart_php()
    assert site.check() == {}


def test_a_table_that_is_dropped_still_leaves_a_front_page_with_its_title(site: Site) -> None:
    incidents.drop_table(site)
    assert f"<title>{site.content.title}</title>" in site.visitor.get("/").decode()


def test_a_corrupt_table_cannot_be_dumped_and_can_be_dropped(site: Site) -> None:
    incidents.corrupt_innodb(site)
    words = ["mariadb-dump", f"--defaults-file={site.backup_file}", "--single-transaction", site.database]
    dump = subprocess.run(words, capture_output=True, text=True, check=False)
    assert dump.returncode != 0 and f"`{incidents.TABLE}` is corrupted" in dump.stderr
    assert incidents.TABLE not in site.query(f"DROP TABLE {incidents.TABLE}; SHOW TABLES").split()


def test_a_destroyed_site_leaves_no_process_and_no_file(site: Site) -> None:
    processes = living(site)
    assert len(processes) > len(site.daemons)
    site.stop()
    site.start()
    assert not any(lives(process) for process in processes)
    processes = living(site)
    site.destroy()
    assert not any(lives(process) for process in processes)
    assert not site.root.exists()


def test_a_screenshot_shows_the_page_under_its_title(site: Site, tmp_path: Path) -> None:
    shot = site.screenshot(tmp_path / "front.png")
    assert (shot.title, shot.error, shot.picture) == (site.content.title, "", tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 20_000  # an empty page has 5 kB


def test_who_trusts_another_authority_gets_neither_page_nor_screenshot(site: Site, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other").certificate
    with pytest.raises(Differs, match="CERTIFICATE_VERIFY_FAILED"):
        Visitor(address=site.address, port=site.content.port, host=site.content.host, authority=other).get("/")
    shot = take(
        f"{site.content.url}/",
        host=site.content.host,
        address=site.address,
        authority=other,
        picture=tmp_path / "front.png",
    )
    assert (shot.error, shot.picture) == ("net::ERR_CERT_AUTHORITY_INVALID", None)
