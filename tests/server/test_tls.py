"""TLS of the gRPC port, with certificates that are made here and handshakes of other implementations."""

import datetime as dt
import os
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from tests.server.sidecar import FREE_PORTS, Sidecar, check_of, failure_of, running_sidecar
from tests.server.test_serve import refusal

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
TAKEN = "new connections get the certificate"
NOT_TAKEN = "the new TLS files are not used"


class Pair(NamedTuple):
    """A certificate and its private key, in PEM, and the serial number."""

    certificate: bytes
    key: bytes
    serial: int


class Authority:
    """An authority and its certificate in PEM."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem = self._ca.cert_pem.bytes()

    def issue(self, **more: Any) -> Pair:
        """A new certificate for this machine's loopback, with a key of its own."""
        leaf = self._ca.issue_cert("localhost", "127.0.0.1", **more)
        certificate = leaf.cert_chain_pems[0].bytes()
        return Pair(
            certificate, leaf.private_key_pem.bytes(), x509.load_pem_x509_certificate(certificate).serial_number
        )


class Files:
    """The files that a sidecar is told of, in one folder."""

    def __init__(self, folder: Path, pair: Pair, client_ca: bytes = b"") -> None:
        self.certificate, self.key, self.client_ca = (folder / name for name in ("tls.crt", "tls.key", "ca.crt"))
        self.options = ["--tls-cert", str(self.certificate), "--tls-key", str(self.key)]
        self.put(pair)
        if client_ca:
            self.client_ca.write_bytes(client_ca)
            self.options += ["--tls-client-ca", str(self.client_ca)]

    def put(self, pair: Pair) -> None:
        """Put another pair in place, each file by a rename."""
        replace(self.key, pair.key)
        replace(self.certificate, pair.certificate)


def replace(path: Path, content: bytes) -> None:
    """Replace a file at once, as careful writers do."""
    new = path.with_suffix(".new")
    new.touch(0o600)
    new.write_bytes(content)
    new.replace(path)


class Shown(NamedTuple):
    """What a handshake came to: the serial number that the server showed, the protocols of TLS and inside it."""

    serial: int
    version: str | None
    protocol: str | None
    session: ssl.SSLSession | None
    resumed: bool | None


def shake_hands(
    address: str,
    roots: bytes,
    *,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    protocols: tuple[str, ...] = ("h2",),
    client: Files | None = None,
    session: ssl.SSLSession | None = None,
    context: ssl.SSLContext | None = None,
) -> Shown:
    """Connect with OpenSSL; raises OSError where that fails. A session belongs to a context."""
    context = context or client_context(roots, newest, protocols, client)
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as secure,
    ):
        certificate = secure.getpeercert()
        assert certificate is not None
        # Only what comes now shows that the server accepts also what the client said last.
        if not secure.recv(1):
            raise ConnectionAbortedError("the server hung up")
        return Shown(
            int(str(certificate["serialNumber"]), 16),
            secure.version(),
            secure.selected_alpn_protocol(),
            secure.session,
            secure.session_reused,
        )


def client_context(
    roots: bytes, newest: ssl.TLSVersion, protocols: tuple[str, ...], client: Files | None
) -> ssl.SSLContext:
    """A client of OpenSSL that would also speak versions that are too old."""
    context = ssl.create_default_context(cadata=roots.decode())
    # Else this machine's OpenSSL refuses them by itself.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    return context


def open_channel(address: str, roots: bytes, client: Pair | None = None) -> grpc.Channel:
    """A connection of its own of the stock client."""
    pair = (client.key, client.certificate) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(roots, *pair)
    return grpc.secure_channel(address, credentials, options=(("grpc.use_local_subchannel_pool", 1),))


def is_answered(address: str, roots: bytes, client: Pair | None = None) -> bool:
    """Whether a new connection gets an answer; False if it is refused."""
    with open_channel(address, roots, client) as channel:
        call = AuthorizationServiceStub(channel).Check.future(check_of(), timeout=30)
        code = call.code()
        assert code in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}, call
        return code is grpc.StatusCode.OK and call.result().allowed


