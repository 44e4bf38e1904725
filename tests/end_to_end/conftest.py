from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.shop import Shop, build_nights, change, copy_of, fill
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


def once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """A folder that whichever worker comes first fills, for all of them. It is only copied."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    built = folder.with_suffix(".built")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            built.touch()
    return folder


@pytest.fixture(scope="session")
def two_nights(tmp_path_factory: pytest.TempPathFactory, rclone: Rclone) -> Path:
    """The usual estate after two nights."""
    return once(tmp_path_factory, "two-nights", lambda folder: build_nights(folder, rclone, [_changed(1)]))


@pytest.fixture(scope="session")
def five_nights(tmp_path_factory: pytest.TempPathFactory, rclone: Rclone) -> Path:
    """The usual estate after five nights."""
    days = [_changed(night) for night in range(1, 5)]
    return once(tmp_path_factory, "five-nights", lambda folder: build_nights(folder, rclone, days))


def _changed(seed: int) -> Callable[[Path], None]:
    return lambda source: change(source, seed)


@pytest.fixture
def grown(two_nights: Path, tmp_path: Path, rclone: Rclone) -> Iterator[Shop]:
    """The usual estate after two nights, to do with as one likes."""
    shop = copy_of(two_nights, tmp_path / "shop", rclone)
    yield shop
    shop.close()


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real site."""
    return once(tmp_path_factory, "site", build)


@pytest.fixture
def site(built_site: Path) -> Iterator[Site]:
    """A real site that runs, to do with as one likes."""
    site = copied(built_site)
    try:
        site.start()
        yield site
    finally:
        site.destroy()
