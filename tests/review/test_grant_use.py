"""Grant use: which grants decide what was logged, and that the others may go."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.review.grant_use import GrantUse, UseCounter, UseReport
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.grant_use import use_markdown, use_object, use_text
from authz_sidecar.values.logged_decision import LoggedObject
from tests.review.logged import log_line, read_lines
from tests.review.small_bundle import material_of, plain_material

MATERIAL = material_of()
ORDERED = """\
[request_definition]
r = sub, act
[policy_definition]
p = sub, act, eft
[role_definition]
g = _, _
[policy_effect]
e = {effect}
[matchers]
m = g(r.sub, p.sub) && r.act == p.act
"""
EFFECTS = (
    "some(where (p.eft == allow))",
    "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "priority(p.eft) || deny",
    "!some(where (p.eft == deny))",
)
FAILING = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, act, level
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.act == p.act && r.sub.level == p.level
"""


def use_of(lines: Iterable[bytes], material: Material = MATERIAL) -> UseReport:
    """The report on lines."""
    reader, found = read_lines(material.decider, list(lines))
    counter = UseCounter(material)
    for replayed in found:
        counter.add(replayed)
    return counter.report("head", reader.facts)


def used(report: UseReport) -> list[tuple[str, str, str]]:
    """Role, action and type of the grants that are used."""
    return [(grant.role, grant.fields["act"], grant.fields["type"]) for grant in report.grants if grant.used]


def grant_of(report: UseReport, role: str, action: str, kind: str) -> GrantUse:
    """One of the grants."""
    (found,) = [
        grant
        for grant in report.grants
        if (grant.role, grant.fields["act"], grant.fields["type"]) == (role, action, kind)
    ]
    return found


def test_a_grant_is_used_by_what_it_decides() -> None:
    """A grant counts the logged requests that it allows; one that allows none is unused, and stands under its role."""
    report = use_of([log_line(), log_line(time="2026-01-30T12:00:00.000000Z"), log_line("nobody", allowed=False)])
    assert used(report) == [("role:CLERK", "read", "case")]
    read = grant_of(report, "role:CLERK", "read", "case")
    assert (read.decisions, read.last, read.span.line) == (2, "2026-01-31T12:00:00.000000Z", 8)
    clerk = next(role for role in report.roles if role.role == "role:CLERK")
    assert [grant.fields["act"] for grant in clerk.unused] == ["update", "read"]
    text = "\n".join(use_text(report, "a day"))
    assert "8 of 9 grants unused by 3 decisions" in text
    assert "CLERK: 2 of 3 grants unused (67%)\n  roles.yaml:8:9 1 of 2\n    update case scope=company\n" in text


def test_what_counts_is_the_policy_as_it_is() -> None:
    """Not what was logged decides what is used, but what the policy says of the request now."""
    report = use_of([log_line("carol", "update", allowed=False)])
    assert used(report) == [("role:CLERK", "update", "case")]


def test_what_roles_inherit_is_used_where_it_is_written() -> None:
    """A grant that a role has from another counts for the one that it is written for."""
    assert used(use_of([log_line("dan", "read", "report", object=LoggedObject("report", "1", "acme", "dan"))])) == [
        ("role:CLERK", "read", "report")
    ]


def test_a_deny_is_used_by_what_it_denies() -> None:
    """A deny counts what it denies, and the allow that it outweighs counts nothing."""
    report = use_of([log_line("dan", "delete", allowed=False)])
    assert [(grant.role, grant.allows, grant.decisions) for grant in report.grants if grant.used] == [
        ("role:CHIEF", False, 1)
    ]


def test_a_condition_that_fails_is_used() -> None:
    """A rule whose condition cannot be evaluated, so that it denies, is used: without it the answer may be other."""
    material = plain_material(FAILING, "p, alice, read, 3\np, alice, write, 3\n")
    report = use_of([log_line("alice", "read", allowed=False)], material)
    assert [grant.used for grant in report.grants] == [True, False]


def test_what_another_grant_would_allow_is_replaceable() -> None:
    """A used grant without which all it allowed would still be allowed is marked; one that is needed once is not."""
    rows = "p, editor, read, allow\np, alice, read, allow\ng, alice, editor\ng, bob, editor\n"
    material = plain_material(ORDERED.format(effect=EFFECTS[0]), rows)
    report = use_of([log_line("alice", "read")], material)
    assert [(grant.used, grant.replaceable) for grant in report.grants] == [(True, True), (False, False)]
    assert "  replaceable  read  policy.csv:1:1, last " in "\n".join(use_text(report, ""))
    report = use_of([log_line("alice", "read"), log_line("bob", "read")], material)
    assert [(grant.used, grant.replaceable) for grant in report.grants] == [(True, False), (False, False)]


