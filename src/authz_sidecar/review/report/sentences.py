"""The sentences of an access report, the same in every format: headlines, and what each entry says."""

from collections.abc import Sequence

from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.access.change import Cause, Inexact, Kind
from authz_sidecar.review.report.access_report import AccessReport
from authz_sidecar.review.report.groups import Entry
from authz_sidecar.review.report.permission import Cell, Permission
from authz_sidecar.review.report.summary import Reach
from authz_sidecar.review.report.wording import (
    MOST_NAMES,
    Name,
    Phrase,
    company_phrase,
    joined,
    names_phrase,
    people_phrase,
    role_name,
    texts_phrase,
)
from authz_sidecar.values.rule import Rule
from authz_sidecar.values.texts import ANY

# Holders are named where they are as few.
_FEW_HOLDERS = 3
UNCHANGED = "no access changes"


def headline(report: AccessReport) -> Phrase:
    """The one line that says it all."""
    if report.unchanged:
        return (UNCHANGED,)
    roles = {*report.gained.roles, *report.lost.roles}
    identities = sorted({*report.gained.identities, *report.lost.identities})
    parts = []
    if roles:
        parts.append(counted(len(roles), "role"))
    if identities:
        parts.append(people_phrase(identities, report.kinds))
    if report.gained.anyone or report.lost.anyone:
        parts.append("anyone whom the policies do not name")
    if not parts:
        return (f"access may change: {counted(len(report.diff.inexact), 'part')} cannot be compared exactly",)
    return (f"access changes: {', '.join(parts)}",)


def rules_sentence(report: AccessReport) -> str:
    """How much text differs, as rules: `2 rules added, 1 removed`; "" where none does."""
    added, removed = report.diff.rules_added, report.diff.rules_removed
    if not added and not removed:
        return ""
    if not removed:
        return f"{counted(added, 'rule')} added"
    return f"{counted(added, 'rule')} added, {removed:,} removed" if added else f"{counted(removed, 'rule')} removed"


def reach_phrase(reach: Reach, report: AccessReport) -> Phrase:
    """Who gains or loses, and where: `1 role; 214 people, 3 service accounts in 14 companies`."""
    parts: list[Phrase] = []
    if reach.roles:
        parts.append((counted(len(reach.roles), "role"),))
    if reach.identities:
        parts.append((people_phrase(reach.identities, report.kinds), *companies_phrase(reach)))
    if reach.anyone:
        parts.append(("anyone whom the policies do not name",))
    return joined(parts, "; ") or ("nothing",)


def companies_phrase(reach: Reach, most: int = 3) -> Phrase:
    """` in 14 companies`, with the names of a few, and whether some of it is not kept to these."""
    if reach.everywhere and not reach.companies:
        return (" everywhere",)
    if not reach.companies:
        return (" on the platform",) if reach.identities else ()
    beyond = (" and everywhere",) if reach.everywhere else ()
    if len(reach.companies) <= most:
        return (" in ", *names_phrase(reach.companies), *beyond)
    return (f" in {counted(len(reach.companies), 'company', 'companies')}", *beyond)


def sensitive_phrase(reach: Reach) -> Phrase:
    """The sensitive object types and data domains that are touched; empty where none is."""
    parts: list[Phrase] = []
    if reach.data_domains:
        noun = "data domain " if len(reach.data_domains) == 1 else "data domains "
        parts.append((noun, *names_phrase(reach.data_domains)))
    if reach.object_types:
        noun = "object type " if len(reach.object_types) == 1 else "object types "
        parts.append((noun, *names_phrase(reach.object_types)))
    return joined(parts, "; ")


def role_events(report: AccessReport) -> list[Phrase]:
    """Roles that are new, gone or renamed, a line each kind."""
    roles = report.roles
    lines: list[Phrase] = []
    if roles.added:
        noun = "new role " if len(roles.added) == 1 else "new roles "
        lines.append((noun, *names_phrase([role_name(role) for role in roles.added])))
    if roles.removed:
        noun = "role removed: " if len(roles.removed) == 1 else "roles removed: "
        lines.append((noun, *names_phrase([role_name(role) for role in roles.removed])))
    for old, new in sorted(roles.renamed.items()):
        same = ", with the same access and holders" if old in roles.same else ", with the same access"
        lines.append(("role ", Name(role_name(old)), " is now called ", Name(role_name(new)), same))
    return lines


