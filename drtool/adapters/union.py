"""A read-only restic repository on a unix socket, made of all copies: restic's REST backend, version 2.

Format: https://restic.readthedocs.io/en/stable/REST_backend.html. restic is told ``rest:http+unix://SOCKET:/``.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from drtool.adapters.shelf import Shelf
from drtool.core.model import Marker, Taken
from drtool.core.objects import Inventory, is_key
from drtool.core.ports import Address, Copy
from drtool.errors import DrtoolError, ObjectMissing

V2 = "application/vnd.x.restic.rest.v2"
CONNECTIONS = 8  # objects that restic asks for at once, and so are fetched ahead of its reading
KINDS = ("keys", "data", "index", "snapshots", "locks")

T = TypeVar("T")


class Union:
    """See ``core.ports.Union``."""

    name = "union"

    def __init__(self, shelf: Shelf, socket: Path) -> None:
        self._shelf, self._socket = shelf, socket

    def marker(self) -> Marker:
        return self._shelf.marker()

    def address(self) -> Address:
        return Address(url=f"rest:http+unix://{self._socket}:/", options=("-o", f"rest.connections={CONNECTIONS}"))

    def taken(self) -> Mapping[str, Taken]:
        return self._shelf.taken()

    def damage(self) -> Mapping[str, frozenset[str]]:
        return self._shelf.damage()

    def gone(self) -> frozenset[str]:
        return self._shelf.gone()


@contextmanager
def serve_union(copies: Sequence[Copy], present: Mapping[str, Inventory], config_sha256: str) -> Iterator[Union]:
    """Serve the copies as one repository until the end; the socket lies in a private folder."""
    with (
        _private_folder() as folder,
        closing(Shelf(copies, present, config_sha256)) as shelf,
        _workers() as workers,
    ):
        socket = folder / "restic"
        with _listening(_Answers(shelf, workers), socket):
            yield Union(shelf, socket)


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """What is still being fetched at the end is nobody's any more: on a slow line it would keep Ctrl-C waiting."""
    workers = ThreadPoolExecutor(2 * CONNECTIONS, thread_name_prefix="union")
    try:
        yield workers
    finally:
        workers.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Not in the state folder, whose path may be longer than a socket's may be (108 bytes)."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="drtool-")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise DrtoolError(
            f"no folder for a socket can be made: {why}", hint="set TMPDIR, or read one copy by --from COPY"
        ) from error
    with folder as path:
        yield Path(path)


class _Answers:
    """What is answered to restic. Nothing is ever written or removed."""

    def __init__(self, shelf: Shelf, workers: ThreadPoolExecutor) -> None:
        self._shelf, self._workers = shelf, workers

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/config", self.item), web.get("/{kind}/", self.names)])
        app.add_routes([web.get("/{kind}/{name}", self.item)])
        return app

    async def names(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        if kind not in KINDS:
            raise web.HTTPNotFound
        found = self._shelf.names(kind)
        listed = [{"name": key.rpartition("/")[2], "size": size} for key, size in found.items()]
        # restic compares the type as a whole: with a charset behind it, it would expect version 1
        return web.Response(body=json.dumps(listed).encode(), headers={"Content-Type": V2})

    async def item(self, request: web.Request) -> web.Response:
        """One object or the asked range of it; aiohttp answers HEAD by the same."""
        key = _key(request.match_info.get("kind", ""), request.match_info.get("name", "config"))
        if not is_key(key):
            raise web.HTTPNotFound
        try:
            size = await self._do(lambda: self._shelf.size(key))
            if request.method == "HEAD":
                return web.Response(headers={"Content-Length": str(size)})
            wanted = request.http_range
            start, stop = wanted.start or 0, min(size if wanted.stop is None else wanted.stop, size)
            content = await self._do(lambda: self._shelf.read(key, start, stop - start))
        except ObjectMissing:
            raise web.HTTPNotFound from None  # restic does not ask again
        except (DrtoolError, OSError) as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from None
        if "Range" not in request.headers:
            return web.Response(body=content)
        place = f"bytes {start}-{start + len(content) - 1}/{size}"
        return web.Response(body=content, status=206, headers={"Content-Range": place})

    async def _do(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, act)


def _key(kind: str, name: str) -> str:
    """REST names packs without the folder that the default layout puts them in."""
    return "/".join(filter(None, (kind, name[:2] if kind == "data" else "", name)))


@contextmanager
def _listening(answers: _Answers, socket: Path) -> Iterator[None]:
    """The server lives in a thread of its own, with a loop of its own."""
    loop, end = asyncio.new_event_loop(), asyncio.Event()
    ready: Future[None] = Future()

    async def live() -> None:
        runner = web.AppRunner(answers.application(), access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await web.UnixSite(runner, str(socket)).start()
            ready.set_result(None)
            await end.wait()
        finally:
            await runner.cleanup()

    def run() -> None:
        try:
            loop.run_until_complete(live())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)  # it belongs to who waits for the server

    thread = threading.Thread(target=run, name="union", daemon=True)
    thread.start()
    try:
        ready.result()
        yield
    finally:
        if not loop.is_closed() and thread.is_alive():
            loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()
