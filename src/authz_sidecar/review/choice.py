"""Which rules of lint look at a bundle, and how grave what they find is: the manifest's word and the command line's."""

import msgspec

from authz_sidecar.bundle.definitions import Lint
from authz_sidecar.bundle.wording import quote, suggest
from authz_sidecar.review.rules import RULES
from authz_sidecar.values import CODES, Severity
from authz_sidecar.values.codes import RETIRED

WARNINGS_OF_DIRECTORIES = frozenset({"misplaced-role"})
"""What a bundle is warned of only where it is seen beside a directory."""

WARNINGS_OF_LOADING = frozenset({"invisible-character", "role-primary", "rule-quotes"}) | WARNINGS_OF_DIRECTORIES
"""What a bundle that loads is warned of; chosen and silenced as the rules are."""

# INVARIANT never-silenced: no choice, comment or baseline takes these away.
NEVER_SILENCED = frozenset({"gate-violation", "too-many"})

CHOOSABLE = frozenset(rule.code for rule in RULES) | WARNINGS_OF_LOADING
"""The codes that can be selected, left out, made graver and silenced."""


class Choice(msgspec.Struct, frozen=True):
    """What is asked for beside the manifest: codes of the rules to take alone, and of those to leave out."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def severity(self, code: str, own: Severity, lint: Lint, by_default: bool = True) -> Severity | None:
        """How grave the findings of a rule are, `own` if nothing else is said; None where the rule is left out.

        What `select` names outranks the manifest's `select` and `ignore` and its `off`; `ignore` is on top of them. A
        rule that is not `by_default` runs where either `select` names it or the manifest says how grave it is.
        """
        said = lint.severity.get(code)
        if code in self.ignore:
            return None
        if self.select:
            runs = code in self.select
        elif code in lint.ignore or said == "off":
            runs = False
        else:
            runs = code in lint.select or (not lint.select and (by_default or said is not None))
        if not runs:
            return None
        return own if said is None or said == "off" else Severity(said)


def code_problem(code: str) -> tuple[str, str] | None:
    """Why `code` can be neither chosen nor silenced, and the remedy; None if it can."""
    if code in CHOOSABLE:
        return None
    if code in NEVER_SILENCED:
        return f"{quote(code)} is always told", "correct what it tells; nothing silences it"
    if code in RETIRED:
        instead = RETIRED[code]
        return f"the rule {quote(code)} is gone", f"its place took {quote(instead)}" if instead else "remove it"
    if code in CODES:
        return f"{quote(code)} is an error that refuses the bundle", "correct what it tells; no error can be left out"
    return f"there is no rule {quote(code)}", suggest(code, CHOOSABLE, "`authz-sidecar lint --list` shows all")
