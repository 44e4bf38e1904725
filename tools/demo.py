"""``make demo``: the main job for real, in ./demo, as a person would want to watch it."""

from __future__ import annotations

import filecmp
import os
import random
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

BIN = Path(sys.prefix) / "bin"
DEMO = Path("demo").absolute()
WEB, DATABASE, BUCKETS, RESTORED = DEMO / "www", DEMO / "shop.db", DEMO / "s3-server", DEMO / "restored"
KEY, SECRET = "demo-access-key", "demo-secret-key"
SIGN = ".made-by-make-demo"


def main() -> int:
    begin = time.monotonic()
    fresh_folder()
    say("A small shop: a web root with awkward files, and a SQLite database that is in use")
    make_web_root()
    make_database()
    print(f"  {sum(1 for _ in WEB.rglob('*')):,} files and folders below demo/www, and demo/shop.db")
    with s3_server() as endpoint:
        say("drtool init writes the estate; copies init makes the repository in both copies")
        make_estate(endpoint)
        drtool("copies", "init")
        say("The first night: restic writes once, finished packs stream to the second copy meanwhile")
        drtool("backup")
        say("Is that good enough? drtool looks at the hardware, and says honestly that it is not:\n"
            "both copies lie on this machine's disk, beside the shop itself")  # fmt: skip
        drtool("status", expect=21)
        say("A day of business: orders come in, pages change. The second night")
        a_day_of_business()
        drtool("backup")
        drtool("copies", "list")
        say("Disaster: every pack of the local copy is destroyed")
        destroy(DEMO / "copy" / "data")
        say("At three in the morning: one command for the files, one for the database")
        for name in datasets():
            drtool("restore", name, "--to", str(RESTORED / name))
        say("Is every byte back?")
        compare()
        say("The next night heals the local copy from the other one by itself")
        drtool("backup")
        drtool("evidence", "verify")
    say(f"Done in {time.monotonic() - begin:.0f} s. What was made is in ./demo; `rm -r demo` removes all of it")
    return 0


# What a person sees


def say(text: str) -> None:
    lines = text.splitlines()
    print(
        "\n" + "\n".join([f"\033[1m▸ {lines[0]}\033[0m", *(f"\033[1m  {line}\033[0m" for line in lines[1:])]),
        flush=True,
    )


def drtool(*words: str, expect: int = 0) -> None:
    """Run the real command as a person would type it; anything but the expected exit code ends the demo."""
    shown = " ".join(word.replace(f"{DEMO}/", "demo/").replace(str(DEMO), "demo") for word in words)
    print(f"\033[36m$ drtool {shown}\033[0m", flush=True)
    env = {**os.environ, "DRTOOL_CONFIG": str(DEMO / "drtool.yaml"), "DRTOOL_STATE": str(DEMO / "state")}
    code = subprocess.run([BIN / "drtool", *words], env=env, check=False).returncode
    if code != expect:
        sys.exit(f"the demo ends here: drtool {words[0]} ended with {code}, and {expect} was expected")


# The shop


def fresh_folder() -> None:
    if DEMO.exists():
        if not (DEMO / SIGN).exists():
            sys.exit("./demo exists and was not made by this demo; move it away first")
        shutil.rmtree(DEMO)
    DEMO.mkdir()
    (DEMO / SIGN).touch()


def make_web_root() -> None:
    chance = random.Random(7)
    words = [f"word{number:04d}" for number in range(2000)]
    for number in range(2500):
        folder = WEB / "pages" / f"{number % 50:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        text = " ".join(chance.choices(words, k=chance.randint(50, 900)))
        (folder / f"page-{number}.html").write_text(f"<h1>{number}</h1>\n{text}\n")
    uploads = WEB / "uploads"
    uploads.mkdir()
    for number in range(40):
        (uploads / f"photo {number}.jpg").write_bytes(chance.randbytes(chance.randint(200_000, 1_500_000)))
    (uploads / "catalogue.bin").write_bytes(chance.randbytes(60_000_000))
    awkward_files(WEB / "awkward")


def awkward_files(folder: Path) -> None:
    """What breaks careless tools: names, links, sizes, modes."""
    folder.mkdir()
    for name in (
        b"line\nbreak",
        b"quote'\"`$(x)",
        b"not-utf8-\xff\xfe",
        b" spaces ",
        b"-rf",
        b"n" * 255,
        "Grüße €.txt".encode(),
    ):
        with open(os.fsencode(folder) + b"/" + name, "wb") as file:
            file.write(b"content of " + name)
    (folder / "empty").touch()
    (folder / "empty folder").mkdir()
    (folder / "link").symlink_to("empty")
    (folder / "dangling").symlink_to("../nowhere")
    os.link(folder / "-rf", folder / "hard link")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    deep = folder.joinpath(*[f"level-{level}" for level in range(40)])
    deep.mkdir(parents=True)
    (deep / "bottom.txt").write_text("down here\n")


