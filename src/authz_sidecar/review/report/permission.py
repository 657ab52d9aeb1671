"""Access as lines: boxes of requests put together to the fewest lines that say them."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.own_types import OWN_TYPES
from authz_sidecar.review.access.change import SELF, Box, Cause
from authz_sidecar.review.report.wording import (
    MOST_NAMES,
    Phrase,
    company_phrase,
    id_phrase,
    joined,
    names_phrase,
    owner_phrase,
    texts_phrase,
)
from authz_sidecar.values.texts import ANY, Texts, unite, values_of

# Larger products of types and actions are shown as they come rather than taken apart and put together again.
_MOST_CELLS = 20_000
_OTHERS = Texts(prefixes=("",), except_values=frozenset((SELF,)))

Cell = tuple[str, str]
"""An object type and an action."""


class Permission(msgspec.Struct, frozen=True, kw_only=True):
    """One line of access: actions on types, or whole data domains, on these objects in these companies.

    `domains` are data domains whose every type is meant, `whole` says that every action of theirs is too.
    `causes` are the lines of policy that make it, sorted. `cells` are the types and actions that it is about, one by
    one, or None where they cannot be listed.
    """

    types: Texts
    actions: Texts
    id: Texts = ANY
    company: Texts = ANY
    owner: Texts = ANY
    section: str = ""
    domains: tuple[str, ...] = ()
    whole: bool = False
    sensitive: bool = False
    causes: tuple[Cause, ...] = ()
    cells: frozenset[Cell] | None = None

    def phrase(self, most: int | None = MOST_NAMES) -> Phrase:
        """What may be done where, such as `folder, report: read, update (own) in every company`."""
        return (*self.what(most), " ", *company_phrase(self.company, most))

    def what(self, most: int | None = MOST_NAMES) -> Phrase:
        """What may be done, without the companies."""
        numbered = (f" (section {self.section})",) if self.section else ()
        ends = (*owner_phrase(self.owner, most), *numbered)
        domains: Phrase = (
            "data domain " if len(self.domains) == 1 else "data domains ",
            *names_phrase(self.domains, most),
        )
        if self.whole:
            return ("all of ", *domains, *id_phrase(self.id, most), *ends)
        if self.types == ANY and self.actions == ANY:
            return ("everything", *id_phrase(self.id, most), *ends)
        kinds = [domains] if self.domains else []
        if self.types:
            kinds.append(texts_phrase(self.types, "every type", "types beginning with", most))
        on = (*joined(kinds), *id_phrase(self.id, most))
        return (*on, ": ", *texts_phrase(self.actions, "every action", "actions beginning with", most), *ends)


class Vocabulary:
    """What one side's bundle calls things: its data domains and what it marks as sensitive."""

    def __init__(self, bundle: Bundle | None) -> None:
        types = bundle.manifest.known_types if bundle else {}
        domains = bundle.data_domains if bundle else {}
        self._sensitive = frozenset(name for name, kind in types.items() if kind.sensitive)
        self.sensitive_domains = frozenset(name for name, domain in domains.items() if domain.sensitive)
        self.cells: dict[str, frozenset[Cell]] = {}
        self.objects: dict[str, frozenset[str]] = {}
        for name, domain in domains.items():
            cells = frozenset(
                (kind, action)
                for kind in domain.objects
                for action in domain.actions or types[kind].actions
                if action in types[kind].actions
            )
            self.objects[name] = frozenset(domain.objects)
            if len(cells) > 1:
                self.cells[name] = cells
        # The largest first, so that a line names as few as it can.
        self.by_size = sorted(self.cells, key=lambda name: (-len(self.cells[name]), name))

    def sensitive_types(self, types: Texts) -> Iterator[str]:
        """Of `types` those that are sensitive: what the manifest marks so, and where types are named, not all of them
        taken in, those of the sidecar's own."""
        for name in self._sensitive:
            if name in types and (types.finite or name not in OWN_TYPES):
                yield name

    def is_sensitive(self, box: Box) -> bool:
        """Whether a request of `box` may be about what is marked as sensitive."""
        return any(self.sensitive_types(box.type)) or any(self.touched(box, True))

    def touched(self, box: Box, sensitive: bool = False) -> Iterable[str]:
        """The data domains that `box` has a request of; only those that are `sensitive`, if that is asked."""
        for name in self.sensitive_domains if sensitive else self.objects:
            cells = self.cells.get(name)
            if cells is None:
                if any(kind in box.type for kind in self.objects[name]):
                    yield name
            elif any(kind in box.type and action in box.action for kind, action in cells):
                yield name


def merge_causes(groups: Iterable[Iterable[Cause]]) -> tuple[Cause, ...]:
    """All causes once, by place; of those on one line the first rule of it."""
    lines: dict[tuple[str, str, int], Cause] = {}
    for causes in groups:
        for cause in causes:
            lines.setdefault((cause.rule.span.file, cause.side, cause.rule.span.line), cause)
    return tuple(sorted(lines.values(), key=lambda cause: (cause.side != "head", cause.rule.span)))


