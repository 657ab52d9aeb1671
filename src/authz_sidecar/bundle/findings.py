"""The collection of findings while a bundle is read: bounded, without repeats, sorted at the end."""

from authz_sidecar.values.diagnostic import Diagnostic, Severity
from authz_sidecar.values.span import Span

MAX_SHOWN = 1000


class Findings:
    """Collects diagnostics. At most 1,000 of each severity are kept, so that a file of a million bad rows costs
    little and warnings never crowd out errors; the rest is counted."""

    __slots__ = ("_hidden", "_kept", "_seen")

    def __init__(self) -> None:
        self._kept: dict[Severity, list[Diagnostic]] = {Severity.ERROR: [], Severity.WARNING: []}
        self._hidden = dict.fromkeys(self._kept, 0)
        self._seen: set[Diagnostic] = set()

    def error(self, span: Span, code: str, message: str, help: str) -> None:
        """Report an error: the bundle will be refused."""
        self.add(Diagnostic(span, code, message, help))

    def warning(self, span: Span, code: str, message: str, help: str) -> None:
        """Report a warning: the bundle is served."""
        self.add(Diagnostic(span, code, message, help, Severity.WARNING))

    def add(self, diagnostic: Diagnostic) -> None:
        """Take over a diagnostic; one that was reported already is dropped."""
        kept = self._kept[diagnostic.severity]
        if diagnostic in self._seen:
            return
        if len(kept) >= MAX_SHOWN:
            self._hidden[diagnostic.severity] += 1
            return
        self._seen.add(diagnostic)
        kept.append(diagnostic)

    @property
    def errors(self) -> int:
        """How many errors were found so far."""
        return len(self._kept[Severity.ERROR]) + self._hidden[Severity.ERROR]

    @property
    def refused(self) -> bool:
        """Whether any error was found."""
        return bool(self._kept[Severity.ERROR])

    @property
    def full(self) -> bool:
        """Whether further errors would only be counted; a reader of many rows may then stop."""
        return len(self._kept[Severity.ERROR]) >= MAX_SHOWN

    def sorted(self) -> list[Diagnostic]:
        """Everything kept, by place; after it, one line for each severity of which some were not kept."""
        shown = sorted((d for kept in self._kept.values() for d in kept), key=lambda d: d.sort_key)
        for severity, hidden in self._hidden.items():
            if hidden:
                last = max(self._kept[severity], key=lambda d: d.sort_key)
                shown.append(
                    Diagnostic(
                        Span(last.span.file),
                        "too-many",
                        f"{hidden:,} more {severity}s were found",
                        f"the first {MAX_SHOWN:,} are shown; correct them and run again",
                        severity,
                    )
                )
        return shown
