"""Servers of pages and names for tests, on loopback, with certificates of a private CA."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = timedelta(days=1)


class Authority:
    """A private CA; ``file`` is its certificate."""

    def __init__(self, folder: Path) -> None:
        self.file, self._folder = folder / "ca.pem", folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test ca")])
        made = self._about(self._name, self._key.public_key(), -DAY, 365 * DAY)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def certificate(self, name: str, *, begins: timedelta = -2 * DAY, ends: timedelta = 30 * DAY) -> Path:
        """A certificate and its key in one file, valid from and until so long from now."""
        own = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = self._about(subject, own.public_key(), begins, ends)
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        file = self._folder / f"{name}{begins}{ends}.pem"
        form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(
            own.private_bytes(serialization.Encoding.PEM, *form)
            + made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        return file

    def _about(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, begins: timedelta, ends: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(subject_name=subject, issuer_name=self._name, public_key=key)
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(now + begins).not_valid_after(now + ends)


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers by the path; ``/host`` tells the name that was asked for."""

    def do_GET(self) -> None:
        place = self.path.partition("?")[0]
        status = {"/moved": 302, "/broken": 503}.get(place, 200)
        content = {"/host": self.headers["Host"].encode(), "/big": b"x" * 3_000_000, "/old": "Grüße".encode("latin-1")}
        page = content.get(place, b"Willkommen im Laden")
        self.send_response(status)
        self.send_header("Content-Type", "text/html" + ("; charset=iso-8859-1" if place == "/old" else ""))
        self.send_header("X-Shop", "nginx 1.22")
        if status == 302:
            self.send_header("Location", "/")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        try:
            self.wfile.write(page)
        except OSError:
            self.close_connection = True  # who asked has read enough

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def pages(certificate: Path | None = None, *, port: int = 0) -> Iterator[int]:
    """A server of pages; its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Pages)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda request, address: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


Zone = Mapping[tuple[str, str], Sequence[str]]  # names with the kind of record: the records

ZONE: Zone = {
    ("shop.example.", "A"): ["192.0.2.7", "192.0.2.8"],
    ("shop.example.", "AAAA"): ["2001:db8::7"],
    ("shop.example.", "MX"): ["10 mail.shop.example."],
    ("shop.example.", "TXT"): ['"v=spf1 mx -all"'],
    ("www.shop.example.", "CNAME"): ["Shop.Example."],
}


@contextmanager
def names(zone: Zone = ZONE) -> Iterator[int]:
    """A name server that knows ``zone``, refuses ``refused.example`` and says nothing of ``silent.example``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind(("127.0.0.1", 0))
        threading.Thread(target=_serve_names, args=(line, zone), daemon=True).start()
        yield line.getsockname()[1]


def _serve_names(line: socket.socket, zone: Zone) -> None:
    while True:
        try:
            asked, place = line.recvfrom(4096)
        except OSError:
            return
        query = dns.message.from_wire(asked)
        question = query.question[0]
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        if name == "silent.example.":
            continue
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        records = zone.get((name, kind), [])
        if records:
            answer.answer.append(dns.rrset.from_text_list(name, 60, "IN", kind, records))
        elif name == "refused.example.":
            answer.set_rcode(dns.rcode.REFUSED)
        elif name not in {known for known, _ in zone}:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        line.sendto(answer.to_wire(), place)
