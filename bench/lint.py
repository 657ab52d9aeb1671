"""Lint: `python -m bench.lint SCENARIO`, the whole command on 100,000 rules, each scenario in a process of its own.

roles   1,000 roles of 100 YAML grants each, 10,000 assignments; clean
shadow  the same, with a grant in each role that covers all others: as many findings as rules, a comment among them
rows    100,000 rules and 100,000 links in CSV
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from authz_sidecar.bundle.standard_model import BASIC
from bench.data import PLAIN_MODEL, plain_rows

ROLES, GRANTS, IDENTITIES, COMPANIES = 1_000, 100, 10_000, 100
TYPES = tuple(f"type{number}" for number in range(60))
ACTIONS = ("create", "read", "update", "delete", "export")


def manifest() -> Iterator[str]:
    """The object types."""
    yield "name: large\nschema_version: 1\nobject_types:"
    for name in TYPES:
        yield f"  {name}: {{actions: [{', '.join(ACTIONS)}], description: a type}}"


def roles(shadowed: bool) -> Iterator[str]:
    """Roles that differ, so that none is the other's copy."""
    chance = random.Random(4)
    choices = list(product(TYPES, ACTIONS))
    yield "roles:"
    for role in range(ROLES):
        yield f"  ROLE{role}:\n    description: a role\n    assigned: company\n    grants:"
        if shadowed:
            yield '      - {object: "*", actions: ["*"]}'
        for kind, action in chance.sample(choices, GRANTS - shadowed):
            scope = ", scope: own" if chance.random() < 0.3 else ""
            yield f"      - {{object: {kind}, actions: [{action}]{scope}}}"
    if shadowed:
        yield "  LAST: # authz: ignore[unused-role] given elsewhere\n    description: a role\n    assigned: company"


def assignments() -> Iterator[str]:
    """Ten holders for each role."""
    yield "assignments:"
    for user in range(IDENTITIES):
        yield f"  - {{subject: user{user}, roles: [ROLE{user % ROLES}], company: company{user % COMPANIES}}}"


def bundle(scenario: str) -> dict[str, Iterator[str]]:
    """The lines of each file."""
    if scenario == "rows":
        return {"model.conf": iter((PLAIN_MODEL,)), "policy.csv": plain_rows(1_000)}
    return {
        "manifest.yaml": manifest(),
        "model.conf": iter((BASIC,)),
        "roles.yaml": roles(scenario == "shadow"),
        "assignments.yaml": assignments(),
    }


def main() -> None:
    """Write the bundle, run the command, print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in bundle(sys.argv[1]).items():
            Path(folder, name).write_text("\n".join(lines) + "\n")
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "authz_sidecar", "lint", folder, "--format", "json"],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            check=False,
        )
        seconds = time.perf_counter() - started
    report = json.loads(done.stdout)
    print(json.dumps({"seconds": seconds, "findings": len(report["findings"]), "ignored": report["ignored"]}))


if __name__ == "__main__":
    main()
