"""Whom a verified token stands for: what the directory says, and what groups add to it."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from authz_sidecar.directory.jwt.identity import JwtCredentials, jwt_identity
from authz_sidecar.directory.jwt.key_source import KeySources
from authz_sidecar.directory.memory.copy import Contents, DirectoryCopy
from authz_sidecar.values import Reason
from authz_sidecar.values.directory_rules import DirectoryRules, GroupFacts, KindRules, RoleFacts
from authz_sidecar.values.identity import Authenticated, Identity, IdentityKind, RoleSet, TimedRole
from tests.directory.identity_provider import (
    NOW,
    Provider,
    claims_of,
    issuer_of,
    public,
    rsa_key,
    running_provider,
    sign,
    verifier_of,
)

INVALID = Reason.INVALID_CREDENTIAL
USER, PROGRAM = IdentityKind.USER, IdentityKind.SERVICE_ACCOUNT
RULES = DirectoryRules(
    form="extended",
    roles={
        "CLIENT": RoleFacts("company"),
        "AUDITOR": RoleFacts("company"),
        "ADMIN": RoleFacts("platform"),
        "NO_ACCESS": RoleFacts("platform", "sole"),
    },
    default_role="NO_ACCESS",
    groups=(
        GroupFacts("clients", ("CLIENT",), "acme"),
        GroupFacts("clients", ("CLIENT",), "beta"),
        GroupFacts("auditors", ("AUDITOR",), "acme"),
        GroupFacts("admins", ("ADMIN",)),
        GroupFacts("crooked", ("ADMIN",), "acme"),
    ),
)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """A provider with one key."""
    with running_provider() as running:
        running.keys = [public(rsa_key())]
        yield running


def holding(*identities: Identity, companies: frozenset[str] | None = None) -> DirectoryCopy:
    """A directory in memory."""
    copy = DirectoryCopy(companies)
    copy.replace(Contents("epoch", 1, {identity.id: identity for identity in identities}))
    return copy


ALICE = Identity("acme:alice", USER, "acme")
GROUPS = {"groups": "groups"}


def answer(
    provider: Provider,
    copy: DirectoryCopy | None,
    rules: DirectoryRules = RULES,
    said: dict[str, Any] | None = None,
    **issuer: Any,
) -> Authenticated | Reason:
    """Whom a token that says this stands for."""
    with verifier_of(issuer_of({"url": provider.url}, **issuer)) as (verifier, _):
        token = sign(rsa_key(), "RS256", claims_of(**(said or {})))
        return JwtCredentials(verifier).authenticate(token, NOW, copy, rules)


def roles(found: Authenticated | Reason) -> dict[str, tuple[str, ...]]:
    """The roles of somebody who was authenticated."""
    assert isinstance(found, Authenticated), found
    return dict(found.identity.roles.by_company)


def test_an_identity_of_the_directory_is_itself(provider: Provider) -> None:
    """Without groups or attributes, a token stands for the very identity that the directory has."""
    found = answer(provider, holding(ALICE))
    assert isinstance(found, Authenticated)
    assert found.identity is ALICE
    assert (found.credential, found.expires) == ("jwt:https://login.example.com/", NOW + 630)


def test_who_is_not_in_the_directory_is_nobody(provider: Provider) -> None:
    """Where identities must be in the directory, others are refused, with and without one."""
    assert answer(provider, holding()) is INVALID
    assert answer(provider, None) is INVALID
    assert answer(provider, holding(Identity("alice", USER, "acme"))) is INVALID


def test_who_is_switched_off_is_told_so(provider: Provider) -> None:
    """An identity that is switched off in the directory does nothing, whatever its token says."""
    off = Identity("acme:alice", USER, "acme", active=False)
    assert answer(provider, holding(off)) is Reason.INACTIVE_SUBJECT
    assert answer(provider, holding(off), identities="any") is Reason.INACTIVE_SUBJECT


@pytest.mark.parametrize(
    "known",
    [
        Identity("acme:alice", PROGRAM, "acme"),
        Identity("acme:alice", USER, "beta"),
        Identity("acme:alice", USER, ""),
    ],
    ids=["another kind", "another company", "the platform"],
)
def test_what_the_directory_says_otherwise_refuses(provider: Provider, known: Identity) -> None:
    """A token of an issuer that may not speak of such an identity is refused."""
    assert answer(provider, holding(known)) is INVALID
    assert answer(provider, holding(known), identities="any") is INVALID


def test_groups_give_the_roles_that_are_listed(provider: Provider) -> None:
    """Of the bundle's mappings only listed roles are given, in the issuer's company, beside those of the directory."""
    held = Identity("acme:alice", USER, "acme", roles=RoleSet({"acme": ("AUDITOR",)}))
    said = {"groups": ["clients", "auditors", "admins", "unknown"]}
    one: dict[str, Any] = {"claims": GROUPS, "roles": ["CLIENT"]}
    both: dict[str, Any] = {"claims": GROUPS, "roles": ["CLIENT", "AUDITOR"]}
    assert roles(answer(provider, holding(held), said=said, **one)) == {"acme": ("AUDITOR", "CLIENT")}
    assert roles(answer(provider, holding(ALICE), said=said, **one)) == {"acme": ("CLIENT",)}
    assert roles(answer(provider, holding(ALICE), said=said, **both)) == {"acme": ("AUDITOR", "CLIENT")}
    assert roles(answer(provider, holding(ALICE), said=said, claims=GROUPS)) == {}


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({"roles": ["CLIENT"]}, False),
        ({"roles": ["CLIENT"], "platform": True}, False),
        ({"roles": ["CLIENT", "ADMIN"]}, False),
        ({"roles": ["CLIENT", "ADMIN"], "platform": True}, False),
        ({"roles": ["CLIENT", "ADMIN"], "platform": True, "company": None}, True),
        ({"roles": ["CLIENT"], "platform": True, "company": None}, False),
        ({"roles": ["ADMIN"], "companies": ["*"], "company": None}, False),
    ],
    ids=str,
)
def test_platform_roles_are_given_by_name_alone(provider: Provider, settings: dict[str, Any], given: bool) -> None:
    """A group gives a platform role only where the issuer lists it and speaks of the platform, and its tokens are not
    those of a company."""
    said = {"groups": ["admins", "crooked", "clients"]}
    issuer: dict[str, Any] = {"claims": GROUPS, "prefix": None, "map": "directory", **settings}
    on_platform = "company" in settings and "companies" not in settings
    known = Identity("alice", USER, "" if on_platform else "acme")
    found = answer(provider, holding(known), said=said, **issuer)
    held = roles(found)
    assert ("ADMIN" in held.get("", ())) is given
    assert not any("ADMIN" in names for company, names in held.items() if company)


@pytest.mark.parametrize(
    ("tenant", "held"),
    [("acme", {"acme": ("CLIENT",)}), ("beta", {"beta": ("CLIENT",)}), ("", None), (None, None), ("gamma", None)],
)
def test_a_company_reaches_into_no_other(provider: Provider, tenant: str | None, held: Any) -> None:
    """A token that says its company gives roles there alone; one of a company outside the list is refused."""
    issuer: dict[str, Any] = {
        "company": None,
        "companies": ["acme", "beta"],
        "identities": "any",
        "prefix": "idp:",
        "claims": {"company": "tenant", **GROUPS},
        "roles": ["CLIENT", "AUDITOR"],
    }
    found = answer(provider, holding(), said={"groups": ["clients"], "tenant": tenant}, **issuer)
    if held is None:
        assert found is INVALID
    else:
        assert roles(found) == held
        assert isinstance(found, Authenticated)
        assert (found.identity.id, found.identity.company) == ("idp:alice", tenant)


@pytest.mark.parametrize("tenant", ["*", "a*", ["acme"], {"a": 1}, 7, True, "ac\x00me", " acme", "x" * 1025], ids=repr)
def test_a_company_that_is_no_name_refuses(provider: Provider, tenant: Any) -> None:
    """A company in a token is a name; an issuer for every company and the platform takes no pattern for one."""
    issuer: dict[str, Any] = {
        "company": None,
        "companies": ["*"],
        "platform": True,
        "identities": "any",
        "claims": {"company": "tenant"},
    }
    assert answer(provider, holding(), said={"tenant": tenant}, **issuer) is INVALID
    assert isinstance(answer(provider, holding(), said={"tenant": "acme"}, **issuer), Authenticated)


def test_a_platform_token_is_one_without_a_company(provider: Provider) -> None:
    """Where the platform is said, a token without the claim of the company is one of the platform."""
    issuer: dict[str, Any] = {
        "company": None,
        "companies": ["acme"],
        "platform": True,
        "identities": "any",
        "claims": {"company": "tenant", **GROUPS},
        "roles": ["CLIENT", "ADMIN"],
    }
    found = answer(provider, None, said={"groups": ["clients", "admins"]}, **issuer)
    assert roles(found) == {"": ("ADMIN",)}


def test_limits_of_the_bundle_are_kept(provider: Provider) -> None:
    """Where one role is all that an identity may hold, groups that give more give none; one lifts the default role."""
    one = DirectoryRules(roles=RULES.roles, default_role="NO_ACCESS", roles_per_identity=1, groups=RULES.groups)
    settings: dict[str, Any] = {"claims": GROUPS, "roles": ["CLIENT", "AUDITOR"]}
    fresh = Identity("acme:alice", USER, "acme", roles=RoleSet({"": ("NO_ACCESS",)}, by_default=True))
    more = {"groups": ["clients", "auditors"]}
    assert roles(answer(provider, holding(fresh), one, {"groups": ["clients"]}, **settings)) == {"acme": ("CLIENT",)}
    assert roles(answer(provider, holding(fresh), one, more, **settings)) == {"": ("NO_ACCESS",)}
    assert roles(answer(provider, None, one, more, identities="any", **settings)) == {}
    held = Identity("acme:alice", USER, "acme", roles=RoleSet({"acme": ("AUDITOR",)}))
    assert roles(answer(provider, holding(held), one, {"groups": ["clients"]}, **settings)) == {"acme": ("AUDITOR",)}


def test_groups_give_roles_where_an_identity_belongs(provider: Provider) -> None:
    """Where the bundle asks for it, groups give roles of the identity's own company alone, and platform roles to those
    without one alone. A role that stands alone keeps others away also where it does not fit."""
    own = msgspec.structs.replace(RULES, own_company_only=True)
    settings: dict[str, Any] = {
        "company": None,
        "companies": ["acme", "beta"],
        "platform": True,
        "prefix": None,
        "map": "directory",
        "claims": GROUPS,
        "roles": ["CLIENT", "ADMIN", "NO_ACCESS"],
    }
    said = {"groups": ["clients", "admins"]}
    everywhere = {"": ("ADMIN",), "acme": ("CLIENT",), "beta": ("CLIENT",)}
    for company, held in (("acme", {"acme": ("CLIENT",)}), ("", {"": ("ADMIN",)})):
        known = holding(Identity("alice", USER, company))
        assert roles(answer(provider, known, RULES, said, **settings)) == everywhere
        assert roles(answer(provider, known, own, said, **settings)) == held
    strangers = {**settings, "identities": "any", "prefix": "idp:", "map": None}
    assert roles(answer(provider, None, own, said, **strangers)) == {"": ("ADMIN",)}
    leavers = msgspec.structs.replace(own, groups=(*own.groups, GroupFacts("leavers", ("NO_ACCESS",))))
    known = holding(Identity("alice", USER, "acme"))
    assert roles(answer(provider, known, leavers, {"groups": ["clients", "leavers"]}, **settings)) == {}


def test_groups_do_not_lift_a_role_that_was_assigned_to_stand_alone(provider: Provider) -> None:
    """Groups lift the default role, but not one that stands alone and was assigned, for good or for a time; and where
    one of their own roles stands alone, they give that alone."""
    said = {"groups": ["clients"]}
    settings: dict[str, Any] = {"claims": GROUPS, "roles": ["CLIENT", "AUDITOR", "NO_ACCESS"]}
    suspended = Identity("acme:alice", USER, "acme", roles=RoleSet({"": ("NO_ACCESS",)}))
    assert roles(answer(provider, holding(suspended), said=said, **settings)) == {"": ("NO_ACCESS",)}
    for_a_time = Identity("acme:alice", USER, "acme", timed=(TimedRole("NO_ACCESS", "", NOW + 9, NOW),))
    found = answer(provider, holding(for_a_time), said=said, **settings)
    assert isinstance(found, Authenticated)
    assert {
        when: [one.role for one in found.identity.timed if one.holds(when)] for when in (NOW - 1, NOW, NOW + 8, NOW + 9)
    } == {NOW - 1: ["CLIENT"], NOW: ["NO_ACCESS"], NOW + 8: ["NO_ACCESS"], NOW + 9: ["CLIENT"]}
    later = Identity("acme:alice", USER, "acme", timed=(TimedRole("NO_ACCESS", "", NOW + 9, by_default=True),))
    assert roles(answer(provider, holding(later), said=said, **settings)) == {"acme": ("CLIENT",)}
    leavers = DirectoryRules(roles=RULES.roles, groups=(*RULES.groups, GroupFacts("leavers", ("NO_ACCESS",))))
    both = {"groups": ["admins", "leavers"]}
    platform: dict[str, Any] = {"company": None, "platform": True, "identities": "any", "claims": GROUPS}
    platform["roles"] = ["ADMIN", "NO_ACCESS"]
    assert roles(answer(provider, None, leavers, both, **platform)) == {"": ("NO_ACCESS",)}


def test_a_sidecar_of_some_companies_takes_nobody_from_elsewhere(provider: Provider) -> None:
    """Where not all companies are held, an identity that is not here may be switched off elsewhere: it is refused,
    unless its token says a company that is held."""
    held = holding(companies=frozenset(("acme",)))
    assert isinstance(answer(provider, held, identities="any"), Authenticated)
    assert answer(provider, held, identities="any", company="beta") is INVALID
    assert answer(provider, held, identities="any", company=None, platform=True) is INVALID
    assert isinstance(answer(provider, holding(), identities="any", company=None, platform=True), Authenticated)


def test_attributes_of_the_directory_come_first(provider: Provider) -> None:
    """Attributes of the token are added to those of the directory and override none."""
    known = Identity("acme:alice", USER, "acme", attributes={"level": 1})
    claims = {"attributes": {"level": "lvl", "dept": "dept", "none": "missing"}}
    found = answer(provider, holding(known), said={"lvl": 9, "dept": "x", "other": 1}, claims=claims)
    assert isinstance(found, Authenticated)
    assert found.identity.attributes == {"level": 1, "dept": "x"}


def test_programs_are_told_by_a_claim(provider: Provider) -> None:
    """Where users and programs are mixed, the claim that is named says which a token is."""
    settings: dict[str, Any] = {"service_accounts": {"claim": "idtyp", "values": ["app"]}, "identities": "any"}
    for claims, kind in (({"idtyp": "app"}, PROGRAM), ({"idtyp": "user"}, USER), ({}, USER), ({"idtyp": True}, USER)):
        found = answer(provider, None, said=claims, **settings)
        assert isinstance(found, Authenticated)
        assert found.identity.kind is kind


def test_required_claims_are_required(provider: Provider) -> None:
    """A token without a claim that is required, or with another value or type, is refused."""
    required: dict[str, Any] = {"require": {"email_verified": True, "azp": ["console", "mobile"]}}
    for claims, taken in (
        ({"email_verified": True, "azp": "mobile"}, True),
        ({"email_verified": True, "azp": ["x", "console"]}, True),
        ({"email_verified": 1, "azp": "mobile"}, False),
        ({"email_verified": "true", "azp": "mobile"}, False),
        ({"email_verified": True, "azp": "other"}, False),
        ({"email_verified": True}, False),
        ({}, False),
    ):
        assert isinstance(answer(provider, holding(ALICE), said=claims, **required), Authenticated) is taken, claims


def test_old_tokens_are_expired(provider: Provider) -> None:
    """With a greatest age, a token stops at it, however late it says, and one without `iat` is refused."""
    aged: dict[str, Any] = {"max_age_seconds": 60}
    assert answer(provider, holding(ALICE), said={"iat": NOW - 90}, **aged) is Reason.CREDENTIAL_EXPIRED
    assert answer(provider, holding(ALICE), said={"iat": None}, **aged) is INVALID
    found = answer(provider, holding(ALICE), said={"iat": NOW - 89}, **aged)
    assert isinstance(found, Authenticated)
    assert found.expires == NOW + 1


@pytest.mark.parametrize(
    ("subject", "taken"),
    [("alice", True), *((kept, False) for kept in ("p1:alice", "p1:", "role:ADMIN", "operator:root", "*", "sidecar"))],
)
def test_an_issuer_cannot_name_identities_of_another(provider: Provider, subject: str, taken: bool) -> None:
    """An issuer whose subjects are ids of the directory names nobody who is another issuer's, and nothing kept."""
    mapped = issuer_of({"url": provider.url}, prefix=None, map="directory")
    prefixed = issuer_of({"url": provider.url}, issuer="https://other/", prefix="p1:", company="beta")
    known = [
        Identity(id, USER, "acme") for id in ("alice", "p1:alice", "p1:", "role:ADMIN", "operator:root", "*", "sidecar")
    ]
    with verifier_of(mapped, prefixed) as (verifier, _):
        token = sign(rsa_key(), "RS256", claims_of(sub=subject))
        found = JwtCredentials(verifier).authenticate(token, NOW, holding(*known), RULES)
        assert isinstance(found, Authenticated) is taken


