"""The cases of lint rules: what each finds in which bundle, one YAML file a rule. `cases/README.md` has the format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.lint import lint_bundle
from authz_sidecar.values import Diagnostic, Severity

FOLDER = Path(__file__).parent / "cases"

MODELS = {"basic": BASIC, "extended": EXTENDED}
BASE_MANIFEST = """\
name: base
schema_version: 1
object_types:
  case:
    actions: [create, read, update, delete]
  report:
    actions: [read, export]
  payroll:
    actions: [read, update]
    sensitive: true
"""
BASE_CASBIN_MODEL = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub) && (p.obj == "*" || r.obj == p.obj) && (p.act == "*" || r.act == p.act)
"""


class RuleCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case: a bundle and what one rule finds in it.

    `files` maps paths to text, on top of the base bundle; null takes a file of the base away. `findings` are
    beginnings of `FILE:LINE:COLUMN: SEVERITY[CODE] MESSAGE`, in order. `fixed` are the files as the rule's fix leaves
    them, those alone that it changes.
    """

    name: str
    findings: list[str]
    files: dict[str, str | None] = {}
    model: str = "basic"
    fixed: dict[str, str] = {}

    def bundle_files(self) -> dict[str, bytes]:
        """The whole bundle: the base, of the form that the case's own files have, with these in it."""
        is_casbin = any(path.endswith(".csv") for path in self.files)
        base = (
            {"model.conf": BASE_CASBIN_MODEL}
            if is_casbin
            else {"manifest.yaml": BASE_MANIFEST, "model.conf": MODELS[self.model]}
        )
        return {path: text.encode() for path, text in {**base, **self.files}.items() if text is not None}


def read_cases(path: Path) -> list[RuleCase]:
    """The cases of one file; raises msgspec.ValidationError for one that is not as documented."""
    loaded: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    return msgspec.convert(loaded, list[RuleCase])


def all_cases() -> Iterator[tuple[str, RuleCase]]:
    """Every case with the code of its rule, which is the name of its file."""
    for path in sorted(FOLDER.glob("*.yaml")):
        for case in read_cases(path):
            yield path.stem, case


def findings_in(files: dict[str, bytes]) -> list[Diagnostic]:
    """What lint finds in a bundle, which must load."""
    bundle, problems = parse_bundle(files, "base")
    assert bundle is not None, [f"{found.span}: {found.message}" for found in problems]
    snapshot, more = compile_bundle(bundle)
    assert snapshot is not None, [f"{found.span}: {found.message}" for found in more]
    assert all(found.severity is Severity.WARNING for found in (*problems, *more))
    return list(lint_bundle(bundle, snapshot, (*problems, *more), files).findings)


def shown(finding: Diagnostic) -> str:
    """A finding as cases write it."""
    return f"{finding.span}: {finding.severity}[{finding.code}] {finding.message}"
