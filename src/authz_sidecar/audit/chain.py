"""The chain of the audit: the text that stands for a record for ever, and the hash that ties it to all before it.

A record's text is one line of JSON: keys sorted, no spaces, fields that are empty left out, characters outside ASCII
as they are. It has `v`, the version of this form, and `previous`, the hash of the record before in hexadecimal digits.
The record's hash is SHA-256 of the text's UTF-8 bytes, nothing else, so that `sha256sum` is all that it takes to check
it. The text is kept and never made again: strings are not normalised, and keys are added only under another `v`.

The first record's `previous` is `GENESIS`, which is the same for every store and does not depend on the epoch: a store
that was restored goes on with the chain of its backup. What tells the chains of two stores apart is their content; what
tells a chain from one that was made up are signed checkpoints.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from authz_sidecar.audit.record import AuditRecord

VERSION: Final = 1
GENESIS: Final = hashlib.sha256(b"authz-sidecar audit").digest()
HASH_LENGTH: Final = 32
MOST_TEXT_BYTES: Final = 1 << 20

# API keys and access tokens of the directory, with or without their checksum, JSON web tokens, private keys, and
# passwords in URLs: people paste them into justifications, and programs into names of calls.
_SECRETS = re.compile(
    r"(az[a-z]_[0-9A-Za-z]{4,64}_)[0-9A-Za-z]{20,}(?:_[0-9A-Za-z]{0,16})?"
    # Signed ones have three parts, encrypted ones five, of which the second may be empty (RFC 7516). The parts are
    # looked for first, so that the time of a search grows with the text and not with its square.
    r"|(?<![\w-])(?=[\w-]++(?:\.[\w-]{8,}+\.|(?:\.[\w-]*+){4}))"
    r"([\w-]*?)eyJ[\w-]{8,}+(?:\.[\w-]{8,}+\.[\w-]*+|(?:\.[\w-]*+){4})"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
    # The password in a URL.
    r"|(?<=://)([^\s/:@]{0,256}:)[^\s/@]{1,256}(?=@)"
)
MASK: Final = "(secret)"


class ChainError(ValueError):
    """A text that is not that of a record, or a record that has none."""


class Link(msgspec.Struct, frozen=True):
    """A record read back from its text, and the hash of the one before it."""

    record: AuditRecord
    previous: bytes


class _Text(AuditRecord, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: int
    previous: str


_DECODER = msgspec.json.Decoder(_Text)
_FIELDS: Final = AuditRecord.__struct_fields__
# What columns repeat has been masked before, by `row`.
_NAMES: Final = ("actor", "on_behalf_of", "subject", "company")
_REPEATED: Final = frozenset({"action", *_NAMES, "policy_version", "decision_id"})


def append(previous: bytes, record: AuditRecord) -> tuple[str, bytes]:
    """The text of `record` after the record whose hash is `previous` (`GENESIS` for none), and its own hash.

    What looks like a secret in free texts, `before` or `after` is masked. Raises ChainError for a record that has no
    text: values that are no JSON, not valid Unicode, or more than a mebibyte.
    """
    if len(previous) != HASH_LENGTH:
        raise ChainError(f"a hash has {HASH_LENGTH} bytes, not {len(previous)}")
    fields: dict[str, Any] = {"v": VERSION, "previous": previous.hex()}
    for name in _FIELDS:
        value = getattr(record, name)
        if value in ("", None):
            continue
        fields[name] = value if name in _REPEATED else _masked(value)
    try:
        text = json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        encoded = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ChainError(f"the record `{record.action}` has a value that cannot be written") from error
    if len(encoded) > MOST_TEXT_BYTES:
        raise ChainError(f"the record `{record.action}` has {len(encoded):,} bytes, of {MOST_TEXT_BYTES:,} at most")
    return text, hashlib.sha256(encoded).digest()


def row(previous: bytes, record: AuditRecord) -> dict[str, Any]:
    """The row of the table `audit` for `record`, as `append` makes it; its `hash` is the next record's `previous`."""
    # Somebody takes a field for another one, and a company is what a caller says it is.
    names = {name: _masked(getattr(record, name)) for name in _NAMES}
    if any(names[name] != getattr(record, name) for name in _NAMES):
        record = msgspec.structs.replace(record, **names)
    text, hash = append(previous, record)
    return {**columns(record), "record": text, "hash": hash}


def columns(record: AuditRecord) -> dict[str, Any]:
    """What the other columns of a row repeat of its text."""
    return {
        "sequence": record.sequence,
        "at": record.time,
        "action": record.action,
        "actor": record.actor,
        "on_behalf_of": record.on_behalf_of,
        "subject": record.subject,
        "company": record.company,
        "revision": record.directory_revision,
    }


def hash_of(text: bytes | str) -> bytes:
    """The hash of the record with that text."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).digest()


def parse(text: bytes | str) -> Link:
    """The record with that text. Raises ChainError where it is the text of none, or of a later version."""
    try:
        found = _DECODER.decode(text)
        previous = bytes.fromhex(found.previous)
    except (ValueError, RecursionError) as error:
        raise ChainError(_why(text)) from error
    if found.v != VERSION or len(previous) != HASH_LENGTH:
        raise ChainError(_why(text))
    return Link(AuditRecord(**{name: getattr(found, name) for name in _FIELDS}), previous)


def _why(text: bytes | str) -> str:
    try:
        version = json.loads(text)["v"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "its text is not that of a record"
    if isinstance(version, int) and version != VERSION:
        return f"its text has version {version}, and this sidecar reads version {VERSION}"
    return "its text is not that of a record"


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return _SECRETS.sub(lambda found: (found[1] or found[2] or found[3] or "") + MASK, value)
    if isinstance(value, Mapping):
        made: dict[Any, Any] = {}
        for name, held in value.items():
            shown = _masked(name)
            # Two names may be the same once they are masked; what they hold is kept for both.
            made[shown if shown not in made else f"{shown} {len(made)}"] = _masked(held)
        return made
    if isinstance(value, (list, tuple)):
        return [_masked(held) for held in value]
    return value
