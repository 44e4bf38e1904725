"""Each incident of a real site is undone with drtool's commands alone, and what was lost is served again."""

from __future__ import annotations

import json
import shutil

from tests.end_to_end.website import incidents
from tests.end_to_end.website.hosted import Hosted


def test_a_dropped_table_comes_back(hosted: Hosted) -> None:
    incidents.drop_table(hosted.site)
    assert hosted.site.check()
    done = hosted.run("restore", "site-db", "--in-place", "--yes").document
    assert {one["verdict"] for one in done["tables"]} == {"equal"}
    hosted.assert_served_again()
    undo = done["undo"].split()[1:]
    hosted.run(*undo, "--yes")
    assert set(hosted.site.check()) == {"marks", "shop", "database"}, "undone: the table is gone again"


def test_a_corrupt_table_file_is_undone_though_it_cannot_be_saved_before(hosted: Hosted) -> None:
    incidents.corrupt_innodb(hosted.site)
    assert hosted.site.check()
    refused = hosted.run("restore", "site-db", "--in-place", "--yes", code=1)
    assert "--no-safety" in refused.error["hint"]
    hosted.run("restore", "site-db", "--in-place", "--yes", "--no-safety")
    hosted.assert_served_again()


def test_a_database_is_looked_at_beside_the_one_that_is_served(hosted: Hosted) -> None:
    """The careful way: load it under another name, compare, and take what is needed."""
    incidents.drop_table(hosted.site)
    hosted.run("restore", "site-db", "--into", "looked_at")
    assert int(hosted.site.query("SELECT count(*) FROM looked_at.wp_posts")) > 10
    refused = hosted.run("restore", "site-db", "--into", hosted.site.database, code=2)
    assert "--yes" in refused.error["hint"]


def test_a_deleted_web_root_comes_back(hosted: Hosted) -> None:
    incidents.delete_web_root(hosted.site)
    assert hosted.site.check()
    hosted.run("restore", "site-files", "--in-place", "--yes")
    hosted.assert_served_again()


def test_a_defacement_is_seen_for_what_it_is_and_undone(hosted: Hosted) -> None:
    incidents.deface(hosted.site)
    plan = hosted.run("restore", "site-files", "--in-place", "--delete", "--dry-run").document["changes"]
    assert (plan["altered"], plan["added"]) == (1, 0)
    assert any(path.endswith("session.php") for path in plan["deletes"])
    hosted.run("hold", "set", "--reason", "broken into; nothing may go until it is clear since when")
    hosted.run("restore", "site-files", "--in-place", "--delete", "--yes")
    hosted.assert_served_again()


def test_simulated_ransomware_is_undone(hosted: Hosted) -> None:
    incidents.encrypt_uploads(hosted.site)
    assert hosted.site.check()
    hosted.run("backup")  # the night in between saves what is encrypted; what was before is still there
    when = hosted.run("snapshots", "site-files").document["snapshots"][0]["time"]
    hosted.run("restore", "site-files", "--at", when, "--in-place", "--delete", "--yes")
    hosted.assert_served_again()


def test_everything_gone_comes_back_from_the_bucket_alone(hosted: Hosted) -> None:
    """The machine, its disk with the first copy, drtool's state and the estate: all gone. A bucket and a password."""
    site, shop = hosted.site, hosted.shop
    password = (shop.folder / "main.password").read_bytes()
    incidents.lose_everything(site)
    for path in (shop.state, shop.folders["disk"], shop.estate, shop.folder / "main.password"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    site.rebuild_empty_server()
    assert len(site.check()) == 6
    (shop.folder / "from-the-safe").write_bytes(password)
    (shop.folder / "from-the-safe").chmod(0o600)
    assert shop.bucket
    shop.estate = shop.folder / "new" / "drtool.yaml"
    location = f"s3:{shop.bucket.endpoint}/{shop.bucket.name}/offsite/main"
    shop.run(
        "bootstrap", location, "--password-file", str(shop.folder / "from-the-safe"),
        "--credentials", str(shop.folder / "offsite.cred"), "--to", str(shop.estate.parent),
    )  # fmt: skip
    (shop.folder / "main.password").write_bytes(password)
    (shop.folder / "main.password").chmod(0o600)
    hosted.run("restore", "site-db", "--in-place", "--yes")
    hosted.run("restore", "site-files", "--in-place", "--yes", "--no-safety")
    hosted.assert_served_again()
    assert json.loads(shop.estate.read_text())["site"] == "shop"
