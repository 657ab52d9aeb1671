"""What a directory knows of an identity decides as the same holdings would that stand in the bundle."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from authz_sidecar.values import Reason, Request
from authz_sidecar.values.filter import FilterRequest, build_filter_request
from tests.decide.casbin_judge import Raised, enforcer, judge
from tests.decide.directory_worlds import ACTIONS, COMPANIES, NOW, SUBJECT, TYPES, World, questions, worlds
from tests.decide.test_filter_against_check import agree

BY_RULE = (Reason.ALLOWED_BY_RULE, Reason.DENIED_BY_RULE)


def with_attributes(world: World, request: Request) -> Request:
    """The request as it is asked where nothing but the request tells attributes."""
    if request.subject != SUBJECT:
        return request
    return replace(request, subject_attributes={**world.identity.attributes, **request.subject_attributes})


@settings(max_examples=settings().max_examples // 2)
@given(worlds(), st.lists(questions(), min_size=6, max_size=10))
def test_facts_decide_as_assignments_do(world: World, requests: list[Request]) -> None:
    """Roles, grants and flags of an identity in a directory decide, with their reason, as a bundle that assigns them
    to it, and as pycasbin on that bundle's rows."""
    theirs = enforcer(world.model, world.rows)
    for request in requests:
        plain = with_attributes(world, request)
        expected, found = world.merged.decide(plain), world.decider.decide(world.asked(request))
        assert found.allowed == expected.allowed, (world.rows, world.identity, request, found, expected)
        if expected.reason is Reason.UNKNOWN_SUBJECT:
            assert found.reason is Reason.NO_ROLE_IN_COMPANY
        else:
            assert found.reason is expected.reason, (world.rows, world.identity, request, found, expected)
        assert world.decider.roles(world.asked(request)) == world.merged.roles(plain)
        try:
            judged = judge(theirs, plain)
        except Raised:
            judged = False
        assert found.allowed == judged, (world.rows, world.identity, request)


@settings(max_examples=settings().max_examples // 2)
@given(worlds(), st.lists(questions(), min_size=4, max_size=8))
def test_an_explanation_shows_the_rule_that_decided(world: World, requests: list[Request]) -> None:
    """Whatever decided by rule is shown: a row of the bundle with its place, or the record in the directory; and what
    the roles of the directory led to has a path."""
    for request in requests:
        asked = world.asked(request)
        explanation = world.decider.explain(asked)
        decision = explanation.decision
        if decision.reason in BY_RULE:
            assert (decision.rule >= 0) != bool(decision.source)
            assert explanation.rule is not None
            values = dict(zip(explanation.fields, explanation.rule.values, strict=True))
            assert values["eft"] == ("allow" if decision.allowed else "deny")
            assert values["act"] in ("*", request.action)
            assert explanation.role_path[0] == request.subject
            if decision.source:
                assert explanation.rule.span.file == f"directory:{decision.source}"
                assert values["sub"] == request.subject
        elif decision.reason is not Reason.EVALUATION_ERROR:
            assert explanation.rule is None


def objects(asked: FilterRequest) -> Iterator[Request]:
    """The checks of many objects of the type that is asked about."""
    question = asked.request
    companies: tuple[str, ...] = (question.company,) if asked.narrowed else (*COMPANIES, "*", "", "nowhere")
    attributes: tuple[dict[str, Any], ...] = ({}, {"level": 5}, {"level": 1})
    ids = ("1", "2", "2024-1", "2024-12", "*")
    for company, id, owner, more in product(companies, ids, (question.subject, "bob", ""), attributes):
        yield replace(
            question, company=company, id=id, owner=owner, object=f"{question.type}:{id}", object_attributes=more
        )


@settings(max_examples=settings().max_examples // 2)
@given(
    worlds(),
    st.sampled_from((None, None, *COMPANIES, "")),
    st.sampled_from(TYPES),
    st.sampled_from(ACTIONS),
    st.sampled_from(({}, {"mfa": True}, {"mfa": False})),
)
def test_filters_with_facts_agree_with_checks(
    world: World, company: str | None, kind: str, action: str, context: dict[str, Any]
) -> None:
    """A filter for an identity in a directory agrees with the check of every object. It is exact wherever the filter of
    the bundle that assigns the same is, unless a rule of the identity's own asks for the roles of owners, of whom the
    bundle keeps no list if no rule of its own does."""
    question, violations = build_filter_request(SUBJECT, action, kind, company=company, context=context, time=NOW)
    assert question is not None, violations
    asked = replace(question, request=replace(question.request, identity=world.identity))
    found = agree(world.decider, asked, objects(asked), (world.rows, world.identity))
    plain = replace(question, request=with_attributes(world, question.request))
    expected = world.merged.filter(plain)
    asks_owners = any("g(r.owner" in rule.when for rule in world.identity.rules)
    assert found.exact == expected.exact or (asks_owners and not found.exact)
    if expected.reason is not Reason.UNKNOWN_SUBJECT:
        assert found.reason is expected.reason
