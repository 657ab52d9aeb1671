"""The policy files of a YAML bundle, put together: every definition by name, wherever it was written."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from authz_sidecar.bundle.definitions import Assignment, DataDomain, Flag, GroupMapping, PolicyFile, Role
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.validation import validate
from authz_sidecar.bundle.wording import quote
from authz_sidecar.bundle.yaml_definition import Definition
from authz_sidecar.bundle.yaml_nodes import YamlMap
from authz_sidecar.bundle.yaml_text import parse_yaml

D = TypeVar("D", bound=Definition)


class Policy(msgspec.Struct):
    """All definitions of a bundle.

    `refused` has, by section, the names of definitions that were written but are malformed; `complete` is False
    where a file could not be read at all. Both keep one mistake from being reported as many.
    """

    roles: dict[str, Role] = {}
    data_domains: dict[str, DataDomain] = {}
    flags: dict[str, Flag] = {}
    assignments: list[Assignment] = []
    group_mappings: list[GroupMapping] = []
    refused: dict[str, set[str]] = {}
    complete: bool = True


def read_policy(files: Mapping[str, bytes], findings: Findings) -> Policy:
    """Read policy files, in the order of their paths."""
    policy = Policy()
    for path in sorted(files):
        root = parse_yaml(files[path], path, findings)
        if root is None:
            policy.complete = False
            continue
        content = validate(PolicyFile, root, findings)
        if content is None:
            policy.complete = False
            continue
        _merge("role", policy.roles, content.roles, findings)
        _merge("data domain", policy.data_domains, content.data_domains, findings)
        _merge("flag", policy.flags, content.flags, findings)
        policy.assignments += content.assignments
        policy.group_mappings += content.group_mappings
        for section, good in (
            ("roles", content.roles),
            ("data_domains", content.data_domains),
            ("flags", content.flags),
        ):
            written = root.get(section)
            if isinstance(written, YamlMap):
                policy.refused.setdefault(section, set()).update(written.keys() - good.keys())
    return policy


def _merge(noun: str, all_of_them: dict[str, D], more: Mapping[str, D], findings: Findings) -> None:
    for name, definition in more.items():
        first = all_of_them.setdefault(name, definition)
        if first is not definition:
            findings.error(
                definition.span,
                "name-duplicate",
                f"the {noun} {quote(name)} is defined twice",
                f"rename or remove one of them; the other is at {first.span}",
            )
