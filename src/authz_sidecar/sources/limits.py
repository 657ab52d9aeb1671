"""What a bundle may hold wherever it is read from, and the findings about what it may not: shared by the readers of
directories and of commits."""

from authz_sidecar.bundle.files import MAX_BUNDLE_BYTES, MAX_FILES
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.wording import quote
from authz_sidecar.values.span import Span


class BundleBounds:
    """Counts the entries and the bytes of one bundle against the limits."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._entries = 0
        self._bytes = 0

    def count(self) -> bool:
        """One more file or folder; False, and a finding, if that is one too many."""
        self._entries += 1
        if self._entries <= MAX_FILES:
            return True
        self._findings.error(
            Span("."),
            "bundle-size",
            f"the bundle has more than {MAX_FILES:,} files and folders",
            "name the directory that holds the policies alone, or split the bundle",
        )
        return False

    def take(self, name: str, size: int) -> bool:
        """A file of `size` bytes; False, and a finding, if the bundle is too large with it."""
        self._bytes += size
        if self._bytes <= MAX_BUNDLE_BYTES:
            return True
        self._findings.error(
            Span(name),
            "bundle-size",
            f"the bundle holds more than {MAX_BUNDLE_BYTES:,} bytes up to {quote(name)}",
            "split the bundle",
        )
        return False


def name_problem(name: str, findings: Findings) -> bool:
    """Whether `name` is no name for a file of a bundle, which is then a finding."""
    if name.isprintable() and "\\" not in name:
        return False
    findings.error(
        Span(ascii(name)[1:-1]),
        "file-name",
        f"the name {quote(ascii(name)[1:-1])} is not plain UTF-8 text",
        "rename the file; names of a bundle are printable and hold no backslash",
    )
    return True


def unreadable_problem(name: str, cause: str, findings: Findings) -> None:
    """Report what cannot be opened."""
    findings.error(
        Span(name),
        "file-unreadable",
        f"{quote(name)} cannot be read: {cause}",
        "let the user that runs the sidecar read it, or remove it from the bundle",
    )


def link_problem(name: str, what: str, findings: Findings) -> None:
    """Report a symbolic link that does not lead to a file of the bundle."""
    findings.error(
        Span(name),
        "file-link",
        f"the symbolic link {quote(name)} {what}",
        "replace the link by the file itself",
    )


def kind_problem(name: str, findings: Findings) -> None:
    """Report an entry that is no regular file."""
    findings.error(
        Span(name),
        "file-kind",
        f"{quote(name)} is neither a file nor a directory",
        "remove it; a bundle holds regular files only",
    )
