"""Random models and policies: a filter passes what a check allows; an exact one, nothing else."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.decide import Decider
from authz_sidecar.values import Request, build_request
from authz_sidecar.values.filter import FilterRequest, ObjectFilter, build_filter_request
from tests.decide.casbin_judge import decider
from tests.decide.test_against_pycasbin import requests as plain_requests
from tests.decide.test_against_pycasbin import systems
from tests.decide.test_standard_model_against_pycasbin import policies
from tests.decide.test_standard_model_against_pycasbin import requests as standard_requests

ATTRIBUTES: tuple[dict[str, Any], ...] = ({}, {"team": "red", "level": 5}, {"team": "blue", "level": 1})


def objects(
    asked: FilterRequest, companies: tuple[str, ...], ids: tuple[str, ...], owners: tuple[str, ...]
) -> Iterator[Request]:
    """The checks of all objects of the type that is asked about, with all combinations of these parts."""
    question = asked.request
    if asked.narrowed:
        companies = (question.company,)
    for company, id, owner, attributes in product(companies, ids, owners, ATTRIBUTES):
        request, violations = build_request(
            question.subject,
            question.action,
            type=question.type,
            id=id,
            company=company,
            owner=owner,
            subject_attributes=question.subject_attributes,
            object_attributes=attributes,
            context=question.context,
            time=question.time,
            section=question.section,
        )
        assert request is not None, violations
        yield request


def agree(made: Decider, asked: FilterRequest, checks: Iterator[Request], told: object) -> ObjectFilter:
    """Assert that the filter passes every object that a check allows and, if it is exact, no other."""
    found = made.filter(asked)
    assert found.exact == (not found.left_out and not any(clause.conditions for clause in found.clauses))
    for check in checks:
        allowed = made.decide(check).allowed
        passes = found.passes(check.company, check.id, check.owner)
        assert passes == allowed if found.exact else passes or not allowed, (told, asked, check, found)
    return found


def ask(subject: str, action: str, object_type: str, company: str | None, **more: Any) -> FilterRequest:
    """A question that is valid."""
    asked, violations = build_filter_request(subject, action, object_type, company=company, **more)
    assert asked is not None, violations
    return asked


@given(st.data(), st.booleans())
def test_filters_of_standard_models_agree_with_checks(data: st.DataObject, extended: bool) -> None:
    """In both forms of the standard model a filter agrees with the check of every object."""
    model, policy = EXTENDED if extended else BASIC, data.draw(policies(extended))
    made = decider(model, policy)
    companies = ("acme", "globex", "*", "", "nowhere")
    for _ in range(3):
        near = data.draw(standard_requests(policy))
        company = data.draw(st.sampled_from((None, None, near.company)))
        asked = ask(near.subject, near.action, near.type or "folder", company, context=near.context)
        checks = objects(asked, companies, ("1", "2", "2024-1", "2024-2", "*"), (asked.request.subject, "bob", ""))
        found = agree(made, asked, checks, (model, policy))
        assert extended or found.exact


def named(policy: str, fields: list[str], prefix: str) -> str:
    """The policy with objects that are called `type:id`."""
    rows = [row.split(", ") for row in policy.splitlines()]
    at = fields.index("obj") + 1
    for row in rows:
        if row[0] == "p" and row[at] not in ("*", "books", "pens"):
            row[at] = prefix + row[at]
        elif row[0] == "g2":
            row[1] = prefix + row[1]
    return "\n".join([", ".join(row) for row in rows])


@settings(max_examples=2 * settings().max_examples)
@given(st.data(), systems(), st.sampled_from(("doc:", "doc:", "do", "")))
def test_filters_of_plain_models_agree_with_checks(
    data: st.DataObject, system: tuple[str, str, dict[str, str]], prefix: str
) -> None:
    """In a random plain model a filter agrees with the check of every object."""
    model, plain_policy, matching = system
    fields = next(line for line in model.splitlines() if line.startswith("p = "))[4:].split(", ")
    policy = named(plain_policy, fields, prefix)
    made = decider(model, policy, matching)
    for _ in range(3):
        near = data.draw(plain_requests(model, plain_policy))
        company = data.draw(st.sampled_from((None, None, near.company)))
        asked = ask(near.subject, near.action, "doc", company, subject_attributes=near.subject_attributes)
        companies = ("acme", "globex", "acme/eu", "*", "")
        ids = (
            "data1",
            "data2",
            "/book/1",
            "/book/2",
            "/book/1/page",
            "/pen/7",
            "/.hidden",
            "books",
            "*",
            "other",
            "1:2",
        )
        agree(made, asked, objects(asked, companies, ids, (asked.request.subject,)), (model, policy, matching))


SUBJECTS = ("alice", "bob", "carol")
ROLES = ("admin", "editor", "lead", "al*")
COMPANIES = ("acme", "acme-eu", "globex", "", "*")
PLACES = ("acme", "globex", "*", "acme*", "")
IDS = ("1", "2", "10.1.2.3", "alice", "acme", "*")
SUBJECT_PARTS = (
    "g(r.sub, p.sub, r.dom)",
    "g(r.sub, p.sub, r.dom)",
    "g(r.sub, p.sub, r.dom) && r.dom == p.dom",
    "g(r.sub, p.sub, p.dom) && r.dom == p.dom",
    'g(r.sub, p.sub, "*")',
    "g(r.sub, p.sub, p.dom)",
    "r.sub == p.sub",
    "keyMatch(r.sub, p.sub)",
    '(p.sub == "*" || g(r.sub, p.sub, r.dom))',
    '(g(r.sub, p.sub, "*") || p.eft != "deny" && r.dom != "" && g(r.sub, p.sub, r.dom))',
    "(g(r.sub, p.sub, r.dom) || r.sub == p.sub)",
    "(r.obj.level > 3 || g(r.sub, p.sub, r.dom))",
    "g(r.owner, p.sub, r.dom)",
    "True",
)
DOMAIN_PARTS = (
    "r.dom == p.dom",
    '(p.dom == "*" || r.dom == p.dom)',
    "keyMatch(r.dom, p.dom)",
    "regexMatch(r.dom, p.dom)",
    "r.obj.company == p.dom",
    'r.dom in (p.dom, "globex")',
    "r.dom != p.dom",
    "True",
)
OBJECT_PARTS = (
    "r.obj == p.obj",
    "keyMatch(r.obj, p.obj)",
    "regexMatch(r.obj, p.obj)",
    '(p.obj == "*" || r.id == p.obj)',
    "keyMatch(r.id, p.obj)",
    "keyMatch3(r.id, p.obj)",
    "r.type == p.obj",
    "g2(r.obj, p.obj)",
    "g2(r.id, p.obj)",
    '(p.obj == "*" || g2(r.obj, p.obj))',
    "True",
)
OWNER_PARTS = (
    "True",
    "True",
    "r.owner == r.sub",
    '(p.sub != "editor" || r.sub == r.owner)',
    "r.obj.owner == r.sub",
    'r.owner != ""',
    "!(r.owner == r.sub && r.id == '1')",
    "r.owner == r.dom",
    "r.id == r.owner",
    "r.owner in r.sub.friends",
    "r.dom in r.sub.friends",
    'r.sub in (r.owner, "carol")',
    "(r.owner == r.sub) == True",
    "(r.owner == r.sub) != True",
    "r.obj.level > 3",
    "(r.owner == r.sub || r.obj.level > 3)",
    "(r.obj.level > 3 || r.owner == r.sub)",
    "!(r.obj.level > 3 && r.owner == r.sub)",
    "r.mfa",
    "r.mfa == True",
    "(r.mfa.deep || r.owner == r.sub)",
    "(r.owner == r.sub || r.mfa.deep)",
    "(r.owner == r.sub && r.mfa.deep || r.id == '1')",
    'r.id < "2"',
    'ipMatch(r.id, "10.0.0.0/8")',
    'keyMatch(r.owner, "al*")',
    "!keyMatch(r.owner, 'al*')",
    'regexMatch(r.owner, "a.*e")',
    'g(r.owner, "lead", r.dom)',
    '!g(r.sub, "lead", r.dom)',
    'g(r.sub, "lead", "acme")',
    'g2(r.id, "books")',
    "!g2(r.id, 'books')",
    'g2(r.owner, "pens")',
    'timeMatch("2020-01-01 00:00:00", "_")',
    "eval(p.rule)",
    '(p.sub == "admin" || eval(p.rule))',
)
RULES = (
    "True",
    "r.owner == r.sub",
    "r.obj.level > 3",
    "r.mfa",
    "r.dom == 'acme'",
    "g(r.sub, 'lead', r.dom)",
    "r.id != '1'",
)
EFFECTS = (
    "some(where (p.eft == allow))",
    "!some(where (p.eft == deny))",
    "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "priority(p.eft) || deny",
    "subjectPriority(p.eft) || deny",
)


@st.composite
def wide_systems(draw: st.DrawFn) -> tuple[str, str, dict[str, Mapping[str, str]]]:
    """A model over all tokens, a policy, and matching functions of names, roles and domains."""
    parts = [draw(st.sampled_from(pool)) for pool in (SUBJECT_PARTS, DOMAIN_PARTS, OBJECT_PARTS, OWNER_PARTS)]
    parts.append(draw(st.sampled_from(("r.act == p.act", '(p.act == "*" || r.act == p.act)', "r.act == p.act"))))
    if draw(st.booleans()):
        parts.append(draw(st.sampled_from(OWNER_PARTS)))
    parts = draw(st.permutations(parts))
    matcher = " && ".join(parts)
    if not draw(st.integers(0, 4)):
        matcher += " || " + draw(st.sampled_from(OWNER_PARTS)) + ' && r.act == "read"'
    conditional = not draw(st.integers(0, 5))
    fields = ["sub", "dom", "obj", "act", "eft", "rule"]
    if draw(st.booleans()):
        fields.insert(0, "priority")
    model = "\n".join(
        [
            "[request_definition]",
            "r = sub, dom, type, id, act, owner, obj, mfa",
            "[policy_definition]",
            "p = " + ", ".join(fields),
            "[role_definition]",
            "g = _, _, _" + (", (_, _)" if conditional else ""),
            "g2 = _, _",
            "[policy_effect]",
            "e = " + draw(st.sampled_from(EFFECTS)),
            "[matchers]",
            "m = " + matcher,
        ]
    )
    values = {
        "priority": st.integers(0, 9).map(str),
        "sub": st.sampled_from((*SUBJECTS, *ROLES, "admin", "*")),
        "dom": st.sampled_from(PLACES),
        "obj": st.sampled_from(("*", "doc", "doc:1", "doc:2", "doc:*", "d*", "doc:1*", "pen:*", "books", "1", "1*")),
        "act": st.sampled_from(("read", "read", "write", "*")),
        "eft": st.sampled_from(("allow", "allow", "deny")),
        "rule": st.sampled_from(RULES),
    }
    if "regexMatch(r.dom" in matcher:
        values["dom"] = st.sampled_from(("acme", "^acme$", "a.*", ".*", "(acme|globex)"))
    if "regexMatch(r.obj" in matcher:
        values["obj"] = st.sampled_from(("doc:1", "^doc:1$", "doc.*", "doc:[12]$", "pen:.*", "do"))
    if "keyMatch3" in matcher:
        values["obj"] = st.sampled_from(("1", "2", "{id}", "{id}.{rest}", "a{more}", "alice"))
    row = st.tuples(*[values[field] for field in fields]).map(lambda row: ", ".join(("p", *row)))
    rows = draw(st.lists(row, min_size=1, max_size=8))
    names = (*SUBJECTS, *ROLES)
    for _ in range(draw(st.integers(0, 6))):
        low, high = sorted(draw(st.lists(st.integers(0, len(names) - 1), min_size=2, max_size=2, unique=True)))
        times = ", 2020-01-01 00:00:00, " + draw(st.sampled_from(("_", "2021-01-01 00:00:00")))
        window = times if conditional else ""
        rows.append(f"g, {names[low]}, {names[high]}, {draw(st.sampled_from(PLACES))}{window}")
    for name in draw(st.lists(st.sampled_from(("doc:1", "doc:2", "1", "2", "bob", "doc:*", "pen:1")), max_size=4)):
        rows.append(f"g2, {name}, {draw(st.sampled_from(('books', 'pens')))}")
    if draw(st.booleans()):
        rows.append("g2, pens, books")
    matching: dict[str, Mapping[str, str]] = {}
    if not conditional and not draw(st.integers(0, 3)):
        matching["role_matching"] = {draw(st.sampled_from(("g", "g2"))): "keyMatch"}
    if not draw(st.integers(0, 2)):
        matching["domain_matching"] = {"g": draw(st.sampled_from(("keyMatch", "globMatch")))}
    if conditional:
        matching["link_conditions"] = {"g": "timeMatch"}
    rows = list(dict.fromkeys(rows))
    # A link may have one time only.
    links = {tuple(text.split(", ")[1:4]): text for text in rows if text.startswith("g,")}
    return model, "\n".join([text for text in rows if not text.startswith("g,")] + list(links.values())), matching


@settings(max_examples=3 * settings().max_examples)
@given(st.data(), wide_systems())
def test_filters_of_models_over_all_tokens_agree_with_checks(
    data: st.DataObject, system: tuple[str, str, dict[str, Mapping[str, str]]]
) -> None:
    """In a random model that compares companies, ids, owners and attributes, a filter agrees with the check of every
    object."""
    model, policy, matching = system
    made = decider(model, policy, **matching)
    for _ in range(2):
        asked = ask(
            data.draw(st.sampled_from((*SUBJECTS, "alice", "admin", "nobody"))),
            data.draw(st.sampled_from(("read", "read", "write"))),
            data.draw(st.sampled_from(("doc", "doc", "doc", "pen"))),
            data.draw(st.sampled_from((None, None, *COMPANIES))),
            context={"mfa": data.draw(st.sampled_from((True, True, False, "text", {"deep": True})))},
            subject_attributes=data.draw(st.sampled_from(({}, {"friends": ["alice", "acme", 7]}, {"friends": "acme"}))),
            time=1.7e9,
        )
        agree(made, asked, objects(asked, COMPANIES, IDS, (*SUBJECTS, "", "acme")), (model, policy, matching))
