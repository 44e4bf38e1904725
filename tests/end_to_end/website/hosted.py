"""A site that an estate looks after, backed up last night."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.shop import Answer, Shop
from tests.end_to_end.website.stack import Site
from tests.servers import Rclone


@dataclass(kw_only=True)
class Hosted:
    """A site, and the estate that looks after it."""

    site: Site
    shop: Shop

    def run(self, *words: str, code: int = 0) -> Answer:
        return self.shop.run(*words, code=code)

    def assert_served_again(self) -> None:
        """Every mark, image, number and file is there; and a browser that trusts the authority shows the page."""
        self.site.restart_php()
        assert self.site.check() == {}
        shot = self.site.screenshot(self.shop.folder / "after.png")
        assert (shot.title, shot.error) == (self.before.title, "")
        assert shot.picture is not None
        assert len(shot.picture.read_bytes()) > 10_000

    def __post_init__(self) -> None:
        self.before = self.site.screenshot(self.shop.folder / "before.png")
        assert self.before.title


def estate_of(site: Site, folder: Path, rclone: Rclone, *, prefix: str) -> Shop:
    """An estate for a running site, with its files and its database, in two copies that hold nothing yet."""
    shop = Shop(folder=folder, bucket=rclone.bucket())
    assert shop.bucket
    shop.add_directory("disk")
    shop.add_bucket("offsite", rclone, shop.bucket)
    shop.add_files(f"{prefix}-files", site.web_root)
    shop.datasets[f"{prefix}-db"] = {
        "repository": "main",
        "rpo": "24h",
        "rto": "1h",
        "mariadb": {
            "database": site.database,
            "defaults_file": str(site.backup_file),
            "restore_defaults_file": str(site.admin_file),
        },
    }
    return shop.write().init()
