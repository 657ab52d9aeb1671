"""What is told to be redundant is redundant: without it, nothing is decided otherwise."""

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide import Decider
from authz_sidecar.review.redundancy import Redundant, find_redundant
from authz_sidecar.values import Decision, Reason, Request, RuleTable, build_request
from tests.decide.test_against_pycasbin import ACTIONS, DOMAINS, OBJECTS, SUBJECTS, systems
from tests.decide.test_standard_model_against_pycasbin import policies

UNMATCHED = {Reason.NO_MATCHING_RULE, Reason.NO_ROLE_IN_COMPANY, Reason.UNKNOWN_SUBJECT}


def load(files: dict[str, str]) -> tuple[Bundle, Snapshot]:
    """A bundle of these files, compiled."""
    bundle, diagnostics = parse_bundle({name: text.encode() for name, text in files.items()}, "reviewed")
    assert bundle is not None, diagnostics
    return bundle, compiled(bundle)


def compiled(bundle: Bundle) -> Snapshot:
    """Its snapshot."""
    snapshot, diagnostics = compile_bundle(bundle)
    assert snapshot is not None, diagnostics
    return snapshot


def rows_of(bundle: Bundle, found: Redundant) -> set[int]:
    """The rows that a finding is about: all of its place, or the one that is written twice."""
    table = found.table
    if not found.whole or bundle.form == "casbin":
        return {found.row}
    return {row for row in range(len(table)) if table.span(row) == table.span(found.row)}


def without(bundle: Bundle, removed: dict[str, set[int]]) -> Bundle:
    """The bundle without some rows, given by ptype."""
    tables = dict(bundle.tables)
    for ptype, rows in removed.items():
        old = bundle.tables[ptype]
        tables[ptype] = RuleTable(ptype, old.width)
        for row in range(len(old)):
            if row not in rows:
                span = old.span(row)
                number = tables[ptype].file_number(span.file)
                tables[ptype].append(old.values(row), number, span.line, span.column, old.rule(row).via)
    return msgspec.structs.replace(bundle, tables=tables)


def outcome(decision: Decision) -> tuple[bool, Reason]:
    """What is decided and why; which subjects are known by name is no part of it."""
    return decision.allowed, Reason.NO_MATCHING_RULE if decision.reason in UNMATCHED else decision.reason


def assert_redundant(files: dict[str, str], requests: Iterable[Request], one: Callable[[int], int]) -> list[Redundant]:
    """Without all that is told, and without one finding of it, every request is decided as with it."""
    bundle, snapshot = load(files)
    told = find_redundant(bundle, snapshot).places
    if not told:
        return told
    everything: dict[str, set[int]] = {}
    for found in told:
        everything.setdefault(found.table.ptype, set()).update(rows_of(bundle, found))
    chosen = told[one(len(told))]
    before = Decider(snapshot)
    others = [
        Decider(compiled(without(bundle, removed)))
        for removed in (everything, {chosen.table.ptype: rows_of(bundle, chosen)})
    ]
    for request in requests:
        wanted = outcome(before.decide(request))
        for after in others:
            assert outcome(after.decide(request)) == wanted, (files, request, told)
    return told


def request(subject: str, action: str, **parts: Any) -> Request:
    """A request that keeps the limits."""
    made, violations = build_request(subject, action, **parts)
    assert made is not None, violations
    return made


def plain_requests() -> Iterator[Request]:
    """Every question over the names of the random models, with attributes and without."""
    attributes: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
        ({"age": 35, "team": "red"}, {"team": "red"}),
        ({"age": 15, "team": "blue"}, {"team": "red"}),
        ({}, {}),
    )
    names = (*SUBJECTS, "admin", "staff", "nobody")
    for subject, company, name, action, (own, of_object) in product(
        names, DOMAINS, (*OBJECTS, "/book/2", "*"), (*ACTIONS, "audit"), attributes
    ):
        yield request(subject, action, company=company, type=name, subject_attributes=own, object_attributes=of_object)


def standard_requests() -> Iterator[Request]:
    """Every question over the names of the random rows of the standard model."""
    attributes: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
        ({"level": 5, "team": "red"}, {"mfa": True}),
        ({"level": 1, "team": "green"}, {"mfa": False}),
        ({}, {}),
    )
    for subject, company, owned, kind, id, action, (of_object, context) in product(
        ("alice", "bob", "carol", "root", "nobody"),
        ("acme", "globex", "*", ""),
        (True, False),
        ("folder", "report", "analysis"),
        ("1", "2024-1", "27"),
        ("read", "update", "decide", "delete"),
        attributes,
    ):
        yield request(
            subject,
            action,
            company=company,
            owner=subject if owned else "bob",
            type=kind,
            id=id,
            object_attributes=of_object,
            context=context,
        )


