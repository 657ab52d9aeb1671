"""The certificate that a port shows, its private key, and the authorities of its clients: read from files, verified,
and read again when the files change. What a client speaks TLS with is read alike, once.

Nothing here knows a server, so that the process that only watches workers can use it as well.
"""

import datetime as dt
import logging
import re
import ssl
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from authz_sidecar.sources.identity import file_identity
from authz_sidecar.transports.x509 import Facts, read_facts
from authz_sidecar.values.instant import time_text

logger = logging.getLogger(__name__)

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")
# What OpenSSL calls another key of the same kind, and keys of other kinds.
MISMATCHES = frozenset(("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"))
# How often files that change while they are read are read again.
ATTEMPTS = 5


class TlsError(Exception):
    """Files that cannot be used; `help` says what to do."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class TlsFiles(msgspec.Struct, frozen=True):
    """Paths of PEM files: the server's certificate with the intermediate ones behind it, its private key, and the
    authorities whose certificates clients must have ("": clients need none)."""

    certificate: str
    key: str
    client_ca: str = ""


class Certificates:
    """What the files held, verified: PEM text for a TLS library, until when the server's certificate holds, and
    `warnings` for the log. Not a Struct: the private key must not be in its `repr`."""

    def __init__(
        self, chain: bytes, key: bytes, client_ca: bytes | None, ends: dt.datetime, warnings: list[str]
    ) -> None:
        self.chain = chain
        self.key = key
        self.client_ca = client_ca
        self.ends = ends
        self.warnings = warnings


class ClientTls:
    """What a client speaks TLS with, in PEM: the authorities that it trusts, and its own certificate with its private
    key (None: it has none). `server_name` is the name that the server's certificate must have ("": that of its
    address). Not a Struct: the private key must not be in its `repr`."""

    def __init__(self, authorities: bytes, chain: bytes | None, key: bytes | None, server_name: str = "") -> None:
        self.authorities = authorities
        self.chain = chain
        self.key = key
        self.server_name = server_name


def read_client_tls(authorities: str, pair: TlsFiles | None, server_name: str = "") -> ClientTls:
    """Read the authorities of a server, and the client's own certificate and key, from files; raises TlsError. Whether
    they hold now is for the server to say."""
    trusted = b"\n".join(_certificates_in(authorities))
    if pair is None:
        return ClientTls(trusted, None, None, server_name)
    chain, key, _ = _read_pair(pair)
    return ClientTls(trusted, b"\n".join(chain), key, server_name)


def read_certificates(files: TlsFiles, now: dt.datetime) -> Certificates:
    """Read and verify; raises TlsError. What is only dubious at `now`, such as an expired certificate, is a warning:
    a clock that is wrong must not keep the server from starting."""
    chain, key, facts = _read_pair(files)
    warnings = _age_warnings(files.certificate, facts, now)
    if Path(files.key).stat().st_mode & stat.S_IROTH:
        warnings.append(f"every user of this machine can read the private key `{files.key}`: take that right away")
    client_ca = None
    if files.client_ca:
        authorities = _certificates_in(files.client_ca)
        client_ca = b"\n".join(authorities)
        newest = max((_facts(files.client_ca, authority) for authority in authorities), key=lambda found: found.ends)
        warnings += _age_warnings(files.client_ca, newest, now)
    return Certificates(b"\n".join(chain), key, client_ca, facts.ends, warnings)


class CertificateWatch:
    """The newest usable certificates in `files`, from any thread. Made, it has read them; raises TlsError.

    A file that is written over, renamed over or reached through a changed symbolic link is noticed by `look`. One that
    cannot be used leaves the certificates as they are; `quiet` keeps that out of the log.
    """

    def __init__(
        self,
        files: TlsFiles,
        *,
        quiet: bool = False,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._files = files
        self._quiet = quiet
        self._clock = clock
        self._lock = threading.Lock()
        self._problem = ""
        self._identity, self.current = self._read()

    def look(self) -> Certificates | None:
        """The certificates, if they are others than at the last look. Cheap where the files are the same."""
        with self._lock:
            if _identity(self._files) == self._identity:
                self._problem = ""
                return None
            try:
                self._identity, found = self._read()
            except TlsError as error:
                # Tried again each time, since not every cause lies in the files, but said once.
                if error.message != self._problem and not self._quiet:
                    logger.error("the new TLS files are not used: %s; help: %s", error.message, error.help)
                self._problem = error.message
                return None
            self._problem = ""
            before, self.current = self.current, found
            if (found.chain, found.key, found.client_ca) == (before.chain, before.key, before.client_ca):
                return None
            if not self._quiet:
                log_warnings(found)
                logger.info("new connections get the certificate in `%s`", self._files.certificate, extra=_until(found))
            return found

    def _read(self) -> tuple[object, Certificates]:
        """The certificates, and the identity of the files that were there before they were read."""
        for attempt in range(1, ATTEMPTS + 1):
            identity = _identity(self._files)
            try:
                return identity, read_certificates(self._files, self._clock())
            except TlsError:
                # Half old and half new, if they were replaced meanwhile.
                if attempt == ATTEMPTS or _identity(self._files) == identity:
                    raise
        raise AssertionError("the last attempt returns or raises")


def log_warnings(certificates: Certificates) -> None:
    """Write the warnings to the log."""
    for warning in certificates.warnings:
        logger.warning("%s", warning)


def _until(certificates: Certificates) -> dict[str, str]:
    return {"expires": time_text(certificates.ends.timestamp())}


def _identity(files: TlsFiles) -> object:
    """What tells the files behind the paths from others, and from themselves before a change."""
    return [_file_identity(path) for path in (files.certificate, files.key, files.client_ca) if path]


def _file_identity(path: str) -> tuple[int, ...]:
    try:
        return file_identity(Path(path).stat())
    except OSError as error:
        return (error.errno or 0,)


def _read_file(path: str) -> bytes:
    help = "give the path of a PEM file that this user can read"
    try:
        # Reading a pipe could wait for ever.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise TlsError(f"`{path}` is not a file", help)
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsError(f"cannot read `{path}`: {(error.strerror or str(error)).lower()}", help) from error


def _certificates_in(path: str) -> list[bytes]:
    """Each certificate in a file, in PEM without what stands between them."""
    found: list[bytes] = _CERTIFICATE.findall(_read_file(path))
    if not found:
        raise TlsError(
            f"`{path}` holds no certificate", "give a PEM file, which has a line `-----BEGIN CERTIFICATE-----`"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=b"\n".join(found).decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise TlsError(
            f"a certificate in `{path}` cannot be read", "copy the file again from where the certificate was issued"
        ) from error
    return found


def _read_pair(files: TlsFiles) -> tuple[list[bytes], bytes, Facts]:
    """A certificate with those behind it, its private key, and what the certificate says."""
    chain = _certificates_in(files.certificate)
    facts = _facts(files.certificate, chain[0])
    key = _private_key(files)
    _verify_pair(files, facts)
    return chain, key, facts


def _facts(path: str, certificate: bytes) -> Facts:
    try:
        return read_facts(ssl.PEM_cert_to_DER_cert(certificate.decode("ascii")))
    except ValueError as error:
        raise TlsError(f"a certificate in `{path}` cannot be read: {error}", "have it issued again") from error


def _private_key(files: TlsFiles) -> bytes:
    key = _read_file(files.key)
    if not _KEY.search(key):
        raise TlsError(
            f"`{files.key}` holds no private key",
            "give the PEM file of the certificate's key, which has a line `-----BEGIN PRIVATE KEY-----`",
        )
    return key


def _verify_pair(files: TlsFiles, facts: Facts) -> None:
    """Raise TlsError unless the key opens, belongs to the certificate, and gRPC can use both."""

    def refuse_password() -> str:
        # Without this OpenSSL would ask on the terminal.
        raise TlsError(
            f"the private key `{files.key}` is encrypted",
            "decrypt it, for example with `openssl pkey`, and protect the file by its mode",
        )

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key, refuse_password)
    except ssl.SSLError as error:
        if error.reason in MISMATCHES:
            raise TlsError(
                f"the private key `{files.key}` does not belong to the certificate `{files.certificate}`",
                "give the key that the certificate was issued for; in a file of several certificates it is the first",
            ) from error
        why = (error.reason or "no reason given").lower().replace("_", " ")
        raise TlsError(
            f"`{files.certificate}` and `{files.key}` cannot be used together: {why}",
            "have the certificate issued again, for an RSA key of 2048 bits or more or a P-256 key",
        ) from error
    except OSError as error:
        # Gone since they were read.
        raise TlsError(f"cannot read `{files.key}`: {(error.strerror or str(error)).lower()}", "try again") from error
    if not facts.key_kind:
        # OpenSSL takes some keys that the gRPC library refuses without saying why.
        raise TlsError(
            f"the key of the certificate `{files.certificate}` is of a kind that gRPC cannot use",
            "have a certificate issued for an RSA or a P-256 key",
        )


def _age_warnings(path: str, facts: Facts, now: dt.datetime) -> list[str]:
    if now >= facts.ends:
        return [f"the certificate in `{path}` expired on {facts.ends:%Y-%m-%d %H:%M} UTC: replace the file"]
    if now < facts.begins:
        return [f"the certificate in `{path}` holds only from {facts.begins:%Y-%m-%d %H:%M} UTC: set the clock"]
    return []
