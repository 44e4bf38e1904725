"""Whether a site is what it was. That a page answers with 200 proves nothing: what is on it does."""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.end_to_end.website.truth import Truth, files_below

PATIENCE = 15.0  # seconds
UPLOADS = "wp-content/uploads/"
TABLE = "== table "
EACH = "SELECT '== table @table@'; SHOW CREATE TABLE @table@; SELECT * FROM @table@ WHERE @lasting@ ORDER BY 1, 2;\n"
LASTING = {"wp_options": "option_name NOT LIKE '%transient%'"}  # the rest is WordPress's own cache


class Differs(Exception):
    """The site is not what it was; the words say in what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Somebody who comes over TLS and trusts one authority."""

    address: str
    port: int
    host: str
    authority: Path
    source: str = ""  # the address that the visitor comes from; without it any

    def get(self, path: str) -> bytes:
        """What is served there; raises Differs where it is not served with 200."""
        trust = ssl.create_default_context(cafile=str(self.authority))
        source = (self.source, 0) if self.source else None
        try:
            with socket.create_connection((self.address, self.port), PATIENCE, source) as plain:
                connection = http.client.HTTPSConnection(self.host, self.port, context=trust)
                connection.sock = trust.wrap_socket(plain, server_hostname=self.host)
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Differs(f"{path}: {error}") from error
        if answer.status != http.HTTPStatus.OK:
            raise Differs(f"{path}: {answer.status}")
        return body


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is looked at, and against what; ``query`` asks the database and goes on where it fails."""

    truth: Truth
    visitor: Visitor
    web_root: Path
    query: Callable[[str], str]

    def failures(self) -> dict[str, str]:
        """The checks that fail, each with its reason; nothing where all is well."""
        checks = {
            "front": self._front,
            "marks": self._marks,
            "shop": self._shop,
            "images": self._images,
            "database": self._database,
            "files": self._files,
        }
        return {name: reason for name, check in checks.items() if (reason := _reason(check))}

    def _front(self) -> None:
        if f"<title>{self.truth.content.title}</title>" not in self._front_page:
            raise Differs(f"the front page's title is not {self.truth.content.title}")

    def _marks(self) -> None:
        """Every post is on the front page, and each of two has a page of its own."""
        marks = self.truth.content.marks
        pages = dict.fromkeys(marks, self._front_page)
        pages |= {marks[number]: self.visitor.get(f"/letter-{number}/").decode() for number in (0, len(marks) - 1)}
        missing = [mark for mark, page in pages.items() if mark not in page or mark not in self._front_page]
        if missing:
            raise Differs(f"{len(missing)} of {len(marks)} posts are not shown")

    def _shop(self) -> None:
        content, page = self.truth.content, self._front_page
        sold = re.search(r"<p>(\d+) orders for (\d+) cents</p>", page)
        found = {"prices": tuple(re.findall(r"<b>(\S+ EUR)</b>", page)), "sold": sold.groups() if sold else None}
        _same("shop", found, {"prices": content.prices, "sold": (str(len(content.orders)), str(content.cents))})

    def _images(self) -> None:
        """Every picture is served as it was, in all its sizes."""
        digests = {name: state.split()[-1] for name, state in self.truth.files.items() if name.endswith(".png")}
        uploads = {name: digest for name, digest in digests.items() if name.startswith(UPLOADS)}
        served = {name: hashlib.sha256(self.visitor.get(f"/{name}")).hexdigest() for name in uploads}
        _same("images", served, uploads)

    def _database(self) -> None:
        _same("tables", digests(self.query), self.truth.tables)

    def _files(self) -> None:
        _same("files", files_below(self.web_root), self.truth.files)

    @cached_property
    def _front_page(self) -> str:
        return self.visitor.get("/").decode()


def digests(query: Callable[[str], str]) -> dict[str, str]:
    """Of each table: its definition and rows, but not the number of the next row, which WordPress's cache moves on."""
    tables = query("SHOW TABLES").split()
    statements = "".join(
        EACH.replace("@table@", table).replace("@lasting@", LASTING.get(table, "TRUE")) for table in tables
    )
    found = re.sub(r" AUTO_INCREMENT=\d+", "", query(statements))
    answers = f"\n{found}".split(f"\n{TABLE}")[1:]
    parts = (answer.partition("\n") for answer in answers)
    return {table: hashlib.sha256(rows.encode()).hexdigest() for table, _, rows in parts}


def _same(what: str, found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if names:
        first = names[0]
        raise Differs(
            f"{what}: {len(names)} differ, such as {first}: {found.get(first, 'missing')}, "
            f"not {expected.get(first, 'missing')}"
        )


def _reason(check: Callable[[], None]) -> str:
    try:
        check()
    except Differs as differs:
        return str(differs)
    return ""
