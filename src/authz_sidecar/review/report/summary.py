"""What a reviewer wants to know before the details: how much changes, for whom, and whether it is sensitive."""

from collections.abc import Iterable, Mapping

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.review.access.change import AccessDiff, Change, Kind
from authz_sidecar.review.report.permission import Vocabulary
from authz_sidecar.values.texts import Texts, texts

_COMPANIES = texts((), ("",), ("",))


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How far what is gained (or lost) reaches.

    `roles` and `identities` are those whose access changes so; `anyone` says that it does for identities that the
    policies do not name. `companies` are those of the identities' changes, `everywhere` that one of these changes is
    not kept to companies that can be listed. `object_types` and `data_domains` are the sensitive ones that are touched.
    """

    roles: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    anyone: bool = False
    companies: tuple[str, ...] = ()
    everywhere: bool = False
    object_types: tuple[str, ...] = ()
    data_domains: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.roles or self.identities or self.anyone)


def reach_of(changes: Iterable[Change], words: Vocabulary) -> Reach:
    """How far `changes`, all of one direction, reach."""
    roles: set[str] = set()
    identities: set[str] = set()
    companies: set[str] = set()
    object_types: set[str] = set()
    data_domains: set[str] = set()
    anyone = everywhere = False
    for change in changes:
        if change.kind is Kind.ROLE:
            roles.update(change.subjects)
        else:
            identities.update(change.subjects)
            anyone = anyone or change.kind is Kind.ANYONE
            inside: Texts = change.box.company.intersect(_COMPANIES)
            companies |= inside.values
            everywhere = everywhere or bool(inside.prefixes)
        object_types.update(words.sensitive_types(change.box.type))
        data_domains.update(words.touched(change.box, sensitive=True))
    return Reach(
        roles=tuple(sorted(roles)),
        identities=tuple(sorted(identities)),
        anyone=anyone,
        companies=tuple(sorted(companies)),
        everywhere=everywhere,
        object_types=tuple(sorted(object_types)),
        data_domains=tuple(sorted(data_domains)),
    )


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """Roles that are defined on one side only. `renamed` maps a role of base to that of head which has its access, and
    these are neither `added` nor `removed`; `same` are those of `renamed` by which no decision changes."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: Mapping[str, str] = {}
    same: frozenset[str] = frozenset()


def defined_roles(bundle: Bundle | None) -> frozenset[str]:
    """The roles of a bundle as rules name them; in plain Casbin what links lead to."""
    if bundle is None:
        return frozenset()
    if bundle.form == "yaml":
        return frozenset(f"role:{name}" for name in bundle.roles)
    return frozenset(
        role for name in bundle.model.roles if name == "g" for role in dict.fromkeys(bundle.tables[name].columns[1])
    )


def compare_roles(diff: AccessDiff, base: Bundle | None, head: Bundle | None, alike: Mapping[str, object]) -> Roles:
    """Which roles are new, gone or have another name; `alike` gives for each role of one side what it lost or gained
    altogether, equal where two roles have the same access."""
    old, new = defined_roles(base), defined_roles(head)
    removed, added = old - new, new - old
    if base is None or head is None:
        # Everything is new where there was nothing.
        return Roles(added=tuple(sorted(added)), removed=tuple(sorted(removed)))
    renamed: dict[str, str] = {}
    free = sorted(added)
    for role in sorted(removed):
        twin = next((each for each in free if role in alike and alike.get(each) == alike[role]), None)
        if twin is not None:
            renamed[role] = twin
            free.remove(twin)
    reached = {role for change in diff.roles if change.holders for role in change.subjects}
    held = set(base.tables["g"].columns[1]) if "g" in base.tables else set[str]()
    # Who holds the old name outside of the bundle is not known, unless the bundle says who holds it.
    same = {old for old, new in renamed.items() if old in held and not {old, new} & reached}
    return Roles(
        added=tuple(sorted(added - set(renamed.values()))),
        removed=tuple(sorted(removed - renamed.keys())),
        renamed=renamed,
        same=frozenset(same),
    )
