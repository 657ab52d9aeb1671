"""Rules of one identity alone: its grants, its shares, the flags that are off for it and what its kind is denied,
beside those of the bundle.

They decide as rows of the standard model would whose subject is the identity: it holds itself, so that what is left of
the matcher is the company, the object, the action, the owner and the condition. The model's effect is the same
over both: a deny wins, then what cannot be evaluated, then what allows.

An id is exact, `*`, or a beginning followed by `*`; in the basic form too, whose own rows know only the first two.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from authz_sidecar.compile.fold import FALSE, TRUE, specialise
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.decide.directory_links import DEFINITION, DirectoryLinks
from authz_sidecar.decide.evaluate import Condition, Evaluator
from authz_sidecar.model.expression import Const, Expr
from authz_sidecar.model.grammar import ExpressionError, parse_expression
from authz_sidecar.model.semantics import EvaluationError
from authz_sidecar.values import Decision, NearMiss, Reason, Request, Rule, Span
from authz_sidecar.values.identity import ANY, Identity, IdentityKind, OwnRule
from authz_sidecar.values.request import ROLE_PREFIX

# Identities whose rules are kept indexed, and rules of all of them together; a full cache is emptied.
MAX_INDEXED = 4_096
MAX_INDEXED_RULES = 262_144
# Different conditions that are kept read; a full cache is emptied.
MAX_CONDITIONS = 16_384
# Rules of an identity that are looked at for near misses.
MAX_EXPLAINED = 10_000
PLACE = "directory:"
"""With the record behind it the file of a rule that no bundle holds: `directory:grant:ID`."""

_OWN = "own"
_ALWAYS = "True"
_FOREVER = float("inf")
_COMPANY, _TYPE, _ACTION = 1, 2, 4
_ALLOWED, _DENIED = Reason.ALLOWED_BY_RULE, Reason.DENIED_BY_RULE
_ERROR, _INVALID = Reason.EVALUATION_ERROR, Reason.INVALID_REQUEST


class Entry(NamedTuple):
    """An own rule as it is looked up: its place among the identity's, and from when it counts. `begin` is that of the
    ids if it is not for one id."""

    number: int
    rule: OwnRule
    begins: float
    begin: str | None

    def counts(self, time: float) -> bool:
        """Whether it is in force."""
        return self.begins <= time < self.rule.ends


class Reading(NamedTuple):
    """A condition, read: as an expression, None for what cannot be read, and what tests it."""

    expr: Expr | None
    holds: Condition


class _Ids:
    """Entries that differ in the id alone."""

    __slots__ = ("begun", "exact", "lengths")

    def __init__(self) -> None:
        self.exact: dict[str, list[Entry]] = {}
        self.begun: dict[str, list[Entry]] = {}
        self.lengths: tuple[int, ...] = ()

    def add(self, entry: Entry) -> None:
        if entry.begin is None:
            self.exact.setdefault(entry.rule.id, []).append(entry)
            return
        if entry.begin not in self.begun and len(entry.begin) not in self.lengths:
            self.lengths = tuple(sorted((*self.lengths, len(entry.begin))))
        self.begun.setdefault(entry.begin, []).append(entry)

    def find(self, id: str, found: list[Entry]) -> None:
        if id in self.exact:
            found += self.exact[id]
        for length in self.lengths:
            if length > len(id):
                break
            found += self.begun.get(id[:length], ())


class IdentityIndex:
    """The rules of one identity, by what they leave free of company, type and action, then by those."""

    __slots__ = ("entries", "identity", "last", "tables")

    def __init__(self, identity: Identity, entries: Iterable[Entry]) -> None:
        self.identity = identity
        self.entries = tuple(entries)
        self.last = max([entry.rule.ends for entry in self.entries], default=0.0)
        self.tables: dict[int, dict[tuple[str, str, str], _Ids]] = {}
        last: tuple[str, str, str] | None = None
        ids = _Ids()
        for entry in self.entries:
            rule = entry.rule
            # Shares come in runs that differ in the id alone.
            if (rule.company, rule.type, rule.action) != last:
                last = company, type, action = rule.company, rule.type, rule.action
                mask = _COMPANY * (company != ANY) | _TYPE * (type != ANY) | _ACTION * (action != ANY)
                key = _key(mask, company, type, action)
                ids = self.tables.setdefault(mask, {}).setdefault(key, _Ids())
            ids.add(entry)

    def find(self, request: Request) -> list[Entry]:
        """The rules that a request's company, object and action match, in their order."""
        found: list[Entry] = []
        for mask, table in self.tables.items():
            ids = table.get(_key(mask, request.company, request.type, request.action))
            if ids is not None:
                ids.find(request.id, found)
        if len(found) > 1:
            found.sort()
        return found


def _key(mask: int, company: str, type: str, action: str) -> tuple[str, str, str]:
    """What rules are looked up by that do not leave free the parts in `mask`."""
    return company if mask & _COMPANY else "", type if mask & _TYPE else "", action if mask & _ACTION else ""