def permissions_of(boxes: Iterable[tuple[Box, Sequence[Cause]]], words: Vocabulary) -> tuple[Permission, ...]:
    """The fewest readable lines that say exactly what `boxes` do, each with what causes it."""
    # By what is not type or action; a box whose types or actions cannot be listed stands alone.
    buckets: dict[tuple[Texts, Texts, Texts, str], dict[Cell, tuple[Cause, ...]]] = {}
    rows: dict[
        tuple[Texts, Texts, tuple[str, ...], bool, Texts, Texts, str], list[tuple[Texts, tuple[Cause, ...]]]
    ] = {}

    def add(
        types: Texts,
        actions: Texts,
        domains: tuple[str, ...],
        whole: bool,
        rest: tuple[Texts, Texts, Texts, str],
        causes: tuple[Cause, ...],
    ) -> None:
        company, identifier, owner, section = rest
        key = (types, actions, domains, whole, identifier, owner, section)
        rows.setdefault(key, []).append((company, causes))

    for box, causes in boxes:
        rest = (box.company, box.id, box.owner, box.section)
        finite = box.type.finite and box.action.finite and len(box.type.values) * len(box.action.values) <= _MOST_CELLS
        if not finite:
            add(box.type, box.action, (), False, rest, tuple(causes))
            continue
        cells = buckets.setdefault(rest, {})
        for kind in box.type.values:
            for action in box.action.values:
                cells[kind, action] = (*cells.get((kind, action), ()), *causes)
    for rest, cells in buckets.items():
        left = dict(cells)
        whole: list[str] = []
        of_whole: set[Cell] = set()
        for name in words.by_size:
            wanted = words.cells[name]
            if wanted <= cells.keys() and not wanted <= of_whole:
                whole.append(name)
                of_whole |= wanted
        if whole:
            causes = merge_causes(cells[cell] for cell in sorted(of_whole))
            add(values_of(()), values_of(()), tuple(sorted(whole)), True, rest, causes)
            left = {cell: causes for cell, causes in cells.items() if cell not in of_whole}
        for types, actions in _rectangles(left):
            causes = merge_causes(left[kind, action] for kind in sorted(types) for action in sorted(actions))
            domains = [name for name, objects in sorted(words.objects.items()) if len(objects) > 1 and objects <= types]
            covered = frozenset[str]().union(*[words.objects[name] for name in domains])
            add(values_of(types - covered), values_of(actions), tuple(domains), False, rest, causes)
    found: list[Permission] = []
    for (types_, actions_, domains_, whole_, identifier, owner, section), places in rows.items():
        causes = merge_causes(causes for _, causes in places)
        found += [
            Permission(
                types=types_,
                actions=actions_,
                id=identifier,
                company=company,
                owner=owner,
                section=section,
                domains=domains_,
                whole=whole_,
                sensitive=_sensitive(types_, domains_, words),
                causes=causes,
                cells=_cells(types_, actions_, domains_, whole_, words),
            )
            for company in _united([company for company, _ in places])
        ]
    return tuple(sorted(_join_owners(found), key=_order))


def _cells(
    types: Texts, actions: Texts, domains: tuple[str, ...], whole: bool, words: Vocabulary
) -> frozenset[Cell] | None:
    """The types and actions of a line, one by one."""
    if whole:
        return frozenset[Cell]().union(*[words.cells[name] for name in domains])
    if not types.finite or not actions.finite:
        return None
    kinds = types.values.union(*[words.objects[name] for name in domains])
    return frozenset((kind, action) for kind in kinds for action in actions.values)


def _rectangles(cells: Iterable[Cell]) -> list[tuple[frozenset[str], frozenset[str]]]:
    """Types and actions whose products are exactly `cells`: types that have the same actions together."""
    actions_of: dict[str, set[str]] = {}
    for kind, action in cells:
        actions_of.setdefault(kind, set()).add(action)
    types_of: dict[frozenset[str], set[str]] = {}
    for kind, actions in actions_of.items():
        types_of.setdefault(frozenset(actions), set()).add(kind)
    return [(frozenset(types), actions) for actions, types in types_of.items()]


def _united(sets: list[Texts]) -> list[Texts]:
    """The same texts in fewer sets, where that is seen at a glance."""
    alike: dict[tuple[frozenset[str], tuple[str, ...]], list[Texts]] = {}
    for one in dict.fromkeys(sets):
        alike.setdefault((one.except_values, one.except_prefixes), []).append(one)
    return [united for group in alike.values() for united in unite(group)]


def _join_owners(lines: list[Permission]) -> list[Permission]:
    """One line where one says the subject's own objects and another says all others'."""
    own: dict[Permission, Permission] = {}
    rest: list[Permission] = []

    def beside(line: Permission) -> Permission:
        return msgspec.structs.replace(line, owner=ANY, causes=())

    for line in lines:
        if line.owner.only == SELF:
            own[beside(line)] = line
    for line in lines:
        if line.owner == _OTHERS and (twin := own.pop(beside(line), None)):
            causes = merge_causes((line.causes, twin.causes))
            rest.append(msgspec.structs.replace(line, owner=ANY, causes=causes))
        elif line.owner.only != SELF:
            rest.append(line)
    return rest + list(own.values())


def _sensitive(types: Texts, domains: tuple[str, ...], words: Vocabulary) -> bool:
    if any(
        name in words.sensitive_domains or any(words.sensitive_types(values_of(words.objects[name])))
        for name in domains
    ):
        return True
    return any(words.sensitive_types(types)) or any(
        kind in types for name in words.sensitive_domains for kind in words.objects[name]
    )


def _order(line: Permission) -> tuple[bool, bool, tuple[str, ...], list[str], list[str], str]:
    return (
        not line.sensitive,
        not line.whole,
        line.domains,
        sorted(line.types.values),
        sorted(line.actions.values),
        "".join(str(part) for part in line.phrase()),
    )
