"""Lines that rest on a directory, decided anew by the identities that it has now, by the policy that they name."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from authz_sidecar.decide.decider import Decider
from authz_sidecar.review import identified_requests
from authz_sidecar.review.identified_requests import IdentifiedRequests, LoggedPolicy
from authz_sidecar.review.logged_requests import LogReader
from authz_sidecar.review.replay import Replay, ReplayReport
from authz_sidecar.review.report.replay import replay_text
from authz_sidecar.values.identity import Identity, IdentityKind, OwnRule, RoleSet, TimedRole
from authz_sidecar.values.logged_decision import LoggedObject
from tests.review.logged import NOON, log_line
from tests.review.small_bundle import ROLES, material_of

NOON_SECONDS = 1_769_860_800.0
CLERK = RoleSet({"acme": ("CLERK",)})
WITH_CONDITION = ROLES.replace(
    "{object: case, actions: [read, update]}", "{object: case, actions: [read], when: 'r.sub.level == 3'}"
)
# Clerks may do nothing to cases but delete them.
OTHER = ROLES.replace("{object: case, actions: [read, update]}", "{object: case, actions: [delete]}")


def line(subject: str = "eve", action: str = "read", **more: Any) -> bytes:
    """A line of a sidecar with a directory, on a case of acme."""
    return log_line(subject, action, directory_revision=1, **more)


def replay_of(lines: list[bytes], *identities: Identity, base: str = ROLES, head: str = OTHER) -> ReplayReport:
    """The report on lines that `base` decided, against `head`, with these identities in the directory."""
    known = {identity.id: identity for identity in identities}
    policy, other = LoggedPolicy.of(_decider(base)), _decider(head)

    def find(ids: Collection[str]) -> tuple[int, Mapping[str, Identity]]:
        return 7, {id: known[id] for id in ids if id in known}

    identified = IdentifiedRequests(other, lambda version: policy if version == "base" else None, find)
    reader = LogReader(other, identified=identified)
    replay = Replay(other.snapshot)
    for replayed in reader.read(lines):
        replay.add(replayed)
    return replay.report("head", reader.facts)


def _decider(roles: str) -> Decider:
    return material_of(roles, extended=True).decider


def user(id: str = "eve", **more: Any) -> Identity:
    """A clerk of acme."""
    return Identity(id, IdentityKind.USER, "acme", **{"roles": CLERK, **more})


def directory_of(report: ReplayReport) -> dict[str, Any]:
    """What became of the lines."""
    facts = report.facts.directory
    assert facts is not None
    return {
        "decisions": facts.decisions,
        "changed": (facts.changed, facts.changed_differently),
        "left_out": {str(why): count for why, count in facts.left_out.items()},
    }


def test_a_change_of_the_policy_is_told_from_one_of_the_directory() -> None:
    """What the logged policy still decides is compared with the other one; what it would decide otherwise now is
    counted alone, and so is on how many of these the two differ."""
    report = replay_of([line(), line(allowed=False), line(action="delete", allowed=False)], user())
    assert (report.newly_denied, report.newly_allowed, report.same) == (1, 1, 0)
    assert directory_of(report) == {"decisions": 2, "changed": (1, 1), "left_out": {}}
    assert (
        "note: the directory has changed since 1 decision, which were left out; by its identities of now the two"
        " policies differ on 1 of them"
    ) in replay_text(report)


def test_the_rule_that_was_is_that_of_the_logged_policy() -> None:
    """Where another rule of the logged policy decides the same now, a change is told of that rule and its role."""
    report = replay_of([line(rule="roles.yaml:99:1", role="role:CHIEF")], user())
    assert [(change.role, change.was_rule) for change in report.changes] == [("role:CLERK", "roles.yaml:8:9")]


@pytest.mark.parametrize(
    ("logged", "why"),
    [
        (line("", allowed=False, reason="invalid_credential"), "nobody"),
        (line(allowed=False, reason="company_not_held"), "company_not_held"),
        (line(credential="jwt:https://idp.example"), "jwt"),
        (line(policy_version="other"), "policy"),
        (line("gone"), "gone"),
        (line("gone", credential="key:1", allowed=False, reason="unknown_subject"), "gone"),
        (line(actor="gone", allowed=False, reason="impersonation_not_allowed"), "gone"),
    ],
    ids=["nobody", "company", "jwt", "policy", "gone", "gone-with-a-key", "actor-gone"],
)
def test_what_cannot_be_told_is_left_out_by_reason(logged: bytes, why: str) -> None:
    """A line that the log, the directory or the policies do not tell enough about is counted by why."""
    report = replay_of([logged], user())
    assert directory_of(report) == {"decisions": 0, "changed": (0, 0), "left_out": {why: 1}}
    assert (report.same, report.changed, report.facts.decisions) == (0, 0, 0)


def test_a_line_that_is_no_request_is_asked_of_nobody() -> None:
    """What no request may be is counted as invalid, and the directory is not asked for names that it could not have; a
    list is no decision, and a hidden subject is nobody."""
    lines = [
        line("a\nb"),
        line(actor="a\x00b"),
        line(kind="filter", object=LoggedObject("case", company="acme")),
        line(masked=("subject",)),
    ]
    asked: list[str] = []

    def find(ids: Collection[str]) -> tuple[int, Mapping[str, Identity]]:
        asked.extend(ids)
        return 7, {}

    decider = _decider(ROLES)
    reader = LogReader(decider, identified=IdentifiedRequests(decider, lambda _version: None, find))
    assert not list(reader.read(lines))
    facts = reader.facts
    assert (asked, facts.invalid, facts.filters, facts.masked) == ([], 2, 1, 1)


def test_time_is_that_of_the_line() -> None:
    """A role that is held for a time, and a grant that ends, count at the time of each line."""
    timed = user(roles=RoleSet({}), timed=(TimedRole("CLERK", "acme", NOON_SECONDS),))
    granted = user(
        "bob", roles=RoleSet({}), rules=(OwnRule("acme", "case", "*", "read", "company", True, ends=NOON_SECONDS),)
    )
    before = NOON.replace("12:00:00.000000", "11:59:59.999999")
    lines = [
        line(name, time=at, allowed=at != NOON, reason=reason)
        for name, at, reason in (
            ("eve", before, "allowed_by_rule"),
            ("eve", NOON, "no_role_in_company"),
            ("bob", before, "allowed_by_rule"),
            ("bob", NOON, "no_role_in_company"),
        )
    ]
    report = replay_of(lines, timed, granted, head=ROLES)
    assert (directory_of(report)["decisions"], report.same, report.facts.requests) == (4, 4, 4)


def test_hidden_attributes_are_not_taken_from_the_directory() -> None:
    """A request may have said otherwise what the directory knows of its subject: where a line hides that, nothing is
    decided by it."""
    known = user(attributes={"level": 3})
    lines = [line(), line(masked=("subject_attributes",)), line(masked=("subject_attributes.level",))]
    report = replay_of(
        [*lines, line(masked=("subject_attributes.other",))], known, base=WITH_CONDITION, head=WITH_CONDITION
    )
    assert (directory_of(report)["decisions"], report.same, report.facts.masked) == (2, 2, 2)
    condition = OwnRule("acme", "case", "*", "update", "company", True, when='"a" in r.context')
    report = replay_of([line(masked=("context.a",))], user(rules=(condition,)), head=ROLES)
    assert report.facts.masked == 1


def test_others_are_acted_for_as_both_are_now() -> None:
    """An impersonated line is decided for the user by the leave of the service account, under both policies."""
    share = OwnRule("acme", "case", "1", "impersonate", "company", True)
    robot = Identity("robot", IdentityKind.SERVICE_ACCOUNT, "acme", rules=(share,))
    lines = [
        line(actor="robot"),
        line(
            actor="robot", object=LoggedObject("case", "2", "acme"), allowed=False, reason="impersonation_not_allowed"
        ),
    ]
    report = replay_of(lines, user(), robot)
    assert (report.newly_denied, report.same) == (1, 1)
    assert directory_of(report)["decisions"] == 2


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that come again are decided once, within a bound."""
    lines = [line(f"user{number}") for number in range(20)] * 2
    people = [user(f"user{number}") for number in range(20)]
    assert replay_of(lines, *people).facts.requests == 20
    monkeypatch.setattr(identified_requests, "MAX_KEPT_BYTES", 2_000)
    report = replay_of(lines, *people)
    assert (report.facts.requests, report.newly_denied) == (40, 40)
