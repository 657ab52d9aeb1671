"""The engine: which policy answers, and what an answer names."""

import gc
import weakref

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.engine import Engine
from authz_sidecar.values import Reason, Request, build_request

MODEL = b"""
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act
"""


def snapshot_of(*rows: str) -> Snapshot:
    """The snapshot of a bundle with these rows of policy."""
    files = {"model.conf": MODEL, "policy.csv": "".join(f"p, {row}\n" for row in rows).encode()}
    bundle, diagnostics = parse_bundle(files, "test")
    assert bundle is not None, diagnostics
    snapshot, diagnostics = compile_bundle(bundle)
    assert snapshot is not None, diagnostics
    return snapshot


def question(subject: str = "alice") -> Request:
    """May the subject read the door?"""
    request, violations = build_request(subject, "read", type="door")
    assert request is not None, violations
    return request


def test_without_a_policy_the_answer_is_a_deny() -> None:
    """Before the first load every answer is a deny with NO_POLICY, explained or not."""
    engine = Engine()
    answer = engine.check(question())
    explanation = engine.explain(question(), engine.snapshot_state)
    explained = engine.answer(explanation.decision, engine.snapshot_state)
    for given in (answer, explained):
        assert (given.decision.allowed, given.decision.reason, given.policy_version) == (False, Reason.NO_POLICY, "")
    assert explanation.rule is None


def test_a_load_replaces_the_policy() -> None:
    """After a load answers come from the new policy and name its version."""
    engine = Engine()
    engine.load(snapshot_of("alice, door, read"), "one")
    assert (engine.check(question()).decision.allowed, engine.check(question()).policy_version) == (True, "one")
    engine.load(snapshot_of("bob, door, read"), "two")
    assert (engine.check(question()).decision.allowed, engine.check(question()).policy_version) == (False, "two")
    assert engine.check(question("bob")).decision.allowed


def test_a_held_policy_goes_on_answering() -> None:
    """Whoever holds the state from before a load, as a batch does, gets all answers from that policy."""
    engine = Engine()
    engine.load(snapshot_of("alice, door, read"), "one")
    held = engine.snapshot_state
    engine.load(snapshot_of("bob, door, read"), "two")
    answer = engine.check(question(), held)
    assert (answer.decision.allowed, answer.policy_version) == (True, "one")
    explained = engine.answer(engine.explain(question(), held).decision, held)
    assert (explained.decision.allowed, explained.policy_version) == (True, "one")
    assert engine.refuse("no", held).policy_version == "one"


def test_a_state_held_from_before_the_first_load_still_denies() -> None:
    """A batch that began without a policy ends without one, also if a policy arrives meanwhile."""
    engine = Engine()
    held = engine.snapshot_state
    engine.load(snapshot_of("alice, door, read"), "one")
    assert engine.check(question(), held).decision.reason is Reason.NO_POLICY


def test_answers_have_names_of_their_own() -> None:
    """No two answers share an id, in one engine or in two."""
    engines = [Engine(), Engine()]
    ids = [engine.check(question()).decision_id for engine in engines for _ in range(100)]
    ids += [engine.refuse("no").decision_id for engine in engines]
    assert len(set(ids)) == len(ids)


def test_a_refusal_is_a_deny() -> None:
    """What is no valid request is denied with INVALID_REQUEST and what is wrong with it."""
    decision = Engine().refuse("action is empty").decision
    assert (decision.allowed, decision.reason, decision.detail) == (False, Reason.INVALID_REQUEST, "action is empty")


def test_a_replaced_policy_is_freed() -> None:
    """A snapshot that was frozen when it was loaded does not stay in memory once it is replaced."""
    engine = Engine()
    engine.load(snapshot_of("alice, door, read"), "one")
    state = engine.snapshot_state
    assert state.decider is not None
    replaced = weakref.ref(state.decider)
    del state
    engine.load(snapshot_of("bob, door, read"), "two")
    gc.unfreeze()
    assert replaced() is None
