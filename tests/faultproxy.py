"""A proxy that stands before an S3 server and breaks what passes through it, by rule.

It forwards heads untouched, so signatures stay valid. Every connection carries one request, which keeps it
short; clients simply connect again.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

CHUNK = 1 << 16


class Fault(Enum):
    STATUS = "answer with an error of our own; the server sees nothing"
    HANG = "take the request and never answer"
    RESET = "reset the connection instead of forwarding"
    CUT_UPLOAD = "reset after `at` bytes of the request's body"
    CUT_DOWNLOAD = "reset after `at` bytes of the answer's body"
    CORRUPT_UPLOAD = "flip the byte at `at` of the request's body"
    CORRUPT_DOWNLOAD = "flip the byte at `at` of the answer's body"


@dataclass(slots=True, kw_only=True)
class Rule:
    """What befalls requests of ``method`` whose target matches ``path``: after ``skip`` of them, ``times`` times."""

    fault: Fault
    method: str = ".*"
    path: str = ""
    skip: int = 0
    times: int = 1 << 30
    at: int = 0
    status: int = 503
    code: str = "SlowDown"
    fired: int = 0

    def fits(self, method: str, target: str) -> bool:
        if not (re.fullmatch(self.method, method) and re.search(self.path, target)):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.fired >= self.times:
            return False
        self.fired += 1
        return True


@dataclass(slots=True)
class Body:
    """What is left to pass of a body; ``left`` is None where it ends with the connection."""

    left: int | None
    passed: int = 0


@dataclass(eq=False)
class FaultProxy:
    """``with FaultProxy(endpoint) as proxy: proxy.rules = [Rule(…)]``; clients use ``proxy.endpoint``."""

    upstream: str
    certificate: Path | None = None  # PEM with the key: then the proxy speaks TLS to its clients
    rules: list[Rule] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._tls: ssl.SSLContext | None = None
        if self.certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(self.certificate)

    @property
    def endpoint(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Listen; after ``down`` on the same port as before."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port, self._listener = listener.getsockname()[1], listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections and reset the open ones, as when a network goes."""
        if self._listener:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listener.close()
            self._listener = None
        with self._lock:
            for connection in self._open:
                _reset(connection)

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with self._lock:
                    self._open.add(client)
                threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client: socket.socket) -> None:
        plain = client
        try:
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            self._request(client)
        except OSError:
            _reset(client)
        finally:
            with self._lock:
                self._open.discard(plain)
            client.close()

    def _request(self, client: socket.socket) -> None:
        head, rest = _head(client)
        if not head:
            return
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin1").split(" ", 2)
        with self._lock:
            self.requests.append(f"{method} {target}")
            rule = next((rule for rule in self.rules if rule.fits(method, target)), None)
        fault = rule.fault if rule else None
        if rule and fault is Fault.RESET:
            _reset(client)
        elif rule and fault is Fault.HANG:
            while client.recv(CHUNK):  # until the client gives up
                pass
        elif rule and fault is Fault.STATUS:
            _swallow(client, head, rest)
            client.sendall(_error(rule, method))
        else:
            self._forward(client, head, rest, method, rule)

    def _forward(self, client: socket.socket, head: bytes, rest: bytes, method: str, rule: Rule | None) -> None:
        address = urlsplit(self.upstream)
        with socket.create_connection((str(address.hostname), address.port or 80)) as server:
            if b"100-continue" in head.lower():
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                head = re.sub(rb"(?im)^expect:[^\r\n]*\r\n", b"", head)
            server.sendall(_closing(head))
            up = Body(_length(head) or 0)
            if not _pump(client, server, rest, up, _bend(rule, Fault.CUT_UPLOAD, Fault.CORRUPT_UPLOAD)):
                return _reset(client)
            answer, rest = _head(server)
            client.sendall(_closing(answer))
            bodiless = method == "HEAD" or answer.split(b" ", 2)[1] in (b"204", b"304")
            down = Body(0 if bodiless else _length(answer))
            if not _pump(server, client, rest, down, _bend(rule, Fault.CUT_DOWNLOAD, Fault.CORRUPT_DOWNLOAD)):
                time.sleep(0.05)  # what was sent shall arrive first
                _reset(client)


Bend = Callable[[bytes, int], "bytes | None"]


def _bend(rule: Rule | None, cut: Fault, corrupt: Fault) -> Bend:
    """What becomes of a piece of a body that begins at an offset; None cuts there."""

    def bend(piece: bytes, begin: int) -> bytes | None:
        if not rule or not begin <= rule.at < begin + len(piece):
            return piece
        if rule.fault is cut:
            return None
        if rule.fault is corrupt:
            spot = rule.at - begin
            return piece[:spot] + bytes([piece[spot] ^ 0xFF]) + piece[spot + 1 :]
        return piece

    return bend


def _pump(source: socket.socket, target: socket.socket, rest: bytes, body: Body, bend: Bend) -> bool:
    """Pass a body on; False where it was cut."""
    while body.left is None or body.left > 0:
        piece = rest or source.recv(CHUNK)
        rest = b""
        if not piece:
            return body.left is None
        bent = bend(piece, body.passed)
        if bent is None:
            return False
        target.sendall(bent)
        body.passed += len(piece)
        if body.left is not None:
            body.left -= len(piece)
    return True


def _head(stream: socket.socket) -> tuple[bytes, bytes]:
    """The head of a message with its empty line, and what came after it; ("", "") where nothing came."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = stream.recv(CHUNK)
        if not piece:
            return b"", b""
        got += piece
    head, _, rest = got.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _closing(head: bytes) -> bytes:
    """The head with the word that the connection ends after this message; it is never signed."""
    head = re.sub(rb"(?im)^connection:[^\r\n]*\r\n", b"", head)
    return head[:-2] + b"Connection: close\r\n\r\n"


def _length(head: bytes) -> int | None:
    found = re.search(rb"(?im)^content-length:\s*(\d+)", head)
    return int(found[1]) if found else None


def _swallow(client: socket.socket, head: bytes, rest: bytes) -> None:
    if b"100-continue" in head.lower():
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    left = (_length(head) or 0) - len(rest)
    while left > 0 and (piece := client.recv(CHUNK)):
        left -= len(piece)


def _error(rule: Rule, method: str) -> bytes:
    body = b"" if method == "HEAD" else f"<Error><Code>{rule.code}</Code><Message>injected</Message></Error>".encode()
    return (
        f"HTTP/1.1 {rule.status} Injected\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


def _reset(connection: socket.socket) -> None:
    """Close so that the other side sees a reset and not an end."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
    with suppress(OSError):
        connection.close()
