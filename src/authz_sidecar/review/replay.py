"""Replay: what a policy would have decided of what was asked, against what was decided when it was.

What changed is put into groups: by who gained or lost (the role of the rule that allows), what, and the rules on both
sides. Groups are bounded, and count in full.
"""

import msgspec

from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.review.logged_lines import LogFacts, Replayed
from authz_sidecar.values import Request

MAX_GROUPS = 5_000
MAX_SUBJECTS = 1_000
MAX_EXAMPLES = 3
# A made-up line could otherwise stand for more than there are numbers.
LEAST_SAMPLE = 1e-9


class Example(msgspec.Struct, frozen=True):
    """A request of a group, one of its decisions' time and id."""

    request: Request
    time: str
    decision_id: str


class ReplayedChange(msgspec.Struct):
    """Decisions that would have come out otherwise, for one role, action and type of object.

    `allowed` is what would have been decided. `role` is whom the rule that allows (then or now) is for, "" where none
    is known. `was_rule` and `is_rule` are the places of the deciding rules, `was_reason` and `is_reason` the reasons.
    `count` are logged decisions, and `estimate` stands for those that were not sampled, too. `subjects` are some of the
    identities that asked: all of them unless `more_subjects`.
    """

    allowed: bool
    role: str
    action: str
    type: str
    was_rule: str
    is_rule: str
    was_reason: str
    is_reason: str
    first: str = ""
    last: str = ""
    count: int = 0
    estimate: float = 0.0
    subjects: set[str] = msgspec.field(default_factory=set)
    more_subjects: bool = False
    examples: list[Example] = msgspec.field(default_factory=list)

    def add(self, replayed: Replayed) -> None:
        """Count one more."""
        logged, request, _ = replayed
        self.count += 1
        self.estimate += 1 / max(logged.sample, LEAST_SAMPLE)
        self.first = min(self.first or logged.time, logged.time)
        self.last = max(self.last, logged.time)
        if request.subject in self.subjects:
            return
        if len(self.subjects) >= MAX_SUBJECTS:
            self.more_subjects = True
            return
        self.subjects.add(request.subject)
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(Example(request, logged.time, logged.decision_id))


class ReplayReport(msgspec.Struct, frozen=True):
    """What a replay came to: `changes`, the most frequent first, and all decisions by what would have become of them.

    `ungrouped` changes are counted and not among `changes`, of which there would be too many.
    """

    policy_version: str
    facts: LogFacts
    changes: tuple[ReplayedChange, ...]
    same: int
    newly_allowed: int
    newly_denied: int
    ungrouped: int = 0

    @property
    def changed(self) -> int:
        """How many logged decisions would have come out otherwise."""
        return self.newly_allowed + self.newly_denied


class Replay:
    """Compares decisions that were logged with those that `snapshot` makes."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._groups: dict[tuple[object, ...], ReplayedChange] = {}
        self._same = 0
        self._counts = {True: 0, False: 0}
        self._ungrouped = 0

    def add(self, replayed: Replayed) -> None:
        """Compare one decision; a filter is none."""
        logged, request, decision = replayed
        if logged.kind == "filter":
            return
        if decision.allowed == logged.allowed:
            self._same += 1
            return
        self._counts[decision.allowed] += 1
        key = (
            decision.allowed,
            request.action,
            request.type,
            request.section,
            logged.role,
            logged.rule,
            logged.reason,
            decision.rule,
            decision.reason,
        )
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MAX_GROUPS:
                self._ungrouped += 1
                return
            is_rule, is_role = rule_place(self._snapshot, request.section, decision.rule)
            group = self._groups[key] = ReplayedChange(
                decision.allowed,
                is_role if decision.allowed else logged.role,
                request.action,
                request.type,
                logged.rule,
                is_rule,
                logged.reason,
                decision.reason.label,
            )
        group.add(replayed)

    def report(self, policy_version: str, facts: LogFacts) -> ReplayReport:
        """What it came to."""
        changes = sorted(self._groups.values(), key=lambda group: (-group.estimate, group.role, group.action))
        return ReplayReport(
            policy_version,
            facts,
            tuple(changes),
            self._same,
            self._counts[True],
            self._counts[False],
            self._ungrouped,
        )


def rule_place(snapshot: Snapshot, section: str, row: int) -> tuple[str, str]:
    """The place of a rule and whom it is for; nothing for none (-1)."""
    if row < 0:
        return "", ""
    index = snapshot.sections[section]
    table = snapshot.tables[index.section.ptype]
    return str(table.span(row)), index.role_of(table, row)
