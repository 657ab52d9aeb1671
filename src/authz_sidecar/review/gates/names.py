"""What the names in gates stand for: sets of texts, boxes of requests, roles."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.gates import Requests, matches
from authz_sidecar.review.access.change import SELF, Box
from authz_sidecar.values.request import ROLE_PREFIX
from authz_sidecar.values.texts import ANY, Texts, texts, values_of

_OWN = values_of((SELF,))
_OTHERS = Texts(prefixes=("",), except_values=frozenset((SELF,)))
_OWNERS = {"any": ANY, "own": _OWN, "others": _OTHERS}

Pair = tuple[str, str]
"""An object type and an action."""


def texts_of(names: Iterable[str]) -> Texts:
    """The texts that names stand for; all, where there are no names."""
    names = tuple(names)
    if not names:
        return ANY
    return texts(
        [name for name in names if not name.endswith("*")], [name[:-1] for name in names if name.endswith("*")]
    )


def any_matches(names: Iterable[str], name: str) -> bool:
    """Whether one of the names of a gate stands for `name`."""
    return any(matches(pattern, name) for pattern in names)


def boxes_of(part: Requests, bundles: Sequence[Bundle]) -> tuple[Box, ...]:
    """The requests that a part of a gate is about, as boxes. What a data domain stands for is taken from each of the
    bundles, so that no other meaning of its name in one of them lets a request out."""
    actions = texts_of(part.actions)
    what: dict[tuple[Texts, Texts], None] = {}
    if part.objects or not part.data_domains:
        what[texts_of(part.objects), actions] = None
    for bundle in bundles:
        for name, domain in bundle.data_domains.items():
            if any_matches(part.data_domains, name):
                theirs = values_of(domain.actions).intersect(actions) if domain.actions else actions
                if theirs:
                    what[values_of(domain.objects), theirs] = None
    sections = dict.fromkeys(suffix for bundle in bundles for suffix in bundle.model.sections)
    return tuple(
        Box(
            company=texts_of(part.companies),
            type=kinds,
            id=texts_of(part.ids),
            action=acts,
            owner=_OWNERS[part.scope],
            section=section,
        )
        for kinds, acts in what
        for section in ([part.section] if part.section else sections)
    )


def boxes_by_name(box: Box) -> Iterator[Box]:
    """The same objects as a model knows them that looks at their names alone (see `AccessSpace.canonical`): an object
    that a gate tells by its id, whatever its type, may be one without type, and is then the one of that name."""
    if "" not in box.type or box.id == ANY:
        return
    for text in sorted(box.id.values - {""}):
        kind, _, rest = text.partition(":")
        kind, rest = (kind, rest) if kind and rest else (text, "")
        yield msgspec.structs.replace(box, type=values_of((kind,)), id=values_of((rest,)))
    for prefix in box.id.prefixes:
        kind, colon, rest = prefix.partition(":")
        if colon and kind:
            yield msgspec.structs.replace(box, type=values_of((kind,)), id=texts((), (rest,)))
        else:
            yield msgspec.structs.replace(box, type=texts((), (prefix,)), id=ANY)


def pairs_of(domain_names: Iterable[str], bundle: Bundle) -> frozenset[Pair]:
    """The declared object types and actions that data domains stand for in a bundle."""
    names = tuple(domain_names)
    types = bundle.manifest.known_types
    return frozenset(
        (kind, action)
        for name, domain in bundle.data_domains.items()
        if any_matches(names, name)
        for kind in domain.objects
        if kind in types
        for action in types[kind].actions
        if not domain.actions or action in domain.actions
    )


def role_namer(bundle: Bundle) -> Callable[[str], str]:
    """How a role's name in the bundle's gates is written in rules. Names of a YAML bundle are without the prefix."""
    if bundle.form == "yaml":
        return lambda name: name if name == "*" else ROLE_PREFIX + name
    return lambda name: name


def chosen_roles(names: Iterable[str], written: Callable[[str], str], roles: Iterable[str]) -> Iterator[str]:
    """Of `roles` (as rules write them), those that names of a gate stand for."""
    patterns = [written(name) for name in names]
    for role in roles:
        if any_matches(patterns, role):
            yield role
