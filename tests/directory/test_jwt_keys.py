"""Key sets of issuers: which keys are taken for what, and how they are fetched, followed and kept."""

import contextlib
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OctKey
from joserfc.util import int_to_base64

from authz_sidecar.directory.jwt import key_fetch
from authz_sidecar.directory.jwt.jwks import MAX_BYTES, NO_KEYS, JwksError, parse_key_set
from authz_sidecar.directory.jwt.key_source import KeySources, Pace
from authz_sidecar.directory.jwt.verification import JwtIdentity
from authz_sidecar.values import Reason
from tests.directory.identity_provider import (
    NOW,
    QUICK,
    Provider,
    claims_of,
    ec_key,
    ed_key,
    issuer_of,
    public,
    rsa_key,
    running_provider,
    sign,
    verifier_of,
)

ALL = ["PS256", "RS256", "ES256", "ES384", "Ed25519", "EdDSA"]
INVALID = Reason.INVALID_CREDENTIAL
WEAK = {
    "kty": "RSA",
    "e": "AQAB",
    "n": int_to_base64(rsa.generate_private_key(65537, 1024).public_key().public_numbers().n),  # noqa: S505  # as is told
}


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider that serves one RSA key."""
    with running_provider() as running:
        running.keys = [public(rsa_key())]
        yield running


def token(kid: str | None = "one", name: str = "usual", **claims: Any) -> str:
    """A token signed with an RSA key."""
    return sign(rsa_key(name=name), "RS256", claims_of(**claims), kid=kid)


def read(*members: Any, algorithms: list[str] = ALL) -> Any:
    """The set that holds these members."""
    return parse_key_set(json.dumps({"keys": list(members)}).encode(), algorithms)


def test_each_key_has_one_algorithm() -> None:
    """A key that names its algorithm is for that one; another is for the first that is configured and fits it."""
    keys = read(
        public(rsa_key(), "a", alg="RS256"),
        public(rsa_key(), "b"),
        public(ec_key(), "c"),
        public(ec_key("P-384"), "d", alg="ES384"),
        public(ed_key(), "e"),
        public(ed_key(), "f", alg="EdDSA"),
    )
    pairs = {(kid, name) for kid in "abcdef" for name in [*ALL, "RS512", "HS256"] if keys.find(kid, name)}
    assert pairs == {("a", "RS256"), ("b", "PS256"), ("c", "ES256"), ("d", "ES384"), ("e", "Ed25519"), ("f", "EdDSA")}
    assert keys.notes == ()


def _without(member: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in member.items() if key != name}


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (WEAK, "1,024 bits"),
        (public(rsa_key(), use="enc"), "its use"),
        (public(rsa_key(), key_ops=["encrypt"]), "its operations"),
        (public(rsa_key(), key_ops="verify"), "its operations"),
        (public(rsa_key(), alg="RS512"), "its algorithm"),
        (public(rsa_key(), alg="ES256"), "its algorithm"),
        (public(rsa_key(), alg="none"), "its algorithm"),
        (public(rsa_key(), alg="HS256"), "its algorithm"),
        (public(ec_key(), alg="ES384"), "its algorithm"),
        (public(ec_key(), crv="P-384"), "no valid key"),
        (public(ec_key(), crv="P-521"), "none of the issuer's algorithms"),
        (public(ec_key(), crv=["P-256"]), "none of the issuer's algorithms"),
        (public(ec_key(), x="AAAA"), "no valid key"),
        (public(ECKey.generate_key("secp256k1")), "none of the issuer's algorithms"),
        (rsa_key().as_dict(private=True), "private key"),
        (ec_key().as_dict(private=True), "private key"),
        (OctKey.generate_key(256).as_dict(), "keys of the type"),
        (public(rsa_key(), kty="rsa"), "keys of the type"),
        (public(rsa_key(), kty=["RSA"]), "keys of the type"),
        (public(rsa_key(), ""), "its `kid`"),
        (public(rsa_key(), "x" * 257), "its `kid`"),
        ({**public(rsa_key()), "kid": 1}, "its `kid`"),
        (public(rsa_key(), e="AQ"), "exponent"),
        (public(rsa_key(), e="BA"), "exponent"),
        (public(rsa_key(), e="AQAAAAAAAQAAAAAB"), "exponent"),
        (public(rsa_key(), n="A" * 5000), "too long"),
        (public(rsa_key(), n=7), "missing"),
        (_without(public(rsa_key()), "n"), "missing"),
        (_without(public(ec_key()), "crv"), "none of the issuer's algorithms"),
        ("text", "no mapping"),
        (None, "no mapping"),
    ],
    ids=range(31),
)
def test_keys_that_are_not_for_this_are_left_out(member: Any, why: str) -> None:
    """Weak, private, secret, broken and foreign keys are left out, with a reason; the others are used."""
    keys = read(member, public(rsa_key(), "good"))
    assert keys.kids == {"good"}
    assert why in keys.notes[0]


def test_private_keys_are_not_repeated() -> None:
    """Why a private key is left out does not tell anything of it."""
    member = ec_key().as_dict(private=True)
    assert str(member["d"]) not in str(read(member).notes)


def test_keys_of_one_name_are_left_out() -> None:
    """Of two keys with the same name and algorithm neither is used; of another algorithm it may be."""
    keys = read(public(rsa_key(), "x"), public(rsa_key(name="another"), "x"), public(ec_key(), "x"))
    assert keys.find("x", "PS256") is None
    assert keys.find("x", "ES256") is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b"[" * 100_000,
        b'{"keys":' + b"[" * 100_000,
        b'{"keys":[' + b",".join([b"1"] * 101) + b"]}",
        b'{"keys":[]}' + b" " * MAX_BYTES,
        b"\xff\xfe",
    ],
    ids=range(10),
)
def test_what_is_no_key_set_is_refused(data: bytes) -> None:
    """Other content, and sets with too many keys or bytes, are refused as a whole."""
    with pytest.raises(JwksError):
        parse_key_set(data, ALL)


def test_a_token_without_a_name_means_the_only_key(provider: Provider) -> None:
    """A token that names no key is verified with the only one of its algorithm; with several it is refused."""
    provider.keys = [public(rsa_key(), None), public(ec_key(), None)]
    with verifier_of(issuer_of({"url": provider.url})) as (verifier, sources):
        assert isinstance(verifier.verify(token(None), NOW), JwtIdentity)
        assert isinstance(verifier.verify(sign(ec_key(), "ES256", claims_of(), kid=None), NOW), JwtIdentity)
        provider.keys = [public(rsa_key(), "a"), public(rsa_key(name="another"), "b")]
        verifier.verify(token("unknown"), NOW)
        assert sources.by_issuer[issuer_of({"url": provider.url}).issuer].wait(10, fetches=2)
        assert verifier.verify(token(None), NOW) is INVALID


def test_a_new_key_is_fetched_once_a_token_names_it(provider: Provider) -> None:
    """The first token of a new key is refused and has the keys fetched; the next is accepted."""
    issuer = issuer_of({"url": provider.url})
    with verifier_of(issuer) as (verifier, sources):
        source = sources.by_issuer[issuer.issuer]
        assert isinstance(verifier.verify(token(), NOW), JwtIdentity)
        provider.keys = [public(rsa_key()), public(rsa_key(name="another"), "two")]
        new = token("two", "another")
        assert verifier.verify(new, NOW) is INVALID
        assert source.wait(10, fetches=2)
        assert isinstance(verifier.verify(new, NOW), JwtIdentity)
        assert isinstance(verifier.verify(token(), NOW), JwtIdentity)


def test_a_key_that_is_gone_ends_its_tokens(provider: Provider) -> None:
    """A token that was verified, and is kept, is refused once its key is no longer in the set, or another is under its
    name."""
    issuer = issuer_of({"url": provider.url})
    with verifier_of(issuer) as (verifier, sources):
        source = sources.by_issuer[issuer.issuer]
        kept = token()
        assert isinstance(verifier.verify(kept, NOW), JwtIdentity)
        provider.keys = [public(rsa_key(name="another"), "one")]
        verifier.verify(token("unknown"), NOW)
        assert source.wait(10, fetches=2)
        assert verifier.verify(kept, NOW) is INVALID
        assert isinstance(verifier.verify(token("one", "another"), NOW), JwtIdentity)
        provider.keys = []
        verifier.verify(token("unknown"), NOW)
        assert source.wait(10, fetches=3)
        assert verifier.verify(token("one", "another"), NOW) is INVALID


def test_the_same_keys_keep_verified_tokens(provider: Provider) -> None:
    """A fetch that brings what is known, whole or by its tag, has no token verified again."""
    issuer = issuer_of({"url": provider.url})
    with verifier_of(issuer) as (verifier, sources):
        source = sources.by_issuer[issuer.issuer]
        found = verifier.verify(token(), NOW)
        verifier.verify(token("unknown"), NOW)
        assert source.wait(10, fetches=2)
        assert verifier.verify(token(), NOW) is found
        provider.headers = {"ETag": '"v1"'}
        verifier.verify(token("unknown"), NOW)
        assert source.wait(10, fetches=3)
        verifier.verify(token("unknown"), NOW)
        assert source.wait(10, fetches=4)
        assert provider.asked[-1]["If-None-Match"] == '"v1"'
        assert verifier.verify(token(), NOW) is found


def test_unknown_keys_do_not_flood_the_issuer(provider: Provider) -> None:
    """However many tokens name keys that are unknown, the issuer is asked once in a while."""
    issuer = issuer_of({"url": provider.url})
    slow = Pace(unknown_seconds=3600.0)
    with verifier_of(issuer, pace=slow) as (verifier, sources):
        for number in range(500):
            assert verifier.verify(token(f"unknown{number}"), NOW) is INVALID
        assert not sources.by_issuer[issuer.issuer].wait(0.3, fetches=2)
        assert len(provider.asked) == 1


def test_tokens_of_strangers_have_nothing_fetched(provider: Provider) -> None:
    """Tokens of other issuers, with other algorithms or wrong signatures of known keys cause no fetch."""
    issuer = issuer_of({"url": provider.url})
    with verifier_of(issuer) as (verifier, sources):
        for stranger in (
            token("unknown", iss="https://other.example.com/"),
            sign(rsa_key(), "PS256", claims_of(), kid="unknown"),
            token("one", "another"),
            "x.y.z",
        ):
            assert verifier.verify(stranger, NOW) is INVALID
        assert not sources.by_issuer[issuer.issuer].wait(0.2, fetches=2)


def test_a_server_that_fails_leaves_the_last_keys(provider: Provider) -> None:
    """While the issuer answers with errors, tokens of the keys that are known are accepted; it is asked again, and
    what it has then is used."""
    issuer = issuer_of({"url": provider.url})
    with verifier_of(issuer) as (verifier, sources):
        source = sources.by_issuer[issuer.issuer]
        kept = source.keys
        provider.answer = lambda request: provider.send(request, 500, b"{}")
        verifier.verify(token("unknown"), NOW)
        assert source.wait(10, fetches=4)
        assert source.status().problem == "the server answers with status 500"
        assert source.status().failures >= 3
        assert source.keys is kept
        assert isinstance(verifier.verify(token(), NOW), JwtIdentity)
        provider.keys = [public(rsa_key(), "two")]
        provider.answer = provider.answer_keys
        while (status := source.status()).failures:
            assert source.wait(10, fetches=status.fetches + 1)
        assert isinstance(verifier.verify(token("two"), NOW), JwtIdentity)


def test_nobody_waits_for_a_server_that_is_down() -> None:
    """Where nothing listens, the first look ends, tokens are refused at once, and nothing is raised."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        issuer = issuer_of({"url": f"http://127.0.0.1:{unused.getsockname()[1]}/keys"})
        with verifier_of(issuer) as (verifier, sources):
            assert sources.settled
            assert verifier.verify(token(), NOW) is INVALID
            status = sources.status()[0]
            assert (status.keys, status.seen_at) == (0, None)
            assert "connection refused" in status.problem


