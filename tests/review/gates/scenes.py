"""What the tests of gates share: one small bundle to change, and one way to say what gates find."""

import textwrap
from collections.abc import Mapping

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.gates.evaluate import evaluate_gates, evaluate_state_gates
from authz_sidecar.review.gates.violation import ReviewFacts, Violation
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.wording import plain_phrase

MANIFEST = """\
name: demo
schema_version: 1
object_types:
  case: {actions: [create, read, update, approve]}
  report: {actions: [create, read]}
  pay: {actions: [read, update]}
"""
ROLES = """\
roles:
  ADMIN:
    assigned: platform
    grants: [{object: case, actions: ["*"]}, {object: report, actions: ["*"]}]
  CLERK:
    assigned: company
    grants: [{object: case, actions: [create, read]}]
  CHECKER:
    assigned: company
    grants: [{object: case, actions: [read, approve]}]
  PAYMASTER:
    assigned: company
    data_domains: [PAYROLL]
data_domains:
  PAYROLL: {objects: [pay]}
"""
PEOPLE = """\
assignments:
  - {subject: root, roles: [ADMIN]}
  - {subject: ann, roles: [CLERK], company: acme}
  - {subject: bob, roles: [CHECKER], company: acme}
  - {subject: pam, roles: [PAYMASTER], company: globex}
"""


def bundle(
    gates: str = "",
    *,
    roles: str = ROLES,
    people: str = PEOPLE,
    manifest: str = MANIFEST,
    owners: str = "",
    when: bool = False,
) -> dict[str, str]:
    """The small bundle; `gates` are entries of the list of gates, indented as one likes, `owners` who owns them. With
    `when` its model takes conditions."""
    files = {
        "manifest.yaml": manifest,
        "model.conf": EXTENDED if when else BASIC,
        "roles.yaml": roles,
        "people.yaml": people,
    }
    if gates or owners:
        listed = textwrap.indent(textwrap.dedent(gates).strip(), "  ") or "  []"
        files["gates.yaml"] = (f"owners: {owners}\n" if owners else "") + f"gates:\n{listed}\n"
    return files


def gate(kind: str, name: str = "one", severity: str = "error") -> str:
    """One gate; `kind` is written as in the file."""
    return f"- {{id: {name}, message: not so, severity: {severity}, {kind}}}\n"


def material(files: Mapping[str, str]) -> Material:
    """The files, read and compiled; they have no errors."""
    read, diagnostics = parse_bundle({path: text.encode() for path, text in files.items()}, "demo")
    assert read is not None, diagnostics
    snapshot, diagnostics = compile_bundle(read)
    assert snapshot is not None, diagnostics
    return Material(read, snapshot)


def violations_of(
    base: Mapping[str, str] | None, head: Mapping[str, str], *approved_by: str, justifications: tuple[str, ...] = ()
) -> tuple[Violation, ...]:
    """What the gates of both sides find in the change."""
    facts = ReviewFacts(approved_by=approved_by, justifications=justifications)
    return evaluate_gates(None if base is None else material(base), material(head), facts)


def found(violations: tuple[Violation, ...]) -> list[str]:
    """Violations as the tests write them down: the gate and what breaks it, with `?` where that cannot be shown."""
    return [f"{one.gate}{'' if one.shown else '?'}: {plain_phrase(one.detail)}" for one in violations]


def change(
    base: Mapping[str, str] | None, head: Mapping[str, str], *approved_by: str, justifications: tuple[str, ...] = ()
) -> list[str]:
    """What the gates find in a change."""
    return found(violations_of(base, head, *approved_by, justifications=justifications))


def state(head: Mapping[str, str]) -> list[str]:
    """What the gates find in policies as they are."""
    return found(evaluate_state_gates(material(head)))


def with_role(text: str) -> str:
    """The roles with one more, written as a mapping entry."""
    before, after = ROLES.split("data_domains:\n  PAYROLL", 1)
    return f"{before}{textwrap.indent(textwrap.dedent(text).strip(), '  ')}\ndata_domains:\n  PAYROLL{after}"


def with_people(*entries: str) -> str:
    """The assignments with more, each the inside of a flow mapping."""
    return PEOPLE + "".join(f"  - {{{entry}}}\n" for entry in entries)
