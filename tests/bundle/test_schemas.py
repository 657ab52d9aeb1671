"""The published JSON Schemas: as generated, and of one mind with the reader."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.schemas import SCHEMAS, build_schema
from authz_sidecar.bundle.yaml_text import parse_yaml
from tests.bundle.expectations import findings_of, yaml_bundle

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for folder in ("policies", "examples") for path in (ROOT / folder).rglob("*.yaml"))


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schemas_are_as_generated(name: str) -> None:
    """The files in `schemas/` are what the models say; `python scripts/schemas.py` writes them."""
    text = (ROOT / "schemas" / name).read_text(encoding="utf-8")
    assert text == build_schema(name)
    jsonschema.Draft202012Validator.check_schema(json.loads(text))


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES])
def test_files_name_a_schema_that_takes_them(path: Path) -> None:
    """Every YAML file of the default bundle and of the examples begins with its schema, which exists and accepts it."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found
    schema = json.loads((path.parent / found[1]).read_text(encoding="utf-8"))
    data = parse_yaml(path.read_bytes(), path.name, Findings())
    jsonschema.validate(data, schema)


def policy_accepts(policy: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the schema takes a policy, and whether the reader finds its shape right."""
    schema = json.loads(build_schema("policy.schema.json"))
    codes = {finding.code for finding in findings_of(yaml_bundle(json.dumps(policy)))}
    return jsonschema.Draft202012Validator(schema).is_valid(policy), not any(c.startswith("field-") for c in codes)


GRANT: dict[str, Any] = {"object": "folder", "actions": ["read"]}


@pytest.mark.parametrize(
    ("role", "good"),
    [
        ({"assigned": "company"}, True),
        ({}, False),
        ({"assigned": "company", "grants": [GRANT]}, True),
        ({"assigned": "company", "grants": [{**GRANT, "objects": ["report"]}]}, False),
        ({"assigned": "company", "grants": [{"actions": ["read"]}]}, False),
        ({"assigned": "company", "grants": [{**GRANT, "scope": None}]}, False),
        ({"assigned": "company", "grants": [{**GRANT, "id": "a*b"}]}, False),
        ({"assigned": "company", "grants": [{**GRANT, "extra": 1}]}, False),
        ({"assigned": "company", "data_domains": ["X", {"name": "X", "actions": ["read"]}]}, True),
        ({"assigned": "company", "data_domains": [1]}, False),
        ({"assigned": "company", "data_domains": [{"actions": ["read"]}]}, False),
    ],
)
def test_schema_and_reader_agree(role: dict[str, Any], good: bool) -> None:
    """An editor accepts what the reader accepts."""
    assert policy_accepts({"roles": {"A": role}}) == (good, good)


@pytest.mark.parametrize(
    ("assignment", "good"),
    [
        ({"roles": ["A"], "company": "acme"}, True),
        ({"grants": [GRANT]}, True),
        ({"roles": ["A"], "company": "acme", "grants": [GRANT]}, True),
        ({"company": "acme"}, False),
        ({"roles": []}, False),
        ({"grants": []}, False),
        ({"grants": [{"actions": ["read"]}]}, False),
    ],
)
def test_schema_and_reader_agree_on_assignments(assignment: dict[str, Any], good: bool) -> None:
    """An assignment has roles, grants, or both, in an editor as for the reader."""
    policy = {"roles": {"A": {"assigned": "company"}}, "assignments": [{"subject": "a", **assignment}]}
    assert policy_accepts(policy) == (good, good)


def test_every_field_is_described() -> None:
    """Editors show what each field is for."""

    def undescribed(node: Any, path: str) -> list[str]:
        if isinstance(node, list):
            return [name for item in node for name in undescribed(item, path)]
        if not isinstance(node, dict):
            return []
        missing = [f"{path}.{name}" for name, field in node.get("properties", {}).items() if "description" not in field]
        return missing + [name for key, value in node.items() for name in undescribed(value, f"{path}.{key}")]

    assert [name for file in SCHEMAS for name in undescribed(json.loads(build_schema(file)), file)] == []
