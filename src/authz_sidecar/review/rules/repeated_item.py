"""An item that stands twice in a list.

What it does: finds items that a list of names holds twice: actions of an object type, object types and actions of a
data domain, roles and actions of a flag, what a role inherits, the actions to which a data domain is narrowed, the
roles of a group mapping, and `built_in_roles`. In a grant it is a `duplicate-grant`.

Why it is bad: it was meant to be another, or it is a line that says nothing; and whoever removes one leaves the other.

Example: `objects: [case, report, case]`

Use instead: the item once. Removing the other changes no decision.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.bundle.yaml_definition import Definition
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import Edit, EditKind, LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "repeated-item"


def _find(material: Material) -> Iterator[Diagnostic]:
    for definition, field in _lists(material):
        items: list[str] = getattr(definition, field)
        if len(set(items)) == len(items):
            continue
        seen: set[str] = set()
        for index, item in enumerate(items):
            if item in seen:
                yield Diagnostic(
                    definition.value_span(field, index),
                    CODE,
                    f"{quote(item)} stands twice in {quote(field)}",
                    "remove it, or write the one that is meant",
                    Severity.WARNING,
                )
            seen.add(item)


def _lists(material: Material) -> Iterator[tuple[Definition, str]]:
    """Every list of names that is not part of a grant or an assignment: its definition and its field."""
    bundle = material.bundle
    yield bundle.manifest, "built_in_roles"
    for kind in bundle.manifest.object_types.values():
        yield kind, "actions"
        yield kind, "sensitive_actions"
    for domain in bundle.data_domains.values():
        yield domain, "objects"
        yield domain, "actions"
    for flag in bundle.flags.values():
        yield flag, "roles"
        yield flag, "actions"
    for role in bundle.roles.values():
        yield role, "inherits"
        for use in role.data_domains:
            yield use, "actions"
    for mapping in bundle.group_mappings:
        yield mapping, "roles"


def _fix(_material: Material, finding: Diagnostic) -> Iterator[Edit]:
    yield Edit(EditKind.REMOVE_ITEM, finding.span)


RULE = LintRule(CODE, "Item that stands twice in a list", "0.1.0", _find, __doc__, fix=_fix)