def test_keys_that_are_too_old_are_not_used(provider: Provider) -> None:
    """Keys that could not be fetched again for as long as the file allows are dropped, with the tokens that they
    verified."""
    issuer = issuer_of({"url": provider.url})
    issuer.jwks.__dict__["stale_seconds"] = 0
    with verifier_of(issuer) as (verifier, sources):
        source = sources.by_issuer[issuer.issuer]
        assert isinstance(verifier.verify(token(), NOW), JwtIdentity)
        provider.answer = lambda request: provider.send(request, 503, b"")
        verifier.verify(token("unknown"), NOW)
        assert source.wait(10, fetches=2)
        assert source.keys is NO_KEYS
        assert verifier.verify(token(), NOW) is INVALID


def refusal(provider: Provider, **more: Any) -> str:
    """Why nothing can be fetched from a provider."""
    with pytest.raises(key_fetch.FetchError) as caught:
        key_fetch.fetch_keys(provider.url, **{"seconds": 10.0, **more})
    return str(caught.value)


def test_large_answers_are_not_read(provider: Provider) -> None:
    """An answer that is larger than a key set may be is refused, whether it says its size or not."""
    provider.answer = lambda request: provider.send(request, 200, b" " * (MAX_BYTES + 1))
    assert "larger than 262,144 bytes" in refusal(provider)

    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        while True:
            request.wfile.write(b" " * 65536)

    provider.answer = endless
    assert "larger than 262,144 bytes" in refusal(provider)


