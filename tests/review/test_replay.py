"""Replay: logged requests decided anew, compared, grouped and counted; and what there is no answer to."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.review import logged_requests
from authz_sidecar.review.logged_requests import LogReader
from authz_sidecar.review.policy_inputs import depends_on_time
from authz_sidecar.review.replay import MAX_SUBJECTS, Replay, ReplayReport
from authz_sidecar.review.report.replay import replay_markdown, replay_object, replay_text
from authz_sidecar.values.logged_decision import LoggedDecision, LoggedObject
from tests.review.logged import NOON, log_line, read_lines
from tests.review.small_bundle import material_of, plain_material

MATERIAL = material_of()
DECIDER = MATERIAL.decider
TIMED = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, start, end
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act && timeMatch(p.start, p.end)
"""
ATTRIBUTES = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, act, level
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.act == p.act && (r.sub == p.sub || r.sub.level == p.level)
"""
WHOLE_CONTEXT = """\
[request_definition]
r = sub, obj, act, context
[policy_definition]
p = sub, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.act == p.act && !("blocked" in r.context)
"""


def replay_of(lines: list[bytes], torn: bool = False) -> ReplayReport:
    """The report on lines, against the small bundle."""
    reader, found = read_lines(DECIDER, lines, torn=torn)
    replay = Replay(MATERIAL.snapshot)
    for replayed in found:
        replay.add(replayed)
    return replay.report("head", reader.facts)


def test_what_comes_out_as_it_did_is_the_same() -> None:
    """A request that is decided as it was is counted as such, whatever its reason was, and decided once."""
    lines = [log_line()] * 3 + [log_line("nobody", allowed=False, reason="denied_by_rule")] * 2
    report = replay_of(lines)
    assert (report.same, report.changed, report.changes) == (5, 0, ())
    assert (report.facts.decisions, report.facts.requests) == (5, 2)
    assert "no decision changes: 5 the same" in replay_text(report)


def test_changes_are_grouped_by_role_and_rule() -> None:
    """What is newly denied stands under the role that the log names, what is newly allowed under the role of the rule
    that allows it now; each with counts, first and last time, identities and examples."""
    export = [
        log_line(
            "carol", "export", "report", time=f"2026-01-{day}T12:00:00.000000Z", role="role:CLERK", rule="old.yaml:3:1"
        )
        for day in (20, 10, 15)
    ]
    more = log_line("dan", "export", "report", role="role:CLERK", rule="old.yaml:3:1")
    create = log_line("dan", "create", allowed=False, decision_id="77")
    report = replay_of([*export, more, create])
    assert (report.newly_denied, report.newly_allowed, report.same) == (4, 1, 0)
    lost, gained = report.changes
    assert (lost.allowed, lost.role, lost.action, lost.type) == (False, "role:CLERK", "export", "report")
    assert (lost.was_rule, lost.is_rule, lost.was_reason, lost.is_reason) == (
        "old.yaml:3:1",
        "",
        "allowed_by_rule",
        "no_matching_rule",
    )
    assert (lost.count, lost.first[:10], lost.last[:10], lost.subjects) == (
        4,
        "2026-01-10",
        "2026-01-31",
        {"carol", "dan"},
    )
    assert [example.request.subject for example in lost.examples] == ["carol", "dan"]
    assert (gained.allowed, gained.role, gained.is_rule) == (True, "role:CHIEF", "roles.yaml:13:20")
    assert gained.examples[0].decision_id == "77"
    text = "\n".join(replay_text(report))
    assert "4 newly denied, 1 newly allowed, 0 the same" in text
    assert "  CLERK\n    export report: 4 decisions of 2 identities, last 2026-01-31T12:00:00Z\n" in text
    assert "was allowed_by_rule (old.yaml:3:1); now no_matching_rule" in text
    assert "such as dan create case:1 in company acme, owner carol (decision 77)" in text


def test_a_rule_that_denies_now_is_named() -> None:
    """What a deny takes away stands under the role that had it, with the place of the deny."""
    (change,) = replay_of([log_line("dan", "delete", role="role:CHIEF", rule="roles.yaml:13:20")]).changes
    assert (change.role, change.is_reason, change.is_rule) == ("role:CHIEF", "denied_by_rule", "roles.yaml:15:9")


def test_samples_stand_for_what_was_not_logged() -> None:
    """A line of a sample stands for others in an estimate beside the count, and the report says that it is one."""
    report = replay_of([log_line("carol", "export", "report", sample=0.1)] * 3)
    (change,) = report.changes
    assert (change.count, round(change.estimate)) == (3, 30)
    text = "\n".join(replay_text(report))
    assert "3 (about 30) decisions" in text
    assert "note: the log is sampled: as little as 0.1 of what was allowed is in it" in text
    made_up = replay_of([log_line("carol", "export", "report", sample=1e-320)])
    assert "1 (about 1,000,000,000) decision" in "\n".join(replay_text(made_up))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"   ",
        b"{",
        b"[]",
        b"nonsense",
        b"\xff\xfe",
        b'{"time":"2026-01-31T12:00:00.000000Z"}',
        b'{"a":' * 2000,
        log_line(time="2026-01-31 12:00"),
        log_line(time="2026-13-31T12:00:00.000000Z"),
        log_line(time="2026-01-31T12:00:00.00000\u0663Z"),
        log_line(subject="role:CHIEF"),
        log_line(subject="x" * 1025),
        log_line(subject="a\nb"),
        log_line(action=""),
        log_line(type="a:b"),
        log_line(role="x" * 5000),
        log_line(context={"a": "x" * 70_000}),
        msgspec.json.encode({"kind": "other", **msgspec.json.decode(log_line())}),
        log_line().replace(b'"allowed":true', b'"allowed":"yes"'),
    ],
    ids=range(20),
)
def test_a_line_that_is_none_is_counted(line: bytes) -> None:
    """What is no line of a log, or asks what no request may ask, is counted as invalid and changes nothing; blank lines
    are nothing at all."""
    report = replay_of([log_line(), line, log_line()])
    assert (report.facts.decisions, report.same) == (2, 2)
    assert report.facts.invalid == (1 if line.strip() else 0)


def test_a_torn_line_is_told_apart() -> None:
    """The last line of a file that does not end in a line break is torn if it is no line, and a line if it is one."""
    whole = log_line()
    torn = replay_of([whole, whole[:50]], torn=True)
    assert (torn.facts.decisions, torn.facts.torn, torn.facts.invalid) == (1, 1, 0)
    complete = replay_of([whole, whole], torn=True)
    assert (complete.facts.decisions, complete.facts.torn) == (2, 0)


def test_fields_of_a_later_version_are_no_fault() -> None:
    """A field that this version does not know is passed over."""
    line = msgspec.json.encode({"later": {"a": 1}, **msgspec.json.decode(log_line())})
    assert replay_of([line]).facts.decisions == 1


@pytest.mark.parametrize("name", ["subject", "action", "object.type", "object.id", "object.company", "object.owner"])
def test_masked_requests_are_not_decided(name: str) -> None:
    """Where a part of the question is hidden there is no answer, and the report counts it; a hidden name of the call is
    no part of it."""
    report = replay_of([log_line(masked=(name,)), log_line(masked=("call_id",))])
    assert (report.facts.decisions, report.facts.masked, report.facts.invalid) == (1, 1, 0)
    assert "note: 1 line could not be decided: what they lack is masked" in replay_text(report)


def test_masked_attributes_matter_where_they_are_read() -> None:
    """A request whose attributes are hidden is decided if the decision needs none of them, and counted if it does."""
    decider = plain_material(ATTRIBUTES, "p, alice, read, 3\np, bob, write, 3\n").decider
    hidden = ("subject_attributes",)
    lines = [
        log_line("alice", "read", masked=hidden),
        log_line("carol", "read", masked=hidden),
        log_line("carol", "none", masked=hidden, allowed=False),
    ]
    reader, found = read_lines(decider, lines)
    assert [replayed.logged.subject for replayed in found] == ["alice", "carol"]
    assert [replayed.decision.allowed for replayed in found] == [True, False]
    assert reader.facts.masked == 1


def test_a_map_that_is_looked_through_must_be_whole() -> None:
    """Where the policy asks whether the context has a key, a context of which something is hidden cannot be decided."""
    decider = plain_material(WHOLE_CONTEXT, "p, alice, read\n").decider
    reader, found = read_lines(
        decider,
        [log_line("alice", masked=("context.blocked",), context={"a": 1}), log_line("alice", context={"a": 1})],
    )
    assert [replayed.decision.allowed for replayed in found] == [True]
    assert reader.facts.masked == 1


def test_time_is_that_of_the_log() -> None:
    """A condition that depends on time is decided at the logged time, for each time anew."""
    material = plain_material(TIMED, "p, alice, case:1, read, 2026-01-01 00:00:00, 2026-02-01 00:00:00\n")
    assert depends_on_time(material.snapshot)
    assert not depends_on_time(MATERIAL.snapshot)
    times = ("2026-01-31T23:59:59.999999Z", "2026-02-01T00:00:01.000000Z", "2025-12-31T23:59:59.000000Z")
    reader, found = read_lines(material.decider, [log_line("alice", time=time) for time in times])
    assert [replayed.decision.allowed for replayed in found] == [True, False, False]
    assert reader.facts.requests == 3


def test_decisions_before_a_time_are_left_out() -> None:
    """Lines older than asked for are counted and not decided."""
    lines = [log_line(time="2026-01-30T12:00:00.000000Z"), log_line()]
    reader, found = read_lines(DECIDER, lines, since=NOON)
    assert len(found) == 1
    assert (reader.facts.outside, reader.facts.first, reader.facts.days) == (1, NOON, {"2026-01-31"})


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of ever new requests does not make the reader keep ever more, and every line is still counted once."""
    monkeypatch.setattr(logged_requests, "MAX_KEPT_BYTES", 10_000)
    reader = LogReader(DECIDER)
    lines = [log_line(f"user{number}", allowed=False) for number in range(200)] * 2
    assert len(list(reader.read(lines))) == 400
    assert reader.facts.requests == 400
    monkeypatch.undo()
    assert read_lines(DECIDER, lines)[0].facts.requests == 200


