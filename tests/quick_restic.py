"""restic, but for one thing: a repository that it makes opens in no time.

restic measures the machine when it makes a key, so that each later opening costs half a second of processor time.
Most of the suite's time would be that. ``init`` therefore makes the repository here, with a key that is cheap to
derive; everything else is restic itself, and so is ``init`` where a bucket is reached over TLS.
Formats: restic's design document, "Keys, Encryption and MAC".
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import secrets
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from cryptography.hazmat.primitives.poly1305 import Poly1305

RESTIC = Path(sys.prefix) / "bin" / "restic"
COST = {"N": 1 << 10, "r": 8, "p": 1}
POLYNOMIAL = "25b468838dcb75"  # an irreducible one; restic draws one for each repository


@functools.cache
def quick_restic() -> Path:
    """The program to be named by DRTOOL_RESTIC. It takes no environment, since drtool gives its children none."""
    program = Path(tempfile.mkdtemp(prefix="drtool-quick-")) / "restic"
    ours = shlex.join([sys.executable, str(Path(__file__).absolute())])
    program.write_text(
        f'#!/bin/sh\nfor word; do [ "$word" = init ] && exec {ours} "$@"; done\nexec {shlex.quote(str(RESTIC))} "$@"\n'
    )
    program.chmod(0o755)
    return program


def main(words: Sequence[str]) -> None:
    place = words[words.index("-r") + 1]
    password = Path(os.environ["RESTIC_PASSWORD_FILE"]).read_bytes().strip()
    if place.startswith("s3:http://") and (bucket := _Prefix(place)).empty():
        for name, content in objects(password).items():
            bucket.put(name, content)
    elif ":" not in place and not (Path(place) / "config").exists():
        make(Path(place), password)
    else:
        os.execv(RESTIC, [str(RESTIC), *words])  # noqa: S606 - no shell is wanted


class _Prefix:
    """Where in a bucket restic would put the repository. botocore finds the keys as restic does."""

    def __init__(self, place: str) -> None:
        import botocore.session
        from botocore.config import Config

        url = urlsplit(place.removeprefix("s3:"))
        self._bucket, _, self._prefix = url.path.strip("/").partition("/")
        self._client = botocore.session.get_session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=f"{url.scheme}://{url.netloc}",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def empty(self) -> bool:
        """Not so where there is trouble: of that, restic itself shall tell."""
        try:
            return "Contents" not in self._client.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._prefix}/")
        except Exception:
            return False

    def put(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}", Body=content)


def make(folder: Path, password: bytes) -> None:
    """An empty repository in a folder."""
    for name in ("keys", "index", "snapshots", "locks", *(f"data/{number:02x}" for number in range(256))):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, content in objects(password).items():
        (folder / name).write_bytes(content)


def objects(password: bytes) -> dict[str, bytes]:
    """What an empty repository of version 2 in restic's default layout consists of."""
    master, salt = secrets.token_bytes(64), secrets.token_bytes(64)
    inner = {"mac": {"k": _text(master[32:48]), "r": _text(master[48:])}, "encrypt": _text(master[:32])}
    derived = hashlib.scrypt(password, salt=salt, n=COST["N"], r=COST["r"], p=COST["p"], dklen=64)
    key = {"created": "2026-01-01T00:00:00Z", "username": "", "hostname": "", "kdf": "scrypt", **COST,
           "salt": _text(salt), "data": _text(_sealed(derived, json.dumps(inner).encode()))}  # fmt: skip
    content = json.dumps(key).encode()
    config = {"version": 2, "id": secrets.token_hex(32), "chunker_polynomial": POLYNOMIAL}
    return {
        f"keys/{hashlib.sha256(content).hexdigest()}": content,
        "config": _sealed(master, json.dumps(config).encode()),
    }


def _sealed(key: bytes, plain: bytes) -> bytes:
    """Nonce, AES-256-CTR, Poly1305-AES. ``key``: 32 bytes to encrypt, 16 and 16 for the MAC (k, r)."""
    encrypt, k, r = key[:32], key[32:48], key[48:]
    nonce = secrets.token_bytes(16)
    sealed = Cipher(AES(encrypt), CTR(nonce)).encryptor().update(plain)
    once = Cipher(AES(k), ECB()).encryptor().update(nonce)  # noqa: S305 - one block, as the format wants it
    return nonce + sealed + Poly1305.generate_tag(r + once, sealed)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


if __name__ == "__main__":
    main(sys.argv[1:])