PLAIN_REQUESTS = list(plain_requests())
STANDARD_REQUESTS = list(standard_requests())


@settings(max_examples=settings().max_examples // 2)
@given(st.data(), systems())
def test_plain_rules_that_are_told_change_nothing(data: st.DataObject, system: tuple[str, str, dict[str, str]]) -> None:
    """In a random model with random rows, every question is answered alike without what is told."""
    model, policy, matching = system
    files = {"model.conf": model, "policy.csv": policy}
    if matching:
        declared = ", ".join(f"{name}: {function}" for name, function in matching.items())
        files["manifest.yaml"] = f"name: x\nschema_version: 1\ncasbin: {{role_matching: {{{declared}}}}}\n"
    assert_redundant(files, PLAIN_REQUESTS, lambda count: data.draw(st.integers(0, count - 1)))


@settings(max_examples=settings().max_examples // 4)
@given(st.data(), st.booleans())
def test_rows_of_the_standard_model_that_are_told_change_nothing(data: st.DataObject, extended: bool) -> None:
    """So it is with random rows of both forms of the standard model."""
    files = {"model.conf": EXTENDED if extended else BASIC, "policy.csv": data.draw(policies(extended))}
    assert_redundant(files, STANDARD_REQUESTS, lambda count: data.draw(st.integers(0, count - 1)))


@st.composite
def crowded(draw: st.DrawFn) -> dict[str, str]:
    """A plain bundle in which few names meet often: wildcards, patterns, roles of roles, conditions that may fail."""
    effect = draw(
        st.sampled_from(
            (
                "some(where (p.eft == allow))",
                "!some(where (p.eft == deny))",
                "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
                "priority(p.eft) || deny",
                "subjectPriority(p.eft) || deny",
            )
        )
    )
    compared, names = draw(
        st.sampled_from(
            (
                ("keyMatch(r.obj, p.obj)", ("/a", "/a/*", "/*", "/a*", "*")),
                ("regexMatch(r.obj, p.obj)", ("^/a$", "/a/.*", "/.*", "/a", ".*")),
                ("r.obj == p.obj", ("/a", "/a/b")),
                ('(p.obj == "*" || r.obj == p.obj)', ("/a", "*")),
            )
        )
    )
    matcher = " && ".join(
        (
            draw(st.sampled_from(("g(r.sub, p.sub)", '(p.sub == "*" || g(r.sub, p.sub))', "r.sub == p.sub"))),
            compared,
            draw(st.sampled_from(('(p.act == "*" || r.act == p.act)', "r.act == p.act || r.obj == p.act"))),
            "eval(p.rule)",
        )
    )
    rule = st.tuples(
        st.sampled_from(("alice", "admin", "staff", "role:x", "*")),
        st.sampled_from(names),
        st.sampled_from(("read", "read", "*")),
        st.sampled_from(
            ("True", "True", "r.sub.age > 18", 'r.act == "read"', 'r.act == "write"', "r.obj.open == True")
        ),
        st.sampled_from(("allow", "allow", "deny")),
    )
    rows = ["p, " + ", ".join(row) for row in draw(st.lists(rule, min_size=2, max_size=7))]
    links = ("alice, admin", "bob, admin", "admin, staff", "bob, role:x", "role:x, staff")
    rows += [f"g, {link}" for link in draw(st.lists(st.sampled_from(links), unique=True))]
    model = "\n".join(
        (
            "[request_definition]\nr = sub, obj, act",
            "[policy_definition]\np = sub, obj, act, rule, eft",
            "[role_definition]\ng = _, _",
            f"[policy_effect]\ne = {effect}",
            f"[matchers]\nm = {matcher}",
        )
    )
    return {"model.conf": model, "policy.csv": "\n".join(rows)}


CROWDED_REQUESTS = [
    request(subject, action, type=name, subject_attributes=own, object_attributes=of_object)
    for subject, name, action, own, of_object in product(
        ("alice", "bob", "admin", "staff", "*", "nobody"),
        ("/a", "/a/b", "/b", "read", "*", "/*", ""),
        ("read", "write", "*"),
        ({"age": 35}, {"age": 15}, {}),
        ({"open": True}, {}),
    )
]


@settings(max_examples=settings().max_examples // 2)
@given(st.data(), crowded())
def test_crowded_rules_that_are_told_change_nothing(data: st.DataObject, files: dict[str, str]) -> None:
    """So it is where most rules meet others, whatever the effect and whichever condition fails."""
    assert_redundant(files, CROWDED_REQUESTS, lambda count: data.draw(st.integers(0, count - 1)))


DEFINED = """\
name: defined
schema_version: 1
object_types:
  folder: {actions: [read, update]}
  report: {actions: [read, update]}
"""


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, str]:
    """A YAML bundle whose roles inherit, share data domains and repeat themselves."""
    extended = draw(st.booleans())

    def grant() -> str:
        fields = [
            draw(
                st.sampled_from(
                    ("object: folder", 'object: "*"', "objects: [folder, report]", "objects: [folder, folder]")
                )
            ),
            "actions: " + draw(st.sampled_from(("[read]", "[read, update]", '["*"]'))),
            *draw(st.sampled_from(((), (), ("scope: own",)))),
            *draw(st.sampled_from(((), (), ("effect: deny",)))),
            *draw(st.sampled_from(((), ("id: a",)))),
        ]
        if extended:
            condition = draw(st.sampled_from(("", "", "r.obj.open == True", "r.sub == r.owner", "r.type == 'folder'")))
            fields += [f'when: "{condition}"'] if condition else []
        return "{" + ", ".join(fields) + "}"

    lines = ["data_domains:", "  FILES: {objects: [folder, report]}", "roles:"]
    for name, above in (("BASE", ()), ("MIDDLE", ("BASE",)), ("TOP", ("MIDDLE", "BASE"))):
        lines += [f"  {name}:", "    assigned: company"]
        parents = draw(st.lists(st.sampled_from(above), unique=True)) if above else []
        lines += [f"    inherits: [{', '.join(parents)}]"]
        lines += ["    data_domains: [FILES]"] if not draw(st.integers(0, 3)) else []
        grants = [grant() for _ in range(draw(st.integers(0, 3)))]
        lines += ["    grants:", *[f"      - {text}" for text in grants]] if grants else []
    lines += ["assignments:"]
    for subject in ("alice", "bob"):
        role = draw(st.sampled_from(("BASE", "MIDDLE", "TOP")))
        own = f", grants: [{grant()}]" if not draw(st.integers(0, 2)) else ""
        lines += [f"  - {{subject: {subject}, roles: [{role}], company: acme{own}}}"]
    return {
        "model.conf": EXTENDED if extended else BASIC,
        "manifest.yaml": DEFINED,
        "roles.yaml": "\n".join(lines) + "\n",
    }


DEFINED_REQUESTS = [
    request(subject, action, type=kind, id=id, company=company, owner=owner, object_attributes=attributes)
    for subject, action, kind, id, company, owner, attributes in product(
        ("alice", "bob", "nobody"),
        ("read", "update"),
        ("folder", "report"),
        ("a", "b"),
        ("acme", "globex", ""),
        ("alice", ""),
        ({"open": True}, {"open": False}, {}),
    )
]


@settings(max_examples=settings().max_examples // 4)
@given(st.data(), definitions())
def test_grants_in_yaml_that_are_told_change_nothing(data: st.DataObject, files: dict[str, str]) -> None:
    """So it is with grants in YAML, removed with all the rules that their place makes."""
    assert_redundant(files, DEFINED_REQUESTS, lambda count: data.draw(st.integers(0, count - 1)))


CROWD = """\
[request_definition]
r = sub, dom, obj, act
[policy_definition]
p = sub, dom, obj, act, eft
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = (p.sub == "*" || g(r.sub, p.sub, r.dom)) && (p.dom == "*" || r.dom == p.dom) && keyMatch(r.obj, p.obj) \\
    && (p.act == "*" || r.act == p.act)
"""


def calls_for(size: int) -> int:
    """How many calls the review of so many rules takes, with wildcards, patterns and chains of roles among them."""
    rows = [
        f"p, {'*' if n % 50 == 0 else f'role{n % 97}'}, {'*' if n % 7 == 0 else f'd{n % 10}'}, "
        f"/a/{n % 89}/{'*' if n % 3 else n}, {'*' if n % 11 == 0 else 'read'}, {'deny' if n % 31 == 0 else 'allow'}"
        for n in range(size)
    ]
    rows += [f"g, role{n}, role{n + 1}, d{n % 10}" for n in range(96)]
    bundle, snapshot = load({"model.conf": CROWD, "policy.csv": "\n".join(rows)})
    count = 0

    def on_call(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(on_call)
    try:
        assert find_redundant(bundle, snapshot).places
    finally:
        sys.setprofile(None)
    return count


def test_the_work_grows_with_the_number_of_rules() -> None:
    """Four times the rules take about four times the work: no rule is compared with every other."""
    small = calls_for(2_000)
    assert calls_for(8_000) < 5 * small