def test_those_who_hold_the_same_share_it(provider: Provider) -> None:
    """Two tokens whose roles come to the same have one set of roles, so that decisions work it out once; the answer for
    a token is made once for each state of the directory and of the bundle."""
    issuer = issuer_of({"url": provider.url}, claims=GROUPS, roles=["CLIENT"])
    base = RoleSet({"acme": ("AUDITOR",)})
    copy = holding(*(Identity(f"acme:{name}", USER, "acme", roles=base) for name in ("alice", "bob")))
    with verifier_of(issuer) as (verifier, _):
        credentials = JwtCredentials(verifier)
        alice, bob = (sign(rsa_key(), "RS256", claims_of(sub=name, groups=["clients"])) for name in ("alice", "bob"))
        first, second = (credentials.authenticate(token, NOW, copy, RULES) for token in (alice, bob))
        assert isinstance(first, Authenticated)
        assert isinstance(second, Authenticated)
        assert first.identity.roles is second.identity.roles
        assert credentials.authenticate(alice, NOW + 1, copy, RULES) is first
        off = Identity("acme:alice", USER, "acme", active=False)
        changed = holding(off)
        assert credentials.authenticate(alice, NOW + 1, changed, RULES) is Reason.INACTIVE_SUBJECT
        assert credentials.authenticate(alice, NOW + 1, holding(), RULES) is INVALID
        nothing = DirectoryRules()
        assert roles(credentials.authenticate(alice, NOW + 1, copy, nothing)) == {"acme": ("AUDITOR",)}


