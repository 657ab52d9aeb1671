"""Roles of assignments and group mappings that another role of the same holder gives anyway."""

from collections.abc import Iterator

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.definitions import Assignment, GroupMapping
from authz_sidecar.review.ancestry import Ancestry

Entry = Assignment | GroupMapping


class ImpliedRole(msgspec.Struct, frozen=True):
    """The role at `index` of `entry`, and the role `by` which inherits it and is held beside it. `only` says that the
    entry has no role that is not implied."""

    entry: Entry
    index: int
    by: str
    only: bool


def find_implied_roles(bundle: Bundle, ancestry: Ancestry) -> Iterator[ImpliedRole]:
    """Every role that no decision depends on, as a role that is held in the same company inherits it.

    A role that a flag is for is needed: the flag is had by those who are given the role itself.
    """
    held: dict[tuple[type, str, str], list[Entry]] = {}
    for assignment in bundle.assignments:
        held.setdefault((Assignment, assignment.subject, assignment.company), []).append(assignment)
    for mapping in bundle.group_mappings:
        held.setdefault((GroupMapping, mapping.group, mapping.company), []).append(mapping)
    flagged = {role for flag in bundle.flags.values() for role in flag.roles}
    for entries in held.values():
        names = dict.fromkeys(name for entry in entries for name in entry.roles)
        if len(names) == 1:
            continue
        above = {higher: name for name in names for higher in ancestry.above(name) if higher not in flagged}
        for entry in entries:
            implied = [index for index, name in enumerate(entry.roles) if name in above]
            for index in implied:
                yield ImpliedRole(entry, index, above[entry.roles[index]], len(implied) == len(entry.roles))
