"""Verdicts on whole sets against every single request of a small space, decided one by one."""

import json
from itertools import product

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.gates.evaluate import evaluate_state_gates
from authz_sidecar.review.material import Material
from authz_sidecar.values import build_request

TYPES = {"case": ("read", "write"), "pay": ("read",)}
ROLES = ("A", "B", "C")
PEOPLE = ("ann", "bob")
COMPANIES = ("acme", "ajax")
IDS = ("x", "xy", "z")
# Values that no bundle names stand for all others; they begin as gates have it, so that those with a `*` take them in.
ASKED = (*PEOPLE, "stranger")
SPACE = tuple(
    product((*COMPANIES, "away", ""), (*TYPES, "plan"), (*IDS, ""), ("read", "write", "weigh"), (*ASKED, "else", ""))
)

names = st.sampled_from
grants = st.fixed_dictionaries(
    {
        "object": names((*TYPES, "*")),
        "id": names(("*", "x", "x*", "z")),
        "actions": names((["read"], ["*"])),
        "effect": names(("allow", "allow", "deny")),
        "own": st.booleans(),
    }
)


def _grant(grant: dict[str, object]) -> str:
    own = ", scope: own" if grant["own"] else ""
    actions: list[str] = grant["actions"]  # type: ignore[assignment]  # a list of one
    what = f'object: "{grant["object"]}", id: "{grant["id"]}", actions: ["{actions[0]}"]'
    return f"{{{what}, effect: {grant['effect']}{own}}}"


def _listed(items: list[str]) -> str:
    return "[" + ", ".join(items) + "]"


@st.composite
def policies(draw: st.DrawFn) -> str:
    """Definitions of three roles, one of the platform, and of who holds them."""
    lines = ["roles:"]
    for name in ROLES:
        listed = _listed([_grant(one) for one in draw(st.lists(grants, max_size=3))])
        inherits = "[B]" if name == "C" and draw(st.booleans()) else "[]"
        place = "platform" if name == "A" else "company"
        lines.append(f"  {name}: {{assigned: {place}, kind: additive, inherits: {inherits}, grants: {listed}}}")
    entries = draw(st.sets(st.tuples(names(PEOPLE), names(ROLES), names(COMPANIES)), max_size=4))
    given_ = {(who, role, "" if role == "A" else company) for who, role, company in entries}
    assigned = [
        f"  - {{subject: {who}, roles: [{role}]{f', company: {company}' if company else ''}}}"
        for who, role, company in sorted(given_)
    ]
    for who in PEOPLE:
        own = [_grant(one) for one in draw(st.lists(grants, max_size=1))]
        if own:
            company = draw(names(("", *COMPANIES)))
            where = f", company: {company}" if company else ""
            assigned.append(f"  - {{subject: {who}{where}, grants: {_listed(own)}}}")
    return "\n".join([*lines, *(["assignments:", *assigned] if assigned else [])]) + "\n"


areas = st.fixed_dictionaries(
    {
        "objects": names(([], ["case"], ["pay"], ["p*"], ["case", "pay"])),
        "ids": names(([], ["x"], ["x*"], [""], ["z", "x"])),
        "actions": names(([], ["read"], ["w*"])),
        "companies": names(([], ["acme"], ["a*"], ["", "ajax"])),
        "scope": names(("any", "any", "own", "others")),
    }
)


def _fields(area: dict[str, object]) -> str:
    parts = [f"scope: {area['scope']}"]
    for field in ("objects", "ids", "actions", "companies"):
        values = area[field]
        if values:
            listed = _listed([json.dumps(value) for value in values])  # type: ignore[attr-defined]  # a list
            parts.append(f"{field}: {listed}")
    return ", ".join(parts)


def _inside(
    area: dict[str, object], who: str, company: str, kind: str, identifier: str, action: str, owner: str
) -> bool:
    def among(field: str, text: str) -> bool:
        values: list[str] = area[field]  # type: ignore[assignment]  # a list
        return not values or any(text.startswith(v[:-1]) if v.endswith("*") else text == v for v in values)

    scope = area["scope"]
    return (
        among("companies", company)
        and among("objects", kind)
        and among("ids", identifier)
        and among("actions", action)
        and (scope == "any" or (owner == who) == (scope == "own"))
    )