class OwnRules:
    """The rules of identities for one section of the standard model."""

    def __init__(
        self, snapshot: Snapshot, index: SectionIndex, evaluator: Evaluator, directory: DirectoryLinks | None
    ) -> None:
        rules = snapshot.directory_rules
        self._snapshot = snapshot
        self._names = index.section.names
        self._fields = index.section.fields
        self._ptype = index.section.ptype
        self._evaluator = evaluator
        self._directory = directory
        self._extended = rules.form == "extended"
        self._flags = rules.flags
        self._denied = {
            IdentityKind.USER: rules.users.denied,
            IdentityKind.SERVICE_ACCOUNT: rules.service_accounts.denied,
        }
        # Whether there may be rules of identities to which the directory gives none.
        self.concern_everybody = any(self._denied.values()) or any(not flag.default for flag in rules.flags.values())
        # By the identity's address, which stays its own as long as its index holds it.
        self._indexed: dict[int, IdentityIndex] = {}
        self._count = 0
        self._readings: dict[str, Reading] = {}

    def close(self) -> list[dict[Any, Any]]:
        """The caches; to be asked no more."""
        return [self._indexed, self._readings]

    def concern(self, identity: Identity) -> bool:
        """Whether there may be rules of this identity at all."""
        return bool(identity.rules or identity.flags or self.concern_everybody)

    def of(self, identity: Identity) -> IdentityIndex:
        """All rules of an identity."""
        found = self._indexed.get(id(identity))
        if found is None or found.identity is not identity:
            found = IdentityIndex(identity, self._entries(identity))
            size = 1 + len(found.entries)
            if len(self._indexed) >= MAX_INDEXED or self._count + size > MAX_INDEXED_RULES:
                self._indexed.clear()
                self._count = 0
            self._indexed[id(identity)] = found
            self._count += size
        return found

    def knows(self, request: Request) -> bool:
        """Whether the request's subject has a rule of its own that is in force."""
        identity = request.identity
        if identity is None or not self.concern(identity):
            return False
        index, time = self.of(identity), request.time
        return time < index.last and any(entry.counts(time) for entry in index.entries)

    def decide(self, request: Request, decision: Decision) -> Decision:
        """The decision of the bundle and the identity's own rules together; `decision` is the bundle's."""
        reason = decision.reason
        identity = request.identity
        if identity is None or reason is _DENIED or reason is _INVALID:
            return decision
        allowing: Entry | None = None
        failed: Decision | None = None
        for entry in self.of(identity).find(request):
            if allowing is not None and entry.rule.allow and not entry.rule.when:
                continue
            try:
                if not self._holds(entry, request):
                    continue
            except EvaluationError as problem:
                if failed is None:
                    source = entry.rule.source
                    failed = Decision(False, _ERROR, -1, f"{problem} (the rule at {PLACE}{source})", source)
                continue
            if not entry.rule.allow:
                return Decision(False, _DENIED, -1, "", entry.rule.source)
            if allowing is None:
                allowing = entry
        if reason is _ERROR:
            return decision
        if failed is not None:
            return failed
        if decision.allowed or allowing is None:
            return decision
        return Decision(True, _ALLOWED, -1, "", allowing.rule.source)

    def names(self, request: Request) -> bool:
        """Whether one of them allows and names the request's action, rather than any."""
        return any(entry.rule.allow and entry.rule.action == request.action for entry in self._matching(request))

    def deciding(self, request: Request, decision: Decision) -> Rule | None:
        """The own rule that made a decision, as a row; None where none did."""
        if not decision.source or request.identity is None:
            return None
        for entry in self.of(request.identity).find(request):
            if entry.rule.source != decision.source:
                continue
            try:
                if self._holds(entry, request) and entry.rule.allow == decision.allowed:
                    return self.row(request.subject, entry.rule)
            except EvaluationError:
                if decision.reason is _ERROR:
                    return self.row(request.subject, entry.rule)
        return None

    def row(self, subject: str, rule: OwnRule) -> Rule:
        """An own rule as a row of the model, whose place is the record in the directory."""
        values = {
            "sub": subject,
            "dom": rule.company,
            "type": rule.type,
            "id": rule.id,
            "act": rule.action,
            "scope": rule.scope,
            "eft": "allow" if rule.allow else "deny",
            "when": rule.when or _ALWAYS,
        }
        return Rule(self._ptype, tuple([values[field] for field in self._fields]), Span(PLACE + rule.source))

    def near_misses(self, request: Request) -> Iterator[tuple[bool, NearMiss]]:
        """The rules that would have allowed but for one thing, and whether they are about just this request."""
        identity = request.identity
        if identity is None or not self.concern(identity):
            return
        for entry in self.of(identity).entries[:MAX_EXPLAINED]:
            missing = list(self._misses(entry, request)) if entry.rule.allow else []
            if len(missing) == 1:
                miss = NearMiss(self.row(request.subject, entry.rule), *missing[0])
                yield miss.field in ("scope", "ends", "when"), miss

    def _misses(self, entry: Entry, request: Request) -> Iterator[tuple[str, str, str, str]]:
        """What of a rule a request does not meet: field, what the rule says, what the request says, and a sentence."""
        rule = entry.rule
        compared = [
            ("dom", rule.company, request.company, rule.company in (ANY, request.company)),
            ("type", rule.type, request.type, rule.type in (ANY, request.type)),
            ("id", rule.id, request.id, _meets_id(entry, request.id)),
            ("act", rule.action, request.action, rule.action in (ANY, request.action)),
        ]
        for field, wanted, got, met in compared:
            if not met:
                yield field, wanted, got, f"`{field}` is `{got}` in the request, `{wanted}` in the rule"
        if rule.scope == _OWN and request.owner != request.subject:
            yield "scope", rule.scope, request.owner, f"the object's owner is `{request.owner}`, not the subject"
        if not entry.counts(request.time):
            yield "ends", "", "", f"`{rule.source}` has expired"
        if rule.when:
            try:
                holds = self.reading(rule.when).holds(request)
            except EvaluationError:
                holds = False
            if not holds:
                yield "when", rule.when, "false", f"`{rule.when}` does not hold"

    def reading(self, text: str) -> Reading:
        """A condition, read once; what cannot be read cannot be evaluated either."""
        found = self._readings.get(text)
        if found is None:
            if len(self._readings) >= MAX_CONDITIONS:
                self._readings.clear()
            found = self._readings[text] = self._read(text)
        return found

    def _read(self, text: str) -> Reading:
        try:
            expr = specialise(parse_expression(text.strip() or _ALWAYS, self._names), {}, {})
        except ExpressionError as error:
            message = f"the condition cannot be read: {error.message}"

            def fail(_request: Request) -> bool:
                raise EvaluationError(message)

            return Reading(None, fail)
        if isinstance(expr, Const) and expr in (TRUE, FALSE):
            value = expr == TRUE
            return Reading(expr, lambda _request: value)
        return Reading(expr, self._evaluator.condition(expr))

    def _holds(self, entry: Entry, request: Request) -> bool:
        """Whether a rule that the request's company, object and action match holds; raises EvaluationError."""
        rule = entry.rule
        if not entry.begins <= request.time < rule.ends or (rule.scope == _OWN and request.owner != request.subject):
            return False
        return not rule.when or self.reading(rule.when).holds(request)

    def _matching(self, request: Request) -> Iterator[Entry]:
        identity = request.identity
        if identity is None or not identity.active or not self.concern(identity):
            return
        for entry in self.of(identity).find(request):
            try:
                if self._holds(entry, request):
                    yield entry
            except EvaluationError:
                continue

    # --- what an identity has

    def _entries(self, identity: Identity) -> list[Entry]:
        entries: list[Entry] = []
        places: dict[tuple[object, ...], int] = {}
        for rule in identity.rules:
            at = (rule.id, rule.type, rule.action, rule.company, rule.scope, rule.allow, rule.when)
            place = places.setdefault(at, len(entries))
            if place == len(entries):
                entries.append(self._entry(place, rule))
            elif entries[place].rule.ends < rule.ends:
                # Of rules that say the same the one that holds longest is enough.
                entries[place] = self._entry(place, rule)
        for type, actions in self._denied[identity.kind]:
            source = f"kind:{identity.kind.label}"
            for action in actions:
                rule = OwnRule(ANY, type, ANY, action, "platform", False, "", source)
                entries.append(self._entry(len(entries), rule))
        for rule, begins in self._flags_off(identity):
            entries.append(self._entry(len(entries), rule, begins))
        return entries

    def _entry(self, number: int, rule: OwnRule, begins: float = -_FOREVER) -> Entry:
        begin, star, rest = rule.id.partition("*")
        # The extended form ignores what follows a star, as `keyMatch` does; a row of the basic form compares it.
        return Entry(number, rule, begins, begin if star and (self._extended or not rest) else None)

    def _flags_off(self, identity: Identity) -> Iterator[tuple[OwnRule, float]]:
        """The denials of the flags that are off for it, each with the time from which it counts."""
        for name, flag in self._flags.items():
            said = identity.flags.get(name)
            off = not said if said is not None else not flag.default and identity.id not in flag.said_on
            if not off or self._directory is None:
                continue
            windows = [(-_FOREVER, _FOREVER)]
            if not self._assigned(identity.id).intersection(flag.roles):
                windows = self._directory.windows(identity, flag.roles)
            for begins, ends in windows:
                for action in flag.actions:
                    yield OwnRule(ANY, flag.object, ANY, action, "platform", False, "", f"flag:{name}", ends), begins

    def _assigned(self, subject: str) -> frozenset[str]:
        """The roles that the bundle itself gives a subject, wherever, without the model's prefix."""
        graph = self._snapshot.graphs[DEFINITION]
        if subject not in graph.subjects:
            return frozenset()
        found: set[str] = set()
        for held in graph.links.values():
            roles = held.get(subject, ())
            found.update((roles,) if isinstance(roles, str) else roles)
        return frozenset([role.removeprefix(ROLE_PREFIX) for role in found])


def _meets_id(entry: Entry, id: str) -> bool:
    return id == entry.rule.id if entry.begin is None else id.startswith(entry.begin)
