"""Changes of access put together for reading: what changes alike is one entry."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import msgspec

from authz_sidecar.review.access.change import AccessDiff, Box, Cause, Change, Kind
from authz_sidecar.review.report.permission import Permission, Vocabulary, merge_causes, permissions_of
from authz_sidecar.values.texts import ANY, Texts

# So many entries say the same of different roles before they become one.
_MOST_ALIKE = 3


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Changes that are told together: the same permissions gained or lost by each of `subjects`.

    `kind` says what the subjects are. `holders` are the identities that a change of roles reaches, `assigned` the
    roles whose assignment (or its end) is all that makes the change of an identity. `apart` says that each subject has
    the permissions in companies of its own, which `places` then holds (subject to companies) and `permissions` do not.
    """

    gained: bool
    kind: Kind
    subjects: tuple[str, ...]
    permissions: tuple[Permission, ...]
    holders: tuple[str, ...] = ()
    assigned: tuple[str, ...] = ()
    apart: bool = False
    places: Mapping[str, Texts] = {}
    sensitive: bool = False

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Every line that makes one of the permissions."""
        return merge_causes(permission.causes for permission in self.permissions)


def entries_of(diff: AccessDiff, vocabularies: Mapping[bool, Vocabulary]) -> tuple[Entry, ...]:
    """The changes of `diff` as entries: gained before lost; roles, then identities that no role explains, then
    anyone; what is sensitive first, then what reaches most. `vocabularies` are for what is gained, and for what is
    lost."""
    found: list[Entry] = []
    for gained in (True, False):
        words = vocabularies[gained]
        roles = [change for change in diff.roles if change.gained is gained]
        found += _role_entries(gained, roles, words)
        single = [change for change in diff.identities if change.gained is gained and not change.roles]
        found += _identity_entries(gained, [each for each in single if each.kind is Kind.IDENTITY], words)
        anyone = [change for change in single if change.kind is Kind.ANYONE]
        if anyone:
            lines = permissions_of([(change.box, change.causes) for change in anyone], words)
            found.append(
                Entry(
                    gained=gained,
                    kind=Kind.ANYONE,
                    subjects=(),
                    permissions=lines,
                    sensitive=any(line.sensitive for line in lines),
                )
            )
    order = {Kind.ROLE: 0, Kind.IDENTITY: 1, Kind.ANYONE: 2}
    return tuple(
        sorted(
            found,
            key=lambda entry: (
                not entry.gained,
                order[entry.kind],
                not entry.sensitive,
                -len(entry.holders or entry.subjects),
                entry.subjects,
            ),
        )
    )


def _role_entries(gained: bool, changes: Sequence[Change], words: Vocabulary) -> Iterable[Entry]:
    """One entry for the roles that change alike: by the same lines, or, where it would be the same told many times, by
    lines of their own."""
    of_role: dict[str, list[Change]] = {}
    for change in changes:
        for role in change.subjects:
            of_role.setdefault(role, []).append(change)
    alike: dict[tuple[Box, ...], dict[tuple[tuple[Cause, ...], ...], list[str]]] = {}
    for role, own in of_role.items():
        by_lines = alike.setdefault(tuple(change.box for change in own), {})
        by_lines.setdefault(tuple(change.causes for change in own), []).append(role)
    groups = [
        roles
        for by_lines in alike.values()
        for roles in (by_lines.values() if len(by_lines) <= _MOST_ALIKE else [list(chain(*by_lines.values()))])
    ]
    for roles in groups:
        boxes = [
            (change.box, merge_causes(of_role[role][at].causes for role in roles))
            for at, change in enumerate(of_role[roles[0]])
        ]
        lines = permissions_of(boxes, words)
        holders = {holder for role in roles for change in of_role[role] for holder in change.holders}
        yield Entry(
            gained=gained,
            kind=Kind.ROLE,
            subjects=tuple(sorted(roles)),
            permissions=lines,
            holders=tuple(sorted(holders)),
            sensitive=any(line.sensitive for line in lines),
        )


def _identity_entries(gained: bool, changes: Sequence[Change], words: Vocabulary) -> Iterable[Entry]:
    """One entry for the identities that change alike, be it each in companies of its own."""
    of_identity: dict[str, list[Change]] = {}
    for change in changes:
        for identity in change.subjects:
            of_identity.setdefault(identity, []).append(change)
    shapes: dict[tuple[tuple[str, ...], bool, tuple[Box, ...]], list[str]] = {}
    places: dict[str, Texts] = {}
    for identity, own in of_identity.items():
        companies = own[0].box.company
        assigned = _assigned(identity, own)
        if assigned and all(change.box.company == companies for change in own):
            places[identity] = companies
            shape = tuple(msgspec.structs.replace(change.box, company=ANY) for change in own)
            shapes.setdefault((assigned, True, shape), []).append(identity)
        else:
            # What lines cause may differ for each; that the boxes are the same is what makes them alike.
            shape = tuple(change.box for change in own)
            shapes.setdefault((assigned, False, shape), []).append(identity)
    for (assigned, placed, _), identities in shapes.items():
        apart = placed and len({places[identity] for identity in identities}) > 1
        boxes: list[tuple[Box, tuple[Cause, ...]]] = []
        for at, change in enumerate(of_identity[identities[0]]):
            causes = merge_causes(of_identity[identity][at].causes for identity in identities)
            box = msgspec.structs.replace(change.box, company=ANY) if apart else change.box
            boxes.append((box, causes))
        lines = permissions_of(boxes, words)
        yield Entry(
            gained=gained,
            kind=Kind.IDENTITY,
            subjects=tuple(sorted(identities)),
            permissions=lines,
            assigned=assigned,
            apart=apart,
            places={identity: places[identity] for identity in identities} if apart else {},
            sensitive=any(line.sensitive for line in lines),
        )


def _assigned(identity: str, changes: Sequence[Change]) -> tuple[str, ...]:
    """The roles whose assignment to `identity` (or its end) alone causes all of `changes`; empty where more does."""
    roles: set[str] = set()
    for change in changes:
        if not change.causes:
            return ()
        for cause in change.causes:
            rule = cause.rule
            if not rule.ptype.startswith("g") or rule.values[0] != identity or (cause.side == "head") != change.gained:
                return ()
            roles.add(rule.values[1])
    return tuple(sorted(roles))
