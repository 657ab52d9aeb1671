"""An identity provider on a port of this machine: keys, the set that it serves of them, and tokens that it signs."""

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from authz_sidecar.bundle.findings import Findings
from authz_sidecar.directory.jwt.issuers import Issuer, parse_issuers
from authz_sidecar.directory.jwt.key_source import KeySources, Pace
from authz_sidecar.directory.jwt.verification import JwtVerifier

AnyKey = RSAKey | ECKey | OKPKey
ISSUER = "https://login.example.com/"
AUDIENCE = "authz-sidecar"
NOW = 1_800_000_000.0
# Everything that waits, waits briefly.
QUICK = Pace(
    fetch_seconds=10.0,
    unknown_seconds=0.05,
    first_wait_seconds=0.02,
    last_wait_seconds=0.1,
    file_seconds=0.02,
    least_seconds=0.05,
)


@cache
def _key(kind: str, name: str) -> Any:
    assert name
    return RSAKey.generate_key(2048) if kind == "RSA" else ECKey.generate_key(cast(Any, kind))


def rsa_key(name: str = "usual") -> RSAKey:
    """An RSA key, for each name its own; making one takes a while, so tests share them."""
    return cast(RSAKey, _key("RSA", name))


def ec_key(curve: str = "P-256", name: str = "usual") -> ECKey:
    """A key on an elliptic curve, for each name its own."""
    return cast(ECKey, _key(curve, name))


@cache
def ed_key() -> OKPKey:
    """A key on the curve Ed25519."""
    return OKPKey.generate_key("Ed25519")


def public(key: AnyKey, kid: str | None = "one", **more: Any) -> dict[str, Any]:
    """A key as a member of a set."""
    return {**key.as_dict(), **({} if kid is None else {"kid": kid}), **more}


def segment(value: Any) -> str:
    """A part of a token: JSON text, or bytes as they are."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_of(**more: Any) -> dict[str, Any]:
    """The claims of a token that is right at NOW; None takes one away."""
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": NOW - 10, "exp": NOW + 600}
    return {name: value for name, value in {**usual, **more}.items() if value is not None}


def sign(
    key: AnyKey, algorithm: str, claims: Any, header: Mapping[str, Any] | None = None, kid: str | None = "one"
) -> str:
    """A token. `claims` may be bytes, and `header` adds to the usual one or takes from it (None)."""
    whole = {"alg": algorithm, "typ": "JWT", "kid": kid, **(header or {})}
    text = f"{segment({name: value for name, value in whole.items() if value is not None})}.{segment(claims)}"
    signature = jws.JWSRegistry.algorithms[algorithm].sign(text.encode(), key)
    return f"{text}.{segment(signature)}"


class Provider:
    """A server of keys. `answer` writes each answer; `asked` are the headers of every request."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.keys: list[dict[str, Any]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = self.answer_keys
        self.headers: dict[str, str] = {}
        self.asked: list[Mapping[str, str]] = []
        self.released = threading.Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                provider.asked.append(dict(self.headers))
                try:
                    provider.answer(self)
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nothing is told."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Who hangs up does so on purpose."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.port = self._server.server_port
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}/keys"

    def answer_keys(self, request: BaseHTTPRequestHandler) -> None:
        """The set of its keys, with `headers`; 304 where the client has it."""
        tag = self.headers.get("ETag")
        if tag is not None and request.headers.get("If-None-Match") == tag:
            self.send(request, 304, b"")
        else:
            self.send(request, 200, json.dumps({"keys": self.keys}).encode())

    def send(self, request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
        """One answer."""
        request.send_response(status)
        for name, value in {**self.headers, **headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def close(self) -> None:
        """End it."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def running_provider(context: ssl.SSLContext | None = None) -> Iterator[Provider]:
    """A provider that runs until the end of the block."""
    provider = Provider(context)
    try:
        yield provider
    finally:
        provider.close()


def issuer_of(jwks: Mapping[str, Any], **more: Any) -> Issuer:
    """An issuer as its file describes it; None takes a field away."""
    usual = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "algorithms": ["RS256", "ES256", "EdDSA"],
        "jwks": dict(jwks),
        "prefix": "acme:",
        "company": "acme",
    }
    fields = {name: value for name, value in {**usual, **more}.items() if value is not None}
    findings = Findings()
    found = parse_issuers(json.dumps({"issuers": [fields]}).encode(), "issuers.yaml", findings)
    assert found is not None, findings.sorted()
    return found[0]


@contextmanager
def verifier_of(
    *issuers: Issuer, folder: Path = Path(), pace: Pace = QUICK
) -> Iterator[tuple[JwtVerifier, KeySources]]:
    """A verifier whose keys were looked for once."""
    sources = KeySources(issuers, folder, pace)
    sources.start()
    try:
        assert sources.wait(10)
        yield JwtVerifier(sources.by_issuer), sources
    finally:
        sources.stop()
