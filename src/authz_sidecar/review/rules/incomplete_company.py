"""A company that lacks what all others have.

What it does: finds companies in which nobody holds a role that somebody holds in every other company, group mappings
counted. It looks at bundles with five companies or more.

Why it is bad: a customer was set up by copying another, and a line was left out: its administrator, or the program that
does its work.

Example: an assignment of `CLIENT_ADMIN` in `acme`, `globex`, `initech` and `umbrella`, and none in `hooli`

Use instead: the assignment that is missing.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.definitions import Assignment, GroupMapping
from authz_sidecar.bundle.wording import listed, quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity, Span

CODE = "incomplete-company"

FEWEST_COMPANIES = 5


def _find(material: Material) -> Iterator[Diagnostic]:
    held: dict[str, set[str]] = {}
    places: dict[str, Span] = {}
    entries: tuple[Assignment | GroupMapping, ...] = (*material.bundle.assignments, *material.bundle.group_mappings)
    for entry in entries:
        if entry.company:
            if entry.company not in held:
                held[entry.company] = set()
                places[entry.company] = entry.value_span("company")
            held[entry.company].update(entry.roles)
    if len(held) < FEWEST_COMPANIES:
        return
    counts: dict[str, int] = {}
    for roles in held.values():
        for role in roles:
            counts[role] = counts.get(role, 0) + 1
    usual = {role for role, count in counts.items() if count == len(held) - 1}
    for company, roles in held.items() if usual else ():
        missing = sorted(usual - roles)
        if missing:
            yield Diagnostic(
                places[company],
                CODE,
                f"nobody holds {listed(missing)} in {quote(company)}, as somebody does in each of the other"
                f" {len(held) - 1:,} companies",
                "assign it there, or ignore this where the company is to differ",
                Severity.WARNING,
            )


RULE = LintRule(CODE, "Company that lacks what all others have", "0.1.0", _find, __doc__)
