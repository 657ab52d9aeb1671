"""Page tokens come back as they went out, or not at all."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.transports.grpc.administration.page_tokens import PageTokens

TOKENS = PageTokens(b"secret")
PLACES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)


@given(PLACES, st.text(st.characters(codec="utf-8")))
def test_a_token_gives_its_place_back_to_its_list_alone(place: str, of: str) -> None:
    """What was sealed is opened by the same list and secret, and by no other."""
    token = TOKENS.seal(place, of)
    assert TOKENS.open(token, of) == place
    assert TOKENS.open(token, of + "x") is None
    assert PageTokens(b"another").open(token, of) is None


@given(PLACES, st.data())
def test_a_changed_token_is_refused(place: str, data: st.DataObject) -> None:
    """No bit of a token can be another."""
    raw = bytearray(base64.urlsafe_b64decode(TOKENS.seal(place, "list") + "=="))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    assert TOKENS.open(base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="), "list") is None


@given(st.text(max_size=60))
def test_what_is_no_token_is_refused(text: str) -> None:
    """Whatever is sent is refused, and nothing is raised; no token is the beginning."""
    assert TOKENS.open(text, "list") == (None if text else "")


def test_the_end_has_no_token() -> None:
    """An empty place is an empty token; one that is longer than any is refused."""
    assert TOKENS.seal("", "list") == ""
    assert TOKENS.open("A" * 10_000, "list") is None


def test_a_token_does_not_show_its_place() -> None:
    """The name of a record cannot be read from a token."""
    raw = base64.urlsafe_b64decode(TOKENS.seal("somebody-of-globex", "list") + "==")
    assert b"globex" not in raw
