"""The text of API keys and access tokens."""

import json
import math
import re
from binascii import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.directory.credentials.key_file import key_csv, key_json
from authz_sidecar.directory.storage.records import Issued, KeyRecord, Rotated
from authz_sidecar.directory.storage.secrets import (
    NO_HASH,
    PATTERN,
    SECRET_LENGTH,
    SecretKind,
    checksum,
    create_secret,
    find_id,
    hash_secret,
    is_right,
    parse,
)

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(("kind", "prefix"), [(SecretKind.KEY, "azk_"), (SecretKind.TOKEN, "azt_")])
def test_a_new_credential_is_read_back(kind: SecretKind, prefix: str) -> None:
    """What is made is a text of the published form, whose parts are its id and a secret with the stored digest."""
    made = create_secret(kind)
    parsed = parse(made.text)
    assert parsed is not None
    assert made.text.startswith(prefix + made.id)
    assert (parsed.kind, parsed.id) == (kind, made.id)
    assert is_right(parsed.secret, made.hash)
    assert made.hash == hash_secret(parsed.secret)


def test_a_secret_has_256_bits() -> None:
    """There are at least 2^256 secrets, and each of many is another one with another id."""
    assert SECRET_LENGTH * math.log2(len(DIGITS)) >= 256
    made = [create_secret(SecretKind.KEY) for _ in range(1000)]
    assert len({item.id for item in made}) == len({item.text[21:64] for item in made}) == 1000
    assert set("".join(item.text[21:64] for item in made)) == set(DIGITS)


def test_the_checksum_is_the_published_one() -> None:
    """The last six characters are CRC-32 of what stands before their underscore, in base 62."""
    text, _, last = create_secret(SecretKind.TOKEN).text.rpartition("_")
    value = 0
    for character in last:
        value = value * 62 + DIGITS.index(character)
    assert value == crc32(text.encode())
    assert checksum("") == "000000"


@pytest.mark.parametrize("place", range(71))
def test_no_altered_text_is_a_credential(place: int) -> None:
    """Another character in any one place makes a text that is no credential."""
    text = create_secret(SecretKind.KEY).text
    for other in ("t", "0", "_", "é", "A", "\x00"):
        if text[place] != other:
            assert parse(text[:place] + other + text[place + 1 :]) is None


@given(st.text(max_size=300))
@settings(max_examples=300)
def test_any_text_can_be_parsed(text: str) -> None:
    """No text makes the parser fail, and none that we did not make is a credential."""
    assert parse(text) is None
    assert parse(create_secret(SecretKind.KEY).text + text) is None or not text


def test_the_published_expression_finds_credentials(pytestconfig: pytest.Config) -> None:
    """The regular expression in the docs is the one of the code and finds credentials wherever they leaked."""
    page = (pytestconfig.rootpath / "docs" / "credentials.md").read_text()
    assert f"```text\n{PATTERN}\n```" in page
    (example,) = re.findall(PATTERN, page)
    assert parse(example) is not None
    text = create_secret(SecretKind.KEY).text
    for leak in (f"key = '{text}'", f'{{"secret":"{text}"}}', f"https://example.org/?k={text}&x", f"{text}\n"):
        assert re.findall(PATTERN, leak) == [text]
    assert not re.findall(PATTERN, f"x{text}")


def test_a_part_of_a_credential_is_found() -> None:
    """A credential that is cut off, mistyped or inside another text is found by its id; an id alone is none."""
    made = create_secret(SecretKind.KEY)
    for text in (made.text, made.text[:-1], made.text[:30], f" {made.text}\n", f"Bearer {made.text}", made.text + "x"):
        assert find_id(text) == made.id
    for text in ("", made.id, f"azk_{made.id}", f"azk_{made.id}_", "azk_short_x", made.text.upper()):
        assert find_id(text) == ""


def test_no_secret_has_the_digest_of_nobody() -> None:
    """The digest that unknown ids are compared with is that of no secret we make."""
    parsed = parse(create_secret(SecretKind.KEY).text)
    assert parsed is not None
    assert not is_right(parsed.secret, NO_HASH)
    assert not is_right("", NO_HASH)


def test_secrets_do_not_show() -> None:
    """Nothing that carries a secret shows it when it is printed."""
    made = create_secret(SecretKind.KEY)
    parsed = parse(made.text)
    assert parsed is not None
    key = KeyRecord(id=made.id, identity="robot", name="ci")
    issued = Issued(record=key, secret=made.text)
    rotated = Rotated(record=key, secret=made.text, replaced=key)
    for shown in (repr(made), str(made), repr(parsed), f"{parsed}", repr(issued), str(issued), repr(rotated)):
        assert parsed.secret not in shown
        assert made.id in shown


def test_a_key_is_handed_over_as_csv() -> None:
    """A key's file has its id, identity, name, expiry and secret, with no cell that a spreadsheet would run."""
    made = create_secret(SecretKind.KEY)
    key = KeyRecord(id=made.id, identity="@robot", name='=cmd|"/c calc", A1', expires_at=1_800_000_000)
    assert key_csv(Issued(record=key, secret=made.text)) == (
        "id,identity,name,expires_at,secret\r\n"
        f'{made.id},\'@robot,"\'=cmd|""/c calc"", A1",2027-01-15T08:00:00Z,{made.text}\r\n'
    )


def test_a_key_is_handed_over_as_json() -> None:
    """The same as JSON has the values as they are, and null for a key that never expires."""
    made = create_secret(SecretKind.KEY)
    issued = Issued(record=KeyRecord(id=made.id, identity="robot", name="=1"), secret=made.text)
    assert json.loads(key_json(issued)) == {
        "id": made.id,
        "identity": "robot",
        "name": "=1",
        "expires_at": None,
        "secret": made.text,
    }


def test_there_is_no_file_without_a_secret() -> None:
    """A key that was given again without its secret makes no file."""
    with pytest.raises(ValueError, match="never again"):
        key_json(Issued(record=KeyRecord(id="a", identity="robot", name="ci"), secret=""))
