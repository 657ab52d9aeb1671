"""The few facts of a certificate that the standard library does not tell: until when it holds, and its kind of key.

The layout is that of RFC 5280, section 4.1, in DER. What comes here has been parsed by OpenSSL before, so that a reader
of a few lines is enough.
"""

import datetime as dt
from collections.abc import Iterator

import msgspec

VERSION = 0xA0
OBJECT_IDENTIFIER = 0x06
UTC_TIME = 0x17
LONG_FORM = 0x80

# Kinds of keys by the identifiers of RFC 3279, RFC 5480 and RFC 8410: the algorithm and, if it has one, the curve.
_ELLIPTIC = bytes.fromhex("2a8648ce3d0201")
KEY_KINDS: dict[tuple[bytes, ...], str] = {
    (bytes.fromhex("2a864886f70d010101"),): "RSA",
    (_ELLIPTIC, bytes.fromhex("2a8648ce3d030107")): "P-256",
    (_ELLIPTIC, bytes.fromhex("2b81040022")): "P-384",
    (_ELLIPTIC, bytes.fromhex("2b81040023")): "P-521",
    (bytes.fromhex("2b6570"),): "Ed25519",
}


class Facts(msgspec.Struct, frozen=True):
    """When a certificate begins and ends to hold, and its kind of key, "" for one that is not in `KEY_KINDS`."""

    begins: dt.datetime
    ends: dt.datetime
    key_kind: str


def read_facts(der: bytes) -> Facts:
    """The facts of a certificate in DER; raises ValueError for what has another layout."""
    try:
        _, certificate = next(_items(der))
        _, signed = next(_items(certificate))
        # serial number, signature, issuer, validity, subject, key; the version before them may be left away.
        fields = [content for tag, content in _items(signed) if tag != VERSION]
        begins, ends = (_read_time(tag, content) for tag, content in _items(fields[3]))
        _, algorithm = next(_items(fields[5]))
        identifiers = tuple(content for tag, content in _items(algorithm) if tag == OBJECT_IDENTIFIER)
    except (IndexError, StopIteration) as error:
        raise ValueError("not the layout of a certificate") from error
    return Facts(begins, ends, KEY_KINDS.get(identifiers, ""))


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and content of each item in the content of another; raises IndexError where it breaks off."""
    at = 0
    while at < len(content):
        tag, length = content[at], content[at + 1]
        at += 2
        if length & LONG_FORM:
            digits = length & ~LONG_FORM
            length = int.from_bytes(content[at : at + digits])
            at += digits
        if at + length > len(content):
            raise IndexError
        yield tag, content[at : at + length]
        at += length


def _read_time(tag: int, content: bytes) -> dt.datetime:
    text = content.decode("ascii")
    if tag == UTC_TIME:
        # Two digits of the year: RFC 5280, section 4.1.2.5.1.
        text = ("19" if text >= "50" else "20") + text
    return dt.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC)
