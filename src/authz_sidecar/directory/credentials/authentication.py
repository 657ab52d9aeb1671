"""Whom a credential stands for, from memory alone: an API key, an access token, or a JWT of an identity provider.

An id that nobody has and a secret that is not the one are one answer, INVALID_CREDENTIAL, and take one path: an unknown
id is compared with a digest that no secret has. Only who presents the right secret is told that it has expired, was
revoked or is switched off.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

import msgspec

from authz_sidecar.directory.memory.copy import KeyFacts, TokenFacts
from authz_sidecar.directory.storage.secrets import MAX_BYTES, NO_HASH, SecretKind, is_right, parse
from authz_sidecar.values import Reason
from authz_sidecar.values.directory_rules import DirectoryRules
from authz_sidecar.values.identity import Authenticated, Identity

if TYPE_CHECKING:
    from authz_sidecar.directory.credentials.use import Use
    from authz_sidecar.directory.jwt.identity import JwtCredentials

# No JWT is longer (bytes; they are ASCII).
MAX_JWT_BYTES = 16_384
# Keys that were right and are known again: three times as quick.
MAX_KEPT = 20_000


class Credentials(Protocol):
    """What authentication reads of a directory in memory: `DirectoryCopy` is one."""

    companies: frozenset[str] | None

    def holds(self, company: str) -> bool:
        """Whether all identities of a company are here."""

    def identity(self, id: str) -> Identity | None:
        """The identity of this id."""

    def key(self, id: str) -> KeyFacts | None:
        """The API key of this id."""

    def token(self, id: str) -> TokenFacts | None:
        """The access token of this id."""

    def is_stale(self, now: float) -> bool:
        """Whether the store has not been seen for too long, at `now` of a clock that only goes forward."""


class _Kept(msgspec.Struct, frozen=True, gc=False):
    """A key that was right, by what the copy had of it then."""

    id: str
    facts: KeyFacts
    answer: Authenticated


class Authenticator:
    """Tells whom credentials stand for. `use` notes their use; without it no token is extended.

    `jwts` are JWTs as credentials (None: none is taken), whose groups are mapped by the `rules` of the bundle in force.
    `clock` is that of the copy's staleness.
    """

    def __init__(
        self,
        copy: Credentials,
        jwts: "JwtCredentials | None" = None,
        rules: Callable[[], DirectoryRules] = DirectoryRules,
        use: "Use | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._copy = copy
        self._jwts = jwts
        self._rules = rules
        self._use = use
        self._clock = clock
        # INVARIANT: by the digest of the whole text, so that no secret is kept; an answer is good for as long as the
        # copy has the very objects that it was made of.
        self._kept: dict[bytes, _Kept] = {}

    def authenticate(self, credential: str, now: float) -> Authenticated | Reason:
        """Whom a credential stands for at `now` (seconds since 1970-01-01 UTC), or why it stands for nobody.

        In memory and without raising anything, whatever the text is.
        """
        copy = self._copy
        if copy.is_stale(self._clock()):
            return Reason.STALE_DIRECTORY
        if len(credential) > MAX_BYTES:
            return self._jwt(credential, now)
        digest = sha256(credential.encode("utf-8", "surrogatepass")).digest()
        kept = self._kept.get(digest)
        if kept is not None and kept.facts is copy.key(kept.id):
            answer = kept.answer
            if answer.identity is copy.identity(answer.identity.id) and now < answer.expires:
                if self._use is not None:
                    self._use.note_key(kept.id, now)
                return answer
        parsed = parse(credential)
        if parsed is None:
            return self._jwt(credential, now)
        if parsed.kind is SecretKind.KEY:
            return self._key(parsed.id, parsed.secret, now, digest)
        return self._token(parsed.id, parsed.secret, now)

    def _jwt(self, credential: str, now: float) -> Authenticated | Reason:
        if self._jwts is None or len(credential) > MAX_JWT_BYTES or credential.count(".") != 2:
            return Reason.INVALID_CREDENTIAL
        return self._jwts.authenticate(credential, now, self._copy, self._rules())

    def _key(self, id: str, secret: str, now: float, digest: bytes) -> Authenticated | Reason:
        facts = self._copy.key(id)
        if not is_right(secret, NO_HASH if facts is None else facts.hash) or facts is None:
            return Reason.INVALID_CREDENTIAL
        if facts.revoked:
            return Reason.CREDENTIAL_REVOKED
        if now >= facts.expires:
            return Reason.CREDENTIAL_EXPIRED
        if not facts.active:
            return Reason.CREDENTIAL_INACTIVE
        identity = self._copy.identity(facts.identity)
        if identity is None:
            return Reason.INVALID_CREDENTIAL
        if not identity.active:
            return Reason.INACTIVE_SUBJECT
        if self._use is not None:
            self._use.note_key(id, now)
        answer = Authenticated(identity, f"key:{id}", facts.expires)
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[digest] = _Kept(id, facts, answer)
        return answer

    def _token(self, id: str, secret: str, now: float) -> Authenticated | Reason:
        facts = self._copy.token(id)
        if not is_right(secret, NO_HASH if facts is None else facts.hash) or facts is None:
            return Reason.INVALID_CREDENTIAL
        if facts.revoked:
            return Reason.CREDENTIAL_REVOKED
        use = self._use if facts.sliding_seconds else None
        expires = facts.expires if use is None else use.expires(id, facts.expires)
        if now >= expires:
            return Reason.CREDENTIAL_EXPIRED
        identity = self._copy.identity(facts.identity)
        if identity is None:
            return Reason.INVALID_CREDENTIAL
        if not identity.active:
            return Reason.INACTIVE_SUBJECT
        if use is not None:
            expires = use.extend(id, expires, facts.sliding_seconds, facts.ends, now)
        return Authenticated(identity, f"token:{id}", expires)
