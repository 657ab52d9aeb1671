"""What makes a JWT a credential, and every way in which it is none."""

import hmac
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from joserfc.jws import JWSRegistry

from authz_sidecar.directory.jwt.text import MAX_BYTES
from authz_sidecar.directory.jwt.verification import JwtIdentity, JwtVerifier
from authz_sidecar.values import Reason
from authz_sidecar.values.identity import IdentityKind
from tests.directory.identity_provider import (
    AUDIENCE,
    ISSUER,
    NOW,
    claims_of,
    ec_key,
    ed_key,
    issuer_of,
    public,
    rsa_key,
    running_provider,
    segment,
    sign,
    verifier_of,
)

INVALID = Reason.INVALID_CREDENTIAL
KEYS = [
    public(rsa_key(), "one", alg="RS256"),
    public(ec_key(), "two"),
    public(ed_key(), "three"),
]


@pytest.fixture(scope="module")
def verifier() -> Iterator[JwtVerifier]:
    """A verifier for a provider with a key of each type."""
    with running_provider() as provider:
        provider.keys = KEYS
        claims = {"groups": ["realm", "groups"], "attributes": {"department": "dept"}}
        with verifier_of(issuer_of({"url": provider.url}, claims=claims)) as (made, _):
            yield made


def verified(verifier: JwtVerifier, token: str, now: float = NOW) -> JwtIdentity:
    """The identity of a token that is right."""
    found = verifier.verify(token, now)
    assert isinstance(found, JwtIdentity)
    return found


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(rsa_key(), "RS256", "one"), (ec_key(), "ES256", "two"), (ed_key(), "EdDSA", "three")]
)
def test_a_token_stands_for_its_subject(verifier: JwtVerifier, key: Any, algorithm: str, kid: str) -> None:
    """A signed token names the identity of its issuer and subject, with groups and the attributes that are chosen."""
    claims = claims_of(realm={"groups": ["b", "a", "b"]}, dept={"name": "x"}, other="not taken")
    found = verified(verifier, sign(key, algorithm, claims, kid=kid))
    assert (found.id, found.kind, found.company) == ("acme:alice", IdentityKind.USER, "acme")
    assert found.groups == ("a", "b")
    assert found.attributes == {"department": {"name": "x"}}
    assert found.credential == f"jwt:{ISSUER}"
    assert found.expires == NOW + 630


def test_the_same_token_is_verified_once(verifier: JwtVerifier) -> None:
    """A token that was verified is kept, and is the same identity the next time."""
    token = sign(rsa_key(), "RS256", claims_of(jti="kept"))
    before = verifier.cached
    assert verifier.verify(token, NOW) is verifier.verify(token, NOW + 1)
    assert verifier.cached == before + 1


@pytest.mark.parametrize("form", ["PEM", "DER", "jwk"])
def test_a_public_key_is_no_secret(verifier: JwtVerifier, form: str) -> None:
    """A token signed by HMAC with the public key as the secret, in any of its forms, is refused."""
    key = json.dumps(public(rsa_key())).encode() if form == "jwk" else rsa_key().as_bytes(encoding=form)  # type: ignore[arg-type]
    text = f"{segment({'alg': 'HS256', 'typ': 'JWT', 'kid': 'one'})}.{segment(claims_of())}"
    signature = hmac.digest(key, text.encode(), "sha256")
    assert verifier.verify(f"{text}.{segment(signature)}", NOW) is INVALID


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, ["RS256"], {"a": 1}, 1], ids=repr)
@pytest.mark.parametrize("signature", ["", "AA"])
def test_an_unsigned_token_is_none(verifier: JwtVerifier, algorithm: Any, signature: str) -> None:
    """`none`, however it is written, and whatever is no algorithm is refused, with a signature or without."""
    token = f"{segment({'alg': algorithm, 'kid': 'one'})}.{segment(claims_of())}.{signature}"
    assert verifier.verify(token, NOW) is INVALID


