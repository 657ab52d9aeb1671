"""Page tokens that clients can neither read nor change.

Where a list goes on may be a record that the caller may not know of, so that its name must not be read from the token.
A token holds for the list that it came from alone: the same method, filter and caller.

The form is that of a synthetic initialisation vector (RFC 5297, by its idea): the tag is a MAC of the text, and the key
stream, of SHAKE-256, begins with the tag.
"""

import base64
import binascii
import hashlib
import hmac

TAG_BYTES = 16
# No token that was made here is longer.
MAX_TOKEN = 8192


class PageTokens:
    """Seals where a list goes on, by the secret of the store, which the sidecars of one directory share."""

    def __init__(self, secret: bytes) -> None:
        self._key = hashlib.sha256(b"page token\0" + secret).digest()

    def seal(self, place: str, of: str) -> str:
        """The token for a place in the list that `of` describes; "" for its end."""
        if not place:
            return ""
        text = place.encode()
        tag = self._tag(text, of)
        return base64.urlsafe_b64encode(tag + self._mixed(text, tag)).decode().rstrip("=")

    def open(self, token: str, of: str) -> str | None:
        """The place that a token stands for, "" for no token; None for one that was not made for that list."""
        if not token:
            return ""
        if len(token) > MAX_TOKEN:
            return None
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        tag, text = sealed[:TAG_BYTES], self._mixed(sealed[TAG_BYTES:], sealed[:TAG_BYTES])
        return text.decode() if hmac.compare_digest(tag, self._tag(text, of)) else None

    def _tag(self, text: bytes, of: str) -> bytes:
        about = hashlib.sha256(of.encode()).digest()
        return hmac.digest(self._key, b"tag" + about + text, "sha256")[:TAG_BYTES]

    def _mixed(self, text: bytes, tag: bytes) -> bytes:
        stream = hashlib.shake_256(b"stream" + self._key + tag).digest(len(text))
        return bytes(one ^ other for one, other in zip(text, stream, strict=True))
