"""What is read from a certificate without a library for it, against one."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from authz_sidecar.transports.certificates import CertificateWatch, TlsError, TlsFiles
from authz_sidecar.transports.grpc.tls import server_credentials
from authz_sidecar.transports.x509 import read_facts

BEGINS = dt.datetime(1999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])


def certify(key: Any, begins: dt.datetime = BEGINS, ends: dt.datetime = BEGINS) -> x509.Certificate:
    """A certificate that its own key has signed."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(key.public_key())
        .serial_number(1 << 150)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    return builder.sign(key, SHA256() if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else None)


@pytest.mark.parametrize("year", [1950, 1999, 2000, 2049, 2050, 9999])
def test_the_time_of_a_certificate(year: int) -> None:
    """Both ends of its time are read, in the two forms that they have before 2050 and from then on."""
    moment = dt.datetime(year, 12, 31, 23, 59, 58, tzinfo=dt.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    early = certify(key, ends=moment) if moment > BEGINS else certify(key, begins=moment)
    facts = read_facts(early.public_bytes(Encoding.DER))
    assert (facts.begins, facts.ends) == (early.not_valid_before_utc, early.not_valid_after_utc)
    assert moment in (facts.begins, facts.ends)


KEYS = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
OTHER_KEYS = {"secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()), "Ed448": ed448.Ed448PrivateKey.generate}


def written(key: Any, folder: Path) -> TlsFiles:
    """The files of a key and its certificate."""
    files = TlsFiles(str(folder / "tls.crt"), str(folder / "tls.key"))
    Path(files.certificate).write_bytes(certify(key).public_bytes(Encoding.PEM))
    Path(files.key).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def server_takes(credentials: grpc.ServerCredentials) -> bool:
    """Whether a server of the gRPC library listens with them."""
    server = grpc.server(ThreadPoolExecutor(1))
    try:
        return bool(server.add_secure_port("127.0.0.1:0", credentials))
    except RuntimeError:
        return False
    finally:
        server.stop(0)


@pytest.mark.parametrize("kind", KEYS)
def test_kinds_of_keys_that_are_known(kind: str, tmp_path: Path) -> None:
    """Each kind is recognised, and the gRPC library takes it."""
    key = KEYS[kind]()
    assert read_facts(certify(key).public_bytes(Encoding.DER)).key_kind == kind
    assert server_takes(server_credentials(CertificateWatch(written(key, tmp_path))))


@pytest.mark.parametrize("kind", OTHER_KEYS)
def test_other_kinds_of_keys_are_refused(kind: str, tmp_path: Path) -> None:
    """A kind that the gRPC library does not take is refused by name of the file; it would say less."""
    files = written(OTHER_KEYS[kind](), tmp_path)
    pair = (Path(files.key).read_bytes(), Path(files.certificate).read_bytes())
    assert not server_takes(grpc.ssl_server_credentials([pair]))
    with pytest.raises(TlsError, match="is of a kind that gRPC cannot use"):
        CertificateWatch(files)


def test_what_breaks_off_is_no_certificate() -> None:
    """No beginning of a certificate passes for one, and none ends in another error."""
    whole = certify(KEYS["P-256"]()).public_bytes(Encoding.DER)
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="not the layout of a certificate"):
            read_facts(whole[:length])
