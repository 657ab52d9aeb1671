"""Random families of policies over one vocabulary, and every request that the vocabulary makes.

A family has four policies: one, another that some edits made of it, a third whose model may differ too, and one that is
drawn afresh. Each is decided by pycasbin once for every request, and any two of them make a pair to compare.
"""

import random
from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

from authz_sidecar.decide import Decider
from authz_sidecar.values import Request, build_request
from tests.decide.casbin_judge import Raised, enforcer, judge

PEOPLE = ("alice", "bob")
ROLES = ("admin", "viewer")
DOMAINS = ("acme", "globex")
OBJECTS = ("data1", "book:1", "book:2")
TYPES = ("book", "pen")
IDS = ("1", "22")
ACTIONS = ("read", "write")
EFFECTS = (
    "some(where (p.eft == allow))",
    "!some(where (p.eft == deny))",
    "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "priority(p.eft) || deny",
)
# Parts of matchers, each with the values of the field that it reads. `{d}` is the domain of a role.
SUBJECT_PARTS = (
    "g(r.sub, p.sub{d})",
    "g(r.sub, p.sub{d})",
    "r.sub == p.sub",
    '(p.sub == "*" || g(r.sub, p.sub{d}))',
    '(g(r.sub, p.sub{d}) || r.sub == "bob")',
    "(keyMatch(r.sub, p.sub) || g(r.sub, p.sub{d}))",
    'g(r.sub, p.sub{d}) && r.sub != "alice"',
)
DOMAIN_PARTS = ("r.dom == p.dom", '(p.dom == "*" || r.dom == p.dom)', "keyMatch(r.dom, p.dom)")
OBJECT_PARTS = (
    "r.obj == p.obj",
    '(p.obj == "*" || r.obj == p.obj)',
    "keyMatch(r.obj, p.obj)",
    "g2(r.obj, p.obj)",
    "keyMatch2(r.obj, p.obj)",
    'r.obj in (p.obj, "data1")',
)
TYPE_PARTS = (
    '(p.type == "*" || p.type == r.type) && keyMatch(r.id, p.id)',
    'r.type == p.type && (p.id == "*" || p.id == r.id)',
)
ACTION_PARTS = (
    "r.act == p.act",
    '(p.act == "*" || r.act == p.act)',
    '(r.act == p.act || r.act == "read" && p.act == "write")',
)
EXTRA_PARTS = ("", "", "", '|| r.sub == "root"', '&& r.act != "write"', '&& g(r.sub, "viewer"{d})')
OWNER_PARTS = ('(p.scope != "own" || r.sub == r.owner)', '(p.scope == "all" || r.owner == p.scope)')
CONDITIONS = ("True", "True", "r.act == 'read'", "r.sub.age > 18", "r.obj.team == 'red'", "r.sub != 'bob'")


class Policy(NamedTuple):
    """A model and rows, as text."""

    model: str
    rows: str

    @property
    def files(self) -> dict[str, bytes]:
        """The files of a bundle."""
        return {"model.conf": self.model.encode(), "policy.csv": self.rows.encode()}


class Vocabulary(NamedTuple):
    """What a family speaks about: whether with domains, types or object names, owners; the conditions of rules."""

    domains: bool
    types: bool
    owners: bool
    conditions: bool


class Family(NamedTuple):
    """Policies over one vocabulary, and all requests."""

    policies: tuple[Policy, ...]
    requests: tuple[Request, ...]


def family(chance: random.Random) -> Family:
    """A family of four, each quite another: what random choices make differs more than what a search would vary."""
    domains = chance.random() < 0.5
    vocabulary = Vocabulary(
        domains, chance.random() < 0.3, not domains and chance.random() < 0.4, chance.random() < 0.25
    )
    model = make_model(chance, vocabulary)
    rows = make_rows(chance, vocabulary)
    edited = edit(chance, vocabulary, rows)
    again = edit(chance, vocabulary, edited)
    other = make_model(chance, vocabulary) if chance.random() < 0.4 else model
    policies = (
        Policy(model, _text(rows)),
        Policy(model, _text(edited)),
        Policy(other, _text(again)),
        Policy(model, _text(make_rows(chance, vocabulary))),
    )
    return Family(policies, tuple(every_request(vocabulary)))


def make_model(chance: random.Random, vocabulary: Vocabulary) -> str:
    """A model that reads the rows of the vocabulary."""
    argument = ", r.dom" if vocabulary.domains else ""
    parts = [chance.choice(SUBJECT_PARTS)]
    if vocabulary.domains:
        parts.append(chance.choice(DOMAIN_PARTS))
    parts.append(chance.choice(TYPE_PARTS if vocabulary.types else OBJECT_PARTS))
    parts.append(chance.choice(ACTION_PARTS))
    if vocabulary.owners:
        parts.append(chance.choice(OWNER_PARTS))
    extra = chance.choice(EXTRA_PARTS)
    if extra.startswith("&&"):
        parts.append(extra.removeprefix("&& "))
    if vocabulary.conditions:
        # Asked last: pycasbin fails on a condition even where what stands after it would not hold.
        parts.append("eval(p.rule)")
    matcher = " && ".join(parts) + (f" {extra}" if extra.startswith("||") else "")
    tokens = [
        "sub",
        *(["dom"] if vocabulary.domains else []),
        *(["type", "id"] if vocabulary.types else ["obj"]),
        "act",
    ]
    if vocabulary.conditions and vocabulary.types:
        tokens.append("obj")
    return "\n".join(
        [
            "[request_definition]",
            "r = " + ", ".join([*tokens, *(["owner"] if vocabulary.owners else [])]),
            "[policy_definition]",
            "p = " + ", ".join(fields_of(vocabulary)),
            "[role_definition]",
            "g = _, _, _" if vocabulary.domains else "g = _, _",
            *([] if vocabulary.types else ["g2 = _, _"]),
            "[policy_effect]",
            "e = " + chance.choice(EFFECTS),
            "[matchers]",
            "m = " + matcher.replace("{d}", argument),
        ]
    )