def from_here(address: str) -> str:
    """The loopback address of a port that listens on all interfaces."""
    return f"127.0.0.1:{address.rpartition(':')[2]}"


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Who issues the certificates of servers."""
    return Authority()


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    """The certificate of `secured`."""
    return authority.issue()


@pytest.fixture(scope="module")
def secured(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """A sidecar with TLS."""
    files = Files(tmp_path_factory.mktemp("tls"), pair)
    with running_sidecar(*files.options) as sidecar:
        yield sidecar


def test_a_stock_client_is_answered(secured: Sidecar, authority: Authority) -> None:
    """A client that trusts the authority gets its answer."""
    assert is_answered(secured.grpc, authority.pem)


def test_a_client_of_another_authority_does_not_trust_the_server(secured: Sidecar) -> None:
    """A client that trusts another authority does not connect."""
    assert not is_answered(secured.grpc, Authority().pem)


def test_clear_text_is_refused(secured: Sidecar, authority: Authority) -> None:
    """A client without TLS gets no answer, and the server goes on."""
    assert failure_of(lambda: secured.stub.Check(check_of(), timeout=30)).code is grpc.StatusCode.UNAVAILABLE
    assert is_answered(secured.grpc, authority.pem)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_http2_is_agreed_on(secured: Sidecar, authority: Authority, pair: Pair, newest: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3 are spoken, with the certificate of the file, and HTTP/2 is agreed on in the handshake."""
    shown = shake_hands(secured.grpc, authority.pem, newest=newest, protocols=("http/1.1", "h2"))
    assert (shown.serial, shown.version, shown.protocol) == (pair.serial, newest.name.replace("_", "."), "h2")


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)])
def test_a_client_without_http2_is_refused(secured: Sidecar, authority: Authority, protocols: tuple[str, ...]) -> None:
    """A client that does not agree on HTTP/2 is hung up on after the handshake."""
    with pytest.raises(ConnectionAbortedError):
        shake_hands(secured.grpc, authority.pem, protocols=protocols)


