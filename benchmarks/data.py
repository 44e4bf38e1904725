"""The data to back up: the same bytes for the same seed, on every machine."""

from __future__ import annotations

import os
import random
from pathlib import Path

WORDS = [f"{a}{b}{c}" for a in ("ba", "de", "ki", "lo", "mu", "ne") for b in ("la", "ri", "to", "su") for c in "ndrst"]
FOLDER = 100  # files in one folder
MIB = 1 << 20


def mixed(folder: Path, *, size: int, files: int, seed: int = 1) -> None:
    """A web server's data: three in four small files are text, the rest is like pictures; eight files are large.

    Of the bytes, three tenths are in the large files, of which every second compresses.
    """
    draw = random.Random(seed)
    large, small = size * 3 // 10 // 8, size * 7 // 10 // (files - 8)
    for number in range(8):
        _write(folder / "large" / f"{number}.bin", large, draw, compressible=number % 2 == 0)
    for number in range(files - 8):
        name = folder / "site" / f"{number // FOLDER:03}" / f"{number}.{'txt' if number % 4 else 'jpg'}"
        _write(name, int(small * draw.uniform(0.1, 1.9)), draw, compressible=number % 4 != 0)


def small(folder: Path, *, files: int, size: int, seed: int = 1) -> None:
    """``files`` texts that together have ``size`` bytes."""
    draw = random.Random(seed)
    for number in range(files):
        length = int(size // files * draw.uniform(0.5, 1.5))
        _write(folder / f"{number // 1000:03}" / f"{number}.txt", length, draw, compressible=True)


def read(folder: Path) -> tuple[int, int]:
    """Read everything once; the number of files and of bytes."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return len(found), sum(_length(path) for path in found)


def forget(folder: Path) -> None:
    """Take what was written or read out of the page cache, as a night after a day's work finds it."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _length(path: Path) -> int:
    length = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(MIB):
            length += len(chunk)
    return length


def _write(path: Path, size: int, draw: random.Random, *, compressible: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            length = min(MIB, size - start)
            file.write(_text(length, draw) if compressible else draw.randbytes(length))


def _text(size: int, draw: random.Random) -> bytes:
    """Words in lines. Long texts repeat a page with other numbers in it, as logs and dumps do."""
    page = " ".join(draw.choices(WORDS, k=min(size, 1 << 16) // 6 + 1)).replace("n ", "\n")
    pages = (f"{page}{draw.getrandbits(64)}\n" for _ in range(size // len(page) + 1))
    return "".join(pages).encode()[:size]


def dense(folder: Path, *, files: int, each: int, seed: int = 1) -> None:
    """Files of ``each`` bytes that do not compress."""
    draw = random.Random(seed)
    for number in range(files):
        _write(folder / f"{number}.bin", each, draw, compressible=False)
