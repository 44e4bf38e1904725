"""A server's certificate: valid for the name, trusted, and valid for long enough."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509

from drtool.adapters.seen import CannotTell, Seen, failed, judged, why

EXPIRED, NOT_YET = 10, 9  # X509_V_ERR_CERT_HAS_EXPIRED, _NOT_YET_VALID: `openssl verify` lists them
OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH
DAY = timedelta(days=1)


def certificate(host: str, port: int, *, name: str, ca: str | None, valid_for: timedelta, limit: float) -> Seen:
    """Look at the certificate that a server shows for a name. One that is refused is read all the same, to say why."""
    try:
        return _valid(_shown(host, port, name, trusting(ca), limit), name, valid_for)
    except ssl.SSLCertVerificationError as error:
        open_to_all = ssl.create_default_context()
        open_to_all.check_hostname, open_to_all.verify_mode = False, ssl.CERT_NONE  # it is only described
        return failed(_wrong(_shown(host, port, name, open_to_all, limit), name, error))


def trusting(ca: str | None) -> ssl.SSLContext:
    """Trusts a private CA alone where one is named, else what the system trusts."""
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        raise CannotTell(f"the ca file {ca} cannot be used: {why(error)}") from error


def _shown(host: str, port: int, name: str, context: ssl.SSLContext, limit: float) -> x509.Certificate:
    with (
        socket.create_connection((host, port), timeout=limit) as line,
        context.wrap_socket(line, server_hostname=name) as secured,
    ):
        return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")


def _valid(shown: x509.Certificate, name: str, valid_for: timedelta) -> Seen:
    left = shown.not_valid_after_utc - datetime.now(UTC)
    reason = f"the certificate of {name} is valid for another {_days(left)} ({', '.join(_names(shown))})"
    return judged(left >= valid_for, reason if left >= valid_for else f"{reason}; it should be for {_days(valid_for)}")


def _wrong(shown: x509.Certificate, name: str, error: ssl.SSLCertVerificationError) -> str:
    now, title = datetime.now(UTC), f"the certificate of {name}"
    ended, begins = shown.not_valid_after_utc, shown.not_valid_before_utc
    if error.verify_code == EXPIRED and ended < now:
        return f"{title} expired {_days(now - ended)} ago, on {ended:%Y-%m-%d}"
    if error.verify_code == NOT_YET and begins > now:
        return f"{title} is not valid before {begins:%Y-%m-%d %H:%M} UTC"
    if error.verify_code in OTHER_NAME:
        return f"the certificate is for {', '.join(_names(shown)) or 'no name'}, not for {name}"
    return f"{title} is not trusted: {error.verify_message.lower()}"


def _names(shown: x509.Certificate) -> list[str]:
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def _days(span: timedelta) -> str:
    days = span // DAY
    return f"{days} day{'s' * (days != 1)}" if days else f"{span // timedelta(hours=1)} h"
