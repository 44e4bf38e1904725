"""Telling people, by a real address on loopback."""

from __future__ import annotations

import http.server
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from drtool.adapters.messages import Addresses
from tests.servers import free_port


@dataclass
class Phone:
    port: int
    heard: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def phone() -> Iterator[Phone]:
    """Takes what is told to /TOKEN, and refuses what is told to /refused."""
    heard: list[dict[str, Any]] = []

    class Listening(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/refused":
                heard.append(said)
            self.send_response(403 if self.path == "/refused" else 200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listening)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Phone(port=server.server_port, heard=heard)
    server.shutdown()
    server.server_close()


def test_a_message_arrives_with_its_title_and_its_text(phone: Phone) -> None:
    assert Addresses([f"json://127.0.0.1:{phone.port}/TOKEN"]).send("Störung", "shop: <b>*weg*</b>\nseit 10:00") == (
        "json",
    )
    (heard,) = phone.heard
    assert (heard["title"], heard["message"]) == ("Störung", "shop: <b>*weg*</b>\nseit 10:00")


def test_only_the_kinds_of_those_that_took_it_are_told(phone: Phone) -> None:
    addresses = [
        f"json://127.0.0.1:{phone.port}/refused",
        f"json://127.0.0.1:{free_port()}/nobody",
        "no-such-kind://somewhere",
        "mailto://",
        f"json://127.0.0.1:{phone.port}/TOKEN",
        f"form://127.0.0.1:{free_port()}/",
    ]
    assert Addresses(addresses).send("title", "text") == ("json",)


def test_without_addresses_nobody_is_told() -> None:
    assert Addresses(()).send("title", "text") == ()


def test_an_empty_message_is_no_crash(phone: Phone) -> None:
    assert Addresses([f"json://127.0.0.1:{phone.port}/TOKEN"]).send("", "") in ((), ("json",))


def test_no_address_is_shown(phone: Phone, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG):
        Addresses([f"json://127.0.0.1:{phone.port}/refused?+token=GEHEIM", "nokind://GEHEIM"]).send("title", "text")
    assert "GEHEIM" not in caplog.text + "".join(capfd.readouterr())
