"""The text and the hash of one record."""

import hashlib
import json
import math
import shutil
import subprocess
import time
from typing import Any

import pytest

from authz_sidecar.audit.chain import GENESIS, MASK, ChainError, append, parse, row
from authz_sidecar.audit.record import AuditRecord
from authz_sidecar.directory.storage.secrets import SecretKind, create_secret

RECORD = AuditRecord(
    sequence=7,
    time=1_700_000_000.25,
    action="identity.update",
    actor="anna",
    on_behalf_of="ben",
    subject="zoë",
    company="acme",
    before={"name": "a", "limit": 1.5},
    after={"name": "b", "limit": None},
    directory_revision=41,
)


def _with(**fields: Any) -> AuditRecord:
    return AuditRecord(**{"sequence": 1, "time": 1.0, "action": "a", "actor": "b", **fields})


def test_the_text_of_a_record_never_changes() -> None:
    """A record written by this release has the text and the hash that releases before and after it give it."""
    text, hash = append(GENESIS, RECORD)
    assert text == (
        '{"action":"identity.update","actor":"anna","after":{"limit":null,"name":"b"},"before":{"limit":1.5,"name":"a"},'
        '"company":"acme","directory_revision":41,"on_behalf_of":"ben","previous":"'
        "97a288fa7f0527621b7b28fbc6074ec945cf442e62c59ce1a31dedceb0acaeba"
        '","sequence":7,"subject":"zoë","time":1700000000.25,"v":1}'
    )
    assert hash.hex() == hashlib.sha256(text.encode()).hexdigest()


def test_a_text_gives_back_its_record() -> None:
    """What is read from a text is what was written, with the hash of the record before."""
    text, hash = append(GENESIS, RECORD)
    found = parse(text)
    assert found.record == RECORD
    assert found.previous == GENESIS
    assert parse(append(hash, RECORD)[0]).previous == hash


def test_a_record_may_be_of_nobody() -> None:
    """A sign-in that failed under the name of nobody has neither actor nor subject, and is read back all the same."""
    text, _ = append(GENESIS, _with(actor="", action="sign_in.failed"))
    assert parse(text).record == _with(actor="", action="sign_in.failed")


def test_columns_repeat_the_text() -> None:
    """A row has the text, the hash and the columns that queries need."""
    made = row(GENESIS, RECORD)
    assert made["record"] == append(GENESIS, RECORD)[0]
    assert made["hash"] == append(GENESIS, RECORD)[1]
    assert [made[name] for name in ("sequence", "at", "actor", "on_behalf_of", "subject", "company", "revision")] == [
        7, 1_700_000_000.25, "anna", "ben", "zoë", "acme", 41,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"after": {"hash": b"\x01"}}, id="bytes"),
        pytest.param({"after": {"limit": math.nan}}, id="not a number"),
        pytest.param({"justification": "\ud800"}, id="half a character"),
        pytest.param({"justification": "x" * (1 << 20)}, id="too long"),
    ],
)
def test_what_has_no_text_is_refused(fields: dict[str, Any]) -> None:
    """A value that JSON cannot hold, and a text of more than a mebibyte, are errors and never change silently."""
    with pytest.raises(ChainError):
        append(GENESIS, _with(**fields))


@pytest.mark.parametrize("kind", list(SecretKind))
def test_a_secret_never_gets_into_a_record(kind: SecretKind) -> None:
    """An API key, access token or JSON web token that somebody pastes into a text is masked, wherever it stands."""
    secret = create_secret(kind).text
    token = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJlLW9mLXRoaXM"
    for held in (secret, token):
        made = _with(
            justification=f"key was {held}, sorry",
            call_id=held,
            after={"description": f"x{held}", "list": [held], "deep": {"er": held}},
        )
        text = append(GENESIS, made)[0]
        assert held not in text
        assert held.rpartition("_" if held is secret else ".")[0][-20:] not in text
        assert text.count(MASK) == 5


def test_other_texts_are_no_texts_of_records() -> None:
    """What is not a record's text is an error, and a later version is named."""
    good = json.loads(append(GENESIS, RECORD)[0])
    for text in (
        "",
        "[]",
        "{",
        "\ud800".encode("utf-8", "surrogatepass"),
        json.dumps(good | {"more": 1}),
        "[" * 100_000,
    ):
        with pytest.raises(ChainError, match="not that of a record"):
            parse(text)
    with pytest.raises(ChainError, match="version 2"):
        parse(json.dumps(good | {"v": 2}))


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_gives_the_hash() -> None:
    """The hash of a record is what sha256sum says of its line without the line's end."""
    text, hash = append(GENESIS, RECORD)
    said = subprocess.run(["sha256sum"], input=text.encode(), capture_output=True, check=True).stdout
    assert said.split()[0].decode() == hash.hex()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7T.tag", MASK),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\nx", f"{MASK}\nx"),
        ("postgresql://anna:hunter2@host/db", f"postgresql://anna:{MASK}@host/db"),
        ("https://host:443/a@b and eyJust.words.here", "https://host:443/a@b and eyJust.words.here"),
    ],
)  # fmt: skip
def test_other_secrets_are_masked_and_other_texts_are_not(said: str, kept: str) -> None:
    """Encrypted tokens, private keys and passwords in URLs go, and what is evidence stays."""
    assert json.loads(append(GENESIS, _with(justification=said))[0])["justification"] == kept


def test_a_secret_in_a_name_is_masked() -> None:
    """A key in the place of a company or of a field is masked, in the columns as in the text, and nothing is lost."""
    first, second = (create_secret(SecretKind.KEY).text for _ in range(2))
    made = row(GENESIS, _with(company=first, after={first: 1, second: 2}))
    assert made["company"] == parse(made["record"]).record.company
    assert first[-40:] not in str(made)
    assert sorted((parse(made["record"]).record.after or {}).values()) == [1, 2]


@pytest.mark.parametrize(
    "part", ["eyJ", "eyJaaaaaaaa.", "azk_", "azk_aaaa_", "://a:", "-----BEGIN ", "a.", "\n", "eyJa-"]
)
def test_masking_takes_time_by_the_length_of_a_text(part: str) -> None:
    """A text that is made to be searched for long is searched once: somebody waits for it with the store held."""
    began = time.monotonic()
    append(GENESIS, _with(justification=part * (200_000 // len(part))))
    assert time.monotonic() - began < 5
