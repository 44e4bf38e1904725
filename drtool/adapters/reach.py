"""Probes of what is reached over the network: pages, ports, names."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from email.message import Message
from urllib.parse import SplitResult, urlsplit

import dns.exception
import dns.name
import dns.resolver
import urllib3
import urllib3.exceptions

from drtool.adapters.certificates import certificate, trusting
from drtool.adapters.seen import MOST, CannotTell, Seen, failed, judged, passed

PORTS = {"https": 443, "http": 80}
DNS_PORT = 53


# Pages


def http(  # noqa: PLR0913 - each is a key of the document
    *,
    url: str,
    status: Sequence[str],
    header: Mapping[str, str],
    body: str | None,
    without: str | None,
    connect: str | None,
    ca: str | None,
    valid_for: timedelta | None,
    timeout: timedelta,
) -> Seen:
    """A page is answered as it should be; redirects are answers like others, and not followed."""
    parts, limit = _taken_apart(url), timeout.total_seconds()
    name = parts.hostname or ""
    host, port = _host_and_port(connect, parts) if connect else (name, parts.port or PORTS[parts.scheme])
    if parts.scheme == "https":
        seen = certificate(host, port, name=name, ca=ca, valid_for=valid_for or timedelta(), limit=limit)
        if seen.verdict != "pass":
            return seen
    with closing(_pool(parts.scheme, host, port, name, ca, limit)) as pool:
        try:
            answer = _get(pool, parts)
        except urllib3.exceptions.HTTPError as error:
            return failed(_broken(error))
    return _judge(answer, status, header, body, without)


def _pool(scheme: str, host: str, port: int, name: str, ca: str | None, limit: float) -> urllib3.HTTPConnectionPool:
    timeout = urllib3.Timeout(total=limit)
    if scheme == "http":
        return urllib3.HTTPConnectionPool(host, port, timeout=timeout)
    return urllib3.HTTPSConnectionPool(
        host, port, timeout=timeout, ssl_context=trusting(ca), server_hostname=name, assert_hostname=name
    )


def _get(pool: urllib3.HTTPConnectionPool, parts: SplitResult) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers, and the beginning of the page: one byte more than is looked at tells that there is more."""
    where = parts.netloc.rpartition("@")[2]
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": where, "User-Agent": "drtool", "Accept-Encoding": "identity"}
    answer = pool.urlopen(
        "GET", path, headers=headers, retries=False, redirect=False, preload_content=False, assert_same_host=False
    )
    try:
        return answer.status, answer.headers, answer.read(MOST + 1)
    finally:
        answer.close()


def _broken(error: urllib3.exceptions.HTTPError) -> str:
    """In our words: urllib3 puts its own objects before its own. What the system said is raised as it is."""
    if isinstance(error.__cause__, OSError):
        raise error.__cause__
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "no answer in time"
    return "the connection broke before there was an answer"


def _judge(
    answer: tuple[int, Mapping[str, str], bytes],
    status: Sequence[str],
    header: Mapping[str, str],
    body: str | None,
    without: str | None,
) -> Seen:
    code, headers, content = answer
    if str(code) not in status and f"{code // 100}xx" not in status:
        return failed(f"the status is {code}, not {' or '.join(status)}")
    for name, value in header.items():
        if name not in headers:
            return failed(f"there is no header {name}")
        if value not in headers[name]:
            return failed(f"the header {name} does not hold {value}")
    page = content[:MOST].decode(_charset(headers), errors="replace")
    if without is not None and without in page:
        return failed(f"the page holds {without}")
    missing = body is not None and body not in page
    if len(content) > MOST and (missing or without is not None):
        raise CannotTell(f"the page is longer than the {MOST >> 20} MiB that are looked at")
    return failed(f"the page does not hold {body}") if missing else passed(f"the status is {code}")


def _charset(headers: Mapping[str, str]) -> str:
    """The one that the server names, where Python knows it."""
    message = Message()
    message["Content-Type"] = headers.get("Content-Type", "")
    charset = message.get_content_charset("utf-8")
    try:
        b"".decode(charset)
    except LookupError:
        return "utf-8"
    return charset


def _taken_apart(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is no number
    except ValueError as error:
        raise CannotTell(f"the address is none: {error}") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise CannotTell("the address is none; write https://HOST/ or http://HOST/")
    return parts


def _host_and_port(written: str, parts: SplitResult) -> tuple[str, int]:
    try:
        place = urlsplit(f"//{written}")
        host, port = place.hostname, place.port or PORTS[parts.scheme]
    except ValueError:
        host, port = None, 0
    if not host:
        raise CannotTell(f"connect is no HOST:PORT: {written}")
    return host, port


# Ports


def tcp(*, host: str, port: int, timeout: timedelta) -> Seen:
    """A port accepts connections."""
    with socket.create_connection((host, port), timeout=timeout.total_seconds()):
        return passed(f"{host} accepts connections on port {port}")


def tls(*, host: str, port: int, name: str | None, ca: str | None, valid_for: timedelta, timeout: timedelta) -> Seen:
    """A server's certificate is valid for its name, and stays so."""
    return certificate(host, port, name=name or host, ca=ca, valid_for=valid_for, limit=timeout.total_seconds())


# Names


def resolves(*, name: str, type: str, server: str | None, answer: Sequence[str] | None, timeout: timedelta) -> Seen:
    """A name resolves to what it should; the whole answer counts, in any order."""
    resolver = _resolver(server)
    resolver.lifetime = timeout.total_seconds()
    try:
        found = {_spelled(record.to_text()) for record in resolver.resolve(name, type, search=False)}
    except dns.resolver.NXDOMAIN:
        return failed(f"there is no name {name}")
    except dns.resolver.NoAnswer:
        return failed(f"{name} has no record {type}")
    except dns.resolver.LifetimeTimeout:
        return failed(f"no name server answers for {name}")
    except dns.resolver.NoNameservers:
        return failed(f"every name server refuses to answer for {name}")
    except dns.exception.DNSException as error:  # a name that cannot be one
        raise CannotTell(f"{name} cannot be asked for: {str(error).lower()}") from error
    told = f"{name} has {type} {', '.join(sorted(found))}"
    wanted = None if answer is None else {_spelled(text) for text in answer}
    return judged(
        wanted in (None, found), told if wanted in (None, found) else f"{told}, not {', '.join(answer or ())}"
    )


def _resolver(server: str | None) -> dns.resolver.Resolver:
    if server is None:
        try:
            return dns.resolver.Resolver()
        except dns.resolver.NoResolverConfiguration as error:
            raise CannotTell("the system names no name server") from error
    resolver = dns.resolver.Resolver(configure=False)
    address, resolver.port = _server(server)
    resolver.nameservers = [address]
    return resolver


def _server(written: str) -> tuple[str, int]:
    """ADDRESS or ADDRESS:PORT; an IPv6 address with a port is in brackets."""
    try:
        return str(ipaddress.ip_address(written)), DNS_PORT
    except ValueError:
        pass
    try:
        place = urlsplit(f"//{written}")
        return str(ipaddress.ip_address(place.hostname or "")), place.port or DNS_PORT
    except ValueError:
        raise CannotTell(f"the name server {written} is no ADDRESS or ADDRESS:PORT") from None


def _spelled(record: str) -> str:
    """One spelling for what is the same: small letters, no dot at a name's end, no quotes, short addresses."""
    try:
        return ipaddress.ip_address(record).compressed
    except ValueError:
        return " ".join(word.rstrip(".") for word in record.replace('"', "").lower().split())
