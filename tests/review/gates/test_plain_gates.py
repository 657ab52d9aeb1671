"""Gates of plain Casbin bundles: models of one's own, objects by name, roles by link, patterns."""

import pytest

from authz_sidecar.review.gates.evaluate import evaluate_state_gates
from tests.review.gates.scenes import change, found, gate, material

AWAY = ", which is in a company in which they hold nothing"

BY_NAME = """\
[request_definition]
r = sub, dom, obj, act

[policy_definition]
p = sub, dom, obj, act

[role_definition]
g = _, _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = g(r.sub, p.sub, r.dom) && (p.dom == "*" || r.dom == p.dom) && keyMatch(r.obj, p.obj) && r.act == p.act
"""
NO_COMPANIES = """\
[request_definition]
r = sub, obj, act

[policy_definition]
p = sub, obj, act

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
"""
ACL = NO_COMPANIES.replace("[role_definition]\ng = _, _\n\n", "").replace(
    "g(r.sub, p.sub)", '(r.sub == p.sub || p.sub == "*")'
)


def plain(gates: str, rows: str, model: str = BY_NAME, **more: str) -> dict[str, str]:
    """A plain bundle with gates."""
    return {"model.conf": model, "policy.csv": rows, "gates.yaml": f"gates:\n{gates}", **more}


def state(files: dict[str, str]) -> list[str]:
    """What the gates find in policies as they are."""
    return found(evaluate_state_gates(material(files)))


ROWS = """\
p, clerk, acme, /docs/*, read
p, boss, acme, /docs/*, write
g, ann, clerk, acme
g, bob, boss, acme
"""


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        (gate("only_roles: {roles: [boss], actions: [write]}"), []),
        (
            gate("only_roles: {roles: [boss], objects: ['/docs/*']}"),
            ["one: the role clerk is allowed types beginning with /docs/: read in acme, which is for boss only"],
        ),
        (
            gate("must_stay_denied: {roles: [clerk], ids: ['/docs/pay*']}"),
            [
                f"one: the role clerk is allowed {what}: read in acme, which must stay denied"
                # The object of the type `/docs/a` and the id `/docs/pay` has a name that begins so, too.
                for what in ("types beginning with /docs/ beginning with /docs/pay", "types beginning with /docs/pay")
            ],
        ),
        (gate("must_stay_denied: {identities: [ann], actions: [write]}"), []),
        (gate("must_stay_allowed: {identities: [ann], objects: ['/docs/*'], actions: [read], companies: [acme]}"), []),
        (
            gate("must_stay_denied: {roles: [cleric], actions: [read]}"),
            ["one?: the gate names the role cleric, which no rule or link has"],
        ),
        (gate("no_cross_company_access: {}"), []),
        (gate("separation_of_duties: {duties: [{roles: [clerk]}, {actions: [write]}]}"), []),
    ],
)
def test_gates_of_rows(gates: str, expected: list[str]) -> None:
    """The kinds mean the same; an object that a model knows by its name alone is told by name."""
    assert state(plain(gates, ROWS)) == expected


def test_cross_company_access_of_rows() -> None:
    """A rule for every company is no way out: who holds its role in one company holds it there only. A rule of an
    identity's own for every company is one."""
    gates = gate("no_cross_company_access: {}")
    assert state(plain(gates, ROWS + "p, clerk, *, /all/*, read\n")) == []
    assert state(plain(gates, ROWS + "p, ann, *, /all/*, read\n")) == [
        f"one: ann is allowed types beginning with /all/: read in every company except acme{AWAY}"
    ]


def test_what_no_rule_denies_is_access_too() -> None:
    """Under an effect that allows what no rule denies, every company is reached by everybody."""
    model = BY_NAME.replace("some(where (p.eft == allow))", "!some(where (p.eft == deny))").replace(
        "p = sub, dom, obj, act", "p = sub, dom, obj, act, eft"
    )
    rows = "p, clerk, acme, /docs/*, read, deny\ng, ann, clerk, acme\n"
    told = state(plain(gate("no_cross_company_access: {}"), rows, model))
    assert f"one: ann is allowed everything in every company except acme{AWAY}" in told
    assert f"one: anyone is allowed everything in every company{AWAY}" in told


def test_domain_patterns_are_homes() -> None:
    """Whoever holds a role in companies that begin alike is at home in each of them."""
    rows = "p, clerk, *, /docs/*, read\ng, ann, clerk, acme/*\n"
    manifest = "name: demo\nschema_version: 1\ncasbin:\n  domain_matching: {g: keyMatch}\n"
    files = plain(gate("no_cross_company_access: {except_roles: [nobody]}"), rows, **{"manifest.yaml": manifest})
    assert state(files) == []


def test_no_companies_cannot_be_shown() -> None:
    """A model that asks for roles without a company has none that is anybody's own."""
    told = state(plain(gate("no_cross_company_access: {}"), "p, clerk, data, read\n", NO_COMPANIES))
    assert [text.partition(":")[0] for text in told] == ["one?"]


def test_inheritance_by_links() -> None:
    """A role that a link gives another role is one of its own: what it inherits is found, and separates duties."""
    rows = "p, maker, data, make\np, checker, data, check\ng, chief, maker\ng, ann, chief\n"
    files = plain(gate("only_roles: {roles: [maker], actions: [make]}"), rows, NO_COMPANIES)
    assert state(files) == [
        f"one: {who} is allowed data without id: make everywhere, which is for maker only"
        for who in ("the role chief", "ann")
    ]
    gates = gate("separation_of_duties: {duties: [{roles: [maker]}, {roles: [checker]}]}")
    assert state(plain(gates, rows, NO_COMPANIES)) == []
    assert state(plain(gates, rows + "g, ann, checker\n", NO_COMPANIES)) == [
        "one: ann holds the role maker everywhere and holds the role checker everywhere"
    ]


