"""What a site holds: drawn at random for each one, so that an empty or another site cannot pass for it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
import stat
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

HOST = "teahouse.example.test"
PASSWORDS = ("admin", "backup", "application", "author", "salt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the site is made of; ``prices`` and ``marks`` in the order of their products and posts."""

    host: str
    port: int
    title: str
    marks: tuple[str, ...]
    prices: tuple[str, ...]
    images: tuple[str, ...]
    orders: tuple[tuple[str, int], ...]
    passwords: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    @property
    def cents(self) -> int:
        return sum(cents for _, cents in self.orders)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A site as it was when all was well: its content, the digest of each table and the state of each file."""

    content: Content
    tables: Mapping[str, str]
    files: Mapping[str, str]

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, file: Path) -> Truth:
        document = json.loads(file.read_text())
        content = document["content"]
        lists = {name: tuple(content[name]) for name in ("marks", "prices", "images")}
        orders = tuple((customer, cents) for customer, cents in content["orders"])
        return cls(
            content=Content(**content | lists | {"orders": orders}), tables=document["tables"], files=document["files"]
        )


def draw_content(port: int, *, posts: int = 20, images: int = 6, orders: int = 100) -> Content:
    return Content(
        host=HOST,
        port=port,
        title=f"Teahouse {secrets.token_hex(4)}",
        marks=tuple(f"mark-{secrets.token_hex(8)}" for _ in range(posts)),
        prices=tuple(f"{random.randint(200, 5000) / 100:.2f} EUR" for _ in range(images)),
        images=tuple(f"tea-{number}.png" for number in range(images)),
        orders=tuple((f"customer {secrets.token_hex(4)}", random.randint(100, 99999)) for _ in range(orders)),
        passwords={name: secrets.token_hex(16) for name in PASSWORDS},
    )


def draw_image(file: Path, *, across: int = 16, down: int = 12, side: int = 20) -> None:
    """A PNG of squares in random colours."""
    lines = (b"\0" + b"".join(secrets.token_bytes(3) * side for _ in range(across)) for _ in range(down))
    rows = b"".join(line * side for line in lines)
    header = struct.pack(">IIBBBBB", across * side, down * side, 8, 2, 0, 0, 0)
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND")
    )


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def files_below(folder: Path) -> dict[str, str]:
    """Each path with its kind, mode, owner, group and content; times are left out."""
    found = {}
    for place, folders, files in os.walk(folder):
        for path in (Path(place) / name for name in (*folders, *files)):
            found[str(path.relative_to(folder))] = _state(path)
    return found


def _state(path: Path) -> str:
    about = path.lstat()
    owned = f"{stat.filemode(about.st_mode)} {about.st_uid}:{about.st_gid}"
    if path.is_symlink():
        return f"{owned} -> {path.readlink()}"
    return f"{owned} {hashlib.sha256(path.read_bytes()).hexdigest()}" if path.is_file() else owned