def _material(policy: str, gates: str = "") -> Material | None:
    manifest = "name: demo\nschema_version: 1\nobject_types:\n" + "".join(
        f"  {kind}: {{actions: [{', '.join(actions)}]}}\n" for kind, actions in TYPES.items()
    )
    files = {"manifest.yaml": manifest, "model.conf": EXTENDED, "policy.yaml": policy}
    if gates:
        files["gates.yaml"] = gates
    bundle, _ = parse_bundle({path: text.encode() for path, text in files.items()}, "demo")
    if bundle is None:
        return None
    snapshot, _ = compile_bundle(bundle)
    return None if snapshot is None else Material(bundle, snapshot)


def _allowed(material: Material, area: dict[str, object]) -> set[tuple[str, ...]]:
    """Every request of the space in the area that somebody may make."""
    found: set[tuple[str, ...]] = set()
    decide = material.decider.decide
    for who in ASKED:
        for company, kind, identifier, action, owner in SPACE:
            if _inside(area, who, company, kind, identifier, action, owner):
                request, _ = build_request(who, action, type=kind, id=identifier, company=company, owner=owner)
                assert request is not None
                if decide(request).allowed:
                    found.add((who, company, kind, identifier, action, owner))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies(), areas)
def test_must_stay_denied_is_what_every_request_says(policy: str, area: dict[str, object]) -> None:
    """The gate on all identities and anyone is kept just where no request of the space is allowed, and what it shows is
    one that is."""
    who = '{identities: ["*"], anyone: true'
    gates = f"gates:\n  - {{id: one, message: no, must_stay_denied: {who}, {_fields(area)}}}}}\n"
    material = _material(policy, gates)
    assume(material is not None)
    assert material is not None
    violations = evaluate_state_gates(material)
    assert bool(violations) == bool(_allowed(material, area))
    for violation in violations:
        assert violation.shown
        (example,) = violation.examples
        one = example.request
        assert _inside(area, one.subject, one.company, one.type, one.id, one.action, one.owner)
        assert material.decider.decide(one).allowed


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies(), areas, names(ROLES))
def test_only_roles_is_what_every_request_says(policy: str, area: dict[str, object], role: str) -> None:
    """Of identities the gate finds those that may something in fact and would without the role, too."""
    gates = f"gates:\n  - {{id: one, message: no, only_roles: {{roles: [{role}], {_fields(area)}}}}}\n"
    material = _material(policy, gates)
    assume(material is not None)
    assert material is not None
    kept = [line for line in policy.splitlines() if f"roles: [{role}]" not in line]
    if kept[-1] == "assignments:":
        kept.pop()
    without = _material("\n".join(kept) + "\n")
    assert without is not None
    expected = {one[0] for one in _allowed(material, area) & _allowed(without, area)}
    told = set()
    for violation in evaluate_state_gates(material):
        (example,) = violation.examples
        if example.request.subject.startswith("role:"):
            assert example.request.subject != f"role:{role}"
            # Whoever holds the role, and is told with it.
            told |= {who for who in PEOPLE if f"subject: {who}, roles: [{example.request.subject[5:]}]" in policy}
        else:
            told.add(example.request.subject)
    assert expected <= told
    # What is told of identities by name is so.
    named = {
        violation.detail[0].text
        for violation in evaluate_state_gates(material)
        if not isinstance(violation.detail[0], str)
    }
    assert named <= expected


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies(), areas, names(PEOPLE))
def test_must_stay_allowed_is_what_every_request_says(policy: str, area: dict[str, object], who: str) -> None:
    """The gate on an identity is kept just where no request of the space is denied."""
    gates = f"gates:\n  - {{id: one, message: no, must_stay_allowed: {{identities: [{who}], {_fields(area)}}}}}\n"
    material = _material(policy, gates)
    assume(material is not None)
    assert material is not None
    asked = {(who, *one) for one in SPACE if _inside(area, who, *one)}
    denied = {one for one in asked - _allowed(material, area) if one[0] == who}
    violations = evaluate_state_gates(material)
    assert bool(violations) == bool(denied)
    for violation in violations:
        (example,) = violation.examples
        one = example.request
        assert _inside(area, who, one.company, one.type, one.id, one.action, one.owner)
        assert not material.decider.decide(one).allowed
