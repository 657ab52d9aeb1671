"""An object type that nothing grants.

What it does: finds object types of the manifest for which no role and no identity is granted any action. A bundle
without grants is not told.

Why it is bad: nobody can do anything with such objects: a grant was forgotten, or the type is gone from the
application.

Example: `object_types: {case: …, archive: …}` with grants of `case` alone

Use instead: a grant, or a manifest without the type.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "ungranted-object-type"


def _find(material: Material) -> Iterator[Diagnostic]:
    if material.bundle.form != "yaml" or not material.allowances.everyone:
        return
    for name, kind in material.bundle.manifest.object_types.items():
        if not material.allowances.everyone.meets(name, "*"):
            yield Diagnostic(
                kind.span,
                CODE,
                f"nothing grants any action of the object type {quote(name)}",
                "grant it, or remove it from the manifest",
                Severity.WARNING,
            )


RULE = LintRule(CODE, "Object type that nothing grants", "0.1.0", _find, __doc__)
