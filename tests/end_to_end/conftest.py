from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.shop import Shop, change, copy_of, fill
from tests.end_to_end.website.stack import Site, build, copied
from tests.servers import Rclone


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop with a folder of files and no copy yet; nothing it started outlives the test."""
    shop = Shop(folder=tmp_path / "shop")
    fill(shop.source)
    shop.add_files()
    yield shop
    shop.close()


@pytest.fixture
def two(shop: Shop, rclone: Rclone) -> Shop:
    """The usual estate: a disk first, a bucket second, both initialised."""
    shop.add_directory("disk")
    shop.add_bucket("offsite", rclone, rclone.bucket())
    return shop.write().init()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, rclone: Rclone) -> Shop:
    """The usual estate after two nights. It is only copied."""
    shop = Shop(folder=tmp_path_factory.mktemp("template") / "shop")
    fill(shop.source)
    shop.add_files()
    shop.add_directory("disk")
    shop.add_bucket("offsite", rclone, rclone.bucket())
    shop.write().init()
    shop.run("backup", code=0)
    change(shop.source, 1)
    shop.run("backup", code=0)
    return shop


@pytest.fixture
def grown(template: Shop, tmp_path: Path, rclone: Rclone) -> Iterator[Shop]:
    """The usual estate after two nights, to do with as one likes."""
    shop = copy_of(template, tmp_path / "shop", rclone)
    yield shop
    shop.close()


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real site, built by whichever worker comes first. It is only copied."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "site"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            build(folder)
    return folder


@pytest.fixture
def site(built_site: Path) -> Iterator[Site]:
    """A real site that runs, to do with as one likes."""
    site = copied(built_site)
    try:
        site.start()
        yield site
    finally:
        site.destroy()
