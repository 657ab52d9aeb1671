"""JWTs of identity providers as credentials (RFC 7519, by the rules of RFC 8725): verified in memory, without a fetch.

What is checked: the form (`jwt_text`), the issuer to the letter, the key that the token names with the one algorithm
that this key is for, the signature, then type, audience, times and what the file of issuers requires. A token that
says who acts on somebody's behalf (`act`, RFC 8693) or that is bound to a key of its holder (`cnf`, RFC 7800) is
refused: the first would let an identity act for a chain of others, and of the second only half would be proven. So is
one that tells of events (`events`, RFC 8417), such as a logout: its subject is whom it is about, not who presents it.

Whatever is wrong is INVALID_CREDENTIAL. Only whoever presents a token that is right but for its age is told so.
"""

import threading
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from authz_sidecar.audit.record import SIDECAR
from authz_sidecar.directory.administration.look_alikes import look_alike_problem
from authz_sidecar.directory.jwt.issuers import KEPT_PREFIXES, Issuer
from authz_sidecar.directory.jwt.jwks import KeySet
from authz_sidecar.directory.jwt.key_source import KeySource
from authz_sidecar.directory.jwt.text import MAX_BYTES, JwtText, read_jwt, read_time
from authz_sidecar.values import Reason
from authz_sidecar.values.identity import ANY, FOREVER, IdentityKind
from authz_sidecar.values.request import value_problem

MAX_CACHED = 10_000
# Characters of all tokens that are kept: what is kept of one with very many groups is as large as it is.
MAX_CACHED_LENGTH = 32 * 1024 * 1024
MAX_GROUPS = 512

# What stands for everybody, and for the sidecar itself in the audit.
_KEPT = frozenset((ANY, SIDECAR))
_REFUSED_CLAIMS = frozenset(("act", "cnf", "events"))


class JwtIdentity(msgspec.Struct, frozen=True):
    """Whom a verified token speaks of. `company` is None where the token and its issuer say none. The token holds
    until just before `expires` (seconds since 1970-01-01 UTC, the leeway included)."""

    issuer: Issuer
    id: str
    kind: IdentityKind
    company: str | None = None
    groups: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = {}
    expires: float = FOREVER

    @property
    def credential(self) -> str:
        """The credential's name, without its secret."""
        return f"jwt:{self.issuer.issuer}"


class _Verified(msgspec.Struct):
    """A token that was verified with the keys that were the issuer's then."""

    found: JwtIdentity
    keys: KeySet
    source: KeySource
    length: int


class JwtVerifier:
    """Tells whom tokens speak of. `sources` has the keys of each issuer, by its name.

    Verified tokens are kept by their SHA-256 until they expire or the issuer's keys are others.
    """

    def __init__(self, sources: Mapping[str, KeySource], most_cached: int = MAX_CACHED) -> None:
        self._sources = dict(sources)
        self._most = most_cached
        self._verified: dict[bytes, _Verified] = {}
        # Sign-ins verify in threads of their own: whatever changes what is kept holds this.
        self._lock = threading.Lock()
        self._length = 0
        # INVARIANT prefixes-apart: what begins like this is an identity of that issuer alone.
        self._prefixes = tuple(one.issuer.prefix for one in sources.values() if one.issuer.prefix)

    @property
    def cached(self) -> int:
        """How many verified tokens are kept."""
        return len(self._verified)

    def verify(self, token: str, now: float) -> JwtIdentity | Reason:
        """Whom `token` speaks of at `now` (seconds since 1970-01-01 UTC), or why it does of nobody. Raises nothing."""
        if len(token) > MAX_BYTES:
            return Reason.INVALID_CREDENTIAL
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        kept = self._verified.get(digest)
        if kept is not None:
            if kept.source.keys is kept.keys and now < kept.found.expires:
                return kept.found
            self._forget(digest)
        text = read_jwt(token)
        if text is None:
            return Reason.INVALID_CREDENTIAL
        issuer = text.claims.get("iss")
        source = self._sources.get(issuer) if isinstance(issuer, str) else None
        if source is None or text.algorithm not in source.issuer.algorithms:
            return Reason.INVALID_CREDENTIAL
        keys = source.keys
        key = keys.find(text.kid, text.algorithm)
        if key is None or not key.verify(text.signed, text.signature):
            # A key that is not known may be new, and so may the only key of an issuer that does not name it.
            if text.kid not in keys.kids:
                source.ask()
            return Reason.INVALID_CREDENTIAL
        found = self._judge(source.issuer, text, now)
        if isinstance(found, JwtIdentity):
            self._keep(digest, _Verified(found, keys, source, len(token)))
        return found

    def _keep(self, digest: bytes, verified: _Verified) -> None:
        with self._lock:
            # Another thread may have verified the same token meanwhile.
            before = self._verified.pop(digest, None)
            self._verified[digest] = verified
            self._length += verified.length - (0 if before is None else before.length)
            while len(self._verified) > self._most or self._length > MAX_CACHED_LENGTH:
                self._length -= self._verified.pop(next(iter(self._verified))).length

    def _forget(self, digest: bytes) -> None:
        with self._lock:
            gone = self._verified.pop(digest, None)
            if gone is not None:
                self._length -= gone.length

    def _judge(self, issuer: Issuer, text: JwtText, now: float) -> JwtIdentity | Reason:
        """What a token with the right signature is worth."""
        claims = text.claims
        if not _is_type(text.type, issuer) or not _is_for(claims.get("aud"), issuer):
            return Reason.INVALID_CREDENTIAL
        if not _REFUSED_CLAIMS.isdisjoint(claims):
            return Reason.INVALID_CREDENTIAL
        if any(not _is_wanted(claims.get(name), wanted) for name, wanted in issuer.require.items()):
            return Reason.INVALID_CREDENTIAL
        expires = _expiry(issuer, claims, now)
        found = None if expires is None else self._identity(issuer, claims, expires)
        if found is None:
            return Reason.INVALID_CREDENTIAL
        return found if now < found.expires else Reason.CREDENTIAL_EXPIRED

    def _identity(self, issuer: Issuer, claims: Mapping[str, Any], expires: float) -> JwtIdentity | None:
        where = issuer.claims
        try:
            subject, said, listed_groups = (
                None if path is None else claim_at(claims, path)
                for path in (where.subject, where.company, where.groups)
            )
            attributes = {
                name: value for name, path in where.attributes.items() if (value := claim_at(claims, path)) is not None
            }
            kind = _kind(issuer, claims)
        except ValueError:
            return None
        if not isinstance(subject, str) or not subject:
            return None
        id = (issuer.prefix or "") + subject
        # One that the directory could not have could not be switched off there either.
        if value_problem(id) or look_alike_problem(id) or id in _KEPT or id.startswith(KEPT_PREFIXES):
            return None
        if issuer.prefix is None and id.startswith(self._prefixes):
            return None
        company: str | None = issuer.company or None
        if where.company is not None:
            # A token without the claim is one of the platform; one that says what is no name is not.
            company = "" if said is None else said
        if company is not None and not (_is_company(company) and issuer.speaks_of(company)):
            return None
        groups = _groups(listed_groups)
        if groups is None:
            return None
        return JwtIdentity(issuer, id, kind, company, groups, attributes, expires)


