"""Texts as cells of CSV that a spreadsheet shows and does not run (OWASP, "CSV Injection"), and back."""

import re
from typing import Final

_ACTS: Final = r"(?=(?:[^\S;\t\r\n]|[\0\u200b-\u200f\ufeff])*[=+\-@'\uff1d\uff0b\uff0d\uff20])"
_LINE: Final = r"(?=[\t\r\n])"
# Where a spreadsheet would run what follows, or take it for more than text: at the beginning of a cell, and after what
# begins another one where semicolons, tabs or lines divide cells, whatever the quotes say. Some leave out spaces before
# it. Full-width forms act, too. An apostrophe gets one more, so that taking one away at each of these places always
# gives what was written.
_ACTING: Final = re.compile(rf"\A{_LINE}|(?:\A|(?<=[;\t\r\n])){_ACTS}")
_ESCAPE: Final = re.compile(rf"\A'{_LINE}|(?:\A|(?<=[;\t\r\n]))'{_ACTS}")


def escape_cell(text: str) -> str:
    """A cell that a spreadsheet takes for text, whatever is in it: where it would not, there is an apostrophe."""
    return _ACTING.sub("'", text)


def unescape_cell(cell: str) -> str:
    """What was written, of a cell that `escape_cell` made."""
    return _ESCAPE.sub("", cell)
