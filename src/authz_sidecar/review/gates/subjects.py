"""Who a gate is about, of those that a policy knows."""

from collections.abc import Iterable, Sequence

from authz_sidecar.bundle.gates import MustStayAllowed, MustStayDenied
from authz_sidecar.review.access.change import Kind
from authz_sidecar.review.access.partition import complement
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.gates.names import any_matches, chosen_roles, texts_of
from authz_sidecar.review.gates.scene import Asked
from authz_sidecar.values.request import ROLE_PREFIX
from authz_sidecar.values.texts import ANY, NOTHING, Texts


class Choice:
    """Picks subjects for a gate that names some."""

    def __init__(self, asked: Asked, predicate: MustStayAllowed | MustStayDenied) -> None:
        self._asked = asked
        self._predicate = predicate
        self.everybody = isinstance(predicate, MustStayDenied) and predicate.everybody
        self.without = named_roles(asked, predicate.except_roles)
        named = known_roles(asked) if self.everybody else named_roles(asked, predicate.roles)
        self.roles = frozenset(role for role in named if role not in self.without and self._is_assigned(role))
        self._identities: Sequence[str] = ["*"] if self.everybody else predicate.identities
        # Of those whom the policies do not name, whoever has one of these names.
        space = asked.scene.space
        unnamed = [name for name in self._identities if name not in space.identities]
        wanted = ANY if self.everybody or predicate.anyone else texts_of(unnamed) if unnamed else NOTHING
        self._strangers = less(wanted, predicate.except_identities)

    def _is_assigned(self, role: str) -> bool:
        wanted = self._predicate.assigned
        if wanted is None:
            return True
        name = role.removeprefix(ROLE_PREFIX)
        return any(name in bundle.roles and bundle.roles[name].assigned == wanted for bundle in self._asked.bundles)

    def is_identity(self, name: str) -> bool:
        """Whether the gate is about this identity."""
        return any_matches(self._identities, name) and not any_matches(self._predicate.except_identities, name)

    def is_meant(self, role: str) -> bool:
        """Whether the gate is about whoever asks by the name of this role. In rows any name may be asked by, and a link
        that makes a role of an identity lets it out of no gate: it is meant if the gate spells it, or its beginning,
        and if it was an identity."""
        if self._asked.scene.head.bundle.form != "casbin" or not self.is_identity(role):
            return False
        spelled = [name for name in self._identities if name != "*"]
        return any_matches(spelled, role) or role in self._asked.scene.turned

    @property
    def whom(self) -> Region | None:
        """Whom to look at, if a few are enough; None for nobody."""
        if self._identities or self._strangers:
            return Region()
        if not self.roles:
            return None
        return Region(subjects=tuple(sorted(self.roles)), kinds=frozenset((Kind.ROLE, Kind.IDENTITY)))

    @property
    def strangers(self) -> Sequence[Texts]:
        """The names of those that the gate is about and that the policies do not name."""
        return self._strangers

    def of(self, kind: Kind, subjects: tuple[str, ...], names: Texts) -> tuple[str, ...] | None:
        """Those of `subjects` that the gate is about; None if it is about none of them. Anyone else has no subject, and
        a name among `names`."""
        if kind is Kind.ANYONE:
            return () if any(one.intersect(names) for one in self._strangers) else None
        chosen = [name for name in subjects if self._is_named(name, kind)]
        return tuple(chosen) or None

    def _is_named(self, name: str, kind: Kind) -> bool:
        return name in self.roles or (self.is_meant(name) if kind is Kind.ROLE else self.is_identity(name))

    def of_unknown(self, subjects: tuple[str, ...]) -> tuple[str, ...] | None:
        """The same for a part that cannot be compared, whose subjects are roles or identities, or, where there is none,
        anybody."""
        if not subjects:
            return ()
        return tuple([name for name in subjects if self._is_named(name, Kind.IDENTITY)]) or None


def less(names: Texts, exceptions: Iterable[str]) -> list[Texts]:
    """The names without those that are excepted, as disjoint sets."""
    exceptions = tuple(exceptions)
    if not exceptions:
        return [names] if names else []
    return [left for part in complement(texts_of(exceptions)) if (left := names.intersect(part))]


def known_roles(asked: Asked) -> tuple[str, ...]:
    """All roles on either side, as rules write them, sorted."""
    names = {*asked.scene.head.holdings.roles, *asked.scene.space.roles}
    if asked.scene.base is not None:
        names |= asked.scene.base.holdings.roles
    return tuple(sorted(names))


def named_roles(asked: Asked, names: Iterable[str]) -> frozenset[str]:
    """The roles that these names of a gate stand for, as rules write them.

    In rows a role that nobody holds cannot be told from an identity: there a name, or the beginning of one, also stands
    for whatever rules call so.
    """
    names = tuple(names)
    found = set(chosen_roles(names, asked.written, known_roles(asked)))
    if asked.scene.head.bundle.form == "casbin":
        beginnings = [name for name in names if name != "*"]
        found.update(chosen_roles(beginnings, asked.written, asked.scene.space.identities))
    return frozenset(found)
