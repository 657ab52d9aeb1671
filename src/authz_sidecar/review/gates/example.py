"""One request of a set of requests, to show that a gate is broken, and the lines of policy that decide it."""

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise, product

from authz_sidecar.review.access.change import SELF, Box, Kind, Side
from authz_sidecar.review.gates.violation import Example, Line
from authz_sidecar.review.gates.world import World
from authz_sidecar.review.material import Material
from authz_sidecar.values.request import ROLE_PREFIX, Request, value_problem
from authz_sidecar.values.rule import Rule
from authz_sidecar.values.texts import Texts

# So many requests of a set are tried for one that is decided as the set is.
_TRIES = 256
_SOMEBODY = "somebody"
_SOMEBODY_ELSE = "somebody-else"


def find_example(box: Box, kind: Kind, subject: str, allowed: bool, side: Side, material: Material) -> Example | None:
    """A request of `box` that the policy decides so; None if none of those that come to mind is."""
    decide = material.decider.decide
    for request in islice(_requests(box, kind, subject, material), _TRIES):
        if decide(request).allowed == allowed:
            return Example(side, request, allowed, kind)
    return None


def any_example(box: Box, kind: Kind, subject: str, side: Side, material: Material) -> Example | None:
    """A request of `box` with the decision that it gets."""
    for request in islice(_requests(box, kind, subject, material), 1):
        return Example(side, request, material.decider.decide(request).allowed, kind)
    return None


def _requests(box: Box, kind: Kind, subject: str, material: Material) -> Iterator[Request]:
    """Requests of a box, likely ones first."""
    who = subject or _free_subject(material)
    types = material.bundle.manifest.known_types
    kinds = list(_picked(box.type, list(types) or _used(material)))
    actions = [action for name in kinds if name in types for action in types[name].actions] or _used(material)
    owners = ["", _SOMEBODY_ELSE, *([who] if SELF in box.owner else [])]
    parts = product(
        islice(_picked(box.company, ["", "acme"] if kind is Kind.ROLE else ["", *_companies(material)]), 4),
        islice(kinds, 4),
        islice(_picked(box.id, ["", "1"]), 3),
        islice(_picked(box.action, actions), 6),
        islice(_owners(box.owner, who, owners), 3),
    )
    for company, name, identifier, action, owner in parts:
        whole = f"{name}:{identifier}" if name and identifier else name or identifier
        yield Request(who, action, name, identifier, company, owner, whole, section=box.section)


def _picked(of: Texts, likely: Iterable[str]) -> Iterator[str]:
    """Texts of a set: those among the likely ones, then its values, then some with each of its prefixes."""
    seen: set[str] = set()
    candidates: list[str] = [text for text in likely if text in of]
    candidates += sorted(text for text in of.values if text in of)
    for prefix in of.prefixes:
        candidates += [text for text in (f"{prefix}x", f"{prefix}other", f"{prefix}1") if text in of]
    for number in range(2, 50):
        if candidates or not of.prefixes:
            break
        text = f"{of.prefixes[0]}x{number}"
        candidates += [text] if text in of else []
    for text in candidates:
        if text not in seen and not value_problem(text):
            seen.add(text)
            yield text


def _owners(of: Texts, who: str, likely: list[str]) -> Iterator[str]:
    for owner in likely:
        if (owner == who and SELF in of) or (owner != who and owner in of):
            yield owner
    for owner in _picked(of, ()):
        if owner not in (who, SELF):
            yield owner


def _free_subject(material: Material) -> str:
    names = {text for table in material.bundle.tables.values() for column in table.columns[:2] for text in column}
    who = _SOMEBODY
    while who in names:
        who += "-x"
    return who


def _used(material: Material) -> list[str]:
    """Values that rules of a plain bundle use, which may be its types and actions."""
    found: dict[str, None] = {}
    for section in material.bundle.model.sections.values():
        for column in material.bundle.tables[section.ptype].columns:
            for text in islice(column, 200):
                kind, _, _ = text.partition(":")
                found.update({kind: None} if kind and "*" not in kind else {})
    return list(found)[:200]


def _companies(material: Material) -> list[str]:
    found: dict[str, None] = {}
    for name, definition in material.bundle.model.roles.items():
        if definition.has_domain:
            found.update(dict.fromkeys(islice(material.bundle.tables[name].columns[2], 200)))
    return [text for text in found if text != "*"][:3]


def lines_of(example: Example, world: World) -> tuple[Line, ...]:
    """The lines that decide a request: the rule, and the links on the way from the subject to it."""
    explanation = world.material.decider.explain(example.request)
    found: list[Rule] = []
    path = explanation.role_path
    table_names = [name for name in world.bundle.model.roles if name in world.bundle.tables]
    for name, above in pairwise(path):
        if not name.startswith(ROLE_PREFIX):
            found += islice(_links(world, table_names, name, above), 1)
    if explanation.rule is not None:
        found.append(explanation.rule)
    return tuple(Line(example.side, rule) for rule in found)


def _links(world: World, tables: list[str], name: str, role: str) -> Iterator[Rule]:
    for definition in tables:
        table = world.bundle.tables[definition]
        for row, (left, right) in enumerate(zip(table.columns[0], table.columns[1], strict=True)):
            if left == name and right == role:
                yield table.rule(row)