def test_old_versions_are_refused(secured: Sidecar, authority: Authority) -> None:
    """A client that knows nothing newer than TLS 1.1 is hung up on."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLEOFError, ConnectionError)):
        shake_hands(secured.grpc, authority.pem, newest=old)


class Mutual(NamedTuple):
    """A sidecar that wants certificates of clients, and who issues them."""

    sidecar: Sidecar
    clients: Authority


@pytest.fixture(scope="module")
def mutual(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mutual]:
    """A sidecar with TLS for clients with a certificate, which therefore may listen on all interfaces."""
    clients = Authority()
    files = Files(tmp_path_factory.mktemp("mutual"), pair, clients.pem)
    with running_sidecar(*files.options, ports=("--grpc", "0.0.0.0:0", "--http", "127.0.0.1:0")) as sidecar:
        sidecar.grpc = from_here(sidecar.grpc)
        yield Mutual(sidecar, clients)


def test_a_certified_client_is_answered(mutual: Mutual, authority: Authority) -> None:
    """A client with a certificate of the authority is answered, also on a port that other machines reach."""
    assert is_answered(mutual.sidecar.grpc, authority.pem, mutual.clients.issue())


@pytest.mark.parametrize(
    "certify",
    [
        pytest.param(lambda _clients: None, id="no certificate"),
        pytest.param(lambda _clients: Authority().issue(), id="of another authority"),
        pytest.param(lambda clients: clients.issue(not_after=NOW - dt.timedelta(days=1)), id="expired"),
        pytest.param(lambda clients: clients.issue(not_before=NOW + dt.timedelta(days=1)), id="not valid yet"),
    ],
)
def test_other_clients_are_refused(
    mutual: Mutual, authority: Authority, certify: Callable[[Authority], Pair | None]
) -> None:
    """Without a certificate of the authority that holds now, a client gets no answer."""
    assert not is_answered(mutual.sidecar.grpc, authority.pem, certify(mutual.clients))


def by_rename(files: Files, pair: Pair) -> None:
    """As most writers do."""
    files.put(pair)


def by_writing_over(files: Files, pair: Pair) -> None:
    """As `cp` does."""
    files.certificate.write_bytes(pair.certificate)
    files.key.write_bytes(pair.key)


def by_link(files: Files, pair: Pair) -> None:
    """As Kubernetes does: the files are links through `..data`, which is swapped for another link."""
    folder = files.key.parent
    generation = folder / f"..{pair.serial}"
    generation.mkdir()
    Files(generation, pair)
    new = folder / "..data_tmp"
    new.symlink_to(generation.name)
    new.replace(folder / "..data")
    for file in (files.certificate, files.key):
        if not file.is_symlink():
            file.unlink()
            file.symlink_to(Path("..data") / file.name)


@pytest.mark.parametrize("change", [by_rename, by_writing_over, by_link])
def test_a_new_certificate_is_shown_at_once(
    authority: Authority, tmp_path: Path, change: Callable[[Files, Pair], None]
) -> None:
    """The next handshake after a change shows the new certificate; a connection from before lives on to the end."""
    first, second = authority.issue(), authority.issue()
    files = Files(tmp_path, first)
    change(files, first)
    with running_sidecar(*files.options) as sidecar, open_channel(sidecar.grpc, authority.pem) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        assert shake_hands(sidecar.grpc, authority.pem).serial == first.serial
        change(files, second)
        assert [shake_hands(sidecar.grpc, authority.pem).serial for _ in range(3)] == [second.serial] * 3
        assert sidecar.log.count(TAKEN) == 1
        sidecar.process.terminate()
        assert [message.status for message in watch] == [NOT_SERVING]
        assert sidecar.wait() == (0, "")


def test_files_that_cannot_be_used_change_nothing(authority: Authority, tmp_path: Path) -> None:
    """The old certificate stays while the new files cannot be used; each fault is logged once, and never a key."""
    first, second = authority.issue(), authority.issue()
    files = Files(tmp_path, first)
    secret = second.key.splitlines()[1].decode()
    with running_sidecar(*files.options) as sidecar:
        for faults, (name, content) in enumerate(
            [
                ("tls.crt", b"no certificate"),
                ("tls.crt", second.certificate),
                ("tls.key", second.key.replace(b"\n", b"\nAAAA", 1)),
            ],
            start=1,
        ):
            replace(tmp_path / name, content)
            assert {shake_hands(sidecar.grpc, authority.pem).serial for _ in range(3)} == {first.serial}
            assert sidecar.log.count(NOT_TAKEN) == faults
        files.key.unlink()
        assert shake_hands(sidecar.grpc, authority.pem).serial == first.serial
        assert f"cannot read `{files.key}`" in sidecar.log
        files.put(second)
        assert shake_hands(sidecar.grpc, authority.pem).serial == second.serial
        assert TAKEN in sidecar.log
        assert secret not in sidecar.log


def test_a_new_authority_of_clients_is_taken(authority: Authority, tmp_path: Path) -> None:
    """After a change of the client authorities new connections are judged by the new ones, old ones live on, and what
    was agreed on before cannot be resumed."""
    before, after = Authority(), Authority()
    old, new = before.issue(), after.issue()
    files = Files(tmp_path, authority.issue(), before.pem)
    (tmp_path / "client").mkdir()
    client = Files(tmp_path / "client", old)
    with running_sidecar(*files.options) as sidecar, open_channel(sidecar.grpc, authority.pem, old) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        assert not is_answered(sidecar.grpc, authority.pem, new)
        context = client_context(authority.pem, ssl.TLSVersion.TLSv1_2, ("h2",), client)
        session = shake_hands(sidecar.grpc, authority.pem, context=context).session
        assert shake_hands(sidecar.grpc, authority.pem, context=context, session=session).resumed

        replace(files.client_ca, after.pem)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shake_hands(sidecar.grpc, authority.pem, context=context, session=session)
        assert not is_answered(sidecar.grpc, authority.pem, old)
        assert is_answered(sidecar.grpc, authority.pem, new)

        sidecar.process.terminate()
        assert [message.status for message in watch] == [NOT_SERVING]
        assert sidecar.wait() == (0, "")


def test_workers_follow_the_files_each(authority: Authority, tmp_path: Path) -> None:
    """Two workers show the certificate, and both the new one right after a change."""
    first, second = authority.issue(), authority.issue()
    files = Files(tmp_path, first)
    with running_sidecar("--workers", "2", *files.options) as sidecar:
        assert {shake_hands(sidecar.grpc, authority.pem).serial for _ in range(20)} == {first.serial}
        files.put(second)
        # More than one worker's share, whichever the kernel gives them to.
        while sidecar.log.count(TAKEN) < 2:
            assert shake_hands(sidecar.grpc, authority.pem).serial == second.serial


def test_metrics_tell_when_the_certificate_expires(authority: Authority, tmp_path: Path) -> None:
    """The end of the certificate that new connections get is a metric; there is none without TLS."""
    ends = [NOW + dt.timedelta(days=days) for days in (10, 20)]
    files = Files(tmp_path, authority.issue(not_after=ends[0]))
    name = "authz_tls_certificate_expiry_timestamp_seconds"

    def told(sidecar: Sidecar) -> list[float]:
        lines = sidecar.get("/metrics")[1].splitlines()
        return [float(line.split()[1]) for line in lines if line.startswith(f"{name} ")]

    with running_sidecar(*files.options) as sidecar:
        assert told(sidecar) == [ends[0].timestamp()]
        files.put(authority.issue(not_after=ends[1]))
        assert told(sidecar) == [ends[1].timestamp()]
        files.certificate.write_bytes(b"")
        assert told(sidecar) == [ends[1].timestamp()]
    with running_sidecar() as sidecar:
        assert told(sidecar) == []


def test_dubious_files_are_warned_of(authority: Authority, tmp_path: Path) -> None:
    """An expired certificate, expired authorities of clients and a key that everybody reads are warned of once."""
    ended = dt.datetime(2020, 1, 2, 3, 4, tzinfo=dt.UTC)
    old = authority.issue(not_before=ended - dt.timedelta(days=9), not_after=ended)
    files = Files(tmp_path, old, old.certificate)
    files.key.chmod(0o604)
    with running_sidecar("--workers", "2", *files.options) as sidecar:
        for path in (files.certificate, files.client_ca):
            assert sidecar.log.count(f"the certificate in `{path}` expired on 2020-01-02 03:04 UTC") == 1
        assert sidecar.log.count(f"every user of this machine can read the private key `{files.key}`") == 1


def test_usual_files_are_not_warned_of(secured: Sidecar) -> None:
    """A certificate that holds and a key of its owner alone are no warnings."""
    assert '"level": "info"' in secured.log
    assert '"level": "warning"' not in secured.log


def put_folder(files: Files, _pair: Pair) -> None:
    """A folder where the key should be."""
    files.key.unlink()
    files.key.mkdir()


def put_pipe(files: Files, _pair: Pair) -> None:
    """A pipe where the key should be."""
    files.key.unlink()
    os.mkfifo(files.key)


def encrypted(pair: Pair) -> bytes:
    """The pair's key behind a password."""
    key = load_pem_private_key(pair.key, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize(
    ("break_files", "message", "remedy"),
    [
        pytest.param(
            lambda files, _pair: files.certificate.unlink(),
            "cannot read `{certificate}`: no such file or directory",
            "give the path of a PEM file",
            id="missing",
        ),
        pytest.param(
            put_folder,
            "`{key}` is not a file",
            "give the path of a PEM file",
            id="folder",
        ),
        pytest.param(
            put_pipe,
            "`{key}` is not a file",
            "give the path of a PEM file",
            id="pipe",
        ),
        pytest.param(
            lambda files, pair: files.certificate.write_bytes(pair.key),
            "`{certificate}` holds no certificate",
            "-----BEGIN CERTIFICATE-----",
            id="key for certificate",
        ),
        pytest.param(
            lambda files, pair: files.key.write_bytes(pair.certificate),
            "`{key}` holds no private key",
            "-----BEGIN PRIVATE KEY-----",
            id="certificate for key",
        ),
        pytest.param(
            lambda files, pair: files.certificate.write_bytes(pair.certificate.replace(b"\nM", b"\nAAAAM", 1)),
            "a certificate in `{certificate}` cannot be read",
            "copy the file again",
            id="damaged certificate",
        ),
        pytest.param(
            lambda files, _pair: files.client_ca.write_bytes(b""),
            "`{client_ca}` holds no certificate",
            "-----BEGIN CERTIFICATE-----",
            id="empty authorities",
        ),
        pytest.param(
            lambda files, _pair: files.key.write_bytes(Authority().issue().key),
            "the private key `{key}` does not belong to the certificate `{certificate}`",
            "give the key that the certificate was issued for",
            id="other key",
        ),
        pytest.param(
            lambda files, _pair: files.key.write_bytes(Authority().issue(key_type=trustme.KeyType.RSA).key),
            "the private key `{key}` does not belong to the certificate `{certificate}`",
            "give the key that the certificate was issued for",
            id="key of another kind",
        ),
        pytest.param(
            lambda files, pair: files.key.write_bytes(encrypted(pair)),
            "the private key `{key}` is encrypted",
            "openssl pkey",
            id="encrypted key",
        ),
    ],
)
def test_files_that_cannot_be_used_are_refused(
    authority: Authority, tmp_path: Path, break_files: Callable[[Files, Pair], object], message: str, remedy: str
) -> None:
    """A server with files that it cannot use does not start; it names the file and the remedy."""
    pair = authority.issue()
    files = Files(tmp_path, pair, authority.pem)
    break_files(files, pair)
    said = refusal(*files.options)
    assert message.format(**vars(files)) in said
    assert remedy in said
    assert pair.key.splitlines()[1].decode() not in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tls-cert", "x"), "`--tls-cert` cannot be had without `--tls-key`"),
        (("--tls-key", "x"), "`--tls-key` cannot be had without `--tls-cert`"),
        (("--tls-client-ca", "x"), "`--tls-client-ca` cannot be had without `--tls-cert` and `--tls-key`"),
    ],
)
def test_part_of_the_options_is_refused(options: tuple[str, ...], message: str) -> None:
    """A certificate needs its key, a key its certificate, and authorities of clients both."""
    assert message in refusal(*options)


