"""A private certificate authority, as an administrator keeps one apart from the servers it vouches for."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

QUARTER = datetime.timedelta(days=90)


class Authority:
    """Its key and certificate lie in ``folder``, where clients find ``certificate``."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self._key = folder / "ca.pem", folder / "ca.key"
        if not self.certificate.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._begin()

    def issue(self, host: str, certificate: Path, key: Path, *, ends_in: datetime.timedelta = QUARTER) -> None:
        """Write a new key, and a certificate for a server of that name; one may have ended already."""
        own = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.load_pem_x509_certificate(self.certificate.read_bytes()).subject
        builder = _begun(_name(host), issuer, own, ends_in)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        _write(certificate, key, builder.sign(self._load(), hashes.SHA256()), own)

    def _begin(self) -> None:
        own, name = ec.generate_private_key(ec.SECP256R1()), _name("drtool tests' own authority")
        builder = _begun(name, name, own, 40 * QUARTER)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        _write(self.certificate, self._key, builder.sign(own, hashes.SHA256()), own)

    def _load(self) -> ec.EllipticCurvePrivateKey:
        key = load_pem_private_key(self._key.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, ends_in: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - QUARTER)
        .not_valid_after(now + ends_in)
    )


def _write(certificate: Path, key: Path, signed: x509.Certificate, own: ec.EllipticCurvePrivateKey) -> None:
    certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
