"""A data domain that gives nothing for one of its object types.

What it does: finds data domains whose `actions` leave out an object type, since it declares none of them, and roles
that narrow a data domain to actions which one of its object types does not have.

Why it is bad: the object type stands in the data domain, and whoever is granted it gets nothing there. Actions that a
type does not declare are passed over without a word.

Example: `RECORDS: {objects: [case, report], actions: [update]}` where `report` has `read` and `export` alone

Use instead: an action that the object type has, or a data domain without that type.
"""

from collections.abc import Iterator, Sequence

from authz_sidecar.bundle.wording import listed, quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "partial-data-domain"


def _find(material: Material) -> Iterator[Diagnostic]:
    bundle = material.bundle
    declared = {name: frozenset(kind.actions) for name, kind in bundle.manifest.known_types.items()}

    def left_out(kinds: Sequence[str], actions: Sequence[str]) -> list[int]:
        return [index for index, kind in enumerate(kinds) if declared[kind].isdisjoint(actions)]

    empty: dict[str, set[str]] = {}
    for name, domain in bundle.data_domains.items():
        for index in left_out(domain.objects, domain.actions) if domain.actions else ():
            kind = domain.objects[index]
            empty.setdefault(name, set()).add(kind)
            yield Diagnostic(
                domain.value_span("objects", index),
                CODE,
                f"the data domain {quote(name)} gives nothing for {quote(kind)}, which has no action of its list",
                f"name one of {listed(sorted(declared[kind]))}, or leave {quote(kind)} out",
                Severity.WARNING,
            )
    for role_name, role in bundle.roles.items():
        for place, use in enumerate(role.data_domains):
            if not use.actions:
                continue
            kinds = bundle.data_domains[use.name].objects
            missing = [kinds[index] for index in left_out(kinds, use.actions)]
            missing = [kind for kind in missing if kind not in empty.get(use.name, ())]
            if missing:
                yield Diagnostic(
                    role.value_span("data_domains", place),
                    CODE,
                    f"the data domain {quote(use.name)} gives {quote(role_name)} nothing for {listed(missing, 'and')}",
                    "narrow it to actions that each of its types has, or grant the types that are meant",
                    Severity.WARNING,
                )


RULE = LintRule(CODE, "Data domain that gives nothing for one of its types", "0.1.0", _find, __doc__)
