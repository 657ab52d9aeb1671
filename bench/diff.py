"""Access diffs: `python -m bench.diff SCENARIO`, each scenario in a process of its own.

diff_definitions  two YAML bundles of 1,000 roles, 100,000 rules and 10,000 subjects; 1 % of grants and of assignments
                  changed
diff_rows         the same as rows of the standard model in CSV
"""

import json
import random
import sys
import time
from collections.abc import Callable

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.material import Material
from authz_sidecar.sources.load import collections_paused
from bench.measure import memory_mb, peak_memory_mb

ROLES = 1_000
GRANTS = 10
TYPES = 60
ACTIONS = ("read", "list", "create", "update", "delete", "approve", "export", "share")
SUBJECTS = 10_000
COMPANIES = 500
SHARE = 0.01

Files = dict[str, bytes]
# Of a role: each grant's types and actions. Of a subject: its roles and its company.
Grants = dict[int, list[tuple[list[int], list[int]]]]
Assignments = dict[int, tuple[list[int], int]]


def system(chance: random.Random) -> tuple[Grants, Assignments]:
    """Roles with ten grants of ten rules each, and subjects with one or two roles in a company."""
    grants = {
        role: [
            (sorted(chance.sample(range(TYPES), 5)), sorted(chance.sample(range(len(ACTIONS)), 2)))
            for _ in range(GRANTS)
        ]
        for role in range(ROLES)
    }
    assignments = {
        subject: (sorted(chance.sample(range(ROLES), 1 + (subject % 4 == 0))), chance.randrange(COMPANIES))
        for subject in range(SUBJECTS)
    }
    return grants, assignments


def changed(chance: random.Random, grants: Grants, assignments: Assignments) -> tuple[Grants, Assignments]:
    """The same with other types in one grant of a hundred, and another role for one subject of a hundred."""
    fresh, _ = system(random.Random(99))
    after = {
        role: [fresh[role][place] if chance.random() < SHARE else grant for place, grant in enumerate(of_role)]
        for role, of_role in grants.items()
    }
    moved = {
        subject: ([chance.randrange(ROLES)], company) if chance.random() < SHARE else (roles, company)
        for subject, (roles, company) in assignments.items()
    }
    return after, moved


def definitions(grants: Grants, assignments: Assignments) -> Files:
    """A YAML bundle."""
    manifest = ["name: measured", "schema_version: 1", "object_types:"]
    manifest += [f"  type{number}: {{actions: [{', '.join(ACTIONS)}]}}" for number in range(TYPES)]
    roles = ["roles:"]
    for role, of_role in grants.items():
        roles += [f"  R{role}:", "    assigned: company", "    grants:"]
        for types, actions in of_role:
            roles.append(
                f"      - {{objects: [{', '.join([f'type{kind}' for kind in types])}], "
                f"actions: [{', '.join([ACTIONS[action] for action in actions])}]}}"
            )
    people = ["assignments:"]
    for subject, (held, company) in assignments.items():
        names = ", ".join([f"R{role}" for role in held])
        people.append(f"  - {{subject: user{subject}, roles: [{names}], company: company{company}}}")
    return {
        "model.conf": BASIC.encode(),
        "manifest.yaml": "\n".join(manifest).encode(),
        "roles.yaml": "\n".join(roles).encode(),
        "assignments.yaml": "\n".join(people).encode(),
    }


def rows(grants: Grants, assignments: Assignments) -> Files:
    """The same as rows of the standard model."""
    lines = [
        f"p, role:R{role}, *, type{kind}, *, {ACTIONS[action]}, company, allow"
        for role, of_role in grants.items()
        for types, actions in of_role
        for kind in types
        for action in actions
    ]
    lines += [
        f"g, user{subject}, role:R{role}, company{company}"
        for subject, (held, company) in assignments.items()
        for role in held
    ]
    return {"model.conf": BASIC.encode(), "policy.csv": "\n".join(lines).encode()}


def material(files: Files) -> Material:
    """A bundle, read and compiled."""
    with collections_paused():
        bundle, problems = parse_bundle(files, "measured")
        if bundle is None:
            raise SystemExit(f"the bundle is refused: {problems[:3]}")
        snapshot, problems = compile_bundle(bundle, searches=False)
        if snapshot is None:
            raise SystemExit(f"the bundle is refused: {problems[:3]}")
    return Material(bundle, snapshot)


def measure(write: Callable[[Grants, Assignments], Files]) -> dict[str, float]:
    """Seconds to read and compile both bundles, and to compare them; memory after it and at most."""
    chance = random.Random(7)
    before = system(chance)
    texts = [write(*before), write(*changed(chance, *before))]
    start = time.perf_counter()
    base, head = material(texts[0]), material(texts[1])
    read = time.perf_counter()
    with collections_paused():
        found = diff_access(base, head)
    done = time.perf_counter()
    if found.unchanged or found.inexact:
        raise SystemExit("the bundles differ, in parts that are exact")
    return {
        "rules": len(head.bundle.tables["p"]),
        "rules_changed": found.rules_added + found.rules_removed,
        "changes_of_roles": len(found.roles),
        "changes_of_identities": len(found.identities),
        "read_s": read - start,
        "diff_s": done - read,
        "total_s": done - start,
        "memory_mb": memory_mb(),
        "peak_mb": peak_memory_mb(),
    }


SCENARIOS = {
    "diff_definitions": lambda: measure(definitions),
    "diff_rows": lambda: measure(rows),
}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]]()))
