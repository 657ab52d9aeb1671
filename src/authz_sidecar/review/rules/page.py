"""The manual page of a lint rule, made from the docstring of its module."""

import re

from authz_sidecar.review.rules.rule import LintRule

HEADINGS = ("What it does", "Why it is bad", "Example", "Use instead")
"""The parts of a page, in this order; each begins a line of the docstring, followed by a colon."""

_HEADING = re.compile(rf"^({'|'.join(HEADINGS)}):[ \t]*\n?", re.MULTILINE)


def split_manual(manual: str) -> tuple[str, dict[str, str]]:
    """The sentence that a manual begins with, and its parts by heading, each without the blank lines around it."""
    summary, *rest = _HEADING.split(manual)
    # The pattern has one group, so headings and parts take turns.
    parts = {heading: text.strip("\n") for heading, text in zip(rest[::2], rest[1::2], strict=True)}
    return " ".join(summary.split()), parts


def rule_page(rule: LintRule) -> str:
    """The page in markdown: `docs/rules/CODE.md`, and what `lint --explain CODE` shows."""
    summary, parts = split_manual(rule.manual or "")
    facts = [
        f"`{rule.code}`",
        str(rule.severity) + ("" if rule.by_default else ", off by default"),
        f"since {rule.since}",
    ]
    if rule.fix is not None:
        facts.append("`lint --fix` corrects it")
    lines = [f"# {rule.name}", "", " · ".join(facts), "", summary]
    for heading in HEADINGS:
        text = parts.get(heading, "")
        lines += ["", f"## {heading}", "", text[:1].upper() + text[1:]]
    return "\n".join(lines) + "\n"