def test_lists_use_all_that_they_rest_on() -> None:
    """A question for a list uses every grant that can put an object into it, wherever it was asked."""
    line = log_line("dan", "delete", kind="filter", object=LoggedObject("case", company="acme"), allowed=False)
    report = use_of([line, line])
    # The deny covers all that the allow could add.
    assert [(grant.role, grant.allows, grant.lists) for grant in report.grants if grant.used] == [
        ("role:CHIEF", False, 2)
    ]
    line = log_line("dan", "update", kind="filter", object=LoggedObject("case", company="acme"))
    assert used(use_of([line])) == [("role:CHIEF", "update", "case")]
    assert report.facts.filters == 2
    everywhere = log_line("dan", "read", kind="filter", object=LoggedObject("report"))
    assert used(use_of([everywhere])) == [("role:CLERK", "read", "report")]
    assert "unused by 0 decisions and 2 lists" in use_text(report, "")[0]


def test_each_row_of_a_csv_is_a_grant() -> None:
    """In a plain bundle each row stands for itself, under the subject that it names."""
    model = ORDERED.format(effect=EFFECTS[0])
    material = plain_material(model, "p, editor, read, allow\np, alice, write, allow\ng, alice, editor\n")
    report = use_of([log_line("alice", "write")], material)
    assert [(role.role, len(role.unused)) for role in report.roles] == [("editor", 1), ("alice", 0)]
    assert [grant.span.line for grant in report.grants] == [1, 2]


NAMES = st.sampled_from(("alice", "bob", "editor", "author"))
ACTIONS = st.sampled_from(("read", "write"))
ROWS = st.lists(st.tuples(NAMES, ACTIONS, st.sampled_from(("allow", "deny"))), min_size=1, max_size=8)
LINKS = st.sets(st.sampled_from((("alice", "editor"), ("bob", "author"), ("editor", "author"))))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(EFFECTS), ROWS, LINKS, st.lists(st.tuples(NAMES, ACTIONS), max_size=6), st.sets(st.integers(0, 7))
)
def test_all_that_is_unused_can_go(
    effect: str,
    rows: list[tuple[str, str, str]],
    links: set[tuple[str, str]],
    asked: list[tuple[str, str]],
    spared: set[int],
) -> None:
    """A policy without its unused grants, or without any part of them, decides all that was logged as before."""
    model = ORDERED.format(effect=effect)
    given_links = [f"g, {name}, {role}" for name, role in sorted(links)]
    material = plain_material(model, "\n".join([*(f"p, {', '.join(row)}" for row in rows), *given_links]))
    lines = [log_line(subject, action) for subject, action in asked]
    report = use_of(lines, material)
    unused = {grant.span.line - 1 for grant in report.grants if not grant.used} - spared
    kept = [f"p, {', '.join(row)}" for number, row in enumerate(rows) if number not in unused]
    if not kept:
        # A policy without any rule denies everything, whatever its effect.
        return
    smaller = plain_material(model, "\n".join([*kept, *given_links]))
    before, after = (read_lines(one.decider, lines)[1] for one in (material, smaller))
    assert [found.decision.allowed for found in before] == [found.decision.allowed for found in after]


def test_names_cannot_act_where_they_are_shown() -> None:
    """A name of a policy is escaped for the terminal and for markdown."""
    hostile = "a\u202e|`<b>@who"
    # Not quoted: that would be part of the name.
    material = plain_material(ORDERED.format(effect=EFFECTS[0]), f"p, {hostile}, read, allow\n")
    report = use_of([log_line("alice", "read", allowed=False)], material)
    assert report.unused == 1
    for lines in (use_text(report, ""), use_markdown(report, "")):
        assert all("\n".join(lines).replace("\n", "").isprintable() for _ in lines)
    markdown = "\n".join(use_markdown(report, ""))
    assert "<b>" not in markdown
    assert "@who" not in markdown
    assert use_object(report)["roles"][0]["role"] == hostile


@pytest.mark.parametrize("form", [use_text, use_markdown])
def test_a_policy_whose_every_grant_is_used_says_so(form: type) -> None:
    """With nothing unused there is nothing under any role."""
    material = plain_material(ORDERED.format(effect=EFFECTS[0]), "p, alice, read, allow\n")
    text = "\n".join(form(use_of([log_line("alice", "read")], material), "a day"))
    assert "0 of 1 grant unused" in text
    assert "policy.csv" not in text