def test_the_identity_alone(provider: Provider) -> None:
    """`jwt_identity` is the same without the caches."""
    with verifier_of(issuer_of({"url": provider.url})) as (verifier, sources):
        assert isinstance(sources, KeySources)
        found = verifier.verify(sign(rsa_key(), "RS256", claims_of()), NOW)
        assert not isinstance(found, Reason)
        assert jwt_identity(found, holding(ALICE), RULES) is ALICE


def test_a_claim_in_another_place_refuses(provider: Provider) -> None:
    """Where the claim of the company should stand inside another one that is no mapping, the token is not taken for one
    of the platform."""
    issuer: dict[str, Any] = {
        "company": None,
        "companies": ["*"],
        "platform": True,
        "identities": "any",
        "claims": {"company": ["organization", "id"]},
    }
    elsewhere: tuple[Any, ...] = ("acme", ["acme"], [{"id": "acme"}], 7, False)
    for organization in elsewhere:
        assert answer(provider, None, said={"organization": organization}, **issuer) is INVALID
    right: tuple[tuple[Any, str], ...] = (({"id": "acme"}, "acme"), ({}, ""), (None, ""))
    for organization, company in right:
        found = answer(provider, None, said={"organization": organization}, **issuer)
        assert isinstance(found, Authenticated)
        assert found.identity.company == company


