"""Random bundles of definitions, and every request of their vocabulary, also by whoever holds one role alone."""

import random
from itertools import product
from typing import NamedTuple

from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.review.material import Material
from authz_sidecar.values import Request
from tests.decide.casbin_judge import Raised, enforcer, judge

ANYTHING = '"*"'
PEOPLE = ("alice", "bob")
ROLES = {"CLERK": "company", "CHIEF": "company", "ADMIN": "platform"}
COMPANIES = ("acme", "globex")
TYPES = ("case", "report")
ACTIONS = ("read", "update")
CONDITIONS = ("r.obj.level > 3", "r.id == 'y'", "r.owner != r.sub", "r.obj.type == 'case'")
MANIFEST = f"""\
name: family
schema_version: 1
object_types:
  case: {{actions: [{", ".join(ACTIONS)}]}}
  report: {{actions: [{", ".join(ACTIONS)}]}}
"""


class Definitions(NamedTuple):
    """Lines of a bundle: what each role says, the objects of the data domain, and the assignments."""

    extended: bool
    roles: dict[str, list[str]]
    inherits: bool
    domain: tuple[str, ...]
    assignments: list[str]

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the bundle."""
        lines = ["data_domains:", f"  FILES: {{objects: [{', '.join(self.domain)}]}}", "roles:"]
        for role, grants in self.roles.items():
            lines += [f"  {role}:", f"    assigned: {ROLES[role]}"]
            if role == "CHIEF" and self.inherits:
                lines.append("    inherits: [CLERK]")
            uses = [line for line in grants if line.startswith("FILES")]
            single = [line for line in grants if not line.startswith("FILES")]
            if uses:
                lines.append("    data_domains: [FILES]")
            if single:
                lines += ["    grants:", *[f"      - {line}" for line in single]]
        return {
            "model.conf": (EXTENDED if self.extended else BASIC).encode(),
            "manifest.yaml": MANIFEST.encode(),
            "roles.yaml": "\n".join(lines).encode(),
            "assignments.yaml": "\n".join(["assignments:", *[f"  - {line}" for line in self.assignments]]).encode(),
        }


def definitions_family(chance: random.Random) -> tuple[Definitions, ...]:
    """Definitions, twice edited, and others."""
    extended = chance.random() < 0.4
    first = make(chance, extended)
    second = edit(chance, first)
    return first, second, edit(chance, second), make(chance, extended)


def make(chance: random.Random, extended: bool) -> Definitions:
    """Random definitions."""
    roles = {role: [_grant(chance, role, extended) for _ in range(chance.randint(1, 3))] for role in ROLES}
    return Definitions(
        extended, roles, chance.random() < 0.4, _domain(chance), [_assignment(chance, 0), _assignment(chance, 1)]
    )


def edit(chance: random.Random, before: Definitions) -> Definitions:
    """The definitions after one or two edits."""
    roles = {role: list(grants) for role, grants in before.roles.items()}
    inherits, domain, assignments = before.inherits, before.domain, list(before.assignments)
    for _ in range(chance.randint(1, 2)):
        role = chance.choice(tuple(ROLES))
        match chance.randrange(5):
            case 0:
                roles[role].append(_grant(chance, role, before.extended))
            case 1 if len(roles[role]) > 1:
                del roles[role][0]
            case 2:
                inherits = not inherits
            case 3:
                domain = _domain(chance)
            case _:
                at = chance.randrange(len(assignments))
                assignments[at] = _assignment(chance, at)
    return Definitions(before.extended, roles, inherits, domain, assignments)


def _domain(chance: random.Random) -> tuple[str, ...]:
    return tuple(sorted(chance.sample(TYPES, chance.randint(1, 2))))


def _grant(chance: random.Random, role: str, extended: bool) -> str:
    if chance.random() < 0.25:
        return "FILES"
    parts = [f"object: {chance.choice((*TYPES, ANYTHING))}", f"actions: [{chance.choice((*ACTIONS, ANYTHING))}]"]
    if chance.random() < 0.3:
        parts.append(f"id: {chance.choice(('x1', 'x*') if extended else ('x1', 'x2'))}")
    if chance.random() < 0.4:
        parts.append(f"scope: {chance.choice(('own', ROLES[role]))}")
    if chance.random() < 0.2:
        parts.append("effect: deny")
    if extended and chance.random() < 0.2:
        parts.append(f"when: {chance.choice(CONDITIONS)}")
    return "{" + ", ".join(parts) + "}"


def _assignment(chance: random.Random, at: int) -> str:
    role = chance.choice(tuple(ROLES))
    company = f", company: {chance.choice(COMPANIES)}" if ROLES[role] == "company" else ""
    return f"{{subject: {PEOPLE[at]}, roles: [{role}]{company}}}"


def holder(role: str) -> str:
    """Somebody who holds one role and nothing else."""
    return f"holder-of-{role}"


def every_request() -> list[Request]:
    """Every request of the vocabulary."""
    subjects = (*PEOPLE, "nobody", *[holder(role) for role in ROLES])
    found: list[Request] = []
    for subject, company, type, id, action, owner in product(
        subjects, (*COMPANIES, "nowhere", ""), (*TYPES, "else"), ("x1", "y"), (*ACTIONS, "else"), (None, "")
    ):
        found.append(Request(subject, action, type, id, company, subject if owner is None else owner, f"{type}:{id}"))
    return found


def decided(material: Material, requests: tuple[Request, ...]) -> list[bool]:
    """What pycasbin decides on the bundle's rows, with a holder of each role in each company or on the platform."""
    lines = [
        ", ".join((ptype, *table.values(row)))
        for ptype, table in material.bundle.tables.items()
        for row in range(len(table))
    ]
    for role, place in ROLES.items():
        where = ("*",) if place == "platform" else (*COMPANIES, "nowhere")
        lines += [f"g, {holder(role)}, role:{role}, {company}" for company in where]
    made = enforcer(material.bundle.model.text, "\n".join(lines))
    found: list[bool] = []
    for request in requests:
        try:
            found.append(judge(made, request))
        except Raised:
            found.append(False)
    return found
