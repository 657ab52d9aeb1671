"""How findings are worded: quoting what somebody wrote, counting, and guessing what they meant."""

import difflib
from collections.abc import Collection
from itertools import islice

_LONGEST_QUOTE = 80
_LONGEST_GUESS = 64
_LONGEST_LIST = 10
# Comparing is slow, and a large bundle may have many findings: beyond this many names nothing is guessed.
_MOST_CANDIDATES = 500


def quote(text: object) -> str:
    """`text` in backticks, on one line: control characters escaped, long text cut."""
    shown = str(text)
    if len(shown) > _LONGEST_QUOTE:
        shown = shown[: _LONGEST_QUOTE - 1] + "…"
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown)
    return f"`{shown}`"


def listed(names: Collection[str], word: str = "or") -> str:
    """`a`, `b` or `c`; a long list is cut after ten."""
    shown = list(islice(names, _LONGEST_LIST))
    if not shown:
        return "none"
    if len(names) > _LONGEST_LIST:
        return f"{', '.join(map(quote, shown))} {word} {len(names) - _LONGEST_LIST:,} more"
    if len(shown) == 1:
        return quote(shown[0])
    return f"{', '.join(map(quote, shown[:-1]))} {word} {quote(shown[-1])}"


def counted(count: int, noun: str, nouns: str = "") -> str:
    """`1 field`, `3 fields`; `nouns` where the plural is not with `s`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def closest(name: str, known: Collection[str]) -> str:
    """The known name most like `name`, or "" if none is close."""
    if len(name) > _LONGEST_GUESS or len(known) > _MOST_CANDIDATES:
        return ""
    # Compared without case, and in one order whatever the caller's, so that the same text gets the same help.
    folded = {candidate.casefold(): candidate for candidate in sorted(known, reverse=True)}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else ""


def suggest(name: str, known: Collection[str], otherwise: str) -> str:
    """`did you mean …?` where a known name is close, else `otherwise`."""
    guess = closest(name, known)
    return f"did you mean {quote(guess)}?" if guess else otherwise
