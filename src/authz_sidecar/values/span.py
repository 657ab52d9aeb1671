"""A place in a bundle's text."""

import msgspec


class Span(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where something stands: `file` relative to the bundle, `line` and `column` counted from 1.

    Columns count characters, not bytes. Line 0 means the file as a whole.
    """

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"
