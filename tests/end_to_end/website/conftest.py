from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.website.desk import Desk, set_up
from tests.end_to_end.website.hosted import Hosted, estate_of
from tests.end_to_end.website.stack import Site
from tests.pages import names
from tests.servers import Rclone


@pytest.fixture
def hosted(site: Site, tmp_path: Path, rclone: Rclone) -> Iterator[Hosted]:
    """WordPress backed up to both copies, last night."""
    shop = estate_of(site, tmp_path / "shop", rclone, prefix="site")
    shop.run("backup", code=0)
    yield Hosted(site=site, shop=shop)
    shop.close()


@pytest.fixture
def desk(site: Site, tmp_path: Path, rclone: Rclone) -> Iterator[Desk]:
    """The same with the shipped instructions, and the daemons in the hand of a service script."""
    shop = estate_of(site, tmp_path / "shop", rclone, prefix="shop")
    shop.add_files("shop-etc", site.root / "etc")
    with names({(f"{site.content.host}.", "A"): [site.address]}) as port:
        desk = set_up(site, shop, port)
        desk.run("backup")
        yield desk
    site.kill()
    shop.close()
