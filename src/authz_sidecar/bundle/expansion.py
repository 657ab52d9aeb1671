"""Definitions to rules: a checked policy as rows of the standard model.

Subjects of rules are `role:NAME`, so that no identity can be called like a role. Inheritance is flattened: a
role has its own rows and those of every role above it, which name the way they came. A grant of an identity's own is a
rule of the identity itself, which every identity reaches as it holds itself, and so is a flag that is off, as a deny.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.definitions import DataDomainUse, Grant, Manifest, Role
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.policy_files import Policy
from authz_sidecar.bundle.standard_model import ALWAYS, Form
from authz_sidecar.bundle.wording import quote
from authz_sidecar.bundle.yaml_definition import Place
from authz_sidecar.values.request import ROLE_PREFIX
from authz_sidecar.values.rule import RuleTable
from authz_sidecar.values.span import Span

ANY = "*"
MAX_RULES = 2_000_000
MAX_INHERITANCE = 64

_P_WIDTH = {"basic": 7, "extended": 8}


def expand_policy(policy: Policy, manifest: Manifest, form: Form, findings: Findings) -> dict[str, RuleTable]:
    """The tables `p` and `g` of a policy that `check_policy` found nothing wrong with."""
    rules = RuleTable("p", _P_WIDTH[form])
    links = RuleTable("g", 3)
    shared: dict[str, str] = {}
    share = shared.setdefault

    def add(table: RuleTable, values: list[str], span: Span, via: tuple[str, ...] = ()) -> None:
        values = [share(value, value) for value in values]
        table.append(values, table.file_number(span.file), span.line, span.column, via)

    for name, role in policy.roles.items():
        for source, via in _with_inherited(policy, name):
            if len(via) > MAX_INHERITANCE:
                findings.error(
                    role.key_span("inherits"),
                    "role-inheritance",
                    f"the role {quote(name)} inherits through more than {MAX_INHERITANCE} others",
                    "let it inherit from fewer levels",
                )
                break
            for span, fields in _role_rows(source, policy, manifest, form):
                if len(rules) >= MAX_RULES:
                    _refuse_more(role.span, findings)
                    return {"p": rules, "g": links}
                add(rules, [ROLE_PREFIX + name, ANY, *fields], span, via)
    for assignment in policy.assignments:
        for index, role_name in enumerate(assignment.roles):
            place = assignment.company or ANY
            add(
                links,
                [assignment.subject, ROLE_PREFIX + role_name, place],
                assignment.value_span("roles", index) if len(assignment.roles) > 1 else assignment.span,
            )
        for grant in assignment.grants:
            for fields in _grant_rows(grant, assignment.place, form):
                if len(rules) >= MAX_RULES:
                    _refuse_more(assignment.span, findings)
                    return {"p": rules, "g": links}
                # The identity reaches its own rules in every company; the rule's company keeps it to this one.
                add(rules, [assignment.subject, assignment.company or ANY, *fields], grant.span)
    for subject, flag_name, span in _flags_off(policy):
        flag = policy.flags[flag_name]
        for action in flag.actions:
            fields = [subject, ANY, flag.object, ANY, action, "platform", "deny"]
            add(rules, fields if form == "basic" else [*fields, ALWAYS], span)
    return {"p": rules, "g": links}


def _refuse_more(span: Span, findings: Findings) -> None:
    findings.error(
        span,
        "bundle-size",
        f"the definitions make more than {MAX_RULES:,} rules",
        "grant `*`, or group the roles differently",
    )


def _with_inherited(policy: Policy, name: str) -> Iterator[tuple[Role, tuple[str, ...]]]:
    """The role and every role above it once, by the shortest way, each with the roles on that way."""
    seen = {name}
    level: list[tuple[str, tuple[str, ...]]] = [(name, ())]
    while level:
        above: list[tuple[str, tuple[str, ...]]] = []
        for current, via in level:
            role = policy.roles[current]
            yield role, via
            for parent in role.inherits:
                if parent not in seen:
                    seen.add(parent)
                    above.append((parent, (*via, ROLE_PREFIX + parent)))
        level = above


def _role_rows(role: Role, policy: Policy, manifest: Manifest, form: Form) -> Iterator[tuple[Span, list[str]]]:
    """What a role itself says: place, and the fields of a rule from `type` on."""
    for grant in role.grants:
        span = grant.span
        for fields in _grant_rows(grant, role.assigned, form):
            yield span, fields
    for index, use in enumerate(role.data_domains):
        span = role.value_span("data_domains", index)
        domain = policy.data_domains[use.name]
        for kind in domain.objects:
            declared = manifest.known_types[kind].actions
            for action in use.actions or domain.actions or declared:
                if action in declared:
                    yield span, _fields(role.assigned, use, kind, action, form)


def _grant_rows(grant: Grant, place: Place, form: Form) -> Iterator[list[str]]:
    """The fields of a rule from `type` on, for each object type and action. `place` is where the grant holds."""
    for kind in grant.types:
        for action in grant.actions:
            yield _fields(place, grant, kind, action, form)


def _fields(place: Place, grant: Grant | DataDomainUse, kind: str, action: str, form: Form) -> list[str]:
    scope = grant.scope or place
    if isinstance(grant, DataDomainUse):
        fields = [kind, ANY, action, scope, "allow"]
        condition = ALWAYS
    else:
        fields = [kind, grant.id, action, scope, grant.effect]
        condition = grant.when.strip() or ALWAYS
    return fields if form == "basic" else [*fields, condition]


def _flags_off(policy: Policy) -> Iterator[tuple[str, str, Span]]:
    """Every flag that is off for an identity that has it: subject, flag, and the place that says so."""
    by_role: dict[str, list[str]] = {}
    for name, flag in policy.flags.items():
        for role in flag.roles:
            by_role.setdefault(role, []).append(name)
    if not by_role:
        return
    said = {
        (assignment.subject, name): (on, assignment.value_span("flags", name))
        for assignment in policy.assignments
        for name, on in assignment.flags.items()
    }
    done: set[tuple[str, str]] = set()
    for assignment in policy.assignments:
        for name in dict.fromkeys(name for role in assignment.roles for name in by_role.get(role, ())):
            key = (assignment.subject, name)
            # Said by nobody, it is as its default; what makes it off is then the assignment.
            on, span = said.get(key, (policy.flags[name].default, assignment.span))
            if not on and key not in done:
                done.add(key)
                yield *key, span