def test_identities_of_a_group_are_bounded() -> None:
    """Of very many identities some are kept, and that there are more is said."""
    report = replay_of([log_line(f"user{number}", "read") for number in range(MAX_SUBJECTS + 5)])
    (change,) = report.changes
    assert (change.count, len(change.subjects), change.more_subjects) == (MAX_SUBJECTS + 5, MAX_SUBJECTS, True)
    assert f"of {MAX_SUBJECTS:,}+ identities" in "\n".join(replay_text(report))


def test_versions_and_drops_are_told() -> None:
    """The report says which policies decided how much, and what the log itself knows to be missing."""
    report = replay_of([log_line(policy_version="a"), log_line(policy_version="b", dropped=7), log_line()])
    told = replay_object(report)["log"]
    assert told["policy_versions"] == {"a": 1, "b": 1, "base": 1}
    assert told["dropped"] == 7
    assert "note: 7 decisions were not logged, since the log could not keep up" in replay_text(report)


def test_filters_are_no_decisions() -> None:
    """A line about a list is counted as one, and compared with nothing."""
    report = replay_of([log_line(kind="filter", object=LoggedObject("case", company="acme"), allowed=False)])
    assert (report.facts.filters, report.facts.decisions, report.same, report.changed) == (1, 0, 0, 0)


