"""Until when certificates are good: in files, and as servers show them.

``cryptography`` reads them; it is imported when the first one is asked for.
"""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.records import Sample

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_MOST_BYTES = 4 << 20
_FAREWELL_SECONDS = 0.5
_BEGIN = b"-----BEGIN CERTIFICATE-----"


class CertificateUnreadable(AiSysadminError):
    """There is no certificate that could be read."""


@dataclass(frozen=True)
class Expiry:
    """When the first of so many certificates expires. ``fault`` empty: it verifies, or was not to be verified."""

    at: datetime
    subject: str
    fault: str = ""
    certificates: int = 1

    def days_left(self, now: datetime) -> float:
        return (self.at - now) / timedelta(days=1)


def of_file(path: Path) -> Expiry:
    """Return the earliest expiry of all certificates in a file: PEM, with or without other things in it, or DER.

    Raises:
        CertificateUnreadable: it cannot be read, or holds none.
    """
    try:
        if not path.is_file() and path.exists():  # opening a pipe would wait for somebody to write
            raise CertificateUnreadable(f"{path} is no file")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise CertificateUnreadable(f"{path} cannot be read: {error.strerror}") from error
    return _earliest(_parsed(data, str(path)))


async def of_endpoint(
    host: str, port: int, now: datetime, *, timeout_seconds: float, verify: bool = True, server_name: str = ""
) -> Expiry:
    """Return the earliest expiry of the chain that a TLS server shows, and what is wrong with it, if anything.

    What the server shows beyond need does not count: its root, and an intermediate that expired without harm.

    Args:
        verify: whether the chain should lead to an authority that this host trusts, and name the server.
        server_name: whom to ask for; empty: ``host``.

    Raises:
        CertificateUnreadable: nobody speaks TLS there, or not within ``timeout_seconds``.
    """
    where = f"{host}:{port}"
    fault = ""
    try:
        async with asyncio.timeout(timeout_seconds):
            try:
                shown = await _shown(host, port, tls_context(verify), server_name or host)
            except ssl.SSLCertVerificationError as error:
                fault = error.verify_message or "it does not verify"
                shown = await _shown(host, port, tls_context(verify=False), server_name or host)
    except TimeoutError as error:
        raise CertificateUnreadable(f"{where} showed no certificate within {timeout_seconds:g} s") from error
    except ssl.SSLError as error:
        raise CertificateUnreadable(f"no TLS connection with {where}: {error.reason or error}") from error
    except (OSError, UnicodeError) as error:
        raise CertificateUnreadable(f"{where} cannot be reached: {error}") from error
    chain = [certificate for der in shown for certificate in _parsed(der, where)]
    return _earliest(_needed(chain, now if verify and not fault else None), fault)


def samples_of(expiry: Expiry, about: str, now: datetime, *, verified: bool = False) -> list[Sample]:
    """Return the days left, and for one that was to be verified whether it is valid."""
    samples = [Sample("certificate_days_left", expiry.days_left(now), about, "days")]
    if verified:
        samples.append(Sample("certificate_valid", float(not expiry.fault), about, "bool"))
    return samples


def tls_context(verify: bool) -> ssl.SSLContext:
    """Return how to meet a server: asking for proof by an authority that this host trusts, or for none."""
    return _context(verify, _authorities() if verify else ("", 0))


def _authorities() -> tuple[str, int]:
    """Return the file of authorities that this host trusts, and when it last changed, in nanoseconds since 1970."""
    file = ssl.get_default_verify_paths().cafile or ""
    with suppress(OSError):
        return file, Path(file).stat().st_mtime_ns
    return file, 0


@lru_cache(maxsize=2)  # reading some hundred authorities takes milliseconds
def _context(verify: bool, _authorities: tuple[str, int]) -> ssl.SSLContext:
    if verify:
        context = ssl.create_default_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # from 3.13 on; it refuses many a private authority
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what it shows is looked at, nothing is told to it
    return context


async def _shown(host: str, port: int, context: ssl.SSLContext, server_name: str) -> list[bytes]:
    """Return the chain that a server shows, each as DER, its own certificate first."""
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=server_name)
    try:
        shown = _chain(writer.get_extra_info("ssl_object"))
        await farewell(writer)
        return shown
    finally:
        writer.transport.abort()


async def farewell(writer: asyncio.StreamWriter) -> None:
    """Close a connection as is proper, so that the server has no broken one to log; not for long."""
    if writer.is_closing():  # the server was first; a TLS transport that is closed twice cannot even be aborted
        return
    writer.close()
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await writer.wait_closed()


def _chain(tls: ssl.SSLObject) -> list[bytes]:
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:  # from Python 3.13 on
        return [bytes(der) for der in public()]
    inner = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # noqa: SLF001 — all there is before
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in inner]


def _parsed(data: bytes, where: str) -> "Sequence[Certificate]":
    from cryptography import x509

    try:
        if _BEGIN in data:
            return x509.load_pem_x509_certificates(data)
        return [x509.load_der_x509_certificate(data)]
    except ValueError as error:
        raise CertificateUnreadable(f"{where} holds no certificate that could be read") from error


def _needed(chain: "Sequence[Certificate]", verified_at: datetime | None) -> "Sequence[Certificate]":
    """Return a chain without roots, which whoever trusts them has, and without what it verified in spite of."""
    others = [each for each in chain[1:] if each.issuer != each.subject]
    if verified_at is not None:
        others = [each for each in others if each.not_valid_after_utc >= verified_at]
    return [chain[0], *others]


def _earliest(chain: "Sequence[Certificate]", fault: str = "") -> Expiry:
    first = min(chain, key=lambda certificate: certificate.not_valid_after_utc)
    return Expiry(first.not_valid_after_utc, first.subject.rfc4514_string(), fault, len(chain))
