"""The text of a JWT: a JWS in its compact form (RFC 7515 section 7.1) whose payload is a mapping of claims (RFC 7519).

Bounded before anything is read. Strict where parsers differ, so that nobody can be shown another token than we read:
names that stand twice, base64url with stray bits, text that is no Unicode and numbers that JSON does not have are
refused.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from joserfc.util import urlsafe_b64decode

from authz_sidecar.values.request import MAX_ATTRIBUTE_DEPTH

MAX_BYTES = 16_384
MAX_HEADER_BYTES = 4096
MAX_SIGNATURE_BYTES = 2048
MAX_HEADERS = 32
MAX_CLAIMS = 256
MAX_VALUES = 2048
MAX_KID = 256
MAX_DIGITS = 20
# Seconds since 1970; later ones are no times.
MAX_TIME = 1e12

# What a header may not have: extensions that must be understood, payloads that are not in the text (RFC 7797), and
# other tokens inside this one.
_REFUSED_HEADERS = frozenset(("crit", "b64", "zip", "enc"))


class JwtText(msgspec.Struct, frozen=True):
    """A token that was read and not verified: nothing in it is to be relied on. `signed` is what `signature` is of."""

    algorithm: str
    kid: str | None
    type: str
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def read_jwt(text: str) -> JwtText | None:
    """The parts of a token; None if it is none. Raises nothing, whatever the text is."""
    if len(text) > MAX_BYTES or not text.isascii():
        return None
    parts = text.encode("ascii").split(b".")
    if len(parts) != 3 or not all(parts) or len(parts[0]) > MAX_HEADER_BYTES or len(parts[2]) > MAX_SIGNATURE_BYTES:
        return None
    try:
        header, claims = _mapping(urlsafe_b64decode(parts[0])), _mapping(urlsafe_b64decode(parts[1]))
        signature = urlsafe_b64decode(parts[2])
    except (ValueError, RecursionError):
        return None
    if len(header) > MAX_HEADERS or len(claims) > MAX_CLAIMS or not _REFUSED_HEADERS.isdisjoint(header):
        return None
    algorithm, kid, type = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or not isinstance(type, str) or not _is_kid(kid):
        return None
    if str(header.get("cty", "")).lower().removeprefix("application/") == "jwt" or not _is_bounded(claims):
        return None
    return JwtText(algorithm, kid, type, claims, parts[0] + b"." + parts[1], signature)


def read_time(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2); None if it is missing, ValueError if it is none."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_TIME <= value <= MAX_TIME:
        raise ValueError(name)
    return float(value)


def _is_kid(kid: Any) -> bool:
    return kid is None or (isinstance(kid, str) and 0 < len(kid) <= MAX_KID)


def _mapping(data: bytes) -> dict[str, Any]:
    text = data.decode("utf-8")
    found = json.loads(
        text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite, parse_int=_whole
    )
    if not isinstance(found, dict):
        raise ValueError("no mapping")
    if "\\u" in text:
        # Halves of surrogate pairs are no text; what follows takes them for some.
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_number(name: str) -> float:
    raise ValueError(name)


def _whole(text: str) -> int:
    # 64 bits, as nearly every reader has them.
    if len(text) > MAX_DIGITS:
        raise ValueError(text)
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _is_bounded(claims: Mapping[str, Any]) -> bool:
    """Whether the claims keep the bounds that attributes of requests keep: in depth, and in the count of values."""
    level: list[Any] = [claims]
    values = 0
    for _ in range(MAX_ATTRIBUTE_DEPTH + 1):
        children = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
        values += len(children)
        if values > MAX_VALUES:
            return False
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return True
    return False
