"""What a sidecar logs, replayed and followed under the very policy that decided it: nothing changes, and nothing that
is called unused is needed."""

import math
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.engine import Engine
from authz_sidecar.review.grant_use import UseCounter
from authz_sidecar.review.logged_requests import LogReader
from authz_sidecar.review.replay import Replay
from authz_sidecar.server.decision_log import DecisionLog, Timestamps
from authz_sidecar.server.log_sink import Rotation
from authz_sidecar.server.settings import DecisionLogSettings
from authz_sidecar.values import Request, build_request
from authz_sidecar.values.filter import FilterRequest, build_filter_request
from tests.review.logged import log_line, read_lines
from tests.review.small_bundle import plain_material

# Roles, patterns, denials, attributes of both sides, a token of the context, and a second section that knows the time.
MODEL = """\
[request_definition]
r = sub, obj, act, place
r2 = sub, dom, obj, act
[policy_definition]
p = sub, obj, act, level, eft
p2 = sub, dom, obj, act, start, end
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
e2 = some(where (p2.eft == allow))
[matchers]
m = g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && (r.act == p.act || p.act == "*") \
&& (p.level == "any" || r.sub.level == p.level || r.obj.size > 3)
m2 = r2.sub == p2.sub && r2.dom == p2.dom && keyMatch(r2.obj, p2.obj) && r2.act == p2.act && timeMatch(p2.start, p2.end)
"""
RULES = (
    "p, editor, folder:*, read, any, allow",
    "p, editor, folder:1, *, gold, allow",
    "p, alice, folder:2, update, any, deny",
    "p, viewer, *, read, 3, allow",
    "p, editor, folder:2, update, silver, deny",
    "p, bob, report:*, read, any, allow",
    "p2, alice, acme, folder:*, read, 2026-01-01 00:00:00, 2026-06-01 00:00:00",
    "p2, bob, acme, folder:1, read, _, 2026-02-01 00:00:00",
)
ROLES = "g, alice, editor\ng, bob, viewer\ng, editor, viewer\n"
BOUND = 1_769_904_000.0  # 2026-02-01 00:00:00 UTC
VALUES = st.sampled_from(["gold", "silver", 3, 3.0, None, True, math.nan, math.inf, 1e300, {"a": [math.nan]}])
SUBJECTS = st.sampled_from(["alice", "bob", "editor", "nobody", "ü\u202e"])
TIMES = st.sampled_from([1_767_225_600.0, BOUND - 2.4e-7, BOUND, BOUND + 3e-7, 1_780_272_000 - 2.4e-7, 1_800_000_000.1])


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, Request | FilterRequest]:
    """Something to ask, and as what."""
    kind = draw(st.sampled_from(["check", "explain", "filter"]))
    subject, action, type = (
        draw(SUBJECTS),
        draw(st.sampled_from(["read", "update"])),
        draw(st.sampled_from(["folder", "report"])),
    )
    company = draw(st.sampled_from(["acme", ""]))
    more: dict[str, Any] = {
        "subject_attributes": draw(st.dictionaries(st.just("level"), VALUES)),
        "context": draw(st.sampled_from([{}, {"place": "x"}, {"place": "x"}, {"place": 3}])),
        "time": draw(TIMES),
        "section": draw(st.sampled_from(["", "2", "9"])),
    }
    if kind == "filter":
        asked, _ = build_filter_request(subject, action, type, company=company or None, **more)
        assert asked is not None
        return kind, asked
    attributes = draw(st.dictionaries(st.just("size"), VALUES))
    request, _ = build_request(
        subject,
        action,
        type=type,
        id=draw(st.sampled_from(["1", "2", ""])),
        company=company,
        object_attributes=attributes,
        **more,
    )
    assert request is not None
    return kind, request


MASKS = st.sampled_from(
    [(), ("call_id",), ("context",), ("subject_attributes.level",), ("object.attributes",), ("object.id",)]
)


@given(st.lists(questions(), min_size=1, max_size=30), st.booleans(), MASKS)
@settings(max_examples=100, deadline=None)
def test_a_log_comes_out_as_it_was(
    asked: list[tuple[str, Request | FilterRequest]], attributes: bool, mask: tuple[str, ...]
) -> None:
    """Whatever was asked and is masked, no decision changes under the policy that made it, each line is accounted for,
    and without all grants that are unused together every decision and list that could be followed stays as it is."""
    material = plain_material(MODEL, "\n".join(RULES) + f"\n{ROLES}")
    with tempfile.TemporaryDirectory() as folder:
        log = DecisionLog(DecisionLogSettings(f"{folder}/log.jsonl", 1.0, attributes, mask, b"", Rotation()))
        engine = Engine(log.record)
        engine.load(material.snapshot, "it")
        ids = []
        for kind, question in asked:
            if isinstance(question, FilterRequest):
                ids.append(engine.filter(question).decision_id)
            elif kind == "check":
                ids.append(engine.check(question).decision_id)
            else:
                policy = engine.snapshot_state
                decision = engine.explain(question, policy).decision
                ids.append(engine.explained(question, decision, policy).decision_id)
        log.close()
        (file,) = Path(folder).iterdir()
        lines = file.read_bytes().splitlines()
    reader, replay, counter = LogReader(material.decider), Replay(material.snapshot), UseCounter(material)
    followed = set()
    for replayed in reader.read(lines):
        replay.add(replayed)
        counter.add(replayed)
        followed.add(replayed.logged.decision_id)
    facts = reader.facts
    report = replay.report("it", facts)
    assert (len(lines), report.changes) == (len(asked), ())
    assert (len(followed) + facts.masked, facts.invalid) == (len(asked), 0)

    unused = {grant.span.line for grant in counter.report("it", facts).grants if not grant.used}
    kept = [f"# {rule}" if number in unused else rule for number, rule in enumerate(RULES, 1)]
    less = plain_material(MODEL, "\n".join(kept) + f"\n{ROLES}").decider
    for id, (_, question) in zip(ids, asked, strict=True):
        if id not in followed:
            continue
        if isinstance(question, FilterRequest):
            before, after = material.decider.filter(question), less.filter(question)
            assert (before.kind, before.clauses) == (after.kind, after.clauses)
        else:
            assert material.decider.decide(question).allowed == less.decide(question).allowed


def test_a_moment_is_never_logged_as_a_later_one() -> None:
    """A time just before a second is not logged as that second: a rule that begins there did not hold."""
    assert Timestamps().text(BOUND - 2.4e-7) == "2026-01-31T23:59:59.999999Z"
    assert Timestamps().text(BOUND) == "2026-02-01T00:00:00.000000Z"


def test_a_denial_for_want_of_a_policy_is_no_change() -> None:
    """What was denied before there was a policy is told apart, since no other policy would have changed it."""
    material = plain_material(MODEL, "\n".join(RULES) + f"\n{ROLES}")
    lines = [log_line(allowed=False, reason="no_policy"), log_line(allowed=False, context={"place": "x"})]
    reader, found = read_lines(material.decider, lines)
    assert (reader.facts.unserved, reader.facts.decisions, len(found)) == (1, 1, 1)
