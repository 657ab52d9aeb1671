"""Text from a bundle or a request as a reader can trust it: what cannot be seen is escaped.

A name may hold anything but control characters, so it may reorder what stands beside it or look like another name.
"""

import re

# Printable by Python's count, yet drawn as nothing: Unicode's Default_Ignorable_Code_Point beyond the category Cf,
# and the blank of Braille.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def visible(text: str) -> str:
    r"""`text` with every character that is not printable or not seen (controls, line breaks, bidirectional marks,
    zero-width and filling characters) escaped as Python writes it: `\x1b`, `\u202e`."""
    if text.isprintable() and (text.isascii() or not _UNSEEN.search(text)):
        return text
    return "".join(
        character
        if character.isprintable() and not _UNSEEN.match(character)
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
