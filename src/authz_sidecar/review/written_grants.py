"""The grants of a bundle as they are written: one for each place, with its lines and what it says."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.yaml_nodes import YamlList, YamlMap
from authz_sidecar.values import Rule, RuleTable, Span


class WrittenGrant(msgspec.Struct, frozen=True):
    """One grant. `holder` is the role, or the identity, that has it, as rules write it (`role:CLERK`), and `text` what
    it says: `folder, report: read, update (own)`, or the other fields of a rule of a plain model.

    It stands at `span` and goes to `last_line`. A role that inherits it is the `holder` too; `via` then names the roles
    on the way, nearest first.
    """

    holder: str
    span: Span
    last_line: int
    text: str
    via: tuple[str, ...] = ()

    @property
    def lines(self) -> range:
        """Every line of it, counted from 1."""
        return range(self.span.line, self.last_line + 1)


def written_grants(bundle: Bundle, holders: Sequence[str] | None = None) -> tuple[WrittenGrant, ...]:
    """Every grant of the bundle, by holder and place; only those that `holders` have or inherit, if that is given.

    Without `holders`, an inherited grant is told once, where it is written.
    """
    extents = grant_extents(bundle)
    found: list[WrittenGrant] = []
    for section in bundle.model.sections.values():
        table = bundle.tables[section.ptype]
        holder_at = section.fields.index("sub") if "sub" in section.fields else 0
        for holder, span, rules in _grants(table, holder_at, holders, bundle.form == "yaml"):
            fields = [dict(zip(section.fields, rule.values, strict=True)) for rule in rules]
            text = _said(fields) if bundle.form == "yaml" else _row(fields[0], section.fields[holder_at])
            found.append(WrittenGrant(holder, span, extents.get(span, span.line), text, rules[0].via))
    return tuple(sorted(found, key=lambda grant: (grant.holder, bool(grant.via), grant.span)))


def grant_extents(bundle: Bundle) -> dict[Span, int]:
    """Where each grant of a YAML bundle ends, by where it begins: the line on which its last value begins."""
    grants = [grant for role in bundle.roles.values() for grant in role.grants]
    grants += [grant for assignment in bundle.assignments for grant in assignment.grants]
    return {grant.span: _last_line(grant.node) for grant in grants}


def _grants(
    table: RuleTable, holder_at: int, holders: Sequence[str] | None, merged: bool
) -> Iterator[tuple[str, Span, list[Rule]]]:
    """Holder, place and rows of each grant; `merged` puts rows of one holder and place together."""
    grants: dict[tuple[Any, ...], list[Rule]] = {}
    wanted = None if holders is None else frozenset(holders)
    column = table.columns[holder_at] if table.columns else []
    for row, holder in enumerate(column):
        if wanted is not None and holder not in wanted:
            continue
        rule = table.rule(row)
        if wanted is None and rule.via:
            continue
        grants.setdefault((holder, rule.span, None if merged else row), []).append(rule)
    for (holder, span, _), rules in grants.items():
        yield holder, span, rules


def _said(fields: Sequence[Mapping[str, str]]) -> str:
    """The rows of one YAML grant in one line; they are alike but for type and action."""
    first = fields[0]
    # In a data domain, a type has those of the domain's actions that it declares.
    actions_of: dict[str, dict[str, None]] = {}
    for row in fields:
        actions_of.setdefault(row["type"], {})[row["act"]] = None
    types_of: dict[tuple[str, ...], list[str]] = {}
    for kind, actions in actions_of.items():
        types_of.setdefault(tuple(actions), []).append(kind)
    notes = [note for note in (first["scope"],) if note == "own"]
    if first["dom"] != "*":
        notes.append(f"in {first['dom']}")
    if first.get("when", "True") != "True":
        notes.append(f"when {first['when']}")
    identifier = "" if first["id"] == "*" else f":{first['id']}"
    deny = "deny " if first["eft"] == "deny" else ""
    said = "; ".join(f"{', '.join(types)}{identifier}: {', '.join(acts)}" for acts, types in types_of.items())
    return deny + said + (f" ({', '.join(notes)})" if notes else "")


def _row(fields: Mapping[str, str], holder: str) -> str:
    return ", ".join(value for name, value in fields.items() if name != holder)


def _last_line(node: YamlMap | YamlList) -> int:
    last = node.line
    pending: list[YamlMap | YamlList] = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, YamlMap):
            lines = [place[2] for place in current.places.values()]
            values: list[Any] = list(current.values())
        else:
            lines = [line for line, _ in current.places]
            values = list(current)
        last = max(last, *lines, last)
        pending += [value for value in values if isinstance(value, YamlMap | YamlList)]
    return last
