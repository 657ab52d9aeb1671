"""The text of API keys and access tokens: `azk_ID_SECRET_CHECKSUM` and `azt_ID_SECRET_CHECKSUM`.

ID (16 characters) is public and names the record. SECRET (43) comes from the operating system's source of randomness;
62^43 texts are a little over 256 bits. CHECKSUM (6) is the CRC-32 of all that stands before its underscore, in base 62
with the most significant digit first: a scanner for leaked secrets can tell a credential from a text that only looks
like one. All three are digits and letters of ASCII. Only the SHA-256 digest of SECRET is stored, which is enough for a
text that nobody can guess; a password needs more (`passwords`).
"""

import enum
import hmac
import re
import secrets
from binascii import crc32
from hashlib import sha256

import msgspec

# What secret scanners look for: published in docs/credentials.md.
PATTERN = r"\baz[kt]_[0-9A-Za-z]{16}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}\b"
ID_LENGTH = 16
SECRET_LENGTH = 43
# Longer texts are no credential of ours, whatever is in them.
MAX_BYTES = 256

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TEXT = re.compile(r"((az[kt])_([0-9A-Za-z]{16})_([0-9A-Za-z]{43}))_([0-9A-Za-z]{6})")
# With some of a secret behind it, also where the rest is cut off or mistyped.
_PART = re.compile(r"az[kt]_([0-9A-Za-z]{16})_[0-9A-Za-z]")
_WHOLE = re.compile(rf"{_PART.pattern}[0-9A-Za-z_]*")
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]


class SecretKind(enum.StrEnum):
    """What a credential is, as its beginning says: `azk` or `azt`."""

    KEY = "key"
    TOKEN = "token"


_KINDS = {"azk": SecretKind.KEY, "azt": SecretKind.TOKEN}
_PREFIXES = {kind: prefix for prefix, kind in _KINDS.items()}


class NewSecret(msgspec.Struct, frozen=True, gc=False):
    """A credential that has just been made: the record's id, what is stored, and what its owner is told once."""

    id: str
    hash: bytes
    text: str

    def __repr__(self) -> str:
        return f"NewSecret(id={self.id!r})"


class ParsedSecret(msgspec.Struct, frozen=True, gc=False):
    """A text that has the form and checksum of a credential."""

    kind: SecretKind
    id: str
    secret: str

    def __repr__(self) -> str:
        return f"ParsedSecret(kind={self.kind.value!r}, id={self.id!r})"


# No secret has this digest: an unknown id is compared with it, so that it costs what a wrong secret costs.
NO_HASH = bytes(32)


def create_secret(kind: SecretKind) -> NewSecret:
    """A new id and secret."""
    id, secret = _draw(ID_LENGTH), _draw(SECRET_LENGTH)
    text = f"{_PREFIXES[kind]}_{id}_{secret}"
    return NewSecret(id, hash_secret(secret), f"{text}_{checksum(text)}")


def parse(text: str) -> ParsedSecret | None:
    """The parts of a credential; None for a text that is none, or whose checksum is another."""
    found = _TEXT.fullmatch(text)
    if found is None:
        return None
    begins, prefix, id, secret, last = found.groups()
    return ParsedSecret(_KINDS[prefix], id, secret) if checksum(begins) == last else None


def find_id(text: str) -> str:
    """The id of a credential that stands in a text, whole or in part, where none should; "" if none does."""
    found = _PART.search(text)
    return "" if found is None else found[1]


def without_secrets(text: str) -> str:
    """A text in which credentials, whole or in part, are replaced, for messages that repeat what was given."""
    return _WHOLE.sub("(secret)", text)


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret: 32 bytes."""
    return sha256(secret.encode()).digest()


def is_right(secret: str, hash: bytes) -> bool:
    """Whether a secret has this digest, in a time that does not depend on either."""
    return hmac.compare_digest(sha256(secret.encode()).digest(), hash)


def checksum(text: str) -> str:
    """CRC-32 of an ASCII text in base 62, six characters."""
    high, low = divmod(crc32(text.encode()), 62**2)
    high, middle = divmod(high, 62**2)
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def _draw(length: int) -> str:
    return "".join(secrets.choice(_DIGITS) for _ in range(length))
