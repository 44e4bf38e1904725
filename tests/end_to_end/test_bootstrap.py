"""A bare machine: one copy, the password, and drtool. Nothing else is left of the old one."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.end_to_end.shop import Shop, assert_same_tree
from tests.servers import Bucket, credentials_file


def _bare(shop: Shop, tmp_path: Path) -> Shop:
    """Another machine: its own folder and state."""
    bare = Shop(folder=tmp_path / "bare", before=shop.before or shop.source)
    bare.estate = bare.folder / "etc" / "drtool.yaml"
    return bare


def test_from_a_directory_everything_comes_back(grown: Shop, tmp_path: Path) -> None:
    grown.run("backup", code=0)  # stores this estate
    bare = _bare(grown, tmp_path)
    done = bare.run(
        "bootstrap", str(grown.folders["disk"]), "--password-file", str(grown.folder / "main.password"),
        "--to", str(bare.folder / "etc"), code=0,
    ).document  # fmt: skip
    assert done["estate"] == str(bare.estate)
    assert done["missing"] == []
    target = bare.folder / "back"
    bare.run("restore", "files", "--to", str(target), code=0)
    assert_same_tree(grown.source, target / grown.source.relative_to("/"))
    bare.close()


def test_from_a_bucket_with_what_the_old_machine_had_beside_the_estate(grown: Shop, tmp_path: Path) -> None:
    """Password and keys lay beside the estate; the password is put there, the keys are asked for."""
    bucket = grown.bucket
    assert isinstance(bucket, Bucket)
    grown.more["repositories"] = {
        "main": {
            "password": {"file": "main.password"},
            "copies": grown.copies | {"offsite": grown.copies["offsite"] | {"credentials": {"file": "offsite.cred"}}},
        }
    }
    grown.write().run("backup", code=0)
    bare = _bare(grown, tmp_path)
    keys = credentials_file(bare.folder / "keys")
    words = (
        "bootstrap", f"s3:{bucket.endpoint}/{bucket.name}/offsite/main",
        "--password-file", str(grown.folder / "main.password"), "--credentials", str(keys),
        "--to", str(bare.folder / "etc"),
    )  # fmt: skip
    missing = bare.run(*words, code=3).document["missing"]
    assert any("offsite.cred" in one for one in missing)
    assert (bare.folder / "etc" / "main.password").stat().st_mode & 0o777 == 0o600
    shutil.copy(keys, bare.folder / "etc" / "offsite.cred")
    target = bare.folder / "back"
    bare.run("restore", "files", "--from", "offsite", "--to", str(target), code=0)
    assert_same_tree(grown.source, target / grown.source.relative_to("/"))
    bare.close()


def test_an_estate_that_is_there_is_not_written_over_unless_asked(grown: Shop, tmp_path: Path) -> None:
    grown.run("backup", code=0)
    bare = _bare(grown, tmp_path)
    words = (
        "bootstrap", str(grown.folders["disk"]), "--password-file", str(grown.folder / "main.password"),
        "--to", str(bare.folder / "etc"),
    )  # fmt: skip
    bare.estate.parent.mkdir()
    bare.estate.write_text("mine")
    bare.run(*words, code=1)
    assert bare.estate.read_text() == "mine"
    bare.run(*words, "--yes", code=0)
    assert bare.estate.read_text() == grown.estate.read_text()
    bare.close()


def test_a_wrong_password_and_a_place_that_is_none_leave_nothing_behind(grown: Shop, tmp_path: Path) -> None:
    bare = _bare(grown, tmp_path)
    wrong = bare.folder / "wrong"
    wrong.write_text("wrong-password\n")
    for location, code in (
        (str(grown.folders["disk"]), 12),
        (str(tmp_path / "nothing"), 24),
        ("s3:http://example.net/bucket", 2),
        ("s3:nonsense", 2),
    ):
        words = ("bootstrap", location, "--password-file", str(wrong), "--to", str(bare.folder / "etc"))
        bare.run(*words, code=code)
    assert not (bare.folder / "etc").exists()
    bare.close()


def test_a_forged_estate_writes_nowhere_else(grown: Shop, tmp_path: Path) -> None:
    """Who can write to a copy and knows the password must not get a root shell of the new machine."""
    outside = tmp_path / "cron.d" / "evil"
    outside.parent.mkdir()
    outside.write_text("* * * * * root id")
    grown.run("backup", code=0)
    grown.restic("disk", "backup", str(outside), str(grown.estate), "--tag", "drtool,dataset:estate", "--host", "shop")
    outside.unlink()
    bare = _bare(grown, tmp_path)
    done = bare.run(
        "bootstrap", str(grown.folders["disk"]), "--password-file", str(grown.folder / "main.password"),
        "--to", str(bare.folder / "etc"), code=0,
    ).document  # fmt: skip
    assert not outside.exists()
    assert all(Path(path).is_relative_to(bare.folder / "etc") for path in done["files"])
    bare.close()