@pytest.mark.parametrize(
    ("key", "algorithm", "kid", "said"),
    [
        (rsa_key(), "PS256", "one", "PS256"),
        (rsa_key(), "RS512", "one", "RS512"),
        (rsa_key(), "PS256", "one", "RS256"),
        (rsa_key(), "RS256", "two", "RS256"),
        (ec_key(), "ES256", "one", "ES256"),
        (ec_key("P-384"), "ES384", "two", "ES384"),
        (ec_key("P-384"), "ES384", "two", "ES256"),
        (ec_key(name="another"), "ES256", "two", "ES256"),
        (rsa_key(name="another"), "RS256", "one", "RS256"),
    ],
)
def test_the_key_says_the_algorithm(verifier: JwtVerifier, key: Any, algorithm: str, kid: str, said: str) -> None:
    """A token with another algorithm, curve or key than the one that it names is refused."""
    assert verifier.verify(sign(key, algorithm, claims_of(), {"alg": said}, kid), NOW) is INVALID


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/etc/passwd",
        "' OR 1=1 --",
        "one' UNION SELECT 'secret",
        "x" * 257,
        "x" * 3000,
        "",
        "ONE",
        "one\x00",
        " one",
        ["one"],
        {"one": 1},
        1,
        True,
    ],
    ids=lambda kid: f"{len(str(kid))} {kid!r}"[:40],
)
def test_a_name_of_a_key_is_only_compared(verifier: JwtVerifier, kid: Any) -> None:
    """A `kid` that is no name of a key, whatever else it might be taken for, is refused."""
    assert verifier.verify(sign(rsa_key(), "RS256", claims_of(), {"kid": kid}), NOW) is INVALID


def test_a_key_in_the_token_is_not_used(verifier: JwtVerifier) -> None:
    """Keys and addresses of keys that a token brings itself are never looked at."""
    stranger = rsa_key(name="another")
    header = {"jwk": public(stranger), "jku": "https://evil.example.com/", "x5u": "https://evil.example.com/"}
    assert verifier.verify(sign(stranger, "RS256", claims_of(), header), NOW) is INVALID
    assert verifier.verify(sign(stranger, "RS256", claims_of(), {**header, "kid": None}), NOW) is INVALID
    verified(verifier, sign(rsa_key(), "RS256", claims_of(), header))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"aud": None},
        {"aud": []},
        {"aud": [AUDIENCE + "x", 1, None]},
        {"aud": {AUDIENCE: 1}},
        {"iss": ISSUER.rstrip("/")},
        {"iss": ISSUER.upper()},
        {"iss": None},
        {"iss": [ISSUER]},
        {"exp": None},
        {"exp": "1900000000"},
        {"exp": True},
        {"exp": 1e300},
        {"exp": -1e300},
        {"exp": [NOW + 600]},
        {"nbf": NOW + 31},
        {"nbf": "0"},
        {"iat": NOW + 31},
        {"iat": []},
        {"act": {"sub": "bob"}},
        {"act": {"sub": "bob", "act": {"sub": "carol"}}},
        {"cnf": {"jkt": "x"}},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
        {"dept": 10**20},
        {"dept": [{"a": -(10**19)}]},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": ["alice"]},
        {"sub": "al\x00ice"},
        {"sub": "al\u202eice"},
        {"sub": "alice\u3164"},
        {"sub": "ali\u00a0ce"},
        {"sub": "re\u0301mi"},
        {"sub": "alice "},
        {"sub": "x" * 1024},
        {"sub": "\ud800"},
        {"realm": {"groups": {"a": 1}}},
        {"realm": "groups"},
        {"realm": ["groups"]},
        {"realm": False},
        {"realm": {"groups": ["a", 1]}},
        {"realm": {"groups": [f"g{number}" for number in range(513)]}},
    ],
    ids=lambda claims: str(claims)[:60],
)
def test_wrong_claims_are_refused(verifier: JwtVerifier, claims: dict[str, Any]) -> None:
    """A token for others, of others, without an end, not yet begun, delegated or without a subject is refused."""
    assert verifier.verify(sign(rsa_key(), "RS256", claims_of(**claims)), NOW) is INVALID


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "exp"])
def test_a_claim_of_null_is_no_claim(verifier: JwtVerifier, name: str) -> None:
    """`null` in the place of what a token needs is refused."""
    assert verifier.verify(sign(rsa_key(), "RS256", {**claims_of(), name: None}), NOW) is INVALID


@pytest.mark.parametrize(
    "claims", [{"aud": ["other", AUDIENCE]}, {"nbf": NOW + 29}, {"iat": NOW + 29}, {"iat": None}], ids=str
)
def test_right_claims_are_taken(verifier: JwtVerifier, claims: dict[str, Any]) -> None:
    """One audience of several is enough, and clocks may differ by the leeway."""
    verified(verifier, sign(rsa_key(), "RS256", claims_of(**claims)))