@pytest.mark.parametrize("place", ["status", "headers", "body"])
def test_slow_servers_are_cut_off(provider: Provider, place: str) -> None:
    """A server that sends a byte now and then holds a fetch no longer than its time."""

    def trickle(request: BaseHTTPRequestHandler) -> None:
        if place != "status":
            request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if place == "body":
            request.wfile.write(b"Content-Length: 1000\r\n\r\n")
        while not provider.released.wait(0.02):
            request.wfile.write(b"x")
            request.wfile.flush()

    provider.answer = trickle
    begun = time.monotonic()
    assert "has not answered in time" in refusal(provider, seconds=0.5)
    assert time.monotonic() - begun < 5


def test_a_slow_handshake_is_cut_off() -> None:
    """Nor does one that accepts a connection and never shows its certificate."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/keys"
        with pytest.raises(key_fetch.FetchError, match="has not answered in time"):
            key_fetch.fetch_keys(url, seconds=0.3)


def test_redirects_stay_at_the_server(provider: Provider) -> None:
    """A redirect within the server is followed a few times; one to another host, port or scheme never is."""
    target = {"to": "/elsewhere"}

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.path == "/elsewhere":
            provider.answer_keys(request)
        else:
            provider.send(request, 302, b"", Location=target["to"])

    provider.answer = answer
    assert key_fetch.fetch_keys(provider.url, seconds=5).data is not None
    with running_provider() as other:
        other.keys = [public(rsa_key(name="another"))]
        for to in (
            other.url,
            f"http://localhost:{provider.port}/elsewhere",
            f"//127.0.0.1:{other.port}/keys",
            f"https://127.0.0.1:{provider.port}/elsewhere",
            "file:///etc/passwd",
            "ftp://127.0.0.1/x",
            f"http://user@127.0.0.1:{other.port}/",
        ):
            target["to"] = to
            assert "another server" in refusal(provider), to
        assert not other.asked
    target["to"] = "/keys"
    assert "more than 3 times" in refusal(provider)
    target["to"] = ""
    assert "no URL" in refusal(provider)
    target["to"] = "http://127.0.0.1:99999999/"
    assert "no URL" in refusal(provider)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Content-Encoding": "gzip"}, "compressed"),
        ({"Content-Length": "5000"}, "ends early"),
    ],
    ids=["compressed", "short"],
)
def test_answers_that_are_not_as_asked_for_are_refused(provider: Provider, headers: dict[str, str], why: str) -> None:
    """Compressed answers, and those that end before they are whole, are refused."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        for name, value in {"Content-Length": "2", **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(b"{}")
        request.close_connection = True

    provider.answer = answer
    assert why in refusal(provider)


