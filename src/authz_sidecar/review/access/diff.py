"""What changes between two policies: for whoever holds a role, for each identity, and for anybody else."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec.structs import replace

from authz_sidecar.review.access.boxes import Area, area_of, box_of, joined, meet
from authz_sidecar.review.access.change import AccessDiff, Box, Cause, Change, Inexact, Kind
from authz_sidecar.review.access.comparison import Comparison
from authz_sidecar.review.access.conditions import Asker
from authz_sidecar.review.access.lines import Lines
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.access.section_space import SectionSpace
from authz_sidecar.review.access.space import AccessSpace
from authz_sidecar.review.access.tracing import cause_key, rule_key
from authz_sidecar.review.material import Material
from authz_sidecar.values.texts import ANY, Texts

Progress = Callable[[int, int], None]
# How many subjects are gone through between two reports of progress.
_STEP = 100


def diff_access(
    base: Material | None,
    head: Material | None,
    *,
    within: Region = Region(),  # noqa: B008 - a frozen value
    progress: Progress | None = None,
) -> AccessDiff:
    """All that changes from `base` to `head` within a region; None stands for no policy: everything is denied.

    `progress` is told how many subjects are done, and of how many.
    """
    return diff_space(AccessSpace(base, head), within, progress)


def diff_space(space: AccessSpace, within: Region, progress: Progress | None = None) -> AccessDiff:
    """The same for a space that is there already."""
    added, removed = _count_rules(space)
    work = list(_subjects(space, within))
    sections = [
        _SectionDiff(section, within)
        for suffix, section in space.sections.items()
        if not within.box.section or within.box.section == suffix
    ]
    total = len(work) * len(sections)
    done = 0
    for diff in sections:
        for kind, subject, names, asker in work:
            diff.look(kind, subject, names, asker)
            done += 1
            if progress is not None and (done % _STEP == 0 or done == total):
                progress(done, total)
    roles: list[Change] = []
    identities: list[Change] = []
    inexact: list[Inexact] = []
    for diff in sections:
        roles += diff.changes(frozenset((Kind.ROLE,)))
        identities += diff.changes(frozenset((Kind.IDENTITY, Kind.ANYONE)))
        inexact += diff.inexact()
    return AccessDiff(
        roles=tuple(sorted(roles, key=change_key)),
        identities=tuple(sorted(identities, key=change_key)),
        inexact=tuple(sorted(inexact, key=inexact_key)),
        rules_added=added,
        rules_removed=removed,
    )


def _subjects(space: AccessSpace, within: Region) -> Iterable[tuple[Kind, str, Texts, Asker]]:
    wanted = frozenset(within.subjects)
    if Kind.ROLE in within.kinds:
        for role in space.roles:
            if not wanted or role in wanted:
                yield Kind.ROLE, role, ANY, Asker(role)
    if Kind.IDENTITY in within.kinds:
        for identity in space.identities:
            if not wanted or identity in wanted:
                yield Kind.IDENTITY, identity, ANY, Asker(identity)
    if Kind.ANYONE in within.kinds and not wanted:
        for stranger in space.strangers:
            yield Kind.ANYONE, "", stranger.names, Asker(stranger.sample, named=False)


def _count_rules(space: AccessSpace) -> tuple[int, int]:
    """How many rows stand at head only, and at base only."""
    known = {section.ptype: section.lines for section in space.sections.values()}
    tables = [{} if side is None else side.snapshot.tables for side in (space.base, space.head)]
    added = removed = 0
    for ptype in dict.fromkeys([*tables[0], *tables[1]]):
        lines = known.get(ptype) or Lines(tables[0].get(ptype), tables[1].get(ptype))
        added += lines.count(1)
        removed += lines.count(0)
    return added, removed


class _Key(NamedTuple):
    """What changes of several subjects have in common where they are told as one."""

    gained: bool
    kind: Kind
    names: Texts
    subject: str
    box: Box
    roles: tuple[str, ...]
    rules: tuple[Cause, ...]


class _SectionDiff:
    """The differences in one section, gathered subject by subject: roles first."""

    def __init__(self, section: SectionSpace, within: Region) -> None:
        self._section = section
        self._comparison = Comparison(section, area_of(within.box))
        self._changed: dict[_Key, tuple[list[str], dict[Cause, None]]] = {}
        self._unknown: list[tuple[Kind, Inexact]] = []
        # Where identities have the changes of roles.
        self._shared: dict[tuple[str, bool], list[tuple[str, Area]]] = {}

    def look(self, kind: Kind, subject: str, names: Texts, asker: Asker) -> None:
        """Go through the requests of one subject."""
        if not self._section.touched(asker):
            return
        differences, unknown = self._comparison.compare(kind, asker)
        subjects = (subject,) if subject else ()
        self._unknown += [(kind, replace(one, subjects=subjects, names=names)) for one in unknown]
        for one in differences:
            box = box_of(one.area, self._section.suffix)
            for role in one.roles:
                self._shared.setdefault((role, one.gained), []).append((subject, one.area))
            key = _Key(one.gained, kind, names, subject if kind is Kind.ROLE else "", box, one.roles, one.rules)
            named, causes = self._changed.setdefault(key, ([], {}))
            named += subjects
            causes.update(dict.fromkeys(one.rules))
            causes.update(dict.fromkeys(one.links))

    def changes(self, kinds: frozenset[Kind]) -> list[Change]:
        """The changes of these kinds of subjects."""
        return [
            Change(
                gained=key.gained,
                kind=key.kind,
                subjects=tuple(sorted(subjects)),
                box=key.box,
                causes=tuple(sorted(causes, key=cause_key)),
                holders=self._holders(key),
                roles=key.roles,
                names=key.names,
            )
            for key, (subjects, causes) in self._changed.items()
            if key.kind in kinds
        ]

    def _holders(self, key: _Key) -> tuple[str, ...]:
        if key.kind is not Kind.ROLE:
            return ()
        area = area_of(key.box)
        shared = self._shared.get((key.subject, key.gained), ())
        return tuple(sorted({name for name, theirs in shared if meet(theirs, area) is not None}))

    def inexact(self) -> list[Inexact]:
        """What is not known, those of different subjects and companies together that are alike in the rest."""
        groups: dict[tuple[object, ...], list[Inexact]] = {}
        for kind, one in self._unknown:
            key = (kind, one.names, one.why, one.responsible, one.added, one.removed, area_of(one.box)[1:])
            groups.setdefault(key, []).append(one)
        found: list[Inexact] = []
        for same in groups.values():
            subjects = tuple(sorted({subject for one in same for subject in one.subjects}))
            areas = joined([area_of(one.box) for one in same])
            found += [replace(same[0], box=box_of(area, self._section.suffix), subjects=subjects) for area in areas]
        return found


def change_key(change: Change) -> tuple[object, ...]:
    """Changes by subject, those that are lost before those that are gained, then by what they are about."""
    return (
        change.kind,
        change.subjects,
        change.gained,
        box_key(change.box),
        change.roles,
        texts_key(change.names),
        len(change.causes),
    )


def inexact_key(inexact: Inexact) -> tuple[object, ...]:
    """What is not exact by subject, then by what it is about."""
    rules = [rule_key(rule) for rule in (*inexact.responsible, *inexact.added, *inexact.removed)]
    return (inexact.subjects, texts_key(inexact.names), box_key(inexact.box), inexact.why, rules)


def box_key(box: Box) -> tuple[object, ...]:
    """Boxes by section, then part by part."""
    return (box.section, *[texts_key(texts) for texts in area_of(box)])


def texts_key(texts: Texts) -> tuple[object, ...]:
    """Sets of texts in a fixed order."""
    return (texts.prefixes, sorted(texts.values), sorted(texts.except_values), texts.except_prefixes)