def test_expired_is_told_to_whoever_has_the_token(verifier: JwtVerifier) -> None:
    """A token holds for the leeway longer than it says; then it is expired, unless something else is wrong too."""
    token = sign(rsa_key(), "RS256", claims_of(exp=NOW))
    verified(verifier, token, NOW + 29.9)
    assert verifier.verify(token, NOW + 30) is Reason.CREDENTIAL_EXPIRED
    assert verifier.verify(token, NOW + 1e6) is Reason.CREDENTIAL_EXPIRED
    assert verifier.verify(token[:-4] + "AAAA", NOW + 30) is INVALID
    assert verifier.verify(sign(rsa_key(), "RS256", claims_of(exp=NOW, aud="other")), NOW + 30) is INVALID
    assert verifier.verify(sign(rsa_key(name="another"), "RS256", claims_of(exp=NOW)), NOW + 30) is INVALID


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"b64": True},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"cty": "JWT"},
        {"cty": "application/jwt"},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": "JOSE+JSON"},
        {"typ": 1},
        {f"x{number}": 1 for number in range(32)},
        {"long": "x" * 4096},
    ],
    ids=lambda header: str(header)[:40],
)
def test_headers_that_change_the_meaning_are_refused(verifier: JwtVerifier, header: dict[str, Any]) -> None:
    """Extensions that must be understood, other kinds of token and headers without bounds are refused."""
    assert verifier.verify(sign(rsa_key(), "RS256", claims_of(), header), NOW) is INVALID


@pytest.mark.parametrize("type", ["JWT", "jwt", "at+jwt", "application/at+JWT", None])
def test_types_are_media_types(verifier: JwtVerifier, type: str | None) -> None:
    """`typ` is compared without its case and without `application/`; without one it is a JWT."""
    verified(verifier, sign(rsa_key(), "RS256", claims_of(), {"typ": type}))


def _raw(payload: bytes, header: bytes | None = None) -> str:
    """A token with a right signature over exactly these bytes."""
    first = segment(header if header is not None else b'{"alg":"RS256","kid":"one"}')
    text = f"{first}.{segment(payload)}"
    return f"{text}.{segment(JWSRegistry.algorithms['RS256'].sign(text.encode(), rsa_key()))}"


RIGHT = json.dumps(claims_of()).encode()


