"""An action that nothing grants.

What it does: finds actions of the manifest that no grant names for any object type and no wildcard takes in. An action
that is granted for one type and not for another is not told: that is what policies are for. Nor is one of a type that
nothing grants at all, which is an `ungranted-object-type`.

Why it is bad: nobody can do it: a grant was forgotten, or what the application asks for has another name.

Example: `report: {actions: [read, export]}` where every grant of reports is `actions: [read]`

Use instead: a grant, or a manifest without the action.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.expansion import ANY
from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "ungranted-action"


def _find(material: Material) -> Iterator[Diagnostic]:
    if material.bundle.form != "yaml":
        return
    everyone = material.allowances.everyone
    for name, kind in material.bundle.manifest.object_types.items():
        if not everyone.meets(name, ANY):
            continue
        for index, action in enumerate(kind.actions):
            if action not in everyone.actions and not everyone.covers(name, action):
                yield Diagnostic(
                    kind.value_span("actions", index),
                    CODE,
                    f"nothing grants {quote(action)} of {quote(name)}, nor of any other object type",
                    "grant it, or remove it from the manifest",
                    Severity.WARNING,
                )


RULE = LintRule(CODE, "Action that nothing grants", "0.1.0", _find, __doc__)
