"""What the decision log leaves out of requests, or hashes.

INVARIANT: nothing of a request gets into a line but by `fields_of`, unless nothing is to be hidden and there are no
attributes.
"""

import hashlib
import hmac
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from authz_sidecar.values import Request
from authz_sidecar.values.logged_decision import ATTRIBUTES, HASHED, NAMES, LoggedObject, Masked

HASH_DIGITS = 32
# Hashes of values that come again and again are kept.
MAX_HASHES = 4096
# API keys, access tokens and JWTs (docs/credentials.md), whole or with something cut off.
_SECRETS = re.compile(
    rb"(az[kt]_[0-9A-Za-z]{16}_)[0-9A-Za-z]{20,}(?:_[0-9A-Za-z]{0,16})?|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
)
_TEXTS = tuple(name for name in Masked if name not in ATTRIBUTES)


def without_secrets(line: bytes) -> bytes:
    """A line without the credentials that a client has given in the place of something else."""
    # Nearly every line has none, which is seen soonest like this.
    if b"azk_" in line or b"azt_" in line or b"eyJ" in line:
        return _SECRETS.sub(lambda found: (found[1] or b"") + b"(secret)", line)
    return line


class Mask:
    """Hides `names`: fields of a line, or single keys of maps such as `context.ip`.

    With a `key` a text is replaced by its HMAC-SHA256, so that lines of one identity can still be told to be; without
    one it is left out, and so are attributes always. These are left out as a whole unless `attributes` asks for them.
    """

    def __init__(self, names: tuple[str, ...], attributes: bool, key: bytes) -> None:
        whole = NAMES.intersection(names)
        self.hides = bool(names)
        self._texts = frozenset(whole.intersection(_TEXTS))
        self._maps = frozenset(ATTRIBUTES) if not attributes else frozenset(whole.intersection(ATTRIBUTES))
        self._keys: dict[str, set[str]] = {}
        for name in set(names) - whole:
            part = next(part for part in ATTRIBUTES if name.startswith(f"{part}."))
            self._keys.setdefault(part, set()).add(name.removeprefix(f"{part}."))
        self._key = key
        self._hash = lru_cache(MAX_HASHES)(self._digest)

    def text(self, name: str, value: str) -> str:
        """A text as it may be written: itself, its hash, or nothing."""
        if name not in self._texts or not value:
            return value
        return self._hash(value) if self._key else ""

    def role(self, role: str, subject: str) -> str:
        """Whom a rule is for; that may be the subject itself, and is then hidden like it."""
        return self.text(Masked.SUBJECT, role) if role == subject else role

    def fields_of(self, request: Request, call_id: str, role: str) -> dict[str, Any]:
        """The fields of a line that say what was asked, and `masked`, which names what is hidden of them."""
        texts = {
            Masked.SUBJECT: request.subject,
            Masked.ACTION: request.action,
            Masked.TYPE: request.type,
            Masked.ID: request.id,
            Masked.COMPANY: request.company,
            Masked.OWNER: request.owner,
            Masked.CALL_ID: call_id,
        }
        shown = {name: self.text(name, value) for name, value in texts.items()}
        masked = [str(name) for name, value in texts.items() if value and name in self._texts]
        maps = {
            Masked.SUBJECT_ATTRIBUTES: request.subject_attributes,
            Masked.OBJECT_ATTRIBUTES: request.object_attributes,
            Masked.CONTEXT: request.context,
        }
        left = {name: self._map(name, values, masked) for name, values in maps.items()}
        return {
            "subject": shown[Masked.SUBJECT],
            "action": shown[Masked.ACTION],
            "object": LoggedObject(
                shown[Masked.TYPE],
                shown[Masked.ID],
                shown[Masked.COMPANY],
                shown[Masked.OWNER],
                left[Masked.OBJECT_ATTRIBUTES],
            ),
            "call_id": shown[Masked.CALL_ID],
            "role": self.role(role, request.subject),
            "subject_attributes": left[Masked.SUBJECT_ATTRIBUTES],
            "context": left[Masked.CONTEXT],
            "masked": tuple(masked),
        }

    def _map(self, name: str, values: Mapping[str, Any], masked: list[str]) -> Mapping[str, Any] | None:
        if not values:
            return None
        if name in self._maps:
            masked.append(str(name))
            return None
        hidden = self._keys.get(name, set()).intersection(values)
        # JSON has no such numbers: what would be written is another value.
        hidden.update(key for key, value in values.items() if not _is_finite(value))
        if not hidden:
            return values
        masked += [f"{name}.{key}" for key in sorted(hidden)]
        return {key: value for key, value in values.items() if key not in hidden}

    def _digest(self, value: str) -> str:
        return HASHED + hmac.new(self._key, value.encode(), hashlib.sha256).hexdigest()[:HASH_DIGITS]


def _is_finite(value: Any) -> bool:
    """Whether JSON can say the value: all its numbers are finite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, list | tuple) or all(map(_is_finite, value))


def mask_problem(name: str) -> bool:
    """Whether nothing is called so."""
    return name not in NAMES and not any(
        name.startswith(f"{part}.") and len(name) > len(part) + 1 for part in ATTRIBUTES
    )
