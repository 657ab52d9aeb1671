"""The file of issuers: whose JWTs are taken as credentials, how they are checked, and whom they stand for.

An identity is named by an issuer and a subject: each issuer puts a prefix of its own before its subjects, or names
identities of the directory in companies that are its alone. So no two issuers can name the same identity.

Stored format: `schema_version` is 1. Fields may be added with a default; a change of meaning or a removal needs a new
number and a reader for both.
"""

import ipaddress
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from authz_sidecar.audit.record import OPERATOR_PREFIX
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.validation import validate
from authz_sidecar.bundle.wording import listed, quote
from authz_sidecar.bundle.yaml_definition import Company, Definition, Given, Name, Value
from authz_sidecar.bundle.yaml_text import parse_yaml
from authz_sidecar.values.identity import ANY, PLATFORM, IdentityKind
from authz_sidecar.values.request import ROLE_PREFIX, value_problem
from authz_sidecar.values.span import Span

MAX_BYTES = 1_000_000
MAX_ISSUERS = 64
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
# Ids that begin so are not those of identities: roles, and whoever works at the store itself.
KEPT_PREFIXES = (ROLE_PREFIX, OPERATOR_PREFIX)
DAY = 86_400
MAX_LEEWAY = 300

_ALGORITHM_HELP = f"write some of {listed(ALGORITHMS[:9])}, `EdDSA` or `Ed25519`"


def _refuse(message: str, help: str) -> PydanticCustomError:
    # Braces would be read as fields of a template.
    return PydanticCustomError("field-value", "{text}", {"text": message, "help": help})


def _check_algorithm(value: str) -> str:
    if value in ALGORITHMS:
        return value
    if value.lower() == "none":
        raise _refuse("`none` is no signature", "name the algorithms that the issuer signs with, such as `RS256`")
    if value.upper().startswith("HS"):
        raise _refuse(
            f"{quote(value)} signs with a secret that whoever checks a token could sign with too",
            "have the issuer sign with a private key, such as `RS256` or `ES256`",
        )
    raise _refuse(f"{quote(value)} is no algorithm that is taken", _ALGORITHM_HELP)


def _between(least: int, most: int) -> AfterValidator:
    def check(value: int) -> int:
        if not least <= value <= most:
            raise _refuse(f"{value} seconds are out of bounds", f"write a number from {least} to {most:,}")
        return value

    return AfterValidator(check)


def _bounds(least: int, most: int) -> Any:
    # Told to editors alone; the reader's own check words it.
    return Field(json_schema_extra={"minimum": least, "maximum": most})


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
        parts = urlsplit("")
    if parts.scheme not in ("https", "http") or not host or port == 0 or not value.isascii() or not value.isprintable():
        raise _refuse(f"{quote(value)} is no URL of keys", "write `https://HOST/PATH`")
    if parts.username is not None or parts.password is not None or parts.fragment or " " in value:
        raise _refuse(f"the URL {quote(host)} has a user, a fragment or a space in it", "write `https://HOST/PATH`")
    if parts.scheme == "http" and not _is_loopback(host):
        raise _refuse(
            f"{quote(value)} is not encrypted, so that anybody on the way could put keys of their own there",
            "write `https://`; plain `http://` is taken for this machine alone",
        )
    return value


def _check_prefix(value: str) -> str:
    for kept in KEPT_PREFIXES:
        if value.startswith(kept) or kept.startswith(value):
            raise _refuse(
                f"a prefix cannot begin like {quote(kept)}, which is kept", "choose another one, such as `acme:`"
            )
    if value.endswith("*"):
        raise _refuse("a prefix cannot end with `*`", "write the beginning of the names alone, such as `acme:`")
    if value[-1:].isalnum():
        raise _refuse(
            f"the prefix {quote(value)} ends with a letter or digit, so that a subject could complete somebody's name",
            f"end it with another character, such as {quote(value + ':')}",
        )
    return value


