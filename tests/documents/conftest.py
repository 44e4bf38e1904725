"""A sound estate on disk, to be broken in just one way by each test."""

from __future__ import annotations

from pathlib import Path

import pytest

TWO_COPIES = Path(__file__).parents[2] / "policies" / "two-copies.yaml"

SOUND = """\
version: 1
site: shop
locale: de
repositories:
  main:
    password: {file: main.password}
    copies:
      disk:
        directory: /srv/backup/main
      offsite:
        s3: {endpoint: https://s3.example.net, bucket: acme, prefix: shop/main}
        credentials: {file: keys}
datasets:
  files:
    repository: main
    files: {paths: [/var/www/shop], exclude: ["*.tmp"]}
    rpo: 24h
    rto: 2h
    retention: {last: 3, daily: 14}
  dump:
    repository: main
    command: {argv: [pg_dump, shop], filename: shop.sql}
    rpo: 1d12h
    rto: 1h
policies: [policies/two-copies.yaml]
notify: ["mailto://admin@example.net"]
"""


def write_secret(path: Path, mode: int = 0o600) -> Path:
    """A secret file with a value that must never be shown."""
    path.write_text("hunter2\n", encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.fixture
def estate(tmp_path: Path) -> Path:
    """The file of a sound estate with its secrets and its policy."""
    write_secret(tmp_path / "main.password")
    write_secret(tmp_path / "keys")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "two-copies.yaml").write_bytes(TWO_COPIES.read_bytes())
    path = tmp_path / "drtool.yaml"
    path.write_text(SOUND, encoding="utf-8")
    return path


@pytest.fixture
def sound() -> str:
    """The text of the sound estate."""
    return SOUND


@pytest.fixture
def shipped() -> Path:
    """The policy that travels with drtool."""
    return TWO_COPIES
