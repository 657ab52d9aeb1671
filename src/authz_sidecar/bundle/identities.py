"""An exported identities file: who holds which roles, where that is kept outside of the bundle.

It is YAML or JSON (a mapping with `identities`), or JSON lines (one identity a line). What it says is put beside the
bundle's own assignments by `identity_merge`, so that a comparison of two bundles sees the same identities on both.

Stored format: fields may be added with a default; a change of meaning or a removal needs a new `schema_version`.
"""

import json
import re
from functools import partial
from typing import Any, Literal

from pydantic import Field

from authz_sidecar.bundle.definitions import Grant
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.text import decode
from authz_sidecar.bundle.validation import validate
from authz_sidecar.bundle.wording import quote
from authz_sidecar.bundle.yaml_definition import Abbreviated, Company, Definition, Identity, Name, Value
from authz_sidecar.bundle.yaml_nodes import YamlList, YamlMap
from authz_sidecar.bundle.yaml_text import parse_yaml
from authz_sidecar.values.span import Span

MAX_BYTES = 256_000_000
# What an identity that comes from a directory stands in; no file of a bundle is called so.
DIRECTORY_FILE = "directory"
LINES_SUFFIXES = (".jsonl", ".ndjson")
# Two escapes that are one character beyond the basic plane; YAML has no such pairs.
_SURROGATES = re.compile(rb"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})")


class HeldRole(Abbreviated):
    """A role that an identity holds: its name, or a mapping that says in which company."""

    abbreviation = "role"

    role: Value
    """The role, as the bundle names it."""
    company: Company = ""
    """The company in which it is held; by default that of the identity."""


class IdentityRecord(Definition):
    """One identity: a person or a program that asks."""

    id: Identity
    """The identity, as requests name it."""
    kind: Literal["user", "service_account"]
    """Whether it is a person or a program."""
    company: Company = ""
    """The company that it belongs to; company roles that name none are held there."""
    active: bool = True
    """Whether it may do anything; one that is switched off is left out."""
    name: str = ""
    """What people call it. Nothing is decided by it."""
    description: str = ""
    """What it is for. Nothing is decided by it."""
    roles: list[HeldRole] = Field(default=[])
    """The roles that it holds."""
    grants: list[Grant] = Field(default=[])
    """Grants of its own, in its company, or on the platform where it has none."""
    flags: dict[Name, bool] = Field(default={})
    """Flags switched on or off for it."""


class IdentitiesFile(Definition):
    """An identities file."""

    schema_version: Literal[1] = 1
    """The version of this format: 1."""
    identities: list[IdentityRecord]
    """Every identity, once."""


def parse_identities(data: bytes, file: str, findings: Findings) -> IdentitiesFile | None:
    """The identities that a file holds, or None with findings. The name says how it is read: `*.jsonl` and `*.ndjson`
    line by line, everything else as YAML, which JSON is too."""
    before = findings.errors
    if file.endswith(LINES_SUFFIXES):
        root = _read_lines(data, file, findings)
    else:
        if file.endswith(".json"):
            data = _SURROGATES.sub(_join_surrogates, data)
        root = parse_yaml(data, file, findings)
    if root is None:
        return None
    content = validate(IdentitiesFile, root, findings)
    if content is None or findings.errors > before:
        return None
    seen: dict[str, IdentityRecord] = {}
    for record in content.identities:
        first = seen.setdefault(record.id, record)
        if first is not record:
            findings.error(
                record.value_span("id"),
                "name-duplicate",
                f"the identity {quote(record.id)} is listed twice",
                f"remove one of them; the first is at {first.span}",
            )
    content.identities[:] = [record for record in content.identities if record.active]
    return None if findings.errors > before else content


def _join_surrogates(found: re.Match[bytes]) -> bytes:
    character: str = json.loads(b'"' + found[2] + b'"')
    return found[1] + character.encode("utf-8")


class _RepeatedKeyError(ValueError):
    """A key stands twice in a mapping of JSON."""


def _read_lines(data: bytes, file: str, findings: Findings) -> YamlMap | None:
    """JSON lines as the mapping that a YAML file would hold; everything stands at the beginning of its line."""
    text = decode(data, file, findings)
    if text is None:
        return None
    before = findings.errors
    records = YamlList(file, 1, 1)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            hook = partial(_mapping, file=file, line=number)
            value = json.loads(line, object_pairs_hook=hook, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            findings.error(
                Span(file, number, error.colno),
                "json-syntax",
                f"the line is not JSON: {error.msg[:1].lower()}{error.msg[1:]}",
                "write one JSON mapping on each line",
            )
            value = None
        except (ValueError, RecursionError) as error:
            problem = str(error) if isinstance(error, _RepeatedKeyError) else "a number or a nesting is beyond limits"
            findings.error(Span(file, number, 1), "json-syntax", problem, "write one plain JSON mapping on each line")
            value = None
        if findings.full:
            return None
        records.append(value)
        records.places.append((number, 1))
    if findings.errors > before:
        return None
    root = YamlMap(file, 1, 1)
    root["identities"] = records
    root.places["identities"] = (1, 1, 1, 1, -1)
    return root


def _mapping(pairs: list[tuple[str, Any]], *, file: str, line: int) -> YamlMap:
    made = YamlMap(file, line, 1)
    for key, value in pairs:
        if key in made:
            raise _RepeatedKeyError(f"the key {quote(key)} is given twice")
        made[key] = value
    return made


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
