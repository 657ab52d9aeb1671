"""Random bundles with an identity in a directory, beside the same bundles with what it holds as assignments."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from hypothesis import strategies as st
from msgspec.structs import replace

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide import Decider
from authz_sidecar.values import Request, build_request
from authz_sidecar.values.directory_rules import DirectoryRules
from authz_sidecar.values.identity import Identity, IdentityKind, OwnRule, RoleSet, TimedRole

NOW = 1_000.0
SUBJECT = "alice"
COMPANIES = ("acme", "globex")
TYPES = ("folder", "report")
ACTIONS = ("read", "update", "decide")
IDS = ("1", "2", "2024-1", "*")
PATTERNS = ("2024-*", "2*", "2024-1*")
CONDITIONS = (
    "",
    "r.context.mfa == True && r.act != 'decide'",
    "r.context.mfa",
    "r.obj.level > 3",
    "r.obj.level in (1, 5) || r.obj.owner == r.sub",
    'g(r.sub, "role:LEAD", r.dom)',
    'g(r.owner, "role:CLIENT", "acme")',
    "r.id != '1' && !(r.type == 'report')",
    'keyMatch(r.id, "20*")',
    "r.sub.team == 'red'",
)
# Each role: where it is assigned.
ROLES = {"ADMIN": "platform", "AUDIT": "platform", "CLIENT": "company", "LEAD": "company"}
# Windows of roles, and whether they hold at NOW.
WINDOWS = {(0.0, NOW): False, (NOW, NOW + 1): True, (0.0, NOW + 5): True, (NOW + 1, NOW + 9): False}


class World(NamedTuple):
    """A decider and what its directory knows of one identity, beside one whose bundle has it all; its rows."""

    decider: Decider
    identity: Identity
    merged: Decider
    model: str
    rows: str

    def asked(self, request: Request) -> Request:
        """The request as whoever has a directory asks it."""
        return replace(request, identity=self.identity) if request.subject == self.identity.id else request


@st.composite
def grants(draw: st.DrawFn, extended: bool, place: str) -> dict[str, Any]:
    """A grant of a role or of an identity."""
    made: dict[str, Any] = {
        "object": draw(st.sampled_from((*TYPES, "*"))),
        "actions": draw(st.sampled_from((["*"], ["read"], ["update", "decide"], ["read", "update"]))),
        "id": draw(st.sampled_from((*IDS, "*", *(PATTERNS if extended else ())))),
        "scope": draw(st.sampled_from((place, place, "own"))),
        "effect": draw(st.sampled_from(("allow", "allow", "allow", "deny"))),
    }
    when = draw(st.sampled_from(CONDITIONS)) if extended else ""
    return {**made, "when": when} if when else made


def decider_of(definitions: dict[str, Any], extended: bool) -> Decider:
    """The decider of a YAML bundle."""
    return definitions_of(definitions, TYPES, ACTIONS, extended=extended)


def compiled(decider: Decider, rules: DirectoryRules) -> Decider:
    """The same policy with other rules for identities."""
    return Decider(replace(decider.snapshot, directory_rules=rules))


def definitions_of(
    definitions: dict[str, Any],
    types: tuple[str, ...] = ("case",),
    actions: tuple[str, ...] = ACTIONS,
    *,
    extended: bool = False,
    impersonated: tuple[str, ...] = (),
) -> Decider:
    """The decider of YAML definitions over these object types; `impersonated` are the platform roles whose holders may
    be acted for."""
    manifest: dict[str, Any] = {
        "name": "world",
        "schema_version": 1,
        "object_types": {name: {"actions": list(actions)} for name in types},
    }
    if impersonated:
        manifest["identities"] = {"impersonated_platform_roles": list(impersonated)}
    files = {
        "model.conf": (EXTENDED if extended else BASIC).encode(),
        "manifest.yaml": json.dumps(manifest).encode(),
        "all.yaml": json.dumps(definitions).encode(),
    }
    bundle, diagnostics = parse_bundle(files, "world")
    assert bundle is not None, diagnostics
    snapshot, diagnostics = compile_bundle(bundle)
    assert snapshot is not None, diagnostics
    return Decider(snapshot)


def rows_of(decider: Decider) -> str:
    """The rows of a decider's bundle, as Casbin's adapter reads them."""
    tables = decider.snapshot.tables
    return "\n".join(
        ", ".join((name, *tables[name].values(row))) for name in ("p", "g") for row in range(len(tables[name]))
    )


def own_rules(grant: dict[str, Any], company: str, source: str, ends: float) -> Iterable[OwnRule]:
    """The rules that a grant of one's own makes."""
    for action in grant["actions"]:
        yield OwnRule(
            company or "*",
            grant["object"],
            grant["id"],
            action,
            grant["scope"],
            grant["effect"] == "allow",
            grant.get("when", ""),
            source,
            ends,
        )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A YAML bundle with some of what an identity holds, and a directory with the rest of it."""
    extended = draw(st.booleans())
    roles = {
        name: {
            "assigned": place,
            "grants": draw(st.lists(grants(extended, place), min_size=1, max_size=2)),
            **({"inherits": ["CLIENT"]} if name == "LEAD" and draw(st.booleans()) else {}),
        }
        for name, place in ROLES.items()
    }
    flags: dict[str, dict[str, Any]] = {
        name: {"roles": [role], "object": "folder", "actions": ["read"], "default": draw(st.booleans())}
        for name, role in (("can_client", "CLIENT"), ("can_admin", "ADMIN"))
        if draw(st.booleans())
    }
    holding = st.sampled_from(list(ROLES)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(COMPANIES if ROLES[name] == "company" else ("",)))
    )
    in_bundle = draw(st.lists(holding, max_size=2, unique=True))
    held = draw(st.lists(holding, max_size=3, unique=True))
    windows = {one: draw(st.sampled_from((None, None, *WINDOWS))) for one in held}
    # What the bundle cannot take: an unknown role, and roles where they are not assigned.
    odd = draw(st.lists(st.sampled_from((("GONE", "acme"), ("ADMIN", "acme"), ("CLIENT", ""), ("CLIENT", "*")))))
    by_company: dict[str, tuple[str, ...]] = {}
    for name, company in [*[one for one in held if windows[one] is None], *dict.fromkeys(odd)]:
        by_company[company] = (*by_company.get(company, ()), name)
    own: list[OwnRule] = []
    assignments: list[dict[str, Any]] = [{"subject": "bob", "roles": ["LEAD"], "company": "acme"}]
    assignments += [_assignment(SUBJECT, name, company) for name, company in in_bundle]
    extra = [
        _assignment(SUBJECT, *one)
        for one in held
        if one not in in_bundle and ((window := windows[one]) is None or WINDOWS[window])
    ]
    for number in range(draw(st.integers(0, 3))):
        company = draw(st.sampled_from(("", *COMPANIES)))
        grant = draw(grants(extended, "company" if company else "platform"))
        ends = draw(st.sampled_from((float("inf"), float("inf"), NOW, NOW + 1)))
        own += own_rules(grant, company, f"grant:{number}", ends)
        if ends > NOW:
            extra.append({"subject": SUBJECT, "grants": [grant], **({"company": company} if company else {})})
    said: dict[str, bool] = {}
    switched: dict[str, bool] = {}
    assigned = {name for name, _ in in_bundle}
    everything = assigned | {name for entry in extra for name in entry.get("roles", ())}
    for name, flag in flags.items():
        # What is off by default for a role of the bundle stays off, whatever the directory says.
        stays_off = not flag["default"] and not assigned.isdisjoint(flag["roles"])
        choice = draw(st.sampled_from((None, False) if stays_off else (None, False, True)))
        if choice is not None:
            said[name] = choice
            if not everything.isdisjoint(flag["roles"]):
                switched[name] = choice
    with_all = [*assignments, *extra]
    place = next((at for at, one in enumerate(with_all) if one["subject"] == SUBJECT and "roles" in one), None)
    if place is not None and switched:
        with_all[place] = {**with_all[place], "flags": switched}
    identity = Identity(
        SUBJECT,
        IdentityKind.USER,
        roles=RoleSet(by_company),
        timed=tuple([TimedRole(*one, window[1], window[0]) for one, window in windows.items() if window is not None]),
        rules=tuple(own),
        flags=said,
        attributes=draw(st.sampled_from(({}, {"team": "red"}, {"team": "blue"}))),
    )
    definitions = {"roles": roles, **({"flags": flags} if flags else {})}
    made = decider_of({**definitions, "assignments": assignments}, extended)
    merged = decider_of({**definitions, "assignments": with_all}, extended)
    return World(made, identity, merged, EXTENDED if extended else BASIC, rows_of(merged))


def _assignment(subject: str, role: str, company: str) -> dict[str, Any]:
    return {"subject": subject, "roles": [role], **({"company": company} if company else {})}


@st.composite
def questions(draw: st.DrawFn) -> Request:
    """A request by the identity, now and then by another subject."""
    level = draw(st.sampled_from((None, 1, 4, 5)))
    request, violations = build_request(
        draw(st.sampled_from((SUBJECT, SUBJECT, SUBJECT, SUBJECT, "bob"))),
        draw(st.sampled_from(ACTIONS)),
        type=draw(st.sampled_from((*TYPES, "other"))),
        id=draw(st.sampled_from(("1", "2", "2024-1", "2024-12", "*", ""))),
        company=draw(st.sampled_from((*COMPANIES, *COMPANIES, "*", ""))),
        owner=draw(st.sampled_from((SUBJECT, SUBJECT, "bob", ""))),
        object_attributes={} if level is None else {"level": level},
        subject_attributes=draw(st.sampled_from(({}, {}, {"team": "red"}, {"team": "blue"}))),
        context=draw(st.sampled_from(({}, {"mfa": True}, {"mfa": False}))),
        time=NOW,
    )
    assert request is not None, violations
    return request