@pytest.mark.parametrize("status", [201, 204, 304, 400, 404, 500])
def test_only_a_full_answer_counts(provider: Provider, status: int) -> None:
    """Any other status than 200 is a failure, also `not modified` where nothing was known."""
    provider.answer = lambda request: provider.send(request, status, b"")
    assert f"status {status}" in refusal(provider)


def test_the_server_may_ask_to_be_asked_sooner(provider: Provider) -> None:
    """`max-age` has the keys fetched again sooner, but not as often as it likes."""
    provider.headers = {"Cache-Control": "public, max-age=0"}
    issuer = issuer_of({"url": provider.url})
    with verifier_of(issuer) as (_, sources):
        begun = time.monotonic()
        assert sources.by_issuer[issuer.issuer].wait(10, fetches=4)
        assert time.monotonic() - begun >= 3 * 0.9 * QUICK.least_seconds
    provider.headers = {"Cache-Control": "max-age=999999999"}
    assert key_fetch.fetch_keys(provider.url).max_age == 999_999_999


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that no system knows."""
    return trustme.CA()


@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_are_checked(authority: trustme.CA, trusted: bool, tmp_path: Path) -> None:
    """Keys come over TLS from a server whose certificate an authority of the system, or of `ca_file`, has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with running_provider(context) as provider:
        provider.keys = [public(rsa_key())]
        jwks = {"url": provider.url, **({"ca_file": "ca.pem"} if trusted else {})}
        with verifier_of(issuer_of(jwks), folder=tmp_path) as (verifier, sources):
            assert isinstance(verifier.verify(token(), NOW), JwtIdentity) is trusted
            problem = sources.status()[0].problem
            assert bool(problem) is not trusted
            assert trusted or "certificate" in problem