HOSTILE = "x\x1b[2J\u202ey|`<b>@who"


def test_names_cannot_act_where_they_are_shown() -> None:
    """A name of a log is escaped for the terminal and for markdown, wherever it stands."""
    rtl = "\u202ea|`<b>@who"
    report = replay_of([log_line(rtl, rtl, rtl, role=HOSTILE, rule=HOSTILE, reason=HOSTILE, decision_id=HOSTILE)])
    assert report.changed == 1
    text = "\n".join(replay_text(report))
    assert all(character.isprintable() or character == "\n" for character in text)
    markdown = "\n".join(replay_markdown(report))
    assert all(character.isprintable() or character == "\n" for character in markdown)
    assert "<b>" not in markdown
    assert "@who" not in markdown
    assert len({line.count("|") for line in markdown.splitlines() if line.startswith("|")}) == 1


TEXT = st.text(max_size=8)


@given(
    st.lists(
        st.builds(
            LoggedDecision,
            time=st.sampled_from([NOON, "2026-02-30T00:00:00.000000Z", "x"]) | TEXT,
            decision_id=TEXT,
            subject=st.sampled_from(["carol", "dan"]) | TEXT,
            action=st.sampled_from(["read", "export"]) | TEXT,
            object=st.builds(LoggedObject, st.just("case") | TEXT, TEXT, st.just("acme") | TEXT, TEXT),
            allowed=st.booleans(),
            reason=TEXT,
            kind=st.sampled_from(["check", "explain", "filter"]),
            masked=st.lists(TEXT, max_size=1).map(tuple),
            context=st.dictionaries(TEXT, st.none() | st.integers() | TEXT, max_size=2) | st.none(),
            sample=st.sampled_from([0.5, 1.0]),
        ).map(msgspec.json.encode)
        | st.binary(max_size=30).filter(lambda data: b"\n" not in data),
        max_size=6,
    )
)
def test_every_line_is_accounted_for(lines: list[bytes]) -> None:
    """Whatever a log holds, nothing raises, every line that is not blank is counted in one place, and every decision is
    the same or changed."""
    report = replay_of(lines)
    facts = report.facts
    told = [line for line in lines if line and not line.isspace()]
    undecided_filters = len(told) - facts.decisions - facts.masked - facts.invalid
    assert 0 <= undecided_filters <= facts.filters
    assert facts.decisions == report.same + report.changed
    assert sum(change.count for change in report.changes) == report.changed
    for render in (replay_text, replay_markdown, replay_object):
        render(report)
