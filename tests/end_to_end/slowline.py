"""A line to a server that carries only so many bytes in a second: what takes time then takes it for sure."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class SlowLine:
    """``with SlowLine(endpoint, rate=2_000_000) as line``; ``line.endpoint`` is the way in.

    The rate is in bytes a second, for all connections together.
    """

    def __init__(self, upstream: str, *, rate: float = 0, delay: float = 0) -> None:
        address = urlsplit(upstream)
        self._upstream = (str(address.hostname), int(address.port or 80))
        self.rate, self.delay = rate, delay
        self.carried = 0
        self.moments: set[int] = set()  # quarters of a second, of the machine's clock, in which something was carried
        self._due = 0.0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rate = self.delay = 0
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream)
        except OSError:
            client.close()
            return
        threading.Thread(target=self._carry, args=(server, client), daemon=True).start()
        self._carry(client, server)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 15):
                if self.delay:
                    time.sleep(self.delay)
                self._wait(len(piece))
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _wait(self, size: int) -> None:
        with self._lock:
            self.carried += size
            self.moments.add(int(time.monotonic() * 4))
            if not self.rate:
                return
            now = time.monotonic()
            self._due = max(now, self._due) + size / self.rate
            pause = self._due - now
        time.sleep(pause)
