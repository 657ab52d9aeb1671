"""What the tests of access reports share: changes written by hand, and a report of them."""

from collections.abc import Sequence
from typing import Any

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.review.access.change import SELF, AccessDiff, Box, Cause, Change, Inexact, Kind
from authz_sidecar.review.access.change import Side as SideName
from authz_sidecar.review.report.access_report import AccessReport, Side
from authz_sidecar.values import Span
from authz_sidecar.values.rule import Rule
from authz_sidecar.values.texts import ANY, Texts, texts, values_of
from tests.bundle.expectations import read, yaml_bundle

IN_A_COMPANY = texts((), ("",), ("",))
OWN = values_of((SELF,))
OTHERS = Texts(prefixes=("",), except_values=frozenset((SELF,)))
MANIFEST = """\
name: demo
schema_version: 1
object_types:
  folder: {actions: [create, read, update]}
  report: {actions: [create, read]}
  salary: {actions: [read, update], sensitive: true}
  bonus: {actions: [read]}
"""
POLICY = """\
data_domains:
  PAYROLL: {objects: [salary, bonus]}
  CASES: {objects: [folder, report], actions: [create, read]}
roles:
  CLERK: {assigned: company, grants: [{object: folder, actions: [read]}]}
  BOSS: {assigned: platform, grants: [{object: folder, actions: [read]}]}
assignments:
  - {subject: ann, roles: [CLERK], company: acme}
"""
HOSTILE = [
    "a|b",
    "`code`",
    "``",
    "a`b``c",
    "@security-team",
    "#123",
    "owner/repo#1",
    "<script>alert(1)</script>",
    '" onmouseover="x',
    "&lt;",
    "</code></details>",
    "<!-- hidden",
    "[link](javascript:alert(1))",
    "![image](http://a.example/x.png)",
    "https://a.example/?q=1",
    "www.a.example",
    "**bold** _it_ ~~gone~~",
    "$x$",
    ":tada:",
    "back\\slash\\",
    "\\|",
    "- item",
    "1. item",
    "# title",
    "two  spaces",
    "right\u202eto left",
    "zero\u200bwidth",
    "filler\u3164",
    "escape\x1b[31m",
    "line\nbreak",
    "tab\t|",
    "ünï-cödé",
    "\u00a0",
]


def bundle(policy: str = POLICY) -> Bundle:
    """A bundle with data domains, one of which has a sensitive type."""
    return read(yaml_bundle(policy, manifest=MANIFEST))


def cause(line: int, side: SideName = "head", rule: str = "p, role:CLERK", file: str = "roles.yaml") -> Cause:
    """A line of policy that makes a change."""
    ptype, *values = rule.split(", ")
    return Cause(side, Rule(ptype, tuple(values), Span(file, line, 7)))


def box(kinds: str = "", actions: str = "", company: Texts = IN_A_COMPANY, **more: Any) -> Box:
    """Requests on types and for actions, each separated by spaces; none are all of them."""
    return Box(
        company=company,
        type=values_of(kinds.split()) if kinds else ANY,
        action=values_of(actions.split()) if actions else ANY,
        **more,
    )


def role_gains(role: str, requests: Box, *holders: str, line: int = 41, gained: bool = True) -> Change:
    """A role's change, caused by one line."""
    return Change(
        gained=gained,
        kind=Kind.ROLE,
        subjects=(f"role:{role}",),
        box=requests,
        causes=(cause(line, "head" if gained else "base"),),
        holders=tuple(sorted(holders)),
    )


def identity_gains(identity: str, requests: Box, *causes: Cause, roles: Sequence[str] = ()) -> Change:
    """An identity's gain."""
    return Change(
        gained=True, kind=Kind.IDENTITY, subjects=(identity,), box=requests, causes=causes, roles=tuple(roles)
    )


def inexact() -> Inexact:
    """A part that cannot be compared."""
    rule = Rule("p", ("role:CLERK", "*", "r.obj.level > 3"), Span("roles.yaml", 9, 3))
    return Inexact(
        why="the condition reads attributes", responsible=(rule,), added=(rule,), removed=(), box=box("folder", "read")
    )


def report(
    *changes: Change,
    base: Bundle | None = None,
    head: Bundle | None = None,
    parts: Sequence[Inexact] = (),
    rules: tuple[int, int] = (0, 0),
    **more: Any,
) -> AccessReport:
    """The report of changes, between two versions of one bundle unless others are given."""
    same = bundle() if base is None or head is None else None
    diff = AccessDiff(
        roles=tuple(change for change in changes if change.kind is Kind.ROLE),
        identities=tuple(change for change in changes if change.kind is not Kind.ROLE),
        inexact=tuple(parts),
        rules_added=rules[0],
        rules_removed=rules[1],
    )
    return AccessReport(
        diff,
        Side(name="main", policy_version="1" * 40, bundle=base or same, folder="policies", commit="1" * 40, path="p"),
        Side(
            name="policies", policy_version="2" * 40, bundle=head or same, folder="policies", commit="2" * 40, path="p"
        ),
        **more,
    )