def test_the_certificate_is_that_of_the_host(authority: trustme.CA) -> None:
    """A certificate of a trusted authority for another host is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example.com").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with running_provider(context) as provider:
        assert "certificate" in refusal(provider, context=trusting)


def test_keys_in_a_file_are_followed(tmp_path: Path) -> None:
    """A file is read at the start and again when it changes; one that cannot be read leaves the last keys."""
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [public(rsa_key())]}))
    issuer = issuer_of({"file": "keys.json"})
    with verifier_of(issuer, folder=tmp_path) as (verifier, sources):
        source = sources.by_issuer[issuer.issuer]
        assert isinstance(verifier.verify(token(), NOW), JwtIdentity)
        path.unlink()
        assert source.wait(10, fetches=source.status().fetches + 3)
        assert "no such file" in source.status().problem
        assert isinstance(verifier.verify(token(), NOW), JwtIdentity)
        other = tmp_path / "other.json"
        other.write_text(json.dumps({"keys": [public(rsa_key(), "two")]}))
        other.rename(path)
        assert source.wait(10, fetches=source.status().fetches + 3)
        assert verifier.verify(token(), NOW) is INVALID
        assert isinstance(verifier.verify(token("two"), NOW), JwtIdentity)


def test_a_pipe_is_no_file_of_keys(tmp_path: Path) -> None:
    """What could be waited for without end, such as a pipe, is not read."""
    os.mkfifo(tmp_path / "keys.json")
    with verifier_of(issuer_of({"file": "keys.json"}), folder=tmp_path) as (_, sources):
        assert "is no file" in sources.status()[0].problem


def test_threads_end(provider: Provider) -> None:
    """Sources that are stopped leave no thread behind."""
    sources = KeySources([issuer_of({"url": provider.url})], Path())
    sources.start()
    assert sources.wait(10)
    sources.stop()
    for thread in threading.enumerate():
        if thread.name == "issuer-keys":
            thread.join(10)
            assert not thread.is_alive()


def test_unknown_keys_delay_no_retry(provider: Provider) -> None:
    """Where a fetch has failed, tokens of unknown keys do not keep the next one from coming when it is due."""
    provider.answer = lambda request: provider.send(request, 503, b"")
    issuer = issuer_of({"url": provider.url})
    pace = Pace(unknown_seconds=3600.0, first_wait_seconds=0.02, last_wait_seconds=0.1)
    with verifier_of(issuer, pace=pace) as (verifier, sources):
        source = sources.by_issuer[issuer.issuer]
        assert verifier.verify(token("unknown"), NOW) is INVALID
        provider.answer = provider.answer_keys
        while (status := source.status()).failures:
            assert source.wait(10, fetches=status.fetches + 1)
        assert isinstance(verifier.verify(token(), NOW), JwtIdentity)


def test_all_addresses_of_a_host_have_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with several addresses is tried at one after the other; the time of the fetch is for all of them."""
    with running_provider() as provider, socket.socket() as closed, socket.socket() as full:
        closed.bind(("127.0.0.1", 0))
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        usual: Any = socket.getaddrinfo
        found: list[Any] = []

        def look_up(*_: Any, **__: Any) -> list[Any]:
            return [usual(*place.getsockname()[:2], type=socket.SOCK_STREAM)[0] for place in found]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        found = [closed, provider._server.socket]  # noqa: SLF001
        assert key_fetch.fetch_keys("http://many.example/keys", seconds=10.0).data == b'{"keys": []}'
        monkeypatch.undo()
        # What nobody takes from its queue fills it, and the next ones wait.
        with contextlib.ExitStack() as waiting:
            for _ in range(4):
                one = waiting.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            found = [full] * 20
            monkeypatch.setattr(socket, "getaddrinfo", look_up)
            begun = time.monotonic()
            with pytest.raises(key_fetch.FetchError, match="has not answered in time"):
                key_fetch.fetch_keys("http://many.example/keys", seconds=0.2)
            assert time.monotonic() - begun < 3
