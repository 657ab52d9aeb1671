"""Names and messages inside HTML and markdown: nothing in them acts on the page, and nothing in them is unseen.

Every function takes text as somebody wrote it and gives markup. Names belong into `markdown_code`: GitHub and GitLab
look for mentions, issue numbers, commits and addresses in rendered text wherever it came from, except in code.
"""

import html
import re

from authz_sidecar.values.visible import visible

# What neither markdown nor a table of it reads as anything else, in a code span of one backtick.
_PLAIN_CODE = re.compile(r"[A-Za-z0-9_.,:;=/+*()\[\]{}'\"!?@#$%^~-]+(?: [A-Za-z0-9_.,:;=/+*()\[\]{}'\"!?@#$%^~-]+)*")
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
# Punctuation that means nothing in the middle of a markdown line.
_HARMLESS = frozenset(",;'\"%/?!()")
# Beginnings of mentions (`@who`), references (`#12`, `!12`, `$12`, `%12`, `&12` and `~label` at GitLab) and addresses:
# found after entities are resolved, so they are also pulled apart.
_REFERENCE = re.compile(r"[@#!$%&~^](?=[\w\"\[])|:(?=//)|(?<=\bwww)\.|(?<=\bmailto):", re.IGNORECASE)
_NOTHING = "&#8203;"


def html_text(text: str) -> str:
    """`text` between HTML tags."""
    return html.escape(visible(text), quote=False)


def html_attribute(text: str) -> str:
    """`text` inside a quoted HTML attribute, without the quotes."""
    return html.escape(visible(text), quote=True)


def markdown_text(text: str) -> str:
    """`text` within a line or a table cell of markdown, as prose: what would be formatting is shown as it was written,
    and no mention, reference or link is made of it."""
    shown = visible(text)
    references = {found.start() for found in _REFERENCE.finditer(shown)}
    parts: list[str] = []
    for at, character in enumerate(shown):
        if at in references:
            parts.append(f"&#{ord(character)};{_NOTHING}")
        elif character in ".-" and at and not shown[:at].isdigit():
            # At the beginning of a line it could begin a list.
            parts.append(character)
        elif character == ":" and shown[at + 1 : at + 2] in ("", " "):
            parts.append(character)
        elif _PUNCTUATION.match(character) and character not in _HARMLESS:
            parts.append(f"&#{ord(character)};")
        else:
            parts.append(character)
    return "".join(parts)


def markdown_code(text: str) -> str:
    """`text` as code within a line or a table cell of markdown: a code span where that holds it, else `<code>`."""
    shown = visible(text)
    if _PLAIN_CODE.fullmatch(shown):
        return f"`{shown}`"
    # In a table a code span ends at `|`, and outside of one a backslash before it would be seen. Entities are neither.
    inner = _PUNCTUATION.sub(lambda found: f"&#{ord(found.group())};", shown)
    return f"<code>{inner.replace(' ', '&#32;')}</code>"
