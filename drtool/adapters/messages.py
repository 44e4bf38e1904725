"""Telling people by the addresses of the estate: mail, chat, a page to a phone. An address may hold a token."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor


class Addresses:
    """See ``core.ports.Messages``: one kind for each address that took it, in order."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = tuple(addresses)

    def send(self, title: str, text: str) -> tuple[str, ...]:
        """All at once: one that does not answer keeps no other waiting."""
        if not self._addresses:
            return ()
        with ThreadPoolExecutor(len(self._addresses), thread_name_prefix="messages") as pool:
            taken = list(pool.map(lambda address: _sent(address, title, text), self._addresses))
        return tuple(_kind(address) for address, took in zip(self._addresses, taken, strict=True) if took)


def _sent(address: str, title: str, text: str) -> bool:
    """Whether it was taken. Whatever goes wrong means that it was not, and is not told: the words may hold a token."""
    import apprise  # slow to load, and only needed here

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it writes addresses into its log
    asset = apprise.AppriseAsset(async_mode=False, app_id="drtool", app_desc="drtool", app_url="")
    try:
        told = apprise.Apprise(asset=asset)
        return bool(told.add(address) and told.notify(title=title, body=text, body_format=apprise.NotifyFormat.TEXT))
    except Exception:  # so many services, so many errors
        return False


def _kind(address: str) -> str:
    return address.partition("://")[0]
