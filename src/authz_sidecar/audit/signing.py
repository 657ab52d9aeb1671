"""The keys of checkpoints: Ed25519 (RFC 8032) in PEM files (RFC 8410), the private one kept outside the store.

Whoever can write the store can make up a chain; nobody without the private key can sign for it.
"""

import hashlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

MOST_KEY_BYTES = 1 << 14


class KeyFileError(Exception):
    """A key that cannot be used or made: `message` and what to do, `help`."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class PublicKey:
    """What signatures are checked with. `id` names it: 16 hexadecimal digits of the SHA-256 of its 32 bytes."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.id = hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]

    @classmethod
    def load(cls, path: Path) -> "PublicKey":
        """The key in a PEM file; raises KeyFileError."""
        data = _read(path, "public key")
        try:
            key = load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            help = "give the public key, which `authz-sidecar audit key create` writes beside the private one"
            raise KeyFileError(f"`{path}` is not a public key in PEM form", help) from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyFileError(f"`{path}` is not an Ed25519 key", "make one with `authz-sidecar audit key create`")
        return cls(key)

    def accepts(self, signature: bytes, text: bytes) -> bool:
        """Whether the private key has signed `text` so."""
        try:
            self._key.verify(signature, text)
        except InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        """The key as a PEM file has it."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class SigningKey:
    """What checkpoints are signed with."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    def __repr__(self) -> str:
        return f"SigningKey(id={self.public.id!r})"

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """The key in a PEM file that nobody else may read; raises KeyFileError."""
        data = _read(path, "private key", secret=True)
        try:
            key = load_pem_private_key(data, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            help = "make one with `authz-sidecar audit key create`; keys with a passphrase are not supported"
            raise KeyFileError(f"`{path}` is not a private key in PEM form", help) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(f"`{path}` is not an Ed25519 key", "make one with `authz-sidecar audit key create`")
        return cls(key)

    def sign(self, text: bytes) -> bytes:
        """The signature of `text`, 64 bytes."""
        return self._key.sign(text)


def create_key(path: Path) -> tuple[PublicKey, Path]:
    """Make a key: the private one in `path`, readable by its owner alone, the public one beside it with `.pub` added.

    No file is overwritten. Raises KeyFileError.
    """
    key = Ed25519PrivateKey.generate()
    public = PublicKey(key.public_key())
    beside = path.with_name(path.name + ".pub")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if beside.exists():
        raise KeyFileError(f"`{beside}` exists already", "name another file")
    for file, data, mode in ((path, private, 0o600), (beside, public.pem(), 0o644)):
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            raise KeyFileError(f"`{file}` exists already", "name another file") from None
        except OSError as error:
            raise KeyFileError(f"`{file}` cannot be written: {_cause(error)}", "name another place") from error
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    return public, beside


def _read(path: Path, what: str, *, secret: bool = False) -> bytes:
    try:
        with path.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise KeyFileError(f"`{path}` is not a file", f"name the file with the {what}")
            if secret:
                _require_secret(path, facts)
            data = stream.read(MOST_KEY_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"`{path}` cannot be read: {_cause(error)}", f"name the file with the {what}") from error
    if len(data) > MOST_KEY_BYTES:
        raise KeyFileError(f"`{path}` is too large for a key", f"name the file with the {what}")
    return data


def _require_secret(path: Path, facts: os.stat_result) -> None:
    """As PostgreSQL does for keys of TLS: a file of root's own, a mounted secret, may be readable by its group."""
    allowed = 0o640 if facts.st_uid == 0 and os.geteuid() != 0 else 0o600
    if stat.S_IMODE(facts.st_mode) & 0o777 & ~allowed:
        raise KeyFileError(f"others may read or write the private key `{path}`", f"run `chmod 600 {path}`")
    if facts.st_uid not in {0, os.geteuid()}:
        raise KeyFileError(f"the private key `{path}` belongs to somebody else", "make it your own, mode 600")


def _cause(error: OSError) -> str:
    return (error.strerror or "unknown reason").lower()
