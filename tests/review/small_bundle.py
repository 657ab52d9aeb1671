"""A small bundle in YAML for tests of reviews: made from text, compiled, and asked."""

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.material import Material
from authz_sidecar.review.policy_tests import TestReport, run_tests

MANIFEST = """\
name: small
schema_version: 1
object_types:
  case: {actions: [create, read, update, delete]}
  report: {actions: [read, export]}
"""
ROLES = """\
data_domains:
  CASES: {objects: [case]}
  PAPERS: {objects: [case, report], actions: [read]}
roles:
  CLERK:
    assigned: company
    grants:
      - {object: case, actions: [read, update]}
      - {object: report, actions: [read], scope: own}
  CHIEF:
    assigned: company
    inherits: [CLERK]
    data_domains: [CASES]
    grants:
      - {object: case, actions: [delete], effect: deny}
  AUDITOR:
    assigned: platform
    grants:
      - {object: "*", actions: ["*"]}
assignments:
  - {subject: carol, roles: [CLERK], company: acme}
  - {subject: dan, roles: [CHIEF], company: acme}
"""


def material_of(roles: str = ROLES, tests: str = "", *, manifest: str = MANIFEST, extended: bool = False) -> Material:
    """The bundle that these files make; it has no error."""
    files = {
        "model.conf": EXTENDED if extended else BASIC,
        "manifest.yaml": manifest,
        "roles.yaml": roles,
        "tests/cases.yaml": tests or "tests: []\n",
    }
    bundle, problems = parse_bundle({name: text.encode() for name, text in files.items()}, "small")
    assert bundle is not None, problems
    snapshot, problems = compile_bundle(bundle)
    assert snapshot is not None, problems
    return Material(bundle, snapshot)


def plain_material(model: str, policy: str) -> Material:
    """The plain Casbin bundle that these files make; it has no error."""
    bundle, problems = parse_bundle({"model.conf": model.encode(), "policy.csv": policy.encode()}, "small")
    assert bundle is not None, problems
    snapshot, problems = compile_bundle(bundle)
    assert snapshot is not None, problems
    return Material(bundle, snapshot)


def report_of(material: Material) -> TestReport:
    """What the bundle's own tests come to."""
    return run_tests(material.decider, material.bundle.tests)