def _check_company(value: str) -> str:
    if "*" in value and value != ANY:
        raise _refuse("a company cannot hold `*`", 'name each company, or write `"*"` alone for every company')
    problem = value_problem(value)
    if problem:
        raise _refuse(f"the company {problem}", "write it as requests name it")
    return value


def _check_claim(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Leeway: TypeAlias = Annotated[int, _bounds(0, MAX_LEEWAY), _between(0, MAX_LEEWAY)]
Age: TypeAlias = Annotated[int, _bounds(60, 366 * DAY), _between(60, 366 * DAY)]
Refresh: TypeAlias = Annotated[int, _bounds(60, DAY), _between(60, DAY)]
Stale: TypeAlias = Annotated[int, _bounds(300, 30 * DAY), _between(300, 30 * DAY)]
CompanyOrAny: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_check_company)]
Algorithm: TypeAlias = Annotated[
    str, Field(json_schema_extra={"enum": list(ALGORITHMS)}), AfterValidator(_check_algorithm)
]
Url: TypeAlias = Annotated[str, Field(max_length=2048), AfterValidator(_check_url)]
Prefix: TypeAlias = Annotated[Value, Field(max_length=128), AfterValidator(_check_prefix)]
_PART = Annotated[str, Field(min_length=1, max_length=256)]
# Claims of many issuers are called like URLs, so a text is one name, whatever is in it.
Claim: TypeAlias = Annotated[
    list[_PART],
    Field(min_length=1, max_length=8),
    BeforeValidator(_check_claim),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": 256},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": 8},
            ]
        }
    ),
]
Wanted: TypeAlias = Annotated[
    list[str | bool | int],
    Field(min_length=1, max_length=64),
    BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "boolean", "integer"]},
                {"type": "array", "items": {"type": ["string", "boolean", "integer"]}, "minItems": 1},
            ]
        }
    ),
]


class Jwks(Definition):
    """Where an issuer's public keys are: a JWK Set (RFC 7517)."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["url"]}, {"required": ["file"]}]})

    url: Given[Url] = None
    """Where it is fetched. Either this or `file`."""
    file: Given[Annotated[str, Field(min_length=1, max_length=4096)]] = None
    """The file that it is in, beside this file. It is read again when it changes. Either this or `url`."""
    ca_file: Given[Annotated[str, Field(min_length=1, max_length=4096)]] = None
    """PEM file of the authorities that the server's certificate comes from, where they are not those of the system."""
    refresh_seconds: Refresh = 3600
    """How often it is fetched at least; sooner where the server says so, or where a token names a key that is not in
    it."""
    stale_seconds: Stale = DAY
    """How long keys are used that cannot be fetched again."""

    @model_validator(mode="after")
    def _one_of_url_and_file(self) -> "Jwks":
        if (self.url is None) == (self.file is None):
            problem = "both `url` and `file`" if self.url else "neither `url` nor `file`"
            raise _refuse(f"`jwks` has {problem}", "give exactly one of them")
        if self.file is not None and self.ca_file is not None:
            raise _refuse("`ca_file` is given for keys in a file", "remove it; it is about servers")
        return self


class Claims(Definition):
    """Where in a token things are: the name of a claim, or the names that lead to one inside others."""

    subject: Claim = Field(default=["sub"])
    """Whom the token stands for. It has to be a claim that is never given to somebody else."""
    company: Given[Claim] = None
    """The company that the identity belongs to."""
    groups: Given[Claim] = None
    """Its groups at the identity provider: a list of texts, or one text."""
    attributes: dict[Name, Claim] = Field(default={}, max_length=64)
    """Attributes that conditions read as `r.sub.NAME`, and the claim of each. Those of the directory come first."""


class ServiceAccounts(Definition):
    """Which tokens are those of programs."""

    claim: Claim
    """The claim that tells them, such as `idtyp`."""
    values: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(min_length=1, max_length=64)
    """The values that it has for programs, such as `app`."""