@pytest.mark.parametrize(
    ("ports", "client_ca", "message"),
    [
        (("--grpc", "0.0.0.0:0", "--http", "127.0.0.1:0"), False, "and callers are not authenticated"),
        (("--grpc", "127.0.0.1:0", "--http", "0.0.0.0:0"), True, "and HTTP is neither encrypted nor authenticated"),
    ],
)
def test_ports_for_other_machines_need_authenticated_callers(
    authority: Authority, tmp_path: Path, ports: tuple[str, ...], client_ca: bool, message: str
) -> None:
    """Encryption alone does not open the gRPC port to other machines, and nothing about gRPC opens the HTTP port."""
    files = Files(tmp_path, authority.issue(), authority.pem if client_ca else b"")
    said = refusal(*files.options, ports=ports)
    assert f"`0.0.0.0:0` can be reached from other machines, {message}" in said
    assert "--insecure" in said
    assert ("--tls-client-ca" in said) is not client_ca


def test_insecure_opens_a_port_with_tls(authority: Authority, tmp_path: Path) -> None:
    """With `--insecure` a port with TLS is open to other machines without certificates of clients, and speaks TLS."""
    files = Files(tmp_path, authority.issue())
    ports = ("--insecure", "--grpc", "0.0.0.0:0", *FREE_PORTS[2:])
    with running_sidecar(*files.options, ports=ports) as sidecar:
        assert is_answered(from_here(sidecar.grpc), authority.pem)
