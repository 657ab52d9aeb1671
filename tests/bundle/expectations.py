"""What the tests of bundles share: small bundles, and one way to say which findings are expected."""

from collections.abc import Mapping
from typing import NamedTuple

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC
from authz_sidecar.values import Severity

RBAC = """\
[request_definition]
r = sub, dom, obj, act

[policy_definition]
p = sub, dom, obj, act, eft

[role_definition]
g = _, _, _
g2 = _, _

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && g2(r.obj, p.obj) && r.act == p.act
"""

MANIFEST = """\
name: demo
schema_version: 1
object_types:
  folder: {actions: [create, read, update]}
  report: {actions: [create, read]}
limits: {roles_per_identity: 2, companies_per_identity: 1}
"""


class Finding(NamedTuple):
    """A finding as the tests write it down."""

    place: str
    code: str
    message: str
    help: str
    severity: str = "error"


def findings_of(files: Mapping[str, str | bytes]) -> list[Finding]:
    """Everything that reading the files reports, in the order in which it is shown."""
    raw = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    bundle, diagnostics = parse_bundle(raw, "demo")
    assert (bundle is None) == any(d.severity is Severity.ERROR for d in diagnostics)
    return [Finding(str(d.span), d.code, d.message, d.help, str(d.severity)) for d in diagnostics]


def expect_findings(files: Mapping[str, str | bytes], *expected: Finding) -> None:
    """Code, place, message, help and severity of every finding are as written, and there is no other."""
    assert findings_of(files) == list(expected)


def rows_bundle(rows: str | bytes, model: str = RBAC, **more: str) -> dict[str, str | bytes]:
    """A plain Casbin bundle of one file of rows."""
    return {"model.conf": model, "policy.csv": rows, **more}


def yaml_bundle(policy: str | bytes, model: str = BASIC, manifest: str = MANIFEST) -> dict[str, str | bytes]:
    """A YAML bundle of one policy file."""
    return {"manifest.yaml": manifest, "model.conf": model, "policy.yaml": policy}


def read(files: Mapping[str, str | bytes]) -> Bundle:
    """The bundle that the files make; they have no errors."""
    raw = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    bundle, diagnostics = parse_bundle(raw, "demo")
    assert bundle is not None, diagnostics
    return bundle


def rows_of(bundle: Bundle, ptype: str) -> list[str]:
    """The rows of a table as text."""
    table = bundle.tables[ptype]
    return [str(table.rule(row)) for row in range(len(table))]
