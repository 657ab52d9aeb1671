"""Clauses in their simplest form: merged, without what decides nothing, and whether they are exact.

What comes in is an ordered list of clauses, allowing and denying, of which the first that an object matches decides;
that list is right with the conditions of its clauses. What goes out is right without them, in one direction: it passes
every object that the list passes.
"""

from itertools import groupby

from msgspec.structs import replace

from authz_sidecar.values import Reason
from authz_sidecar.values.filter import Clause, FilterKind, ObjectFilter
from authz_sidecar.values.texts import ANY, Texts, unite

# Beyond this many clauses after merging they are not compared with each other, which is quadratic.
MAX_COMPARED = 200

# Pairs of clauses that are looked at where two filters are put together.
MAX_PAIRS = 10_000

Clauses = list[Clause]


def simplify(ordered: Clauses) -> tuple[Clauses, bool, tuple[str, ...]]:
    """The clauses that are left, whether they are exact, and the denials that had to be left out, as texts."""
    kept = _without_last_denials(_merged(ordered))
    comparable = len(kept) <= MAX_COMPARED
    if comparable:
        kept = _without_last_denials(_merged(_reachable(kept)))
    left_out: dict[str, None] = {}
    clauses: Clauses = []
    for at, clause in enumerate(kept):
        if not clause.allows:
            if comparable and not any(later.allows and _meet(clause, later) for later in kept[at + 1 :]):
                continue
            if clause.conditions:
                # An object that meets the sets and not the conditions must pass.
                left_out[" && ".join(clause.conditions)] = None
                continue
        clauses.append(clause)
    if left_out:
        clauses = _merged(clauses)
        if comparable:
            clauses = _reachable(clauses)
        clauses = _without_last_denials(clauses)
    exact = not left_out and not any(clause.conditions for clause in clauses)
    return clauses, exact, tuple(left_out)


def kind_of(clauses: Clauses, subject: str) -> FilterKind:
    """The shape of simplified clauses."""
    if not clauses:
        return FilterKind.NONE
    if not all(clause.allows for clause in clauses):
        return FilterKind.MIXED
    if all(clause.owner.only == subject and clause.id is ANY for clause in clauses):
        return FilterKind.OWN
    if len(clauses) > 1 or clauses[0].owner is not ANY:
        return FilterKind.MIXED
    (clause,) = clauses
    if clause.id is not ANY:
        return FilterKind.IDS
    return FilterKind.ALL if clause.company is ANY else FilterKind.COMPANIES


def intersect(one: ObjectFilter, other: ObjectFilter, subject: str) -> ObjectFilter:
    """The filter of what both filters pass; its reason is that of the first, or that nothing is left for a rule."""
    if len(one.clauses) * len(other.clauses) > MAX_PAIRS:
        # More than both pass, and each object has to be checked anyway.
        why = "more clauses than can be put together say on which objects the caller may act"
        found = [
            replace(clause, conditions=(*clause.conditions, why)) if clause.allows else clause for clause in one.clauses
        ]
        return ObjectFilter(one.kind, tuple(found), False, one.reason, one.left_out)
    # The first clause of each that an object matches are the first pair that it matches.
    pairs: Clauses = []
    for mine in one.clauses:
        for theirs in other.clauses:
            company, id = mine.company.intersect(theirs.company), mine.id.intersect(theirs.id)
            owner = mine.owner.intersect(theirs.owner)
            if company and id and owner:
                conditions = tuple(dict.fromkeys((*mine.conditions, *theirs.conditions)))
                pairs.append(Clause(mine.allows and theirs.allows, company, id, owner, conditions))
    clauses, exact, left_out = simplify(pairs)
    left_out = tuple(dict.fromkeys((*one.left_out, *other.left_out, *left_out)))
    reason = one.reason if clauses else Reason.NO_MATCHING_RULE
    return ObjectFilter(
        kind_of(clauses, subject), tuple(clauses), exact and one.exact and other.exact, reason, left_out
    )


def _without_last_denials(clauses: Clauses) -> Clauses:
    """What matches no clause is denied anyway."""
    end = len(clauses)
    while end and not clauses[end - 1].allows:
        end -= 1
    return clauses[:end]


def _merged(clauses: Clauses) -> Clauses:
    """Neighbours of one effect, among which the order says nothing, joined where they differ in one part only."""
    merged: Clauses = []
    for _, run in groupby(clauses, key=lambda clause: clause.allows):
        joined = list(run)
        for part in ("id", "company", "owner"):
            if len(joined) == 1:
                break
            joined = _joined(joined, part)
        merged += joined
    return merged


def _joined(run: Clauses, part: str) -> Clauses:
    others = [name for name in ("company", "id", "owner") if name != part]
    groups: dict[object, Clauses] = {}
    for clause in run:
        key = (getattr(clause, others[0]), getattr(clause, others[1]), clause.conditions)
        groups.setdefault(key, []).append(clause)
    joined: Clauses = []
    for same in groups.values():
        joined += same if len(same) == 1 else _union(same, part)
    return joined


def _union(same: Clauses, part: str) -> Clauses:
    """Clauses that differ in `part` alone, as few as their sets allow."""
    # All that take away the same are joined at once: joining thousands one by one would be quadratic.
    groups: dict[object, list[Texts]] = {}
    for clause in same:
        one: Texts = getattr(clause, part)
        groups.setdefault((one.except_values, one.except_prefixes), []).append(one)
    united = [joined for group in groups.values() for joined in unite(group)]
    first = same[0]
    return [replace(first, **{part: joined}) for joined in united]


def _reachable(clauses: Clauses) -> Clauses:
    """Without the clauses that decide nothing: all their objects are decided before, or alike by a neighbour."""
    reached: Clauses = []
    for clause in clauses:
        if not any(not earlier.conditions and _covers(earlier, clause) for earlier in reached):
            reached.append(clause)
    kept: Clauses = []
    for _, run in groupby(reached, key=lambda clause: clause.allows):
        neighbours = list(run)
        kept += [
            clause
            for at, clause in enumerate(neighbours)
            if not any(not later.conditions and _covers(later, clause) for later in neighbours[at + 1 :])
        ]
    return kept


def _covers(one: Clause, other: Clause) -> bool:
    return other.company.within(one.company) and other.id.within(one.id) and other.owner.within(one.owner)


def _meet(one: Clause, other: Clause) -> bool:
    """Whether some object may match both."""
    return all(
        bool(mine.intersect(theirs))
        for mine, theirs in ((one.company, other.company), (one.id, other.id), (one.owner, other.owner))
    )