def test_a_sidecar_of_some_companies_knows_no_strangers_of_many(provider: Provider) -> None:
    """Somebody of an issuer of many companies may be switched off in one that is not held: whoever is not in the
    directory is refused, even where the token says a company that is held."""
    issuer: dict[str, Any] = {
        "company": None,
        "companies": ["acme", "beta"],
        "identities": "any",
        "claims": {"company": "tenant"},
    }
    held = holding(ALICE, companies=frozenset(("acme",)))
    assert answer(provider, held, said={"tenant": "acme", "sub": "bob"}, **issuer) is INVALID
    assert isinstance(answer(provider, held, said={"tenant": "acme"}, **issuer), Authenticated)
    assert isinstance(answer(provider, holding(), said={"tenant": "acme", "sub": "bob"}, **issuer), Authenticated)


def test_kinds_without_roles_get_none_from_groups(provider: Provider) -> None:
    """Where the bundle says that service accounts hold no roles, their groups give none."""
    rules = msgspec.structs.replace(RULES, service_accounts=KindRules(roles=False))
    settings: dict[str, Any] = {"claims": GROUPS, "roles": ["CLIENT"], "identities": "any"}
    said = {"groups": ["clients"]}
    program = Identity("acme:alice", PROGRAM, "acme")
    assert roles(answer(provider, holding(program), rules, said, kind="service_account", **settings)) == {}
    assert roles(answer(provider, None, rules, said, kind="service_account", **settings)) == {}
    assert roles(answer(provider, None, rules, said, **settings)) == {"acme": ("CLIENT",)}


