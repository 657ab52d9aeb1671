"""What a lint rule is."""

from collections.abc import Callable, Iterable

import msgspec

from authz_sidecar.review.material import Material
from authz_sidecar.values import Diagnostic


class LintRule(msgspec.Struct, frozen=True):
    """One rule: `find` yields its findings, all with the code `code`. Its module's docstring is its manual page."""

    code: str
    find: Callable[[Material], Iterable[Diagnostic]]