def fields_of(vocabulary: Vocabulary) -> list[str]:
    """The fields of a row of `p`."""
    return [
        "sub",
        *(["dom"] if vocabulary.domains else []),
        *(["type", "id"] if vocabulary.types else ["obj"]),
        "act",
        *(["scope"] if vocabulary.owners else []),
        *(["rule"] if vocabulary.conditions else []),
        "eft",
    ]


VALUES: Mapping[str, tuple[str, ...]] = {
    "sub": (*PEOPLE, *ROLES, *ROLES, *ROLES, "*", "svc-*"),
    "dom": (*DOMAINS, *DOMAINS, "*", "gl*"),
    "obj": (*OBJECTS, *OBJECTS, "*", "book:*", "b*", "shelf", "shelf", "book"),
    "type": (*TYPES, "*"),
    "id": (*IDS, "*", "2*"),
    "act": (*ACTIONS, *ACTIONS, "*"),
    "scope": ("all", "all", "own", "bob"),
    "rule": CONDITIONS,
    "eft": ("allow", "allow", "allow", "deny"),
}


def make_rule(chance: random.Random, vocabulary: Vocabulary) -> str:
    """A row of `p`."""
    return ", ".join(["p", *[chance.choice(VALUES[field]) for field in fields_of(vocabulary)]])


def make_row(chance: random.Random, vocabulary: Vocabulary) -> str:
    """A rule, mostly, or a link; links run from a name to a later one, so that they never make a circle."""
    kind = chance.random()
    if kind < 0.55:
        return make_rule(chance, vocabulary)
    if kind < 0.65 and not vocabulary.types:
        return f"g2, {chance.choice(OBJECTS)}, shelf"
    role = chance.choice(ROLES)
    names = (*PEOPLE, *PEOPLE, *ROLES[: ROLES.index(role)])
    return f"g, {chance.choice(names)}, {role}" + (f", {chance.choice(DOMAINS)}" if vocabulary.domains else "")


def make_rows(chance: random.Random, vocabulary: Vocabulary) -> list[str]:
    """Rows of a policy, one rule at least."""
    return [make_rule(chance, vocabulary), *[make_row(chance, vocabulary) for _ in range(chance.randint(3, 8))]]


def edit(chance: random.Random, vocabulary: Vocabulary, rows: list[str]) -> list[str]:
    """The rows after one to three edits: a row more, less, twice, elsewhere, or another in its place."""
    edited = list(rows)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(edited))
        match chance.choice(("add", "remove", "double", "move", "replace")):
            case "add":
                edited.insert(at, make_row(chance, vocabulary))
            case "remove" if len(edited) > 1:
                del edited[at]
            case "double":
                edited.append(edited[at])
            case "move":
                edited.append(edited.pop(at))
            case _:
                edited[at] = make_row(chance, vocabulary)
    return edited if any(row.startswith("p,") for row in edited) else [*edited, make_rule(chance, vocabulary)]


def _text(rows: list[str]) -> str:
    return "\n".join(rows)


def every_request(vocabulary: Vocabulary) -> Iterator[Request]:
    """Every request that the vocabulary makes: each value that policies may name, and one more in each part."""
    subjects = (*PEOPLE, *ROLES, "root", "nobody", "svc-1")
    companies = (*DOMAINS, "nowhere") if vocabulary.domains else ("",)
    if vocabulary.types:
        objects = [(type, id) for type in (*TYPES, "else") for id in (*IDS, "3")]
    else:
        objects = [("data1", ""), ("book", "1"), ("book", "2"), ("book", "9"), ("book", ""), ("pen", "1")]
    owners: tuple[str | None, ...] = (None, "bob", "somebody") if vocabulary.owners else ("",)
    for subject, company, (type, id), action, owner in product(
        subjects, companies, objects, (*ACTIONS, "else"), owners
    ):
        request, violations = build_request(
            subject, action, type=type, id=id, company=company, owner=subject if owner is None else owner
        )
        assert request is not None, violations
        yield request


def decided(policy: Policy, decider: Decider, requests: tuple[Request, ...]) -> list[bool]:
    """What pycasbin decides; where it fails, as an attribute is missing, what the decider makes of that."""
    made = enforcer(policy.model, policy.rows)
    found: list[bool] = []
    for request in requests:
        try:
            found.append(judge(made, request))
        except Raised:
            found.append(decider.decide(request).allowed)
    return found
