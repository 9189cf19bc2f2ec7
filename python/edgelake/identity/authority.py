"""Certificates of a network's own authority: made, asked for and signed (security spec, section 4)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from edgelake.durable import make_folder, write_whole
from edgelake.errors import CommandError, CredentialsError, NotAvailableError, ServiceError

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 825
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}")
_LONGEST: Final = 64


class Subject(Struct, frozen=True):
    """Who a certificate names. ``hostname`` is its common name."""

    country: str
    state: str
    locality: str
    org: str
    hostname: str


def slug(organisation: str) -> str:
    """An organisation as it stands in names of files. Raises CommandError."""
    made = organisation.strip().lower().replace(" ", "-")
    if not re.fullmatch(r"[\w.-]{1,64}", made) or ".." in made:
        raise CommandError(
            f"org = {organisation[:64]}: it becomes part of names of files", hint="letters, digits, . _ -"
        )
    return made


def make_authority(folder: Path, subject: Subject, password: str) -> tuple[Path, Path]:
    """An authority: its key and its certificate. Raises CommandError when there is one, ServiceError."""
    org = slug(subject.org)
    key_file, certificate_file = folder / f"ca-{org}-private-key.key", folder / f"ca-{org}-public-key.crt"
    _check_free(key_file, certificate_file)
    x509, ec, _ = _crypto()
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(subject)
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    made = (
        _builder(name, name, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, _sha256())
    )
    _write(folder, {key_file: _pem_of_key(key, password), certificate_file: _pem(made)})
    return key_file, certificate_file


def make_request(folder: Path, subject: Subject, names: Sequence[str]) -> tuple[Path, Path, Path]:
    """A server's key, its request for a certificate and its public key. Raises CommandError, ServiceError.

    Args:
        names: host names and addresses that the certificate is good for, beside the subject's.
    """
    org = slug(subject.org)
    files = tuple(folder / f"server-{org}-{end}" for end in ("private-key.key", "csr.csr", "public-key.pem"))
    key_file, request_file, public_file = files
    _check_free(key_file)
    x509, ec, forms = _crypto()
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = [_alternative(name) for name in dict.fromkeys(filter(None, (subject.hostname, *names)))]
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(subject))
    request = request.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    public = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    # Servers read their key without a password; only the owner of the process reads the file.
    content = {key_file: _pem_of_key(key, ""), request_file: _pem(request.sign(key, _sha256())), public_file: public}
    _write(folder, content)
    return key_file, request_file, public_file


def sign_request(folder: Path, ca_org: str, server_org: str, password: str) -> Path:
    """The certificate of a server, signed by the authority. Raises CommandError, CredentialsError, ServiceError."""
    ca, server = slug(ca_org), slug(server_org)
    x509, _, forms = _crypto()
    key_data = _read(folder / f"ca-{ca}-private-key.key", "id generate certificate authority")
    shown = _read(folder / f"ca-{ca}-public-key.crt", "id generate certificate authority")
    asked = _read(folder / f"server-{server}-csr.csr", "id generate certificate request")
    try:
        authority, request = x509.load_pem_x509_certificate(shown), x509.load_pem_x509_csr(asked)
    except ValueError as problem:
        raise CommandError(f"the authority's certificate or the request is none: {problem}") from None
    try:
        key = forms.load_pem_private_key(key_data, password.encode() or None)
    except TypeError:
        raise CommandError(
            "the key of the authority " + ("has no password" if password else "has a password"),
            hint="and password = ...",
        ) from None
    except ValueError:
        raise CredentialsError("the password does not open the key of the authority") from None
    if not request.is_signature_valid:
        raise CommandError(f"server-{server}-csr.csr was changed: its signature is wrong")
    try:
        alternatives = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise CommandError(f"server-{server}-csr.csr names no host", hint="alt_name = ... of the request") from None
    both = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH, x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    made = (
        _builder(request.subject, authority.subject, request.public_key(), SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(both, critical=False)
        .add_extension(issuer, critical=False)
        .add_extension(alternatives, critical=False)
        .sign(key, _sha256())
    )
    target = folder / f"server-{server}-public-key.crt"
    _write(folder, {target: _pem(made)})
    return target


def _crypto() -> tuple[Any, Any, Any]:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ModuleNotFoundError:
        raise NotAvailableError(
            "certificates need the package cryptography", hint="pip install 'edgelake[security]'"
        ) from None
    return x509, ec, serialization


def _sha256() -> Any:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


def _builder(subject: Any, issuer: Any, public: Any, days: int) -> Any:
    x509, _, _ = _crypto()
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks of other nodes may be behind
        .not_valid_after(now + timedelta(days=days))
    )


def _name(subject: Subject) -> Any:
    x509, _, _ = _crypto()
    oid = x509.oid.NameOID
    if subject.country and not _COUNTRY.fullmatch(subject.country):
        raise CommandError(f"country = {subject.country[:20]}", hint="two letters, as US")
    parts = (
        (oid.COUNTRY_NAME, subject.country.upper()),
        (oid.STATE_OR_PROVINCE_NAME, subject.state),
        (oid.LOCALITY_NAME, subject.locality),
        (oid.ORGANIZATION_NAME, subject.org),
        (oid.COMMON_NAME, subject.hostname or subject.org),
    )
    try:
        return x509.Name([x509.NameAttribute(kind, text[:_LONGEST]) for kind, text in parts if text])
    except ValueError as problem:
        raise CommandError(f"the subject of the certificate: {problem}") from None


def _alternative(name: str) -> Any:
    """A name or address that a certificate is good for. Raises CommandError."""
    x509, _, _ = _crypto()
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.removeprefix("*.").split(".")):
            return x509.DNSName(name)
    raise CommandError(f"'{name[:100]}' is neither an address nor a host name")


def _pem(made: Any) -> bytes:
    _, _, forms = _crypto()
    data: bytes = made.public_bytes(forms.Encoding.PEM)
    return data


def _pem_of_key(key: Any, password: str) -> bytes:
    _, _, forms = _crypto()
    sealed = forms.BestAvailableEncryption(password.encode()) if password else forms.NoEncryption()
    data: bytes = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, sealed)
    return data


def _check_free(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise CommandError(f"there is {path} already", hint="name another org, or move the file away")


def _read(path: Path, made_by: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise CommandError(f"{path}: {problem.strerror}", hint=f"{made_by} makes it") from None


def _write(folder: Path, content: dict[Path, bytes]) -> None:
    """Raises ServiceError."""
    try:
        make_folder(folder)
        for path, data in content.items():
            write_whole(path, data, mode=0o600 if path.suffix == ".key" else 0o644)
    except OSError as problem:
        raise ServiceError(f"certificates: cannot write to {folder}: {problem.strerror}") from problem