def entry_phrase(entry: Entry, report: AccessReport, most: int | None = MOST_NAMES) -> Phrase:
    """Who gains or loses, what if that is one line, and whom it reaches.

    `CLIENT_OPERATOR gains report_template: delete in every company: 214 people, 3 service accounts`.
    """
    one = len(entry.subjects) < 2
    verb = ("gains" if one else "gain") if entry.gained else ("loses" if one else "lose")
    what: Phrase = (f" {verb}",)
    said: Phrase = (*what, " ", *_permissions(entry, most))
    if entry.kind is Kind.ANYONE:
        return ("anyone whom the policies do not name", *said)
    who = _subjects(entry, report, most)
    if entry.kind is Kind.ROLE:
        return (*who, *said, *_holders(entry, report))
    if entry.assigned:
        roles = names_phrase([role_name(role) for role in entry.assigned], most)
        allow = "allows" if len(entry.assigned) == 1 else "allow"
        how = "assigned" if entry.gained else "no longer assigned"
        return (*who, *what, " what ", *roles, f" {allow}", *_common_place(entry, most), f" ({how})")
    return (*who, *said)


def _permissions(entry: Entry, most: int | None) -> Phrase:
    """The one line that the entry has, or how many permissions its lines are together."""
    if len(entry.permissions) == 1:
        return entry.permissions[0].phrase(most)
    cells: set[Cell] = set()
    for line in entry.permissions:
        if line.cells is None:
            return (counted(len(entry.permissions), "set of permissions", "sets of permissions"),)
        cells |= line.cells
    return (counted(len(cells), "permission"),)


def _subjects(entry: Entry, report: AccessReport, most: int | None) -> Phrase:
    if entry.kind is not Kind.ROLE:
        return names_phrase(entry.subjects, most)
    marked: list[Phrase] = []
    shown = entry.subjects if most is None else entry.subjects[:most]
    for role in shown:
        name: Phrase = (Name(role_name(role)),)
        if role in report.roles.added or role in report.roles.renamed.values():
            name = (*name, " (new role)")
        elif role in report.roles.removed or role in report.roles.renamed:
            name = (*name, " (removed role)")
        marked.append(name)
    more = len(entry.subjects) - len(shown)
    return (*joined(marked), *((f" and {more:,} more",) if more else ()))


def _holders(entry: Entry, report: AccessReport) -> Phrase:
    if not report.assigns:
        return ()
    if not entry.holders:
        return ("; it changes the access of nobody known here",)
    people = people_phrase(entry.holders, report.kinds)
    if len(entry.holders) <= _FEW_HOLDERS:
        return (f": {people} (", *names_phrase(entry.holders), ")")
    return (f": {people}",)


def _common_place(entry: Entry, most: int | None) -> Phrase:
    """Where an assignment gives access: told once where it is the same for every line."""
    if entry.apart:
        companies = {company for place in entry.places.values() for company in place.values if company}
        return (f", in {counted(len(companies), 'company', 'companies')}, each identity in its own",)
    places = {line.company for line in entry.permissions}
    return (" ", *company_phrase(places.pop(), most)) if len(places) == 1 else ()


def lines_of(entry: Entry, most: int | None = MOST_NAMES) -> list[tuple[Permission, Phrase]]:
    """The permissions of an entry below its sentence; none where the sentence says the only one."""
    if len(entry.permissions) == 1 and not entry.assigned:
        return []
    told_once = bool(entry.assigned) and len({line.company for line in entry.permissions}) == 1
    return [(line, line.what(most) if told_once else line.phrase(most)) for line in entry.permissions]


def shared_causes(entry: Entry) -> tuple[Cause, ...]:
    """The lines of policy that every permission of the entry comes from, if they are the same for all."""
    causes = {line.causes for line in entry.permissions}
    return causes.pop() if len(causes) == 1 else ()


def inexact_phrase(part: Inexact, most: int | None = MOST_NAMES) -> Phrase:
    """What cannot be compared, for whom and where."""
    box = part.box
    where: Phrase = ()
    if box.type != ANY or box.action != ANY:
        where = (
            " ",
            *texts_phrase(box.type, "every type", "types beginning with", most),
            ": ",
            *texts_phrase(box.action, "every action", "actions beginning with", most),
        )
    if box.company != ANY:
        where = (*where, " ", *company_phrase(box.company, most))
    whom: Phrase = ()
    if part.subjects:
        whom = (" for ", *names_phrase([role_name(subject) for subject in part.subjects], most))
    return ("not exact here:", *(where or (" everything",)), *whom, f"; {part.why}")


def rule_phrase(rule: Rule) -> Phrase:
    """A rule as one name: its values may be anything."""
    return (Name(str(rule)),)


def count_left(left: Sequence[object], noun: str, nouns: str = "") -> str:
    """`… and 12 more lines`."""
    return f"… and {len(left):,} more {noun if len(left) == 1 else nouns or noun + 's'}"