def test_limits_count_what_is_held_for_a_time(provider: Provider) -> None:
    """Where one role is all that an identity may hold, groups give theirs while no other is held."""
    one = msgspec.structs.replace(RULES, roles_per_identity=1)
    settings: dict[str, Any] = {"claims": GROUPS, "roles": ["CLIENT"]}
    for_a_time = Identity("acme:alice", USER, "acme", timed=(TimedRole("AUDITOR", "acme", NOW + 9, NOW),))
    found = answer(provider, holding(for_a_time), one, {"groups": ["clients"]}, **settings)
    assert roles(found) == {}
    assert isinstance(found, Authenticated)
    assert {
        when: [held.role for held in found.identity.timed if held.holds(when)] for when in (NOW - 1, NOW, NOW + 9)
    } == {
        NOW - 1: ["CLIENT"],
        NOW: ["AUDITOR"],
        NOW + 9: ["CLIENT"],
    }
    two = msgspec.structs.replace(RULES, roles_per_identity=2)
    assert roles(answer(provider, holding(for_a_time), two, {"groups": ["clients"]}, **settings)) == {
        "acme": ("CLIENT",)
    }


def test_a_role_in_two_companies_counts_twice(provider: Provider) -> None:
    """The limit of roles counts a role in each company, as it does where roles are assigned."""
    settings: dict[str, Any] = {"claims": GROUPS, "roles": ["CLIENT"], "prefix": None, "map": "directory"}
    settings |= {"company": None, "companies": ["acme", "beta"]}
    known, said = Identity("alice", USER, "acme"), {"groups": ["clients"]}
    for most, given in ((1, {}), (2, {"acme": ("CLIENT",), "beta": ("CLIENT",)})):
        rules = msgspec.structs.replace(RULES, roles_per_identity=most)
        assert roles(answer(provider, holding(known), rules, said, **settings)) == given


def test_nobody_is_called_like_a_role(provider: Provider) -> None:
    """In a plain Casbin bundle a subject of the name of a role has its rights: no token stands for one."""
    plain = DirectoryRules(form="casbin", roles={"acme:alice": RoleFacts("company")})
    assert answer(provider, None, plain, identities="any") is INVALID
    assert isinstance(answer(provider, None, plain, {"sub": "bob"}, identities="any"), Authenticated)
    assert isinstance(answer(provider, None, RULES, identities="any"), Authenticated)
