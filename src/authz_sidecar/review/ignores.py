"""The comments of a bundle that silence findings, and which of them did."""

from collections.abc import Iterable, Iterator

from authz_sidecar.bundle.ignores import Ignore
from authz_sidecar.values import Diagnostic, Span


class Ignores:
    """The comments under review. A comment without a reason silences nothing.

    `ran` are the codes of the rules that looked at the bundle: of the others nobody can say whether a comment is used.
    """

    def __init__(self, comments: Iterable[Ignore] = ()) -> None:
        self.comments = tuple(comments)
        self.ran: set[str] = set()
        self._used: set[Span] = set()
        self._at: dict[tuple[str, int, str], tuple[Ignore, Span]] = {}
        for comment in self.comments:
            if comment.reason:
                for code, span in comment.codes:
                    self._at.setdefault((span.file, comment.line, code), (comment, span))

    def silencing(self, finding: Diagnostic) -> Ignore | None:
        """The comment that silences a finding, which has been of use by that."""
        found = self._at.get((finding.span.file, finding.span.line, finding.code)) if self._at else None
        if found is None:
            return None
        self._used.add(found[1])
        return found[0]

    def unused(self) -> Iterator[tuple[str, Span]]:
        """Codes of rules that ran and found nothing there, each with its place in the comment."""
        for comment in self.comments:
            if comment.reason:
                for code, span in comment.codes:
                    if code in self.ran and span not in self._used:
                        yield code, span
