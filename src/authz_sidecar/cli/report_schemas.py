"""The published JSON Schemas of what commands write, generated from the structs that they write."""

import json
from typing import Any

import msgspec

from authz_sidecar.cli.lint_forms import LintForm
from authz_sidecar.review.report.access_shape import AccessDocument
from authz_sidecar.values.logged_decision import LoggedDecision

REPORT_SCHEMAS: dict[str, tuple[type[msgspec.Struct], str]] = {
    "access-diff.schema.json": (AccessDocument, "Access changes of `authz-sidecar diff --format json`"),
    "decision-log.schema.json": (LoggedDecision, "A line of the decision log of `authz-sidecar serve`"),
    "lint.schema.json": (LintForm, "Findings of `authz-sidecar lint --format json`"),
}


def build_report_schema(file: str) -> str:
    """The text of one schema file, a key of `REPORT_SCHEMAS`. Forms are only ever extended, so a reader's schema takes
    fields that it does not know."""
    kind, title = REPORT_SCHEMAS[file]
    schema: dict[str, Any] = msgspec.json.schema(kind)
    definitions = schema.pop("$defs")
    root = definitions.pop(kind.__name__)
    for definition in (root, *definitions.values()):
        definition.pop("title", None)
        if "description" in definition:
            definition["description"] = " ".join(definition["description"].split())
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": definitions,
        **root,
        "title": title,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
