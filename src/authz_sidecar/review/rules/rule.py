"""What a lint rule is."""

import enum
from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from authz_sidecar.review.material import Material
from authz_sidecar.values import Diagnostic, Severity, Span


class EditKind(enum.Enum):
    """What an edit does with the piece of text that begins at its place."""

    REMOVE_ITEM = "remove-item"
    """Take out an item of a list, or a row."""
    REMOVE_ENTRY = "remove-entry"
    """Take out a key of a mapping with its value."""
    REPLACE = "replace"
    """Write another value in the place of one that is plain text."""


class Edit(msgspec.Struct, frozen=True):
    """One step of a fix: what to do with the item, entry or value that begins at `span`; `text` is the new value."""

    kind: EditKind
    span: Span
    text: str = ""


Find: TypeAlias = Callable[[Material], Iterable[Diagnostic]]
Fix: TypeAlias = Callable[[Material, Diagnostic], Iterable[Edit]]


class LintRule(msgspec.Struct, frozen=True):
    """One rule.

    `code` is what selects it, `name` its title, `since` the version that it came with. `find` yields its findings, all
    with that code. `manual` is the docstring of its module: a sentence, then `What it does:`, `Why it is bad:`,
    `Example:` and `Use instead:`. `severity` is that of its findings unless the manifest says otherwise. `fix` gives
    the edits that remove a finding and change no decision; empty where this one cannot be corrected safely. What is not
    `by_default` is a matter of taste, and runs where it is selected or given a severity.
    """

    code: str
    name: str
    since: str
    find: Find
    manual: str | None
    severity: Severity = Severity.WARNING
    fix: Fix | None = None
    by_default: bool = True