class Issuer(Definition):
    """An identity provider whose JWTs are credentials."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["prefix"]}, {"required": ["map"]}]})

    issuer: Value
    """What `iss` is in its tokens, to the letter."""
    audiences: list[Value] = Field(min_length=1, max_length=32)
    """What `aud` may be: the names under which the identity provider knows this sidecar, or what it protects."""
    algorithms: list[Algorithm] = Field(min_length=1, max_length=len(ALGORITHMS))
    """What its tokens may be signed with. A key that does not say what it is for is used with the first of them that
    fits it, and with no other."""
    jwks: Jwks
    """Where its public keys are."""
    leeway_seconds: Leeway = 30
    """By how much its clock may differ from ours."""
    max_age_seconds: Given[Age] = None
    """How old a token may be, however late it expires. Tokens then need `iat`."""
    types: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(default=["JWT", "at+jwt"], min_length=1)
    """What `typ` may be in a token's header; one without it is a `JWT`. `[at+jwt]` takes access tokens alone."""
    require: dict[Annotated[str, Field(min_length=1, max_length=256)], Wanted] = Field(default={}, max_length=32)
    """Claims that a token must have, each with its value, or the values that it may have: `email_verified: true`."""
    claims: Claims = Field(default_factory=Claims)
    """Where in a token things are."""
    prefix: Given[Prefix] = None
    """What is put before the subject to name the identity, such as `acme:`. Either this or `map`."""
    map: Given[Literal["directory"]] = None
    """`directory`: the subject is the id of an identity of the directory as it is. Either this or `prefix`."""
    kind: Literal["user", "service_account"] = "user"
    """What its identities are."""
    service_accounts: Given[ServiceAccounts] = None
    """Which of its tokens are those of programs, where they are mixed."""
    company: Company = ""
    """The company of all its identities. Either this or `claims.company`, or neither."""
    companies: list[CompanyOrAny] = Field(default=[], min_length=1, max_length=10_000)
    """The companies that its identities may belong to and hold roles in; `"*"` for every company. Where `company` is
    given, that one."""
    platform: bool = False
    """Whether its identities may belong to no company, and hold roles on the platform that are in `roles`."""
    roles: list[Name] = Field(default=[], min_length=1, max_length=1000)
    """The roles that its groups may give through the bundle's `group_mappings`. No others are given, whatever the
    mappings say."""
    identities: Literal["directory", "any"] = "directory"
    """`directory`: only identities that the directory has; `any`: others too, with what their groups give them."""
    create: bool = False
    """Whether somebody who signs in is created in the directory, where it does not have them."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Issuer":
        if (self.prefix is None) == (self.map is None):
            problem = "both `prefix` and `map`" if self.map else "neither `prefix` nor `map`"
            raise _refuse(
                f"the issuer {quote(self.issuer)} has {problem}",
                "give `prefix`, such as `acme:`, or `map: directory` where subjects are ids of the directory",
            )
        if self.map and (self.identities == "any" or self.create):
            raise _refuse(
                "`map: directory` names identities that the directory has already",
                "remove `identities: any` and `create`, or give a `prefix`",
            )
        if self.company and self.claims.company:
            raise _refuse("the company is both given and in a claim", "give `company` or `claims.company`, not both")
        if self.company and self.companies not in ([], [self.company]):
            raise _refuse("`companies` says more than `company`", "remove one of the two")
        if not self.company and not self.companies and not self.platform:
            raise _refuse(
                f"the issuer {quote(self.issuer)} is bound to no company",
                "list its `companies`, or write `platform: true` for one of the platform's own",
            )
        if ANY in self.companies and len(self.companies) > 1:
            raise _refuse('`"*"` stands beside companies', "write it alone, or remove it")
        if self.roles and not self.claims.groups:
            raise _refuse(
                "`roles` are given by groups, and `claims.groups` does not say where those are",
                "add `groups:` to `claims`, or remove `roles`",
            )
        if self.kind == "service_account" and self.service_accounts:
            raise _refuse("every identity is a service account already", "remove `service_accounts` or `kind`")
        return self

    @cached_property
    def its_companies(self) -> frozenset[str]:
        """The companies that it may speak of: "" is the platform, `*` every company."""
        listed_ones = [self.company] if self.company else self.companies
        return frozenset(listed_ones) | (frozenset((PLATFORM,)) if self.platform else frozenset())

    def speaks_of(self, company: str) -> bool:
        """Whether its identities may belong to `company` and hold roles there ("" is the platform)."""
        return company in self.its_companies or (company != PLATFORM and ANY in self.its_companies)

    @property
    def usual_kind(self) -> IdentityKind:
        """What its identities are where no claim says otherwise."""
        return IdentityKind.USER if self.kind == "user" else IdentityKind.SERVICE_ACCOUNT


class IssuersFile(Definition):
    """The file that `serve --issuers` names."""

    schema_version: Literal[1] = 1
    """The version of this format: 1."""
    issuers: list[Issuer] = Field(min_length=1, max_length=MAX_ISSUERS)
    """The identity providers."""


ISSUERS_SCHEMAS: dict[str, tuple[type[Definition], str]] = {
    "issuers.schema.json": (IssuersFile, "Issuers of JWTs that authz-sidecar takes as credentials"),
}


def parse_issuers(data: bytes, file: str, findings: Findings) -> tuple[Issuer, ...] | None:
    """The issuers that a file describes, or None with findings."""
    before = findings.errors
    root = parse_yaml(data, file, findings)
    content = validate(IssuersFile, root, findings) if root is not None else None
    if content is None or findings.errors > before:
        return None
    for first, second in combinations(content.issuers, 2):
        _check_apart(first, second, findings)
    return None if findings.errors > before else tuple(content.issuers)


def load_issuers(path: Path, findings: Findings) -> tuple[Issuer, ...] | None:
    """The issuers in the file at `path`, which is read as far as its limit, or None with findings."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        cause = (error.strerror or "unknown reason").lower()
        findings.error(
            Span(file),
            "file-unreadable",
            f"{quote(file)} cannot be read: {cause}",
            "`--issuers` names a YAML file that the user who runs the sidecar can read",
        )
        return None
    if len(data) > MAX_BYTES:
        findings.error(
            Span(file),
            "file-size",
            f"the file holds more than {MAX_BYTES:,} bytes",
            f"have at most {MAX_ISSUERS} issuers",
        )
        return None
    return parse_issuers(data, file, findings)


