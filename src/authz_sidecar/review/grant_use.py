"""Which grants a decision log needed, and which it did not: the least-privilege report.

A grant is used if it decides a logged request, when all of them are decided anew by the policy as it is: an allow, a
deny, or a condition that fails and so denies. A list of objects uses every grant that can put one into it, or keep
one out of it in either way. All that is unused can be taken away together, and every logged request is still decided
as it is now: whatever decided it is still there, and rules that are gone decide nothing. A used grant is
`replaceable` if each of its allowances in the log would be made by another grant, were it alone taken away.
"""

import msgspec

from authz_sidecar.review.exercise import grants_of
from authz_sidecar.review.logged_lines import LogFacts, Replayed
from authz_sidecar.review.material import Material
from authz_sidecar.review.policy_inputs import depends_on_time
from authz_sidecar.values import Reason, Request, Span
from authz_sidecar.values.filter import FilterRequest

# Questions about lists that are followed once.
MAX_LISTS = 10_000


class GrantUse(msgspec.Struct, frozen=True):
    """A grant: whom it is written for, its place, the fields of its first row by name, and whether it allows.

    `decisions` are the logged ones that it decided, `lists` the filters that it could add to, `last` the time of the
    newest ("": none).
    """

    role: str
    span: Span
    fields: dict[str, str]
    allows: bool
    decisions: int = 0
    lists: int = 0
    last: str = ""
    replaceable: bool = False

    @property
    def used(self) -> bool:
        """Whether the log needed it."""
        return bool(self.decisions or self.lists)


class RoleUse(msgspec.Struct, frozen=True):
    """A role or an identity and the grants that are written for it."""

    role: str
    grants: tuple[GrantUse, ...]

    @property
    def unused(self) -> tuple[GrantUse, ...]:
        """Those that the log did not need."""
        return tuple([grant for grant in self.grants if not grant.used])


class UseReport(msgspec.Struct, frozen=True):
    """What a log needed of a policy, by role; `untold` lists had too many grants to follow."""

    policy_version: str
    facts: LogFacts
    roles: tuple[RoleUse, ...]
    untold: int = 0

    @property
    def grants(self) -> tuple[GrantUse, ...]:
        """All grants."""
        return tuple([grant for role in self.roles for grant in role.grants])

    @property
    def unused(self) -> int:
        """How many grants the log did not need."""
        return sum(not grant.used for grant in self.grants)


class _Use:
    """What the log needed one grant for."""

    __slots__ = ("alone", "decisions", "last", "lists")

    def __init__(self) -> None:
        self.decisions = 0
        self.lists = 0
        self.last = ""
        # Whether some of it would be otherwise without the grant.
        self.alone = False


class UseCounter:
    """Counts by grant of `material` which logged requests need it."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._decider = material.decider
        self._timed = depends_on_time(material.snapshot)
        self._grants: dict[str, list[list[int]]] = {}
        # The number of each row's grant.
        self._number: dict[str, dict[int, int]] = {}
        for suffix, table in material.snapshot.rules.items():
            self._grants[suffix] = grants = grants_of(material, table)
            self._number[suffix] = {row: number for number, rows in enumerate(grants) for row in rows}
        self._uses: dict[tuple[str, int], _Use] = {}
        self._lists: dict[tuple[object, ...], list[int] | None] = {}
        self._untold = 0

    def add(self, replayed: Replayed) -> None:
        """Count one logged decision or list."""
        logged, request, decision = replayed
        if logged.kind == "filter":
            self._add_list(request, logged.time)
            return
        if decision.rule < 0:
            return
        use = self._use(request.section, decision.rule, logged.time)
        use.decisions += 1
        if not use.alone:
            # Until one is found that nothing else would allow.
            use.alone = decision.reason is not Reason.ALLOWED_BY_RULE or not self._others(request, decision.rule)

    def _others(self, request: Request, row: int) -> bool:
        """Whether another grant would allow the request, if that of `row` were not there."""
        number = self._number[request.section]
        return any(number[other] != number[row] for other in self._decider.matching(request))

    def _add_list(self, request: Request, time: str) -> None:
        attributes = bool(request.subject_attributes or request.context)
        key = (request.subject, request.action, request.type, request.company, request.section)
        rows = None
        if self._timed or attributes or key not in self._lists:
            rows = self._decider.filter_rows(FilterRequest(request, bool(request.company)))
            if not (self._timed or attributes):
                if len(self._lists) >= MAX_LISTS:
                    self._lists.clear()
                self._lists[key] = rows
        else:
            rows = self._lists[key]
        if rows is None:
            self._untold += 1
            return
        for row in rows:
            use = self._use(request.section, row, time)
            use.lists += 1
            use.alone = True

    def _use(self, section: str, row: int, time: str) -> _Use:
        key = (section, self._number[section][row])
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = _Use()
        use.last = max(use.last, time)
        return use

    def report(self, policy_version: str, facts: LogFacts) -> UseReport:
        """What it came to, for each grant of the policy."""
        by_role: dict[str, list[GrantUse]] = {}
        nothing = _Use()
        for suffix, index in self._material.snapshot.sections.items():
            table = self._material.snapshot.tables[index.section.ptype]
            for number, rows in enumerate(self._grants[suffix]):
                rule = table.rule(rows[0])
                fields = dict(zip(index.section.fields, rule.values, strict=True))
                use = self._uses.get((suffix, number), nothing)
                grant = GrantUse(
                    rule.via[-1] if rule.via else index.role_of(table, rows[0]),
                    rule.span,
                    fields,
                    fields.get("eft", "allow") != "deny",
                    use.decisions,
                    use.lists,
                    use.last,
                    use is not nothing and not use.alone,
                )
                by_role.setdefault(grant.role, []).append(grant)
        roles = tuple([RoleUse(role, tuple(grants)) for role, grants in by_role.items()])
        return UseReport(policy_version, facts, roles, self._untold)