@pytest.mark.parametrize(
    "payload",
    [
        RIGHT[:-1] + b',"sub":"bob"}',
        RIGHT[:-1] + b',"\\u0073ub":"bob"}',
        RIGHT[:-1] + b',"x":{"a":1,"a":2}}',
        RIGHT[:-1] + b',"x":NaN}',
        RIGHT[:-1] + b',"x":1e999}',
        RIGHT[:-1] + b',"x":' + b"9" * 5000 + b"}",
        RIGHT[:-1] + b',"x":"\\ud800"}',
        RIGHT[:-1] + b',"x":"\xff"}',
        RIGHT[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        RIGHT[:-1] + b',"x":' + b"[" * 20 + b"]" * 20 + b"}",
        RIGHT[:-1] + b',"x":[' + b",".join([b"1"] * 2050) + b"]}",
        RIGHT[:-1] + b"," + b",".join(b'"x%d":1' % number for number in range(256)) + b"}",
        b"[" + RIGHT + b"]",
        b"\xef\xbb\xbf" + RIGHT,
        RIGHT + b"x",
        b"null",
        b"1",
    ],
    ids=range(17),
)
def test_payloads_that_others_could_read_otherwise_are_refused(verifier: JwtVerifier, payload: bytes) -> None:
    """Claims that stand twice, numbers and texts that are none, and what is deep or wide beyond bounds are refused."""
    verified(verifier, _raw(RIGHT))
    assert verifier.verify(_raw(payload), NOW) is INVALID


@pytest.mark.parametrize(
    "header",
    [b'{"alg":"none","alg":"RS256","kid":"one"}', b'{"alg":"RS256","kid":"one","kid":"one"}', b"[]", b"", b"\xff"],
    ids=repr,
)
def test_headers_that_others_could_read_otherwise_are_refused(verifier: JwtVerifier, header: bytes) -> None:
    """A header in which something stands twice, or that is no mapping, is refused."""
    assert verifier.verify(_raw(RIGHT, header), NOW) is INVALID


def test_only_the_compact_form_is_taken(verifier: JwtVerifier) -> None:
    """Encrypted tokens, JSON forms, padding, stray bits, further parts and plain text are refused."""
    token = sign(rsa_key(), "RS256", claims_of())
    header, payload, signature = token.split(".")
    stray = "B" if signature[-1] == "A" else chr(ord(signature[-1]) + 1)
    for wrong in (
        "",
        ".",
        "..",
        "...",
        f"{header}.{payload}",
        f"{header}..{signature}",
        f"{header}.{payload}.{signature}.",
        f"{header}.{payload}.{signature}.{signature}.{signature}",
        f"{token}=",
        f"{token}==",
        f" {token}",
        f"{token}\n",
        f"{header}.{payload}.{signature[:-1]}{stray}",
        f"{header}.{payload}.{signature[:-1]}",
        f"{header}.{payload}.{'A' * 2049}",
        f"Bearer {token}",
        token.replace("-", "+").replace("_", "/") + "/",
        json.dumps({"protected": header, "payload": payload, "signature": signature}),
        "é" * 20,
        "\ud800",
        "\x00",
    ):
        assert verifier.verify(wrong, NOW) is INVALID, wrong


def test_long_tokens_are_not_read(verifier: JwtVerifier) -> None:
    """A token of 16 KiB is taken; one that is longer is refused, though its signature is right."""
    # Four characters of base64 for three bytes, after the header and the signature.
    room = MAX_BYTES - len(sign(rsa_key(), "RS256", claims_of(x="")))
    verified(verifier, sign(rsa_key(), "RS256", claims_of(x="x" * (room * 3 // 4 - 2))))
    assert verifier.verify(sign(rsa_key(), "RS256", claims_of(x="x" * room)), NOW) is INVALID


def test_the_cache_is_bounded() -> None:
    """Many tokens do not take more memory than few: the oldest are verified again."""
    with running_provider() as provider:
        provider.keys = KEYS
        with verifier_of(issuer_of({"url": provider.url})) as (_, sources):
            small = JwtVerifier(sources.by_issuer, most_cached=3)
            tokens = [sign(rsa_key(), "RS256", claims_of(jti=str(number))) for number in range(5)]
            found = [small.verify(token, NOW) for token in tokens]
            assert small.cached == 3
            assert small.verify(tokens[4], NOW) is found[4]
            assert small.verify(tokens[0], NOW) is not found[0]
            assert small.verify(tokens[0], NOW) == found[0]


def test_long_tokens_take_the_place_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of tokens is bounded by their length, too: one with hundreds of groups is as large as many."""
    with running_provider() as provider:
        provider.keys = KEYS
        with verifier_of(issuer_of({"url": provider.url})) as (verifier, _):
            tokens = [sign(rsa_key(), "RS256", claims_of(jti=str(number), x="x" * 1000)) for number in range(5)]
            monkeypatch.setattr("authz_sidecar.directory.jwt.verification.MAX_CACHED_LENGTH", 3 * len(tokens[0]))
            found = [verifier.verify(token, NOW) for token in (*tokens, *tokens[2:])]
            assert verifier.cached == 3
            assert all(one is other for one, other in zip(found[2:], found[5:], strict=False))
            # Those that are over give their room back.
            assert verifier.verify(tokens[4], NOW + 3600) is Reason.CREDENTIAL_EXPIRED
            assert verifier.verify(tokens[0], NOW) == found[0]
            assert verifier.verify(tokens[2], NOW) is found[2]


def test_threads_verify_beside_each_other() -> None:
    """Signing in verifies in threads beside the checks: with a cache that is always full, every answer is right."""
    with running_provider() as provider:
        provider.keys = KEYS
        with verifier_of(issuer_of({"url": provider.url})) as (_, sources):
            small = JwtVerifier(sources.by_issuer, most_cached=2)
            tokens = [sign(ec_key(), "ES256", claims_of(sub=f"s{number}"), kid="two") for number in range(6)]

            def ask(number: int) -> bool:
                when = NOW if number % 5 else NOW + 3600
                found = small.verify(tokens[number % 6], when)
                return found is Reason.CREDENTIAL_EXPIRED if when > NOW else isinstance(found, JwtIdentity)

            with ThreadPoolExecutor(4) as pool:
                assert all(pool.map(ask, range(600)))
            assert small.cached <= 2
