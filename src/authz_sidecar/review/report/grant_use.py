"""The least-privilege report: text for terminals, markdown for pull requests, plain objects for JSON."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.grant_use import GrantUse, RoleUse, UseReport
from authz_sidecar.review.report.log_facts import caveats, facts_object, short_time
from authz_sidecar.review.report.markup import markdown_code
from authz_sidecar.review.report.page import markdown_table
from authz_sidecar.review.report.wording import role_name
from authz_sidecar.values import Span
from authz_sidecar.values.visible import visible

NOBODY = "(no role)"
# Of each role in text and markdown; JSON has all.
MOST_SHOWN = 100
# What a rule says of itself by its place and role already, or does not say.
_PLAIN_FIELDS = frozenset(("sub", "eft"))
_WHAT = frozenset(("act", "type", "obj"))
_SILENT = frozenset(("*", "", "True", "allow"))


def use_text(report: UseReport, period: str) -> list[str]:
    """The lines of the report; `period` says how much of what was asked for the log covers."""
    found = f"{report.unused:,} of {counted(len(report.grants), 'grant')} unused"
    lines = [
        f"{found} by {counted(report.facts.decisions, 'decision')}{_lists(report)}",
        f"policy  {visible(report.policy_version)}",
        f"log     {period}",
    ]
    for role in _sorted(report.roles):
        if not role.unused and not _replaceable(role):
            continue
        lines += ["", f"{visible(role_name(role.role)) or NOBODY}: {_share(role)}"]
        places = _places(role)
        for place, part, grants in places[:MOST_SHOWN]:
            lines.append(f"  {visible(place)} {part}")
            lines += [f"    {visible(what)}" for what in _sums(grants)]
        if len(places) > MOST_SHOWN:
            lines.append(f"  and {len(places) - MOST_SHOWN:,} more places: see `--format json`")
        lines += [f"  replaceable  {_line(grant)}" for grant in _replaceable(role)[:MOST_SHOWN]]
    said = [*caveats(report.facts), *_untold(report)]
    return [*lines, *([""] if said else []), *[f"note: {sentence}" for sentence in said]]


def use_markdown(report: UseReport, period: str) -> list[str]:
    """The lines of a section in markdown."""
    found = f"**{report.unused:,} of {counted(len(report.grants), 'grant')} unused**"
    by = f"by {counted(report.facts.decisions, 'logged decision')}{_lists(report)}"
    lines = [f"{found} {by}, policy {markdown_code(report.policy_version)}. The log: {period}.", ""]
    roles = [role for role in _sorted(report.roles) if role.unused]
    rows = [
        [
            markdown_code(role_name(role.role)) if role.role else NOBODY,
            f"{len(role.unused):,} of {len(role.grants):,}",
            f"{len(role.unused) / len(role.grants):.0%}",
        ]
        for role in roles
    ]
    lines += markdown_table(("role", "unused", "share"), rows, numbers=(1, 2)) if rows else ["Every grant is used."]
    for role in roles:
        places = _places(role)
        shown = [
            [markdown_code(place), part, "<br>".join(markdown_code(what) for what in _sums(grants))]
            for place, part, grants in places[:MOST_SHOWN]
        ]
        title = markdown_code(role_name(role.role)) if role.role else NOBODY
        lines += ["", f"### {title}", "", *markdown_table(("place", "unused there", "what"), shown)]
        if len(places) > MOST_SHOWN:
            lines += ["", f"and {len(places) - MOST_SHOWN:,} more places"]
    said = [*caveats(report.facts), *_untold(report)]
    return [*lines, *([""] if said else []), *[f"- {sentence}" for sentence in said]]


def use_object(report: UseReport) -> dict[str, Any]:
    """The report for programs."""
    return {
        "policy_version": report.policy_version,
        "grants": len(report.grants),
        "unused": report.unused,
        "untold_lists": report.untold,
        "log": facts_object(report.facts),
        "roles": [
            {
                "role": role.role or None,
                "grants": len(role.grants),
                "unused": len(role.unused),
                "list": [
                    {
                        "file": grant.span.file,
                        "line": grant.span.line,
                        "column": grant.span.column,
                        "fields": grant.fields,
                        "effect": "allow" if grant.allows else "deny",
                        "used": grant.used,
                        "replaceable": grant.replaceable,
                        "decisions": grant.decisions,
                        "lists": grant.lists,
                        "last": grant.last or None,
                    }
                    for grant in role.grants
                ],
            }
            for role in report.roles
        ],
    }


def _sorted(roles: Sequence[RoleUse]) -> list[RoleUse]:
    """The roles with the largest number of unused grants first."""
    return sorted(roles, key=lambda role: (-len(role.unused), role.role))


def _replaceable(role: RoleUse) -> list[GrantUse]:
    return [grant for grant in role.grants if grant.replaceable]


def _places(role: RoleUse) -> list[tuple[str, str, list[GrantUse]]]:
    """Where unused grants are written: the place, how many of what stands there they are, and they themselves."""
    there = Counter(grant.span for grant in role.grants)
    places: dict[Span, list[GrantUse]] = {}
    for grant in role.unused:
        places.setdefault(grant.span, []).append(grant)
    return [
        (str(span), "all of it" if len(grants) == there[span] else f"{len(grants):,} of {there[span]:,}", grants)
        for span, grants in places.items()
    ]


def _sums(grants: Sequence[GrantUse]) -> list[str]:
    """What grants say, those of the same actions together: `read, update folder, report scope=own`."""
    actions: dict[tuple[str, ...], list[str]] = {}
    for grant in grants:
        effect, action, kind, rest = _parts(grant)
        actions.setdefault((effect, kind, rest), []).append(action)
    kinds: dict[tuple[str, ...], list[str]] = {}
    for (effect, kind, rest), names in actions.items():
        kinds.setdefault((effect, ", ".join(dict.fromkeys(names)), rest), []).append(kind)
    return [
        " ".join(part for part in (effect, names, ", ".join(found), rest) if part)
        for (effect, names, rest), found in kinds.items()
    ]


def _share(role: RoleUse) -> str:
    unused, grants = len(role.unused), len(role.grants)
    return f"{unused:,} of {counted(grants, 'grant')} unused ({unused / grants:.0%})"


def _lists(report: UseReport) -> str:
    return f" and {counted(report.facts.filters, 'list')}" if report.facts.filters else ""


def _untold(report: UseReport) -> list[str]:
    if not report.untold:
        return []
    return [f"{counted(report.untold, 'list')} rest on too many grants to follow, which may count as unused here"]


def _line(grant: GrantUse) -> str:
    used = f", last {short_time(grant.last)}" if grant.last else ""
    return f"{visible(_what(grant))}  {visible(str(grant.span))}{used}"


def _what(grant: GrantUse) -> str:
    """`delete folder scope=own`: what a rule says beside its role, without what says nothing."""
    return " ".join(part for part in _parts(grant) if part)


def _parts(grant: GrantUse) -> tuple[str, str, str, str]:
    """A grant's effect ("" for allow), action, kind of object, and other fields."""
    fields = grant.fields
    rest = [
        f"{name}={value}"
        for name, value in fields.items()
        if name not in _PLAIN_FIELDS and name not in _WHAT and value not in _SILENT
    ]
    kind = fields.get("type", "") or fields.get("obj", "")
    return "" if grant.allows else "deny", fields.get("act", ""), kind, " ".join(rest)
