"""The file of issuers: what it may say, and what it is told where it may not."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.schemas import schema_text
from authz_sidecar.directory.jwt.issuers import (
    ISSUERS_SCHEMAS,
    MAX_BYTES,
    MAX_ISSUERS,
    Issuer,
    load_issuers,
    parse_issuers,
)
from authz_sidecar.values.identity import IdentityKind

ROOT = Path(__file__).resolve().parents[2]
USUAL: dict[str, Any] = {
    "issuer": "https://login.example.com/",
    "audiences": ["authz-sidecar"],
    "algorithms": ["RS256"],
    "jwks": {"url": "https://login.example.com/keys"},
    "prefix": "acme:",
    "company": "acme",
}


def of(**more: Any) -> dict[str, Any]:
    """An issuer; None takes a field away."""
    return {name: value for name, value in {**USUAL, **more}.items() if value is not None}


def parse(*issuers: dict[str, Any]) -> tuple[tuple[Issuer, ...] | None, list[str]]:
    """The issuers of a file, and what is wrong with it: line, message and help."""
    findings = Findings()
    found = parse_issuers(json.dumps({"issuers": issuers}, indent=0).encode(), "issuers.yaml", findings)
    return found, [f"{finding.span}: {finding.message}; {finding.help}" for finding in findings.sorted()]


def schema_takes(*issuers: dict[str, Any]) -> bool:
    """Whether an editor would find nothing wrong."""
    schema = json.loads(schema_text(*ISSUERS_SCHEMAS["issuers.schema.json"]))
    return jsonschema.Draft202012Validator(schema).is_valid({"issuers": list(issuers)})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"jwks": {"file": "keys.json"}},
        {"jwks": {"url": "http://localhost:8080/keys", "refresh_seconds": 60, "stale_seconds": 300}},
        {"jwks": {"url": "http://127.3.2.1/keys"}},
        {"jwks": {"url": "http://[::1]:1/keys"}},
        {"jwks": {"url": "https://login.example.com/keys?a=b", "ca_file": "ca.pem"}},
        {"algorithms": ["RS256", "PS512", "ES384", "EdDSA", "Ed25519"]},
        {"prefix": None, "map": "directory"},
        {"company": None, "companies": ["acme", "beta"], "claims": {"company": "tenant"}},
        {"company": None, "companies": ["*"], "claims": {"company": ["org", "id"]}},
        {"company": None, "platform": True},
        {"platform": True},
        {"claims": {"groups": ["realm_access", "roles"], "subject": "oid"}, "roles": ["CLIENT"]},
        {"claims": {"attributes": {"department": "https://example.com/dept", "x": ["a", "b"]}}},
        {"require": {"email_verified": True, "azp": ["one", "two"], "n": 1}},
        {"service_accounts": {"claim": "idtyp", "values": ["app"]}},
        {"kind": "service_account", "identities": "any", "create": True, "max_age_seconds": 3600, "types": ["at+jwt"]},
    ],
    ids=lambda more: str(more)[:60],
)
def test_what_is_right_is_taken(more: dict[str, Any]) -> None:
    """Each of these is an issuer, for the reader as for an editor."""
    found, told = parse(of(**more))
    assert found is not None, told
    assert told == []
    assert schema_takes(of(**more))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"algorithms": ["none"]}, "`none` is no signature; name the algorithms"),
        ({"algorithms": ["RS256", "HS256"]}, "`HS256` signs with a secret"),
        ({"algorithms": ["hs512"]}, "`hs512` signs with a secret"),
        ({"algorithms": ["rs256"]}, "`rs256` is no algorithm that is taken; write some of `RS256`"),
        ({"algorithms": []}, "`algorithms` is empty"),
        ({"algorithms": None}, "the field `algorithms` is missing"),
        ({"audiences": None}, "the field `audiences` is missing"),
        ({"audiences": []}, "`audiences` is empty"),
        ({"jwks": {"url": "http://login.example.com/keys"}}, "is not encrypted"),
        ({"jwks": {"url": "http://127.0.0.1.example.com/keys"}}, "is not encrypted"),
        ({"jwks": {"url": "http://2130706433/keys"}}, "is not encrypted"),
        ({"jwks": {"url": "https://user:word@login.example.com/"}}, "has a user, a fragment or a space"),
        ({"jwks": {"url": "https://login.example.com/#x"}}, "has a user, a fragment or a space"),
        ({"jwks": {"url": "file:///etc/passwd"}}, "is no URL of keys; write `https://HOST/PATH`"),
        ({"jwks": {"url": "https:///keys"}}, "is no URL of keys"),
        ({"jwks": {"url": "https://a:99999/"}}, "is no URL of keys"),
        ({"jwks": {"url": "https://[::1/"}}, "is no URL of keys"),
        ({"jwks": {"url": "https://a/\r\nX: y"}}, "is no URL of keys"),
        ({"jwks": {}}, "`jwks` has neither `url` nor `file`"),
        ({"jwks": {"url": "https://a/", "file": "b"}}, "`jwks` has both `url` and `file`"),
        ({"jwks": {"file": "b", "ca_file": "c"}}, "`ca_file` is given for keys in a file"),
        ({"jwks": {"url": "https://a/", "refresh_seconds": 59}}, "59 seconds are out of bounds"),
        ({"leeway_seconds": 301}, "301 seconds are out of bounds; write a number from 0 to 300"),
        ({"leeway_seconds": -1}, "-1 seconds are out of bounds"),
        ({"max_age_seconds": 0}, "0 seconds are out of bounds"),
        ({"prefix": None}, "has neither `prefix` nor `map`"),
        ({"map": "directory"}, "has both `prefix` and `map`"),
        ({"prefix": "role:x"}, "cannot begin like `role:`"),
        ({"prefix": "r"}, "cannot begin like `role:`"),
        ({"prefix": "operator:"}, "cannot begin like `operator:`"),
        ({"prefix": "a*"}, "cannot end with `*`"),
        ({"prefix": "a\x01"}, "control character"),
        ({"prefix": "al"}, "ends with a letter or digit, so that a subject could complete somebody's name"),
        ({"prefix": "acme:é"}, "ends with a letter or digit"),
        ({"prefix": None, "map": "directory", "create": True}, "names identities that the directory has already"),
        ({"prefix": None, "map": "directory", "identities": "any"}, "names identities that the directory has already"),
        ({"company": None}, "is bound to no company; list its `companies`"),
        ({"companies": ["acme", "beta"]}, "`companies` says more than `company`"),
        ({"claims": {"company": "tenant"}}, "the company is both given and in a claim"),
        ({"company": None, "companies": ["a*"]}, "a company cannot hold `*`"),
        ({"company": None, "companies": ["*", "a"]}, '`"*"` stands beside companies'),
        ({"company": "*"}, "a company cannot hold `*`"),
        ({"roles": ["CLIENT"]}, "`claims.groups` does not say where those are"),
        (
            {"kind": "service_account", "service_accounts": {"claim": "a", "values": ["b"]}},
            "every identity is a service account already",
        ),
        ({"claims": {"groups": []}}, "`groups` is empty"),
        ({"claims": {"groups": [1]}}, "takes text"),
        ({"issuerr": "x"}, "unknown field `issuerr`; did you mean `issuer`?"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_is_wrong_is_told_with_its_place(more: dict[str, Any], message: str) -> None:
    """Each fault refuses the file, at its line, with what to do about it."""
    found, told = parse(of(**more))
    assert found is None
    assert any(message in line for line in told), told
    for line in told:
        assert line.startswith("issuers.yaml:")
        assert not line.startswith("issuers.yaml:1:")
        assert line.partition("; ")[2]


def _named(number: int, **more: Any) -> dict[str, Any]:
    return of(**{"issuer": f"https://{number}/", "prefix": f"p{number}:", **more})


MAPPED: dict[str, Any] = {"prefix": None, "map": "directory", "company": None}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"issuer": "https://1/"}, "the issuer `https://1/` is given twice"),
        ({"prefix": "p1:"}, "the prefixes `p1:` and `p1:` could name the same identity"),
        ({"prefix": "p1:x:"}, "could name the same identity"),
    ],
)
def test_issuers_cannot_name_the_same_identity(second: dict[str, Any], message: str) -> None:
    """Two issuers of one name, or prefixes of which one begins the other, are refused."""
    found, told = parse(_named(1), _named(2, **second))
    assert found is None
    assert any(message in line for line in told), told
    assert parse(_named(2, **second), _named(1))[0] is None
    assert parse(_named(1), _named(2))[0] is not None


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ({"company": "acme"}, {"company": "acme"}, "`acme`"),
        ({"companies": ["acme", "beta"]}, {"companies": ["beta"]}, "`beta`"),
        ({"companies": ["*"]}, {"company": "beta"}, "`beta`"),
        ({"companies": ["*"]}, {"companies": ["*"]}, "every company"),
        ({"platform": True}, {"platform": True}, "the platform"),
        ({"company": "acme"}, {"company": "beta"}, None),
        ({"companies": ["*"]}, {"platform": True}, None),
        ({"companies": ["acme"], "platform": True}, {"companies": ["beta"]}, None),
    ],
)
def test_issuers_that_map_to_the_directory_share_no_company(
    first: dict[str, Any], second: dict[str, Any], shared: str | None
) -> None:
    """Two issuers may only both name identities of the directory as they are in companies of their own."""
    found, told = parse(_named(1, **{**MAPPED, **first}), _named(2, **{**MAPPED, **second}))
    assert (found is None) is (shared is not None)
    if shared is not None:
        assert f"both name identities of {shared} as they are" in told[0]


def test_issuers_are_bounded() -> None:
    """A file with more issuers than are taken is refused."""
    found, told = parse(*(_named(number) for number in range(100, 101 + MAX_ISSUERS)))
    assert found is None
    assert told == ["issuers.yaml:2:12: `issuers` has 65 items; at most 64 are taken; shorten it"]


def test_defaults_are_the_careful_ones() -> None:
    """What is not said: users, who are in the directory, of the companies alone, with no roles by groups."""
    found, _ = parse(of())
    assert found is not None
    issuer = found[0]
    assert (issuer.identities, issuer.create, issuer.platform, issuer.roles) == ("directory", False, False, [])
    assert issuer.usual_kind is IdentityKind.USER
    assert issuer.claims.subject == ["sub"]
    assert [issuer.speaks_of(company) for company in ("acme", "beta", "", "*")] == [True, False, False, False]


def test_every_company_is_not_the_platform() -> None:
    """An issuer for every company does not speak of the platform, unless that is said."""
    every, _ = parse(of(company=None, companies=["*"]))
    both, _ = parse(of(company=None, companies=["*"], platform=True))
    assert every is not None
    assert both is not None
    assert [every[0].speaks_of("x"), every[0].speaks_of(""), both[0].speaks_of("")] == [True, False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file holds no mapping"),
        ("issuers: []\n", "`issuers` is empty"),
        ("issuers: [", ""),
        ("schema_version: 2\nissuers: []\n", "`schema_version` cannot be the number `2`"),
        ("issuers: [1]\n", "takes a mapping"),
    ],
    ids=range(5),
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Other files are refused, with the place."""
    path = tmp_path / "issuers.yaml"
    path.write_text(text)
    findings = Findings()
    assert load_issuers(path, findings) is None
    assert any(message in finding.message for finding in findings.sorted())
    assert all(finding.span.file == str(path) for finding in findings.sorted())


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """A file that is missing, no file or too large is refused without being read."""
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    for path, message in (
        (tmp_path / "missing.yaml", "no such file or directory"),
        (tmp_path, "is a directory"),
        (tmp_path / "large.yaml", "more than 1,000,000 bytes"),
    ):
        findings = Findings()
        assert load_issuers(path, findings) is None
        assert message in findings.sorted()[0].message


def test_the_schema_is_as_generated() -> None:
    """`schemas/issuers.schema.json` is what the models say; `python scripts/schemas.py` writes it."""
    text = schema_text(*ISSUERS_SCHEMAS["issuers.schema.json"])
    assert (ROOT / "schemas" / "issuers.schema.json").read_text(encoding="utf-8") == text
    jsonschema.Draft202012Validator.check_schema(json.loads(text))


def test_the_example_of_the_page_is_taken() -> None:
    """The file in docs/jwt.md is one, and its schema takes it."""
    page = (ROOT / "docs" / "jwt.md").read_text(encoding="utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    assert "yaml-language-server" in example
    findings = Findings()
    found = parse_issuers(example.encode(), "issuers.yaml", findings)
    assert found is not None, findings.sorted()
    assert findings.sorted() == []
    assert schema_takes(*(dict(issuer.node) for issuer in found))
