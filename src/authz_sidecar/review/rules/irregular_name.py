"""A name that is written otherwise than its like.

What it does: finds names that do not fit the manifest's `lint.naming`, a regular expression for each kind of name that
has a convention (`object_types`, `actions`, `roles`, `data_domains`, `flags`, `companies`, `identities`, `groups`); it
is to fit the whole name. Where there is none for `object_types`, `actions`, `roles`, `data_domains` or `flags`, the
names themselves tell it: if five or more, and nine tenths of all, are written in one way (`UPPER_CASE`, `lower_case`,
`kebab-case`, `camelCase`, `PascalCase`), the others are told.

Why it is bad: a name that has to be remembered with its spelling is misspelt in requests, and denied.

Example: `roles: {CLERK: …, CHIEF: …, AUDITOR: …, BILLING: …, Intern: …}` with `lint: {naming: {roles: "[A-Z_]+"}}`

Use instead: `INTERN`
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.definitions import Assignment, GroupMapping
from authz_sidecar.bundle.wording import quote
from authz_sidecar.bundle.yaml_definition import NamedKind
from authz_sidecar.model.patterns import PatternError, compile_pattern
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity, Span

CODE = "irregular-name"

FEWEST_NAMES = 5
USUAL_SHARE = 0.9

_NOUNS: Mapping[NamedKind, str] = {
    "object_types": "object type",
    "actions": "action",
    "roles": "role",
    "data_domains": "data domain",
    "flags": "flag",
    "companies": "company",
    "identities": "identity",
    "groups": "group",
}
_STYLES: Mapping[str, re.Pattern[str]] = {
    "UPPER_CASE": re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*"),
    "lower_case": re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"),
    "kebab-case": re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"),
    "camelCase": re.compile(r"[a-z][a-z0-9]*(?:[A-Z][a-z0-9]*)*"),
    "PascalCase": re.compile(r"(?:[A-Z][a-z0-9]+)+"),
}
# Names that somebody else gives, such as an identity provider, follow their own conventions.
_TOLD_BY_THEMSELVES: tuple[NamedKind, ...] = ("object_types", "actions", "roles", "data_domains", "flags")


def _find(material: Material) -> Iterator[Diagnostic]:
    lint = material.bundle.manifest.lint
    for kind, noun in _NOUNS.items():
        names = dict(_names(kind, material.bundle)) if kind in lint.naming or kind in _TOLD_BY_THEMSELVES else {}
        if kind not in lint.naming:
            yield from _unlike_most(noun, names)
            continue
        pattern = lint.naming[kind]
        try:
            fits = compile_pattern("regexMatch", f"^(?:{pattern})$").test
        except PatternError as error:
            span = lint.value_span("naming", kind)
            yield Diagnostic(span, CODE, f"{quote(pattern)}: {error.message}", error.help, Severity.WARNING)
            continue
        for name, span in names.items():
            if not fits(name):
                yield _finding(span, noun, name, f"does not fit {quote(pattern)}")


def _unlike_most(noun: str, names: Mapping[str, Span]) -> Iterator[Diagnostic]:
    if len(names) < FEWEST_NAMES:
        return
    fitting = {style: {name for name in names if pattern.fullmatch(name)} for style, pattern in _STYLES.items()}
    style = max(fitting, key=lambda each: len(fitting[each]))
    if len(fitting[style]) < max(USUAL_SHARE * len(names), FEWEST_NAMES):
        return
    for name, span in names.items():
        if name not in fitting[style]:
            yield _finding(span, noun, name, f"is not written like the others, in {quote(style)}")


def _finding(span: Span, noun: str, name: str, fault: str) -> Diagnostic:
    return Diagnostic(
        span,
        CODE,
        f"the {noun} {quote(name)} {fault}",
        "rename it, or say in the manifest's `lint.naming` how such names are written",
        Severity.WARNING,
    )


def _names(kind: NamedKind, bundle: Bundle) -> Iterable[tuple[str, Span]]:
    """Every name of a kind and a place where it is written, the first one last."""
    types = bundle.manifest.object_types
    match kind:
        case "object_types":
            return ((name, definition.span) for name, definition in types.items())
        case "actions":
            return (
                (action, definition.value_span("actions", index))
                for definition in reversed(types.values())
                for index, action in enumerate(definition.actions)
            )
        case "roles":
            return ((name, definition.span) for name, definition in bundle.roles.items())
        case "data_domains":
            return ((name, definition.span) for name, definition in bundle.data_domains.items())
        case "flags":
            return ((name, definition.span) for name, definition in bundle.flags.items())
        case "companies":
            entries: tuple[Assignment | GroupMapping, ...] = (*bundle.group_mappings, *reversed(bundle.assignments))
            return ((entry.company, entry.value_span("company")) for entry in entries if entry.company)
        case "identities":
            return ((entry.subject, entry.value_span("subject")) for entry in reversed(bundle.assignments))
        case "groups":
            return ((entry.group, entry.value_span("group")) for entry in reversed(bundle.group_mappings))


RULE = LintRule(CODE, "Name that is written otherwise than its like", "0.1.0", _find, __doc__)
