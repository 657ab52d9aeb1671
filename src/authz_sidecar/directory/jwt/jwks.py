"""JWK Sets (RFC 7517): the public keys of an issuer, each bound to one algorithm.

The key says which algorithm a token is verified with, never the token. A key that says its `alg` is used with that
one; a key that does not is used with the first of the issuer's algorithms that fits its type and curve. Everything
that is not a public key for signatures of a configured algorithm is left out, and `notes` says why.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import base64_to_int

from authz_sidecar.bundle.wording import counted, quote

MAX_BYTES = 256 * 1024
MAX_KEYS = 100
MAX_NAME = 256
LEAST_RSA_BITS, MOST_RSA_BITS = 2048, 8192
# In base64url: more than the largest RSA modulus has.
MAX_PART = 2048
# Large exponents make every check of a signature dear.
MOST_EXPONENT = 2**32

# Algorithms by the type and curve of the keys that they take (RFC 7518 section 3.1, RFC 8037, RFC 9864).
_FITTING: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
}
# The members that each type of key needs, and those that only private keys have.
_NEEDED: Mapping[str, tuple[str, ...]] = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_KINDS: Mapping[str, type[RSAKey] | type[ECKey] | type[OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


class JwksError(Exception):
    """Why a text is no usable set of keys."""


class VerificationKey:
    """A public key and the one algorithm that it is used with."""

    __slots__ = ("_key", "_model", "algorithm", "kid")

    def __init__(self, kid: str | None, algorithm: str, key: RSAKey | ECKey | OKPKey) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self._key = key
        self._model = JWSRegistry.algorithms[algorithm]
        self._model.check_key(key)

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` is that of `text`."""
        try:
            return self._model.verify(text, signature, self._key)
        except (JoseError, ValueError, TypeError):
            # Of a wrong length, or no point of the curve.
            return False


class KeySet:
    """The keys of one issuer at one time: immutable. `notes` says which were left out, and why."""

    __slots__ = ("_by_name", "_nameless", "kids", "notes", "size")

    def __init__(self, keys: Sequence[VerificationKey] = (), notes: tuple[str, ...] = ()) -> None:
        self._by_name = {(key.kid, key.algorithm): key for key in keys if key.kid is not None}
        alone: dict[str, VerificationKey | None] = {}
        for key in keys:
            alone[key.algorithm] = None if key.algorithm in alone else key
        self._nameless = alone
        self.kids = frozenset(key.kid for key in keys if key.kid is not None)
        self.notes = notes
        self.size = len(keys)

    def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The key that a token names, if it is for this algorithm. A token that names none means the only key of its
        algorithm; of several none is tried."""
        if kid is None:
            return self._nameless.get(algorithm)
        return self._by_name.get((kid, algorithm))


NO_KEYS = KeySet()


def parse_key_set(data: bytes, algorithms: Sequence[str]) -> KeySet:
    """The usable keys in a JWK Set, for the algorithms of an issuer, in their order; JwksError if it is not one."""
    if len(data) > MAX_BYTES:
        raise JwksError(f"the key set holds more than {MAX_BYTES:,} bytes")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise JwksError("the key set is not JSON") from None
    members = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(members, list):
        raise JwksError("the key set has no list `keys`")
    if len(members) > MAX_KEYS:
        raise JwksError(f"the key set holds {counted(len(members), 'key')}; at most {MAX_KEYS} are taken")
    keys: dict[tuple[str | None, str], VerificationKey] = {}
    notes: list[str] = []
    twice: set[tuple[str | None, str]] = set()
    for number, member in enumerate(members, 1):
        found = _read_key(member, algorithms)
        if isinstance(found, str):
            notes.append(f"{_named(member, number)} is left out: {found}")
            continue
        name = (found.kid if found.kid is not None else f"\0{number}", found.algorithm)
        if name in keys:
            twice.add(name)
            notes.append(f"{_named(member, number)} is left out: another key has the same name and algorithm")
        keys[name] = found
    # Which of two keys of one name is meant cannot be told.
    return KeySet([key for name, key in keys.items() if name not in twice], tuple(notes))


def _named(member: Any, number: int) -> str:
    kid = member.get("kid") if isinstance(member, dict) else None
    return f"the key {quote(kid)}" if isinstance(kid, str) and kid else f"key {number}"


def _read_key(member: Any, algorithms: Sequence[str]) -> VerificationKey | str:
    """The key that a member of a set is, or why it is none."""
    if not isinstance(member, dict):
        return "it is no mapping"
    kid, type, curve = member.get("kid"), member.get("kty"), member.get("crv", "")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_NAME):
        return f"its `kid` is no text of 1 to {MAX_NAME} characters"
    if not isinstance(type, str) or type not in _KINDS:
        return f"keys of the type {quote(type)} are not taken"
    if any(name in member for name in _PRIVATE):
        return "it is a private key; replace it at the issuer, everybody can sign with it"
    problem = _use_problem(member)
    if problem:
        return problem
    fitting = _FITTING.get((type, "" if type == "RSA" else curve if isinstance(curve, str) else ""), ())
    named = member.get("alg")
    if named is None:
        algorithm = next((one for one in algorithms if one in fitting), None)
        if algorithm is None:
            return "none of the issuer's algorithms fits it"
    elif isinstance(named, str) and named in fitting and named in algorithms:
        algorithm = named
    else:
        return f"its algorithm {quote(named)} is none of the issuer's, or does not fit it"
    # Only what the key is made of: what else stands there is nothing to rely on.
    parts: dict[str, Any] = {name: member.get(name) for name in _NEEDED[type]}
    if not all(isinstance(value, str) and 0 < len(value) <= MAX_PART for value in parts.values()):
        return "a part of it is missing or too long"
    try:
        problem = _rsa_problem(parts["n"], parts["e"]) if type == "RSA" else ""
        if problem:
            return problem
        return VerificationKey(kid, algorithm, _KINDS[type].import_key({"kty": type, **parts}))
    except (JoseError, ValueError, TypeError, OverflowError):
        return "it is no valid key"


def _rsa_problem(modulus: str, exponent: str) -> str:
    """Why an RSA key is too weak, or takes too long, or ""."""
    bits, power = base64_to_int(modulus).bit_length(), base64_to_int(exponent)
    if not LEAST_RSA_BITS <= bits <= MOST_RSA_BITS:
        return f"it has {bits:,} bits; {LEAST_RSA_BITS:,} to {MOST_RSA_BITS:,} are taken"
    if not 3 <= power <= MOST_EXPONENT or power % 2 == 0:
        return "its exponent is not odd, or out of bounds"
    return ""


def _use_problem(member: Mapping[str, Any]) -> str:
    """Why a key is not there to verify signatures (RFC 7517 sections 4.2 and 4.3), or ""."""
    use, operations = member.get("use"), member.get("key_ops")
    if use is not None and use != "sig":
        return f"its use is {quote(use)}, not `sig`"
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return "its operations do not hold `verify`"
    return ""