def claim_at(claims: Mapping[str, Any], path: list[str]) -> Any:
    """The claim that the names of `path` lead to; None where there is none. Raises ValueError where something else
    stands on the way than claims: it may say what we do not read, as that the token is one of a company."""
    found: Any = claims
    for name in path:
        if found is None:
            return None
        if not isinstance(found, dict):
            raise ValueError(name)
        found = found.get(name)
    return found


def _is_type(type: str, issuer: Issuer) -> bool:
    """Whether a token's `typ` is one that is taken (RFC 8725 section 3.11): a media type, whatever its case."""
    name = type.lower().removeprefix("application/")
    return any(name == one.lower().removeprefix("application/") for one in issuer.types)


def _is_for(audience: Any, issuer: Issuer) -> bool:
    if isinstance(audience, str):
        return audience in issuer.audiences
    return isinstance(audience, list) and any(isinstance(one, str) and one in issuer.audiences for one in audience)


def _is_wanted(value: Any, wanted: list[str | bool | int]) -> bool:
    """Whether a claim has a value that is wanted, or is a list that holds one. `true` is not 1."""
    values = value if isinstance(value, list) else [value]
    return any(type(one) is type(each) and one == each for one in values for each in wanted)


def _expiry(issuer: Issuer, claims: Mapping[str, Any], now: float) -> float | None:
    """When a token stops, the leeway included; None if its times are wrong or not yet there."""
    leeway = issuer.leeway_seconds
    try:
        ends, begins, made = (read_time(claims, name) for name in ("exp", "nbf", "iat"))
    except ValueError:
        return None
    if ends is None or any(time is not None and time > now + leeway for time in (begins, made)):
        return None
    if issuer.max_age_seconds is not None:
        if made is None:
            return None
        ends = min(ends, made + issuer.max_age_seconds)
    return ends + leeway


def _is_company(company: Any) -> bool:
    if not isinstance(company, str) or "*" in company:
        return False
    return not value_problem(company) and not look_alike_problem(company)


def _groups(value: Any) -> tuple[str, ...] | None:
    """The groups in a claim: a list of texts or one text; None for anything else."""
    if value is None:
        return ()
    groups = [value] if isinstance(value, str) else value
    if not isinstance(groups, list) or len(groups) > MAX_GROUPS or not all(isinstance(one, str) for one in groups):
        return None
    return tuple(sorted(set(groups)))


def _kind(issuer: Issuer, claims: Mapping[str, Any]) -> IdentityKind:
    programs = issuer.service_accounts
    if programs is not None and _is_wanted(claim_at(claims, programs.claim), list(programs.values)):
        return IdentityKind.SERVICE_ACCOUNT
    return issuer.usual_kind