def test_what_anyone_may() -> None:
    """A rule for every subject is a grant to those whom nobody has named, whatever their names."""
    rows = "p, *, data, read\np, ann, data, write\n"
    told = "one: anyone is allowed data without id: read everywhere, which must stay denied"
    assert told in state(plain(gate("must_stay_denied: {anyone: true, objects: [data]}"), rows, ACL))
    assert told in state(plain(gate("must_stay_denied: {actions: [read]}"), rows, ACL))
    assert state(plain(gate("must_stay_denied: {anyone: true, actions: [write]}"), rows, ACL)) == []
    # A name that no rule has is anyone's.
    ghost = state(plain(gate("must_stay_denied: {identities: ['gh*'], actions: [read]}"), rows, ACL))
    assert ghost == [told]
    assert state(plain(gate("must_stay_denied: {identities: ['gh*'], except_identities: ['g*']}"), rows, ACL)) == []
    assert (
        state(plain(gate("must_stay_allowed: {anyone: true, objects: [data], ids: [''], actions: [read]}"), rows, ACL))
        == []
    )


def test_a_regular_expression_cannot_be_shown() -> None:
    """Where patterns are no finite sets, a gate about them does not pass in silence."""
    model = BY_NAME.replace("keyMatch", "regexMatch")
    files = plain(
        gate("must_stay_denied: {roles: [clerk], objects: ['/docs/*']}"), "p, clerk, acme, ^/d.*s/, read\n", model
    )
    told = state(files)
    assert told
    assert all(text.startswith("one?: whether") for text in told)


def test_a_role_that_nobody_holds() -> None:
    """Rows do not tell it from an identity; a gate about it is asked all the same, and one that lets it lets it."""
    rows = "p, clerk, acme, /docs/*, write\n"
    assert state(plain(gate("must_stay_denied: {roles: [clerk], actions: [write]}"), rows)) == [
        "one: clerk is allowed types beginning with /docs/: write in acme, which must stay denied"
    ]
    assert state(plain(gate("only_roles: {roles: ['cl*'], actions: [write]}"), rows)) == []


def test_a_role_that_goes_takes_approval() -> None:
    """In rows, too, a gate of the base is not got round by another name for its role."""
    gates = gate("must_stay_denied: {roles: [clerk], actions: [write]}")
    renamed = ROWS.replace("clerk", "scribe") + "p, scribe, acme, /docs/*, write\n"
    told = change(plain(gates, ROWS), plain(gates, renamed))
    gone = "the gate one names the role clerk, which the head no longer has, and nobody has approved it"
    assert f"gates.yaml?: {gone}" in told


def test_numbered_sections() -> None:
    """A gate is about every section of the model, or the one that it names."""
    two = (
        ACL.replace("r = sub, obj, act", "r = sub, obj, act\nr2 = sub, obj, act")
        .replace("p = sub, obj, act", "p = sub, obj, act\np2 = sub, obj, act")
        .replace("e = some", "e2 = some(where (p.eft == allow))\ne = some")
        .replace("m = (r.sub", "m2 = r2.sub == p2.sub && r2.obj == p2.obj && r2.act == p2.act\nm = (r.sub")
    )
    rows = "p2, ann, data, write\n"
    expected = "one: ann is allowed data without id: write (section 2) everywhere, which must stay denied"
    assert state(plain(gate("must_stay_denied: {actions: [write]}"), rows, two)) == [expected]
    assert state(plain(gate("must_stay_denied: {actions: [write], section: '2'}"), rows, two)) == [expected]
    assert state(plain(gate("must_stay_denied: {actions: [read]}"), rows, two)) == []


@pytest.mark.parametrize(
    ("gates", "rows", "told"),
    [
        (
            "must_stay_denied: {identities: [ann], actions: [write]}",
            "p, ann, acme, /x, write\n",
            "the role ann is allowed /x without id: write in acme, which must stay denied",
        ),
        (
            "must_stay_denied: {identities: ['*'], except_identities: [bob], actions: [write]}",
            "p, ann, acme, /x, write\n",
            "the role ann is allowed /x without id: write in acme, which must stay denied",
        ),
        (
            "must_stay_allowed: {identities: [ann], objects: [/x], ids: [''], actions: [read], companies: [acme]}",
            "",
            "ann is denied /x without id: read in acme, which must stay allowed",
        ),
        (
            "no_cross_company_access: {}",
            "p, ann, *, /x, write\n",
            f"the role ann is allowed /x without id: write in every company except acme{AWAY}",
        ),
    ],
)
def test_an_identity_that_is_made_a_role_does_not_escape(gates: str, rows: str, told: str) -> None:
    """One link makes a role of an identity, and what a gate says of the identity holds on."""
    head = plain(gate(gates), f"{ROWS}{rows}g, zoe, ann, acme\n")
    assert f"one: {told}" in change(plain(gate(gates), ROWS), head)


def test_roles_are_no_identities() -> None:
    """A gate about every identity leaves alone what was a role before."""
    gates = gate("must_stay_denied: {identities: ['*'], except_roles: [boss], actions: [write]}")
    rows = ROWS + "p, ruler, acme, /x, write\ng, boss, ruler, acme\n"
    assert [text for text in change(plain(gates, rows), plain(gates, rows)) if "ruler" in text] == []
