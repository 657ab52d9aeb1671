"""Names that look like another: letters that nobody sees, spaces that are none of the keyboard, letters taken apart.

What nobody sees is what Unicode ignores by default where it cannot be shown (Default_Ignorable_Code_Point of
DerivedCoreProperties) and the empty Braille pattern. Letters of another alphabet that look alike are not told apart.
"""

import re
import unicodedata

_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def look_alike_problem(name: str) -> str:
    """Why a name may be taken for another one, or "" if it may not."""
    if name.isascii():
        return ""
    found = next((letter for letter in name if is_hidden(letter)), "")
    if found:
        return f"holds the character U+{ord(found):04X}, which nobody sees"
    found = next((letter for letter in name if letter != " " and letter.isspace()), "")
    if found:
        return f"holds the space U+{ord(found):04X}, which looks like another"
    return "" if unicodedata.is_normalized("NFC", name) else "has letters that are taken apart (it is not in NFC)"


def is_hidden(letter: str) -> bool:
    """Whether nobody sees a letter: what Unicode ignores, its other format characters, and surrogates."""
    return _HIDDEN.fullmatch(letter) is not None or unicodedata.category(letter) in ("Cf", "Cs")
