"""The published JSON Schemas of a bundle's YAML files, generated from the models that read them."""

import json
from typing import Any

from authz_sidecar.bundle.definitions import Manifest, PolicyFile, PolicyTestsFile
from authz_sidecar.bundle.gates import GatesFile
from authz_sidecar.bundle.identities import IdentitiesFile
from authz_sidecar.bundle.yaml_definition import Definition

SCHEMAS: dict[str, tuple[type[Definition], str]] = {
    "manifest.schema.json": (Manifest, "Manifest of an authz-sidecar bundle"),
    "policy.schema.json": (PolicyFile, "Policy file of an authz-sidecar bundle"),
    "tests.schema.json": (PolicyTestsFile, "Policy tests of an authz-sidecar bundle"),
    "gates.schema.json": (GatesFile, "Gates of an authz-sidecar bundle"),
    "identities.schema.json": (IdentitiesFile, "Exported identities beside an authz-sidecar bundle"),
}


def build_schema(file: str) -> str:
    """The text of one schema file, a key of `SCHEMAS`."""
    return schema_text(*SCHEMAS[file])


def schema_text(kind: type[Definition], title: str) -> str:
    """The text of the schema of a kind of file."""
    schema = _simplified(kind.model_json_schema(mode="validation"))
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _simplified(node: Any) -> Any:
    """A schema without what only Python needs: titles made from names, and the empty values
    of fields that are left out."""
    if isinstance(node, list):
        return [_simplified(item) for item in node]
    if not isinstance(node, dict):
        return node
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "default" and not (isinstance(value, bool) or (value and isinstance(value, str))):
            continue
        if key == "description" and isinstance(value, str):
            result[key] = " ".join(value.split())
        elif key == "properties":
            # The names below are fields of a bundle; one may be called like a keyword of JSON Schema.
            result[key] = {name: _simplified(field) for name, field in value.items()}
        else:
            result[key] = _simplified(value)
    if "patternProperties" in result:
        result.setdefault("additionalProperties", False)
    choices = result.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [choice for choice in choices if choice != {"type": "null"}]
        del result["anyOf"]
        result = {**rest[0], **result} if len(rest) == 1 else {**result, "anyOf": rest}
    return result
