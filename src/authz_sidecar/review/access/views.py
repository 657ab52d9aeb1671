"""What a subject sees of two policies: in which companies which statements hold for it, and through which roles."""

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from authz_sidecar.model.expression import Const, Expr, RoleCall, Token
from authz_sidecar.review.access.conditions import Asker
from authz_sidecar.review.access.partition import Classes
from authz_sidecar.review.access.statements import REQUESTED, Binding, Branch, SectionRules
from authz_sidecar.values.texts import ANY, Texts, values_of

# Where roles of YAML bundles are assigned; None where the policy does not say.
RolePlace: TypeAlias = Literal["platform", "company"] | None


class Holding(NamedTuple):
    """A role by which a branch's rules are reached, in these companies; `condition` is what is not known of that."""

    branch: int
    role: str
    companies: Texts
    condition: str = ""


class View(NamedTuple):
    """Companies in which a subject sees the same: the statements of either side, and the roles it holds there."""

    companies: Texts
    base: int
    head: int
    base_roles: frozenset[str]
    head_roles: frozenset[str]


class _Share(NamedTuple):
    companies: Texts
    side: int
    mask: int
    role: str


def views_of(
    sides: tuple[SectionRules | None, SectionRules | None], asker: Asker, places: Iterable[RolePlace]
) -> list[View]:
    """The views of a subject; `places` tell for either side where its roles' holders hold it, if it is such a role."""
    shares: list[_Share] = []
    for side, (rules, place) in enumerate(zip(sides, places, strict=True)):
        if rules is None:
            continue
        shares += [_Share(ANY, side, _mask(branch, None, asker), "") for branch in rules.branches]
        for holding in holdings_of(rules, asker, place):
            branch = rules.branches[holding.branch]
            mask = _mask(branch, holding.role, asker, holding.condition)
            if mask:
                shares.append(_Share(holding.companies, side, mask, holding.role))
    return _by_company([share for share in shares if share.mask])


def holdings_of(rules: SectionRules, asker: Asker, place: RolePlace = None) -> list[Holding]:
    """The roles, and the name itself, by which a subject reaches rules of each branch."""
    found: list[Holding] = []
    for branch in rules.branches:
        binding = branch.binding
        if binding is None:
            continue
        if place is not None:
            # Who holds a company's role holds it nowhere on the platform, and the other way round.
            if binding.by_company is (place == "company") and asker.name in branch.bound:
                found.append(Holding(branch.number, asker.name, ANY))
            continue
        if not binding.definition:
            if asker.name in branch.bound:
                found.append(Holding(branch.number, asker.name, ANY))
        elif binding.by_company:
            for role, held in rules.roles.by_domain(binding.definition, asker.name).items():
                if role in branch.bound:
                    condition = "" if held.exact else _condition(rules, binding, role)
                    found.append(Holding(branch.number, role, held.companies, condition))
        else:
            inside = rules.roles.in_domain(binding.definition, asker.name, binding.domain or "")
            for role, exact in inside.items():
                if role in branch.bound:
                    found.append(Holding(branch.number, role, ANY, "" if exact else _condition(rules, binding, role)))
    return found


def _condition(rules: SectionRules, binding: Binding, role: str) -> str:
    domain: tuple[Expr, ...] = ()
    if binding.domain is not None:
        domain = (Token("dom"),) if binding.domain == REQUESTED else (Const(binding.domain),)
    return rules.text(RoleCall(binding.definition, (Token("sub"), Const(role), *domain)))


def _mask(branch: Branch, name: str | None, asker: Asker, condition: str = "") -> int:
    """The statements of the rules for a name, as who asks sees them."""
    mask, late = branch.mask(name)
    if condition:
        mask, late = 0, branch.bound.get(name, []) if name is not None else branch.open
    for row in late:
        mask |= branch.statements(row, branch.said(row, asker), condition)
    return mask


def _by_company(shares: list[_Share]) -> list[View]:
    """The views that come of statements seen in some companies each."""
    everywhere = [share for share in shares if share.companies is ANY]
    somewhere = [share for share in shares if share.companies is not ANY]
    if not somewhere:
        return [_view(ANY, everywhere)]
    groups: dict[tuple[int, ...], list[str]] = {}
    if all(share.companies.finite for share in somewhere):
        by_company: dict[str, list[int]] = {}
        for number, share in enumerate(somewhere):
            for company in share.companies.values:
                by_company.setdefault(company, []).append(number)
        for company, numbers in by_company.items():
            groups.setdefault(tuple(numbers), []).append(company)
        views = [
            _view(values_of(companies), [*everywhere, *[somewhere[number] for number in numbers]])
            for numbers, companies in groups.items()
        ]
        rest = values_of(by_company).complement()
        return views if rest is None else [*views, _view(rest, everywhere)]
    classes = Classes([share.companies for share in somewhere], "company")
    found: list[View] = []
    by_members: dict[tuple[int, ...], list[int]] = {}
    for at, atom in enumerate(classes.atoms):
        members = tuple([number for number, share in enumerate(somewhere) if atom.sample in share.companies])
        by_members.setdefault(members, []).append(at)
    for members, atoms in by_members.items():
        shared = [*everywhere, *[somewhere[number] for number in members]]
        found += [_view(texts, shared) for texts in classes.join([classes.atoms[at] for at in atoms])]
    return found


def _view(companies: Texts, shares: list[_Share]) -> View:
    masks = [0, 0]
    roles: tuple[set[str], set[str]] = (set(), set())
    for share in shares:
        masks[share.side] |= share.mask
        roles[share.side].add(share.role)
    return View(companies, masks[0], masks[1], frozenset(roles[0]), frozenset(roles[1]))