def make_database() -> None:
    with closing(sqlite3.connect(DATABASE)) as shop, shop:
        shop.execute("PRAGMA journal_mode = WAL")
        shop.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY, customer TEXT, cents INTEGER)")
        shop.executemany(
            "INSERT INTO orders VALUES (?, ?, ?)", ((n, f"customer {n % 977}", n * 37 % 20000) for n in range(50_000))
        )


def a_day_of_business() -> None:
    with closing(sqlite3.connect(DATABASE)) as shop, shop:
        shop.executemany(
            "INSERT INTO orders VALUES (?, ?, ?)", ((n, f"customer {n % 977}", 4200) for n in range(50_000, 51_000))
        )
    for number in range(0, 2500, 100):
        page = WEB / "pages" / f"{number % 50:02d}" / f"page-{number}.html"
        page.write_text(page.read_text() + "<p>news of the day</p>\n")
    (WEB / "pages" / "00" / "page-50.html").unlink()
    (WEB / "uploads" / "new photo.jpg").write_bytes(random.Random(8).randbytes(900_000))


def destroy(folder: Path) -> None:
    packs = [path for path in folder.rglob("*") if path.is_file()]
    for path in packs:
        path.unlink()
    print(f"  {len(packs)} packs deleted below demo/copy/data")


def datasets() -> list[str]:
    """The names that ``drtool init`` gave, from its own document."""
    import yaml

    return list(yaml.safe_load((DEMO / "drtool.yaml").read_text())["datasets"])


def make_estate(endpoint: str) -> None:
    credentials = DEMO / "offsite.credentials"
    credentials.touch(mode=0o600)
    credentials.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    what = ["--site", "demo", "--files", str(WEB), "--sqlite", str(DATABASE)]
    where = ["--copy-directory", str(DEMO / "copy"), "--s3-endpoint", endpoint, "--s3-bucket", "backup"]
    drtool("init", str(DEMO), *what, *where, "--s3-credentials", str(credentials), "--quiet")


# The proof


def compare() -> None:
    """Byte by byte: names, kinds, modes, link targets, contents; then every row of the database."""
    restored = next(RESTORED.glob(f"*{WEB}"))
    paths = sorted(os.walk(os.fsencode(WEB)))
    seen, size = 0, 0
    for folder, folders, files in paths:
        for name in [*folders, *files]:
            before = os.path.join(folder, name)
            after = os.path.join(os.fsencode(restored), os.path.relpath(before, os.fsencode(WEB)))
            check_same(before, after)
            seen, size = seen + 1, size + os.lstat(before).st_size
    if seen != sum(len(folders) + len(files) for _, folders, files in os.walk(os.fsencode(restored))):
        sys.exit("  NO: there is more in the restored tree than there was")
    rows = [orders(DATABASE), orders(next(RESTORED.rglob(DATABASE.name)))]
    if rows[0] != rows[1]:
        sys.exit("  NO: the restored database differs")
    print(f"  yes: {seen:,} files and folders with {size / 1e6:.1f} MB, and {len(rows[0]):,} orders, are the same")


def check_same(before: bytes, after: bytes) -> None:
    one, two = os.lstat(before), os.lstat(after)
    same = one.st_mode == two.st_mode
    if stat.S_ISLNK(one.st_mode):
        same = same and os.readlink(before) == os.readlink(after)
    elif stat.S_ISREG(one.st_mode):
        same = same and one.st_mtime_ns == two.st_mtime_ns and filecmp.cmp(before, after, shallow=False)
    if not same:
        sys.exit(f"  NO: {before!r} differs")


def orders(database: Path) -> list[tuple[int, str, int]]:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as shop:
        return shop.execute("SELECT * FROM orders ORDER BY number").fetchall()


# The S3 server


@contextmanager
def s3_server() -> Iterator[str]:
    """``rclone serve s3`` on a free port of the loopback; it ends with this demo, however that ends."""
    say("A real S3 server on this machine (rclone), as a stand-in for a provider")
    (BUCKETS / "backup").mkdir(parents=True)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    with (DEMO / "s3-server.log").open("wb") as log:
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", BIN / "rclone", "serve", "s3", "--addr", address, BUCKETS],
            env={"HOME": str(DEMO), "PATH": os.defpath, "RCLONE_AUTH_KEY": f'"{KEY},{SECRET}"'},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(port)
        print(f"  http://{address}, bucket backup, run with key and secret")
        yield f"http://{address}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def wait_for(port: int) -> None:
    for _ in range(100):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("the S3 server did not start; see demo/s3-server.log")


if __name__ == "__main__":
    sys.exit(main())
