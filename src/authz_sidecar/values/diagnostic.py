"""Diagnostics: what is wrong with a bundle, where, and what to do about it."""

import enum

import msgspec

from authz_sidecar.values.codes import CODES
from authz_sidecar.values.span import Span

__all__ = ["CODES", "Diagnostic", "Severity"]


class Severity(enum.StrEnum):
    """An error refuses the bundle; a warning is shown and the bundle is served."""

    ERROR = "error"
    WARNING = "warning"


class Diagnostic(msgspec.Struct, frozen=True):
    """One finding. `message` is lower case, one line, without a final stop, user input in backticks;
    `help` is the remedy in the same style; `code` is a key of `CODES`.
    """

    span: Span
    code: str
    message: str
    help: str
    severity: Severity = Severity.ERROR

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"undeclared diagnostic code {self.code!r}: add it to values/codes.py")

    @property
    def sort_key(self) -> tuple[Span, str, str]:
        """Diagnostics are shown by file, line, column, then code."""
        return (self.span, self.code, self.message)