def _check_apart(first: Issuer, second: Issuer, findings: Findings) -> None:
    """Report two issuers that could name the same identity."""
    if first.issuer == second.issuer:
        findings.error(
            second.value_span("issuer"),
            "name-duplicate",
            f"the issuer {quote(second.issuer)} is given twice",
            f"remove one of them; the first is at {first.span}",
        )
    # INVARIANT prefixes-apart: no prefix begins another, so an id has one issuer's prefix at most.
    if (
        first.prefix
        and second.prefix
        and (first.prefix.startswith(second.prefix) or second.prefix.startswith(first.prefix))
    ):
        findings.error(
            second.value_span("prefix"),
            "field-value",
            f"the prefixes {quote(first.prefix)} and {quote(second.prefix)} could name the same identity",
            f"choose another prefix; the first is at {first.value_span('prefix')}",
        )
    if first.map and second.map:
        shared = _shared(first.its_companies, second.its_companies)
        if shared is not None:
            what = "the platform" if shared == PLATFORM else "every company" if shared == ANY else quote(shared)
            findings.error(
                second.value_span("map"),
                "field-value",
                f"{quote(first.issuer)} and {quote(second.issuer)} both name identities of {what} as they are",
                "give one of them a `prefix`, or each companies of its own",
            )


def _shared(one: frozenset[str], other: frozenset[str]) -> str | None:
    """A company that both speak of; None if there is none."""
    for some, others in ((one, other), (other, one)):
        if ANY in some and others - {PLATFORM}:
            return min(others - {PLATFORM})
    return min(one & other, default=None)
